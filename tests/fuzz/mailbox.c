/* What is asked of a user's child, by somebody who has taken over the program that asks: nothing that is believed to be sane has text without
 * an end, a name that is no user's, or a place before the beginning of the message; and what it names is found, or is not. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/mailbox.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct account anna = { .name = "anna", .uid = 12345, .gid = 12345, .home = "/nonexistent/anna" };
	static const struct maildir_config c = { .template = "~/Maildir/", .hostname = "mail.example.org", .separator = '+', .detail_folders = true, .pipes = true,
		.pipe_user = "ben", .aliases = "/nonexistent/aliases" };

	(void)argc;
	(void)argv;
	mailbox_configure(&c);
	mailbox_become(&anna);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf text = { 0 };
	struct work_result a;
	static union work_room room;
	const struct work *q = &room.work;

	memset(&room, 0, sizeof room);
	if (n > sizeof room)
		return 0;
	memcpy(&room, data, n);
	if (!mailbox_is_work(q, n < sizeof *q ? sizeof *q : n, -1))
		return 0;
	must(strlen(q->user) <= LOCAL_MAX && !strchr(q->user, '/') && q->own <= q->size);
	if (q->kind != WORK_OWNER)              /* that one is for our own helper, and asks the system */
		must(mailbox_work(q, -1, NULL, &a, &text));
	buf_free(&text);
	return 0;
}
