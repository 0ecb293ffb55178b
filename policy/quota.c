/* Records of a fixed size at a place that the name's hash says; a lock for as long as one is changed. */
#include "policy/quota.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/hash.h"

enum { NEIGHBOURS = 8 };                /* places that one name may have */

struct record {
	uint64_t key;
	int32_t day;                    /* since 1970 */
	uint32_t count;
};

int quota_open(int dir, const char *name)
{
	return file_sys.open(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
}

static uint64_t key_of(struct str user)
{
	unsigned char out[HASH_MAX];
	uint64_t key = 0;

	hash_of(HASH_SHA256, user, out);
	for (int i = 0; i < 8; i++)
		key = key << 8 | out[i];
	return key ? key : 1;
}

/* The user's record of today, or the one that makes place for it. */
static size_t find(struct record r[NEIGHBOURS], uint64_t key, int32_t day)
{
	size_t oldest = 0;

	for (size_t i = 0; i < NEIGHBOURS; i++) {
		if (r[i].key == key)
			return i;
		if (!r[i].key || (r[oldest].key && (r[i].day < r[oldest].day || (r[i].day == r[oldest].day && r[i].count < r[oldest].count))))
			oldest = r[oldest].key ? i : oldest;
	}
	r[oldest] = (struct record){ .key = key, .day = day };
	return oldest;
}

bool quota_take(int fd, struct str user, unsigned max, int64_t now)
{
	struct record r[NEIGHBOURS] = { 0 };
	uint64_t key = key_of(user);
	int32_t day = (int32_t)(now / 86400);
	off_t at = (off_t)(key % (QUOTA_USERS / NEIGHBOURS) * sizeof r);
	bool ok = true;
	size_t i;

	if (fd == -1 || flock(fd, LOCK_EX) == -1)
		return true;
	if (file_pread(fd, r, sizeof r, at) >= 0) {
		i = find(r, key, day);
		if (r[i].day != day)
			r[i] = (struct record){ .key = key, .day = day };
		ok = r[i].count < max;
		r[i].count += ok;
		if (ok)
			file_pwrite(fd, &r[i], sizeof r[i], at + (off_t)(i * sizeof r[i]));
	}
	flock(fd, LOCK_UN);
	return ok;
}
