/* Filters: what they are told, what their answers mean, what they may change, and what becomes of mail when they misbehave. */
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/loop.h"
#include "smtpd/milterwire.h"
#include "smtpd/session.h"
#include "tests/filter.h"
#include "tests/server_rig.h"

Suite *smtpd_milter_suite(void);

enum { QUIET = MILTER_NR_CONNECT | MILTER_NR_HELO | MILTER_NR_MAIL | MILTER_NR_RCPT | MILTER_NR_DATA | MILTER_NR_HEADER | MILTER_NR_EOH |
	MILTER_NR_BODY | MILTER_NR_UNKNOWN };

static struct fake_filter *filter, *second;
static struct smtpd_milter places[2];
static struct buf envelope, message;

static void begin(uint32_t actions, uint32_t steps, const struct filter_rule *rules)
{
	site_start();
	site_config.milters = places;
	site_config.nmilters = 1;
	site_config.milter_connect_s = site_config.milter_command_s = 30;
	site_config.milter_content_s = 300;
	filter = filter_new(6, actions, steps, rules);
	places[0] = filter_place(filter);
}

static void end(void)
{
	site_stop();
	filter_free(filter);
	if (second)
		filter_free(second);
	second = NULL;
	guests_forget();
	buf_free(&envelope);
	buf_free(&message);
}

static void come(struct site_client *c, const char *from)
{
	struct sockaddr_storage peer = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)&peer;
	int sv[2];

	in->sin_family = AF_INET;
	in->sin_port = htons(4711);
	ck_assert_int_eq(inet_pton(AF_INET, from, &in->sin_addr), 1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	site_adopt(c, sv[0]);
	ck_assert_int_eq(smtpd_session(sv[1], sv[1], SMTPD_MX, &peer, NULL), 0);
	site_expect(c, "220 *");
	site_say(c, "EHLO client.test\r\n");
	site_expect_reply(c, "250 *");
}

/* Filters take their turns: until a reply is there. */
static void wait_for(struct site_client *c)
{
	for (int i = 0; i < 3000 && !c->got.n && !c->ended; i++)
		site_listen(c);
}

static void say(struct site_client *c, const char *text, const char *reply)
{
	site_say(c, text);
	wait_for(c);
	site_expect_reply(c, reply);
}

static void envelope_of(struct site_client *c)
{
	say(c, "MAIL FROM:<a@client.test> BODY=8BITMIME SIZE=100\r\n", "250 2.1.0 *");
	say(c, "RCPT TO:<b@here.test>\r\n", "250 2.1.5 *");
}

#define HEADER "Subject: one\r\nX-Old: 1\r\nX-Long: first\r\n\tsecond\r\nX-Old: 2\r\n"
#define MESSAGE HEADER "\r\nbody\r\n"

static void send_message(struct site_client *c, const char *text, const char *reply)
{
	say(c, "DATA\r\n", "354 *");
	site_say(c, text);
	say(c, ".\r\n", reply);
}

/* What is stored behind the trace field. */
static const char *stored(void)
{
	const char *at;

	ck_assert(site_message(NULL, &envelope, &message));
	at = strstr(buf_cstr(&message), "\r\n\t");
	ck_assert_ptr_nonnull(at);
	for (at = strstr(message.p, "Received: "); at && (*at == 'R' || *at == '\t'); at = strstr(at, "\r\n") + 2)
		;
	return at;
}

/* ---- what they are told */

START_TEST(a_filter_is_told_all_of_a_message_with_its_macros)
{
	struct site_client c;
	char id[40] = "", expected[2000];
	const char *heard;

	begin(0, 0, NULL);
	come(&c, "192.0.2.7");
	ck_assert_str_eq(filter_heard(filter), "");
	envelope_of(&c);
	say(&c, "NOSUCH thing\r\n", "500 5.5.1 Command not recognized");
	send_message(&c, MESSAGE, "250 2.0.0 Queued as *");
	heard = filter_heard(filter);
	ck_assert_ptr_nonnull(strstr(heard, "D Mi|"));
	str_copy(id, sizeof id, (struct str){ strstr(heard, "D Mi|") + 5, 24 });
	snprintf(expected, sizeof expected,
		"O .......||...\n"
		"D Cj|mx.example.org|v|fardel " FARDEL_VERSION "|_|unknown [192.0.2.7]|{daemon_name}|smtp|{client_addr}|192.0.2.7|{client_name}|[192.0.2.7]|"
		"{client_ptr}|[192.0.2.7]|{client_port}|4711|\n"
		"C [192.0.2.7]|4.g192.0.2.7|\n"
		"D H\n"
		"H client.test|\n"
		"D Mi|%s|{mail_addr}|a@client.test|{mail_host}|client.test|\n"
		"M <a@client.test>|BODY=8BITMIME|SIZE=100|\n"
		"D Ri|%s|{rcpt_addr}|b@here.test|{rcpt_host}|here.test|\n"
		"R <b@here.test>|\n"
		"U NOSUCH thing|\n"
		"D Ti|%s|\n"
		"T \n"
		"L Subject|one|\n"
		"L X-Old|1|\n"
		"L X-Long|first..second|\n"
		"L X-Old|2|\n"
		"D Ni|%s|\n"
		"N \n"
		"B 6\n"
		"D Ei|%s|\n"
		"E \n", id, id, id, id, id);
	heard = strchr(heard, '\n');
	ck_assert_str_eq(heard, strchr(expected, '\n'));
	ck_assert(site_message(id, &envelope, &message));
	filter_forget(filter);
	envelope_of(&c);
	ck_assert_ptr_null(strstr(filter_heard(filter), "C "));
	say(&c, "RSET\r\n", "250 *");
	site_turn();
	ck_assert_ptr_nonnull(strstr(filter_heard(filter), "\nA \n"));
	ck_assert_uint_eq(filter_connections(filter), 1);
	say(&c, "QUIT\r\n", "221 *");
	site_hang_up(&c);
	site_turn();
	ck_assert_ptr_nonnull(strstr(filter_heard(filter), "\nQ \n"));
	ck_assert_uint_eq(filter_open(filter), 0);
	end();
}
END_TEST

START_TEST(what_a_filter_does_not_want_is_not_said)
{
	static const char symbols[] = "\0\0\0\2i {auth_authen}\0\0\0\0\3{rcpt_addr}";
	struct site_client c;

	begin(MILTER_SYMBOLS, MILTER_NO_CONNECT | MILTER_NO_HELO | MILTER_NO_HEADERS | MILTER_NO_BODY | MILTER_NO_EOH | MILTER_NO_DATA | MILTER_NO_UNKNOWN |
		MILTER_NR_MAIL | MILTER_NR_RCPT, NULL);
	filter_symbols(filter, symbols, sizeof symbols);
	come(&c, "192.0.2.7");
	envelope_of(&c);
	say(&c, "NOSUCH thing\r\n", "500 *");
	send_message(&c, MESSAGE, "250 *");
	for (const char *letter = "CHLNTUB"; *letter; letter++)
		ck_assert_ptr_null(strstr(filter_heard(filter), (char[]){ '\n', *letter, ' ', '\0' }));
	ck_assert_ptr_nonnull(strstr(filter_heard(filter), "\nD R{rcpt_addr}|b@here.test|\nR "));
	ck_assert_ptr_null(strstr(filter_heard(filter), "{mail_addr}"));
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(a_filter_that_skips_the_rest_of_the_body_is_shown_its_end)
{
	static const struct filter_rule rules[] = { { 'B', NULL, FILTER_SAYS, { PACKET("s") } }, { 0 } };
	static char line[1002] = "";
	struct site_client c;

	begin(0, MILTER_SKIP, rules);
	site_config.message_size = 0;
	come(&c, "192.0.2.7");
	envelope_of(&c);
	say(&c, "DATA\r\n", "354 *");
	site_say(&c, HEADER "\r\n");
	memset(line, 'x', 998);
	memcpy(line + 998, "\r\n", 3);
	for (int i = 0; i < 300; i++)
		site_say(&c, line);
	say(&c, ".\r\n", "250 *");
	ck_assert_ptr_nonnull(strstr(filter_heard(filter), "B 65535\nD E"));
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(a_large_body_comes_whole_in_pieces)
{
	static char line[1002] = "";
	struct site_client c;

	for (int silent = 0; silent < 2; silent++) {
		begin(0, silent ? QUIET : 0, NULL);
		site_config.message_size = 0;
		come(&c, "192.0.2.7");
		envelope_of(&c);
		say(&c, "DATA\r\n", "354 *");
		site_say(&c, HEADER "\r\n");
		memset(line, 'x', 998);
		memcpy(line + 998, "\r\n", 3);
		for (int i = 0; i < 1200; i++) {
			line[i % 998] = (char)('a' + i % 26);
			site_say(&c, line);
		}
		say(&c, ".\r\n", "250 *");
		ck_assert_uint_eq(filter_body(filter)->n, 1200000);
		ck_assert(site_message(NULL, &envelope, &message));
		ck_assert_mem_eq(message.p + message.n - 1200000, filter_body(filter)->p, 1200000);
		site_hang_up(&c);
		end();
	}
}
END_TEST

/* ---- what their answers mean */

static const struct {
	char letter;
	struct filter_packet says;
	const char *mail, *rcpt, *data, *whole; /* replies; NULL: it does not come to that */
} answers[] = {
	{ 'C', PACKET("r"), "550 5.7.1 Refused by a mail filter", NULL, NULL, NULL },
	{ 'C', PACKET("t"), "451 4.7.1 *", NULL, NULL, NULL },
	{ 'C', PACKET("4"), "421 4.7.0 mx.example.org *", NULL, NULL, NULL },
	{ 'C', PACKET("a"), "250 *", "250 *", "354 *", "250 2.0.0 Queued as *" },
	{ 'H', PACKET("r"), "550 *", NULL, NULL, NULL },
	{ 'H', PACKET("y554 5.7.2 Not%%you\0"), "554 5.7.2 Not%you", NULL, NULL, NULL },
	{ 'M', PACKET("r"), "550 *", NULL, NULL, NULL },
	{ 'M', PACKET("y421 Go away\0"), "421 4.7.1 mx.example.org Go away", NULL, NULL, NULL },
	{ 'M', PACKET("y451-4.3.2 one\r\n451 4.3.2 two\0"), "451 4.3.2 one two", NULL, NULL, NULL },
	{ 'M', PACKET("a"), "250 *", "250 *", "354 *", "250 2.0.0 Queued as *" },
	{ 'M', PACKET("d"), "250 *", "250 *", "354 *", "250 2.0.0 Taken as *" },
	{ 'R', PACKET("r"), "250 *", "550 *", NULL, NULL },
	{ 'R', PACKET("t"), "250 *", "451 *", NULL, NULL },
	{ 'R', PACKET("y452 4.2.2 full\0"), "250 *", "452 4.2.2 full", NULL, NULL },
	{ 'T', PACKET("r"), "250 *", "250 *", "550 *", NULL },
	{ 'L', PACKET("r"), "250 *", "250 *", "354 *", "550 *" },
	{ 'L', PACKET("d"), "250 *", "250 *", "354 *", "250 2.0.0 Taken as *" },
	{ 'L', PACKET("a"), "250 *", "250 *", "354 *", "250 2.0.0 Queued as *" },
	{ 'N', PACKET("t"), "250 *", "250 *", "354 *", "451 *" },
	{ 'B', PACKET("y550 5.7.9 Body\0"), "250 *", "250 *", "354 *", "550 5.7.9 Body" },
	{ 'E', PACKET("r"), "250 *", "250 *", "354 *", "550 *" },
	{ 'E', PACKET("t"), "250 *", "250 *", "354 *", "451 *" },
	{ 'E', PACKET("4"), "250 *", "250 *", "354 *", "421 *" },
	{ 'E', PACKET("d"), "250 *", "250 *", "354 *", "250 2.0.0 Taken as *" },
	{ 'E', PACKET("a"), "250 *", "250 *", "354 *", "250 2.0.0 Queued as *" },
};

START_TEST(an_answer_means_what_it_says)
{
	const char *replies[] = { answers[_i].mail, answers[_i].rcpt, answers[_i].data, answers[_i].whole };
	static const char *const commands[] = { "MAIL FROM:<a@client.test>\r\n", "RCPT TO:<b@here.test>\r\n", "DATA\r\n", MESSAGE ".\r\n" };
	struct filter_rule rules[] = { { answers[_i].letter, NULL, FILTER_SAYS, { answers[_i].says } }, { 0 } };
	struct site_client c;
	size_t i = 0;

	begin(0, 0, rules);
	come(&c, "192.0.2.7");
	for (; i < 4 && replies[i]; i++)
		say(&c, commands[i], replies[i]);
	ck_assert_uint_eq(site_messages(), i == 4 && strstr(replies[3], "Queued"));
	ck_assert_uint_eq(site_drafts(), 0);
	if (!c.ended && i == 4) {       /* and it can go on */
		filter_rules(filter, NULL);
		for (i = 0; i < 4; i++)
			say(&c, commands[i], i == 2 ? "354 *" : "250 *");
	}
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(a_recipient_that_is_refused_is_no_reason_against_the_others)
{
	static const struct filter_rule rules[] = { { 'R', "<no1@", FILTER_SAYS, { PACKET("r") } }, { 0 } };
	struct site_client c;

	begin(0, 0, rules);
	come(&c, "192.0.2.7");
	site_say(&c, "MAIL FROM:<a@client.test>\r\nRCPT TO:<no1@here.test>\r\nRCPT TO:<b@here.test>\r\nDATA\r\n");
	wait_for(&c);
	site_expect(&c, "250 2.1.0 *");
	wait_for(&c);
	site_expect(&c, "550 *");
	wait_for(&c);
	site_expect(&c, "250 2.1.5 *");
	wait_for(&c);
	site_expect(&c, "354 *");
	say(&c, MESSAGE ".\r\n", "250 *");
	stored();
	ck_assert_ptr_null(strstr(buf_cstr(&envelope), "no1@"));
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(a_message_in_chunks_goes_the_same_way)
{
	static const struct filter_rule rules[] = { { 'E', NULL, FILTER_SAYS, { PACKET("hX-Seen\0yes\0"), PACKET("c") } }, { 0 } };
	static const struct filter_rule no[] = { { 'T', NULL, FILTER_SAYS, { PACKET("t") } }, { 0 } };
	struct site_client c;

	begin(MILTER_ADD_HEADERS, 0, rules);
	come(&c, "192.0.2.7");
	envelope_of(&c);
	say(&c, "BDAT 5\r\nSubje", "250 *");
	say(&c, "BDAT 13 LAST\r\nct: x\r\n\r\nhi\r\n", "250 2.0.0 Queued *");
	ck_assert_str_eq(stored(), "Subject: x\r\nX-Seen: yes\r\n\r\nhi\r\n");
	filter_rules(filter, no);
	envelope_of(&c);
	say(&c, "BDAT 5\r\nSubje", "451 *");
	say(&c, "BDAT 3 LAST\r\nct:", "451 *");
	ck_assert_uint_eq(site_messages(), 1);
	site_hang_up(&c);
	end();
}
END_TEST

/* ---- what they may change */

#define ALL_ACTIONS MILTER_ACTIONS & ~MILTER_SYMBOLS
static const struct {
	struct filter_packet say[FILTER_PACKETS];
	const char *message;            /* behind our Received; NULL: as it was */
	const char *envelope;           /* is in it; NULL: whatever */
} changed[] = {
	{ { PACKET("hX-New\0a\0") }, HEADER "X-New: a\r\n\r\nbody\r\n", NULL },
	{ { PACKET("i\0\0\0\1X-New\0a\n b\0") }, "X-New: a\r\n b\r\n" MESSAGE, NULL },
	{ { PACKET("i\0\0\0\2X-New\0a\0") }, "Subject: one\r\nX-New: a\r\nX-Old: 1\r\nX-Long: first\r\n\tsecond\r\nX-Old: 2\r\n\r\nbody\r\n", NULL },
	{ { PACKET("i\0\1\0\0X-New\0a\0") }, HEADER "X-New: a\r\n\r\nbody\r\n", NULL },
	{ { PACKET("m\0\0\0\1x-old\0new\0") }, "Subject: one\r\nx-old: new\r\nX-Long: first\r\n\tsecond\r\nX-Old: 2\r\n\r\nbody\r\n", NULL },
	{ { PACKET("m\0\0\0\2X-Old\0\0") }, "Subject: one\r\nX-Old: 1\r\nX-Long: first\r\n\tsecond\r\n\r\nbody\r\n", NULL },
	{ { PACKET("m\0\0\0\1X-Old\0\0"), PACKET("m\0\0\0\2X-Old\0\0") }, "Subject: one\r\nX-Long: first\r\n\tsecond\r\n\r\nbody\r\n", NULL },
	{ { PACKET("m\0\0\0\2X-Old\0\0"), PACKET("m\0\0\0\1X-Old\0\0") }, "Subject: one\r\nX-Long: first\r\n\tsecond\r\n\r\nbody\r\n", NULL },
	{ { PACKET("m\0\0\0\5X-Old\0more\0") }, HEADER "X-Old: more\r\n\r\nbody\r\n", NULL },
	{ { PACKET("m\0\0\0\1X-None\0\0") }, MESSAGE, NULL },
	{ { PACKET("m\0\0\0\1Received\0\0") }, MESSAGE, NULL },         /* ours is nobody's business */
	{ { PACKET("hX-New\0a\r\nEvil: b\r\n\r\nbody\0") }, HEADER "X-New: a\r\n\tEvil: b\r\n\tbody\r\n\r\nbody\r\n", NULL },
	{ { PACKET("hX-New\0\0") }, HEADER "X-New: \r\n\r\nbody\r\n", NULL },
	{ { PACKET("bnew\nbody\rend"), PACKET("b.") }, HEADER "\r\nnew\r\nbody\r\nend.\r\n", NULL },
	{ { PACKET("b") }, HEADER "\r\n", NULL },
	{ { PACKET("+<c@there.test>\0") }, MESSAGE, "RCPT TO:<b@here.test>\nRCPT TO:<c@there.test>\n" },
	{ { PACKET("+c@there.test\0"), PACKET("-<b@here.test>\0") }, MESSAGE, " ESMTP\nRCPT TO:<c@there.test>\n" },
	{ { PACKET("+c@there.test\0"), PACKET("-<c@THERE.test>\0") }, NULL, "RCPT TO:<b@here.test>\n" },
	{ { PACKET("2<c@there.test>\0NOTIFY=NEVER\0") }, MESSAGE, "RCPT TO:<b@here.test>\nRCPT TO:<c@there.test> NOTIFY=NEVER\n" },
	{ { PACKET("e<new@client.test>\0") }, MESSAGE, "MAIL FROM:<new@client.test> BODY=8BITMIME\n" },
	{ { PACKET("e<>\0") }, MESSAGE, "MAIL FROM:<> BODY=8BITMIME\n" },
	{ { PACKET("e<new@client.test>\0ENVID=7\0") }, MESSAGE, "MAIL FROM:<new@client.test> ENVID=7\n" },
	{ { PACKET("p"), PACKET("p"), PACKET("hX-New\0a\0"), PACKET("p") }, HEADER "X-New: a\r\n\r\nbody\r\n", NULL },
};

static void add_last(struct filter_rule *r, const struct filter_packet *say)
{
	size_t n = 0;

	memcpy(r->say, say, sizeof r->say);
	while (r->say[n].p)
		n++;
	r->say[n] = (struct filter_packet)PACKET("c");
}

START_TEST(a_change_is_made_as_it_is_said)
{
	struct filter_rule rules[] = { { 'E', NULL, FILTER_SAYS, { { 0 } } }, { 0 } };
	struct site_client c;

	add_last(&rules[0], changed[_i].say);
	for (int octets = 0; octets < 2; octets++) {
		begin(ALL_ACTIONS, 0, rules);
		if (octets)
			filter_octets(filter);
		come(&c, "192.0.2.7");
		envelope_of(&c);
		send_message(&c, MESSAGE, "250 2.0.0 Queued as *");
		ck_assert_str_eq(stored(), changed[_i].message ? changed[_i].message : MESSAGE);
		if (changed[_i].envelope)
			ck_assert_msg(strstr(buf_cstr(&envelope), changed[_i].envelope) != NULL, "%s", envelope.p);
		ck_assert_uint_eq(site_drafts(), 0);
		site_hang_up(&c);
		end();
	}
}
END_TEST

START_TEST(a_field_above_all_is_above_what_we_write)
{
	static const struct filter_rule rules[] = { { 'E', NULL, FILTER_SAYS, { PACKET("i\0\0\0\0X-Top\0a\0"), PACKET("i\0\0\0\1X-Below\0b\0"), PACKET("c") } }, { 0 } };
	struct site_client c;

	begin(ALL_ACTIONS, 0, rules);
	come(&c, "192.0.2.7");
	envelope_of(&c);
	send_message(&c, MESSAGE, "250 *");
	ck_assert_str_eq(stored(), "X-Below: b\r\n" MESSAGE);
	ck_assert(!strncmp(message.p, "X-Top: a\r\nReceived: ", 20));
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(leading_blanks_are_the_filters_own_when_it_says_so)
{
	static const struct filter_rule rules[] = { { 'E', NULL, FILTER_SAYS, { PACKET("hX-New\0  a\0"), PACKET("c") } }, { 0 } };
	struct site_client c;

	begin(ALL_ACTIONS, MILTER_LEADING_SPACE, rules);
	come(&c, "192.0.2.7");
	envelope_of(&c);
	send_message(&c, "Subject:  one\r\n\r\n", "250 *");
	ck_assert_ptr_nonnull(strstr(filter_heard(filter), "L Subject|  one|"));
	ck_assert_str_eq(stored(), "Subject:  one\r\nX-New:  a\r\n\r\n");
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(what_is_quarantined_is_held_with_the_reason)
{
	static const struct filter_rule rules[] = { { 'E', NULL, FILTER_SAYS, { PACKET("qbad\nthing\0"), PACKET("c") } }, { 0 } };
	struct site_client c;
	struct dirent *e;
	unsigned held = 0;
	DIR *d;

	begin(ALL_ACTIONS, 0, rules);
	come(&c, "192.0.2.7");
	envelope_of(&c);
	send_message(&c, MESSAGE, "250 2.0.0 Queued as *");
	ck_assert_str_eq(stored(), MESSAGE);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&envelope), "FROM client.test [192.0.2.7] ESMTP (quarantined: bad?thing)\n"));
	d = fdopendir(openat(queue_dir(), "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	while (d && (e = readdir(d)))
		held += strstr(e->d_name, ".H.") != NULL;
	closedir(d);
	ck_assert_uint_eq(held, 1);
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(a_message_whose_recipients_are_all_taken_away_is_dropped)
{
	static const struct filter_rule rules[] = { { 'E', NULL, FILTER_SAYS, { PACKET("-<b@here.test>\0"), PACKET("c") } }, { 0 } };
	struct site_client c;

	begin(ALL_ACTIONS, 0, rules);
	come(&c, "192.0.2.7");
	envelope_of(&c);
	send_message(&c, MESSAGE, "250 2.0.0 Taken as *");
	ck_assert_uint_eq(site_messages() + site_drafts(), 0);
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(a_filter_sees_what_those_before_it_have_changed)
{
	static const struct filter_rule rules[] = { { 'E', NULL, FILTER_SAYS, { PACKET("hX-First\0a\0"), PACKET("bother\r\n"), PACKET("c") } }, { 0 } };
	static const struct filter_rule others[] = { { 'E', NULL, FILTER_SAYS, { PACKET("hX-Second\0b\0"), PACKET("c") } }, { 0 } };
	struct site_client c;

	begin(ALL_ACTIONS, 0, rules);
	second = filter_new(6, ALL_ACTIONS, QUIET, others);
	places[1] = filter_place(second);
	site_config.nmilters = 2;
	come(&c, "192.0.2.7");
	envelope_of(&c);
	send_message(&c, MESSAGE, "250 *");
	ck_assert_ptr_nonnull(strstr(filter_heard(second), "L X-First|a|\nD N"));
	ck_assert_ptr_null(strstr(filter_heard(filter), "X-Second"));
	ck_assert_uint_eq(filter_body(second)->n, 7);
	ck_assert_str_eq(stored(), HEADER "X-First: a\r\nX-Second: b\r\n\r\nother\r\n");
	envelope_of(&c);
	filter_rules(filter, answers[0].letter ? (const struct filter_rule[]){ { 'M', NULL, FILTER_SAYS, { PACKET("r") } }, { 0 } } : NULL);
	say(&c, "RSET\r\n", "250 *");
	filter_forget(second);
	say(&c, "MAIL FROM:<a@client.test>\r\n", "550 *");
	ck_assert_ptr_null(strstr(filter_heard(second), "M "));
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(a_large_message_is_rewritten_whole)
{
	static const struct filter_rule rules[] = { { 'E', NULL, FILTER_SAYS, { PACKET("i\0\0\0\1X-New\0a\0"), PACKET("c") } }, { 0 } };
	static char line[1002] = "";
	struct site_client c;
	const char *text;

	begin(ALL_ACTIONS, QUIET, rules);
	site_config.message_size = 0;
	come(&c, "192.0.2.7");
	envelope_of(&c);
	say(&c, "DATA\r\n", "354 *");
	site_say(&c, HEADER "\r\n");
	memset(line, 'x', 998);
	memcpy(line + 998, "\r\n", 3);
	for (int i = 0; i < 3000; i++)
		site_say(&c, line);
	say(&c, ".\r\n", "250 *");
	text = stored();
	ck_assert(!strncmp(text, "X-New: a\r\n" HEADER "\r\n", sizeof "X-New: a\r\n" HEADER "\r\n" - 1));
	ck_assert_uint_eq(strlen(text), 3000000 + sizeof "X-New: a\r\n" HEADER "\r\n" - 1);
	ck_assert_uint_eq(site_messages(), 1);
	ck_assert_uint_eq(site_drafts(), 0);
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(addresses_in_utf8_are_for_messages_that_may_have_them)
{
	static const struct filter_rule rules[] = { { 'E', NULL, FILTER_SAYS, { PACKET("+<\303\274@there.test>\0"), PACKET("-<\303\266@here.test>\0"),
		PACKET("e<\303\244@client.test>\0"), PACKET("c") } }, { 0 } };
	struct site_client c;

	begin(ALL_ACTIONS, 0, rules);
	come(&c, "192.0.2.7");
	say(&c, "MAIL FROM:<a@client.test> SMTPUTF8\r\n", "250 *");
	say(&c, "RCPT TO:<\303\266@here.test>\r\n", "250 *");
	send_message(&c, MESSAGE, "250 2.0.0 Queued as *");
	stored();
	ck_assert_ptr_nonnull(strstr(buf_cstr(&envelope), "MAIL FROM:<\303\244@client.test> SMTPUTF8\n"));
	ck_assert_ptr_nonnull(strstr(envelope.p, "RCPT TO:<\303\274@there.test>\n"));
	ck_assert_ptr_null(strstr(envelope.p, "\303\266"));
	site_hang_up(&c);
	end();
}
END_TEST

/* ---- when they misbehave */

static const struct {
	char letter;
	enum filter_deed deed;
	struct filter_packet says;
} faults[] = {
	{ 'O', FILTER_CLOSES, { 0 } },
	{ 'O', FILTER_IS_MUTE, { 0 } },
	{ 'O', FILTER_SENDS, PACKET("220 this is no filter\r\n") },
	{ 'O', FILTER_SENDS, PACKET("\0\0\0\0c") },
	{ 'O', FILTER_SENDS, PACKET("\6\0\0\0O") },                     /* 100 MB */
	{ 'O', FILTER_SENDS, PACKET("\0\0\0\15O\0\0\0\6\0\0\0\0") },    /* and no more */
	{ 'O', FILTER_SAYS, PACKET("O\0\0\0\6\0\0\0\0") },
	{ 'O', FILTER_SAYS, PACKET("O\0\0\0\1\0\0\0\0\0\0\0\0") },
	{ 'O', FILTER_SAYS, PACKET("O\0\0\0\7\0\0\0\0\0\0\0\0") },
	{ 'O', FILTER_SAYS, PACKET("O\0\0\0\6\0\0\20\0\0\0\0\0") },
	{ 'O', FILTER_SAYS, PACKET("O\0\0\0\6\0\0\0\0\0\0\10\0") },
	{ 'O', FILTER_SAYS, PACKET("O\0\0\0\6\0\0\1\0\0\0\0\0\0\0\0\11i\0") },
	{ 'O', FILTER_SAYS, PACKET("c") },
	{ 'C', FILTER_CLOSES, { 0 } },
	{ 'C', FILTER_IS_MUTE, { 0 } },
	{ 'H', FILTER_SAYS, PACKET("z") },
	{ 'H', FILTER_SAYS, PACKET("s") },
	{ 'H', FILTER_SAYS, PACKET("d") },
	{ 'M', FILTER_CLOSES, { 0 } },
	{ 'M', FILTER_SENDS, PACKET("\0\0") },
	{ 'M', FILTER_SENDS, PACKET("\377\377\377\377c") },
	{ 'M', FILTER_SAYS, PACKET("hX-New\0a\0") },
	{ 'M', FILTER_SAYS, PACKET("y250 ok\0") },
	{ 'M', FILTER_SAYS, PACKET("y") },
	{ 'M', FILTER_SAYS, PACKET("y550-never\r\n550-ends\0") },
	{ 'M', FILTER_SAYS, PACKET("y550-5.1.1 a\r\n450 4.1.1 b\0") },
	{ 'M', FILTER_SAYS, PACKET("y5\0") },
	{ 'R', FILTER_CLOSES, { 0 } },
	{ 'T', FILTER_IS_MUTE, { 0 } },
	{ 'L', FILTER_CLOSES, { 0 } },
	{ 'L', FILTER_SAYS, PACKET("s") },
	{ 'N', FILTER_IS_MUTE, { 0 } },
	{ 'B', FILTER_CLOSES, { 0 } },
	{ 'B', FILTER_SAYS, PACKET("s") },                              /* not agreed upon */
	{ 'E', FILTER_CLOSES, { 0 } },
	{ 'E', FILTER_IS_MUTE, { 0 } },
	{ 'E', FILTER_CLOSES, PACKET("hX-New\0a\0") },                  /* and no last word */
	{ 'E', FILTER_SAYS, PACKET("-<b@here.test>\0") },               /* not announced */
	{ 'E', FILTER_SAYS, PACKET("q\0") },
	{ 'E', FILTER_SAYS, PACKET("hX:New\0a\0") },
	{ 'E', FILTER_SAYS, PACKET("h\0a\0") },
	{ 'E', FILTER_SAYS, PACKET("hX\r\nNew\0a\0") },
	{ 'E', FILTER_SAYS, PACKET("i\0\0X") },
	{ 'E', FILTER_SAYS, PACKET("m\0\0\0\1") },
	{ 'E', FILTER_SAYS, PACKET("+\0") },
	{ 'E', FILTER_SAYS, PACKET("+c@there.test\nRCPT TO:<d@there.test>\0") },
	{ 'E', FILTER_SAYS, PACKET("+<c@there.test> <\0") },
	{ 'E', FILTER_SAYS, PACKET("+<\303\274@there.test>\0") },        /* no SMTPUTF8 */
	{ 'E', FILTER_SAYS, PACKET("+<c@\303\274.test>\0") },
	{ 'E', FILTER_SAYS, PACKET("ba\0b") },
	{ 'E', FILTER_SENDS, PACKET("\0\0\0\377hX-New") },
};
static const struct {
	enum smtpd_milter_default action;
	const char *reply;
} actions[] = { { SMTPD_MILTER_TEMPFAIL, "451 4.7.1 *" }, { SMTPD_MILTER_REJECT, "550 5.7.1 *" }, { SMTPD_MILTER_ACCEPT, NULL } };

/* Time passes when nothing else happens. */
static void be_patient(struct site_client *c)
{
	for (int i = 0; i < 40 && !c->got.n && !c->ended; i++) {
		site_listen(c);
		site_listen(c);
		if (!c->got.n)
			loop_advance(20000);
	}
}

START_TEST(a_filter_that_is_out_of_order_does_what_is_set_and_no_harm)
{
	static const char *const commands[] = { "MAIL FROM:<a@client.test>\r\n", "RCPT TO:<b@here.test>\r\n", "DATA\r\n", MESSAGE ".\r\n" };
	static const char *const well[] = { "250 *", "250 *", "354 *", "250 2.0.0 Queued *" };
	struct filter_rule rules[] = { { faults[_i].letter, NULL, faults[_i].deed, { faults[_i].says } }, { 0 } };
	const char *order = "OCHMRTLNBE";
	long at = strchr(order, faults[_i].letter) - order, when = at < 4 ? 0 : at < 6 ? at - 3 : 3;
	struct site_client c;

	for (size_t a = 0; a < sizeof actions / sizeof *actions; a++) {
		begin(MILTER_ADD_HEADERS | MILTER_CHANGE_BODY | MILTER_ADD_RCPT, 0, rules);
		site_config.milter_default = actions[a].action;
		come(&c, "192.0.2.7");
		for (int i = 0; i < 4; i++) {
			site_say(&c, commands[i]);
			be_patient(&c);
			site_expect(&c, i == when && actions[a].reply ? actions[a].reply : well[i]);
			if (i == when && actions[a].reply)
				break;
		}
		ck_assert_uint_eq(site_messages(), !actions[a].reply);
		ck_assert_uint_eq(site_drafts(), 0);
		if (!actions[a].reply)
			ck_assert_str_eq(stored(), MESSAGE);
		/* The next transaction calls it anew. */
		filter_rules(filter, NULL);
		say(&c, "RSET\r\n", "250 *");
		for (int i = 0; i < 4; i++)
			say(&c, commands[i], well[i]);
		ck_assert_uint_eq(filter_connections(filter), 2);
		site_hang_up(&c);
		end();
	}
}
END_TEST

static char large_body[40000];          /* a packet, its letter and all */
static ssize_t no_room(int fd, const void *p, size_t n)
{
	(void)fd, (void)p, (void)n;
	errno = ENOSPC;
	return -1;
}

/* Not by what is set for a filter that is out of order: 550 would lose the mail, and taking it would leave out what the filter wants. */
START_TEST(a_new_body_that_the_disk_has_no_room_for_is_put_off_whatever_is_set)
{
	static const struct filter_rule rules[] = { { 'E', NULL, FILTER_SAYS, { { large_body, sizeof large_body }, PACKET("c") } }, { 0 } };
	struct file_calls saved = file_sys;
	struct site_client c;

	memset(large_body, 'b', sizeof large_body);
	for (size_t a = 0; a < sizeof actions / sizeof *actions; a++) {
		begin(ALL_ACTIONS, QUIET, rules);
		site_config.milter_default = actions[a].action;
		come(&c, "192.0.2.7");
		envelope_of(&c);
		file_sys.write = no_room;
		send_message(&c, MESSAGE, "452 4.3.1 *");
		file_sys = saved;
		ck_assert_uint_eq(site_messages(), 0);
		ck_assert_uint_eq(site_drafts(), 0);
		filter_rules(filter, NULL);
		envelope_of(&c);
		send_message(&c, MESSAGE, "250 *");
		site_hang_up(&c);
		end();
	}
}
END_TEST

START_TEST(a_filter_that_is_not_there_is_out_of_order)
{
	struct site_client c;

	begin(0, 0, NULL);
	filter_stop_listening(filter);
	come(&c, "192.0.2.7");
	say(&c, "MAIL FROM:<a@client.test>\r\n", "451 4.7.1 *");
	say(&c, "MAIL FROM:<a@client.test>\r\n", "451 4.7.1 *");
	site_config.milter_default = SMTPD_MILTER_ACCEPT;
	envelope_of(&c);
	send_message(&c, MESSAGE, "250 *");
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(a_filter_that_speaks_when_it_was_not_asked_is_out_of_order)
{
	static const struct filter_rule twice[] = { { 'M', NULL, FILTER_SAYS, { PACKET("c"), PACKET("c") } }, { 0 } };
	struct site_client c;

	begin(0, 0, twice);
	come(&c, "192.0.2.7");
	say(&c, "MAIL FROM:<a@client.test>\r\n", "250 *");
	say(&c, "RCPT TO:<b@here.test>\r\n", "451 4.7.1 *");
	say(&c, "DATA\r\n", "503 *");
	filter_rules(filter, NULL);
	say(&c, "RSET\r\n", "250 *");
	envelope_of(&c);
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(a_filter_at_work_has_time_and_not_for_ever)
{
	static const struct filter_rule mute[] = { { 'E', NULL, FILTER_IS_MUTE, { { 0 } } }, { 0 } };
	struct site_client c;

	begin(0, 0, mute);
	come(&c, "192.0.2.7");
	envelope_of(&c);
	say(&c, "DATA\r\n", "354 *");
	site_say(&c, MESSAGE ".\r\n");
	for (int i = 0; i < 50; i++)
		site_listen(&c);
	ck_assert_ptr_nonnull(strstr(filter_heard(filter), "E \n"));
	for (int i = 0; i < 2; i++) {
		loop_advance(200000);
		filter_say(filter, "p", 1);
		site_expect_nothing(&c);
	}
	loop_advance(190000);
	filter_say(filter, "p", 1);
	site_expect_nothing(&c);
	loop_advance(20000);            /* ten minutes in all */
	site_expect(&c, "451 4.7.1 *");
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(a_client_that_goes_meanwhile_leaves_nothing_behind)
{
	static const char letters[] = "CMRTLNBE";
	struct filter_rule rules[] = { { letters[_i], NULL, FILTER_IS_MUTE, { { 0 } } }, { 0 } };
	struct site_client c;

	begin(0, 0, rules);
	come(&c, "192.0.2.7");
	site_say(&c, "MAIL FROM:<a@client.test>\r\nRCPT TO:<b@here.test>\r\nDATA\r\n" MESSAGE ".\r\n");
	for (int i = 0; i < 50; i++)
		site_listen(&c);
	site_hang_up(&c);
	for (int i = 0; i < 40; i++) {
		site_turn();
		loop_advance(20000);
	}
	site_turn();
	ck_assert_uint_eq(filter_open(filter), 0);
	ck_assert_uint_eq(site_messages() + site_drafts(), 0);
	end();
}
END_TEST

START_TEST(a_header_that_is_too_large_is_refused_when_it_is_to_be_shown)
{
	static char line[1002] = "";
	struct site_client c;

	begin(0, QUIET, NULL);
	site_config.message_size = 0;
	come(&c, "192.0.2.7");
	envelope_of(&c);
	say(&c, "DATA\r\n", "354 *");
	memset(line, 'x', 998);
	memcpy(line, "X-A: ", 5);
	memcpy(line + 998, "\r\n", 3);
	for (int i = 0; i < 280; i++)
		site_say(&c, line);
	say(&c, "\r\nbody\r\n.\r\n", "554 5.6.0 *");
	/* A text without any is not. */
	envelope_of(&c);
	say(&c, "DATA\r\n", "354 *");
	line[3] = ' ';
	for (int i = 0; i < 280; i++)
		site_say(&c, line);
	say(&c, ".\r\n", "250 *");
	ck_assert_uint_eq(filter_body(filter)->n, 280000);
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(who_does_not_send_mail_costs_the_filter_nothing)
{
	struct site_client c;

	begin(0, 0, NULL);
	come(&c, "192.0.2.7");
	say(&c, "NOOP\r\n", "250 *");
	say(&c, "RSET\r\n", "250 *");
	say(&c, "NOSUCH\r\n", "500 *");
	say(&c, "MAIL FROM:<a@client.test> NOSUCH=1\r\n", "555 *");
	ck_assert_uint_eq(filter_connections(filter), 0);
	site_hang_up(&c);
	end();
}
END_TEST

START_TEST(another_name_begins_anew)
{
	struct site_client c;

	begin(0, 0, NULL);
	come(&c, "192.0.2.7");
	envelope_of(&c);
	say(&c, "EHLO other.test\r\n", "250 *");
	say(&c, "MAIL FROM:<a@client.test>\r\n", "250 *");
	ck_assert_ptr_nonnull(strstr(filter_heard(filter), "H other.test|"));
	ck_assert_uint_eq(filter_connections(filter), 2);
	site_turn();
	ck_assert_uint_eq(filter_open(filter), 1);
	site_hang_up(&c);
	end();
}
END_TEST

Suite *smtpd_milter_suite(void)
{
	Suite *s = suite_create("smtpd_milter");
	TCase *t = tcase_create("all");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_filter_is_told_all_of_a_message_with_its_macros);
	tcase_add_test(t, what_a_filter_does_not_want_is_not_said);
	tcase_add_test(t, a_filter_that_skips_the_rest_of_the_body_is_shown_its_end);
	tcase_add_test(t, a_large_body_comes_whole_in_pieces);
	tcase_add_loop_test(t, an_answer_means_what_it_says, 0, sizeof answers / sizeof *answers);
	tcase_add_test(t, a_recipient_that_is_refused_is_no_reason_against_the_others);
	tcase_add_test(t, a_message_in_chunks_goes_the_same_way);
	tcase_add_loop_test(t, a_change_is_made_as_it_is_said, 0, sizeof changed / sizeof *changed);
	tcase_add_test(t, a_field_above_all_is_above_what_we_write);
	tcase_add_test(t, leading_blanks_are_the_filters_own_when_it_says_so);
	tcase_add_test(t, what_is_quarantined_is_held_with_the_reason);
	tcase_add_test(t, a_message_whose_recipients_are_all_taken_away_is_dropped);
	tcase_add_test(t, a_filter_sees_what_those_before_it_have_changed);
	tcase_add_test(t, a_large_message_is_rewritten_whole);
	tcase_add_test(t, addresses_in_utf8_are_for_messages_that_may_have_them);
	tcase_add_loop_test(t, a_filter_that_is_out_of_order_does_what_is_set_and_no_harm, 0, sizeof faults / sizeof *faults);
	tcase_add_test(t, a_filter_that_is_not_there_is_out_of_order);
	tcase_add_test(t, a_new_body_that_the_disk_has_no_room_for_is_put_off_whatever_is_set);
	tcase_add_test(t, a_filter_that_speaks_when_it_was_not_asked_is_out_of_order);
	tcase_add_test(t, a_filter_at_work_has_time_and_not_for_ever);
	tcase_add_loop_test(t, a_client_that_goes_meanwhile_leaves_nothing_behind, 0, 8);
	tcase_add_test(t, a_header_that_is_too_large_is_refused_when_it_is_to_be_shown);
	tcase_add_test(t, who_does_not_send_mail_costs_the_filter_nothing);
	tcase_add_test(t, another_name_begins_anew);
	suite_add_tcase(s, t);
	return s;
}
