/* Plays every conversation of tests/script/client/: once as written, once with a peer that sends octet by octet.
 *
 * A file has three parts, separated by lines of "--". The first sets up:
 *   # a comment; the first one is the promise, with its RFC section
 *   lmtp                         LHLO instead of EHLO
 *   tls                          STARTTLS where it is offered; "tls must" takes nothing less, "tls verify" a certificate for
 *                                mx.example.org alone that is trusted, "tls verify NAME" one for that name
 *   first                        TLS from the first octet
 *   login anna secret            user and password
 *   token anna secret            user and access token
 *   whole                        not octet by octet: what the promise is about would look different
 *   dialogue                     what was said is told, too
 *   keep                         no QUIT behind the last job
 *   FROM:<a@x.test> RET=HDRS     begins a job
 *   TO:<b@y.test> NOTIFY=DELAY   a recipient of it
 *   text .dot\nlast              the message of all jobs, instead of a short one with dots; \n is CR LF
 *   octets 160000                the same, so many octets; a multiple of 16
 * The second is the peer's script (tests/peer.h), the third what the caller is told (tests/caller.h), line by
 * line; a * stands for any words. */
#include <check.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "lib/tls.h"
#include "tests/caller.h"
#include "tests/peer.h"

static glob_t files;

struct conversation {
	struct buf text, message;
	struct str setup, script, told;         /* parts of text */
	bool whole;
	struct caller caller;
};

/* ---- reading a file */

/* Cuts off what is before the next line of "--". */
static struct str part(struct str *rest)
{
	struct str all = *rest, line;

	while (rest->n) {
		size_t before = all.n - rest->n;
		if (!str_cut(rest, '\n', &line))
			break;
		if (str_eq(line, STR("--")))
			return (struct str){ all.p, before };
	}
	*rest = str_from(all, all.n);
	return all;
}

static bool set_lmtp(struct conversation *v, struct str line)
{
	(void)line;
	return v->caller.config.lmtp = true;
}

static bool set_whole(struct conversation *v, struct str line)
{
	(void)line;
	return v->whole = true;
}

static bool set_tls(struct conversation *v, struct str line)
{
	static struct tls_trust *trust;
	static char host[256];
	struct str word, rest = line;

	if (!trust)
		trust = tls_trust_new("tests/pki/ec.crt");
	str_word(&rest, &word);
	if (!str_word(&rest, &word)) {
		v->caller.config.tls = CLIENT_TLS_MAY;
	} else if (str_eq(word, STR("must"))) {
		v->caller.config.tls = CLIENT_TLS_MUST;
	} else if (str_eq(word, STR("verify"))) {
		v->caller.config.tls = CLIENT_TLS_VERIFY;
		v->caller.config.trust = trust;
		v->caller.host = str_word(&rest, &word) && str_copy(host, sizeof host, word) ? host : "mx.example.org";
	} else {
		return false;
	}
	return true;
}

static bool set_first(struct conversation *v, struct str line)
{
	(void)line;
	return v->caller.config.tls_first = true;
}

static bool set_login(struct conversation *v, struct str line)
{
	static char user[100], password[2000];
	struct str word;

	v->caller.config.user = user;
	v->caller.config.password = password;
	return str_word(&line, &word) && str_word(&line, &word) && str_copy(user, sizeof user, word) && str_word(&line, &word) &&
		str_copy(password, sizeof password, word);
}

static bool set_token(struct conversation *v, struct str line)
{
	return v->caller.config.token = set_login(v, line);
}

static bool set_dialogue(struct conversation *v, struct str line)
{
	(void)line;
	return v->caller.dialogue = true;
}

static bool set_keep(struct conversation *v, struct str line)
{
	(void)line;
	return v->caller.keep = true;
}

static bool add_from(struct conversation *v, struct str line) { return caller_from(&v->caller, line); }
static bool add_to(struct conversation *v, struct str line) { return caller_to(&v->caller, line); }

static bool set_text(struct conversation *v, struct str line)
{
	buf_clear(&v->message);
	for (size_t i = 5; i < line.n; i++) {
		if (line.p[i] != '\\' || i + 1 == line.n || line.p[i + 1] != 'n') {
			buf_char(&v->message, line.p[i]);
			continue;
		}
		buf_puts(&v->message, "\r\n");
		i++;
	}
	return true;
}

static bool set_octets(struct conversation *v, struct str line)
{
	uint64_t n;

	if (!str_number(str_from(line, 7), 10000000, &n) || n % 16)
		return false;
	for (buf_clear(&v->message); v->message.n < n; )
		buf_puts(&v->message, ".a line of it.\r\n");
	return true;
}

static const struct { const char *word; bool (*set)(struct conversation *, struct str); } setups[] = {
	{ "#", NULL },
	{ "lmtp", set_lmtp },
	{ "tls", set_tls },
	{ "whole", set_whole },
	{ "first", set_first },
	{ "login ", set_login },
	{ "token ", set_token },
	{ "dialogue", set_dialogue },
	{ "keep", set_keep },
	{ "FROM:", add_from },
	{ "TO:", add_to },
	{ "text ", set_text },
	{ "octets ", set_octets },
};

static bool set_up(struct conversation *v, struct str line)
{
	if (!line.n)
		return true;
	for (size_t i = 0; i < sizeof setups / sizeof *setups; i++)
		if (str_starts_nocase(line, str_of(setups[i].word)))
			return !setups[i].set || setups[i].set(v, line);
	return false;
}

static void read_conversation(struct conversation *v, const char *path)
{
	struct str rest, line;

	*v = (struct conversation){ .text.max = 1 << 20 };
	caller_init(&v->caller, false);
	buf_puts(&v->message, "Subject: dots\r\n\r\n.one\r\n..two\r\nlast\r\n");
	ck_assert_msg(file_read_all(AT_FDCWD, path, &v->text) == 0, "%s: cannot be read", path);
	buf_cstr(&v->text);
	rest = buf_view(&v->text);
	v->setup = part(&rest);
	v->script = part(&rest);
	v->told = part(&rest);
	ck_assert_msg(v->setup.n && v->script.n && v->told.n, "%s: three parts are needed", path);
	for (rest = v->setup; str_cut(&rest, '\n', &line); )
		ck_assert_msg(set_up(v, line), "%s: \"" STR_FMT "\" is not understood", path, STR_ARG(line));
	for (size_t i = 0; i < v->caller.n; i++)
		caller_message(&v->caller, i, buf_view(&v->message));
}

/* ---- playing it */

static bool matches(struct str pattern, struct str text)
{
	struct str before;

	if (!str_cut(&pattern, '*', &before))
		return str_eq(pattern, text);
	if (text.n < before.n || !str_eq((struct str){ text.p, before.n }, before))
		return false;
	for (text = str_from(text, before.n); ; text = str_from(text, 1)) {
		if (matches(pattern, text))
			return true;
		if (!text.n)
			return false;
	}
}

static void compare(const char *path, struct str wanted, struct str told)
{
	struct str all = told, want, is;

	while (str_cut(&wanted, '\n', &want)) {
		if (!want.n || want.p[0] == '#')
			continue;
		if (!str_cut(&told, '\n', &is))
			is = STR("(nothing)");
		ck_assert_msg(matches(want, is), "%s: wanted \"" STR_FMT "\", got \"" STR_FMT "\" in:\n" STR_FMT, path,
			STR_ARG(want), STR_ARG(is), STR_ARG(all));
	}
	ck_assert_msg(!told.n, "%s: not wanted: " STR_FMT, path, STR_ARG(told));
}

static void play(const char *path, bool octets)
{
	struct conversation v;
	struct peer *peer;
	const struct sockaddr *addr;
	socklen_t len;
	char *script;
	bool ended;

	read_conversation(&v, path);
	script = strndup(v.script.p, v.script.n);
	peer = peer_new(script);
	peer_message(peer, buf_view(&v.message));
	if (octets && !v.whole)
		peer_octets(peer);
	addr = peer_address(peer, &len);
	ended = caller_run(&v.caller, addr, len);
	ck_assert_msg(!peer_trouble(peer), "%s: %s\ntold:\n%s", path, peer_trouble(peer), caller_told(&v.caller));
	ck_assert_msg(ended, "%s: the client does not end; told:\n%s", path, caller_told(&v.caller));
	compare(path, v.told, str_of(caller_told(&v.caller)));
	peer_free(peer);
	caller_free(&v.caller);
	buf_free(&v.text);
	buf_free(&v.message);
	free(script);
}

static void with_a_virtual_clock(void) { loop_virtual_clock(1700000000); }

START_TEST(conversation_goes_as_written)
{
	play(files.gl_pathv[_i], false);
}
END_TEST

START_TEST(conversation_goes_the_same_octet_by_octet)
{
	play(files.gl_pathv[_i], true);
}
END_TEST

START_TEST(there_are_conversations)
{
	ck_assert_uint_gt(files.gl_pathc, 20);
}
END_TEST

Suite *script_client_suite(void);
Suite *script_client_suite(void)
{
	Suite *s = suite_create("script_client");
	TCase *t = tcase_create("conversations");

	glob("tests/script/client/*.smtp", 0, NULL, &files);
	tcase_add_checked_fixture(t, with_a_virtual_clock, NULL);
	tcase_add_test(t, there_are_conversations);
	tcase_add_loop_test(t, conversation_goes_as_written, 0, (int)files.gl_pathc);
	tcase_add_loop_test(t, conversation_goes_the_same_octet_by_octet, 0, (int)files.gl_pathc);
	suite_add_tcase(s, t);
	return s;
}
