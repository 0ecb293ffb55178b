/* Commands that get mail: their words, what their end means, and that they end. */
#include "deliver/command.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/list.h"

Suite *deliver_command_suite(void);

START_TEST(words_are_parted_without_a_shell)
{
	static const struct {
		const char *text, *words;       /* each behind a |; or what is wrong */
	} rows[] = {
		{ "prog", "|prog" }, { "  prog   a\tb ", "|prog|a|b" }, { "prog 'a b' c", "|prog|a b|c" }, { "prog \"a b\"c'd'", "|prog|a bcd" },
		{ "prog ''", "|prog|" }, { "prog \"\"", "|prog|" }, { "prog a\\ b", "|prog|a b" }, { "prog \"a\\\"b\"", "|prog|a\"b" }, { "prog 'a\\b'", "|prog|a\\b" },
		{ "prog '$HOME' ';' \\| \\$x", "|prog|$HOME|;|||$x" }, { "prog -rf -- ../x", "|prog|-rf|--|../x" }, { "prog \"a|b;c>d*\"", "|prog|a|b;c>d*" },
		{ "", "it is empty" }, { "   ", "it is empty" }, { "''", "it is empty" }, { "prog 'a", "it has a quote" }, { "prog \"a", "it has a quote" },
		{ "prog a\\", "it ends in a \\" }, { "cat >x", "it has signs for a shell" }, { "a|b", "it has signs" }, { "a;b", "it has signs" }, { "a&", "it has signs" },
		{ "echo $HOME", "it has signs" }, { "echo `id`", "it has signs" }, { "echo \"$HOME\"", "it has signs" }, { "echo \"`id`\"", "it has signs" },
		{ "ls *", "it has signs" }, { "ls ?", "it has signs" }, { "(a)", "it has signs" }, { "a <b", "it has signs" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char *word[COMMAND_WORDS + 1], got[200] = "";
		struct buf room = { 0 };
		const char *wrong = command_parse(str_of(rows[i].text), &room, word);

		for (size_t k = 0; !wrong && word[k]; k++)
			snprintf(got + strlen(got), sizeof got - strlen(got), "|%s", word[k]);
		if (wrong)
			ck_assert_msg(!strncmp(wrong, rows[i].words, strlen(rows[i].words)), "%s: %s", rows[i].text, wrong);
		else
			ck_assert_str_eq(got, rows[i].words);
		buf_free(&room);
	}
}
END_TEST

START_TEST(words_have_a_ceiling)
{
	char *word[COMMAND_WORDS + 1];
	struct buf room = { 0 }, text = { 0 };

	for (int i = 0; i < COMMAND_WORDS; i++)
		buf_puts(&text, "a ");
	ck_assert_ptr_null(command_parse(buf_view(&text), &room, word));
	buf_clear(&room);
	buf_puts(&text, "a");
	ck_assert_str_eq(command_parse(buf_view(&text), &room, word), "it has more than 64 words");
	buf_clear(&room);
	buf_clear(&text);
	for (int i = 0; i < 3000; i++)
		buf_puts(&text, "a");
	ck_assert_str_eq(command_parse(buf_view(&text), &room, word), "it is too long");
	buf_free(&room);
	buf_free(&text);
}
END_TEST

/* ---- running */

static const char *const environment[] = { "SENDER=a@x", NULL };
static struct reply result;

static int message(const char *text, size_t n)
{
	char name[] = "/tmp/fardel-command-XXXXXX";
	int fd = mkstemp(name);

	ck_assert_int_ne(fd, -1);
	unlink(name);
	ck_assert_int_eq(write(fd, text, n), (ssize_t)n);
	return fd;
}

static bool run_for(const char *text, const char *mail, size_t n, unsigned deadline_s)
{
	int fd = message(mail, n);
	bool in_time = command_run(&(struct command){ .text = str_of(text), .name = "anna", .environment = environment, .front = STR("Front: 1\n"),
		.fd = fd, .size = (off_t)n, .deadline_s = deadline_s }, &result);

	close(fd);
	return in_time;
}

static void run(const char *text)
{
	ck_assert(run_for(text, "A: b\r\n\r\nc\rd\r\n", 13, 60));
}

START_TEST(each_end_has_its_meaning)
{
	static const struct {
		const char *text;
		int code;
		const char *words;
	} rows[] = {
		{ "true", 250, "given to the command of anna" },
		{ "sh -c 'cat >/dev/null'", 250, "given" },
		{ "sh -c 'exit 75'", 451, "the command of anna has failed, exit status 75 (try again later)" },
		{ "sh -c 'exit 71'", 451, "the command of anna has failed, exit status 71" },
		{ "sh -c 'exit 67'", 550, "the command of anna has failed, exit status 67 (no such user)" },
		{ "sh -c 'exit 77'", 550, "the command of anna has failed, exit status 77" },
		{ "sh -c 'exit 1'", 554, "the command of anna has failed, exit status 1" },
		{ "sh -c 'exit 127'", 554, "the command of anna has failed, exit status 127" },
		{ "sh -c 'kill -9 $$'", 451, "the command of anna was ended by signal 9" },
		{ "sh -c 'echo \"  one  two\"; echo three >&2; printf \"x\\001y\"; exit 1'", 554, "the command of anna has failed, exit status 1: one two three x?y" },
		{ "/no/such/command", 451, "the command of anna cannot be run: /no/such/command: No such file or directory" },
		{ "/etc", 451, "the command of anna cannot be run: /etc: Permission denied" },
		{ "cat >x", 451, "the command of anna cannot be run: it has signs for a shell" },
		{ "sh -c 'test \"$SENDER\" = a@x'", 250, "given" },
		{ "sh -c 'trap \"exit 9\" PIPE; kill -PIPE $$; exit 3'", 554, "the command of anna has failed, exit status 9" },     /* nothing is ignored */
		{ "sh -c 'test -z \"$(ls /proc/self/fd | tail -n +5)\"'", 250, "given" },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		run(rows[i].text);
		ck_assert_msg(result.code == rows[i].code && !strncmp(result.text, rows[i].words, strlen(rows[i].words)), "%s: %d %s", rows[i].text,
			result.code, result.text);
	}
}
END_TEST

START_TEST(the_message_comes_whole_and_with_unix_lines)
{
	struct buf large = { 0 };

	run("sh -c 'test \"$(od -An -c | tr -d \" \\n\")\" = \"Front:1\\nA:b\\n\\nc\\rd\\n\"'");
	ck_assert_int_eq(result.code, 250);
	while (large.n < 1000000)
		buf_puts(&large, "0123456789012345678901234567890123456789\r\n");
	ck_assert(run_for("sh -c 'test $(wc -c) = $((9 + 23810 * 41))'", large.p, large.n, 60));
	ck_assert_msg(result.code == 250, "%s", result.text);
	ck_assert(run_for("true", large.p, large.n, 60));                       /* it need not read */
	ck_assert_int_eq(result.code, 250);
	ck_assert(run_for("sh -c 'yes | head -c 10000000; exit 1'", large.p, large.n, 60));    /* nor be silent */
	ck_assert_int_eq(result.code, 554);
	ck_assert_uint_lt(strlen(result.text), 400);
	buf_free(&large);
}
END_TEST

START_TEST(who_does_not_end_is_ended)
{
	ck_assert(!run_for("sleep 100", "x", 1, 1));
	ck_assert_int_eq(result.code, 451);
	ck_assert_str_eq(result.text, "the command of anna did not end within 1 s");
	ck_assert(!run_for("yes", "x", 1, 1));
	ck_assert(!run_for("sh -c 'exec >&- 2>&- <&-; sleep 100'", "x", 1, 1));
}
END_TEST

/* It leaves its output to somebody who lives on. */
START_TEST(who_has_ended_is_not_waited_for_because_of_others)
{
	time_t began = time(NULL);

	run("sh -c 'sleep 20 & exit 0'");
	ck_assert_int_eq(result.code, 250);
	run("sh -c '(sleep 1; yes | head -c 1000000; sleep 20) & exit 67'");
	ck_assert_int_eq(result.code, 550);
	ck_assert_int_lt(time(NULL) - began, 10);
}
END_TEST

Suite *deliver_command_suite(void)
{
	Suite *s = suite_create("deliver_command");
	TCase *t = tcase_create("command");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, words_are_parted_without_a_shell);
	tcase_add_test(t, words_have_a_ceiling);
	tcase_add_test(t, each_end_has_its_meaning);
	tcase_add_test(t, the_message_comes_whole_and_with_unix_lines);
	tcase_add_test(t, who_does_not_end_is_ended);
	tcase_add_test(t, who_has_ended_is_not_waited_for_because_of_others);
	suite_add_tcase(s, t);
	return s;
}
