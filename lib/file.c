/* The system calls that decide whether mail is safe. */
#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE                        /* musl */
#define RENAME_NOREPLACE 1
static int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}
#endif

static int sys_open(int dir, const char *name, int flags, mode_t mode)
{
	return openat(dir, name, flags | O_CLOEXEC, mode);
}

static int sys_link(int from_dir, const char *from, int to_dir, const char *to)
{
	return linkat(from_dir, from, to_dir, to, 0);
}

int file_rename_by_link(int from_dir, const char *from, int to_dir, const char *to)
{
	int saved;

	if (file_sys.link(from_dir, from, to_dir, to) == -1)
		return -1;
	if (file_sys.unlink(from_dir, from) == 0 || errno == ENOENT)
		return 0;
	saved = errno;
	file_sys.unlink(to_dir, to);    /* a rename that failed has changed nothing */
	errno = saved;
	return -1;
}

static int sys_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	if (renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	return file_rename_by_link(from_dir, from, to_dir, to);
}

static int sys_unlink(int dir, const char *name)
{
	return unlinkat(dir, name, 0);
}

static int sys_space(int fd, struct file_space *out)
{
	struct statvfs v;

	if (fstatvfs(fd, &v) == -1)
		return -1;
	*out = (struct file_space){ .octets = (uint64_t)v.f_bavail * v.f_frsize, .octets_all = (uint64_t)v.f_blocks * v.f_frsize,
		.inodes = v.f_favail, .inodes_all = v.f_files };
	return 0;
}

/* Linux 4.13: how long what is written will live. It belongs to the inode in memory, is the same in every namespace and never stored; and
 * what we say of a log that is written over and over is true. */
#ifndef F_GET_RW_HINT
#define F_GET_RW_HINT 1035
#define F_SET_RW_HINT 1036
#endif
enum { LIVES_SHORTLY = 2 };             /* RWH_WRITE_LIFE_SHORT, which some libraries spell otherwise */

static void sys_remember(int fd)
{
	uint64_t hint = LIVES_SHORTLY;

	fcntl(fd, F_SET_RW_HINT, &hint);        /* where it cannot be, nothing is remembered */
}

static bool sys_remembers(int fd)
{
	uint64_t hint = 0;

	return fcntl(fd, F_GET_RW_HINT, &hint) == 0 && hint == LIVES_SHORTLY;
}

/* Not those that lie on another one (overlayfs, FUSE) or on another machine: a failure there need not come to syncfs(). Nor those in memory. */
static bool sys_bears_log(int fd)
{
	static const unsigned long known[] = { 0xef53 /* ext2 to ext4 */, 0x58465342 /* XFS */, 0x9123683e /* btrfs */ };
	struct statfs s;

	if (fstatfs(fd, &s) == -1)
		return false;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if ((unsigned long)s.f_type == known[i])
			return true;
	return false;
}

bool file_syncfs_tells(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 && (major > 5 || (major == 5 && minor >= 8));
}

int file_close_range(unsigned first, unsigned last, unsigned flags)
{
	return (int)syscall(SYS_close_range, first, last, flags);
}

struct file_calls file_sys = {
	.open = sys_open,
	.pread = pread,
	.write = write,
	.pwrite = pwrite,
	.ftruncate = ftruncate,
	.fdatasync = fdatasync,
	.fsync = fsync,
	.link = sys_link,
	.rename = sys_rename,
	.unlink = sys_unlink,
	.space = sys_space,
	.syncfs = syncfs,
	.remember = sys_remember,
	.remembers = sys_remembers,
	.bears_log = sys_bears_log,
};

/* at -1: where the descriptor stands. */
static int write_all(int fd, const char *p, size_t n, off_t at)
{
	while (n) {
		ssize_t done = at == -1 ? file_sys.write(fd, p, n) : file_sys.pwrite(fd, p, n, at);

		if (done == -1 && errno == EINTR)
			continue;
		if (done == -1)
			return -1;
		if (done == 0) {
			errno = EIO;
			return -1;
		}
		p += done;
		n -= (size_t)done;
		if (at != -1)
			at += done;
	}
	return 0;
}

int file_write(int fd, const void *data, size_t n) { return write_all(fd, data, n, -1); }
int file_pwrite(int fd, const void *data, size_t n, off_t at) { return write_all(fd, data, n, at); }

ssize_t file_pread(int fd, void *out, size_t n, off_t at)
{
	char *p = out;
	size_t got = 0;

	while (got < n) {
		ssize_t r = file_sys.pread(fd, p + got, n - got, at + (off_t)got);

		if (r == -1 && errno == EINTR)
			continue;
		if (r == -1)
			return -1;
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

int (*file_closed)(const char *path);

int file_stat(const char *path, struct stat *st)
{
	int fd, r, saved;

	if (stat(path, st) == 0)
		return 0;
	if (errno != EACCES || !file_closed || (fd = file_closed(path)) == -1)
		return -1;
	r = fstat(fd, st);
	saved = errno;
	close(fd);
	errno = saved;
	return r;
}

int file_read_all(int dir, const char *name, struct buf *out)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY), saved;
	size_t before = out->n;

	if (fd == -1 && errno == EACCES && file_closed)
		fd = file_closed(name);
	if (fd == -1)
		return -1;
	for (;;) {
		size_t want = out->max && out->max - out->n < 4096 ? out->max - out->n : 4096;
		char *to;
		char extra;
		ssize_t n;

		to = want ? buf_reserve(out, want) : &extra;
		if (!to) {
			errno = ENOMEM;
			goto fail;
		}
		n = read(fd, to, want ? want : 1);
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			goto fail;
		if (n == 0)
			break;
		if (!want) {
			errno = EFBIG;
			goto fail;
		}
		out->n += (size_t)n;
	}
	close(fd);
	return 0;
fail:
	saved = errno;
	close(fd);
	out->n = before;
	errno = saved;
	return -1;
}

void file_sync_directory_of(const char *path)
{
	char directory[PATH_MAX];
	char *slash;
	int dir;

	snprintf(directory, sizeof directory, "%s", path);
	slash = strrchr(directory, '/');
	if (slash)
		slash[slash == directory] = '\0';
	dir = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir != -1) {
		file_sys.fsync(dir);
		close(dir);
	}
}

int file_replace(const char *path, const void *data, size_t n, mode_t mode)
{
	char beside[PATH_MAX];
	int fd, saved;
	struct stat st;
	bool there = stat(path, &st) == 0;

	if ((size_t)snprintf(beside, sizeof beside, "%s.new.%ld", path, (long)getpid()) >= sizeof beside) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd == -1)
		return -1;
	if (there && fchown(fd, st.st_uid, st.st_gid) == -1)
		goto fail;
	if (fchmod(fd, there ? st.st_mode & 07777 : mode) == -1 || file_write(fd, data, n) == -1 || fsync(fd) == -1 || rename(beside, path) == -1)
		goto fail;
	close(fd);
	file_sync_directory_of(path);
	return 0;
fail:
	saved = errno;
	close(fd);
	unlink(beside);
	errno = saved;
	return -1;
}

int file_mkdir(int dir, const char *name, mode_t mode)
{
	struct stat st;

	/* Mostly it is there. */
	if (fstatat(dir, name, &st, 0) == -1) {
		if (errno != ENOENT)
			return -1;
		if (mkdirat(dir, name, mode) == 0)
			return 1;
		if (errno != EEXIST || fstatat(dir, name, &st, 0) == -1)
			return -1;
	}
	if (S_ISDIR(st.st_mode))
		return 0;
	errno = ENOTDIR;
	return -1;
}

int file_mkdirs(const char *path, mode_t mode)
{
	char part[4096];
	size_t n = strlen(path);
	struct stat st;
	int made = 0;

	if (n == 0 || n >= sizeof part) {
		errno = n ? ENAMETOOLONG : ENOENT;
		return -1;
	}
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	memcpy(part, path, n + 1);
	for (size_t i = 1; i <= n; i++) {
		if (part[i] != '/' && part[i] != 0)
			continue;
		part[i] = 0;
		made = file_mkdir(AT_FDCWD, part, mode);
		if (made == -1)
			return -1;
		if (made)
			file_sync_directory_of(part);
		part[i] = path[i];
	}
	return made;
}
