/* The senders: a table of ways, each with its weight, gone at random. */
#include "tests/soak/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/soak/ledger.h"
#include "tests/soak/link.h"

enum { SENDERS = 32, IN_A_SESSION = 4, HEADER = 400, REPLY_S = 120 };

static struct load_config config;
static bool over;
static unsigned at_work;
static SSL_CTX *context;

/* ---- processes */

pid_t soak_spawn(int in, int out, const char *const *argv)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(in, 0);
	dup2(out, 1);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

int soak_command(double seconds, int in, const char *const *argv)
{
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC), status = 0;
	double end = soak_now() + seconds;
	pid_t pid = soak_spawn(in == -1 ? nowhere : in, nowhere, argv);

	close(nowhere);
	if (pid == -1)
		return -1;
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (soak_now() > end)
			kill(pid, SIGKILL);
		soak_nap(0.01);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- a message */

struct mail {
	unsigned id, n;
	unsigned char domain[RECIPIENTS];
	char *text;                     /* CRLF, dots as they are */
	size_t size;
};

/* Most are small: 500 octets to 2 MB. */
static size_t some_size(void)
{
	static const struct { unsigned rate; size_t least, most; } sizes[] = {
		{ 800, 500, 4000 }, { 150, 4000, 64 << 10 }, { 45, 64 << 10, 512 << 10 }, { 5, 512 << 10, 2 << 20 }
	};
	unsigned n = soak_random(1000);
	size_t i = 0;

	for (; n >= sizes[i].rate; i++)
		n -= sizes[i].rate;
	return sizes[i].least + soak_random((unsigned)(sizes[i].most - sizes[i].least));
}

static size_t put_line(char *p, size_t room)
{
	size_t n = soak_random(40) ? soak_random(77) : soak_random(900);

	n = n < room ? n : room;
	for (size_t i = 0; i < n; i++)
		p[i] = (char)(' ' + soak_random(95));
	if (n && !soak_random(20))
		p[0] = '.';
	memcpy(p + n, "\r\n", 2);
	return n + 2;
}

static bool compose(struct mail *m)
{
	size_t size = some_size(), header;

	m->n = soak_random(2) ? 1 : 1 + soak_random(RECIPIENTS);
	for (unsigned i = 0; i < m->n; i++)
		m->domain[i] = (unsigned char)soak_random(soak_ndomains);
	m->text = malloc(size + HEADER + 1000);
	m->id = m->text ? ledger_new(m->n, m->domain) : 0;
	if (!m->id)
		return false;
	header = (size_t)snprintf(m->text, HEADER, "From: <m%u@back.test>\r\nTo: soak:;\r\nSubject: message %u\r\nX-Soak: %u\r\n\r\n", m->id, m->id, m->id);
	m->size = header;
	while (m->size < size)
		m->size += put_line(m->text + m->size, size - m->size);
	ledger_text(m->id, ledger_hash(0, m->text + header, m->size - header));
	return true;
}

static void address(const struct mail *m, unsigned i, char *to, size_t size)
{
	const struct soak_domain *d = &soak_domains[m->domain[i]];

	snprintf(to, size, "%sm%u.k%u@%s", d->local ? "anna+" : "", m->id, i, d->name);
}

static void settle(struct mail *m, enum answer answer)
{
	ledger_answer(m->id, answer);
	free(m->text);
}

/* ---- SMTP */

/* Where a session ends before its time. */
enum cut { WHOLE, BEHIND_MAIL, BEHIND_RCPT, IN_TEXT, UNHEARD };
struct style {
	const char *name;
	unsigned weight;
	bool (*run)(const struct style *);
	bool pipelined, chunks, tls, cut, slow;
};

/* The code of the next reply; 0: the connection is lost. */
static int hear(struct link *l)
{
	char line[1000];
	int n;

	while ((n = link_line(l, line, sizeof line)) >= 0)
		if (n < 4 || line[3] != '-')
			return atoi(line);
	return 0;
}

static bool command(struct link *l, const char *line, int code)
{
	return link_say(l, "%s", line) && hear(l) == code;
}

/* Slowly: what there is first, an octet at a time. */
static bool put(struct link *l, const char *p, size_t n, bool slow)
{
	for (int i = 0; slow && n && i < 800; p++, n--, i++) {
		if (!link_put(l, p, 1))
			return false;
		soak_nap(0.01);
	}
	return link_put(l, p, n);
}

static bool put_dotted(struct link *l, const struct mail *m, size_t size, bool slow)
{
	const char *p = m->text, *end = p + size, *from = p;

	for (; p < end; p = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1) {
		if (*p == '.') {
			if (!put(l, from, (size_t)(p - from), slow) || !link_put(l, ".", 1))
				return false;
			from = p;
			slow = false;
		}
		if (!memchr(p, '\n', (size_t)(end - p)))
			break;
	}
	return put(l, from, (size_t)(end - from), slow);
}

/* The envelope, with the replies read as they come or all together. */
static bool envelope(struct link *l, const struct mail *m, const struct style *s, enum cut cut, unsigned *taken)
{
	char to[100];

	if (!link_say(l, "MAIL FROM:<m%u@back.test>", m->id) || (!s->pipelined && hear(l) != 250) || cut == BEHIND_MAIL)
		return false;
	*taken = 0;
	for (unsigned i = 0; i < m->n; i++) {
		address(m, i, to, sizeof to);
		if (!link_say(l, "RCPT TO:<%s>", to))
			return false;
		if (s->pipelined)
			continue;
		if (hear(l) == 250)
			++*taken;
		else
			ledger_refused(m->id, i);
	}
	if (cut == BEHIND_RCPT)
		return false;
	if (!s->chunks && !link_say(l, "DATA"))
		return false;
	if (s->pipelined && hear(l) != 250)
		return false;
	for (unsigned i = 0; s->pipelined && i < m->n; i++)
		if (hear(l) == 250)
			++*taken;
		else
			ledger_refused(m->id, i);
	return s->chunks || hear(l) == 354;
}

static bool put_chunks(struct link *l, const struct mail *m, const struct style *s, enum cut cut, bool *whole)
{
	size_t at = 0;

	while (at < m->size) {
		size_t n = soak_random(2) ? m->size - at : 1 + soak_random((unsigned)(m->size - at));
		bool last = at + n == m->size;

		if (!link_say(l, "BDAT %zu%s", n, last ? " LAST" : ""))
			return false;
		if (cut == IN_TEXT && (last || soak_random(2))) {
			put(l, m->text + at, n / 2, s->slow);
			return false;
		}
		*whole = last;          /* some of it may arrive even if it does not all leave */
		if (!put(l, m->text + at, n, s->slow))
			return false;
		if (!last && hear(l) != 250)
			return false;
		at += n;
	}
	return true;
}

/* False: the session is over. */
static bool send_mail(struct link *l, const struct style *s, bool *count)
{
	enum cut cut = s->cut ? 1 + soak_random(UNHEARD) : WHOLE;
	struct mail m;
	bool whole = false, sent;
	unsigned taken = 0;
	int code;

	if (!compose(&m))
		return false;
	*count = true;
	if (!envelope(l, &m, s, cut, &taken))
		goto no;
	if (s->chunks) {
		sent = put_chunks(l, &m, s, cut, &whole);
	} else if (cut == IN_TEXT) {
		size_t half = m.size / 2;

		put_dotted(l, &m, half, s->slow);
		goto no;
	} else {
		sent = put_dotted(l, &m, m.size, s->slow);
		whole = sent;
		sent = sent && link_say(l, ".");
	}
	if (!whole)
		goto no;
	code = sent && cut != UNHEARD ? hear(l) : 0;
	settle(&m, code == 250 ? ANSWER_YES : code ? ANSWER_NO : ANSWER_LOST);
	return code == 250;
no:
	settle(&m, ANSWER_NO);
	return false;
}

static bool greet(struct link *l, const struct style *s)
{
	if (hear(l) != 220 || !command(l, "EHLO soak.test", 250))
		return false;
	return !s->tls || (command(l, "STARTTLS", 220) && link_secure(l, context, false) && command(l, "EHLO soak.test", 250));
}

/* Some messages in a session. True: at least one was begun. */
static bool talk(struct link *l, const struct style *s)
{
	bool any = false;

	if (greet(l, s)) {
		unsigned n = s->cut || s->slow ? 1 : 1 + soak_random(IN_A_SESSION);

		while (n-- > 0 && send_mail(l, s, &any))
			;
		if (!s->cut && link_say(l, "QUIT"))
			hear(l);
	}
	link_close(l);
	return any;
}

static bool call(struct link *l)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)config.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	link_open(l, fd, REPLY_S);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
		return true;
	close(fd);              /* it is being started anew */
	return false;
}

static bool by_smtp(const struct style *s)
{
	struct link l;

	return call(&l) && talk(&l, s);
}

/* Words that are none, lines without an end, octets: whatever it says to that, it must go on. */
static bool by_rubbish(const struct style *s)
{
	static const char *const words[] = { "MAIL FROM:<", "RCPT TO:<a@b> SIZE=1 SIZE=2", "DATA", "BDAT 99999999999999999999", "BDAT -1 LAST", "EHLO",
		"HELO \x01\xff", "STARTTLS now", "RSET RSET", "QUIT QUIT", "VRFY", "AUTH PLAIN", "MAIL FROM:<a@b> BODY=9BIT", "XCLIENT NAME=a", "." };
	struct link l;
	char noise[5000];

	(void)s;
	if (!call(&l))
		return false;
	for (int i = 0; i < 20; i++) {
		size_t n = soak_random(sizeof noise);

		if (soak_random(4)) {
			if (!link_say(&l, "%s", words[soak_random(sizeof words / sizeof *words)]))
				break;
			continue;
		}
		for (size_t k = 0; k < n; k++)
			noise[k] = (char)soak_random(256);
		if (!link_put(&l, noise, n))
			break;
	}
	soak_nap(soak_random(3));
	link_close(&l);
	return true;
}

static bool by_inetd(const struct style *s)
{
	const char *argv[] = { config.program, "inetd", "-c", config.conf, NULL };
	int pair[2], status;
	struct link l;
	pid_t pid;
	bool any;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1)
		return false;
	pid = soak_spawn(pair[1], pair[1], argv);
	close(pair[1]);
	link_open(&l, pair[0], REPLY_S);
	any = talk(&l, s);
	if (pid != -1 && (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)))
		ledger_wrong("fardel inetd was ended by a signal");
	return any;
}

/* ---- without SMTP: lines end in LF */

static bool put_text(int fd, const struct mail *m)
{
	char *text = malloc(m->size);
	size_t n = 0, at = 0;

	for (size_t i = 0; text && i < m->size; i++)
		if (m->text[i] != '\r')
			text[n++] = m->text[i];
	while (at < n) {
		ssize_t w = write(fd, text + at, n - at);

		if (w <= 0)
			break;
		at += (size_t)w;
	}
	free(text);
	return n && at == n;
}

static bool by_sendmail(const struct style *s)
{
	char to[RECIPIENTS][100], from[64];
	const char *argv[RECIPIENTS + 8] = { config.program, "sendmail", "-C", config.conf, "-i", "-f", from };
	struct mail m;
	int fd, status;

	(void)s;
	if (!compose(&m))
		return false;
	snprintf(from, sizeof from, "m%u@back.test", m.id);
	for (unsigned i = 0; i < m.n; i++) {
		address(&m, i, to[i], sizeof to[i]);
		argv[7 + i] = to[i];
	}
	fd = memfd_create("text", MFD_CLOEXEC);
	if (fd == -1 || !put_text(fd, &m) || lseek(fd, 0, SEEK_SET) == -1) {
		ledger_wrong("a file for sendmail: %s", strerror(errno));
		settle(&m, ANSWER_NO);
		return true;
	}
	status = soak_command(60, fd, argv);
	close(fd);
	if (status)
		ledger_wrong("fardel sendmail: status %d", status);
	settle(&m, status == 0 ? ANSWER_YES : status > 0 ? ANSWER_NO : ANSWER_LOST);
	return true;
}

static bool by_drop(const struct style *s)
{
	char at[600], to[600], rcpt[100];
	struct mail m;
	FILE *f;
	bool ok;

	(void)s;
	if (!compose(&m))
		return false;
	snprintf(at, sizeof at, "%s/tmp/soak%u", config.queue, m.id);
	snprintf(to, sizeof to, "%s/new/soak%u", config.queue, m.id);
	f = fopen(at, "we");
	if (!f) {
		ledger_wrong("%s: %s", at, strerror(errno));
		settle(&m, ANSWER_NO);
		return true;
	}
	fprintf(f, "MAIL FROM:<m%u@back.test>\n", m.id);
	for (unsigned i = 0; i < m.n; i++) {
		address(&m, i, rcpt, sizeof rcpt);
		fprintf(f, "RCPT TO:<%s>\n", rcpt);
	}
	fputc('\n', f);
	ok = fflush(f) == 0 && put_text(fileno(f), &m);
	ok = fclose(f) == 0 && ok && rename(at, to) == 0;
	settle(&m, ok ? ANSWER_YES : ANSWER_NO);
	if (!ok)
		ledger_wrong("%s: %s", to, strerror(errno));
	return true;
}

/* ---- all of them */

static const struct style ways[] = {
	{ .name = "step by step", .weight = 26, .run = by_smtp },
	{ .name = "pipelined", .weight = 26, .run = by_smtp, .pipelined = true },
	{ .name = "in chunks", .weight = 10, .run = by_smtp, .pipelined = true, .chunks = true },
	{ .name = "TLS", .weight = 6, .run = by_smtp, .tls = true },
	{ .name = "TLS in chunks", .weight = 4, .run = by_smtp, .pipelined = true, .chunks = true, .tls = true },
	{ .name = "cut off", .weight = 5, .run = by_smtp, .cut = true },
	{ .name = "cut off in chunks", .weight = 3, .run = by_smtp, .pipelined = true, .chunks = true, .cut = true },
	{ .name = "trickle", .weight = 2, .run = by_smtp, .slow = true },
	{ .name = "rubbish", .weight = 3, .run = by_rubbish },
	{ .name = "inetd", .weight = 4, .run = by_inetd, .pipelined = true },
	{ .name = "sendmail", .weight = 5, .run = by_sendmail },
	{ .name = "drop", .weight = 8, .run = by_drop },
};
enum { WAYS = sizeof ways / sizeof *ways };
static unsigned gone[WAYS];

unsigned load_ways(unsigned *of)
{
	unsigned n = 0;

	*of = WAYS;
	for (int i = 0; i < WAYS; i++)
		n += __atomic_load_n(&gone[i], __ATOMIC_RELAXED) > 0;
	return n;
}

const char *load_way(unsigned i, unsigned *sessions)
{
	if (i >= WAYS)
		return NULL;
	*sessions = __atomic_load_n(&gone[i], __ATOMIC_RELAXED);
	return ways[i].name;
}

static const struct style *some_way(void)
{
	unsigned all = 0, n, i;

	for (i = 0; i < WAYS; i++)
		all += ways[i].weight;
	n = soak_random(all);
	for (i = 0; n >= ways[i].weight; i++)
		n -= ways[i].weight;
	return &ways[i];
}

/* Waits for the next turn that the common pace gives; false: there is none any more. */
static bool turn(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static double next;
	double now, at;

	pthread_mutex_lock(&lock);
	now = soak_now();
	/* A session brings (1 + IN_A_SESSION) / 2 messages, mostly. */
	at = next = (next > now - 1 ? next : now) + (1 + IN_A_SESSION) / 2.0 / config.rate;
	pthread_mutex_unlock(&lock);
	while ((now = soak_now()) < at && !__atomic_load_n(&over, __ATOMIC_RELAXED))
		soak_nap(at - now < 0.5 ? at - now : 0.5);
	return !__atomic_load_n(&over, __ATOMIC_RELAXED);
}

static bool too_many_wait(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static double looked;
	static bool many;
	bool answer;

	pthread_mutex_lock(&lock);
	if (soak_now() - looked > 1) {
		looked = soak_now();
		many = ledger_counts().waiting > config.most_waiting;
	}
	answer = many;
	pthread_mutex_unlock(&lock);
	return answer;
}

static void *work(void *arg)
{
	while (turn()) {
		const struct style *s = some_way();

		if (!too_many_wait() && s->run(s))
			__atomic_add_fetch(&gone[s - ways], 1, __ATOMIC_RELAXED);
	}
	__atomic_sub_fetch(&at_work, 1, __ATOMIC_SEQ_CST);
	return arg;
}

const char *load_begin(const struct load_config *wanted)
{
	pthread_t thread;

	config = *wanted;
	context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	for (int i = 0; i < SENDERS; i++) {
		at_work++;
		if (pthread_create(&thread, NULL, work, NULL) || pthread_detach(thread))
			return "no thread";
	}
	return NULL;
}

bool load_end(double seconds)
{
	double end = soak_now() + seconds;

	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	while (__atomic_load_n(&at_work, __ATOMIC_SEQ_CST) && soak_now() < end)
		soak_nap(0.05);
	return __atomic_load_n(&at_work, __ATOMIC_SEQ_CST) == 0;
}
