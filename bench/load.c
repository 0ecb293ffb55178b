/* load [OPTIONS] PORT [SINK...]: sessions of an SMTP client at the same time, each a thread; how many messages are answered 250.
 *   -c N     sessions at a time (1)
 *   -t S     for so many seconds (1), or
 *   -n N     so many messages
 *   -k N     messages in a session (1; 0: one session for all)
 *   -l N     octets of a message (4096)
 *   -r N     recipients of a message (1),
 *   -D N     at so many domains, one after the other: d0.test, d1.test (1: there.test)
 *   -T KEYS  inside STARTTLS: rsa or ec, the certificate that is asked for
 *   -R       each session resumes the one before; the first of each thread comes before the clock starts
 * Prints: messages a second, messages, failures, resumed sessions, TLS version and cipher. It shares no code with the program.
 * With addresses of a SINK (sink.h) the messages are waited for there; what the sink counted is a second line, as in `show_sink`.
 *   -p N     the sink's port (25)
 *   -d MS    the sink holds each reply back for so long
 *   -C       the sink does not offer CHUNKING
 *   -w S     how long it is waited for all to arrive (60) */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/sink.h"

static unsigned threads = 1, wanted, per = 1, size = 4096, recipients = 1, domains = 1;
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

struct talk {
	int fd;
	SSL *ssl;
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

/* The next reply's code; 0: the connection is lost. */
static int hear(struct talk *t)
{
	for (;;) {
		char *end;
		ssize_t n;

		while ((end = memchr(t->in, '\n', t->n))) {
			size_t line = (size_t)(end + 1 - t->in);
			int code = line > 4 ? atoi(t->in) : 0;
			bool more = line > 4 && t->in[3] == '-';

			memmove(t->in, end + 1, t->n - line);
			t->n -= line;
			if (!more)
				return code;
		}
		if (t->n == sizeof t->in)
			return 0;
		n = t->ssl ? SSL_read(t->ssl, t->in + t->n, (int)(sizeof t->in - t->n)) : recv(t->fd, t->in + t->n, sizeof t->in - t->n, 0);
		if (n <= 0)
			return 0;
		t->n += (size_t)n;
	}
}

static bool command(struct talk *t, const char *line, int code)
{
	return say(t, line, strlen(line)) && hear(t) == code;
}

static bool greet(struct talk *t, SSL_SESSION **kept)
{
	if (hear(t) != 220 || !command(t, "EHLO load.test\r\n", 250))
		return false;
	if (!context)
		return true;
	if (!command(t, "STARTTLS\r\n", 220))
		return false;
	t->ssl = SSL_new(context);
	SSL_set_fd(t->ssl, t->fd);
	if (resume && *kept)
		SSL_set_session(t->ssl, *kept);
	if (SSL_connect(t->ssl) != 1)
		return false;
	resumed += (unsigned)SSL_session_reused(t->ssl);
	t->n = 0;
	return command(t, "EHLO load.test\r\n", 250);
}

static bool name_recipients(struct talk *t)
{
	char line[100];

	for (unsigned i = 0; i < recipients; i++) {
		if (domains > 1)
			snprintf(line, sizeof line, "RCPT TO:<u%u@d%u.test>\r\n", i / domains, i % domains);
		else
			snprintf(line, sizeof line, "RCPT TO:<u%u@there.test>\r\n", i);
		if (!command(t, line, 250))
			return false;
	}
	return true;
}

static bool send_message(struct talk *t)
{
	/* no pipelining: what is compared is the server, and both get the same */
	if (!command(t, "MAIL FROM:<a@load.test>\r\n", 250) || !name_recipients(t) || !command(t, "DATA\r\n", 354))
		return false;
	if (!say(t, message, message_size) || hear(t) != 250)
		return false;
	taken++;
	return true;
}

static bool session(SSL_SESSION **kept)
{
	struct talk t = { .fd = socket(AF_INET, SOCK_STREAM, 0) };
	int one = 1;
	bool ok = false;

	setsockopt(t.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(t.fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ 30, 0 }, sizeof(struct timeval));
	if (connect(t.fd, (struct sockaddr *)&server, sizeof server) == -1 || !greet(&t, kept))
		goto out;
	for (unsigned i = 0; (!per || i < per) && (!i || another()); i++)
		if (!send_message(&t))
			goto out;
	ok = command(&t, "QUIT\r\n", 221);
	if (t.ssl) {
		if (suite[0] == '-')
			snprintf(suite, sizeof suite, "%s %s", SSL_get_version(t.ssl), SSL_get_cipher(t.ssl));
		SSL_SESSION_free(*kept);
		*kept = SSL_get1_session(t.ssl);
		SSL_shutdown(t.ssl);    /* one that ended badly is not resumed */
	}
out:
	SSL_free(t.ssl);
	close(t.fd);
	return ok;
}

static void *work(void *arg)
{
	SSL_SESSION *kept = NULL;

	if (resume)
		session(&kept);
	pthread_barrier_wait(&barrier);         /* main sets the clock and the counts between the two */
	pthread_barrier_wait(&barrier);
	while (another())
		if (!session(&kept) && ++failed > 1000)
			break;
	SSL_SESSION_free(kept);
	return arg;
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
	pthread_t thread[1000];
	const char *wrong;
	double took;

	for (int o; (o = getopt(argc, argv, "c:t:n:k:l:r:D:T:Rp:d:Cw:")) != -1;) {
		switch (o) {
		case 'c': threads = (unsigned)atoi(optarg); break;
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
	if (optind >= argc || !threads || threads > 1000 || size < 200 || !recipients || !domains)
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
	pthread_barrier_init(&barrier, NULL, threads + 1);
	began = now();
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, work, NULL))
			return 2;
	pthread_barrier_wait(&barrier);
	begun = taken = failed = resumed = 0;
	began = now();
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	took = now() - began;
	printf("%.1f %u %u %u %s\n", taken / took, taken, failed, resumed, suite);
	if (optind + 1 < argc)
		show_sink();
	return taken ? 0 : 1;
}
