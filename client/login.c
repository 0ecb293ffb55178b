/* The client logs in (RFC 4954). */
#include "client/inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "auth/saslc.h"
#include "lib/codec.h"

enum {
	COMMAND_LINE = 512,             /* RFC 5321 4.5.3.1.4 */
	AUTH_LINE = 12288               /* RFC 4954 4 */
};

static void wipe(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->room);
	buf_free(b);
}

__attribute__((format(printf, 2, 3)))
static void login_fails(struct client *c, const char *fmt, ...)
{
	char text[REPLY_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	c->not_let_in = true;
	client_fail(c, "4.7.8", "login at %s as %s: %s", c->peer, c->config->user, text);
}

/* Nothing is said in base64 as "=" where it stands beside the command (RFC 4954 4), as an empty line elsewhere. */
static void say_login(struct client *c, const char *command, const struct buf *response)
{
	struct buf line = { .max = AUTH_LINE };

	buf_puts(&line, command);
	if (*command && !response->n)
		buf_char(&line, '=');
	base64_encode(&line, response->p, response->n);
	if (line.bad)
		client_fail(c, "4.3.0", "no memory left");
	else
		client_say_shown(c, X_AUTH, buf_view(&line), *command ? str_of(command) : STR("(secret)"));
	wipe(&line);
}

/* The command is no longer than others (RFC 4954 4): what is too long for it waits for an empty challenge. */
static bool fits_beside(const char *command, const struct buf *response)
{
	return strlen(command) + (response->n + 2) / 3 * 4 + 2 <= COMMAND_LINE;
}

void client_begin_login(struct client *c)
{
	char command[64];
	const char *why;

	c->login = saslc_begin(str_of(c->can.auth), c->config->token ? SASLC_TOKEN : SASLC_PASSWORD, c->config->user, c->config->password,
		c->tls[0] != '\0', &why);
	if (!c->login) {
		login_fails(c, "%s", (c->can.set & CAP_AUTH) ? why : "the server offers no login (AUTH) here");
		return;
	}
	c->first.max = AUTH_LINE;
	snprintf(command, sizeof command, "AUTH %s ", saslc_mechanism(c->login));
	if (saslc_first(c->login, &c->first) && fits_beside(command, &c->first)) {
		say_login(c, command, &c->first);
		wipe(&c->first);
	} else {
		client_say(c, X_AUTH, (struct str){ command, strlen(command) - 1 });
	}
}

static void login_challenge(struct client *c, const struct reply *r)
{
	unsigned char challenge[REPLY_TEXT];
	size_t n = sizeof challenge;
	struct buf response = { .max = AUTH_LINE };
	const char *wrong = "the challenge is no base64";

	if (c->first.n && !r->text[0]) {
		say_login(c, "", &c->first);
		wipe(&c->first);
		return;
	}
	if (base64_decode(str_of(r->text), challenge, &n))
		wrong = saslc_take(c->login, (struct str){ (const char *)challenge, n }, &response);
	if (wrong)
		login_fails(c, "%s", wrong);
	else
		say_login(c, "", &response);
	wipe(&response);
}

void client_login_taken(struct client *c, const struct reply *r)
{
	const char *wrong;

	if (r->code == 334) {
		login_challenge(c, r);
		return;
	}
	if (r->code != 235) {
		client_fail(c, "4.5.0", "AUTH: a reply without meaning here: %d %s", r->code, r->text);
		return;
	}
	wrong = saslc_accepted(c->login);
	saslc_free(c->login);
	c->login = NULL;
	if (wrong) {
		login_fails(c, "%s", wrong);
		return;
	}
	client_be_ready(c);
}

/* 454 and 421 are the server's trouble and not our password's (RFC 4954 6). What a refusal says is of the login and not of any message:
 * its code must not become a message's. */
void client_login_refused(struct client *c, const struct reply *r)
{
	const char *error = saslc_error(c->login);

	if (r->code < 500)
		client_end_by_reply(c, "AUTH", r);
	else
		login_fails(c, "%s was refused: %d %s%s%s%s%s", saslc_mechanism(c->login), r->code, r->enhanced, r->enhanced[0] ? " " : "", r->text,
			error[0] ? "; before that it said " : "", error);
}

void client_login_free(struct client *c)
{
	saslc_free(c->login);
	wipe(&c->first);
}
