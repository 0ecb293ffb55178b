/* The sender's domain: one host with an address is enough. */
#include "policy/sender.h"

#include "parse.h"

/* NULL in *missing: everything that was asked is known. */
static enum verdict host_has_address(struct facts *f, struct str host, const struct fact **missing)
{
	static const enum fact_kind kinds[] = { FACT_A, FACT_AAAA };

	for (size_t i = 0; i < 2; i++) {
		const struct fact *a = fact(f, kinds[i], host);

		if (!a)
			return WAIT;
		if (a->outcome == FOUND && a->n)
			return ACCEPT;
		if (a->outcome == UNKNOWN)
			*missing = a;
	}
	return REFUSE;
}

static bool is_null_mx(const struct fact *mx)
{
	for (size_t i = 0; i < mx->n; i++)
		if (mx->record[i].data.n)
			return false;
	return true;
}

static enum verdict not_known(struct str domain, const struct fact *f, struct reply *why)
{
	reply_set(why, 451, "4.4.3", "cannot look up the sender's domain " STR_FMT " now: %s; try again later", STR_ARG(domain),
		f->why ? f->why : "no reason given");
	return REFUSE;
}

static enum verdict no_mail(struct str domain, const char *enhanced, const char *what, struct reply *why)
{
	reply_set(why, 550, enhanced, "the sender's domain " STR_FMT " %s", STR_ARG(domain), what);
	return REFUSE;
}

static bool is_ascii(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return false;
	return true;
}

enum verdict sender_domain(struct facts *f, const struct addr *from, struct reply *why)
{
	const struct fact *mx, *missing = NULL;
	struct str domain = from->domain;

	if (!domain.n || domain.p[0] == '[' || !is_ascii(domain))
		return ACCEPT;
	mx = fact(f, FACT_MX, domain);
	if (!mx)
		return WAIT;
	if (mx->outcome == UNKNOWN)
		return not_known(domain, mx, why);
	if (mx->outcome == NO_NAME)
		return no_mail(domain, "5.1.8", "does not exist", why);
	if (mx->outcome == FOUND && is_null_mx(mx))
		return no_mail(domain, "5.7.27", "does not take mail (null MX), so it cannot send any", why);
	/* RFC 5321 5.1: without MX, the domain itself. Hosts are asked for in turn: mostly the first has an address. */
	for (size_t i = 0; i < (mx->outcome == FOUND ? mx->n : 1) && i < SENDER_HOSTS; i++) {
		struct str host = mx->outcome == FOUND ? mx->record[i].data : domain;
		enum verdict v = host.n ? host_has_address(f, host, &missing) : REFUSE;

		if (v != REFUSE)
			return v;
	}
	if (missing)
		return not_known(domain, missing, why);
	return no_mail(domain, "5.1.8", mx->outcome == FOUND ? "has no mail host with an address" : "has neither a mail host nor an address", why);
}
