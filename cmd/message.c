/* Reading a message from a file, for commands that look at one. */
#include "cmd/message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mime/transfer.h"
#include "policy/arc.h"

enum { BLOCK = 65536 };

static int open_message(const char *file) { return strcmp(file, "-") ? open(file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO; }

int message_read(const char *file, bool (*take)(void *arg, struct str), void *arg)
{
	static char block[BLOCK];
	struct crlf ends = { 0 };
	struct buf out = { 0 };
	int fd = open_message(file), saved;
	ssize_t n = -1;
	bool ok = fd != -1;

	errno = ok ? 0 : errno;
	while (ok && (n = read(fd, block, sizeof block)) != 0) {
		if (n == -1 && errno == EINTR)
			continue;
		ok = n > 0 && crlf_add(&ends, block, (size_t)n, &out) && take(arg, buf_view(&out));
		buf_clear(&out);
	}
	ok = ok && crlf_end(&ends, &out) && take(arg, buf_view(&out));
	saved = n == -1 && errno ? errno : ENOMEM;
	buf_free(&out);
	if (fd != -1 && fd != STDIN_FILENO)
		close(fd);
	errno = saved;
	return ok ? 0 : -1;
}

void message_print_arc(const struct arc *a, const char *head)
{
	const char *why;
	enum arc_result r = a ? arc_result(a, &why) : ARC_UNKNOWN;

	if (!a)
		return;
	printf("%s%s: %s", head, arc_name(r), why);
	for (size_t i = arc_sets(a); i > 0; i--)
		printf("%s%s", i == arc_sets(a) ? "; sealed by " : ", before by ", arc_sealer(a, i));
	putchar('\n');
}
