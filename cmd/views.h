/* What `fardel queue` shows: lists, single messages, and the queue's shape. */
#ifndef CMD_VIEWS_H
#define CMD_VIEWS_H

#include "cmd/select.h"
#include "cmd/settings.h"

struct queue_words {
	struct selection which;         /* empty: everything */
	bool json, body;
};

/* Each prints to stdout and returns an exit status; 1: there is nothing that is meant. */
int queue_list(const struct settings *, const struct queue_words *);
int queue_show(const struct settings *, const struct queue_words *);
int queue_shape(const struct settings *, const struct queue_words *);

#endif
