/* How full a mailbox is: the file maildirsize of the Maildir++ quota. Its first line is the quota ("1000000S"), each further one a change:
 * octets and messages. It is read at each delivery and gets a line; it is made anew, from the sizes of all messages in the mailbox and
 * its folders, when it is missing, says another quota, is longer than 5120 octets, or says that the mailbox is full and may be wrong. Messages in
 * the folder Trash, and those marked as deleted, do not count. */
#ifndef DELIVER_MAILDIRSIZE_H
#define DELIVER_MAILDIRSIZE_H

#include <stdbool.h>
#include <stdint.h>

/* Has the mailbox (a descriptor of its directory, no folder) room for so many octets more? 1, 0, or -1 with errno. */
int maildirsize_has_room(int mailbox, uint64_t quota, uint64_t octets);
/* A message was added. What cannot be written is found at the next counting: no error. */
void maildirsize_add(int mailbox, uint64_t octets);

#endif
