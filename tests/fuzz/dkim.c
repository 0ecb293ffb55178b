/* DKIM of any octets. The first one chooses: a key record, a body (held against a plain statement of its canonical forms), a message in two
 * splittings that must come to the same, a message that is signed, which then must hold, or one that fields are taken out of. */
#include "policy/dkim.h"

#include <stdlib.h>
#include <string.h>

#include "lib/codec.h"
#include "policy/arc.h"
#include "policy/authres.h"
#include "policy/sign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void nothing(struct task *t) { (void)t; }
static struct task wake = { .run = nothing };

/* ---- a key record */

static void read_key(struct str text)
{
	struct dkim_key k;

	if (!dkim_key_parse(text, &k) && !k.revoked) {
		must(k.n <= sizeof k.octets && k.key.number.n && k.key.bits);
		public_key_check(&k.key, (const unsigned char *)"0123456789abcdef0123456789abcdef", text);
	}
}

/* ---- a body: RFC 6376 3.4.3, 3.4.4, line by line */

static void canonical(enum dkim_canon canon, struct str body, struct buf *out)
{
	while (body.n) {
		const char *end = memmem(body.p, body.n, "\r\n", 2);
		struct str line = { body.p, end ? (size_t)(end - body.p) : body.n };
		size_t from = out->n;

		body = str_from(body, end ? line.n + 2 : line.n);
		for (size_t i = 0; i < line.n; i++) {
			bool blank = line.p[i] == ' ' || line.p[i] == '\t';

			if (canon == DKIM_SIMPLE || !blank)
				buf_char(out, line.p[i]);
			else if (out->n == from || out->p[out->n - 1] != ' ')
				buf_char(out, ' ');
		}
		if (canon == DKIM_RELAXED && out->n > from && out->p[out->n - 1] == ' ')
			out->n--;
		buf_puts(out, "\r\n");
	}
	while (out->n >= 4 && !memcmp(out->p + out->n - 4, "\r\n\r\n", 4))
		out->n -= 2;
	if (out->n <= 2) {
		buf_clear(out);
		if (canon == DKIM_SIMPLE)
			buf_puts(out, "\r\n");
	}
}

/* The next block: its size comes from the octets of `sizes`, round and round. */
static size_t block(const uint8_t *sizes, size_t *turn, size_t left)
{
	size_t n = sizes[(*turn)++ % 4] % 64 + 1;

	return n < left ? n : left;
}

static void check_body(const uint8_t *sizes, struct str text)
{
	for (int canon = DKIM_SIMPLE; canon <= DKIM_RELAXED; canon++) {
		uint64_t limit = sizes[3] & 1 ? sizes[2] : UINT64_MAX;
		unsigned char want[HASH_MAX], got[DKIM_DIGEST];
		struct buf form = { 0 };
		struct dkim_body b;
		size_t turn = 0;

		canonical((enum dkim_canon)canon, text, &form);
		hash_of(HASH_SHA256, (struct str){ form.p, form.n < limit ? form.n : limit }, want);
		dkim_body_begin(&b, (enum dkim_canon)canon, limit);
		for (size_t at = 0, n; at < text.n; at += n) {
			n = block(sizes, &turn, text.n - at);
			dkim_body_add(&b, (struct str){ text.p + at, n });
		}
		dkim_body_end(&b, got);
		must(!memcmp(want, got, sizeof got) && (form.n <= limit ? b.n == form.n : b.n > limit));
		buf_free(&form);
	}
}

/* ---- a message. Every question has the same answer. */

static const char record[] = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC"
	"DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

static void answer(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	struct record r = { .data = { record, sizeof record - 1 } };
	struct fact f = { .outcome = FOUND, .n = 1, .record = &r };

	(void)source;
	must(kind == FACT_TXT && name.n <= 253);
	fact_answer(ticket, &f);
}

static struct dkim *judge(const uint8_t *sizes, struct str text, struct facts *facts)
{
	struct dkim *d = dkim_new();
	size_t turn = 0;

	must(d != NULL);
	for (size_t at = 0, n; at < text.n; at += n) {
		n = sizes ? block(sizes, &turn, text.n - at) : text.n;
		dkim_add(d, (struct str){ text.p + at, n });
	}
	dkim_end(d);
	for (int turns = 0; !dkim_judge(d, facts, 1600000000); turns++)
		must(turns < 2);
	return d;
}

static void check_chain(const struct arc *a, const struct arc *b)
{
	char domain[DOMAIN_MAX + 1] = "example.org";
	const char *why, *same;

	must(!a == !b);
	if (!a)
		return;
	must(arc_result(a, &why) != ARC_UNKNOWN && arc_result(a, &why) == arc_result(b, &same) && !strcmp(why, same) && *why);
	for (const char *c = why; *c; c++)
		must(ascii_print(*c));
	must(arc_sets(a) <= ARC_SETS && arc_sets(a) == arc_sets(b));
	for (size_t i = 1; i <= arc_sets(a); i++)
		must(*arc_sealer(a, i) || arc_result(a, &why) == ARC_FAIL);
	if (arc_vouches(a, "example.org example.com", domain) == ARC_PASS)
		must(arc_result(a, &why) == ARC_PASS && arc_sets(a) > 0);
}

static void check_message(const uint8_t *sizes, struct str text)
{
	struct facts *facts = facts_new(&wake, DKIM_LOOKUPS);
	const char *why;
	struct dkim *a = judge(NULL, text, facts), *b = judge(sizes, text, facts);

	must(dkim_count(a) == dkim_count(b) && dkim_passed_over(a) == dkim_passed_over(b) && dkim_fault(a, &why) == dkim_fault(b, &why));
	must(dkim_count(a) <= DKIM_SIGNATURES);
	for (size_t i = 0; i < dkim_count(a); i++) {
		const struct dkim_signature *s = dkim_at(a, i), *t = dkim_at(b, i);

		must(s->result != DKIM_NONE && s->result == t->result && !strcmp(s->why, t->why) && *s->why);
		must(!memcmp(s->header_digest, t->header_digest, DKIM_DIGEST));
		for (const char *c = s->why; *c; c++)
			must(ascii_print(*c));
	}
	check_chain(dkim_arc(a), dkim_arc(b));
	dkim_free(a);
	dkim_free(b);
	facts_free(facts);
}

/* ---- signing: the header ends where the choice says, and From is put in */

static void check_signing(const uint8_t *sizes, struct str text)
{
	static struct signer *signer;
	static struct buf public_record;
	struct facts *facts = facts_new(&wake, DKIM_LOOKUPS);
	struct buf header = { 0 }, fields = { 0 };
	struct str end;
	struct signing *g;
	const char *why;

	if (!signer) {
		struct sign_key *key = sign_key_new(ed25519_available() ? KEY_ED25519 : KEY_RSA, 1024);
		struct buf octets = { 0 };

		signer = signer_new();
		must(key && sign_key_public(key, &octets));
		buf_puts(&public_record, ed25519_available() ? "k=ed25519; p=" : "p=");
		base64_encode(&public_record, octets.p, octets.n);
		must(!signer_add(signer, STR("example.org"), STR("sel"), key));
		buf_free(&octets);
	}
	buf_puts(&header, "From: a@example.org\r\n");
	end = (struct str){ text.p, dkim_header_end(text) };
	buf_str(&header, end);
	if (end.n < 2 || memcmp(end.p + end.n - 2, "\r\n", 2) != 0 || (end.n > 2 && (end.n < 4 || memcmp(end.p + end.n - 4, "\r\n\r\n", 4) != 0)))
		buf_puts(&header, "\r\n\r\n");
	g = signing_begin(signer, buf_view(&header), &why);
	if (g) {
		struct record r = { .data = buf_view(&public_record) };
		struct fact f = { .outcome = FOUND, .n = 1, .record = &r };
		struct str body = str_from(text, end.n);
		struct dkim *d;

		for (size_t at = 0, n, turn = 0; at < body.n; at += n) {
			n = block(sizes, &turn, body.n - at);
			signing_add(g, (struct str){ body.p + at, n });
		}
		must(signing_end(g, 1600000000, &fields) && fields.n <= signer_room(signer));
		buf_str(&fields, buf_view(&header));
		buf_str(&fields, body);
		facts_put(facts, FACT_TXT, STR("sel._domainkey.example.org"), &f);
		d = judge(sizes, buf_view(&fields), facts);
		if (fields.n < DKIM_HEADER_MAX)
			must(dkim_count(d) && dkim_at(d, 0)->result == DKIM_PASS);
		dkim_free(d);
		signing_free(g);
	}
	facts_free(facts);
	buf_free(&header);
	buf_free(&fields);
}

/* ---- fields in our name: gone however the text is split, and none is left */

static unsigned filter(const uint8_t *sizes, struct str text, struct buf *out)
{
	struct authres_filter f;
	size_t turn = 0;

	authres_filter_begin(&f, "mx.example.org");
	for (size_t at = 0, n; at < text.n; at += n) {
		n = sizes ? block(sizes, &turn, text.n - at) : text.n;
		must(authres_filter_add(&f, (struct str){ text.p + at, n }, out));
	}
	must(authres_filter_end(&f, out));
	authres_filter_free(&f);
	return f.removed;
}

static void check_filter(const uint8_t *sizes, struct str text)
{
	struct buf a = { 0 }, b = { 0 }, again = { 0 };

	must(filter(NULL, text, &a) == filter(sizes, text, &b) && str_eq(buf_view(&a), buf_view(&b)));
	must(a.n <= text.n && filter(sizes, buf_view(&a), &again) == 0 && str_eq(buf_view(&a), buf_view(&again)));
	buf_free(&a);
	buf_free(&b);
	buf_free(&again);
}

/* The choice, four octets of block sizes, then the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fact_source source = { .ask = answer };
	struct str text;

	if (size < 5)
		return 0;
	facts_source(FACT_TXT, &source);
	text = (struct str){ (const char *)data + 5, size - 5 };
	switch (data[0] % 5) {
	case 0: read_key(text); break;
	case 1: check_body(data + 1, text); break;
	case 2: check_message(data + 1, text); break;
	case 3: check_signing(data + 1, text); break;
	case 4: check_filter(data + 1, text); break;
	}
	return 0;
}
