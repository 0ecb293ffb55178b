/* Aliases at the first attempt, between the real queue and couriers that take everything: what the new message is like, and what a crash
 * at any moment leaves. Local are the names at here.example. */
#include "cmd/expand.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/list.h"
#include "lib/loop.h"
#include "parse.h"
#include "queue/inside.h"
#include "tests/queue_rig.h"

Suite *cmd_expand_suite(void);

static struct str local_domains[] = { { "here.example", 12 } };
static struct routes routes = { .local = local_domains, .nlocal = 1 };
static struct aliases *aliases;
static struct buf got;                          /* a line for each transaction */
static struct talk *talks;                      /* bundles that are not done */

static const char table[] =
	"root: anna\n"
	"staff: anna, ben, far@far.example\n"
	"owner-staff: carl\n"
	"team: ben, far@far.example\n"
	"copy: \\copy, far@far.example\n"
	"gone: /dev/null\n"
	"circle: circle2\ncircle2: circle\n"
	"pipe: |prog\n"
	"onward: far@far.example\n";

/* ---- a courier: aliases first, then everybody who is left */

struct talk {
	struct talk *next;
	struct bundle *bundle;
	struct task end;
};

static void begin(struct bundle *);

static void forget(struct talk *talk)
{
	struct talk **at = &talks;

	while (*at != talk)
		at = &(*at)->next;
	*at = talk->next;
	task_cancel(&talk->end);
	free(talk);
}

static void put_address(struct buf *out, const struct addr *a)
{
	buf_printf(out, STR_FMT "%s" STR_FMT, STR_ARG(a->local), a->domain.n ? "@" : "", STR_ARG(a->domain));
}

static void end(struct task *t)
{
	static const struct reply reply = { .code = 250, .text = "taken" };
	static const struct result taken = { .what = RESULT_DELIVERED, .reply = &reply, .handed = HANDED_ON };
	struct talk *talk = owner_of(t, struct talk, end);
	struct bundle *b = talk->bundle, *next;
	struct dest *d = b->dest;
	bool first = true;

	forget(talk);
	for (size_t i = 0; i < b->n; i++) {
		const struct recipient *to = &b->rcpt[i]->to;

		if (!b->rcpt[i]->busy)
			continue;
		if (first) {
			buf_puts(&got, "<");
			put_address(&got, &b->mail->from.addr);
			buf_puts(&got, ">");
			if (b->mail->from.envid.n)
				buf_printf(&got, " ENVID=" STR_FMT, STR_ARG(b->mail->from.envid));
		}
		first = false;
		buf_puts(&got, " ");
		put_address(&got, &to->addr);
		if (to->notify)
			buf_printf(&got, " NOTIFY=%u", to->notify);
		if (to->orcpt.n)
			buf_printf(&got, " ORCPT=" STR_FMT, STR_ARG(to->orcpt));
	}
	if (!first)
		buf_puts(&got, "\n");
	queue_done(b, &taken);
	next = queue_next(d);
	if (next)
		begin(next);
	else
		queue_leave(d);
}

static void aliases_have_gone(void *arg)
{
	struct talk *talk = arg;

	talk->end.run = end;
	task_post(&talk->end);
}

static void begin(struct bundle *b)
{
	struct talk *talk = calloc(1, sizeof *talk);

	talk->bundle = b;
	talk->next = talks;
	talks = talk;
	expand_bundle(b, aliases_have_gone, talk);
}

static void deliver(struct transport *t, struct bundle *b)
{
	(void)t;
	begin(b);
}

/* ---- */

static void open_aliases(const char *text)
{
	static struct alias_config config = { .routes = &routes, .origin = "here.example", .separator = '+' };

	aliases_free(aliases);
	aliases = aliases_new(&config);
	ck_assert(aliases_take(aliases, str_of(text), STR("")));
	expand_configure(aliases);
}

static void setup(void)
{
	rig_open();
	rig.transport.deliver = deliver;
	open_aliases(table);
	buf_clear(&got);
}

static void crash(void)
{
	rig_crash();
	expand_stop();
	while (talks)
		forget(talks);
}

static void teardown(void)
{
	crash();
	expand_configure(NULL);
	aliases_free(aliases);
	aliases = NULL;
	rig_close();
	buf_free(&got);
}

/* The transactions, in any order, are these lines. */
static void got_lines(const char *wanted)
{
	struct str rest = str_of(wanted), line;
	size_t octets = 0;

	while (str_cut(&rest, '\n', &line)) {
		char text[500];

		snprintf(text, sizeof text, STR_FMT "\n", STR_ARG(line));
		octets += line.n + 1;
		ck_assert_msg(got.n && strstr(buf_cstr(&got), text), "wanted\n%sgot\n%s", wanted, buf_cstr(&got));
	}
	ck_assert_msg(got.n == octets, "wanted\n%sgot\n%s", wanted, got.n ? buf_cstr(&got) : "nothing");
}

#define ROOT "ORCPT=rfc822;root@here.example"
#define TEAM "ORCPT=rfc822;team@here.example"

static const struct {
	const char *from, *to, *got;
	unsigned reports;               /* final ones */
} cases[] = {
	/* one for one: all that the sender said goes with it (RFC 3461 5.2.7.2) */
	{ "a@x.example", "root@here.example", "<a@x.example> anna@here.example " ROOT "\n", 0 },
	{ "a@x.example", "root@here.example NOTIFY=SUCCESS,DELAY ORCPT=rfc822;w+40x", "<a@x.example> anna@here.example NOTIFY=10 ORCPT=rfc822;w+40x\n", 0 },
	{ "a@x.example", "onward@here.example NOTIFY=NEVER", "<a@x.example> far@far.example NOTIFY=1 ORCPT=rfc822;onward@here.example\n", 0 },
	{ "a@x.example", "root+a=b@here.example", "<a@x.example> anna@here.example ORCPT=rfc822;root+2Ba+3Db@here.example\n", 0 },
	/* several: success is told for the alias, and not by those behind it (5.2.7.3) */
	{ "a@x.example", "team@here.example NOTIFY=SUCCESS,FAILURE", "<a@x.example> ben@here.example NOTIFY=4 " TEAM "\n"
		"<a@x.example> far@far.example NOTIFY=4 " TEAM "\n<> a@x.example\n", 1 },
	{ "a@x.example", "team@here.example NOTIFY=SUCCESS", "<a@x.example> ben@here.example NOTIFY=1 " TEAM "\n"
		"<a@x.example> far@far.example NOTIFY=1 " TEAM "\n<> a@x.example\n", 1 },
	{ "a@x.example", "team@here.example", "<a@x.example> ben@here.example " TEAM "\n<a@x.example> far@far.example " TEAM "\n", 0 },
	/* a list has its own sender, and is where the mail was to go (5.2.7.1) */
	{ "a@x.example", "staff@here.example NOTIFY=SUCCESS", "<owner-staff@here.example> anna@here.example ben@here.example\n"
		"<owner-staff@here.example> far@far.example\n<> a@x.example\n", 1 },
	{ "", "staff@here.example", "<> anna@here.example ben@here.example\n<> far@far.example\n", 0 },  /* a report stays one */
	/* each gets it once */
	{ "a@x.example", "root@here.example team@here.example onward@here.example", "<a@x.example> anna@here.example " ROOT " ben@here.example " TEAM "\n"
		"<a@x.example> far@far.example " TEAM "\n", 0 },
	{ "a@x.example", "anna@here.example root@here.example", "<a@x.example> anna@here.example\n", 0 },
	{ "a@x.example", "far@far.example onward@here.example", "<a@x.example> far@far.example\n", 0 },
	{ "a@x.example", "Anna@here.example far@FAR.example team@here.example root@here.example", "<a@x.example> Anna@here.example\n"
		"<a@x.example> far@FAR.example\n<a@x.example> ben@here.example " TEAM "\n", 0 },
	{ "a@x.example", "copy@here.example", "<a@x.example> copy@here.example ORCPT=rfc822;copy@here.example\n"
		"<a@x.example> far@far.example ORCPT=rfc822;copy@here.example\n", 0 },
	/* no alias */
	{ "a@x.example", "anna@here.example far@far.example", "<a@x.example> anna@here.example\n<a@x.example> far@far.example\n", 0 },
	{ "a@x.example", "gone@here.example", "", 0 },
	/* what cannot be */
	{ "a@x.example", "circle@here.example ben@here.example", "<a@x.example> ben@here.example\n<> a@x.example\n", 1 },
};

START_TEST(the_new_message_has_the_right_sender_recipients_and_parameters)
{
	char line[600];

	snprintf(line, sizeof line, "%s", cases[_i].to);
	ck_assert(rig_put(cases[_i].from, line));
	rig_run(10);
	got_lines(cases[_i].got);
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], cases[_i].reports);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(the_content_is_the_same_behind_a_field_for_each_alias)
{
	const char *text;
	char id[ID_MAX], alias[200];

	rig.conf.deliver = true;
	ck_assert(rig_put("a@x.example", "Root@here.example team@here.example"));
	str_copy(id, sizeof id, str_of(rig_id));
	for (int i = 0; i < 3 && rig_count("cur") < 2; i++)
		loop_turn(0);
	ck_assert_uint_gt(rig_count("cur"), 0);
	text = rig_read("cur", rig_name("+"));
	snprintf(alias, sizeof alias, "ALIAS %s 66 1=<Root@here.example> 2+<team@here.example>\n", id);
	ck_assert_msg(strstr(text, alias) != NULL, "%s\n%s", alias, text);
	ck_assert_ptr_nonnull(strstr(text, "\n\nDelivered-To: Root@here.example\r\nDelivered-To: team@here.example\r\nSubject: hello\r\n\r\nA line.\r\n"));
	rig_run(10);
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(mail_that_comes_back_is_not_sent_on_again)
{
	ck_assert(rig_put_body("a@x.example", "onward@here.example", "Delivered-To: x@y.example\r\ndelivered-to: Onward@here.example\r\n\r\n", NULL, 0));
	rig_run(10);
	got_lines("<> a@x.example\n");
	ck_assert_uint_eq(rig.reports[REPORT_FINAL], 1);
}
END_TEST

START_TEST(what_can_be_put_right_waits_and_counts_as_no_attempt)
{
	ck_assert(rig_put("a@x.example", "pipe@here.example"));
	rig_run(10);
	got_lines("");
	ck_assert_str_eq(rig_cur(), "0 here.example");
	open_aliases("pipe: anna\n");
	rig_run(3600);
	got_lines("<a@x.example> anna@here.example ORCPT=rfc822;pipe@here.example\n");
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_large_message_is_copied_in_pieces)
{
	struct buf body = { 0 };

	buf_puts(&body, "Subject: large\r\n\r\n");
	while (body.n < 3u << 20)
		buf_puts(&body, "0123456789012345678901234567890123456789012345678901234567890123\r\n");
	rig.conf.message_size = 8 << 20;
	ck_assert(rig_put_body("a@x.example", "root@here.example", buf_cstr(&body), NULL, 0));
	rig_run(10);
	got_lines("<a@x.example> anna@here.example " ROOT "\n");
	buf_free(&body);
}
END_TEST

/* Turn after turn the process dies: everybody gets it, and once, as nobody was being talked to yet. Before anything of the new one has left
 * its parent knows of it, also when the aliases are others by then. */
START_TEST(a_crash_at_any_turn_neither_loses_nor_repeats)
{
	static const char *const later[] = { table, "root: zoe\n", "" };
	unsigned turns = (unsigned)_i % 12;
	const char *text = later[_i / 12];

	ck_assert(rig_put("a@x.example", "root@here.example team@here.example"));
	for (unsigned i = 0; i < turns; i++)
		loop_turn(0);
	if (got.n)                              /* it is through: nothing to see */
		return;
	crash();
	if (text == table || rig_count("cur") == 2) {
		bool made = rig_count("cur") == 2;

		open_aliases(text);
		rig_start();
		rig_run(7200);
		ck_assert_str_eq(rig_cur(), "");
		if (made || text == table)
			got_lines("<a@x.example> anna@here.example " ROOT " ben@here.example " TEAM "\n<a@x.example> far@far.example " TEAM "\n");
	} else {
		rig_start();
	}
}
END_TEST

static void made_and_not_noted(char parent[NAME_ROOM], char made[NAME_ROOM])
{
	ck_assert(rig_put("a@x.example", "root@here.example team@here.example"));
	for (int i = 0; i < 20 && rig_count("cur") < 2; i++)
		loop_turn(0);
	ck_assert_uint_eq(got.n, 0);
	snprintf(parent, NAME_ROOM, "%s", rig_name("here.example"));
	snprintf(made, NAME_ROOM, "%s", rig_name("+"));
	crash();
}

/* Its end was not written, though its envelope was: it is made again, and not taken for what it should have been. */
START_TEST(one_that_is_not_whole_is_made_again)
{
	char parent[NAME_ROOM], made[NAME_ROOM], text[8192];
	size_t n;

	made_and_not_noted(parent, made);
	n = strlen(rig_read("cur", made));
	memcpy(text, rig_read("cur", made), n + 1);
	memset(strstr(text, "A line."), 0, 7);
	rig_write("cur", made, text, n);
	rig_start();
	rig_run(7200);
	ck_assert_str_eq(rig_cur(), "");
	got_lines("<a@x.example> anna@here.example " ROOT " ben@here.example " TEAM "\n<a@x.example> far@far.example " TEAM "\n");
	ck_assert_uint_eq(rig_count("bad"), 2);
}
END_TEST

/* Behind a power cut the lock file does not say that the message was tried, and it waits longer than what was made of it. */
START_TEST(what_was_made_is_noted_before_it_leaves)
{
	char parent[NAME_ROOM], made[NAME_ROOM], later[NAME_ROOM];
	struct entry_name n;

	made_and_not_noted(parent, made);
	rig_write(".", "lock", "", 0);
	snprintf(later, sizeof later, "%s", parent);
	ck_assert(entry_parse(later, &n));
	entry_print(later, loop_wall() + 3600, false, 1, n.id, "here.example");
	rig_mv(parent, later);
	rig_start();
	rig_run(7200);
	ck_assert_str_eq(rig_cur(), "");
	got_lines("<a@x.example> anna@here.example " ROOT " ben@here.example " TEAM "\n<a@x.example> far@far.example " TEAM "\n");
}
END_TEST

static ssize_t nothing_there(int fd, void *p, size_t n, off_t at)
{
	(void)fd, (void)p, (void)n, (void)at;
	return 0;
}

START_TEST(what_cannot_be_read_to_its_end_is_not_sent_on)
{
	ssize_t (*good)(int, void *, size_t, off_t) = file_sys.pread;

	file_sys.pread = nothing_there;
	ck_assert(rig_put("a@x.example", "root@here.example"));
	rig_turn();
	ck_assert_uint_eq(got.n, 0);
	file_sys.pread = good;
	rig_run(7200);
	got_lines("<a@x.example> anna@here.example " ROOT "\n");
	ck_assert_str_eq(rig_cur(), "");
}
END_TEST

START_TEST(a_disk_that_fails_makes_it_wait)
{
	ck_assert(rig_put("a@x.example", "root@here.example"));
	rig_disk(2 + (unsigned)_i, 2 + (unsigned)_i, ENOSPC);
	rig_run(10);
	rig_disk(0, 0, 0);
	rig_run(7200);
	got_lines("<a@x.example> anna@here.example " ROOT "\n");
	ck_assert_str_eq(rig_cur(), "");
	ck_assert_uint_eq(rig_count("work"), 0);
	ck_assert_uint_eq(rig_count("bad"), 0);
}
END_TEST

Suite *cmd_expand_suite(void)
{
	Suite *s = suite_create("cmd_expand");
	TCase *c = tcase_create("expand");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, the_new_message_has_the_right_sender_recipients_and_parameters, 0, sizeof cases / sizeof *cases);
	tcase_add_test(c, the_content_is_the_same_behind_a_field_for_each_alias);
	tcase_add_test(c, mail_that_comes_back_is_not_sent_on_again);
	tcase_add_test(c, what_can_be_put_right_waits_and_counts_as_no_attempt);
	tcase_add_test(c, a_large_message_is_copied_in_pieces);
	tcase_add_loop_test(c, a_crash_at_any_turn_neither_loses_nor_repeats, 0, 36);
	tcase_add_test(c, what_cannot_be_read_to_its_end_is_not_sent_on);
	tcase_add_test(c, one_that_is_not_whole_is_made_again);
	tcase_add_test(c, what_was_made_is_noted_before_it_leaves);
	tcase_add_loop_test(c, a_disk_that_fails_makes_it_wait, 0, 8);
	suite_add_tcase(s, c);
	return s;
}
