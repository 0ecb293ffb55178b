/* Settings from a table of rows: flat "name = value" lines, # begins a comment, durations "5m", sizes "35M".
 * What a row holds comes from its preset, then the file, then the environment (FARDEL_NAME), then options (-o 'name = value'):
 * the later one wins. A list is replaced as a whole by a later source; within one source a repeated name adds to it. */
#ifndef LIB_CONF_H
#define LIB_CONF_H

#include "lib/buf.h"
#include "lib/str.h"

enum conf_kind {
	CONF_TEXT,              /* const char *; NULL when empty */
	CONF_YESNO,             /* bool */
	CONF_NUMBER,            /* unsigned */
	CONF_DURATION,          /* int64_t, seconds */
	CONF_SIZE,              /* uint64_t, octets */
	CONF_LIST,              /* struct conf_list: one item a line */
	CONF_WORDS              /* struct conf_list: blanks or commas separate items, too */
};
struct conf_item {
	char *text;
	char *where;            /* "fardel.conf:12", "FARDEL_ROUTE", "-o", "preset": for complaints about it */
};
struct conf_list {
	size_t n;
	struct conf_item *item;
};
struct conf_row {
	const char *name;       /* lower case and '_' */
	enum conf_kind kind;
	const char *elsewhere;  /* what other programs call it, blanks between: it is told who writes that; may be NULL */
	size_t offset;          /* of the value in the target */
	const char *preset;     /* as it would be written; NULL: empty */
	uint64_t min, max;      /* numbers, durations in seconds, sizes; max 0: no limit but the type's */
	bool at_start;          /* a program that runs cannot change it: see conf_changed() */
	const char *help;       /* sentences, lines separated by \n */
	const char *example;    /* for the sample when the preset is empty; may be NULL */
};

enum conf_rank { CONF_PRESET, CONF_FILE, CONF_ENVIRONMENT, CONF_OPTION };
struct conf_state {             /* of a row: where its value is from */
	enum conf_rank rank;
	char *where;
	char *text;             /* not of lists */
};
struct conf {
	const struct conf_row *row;
	size_t n;
	struct conf_state *state;       /* one a row */
	void *target;
	const char *file;       /* being read */
	unsigned depth, files;  /* files inside each other; files in all */
	bool for_now;           /* want of something that may be there at the next try: descriptors, memory */
	struct buf errors;      /* one line each, "where: what. Remedy."; empty while all is well */
};

/* Puts the presets into the target, which conf_end() empties again. Rows and target are borrowed. 0 or -1 with errno. */
int conf_start(struct conf *, const struct conf_row *, size_t n, void *target);
void conf_end(struct conf *);
bool conf_ok(const struct conf *);              /* no complaint so far */
/* Each adds to errors what it could not take, and goes on. "include = PATH" in a file stands for the lines of that file, or, with
 * * ? or [ in it, of all files that it matches, by name; from the directory of the file that says so. At most 8 files inside each other. */
void conf_file(struct conf *, const char *path);
void conf_text(struct conf *, const char *name, struct str text);       /* a file's content, includes nothing; name for complaints */
/* FARDEL_NAME_FILE names a file that holds the value. */
/* Names that begin with prefix ("FARDEL_") and belong to no row are left alone unless they look like a slip of a row's name. */
void conf_environment(struct conf *, const char *prefix, char *const *environment);
void conf_option(struct conf *, const char *text);
/* One more item for the list of this name, behind all others, from an environment that calls it otherwise. False: no memory. */
bool conf_add(struct conf *, const char *name, const char *variable, struct str item);
void conf_complain(struct conf *, const char *where, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void conf_no_memory(struct conf *, const char *where);         /* the same, and for_now */
/* Where the row with this name got its value. */
const char *conf_where(const struct conf *, const char *name);
/* What a later reading of the same rows has brought: appends the names of the rows whose value is another one, ", " between them,
 * to *changed, those that are for the start only to *at_start. False: no memory. */
bool conf_changed(const struct conf *now, const struct conf *later, struct buf *changed, struct buf *at_start);
/* The rows as a file that explains itself: presets are commented out, everything else says where it is from.
 * False: no memory. */
bool conf_print(const struct conf *, struct buf *out);

/* "90s", "1h30m", "0". False: not a duration. */
bool conf_duration(struct str, int64_t *seconds);
/* "512", "10k", "35M", "2G" in powers of 1024. False: not a size. */
bool conf_size(struct str, uint64_t *octets);
/* Steps of typing (insert, drop, change, swap neighbours) between two words of at most 40 octets; longer ones are far away. */
unsigned conf_distance(struct str a, struct str b);

#endif
