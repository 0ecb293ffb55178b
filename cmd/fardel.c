/* fardel: the program. main() by argv[0], and the commands that connect the modules: serve, inetd, flush. */
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "auth/users.h"
#include "auth/token.h"
#include "auth/verify.h"
#include "cmd/confine.h"
#include "cmd/control.h"
#include "cmd/courier.h"
#include "cmd/drop.h"
#include "cmd/expand.h"
#include "cmd/fardel.h"
#include "cmd/figures.h"
#include "cmd/judging.h"
#include "cmd/report.h"
#include "cmd/settings.h"
#include "cmd/signing.h"
#include "cmd/tlsreport.h"
#include "deliver/alias.h"
#include "deliver/hosts.h"
#include "deliver/maildir.h"
#include "deliver/recall.h"
#include "deliver/stscache.h"
#include "deliver/tlsseen.h"
#include "dns.h"
#include "lib/account.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/rand.h"
#include "lib/root.h"
#include "lib/suffix.h"
#include "lib/tls.h"
#include "parse.h"
#include "policy/evaluation.h"
#include "policy/greylist.h"
#include "policy/quota.h"
#include "policy/sender.h"
#include "queue.h"
#include "smtpd.h"

enum {
	FORMERS_MS = 60000,             /* how often is looked whether settings of before are still needed */
	STOP_MS = 20000                 /* for sessions and deliveries that have begun, when we are told to stop */
};

static struct settings first, *settings = &first;
static struct smtpd_config *smtpd;              /* of new sessions; those that have begun keep theirs */
static struct courier_config courier;
static struct tls_trust *trust;
static struct report_config report;
static struct drop_config drop;
static struct mx_self self;
static struct stscache_config policies;
static bool policies_open;
static struct tlsreport_config tls_reports;
static struct tls_server *tls;
static struct users *users;
static struct signer *signer;                   /* DKIM keys; NULL: none are set */
static struct aliases *aliases;
static struct greylist *greylist;               /* NULL: off, or it cannot be opened */
static int quota = -1;                          /* how much users have sent */
static struct daily evaluations = { .dir = -1, .fd = -1 };        /* for reports of DMARC */
static bool verbose;
static char fallback[4096];

/* ---- rules that connect modules */

static bool may_relay(const struct subject *s)
{
	return s->local || *s->user || networks_hold(&settings->relay_from, (const struct sockaddr *)&s->peer);
}

static bool trusted_rule(void *arg, const struct subject *s)
{
	(void)arg;
	return may_relay(s);
}

static bool proxy_rule(void *arg, const struct subject *s)
{
	(void)arg;
	return networks_hold(&settings->proxy_from, (const struct sockaddr *)&s->peer);
}

static bool xclient_rule(void *arg, const struct subject *s)
{
	(void)arg;
	return networks_hold(&settings->xclient_from, (const struct sockaddr *)&s->peer);
}

/* Asked of strangers: what claims to come from a domain must be able to go back there. Domains with a way of their own have one. */
static enum verdict mail_rule(void *arg, const struct subject *s, struct facts *f, const struct sender *from, struct reply *why)
{
	char domain[DOMAIN_MAX + 1];
	struct route r;

	(void)arg;
	(void)s;
	str_copy(domain, sizeof domain, from->addr.domain);
	for (char *c = domain; *c; c++)
		*c = ascii_lower(*c);
	route_find(&settings->routes, str_of(domain), NULL, &r);
	return r.kind == ROUTE_MX ? sender_domain(f, &from->addr, why) : ACCEPT;
}

/* A stolen password shall not send for long. Counted once, when all else is well. */
static bool within_quota(const struct subject *s, struct reply *why)
{
	if (!*s->user || !settings->user_rcpt_per_day || quota_take(quota, str_of(s->user), settings->user_rcpt_per_day, loop_wall()))
		return true;
	reply_set(why, 451, "4.7.1", "%s has had %u recipients today; try again tomorrow", s->user, settings->user_rcpt_per_day);
	return false;
}

/* An alias may go where it likes: nobody but us has said so. */
static enum alias_answer look_for_alias(struct facts *f, const struct addr *to, struct reply *why)
{
	struct expansion x = { 0 };
	enum alias_answer answer;

	aliases_refresh(aliases);
	answer = alias_expand(aliases, f, to, &x);
	if (answer == ALIAS_FAILED) {
		*why = x.why;
		if (x.trouble[0] && x.why.code != 550)
			log_text(LOG_WARN, "alias", "%s", x.trouble);
	}
	expansion_free(&x);
	return answer;
}

/* Who may come in: aliases, local users that exist, and anything from where relaying is allowed. */
static enum verdict rcpt_rule(void *arg, const struct subject *s, struct facts *f, const struct recipient *to, struct reply *why)
{
	char domain[DOMAIN_MAX + 1];
	const struct fact *box;
	struct route r;

	(void)arg;
	str_copy(domain, sizeof domain, to->addr.domain);
	for (char *c = domain; *c; c++)
		*c = ascii_lower(*c);
	route_find(&settings->routes, str_of(domain), NULL, &r);
	if (!may_relay(s) && r.kind != ROUTE_LOCAL && !route_is_local(&settings->routes, str_of(domain))) {
		reply_set(why, 550, "5.7.1", "relaying to %s is not allowed from %s", domain, s->peer_text);
		return REFUSE;
	}
	switch (look_for_alias(f, &to->addr, why)) {
	case ALIAS_WAIT:
		return WAIT;
	case ALIAS_FAILED:
		return REFUSE;
	case ALIAS_FOUND:
		return within_quota(s, why) ? ACCEPT : REFUSE;
	case ALIAS_NONE:
		break;
	}
	if (r.kind != ROUTE_LOCAL)
		return within_quota(s, why) ? ACCEPT : REFUSE;
	box = fact(f, FACT_MAILBOX, to->addr.local);
	if (!box)
		return WAIT;
	switch (box->outcome) {
	case FOUND:
		if (box->n > 1 && !may_relay(s)) {      /* full, and who comes again will find out when it is not */
			reply_set(why, settings->refuse_full ? 552 : 452, settings->refuse_full ? "5.2.2" : "4.2.2", "the mailbox is full");
			return REFUSE;
		}
		return within_quota(s, why) ? ACCEPT : REFUSE;
	case NO_NAME:
	case NO_DATA:
		reply_set(why, 550, "5.1.1", "no such user here");
		return REFUSE;
	case UNKNOWN:
		break;
	}
	reply_set(why, 451, "4.3.0", "cannot look the mailbox up now; try again later");
	return REFUSE;
}

static enum verdict judge_rule(void *arg, struct facts *f, const struct addr *to, const struct judge_message *m, bool late, struct judgement *out)
{
	(void)arg;
	aliases_refresh(aliases);
	return judging_decide(settings, aliases, f, to, m, late, out, NULL);
}

static void keep_rule(void *arg, struct refused *r)
{
	(void)arg;
	recall_keep(r);
}

/* The user's name is that of his mailbox, with a domain or without. */
static void wrote_rule(void *arg, const struct subject *s, const struct addr *to)
{
	struct str domain = str_of(s->user), local;
	struct buf address = { .max = ADDR_MAX };

	(void)arg;
	if (!str_cut_last(&domain, '@', &local))
		local = domain;
	if (print_addr(&address, to))
		recall_wrote(local, buf_view(&address));
	buf_free(&address);
}

static unsigned port_of(const struct sockaddr *a)
{
	return ntohs(a->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)(const void *)a)->sin6_port :
		((const struct sockaddr_in *)(const void *)a)->sin_port);
}

static bool same_host(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 && memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
		&((const struct sockaddr_in6 *)(const void *)b)->sin6_addr, 16) == 0;
}

static bool is_any(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr == htonl(INADDR_ANY);
	return memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, &in6addr_any, 16) == 0;
}

static bool is_interface(const struct sockaddr *a)
{
	struct ifaddrs *all, *x;
	bool found = false;

	if (getifaddrs(&all) == -1)
		return false;
	for (x = all; x && !found; x = x->ifa_next)
		found = x->ifa_addr && same_host(x->ifa_addr, a);
	freeifaddrs(all);
	return found;
}

static bool is_loopback(const struct sockaddr *a)
{
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;

	if (a->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

/* An MX address that we listen on ourselves is a loop (RFC 5321 5.1). So is this machine's inside when the world's port is
 * meant: no public domain gets its mail there. */
static bool is_own(const struct sockaddr *a)
{
	if (settings->smtp_port == 25 && (is_loopback(a) || is_any(a)))
		return true;
	for (size_t i = 0; i < settings->nlisten; i++) {
		const struct sockaddr *l = (const struct sockaddr *)&settings->listen[i].addr;

		if (l->sa_family != AF_UNIX && port_of(l) == port_of(a) && (same_host(l, a) || (is_any(l) && is_interface(a))))
			return true;
	}
	return false;
}

/* ---- starting */

static int complain(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int complain(int status, const char *fmt, ...)
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
	log_written_as(settings->log_format);
	log_threshold(verbose ? LOG_DEBUG : settings->log_level);
}

static int load(int argc, char **argv)
{
	int status;

	verbose = take_verbose(&argc, argv);
	status = settings_for_command(settings, argc, argv);
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

	if (!settings->user)
		return 0;
	if ((why = account_find(settings->user, &a)))
		return complain(EX_CONFIG, "%s: user = %s %s", conf_where(&settings->conf, "user"), settings->user, why);
	if (geteuid() == 0 && account_make_first(&a, settings->queue) == -1)
		return complain(EX_CANTCREAT, "cannot make the queue %s for %s: %s. Make it by hand and give it to that account",
			settings->queue, a.name, strerror(errno));
	return account_settle(&a, text, sizeof text) == 0 ? 0 : complain(EX_NOPERM, "%s", text);
}

/* Everything that the account must be able to do is done as the account: then it can be done again later, as after a rotation. */
static int settle(void)
{
	int status = give_up_root();

	if (status)
		return status;
	if (log_open(settings->log) == 0)
		return 0;
	return complain(EX_CANTCREAT, "cannot open the log %s as uid %lu: %s. Make a file there that belongs to it, or set log = stderr or syslog",
		settings->log, (unsigned long)geteuid(), strerror(errno));
}

/* ---- what stays root */

static const char **closed;             /* files that the account need not be able to read */
static bool rooted;                     /* what stays root is root: it starts children of all users */

static struct maildir_config mailboxes(bool inline_work)
{
	snprintf(fallback, sizeof fallback, "%s/postmaster", settings->queue);
	return (struct maildir_config){
		.template = settings->mailbox, .postmaster = settings->postmaster, .fallback = fallback, .hostname = settings->hostname,
		.inline_work = inline_work, .separator = settings->separator, .users = rooted || inline_work, .pipes = settings->pipes,
		.quota = settings->mailbox_quota, .refuse_full = settings->refuse_full, .detail_folders = settings->detail_folders,
		.pipe_user = settings->pipe_user, .aliases = settings->aliases, .virtual = settings->virtual, .folders = judging_folders(settings),
	};
}

static void forget_passwords(void)
{
	for (size_t i = 0; i < settings->routes.n; i++)
		explicit_bzero(&settings->routes.rule[i].login, sizeof settings->routes.rule[i].login);
}

static size_t name_closed_files(void)
{
	size_t n = 0;

	for (size_t i = 0; i < settings->ntls; i++) {
		closed[n++] = settings->tls[i].certificate;
		closed[n++] = settings->tls[i].key;
	}
	for (size_t i = 0; i < settings->ndkim; i++)
		closed[n++] = settings->dkim[i].file;
	for (size_t i = 0; i < settings->routes.n; i++)
		if (settings->routes.rule[i].login.file[0])
			closed[n++] = settings->routes.rule[i].login.file;
	if (settings->users)
		closed[n++] = settings->users;
	if (settings->file)
		closed[n++] = settings->file;
	return n;
}

/* Before anything else is open or known that it need not have. Who is not root has a use for it only where he runs commands: the
 * server itself will be shut in, and so would they. */
static int start_root(void)
{
	static struct root_config r;
	struct maildir_config m = mailboxes(false);
	const char *why;

	rooted = geteuid() == 0 && settings->user;
	if (!rooted && !settings->pipes)
		return 0;
	m.users = rooted;
	if ((why = maildir_configure(&m)))
		return complain(EX_CONFIG, "%s", why);
	closed = calloc(2 * settings->ntls + settings->ndkim + settings->routes.n + 2, sizeof *closed);
	if (!closed)
		return complain(EX_OSERR, "out of memory");
	r = (struct root_config){ .file = closed, .nfiles = name_closed_files(), .forget = forget_passwords, .main = maildir_user_main };
	if (root_start(&r) == -1)
		return complain(EX_OSERR, "the process that stays root cannot be started: %s", strerror(errno));
	file_closed = rooted ? root_open : NULL;
	return 0;
}

static void stop_root(void)
{
	file_closed = NULL;
	root_stop();
	free(closed);
}

static unsigned bad_keys;

static void complain_key(const struct dkim_words *w, const char *why)
{
	complain(EX_CONFIG, "%s: dkim_key: %s", w->where, why);
	bad_keys++;
}

/* Before root ends: the account need not be able to read the keys. */
static int start_signing(void)
{
	if (!settings->ndkim)
		return 0;
	signer = signing_keys(settings, complain_key);
	return !signer ? complain(EX_OSERR, "out of memory") : bad_keys ? EX_CONFIG : 0;
}

/* Who takes mail from strangers asks; who only delivers what was taken does not. */
static int start_judging(bool inline_work)
{
	const char *why = judging_start(settings, inline_work, false);

	return why ? complain(EX_OSERR, "%s: %s", why, strerror(errno)) : 0;
}

static int start_mailboxes(bool inline_work)
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
	struct alias_config a = settings_aliases(settings);

	aliases_configure(aliases, &a);
	settings->routes.also_local = aliases_have_domain;
	settings->routes.also_arg = aliases;
}

/* A file with an error is no reason not to start: mail for names of this host waits, all other mail goes. But where the domains of virtual
 * users cannot be told, their mail would be refused for good. */
static int start_aliases(void)
{
	struct alias_config a = settings_aliases(settings);

	if (!(aliases = aliases_new(&a)))
		return complain(EX_OSERR, "out of memory");
	configure_aliases();
	if (settings->virtual && access(settings->virtual, R_OK) == -1)
		return complain(EX_CONFIG, "%s: virtual = %s: %s. Make the file, or take the setting out", conf_where(&settings->conf, "virtual"),
			settings->virtual, strerror(errno));
	aliases_refresh(aliases);
	expand_configure(aliases);
	return 0;
}

static int start_dns(void)
{
	static struct dns_config d;
	const char *why;

	d = (struct dns_config){ .resolvers = settings->resolver };
	why = dns_start(&d);
	if (why)
		return complain(EX_CONFIG, "%s", why);
	for (int k = FACT_A; k <= FACT_TLSA; k++)
		facts_source((enum fact_kind)k, dns_source());
	facts_source(FACT_HOSTS, hosts_source());
	return 0;
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
	for (size_t i = 0; i < settings->routes.n; i++)
		if (settings->routes.rule[i].login.command[0])
			return true;
	return false;
}

static bool tokens;                             /* their helper was started before we were confined */

static int start_tokens(void)
{
	tokens = wants_tokens();
	return tokens && token_start() == -1 ? complain(EX_OSERR, "the helper for token_command: %s", strerror(errno)) : 0;
}

static bool wants_policies(void) { return settings->mta_sts && settings->tls_out != TLS_OUT_NO; }

static void configure_sending(void)
{
	policies = (struct stscache_config){ .trust = trust, .source = settings->source, .port = settings->mta_sts_port, .inet = settings->inet };
	self = (struct mx_self){ .hostname = settings->hostname, .dane = settings->tls_out != TLS_OUT_NO, .mta_sts = policies_open && wants_policies(),
		.inet = settings->inet, .is_own = is_own };
	courier = (struct courier_config){ .hostname = settings->hostname, .marker = marker(), .routes = &settings->routes, .self = &self, .trust = trust, .source = settings->source,
		.proxy = settings->proxy_out.len ? &settings->proxy_out : NULL, .tls_rules = &settings->tls_rules, .tls = settings->tls_out == TLS_OUT_NO ? CLIENT_TLS_NO : settings->tls_out == TLS_OUT_MAY ? CLIENT_TLS_MAY : CLIENT_TLS_MUST };
	courier.mix = settings->mix_domains;
	courier.note_tls = settings->tls_reports ? tlsreport_note : NULL;
	courier_configure(&courier);
	report = (struct report_config){ .hostname = settings->hostname, .queue_lifetime = settings->queue_lifetime, .signer = signer };
	report_configure(&report);
}

static int start_sending(void)
{
	int status = settings_can_send(settings) ? start_dns() : settings_complain(settings);

	if (status)
		return status;
	trust = tls_trust_new(settings->tls_ca);
	if (!trust)
		return complain(EX_OSERR, "out of memory");
	configure_sending();
	return 0;
}

/* Other domains' policies are kept in the queue directory: that is open by now. Who wants them no more fetches none, either. */
static void start_policies(void)
{
	tlsseen_stop();
	if (tlsseen_start(queue_dir(), "tls-seen", true) == -1)
		log_text(LOG_ERROR, "tls-seen", "cannot open %s/tls-seen: %s. Which domains have used TLS is not kept", settings->queue, strerror(errno));
	if (policies_open && !wants_policies()) {
		stscache_stop();
		policies_open = false;
	}
	if (policies_open || !wants_policies())
		return;
	if (stscache_start(&policies, queue_dir()) == -1) {
		log_text(LOG_ERROR, "policies", "cannot open %s/mta-sts: %s. Policies of other domains (MTA-STS) are not looked at", settings->queue,
			strerror(errno));
		return;
	}
	facts_source(FACT_POLICY, stscache_source());
	policies_open = self.mta_sts = true;
}

/* Likewise. send: this process also makes the reports; else it only writes down what another one tells. */
static void start_tls_reports(bool send)
{
	tls_reports = (struct tlsreport_config){ .hostname = settings->hostname, .contact = settings->tls_reports };
	if (!settings->tls_reports)
		tlsreport_stop();
	else if (tlsreport_start(&tls_reports, queue_dir(), send) == -1)
		log_text(LOG_ERROR, "tls-report", "cannot make %s/tlsrpt: %s. tls_reports is as if it were no", settings->queue, strerror(errno));
}

static struct queue_config queue_as_set(bool schedule, bool inline_sync)
{
	return (struct queue_config){
		.dir = settings->queue, .schedule = schedule, .deliver = settings->deliver, .inline_sync = inline_sync,
		.sync = inline_sync ? QUEUE_SYNC_FILE : settings->queue_sync, .log_size = settings->queue_log,
		.retry_first = settings->retry_first, .retry_max = settings->retry_max, .lifetime = settings->queue_lifetime,
		.delay_notice = settings->delay_notice, .message_size = settings->message_size, .reserve = settings->queue_reserve,
		.way = courier_way, .report = report_write, .settled = control_settled,
	};
}

/* The errno of queue_open() stays: EWOULDBLOCK says that somebody else delivers. */
static int open_queue(bool schedule, bool inline_sync, char *why, size_t size)
{
	struct queue_config q = queue_as_set(schedule, inline_sync);

	return queue_open(&q, why, size);
}

static int no_queue(const char *why)
{
	if (errno == EWOULDBLOCK)
		return complain(EX_TEMPFAIL, "%s. Stop that one first, or give this one another queue", why);
	if (errno == EACCES || errno == EPERM)
		return complain(EX_CANTCREAT, "%s. This is uid %lu: give it the queue (chown -R %lu %s), or start as its owner",
			why, (unsigned long)geteuid(), (unsigned long)geteuid(), settings->queue);
	return complain(EX_CANTCREAT, "%s. `fardel check` tells more", why);
}

static void configure_drops(void)
{
	drop = (struct drop_config){
		.queue = settings->queue, .hostname = settings->hostname, .origin = settings->origin, .message_size = settings->message_size,
		.future_max = settings->future_release_max, .signer = signer, .send_as = &settings->send_as,
	};
}

static int start_drops(void)
{
	configure_drops();
	if (drop_start(&drop) == 0)
		return 0;
	return complain(EX_OSERR, "cannot watch %s/new: %s. `fardel check` tells more", settings->queue, strerror(errno));
}

/* It is shown all the same: most clients do not look. */
static void warn_of_dates(const struct tls_files *files)
{
	struct tls_about about;
	char why[700], date[40];

	if (tls_check(files, settings->hostname, &about, why, sizeof why) && about.not_after <= loop_wall())
		log_event(LOG_WARN, "certificate-expired", LF(L_TEXT("file", files->certificate), L_TEXT("at", clock_rfc3339(about.not_after, date)),
			L_TEXT("remedy", "renew it: careful clients refuse it")));
}

/* A daemon that begins with a certificate that cannot be used would be noticed too late. One session of a super-server reads
 * it when it is asked for TLS, and says 454 if it must. */
static int start_tls(bool now)
{
	char why[700];

	if (!settings->ntls)
		return 0;
	tls = tls_server_new(settings->tls, settings->ntls);
	if (!tls)
		return complain(EX_OSERR, "out of memory");
	if (!now)
		return 0;
	if (!tls_server_refresh(tls, why, sizeof why))
		return complain(EX_CONFIG, "tls_certificate: %s", why);
	for (size_t i = 0; i < settings->ntls; i++)
		warn_of_dates(&settings->tls[i]);
	return 0;
}

/* A file that is not there yet may come; who tries to log in before that is refused, and the log says why. */
static int start_users(bool inline_work)
{
	char why[1024];

	if (!settings->users)
		return 0;
	if (!(users = users_new(settings->users)))
		return complain(EX_OSERR, "out of memory");
	users_refresh(users, why, sizeof why);
	return verify_start(inline_work) == 0 ? 0 : complain(EX_OSERR, "cannot start the login helper: %s", strerror(errno));
}

/* Its place is the queue directory: that is open by now. */
static void open_quota(void)
{
	if (quota != -1 || !settings->users || !settings->user_rcpt_per_day)
		return;
	quota = quota_open(queue_dir(), "quota");
	if (quota == -1)
		log_text(LOG_ERROR, "quota", "cannot open %s/quota: %s. user_rcpt_per_day is not kept", settings->queue, strerror(errno));
}

static void open_evaluations(void)
{
	if (evaluations.dir != -1 || settings->dmarc_reports == DMARC_REPORTS_OFF)
		return;
	if (evaluations_open(&evaluations, queue_dir()) == -1)
		log_text(LOG_ERROR, "evaluations", "cannot make %s/dmarc: %s. dmarc_reports is as if it were off", settings->queue, strerror(errno));
}

static void keep_evaluation(void *arg, const struct evaluation *e)
{
	(void)arg;
	evaluations_keep(&evaluations, e);
}

/* The same; it stays open until the end, as sessions of before may ask it. */
static void open_greylist(void)
{
	if (greylist || !settings->greylist)
		return;
	greylist = greylist_open(queue_dir(), "greylist");
	if (!greylist)
		log_text(LOG_ERROR, "greylist", "cannot open %s/greylist: %s. Nobody is put off", settings->queue, strerror(errno));
}

static void stop_users(void)
{
	daily_close(&evaluations);
	if (quota != -1)
		close(quota);
	quota = -1;
	verify_stop();
	users_free(users);
	users = NULL;
}

/* Takes the place for it. */
static void configure_smtpd(struct smtpd_config *c)
{
	*c = (struct smtpd_config){
		.hostname = settings->hostname, .message_size = settings->message_size, .sessions_max = settings->sessions_max,
		.sessions_per_address = settings->sessions_per_address, .connections_per_minute = settings->connections_per_minute,
		.greeting_delay_ms = settings->greeting_delay_ms, .session_s = (unsigned)settings->session_time,
		.milters = settings->milters, .nmilters = settings->nmilters, .milter_default = settings->milter_default,
		.milter_connect_s = (unsigned)settings->milter_connect_timeout, .milter_command_s = (unsigned)settings->milter_command_timeout,
		.milter_content_s = (unsigned)settings->milter_content_timeout,
		.rcpt_per_hour = settings->rcpt_per_hour, .domain_per_hour = settings->domain_per_hour, .greylist = settings->greylist ? greylist : NULL,
		.greylist_delay_s = settings->greylist_delay, .greylist_window_s = settings->greylist_window,
		.spf = settings->spf, .mail = settings->check_sender ? mail_rule : NULL, .rcpt = rcpt_rule, .trusted = trusted_rule, .proxy = proxy_rule, .xclient = xclient_rule, .tls = tls,
		.judge = settings->judge, .judge_content = settings->content_filter, .first_time_s = (unsigned)settings->first_time_delay, .judge_rcpt = judge_rule,
		.keep = settings->rejects_folder ? keep_rule : NULL, .wrote = settings->judge != SMTPD_JUDGE_OFF ? wrote_rule : NULL,
		.users = users, .signer = signer, .check_dkim = settings->check_dkim, .check_iprev = settings->check_iprev, .dmarc = settings->dmarc,
		.evaluated = settings->dmarc_reports != DMARC_REPORTS_OFF ? keep_evaluation : NULL,
		.dnsbl = settings->dnsbl, .ndnsbl = settings->ndnsbl, .dnsbl_refuse = (int)settings->dnsbl_refuse, .origin = settings->origin, .rcpt_domain_max = settings->rcpt_domain_max, .mail_max = settings->mail_max, .complete = true,
		.future_max = settings->future_release_max, .local_domains = settings->routes.local, .nlocal_domains = settings->routes.nlocal,
	};
	smtpd = c;
	smtpd_configure(smtpd);
	suffix_available();
}

static bool start_smtpd(void)
{
	struct smtpd_config *c = malloc(sizeof *c);

	if (c)
		configure_smtpd(c);
	return c;
}

/* ---- serve */

static const char *local_path(const struct listen_on *l) { return ((const struct sockaddr_un *)(const void *)&l->addr)->sun_path; }

static int cannot_listen(const struct listen_on *l)
{
	return complain(EX_UNAVAILABLE, "%s: cannot listen on %s: %s.%s", l->where, l->text, strerror(errno),
		errno == EADDRINUSE ? " Another program has it; stop that one or choose another port" :
		errno == EACCES ? " Ports below 1024 need root or CAP_NET_BIND_SERVICE" :
		errno == EADDRNOTAVAIL ? " Choose an address of this host, or * for all" :
		errno == ENOENT ? " Make the directory that it shall lie in" : " Choose another address or port");
}

/* A socket that nobody listens on any more is the leftover of a server that was killed. */
static void remove_stale(const struct listen_on *l)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd == -1)
		return;
	if (connect(fd, (const struct sockaddr *)&l->addr, l->len) == -1 && errno == ECONNREFUSED &&
	    lstat(local_path(l), &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(local_path(l));
	close(fd);
}

/* Who connects is known by the kernel (SO_PEERCRED): every account of this machine may. */
static int open_local(struct listen_on *l)
{
	remove_stale(l);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd == -1 || bind(l->fd, (const struct sockaddr *)&l->addr, l->len) == -1 || chmod(local_path(l), 0666) == -1 ||
	    listen(l->fd, 1024) == -1)
		return cannot_listen(l);
	return 0;
}

/* Clients that come before we accept wait in the backlog. */
static int open_port(struct listen_on *l)
{
	int on = 1, only_six;

	if (l->service == SMTPD_LOCAL)
		return open_local(l);
	only_six = !is_any((const struct sockaddr *)&l->addr);  /* "*" is IPv4 as well */
	l->fd = socket(l->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd == -1)
		return cannot_listen(l);
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (l->addr.ss_family == AF_INET6)
		setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_six, sizeof only_six);
	if (bind(l->fd, (const struct sockaddr *)&l->addr, l->len) == -1 || listen(l->fd, 1024) == -1)
		return cannot_listen(l);
	return 0;
}

static int open_ports(void)
{
	int status = 0;

	for (size_t i = 0; i < settings->nlisten && !status; i++)
		status = open_port(&settings->listen[i]);
	return status;
}

static int accept_on_ports(void)
{
	for (size_t i = 0; i < settings->nlisten; i++) {
		struct listen_on *l = &settings->listen[i];

		if (smtpd_listen(l->fd, l->service) == -1)
			return cannot_listen(l);
		l->fd = -1;
		log_event(LOG_INFO, "listening", LF(L_TEXT("on", l->text)));
	}
	return 0;
}

static struct timer stop_timer;
static struct turn_end stop_watch;
static bool stopping, stop_now;

static void stop_late(struct timer *t)
{
	(void)t;
	stop_now = true;
	loop_stop();
}

static void stop_when_done(struct turn_end *e)
{
	(void)e;
	if (stopping && smtpd_sessions() == 0 && queue_drained())
		loop_stop();
}

static void on_stop(int signo)
{
	if (stopping) {                 /* asked twice: at once; everything accepted is on disk */
		stop_late(&stop_timer);
		return;
	}
	stopping = true;
	log_text(LOG_INFO, "stopping", "signal %d; sessions and deliveries that have begun may end", signo);
	smtpd_stop();
	drop_stop();
	queue_drain();
	stop_timer.expired = stop_late;
	timer_set(&stop_timer, STOP_MS);
	stop_watch.run = stop_when_done;
	loop_at_turn_end(&stop_watch);
}

/* ---- other settings while we run */

/* What was in force before: sessions and connections that began then still point to it, so it stays until none of them is left. */
struct former {
	struct former *next;
	struct settings *settings;
	struct smtpd_config *smtpd;
	struct tls_trust *trust;        /* those that have been replaced; else NULL */
	struct tls_server *tls;
};
static struct former *formers;
static struct timer former_timer;

static void free_settings(struct settings *s)
{
	settings_free(s);
	if (s != &first)
		free(s);
}

/* Goes when none of its sessions is left and no connection of any age. */
static bool in_use(const struct former *f)
{
	return smtpd_sessions_of(f->smtpd) || !queue_drained();
}

static void free_former(struct former *f)
{
	free_settings(f->settings);
	free(f->smtpd);
	tls_trust_free(f->trust);
	tls_server_free(f->tls);
	free(f);
}

static void free_formers(bool all)
{
	struct former **at = &formers;

	while (*at) {
		struct former *f = *at;

		if (!all && in_use(f)) {
			at = &f->next;
			continue;
		}
		*at = f->next;
		free_former(f);
	}
}

static void look_at_formers(struct timer *t)
{
	free_formers(false);
	if (formers)
		timer_set(t, FORMERS_MS);
}

static bool same_text(const char *a, const char *b) { return a && b ? !strcmp(a, b) : a == b; }

static bool same_certificates(const struct settings *a, const struct settings *b)
{
	bool same = a->ntls == b->ntls;

	for (size_t i = 0; same && i < a->ntls; i++)
		same = !strcmp(a->tls[i].certificate, b->tls[i].certificate) && !strcmp(a->tls[i].key, b->tls[i].key);
	return same;
}

/* Makes what cannot be lent from one to the other. False: *why says what is wrong, and nothing has changed. */
static bool renew(const struct settings *fresh, struct former *f, char *why, size_t size)
{
	struct tls_trust *new_trust = same_text(settings->tls_ca, fresh->tls_ca) ? trust : tls_trust_new(fresh->tls_ca);
	struct tls_server *new_tls = same_certificates(settings, fresh) ? tls : fresh->ntls ? tls_server_new(fresh->tls, fresh->ntls) : NULL;
	bool ok = new_trust && (new_tls || !fresh->ntls);

	snprintf(why, size, "out of memory");
	if (ok && new_tls && new_tls != tls)
		ok = tls_server_refresh(new_tls, why, size);
	if (!ok) {
		if (new_trust != trust)
			tls_trust_free(new_trust);
		if (new_tls != tls)
			tls_server_free(new_tls);
		return false;
	}
	f->trust = new_trust == trust ? NULL : trust;
	f->tls = new_tls == tls ? NULL : tls;
	trust = new_trust;
	tls = new_tls;
	return true;
}

static bool take_over(struct settings *fresh, char *why, size_t size)
{
	struct former *f = calloc(1, sizeof *f);
	struct smtpd_config *c = malloc(sizeof *c);
	struct queue_config q;

	if (!f || !c || !renew(fresh, f, why, size)) {
		free(f);
		free(c);
		return false;
	}
	if (strcmp(settings->log, fresh->log) != 0 && log_open(fresh->log) == -1)
		log_text(LOG_ERROR, "log", "cannot open %s: %s. The old one goes on", fresh->log, strerror(errno));
	free_formers(false);
	f->settings = settings;
	f->smtpd = smtpd;
	f->next = formers;
	formers = f;
	settings = fresh;
	configure_log();
	configure_aliases();
	configure_sending();
	start_policies();
	start_tls_reports(true);
	configure_drops();
	open_greylist();
	configure_smtpd(c);
	open_quota();
	open_evaluations();
	q = queue_as_set(true, false);
	queue_reconfigure(&q);
	figures_write_to(settings->metrics_file);
	former_timer.expired = look_at_formers;
	timer_set(&former_timer, FORMERS_MS);
	return true;
}

static void log_complaints(struct str lines)
{
	struct str line;

	while (str_cut(&lines, '\n', &line))
		log_text(LOG_ERROR, "settings", STR_FMT, STR_ARG(line));
	log_text(LOG_ERROR, "settings", "there are mistakes in the settings: the old ones stay in force. `fardel check` shows them, too");
}

static void reload(void)
{
	struct settings *fresh = calloc(1, sizeof *fresh);
	struct buf changed = { 0 }, at_start = { 0 };
	char why[1024] = "out of memory";
	bool taken = false;

	if (fresh && !(settings_load(fresh, &settings->said) && settings_can_send(fresh)))
		log_complaints(buf_view(&fresh->conf.errors));
	else if (!fresh || !conf_changed(&settings->conf, &fresh->conf, &changed, &at_start))
		log_text(LOG_ERROR, "settings", "%s: the old ones stay in force", why);
	else if (at_start.n)
		log_text(LOG_ERROR, "settings", "%s can only be changed by a restart. Until then all the old settings stay in force", buf_cstr(&at_start));
	else if (!changed.n)
		log_text(LOG_INFO, "settings", "nothing has changed in them");
	else if (!(taken = take_over(fresh, why, sizeof why)))
		log_text(LOG_ERROR, "settings", "%s. The old settings stay in force", why);
	else
		log_text(LOG_INFO, "settings", "in force now: %s", buf_cstr(&changed));
	if (taken && wants_tokens() && !tokens && settings->sandbox != CONFINE_NO)
		log_text(LOG_ERROR, "settings", "route: the first token_command needs a restart: a server that is confined executes no programs");
	buf_free(&changed);
	buf_free(&at_start);
	if (fresh && !taken)
		free_settings(fresh);
}

static void on_reopen(int signo)
{
	(void)signo;
	if (log_reopen() == -1)
		log_text(LOG_ERROR, "log", "cannot open %s again: %s", settings->log, strerror(errno));
}

static void on_reload(int signo)
{
	on_reopen(signo);
	if (!stopping)
		reload();
}

static void on_retry(int signo)
{
	(void)signo;
	queue_wake();
	drop_look();
}

static void on_signals(bool reads_again)
{
	loop_on_signal(SIGTERM, on_stop);
	loop_on_signal(SIGINT, on_stop);
	loop_on_signal(SIGHUP, reads_again ? on_reload : on_reopen);
	loop_on_signal(SIGUSR1, on_reopen);
	loop_on_signal(SIGALRM, on_retry);
}

/* What root is needed for comes first. */
static int run_server(void)
{
	char why[1024];
	int status;

	if ((status = start_root()) || (status = open_ports()) || (status = start_signing()) || (status = settle()) || (status = start_mailboxes(false)) || (status = start_judging(false)) || (status = start_aliases()) ||
	    (status = start_sending()) ||
	    (status = start_tls(true)) || (status = start_users(false)))
		return status;
	if (open_queue(true, false, why, sizeof why) == -1)
		return no_queue(why);
	open_quota();
	open_evaluations();
	open_greylist();
	if (!start_smtpd())
		return complain(EX_OSERR, "out of memory");
	start_policies();
	start_tls_reports(true);
	control_start(settings);
	if ((status = start_drops()) || (status = accept_on_ports()) || (status = start_tokens()) || (status = confine(settings)))
		return status;
	if (smtpd_places() < settings->sessions_max)
		log_text(LOG_WARN, "descriptors", "the limit of open files leaves room for %u of sessions_max = %u sessions: raise it (ulimit -n, or "
			"LimitNOFILE= of the service), or lower sessions_max", smtpd_places(), settings->sessions_max);
	on_signals(true);
	log_event(LOG_INFO, "started", LF(L_TEXT("version", FARDEL_VERSION), L_TEXT("hostname", settings->hostname), L_TEXT("queue", settings->queue),
		L_NUM("uid", (long long)geteuid()), L_NUM("entries", (long long)queue_entries())));
	figures_write_to(settings->metrics_file);
	loop_run();
	figures_write_to(NULL);
	return 0;
}

static int cmd_serve(int argc, char **argv)
{
	static const int early[] = { SIGHUP, SIGUSR1, SIGALRM };        /* before there is anything that they could mean */
	int status;

	for (size_t i = 0; i < sizeof early / sizeof *early; i++)
		signal(early[i], SIG_IGN);
	status = load(argc, argv);
	if (!status) {
		status = run_server();
		control_stop();
		drop_stop();
		tlsreport_stop();
		queue_close();
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
	greylist_close(greylist);
	tls_server_free(tls);
	aliases_free(aliases);
	signer_free(signer);
	free_settings(settings);
	free_formers(true);
	free(smtpd);
	return status;
}

/* ---- inetd: one session on descriptors 0 and 1; what it takes lies in queue/in until somebody delivers */

static bool session_over;
static enum smtpd_service session_service;       /* zero: other servers */

static void session_ended(void)
{
	session_over = true;
}

static int run_session(void)
{
	char why[1024];
	int status, out;

	if ((status = start_mailboxes(true)) || (status = start_judging(true)) || (status = start_aliases()) || (status = start_tls(false)) || (status = start_users(true)) ||
	    ((settings->check_sender || settings->spf != SMTPD_SPF_OFF || settings->check_dkim || settings->ndnsbl || settings->nmilters) && (status = start_dns())))
		return status;
	if (open_queue(false, true, why, sizeof why) == -1) {
		no_queue(why);
		printf("421 4.3.0 %s cannot take mail now\r\n", settings->hostname);
		fflush(stdout);
		return EX_TEMPFAIL;
	}
	open_quota();
	open_evaluations();
	open_greylist();
	out = dup(1);
	if (out == -1 || !start_smtpd() || smtpd_session(0, out, session_service, NULL, session_ended) == -1)
		return complain(EX_OSERR, "cannot begin the session: %s", strerror(errno));
	while (!session_over || !queue_committed())
		loop_turn(-1);
	return 0;
}

/* A superserver makes the connection our standard error, too: the peer would read what we write there as replies. */
static bool stderr_is_session(void)
{
	struct stat in, err;

	return fstat(STDIN_FILENO, &in) == 0 && fstat(STDERR_FILENO, &err) == 0 && S_ISSOCK(err.st_mode) &&
		in.st_dev == err.st_dev && in.st_ino == err.st_ino;
}

static int load_for_session(int argc, char **argv)
{
	bool apart = !stderr_is_session();
	int null, status;

	if (!apart && (null = open("/dev/null", O_WRONLY | O_CLOEXEC)) != -1) {
		dup2(null, STDERR_FILENO);
		close(null);
	}
	status = load(argc, argv);
	if (!status && session_service != SMTPD_MX)
		start_signing();                /* what cannot be signed is sent all the same */
	if (!status)
		status = settle();
	if (!apart && (status || strcmp(settings->log, "stderr") == 0))
		log_open("syslog");
	if (status) {
		printf("421 4.3.5 this server cannot take mail now\r\n");
		fflush(stdout);
		if (!apart)
			log_text(LOG_ERROR, "not-started", "`fardel check` says what is wrong with the configuration");
	}
	return status;
}

/* Takes "-s SERVICE" out of the words. False: there is no such service. */
static bool take_service(int *argc, char **argv)
{
	static const struct {
		const char *name;
		enum smtpd_service service;
	} services[] = { { "smtp", SMTPD_MX }, { "submission", SMTPD_SUBMISSION }, { "submissions", SMTPD_SUBMISSIONS } };
	int kept = 1;
	bool ok = true;

	for (int i = 1; i < *argc; i++) {
		if (strcmp(argv[i], "-s") || i + 1 == *argc) {
			argv[kept++] = argv[i];
			continue;
		}
		ok = false;
		for (size_t k = 0; k < sizeof services / sizeof *services; k++)
			if (!strcmp(argv[i + 1], services[k].name)) {
				session_service = services[k].service;
				ok = true;
			}
		i++;
	}
	*argc = kept;
	return ok;
}

/* Who could never log in had better know at once. */
static int check_service(void)
{
	if (session_service == SMTPD_MX || (settings->ntls && settings->users))
		return 0;
	return complain(EX_CONFIG, "a session for users needs tls_certificate, tls_key and users");
}

static int cmd_inetd(int argc, char **argv)
{
	bool known = take_service(&argc, argv);
	int status = load_for_session(argc, argv);

	if (!status)
		status = known ? check_service() : complain(EX_USAGE, "-s is smtp, submission or submissions");

	if (!status)
		status = run_session();
	queue_close();
	expand_stop();
	recall_stop();
	maildir_stop();
	dns_stop();
	stop_users();
	greylist_close(greylist);
	tls_server_free(tls);
	aliases_free(aliases);
	signer_free(signer);
	settings_free(settings);
	return status;
}

/* ---- flush: deliver what is due, then go */

/* Connections that are kept for a while, and results that are not durable yet. */
static bool end_couriers(void)
{
	msec end = loop_now() + STOP_MS;

	queue_drain();
	while (!queue_drained() && !stop_now && loop_now() < end)
		loop_turn(end - loop_now());
	return queue_drained();
}

static int run_flush(void)
{
	char why[1024];
	int status;

	if ((status = start_root()))
		return status;
	start_signing();                        /* what cannot be signed is sent all the same */
	if ((status = settle()) || (status = start_mailboxes(false)) || (status = start_aliases()) || (status = start_sending()))
		return status;
	if (open_queue(true, false, why, sizeof why) == -1) {
		if (errno != EWOULDBLOCK)
			return no_queue(why);
		if (queue_poke(settings->queue) == 0)
			return 0;
		return complain(EX_TEMPFAIL, "%s, and it cannot be woken: %s. Run flush as the account that it runs as, or as root", why, strerror(errno));
	}
	start_policies();
	start_tls_reports(false);
	if ((status = start_drops()))
		return status;
	on_signals(false);
	while (!stopping && (!drop_idle() || queue_due() || !queue_committed()))
		loop_turn(1000);
	if (!end_couriers())
		log_text(LOG_WARN, "flush", "deliveries did not come to their end; they are made again at the next flush");
	return queue_deferred() || stopping ? EX_TEMPFAIL : 0;
}

static int cmd_flush(int argc, char **argv)
{
	int status = load(argc, argv);

	if (!status && !settings->deliver)
		status = complain(EX_CONFIG, "deliver = no forbids it (%s)", conf_where(&settings->conf, "deliver"));
	if (!status)
		status = run_flush();
	drop_stop();
	tlsreport_stop();
	queue_close();
	expand_stop();
	token_stop();
	tlsseen_stop();
	stscache_stop();
	maildir_stop();
	stop_root();
	dns_stop();
	aliases_free(aliases);
	signer_free(signer);
	settings_free(settings);
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
	{ "check", cmd_check, "[--login] " SETTINGS, "look at configuration and environment" },
	{ "config", cmd_config, SETTINGS, "print the settings, with their origins" },
	{ "sendmail", cmd_sendmail, "[-itv] [-C FILE] [-f SENDER] [-F NAME] [-N WHEN] [-R WHAT] [-V ENVID] [--at TIME | --wait SECONDS] [RECIPIENT]... | -bs | -bp | -bi | -q",
		"take a message from standard input" },
	{ "mailq", cmd_mailq, "[--json] " SETTINGS, "list the queue" },
	{ "why", cmd_why, SETTINGS " [ID|ADDRESS|DOMAIN]", "why is this mail still here? ID, ADDRESS or DOMAIN" },
	{ "queue", cmd_queue, "list|show|shape|retry|hold|release|drop|fail|reroute [--yes] [--json] [--body] [--reason TEXT] " SETTINGS
		" [ID|ADDRESS|DOMAIN|all]... [HOST|URL|mx]\n"
		"    [--id ID] [--from SENDER] [--to RECIPIENT] [--domain DOMAIN] [--older AGE] [--younger AGE] [--larger SIZE] [--smaller SIZE]\n"
		"    [--state held,due,deferred,new]",
		"look at what waits; retry, hold, release, drop, fail or reroute it" },
	{ "top", cmd_top, "[--once] " SETTINGS, "a live screen: sessions, connections, the queue by destination, rates" },
	{ "metrics", cmd_metrics, SETTINGS, "print the running server's figures, in the text form of Prometheus" },
	{ "spf", cmd_spf, "--ip ADDRESS [--helo NAME] [--from SENDER] " SETTINGS, "may this address send mail from that domain?" },
	{ "judge", cmd_judge, "--ip ADDRESS --to RECIPIENT [--helo NAME] [--from SENDER] [--dns FILE] " SETTINGS " MESSAGE|-",
		"would this message be taken? Facts, steps, verdict" },
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
	{ "help", cmd_help, "", "print this" },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

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

static int cmd_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	usage(stdout);
	return 0;
}

/* For one command, as it is called. */
static int help_of(const char *called, const struct command *c)
{
	printf("usage: %s%s%s\n%s\n", called, *c->words ? " " : "", c->words, c->help);
	printf("`man fardel` tells more\n");
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

static bool asks(int argc, char **argv, const char *option)
{
	return argc > 1 && strcmp(argv[1], option) == 0;
}

/* By a link that is named as a command: sendmail, mailq. */
static int run_linked(const struct command *c, int argc, char **argv)
{
	if (asks(argc, argv, "--help"))
		return help_of(c->name, c);
	return asks(argc, argv, "--version") ? cmd_version(argc, argv) : c->run(argc, argv);
}

int main(int argc, char **argv)
{
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc ? argv[0] : "";
	const struct command *c;
	char called[64];

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);       /* a limit of file sizes is an error of a write, and no end of ours */
	sendmail_modes = (struct sendmail_modes){ .inetd = cmd_inetd, .flush = cmd_flush };
	c = find(name);
	if (strcmp(name, "fardel") != 0 && c)           /* sendmail, mailq, newaliases */
		return run_linked(c, argc, argv);
	if (argc < 2) {
		usage(stderr);
		return EX_USAGE;
	}
	c = find(argv[1]);
	if (!c) {
		fprintf(stderr, "fardel: there is no command \"%s\"\n", argv[1]);
		return usage(stderr);
	}
	if (!asks(argc - 1, argv + 1, "--help"))
		return c->run(argc - 1, argv + 1);
	snprintf(called, sizeof called, "fardel %s", c->name);
	return help_of(called, c);
}
