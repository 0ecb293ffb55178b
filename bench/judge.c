/* What deciding about a message costs, the DNS being known: SPF, two DKIM signatures (RSA, 2048 bits), DMARC and the field about them, over messages of
 * the sizes that mail has, as they come from the network in pieces. judge [SECONDS [FILE...]]: FILEs are messages with LF or CR LF, judged as
 * they are; the corpus then is these. Prints messages a second of one core for each size and for the mixture, and the most memory in use.
 * Headers that somebody has made to be slow are judged as well: an octet of them may cost no more than one of mail does. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/codec.h"
#include "lib/file.h"
#include "policy/authres.h"
#include "policy/dkim.h"
#include "policy/dmarc.h"
#include "policy/iprev.h"
#include "policy/sign.h"
#include "policy/spf.h"

enum { PIECE = 4096, MESSAGES = 64, RECORDS = 16 };

static void die(const char *what)
{
	fprintf(stderr, "judge: %s\n", what);
	exit(2);
}

/* ---- a DNS that knows everything at once */

static struct { enum fact_kind kind; char name[100]; struct buf data; } zone[RECORDS];
static size_t nzone, nasked;

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	struct record r;
	struct fact f = { .outcome = NO_NAME, .record = &r };

	(void)source;
	nasked++;
	for (size_t i = 0; i < nzone; i++)
		if (zone[i].kind == kind && str_eq_nocase(name, str_of(zone[i].name))) {
			f.outcome = FOUND;
			f.n = 1;
			r = (struct record){ .data = buf_view(&zone[i].data) };
		}
	fact_answer(ticket, &f);
}
static struct fact_source world = { .ask = ask };

static struct buf *put(enum fact_kind kind, const char *name)
{
	if (nzone == RECORDS || strlen(name) >= sizeof zone[0].name)
		die("too many records");
	zone[nzone].kind = kind;
	snprintf(zone[nzone].name, sizeof zone[nzone].name, "%s", name);
	return &zone[nzone++].data;
}

static void add_key(struct signer *signer, const char *selector)
{
	struct sign_key *key = sign_key_new(KEY_RSA, 2048);
	struct buf public = { 0 }, *record;
	char name[100];

	snprintf(name, sizeof name, "%s._domainkey.example.org", selector);
	record = put(FACT_TXT, name);
	if (!key || !sign_key_public(key, &public) || !buf_puts(record, "v=DKIM1; k=rsa; p=") || !base64_encode(record, public.p, public.n) ||
	    signer_add(signer, STR("example.org"), str_of(selector), key))
		die("no key can be made");
	buf_free(&public);
}

static void make_world(struct signer *signer)
{
	for (int k = FACT_A; k <= FACT_TXT; k++)
		facts_source((enum fact_kind)k, &world);
	add_key(signer, "s");
	add_key(signer, "service");
	buf_puts(put(FACT_TXT, "bounce.example.org"), "v=spf1 a:mx1.example.org include:spf.service.example mx -all");
	buf_puts(put(FACT_TXT, "spf.service.example"), "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/25 ip4:192.0.2.0/24 ~all");
	buf_puts(put(FACT_TXT, "_dmarc.example.org"), "v=DMARC1; p=reject; sp=reject; rua=mailto:dmarc@example.org,mailto:reports@service.example!10m");
	buf_add(put(FACT_A, "mx1.example.org"), "\306\063\144\001", 4);
	buf_puts(put(FACT_PTR, "192.0.2.7"), "out7.service.example");
	buf_add(put(FACT_A, "out7.service.example"), "\300\000\002\007", 4);
}

/* ---- the corpus */

struct message {
	struct buf text;
	char kind[32];
};
static struct message corpus[MESSAGES];
static size_t ncorpus;

static void sign(const struct signer *signer, struct buf *message)
{
	const char *why;
	struct str text = buf_view(message);
	size_t n = dkim_header_end(text);
	struct signing *s = signing_begin(signer, (struct str){ text.p, n }, &why);
	struct buf field = { 0 };

	if (!s)
		die("a message is not signed");
	signing_add(s, str_from(text, n));
	if (!signing_end(s, time(NULL), &field) || !buf_str(&field, text))
		die("out of memory");
	signing_free(s);
	buf_free(message);
	*message = field;
}

/* As mail that has come through a service and a relay: what they write is a third of a small message. */
static void make_message(const struct signer *signer, size_t body, const char *kind)
{
	struct buf b = { 0 };

	for (int i = 0; i < 4; i++)
		buf_printf(&b, "Received: from host%d.service.example (host%d.service.example [203.0.113.%d])\r\n\tby relay%d.service.example with ESMTPS id 4XyZ%08x\r\n"
			"\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256);\r\n\tFri, 27 Nov 2026 10:11:1%d +0000\r\n", i, i, i + 10, i, i * 77777, i);
	buf_puts(&b, "From: \"Anna, of the shop\" <anna@example.org>\r\nSender: anna@service.example\r\nTo: Ben <ben@example.net>, \"C. D.\" <c@example.net>\r\n"
		"Subject: =?utf-8?Q?Deine_Bestellung_=E2=80=93?= your order\r\nDate: Fri, 27 Nov 2026 10:11:12 +0000\r\n"
		"Message-ID: <0123456789abcdef.4711@service.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"b1\"\r\n"
		"List-Unsubscribe: <https://service.example/u/0123456789abcdef0123456789abcdef>\r\nX-Report-Abuse: abuse@service.example\r\n"
		"X-Service-ID: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n\r\n");
	for (size_t end = b.n + body, i = 0; b.n < end; i++)
		buf_printf(&b, "Line %zu of a  message with some text in it, as people and\tprograms write, 72 or so. %s\r\n", i, i % 7 ? "" : "  ");
	if (b.bad || ncorpus == MESSAGES)
		die("out of memory");
	sign(signer, &b);
	corpus[ncorpus].text = b;
	snprintf(corpus[ncorpus++].kind, sizeof corpus[0].kind, "%s", kind);
}

static void read_message(const char *path)
{
	struct buf raw = { .max = 64 << 20 }, *out = &corpus[ncorpus].text;

	if (ncorpus == MESSAGES || file_read_all(AT_FDCWD, path, &raw) == -1)
		die("a message cannot be read, or there are too many");
	for (size_t i = 0; i < raw.n; i++) {
		if (raw.p[i] == '\n' && (i == 0 || raw.p[i - 1] != '\r'))
			buf_char(out, '\r');
		buf_char(out, raw.p[i]);
	}
	buf_free(&raw);
	snprintf(corpus[ncorpus].kind, sizeof corpus[0].kind, "%.31s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	ncorpus++;
}

/* ---- judging */

static size_t most_in_use;

static void note_memory(void)
{
	size_t n = mallinfo2().uordblks;

	if (n > most_in_use)
		most_in_use = n;
}

/* As smtpd does it for a stranger. */
static enum dmarc judge(struct str text, bool memory)
{
	static const struct sockaddr_in peer = { .sin_family = AF_INET };
	struct sockaddr_in from = peer;
	struct spf_query spf_query = { .peer = (struct sockaddr *)&from, .helo = STR("out7.service.example"),
		.from = { STR("b+4711"), STR("bounce.example.org") }, .receiver = "mx.example.net", .now = time(NULL) };
	struct facts *spf_facts = facts_new(NULL, SPF_LOOKUPS), *facts = facts_new(NULL, DKIM_LOOKUPS + IPREV_LOOKUPS + DMARC_LOOKUPS);
	struct dkim *dkim = dkim_new();
	struct authres_filter filter;
	struct dmarc_reader reader;
	struct dmarc_author author;
	struct dmarc_query query = { .author = &author };
	struct dmarc_result dmarc;
	struct iprev_result iprev;
	struct spf_result spf;
	struct buf out = { 0 };
	struct ip ip;
	bool header = true;

	inet_pton(AF_INET, "192.0.2.7", &from.sin_addr);
	if (!dkim || !facts || !spf_facts || spf_check(spf_facts, &spf_query, &spf) == WAIT || !ip_of(spf_query.peer, &ip) ||
	    iprev_check(facts, &ip, &iprev) == WAIT)
		die("out of memory");
	authres_filter_begin(&filter, "mx.example.net");
	dmarc_read_begin(&reader);
	for (struct str rest = text; rest.n;) {
		struct str piece = { rest.p, rest.n < PIECE ? rest.n : PIECE };

		dkim_add(dkim, piece);
		header = header && dmarc_read(&reader, piece);
		dkim_judge(dkim, facts, spf_query.now);
		buf_clear(&out);
		authres_filter_add(&filter, piece, &out);
		rest = str_from(rest, piece.n);
	}
	dkim_end(dkim);
	if (memory)
		note_memory();
	if (!dkim_judge(dkim, facts, spf_query.now))
		die("it waits for what is there");
	dmarc_read_end(&reader, &author);
	dmarc_query_set(&query, &spf, dkim);
	if (dmarc_check(facts, &query, &dmarc) == WAIT)
		die("it waits for what is there");
	buf_clear(&out);
	authres_print(&out, "mx.example.net", &(struct authres){ .ip = &ip, .iprev = &iprev, .spf = &spf, .dmarc = &dmarc, .dkim = dkim });
	if (memory)
		note_memory();
	buf_free(&out);
	authres_filter_free(&filter);
	dkim_free(dkim);
	facts_free(facts);
	facts_free(spf_facts);
	return dmarc.code;
}

static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The messages from..to in turns for so long. */
static void measure(size_t from, size_t to, double seconds, const char *what)
{
	double start = cpu(), end;
	size_t n = 0, octets = 0;

	do {
		struct str text = buf_view(&corpus[from + n % (to - from)].text);

		judge(text, n < to - from);
		n++;
		octets += text.n;
		end = cpu();
	} while (end - start < seconds);
	printf("%-32s %8.0f messages/s %8.1f MB/s\n", what, (double)n / (end - start), (double)octets / (end - start) / 1e6);
}

/* Headers of 250 kB that are all of a kind. */
static const struct { const char *name, *piece; } hostile[] = {
	{ "many From addresses", "a@b.example, " }, { "nested comments in From", "(((((" }, { "quoted words in From", "\"a\" " }, { "empty groups", "g:;," },
	{ "many fields", "\r\nX: y" }, { "many From fields", "\r\nFrom: a@b.example" }, { "many short lines", "\r\n x" },
	{ "many signatures", "\r\nDKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; h=from:from:from; bh=AAAA; b=AAAA" },
	{ "signature with many names", "\r\nDKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s; bh=AAAA; b=AAAA; h=x:y:z:from:a:b:c:d:e:f:g:h:i:j:k:l:m" },
	{ "tags without end", "\r\nDKIM-Signature: a=b; c=d; e=f; g=h; i=j" }, { "results of others", "\r\nAuthentication-Results: mx.example.net; dkim=pass" },
	{ "blanks", "\r\nX:                                                " },
};

static void measure_hostile(size_t i)
{
	struct buf b = { 0 };
	double start;

	buf_puts(&b, "From: a@example.org");
	while (b.n < 250000)
		buf_puts(&b, hostile[i].piece);
	buf_puts(&b, "\r\n\r\nbody\r\n");
	start = cpu();
	for (int k = 0; k < 5; k++)
		judge(buf_view(&b), k == 0);
	printf("%-32s %8.2f ms\n", hostile[i].name, (cpu() - start) / 5 * 1e3);
	buf_free(&b);
}

int main(int argc, char **argv)
{
	static const struct { size_t octets; const char *name; } sizes[] = {
		{ 1000, "1 kB" }, { 4000, "4 kB" }, { 15000, "15 kB" }, { 60000, "60 kB" }, { 250000, "250 kB" },
	};
	/* Of ten messages: half of them letters of some lines, three newsletters, one with a picture. */
	static const unsigned char mixture[] = { 0, 0, 1, 1, 1, 2, 2, 3, 3, 4 };
	struct signer *signer = signer_new();
	double seconds = argc > 1 ? atof(argv[1]) : 2;

	if (!signer)
		die("out of memory");
	make_world(signer);
	if (argc > 2) {
		for (int i = 2; i < argc; i++)
			read_message(argv[i]);
		measure(0, ncorpus, seconds, "these messages");
	} else {
		for (size_t i = 0; i < sizeof mixture; i++)
			make_message(signer, sizes[mixture[i]].octets, sizes[mixture[i]].name);
		if (judge(buf_view(&corpus[0].text), false) != DMARC_PASS)
			die("a good message does not pass");
		measure(0, ncorpus, seconds, "mixture");
		for (size_t i = 0; i < ncorpus; i++)
			if (!i || strcmp(corpus[i].kind, corpus[i - 1].kind) != 0)
				measure(i, i + 1, seconds / 4, corpus[i].kind);
		for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++)
			measure_hostile(i);
	}
	for (size_t i = 0; i < ncorpus; i++)
		most_in_use -= corpus[i].text.room;
	printf("%-32s %8.0f kB\n", "most memory in use", (double)most_in_use / 1e3);
	signer_free(signer);
	return 0;
}
