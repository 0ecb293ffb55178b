/* fardel inetd: one session on descriptors 0 and 1; what it takes lies in queue/in until somebody delivers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/expand.h"
#include "cmd/fardel.h"
#include "cmd/feedback.h"
#include "cmd/reports.h"
#include "cmd/running.h"
#include "cmd/sent.h"
#include "deliver/alias.h"
#include "deliver/maildir.h"
#include "deliver/recall.h"
#include "dns.h"
#include "lib/child.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "queue.h"

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
	    ((running.settings->check_sender || running.settings->spf != SMTPD_SPF_OFF || running.settings->check_dkim || running.settings->ndnsbl || running.settings->nmilters) && (status = start_dns())))
		return status;
	if (start_queue(false, true, why, sizeof why) == -1) {
		complain_of_queue(why);
		printf("421 4.3.0 %s cannot take mail now\r\n", running.settings->hostname);
		fflush(stdout);
		return EX_TEMPFAIL;
	}
	open_notes();
	feedback_start(true);
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
	status = start_settings(argc, argv);
	if (!status && session_service != SMTPD_MX)
		start_signing();                /* what cannot be signed is sent all the same */
	if (!status)
		status = start_account();
	if (!apart && (status || strcmp(running.settings->log, "stderr") == 0))
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
	if (session_service == SMTPD_MX || (running.settings->ntls && running.settings->users))
		return 0;
	return complain(EX_CONFIG, "a session for users needs tls_certificate, tls_key and users");
}

int cmd_inetd(int argc, char **argv)
{
	bool known = take_service(&argc, argv);
	int status = load_for_session(argc, argv);

	if (!status)
		status = known ? check_service() : complain(EX_USAGE, "-s is smtp, submission or submissions");

	if (!status)
		status = run_session();
	queue_close();
	feedback_stop();
	sent_stop();
	reports_stop();
	expand_stop();
	recall_stop();
	maildir_stop();
	dns_stop();
	stop_users();
	child_settle();
	greylist_close(running.greylist);
	tls_server_free(running.tls);
	aliases_free(running.aliases);
	signer_free(running.signer);
	settings_free(running.settings);
	return status;
}
