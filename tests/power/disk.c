/*
 * A disk that keeps everything written to it, in order, for cut.py: disk DIRECTORY OCTETS IMAGE RECORD
 * Below DIRECTORY are two files: `disk`, for a loop device to stand on, and `mark`; a line written into that stands in the record among the
 * disk's writes and flushes. One thread, so the order in the record is that in which they were done.
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum op { OP_WRITE = 1, OP_FLUSH, OP_MARK };

/* as cut.py reads it */
struct record {
	uint32_t op, n;         /* n octets follow */
	uint64_t at, ns;        /* where on the disk, and when */
};

static off_t size;
static char *image;
static int record_fd;

static void keep(enum op op, const void *data, size_t n, off_t at)
{
	struct timespec now;
	struct record r = { .op = op, .n = (uint32_t)n, .at = (uint64_t)at };

	clock_gettime(CLOCK_MONOTONIC, &now);
	r.ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (write(record_fd, &r, sizeof r) == sizeof r && (n == 0 || write(record_fd, data, n) == (ssize_t)n))
		return;
	perror("disk: the record");
	exit(1);
}

static int disk_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	memset(st, 0, sizeof *st);
	st->st_nlink = 1;
	st->st_mode = S_IFREG | 0600;
	if (strcmp(path, "/") == 0)
		st->st_mode = S_IFDIR | 0755;
	else if (strcmp(path, "/disk") == 0)
		st->st_size = size;
	else if (strcmp(path, "/mark") != 0)
		return -ENOENT;
	return 0;
}

static int disk_open(const char *path, struct fuse_file_info *fi)
{
	fi->direct_io = strcmp(path, "/mark") == 0;
	return 0;
}

static int disk_read(const char *path, char *to, size_t n, off_t at, struct fuse_file_info *fi)
{
	(void)fi;
	if (strcmp(path, "/disk") != 0 || at >= size)
		return 0;
	if ((off_t)n > size - at)
		n = (size_t)(size - at);
	memcpy(to, image + at, n);
	return (int)n;
}

static int disk_write(const char *path, const char *from, size_t n, off_t at, struct fuse_file_info *fi)
{
	(void)fi;
	if (strcmp(path, "/disk") != 0) {
		keep(OP_MARK, from, n, 0);
		return (int)n;
	}
	if (at > size || (off_t)n > size - at)
		return -ENOSPC;
	memcpy(image + at, from, n);
	keep(OP_WRITE, from, n, at);
	return (int)n;
}

static int disk_fsync(const char *path, int data_alone, struct fuse_file_info *fi)
{
	(void)data_alone, (void)fi;
	if (strcmp(path, "/disk") == 0)
		keep(OP_FLUSH, NULL, 0, 0);
	return 0;
}

static int disk_truncate(const char *path, off_t n, struct fuse_file_info *fi)
{
	(void)path, (void)n, (void)fi;
	return 0;
}

int main(int argc, char **argv)
{
	static const struct fuse_operations ops = { .getattr = disk_getattr, .open = disk_open, .read = disk_read, .write = disk_write,
		.fsync = disk_fsync, .truncate = disk_truncate };
	char foreground[] = "-f", one_thread[] = "-s";
	int fd;

	if (argc != 5 || (size = (off_t)atoll(argv[2])) <= 0) {
		fprintf(stderr, "disk: say disk DIRECTORY OCTETS IMAGE RECORD\n");
		return 2;
	}
	fd = open(argv[3], O_RDWR);
	record_fd = open(argv[4], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	image = fd == -1 ? MAP_FAILED : mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (image == MAP_FAILED || record_fd == -1) {
		perror("disk");
		return 1;
	}
	return fuse_main(4, ((char *[]){ argv[0], foreground, one_thread, argv[1], NULL }), &ops, NULL);
}
