/* sendmail: what programs call to send mail. Reads a message from standard input and puts it into the queue. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "cmd/await.h"
#include "cmd/bridge.h"
#include "cmd/fardel.h"
#include "cmd/handover.h"
#include "cmd/settings.h"
#include "cmd/signing.h"
#include "cmd/submit.h"
#include "lib/account.h"
#include "lib/log.h"
#include "parse.h"
#include "queue.h"

struct sendmail_modes sendmail_modes;

/* What was wrong first. Callers often throw away what is said on standard error, and may not write into our log. */
static char for_syslog[400];

static void note(const char *text)
{
	if (!for_syslog[0])
		snprintf(for_syslog, sizeof for_syslog, "%.*s", (int)strcspn(text, "\n"), text);
}

int sendmail_complain(int status, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fprintf(stderr, "sendmail: %s\n", text);
	note(text);
	return status;
}

static int tell_syslog(uid_t uid, int status)
{
	if (for_syslog[0] && log_open("syslog") == 0)
		log_event(LOG_WARN, "sendmail", LF(L_NUM("uid", (long long)uid), L_NUM("status", status), L_TEXT("reason", for_syslog)));
	return status;
}

enum mode { MODE_SEND, MODE_SESSION, MODE_LIST, MODE_FLUSH, MODE_ALIASES, MODE_NOT_OURS };

struct options {
	enum mode mode;
	const char *file;               /* -C or -c */
	bool verbose;
	bool flush;                     /* -q: unless there is something else to do */
	bool says_send;                 /* -bm */
	int64_t wait;                   /* seconds for the result; 0: not at all */
	struct submit_config submit;
	struct passwd *self;
};

/* ---- the command line: letters that programs have been using for forty years */

static const char *take_recipients_of_header(struct options *o, const char *value)
{
	(void)value;
	o->submit.header_rcpts = true;
	return NULL;
}

static const char *take_dots_are_text(struct options *o, const char *value)
{
	(void)value;
	o->submit.dot_ends = false;
	return NULL;
}

/* -oi is -i; the other -o settings are about programs of other times. */
static const char *take_old_setting(struct options *o, const char *value)
{
	return value[0] == 'i' ? take_dots_are_text(o, value) : NULL;
}

static const char *take_verbose(struct options *o, const char *value)
{
	(void)value;
	o->verbose = true;
	return NULL;
}

static const char *take_sender(struct options *o, const char *value)
{
	o->submit.sender = value;
	return NULL;
}

static const char *take_full_name(struct options *o, const char *value)
{
	o->submit.full_name = value;
	return NULL;
}

static const char *take_file(struct options *o, const char *value)
{
	o->file = value;
	return NULL;
}

static const char *take_flush(struct options *o, const char *value)
{
	(void)value;
	o->flush = true;
	return NULL;
}

static const char *take_mode(struct options *o, const char *value)
{
	static const struct { char letter; enum mode mode; } modes[] = {
		{ 'm', MODE_SEND }, { 's', MODE_SESSION }, { 'p', MODE_LIST }, { 'i', MODE_ALIASES },
	};

	o->mode = MODE_NOT_OURS;
	o->says_send = value[0] == 'm';
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		if (value[0] == modes[i].letter)
			o->mode = modes[i].mode;
	return o->mode == MODE_NOT_OURS ? "is no mode of this sendmail: there are -bm, -bs, -bp and -bi; the daemon is `fardel serve`" : NULL;
}

static const char *take_aliases(struct options *o, const char *value)
{
	(void)value;
	return take_mode(o, "i");
}

/* RFC 3461 4.1: NEVER stands alone. */
static const char *take_notify(struct options *o, const char *value)
{
	static const struct { struct str word; unsigned bit; } words[] = {
		{ { "never", 5 }, NOTIFY_NEVER }, { { "success", 7 }, NOTIFY_SUCCESS },
		{ { "failure", 7 }, NOTIFY_FAILURE }, { { "delay", 5 }, NOTIFY_DELAY },
	};
	struct str rest = str_of(value), word;
	unsigned bits = 0;

	while (rest.n > 0) {
		size_t i = 0;

		if (!str_cut(&rest, ',', &word)) {
			word = rest;
			rest.n = 0;
		}
		while (i < sizeof words / sizeof *words && !str_eq_nocase(word, words[i].word))
			i++;
		if (i == sizeof words / sizeof *words)
			return "says when to report: never, or some of success,failure,delay";
		bits |= words[i].bit;
	}
	if (bits & NOTIFY_NEVER && bits != NOTIFY_NEVER)
		return "says when to report: never stands alone";
	o->submit.notify = bits;
	return NULL;
}

static const char *take_ret(struct options *o, const char *value)
{
	if (str_eq_nocase(str_of(value), STR("full")))
		o->submit.ret = RET_FULL;
	else if (str_eq_nocase(str_of(value), STR("hdrs")))
		o->submit.ret = RET_HDRS;
	else
		return "says what a report brings back: full or hdrs";
	return NULL;
}

static const char *take_envid(struct options *o, const char *value)
{
	if (!*value || strlen(value) > 100 || !xtext_valid(str_of(value)))
		return "needs an envelope id of up to 100 octets in xtext (RFC 3461 4)";
	o->submit.envid = value;
	return NULL;
}

enum { WAIT_MOST_S = 3600 };             /* as long as the server bears with it */

/* GLUED: what follows in the same word, perhaps nothing. NUMBER: that or, if it is nothing, the next word when a digit begins it. */
enum value { NO_VALUE, VALUE, GLUED, NUMBER };

static const struct letter {
	char letter;
	enum value value;
	/* NULL, or what is wrong with the value. No function: accepted and ignored. */
	const char *(*take)(struct options *, const char *value);
} letters[] = {
	{ 't', NO_VALUE, take_recipients_of_header },
	{ 'f', VALUE, take_sender },
	{ 'r', VALUE, take_sender },
	{ 'F', VALUE, take_full_name },
	{ 'i', NO_VALUE, take_dots_are_text },
	{ 'o', VALUE, take_old_setting },
	{ 'b', VALUE, take_mode },
	{ 'q', GLUED, take_flush },
	{ 'v', NO_VALUE, take_verbose },
	{ 'C', VALUE, take_file },
	{ 'c', VALUE, take_file },
	{ 'N', VALUE, take_notify },
	{ 'R', VALUE, take_ret },
	{ 'V', VALUE, take_envid },
	{ 'I', NO_VALUE, take_aliases },
	{ 'A', VALUE, NULL }, { 'B', VALUE, NULL }, { 'd', NUMBER, NULL }, { 'D', VALUE, NULL }, { 'e', VALUE, NULL }, { 'G', NO_VALUE, NULL },
	{ 'h', VALUE, NULL }, { 'L', VALUE, NULL }, { 'm', NO_VALUE, NULL }, { 'M', VALUE, NULL }, { 'n', NO_VALUE, NULL }, { 'O', VALUE, NULL },
	{ 'p', VALUE, NULL }, { 'Q', GLUED, NULL }, { 's', NO_VALUE, NULL }, { 'T', NO_VALUE, NULL }, { 'U', NO_VALUE, NULL },
	{ 'x', NO_VALUE, NULL }, { 'X', VALUE, NULL },
};

static const struct letter *find_letter(char c)
{
	for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
		if (letters[i].letter == c)
			return &letters[i];
	return NULL;
}

static bool takes_next(const struct letter *l, const char *next)
{
	return next && (l->value == VALUE || (l->value == NUMBER && ascii_digit(next[0])));
}

/* All letters of one word ("-ti", "-fanna"); *i moves when a value is the next word. False after a complaint. */
static bool take_word(struct options *o, char **argv, int *i)
{
	for (const char *p = argv[*i] + 1; *p; p++) {
		const struct letter *l = find_letter(*p);
		const char *value = "", *why;
		char ignored[64];

		/* Programs pass letters that no sendmail had: they must not keep mail from being sent. */
		if (!l) {
			snprintf(ignored, sizeof ignored, "-%c is no flag of sendmail: it was ignored", *p);
			note(ignored);
			continue;
		}
		if (l->value != NO_VALUE)
			value = p + 1;
		if (!*value && takes_next(l, argv[*i + 1]))
			value = argv[++*i];
		else if (!*value && l->value == VALUE) {
			sendmail_complain(0, "-%c needs a value behind it", *p);
			return false;
		}
		why = l->take ? l->take(o, value) : NULL;
		if (why) {
			sendmail_complain(0, "-%c%s %s", *p, value, why);
			return false;
		}
		if (l->value != NO_VALUE)
			break;
	}
	return true;
}

/* By the clock on the wall, here: "18:00" is the next one that comes, "2026-12-24T18:00" or with a blank for the T. False: neither. */
static bool local_time(const char *value, int64_t now, int64_t *out)
{
	static const char *const forms[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M" };
	time_t t = (time_t)now;
	struct tm tm;
	const char *end;

	if (!localtime_r(&t, &tm))
		return false;
	tm.tm_sec = 0;
	end = strptime(value, "%H:%M", &tm);
	if (end && !*end) {
		tm.tm_isdst = -1;
		*out = (int64_t)mktime(&tm);
		if (*out <= now) {
			tm.tm_mday++;
			tm.tm_isdst = -1;
			*out = (int64_t)mktime(&tm);
		}
		return *out != -1;
	}
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		tm = (struct tm){ .tm_isdst = -1 };
		end = strptime(value, forms[i], &tm);
		if (end && !*end)
			return (*out = (int64_t)mktime(&tm)) != -1;
	}
	return false;
}

const char *sendmail_time(const char *value, int64_t now, int64_t *out)
{
	struct buf line = { 0 };
	struct sender from;
	uint64_t seconds;
	int64_t span;
	bool known = true;

	if (value[0] == '+' && conf_duration(str_of(value + 1), &span)) {
		*out = now + span;
	} else if (str_number(str_of(value), INT64_MAX / 2, &seconds)) {
		*out = (int64_t)seconds;
	} else if (!local_time(value, now, out)) {
		buf_printf(&line, "FROM:<> HOLDUNTIL=%s", value);
		known = !parse_mail(buf_view(&line), PARAM_HOLD, &from).text;
		*out = known ? from.hold_until : 0;
		buf_free(&line);
	}
	if (!known)
		return "is no time. Write +2h, 18:00, 2026-12-24T18:00 (here), 2026-12-24T18:00:00Z or Unix seconds";
	return *out < now ? "is a time that has passed" : NULL;
}

static const char *take_time(struct options *o, const char *value)
{
	return sendmail_time(value, time(NULL), &o->submit.hold_until);
}

static const char *take_wait(struct options *o, const char *value)
{
	uint64_t seconds;

	if (!str_number(str_of(value), WAIT_MOST_S, &seconds) || !seconds)
		return "needs seconds, 3600 at most";
	o->wait = (int64_t)seconds;
	return NULL;
}

static const struct {
	const char *name;
	const char *(*take)(struct options *, const char *value);
} words[] = { { "--at", take_time }, { "--wait", take_wait } };

/* The long words, with their value behind a = or as the next word. False: something else. */
static bool take_long(struct options *o, int argc, char **argv, int *i, const char **why)
{
	*why = NULL;
	for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
		const char *word = argv[*i];
		size_t n = strlen(words[k].name);

		if (strncmp(word, words[k].name, n) || (word[n] && word[n] != '='))
			continue;
		if (word[n])
			*why = words[k].take(o, word + n + 1);
		else if (*i + 1 < argc)
			*why = words[k].take(o, argv[++*i]);
		else
			*why = "needs a value behind it";
		return true;
	}
	return false;
}

/* Index of the first word that is no option, or -1 after a complaint. Words behind it are recipients, options or not. */
static int take_options(struct options *o, int argc, char **argv)
{
	const char *why;
	int i;

	for (i = 1; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		const char *option = argv[i];

		if (!strcmp(option, "--"))
			return i + 1;
		if (take_long(o, argc, argv, &i, &why)) {
			if (!why)
				continue;
			return sendmail_complain(-1, "%s%s%s %s", option, argv[i] != option ? " " : "", argv[i] != option ? argv[i] : "", why);
		}
		if (option[1] == '-')           /* its letters would mean something else each */
			return sendmail_complain(-1, "%s is no option of this sendmail: see sendmail(8)", option);
		if (!take_word(o, argv, &i))
			return -1;
	}
	return i;
}

/* ---- sending */

/* The account's full name: up to the first comma, & stands for the name itself. */
static void name_of_account(struct options *o, char *out, size_t size)
{
	const char *p = o->self ? o->self->pw_gecos : "";
	size_t n = 0;

	for (; p && *p && *p != ',' && n + 1 < size; p++) {
		if (*p == '&') {
			int more = snprintf(out + n, size - n, "%s", o->self->pw_name);
			if (more < 0 || (size_t)more >= size - n)
				break;
			if (out[n] >= 'a' && out[n] <= 'z')
				out[n] = (char)(out[n] - 'a' + 'A');
			n += (size_t)more;
		} else {
			out[n++] = *p;
		}
	}
	out[n] = '\0';
}

static int not_that_account(const char *name, const char *why)
{
	return sendmail_complain(-1, "cannot queue as %s: %s; nothing is queued", name, why);
}

/* Root's mail must be readable by the daemon: be who owns the queue, or will own it. 0, or -1 after a complaint. */
static int become_owner(const struct settings *set)
{
	struct account a;
	struct stat st;
	const char *why;
	char text[512];

	if (geteuid() != 0)
		return 0;
	if (set->user) {
		if ((why = account_find(set->user, &a)))
			return not_that_account(set->user, why);
		if (account_make_first(&a, set->queue, 0700) == -1)
			return not_that_account(set->user, strerror(errno));
		return account_settle(&a, text, sizeof text) == -1 ? not_that_account(set->user, text) : 0;
	}
	if (stat(set->queue, &st) == -1 || st.st_uid == 0)
		return 0;
	if (setgroups(0, NULL) == -1 || setgid(st.st_gid) == -1 || setuid(st.st_uid) == -1)
		return not_that_account("the owner of the queue", strerror(errno));
	return 0;
}

/* Told to end while the text is awaited: what was written so far must go. Signals come only in wait_for_text(). */
static volatile sig_atomic_t told_to_end;
static sigset_t usual_signals;

static void on_end(int signo)
{
	(void)signo;
	told_to_end = 1;
}

static const int ends[] = { SIGINT, SIGTERM, SIGHUP };

static void catch_signals(void)
{
	struct sigaction act = { .sa_handler = on_end }, old;
	sigset_t held;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&held);
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		sigaction(ends[i], NULL, &old);
		if (old.sa_handler == SIG_IGN)          /* nohup */
			continue;
		sigaction(ends[i], &act, NULL);
		sigaddset(&held, ends[i]);
	}
	sigprocmask(SIG_BLOCK, &held, &usual_signals);
}

static void release_signals(void)
{
	struct sigaction old;

	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		sigaction(ends[i], NULL, &old);
		if (old.sa_handler == on_end)
			signal(ends[i], SIG_DFL);
	}
	sigprocmask(SIG_SETMASK, &usual_signals, NULL);
}

/* False: we are to end. */
static bool wait_for_text(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };

	while (!told_to_end && ppoll(&p, 1, NULL, &usual_signals) == -1 && errno == EINTR)
		;
	return !told_to_end;
}

struct waiting {
	bool over, ok;
};

static void committed(void *arg, bool ok)
{
	struct waiting *w = arg;

	w->over = true;
	w->ok = ok;
}

static int commit(struct draft *d, bool say, char id[ID_MAX])
{
	struct waiting w = { 0 };

	snprintf(id, ID_MAX, "%s", draft_id(d));
	/* Whoever delivers watches in/, where this goes. */
	queue_commit(d, committed, &w);
	/* The sync is made in this process at the end of a turn: there is nothing to sleep for. */
	while (!w.over)
		loop_turn(0);
	if (!w.ok)
		return sendmail_complain(EX_TEMPFAIL, "the message could not be written durably: it is not queued; try again later");
	if (say)
		printf("queued as %s\n", id);
	return EX_OK;
}

/* From standard input into the queue that is open. */
static int take_message(const struct options *o, bool say, char id[ID_MAX])
{
	struct submission *s = submit_open(&o->submit, STDIN_FILENO);
	enum verdict v = WAIT;
	int status;

	if (!s)
		return sendmail_complain(EX_TEMPFAIL, "out of memory: try again later");
	while (v == WAIT && wait_for_text())
		v = submit_step(s);
	if (v == ACCEPT) {
		status = commit(submit_draft(s), say, id);
	} else if (v == WAIT) {
		status = sendmail_complain(EX_TEMPFAIL, "told to end before the message was read to its end: nothing is sent");
	} else {
		status = sendmail_complain(submit_status(s), "%s", submit_why(s));
	}
	submit_close(s);
	return status;
}

enum opened { QUEUE_OPEN, QUEUE_DENIED, QUEUE_FAILED };

static enum opened open_queue(const struct settings *set)
{
	const struct queue_config q = {
		.dir = set->queue, .inline_sync = true, .message_size = set->message_size,
		.retry_first = set->retry_first, .retry_max = set->retry_max, .lifetime = set->queue_lifetime,
		.delay_notice = set->delay_notice,
	};
	struct reply busy;
	char why[512] = "";

	if (become_owner(set) == -1)
		return QUEUE_FAILED;
	if (queue_open(&q, why, sizeof why) == -1) {
		/* EROFS: a service that may write nowhere. */
		if (errno == EACCES || errno == EPERM || errno == EROFS)
			return QUEUE_DENIED;
		sendmail_complain(0, "cannot queue in %s: %s. `fardel check` tells more.", set->queue, why[0] ? why : strerror(errno));
		return QUEUE_FAILED;
	}
	if (queue_accepting(&busy))
		return QUEUE_OPEN;
	sendmail_complain(0, "no mail is taken now: %s", busy.text);
	queue_close();
	return QUEUE_FAILED;
}

static int queue_message(const struct options *o, char id[ID_MAX])
{
	int status = take_message(o, o->verbose, id);

	queue_close();
	return status;
}

static int hand_over_message(const struct options *o, const struct settings *set, char id[ID_MAX])
{
	int status = handover_begin(set);

	if (status == 0)
		status = take_message(o, false, id);
	if (status == 0)
		status = handover_send(set, o->verbose, release_signals, id);
	handover_end();
	return status;
}

/* Filters of what users send sit behind the server; at its local socket who we are is seen as well. */
static bool goes_by_filters(const struct settings *set)
{
	bool filtered = false, local = false;

	for (size_t i = 0; i < set->nmilters; i++)
		filtered = filtered || set->milters[i].users;
	for (size_t i = 0; i < set->nlisten; i++)
		local = local || set->listen[i].service == SMTPD_LOCAL;
	return filtered && local;
}

static char bad_key[700];

static void keep_complaint(const struct dkim_words *w, const char *why)
{
	(void)w;
	if (!bad_key[0])
		snprintf(bad_key, sizeof bad_key, "%s", why);
}

static int send_with(struct options *o, const struct settings *set)
{
	int status = EX_TEMPFAIL;
	struct signer *signer;
	char name[256], id[ID_MAX] = "";

	if (!o->submit.full_name) {
		name_of_account(o, name, sizeof name);
		o->submit.full_name = name;
	}
	o->submit.hostname = set->hostname;
	o->submit.origin = set->origin;
	o->submit.send_as = &set->send_as;
	o->submit.message_size = set->message_size;
	o->submit.future_max = set->future_release_max;
	if (o->wait && o->submit.hold_until)
		return sendmail_complain(EX_USAGE, "--wait: a message that is held (--at) has no result to wait for; nothing is queued");
	if (o->submit.hold_until > time(NULL) + set->future_release_max)
		return sendmail_complain(EX_USAGE, "--at: that is later than future_release_max allows (%s); nothing is queued",
			conf_where(&set->conf, "future_release_max"));
	catch_signals();
	signer = signing_keys(set, keep_complaint);     /* as who we are: the queue's owner may not read them */
	switch (goes_by_filters(set) ? QUEUE_DENIED : open_queue(set)) {
	case QUEUE_OPEN:
		if (bad_key[0])
			sendmail_complain(0, "dkim_key: %s. The message is not signed with it.", bad_key);
		o->submit.signer = signer;
		status = queue_message(o, id);
		break;
	case QUEUE_DENIED:                      /* who takes it over signs it */
		status = hand_over_message(o, set, id);
		break;
	case QUEUE_FAILED:
		break;
	}
	signer_free(signer);
	if (status == 0 && o->wait) {
		release_signals();
		fflush(stdout);
		status = await_results(set, id, o->wait, o->verbose);
	}
	return status;
}

/* Another command with our configuration file. */
static int hand_over(int (*run)(int, char **), const char *word, const char *file)
{
	char *argv[] = { (char *)(uintptr_t)word, (char *)(uintptr_t)"-c", (char *)(uintptr_t)file, NULL };

	if (run)
		return run(file ? 3 : 1, argv);
	return sendmail_complain(EX_UNAVAILABLE, "%s is not part of this program", word);
}

/* Root becomes who owns the queue; any other account does what it may. */
static bool may_open_queue(const struct settings *set)
{
	return geteuid() == 0 || access(set->queue, W_OK | X_OK) == 0 || (errno != EACCES && errno != EPERM && errno != EROFS);
}

/* RFC 5321 on standard input and output, for programs that would rather talk than call. */
static int session(const char *file)
{
	struct arguments a = { .file = file };
	struct settings set;
	int status = EX_OK;
	bool ours = !settings_load(&set, &a) || may_open_queue(&set);     /* what is wrong with the settings inetd tells */

	if (!ours)
		status = bridge_session(&set);
	settings_free(&set);
	return ours ? hand_over(sendmail_modes.inetd, "inetd", file) : status;
}

static int run(int argc, char **argv)
{
	struct options o = { .submit = { .how = "sendmail", .dot_ends = true } };
	struct arguments a = { 0 };
	struct settings set;
	int first, status;

	if ((first = take_options(&o, argc, argv)) == -1)
		return EX_USAGE;
	o.submit.rcpt = (const char *const *)(argv + first);
	o.submit.nrcpt = (size_t)(argc - first);
	/* -q beside a message is what cron jobs of old write: the message counts, a server that runs looks after the queue. */
	if (o.flush && o.mode == MODE_SEND && !o.says_send && !o.submit.header_rcpts && o.submit.nrcpt == 0)
		o.mode = MODE_FLUSH;
	switch (o.mode) {
	case MODE_SESSION: return session(o.file);
	case MODE_FLUSH: return hand_over(sendmail_modes.flush, "flush", o.file);
	case MODE_LIST: return hand_over(cmd_mailq, "mailq", o.file);
	case MODE_ALIASES: return hand_over(cmd_newaliases, "newaliases", o.file);
	case MODE_NOT_OURS: return EX_USAGE;
	case MODE_SEND: break;
	}
	o.submit.uid = getuid();
	o.self = getpwuid(getuid());
	o.submit.user = o.self ? o.self->pw_name : NULL;
	if (o.submit.nrcpt == 0 && !o.submit.header_rcpts)
		return sendmail_complain(EX_USAGE, "no recipient: name one behind the options, or use -t");
	a.file = o.file;
	if (settings_load(&set, &a)) {
		status = send_with(&o, &set);
	} else {
		status = settings_complain(&set);
		note(buf_cstr(&set.conf.errors));
	}
	settings_free(&set);
	return status;
}

int cmd_sendmail(int argc, char **argv)
{
	uid_t uid = getuid();           /* root becomes somebody else */

	return tell_syslog(uid, run(argc, argv));
}
