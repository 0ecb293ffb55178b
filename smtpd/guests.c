/* What strangers may cost: how many come from where, what they do before their turn, and the patience that errors use up. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "parse.h"
#include "smtpd/session.h"

enum {
	RECORDS = 65536,                /* of networks and users: 4 MB when all are in use */
	LINES_A_SECOND = 50,            /* in the log, about clients that were sent away */
	OFFENCES_FREE = 3,              /* errors and refused recipients that are answered at once */
	DELAY_MS = 1000, DELAY_MOST = 5 /* each further one holds the next reply back longer, up to five times */
};

static struct limits *limits;

static struct limits *table(void)
{
	if (!limits)
		limits = limits_new(RECORDS);
	return limits;
}

static int64_t now_s(void) { return loop_now() / 1000; }

void guests_forget(void)
{
	limits_free(limits);
	limits = NULL;
}

enum { FILE_MAX = 8 << 20 };

void smtpd_counts_load(int dir)
{
	struct buf octets = { .max = FILE_MAX };

	if (file_read_all(dir, "limits", &octets) == 0 && table() && !limits_read(limits, buf_view(&octets), now_s(), loop_wall()))
		log_text(LOG_INFO, "counts", "limits in the queue directory is not whole: counting begins anew");
	buf_free(&octets);
}

/* Nothing is lost by a file that is: no sync. */
void smtpd_counts_save(int dir)
{
	struct buf octets = { .max = FILE_MAX };
	int fd;

	if (!limits || !limits_print(limits, now_s(), loop_wall(), &octets))
		goto out;
	fd = file_sys.open(dir, "limits.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1 || file_write(fd, octets.p, octets.n) == -1 || renameat(dir, "limits.new", dir, "limits") == -1)
		log_text(LOG_WARN, "counts", "cannot write limits into the queue directory: %s. Counting begins anew", strerror(errno));
	if (fd != -1)
		close(fd);
out:
	buf_free(&octets);
}

/* ---- who is a stranger */

static bool is_loopback(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
	return a->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

bool subject_is_stranger(const struct smtpd_config *c, const struct subject *who)
{
	return !who->local && !*who->user && !(c->trusted && c->trusted(c->arg, who));
}

bool session_is_stranger(const struct session *s) { return subject_is_stranger(s->config, &s->who); }

/* This machine's own programs share its addresses, however many they are. */
static bool is_counted(const struct smtpd_config *c, const struct subject *who)
{
	return !is_loopback(&who->peer) && subject_is_stranger(c, who);
}

static const struct sockaddr *counted_address(const struct session *s)
{
	return is_counted(s->config, &s->who) ? (const struct sockaddr *)&s->who.peer : NULL;
}

bool session_is_counted(const struct session *s) { return is_counted(s->config, &s->who); }

/* ---- coming and going */

const char *guest_enter(const struct smtpd_config *c, const struct subject *who, struct limits_visit *v)
{
	const struct limits_most most = { .open = c->sessions_per_address, .connects = c->connections_per_minute };

	*v = (struct limits_visit){ 0 };
	if (!is_counted(c, who))
		return NULL;
	if (!table())
		return "Out of memory, try again later";
	return limits_enter(limits, &most, (const struct sockaddr *)&who->peer, now_s(), v);
}

void guest_leave(struct limits_visit *v)
{
	if (limits)
		limits_leave(limits, v);
}

bool guest_may_log(void)
{
	static msec second;
	static unsigned lines, more;

	if (loop_now() - second >= 1000) {
		if (more)
			log_event(LOG_INFO, "unsaid", LF(L_NUM("lines", more)));
		second = loop_now();
		lines = more = 0;
	}
	if (lines++ < LINES_A_SECOND)
		return true;
	more++;
	return false;
}

/* ---- what a session does */

void session_offends(struct session *s, int cost)
{
	session_spend(s, cost);
	if (s->offences < 255)
		s->offences++;
	if (s->offences > OFFENCES_FREE && counted_address(s))
		s->owed = DELAY_MS * (s->offences - OFFENCES_FREE < DELAY_MOST ? s->offences - OFFENCES_FREE : DELAY_MOST);
}

void session_refused_rcpt(struct session *s)
{
	const struct sockaddr *a = counted_address(s);

	session_offends(s, COST_REFUSED);
	if (a && table() && !limits_refused(limits, a, now_s()))
		s->patience = 0;
}

static bool is_within(struct session *s, enum limit_what what, struct str name, unsigned most)
{
	return !most || s->who.submission || !session_is_stranger(s) || !table() || limits_take(limits, what, name, most, now_s());
}

bool session_rcpt_allowed(struct session *s, const struct addr *to, struct reply *why)
{
	struct buf key = { 0 };
	bool ok = !s->config->rcpt_per_hour || str_eq_nocase(to->local, STR("postmaster")) || !print_addr(&key, to) ||
		is_within(s, LIMIT_RCPT, buf_view(&key), s->config->rcpt_per_hour);

	buf_free(&key);
	if (!ok)
		reply_set(why, 451, "4.7.1", "This recipient gets too much mail from outside, try again later");
	return ok;
}

bool session_domain_allowed(struct session *s, const struct addr *from, struct reply *why)
{
	char domain[DOMAIN_MAX + 1];

	str_copy(domain, sizeof domain, from->domain);
	for (char *c = domain; *c; c++)
		*c = ascii_lower(*c);
	if (!*domain || is_within(s, LIMIT_DOMAIN, str_of(domain), s->config->domain_per_hour))
		return true;
	reply_set(why, 451, "4.7.1", "Too much mail comes from %.200s, try again later", domain);
	return false;
}

void session_forgive(struct session *s)
{
	s->patience = PATIENCE;
	s->offences = 0;
	s->since = loop_now();
}

void session_message_taken(struct session *s)
{
	const struct sockaddr *a = counted_address(s);

	session_forgive(s);
	if (a && limits)
		limits_taken(limits, a);
}

bool session_pause(struct session *s)
{
	if (!s->owed)
		return false;
	s->phase = P_PAUSED;
	session_deadline(s, s->owed);
	s->owed = 0;
	return true;
}

/* ---- logins */

/* Programs of this machine, a webmail say, log in for many: only guesses at one user are counted there. */
static const struct sockaddr *login_address(const struct session *s)
{
	return is_loopback(&s->who.peer) ? NULL : (const struct sockaddr *)&s->who.peer;
}

bool session_login_allowed(const struct session *s, struct str user)
{
	return !limits || limits_login_allowed(limits, login_address(s), user, now_s());
}

void session_login_failed(struct session *s, struct str user)
{
	if (table())
		limits_login_failed(limits, login_address(s), user, now_s());
}

void session_login_ok(struct session *s, struct str user)
{
	s->offences = 0;
	if (table())
		limits_login_ok(limits, login_address(s), user, now_s());
}

/* ---- the greeting */

void session_greet(struct session *s)
{
	session_say(s, 220, "", "%s ESMTP fardel", s->config->hostname);
	session_await_command(s);
}

/* RFC 5321 3.1: the server speaks first. Who cannot wait for it sends what nobody should read. */
static void refuse_early(struct session *s)
{
	if (guest_may_log())
		log_event(LOG_INFO, "hung-up", LF(L_TEXT("client", s->who.peer_text), L_TEXT("reason", "spoke before the greeting")));
	session_say(s, 554, "5.5.1", "%s You spoke before the greeting", s->config->hostname);
	session_close(s);
}

static bool has_spoken(const struct session *s)
{
	char c;

	return stream_peek(&s->stream).n || recv(s->stream.io.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool session_greet_stranger(struct session *s)
{
	if (has_spoken(s))
		refuse_early(s);
	else if (s->deadline <= loop_now())
		session_greet(s);
	else
		return false;
	return true;
}

void session_begin(struct session *s)
{
	s->since = loop_now();
	if (s->service == SMTPD_SUBMISSIONS) {
		handshake_first(s);
		return;
	}
	if (!session_is_stranger(s)) {
		session_greet(s);
		return;
	}
	s->phase = P_GREETING;          /* users' programs are in a hurry, and send no junk before they have logged in */
	session_deadline(s, counted_address(s) && !s->who.submission ? (msec)s->config->greeting_delay_ms : 0);
	if (session_greet_stranger(s))
		stream_again(&s->stream);
}
