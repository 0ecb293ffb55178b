/* DKIM signing: whose key is for a message, and the fields that are made with it (RFC 6376 5, RFC 8463). */
#ifndef POLICY_SIGN_H
#define POLICY_SIGN_H

#include "lib/buf.h"
#include "lib/pubkey.h"

/* Keys by domain. A domain may have several, each with a selector of its own: all of them sign. */
struct signer;
struct signer *signer_new(void);                        /* NULL: no memory */
void signer_free(struct signer *);                      /* NULL: nothing */
/* Takes the key, in any case. NULL, or what is wrong with the names, in words fit for a complaint. */
const char *signer_add(struct signer *, struct str domain, struct str selector, struct sign_key *key);
/* Octets of all fields for one message, at most. No key: 0. */
size_t signer_room(const struct signer *);

/* A message that goes by: lines end in CR LF. */
struct signing;
/* The header is whole, with its empty line or without. NULL: it is not signed, and *why says so in words, or is NULL since no key is for
 * the author: who is in From, where there is one; a key of the author's domain, or else of the next domain above it that has one. */
struct signing *signing_begin(const struct signer *, struct str header, const char **why);
void signing_add(struct signing *, struct str body);    /* pieces of any size */
/* Appends the fields, each with its line end. False: no memory, or a key is broken; nothing is appended. */
bool signing_end(struct signing *, int64_t now, struct buf *out);
const char *signing_domain(const struct signing *);     /* d= */
void signing_free(struct signing *);                    /* NULL: nothing */

#endif
