/* Plays each tests/script/server/NAME.smtp against the server: as written, octet by octet, and in one write.
 *
 * A script is lines of:
 *   # words              the first comment says the promise and where it is written
 *   = name number        a setting of smtpd.h, before the talk
 *   C: text              the client says text CR LF; \r \n \t \\ \0 \xHH stand for themselves
 *   C| text              the same without CR LF
 *   C* n text            C: n times
 *   S: pattern           the server's next line; * is any text
 *   S* n pattern         n such lines
 *   R: pattern           a whole reply of any number of lines: the last one matches
 *   Z:                   the server says nothing (but has not ended)
 *   T: seconds           so much time passes
 *   H:                   the client sends no more, but reads
 *   E:                   the server has ended the connection
 *   Q: n                 n messages are in the queue, and no draft is left over
 *   M: text              the message whose envelope or text holds the last K: (or the only one) holds text
 *   N: text              that message does not hold text
 *   K: text              chooses it
 *   L: library           what follows takes that library: built without it, the script ends here */
#include <check.h>
#include <fcntl.h>
#include <glob.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/loop.h"
#include "tests/server_rig.h"

Suite *script_server_suite(void);

enum mode { AS_WRITTEN, OCTET_BY_OCTET, IN_ONE_WRITE, MODES };

struct play {
	struct site_client client;
	enum mode mode;
	bool begun, over;
	struct buf unsaid;              /* IN_ONE_WRITE: what the client will have said before the next pause */
	struct buf unheard;             /* and the lines that are expected of the server */
	char key[256];
	const char *where;
	unsigned line;
};

static const struct setting {
	const char *name;
	size_t at;
	bool wide;
} settings[] = {
	{ "message_size", offsetof(struct smtpd_config, message_size), true },
	{ "rcpt_max", offsetof(struct smtpd_config, rcpt_max), false },
	{ "mail_max", offsetof(struct smtpd_config, mail_max), false },
	{ "rcpt_domain_max", offsetof(struct smtpd_config, rcpt_domain_max), false },
	{ "future_max", offsetof(struct smtpd_config, future_max), true },
	{ "hops_max", offsetof(struct smtpd_config, hops_max), false },
	{ "idle_s", offsetof(struct smtpd_config, idle_s), false },
	{ "data_s", offsetof(struct smtpd_config, data_s), false },
	{ "session_s", offsetof(struct smtpd_config, session_s), false },
};

static void at_fault(const struct play *p, const char *what, const char *text)
{
	static const char *const modes[] = { "as written", "octet by octet", "in one write" };

	ck_abort_msg("%s:%u (%s): %s: %s", p->where, p->line, modes[p->mode], what, text);
}

static void set(struct play *p, const char *text)
{
	static char origin[100];
	char name[40];
	unsigned long long value;

	if (sscanf(text, "origin %99s", origin) == 1) {
		site_config.origin = origin;
		return;
	}
	if (sscanf(text, "%39s %llu", name, &value) != 2)
		at_fault(p, "not a setting", text);
	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
		char *to = (char *)&site_config + settings[i].at;

		if (strcmp(settings[i].name, name))
			continue;
		if (settings[i].wide)
			*(uint64_t *)(void *)to = value;
		else
			*(unsigned *)(void *)to = (unsigned)value;
		return;
	}
	at_fault(p, "unknown setting", name);
}

static void unescape(struct play *p, const char *text, struct buf *out)
{
	static const char from[] = "rnt0\\", to[] = "\r\n\t\0\\";
	unsigned octet;

	for (; *text; text++) {
		const char *known;

		if (*text != '\\') {
			buf_char(out, *text);
			continue;
		}
		text++;
		known = *text ? strchr(from, *text) : NULL;
		if (known) {
			buf_char(out, to[known - from]);
		} else if (*text == 'x' && sscanf(text + 1, "%2x", &octet) == 1) {
			buf_char(out, (char)octet);
			text += 2;
		} else {
			at_fault(p, "unknown escape", text);
		}
	}
	ck_assert(!out->bad);
}

static void begin(struct play *p)
{
	if (!p->begun)
		site_connect(&p->client);
	p->begun = true;
}

static void say_now(struct play *p, struct str text)
{
	if (p->mode != OCTET_BY_OCTET) {
		site_send(&p->client, text.p, text.n);
		return;
	}
	for (size_t i = 0; i < text.n; i++)
		site_send(&p->client, text.p + i, 1);
}

static void say(struct play *p, unsigned times, const char *text, const char *end)
{
	struct buf out = { 0 };

	begin(p);
	while (times--) {
		unescape(p, text, &out);
		buf_puts(&out, end);
	}
	if (p->mode == IN_ONE_WRITE)
		buf_str(&p->unsaid, buf_view(&out));
	else
		say_now(p, buf_view(&out));
	buf_free(&out);
}

static void hear_now(struct play *p, const char *pattern, bool whole)
{
	char line[600];

	site_listen(&p->client);
	do {
		if (!site_line(&p->client, line, sizeof line))
			at_fault(p, "nothing came, expected", pattern);
	} while (whole && line[3] == '-');
	if (site_match(pattern, line))
		return;
	fprintf(stderr, "expected: %s\n", pattern);
	at_fault(p, "the server said", line);
}

static void hear(struct play *p, unsigned times, const char *pattern, bool whole)
{
	begin(p);
	while (times--) {
		if (p->mode == IN_ONE_WRITE)
			buf_printf(&p->unheard, "%u %c%s\n", p->line, whole ? 'R' : 'S', pattern);
		else
			hear_now(p, pattern, whole);
	}
}

/* Before anything that looks at the state of things: what was kept back is said and its replies are heard. */
static void catch_up(struct play *p)
{
	struct str rest, line;
	unsigned now = p->line;

	begin(p);
	if (p->unsaid.n)
		say_now(p, buf_view(&p->unsaid));
	buf_clear(&p->unsaid);
	rest = buf_view(&p->unheard);
	while (str_cut(&rest, '\n', &line)) {
		char pattern[600], *end;

		ck_assert(str_copy(pattern, sizeof pattern, line));
		p->line = (unsigned)strtoul(pattern, &end, 10);
		hear_now(p, end + 2, end[1] == 'R');
	}
	buf_clear(&p->unheard);
	p->line = now;
}

static void check_queue(struct play *p, const char *text)
{
	char found[40];

	site_listen(&p->client);
	if (site_drafts())
		at_fault(p, "a draft is left over", text);
	snprintf(found, sizeof found, "%zu", site_messages());
	if (strcmp(found, text))
		at_fault(p, "messages in the queue", found);
}

static void check_message(struct play *p, const char *text, bool wanted)
{
	struct buf envelope = { 0 }, message = { 0 }, what = { 0 };
	bool found;

	unescape(p, text, &what);
	if (!site_message(*p->key ? p->key : NULL, &envelope, &message))
		at_fault(p, "no such message", p->key);
	found = memmem(message.p, message.n, what.p, what.n) || memmem(envelope.p, envelope.n, what.p, what.n);
	if (found != wanted) {
		fprintf(stderr, "%.*s%.*s\n", (int)envelope.n, envelope.p, (int)message.n, message.p);
		at_fault(p, wanted ? "the message lacks" : "the message has", text);
	}
	buf_free(&envelope);
	buf_free(&message);
	buf_free(&what);
}

static void check_end(struct play *p, bool wanted)
{
	site_listen(&p->client);
	if (p->client.got.n)
		at_fault(p, "more was said than expected", buf_cstr(&p->client.got));
	if (p->client.ended != wanted)
		at_fault(p, "the connection", wanted ? "is open still" : "has ended");
}

static void advance(struct play *p, const char *text)
{
	/* in steps, so that every timer is seen at its time */
	for (long ms = 1000 * atol(text); ms > 0; ms -= 500) {
		loop_advance(ms < 500 ? ms : 500);
		loop_turn(0);
	}
	site_listen(&p->client);
}

static bool lacks(struct play *p, const char *library)
{
	if (strcmp(library, "idn2"))
		at_fault(p, "not a library", library);
#ifdef HAVE_IDN2
	return false;
#else
	return true;
#endif
}

static void perform(struct play *p, char verb, unsigned times, const char *text)
{
	switch (verb) {
	case '#': return;
	case '=': set(p, text); return;
	case 'C': say(p, times, text, "\r\n"); return;
	case '|': say(p, 1, text, ""); return;
	case 'S': hear(p, times, text, false); return;
	case 'R': hear(p, times, text, true); return;
	}
	catch_up(p);
	switch (verb) {
	case 'Z': check_end(p, false); break;
	case 'T': advance(p, text); break;
	case 'H': shutdown(p->client.fd, SHUT_WR); break;
	case 'E': check_end(p, true); break;
	case 'Q': check_queue(p, text); break;
	case 'K': snprintf(p->key, sizeof p->key, "%s", text); break;
	case 'M': check_message(p, text, true); break;
	case 'N': check_message(p, text, false); break;
	case 'L': p->over = lacks(p, text); break;
	default: at_fault(p, "not a line of a script", text);
	}
}

static void perform_line(struct play *p, struct str line)
{
	char text[4000], *at = text;
	unsigned times = 1;
	char verb;

	ck_assert(str_copy(text, sizeof text, line));
	if (!*text)
		return;
	verb = text[0] == 'C' && text[1] == '|' ? '|' : text[0];
	if (text[0] != '#' && text[1] == '*')
		times = (unsigned)strtoul(text + 2, &at, 10);
	else
		at += text[0] == '=' || text[0] == '#' || !text[1] ? 1 : 2;
	perform(p, verb, times, *at == ' ' ? at + 1 : at);
}

static void play(const char *path, enum mode mode)
{
	struct play p = { .mode = mode, .where = path, .client.fd = -1 };
	struct buf script = { .max = 1 << 20 };
	struct str rest, line;

	ck_assert_msg(file_read_all(AT_FDCWD, path, &script) == 0, "%s cannot be read", path);
	site_start();
	rest = buf_view(&script);
	while (!p.over && str_cut(&rest, '\n', &line)) {
		p.line++;
		perform_line(&p, line);
	}
	p.line++;
	catch_up(&p);
	site_listen(&p.client);
	if (p.client.got.n)
		at_fault(&p, "more was said than expected", buf_cstr(&p.client.got));
	site_hang_up(&p.client);
	site_stop();
	buf_free(&p.unsaid);
	buf_free(&p.unheard);
	buf_free(&script);
}

static glob_t scripts;

START_TEST(the_server_keeps_what_its_script_promises)
{
	ck_assert_msg(scripts.gl_pathc > 0, "no scripts in tests/script/server: run from the project's directory");
	play(scripts.gl_pathv[_i / MODES], (enum mode)(_i % MODES));
}
END_TEST

Suite *script_server_suite(void)
{
	Suite *s = suite_create("script_server");
	TCase *tc = tcase_create("scripts");

	if (!scripts.gl_pathc)
		glob("tests/script/server/*.smtp", 0, NULL, &scripts);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, the_server_keeps_what_its_script_promises, 0, scripts.gl_pathc ? MODES * (int)scripts.gl_pathc : 1);
	suite_add_tcase(s, tc);
	return s;
}
