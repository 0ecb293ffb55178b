/* Peers with faults: a table of what may happen at which step, and how often. */
#include "tests/soak/peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/soak/ledger.h"
#include "tests/soak/letter.h"
#include "tests/soak/link.h"

enum { LINE = 4096, IDLE_S = 600, FEW = 8, LONG_REPLY = 20000, LONG_LINES = 300 };

enum step { GREETING, EHLO, MAIL, RCPT, DATA, BODY, DOT, LMTP_DOT };
enum fault {
	REPLY,                  /* another answer than well */
	LEAVE,                  /* that, and an end */
	VANISH,                 /* an end without a word */
	STALL,                  /* a pause, then well */
	DRIP,                   /* well, one octet a second */
	LONG, MANY              /* a refusal for now of one endless line, of very many */
};
/* Whoever refuses for good says "soak": reports must have it from here. */
static const struct row {
	enum step at;
	unsigned rate;          /* of 10,000 */
	enum fault fault;
	const char *reply;
} rows[] = {
	{ GREETING, 60, LEAVE, "421 4.3.2 soak: not now" },     { GREETING, 50, REPLY, "450 4.3.2 soak: busy" },
	{ GREETING, 40, REPLY, "554 5.3.2 soak: no mail here" },{ GREETING, 40, VANISH, NULL },
	{ GREETING, 20, STALL, NULL },                          { GREETING, 10, DRIP, NULL },
	{ GREETING, 10, LONG, "450" },
	{ EHLO, 30, LEAVE, "421 4.3.2 soak: out" },             { EHLO, 20, VANISH, NULL },
	{ EHLO, 15, STALL, NULL },
	{ MAIL, 60, REPLY, "451 4.3.0 soak: try later" },       { MAIL, 30, REPLY, "550 5.7.1 soak: not from you" },
	{ MAIL, 30, LEAVE, "421 4.3.2 soak: closing" },         { MAIL, 50, VANISH, NULL },
	{ MAIL, 10, STALL, NULL },                              { MAIL, 10, MANY, "450" },
	{ RCPT, 300, REPLY, "450 4.2.1 soak: not just now" },   { RCPT, 100, REPLY, "452 4.3.1 soak: no room" },
	{ RCPT, 200, REPLY, "550 5.1.1 soak: nobody here" },    { RCPT, 20, LEAVE, "421 4.3.2 soak: closing" },
	{ RCPT, 15, VANISH, NULL },                             { RCPT, 10, STALL, NULL },
	{ RCPT, 10, LONG, "450" },                              { RCPT, 5, DRIP, NULL },
	{ DATA, 40, REPLY, "451 4.3.0 soak: no room" },         { DATA, 20, REPLY, "554 5.7.0 soak: no" },
	{ DATA, 30, LEAVE, "421 4.3.2 soak: closing" },         { DATA, 20, VANISH, NULL },
	{ BODY, 60, VANISH, NULL },                             { BODY, 15, STALL, NULL },
	{ DOT, 60, REPLY, "452 4.3.1 soak: disk full" },        { DOT, 40, REPLY, "554 5.6.0 soak: not this" },
	{ DOT, 30, LEAVE, "421 4.3.2 soak: closing" },          { DOT, 80, VANISH, NULL },
	{ DOT, 20, STALL, NULL },                               { DOT, 10, DRIP, NULL },
	{ DOT, 10, LONG, "451" },                               { DOT, 10, MANY, "451" },
	{ LMTP_DOT, 200, REPLY, "450 4.2.0 soak: locked" },     { LMTP_DOT, 100, REPLY, "552 5.2.2 soak: full" },
	{ LMTP_DOT, 40, VANISH, NULL },                         { LMTP_DOT, 10, STALL, NULL },
};

struct peer_state { int fd; bool down; };
static struct peer_state peers[PEERS];
static unsigned port;
static double longest;
static bool gentle;
static SSL_CTX *context;

struct talk {
	struct link link;
	enum peer peer;
	unsigned id, nto;               /* of the transaction; 0: none, or a report's */
	bool mail, report;
	bool breaks;                    /* a reply was none: the client goes away, though all it had to say may have been sent */
	struct letter_to to[RECIPIENTS];
	struct letter letter;
	char line[LINE];                /* the beginning of one, from a chunk that ended in it */
	size_t kept;
};

/* ---- faults; false: the session is over */

static const struct row *dice(enum step at, enum peer peer)
{
	unsigned n = soak_random(10000);

	if (__atomic_load_n(&gentle, __ATOMIC_RELAXED))
		return NULL;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (rows[i].at != at || (peer == PEER_BACK && rows[i].reply && rows[i].reply[0] == '5'))
			continue;
		if (n < rows[i].rate)
			return &rows[i];
		n -= rows[i].rate;
	}
	return NULL;
}

static void drip(struct link *l, const char *reply)
{
	for (const char *p = reply; *p && link_put(l, p, 1); p++)
		soak_nap(longest < 1 ? longest : 1);
}

static bool say_long(struct link *l, const char *code)
{
	char line[LONG_REPLY];

	memset(line, 'x', sizeof line);
	return link_say(l, "%s 4.0.0 soak", code) && link_put(l, line, sizeof line) && link_say(l, "%s", "");
}

static bool say_many(struct link *l, const char *code)
{
	for (int i = 0; i < LONG_LINES; i++)
		if (!link_say(l, "%s-4.0.0 soak: line %d of many, and there is no end of them in sight", code, i))
			return false;
	return link_say(l, "%s 4.0.0 soak: that was all", code);
}

static void stall(void) { soak_nap(longest * (1 + soak_random(100)) / 100); }

/* What a step comes to: well, with `good` said; refused; or the end. */
enum outcome { WELL, REFUSED, OVER };

static enum outcome act(struct link *l, const struct row *f, const char *good)
{
	if (!f)
		return !good[0] || link_say(l, "%s", good) ? WELL : OVER;
	switch (f->fault) {
	case REPLY:
		return link_say(l, "%s", f->reply) ? REFUSED : OVER;
	case LEAVE:
		link_say(l, "%s", f->reply);
		return OVER;
	case VANISH:
		return OVER;
	case STALL:
		stall();
		return act(l, NULL, good);
	case DRIP:
		drip(l, good);
		return link_say(l, "%s", "") ? WELL : OVER;
	case LONG:
		return say_long(l, f->reply) ? REFUSED : OVER;
	case MANY:
		return say_many(l, f->reply) ? REFUSED : OVER;
	}
	return OVER;
}

static enum outcome step(struct talk *t, enum step at, const char *good)
{
	const struct row *f = dice(at, t->peer);

	t->breaks |= f && (f->fault == LONG || f->fault == MANY);
	return act(&t->link, f, good);
}

/* ---- the end of a message */

static void came(const struct talk *t, unsigned i)
{
	if (!t->report)
		ledger_came(t->id, t->to[i].rcpt, t->to[i].domain, t->letter.hash, soak_now());
	for (unsigned k = 0; t->report && k < t->letter.nto; k++) {
		const struct letter_to *r = &t->letter.to[k];

		if (r->id != t->letter.id || r->id != t->to[0].id)
			ledger_wrong("a report to the sender of message %u about one of %u returns the header of %u", t->to[0].id, r->id, t->letter.id);
		else
			ledger_report(r->id, r->rcpt, r->domain, r->action, r->diagnostic);
	}
}

static void doubt(const struct talk *t, unsigned i)
{
	if (!t->report)
		ledger_doubt(t->id, t->to[i].rcpt);
}

/* Said, and there was somebody to hear its last octet? Who is gone already will come again. */
static bool reply_to(struct talk *t, const struct row *f, enum outcome *o)
{
	const char *rest = "250 2.0.0 taken";
	bool there;

	if (f && f->fault == STALL) {
		stall();
		f = NULL;
	} else if (f && f->fault == DRIP) {
		drip(&t->link, rest);
		f = NULL;
		rest = "";
	}
	there = !t->breaks && !link_gone(&t->link);
	*o = f ? act(&t->link, f, rest) : link_say(&t->link, "%s", rest) ? WELL : OVER;
	return *o == WELL && there;
}

static bool by_lmtp(struct talk *t)
{
	enum outcome o = WELL;
	unsigned i;

	for (i = 0; i < t->nto && o != OVER; i++) {
		bool heard = reply_to(t, dice(LMTP_DOT, t->peer), &o);

		if (heard)
			came(t, i);
		else if (o != REFUSED)
			doubt(t, i);
	}
	for (; i < t->nto; i++)
		doubt(t, i);
	return o != OVER;
}

static bool all_taken(struct talk *t)
{
	const struct row *f;
	enum outcome o;
	bool heard;

	if (!t->report && t->letter.id != t->id)
		ledger_wrong("message %u has come as message %u", t->letter.id, t->id);
	if (t->peer == PEER_LMTP)
		return by_lmtp(t);
	f = dice(DOT, t->peer);
	heard = reply_to(t, f, &o);
	for (unsigned i = 0; i < t->nto; i++)
		if (heard)
			came(t, i);
		else if (o != REFUSED && !(f && f->fault == LEAVE))
			doubt(t, i);
	return o != OVER;
}

static void forget(struct talk *t)
{
	t->mail = false;
	t->nto = 0;
	t->kept = 0;
	t->breaks = false;
	letter_begin(&t->letter);
}

/* ---- commands */

static bool on_ehlo(struct talk *t, const char *line)
{
	bool tls = !t->link.ssl && context && (t->peer == PEER_H1 || t->peer == PEER_H3);
	enum outcome o = step(t, EHLO, "");

	(void)line;
	forget(t);
	return o == WELL && link_say(&t->link, "250-peer%d.soak.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n%s%s250 ENHANCEDSTATUSCODES", (int)t->peer,
		t->peer % 2 ? "" : "250-CHUNKING\r\n", tls ? "250-STARTTLS\r\n" : "");
}

static bool on_starttls(struct talk *t, const char *line)
{
	(void)line;
	return context && !t->link.ssl && link_say(&t->link, "220 2.0.0 go on") && link_secure(&t->link, context, true);
}

static bool on_mail(struct talk *t, const char *line)
{
	enum outcome o;

	forget(t);
	t->report = strstr(line, "<>");
	if (!t->report && sscanf(line, "%*[^<]<m%u@", &t->id) != 1)
		ledger_wrong("mail from somebody else: %.100s", line);
	o = step(t, MAIL, "250 2.1.0 well");
	t->mail = o == WELL;
	return o != OVER;
}

static bool on_rcpt(struct talk *t, const char *line)
{
	struct letter_to *to = &t->to[t->nto];
	const char *address = strchr(line, '<');
	enum outcome o;
	bool known;

	if (!t->mail)
		return link_say(&t->link, "503 5.5.1 no MAIL");
	if (t->nto == (t->peer == PEER_ROUTE ? FEW : RECIPIENTS))
		return link_say(&t->link, "452 4.5.3 soak: too many");
	to->rcpt = 0;
	known = address && (t->report ? sscanf(address, "<m%u@%63[a-z0-9.]", &to->id, to->domain) == 2 :
		letter_address(address, &to->id, &to->rcpt, to->domain) && to->id == t->id);
	if (!known)
		ledger_wrong("mail of message %u to somebody else: %.100s", t->id, line);
	o = step(t, RCPT, "250 2.1.5 well");
	t->nto += o == WELL && known;
	return o != OVER;
}

static bool body_fault(struct talk *t)
{
	const struct row *f = dice(BODY, t->peer);

	if (f && f->fault == STALL)
		stall();
	return !f || f->fault != VANISH;
}

static bool on_data(struct talk *t, const char *line)
{
	char text[LINE];
	enum outcome o;
	int n;

	(void)line;
	if (!t->nto)
		return link_say(&t->link, "503 5.5.1 soak: nobody");
	o = step(t, DATA, "354 go on");
	if (o != WELL)
		return o != OVER;
	if (!body_fault(t))
		return false;
	while ((n = link_line(&t->link, text, sizeof text)) >= 0) {
		bool dot = text[0] == '.';

		if (dot && n == 1) {
			bool on = all_taken(t);

			forget(t);
			return on;
		}
		letter_line(&t->letter, text + dot, n - dot);
	}
	return false;
}

static void keep(struct talk *t, const char *p, size_t n)
{
	if (n > sizeof t->line - 1 - t->kept)           /* nobody has sent such a line: it will not be the same */
		n = sizeof t->line - 1 - t->kept;
	memcpy(t->line + t->kept, p, n);
	t->kept += n;
}

/* Chunks end anywhere: their octets are put together to lines. */
static void read_octets(struct talk *t, const char *p, size_t n)
{
	const char *end;

	for (; (end = memchr(p, '\n', n)); n -= (size_t)(end + 1 - p), p = end + 1) {
		keep(t, p, (size_t)(end - p));
		t->kept -= t->kept > 0 && t->line[t->kept - 1] == '\r';
		t->line[t->kept] = '\0';
		letter_line(&t->letter, t->line, (int)t->kept);
		t->kept = 0;
	}
	keep(t, p, n);
}

static bool on_bdat(struct talk *t, const char *line)
{
	char *rest, block[8192];
	unsigned long left = strtoul(line + 5, &rest, 10);
	bool last = strcasestr(rest, "LAST"), on;
	size_t n;

	if (t->nto && !body_fault(t))
		return false;
	for (; left; left -= n) {
		n = link_take(&t->link, block, left < sizeof block ? left : sizeof block);
		if (!n)
			return false;
		read_octets(t, block, n);
	}
	if (!t->nto)
		return link_say(&t->link, "503 5.5.1 soak: nobody");
	if (!last)
		return link_say(&t->link, "250 2.0.0 more");
	on = all_taken(t);
	forget(t);
	return on;
}

static bool on_rset(struct talk *t, const char *line)
{
	(void)line;
	forget(t);
	return link_say(&t->link, "250 2.0.0 well");
}

static bool on_quit(struct talk *t, const char *line)
{
	(void)line;
	link_say(&t->link, "221 2.0.0 bye");
	return false;
}

static const struct { const char *name; bool (*run)(struct talk *, const char *line); } verbs[] = {
	{ "EHLO", on_ehlo }, { "LHLO", on_ehlo }, { "STARTTLS", on_starttls }, { "MAIL", on_mail }, { "RCPT", on_rcpt },
	{ "DATA", on_data }, { "BDAT", on_bdat }, { "RSET", on_rset }, { "NOOP", on_rset }, { "QUIT", on_quit },
};

static bool command(struct talk *t, const char *line)
{
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (!strncasecmp(line, verbs[i].name, strlen(verbs[i].name)))
			return verbs[i].run(t, line);
	return link_say(&t->link, "502 5.5.1 soak: not here");
}

static void *session(void *arg)
{
	struct talk *t = arg;
	char line[LINE];
	enum outcome o = step(t, GREETING, "220 peer.soak.test");

	while (o != OVER && link_line(&t->link, line, sizeof line) >= 0)
		if (o == REFUSED ? !link_say(&t->link, "503 5.5.1 soak: no") : !command(t, line))
			break;
	link_close(&t->link);
	free(t);
	return NULL;
}

/* ---- listening */

static void begin_session(int fd, enum peer peer)
{
	struct talk *t = calloc(1, sizeof *t);
	pthread_attr_t small;
	pthread_t thread;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 << 10);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	if (t) {
		t->peer = peer;
		link_open(&t->link, fd, IDLE_S);
	}
	if (!t || pthread_create(&thread, &small, session, t)) {
		free(t);
		close(fd);
	}
	pthread_attr_destroy(&small);
}

static void *listen_all(void *arg)
{
	for (;;) {
		struct pollfd p[PEERS];

		for (int i = 0; i < PEERS; i++)
			p[i] = (struct pollfd){ .fd = __atomic_load_n(&peers[i].down, __ATOMIC_RELAXED) ? -1 : peers[i].fd, .events = POLLIN };
		poll(p, PEERS, 200);
		for (int i = 0; i < PEERS; i++) {
			int fd = p[i].revents & POLLIN ? accept4(peers[i].fd, NULL, NULL, SOCK_CLOEXEC) : -1;

			if (fd != -1)
				begin_session(fd, (enum peer)i);
		}
	}
	return arg;
}

const char *peer_address(enum peer peer)
{
	static const char *const addresses[PEERS] = {
		"127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4", "127.0.1.5", "127.0.1.6", "127.0.1.7", "127.0.1.8"
	};

	return addresses[peer];
}

/* Bound to a port that is said: one that the kernel chose is lost when the socket is shut down. */
static int listen_at(enum peer peer)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	inet_pton(AF_INET, peer_address(peer), &a.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (fd != -1 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 256) == 0)
		return fd;
	if (fd != -1)
		close(fd);
	return -1;
}

const char *peers_open(unsigned at, double pause)
{
	pthread_t thread;

	longest = pause;
	gentle = false;
	port = at;
	context = SSL_CTX_new(TLS_server_method());
	if (SSL_CTX_use_certificate_file(context, "tests/pki/ec.crt", SSL_FILETYPE_PEM) != 1 ||
			SSL_CTX_use_PrivateKey_file(context, "tests/pki/ec.key", SSL_FILETYPE_PEM) != 1)
		return "tests/pki/ec.crt and ec.key cannot be read";
	for (int i = 0; i < PEERS; i++)
		if ((peers[i].fd = listen_at((enum peer)i)) == -1)
			return strerror(errno);
	return pthread_create(&thread, NULL, listen_all, NULL) ? "no thread" : NULL;
}

/* On Linux a socket that is shut down listens no more, keeps its port, and can listen again. */
void peer_down(enum peer peer, bool down)
{
	__atomic_store_n(&peers[peer].down, down, __ATOMIC_RELAXED);
	if (down)
		shutdown(peers[peer].fd, SHUT_RDWR);
	else
		listen(peers[peer].fd, 256);
}

void peers_behave(void) { __atomic_store_n(&gentle, true, __ATOMIC_RELAXED); }
