/* A filter of content: which words of a message stood in mail that its reader wanted, and which in junk. One table a mailbox, of fixed size, that
 * can be mapped into memory as it is. Pure; the table may hold anything. */
#ifndef POLICY_BAYES_H
#define POLICY_BAYES_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/buf.h"

enum {
	BAYES_SLOTS = 1 << 16,          /* words of a table: half a megabyte. The rarest make place for new ones */
	BAYES_WORDS = 4096,             /* different ones of a message that count, the first ones */
	BAYES_READ = 512 << 10,         /* octets of a message in which they are looked for */
	BAYES_ENOUGH = 50               /* wanted messages, before a table says anything of worth */
};

struct bayes_slot {
	uint32_t hash;                  /* 0: free */
	uint16_t ham, junk;             /* messages that it stood in */
};
struct bayes_table {
	char magic[8];
	uint32_t ham, junk;             /* messages */
	struct bayes_slot slot[BAYES_SLOTS];
};
void bayes_init(struct bayes_table *);
bool bayes_valid(const struct bayes_table *);           /* as far as its beginning tells */

/* Words of a message, each once. */
struct bayes_words {
	size_t n;
	uint32_t hash[BAYES_WORDS];
	uint32_t seen[4 * BAYES_WORDS];  /* the same, to be found quickly */
};
/* Lines end in LF or CR LF. Of the header the fields that say who, to whom and what about; of the body the text, with what HTML shows. */
void bayes_read(struct bayes_words *, struct str message);

/* Counts a message, or (again false) takes back that it was counted. */
void bayes_count(struct bayes_table *, const struct bayes_words *, bool junk, bool again);

struct bayes_result {
	double probability;             /* that it is junk: 0.5 when nothing tells */
	bool significant;               /* enough has been counted to say so */
	unsigned words;                 /* that it rests on */
};
void bayes_judge(const struct bayes_table *, const struct bayes_words *, struct bayes_result *);

/* As a fact. FACT_CONTENT is asked with whose mailbox it is (a local part), the path of a file and where in it the message begins. */
bool content_ask(struct buf *name, struct str local, const char *file, int64_t at);
bool content_asked(struct str name, struct str *local, struct str *file, int64_t *at);
bool content_print(struct buf *, const struct bayes_result *);
bool content_parse(struct str, struct bayes_result *);

#endif
