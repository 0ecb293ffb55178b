/* Where mail for a domain goes from here, as mx_find() has it for the queue. */
#include "cmd/explain.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "client.h"
#include "cmd/courier.h"
#include "cmd/decide.h"
#include "cmd/listing.h"
#include "deliver/mtasts.h"
#include "deliver/mx.h"
#include "deliver/tlsseen.h"
#include "dns.h"
#include "dsn.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/list.h"
#include "lib/loop.h"
#include "lib/rand.h"

enum { PATIENCE_S = 30 };

struct asked {
	const struct settings *set;
	struct route route;
	struct mx_self self;
	struct mx_result hosts;
	enum verdict verdict;
	bool announced;                 /* a policy (MTA-STS): there is a record */
};

/* ---- asking */

static enum verdict look(void *arg, struct facts *f)
{
	struct asked *a = arg;
	char name[300];
	const struct fact *record = NULL;
	bool mx = a->route.kind == ROUTE_MX;

	snprintf(name, sizeof name, "_mta-sts.%s", a->route.domain);
	if (mx)
		record = fact(f, FACT_TXT, str_of(name));
	a->verdict = mx_find(f, &a->route, &a->self, 1, &a->hosts);
	if (mx && !record)
		return WAIT;
	for (size_t i = 0; record && record->outcome == FOUND && i < record->n; i++) {
		struct str id;

		a->announced = a->announced || !mtasts_record(record->record[i].data, &id);
	}
	return a->verdict;
}

static int ask(struct asked *a)
{
	const struct decision how = { .lookups = MX_LOOKUPS + 1, .seconds = PATIENCE_S, .check = look, .arg = a };
	const char *wrong = decide_begin(a->set);
	bool done = !wrong && decide_wait(&how);

	dns_stop();
	if (wrong)
		fprintf(stderr, "fardel explain: %s\n", wrong);
	return wrong ? EX_CONFIG : done ? 0 : EX_OSERR;
}

/* ---- telling */

static void say_address(const struct mx_address *a)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&a->addr;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&a->addr;
	char text[INET6_ADDRSTRLEN] = "";

	listing_show(stdout, str_of(a->host));
	if (a->addr.ss_family == AF_INET)
		printf("[%s]:%u", inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text), ntohs(v4->sin_port));
	else if (a->addr.ss_family == AF_INET6)
		printf("[%s]:%u", inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text), ntohs(v6->sin6_port));
}

/* What we demand ourselves. */
static const char *ours(const struct asked *a, const struct tls_rule *rule)
{
	static const char *const words[TLS_LEVELS] = {
		[TLS_LEVEL_NONE] = "in clear", [TLS_LEVEL_MAY] = "TLS if it is offered", [TLS_LEVEL_ENCRYPT] = "TLS, whatever the certificate",
		[TLS_LEVEL_VERIFY] = "TLS, with a certificate for that name", [TLS_LEVEL_DANE] = "TLS, with a certificate that DNS must name (DANE)",
		[TLS_LEVEL_FINGERPRINT] = "TLS, with a certificate or key of a fingerprint that is configured",
	};
	const struct route *r = &a->route;

	if (r->kind == ROUTE_LMTP)
		return "in clear";
	if (rule && (rule->level > TLS_LEVEL_ENCRYPT || r->tls == ROUTE_TLS_ANY))
		return words[rule->level];
	if (r->tls != ROUTE_TLS_ANY)
		return words[r->tls == ROUTE_TLS_VERIFY ? TLS_LEVEL_VERIFY : TLS_LEVEL_ENCRYPT];
	return a->set->tls_out == TLS_OUT_NO ? "in clear (tls_out = no)" : a->set->tls_out == TLS_OUT_MUST ? "TLS (tls_out = must)" :
		words[TLS_LEVEL_MAY];
}

static void say_tls(const struct asked *a, const struct mx_address *at)
{
	const struct tls_rule *rule = tls_rule_of(&a->set->tls_rules, &a->route, at->nth);
	const struct dane *dane = &a->hosts.dane[at->nth];

	if (rule && rule->level == TLS_LEVEL_DANE && dane->demand != DANE_VERIFY)
		printf("not used, as DNS does not name its certificate (DANE)");
	else if (dane->demand == DANE_VERIFY && !(rule && rule->level >= TLS_LEVEL_VERIFY))
		printf("TLS, with a certificate that DNS names (DANE)");
	else if (dane->demand == DANE_ENCRYPT && !(rule && rule->level >= TLS_LEVEL_VERIFY))
		printf("TLS, as its TLSA records cannot be used (DANE)");
	else
		printf("%s%s", ours(a, rule), dane->demand == DANE_VERIFY && rule->level != TLS_LEVEL_DANE ? ", and one that DNS names (DANE)" : "");
	if (rule)
		printf(" (tls = %s %s)", rule->name, tls_level_name(rule->level));
}

/* The running program keeps policies that it has fetched below the queue directory. */
static void say_policy(const struct asked *a)
{
	static const char *const word[] = { "none", "testing", "enforce" };
	struct buf text = { .max = 2 * MTASTS_TEXT }, path = { 0 };
	struct mtasts_policy p;

	if (!a->announced || !a->set->mta_sts)
		return;
	printf("  The domain announces a policy (MTA-STS)");
	buf_printf(&path, "%s/mta-sts/%s", a->set->queue, a->route.domain);
	if (file_read_all(AT_FDCWD, buf_cstr(&path), &text) == 0 && !mtasts_parse(buf_view(&text), &p))
		printf("; the one that is kept says: %s.\n", word[p.mode]);
	else
		printf("; it has not been fetched yet, or you may not read the queue. While it says enforce, hosts must show a certificate.\n");
	buf_free(&text);
	buf_free(&path);
}

/* Kept beside them. */
static void say_seen(const struct asked *a)
{
	int dir = open(a->set->queue, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct tlsseen seen;
	char date[40];

	if (a->route.kind == ROUTE_MX && tlsseen_start(dir, "tls-seen", false) == 0 && tlsseen_look(str_of(a->route.domain), &seen)) {
		printf("  TLS was last used to there on %.10s", clock_rfc3339(seen.tls, date));
		if (seen.clear >= seen.tls)
			printf("; on %.10s mail went in clear", clock_rfc3339(seen.clear, date));
		printf(".\n");
	}
	tlsseen_stop();
	if (dir != -1)
		close(dir);
}

static void say_hosts(const struct asked *a)
{
	for (size_t i = 0; i < a->hosts.n; i++) {
		const struct mx_address *at = &a->hosts.at[i];

		printf("  %zu. ", i + 1);
		say_address(at);
		printf(": ");
		say_tls(a, at);
		putchar('\n');
	}
	if (a->hosts.partial)
		printf("  Of another host the address, or what it demands, cannot be found out now.\n");
	if (a->route.login)
		printf("  We log in there as %s.\n", a->route.login->user);
	if (a->route.proxy || (a->route.kind == ROUTE_MX && a->set->proxy_out.len))
		printf("  The connection is made by the proxy %s.\n", a->route.proxy ? a->route.proxy->name : a->set->proxy_out.name);
	if (a->route.by_sender)
		printf("  For some senders it is another way: say --from SENDER.\n");
	say_policy(a);
	say_seen(a);
}

/* All rules were understood, so they are the items of the setting one by one. */
static const char *route_where(const struct asked *a)
{
	return a->set->route_text.item[a->route.rule - a->set->routes.rule].where;
}

static int tell(const struct asked *a, struct str domain)
{
	printf("Mail for ");
	listing_show(stdout, domain);
	if (a->route.kind == ROUTE_MX)
		printf(" goes to its mail hosts, in this order:\n");
	else
		printf(" goes by the route %s (from %s), to these in their order:\n", a->route.key, route_where(a));
	switch (a->verdict) {
	case ACCEPT:
		say_hosts(a);
		return EX_OK;
	case WAIT:
		printf("  The DNS does not answer: mail waits.\n");
		return EX_TEMPFAIL;
	case REFUSE:
		break;
	}
	printf("  %d %s ", a->hosts.why.code, a->hosts.why.enhanced);
	listing_show(stdout, str_of(a->hosts.why.text));
	printf("\n  %s\n", a->hosts.why.code >= 500 && !a->hosts.local_fault ? "Mail comes back at once." : "Mail waits.");
	return a->hosts.why.code >= 500 && !a->hosts.local_fault ? 1 : EX_TEMPFAIL;
}

static struct asked asked_last;

int explain_domain(const struct settings *set, struct str domain, const struct addr *from)
{
	struct asked *const a = &asked_last;
	int status;

	*a = (struct asked){ .set = set, .self = { .hostname = set->hostname, .dane = set->tls_out != TLS_OUT_NO, .inet = set->inet } };
	route_find(&set->routes, domain, from, &a->route);
	tls_rules_ask(&set->tls_rules, &a->route, &a->self);
	status = ask(a);
	return status ? status : tell(a, domain);
}

/* ---- calling the host */

enum { CALL_MS = 60000, CONNECT_S = 20, COMMAND_S = 30 };

struct call {
	struct client *client;
	struct client_job job;
	struct timer late;
	bool over, begun, answered;
	bool tls_failed;
	char tls[100];
	struct reply why, result;       /* how the connection ended, and what was said of the recipient */
};

static void show_line(const char *direction, struct str line)
{
	printf("    %s ", direction[0] == 's' ? ">" : "<");
	listing_show(stdout, line);
	putchar('\n');
}

static void probe_result(struct client_job *job, size_t i, const struct reply *r)
{
	struct call *c = owner_of(job, struct call, job);

	(void)i;
	c->result = *r;
	c->answered = true;
}

static void probe_done(struct client_job *job, const struct reply *why, bool untried)
{
	struct call *c = owner_of(job, struct call, job);

	(void)untried;
	if (why)
		c->why = *why;
	client_quit(c->client);
}

static void probe_ready(struct client *client, void *arg)
{
	struct call *c = arg;

	if (c->begun)
		return;
	c->begun = true;
	snprintf(c->tls, sizeof c->tls, "%s", client_tls(client));
	client_send(client, &c->job);
}

static void probe_gone(struct client *client, void *arg, const struct reply *why)
{
	struct call *c = arg;

	if (!c->begun)
		c->why = *why;
	c->tls_failed = client_tls_failed(client);
	c->client = NULL;
	c->over = true;
}

static void probe_late(struct timer *t)
{
	struct call *c = owner_of(t, struct call, late);

	reply_set(&c->why, 0, "4.4.1", "no end of it within %d s", CALL_MS / 1000);
	c->over = true;
}

static void call(struct call *c, const struct client_config *config, const struct mx_address *at, const struct addr *from, const struct addr *to)
{
	static const struct client_events events = { .ready = probe_ready, .gone = probe_gone };
	static const struct sender nobody;
	struct sender sender = { .addr = from ? *from : nobody.addr };
	struct recipient rcpt = { .addr = *to };
	const struct recipient *one = &rcpt;

	*c = (struct call){ .late.expired = probe_late, .job = { .from = &sender, .n = 1, .to = &one, .fd = -1, .id = "probe", .probe = true,
		.result = probe_result, .done = probe_done } };
	c->client = client_open(config, (const struct sockaddr *)&at->addr, at->len, at->host, &events, c);
	if (!c->client) {
		reply_set(&c->why, 0, "4.4.1", "connect: %s", strerror(errno));
		return;
	}
	timer_set(&c->late, CALL_MS);
	while (!c->over)
		loop_turn(-1);
	timer_stop(&c->late);
	if (c->client)
		client_abort(c->client);
}

static void say_trust(const struct call *c, const struct client_config *config, bool verified)
{
	if (!c->tls[0])
		printf("    In clear: nobody vouches for who this is.\n");
	else if (config->tls == CLIENT_TLS_PINNED)
		printf("    %s, with a certificate that is one of those named (DANE or a fingerprint).\n", c->tls);
	else if (verified)
		printf("    %s, with a certificate for this host that the authorities of tls_ca vouch for.\n", c->tls);
	else
		printf("    %s; the certificate is not one that the authorities of tls_ca vouch for, which is not demanded here.\n", c->tls);
}

/* Is its certificate good? That is found out by demanding it; where nobody does, and it is not, the host is called once more. */
static void call_and_tell(struct call *c, const struct client_config *demanded, const struct mx_address *at, const struct addr *from, const struct addr *to)
{
	struct client_config config = *demanded;
	bool only_may = config.tls == CLIENT_TLS_MAY || config.tls == CLIENT_TLS_MUST;
	bool verified = config.tls == CLIENT_TLS_VERIFY;

	config.connect_s = CONNECT_S;
	config.command_s = COMMAND_S;
	config.said = show_line;
	if (only_may && config.trust) {
		config.tls = CLIENT_TLS_VERIFY;
		call(c, &config, at, from, to);
		verified = c->begun;
		if (c->begun || (!c->tls_failed && c->why.code == 0 && !strstr(c->why.text, "STARTTLS") && !strstr(c->why.text, "TLS")))
			goto tell;
		printf("    %s. Once more, without demanding it:\n", c->why.text);
		config.tls = demanded->tls;
	}
	call(c, &config, at, from, to);
	if (!c->begun && c->tls_failed && demanded->tls == CLIENT_TLS_MAY) {
		printf("    %s. Once more, in clear:\n", c->why.text);
		config.tls = CLIENT_TLS_NO;
		call(c, &config, at, from, to);
	}
tell:
	if (c->begun)
		say_trust(c, &config, verified && c->tls[0]);
}

/* What it means and what can be done, as reports and why have it. */
static void say_cause(const struct mx_address *at, const struct reply *r)
{
	unsigned port = ntohs(at->addr.ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)(const void *)&at->addr)->sin6_port :
		((const struct sockaddr_in *)(const void *)&at->addr)->sin_port);
	char host[320], words[REPLY_TEXT + 24];
	struct dsn_cause cause;

	snprintf(host, sizeof host, "%s[address]:%u", at->host, port);
	if (r->code)
		snprintf(words, sizeof words, "%03d %s%s%s", r->code, r->enhanced, r->enhanced[0] ? " " : "", r->text);
	else
		snprintf(words, sizeof words, "%s", r->text);
	cause = dsn_cause(str_of(host), str_of(r->enhanced), str_of(words));
	if (cause.meaning)
		listing_wrap((size_t)printf("    This means: "), 6, str_of(cause.meaning));
	if (cause.remedy)
		listing_wrap((size_t)printf("    Remedy: "), 6, str_of(cause.remedy));
}

static int call_hosts(struct asked *a, const struct addr *from, const struct addr *to)
{
	for (size_t i = 0; i < a->hosts.n; i++) {
		const struct client_config *config;
		struct reply why;
		struct call c;

		printf("\n  ");
		say_address(&a->hosts.at[i]);
		printf(":\n");
		config = courier_demands(&a->route, &a->hosts, i, &why);
		if (!config) {
			printf("    It is not called: %s\n", why.text);
			continue;
		}
		call_and_tell(&c, config, &a->hosts.at[i], from, to);
		if (c.answered) {
			printf("    The recipient is %s.\n", c.result.code < 300 ? "taken" : c.result.code < 500 ? "not taken now" : "refused");
			if (c.result.code >= 300)
				say_cause(&a->hosts.at[i], &c.result);
			return c.result.code < 300 ? EX_OK : c.result.code < 500 ? EX_TEMPFAIL : 1;
		}
		printf("    No answer about the recipient: ");
		if (c.why.code)
			printf("%d %s ", c.why.code, c.why.enhanced);
		listing_show(stdout, str_of(c.why.text));
		printf("\n");
		say_cause(&a->hosts.at[i], &c.why);
	}
	return EX_TEMPFAIL;
}

int explain_connect(const struct settings *set, struct str domain, const struct addr *from, const struct addr *to)
{
	static struct courier_config courier;
	struct asked *a = &asked_last;
	struct tls_trust *trust;
	int status = explain_domain(set, domain, from);

	if (status || !a->hosts.n)
		return status;
	if (!(trust = tls_trust_new(set->tls_ca)))
		return EX_OSERR;
	courier = (struct courier_config){ .hostname = set->hostname, .routes = &set->routes, .self = &a->self, .trust = trust, .source = set->source,
		.proxy = set->proxy_out.len ? &set->proxy_out : NULL, .tls_rules = &set->tls_rules,
		.tls = set->tls_out == TLS_OUT_NO ? CLIENT_TLS_NO : set->tls_out == TLS_OUT_MAY ? CLIENT_TLS_MAY : CLIENT_TLS_MUST };
	courier_configure(&courier);
	status = call_hosts(a, from, to);
	tls_trust_free(trust);
	return status;
}
