/* Slices of text: a borrowed pointer and a length. A NUL has no meaning here. */
#ifndef LIB_STR_H
#define LIB_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
	const char *p;
	size_t n;
};

#define STR(literal) ((struct str){ "" literal, sizeof(literal) - 1 })
#define STR_FMT "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p

struct str str_of(const char *s);                          /* borrows s; NULL is the empty slice */
bool str_eq(struct str a, struct str b);
bool str_eq_nocase(struct str a, struct str b);            /* ASCII letters only */
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends_nocase(struct str s, struct str suffix);

/* Splits *rest at the first `at`: what was before goes to *head, what follows
 * stays in *rest. False, and nothing is changed, when there is no `at`. */
bool str_cut(struct str *rest, char at, struct str *head);
/* The same at the last `at`: *head gets what is before it, *rest what follows. */
bool str_cut_last(struct str *rest, char at, struct str *head);
/* Next word between blanks (SP, TAB) of *rest, or false at its end. */
bool str_word(struct str *rest, struct str *word);
struct str str_trim(struct str s);                         /* without SP, TAB, CR, LF at both ends */
struct str str_from(struct str s, size_t at);              /* s without its first `at` octets (or empty) */

/* Decimal digits only: no sign, no blank. False when empty, anything else, or above max. */
bool str_number(struct str s, uint64_t max, uint64_t *out);
/* NUL-terminated copy; false (and dst is "") when it does not fit or holds a NUL. */
bool str_copy(char *dst, size_t size, struct str s);

/* ASCII, independent of the locale, safe for any char. */
char ascii_lower(char c);
bool ascii_alpha(char c);
bool ascii_digit(char c);
bool ascii_print(char c);                                  /* 0x21..0x7e and SP */
void ascii_make_printable(char *text);                     /* every other octet becomes ? */

/* Octets of the UTF-8 sequence at the start of s, 0 if it is none (RFC 3629 4) or a C1 control. s is not empty. */
size_t utf8_sequence(struct str s);

#endif
