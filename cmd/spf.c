/* spf: asks the DNS, as the server would, whether an address may send mail from a domain (RFC 7208), and says why. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "cmd/decide.h"
#include "cmd/fardel.h"
#include "cmd/settings.h"
#include "dns.h"
#include "lib/idn.h"
#include "lib/loop.h"
#include "parse.h"
#include "policy/spf.h"

struct question {
	struct arguments arguments;
	const char *ip, *helo, *from;           /* as written */
	struct sockaddr_storage peer;
	char helo_name[DOMAIN_MAX + 1], from_domain[DOMAIN_MAX + 1];
	struct spf_query query;
	struct spf_result result;
};

static int wrong_use(const char *what, const char *why)
{
	fprintf(stderr, "fardel spf: %s%s%s. Write fardel spf --ip ADDRESS [--helo NAME] [--from ADDRESS] [-c FILE]\n", what, *why ? ": " : "", why);
	return EX_USAGE;
}

/* ---- the words of the command line */

/* "--ip A" or "--ip=A". False: another word. *wrong: its value is missing. */
static bool take_option(struct question *q, int argc, char **argv, int *i, bool *wrong)
{
	const struct { const char *name; const char **value; } options[] = { { "--ip", &q->ip }, { "--helo", &q->helo }, { "--from", &q->from } };

	for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
		size_t n = strlen(options[k].name);

		if (strncmp(argv[*i], options[k].name, n) != 0 || (argv[*i][n] && argv[*i][n] != '='))
			continue;
		*wrong = !argv[*i][n] && *i + 1 == argc;
		if (!*wrong)
			*options[k].value = argv[*i][n] ? argv[*i] + n + 1 : argv[++*i];
		return true;
	}
	return false;
}

static bool parse_ip(const char *text, struct sockaddr_storage *out)
{
	*out = (struct sockaddr_storage){ .ss_family = AF_INET };
	if (inet_pton(AF_INET, text, &((struct sockaddr_in *)out)->sin_addr) == 1)
		return true;
	out->ss_family = AF_INET6;
	return inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)out)->sin6_addr) == 1;
}

/* As the DNS knows it. What is no domain is left as it is: the answer says so. */
static struct str plain_domain(struct str domain, char room[DOMAIN_MAX + 1])
{
	return !is_ascii(domain) && !idn_to_ascii(domain, room) ? str_of(room) : domain;
}

/* "user@domain", a domain alone, or nothing (with or without its brackets): then the name in HELO is asked for. */
static const char *set_from(struct question *q, struct str from)
{
	const char *wrong;

	if (from.n >= 2 && from.p[0] == '<' && from.p[from.n - 1] == '>')
		from = (struct str){ from.p + 1, from.n - 2 };
	if (!from.n)
		return NULL;
	q->query.from.domain = from;
	if (memchr(from.p, '@', from.n) && (wrong = parse_address(from, true, &q->query.from)))
		return wrong;
	q->query.from.domain = plain_domain(q->query.from.domain, q->from_domain);
	return NULL;
}

static int set_query(struct question *q)
{
	const char *wrong;

	if (!q->ip)
		return wrong_use("whose address is it", "--ip is missing");
	if (!parse_ip(q->ip, &q->peer))
		return wrong_use(q->ip, "that is no IPv4 or IPv6 address");
	if ((wrong = set_from(q, str_of(q->from))))
		return wrong_use(q->from, wrong);
	q->query.helo = plain_domain(str_of(q->helo), q->helo_name);
	if (!q->query.from.domain.n && !q->query.helo.n)
		return wrong_use("what does it say it is", "--from or --helo is missing");
	q->query.peer = (struct sockaddr *)&q->peer;
	q->query.now = loop_wall();
	return 0;
}

/* ---- asking */

static enum verdict check(void *arg, struct facts *f)
{
	struct question *q = arg;

	return spf_check(f, &q->query, &q->result);
}

static void late(void *arg)
{
	struct question *q = arg;

	spf_late(&q->query, &q->result);
}

static int ask(struct question *q, const struct settings *set)
{
	const struct decision how = { .command = "spf", .lookups = SPF_LOOKUPS, .seconds = SPF_TIME_S, .check = check, .late = late, .arg = q };

	q->query.receiver = set->hostname;
	return decide(&how, set);
}

static int tell(const struct spf_result *r)
{
	printf("%s %s\n", spf_name(r->code), r->why);
	if (*r->explanation)
		printf("%s explains: %s\n", r->domain, r->explanation);
	if (fflush(stdout) == EOF)
		return EX_IOERR;
	return r->code == SPF_TEMPERROR ? EX_TEMPFAIL : EX_OK;
}

int cmd_spf(int argc, char **argv)
{
	struct settings set = { 0 };
	struct question q = { 0 };
	const char *wrong = NULL;
	bool no_value = false;
	int status;

	for (int i = 1; i < argc; i++) {
		if (arguments_take(&q.arguments, argc, argv, &i, &wrong) ? wrong != NULL : !take_option(&q, argc, argv, &i, &no_value) || no_value)
			return wrong_use(wrong ? wrong : argv[i], wrong ? "" : no_value ? "something is missing behind it" : "not known");
	}
	if ((status = set_query(&q)))
		return status;
	status = settings_load(&set, &q.arguments) ? ask(&q, &set) : settings_complain(&set);
	if (status == 0)
		status = tell(&q.result);
	dns_stop();
	settings_free(&set);
	return status;
}
