/* gzip and zip, read. */
#include "lib/unpack.h"

#include <stdlib.h>
#include <string.h>
#ifdef HAVE_ZLIB
#include <zlib.h>

#include "lib/late.h"
#endif

static bool begins(struct str in, const char *magic, size_t n) { return in.n >= n && !memcmp(in.p, magic, n); }

static bool is_packed(struct str in) { return begins(in, "\x1f\x8b", 2) || begins(in, "PK\3\4", 4); }

static const char not_here[] = "it is packed, and there is no zlib here";

#ifdef HAVE_ZLIB
static struct late library = { .file = HAVE_ZLIB };
#define ZLIB(f) LATE(library, HAVE_ZLIB, f)

bool unpack_available(void) { return late_is_there(&library); }

enum {
	PIECE = 16 << 10,
	WINDOW = 15, GZIP = 16, RAW = -15,      /* for inflateInit2() */
	ZIP_HEADER = 30,                        /* octets of a file's header in an archive, without its name */
	ZIP_ENCRYPTED = 1, ZIP_LATER = 8,       /* flags: sizes and checksum stand behind the data */
	ZIP_STORED = 0, ZIP_DEFLATED = 8
};

/* *in: what is behind it afterwards. */
static const char *inflate_all(struct str *in, int window, struct buf *out)
{
	z_stream z = { .next_in = (unsigned char *)(uintptr_t)in->p, .avail_in = (unsigned)in->n };
	int got = ZLIB(inflateInit2_)(&z, window, ZLIB_VERSION, (int)sizeof z) == Z_OK ? Z_OK : Z_MEM_ERROR;
	char piece[PIECE];

	while (got == Z_OK && !out->bad) {
		z.next_out = (unsigned char *)piece;
		z.avail_out = sizeof piece;
		got = ZLIB(inflate)(&z, Z_NO_FLUSH);
		buf_add(out, piece, sizeof piece - z.avail_out);
	}
	*in = str_from(*in, in->n - z.avail_in);
	ZLIB(inflateEnd)(&z);
	return out->bad ? "it unpacks to too much" : got == Z_STREAM_END ? NULL : got == Z_MEM_ERROR ? "out of memory" :
		got == Z_BUF_ERROR ? "it ends too early" : "it is broken";
}

static uint32_t little(const char *p, size_t n)
{
	uint32_t value = 0;

	while (n--)
		value = value << 8 | (unsigned char)p[n];
	return value;
}

/* Behind the data, perhaps behind a signature. */
static bool read_later_sum(struct str in, uint32_t *sum)
{
	if (begins(in, "PK\7\10", 4))
		in = str_from(in, 4);
	if (in.n < 4)
		return false;
	*sum = little(in.p, 4);
	return true;
}

static const char *unzip(struct str in, struct buf *out)
{
	unsigned flags, method, names;
	uint32_t sum, size;
	size_t before = out->n;
	const char *wrong = NULL;

	if (in.n < ZIP_HEADER)
		return "it ends too early";
	flags = little(in.p + 6, 2);
	method = little(in.p + 8, 2);
	sum = little(in.p + 14, 4);
	size = little(in.p + 18, 4);
	names = little(in.p + 26, 2) + little(in.p + 28, 2);
	if (flags & ZIP_ENCRYPTED)
		return "it is encrypted";
	if (in.n - ZIP_HEADER < names)
		return "it ends too early";
	in = str_from(in, ZIP_HEADER + names);
	if (method == ZIP_DEFLATED) {
		wrong = inflate_all(&in, RAW, out);
	} else if (method == ZIP_STORED && !(flags & ZIP_LATER)) {
		if (size > in.n)
			return "it ends too early";
		wrong = buf_add(out, in.p, size) ? NULL : "it unpacks to too much";
	} else {
		return "it is packed in a way that is not known here";
	}
	if (!wrong && flags & ZIP_LATER && !read_later_sum(in, &sum))
		return "it ends too early";
	if (!wrong && ZLIB(crc32)(0, (const unsigned char *)out->p + before, (unsigned)(out->n - before)) != sum)
		return "its checksum is wrong";
	return wrong;
}

const char *unpack(struct str in, struct buf *out)
{
	if (is_packed(in) && !late_open(&library))
		return not_here;
	if (begins(in, "\x1f\x8b", 2))
		return inflate_all(&in, WINDOW + GZIP, out);
	if (begins(in, "PK\3\4", 4))
		return unzip(in, out);
	return buf_str(out, in) ? NULL : "it is too large";
}
#else
bool unpack_available(void) { return false; }

const char *unpack(struct str in, struct buf *out)
{
	if (is_packed(in))
		return not_here;
	return buf_str(out, in) ? NULL : "it is too large";
}
#endif
