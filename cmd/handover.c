/* A message of an account that may not open the queue goes over SMTP to the daemon of this host. */
#include "cmd/handover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "client.h"
#include "cmd/await.h"
#include "cmd/fardel.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/ip.h"
#include "lib/loop.h"
#include "queue.h"

enum {
	CONNECT_S = 10,
	COMMAND_S = 30,
	WHOLE_MS = 90000                /* the daemon may take 60 s until a message is durable */
};

static char place[PATH_MAX];            /* the queue for one message; "" there is none */

/* ---- the daemon's address */

static bool is_any(const struct sockaddr_storage *a)
{
	if (a->ss_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static bool reachable(const struct sockaddr_storage *a) { return is_any(a) || ip_is_loopback((const struct sockaddr *)a); }

/* "*" listens on IPv4, too, and there is no host without that loopback address. */
static void any_to_loopback(struct sockaddr_storage *a, socklen_t *len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)a;
	in_port_t port = a->ss_family == AF_INET ? v4->sin_port : ((struct sockaddr_in6 *)a)->sin6_port;

	*a = (struct sockaddr_storage){ 0 };
	v4->sin_family = AF_INET;
	v4->sin_port = port;
	v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*len = sizeof *v4;
}

const struct listen_on *handover_address(const struct settings *set, struct sockaddr_storage *out, socklen_t *len)
{
	const struct listen_on *on = NULL;

	for (size_t i = 0; i < set->nlisten; i++) {
		if (set->listen[i].service == SMTPD_LOCAL) {    /* made for this: who we are is seen, nothing else is asked */
			on = &set->listen[i];
			break;
		}
		if (set->listen[i].service != SMTPD_MX)
			continue;
		/* relay_from has the loopback addresses unless somebody has taken them out. */
		if (!on || (!reachable(&on->addr) && reachable(&set->listen[i].addr)))
			on = &set->listen[i];
	}
	if (!on)
		return NULL;
	*out = on->addr;
	*len = on->len;
	if (out->ss_family != AF_UNIX && is_any(out))
		any_to_loopback(out, len);
	return on;
}

/* ---- the queue for one message */

static bool drops_are_open(const struct settings *set)
{
	char path[PATH_MAX];

	return (size_t)snprintf(path, sizeof path, "%s/new", set->queue) < sizeof path && access(path, W_OK | X_OK) == 0;
}

int handover_begin(const struct settings *set)
{
	const char *above = getenv("TMPDIR");
	struct queue_config q = {
		.dir = place, .inline_sync = true, .message_size = set->message_size,
		.retry_first = set->retry_first, .retry_max = set->retry_max, .lifetime = set->queue_lifetime,
	};
	struct sockaddr_storage addr;
	struct reply busy;
	socklen_t len;
	char why[512] = "";

	if (!handover_address(set, &addr, &len) && !drops_are_open(set))
		return sendmail_complain(EX_TEMPFAIL, "the queue %s is not open to you, and listen has neither unix:// nor smtp:// (%s), so no server can be "
			"asked. Send as the queue's owner, or set listen; nothing is sent", set->queue, conf_where(&set->conf, "listen"));
	if (!above || above[0] != '/' || strlen(above) > sizeof place / 2)
		above = "/tmp";
	snprintf(place, sizeof place, "%s/fardel-sendmail.XXXXXX", above);
	if (!mkdtemp(place)) {
		place[0] = '\0';
		return sendmail_complain(EX_TEMPFAIL, "the queue %s is not open to you, and no directory for the message can be made in %s: %s. "
			"Set TMPDIR to one where you may write; nothing is sent", set->queue, above, strerror(errno));
	}
	if (queue_open(&q, why, sizeof why) == -1)
		return sendmail_complain(EX_TEMPFAIL, "cannot keep the message in %s for the moment: %s. Set TMPDIR to another directory; nothing is sent",
			place, why);
	if (queue_accepting(&busy))
		return 0;
	return sendmail_complain(EX_TEMPFAIL, "cannot keep the message in %s for the moment: %s. Set TMPDIR to another directory; nothing is sent",
		place, busy.text);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
	(void)st;
	(void)kind;
	(void)f;
	return remove(path) == -1 && errno != ENOENT ? -1 : 0;
}

void handover_end(void)
{
	queue_close();
	/* Nobody else can have put anything there. */
	if (place[0] && nftw(place, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == -1)
		sendmail_complain(0, "cannot remove %s: %s. Remove it by hand", place, strerror(errno));
	place[0] = '\0';
}

/* The only file in in/, opened. NULL after a complaint. */
static struct mail *read_back(void)
{
	int in = openat(queue_dir(), "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = in == -1 ? NULL : fdopendir(in);
	const char *why = NULL;
	struct mail *m = NULL;
	struct dirent *x = NULL;

	while (d && (x = readdir(d)) && x->d_name[0] == '.')
		;
	if (x)
		m = mail_read(in, x->d_name, &why);
	if (!m)
		sendmail_complain(0, "cannot read the message again in %s: %s. Nothing is sent; try again later", place, why ? why : strerror(errno));
	if (d)
		closedir(d);
	else if (in != -1)
		close(in);
	return m;
}

/* ---- the conversation */

struct conversation {
	struct client_job job;
	const struct recipient **to;
	const struct listen_on *on;     /* what the daemon listens on */
	struct client *client;          /* NULL: gone */
	struct timer limit;
	char unreached[REPLY_TEXT];     /* why no conversation came about; "": it did */
	char *id;                       /* [ID_MAX]: of the message at the daemon, once it has said so */
	bool verbose;
	bool begun;                     /* the job was given to the client */
	bool job_over, over;
	size_t taken;                   /* recipients that the daemon has answered for */
	int status;
};

/* Of several failures that one which trying again may mend. */
static void failed(struct conversation *c, int status)
{
	if (c->status == 0 || status == EX_TEMPFAIL)
		c->status = status;
}

/* "Queued as 6b04..." */
static void note_id(struct conversation *c, const struct reply *r)
{
	struct str last = str_of(r->text), before;

	if (str_cut_last(&last, ' ', &before) && last.n < ID_MAX)
		str_copy(c->id, ID_MAX, last);
}

/* Whoever has an account expects mail: that of cron, to begin with. */
static bool lacks_mailbox(const struct reply *r, const struct addr *to)
{
	char name[LOCAL_MAX + 1];

	return !strcmp(r->enhanced, "5.1.1") && str_copy(name, sizeof name, to->local) && getpwnam(name);
}

/* What a refusal leaves to be said. */
static const char *hint(const struct reply *r, const struct client_job *job, const struct addr *to)
{
	if (!strcmp(r->enhanced, "5.5.4") && (job->from->hold_for || job->from->hold_until))
		return ". For --at listen needs a unix:///PATH: there it does, of programs of this host";
	if (r->code < 500)
		return str_ends_nocase(str_of(r->text), STR("try again later")) ? "" : "; try again later";
	return lacks_mailbox(r, to) ? ". The account has no mailbox yet: `fardel mkmailbox` makes it, or an alias says who reads its mail" : "";
}

static void got_result(struct client_job *job, size_t i, const struct reply *r)
{
	struct conversation *c = owner_of(job, struct conversation, job);
	struct buf to = { .max = ADDR_MAX };

	print_addr(&to, &job->to[i]->addr);
	if (r->code >= 200 && r->code < 300) {
		c->taken++;
		note_id(c, r);
		if (c->verbose)
			printf("%s: %s\n", buf_cstr(&to), r->text);
	} else {
		failed(c, await_status(r->code, str_of(r->enhanced)));
		sendmail_complain(0, "%s: the server at %s refuses it: %d%s%s %s%s", buf_cstr(&to), c->on->text, r->code, r->enhanced[0] ? " " : "", r->enhanced,
			r->text, hint(r, job, &job->to[i]->addr));
	}
	buf_free(&to);
}

static void not_sent(struct conversation *c, const char *why)
{
	failed(c, EX_TEMPFAIL);
	sendmail_complain(0, "cannot hand the message to the server at %s (%s): %s. Is `fardel serve` running? Try again later",
		c->on->text, c->on->where, why);
}

static void job_done(struct client_job *job, const struct reply *why, bool untried)
{
	struct conversation *c = owner_of(job, struct conversation, job);

	(void)untried;
	c->job_over = true;
	if (why)
		not_sent(c, why->text);
	client_quit(c->client);
}

static void ready(struct client *client, void *arg)
{
	struct conversation *c = arg;

	if (c->begun)
		return;
	c->begun = true;
	if (!client_send(client, &c->job)) {
		not_sent(c, "the connection ended");
		c->over = true;
	}
}

static void gone(struct client *client, void *arg, const struct reply *why)
{
	struct conversation *c = arg;

	(void)client;
	c->client = NULL;
	c->over = true;
	if (!c->begun)
		snprintf(c->unreached, sizeof c->unreached, "%s", why->text);
}

static void time_is_up(struct timer *t)
{
	struct conversation *c = owner_of(t, struct conversation, limit);

	if (!c->begun)
		snprintf(c->unreached, sizeof c->unreached, "no greeting within 90 s");
	else if (!c->job_over)
		not_sent(c, "it did not answer for the whole message within 90 s; it may have it already");
	c->over = true;
}

static int converse(struct conversation *c, const struct settings *set, const struct sockaddr_storage *addr, socklen_t len)
{
	static const struct client_events events = { .ready = ready, .gone = gone };
	struct client_config config = { .hostname = set->hostname, .pass_hold = true, .connect_s = CONNECT_S, .command_s = COMMAND_S };

	c->client = client_open(&config, (const struct sockaddr *)addr, len, "localhost", &events, c);
	if (!c->client) {
		snprintf(c->unreached, sizeof c->unreached, "%s", strerror(errno));
		return EX_TEMPFAIL;
	}
	c->limit.expired = time_is_up;
	timer_set(&c->limit, WHOLE_MS);
	while (!c->over)
		loop_turn(-1);
	timer_stop(&c->limit);
	if (c->client)
		client_abort(c->client);
	if (c->status && c->taken)
		sendmail_complain(0, "%zu of %zu recipients will get it all the same", c->taken, c->job.n);
	return c->status;
}

/* ---- the drop directory, where there is no daemon to talk to */

/* Its envelope is in SMTP's own words already (doc/QUEUE). */
static bool drop_text(struct buf *out, const struct mail *m)
{
	struct str rest = buf_view(&m->text), line;
	char until[40];

	while (str_cut(&rest, '\n', &line) && line.n) {
		if (!str_starts_nocase(line, STR("MAIL ")) && !str_starts_nocase(line, STR("RCPT ")))
			continue;
		buf_str(out, line);
		if (m->release && line.p[0] == 'M')
			buf_printf(out, " HOLDUNTIL=%s", clock_rfc3339(m->release, until));
		buf_char(out, '\n');
	}
	buf_char(out, '\n');
	for (off_t at = 0; at < m->size && !out->bad; ) {
		char *to = buf_reserve(out, 65536);
		ssize_t n = to ? file_pread(m->fd, to, m->size - at < 65536 ? (size_t)(m->size - at) : 65536, m->at + at) : -1;

		if (n <= 0)
			return false;
		out->n += (size_t)n;
		at += n;
	}
	return !out->bad;
}

/* Readable for the daemon, whoever that is; the directory shows its names to nobody else. */
static int lay_drop(const struct settings *set, const struct mail *m)
{
	char tmp[PATH_MAX], target[PATH_MAX];
	struct buf text = { 0 };
	int fd = -1, r = -1;

	if ((size_t)snprintf(tmp, sizeof tmp, "%s/tmp/%s", set->queue, m->id) >= sizeof tmp ||
	    (size_t)snprintf(target, sizeof target, "%s/new/%s", set->queue, m->id) >= sizeof target || !drop_text(&text, m))
		goto out;
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd == -1)
		goto out;
	if (fchmod(fd, 0644) == 0 && file_write(fd, text.p, text.n) == 0 && fsync(fd) == 0 && rename(tmp, target) == 0)
		r = 0;
	else
		unlink(tmp);
out:
	if (fd != -1)
		close(fd);
	buf_free(&text);
	return r;
}

static int send_mail(const struct settings *set, const struct mail *m, bool verbose, char *id)
{
	struct sockaddr_storage addr;
	socklen_t len;
	struct conversation c = { .verbose = verbose, .id = id, .on = handover_address(set, &addr, &len) };
	int status;

	id[0] = '\0';
	c.to = calloc(m->nrcpt, sizeof *c.to);
	if (!c.to)
		return sendmail_complain(EX_TEMPFAIL, "out of memory: nothing is sent; try again later");
	for (size_t i = 0; i < m->nrcpt; i++)
		c.to[i] = &m->rcpt[i].to;
	c.job = (struct client_job){
		.from = &m->from, .n = m->nrcpt, .to = c.to, .fd = m->fd, .at = m->at, .size = m->size, .id = m->id,
		.result = got_result, .done = job_done,
	};
	status = c.on ? converse(&c, set, &addr, len) : EX_TEMPFAIL;
	free(c.to);
	if (c.on && !c.unreached[0])
		return status;
	if (drops_are_open(set) && lay_drop(set, m) == 0) {
		if (verbose)
			printf("no server can be called: the message lies in the drop directory\n");
		return EX_OK;
	}
	if (c.on)
		not_sent(&c, c.unreached);
	else
		sendmail_complain(0, "the message cannot be laid into the drop directory of %s: %s; nothing is sent", set->queue, strerror(errno));
	return EX_TEMPFAIL;
}

int handover_send(const struct settings *set, bool verbose, void (*removed)(void), char id[ID_MAX])
{
	struct mail *m = read_back();
	int status = EX_TEMPFAIL;

	/* From here on the open file is enough: however this ends, nothing is left behind. */
	handover_end();
	removed();
	if (m)
		status = send_mail(set, m, verbose, id);
	mail_free(m);
	return status;
}
