/* Any intake log: a recovery ends, reads no octet too many, puts nothing into cur/ but whole messages under names of ours, and a second
 * one has nothing left to do. The first octet says whether what follows are octets of the segment, or records that are made right so that more
 * than chance gets behind the checksum: an octet for kind and shape, two for the length, the rest. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "queue/inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char top[64];
static const char *const dirs[] = { "cur", "in", "work", "bad", "wal" };
enum { DIRS = sizeof dirs / sizeof *dirs };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void empty(const char *name, bool whole_only)
{
	int fd = openat(queue.dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	struct dirent *x;

	must(d != NULL);
	while ((x = readdir(d))) {
		if (x->d_name[0] == '.')
			continue;
		if (whole_only) {
			const char *why;
			struct entry_name n;
			struct mail *m = mail_open(fd, x->d_name, false, true, STR(""), &why);

			must(m && entry_parse(x->d_name, &n) && strcmp(m->id, n.id) == 0);
			mail_free(m);
		}
		must(unlinkat(fd, x->d_name, 0) == 0);
	}
	closedir(d);
}

static void leave(void)
{
	for (int i = 0; i < DIRS; i++) {
		empty(dirs[i], false);
		unlinkat(queue.dir, dirs[i], AT_REMOVEDIR);
	}
	rmdir(top);
}

static int no_sync(int fd)
{
	(void)fd;
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int *fds[] = { &queue.cur, &queue.in, &queue.work, &queue.bad };

	(void)argc;
	(void)argv;
	snprintf(top, sizeof top, "%s/fardel-fuzz.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	must(mkdtemp(top) && log_open("/dev/null") == 0);
	queue.dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	queue.conf.dir = top;
	queue.conf.sync = QUEUE_SYNC_LOG;
	for (int i = 0; i < DIRS; i++) {
		must(mkdirat(queue.dir, dirs[i], 0700) == 0);
		if (i < 4)
			*fds[i] = openat(queue.dir, dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	file_sys.syncfs = no_sync;
	atexit(leave);
	return 0;
}

static const char *const names[] = {
	"0000000100.0.6b040b696db0f6315eaf30e2.+", "0000000100.1.6b040b696db0f6315eaf30e2.example.org", "0000000300.H.6b040b696db0f6315eaf30e2.example.com",
	"0000000200.0.6b040b696db0f6315eaf30e3.example.org",
};

/* A message with one id or the other, its text from the input. */
static void make_message(struct buf *out, unsigned which, const uint8_t *p, size_t n)
{
	char line[FILE_LINE + 1], envelope[400];
	int len = snprintf(envelope, sizeof envelope, "ID %.24s\nMAIL FROM:<a@example.net>\nRCPT TO:<b@example.org>\nRCPT TO:<c@example.com>\n\n",
		names[which & 3] + 13);
	uint32_t crc = crc32_add(crc32_add(0, envelope, (size_t)len), p, n);

	file_line_print(line, FILE_LINE + len, n, crc);
	buf_add(out, line, FILE_LINE);
	buf_add(out, envelope, (size_t)len);
	buf_add(out, p, n);
}

/* One record from the input. */
static void make_record(struct buf *out, const struct wal_head *h, uint32_t number, uint8_t what, const uint8_t *p, size_t n)
{
	static const char kinds[] = "MJNG";
	char kind = kinds[what & 3], head[WAL_HEAD_LINE];
	const char *name = names[what >> 2 & 3];
	struct buf rest = { 0 };

	switch (kind) {
	case 'M':
		snprintf(head, sizeof head, "%s", name);
		if (what & 0x80)
			buf_add(&rest, p, n);
		else
			make_message(&rest, what >> 2, p, n);
		break;
	case 'J':
		snprintf(head, sizeof head, "%.24s", name + 13);
		if (what & 0x80)
			buf_add(&rest, p, n);
		else
			journal_line(&rest, 1000, what & 0x40 ? "delivered" : "deferred", what & 0x40 ? STR("1<b@example.org>") : STR("example.com"), STR(""), NULL, NULL);
		break;
	case 'N':
		snprintf(head, sizeof head, "%s %s", what & 0x40 ? names[n & 3] : "-", name);
		break;
	default:
		snprintf(head, sizeof head, "%s %s", what & 0x40 ? "done" : "away", name);
		break;
	}
	if (what & 0x20 && n)
		snprintf(head, sizeof head, "%.*s", (int)(n < 300 ? n : 300), (const char *)p);
	wal_record(out, h, number, kind, str_of(head), rest.p ? rest.p : "", rest.n);
	buf_free(&rest);
	if (what & 0x10)
		while (out->n % WAL_BLOCK)
			buf_char(out, (char)what);
}

static void make_segment(const uint8_t *data, size_t n, bool raw, const struct wal_head *h, const char *name)
{
	struct buf b = { 0 };
	char block[WAL_BLOCK];
	int fd;

	wal_head_print(block, h);
	buf_add(&b, block, sizeof block);
	if (raw)
		buf_add(&b, data, n);
	for (uint32_t number = 1; !raw && n >= 3; number++) {
		size_t some = data[1] * 16u + data[2];

		some = some < n - 3 ? some : n - 3;
		make_record(&b, h, number, data[0], data + 3, some);
		data += 3 + some;
		n -= 3 + some;
	}
	fd = openat(queue.dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd != -1 && file_write(fd, b.p, b.n) == 0);
	close(fd);
	buf_free(&b);
}

static unsigned names_in_cur(void)
{
	static char found[64][NAME_ROOM];

	int n = list_names(queue.cur, found, 64);

	must(n != -1);
	return (unsigned)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct wal_head h = { .seq = 3, .life = 0x1122334455667788u, .cache = "before/1" };
	size_t half;
	uint64_t seq;
	char why[500];
	unsigned first;

	if (n < 2)
		return 0;
	half = (n - 2) * data[1] / 256;
	make_segment(data + 2, half, data[0] & 1, &h, "wal/0");
	h.seq += data[0] & 2;
	h.life++;
	make_segment(data + 2 + half, n - 2 - half, data[0] & 1, &h, "wal/1");
	must(recover("now/2", &seq, why, sizeof why) == 0 && seq == h.seq);
	first = names_in_cur();
	must(recover("now/2", &seq, why, sizeof why) == 0);
	must(names_in_cur() == first);
	empty("cur", true);
	empty("work", false);
	empty("wal", false);
	return 0;
}
