/* Any file in the queue: read, or said to be damaged in words; what is read prints no control characters and stays in the file.
 * The first octet says whether the first line is made right, so that more than chance gets behind it, and whether it is opened
 * for appending. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "queue/inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char dir[64];
static int at;

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void leave(void)
{
	unlinkat(at, "m", 0);
	rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	snprintf(dir, sizeof dir, "%s/fardel-fuzz.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	must(mkdtemp(dir) && log_open("/dev/null") == 0);
	at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(at != -1);
	atexit(leave);
	return 0;
}

static void check_text(const struct mail *m, struct str s)
{
	must(!s.n || (s.p >= m->text.p && s.p + s.n <= m->text.p + m->text.n));
}

static void check_mail(struct mail *m, size_t file)
{
	must(m->at >= FILE_LINE && m->size >= 0 && m->end >= m->at + m->size && m->end <= (off_t)file);
	must(memchr(m->id, '\0', sizeof m->id) != NULL);
	must(m->nrcpt == 0 || m->rcpt != NULL);
	check_text(m, m->from.addr.local);
	check_text(m, m->origin);
	check_text(m, m->alias_of);
	check_text(m, m->alias_rcpts);
	must(m->own >= 0 && m->own <= m->size && (!m->alias_of.n || id_valid(m->alias_of)));
	for (size_t i = 0; i < m->nrcpt; i++) {
		const struct rcpt *r = &m->rcpt[i];

		must(r->to.addr.local.n > 0);
		check_text(m, r->to.addr.local);
		check_text(m, r->to.addr.domain);
		check_text(m, r->to.orcpt);
		must(r->status.n < REPLY_TEXT && r->words.n <= 4 * REPLY_TEXT);
	}
}

/* One line more, and all that was read is read again. */
static void append(struct mail *m)
{
	static const char line[] = "";
	const char *why = "";
	struct mail *again;
	size_t n = m->nrcpt;

	must(journal_append(m, line, 0) == 0);
	again = mail_open(at, "m", false, false, STR(""), &why);
	must(again != NULL && again->nrcpt == n && again->end == m->end);
	mail_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *why = NULL;
	char line[FILE_LINE + 1];
	struct buf text = { 0 };
	struct mail *m;
	int fd;

	if (n < 3)
		return 0;
	if (data[0] & 1) {
		const char *start = memmem(data + 3, n - 3, "\n\n", 2);
		size_t head = start ? (size_t)(start + 2 - (const char *)data - 3) : n - 3, size = (data[1] * 256u + data[2]) % (n - 3 - head + 1);

		file_line_print(line, (off_t)(FILE_LINE + head), size, crc32_add(crc32_add(0, data + 3, head), data + 3 + head, size));
		buf_add(&text, line, FILE_LINE);
	}
	buf_add(&text, data + 3, n - 3);
	fd = openat(at, "m", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd != -1 && file_write(fd, text.p, text.n) == 0);
	close(fd);
	errno = 0;
	m = mail_open(at, "m", data[0] & 2, data[0] & 4, STR(""), &why);
	if (m) {
		check_mail(m, text.n);
		if (data[0] & 2)
			append(m);
		mail_free(m);
	} else {
		must(errno != 0 && (errno != EBADMSG || (why && *why)));
	}
	buf_free(&text);
	return 0;
}
