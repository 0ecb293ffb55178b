/* Trying filters and lists. */
#include "cmd/probe.h"

#include <stdio.h>

#include "cmd/decide.h"
#include "lib/list.h"
#include "lib/loop.h"
#include "smtpd/milterlink.h"

enum { MILTER_MS = 5000, LIST_S = 10 };

/* ---- a filter */

struct call {
	struct milter_link link;
	bool over;
	char wrong[200];
};

static void agreed(struct milter_link *l)
{
	owner_of(l, struct call, link)->over = true;
	link_goodbye(l);
}

static void heard(struct milter_link *l, char letter, struct str data) { (void)l, (void)letter, (void)data; }
static void may_send(struct milter_link *l) { (void)l; }

static void failed(struct milter_link *l, const char *why)
{
	struct call *c = owner_of(l, struct call, link);

	c->over = true;
	snprintf(c->wrong, sizeof c->wrong, "%s", why);
}

const char *probe_milter(const struct settings *s, const struct smtpd_milter *where)
{
	static struct call c;
	msec patience = 1000 * (msec)s->milter_connect_timeout;

	c = (struct call){ .link = { .where = where, .ready = agreed, .heard = heard, .room = may_send, .failed = failed } };
	link_open(&c.link, patience < MILTER_MS ? patience : MILTER_MS);
	while (!c.over)
		loop_turn(-1);
	loop_turn(0);                           /* whoever called us back has returned */
	return *c.wrong ? c.wrong : NULL;
}

/* ---- a list */

struct looking {
	struct dnsbl_query query[2];            /* for IPv4 or domains, and for IPv6 */
	struct dnsbl_result result[2];
};

/* What must be listed is asked about: that it does not come back as such says that there is no such list. */
static enum verdict look(void *arg, struct facts *f)
{
	struct looking *l = arg;
	size_t known = 0;

	for (size_t i = 0; i < 2; i++)
		known += dnsbl_check(f, &l->query[i], &l->result[i]) == ACCEPT;
	return known == 2 ? ACCEPT : WAIT;
}

const char *probe_list(const struct dnsbl_list *list, bool *ipv6, bool *unknown)
{
	static const struct ip v4 = { .n = 4, .octet = { 127, 0, 0, 2 }, .text = "127.0.0.2" },
		v6 = { .n = 16, .octet = { [10] = 0xff, 0xff, 127, 0, 0, 2 }, .text = "::ffff:127.0.0.2" };
	struct dnsbl_list any = *list;          /* whatever its codes mean here */
	static struct looking l;
	static const struct decision how = { .lookups = DNSBL_LOOKUPS, .seconds = LIST_S, .check = look, .arg = &l };

	any.ncodes = 0;
	l = (struct looking){ .query = { { .list = &any, .n = 1, .ip = &v4 }, { .list = &any, .n = 1, .ip = &v6 } } };
	if (list->domains)
		l.query[0].domain[0] = l.query[1].domain[0] = STR("test");
	*ipv6 = *unknown = false;
	if (!decide_wait(&how))
		return "memory is out";
	*ipv6 = l.result[1].listed;
	*unknown = !l.result[0].listed && !l.result[0].wrong[0];
	return l.result[0].wrong[0];
}
