/* Room on the disk: looked at now and then, so that new mail is put off before there is none for what is here already. */
#include <stdio.h>

#include "lib/file.h"
#include "lib/log.h"
#include "parse.h"
#include "queue/inside.h"

enum {
	LOOK_EVERY_MS = 2000,
	INODES = 1000,                  /* kept free, too */
	SHARE = 10                      /* neither reserve is more than this part of the file system */
};

static struct {
	bool asked, known, low;
	msec looked;
	uint64_t written;               /* since then */
	struct file_space at;
} space;

static uint64_t octets_reserved(void)
{
	uint64_t most = space.at.octets_all / SHARE;

	return queue.conf.reserve < most ? queue.conf.reserve : most;
}

/* File systems that make inodes as they need them say that there are none at all, or none left; one that has none left refuses
 * the next file by itself. */
static bool inodes_short(void)
{
	uint64_t most = space.at.inodes_all / SHARE;

	return space.at.inodes && space.at.inodes < (INODES < most ? INODES : most);
}

static uint64_t octets_free(void)
{
	return space.at.octets > space.written ? space.at.octets - space.written : 0;
}

static void look(void)
{
	uint64_t reserved;
	bool low;

	if (space.asked && loop_now() - space.looked < LOOK_EVERY_MS)
		return;
	space.asked = true;
	space.looked = loop_now();
	space.written = 0;
	space.known = file_sys.space(queue.dir, &space.at) == 0 && space.at.octets_all;
	if (!space.known) {
		space.low = false;
		return;
	}
	reserved = octets_reserved();
	/* What is low stays so until there is a little more: one message must not make the difference, and a line in the log each. */
	low = inodes_short() || octets_free() < reserved + (space.low ? reserved / 8 : 0);
	if (low != space.low && low)
		log_text(LOG_WARN, "disk-low", "%s has %llu MB and %llu inodes left: no new mail is taken (queue_reserve), what is here is sent. Make room",
			queue.conf.dir, (unsigned long long)(space.at.octets >> 20), (unsigned long long)space.at.inodes);
	else if (low != space.low)
		log_text(LOG_INFO, "disk-ok", "%s has %llu MB left: mail is taken again", queue.conf.dir, (unsigned long long)(space.at.octets >> 20));
	space.low = low;
}

bool space_left(uint64_t octets)
{
	if (!queue.conf.reserve)
		return true;
	look();
	return !space.known || (!space.low && octets_free() >= octets && octets_free() - octets >= octets_reserved());
}

bool queue_room(uint64_t octets, struct reply *why)
{
	if (!queue.open || space_left(octets))
		return true;
	reply_set(why, 452, "4.3.1", "not enough room on the disk now, try again later");
	return false;
}

void space_used(uint64_t octets) { space.written += octets; }

void space_forget(void)
{
	space.asked = space.known = space.low = false;
	space.written = 0;
}
