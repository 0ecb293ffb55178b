/* The places a server writes to, from its settings. */
#include "cmd/confine.h"

#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/sandbox.h"

enum { PLACES_MAX = 16 };

struct places {
	char path[PLACES_MAX][PATH_MAX];
	const char *ptr[PLACES_MAX];
	size_t n;
};

/* The directory that holds this, or will: of what is not there yet, the nearest one above. */
static void add_place(struct places *p, const char *path, size_t n)
{
	char *mine = p->path[p->n];
	struct stat st;

	if (p->n == PLACES_MAX || n == 0 || n >= PATH_MAX)
		return;
	memcpy(mine, path, n);
	mine[n] = '\0';
	while (stat(mine, &st) == -1 || !S_ISDIR(st.st_mode)) {
		char *slash = strrchr(mine, '/');

		if (!slash || slash == mine)
			return;         /* the root: that would be no confinement */
		*slash = '\0';
	}
	p->ptr[p->n++] = mine;
}

static void add_directory_of(struct places *p, const char *file)
{
	const char *slash = file ? strrchr(file, '/') : NULL;

	if (slash)
		add_place(p, file, (size_t)(slash - file));
}

static void gather(struct places *p, const struct settings *s)
{
	const char *name = strchr(s->mailbox, '{');
	const struct passwd *me = s->homes ? getpwuid(geteuid()) : NULL;

	add_place(p, s->queue, strlen(s->queue));
	if (!s->homes)
		add_place(p, s->mailbox, name ? (size_t)(name - s->mailbox) : strlen(s->mailbox));
	else if (me && me->pw_dir[0] == '/' && me->pw_dir[1])   /* others' homes are their children's, who are not shut in */
		add_place(p, me->pw_dir, strlen(me->pw_dir));
	add_directory_of(p, s->log);            /* stderr and syslog have none */
	add_directory_of(p, s->metrics_file);
}

int confine(const struct settings *s)
{
	static const unsigned everything = SANDBOX_FILES | SANDBOX_EXECUTE | SANDBOX_CALLS;
	static struct places places;
	char text[512] = "";
	struct buf why = { 0 };
	unsigned force;
	bool enough;

	if (s->sandbox == CONFINE_NO)
		return 0;
	gather(&places, s);
	force = sandbox_enter(&(struct sandbox){ .place = places.ptr, .n = places.n }, &why);
	enough = force == everything;
	snprintf(text, sizeof text, "%s%s%s%s%s", force & SANDBOX_FILES ? "writes only below the queue, the mailboxes and its logs, " : "",
		force & SANDBOX_EXECUTE ? "executes no programs, " : "", force & SANDBOX_CALLS ? "makes no system calls that mail has no use for, " : "",
		why.n ? "not in force: " : "gains no privileges", why.n ? buf_cstr(&why) : "");
	log_event(enough ? LOG_INFO : s->sandbox == CONFINE_MUST ? LOG_ERROR : LOG_WARN, "sandbox", LF(L_TEXT("msg", text)));
	if (!enough && s->sandbox == CONFINE_MUST)
		fprintf(stderr, "fardel: sandbox = must, and not all of it can be had: %s. Write sandbox = may, or amend the system\n", buf_cstr(&why));
	buf_free(&why);
	return enough || s->sandbox == CONFINE_MAY ? 0 : EX_OSERR;
}
