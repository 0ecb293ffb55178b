/* Finding a relay, and trying it. */
#include "cmd/relay.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "cmd/courier.h"
#include "cmd/decide.h"
#include "deliver/mx.h"
#include "deliver/tlsrule.h"
#include "dns.h"
#include "dsn.h"
#include "lib/codec.h"
#include "lib/list.h"
#include "lib/loop.h"

enum { LOOKUP_S = 15, PROBE_S = 5, PROBE_REPLY_S = 10, REPLY_S = 30, VISIT_MS = 90000, REACHED = 2 };

static const struct {
	const char *name, *remedy;      /* NULL: as for a delivery */
} steps[] = {
	[RELAY_ADDRESS] = { "looking for its address", "Look at the name of the host, and whether the resolver answers (fardel check)." },
	[RELAY_CONNECT] = { "connecting to it", "Look at the host's name and port (465 or 587), and whether a firewall lets connections out." },
	[RELAY_TLS] = { "TLS", NULL },
	[RELAY_LOGIN] = { "the login", "Look at user and password: often the user is the whole address, and the password one that the provider makes for "
		"programs." },
	[RELAY_IN] = { "nothing", "" },
};

const char *relay_step_name(enum relay_step s) { return steps[s].name; }

const char *relay_remedy(enum relay_step s, const struct reply *why)
{
	return steps[s].remedy ? steps[s].remedy : dsn_cause(STR(""), str_of(why->enhanced), str_of(why->text)).remedy;
}

/* ---- words */

bool relay_rule(struct buf *out, const struct relay *r, const char *user, const char *password, const char *file)
{
	buf_printf(out, "* %s", r->tls_first ? "smtps://" : "smtp+starttls://");
	if (user) {
		percent_encode(out, str_of(user));
		if (password) {
			buf_char(out, ':');
			percent_encode(out, str_of(password));
		}
		buf_char(out, '@');
	}
	buf_printf(out, "%s:%u", r->host, r->port);
	if (file)
		buf_printf(out, " password_file=%s", file);
	return !out->bad;
}

const char *relay_parse(struct str text, struct relay *out)
{
	struct str host = text, rest, port;
	struct route_rule rule;
	struct buf all = { .max = 400 };
	const char *wrong;
	uint64_t n = 0;

	*out = (struct relay){ 0 };
	rest = port = text;
	if (str_cut_last(&port, ':', &rest) && !str_number(port, 65535, &n))
		return "the port is no number from 1 to 65535";
	if (n)
		host = rest;
	if (host.n > 1 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = (struct str){ host.p + 1, host.n - 2 };
	if (!host.n || !str_copy(out->host, sizeof out->host, host))
		return "that is no name of a host";
	for (size_t i = 0; i < host.n; i++)
		if (!ascii_alpha(host.p[i]) && !ascii_digit(host.p[i]) && host.p[i] != '.' && host.p[i] != '-' && host.p[i] != '_')
			return "that is no name of a host: write HOST or HOST:PORT";
	out->port = 465;
	out->tls_first = true;
	wrong = relay_rule(&all, out, NULL, NULL, NULL) ? route_parse(buf_view(&all), &rule) : "the name is too long";
	buf_free(&all);
	out->port = (unsigned)n;
	out->tls_first = n == 465;
	return wrong;
}

/* ---- looking up */

struct visit {
	const struct settings *set;
	struct route route;
	struct mx_self self;
	struct timer late;              /* of a call */
	struct mx_result hosts;
	enum verdict verdict;
	struct str domain;              /* of a search by SRV */
	struct relay *found;
	bool over, named, hung_up;
	size_t most;                    /* addresses that are called */
	enum relay_step step;
	struct reply why;
};

/* False: nothing can be asked. */
static bool look_up(struct visit *v, enum verdict (*look)(void *visit, struct facts *), unsigned lookups)
{
	const struct decision how = { .lookups = lookups, .seconds = LOOKUP_S, .check = look, .arg = v };
	bool done = !decide_begin(v->set) && decide_wait(&how);

	dns_stop();
	return done;
}

static enum verdict look_for_hosts(void *visit, struct facts *f)
{
	struct visit *v = visit;

	return v->verdict = mx_find(f, &v->route, &v->self, 1, &v->hosts);
}

/* RFC 2782: the lowest priority; among equals the one that most go to. A target of "" says that there is no such service. */
static void take_service(struct visit *v, const struct fact *f, bool tls_first)
{
	const struct record *best = NULL;
	struct relay r = { .tls_first = tls_first };

	for (size_t i = 0; f->outcome == FOUND && i < f->n; i++) {
		const struct record *one = &f->record[i];

		if (one->data.n > 4 && (!best || one->priority < best->priority || (one->priority == best->priority && memcmp(one->data.p, best->data.p, 2) > 0)))
			best = one;
	}
	if (v->named || !best || !str_copy(r.host, sizeof r.host, str_from(best->data, 4)))
		return;
	r.port = (unsigned)(unsigned char)best->data.p[2] << 8 | (unsigned char)best->data.p[3];
	v->named = r.port > 0;
	*v->found = r;
}

static enum verdict look_for_services(void *visit, struct facts *facts)
{
	struct visit *v = visit;
	char name[2][300];
	const struct fact *f[2];

	snprintf(name[0], sizeof name[0], "_submissions._tcp." STR_FMT, STR_ARG(v->domain));
	snprintf(name[1], sizeof name[1], "_submission._tcp." STR_FMT, STR_ARG(v->domain));
	f[0] = fact(facts, FACT_SRV, str_of(name[0]));
	f[1] = fact(facts, FACT_SRV, str_of(name[1]));
	if (!f[0] || !f[1])
		return WAIT;
	take_service(v, f[0], true);
	take_service(v, f[1], false);
	return ACCEPT;
}

/* ---- calling */

static void let_in(struct client *client, void *arg)
{
	struct visit *v = arg;

	v->step = RELAY_IN;
	client_quit(client);
}

static void gone(struct client *client, void *arg, const struct reply *why)
{
	struct visit *v = arg;
	bool tls = client_tls_failed(client) || client_tls_missing(client) || !strcmp(why->enhanced + (why->enhanced[0] ? 1 : 0), ".7.5");

	v->over = v->hung_up = true;
	if (v->step == RELAY_IN)
		return;
	v->step = client_login_failed(client) ? RELAY_LOGIN : tls ? RELAY_TLS : RELAY_CONNECT;
	v->why = *why;
}

static void too_late(struct timer *t) { owner_of(t, struct visit, late)->over = true; }

static void call(struct visit *v, const struct client_config *demanded, const struct mx_address *at, unsigned connect_s)
{
	static const struct client_events events = { .ready = let_in, .gone = gone };
	struct client_config config = *demanded;
	struct client *client;

	config.connect_s = connect_s;
	config.command_s = connect_s == PROBE_S ? PROBE_REPLY_S : REPLY_S;
	v->over = v->hung_up = false;
	v->late.expired = too_late;
	v->step = RELAY_CONNECT;
	client = client_open(&config, (const struct sockaddr *)&at->addr, at->len, at->host, &events, v);
	if (!client) {
		reply_set(&v->why, 0, "4.4.1", "connect: %s", strerror(errno));
		return;
	}
	timer_set(&v->late, VISIT_MS);
	while (!v->over)
		loop_turn(-1);
	if (!v->hung_up) {
		reply_set(&v->why, 0, "4.4.2", "no end of it within %d s", VISIT_MS / 1000);
		client_abort(client);
	}
	timer_stop(&v->late);
}

static void call_all(struct visit *v, struct tls_trust *trust, unsigned connect_s)
{
	const struct settings *s = v->set;
	static struct courier_config courier;

	courier = (struct courier_config){ .hostname = s->hostname, .routes = &s->routes, .self = &v->self, .trust = trust, .source = s->source,
		.proxy = s->proxy_out.len ? &s->proxy_out : NULL, .tls_rules = &s->tls_rules, .tls = CLIENT_TLS_MAY };
	courier_configure(&courier);
	for (size_t i = 0; v->step != RELAY_IN && v->step != RELAY_LOGIN && i < v->hosts.n && i < v->most; i++) {
		const struct client_config *config = courier_demands(&v->route, &v->hosts, i, &v->why);

		v->step = RELAY_TLS;
		if (config)
			call(v, config, &v->hosts.at[i], connect_s);
	}
}

static enum relay_step try(const struct settings *s, const struct route *r, size_t most, unsigned connect_s, struct reply *why)
{
	static struct visit v;
	struct tls_trust *trust = tls_trust_new(s->tls_ca);

	v = (struct visit){ .set = s, .route = *r, .self = { .hostname = s->hostname, .dane = true, .inet = s->inet }, .verdict = WAIT, .step = RELAY_ADDRESS, .most = most };
	tls_rules_ask(&s->tls_rules, &v.route, &v.self);
	reply_set(&v.why, 0, "4.4.3", "the resolver does not answer");
	if (look_up(&v, look_for_hosts, MX_LOOKUPS) && v.verdict == REFUSE)
		v.why = v.hosts.why;
	if (v.verdict == ACCEPT && trust)
		call_all(&v, trust, connect_s);
	tls_trust_free(trust);
	*why = v.why;
	return v.step;
}

enum relay_step relay_try(const struct settings *s, const struct route *r, unsigned connect_s, struct reply *why)
{
	return try(s, r, SIZE_MAX, connect_s, why);
}

enum relay_step relay_reach(const struct settings *s, const struct route *r, unsigned connect_s, struct reply *why)
{
	return try(s, r, REACHED, connect_s, why);
}

/* The way that is said, or each that could be meant. */
enum relay_step relay_find(const struct settings *s, struct relay *r, struct reply *why)
{
	const struct relay ways[] = { { .port = r->port ? r->port : 465, .tls_first = true }, { .port = r->port ? r->port : 587 } };
	enum relay_step best = RELAY_ADDRESS;

	for (size_t i = 0; i < sizeof ways / sizeof *ways && best != RELAY_IN; i++) {
		struct relay way = ways[i];
		struct route_rule rule;
		struct buf text = { .max = 400 };
		struct reply said;
		enum relay_step step;

		if ((r->port == 465 && !way.tls_first) || (r->port == 587 && way.tls_first))
			continue;
		memcpy(way.host, r->host, sizeof way.host);
		if (!relay_rule(&text, &way, NULL, NULL, NULL) || route_parse(buf_view(&text), &rule)) {
			buf_free(&text);
			continue;
		}
		buf_free(&text);
		step = relay_try(s, &rule.to, PROBE_S, &said);
		if (step >= best) {
			best = step;
			*why = said;
		}
		if (step == RELAY_IN)
			*r = way;
	}
	return best;
}

bool relay_suggest(const struct settings *s, struct str domain, struct relay *out)
{
	static const char *const usual[] = { "smtp.", "mail.", "" };
	static struct visit v;
	struct reply why;

	v = (struct visit){ .set = s, .domain = domain, .found = out };
	if (look_up(&v, look_for_services, 2) && v.named)
		return true;
	for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
		*out = (struct relay){ 0 };
		if ((size_t)snprintf(out->host, sizeof out->host, "%s" STR_FMT, usual[i], STR_ARG(domain)) < sizeof out->host &&
		    relay_find(s, out, &why) == RELAY_IN)
			return true;
	}
	return false;
}
