/* Addresses that do not do lately what they announce: they are called without it, so that mail is not held up by the same failure
 * again. */
#ifndef DELIVER_LAME_H
#define DELIVER_LAME_H

#include <sys/socket.h>

/* Or that refuse recipients beside those of another domain whom they take apart from them. */
enum { LAME_TLS = 1, LAME_CHUNKING = 2, LAME_PIPELINING = 4, LAME_MIX = 8 };
/* What it takes no more of: recipients in a transaction, messages on a connection, connections of ours at a time. */
enum lame_most { LAME_RCPTS, LAME_MAILS, LAME_LINES };

/* For an hour, each for its own. There is room for some hundred; then the one that was noted first goes. */
void lame_note(const struct sockaddr *, unsigned what);
unsigned lame_noted(const struct sockaddr *);           /* LAME_ bits */
void lame_note_most(const struct sockaddr *, enum lame_most, size_t);
/* 0: no limit known. But of LAME_RCPTS it is one more every two minutes. */
size_t lame_most(const struct sockaddr *, enum lame_most);
void lame_forget_all(void);

#endif
