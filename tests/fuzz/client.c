/* A server that says anything, to our client: it ends in bounded time, each recipient gets one result at most and each job its end,
 * words are printable, and nobody is told that a message was taken before all of it had left.
 *
 * The first octet: '0' + bits of TALKATIVE..., the second: how many octets come at a time. The rest is what the server says: all at
 * once (TALKATIVE), else a reply whenever the client has said something. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { TALKATIVE = 1, LMTP = 2, TLS = 4, EIGHT_BIT = 8, HANGS_UP = 16, LOGIN = 32 };
enum { JOBS = 2, RCPTS = 3 };

static const char message[] = "Subject: x\r\n\r\n.dots\r\nthe last of it \xc3\xa4\r\n";
static const char last[] = "the last of it";
static int listener, file;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static socklen_t address_size;

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "client: broken: %s\n", what);
	abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	/* an abstract name: nothing to clean up */
	snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "fardel-fuzz-%ld", (long)getpid());
	address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address.sun_path + 1));
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	file = memfd_create("message", MFD_CLOEXEC);
	must(listener != -1 && bind(listener, (struct sockaddr *)&address, address_size) == 0 && listen(listener, 10) == 0, "no listener");
	must(file != -1 && file_write(file, message, sizeof message - 1) == 0, "no message");
	must(log_open("/dev/null") == 0, "no log");
	loop_virtual_clock(1795424400);
	return 0;
}

/* ---- who sends */

struct errand {
	struct client_job job;
	unsigned results[RCPTS], ends;
};
static struct errand errands[JOBS];
static size_t nsent;
static struct client *client;
static bool gone;
static struct buf heard;                /* by the server */
static size_t heard_before;             /* this job */

static void check_words(const struct reply *r)
{
	must(memchr(r->text, '\0', sizeof r->text) != NULL && memchr(r->enhanced, '\0', sizeof r->enhanced) != NULL, "a reply without end");
	for (const char *p = r->text; *p; p++)
		must(*p >= ' ' && *p <= '~', "an octet in a reply that is no character");
	must(r->code == 0 || (r->code >= 200 && r->code <= 599), "a reply's code");
}

/* Of 200 octets a line, and nothing that we must not tell. */
static void check_dialogue(const struct client *c)
{
	struct buf text = { 0 };
	struct str rest, line;

	must(client_dialogue(c, &text) && text.n <= CLIENT_DIALOGUE + 1500, "a dialogue too long");
	for (rest = buf_view(&text); str_cut(&rest, '\n', &line); ) {
		must(line.n >= 2 && memchr("=><*", line.p[0], 4) && line.p[1] == ' ', "a line without its mark");
		must(line.p[0] != '>' || (!memmem(line.p, line.n, last, sizeof last - 1) && !memmem(line.p, line.n, "c2VjcmV0", 8)), "a secret");
		for (size_t i = 0; i < line.n; i++)
			must(line.p[i] >= ' ' && line.p[i] <= '~', "an octet in a dialogue that is no character");
	}
	must(!rest.n, "a line without its end");
	buf_free(&text);
}

static void on_result(struct client_job *job, size_t i, const struct reply *r)
{
	struct errand *e = (struct errand *)(void *)((char *)job - offsetof(struct errand, job));

	must(i < RCPTS && !e->results[i]++ && !e->ends, "a result too many");
	check_words(r);
	/* What the kernel has and the server has not read yet is on its way, too: so all of it is read here. */
	if (r->code / 100 == 2)
		must(heard.n > heard_before && memmem(heard.p + heard_before, heard.n - heard_before, last, sizeof last - 1), "taken before it was sent");
}

static void send_next(void)
{
	heard_before = heard.n;
	if (nsent < JOBS && client_usable(client) && client_send(client, &errands[nsent].job))
		nsent++;
	else
		client_quit(client);
}

static void on_done(struct client_job *job, const struct reply *why, bool untried)
{
	struct errand *e = (struct errand *)(void *)((char *)job - offsetof(struct errand, job));

	must(!e->ends++, "a job that ends twice");
	/* ... on a new connection: without anything done on this one that would go on for ever */
	must(!untried || job != &errands[0].job || client_lame(client) || e->results[0] + e->results[1] + e->results[2], "the first job was not tried");
	if (why)
		check_words(why);
	for (size_t i = 0; !why && i < RCPTS; i++)
		must(e->results[i] == 1, "a recipient was forgotten");
	check_dialogue(client);
	send_next();
}

static void on_ready(struct client *c, void *arg)
{
	(void)arg;
	must(c == client && !gone, "ready when it is over");
	send_next();
}

static void on_gone(struct client *c, void *arg, const struct reply *why)
{
	(void)arg;
	check_dialogue(c);
	must(!gone, "gone twice");
	check_words(why);
	gone = true;
	client = NULL;
}

/* ---- who answers */

static int peer = -1;

/* True: the client has said something new. */
static bool hear(void)
{
	char text[65536];
	ssize_t n;
	bool came = false;

	if (peer == -1)
		peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (peer != -1 && (n = recv(peer, text, sizeof text, 0)) > 0) {
		must(buf_add(&heard, text, (size_t)n), "too much was said");
		came = true;
	}
	return came;
}

static void turns(msec wait)
{
	for (int quiet = 0; quiet < 3 && !gone; quiet++) {
		loop_turn(wait);
		if (hear())
			quiet = 0;
	}
}

static void say(struct str text, size_t piece)
{
	while (text.n && !gone) {
		ssize_t n = send(peer, text.p, text.n < piece ? text.n : piece, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		text = (struct str){ text.p + n, text.n - (size_t)n };
		turns(0);
	}
}

/* Takes lines up to one that is the last of its reply. */
static struct str next_reply(struct str *rest)
{
	struct str all = *rest, line;

	while (str_cut(rest, '\n', &line))
		if (line.n < 4 || line.p[3] != '-')
			return (struct str){ all.p, (size_t)(rest->p - all.p) };
	*rest = STR("");
	return all;
}

static void prepare(unsigned how)
{
	static const struct sender from = { .addr = { STR("a"), STR("x.test") } }, eight = { .addr = { STR("a"), STR("x.test") }, .body = BODY_8BITMIME, .has_body = true };
	static const struct recipient to[RCPTS] = { { .addr = { STR("one"), STR("y.test") }, .notify = NOTIFY_SUCCESS }, { .addr = { STR("two"), STR("z.test") } },
		{ .addr = { STR("three"), STR("y.test") } } };
	static const struct recipient *list[RCPTS] = { &to[0], &to[1], &to[2] };

	for (size_t i = 0; i < JOBS; i++)
		errands[i] = (struct errand){ .job = { .from = how & EIGHT_BIT ? &eight : &from, .n = RCPTS, .to = list, .fd = file, .at = 0,
			.size = sizeof message - 1, .id = "fuzz", .result = on_result, .done = on_done } };
	nsent = 0;
	gone = false;
	heard_before = 0;
	buf_clear(&heard);
	heard.max = 16 << 20;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct client_events events = { .ready = on_ready, .gone = on_gone };
	static struct client_config config;
	struct str rest = { (const char *)data + 2, n - 2 };
	unsigned how;
	size_t piece;

	if (n < 2)
		return 0;
	how = (unsigned)(uint8_t)(data[0] - '0');
	piece = (size_t)(uint8_t)(data[1] - '0') + 1;
	prepare(how);
	config = (struct client_config){ .hostname = "client.test", .lmtp = how & LMTP, .tls = how & TLS && !(how & LMTP) ? CLIENT_TLS_MAY : CLIENT_TLS_NO };
	if (how & LOGIN) {
		config.user = "anna";
		config.password = "secret";
	}
	client = client_open(&config, (struct sockaddr *)&address, address_size, "mx.test", &events, NULL);
	must(client != NULL, "no client");
	turns(0);
	if (how & TALKATIVE)
		say(rest, piece);
	while (!(how & TALKATIVE) && rest.n && !gone) {
		say(next_reply(&rest), piece);
		turns(0);
	}
	if (how & HANGS_UP && peer != -1)
		shutdown(peer, SHUT_WR);
	for (int patience = 2000; !gone && patience; patience--)
		turns(10000);
	must(gone, "the client does not end");
	for (size_t i = 0; i < nsent; i++)
		must(errands[i].ends == 1, "a job without end");
	hear();
	close(peer);
	peer = -1;
	return 0;
}
