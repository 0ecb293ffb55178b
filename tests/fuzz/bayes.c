/* Any message, any table: words are found within bounds, and the probability is one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/bayes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct bayes_words words, again;
	static struct bayes_table table;
	struct bayes_result r;

	bayes_read(&words, (struct str){ (const char *)data, n });
	bayes_read(&again, (struct str){ (const char *)data, n });
	must(words.n <= BAYES_WORDS && words.n == again.n && !memcmp(words.hash, again.hash, words.n * sizeof *words.hash));
	memcpy(&table, data, n < sizeof table ? n : sizeof table);
	for (int i = 0; i < 2; i++) {
		bayes_judge(&table, &words, &r);
		must(r.probability >= 0 && r.probability <= 1 && r.words <= 20);
		bayes_count(&table, &words, n % 2, i == 0);
	}
	return 0;
}
