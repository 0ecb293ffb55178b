/* What the queue knows of a message, made into a delivery report. */
#include "cmd/report.h"

#include <stdio.h>
#include <stdlib.h>

#include "dsn.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "mime/header.h"
#include "policy/dkim.h"

static const struct report_config *config;

void report_configure(const struct report_config *c)
{
	config = c;
}

static struct str whole(const struct addr *a)
{
	return (struct str){ a->local.p, a->local.n + (a->domain.n ? 1 + a->domain.n : 0) };
}

/* The header of the reported message, or all of it. */
static bool read_original(const struct mail *m, bool full, struct buf *out)
{
	size_t n = full || m->size < DSN_HEADER_MAX ? (size_t)m->size : DSN_HEADER_MAX;
	char *to = buf_reserve(out, n ? n : 1);
	ssize_t got = to ? file_pread(m->fd, to, n, m->at) : -1;

	if (got < 0)
		return false;
	out->n = full ? (size_t)got : header_length((struct str){ out->p, (size_t)got });
	return true;
}

static bool is_told(const struct rcpt *r, enum report_kind kind, unsigned event)
{
	bool mine = kind == REPORT_FINAL ? r->state != RCPT_OPEN && r->event == event : r->state == RCPT_OPEN;

	if (mine && r->state == RCPT_DELIVERED)
		return r->to.notify & NOTIFY_SUCCESS;
	return mine && (r->to.notify == 0 || (r->to.notify & (kind == REPORT_FINAL ? NOTIFY_FAILURE : NOTIFY_DELAY)));
}

static enum dsn_action action_of(const struct rcpt *r)
{
	switch (r->state) {
	case RCPT_OPEN: return DSN_DELAYED;
	case RCPT_FAILED: return DSN_FAILED;
	case RCPT_DELIVERED: break;
	}
	return r->relayed ? DSN_RELAYED : r->expanded ? DSN_EXPANDED : DSN_DELIVERED;
}

/* Every entry of a message counts its events from 1, but no recipient ends twice: the first one names the report. */
static void print_report_id(char *out, size_t size, const struct mail *m, enum report_kind kind, unsigned event)
{
	size_t i = 0;

	while (i < m->nrcpt && !is_told(&m->rcpt[i], kind, event))
		i++;
	snprintf(out, size, "%s.%s%zu", m->id, kind == REPORT_FINAL ? "f" : "d", i + 1);
}

static size_t choose(const struct mail *m, enum report_kind kind, unsigned event, struct dsn_rcpt *to)
{
	size_t n = 0;

	for (size_t i = 0; i < m->nrcpt; i++) {
		const struct rcpt *r = &m->rcpt[i];

		if (!is_told(r, kind, event))
			continue;
		to[n++] = (struct dsn_rcpt){
			.addr = whole(&r->to.addr), .orcpt = r->to.orcpt, .action = action_of(r),
			.status = r->status, .host = r->host, .words = r->words, .said = r->said, .when = r->when ? r->when : loop_wall(),
			.retry_until = mail_began(m) + config->queue_lifetime,
		};
	}
	return n;
}

void report_sign(struct buf *out, const char *id)
{
	struct str all = buf_view(out);
	size_t header = dkim_header_end(all);
	struct buf whole_text = { 0 };
	const char *why = NULL;
	struct signing *g = config->signer ? signing_begin(config->signer, (struct str){ all.p, header }, &why) : NULL;

	if (g) {
		signing_add(g, str_from(all, header));
		if (signing_end(g, loop_wall(), &whole_text) && buf_str(&whole_text, all)) {
			buf_free(out);
			*out = whole_text;
			whole_text = (struct buf){ 0 };
		} else {
			why = "out of memory, or a key is broken";
		}
	}
	if (why)
		log_event(LOG_WARN, "unsigned", LF(L_TEXT("id", id), L_TEXT("reason", why)));
	signing_free(g);
	buf_free(&whole_text);
}

bool report_write(void *arg, enum report_kind kind, const struct mail *m, unsigned event, int64_t next_try, struct buf *out)
{
	struct dsn_rcpt *to = calloc(m->nrcpt, sizeof *to);
	struct buf original = { 0 };
	char report_id[ID_MAX + 24];
	bool full = kind == REPORT_FINAL && m->from.ret == RET_FULL && !m->from.requiretls && m->size <= DSN_FULL_MAX;
	struct dsn d = {
		.hostname = config->hostname, .id = m->id, .report_id = report_id, .to = whole(&m->from.addr), .envid = m->from.envid, .hold_for = m->from.hold_for, .hold_until = m->from.hold_until,
		.arrived = m->arrived, .now = loop_wall(), .next_try = next_try, .full = full, .rcpt = to,
	};
	bool ok = false;

	(void)arg;
	print_report_id(report_id, sizeof report_id, m, kind, event);
	if (to && read_original(m, full, &original)) {
		d.original = buf_view(&original);
		d.n = choose(m, kind, event, to);
		ok = dsn_write(out, &d);
		if (ok)
			report_sign(out, report_id);
	}
	buf_free(&original);
	free(to);
	return ok;
}
