/* Whatever the owner of a mailbox writes into its memory: it is read within bounds, asked of without a crash, and what is made compact of it is
 * read back as it was written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/reputation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { NOW = 1795427177 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void print(struct str text, struct buf *out)
{
	struct history h;

	must(history_parse(&h, text));
	must(h.n <= HISTORY_RECORDS && h.nwritten <= HISTORY_RECORDS);
	must(history_print(&h, NOW, out));
	for (size_t i = 0; i < h.n && i < 8; i++) {
		struct reputation r;

		reputation_of(&h, &h.record[i].who, identity_domain(h.record[i].who.from), NOW, &r);
		must(r.method <= METHOD_NONE && r.opinion <= OPINION_JUNK && (r.method != METHOD_NONE || !r.conclusive));
	}
	history_free(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf once = { 0 }, twice = { 0 }, word = { 0 };
	struct identities i;
	struct str rest;

	print((struct str){ (const char *)data, n }, &once);
	print(buf_view(&once), &twice);
	must(str_eq(buf_view(&once), buf_view(&twice)));
	must(identity_word(&word, (struct str){ (const char *)data, n }));
	for (size_t k = 0; k < word.n; k++)
		must(word.p[k] > ' ' && word.p[k] < 0x7f && word.p[k] != ',');
	rest = (struct str){ (const char *)data, n };
	if (identities_parse(&rest, &i)) {
		buf_clear(&word);
		must(identities_print(&word, &i));
		rest = buf_view(&word);
		must(identities_parse(&rest, &i) && !rest.n);
	}
	buf_free(&once);
	buf_free(&twice);
	buf_free(&word);
	return 0;
}
