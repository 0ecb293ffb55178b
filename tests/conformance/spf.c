/* The published test suites of SPF: spf SUITE.yml... has policy/spf.c decide every case over the DNS that a suite invents.
 * Prints what differs, then "N passed, N failed".
 *
 * Of YAML it reads what the suites use: documents of `tests:` and `zonedata:`, two blanks deeper a name each, and below it
 * "key: value" or "- TYPE: value". Values are plain, quoted, or lists in brackets of such. Other keys are for people. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "policy/spf.h"

enum { CASES = 200, RECORDS = 400, VALUES = 16, TICKETS = SPF_LOOKUPS };

struct item { struct str name, type, value[VALUES]; size_t n; };
struct sample { struct str name, helo, host, from, explanation, result[VALUES]; size_t results; };

static struct item zone[RECORDS];
static struct sample samples[CASES];
static size_t nzone, nsamples, passed, failed;
static const char *suite;
static char *room;                              /* for values without their escapes: they are never longer than with them */

static void die(const char *what, struct str where)
{
	fprintf(stderr, "conformance: %s: %s: " STR_FMT "\n", suite, what, STR_ARG(where));
	exit(2);
}

/* ---- reading */

static int hex(char c) { return ascii_digit(c) ? c - '0' : ascii_lower(c) - 'a' + 10; }

/* Takes "..." or '...' off the front. */
static struct str take_quoted(struct str *in)
{
	struct str out = { room, 0 }, all = *in;
	char quote = in->p[0];

	for (*in = str_from(*in, 1);; *in = str_from(*in, 1)) {
		if (!in->n)
			die("no closing quote", all);
		if (in->p[0] == quote && !(quote == '\'' && in->n > 1 && in->p[1] == quote))
			break;
		if (in->p[0] == quote) {
			*in = str_from(*in, 1);
		} else if (quote == '"' && in->p[0] == '\\') {
			*in = str_from(*in, 1);
			if (in->n > 2 && in->p[0] == 'x') {
				*room++ = (char)(hex(in->p[1]) << 4 | hex(in->p[2]));
				*in = str_from(*in, 2);
				continue;
			}
			*room++ = (char)(in->n && in->p[0] == '0' ? 0 : in->p[0]);
			continue;
		}
		*room++ = in->p[0];
	}
	*in = str_from(*in, 1);
	out.n = (size_t)(room - out.p);
	return out;
}

static struct str take_plain(struct str *in, const char *ends)
{
	size_t n = 0;

	while (n < in->n && !strchr(ends, in->p[n]))
		n++;
	*in = str_from(*in, n);
	return str_trim((struct str){ in->p - n, n });
}

static size_t read_values(struct str in, struct str out[VALUES])
{
	size_t n = 0;
	bool list = in.n && in.p[0] == '[';

	if (!list) {
		out[0] = in.n && (in.p[0] == '"' || in.p[0] == '\'') ? take_quoted(&in) : in;
		return 1;
	}
	for (in = str_from(in, 1); in.n && n < VALUES; ) {
		in = str_trim(in);
		if (in.n && in.p[0] == ']')
			return n;
		out[n++] = in.p[0] == '"' || in.p[0] == '\'' ? take_quoted(&in) : take_plain(&in, ",]");
		in = str_trim(in);
		if (in.n && in.p[0] == ',')
			in = str_from(in, 1);
	}
	die("a list without its end", in);
	return 0;
}

/* "key: value"; the key may be quoted, and hold colons when it ends the line. */
static bool split_key(struct str line, struct str *key, struct str *value)
{
	struct str rest = line, end = STR(":");

	if (line.n && (line.p[0] == '"' || line.p[0] == '\'')) {
		*key = take_quoted(&rest);
		*value = str_trim(str_from(rest, 1));
		return rest.n && rest.p[0] == ':';
	}
	if (str_ends_nocase(line, end)) {
		*key = (struct str){ line.p, line.n - 1 };
		*value = STR("");
		return true;
	}
	if (!str_cut(&rest, ':', key))
		return false;
	*value = str_trim(rest);
	return true;
}

static void read_sample(struct sample *c, struct str line)
{
	struct str key, value, v[VALUES];
	static const struct { const char *key; size_t offset; } rows[] = {
		{ "helo", offsetof(struct sample, helo) }, { "host", offsetof(struct sample, host) },
		{ "mailfrom", offsetof(struct sample, from) }, { "explanation", offsetof(struct sample, explanation) },
	};

	if (!split_key(line, &key, &value))
		return;
	if (str_eq(key, STR("result"))) {
		c->results = read_values(value, c->result);
		return;
	}
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (str_eq(key, str_of(rows[i].key))) {
			read_values(value, v);
			memcpy((char *)c + rows[i].offset, v, sizeof v[0]);
		}
}

static void read_item(struct str name, struct str line)
{
	struct item *x = &zone[nzone++];
	struct str value;

	if (nzone == RECORDS)
		die("too many records", line);
	*x = (struct item){ .name = name };
	if (!split_key(line, &x->type, &value))
		x->type = line;                 /* TIMEOUT */
	else
		x->n = read_values(value, x->value);
}

/* ---- the invented DNS */

static struct str without_dot(struct str s)
{
	if (s.n && s.p[s.n - 1] == '.')
		s.n--;
	return s;
}

static bool is_name(struct str name)
{
	struct str label;

	while (str_cut(&name, '.', &label))
		if (!label.n || label.n > 63)
			return false;
	return name.n > 0 && name.n <= 63;
}

static struct str reverse_name(struct str ip, char out[80])
{
	unsigned char a[16];
	char text[64], *p = out;

	str_copy(text, sizeof text, ip);
	if (inet_pton(AF_INET, text, a) == 1)
		return (struct str){ out, (size_t)snprintf(out, 80, "%d.%d.%d.%d.in-addr.arpa", a[3], a[2], a[1], a[0]) };
	inet_pton(AF_INET6, text, a);
	for (int i = 15; i >= 0; i--)
		p += snprintf(p, 5, "%x.%x.", a[i] & 15, a[i] >> 4);
	memcpy(p, "ip6.arpa", 9);
	return str_of(out);
}

static const struct { const char *type; enum fact_kind kind; } types[] = {
	{ "A", FACT_A }, { "AAAA", FACT_AAAA }, { "MX", FACT_MX }, { "PTR", FACT_PTR }, { "TXT", FACT_TXT }
};

/* What TXT records are not said are those of type SPF: an old type, which the suites keep. "TXT: NONE" says that there are none. */
static bool says_txt(struct str name)
{
	for (size_t i = 0; i < nzone; i++)
		if (str_eq_nocase(zone[i].name, name) && str_eq(zone[i].type, STR("TXT")))
			return true;
	return false;
}

static bool is_of(const struct item *x, enum fact_kind kind)
{
	if (x->n == 1 && str_eq(x->value[0], STR("NONE")))
		return false;
	if (kind == FACT_TXT && str_eq(x->type, STR("SPF")))
		return !says_txt(x->name);
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (types[i].kind == kind)
			return str_eq(x->type, str_of(types[i].type));
	return false;
}

static struct record make_record(const struct item *x, enum fact_kind kind, char *data)
{
	struct record r = { .data = { data, 0 } };
	char text[64];

	switch (kind) {
	case FACT_A:
	case FACT_AAAA:
		str_copy(text, sizeof text, x->value[0]);
		if (inet_pton(kind == FACT_A ? AF_INET : AF_INET6, text, data) != 1)
			die("no address", x->value[0]);
		r.data.n = kind == FACT_A ? 4 : 16;
		break;
	case FACT_MX:
	case FACT_PTR:
		for (size_t i = 0; i < x->value[x->n - 1].n; i++)
			data[r.data.n++] = ascii_lower(x->value[x->n - 1].p[i]);
		r.data = without_dot(r.data);
		break;
	default:
		for (size_t i = 0; i < x->n; i++) {
			memcpy(data + r.data.n, x->value[i].p, x->value[i].n);
			r.data.n += x->value[i].n;
		}
	}
	return r;
}

static void look_up(enum fact_kind kind, struct str name, unsigned aliases, struct fact_ticket *t)
{
	static const struct fact late = { .outcome = UNKNOWN, .why = "timeout" }, loop = { .outcome = UNKNOWN, .why = "CNAME loop" };
	static char data[64][1024];
	static struct record r[64];
	struct fact f = { .outcome = NO_NAME, .record = r };
	bool timeout = false;

	for (size_t i = 0; is_name(name) && i < nzone; i++) {
		const struct item *x = &zone[i];

		if (!str_eq_nocase(x->name, name))
			continue;
		if (f.outcome == NO_NAME)
			f.outcome = NO_DATA;
		timeout = timeout || str_eq(x->type, STR("TIMEOUT"));
		if (str_eq(x->type, STR("CNAME"))) {
			if (aliases)
				look_up(kind, without_dot(x->value[0]), aliases - 1, t);
			else
				fact_answer(t, &loop);
			return;
		}
		if (is_of(x, kind)) {
			f.outcome = FOUND;
			r[f.n] = make_record(x, kind, data[f.n]);
			f.n++;
		}
	}
	fact_answer(t, f.n || !timeout ? &f : &late);
}

static struct { struct fact_ticket *ticket; enum fact_kind kind; char name[512]; size_t n; } asked[TICKETS];
static size_t nasked, nanswered;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source;
	if (nasked == TICKETS || name.n > sizeof asked[0].name)
		die("asks too much", name);
	asked[nasked].ticket = ticket;
	asked[nasked].kind = kind;
	memcpy(asked[nasked].name, name.p, name.n);
	asked[nasked++].n = name.n;
}
static struct fact_source world = { .ask = ask };

static void answer_one(void)
{
	struct str name = { asked[nanswered].name, asked[nanswered].n };
	char reverse[80];

	if (asked[nanswered].kind == FACT_PTR)
		name = reverse_name(name, reverse);
	look_up(asked[nanswered].kind, name, 8, asked[nanswered].ticket);
	nanswered++;
}

/* ---- deciding */

static bool set_peer(struct sockaddr_storage *peer, struct str host)
{
	char text[64];

	*peer = (struct sockaddr_storage){ .ss_family = AF_INET };
	str_copy(text, sizeof text, host);
	if (inet_pton(AF_INET, text, &((struct sockaddr_in *)peer)->sin_addr) == 1)
		return true;
	peer->ss_family = AF_INET6;
	return inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)peer)->sin6_addr) == 1;
}

static void differs(const struct sample *c, const char *got)
{
	printf("%s: " STR_FMT ": %s instead of", suite, STR_ARG(c->name), got);
	for (size_t i = 0; i < c->results; i++)
		printf(" " STR_FMT, STR_ARG(c->result[i]));
	putchar('\n');
}

static bool as_wanted(const struct sample *c, const struct spf_result *got)
{
	struct str wanted = str_eq(c->explanation, STR("DEFAULT")) ? STR("") : c->explanation;
	bool found = false;

	for (size_t i = 0; i < c->results; i++)
		found = found || str_eq(c->result[i], str_of(spf_name(got->code)));
	if (!found)
		differs(c, spf_name(got->code));
	else if (c->explanation.n && !str_eq(wanted, str_of(got->explanation))) {
		printf("%s: " STR_FMT ": explains \"%s\"\n", suite, STR_ARG(c->name), got->explanation);
		found = false;
	}
	return found;
}

/* Facts come one by one, and the evaluator runs again after each. */
static void run(const struct sample *c)
{
	struct sockaddr_storage peer;
	struct spf_query q = { .peer = (struct sockaddr *)&peer, .helo = c->helo, .receiver = "receiver.example" };
	struct facts *facts = facts_new(NULL, SPF_LOOKUPS);
	struct spf_result got;
	struct str rest = c->from;

	if (!set_peer(&peer, c->host))
		die("no address", c->host);
	if (str_cut_last(&rest, '@', &q.from.local))
		q.from.domain = rest;
	nasked = nanswered = 0;
	while (spf_check(facts, &q, &got) == WAIT && nanswered < nasked)
		answer_one();
	while (nanswered < nasked)
		answer_one();
	facts_free(facts);
	*(as_wanted(c, &got) ? &passed : &failed) += 1;
}

static void run_document(void)
{
	for (size_t i = 0; i < nsamples; i++)
		if (samples[i].results)
			run(&samples[i]);
	nsamples = nzone = 0;
}

static size_t indent_of(struct str line)
{
	size_t n = 0;

	while (n < line.n && line.p[n] == ' ')
		n++;
	return n;
}

static void run_suite(struct str text)
{
	struct str line, name = STR(""), none;
	bool in_tests = false, in_zone = false;

	while (str_cut(&text, '\n', &line)) {
		size_t indent = indent_of(line);
		struct str words = str_trim(line);

		if (!words.n || (indent == 0 && words.p[0] == '#'))
			continue;
		if (str_eq(line, STR("---"))) {
			run_document();
		} else if (indent == 0) {
			in_tests = str_eq(words, STR("tests:"));
			in_zone = str_eq(words, STR("zonedata:"));
		} else if (in_zone && (indent == 2 || indent == 4) && str_starts_nocase(words, STR("- "))) {
			read_item(name, str_trim(str_from(words, 2)));
		} else if (indent == 2 && (in_tests || in_zone)) {
			if (!split_key(words, &name, &none))
				die("no name", words);
			if (in_tests && nsamples == CASES)
				die("too many cases", name);
			if (in_tests)
				samples[nsamples++] = (struct sample){ .name = name };
		} else if (indent == 4 && in_tests && nsamples) {
			read_sample(&samples[nsamples - 1], words);
		}
	}
	run_document();
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		facts_source(types[i].kind, &world);
	for (int i = 1; i < argc; i++) {
		struct buf text = { .max = 1 << 24 };
		char *start = NULL;

		suite = strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];
		if (file_read_all(AT_FDCWD, argv[i], &text) == -1 || !buf_char(&text, '\n') || !(room = start = malloc(text.n)))
			die("cannot be read", str_of(argv[i]));
		run_suite(buf_view(&text));
		free(start);
		buf_free(&text);
	}
	printf("%zu passed, %zu failed\n", passed, failed);
	return failed || !passed;
}
