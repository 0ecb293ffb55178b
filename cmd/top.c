/* top: a live screen of what the running program does, from its control socket. Plain escape sequences, no library. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

#include "cmd/control.h"
#include "cmd/fardel.h"
#include "cmd/listing.h"

enum { EVERY_MS = 1000, COUNTS = 7, LINES_WITHOUT_TERMINAL = 1000 };

/* What happens, by the names of the log. */
static const char *const counted[COUNTS] = { "received", "taken-in", "delivered", "deferred", "failed", "rejected", "auth-failed" };

struct sample {
	int64_t now;
	uint64_t count[COUNTS];
	bool is;
};
struct screen {
	struct buf text;
	unsigned lines, rows, columns;  /* written; there are */
};

/* ---- the terminal, given back whatever happens */

static struct termios as_it_was;
static bool raw;
static volatile sig_atomic_t told_to_end, told_to_stop;

static void on_end(int signo) { told_to_end = signo; }
static void on_stop(int signo) { told_to_stop = signo; }
static void on_resize(int signo) { (void)signo; }       /* poll() is interrupted, and the size is asked for each time */

static void leave_screen(void)
{
	static const char codes[] = "\033[?25h\033[?1049l";

	if (!raw)
		return;
	raw = false;
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &as_it_was);
	if (write(STDOUT_FILENO, codes, sizeof codes - 1) < 0)
		return;                 /* it is gone */
}

static bool enter_screen(void)
{
	struct termios t;

	if (tcgetattr(STDIN_FILENO, &as_it_was) == -1)
		return false;
	t = as_it_was;
	t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &t) == -1)
		return false;
	raw = true;
	printf("\033[?1049h\033[?25l");
	return true;
}

static void catch_signals(void)
{
	static const struct { int signo; void (*handler)(int); } rows[] = {
		{ SIGINT, on_end }, { SIGTERM, on_end }, { SIGHUP, on_end }, { SIGQUIT, on_end }, { SIGTSTP, on_stop }, { SIGWINCH, on_resize },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct sigaction act = { .sa_handler = rows[i].handler };

		sigaction(rows[i].signo, &act, NULL);
	}
}

static void look_at_size(struct screen *s)
{
	struct winsize w;
	bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row && w.ws_col;

	s->rows = known ? w.ws_row : 24;
	s->columns = known ? w.ws_col : 80;
}

/* ---- writing a screen */

/* A line, cut to the screen. Beyond the last row nothing is written. */
static void put(struct screen *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct screen *s, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (s->lines >= s->rows)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (s->columns < sizeof line)
		line[s->columns] = '\0';
	ascii_make_printable(line);
	buf_printf(&s->text, "%s%s\n", line, raw ? "\033[K" : "");
	s->lines++;
}

/* The number that a line of this kind has for this name; 0: there is none. */
static uint64_t value_of(struct str answer, const char *kind, const char *name)
{
	struct str line;
	uint64_t n;

	while (str_cut(&answer, '\n', &line))
		if (str_eq(control_field(&line), str_of(kind)) && str_eq(control_field(&line), str_of(name)))
			return str_number(line, INT64_MAX, &n) ? n : 0;
	return 0;
}

static void put_rates(struct screen *s, struct str answer, struct sample *before)
{
	struct sample x = { .now = (int64_t)value_of(answer, "figure", "now"), .is = true };
	char line[200] = "since start:", one[80], rate[40];
	size_t n = strlen(line), room;

	for (size_t i = 0; i < COUNTS; i++) {
		x.count[i] = value_of(answer, "count", counted[i]);
		*rate = '\0';
		if (before->is && x.now > before->now && x.count[i] >= before->count[i])
			snprintf(rate, sizeof rate, " (%" PRIu64 "/s)", (x.count[i] - before->count[i]) / (uint64_t)(x.now - before->now));
		room = (size_t)snprintf(one, sizeof one, "  %s %" PRIu64 "%s", counted[i], x.count[i], rate);
		if (n + room > s->columns || n + room >= sizeof line) {
			put(s, "%s", line);
			n = (size_t)snprintf(line, sizeof line, "%12s", "");
		}
		n += (size_t)snprintf(line + n, sizeof line - n, "%s", one);
	}
	put(s, "%s", line);
	if (!before->is || x.now > before->now)
		*before = x;
}

static void put_head(struct screen *s, struct str answer, const struct settings *set)
{
	int64_t now = (int64_t)value_of(answer, "figure", "now"), oldest = (int64_t)value_of(answer, "figure", "oldest");
	char up[40], age[40];

	put(s, "fardel at %s, up %s%s", set->hostname, listing_span(now - (int64_t)value_of(answer, "figure", "started"), up), raw ? "; q ends this" : "");
	put(s, "queue: %" PRIu64 " messages, %" PRIu64 " entries, %" PRIu64 " held, oldest %s; %" PRIu64 " sessions", value_of(answer, "figure", "messages"),
		value_of(answer, "figure", "entries"), value_of(answer, "figure", "held"), oldest ? listing_span(now - oldest, age) : "-",
		value_of(answer, "figure", "sessions"));
}

static int fit(int width, struct str s) { return s.n < (size_t)width ? (int)s.n : width; }

/* A column gets what the others leave, within bounds. */
static int width_for(const struct screen *s, unsigned others, int least, int most)
{
	int left = (int)s->columns - (int)others;

	return left < least ? least : left > most ? most : left;
}

static void put_dests(struct screen *s, struct str answer)
{
	int64_t now = (int64_t)value_of(answer, "figure", "now");
	int w = width_for(s, 60, 16, 30);
	struct control_dest d;
	bool any = false;

	while (control_next_dest(&answer, &d)) {
		char age[40], again[40] = "";

		if (!any)
			put(s, "%s", "");
		if (!any)
			put(s, "%-*s %7s %5s %9s %4s  %s", w, "DESTINATION", "ENTRIES", "HELD", "OLDEST", "CONN", "STATE");
		any = true;
		if (d.again)
			listing_span(d.again - now, again);
		put(s, "%-*.*s %7" PRIu64 " %5" PRIu64 " %9s %4" PRIu64 "  %s%s%s%.*s", w, fit(w, d.dest), d.dest.p, d.entries, d.held,
			d.oldest ? listing_span(now - d.oldest, age) : "-", d.connections, d.again ? "down, tried again in " : "up", again,
			d.words.n ? ": " : "", (int)d.words.n, d.words.p);
	}
}

static void put_conversations(struct screen *s, struct str answer)
{
	int host = width_for(s, 56, 12, 30), domain = width_for(s, 36 + (unsigned)host, 12, 24), peer = width_for(s, 56, 15, 39);
	struct str rest = answer, line, f[5];
	bool any = false;

	while (str_cut(&rest, '\n', &line)) {
		if (!str_eq(control_field(&line), STR("connection")))
			continue;
		for (size_t i = 0; i < 4; i++)
			f[i] = control_field(&line);
		if (!any)
			put(s, "%s", "");
		if (!any)
			put(s, "%-*s %-*s %-24s %s", host, "CONNECTION TO", domain, "FOR", "SENDING", "MESSAGES");
		any = true;
		put(s, "%-*.*s %-*.*s %-24.*s %.*s", host, fit(host, f[0]), f[0].p, domain, fit(domain, f[1]), f[1].p, f[2].n ? fit(24, f[2]) : 1,
			f[2].n ? f[2].p : "-", (int)f[3].n, f[3].p);
	}
	any = false;
	rest = answer;
	while (str_cut(&rest, '\n', &line)) {
		if (!str_eq(control_field(&line), STR("session")))
			continue;
		for (size_t i = 0; i < 5; i++)
			f[i] = control_field(&line);
		if (!any)
			put(s, "%s", "");
		if (!any)
			put(s, "%-*s %-16s %8s %-16s %s", peer, "SESSION OF", "STATE", "SECONDS", "LOGIN", "MESSAGES");
		any = true;
		put(s, "%-*.*s %-16.*s %8.*s %-16.*s %.*s", peer, fit(peer, f[0]), f[0].p, fit(16, f[1]), f[1].p, (int)f[2].n, f[2].p,
			f[3].n ? fit(16, f[3]) : 1, f[3].n ? f[3].p : "-", (int)f[4].n, f[4].p);
	}
}

static void draw(struct screen *s, const struct settings *set, struct sample *before)
{
	struct buf answer = { 0 };
	const char *why;
	bool ok = control_ask(set, "top", &answer, &why);

	buf_clear(&s->text);
	s->lines = 0;
	if (raw)
		buf_puts(&s->text, "\033[H");
	if (ok) {
		put_head(s, buf_view(&answer), set);
		put_rates(s, buf_view(&answer), before);
		put_dests(s, buf_view(&answer));
		put_conversations(s, buf_view(&answer));
	} else {
		put(s, "nothing to be seen: %s", why);
		before->is = false;
	}
	if (raw && s->text.n)
		s->text.n--;            /* the last line's end would scroll */
	if (raw)
		buf_puts(&s->text, "\033[J");
	fwrite(s->text.p, 1, s->text.n, stdout);
	fflush(stdout);
	buf_free(&answer);
}

/* ---- the command */

static int show_once(const struct settings *set)
{
	struct screen s = { .rows = LINES_WITHOUT_TERMINAL, .columns = 500 };
	struct sample before = { 0 };
	struct buf answer = { 0 };
	const char *why;
	int status = EX_OK;

	if (control_ask(set, "top", &answer, &why)) {
		draw(&s, set, &before);
	} else {
		fprintf(stderr, "fardel top: %s\n", why);
		status = EX_UNAVAILABLE;
	}
	buf_free(&answer);
	buf_free(&s.text);
	return status;
}

static void stop_for_a_while(void)
{
	told_to_stop = 0;
	leave_screen();
	raise(SIGSTOP);
	enter_screen();
}

/* q, or the end of a terminal that is gone. */
static bool wants_to_quit(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char keys[16];
	ssize_t n = 1;

	if (poll(&p, 1, EVERY_MS) == 1)
		n = read(STDIN_FILENO, keys, sizeof keys);
	else
		return false;
	return n <= 0 || memchr(keys, 'q', (size_t)n) || memchr(keys, 'Q', (size_t)n);
}

static int show_on(const struct settings *set)
{
	struct sample before = { 0 };
	struct screen s = { 0 };

	catch_signals();
	if (!enter_screen())
		return show_once(set);
	do {
		if (told_to_stop)
			stop_for_a_while();
		look_at_size(&s);
		draw(&s, set, &before);
	} while (!told_to_end && !wants_to_quit() && !told_to_end);
	leave_screen();
	buf_free(&s.text);
	return EX_OK;
}

int cmd_top(int argc, char **argv)
{
	struct settings set;
	const char *term = getenv("TERM");
	bool once = !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO) || !term || !*term || !strcmp(term, "dumb");       /* that draws nothing */
	int n = 1, status;

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--once"))
			once = true;
		else
			argv[n++] = argv[i];
	status = settings_for_command(&set, n, argv);
	if (status == 0)
		status = once ? show_once(&set) : show_on(&set);
	settings_free(&set);
	return status;
}
