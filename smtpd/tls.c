/* TLS, as server: STARTTLS (RFC 3207), and from the first octet (RFC 8314 3.3). */
#include <errno.h>
#include <string.h>

#include "lib/log.h"
#include "lib/tls.h"
#include "smtpd/session.h"

void handshake_failed(const struct session *s, const char *why)
{
	if (guest_may_log())
		log_event(LOG_INFO, "tls-failed", LF(L_TEXT("client", s->who.peer_text), L_TEXT("helo", s->who.helo), L_TEXT("reason", why)));
}

/* What somebody put behind STARTTLS in clear must not be taken for the client's words inside TLS. */
static void refuse_injection(struct session *s)
{
	session_hang_up(s, "4.7.0", "Nothing may follow STARTTLS before its reply");
}

void verb_starttls(struct session *s, struct str arg)
{
	(void)arg;
	if (s->who.tls) {
		session_error(s, 503, "5.5.1", "TLS is active already");
	} else if (!s->config->tls) {
		session_error(s, 502, "5.5.1", "TLS is not offered here");
	} else if (stream_peek(&s->stream).n) {
		refuse_injection(s);
	} else if (!(s->tls = tls_accept(s->config->tls))) {
		handshake_failed(s, errno == ENOENT ? "no certificate can be used" : strerror(errno));
		session_say(s, 454, "4.7.0", "TLS is not available now");
	} else {
		session_say(s, 220, "2.0.0", "Ready to start TLS");
		stream_flush(&s->stream);
		s->phase = P_STARTTLS;
		session_deadline(s, HANDSHAKE_MS);
	}
}

bool handshake_begin(struct session *s)
{
	if (!stream_drained(&s->stream))
		return false;
	if (stream_starttls(&s->stream, s->tls) == -1) {
		if (errno == EPROTO)
			refuse_injection(s);
		else
			session_close(s);
		return true;
	}
	s->tls = NULL;
	s->phase = P_HANDSHAKE;
	return false;
}

/* Without a word in clear there is nobody to be told why it ends. */
void handshake_first(struct session *s)
{
	struct tls *tls = s->config->tls ? tls_accept(s->config->tls) : NULL;

	s->phase = P_HANDSHAKE;
	session_deadline(s, HANDSHAKE_MS);
	if (tls && stream_begin_tls(&s->stream, tls) == 0)
		return;
	handshake_failed(s, !s->config->tls || errno == ENOENT ? "no certificate can be used" : strerror(errno));
	tls_free(tls);
	s->phase = P_CLOSING;
	stream_again(&s->stream);
}

/* RFC 3207 4.2: everything the client has said is forgotten, its name too. */
bool handshake_await(struct session *s)
{
	if (!s->stream.secure)
		return false;
	txn_reset(s);
	s->seen = 0;
	session_forget_helo(s);
	login_free(s);                  /* of XCLIENT; nobody else logs in before */
	s->who.esmtp = false;
	s->who.tls = true;
	s->tls_version = tls_version(s->stream.tls);
	s->cipher = tls_cipher(s->stream.tls);
	log_event(LOG_DEBUG, "tls", LF(L_TEXT("client", s->who.peer_text), L_TEXT("version", s->tls_version),
		L_TEXT("cipher", s->cipher), L_TEXT("resumed", tls_resumed(s->stream.tls) ? "yes" : "no")));
	session_touch(s);
	if (s->service == SMTPD_SUBMISSIONS)
		session_greet(s);
	else
		session_await_command(s);
	return true;
}
