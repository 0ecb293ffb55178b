/* Looks names up: our own sender and parser of DNS packets, in our loop.
 *
 * Of udns only helpers that cannot be led astray by a packet are used: the numbers of the protocol, reading and
 * writing its integers, comparing two names in wire form and making reverse names. Sending, names from packets
 * and records are ours: its sender has guessable ids, one port and no TCP, its name reader takes the reserved
 * label types for pointers and stores an octet too many.
 *
 * Every question goes out on a socket of its own, connected, so that the kernel chooses a random port and drops
 * what other hosts send; with the random id a stranger has to guess some 30 bits while the answer is on its way. */
#include "dns.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <udns.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/file.h"
#include "lib/ip.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/rand.h"

enum {
	NAME_ROOM = DNS_MAXDN + 1,      /* a name in wire form, and the NUL or kind that is kept with it */
	T_TLSA = 52,                    /* younger than udns */
	EDNS_SIZE = 1232,               /* what crosses every IPv6 path in one piece */
	QUERY_MAX = 2 + DNS_HSIZE + DNS_MAXDN + 4 + 11,         /* with TCP's length and the OPT record */

	HOPS = 16,                      /* CNAMEs in a row */
	SERVERS = 6,
	STRAYS = 8,                     /* wrong packets for a question: somebody guesses, TCP cannot be guessed */
	TCP_PLACES = 20,                /* TCP connections at a time */
	ASKED_MAX = 20000,              /* questions not answered yet; more is no mail server's life */
	CACHE_ENTRIES = 4096,
	CACHE_OCTETS = 4 << 20,

	TIMEOUT_MS = 3000, ROUNDS = 3,  /* unless the settings say otherwise */
	TCP_MS = 5000,                  /* for connection, question and answer */
	SILENT_MS = 30000,              /* a server that did not answer is asked last for so long */
	LOOKUP_MS = 60000,              /* no new try after that, no start when the line was longer than that */
	REREAD_MS = 1000,               /* between looks at resolv.conf */

	TTL_MAX = 3600, NEGATIVE_MIN = 30, NEGATIVE_MAX = 300, UNKNOWN_TTL = 5
};

/* ---- names in wire form */

/* "a.example" or "a.example." -> \1a\7example\0, in lower case. Octets in dn; 0: the DNS can have no such name. */
static size_t name_from_text(struct str text, unsigned char dn[NAME_ROOM])
{
	struct str label;
	size_t n = 0;

	if (text.n && text.p[text.n - 1] == '.')
		text.n--;
	for (bool more = true; more; ) {
		more = str_cut(&text, '.', &label);
		if (!more)
			label = text;
		if (!label.n || label.n > DNS_MAXLABEL || n + 1 + label.n + 1 > DNS_MAXDN)
			return 0;
		dn[n++] = (unsigned char)label.n;
		for (size_t i = 0; i < label.n; i++)
			dn[n++] = (unsigned char)ascii_lower(label.p[i]);
	}
	dn[n++] = 0;
	return n;
}

/* The name under in-addr.arpa or ip6.arpa; an IPv4 address dressed as IPv6 is asked for as IPv4. */
static size_t name_from_address(struct str text, unsigned char dn[NAME_ROOM])
{
	char address[INET6_ADDRSTRLEN];
	struct in6_addr a6;
	struct in_addr a4;
	int n = 0;

	if (!str_copy(address, sizeof address, text))
		return 0;
	if (inet_pton(AF_INET, address, &a4) == 1)
		n = dns_a4todn(&a4, NULL, dn, DNS_MAXDN);
	else if (inet_pton(AF_INET6, address, &a6) == 1 && !IN6_IS_ADDR_V4MAPPED(&a6))
		n = dns_a6todn(&a6, NULL, dn, DNS_MAXDN);
	else if (inet_pton(AF_INET6, address, &a6) == 1) {
		memcpy(&a4, &a6.s6_addr[12], sizeof a4);
		n = dns_a4todn(&a4, NULL, dn, DNS_MAXDN);
	}
	return n > 0 ? (size_t)n : 0;
}

static size_t name_of_question(enum fact_kind kind, struct str name, unsigned char dn[NAME_ROOM])
{
	return kind == FACT_PTR ? name_from_address(name, dn) : name_from_text(name, dn);
}

/* A name as text in lower case without final dot. False unless it is made of letters, digits, '-' and '_':
 * such text may stand in a log line, a header field or a command as it is. */
static bool name_to_text(const unsigned char *dn, char text[DNS_MAXDN], size_t *n)
{
	*n = 0;
	for (unsigned left; (left = *dn++) != 0; ) {
		if (*n)
			text[(*n)++] = '.';
		for (; left; left--) {
			char c = ascii_lower((char)*dn++);
			if (!ascii_alpha(c) && !ascii_digit(c) && c != '-' && c != '_')
				return false;
			text[(*n)++] = c;
		}
	}
	return true;
}

/* ---- reading a packet */

struct walk {
	const unsigned char *packet, *at, *end;
};
struct rr {
	unsigned char name[NAME_ROOM];
	unsigned type, class, size;
	uint32_t ttl;
	const unsigned char *data;
};

/* Every pointer must lead to before the piece of name it ends, so there is no way in circles. */
static bool take_name(struct walk *w, unsigned char dn[NAME_ROOM])
{
	const unsigned char *p = w->at, *piece = p, *behind = NULL;
	size_t n = 0;

	for (;;) {
		unsigned c;

		if (p >= w->end)
			return false;
		c = *p++;
		if (c >= 0xc0) {
			if (p >= w->end)
				return false;
			c = (c & 0x3f) << 8 | *p++;
			if (!behind)
				behind = p;
			if (c >= (size_t)(piece - w->packet))
				return false;
			p = piece = w->packet + c;
			continue;
		}
		if (c > DNS_MAXLABEL || c > (size_t)(w->end - p) || n + 1 + c > DNS_MAXDN)
			return false;
		dn[n++] = (unsigned char)c;
		if (!c)
			break;
		memcpy(dn + n, p, c);
		n += c;
		p += c;
	}
	w->at = behind ? behind : p;
	return true;
}

static bool take_rr(struct walk *w, struct rr *r)
{
	if (!take_name(w, r->name) || w->end - w->at < 10)
		return false;
	r->type = dns_get16(w->at);
	r->class = dns_get16(w->at + 2);
	r->ttl = dns_get32(w->at + 4);
	r->size = dns_get16(w->at + 8);
	r->data = w->at + 10;
	if (r->size > (size_t)(w->end - r->data))
		return false;
	w->at = r->data + r->size;
	return true;
}

/* The name that fills a record from `at` on. */
static bool rdata_name(const struct walk *w, const struct rr *r, unsigned at, unsigned char dn[NAME_ROOM])
{
	struct walk inside = { w->packet, r->data, r->data + r->size };

	if (r->size <= at)
		return false;
	inside.at += at;
	return take_name(&inside, dn) && inside.at == inside.end;
}

/* ---- records: a taker appends to store what lib/facts.h promises of its kind, or refuses a broken record */

struct store {
	char *p;
	size_t n, room;
};

static bool store_add(struct store *s, const void *p, size_t n)
{
	if (n > s->room - s->n)
		return false;
	if (n)
		memcpy(s->p + s->n, p, n);
	s->n += n;
	return true;
}

static bool store_name(struct store *s, const struct walk *w, const struct rr *r, unsigned at, bool root_ok)
{
	unsigned char dn[NAME_ROOM];
	char text[DNS_MAXDN];
	size_t n;

	return rdata_name(w, r, at, dn) && (root_ok || dn[0]) && name_to_text(dn, text, &n) && store_add(s, text, n);
}

static bool take_a(const struct walk *w, const struct rr *r, struct store *s, int64_t *priority)
{
	(void)w, (void)priority;
	return r->size == 4 && store_add(s, r->data, 4);
}

static bool take_aaaa(const struct walk *w, const struct rr *r, struct store *s, int64_t *priority)
{
	(void)w, (void)priority;
	return r->size == 16 && store_add(s, r->data, 16);
}

static bool take_mx(const struct walk *w, const struct rr *r, struct store *s, int64_t *priority)
{
	if (r->size < 3)
		return false;
	*priority = dns_get16(r->data);
	return store_name(s, w, r, 2, true);
}

static bool take_ptr(const struct walk *w, const struct rr *r, struct store *s, int64_t *priority)
{
	(void)priority;
	return store_name(s, w, r, 0, false);
}

/* The strings of a record are one text (RFC 7208 3.3, RFC 6376 3.6.2.2). */
static bool take_txt(const struct walk *w, const struct rr *r, struct store *s, int64_t *priority)
{
	const unsigned char *p = r->data, *end = p + r->size;

	(void)w, (void)priority;
	if (p == end)
		return false;
	for (; p < end; p += 1 + *p)
		if (*p > end - p - 1 || !store_add(s, p + 1, *p))
			return false;
	return true;
}

/* RFC 2782: priority, weight, port, target. */
static bool take_srv(const struct walk *w, const struct rr *r, struct store *s, int64_t *priority)
{
	if (r->size < 7)
		return false;
	*priority = dns_get16(r->data);
	return store_add(s, r->data + 2, 4) && store_name(s, w, r, 6, true);
}

/* RFC 6698 2.1: three octets of fields and something to compare. What they mean is for whoever asked. */
static bool take_tlsa(const struct walk *w, const struct rr *r, struct store *s, int64_t *priority)
{
	(void)w, (void)priority;
	return r->size >= 4 && store_add(s, r->data, r->size);
}

static const struct kind {
	unsigned type;                  /* 0: not asked of the DNS */
	bool (*take)(const struct walk *, const struct rr *, struct store *, int64_t *priority);
} kinds[FACT_KINDS] = {
	[FACT_A] = { DNS_T_A, take_a },
	[FACT_AAAA] = { DNS_T_AAAA, take_aaaa },
	[FACT_MX] = { DNS_T_MX, take_mx },
	[FACT_PTR] = { DNS_T_PTR, take_ptr },
	[FACT_TXT] = { DNS_T_TXT, take_txt },
	[FACT_SRV] = { DNS_T_SRV, take_srv },
	[FACT_TLSA] = { T_TLSA, take_tlsa },
};

/* ---- answers */

static const char *rcode_name(int rcode)
{
	static const char *const names[] = {
		[DNS_R_FORMERR] = "FORMERR", [DNS_R_SERVFAIL] = "SERVFAIL", [DNS_R_NOTIMPL] = "NOTIMP",
		[DNS_R_REFUSED] = "REFUSED", [DNS_R_NOTAUTH] = "NOTAUTH", [DNS_R_BADSIG] = "BADVERS",
	};

	if (rcode > 0 && (size_t)rcode < sizeof names / sizeof *names && names[rcode])
		return names[rcode];
	return "an unknown error code";
}

static void unknown(struct dns_answer *out, const char *why)
{
	out->outcome = UNKNOWN;
	out->why = why;
	out->ttl = UNKNOWN_TTL;
	out->n = 0;
}

/* Where the next record goes. All places are taken: that of the worst, which a better one replaces (of MX hosts the best count). */
static struct record *place_for(struct dns_answer *out, bool *full)
{
	struct record *worst = &out->record[0];

	*full = out->n == DNS_RECORDS;
	if (!*full)
		return &out->record[out->n];
	for (unsigned i = 1; i < out->n; i++)
		if (out->record[i].priority > worst->priority)
			worst = &out->record[i];
	return worst;
}

static uint32_t sooner(uint32_t ttl, uint32_t other)
{
	if (other > INT32_MAX)          /* RFC 2181 8: as if it were zero */
		other = 0;
	return other < ttl ? other : ttl;
}

/* What stands behind the answers: how long "no" holds (RFC 2308 5) and the upper bits of rcode (RFC 6891 6.1.3). */
static void read_rest(struct walk *w, unsigned authority, unsigned additional, struct dns_answer *out)
{
	uint32_t negative = NEGATIVE_MIN;
	struct rr r;

	for (unsigned i = 0; i < authority + additional && take_rr(w, &r); i++) {
		if (i < authority && r.type == DNS_T_SOA && r.size >= 22)
			negative = sooner(sooner(NEGATIVE_MAX, r.ttl), dns_get32(r.data + r.size - 4));
		if (i >= authority && r.type == DNS_T_OPT)
			out->rcode |= (int)(r.ttl >> 24 << 4);
	}
	out->ttl = negative < NEGATIVE_MIN ? NEGATIVE_MIN : negative;
}

/* The records of one owner. Their number, the broken ones too; the first CNAME's target goes to `next`. */
static unsigned read_records(struct walk w, unsigned count, const unsigned char *owner, const struct kind *kind,
	struct dns_answer *out, struct store *store, uint32_t *ttl, unsigned char next[NAME_ROOM], bool *cname)
{
	unsigned seen = 0;
	struct rr r;

	*cname = false;
	for (; count && take_rr(&w, &r); count--) {
		size_t start = store->n;
		struct record *record, fresh = { 0 };
		bool full;

		if (r.class != DNS_C_IN || !dns_dnequal(r.name, owner))
			continue;
		if (r.type == DNS_T_CNAME && !*cname && rdata_name(&w, &r, 0, next)) {
			*cname = true;
			*ttl = sooner(*ttl, r.ttl);
		}
		if (r.type != kind->type)
			continue;
		seen++;
		record = place_for(out, &full);
		if (!kind->take(&w, &r, store, &fresh.priority) || (full && fresh.priority >= record->priority)) {
			store->n = start;
			continue;
		}
		fresh.data = (struct str){ store->p + start, store->n - start };
		*record = fresh;
		*ttl = sooner(*ttl, r.ttl);
		out->n += !full;
	}
	return seen;
}

static void note_end(const unsigned char *dn, struct dns_answer *out)
{
	char text[DNS_MAXDN];
	size_t n;

	if (name_to_text(dn, text, &n))
		str_copy(out->end, sizeof out->end, (struct str){ text, n });
}

/* Follows the chain of CNAMEs to its end. A chain that ends without a record is "no data" of its last name: a
 * resolver follows the chain itself as far as it goes. */
static void read_answers(struct walk w, unsigned count, const unsigned char *qname, const struct kind *kind,
	struct dns_answer *out, struct store *store)
{
	unsigned char names[2][NAME_ROOM];
	const unsigned char *owner = qname;
	uint32_t ttl = TTL_MAX;
	bool cname;

	for (unsigned hop = 0; hop <= HOPS; hop++) {
		unsigned seen = read_records(w, count, owner, kind, out, store, &ttl, names[hop & 1], &cname);

		if (out->n) {
			out->outcome = FOUND;
			out->ttl = ttl;
			if (hop)
				note_end(owner, out);
			return;
		}
		if (seen) {
			unknown(out, "only broken records");
			return;
		}
		if (!cname) {
			out->outcome = NO_DATA;
			return;
		}
		owner = names[hop & 1];
	}
	unknown(out, "a chain of CNAMEs without end");
}

static bool well_formed(struct walk w, unsigned count)
{
	struct rr r;

	while (count && take_rr(&w, &r))
		count--;
	return !count;
}

/* Moves w behind the header and the question. False unless this is a reply to this one question. */
static bool take_question(struct walk *w, const unsigned char *qname, unsigned type)
{
	unsigned char name[NAME_ROOM];

	if (w->end - w->packet < DNS_HSIZE || !dns_qr(w->packet) || dns_opcode(w->packet) || dns_numqd(w->packet) != 1)
		return false;
	w->at = w->packet + DNS_HSIZE;
	if (!take_name(w, name) || w->end - w->at < 4 || !dns_dnequal(name, qname))
		return false;
	if (dns_get16(w->at) != type || dns_get16(w->at + 2) != DNS_C_IN)
		return false;
	w->at += 4;
	return true;
}

static bool parse_answer(const unsigned char *packet, size_t n, const unsigned char *qname, const struct kind *kind,
	struct dns_answer *out, struct store *store)
{
	struct walk w = { packet, packet, packet + n }, answers;
	unsigned count;

	if (!take_question(&w, qname, kind->type))
		return false;
	out->truncated = dns_tc(packet) != 0;
	out->secure = dns_ad(packet) != 0;
	out->rcode = dns_rcode(packet);
	out->why = NULL;
	out->end[0] = '\0';
	out->n = 0;
	count = dns_numan(packet);
	answers = w;
	if (out->truncated) {
		unknown(out, "a truncated answer");
		return true;
	}
	if (!well_formed(w, count)) {
		unknown(out, "a malformed answer");
		return true;
	}
	for (unsigned i = 0; i < count; i++) {
		struct rr r;
		take_rr(&w, &r);
	}
	read_rest(&w, dns_numns(packet), dns_numar(packet), out);
	if (out->rcode == DNS_R_NXDOMAIN)
		out->outcome = NO_NAME;
	else if (out->rcode != DNS_R_NOERROR)
		unknown(out, rcode_name(out->rcode));
	else
		read_answers(answers, count, qname, kind, out, store);
	return true;
}

bool dns_parse(const unsigned char *packet, size_t n, struct str name, enum fact_kind kind, struct dns_answer *out,
	char *store, size_t room)
{
	unsigned char qname[NAME_ROOM];

	return kinds[kind].type && name_of_question(kind, name, qname)
		&& parse_answer(packet, n, qname, &kinds[kind], out, &(struct store){ .p = store, .room = room });
}

/* ---- questions as packets */

/* Writes a query behind two octets of length for TCP; octets in all. AD asks for the AD bit in the answer even
 * where EDNS and its DO bit cannot be had (RFC 6840 5.7). */
static size_t write_query(unsigned char out[QUERY_MAX], unsigned id, const unsigned char *name, size_t name_n,
	unsigned type, bool edns)
{
	unsigned char *p = out + 2;

	memset(p, 0, DNS_HSIZE);
	dns_put16(p, id);
	p[DNS_H_F1] = DNS_HF1_RD;
	p[DNS_H_F2] = DNS_HF2_AD;
	p[DNS_H_QDCNT2] = 1;
	p[DNS_H_ARCNT1 + 1] = edns;
	p += DNS_HSIZE;
	memcpy(p, name, name_n);
	p += name_n;
	p = dns_put16(p, type);
	p = dns_put16(p, DNS_C_IN);
	if (edns) {
		*p++ = 0;
		p = dns_put16(p, DNS_T_OPT);
		p = dns_put16(p, EDNS_SIZE);
		p = dns_put32(p, (uint32_t)DNS_EF1_DO << 8);
		p = dns_put16(p, 0);
	}
	dns_put16(out, (unsigned)(p - out - 2));
	return (size_t)(p - out);
}

/* ---- servers */

struct server {
	struct sockaddr_storage addr;
	socklen_t len;
	char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 8];
	bool trusted;                   /* its AD bit is believed */
	msec silent_until;              /* asked last until then */
	uint64_t replies;
};
struct settings {                       /* of resolv.conf */
	struct server server[SERVERS];
	size_t n;
	bool trust_ad;
	unsigned timeout_ms, rounds;    /* 0: not said */
};

static struct dns_config config;
static struct settings settings;
static struct stat conf_seen;           /* of resolv.conf when it was read; zeros: it was not there */
static bool conf_read;
static msec conf_looked;

/* "192.0.2.1", "fe80::1%eth0"; the text for people leaves out the usual port. */
static bool server_address(struct server *s, struct str host, unsigned port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&s->addr;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&s->addr;
	char address[INET6_ADDRSTRLEN], scope[IF_NAMESIZE] = "";
	struct str bare = host, before;

	memset(s, 0, sizeof *s);
	if (str_cut(&bare, '%', &before)) {
		if (!str_copy(scope, sizeof scope, bare))
			return false;
		bare = before;
	}
	if (!str_copy(address, sizeof address, bare))
		return false;
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1 && !scope[0]) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		s->len = sizeof *v4;
	} else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		v6->sin6_scope_id = scope[0] ? if_nametoindex(scope) : 0;
		s->len = sizeof *v6;
	} else {
		return false;
	}
	if (port == DNS_PORT)
		snprintf(s->text, sizeof s->text, STR_FMT, STR_ARG(host));
	else
		snprintf(s->text, sizeof s->text, v4->sin_family == AF_INET ? STR_FMT ":%u" : "[" STR_FMT "]:%u",
			STR_ARG(host), port);
	return true;
}

static void add_server(struct settings *s, struct str host, unsigned port)
{
	if (s->n < SERVERS && server_address(&s->server[s->n], host, port))
		s->n++;
}

/* "127.0.0.1:5353 [::1]:53 ::1" */
static const char *parse_resolvers(struct str text, struct settings *s)
{
	struct str word, host;

	while (str_word(&text, &word)) {
		uint64_t port = DNS_PORT;
		size_t had = s->n;

		host = word;
		if (str_starts_nocase(word, STR("["))) {
			word = str_from(word, 1);
			if (!str_cut(&word, ']', &host) || (word.n && word.p[0] != ':'))
				return "a resolver's address has no closing bracket";
			word = str_from(word, 1);
			if (word.n && !str_number(word, 65535, &port))
				return "a resolver's port is no number";
		} else if (memchr(word.p, ':', word.n) == memrchr(word.p, ':', word.n) && str_cut(&word, ':', &host)) {
			if (!str_number(word, 65535, &port))
				return "a resolver's port is no number";
		}
		if (s->n == SERVERS)
			return "too many resolvers";
		add_server(s, host, (unsigned)port);
		if (!port || s->n == had)
			return "a resolver is no IP address with a port";
	}
	return s->n ? NULL : "no resolver is named";
}

static void parse_option(struct str option, struct settings *s)
{
	struct str name;
	uint64_t n;

	if (str_eq_nocase(option, STR("trust-ad")))
		s->trust_ad = true;
	if (!str_cut(&option, ':', &name) || !str_number(option, 1000, &n) || !n)
		return;
	if (str_eq_nocase(name, STR("timeout")))        /* resolv.conf(5): capped at 30 and 5 */
		s->timeout_ms = (n < 30 ? (unsigned)n : 30) * 1000;
	if (str_eq_nocase(name, STR("attempts")))
		s->rounds = n < 5 ? (unsigned)n : 5;
}

/* Search lists are not for mail domains (RFC 5321 5.1): only servers and a few options are read. */
static void parse_resolv_conf(struct str text, struct settings *s)
{
	struct str line, word;

	for (bool more = true; more; ) {
		more = str_cut(&text, '\n', &line);
		if (!more)
			line = text;
		line = str_trim(line);
		if (!str_word(&line, &word))
			continue;
		if (str_eq(word, STR("nameserver")) && str_word(&line, &word))
			add_server(s, word, DNS_PORT);
		else if (str_eq(word, STR("options")))
			while (str_word(&line, &word))
				parse_option(word, s);
	}
	if (!s->n)
		add_server(s, STR("127.0.0.1"), DNS_PORT);
}

static void trust_servers(struct settings *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->server[i].trusted = ip_is_loopback((const struct sockaddr *)&s->server[i].addr) || s->trust_ad || config.trust_ad;
}

static bool same_servers(const struct settings *a, const struct settings *b)
{
	bool same = a->n == b->n;

	for (size_t i = 0; same && i < a->n; i++)
		same = !strcmp(a->server[i].text, b->server[i].text) && a->server[i].trusted == b->server[i].trusted;
	return same;
}

static const char *conf_path(void)
{
	return config.resolv_conf ? config.resolv_conf : "/etc/resolv.conf";
}

static bool conf_same(const struct stat *now)
{
	return conf_read && conf_seen.st_ino == now->st_ino && conf_seen.st_dev == now->st_dev
		&& conf_seen.st_size == now->st_size
		&& conf_seen.st_mtim.tv_sec == now->st_mtim.tv_sec && conf_seen.st_mtim.tv_nsec == now->st_mtim.tv_nsec;
}

static unsigned rounds(void)
{
	return config.rounds ? config.rounds : settings.rounds ? settings.rounds : ROUNDS;
}

static msec first_wait(void)
{
	return config.timeout_ms ? config.timeout_ms : settings.timeout_ms ? settings.timeout_ms : TIMEOUT_MS;
}

/* Doubled each round and then shared by the servers, as everybody's resolver does. */
static msec patience(unsigned round)
{
	msec first = first_wait(), ms = first << (round < 5 ? round : 5);

	if (round && settings.n)
		ms /= (msec)settings.n;
	return ms > first / 2 ? ms : first / 2;
}

static bool print_servers(struct buf *out)
{
	for (size_t i = 0; i < settings.n; i++)
		buf_printf(out, "%s%s%s", i ? ", " : "", settings.server[i].text,
			settings.server[i].trusted ? " (DNSSEC trusted)" : "");
	return buf_printf(out, "; %lld ms, %u rounds", (long long)first_wait(), rounds());
}

static void log_servers(void)
{
	struct buf text = { .max = 1000 };

	print_servers(&text);
	log_event(LOG_INFO, "resolvers", LF(L_STR("servers", buf_view(&text))));
	buf_free(&text);
}

/* A file that is gone means the resolver of this host; one that we may not look at (a sandbox) changes nothing. */
static void read_resolv_conf(void)
{
	struct settings fresh = { 0 };
	struct buf text = { .max = 65536 };
	struct stat now;

	if (stat(conf_path(), &now) == -1) {
		if (errno != ENOENT && errno != ENOTDIR && conf_read)
			return;
		memset(&now, 0, sizeof now);
	}
	if (conf_same(&now))
		return;
	if (file_read_all(AT_FDCWD, conf_path(), &text) == -1 && errno != ENOENT && errno != ENOTDIR && conf_read) {
		log_text(LOG_WARN, "dns", "cannot read %s, the resolvers stay as they were: %s", conf_path(),
			strerror(errno));
		conf_seen = now;
		buf_free(&text);
		return;
	}
	parse_resolv_conf(buf_view(&text), &fresh);
	buf_free(&text);
	trust_servers(&fresh);
	conf_seen = now;
	conf_read = true;
	if (same_servers(&settings, &fresh)) {
		settings.timeout_ms = fresh.timeout_ms;
		settings.rounds = fresh.rounds;
		return;
	}
	settings = fresh;
	dns_forget();
	log_servers();
}

static void refresh_servers(void)
{
	if (config.resolvers || (conf_read && loop_now() - conf_looked < REREAD_MS))
		return;
	conf_looked = loop_now();
	read_resolv_conf();
}

bool dns_resolvers(struct buf *out)
{
	refresh_servers();
	return print_servers(out);
}

/* ---- cache: outcomes by question, the least recently used goes first */

struct cached {
	struct map_node by_key;
	struct node by_use;
	msec until;
	size_t octets;
	struct fact *fact;
	char key[];
};
static struct map cache;
static struct list cache_use;
static size_t cache_octets;

static void cache_drop(struct cached *c)
{
	map_remove(&cache, &c->by_key);
	list_remove(&cache_use, &c->by_use);
	cache_octets -= c->octets;
	free(c->fact);
	free(c);
}

static const struct fact *cache_get(struct str key)
{
	struct map_node *x = map_get(&cache, key);
	struct cached *c;

	if (!x)
		return NULL;
	c = owner_of(x, struct cached, by_key);
	if (c->until <= loop_now()) {
		cache_drop(c);
		return NULL;
	}
	list_remove(&cache_use, &c->by_use);
	list_push(&cache_use, &c->by_use);
	return c->fact;
}

/* Without memory nothing is remembered. */
static void cache_put(struct str key, const struct fact *f, uint32_t ttl)
{
	struct cached *c;

	if (!ttl || map_get(&cache, key) || !(c = calloc(1, sizeof *c + key.n)))
		return;
	memcpy(c->key, key.p, key.n);
	c->until = loop_now() + (msec)ttl * 1000;
	c->fact = fact_copy(f, &c->octets);
	if (!c->fact || !map_put(&cache, &c->by_key, (struct str){ c->key, key.n })) {
		free(c->fact);
		free(c);
		return;
	}
	c->octets += sizeof *c + key.n;
	list_push(&cache_use, &c->by_use);
	cache_octets += c->octets;
	while (cache_use.n > CACHE_ENTRIES || cache_octets > CACHE_OCTETS)
		cache_drop(owner_of(list_first(&cache_use), struct cached, by_use));
}

void dns_forget(void)
{
	while (cache_use.n)
		cache_drop(owner_of(list_first(&cache_use), struct cached, by_use));
	map_free(&cache);
}

/* ---- lookups */

enum lookup_state {
	L_LINE,                         /* waits for its turn */
	L_UDP,                          /* asked, waits for a datagram */
	L_TCP_LINE,                     /* its answer was truncated, waits for a place */
	L_TCP_SEND,                     /* connecting, sending the question */
	L_TCP_LENGTH, L_TCP_BODY        /* waits for two octets of length, for the answer */
};
struct waiter {
	struct waiter *next;
	struct fact_ticket *ticket;
};
/* A question on its way; whoever asks the same meanwhile joins it. */
struct lookup {
	struct map_node by_key;
	struct node line;
	enum lookup_state state;
	bool stranger;                  /* all who wait for it ask for strangers */
	struct waiter *waiters;
	const struct kind *kind;
	const unsigned char *name;      /* in key */
	size_t name_n;
	msec since;                     /* when it was asked of us */
	uint64_t replies_before;        /* replies of all servers when it started */
	unsigned round, tried;          /* tried: a bit for each server asked in this round */
	bool answered;                  /* a server has answered, even if with an error */
	char why[160];

	struct server server;           /* asked now: a copy, the table may change meanwhile */
	unsigned id, strays;
	bool edns;
	struct io io;
	struct timer timer;
	unsigned char query[QUERY_MAX];
	size_t query_n;
	unsigned char *tcp;             /* the answer, tcp_n octets of tcp_size */
	size_t tcp_n, tcp_size;
	unsigned char tcp_length[2];
	size_t key_n;
	char key[];                     /* kind, then the name in wire form */
};
static struct map asking;
static struct list line[2], tcp_line;   /* line[true]: what strangers want to know */
static unsigned started, started_for_strangers, tcp_open;
static uint64_t replies;
static bool mute;                       /* it was said that no resolver answers */

static void start_waiting(struct task *t);
static struct task starter = { .run = start_waiting };

/* Ends the conversation with the server, not the lookup. */
static void hang_up(struct lookup *l)
{
	timer_stop(&l->timer);
	list_remove(l->state == L_TCP_LINE ? &tcp_line : &line[l->stranger], &l->line);
	io_close(&l->io);
	if (l->state >= L_TCP_SEND) {
		tcp_open--;
		if (tcp_line.n)
			task_post(&starter);
	}
	free(l->tcp);
	l->tcp = NULL;
	l->state = L_UDP;
}

/* Answers all who wait, and frees the lookup. */
static void finish(struct lookup *l, const struct fact *f, uint32_t ttl)
{
	struct waiter *next;

	hang_up(l);
	started--;
	started_for_strangers -= l->stranger;
	map_remove(&asking, &l->by_key);
	cache_put((struct str){ l->key, l->key_n }, f, ttl);
	for (struct waiter *w = l->waiters; w; w = next) {
		next = w->next;
		fact_answer(w->ticket, f);
		free(w);
	}
	free(l);
	if (line[false].n || line[true].n)
		task_post(&starter);
}

/* The fault is ours when nobody has answered anything since this lookup began; said once. */
static void give_up(struct lookup *l)
{
	struct fact f = { .outcome = UNKNOWN, .why = l->why };

	f.local_fault = !l->answered && replies == l->replies_before;
	if (f.local_fault && !mute) {
		log_text(LOG_ERROR, "dns", "no resolver answers (%s): mail waits, check %s", l->why,
			config.resolvers ? "the resolvers that are configured" : conf_path());
		mute = true;
	}
	finish(l, &f, UNKNOWN_TTL);
}

static struct server *server_of(const struct lookup *l)
{
	for (size_t i = 0; i < settings.n; i++)
		if (!strcmp(settings.server[i].text, l->server.text))
			return &settings.server[i];
	return NULL;
}

/* An answer, were it an error, says more than silence. */
static void note_why(struct lookup *l, bool answer, const char *what, const char *preposition)
{
	if (l->answered && !answer)
		return;
	snprintf(l->why, sizeof l->why, "%s %s %s", what, preposition, l->server.text);
}

/* The server to ask next: in turn, with those that lately kept silent behind. NULL: all were asked this round. */
static struct server *next_server(const struct lookup *l)
{
	struct server *late = NULL;

	for (size_t i = 0; i < settings.n; i++) {
		if (l->tried & 1u << i)
			continue;
		if (settings.server[i].silent_until <= loop_now())
			return &settings.server[i];
		if (!late)
			late = &settings.server[i];
	}
	return late;
}

static int open_socket(struct lookup *l, int type)
{
	l->io.fd = socket(l->server.addr.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->io.fd == -1)
		return -1;
	if (connect(l->io.fd, (struct sockaddr *)&l->server.addr, l->server.len) == -1 && errno != EINPROGRESS)
		return -1;
	return io_watch(&l->io, type == SOCK_STREAM ? POLLOUT : POLLIN);
}

static void make_query(struct lookup *l)
{
	uint16_t id;

	rand_bytes(&id, sizeof id);
	l->id = id;
	l->query_n = write_query(l->query, id, l->name, l->name_n, l->kind->type, l->edns);
}

static void udp_ready(struct io *io, short revents);
static void tcp_ready(struct io *io, short revents);

static int udp_send(struct lookup *l)
{
	hang_up(l);
	make_query(l);
	l->strays = 0;
	l->io.ready = udp_ready;
	if (open_socket(l, SOCK_DGRAM) == -1 || send(l->io.fd, l->query + 2, l->query_n - 2, MSG_NOSIGNAL) == -1) {
		note_why(l, false, strerror(errno), "asking");
		return -1;
	}
	timer_set(&l->timer, patience(l->round));
	return 0;
}

/* Asks the next server, or gives up: then the lookup is gone. A server that answered with an error is not asked
 * again, and when one did, one round is enough. */
static void ask_next(struct lookup *l)
{
	for (;;) {
		struct server *s = next_server(l);

		if (!s) {
			l->round++;
			l->tried = 0;
			if (l->answered || l->round >= rounds() || loop_now() - l->since > LOOKUP_MS)
				break;
			continue;
		}
		l->tried |= 1u << (s - settings.server);
		l->server = *s;
		/* Some old box on the way may swallow what it does not know: the last round goes without. */
		l->edns = l->round == 0 || l->round + 1 < rounds();
		if (udp_send(l) == 0)
			return;
	}
	give_up(l);
}

/* TCP is only used with a server that has answered. */
static void tcp_failed(struct lookup *l, const char *what)
{
	note_why(l, true, what, "over TCP from");
	ask_next(l);
}

static void tcp_start(struct lookup *l)
{
	make_query(l);
	l->tcp_n = 0;
	l->tcp_size = l->query_n;
	l->state = L_TCP_SEND;
	tcp_open++;
	l->io.ready = tcp_ready;
	timer_set(&l->timer, TCP_MS);
	if (open_socket(l, SOCK_STREAM) == -1)
		tcp_failed(l, strerror(errno));
}

static void tcp_wanted(struct lookup *l)
{
	hang_up(l);
	if (tcp_open < TCP_PLACES) {
		tcp_start(l);
		return;
	}
	l->state = L_TCP_LINE;
	list_push(&tcp_line, &l->line);
}

static void reply_seen(struct lookup *l)
{
	struct server *s = server_of(l);

	replies++;
	l->answered = true;
	if (s) {
		s->replies++;
		s->silent_until = 0;
	}
	if (mute)
		log_text(LOG_INFO, "dns", "resolver %s answers again", l->server.text);
	mute = false;
}

/* A server that knows no EDNS says so, often in a reply without the question (RFC 6891 7). */
static bool edns_refused(const struct lookup *l, const unsigned char *packet, size_t n)
{
	struct walk w = { packet, packet, packet + n };
	unsigned rcode = dns_rcode(packet);

	return l->edns && dns_qr(packet) && (rcode == DNS_R_FORMERR || rcode == DNS_R_NOTIMPL)
		&& (!dns_numqd(packet) || take_question(&w, l->name, l->kind->type));
}

/* False: not an answer to our question. Else the lookup has moved on or is gone. */
static bool take_reply(struct lookup *l, const unsigned char *packet, size_t n)
{
	static struct dns_answer a;
	static char room[DNS_STORE];
	struct store store = { .p = room, .room = sizeof room };
	bool tcp = l->state != L_UDP;
	struct fact f;

	if (n < DNS_HSIZE || dns_qid(packet) != l->id)
		return false;
	if (!tcp && edns_refused(l, packet, n)) {
		l->edns = false;
		if (udp_send(l) == -1)
			ask_next(l);
		return true;
	}
	if (!parse_answer(packet, n, l->name, l->kind, &a, &store))
		return false;
	reply_seen(l);
	if (a.truncated && !tcp) {
		tcp_wanted(l);
		return true;
	}
	if (a.outcome == UNKNOWN) {
		note_why(l, true, a.why, "from");
		ask_next(l);
		return true;
	}
	f = (struct fact){ .outcome = a.outcome, .secure = a.secure && l->server.trusted, .end = a.end[0] ? a.end : NULL, .n = a.n, .record = a.record };
	finish(l, &f, a.ttl);
	return true;
}

static void udp_ready(struct io *io, short revents)
{
	struct lookup *l = owner_of(io, struct lookup, io);
	static unsigned char packet[65536];

	(void)revents;
	for (unsigned budget = STRAYS; budget; budget--) {
		ssize_t n = recv(io->fd, packet, sizeof packet, 0);

		if (n == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n == -1) {          /* ECONNREFUSED: nobody listens there */
			struct server *s = server_of(l);
			if (s)
				s->silent_until = loop_now() + SILENT_MS;
			note_why(l, false, strerror(errno), "by");
			ask_next(l);
			return;
		}
		if (take_reply(l, packet, (size_t)n))
			return;
		if (++l->strays >= STRAYS) {
			note_why(l, false, "only wrong answers", "from");
			tcp_wanted(l);
			return;
		}
	}
}

static void tcp_send(struct lookup *l)
{
	ssize_t n = send(l->io.fd, l->query + l->tcp_n, l->tcp_size - l->tcp_n, MSG_NOSIGNAL);

	if (n == -1 && errno != EAGAIN && errno != EINTR)
		tcp_failed(l, strerror(errno));
	if (n == -1)
		return;
	l->tcp_n += (size_t)n;
	if (l->tcp_n < l->tcp_size)
		return;
	l->state = L_TCP_LENGTH;
	l->tcp_n = 0;
	if (io_watch(&l->io, POLLIN) == -1)
		tcp_failed(l, strerror(ENOMEM));
}

/* The length has come. */
static void tcp_expect(struct lookup *l)
{
	l->tcp_size = dns_get16(l->tcp_length);
	l->tcp_n = 0;
	l->state = L_TCP_BODY;
	if (l->tcp_size < DNS_HSIZE)
		tcp_failed(l, "a malformed answer");
	else if (!(l->tcp = malloc(l->tcp_size)))
		tcp_failed(l, strerror(ENOMEM));
}

static void tcp_receive(struct lookup *l)
{
	bool length = l->state == L_TCP_LENGTH;
	unsigned char *to = length ? l->tcp_length : l->tcp;
	size_t size = length ? sizeof l->tcp_length : l->tcp_size;
	ssize_t n = recv(l->io.fd, to + l->tcp_n, size - l->tcp_n, 0);

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		tcp_failed(l, n ? strerror(errno) : "no whole answer");
		return;
	}
	l->tcp_n += (size_t)n;
	if (l->tcp_n < size)
		return;
	if (length)
		tcp_expect(l);
	else if (!take_reply(l, l->tcp, l->tcp_n))
		tcp_failed(l, "a wrong answer");
}

static void tcp_ready(struct io *io, short revents)
{
	struct lookup *l = owner_of(io, struct lookup, io);

	(void)revents;
	if (l->state == L_TCP_SEND)
		tcp_send(l);
	else
		tcp_receive(l);
}

/* A server that meanwhile answered others is not silent, only slow with this name. */
static void timed_out(struct timer *t)
{
	struct lookup *l = owner_of(t, struct lookup, timer);
	struct server *s = server_of(l);

	if (s && l->state == L_UDP && s->replies == l->server.replies)
		s->silent_until = loop_now() + SILENT_MS;
	if (l->state == L_UDP) {
		note_why(l, false, "no answer", "from");
		ask_next(l);
	} else {
		tcp_failed(l, "no answer");
	}
}

static void start(struct lookup *l)
{
	started++;
	started_for_strangers += l->stranger;
	l->state = L_UDP;
	l->replies_before = replies;
	if (loop_now() - l->since > LOOKUP_MS) {
		snprintf(l->why, sizeof l->why, "too many questions before this one");
		give_up(l);
		return;
	}
	ask_next(l);
}

/* Nothing is sent from inside ask(): an answer, even a failure, finds its asker returned. A quarter of the places is never a stranger's:
 * who names domains whose servers are silent must not keep our own mail from leaving. */
static void start_waiting(struct task *t)
{
	unsigned most = config.in_flight ? config.in_flight : 200;

	(void)t;
	refresh_servers();
	while (tcp_line.n && tcp_open < TCP_PLACES)
		tcp_start(owner_of(list_shift(&tcp_line), struct lookup, line));
	while (line[false].n && started < most)
		start(owner_of(list_shift(&line[false]), struct lookup, line));
	while (line[true].n && started < most && started_for_strangers < most - most / 4)
		start(owner_of(list_shift(&line[true]), struct lookup, line));
}

/* ---- the source of facts */

static const struct fact no_such_name = { .outcome = NO_NAME };
static const struct fact no_memory = { .outcome = UNKNOWN, .local_fault = true, .why = "out of memory" };
static const struct fact too_many = { .outcome = UNKNOWN, .local_fault = true, .why = "too many questions at once" };

static struct lookup *lookup_new(enum fact_kind kind, struct str key, bool stranger)
{
	struct lookup *l = calloc(1, sizeof *l + key.n);

	if (!l)
		return NULL;
	memcpy(l->key, key.p, key.n);
	l->key_n = key.n;
	if (!map_put(&asking, &l->by_key, (struct str){ l->key, key.n })) {
		free(l);
		return NULL;
	}
	l->kind = &kinds[kind];
	l->name = (const unsigned char *)l->key + 1;
	l->name_n = key.n - 1;
	l->since = loop_now();
	l->io.fd = -1;
	l->timer.expired = timed_out;
	l->state = L_LINE;
	l->stranger = stranger;
	list_push(&line[stranger], &l->line);
	task_post(&starter);
	return l;
}

/* Somebody who is no stranger has joined. */
static void advance(struct lookup *l)
{
	if (!l->stranger || l->state != L_LINE)
		return;
	list_remove(&line[true], &l->line);
	l->stranger = false;
	list_push(&line[false], &l->line);
	task_post(&starter);
}

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	unsigned char key[1 + NAME_ROOM];
	size_t n = name_of_question(kind, name, key + 1);
	struct str k = { (const char *)key, n + 1 };
	const struct fact *known;
	struct map_node *x;
	struct waiter *w;
	struct lookup *l;

	(void)source;
	assert(kinds[kind].type);
	key[0] = (unsigned char)kind;
	known = n ? cache_get(k) : &no_such_name;
	x = map_get(&asking, k);
	if (!known && !x && asking.n >= ASKED_MAX)
		known = &too_many;
	if (known) {
		fact_answer(ticket, known);
		return;
	}
	w = malloc(sizeof *w);
	l = x ? owner_of(x, struct lookup, by_key) : w ? lookup_new(kind, k, fact_is_for_stranger(ticket)) : NULL;
	if (!w || !l) {
		free(w);
		fact_answer(ticket, &no_memory);
		return;
	}
	*w = (struct waiter){ .next = l->waiters, .ticket = ticket };
	l->waiters = w;
	if (!fact_is_for_stranger(ticket))
		advance(l);
}

struct fact_source *dns_source(void)
{
	static struct fact_source source = { .ask = ask };

	return &source;
}

/* ---- start and stop */

const char *dns_start(const struct dns_config *c)
{
	struct settings fresh = { 0 };
	const char *wrong;

	if (c->resolvers && (wrong = parse_resolvers(str_of(c->resolvers), &fresh)))
		return wrong;
	dns_stop();
	config = *c;
	if (config.resolvers) {
		trust_servers(&fresh);
		settings = fresh;
	} else {
		refresh_servers();
	}
	return NULL;
}

void dns_stop(void)
{
	static const struct fact stopped = { .outcome = UNKNOWN, .local_fault = true, .why = "shutting down" };

	if (!tcp_line.head.next) {
		list_init(&line[false]);
		list_init(&line[true]);
		list_init(&tcp_line);
		list_init(&cache_use);
	}
	for (struct map_node *x; (x = map_next(&asking, NULL)); ) {
		struct lookup *l = owner_of(x, struct lookup, by_key);
		if (l->state == L_LINE) {       /* finish() takes these back */
			started++;
			started_for_strangers += l->stranger;
		}
		finish(l, &stopped, 0);
	}
	map_free(&asking);
	task_cancel(&starter);
	dns_forget();
	memset(&settings, 0, sizeof settings);
	memset(&config, 0, sizeof config);
	conf_read = mute = false;
}
