/* What a mail filter says: packets are taken apart, and changes made to a message. Whatever it says, the header stays a header of whole
 * fields, the body has nothing but CR LF for line ends, and the envelope can be read. */
#include <stdlib.h>
#include <string.h>

#include "mime/header.h"
#include "parse.h"
#include "smtpd/milteredit.h"

#define HEADER "Received: by us\r\n\tid 1\r\nSubject: one\r\nX-Old: 1\r\nX-Old: 2\r\n"

int LLVMFuzzerTestOneInput(const unsigned char *in, size_t n);

static void must(bool held)
{
	if (!held)
		abort();
}

static void look_at_lines(struct str text)
{
	for (size_t i = 0; i < text.n; i++) {
		must(text.p[i] != '\r' || (i + 1 < text.n && text.p[i + 1] == '\n'));
		must(text.p[i] != '\n' || (i > 0 && text.p[i - 1] == '\r'));
	}
}

static void look_at_header(struct edit *e)
{
	struct buf out = { 0 };
	struct str rest;
	struct field f;
	unsigned ours = 0;

	must(edit_header(e, &out));
	look_at_lines(buf_view(&out));
	rest = buf_view(&out);
	while (header_next(&rest, &f))
		ours += str_eq(f.whole, STR("Received: by us\r\n\tid 1\r\n"));
	must(rest.n == 0 && ours == 1);
	must(out.n >= 4 && !memcmp(out.p + out.n - 4, "\r\n\r\n", 4));
	buf_free(&out);
}

static void look_at_envelope(struct edit *e, const struct envelope *old)
{
	struct envelope now = { 0 };
	struct str rest, line;
	size_t nrcpt = 0;

	must(edit_envelope(e, old, &now));
	rest = buf_view(&now.text);
	while (str_cut(&rest, '\n', &line)) {
		if (str_starts_nocase(line, STR("MAIL "))) {
			must(!parse_mail(str_from(line, 5), PARAM_ALL, &(struct sender){ 0 }).text);
		} else if (str_starts_nocase(line, STR("RCPT "))) {
			must(!parse_rcpt(str_from(line, 5), PARAM_ALL, true, &(struct recipient){ 0 }).text);
			nrcpt++;
		} else {
			must(str_starts_nocase(line, STR("FROM ")));
		}
	}
	must(!rest.n && nrcpt == now.nrcpt);
	envelope_free(&now);
}

static void look_at_body(const struct draft *d)
{
	static char text[1 << 16];
	ssize_t n = d ? draft_read(d, 0, text, sizeof text) : 0;

	if (n > 0 && (size_t)n == draft_size(d)) {
		look_at_lines((struct str){ text, (size_t)n });
		must(text[n - 1] == '\n');
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *in, size_t n)
{
	struct str rest = { (const char *)in, n }, data;
	struct envelope old = { 0 };
	struct milter_options o;
	struct reply r;
	struct draft *d;
	struct edit *e;
	const char *why;
	size_t used, i = 0;
	char letter;

	must(envelope_sender(&old, &(struct sender){ .addr = { STR("a"), STR("b.test") } }) && envelope_origin(&old, "x") &&
		envelope_rcpt(&old, &(struct recipient){ .addr = { STR("b"), STR("c.test") } }));
	d = queue_draft(&old, NULL);
	must(d && draft_write(d, HEADER "\r\nbody\r\n", sizeof HEADER "\r\nbody\r\n" - 1) == 0);
	e = edit_new(d, n & 2, &why);
	must(e && edit_field(e, i, &data, &data));
	while (milter_take(rest, &used, &letter, &data) == 1) {
		rest = str_from(rest, used);
		milter_take_options(data, &o);
		if (!milter_take_reply(data, &r))
			must(r.code >= 400 && r.code <= 599 && r.enhanced[0]);
		if (edit_is_change(letter) && edit_change(e, MILTER_ACTIONS, n & 1, 10000, letter, data))
			goto end;       /* it is out of order: nothing of it counts */
	}
	edit_wanted(e);
	look_at_header(e);
	look_at_envelope(e, &old);
	look_at_body(edit_new_body(e));
end:
	edit_free(e);
	draft_abort(d);
	envelope_free(&old);
	return 0;
}
