/* What names stand for: the form of the files, and every way that an address can go. */
#include "deliver/alias.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/log.h"
#include "parse.h"
#include "tests/tree.h"

Suite *deliver_alias_suite(void);

static struct str local_domains[] = { { "example.org", 11 }, { "example.net", 11 } };
static struct route_rule rules[2];
static struct routes routes;
static struct aliases *aliases;
static struct facts *facts;
static struct task wake;
static struct buf steps;
static char dir[200];

static void nothing(struct task *t) { (void)t; }

/* Mailboxes: anna, ben, carl. */
static void ask_mailbox(struct fact_source *s, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	static const char *const there[] = { "anna", "ben", "carl", "postmaster" };
	struct record record = { .data = STR("/mail") };
	struct fact f = { .outcome = NO_NAME, .record = &record };

	(void)s;
	(void)kind;
	for (size_t i = 0; i < sizeof there / sizeof *there; i++)
		if (str_eq_nocase(name, str_of(there[i])))
			f = (struct fact){ .outcome = FOUND, .n = 1, .record = &record };
	if (str_eq(name, STR("hangs")))
		f = (struct fact){ .outcome = UNKNOWN, .why = "no answer" };
	fact_answer(ticket, &f);
}
static struct fact_source mailboxes = { ask_mailbox };

static struct alias_config config = { .routes = &routes, .origin = "example.org", .separator = '+' };

static void begin(void)
{
	aliases_free(aliases);
	aliases = aliases_new(&config);
	ck_assert_ptr_nonnull(aliases);
	routes.also_local = aliases_have_domain;
	routes.also_arg = aliases;
}

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	log_open("/dev/null");
	loop_virtual_clock(1796000000);
	snprintf(dir, sizeof dir, "%.150s/alias.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	routes = (struct routes){ .local = local_domains, .nlocal = 2, .rule = rules };
	config = (struct alias_config){ .routes = &routes, .origin = "example.org", .separator = '+' };
	wake.run = nothing;
	facts_source(FACT_MAILBOX, &mailboxes);
	facts = facts_new(&wake, ALIAS_FACTS);
	begin();
}

static void teardown(void)
{
	facts_free(facts);
	facts_source(FACT_MAILBOX, NULL);
	aliases_free(aliases);
	aliases = NULL;
	buf_free(&steps);
	tree_remove(dir);
}

static const char *in_dir(const char *name)
{
	static char path[2][300];
	static unsigned at;

	at = !at;
	snprintf(path[at], sizeof path[at], "%s/%s", dir, name);
	return path[at];
}

static const char *put(const char *name, const char *text)
{
	static unsigned turn;
	const char *path = in_dir(name);
	struct timespec t[2] = { { .tv_sec = 1700000000 + turn }, { .tv_sec = 1700000000 + turn } };
	FILE *f = fopen(path, "w");

	turn++;
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(utimensat(AT_FDCWD, path, t, 0), 0);
	return path;
}

/* "a@x b@y", "none", "discard", "wait", or "code enhanced". A list has "sender: " in front. */
static const char *expands(const char *address)
{
	static char out[4000];
	struct expansion x = { .steps = &steps, .forwards = true };
	struct addr a = { str_of(address), STR("") };
	size_t n = 0;

	if (strchr(address, '@'))
		ck_assert_ptr_null(parse_address(str_of(address), true, &a));
	buf_clear(&steps);
	out[0] = 0;
	switch (alias_expand(aliases, facts, &a, &x)) {
	case ALIAS_WAIT:
		strncat(out, "wait", sizeof out - 1);
		break;
	case ALIAS_NONE:
		strncat(out, "none", sizeof out - 1);
		break;
	case ALIAS_FAILED:
		snprintf(out, sizeof out, "%d %s", x.why.code, x.why.enhanced);
		break;
	case ALIAS_FOUND:
		if (!x.n)
			strncat(out, "discard", sizeof out - 1);
		if (x.kind == ALIAS_LIST)
			n = (size_t)snprintf(out, sizeof out, "%s: ", x.owner);
		ck_assert(x.kind == ALIAS_LIST || (x.n == 1) == (x.kind == ALIAS_ONE));
		for (size_t i = 0; i < x.n && n < sizeof out; i++)
			n += (size_t)snprintf(out + n, sizeof out - n, "%s" STR_FMT "@" STR_FMT, i ? " " : "", STR_ARG(x.to[i].local), STR_ARG(x.to[i].domain));
		break;
	}
	expansion_free(&x);
	return out;
}

static const char aliases_text[] =
	"# as it came with the system\n"
	"postmaster: root\n"
	"Root: anna # a comment\n"
	"\n"
	"two:\tanna,\n"
	"\tben ,\n"
	"# between\n"
	"   carl@Elsewhere.Test\n"
	"keep: \\keep, far@elsewhere.test\n"
	"same: same\n"
	"qu: \"anna\", \"two words\"@elsewhere.test\n"
	"\"with blank\": ben\n"
	"deep: two, root, anna\n"
	"gone: /dev/null\n"
	"pipe: \"|/bin/prog -a, b\", anna\n"
	"onlypipe: |prog\n"
	"file: /var/mail/x\n"
	"a: b\nb: c\nc: a\n"
	"half: half2, anna\nhalf2: half\n"
	"staff: anna, ben@elsewhere.test\n"
	"owner-staff: carl\n"
	"tag+x: ben\ntag: anna\n"
	"here: anna@example.net\n"
	"self: self@example.org\n"
	"d1:d2\nd2:d3\nd3:d4\nd4:d5\nd5:d6\nd6:d7\nd7:d8\nd8:d9\nd9:d10\nd10:d11\nd11:anna\n";

static const char virtual_text[] =
	"info@shop.test: anna, far@elsewhere.test\n"
	"ben@example.org: carl\n"
	"tag@shop.test anna\n"                  /* as Postfix writes it */
	"@shop2.test: ben\n"
	"Anna@shop2.test: carl\n"
	"@example.net: anna\n"
	"loop@shop.test: loop2@shop.test\nloop2@shop.test: loop@shop.test\n"
	"lost@shop.test: nobody@shop.test\n"
	"hang@shop.test: hangs@example.net\n";

static const struct {
	const char *address, *to;
} ways[] = {
	{ "anna@example.org", "none" },
	{ "nobody@example.org", "none" },
	{ "x@elsewhere.test", "none" },
	{ "root@example.org", "anna@example.org" },
	{ "ROOT@Example.NET", "anna@example.net" },
	{ "root+cron@example.org", "anna@example.org" },
	{ "postmaster", "anna@example.org" },
	{ "postmaster@example.net", "anna@example.net" },
	{ "two@example.org", "anna@example.org carl@example.org carl@elsewhere.test" },         /* ben is carl there */
	{ "two@example.net", "anna@example.net ben@example.net carl@elsewhere.test" },
	{ "keep@example.org", "keep@example.org far@elsewhere.test" },
	{ "same@example.org", "same@example.org" },
	{ "self@example.org", "self@example.org" },
	{ "qu@example.org", "anna@example.org \"two words\"@elsewhere.test" },
	{ "\"With Blank\"@example.org", "carl@example.org" },
	{ "\"root\"@example.org", "anna@example.org" },
	{ "\"info@shop.test\"@example.org", "none" },
	{ "deep@example.org", "anna@example.org carl@example.org carl@elsewhere.test" },        /* each once */
	{ "gone@example.org", "discard" },
	{ "pipe@example.org", "anna@example.org" },
	{ "onlypipe@example.org", "451 4.3.5" },
	{ "file@example.org", "451 4.3.5" },
	{ "a@example.org", "554 5.4.6" },
	{ "half@example.org", "anna@example.org" },
	{ "staff@example.org", "owner-staff@example.org: anna@example.org ben@elsewhere.test" },
	{ "staff+x@example.net", "owner-staff@example.net: anna@example.net ben@elsewhere.test" },
	{ "owner-staff@example.org", "carl@example.org" },
	{ "tag+x@example.org", "carl@example.org" },
	{ "tag+y@example.org", "anna@example.org" },
	{ "tag@example.org", "anna@example.org" },
	{ "here@example.org", "anna@example.net" },
	{ "d2@example.org", "anna@example.org" },
	{ "d1@example.org", "451 4.3.5" },
	/* the table of virtual users */
	{ "info@shop.test", "anna@example.org far@elsewhere.test" },
	{ "INFO+x@Shop.Test", "anna@example.org far@elsewhere.test" },
	{ "tag@shop.test", "anna@example.org" },
	{ "root@shop.test", "550 5.1.1" },
	{ "postmaster@shop.test", "anna@example.org" },
	{ "postmaster@shop2.test", "carl@example.org" },
	{ "any.body@shop2.test", "carl@example.org" },
	{ "anna@shop2.test", "carl@example.org" },
	{ "ben@example.org", "carl@example.org" },
	{ "carl@example.net", "none" },                         /* a mailbox is nearer than "all others" */
	{ "zoe@example.net", "anna@example.net" },
	{ "loop@shop.test", "554 5.4.6" },
	{ "lost@shop.test", "550 5.1.1" },
	{ "hangs@example.net", "451 4.3.0" },
};

START_TEST(each_address_goes_its_way)
{
	ck_assert(aliases_take(aliases, str_of(aliases_text), str_of(virtual_text)));
	ck_assert_str_eq(buf_cstr((struct buf *)(uintptr_t)aliases_errors(aliases)), "");
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		ck_assert_msg(!strcmp(expands(ways[i].address), ways[i].to), "%s: %s, not %s\n%s", ways[i].address, expands(ways[i].address), ways[i].to, buf_cstr(&steps));
}
END_TEST

START_TEST(a_virtual_domain_is_ours_but_has_no_mailboxes)
{
	struct route r;

	ck_assert(aliases_take(aliases, str_of(aliases_text), str_of(virtual_text)));
	ck_assert(aliases_have_domain(aliases, STR("shop.test")));
	ck_assert(aliases_have_domain(aliases, STR("SHOP.test")));
	ck_assert(!aliases_have_domain(aliases, STR("example.net")));   /* named, but local already */
	ck_assert(!aliases_have_domain(aliases, STR("")));
	ck_assert(route_is_local(&routes, STR("shop.test")));
	route_find(&routes, STR("shop2.test"), NULL, &r);
	ck_assert_int_eq(r.kind, ROUTE_LOCAL);
	route_find(&routes, STR("shop3.test"), NULL, &r);
	ck_assert_int_eq(r.kind, ROUTE_MX);
}
END_TEST

START_TEST(names_of_a_domain_of_origin_that_is_elsewhere_have_aliases)
{
	config.origin = "company.test";
	begin();
	ck_assert(aliases_take(aliases, STR("root: root@company.test\ncron: anna\n"), STR("")));
	ck_assert_str_eq(expands("root@company.test"), "root@company.test");
	ck_assert_str_eq(expands("root@example.org"), "root@company.test");
	ck_assert_str_eq(expands("cron@company.test"), "anna@company.test");
	ck_assert_str_eq(expands("other@company.test"), "none");
}
END_TEST

START_TEST(postmaster_is_somebody_whatever_the_alias_says)
{
	ck_assert(aliases_take(aliases, STR("postmaster: root\nhostmaster: root\n"), STR("")));
	ck_assert_str_eq(expands("postmaster@example.org"), "none");            /* root has no mailbox */
	ck_assert_str_eq(expands("hostmaster@example.org"), "root@example.org");
	ck_assert(aliases_take(aliases, STR("postmaster: root, anna\n"), STR("")));
	ck_assert_str_eq(expands("postmaster@example.org"), "anna@example.org");
	ck_assert(aliases_take(aliases, STR("postmaster: postmaster, far@x.test\n"), STR("")));
	ck_assert_str_eq(expands("Postmaster@example.org"), "postmaster@example.org far@x.test");
	config.own_postmaster = true;
	begin();
	ck_assert(aliases_take(aliases, STR("postmaster: anna\n"), STR("")));
	ck_assert_str_eq(expands("postmaster@example.org"), "none");
}
END_TEST

START_TEST(another_separator_and_none)
{
	config.separator = '-';
	begin();
	ck_assert(aliases_take(aliases, STR("root: anna\n"), STR("")));
	ck_assert_str_eq(expands("root-x@example.org"), "anna@example.org");
	ck_assert_str_eq(expands("root+x@example.org"), "none");
	config.separator = 0;
	begin();
	ck_assert(aliases_take(aliases, STR("root: anna\n"), STR("")));
	ck_assert_str_eq(expands("root-x@example.org"), "none");
}
END_TEST

/* ---- what is wrong with a file */

static const struct {
	const char *aliases, *virtual, *error;          /* error: "" is none */
} files[] = {
	{ "", "", "" },
	{ "# nothing", "\n\n", "" },
	{ "root: anna", "", "" },                                       /* no line end */
	{ "root: anna\r\nben: carl\r\n", "", "" },
	{ "root :anna\n", "", "" },
	{ "root: anna,\n ben\n", "", "" },
	{ "root anna\n", "", "aliases:1: has no colon" },
	{ "x: y\n\nroot:\n", "", "aliases:3: root stands for nothing" },
	{ "root: # nobody\n", "", "aliases:1: root stands for nothing" },
	{ ": anna\n", "", "aliases:1: the name \"\" is empty" },
	{ " root: anna\n", "", "aliases:1: begins with a blank" },
	{ "root: anna ben\n", "", "aliases:1: \"anna ben\" has a blank in it" },
	{ "root: anna,\n\tben,\n\tAnna <a@x.test>\n", "", "aliases:3: \"Anna <a@x.test>\" has a blank in it" },
	{ "root: ,anna\n", "", "aliases:1: has a comma with nothing before it" },
	{ "root: \"anna\n", "", "aliases:1: has a quote that is not closed" },
	{ "root: a@b@c\n", "", "aliases:1: \"a@b@c\" is no target" },
	{ "root: a..b\n", "", "aliases:1: \"a..b\" is no target" },
	{ "root: :fail: gone\n", "", "aliases:1: \":fail: gone\" has a blank" },
	{ "root: :include:list\n", "", "aliases:1: :include:list needs the whole path" },
	{ "root: b\xc3\xbc@x.test\n", "", "aliases:1: \"b??@x.test\" is no target" },
	{ "a@example.org: anna\n", "", "aliases:1: the name \"a@example.org\" is an address" },
	{ "two words: anna\n", "", "aliases:1: the name \"two words\"" },
	{ "", "anna: ben\n", "virtual:1: the name \"anna\"" },
	{ "", "@: ben\n", "virtual:1: the name \"@\"" },
	{ "", "a@x.test ben\n@y.test : carl\nb@y.test\t:anna", "" },
	{ "", "a@x.test\n", "virtual:1: a@x.test stands for nothing" },
};

START_TEST(what_is_wrong_is_said_with_file_and_line_and_nothing_of_it_is_taken)
{
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		const struct buf *errors;

		ck_assert(aliases_take(aliases, STR("old: anna\n"), STR("")));
		aliases_take(aliases, str_of(files[i].aliases), str_of(files[i].virtual));
		errors = aliases_errors(aliases);
		if (!files[i].error[0])
			ck_assert_msg(!errors->n, "%s: " STR_FMT, files[i].aliases, STR_ARG(buf_view(errors)));
		else
			ck_assert_msg(errors->n > strlen(files[i].error) && !memcmp(errors->p, files[i].error, strlen(files[i].error)), "%s%s: " STR_FMT,
				files[i].aliases, files[i].virtual, STR_ARG(buf_view(errors)));
		ck_assert_str_eq(expands("old@example.org"), files[i].error[0] ? "anna@example.org" : "none");
	}
}
END_TEST

START_TEST(what_is_not_done_is_noted)
{
	static const struct { const char *text, *note; } row[] = {
		{ "x: |prog\n", "aliases:1: |prog: commands are not run" },
		{ "x: anna,\n /var/mail/x\n", "aliases:2: /var/mail/x: mail is not put into files" },
		{ "x: a\ny: b\nX: c\n", "aliases:3: X is there already, at aliases:1" },
		{ "x: :include:/nonexistent/list\n", "aliases:1: /nonexistent/list: No such file" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const struct buf *notes;

		ck_assert(aliases_take(aliases, str_of(row[i].text), STR("")));
		notes = aliases_notes(aliases);
		ck_assert_msg(notes->n > strlen(row[i].note) && !memcmp(notes->p, row[i].note, strlen(row[i].note)), "%s: " STR_FMT, row[i].text,
			STR_ARG(buf_view(notes)));
	}
}
END_TEST

/* ---- files */

START_TEST(a_list_in_a_file_of_its_own)
{
	char text[1000];

	put("list", "# staff\nanna, ben\n\n  far@elsewhere.test # she is away\n\\root\n\"|prog\"\n");
	snprintf(text, sizeof text, "root: anna\nstaff: :include:%s, carl\nsame: \":include:%s\"\nlost: :include:%s/lost\nboth: anna, :include:%s/lost\n",
		in_dir("list"), in_dir("list"), dir, dir);
	ck_assert(aliases_take(aliases, str_of(text), STR("")));
	ck_assert_str_eq(expands("staff@example.org"), "anna@example.org ben@example.org far@elsewhere.test root@example.org carl@example.org");
	ck_assert_str_eq(expands("same@example.org"), "anna@example.org ben@example.org far@elsewhere.test root@example.org");
	ck_assert_str_eq(expands("lost@example.org"), "451 4.3.0");
	ck_assert_str_eq(expands("both@example.org"), "anna@example.org");
}
END_TEST

START_TEST(a_list_with_an_error_is_not_used_and_holds_up_nobody_else)
{
	static const char *const lists[] = { "anna\nben carl\n", ":include:/etc/passwd\n", "a@@b\n" };
	char text[1000];

	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		put("list", lists[i]);
		snprintf(text, sizeof text, "staff: :include:%s\nroot: anna\n", in_dir("list"));
		ck_assert(aliases_take(aliases, str_of(text), STR("")));
		ck_assert_str_eq(expands("staff@example.org"), "451 4.3.0");
		ck_assert_str_eq(expands("root@example.org"), "anna@example.org");
	}
	ck_assert_int_eq(mkdir(in_dir("directory"), 0700), 0);
	snprintf(text, sizeof text, "staff: :include:%s\n", in_dir("directory"));
	ck_assert(aliases_take(aliases, str_of(text), STR("")));
	ck_assert_str_eq(expands("staff@example.org"), "451 4.3.0");
}
END_TEST

START_TEST(files_are_read_again_when_they_have_changed)
{
	char text[1000], main_file[300], virtual_file[300];

	snprintf(main_file, sizeof main_file, "%s/aliases", dir);
	snprintf(virtual_file, sizeof virtual_file, "%s/virtual", dir);
	config.aliases = main_file;
	config.virtual = virtual_file;
	begin();
	ck_assert(!aliases_refresh(aliases));                           /* neither is there: one must be */
	put("virtual", "");
	ck_assert(aliases_refresh(aliases));
	ck_assert_str_eq(expands("root@example.org"), "none");
	put("list", "ben\n");
	snprintf(text, sizeof text, "root: anna\nstaff: :include:%s\n", in_dir("list"));
	put("aliases", text);
	ck_assert(aliases_refresh(aliases));
	ck_assert_str_eq(expands("root@example.org"), "anna@example.org");
	ck_assert_str_eq(expands("staff@example.org"), "ben@example.org");
	put("list", "carl\n");
	ck_assert(aliases_refresh(aliases));
	ck_assert_str_eq(expands("staff@example.org"), "carl@example.org");
	put("virtual", "x@shop.test: anna\n");
	ck_assert(aliases_refresh(aliases));
	ck_assert(aliases_have_domain(aliases, STR("shop.test")));
	put("aliases", "root: anna ben\n");
	ck_assert(aliases_refresh(aliases));                            /* broken: the old one stays */
	ck_assert_str_eq(expands("staff@example.org"), "carl@example.org");
	ck_assert_uint_gt(aliases_errors(aliases)->n, 0);
	unlink(in_dir("aliases"));
	ck_assert(aliases_refresh(aliases));
	ck_assert_str_eq(expands("staff@example.org"), "carl@example.org");     /* an editor may be at it */
	loop_advance(11000);
	ck_assert(aliases_refresh(aliases));
	ck_assert_str_eq(expands("staff@example.org"), "none");
	ck_assert_uint_eq(aliases_errors(aliases)->n, 0);
}
END_TEST

START_TEST(a_file_that_may_not_be_opened_for_a_moment_is_read_behind_it)
{
	struct rlimit all, few;
	char file[300];

	snprintf(file, sizeof file, "%s", put("aliases", "root: anna\n"));
	config.aliases = file;
	begin();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
	few = (struct rlimit){ .rlim_cur = 0, .rlim_max = all.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert(!aliases_refresh(aliases));
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
	ck_assert_str_eq(expands("root@example.org"), "451 4.3.0");
	loop_advance(5000);
	ck_assert(aliases_refresh(aliases));
	ck_assert_str_eq(expands("root@example.org"), "anna@example.org");
}
END_TEST

START_TEST(a_file_that_is_being_written_is_left_alone)
{
	static const char *const text[] = { "root: anna\n", "root: anna, b", "root: anna, ben\n" };
	static const char *const stands_for[] = { "anna@example.org", "anna@example.org", "anna@example.org ben@example.org" };
	char file[300];

	snprintf(file, sizeof file, "%s/aliases", dir);
	config.aliases = file;
	begin();
	for (size_t i = 0; i < 3; i++) {
		struct timespec t[2] = { { .tv_sec = loop_wall() }, { .tv_sec = loop_wall() } };

		put("aliases", text[i]);
		ck_assert_int_eq(utimensat(AT_FDCWD, file, t, 0), 0);
		if (i == 2)
			loop_advance(2000);
		ck_assert(aliases_refresh(aliases));
		ck_assert_str_eq(expands("root@example.org"), stands_for[i]);
	}
}
END_TEST

START_TEST(of_a_virtual_file_that_was_never_right_the_domains_are_known)
{
	char file[300];

	snprintf(file, sizeof file, "%s", put("virtual", "a@shop.test: anna\nb@shop2.test: anna ben\n"));
	config.virtual = file;
	begin();
	ck_assert(!aliases_refresh(aliases));
	ck_assert(aliases_have_domain(aliases, STR("shop.test")) && aliases_have_domain(aliases, STR("shop2.test")));
	ck_assert_str_eq(expands("a@shop.test"), "451 4.3.0");
	ck_assert_str_eq(expands("x@shop2.test"), "451 4.3.0");
	ck_assert(!aliases_have_domain(aliases, STR("shop3.test")));
}
END_TEST

START_TEST(with_a_file_that_was_never_right_nothing_is_known_of_any_name)
{
	char file[300];

	snprintf(file, sizeof file, "%s", put("aliases", "root: anna ben\n"));
	config.aliases = file;
	begin();
	ck_assert(!aliases_refresh(aliases));
	ck_assert_str_eq(expands("anna@example.org"), "451 4.3.0");
	put("aliases", "root: anna\n");
	ck_assert_int_eq(chmod(config.aliases, 0666), 0);               /* whoever likes could have written that */
	ck_assert(!aliases_refresh(aliases));
	ck_assert_int_eq(chmod(config.aliases, 0644), 0);
	ck_assert(aliases_refresh(aliases));
	ck_assert_str_eq(expands("root@example.org"), "anna@example.org");
}
END_TEST

START_TEST(an_alias_for_more_than_the_most_is_refused)
{
	struct buf text = { 0 };

	buf_puts(&text, "some: anna\nmany: x0@elsewhere.test");
	for (int i = 1; i < ALIAS_TARGETS; i++)
		buf_printf(&text, ", x%d@elsewhere.test", i);
	buf_puts(&text, "\nmore: many, some\n");
	ck_assert(aliases_take(aliases, buf_view(&text), STR("")));
	ck_assert_str_eq(expands("more@example.org"), "451 4.3.5");
	ck_assert_int_eq(memcmp(expands("many@example.org"), "x0@elsewhere.test ", 18), 0);
	buf_free(&text);
}
END_TEST

static bool is_nobody(void *arg, const struct addr *a)
{
	(void)arg;
	return !str_eq(a->local, STR("anna"));
}

START_TEST(all_names_can_be_tried)
{
	struct buf errors = { 0 }, notes = { 0 };

	ck_assert(aliases_take(aliases, STR("a: b, c\nb: a\nroot: anna, zoe\nc: |prog\nd: zoe, zoe@far.test\n"),
		STR("@x.test: y@x.test\nz@y.test: x@y.test\n")));
	ck_assert(aliases_try_all(aliases, &errors, &notes, is_nobody, NULL));
	ck_assert_str_eq(buf_cstr(&errors), "aliases:1: the alias a leads back to itself\naliases:2: the alias b leads back to itself\n"
		"virtual:2: x@y.test is nobody: the table of virtual users does not name it\n");
	ck_assert_str_eq(buf_cstr(&notes), "aliases:3: root stands for zoe, who has no mailbox. Make it: fardel mkmailbox zoe\n"
		"aliases:5: d stands for zoe, who has no mailbox. Make it: fardel mkmailbox zoe\n"
		"virtual:1: @x.test stands for y, who has no mailbox. Make it: fardel mkmailbox y\n");
	buf_free(&errors);
	buf_free(&notes);
}
END_TEST

/* ---- .forward files, and commands */

static const struct {
	const char *user, *text;        /* text NULL: it cannot be read */
} forwards[] = {
	{ "anna", "# mine\n\\anna, far@elsewhere.test\n\"|vacation -x, anna\"\n|second\n" }, { "ben", "ben" }, { "carl", "Carl+x, ben" }, { "eve", "mallory" },
	{ "mallory", "eve" }, { "empty", "# nothing\n\n" }, { "wrong", "a b c\n" }, { "reads", ":include:/etc/passwd" }, { "hangs", NULL },
	{ "root2", "root" }, { "file", "/var/mail/x" }, { "null", "/dev/null" }, { "out", "x@elsewhere.test" },
};

static void ask_forward(struct fact_source *s, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	struct record record[2] = { { .data = STR("") }, { .data = STR("/home/.forward") } };
	struct fact f = { .outcome = NO_DATA, .record = record };

	(void)s;
	(void)kind;
	for (size_t i = 0; i < sizeof forwards / sizeof *forwards; i++)
		if (str_eq(name, str_of(forwards[i].user))) {
			record[0].data = str_of(forwards[i].text);
			f.outcome = forwards[i].text ? FOUND : UNKNOWN;
			f.n = forwards[i].text ? 2 : 0;
			f.why = "no answer";
		}
	fact_answer(ticket, &f);
}
static struct fact_source homes = { ask_forward };

static void check_ways(const char *const (*way)[2], size_t n)
{
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(!strcmp(expands(way[i][0]), way[i][1]), "%s: %s, not %s\n%s", way[i][0], expands(way[i][0]), way[i][1], buf_cstr(&steps));
}

START_TEST(a_forward_file_is_an_alias_of_its_user)
{
	static const char *const way[][2] = {
		{ "anna@example.org", "anna@example.org far@elsewhere.test \"~anna|1\"@command.localhost \"~anna|2\"@command.localhost" },
		{ "anna+x@example.org", "anna@example.org far@elsewhere.test \"~anna|1\"@command.localhost \"~anna|2\"@command.localhost" },
		{ "ben@example.org", "ben@example.org" },
		{ "carl@example.org", "carl+x@example.org ben@example.org" },
		{ "eve@example.org", "554 5.4.6" },
		{ "empty@example.org", "none" },
		{ "wrong@example.org", "451 4.3.5" },
		{ "reads@example.org", "451 4.3.5" },
		{ "hangs@example.org", "451 4.3.0" },
		{ "file@example.org", "451 4.3.5" },
		{ "null@example.org", "discard" },
		{ "root2@example.org", "554 5.4.6" },
		{ "out@elsewhere.test", "none" },
		{ "team@example.org", "owner-team@example.org: ben@example.org hangs@example.org wrong@example.org x@elsewhere.test" },
		{ "mailbox@example.org", "out@example.org" },
		{ "postmaster@example.org", "none" },
	};

	config.forward = config.commands = true;
	begin();
	facts_source(FACT_FORWARD, &homes);
	ck_assert(aliases_take(aliases, STR("root: root2\nteam: ben, hangs, wrong, out\nowner-team: carl\nmailbox: \\out\n"), STR("")));
	check_ways(way, sizeof way / sizeof *way);
	config.forward = false;
	begin();
	ck_assert(aliases_take(aliases, STR(""), STR("")));
	ck_assert_str_eq(expands("anna@example.org"), "none");
	facts_source(FACT_FORWARD, NULL);
}
END_TEST

START_TEST(commands_are_addresses_that_nobody_else_has)
{
	static const char *const way[][2] = {
		{ "pipe@example.org", "\"pipe|1\"@command.localhost anna@example.org \"pipe|2\"@command.localhost" },
		{ "pipe+x@example.net", "\"pipe|1\"@command.localhost anna@example.net \"pipe|2\"@command.localhost" },
		{ "info@shop.test", "\"info@shop.test|1\"@command.localhost" },
		{ "any@shop.test", "\"@shop.test|1\"@command.localhost" },
		{ "listed@example.org", "451 4.3.5" },
		{ "x@command.localhost", "550 5.1.1" },
		{ "\"pipe|1\"@command.localhost", "550 5.1.1" },
		{ "\"pipe|1\"@example.org", "none" },
		{ "0123456789012345678901234567890123456789012345678901234567890@example.org", "451 4.3.5" },
	};
	char text[600];
	struct route r;

	config.commands = true;
	begin();
	put("list", "\"|prog\"\n");
	snprintf(text, sizeof text, "pipe: \"|/bin/prog -a, b\", anna, |other\nlisted: :include:%s\n"
		"0123456789012345678901234567890123456789012345678901234567890: |prog\n", in_dir("list"));
	ck_assert_msg(aliases_take(aliases, str_of(text), STR("info@shop.test: |prog\n@shop.test: |prog\n")), "%s",
		buf_cstr((struct buf *)(uintptr_t)aliases_errors(aliases)));
	ck_assert_str_eq(buf_cstr((struct buf *)(uintptr_t)aliases_errors(aliases)), "");
	check_ways(way, sizeof way / sizeof *way);
	route_find(&routes, STR(COMMAND_DOMAIN), NULL, &r);
	ck_assert_int_eq(r.kind, ROUTE_LOCAL);
	config.commands = false;
	begin();
	ck_assert(aliases_take(aliases, STR("pipe: |prog\n"), STR("")));
	ck_assert_str_eq(expands("pipe@example.org"), "451 4.3.5");
	route_find(&routes, STR(COMMAND_DOMAIN), NULL, &r);
	ck_assert_int_eq(r.kind, ROUTE_LOCAL);         /* what waits does not go elsewhere */
	ck_assert_str_eq(expands("x@command.localhost"), "550 5.1.1");
}
END_TEST

Suite *deliver_alias_suite(void)
{
	Suite *s = suite_create("deliver_alias");
	TCase *c = tcase_create("alias");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, each_address_goes_its_way);
	tcase_add_test(c, a_virtual_domain_is_ours_but_has_no_mailboxes);
	tcase_add_test(c, names_of_a_domain_of_origin_that_is_elsewhere_have_aliases);
	tcase_add_test(c, postmaster_is_somebody_whatever_the_alias_says);
	tcase_add_test(c, another_separator_and_none);
	tcase_add_test(c, what_is_wrong_is_said_with_file_and_line_and_nothing_of_it_is_taken);
	tcase_add_test(c, what_is_not_done_is_noted);
	tcase_add_test(c, a_list_in_a_file_of_its_own);
	tcase_add_test(c, a_list_with_an_error_is_not_used_and_holds_up_nobody_else);
	tcase_add_test(c, files_are_read_again_when_they_have_changed);
	tcase_add_test(c, a_file_that_may_not_be_opened_for_a_moment_is_read_behind_it);
	tcase_add_test(c, a_file_that_is_being_written_is_left_alone);
	tcase_add_test(c, of_a_virtual_file_that_was_never_right_the_domains_are_known);
	tcase_add_test(c, with_a_file_that_was_never_right_nothing_is_known_of_any_name);
	tcase_add_test(c, an_alias_for_more_than_the_most_is_refused);
	tcase_add_test(c, all_names_can_be_tried);
	tcase_add_test(c, a_forward_file_is_an_alias_of_its_user);
	tcase_add_test(c, commands_are_addresses_that_nobody_else_has);
	suite_add_tcase(s, c);
	return s;
}
