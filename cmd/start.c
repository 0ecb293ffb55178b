/* What serve, inetd and flush start: each part of the running program, from the settings. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "auth/token.h"
#include "auth/users.h"
#include "auth/verify.h"
#include "cmd/control.h"
#include "cmd/courier.h"
#include "cmd/decide.h"
#include "cmd/dmarcreport.h"
#include "cmd/drop.h"
#include "cmd/expand.h"
#include "cmd/figures.h"
#include "cmd/judging.h"
#include "cmd/report.h"
#include "cmd/reports.h"
#include "cmd/rulesfile.h"
#include "cmd/running.h"
#include "cmd/sent.h"
#include "cmd/signing.h"
#include "cmd/tlsreport.h"
#include "deliver/alias.h"
#include "deliver/maildir.h"
#include "deliver/stscache.h"
#include "deliver/tlsseen.h"
#include "lib/account.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/rand.h"
#include "lib/root.h"
#include "policy/quota.h"
#include "queue.h"

struct running running = { .settings = &running.first, .quota = -1 };

static struct courier_config courier;
static struct report_config report;
static struct drop_config drop;
static struct mx_self self;
static struct stscache_config policies;
static bool policies_open;
static struct tlsreport_config tls_reports;
static struct users *users;
static struct dmarcreport_config dmarc_reports;
static bool verbose;
static char fallback[4096];

int complain(int status, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fprintf(stderr, "fardel: %s\n", text);
	return status;
}

static void raise_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == -1)
		return;
	r.rlim_cur = r.rlim_max > 65536 ? 65536 : r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

/* Takes -v out of the words, wherever it stands as a word of its own. */
static bool take_verbose(int *argc, char **argv)
{
	int kept = 1;
	bool found = false;

	for (int i = 1; i < *argc; i++) {
		bool value = i > 1 && (!strcmp(argv[i - 1], "-c") || !strcmp(argv[i - 1], "-o"));

		if (!value && !strcmp(argv[i], "-v"))
			found = true;
		else
			argv[kept++] = argv[i];
	}
	*argc = kept;
	return found;
}

static void configure_log(void)
{
	log_written_as(running.settings->log_format);
	log_threshold(verbose ? LOG_DEBUG : running.settings->log_level);
}

int start_settings(int argc, char **argv)
{
	int status;

	verbose = take_verbose(&argc, argv);
	status = settings_for_command(running.settings, argc, argv);
	if (status)
		return status;
	configure_log();
	umask(077);
	raise_descriptors();
	return 0;
}

/* Root ends here, when `user` says so: what follows, the log and every file included, is that account's. */
static int give_up_root(void)
{
	struct account a;
	const char *why;
	char text[512];

	if (!running.settings->user)
		return 0;
	if ((why = account_find(running.settings->user, &a)))
		return complain(EX_CONFIG, "%s: user = %s %s", conf_where(&running.settings->conf, "user"), running.settings->user, why);
	if (geteuid() == 0 && account_make_first(&a, running.settings->queue, 0700) == -1)
		return complain(EX_CANTCREAT, "cannot make the queue %s for %s: %s. Make it by hand and give it to that account",
			running.settings->queue, a.name, strerror(errno));
	return account_settle(&a, text, sizeof text) == 0 ? 0 : complain(EX_NOPERM, "%s", text);
}

int start_account(void)
{
	int status = give_up_root();

	if (status)
		return status;
	if (log_open(running.settings->log) == 0)
		return 0;
	return complain(EX_CANTCREAT, "cannot open the log %s as uid %lu: %s. Make a file there that belongs to it, or set log = stderr or syslog",
		running.settings->log, (unsigned long)geteuid(), strerror(errno));
}

/* ---- what stays root */

static const char **closed;             /* files that the account need not be able to read */
static bool rooted;                     /* what stays root is root: it starts children of all users */

static struct maildir_config mailboxes(bool inline_work)
{
	const struct settings *s = running.settings;

	snprintf(fallback, sizeof fallback, "%s/postmaster", s->queue);
	return (struct maildir_config){
		.template = s->mailbox, .postmaster = s->postmaster, .fallback = fallback, .hostname = s->hostname,
		.inline_work = inline_work, .separator = s->separator, .users = rooted || inline_work, .pipes = s->pipes,
		.quota = s->mailbox_quota, .refuse_full = s->refuse_full, .detail_folders = s->detail_folders,
		.pipe_user = s->pipe_user, .aliases = s->aliases, .virtual = s->virtual, .folders = judging_folders(s),
	};
}

static void forget_passwords(void)
{
	for (size_t i = 0; i < running.settings->routes.n; i++)
		explicit_bzero(&running.settings->routes.rule[i].login, sizeof running.settings->routes.rule[i].login);
}

static size_t name_closed_files(void)
{
	size_t n = 0;

	for (size_t i = 0; i < running.settings->ntls; i++) {
		closed[n++] = running.settings->tls[i].certificate;
		closed[n++] = running.settings->tls[i].key;
	}
	for (size_t i = 0; i < running.settings->ndkim; i++)
		closed[n++] = running.settings->dkim[i].file;
	for (size_t i = 0; i < running.settings->routes.n; i++)
		if (running.settings->routes.rule[i].login.file[0])
			closed[n++] = running.settings->routes.rule[i].login.file;
	if (running.settings->users)
		closed[n++] = running.settings->users;
	if (running.settings->file)
		closed[n++] = running.settings->file;
	return n;
}

int start_root(void)
{
	static struct root_config r;
	struct maildir_config m = mailboxes(false);
	const char *why;

	rooted = geteuid() == 0 && running.settings->user;
	if (!rooted && !running.settings->pipes)
		return 0;
	m.users = rooted;
	if ((why = maildir_configure(&m)))
		return complain(EX_CONFIG, "%s", why);
	closed = calloc(2 * running.settings->ntls + running.settings->ndkim + running.settings->routes.n + 2, sizeof *closed);
	if (!closed)
		return complain(EX_OSERR, "out of memory");
	r = (struct root_config){ .file = closed, .nfiles = name_closed_files(), .forget = forget_passwords, .main = maildir_user_main };
	if (root_start(&r) == -1)
		return complain(EX_OSERR, "the process that stays root cannot be started: %s", strerror(errno));
	file_closed = rooted ? root_open : NULL;
	return 0;
}

void stop_root(void)
{
	file_closed = NULL;
	root_stop();
	free(closed);
}

/* ---- keys, mailboxes, aliases */

static unsigned bad_keys;

static void complain_key(const struct dkim_words *w, const char *why)
{
	complain(EX_CONFIG, "%s: dkim_key: %s", w->where, why);
	bad_keys++;
}

int start_signing(void)
{
	if (!running.settings->ndkim)
		return 0;
	running.signer = signing_keys(running.settings, complain_key);
	return !running.signer ? complain(EX_OSERR, "out of memory") : bad_keys ? EX_CONFIG : 0;
}

static void complain_rule(void *arg, unsigned line, const char *why)
{
	const char *path = arg;

	if (line)
		log_text(LOG_ERROR, "rules", "%s:%u: %s", path, line, why);
	else
		log_text(LOG_ERROR, "rules", "%s: %s", path, why);
}

int start_judging(bool inline_work)
{
	const char *why = judging_start(running.settings, inline_work, false);

	if (running.settings->rules && !inline_work)
		rulesfile_check(running.settings->rules, true, complain_rule, (void *)(uintptr_t)running.settings->rules);

	return why ? complain(EX_OSERR, "%s: %s", why, strerror(errno)) : 0;
}

int start_mailboxes(bool inline_work)
{
	struct maildir_config m = mailboxes(inline_work);
	const char *why;

	errno = 0;
	why = maildir_start(&m);
	if (why && errno)
		return complain(EX_OSERR, "%s: %s", why, strerror(errno));
	if (why)
		return complain(EX_CONFIG, "%s", why);
	facts_source(FACT_MAILBOX, maildir_source());
	facts_source(FACT_FORWARD, maildir_source());
	return 0;
}

static void configure_aliases(void)
{
	struct alias_config a = settings_aliases(running.settings);

	aliases_configure(running.aliases, &a);
	running.settings->routes.also_local = aliases_have_domain;
	running.settings->routes.also_arg = running.aliases;
}

/* A file with an error is no reason not to start: mail for names of this host waits, all other mail goes. But where the domains of virtual
 * users cannot be told, their mail would be refused for good. */
int start_aliases(void)
{
	struct alias_config a = settings_aliases(running.settings);

	if (!(running.aliases = aliases_new(&a)))
		return complain(EX_OSERR, "out of memory");
	configure_aliases();
	if (running.settings->virtual && access(running.settings->virtual, R_OK) == -1)
		return complain(EX_CONFIG, "%s: virtual = %s: %s. Make the file, or take the setting out", conf_where(&running.settings->conf, "virtual"),
			running.settings->virtual, strerror(errno));
	aliases_refresh(running.aliases);
	expand_configure(running.aliases);
	return 0;
}

/* ---- sending */

int start_dns(void)
{
	const char *wrong = decide_begin(running.settings);

	return wrong ? complain(EX_CONFIG, "%s", wrong) : 0;
}

/* Of this process: nobody else has it, so it cannot be taken for one that has our name. */
static const char *marker(void)
{
	static char text[17];

	if (!*text)
		snprintf(text, sizeof text, "%016llx", (unsigned long long)rand_u64());
	return text;
}

static bool wants_tokens(void)
{
	for (size_t i = 0; i < running.settings->routes.n; i++)
		if (running.settings->routes.rule[i].login.command[0])
			return true;
	return false;
}

static bool tokens;                             /* their helper was started before we were confined */

int start_tokens(void)
{
	tokens = wants_tokens();
	return tokens && token_start() == -1 ? complain(EX_OSERR, "the helper for token_command: %s", strerror(errno)) : 0;
}

bool lacks_tokens(void) { return wants_tokens() && !tokens; }

static bool wants_policies(void) { return running.settings->mta_sts && running.settings->tls_out != TLS_OUT_NO; }

static void configure_sending(void)
{
	const struct settings *s = running.settings;

	policies = (struct stscache_config){ .trust = running.trust, .source = s->source, .port = s->mta_sts_port, .inet = s->inet };
	self = (struct mx_self){ .hostname = s->hostname, .dane = s->tls_out != TLS_OUT_NO, .mta_sts = policies_open && wants_policies(),
		.inet = s->inet, .is_own = ports_are_at };
	courier = (struct courier_config){ .hostname = s->hostname, .marker = marker(), .routes = &s->routes, .self = &self, .trust = running.trust, .source = s->source,
		.proxy = s->proxy_out.len ? &s->proxy_out : NULL, .tls_rules = &s->tls_rules, .tls = s->tls_out == TLS_OUT_NO ? CLIENT_TLS_NO : s->tls_out == TLS_OUT_MAY ? CLIENT_TLS_MAY : CLIENT_TLS_MUST };
	courier.mix = s->mix_domains;
	courier.note_tls = s->tls_reports ? tlsreport_note : NULL;
	courier_configure(&courier);
	report = (struct report_config){ .hostname = s->hostname, .queue_lifetime = s->queue_lifetime, .signer = running.signer };
	report_configure(&report);
}

int start_sending(void)
{
	int status = settings_can_send(running.settings) ? start_dns() : settings_complain(running.settings);

	if (status)
		return status;
	running.trust = tls_trust_new(running.settings->tls_ca);
	if (!running.trust)
		return complain(EX_OSERR, "out of memory");
	configure_sending();
	return 0;
}

/* Other domains' policies are kept in the queue directory: that is open by now. Who wants them no more fetches none, either. */
void start_policies(void)
{
	tlsseen_stop();
	if (tlsseen_start(queue_dir(), "tls-seen", true) == -1)
		log_text(LOG_ERROR, "tls-seen", "cannot open %s/tls-seen: %s. Which domains have used TLS is not kept", running.settings->queue, strerror(errno));
	if (policies_open && !wants_policies()) {
		stscache_stop();
		policies_open = false;
	}
	if (policies_open || !wants_policies())
		return;
	if (stscache_start(&policies, queue_dir()) == -1) {
		log_text(LOG_ERROR, "policies", "cannot open %s/mta-sts: %s. Policies of other domains (MTA-STS) are not looked at", running.settings->queue,
			strerror(errno));
		return;
	}
	facts_source(FACT_POLICY, stscache_source());
	policies_open = self.mta_sts = true;
}

void start_tls_reports(bool send)
{
	tls_reports = (struct tlsreport_config){ .hostname = running.settings->hostname, .contact = running.settings->tls_reports };
	if (!running.settings->tls_reports)
		tlsreport_stop();
	else if (tlsreport_start(&tls_reports, queue_dir(), send) == -1)
		log_text(LOG_ERROR, "tls-report", "cannot make %s/tlsrpt: %s. tls_reports is as if it were no", running.settings->queue, strerror(errno));
}

void start_dmarc_reports(bool send)
{
	const struct settings *s = running.settings;

	dmarc_reports = (struct dmarcreport_config){ .hostname = s->hostname, .other = s->tls_reports, .reports_at = s->reports_at,
		.contact = s->dmarc_reports == DMARC_REPORTS_SEND ? s->dmarc_reports_text : NULL };
	if (s->dmarc_reports == DMARC_REPORTS_OFF)
		dmarcreport_stop();
	else if (dmarcreport_start(&dmarc_reports, queue_dir(), send) == -1)
		log_text(LOG_ERROR, "dmarc-report", "cannot make %s/dmarc: %s. dmarc_reports is as if it were off", s->queue, strerror(errno));
}

/* ---- the queue */

static void settled(void *arg, const struct mail *m, const struct rcpt *r, const struct result *res)
{
	control_settled(arg, m, r, res);
	sent_note(m, r, res);
}

static struct queue_config queue_as_set(bool schedule, bool inline_sync)
{
	const struct settings *s = running.settings;

	return (struct queue_config){
		.dir = s->queue, .schedule = schedule, .deliver = s->deliver, .inline_sync = inline_sync,
		.sync = inline_sync ? QUEUE_SYNC_FILE : s->queue_sync, .log_size = s->queue_log,
		.retry_first = s->retry_first, .retry_max = s->retry_max, .lifetime = s->queue_lifetime,
		.delay_notice = s->delay_notice, .message_size = s->message_size, .reserve = s->queue_reserve,
		.way = courier_way, .report = report_write, .settled = settled,
	};
}

int start_queue(bool schedule, bool inline_sync, char *why, size_t size)
{
	struct queue_config q = queue_as_set(schedule, inline_sync);

	return queue_open(&q, why, size);
}

int complain_of_queue(const char *why)
{
	if (errno == EWOULDBLOCK)
		return complain(EX_TEMPFAIL, "%s. Stop that one first, or give this one another queue", why);
	if (errno == EACCES || errno == EPERM)
		return complain(EX_CANTCREAT, "%s. This is uid %lu: give it the queue (chown -R %lu %s), or start as its owner",
			why, (unsigned long)geteuid(), (unsigned long)geteuid(), running.settings->queue);
	return complain(EX_CANTCREAT, "%s. `fardel check` tells more", why);
}

static void configure_drops(void)
{
	const struct settings *s = running.settings;

	drop = (struct drop_config){
		.queue = s->queue, .hostname = s->hostname, .origin = s->origin, .message_size = s->message_size,
		.future_max = s->future_release_max, .signer = running.signer, .send_as = &s->send_as,
	};
}

int start_drops(void)
{
	configure_drops();
	if (drop_start(&drop) == 0)
		return 0;
	return complain(EX_OSERR, "cannot watch %s/new: %s. `fardel check` tells more", running.settings->queue, strerror(errno));
}

/* ---- the server */

/* It is shown all the same: most clients do not look. */
static void warn_of_dates(const struct tls_files *files)
{
	struct tls_about about;
	char why[700], date[40];

	if (tls_check(files, running.settings->hostname, &about, why, sizeof why) && about.not_after <= loop_wall())
		log_event(LOG_WARN, "certificate-expired", LF(L_TEXT("file", files->certificate), L_TEXT("at", clock_rfc3339(about.not_after, date)),
			L_TEXT("remedy", "renew it: careful clients refuse it")));
}

int start_tls(bool now)
{
	char why[700];

	if (!running.settings->ntls)
		return 0;
	running.tls = tls_server_new(running.settings->tls, running.settings->ntls);
	if (!running.tls)
		return complain(EX_OSERR, "out of memory");
	if (!now)
		return 0;
	if (!tls_server_refresh(running.tls, why, sizeof why))
		return complain(EX_CONFIG, "tls_certificate: %s", why);
	for (size_t i = 0; i < running.settings->ntls; i++)
		warn_of_dates(&running.settings->tls[i]);
	return 0;
}

/* A file that is not there yet may come; who tries to log in before that is refused, and the log says why. */
int start_users(bool inline_work)
{
	char why[1024];

	if (!running.settings->users)
		return 0;
	if (!(users = users_new(running.settings->users)))
		return complain(EX_OSERR, "out of memory");
	users_refresh(users, why, sizeof why);
	return verify_start(inline_work) == 0 ? 0 : complain(EX_OSERR, "cannot start the login helper: %s", strerror(errno));
}

void open_sent(void)
{
	if (sent_start(queue_dir(), running.settings->sent_days) == -1)
		log_text(LOG_ERROR, "sent", "cannot make %s/sent: %s. sent_days is as if it were 0", running.settings->queue, strerror(errno));
}

static void open_reports(void)
{
	if (!running.settings->reports_at)
		reports_stop();
	else if (reports_start(queue_dir()) == -1)
		log_text(LOG_ERROR, "reports", "cannot make %s/reports: %s. What others report is not kept", running.settings->queue, strerror(errno));
}

/* Its place is the queue directory: that is open by now. */
static void open_quota(void)
{
	if (running.quota != -1 || !running.settings->users || !running.settings->user_rcpt_per_day)
		return;
	running.quota = quota_open(queue_dir(), "quota");
	if (running.quota == -1)
		log_text(LOG_ERROR, "quota", "cannot open %s/quota: %s. user_rcpt_per_day is not kept", running.settings->queue, strerror(errno));
}

static void keep_evaluation(void *arg, const struct evaluation *e)
{
	(void)arg;
	dmarcreport_note(e);
}

/* The same; it stays open until the end, as sessions of before may ask it. */
static void open_greylist(void)
{
	if (running.greylist || !running.settings->greylist)
		return;
	running.greylist = greylist_open(queue_dir(), "greylist");
	if (!running.greylist)
		log_text(LOG_ERROR, "greylist", "cannot open %s/greylist: %s. Nobody is put off", running.settings->queue, strerror(errno));
}

static void open_subject_key(void)
{
	if (running.settings->subject_pass && !judging_key(queue_dir(), true))
		log_text(LOG_ERROR, "subject-pass", "cannot read or make %s/subject-pass: %s. subject_pass is as if it were 0; remove that file if it is cut off",
			running.settings->queue, strerror(errno));
}

void open_notes(void)
{
	open_subject_key();
	open_quota();
	start_dmarc_reports(false);
	open_greylist();
	open_sent();
	open_reports();
}

void stop_users(void)
{
	dmarcreport_stop();
	if (running.quota != -1)
		close(running.quota);
	running.quota = -1;
	verify_stop();
	users_free(users);
	users = NULL;
}

/* Takes the place for it. */
static void configure_smtpd(struct smtpd_config *c)
{
	struct settings *s = running.settings;

	*c = (struct smtpd_config){
		.hostname = s->hostname, .message_size = s->message_size, .sessions_max = s->sessions_max,
		.sessions_per_address = s->sessions_per_address, .connections_per_minute = s->connections_per_minute,
		.greeting_delay_ms = s->greeting_delay_ms, .session_s = (unsigned)s->session_time,
		.milters = s->milters, .nmilters = s->nmilters, .milter_default = s->milter_default,
		.milter_connect_s = (unsigned)s->milter_connect_timeout, .milter_command_s = (unsigned)s->milter_command_timeout,
		.milter_content_s = (unsigned)s->milter_content_timeout,
		.rcpt_per_hour = s->rcpt_per_hour, .domain_per_hour = s->domain_per_hour, .greylist = s->greylist ? running.greylist : NULL,
		.greylist_delay_s = s->greylist_delay, .greylist_window_s = s->greylist_window,
		.spf = s->spf, .tls = running.tls,
		.judge = s->judge, .judge_content = s->content_filter, .first_time_s = (unsigned)s->first_time_delay,
		.users = users, .signer = running.signer, .arc_sealers = s->arc_sealers, .check_dkim = s->check_dkim, .check_iprev = s->check_iprev, .dmarc = s->dmarc,
		.evaluated = s->dmarc_reports != DMARC_REPORTS_OFF ? keep_evaluation : NULL,
		.dnsbl = s->dnsbl, .ndnsbl = s->ndnsbl, .dnsbl_refuse = (int)s->dnsbl_refuse, .origin = s->origin, .rcpt_domain_max = s->rcpt_domain_max, .mail_max = s->mail_max, .complete = true,
		.future_max = s->future_release_max, .local_domains = s->routes.local, .nlocal_domains = s->routes.nlocal,
	};
	rules_put(c);
	running.smtpd = c;
	smtpd_configure(c);
}

bool start_smtpd(void)
{
	struct smtpd_config *c = malloc(sizeof *c);

	if (c)
		configure_smtpd(c);
	return c;
}

/* ---- other settings */

void settings_changed(struct smtpd_config *smtpd)
{
	struct queue_config q;

	configure_log();
	configure_aliases();
	configure_sending();
	start_policies();
	start_tls_reports(true);
	start_dmarc_reports(true);
	configure_drops();
	open_subject_key();
	open_greylist();
	configure_smtpd(smtpd);
	open_quota();
	open_sent();
	open_reports();
	q = queue_as_set(true, false);
	queue_reconfigure(&q);
	figures_write_to(running.settings->metrics_file);
}
