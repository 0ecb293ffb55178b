/* Reports of others: kept as they come, counted for `fardel reports` each time it is asked. */
#include "cmd/reports.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/listing.h"
#include "cmd/settings.h"
#include "lib/codec.h"
#include "lib/daily.h"
#include "lib/list.h"
#include "lib/loop.h"
#include "lib/map.h"

enum {
	DAYS = 7,                       /* that are shown when nothing is said */
	IN_ALL = 20000,                 /* domains, sources and failures that are counted; what has no room is left out, and that is said. And reports */
	SHOWN = 20,                     /* sources or failures of a domain */
	LINE_MAX_READ = 16 << 10
};

/* ---- keeping */

static struct daily kept = { .dir = -1, .fd = -1 };

int reports_start(int dir)
{
	if (kept.dir != -1)
		return 0;
	kept = (struct daily){ .event = "reports", .octets_max = REPORTS_DAY_MAX, .days = REPORTS_DAYS };
	return daily_open(&kept, dir, "reports");
}

void reports_stop(void) { daily_close(&kept); }

/* One write: a report's lines stand together, whoever else writes. */
void reports_keep(const char *id, const char *client, struct str lines)
{
	struct buf text = { 0 };
	struct str line;

	while (str_cut(&lines, '\n', &line)) {
		buf_puts(&text, "1");
		if (str_starts_nocase(line, STR(" kind="))) {
			buf_printf(&text, " time=%lld", (long long)loop_wall());
			daily_put(&text, "id", str_of(id));
			daily_put(&text, "client", str_of(client));
		}
		buf_str(&text, line);
		buf_char(&text, '\n');
	}
	if (kept.dir != -1 && !text.bad)
		daily_add(&kept, loop_wall(), buf_view(&text));
	buf_free(&text);
}

/* ---- reading */

struct fields {
	/* Of a report. */
	char time[24], kind[8], org[260], report[260], begin[24], end[24], p[16];
	/* Of DMARC; domain also of a policy of TLS. */
	char domain[DOMAIN_MAX + 1], ip[48], n[24], dkim[8], spf[8], done[16], why[400], signed_by[400], sent_by[400];
	/* Of TLS. */
	char type[40], good[24], bad[24], result[64], mx[DOMAIN_MAX + 1];
};
#define ROW(name, member) { name, offsetof(struct fields, member), sizeof ((struct fields *)0)->member, false }
static const struct daily_field rows[] = {
	ROW("time", time), ROW("kind", kind), ROW("org", org), ROW("report", report), ROW("begin", begin), ROW("end", end), ROW("p", p),
	ROW("domain", domain), ROW("ip", ip), ROW("n", n), ROW("dkim", dkim), ROW("spf", spf), ROW("done", done), ROW("why", why),
	ROW("signed", signed_by), ROW("sent", sent_by), ROW("type", type), ROW("good", good), ROW("bad", bad), ROW("result", result), ROW("mx", mx),
};

/* A source of mail in a domain's name, or a kind of failure of TLS at a host. */
struct item {
	struct map_node by_key;
	struct node node;
	char *key;
	char what[64], host[DOMAIN_MAX + 1];            /* address; result and MX host */
	char helper[DOMAIN_MAX + 1];                    /* another domain that does speak for the source's mail */
	uint64_t n, passed, dkim, spf, quarantined, rejected, forwarded;
};
struct domain {
	struct map_node by_key;
	struct node node;
	char *key;
	char name[DOMAIN_MAX + 1], policy[40], orgs[200];
	bool tls;
	uint64_t reports, n, passed, begin, end;
	struct list items;
};
struct question {
	const char *kind;                               /* "dmarc", "tls", or NULL: both */
	struct str about;                               /* a domain; empty: all */
	uint64_t days;
	bool json;
	const struct settings *set;
	struct map domains, items, reports;
	struct list in_order;
	size_t in_all;
	uint64_t left_out;
	/* The report whose lines are being read. */
	bool wanted, tls;
	struct fields report;
	struct domain *domain;
};

static uint64_t number(const char *text)
{
	uint64_t n;

	return str_number(str_of(text), INT64_MAX, &n) ? n : 0;
}

/* Owned; NULL: no memory. */
static char *print_key(const char *a, const char *b, const char *c)
{
	char *key;

	return asprintf(&key, "%s %s %s", a, b, c) == -1 ? NULL : key;
}

static struct domain *domain_of(struct question *q, const char *name, bool tls)
{
	char *key = print_key(tls ? "tls" : "dmarc", name, "");
	struct map_node *known = key ? map_get(&q->domains, str_of(key)) : NULL;
	struct domain *d = key && !known && q->in_all < IN_ALL ? calloc(1, sizeof *d) : NULL;

	if (!d || !map_put(&q->domains, &d->by_key, str_of(key))) {
		free(key);
		free(d);
		q->left_out += !known;
		return known ? owner_of(known, struct domain, by_key) : NULL;
	}
	q->in_all++;
	d->key = key;
	d->tls = tls;
	str_copy(d->name, sizeof d->name, str_of(name));
	list_init(&d->items);
	list_push(&q->in_order, &d->node);
	return d;
}

static struct item *item_of(struct question *q, struct domain *d, const char *what, const char *host)
{
	char *key = print_key(d->key, what, host);
	struct map_node *known = key ? map_get(&q->items, str_of(key)) : NULL;
	struct item *x = key && !known && q->in_all < IN_ALL ? calloc(1, sizeof *x) : NULL;

	if (!x || !map_put(&q->items, &x->by_key, str_of(key))) {
		free(key);
		free(x);
		q->left_out += !known;
		return known ? owner_of(known, struct item, by_key) : NULL;
	}
	q->in_all++;
	x->key = key;
	str_copy(x->what, sizeof x->what, str_of(what));
	str_copy(x->host, sizeof x->host, str_of(host));
	list_push(&d->items, &x->node);
	return x;
}

/* The same report may come twice, and as a copy to two addresses. */
static bool is_new(struct question *q, const struct fields *f)
{
	struct item *x = q->reports.n < IN_ALL ? calloc(1, sizeof *x) : NULL;

	if (!x || !(x->key = print_key(f->kind, f->org, f->report))) {
		free(x);
		q->left_out++;
		return false;
	}
	if (!map_get(&q->reports, str_of(x->key)) && map_put(&q->reports, &x->by_key, str_of(x->key)))
		return true;
	free(x->key);
	free(x);
	return false;
}

/* Is it the domain, or below it? */
static bool is_about(const struct question *q, const char *name)
{
	struct str d = str_of(name);

	return !q->about.n || (str_ends_nocase(d, q->about) && (d.n == q->about.n || d.p[d.n - q->about.n - 1] == '.'));
}

static void note_report(struct domain *d, const struct fields *f)
{
	uint64_t begin = number(f->begin), end = number(f->end);
	size_t n = strlen(d->orgs);

	d->reports++;
	d->begin = !d->begin || begin < d->begin ? begin : d->begin;
	d->end = end > d->end ? end : d->end;
	if (strstr(d->orgs, f->org) || n + strlen(f->org) + 3 > sizeof d->orgs)
		return;
	str_copy(d->orgs + n, sizeof d->orgs - n, n ? STR(", ") : STR(""));
	n += n ? 2 : 0;
	str_copy(d->orgs + n, sizeof d->orgs - n, str_of(f->org));
}

static void begin_report(struct question *q, const struct fields *f)
{
	q->domain = NULL;
	q->tls = !strcmp(f->kind, "tls");
	q->wanted = (!q->kind || !strcmp(q->kind, f->kind)) && (int64_t)number(f->time) > loop_wall() - (int64_t)q->days * DAILY_S;
	q->wanted = q->wanted && (q->tls || is_about(q, f->domain)) && is_new(q, f);
	q->report = *f;
	if (!q->wanted || q->tls || !(q->domain = domain_of(q, f->domain, false)))
		return;
	str_copy(q->domain->policy, sizeof q->domain->policy, str_of(f->p));
	note_report(q->domain, f);
}

/* "other.test:pass,example.org:fail": the first other one that passed. */
static void note_helper(struct item *x, const char *results, const char *domain)
{
	struct str rest = str_of(results), one, name;

	while (rest.n && !x->helper[0]) {
		if (!str_cut(&rest, ',', &one)) {
			one = rest;
			rest.n = 0;
		}
		if (str_cut(&one, ':', &name) && str_eq(one, STR("pass")) && !str_eq_nocase(name, str_of(domain)))
			str_copy(x->helper, sizeof x->helper, name);
	}
}

static void count_messages(struct question *q, const struct fields *f)
{
	struct item *x = q->domain ? item_of(q, q->domain, *f->ip ? f->ip : "others", "") : NULL;
	bool dkim = !strcmp(f->dkim, "pass"), spf = !strcmp(f->spf, "pass");
	uint64_t n = number(f->n);

	if (!q->domain)
		return;
	q->domain->n += n;
	q->domain->passed += dkim || spf ? n : 0;
	if (!x)
		return;
	x->n += n;
	x->passed += dkim || spf ? n : 0;
	x->dkim += dkim ? n : 0;
	x->spf += spf ? n : 0;
	x->quarantined += !strcmp(f->done, "quarantine") ? n : 0;
	x->rejected += !strcmp(f->done, "reject") ? n : 0;
	x->forwarded += strstr(f->why, "forward") || strstr(f->why, "mailing_list") ? n : 0;
	if (!dkim && !spf) {
		note_helper(x, f->signed_by, q->domain->name);
		note_helper(x, f->sent_by, q->domain->name);
	}
}

static void count_sessions(struct question *q, const struct fields *f)
{
	q->domain = is_about(q, f->domain) ? domain_of(q, f->domain, true) : NULL;
	if (!q->domain)
		return;
	str_copy(q->domain->policy, sizeof q->domain->policy, str_of(f->type));
	note_report(q->domain, &q->report);
	q->domain->n += number(f->good) + number(f->bad);
	q->domain->passed += number(f->good);
}

static void count_failures(struct question *q, const struct fields *f)
{
	struct item *x = q->domain ? item_of(q, q->domain, f->result, f->mx) : NULL;

	if (x)
		x->n += number(f->n);
}

/* Lines behind one that begins a report are of it. One that is a row as well was torn off. */
static void take_line(struct question *q, struct str line)
{
	static struct fields f;

	memset(&f, 0, sizeof f);
	if (!daily_read(line, rows, sizeof rows / sizeof *rows, &f) || (*f.kind && (*f.dkim || *f.good || *f.result))) {
		q->wanted = false;      /* whose the next ones are is not known */
		return;
	}
	if (*f.kind)
		begin_report(q, &f);
	else if (q->wanted && !q->tls)
		count_messages(q, &f);
	else if (q->wanted && *f.domain)
		count_sessions(q, &f);
	else if (q->wanted && *f.result)
		count_failures(q, &f);
}

static bool take_kept(void *arg, struct str line)
{
	if (line.n >= LINE_MAX_READ)
		return false;
	line.n -= line.p[line.n - 1] == '\n';
	take_line(arg, line);
	return true;
}

static int read_day(void *arg, int dir, const char *name)
{
	struct question *q = arg;

	q->wanted = false;
	return daily_lines(dir, name, take_kept, q);
}

/* 0, or -1 with errno; ENOENT: nothing was ever kept. */
static int read_all(struct question *q)
{
	return daily_files(q->set->queue, "reports", (int32_t)((loop_wall() - (int64_t)q->days * DAILY_S) / DAILY_S), read_day, q);
}

/* ---- showing */

static int by_number(const void *a, const void *b)
{
	const struct item *x = *(struct item *const *)a, *y = *(struct item *const *)b;
	uint64_t bad[] = { x->n - x->passed, y->n - y->passed };

	return bad[0] != bad[1] ? (bad[0] < bad[1] ? 1 : -1) : x->n < y->n ? 1 : x->n > y->n ? -1 : strcmp(x->key, y->key);
}

/* Those with the most failures first; owned. NULL: there are none, or no memory. */
static struct item **sorted(struct domain *d)
{
	struct item **all = d->items.n ? malloc(d->items.n * sizeof *all) : NULL;
	size_t n = 0;

	for (struct node *x = all ? list_first(&d->items) : NULL; x; x = list_next(&d->items, x))
		all[n++] = owner_of(x, struct item, node);
	if (all)
		qsort(all, n, sizeof *all, by_number);
	return all;
}

static void say_head(const struct domain *d)
{
	char begin[DAILY_NAME], end[DAILY_NAME];

	daily_name((int32_t)(d->begin / DAILY_S % 100000), begin);
	daily_name((int32_t)(d->end / DAILY_S % 100000), end);
	listing_show(stdout, str_of(d->name));
	printf(", %s, %s to %s, %" PRIu64 " report%s by ", d->tls ? "TLS" : "DMARC", begin, end, d->reports, d->reports == 1 ? "" : "s");
	listing_show(stdout, str_of(d->orgs));
	putchar('\n');
}

static void say_source_remedy(const struct domain *d, const struct item *x)
{
	struct buf text = { .max = 1024 };
	bool v6 = strchr(x->what, ':') != NULL;

	if (x->passed == x->n || !strcmp(x->what, "others"))
		return;
	if (x->forwarded)
		buf_printf(&text, "It sends on what others got (a mailing list, a forwarding): signatures (DKIM) that nothing on the way changes would hold.");
	else if (x->helper[0])
		buf_printf(&text, "It sends as %s, and %s speaks for it, which is not %s. Is it a service of yours? Have it sign with a key of %s (DKIM), "
			"and send from an address there.", d->name, x->helper, d->name, d->name);
	else
		buf_printf(&text, "It sends as %s, and neither a signature (DKIM) nor SPF speaks for it. Is it yours? Have it sign, and add %s:%s to the SPF "
			"record. If not%s", d->name, v6 ? "ip6" : "ip4", x->what, !strcmp(d->policy, "none") ? ", p=quarantine or p=reject in the DMARC record keeps it out." :
			", nothing is to be done: the DMARC record asks for it to be kept out.");
	listing_say("", buf_view(&text));
	buf_free(&text);
}

static void show_sources(struct domain *d)
{
	struct item **all = sorted(d);

	printf("  %" PRIu64 " messages, %" PRIu64 " passed, %" PRIu64 " did not; policy %s\n", d->n, d->passed, d->n - d->passed, *d->policy ? d->policy : "not said");
	printf("    %-39s %9s %9s %9s %9s %9s %9s\n", "source", "messages", "passed", "by DKIM", "by SPF", "suspect", "refused");
	for (size_t i = 0; all && i < d->items.n && i < SHOWN; i++) {
		const struct item *x = all[i];

		printf("    %-39s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "\n", x->what, x->n, x->passed, x->dkim, x->spf,
			x->quarantined, x->rejected);
		say_source_remedy(d, x);
	}
	if (d->items.n > SHOWN)
		printf("    ... and %zu more sources\n", d->items.n - SHOWN);
	free(all);
}

/* RFC 8460 4.3. */
static const struct { const char *result, *remedy; } remedies[] = {
	{ "starttls-not-supported", "This host offered no STARTTLS: see tls_certificate and tls_key, and whether a firewall on the way takes it out." },
	{ "certificate-host-mismatch", "The certificate that this host shows does not hold its name: get one that does." },
	{ "certificate-expired", "The certificate that this host shows has expired: renew it." },
	{ "certificate-not-trusted", "No public authority vouches for the certificate of this host: show all of its chain (fullchain), or get another." },
	{ "validation-failure", "TLS with this host did not come about: its certificate, or the versions and ciphers that it offers." },
	{ "tlsa-invalid", "The TLSA records of this host do not fit its certificate, or are malformed: publish those of the key in use before it changes." },
	{ "dnssec-invalid", "The signatures (DNSSEC) of the domain or of this host's name do not hold: look at the zone." },
	{ "dane-required", "The sender demands DANE, and there are no TLSA records of this host." },
	{ "sts-policy-fetch-error", "The policy (MTA-STS) could not be fetched from https://mta-sts.DOMAIN/.well-known/mta-sts.txt." },
	{ "sts-policy-invalid", "The policy (MTA-STS) is malformed, or does not name this host." },
	{ "sts-webpki-invalid", "The certificate of the web server mta-sts.DOMAIN is not valid for that name." },
};

static void show_failures(struct domain *d)
{
	struct item **all = sorted(d);

	printf("  %" PRIu64 " sessions, %" PRIu64 " good, %" PRIu64 " failed; policy %s\n", d->n, d->passed, d->n - d->passed, *d->policy ? d->policy : "not said");
	for (size_t i = 0; all && i < d->items.n && i < SHOWN; i++) {
		const struct item *x = all[i];

		printf("    %" PRIu64 " ", x->n);
		listing_show(stdout, str_of(x->what));
		fputs(*x->host ? " at " : "", stdout);
		listing_show(stdout, str_of(x->host));
		putchar('\n');
		for (size_t k = 0; k < sizeof remedies / sizeof *remedies; k++)
			if (!strcmp(remedies[k].result, x->what))
				listing_say("", str_of(remedies[k].remedy));
	}
	if (d->items.n > SHOWN)
		printf("    ... and %zu more kinds\n", d->items.n - SHOWN);
	free(all);
}

static void show(struct question *q)
{
	for (struct node *x = list_first(&q->in_order); x; x = list_next(&q->in_order, x)) {
		struct domain *d = owner_of(x, struct domain, node);

		if (x != list_first(&q->in_order))
			putchar('\n');
		say_head(d);
		if (d->tls)
			show_failures(d);
		else
			show_sources(d);
	}
	if (!q->in_order.n)
		printf("Nothing was reported within %" PRIu64 " days%s.\n", q->days, q->set->reports_at ? "" : "; the setting reports_at names no address where reports come in");
	if (q->left_out)
		printf("\nThere is more than can be counted at once: ask for one domain, or fewer days.\n");
}

static void json_text(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "\"%s\":", name);
	json_quote(out, str_of(value));
	buf_char(out, ',');
}

static void json_item(struct buf *out, const struct domain *d, const struct item *x)
{
	buf_char(out, '{');
	json_text(out, d->tls ? "result" : "ip", x->what);
	if (d->tls) {
		json_text(out, "mx", x->host);
		buf_printf(out, "\"sessions\":%" PRIu64 "}", x->n);
	} else {
		buf_printf(out, "\"messages\":%" PRIu64 ",\"passed\":%" PRIu64 ",\"dkim\":%" PRIu64 ",\"spf\":%" PRIu64 ",\"quarantined\":%" PRIu64
			",\"rejected\":%" PRIu64 "}", x->n, x->passed, x->dkim, x->spf, x->quarantined, x->rejected);
	}
}

static void show_json(struct question *q)
{
	struct buf out = { 0 };

	buf_char(&out, '[');
	for (struct node *x = list_first(&q->in_order); x; x = list_next(&q->in_order, x)) {
		struct domain *d = owner_of(x, struct domain, node);
		struct item **all = sorted(d);

		buf_puts(&out, x == list_first(&q->in_order) ? "\n{" : ",\n{");
		json_text(&out, "kind", d->tls ? "tls" : "dmarc");
		json_text(&out, "domain", d->name);
		json_text(&out, "policy", d->policy);
		json_text(&out, "by", d->orgs);
		buf_printf(&out, "\"begin\":%" PRIu64 ",\"end\":%" PRIu64 ",\"reports\":%" PRIu64 ",\"%s\":%" PRIu64 ",\"passed\":%" PRIu64 ",\"%s\":[", d->begin, d->end,
			d->reports, d->tls ? "sessions" : "messages", d->n, d->passed, d->tls ? "failures" : "sources");
		for (size_t i = 0; all && i < d->items.n; i++) {
			buf_puts(&out, i ? "," : "");
			json_item(&out, d, all[i]);
		}
		buf_puts(&out, "]}");
		free(all);
	}
	buf_puts(&out, "\n]\n");
	fputs(buf_cstr(&out), stdout);
	buf_free(&out);
}

static void free_items(struct map *items)
{
	for (struct map_node *x = map_next(items, NULL), *next; x; x = next) {
		struct item *i = owner_of(x, struct item, by_key);

		next = map_next(items, x);
		free(i->key);
		free(i);
	}
	map_free(items);
}

static void free_all(struct question *q)
{
	struct node *x;

	while ((x = list_shift(&q->in_order))) {
		struct domain *d = owner_of(x, struct domain, node);

		free(d->key);
		free(d);
	}
	map_free(&q->domains);
	free_items(&q->items);
	free_items(&q->reports);
}

/* ---- the command */

static int answer(struct question *q)
{
	int status = 0;

	list_init(&q->in_order);
	if (read_all(q) == -1 && errno != ENOENT) {
		fprintf(stderr, "fardel reports: %s/reports cannot be read: %s\n", q->set->queue, strerror(errno));
		status = errno == EACCES ? EX_NOPERM : EX_OSERR;
	} else if (q->json) {
		show_json(q);
	} else {
		show(q);
	}
	free_all(q);
	return status;
}

static int wrong_use(const char *word)
{
	fprintf(stderr, "fardel reports: does not know \"%s\". Write fardel reports [dmarc|tls] [--domain DOMAIN] [--days N] [--json] [-c FILE]\n", word);
	return EX_USAGE;
}

static int wrong_days(const char *value)
{
	fprintf(stderr, "fardel reports: --days %s: that many are not kept. Write a number from 1 to %d\n", value, REPORTS_DAYS);
	return EX_USAGE;
}

/* --name VALUE or --name=VALUE. NULL: it is not this option, or there is no value. */
static const char *value_of(int argc, char **argv, int *i, const char *name)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) != 0)
		return NULL;
	if (argv[*i][n] == '=')
		return argv[*i] + n + 1;
	return !argv[*i][n] && *i + 1 < argc ? argv[++*i] : NULL;
}

int cmd_reports(int argc, char **argv)
{
	struct arguments a = { 0 };
	struct settings set = { 0 };
	struct question q = { .set = &set, .days = DAYS };
	const char *wrong, *value;
	int status;

	for (int i = 1; i < argc; i++) {
		if (arguments_take(&a, argc, argv, &i, &wrong)) {
			if (!wrong)
				continue;
			fprintf(stderr, "fardel reports: %s\n", wrong);
			return EX_USAGE;
		}
		if (!strcmp(argv[i], "--json"))
			q.json = true;
		else if ((value = value_of(argc, argv, &i, "--domain")) && *value)
			q.about = str_of(value);
		else if ((value = value_of(argc, argv, &i, "--days"))) {
			if (!str_number(str_of(value), REPORTS_DAYS, &q.days) || !q.days)
				return wrong_days(value);
		} else if (!q.kind && (!strcmp(argv[i], "dmarc") || !strcmp(argv[i], "tls")))
			q.kind = argv[i];
		else
			return wrong_use(argv[i]);
	}
	status = settings_load(&set, &a) ? answer(&q) : settings_complain(&set);
	settings_free(&set);
	if (fflush(stdout) == EOF && status == 0)
		status = EX_IOERR;
	return status;
}
