/* The words of a mailbox on disk. */
#include "deliver/words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"

#define FILE_NAME "fardel.words"
#define FRESH_NAME "fardel.words.new"

static int open_regular(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0600);
	struct stat st;

	if (fd == -1 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)))
		return fd;
	close(fd);
	errno = EPERM;
	return -1;
}

struct bayes_table *words_open(int mailbox, bool *fresh)
{
	struct bayes_table *t = malloc(sizeof *t);
	int fd = open_regular(mailbox, FILE_NAME, O_RDONLY);

	*fresh = true;
	if (t && fd != -1)
		*fresh = file_pread(fd, t, sizeof *t, 0) != (ssize_t)sizeof *t || !bayes_valid(t);
	if (t && *fresh)
		bayes_init(t);
	if (fd != -1)
		close(fd);
	return t;
}

int words_save(int mailbox, const struct bayes_table *t)
{
	int fd, r = -1, saved;

	unlinkat(mailbox, FRESH_NAME, 0);
	fd = open_regular(mailbox, FRESH_NAME, O_WRONLY | O_CREAT | O_EXCL);
	if (fd == -1)
		return -1;
	if (file_write(fd, t, sizeof *t) == 0)
		r = renameat(mailbox, FRESH_NAME, mailbox, FILE_NAME);
	saved = errno;
	if (r == -1)
		unlinkat(mailbox, FRESH_NAME, 0);
	close(fd);
	errno = saved;
	return r;
}

bool words_of_fd(int fd, off_t at, struct bayes_words *w)
{
	static char text[BAYES_READ];
	ssize_t n = file_pread(fd, text, sizeof text, at);

	if (n < 0)
		return false;
	bayes_read(w, (struct str){ text, (size_t)n });
	return true;
}

bool words_of_file(int dir, const char *name, struct bayes_words *w)
{
	int fd = open_regular(dir, name, O_RDONLY);
	bool ok = fd != -1 && words_of_fd(fd, 0, w);

	if (fd != -1)
		close(fd);
	return ok;
}
