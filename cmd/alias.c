/* alias, explain, newaliases: what an address stands for and where its mail goes, and whether the files of aliases are right. */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/explain.h"
#include "cmd/fardel.h"
#include "cmd/listing.h"
#include "cmd/settings.h"
#include "deliver/maildir.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "parse.h"

static struct settings set;
static struct aliases *aliases;
static bool explains;                           /* hosts, too */
static const struct addr *sender;               /* whose mail it would be; NULL: anybody's */
static bool connects;                           /* ... and call them */
static struct buf addresses;                    /* one in each of them: a line each */
static struct buf domains;                      /* where mail goes by hosts: a LF before and behind each */

static const char *usage(void)
{
	return explains ? "write fardel explain [--from SENDER] [--connect] [-c FILE] ADDRESS" : "write fardel alias [-c FILE] ADDRESS";
}

static const char *command(void) { return explains ? "explain" : "alias"; }

static void put_lines(FILE *out, const char *prefix, const struct buf *lines)
{
	struct str rest = buf_view(lines), line;

	while (str_cut(&rest, '\n', &line)) {
		fprintf(out, "%s", prefix);
		listing_show(out, line);
		putc('\n', out);
	}
}

/* 0, or an exit status: the settings are wrong, or memory is out. */
static int start(const struct arguments *args)
{
	static struct alias_config c;

	if (!settings_load(&set, args))
		return settings_complain(&set);
	log_threshold(LOG_ERROR);
	c = settings_aliases(&set);
	c.quiet = true;
	aliases = aliases_new(&c);
	if (!aliases)
		return EX_OSERR;
	set.routes.also_local = aliases_have_domain;
	set.routes.also_arg = aliases;
	return 0;
}

static int stop(int status)
{
	aliases_free(aliases);
	aliases = NULL;
	settings_free(&set);
	if (fflush(stdout) == EOF && status == 0)
		status = EX_IOERR;
	return status;
}

/* ---- newaliases */

static int look_through(void)
{
	struct buf wrong = { 0 }, nobody = { 0 };
	int status;

	aliases_refresh(aliases);
	aliases_try_all(aliases, &wrong, &nobody, alias_is_nobody, &set);
	put_lines(stderr, "newaliases: ", aliases_errors(aliases));
	put_lines(stderr, "newaliases: ", &wrong);
	put_lines(stderr, "newaliases: note: ", aliases_notes(aliases));
	put_lines(stderr, "newaliases: note: ", &nobody);
	if (!aliases_errors(aliases)->n && !wrong.n)
		printf("%zu names in %s%s%s: fine. Nothing has to be built, the files are read as they are.\n", aliases_count(aliases),
			set.aliases ? set.aliases : "no file", set.virtual ? " and " : "", set.virtual ? set.virtual : "");
	status = aliases_errors(aliases)->n || wrong.n ? EX_CONFIG : EX_OK;
	buf_free(&nobody);
	buf_free(&wrong);
	return status;
}

/* Packages call it with words that other mail systems know: those are passed over. */
int cmd_newaliases(int argc, char **argv)
{
	struct arguments args = { 0 };
	const char *wrong;
	int status;

	for (int i = 1; i < argc; i++)
		if (arguments_take(&args, argc, argv, &i, &wrong) && wrong) {
			fprintf(stderr, "newaliases: %s\n", wrong);
			return EX_USAGE;
		}
	status = start(&args);
	return stop(status ? status : look_through());
}

/* ---- alias */

struct look {
	struct facts *facts;
	struct task again;
	const struct addr *about;
	bool answered;
	int status;
};

static const char *what_kind(const struct expansion *x)
{
	switch (x->kind) {
	case ALIAS_ONE: return "one address";
	case ALIAS_SEVERAL: return "several addresses";
	case ALIAS_LIST: return "a list";
	}
	return "";
}

/* False: it waits for a fact. */
static bool show_mailbox(struct look *l, const struct addr *a, const char *before)
{
	const struct fact *box = fact(l->facts, FACT_MAILBOX, a->local);

	if (!box)
		return false;
	printf("%s", before);
	switch (box->outcome) {
	case FOUND:
		printf("mailbox ");
		listing_show(stdout, box->record[0].data);
		printf(set.forward ? ", unless a .forward file in the home says otherwise\n" : "\n");
		return true;
	case NO_NAME:
	case NO_DATA:
		printf("nobody: there is no mailbox of that name here\n");
		l->status = 1;
		return true;
	case UNKNOWN:
		break;
	}
	printf("its mailbox cannot be looked at: %s\n", box->why ? box->why : "no answer");
	l->status = EX_TEMPFAIL;
	return true;
}

static void note_domain(const char *domain, const struct addr *a)
{
	char line[DOMAIN_MAX + 3];
	int n = snprintf(line, sizeof line, "\n%s\n", domain);

	if (domains.n && memmem(domains.p, domains.n, line, (size_t)n))
		return;
	buf_puts(&domains, line);
	print_addr(&addresses, a);
	buf_char(&addresses, '\n');
}

/* Where an address goes that stands for itself. False: as above. */
static bool show_way(struct look *l, const struct addr *a, const char *before)
{
	char domain[DOMAIN_MAX + 1];
	struct route r;

	str_copy(domain, sizeof domain, a->domain);
	for (char *c = domain; *c; c++)
		*c = ascii_lower(*c);
	route_find(&set.routes, str_of(domain), sender, &r);
	if (!strcmp(domain, COMMAND_DOMAIN)) {
		printf("%sa command\n", before);
		return true;
	}
	if (r.kind == ROUTE_LOCAL)
		return show_mailbox(l, a, before);
	note_domain(domain, a);
	printf("%s", before);
	if (r.kind == ROUTE_MX)
		printf("by the MX hosts of %s\n", domain);
	else
		printf("by %s\n", r.key);
	return true;
}

static bool fact_is_there(struct look *l, const struct addr *a)
{
	struct route r;

	route_find(&set.routes, a->domain, sender, &r);
	return r.kind != ROUTE_LOCAL || str_eq_nocase(a->domain, STR(COMMAND_DOMAIN)) || fact(l->facts, FACT_MAILBOX, a->local) != NULL;
}

/* All facts at once, and nothing said before they are there. */
static bool facts_are_there(struct look *l, const struct expansion *x)
{
	bool there = true;

	for (size_t i = 0; i < x->n; i++)
		there &= fact_is_there(l, &x->to[i]);
	return there;
}

/* A null sender is an empty address. NULL, or what is wrong with it. */
static const char *take_sender(const char *text)
{
	static char kept[ADDR_MAX + 1];
	static struct addr from;

	from = (struct addr){ { "", 0 }, { "", 0 } };
	sender = &from;
	if (!*text || !strcmp(text, "<>"))
		return NULL;
	return str_copy(kept, sizeof kept, str_of(text)) ? parse_address(str_of(kept), false, &from) : "it is too long";
}

static bool show_found(struct look *l, const struct expansion *x)
{
	if (!facts_are_there(l, x))
		return false;
	put_lines(stdout, "", x->steps);
	if (!x->n) {
		printf("It is discarded.\n");
		return true;
	}
	printf("It stands for %s", what_kind(x));
	if (x->kind == ALIAS_LIST) {
		take_sender(x->owner);          /* that one decides on the way */
		printf(", sent on with the sender %s", x->owner);
	}
	printf(":\n");
	for (size_t i = 0; i < x->n; i++) {
		printf("    ");
		listing_show_addr(stdout, &x->to[i]);
		show_way(l, &x->to[i], ": ");
	}
	if (x->trouble[0])
		l->status = 1;
	return true;
}

static void look(struct task *t)
{
	struct look *l = owner_of(t, struct look, again);
	struct buf steps = { 0 };
	struct expansion x = { .steps = &steps };

	switch (alias_expand(aliases, l->facts, l->about, &x)) {
	case ALIAS_WAIT:
		break;
	case ALIAS_NONE:
		if (!fact_is_there(l, l->about))
			break;
		listing_show_addr(stdout, l->about);
		l->answered = show_way(l, l->about, ": no alias; ");
		break;
	case ALIAS_FOUND:
		l->answered = show_found(l, &x);
		break;
	case ALIAS_FAILED:
		put_lines(stdout, "", &steps);
		printf("Refused: %d %s %s\n", x.why.code, x.why.enhanced, x.why.text);
		l->status = 1;
		l->answered = true;
		break;
	}
	buf_free(&steps);
	expansion_free(&x);
}

static int explain(const struct addr *about)
{
	struct maildir_config m = { .template = set.mailbox, .postmaster = set.postmaster, .hostname = set.hostname, .inline_work = true, .users = true,
		.separator = set.separator };
	struct look l = { .about = about, .again.run = look };
	const char *wrong = maildir_start(&m);

	if (wrong) {
		fprintf(stderr, "fardel %s: %s\n", command(), wrong);
		return EX_CONFIG;
	}
	facts_source(FACT_MAILBOX, maildir_source());
	l.facts = facts_new(&l.again, ALIAS_FACTS);
	if (!l.facts) {
		maildir_stop();
		return EX_OSERR;
	}
	task_post(&l.again);
	while (!l.answered)
		loop_turn(1000);
	facts_free(l.facts);
	maildir_stop();
	return l.status;
}

/* Somebody in this domain whose mail goes there: asked for when the host is called. */
static bool first_of(struct str domain, struct addr *out)
{
	struct str rest = buf_view(&addresses), line;

	while (str_cut(&rest, '\n', &line))
		if (!parse_address(line, true, out) && str_eq_nocase(out->domain, domain))
			return true;
	return false;
}

static int explain_domains(int status)
{
	struct str rest = buf_view(&domains), domain;

	while (explains && str_cut(&rest, '\n', &domain)) {
		struct addr first;
		int s = !domain.n ? 0 : connects && first_of(domain, &first) ? explain_connect(&set, domain, sender, &first) :
			explain_domain(&set, domain, sender);

		if (s && !status)
			status = s;
	}
	buf_free(&domains);
	buf_free(&addresses);
	return status;
}

static int tell(const char *word)
{
	struct buf whole = { 0 };
	struct addr about;
	const char *wrong;
	int status;

	buf_puts(&whole, word);
	if (!strchr(word, '@'))
		buf_printf(&whole, "@%s", set.origin);
	wrong = parse_address(buf_view(&whole), true, &about);
	if (wrong) {
		fprintf(stderr, "fardel %s: \"%s\" is no address: %s\n", command(), word, wrong);
		status = EX_USAGE;
	} else if (!(aliases_refresh(aliases) && !aliases_errors(aliases)->n)) {
		put_lines(stderr, explains ? "fardel explain: " : "fardel alias: ", aliases_errors(aliases));
		status = EX_CONFIG;
	} else {
		status = explain_domains(explain(&about));
	}
	buf_free(&whole);
	return status;
}

/* The one word that is no option is the address; the others are for the settings. */
int cmd_alias(int argc, char **argv)
{
	struct arguments args = { 0 };
	const char *address = NULL, *wrong = NULL;
	int status;

	for (int i = 1; i < argc && !wrong; i++) {
		if (arguments_take(&args, argc, argv, &i, &wrong))
			continue;
		if (explains && !strcmp(argv[i], "--connect")) {
			connects = true;
			continue;
		}
		if (explains && !strcmp(argv[i], "--from") && i + 1 < argc) {
			wrong = take_sender(argv[++i]);
			continue;
		}
		wrong = argv[i][0] == '-' || address ? usage() : NULL;
		address = argv[i];
	}
	if (wrong || !address) {
		fprintf(stderr, "fardel %s: %s\n", command(), wrong ? wrong : usage());
		return EX_USAGE;
	}
	status = start(&args);
	return stop(status ? status : tell(address));
}

int cmd_explain(int argc, char **argv)
{
	explains = true;
	return cmd_alias(argc, argv);
}
