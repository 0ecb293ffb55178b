/* load [OPTIONS] PORT [SINK...]: sessions of an SMTP client at the same time; how many messages are answered 250. One thread has all
 * sessions in clear, as clients elsewhere would not be woken by the server's own processors; inside TLS each has a thread of its own.
 *   -c N     sessions at a time (1)
 *   -t S     for so many seconds (1), or
 *   -n N     so many messages
 *   -k N     messages in a session (1; 0: one session for all)
 *   -l N     octets of a message (4096)
 *   -r N     recipients of a message (1),
 *   -D N     at so many domains, one after the other: d0.test, d1.test (1: there.test)
 *   -T KEYS  inside STARTTLS: rsa or ec, the certificate that is asked for
 *   -R       each session resumes the one before; the first of each comes before the clock starts
 * Prints: messages a second, messages, failures, resumed sessions, TLS version and cipher. It shares no code with the program.
 * With addresses of a SINK (sink.h) the messages are waited for there; what the sink counted is a second line, as in `show_sink`.
 *   -p N     the sink's port (25)
 *   -d MS    the sink holds each reply back for so long
 *   -C       the sink does not offer CHUNKING
 *   -w S     how long it is waited for all to arrive (60) */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/sink.h"

enum { MOST = 1000, PATIENCE_S = 30 };

static unsigned sessions = 1, wanted, per = 1, size = 4096, recipients = 1, domains = 1;
static double seconds = 1, patience = 60;
static struct sink_config sink = { .port = 25 };
static bool resume;
static SSL_CTX *context;
static struct sockaddr_in server = { .sin_family = AF_INET };
static char *message;
static size_t message_size;
static atomic_uint begun, taken, failed, resumed;
static double began;
static char suite[100] = "-";
static pthread_barrier_t barrier;

/* What the other side is to answer next. */
enum step { GREETING, EHLO, STARTTLS, EHLO_AGAIN, MAIL, RCPT, DATA, BODY, QUIT };

struct talk {
	int fd;
	SSL *ssl;
	SSL_SESSION *kept;              /* of the session before */
	enum step step;
	unsigned named, sent;           /* recipients, messages */
	char in[8192];
	size_t n;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One more message? */
static bool another(void)
{
	return wanted ? begun++ < wanted : now() - began < seconds;
}

static bool say(struct talk *t, const char *p, size_t n)
{
	while (n) {
		ssize_t w = t->ssl ? SSL_write(t->ssl, p, (int)n) : send(t->fd, p, n, MSG_NOSIGNAL);

		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

static bool command(struct talk *t, enum step step, const char *line)
{
	t->step = step;
	return say(t, line, strlen(line));
}

/* No pipelining: what is compared is the server, and both get the same. */
static bool name_recipient(struct talk *t)
{
	char line[100];
	unsigned i = t->named++;

	if (domains > 1)
		snprintf(line, sizeof line, "RCPT TO:<u%u@d%u.test>\r\n", i / domains, i % domains);
	else
		snprintf(line, sizeof line, "RCPT TO:<u%u@there.test>\r\n", i);
	return command(t, RCPT, line);
}

static bool begin_message(struct talk *t)
{
	t->named = 0;
	return command(t, MAIL, "MAIL FROM:<a@load.test>\r\n");
}

static bool begin_tls(struct talk *t)
{
	t->ssl = SSL_new(context);
	SSL_set_fd(t->ssl, t->fd);
	if (resume && t->kept)
		SSL_set_session(t->ssl, t->kept);
	if (SSL_connect(t->ssl) != 1)
		return false;
	resumed += (unsigned)SSL_session_reused(t->ssl);
	return command(t, EHLO_AGAIN, "EHLO load.test\r\n");
}

static const int good[] = {
	[GREETING] = 220, [EHLO] = 250, [STARTTLS] = 220, [EHLO_AGAIN] = 250, [MAIL] = 250, [RCPT] = 250, [DATA] = 354, [BODY] = 250,
	[QUIT] = 221,
};

/* A reply has come; says what is next. false: it is not the one that was wanted, or the connection is lost. */
static bool go_on(struct talk *t, int code)
{
	if (code != good[t->step])
		return false;
	switch (t->step) {
	case GREETING:
		return command(t, EHLO, "EHLO load.test\r\n");
	case EHLO:
		return context ? command(t, STARTTLS, "STARTTLS\r\n") : begin_message(t);
	case STARTTLS:
		return begin_tls(t);
	case EHLO_AGAIN:
		return begin_message(t);
	case MAIL:
		return name_recipient(t);
	case RCPT:
		return t->named < recipients ? name_recipient(t) : command(t, DATA, "DATA\r\n");
	case DATA:
		t->step = BODY;
		return say(t, message, message_size);
	case BODY:
		taken++;
		t->sent++;
		return (!per || t->sent < per) && another() ? begin_message(t) : command(t, QUIT, "QUIT\r\n");
	case QUIT:
		break;
	}
	return true;
}

/* The code of the reply that is there in full, which goes; -1: none is. */
static int reply(struct talk *t)
{
	char *end;

	while ((end = memchr(t->in, '\n', t->n))) {
		size_t line = (size_t)(end + 1 - t->in);
		int code = line > 4 ? atoi(t->in) : 0;
		bool more = line > 4 && t->in[3] == '-';

		memmove(t->in, end + 1, t->n - line);
		t->n -= line;
		if (!more)
			return code;
	}
	return -1;
}

/* What has come is read, and answered. false: the session is over; `*well`: as it should be. */
static bool hear(struct talk *t, bool *well)
{
	size_t room = sizeof t->in - t->n;
	ssize_t n = !room ? 0 : t->ssl ? SSL_read(t->ssl, t->in + t->n, (int)room) : recv(t->fd, t->in + t->n, room, 0);

	*well = false;
	if (n <= 0)
		return false;
	t->n += (size_t)n;
	for (int code; (code = reply(t)) >= 0;) {
		bool last = t->step == QUIT;

		if (!go_on(t, code))
			return false;
		if (last) {
			*well = true;
			return false;
		}
	}
	return true;
}

static bool call(struct talk *t, int flags)
{
	int one = 1;

	*t = (struct talk){ .fd = socket(AF_INET, SOCK_STREAM | flags, 0), .kept = t->kept };
	setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ PATIENCE_S, 0 }, sizeof(struct timeval));
	return connect(t->fd, (struct sockaddr *)&server, sizeof server) == 0 || errno == EINPROGRESS;
}

/* ---- inside TLS: a thread each */

static bool session(struct talk *t)
{
	bool well = false;

	if (call(t, 0))
		while (hear(t, &well))
			continue;
	if (t->ssl) {
		if (suite[0] == '-')
			snprintf(suite, sizeof suite, "%s %s", SSL_get_version(t->ssl), SSL_get_cipher(t->ssl));
		if (well) {             /* one that ended badly is not resumed */
			SSL_SESSION_free(t->kept);
			t->kept = SSL_get1_session(t->ssl);
			SSL_shutdown(t->ssl);
		}
	}
	SSL_free(t->ssl);
	close(t->fd);
	return well;
}

static void *work(void *arg)
{
	struct talk t = { .fd = -1 };

	if (resume)
		session(&t);
	pthread_barrier_wait(&barrier);         /* main sets the clock and the counts between the two */
	pthread_barrier_wait(&barrier);
	while (another())
		if (!session(&t) && ++failed > 1000)
			break;
	SSL_SESSION_free(t.kept);
	return arg;
}

static void in_threads(void)
{
	pthread_t thread[MOST];

	pthread_barrier_init(&barrier, NULL, sessions + 1);
	for (unsigned i = 0; i < sessions; i++)
		if (pthread_create(&thread[i], NULL, work, NULL))
			exit(2);
	pthread_barrier_wait(&barrier);
	begun = taken = failed = resumed = 0;
	began = now();
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < sessions; i++)
		pthread_join(thread[i], NULL);
}

/* ---- in clear: one for all */

/* The next session in the place of one that is over. false: there is none. */
static bool again(int ep, struct talk *t)
{
	while (another()) {
		/* only connect() is not waited for: what is written finds room, as the server reads whatever the others do */
		if (call(t, SOCK_NONBLOCK) && !epoll_ctl(ep, EPOLL_CTL_ADD, t->fd, &(struct epoll_event){ EPOLLIN, { .ptr = t } }))
			return true;
		close(t->fd);
		if (++failed > 1000)
			break;
	}
	return false;
}

static void as_one(void)
{
	struct talk *all = calloc(sessions, sizeof *all);
	struct epoll_event e[64];
	int ep = epoll_create1(0), n;
	unsigned open = 0;

	for (unsigned i = 0; all && i < sessions; i++)
		open += again(ep, &all[i]);
	while (open && (n = epoll_wait(ep, e, 64, PATIENCE_S * 1000)) > 0)
		for (int i = 0; i < n; i++) {
			struct talk *t = e[i].data.ptr;
			bool well;

			if (t->step == GREETING)
				fcntl(t->fd, F_SETFL, 0);
			if (hear(t, &well))
				continue;
			failed += !well;
			close(t->fd);
			open -= !again(ep, t);
		}
	failed += open;
	close(ep);
	free(all);
}

static void write_message(void)
{
	char *at = message = malloc(size + 1000);

	at += snprintf(at, 1000, "From: <a@load.test>\r\nTo: <b@there.test>\r\nSubject: load\r\n\r\n");
	while ((size_t)(at - message) + 5 < size) {
		size_t n = size - 5 - (size_t)(at - message);

		n = n < 76 ? n : 76;
		memset(at, 'x', n);
		memcpy(at + n, "\r\n", 2);
		at += n + 2;
	}
	memcpy(at, ".\r\n", 3);
	message_size = (size_t)(at + 3 - message);
}

/* seconds, then counts: see sink.h. "late" when it did not come about. */
static void show_sink(void)
{
	bool all = sink_wait((unsigned long)taken * recipients, patience), quiet = sink_quiet(10);
	struct sink_counts s = sink_counts();

	printf("%.4f %lu %lu %lu %lu %lu %lu %lu %lu %lu %lu%s\n", s.last - began, s.connections, s.most, s.transactions, s.recipients,
		s.delivered, s.turns, s.in, s.out, s.segments_in, s.segments_out, all && quiet ? "" : " late");
}

static void use_tls(const char *keys)
{
	context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set1_sigalgs_list(context, strcmp(keys, "rsa") ? "ECDSA+SHA256" : "RSA-PSS+SHA256:RSA+SHA256");
	SSL_CTX_set_cipher_list(context, strcmp(keys, "rsa") ? "ECDHE+aECDSA" : "ECDHE+aRSA");
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
}

int main(int argc, char **argv)
{
	const char *wrong;
	double took;

	for (int o; (o = getopt(argc, argv, "c:t:n:k:l:r:D:T:Rp:d:Cw:")) != -1;) {
		switch (o) {
		case 'c': sessions = (unsigned)atoi(optarg); break;
		case 't': seconds = atof(optarg); break;
		case 'n': wanted = (unsigned)atoi(optarg); break;
		case 'k': per = (unsigned)atoi(optarg); break;
		case 'l': size = (unsigned)atoi(optarg); break;
		case 'r': recipients = (unsigned)atoi(optarg); break;
		case 'D': domains = (unsigned)atoi(optarg); break;
		case 'p': sink.port = (unsigned)atoi(optarg); break;
		case 'd': sink.hold_ms = (unsigned)atoi(optarg); break;
		case 'C': sink.no_chunking = true; break;
		case 'w': patience = atof(optarg); break;
		case 'T': use_tls(optarg); break;
		case 'R': resume = true; break;
		default: return 2;
		}
	}
	if (optind >= argc || !sessions || sessions > MOST || size < 200 || !recipients || !domains)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	server.sin_port = htons((unsigned short)atoi(argv[optind]));
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	wrong = optind + 1 < argc ? sink_open(&sink, argv + optind + 1, argc - optind - 1) : NULL;
	if (wrong) {
		fprintf(stderr, "load: no sink: %s\n", wrong);
		return 2;
	}
	write_message();
	began = now();
	if (context)
		in_threads();
	else
		as_one();
	took = now() - began;
	printf("%.1f %u %u %u %s\n", taken / took, taken, failed, resumed, suite);
	if (optind + 1 < argc)
		show_sink();
	return taken ? 0 : 1;
}
