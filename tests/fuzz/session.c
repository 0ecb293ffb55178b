/* A whole server session under any octets, cut into any pieces, on a disk that may fail: each command gets one reply that is well formed,
 * and what was answered 250 lies in the queue, synced, as a second, simple reading of the same talk says.
 *
 * The first three octets choose how: '0' + bits of WHOLE..., the size of pieces, which call of the disk fails ('0': none). The rest is
 * what the client says. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "queue.h"
#include "smtpd/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum {
	PIECES = 1,             /* not all in one write: pieces of so many octets as the second octet says */
	SMALL = 2,              /* a message has 200 octets at most, and 3 recipients */
	VANISH = 4,             /* the client goes without a word instead of ending its half */
	STRANGER = 8,           /* somebody from the network whom we do not know */
	EARLY = 16,             /* who does not wait for the greeting */
	SUBMISSION = 32,        /* who has come to the port for users, in clear */
	LOCAL = 64,             /* a program of this machine: its header is completed */
	PROXIED = 128,          /* somebody who speaks for others: a PROXY header comes first, and XCLIENT may */
	HOW_BITS = 255
};
enum { LINE_ROOM = 2048, SMALL_SIZE = 200, SMALL_RCPTS = 3, MAILS = 512 };

static struct buf heard;                        /* by the client */

/* A fault is an abort that libFuzzer keeps the input of. */
static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "session: broken: %s, behind:\n" STR_FMT, what, STR_ARG(buf_view(&heard)));
	abort();
}

/* ---- the disk: real files on a memory file system; syncs are only noted, and one call may fail */

enum { FILES = 4096 };
static char dir[64];
static int in_dir = -1;
static unsigned fail_kind, fail_in;             /* the fail_in-th call of that kind fails; 0: none */
static ino_t synced[FILES];
static size_t nsynced;
/* Names that no sync has covered yet: another message may be on its way when we hear of the one before. */
static char dirty[FILES][NAME_MAX + 1];
static size_t ndirty;
static struct file_calls kernel;

static bool fails(unsigned kind, int error)
{
	if (!fail_in || kind != fail_kind || --fail_in)
		return false;
	errno = error;
	return true;
}

static ino_t inode(int fd)
{
	struct stat st;

	must(fstat(fd, &st) == 0, "fstat");
	return st.st_ino;
}

static void forget_sync(int fd)
{
	ino_t it = inode(fd);

	for (size_t i = 0; i < nsynced; i++)
		if (synced[i] == it)
			synced[i] = 0;
}

static int disk_open(int at, const char *name, int flags, mode_t mode)
{
	return fails(0, ENOSPC) ? -1 : kernel.open(at, name, flags, mode);
}

static ssize_t disk_write(int fd, const void *p, size_t n)
{
	if (fails(1, ENOSPC))
		return -1;
	forget_sync(fd);
	return kernel.write(fd, p, n > 7 && fails(2, 0) ? 7 : n);
}

static ssize_t disk_pwrite(int fd, const void *p, size_t n, off_t at)
{
	if (fails(1, EIO))
		return -1;
	forget_sync(fd);
	return kernel.pwrite(fd, p, n, at);
}

static int disk_fdatasync(int fd)
{
	if (fails(3, EIO))
		return -1;
	must(nsynced < FILES, "more files than the fuzzer has room for");
	synced[nsynced++] = inode(fd);
	return 0;
}

static int disk_fsync(int fd)
{
	if (fails(4, EIO))
		return -1;
	must(inode(fd) == inode(in_dir), "another directory was synced");
	ndirty = 0;
	return 0;
}

static int disk_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	if (fails(5, EEXIST))
		return -1;
	must(ndirty < FILES, "more names than the fuzzer has room for");
	snprintf(dirty[ndirty++], sizeof dirty[0], "%s", to);
	return kernel.rename(from_dir, from, to_dir, to);
}
enum { FAIL_KINDS = 6 };

/* ---- the world */

static struct fact_ticket *asked;
static bool asked_found;

static void answer(struct task *t)
{
	struct fact f = { .outcome = asked_found ? FOUND : NO_NAME };
	struct fact_ticket *ticket = asked;

	(void)t;
	asked = NULL;
	if (ticket)
		fact_answer(ticket, &f);
}
static struct task answer_soon = { .run = answer };

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source;
	(void)kind;
	must(!asked, "two questions at once");
	asked = ticket;
	asked_found = name.n & 1;
	task_post(&answer_soon);
}
static struct fact_source mailboxes = { .ask = ask };

/* The sender's domain, asked for SPF while other commands come: what its record says goes by the length of its name. */
enum { RECORDS = 16 };
static struct { struct fact_ticket *ticket; size_t n; } domains[RECORDS];
static size_t ndomains;

static void answer_domains(struct task *t)
{
	static const char *const records[] = { "v=spf1 -all exp=%{l}.test", "v=spf1 ip4:10.0.0.0/8 ~all", "other", NULL };

	(void)t;
	while (ndomains) {
		const char *text = records[domains[--ndomains].n % 4];
		struct record r = { .data = str_of(text) };
		struct fact f = { .outcome = text ? FOUND : UNKNOWN, .n = text != NULL, .record = &r };

		fact_answer(domains[ndomains].ticket, &f);
	}
}
static struct task domains_soon = { .run = answer_domains };

static void ask_domain(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	(void)source;
	must(kind == FACT_TXT && ndomains < RECORDS, "a question about a domain");
	domains[ndomains].ticket = ticket;
	domains[ndomains++].n = name.n;
	task_post(&domains_soon);
}
static struct fact_source records = { .ask = ask_domain };

/* Local parts with n are unknown, with l put off, with w looked up. */
static enum verdict rcpt(void *arg, const struct subject *who, struct facts *facts, const struct recipient *to, struct reply *why)
{
	const struct fact *f;
	struct str local = to->addr.local;

	(void)arg;
	(void)who;
	if (memchr(local.p, 'n', local.n)) {
		*why = (struct reply){ .code = 550, .enhanced = "5.1.1", .text = "No such\r\n250 user" };
		return REFUSE;
	}
	if (memchr(local.p, 'l', local.n)) {
		*why = (struct reply){ .code = 451, .enhanced = "4.3.0", .text = "Later" };
		return REFUSE;
	}
	if (!memchr(local.p, 'w', local.n))
		return ACCEPT;
	f = fact(facts, FACT_MAILBOX, local);
	if (!f)
		return WAIT;
	*why = (struct reply){ .code = 550, .enhanced = "5.1.1", .text = "No such user" };
	return f->outcome == FOUND ? ACCEPT : REFUSE;
}

static bool known, proxied;

static bool speaks_for_others(void *arg, const struct subject *who)
{
	(void)arg;
	(void)who;
	return proxied;
}

static bool trusted(void *arg, const struct subject *who)
{
	(void)arg;
	(void)who;
	return known;
}

/* The same of the sender's local part, asked of strangers. */
static enum verdict mail(void *arg, const struct subject *who, struct facts *facts, const struct sender *from, struct reply *why)
{
	const struct recipient as = { .addr = from->addr };

	return rcpt(arg, who, facts, &as, why);
}

static struct smtpd_config config = { .hostname = "mx.example.org", .rcpt = rcpt, .mail = mail, .trusted = trusted, .proxy = speaks_for_others, .xclient = speaks_for_others, .greeting_delay_ms = 200, .sessions_per_address = 5,
	.connections_per_minute = 100 };

/* ---- the queue as it lies on the disk */

/* The file of a message: its name, or "". */
static void find_message(const char *id, char *name, size_t size)
{
	char part[ID_MAX + 2];
	int fd = openat(in_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	struct dirent *e;

	must(d != NULL, "the queue cannot be read");
	snprintf(part, sizeof part, ".%s.", id);
	*name = '\0';
	while ((e = readdir(d)))
		if (strstr(e->d_name, part))
			snprintf(name, size, "%s", e->d_name);
	closedir(d);
}

static size_t count(const char *place, bool remove)
{
	int fd = openat(queue_dir(), place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	struct dirent *e;
	size_t n = 0;

	must(d != NULL, "the queue cannot be read");
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		n++;
		if (remove)
			unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
	return n;
}

/* At the moment when the client has read that its message is safe. */
static void check_durable(const char *id)
{
	char name[NAME_MAX + 1];
	struct stat st;
	bool is = false;

	find_message(id, name, sizeof name);
	must(*name, "a message that was answered 250 is not in the queue");
	must(fstatat(in_dir, name, &st, 0) == 0, "its file cannot be looked at");
	for (size_t i = 0; i < nsynced; i++)
		is |= synced[i] == st.st_ino;
	must(is, "a message that was answered 250 is not synced");
	for (size_t i = 0; i < ndirty; i++)
		must(strcmp(dirty[i], name) != 0, "a message that was answered 250 has a name that is not synced");
}

/* ---- the client */

static int client;
static bool ended;
static size_t looked;                           /* octets of heard that were searched for ids */

static bool take_id(struct str text, char id[ID_MAX])
{
	static const char words[] = "Queued as ";
	const char *at = text.n ? memmem(text.p, text.n, words, sizeof words - 1) : NULL;
	size_t n = 0;

	if (!at)
		return false;
	at += sizeof words - 1;
	while (at + n < text.p + text.n && n + 1 < ID_MAX && (ascii_digit(at[n]) || ascii_alpha(at[n]))) {
		id[n] = at[n];
		n++;
	}
	id[n] = '\0';
	return true;
}

/* One turn, and what the server has said then. True: something came. */
static bool turn(void)
{
	char text[8192], id[ID_MAX];
	struct str rest, line;
	bool came = false;
	ssize_t n;

	loop_turn(0);
	while (client != -1 && !ended && (n = recv(client, text, sizeof text, MSG_DONTWAIT)) != -1) {
		ended = n == 0;
		must(buf_add(&heard, text, (size_t)n), "too much was said");
		came = true;
	}
	if (!heard.n)
		return came;
	rest = (struct str){ heard.p + looked, heard.n - looked };
	while (str_cut(&rest, '\n', &line)) {
		looked += line.n + 1;
		if (take_id(line, id))
			check_durable(id);
	}
	return came;
}

static void listen_to_it(void)
{
	for (int quiet = 0; quiet < 4; quiet++)
		if (turn())
			quiet = 0;
}

static void say(struct str text, size_t piece)
{
	while (text.n && !ended) {
		ssize_t n = send(client, text.p, text.n < piece ? text.n : piece, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n == -1 && errno != EAGAIN)
			return;
		if (n > 0)
			text = (struct str){ text.p + n, text.n - (size_t)n };
		turn();
	}
}

/* ---- the second reading: what must have been said, and what must have been stored */

struct model {
	struct str said, heard;                 /* what is not understood yet */
	struct buf body;                        /* of the message that is being sent */
	struct str sender;                      /* the MAIL command that was taken */
	size_t nrcpt;
	bool notify[SMALL_RCPTS + 4096];        /* the n-th recipient's command had NOTIFY= */
	bool in_chunks, chunk_refused, login;   /* ... by BDAT; a response of a login comes next */
	bool over;
	bool completed;                         /* by us: only the body is as it was sent */
	size_t taken;                           /* messages */
};

/* The next reply. False: none is there. */
static bool next_reply(struct model *m, int *code, struct str *last)
{
	struct str line;
	int first = 0;
	bool more = true;

	for (*code = 0; more; first = *code) {
		if (!str_cut(&m->heard, '\n', &line)) {
			must(!m->heard.n && !first, "a reply was cut off");
			return false;
		}
		must(line.n >= 4 && line.n < 512 && line.p[line.n - 1] == '\r', "a reply's line end or length");
		line.n--;
		for (size_t i = 0; i < line.n; i++)
			must(line.p[i] >= ' ' && line.p[i] <= '~', "an octet in a reply that is no character");
		for (size_t i = 0; i < 3; i++)
			must(ascii_digit(line.p[i]), "a reply without a code");
		*code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + line.p[2] - '0';
		must(*code >= 200 && *code < 560 && (!first || first == *code), "a reply's code");
		must(line.n == 3 || line.p[3] == ' ' || line.p[3] == '-', "what follows a reply's code");
		more = line.n > 3 && line.p[3] == '-';
		*last = line;
	}
	m->over |= *code == 421 || *code == 221;
	if (m->over)
		must(!m->heard.n, "more is said behind the last reply");
	return true;
}

/* RFC 2034 4: all but the greeting and the answer to HELO and EHLO. */
static void check_enhanced(struct str reply)
{
	must(reply.n > 9 && reply.p[4] == reply.p[0] && reply.p[5] == '.' && ascii_digit(reply.p[6]), "no enhanced status code");
}

static bool is_verb(struct str line, const char *verb)
{
	size_t n = strlen(verb);

	return str_starts_nocase(line, str_of(verb)) && (line.n == n || line.p[n] == ' ' || line.p[n] == '\r' || line.p[n] == '\t');
}

/* A command line that is run: no control characters but its CR, at its end. */
static bool is_clean(struct str line)
{
	if (!line.n || line.p[line.n - 1] != '\r' || memchr(line.p, '\r', line.n - 1))
		return false;
	for (size_t i = 0; i + 1 < line.n; i++)
		if ((unsigned char)line.p[i] < ' ' || line.p[i] == 0x7f)
			return line.p[i] == '\t' && str_trim((struct str){ line.p + i, line.n - i }).n == 0;
	return true;
}

static bool has_word(struct str line, const char *word)
{
	for (size_t i = 0; i + strlen(word) <= line.n; i++)
		if (str_starts_nocase((struct str){ line.p + i, line.n - i }, str_of(word)))
			return true;
	return false;
}

static void forget_transaction(struct model *m)
{
	buf_clear(&m->body);
	m->sender = STR("");
	m->nrcpt = 0;
	m->in_chunks = m->chunk_refused = false;
}

static bool text_is_bad(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!s.p[i] || (s.p[i] == '\n' && (!i || s.p[i - 1] != '\r')) || (s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n')))
			return true;
	return false;
}

static void check_stored(struct model *m, const char *id)
{
	char name[NAME_MAX + 1];
	const char *why = "", *at, *end;
	struct mail *mail;
	struct buf text = { 0 };

	find_message(id, name, sizeof name);
	mail = mail_read(in_dir, name, &why);
	must(mail != NULL, "a queue file that cannot be read");
	must(buf_reserve(&text, (size_t)mail->size + 1) != NULL, "no memory");
	must(pread(mail->fd, text.p, (size_t)mail->size, mail->at) == mail->size, "a queue file that is too short");
	text.n = (size_t)mail->size;
	at = text.p;
	if (text.n > 14 && memcmp(text.p, "Received-SPF: ", 14) == 0) {
		must(!known, "SPF of one whom we know");
		at = memmem(text.p, text.n, "\r\nReceived: ", 12);
		must(at != NULL, "no trace field behind Received-SPF");
		for (const char *p = text.p; p < at; p++)
			must(*p != '\n' || p[1] == '\t', "Received-SPF is more than one field");
		at += 2;
	}
	must((size_t)(text.p + text.n - at) > 10 && memcmp(at, "Received: ", 10) == 0, "no trace field");
	/* Our field ends with its date; what follows is the client's. */
	at = memmem(at, (size_t)(text.p + text.n - at), ";\r\n\t", 4);
	must(at != NULL, "no date in the trace field");
	at += 4;
	end = memmem(at, (size_t)(text.p + text.n - at), "\r\n", 2);
	must(end != NULL, "a trace field without end");
	end += 2;
	/* ... but for a first line that would continue our field. */
	if (!m->completed && m->body.n && (m->body.p[0] == ' ' || m->body.p[0] == '\t')) {
		must(text.p + text.n - end > 2 && memcmp(end, "\r\n", 2) == 0, "our trace field goes on with the client's words");
		end += 2;
	}
	if (m->completed) {
		const char *body = m->body.n > 4 ? memmem(m->body.p, m->body.n, "\r\n\r\n", 4) : NULL;
		size_t n = body ? (size_t)(m->body.p + m->body.n - body) : 0;

		must(n <= text.n && (!n || memcmp(text.p + text.n - n, body, n) == 0), "the body stored is not the body sent");
		must(!text_is_bad(buf_view(&text)), "a message was completed so that it may be read in two ways");
	} else {
		must((size_t)(text.p + text.n - end) == m->body.n && (!m->body.n || memcmp(end, m->body.p, m->body.n) == 0),
			"the message stored is not the message sent");
	}
	must(mail->nrcpt == m->nrcpt && m->nrcpt, "the recipients stored are not those that were taken");
	for (size_t i = 0; i < mail->nrcpt; i++)
		must((mail->rcpt[i].to.notify != 0) == m->notify[i], "a recipient got another one's NOTIFY");
	must(mail->from.addr.local.n == 0 || memmem(m->sender.p, m->sender.n, mail->from.addr.local.p, mail->from.addr.local.n),
		"the sender stored is not the one that was taken");
	mail_free(mail);
	buf_free(&text);
}

static void accepted(struct model *m, struct str reply)
{
	char id[ID_MAX] = "";

	must(take_id(reply, id), "a message is taken without an id");
	check_stored(m, id);
	m->taken++;
	forget_transaction(m);
}

/* The octets of a message by DATA, up to CR LF . CR LF. False: its end has not come. */
static bool take_data(struct model *m, bool *bad)
{
	struct str rest = m->said, line;

	*bad = false;
	while (str_cut(&rest, '\n', &line)) {
		bool cr = line.n && line.p[line.n - 1] == '\r';
		/* A line that begins behind a lone LF is not at the beginning of a line. */
		bool begins = line.p == m->said.p || (line.p - m->said.p >= 2 && line.p[-2] == '\r');

		if (begins && str_eq(line, STR(".\r"))) {
			m->said = rest;
			return true;
		}
		*bad |= !cr || memchr(line.p, '\0', line.n) || (line.n > 1 && memchr(line.p, '\r', line.n - 1));
		if (begins && line.p[0] == '.')
			line = (struct str){ line.p + 1, line.n - 1 };
		must(buf_str(&m->body, line) && buf_char(&m->body, '\n'), "no memory");
	}
	return false;
}

static void read_message(struct model *m)
{
	struct str reply;
	bool bad, whole;
	int code;

	buf_clear(&m->body);
	whole = take_data(m, &bad);
	if (!next_reply(m, &code, &reply)) {
		must(!whole, "no reply to a message");
		m->over = true;
		return;
	}
	must(whole || code == 421 || code == 552, "a reply to a message before its end");
	m->over |= !whole;
	if (m->over)
		return;
	check_enhanced(reply);
	if (code != 250) {
		must(code >= 400, "a reply to a message");
		forget_transaction(m);
		return;
	}
	must(!bad, "a message that may be read in two ways was taken");
	must(!config.message_size || m->body.n <= config.message_size, "a message was taken that is too large");
	accepted(m, reply);
}

/* BDAT n [LAST]: 0 when that is no count. The digits are taken one by one, as nobody else here does. */
static bool chunk_size(struct str line, uint64_t *n, bool *last)
{
	struct str arg = str_from(line, 5), size;

	while (arg.n && (arg.p[arg.n - 1] == ' ' || arg.p[arg.n - 1] == '\t'))
		arg.n--;
	size = arg;
	*last = false;
	for (size_t i = 0; i < arg.n; i++)
		if (arg.p[i] == ' ') {
			struct str word = str_trim(str_from(arg, i));

			size = (struct str){ arg.p, i };
			if (word.n != 4 || !str_starts_nocase(word, STR("LAST")))
				return false;
			*last = true;
			break;
		}
	*n = 0;
	if (!size.n || size.n > 19)
		return false;
	for (size_t i = 0; i < size.n; i++) {
		if (!ascii_digit(size.p[i]) || *n > INT64_MAX / 10)
			return false;
		*n = *n * 10 + (uint64_t)(size.p[i] - '0');
	}
	return *n <= INT64_MAX;
}

/* The line was BDAT with a count: so many octets belong to it, whatever is answered. */
static void read_chunk(struct model *m, uint64_t n, bool last)
{
	struct str octets = { m->said.p, n < m->said.n ? (size_t)n : m->said.n }, reply;
	bool whole = octets.n == n;
	int code;

	m->said = str_from(m->said, octets.n);
	if (!next_reply(m, &code, &reply)) {
		must(!whole, "no reply to a chunk");
		m->over = true;
		return;
	}
	must(whole || code == 421 || code == 552, "a reply to a chunk before its end");
	m->over |= !whole;
	if (m->over)
		return;
	check_enhanced(reply);
	must(code == 250 || code >= 400, "a reply to a chunk");
	if (code == 250) {
		must(m->nrcpt && m->sender.n, "a chunk was taken without recipients");
		must(!m->chunk_refused, "a chunk was taken behind a refused one");
		must(buf_str(&m->body, octets), "no memory");
		m->in_chunks = true;
	}
	if (code == 250 && last) {
		if (m->body.n && (m->body.n < 2 || memcmp(m->body.p + m->body.n - 2, "\r\n", 2) != 0) && m->body.p[m->body.n - 1] != '\r')
			buf_puts(&m->body, "\r\n");
		must(!text_is_bad(buf_view(&m->body)), "a message that may be read in two ways was taken");
		must(!config.message_size || m->body.n <= config.message_size + 2, "a message was taken that is too large");
		accepted(m, reply);
	} else if (code != 250 && code != 503) {
		m->chunk_refused = m->in_chunks = true;
		if (last)
			forget_transaction(m);
	}
}

static void begun_anew(struct model *m, struct str line, int code)
{
	if (is_verb(line, "DATA") && (code == 550 || code / 10 == 45))      /* SPF, or trouble of the server's: that was all of it */
		forget_transaction(m);
	if (code != 250)
		return;
	if (is_verb(line, "MAIL")) {
		must(!m->sender.n && !m->in_chunks, "a second MAIL in a transaction was taken");
		m->sender = line;
	} else if (is_verb(line, "RCPT")) {
		must(m->sender.n > 0 && !m->in_chunks, "RCPT was taken without MAIL, or between chunks");
		must(m->nrcpt < sizeof m->notify, "more recipients than the model has room for");
		m->notify[m->nrcpt++] = has_word(line, " NOTIFY=");
	} else if (is_verb(line, "RSET") || is_verb(line, "HELO") || is_verb(line, "EHLO")) {
		forget_transaction(m);
	}
}

static void read_command(struct model *m)
{
	struct str line, reply;
	bool whole = str_cut(&m->said, '\n', &line), last;
	uint64_t n;
	int code;

	if (!whole) {
		line = m->said;
		m->said = STR("");
	}
	if (whole && line.n && line.n <= LINE_ROOM && is_clean(line) && is_verb(line, "BDAT")) {
		if (chunk_size((struct str){ line.p, line.n - 1 }, &n, &last)) {
			read_chunk(m, n, last);
		} else {                        /* nobody knows what belongs to it: it ends here */
			must(next_reply(m, &code, &reply) && (code == 501 || code == 421), "a BDAT that is none");
			must(!m->heard.n, "more is said behind a BDAT that is none");
			m->over = true;
		}
		return;
	}
	if (!next_reply(m, &code, &reply)) {
		must(!whole, "no reply to a command");
		m->over = true;
		return;
	}
	must(whole || code == 421 || (code == 500 && line.n > LINE_ROOM), "a reply to nothing");
	if (m->over)
		return;
	if (code == 354) {
		must(is_verb(line, "DATA") && m->nrcpt && !m->in_chunks, "354 without DATA or recipients, or between chunks");
		read_message(m);
		return;
	}
	if (is_verb(line, "XCLIENT") && (code == 220 || code == 554)) {
		must(proxied && (code == 220 || !m->heard.n), "XCLIENT was taken");
		forget_transaction(m);
		m->over |= code == 554;         /* somebody else, who has spoken too early */
		return;
	}
	must(code != 220, "220 in the middle");
	if (code != 250 || !(is_verb(line, "HELO") || is_verb(line, "EHLO")))
		check_enhanced(reply);
	begun_anew(m, line, code);
}

static size_t check_talk(struct str said, bool early, bool local)
{
	static struct model m;
	struct str reply;
	int code;

	fail_in = 0;                            /* what failed until now has; the model reads well */
	m = (struct model){ .said = said, .heard = buf_view(&heard), .body = m.body, .completed = local };
	if (proxied) {
		struct sockaddr_storage peer;
		size_t used;
		enum proxy header = proxy_parse(said, &used, &peer);

		if (header == PROXY_MORE || header == PROXY_WRONG) {
			must(!heard.n, "an answer to no PROXY header");
			return 0;
		}
		m.said = str_from(said, used);
	}
	if (!next_reply(&m, &code, &reply)) {
		must(early, "no greeting");
		return 0;
	}
	must(code == 220 || code == 421 || ((early || proxied) && code == 554), "the greeting");
	m.over |= code == 554;
	while (!m.over && m.said.n)
		read_command(&m);
	must(m.over || !m.heard.n, "a reply that nothing asked for");
	return m.taken;
}

/* ---- a run */

static void leave(void)
{
	char command[sizeof dir + 16];

	queue_close();
	snprintf(command, sizeof command, "rm -rf %s", dir);
	if (system(command) != 0)
		fprintf(stderr, "%s stays\n", dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static struct queue_config q = { .dir = dir, .inline_sync = true, .message_size = 1 << 20 };
	char why[512];

	(void)argc;
	(void)argv;
	snprintf(dir, sizeof dir, "%s/fardel-fuzz.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (log_open("/dev/null") == -1 || !mkdtemp(dir) || queue_open(&q, why, sizeof why) == -1)
		abort();
	in_dir = openat(queue_dir(), "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	kernel = file_sys;
	file_sys = (struct file_calls){ .open = disk_open, .write = disk_write, .pwrite = disk_pwrite, .ftruncate = kernel.ftruncate,
		.fdatasync = disk_fdatasync, .fsync = disk_fsync, .link = kernel.link, .rename = disk_rename, .unlink = kernel.unlink,
		.space = kernel.space };
	log_threshold(LOG_INFO);
	facts_source(FACT_MAILBOX, &mailboxes);
	facts_source(FACT_TXT, &records);
	loop_virtual_clock(1795424400);
	smtpd_configure(&config);
	atexit(leave);
	return 0;
}

/* What is left open would be found here: the lowest free descriptor moves up. */
static int lowest_free(void)
{
	int fd = fcntl(0, F_DUPFD_CLOEXEC, 3);

	close(fd);
	return fd;
}

static void choose(const uint8_t *data, unsigned *how, size_t *piece)
{
	unsigned failure = (uint8_t)(data[2] - '0');

	*how = (unsigned)(data[0] - '0') & HOW_BITS;
	*piece = *how & PIECES ? (size_t)((uint8_t)(data[1] - '0')) + 1 : SIZE_MAX;
	fail_kind = failure % FAIL_KINDS;
	fail_in = failure / FAIL_KINDS;
	config.message_size = *how & SMALL ? SMALL_SIZE : 0;
	config.rcpt_max = *how & SMALL ? SMALL_RCPTS : 0;
	config.spf = data[1] & 1 ? SMTPD_SPF_REFUSE : SMTPD_SPF_NOTE;
}

static void end_talk(void)
{
	shutdown(client, SHUT_WR);
	for (int patience = 4000; !ended && patience; patience--) {
		listen_to_it();
		if (!ended)
			loop_advance(1000);
	}
	must(ended, "the session does not end");
	close(client);
	client = -1;
}

static void end_session(void)
{
	for (int patience = 400; smtpd_sessions() && patience; patience--) {
		loop_turn(0);
		if (smtpd_sessions())
			loop_advance(1000);
	}
	must(!smtpd_sessions(), "a session stays");
	fail_in = 0;
	answer(&answer_soon);
	answer_domains(&domains_soon);
	loop_turn(0);
}

/* Each stranger comes from elsewhere, or soon none would be let in. */
static void call(unsigned how)
{
	static uint32_t address = 0x0a000000;
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(address += 4093) };
	struct sockaddr_storage peer = { 0 };
	int sv[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) == 0, "socketpair");
	client = sv[0];
	memcpy(&peer, &from, sizeof from);
	known = !(how & STRANGER);
	proxied = how & PROXIED && !(how & LOCAL);
	if (!(how & LOCAL))
		smtpd_welcome(sv[1], &peer, how & SUBMISSION ? SMTPD_SUBMISSION : SMTPD_MX);
	else
		must(smtpd_session(sv[1], sv[1], SMTPD_MX, NULL, NULL) == 0, "no session");
	if (how & EARLY)
		return;
	loop_advance(300);
	listen_to_it();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str said = { (const char *)data + 3, n - 3 };
	int before = lowest_free();
	size_t piece, taken;
	unsigned how;

	if (n < 3)
		return 0;
	choose(data, &how, &piece);
	buf_clear(&heard);
	heard.max = 64 << 20;
	looked = nsynced = 0;
	ndirty = 0;
	ended = false;
	call(how);
	say(said, piece);
	if (how & VANISH) {
		close(client);
		client = -1;
	} else {
		end_talk();
		taken = check_talk(said, how & EARLY, how & LOCAL);
		must(count("in", false) == taken, "more messages in the queue than were answered 250");
	}
	end_session();
	must(count("work", true) == 0, "a draft is left over");
	count("in", true);
	must(lowest_free() == before, "a descriptor is left open");
	return 0;
}
