/* fardel flush: deliver what is due, then go. */
#include <errno.h>
#include <string.h>
#include <sysexits.h>

#include "auth/token.h"
#include "cmd/drop.h"
#include "cmd/expand.h"
#include "cmd/fardel.h"
#include "cmd/running.h"
#include "cmd/sent.h"
#include "cmd/tlsreport.h"
#include "deliver/alias.h"
#include "deliver/maildir.h"
#include "deliver/stscache.h"
#include "deliver/tlsseen.h"
#include "dns.h"
#include "lib/child.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "queue.h"

/* Connections that are kept for a while, and results that are not durable yet. */
static bool end_couriers(void)
{
	msec end = loop_now() + STOP_MS;

	queue_drain();
	while (!queue_drained() && !running.stop_now && loop_now() < end)
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
	if ((status = start_account()) || (status = start_mailboxes(false)) || (status = start_aliases()) || (status = start_sending()))
		return status;
	if (start_queue(true, false, why, sizeof why) == -1) {
		if (errno != EWOULDBLOCK)
			return complain_of_queue(why);
		if (queue_poke(running.settings->queue) == 0)
			return 0;
		return complain(EX_TEMPFAIL, "%s, and it cannot be woken: %s. Run flush as the account that it runs as, or as root", why, strerror(errno));
	}
	open_sent();
	start_policies();
	start_tls_reports(false);
	if ((status = start_drops()))
		return status;
	start_signals(false);
	while (!running.stopping && (!drop_idle() || queue_due() || !queue_committed()))
		loop_turn(1000);
	if (!end_couriers())
		log_text(LOG_WARN, "flush", "deliveries did not come to their end; they are made again at the next flush");
	return queue_deferred() || running.stopping ? EX_TEMPFAIL : 0;
}

int cmd_flush(int argc, char **argv)
{
	int status = start_settings(argc, argv);

	if (!status && !running.settings->deliver)
		status = complain(EX_CONFIG, "deliver = no forbids it (%s)", conf_where(&running.settings->conf, "deliver"));
	if (!status)
		status = run_flush();
	drop_stop();
	tlsreport_stop();
	queue_close();
	sent_stop();
	expand_stop();
	token_stop();
	tlsseen_stop();
	stscache_stop();
	maildir_stop();
	stop_root();
	dns_stop();
	child_settle();
	aliases_free(running.aliases);
	signer_free(running.signer);
	settings_free(running.settings);
	return status;
}
