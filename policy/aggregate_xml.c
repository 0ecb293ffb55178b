/* Aggregate reports: as XML (RFC 7489 appendix C), and as a message. */
#include <stddef.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/codec.h"
#include "policy/aggregate.h"
#include "policy/reportmail.h"

/* A row has some 900 octets of tags, and an octet of its line becomes six at most. */
enum { REPORT_MAX = AGGREGATE_ROWS * 1024 + AGGREGATE_OCTETS * 6 };

/* A row's line read back, decoded. */
struct fields {
	char ip[48], done[16], why[24], aligned[12], from[DOMAIN_MAX + 1], mail[DOMAIN_MAX + 1], to[DOMAIN_MAX + 1], spf[DOMAIN_MAX + 32],
		dkim[EVALUATION_MAX];
};

#define ROW(name, again) { #name, offsetof(struct fields, name), sizeof ((struct fields *)0)->name, again }
static const struct daily_field fields[] = {
	ROW(ip, false), ROW(done, false), ROW(why, false), ROW(aligned, false), ROW(from, false), ROW(mail, false), ROW(to, false), ROW(spf, false),
	ROW(dkim, true),
};

static struct node *first_row(const struct aggregate_domain *d) { return d->rows.n ? d->rows.head.next : NULL; }
static struct node *next_row(const struct aggregate_domain *d, struct node *x) { return x->next == &d->rows.head ? NULL : x->next; }
static struct aggregate_row *row_at(struct node *x) { return owner_of(x, struct aggregate_row, node); }

/* ---- what it is about */

static int64_t begin_of(const struct aggregate_report *r)
{
	int64_t begin = r->end;

	for (struct node *x = first_row(r->domain); x; x = next_row(r->domain, x))
		if (row_at(x)->until <= r->end && row_at(x)->since < begin)
			begin = row_at(x)->since;
	return begin;
}

static bool print_id(struct buf *out, const struct aggregate_report *r)
{
	return buf_printf(out, "%lld.%s.dmarc@%s", (long long)r->end, r->domain->tally.name, r->hostname);
}

/* ---- XML */

static void put(struct buf *out, const char *indent, const char *name, struct str value)
{
	buf_printf(out, "%s<%s>", indent, name);
	xml_text(out, value);
	buf_printf(out, "</%s>\n", name);
}

static void put_if(struct buf *out, const char *indent, const char *name, const char *value)
{
	if (*value)
		put(out, indent, name, str_of(value));
}

static void put_metadata(struct buf *out, const struct aggregate_report *r)
{
	struct buf id = { 0 };

	print_id(&id, r);
	buf_puts(out, " <report_metadata>\n");
	put(out, "  ", "org_name", str_of(r->hostname));
	put(out, "  ", "email", str_of(r->contact));
	put(out, "  ", "report_id", buf_view(&id));
	buf_printf(out, "  <date_range>\n   <begin>%lld</begin>\n   <end>%lld</end>\n  </date_range>\n", (long long)begin_of(r), (long long)r->end - 1);
	if (r->domain->cut)
		put(out, "  ", "error", STR("there were more messages than there is room to count"));
	buf_puts(out, " </report_metadata>\n");
	out->bad |= id.bad;
	buf_free(&id);
}

/* As in a record: letters with colons between them. */
static void put_fo(struct buf *out, const char *letters)
{
	char fo[2 * sizeof ((struct aggregate_policy *)0)->fo];
	size_t n = 0;

	for (const char *p = letters; *p; p++) {
		if (n)
			fo[n++] = ':';
		fo[n++] = *p;
	}
	put(out, "  ", "fo", (struct str){ fo, n });
}

/* RFC 7489 has no place for np= and t=, RFC 9990 none for pct=: each is there when the record has it, pct= always. */
static void put_policy(struct buf *out, const struct aggregate_domain *d)
{
	const struct aggregate_policy *p = &d->policy;

	buf_puts(out, " <policy_published>\n");
	put(out, "  ", "domain", str_of(d->tally.name));
	put_if(out, "  ", "adkim", p->adkim);
	put_if(out, "  ", "aspf", p->aspf);
	put(out, "  ", "p", str_of(p->p));
	put(out, "  ", "sp", str_of(p->sp[0] ? p->sp : p->p));
	put_if(out, "  ", "np", p->np);
	put(out, "  ", "pct", str_of(p->pct));
	put_fo(out, p->fo);
	if (!strcmp(p->t, "y"))
		put(out, "  ", "testing", str_of(p->t));
	buf_puts(out, " </policy_published>\n");
}

static struct str pass_or_fail(const struct fields *f, const char *what) { return strstr(f->aligned, what) ? STR("pass") : STR("fail"); }

static void put_evaluated(struct buf *out, const struct fields *f, uint64_t n)
{
	buf_puts(out, "  <row>\n");
	put(out, "   ", "source_ip", str_of(f->ip));
	buf_printf(out, "   <count>%llu</count>\n   <policy_evaluated>\n", (unsigned long long)n);
	put(out, "    ", "disposition", str_of(f->done));
	put(out, "    ", "dkim", pass_or_fail(f, "dkim"));
	put(out, "    ", "spf", pass_or_fail(f, "spf"));
	if (f->why[0]) {
		buf_puts(out, "    <reason>\n");
		put(out, "     ", "type", str_of(f->why));
		buf_puts(out, "    </reason>\n");
	}
	buf_puts(out, "   </policy_evaluated>\n  </row>\n");
}

static void put_identifiers(struct buf *out, const struct fields *f)
{
	buf_puts(out, "  <identifiers>\n");
	put_if(out, "   ", "envelope_to", f->to);
	put(out, "   ", "envelope_from", str_of(f->mail));
	put(out, "   ", "header_from", str_of(f->from));
	buf_puts(out, "  </identifiers>\n");
}

/* RESULT:DOMAIN:SELECTOR, with blanks between signatures. */
static void put_signatures(struct buf *out, const struct fields *f)
{
	struct str rest = str_of(f->dkim), one, result, domain;

	while (str_word(&rest, &one)) {
		if (!str_cut(&one, ':', &result) || !str_cut_last(&one, ':', &domain))
			continue;
		buf_puts(out, "   <dkim>\n");
		put(out, "    ", "domain", domain);
		put(out, "    ", "selector", one);
		put(out, "    ", "result", result);
		buf_puts(out, "   </dkim>\n");
	}
}

/* RESULT:SCOPE:DOMAIN. */
static void put_spf(struct buf *out, const struct fields *f)
{
	struct str domain = str_of(f->spf), result, scope;

	if (!str_cut(&domain, ':', &result) || !str_cut(&domain, ':', &scope))
		return;
	buf_puts(out, "   <spf>\n");
	put(out, "    ", "domain", domain);
	put(out, "    ", "scope", scope);
	put(out, "    ", "result", result);
	buf_puts(out, "   </spf>\n");
}

static void put_row(struct buf *out, const struct aggregate_row *r)
{
	struct fields f = { 0 };

	if (!daily_read(str_of(r->key + r->at), fields, sizeof fields / sizeof *fields, &f))
		return;
	buf_puts(out, " <record>\n");
	put_evaluated(out, &f, r->n);
	put_identifiers(out, &f);
	buf_puts(out, "  <auth_results>\n");
	put_signatures(out, &f);
	put_spf(out, &f);
	buf_puts(out, "  </auth_results>\n </record>\n");
}

bool aggregate_xml(struct buf *out, const struct aggregate_report *r)
{
	buf_puts(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feedback>\n <version>1.0</version>\n");
	put_metadata(out, r);
	put_policy(out, r->domain);
	for (struct node *x = first_row(r->domain); x; x = next_row(r->domain, x))
		if (row_at(x)->until <= r->end)
			put_row(out, row_at(x));
	return buf_puts(out, "</feedback>\n") && !out->bad;
}

/* ---- the message */

static const struct reportmail_kind kind = { .multipart = "mixed", .packed = "application/gzip", .plain = "text/xml", .suffix = "xml" };

static void put_words(struct buf *out, const struct aggregate_report *r, int64_t begin)
{
	char from[40], to[40];
	uint64_t n = 0;

	for (struct node *x = first_row(r->domain); x; x = next_row(r->domain, x))
		n += row_at(x)->until <= r->end ? row_at(x)->n : 0;
	clock_rfc3339(begin, from);
	clock_rfc3339(r->end - 1, to);
	buf_printf(out, "This is an aggregate DMARC report (RFC 9990) from\r\n%s\r\non mail from\r\n%s\r\nthat came from %s to %s: %llu messages.\r\n",
		r->hostname, r->domain->tally.name, from, to, (unsigned long long)n);
}

bool aggregate_message(struct buf *out, const struct aggregate_report *r)
{
	struct buf id = { 0 }, xml = { .max = REPORT_MAX }, words = { 0 };
	struct reportmail m = { .kind = &kind, .hostname = r->hostname, .domain = r->domain->tally.name, .from = r->contact, .to = r->to, .nto = r->nto,
		.fields = "", .begin = begin_of(r), .end = r->end, .now = r->now };
	bool good;

	print_id(&id, r);
	put_words(&words, r, m.begin);
	good = aggregate_xml(&xml, r) && !id.bad && !words.bad;
	m.id = buf_cstr(&id);
	m.words = buf_view(&words);
	m.report = buf_view(&xml);
	good = good && reportmail_print(out, &m);
	buf_free(&id);
	buf_free(&xml);
	buf_free(&words);
	return good;
}
