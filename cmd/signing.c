/* DKIM keys from their files. */
#include "cmd/signing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "lib/file.h"

struct sign_key *signing_key(const char *file, char *why, size_t size)
{
	struct buf text = { .max = 1 << 16 };
	struct sign_key *key = NULL;
	char detail[300];

	/* All of it at once: a buffer that grew would leave pieces of a key behind. */
	if (!buf_reserve(&text, text.max) || file_read_all(AT_FDCWD, file, &text) == -1) {
		snprintf(why, size, "%s: %s", file, errno == EFBIG ? "is too large for a key" : strerror(errno));
	} else {
		key = sign_key_read(buf_view(&text), detail, sizeof detail);
		if (!key)
			snprintf(why, size, "%s: %s", file, detail);
	}
	if (text.p)
		explicit_bzero(text.p, text.room);
	buf_free(&text);
	return key;
}

struct signer *signing_keys(const struct settings *s, void (*complain)(const struct dkim_words *, const char *why))
{
	struct signer *all = signer_new();

	for (size_t i = 0; all && i < s->ndkim; i++) {
		const struct dkim_words *w = &s->dkim[i];
		char why[700];
		struct sign_key *key = signing_key(w->file, why, sizeof why);
		const char *wrong = key ? signer_add(all, w->domain, w->selector, key) : NULL;

		if (wrong)
			snprintf(why, sizeof why, STR_FMT " %s", STR_ARG(w->domain), wrong);
		if (!key || wrong)
			complain(w, why);
	}
	return all;
}
