/* fardel: the program. main() by argv[0], the table of commands, and serve. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "auth/token.h"
#include "cmd/confine.h"
#include "cmd/control.h"
#include "cmd/exporter.h"
#include "cmd/dmarcreport.h"
#include "cmd/drop.h"
#include "cmd/expand.h"
#include "cmd/fardel.h"
#include "cmd/feedback.h"
#include "cmd/figures.h"
#include "cmd/lacks.h"
#include "cmd/reports.h"
#include "cmd/running.h"
#include "cmd/sent.h"
#include "cmd/tlsreport.h"
#include "deliver/alias.h"
#include "deliver/maildir.h"
#include "deliver/recall.h"
#include "deliver/stscache.h"
#include "deliver/tlsseen.h"
#include "dns.h"
#include "lib/child.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/memory.h"
#include "queue.h"

/* ---- serve */

/* What root is needed for comes first. */
static int run_server(void)
{
	char why[1024];
	int status;

	if ((status = start_root()) || (status = ports_open()) || (status = start_signing()) || (status = start_account()) || (status = start_mailboxes(false)) || (status = start_judging(false)) || (status = start_aliases()) ||
	    (status = start_sending()) ||
	    (status = start_tls(true)) || (status = start_users(false)))
		return status;
	if (start_queue(true, false, why, sizeof why) == -1)
		return complain_of_queue(why);
	open_notes();
	feedback_start(false);
	if (!start_smtpd())
		return complain(EX_OSERR, "out of memory");
	smtpd_counts_load(queue_dir());
	start_policies();
	start_tls_reports(true);
	start_dmarc_reports(true);
	control_start(running.settings);
	exporter_start(running.settings);
	if ((status = start_drops()) || (status = ports_accept()) || (status = start_tokens()) || (status = confine(running.settings)))
		return status;
	if (smtpd_places() < running.settings->sessions_max)
		log_text(LOG_WARN, "descriptors", "the limit of open files leaves room for %u of sessions_max = %u sessions: raise it (ulimit -n, or "
			"LimitNOFILE= of the service), or lower sessions_max", smtpd_places(), running.settings->sessions_max);
	if (clock_wall_s() < CLOCK_SANE)
		log_text(LOG_WARN, "clock", "it is wrong: nothing expires and nothing is reported until it is set, and certificates of others seem not to be valid yet");
	lacks_log();
	start_signals(true);
	memory_give_back();
	log_event(LOG_INFO, "started", LF(L_TEXT("version", FARDEL_VERSION), L_TEXT("hostname", running.settings->hostname), L_TEXT("queue", running.settings->queue),
		L_NUM("uid", (long long)geteuid()), L_NUM("entries", (long long)queue_entries())));
	figures_write_to(running.settings->metrics_file);
	loop_run();
	smtpd_counts_save(queue_dir());
	figures_write_to(NULL);
	return 0;
}

static int cmd_serve(int argc, char **argv)
{
	static const int early[] = { SIGHUP, SIGUSR1, SIGALRM };        /* before there is anything that they could mean */
	int status;

	for (size_t i = 0; i < sizeof early / sizeof *early; i++)
		signal(early[i], SIG_IGN);
	status = start_settings(argc, argv);
	if (!status) {
		status = run_server();
		control_stop();
		exporter_stop();
		drop_stop();
		tlsreport_stop();
		dmarcreport_stop();
		queue_close();
		feedback_stop();
		sent_stop();
		reports_stop();
		expand_stop();
		token_stop();
		tlsseen_stop();
		stscache_stop();
		recall_stop();
		maildir_stop();
		stop_root();
		dns_stop();
		log_text(LOG_INFO, "stopped", "exit status %d", status);
	}
	stop_users();
	child_settle();
	greylist_close(running.greylist);
	tls_server_free(running.tls);
	aliases_free(running.aliases);
	signer_free(running.signer);
	reload_free();
	free(running.smtpd);
	return status;
}

/* ---- main */

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

#define SETTINGS "[-c FILE] [-o 'name = value']..."

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *words;              /* what may stand behind it */
	const char *help;
} commands[] = {
	{ "serve", cmd_serve, "[-v] " SETTINGS, "run in the foreground: receive, queue, deliver" },
	{ "inetd", cmd_inetd, "[-s smtp|submission|submissions] [-v] " SETTINGS, "one SMTP session on descriptors 0 and 1" },
	{ "flush", cmd_flush, "[-v] " SETTINGS, "deliver what is due, then exit (75: something was deferred)" },
	{ "setup", cmd_setup, SETTINGS, "ask for a relay, try the login, write the settings" },
	{ "check", cmd_check, "[--login] [--outside[=DOMAIN,...]] " SETTINGS, "look at configuration and environment" },
	{ "config", cmd_config, SETTINGS, "print the settings, with their origins" },
	{ "sendmail", cmd_sendmail, "[-itv] [-C FILE] [-f SENDER] [-F NAME] [-N WHEN] [-R WHAT] [-V ENVID] [--at TIME | --wait SECONDS] [RECIPIENT]... | -bs | -bp | -bi | -q",
		"take a message from standard input" },
	{ "mailq", cmd_mailq, "[--json] " SETTINGS, "list the queue" },
	{ "why", cmd_why, "[-v|--verbose] " SETTINGS " [ID|ADDRESS|DOMAIN]", "why is this mail still here? ID, ADDRESS or DOMAIN" },
	{ "queue", cmd_queue, "list|show|shape|retry|hold|release|drop|fail|reroute [--yes] [--json] [--body] [--reason TEXT] " SETTINGS
		" [ID|ADDRESS|DOMAIN|all]... [HOST|URL|mx]\n"
		"    [--id ID] [--from SENDER] [--to RECIPIENT] [--domain DOMAIN] [--older AGE] [--younger AGE] [--larger SIZE] [--smaller SIZE]\n"
		"    [--state held,due,deferred,new]",
		"look at what waits; retry, hold, release, drop, fail or reroute it" },
	{ "top", cmd_top, "[--once] " SETTINGS, "a live screen: sessions, connections, the queue by destination, rates" },
	{ "metrics", cmd_metrics, SETTINGS, "print the running server's figures, in the text form of Prometheus" },
	{ "reports", cmd_reports, "[dmarc|tls] [--domain DOMAIN] [--days N] [--json] " SETTINGS, "what do others report of your domains' mail (DMARC) and of TLS?" },
	{ "spf", cmd_spf, "--ip ADDRESS [--helo NAME] [--from SENDER] " SETTINGS, "may this address send mail from that domain?" },
	{ "judge", cmd_judge, "--ip ADDRESS --to RECIPIENT [--helo NAME] [--from SENDER] [--dns FILE] " SETTINGS " MESSAGE|-",
		"would this message be taken? Facts, steps, verdict" },
	{ "rules", cmd_rules, "[-a] FILE", "what is wrong with a file of rules; -a: one that is for all mailboxes" },
	{ "dmarc", cmd_dmarc, "--from ADDRESS [--spf [RESULT:]DOMAIN] [--dkim [RESULT:]DOMAIN]... " SETTINGS, "what does the owner of From want done with a message?" },
	{ "alias", cmd_alias, SETTINGS " ADDRESS", "who gets mail for ADDRESS? Step by step" },
	{ "explain", cmd_explain, "[--from SENDER] [--connect] " SETTINGS " ADDRESS", "where would mail for ADDRESS go? Aliases, hosts, TLS; nothing is sent" },
	{ "newaliases", cmd_newaliases, SETTINGS, "look at the aliases; there is nothing to be built" },
	{ "mkmailbox", cmd_mkmailbox, SETTINGS " USER...", "make a local user's mailbox" },
	{ "passwd", cmd_passwd, "[-d] FILE USER", "write a user's password into a file of users" },
	{ "dkim-key", cmd_dkim_key, "[-t rsa|ed25519] [-b BITS] [-p] DOMAIN SELECTOR FILE", "make a DKIM key, or show its DNS record" },
	{ "dkim-sign", cmd_dkim_sign, SETTINGS " MESSAGE|-", "sign a message with the keys of dkim_key" },
	{ "dkim-verify", cmd_dkim_verify, SETTINGS " MESSAGE|-", "check the DKIM signatures of a message" },
	{ "version", cmd_version, "", "print the version" },
	{ "help", cmd_help, "[COMMAND]", "print this, or what may stand behind a command" },
};
enum { COMMANDS = sizeof commands / sizeof *commands, NEAR = 2 };

static int cmd_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("fardel %s\n", FARDEL_VERSION);
	return 0;
}

static int usage(FILE *to)
{
	fprintf(to, "usage: fardel COMMAND [-c FILE] [-o 'name = value'] ...    (serve, inetd and flush: -v, log everything)\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].help);
	fprintf(to, "\n`fardel COMMAND --help` says what may stand behind it, `man fardel` what it does.\n");
	return EX_USAGE;
}

/* For one command; before is "fardel ", or "" where it is called by its own name. */
static int help_of(const char *before, const struct command *c)
{
	printf("usage: %s%s%s%s\n%s\n", before, c->name, *c->words ? " " : "", c->words, c->help);
	printf("`man %s` tells more\n", c->run == cmd_sendmail ? "sendmail" : "fardel");
	return 0;
}

/* What people try first. */
static const struct {
	const char *option, *command;
} others[] = { { "-h", "help" }, { "--help", "help" }, { "-V", "version" }, { "--version", "version" } };

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (strcmp(others[i].option, name) == 0)
			name = others[i].command;
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* All of them at once would push the mistake off the screen. */
static int no_command(const char *name)
{
	fprintf(stderr, "fardel: there is no command \"%s\"", name);
	if (name[0] == '-')
		fprintf(stderr, ": write fardel COMMAND, and options behind it");
	for (size_t i = 0; i < COMMANDS; i++)
		if (conf_distance(str_of(name), str_of(commands[i].name)) <= NEAR)
			fprintf(stderr, "; perhaps %s", commands[i].name);
	fprintf(stderr, ". `fardel help` lists what there is.\n");
	return EX_USAGE;
}

static int cmd_help(int argc, char **argv)
{
	const struct command *c = argc > 1 ? find(argv[1]) : NULL;

	if (c)
		return help_of("fardel ", c);
	if (argc > 1)
		return no_command(argv[1]);
	usage(stdout);
	return 0;
}

/* As the first word, or behind a verb (`fardel queue hold --help`). Of sendmail only --help, and only there: -h is a flag of it
 * that takes a value, and behind its first recipient every word is one. */
static bool asks_for_help(const struct command *c, int argc, char **argv)
{
	int at = c->run != cmd_sendmail && argc > 2 && argv[1][0] != '-' ? 2 : 1;

	return argc > at && (strcmp(argv[at], "--help") == 0 || (c->run != cmd_sendmail && strcmp(argv[at], "-h") == 0));
}

static int run_command(const char *before, const struct command *c, int argc, char **argv)
{
	if (asks_for_help(c, argc, argv))
		return help_of(before, c);
	if (argc > 1 && strcmp(argv[1], "--version") == 0)
		return cmd_version(argc, argv);
	argv[0] = (char *)(uintptr_t)c->name;   /* what complaints name, by whatever path it was called */
	return c->run(argc, argv);
}

int main(int argc, char **argv)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc ? argv[0] : "";
	const struct command *c;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);       /* a limit of file sizes is an error of a write, and no end of ours */
	sendmail_modes = (struct sendmail_modes){ .inetd = cmd_inetd, .flush = cmd_flush };
	c = find(name);
	if (strcmp(name, "fardel") != 0 && c)           /* by a link: sendmail, mailq, newaliases */
		return run_command("", c, argc, argv);
	if (argc < 2)
		return usage(stderr);
	c = find(argv[1]);
	return c ? run_command("fardel ", c, argc - 1, argv + 1) : no_command(argv[1]);
}
