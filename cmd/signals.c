/* What signals ask of the running program: to stop, to open the log again, to read the settings again, to try everything now. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "cmd/drop.h"
#include "cmd/running.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "queue.h"

static struct timer stop_timer;
static struct turn_end stop_watch;

static void stop_late(struct timer *t)
{
	(void)t;
	running.stop_now = true;
	loop_stop();
}

static void stop_when_done(struct turn_end *e)
{
	(void)e;
	if (running.stopping && smtpd_sessions() == 0 && queue_drained())
		loop_stop();
}

static void on_stop(int signo)
{
	if (running.stopping) {         /* asked twice: at once; everything accepted is on disk */
		stop_late(&stop_timer);
		return;
	}
	running.stopping = true;
	log_text(LOG_INFO, "stopping", "signal %d; sessions and deliveries that have begun may end", signo);
	smtpd_stop();
	drop_stop();
	queue_drain();
	stop_timer.expired = stop_late;
	timer_set(&stop_timer, STOP_MS);
	stop_watch.run = stop_when_done;
	loop_at_turn_end(&stop_watch);
}

static void on_reopen(int signo)
{
	(void)signo;
	if (log_reopen() == -1)
		log_text(LOG_ERROR, "log", "cannot open %s again: %s", running.settings->log, strerror(errno));
}

static void on_reload(int signo)
{
	on_reopen(signo);
	if (!running.stopping)
		reload();
}

static void on_retry(int signo)
{
	(void)signo;
	queue_wake();
	drop_look();
}

void start_signals(bool reads_again)
{
	loop_on_signal(SIGTERM, on_stop);
	loop_on_signal(SIGINT, on_stop);
	loop_on_signal(SIGHUP, reads_again ? on_reload : on_reopen);
	loop_on_signal(SIGUSR1, on_reopen);
	loop_on_signal(SIGALRM, on_retry);
}
