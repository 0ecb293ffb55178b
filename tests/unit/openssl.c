/* TLS with a library that is not ours: openssl's client against the SMTP server, and its server against a stream. Where the program
 * openssl is not installed, that is said and nothing is tested. Real time, as processes of their own take it. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/stream.h"
#include "tests/peer.h"
#include "tests/server_rig.h"

Suite *openssl_suite(void);

enum { WAIT_MS = 20000 };

static bool installed(void)
{
	static int known = -1;

	if (known == -1)
		known = system("command -v openssl >/dev/null 2>&1") == 0;
	return known;
}

/* ---- processes */

static char out_name[200], in_name[200];

static void make_files(const char *input)
{
	const char *tmp = getenv("TMPDIR");
	int fd;

	snprintf(out_name, sizeof out_name, "%s/fardel-openssl.XXXXXX", tmp ? tmp : "/tmp");
	snprintf(in_name, sizeof in_name, "%s/fardel-openssl.XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(out_name);
	ck_assert_int_ne(fd, -1);
	close(fd);
	fd = mkstemp(in_name);
	ck_assert_int_eq(file_write(fd, input, strlen(input)), 0);
	close(fd);
}

static const char *output(void)
{
	static struct buf text;

	buf_clear(&text);
	ck_assert_int_eq(file_read_all(AT_FDCWD, out_name, &text), 0);
	return buf_cstr(&text);
}

static pid_t run(char *const *argv, int in)
{
	pid_t pid = fork();

	ck_assert_int_ne(pid, -1);
	if (pid)
		return pid;
	dup2(in, 0);
	dup2(open(out_name, O_WRONLY | O_APPEND), 1);
	dup2(1, 2);
	for (int fd = 3; fd < 256; fd++)
		close(fd);
	execvp(argv[0], argv);
	_exit(127);
}

/* Turns the loop until the process has ended. Its status, or -1: it had to be killed. */
static int turn_until_ended(pid_t pid)
{
	int status;

	for (int i = 0; i < WAIT_MS / 2; i++) {
		loop_turn(0);
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
		usleep(2000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

static int listening(unsigned *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert(bind(fd, (struct sockaddr *)&a, n) == 0 && getsockname(fd, (struct sockaddr *)&a, &n) == 0);
	*port = ntohs(a.sin_port);
	return fd;
}

/* ---- openssl's client */

static const struct { const char *options[4]; const char *said; } clients[] = {
	{ { NULL }, "Protocol  : TLSv1.2" },
	{ { "-tls1_2", NULL }, "Protocol  : TLSv1.2" },
	{ { "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", NULL }, "Cipher is ECDHE-RSA-AES128-GCM-SHA256" },
	{ { "-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305", NULL }, "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305" },
	{ { "-tls1_2", "-cipher", "ECDHE-RSA-AES256-SHA", NULL }, "Cipher is ECDHE-RSA-AES256-SHA" },
	{ { "-curves", "X25519", NULL }, "Cipher is ECDHE-RSA-" },       /* no curve for our EC certificate */
	{ { "-curves", "P-256", NULL }, "Cipher is ECDHE-ECDSA-" },
	{ { "-curves", "P-384:P-256", NULL }, "Cipher is ECDHE-" },
	{ { "-sigalgs", "RSA+SHA512", NULL }, "Cipher is ECDHE-RSA-" },
	{ { "-servername", "mx.example.org", NULL }, "subject=CN = mx.example.org" },
	{ { "-noservername", NULL }, "subject=CN = mx.example.org" },
	{ { "-maxfraglen", "512", NULL }, "Protocol  : TLSv1.2" },
	/* what there is no agreement with */
	{ { "-tls1_3", NULL }, NULL },
	{ { "-tls1_1", NULL }, NULL },
	{ { "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256", NULL }, NULL },
	{ { "-tls1_2", "-cipher", "AES128-GCM-SHA256", NULL }, NULL },
};

START_TEST(openssl_delivers_a_message)
{
	char port[40];
	char *argv[20] = { (char *)"openssl", (char *)"s_client", (char *)"-starttls", (char *)"smtp", (char *)"-connect", port,
		(char *)"-crlf", (char *)"-ign_eof" };
	size_t n = 8;
	unsigned number;
	int fd, in, status;

	if (!installed())
		return;
	site_start();
	site_config.tls = wire_server();
	fd = listening(&number);
	ck_assert_int_eq(listen(fd, 5), 0);
	ck_assert_int_eq(smtpd_listen(fd, SMTPD_MX), 0);
	snprintf(port, sizeof port, "127.0.0.1:%u", number);
	for (const char *const *o = clients[_i].options; *o; o++)
		argv[n++] = (char *)(uintptr_t)*o;
	make_files("EHLO inside.example\nMAIL FROM:<a@b.example>\nRCPT TO:<c@example.org>\nDATA\nSubject: x\n\n..dot\n.\nQUIT\n");
	in = open(in_name, O_RDONLY);
	status = turn_until_ended(run(argv, in));
	close(in);
	site_turn();
	if (clients[_i].said) {
		ck_assert_msg(strstr(output(), clients[_i].said) && strstr(output(), "Queued as"), "status %d, %s", status, output());
		ck_assert_uint_eq(site_messages(), 1);
	} else {
		ck_assert_msg(status > 0, "%s", output());
		ck_assert_uint_eq(site_messages(), 0);
	}
	smtpd_stop();
	site_stop();
	unlink(in_name);
	unlink(out_name);
}
END_TEST

/* ---- openssl's server */

static const struct { const char *options[6]; const char *words; } servers[] = {
#define RSA "-cert", "tests/pki/rsa.crt", "-key", "tests/pki/rsa.key"
#define EC "-cert", "tests/pki/ec.crt", "-key", "tests/pki/ec.key"
	{ { RSA, NULL }, NULL },
	{ { EC, NULL }, NULL },
	{ { "-cert", "tests/pki/expired.crt", "-key", "tests/pki/expired.key", NULL }, NULL },
	{ { "-cert", "tests/pki/p521.crt", "-key", "tests/pki/p521.key", NULL }, NULL },
	{ { RSA, "-tls1_2", NULL }, NULL },
	{ { RSA, "-tls1_3", NULL }, "peer offers only TLS 1.3, this build has up to 1.2" },
	{ { "-cert", "tests/pki/ed25519.crt", "-key", "tests/pki/ed25519.key", NULL }, "no version, cipher suite or kind of key in common" },
};

static unsigned events;
static void count(struct stream *s) { (void)s; events++; }

static int connect_to(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };

	for (int i = 0; i < WAIT_MS / 10; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
			return fd;
		close(fd);
		usleep(10000);
	}
	ck_abort_msg("the server does not listen: %s", output());
	return -1;
}

/* True: a whole line has come, or the stream has ended. */
static bool turn_until_line(struct stream *s)
{
	for (int i = 0; i < WAIT_MS / 2; i++) {
		loop_turn(0);
		if (s->error || s->eof || stream_has_line(s))
			return true;
		usleep(2000);
	}
	return false;
}

START_TEST(a_stream_talks_to_openssl)
{
	char port[40];
	char *argv[20] = { (char *)"openssl", (char *)"s_server", (char *)"-accept", port, (char *)"-rev", (char *)"-quiet" };
	size_t n = 6;
	unsigned number;
	struct stream s;
	struct str line;
	int fd, status;
	pid_t pid;

	if (!installed())
		return;
	loop_virtual_clock(1795424400);
	number = peer_port();
	snprintf(port, sizeof port, "127.0.0.1:%u", number);
	for (const char *const *o = servers[_i].options; *o; o++)
		argv[n++] = (char *)(uintptr_t)*o;
	make_files("");
	fd = open("/dev/null", O_RDONLY);
	pid = run(argv, fd);
	close(fd);
	fd = connect_to(number);
	ck_assert_int_eq(stream_open(&s, fd, fd, count), 0);
	ck_assert_int_eq(stream_starttls(&s, tls_connect("mx.example.org", NULL)), 0);
	ck_assert_int_eq(stream_write(&s, "0123456789\n", 11), 0);
	ck_assert(turn_until_line(&s));
	if (servers[_i].words) {
		ck_assert_msg(s.error && strstr(stream_error(&s), servers[_i].words), "%s; %s", stream_error(&s), output());
	} else {
		ck_assert_msg(!s.error, "%s; %s", stream_error(&s), output());
		ck_assert_int_eq(stream_line(&s, 100, &line), LINE_BARE);
		ck_assert(str_eq(line, STR("9876543210")));
	}
	stream_close(&s);
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	unlink(in_name);
	unlink(out_name);
}
END_TEST

START_TEST(openssl_is_there)
{
	if (!installed())
		printf("openssl: not installed, its tests are SKIPPED\n");
}
END_TEST

Suite *openssl_suite(void)
{
	Suite *s = suite_create("openssl");
	TCase *t = tcase_create("openssl");

	tcase_add_test(t, openssl_is_there);
	tcase_add_loop_test(t, openssl_delivers_a_message, 0, sizeof clients / sizeof *clients);
	tcase_add_loop_test(t, a_stream_talks_to_openssl, 0, sizeof servers / sizeof *servers);
	suite_add_tcase(s, t);
	return s;
}
