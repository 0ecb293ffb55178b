/* Evaluations: one line each, added to the file of the day. */
#include "policy/evaluation.h"

#include "lib/codec.h"
#include "policy/dkim.h"
#include "policy/spf.h"

/* ---- the line */

/* " name=value", or nothing for an empty value. */
static void put_field(struct buf *out, const char *name, const char *value)
{
	if (!*value)
		return;
	buf_printf(out, " %s=", name);
	percent_word(out, str_of(value));
}

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
	put_field(out, "at", r->policy_domain);
	put_field(out, "p", dmarc_policy_name(rec->p));
	put_field(out, "sp", dmarc_policy_name(rec->sp));
	put_field(out, "np", dmarc_policy_name(rec->np));
	buf_printf(out, " adkim=%c aspf=%c t=%c pct=%u", rec->strict_dkim ? 's' : 'r', rec->strict_spf ? 's' : 'r', rec->testing ? 'y' : 'n', rec->pct);
	put_field(out, "fo", fo);
	put_field(out, "rua", r->rua);
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
	bool good;

	buf_printf(&line, "1 time=%lld ip=%s result=%s done=%s", (long long)e->time, e->ip->text, dmarc_name(r->code), dmarc_policy_name(e->done));
	put_field(&line, "why", dmarc_override_name(e->why));
	buf_printf(&line, " aligned=%s%s%s", r->dkim_aligned ? "dkim" : "", r->dkim_aligned && r->spf_aligned ? "," : "", r->spf_aligned ? "spf" : "");
	put_field(&line, "from", r->domain);
	if (e->mail_from.n) {
		buf_puts(&line, " mail=");
		percent_word(&line, e->mail_from);
	}
	if (e->rcpt.n) {
		buf_puts(&line, " to=");
		percent_word(&line, e->rcpt);
	}
	if (e->spf) {
		buf_printf(&line, " spf=%s:%s", spf_name(e->spf->code), e->spf->helo ? "helo" : "mfrom");
		put_part(&line, str_of(e->spf->domain));
	}
	if (e->dkim)
		put_signatures(&line, e->dkim);
	put_record(&line, r);
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
