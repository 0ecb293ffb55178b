/* check: what no setting alone decides. How other mail servers see this host, whether it can reach them, and what time it takes it to be. */
#include <arpa/inet.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

#include "cmd/check.h"
#include "cmd/decide.h"
#include "cmd/relay.h"
#include "dns.h"
#include "dsn.h"
#include "lib/clock.h"
#include "parse.h"
#include "policy/iprev.h"
#include "queue.h"

enum {
	ADDRESSES = 4,                  /* of ours that are looked at */
	LOOK_S = 10,
	CALL_S = 10,                    /* for a connection to a host outside */
	OUTSIDE_MOST = 5,
	NAMES_READ = 10000,             /* of the queue, for the clock */
	FUTURE_S = 300
};

/* ---- the clock */

/* The first eight digits of an id. */
static int64_t arrival(const struct entry_name *name)
{
	char second[9];

	memcpy(second, name->id, 8);
	second[8] = '\0';
	return (int64_t)strtoull(second, NULL, 16);
}

/* Messages that came later than now, as their ids say: one of the two times was wrong. */
static size_t from_the_future(const struct settings *s, int64_t now)
{
	char path[PATH_MAX];
	struct entry_name name;
	struct dirent *e;
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof path, "%s/cur", s->queue);
	d = opendir(path);
	for (size_t i = 0; d && i < NAMES_READ && (e = readdir(d)); i++)
		n += entry_parse(e->d_name, &name) && arrival(&name) > now + FUTURE_S;
	if (d)
		closedir(d);
	return n;
}

void check_clock(const struct settings *s)
{
	int64_t now = clock_wall_s();
	size_t future = from_the_future(s, now);
	struct timex kernel = { 0 };
	char date[40];

	clock_rfc3339(now, date);
	if (now < CLOCK_SANE)
		check_say("clock", false, "it says %s, and this program is younger: nothing expires and nothing is reported, and certificates of others seem not "
			"to be valid yet. Set it (date, or a service for it).", date);
	else if (future)
		check_say("clock", false, "it says %s, and %zu entr%s of the queue came later than that: it was ahead, or is behind now. Look at it (date).", date,
			future, future == 1 ? "y" : "ies");
	else if (adjtimex(&kernel) == TIME_ERROR || kernel.status & STA_UNSYNC)
		check_say("clock", false, "it says %s, and as far as the kernel knows nothing keeps it right. Certificates are judged and mail is dated by it. Run chrony "
			"or systemd-timesyncd; with OpenNTPD, which does not tell the kernel, it is well.", date);
}

/* ---- the addresses that mail leaves from, and their names */

struct seen {
	const struct settings *set;
	struct str hostname;
	struct ip ip[ADDRESSES];
	struct iprev_result back[ADDRESSES];
	bool named[ADDRESSES];          /* hostname leads to it */
	size_t n;
	bool behind[2];                 /* IPv4, IPv6: they are those of hostname, as our own mean nothing outside */
	bool has[2], unknown;           /* of hostname: at least one; it could not be found out */
	bool late;
};

static bool is_private(const struct ip *ip)
{
	const unsigned char *o = ip->octet;

	if (ip->n == 16)
		return (o[0] & 0xfe) == 0xfc || (o[0] == 0xfe && (o[1] & 0xc0) == 0x80);
	return o[0] == 10 || o[0] == 127 || (o[0] == 172 && (o[1] & 0xf0) == 16) || (o[0] == 192 && o[1] == 168) || (o[0] == 169 && o[1] == 254) ||
		(o[0] == 100 && (o[1] & 0xc0) == 64);
}

/* The setting, or what the system would take to a host outside: a connected socket knows, and nothing is sent. */
static bool own_address(const struct settings *s, int family, struct ip *out)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(25) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(25) };
	const struct sockaddr *there = family == AF_INET ? (struct sockaddr *)&four : (struct sockaddr *)&six;
	const struct sockaddr_storage *set = &s->source[family == AF_INET6];
	struct sockaddr_storage here;
	socklen_t len = sizeof here;
	bool found;
	int fd;

	if (set->ss_family != AF_UNSPEC)
		return ip_of((const struct sockaddr *)set, out);
	inet_pton(AF_INET, "192.0.2.1", &four.sin_addr);        /* for documents (RFC 5737, RFC 3849): nobody's, and as far away as anybody's */
	inet_pton(AF_INET6, "2001:db8::1", &six.sin6_addr);
	fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	found = fd != -1 && connect(fd, there, family == AF_INET ? sizeof four : sizeof six) == 0 &&
		getsockname(fd, (struct sockaddr *)&here, &len) == 0 && ip_of((struct sockaddr *)&here, out);
	if (fd != -1)
		close(fd);
	return found;
}

static void take(struct seen *n, const struct ip *ip)
{
	for (size_t i = 0; i < n->n; i++)
		if (!strcmp(n->ip[i].text, ip->text))
			return;
	if (n->n < ADDRESSES)
		n->ip[n->n++] = *ip;
}

/* Those of the setting or the system; behind a router that translates them they mean nothing outside. */
static void find_own(struct seen *n)
{
	static const int family[] = { AF_INET, AF_INET6 };
	struct ip ip;

	for (size_t i = 0; i < 2; i++) {
		if ((i == 0 && n->set->inet == INET_ONLY6) || (i == 1 && n->set->inet == INET_ONLY4) || !own_address(n->set, family[i], &ip))
			continue;
		if (is_private(&ip) && n->set->source[i].ss_family == AF_UNSPEC)
			n->behind[i] = true;
		else
			take(n, &ip);
	}
}

static bool leads_to(const struct fact *f, const struct ip *ip)
{
	for (size_t i = 0; f->outcome == FOUND && i < f->n; i++)
		if (f->record[i].data.n == ip->n && !memcmp(f->record[i].data.p, ip->octet, ip->n))
			return true;
	return false;
}

/* Behind a router: whoever is there under our name should be us. */
static void take_those_of(struct seen *n, const struct fact *f, int family)
{
	for (size_t i = 0; n->behind[family == AF_INET6] && f->outcome == FOUND && i < f->n; i++) {
		struct sockaddr_in four = { .sin_family = AF_INET };
		struct sockaddr_in6 six = { .sin6_family = AF_INET6 };
		struct ip ip;

		memcpy(family == AF_INET ? (void *)&four.sin_addr : (void *)&six.sin6_addr, f->record[i].data.p, family == AF_INET ? 4 : 16);
		if (ip_of(family == AF_INET ? (struct sockaddr *)&four : (struct sockaddr *)&six, &ip))
			take(n, &ip);
	}
}

static enum verdict look(void *arg, struct facts *facts)
{
	struct seen *n = arg;
	const struct fact *a = fact(facts, FACT_A, n->hostname), *aaaa = fact(facts, FACT_AAAA, n->hostname);
	bool all = true;

	if (!a || !aaaa)
		return WAIT;
	n->unknown = a->outcome == UNKNOWN || aaaa->outcome == UNKNOWN;
	n->has[0] = a->outcome == FOUND;
	n->has[1] = aaaa->outcome == FOUND;
	take_those_of(n, a, AF_INET);
	take_those_of(n, aaaa, AF_INET6);
	for (size_t i = 0; i < n->n; i++) {
		n->named[i] = leads_to(n->ip[i].n == 4 ? a : aaaa, &n->ip[i]);
		all = iprev_check(facts, &n->ip[i], &n->back[i]) != WAIT && all;
	}
	return all ? ACCEPT : WAIT;
}

static void late(void *arg) { ((struct seen *)arg)->late = true; }

static const char *remedy_for_ptr(void) { return dsn_cause(STR(""), STR("5.7.25"), STR("no PTR")).remedy; }

static void tell_address(const struct seen *n, size_t i)
{
	const struct iprev_result *back = &n->back[i];
	const char *ip = n->ip[i].text;

	if (back->code == IPREV_TEMPERROR)
		check_note(n->set, "source_address", "%s: its name (PTR) cannot be looked up now.", ip);
	else if (back->code == IPREV_PERMERROR)
		check_note(n->set, "source_address", "%s has no name in the DNS (PTR): many servers refuse its mail. Remedy: %s", ip, remedy_for_ptr());
	else if (back->code == IPREV_FAIL)
		check_note(n->set, "source_address", "%s is called %s in the DNS (PTR), and that name does not lead back to it: many servers refuse its mail. Remedy: %s",
			ip, back->name, remedy_for_ptr());
	else if (!n->named[i])
		check_note(n->set, "hostname", "%s does not lead to %s, which mail is sent from and which is called %s in the DNS. Set hostname = %s, or have address and "
			"PTR record say the same: this is the name that EHLO tells.", n->set->hostname, ip, back->name, back->name);
	else
		printf("address %s is called %s in the DNS, and that leads back%s\n", ip, back->name,
			str_eq_nocase(str_of(back->name), n->hostname) ? "; EHLO says the same" : "; the name in EHLO leads there, too");
}

static void tell_names(const struct seen *n)
{
	if (n->late || n->unknown) {
		check_note(n->set, "hostname", "%s cannot be looked up now: what other servers see of this host is not known.", n->set->hostname);
		return;
	}
	if (!n->has[0] && !n->has[1])
		check_note(n->set, "hostname", "%s has no address in the DNS: some servers refuse who introduces himself so (EHLO). Give it an A record, and AAAA for IPv6, "
			"with the address of this host, or set hostname to a name that has.", n->set->hostname);
	if ((n->behind[0] || n->behind[1]) && !n->n)
		printf("this host is behind a router: its addresses are those of %s, which has none\n", n->set->hostname);
	for (size_t i = 0; i < 2; i++)
		if (n->behind[i] && n->has[i])
			printf("this host is behind a router: its IPv%d addresses are those of %s\n", i ? 6 : 4, n->set->hostname);
	for (size_t i = 0; i < n->n; i++)
		tell_address(n, i);
}

static void check_addresses(const struct settings *s)
{
	struct seen seen = { .set = s, .hostname = str_of(s->hostname) };
	const struct decision how = { .command = "check", .lookups = 2 + ADDRESSES * IPREV_LOOKUPS, .seconds = LOOK_S, .check = look, .late = late, .arg = &seen };

	find_own(&seen);
	fflush(stdout);
	if (decide(&how, s) == 0)
		tell_names(&seen);
	dns_stop();
}

/* ---- does port 25 lead out? */

/* Its mail host, as the queue would call it, whatever the routes say. */
static bool answers(const struct settings *s, struct str domain, struct reply *why)
{
	const struct routes none = { .smtp_port = s->routes.smtp_port };
	enum relay_step step;
	struct route r;

	route_find(&none, domain, NULL, &r);
	fflush(stdout);
	step = relay_reach(s, &r, CALL_S, why);
	ascii_make_printable(why->text);
	if (step == RELAY_IN || why->code)
		printf("outside: the mail host of " STR_FMT " answers%s%s\n", STR_ARG(domain), step == RELAY_IN ? "" : ", and is not content: ",
			step == RELAY_IN ? "" : why->text);
	return step == RELAY_IN || why->code;
}

static void check_outside(const struct settings *s, const char *domains)
{
	struct str rest = str_of(domains), domain;
	size_t asked = 0, answered = 0;
	struct reply why = { 0 };

	for (; asked < OUTSIDE_MOST && rest.n; asked++) {
		if (!str_cut(&rest, ',', &domain)) {
			domain = rest;
			rest = STR("");
		}
		if (answers(s, domain, &why))
			answered++;
		else
			check_say("outside", false, "the mail host of " STR_FMT " does not: %s", STR_ARG(domain), why.text);
	}
	if (asked && !answered)
		check_say("outside", true, "none of them can be reached at port %u. If this host has a way out at all, that port is blocked. Remedy: %s",
			s->routes.smtp_port ? s->routes.smtp_port : 25,
			dsn_cause(STR(""), STR("4.4.1"), STR("connect: the port seems to be blocked")).remedy);
}

static bool sends_by_dns(const struct settings *s)
{
	struct route r;

	route_find(&s->routes, STR("elsewhere.invalid"), NULL, &r);
	return s->deliver && r.kind == ROUTE_MX && !s->proxy_out.len;
}

void check_standing(const struct settings *s, const char *outside)
{
	if (sends_by_dns(s))
		check_addresses(s);
	if (outside)
		check_outside(s, outside);
	else if (sends_by_dns(s))
		printf("port 25 was not tried (check --outside calls a few well-known hosts)\n");
}
