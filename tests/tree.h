/* Temporary directories of tests. */
#ifndef TESTS_TREE_H
#define TESTS_TREE_H

/* Removes the directory and all that is in it, following no symbolic link; it is gone then, or this process is aborted. */
void tree_remove(const char *path);

#endif
