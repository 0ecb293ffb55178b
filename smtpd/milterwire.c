/* Packets of the milter protocol. */
#include "smtpd/milterwire.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "parse.h"

enum { VERSION = 6, OLDEST = 2 };

/* ---- to the filter */

bool milter_number(struct buf *out, uint32_t n)
{
	n = htonl(n);
	return buf_add(out, &n, sizeof n);
}

bool milter_string(struct buf *out, struct str text)
{
	const char *nul = memchr(text.p ? text.p : "", '\0', text.n);

	if (nul)
		text.n = (size_t)(nul - text.p);
	return buf_str(out, text) && buf_char(out, '\0');
}

bool milter_put(struct buf *out, char letter, struct str data)
{
	return milter_number(out, (uint32_t)data.n + 1) && buf_char(out, letter) && buf_str(out, data);
}

bool milter_put_options(struct buf *out)
{
	return milter_number(out, 13) && buf_char(out, 'O') && milter_number(out, VERSION) && milter_number(out, MILTER_ACTIONS) &&
		milter_number(out, MILTER_STEPS);
}

bool milter_address(struct buf *out, const char *name, const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)peer;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)peer;
	char text[INET6_ADDRSTRLEN];
	uint16_t port;

	milter_string(out, str_of(name));
	if (peer->ss_family != AF_INET && peer->ss_family != AF_INET6)
		return buf_char(out, 'U');
	port = peer->ss_family == AF_INET ? four->sin_port : six->sin6_port;
	inet_ntop(peer->ss_family, peer->ss_family == AF_INET ? (const void *)&four->sin_addr : (const void *)&six->sin6_addr, text, sizeof text);
	buf_char(out, peer->ss_family == AF_INET ? '4' : '6');
	buf_add(out, &port, sizeof port);
	return milter_string(out, str_of(text));
}

/* ---- from it */

bool milter_take_number(struct str *rest, uint32_t *n)
{
	if (rest->n < sizeof *n)
		return false;
	memcpy(n, rest->p, sizeof *n);
	*n = ntohl(*n);
	*rest = str_from(*rest, sizeof *n);
	return true;
}

int milter_take(struct str in, size_t *used, char *letter, struct str *data)
{
	struct str rest = in;
	uint32_t n;

	if (!milter_take_number(&rest, &n))
		return 0;
	if (n == 0 || n > MILTER_REPLY_MAX)
		return -1;
	if (rest.n < n)
		return 0;
	*letter = rest.p[0];
	*data = (struct str){ rest.p + 1, n - 1 };
	*used = sizeof n + n;
	return 1;
}

bool milter_take_string(struct str *rest, struct str *text)
{
	if (!rest->n)
		return false;
	if (!str_cut(rest, '\0', text)) {
		*text = *rest;
		*rest = STR("");
	}
	return true;
}

static const char *take_symbols(struct str *rest, struct milter_options *o)
{
	struct str names, word;
	uint32_t stage;
	size_t n = 0;

	if (!milter_take_number(rest, &stage) || stage >= MILTER_STAGES || !milter_take_string(rest, &names))
		return "asks for macros of a stage that there is none of";
	n += (size_t)snprintf(o->symbols[stage], MILTER_SYMBOLS_MAX, " ");
	while (str_word(&names, &word)) {
		if (n + word.n + 2 > MILTER_SYMBOLS_MAX)
			return "asks for too many macros";
		memcpy(o->symbols[stage] + n, word.p, word.n);
		n += word.n;
		o->symbols[stage][n++] = ' ';
		o->symbols[stage][n] = '\0';
	}
	return NULL;
}

const char *milter_take_options(struct str data, struct milter_options *o)
{
	const char *wrong = NULL;

	memset(o, 0, sizeof *o);
	if (!milter_take_number(&data, &o->version) || !milter_take_number(&data, &o->actions) || !milter_take_number(&data, &o->steps))
		return "its options are too short";
	if (o->version < OLDEST || o->version > VERSION)
		return "speaks no version between 2 and 6";
	if (o->actions & ~(uint32_t)MILTER_ACTIONS)
		return "wants to change what it was not offered";
	if (o->steps & ~(uint32_t)MILTER_STEPS)
		return "wants steps that it was not offered";
	while (data.n && !wrong)
		wrong = o->actions & MILTER_SYMBOLS ? take_symbols(&data, o) : "its options are too long";
	return wrong;
}

bool milter_wants_symbol(const struct milter_options *o, unsigned stage, const char *name)
{
	char word[64];
	int n = snprintf(word, sizeof word, " %s ", name);

	return !o->symbols[stage][0] || ((size_t)n < sizeof word && strstr(o->symbols[stage], word));
}

/* ---- a reply in its words */

static void undouble(struct str line, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < line.n && n + 1 < size; i++) {
		out[n++] = line.p[i];
		i += line.p[i] == '%' && i + 1 < line.n && line.p[i + 1] == '%';
	}
	out[n] = '\0';
}

static void append(struct reply *r, struct str text)
{
	char plain[REPLY_TEXT];
	size_t n = strlen(r->text);

	undouble(text, plain, sizeof plain);
	snprintf(r->text + n, sizeof r->text - n, "%s%s", n ? " " : "", plain);
}

const char *milter_take_reply(struct str data, struct reply *r)
{
	struct str rest, line, text;
	char enhanced[12];
	int code;
	bool last = false;

	*r = (struct reply){ 0 };
	if (!milter_take_string(&data, &rest))
		return "its reply is empty";
	while (!last && rest.n) {
		if (!str_cut(&rest, '\n', &line)) {
			line = rest;
			rest = STR("");
		}
		line = str_trim(line);
		if (!parse_reply_line(line, &code, &last, &text) || code < 400 || code > 599 || (r->code && code != r->code))
			return "its reply is none of 400 to 599";
		parse_enhanced(code, &text, enhanced);
		if (!r->code)
			memcpy(r->enhanced, enhanced, sizeof r->enhanced);
		r->code = code;
		append(r, text);
	}
	if (!last)
		return "its reply has no last line";
	if (!r->enhanced[0])
		snprintf(r->enhanced, sizeof r->enhanced, "%s", code >= 500 ? "5.7.1" : "4.7.1");
	return NULL;
}
