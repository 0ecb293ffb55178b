/* Any From, any DNS behind it: DMARC, iprev and lists in the DNS come to an end, ask no more than their limits, end the same whether facts come one
 * by one or are all there, and the field about them is one field. A header read octet by octet has the authors of one read at once, and where
 * the owner asks for strict alignment the verdict is compared with a simple model.
 * The first octet is pct='s chance; then come lines: the header up to an empty line; "spf DOMAIN", "dkim DOMAIN" (passed), "temp DOMAIN"
 * (a signature whose key is out of reach); and the DNS: "NAME text", where "!" cannot be found out. An A or AAAA is made from the text. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mime/header.h"
#include "policy/authres.h"
#include "policy/dmarc.h"
#include "policy/dnsbl.h"
#include "policy/iprev.h"
#include "policy/spf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* ---- the DNS that the input is */

static struct str zone;
static struct pending { struct fact_ticket *ticket; enum fact_kind kind; char name[300]; size_t n; } pending[DMARC_LOOKUPS];
static size_t limit, nasked, nanswered;
static bool at_once;

static void answer(const struct pending *p)
{
	static struct record r[64];
	static unsigned char octets[64][16];
	struct fact f = { .outcome = NO_NAME, .record = r };
	struct str rest = zone, line, owner;

	for (bool more = true; more && f.n < 64;) {
		more = str_cut(&rest, '\n', &line);
		if (!more)
			line = rest;
		if (!str_cut(&line, ' ', &owner) || !str_eq_nocase(owner, (struct str){ p->name, p->n }))
			continue;
		if (str_eq(line, STR("!"))) {
			f = (struct fact){ .outcome = UNKNOWN, .why = "\x01 (\"\\ \r\n", .local_fault = owner.n % 2 };
			break;
		}
		r[f.n].data = line;
		if (p->kind == FACT_A || p->kind == FACT_AAAA) {
			for (size_t i = 0; i < 16; i++)
				octets[f.n][i] = line.n ? (unsigned char)line.p[i % line.n] : 0;
			octets[f.n][0] = line.n % 4 ? 127 : 192;
			r[f.n].data = (struct str){ (char *)octets[f.n], p->kind == FACT_A ? 4 : 16 };
		} else if (p->kind == FACT_PTR) {
			r[f.n].data = STR("mx.a");
		}
		f.outcome = FOUND;
		f.n++;
	}
	fact_answer(p->ticket, &f);
}

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	struct pending *p = &pending[nasked];

	(void)source;
	must(nasked < limit && name.n <= 263);
	nasked++;
	*p = (struct pending){ .ticket = ticket, .kind = kind, .n = name.n };
	memcpy(p->name, name.p, name.n);
	if (at_once) {
		answer(p);
		nanswered = nasked;
	}
}
static struct fact_source world = { .ask = ask };

static struct facts *begin(size_t most, bool now)
{
	struct facts *f = facts_new(NULL, 1000);

	must(f != NULL);
	limit = most;
	at_once = now;
	nasked = nanswered = 0;
	return f;
}

static void answer_one(void)
{
	must(nanswered < nasked);               /* who waits has asked */
	answer(&pending[nanswered++]);
}

static void end(struct facts *f)
{
	while (nanswered < nasked)
		answer_one();
	facts_free(f);
}

/* ---- the input */

static void take_ids(struct str rest, struct dmarc_query *q)
{
	struct str line;

	while (str_cut(&rest, '\n', &line)) {
		struct str word;

		if (!str_cut(&line, ' ', &word) || line.n > DOMAIN_MAX)
			continue;
		if (str_eq(word, STR("spf")))
			q->spf = (struct dmarc_id){ line, DMARC_AUTH_PASS };
		if (q->ndkim < DMARC_SIGNATURES && (str_eq(word, STR("dkim")) || str_eq(word, STR("temp"))))
			q->dkim[q->ndkim++] = (struct dmarc_id){ line, word.p[0] == 'd' ? DMARC_AUTH_PASS : DMARC_AUTH_TEMPERROR };
	}
}

static void read_author(struct str header, size_t step, struct dmarc_author *out)
{
	struct dmarc_reader r;

	memset(out, 0, sizeof *out);
	dmarc_read_begin(&r);
	for (size_t i = 0; i < header.n; i += step)
		dmarc_read(&r, (struct str){ header.p + i, header.n - i < step ? header.n - i : step });
	dmarc_read_end(&r, out);
}

/* Lines end in LF in the input. */
static struct str with_crlf(struct str text, struct buf *room)
{
	buf_clear(room);
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '\n')
			buf_char(room, '\r');
		if (text.p[i] != '\r')
			buf_char(room, text.p[i]);
	}
	return buf_view(room);
}

/* ---- what must hold */

static void check_words(const char *text)
{
	for (; *text; text++)
		must(ascii_print(*text));
}

static void check_result(const struct dmarc_result *r)
{
	check_words(r->why);
	check_words(r->domain);
	must(*r->why);
	must(r->policy == DMARC_P_NONE || (r->code == DMARC_FAIL && *r->policy_domain && !r->spf_aligned && !r->dkim_aligned));
	must((r->code == DMARC_PASS) == (r->spf_aligned || r->dkim_aligned));
	must(!r->retry || r->code == DMARC_TEMPERROR);
	must(!r->unclear || r->code == DMARC_PERMERROR);
	must(r->policy <= r->published && (r->policy == r->published || r->override || r->code != DMARC_FAIL));
	must(r->code != DMARC_NONE || !*r->policy_domain);
}

static struct dmarc_result decide(const struct dmarc_query *q, bool now)
{
	struct facts *f = begin(DMARC_LOOKUPS, now);
	struct dmarc_result r;

	while (dmarc_check(f, q, &r) == WAIT)
		answer_one();
	end(f);
	check_result(&r);
	return r;
}

/* One author, who has a record of his own that is strict in both: only the same name speaks for him. */
static void check_model(const struct dmarc_query *q, const struct dmarc_result *r)
{
	bool pass = false, temp = false;

	if (q->author->n != 1 || r->unclear || strcmp(r->policy_domain, r->domain) != 0 || !r->record.strict_dkim || !r->record.strict_spf)
		return;
	pass = q->spf.result == DMARC_AUTH_PASS && str_eq_nocase(q->spf.domain, str_of(r->domain));
	for (size_t i = 0; i < q->ndkim; i++) {
		bool same = str_eq_nocase(q->dkim[i].domain, str_of(r->domain));

		pass |= same && q->dkim[i].result == DMARC_AUTH_PASS;
		temp |= same && q->dkim[i].result == DMARC_AUTH_TEMPERROR;
	}
	must(r->code == (pass ? DMARC_PASS : temp ? DMARC_TEMPERROR : DMARC_FAIL));
}

static void check_field(const struct authres *r)
{
	struct buf b = { 0 };
	struct field f;
	struct str rest;

	must(authres_print(&b, "mx.test", r) && b.n <= AUTHRES_ROOM);
	rest = buf_view(&b);
	must(header_next(&rest, &f) && !rest.n && f.whole.n == b.n);
	for (size_t i = 0; i < b.n; i++)
		must(ascii_print(b.p[i]) || strchr("\r\n\t", b.p[i]));
	buf_free(&b);
}

static void check_lists(const struct ip *ip, struct str domain, struct iprev_result *iprev)
{
	struct dnsbl_list lists[2];
	struct dnsbl_query q = { .list = lists, .n = 2, .ip = ip, .domain = { domain } };
	struct dnsbl_result r;
	struct facts *f;

	must(!dnsbl_parse(STR("a"), false, &lists[0]) && !dnsbl_parse(STR("b=127.0-255.0-255.48-57 -3"), true, &lists[1]));
	f = begin(DNSBL_LOOKUPS, false);
	while (dnsbl_check(f, &q, &r) == WAIT)
		answer_one();
	end(f);
	check_words(r.why);
	check_words(r.words);
	must(!(r.listed & r.unwell) && r.score >= -3 && r.score <= 1);
	f = begin(IPREV_LOOKUPS, false);
	while (iprev_check(f, ip, iprev) == WAIT)
		answer_one();
	end(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct ip ip = { .n = 4, .octet = { 192, 0, 2, 7 }, .text = "192.0.2.7" };
	static struct buf header;
	struct str text = { (const char *)data + 1, n ? n - 1 : 0 }, head;
	struct dmarc_author author, again;
	struct dmarc_query q = { .author = &author };
	struct dmarc_result r, same;
	struct iprev_result iprev;
	struct dmarc_uri uri;
	struct str list;
	const char *end_of_header;

	if (!n)
		return 0;
	for (int k = FACT_A; k <= FACT_TXT; k++)
		facts_source((enum fact_kind)k, &world);
	end_of_header = memmem(text.p, text.n, "\n\n", 2);
	head = with_crlf((struct str){ text.p, end_of_header ? (size_t)(end_of_header - text.p) + 2 : text.n }, &header);
	zone = end_of_header ? str_from(text, (size_t)(end_of_header - text.p) + 2) : STR("");
	read_author(head, head.n ? head.n : 1, &author);
	read_author(head, 1, &again);
	must(author.n == again.n && author.fields == again.fields && author.report == again.report && !memcmp(author.domain, again.domain, sizeof author.domain));
	must((author.unclear == NULL) == (again.unclear == NULL));
	take_ids(zone, &q);
	q.sample = data[0] % 100;
	r = decide(&q, false);
	same = decide(&q, true);
	must(r.code == same.code && r.policy == same.policy && !strcmp(r.why, same.why) && !strcmp(r.organization, same.organization));
	check_model(&q, &r);
	list = str_of(r.rua);
	while (dmarc_uri_next(&list, &uri))
		check_words(uri.address);
	check_lists(&ip, q.spf.domain, &iprev);
	check_field(&(struct authres){ .ip = &ip, .iprev = &iprev, .dmarc = &r });
	return 0;
}
