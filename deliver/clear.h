/* Addresses that TLS did not work with lately: they are called in clear, so that mail is not held up by the same failure again. */
#ifndef DELIVER_CLEAR_H
#define DELIVER_CLEAR_H

#include <stdbool.h>
#include <sys/socket.h>

/* For an hour. There is room for some hundred; then the one that was noted first goes. */
void clear_note(const struct sockaddr *);
bool clear_noted(const struct sockaddr *);
void clear_forget_all(void);

#endif
