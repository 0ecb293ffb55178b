/* The settings: networks, listeners, what is made of the values, and where files are looked for. */
#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/settings.h"
#include "lib/buf.h"
#include "lib/file.h"

/* Whoever starts us does so again, which is not done for an error in the file. */
START_TEST(want_of_memory_is_no_error_in_the_settings)
{
	struct settings none = { .conf.errors.bad = true }, some = { .conf.file = "f" };

	ck_assert_int_eq(settings_complain(&none), EX_TEMPFAIL);
	conf_no_memory(&some.conf, "f:1");
	ck_assert_int_eq(settings_complain(&some), EX_TEMPFAIL);
	ck_assert_str_eq(buf_cstr(&some.conf.errors), "f:1: out of memory. Start again when there is more of it.\n");
	buf_free(&some.conf.errors);
}
END_TEST

Suite *cmd_settings_suite(void);

static struct settings set;

/* Loads options alone: no file of this machine may decide. */
static bool load(const char *const *option)
{
	struct arguments a = { .file = "/dev/null" };

	for (; *option; option++)
		a.option[a.n++] = *option;
	return settings_load(&set, &a);
}
#define LOAD(...) load((const char *const[]){ __VA_ARGS__, NULL })

static const char *errors(void)
{
	return buf_cstr(&set.conf.errors);
}

static void make_address(const char *text, struct sockaddr_storage *ss)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ss;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ss;

	memset(ss, 0, sizeof *ss);
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1)
		v4->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1)
		v6->sin6_family = AF_INET6;
}

START_TEST(networks_hold_their_addresses_and_no_others)
{
	static const struct { const char *net, *addr; bool want; } row[] = {
		{ "127.0.0.0/8", "127.255.0.1", true }, { "127.0.0.0/8", "128.0.0.1", false },
		{ "192.0.2.1", "192.0.2.1", true }, { "192.0.2.1", "192.0.2.2", false },
		{ "192.0.2.128/25", "192.0.2.200", true }, { "192.0.2.128/25", "192.0.2.127", false },
		{ "192.0.2.0/31", "192.0.2.1", true }, { "192.0.2.0/31", "192.0.2.2", false },
		{ "0.0.0.0/0", "203.0.113.9", true }, { "0.0.0.0/0", "2001:db8::1", false },
		{ "127.0.0.0/8", "::ffff:127.0.0.1", true }, { "192.0.2.0/24", "::ffff:192.0.3.1", false },
		{ "::1", "::1", true }, { "[::1]", "::1", true }, { "::1/128", "::2", false },
		{ "2001:db8::/32", "2001:db8:1::1", true }, { "[2001:db8::]/33", "2001:db8:8000::1", false },
		{ "::/0", "2001:db8::1", true }, { "::/0", "192.0.2.1", true },
		{ "::1", "unix", false }, { "::/0", "unix", false },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct network net;
		struct networks nets = { .n = 1, .net = &net };
		struct sockaddr_storage ss;

		ck_assert_ptr_null(network_parse(str_of(row[i].net), &net));
		make_address(row[i].addr, &ss);
		ck_assert_msg(networks_hold(&nets, (struct sockaddr *)&ss) == row[i].want, "%s %s", row[i].net, row[i].addr);
	}
	ck_assert(!networks_hold(&(struct networks){ 0 }, (struct sockaddr *)&(struct sockaddr_in){ .sin_family = AF_INET }));
}
END_TEST

START_TEST(what_is_no_network_is_refused)
{
	static const char *const row[] = { "", "/", "/8", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/x", "10.0.0/8", "2001:db8::/129",
		"2001:db8::1/64", "example.org", "[10.0.0.1]", "[::1", "10.0.0.0/8/8", "10.0.0.0/-1" };
	struct network net;

	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		ck_assert_msg(network_parse(str_of(row[i]), &net) != NULL, "%s", row[i]);
}
END_TEST

START_TEST(listeners_are_urls)
{
	static const struct { const char *text; int family; const char *addr; unsigned port; } row[] = {
		{ "smtp://127.0.0.1:2525", AF_INET, "127.0.0.1", 2525 }, { "SMTP://127.0.0.1", AF_INET, "127.0.0.1", 25 },
		{ "smtp://[::1]:26/", AF_INET6, "::1", 26 }, { "smtp://[::1]", AF_INET6, "::1", 25 }, { "smtp://*:25", AF_INET6, "::", 25 },
		{ "smtp://*", AF_INET6, "::", 25 }, { "smtp://localhost:0", AF_INET, "127.0.0.1", 0 },
	};
	static const char *const bad[] = { "", "127.0.0.1:25", "smtp:127.0.0.1", "smtp://", "smtp://:25", "smtp://127.0.0.1:", "smtp://127.0.0.1:65536",
		"smtp://::1:25", "smtp://[::1", "smtp://[::1]25", "smtp://mail.example.org:25", "http://127.0.0.1:80", "smtp://127.0.0.1:25x" };
	struct listen_on on;
	char text[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct sockaddr_in *v4 = (struct sockaddr_in *)&on.addr;
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&on.addr;

		ck_assert_msg(listen_parse(str_of(row[i].text), &on) == NULL, "%s", row[i].text);
		ck_assert_int_eq(on.addr.ss_family, row[i].family);
		inet_ntop(row[i].family, row[i].family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr, text, sizeof text);
		ck_assert_str_eq(text, row[i].addr);
		ck_assert_uint_eq(ntohs(row[i].family == AF_INET ? v4->sin_port : v6->sin6_port), row[i].port);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(listen_parse(str_of(bad[i]), &on) != NULL, "%s", bad[i]);
}
END_TEST

START_TEST(resolvers_are_addresses_with_or_without_port)
{
	static const struct { const char *text; bool ok; unsigned port; } row[] = {
		{ "127.0.0.1", true, 53 }, { "127.0.0.1:5353", true, 5353 }, { "::1", true, 53 }, { "[::1]:5353", true, 5353 }, { "[::1]", true, 53 },
		{ "127.0.0.1:0", false, 0 }, { "127.0.0.1:", false, 0 }, { "dns.example.org", false, 0 }, { "", false, 0 },
	};
	struct sockaddr_storage ss;
	socklen_t len;

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_msg(resolver_parse(str_of(row[i].text), &ss, &len) == row[i].ok, "%s", row[i].text);
		if (row[i].ok)
			ck_assert_uint_eq(ntohs(((struct sockaddr_in *)&ss)->sin_port), row[i].port);
	}
}
END_TEST

START_TEST(presets_make_a_whole_configuration)
{
	struct route way;

	ck_assert_msg(LOAD("hostname = Mail.Example.org"), "%s", errors());
	ck_assert_uint_eq(set.nlisten, 1);
	ck_assert_uint_eq(set.message_size, 36700160);
	ck_assert_int_eq(set.retry_first, 300);
	ck_assert_int_eq(set.retry_max, 14400);
	ck_assert_int_eq(set.queue_lifetime, 432000);
	ck_assert_int_eq(set.delay_notice, 14400);
	ck_assert(set.deliver);
	ck_assert_ptr_null(set.resolver);
	ck_assert_ptr_null(set.user);
	ck_assert_int_eq(set.log_level, LOG_INFO);
	ck_assert_uint_eq(set.sessions_per_address, 100);
	ck_assert_str_eq(set.origin, "mail.example.org");
	route_find(&set.routes, STR("mail.example.org"), NULL, &way);
	ck_assert_int_eq(way.kind, ROUTE_LOCAL);
	route_find(&set.routes, STR("localhost"), NULL, &way);
	ck_assert_int_eq(way.kind, ROUTE_LOCAL);
	route_find(&set.routes, STR("example.org"), NULL, &way);
	ck_assert_int_eq(way.kind, ROUTE_MX);
	settings_free(&set);
}
END_TEST

START_TEST(said_local_domains_are_all_of_them)
{
	ck_assert_msg(LOAD("hostname = h.test", "local_domains = A.test b.test", "route = x.test smtp://127.0.0.1:2600"), "%s", errors());
	ck_assert_uint_eq(set.routes.nlocal, 2);
	ck_assert(route_is_local(&set.routes, STR("a.test")));
	ck_assert(!route_is_local(&set.routes, STR("h.test")));
	ck_assert_str_eq(set.origin, "a.test");
	ck_assert_uint_eq(set.routes.n, 1);
	settings_free(&set);
}
END_TEST

START_TEST(a_host_without_local_domains_writes_its_own_name)
{
	ck_assert_msg(LOAD("hostname = h.test", "local_domains =", "route = * smtp://relay.test:587"), "%s", errors());
	ck_assert_uint_eq(set.routes.nlocal, 0);
	ck_assert_str_eq(set.origin, "h.test");
	settings_free(&set);
}
END_TEST

START_TEST(there_is_always_a_hostname)
{
	ck_assert_msg(LOAD("hostname ="), "%s", errors());
	ck_assert(set.hostname && *set.hostname);
	settings_free(&set);
}
END_TEST

START_TEST(one_retry_setting_moves_the_preset_of_the_other)
{
	ck_assert(LOAD("retry_max = 10s"));
	ck_assert_int_eq(set.retry_first, 10);
	settings_free(&set);
	ck_assert(LOAD("retry_first = 5h"));
	ck_assert_int_eq(set.retry_max, 18000);
	settings_free(&set);
	ck_assert(!LOAD("retry_first = 5h", "retry_max = 4h"));
	settings_free(&set);
}
END_TEST

START_TEST(greylisting_that_lets_nobody_in_is_refused)
{
	ck_assert(LOAD("greylist_window = 1m"));
	settings_free(&set);
	ck_assert(!LOAD("greylist = yes", "greylist_window = 1m"));
	ck_assert_msg(strstr(errors(), "nobody would ever be let in") != NULL, "%s", errors());
	settings_free(&set);
}
END_TEST

/* Nothing is done for users by a server that stays root. */
START_TEST(what_is_done_for_users_needs_an_account_to_become)
{
	static const char *const option[] = { "mailbox = ~/Maildir/", "mailbox = {home}/Maildir", "pipes = yes" };

	for (size_t i = 0; i < sizeof option / sizeof *option; i++) {
		struct arguments a = { .file = "/dev/null", .n = 1, .option = { option[i] } };
		bool ok = settings_load(&set, &a);

		ck_assert_int_eq(ok, geteuid() != 0);
		ck_assert(ok || strstr(buf_cstr(&set.conf.errors), "user is empty: set user = NAME"));
		settings_free(&set);
		a.option[a.n++] = "user = nobody";
		ok = settings_load(&set, &a);
		ck_assert_msg(ok, "%s", buf_cstr(&set.conf.errors));
		ck_assert_int_eq(set.homes, i < 2);
		settings_free(&set);
	}
}
END_TEST

START_TEST(values_that_cannot_work_are_told)
{
	static const struct { const char *option, *want; } row[] = {
		{ "listen = smtp://mail:25", "-o: listen: \"smtp://mail:25\" names no address." },
		{ "relay_from = 10.0.0.1/8", "-o: relay_from: \"10.0.0.1/8\" has bits set" },
		{ "route = nonsense", "-o: route: \"nonsense\": " },
		{ "metrics_listen = 127.0.0.1", "-o: metrics_listen = 127.0.0.1 is no address with a port. Write one such as 127.0.0.1:9797" },
		{ "metrics_listen = localhost:80", "is no address with a port" },
		{ "metrics_listen = 127.0.0.1:80 privat", "is no address with a port" },
		{ "metrics_listen = 127.0.0.1:80 public x", "is no address with a port" },
		{ "metrics_listen = 127.0.0.1:0", "is no address with a port" },
		{ "metrics_listen = 0.0.0.0:9797", "can be reached by others, who could read which domains mail goes to. Write 127.0.0.1:9797; or, if it is meant so, "
			"0.0.0.0:9797 public." },
		{ "metrics_listen = [::]:9797", "can be reached by others" },
		{ "local_domains = a..b", "-o: local_domains: \"a..b\": " },
		{ "hostname = a b", "-o: hostname = a b: " },
		{ "origin = @", "-o: origin = @: " },
		{ "mailbox = /var/mail", "has no {user} in it" },
		{ "mailbox =", "-o: mailbox is empty." },
		{ "forward = yes", "-o: forward = yes, but mailbox = /var/mail/{user}/ is not in the homes of users." },
		{ "pipe_user = root", "-o: pipe_user = root is root" },
		{ "pipe_user = no-such-account-here", "-o: pipe_user = no-such-account-here is no account of this system" },
		{ "mailbox_full = bounce", "-o: mailbox_full = \"bounce\" is not known. Write defer or refuse." },
		{ "subaddress = ++", "-o: subaddress = ++ is no separator. Write one of + - . _ or =, or nothing." },
		{ "subaddress = a", "-o: subaddress = a is no separator." },
		{ "queue =", "-o: queue is empty." },
		{ "postmaster = a/b", "-o: postmaster = a/b can be no user's name" },
		{ "resolver = ns.example.org", "-o: resolver: \"ns.example.org\" is no address" },
		{ "log_level = loud", "-o: log_level = loud is no level. Write error, warn, info or debug." },
		{ "log_format = xml", "-o: log_format = xml is no form. Write plain or json." },
		{ "log_level =", "-o: log_level =  is no level." },
		{ "sessions_per_address = -1", "-o: sessions_per_address = \"-1\" is not a number." },
		{ "message_size = 10k", "-o: message_size = 10k is too small." },
		{ "tls_reports = yes", "-o: tls_reports = yes is neither no nor an address: there is no @ in the address." },
		{ "dmarc_reports = yes", "-o: dmarc_reports = yes is neither off, keep nor an address: there is no @ in the address." },
		{ "dmarc_reports = a@b@c", "-o: dmarc_reports = a@b@c is neither off, keep nor an address: " },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_msg(!LOAD(row[i].option), "%s", row[i].option);
		ck_assert_msg(strstr(errors(), row[i].want) != NULL, "%s: %s", row[i].option, errors());
		settings_free(&set);
	}
}
END_TEST

START_TEST(reports_of_dmarc_are_off_kept_or_sent_where_somebody_asks_about_it)
{
	static const struct { const char *option; enum dmarc_reports want; } row[] = {
		{ "dmarc_reports = off", DMARC_REPORTS_OFF }, { "dmarc_reports =", DMARC_REPORTS_OFF }, { "dmarc_reports = KEEP", DMARC_REPORTS_KEEP },
		{ "dmarc_reports = anna@here.test", DMARC_REPORTS_SEND },
	};
	static const char *const blind[] = { "dmarc = off", "spf = off", "check_dkim = no" };

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_msg(LOAD(row[i].option), "%s: %s", row[i].option, errors());
		ck_assert_int_eq(set.dmarc_reports, row[i].want);
		settings_free(&set);
		for (size_t k = 0; k < sizeof blind / sizeof *blind; k++) {
			ck_assert_int_eq(LOAD(blind[k], row[i].option), row[i].want == DMARC_REPORTS_OFF);
			ck_assert(row[i].want == DMARC_REPORTS_OFF || strstr(errors(), "has nothing to tell: nobody asks about DMARC."));
			settings_free(&set);
		}
	}
}
END_TEST

START_TEST(no_complaint_shows_a_password)
{
	static const char *const row[] = {
		"route = * smtps://anna:geheim", "route = * smtps:anna:geheim@h.test", "route = * smtps://anna:geheim@", "route = * smtp://a:geheim@h.test",
		"route = * smtps://anna:geheim@h.test x", "route = * mx password=geheim", "route = x.test smtps://h.test user=a password=geheim",
		"route = a..b smtps://anna:geheim@h.test", "route = smtps://anna:geheim@h.test", "route = * smtps://a:geheim%4@h.test",
		"route = * smtps://h.test anna:geheim",
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_msg(!LOAD(row[i]), "%s", row[i]);
		ck_assert_msg(strstr(errors(), "-o: route: ") != NULL, "%s: %s", row[i], errors());
		ck_assert_msg(!strstr(errors(), "geheim"), "%s: %s", row[i], errors());
		settings_free(&set);
	}
}
END_TEST

START_TEST(a_route_is_shown_whole_but_for_its_password)
{
	static const struct { const char *option, *want; } row[] = {
		{ "route = * smtps://anna:geheim@h.test:465", "route = * smtps://anna:******@h.test:465\n" },
		{ "route = * smtps://anna:a:b%40@h.test tls=encrypt", "route = * smtps://anna:******@h.test tls=encrypt\n" },
		{ "route = * smtp://h.test:25", "route = * smtp://h.test:25\n" },
		{ "route = * lmtp://[::1]:24", "route = * lmtp://[::1]:24\n" },
	};
	char file[200], option[400], want[402];
	const char *tmp = getenv("TMPDIR");
	struct buf out = { 0 };
	int fd;

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_msg(LOAD(row[i].option), "%s: %s", row[i].option, errors());
		buf_clear(&out);
		ck_assert(conf_print(&set.conf, &out));
		ck_assert_msg(strstr(buf_cstr(&out), row[i].want) != NULL, "%s", row[i].option);
		settings_free(&set);
	}
	snprintf(file, sizeof file, "%.150s/password.XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(file);
	ck_assert_int_eq(file_write(fd, "geheim\n", 7), 0);
	close(fd);
	snprintf(option, sizeof option, "route = * smtps://h.test:465 user=anna@x.test password_file=%s", file);
	snprintf(want, sizeof want, "%s\n", option);
	ck_assert_msg(LOAD(option), "%s", errors());
	buf_clear(&out);
	ck_assert(conf_print(&set.conf, &out));
	ck_assert_msg(strstr(buf_cstr(&out), want) != NULL, "%s", option);
	ck_assert_str_eq(set.routes.rule[0].login.password, "geheim");
	settings_free(&set);
	unlink(file);
	buf_free(&out);
}
END_TEST

START_TEST(figures_are_told_to_this_host_alone_unless_it_is_meant_otherwise)
{
	static const struct { const char *option; bool is_public; int family; } row[] = {
		{ "metrics_listen = 127.0.0.1:9797", false, AF_INET }, { "metrics_listen = [::1]:9797", false, AF_INET6 },
		{ "metrics_listen = 192.0.2.1:9797 public", true, AF_INET }, { "metrics_listen = [::]:9797 public", true, AF_INET6 },
		{ "metrics_listen =", false, AF_UNSPEC },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_msg(LOAD(row[i].option), "%s: %s", row[i].option, errors());
		ck_assert(set.metrics_public == row[i].is_public && set.metrics_addr.ss_family == row[i].family && !set.metrics_len == !row[i].family);
		settings_free(&set);
	}
}
END_TEST

START_TEST(log_levels_have_names)
{
	static const struct { const char *option; enum log_level want; } row[] = {
		{ "log_level = error", LOG_ERROR }, { "log_level = warn", LOG_WARN }, { "log_level = info", LOG_INFO }, { "log_level = debug", LOG_DEBUG },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_msg(LOAD(row[i].option), "%s", errors());
		ck_assert_int_eq(set.log_level, row[i].want);
		settings_free(&set);
	}
}
END_TEST

START_TEST(certificates_and_keys_come_in_pairs)
{
	ck_assert_msg(LOAD("tls_certificate = /a", "tls_key = /b", "tls_certificate = /c c", "tls_key = /d"), "%s", errors());
	ck_assert_uint_eq(set.ntls, 2);
	ck_assert_str_eq(set.tls[1].certificate, "/c c");
	ck_assert_str_eq(set.tls[1].key, "/d");
	ck_assert_int_eq(set.tls_out, TLS_OUT_MAY);
	settings_free(&set);
	ck_assert(LOAD("tls_out = MUST"));
	ck_assert_int_eq(set.tls_out, TLS_OUT_MUST);
	settings_free(&set);
	ck_assert(!LOAD("tls_certificate = /a"));
	ck_assert_ptr_nonnull(strstr(errors(), "there are 1 tls_certificate and 0 tls_key"));
	settings_free(&set);
	ck_assert(!LOAD("tls_certificate = /a", "tls_key = /b", "tls_key = /c"));
	settings_free(&set);
	ck_assert(!LOAD("tls_out = sometimes"));
	ck_assert_ptr_nonnull(strstr(errors(), "Write may, no or must."));
}
END_TEST

START_TEST(the_command_line_takes_c_and_o_glued_or_spaced)
{
	char *argv[] = { (char[]){ "serve" }, (char[]){ "-c" }, (char[]){ "f1" }, (char[]){ "-olog = stderr" }, (char[]){ "-o" },
		(char[]){ "deliver=no" }, (char[]){ "-cf2" }, (char[]){ "-x" }, (char[]){ "-c" }, NULL };
	struct arguments a = { 0 };
	const char *why;
	int i = 1;

	ck_assert(arguments_take(&a, 9, argv, &i, &why) && !why && i == 2);
	ck_assert_str_eq(a.file, "f1");
	for (i = 3; i < 7; i++)
		ck_assert(arguments_take(&a, 9, argv, &i, &why) && !why);
	ck_assert_str_eq(a.file, "f2");
	ck_assert_uint_eq(a.n, 2);
	ck_assert_str_eq(a.option[0], "log = stderr");
	ck_assert_str_eq(a.option[1], "deliver=no");
	i = 7;
	ck_assert(!arguments_take(&a, 9, argv, &i, &why));
	i = 8;
	ck_assert(arguments_take(&a, 9, argv, &i, &why) && why);
}
END_TEST

START_TEST(the_environment_names_the_file_and_is_no_setting)
{
	struct arguments none = { 0 };

	setenv("FARDEL_CONF", "/nonexistent/f.conf", 1);
	ck_assert(!settings_load(&set, &none));
	ck_assert_str_eq(errors(), "/nonexistent/f.conf: cannot be read: No such file or directory.\n");
	settings_free(&set);
	setenv("FARDEL_CONF", "/dev/null", 1);
	setenv("FARDEL_RETRY_MAX", "9h", 1);
	ck_assert_msg(settings_load(&set, &none), "%s", errors());
	ck_assert_int_eq(set.retry_max, 32400);
	settings_free(&set);
}
END_TEST

static const char *const relayhost_names[] = { "RELAYHOST", "RELAYHOST_USERNAME", "RELAYHOST_PASSWORD", "RELAYHOST_PASSWORD_FILE" };

/* NULL: unset. */
static void say_relayhost(const char *const value[4])
{
	for (size_t i = 0; i < 4; i++) {
		if (value[i])
			setenv(relayhost_names[i], value[i], 1);
		else
			unsetenv(relayhost_names[i]);
	}
}

START_TEST(the_relayhost_of_containers_becomes_a_route)
{
	static const struct { const char *value[4], *key, *user, *password; } row[] = {
		{ { "relay.test" }, "smtp://relay.test:25", "", "" },
		{ { "Relay.test:2525" }, "smtp://relay.test:2525", "", "" },
		{ { "[relay.test]" }, "smtp://relay.test:25", "", "" },
		{ { "[relay.test]:587" }, "smtp+starttls://relay.test:587", "", "" },
		{ { " relay.test:465\n" }, "smtps://relay.test:465", "", "" },
		{ { "[2001:db8::1]:26" }, "smtp://[2001:db8::1]:26", "", "" },
		{ { "192.0.2.1" }, "smtp://192.0.2.1:25", "", "" },
		{ { "a.test:587,[b.test]:587" }, "smtp+starttls://a.test:587,b.test:587", "", "" },
		{ { "relay.test", "", "", "" }, "smtp://relay.test:25", "", "" },
		{ { "relay.test", "anna", "geheim" }, "smtp+starttls://anna@relay.test:587", "anna", "geheim" },
		{ { "relay.test:465", "anna@x.test", "a b:c%@/#=\xc3\xa4" }, "smtps://anna@x.test@relay.test:465", "anna@x.test", "a b:c%@/#=\xc3\xa4" },
	};

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct route r;
		struct buf out = { 0 };

		say_relayhost(row[i].value);
		ck_assert_msg(LOAD("hostname = h.test"), "%s: %s", row[i].value[0], errors());
		route_find(&set.routes, STR("x.test"), NULL, &r);
		ck_assert_str_eq(r.key, row[i].key);
		ck_assert_uint_eq(set.routes.n, 1);
		ck_assert_str_eq(set.routes.rule[0].login.user, row[i].user);
		ck_assert_str_eq(set.routes.rule[0].login.password, row[i].password);
		ck_assert_str_eq(set.route_text.item[0].where, "RELAYHOST");
		ck_assert(conf_print(&set.conf, &out));
		ck_assert_msg(strstr(buf_cstr(&out), "# (from RELAYHOST)\nroute = * smtp") != NULL, "%s", buf_cstr(&out));
		ck_assert(!*row[i].password || !strstr(buf_cstr(&out), row[i].password));
		buf_free(&out);
		settings_free(&set);
	}
	say_relayhost((const char *const[4]){ 0 });
}
END_TEST

START_TEST(a_relayhost_gives_way_to_a_route_for_all_and_to_no_other)
{
	static const struct { const char *option; size_t rules; const char *where; } row[] = {
		{ "route = * smtp://other.test", 1, "-o" }, { "route = * mx", 1, "-o" },
		{ "route = x.test smtp://other.test", 2, "-o, RELAYHOST" }, { "route = * smtp://other.test from=anna@x.test", 2, "-o, RELAYHOST" },
	};

	say_relayhost((const char *const[4]){ "relay.test" });
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		ck_assert_msg(LOAD(row[i].option), "%s", errors());
		ck_assert_uint_eq(set.routes.n, row[i].rules);
		ck_assert_str_eq(conf_where(&set.conf, "route"), row[i].where);
		settings_free(&set);
	}
	/* Nothing of it is looked at, then. */
	say_relayhost((const char *const[4]){ "a b", "anna" });
	ck_assert_msg(LOAD("route = * smtp://other.test"), "%s", errors());
	settings_free(&set);
	say_relayhost((const char *const[4]){ 0 });
}
END_TEST

START_TEST(a_wrong_relayhost_is_told_with_its_variable_and_no_password)
{
	char many[2000];
	const struct { const char *value[4], *want; } row[] = {
		{ { "a b" }, "RELAYHOST: is to be " }, { { "smtp://relay.test" }, "RELAYHOST: is to be " },
		{ { "anna:geheim@relay.test" }, "RELAYHOST: is to be " }, { { "relay.test:0" }, "RELAYHOST: the port " },
		{ { "relay.test:x" }, "RELAYHOST: the port " }, { { "[relay.test" }, "RELAYHOST: " }, { { "[]" }, "RELAYHOST: " },
		{ { "a..b" }, "RELAYHOST: " }, { { "," }, "RELAYHOST: " }, { { "192.0.2.1:587" }, "RELAYHOST: the host's certificate " },
		{ { "2001:db8::1" }, "RELAYHOST: " }, { { "a\nb" }, "RELAYHOST: " }, { { many }, "RELAYHOST: " },
		{ { NULL, "anna", "geheim" }, "RELAYHOST_USERNAME: is set, and RELAYHOST is not" },
		{ { "relay.test", "anna" }, "RELAYHOST_USERNAME: is set without a password" },
		{ { "relay.test", many, "geheim" }, "RELAYHOST_USERNAME: is longer" },
		{ { "relay.test", NULL, "geheim" }, "RELAYHOST_PASSWORD: is set without RELAYHOST_USERNAME" },
		{ { "relay.test", "anna", many }, "RELAYHOST_PASSWORD: is longer" }, { { "relay.test", "anna", "ge\nheim" }, "RELAYHOST_PASSWORD: " },
		{ { "relay.test", "anna", "geheim", "/f" }, "RELAYHOST_PASSWORD_FILE: is set beside" },
		{ { "relay.test", "anna", NULL, "f" }, "RELAYHOST_PASSWORD_FILE: needs the whole path" },
		{ { "relay.test", "anna", NULL, "/nonexistent/f" }, "RELAYHOST_PASSWORD_FILE: route: password_file=/nonexistent/f: No such file" },
	};

	memset(many, 'x', sizeof many - 1);
	many[sizeof many - 1] = '\0';
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		say_relayhost(row[i].value);
		ck_assert_msg(!LOAD("hostname = h.test"), "%s", row[i].want);
		ck_assert_msg(!strncmp(errors(), row[i].want, strlen(row[i].want)), "%zu: %s", i, errors());
		ck_assert_msg(!strstr(errors(), "geheim"), "%s", errors());
		settings_free(&set);
	}
	say_relayhost((const char *const[4]){ 0 });
}
END_TEST

START_TEST(the_relayhosts_password_file_is_as_a_container_mounts_it)
{
	const char *tmp = getenv("TMPDIR");
	char file[200];
	int fd;

	snprintf(file, sizeof file, "%.150s/secret.XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(file);
	ck_assert_int_eq(file_write(fd, "geheim\n", 7), 0);
	ck_assert_int_eq(fchmod(fd, 0444), 0);
	close(fd);
	say_relayhost((const char *const[4]){ "relay.test", "anna", NULL, file });
	ck_assert_msg(LOAD("hostname = h.test"), "%s", errors());
	ck_assert_str_eq(set.routes.rule[0].login.password, "geheim");
	settings_free(&set);
	say_relayhost((const char *const[4]){ 0 });
	unlink(file);
}
END_TEST

Suite *cmd_settings_suite(void)
{
	Suite *s = suite_create("cmd_settings");
	TCase *c = tcase_create("settings");

	tcase_add_test(c, networks_hold_their_addresses_and_no_others);
	tcase_add_test(c, what_is_no_network_is_refused);
	tcase_add_test(c, listeners_are_urls);
	tcase_add_test(c, resolvers_are_addresses_with_or_without_port);
	tcase_add_test(c, presets_make_a_whole_configuration);
	tcase_add_test(c, said_local_domains_are_all_of_them);
	tcase_add_test(c, a_host_without_local_domains_writes_its_own_name);
	tcase_add_test(c, there_is_always_a_hostname);
	tcase_add_test(c, one_retry_setting_moves_the_preset_of_the_other);
	tcase_add_test(c, greylisting_that_lets_nobody_in_is_refused);
	tcase_add_test(c, values_that_cannot_work_are_told);
	tcase_add_test(c, what_is_done_for_users_needs_an_account_to_become);
	tcase_add_test(c, reports_of_dmarc_are_off_kept_or_sent_where_somebody_asks_about_it);
	tcase_add_test(c, no_complaint_shows_a_password);
	tcase_add_test(c, a_route_is_shown_whole_but_for_its_password);
	tcase_add_test(c, figures_are_told_to_this_host_alone_unless_it_is_meant_otherwise);
	tcase_add_test(c, log_levels_have_names);
	tcase_add_test(c, certificates_and_keys_come_in_pairs);
	tcase_add_test(c, the_command_line_takes_c_and_o_glued_or_spaced);
	tcase_add_test(c, the_environment_names_the_file_and_is_no_setting);
	tcase_add_test(c, the_relayhost_of_containers_becomes_a_route);
	tcase_add_test(c, a_relayhost_gives_way_to_a_route_for_all_and_to_no_other);
	tcase_add_test(c, a_wrong_relayhost_is_told_with_its_variable_and_no_password);
	tcase_add_test(c, the_relayhosts_password_file_is_as_a_container_mounts_it);
	tcase_add_test(c, want_of_memory_is_no_error_in_the_settings);
	suite_add_tcase(s, c);
	return s;
}
