/* The milter protocol as octets (version 6, as libmilter speaks it): packets to a filter are written, those from it are taken
 * apart. Knows no session and no socket. A packet is four octets of length, a letter, and what belongs to it. */
#ifndef SMTPD_MILTERWIRE_H
#define SMTPD_MILTERWIRE_H

#include "fardel.h"
#include "lib/buf.h"

enum {
	MILTER_CHUNK = 65535,           /* octets of a body, or of a whole packet to the filter: libmilter takes no more */
	MILTER_REPLY_MAX = 1 << 20,     /* octets of a packet from it; who announces more speaks another protocol */
	MILTER_SYMBOLS_MAX = 512        /* octets of the names of macros that it asks for, a stage */
};

/* What it may change (SMFIF_), and how the talk goes (SMFIP_): agreed upon at the start. */
enum {
	MILTER_ADD_HEADERS = 0x01, MILTER_CHANGE_BODY = 0x02, MILTER_ADD_RCPT = 0x04, MILTER_DELETE_RCPT = 0x08, MILTER_CHANGE_HEADERS = 0x10,
	MILTER_QUARANTINE = 0x20, MILTER_CHANGE_FROM = 0x40, MILTER_ADD_RCPT_PAR = 0x80, MILTER_SYMBOLS = 0x100,
	MILTER_ACTIONS = 0x1ff
};
enum {
	MILTER_NO_CONNECT = 0x01, MILTER_NO_HELO = 0x02, MILTER_NO_MAIL = 0x04, MILTER_NO_RCPT = 0x08, MILTER_NO_BODY = 0x10, MILTER_NO_HEADERS = 0x20,
	MILTER_NO_EOH = 0x40, MILTER_NR_HEADER = 0x80, MILTER_NO_UNKNOWN = 0x100, MILTER_NO_DATA = 0x200, MILTER_SKIP = 0x400,
	MILTER_NR_CONNECT = 0x1000, MILTER_NR_HELO = 0x2000, MILTER_NR_MAIL = 0x4000, MILTER_NR_RCPT = 0x8000, MILTER_NR_DATA = 0x10000,
	MILTER_NR_UNKNOWN = 0x20000, MILTER_NR_EOH = 0x40000, MILTER_NR_BODY = 0x80000, MILTER_LEADING_SPACE = 0x100000,
	MILTER_STEPS = 0x1ff7ff         /* all of these; not that it is shown recipients which we refuse (0x800) */
};

/* ---- to the filter */

/* Appends a packet: letter and data. False: no memory. */
bool milter_put(struct buf *, char letter, struct str data);
/* SMFIC_OPTNEG, with all that is above. */
bool milter_put_options(struct buf *);
/* Appends text and a NUL, as strings stand in packets; what is behind a NUL in it is left out. */
bool milter_string(struct buf *, struct str);
bool milter_number(struct buf *, uint32_t);
/* SMFIC_CONNECT's data. The peer is as in struct subject: AF_UNSPEC is a local program. */
bool milter_address(struct buf *, const char *name, const struct sockaddr_storage *peer);

/* ---- from it */

/* The next whole packet at the front of `in`. 1: *letter and *data are set, *used octets are to be dropped; 0: it is not whole yet;
 * -1: it claims to be empty or larger than MILTER_REPLY_MAX. */
int milter_take(struct str in, size_t *used, char *letter, struct str *data);
/* Takes the next string, or what is left where no NUL ends it. False: nothing is left. */
bool milter_take_string(struct str *rest, struct str *text);
bool milter_take_number(struct str *rest, uint32_t *n);

enum { MILTER_STAGES = 7 };             /* connect, helo, mail, rcpt, data, end of message, end of header */
struct milter_options {
	uint32_t version, actions, steps;
	char symbols[MILTER_STAGES][MILTER_SYMBOLS_MAX];        /* names between blanks, "" at both ends too (" i {auth_authen} "); "": all we know */
};
/* Its answer to ours. NULL, or what cannot be granted. */
const char *milter_take_options(struct str data, struct milter_options *);
/* May a macro be told at a stage? */
bool milter_wants_symbol(const struct milter_options *, unsigned stage, const char *name);

/* "550 5.7.1 text", or several such lines with 550- before the last, "%" written twice. NULL, or what is wrong with it. */
const char *milter_take_reply(struct str data, struct reply *);

#endif
