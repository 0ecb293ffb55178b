/* Any record, any DNS behind it: SPF comes to an end, asks no more than its limit, ends the same whether facts come one by one or are all there, and its
 * field is one field. Records that pass or fail by ip4 alone are decided a second time by a simple model.
 * The first octet chooses the client's address, the second the sender; the rest is lines: "NAME TYPE DATA", TYPE one of A 6 M P T (TXT) and
 * ! (cannot be found out). A name of one letter x.test and so on is as good as any. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/spf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* ---- the DNS that the input is */

static struct str zone;
static bool at_once;
static struct pending { struct fact_ticket *ticket; enum fact_kind kind; struct str name; char text[300]; } pending[SPF_LOOKUPS];
static size_t nasked, nanswered;

static char type_of(enum fact_kind kind)
{
	static const char types[] = { [FACT_A] = 'A', [FACT_AAAA] = '6', [FACT_MX] = 'M', [FACT_PTR] = 'P', [FACT_TXT] = 'T' };

	return types[kind];
}

static void answer(enum fact_kind kind, struct str name, struct fact_ticket *t)
{
	static struct record r[64];
	static unsigned char octets[64][16];
	struct fact f = { .outcome = NO_NAME, .record = r };
	struct str rest = zone, line, owner, type;
	bool more = true;

	while (more && f.n < 64) {
		more = str_cut(&rest, '\n', &line);
		if (!more)
			line = rest;
		if (!str_cut(&line, ' ', &owner) || !str_eq_nocase(owner, name))
			continue;
		if (f.outcome == NO_NAME)
			f.outcome = NO_DATA;
		if (!str_cut(&line, ' ', &type))
			type = line;
		if (str_eq(type, STR("!"))) {
			f = (struct fact){ .outcome = UNKNOWN, .why = "\x01 (\"\\ \r\n" };
			break;
		}
		if (type.n != 1 || type.p[0] != type_of(kind))
			continue;
		r[f.n] = (struct record){ .data = line };
		if (kind != FACT_TXT && line.n > 255)
			r[f.n].data.n = 255;
		if (kind == FACT_A || kind == FACT_AAAA) {
			for (size_t i = 0; i < 16; i++)
				octets[f.n][i] = line.n ? (unsigned char)line.p[i % line.n] : 0;
			r[f.n].data = (struct str){ (char *)octets[f.n], kind == FACT_A ? 4 : 16 };
		}
		f.outcome = FOUND;
		f.n++;
	}
	fact_answer(t, &f);
}

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	struct pending *p = &pending[nasked];

	(void)source;
	must(nasked < SPF_LOOKUPS && name.n <= 256);
	nasked++;
	*p = (struct pending){ .ticket = ticket, .kind = kind };
	memcpy(p->text, name.p, name.n);
	p->name = (struct str){ p->text, name.n };
	if (at_once) {
		answer(kind, p->name, ticket);
		nanswered = nasked;
	}
}
static struct fact_source world = { .ask = ask };

static void decide(const struct spf_query *q, bool now, struct spf_result *out)
{
	struct facts *facts = facts_new(NULL, 2 * SPF_LOOKUPS);

	must(facts != NULL);
	at_once = now;
	nasked = nanswered = 0;
	for (; spf_check(facts, q, out) == WAIT; nanswered++) {
		must(nanswered < nasked);       /* who waits has asked */
		answer(pending[nanswered].kind, pending[nanswered].name, pending[nanswered].ticket);
	}
	for (; nanswered < nasked; nanswered++)
		answer(pending[nanswered].kind, pending[nanswered].name, pending[nanswered].ticket);
	facts_free(facts);
}

/* ---- what must hold */

static void check_words(const char *text)
{
	for (; *text; text++)
		must(ascii_print(*text));
}

static void check_result(const struct spf_result *r)
{
	check_words(r->domain);
	check_words(r->mechanism);
	check_words(r->problem);
	check_words(r->why);
	check_words(r->explanation);
	must(*r->why);
	must((r->code == SPF_TEMPERROR || r->code == SPF_PERMERROR) == (*r->problem != '\0'));
	must((r->code == SPF_NONE || *r->problem) == (*r->mechanism == '\0'));
	must(r->code == SPF_FAIL || !*r->explanation);
}

/* One field: each line end but the last begins a fold, no line is too long, all quotes and comments close. */
static void check_field(const struct spf_query *q, const struct spf_result *r)
{
	struct buf b = { 0 };
	size_t line = 0, depth = 0;
	bool quoted = false;

	must(spf_field(&b, q, r));
	must(b.n > 16 && !memcmp(b.p, "Received-SPF: ", 14) && !memcmp(b.p + b.n - 2, "\r\n", 2));
	for (size_t i = 0; i < b.n; i++, line++) {
		char c = b.p[i];

		if (c == '\r') {
			must(line <= 998 && !quoted && b.p[i + 1] == '\n' && (i + 2 == b.n || b.p[i + 2] == '\t'));
			i++;
			line = 0;
			continue;
		}
		must(ascii_print(c) || c == '\t');
		if (c == '\\' && (quoted || depth))
			i++;
		else if (c == '"' && !depth)
			quoted = !quoted;
		else if (!quoted && c == '(')
			depth++;
		else if (!quoted && c == ')')
			must(depth-- > 0);
	}
	must(!quoted && !depth);
	buf_free(&b);
}

/* A record of nothing but blanks, ip4: addresses and all, the client IPv4. False: it is another one. */
static bool model(struct str terms, const char *ip, enum spf *out)
{
	static const struct { const char *word; enum spf code; } alls[] = {
		{ "all", SPF_PASS }, { "+all", SPF_PASS }, { "-all", SPF_FAIL }, { "~all", SPF_SOFTFAIL }, { "?all", SPF_NEUTRAL }
	};
	bool done = false;

	*out = SPF_NEUTRAL;
	while (terms.n) {
		struct str word;
		char text[64];
		unsigned char octets[4];
		bool known = false;

		if (!str_cut(&terms, ' ', &word)) {
			word = terms;
			terms = STR("");
		}
		if (!word.n)
			continue;
		for (size_t i = 0; i < sizeof alls / sizeof *alls; i++)
			if (str_eq(word, str_of(alls[i].word))) {
				known = true;
				if (!done)
					*out = alls[i].code;
				done = true;
			}
		if (!known && str_starts_nocase(word, STR("ip4:")) && str_copy(text, sizeof text, str_from(word, 4)) && inet_pton(AF_INET, text, octets) == 1) {
			known = true;
			if (!done && !strcmp(text, ip)) {
				*out = SPF_PASS;
				done = true;
			}
		}
		if (!known)
			return false;
	}
	return true;
}

static void check_model(const struct spf_result *r, const char *ip)
{
	struct str rest = zone, line, record = STR("");
	enum spf wanted;
	size_t n = 0;
	bool more = true;

	while (more) {
		more = str_cut(&rest, '\n', &line);
		if (!more)
			line = rest;
		if (str_starts_nocase(line, STR("x.test !")))
			return;
		if (str_starts_nocase(line, STR("x.test T v=spf1")) && line.p[7] == 'T' && (line.n == 15 || line.p[15] == ' ')) {
			record = str_from(line, 15);
			n++;
		}
	}
	if (n == 1 && record.n < SPF_RECORD_MAX && model(record, ip, &wanted))
		must(r->code == wanted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const ips[] = { "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1" };
	static const struct { const char *local, *domain; } senders[] = {
		{ "a", "x.test" }, { "a.b-c+d", "X.Test." }, { "\"a b\"@", "x.test" }, { "", "" }, { "(\r\n\"\\", "x.test" }, { "a", "[192.0.2.1]" }
	};
	struct sockaddr_storage peer = { .ss_family = AF_INET };
	struct spf_query q = { .peer = (struct sockaddr *)&peer, .helo = STR("x.test"), .receiver = "mx.here.test", .now = 1700000000 };
	struct spf_result one, two;
	const char *ip;

	if (n < 2)
		return 0;
	for (int k = FACT_A; k <= FACT_TXT; k++)
		facts_source((enum fact_kind)k, &world);
	ip = ips[data[0] % 3];
	if (inet_pton(AF_INET, ip, &((struct sockaddr_in *)&peer)->sin_addr) != 1) {
		peer.ss_family = AF_INET6;
		inet_pton(AF_INET6, ip, &((struct sockaddr_in6 *)&peer)->sin6_addr);
	}
	q.from = (struct addr){ str_of(senders[data[1] % 6].local), str_of(senders[data[1] % 6].domain) };
	zone = (struct str){ (const char *)data + 2, n - 2 };
	decide(&q, false, &one);
	check_result(&one);
	check_field(&q, &one);
	decide(&q, true, &two);
	must(one.code == two.code && !strcmp(one.why, two.why) && !strcmp(one.mechanism, two.mechanism) && !strcmp(one.explanation, two.explanation));
	if (data[1] % 6 == 0 && data[0] % 3 != 1)
		check_model(&one, "192.0.2.1");
	return 0;
}
