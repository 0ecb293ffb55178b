/* One line of key=value pairs per event. Values that are not plain words are
 * quoted; anything outside printable ASCII is escaped, and a value is cut at 512 octets. A field that
 * would make the line longer than 4096 octets is left out. */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include "lib/str.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };    /* as syslog's err, warning, info, debug */

struct log_field {
	const char *key;                        /* NULL ends the list; a field with an empty text is left out */
	struct str text;
	long long number;
	bool is_number;
};
#define L_TEXT(key_, c_string) { .key = (key_), .text = str_of(c_string) }
#define L_STR(key_, str_) { .key = (key_), .text = (str_) }
#define L_NUM(key_, n_) { .key = (key_), .number = (n_), .is_number = true }

/* log_event(LOG_INFO, "delivered", LF(L_TEXT("id", id), L_NUM("delay", d)));
 * writes: 2026-11-23T09:00:00Z info delivered id=... delay=3 */
#define LF(...) ((const struct log_field[]){ __VA_ARGS__, { .key = NULL } })
void log_event(enum log_level, const char *event, const struct log_field *fields);
/* For words to an administrator: event and one msg= field. */
void log_text(enum log_level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The last line: there is no going on for want of `what`; errno says why. Who starts the program again finds all that was accepted on the disk.
 * It ends with 71 (EX_OSERR), and nothing else is done. */
_Noreturn void log_end(const char *what);

/* "stderr", "syslog" or a file's path (opened for appending, mode 0600). 0, or -1 with errno and the old target kept. */
int log_open(const char *target);
int log_reopen(void);                           /* the same target again (after rotation) */
/* LOG_JSON: an object a line with time, level, event and the fields, for programs that gather logs; the time stands in it
 * wherever it goes. Values are cut as above; what is no UTF-8 in them becomes U+FFFD. */
enum log_format { LOG_PLAIN, LOG_JSON };
void log_written_as(enum log_format);           /* LOG_PLAIN at start */
void log_threshold(enum log_level);             /* nothing below it is written; LOG_INFO at start */

#endif
