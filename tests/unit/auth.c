/* Logging in: the file of users, mechanisms against the examples of their RFCs, and what is answered to nonsense. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "auth/sasl.h"
#include "auth/saslc.h"
#include "auth/users.h"
#include "auth/verify.h"
#include "lib/codec.h"
#include "lib/loop.h"

/* RFC 7677 3 and RFC 5802 5: user "user", password "pencil". */
#define PENCIL_256 "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static char path[200];
static struct users *users;

static void write_users(const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void start(void)
{
	char why[300];
	const char *tmp = getenv("TMPDIR");
	int fd;

	snprintf(path, sizeof path, "%.150s/users.XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(path);
	ck_assert_int_ne(fd, -1);
	close(fd);
	write_users("# who\nuser:" PENCIL_256 "\nanna@example.org:" PENCIL_256 ":anna@example.org, @example.net\n\nall:" PENCIL_256 ":*\n");
	users = users_new(path);
	ck_assert_ptr_nonnull(users);
	ck_assert(users_refresh(users, why, sizeof why));
}

static void stop(void)
{
	users_free(users);
	unlink(path);
}

/* ---- the file */

START_TEST(a_verifier_is_made_of_the_password_as_rfc_7677_has_it)
{
	struct buf out = { 0 };
	unsigned char salt[16];
	size_t n = sizeof salt;
	struct scram_verifier v, again;

	ck_assert(base64_decode(STR("W22ZaJ0SNY7soEsUEjb6gQ=="), salt, &n));
	scram_make(HASH_SHA256, STR("pencil"), (struct str){ (char *)salt, n }, 4096, &v);
	ck_assert(scram_print(&out, &v));
	ck_assert_str_eq(buf_cstr(&out), PENCIL_256);
	ck_assert(scram_parse(buf_view(&out), &again));
	ck_assert_mem_eq(again.stored, v.stored, 32);
	ck_assert(secret_matches(buf_view(&out), STR("pencil")) && !secret_matches(buf_view(&out), STR("pencils")));
	buf_free(&out);
}
END_TEST

START_TEST(a_hash_of_crypt_is_compared_by_crypt)
{
	/* SHA-crypt's own test vector: "Hello world!" */
	static const char hash[] = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5";

	if (!crypt_available())
		return;
	ck_assert(secret_matches(str_of(hash), STR("Hello world!")));
	ck_assert(!secret_matches(str_of(hash), STR("Hello world")));
	ck_assert(!secret_matches(STR("$5$"), STR("")) && !secret_matches(STR("$nonsense$"), STR("x")));
}
END_TEST

START_TEST(no_secret_fits_no_password)
{
	ck_assert(!secret_matches(STR(""), STR("")) && !secret_matches(STR(""), STR("x")) && !secret_matches(STR("plain"), STR("plain")));
}
END_TEST

static const struct { const char *line; bool good; const char *name, *addresses; } lines[] = {
	{ "", true, "", "" }, { "   # comment", true, "", "" },
	{ "anna:" PENCIL_256, true, "anna", "" }, { "anna:" PENCIL_256 ":a@x.test", true, "anna", "a@x.test" },
	{ "  anna:" PENCIL_256 ": a@x.test ,@y.test \r", true, "anna", "a@x.test ,@y.test" },
	{ "anna", false, NULL, NULL }, { ":" PENCIL_256, false, NULL, NULL }, { "an na:" PENCIL_256, false, NULL, NULL },
	{ "anna:", false, NULL, NULL }, { "anna:secret", false, NULL, NULL }, { "anna:{SCRAM-SHA-256}4096,x,y,z", false, NULL, NULL },
	{ "anna:{SCRAM-SHA-256}0,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", false, NULL, NULL },
	{ "anna:{SCRAM-SHA-1}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", false, NULL, NULL },
};

START_TEST(a_line_is_understood_or_said_to_be_wrong)
{
	struct user u;
	const char *why = user_parse(str_of(lines[_i].line), &u);

	ck_assert_msg((why == NULL) == lines[_i].good, "%s: %s", lines[_i].line, why ? why : "taken");
	if (why)
		return;
	ck_assert(str_eq(u.name, str_of(lines[_i].name)) && str_eq(u.addresses, str_of(lines[_i].addresses)));
}
END_TEST

START_TEST(the_file_is_read_again_when_it_changes_and_stays_when_it_goes)
{
	char why[300];

	start();
	ck_assert_uint_eq(users_count(users), 3);
	ck_assert_ptr_nonnull(users_find(users, STR("all")));
	ck_assert_ptr_null(users_find(users, STR("ALL")));
	ck_assert_ptr_null(users_find(users, STR("al")));
	write_users("new:" PENCIL_256 "\nbroken line\n");
	ck_assert(users_refresh(users, why, sizeof why));
	ck_assert_uint_eq(users_count(users), 1);
	unlink(path);
	ck_assert(!users_refresh(users, why, sizeof why));
	ck_assert_ptr_nonnull(users_find(users, STR("new")));
	stop();
}
END_TEST

#ifdef HAVE_IDN2
#define IDN true
#else
#define IDN false
#endif

static const struct { const char *name, *addresses, *as; bool may; } rights[] = {
	{ "anna", "", "anna@here.test", true }, { "anna", "", "anna@two.test", true }, { "anna", "", "ANNA@Here.Test", true },
	{ "anna", "", "anna+list@here.test", true }, { "anna", "", "anna@else.test", false }, { "anna", "", "annab@here.test", false },
	{ "anna", "", "ben@here.test", false }, { "anna", "", "anna", false }, { "anna", "", "", false },
	{ "anna@x.test", "", "anna@x.test", true }, { "anna@x.test", "", "anna+1@x.test", true }, { "anna@x.test", "", "anna@here.test", false },
	{ "anna", "a@x.test,@y.test", "a@x.test", true }, { "anna", "a@x.test,@y.test", "b@y.test", true },
	{ "anna", "a@x.test,@y.test", "b@x.test", false }, { "anna", "a@x.test,@y.test", "anna@here.test", false },
	{ "anna", " a@x.test , b@x.test ", "b@x.test", true }, { "anna", "*", "who@ever.test", true }, { "anna", ",", "a@x.test", false },
	{ "anna", "@y.test", "b@sub.y.test", false },
	{ "anna", "", "\"anna\"@here.test", true }, { "anna", "", "\"an\\na+x\"@here.test", true }, { "anna", "", "\"ben\"@here.test", false },
	{ "anna", "a@xn--tda.test", "a@xn--tda.test", true }, { "anna@\xc3\xbc.test", "", "anna@xn--tda.test", IDN },
	{ "anna", "a@\xc3\xbc.test", "a@xn--tda.test", IDN }, { "anna", "@\xc3\xbc.test", "b@xn--tda.test", IDN }, { "anna", "a@\xc3\xbc.test", "a@x.test", false },
	{ "anna", "a@x.test", "\"a@x.test\"@here.test", false }, { "anna", "", "\"anna@here.test", false },
};

START_TEST(a_user_sends_as_his_own_addresses_alone)
{
	static const struct str local[] = { { "here.test", 9 }, { "two.test", 8 } };

	ck_assert_msg(user_may_send_as(str_of(rights[_i].name), str_of(rights[_i].addresses), local, 2, str_of(rights[_i].as)) == rights[_i].may,
		"%s [%s] as %s", rights[_i].name, rights[_i].addresses, rights[_i].as);
}
END_TEST

/* ---- mechanisms */

static struct sasl *begin(const char *mechanism, const char *binding)
{
	struct sasl_server server = { .users = users, .tls = true, .binding = str_of(binding) };
	bool needs_tls;
	struct sasl *s = sasl_begin(str_of(mechanism), &server, &needs_tls);

	ck_assert_ptr_nonnull(s);
	return s;
}

START_TEST(nothing_is_offered_in_clear)
{
	struct buf out = { 0 };
	struct sasl_server server = { .users = NULL };
	bool needs_tls;

	start();
	server.users = users;
	sasl_mechanisms(&server, &out);
	ck_assert_uint_eq(out.n, 0);
	ck_assert_ptr_null(sasl_begin(STR("plain"), &server, &needs_tls));
	ck_assert(needs_tls);
	ck_assert_ptr_null(sasl_begin(STR("CRAM-MD5"), &server, &needs_tls));
	ck_assert(!needs_tls);
	server.tls = true;
	sasl_mechanisms(&server, &out);
	ck_assert_str_eq(buf_cstr(&out), " SCRAM-SHA-256 PLAIN LOGIN");
	buf_clear(&out);
	server.binding = STR("hash");
	sasl_mechanisms(&server, &out);
	ck_assert_str_eq(buf_cstr(&out), " SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
	buf_free(&out);
	stop();
}
END_TEST

static const struct { struct str octets; enum sasl_next next; const char *user, *password; } plains[] = {
#define P(literal) { literal, sizeof(literal) - 1 }
	{ P("\0user\0pencil"), SASL_CHECK, "user", "pencil" }, { P("user\0user\0pencil"), SASL_CHECK, "user", "pencil" },
	{ P("anna\0user\0pencil"), SASL_FAILED, "", "" }, { P(""), SASL_MALFORMED, "", "" }, { P("user"), SASL_MALFORMED, "", "" },
	{ P("\0user"), SASL_MALFORMED, "", "" }, { P("\0user\0"), SASL_MALFORMED, "user", "" }, { P("\0\0pencil"), SASL_MALFORMED, "", "" },
	{ P("\0user\0pen\0cil"), SASL_MALFORMED, "user", "" },
};

START_TEST(plain_is_two_nuls_and_nobody_else)
{
	struct buf out = { 0 };
	struct sasl *s;

	start();
	s = begin("PLAIN", "");
	ck_assert(sasl_client_first(s));
	ck_assert_int_eq(sasl_take(s, plains[_i].octets, &out), plains[_i].next);
	ck_assert_str_eq(sasl_user(s), plains[_i].user);
	ck_assert(str_eq(sasl_password(s), str_of(plains[_i].password)));
	sasl_free(s);
	stop();
}
END_TEST

START_TEST(login_asks_for_both_and_takes_the_name_with_the_command)
{
	struct buf out = { 0 };
	struct sasl *s;

	start();
	for (int initial = 0; initial < 2; initial++) {
		s = begin("login", "");
		if (!initial) {
			ck_assert_int_eq(sasl_take(s, STR(""), &out), SASL_MORE);
			ck_assert_str_eq(buf_cstr(&out), "Username:");
		}
		ck_assert_int_eq(sasl_take(s, STR("user"), &out), SASL_MORE);
		ck_assert_str_eq(buf_cstr(&out), "Password:");
		ck_assert_int_eq(sasl_take(s, STR("pencil"), &out), SASL_CHECK);
		ck_assert_str_eq(sasl_user(s), "user");
		ck_assert(secret_matches(sasl_secret(s), sasl_password(s)));
		sasl_free(s);
	}
	buf_free(&out);
	stop();
}
END_TEST

/* A client of SCRAM-SHA-256, written for the test: its proof for a password. */
static void client_final(const char *password, const char *bare, const struct buf *first, const char *header, const char *binding, struct buf *final,
	unsigned char signature[HASH_MAX])
{
	struct buf channel = { 0 }, message = { 0 };
	struct scram_verifier v;
	unsigned char salt[64], salted[HASH_MAX], key[HASH_MAX], stored[HASH_MAX], by[HASH_MAX];
	size_t n = sizeof salt;
	char nonce[300], encoded[100];
	unsigned iterations;

	ck_assert_int_eq(sscanf(first->p, "r=%299[^,],s=%99[^,],i=%u", nonce, encoded, &iterations), 3);
	ck_assert(base64_decode(str_of(encoded), salt, &n));
	buf_printf(&channel, "%s%s", header, binding);
	buf_puts(final, "c=");
	base64_encode(final, channel.p, channel.n);
	buf_printf(final, ",r=%s", nonce);
	buf_printf(&message, "%s,%.*s,%.*s", bare, (int)first->n, first->p, (int)final->n, final->p);
	scram_make(HASH_SHA256, str_of(password), (struct str){ (char *)salt, n }, iterations, &v);
	pbkdf2_of(HASH_SHA256, str_of(password), (struct str){ (char *)salt, n }, iterations, salted);
	hmac_of(HASH_SHA256, (struct str){ (char *)salted, 32 }, STR("Client Key"), key);
	hash_of(HASH_SHA256, (struct str){ (char *)key, 32 }, stored);
	hmac_of(HASH_SHA256, (struct str){ (char *)stored, 32 }, buf_view(&message), by);
	for (int i = 0; i < 32; i++)
		key[i] ^= by[i];
	buf_puts(final, ",p=");
	base64_encode(final, key, 32);
	hmac_of(HASH_SHA256, (struct str){ (char *)v.server, 32 }, buf_view(&message), signature);
	buf_free(&channel);
	buf_free(&message);
}

static const struct {
	const char *mechanism, *server_binding, *header, *client_binding, *user, *password;
	bool good;
} scrams[] = {
	{ "SCRAM-SHA-256", "", "n,,", "", "user", "pencil", true },
	{ "SCRAM-SHA-256", "", "y,,", "", "user", "pencil", true },
	{ "SCRAM-SHA-256", "hash", "n,,", "", "user", "pencil", true },
	{ "SCRAM-SHA-256", "hash", "y,,", "", "user", "pencil", false },                /* -PLUS was taken out on the way */
	{ "SCRAM-SHA-256-PLUS", "hash", "p=tls-server-end-point,,", "hash", "user", "pencil", true },
	{ "SCRAM-SHA-256-PLUS", "hash", "p=tls-server-end-point,,", "hasH", "user", "pencil", false },
	{ "SCRAM-SHA-256-PLUS", "hash", "p=tls-server-end-point,,", "", "user", "pencil", false },
	{ "SCRAM-SHA-256-PLUS", "hash", "p=tls-unique,,", "hash", "user", "pencil", false },
	{ "SCRAM-SHA-256-PLUS", "hash", "n,,", "", "user", "pencil", false },
	{ "SCRAM-SHA-256", "", "p=tls-server-end-point,,", "", "user", "pencil", false },
	{ "SCRAM-SHA-256", "", "n,,", "", "user", "pencils", false },
	{ "SCRAM-SHA-256", "", "n,,", "", "nobody", "pencil", false },
	{ "SCRAM-SHA-256", "", "n,a=anna,", "", "user", "pencil", false },
};

START_TEST(scram_lets_in_who_knows_the_password_over_this_channel)
{
	struct buf out = { 0 }, first = { 0 }, final = { 0 };
	unsigned char signature[HASH_MAX];
	char bare[100];
	enum sasl_next next;
	struct sasl *s;

	start();
	s = begin(scrams[_i].mechanism, scrams[_i].server_binding);
	snprintf(bare, sizeof bare, "n=%s,r=fyko+d2lbbFgONRv9qkxdawL", scrams[_i].user);
	buf_printf(&first, "%s%s", scrams[_i].header, bare);
	next = sasl_take(s, buf_view(&first), &out);
	buf_clear(&first);
	buf_str(&first, buf_view(&out));
	if (next == SASL_MORE) {
		buf_cstr(&first);
		client_final(scrams[_i].password, bare, &first, scrams[_i].header, scrams[_i].client_binding, &final, signature);
		next = sasl_take(s, buf_view(&final), &out);
	}
	ck_assert_int_eq(next, scrams[_i].good ? SASL_PROVED : SASL_FAILED);
	if (scrams[_i].good) {
		struct buf wanted = { 0 };

		buf_puts(&wanted, "v=");
		base64_encode(&wanted, signature, 32);
		ck_assert_str_eq(buf_cstr(&out), buf_cstr(&wanted));
		ck_assert_int_eq(sasl_take(s, STR(""), &out), SASL_OK);
		buf_free(&wanted);
	}
	sasl_free(s);
	buf_free(&out);
	buf_free(&first);
	buf_free(&final);
	stop();
}
END_TEST

START_TEST(nobody_has_a_salt_that_stays)
{
	struct buf out[2] = { { 0 }, { 0 } };

	start();
	for (int i = 0; i < 2; i++) {
		struct sasl *s = begin("SCRAM-SHA-256", "");
		char *salt;

		ck_assert_int_eq(sasl_take(s, STR("n,,n=nobody,r=abc"), &out[i]), SASL_MORE);
		salt = strstr(buf_cstr(&out[i]), ",s=");
		ck_assert_ptr_nonnull(salt);
		buf_drop(&out[i], (size_t)(salt - out[i].p));
		sasl_free(s);
	}
	ck_assert(str_eq(buf_view(&out[0]), buf_view(&out[1])));
	buf_free(&out[0]);
	buf_free(&out[1]);
	stop();
}
END_TEST

/* fardel inetd is a process for each session, and serve is started anew: who exists must not show by comparing two of them. */
START_TEST(nobody_has_the_same_salt_in_every_process_and_one_like_the_others)
{
	char said[2][400] = { "", "" };
	struct scram_verifier v = { .hash = HASH_SHA256, .iterations = 4096, .salt_n = 12 };
	struct buf line = { 0 };
	char why[300], salt[100];

	start();
	buf_puts(&line, "anna:");
	scram_make(HASH_SHA256, STR("pencil"), STR("twelve octet"), 4096, &v);
	ck_assert(scram_print(&line, &v));
	buf_char(&line, '\n');
	write_users(buf_cstr(&line));
	ck_assert(users_refresh(users, why, sizeof why));
	for (int i = 0; i < 2; i++) {
		int to[2];
		pid_t pid;

		ck_assert_int_eq(pipe(to), 0);
		pid = fork();
		if (pid == 0) {
			struct sasl *s = begin("SCRAM-SHA-256", "");
			struct buf out = { 0 };
			const char *at;

			sasl_take(s, STR("n,,n=nobody,r=abc"), &out);
			at = strstr(buf_cstr(&out), ",s=");
			if (!at || write(to[1], at, strlen(at)) < 0)
				_exit(1);
			sasl_free(s);
			buf_free(&out);
			_exit(0);
		}
		close(to[1]);
		ck_assert_int_gt(read(to[0], said[i], sizeof said[i] - 1), 0);
		close(to[0]);
		ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	}
	ck_assert_str_eq(said[0], said[1]);
	ck_assert_int_eq(sscanf(said[0], ",s=%99[^,],i=4096", salt), 1);
	ck_assert_uint_eq(strlen(salt), 16);            /* twelve octets, as anna's */
	ck_assert_ptr_nonnull(strstr(said[0], ",i=4096"));
	buf_free(&line);
	stop();
}
END_TEST

static const char *const nonsense[] = {
	"", "n", "n,", "n,,", "n,,n=", "n,,n=user", "n,,n=user,r=", "n,,n=us=er,r=a", "n,,n=user=2,r=a", "n,,r=a,n=user", "n,,n=user,r=a b", "x,,n=user,r=a",
	"n,,m=ext,n=user,r=a", "n,,n=user,r=\x80", "y", "p=,,n=user,r=a",
};

START_TEST(nonsense_is_no_login)
{
	struct buf out = { 0 };
	struct sasl *s;
	enum sasl_next next;

	start();
	s = begin("SCRAM-SHA-256", "");
	next = sasl_take(s, str_of(nonsense[_i]), &out);
	ck_assert_msg(next == SASL_FAILED || next == SASL_MALFORMED, "%s", nonsense[_i]);
	sasl_free(s);
	s = begin("SCRAM-SHA-256", "");
	ck_assert_int_eq(sasl_take(s, STR("n,,n=user,r=abc"), &out), SASL_MORE);
	next = sasl_take(s, str_of(nonsense[_i]), &out);
	ck_assert_msg(next == SASL_FAILED || next == SASL_MALFORMED, "second: %s", nonsense[_i]);
	sasl_free(s);
	buf_free(&out);
	stop();
}
END_TEST

START_TEST(a_comma_and_an_equals_sign_in_a_name_are_escaped)
{
	struct buf out = { 0 };
	struct sasl *s;

	start();
	s = begin("SCRAM-SHA-256", "");
	ck_assert_int_eq(sasl_take(s, STR("n,,n=a=2Cb=3dc,r=abc"), &out), SASL_MORE);
	ck_assert_str_eq(sasl_user(s), "a,b=c");
	sasl_free(s);
	buf_free(&out);
	stop();
}
END_TEST

/* ---- the helper */

static int results[VERIFY_WAITING + 1], nresults;
static void told(struct verification *v, bool matches)
{
	(void)v;
	results[nresults++] = matches;
}

static void await(int n)
{
	for (int i = 0; i < 2000 && nresults < n; i++)
		loop_turn(100);
	ck_assert_int_eq(nresults, n);
}

START_TEST(a_password_is_compared_elsewhere_and_told_later)
{
	struct verification good = { .done = told }, bad = { .done = told };

	ck_assert_int_eq(verify_start(_i), 0);
	nresults = 0;
	ck_assert(verify_begin(&good, STR(PENCIL_256), STR("pencil")));
	ck_assert_int_eq(nresults, 0);
	await(1);
	ck_assert(verify_begin(&bad, STR(PENCIL_256), STR("other")));
	await(2);
	ck_assert(results[0] && !results[1]);
	ck_assert_uint_eq(good.number, 0);
	verify_stop();
}
END_TEST

START_TEST(only_so_many_wait_and_who_left_is_not_told)
{
	static struct verification v[VERIFY_WAITING + 1];

	ck_assert_int_eq(verify_start(false), 0);
	nresults = 0;
	for (int i = 0; i <= VERIFY_WAITING; i++) {
		v[i] = (struct verification){ .done = told };
		ck_assert_int_eq(verify_begin(&v[i], STR(PENCIL_256), STR("pencil")), i < VERIFY_WAITING);
	}
	verify_cancel(&v[0]);
	verify_cancel(&v[1]);
	await(VERIFY_WAITING - 2);
	verify_stop();
}
END_TEST

static bool can_ask(void)
{
	struct verification v = { .done = told };
	bool can = verify_begin(&v, STR(PENCIL_256), STR("pencil"));

	if (can)
		verify_cancel(&v);
	return can;
}

static void kill_children(void)
{
	FILE *f = fopen("/proc/thread-self/children", "r");
	siginfo_t end;
	int pid;

	while (f && fscanf(f, "%d", &pid) == 1) {
		kill(pid, SIGKILL);
		waitid(P_PID, (id_t)pid, &end, WEXITED | WNOWAIT);
	}
	if (f)
		fclose(f);
}

START_TEST(a_helper_that_dies_is_started_again_after_a_second_and_not_in_a_circle)
{
	if (access("/proc/thread-self/children", R_OK) == -1)
		return;
	loop_virtual_clock(1796000000);
	ck_assert_int_eq(verify_start(false), 0);
	kill_children();
	for (int i = 0; i < 10; i++)
		loop_turn(0);
	ck_assert(!can_ask());
	loop_advance(1000);
	loop_turn(0);
	ck_assert(can_ask());
	verify_stop();
}
END_TEST

static const struct { const char *offered, *mechanism; bool tls, good; const char *user, *password; } logins[] = {
	{ "PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-256", "SCRAM-SHA-256", true, true, "user", "pencil" },
	{ "scram-sha-256", "SCRAM-SHA-256", false, true, "user", "pencil" },
	{ "SCRAM-SHA-256", "SCRAM-SHA-256", true, false, "user", "pencil2" },
	{ "SCRAM-SHA-256", "SCRAM-SHA-256", true, false, "nobody", "pencil" },
	{ "SCRAM-SHA-256", "SCRAM-SHA-256", true, true, "odd,=name", "pencil" },
	{ "CRAM-MD5 LOGIN PLAIN", "PLAIN", true, true, "user", "pencil" },
	{ "LOGIN", "LOGIN", true, true, "user", "pencil" },
	{ "PLAIN LOGIN", NULL, false, false, "user", "pencil" },
	{ "CRAM-MD5 XOAUTH2", NULL, true, false, "user", "pencil" },
	{ "", NULL, true, false, "user", "pencil" },
};

static const struct { const char *offered, *mechanism, *first, *answer; bool tls; } tokens[] = {
	{ "PLAIN XOAUTH2 OAUTHBEARER", "OAUTHBEARER", "n,a=anna=2C=3D@x,\1auth=Bearer ya29.T\1\1", "\1", true },
	{ "PLAIN LOGIN xoauth2", "XOAUTH2", "user=anna,=@x\1auth=Bearer ya29.T\1\1", "", true },
	{ "PLAIN LOGIN SCRAM-SHA-256", NULL, NULL, NULL, true },
	{ "OAUTHBEARER XOAUTH2", NULL, NULL, NULL, false },
};

/* RFC 7628 3.1 and 3.2.3. */
START_TEST(a_token_is_shown_and_an_error_about_it_is_answered_by_nothing)
{
	const char *why = NULL;
	struct saslc *c = saslc_begin(str_of(tokens[_i].offered), SASLC_TOKEN, "anna,=@x", "ya29.T", tokens[_i].tls, &why);
	struct buf said = { 0 };

	ck_assert((c != NULL) == (tokens[_i].mechanism != NULL));
	if (!c) {
		ck_assert_ptr_nonnull(why);
		return;
	}
	ck_assert_str_eq(saslc_mechanism(c), tokens[_i].mechanism);
	ck_assert(saslc_first(c, &said));
	ck_assert_str_eq(buf_cstr(&said), tokens[_i].first);
	ck_assert_ptr_null(saslc_accepted(c));
	ck_assert_str_eq(saslc_error(c), "");
	ck_assert_ptr_null(saslc_take(c, STR("{\"status\":\"401\",\n\"schemes\":\"bearer\"}"), &said));
	ck_assert_str_eq(buf_cstr(&said), tokens[_i].answer);
	ck_assert_str_eq(saslc_error(c), "{\"status\":\"401\",\"schemes\":\"bearer\"}");
	ck_assert_ptr_nonnull(saslc_accepted(c));
	ck_assert_ptr_nonnull(saslc_take(c, STR("more"), &said));
	saslc_free(c);
	buf_free(&said);
}
END_TEST

/* Our client against our server: both ends of every mechanism. */
START_TEST(a_client_logs_in_by_the_best_mechanism_that_is_safe)
{
	const char *why = NULL;
	struct saslc *c = saslc_begin(str_of(logins[_i].offered), SASLC_PASSWORD, logins[_i].user, logins[_i].password, logins[_i].tls, &why);
	struct buf said = { 0 }, asked = { 0 };
	enum sasl_next next = SASL_MORE;
	char refresh_why[300];
	struct sasl *s;

	ck_assert((c != NULL) == (logins[_i].mechanism != NULL));
	if (!c) {
		ck_assert_ptr_nonnull(why);
		return;
	}
	ck_assert_str_eq(saslc_mechanism(c), logins[_i].mechanism);
	start();
	write_users("user:" PENCIL_256 "\nodd,=name:" PENCIL_256 "\n");
	ck_assert(users_refresh(users, refresh_why, sizeof refresh_why));
	s = begin(logins[_i].mechanism, "");
	saslc_first(c, &said);
	for (int i = 0; i < 6 && (next == SASL_MORE || next == SASL_PROVED); i++) {
		next = sasl_take(s, buf_view(&said), &asked);
		if (next == SASL_MORE || next == SASL_PROVED)
			ck_assert_ptr_null(saslc_take(c, buf_view(&asked), &said));
	}
	if (next == SASL_CHECK)
		next = secret_matches(sasl_secret(s), sasl_password(s)) ? SASL_OK : SASL_FAILED;
	ck_assert_int_eq(next == SASL_OK, logins[_i].good);
	ck_assert(!logins[_i].good || !saslc_accepted(c));
	stop();
	sasl_free(s);
	saslc_free(c);
	buf_free(&said);
	buf_free(&asked);
}
END_TEST

static const struct { const char *challenge, *wrong; } challenges[] = {
	{ "", "nonce" }, { "r=", "nonce" }, { "r=%s,s=c2FsdA==,i=4096", "nonce" }, { "r=%sx", "salt" }, { "r=%sx,s=,i=4096", "salt" },
	{ "r=%sx,s=c2FsdA,i=4096", "salt" }, { "r=%sx,s=c2FsdA==,i=0", "how often" }, { "r=%sx,s=c2FsdA==,i=-1", "how often" },
	{ "r=%sx,s=c2FsdA==", "how often" }, { "r=%sx,s=c2FsdA==,i=100001", "more often" }, { "m=x,r=%sx,s=c2FsdA==,i=4096", "nonce" },
	{ "r=%sx,s=c2FsdA==,i=100", NULL },
};

START_TEST(a_challenge_that_makes_no_sense_ends_the_login)
{
	const char *why, *wrong;
	struct saslc *c = saslc_begin(STR("SCRAM-SHA-1"), SASLC_PASSWORD, "user", "pencil", true, &why);
	struct buf out = { 0 };
	char nonce[100], challenge[300];

	ck_assert(saslc_first(c, &out));
	ck_assert_int_eq(sscanf(buf_cstr(&out), "n,,n=user,r=%99s", nonce), 1);
	ck_assert_uint_eq(strlen(nonce), 32);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(challenge, sizeof challenge, challenges[_i].challenge, nonce);
#pragma GCC diagnostic pop
	wrong = saslc_take(c, str_of(challenge), &out);
	if (challenges[_i].wrong)
		ck_assert_msg(wrong && strstr(wrong, challenges[_i].wrong), "%s: %s", challenge, wrong ? wrong : "taken");
	else
		ck_assert_msg(!wrong, "%s", wrong);
	ck_assert_ptr_nonnull(saslc_accepted(c));
	if (!wrong)
		ck_assert_ptr_nonnull(saslc_take(c, STR("v=AAAAAAAAAAAAAAAAAAAAAAAAAAA="), &out));
	saslc_free(c);
	buf_free(&out);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof *(table))

Suite *auth_suite(void);
Suite *auth_suite(void)
{
	Suite *s = suite_create("auth");
	TCase *t = tcase_create("users");

	tcase_add_test(t, a_verifier_is_made_of_the_password_as_rfc_7677_has_it);
	tcase_add_test(t, a_hash_of_crypt_is_compared_by_crypt);
	tcase_add_test(t, no_secret_fits_no_password);
	tcase_add_loop_test(t, a_line_is_understood_or_said_to_be_wrong, 0, ROWS(lines));
	tcase_add_test(t, the_file_is_read_again_when_it_changes_and_stays_when_it_goes);
	tcase_add_loop_test(t, a_user_sends_as_his_own_addresses_alone, 0, ROWS(rights));
	suite_add_tcase(s, t);
	t = tcase_create("mechanisms");
	tcase_add_test(t, nothing_is_offered_in_clear);
	tcase_add_loop_test(t, plain_is_two_nuls_and_nobody_else, 0, ROWS(plains));
	tcase_add_test(t, login_asks_for_both_and_takes_the_name_with_the_command);
	tcase_add_loop_test(t, scram_lets_in_who_knows_the_password_over_this_channel, 0, ROWS(scrams));
	tcase_add_test(t, nobody_has_a_salt_that_stays);
	tcase_add_test(t, nobody_has_the_same_salt_in_every_process_and_one_like_the_others);
	tcase_add_loop_test(t, nonsense_is_no_login, 0, ROWS(nonsense));
	tcase_add_test(t, a_comma_and_an_equals_sign_in_a_name_are_escaped);
	tcase_add_loop_test(t, a_client_logs_in_by_the_best_mechanism_that_is_safe, 0, ROWS(logins));
	tcase_add_loop_test(t, a_token_is_shown_and_an_error_about_it_is_answered_by_nothing, 0, ROWS(tokens));
	tcase_add_loop_test(t, a_challenge_that_makes_no_sense_ends_the_login, 0, ROWS(challenges));
	suite_add_tcase(s, t);
	t = tcase_create("comparing");
	tcase_add_loop_test(t, a_password_is_compared_elsewhere_and_told_later, 0, 2);
	tcase_add_test(t, a_helper_that_dies_is_started_again_after_a_second_and_not_in_a_circle);
	tcase_add_test(t, only_so_many_wait_and_who_left_is_not_told);
	suite_add_tcase(s, t);
	return s;
}
