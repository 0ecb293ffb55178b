/* Whatever a local program writes: it becomes a message whose form is right, or is refused with words. The first octet chooses how it came. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cmd/submit.h"
#include "lib/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char dir[] = "/tmp/fardel-fuzz.XXXXXX";

static void leave(void)
{
	char command[sizeof dir + 16];

	queue_close();
	snprintf(command, sizeof command, "rm -rf %s", dir);
	if (system(command) != 0)
		fprintf(stderr, "%s stays\n", dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct queue_config q = { .dir = dir, .inline_sync = true, .message_size = 1 << 20 };
	char why[512];

	(void)argc;
	(void)argv;
	if (!mkdtemp(dir) || queue_open(&q, why, sizeof why) == -1)
		abort();
	atexit(leave);
	return 0;
}

/* What stays in work/ would fill the disk: the draft is looked at through its size and thrown away. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	unsigned how = n ? data[0] : 0;
	struct submit_config c = {
		.hostname = "host.test", .origin = "origin.test", .user = "anna", .uid = 1000, .how = "fuzz", .header_rcpts = true,
		.dot_ends = how & 1, .envelope_lines = how & 2, .full_name = how & 4 ? "A \"B\"" : NULL, .message_size = 1 << 20,
	};
	int fd = memfd_create("text", MFD_CLOEXEC);
	struct submission *s;
	struct draft *d;
	enum verdict v;

	if (fd == -1 || (n > 1 && file_write(fd, data + 1, n - 1) == -1) || lseek(fd, 0, SEEK_SET) == -1 || !(s = submit_open(&c, fd)))
		abort();
	while ((v = submit_step(s)) == WAIT)
		;
	if (v == REFUSE && (!*submit_why(s) || !submit_status(s)))
		abort();
	if (v == ACCEPT) {
		if (!(d = submit_draft(s)) || draft_size(d) < 100)
			abort();
		draft_abort(d);
	}
	submit_close(s);
	close(fd);
	return 0;
}
