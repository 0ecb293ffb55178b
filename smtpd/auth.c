/* AUTH: who a user is (RFC 4954). */
#include <stdlib.h>
#include <string.h>

#include "auth/sasl.h"
#include "auth/verify.h"
#include "lib/codec.h"
#include "lib/log.h"
#include "lib/tls.h"
#include "smtpd/session.h"

enum {
	FAILURES_MAX = 5,                       /* then the session ends */
	PAUSE_MS = 1000,                        /* before a failure is told: one more with each, as others' sessions go on */
	PAUSE_MAX_MS = 10000
};

/* From the first AUTH to the end of the session. */
struct login {
	struct session *session;
	struct verification check;
	struct sasl *sasl;                      /* while it is under way */
	unsigned failures;
	char user[USER_NAME_MAX + 1];           /* who.user, once it is known */
	const char *mechanism;                  /* a constant, once it is known */
	char *addresses;                        /* the user's, as in the file; NULL: nobody's yet */
	unsigned char binding[HASH_MAX];
};

void login_free(struct session *s)
{
	struct login *l = s->login;

	if (!l)
		return;
	s->login = NULL;
	s->who.user = "";
	verify_cancel(&l->check);
	sasl_free(l->sasl);
	free(l->addresses);
	free(l);
}

const char *auth_mechanism(const struct session *s) { return *s->who.user && s->login && s->login->mechanism ? s->login->mechanism : ""; }

/* ---- what is offered */

static struct sasl_server server_of(const struct session *s, unsigned char binding[HASH_MAX])
{
	size_t n = s->who.tls ? tls_end_point(s->stream.tls, binding) : 0;

	return (struct sasl_server){ .users = s->config->users, .tls = s->who.tls, .binding = { (const char *)binding, n } };
}

bool auth_offered(const struct session *s, struct buf *out)
{
	unsigned char binding[HASH_MAX];
	struct sasl_server server = server_of(s, binding);
	size_t before = out->n;

	if (!s->who.submission || s->who.local || *s->who.user || !s->config->users)
		return false;
	sasl_mechanisms(&server, out);
	return out->n > before;
}

bool auth_may_send_as(const struct session *s, struct str address)
{
	const struct login *l = s->login;

	if (!l || !*l->user)
		return true;
	return user_may_send_as(str_of(l->user), str_of(l->addresses), s->config->local_domains, s->config->nlocal_domains, address);
}

static bool begin(struct session *);

bool login_by_proxy(struct session *s, struct str user)
{
	struct login *l;

	if (!begin(s))
		return false;
	l = s->login;
	if (!str_copy(l->user, sizeof l->user, user) || !(l->addresses = strdup("*")))
		return false;
	s->who.user = l->user;
	return true;
}

/* ---- how it ends */

static void log_login(const struct session *s, const char *event, const char *reason)
{
	const struct sasl *sasl = s->login->sasl;

	log_event(LOG_INFO, event, LF(L_TEXT("client", s->who.peer_text), L_TEXT("user", sasl ? sasl_user(sasl) : ""),
		L_TEXT("mech", sasl ? sasl_name(sasl) : ""), L_TEXT("helo", s->who.helo), L_TEXT("reason", reason)));
}

static void end_exchange(struct session *s)
{
	sasl_free(s->login->sasl);
	s->login->sasl = NULL;
}

static void succeed(struct session *s)
{
	struct login *l = s->login;
	const struct user *u = users_find(s->config->users, str_of(sasl_user(l->sasl)));

	l->addresses = u ? strndup(u->addresses.p, u->addresses.n) : NULL;
	if (!l->addresses) {                    /* gone from the file meanwhile, or no memory */
		end_exchange(s);
		session_say(s, 454, "4.7.0", "Temporary authentication failure");
		session_await_command(s);
		return;
	}
	str_copy(l->user, sizeof l->user, str_of(sasl_user(l->sasl)));
	s->who.user = l->user;
	l->mechanism = sasl_name(l->sasl);
	l->failures = 0;
	session_login_ok(s, str_of(l->user));
	log_login(s, "auth-ok", "");
	end_exchange(s);
	session_say(s, 235, "2.7.0", "Authenticated");
	session_await_command(s);
}

/* It is told later: by auth_pause_over(). */
static void fail(struct session *s, const char *reason)
{
	struct login *l = s->login;
	msec pause = PAUSE_MS * (msec)(l->failures + 1);

	l->failures++;
	session_login_failed(s, str_of(sasl_user(l->sasl)));
	log_login(s, "auth-failed", reason);
	end_exchange(s);
	s->phase = P_AUTH_PAUSE;
	session_deadline(s, pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS);
}

void auth_pause_over(struct session *s)
{
	session_say(s, 535, "5.7.8", "Authentication credentials invalid");
	if (s->login->failures >= FAILURES_MAX)
		session_hang_up(s, "4.7.0", "Too many failed logins");
	else
		session_await_command(s);
	stream_again(&s->stream);
}

static void give_up(struct session *s, int code, const char *enhanced, const char *text)
{
	log_login(s, "auth-failed", text);
	end_exchange(s);
	s->phase = P_COMMAND;
	session_error(s, code, enhanced, text);
	session_await_command(s);
}

/* ---- the exchange */

static void compared(struct verification *v, bool matches)
{
	struct login *l = owner_of(v, struct login, check);
	struct session *s = l->session;

	if (s->phase != P_AUTH_CHECK)           /* it took so long that the session has been hung up */
		return;
	if (matches)
		succeed(s);
	else
		fail(s, sasl_secret(l->sasl).n ? "wrong password" : "no such user");
	stream_again(&s->stream);
}

static void challenge(struct session *s, const struct buf *text)
{
	struct buf line = { 0 };

	buf_puts(&line, "334 ");
	base64_encode(&line, text->p, text->n);
	buf_puts(&line, "\r\n");
	if (line.bad || stream_write(&s->stream, line.p, line.n) == -1)
		s->broken = true;
	buf_free(&line);
	s->phase = P_AUTH;
	session_deadline(s, session_idle_ms(s));
}

/* Whether the password was right is not told to somebody who has guessed too often. */
static bool may_know(struct session *s)
{
	if (session_login_allowed(s, str_of(sasl_user(s->login->sasl))))
		return true;
	fail(s, "too many failed logins from there, or as this user");
	return false;
}

static void check(struct session *s)
{
	struct login *l = s->login;

	s->phase = P_AUTH_CHECK;
	session_deadline(s, session_idle_ms(s));
	if (!verify_begin(&l->check, sasl_secret(l->sasl), sasl_password(l->sasl)))
		give_up(s, 454, "4.7.0", "Too many logins at a time, try again later");
}

static void take(struct session *s, struct str response)
{
	struct login *l = s->login;
	struct buf out = { 0 };

	switch (sasl_take(l->sasl, response, &out)) {
	case SASL_MORE:
		challenge(s, &out);
		break;
	case SASL_PROVED:
		if (may_know(s))
			challenge(s, &out);
		break;
	case SASL_CHECK:
		if (may_know(s))
			check(s);
		break;
	case SASL_OK:                   /* behind SASL_PROVED */
		succeed(s);
		break;
	case SASL_FAILED:
		fail(s, sasl_why(l->sasl));
		break;
	case SASL_MALFORMED:
		give_up(s, 501, "5.5.2", "That is no response of this mechanism");
		break;
	}
	buf_free(&out);
}

/* A response as it was sent. */
static void take_text(struct session *s, struct str text)
{
	unsigned char *octets = malloc(SASL_MAX);
	size_t n = SASL_MAX;

	if (!octets)
		give_up(s, 454, "4.7.0", "Out of memory, try again later");
	else if (!base64_decode(text, octets, &n))
		give_up(s, 501, "5.5.2", "That is not base64");
	else
		take(s, (struct str){ (const char *)octets, n });
	if (octets)
		explicit_bzero(octets, SASL_MAX);
	free(octets);
}

bool auth_read(struct session *s)
{
	struct str line;

	switch (stream_line(&s->stream, SASL_MAX, &line)) {
	case LINE_NONE:
		return false;
	case LINE_LONG:
		give_up(s, 500, "5.5.6", "Authentication exchange line is too long");
		break;
	case LINE_BARE:
		give_up(s, 500, "5.5.2", "Lines end in CR LF and nothing else");
		break;
	case LINE_OK:
		if (str_eq(line, STR("*")))
			give_up(s, 501, "5.7.0", "Authentication cancelled");
		else
			take_text(s, line);
		break;
	}
	session_touch(s);
	return true;
}

static bool begin(struct session *s)
{
	if (s->login)
		return true;
	s->login = calloc(1, sizeof *s->login);
	if (!s->login)
		return false;
	s->login->session = s;
	s->login->check.done = compared;
	return true;
}

/* The best that is said to somebody who asks for what is not there. */
static void refuse_mechanism(struct session *s, bool needs_tls)
{
	if (needs_tls)
		session_error(s, 538, "5.7.11", "Say STARTTLS first");
	else
		session_error(s, 504, "5.5.4", "No such authentication mechanism here");
}

void verb_auth(struct session *s, struct str arg)
{
	struct sasl_server server;
	struct str name, initial = arg;
	bool has_initial = str_cut(&initial, ' ', &name), needs_tls;
	char why[300];

	if (!has_initial)
		name = arg;
	if (!s->who.submission || s->who.local || !s->config->users) {
		session_error(s, 502, "5.5.1", "No login is asked for here");
		return;
	}
	if (*s->who.user) {
		session_error(s, 503, "5.5.1", "You have logged in already");
		return;
	}
	users_refresh(s->config->users, why, sizeof why);
	if (!begin(s)) {
		session_say(s, 454, "4.7.0", "Out of memory, try again later");
		return;
	}
	server = server_of(s, s->login->binding);
	s->login->sasl = sasl_begin(name, &server, &needs_tls);
	if (!s->login->sasl) {
		refuse_mechanism(s, needs_tls);
		return;
	}
	if (has_initial)
		take_text(s, str_eq(initial, STR("=")) ? STR("") : initial);
	else if (sasl_client_first(s->login->sasl))
		challenge(s, &(struct buf){ 0 });
	else
		take(s, STR(""));
}
