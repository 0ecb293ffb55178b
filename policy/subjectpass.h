/* A word for the subject that lets a stranger in: given to him who was refused, he shows with it that a person has read the answer. It is bound to
 * the recipient and to the address in From, and good for a while.
 *
 *   (pass:AAAAAAAAAAAAAAAAAAAAAA)    16 octets in base64url: a version of 4 bits (0), the time in units of 256 s of 28, 12 octets of HMAC-SHA-256 */
#ifndef POLICY_SUBJECTPASS_H
#define POLICY_SUBJECTPASS_H

#include "lib/buf.h"

enum { SUBJECTPASS_KEY = 32, SUBJECTPASS_WORD = 22 };

/* The key in a file of that name, made when there is none. False with errno: it cannot be had. */
bool subjectpass_key(int dir, const char *name, bool make, unsigned char key[SUBJECTPASS_KEY]);
/* mailbox, author: words as identity_word() writes them. False: no memory. */
bool subjectpass_make(struct buf *, const unsigned char key[SUBJECTPASS_KEY], struct str mailbox, struct str author, int64_t now);
/* The first such word in the only Subject of a header, also in encoded words (RFC 2047). False: there is none. */
bool subjectpass_find(struct str header, char word[SUBJECTPASS_WORD + 1]);
bool subjectpass_holds(struct str word, const unsigned char key[SUBJECTPASS_KEY], struct str mailbox, struct str author, int64_t now, int64_t seconds);

#endif
