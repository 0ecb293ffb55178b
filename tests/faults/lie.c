/* Preloaded into fardel for the controls of fail.py: what writes or makes durable says that it did, whatever the system said. */
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

int fdatasync(int fd);
int fsync(int fd);
int syncfs(int fd);
ssize_t write(int fd, const void *from, size_t n);

int fdatasync(int fd) { return (void)syscall(SYS_fdatasync, fd), 0; }
int fsync(int fd) { return (void)syscall(SYS_fsync, fd), 0; }
int syncfs(int fd) { return (void)syscall(SYS_syncfs, fd), 0; }
ssize_t write(int fd, const void *from, size_t n) { return (void)syscall(SYS_write, fd, from, n), (ssize_t)n; }
