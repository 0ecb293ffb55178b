/* Selections of `fardel queue`: their grammar, and whom they mean in a real queue; and what list, show and shape print
 * (tests/golden/queue-*.txt; FARDEL_GOLDEN=write writes them anew). */
#include "cmd/select.h"

#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/views.h"
#include "lib/file.h"
#include "lib/loop.h"
#include "tests/queue_rig.h"

Suite *cmd_select_suite(void);

enum { WORDS = 12 };

/* "a b c" as an argv. */
static int split(const char *text, char room[400], char *argv[WORDS + 1])
{
	char *at = room;
	int n = 0;

	snprintf(room, 400, "%s", text);
	while (*at && n < WORDS) {
		argv[n++] = at;
		at += strcspn(at, " ");
		if (*at)
			*at++ = '\0';
	}
	return n;
}

/* NULL, or what is wrong; "?" for a word that is none of ours. */
static const char *take(struct selection *s, int argc, char **argv)
{
	const char *why = NULL;

	*s = (struct selection){ 0 };
	for (int i = 0; i < argc && !why; i++)
		if (!select_option(s, argc, argv, &i, &why))
			why = argv[i][0] == '-' ? "?" : select_word(s, argv[i]);
	return why;
}

static const struct { const char *text, *wrong; } grammar[] = {
	{ "", NULL }, { "all", NULL }, { "6b04 a@x.example y.example", NULL }, { "--older 2d --younger=3d", NULL }, { "--older", "needs a value" },
	{ "--older x", "needs an age" }, { "--older 0", "needs an age" }, { "--older -1", "needs an age" }, { "--older=", "needs an age" },
	{ "--larger 1M --smaller=2M", NULL }, { "--larger x", "needs a size" }, { "--larger 0", "needs a size" },
	{ "--state held", NULL }, { "--state held,due,new", NULL }, { "--state HELD", NULL }, { "--state asleep", "is held, due" },
	{ "--state held,", "is held, due" }, { "--state=", "is held, due" }, { "--from <>", NULL }, { "--from=", "needs an address" }, { "--to=", "needs an address" },
	{ "--domain @", "needs a domain" }, { "--domain=x.example", NULL }, { "--id 6b04", NULL }, { "--colour red", "?" }, { "--olderr 2d", "?" },
};

START_TEST(a_selection_is_said_in_words_and_options)
{
	char room[400], *argv[WORDS + 1];
	struct selection s;
	int argc = split(grammar[_i].text, room, argv);
	const char *why = take(&s, argc, argv);

	if (!grammar[_i].wrong)
		ck_assert_msg(!why, "\"%s\": %s", grammar[_i].text, why);
	else
		ck_assert_msg(why && strstr(why, grammar[_i].wrong), "\"%s\": %s", grammar[_i].text, why ? why : "nothing wrong");
	ck_assert(select_is_empty(&s) == !*grammar[_i].text || why);
}
END_TEST

START_TEST(more_words_than_there_is_room_for_are_refused)
{
	static struct selection s;

	for (int i = 0; i < SELECT_WORDS; i++)
		ck_assert_ptr_null(select_word(&s, "a.example"));
	ck_assert_ptr_nonnull(select_word(&s, "b.example"));
	ck_assert_ptr_null(select_word(&s, "all"));
}
END_TEST

/* queue drop "$ID" --yes of a script whose ID is empty, or one who is called so */
START_TEST(an_empty_word_or_id_does_not_mean_everything)
{
	static char option[] = "--id", nothing[] = "", all[] = "all";
	char *empty[] = { option, nothing }, *called_all[] = { option, all };
	struct selection s = { 0 };
	const char *why;
	int i = 0;

	ck_assert_ptr_nonnull(select_word(&s, ""));
	ck_assert(select_option(&s, 2, empty, &i, &why) && why);
	ck_assert(select_is_empty(&s));
	i = 0;
	ck_assert(select_option(&s, 2, called_all, &i, &why) && !why);
	ck_assert(!s.all && s.nwords == 1);
}
END_TEST

/* ---- a queue: A waits for two destinations, B is on hold, C has been tried, D comes from <> and is large, E is due */

#define ID_A "6b0c0000aaaaaaaaaaaaaaaa"
#define ID_B "6b0b0000bbbbbbbbbbbbbbbb"
#define ID_C "6b0ae000cccccccccccccccc"
#define ID_D "6b0cc600dddddddddddddddd"
#define ID_E "6b0cc800eeeeeeeeeeeeeeee"

static void put(const char *from, const char *to, const char *id, const char *now_called, const char *dest)
{
	char name[300];
	static char large[3000];

	memset(large, 'x', sizeof large - 3);
	memcpy(large, "Subject: x\r\n\r\n", 14);
	memcpy(large + sizeof large - 3, "\r\n", 3);
	ck_assert(rig_put_body(from, to, id[5] == '6' ? large : "Subject: y\r\nX: \xc3\xa4\x1b[2J\r\n\r\nbody\r\n", id, 0));
	snprintf(name, sizeof name, "%s", rig_name(dest));
	ck_assert_ptr_nonnull(strstr(name, id));
	if (now_called)
		rig_mv(name, now_called);
}

static void open_queue(void)
{
	static const struct rig_answer rows[] = { { "c@y.example", RESULT_DEFERRED, BLAME_RCPT, 450, "4.2.0 come back \x1b[31m later" } };

	setenv("TZ", "UTC", 1);
	tzset();
	rig_open();
	rig_crash();
	rig.conf.deliver = false;
	rig_start();
	put("a@home.example", "c@y.example", ID_C, NULL, "y.example");
	rig_crash();
	rig_answers(rows, 1);
	rig.conf.deliver = true;
	rig_start();
	rig_crash();
	rig.conf.deliver = false;
	rig_start();
	rig_mv(rig_name("y.example"), "1796000300.1." ID_C ".y.example");
	put("a@home.example", "a@one.example b@two.example", ID_A, "1796000900.0." ID_A ".+", "+");
	put("b@home.example", "b@three.example", ID_B, "1796000000.H." ID_B ".three.example", "three.example");
	put("", "d@four.example", ID_D, "1796000600.0." ID_D ".four.example", "four.example");
	put("e@other.example", "e@five.example", ID_E, NULL, "five.example");
}

static const struct { const char *text, *found; } choices[] = {
	{ "all", "ABCDE" }, { "", "ABCDE" }, { ID_A, "A" }, { "6b0c", "ADE" }, { "6b0", "" }, { ID_A " " ID_C, "AC" },
	{ "b@two.example", "A" }, { "TWO.example", "A" }, { "B@two.example", "" }, { "y.example three.example", "BC" },
	{ "--from a@home.example", "AC" }, { "--from home.example", "ABC" }, { "--from @HOME.example", "ABC" }, { "--from <>", "D" }, { "--from=<>", "D" },
	{ "--to b@two.example", "A" }, { "--to two.example", "A" }, { "--domain two.example", "A" }, { "--domain four.example", "D" },
	{ "--domain example", "" }, { "--larger 1k", "D" }, { "--smaller 1k", "ABCE" }, { "--state held", "B" }, { "--state due", "E" },
	{ "--state new", "ADE" }, { "--state deferred", "ACD" }, { "--state held,due", "BE" }, { "--older 1d", "BC" }, { "--younger 1d", "ADE" },
	{ "--older 1d --younger 40h", "BC" }, { "--from home.example --state held", "B" }, { "--id 6b0b", "B" }, { "all --state due", "E" },
	{ "y.example --from b@home.example", "" }, { "--domain three.example --older 1d --smaller 1k --from home.example", "B" },
};

START_TEST(a_selection_means_what_all_of_it_is_true_of)
{
	static const char *const ids[] = { ID_A, ID_B, ID_C, ID_D, ID_E };
	char room[400], *argv[WORDS + 1], found[8] = "";
	struct selection s;
	struct listing l;
	int argc = split(choices[_i].text, room, argv);
	size_t n = 0;

	open_queue();
	ck_assert_ptr_null(take(&s, argc, argv));
	ck_assert_int_eq(listing_read(&l, rig.dir, "test"), 0);
	for (size_t first = 0, end; first < l.n; first = end) {
		struct mail *m;

		end = listing_end(&l, first);
		select_mark(&s, &l, first, end, &m);
		mail_free(m);
	}
	for (size_t k = 0; k < 5; k++)
		for (size_t i = 0; i < l.n; i++)
			if (l.line[i].meant && !strcmp(l.line[i].entry.id, ids[k]))
				found[n++] = (char)('A' + k);
	ck_assert_msg(!strcmp(found, choices[_i].found), "\"%s\" means \"%s\", not \"%s\"", choices[_i].text, found, choices[_i].found);
	listing_free(&l);
	rig_close();
}
END_TEST

/* ---- what is renamed while one looks */

/* readdir() of the whole program: as where this name was given and had gone before it was reached, for so many looks. */
static const char *unmet;
static unsigned unmet_looks;

static struct dirent *real_readdir(DIR *d)
{
	static struct dirent *(*real)(DIR *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, sizeof(long) == 4 && dlsym(RTLD_NEXT, "readdir64") ? "readdir64" : "readdir");
	return real(d);
}

struct dirent *readdir(DIR *d)
{
	struct dirent *e = real_readdir(d);

	if (!e || !unmet_looks || strncmp(e->d_name, unmet, strlen(unmet)) != 0)
		return e;
	unmet_looks--;
	return real_readdir(d);
}

START_TEST(what_one_look_does_not_meet_the_next_one_does)
{
	struct listing l;
	size_t n;

	open_queue();
	ck_assert_int_eq(listing_read(&l, rig.dir, "test"), 0);
	n = l.n;
	listing_free(&l);
	unmet = "1796000300.1." ID_C;
	unmet_looks = 1;
	ck_assert_int_eq(listing_read(&l, rig.dir, "test"), 0);
	ck_assert_uint_eq(unmet_looks, 0);
	ck_assert_uint_eq(l.n, n);
	listing_free(&l);
	rig_close();
}
END_TEST

static size_t first_of(const struct listing *l, const char *id)
{
	size_t i = 0;

	while (strcmp(l->line[i].entry.id, id) != 0)
		i++;
	return i;
}

START_TEST(a_message_that_is_renamed_after_the_look_is_read)
{
	struct listing l;
	struct mail *m;
	const char *why;
	size_t at;

	open_queue();
	ck_assert_int_eq(listing_read(&l, rig.dir, "test"), 0);
	at = first_of(&l, ID_C);
	rig_mv(rig_name("y.example"), "1796009900.2." ID_C ".y.example");
	m = listing_open(&l, at, at + 1, &why);
	ck_assert(m && !why);
	mail_free(m);
	rig_rm("1796009900.2." ID_C ".y.example");
	m = listing_open(&l, at, at + 1, &why);
	ck_assert(!m && !why);
	listing_free(&l);
	rig_close();
}
END_TEST

/* ---- what is printed */

static const struct view {
	const char *golden;
	int (*run)(const struct settings *, const struct queue_words *);
	const char *words;
	bool json, body;
	int status;
} views[] = {
	{ "queue-list.txt", queue_list, "", false, false, 0 },
	{ "queue-list-json.txt", queue_list, "", true, false, 0 },
	{ "queue-list-none.txt", queue_list, "nobody@x.example", false, false, 1 },
	{ "queue-show.txt", queue_show, "y.example one.example", false, false, 0 },
	{ "queue-show-body.txt", queue_show, "y.example", false, true, 0 },
	{ "queue-shape.txt", queue_shape, "", false, false, 0 },
	{ "queue-shape-json.txt", queue_shape, "--older 1d", true, false, 0 },
};

static void read_back(int fd, struct buf *out)
{
	char block[4096];
	ssize_t n;

	lseek(fd, 0, SEEK_SET);
	while ((n = read(fd, block, sizeof block)) > 0)
		buf_add(out, block, (size_t)n);
}

/* stdout of a view, in a file without a name. */
static int print_view(const struct view *v, struct buf *out)
{
	char room[400], *argv[WORDS + 1];
	struct queue_words q = { .json = v->json, .body = v->body };
	struct settings set = { .queue = rig.dir, .queue_lifetime = 432000 };
	FILE *f = tmpfile();
	int argc = split(v->words, room, argv), status, old;

	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_null(take(&q.which, argc, argv));
	fflush(stdout);
	old = dup(1);
	dup2(fileno(f), 1);
	status = v->run(&set, &q);
	fflush(stdout);
	dup2(old, 1);
	close(old);
	read_back(fileno(f), out);
	fclose(f);
	return status;
}

START_TEST(a_view_looks_as_it_is_written_down)
{
	const struct view *v = &views[_i];
	struct buf said = { 0 }, wanted = { 0 };
	char path[200];
	int fd;

	open_queue();
	ck_assert_int_eq(print_view(v, &said), v->status);
	rig_close();
	snprintf(path, sizeof path, "tests/golden/%s", v->golden);
	if (getenv("FARDEL_GOLDEN")) {
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		ck_assert(fd != -1 && file_write(fd, said.p, said.n) == 0);
		close(fd);
	}
	ck_assert_int_eq(file_read_all(AT_FDCWD, path, &wanted), 0);
	ck_assert_msg(str_eq(buf_view(&said), buf_view(&wanted)), "%s says otherwise:\n%s", path, buf_cstr(&said));
	buf_free(&said);
	buf_free(&wanted);
}
END_TEST

START_TEST(spans_and_sizes_are_short_words)
{
	static const struct { int64_t s; const char *text; } spans[] = {
		{ 0, "0 s" }, { 59, "59 s" }, { 60, "1 min" }, { 3599, "59 min" }, { 3600, "1 h 0 min" }, { 86399, "23 h 59 min" }, { 90000, "1 d 1 h" },
	};
	static const struct { uint64_t n; const char *text; } sizes[] = {
		{ 0, "0" }, { 1023, "1023" }, { 1024, "1.0k" }, { 10240, "10k" }, { 1 << 20, "1.0M" }, { UINT64_MAX, "16E" },
	};
	char span[40], size[16];

	for (size_t i = 0; i < sizeof spans / sizeof *spans; i++)
		ck_assert_str_eq(listing_span(spans[i].s, span), spans[i].text);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		ck_assert_str_eq(listing_size(sizes[i].n, size), sizes[i].text);
}
END_TEST

Suite *cmd_select_suite(void)
{
	Suite *s = suite_create("cmd_select");
	TCase *c = tcase_create("select");

	tcase_add_loop_test(c, a_selection_is_said_in_words_and_options, 0, sizeof grammar / sizeof *grammar);
	tcase_add_test(c, more_words_than_there_is_room_for_are_refused);
	tcase_add_test(c, an_empty_word_or_id_does_not_mean_everything);
	tcase_add_loop_test(c, a_selection_means_what_all_of_it_is_true_of, 0, sizeof choices / sizeof *choices);
	tcase_add_test(c, what_one_look_does_not_meet_the_next_one_does);
	tcase_add_test(c, a_message_that_is_renamed_after_the_look_is_read);
	tcase_add_loop_test(c, a_view_looks_as_it_is_written_down, 0, sizeof views / sizeof *views);
	tcase_add_test(c, spans_and_sizes_are_short_words);
	suite_add_tcase(s, c);
	return s;
}
