/* setup: five questions, a login that is tried, and the settings for a host that sends all mail by a relay. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/listing.h"
#include "cmd/prompt.h"
#include "cmd/relay.h"
#include "deliver/mailbox.h"
#include "lib/account.h"
#include "lib/file.h"
#include "lib/log.h"
#include "parse.h"

enum { ANSWER = 512, TRIES = 20, CONNECT_S = 20, SETTINGS_MAX = 1 << 20, ALIASES_MAX = 4 << 20 };

struct setup {
	struct settings set;
	char path[PATH_MAX], password_path[PATH_MAX];
	bool there;                     /* the settings file was there before */
	char address[ANSWER], host[ANSWER], user[ANSWER], password[ANSWER], root[ANSWER];
	struct relay relay;
};

/* ---- asking */

/* Why an answer will not do; NULL: it will. */
static const char *check_address(const char *text)
{
	struct addr a;

	return parse_address(str_of(text), false, &a) || !a.domain.n || a.domain.p[0] == '[' ? "that is no mail address: write anna@example.org" : NULL;
}

static const char *check_host(const char *text)
{
	struct relay r;

	return relay_parse(str_of(text), &r);
}

static const char *check_user(const char *text)
{
	return strlen(text) >= sizeof ((struct route_login){ 0 }).user ? "that is too long: 255 octets are the most" : !*text ? "a name is needed" : NULL;
}

static const char *check_password(const char *text)
{
	return !*text ? "a password is needed" : NULL;
}

/* Somebody here, or an address. */
static const char *check_root(const char *text)
{
	char user[LOCAL_MAX + 1];

	return strchr(text, '@') ? check_address(text) : maildir_user(str_of(text), user) && strcmp(text, "root") != 0 ? NULL :
		"that is neither a mail address nor a user of this host (other than root)";
}

/* An empty answer takes the preset, which is what *answer holds. False: there is no more input. */
static bool ask(const char *question, bool secret, char answer[ANSWER], const char *(*check)(const char *))
{
	char said[ANSWER], whole[2 * ANSWER + 100];
	const char *wrong;

	snprintf(whole, sizeof whole, "%s%s%s%s: ", question, *answer ? " [" : "", secret && *answer ? "as before" : answer, *answer ? "]" : "");
	for (int i = 0; i < TRIES; i++) {
		int got = prompt(whole, secret, said, sizeof said);
		struct str line = secret ? str_of(said) : str_trim(str_of(said));

		if (!got)
			break;
		if (got == 1 && line.n)
			memmove(said, line.p, line.n);
		said[got == 1 ? line.n : 0] = '\0';
		for (const char *p = said; *p; p++)
			if ((unsigned char)*p < 0x20 || *p == 0x7f)
				got = -1;
		wrong = got == -1 ? "that is longer than 511 octets, or holds control characters" : check(*said ? said : answer);
		if (!wrong && *said)
			memcpy(answer, said, sizeof said);
		explicit_bzero(said, sizeof said);
		if (!wrong)
			return true;
		fprintf(stderr, "  %s.\n", wrong);
	}
	explicit_bzero(said, sizeof said);
	return false;
}

/* 'y', 'n' or another letter of those offered; the first is the preset. 0: no more input. */
static char choose(const char *question, const char *letters)
{
	char said[ANSWER];

	for (int i = 0; i < TRIES; i++) {
		int got = prompt(question, false, said, sizeof said);
		struct str line = str_trim(str_of(said));

		if (!got)
			return 0;
		if (got == 1 && !line.n)
			return letters[0];
		if (got == 1 && strchr(letters, ascii_lower(line.p[0])))
			return ascii_lower(line.p[0]);
		fprintf(stderr, "  Answer with one of the letters %s.\n", letters);
	}
	return 0;
}

static bool ask_login(struct setup *u)
{
	return ask("Relay host, as HOST or HOST:PORT", false, u->host, check_host) && ask("User there", false, u->user, check_user) &&
		ask("Password", true, u->password, check_password);
}

static bool ask_address(struct setup *u)
{
	struct str domain, local;

	if (!ask("Your mail address", false, u->address, check_address))
		return false;
	domain = str_of(u->address);
	str_cut_last(&domain, '@', &local);
	printf("Looking for the relay of " STR_FMT "...\n", STR_ARG(domain));
	fflush(stdout);
	if (relay_suggest(&u->set, domain, &u->relay))
		snprintf(u->host, sizeof u->host, "%s:%u", u->relay.host, u->relay.port);
	else
		printf("None is known: your provider's pages say which host takes mail from programs (SMTP, port 465 or 587).\n");
	snprintf(u->user, sizeof u->user, "%s", u->address);
	return true;
}

/* ---- trying */

static enum relay_step try_login(struct setup *u, struct reply *why)
{
	struct buf text = { .max = 8192 };
	struct route_rule rule;
	enum relay_step step;

	relay_parse(str_of(u->host), &u->relay);
	if ((step = relay_find(&u->set, &u->relay, why)) != RELAY_IN)
		return step;
	if (!relay_rule(&text, &u->relay, u->user, u->password, NULL) || route_parse(buf_view(&text), &rule)) {
		reply_set(why, 0, "4.3.5", "names of user and host are too long together");
		step = RELAY_LOGIN;
	} else {
		rule.to.login = &rule.login;
		step = relay_try(&u->set, &rule.to, CONNECT_S, why);
	}
	explicit_bzero(&rule, sizeof rule);
	if (text.p)
		explicit_bzero(text.p, text.room);
	buf_free(&text);
	return step;
}

static void say(const char *label, const char *words) { listing_wrap((size_t)printf("  %s ", label), 4, str_of(words)); }

/* Until it works, or whoever answers wants it written as it is. False: nothing is to be written. */
static bool settle_login(struct setup *u)
{
	for (int i = 0; i < TRIES; i++) {
		struct reply why = { 0 };
		char cause[REPLY_TEXT + 20];
		const char *remedy;
		enum relay_step step;
		char what;

		printf("Trying %s...\n", u->host);
		fflush(stdout);
		step = try_login(u, &why);
		if (step == RELAY_IN) {
			printf("%s:%u lets us in, by %s.\n", u->relay.host, u->relay.port, u->relay.tls_first ? "TLS" : "STARTTLS");
			return true;
		}
		printf("It does not work yet.\n");
		say("Step:", relay_step_name(step));
		if (why.code)
			snprintf(cause, sizeof cause, "%d %s %s", why.code, why.enhanced, why.text);
		else
			snprintf(cause, sizeof cause, "%s", why.text);
		say("Cause:", cause);
		if ((remedy = relay_remedy(step, &why)))
			say("Remedy:", remedy);
		fflush(stdout);
		what = choose("Correct the answers, try again as it is, write it all the same, or end? (c/t/w/e) [c] ", "ctwe");
		if (what == 'w' && u->relay.port)
			return true;
		if (what == 'w')
			fprintf(stderr, "  Which port and TLS it is could not be found out: write HOST:465 or HOST:587.\n");
		if (!what || what == 'e' || (what != 't' && !ask_login(u)))
			return false;
	}
	return false;
}

/* ---- writing */

static const char *const ours[] = { "send_as" };

/* Does a line of the old file say what is said anew? -o and our own lines. */
static bool is_replaced(const struct setup *u, struct str line)
{
	struct str value = str_trim(line), name, word;

	if (!value.n || value.p[0] == '#' || !str_cut(&value, '=', &name))
		return false;
	name = str_trim(name);
	if (str_eq(name, STR("route")))
		return str_word(&value, &word) && str_eq(word, STR("*"));
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		if (str_eq(name, str_of(ours[i])))
			return true;
	for (size_t i = 0; i < u->set.said.n; i++) {
		struct str rest = str_of(u->set.said.option[i]), said;

		if (str_cut(&rest, '=', &said) && str_eq(str_trim(said), name))
			return true;
	}
	return false;
}

/* What the old file says besides stays as it is. */
static bool keep_old(const struct setup *u, struct buf *out)
{
	struct buf old = { .max = SETTINGS_MAX };
	struct str rest, line;
	bool read = file_read_all(AT_FDCWD, u->path, &old) == 0;

	rest = buf_view(&old);
	while (rest.n) {
		if (!str_cut(&rest, '\n', &line)) {
			line = rest;
			rest = STR("");
		}
		buf_printf(out, "%s" STR_FMT "\n", is_replaced(u, line) ? "#" : "", STR_ARG(line));
	}
	buf_free(&old);
	return read && !out->bad;
}

static bool make_settings(const struct setup *u, struct buf *out)
{
	buf_puts(out, "# Written by fardel setup. `fardel config` shows all settings, fardel.conf(5) explains them.\n");
	buf_puts(out, "route = ");
	relay_rule(out, &u->relay, u->user, NULL, u->password_path);
	buf_printf(out, "\n# The relay takes mail from this address: what programs of this host send leaves with it.\nsend_as = * %s\n", u->address);
	for (size_t i = 0; i < u->set.said.n; i++)
		buf_printf(out, "%s\n", u->set.said.option[i]);
	if (u->there) {
		buf_puts(out, "\n# What was here before.\n");
		return keep_old(u, out);
	}
	return !out->bad;
}

static int complain(int status, const char *what, const char *about)
{
	fprintf(stderr, "fardel setup: %s%s%s\n", what, about ? ": " : "", about ? about : "");
	return status;
}

/* The account that sends reads it, or root before that. */
static int write_password(const struct setup *u)
{
	struct account account;
	char line[ANSWER + 1];
	int n = snprintf(line, sizeof line, "%s\n", u->password);
	bool written = file_replace(u->password_path, line, (size_t)n, 0600) == 0 && chmod(u->password_path, 0600) == 0;

	explicit_bzero(line, sizeof line);
	if (!written)
		return complain(EX_CANTCREAT, u->password_path, strerror(errno));
	if (geteuid() == 0 && u->set.user && !account_find(u->set.user, &account) && chown(u->password_path, account.uid, account.gid) == -1)
		return complain(EX_IOERR, u->password_path, strerror(errno));
	return 0;
}

/* Read as it will be before it takes the old one's place. */
static int write_settings(const struct setup *u)
{
	struct buf text = { .max = 2 * SETTINGS_MAX };
	char trial[PATH_MAX + 8], kept[PATH_MAX + 8];
	struct settings s;
	int status = 0;

	snprintf(trial, sizeof trial, "%s.setup", u->path);
	snprintf(kept, sizeof kept, "%s.old", u->path);
	if (!make_settings(u, &text))
		status = complain(EX_IOERR, u->path, "cannot be read, or is larger than any configuration");
	else if (file_replace(trial, text.p, text.n, 0644) == -1)
		status = complain(EX_CANTCREAT, trial, strerror(errno));
	if (!status) {
		if (!settings_load(&s, &(struct arguments){ .file = trial }))
			status = settings_complain(&s);
		settings_free(&s);
		unlink(trial);
	}
	if (!status && u->there && ((unlink(kept) == -1 && errno != ENOENT) || link(u->path, kept) == -1))
		status = complain(EX_CANTCREAT, kept, strerror(errno));
	if (!status && file_replace(u->path, text.p, text.n, 0644) == -1)
		status = complain(EX_CANTCREAT, u->path, strerror(errno));
	buf_free(&text);
	return status;
}

static bool names_root(struct str text)
{
	struct str line;

	while (text.n) {
		struct str name;

		if (!str_cut(&text, '\n', &line)) {
			line = text;
			text = STR("");
		}
		if (str_cut(&line, ':', &name) && str_eq_nocase(str_trim(name), STR("root")))
			return true;
	}
	return false;
}

/* The line in the file of aliases, unless root has one there. Not worth a failure: it is said what is to be done. */
static void write_alias(const struct setup *u)
{
	struct buf text = { .max = ALIASES_MAX };
	const char *path = u->set.aliases;
	struct account account;

	if (!path) {
		printf("There is no file of aliases (setting aliases): root's mail stays root's.\n");
		return;
	}
	if (file_read_all(AT_FDCWD, path, &text) == -1 && errno != ENOENT)
		printf("%s: %s. Write root: %s into it.\n", path, strerror(errno), u->root);
	else if (names_root(buf_view(&text)))
		printf("%s says already who gets root's mail; it stays as it is. You said: %s\n", path, u->root);
	else {
		if (text.n && text.p[text.n - 1] != '\n')
			buf_char(&text, '\n');
		buf_printf(&text, "root: %s\n", u->root);
		if (text.bad || file_replace(path, text.p, text.n, 0644) == -1)
			printf("%s: %s. Write root: %s into it.\n", path, strerror(errno), u->root);
		else
			printf("%s: root's mail goes to %s.%s\n", path, u->root, strchr(u->root, '@') || !account_find(u->root, &account) ? "" :
				" This host has no account of that name: was it meant?");
	}
	buf_free(&text);
}

static int write_all(struct setup *u)
{
	bool password_there = access(u->password_path, F_OK) == 0;
	char question[3 * PATH_MAX + 200];
	int status;

	snprintf(question, sizeof question, "%s%s%s %s there already. Put the new one in its place? What else the settings say stays, and the old file "
		"as %s.old. (n/y) [n] ", u->there ? u->path : "", u->there && password_there ? " and " : "", password_there ? u->password_path : "",
		u->there && password_there ? "are" : "is", u->path);
	if ((u->there || password_there) && choose(question, "ny") != 'y')
		return complain(EX_TEMPFAIL, "nothing is written", "what is there stays as it is");
	if ((status = write_password(u)) || (status = write_settings(u)))
		return status;
	printf("%s: the settings.\n%s: the password, for nobody else to read.\n", u->path, u->password_path);
	write_alias(u);
	printf("Next:\n  fardel check -c %s\nStart the server anew, or let it read the settings (HUP; systemctl reload fardel). Then see a message arrive:\n"
		"  echo it works | fardel sendmail -C %s root\n", u->path, u->path);
	return 0;
}

/* ---- the whole */

/* Where the files go: what can be known before anybody is asked. */
static int find_place(struct setup *u, struct arguments *a)
{
	const char *named = a->file ? a->file : getenv("FARDEL_CONF"), *path = named && *named ? named : SETTINGS_FILE;
	char directory[PATH_MAX], whole[PATH_MAX];
	char *slash;

	if (!str_copy(directory, sizeof directory, str_of(path)))
		return complain(EX_USAGE, "the path is too long", NULL);
	slash = strrchr(directory, '/');
	if (slash)
		slash[slash == directory] = '\0';
	if (slash && file_mkdirs(directory, 0755) == -1)
		return complain(EX_CANTCREAT, directory, strerror(errno));
	if (!realpath(slash ? directory : ".", whole))
		return complain(EX_NOINPUT, directory, strerror(errno));
	if (access(whole, W_OK) == -1)
		return complain(EX_CANTCREAT, whole, errno == EACCES ? "you may not write there: be root, or name a file of yours with -c" : strerror(errno));
	slash = strrchr(path, '/');
	if ((size_t)snprintf(u->path, sizeof u->path, "%s/%s", whole, slash ? slash + 1 : path) >= sizeof u->path - 32 ||
	    (size_t)snprintf(u->password_path, sizeof u->password_path, "%s/relay-password", whole) >= sizeof ((struct route_login){ 0 }).file)
		return complain(EX_USAGE, "the path is too long", NULL);
	if (strpbrk(u->path, " \t#\n"))
		return complain(EX_USAGE, "a path with blanks or # cannot stand in a route", u->path);
	u->there = access(u->path, F_OK) == 0;
	a->file = u->there ? u->path : "/dev/null";
	return 0;
}

static int ask_and_write(struct setup *u)
{
	if (!ask_address(u) || !ask_login(u))
		return complain(EX_TEMPFAIL, "the answers end here; nothing is written", NULL);
	snprintf(u->root, sizeof u->root, "%s", u->address);
	if (!ask("Root's mail goes to", false, u->root, check_root) || !settle_login(u))
		return complain(EX_TEMPFAIL, "nothing is written", NULL);
	return write_all(u);
}

int cmd_setup(int argc, char **argv)
{
	static struct setup u;
	struct arguments a = { 0 };
	const char *why;
	int status;

	for (int i = 1; i < argc; i++) {
		if (!arguments_take(&a, argc, argv, &i, &why))
			why = "what may stand behind it is [-c FILE] [-o 'name = value']...";
		if (why)
			return complain(EX_USAGE, why, NULL);
	}
	if ((status = find_place(&u, &a)))
		return status;
	log_threshold(LOG_ERROR);
	status = settings_load(&u.set, &a) ? ask_and_write(&u) : settings_complain(&u.set);
	settings_free(&u.set);
	explicit_bzero(&u, sizeof u);
	return status;
}
