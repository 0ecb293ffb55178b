#include "tests/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void remove_at(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			remove_at(dirfd(d), e->d_name);
	if (d)
		closedir(d);
	if (unlinkat(at, name, 0) == -1)
		unlinkat(at, name, AT_REMOVEDIR);
}

void tree_remove(const char *path)
{
	remove_at(AT_FDCWD, path);
	if (access(path, F_OK) == -1)
		return;
	fprintf(stderr, "%s is still there\n", path);
	abort();
}
