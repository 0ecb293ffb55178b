/* The octets of a message: behind DATA with dots and a final one, or as one chunk (RFC 3030), which the kernel may send from the file. */
#include "client/inside.h"

#include <errno.h>
#include <string.h>

#include "lib/file.h"

enum { PIECE = 4 * BLOCK };             /* of a file, left to the kernel at once */

void client_end_data(struct client *c, enum expect what, size_t replies)
{
	c->phase = C_DOT;
	c->dot_leaving = true;
	while (client_alive(c) && replies-- > 0)
		client_expect(c, what);
}

/* A message that cannot be read to its end must never get its final dot: what is missing would be lost unseen. */
void client_unreadable(struct client *c, ssize_t got)
{
	c->job->unreadable = true;
	client_fail(c, "4.3.0", "our copy of the message cannot be read: %s", got < 0 ? strerror(errno) : "it ends too early");
}

/* Octets of the message that is being sent, to be used at once. */
static const char *block;

/* False: it is over, as our copy cannot be read. */
static bool read_block(struct client *c, off_t at, size_t n)
{
	static char room[BLOCK];
	ssize_t got;

	block = room;
	if (c->job->text) {
		block = c->job->text + (at - c->job->at);
		return true;
	}
	got = n ? file_pread(c->job->fd, room, n, at) : 0;
	if (got >= 0 && (size_t)got == n)
		return true;
	client_unreadable(c, got);
	return false;
}

/* The queue's messages end with a line end, unless a program has dropped one that does not: DATA adds it, so a chunk has to, too. A
 * message that is one block is read for this as a whole. */
static bool ends_in_line(struct client *c)
{
	size_t size = (size_t)c->job->size, n = size <= BLOCK ? size : 2;

	if (!read_block(c, c->job->at + c->job->size - (off_t)n, n))
		return false;
	return n >= 2 && block[n - 2] == '\r' && block[n - 1] == '\n';
}

/* What comes behind a block: the next one, when there is room, or the replies. */
static void block_sent(struct client *c)
{
	if (c->left == 0) {
		client_note_sent(c, c->chunk ? STR("(message)") : STR("(message and final dot)"));
		c->dirty = false;       /* until a final reply says no */
		client_end_data(c, c->chunk ? X_BDAT : X_DOT, c->config->lmtp ? c->accepted : 1);
		return;
	}
	client_arm(c);
	if (!stream_full(&c->stream))
		stream_again(&c->stream);
}

/* A large chunk needs not pass through here. What is shorter than a block leaves together with its envelope. */
static bool send_piece(struct client *c)
{
	size_t n = c->left < PIECE ? (size_t)c->left : PIECE;

	if (!c->chunk || c->unended || c->job->size <= BLOCK || !stream_send_file(&c->stream, c->job->fd, c->at, n))
		return false;
	c->at += (off_t)n;
	c->left -= (off_t)n;
	block_sent(c);
	return true;
}

void client_send_block(struct client *c)
{
	static struct buf wire;
	size_t n = c->left < BLOCK ? (size_t)c->left : BLOCK;
	bool at_hand = c->chunk && c->job->size <= BLOCK;       /* since ends_in_line() */

	if (send_piece(c) || (!at_hand && !read_block(c, c->at, n)))
		return;
	c->at += (off_t)n;
	c->left -= (off_t)n;
	buf_clear(&wire);
	if (c->chunk)
		buf_add(&wire, block, n);
	else
		dot_add(&c->dot, block, n, &wire);
	if (c->left == 0 && !c->chunk)
		dot_end(&c->dot, &wire);
	else if (c->left == 0 && c->unended)
		buf_puts(&wire, "\r\n");
	if (wire.bad) {
		client_fail(c, "4.3.0", "no memory left");
		return;
	}
	client_put(c, wire.p, wire.n);
	if (client_alive(c))
		block_sent(c);
}

void client_begin_body(struct client *c)
{
	c->phase = C_BODY;
	c->dot = (struct dot){ 0 };
	c->at = c->job->at;
	c->left = c->job->size;
	client_send_block(c);
}

void client_say_chunk(struct client *c)
{
	struct buf line = { 0 };

	c->phase = C_BODY;
	c->chunk = true;
	c->unended = !ends_in_line(c);
	if (!client_alive(c))
		return;
	buf_printf(&line, "BDAT %lld LAST\r\n", (long long)c->job->size + (c->unended ? 2 : 0));
	client_note_sent(c, (struct str){ line.p, line.n - 2 });
	client_put(c, line.p, line.n);
	buf_free(&line);
	if (client_alive(c))
		client_begin_body(c);
}
