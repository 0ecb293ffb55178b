/* The caller: a stand-in for whoever schedules deliveries. */
#include "tests/caller.h"

#include <stdlib.h>
#include <string.h>

#include "lib/list.h"

void caller_init(struct caller *a, bool lmtp)
{
	memset(a, 0, sizeof *a);
	a->config.hostname = "client.test";
	a->config.lmtp = lmtp;
}

/* ---- what the client tells */

static void tell_reply(struct caller *a, const struct reply *r)
{
	buf_printf(&a->told, ": %d %s%s%s\n", r->code, r->enhanced, r->enhanced[0] ? " " : "", r->text);
}

static void on_result(struct client_job *job, size_t i, const struct reply *r)
{
	struct errand *e = owner_of(job, struct errand, job);

	if (i >= job->n)
		abort();
	e->results[i]++;
	buf_str(&e->caller->told, e->to[i].addr.local);
	buf_char(&e->caller->told, '@');
	buf_str(&e->caller->told, e->to[i].addr.domain);
	tell_reply(e->caller, r);
}

static void tell_dialogue(struct caller *a, const struct client *c)
{
	if (a->dialogue && !client_dialogue(c, &a->told))
		abort();
}

static void send_next(struct caller *a)
{
	if (a->sent < a->n && client_usable(a->client)) {
		if (!client_send(a->client, &a->errands[a->sent++].job))
			abort();
		return;
	}
	if (a->sent < a->n) {
		buf_puts(&a->told, "left\n");
		a->sent = a->n;
	}
	if (!a->keep)
		client_quit(a->client);
}

static void on_done(struct client_job *job, const struct reply *why, bool untried)
{
	struct errand *e = owner_of(job, struct errand, job);

	buf_puts(&e->caller->told, untried ? "untried" : "done");
	if (why)
		tell_reply(e->caller, why);
	else
		buf_char(&e->caller->told, '\n');
	tell_dialogue(e->caller, e->caller->client);
	send_next(e->caller);
}

static void on_ready(struct client *c, void *arg)
{
	struct caller *a = arg;

	buf_puts(&a->told, *client_tls(c) ? "ready inside TLS\n" : "ready\n");
	send_next(a);
}

static void on_gone(struct client *c, void *arg, const struct reply *why)
{
	struct caller *a = arg;

	buf_puts(&a->told, "gone");
	tell_reply(a, why);
	if (!strstr(caller_told(a), "ready"))
		tell_dialogue(a, c);
	if (client_tls_failed(c))
		buf_puts(&a->told, "tls failed\n");
	if (client_lame(c) & CLIENT_LAME_CHUNKING)
		buf_puts(&a->told, "chunking lame\n");
	if (client_lame(c) & CLIENT_LAME_PIPELINING)
		buf_puts(&a->told, "pipelining lame\n");
	if (client_login_failed(c))
		buf_puts(&a->told, "login failed\n");
	a->client = NULL;
	a->gone = true;
}

/* ---- what tests say */

bool caller_from(struct caller *a, struct str args)
{
	struct errand *e = &a->errands[a->n];

	if (a->n == CALLER_JOBS || parse_mail(args, PARAM_ALL, &e->from).text)
		return false;
	a->n++;
	e->caller = a;
	e->file = tmpfile();
	if (!e->file)
		abort();
	e->job = (struct client_job){
		.from = &e->from, .fd = fileno(e->file), .id = "test", .result = on_result, .done = on_done
	};
	return true;
}

bool caller_to(struct caller *a, struct str args)
{
	struct errand *e = &a->errands[a->n - 1];
	size_t n = e->job.n;

	e->to = realloc(e->to, (n + 1) * sizeof *e->to);
	e->to_list = realloc(e->to_list, (n + 1) * sizeof *e->to_list);
	e->results = realloc(e->results, (n + 1) * sizeof *e->results);
	if (!e->to || !e->to_list || !e->results)
		abort();
	if (parse_rcpt(args, PARAM_ALL, false, &e->to[n]).text)
		return false;
	e->results[n] = 0;
	e->job.n = n + 1;
	for (size_t i = 0; i <= n; i++)
		e->to_list[i] = &e->to[i];
	e->job.to = e->to_list;
	return true;
}

void caller_message(struct caller *a, size_t job, struct str message)
{
	struct errand *e = &a->errands[job];

	/* As in a queue file: something before the message, something behind it. */
	rewind(e->file);
	if (fputs("before\n", e->file) < 0 || fwrite(message.p, 1, message.n, e->file) != message.n
	    || fputs("behind\n", e->file) < 0 || fflush(e->file))
		abort();
	e->job.at = 7;
	e->job.size = (off_t)message.n;
}

bool caller_run(struct caller *a, const struct sockaddr *addr, socklen_t len)
{
	static const struct client_events events = { .ready = on_ready, .gone = on_gone };

	a->client = client_open(&a->config, addr, len, a->host ? a->host : "mx.test", &events, a);
	if (!a->client)
		return false;
	for (a->turns = 0; !a->gone && a->turns < 100000; a->turns++)
		loop_turn(a->step ? a->step : 1000);
	if (a->client)
		client_abort(a->client);
	a->client = NULL;
	return a->gone;
}

const char *caller_told(struct caller *a) { return buf_cstr(&a->told); }

void caller_free(struct caller *a)
{
	for (size_t i = 0; i < a->n; i++) {
		free(a->errands[i].to);
		free(a->errands[i].to_list);
		free(a->errands[i].results);
		fclose(a->errands[i].file);
	}
	buf_free(&a->told);
}
