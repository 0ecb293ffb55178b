/* Orders: what somebody wants done with one message, whatever the settings say. A file in orders/ with the id as its name, a row a line. */
#include "queue/inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"

enum {
	ORDER_MAX = 1 << 20,            /* octets of one file: some ten thousand destinations */
	ORPHAN_S = 86400                /* one whose message is not here may be meant for one that is moved back */
};

static struct timespec seen_mtime;      /* of orders/ when it was read last */
static bool seen_late;                  /* ... and so long after it that no other change can have the same */
static bool any;                        /* there were some */

/* ---- rows: "route example.org smtp://192.0.2.1:25", "fail anna@example.org the reason" */

static const char *const verbs[] = { "route", "fail" };

/* An address with a quoted local part may have blanks in it. */
static bool cut_whom(struct str *line, struct str *whom)
{
	bool quoted = false;
	size_t n = 0;

	*line = str_trim(*line);
	for (; n < line->n && (quoted || (line->p[n] != ' ' && line->p[n] != '\t')); n++) {
		if (quoted && line->p[n] == '\\')
			n++;
		else if (line->p[n] == '"')
			quoted = !quoted;
	}
	*whom = (struct str){ line->p, n < line->n ? n : line->n };
	*line = str_from(*line, whom->n);
	return whom->n && !quoted;
}

static const char *row_parse(struct str line, struct str *verb, struct str *whom, struct str *value)
{
	size_t i = 0;

	if (!str_word(&line, verb) || !cut_whom(&line, whom))
		return "a row is a verb, whom it is about (an address, a domain or *) and what belongs to it";
	*value = str_trim(line);
	while (i < sizeof verbs / sizeof *verbs && !str_eq(*verb, str_of(verbs[i])))
		i++;
	if (i == sizeof verbs / sizeof *verbs)
		return "a row begins with route or fail";
	if (!value->n)
		return "a row ends behind the one whom it is about";
	return i == 0 && value->n >= WAY_ORDER ? "a way is too long" : NULL;
}

static bool is_row(struct str line)
{
	line = str_trim(line);
	return line.n && line.p[0] != '#';
}

static const char *rows_check(struct str text)
{
	struct str line, verb, whom, value;
	const char *wrong = NULL;

	while (!wrong && str_cut(&text, '\n', &line))
		if (is_row(line))
			wrong = row_parse(line, &verb, &whom, &value);
	return wrong ? wrong : text.n ? "its last line has no end" : NULL;
}

/* "*", a domain or an address */
static bool is_about(struct str whom, const struct addr *a)
{
	struct str domain = whom, local;

	if (str_cut_last(&domain, '@', &local))
		return str_eq(local, a->local) && str_eq_nocase(domain, a->domain);
	return str_eq(whom, STR("*")) || str_eq_nocase(whom, a->domain);
}

struct str order_row(struct str text, const char *wanted, const struct addr *about)
{
	struct str line, verb, whom, value, found = { "", 0 };

	while (str_cut(&text, '\n', &line))
		if (is_row(line) && !row_parse(line, &verb, &whom, &value) && str_eq(verb, str_of(wanted)) && is_about(whom, about))
			found = value;
	return found;
}

const char *order_read(int queue_fd, const char *id, struct buf *text)
{
	char name[ID_MAX + 16];

	buf_clear(text);
	text->max = ORDER_MAX;
	snprintf(name, sizeof name, "orders/%s", id);
	if (file_read_all(queue_fd, name, text) == -1) {
		buf_clear(text);
		return errno == ENOENT ? NULL : strerror(errno);
	}
	return rows_check(buf_view(text));
}

/* ---- giving one */

/* Who runs this may be root: the file is for whoever the queue belongs to. */
static int give_to_owner(int fd, int queue_fd)
{
	struct stat st;

	if (geteuid() != 0)
		return 0;
	return fstat(queue_fd, &st) == -1 ? -1 : fchown(fd, st.st_uid, st.st_gid);
}

static int open_orders(int queue_fd)
{
	bool made = mkdirat(queue_fd, "orders", 0700) == 0;
	int fd = openat(queue_fd, "orders", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd != -1 && made && give_to_owner(fd, queue_fd) == -1) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Beside the old one and then in its place: who reads it finds a whole one. */
static int replace(int dir, int queue_fd, const char *id, const struct buf *text)
{
	char fresh[ID_MAX + 8];
	int fd, saved;

	snprintf(fresh, sizeof fresh, ".%s.new", id);
	fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return -1;
	/* Not synced: no mail is lost with it, and who gives 10,000 of them would wait for minutes. */
	if (give_to_owner(fd, queue_fd) == -1 || file_write(fd, text->p, text->n) == -1 ||
	    renameat(dir, fresh, dir, id) == -1)
		goto fail;
	close(fd);
	return 0;
fail:
	saved = errno;
	close(fd);
	unlinkat(dir, fresh, 0);
	errno = saved;
	return -1;
}

int queue_order(int queue_fd, const char *id, struct str rows)
{
	struct buf text = { .max = ORDER_MAX };
	int dir = -1, r = -1, saved;

	/* One that cannot be understood is replaced: its reader has complained about it. */
	if (order_read(queue_fd, id, &text))
		buf_clear(&text);
	text.max = ORDER_MAX;
	errno = EFBIG;
	if (buf_str(&text, rows) && (dir = open_orders(queue_fd)) != -1)
		r = replace(dir, queue_fd, id, &text);
	saved = errno;
	if (dir != -1)
		close(dir);
	buf_free(&text);
	errno = saved;
	return r;
}

/* ---- the scheduler's side */

void order_done(const char *id)
{
	char name[ID_MAX + 16];

	snprintf(name, sizeof name, "orders/%s", id);
	unlinkat(queue.dir, name, 0);   /* what stays is an orphan */
}

static void take_orphan(int dir, const char *id)
{
	struct stat st;

	if (fstatat(dir, id, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && loop_wall() - st.st_mtim.tv_sec > ORPHAN_S)
		unlinkat(dir, id, 0);
}

static bool unchanged(int dir)
{
	struct stat st;
	bool same;

	if (fstat(dir, &st) == -1)
		return false;
	same = seen_late && st.st_mtim.tv_sec == seen_mtime.tv_sec && st.st_mtim.tv_nsec == seen_mtime.tv_nsec;
	seen_mtime = st.st_mtim;
	seen_late = loop_wall() > st.st_mtim.tv_sec + 1;
	return same;
}

void orders_look(bool at_once)
{
	int fd = openat(queue.dir, "orders", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd == -1 || unchanged(fd) ? NULL : fdopendir(fd);
	struct dirent *x;

	if (!d) {
		any = any && (fd != -1 || errno != ENOENT);
		if (fd != -1)
			close(fd);
		return;
	}
	any = false;
	while ((errno = 0, x = readdir(d))) {
		bool is_order = id_valid(str_of(x->d_name));
		struct message *m = is_order ? index_message(str_of(x->d_name)) : NULL;

		any |= is_order;
		if (m)
			index_ordered(m, at_once);
		else if (is_order)
			take_orphan(fd, x->d_name);
	}
	if (errno) {                    /* there may be more: when in doubt, each message is asked for its order */
		any = true;
		seen_mtime = (struct timespec){ 0 };
	}
	closedir(d);
}

bool order_is_there(const char *id)
{
	char name[ID_MAX + 16];

	snprintf(name, sizeof name, "orders/%s", id);
	return any && faccessat(queue.dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

void orders_forget(void)
{
	any = false;
	seen_mtime = (struct timespec){ 0 };
}
