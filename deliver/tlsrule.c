/* Rules about TLS by domain or host. */
#include "deliver/tlsrule.h"

#include <string.h>

#include "lib/codec.h"

static const char *const levels[TLS_LEVELS] = {
	[TLS_LEVEL_NONE] = "none", [TLS_LEVEL_MAY] = "may", [TLS_LEVEL_ENCRYPT] = "encrypt", [TLS_LEVEL_VERIFY] = "verify",
	[TLS_LEVEL_DANE] = "dane", [TLS_LEVEL_FINGERPRINT] = "fingerprint",
};

const char *tls_level_name(enum tls_level level) { return levels[level]; }

/* A name, an address, ".suffix" or "*": what no host has matches none, and may not be mistaken for something else. */
static bool name_ok(struct str name)
{
	bool any = false;

	if (str_eq(name, STR("*")))
		return true;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];

		if (!ascii_alpha(c) && !ascii_digit(c) && c != '-' && c != '_' && c != '.' && c != ':')
			return false;
		if (c == '.' && i && name.p[i - 1] == '.')
			return false;
		any = any || ascii_alpha(c) || ascii_digit(c);
	}
	return any && name.p[name.n - 1] != '.';
}

/* "ab:cd:..." or "abcd...", 32 octets. */
static bool take_digest(struct str text, unsigned char out[32])
{
	size_t n = 0;

	while (text.n >= 2 && n < 32 && hex_digit(text.p[0]) >= 0 && hex_digit(text.p[1]) >= 0) {
		out[n++] = (unsigned char)(hex_digit(text.p[0]) << 4 | hex_digit(text.p[1]));
		text = str_from(text, text.n > 3 && text.p[2] == ':' ? 3 : 2);
	}
	return n == 32 && !text.n;
}

static const char *take_fingerprint(struct str text, struct tls_rule *r)
{
	struct tls_pin pin = { .usage = TLS_PIN_OWN, .hash = HASH_SHA256 };

	if (!take_digest(text, pin.digest))
		return "a fingerprint is the SHA-256 of a certificate or of its public key: 64 hex digits, with colons or without";
	if (r->pins.n + 2 > TLS_PINS)
		return "there are more than 8 fingerprints";
	r->pins.pin[r->pins.n++] = pin;
	pin.key_only = true;
	r->pins.pin[r->pins.n++] = pin;
	return NULL;
}

static const char *take_level(struct str word, struct tls_rule *r)
{
	for (unsigned i = 0; i < TLS_LEVEL_FINGERPRINT; i++)
		if (str_eq_nocase(word, str_of(levels[i]))) {
			r->level = (enum tls_level)i;
			return NULL;
		}
	return "behind the domain stands none, may, encrypt, verify, dane or fingerprint=SHA256";
}

const char *tls_rule_parse(struct str text, struct tls_rule *out)
{
	struct str name, word;
	const char *wrong = NULL;
	size_t words = 0;

	memset(out, 0, sizeof *out);
	if (!str_word(&text, &name) || !name_ok(name) || !str_copy(out->name, sizeof out->name, name))
		return "a rule begins with a domain, the host of a route, .suffix or *";
	for (char *c = out->name; *c; c++)
		*c = ascii_lower(*c);
	for (; !wrong && str_word(&text, &word); words++) {
		if (words && !(out->level == TLS_LEVEL_FINGERPRINT && str_starts_nocase(word, STR("fingerprint="))))
			return "one rule says one thing; only fingerprint= may be repeated";
		if (str_starts_nocase(word, STR("fingerprint="))) {
			out->level = TLS_LEVEL_FINGERPRINT;
			wrong = take_fingerprint(str_from(word, 12), out);
		} else {
			wrong = take_level(word, out);
		}
	}
	return wrong ? wrong : words ? NULL : take_level(STR(""), out);
}

const struct tls_rule *tls_rule_find(const struct tls_rules *rules, struct str name)
{
	const struct tls_rule *best = NULL;
	size_t best_is = 0;

	for (size_t i = 0; rules && i < rules->n; i++) {
		struct str pattern = str_of(rules->rule[i].name);
		size_t is = 0;

		if (str_eq(pattern, STR("*")))
			is = 1;
		else if (str_eq_nocase(pattern, name))
			is = sizeof rules->rule[i].name + 1;
		else if (pattern.p[0] == '.' && str_ends_nocase(name, pattern))
			is = 1 + pattern.n;
		if (is > best_is) {
			best_is = is;
			best = &rules->rule[i];
		}
	}
	return best;
}

const struct tls_rule *tls_rule_of(const struct tls_rules *rules, const struct route *r, size_t nth)
{
	if (r->kind != ROUTE_MX && r->kind != ROUTE_SMTP)
		return NULL;
	return tls_rule_find(rules, str_of(r->kind == ROUTE_MX ? r->domain : r->host[nth].name));
}

void tls_rules_ask(const struct tls_rules *rules, struct route *r, struct mx_self *self)
{
	const struct tls_rule *rule = r->kind == ROUTE_MX ? tls_rule_of(rules, r, 0) : NULL;

	if (rule) {
		self->dane = rule->level != TLS_LEVEL_NONE;
		self->mta_sts = self->mta_sts && self->dane;
	}
	for (size_t i = 0; i < r->nhosts; i++) {
		rule = tls_rule_of(rules, r, i);
		r->host[i].dane = rule && rule->level == TLS_LEVEL_DANE;
	}
}
