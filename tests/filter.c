/* A scripted mail filter. */
#include "tests/filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/list.h"
#include "lib/stream.h"
#include "smtpd/milterwire.h"

struct talk {
	struct node node;
	struct fake_filter *filter;
	struct stream stream;
	struct buf in, out;             /* out: not sent yet, when octets leave one by one */
	struct task drip, end;
	bool closing;
};

struct fake_filter {
	struct io listen;
	struct sockaddr_un at;
	uint32_t version, actions, steps;
	const char *symbols;
	size_t nsymbols;
	const struct filter_rule *rules;
	struct buf heard, body;
	struct list talks;
	unsigned connections;
	bool octets, gone;
};

static void end_talk(struct talk *t)
{
	list_remove(&t->filter->talks, &t->node);
	stream_close(&t->stream);
	task_cancel(&t->drip);
	buf_free(&t->in);
	buf_free(&t->out);
	task_post(&t->end);
}

static void free_talk(struct task *end) { free(owner_of(end, struct talk, end)); }

static void send_some(struct talk *t)
{
	size_t n = t->filter->octets && t->out.n ? 1 : t->out.n;

	if (n) {
		stream_write(&t->stream, t->out.p, n);
		stream_flush(&t->stream);
		buf_drop(&t->out, n);
	}
	if (t->out.n)
		task_post(&t->drip);
	else if (t->closing)
		end_talk(t);
}

static void drip(struct task *task) { send_some(owner_of(task, struct talk, drip)); }

static void note(struct fake_filter *f, char letter, struct str data)
{
	if (letter == 'B') {
		buf_str(&f->body, data);
		buf_printf(&f->heard, "B %zu\n", data.n);
		return;
	}
	buf_printf(&f->heard, "%c ", letter);
	for (size_t i = 0; i < data.n; i++)
		buf_char(&f->heard, data.p[i] == '\0' ? '|' : ascii_print(data.p[i]) ? data.p[i] : '.');
	buf_char(&f->heard, '\n');
}

static bool is_silent(const struct fake_filter *f, char letter)
{
	static const struct { char letter; uint32_t step; } steps[] = {
		{ 'C', MILTER_NR_CONNECT }, { 'H', MILTER_NR_HELO }, { 'M', MILTER_NR_MAIL }, { 'R', MILTER_NR_RCPT }, { 'T', MILTER_NR_DATA },
		{ 'L', MILTER_NR_HEADER }, { 'N', MILTER_NR_EOH }, { 'B', MILTER_NR_BODY }, { 'U', MILTER_NR_UNKNOWN },
	};

	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
		if (steps[i].letter == letter)
			return f->steps & steps[i].step;
	return true;                    /* macros, abort, quit */
}

static void say_options(struct talk *t)
{
	const struct fake_filter *f = t->filter;
	struct buf data = { 0 };

	milter_number(&data, f->version);
	milter_number(&data, f->actions);
	milter_number(&data, f->steps);
	buf_add(&data, f->symbols ? f->symbols : "", f->nsymbols);
	milter_put(&t->out, 'O', buf_view(&data));
	buf_free(&data);
}

static const struct filter_rule *rule_for(const struct fake_filter *f, char letter, struct str data)
{
	for (const struct filter_rule *r = f->rules; r && r->letter; r++)
		if (r->letter == letter && (!r->holds || memmem(data.p, data.n, r->holds, strlen(r->holds))))
			return r;
	return NULL;
}

static void answer(struct talk *t, char letter, struct str data)
{
	const struct filter_rule *r = rule_for(t->filter, letter, data);

	if (!r && letter == 'O') {
		say_options(t);
	} else if (!r) {
		if (letter == 'E' || !is_silent(t->filter, letter))
			milter_put(&t->out, 'c', STR(""));
	} else if (r->deed == FILTER_SENDS) {
		buf_add(&t->out, r->say[0].p, r->say[0].n);
	} else if (r->deed != FILTER_IS_MUTE) {
		for (size_t i = 0; i < FILTER_PACKETS && r->say[i].p; i++)
			milter_put(&t->out, r->say[i].p[0], (struct str){ r->say[i].p + 1, r->say[i].n - 1 });
	}
	t->closing = t->closing || letter == 'Q' || (r && r->deed == FILTER_CLOSES);
}

static void on_event(struct stream *s)
{
	struct talk *t = owner_of(s, struct talk, stream);
	struct str in = stream_peek(s), data;
	size_t used;
	char letter;

	buf_str(&t->in, in);
	stream_take(s, in.n);
	while (!t->closing && milter_take(buf_view(&t->in), &used, &letter, &data) == 1) {
		note(t->filter, letter, data);
		answer(t, letter, data);
		buf_drop(&t->in, used);
	}
	if ((s->eof || s->error) && !t->closing)
		end_talk(t);
	else
		send_some(t);
}

static void incoming(struct io *io, short revents)
{
	struct fake_filter *f = owner_of(io, struct fake_filter, listen);
	int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct talk *t = fd == -1 ? NULL : calloc(1, sizeof *t);

	(void)revents;
	if (!t)
		return;
	t->filter = f;
	t->drip.run = drip;
	t->end.run = free_talk;
	f->connections++;
	list_push(&f->talks, &t->node);
	if (stream_open(&t->stream, fd, fd, on_event) == -1)
		abort();
}

struct fake_filter *filter_new(uint32_t version, uint32_t actions, uint32_t steps, const struct filter_rule *rules)
{
	struct fake_filter *f = calloc(1, sizeof *f);
	const char *tmp = getenv("TMPDIR");
	static unsigned number;

	if (!f)
		abort();
	f->version = version;
	f->actions = actions;
	f->steps = steps;
	f->rules = rules;
	list_init(&f->talks);
	f->at.sun_family = AF_UNIX;
	snprintf(f->at.sun_path, sizeof f->at.sun_path, "%.60s/fardel-filter.%ld.%u", tmp ? tmp : "/tmp", (long)getpid(), number++);
	f->listen = (struct io){ .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .ready = incoming };
	unlink(f->at.sun_path);
	if (f->listen.fd == -1 || bind(f->listen.fd, (struct sockaddr *)&f->at, sizeof f->at) == -1 || listen(f->listen.fd, 64) == -1 ||
	    io_watch(&f->listen, POLLIN) == -1)
		abort();
	return f;
}

void filter_rules(struct fake_filter *f, const struct filter_rule *rules) { f->rules = rules; }
void filter_octets(struct fake_filter *f) { f->octets = true; }

void filter_symbols(struct fake_filter *f, const char *p, size_t n)
{
	f->symbols = p;
	f->nsymbols = n;
}

void filter_say(struct fake_filter *f, const char *p, size_t n)
{
	for (struct node *x = list_first(&f->talks); x; x = list_next(&f->talks, x)) {
		struct talk *t = owner_of(x, struct talk, node);

		milter_put(&t->out, p[0], (struct str){ p + 1, n - 1 });
		task_post(&t->drip);
	}
}

void filter_stop_listening(struct fake_filter *f)
{
	if (f->gone)
		return;
	io_forget(&f->listen);
	close(f->listen.fd);
	unlink(f->at.sun_path);
	f->gone = true;
}

void filter_free(struct fake_filter *f)
{
	filter_stop_listening(f);
	while (f->talks.n)
		end_talk(owner_of(list_first(&f->talks), struct talk, node));
	loop_turn(0);
	buf_free(&f->heard);
	buf_free(&f->body);
	free(f);
}

struct smtpd_milter filter_place(const struct fake_filter *f)
{
	struct smtpd_milter m = { .text = "unix:filter", .len = sizeof f->at, .servers = true, .users = true };

	memcpy(&m.addr, &f->at, sizeof f->at);
	return m;
}

const char *filter_heard(struct fake_filter *f) { return buf_cstr(&f->heard); }

void filter_forget(struct fake_filter *f)
{
	buf_clear(&f->heard);
	buf_clear(&f->body);
}

unsigned filter_connections(const struct fake_filter *f) { return f->connections; }
unsigned filter_open(const struct fake_filter *f) { return (unsigned)f->talks.n; }
const struct buf *filter_body(const struct fake_filter *f) { return &f->body; }
