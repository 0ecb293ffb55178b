/* Who may log in: a text file of lines NAME:SECRET[:ADDRESSES], # begins a comment.
 *
 * SECRET is what `fardel passwd` writes, {SCRAM-SHA-256}ITERATIONS,SALT,STOREDKEY,SERVERKEY (RFC 5803's parts, base64), the same with
 * SCRAM-SHA-1, or a hash as crypt(5) knows them. ADDRESSES, separated by commas, are those that the user may send as: anna@example.org,
 * @example.org for a whole domain, * for any; not said: NAME itself, with any local domain when it has none. */
#ifndef AUTH_USERS_H
#define AUTH_USERS_H

#include "lib/buf.h"
#include "lib/hash.h"
#include "lib/str.h"

enum {
	USER_NAME_MAX = 128,
	PASSWORD_MAX = 512,
	SCRAM_SALT_MAX = 64,
	SCRAM_ITERATIONS = 10000,               /* of those that we make */
	SCRAM_ITERATIONS_MAX = 1000000
};

struct user {
	struct str name, secret;
	struct str addresses;                   /* as written; empty: not said */
};
struct scram_verifier {
	enum hash hash;
	unsigned iterations;
	unsigned char salt[SCRAM_SALT_MAX], stored[HASH_MAX], server[HASH_MAX];
	size_t salt_n;
};

struct users;
struct users *users_new(const char *path);              /* borrows the path; reads nothing yet. NULL: no memory */
void users_free(struct users *);                        /* NULL: nothing */
/* Reads the file again if it has changed; one that cannot be read leaves what was read before, and is logged once. Lines
 * that cannot be understood are logged with their number and passed over. False: the file cannot be read now; *why says so. */
bool users_refresh(struct users *, char *why, size_t size);
/* Borrowed until the next users_refresh(). NULL: nobody of that name. Names differ in case. */
const struct user *users_find(const struct users *, struct str name);
/* The verifier for it of the first who has one, by name. False: nobody has. */
bool users_first_scram(const struct users *, enum hash, struct scram_verifier *out);
size_t users_count(const struct users *);
bool users_have_scram(const struct users *, enum hash);         /* somebody has a verifier for it */

/* One line without its end. NULL, or what is wrong with it; an empty line or a comment leaves name empty. */
const char *user_parse(struct str line, struct user *out);
bool scram_parse(struct str secret, struct scram_verifier *out);
/* "r=..." of a message of SCRAM (RFC 5802 5.1): the value up to a comma, or the end, off *rest. False: another letter, or none. */
bool scram_attribute(struct str *rest, char letter, struct str *value);
bool scram_print(struct buf *, const struct scram_verifier *);
/* Takes time: not for the loop. */
void scram_make(enum hash, struct str password, struct str salt, unsigned iterations, struct scram_verifier *out);
/* Does the password belong to the secret? Takes time on purpose: not for the loop. An empty secret takes as long and is false. */
bool secret_matches(struct str secret, struct str password);
/* It is a hash of crypt(3); and are those known here? */
bool secret_needs_crypt(struct str secret);
bool crypt_available(void);

/* May somebody with this name and these addresses send as `address` (local@domain, A-labels)? +detail behind an address of theirs is theirs, too. */
bool user_may_send_as(struct str name, struct str addresses, const struct str *local_domains, size_t n, struct str address);

#endif
