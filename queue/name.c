/* Names in the queue directory: <next>.<tries>.<id>.<dest>, and ids. */
#include "queue/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/rand.h"

enum { ID_HEX = 24 };                   /* 8 for the arrival second, 16 of chance */

/* Public and constant: a token or a report's id must be the same in every process that ever reads this queue. */
static const uint64_t name_key[2] = { 0x66617264656c2071u, 0x75657565206e616du };

static bool is_hex(char c)
{
	return ascii_digit(c) || (c >= 'a' && c <= 'f');
}

bool id_valid(struct str id)
{
	if (id.n != ID_HEX)
		return false;
	for (size_t i = 0; i < id.n; i++)
		if (!is_hex(id.p[i]))
			return false;
	return true;
}

static void id_print(char id[ID_MAX], uint32_t second, uint64_t chance)
{
	snprintf(id, ID_MAX, "%08" PRIx32 "%016" PRIx64, second, chance);
}

void id_make(char id[ID_MAX], int64_t now)
{
	id_print(id, (uint32_t)now, rand_u64());
}

void id_of_report(char id[ID_MAX], const char *about, const char *dest, unsigned n)
{
	char text[NAME_ROOM + ID_MAX + 16];
	int len = snprintf(text, sizeof text, "%s %s %u", about, dest, n);

	id_print(id, (uint32_t)id_arrival(about), siphash(name_key, text, (size_t)len));
}

void id_of_alias(char id[ID_MAX], const char *about, size_t n)
{
	char text[ID_MAX + 40];
	int len = snprintf(text, sizeof text, "%s alias %zu", about, n);

	id_print(id, (uint32_t)id_arrival(about), siphash(name_key, text, (size_t)len));
}

int64_t id_arrival(const char *id)
{
	uint32_t v = 0;

	for (int i = 0; i < 8 && is_hex(id[i]); i++)
		v = v << 4 | (uint32_t)(ascii_digit(id[i]) ? id[i] - '0' : id[i] - 'a' + 10);
	return (int64_t)v;              /* unsigned: good until 2106 */
}

/* A domain may stand in a name as it is: nothing that a shell or a directory takes amiss. */
static bool fit_for_name(struct str domain)
{
	if (domain.n == 0 || domain.n > DEST_MAX || domain.p[0] == '=' || domain.p[0] == '+' || domain.p[0] == '.')
		return false;
	for (size_t i = 0; i < domain.n; i++) {
		char c = domain.p[i];

		if (!ascii_digit(c) && !(c >= 'a' && c <= 'z') && !memchr("-._[]:", c, 6))
			return false;
	}
	return true;
}

void dest_token(struct str domain, char token[DEST_MAX + 1])
{
	char lower[DOMAIN_MAX + 1];

	if (str_copy(lower, sizeof lower, domain)) {    /* a domain is the same in any case (RFC 1035 2.3.3) */
		for (char *c = lower; *c; c++)
			*c = ascii_lower(*c);
		domain.p = lower;
	}
	if (fit_for_name(domain))
		str_copy(token, DEST_MAX + 1, domain);
	else
		snprintf(token, DEST_MAX + 1, "=%016" PRIx64, siphash(name_key, domain.p, domain.n));
}

void entry_print(char name[NAME_ROOM], int64_t next, bool held, unsigned tries, const char *id, const char *dest)
{
	if (held)
		snprintf(name, NAME_ROOM, "%010" PRId64 ".H.%s.%s", next, id, dest);
	else
		snprintf(name, NAME_ROOM, "%010" PRId64 ".%u.%s.%s", next, tries, id, dest);
}

bool entry_parse(const char *name, struct entry_name *out)
{
	struct str rest = str_of(name), next, tries, id;
	uint64_t n;

	*out = (struct entry_name){ 0 };
	if (!str_cut(&rest, '.', &next) || !str_cut(&rest, '.', &tries) || !str_cut(&rest, '.', &id))
		return false;
	if (!str_number(next, INT64_MAX / 2, &n) || !id_valid(id) || rest.n == 0 || rest.n > DEST_MAX)
		return false;
	if (!str_eq(rest, STR("+")) && rest.p[0] != '=' && !fit_for_name(rest))
		return false;
	out->next = (int64_t)n;
	out->held = str_eq(tries, STR("H"));
	if (!out->held && !str_number(tries, 1000000, &n))
		return false;
	out->tries = out->held ? 0 : (unsigned)n;
	str_copy(out->id, sizeof out->id, id);
	out->dest = rest;
	return true;
}
