/* Other settings while we run: taken over whole or not at all. What began before keeps those that it began with. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/confine.h"
#include "cmd/courier.h"
#include "cmd/running.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/loop.h"

enum { FORMERS_MS = 60000 };            /* settings of before stay so long; how often is looked whether they are still needed */

/* What was in force before: sessions and connections that began then still point to it, so it stays until none of them is left. */
struct former {
	struct node node;
	msec until;                     /* when others came: a file from new/, say, has taken what it needs soon behind that */
	struct settings *settings;
	struct smtpd_config *smtpd;
	unsigned couriers;              /* courier_configured() */
	struct tls_trust *trust;        /* those that have been replaced; else NULL */
	struct tls_server *tls;
};
static struct list formers;             /* the oldest first */
static struct timer former_timer;

/* The first ones stay: what was started once keeps names that stand there. */
static void free_settings(struct settings *s)
{
	if (s == &running.first)
		return;
	settings_free(s);
	free(s);
}

static bool in_use(const struct former *f)
{
	return loop_now() - f->until < FORMERS_MS || smtpd_sessions_of(f->smtpd) || courier_oldest() <= f->couriers;
}

static void free_former(struct former *f)
{
	list_remove(&formers, &f->node);
	free_settings(f->settings);
	free(f->smtpd);
	tls_trust_free(f->trust);
	tls_server_free(f->tls);
	free(f);
}

/* None before those that are older: their sessions may yet want certificates that were replaced later. */
static void free_formers(bool all)
{
	struct node *x;

	while ((x = list_first(&formers)) && (all || !in_use(owner_of(x, struct former, node))))
		free_former(owner_of(x, struct former, node));
}

static void look_at_formers(struct timer *t)
{
	free_formers(false);
	if (formers.n)
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
	struct tls_trust *new_trust = same_text(running.settings->tls_ca, fresh->tls_ca) ? running.trust : tls_trust_new(fresh->tls_ca);
	struct tls_server *new_tls = same_certificates(running.settings, fresh) ? running.tls : fresh->ntls ? tls_server_new(fresh->tls, fresh->ntls) : NULL;
	bool ok = new_trust && (new_tls || !fresh->ntls);

	snprintf(why, size, "out of memory");
	if (ok && new_tls && new_tls != running.tls)
		ok = tls_server_refresh(new_tls, why, size);
	if (!ok) {
		if (new_trust != running.trust)
			tls_trust_free(new_trust);
		if (new_tls != running.tls)
			tls_server_free(new_tls);
		return false;
	}
	f->trust = new_trust == running.trust ? NULL : running.trust;
	f->tls = new_tls == running.tls ? NULL : running.tls;
	running.trust = new_trust;
	running.tls = new_tls;
	return true;
}

static bool take_over(struct settings *fresh, char *why, size_t size)
{
	struct former *f = calloc(1, sizeof *f);
	struct smtpd_config *c = malloc(sizeof *c);

	if (!f || !c || !renew(fresh, f, why, size)) {
		free(f);
		free(c);
		return false;
	}
	if (strcmp(running.settings->log, fresh->log) != 0 && log_open(fresh->log) == -1)
		log_text(LOG_ERROR, "log", "cannot open %s: %s. The old one goes on", fresh->log, strerror(errno));
	if (!formers.head.next)
		list_init(&formers);
	free_formers(false);
	f->until = loop_now();
	f->settings = running.settings;
	f->smtpd = running.smtpd;
	f->couriers = courier_configured();
	list_push(&formers, &f->node);
	running.settings = fresh;
	settings_changed(c);
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

void reload(void)
{
	struct settings *fresh = calloc(1, sizeof *fresh);
	struct buf changed = { 0 }, at_start = { 0 };
	char why[1024] = "out of memory";
	bool taken = false;

	if (fresh && !(settings_load(fresh, &running.settings->said) && settings_can_send(fresh)))
		log_complaints(buf_view(&fresh->conf.errors));
	else if (!fresh || !conf_changed(&running.settings->conf, &fresh->conf, &changed, &at_start))
		log_text(LOG_ERROR, "settings", "%s: the old ones stay in force", why);
	else if (at_start.n)
		log_text(LOG_ERROR, "settings", "%s can only be changed by a restart. Until then all the old settings stay in force", buf_cstr(&at_start));
	else if (!changed.n)
		log_text(LOG_INFO, "settings", "nothing has changed in them");
	else if (!(taken = take_over(fresh, why, sizeof why)))
		log_text(LOG_ERROR, "settings", "%s. The old settings stay in force", why);
	else
		log_text(LOG_INFO, "settings", "in force now: %s", buf_cstr(&changed));
	if (taken && lacks_tokens() && running.settings->sandbox != CONFINE_NO)
		log_text(LOG_ERROR, "settings", "route: the first token_command needs a restart: a server that is confined executes no programs");
	buf_free(&changed);
	buf_free(&at_start);
	if (fresh && !taken)
		free_settings(fresh);
}

void reload_free(void)
{
	free_settings(running.settings);
	free_formers(true);
	settings_free(&running.first);
}
