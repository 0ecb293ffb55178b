/* Addresses for reports. */
#include "policy/rua.h"

#include <stdio.h>
#include <string.h>

#include "lib/idn.h"

static void keep(struct rua *r, const struct dmarc_uri *uri)
{
	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->to[i].address, uri->address))
			return;
	if (r->n < RUA_MAX)
		r->to[r->n++] = *uri;
}

void rua_add(struct rua *r, struct str list)
{
	struct dmarc_uri uri;

	while (r->n < RUA_MAX && dmarc_uri_next(&list, &uri))
		keep(r, &uri);
}

/* ---- who has agreed */

struct asking {
	struct facts *facts;
	struct str domain;              /* whose reports it is about */
	struct str organization;        /* its; empty: it cannot be found out now */
	struct rua *out;
	struct buf *why;
};

static enum verdict leave_out(struct asking *a, const struct dmarc_uri *uri, const char *why)
{
	if (a->why)
		buf_printf(a->why, "%s%s: %s", a->why->n ? "; " : "", uri->address, why);
	return ACCEPT;
}

/* As it is asked for in the DNS. False: nobody can have a record there. */
static bool host_of(const char *address, char out[DOMAIN_MAX + 1])
{
	struct str host = str_of(address), local;

	return str_cut_last(&host, '@', &local) && host.n && host.p[0] != '[' && !idn_to_ascii(host, out);
}

/* RFC 9990, step 9 of verifying a destination: what the host wants instead is to be at the host. */
static bool stays_there(struct str list, const char *host)
{
	char other[DOMAIN_MAX + 1];
	struct dmarc_uri uri;

	while (dmarc_uri_next(&list, &uri))
		if (!host_of(uri.address, other) || !str_eq_nocase(str_of(other), str_of(host)))
			return false;
	return true;
}

/* What the host says: has it agreed, and to be told at other addresses than the domain says? */
static bool has_agreed(const struct fact *f, struct str *instead)
{
	struct dmarc_record record;
	bool agreed = false;

	*instead = STR("");
	for (size_t i = 0; f->outcome == FOUND && i < f->n; i++) {
		if (!dmarc_is_record(f->record[i].data))
			continue;
		agreed = true;
		dmarc_record_parse(f->record[i].data, &record);        /* it need not have a policy */
		if (!instead->n)
			*instead = record.rua;
	}
	return agreed;
}

/* Steps 2 to 9. Who agrees to reports of all domains has a record for *._report._dmarc.HOST, which is the DNS's business. */
static enum verdict ask_host(struct asking *a, const struct dmarc_uri *uri, const char *host)
{
	char name[2 * DOMAIN_MAX + 32];
	int n = snprintf(name, sizeof name, STR_FMT "._report._dmarc.%s", STR_ARG(a->domain), host);
	const struct fact *f;
	struct str instead;

	if (n > 253)                    /* RFC 1035 2.3.4 */
		return leave_out(a, uri, "the name where its host would agree is too long");
	if (!(f = fact(a->facts, FACT_TXT, (struct str){ name, (size_t)n })))
		return WAIT;
	if (f->outcome == UNKNOWN)
		return REFUSE;
	if (!has_agreed(f, &instead))
		return leave_out(a, uri, "its host has not agreed to get reports of this domain");
	if (!instead.n)
		keep(a->out, uri);
	else if (stays_there(instead, host))
		rua_add(a->out, instead);
	else
		return leave_out(a, uri, "its host wants them to go to yet another one");
	return ACCEPT;
}

static enum verdict look_at(struct asking *a, const struct dmarc_uri *uri)
{
	char host[DOMAIN_MAX + 1];
	struct dmarc_owner owner;
	enum verdict known;

	if (!host_of(uri->address, host))
		return leave_out(a, uri, "its host can have no record that it agrees");
	if (!str_eq_nocase(str_of(host), a->domain)) {
		if (!a->organization.n)
			return REFUSE;
		known = dmarc_find_owner(a->facts, str_of(host), &owner);
		if (known != ACCEPT)
			return known;
		if (!str_eq_nocase(owner.organization, a->organization))
			return ask_host(a, uri, host);
	}
	keep(a->out, uri);
	return ACCEPT;
}

enum verdict rua_find(struct facts *facts, const char *domain, struct rua *out, struct buf *why)
{
	struct asking a = { .facts = facts, .domain = str_of(domain), .out = out, .why = why };
	struct rua wanted = { 0 };
	struct dmarc_owner owner;
	enum verdict known = dmarc_find_owner(facts, a.domain, &owner);
	bool wait = false;

	*out = (struct rua){ 0 };
	if (known == WAIT || !owner.has_record)
		return known;
	a.organization = owner.organization;
	rua_add(&wanted, owner.record.rua);
	known = ACCEPT;
	for (size_t i = 0; i < wanted.n; i++) {
		enum verdict one = look_at(&a, &wanted.to[i]);

		wait |= one == WAIT;
		if (one != ACCEPT)
			known = one;
	}
	return wait ? WAIT : known;
}
