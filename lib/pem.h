/* PEM and DER, as far as keys and certificates need them. Of lib/x509.c and lib/pubkey.c; nobody else includes this header. */
#ifndef LIB_PEM_H
#define LIB_PEM_H

#include <bearssl.h>

#include "lib/buf.h"

struct pem {
	br_pem_decoder_context decoder;
	struct buf der;                 /* of the object that is being read */
	bool inside;
	char *why;                      /* for the words of what is wrong: "is ..." */
	size_t why_size;
};
typedef bool pem_object(struct pem *, const char *label, void *arg);    /* false: stop, why is set */
/* Calls object() for each of a text. False: it stopped, or the text is no PEM; *why says so. What was read is wiped. */
bool pem_each(struct str text, pem_object *object, void *arg, char *why, size_t size);
/* Writes why. False, always. */
bool pem_fault(char *why, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

enum {
	DER_BOOLEAN = 0x01, DER_INTEGER = 0x02, DER_BITS = 0x03, DER_OCTETS = 0x04, DER_OID = 0x06, DER_UTC_TIME = 0x17, DER_TIME = 0x18,
	DER_SEQUENCE = 0x30, DER_SET = 0x31, DER_DNS_NAME = 0x82, DER_VERSION = 0xa0, DER_EXTENSIONS = 0xa3
};
/* Takes the next element. False: there is none, or it is broken. */
bool der_next(struct str *rest, unsigned *tag, struct str *value);
/* The same for one that must have this tag. */
bool der_take(struct str *rest, unsigned wanted, struct str *value);

#endif
