/* The SMTP server: everything from accept() to queue_commit(). Here: listening, accepting, and the turn of a session, which is
 * in one phase at a time; step() says what each phase does with what has come. Behind it smtpd/: session.c (saying, time,
 * transactions, ends), verbs.c (commands), envelope.c (MAIL, RCPT), data.c (the message), tls.c (STARTTLS). */
#include "smtpd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/log.h"
#include "smtpd/session.h"

enum {
	COMMANDS_A_TURN = 50,           /* then the others' turn; octets are bounded by what a stream keeps */
	ACCEPTS_A_TURN = 64,
	PROXY_MS = 10000,               /* for a proxy to say for whom it speaks */
	ACCEPT_PAUSE_MS = 1000,         /* after running out of descriptors */
	LINGER_MS = 2000,               /* for the peer to read our last words */
	LINGER_MAX = 1 << 20,           /* octets it may still send meanwhile */
	EVICT_MS = 10000,               /* quiet this long, a session may have to make place... */
	EVICT_BUSY_MS = 30000,          /* ...and one with a transaction... */
	EVICT_BARREN_MS = 1000,         /* ...unless it has brought no message for that time: whoever drips command after command, say */
	EVICT_LOOK = 32,                /* sessions looked at for it */
	LEAVING_ROOM = 8
};

struct listener {
	struct listener *next;
	struct io io;
	struct timer pause;
	enum smtpd_service service;
};

static const struct smtpd_config *config;
static struct listener *listeners;
static struct list sessions;
static unsigned leaving;                /* sessions that have had our last words */
static bool stopping;

static unsigned sessions_wanted(void) { return config->sessions_max ? config->sessions_max : 12000; }

/* A session needs a descriptor, one for each filter, and one more while it sends a message; a quarter is left to the queue and to deliveries. */
static unsigned sessions_max(void)
{
	unsigned max = sessions_wanted();
	struct rlimit r;
	rlim_t room;

	if (getrlimit(RLIMIT_NOFILE, &r) == -1 || r.rlim_cur == RLIM_INFINITY)
		return max;
	room = r.rlim_cur - r.rlim_cur / 4;
	room = (room > 40 ? room - 32 : 8) / (1 + config->nmilters);
	room = room ? room : 1;
	return room < max ? (unsigned)room : max;
}

/* ---- the session's turn */

/* RFC 1122 4.2.2.13: closing with unread input resets the connection, and the reset may overtake our last reply. */
static bool close_gently(struct session *s)
{
	if (!stream_drained(&s->stream))
		return false;
	stream_shutdown(&s->stream);
	s->phase = P_LINGER;
	session_deadline(s, LINGER_MS);
	return true;
}

static bool linger(struct session *s)
{
	size_t n = stream_peek(&s->stream).n;

	stream_take(&s->stream, n);
	s->lingered += n;
	if (s->stream.eof || s->lingered > LINGER_MAX)
		session_die(s);
	return false;
}

/* True: something was done, there may be more. */
static bool step(struct session *s)
{
	switch (s->phase) {
	case P_COMMAND: return command_read(s);
	case P_AUTH: return auth_read(s);
	case P_DATA: return data_read(s);
	case P_CHUNK: return chunk_read(s);
	case P_STARTTLS: return handshake_begin(s);
	case P_HANDSHAKE: return handshake_await(s);
	case P_CLOSING: return close_gently(s);
	case P_LINGER: return linger(s);
	case P_PROXY: return proxy_read(s);
	case P_GREETING: return session_greet_stranger(s);
	case P_PAUSED:
	case P_ASKING:
	case P_VETTING:
	case P_MILTER:
	case P_AUTH_CHECK:
	case P_AUTH_PAUSE:
	case P_JUDGING:
	case P_READING:
	case P_DECIDING:
	case P_COMMIT:
	case P_DEAD: break;
	}
	return false;
}

static bool input_awaited(const struct session *s)
{
	return s->phase == P_COMMAND || s->phase == P_AUTH || s->phase == P_DATA || s->phase == P_CHUNK || s->phase == P_STARTTLS;
}

/* The peer went without QUIT; worth a line when it had mail for us. */
static void log_lost(struct session *s)
{
	if (s->phase == P_HANDSHAKE)
		handshake_failed(s, stream_error(&s->stream));
	else if (s->seen & SEEN_MAIL && !s->committing)
		log_event(LOG_INFO, "lost", LF(L_TEXT("id", session_id(s)), L_TEXT("client", s->who.peer_text), L_TEXT("helo", s->who.helo),
			L_TEXT("from", s->who.sender), L_TEXT("during", s->phase == P_DATA || s->phase == P_CHUNK ? "DATA" : "envelope"),
			L_TEXT("error", s->stream.error ? stream_error(&s->stream) : "")));
}

static void work(struct session *s)
{
	unsigned budget = COMMANDS_A_TURN;
	bool more = true;

	while (more && budget-- && !s->broken && !s->stream.error)
		more = step(s);
	if (s->phase == P_DEAD)
		return;
	if (s->broken || s->stream.error) {
		log_lost(s);
		session_die(s);
	} else if (more) {
		stream_again(&s->stream);
	} else if (s->stream.eof && input_awaited(s) && !stream_full(&s->stream)) {
		log_lost(s);
		session_close(s);               /* what is queued still leaves: the peer may have ended just its own half */
		stream_again(&s->stream);
	}
}

static void on_event(struct stream *st) { work(owner_of(st, struct session, stream)); }

static void time_is_up(struct session *s)
{
	switch (s->phase) {
	case P_AUTH_PAUSE:
		auth_pause_over(s);
		break;
	case P_COMMAND:
	case P_AUTH:
	case P_AUTH_CHECK:
	case P_DATA:
	case P_CHUNK:
		session_hang_up(s, "4.4.2", s->phase == P_DATA || s->phase == P_CHUNK ? "Timeout while receiving a message" : "Timeout while waiting for a command");
		stream_again(&s->stream);
		break;
	case P_GREETING:
		session_greet_stranger(s);
		stream_again(&s->stream);
		break;
	case P_PAUSED:
		session_await_command(s);
		stream_again(&s->stream);
		break;
	case P_ASKING:
		session_log_refusal(s, s->question.stage, buf_view(&s->question.arg), 451, "4.4.3", "no facts in time");
		session_say(s, 451, "4.4.3", "The address could not be checked in time, try again later");
		question_end(s);
		stream_again(&s->stream);
		break;
	case P_JUDGING:
		inspect_out_of_time(s);
		stream_again(&s->stream);
		break;
	case P_READING:
		reports_time(s);
		stream_again(&s->stream);
		break;
	case P_DECIDING:
		judging_time(s);
		stream_again(&s->stream);
		break;
	case P_PROXY:
		log_event(LOG_WARN, "proxy", LF(L_TEXT("client", s->who.peer_text), L_TEXT("reason", "it is in proxy_from and sends no PROXY header. Set send-proxy there, or take it out of proxy_from")));
		session_die(s);
		break;
	case P_STARTTLS:
	case P_HANDSHAKE:
		handshake_failed(s, "the handshake took too long");
		session_die(s);
		break;
	case P_CLOSING:
	case P_LINGER:
		session_die(s);
		break;
	case P_VETTING:                 /* SPF has its own deadline, and so have filters and the queue */
	case P_MILTER:
	case P_COMMIT:
	case P_DEAD:
		break;
	}
}

static void timer_expired(struct timer *t)
{
	struct session *s = owner_of(t, struct session, timer);
	msec left = s->deadline - loop_now();

	if (left > 0)
		timer_set(t, left);
	else
		time_is_up(s);
}

/* ---- beginning */

static void unmap(struct sockaddr_storage *a)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)a;
	struct sockaddr_in four = { .sin_family = AF_INET };

	if (a->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		return;
	four.sin_port = six->sin6_port;
	memcpy(&four.sin_addr, six->sin6_addr.s6_addr + 12, 4);
	memset(a, 0, sizeof *a);
	memcpy(a, &four, sizeof four);
}

static void describe_peer(struct subject *who, const struct sockaddr_storage *peer, enum smtpd_service service)
{
	char text[INET6_ADDRSTRLEN];

	*who = (struct subject){ .peer = *peer, .helo = "", .sender = "", .user = "", .uid = -1, .submission = service != SMTPD_MX };
	unmap(&who->peer);
	switch (who->peer.ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &((struct sockaddr_in *)&who->peer)->sin_addr, text, sizeof text);
		snprintf(who->peer_text, sizeof who->peer_text, "%s", text);
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&who->peer)->sin6_addr, text, sizeof text);
		snprintf(who->peer_text, sizeof who->peer_text, "IPv6:%s", text);
		break;
	default:
		memset(&who->peer, 0, sizeof who->peer);
		who->peer.ss_family = AF_UNSPEC;
		str_copy(who->peer_text, sizeof who->peer_text, STR("local"));
		who->local = service == SMTPD_LOCAL || service == SMTPD_MX;
		break;
	}
}

static void describe_program(struct subject *who, int fd)
{
	struct ucred c;
	socklen_t n = sizeof c;

	if (!who->local || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == -1 || n != sizeof c || c.uid == (uid_t)-1)
		return;
	who->uid = (long)c.uid;
	snprintf(who->peer_text, sizeof who->peer_text, "uid %lu", (unsigned long)c.uid);
}

static bool is_proxy(const struct subject *who)
{
	return !who->local && config->proxy && config->proxy(config->arg, who);
}

/* Limits are the client's, not those of who brings him. */
void smtpd_peer_is(struct session *s, const struct sockaddr_storage *peer)
{
	bool tls = s->who.tls, esmtp = s->who.esmtp;
	const char *why;

	guest_leave(&s->visit);
	describe_peer(&s->who, peer, s->service);
	s->who.tls = tls;
	s->who.esmtp = esmtp;
	why = guest_enter(s->config, &s->who, &s->visit);
	if (why)
		session_hang_up(s, "4.7.0", why);
}

static struct session *open_session(int in, int out, const struct subject *who, enum smtpd_service service)
{
	struct session *s = calloc(1, sizeof *s);

	assert(config && config->rcpt);
	if (!s)
		return NULL;
	if (stream_open(&s->stream, in, out, on_event) == -1) {
		free(s);
		return NULL;
	}
	if (!sessions.head.next)
		list_init(&sessions);
	s->config = config;
	s->patience = PATIENCE;
	s->service = service;
	s->who = *who;
	s->timer.expired = timer_expired;
	s->wake.run = question_wake;
	s->quiet_since = loop_now();
	list_push(&sessions, &s->node);
	log_event(LOG_DEBUG, "connected", LF(L_TEXT("client", s->who.peer_text)));
	if (is_proxy(who)) {
		s->phase = P_PROXY;
		session_deadline(s, PROXY_MS);
	} else {
		session_begin(s);
	}
	return s;
}

static bool is_internet(int fd)
{
	struct sockaddr_storage own = { 0 };
	socklen_t n = sizeof own;

	return getsockname(fd, (struct sockaddr *)&own, &n) == 0 && (own.ss_family == AF_INET || own.ss_family == AF_INET6);
}

/* False: the peer has gone already, and is nobody to be trusted as a local program. */
static bool find_peer(int in, struct sockaddr_storage *peer)
{
	socklen_t n = sizeof *peer;

	if (getpeername(in, (struct sockaddr *)peer, &n) == 0 && n >= sizeof peer->ss_family)
		return true;
	peer->ss_family = AF_UNSPEC;
	errno = ENOTCONN;
	return !is_internet(in);
}

int smtpd_session(int in, int out, enum smtpd_service service, const struct sockaddr_storage *said, void (*ended)(void))
{
	struct sockaddr_storage peer = { 0 };
	struct subject who;
	struct session *s;

	if (said)
		peer = *said;
	else if (!find_peer(in, &peer))
		return -1;
	if (service == SMTPD_MX && peer.ss_family != AF_INET && peer.ss_family != AF_INET6)
		service = SMTPD_LOCAL;
	describe_peer(&who, &peer, service);
	s = open_session(in, out, &who, service);
	if (!s)
		return -1;
	s->ended = ended;
	if (stopping)
		stream_again(&s->stream);
	return 0;
}

void session_touch(struct session *s)
{
	s->quiet_since = loop_now();
	list_remove(&sessions, &s->node);
	list_push(&sessions, &s->node);
}

void session_leaves(struct session *s)
{
	leaving += !s->leaving;
	s->leaving = true;
}

void sessions_remove(struct session *s)
{
	leaving -= s->leaving;
	list_remove(&sessions, &s->node);
}

bool smtpd_stopping(void) { return stopping; }

/* ---- accepting */

/* No session begins: one line, and the descriptor is closed. Nothing of the peer's has been read or is awaited. */
static void turn_away(int fd, const struct subject *who, const char *enhanced, const char *why)
{
	char line[512];
	int n = snprintf(line, sizeof line, "421 %s %.255s %s\r\n", enhanced, config->hostname, why);

	if (guest_may_log())
		log_event(LOG_INFO, "turned-away", LF(L_TEXT("client", who->peer_text), L_TEXT("reason", why)));
	if (send(fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == -1) {
		/* gone already */
	}
	close(fd);
}

/* Under pressure those go who do least for us: they wait, or send so slowly that it comes to the same. */
static bool evictable(const struct session *s)
{
	msec quiet = loop_now() - s->quiet_since;
	bool barren = loop_now() - s->since >= EVICT_BUSY_MS;

	switch (s->phase) {
	case P_PROXY:
	case P_GREETING:
	case P_PAUSED:
	case P_AUTH:
	case P_AUTH_PAUSE:
	case P_STARTTLS:
	case P_HANDSHAKE:
		return quiet >= EVICT_MS;
	case P_VETTING:
	case P_ASKING:                  /* for names whose servers do not answer one can be made to wait at will */
		return quiet >= (barren ? EVICT_BARREN_MS : EVICT_MS);
	case P_COMMAND:
		return quiet >= (barren ? EVICT_BARREN_MS : s->seen & SEEN_MAIL ? EVICT_BUSY_MS : EVICT_MS);
	case P_DATA:
	case P_CHUNK:
		return barren && quiet >= EVICT_MS;
	case P_AUTH_CHECK:              /* these wait for us */
	case P_MILTER:
	case P_JUDGING:
	case P_READING:
	case P_DECIDING:
	case P_COMMIT:
	case P_CLOSING:                 /* has left already */
	case P_LINGER:
	case P_DEAD:
		break;
	}
	return false;
}

static void evict(struct session *s)
{
	if (s->phase == P_STARTTLS || s->phase == P_HANDSHAKE) {
		handshake_failed(s, "too busy to wait for it");
		session_die(s);
		return;
	}
	session_hang_up(s, "4.3.2", "Too busy to wait for you");
	session_touch(s);
	stream_again(&s->stream);
}

/* All places are taken: one of the sessions that were quiet longest has to go if it does nothing for us. */
static bool make_place(void)
{
	unsigned look = EVICT_LOOK;

	for (struct node *x = list_first(&sessions); x && look--; x = list_next(&sessions, x)) {
		struct session *s = owner_of(x, struct session, node);

		if (!evictable(s))
			continue;
		evict(s);
		return true;
	}
	return false;
}

/* Those who are leaving have no place, but still a descriptor: there is room for some of them. */
static bool has_place(void)
{
	unsigned max = sessions_max();

	if (sessions.n - leaving >= max && !make_place())
		return false;
	return sessions.n < max + max / 8 + LEAVING_ROOM;
}

static bool once_a_minute(msec *next)
{
	if (*next && loop_now() < *next)
		return false;
	*next = loop_now() + 60000;
	return true;
}

/* In words for who can do something about it. */
static void log_full(void)
{
	static msec next;

	if (!once_a_minute(&next))
		return;
	if (sessions_max() < sessions_wanted())
		log_text(LOG_WARN, "full", "%u sessions are all that the limit of open files leaves room for: raise it (ulimit -n, or LimitNOFILE= of the "
			"service)", sessions_max());
	else
		log_text(LOG_WARN, "full", "all %u sessions are taken, new clients are told to come back: see the setting sessions_max", sessions_max());
}

void smtpd_welcome(int fd, const struct sockaddr_storage *peer, enum smtpd_service service)
{
	struct subject who;
	struct limits_visit visit;
	const char *why;
	struct session *s;

	describe_peer(&who, peer, service);
	describe_program(&who, fd);
	if (!has_place()) {
		log_full();
		turn_away(fd, &who, "4.3.2", "Too many sessions, try again later");
		return;
	}
	visit = (struct limits_visit){ 0 };
	why = is_proxy(&who) ? NULL : guest_enter(config, &who, &visit);
	if (why) {
		turn_away(fd, &who, "4.7.0", why);
		return;
	}
	s = open_session(fd, fd, &who, service);
	if (s) {
		s->visit = visit;
		return;
	}
	turn_away(fd, &who, "4.3.0", "Out of memory, try again later");
	guest_leave(&visit);
}

static void log_no_room(int error)
{
	static msec next;

	if (once_a_minute(&next))
		log_text(LOG_WARN, "accept", "%s; no new connections for %d ms at a time%s", strerror(error), ACCEPT_PAUSE_MS,
			error == EMFILE ? ". Raise the limit of open files (ulimit -n, or LimitNOFILE= of the service), or lower sessions_max" :
			error == ENFILE ? ". Raise the system's limit of open files (fs.file-max)" : "");
}

/* Errors of accept() that say nothing about the listening socket: the next connection may be well. */
static bool out_of_room(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void listener_ready(struct io *io, short revents)
{
	struct listener *l = owner_of(io, struct listener, io);

	(void)revents;
	for (unsigned i = 0; i < ACCEPTS_A_TURN; i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t n = sizeof peer;
		int fd = accept4(io->fd, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd != -1) {
			smtpd_welcome(fd, &peer, l->service);
			continue;
		}
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		if (!out_of_room(errno))
			continue;
		/* The socket stays readable: watching it now would be spinning. */
		log_no_room(errno);
		io_forget(io);
		timer_set(&l->pause, ACCEPT_PAUSE_MS);
		return;
	}
}

static void pause_over(struct timer *t)
{
	struct listener *l = owner_of(t, struct listener, pause);

	if (io_watch(&l->io, POLLIN) == -1)
		timer_set(t, ACCEPT_PAUSE_MS);
}

int smtpd_listen(int fd, enum smtpd_service service)
{
	struct listener *l = calloc(1, sizeof *l);

	if (!l)
		return -1;
	l->service = service;
	l->io = (struct io){ .fd = fd, .ready = listener_ready };
	l->pause.expired = pause_over;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == -1 || fcntl(fd, F_SETFD, FD_CLOEXEC) == -1 ||
	    io_watch(&l->io, POLLIN) == -1) {
		int saved = errno;
		free(l);
		errno = saved;
		return -1;
	}
	l->next = listeners;
	listeners = l;
	return 0;
}

void smtpd_configure(const struct smtpd_config *c)
{
	config = c;
	stopping = false;
}

void smtpd_stop(void)
{
	struct listener *l;

	stopping = true;
	while ((l = listeners)) {
		listeners = l->next;
		timer_stop(&l->pause);
		io_forget(&l->io);
		close(l->io.fd);
		free(l);
	}
	if (!sessions.n)
		return;
	for (struct node *x = list_first(&sessions); x; x = list_next(&sessions, x))
		stream_again(&owner_of(x, struct session, node)->stream);
}

unsigned smtpd_sessions(void) { return (unsigned)sessions.n; }

unsigned smtpd_sessions_of(const struct smtpd_config *c)
{
	unsigned n = 0;

	for (struct node *x = list_first(&sessions); x; x = list_next(&sessions, x))
		n += owner_of(x, struct session, node)->config == c;
	return n;
}

void smtpd_measure(size_t most, void (*each)(void *arg, const struct smtpd_figures *), void *arg)
{
	static const char *const doing[] = {
		[P_PROXY] = "awaits its proxy", [P_GREETING] = "is not greeted yet", [P_COMMAND] = "may say commands", [P_PAUSED] = "is slowed down",
		[P_ASKING] = "waits for facts", [P_VETTING] = "waits for SPF", [P_AUTH] = "logs in", [P_AUTH_CHECK] = "logs in", [P_AUTH_PAUSE] = "logs in",
		[P_DATA] = "sends a message", [P_CHUNK] = "sends a message", [P_JUDGING] = "waits for keys", [P_MILTER] = "waits for filters",
		[P_READING] = "waits for a report to be read", [P_DECIDING] = "waits for a decision", [P_COMMIT] = "waits for the disk",
		[P_STARTTLS] = "begins TLS", [P_HANDSHAKE] = "begins TLS", [P_CLOSING] = "ends", [P_LINGER] = "ends", [P_DEAD] = "has ended",
	};

	for (struct node *x = sessions.head.next ? list_first(&sessions) : NULL; x && most; x = list_next(&sessions, x), most--) {
		const struct session *s = owner_of(x, struct session, node);

		each(arg, &(struct smtpd_figures){ .peer = s->who.peer_text, .doing = doing[s->phase], .user = s->who.user,
			.seconds = (loop_now() - s->since) / 1000, .mails = s->mails });
	}
}

unsigned smtpd_places(void) { return sessions_max(); }
