/* The message on the wire: body stored == body sent, however the octets are cut into blocks. */
#include "mime/transfer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* The next block: its size comes from the octets of `sizes`, round and round. */
static size_t block(const uint8_t *sizes, size_t *turn, size_t left)
{
	size_t n = sizes[(*turn)++ % 4] % 16 + 1;

	return n < left ? n : left;
}

static bool same(const struct buf *a, const struct buf *b)
{
	return str_eq(buf_view(a), buf_view(b));
}

/* Whether a line end in s lacks its CR or its LF. */
static bool any_bare(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r'))
			return true;
		if (s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n'))
			return true;
	}
	return false;
}

static bool ends_line(struct str s)
{
	return s.n >= 2 && memcmp(s.p + s.n - 2, "\r\n", 2) == 0;
}

static void check_undot(const uint8_t *sizes, struct str wire)
{
	struct undot whole = { 0 }, split = { 0 };
	struct buf a = { 0 }, b = { 0 };
	size_t used = undot(&whole, wire.p, wire.n, &a), done = 0, turn = 0;

	must(used == wire.n || whole.ended);
	while (done < wire.n && !split.ended) {
		size_t n = block(sizes, &turn, wire.n - done), took = undot(&split, wire.p + done, n, &b);

		must(took == n || split.ended);
		done += took;
	}
	must(done == used && same(&a, &b));
	must(whole.ended == split.ended && whole.bare == split.bare && whole.nul == split.nul);
	must(whole.eight_bit == split.eight_bit && whole.longest == split.longest && whole.line == split.line);
	if (whole.ended) {
		must(used >= 3 && memcmp(wire.p + used - 3, ".\r\n", 3) == 0);
		must(used == 3 || memcmp(wire.p + used - 5, "\r\n", 2) == 0);
		must(whole.bare == any_bare((struct str){ wire.p, used }));
		must(a.n == 0 || ends_line(buf_view(&a)));
	}
	buf_free(&a);
	buf_free(&b);
}

static void check_dot(const uint8_t *sizes, struct str message)
{
	struct dot whole = { 0 }, split = { 0 };
	struct undot u = { 0 };
	struct buf a = { 0 }, b = { 0 }, back = { 0 };
	struct str returned;
	size_t done = 0, turn = 0;

	must(dot_add(&whole, message.p, message.n, &a) && dot_end(&whole, &a));
	while (done < message.n) {
		size_t n = block(sizes, &turn, message.n - done);

		must(dot_add(&split, message.p + done, n, &b));
		done += n;
	}
	must(dot_end(&split, &b));
	must(same(&a, &b));
	must(undot(&u, a.p, a.n, &back) == a.n && u.ended);
	returned = buf_view(&back);
	if (message.n && !ends_line(message)) {         /* it was completed */
		must(ends_line(returned));
		returned.n -= 2;
	}
	must(str_eq(returned, message));
	buf_free(&a);
	buf_free(&b);
	buf_free(&back);
}

static void check_crlf(const uint8_t *sizes, struct str text)
{
	struct crlf whole = { 0 }, split = { 0 }, second = { 0 };
	struct buf a = { 0 }, b = { 0 }, again = { 0 };
	size_t done = 0, turn = 0;

	must(crlf_add(&whole, text.p, text.n, &a) && crlf_end(&whole, &a));
	while (done < text.n) {
		size_t n = block(sizes, &turn, text.n - done);

		must(crlf_add(&split, text.p + done, n, &b));
		done += n;
	}
	must(crlf_end(&split, &b));
	must(same(&a, &b));
	must(!any_bare(buf_view(&a)) && (a.n == 0 || ends_line(buf_view(&a))));
	must(crlf_add(&second, a.p, a.n, &again) && crlf_end(&second, &again));
	must(same(&a, &again));
	buf_free(&a);
	buf_free(&b);
	buf_free(&again);
}

/* Four octets of block sizes, then the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text;

	if (size < 4)
		return 0;
	text = (struct str){ (const char *)data + 4, size - 4 };
	check_undot(data, text);
	check_dot(data, text);
	check_crlf(data, text);
	return 0;
}
