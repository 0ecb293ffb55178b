/* Reports as messages. */
#include "policy/reportmail.h"

#ifdef HAVE_ZLIB
#include <zlib.h>
#endif

#include "lib/clock.h"
#include "lib/codec.h"
#include "lib/late.h"

enum { COLUMNS = 76 };

/* The text is ours and never holds it, nor does base64. */
#define BOUNDARY "=_report"

#ifdef HAVE_ZLIB
static struct late library = { .file = HAVE_ZLIB };
#define ZLIB(f) LATE(library, HAVE_ZLIB, f)

static bool can_pack(void) { return late_open(&library); }

static bool pack(struct buf *out, struct str text)
{
	enum { LARGEST_WINDOW = 15, GZIP = 16, USUAL_MEMORY = 8 };
	z_stream z = { 0 };
	size_t room;
	char *to;
	bool good;

	if (ZLIB(deflateInit2_)(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, LARGEST_WINDOW + GZIP, USUAL_MEMORY, Z_DEFAULT_STRATEGY, ZLIB_VERSION, (int)sizeof z) != Z_OK)
		return false;
	room = ZLIB(deflateBound)(&z, text.n);
	to = buf_reserve(out, room);
	z.next_in = (unsigned char *)(uintptr_t)text.p;
	z.avail_in = (unsigned)text.n;
	z.next_out = (unsigned char *)to;
	z.avail_out = (unsigned)room;
	good = to && ZLIB(deflate)(&z, Z_FINISH) == Z_STREAM_END;
	out->n += good ? room - z.avail_out : 0;
	ZLIB(deflateEnd)(&z);
	return good;
}
#else
static bool can_pack(void) { return false; }
static bool pack(struct buf *out, struct str text) { (void)out, (void)text; return false; }
#endif

static void put_encoded(struct buf *out, struct str octets)
{
	enum { OF_A_LINE = COLUMNS / 4 * 3 };

	for (size_t at = 0; at < octets.n; at += OF_A_LINE) {
		base64_encode(out, octets.p + at, octets.n - at < OF_A_LINE ? octets.n - at : OF_A_LINE);
		buf_puts(out, "\r\n");
	}
}

static void put_header(struct buf *out, const struct reportmail *m)
{
	char date[64];

	buf_printf(out, "From: Mail Delivery System <%s>\r\n", m->from);
	for (size_t i = 0; i < m->nto; i++)
		buf_printf(out, "%s<%s>%s", i ? "\t" : "To: ", m->to[i], i + 1 < m->nto ? ",\r\n" : "\r\n");
	buf_printf(out, "Subject: Report Domain: %s\r\n\tSubmitter: %s\r\n\tReport-ID: <%s>\r\n", m->domain, m->hostname, m->id);
	buf_printf(out, "Date: %s\r\nMessage-ID: <%s>\r\n%s", clock_rfc5322(m->now, date), m->id, m->fields);
	buf_printf(out, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: multipart/%s;\r\n\tboundary=\"" BOUNDARY "\"\r\n\r\n",
		m->kind->multipart);
}

static void put_report(struct buf *out, const struct reportmail *m, struct str octets, bool packed)
{
	buf_printf(out, "Content-Type: %s\r\nContent-Transfer-Encoding: base64\r\n", packed ? m->kind->packed : m->kind->plain);
	buf_printf(out, "Content-Disposition: attachment;\r\n\tfilename=\"%s!%s!%lld!%lld.%s%s\"\r\n\r\n", m->hostname, m->domain, (long long)m->begin,
		(long long)m->end - 1, m->kind->suffix, packed ? ".gz" : "");
	put_encoded(out, octets);
}

bool reportmail_print(struct buf *out, const struct reportmail *m)
{
	struct buf octets = { 0 };
	bool packed = can_pack();

	if (packed ? pack(&octets, m->report) : buf_str(&octets, m->report)) {
		put_header(out, m);
		buf_puts(out, "--" BOUNDARY "\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n");
		buf_str(out, m->words);
		buf_puts(out, "\r\n--" BOUNDARY "\r\n");
		put_report(out, m, buf_view(&octets), packed);
		buf_puts(out, "\r\n--" BOUNDARY "--\r\n");
	}
	out->bad |= octets.bad || !octets.n;
	buf_free(&octets);
	return !out->bad;
}
