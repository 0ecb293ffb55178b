/* The keys of dkim_key, read. */
#ifndef CMD_SIGNING_H
#define CMD_SIGNING_H

#include "cmd/settings.h"
#include "policy/sign.h"

/* Reads one key file. NULL, and *why in words that name it. */
struct sign_key *signing_key(const char *file, char *why, size_t size);
/* All of them; owned. Calls complain() for each that cannot be used, which is left out. NULL: no memory. */
struct signer *signing_keys(const struct settings *, void (*complain)(const struct dkim_words *, const char *why));

#endif
