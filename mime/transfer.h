/* DATA on the wire: taking dots off and putting them on (RFC 5321 4.5.2), line ends made visible. Pure state machines. */
#ifndef MIME_TRANSFER_H
#define MIME_TRANSFER_H

#include "lib/buf.h"

/* Receiving. Zeros is the state right behind DATA CR LF. */
struct undot {
	unsigned char state;
	bool ended;                             /* CR LF . CR LF has come */
	bool bare;                              /* a CR without LF, or an LF without CR, was seen */
	bool nul;                               /* a NUL was seen */
	bool eight_bit;
	size_t line, longest;                   /* octets of this line, of the longest, without CR LF */
};
/* Takes octets of `in` until the end of data; appends the message to out (dots taken off, all else as it came, bare CR and
 * LF too). Returns octets of `in` used: all of them unless ended. How the data is split over calls makes no difference.
 * When out is full or memory is out, out->bad says so. */
size_t undot(struct undot *, const char *in, size_t n, struct buf *out);

/* The line ends of text that comes as it is. Zeros at its start. */
struct line_ends {
	bool cr;                                /* the last octet was a CR */
	bool complete;                          /* the last octets were CR LF */
	bool bare, nul;                         /* as above */
};
void line_ends_see(struct line_ends *, const char *in, size_t n);

/* Sending: message with CR LF line ends. Zeros is the state at its start. */
struct dot {
	unsigned char state;
};
/* Appends `in` with dots doubled. Lines may be split over calls at any place. False: no memory. */
bool dot_add(struct dot *, const char *in, size_t n, struct buf *out);
/* Appends what ends the data: "." CR LF, after a CR LF when the message did not end in one. */
bool dot_end(struct dot *, struct buf *out);

/* Text of a local program to CR LF lines: LF and CR LF end lines, a CR elsewhere stays one line end too. Zeros at the start. */
struct crlf {
	unsigned char state;
};
bool crlf_add(struct crlf *, const char *in, size_t n, struct buf *out);
bool crlf_end(struct crlf *, struct buf *out);  /* completes a last line without end */

#endif
