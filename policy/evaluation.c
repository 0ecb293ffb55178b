/* Evaluations: one line each, added to the file of the day. */
#include "policy/evaluation.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "policy/dkim.h"
#include "policy/spf.h"

enum { DAY = 86400, NAME = 16 };

/* ---- the line */

static void put(struct buf *out, struct str value)
{
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];

		if (c > ' ' && c < 0x7f && c != '%')
			buf_char(out, c);
		else
			buf_printf(out, "%%%02X", (unsigned char)c);
	}
}

/* " name=value", or nothing for an empty value. */
static void put_field(struct buf *out, const char *name, const char *value)
{
	if (!*value)
		return;
	buf_printf(out, " %s=", name);
	put(out, str_of(value));
}

static void put_part(struct buf *out, struct str value)
{
	buf_char(out, ':');
	put(out, value);
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
		put(&line, e->mail_from);
	}
	if (e->rcpt.n) {
		buf_puts(&line, " to=");
		put(&line, e->rcpt);
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

int evaluations_open(struct evaluations *e, int dir)
{
	*e = (struct evaluations){ .dir = -1, .fd = -1, .day = -1 };
	if (file_mkdir(dir, "dmarc", 0700) == -1)
		return -1;
	e->dir = openat(dir, "dmarc", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return e->dir == -1 ? -1 : 0;
}

void evaluations_close(struct evaluations *e)
{
	if (e->fd != -1)
		close(e->fd);
	if (e->dir != -1)
		close(e->dir);
	e->fd = e->dir = -1;
}

static void name_of(int32_t day, char out[NAME])
{
	time_t t = (time_t)day * DAY;
	struct tm tm;

	strftime(out, NAME, "%Y-%m-%d", gmtime_r(&t, &tm));
}

static bool is_day(const char *name)
{
	return strlen(name) == 10 && strspn(name, "0123456789-") == 10;
}

/* Names of days sort as the days do. */
static void remove_old(struct evaluations *e)
{
	int fd = openat(e->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd == -1 ? NULL : fdopendir(fd);
	char oldest[NAME];

	if (!d) {
		if (fd != -1)
			close(fd);
		return;
	}
	name_of(e->day - EVALUATION_DAYS, oldest);
	for (struct dirent *x; (x = readdir(d));)
		if (is_day(x->d_name) && strcmp(x->d_name, oldest) < 0)
			file_sys.unlink(e->dir, x->d_name);
	closedir(d);
}

static void complain(struct evaluations *e, const char *error)
{
	char name[NAME];

	name_of(e->day, name);
	log_event(LOG_ERROR, "evaluations", LF(L_TEXT("day", name), L_TEXT("error", error), L_TEXT("effect", "no more of that day are kept")));
	e->full = true;
}

static void begin_day(struct evaluations *e, int32_t day)
{
	char name[NAME];

	if (e->fd != -1)
		close(e->fd);
	e->day = day;
	e->full = false;
	name_of(day, name);
	e->fd = file_sys.open(e->dir, name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (e->fd == -1)
		complain(e, strerror(errno));
	else
		remove_old(e);
}

/* One write() with O_APPEND: sessions of inetd write to the same file. */
void evaluations_keep(struct evaluations *e, const struct evaluation *what)
{
	int32_t day = (int32_t)(what->time / DAY);
	struct buf line = { 0 };
	struct stat st;

	if (e->dir == -1)
		return;
	if (day != e->day)
		begin_day(e, day);
	if (!e->full && evaluation_print(&line, what)) {
		if (fstat(e->fd, &st) == -1 || st.st_size + (off_t)line.n > EVALUATION_DAY_MAX)
			complain(e, "the file has reached its limit");
		else if (file_sys.write(e->fd, line.p, line.n) != (ssize_t)line.n)
			complain(e, strerror(errno));
	}
	buf_free(&line);
}
