/* TLS reporting: the report, as JSON (RFC 8460 4.4) and as a message (5.3). */
#include "policy/tlsrpt.h"

#include <string.h>

#include "lib/clock.h"
#include "lib/codec.h"
#include "policy/reportmail.h"

enum { REPORT_MAX = 4 << 20 };

/* ---- where it goes */

static bool is_ours(struct str txt, struct str *fields)
{
	struct str version;

	*fields = txt;
	return str_cut(fields, ';', &version) && str_eq(str_trim(version), STR("v=TLSRPTv1"));
}

bool tlsrpt_rua(const struct fact *txt, struct str *rua)
{
	struct str fields, pair, name, rest = STR("");
	size_t ours = 0;

	for (size_t i = 0; txt->outcome == FOUND && i < txt->n; i++)
		if (is_ours(txt->record[i].data, &fields)) {
			rest = fields;
			ours++;
		}
	if (ours != 1)
		return false;
	while (rest.n) {
		if (!str_cut(&rest, ';', &pair)) {
			pair = rest;
			rest.n = 0;
		}
		if (!str_cut(&pair, '=', &name) || !str_eq(str_trim(name), STR("rua")))
			continue;
		*rua = str_trim(pair);
		return rua->n > 0;
	}
	return false;
}

/* ---- JSON */

/* What names the report: "2026-11-28.example.org@mail.example.net". */
static bool print_id(struct buf *out, const struct tlsrpt_report *r)
{
	char day[DAILY_NAME];

	daily_name(r->day, day);
	return buf_printf(out, "%s.%s@%s", day, r->domain->tally.name, r->hostname);
}

static void put_text(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "\"%s\":", name);
	json_quote(out, str_of(value));
	buf_char(out, ',');
}

static void end(struct buf *out, char bracket)
{
	if (out->n && out->p[out->n - 1] == ',')
		out->n--;
	buf_char(out, bracket);
}

static bool next_part(const char **text, struct str *part)
{
	*text += strspn(*text, ",\n");
	*part = (struct str){ *text, strcspn(*text, ",\n") };
	*text += part->n;
	return part->n > 0;
}

static void put_part(struct buf *out, struct str part)
{
	json_quote(out, part);
	buf_char(out, ',');
}

/* TLSA: the host whose records they are. MTA-STS: the patterns that the policy has. */
static void put_hosts(struct buf *out, const struct tlsrpt_policy *p)
{
	const char *text = p->text;
	struct str part;

	buf_puts(out, "\"mx-host\":[");
	if (p->type == TLSRPT_TLSA)
		put_part(out, str_of(p->mx));
	while (p->type == TLSRPT_STS && next_part(&text, &part))
		if (str_starts_nocase(part, STR("mx:")))
			put_part(out, str_trim(str_from(part, 3)));
	end(out, ']');
}

static void put_policy(struct buf *out, const struct tlsrpt_policy *p, const char *domain)
{
	const char *text = p->text;
	struct str part;

	buf_puts(out, "\"policy\":{");
	put_text(out, "policy-type", tlsrpt_type_name[p->type]);
	if (p->text) {
		buf_puts(out, "\"policy-string\":[");
		while (next_part(&text, &part))
			put_part(out, part);
		end(out, ']');
		buf_char(out, ',');
	}
	put_text(out, "policy-domain", domain);
	if (p->type == TLSRPT_TLSA || p->text)
		put_hosts(out, p);
	end(out, '}');
}

static void put_detail(struct buf *out, const struct tlsrpt_detail *d)
{
	buf_char(out, '{');
	put_text(out, "result-type", tlsrpt_result_name[d->result]);
	if (d->mx[0])
		put_text(out, "receiving-mx-hostname", d->mx);
	if (d->ip[0])
		put_text(out, "receiving-ip", d->ip);
	buf_printf(out, "\"failed-session-count\":%llu,", (unsigned long long)d->n);
	if (d->why[0])
		put_text(out, "failure-reason-code", d->why);
	end(out, '}');
	buf_char(out, ',');
}

static void put_counts(struct buf *out, const struct tlsrpt_policy *p, const char *domain)
{
	buf_char(out, '{');
	put_policy(out, p, domain);
	buf_printf(out, ",\"summary\":{\"total-successful-session-count\":%llu,\"total-failure-session-count\":%llu}",
		(unsigned long long)p->good, (unsigned long long)p->bad);
	if (p->ndetails) {
		buf_puts(out, ",\"failure-details\":[");
		for (size_t i = 0; i < p->ndetails; i++)
			put_detail(out, &p->detail[i]);
		end(out, ']');
	}
	buf_puts(out, "},");
}

bool tlsrpt_json(struct buf *out, const struct tlsrpt_report *r)
{
	struct buf id = { 0 };
	char begin[40], last[40];

	clock_rfc3339((int64_t)r->day * DAILY_S, begin);
	clock_rfc3339((int64_t)r->day * DAILY_S + DAILY_S - 1, last);
	print_id(&id, r);
	buf_char(out, '{');
	put_text(out, "organization-name", r->hostname);
	buf_printf(out, "\"date-range\":{\"start-datetime\":\"%s\",\"end-datetime\":\"%s\"},", begin, last);
	put_text(out, "contact-info", r->contact);
	put_text(out, "report-id", buf_cstr(&id));
	buf_puts(out, "\"policies\":[");
	for (size_t i = 0; i < r->domain->npolicies; i++)
		put_counts(out, &r->domain->policy[i], r->domain->tally.name);
	end(out, ']');
	buf_puts(out, "}\n");
	out->bad = out->bad || id.bad;
	buf_free(&id);
	return !out->bad;
}

/* ---- the message */

static void put_words(struct buf *out, const struct tlsrpt_report *r)
{
	char day[DAILY_NAME];
	uint64_t good = 0, bad = 0;

	for (size_t i = 0; i < r->domain->npolicies; i++) {
		good += r->domain->policy[i].good;
		bad += r->domain->policy[i].bad;
	}
	daily_name(r->day, day);
	buf_printf(out, "This is an aggregate TLS report (RFC 8460) from\r\n%s\r\non mail for\r\n%s\r\nof %s (UTC): %llu sessions were good, %llu were not.\r\n",
		r->hostname, r->domain->tally.name, day, (unsigned long long)good, (unsigned long long)bad);
}

static const struct reportmail_kind kind = {
	.multipart = "report; report-type=\"tlsrpt\"", .packed = "application/tlsrpt+gzip", .plain = "application/tlsrpt+json", .suffix = "json",
};

bool tlsrpt_message(struct buf *out, const struct tlsrpt_report *r)
{
	struct buf id = { 0 }, json = { .max = REPORT_MAX }, fields = { 0 }, words = { 0 }, from = { 0 };
	struct reportmail m = { .kind = &kind, .hostname = r->hostname, .domain = r->domain->tally.name, .to = r->to, .nto = r->nto,
		.begin = (int64_t)r->day * DAILY_S, .end = ((int64_t)r->day + 1) * DAILY_S, .now = r->now };
	bool good;

	buf_printf(&from, "postmaster@%s", r->hostname);
	print_id(&id, r);
	/* 3: it is delivered whatever the domain's policies say, or nobody would hear that they cannot be met (RFC 8689 5). */
	buf_printf(&fields, "TLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s\r\nTLS-Required: No\r\n", m.domain, m.hostname);
	put_words(&words, r);
	good = tlsrpt_json(&json, r) && !id.bad && !from.bad && !fields.bad && !words.bad;
	m.from = buf_cstr(&from);
	m.id = buf_cstr(&id);
	m.fields = buf_cstr(&fields);
	m.words = buf_view(&words);
	m.report = buf_view(&json);
	good = good && reportmail_print(out, &m);
	buf_free(&id);
	buf_free(&json);
	buf_free(&fields);
	buf_free(&words);
	buf_free(&from);
	return good;
}
