/* ARC chains. */
#include "policy/arc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mime/header.h"
#include "policy/authres.h"

const char *arc_name(enum arc_result r)
{
	static const char *const names[] = { [ARC_UNKNOWN] = "none", [ARC_PASS] = "pass", [ARC_FAIL] = "fail", [ARC_TEMPERROR] = "temperror" };

	return names[r];
}

struct set {
	struct dkim_signature seal;
	char author[DOMAIN_MAX + 1];    /* for whom its ARC-Authentication-Results say that DMARC passed; "": for nobody */
};
struct arc {
	enum arc_result result;
	char why[300];
	struct dkim_signature message;  /* of the last set */
	bool has_message;
	size_t n;                       /* sets */
	struct set set[];               /* the first one first */
};

static void conclude(struct arc *a, enum arc_result result, size_t i, const char *what, const char *why)
{
	a->result = result;
	snprintf(a->why, sizeof a->why, "set %zu: %s: %s", i, what, why);
}

/* ---- the header */

enum part { RESULTS, MESSAGE, SEAL, PARTS };

static const struct str names[] = {
	[RESULTS] = { "ARC-Authentication-Results", 26 }, [MESSAGE] = { "ARC-Message-Signature", 21 }, [SEAL] = { "ARC-Seal", 8 },
};

static enum part part_of(struct str name)
{
	enum part p = RESULTS;

	while (p < PARTS && !str_eq_nocase(name, names[p]))
		p++;
	return p;
}

bool arc_is_field(struct str name) { return part_of(name) < PARTS; }

/* RFC 8617 4.1.1: "i=1;" is the first thing in it. Takes it off. 0: that is not so. */
static unsigned results_instance(struct str *value)
{
	struct dkim_tags tag;
	struct str first;
	uint64_t n;

	if (!str_cut(value, ';', &first) || dkim_tags_parse(first, &tag) || !str_eq(tag.tag[0].name, STR("i")) || !str_number(tag.tag[0].value, ARC_SETS, &n))
		return 0;
	return (unsigned)n;
}

/* The number alone: the field is read as a whole when it is known to be one of those that count. */
static unsigned instance_of(enum part p, struct str value)
{
	struct dkim_tags list;
	const struct dkim_tag *i;
	uint64_t n;

	if (p == RESULTS)
		return results_instance(&value);
	if (value.n > DKIM_FIELD_MAX || dkim_tags_parse(value, &list) || !(i = dkim_tag(&list, "i")) || !str_number(i->value, ARC_SETS, &n))
		return 0;
	return (unsigned)n;
}

/* Fields by set and part. Empty ones are missing. */
struct sets {
	size_t n;
	struct field field[ARC_SETS + 1][PARTS];
};

/* RFC 8617 5.2 step 3. NULL, or what is wrong. */
static const char *collect(struct str header, struct sets *out)
{
	struct field f;

	*out = (struct sets){ 0 };
	while (header_next(&header, &f)) {
		enum part p = part_of(f.name);
		unsigned i = p < PARTS ? instance_of(p, f.value) : 0;

		if (p == PARTS)
			continue;
		if (!i)
			return "a field of ARC has no instance (i=) from 1 to 50";
		if (out->field[i][p].whole.n)
			return "two fields of ARC are the same one of the same set";
		out->field[i][p] = f;
		out->n = i > out->n ? i : out->n;
	}
	for (size_t i = 1; i <= out->n; i++)
		for (enum part p = RESULTS; p < PARTS; p++)
			if (!out->field[i][p].whole.n)
				return "a set is not whole";
	return NULL;
}

/* Seals say of the chain below them: there is none, or it holds (5.1.1). */
static bool read_seal(struct arc *a, size_t i, struct str value, struct str *raw)
{
	struct dkim_signature *s = &a->set[i - 1].seal;
	struct str none;

	if (!dkim_field_parse(DKIM_ARC_SEAL, value, s, &none, raw))
		conclude(a, ARC_FAIL, i, "its seal", s->why);
	else if (s->chain != (i == 1 ? 'n' : 'p'))
		conclude(a, ARC_FAIL, i, "its seal", s->chain == 'f' ? "the chain was broken when it came there (cv=fail)" : "it says another cv= than its place has");
	s->place = DKIM_NO_BODY;
	return a->result == ARC_UNKNOWN;
}

static bool read_message(struct arc *a, const struct field *f, struct dkim_fields *fields)
{
	struct dkim_signature *s = &a->message;
	struct str signed_names, raw;
	struct hashing hash;

	if (!dkim_field_parse(DKIM_ARC_MESSAGE, f->value, s, &signed_names, &raw)) {
		conclude(a, ARC_FAIL, a->n, "its signature", s->why);
		return false;
	}
	dkim_fields_hash(fields, s->header, signed_names, f->whole, &hash);
	if (!dkim_own_hash(&hash, s->header, f->whole, raw, s->header_digest)) {
		conclude(a, ARC_TEMPERROR, a->n, "its signature", "out of memory");
		return false;
	}
	return a->has_message = true;
}

/* 5.1.1: a seal is over all sets up to its own, the first one first; so one pass serves all of them. */
static void read_sets(struct arc *a, const struct sets *all, struct dkim_fields *fields)
{
	struct hashing hash;

	hash_begin(&hash, HASH_SHA256);
	for (size_t i = 1; i <= all->n; i++) {
		const struct field *f = all->field[i];
		struct hashing own;
		struct str raw, results = f[RESULTS].value;

		if (!read_seal(a, i, f[SEAL].value, &raw))
			return;
		dkim_field_hash(&hash, DKIM_RELAXED, f[RESULTS].whole);
		dkim_field_hash(&hash, DKIM_RELAXED, f[MESSAGE].whole);
		own = hash;
		if (!dkim_own_hash(&own, DKIM_RELAXED, f[SEAL].whole, raw, a->set[i - 1].seal.header_digest)) {
			conclude(a, ARC_TEMPERROR, i, "its seal", "out of memory");
			return;
		}
		dkim_field_hash(&hash, DKIM_RELAXED, f[SEAL].whole);
		results_instance(&results);
		authres_dmarc_passed(results, a->set[i - 1].author);
	}
	a->n = all->n;
	read_message(a, &all->field[a->n][MESSAGE], fields);
}

struct arc *arc_new(struct str header, struct dkim_fields *fields)
{
	struct sets *all = malloc(sizeof *all);
	const char *wrong = all ? collect(header, all) : NULL;
	struct arc *a = all ? calloc(1, sizeof *a + (wrong ? 0 : all->n) * sizeof *a->set) : NULL;

	if (a && wrong) {
		a->result = ARC_FAIL;
		snprintf(a->why, sizeof a->why, "%s", wrong);
	} else if (a) {
		read_sets(a, all, fields);
	}
	free(all);
	return a;
}

void arc_free(struct arc *a) { free(a); }
size_t arc_holds(const struct arc *a) { return sizeof *a + a->n * sizeof *a->set; }
struct dkim_signature *arc_message(struct arc *a) { return a->has_message ? &a->message : NULL; }

/* ---- judging */

/* True: this one holds, the next may be looked at. */
static bool holds(struct arc *a, size_t i, const char *what, const struct dkim_signature *s)
{
	if (s->result != DKIM_PASS)
		conclude(a, s->result == DKIM_TEMPERROR ? ARC_TEMPERROR : ARC_FAIL, i, what, s->why);
	return s->result == DKIM_PASS;
}

bool arc_judge(struct arc *a, struct dkim *d, struct facts *facts, int64_t now)
{
	if (a->result != ARC_UNKNOWN)
		return true;
	if (!dkim_judge_one(d, &a->message, facts, now))
		return false;
	if (!holds(a, a->n, "its signature", &a->message))
		return true;
	for (size_t i = a->n; i > 0; i--) {
		if (!dkim_judge_one(d, &a->set[i - 1].seal, facts, now))
			return false;
		if (!holds(a, i, "its seal", &a->set[i - 1].seal))
			return true;
	}
	a->result = ARC_PASS;
	snprintf(a->why, sizeof a->why, "%zu set%s", a->n, a->n == 1 ? " holds" : "s hold");
	return true;
}

void arc_give_up(struct arc *a)
{
	if (a->result == ARC_UNKNOWN)
		conclude(a, ARC_TEMPERROR, a->n, "its keys", "one did not come in time");
}

enum arc_result arc_result(const struct arc *a, const char **why)
{
	*why = a->why;
	return a->result;
}

size_t arc_sets(const struct arc *a) { return a->n; }
const char *arc_sealer(const struct arc *a, size_t i) { return a->set[i - 1].seal.domain; }

/* ---- who is believed */

static bool is_among(const char *words, const char *domain)
{
	struct str rest = str_of(words), word;

	while (str_word(&rest, &word))
		if (str_eq_nocase(word, str_of(domain)))
			return true;
	return false;
}

enum arc_result arc_vouches(const struct arc *a, const char *sealers, const char *domain)
{
	if (!a || !sealers || (a->result != ARC_PASS && a->result != ARC_TEMPERROR))
		return ARC_FAIL;
	for (size_t i = a->n; i > 0 && is_among(sealers, arc_sealer(a, i)); i--)
		if (str_eq_nocase(str_of(a->set[i - 1].author), str_of(domain)))
			return a->result;
	return ARC_FAIL;
}
