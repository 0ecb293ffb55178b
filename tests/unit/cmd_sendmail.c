/* sendmail of an account that may not open the queue: the message goes over SMTP to the server of this host. A child runs the
 * command, we are the server. And what -q means beside a message. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/handover.h"
#include "lib/buf.h"
#include "tests/tree.h"

Suite *cmd_sendmail_suite(void);

enum { PATIENCE_S = 20, NOBODY = 65534 };

static char dir[64], conf[128], said[128], text[128], tmp[128], queue[128];
static int port_fd = -1;
static unsigned port;

/* Instead of the one in the C library: what goes there is seen behind what was said. */
void syslog(int, const char *, ...);
void syslog(int priority, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "<%d>", priority);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void write_file(const char *path, const char *content)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
	ck_assert_int_eq(fchmod(fd, 0666), 0);
	close(fd);
}

static const char *read_said(void)
{
	static char out[8192];
	int fd = open(said, O_RDONLY);
	ssize_t n = read(fd, out, sizeof out - 1);

	close(fd);
	out[n > 0 ? n : 0] = '\0';
	return out;
}

static void configure(const char *listen)
{
	char content[1024];

	snprintf(content, sizeof content, "hostname = h.test\nqueue = %s\nlisten = %s\n", queue, listen);
	write_file(conf, content);
}

/* The queue is there and closed to whoever sendmail becomes: root would become its owner. */
static void start(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	char listen_text[64];

	snprintf(dir, sizeof dir, "/tmp/fardel-unit.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	chmod(dir, 0755);
	snprintf(conf, sizeof conf, "%s/conf", dir);
	snprintf(said, sizeof said, "%s/said", dir);
	snprintf(text, sizeof text, "%s/text", dir);
	snprintf(tmp, sizeof tmp, "%s/tmp", dir);
	snprintf(queue, sizeof queue, "%s/queue", dir);
	mkdir(tmp, 0777);
	chmod(tmp, 01777);
	mkdir(queue, 0);
	if (geteuid() == 0)
		ck_assert_int_eq(chown(queue, NOBODY, NOBODY), 0);
	write_file(text, "Subject: x\n\nfirst\n.dotted\n");
	port_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(port_fd, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(port_fd, 5), 0);
	getsockname(port_fd, (struct sockaddr *)&a, &len);
	port = ntohs(a.sin_port);
	snprintf(listen_text, sizeof listen_text, "smtp://127.0.0.1:%u", port);
	configure(listen_text);
	setenv("TMPDIR", tmp, 1);
	unsetenv("FARDEL_CONF");
}

static void stop(void)
{
	chmod(queue, 0700);
	/* Nothing of ours is left where the message lay for a while: else the directory is not empty. */
	ck_assert_msg(rmdir(tmp) == 0, "%s: %s", tmp, strerror(errno));
	tree_remove(dir);
	close(port_fd);
}

/* Runs `sendmail -C conf ARGUMENTS` on input. */
static pid_t begin(int input, const char *const *argument)
{
	char *argv[16] = { (char[]){ "sendmail" }, (char[]){ "-C" }, conf };
	int argc = 3;
	pid_t pid = fork();
	int out;

	ck_assert_int_ne(pid, -1);
	if (pid > 0)
		return pid;
	for (; *argument; argument++)
		argv[argc++] = (char *)(uintptr_t)*argument;
	out = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	dup2(input, 0);
	dup2(out, 1);
	dup2(out, 2);
	alarm(60);
	out = cmd_sendmail(argc, argv);
	fflush(NULL);
	_exit(out);
}

static int status_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "it was killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static int run(const char *const *argument)
{
	int input = open(text, O_RDONLY), status = status_of(begin(input, argument));

	close(input);
	return status;
}
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

/* ---- the server: what it answers, and what it was told */

struct play {
	const char *greeting;           /* NULL: 220 */
	const char *rcpt[2];            /* NULL: 250 */
	const char *final;              /* NULL: 250; "": it closes instead */
};

static bool get_line(FILE *in, char *line, size_t size)
{
	return fgets(line, (int)size, in) != NULL;
}

static void answer(FILE *out, const char *words)
{
	fprintf(out, "%s\r\n", words);
	fflush(out);
}

static void take_data(FILE *in, struct buf *message)
{
	char line[1024];

	while (get_line(in, line, sizeof line) && strcmp(line, ".\r\n") != 0)
		buf_puts(message, line);
}

static void play(const struct play *p, struct buf *commands, struct buf *message)
{
	struct timeval patience = { .tv_sec = PATIENCE_S };
	char line[1024];
	int fd, rcpts = 0;
	FILE *in, *out;

	setsockopt(port_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	fd = accept(port_fd, NULL, NULL);
	ck_assert_msg(fd != -1, "nobody came: %s", read_said());
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	in = fdopen(fd, "r");
	out = fdopen(dup(fd), "w");
	answer(out, p->greeting ? p->greeting : "220 h.test");
	while (get_line(in, line, sizeof line)) {
		buf_puts(commands, line);
		if (!strncmp(line, "RCPT", 4) && rcpts < 2) {
			answer(out, p->rcpt[rcpts] ? p->rcpt[rcpts] : "250 2.1.5 ok");
			rcpts++;
		} else if (!strncmp(line, "DATA", 4)) {
			answer(out, "354 go on");
			take_data(in, message);
			if (p->final && !*p->final)
				break;
			answer(out, p->final ? p->final : "250 2.0.0 Queued as 1234");
		} else {
			answer(out, !strncmp(line, "QUIT", 4) ? "221 2.0.0 bye" : "250 2.0.0 ok");
		}
	}
	fclose(in);
	fclose(out);
}

START_TEST(what_may_not_be_queued_is_handed_to_the_server)
{
	int input, status;
	struct play all_is_well = { 0 };
	struct buf commands = { 0 }, message = { 0 };
	pid_t pid;

	start();
	input = open(text, O_RDONLY);
	pid = begin(input, (const char *const[]){ "-i", "-v", "-f", "me@x.test", "a@y.test", "b@z.test", NULL });
	play(&all_is_well, &commands, &message);
	status = status_of(pid);
	ck_assert_msg(status == 0, "%d: %s", status, read_said());
	ck_assert_ptr_nonnull(strstr(read_said(), "a@y.test: Queued as 1234\n"));
	ck_assert_str_eq(strchr(buf_cstr(&commands), '\n') + 1,
		"MAIL FROM:<me@x.test>\r\nRCPT TO:<a@y.test>\r\nRCPT TO:<b@z.test>\r\nDATA\r\nQUIT\r\n");
	ck_assert_ptr_nonnull(strstr(buf_cstr(&message), "\r\nSubject: x\r\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&message), "\r\n\r\nfirst\r\n..dotted\r\n"));
	ck_assert_int_eq(strncmp(buf_cstr(&message), "Received: ", 10), 0);
	close(input);
	buf_free(&commands);
	buf_free(&message);
	stop();
}
END_TEST

START_TEST(its_refusals_become_words_and_an_exit_status)
{
	static const struct {
		struct play play;
		int status;
		const char *words, *more;
	} rows[] = {
		{ { .rcpt = { "550 5.1.1 who is that" } }, 67, "a@y.test: the server at smtp://127.0.0.1:", "550 5.1.1 who is that\n" },
		{ { .rcpt = { "550 5.1.1 who is that" } }, 67, "1 of 2 recipients", "550" },
		{ { .rcpt = { "550 5.1.1 no", "550 5.1.1 no" } }, 67, "b@z.test: the server", "a@y.test: the server" },
		{ { .rcpt = { "550 5.7.1 no relaying" } }, 77, "550 5.7.1 no relaying", "" },
		{ { .rcpt = { "550 no" } }, 69, "550 no", "" },
		{ { .rcpt = { "451 4.3.0 later" } }, 75, "451 4.3.0 later; try again later", "1 of 2" },
		{ { .rcpt = { "550 5.1.1 no", "450 4.2.0 later" } }, 75, "550 5.1.1 no", "450 4.2.0 later" },
		{ { .final = "552 5.3.4 too large" }, 65, "552 5.3.4 too large", "" },
		{ { .final = "554 5.6.0 bad" }, 65, "554 5.6.0 bad", "" },
		{ { .final = "452 4.3.1 disk full" }, 75, "452 4.3.1 disk full", "" },
		{ { .final = "" }, 75, "cannot hand the message to the server", "may have the message already" },
		{ { .greeting = "554 go away" }, 75, "greeting: go away", "Try again later" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct buf commands = { 0 }, message = { 0 };
		int input, status;
		pid_t pid;

		start();
		input = open(text, O_RDONLY);
		pid = begin(input, (const char *const[]){ "-f", "me@x.test", "a@y.test", "b@z.test", NULL });
		play(&rows[i].play, &commands, &message);
		status = status_of(pid);
		ck_assert_msg(status == rows[i].status, "row %zu: %d: %s", i, status, read_said());
		ck_assert_msg(strstr(read_said(), rows[i].words) && strstr(read_said(), rows[i].more), "row %zu: %s", i, read_said());
		close(input);
		buf_free(&commands);
		buf_free(&message);
		stop();
	}
}
END_TEST

START_TEST(what_is_to_wait_is_not_handed_to_who_holds_nothing)
{
	struct play holds_nothing = { 0 };
	struct buf commands = { 0 }, message = { 0 };
	int input, status;
	pid_t pid;

	start();
	input = open(text, O_RDONLY);
	pid = begin(input, (const char *const[]){ "--at", "+1h", "a@y.test", NULL });
	play(&holds_nothing, &commands, &message);
	status = status_of(pid);
	ck_assert_msg(status == 69, "%d: %s", status, read_said());
	ck_assert_msg(strstr(read_said(), "does not hold messages") && strstr(read_said(), "needs a unix:///PATH"), "%s", read_said());
	ck_assert_ptr_null(strstr(buf_cstr(&commands), "MAIL"));
	close(input);
	buf_free(&commands);
	buf_free(&message);
	stop();
}
END_TEST

START_TEST(where_no_server_is_it_says_so)
{
	start();
	close(port_fd);
	port_fd = -1;
	ck_assert_int_eq(RUN("a@y.test"), 75);
	ck_assert_msg(strstr(read_said(), "connect to localhost[127.0.0.1]:") && strstr(read_said(), "Is `fardel serve` running?"), "%s", read_said());
	configure("");
	ck_assert_int_eq(RUN("a@y.test"), 75);
	ck_assert_msg(strstr(read_said(), "neither unix:// nor smtp://"), "%s", read_said());
	setenv("TMPDIR", "/nonexistent", 1);
	configure("smtp://127.0.0.1:1");
	ck_assert_int_eq(RUN("a@y.test"), 75);
	ck_assert_msg(strstr(read_said(), "Set TMPDIR"), "%s", read_said());
	stop();
}
END_TEST

START_TEST(what_is_wrong_with_the_message_is_found_before_the_server_is_asked)
{
	struct pollfd caller = { .events = POLLIN };

	start();
	caller.fd = port_fd;
	ck_assert_int_eq(RUN("a@@b"), 65);
	ck_assert_int_eq(RUN("-t"), 65);
	ck_assert_int_eq(poll(&caller, 1, 0), 0);
	stop();
}
END_TEST

/* Its text never ends: a pipe whose other end we hold. It is told to end as soon as it has made its directory. */
START_TEST(told_to_end_it_leaves_nothing_behind)
{
	struct stat st;
	int ends[2], status;
	pid_t pid;

	start();
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = begin(ends[0], (const char *const[]){ "a@y.test", NULL });
	for (int i = 0; i < PATIENCE_S * 100 && stat(tmp, &st) == 0 && st.st_nlink < 3; i++)
		poll(NULL, 0, 10);
	kill(pid, SIGTERM);
	status = status_of(pid);
	ck_assert_msg(status == 75, "%d: %s", status, read_said());
	close(ends[0]);
	close(ends[1]);
	stop();
}
END_TEST

START_TEST(the_server_is_called_where_loopback_may_come_in)
{
	static const struct { const char *listen, *want; unsigned port; } rows[] = {
		{ "smtp://127.0.0.1:2525", "127.0.0.1", 2525 },
		{ "smtp://*:26", "127.0.0.1", 26 }, { "smtp://[::]:27", "127.0.0.1", 27 }, { "smtp://0.0.0.0:28", "127.0.0.1", 28 },
		{ "smtp://192.0.2.1:29", "192.0.2.1", 29 },
		{ "smtp://192.0.2.1:29 smtp://127.0.0.2:30", "127.0.0.2", 30 },
		{ "smtp://192.0.2.1:29, smtp://[::1]:31", "::1", 31 },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char option[128], got[INET6_ADDRSTRLEN];
		struct arguments a = { .file = "/dev/null", .n = 1, .option = { option } };
		struct sockaddr_storage ss;
		struct settings set;
		socklen_t len;

		snprintf(option, sizeof option, "listen = %s", rows[i].listen);
		ck_assert(settings_load(&set, &a));
		ck_assert_ptr_nonnull(handover_address(&set, &ss, &len));
		inet_ntop(ss.ss_family, ss.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&ss)->sin_addr :
			(void *)&((struct sockaddr_in6 *)&ss)->sin6_addr, got, sizeof got);
		ck_assert_str_eq(got, rows[i].want);
		ck_assert_uint_eq(ntohs(((struct sockaddr_in *)&ss)->sin_port), rows[i].port);
		settings_free(&set);
	}
}
END_TEST

static int flushed(int argc, char **argv)
{
	(void)argc, (void)argv;
	return 42;
}

START_TEST(q_flushes_alone_and_is_ignored_beside_a_message)
{
	static const struct { const char *argument[4]; int status; } rows[] = {
		{ { "-q" }, 42 }, { { "-q30m" }, 42 }, { { "-v", "-q1h" }, 42 },
		{ { "-q30m", "a@@b" }, 65 },            /* it looks at the recipients: so it is sending */
		{ { "-q", "-t" }, 65 }, { { "-tq30m" }, 65 },
		{ { "-bm", "-q" }, 64 },
		{ { "-bi", "-q" }, 0 },
		{ { "-bd", "-q30m" }, 64 },
	};

	start();
	sendmail_modes.flush = flushed;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int status = run(rows[i].argument);

		ck_assert_msg(status == rows[i].status, "row %zu: %d: %s", i, status, read_said());
	}
	stop();
}
END_TEST

START_TEST(the_administrator_finds_in_syslog_what_a_caller_was_told)
{
	static const struct { const char *argument[4]; int status; const char *line; } rows[] = {
		{ { "--read-envelope-from", "a@y.test" }, 64, "reason=\"--read-envelope-from is no option of this sendmail: see sendmail(8)\"" },
		{ { "-f" }, 64, "reason=\"-f needs a value behind it\"" },
		{ { "-i" }, 64, "reason=\"no recipient: " },
		{ { "-C", "/nonexistent/conf", "a@y.test" }, 78, "reason=\"/nonexistent/conf: cannot be read" },
		{ { "a@y.test" }, 75, "reason=\"the queue " },                  /* listen leads nowhere */
		/* ... and that a letter was not understood, which keeps no mail from being sent */
		{ { "-k", "a@y.test" }, 75, "reason=\"-k is no flag of sendmail: it was ignored\"" },
	};
	char start_of_line[64];

	start();
	ck_assert_int_eq(RUN("a@@b"), 65);
	ck_assert_msg(strstr(read_said(), "<4>warn sendmail uid=") && strstr(read_said(), "status=65"), "%s", read_said());
	configure("");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int status = run(rows[i].argument);

		snprintf(start_of_line, sizeof start_of_line, "<4>warn sendmail uid=%lu status=%d reason=", (unsigned long)getuid(), rows[i].status);
		ck_assert_msg(status == rows[i].status, "row %zu: %d: %s", i, status, read_said());
		ck_assert_msg(strstr(read_said(), start_of_line) && strstr(read_said(), rows[i].line), "row %zu: %s", i, read_said());
	}
	stop();
}
END_TEST

/* The message has one recipient, whatever stands before. */
START_TEST(values_of_flags_are_no_recipients)
{
	static const char *const rows[][6] = {
		{ "-A", "c", "a@y.test" }, { "-Ac", "a@y.test" }, { "-d", "0", "a@y.test" }, { "-d0-99.1", "a@y.test" }, { "-d", "a@y.test" },
		{ "-e", "m", "a@y.test" }, { "-oem", "-em", "a@y.test" }, { "-h", "5", "-L", "x", "a@y.test" }, { "-O", "Timeout=1", "a@y.test" },
		{ "-m", "-n", "-G", "-U", "a@y.test" }, { "-B", "8BITMIME", "-X", "/dev/null", "a@y.test" },
	};

	struct play all_is_well = { 0 };

	start();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct buf commands = { 0 }, message = { 0 };
		int input = open(text, O_RDONLY), status;
		const char *first, *next;
		pid_t pid = begin(input, rows[i]);

		close(input);
		play(&all_is_well, &commands, &message);
		status = status_of(pid);
		ck_assert_msg(status == 0 && !*read_said(), "row %zu: %d: %s", i, status, read_said());
		first = strstr(buf_cstr(&commands), "RCPT TO:");
		next = first ? strstr(first + 1, "RCPT TO:") : NULL;
		ck_assert_msg(first && !next && !strncmp(first, "RCPT TO:<a@y.test>", 18), "row %zu: %s", i, buf_cstr(&commands));
		buf_free(&commands);
		buf_free(&message);
	}
	stop();
}
END_TEST

Suite *cmd_sendmail_suite(void)
{
	Suite *s = suite_create("cmd_sendmail");
	TCase *c = tcase_create("sendmail");

	tcase_set_timeout(c, 120);
	tcase_add_test(c, what_may_not_be_queued_is_handed_to_the_server);
	tcase_add_test(c, its_refusals_become_words_and_an_exit_status);
	tcase_add_test(c, what_is_to_wait_is_not_handed_to_who_holds_nothing);
	tcase_add_test(c, where_no_server_is_it_says_so);
	tcase_add_test(c, what_is_wrong_with_the_message_is_found_before_the_server_is_asked);
	tcase_add_test(c, told_to_end_it_leaves_nothing_behind);
	tcase_add_test(c, the_server_is_called_where_loopback_may_come_in);
	tcase_add_test(c, the_administrator_finds_in_syslog_what_a_caller_was_told);
	tcase_add_test(c, values_of_flags_are_no_recipients);
	tcase_add_test(c, q_flushes_alone_and_is_ignored_beside_a_message);
	suite_add_tcase(s, c);
	return s;
}
