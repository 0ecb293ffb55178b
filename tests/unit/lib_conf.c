/* The reader of settings: values, sources and what is said of mistakes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/conf.h"

Suite *lib_conf_suite(void);

struct target {
	const char *name;
	bool flag;
	unsigned number;
	int64_t pause;
	uint64_t size;
	struct conf_list line, word;
};
#define AT(member) offsetof(struct target, member)
static const struct conf_row rows[] = {
	{ .name = "hostname", .kind = CONF_TEXT, .offset = AT(name), .preset = "here.test", .help = "A name." },
	{ .name = "deliver", .kind = CONF_YESNO, .offset = AT(flag), .preset = "yes", .help = "Whether." },
	{ .name = "smtp_port", .kind = CONF_NUMBER, .offset = AT(number), .preset = "25", .min = 1, .max = 65535, .help = "Which." },
	{ .name = "retry_first", .kind = CONF_DURATION, .offset = AT(pause), .preset = "5m", .min = 1, .help = "When.\nAnd again." },
	{ .name = "message_size", .kind = CONF_SIZE, .offset = AT(size), .preset = "35M", .min = 65536, .help = "How much." },
	{ .name = "route", .kind = CONF_LIST, .elsewhere = "relayhost smarthost", .offset = AT(line), .help = "Where to.", .example = "* smtp://h:25" },
	{ .name = "local_domains", .kind = CONF_WORDS, .offset = AT(word), .preset = "a.test b.test", .help = "What." },
};

static struct conf conf;
static struct target t;

static void setup(void)
{
	ck_assert_int_eq(conf_start(&conf, rows, sizeof rows / sizeof *rows, &t), 0);
	ck_assert(conf_ok(&conf));
}

static void teardown(void)
{
	conf_end(&conf);
}

static void file(const char *text)
{
	conf_text(&conf, "f", str_of(text));
}

static const char *errors(void)
{
	return buf_cstr(&conf.errors);
}

/* What starts us shall start us again then, which it does not for an error in the file. */
START_TEST(a_file_that_may_not_be_opened_for_a_moment_is_no_error_in_it)
{
	struct rlimit all, few;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = (struct rlimit){ .rlim_cur = 0, .rlim_max = all.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	conf_file(&conf, "/dev/null");
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
	ck_assert(!conf_ok(&conf) && conf.for_now);
}
END_TEST

START_TEST(a_file_that_is_not_there_is_an_error)
{
	conf_file(&conf, "/nonexistent/fardel.conf");
	ck_assert(!conf_ok(&conf) && !conf.for_now);
}
END_TEST

START_TEST(durations_are_numbers_with_units)
{
	static const struct { const char *text; int64_t want; } row[] = {
		{ "2s", 2 }, { "5m", 300 }, { "4h", 14400 }, { "5d", 432000 }, { "1w", 604800 }, { "1h30m", 5400 }, { "0", 0 }, { "0s", 0 },
		{ "24855d", 2147472000 },
		{ "", -1 }, { "5", -1 }, { "m", -1 }, { "5x", -1 }, { "5 m", -1 }, { "-5m", -1 }, { "1.5h", -1 }, { "5m3", -1 },
		{ "99999999999999999999d", -1 }, { "24856d", -1 }, { "2147483647s1s", -1 },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		int64_t got = -1;
		bool ok = conf_duration(str_of(row[i].text), &got);

		ck_assert_msg(ok == (row[i].want >= 0), "%s", row[i].text);
		if (ok)
			ck_assert_int_eq(got, row[i].want);
	}
}
END_TEST

START_TEST(sizes_are_octets_or_powers_of_1024)
{
	static const struct { const char *text; bool ok; uint64_t want; } row[] = {
		{ "0", true, 0 }, { "512", true, 512 }, { "10k", true, 10240 }, { "35M", true, 36700160 }, { "2G", true, 2147483648u },
		{ "9223372036854775807", true, 9223372036854775807u }, { "8388607T", true, 9223370937343148032u },
		{ "", false, 0 }, { "M", false, 0 }, { "35MB", false, 0 }, { "-1", false, 0 }, { "8388608T", false, 0 },
		{ "9223372036854775808", false, 0 }, { "1 M", false, 0 },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		uint64_t got = 0;
		ck_assert_msg(conf_size(str_of(row[i].text), &got) == row[i].ok, "%s", row[i].text);
		if (row[i].ok)
			ck_assert_uint_eq(got, row[i].want);
	}
}
END_TEST

START_TEST(presets_hold_when_nothing_is_said)
{
	ck_assert_str_eq(t.name, "here.test");
	ck_assert(t.flag);
	ck_assert_uint_eq(t.number, 25);
	ck_assert_int_eq(t.pause, 300);
	ck_assert_uint_eq(t.size, 36700160);
	ck_assert_uint_eq(t.line.n, 0);
	ck_assert_uint_eq(t.word.n, 2);
	ck_assert_str_eq(t.word.item[1].text, "b.test");
}
END_TEST

START_TEST(a_file_is_lines_of_name_and_value)
{
	file("\xef\xbb\xbf# first\n\n  hostname=x.test  \r\ndeliver = no # for now\n\tsmtp_port\t=\t2525\nmessage_size = 1M");
	ck_assert_str_eq(errors(), "");
	ck_assert_str_eq(t.name, "x.test");
	ck_assert(!t.flag);
	ck_assert_uint_eq(t.number, 2525);
	ck_assert_uint_eq(t.size, 1048576);
}
END_TEST

START_TEST(a_repeated_name_adds_to_a_list)
{
	file("route = a smtp://a:1\nlocal_domains = x.test, y.test\nroute = b smtp://b:2 # why\nlocal_domains = z.test\n");
	ck_assert_str_eq(errors(), "");
	ck_assert_uint_eq(t.line.n, 2);
	ck_assert_str_eq(t.line.item[0].text, "a smtp://a:1");
	ck_assert_str_eq(t.line.item[1].text, "b smtp://b:2");
	ck_assert_str_eq(t.line.item[1].where, "f:3");
	ck_assert_uint_eq(t.word.n, 3);
	ck_assert_str_eq(t.word.item[2].text, "z.test");
}
END_TEST

START_TEST(an_empty_value_empties)
{
	file("hostname =\nlocal_domains =\n");
	ck_assert_str_eq(errors(), "");
	ck_assert_ptr_null(t.name);
	ck_assert_uint_eq(t.word.n, 0);
}
END_TEST

START_TEST(mistakes_are_told_with_line_and_remedy)
{
	static const struct { const char *text, *want; } row[] = {
		{ "\nretry_frist = 5m\n", "f:2: no setting is called \"retry_frist\". The nearest name is retry_first.\n" },
		{ "nonsense = 5m\n", "f:1: no setting is called \"nonsense\". See fardel.conf(5) for those that there are.\n" },
		{ "relayhost = h\n", "f:1: no setting is called \"relayhost\". Here it is route, written in another way: see fardel.conf(5).\n" },
		{ "SMARTHOST = h\n", "f:1: no setting is called \"SMARTHOST\". Here it is route, written in another way: see fardel.conf(5).\n" },
		{ "hostname x\n", "f:1: \"hostname x\" is no setting. Write name = value.\n" },
		{ "hostname = a\nhostname = b\n", "f:2: hostname was set in f:1 already. Remove one of the two lines.\n" },
		{ "retry_first = 5\n", "f:1: retry_first = \"5\" is not a duration. Write numbers with s, m, h or d, as in 5m or 1h30m.\n" },
		{ "retry_first = 0\n", "f:1: retry_first = 0 is too small. Write 1s or more.\n" },
		{ "smtp_port = 65536\n", "f:1: smtp_port = 65536 is too large. Write 65535 or less.\n" },
		{ "smtp_port = http\n", "f:1: smtp_port = \"http\" is not a number. Write digits only, as in 25.\n" },
		{ "message_size = 1k\n", "f:1: message_size = 1k is too small. Write 64k or more.\n" },
		{ "deliver = perhaps\n", "f:1: deliver = \"perhaps\" is neither yes nor no. Write yes or no.\n" },
		{ "hostname = a\033[2Jb\n", "f:1: holds a control character. Write plain text, one setting a line.\n" },
		{ "= x\n", NULL },
		{ "Hostname = x\n", "f:1: no setting is called \"Hostname\". The nearest name is hostname.\n" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		buf_clear(&conf.errors);
		conf_end(&conf);
		setup();
		file(row[i].text);
		ck_assert(!conf_ok(&conf));
		if (row[i].want)
			ck_assert_str_eq(errors(), row[i].want);
	}
}
END_TEST

START_TEST(all_mistakes_are_told_and_the_rest_is_taken)
{
	file("nonsense\nretry_first = 7s\nsmtp_port = x\n");
	ck_assert_ptr_nonnull(strstr(errors(), "f:1:"));
	ck_assert_ptr_nonnull(strstr(errors(), "f:3:"));
	ck_assert_int_eq(t.pause, 7);
}
END_TEST

START_TEST(environment_beats_file_and_options_beat_both)
{
	char *env[] = { (char[]){ "FARDEL_SMTP_PORT=26" }, (char[]){ "FARDEL_HOSTNAME=env.test" }, (char[]){ "SMTP_PORT=1" },
		(char[]){ "FARDEL_ROUTE=a smtp://a:1\nb smtp://b:2" }, NULL };

	conf_option(&conf, "smtp_port = 27");
	conf_environment(&conf, "FARDEL_", env);
	file("smtp_port = 28\nhostname = file.test\nroute = c smtp://c:3\n");
	ck_assert_str_eq(errors(), "");
	ck_assert_uint_eq(t.number, 27);
	ck_assert_str_eq(t.name, "env.test");
	ck_assert_uint_eq(t.line.n, 2);
	ck_assert_str_eq(t.line.item[1].text, "b smtp://b:2");
	ck_assert_str_eq(conf_where(&conf, "hostname"), "FARDEL_HOSTNAME");
	ck_assert_str_eq(conf_where(&conf, "smtp_port"), "-o");
}
END_TEST

START_TEST(a_later_source_replaces_a_list_and_adds_within_itself)
{
	file("local_domains = x.test\nlocal_domains = y.test\n");
	conf_option(&conf, "local_domains = p.test");
	conf_option(&conf, "local_domains=q.test");
	ck_assert_uint_eq(t.word.n, 2);
	ck_assert_str_eq(t.word.item[0].text, "p.test");
	ck_assert_str_eq(t.word.item[1].text, "q.test");
}
END_TEST

START_TEST(the_last_option_of_a_single_value_wins)
{
	conf_option(&conf, "smtp_port = 1");
	conf_option(&conf, "smtp_port = 2");
	ck_assert_str_eq(errors(), "");
	ck_assert_uint_eq(t.number, 2);
}
END_TEST

START_TEST(strange_names_in_the_environment_are_left_alone_but_slips_are_told)
{
	char *strange[] = { (char[]){ "FARDEL_PORT_25_TCP=tcp://10.0.0.1:25" }, (char[]){ "FARDEL_=x" }, (char[]){ "FARDEL_SERVICE_HOST=h" }, NULL };
	char *slip[] = { (char[]){ "FARDEL_HOSTNMAE=x" }, (char[]){ "FARDEL_RELAYHOST=x" }, NULL };

	conf_environment(&conf, "FARDEL_", strange);
	ck_assert_str_eq(errors(), "");
	conf_environment(&conf, "FARDEL_", slip);
	ck_assert_ptr_nonnull(strstr(errors(), "FARDEL_HOSTNMAE: no setting"));
	ck_assert_ptr_nonnull(strstr(errors(), "FARDEL_RELAYHOST: no setting is called \"relayhost\". Here it is route"));
}
END_TEST

START_TEST(a_missing_file_is_an_error_that_names_it)
{
	conf_file(&conf, "/nonexistent/fardel.conf");
	ck_assert_str_eq(errors(), "/nonexistent/fardel.conf: cannot be read: No such file or directory.\n");
}
END_TEST

static char dir[80];

static const char *made(const char *name, const char *text)
{
	static char path[200];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	ck_assert_ptr_nonnull(f = fopen(path, "w"));
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	return path;
}

static void setup_dir(void)
{
	const char *tmp = getenv("TMPDIR");
	char sub[100];

	setup();
	snprintf(dir, sizeof dir, "%.40s/conf.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(sub, sizeof sub, "%s/d", dir);
	ck_assert_int_eq(mkdir(sub, 0700), 0);
}

static void teardown_dir(void)
{
	static const char *const names[] = { "main", "d/a.conf", "d/b.conf", "d/c.off", "d" };
	char path[200];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		remove(path);
	}
	ck_assert_int_eq(rmdir(dir), 0);
	teardown();
}

START_TEST(an_included_file_stands_where_its_name_does)
{
	char want[200];

	made("d/b.conf", "route = b smtp://b:2\n");
	made("d/a.conf", "route = a smtp://a:1\nhostname = a.test\n");
	made("d/c.off", "smtp_port = 99\n");
	conf_file(&conf, made("main", "route = m smtp://m:1\ninclude = d/*.conf # all of them\nroute = z smtp://z:1\ninclude = none/*.conf\n"));
	ck_assert_str_eq(errors(), "");
	ck_assert_uint_eq(t.line.n, 4);
	ck_assert_str_eq(t.line.item[1].text, "a smtp://a:1");
	ck_assert_str_eq(t.line.item[2].text, "b smtp://b:2");
	ck_assert_str_eq(t.line.item[3].text, "z smtp://z:1");
	ck_assert_uint_eq(t.number, 25);
	snprintf(want, sizeof want, "%s/d/a.conf:2", dir);
	ck_assert_str_eq(conf_where(&conf, "hostname"), want);
}
END_TEST

START_TEST(what_is_wrong_with_an_included_file_is_told_with_its_place)
{
	static const struct { const char *main, *a, *want; } row[] = {
		{ "include = d/a.conf\n", "smtp_port = x\n", "/d/a.conf:1: smtp_port" },
		{ "include = d/b.conf\n", "", "/d/b.conf: cannot be read: No such file" },
		{ "include =\n", "", "/main:1: include needs the path" },
		{ "include = main\n", "", "/main:1: the 9th file inside each other. Does one of them include itself?" },
		{ "include = d/a.conf\ninclude = d/a.conf\n", "hostname = x.test\n", "hostname was set in " },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		conf_end(&conf);
		setup();
		made("d/a.conf", row[i].a);
		conf_file(&conf, made("main", row[i].main));
		ck_assert_msg(strstr(errors(), row[i].want), "%zu: %s", i, errors());
	}
	conf_end(&conf);
	setup();
	conf_option(&conf, "include = /etc/passwd");
	ck_assert_str_eq(errors(), "-o: include is for files. Name a file with -c.\n");
}
END_TEST

START_TEST(the_environment_may_name_a_file_that_holds_the_value)
{
	char one[200], two[200], *env[] = { one, two, NULL };

	snprintf(one, sizeof one, "FARDEL_HOSTNAME_FILE=%s", made("d/a.conf", " secret.test\n"));
	snprintf(two, sizeof two, "FARDEL_ROUTE_FILE=%s", made("d/b.conf", "a smtp://a:1\nb smtp://b:2\n"));
	conf_environment(&conf, "FARDEL_", env);
	ck_assert_str_eq(errors(), "");
	ck_assert_str_eq(t.name, "secret.test");
	ck_assert_uint_eq(t.line.n, 2);
	ck_assert_str_eq(conf_where(&conf, "hostname"), "FARDEL_HOSTNAME_FILE");
	snprintf(one, sizeof one, "FARDEL_HOSTNAME_FILE=/nonexistent/name");
	conf_environment(&conf, "FARDEL_", env);
	ck_assert_str_eq(errors(), "FARDEL_HOSTNAME_FILE: /nonexistent/name cannot be read: No such file or directory.\n");
}
END_TEST

START_TEST(what_is_printed_can_be_read_again)
{
	struct buf out = { 0 };
	struct conf again;
	struct target u;

	file("hostname = x.test\nroute = a smtp://a:1\nroute = b smtp://b:2\nretry_first = 1h30m\nlocal_domains =\n");
	ck_assert(conf_print(&conf, &out));
	ck_assert_int_eq(conf_start(&again, rows, sizeof rows / sizeof *rows, &u), 0);
	conf_text(&again, "again", buf_view(&out));
	ck_assert_str_eq(buf_cstr(&again.errors), "");
	ck_assert_str_eq(u.name, "x.test");
	ck_assert_int_eq(u.pause, 5400);
	ck_assert_uint_eq(u.number, 25);
	ck_assert_uint_eq(u.line.n, 2);
	ck_assert_str_eq(u.line.item[1].text, "b smtp://b:2");
	ck_assert_uint_eq(u.word.n, 0);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "# When.\n# And again.\n# (from f:4)\nretry_first = 1h30m\n"));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "#smtp_port = 25\n"));
	conf_end(&again);
	buf_free(&out);
}
END_TEST

START_TEST(distance_counts_slips_of_typing)
{
	static const struct { const char *a, *b; unsigned want; } row[] = {
		{ "", "", 0 }, { "a", "", 1 }, { "", "ab", 2 }, { "queue", "queue", 0 }, { "qeueu", "queue", 2 }, { "quuee", "queue", 1 },
		{ "log", "lag", 1 }, { "kitten", "sitting", 3 }, { "smtp_prot", "smtp_port", 1 },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		ck_assert_uint_eq(conf_distance(str_of(row[i].a), str_of(row[i].b)), row[i].want);
}
END_TEST

START_TEST(long_and_hostile_text_is_survived)
{
	size_t n = 200000;
	char *text = malloc(n + 1);

	ck_assert_ptr_nonnull(text);
	memset(text, 'x', n);
	text[n] = '\0';
	file(text);
	for (size_t i = 0; i < n; i += 2)
		text[i] = '\n';
	file(text);
	conf_option(&conf, text);
	conf_option(&conf, "");
	conf_option(&conf, "=");
	conf_text(&conf, "f", (struct str){ "a\0b = c", 7 });
	ck_assert(!conf_ok(&conf));
	free(text);
}
END_TEST

Suite *lib_conf_suite(void)
{
	Suite *s = suite_create("lib_conf");
	TCase *c = tcase_create("conf");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, a_file_that_may_not_be_opened_for_a_moment_is_no_error_in_it);
	tcase_add_test(c, a_file_that_is_not_there_is_an_error);
	tcase_add_test(c, durations_are_numbers_with_units);
	tcase_add_test(c, sizes_are_octets_or_powers_of_1024);
	tcase_add_test(c, presets_hold_when_nothing_is_said);
	tcase_add_test(c, a_file_is_lines_of_name_and_value);
	tcase_add_test(c, a_repeated_name_adds_to_a_list);
	tcase_add_test(c, an_empty_value_empties);
	tcase_add_test(c, mistakes_are_told_with_line_and_remedy);
	tcase_add_test(c, all_mistakes_are_told_and_the_rest_is_taken);
	tcase_add_test(c, environment_beats_file_and_options_beat_both);
	tcase_add_test(c, a_later_source_replaces_a_list_and_adds_within_itself);
	tcase_add_test(c, the_last_option_of_a_single_value_wins);
	tcase_add_test(c, strange_names_in_the_environment_are_left_alone_but_slips_are_told);
	tcase_add_test(c, a_missing_file_is_an_error_that_names_it);
	tcase_add_test(c, what_is_printed_can_be_read_again);
	tcase_add_test(c, distance_counts_slips_of_typing);
	tcase_add_test(c, long_and_hostile_text_is_survived);
	suite_add_tcase(s, c);
	c = tcase_create("files");
	tcase_add_checked_fixture(c, setup_dir, teardown_dir);
	tcase_add_test(c, an_included_file_stands_where_its_name_does);
	tcase_add_test(c, what_is_wrong_with_an_included_file_is_told_with_its_place);
	tcase_add_test(c, the_environment_may_name_a_file_that_holds_the_value);
	suite_add_tcase(s, c);
	return s;
}
