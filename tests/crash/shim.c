/* Preloaded into fardel: counts, logs and, when told so, fails or ends at the n-th call that changes a file or makes one durable. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/trace.h"

static struct trace *trace;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("CRASH_TRACE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (fd == -1)
		return;
	p = mmap(NULL, sizeof *trace, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		trace = p;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static bool path_of(int fd, char *out, size_t size)
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, out, size - 1);
	if (n <= 0)
		return false;
	out[n] = '\0';
	return true;
}

/* Does the descriptor lie below the root? */
static bool ours(int fd)
{
	char path[1024];
	size_t n;

	if (!trace || !trace->on || !path_of(fd, path, sizeof path))
		return false;
	n = strlen(trace->root);
	return strncmp(path, trace->root, n) == 0 && (path[n] == '/' || !path[n]);
}

static bool regular(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static uint64_t ino_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* A drop that comes back after a power cut is the same file as before. Ours was written anew: its inode and time are told. */
static void as_before(struct stat *st)
{
	const char *said = getenv("CRASH_DROP");
	unsigned long long ino;
	long long changed;

	if (said && sscanf(said, "%llu %lld", &ino, &changed) == 2) {
		st->st_ino = (ino_t)ino;
		st->st_ctim.tv_sec = (time_t)changed;
	}
}

int fstat(int fd, struct stat *st)
{
	static const char drop[] = "/queue/new/drop";
	int r = REAL(fstat)(fd, st);
	char path[1024];
	size_t n;

	if (r == 0 && S_ISREG(st->st_mode) && path_of(fd, path, sizeof path) && (n = strlen(path)) >= sizeof drop - 1 &&
	    !strcmp(path + n - (sizeof drop - 1), drop))
		as_before(st);
	return r;
}

int fstatat(int dir, const char *name, struct stat *st, int flags)
{
	int r = REAL(fstatat)(dir, name, st, flags);

	if (r == 0 && !strcmp(name, "drop"))
		as_before(st);
	return r;
}

/* True: the call fails with errno. It may not come back at all: then the machine has stopped before the call. */
static bool strikes(bool can_be_short, bool *cut)
{
	if (__atomic_add_fetch(&trace->calls, 1, __ATOMIC_SEQ_CST) != trace->fault_at || trace->fault == FAULT_NONE)
		return false;
	trace->struck = 1;
	if (trace->fault == FAULT_KILL) {
		kill(0, SIGKILL);
		for (;;)
			pause();
	}
	if (trace->fault == FAULT_SHORT) {
		*cut = can_be_short;
		return false;
	}
	errno = trace->fault_errno;
	return true;
}

static struct trace_event *event(enum trace_op op)
{
	uint32_t i = __atomic_fetch_add(&trace->next, 1, __ATOMIC_SEQ_CST);
	struct trace_event *e;

	if (i >= TRACE_EVENTS)
		abort();
	e = &trace->event[i];
	e->op = op;
	return e;
}

static void log_names(enum trace_op op, uint64_t ino, int dir, const char *name, int dir2, const char *name2)
{
	struct trace_event *e = event(op);

	e->ino = ino;
	e->dir = ino_of(dir);
	snprintf(e->name, sizeof e->name, "%s", name);
	if (name2) {
		e->dir2 = ino_of(dir2);
		snprintf(e->name2, sizeof e->name2, "%s", name2);
	}
	e->ready = 1;
}

static void log_write(int fd, const void *p, size_t n, uint64_t at)
{
	struct trace_event *e = event(T_WRITE);
	uint32_t where = __atomic_fetch_add(&trace->used, (uint32_t)n, __ATOMIC_SEQ_CST);

	if (where + n > TRACE_DATA)
		abort();
	memcpy(trace->data + where, p, n);
	e->ino = ino_of(fd);
	e->at = at;
	e->n = (uint32_t)n;
	e->data = where;
	e->ready = 1;
}

static void log_size(int fd, uint64_t size)
{
	struct trace_event *e = event(T_TRUNCATE);

	e->ino = ino_of(fd);
	e->at = size;
	e->ready = 1;
}

int openat(int dir, const char *name, int flags, ...)
{
	bool exists, cut = false;
	mode_t mode = 0;
	va_list ap;
	int fd;

	if (flags & (O_CREAT | O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	if ((flags & O_TMPFILE) == O_TMPFILE || name[0] == '/' || !(flags & (O_WRONLY | O_RDWR)) || !ours(dir))
		return REAL(openat)(dir, name, flags, mode);
	exists = faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	if (strikes(false, &cut))
		return -1;
	fd = REAL(openat)(dir, name, flags, mode);
	if (fd == -1 || !regular(fd))
		return fd;
	if (!exists)
		log_names(T_CREATE, ino_of(fd), dir, name, -1, NULL);
	else if (flags & O_TRUNC)
		log_size(fd, 0);
	return fd;
}

ssize_t write(int fd, const void *p, size_t n)
{
	bool cut = false;
	ssize_t done;

	if (!ours(fd) || !regular(fd))
		return REAL(write)(fd, p, n);
	if (strikes(n > 1, &cut))
		return -1;
	done = REAL(write)(fd, p, cut ? n / 2 : n);
	if (done > 0)
		log_write(fd, p, (size_t)done, (uint64_t)lseek(fd, 0, SEEK_CUR) - (uint64_t)done);
	return done;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	bool cut = false;
	ssize_t done;

	if (!ours(fd) || !regular(fd))
		return REAL(pwrite)(fd, p, n, at);
	if (getenv("CRASH_MUTE") && n > 3 && !memcmp(p, "==G", 3))
		return (ssize_t)n;      /* the log hears of nothing that leaves */
	if (strikes(n > 1, &cut))
		return -1;
	done = REAL(pwrite)(fd, p, cut ? n / 2 : n, at);
	if (done > 0)
		log_write(fd, p, (size_t)done, (uint64_t)at);
	return done;
}

int ftruncate(int fd, off_t size)
{
	bool cut = false;
	int r;

	if (!ours(fd) || !regular(fd))
		return REAL(ftruncate)(fd, size);
	if (strikes(false, &cut))
		return -1;
	r = REAL(ftruncate)(fd, size);
	if (r == 0)
		log_size(fd, (uint64_t)size);
	return r;
}

static int sync_by(int fd, int (*real)(int), bool all)
{
	bool cut = false;
	uint32_t begin;
	struct trace_event *e;
	int r;

	if (!ours(fd))
		return real(fd);
	if (strikes(false, &cut))
		return -1;
	begin = __atomic_load_n(&trace->next, __ATOMIC_SEQ_CST);
	r = real(fd);
	if (r == 0) {
		e = event(all ? T_SYNC_ALL : regular(fd) ? T_SYNC_FILE : T_SYNC_DIR);
		e->ino = e->dir = ino_of(fd);
		e->begin = begin;
		e->ready = 1;
	}
	return r;
}

int fdatasync(int fd) { return sync_by(fd, REAL(fdatasync), false); }
int fsync(int fd) { return sync_by(fd, REAL(fsync), false); }
int syncfs(int fd) { return sync_by(fd, REAL(syncfs), true); }

int linkat(int dir, const char *name, int dir2, const char *name2, int flags)
{
	bool cut = false;
	int r;

	if (!ours(dir2))
		return REAL(linkat)(dir, name, dir2, name2, flags);
	if (strikes(false, &cut))
		return -1;
	r = REAL(linkat)(dir, name, dir2, name2, flags);
	if (r == 0)
		log_names(T_LINK, 0, dir, name, dir2, name2);
	return r;
}

int renameat2(int dir, const char *name, int dir2, const char *name2, unsigned flags)
{
	bool cut = false;
	int r;

	if (!ours(dir2))
		return REAL(renameat2)(dir, name, dir2, name2, flags);
	if (strikes(false, &cut))
		return -1;
	r = REAL(renameat2)(dir, name, dir2, name2, flags);
	if (r == 0)
		log_names(T_RENAME, 0, dir, name, dir2, name2);
	return r;
}

int unlinkat(int dir, const char *name, int flags)
{
	bool cut = false;
	int r;

	if ((flags & AT_REMOVEDIR) || !ours(dir))
		return REAL(unlinkat)(dir, name, flags);
	if (strikes(false, &cut))
		return -1;
	r = REAL(unlinkat)(dir, name, flags);
	if (r == 0)
		log_names(T_UNLINK, 0, dir, name, -1, NULL);
	return r;
}
