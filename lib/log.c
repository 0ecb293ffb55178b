/* One line per event, of key=value pairs or as a JSON object. */
#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/codec.h"
#include "lib/loop.h"
#include "lib/metrics.h"

/* syslog.h has LOG_ names of its own, other numbers included; only its functions are wanted here */
extern void openlog(const char *, int, int);
extern void syslog(int, const char *, ...);
enum { SYSLOG_PID = 1, SYSLOG_MAIL = 2 << 3 };
static const int syslog_level[] = { 3, 4, 6, 7 };
static const char *const level_name[] = { "error", "warn", "info", "debug" };

enum { VALUE_MAX = 512, LINE_MAX_OCTETS = 4096 };

static int target = STDERR_FILENO;
static bool to_syslog, journal;         /* journald stamps the time itself */
static char *path;
static enum log_level threshold = LOG_INFO;
static enum log_format format = LOG_PLAIN;

static bool plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '=')
			return false;
	return s.n > 0;
}

static void add_text(struct buf *line, struct str s)
{
	if (plain(s)) {
		buf_str(line, s);
		return;
	}
	buf_char(line, '"');
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '"' || c == '\\')
			buf_printf(line, "\\%c", c);
		else if (ascii_print(c))
			buf_char(line, c);
		else
			buf_printf(line, "\\x%02x", (unsigned char)c);
	}
	buf_char(line, '"');
}

/* The whole field or, when the line is full, nothing of it: half a field could be read as another one. */
static void add_field(struct buf *line, const struct log_field *f)
{
	size_t before = line->n;
	struct str text = { f->text.p, f->text.n < VALUE_MAX ? f->text.n : VALUE_MAX };

	buf_printf(line, format == LOG_JSON ? ",\"%s\":" : " %s=", f->key);
	if (f->is_number)
		buf_printf(line, "%lld", f->number);
	else if (format == LOG_JSON)
		json_quote(line, text);
	else
		add_text(line, text);
	if (!line->bad)
		return;
	line->n = before;
	line->bad = false;
}

static void put(enum log_level level, struct buf *line)
{
	ssize_t n;

	if (to_syslog) {
		syslog(syslog_level[level], "%s", buf_cstr(line));
		return;
	}
	buf_char(line, '\n');
	do
		n = write(target, line->p, line->n);
	while (n == -1 && errno == EINTR);
}

void log_event(enum log_level level, const char *event, const struct log_field *f)
{
	static char room[LINE_MAX_OCTETS + 16];         /* of its own: a line is there when memory is not; and its end */
	static struct buf line = { .p = room, .room = sizeof room, .max = LINE_MAX_OCTETS };
	char stamp[40];

	metrics_count(event);
	if (level > threshold)
		return;
	buf_clear(&line);
	clock_rfc3339(loop_wall(), stamp);
	if (journal)
		buf_printf(&line, "<%d>", syslog_level[level]);
	if (format == LOG_JSON)
		buf_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", stamp, level_name[level], event);
	else if (to_syslog || journal)
		buf_printf(&line, "%s %s", level_name[level], event);
	else
		buf_printf(&line, "%s %s %s", stamp, level_name[level], event);
	for (; f->key; f++) {
		if (f->is_number || f->text.n > 0)
			add_field(&line, f);
	}
	line.max = 0;           /* the line end always fits */
	if (format == LOG_JSON)
		buf_char(&line, '}');
	put(level, &line);
	line.max = LINE_MAX_OCTETS;
}

void log_text(enum log_level level, const char *event, const char *fmt, ...)
{
	char text[VALUE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	log_event(level, event, LF(L_TEXT("msg", text)));
}

_Noreturn void log_end(const char *what)
{
	log_text(LOG_ERROR, "ended", "%s: %s. Whatever was accepted is on the disk; start again when there is more of that", what, strerror(errno));
	_exit(EX_OSERR);
}

/* systemd names the device and inode of its journal's socket; it stays in the environment when stderr goes elsewhere. */
static bool is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char mine[64];
	struct stat st;

	if (!stream || fstat(fd, &st) == -1)
		return false;
	snprintf(mine, sizeof mine, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(mine, stream) == 0;
}

static int open_file(const char *name)
{
	return open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
}

int log_open(const char *where)
{
	bool file = strcmp(where, "stderr") != 0 && strcmp(where, "syslog") != 0;
	int fd = file ? open_file(where) : STDERR_FILENO;
	char *copy = file ? strdup(where) : NULL;

	if (fd == -1 || (file && !copy)) {
		if (fd != -1 && file)
			close(fd);
		free(copy);
		return -1;
	}
	if (target != STDERR_FILENO)
		close(target);
	free(path);
	path = copy;
	target = fd;
	to_syslog = strcmp(where, "syslog") == 0;
	journal = !file && !to_syslog && is_journal(fd);
	if (to_syslog)
		openlog("fardel", SYSLOG_PID, SYSLOG_MAIL);
	return 0;
}

int log_reopen(void)
{
	int fd;

	if (!path)
		return 0;
	fd = open_file(path);
	if (fd == -1)
		return -1;
	close(target);
	target = fd;
	return 0;
}

void log_written_as(enum log_format as)
{
	format = as;
}

void log_threshold(enum log_level level)
{
	threshold = level;
}
