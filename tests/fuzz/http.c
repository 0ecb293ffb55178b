/* Answers over HTTP, in whole and in pieces: both come to the same, within the bounds, and the end is an end.
 *
 * The first octet: how many octets come at a time, and (bit 7) whether the peer says that it has ended. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "http: broken: %s\n", what);
	abort();
}

static void check_bounds(const struct http_reply *r)
{
	must(r->body.n <= HTTP_BODY && r->line.n <= HTTP_LINE, "more is kept than may be");
	must(!r->wrong[0] || (http_reply_over(r) && !r->body.p), "something is wrong, and it goes on");
	must(memchr(r->wrong, '\0', sizeof r->wrong) != NULL, "words without end");
	for (const char *p = r->wrong; *p; p++)
		must(*p >= ' ' && *p <= '~', "an octet in the words that is no character");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct http_reply whole = { 0 }, pieces = { 0 };
	size_t piece = n ? (data[0] & 0x7f) + 1u : 1;
	bool said = n && data[0] & 0x80;

	for (size_t i = 1; i < n; i += piece) {
		http_reply_take(&pieces, (struct str){ (const char *)data + i, n - i < piece ? n - i : piece });
		check_bounds(&pieces);
	}
	if (n)
		http_reply_take(&whole, (struct str){ (const char *)data + 1, n - 1 });
	check_bounds(&whole);
	must(http_reply_over(&whole) == http_reply_over(&pieces), "over in one way and not in the other");
	http_reply_end(&whole, said);
	http_reply_end(&pieces, said);
	must(http_reply_over(&whole) && http_reply_over(&pieces), "the end is no end");
	must(strcmp(whole.wrong, pieces.wrong) == 0, "other words");
	must(str_eq(buf_view(&whole.body), buf_view(&pieces.body)), "another body");
	must(whole.wrong[0] || (whole.status == 200 && whole.plain), "an answer that should not count");
	http_reply_free(&whole);
	http_reply_free(&pieces);
	return 0;
}
