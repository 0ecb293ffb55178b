/* Files of days. */
#include "lib/daily.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/codec.h"
#include "lib/file.h"
#include "lib/log.h"

int daily_open(struct daily *d, int dir, const char *name)
{
	d->dir = d->fd = -1;
	d->day = -1;
	d->full = false;
	if (file_mkdir(dir, name, 0700) == -1)
		return -1;
	d->dir = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return d->dir == -1 ? -1 : 0;
}

void daily_close(struct daily *d)
{
	if (d->fd != -1)
		close(d->fd);
	if (d->dir != -1)
		close(d->dir);
	d->fd = d->dir = -1;
}

void daily_name(int32_t day, char out[DAILY_NAME])
{
	time_t t = (time_t)day * DAILY_S;
	struct tm tm;

	strftime(out, DAILY_NAME, "%Y-%m-%d", gmtime_r(&t, &tm));
}

int32_t daily_day(const char *name)
{
	char again[DAILY_NAME];
	struct tm tm = { 0 };
	const char *end = strptime(name, "%Y-%m-%d", &tm);
	int32_t day;

	if (!end || end != name + 10 || (*end && *end != '.'))
		return -1;
	day = (int32_t)(timegm(&tm) / DAILY_S);
	daily_name(day, again);
	return memcmp(again, name, 10) == 0 ? day : -1;
}

static void remove_old(struct daily *d)
{
	int fd = openat(d->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *all = fd == -1 ? NULL : fdopendir(fd);

	if (!all) {
		if (fd != -1)
			close(fd);
		return;
	}
	for (struct dirent *x; (x = readdir(all));) {
		int32_t day = daily_day(x->d_name);

		if (day != -1 && day < d->day - d->days)
			file_sys.unlink(d->dir, x->d_name);
	}
	closedir(all);
}

static void complain(struct daily *d, const char *error)
{
	char name[DAILY_NAME];

	daily_name(d->day, name);
	log_event(LOG_ERROR, d->event, LF(L_TEXT("day", name), L_TEXT("error", error), L_TEXT("effect", "no more of that day are kept")));
	d->full = true;
}

static void begin_day(struct daily *d, int32_t day)
{
	char name[DAILY_NAME];

	if (d->fd != -1)
		close(d->fd);
	d->day = day;
	d->full = false;
	daily_name(day, name);
	d->fd = file_sys.open(d->dir, name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (d->fd == -1)
		complain(d, strerror(errno));
	else
		remove_old(d);
}

/* One write() with O_APPEND: several processes write to the same file. */
void daily_add(struct daily *d, int64_t time, struct str line)
{
	int32_t day = (int32_t)(time / DAILY_S);
	struct stat st;

	if (d->dir == -1)
		return;
	if (day != d->day)
		begin_day(d, day);
	if (d->full)
		return;
	if (fstat(d->fd, &st) == -1 || st.st_size + (off_t)line.n > d->octets_max)
		complain(d, "the file has reached its limit");
	else if (file_sys.write(d->fd, line.p, line.n) != (ssize_t)line.n)
		complain(d, strerror(errno));
}

/* ---- lines */

void daily_put(struct buf *out, const char *name, struct str value)
{
	if (!value.n)
		return;
	buf_printf(out, " %s=", name);
	percent_word(out, value);
}

void daily_put_text(struct buf *out, const char *name, struct str value)
{
	if (!value.n)
		return;
	buf_printf(out, " %s=", name);
	for (size_t i = 0; i < value.n; i++) {
		bool control = (unsigned char)value.p[i] < ' ' || value.p[i] == 0x7f;

		percent_word(out, control ? STR("?") : (struct str){ value.p + i, 1 });
	}
}

static bool read_value(const struct daily_field *f, struct str text, char *to)
{
	size_t n = strlen(to);

	if (n && !f->again)
		return false;
	if (n && n + 1 < f->size)
		to[n++] = ' ';
	return percent_decode(text, to + n, f->size - n);
}

bool daily_read(struct str line, const struct daily_field *fields, size_t n, void *out)
{
	struct str word, name;

	if (!str_word(&line, &word) || !str_eq(word, STR("1")))
		return false;
	while (str_word(&line, &word)) {
		size_t i = 0;

		if (!str_cut(&word, '=', &name))
			return false;
		while (i < n && !str_eq(name, str_of(fields[i].name)))
			i++;
		if (i < n && word.n && !read_value(&fields[i], word, (char *)out + fields[i].at))
			return false;
	}
	return true;
}

int daily_lines(int dir, const char *name, bool (*each)(void *arg, struct str line), void *arg)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	FILE *f = fd == -1 ? NULL : fdopen(fd, "r");
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	if (!f) {
		if (fd != -1)
			close(fd);
		return errno == ENOENT ? 0 : -1;
	}
	while ((n = getline(&line, &room, f)) > 0 && each(arg, (struct str){ line, (size_t)n }))
		;
	free(line);
	fclose(f);
	return 0;
}

static int is_day(const struct dirent *x) { return daily_day(x->d_name) != -1; }

int daily_files(const char *top, const char *name, int32_t first, int (*each)(void *arg, int dir, const char *file), void *arg)
{
	struct buf path = { 0 };
	struct dirent **file = NULL;
	int dir, n, failed, saved;

	buf_printf(&path, "%s/%s", top, name);
	dir = open(buf_cstr(&path), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	n = dir == -1 ? -1 : scandir(buf_cstr(&path), &file, is_day, alphasort);        /* scandirat() is not in every C library */
	failed = n == -1 ? -1 : 0;
	saved = errno;
	for (int i = 0; i < n; i++) {
		if (!failed && daily_day(file[i]->d_name) >= first && (failed = each(arg, dir, file[i]->d_name)) == -1)
			saved = errno;
		free(file[i]);
	}
	free(file);
	buf_free(&path);
	if (dir != -1)
		close(dir);
	errno = saved;
	return failed;
}
