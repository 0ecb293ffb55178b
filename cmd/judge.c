/* judge: whether a saved message would be taken, by the code that the server runs: verdict, steps, and every fact that was asked for. Nothing is
 * written. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/judging.h"
#include "cmd/message.h"
#include "deliver/maildir.h"
#include "deliver/recall.h"
#include "dns.h"
#include "lib/file.h"
#include "lib/idn.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/root.h"
#include "parse.h"
#include "policy/dkim.h"
#include "policy/dmarc.h"
#include "policy/dnsbl.h"
#include "policy/iprev.h"
#include "policy/judge.h"
#include "policy/spf.h"

enum {
	LATE_MS = 60000,
	HEADER_MAX = 256 << 10,
	FACTS = SPF_LOOKUPS + DKIM_LOOKUPS + DMARC_LOOKUPS + IPREV_LOOKUPS + DNSBL_LOOKUPS + JUDGE_FACTS + ALIAS_DEPTH * 4,
	ZONE_MAX = 1 << 20, ZONE_RECORDS = 64
};

struct trial {
	struct arguments arguments;
	const char *ip, *helo, *from, *to, *dns, *file;         /* as written */
	struct settings set;
	struct aliases *aliases;
	struct subject client;
	struct addr rcpt;
	struct buf header;
	struct spf_query spf_query;
	struct spf_result spf;
	struct dkim *dkim;
	struct dmarc_reader reader;
	struct dmarc_author author;
	struct dmarc_query dmarc_query;
	struct dmarc_result dmarc;
	struct ip ip_asked;
	struct iprev_result iprev;
	struct dnsbl_query dnsbl_query;
	struct dnsbl_result dnsbl;
	struct judge_message message;
	struct buf words, steps;
	struct judgement judgement;
	struct facts *facts;
	struct task wake;
	struct timer timer;
	bool late, decided;
};

static int wrong_use(const char *what, const char *why)
{
	fprintf(stderr, "fardel judge: %s%s%s. Write fardel judge --ip ADDRESS --to RECIPIENT [--helo NAME] [--from SENDER] [--dns FILE] MESSAGE\n", what,
		*why ? ": " : "", why);
	return EX_USAGE;
}

/* ---- the words of the command line */

/* "--ip A" or "--ip=A". False: another word. */
static bool take_option(struct trial *t, int argc, char **argv, int *i, const char **wrong)
{
	const struct { const char *name, **value; } options[] = { { "--ip", &t->ip }, { "--helo", &t->helo }, { "--from", &t->from }, { "--to", &t->to },
		{ "--dns", &t->dns } };

	for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
		size_t n = strlen(options[k].name);

		if (strncmp(argv[*i], options[k].name, n) != 0 || (argv[*i][n] && argv[*i][n] != '='))
			continue;
		if (!argv[*i][n] && *i + 1 == argc)
			*wrong = "something is missing behind it";
		else
			*options[k].value = argv[*i][n] ? argv[*i] + n + 1 : argv[++*i];
		return true;
	}
	return false;
}

static int read_words(struct trial *t, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *wrong = NULL;
		int at = i;

		if (!arguments_take(&t->arguments, argc, argv, &i, &wrong) && !take_option(t, argc, argv, &i, &wrong)) {
			if (t->file || (argv[i][0] == '-' && argv[i][1]))
				wrong = "not known";
			t->file = argv[i];
		}
		if (wrong)
			return wrong_use(argv[at], wrong);
	}
	return !t->file ? wrong_use("which message is it", "a file is missing, or - for standard input") : !t->ip ? wrong_use("whose message is it", "--ip is missing") :
		!t->to ? wrong_use("who is to get it", "--to is missing") : 0;
}

static bool set_peer(struct subject *who, const char *ip)
{
	who->peer.ss_family = AF_INET;
	if (inet_pton(AF_INET, ip, &((struct sockaddr_in *)&who->peer)->sin_addr) != 1) {
		who->peer.ss_family = AF_INET6;
		if (inet_pton(AF_INET6, ip, &((struct sockaddr_in6 *)&who->peer)->sin6_addr) != 1)
			return false;
	}
	return snprintf(who->peer_text, sizeof who->peer_text, "%s", ip) < (int)sizeof who->peer_text;
}

static int set_envelope(struct trial *t)
{
	struct str from = str_of(t->from);
	static char sender[ADDR_MAX + 1];
	const char *wrong;

	t->client.helo = t->helo ? t->helo : "";
	t->client.user = "";
	t->client.sender = sender;
	t->client.tls = true;
	if (!set_peer(&t->client, t->ip))
		return wrong_use(t->ip, "that is no IPv4 or IPv6 address");
	if (from.n >= 2 && from.p[0] == '<' && from.p[from.n - 1] == '>')
		from = (struct str){ from.p + 1, from.n - 2 };
	t->spf_query = (struct spf_query){ .peer = (struct sockaddr *)&t->client.peer, .helo = str_of(t->helo), .receiver = t->set.hostname, .now = loop_wall() };
	if (from.n && (wrong = parse_address(from, true, &t->spf_query.from)))
		return wrong_use(t->from, wrong);
	str_copy(sender, sizeof sender, from);
	ip_of((struct sockaddr *)&t->client.peer, &t->ip_asked);
	t->dnsbl_query = (struct dnsbl_query){ .list = t->set.dnsbl, .n = t->set.ndnsbl, .ip = &t->ip_asked,
		.domain = { is_ascii(t->spf_query.from.domain) ? t->spf_query.from.domain : STR(""), is_ascii(str_of(t->helo)) ? str_of(t->helo) : STR("") } };
	return (wrong = parse_address(str_of(t->to), true, &t->rcpt)) ? wrong_use(t->to, wrong) : 0;
}

static bool take_text(void *arg, struct str text)
{
	struct trial *t = arg;

	dkim_add(t->dkim, text);
	dmarc_read(&t->reader, text);
	if (t->header.n < HEADER_MAX)
		buf_add(&t->header, text.p, text.n < HEADER_MAX - t->header.n ? text.n : HEADER_MAX - t->header.n);
	return !t->header.bad;
}

static int read_message(struct trial *t)
{
	t->dkim = dkim_new();
	dmarc_read_begin(&t->reader);
	if (!t->dkim || message_read(t->file, take_text, t) == -1) {
		fprintf(stderr, "fardel judge: %s: %s\n", t->file, strerror(t->dkim ? errno : ENOMEM));
		return t->dkim ? EX_NOINPUT : EX_OSERR;
	}
	dkim_end(t->dkim);
	dmarc_read_end(&t->reader, &t->author);
	return 0;
}

/* ---- a saved DNS: lines "NAME TYPE DATA"; TYPE A, AAAA, MX (with its preference), PTR (NAME is an address) or TXT; "NAME !" cannot be found out */

static struct buf zone = { .max = ZONE_MAX };

static bool is_of(enum fact_kind kind, struct str type)
{
	static const char *const kinds[] = { [FACT_A] = "A", [FACT_AAAA] = "AAAA", [FACT_MX] = "MX", [FACT_PTR] = "PTR", [FACT_TXT] = "TXT" };

	return kind <= FACT_TXT && str_eq_nocase(type, str_of(kinds[kind]));
}

/* The data of a line as a fact has it. False: it makes no sense. */
static bool read_data(enum fact_kind kind, struct str text, struct record *out, unsigned char octets[16])
{
	char address[INET6_ADDRSTRLEN];
	struct str word;
	uint64_t n;

	text = str_trim(text);
	*out = (struct record){ .data = text };
	switch (kind) {
	case FACT_A:
	case FACT_AAAA:
		out->data = (struct str){ (const char *)octets, kind == FACT_A ? 4 : 16 };
		return str_copy(address, sizeof address, text) && inet_pton(kind == FACT_A ? AF_INET : AF_INET6, address, octets) == 1;
	case FACT_MX:
		if (!str_word(&text, &word) || !str_number(word, 65535, &n))
			return false;
		out->priority = (int64_t)n;
		out->data = str_trim(text);
		if (str_eq(out->data, STR(".")))
			out->data.n = 0;
		return true;
	default:
		return true;
	}
}

static void ask_zone(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	static unsigned char octets[ZONE_RECORDS][16];
	static struct record record[ZONE_RECORDS];
	struct fact f = { .outcome = NO_NAME, .record = record };
	struct str rest = buf_view(&zone), line, owner, type;

	(void)source;
	while (f.outcome != UNKNOWN && str_cut(&rest, '\n', &line)) {
		if (!str_word(&line, &owner) || !str_word(&line, &type) || !str_eq_nocase(owner, name))
			continue;
		if (f.outcome == NO_NAME)
			f.outcome = NO_DATA;
		if (str_eq(type, STR("!")))
			f = (struct fact){ .outcome = UNKNOWN, .why = "as the saved DNS says" };
		else if (is_of(kind, type) && f.n < ZONE_RECORDS && read_data(kind, line, &record[f.n], octets[f.n]))
			f.n++;
	}
	if (f.n)
		f.outcome = FOUND;
	fact_answer(ticket, &f);
}

static int start_dns(const struct trial *t)
{
	static struct fact_source saved = { .ask = ask_zone };
	struct dns_config d = { .resolvers = t->set.resolver };
	const char *wrong = NULL;

	if (t->dns && (file_read_all(AT_FDCWD, t->dns, &zone) == -1 || !buf_char(&zone, '\n'))) {
		fprintf(stderr, "fardel judge: %s: %s\n", t->dns, strerror(errno));
		return EX_NOINPUT;
	}
	if (!t->dns && (wrong = dns_start(&d))) {
		fprintf(stderr, "fardel judge: %s\n", wrong);
		return EX_CONFIG;
	}
	for (int k = FACT_A; k <= FACT_TXT; k++)
		facts_source((enum fact_kind)k, t->dns ? &saved : dns_source());
	return 0;
}

/* ---- asking, from the top each time that facts have come */

/* Who is no recipient is refused before anything is read. */
static bool decide_rcpt(struct trial *t)
{
	struct judgement *j = &t->judgement;
	struct reply why;
	enum verdict v = judging_rcpt(&t->set, t->aliases, t->facts, &t->client, &t->rcpt, &why);

	if (v == REFUSE) {
		*j = (struct judgement){ .verdict = REFUSE, .reason = "no-recipient", .reply = why };
		return true;
	}
	return (v == ACCEPT || t->late) && judging_decide(&t->set, t->aliases, t->facts, &t->rcpt, &t->message, t->late, j, &t->steps) != WAIT;
}

static bool evaluate(struct trial *t)
{
	if (t->late) {
		if (spf_check(t->facts, &t->spf_query, &t->spf) == WAIT)
			spf_late(&t->spf_query, &t->spf);
		dkim_give_up(t->dkim);
	} else if (spf_check(t->facts, &t->spf_query, &t->spf) == WAIT || !dkim_judge(t->dkim, t->facts, loop_wall())) {
		return false;
	}
	t->dmarc_query = (struct dmarc_query){ .author = &t->author };
	dmarc_query_set(&t->dmarc_query, &t->spf, t->dkim);
	if (dmarc_check(t->facts, &t->dmarc_query, &t->dmarc) == WAIT) {
		if (!t->late)
			return false;
		dmarc_late(&t->dmarc_query, &t->dmarc);
	}
	dmarc_trust(&t->dmarc, dkim_arc(t->dkim), t->set.arc_sealers);
	if (iprev_check(t->facts, &t->ip_asked, &t->iprev) == WAIT) {
		if (!t->late)
			return false;
		iprev_late(&t->iprev);
	}
	if (dnsbl_check(t->facts, &t->dnsbl_query, &t->dnsbl) == WAIT && !t->late)
		return false;
	buf_clear(&t->words);
	if (!judge_message_set(&t->message, &t->words, &t->client, &t->spf, t->dkim, &t->dmarc, buf_view(&t->header)))
		return false;
	t->message.no_iprev = t->iprev.code == IPREV_FAIL || t->iprev.code == IPREV_PERMERROR;
	t->message.listed = t->set.dnsbl_refuse && t->dnsbl.score >= (int)t->set.dnsbl_refuse ? t->dnsbl.score : 0;
	t->message.lists = t->dnsbl.words;
	t->message.file = strcmp(t->file, "-") ? t->file : NULL;
	return decide_rcpt(t);
}

static void on_facts(struct task *task)
{
	struct trial *t = owner_of(task, struct trial, wake);

	t->decided = evaluate(t);
}

static void on_late(struct timer *timer)
{
	struct trial *t = owner_of(timer, struct trial, timer);

	t->late = true;
	t->decided = evaluate(t);
}

static int ask(struct trial *t)
{
	t->wake.run = on_facts;
	t->timer.expired = on_late;
	if (!(t->facts = facts_new(&t->wake, FACTS))) {
		fprintf(stderr, "fardel judge: out of memory\n");
		return EX_OSERR;
	}
	t->decided = evaluate(t);
	timer_set(&t->timer, LATE_MS);
	while (!t->decided && !t->late)
		loop_turn(-1);
	timer_stop(&t->timer);
	if (t->decided)
		return 0;
	fprintf(stderr, "fardel judge: out of memory\n");
	return EX_OSERR;
}

/* ---- telling */

static void print_data(enum fact_kind kind, const struct record *r)
{
	char text[INET6_ADDRSTRLEN] = "?";

	if (kind == FACT_A || kind == FACT_AAAA) {
		inet_ntop(kind == FACT_A ? AF_INET : AF_INET6, r->data.p, text, sizeof text);
		printf(" %s", text);
		return;
	}
	putchar(' ');
	if (kind == FACT_MX)
		printf("%lld ", (long long)r->priority);
	for (size_t i = 0; i < r->data.n && i < 200; i++)
		putchar(ascii_print(r->data.p[i]) ? r->data.p[i] : '?');
}

static void print_fact(void *arg, enum fact_kind kind, struct str name, const struct fact *f)
{
	static const char *const kinds[FACT_KINDS] = { [FACT_A] = "A", [FACT_AAAA] = "AAAA", [FACT_MX] = "MX", [FACT_PTR] = "PTR", [FACT_TXT] = "TXT",
		[FACT_MAILBOX] = "mailbox", [FACT_REPUTATION] = "reputation", [FACT_CONTENT] = "content",
		[FACT_RULE] = "rule" };
	static const char *const outcomes[] = { [FOUND] = "", [NO_DATA] = " no data", [NO_NAME] = " does not exist", [UNKNOWN] = " not known: " };

	(void)arg;
	printf("asked: %s ", kinds[kind] ? kinds[kind] : "?");
	for (size_t i = 0; i < name.n; i++)
		putchar(ascii_print(name.p[i]) ? name.p[i] : ' ');
	printf(":%s%s", f ? outcomes[f->outcome] : " no answer in time", f && f->outcome == UNKNOWN && f->why ? f->why : "");
	for (size_t i = 0; f && i < f->n; i++)
		print_data(kind, &f->record[i]);
	putchar('\n');
}

static void print_dkim(const struct dkim *d)
{
	for (size_t i = 0; i < dkim_count(d); i++)
		printf("dkim: %s %s: %s\n", dkim_result_name[dkim_at(d, i)->result], dkim_at(d, i)->domain, dkim_at(d, i)->why);
	if (!dkim_count(d))
		printf("dkim: none\n");
	message_print_arc(dkim_arc(d), "arc: ");
}

/* The token first. */
static int tell(const struct trial *t)
{
	const struct judgement *j = &t->judgement;
	const struct identities *who = &t->message.who;

	if (j->verdict == ACCEPT)
		printf("accept %s\n", j->reason);
	else
		printf("refuse %s %d %s %s\n", j->reason, j->reply.code, j->reply.enhanced, j->reply.text);
	printf("author: " STR_FMT "%s\n", STR_ARG(who->from.n ? who->from : STR("nobody, or not a single one")), who->validated ? ", shown to be so" : "");
	printf("spf: %s %s\n", spf_name(t->spf.code), t->spf.why);
	print_dkim(t->dkim);
	printf("iprev: %s %s\n", iprev_name(t->iprev.code), t->iprev.name);
	if (t->set.ndnsbl)
		printf("lists: %d %s\n", t->dnsbl.score, t->dnsbl.words);
	printf("dmarc: %s %s\n", dmarc_name(t->dmarc.code), t->dmarc.why);
	fwrite(t->steps.p, 1, t->steps.n, stdout);
	facts_each(t->facts, print_fact, NULL);
	return fflush(stdout) == EOF ? EX_IOERR : j->verdict == ACCEPT ? EX_OK : 1;
}

/* For root a child of the user looks into a home; anybody else may look into his own. */
static const char *start_children(const struct maildir_config *m)
{
	static struct root_config r = { .main = maildir_user_main };
	const char *wrong = maildir_configure(m);

	if (wrong || !m->users)
		return wrong;
	return root_start(&r) == -1 ? strerror(errno) : NULL;
}

static void read_key(const struct trial *t)
{
	int dir = t->set.subject_pass && t->set.queue ? open(t->set.queue, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (dir != -1) {
		judging_key(dir, false);
		close(dir);
	}
}

static int start_mailboxes(struct trial *t)
{
	static struct memory_folders folders;
	const struct memory_folders *set = judging_folders(&t->set);
	struct alias_config a = settings_aliases(&t->set);
	const struct maildir_config m = { .template = t->set.mailbox, .postmaster = t->set.postmaster, .hostname = t->set.hostname,
		.separator = t->set.separator, .inline_work = true, .folders = &folders, .users = t->set.homes && geteuid() == 0 };
	const char *wrong;

	a.quiet = true;
	if (set)
		folders = *set;
	folders.untouched = true;
	if (!(wrong = start_children(&m)))
		wrong = maildir_start(&m);
	if (!wrong)
		wrong = judging_start(&t->set, true, true);
	if (!wrong && !(t->aliases = aliases_new(&a)))
		wrong = "out of memory";
	if (wrong) {
		fprintf(stderr, "fardel judge: %s\n", wrong);
		return EX_OSERR;
	}
	facts_source(FACT_MAILBOX, maildir_source());
	aliases_refresh(t->aliases);
	read_key(t);
	return 0;
}

int cmd_judge(int argc, char **argv)
{
	static struct trial t;
	int status = read_words(&t, argc, argv);

	if (!status && !settings_load(&t.set, &t.arguments))
		status = settings_complain(&t.set);
	log_threshold(LOG_ERROR);
	if (!status && !(status = set_envelope(&t)) && !(status = read_message(&t)) && !(status = start_dns(&t)) && !(status = start_mailboxes(&t)) &&
	    !(status = ask(&t)))
		status = tell(&t);
	facts_free(t.facts);
	recall_stop();
	maildir_stop();
	root_stop();
	dns_stop();
	aliases_free(t.aliases);
	dkim_free(t.dkim);
	buf_free(&t.header);
	buf_free(&t.words);
	buf_free(&t.steps);
	buf_free(&zone);
	settings_free(&t.set);
	return status;
}
