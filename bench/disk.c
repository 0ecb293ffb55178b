/* disk DIRECTORY log|syncfs [SECONDS [WAITING]]: what a disk gives to a program that does nothing else than make messages durable in groups.
 * Each is a file of 4096 octets with a name, as many at a time as wait for the disk (100), while a second process makes those before durable:
 * log: with one fdatasync() of a file that is filled already, to which all of them are added; syncfs: with one sync of the file system.
 * Prints messages a second, messages, syncs. It shares no code with the program. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 4096, LOG = 64 << 20, MOST = 1000 };

static char text[SIZE];
static int dir, work, cur, record = -1;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "disk: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int folder(int in, const char *name)
{
	int fd;

	must(mkdirat(in, name, 0700) == 0 || errno == EEXIST, name);
	fd = openat(in, name, O_RDONLY | O_DIRECTORY);
	must(fd != -1, name);
	return fd;
}

static void make_log(void)
{
	static char zeros[1 << 20];

	record = openat(dir, "log", O_RDWR | O_CREAT | O_TRUNC, 0600);
	must(record != -1, "log");
	for (int i = 0; i < LOG / (int)sizeof zeros; i++)
		must(write(record, zeros, sizeof zeros) == sizeof zeros, "log");
	must(syncfs(dir) == 0, "syncfs");
}

/* In the second process: an octet asks, and one answers. */
static void sync_for(int socket)
{
	char c;

	while (read(socket, &c, 1) == 1) {
		must((record == -1 ? syncfs(dir) : fdatasync(record)) == 0, "sync");
		if (write(socket, &c, 1) != 1)
			break;
	}
	exit(0);
}

/* Whole when it has its name, as a message of a mail server. */
static void make_one(unsigned long i, off_t *at)
{
	char name[40];
	int fd;

	snprintf(name, sizeof name, "1795427177.0.%08lx.there.test", i);
	fd = openat(work, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	must(fd != -1 && write(fd, text, SIZE) == SIZE && renameat(work, name, cur, name) == 0, name);
	close(fd);
	if (record == -1)
		return;
	must(pwrite(record, text, SIZE, *at) == SIZE, "log");
	*at = (*at + SIZE) % LOG;
}

int main(int argc, char **argv)
{
	unsigned long made = 0, durable = 0, asked = 0, syncs = 0;
	double seconds = argc > 3 ? atof(argv[3]) : 1, began;
	unsigned long waiting = argc > 4 ? strtoul(argv[4], NULL, 10) : 100;
	bool flying = false;
	int socket[2];
	off_t at = 0;

	if (argc < 3 || waiting < 1 || waiting > MOST)
		return 2;
	memset(text, 'x', sizeof text);
	dir = folder(AT_FDCWD, argv[1]);
	work = folder(dir, "work");
	cur = folder(dir, "cur");
	if (strcmp(argv[2], "log") == 0)
		make_log();
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, socket) == 0, "socketpair");
	switch (fork()) {
	case -1:
		must(false, "fork");
		break;
	case 0:
		close(socket[0]);
		sync_for(socket[1]);
	}
	close(socket[1]);
	for (began = now(); now() - began < seconds || flying;) {
		bool go_on = now() - began < seconds, full = made - durable == waiting;
		char c = 's';

		if (!flying && made > durable && (go_on || made > asked)) {
			must(write(socket[0], &c, 1) == 1, "ask");
			asked = made;
			flying = true;
		}
		if (flying && recv(socket[0], &c, 1, full || !go_on ? 0 : MSG_DONTWAIT) == 1) {
			durable = asked;
			flying = false;
			syncs++;
		} else if (go_on && !full) {
			make_one(made++, &at);
		}
	}
	printf("%.1f %lu %lu\n", (double)durable / (now() - began), durable, syncs);
	return 0;
}
