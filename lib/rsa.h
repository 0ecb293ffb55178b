/* The public operation of RSA, which is all that checking a signature needs: no secret is in it, so it need not take the same time for all. */
#ifndef LIB_RSA_H
#define LIB_RSA_H

#include "lib/str.h"

/* x := x to the exponent, modulo the number; x has as many octets as it. The number is odd, without zeros in front, and of 64 to 512 octets;
 * the exponent of 1 to 8. False, and x is anything: x is not less than the number, sizes are wrong, or this machine has no fast way. */
bool rsa_raise(unsigned char *x, struct str number, struct str exponent);

#endif
