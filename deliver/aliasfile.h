/* The form of files of aliases (deliver/alias.h), read into a table. Pure but for the files that it includes. */
#ifndef DELIVER_ALIASFILE_H
#define DELIVER_ALIASFILE_H

#include <sys/stat.h>

#include "lib/buf.h"
#include "lib/loop.h"
#include "lib/map.h"

enum {
	ALIAS_FILE_MAX = 4 << 20,       /* octets of one file: 100,000 names and more */
	ALIAS_INCLUDES = 1000,          /* files: each is looked at whenever an alias is asked for */
	ALIAS_WORD_MAX = 1024,          /* octets of one name or target */
	FORWARD_MAX = 16384             /* octets of a .forward file */
};

enum alias_target_kind {
	TARGET_NAME,                    /* a name of our own, as it was written */
	TARGET_ADDRESS,                 /* local@domain */
	TARGET_MAILBOX,                 /* \name, without the \ */
	TARGET_DISCARD,                 /* /dev/null */
	TARGET_FILE,                    /* refused */
	TARGET_COMMAND,                 /* refused unless commands may be run */
	TARGET_INCLUDE                  /* a path */
};
struct alias_target {
	struct alias_target *next;
	enum alias_target_kind kind;
	struct str text;
	unsigned line;
	struct alias_source *source;    /* where it is written */
	struct alias_source *included;  /* TARGET_INCLUDE */
};
/* A file. */
struct alias_source {
	struct alias_source *next;
	char *path;
	struct stat seen;               /* before it was read; all zeros: not there */
	struct alias_target *first;     /* of an included one */
	char wrong[400];                /* an included one that cannot be used: why, with file, line and remedy */
	bool taken;                     /* from a text: a test's */
	msec gone_since;                /* it was there and is not any more; 0: it is */
	msec again;                     /* the system could not read it for now: when it is tried again; 0: it could */
};
struct alias_entry {
	struct alias_entry *next;
	struct map_node node;           /* key: the name, unquoted, lower case */
	struct alias_target *first;
	unsigned line;
	struct alias_source *source;
	/* the evaluator's own */
	uint64_t run;                   /* the last that came by */
	bool on_path;
};
struct alias_domain {                   /* that the table of virtual users names */
	struct alias_domain *next;
	struct map_node node;           /* key: lower case */
};
struct alias_table {
	struct map names, domains;
	struct alias_entry *entry, **last;      /* in the order of the files */
	struct alias_domain *domain;
	struct alias_source *source, **last_source;
	struct alias_chunk *chunk;      /* what texts and structs live in */
	size_t n, includes;
	struct buf errors, notes;       /* a line each: "/etc/aliases:3: what. Remedy." */
	bool no_memory;
	bool commands;                  /* they are run: set before files are added */
	bool as_owner;                  /* as whose file names them, which root's may not: likewise */
};

/* Adds a file, or (text not NULL) what would be in it. What is wrong with it stands in errors. A file of aliases that is missing is empty;
 * the table of virtual users must be there, as else nobody knows which domains are ours. */
void alias_table_add(struct alias_table *, const char *path, const struct str *text, bool virtual);
/* A user's .forward file: targets alone, by lines or commas. It includes no other file. The entry has the user's name and is found by no
 * other way; what is wrong with it stands in its source. NULL: no memory. */
struct alias_entry *alias_table_add_forward(struct alias_table *, struct str user, struct str path, struct str text);
struct alias_entry *alias_table_find(const struct alias_table *, struct str name);      /* in lower case; or NULL */
/* The n-th command (1 ...) among the targets of an entry, those of included files left out, as commands have no place there. */
const struct alias_target *alias_command(const struct alias_entry *, unsigned n);
void alias_table_free(struct alias_table *);
/* Is a file another one now, or is one to be tried again? */
bool alias_table_changed(const struct alias_table *);
/* Has it come to rest: not written to for two seconds, or away for ten? Editors move a file away before they write the new one. */
bool alias_table_is_quiet(struct alias_table *);

#endif
