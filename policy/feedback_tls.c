/* Reports of TLS (RFC 8460 4.4), read by jansson. */
#include "policy/feedback.h"

static const char not_here[] = "it is JSON, and there is no jansson here";

#ifdef HAVE_JANSSON
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/codec.h"
#include "lib/daily.h"
#include "lib/late.h"

static struct late library = { .file = HAVE_JANSSON };
#define JSON(f) LATE(library, HAVE_JANSSON, f)

bool feedback_reads_tls(void) { return late_is_there(&library); }

enum {
	JSON_MAX = 256 << 10,           /* octets: read, they are seventy times as many at worst */
	POLICIES = 20, DETAILS = 40,    /* of a report, and of a policy, that are kept */
	WORD_MAX = 200,                 /* octets of a value that are kept */
	COUNT_MAX = 1000000000          /* sessions */
};

/* ---- values; what is missing or of another kind is nothing */

static struct str text_of(const json_t *object, const char *name)
{
	const json_t *x = JSON(json_object_get)(object, name);
	const char *text = x && json_is_string(x) ? JSON(json_string_value)(x) : "";
	size_t n = strlen(text);

	return (struct str){ text, n < WORD_MAX ? n : WORD_MAX };
}

/* False: it is none, or too large. Some write numbers as strings. */
static bool count_of(const json_t *object, const char *name, uint64_t *out)
{
	const json_t *x = JSON(json_object_get)(object, name);

	*out = 0;
	if (!x)
		return true;
	if (json_is_string(x))
		return str_number(str_of(JSON(json_string_value)(x)), COUNT_MAX, out);
	if (!json_is_integer(x) || JSON(json_integer_value)(x) < 0 || JSON(json_integer_value)(x) > COUNT_MAX)
		return false;
	*out = (uint64_t)JSON(json_integer_value)(x);
	return true;
}

/* RFC 3339: "2026-11-27T00:00:00Z", perhaps with fractions and an offset. -1: it is none. */
static int64_t time_of(struct str text)
{
	char copy[64];
	struct tm tm = { 0 };
	const char *end;
	int hours, minutes;
	int64_t t;

	if (!str_copy(copy, sizeof copy, text) || !(end = strptime(copy, "%Y-%m-%dT%H:%M:%S", &tm)))
		return -1;
	t = (int64_t)timegm(&tm);
	if (*end == '.')
		for (end++; ascii_digit(*end); end++)
			;
	if (!strcmp(end, "Z") || !strcmp(end, "z") || !*end)
		return t;
	if ((*end != '+' && *end != '-') || sscanf(end + 1, "%2d:%2d", &hours, &minutes) != 2)
		return -1;
	return t - (*end == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
}

/* ---- what was found */

static const char *put_detail(struct buf *out, const json_t *d)
{
	uint64_t n;

	if (!json_is_object(d) || !count_of(d, "failed-session-count", &n))
		return "a detail of it counts no sessions";
	daily_put_text(out, "result", text_of(d, "result-type"));
	buf_printf(out, " n=%" PRIu64, n);
	daily_put_text(out, "ip", text_of(d, "sending-mta-ip"));
	daily_put_text(out, "mx", text_of(d, "receiving-mx-hostname"));
	daily_put_text(out, "at", text_of(d, "receiving-ip"));
	daily_put_text(out, "why", text_of(d, "failure-reason-code").n ? text_of(d, "failure-reason-code") : text_of(d, "additional-information"));
	buf_char(out, '\n');
	return NULL;
}

static const char *put_policy(struct buf *out, const json_t *p)
{
	const json_t *policy = JSON(json_object_get)(p, "policy"), *summary = JSON(json_object_get)(p, "summary"), *details = JSON(json_object_get)(p, "failure-details");
	const char *wrong = NULL;
	uint64_t good, bad;

	if (!json_is_object(policy) || !text_of(policy, "policy-domain").n)
		return "a policy of it is of no domain";
	if (!json_is_object(summary) || !count_of(summary, "total-successful-session-count", &good) || !count_of(summary, "total-failure-session-count", &bad))
		return "a policy of it counts no sessions";
	daily_put_text(out, "domain", text_of(policy, "policy-domain"));
	daily_put_text(out, "type", text_of(policy, "policy-type"));
	buf_printf(out, " good=%" PRIu64 " bad=%" PRIu64 "\n", good, bad);
	for (size_t i = 0; !wrong && json_is_array(details) && i < JSON(json_array_size)(details) && i < DETAILS; i++)
		wrong = put_detail(out, JSON(json_array_get)(details, i));
	return wrong;
}

/* "tls END DOMAIN DOMAIN ..." */
static void put_summary(struct buf *out, int64_t end, const json_t *policies)
{
	buf_printf(out, "tls %" PRId64, end);
	for (size_t i = 0; i < JSON(json_array_size)(policies) && i < POLICIES; i++) {
		buf_char(out, ' ');
		percent_word(out, text_of(JSON(json_object_get)(JSON(json_array_get)(policies, i), "policy"), "policy-domain"));
	}
	buf_char(out, '\n');
}

static const char *put_report(struct buf *out, const json_t *report)
{
	const json_t *range = JSON(json_object_get)(report, "date-range"), *policies = JSON(json_object_get)(report, "policies");
	int64_t begin = time_of(text_of(range, "start-datetime")), end = time_of(text_of(range, "end-datetime"));
	const char *wrong = NULL;

	if (!json_is_object(report) || !text_of(report, "organization-name").n || !text_of(report, "report-id").n)
		return "it does not say who reports, or has no id";
	if (begin < 0 || end < begin)
		return "it is of no time";
	if (!json_is_array(policies) || !JSON(json_array_size)(policies))
		return "it is of no domain";
	put_summary(out, end, policies);
	buf_puts(out, " kind=tls");
	daily_put_text(out, "org", text_of(report, "organization-name"));
	daily_put_text(out, "report", text_of(report, "report-id"));
	daily_put_text(out, "contact", text_of(report, "contact-info"));
	buf_printf(out, " begin=%" PRId64 " end=%" PRId64 "\n", begin, end);
	for (size_t i = 0; !wrong && i < JSON(json_array_size)(policies) && i < POLICIES; i++)
		wrong = put_policy(out, JSON(json_array_get)(policies, i));
	return wrong;
}

const char *feedback_tls(struct str json, struct buf *out)
{
	const char *wrong;
	json_t *report;

	if (json.n > JSON_MAX)
		return "it is too large";
	if (!late_open(&library))
		return not_here;
	report = JSON(json_loadb)(json.p, json.n, JSON_REJECT_DUPLICATES, NULL);
	wrong = report ? put_report(out, report) : "it is no JSON";
	if (report)
		JSON(json_delete)(report);
	return wrong;
}
#else
bool feedback_reads_tls(void) { return false; }

const char *feedback_tls(struct str json, struct buf *out)
{
	(void)json, (void)out;
	return not_here;
}
#endif
