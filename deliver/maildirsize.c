/* The Maildir++ quota. */
#include "deliver/maildirsize.h"

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
#include "lib/str.h"

enum {
	FILE_MAX = 5120,                /* octets, by the convention */
	TRUSTED_S = 15 * 60,            /* so long a mailbox that was counted as full is */
	FOLDERS = 10000, MESSAGES = 1000000     /* looked at; who has more is full */
};

struct sum {
	int64_t octets, messages;
	unsigned lines;                 /* changes */
};

/* ---- counting */

/* "S=1234" in the name says what stat() would. Marked as deleted (":2,ST"): as if it had gone. */
static bool counts(const char *name)
{
	const char *info = strstr(name, ":2,");

	return name[0] != '.' && !(info && strchr(info + 3, 'T'));
}

static int64_t size_of(int dir, const char *name)
{
	const char *said = strstr(name, ",S=");
	struct stat st;
	uint64_t n;
	size_t digits = said ? strspn(said + 3, "0123456789") : 0;

	if (digits && str_number((struct str){ said + 3, digits }, INT64_MAX / MESSAGES, &n))
		return (int64_t)n;
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) ? st.st_size : 0;
}

/* new or cur of a folder. One that is missing, or is a link, holds nothing. */
static void count_part(int folder, const char *part, struct sum *sum)
{
	int fd = openat(folder, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d && fd != -1)
		close(fd);
	while (d && sum->messages < MESSAGES && (e = readdir(d)))
		if (counts(e->d_name)) {
			sum->octets += size_of(fd, e->d_name);
			sum->messages++;
		}
	if (d)
		closedir(d);
}

static void count_folder(int folder, struct sum *sum)
{
	count_part(folder, "new", sum);
	count_part(folder, "cur", sum);
}

/* 0 or -1 with errno. */
static int count(int mailbox, struct sum *sum)
{
	int again = openat(mailbox, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = again == -1 ? NULL : fdopendir(again);
	struct dirent *e;

	*sum = (struct sum){ 0 };
	if (!d) {
		if (again != -1)
			close(again);
		return -1;
	}
	count_folder(mailbox, sum);
	for (unsigned n = 0; n < FOLDERS && (e = readdir(d));) {
		const char *name = e->d_name;
		int folder;

		if (name[0] != '.' || !name[1] || !strcmp(name, "..") || !strcmp(name, ".Trash"))
			continue;
		n++;
		folder = openat(mailbox, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (folder == -1)
			continue;
		count_folder(folder, sum);
		close(folder);
	}
	closedir(d);
	return 0;
}

/* ---- the file */

static size_t definition(uint64_t quota, char text[40])
{
	return (size_t)snprintf(text, 40, "%lluS\n", (unsigned long long)quota);
}

/* By a file of its own in tmp, so that nobody reads half of it. */
static void write_anew(int mailbox, uint64_t quota, const struct sum *sum)
{
	char name[80], text[120], first[40];
	int n, fd, r;

	snprintf(name, sizeof name, "tmp/%lld.P%ld.maildirsize", (long long)time(NULL), (long)getpid());
	fd = openat(mailbox, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0600);
	if (fd == -1)
		return;
	definition(quota, first);
	n = snprintf(text, sizeof text, "%s%lld %lld\n", first, (long long)sum->octets, (long long)sum->messages);
	r = file_write(fd, text, (size_t)n);
	close(fd);
	if (r == 0)
		r = renameat(mailbox, name, mailbox, "maildirsize");
	if (r == -1)
		unlinkat(mailbox, name, 0);
}

/* "-1234" */
static bool signed_number(struct str s, int64_t *out)
{
	bool minus = s.n && s.p[0] == '-';
	uint64_t n;

	if (!str_number(str_from(s, minus), INT64_MAX / FILE_MAX, &n))
		return false;
	*out = minus ? -(int64_t)n : (int64_t)n;
	return true;
}

static bool add_line(struct str line, struct sum *sum)
{
	struct str octets, messages;
	int64_t o, m;

	if (!str_word(&line, &octets) || !str_word(&line, &messages) || !signed_number(octets, &o) || !signed_number(messages, &m))
		return false;
	sum->octets += o;
	sum->messages += m;
	sum->lines++;
	return true;
}

/* False: it must be made anew. A FIFO in its place is not waited for. */
static bool read_sum(int mailbox, uint64_t quota, struct sum *sum, time_t *written)
{
	int fd = openat(mailbox, "maildirsize", O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
	char text[FILE_MAX + 1], first[40];
	struct str rest, line;
	struct stat st;
	ssize_t n = -1;
	bool ok;

	*sum = (struct sum){ 0 };
	if (fd != -1 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX)
		n = file_pread(fd, text, sizeof text, 0);
	if (fd != -1)
		close(fd);
	if (n <= 0 || n > FILE_MAX)
		return false;
	*written = st.st_mtime;
	definition(quota, first);
	rest = (struct str){ text, (size_t)n };
	ok = str_cut(&rest, '\n', &line) && str_eq(line, (struct str){ first, strlen(first) - 1 });
	while (ok && str_cut(&rest, '\n', &line))
		ok = add_line(line, sum);
	return ok && !rest.n && sum->octets >= 0;
}

static bool fits(const struct sum *sum, uint64_t quota, uint64_t octets)
{
	return sum->messages < MESSAGES && octets <= quota && (uint64_t)sum->octets <= quota - octets;
}

int maildirsize_has_room(int mailbox, uint64_t quota, uint64_t octets)
{
	struct sum sum;
	time_t written = 0;
	bool read = read_sum(mailbox, quota, &sum, &written);

	if (read && (fits(&sum, quota, octets) || (sum.lines == 1 && written > time(NULL) - TRUSTED_S)))
		return fits(&sum, quota, octets);
	if (count(mailbox, &sum) == -1)
		return -1;
	write_anew(mailbox, quota, &sum);       /* else it is counted again the next time */
	return fits(&sum, quota, octets);
}

void maildirsize_add(int mailbox, uint64_t octets)
{
	int fd = openat(mailbox, "maildirsize", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
	char line[60];
	struct stat st;
	int n = snprintf(line, sizeof line, "%llu 1\n", (unsigned long long)octets);

	if (fd == -1)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		(void)!write(fd, line, (size_t)n);
	close(fd);
}
