/* The system calls that decide whether mail is safe, through a table that tests replace. */
#ifndef LIB_FILE_H
#define LIB_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "lib/buf.h"

struct file_space {                     /* of a file system; all: 0 when it does not count them */
	uint64_t octets, octets_all;    /* that we may still use, and in all */
	uint64_t inodes, inodes_all;
};

struct file_calls {
	int (*open)(int dir, const char *name, int flags, mode_t mode);
	ssize_t (*pread)(int fd, void *, size_t, off_t);
	ssize_t (*write)(int fd, const void *, size_t);
	ssize_t (*pwrite)(int fd, const void *, size_t, off_t);
	int (*ftruncate)(int fd, off_t);
	int (*fdatasync)(int fd);
	int (*fsync)(int fd);                                   /* of a directory */
	int (*link)(int from_dir, const char *from, int to_dir, const char *to);
	int (*rename)(int from_dir, const char *from, int to_dir, const char *to);     /* never replaces: EEXIST */
	int (*unlink)(int dir, const char *name);
	int (*space)(int fd, struct file_space *);
	int (*syncfs)(int fd);                                  /* everything on the file system of fd */
	/* A word that the kernel keeps in its memory of a file: the file system's end (a boot, a disk pulled out, an unmount) takes it, and
	 * want of memory may. As long as it is there, so is what was written and not synced, whatever became of processes. */
	void (*remember)(int fd);
	bool (*remembers)(int fd);
	bool (*bears_log)(int fd);      /* a file system of a local disk that keeps what was synced, and whose syncfs() tells of all failures */
};
extern struct file_calls file_sys;                              /* the kernel's, unless a test changed it */

/* What rename() does where the file system knows no RENAME_NOREPLACE: link() + unlink(). A crash between them leaves two
 * names, which recovery takes for one entry. */
int file_rename_by_link(int from_dir, const char *from, int to_dir, const char *to);

/* syncfs() says when something could not be written (Linux 5.8). */
bool file_syncfs_tells(void);

/* The descriptors from first to last are closed, or with CLOSE_RANGE_CLOEXEC by exec(): close_range(), which musl has no function for. 0, or
 * -1 with errno (ENOSYS: Linux before 5.9; EINVAL: a flag that is not known before 5.11). */
int file_close_range(unsigned first, unsigned last, unsigned flags);

/* All of it, over short writes and EINTR. 0 or -1 with errno. */
int file_write(int fd, const void *, size_t);
int file_pwrite(int fd, const void *, size_t, off_t);
/* Exactly n octets at `at` unless the file ends before. Octets read, or -1 with errno. */
ssize_t file_pread(int fd, void *, size_t n, off_t at);
/* Asked for a file by its path that we may not open ourselves (EACCES): a descriptor, or -1 with errno. NULL: nobody can be asked. */
extern int (*file_closed)(const char *path);
/* stat(), of a file that is closed to us as well. 0 or -1 with errno. */
int file_stat(const char *path, struct stat *);
/* Adds a whole small file to out (up to out->max). 0 or -1 with errno (EFBIG: too large) and out is as before. */
int file_read_all(int dir, const char *name, struct buf *out);
/* Makes the names in the directory of this path durable, as far as that can be done. */
void file_sync_directory_of(const char *path);
/* A new file beside it takes its place, durably: whoever reads sees the old one or the new one. Owner and mode are the old one's, of one that
 * was not there ours and `mode`. 0 or -1 with errno. */
int file_replace(const char *path, const void *, size_t n, mode_t mode);
/* mkdir that is content when the directory is there already: 0; 1: it was made; -1 with errno. */
int file_mkdir(int dir, const char *name, mode_t mode);
/* Makes every missing directory of path, durably. 0: it was there; 1: it was made; -1 with errno. */
int file_mkdirs(const char *path, mode_t mode);

#endif
