/* What is in a queue, for the commands that look: names and files are read, no lock is taken. */
#ifndef CMD_LISTING_H
#define CMD_LISTING_H

#include <stdio.h>

#include "queue.h"

struct listed {                         /* one name in cur/ or in/ */
	char *name;
	struct entry_name entry;        /* slices into name */
	int dir;
	unsigned look;                  /* at the directory, that has met it */
	bool meant;                     /* of whoever chooses (cmd/select.h) */
};
struct listing {
	size_t n, room;
	struct listed *line;            /* oldest message first, the entries of one message together */
	int64_t now;
	int dir[2];
};

/* 0, or an exit status and the reason is on stderr, beginning with the command. listing_free() in any case. */
int listing_read(struct listing *, const char *queue, const char *command);
void listing_free(struct listing *);
size_t listing_end(const struct listing *, size_t first);       /* behind the last entry of the message whose first this is */
int64_t listing_arrival(const struct listed *);                 /* Unix seconds, from the id */
/* The message of these entries; one may be moved or finished while we look, then another will do, or what it is called now. NULL: *why says what is wrong with
 * it, or it has left (*why NULL). mail_free(). */
struct mail *listing_open(const struct listing *, size_t first, size_t end, const char **why);
/* Is this recipient waiting under this name? */
bool listing_waits_under(const struct listing *, size_t first, size_t end, const struct listed *, const struct rcpt *);

enum { ID_SHORTEST = 4 };               /* characters of an id that name it */

/* Is this the address (the part before the @ as it is written, the domain in any case), or is it in this domain? "name@": has it this name,
 * in any case, at whatever domain, or is that its domain? */
bool listing_address_is(const struct addr *, struct str about);

/* Takes the next address off what mail->alias_rcpts holds. */
bool listing_next_alias(struct str *rest, struct str *address);

/* Is the message meant by this? An id or its first four characters at least, an address or a domain of somebody who waits, an alias that it
 * was made for; empty: every message. m may be NULL (it cannot be read). */
bool listing_about(const struct listing *, size_t first, const struct mail *m, struct str about);
/* Is this entry of it: the message as a whole, or somebody who waits under it? A message made for several aliases is no single one's. */
bool listing_about_entry(const struct listing *, size_t first, size_t end, const struct listed *, const struct mail *m, struct str about);

/* Text from the disk may have come from anywhere: a terminal gets printable characters. */
void listing_show(FILE *, struct str);
/* Words in lines as wide as the terminal that stdout is (40 to 100 columns), else 100: the first behind `at` columns that are written, the others
 * behind so many blanks; and the end of the line. */
void listing_wrap(size_t at, int indent, struct str words);
/* A conversation (struct rcpt.said), line by line, so many blanks before each. */
void listing_show_lines(FILE *, struct str, int indent);
void listing_show_addr(FILE *, const struct addr *);

/* Whom an entry waits for, ", " between them: so many at most, then how many more. */
void listing_show_waiting(FILE *, const struct listing *, size_t first, size_t end, const struct listed *, const struct mail *, size_t most);
/* "2 h 5 min", of seconds; two units at most. Fits into 40 octets. */
const char *listing_span(int64_t seconds, char out[40]);
/* "1.2M" of octets. Fits into 16. */
const char *listing_size(uint64_t octets, char out[16]);
/* On stdout: "Mon Nov 23 09:00 (in 2 h 5 min)". And a label and words behind it, broken into lines that begin below each other. */
void listing_say_time(int64_t at, int64_t now);
void listing_say(const char *label, struct str words);
/* On a terminal, says on stderr now and then how far long work has come. what NULL: wipes that off, before anything else is printed. */
void listing_progress(const char *what, size_t done, size_t all);

#endif
