/* What tests of the SMTP server share. */
#include "tests/server_rig.h"

#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/loop.h"
#include "smtpd/session.h"
#include "tests/tree.h"

enum { QUIET_TURNS = 6 };                       /* nothing new in so many turns: nothing will come */

unsigned site_questions;
bool site_mute;

static char dir[200];

/* ---- the world that is asked for recipients */

enum { ASKED_MAX = 2000 };
static struct fact_ticket *asked[ASKED_MAX];
static char asked_for[ASKED_MAX][64];
static size_t nasked;

static void answer_all(struct task *t)
{
	(void)t;
	for (size_t i = 0; i < nasked; i++) {
		struct fact f = { .outcome = strcmp(asked_for[i], "wait-no") ? FOUND : NO_NAME };

		fact_answer(asked[i], &f);
	}
	nasked = 0;
}
static struct task answers = { .run = answer_all };

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source;
	(void)kind;
	site_questions++;
	ck_assert(nasked < ASKED_MAX && str_copy(asked_for[nasked], sizeof asked_for[0], name));
	asked[nasked++] = ticket;
	if (!site_mute)
		task_post(&answers);
}
static struct fact_source source = { .ask = ask };

static enum verdict rcpt(void *arg, const struct subject *who, struct facts *facts, const struct recipient *to,
	struct reply *why)
{
	const struct fact *f;

	(void)arg;
	(void)who;
	*why = (struct reply){ .code = 550, .enhanced = "5.1.1", .text = "No such\r\n250 user" };
	if (str_eq(to->addr.local, STR("later"))) {
		*why = (struct reply){ .code = 451, .enhanced = "4.3.0", .text = "Try again" };
		return REFUSE;
	}
	if (str_starts_nocase(to->addr.local, STR("wait"))) {
		f = fact(facts, FACT_MAILBOX, to->addr.local);
		if (!f)
			return WAIT;
		return f->outcome == FOUND ? ACCEPT : REFUSE;
	}
	return str_eq(to->addr.local, STR("no")) ? REFUSE : ACCEPT;
}

struct smtpd_config site_config;

/* ---- beginning and end */

static void no_way(void *arg, struct str domain, const struct addr *from, struct way *out)
{
	(void)arg;
	(void)domain;
	(void)from;
	memset(out, 0, sizeof *out);
}

static void start(bool inline_sync)
{
	static struct queue_config queue;
	const char *tmp = getenv("TMPDIR");
	char why[300] = "";

	site_config = (struct smtpd_config){ .hostname = "mx.example.org", .message_size = 100000, .rcpt = rcpt };
	site_questions = 0;
	site_mute = false;
	snprintf(dir, sizeof dir, "%s/fardel-rig.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	queue = (struct queue_config){ .dir = dir, .inline_sync = inline_sync, .retry_first = 60, .retry_max = 3600,
		.lifetime = 86400, .message_size = 1 << 20, .reserve = 1, .couriers = 1, .way = no_way };
	log_threshold(LOG_ERROR);
	loop_virtual_clock(1795424400);
	ck_assert_msg(queue_open(&queue, why, sizeof why) == 0, "%s", why);
	facts_source(FACT_MAILBOX, &source);
	smtpd_configure(&site_config);
}

void site_start(void) { start(true); }
void site_start_with_helper(void) { start(false); }

void site_stop(void)
{
	for (int i = 0; i < 400 && smtpd_sessions(); i++) {
		loop_turn(0);
		loop_advance(1000);
	}
	ck_assert_uint_eq(smtpd_sessions(), 0);
	task_cancel(&answers);
	answer_all(&answers);           /* too late: nobody is left to ask */
	facts_source(FACT_MAILBOX, NULL);
	queue_close();
	tree_remove(dir);
}

/* ---- clients */

void site_adopt(struct site_client *c, int fd)
{
	*c = (struct site_client){ .fd = fd };
	ck_assert_int_ne(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), -1);
}

void site_come(struct site_client *c, const char *from, enum smtpd_service service)
{
	struct sockaddr_storage peer = { .ss_family = AF_INET };
	int sv[2];

	ck_assert_int_eq(inet_pton(AF_INET, from, &((struct sockaddr_in *)&peer)->sin_addr), 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
	site_adopt(c, sv[0]);
	smtpd_welcome(sv[1], &peer, service);
	site_expect(c, "220 *");
	site_say(c, "EHLO h.example\r\n");
	site_expect_reply(c, "250 *");
}

void site_connect(struct site_client *c)
{
	int sv[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	site_adopt(c, sv[0]);
	ck_assert_int_eq(smtpd_session(sv[1], sv[1], SMTPD_MX, NULL, NULL), 0);
}

void site_hang_up(struct site_client *c)
{
	if (c->fd != -1)
		close(c->fd);
	c->fd = -1;
	buf_free(&c->got);
	if (c->wire)
		wire_free(c->wire);
	free(c->wire);
	c->wire = NULL;
}

void site_starttls(struct site_client *c, const char *name, bool octets)
{
	c->wire = calloc(1, sizeof *c->wire);
	ck_assert_ptr_nonnull(c->wire);
	*c->wire = (struct wire){ .fd = c->fd, .tls = tls_connect(name, NULL), .octets = octets };
	ck_assert_ptr_nonnull(c->wire->tls);
	site_listen(c);
}

static bool take_tls(struct site_client *c)
{
	bool moved = !c->ended && wire_turn(c->wire);

	ck_assert(buf_str(&c->got, buf_view(&c->wire->in)));
	buf_clear(&c->wire->in);
	c->ended = c->wire->eof;
	return moved;
}

/* True: something came. */
static bool take(struct site_client *c)
{
	char text[65536];
	ssize_t n;

	if (c->wire)
		return take_tls(c);
	n = c->fd == -1 || c->ended ? -1 : read(c->fd, text, sizeof text);

	if (n > 0)
		ck_assert(buf_add(&c->got, text, (size_t)n));
	else if (n == 0 || (n == -1 && errno == ECONNRESET && c->fd != -1))
		c->ended = true;
	return n > 0;
}

void site_listen(struct site_client *c)
{
	for (int quiet = 0; quiet < QUIET_TURNS; quiet++) {
		loop_turn(0);
		if (take(c))
			quiet = 0;
	}
}

void site_turn(void)
{
	for (int i = 0; i < QUIET_TURNS; i++)
		loop_turn(0);
}

void site_send(struct site_client *c, const void *p, size_t n)
{
	const char *at = p;

	if (c->wire) {
		ck_assert(buf_add(&c->wire->out, p, n));
		for (int patience = 10000; !wire_drained(c->wire) && !c->ended && patience; patience--) {
			loop_turn(0);
			take(c);
		}
		return;
	}
	for (int patience = 10000; n && patience; patience--) {
		ssize_t w = send(c->fd, at, n, MSG_NOSIGNAL);

		if (w > 0) {
			at += w;
			n -= (size_t)w;
			patience = 10000;
		} else if (w == -1 && errno != EAGAIN) {
			return;         /* the server has ended: what it said is still to be read */
		}
		loop_turn(0);
		take(c);
	}
	ck_assert_msg(!n, "the server does not read");
}

void site_say(struct site_client *c, const char *text) { site_send(c, text, strlen(text)); }

bool site_line(struct site_client *c, char *line, size_t size)
{
	struct str rest = buf_view(&c->got), head;

	if (!str_cut(&rest, '\n', &head))
		return false;
	ck_assert_msg(head.n && head.p[head.n - 1] == '\r', "a reply line without CR LF: " STR_FMT, STR_ARG(head));
	ck_assert_msg(head.n <= 511, "a reply line of %zu octets", head.n + 1);
	for (size_t i = 0; i + 1 < head.n; i++)
		ck_assert_msg(ascii_print(head.p[i]), "a control character in a reply");
	head.n--;
	ck_assert(str_copy(line, size, head));
	buf_drop(&c->got, head.n + 2);
	return true;
}

bool site_match(const char *pattern, const char *text)
{
	const char *star = NULL, *mark = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			mark = text;
		} else if (*pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++mark;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

void site_expect(struct site_client *c, const char *pattern)
{
	char line[600];

	site_listen(c);
	ck_assert_msg(site_line(c, line, sizeof line), "expected %s, but nothing came%s", pattern, c->ended ? " and it ended" : "");
	ck_assert_msg(site_match(pattern, line), "expected %s, got %s", pattern, line);
}

void site_expect_reply(struct site_client *c, const char *pattern)
{
	char line[600];

	site_listen(c);
	do
		ck_assert_msg(site_line(c, line, sizeof line), "expected %s, but nothing came%s", pattern, c->ended ? " and it ended" : "");
	while (line[3] == '-');
	ck_assert_msg(site_match(pattern, line), "expected %s, got %s", pattern, line);
}

void site_expect_nothing(struct site_client *c)
{
	site_listen(c);
	ck_assert_msg(!c->got.n, "expected nothing, got " STR_FMT, STR_ARG(buf_view(&c->got)));
	ck_assert_msg(!c->ended, "the server ended the connection");
}

void site_expect_end(struct site_client *c)
{
	site_listen(c);
	ck_assert_msg(!c->got.n, "expected the end, got " STR_FMT, STR_ARG(buf_view(&c->got)));
	ck_assert_msg(c->ended, "expected the end, but the connection stays");
}

/* ---- what is in the queue */

static const char *const places[] = { "in", "cur" };

static bool holds(const struct buf *b, const char *text)
{
	return !text || memmem(b->p ? b->p : "", b->n, text, strlen(text));
}

/* Reads one file; false when it does not hold the text. */
static bool read_message(int at, const char *name, const char *text, struct buf *envelope, struct buf *message)
{
	const char *why;
	struct mail *m = mail_read(at, name, &why);
	bool found;

	ck_assert_msg(m != NULL, "%s: %s", name, why);
	buf_clear(envelope);
	buf_clear(message);
	ck_assert(buf_str(envelope, buf_view(&m->text)));
	ck_assert(buf_reserve(message, (size_t)m->size + 1) != NULL);
	ck_assert_int_eq(pread(m->fd, message->p, (size_t)m->size, m->at), m->size);
	message->n = (size_t)m->size;
	found = holds(message, text) || holds(envelope, text);
	mail_free(m);
	return found;
}

static size_t walk(const char *place, const char *text, struct buf *envelope, struct buf *message)
{
	char path[300];
	DIR *d;
	struct dirent *e;
	size_t n = 0;

	snprintf(path, sizeof path, "%s/%s", dir, place);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (!envelope) {
			n++;
		} else if (read_message(dirfd(d), e->d_name, text, envelope, message)) {
			n = 1;
			break;
		}
	}
	if (d)
		closedir(d);
	return n;
}

size_t site_messages(void)
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
		n += walk(places[i], NULL, NULL, NULL);
	return n;
}

bool site_message(const char *text, struct buf *envelope, struct buf *message)
{
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
		if (walk(places[i], text, envelope, message))
			return true;
	return false;
}

size_t site_drafts(void) { return walk("work", NULL, NULL, NULL); }
