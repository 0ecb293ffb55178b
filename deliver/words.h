/* The words that a mailbox has learnt (policy/bayes.h), in the file fardel.words in it. For processes that may block. It is read and written as a
 * whole: whoever owns the mailbox may cut it off at any time, and what is mapped would end us then. */
#ifndef DELIVER_WORDS_H
#define DELIVER_WORDS_H

#include <sys/types.h>

#include "policy/bayes.h"

/* Returns owned, for free(); *fresh: there was none, or nothing of use. NULL with errno. */
struct bayes_table *words_open(int mailbox, bool *fresh);
int words_save(int mailbox, const struct bayes_table *);        /* in place of the old one. 0, or -1 with errno */
/* Words of a message, from `at` on. False: it cannot be read. */
bool words_of_fd(int fd, off_t at, struct bayes_words *);
/* Of a file, all of it; nothing of what is no regular file. */
bool words_of_file(int dir, const char *name, struct bayes_words *);

#endif
