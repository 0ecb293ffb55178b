/* DANE for SMTP. */
#include "deliver/dane.h"

#include <stdio.h>
#include <string.h>

#include "lib/hash.h"
#include "parse.h"

bool dane_pin(struct str rdata, struct tls_pin *out)
{
	unsigned char usage, selector, matching;
	struct str data;

	if (rdata.n < 4)
		return false;
	usage = (unsigned char)rdata.p[0];
	selector = (unsigned char)rdata.p[1];
	matching = (unsigned char)rdata.p[2];
	data = str_from(rdata, 3);
	/* RFC 7672 3.1.3: PKIX-TA and PKIX-EE are for nobody here, as it is not known which authorities both sides believe. */
	if ((usage != TLS_PIN_AUTHORITY && usage != TLS_PIN_OWN) || selector > 1 || matching > 2)
		return false;
	*out = (struct tls_pin){ .usage = usage, .key_only = selector == 1, .hash = matching == 2 ? HASH_SHA512 : HASH_SHA256 };
	if (matching == 0) {            /* the whole of it: its digest says as much */
		hash_of(HASH_SHA256, data, out->digest);
		return true;
	}
	if (data.n != hash_size(out->hash))
		return false;
	memcpy(out->digest, data.p, data.n);
	return true;
}

/* A record that is there already needs no second place. */
static void add_pin(struct tls_pins *pins, const struct tls_pin *pin)
{
	for (size_t i = 0; i < pins->n; i++) {
		const struct tls_pin *p = &pins->pin[i];

		if (p->usage == pin->usage && p->key_only == pin->key_only && p->hash == pin->hash && !memcmp(p->digest, pin->digest, sizeof pin->digest))
			return;
	}
	if (pins->n < TLS_PINS)
		pins->pin[pins->n++] = *pin;
}

/* Records that count: *out has them. Else demand stays DANE_NONE. */
static enum verdict look_at(struct facts *f, struct str host, unsigned port, struct dane *out, struct reply *why)
{
	char name[300];
	const struct fact *tlsa;
	struct tls_pin pin;

	*out = (struct dane){ .demand = DANE_NONE };
	snprintf(name, sizeof name, "_%u._tcp." STR_FMT, port, STR_ARG(host));
	tlsa = fact(f, FACT_TLSA, str_of(name));
	if (!tlsa)
		return WAIT;
	if (tlsa->outcome == UNKNOWN) {
		reply_set(why, 451, "4.7.5", "cannot look up what DNS says of the certificate of " STR_FMT " (TLSA at %s): %s", STR_ARG(host), name,
			tlsa->why ? tlsa->why : "no reason given");
		return REFUSE;
	}
	if (tlsa->outcome != FOUND || !tlsa->secure)
		return ACCEPT;
	out->demand = DANE_ENCRYPT;
	for (size_t i = 0; i < tlsa->n; i++)
		if (dane_pin(tlsa->record[i].data, &pin))
			add_pin(&out->pins, &pin);
	if (out->pins.n)
		out->demand = DANE_VERIFY;
	return ACCEPT;
}

enum verdict dane_find(struct facts *f, struct str host, const char *end, unsigned port, struct dane *out, struct reply *why)
{
	enum verdict v;

	if (end && !str_eq_nocase(str_of(end), host)) {
		v = look_at(f, str_of(end), port, out, why);
		if (v == ACCEPT && out->demand != DANE_NONE)
			str_copy(out->base, sizeof out->base, str_of(end));
		if (v != ACCEPT || out->demand != DANE_NONE)
			return v;
	}
	return look_at(f, host, port, out, why);
}
