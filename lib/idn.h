/* Internationalized domain names (RFC 5890): what people write, and what the DNS is asked. By libidn2, where the build found it. */
#ifndef LIB_IDN_H
#define LIB_IDN_H

#include "lib/str.h"

bool idn_available(void);
bool is_ascii(struct str);
/* "bücher.example" -> "xn--bcher-kva.example", lower case; ASCII stays as it is. NULL, or what is wrong in words fit for a reply. */
const char *idn_to_ascii(struct str domain, char out[256]);

#endif
