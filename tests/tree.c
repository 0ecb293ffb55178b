#include "tests/tree.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
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
	ck_assert_msg(access(path, F_OK) == -1, "%s is still there", path);
}
