/* An hour of mixed load with faults, or as long as is said, on a server that is reloaded, ended, killed and started again: every message that
 * was taken reaches each of its recipients once, or is reported once; memory and descriptors stay as they are; nothing is left in the queue.
 *   soak PROGRAM FAKEDNS SHIM [control | load]
 * SOAK_SECONDS (3600) in all, SOAK_RATE (20) messages a second, SOAK_SYNC: file, log, or both, one after the other (both); SOAK_SEED; SOAK_LOG
 * (warn): log_level; SOAK_LOUD=1: what the controls say; KEEP=1 leaves the directory. First come short runs with a defect that must be
 * found; control: these alone, load: without them.
 * Ends with "N passed, N failed", N being recipients and what is said of the whole. Restarts are within the first third, so that the rest
 * shows whether figures stay. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/soak/ledger.h"
#include "tests/soak/letter.h"
#include "tests/soak/link.h"
#include "tests/soak/load.h"
#include "tests/soak/peers.h"

enum {
	SHORTEST_S = 40,                /* 20 for each method */
	START_S = 20,                   /* until a server greets */
	STOP_S = 30,                    /* until it has ended: it gives sessions and deliveries 20 s */
	SENDERS_S = 150,                /* until the last sender has ended */
	DRAIN_S = 1500,                 /* until the queue is empty, when nobody fails any more: sixty reports a minute, which most of it may wait for */
	IDLE_S = 120,                   /* until connections have been closed */
	SAMPLES = 1000,
	GROWTH_KB = 1024,               /* of resident memory, from behind the warm-up to the end... */
	GROWTH_SHORT_KB = 6144,         /* ...and where there is no time to warm up */
	IDLE_GROWTH_KB = 6144,          /* from before the load to idle after it: pages of the program and its libraries are most of it */
	LONG_S = 1200,
	OPENED_LATER = 2,               /* descriptors: the day's file of mail that has left, and epoll's, once there has been a crowd */
	REPEATS_A_KILL = 40,            /* two messages with all their recipients */
	MOST_WAITING = 2000,            /* recipients: bounds the disk, and what the server has to remember */
	TEXT = 4096
};
enum promise {                          /* about the whole */
	EACH_ONCE, NO_COMPLAINT, FEW_REPEATS, EMPTY, NONE_ASIDE, ALL_WAYS, FLAT_MEMORY, GIVEN_BACK, FLAT_DESCRIPTORS
};
enum defect { SOUND, LOSES, ALTERS, DOUBLES, LEAKS_MEMORY, LEAKS_DESCRIPTORS };

static const char *program, *fakedns, *shim;
static double seconds, began;
static const char *method, *sync_now;   /* queue_sync: what it is asked for, and what is in force; the last restart takes the first */
static enum defect defect;
static char work[256], conf[300], queue[300];
static unsigned port, peer_port, dns_port;
static pid_t server = -1, resolver = -1;
static unsigned restarts, kills, reloads, tools;
static volatile sig_atomic_t interrupted;
static volatile struct {
	unsigned passed, failed;
	unsigned broken;                /* promises, as bits */
} *sums;

static void on_signal(int signo) { interrupted = signo; }

static double since(void) { return soak_now() - began; }

static void promise(enum promise what, bool kept, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void promise(enum promise what, bool kept, const char *fmt, ...)
{
	va_list ap;

	printf("%s  ", kept ? "ok  " : "FAIL");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	sums->passed += kept;
	sums->failed += !kept;
	sums->broken |= kept ? 0 : 1u << what;
}

static void remove_tree(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *x;

	while (d && (x = readdir(d)))
		if (strcmp(x->d_name, ".") && strcmp(x->d_name, "..")) {
			char below[1024];

			snprintf(below, sizeof below, "%s/%s", path, x->d_name);
			if (unlink(below) == -1)
				remove_tree(below);
		}
	if (d)
		closedir(d);
	rmdir(path);
}

static _Noreturn void give_up(const char *what, const char *why)
{
	printf("soak: %s: %s\n", what, why);
	fflush(stdout);
	if (server > 0)
		kill(server, SIGKILL);
	if (work[0] && !getenv("KEEP"))
		remove_tree(work);
	sums->failed++;
	_exit(1);
}

/* ---- files */

static void write_file(const char *path, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void write_file(const char *path, const char *fmt, ...)
{
	FILE *f = fopen(path, "we");
	va_list ap;

	if (!f)
		give_up(path, strerror(errno));
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	if (fclose(f) == EOF)
		give_up(path, strerror(errno));
}

/* Calls each() for the names in a directory below the work directory; returns how many there are. */
static unsigned each_file(const char *dir, void (*each)(const char *path))
{
	char path[1024];
	struct dirent *x;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof path, "%s/%s", work, dir);
	if (!(d = opendir(path)))
		return 0;
	while ((x = readdir(d))) {
		if (x->d_name[0] == '.')
			continue;
		n++;
		snprintf(path, sizeof path, "%s/%s/%s", work, dir, x->d_name);
		if (each)
			each(path);
	}
	closedir(d);
	return n;
}

static unsigned in_queue(void)
{
	return each_file("queue/cur", NULL) + each_file("queue/in", NULL) + each_file("queue/new", NULL) + each_file("queue/work", NULL);
}

/* ---- the server */

static unsigned free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1 || bind(fd, (struct sockaddr *)&a, n) == -1 || getsockname(fd, (struct sockaddr *)&a, &n) == -1)
		give_up("a free port", strerror(errno));
	close(fd);
	return ntohs(a.sin_port);
}

/* In turns with and without mix_domains: settings change under way. */
static void write_conf(void)
{
	const char *level = getenv("SOAK_LOG");
	char next[310], here[512];

	if (!getcwd(here, sizeof here))
		give_up("here", strerror(errno));
	snprintf(next, sizeof next, "%s.new", conf);
	write_file(next,
		"hostname = mail.soak.test\nlisten = smtp://127.0.0.1:%u\nqueue = %s\nqueue_sync = %s\nlocal_domains = here.test\n"
		"mailbox = %s/mail/{user}/\naliases =\nresolver = 127.0.0.1:%u\nsmtp_port = %u\nretry_first = 1s\nretry_max = 8s\nqueue_lifetime = 5d\n"
		"delay_notice = 30s\ncheck_sender = no\nspf = off\njudge = off\nmta_sts = no\nconnections_per_minute = 0\n"
		"tls_certificate = %s/tests/pki/ec.crt\ntls_key = %s/tests/pki/ec.key\nmix_domains = %s\nlog = %s/log\nlog_level = %s\n"
		"route = lmtp.test lmtp://%s:%u\nroute = route.test smtp://%s:%u\nroute = back.test smtp://%s:%u\n",
		port, queue, sync_now, work, dns_port, peer_port, here, here, reloads % 2 ? "no" : "yes", work, level ? level : "warn",
		peer_address(PEER_LMTP), peer_port, peer_address(PEER_ROUTE), peer_port, peer_address(PEER_BACK), peer_port);
	if (rename(next, conf) == -1)
		give_up(conf, strerror(errno));
}

static bool greets(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool well = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
	char line[200];
	struct link l;

	link_open(&l, fd, 5);
	well = well && link_line(&l, line, sizeof line) > 3 && !strncmp(line, "220", 3);
	link_close(&l);
	return well;
}

static void start(const char *sync)
{
	const char *argv[] = { program, "serve", "-c", conf, NULL };
	double end = soak_now() + START_S;
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	sync_now = sync;
	write_conf();
	server = soak_spawn(nowhere, nowhere, argv);
	close(nowhere);
	while (!greets()) {
		int status;

		/* Helpers of the one before may still hold the queue. */
		if (waitpid(server, &status, WNOHANG) == server) {
			if (!WIFEXITED(status) || WEXITSTATUS(status) != 75)
				give_up("fardel serve", "it does not start");
			soak_nap(0.1);
			server = soak_spawn(0, 1, argv);
		}
		if (soak_now() > end)
			give_up("fardel serve", "it does not greet");
		soak_nap(0.05);
	}
}

static void stop(void)
{
	double end = soak_now() + STOP_S;
	int status = 0;
	pid_t r;

	kill(server, SIGTERM);
	while ((r = waitpid(server, &status, WNOHANG)) == 0 && soak_now() < end)
		soak_nap(0.05);
	if (r == 0) {
		kill(server, SIGKILL);
		waitpid(server, &status, 0);
		ledger_wrong("fardel serve has not ended %d s after SIGTERM", STOP_S);
	} else if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		ledger_wrong("fardel serve has ended with wait status %d after SIGTERM", status);
	}
	server = -1;
}

static void kill_server(void)
{
	ledger_kill();
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	server = -1;
	kills++;
}

static void look_after_server(void)
{
	int status;

	if (waitpid(server, &status, WNOHANG) != server)
		return;
	ledger_wrong("fardel serve has ended by itself, wait status %d", status);
	start(method);
}

/* ---- what it takes: the server's process and its children */

static struct sample {
	double at;
	unsigned main_kb, helpers_kb, descriptors, processes;
} samples[SAMPLES];
static unsigned nsamples;

static unsigned descriptors_of(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%ld/fd", (long)pid);
	if (!(d = opendir(path)))
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static unsigned resident_kb(pid_t pid)
{
	char path[64];
	unsigned long all, resident = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%ld/statm", (long)pid);
	if ((f = fopen(path, "re"))) {
		if (fscanf(f, "%lu %lu", &all, &resident) != 2)
			resident = 0;
		fclose(f);
	}
	return (unsigned)(resident * (unsigned long)sysconf(_SC_PAGESIZE) >> 10);
}

static pid_t parent_of(const char *pid)
{
	char path[300], text[512], *end;
	long parent = -1;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%s/stat", pid);
	if (!(f = fopen(path, "re")))
		return -1;
	if (fgets(text, sizeof text, f) && (end = strrchr(text, ')')))
		sscanf(end, ") %*c %ld", &parent);
	fclose(f);
	return (pid_t)parent;
}

static struct sample measure(void)
{
	struct sample s = { .at = since(), .main_kb = resident_kb(server), .descriptors = descriptors_of(server), .processes = 1 };
	DIR *d = opendir("/proc");
	struct dirent *x;

	while (d && (x = readdir(d))) {
		pid_t pid = (pid_t)atoi(x->d_name);

		if (pid <= 0 || parent_of(x->d_name) != server)
			continue;
		s.helpers_kb += resident_kb(pid);
		s.descriptors += descriptors_of(pid);
		s.processes++;
	}
	if (d)
		closedir(d);
	return s;
}

/* When nothing has been opened or closed for a while; a log may be made beside the service. */
static struct sample at_rest(void)
{
	double end = soak_now() + START_S, still = soak_now() + 2;
	struct sample s = measure();

	while (soak_now() < still && soak_now() < end) {
		struct sample now;

		soak_nap(0.2);
		now = measure();
		if (now.descriptors != s.descriptors)
			still = soak_now() + 2;
		s = now;
	}
	return s;
}

static int by_size(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return x < y ? -1 : x > y;
}

/* The median of main and helpers together within a part of the time; 0: nothing was measured. */
static unsigned median_kb(double from, double to)
{
	static unsigned kb[SAMPLES];
	unsigned n = 0;

	for (unsigned i = 0; i < nsamples; i++)
		if (samples[i].at >= from * seconds && samples[i].at <= to * seconds)
			kb[n++] = samples[i].main_kb + samples[i].helpers_kb;
	qsort(kb, n, sizeof *kb, by_size);
	return n ? kb[n / 2] : 0;
}

/* ---- the mailbox: read, counted and removed */

static void send_again(const char *path, const struct letter *l)
{
	char at[600], to[600], line[TEXT];
	FILE *f = fopen(path, "re"), *out;
	bool on = false;

	snprintf(at, sizeof at, "%s/tmp/again", queue);
	snprintf(to, sizeof to, "%s/new/again", queue);
	if (!f || !(out = fopen(at, "we")))
		give_up(at, strerror(errno));
	fprintf(out, "MAIL FROM:<m%u@back.test>\nRCPT TO:<anna+m%u.k%u@here.test>\n\n", l->id, l->id, l->to[0].rcpt);
	while (fgets(line, sizeof line, f)) {
		on |= !strncmp(line, "From: <m", 8);
		if (on)
			fputs(line, out);
	}
	fclose(f);
	if (fclose(out) == EOF || rename(at, to) == -1)
		give_up(to, strerror(errno));
}

static void collect(const char *path)
{
	static unsigned again;
	char line[TEXT];
	struct timespec wall;
	struct letter l;
	struct stat st;
	FILE *f = fopen(path, "re");
	double age;

	if (!f || fstat(fileno(f), &st) == -1)
		return;
	letter_begin(&l);
	while (fgets(line, sizeof line, f)) {
		size_t n = strcspn(line, "\r\n");

		line[n] = '\0';
		letter_line(&l, line, (int)n);
	}
	fclose(f);
	clock_gettime(CLOCK_REALTIME, &wall);
	age = (double)(wall.tv_sec - st.st_mtim.tv_sec) + (double)(wall.tv_nsec - st.st_mtim.tv_nsec) / 1e9;
	if (l.nto != 1 || l.to[0].id != l.id)
		ledger_wrong("a letter in the mailbox, message %u, names %u recipients", l.id, l.nto);
	else
		ledger_came(l.id, l.to[0].rcpt, l.to[0].domain, l.hash, soak_now() - age);
	if (defect == DOUBLES && again++ == 3)
		send_again(path, &l);
	unlink(path);
}

/* ---- what happens meanwhile */

static unsigned spoilt;

/* A file of the queue, by somebody who should not. */
static void spoil(const char *path)
{
	int fd;

	if (spoilt >= 3 || soak_random(4))
		return;
	if (defect == LOSES)
		spoilt += unlink(path) == 0;
	else if ((fd = open(path, O_RDWR | O_CLOEXEC)) != -1) {
		char first[65] = "", *size = NULL;
		off_t at = 0, n = 0;

		if (pread(fd, first, 64, 0) == 64 && (size = strstr(first, "size=")) && sscanf(first, "FARDEL 1 at=%ld", &at) == 1)
			n = atol(size + 5);
		spoilt += n > 2 && pwrite(fd, "~", 1, at + n - 3) == 1;
		close(fd);
	}
}

static void run_tool(void)
{
	static const char *const words[][2] = { { "mailq", NULL }, { "why", NULL }, { "queue", "list" }, { "queue", "shape" }, { "metrics", NULL } };
	unsigned i = tools++ % (sizeof words / sizeof *words);
	const char *argv[] = { program, words[i][0], words[i][1] ? words[i][1] : "-c", words[i][1] ? "-c" : conf, words[i][1] ? conf : NULL, NULL };
	int status = soak_command(30, -1, argv);

	/* 1: there is nothing to be told of. */
	if (status != 0 && !(status == 1 && i == 1))
		ledger_wrong("fardel %s %s: status %d", words[i][0], words[i][1] ? words[i][1] : "", status);
}

static void restart(bool last)
{
	static const char *const methods[] = { "file", "log" };

	if (restarts++ % 2)
		kill_server();
	else
		stop();
	start(last ? method : methods[soak_random(2)]);
}

static void reload(void)
{
	reloads++;
	write_conf();
	kill(server, SIGHUP);
}

static void change_a_host(void)
{
	static int down = -1;

	if (down != -1)
		peer_down((enum peer)down, false);
	down = down == -1 ? (int)soak_random(PEERS) : -1;
	if (down != -1)
		peer_down((enum peer)down, true);
}

static void show(const char *when)
{
	struct ledger_counts c = ledger_counts();
	struct sample s = measure();

	printf("%s (%.0f s): %u messages, %u answered yes, %u no, %u not; recipients %u, delivered %u, reported %u, waiting %u, in doubt %u, delayed %u; "
		"repeats %u, wrong %u; %u + %u kB, %u descriptors, %u processes; %u files\n", when, since(), c.messages, c.yes, c.no, c.lost, c.recipients,
		c.delivered, c.reported, c.waiting, c.doubtful, c.delayed, c.repeats, c.wrong, s.main_kb, s.helpers_kb, s.descriptors, s.processes, in_queue());
	fflush(stdout);
}

/* Once every so often; *at is when next. */
static bool is_time(double *at, double every)
{
	if (since() < *at)
		return false;
	*at = since() + every;
	return true;
}

static double at_least(double a, double b) { return a > b ? a : b; }

static void under_load(void)
{
	double third = seconds / 3, gap = at_least(seconds / 90, 5);
	double at_sample = 0, at_show = 60, at_tool = 3, at_mail = 0, at_restart = gap, at_reload = 2, at_host = seconds / 24, at_spoil = seconds / 2;
	bool last = false;
	char when[32];

	while (since() < seconds && !interrupted) {
		if (!last && (since() >= at_restart || since() >= third)) {
			last = since() >= third;
			restart(last);
			at_restart = since() + gap * (50 + soak_random(100)) / 100;
		}
		look_after_server();
		if (is_time(&at_sample, seconds / (SAMPLES - 100)) && nsamples < SAMPLES)
			samples[nsamples++] = measure();
		if (is_time(&at_mail, 1))
			each_file("mail/anna/new", collect);
		if (is_time(&at_tool, at_least(seconds / 120, 4)))
			run_tool();
		if (is_time(&at_reload, at_least(seconds / 60, 4)))
			reload();
		if (is_time(&at_host, seconds / 24 < 60 ? seconds / 24 : 60))
			change_a_host();
		if ((defect == LOSES || defect == ALTERS) && since() > at_spoil)
			each_file("queue/cur", spoil);
		if (is_time(&at_show, 60)) {
			snprintf(when, sizeof when, "%.0f min", since() / 60);
			show(when);
		}
		soak_nap(0.2);
	}
}

static bool drained(void)
{
	double end = soak_now() + DRAIN_S;

	peers_behave();
	for (int i = 0; i < PEERS; i++)
		peer_down((enum peer)i, false);
	while (soak_now() < end && !interrupted) {
		look_after_server();
		each_file("mail/anna/new", collect);
		if (!in_queue() && (!ledger_counts().waiting || defect))
			return true;
		soak_nap(0.2);
	}
	return false;
}

static bool gives_back(const struct sample *idle, const struct sample *s)
{
	return s->main_kb + s->helpers_kb <= idle->main_kb + idle->helpers_kb + IDLE_GROWTH_KB;
}

static bool are_closed(const struct sample *idle, const struct sample *s) { return s->descriptors <= idle->descriptors + OPENED_LATER; }

static struct sample settled(const struct sample *idle)
{
	double end = soak_now() + (defect ? 10 : IDLE_S);
	struct sample s = measure();

	while ((!are_closed(idle, &s) || !gives_back(idle, &s)) && soak_now() < end && !interrupted) {
		soak_nap(0.5);
		s = measure();
	}
	return s;
}

/* ---- a run */

static void begin_resolver(void)
{
	char zone[310], text[100];
	const char *argv[] = { fakedns, zone, NULL };
	int in[2], out[2];
	FILE *f;

	snprintf(zone, sizeof zone, "%s/zone", work);
	if (!(f = fopen(zone, "we")))
		give_up(zone, strerror(errno));
	for (int i = PEER_H0; i <= PEER_H4; i++)
		fprintf(f, "h%d.hosts.test A %s\nh%d.hosts.test TTL 20\n", i, peer_address((enum peer)i), i);
	fputs("d0.test MX 10 h0.hosts.test\nd1.test MX 10 h0.hosts.test\nd1.test MX 10 h1.hosts.test\nd2.test MX 10 h1.hosts.test\n"
		"d2.test MX 20 h2.hosts.test\nd3.test MX 10 h3.hosts.test\nd3.test MX 20 h4.hosts.test\nd4.test MX 10 h0.hosts.test\n"
		"d5.test MX 10 h2.hosts.test\nd5.test MX 10 h3.hosts.test\nd5.test MX 20 h4.hosts.test\nd5.test DELAY 200\nd2.test TTL 5\n", f);
	if (fclose(f) == EOF || pipe2(in, O_CLOEXEC) == -1 || pipe2(out, O_CLOEXEC) == -1)
		give_up("the resolver", strerror(errno));
	resolver = soak_spawn(in[0], out[1], argv);     /* it ends when we do: in[1] is ours alone */
	close(in[0]);
	close(out[1]);
	f = fdopen(out[0], "r");
	if (!f || !fgets(text, sizeof text, f) || sscanf(text, "port %u", &dns_port) != 1)
		give_up("the resolver", "it says no port");
	fclose(f);
}

static void make_place(void)
{
	static const char *const dirs[] = { "mail", "mail/anna", "mail/anna/cur", "mail/anna/new", "mail/anna/tmp" };
	const char *tmp = getenv("TMPDIR");
	char path[400];

	snprintf(work, sizeof work, "%s/fardel-soak.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(work))
		give_up(work, strerror(errno));
	snprintf(conf, sizeof conf, "%s/fardel.conf", work);
	snprintf(queue, sizeof queue, "%s/queue", work);
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		snprintf(path, sizeof path, "%s/%s", work, dirs[i]);
		if (mkdir(path, 0700) == -1)
			give_up(path, strerror(errno));
	}
}

static void tell_defect(void)
{
	if (defect != LEAKS_MEMORY && defect != LEAKS_DESCRIPTORS)
		return;
	setenv("SOAK_LEAK", defect == LEAKS_MEMORY ? "memory" : "descriptors", 1);
	setenv("LD_PRELOAD", shim, 1);
}

static void judge(const struct sample *idle, bool empty, const struct sample *end)
{
	unsigned all_ways, ways = load_ways(&all_ways), passed = 0, failed = 0, before = median_kb(0.5, 0.6), behind = median_kb(0.9, 1);
	unsigned growth = seconds < LONG_S ? GROWTH_SHORT_KB : GROWTH_KB;
	struct ledger_counts c;

	ledger_judge(&passed, &failed);
	c = ledger_counts();
	sums->passed += passed;
	sums->failed += failed;
	promise(EACH_ONCE, !failed && c.messages > 0, "%u messages, %u recipients: each delivered once, reported once, or not taken; %u were not",
		c.messages, passed + failed, failed);
	promise(NO_COMPLAINT, !c.wrong, "no body altered, no report without a reason, no process ended by itself, no command failed: %u complaints",
		c.wrong);
	promise(FEW_REPEATS, c.repeats <= kills * REPEATS_A_KILL, "%u repeats, all of them of what was under way at one of %u kills: what had come "
		"%.1f s before it, at most", c.repeats, kills, c.longest);
	promise(EMPTY, empty, "the queue is empty: %u files", in_queue());
	promise(NONE_ASIDE, !each_file("queue/bad", NULL), "nothing was set aside");
	promise(ALL_WAYS, ways == all_ways, "%u of %u ways to send were gone", ways, all_ways);
	promise(FLAT_MEMORY, before && behind <= before + growth, "memory is flat to %u kB: %u kB behind the warm-up, %u kB at the end of the load",
		growth, before, behind);
	promise(GIVEN_BACK, gives_back(idle, end), "memory is given back: %u kB idle at the start, %u kB idle at the end", idle->main_kb + idle->helpers_kb,
		end->main_kb + end->helpers_kb);
	promise(FLAT_DESCRIPTORS, are_closed(idle, end), "descriptors are flat: %u idle at the start, %u at the end, of %u processes",
		idle->descriptors, end->descriptors, end->processes);
}

static void show_what_was(void)
{
	enum { PARTS = 20 };
	unsigned n;

	printf("memory, kB, in twenty parts of the time:");
	for (int i = 0; i < PARTS; i++)
		printf(" %u", median_kb(i / (double)PARTS, (i + 1) / (double)PARTS));
	putchar('\n');
	for (unsigned i = 0; load_way(i, &n); i++)
		printf("%s%s %u", i ? ", " : "sessions: ", load_way(i, &n), n);
	printf("\n%u restarts, %u of them by SIGKILL, %u reloads, %u commands beside it\n", restarts, kills, reloads, tools);
}

static void run(void)
{
	const char *rate = getenv("SOAK_RATE"), *wrong;
	struct sample idle, end;
	bool empty;

	make_place();
	tell_defect();
	if (!ledger_open())
		give_up("memory", strerror(errno));
	peer_port = free_port();
	wrong = peers_open(peer_port, seconds / 60 < 30 ? seconds / 60 : 30);
	if (wrong)
		give_up("peers", wrong);
	begin_resolver();
	port = free_port();
	start(method);
	idle = at_rest();
	began = soak_now();
	wrong = load_begin(&(struct load_config){ .program = program, .conf = conf, .queue = queue, .port = port, .rate = rate ? atof(rate) : 20,
		.most_waiting = MOST_WAITING });
	if (wrong)
		give_up("load", wrong);
	under_load();
	if (!load_end(interrupted ? 1 : SENDERS_S) && !interrupted)
		ledger_wrong("a sender has not ended after %d s", SENDERS_S);
	show("the load has ended");
	empty = drained();
	end = settled(&idle);
	show("at the end");
	stop();
	each_file("mail/anna/new", collect);
	show_what_was();
	judge(&idle, empty, &end);
	kill(resolver, SIGTERM);
	if (getenv("KEEP"))
		printf("kept: %s\n", work);
	else
		remove_tree(work);
	fflush(stdout);
	_exit(0);
}

/* Each run is a process of its own: nothing of one reaches the next. */
static void run_apart(const char *with, double how_long, enum defect d, bool quietly)
{
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid == -1) {
		sums->failed++;
		return;
	}
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (quietly && !getenv("SOAK_LOUD") && !freopen("/dev/null", "w", stdout))
			_exit(1);
		method = with;
		seconds = how_long;
		defect = d;
		run();
	}
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		if (interrupted)
			kill(pid, SIGTERM);
	if (!WIFEXITED(status))
		sums->failed++;
}

/* What breaks a promise must be seen to. If it is not, nothing else that is said here counts. */
static const struct {
	const char *what;
	enum defect defect;
	enum promise breaks;
} controls[] = {
	{ "without a defect", SOUND, EACH_ONCE },              /* and all others */
	{ "files of the queue are removed", LOSES, EACH_ONCE },
	{ "files of the queue are altered", ALTERS, NO_COMPLAINT },
	{ "a message is sent twice", DOUBLES, EACH_ONCE },
	{ "memory leaks", LEAKS_MEMORY, FLAT_MEMORY },
	{ "descriptors leak", LEAKS_DESCRIPTORS, FLAT_DESCRIPTORS },
};

static void run_controls(void)
{
	enum { CONTROL_S = 24 };

	for (size_t i = 0; i < sizeof controls / sizeof *controls && !interrupted; i++) {
		unsigned p = sums->passed, f = sums->failed;
		bool found, well;

		sums->broken = 0;
		run_apart("file", CONTROL_S, controls[i].defect, true);
		found = controls[i].defect ? sums->broken >> controls[i].breaks & 1 : sums->broken;
		well = found == (controls[i].defect != SOUND);
		sums->passed = p + well;
		sums->failed = f + !well;
		printf("control, %s: %sfound%s\n", controls[i].what, found ? "" : "nothing ", well ? "" : ": FAIL");
	}
}

int main(int argc, char **argv)
{
	const char *given = getenv("SOAK_SECONDS"), *sync = getenv("SOAK_SYNC"), *seed = getenv("SOAK_SEED");
	static const char *const methods[] = { "file", "log" };
	struct sigaction a = { .sa_handler = on_signal };
	double all = given ? atof(given) : 3600;
	uint64_t first = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
	bool both = !sync || !strcmp(sync, "both");

	if (argc < 4 || argc > 5 || (argc == 5 && strcmp(argv[4], "control") && strcmp(argv[4], "load")) || all < SHORTEST_S ||
			(!both && strcmp(sync, methods[0]) && strcmp(sync, methods[1]))) {
		fprintf(stderr, "soak: T is control or load, SOAK_SYNC file, log or both, SOAK_SECONDS %d at least\n", SHORTEST_S);
		return 2;
	}
	program = argv[1];
	fakedns = argv[2];
	shim = argv[3];
	sums = mmap(NULL, sizeof *sums, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sums == MAP_FAILED)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	soak_seed(first);
	printf("SOAK_SEED=%llu\n", (unsigned long long)first);
	if (argc == 4 || strcmp(argv[4], "load"))
		run_controls();
	for (size_t i = 0; i < 2 && (argc == 4 || strcmp(argv[4], "control")) && !interrupted; i++)
		if (both || !strcmp(sync, methods[i])) {
			printf("== %.0f s, queue_sync = %s\n", both ? all / 2 : all, methods[i]);
			run_apart(methods[i], both ? all / 2 : all, SOUND, false);
		}
	if (interrupted)
		sums->failed++;
	printf("%u passed, %u failed\n", sums->passed, sums->failed);
	return sums->failed || !sums->passed;
}
