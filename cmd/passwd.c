/* fardel passwd FILE USER: writes a user's line in the file of users. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "auth/users.h"
#include "cmd/fardel.h"
#include "cmd/prompt.h"
#include "lib/file.h"
#include "lib/rand.h"

enum { FILE_MAX = 4 << 20, SALT = 16 };

static int complain(int status, const char *what, const char *about)
{
	fprintf(stderr, "fardel passwd: %s%s%s\n", what, about ? ": " : "", about ? about : "");
	return status;
}

static const char *read_password(char password[PASSWORD_MAX + 1])
{
	char again[PASSWORD_MAX + 1];
	bool same;

	if (prompt("Password: ", true, password, PASSWORD_MAX + 1) != 1 || !password[0])
		return "no password on standard input, or one of more than 512 octets";
	if (!isatty(STDIN_FILENO))
		return NULL;
	same = prompt("Once more: ", true, again, sizeof again) == 1 && strcmp(password, again) == 0;
	explicit_bzero(again, sizeof again);
	return same ? NULL : "the two passwords differ; nothing is changed";
}

static bool print_secret(struct buf *out, const char *password)
{
	char salt[SALT];
	struct scram_verifier v;

	rand_bytes(salt, sizeof salt);
	scram_make(HASH_SHA256, str_of(password), (struct str){ salt, sizeof salt }, SCRAM_ITERATIONS, &v);
	return scram_print(out, &v);
}

/* The file's lines with this user's replaced, added or (password NULL) left out; addresses stay. *found: the user was there. */
static bool edit(struct str text, struct str name, const char *password, struct buf *out, bool *found)
{
	struct str line, rest = text;

	*found = false;
	while (rest.n) {
		struct str whole, said, addresses = STR("");

		if (!str_cut(&rest, '\n', &line)) {
			line = rest;
			rest = STR("");
		}
		whole = str_trim(line);
		if (!whole.n || whole.p[0] == '#' || !str_cut(&whole, ':', &said) || !str_eq(said, name)) {
			buf_str(out, line);
			buf_char(out, '\n');
			continue;
		}
		if (*found || !password) {      /* a second line of that name never counted */
			*found = true;
			continue;
		}
		*found = true;
		if (str_cut(&whole, ':', &said))
			addresses = whole;
		buf_str(out, name);
		buf_char(out, ':');
		print_secret(out, password);
		if (addresses.n) {
			buf_char(out, ':');
			buf_str(out, addresses);
		}
		buf_char(out, '\n');
	}
	if (!*found && password) {
		buf_str(out, name);
		buf_char(out, ':');
		print_secret(out, password);
		buf_char(out, '\n');
	}
	return !out->bad;
}

static int change(const char *path, const char *name, const char *password)
{
	struct buf text = { .max = FILE_MAX }, out = { .max = FILE_MAX };
	int status = 0;
	bool found = false;

	if (file_read_all(AT_FDCWD, path, &text) == -1 && (errno != ENOENT || !password))
		status = complain(EX_NOINPUT, path, strerror(errno));
	else if (!edit(buf_view(&text), str_of(name), password, &out, &found))
		status = complain(EX_OSERR, "out of memory, or the file would grow over 4 MiB", NULL);
	else if (!found && !password)
		status = complain(EX_NOUSER, "there is nobody of that name", name);
	else if (file_replace(path, out.p, out.n, 0600) == -1)
		status = complain(errno == EACCES || errno == ENOENT ? EX_CANTCREAT : EX_IOERR, path, strerror(errno));
	if (!status)
		printf("%s: %s %s\n", path, name, !password ? "removed" : found ? "has a new password" : "added");
	buf_free(&text);
	buf_free(&out);
	return status;
}

int cmd_passwd(int argc, char **argv)
{
	bool drop = argc > 1 && strcmp(argv[1], "-d") == 0;
	char password[PASSWORD_MAX + 1] = "";
	const char *name, *wrong;
	struct user u;
	char line[USER_NAME_MAX + 64];
	int status;

	if (argc != 3 + drop) {
		fprintf(stderr, "usage: fardel passwd [-d] FILE USER      (the password comes on standard input; -d removes the user)\n");
		return EX_USAGE;
	}
	name = argv[2 + drop];
	if (strlen(name) > USER_NAME_MAX || strchr(name, ':') || name[0] == '#')
		return complain(EX_USAGE, "that can be no user's name", name);
	snprintf(line, sizeof line, "%s:x", name);
	user_parse(str_of(line), &u);
	if (!str_eq(u.name, str_of(name)))
		return complain(EX_USAGE, "that can be no user's name", name);
	if (!drop && (wrong = read_password(password)))
		return complain(EX_DATAERR, wrong, NULL);
	status = change(argv[1 + drop], name, drop ? NULL : password);
	explicit_bzero(password, sizeof password);
	return status;
}
