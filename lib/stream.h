/* Full duplex octets over one or two descriptors, plain or inside TLS, buffered, never blocking.
 * Buffers are allocated when first needed and given back when empty. */
#ifndef LIB_STREAM_H
#define LIB_STREAM_H

#include <sys/types.h>

#include "lib/buf.h"
#include "lib/loop.h"

enum {
	STREAM_IN = 65536,              /* octets kept unread at most: then reading pauses (back pressure) */
	STREAM_OUT = 262144,            /* octets kept unsent at most: beyond it stream_write() fails */
	STREAM_OUT_FULL = 65536         /* stream_full() from here on */
};

struct tls;

struct stream {
	struct io io;                   /* reading, and writing when there is one descriptor */
	struct io io_out;               /* writing, when the descriptors differ (fd -1 otherwise) */
	struct buf in, out;
	size_t taken;                   /* octets of `in` already handed out */
	size_t sent;                    /* octets of `out` already written */
	int file;                       /* behind them: stream_send_file() */
	off_t file_at;
	size_t file_left;
	bool paused;                    /* the owner does not want to read now */
	bool eof;                       /* the peer has sent its last octet */
	bool skipping;                  /* in a line that was too long: dropped up to its LF */
	size_t skipped;                 /* octets of it dropped so far: an owner may lose patience */
	bool due;                       /* event() is owed when the task runs */
	bool shut;                      /* our half has ended: no more writing */
	int error;                      /* errno of the failure that ended the stream, 0 while well; stream_error() has words */
	struct tls *tls;                /* from stream_starttls() on; NULL: plain */
	bool secure;                    /* ... and its handshake is over: `in` and `out` are inside TLS */
	bool ended;                     /* the socket has been told of the end of our half */
	const char *why;                /* words for error, when there are better ones than errno's */
	struct task task;               /* end of the turn: writes, gives buffers back, owed events */
	void (*event)(struct stream *); /* more input, end of input, output drained, or an error: look and see */
};

/* What came of a connect() that was under way, when poll() says that it is over: 0, or its errno. */
int connect_error(int fd);

/* Takes the descriptors (made non-blocking, closed by stream_close()); in == out for a socket, which may be
 * connecting still: a connection that fails is an error of the stream. event() runs from the loop, never from
 * inside a call of ours, and may close and free the stream. 0, or -1 with errno and the descriptors are the caller's. */
int stream_open(struct stream *, int in, int out, void (*event)(struct stream *));
void stream_close(struct stream *);                     /* at once; unsent output is lost. Twice is once. */

enum line {
	LINE_NONE,                      /* no whole line yet (look at eof and error) */
	LINE_OK,                        /* ended by CR LF and holds no other CR or LF */
	LINE_BARE,                      /* ended by LF without CR, or holds a CR elsewhere: the caller decides */
	LINE_LONG                       /* more than max octets: the first of them, once; the line is dropped to its end */
};
/* Takes the next line, without its end (max does not count the end). The slice is valid until the next call
 * that takes, or the return to the loop. */
enum line stream_line(struct stream *, size_t max, struct str *line);
/* What has come and is not taken yet. Valid as above. */
struct str stream_peek(const struct stream *);
void stream_take(struct stream *, size_t n);
/* A line end, or as much as we keep without one, has come: stream_line() would return something. (It also
 * does for a line that is longer than its max but has no end yet.) */
bool stream_has_line(const struct stream *);
void stream_pause(struct stream *, bool);               /* true: read no more until false */
void stream_again(struct stream *);                     /* event() once more this turn or next: budget used up */

/* Queues octets; they leave as soon as the socket takes them. 0, or -1 with errno (EMSGSIZE: ceiling). */
int stream_write(struct stream *, const void *, size_t);
int stream_printf(struct stream *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Queues n octets of a file, which go from the kernel to the socket behind all that is queued (sendfile(2)). The descriptor must stay open
 * until they have left; nothing may be written before. A file that ends too early ends the stream with ENODATA. False: they are to
 * be read and written, as the stream is inside TLS or the system cannot do it. */
bool stream_send_file(struct stream *, int fd, off_t at, size_t n);
/* Tries to write what is queued now instead of at the end of the turn. */
void stream_flush(struct stream *);
/* Ends our half of the conversation: the peer reads end of file behind what has left. Call it when drained. A stream
 * closed while the peer still sends would reset the connection, and the peer might never read our last words. */
void stream_shutdown(struct stream *);
bool stream_full(const struct stream *);                /* the peer does not read: stop producing */
bool stream_drained(const struct stream *);             /* everything written has left for the kernel */

/* Goes over to TLS and takes the tls; event() when its handshake is over (`secure`) or has failed (`error`). The end of TLS, by
 * a close_notify or by an error, is the end of the stream: nothing is ever read in clear again. -1 with errno, and the
 * tls is still the caller's: EPROTO when octets have come that nobody encrypted (what a third party put there would
 * be taken for the peer's words), EBUSY when ours have not left, EALREADY inside TLS. */
int stream_starttls(struct stream *, struct tls *);
/* The same where the peer begins with TLS: what has come and was not taken is his hello. EPROTO: it is too much for one. */
int stream_begin_tls(struct stream *, struct tls *);
const char *stream_error(const struct stream *);        /* words for `error` */

#endif
