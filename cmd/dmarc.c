/* dmarc: asks the DNS, as the server would, what the owner of an author's domain wants done with a message (RFC 9989), and says why. */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "cmd/decide.h"
#include "cmd/fardel.h"
#include "cmd/settings.h"
#include "dns.h"
#include "policy/dmarc.h"

struct question {
	struct arguments arguments;
	struct dmarc_author author;
	struct dmarc_query query;
	struct dmarc_result result;
};

static int wrong_use(const char *what, const char *why)
{
	fprintf(stderr, "fardel dmarc: %s%s%s. Write fardel dmarc --from ADDRESS [--spf [RESULT:]DOMAIN] [--dkim [RESULT:]DOMAIN]... [-c FILE]\n", what,
		*why ? ": " : "", why);
	return EX_USAGE;
}

/* ---- the words of the command line */

/* "--from VALUE" or "--from=VALUE". NULL: another word; "": its value is missing. */
static const char *option_value(const char *name, int argc, char **argv, int *i)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) != 0 || (argv[*i][n] && argv[*i][n] != '='))
		return NULL;
	if (argv[*i][n])
		return argv[*i] + n + 1;
	return *i + 1 < argc ? argv[++*i] : "";
}

/* What stands in From, or a domain alone. */
static const char *set_author(struct question *q, const char *text)
{
	struct dmarc_reader r;

	dmarc_read_begin(&r);
	dmarc_read(&r, STR("From: "));
	if (!strchr(text, '@'))
		dmarc_read(&r, STR("postmaster@"));
	dmarc_read(&r, str_of(text));
	dmarc_read_end(&r, &q->author);
	return q->author.unclear || q->author.n ? NULL : "that names no domain";
}

/* "fail:x.example", or "x.example" that has passed. */
static bool set_id(struct dmarc_id *id, const char *text)
{
	struct str domain = str_of(text), result;

	id->result = DMARC_AUTH_PASS;
	if (str_cut(&domain, ':', &result))
		id->result = str_eq_nocase(result, STR("pass")) ? DMARC_AUTH_PASS : str_eq_nocase(result, STR("temperror")) ? DMARC_AUTH_TEMPERROR : DMARC_AUTH_NO;
	id->domain = domain;
	return domain.n && domain.n <= DOMAIN_MAX;
}

/* NULL when well; *taken: it was an option of this command. */
static const char *take_option(struct question *q, int argc, char **argv, int *i, bool *taken)
{
	const char *value;

	*taken = true;
	if ((value = option_value("--from", argc, argv, i)))
		return *value ? set_author(q, value) : "something is missing behind it";
	if ((value = option_value("--spf", argc, argv, i)))
		return set_id(&q->query.spf, value) ? NULL : "a domain is missing behind it";
	if (!(value = option_value("--dkim", argc, argv, i))) {
		*taken = false;
		return NULL;
	}
	if (q->query.ndkim == DMARC_SIGNATURES)
		return "more than eight signatures are not looked at";
	return set_id(&q->query.dkim[q->query.ndkim++], value) ? NULL : "a domain is missing behind it";
}

/* ---- asking */

static enum verdict check(void *arg, struct facts *f)
{
	struct question *q = arg;

	return dmarc_check(f, &q->query, &q->result);
}

static void late(void *arg)
{
	struct question *q = arg;

	dmarc_late(&q->query, &q->result);
}

static int ask(struct question *q, const struct settings *set)
{
	const struct decision how = { .command = "dmarc", .lookups = DMARC_LOOKUPS, .seconds = DMARC_TIME_S, .check = check, .late = late, .arg = q };

	return decide(&how, set);
}

static int tell(const struct dmarc_result *r)
{
	printf("%s %s\n", dmarc_name(r->code), r->why);
	if (r->code == DMARC_FAIL)
		printf("policy %s\n", dmarc_policy_name(r->policy));
	if (*r->policy_domain)
		printf("record _dmarc.%s: p=%s%s%s%s%s adkim=%c aspf=%c\n", r->policy_domain, dmarc_policy_name(r->record.p), r->record.sp ? " sp=" : "",
			dmarc_policy_name(r->record.sp), r->record.np ? " np=" : "", dmarc_policy_name(r->record.np), r->record.strict_dkim ? 's' : 'r',
			r->record.strict_spf ? 's' : 'r');
	if (*r->organization)
		printf("organization %s\n", r->organization);
	if (*r->rua)
		printf("reports %s\n", r->rua);
	if (fflush(stdout) == EOF)
		return EX_IOERR;
	return r->code == DMARC_TEMPERROR ? EX_TEMPFAIL : EX_OK;
}

int cmd_dmarc(int argc, char **argv)
{
	struct settings set = { 0 };
	struct question q = { .query = { .author = &q.author } };
	const char *wrong = NULL;
	int status;

	for (int i = 1; i < argc; i++) {
		bool taken = arguments_take(&q.arguments, argc, argv, &i, &wrong);
		int at = i;

		if (!taken)
			wrong = take_option(&q, argc, argv, &i, &taken);
		if (!taken || wrong)
			return wrong_use(argv[at], taken ? wrong : "not known");
	}
	if (!q.author.fields)
		return wrong_use("who has written it", "--from is missing");
	status = settings_load(&set, &q.arguments) ? ask(&q, &set) : settings_complain(&set);
	if (status == 0)
		status = tell(&q.result);
	dns_stop();
	settings_free(&set);
	return status;
}
