/* MTA-STS: records, policies, and which one counts. */
#include "deliver/mtasts.h"

#include <stdio.h>

#include "parse.h"

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static struct str without_blanks(struct str s)
{
	while (s.n && is_blank(s.p[0]))
		s = str_from(s, 1);
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

/* sts-ext-name: a letter or digit, then up to 31 of those and "_", "-", "." */
static bool is_name(struct str s)
{
	if (!s.n || s.n > 32)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		bool mark = s.p[i] == '_' || s.p[i] == '-' || s.p[i] == '.';

		if (!ascii_alpha(s.p[i]) && !ascii_digit(s.p[i]) && !(mark && i))
			return false;
	}
	return true;
}

/* ---- the TXT record */

static bool is_id(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_alpha(s.p[i]) && !ascii_digit(s.p[i]))
			return false;
	return s.n && s.n <= MTASTS_ID;
}

static bool is_value(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '=')
			return false;
	return s.n > 0;
}

/* What does not begin so is somebody else's record and does not count. */
static bool is_ours(struct str txt, struct str *fields)
{
	struct str version;

	*fields = txt;
	return str_cut(fields, ';', &version) && version.n && !is_blank(version.p[0]) && str_eq(without_blanks(version), STR("v=STSv1"));
}

/* The next "name=value" of *rest; false at its end. A wrong one has a name of no octets. */
static bool next_pair(struct str *rest, struct str *name, struct str *value)
{
	struct str pair;

	if (!rest->n)
		return false;
	if (!str_cut(rest, ';', &pair)) {
		pair = *rest;
		*rest = str_from(*rest, rest->n);
		if (!without_blanks(pair).n)            /* behind the last semicolon */
			return false;
	}
	*value = without_blanks(pair);
	if (!str_cut(value, '=', name) || !is_name(*name) || !is_value(*value))
		*name = STR("");
	return true;
}

const char *mtasts_record(struct str txt, struct str *id)
{
	struct str rest, name, value;

	*id = STR("");
	if (!is_ours(txt, &rest))
		return "it does not begin with v=STSv1;";
	while (next_pair(&rest, &name, &value)) {
		if (!name.n)
			return "a field is not of the form name=value";
		if (!str_eq(name, STR("id")) || id->n)
			continue;
		if (!is_id(value))
			return "the id is not of 1 to 32 letters and digits";
		*id = value;
	}
	return id->n ? NULL : "it has no id";
}

/* RFC 8461 3.1: exactly one record that begins as it must, and that one without a fault. */
static struct str the_id(const struct fact *txt)
{
	struct str id = STR(""), rest;
	size_t ours = 0;

	for (size_t i = 0; txt->outcome == FOUND && i < txt->n; i++) {
		if (!is_ours(txt->record[i].data, &rest))
			continue;
		ours++;
		mtasts_record(txt->record[i].data, &id);
	}
	return ours == 1 ? id : STR("");
}

/* ---- the policy */

/* The next line that is not empty, as key and value; false at the end. A wrong one has a key of no octets. */
static bool next_field(struct str *rest, struct str *key, struct str *value)
{
	struct str line = STR("");

	do {
		if (!rest->n)
			return false;
		if (!str_cut(rest, '\n', &line)) {
			line = *rest;
			*rest = str_from(*rest, rest->n);
		}
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		*value = without_blanks(line);
	} while (!value->n);
	if (!str_cut(value, ':', key) || !is_name(*key))
		*key = STR("");
	*value = without_blanks(*value);
	return true;
}

static bool is_pattern(struct str s)
{
	bool wild = s.n > 2 && s.p[0] == '*' && s.p[1] == '.';

	return !parse_domain(str_from(s, wild ? 2 : 0), false, false);
}

static const char *take_version(struct mtasts_policy *p, struct str value)
{
	(void)p;
	return str_eq(value, STR("STSv1")) ? NULL : "its version is not STSv1";
}

static const char *const modes[] = { [MTASTS_NONE] = "none", [MTASTS_TESTING] = "testing", [MTASTS_ENFORCE] = "enforce" };

static const char *take_mode(struct mtasts_policy *p, struct str value)
{
	for (unsigned i = MTASTS_NONE; i <= MTASTS_ENFORCE; i++)
		if (str_eq(value, str_of(modes[i]))) {
			p->mode = (enum mtasts_mode)i;
			return NULL;
		}
	return "its mode is none of enforce, testing and none";
}

static const char *take_max_age(struct mtasts_policy *p, struct str value)
{
	uint64_t n;

	if (value.n > 10 || !str_number(value, 9999999999, &n))
		return "its max_age is no number of seconds";
	p->max_age = n < MTASTS_AGE_MAX ? (uint32_t)n : MTASTS_AGE_MAX;
	return NULL;
}

static const char *take_mx(struct mtasts_policy *p, struct str value)
{
	(void)p;
	return is_pattern(value) ? NULL : "a mail host (mx) of it is no name";
}

enum { F_VERSION, F_MODE, F_MAX_AGE, F_MX, FIELDS };
static const struct {
	const char *key;
	const char *(*take)(struct mtasts_policy *, struct str);
	const char *missing;
} fields[FIELDS] = {
	[F_VERSION] = { "version", take_version, "it has no version" },
	[F_MODE] = { "mode", take_mode, "it has no mode" },
	[F_MAX_AGE] = { "max_age", take_max_age, "it has no max_age" },
	[F_MX] = { "mx", take_mx, "it names no mail host (mx)" },
};

const char *mtasts_parse(struct str text, struct mtasts_policy *out)
{
	struct str rest = text, key, value;
	bool seen[FIELDS] = { false };
	const char *wrong;

	*out = (struct mtasts_policy){ .text = text };
	if (text.n > MTASTS_TEXT)
		return "it is longer than 64 kB";
	while (next_field(&rest, &key, &value)) {
		if (!key.n)
			return "a line is not of the form key: value";
		for (unsigned i = 0; i < FIELDS; i++) {
			if (!str_eq(key, str_of(fields[i].key)) || (seen[i] && i != F_MX))
				continue;
			seen[i] = true;
			if ((wrong = fields[i].take(out, value)))
				return wrong;
		}
	}
	for (unsigned i = 0; i < FIELDS; i++)           /* without a mode that asks for them, hosts need not be named */
		if (!seen[i] && (i != F_MX || out->mode != MTASTS_NONE))
			return fields[i].missing;
	return NULL;
}

static bool matches(struct str pattern, struct str host)
{
	struct str label;

	if (pattern.p[0] != '*')
		return str_eq_nocase(pattern, host);
	return str_cut(&host, '.', &label) && label.n && str_eq_nocase(str_from(pattern, 2), host);
}

bool mtasts_allows(const struct mtasts_policy *p, struct str host)
{
	struct str rest = p->text, key, value;

	while (next_field(&rest, &key, &value))
		if (str_eq(key, STR("mx")) && matches(value, host))
			return true;
	return false;
}

bool mtasts_print(const struct mtasts_policy *p, struct buf *out)
{
	struct str rest = p->text, key, value;

	buf_printf(out, "version: STSv1\nmode: %s\n", modes[p->mode]);
	while (next_field(&rest, &key, &value))
		if (str_eq(key, STR("mx")))
			buf_printf(out, "mx: " STR_FMT "\n", STR_ARG(value));
	buf_printf(out, "max_age: %u\n", (unsigned)p->max_age);
	return !out->bad;
}

/* ---- which one counts */

enum verdict mtasts_find(struct facts *f, struct str domain, struct mtasts_policy *out)
{
	char name[DOMAIN_MAX + MTASTS_ID + 20];
	const struct fact *txt, *policy;
	struct str id;

	*out = (struct mtasts_policy){ .mode = MTASTS_NONE };
	if (domain.n > DOMAIN_MAX)
		return ACCEPT;
	snprintf(name, sizeof name, "_mta-sts." STR_FMT, STR_ARG(domain));
	txt = fact(f, FACT_TXT, str_of(name));
	if (!txt)
		return WAIT;
	/* RFC 8461 5.1: a record that is gone, wrong or cannot be had ends no policy that we know. */
	id = the_id(txt);
	snprintf(name, sizeof name, STR_FMT " " STR_FMT, STR_ARG(domain), STR_ARG(id));
	policy = fact(f, FACT_POLICY, str_of(name));
	if (!policy)
		return WAIT;
	if (policy->outcome == FOUND && policy->n && !mtasts_parse(policy->record[0].data, out))
		return ACCEPT;
	*out = (struct mtasts_policy){ .mode = MTASTS_NONE, .unsure = txt->outcome == UNKNOWN || policy->outcome == UNKNOWN,
		.unfetched = id.n && policy->outcome == UNKNOWN ? policy->why ? policy->why : "no reason given" : NULL };
	return ACCEPT;
}
