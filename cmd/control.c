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
#include "lib/list.h"
#include "lib/log.h"
#include "lib/stream.h"
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
	struct node node;
	struct stream stream;
	struct timer patience;
	struct task end;
	uid_t uid;
	bool asked;                     /* its line has come */
	char waits_for[ID_MAX];         /* "": for nothing */
	struct buf answer;
	size_t sent;
};

static struct io door = { .fd = -1 };
static struct list clients;
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

static void end_later(struct client *c)
{
	timer_stop(&c->patience);
	stream_close(&c->stream);
	task_post(&c->end);
}

static void end(struct task *t)
{
	struct client *c = owner_of(t, struct client, end);

	list_remove(&clients, &c->node);
	buf_free(&c->answer);
	free(c);
	if (door.fd != -1)
		io_watch(&door, POLLIN);
}

static void too_late(struct timer *t) { end_later(owner_of(t, struct client, patience)); }

/* As much of the answer as the client takes. */
static void pump(struct client *c)
{
	while (c->sent < c->answer.n && !stream_full(&c->stream)) {
		size_t n = c->answer.n - c->sent < CHUNK ? c->answer.n - c->sent : CHUNK;

		if (stream_write(&c->stream, c->answer.p + c->sent, n) == -1)
			break;
		c->sent += n;
	}
	if (c->sent < c->answer.n || !stream_drained(&c->stream)) {
		timer_set(&c->patience, PATIENCE_MS);
		return;
	}
	buf_clear(&c->answer);
	c->sent = 0;
	if (!c->waits_for[0])
		end_later(c);
	else if (!c->stream.shut)
		timer_set(&c->patience, WAIT_MS);
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
	struct client *c = owner_of(s, struct client, stream);
	struct str line;

	if (s->error) {
		end_later(c);
		return;
	}
	if (c->asked) {
		if (s->eof && c->waits_for[0]) {
			end_later(c);           /* it waits no more */
			return;
		}
		stream_take(s, stream_peek(s).n);       /* nothing else is to be said */
		if (c->answer.n)
			pump(c);
		else if (stream_drained(s) && !c->waits_for[0])
			end_later(c);
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
			end_later(c);
		break;
	}
}

static bool has_enough(uid_t uid)
{
	size_t n = 0;

	for (struct node *x = list_first(&clients); x; x = list_next(&clients, x))
		n += owner_of(x, struct client, node)->uid == uid;
	return uid != 0 && uid != geteuid() && n >= CLIENTS_OF_ONE;
}

/* Takes fd. */
static void begin(int fd)
{
	struct ucred who = { .uid = (uid_t)-1 };
	socklen_t n = sizeof who;
	struct client *c = NULL;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 && n == sizeof who && !has_enough(who.uid))
		c = calloc(1, sizeof *c);
	if (!c || stream_open(&c->stream, fd, fd, event) == -1) {
		free(c);
		close(fd);
		return;
	}
	c->uid = who.uid;
	c->end.run = end;
	c->patience.expired = too_late;
	timer_set(&c->patience, PATIENCE_MS);
	list_push(&clients, &c->node);
}

static void somebody_comes(struct io *io, short revents)
{
	int fd;

	(void)revents;
	while (clients.n < CLIENTS && (fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) != -1)
		begin(fd);
	if (clients.n >= CLIENTS)
		io_forget(io);          /* until one has ended */
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
	for (struct node *x = list_first(&clients); x; x = list_next(&clients, x)) {
		struct client *c = owner_of(x, struct client, node);

		if (strcmp(c->waits_for, k->id) != 0 || c->end.posted)
			continue;
		buf_puts(&c->answer, k->line);
		stream_again(&c->stream);
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

	if (set->control && !strcmp(set->control, "off"))
		return 0;
	list_init(&clients);
	errno = ENAMETOOLONG;
	if (!control_path(set, path_of_door, sizeof path_of_door) || !address_of(path_of_door, &un))
		goto fail;
	remove_stale(&un);
	door.ready = somebody_comes;
	door.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (door.fd == -1 || bind(door.fd, (const struct sockaddr *)&un, sizeof un) == -1 || chmod(un.sun_path, 0666) == -1 ||
	    listen(door.fd, CLIENTS) == -1 || io_watch(&door, POLLIN) == -1)
		goto fail;
	results = calloc(RESULTS, sizeof *results);
	return 0;
fail:
	log_text(LOG_ERROR, "control", "cannot listen on %s: %s. `fardel top`, `metrics` and sendmail --wait know nothing of this process; see the "
		"setting control", path_of_door, strerror(errno));
	if (door.fd != -1)
		close(door.fd);
	door.fd = -1;
	path_of_door[0] = '\0';
	return -1;
}

void control_stop(void)
{
	struct node *x;

	if (door.fd == -1)
		return;
	io_forget(&door);
	close(door.fd);
	door.fd = -1;
	unlink(path_of_door);
	while ((x = list_first(&clients))) {
		struct client *c = owner_of(x, struct client, node);

		timer_stop(&c->patience);
		stream_close(&c->stream);
		task_cancel(&c->end);
		list_remove(&clients, x);
		buf_free(&c->answer);
		free(c);
	}
	free(results);
	results = NULL;
}
