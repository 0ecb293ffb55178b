/* Evaluations: one line each, added to the file of the day. */
#include "policy/evaluation.h"

#include "lib/codec.h"
#include "policy/dkim.h"
#include "policy/spf.h"

/* ---- the line */

static void put_part(struct buf *out, struct str value)
{
	buf_char(out, ':');
	percent_word(out, value);
}

static void put_record(struct buf *out, const struct dmarc_result *r)
{
	static const char letters[] = "01ds";
	const struct dmarc_record *rec = &r->record;
	char fo[8], *p = fo;

	for (unsigned i = 0; i < 4; i++)
		if (rec->fo >> i & 1)
			*p++ = letters[i];
	*p = '\0';
	daily_put(out, "at", str_of(r->policy_domain));
	daily_put(out, "p", str_of(dmarc_policy_name(rec->p)));
	daily_put(out, "sp", str_of(dmarc_policy_name(rec->sp)));
	daily_put(out, "np", str_of(dmarc_policy_name(rec->np)));
	buf_printf(out, " adkim=%c aspf=%c t=%c pct=%u", rec->strict_dkim ? 's' : 'r', rec->strict_spf ? 's' : 'r', rec->testing ? 'y' : 'n', rec->pct);
	daily_put(out, "fo", str_of(fo));
	daily_put(out, "rua", str_of(r->rua));
	if (rec->ri != DMARC_RI)
		buf_printf(out, " ri=%lu", (unsigned long)rec->ri);
}

static void put_signatures(struct buf *out, const struct dkim *d)
{
	for (size_t i = 0; i < dkim_count(d); i++) {
		const struct dkim_signature *s = dkim_at(d, i);

		if (!*s->domain)
			continue;
		buf_printf(out, " dkim=%s", dkim_result_name[s->result]);
		put_part(out, str_of(s->domain));
		put_part(out, str_of(s->selector));
	}
}

bool evaluation_print(struct buf *out, const struct evaluation *e)
{
	const struct dmarc_result *r = e->dmarc;
	struct buf line = { .max = EVALUATION_MAX };
	struct str domain = e->rcpt, local;
	bool good;

	buf_printf(&line, "1 time=%lld ip=%s result=%s done=%s", (long long)e->time, e->ip->text, dmarc_name(r->code), dmarc_policy_name(e->done));
	daily_put(&line, "why", str_of(dmarc_override_name(e->why)));
	buf_printf(&line, " aligned=%s%s%s", r->dkim_aligned ? "dkim" : "", r->dkim_aligned && r->spf_aligned ? "," : "", r->spf_aligned ? "spf" : "");
	daily_put(&line, "from", str_of(r->domain));
	daily_put(&line, "mail", e->mail_from);
	if (str_cut_last(&domain, '@', &local))
		daily_put(&line, "to", domain);
	if (e->spf) {
		buf_printf(&line, " spf=%s:%s", spf_name(e->spf->code), e->spf->helo ? "helo" : "mfrom");
		put_part(&line, str_of(e->spf->domain));
	}
	if (e->dkim)
		put_signatures(&line, e->dkim);
	put_record(&line, r);
	if (e->quiet)
		buf_puts(&line, " quiet=y");
	good = buf_char(&line, '\n') && !line.bad && buf_str(out, buf_view(&line));
	buf_free(&line);
	return good;
}

/* ---- the files */

int evaluations_open(struct daily *d, int dir)
{
	*d = (struct daily){ .event = "evaluations", .octets_max = EVALUATION_DAY_MAX, .days = EVALUATION_DAYS };
	return daily_open(d, dir, "dmarc");
}

void evaluations_keep(struct daily *d, const struct evaluation *what)
{
	struct buf line = { 0 };

	if (d->dir != -1 && evaluation_print(&line, what))
		daily_add(d, what->time, buf_view(&line));
	buf_free(&line);
}
