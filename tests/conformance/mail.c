/* Suites of messages with what is to be found in them: mail SUITE.yml... has policy/dkim.c, dmarc.c and arc.c look at each over the DNS that
 * the suite invents. Prints what differs, then "N passed, N failed".
 *
 * Of YAML it reads documents of `tests:` and `txt-records:`, two blanks deeper a name each. A test has "key: value" lines two blanks deeper
 * still; what counts are these, each result in the words of RFC 8601 and in any case:
 *     message     as it is, lines end in CR LF
 *     dkim        the results of its signatures in their order, or none
 *     cv          of its ARC chain: none, pass or fail
 *     dmarc       the result, and behind a failure the policy: of its From, the records, and of
 *     spf         a domain that passed,
 *     signed      domains whose signatures passed
 * A value is plain, quoted, or a block behind | (|+, |-) or >-. Other keys are for people. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "policy/arc.h"
#include "policy/dmarc.h"

enum { CASES = 400, RECORDS = 200, NOW = 1528637909 };

struct sample { struct str name, message, dkim, cv, dmarc, spf, signers; };
struct txt { struct str name, value; };

static struct sample samples[CASES];
static struct txt zone[RECORDS];
static size_t nsamples, nzone, passed, failed;
static const char *suite;
static char *room;                              /* for blocks: with their line ends they are no more than twice as long */

static void die(const char *what, struct str where)
{
	fprintf(stderr, "conformance: %s: %s: " STR_FMT "\n", suite, what, STR_ARG(where));
	exit(2);
}

/* ---- reading */

static size_t indent_of(struct str line)
{
	size_t n = 0;

	while (n < line.n && line.p[n] == ' ')
		n++;
	return n;
}

/* Takes a text into `room`. */
static struct str keep(struct buf *b)
{
	struct str s = { room, b->n };

	if (b->bad)
		die("no memory", STR(""));
	if (b->n)
		memcpy(room, b->p, b->n);
	room += b->n;
	buf_free(b);
	return s;
}

/* The lines of a block: those that are deeper than `outer` blanks, and empty ones. Literal: CR LF behind each; folded: a blank between them. */
static struct str take_block(struct str *rest, size_t outer, bool folded, char chomp)
{
	struct buf out = { 0 };
	struct str line, next = *rest;
	size_t inner = 0, end = 0, empty = 0;

	while (str_cut(&next, '\n', &line)) {
		size_t indent = indent_of(line);

		if (indent == line.n && (folded || !inner || line.n <= inner)) {
			empty++;
			*rest = next;
			continue;
		}
		if (indent <= outer || (inner && indent < inner))
			break;
		inner = inner ? inner : indent;
		for (; !folded && empty; empty--)
			buf_puts(&out, "\r\n");
		empty = 0;
		if (folded && out.n)
			buf_char(&out, ' ');
		buf_str(&out, str_from(line, inner));
		end = out.n;
		if (!folded)
			buf_puts(&out, "\r\n");
		*rest = next;
	}
	for (; chomp == '+' && empty; empty--)
		buf_puts(&out, "\r\n");
	if (chomp == '-' && !out.bad)
		out.n = end;
	return keep(&out);
}

/* What stands behind a key; it may take the lines that follow. */
static struct str take_value(struct str *rest, size_t outer, struct str words)
{
	if (words.n && (words.p[0] == '|' || words.p[0] == '>'))
		return take_block(rest, outer, words.p[0] == '>', words.n > 1 ? words.p[1] : ' ');
	if (words.n > 1 && (words.p[0] == '"' || words.p[0] == '\'') && words.p[words.n - 1] == words.p[0])
		return (struct str){ words.p + 1, words.n - 2 };
	return words;
}

static void read_key(struct sample *c, struct str key, struct str value)
{
	static const struct { const char *key; size_t offset; } rows[] = {
		{ "message", offsetof(struct sample, message) }, { "dkim", offsetof(struct sample, dkim) }, { "cv", offsetof(struct sample, cv) },
		{ "dmarc", offsetof(struct sample, dmarc) }, { "spf", offsetof(struct sample, spf) },
		{ "signed", offsetof(struct sample, signers) },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (str_eq(key, str_of(rows[i].key)))
			*(struct str *)(void *)((char *)c + rows[i].offset) = value;
}

/* ---- the invented DNS */

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	struct record r[8];
	struct fact f = { .outcome = NO_NAME, .record = r };

	(void)source;
	for (size_t i = 0; i < nzone; i++) {
		if (!str_eq_nocase(zone[i].name, name))
			continue;
		f.outcome = f.outcome == NO_NAME ? NO_DATA : f.outcome;
		if (kind == FACT_TXT && f.n < sizeof r / sizeof *r) {
			f.outcome = FOUND;
			r[f.n++] = (struct record){ .data = zone[i].value };
		}
	}
	fact_answer(ticket, &f);
}
static struct fact_source world = { .ask = ask };

/* ---- deciding */

static void compare(const struct sample *c, const char *what, struct str wanted, const char *got, const char *why)
{
	if (str_eq_nocase(wanted, str_of(got))) {
		passed++;
		return;
	}
	printf("%s: " STR_FMT ": %s is %s instead of " STR_FMT ": %s\n", suite, STR_ARG(c->name), what, got, STR_ARG(wanted), why);
	failed++;
}

static void nothing(struct task *t) { (void)t; }

static void run_dkim(const struct sample *c)
{
	struct task wake = { .run = nothing };
	struct facts *facts = facts_new(&wake, DKIM_SIGNATURES);
	struct dkim *d = dkim_new();
	struct buf got = { 0 };
	const char *why = "";

	dkim_add(d, c->message);
	dkim_end(d);
	if (!dkim_judge(d, facts, NOW))
		die("a key does not come", c->name);
	if (!dkim_count(d))
		buf_puts(&got, dkim_result_name[dkim_fault(d, &why)]);
	for (size_t i = 0; i < dkim_count(d); i++)
		buf_printf(&got, "%s%s", i ? " " : "", dkim_result_name[dkim_at(d, i)->result]);
	for (size_t i = dkim_count(d); i > 0; i--)      /* of the first that is not well */
		why = dkim_at(d, i - 1)->result == DKIM_PASS ? why : dkim_at(d, i - 1)->why;
	compare(c, "dkim", c->dkim, buf_cstr(&got), why ? why : "");
	buf_free(&got);
	dkim_free(d);
	facts_free(facts);
}

static void run_arc(const struct sample *c)
{
	struct task wake = { .run = nothing };
	struct facts *facts = facts_new(&wake, DKIM_LOOKUPS);
	struct dkim *d = dkim_new();
	const char *why = "there is none", *got = "none";

	dkim_add(d, c->message);
	dkim_end(d);
	if (!dkim_judge(d, facts, NOW))
		die("a key does not come", c->name);
	if (dkim_arc(d))
		got = arc_name(arc_result(dkim_arc(d), &why));
	compare(c, "cv", c->cv, got, why);
	dkim_free(d);
	facts_free(facts);
}

static void run_dmarc(const struct sample *c)
{
	struct task wake = { .run = nothing };
	struct facts *facts = facts_new(&wake, DMARC_LOOKUPS);
	struct dmarc_reader reader;
	struct dmarc_author author;
	struct dmarc_query q = { .author = &author, .spf = { c->spf, c->spf.n ? DMARC_AUTH_PASS : DMARC_AUTH_NO } };
	struct dmarc_result r;
	struct str rest = c->signers, word;
	char got[40];

	dmarc_read_begin(&reader);
	dmarc_read(&reader, c->message);
	dmarc_read_end(&reader, &author);
	while (q.ndkim < DMARC_SIGNATURES && str_word(&rest, &word))
		q.dkim[q.ndkim++] = (struct dmarc_id){ word, DMARC_AUTH_PASS };
	if (dmarc_check(facts, &q, &r) == WAIT)
		die("a record does not come", c->name);
	snprintf(got, sizeof got, "%s%s%s", dmarc_name(r.code), r.code == DMARC_FAIL ? " " : "", r.code == DMARC_FAIL ? dmarc_policy_name(r.policy) : "");
	compare(c, "dmarc", c->dmarc, got, r.why);
	facts_free(facts);
}

static void run_document(void)
{
	for (size_t i = 0; i < nsamples; i++) {
		if (samples[i].dkim.n)
			run_dkim(&samples[i]);
		if (samples[i].cv.n)
			run_arc(&samples[i]);
		if (samples[i].dmarc.n)
			run_dmarc(&samples[i]);
	}
	nsamples = nzone = 0;
}

static void run_suite(struct str text)
{
	struct str line, key;
	bool in_tests = false, in_zone = false;

	while (str_cut(&text, '\n', &line)) {
		size_t indent = indent_of(line);
		struct str words = str_trim(line);

		if (!words.n || words.p[0] == '#')
			continue;
		if (indent == 0 && str_starts_nocase(line, STR("---"))) {
			run_document();
			continue;
		}
		if (!str_cut(&words, ':', &key))
			continue;
		words = str_trim(words);
		if (indent == 0) {
			in_tests = str_eq(key, STR("tests"));
			in_zone = str_eq(key, STR("txt-records"));
			if (words.n)
				take_value(&text, indent, words);
		} else if (indent == 2 && in_tests) {
			if (nsamples == CASES)
				die("too many cases", key);
			samples[nsamples++] = (struct sample){ .name = key };
		} else if (indent == 4 && in_tests && nsamples) {
			read_key(&samples[nsamples - 1], key, take_value(&text, indent, words));
		} else if (indent == 2 && in_zone) {
			if (nzone == RECORDS)
				die("too many records", key);
			zone[nzone++] = (struct txt){ key, take_value(&text, indent, words) };
		}
	}
	run_document();
}

int main(int argc, char **argv)
{
	static const enum fact_kind kinds[] = { FACT_A, FACT_AAAA, FACT_MX, FACT_TXT };

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		facts_source(kinds[i], &world);
	for (int i = 1; i < argc; i++) {
		struct buf text = { .max = 1 << 24 };
		char *start = NULL;

		suite = strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];
		if (file_read_all(AT_FDCWD, argv[i], &text) == -1 || !buf_char(&text, '\n') || !(room = start = malloc(2 * text.n)))
			die("cannot be read", str_of(argv[i]));
		run_suite(buf_view(&text));
		free(start);
		buf_free(&text);
	}
	printf("%zu passed, %zu failed\n", passed, failed);
	return failed || !passed;
}
