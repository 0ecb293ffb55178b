/* Preloaded into fardel for the control of cut.py: what should make mail durable says that it did, and does nothing. */
#include <unistd.h>

int fdatasync(int fd);
int fsync(int fd);
int syncfs(int fd);

int fdatasync(int fd) { return (void)fd, 0; }
int fsync(int fd) { return (void)fd, 0; }
int syncfs(int fd) { return (void)fd, 0; }
