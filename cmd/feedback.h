/* The helper process that reads reports of others (policy/feedback.h): what it reads is hostile, and libraries do it. It is forked when the first
 * one comes, gets a descriptor of the message, and can write nothing and execute nothing, as far as the kernel helps (lib/sandbox.h). One question
 * at a time; after 10 s it is killed and that message is none. */
#ifndef CMD_FEEDBACK_H
#define CMD_FEEDBACK_H

#include "lib/facts.h"

/* Sets the source of FACT_FEEDBACK. inline_work: no helper, the work is done in this process, from a task (inetd, tests). */
void feedback_start(bool inline_work);
/* Kills the helper; questions are answered UNKNOWN. Not started: nothing. */
void feedback_stop(void);

#endif
