/* Golden files, and reports taken out of their messages. */
#include "tests/golden.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

#include "lib/codec.h"
#include "lib/file.h"

void golden_check(const char *name, struct buf *out)
{
	struct buf golden = { .max = 100000 };
	char path[100];
	FILE *f;

	snprintf(path, sizeof path, "tests/golden/%s", name);
	if (getenv("FARDEL_GOLDEN") && (f = fopen(path, "w"))) {
		ck_assert_uint_eq(fwrite(out->p, 1, out->n, f), out->n);
		fclose(f);
	}
	ck_assert_msg(file_read_all(AT_FDCWD, path, &golden) == 0, "%s cannot be read (run from the root of the project)", path);
	ck_assert_msg(str_eq(buf_view(out), buf_view(&golden)), "%s is:\n%s", path, buf_cstr(out));
	buf_free(&golden);
}

static void inflate_to(struct buf *out, unsigned char *octets, size_t n)
{
#ifdef HAVE_ZLIB
	enum { ROOM = 16 << 20 };
	z_stream z = { .next_in = octets, .avail_in = (unsigned)n };

	ck_assert_int_eq(inflateInit2(&z, 15 + 16), Z_OK);
	z.next_out = (unsigned char *)buf_reserve(out, ROOM);
	z.avail_out = ROOM;
	ck_assert_int_eq(inflate(&z, Z_FINISH), Z_STREAM_END);
	out->n += z.total_out;
	inflateEnd(&z);
#else
	buf_add(out, octets, n);
#endif
}

/* To the empty line. */
static void decode(struct str text, struct buf *out)
{
	struct buf octets = { 0 };
	struct str one;

	while (str_cut(&text, '\n', &one) && (one = str_trim(one)).n) {
		size_t room = 60;
		char *to = buf_reserve(&octets, room);

		ck_assert_uint_le(one.n, 76);
		ck_assert(to && base64_decode(one, (unsigned char *)to, &room));
		octets.n += room;
	}
	inflate_to(out, (unsigned char *)octets.p, octets.n);
	buf_free(&octets);
}

void golden_unpack(struct buf *message, struct buf *report, struct buf *shown)
{
	static const char end_of_header[] = "\r\n\r\n";
	const char *at = strstr(buf_cstr(message), "filename="), *end;

	ck_assert_ptr_nonnull(at);
	at = strstr(at, end_of_header) + strlen(end_of_header);
	decode(str_of(at), report);
	ck_assert_ptr_nonnull(end = strstr(at, "\r\n\r\n--"));
	for (const char *p = message->p; *p; p++)
		if ((p < at || p >= end) && *p != '\r')
			buf_char(shown, *p);
}
