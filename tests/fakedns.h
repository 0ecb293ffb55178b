/* A fake resolver for tests: answers from a table, over UDP and TCP on loopback, inside our loop.
 * It shares no code with dns.c, so that the two can disagree.
 *
 * A line of the table is "NAME TYPE DATA" or "NAME BEHAVIOUR [N]":
 *   example.test MX 10 mx.example.test    null.test MX 0 .    mx.example.test A 127.0.0.1    ... AAAA ::1
 *   t.test TXT "v=spf1 " "-all"           (strings; without quotes the rest of the line is one text)
 *   192.0.2.1 PTR host.test               (or the reverse name)
 *   alias.test CNAME example.test         _25._tcp.mx.test TLSA 030101AB12...
 *   _submissions._tcp.a.test SRV 0 1 465 mail.a.test
 *   example.test TTL 5                    of its records; 300 when nothing is said
 *   signed.test AD                        answers have the AD bit
 * Behaviours, for every question about the name or, with N, for the next N (DELAY: milliseconds):
 *   SERVFAIL REFUSED NOTIMP               errors
 *   FORMERR                               while the question has EDNS
 *   SILENT                                no answer
 *   NOEDNS                                no answer while the question has EDNS
 *   TRUNCATED                             TC by UDP, all by TCP
 *   WRONGID WRONGNAME                     one wrong packet, then the right one
 *   FLOOD                                 a dozen wrong packets and not the right one (by TCP: the right one)
 *   GARBAGE                               the right id and question, then noise
 *   TCPSTALL TCPSHORT TCPCLOSE            TC by UDP; by TCP a length and no more, a length of 1, an end
 *   DELAY                                 answers by UDP after N milliseconds
 * A name that is not in the table does not exist, unless one below it does; a name without records of the type asked
 * for has no data. CNAMEs are followed within the table. */
#ifndef TESTS_FAKEDNS_H
#define TESTS_FAKEDNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/loop.h"

enum { FAKEDNS_LINES = 400, FAKEDNS_SEEN = 2048, FAKEDNS_TCP = 32 };

struct fakedns_seen {                   /* a question that came */
	char name[256];
	unsigned type;
	uint16_t id, port;
	bool tcp, edns, dnssec_ok, ad;
};
struct fakedns {
	struct io udp, tcp;
	unsigned port;                          /* the same for both: the kernel's choice, or what it is before fakedns_open() */
	struct fakedns_line *line[FAKEDNS_LINES];
	size_t nlines;
	struct fakedns_seen seen[FAKEDNS_SEEN]; /* the first ones */
	size_t nseen;                           /* all */
	struct fakedns_tcp *conn[FAKEDNS_TCP];
	struct fakedns_late *late;
};

/* 0 or -1 with errno. The struct must be zeros, save the port. */
int fakedns_open(struct fakedns *);
void fakedns_close(struct fakedns *);           /* closes all, forgets all lines */
/* NULL or what is wrong with the line. Empty lines and those that begin with # are well. */
const char *fakedns_add(struct fakedns *, const char *line);
void fakedns_clear(struct fakedns *);           /* forgets all lines */
/* How often this name was asked for, whatever the type (0) or with one type. */
unsigned fakedns_asked(const struct fakedns *, const char *name, unsigned type);

#endif
