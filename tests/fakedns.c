/* A fake resolver for tests. */
#include "tests/fakedns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/list.h"

enum { T_A = 1, T_CNAME = 5, T_SOA = 6, T_PTR = 12, T_MX = 15, T_TXT = 16, T_AAAA = 28, T_SRV = 33, T_OPT = 41, T_TLSA = 52 };
enum { NAME_MAX_TEXT = 256, PACKET = 65535, UDP_MAX = 1232 };

enum behaviour {
	B_NONE, B_SERVFAIL, B_REFUSED, B_NOTIMP, B_FORMERR, B_SILENT, B_NOEDNS, B_TRUNCATED, B_WRONGID, B_WRONGNAME,
	B_FLOOD, B_GARBAGE, B_TCPSTALL, B_TCPSHORT, B_TCPCLOSE, B_DELAY
};
static const char *const behaviours[] = {
	[B_SERVFAIL] = "SERVFAIL", [B_REFUSED] = "REFUSED", [B_NOTIMP] = "NOTIMP", [B_FORMERR] = "FORMERR",
	[B_SILENT] = "SILENT", [B_NOEDNS] = "NOEDNS", [B_TRUNCATED] = "TRUNCATED", [B_WRONGID] = "WRONGID",
	[B_WRONGNAME] = "WRONGNAME", [B_FLOOD] = "FLOOD", [B_GARBAGE] = "GARBAGE", [B_TCPSTALL] = "TCPSTALL",
	[B_TCPSHORT] = "TCPSHORT", [B_TCPCLOSE] = "TCPCLOSE", [B_DELAY] = "DELAY",
};
static const struct { const char *name; unsigned type; } types[] = {
	{ "A", T_A }, { "AAAA", T_AAAA }, { "CNAME", T_CNAME }, { "PTR", T_PTR }, { "MX", T_MX }, { "TXT", T_TXT },
	{ "SRV", T_SRV }, { "TLSA", T_TLSA },
};

/* A line: a record (type), or something said of the name (behaviour, TTL, AD). */
struct fakedns_line {
	char name[NAME_MAX_TEXT];
	unsigned type;                  /* 0: no record */
	enum behaviour behaviour;
	bool counted;                   /* only for the next `left` questions */
	long left;                      /* or milliseconds */
	long ttl;                       /* -1: not said */
	bool ad;
	size_t n;
	unsigned char rdata[];
};

struct out {
	unsigned char p[PACKET];
	size_t n;
	bool full;
};

struct question {
	unsigned char packet[512];      /* as it came, cut behind the question */
	size_t n;
	char name[NAME_MAX_TEXT];
	unsigned type;
	bool edns, tcp;
};

/* A connection: takes one question, gives one answer. */
struct fakedns_tcp {
	struct io io;
	struct fakedns *owner;
	unsigned char in[600];
	size_t in_n;
	unsigned char *out;
	size_t out_n, sent;
	bool stalled;
};

/* An answer that is held back. */
struct fakedns_late {
	struct timer timer;
	struct fakedns *owner;
	struct fakedns_late *next;
	struct sockaddr_in to;
	size_t n;
	unsigned char packet[];
};

/* ---- writing packets */

static void put(struct out *o, const void *p, size_t n)
{
	if (n > sizeof o->p - o->n) {
		o->full = true;
		return;
	}
	if (n)
		memcpy(o->p + o->n, p, n);
	o->n += n;
}

static void put8(struct out *o, unsigned x) { put(o, &(unsigned char){ (unsigned char)x }, 1); }
static void put16(struct out *o, unsigned x) { put8(o, x >> 8 & 255); put8(o, x & 255); }
static void put32(struct out *o, unsigned long x) { put16(o, x >> 16 & 65535); put16(o, x & 65535); }

/* False: not a name. "." is the root. */
static bool put_name(struct out *o, const char *name)
{
	while (*name && strcmp(name, ".") != 0) {
		size_t n = strcspn(name, ".");
		if (!n || n > 63)
			return false;
		put8(o, (unsigned)n);
		put(o, name, n);
		name += n + (name[n] == '.');
	}
	put8(o, 0);
	return true;
}

static unsigned get16(const unsigned char *p) { return (unsigned)p[0] << 8 | p[1]; }

/* ---- the table */

static bool reverse_name(const char *text, char *name, size_t size)
{
	unsigned char a[16];
	size_t n = 0;

	if (inet_pton(AF_INET, text, a) == 1) {
		snprintf(name, size, "%u.%u.%u.%u.in-addr.arpa", a[3], a[2], a[1], a[0]);
		return true;
	}
	if (inet_pton(AF_INET6, text, a) != 1)
		return false;
	for (int i = 15; i >= 0; i--)
		n += (size_t)snprintf(name + n, size - n, "%x.%x.", a[i] & 15, a[i] >> 4);
	snprintf(name + n, size - n, "ip6.arpa");
	return true;
}

static bool txt_strings(struct out *o, const char *s)
{
	if (*s != '"') {                /* one text, in pieces of at most 255 */
		for (size_t n = strlen(s), piece; n; n -= piece, s += piece) {
			piece = n < 255 ? n : 255;
			put8(o, (unsigned)piece);
			put(o, s, piece);
		}
		return true;
	}
	while (*s == '"') {
		const char *end = strchr(s + 1, '"');
		if (!end || end - s - 1 > 255)
			return false;
		put8(o, (unsigned)(end - s - 1));
		put(o, s + 1, (size_t)(end - s - 1));
		s = end + 1 + strspn(end + 1, " \t");
	}
	return !*s;
}

static bool hex_octets(struct out *o, const char *s)
{
	unsigned x;

	for (; s[0] && s[1]; s += 2) {
		if (sscanf(s, "%2x", &x) != 1)
			return false;
		put8(o, x);
	}
	return !*s;
}

static bool make_rdata(struct out *o, unsigned type, const char *data)
{
	unsigned char address[16];
	char *end;

	switch (type) {
	case T_A:
		put(o, address, inet_pton(AF_INET, data, address) == 1 ? 4 : 0);
		return o->n == 4;
	case T_AAAA:
		put(o, address, inet_pton(AF_INET6, data, address) == 1 ? 16 : 0);
		return o->n == 16;
	case T_MX:
		put16(o, (unsigned)strtoul(data, &end, 10));
		return end != data && *end == ' ' && put_name(o, end + strspn(end, " \t"));
	case T_SRV:
		for (int i = 0; i < 3; i++, data = end + 1) {
			put16(o, (unsigned)strtoul(data, &end, 10));
			if (end == data || *end != ' ')
				return false;
		}
		return put_name(o, data);
	case T_TXT:
		return txt_strings(o, data);
	case T_TLSA:
		return hex_octets(o, data);
	default:
		return put_name(o, data);
	}
}

static const char *read_line(struct fakedns_line *l, struct out *rdata, const char *word, const char *rest)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (strcasecmp(word, types[i].name) != 0)
			continue;
		l->type = types[i].type;
		return make_rdata(rdata, l->type, rest) && !rdata->full ? NULL : "the data does not fit the type";
	}
	for (size_t i = 1; i < sizeof behaviours / sizeof *behaviours; i++) {
		if (strcasecmp(word, behaviours[i]) != 0)
			continue;
		l->behaviour = (enum behaviour)i;
		l->left = strtol(rest, NULL, 10);
		l->counted = *rest && l->behaviour != B_DELAY;
		return NULL;
	}
	if (strcasecmp(word, "TTL") == 0) {
		l->ttl = strtol(rest, NULL, 10);
		return NULL;
	}
	l->ad = strcasecmp(word, "AD") == 0;
	return l->ad ? NULL : "neither a type nor a behaviour";
}

const char *fakedns_add(struct fakedns *f, const char *text)
{
	static struct out rdata;
	struct fakedns_line l = { .ttl = -1 }, *copy;
	char name[NAME_MAX_TEXT], word[32];
	const char *wrong;
	char *rest;
	int at = 0;
	size_t n;

	text += strspn(text, " \t");
	if (!*text || *text == '#' || *text == '\n' || *text == '\r')
		return NULL;
	if (sscanf(text, "%255s %31s %n", name, word, &at) != 2)
		return "a line is a name, a type or behaviour, and data";
	if (f->nlines == FAKEDNS_LINES)
		return "too many lines";
	if (!at)
		at = (int)strlen(text);
	rest = strdup(text + at);
	if (!rest)
		return "out of memory";
	for (n = strlen(rest); n && strchr(" \t\r\n", rest[n - 1]); )
		rest[--n] = '\0';
	if (!reverse_name(name, l.name, sizeof l.name))
		memcpy(l.name, name, sizeof name);
	n = strlen(l.name);
	if (n > 1 && l.name[n - 1] == '.')
		l.name[n - 1] = '\0';
	rdata.n = 0;
	rdata.full = false;
	wrong = read_line(&l, &rdata, word, rest);
	free(rest);
	if (wrong)
		return wrong;
	copy = malloc(sizeof *copy + rdata.n);
	if (!copy)
		return "out of memory";
	*copy = l;
	copy->n = rdata.n;
	memcpy(copy->rdata, rdata.p, rdata.n);
	f->line[f->nlines++] = copy;
	return NULL;
}

void fakedns_clear(struct fakedns *f)
{
	while (f->nlines)
		free(f->line[--f->nlines]);
}

/* What is said of a name; a counted behaviour is used up. */
static enum behaviour behaviour_of(struct fakedns *f, const char *name, long *ms)
{
	for (size_t i = 0; i < f->nlines; i++) {
		struct fakedns_line *l = f->line[i];
		if (!l->behaviour || strcasecmp(l->name, name) != 0 || (l->counted && l->left <= 0))
			continue;
		*ms = l->left;
		if (l->counted)
			l->left--;
		return l->behaviour;
	}
	return B_NONE;
}

static long ttl_of(const struct fakedns *f, const char *name)
{
	for (size_t i = 0; i < f->nlines; i++)
		if (f->line[i]->ttl >= 0 && strcasecmp(f->line[i]->name, name) == 0)
			return f->line[i]->ttl;
	return 300;
}

static bool ad_of(const struct fakedns *f, const char *name)
{
	for (size_t i = 0; i < f->nlines; i++)
		if (f->line[i]->ad && strcasecmp(f->line[i]->name, name) == 0)
			return true;
	return false;
}

static bool is_below(const char *name, const char *top)
{
	size_t n = strlen(name), t = strlen(top);

	return n > t && name[n - t - 1] == '.' && strcasecmp(name + n - t, top) == 0;
}

/* A name with something said of it, or with names below it. */
static bool exists(const struct fakedns *f, const char *name)
{
	for (size_t i = 0; i < f->nlines; i++)
		if (strcasecmp(f->line[i]->name, name) == 0 || is_below(f->line[i]->name, name))
			return true;
	return false;
}

/* ---- answers */

static void put_record(struct out *o, const char *name, const struct fakedns_line *l, long ttl)
{
	put_name(o, name);
	put16(o, l->type);
	put16(o, 1);
	put32(o, (unsigned long)ttl);
	put16(o, (unsigned)l->n);
	put(o, l->rdata, l->n);
}

/* The target of a CNAME line as text. */
static void target_of(const struct fakedns_line *l, char *name)
{
	const unsigned char *p = l->rdata;
	size_t n = 0;

	while (*p) {
		if (n)
			name[n++] = '.';
		memcpy(name + n, p + 1, *p);
		n += *p;
		p += 1 + *p;
	}
	name[n] = '\0';
}

static const struct fakedns_line *cname_of(const struct fakedns *f, const char *name)
{
	for (size_t i = 0; i < f->nlines; i++)
		if (f->line[i]->type == T_CNAME && strcasecmp(f->line[i]->name, name) == 0)
			return f->line[i];
	return NULL;
}

/* Records for the question, chain of CNAMEs before them. Their number; `name` becomes the end of the chain. */
static unsigned put_answers(const struct fakedns *f, struct out *o, char *name, unsigned type)
{
	const struct fakedns_line *c;
	unsigned count = 0;

	for (int hops = 0; hops < 24 && (c = cname_of(f, name)); hops++) {
		put_record(o, name, c, ttl_of(f, name));
		target_of(c, name);
		count++;
	}
	for (size_t i = 0; i < f->nlines; i++) {
		if (f->line[i]->type != type || strcasecmp(f->line[i]->name, name) != 0)
			continue;
		put_record(o, name, f->line[i], ttl_of(f, name));
		count++;
	}
	return count;
}

static void put_soa(struct out *o)
{
	static const unsigned char numbers[20] = { [19] = 60 };         /* the last is the time that "no" holds */

	put_name(o, "test");
	put16(o, T_SOA);
	put16(o, 1);
	put32(o, 3600);
	put16(o, 22);
	put16(o, 0);            /* two root names */
	put(o, numbers, sizeof numbers);
}

static void put_opt(struct out *o)
{
	put8(o, 0);
	put16(o, T_OPT);
	put16(o, UDP_MAX);
	put32(o, 0x8000);
	put16(o, 0);
}

static void set16(struct out *o, size_t at, unsigned x)
{
	o->p[at] = (unsigned char)(x >> 8);
	o->p[at + 1] = (unsigned char)x;
}

static void begin(struct out *o, const struct question *q, unsigned rcode)
{
	o->n = 0;
	o->full = false;
	put(o, q->packet, q->n);
	o->p[2] = 0x81;                 /* a reply, recursion desired */
	o->p[3] = (unsigned char)(0x80 | rcode);
	memset(o->p + 6, 0, 6);
}

/* The whole truth. */
static void answer(const struct fakedns *f, struct out *o, const struct question *q)
{
	char name[NAME_MAX_TEXT];
	size_t asked = strlen(q->name);
	unsigned count;

	begin(o, q, 0);
	memcpy(name, q->name, asked + 1);
	count = put_answers(f, o, name, q->type);
	set16(o, 6, count);
	if (!exists(f, name))
		o->p[3] |= 3;
	if (!count || !exists(f, name)) {
		put_soa(o);
		set16(o, 8, 1);
	}
	if (ad_of(f, q->name))
		o->p[3] |= 0x20;
	if (q->edns) {
		put_opt(o);
		set16(o, 10, 1);
	}
}

static void truncate_answer(struct out *o, const struct question *q)
{
	begin(o, q, 0);
	o->p[2] |= 0x02;
}

/* ---- UDP */

static void send_udp(struct fakedns *f, const struct out *o, const struct sockaddr_in *to)
{
	if (sendto(f->udp.fd, o->p, o->n, MSG_NOSIGNAL, (const struct sockaddr *)to, sizeof *to) == -1)
		return;                 /* whoever asked is gone */
}

static void late_drop(struct fakedns_late *l)
{
	struct fakedns_late **at = &l->owner->late;

	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	timer_stop(&l->timer);
	free(l);
}

static void late_expired(struct timer *t)
{
	struct fakedns_late *l = owner_of(t, struct fakedns_late, timer);
	static struct out o;

	memcpy(o.p, l->packet, l->n);
	o.n = l->n;
	send_udp(l->owner, &o, &l->to);
	late_drop(l);
}

static void send_late(struct fakedns *f, const struct out *o, const struct sockaddr_in *to, long ms)
{
	struct fakedns_late *l = calloc(1, sizeof *l + o->n);

	if (!l)
		return;
	l->timer.expired = late_expired;
	l->owner = f;
	l->to = *to;
	l->n = o->n;
	memcpy(l->packet, o->p, o->n);
	l->next = f->late;
	f->late = l;
	timer_set(&l->timer, ms);
}

/* False: not a question that we understand. */
static bool read_question(struct question *q, const unsigned char *p, size_t n)
{
	size_t at = 12, used = 0;

	if (n < 12 || p[2] & 0x80 || get16(p + 4) != 1)
		return false;
	while (at < n && p[at]) {
		if (p[at] > 63 || at + 1 + p[at] >= n || used + p[at] + 2 > sizeof q->name)
			return false;
		if (used)
			q->name[used++] = '.';
		memcpy(q->name + used, p + at + 1, p[at]);
		used += p[at];
		at += 1u + p[at];
	}
	q->name[used] = '\0';
	if (at + 5 > n || at + 5 > sizeof q->packet)
		return false;
	q->type = get16(p + at + 1);
	q->n = at + 5;
	memcpy(q->packet, p, q->n);
	q->edns = get16(p + 10) == 1 && q->n + 11 <= n && get16(p + q->n + 1) == T_OPT;
	return true;
}

static void remember(struct fakedns *f, const struct question *q, const unsigned char *p, unsigned port)
{
	struct fakedns_seen *s;

	if (f->nseen++ >= FAKEDNS_SEEN)
		return;
	s = &f->seen[f->nseen - 1];
	*s = (struct fakedns_seen){ .type = q->type, .id = (uint16_t)get16(p), .port = (uint16_t)port };
	memcpy(s->name, q->name, strlen(q->name) + 1);
	s->tcp = q->tcp;
	s->edns = q->edns;
	s->dnssec_ok = q->edns && p[q->n + 7] & 0x80;
	s->ad = p[3] & 0x20;
}

static void answer_udp(struct fakedns *f, const struct question *q, const struct sockaddr_in *to)
{
	static struct out o, wrong;
	long ms = 0;
	enum behaviour b = behaviour_of(f, q->name, &ms);

	if (b == B_SILENT || (b == B_NOEDNS && q->edns))
		return;
	answer(f, &o, q);
	wrong = o;
	if (o.n > (q->edns ? UDP_MAX : 512))
		truncate_answer(&o, q);
	switch (b) {
	case B_NONE: case B_SILENT: case B_NOEDNS: break;
	case B_SERVFAIL: begin(&o, q, 2); break;
	case B_NOTIMP: begin(&o, q, 4); break;
	case B_REFUSED: begin(&o, q, 5); break;
	case B_FORMERR:
		if (q->edns) {          /* as old servers do: the header alone */
			begin(&o, q, 1);
			set16(&o, 4, 0);
			o.n = 12;
		}
		break;
	case B_TRUNCATED: case B_TCPSTALL: case B_TCPSHORT: case B_TCPCLOSE: truncate_answer(&o, q); break;
	case B_WRONGID:
		wrong.p[0] ^= 0x55;
		send_udp(f, &wrong, to);
		break;
	case B_WRONGNAME:
		wrong.p[13] ^= 0x01;
		send_udp(f, &wrong, to);
		break;
	case B_FLOOD:
		for (int i = 1; i <= 12; i++) {
			wrong.p[1] = (unsigned char)(o.p[1] + i);
			send_udp(f, &wrong, to);
		}
		return;
	case B_GARBAGE:
		begin(&o, q, 0);
		set16(&o, 6, 3);
		put(&o, "\xc0\xff\xff\x3f" "garbage", 11);
		break;
	case B_DELAY: send_late(f, &o, to, ms); return;
	}
	send_udp(f, &o, to);
}

static void udp_ready(struct io *io, short revents)
{
	struct fakedns *f = owner_of(io, struct fakedns, udp);
	unsigned char p[600];
	struct sockaddr_in from;
	socklen_t len = sizeof from;
	ssize_t n = recvfrom(io->fd, p, sizeof p, 0, (struct sockaddr *)&from, &len);
	struct question q = { .tcp = false };

	(void)revents;
	if (n < 0 || !read_question(&q, p, (size_t)n))
		return;
	remember(f, &q, p, ntohs(from.sin_port));
	answer_udp(f, &q, &from);
}

/* ---- TCP */

static void tcp_drop(struct fakedns_tcp *c)
{
	for (size_t i = 0; i < FAKEDNS_TCP; i++)
		if (c->owner->conn[i] == c)
			c->owner->conn[i] = NULL;
	io_forget(&c->io);
	close(c->io.fd);
	free(c->out);
	free(c);
}

static void tcp_write(struct fakedns_tcp *c)
{
	ssize_t n = send(c->io.fd, c->out + c->sent, c->out_n - c->sent, MSG_NOSIGNAL);

	if (n == -1 && errno == EAGAIN)
		return;
	if (n > 0)
		c->sent += (size_t)n;
	if (n == -1 || c->sent == c->out_n)
		tcp_drop(c);
}

static void tcp_answer(struct fakedns_tcp *c, const struct question *q)
{
	static struct out o;
	long ms = 0;
	enum behaviour b = behaviour_of(c->owner, q->name, &ms);

	answer(c->owner, &o, q);
	c->out = malloc(2 + sizeof o.p);
	if (!c->out || b == B_TCPCLOSE) {
		tcp_drop(c);
		return;
	}
	c->out[0] = (unsigned char)(o.n >> 8);
	c->out[1] = (unsigned char)o.n;
	memcpy(c->out + 2, o.p, o.n);
	c->out_n = 2 + o.n;
	if (b == B_TCPSHORT) {
		c->out[0] = 0;
		c->out[1] = 1;
		c->out_n = 3;
	}
	if (b == B_TCPSTALL) {
		c->stalled = send(c->io.fd, c->out, 2, MSG_NOSIGNAL) == 2;
		io_watch(&c->io, POLLIN);
		return;
	}
	io_watch(&c->io, POLLOUT);
}

static void tcp_ready(struct io *io, short revents)
{
	struct fakedns_tcp *c = owner_of(io, struct fakedns_tcp, io);
	struct question q = { .tcp = true };
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof from;
	ssize_t n;

	(void)revents;
	if (c->out && !c->stalled) {
		tcp_write(c);
		return;
	}
	n = recv(io->fd, c->in + c->in_n, sizeof c->in - c->in_n, 0);
	if (n == -1 && errno == EAGAIN)
		return;
	if (n <= 0 || c->stalled) {
		tcp_drop(c);
		return;
	}
	c->in_n += (size_t)n;
	if (c->in_n < 2 || c->in_n < 2u + get16(c->in))
		return;
	if (!read_question(&q, c->in + 2, c->in_n - 2)) {
		tcp_drop(c);
		return;
	}
	getpeername(io->fd, (struct sockaddr *)&from, &len);
	remember(c->owner, &q, c->in + 2, ntohs(from.sin_port));
	tcp_answer(c, &q);
}

static void tcp_accept(struct io *io, short revents)
{
	struct fakedns *f = owner_of(io, struct fakedns, tcp);
	int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct fakedns_tcp *c;
	size_t i = 0;

	(void)revents;
	if (fd == -1)
		return;
	while (i < FAKEDNS_TCP && f->conn[i])
		i++;
	c = i < FAKEDNS_TCP ? calloc(1, sizeof *c) : NULL;
	if (!c) {
		close(fd);
		return;
	}
	c->io = (struct io){ .fd = fd, .ready = tcp_ready };
	c->owner = f;
	f->conn[i] = c;
	if (io_watch(&c->io, POLLIN) == -1)
		tcp_drop(c);
}

/* ---- opening */

/* One port for both; when it is taken for TCP, another one is tried, unless a certain one is wanted. */
static int bind_both(int *udp, int *tcp, unsigned *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)*port) };
	socklen_t len = sizeof a;

	*udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	*tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*udp != -1 && *tcp != -1 && bind(*tcp, (struct sockaddr *)&a, sizeof a) == 0
		&& getsockname(*tcp, (struct sockaddr *)&a, &len) == 0
		&& bind(*udp, (struct sockaddr *)&a, sizeof a) == 0 && listen(*tcp, FAKEDNS_TCP) == 0) {
		*port = ntohs(a.sin_port);
		return 0;
	}
	close(*udp);
	close(*tcp);
	return -1;
}

int fakedns_open(struct fakedns *f)
{
	int udp, tcp, size = 1 << 20;

	for (int tries = 1; bind_both(&udp, &tcp, &f->port) == -1; tries++)
		if (tries == 20)
			return -1;
	setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	f->udp = (struct io){ .fd = udp, .ready = udp_ready };
	f->tcp = (struct io){ .fd = tcp, .ready = tcp_accept };
	if (io_watch(&f->udp, POLLIN) == -1 || io_watch(&f->tcp, POLLIN) == -1) {
		fakedns_close(f);
		return -1;
	}
	return 0;
}

void fakedns_close(struct fakedns *f)
{
	io_forget(&f->udp);
	io_forget(&f->tcp);
	close(f->udp.fd);
	close(f->tcp.fd);
	for (size_t i = 0; i < FAKEDNS_TCP; i++)
		if (f->conn[i])
			tcp_drop(f->conn[i]);
	while (f->late)
		late_drop(f->late);
	fakedns_clear(f);
}

unsigned fakedns_asked(const struct fakedns *f, const char *name, unsigned type)
{
	size_t kept = f->nseen < FAKEDNS_SEEN ? f->nseen : FAKEDNS_SEEN;
	unsigned n = 0;

	for (size_t i = 0; i < kept; i++)
		n += strcasecmp(f->seen[i].name, name) == 0 && (!type || f->seen[i].type == type);
	return n;
}
