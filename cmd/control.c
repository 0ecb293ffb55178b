/* The control socket of the running program. */
#include "cmd/control.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/courier.h"
#include "cmd/figures.h"
#include "lib/door.h"
#include "lib/log.h"
#include "parse.h"

enum {
	CLIENTS = 64,                   /* at a time; more wait in the backlog */
	CLIENTS_OF_ONE = 16,            /* of one account that is neither root's nor ours */
	LINE_MAX_OCTETS = 128,
	PATIENCE_MS = 10000,            /* for the line, and between two signs that the answer is being read */
	WAIT_MS = 3600 * 1000,
	CHUNK = 32768,
	RESULTS = 256,                  /* kept for who asks too late */
	RESULT_LINE = 1024,
	SESSIONS = 100, CONNECTIONS = 100       /* told of by top */
};

struct client {
	struct caller caller;
	uid_t uid;
	bool asked;                     /* its line has come */
	char waits_for[ID_MAX];         /* "": for nothing */
	struct buf answer;
	size_t sent;
};

static struct caller *enter(int fd);
static void event(struct stream *);
static void leave(struct caller *);

static struct door door = { .io.fd = -1, .most = CLIENTS, .patience = PATIENCE_MS, .enter = enter, .event = event, .leave = leave };
static char path_of_door[108];

/* The last results of mail from this host, whose senders may be waiting. */
static struct kept {
	char id[ID_MAX];
	char line[RESULT_LINE];
} *results;
static size_t next_result;

/* ---- answers */

static void put_words(struct buf *out, struct str words)
{
	for (size_t i = 0; i < words.n; i++)
		buf_char(out, ascii_print(words.p[i]) ? words.p[i] : '?');
}

static bool answer_metrics(struct client *c, struct str arg)
{
	(void)arg;
	return figures_print(&c->answer);
}

static void put_dest(void *arg, const struct domain_figures *f)
{
	struct buf *out = arg;

	buf_printf(out, "dest\t%s\t%zu\t%zu\t%" PRId64 "\t%u\t%u\t%" PRId64 "\t%d\t", f->domain, f->entries, f->held, f->oldest, f->connections,
		f->failures, f->again, f->ours);
	put_words(out, str_of(f->why ? f->why->text : ""));
	buf_char(out, '\n');
}

static bool answer_destinations(struct client *c, struct str arg)
{
	(void)arg;
	return queue_measure_domains(CONTROL_DESTS, put_dest, &c->answer) && !c->answer.bad;
}

static void put_session(void *arg, const struct smtpd_figures *f)
{
	buf_printf(arg, "session\t%s\t%s\t%" PRId64 "\t%s\t%u\n", f->peer, f->doing, f->seconds, f->user, f->mails);
}

static void put_connection(void *arg, const char *host, const char *domain, const char *id, unsigned served)
{
	buf_printf(arg, "connection\t%s\t%s\t%s\t%u\n", host, domain, id, served);
}

static bool answer_top(struct client *c, struct str arg)
{
	figures_lines(&c->answer);
	smtpd_measure(SESSIONS, put_session, &c->answer);
	courier_measure(CONNECTIONS, put_connection, &c->answer);
	return answer_destinations(c, arg);
}

static void tell_kept(struct client *c)
{
	for (size_t i = 0; results && i < RESULTS; i++) {
		const struct kept *k = &results[(next_result + i) % RESULTS];

		if (!strcmp(k->id, c->waits_for))
			buf_puts(&c->answer, k->line);
	}
}

static bool answer_wait(struct client *c, struct str arg)
{
	struct entry_name name;
	char as_name[ID_MAX + 8];

	/* the form of an id is that of one in a name */
	if (arg.n >= ID_MAX || (size_t)snprintf(as_name, sizeof as_name, "0.0." STR_FMT ".+", STR_ARG(arg)) >= sizeof as_name ||
	    !entry_parse(as_name, &name))
		return false;
	str_copy(c->waits_for, sizeof c->waits_for, arg);
	tell_kept(c);
	return true;
}

static const struct verb {
	const char *word;
	bool for_all;
	bool (*answer)(struct client *, struct str arg);        /* false: it makes no sense, or there is no memory */
} verbs[] = {
	{ "metrics", false, answer_metrics },
	{ "destinations", false, answer_destinations },
	{ "top", false, answer_top },
	{ "wait", true, answer_wait },
};

/* ---- a client */

static bool has_enough(uid_t uid)
{
	size_t n = 0;

	for (struct node *x = list_first(&door.callers); x; x = list_next(&door.callers, x))
		n += owner_of(x, struct client, caller.node)->uid == uid;
	return uid != 0 && uid != geteuid() && n >= CLIENTS_OF_ONE;
}

static struct caller *enter(int fd)
{
	struct ucred who = { .uid = (uid_t)-1 };
	socklen_t n = sizeof who;
	struct client *c;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == -1 || n != sizeof who || has_enough(who.uid) || !(c = calloc(1, sizeof *c)))
		return NULL;
	c->uid = who.uid;
	return &c->caller;
}

static void leave(struct caller *caller)
{
	struct client *c = owner_of(caller, struct client, caller);

	buf_free(&c->answer);
	free(c);
}

/* As much of the answer as the client takes. */
static void pump(struct client *c)
{
	while (c->sent < c->answer.n && !stream_full(&c->caller.stream)) {
		size_t n = c->answer.n - c->sent < CHUNK ? c->answer.n - c->sent : CHUNK;

		if (stream_write(&c->caller.stream, c->answer.p + c->sent, n) == -1)
			break;
		c->sent += n;
	}
	if (c->sent < c->answer.n || !stream_drained(&c->caller.stream)) {
		timer_set(&c->caller.patience, PATIENCE_MS);
		return;
	}
	buf_clear(&c->answer);
	c->sent = 0;
	if (!c->waits_for[0])
		caller_end(&c->caller);
	else if (!c->caller.stream.shut)
		timer_set(&c->caller.patience, WAIT_MS);
}

static void refuse(struct client *c, const char *why)
{
	c->waits_for[0] = '\0';
	buf_clear(&c->answer);
	buf_printf(&c->answer, "no %s\n", why);
}

static bool may_ask(const struct client *c, const struct verb *v)
{
	return v->for_all || c->uid == 0 || c->uid == geteuid();
}

static void take_line(struct client *c, struct str line)
{
	struct str word;
	const struct verb *v = NULL;

	c->asked = true;
	buf_puts(&c->answer, "ok\n");
	if (!str_word(&line, &word))
		word = STR("");
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (str_eq(word, str_of(verbs[i].word)))
			v = &verbs[i];
	if (!v)
		refuse(c, "such verb");
	else if (!may_ask(c, v))
		refuse(c, "right: this is for root and the account of the server");
	else if (!v->answer(c, str_trim(line)) || c->answer.bad)
		refuse(c, "answer: that was not understood, or memory is out");
	pump(c);
}

static void event(struct stream *s)
{
	struct client *c = owner_of(s, struct client, caller.stream);
	struct str line;

	if (s->error) {
		caller_end(&c->caller);
		return;
	}
	if (c->asked) {
		if (s->eof && c->waits_for[0]) {
			caller_end(&c->caller);       /* it waits no more */
			return;
		}
		stream_take(s, stream_peek(s).n);       /* nothing else is to be said */
		if (c->answer.n)
			pump(c);
		else if (stream_drained(s) && !c->waits_for[0])
			caller_end(&c->caller);
		return;
	}
	switch (stream_line(s, LINE_MAX_OCTETS, &line)) {
	case LINE_OK:
	case LINE_BARE:
		take_line(c, line);
		break;
	case LINE_LONG:
		c->asked = true;
		refuse(c, "line so long");
		pump(c);
		break;
	case LINE_NONE:
		if (s->eof)
			caller_end(&c->caller);
		break;
	}
}

/* ---- results */

static bool from_here(struct str origin)
{
	for (size_t i = 0; i + 4 <= origin.n; i++)
		if (!memcmp(origin.p + i, "uid ", 4) || !memcmp(origin.p + i, "[127", 4) || !memcmp(origin.p + i, "::1]", 4))
			return true;
	return false;
}

/* Has everybody been told something? */
static bool was_last(const struct mail *m)
{
	for (size_t i = 0; i < m->nrcpt; i++)
		if (m->rcpt[i].state == RCPT_OPEN && !m->rcpt[i].deferred)
			return false;
	return true;
}

static void print_result(char line[RESULT_LINE], const struct mail *m, const struct rcpt *r, const struct result *res)
{
	static const char *const words[] = { "delivered", "deferred", "failed" };
	static const char end[] = "\nend\n";
	struct buf b = { .max = RESULT_LINE - sizeof end };

	buf_puts(&b, "result\t");
	print_addr(&b, &r->to.addr);
	buf_printf(&b, "\t%s\t%d\t%s\t", words[res->what], res->reply->code, res->reply->enhanced);
	put_words(&b, str_of(res->reply->text));
	snprintf(line, RESULT_LINE, "%s%s", buf_cstr(&b), was_last(m) ? end : "\n");
	buf_free(&b);
}

void control_settled(void *arg, const struct mail *m, const struct rcpt *r, const struct result *res)
{
	struct kept *k;

	(void)arg;
	if (!results || !from_here(m->origin))
		return;
	k = &results[next_result];
	next_result = (next_result + 1) % RESULTS;
	str_copy(k->id, sizeof k->id, str_of(m->id));
	print_result(k->line, m, r, res);
	for (struct node *x = list_first(&door.callers); x; x = list_next(&door.callers, x)) {
		struct client *c = owner_of(x, struct client, caller.node);

		if (strcmp(c->waits_for, k->id) != 0 || c->caller.end.posted)
			continue;
		buf_puts(&c->answer, k->line);
		stream_again(&c->caller.stream);
	}
}

/* ---- listening */

bool control_path(const struct settings *set, char *path, size_t size)
{
	if (set->control && !strcmp(set->control, "off"))
		return false;
	if (set->control)
		return (size_t)snprintf(path, size, "%s", set->control) < size;
	return (size_t)snprintf(path, size, "%s/control", set->queue) < size;
}

static bool address_of(const char *path, struct sockaddr_un *un)
{
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return str_copy(un->sun_path, sizeof un->sun_path, str_of(path));
}

/* What nobody listens on is the leftover of a server that was killed. */
static void remove_stale(const struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd != -1 && connect(fd, (const struct sockaddr *)un, sizeof *un) == -1 && errno == ECONNREFUSED &&
	    lstat(un->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(un->sun_path);
	if (fd != -1)
		close(fd);
}

int control_start(const struct settings *set)
{
	struct sockaddr_un un;
	int fd = -1;

	if (set->control && !strcmp(set->control, "off"))
		return 0;
	errno = ENAMETOOLONG;
	if (!control_path(set, path_of_door, sizeof path_of_door) || !address_of(path_of_door, &un))
		goto fail;
	remove_stale(&un);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1 || bind(fd, (const struct sockaddr *)&un, sizeof un) == -1 || chmod(un.sun_path, 0666) == -1 || listen(fd, CLIENTS) == -1 ||
	    door_open(&door, fd) == -1)
		goto fail;
	results = calloc(RESULTS, sizeof *results);
	return 0;
fail:
	log_text(LOG_ERROR, "control", "cannot listen on %s: %s. `fardel top`, `metrics` and sendmail --wait know nothing of this process; see the "
		"setting control", path_of_door, strerror(errno));
	if (fd != -1)
		close(fd);
	path_of_door[0] = '\0';
	return -1;
}

void control_stop(void)
{
	if (door.io.fd == -1)
		return;
	door_close(&door);
	unlink(path_of_door);
	free(results);
	results = NULL;
}
