/* Records of a fixed size at a place that the domain's hash says. One process writes. */
#include "deliver/tlsseen.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/hash.h"

enum { NEIGHBOURS = 8, DAY = 86400 };   /* places that one domain may have */

struct seen {
	uint64_t key;                   /* of the domain; 0: empty */
	int32_t tls, clear;             /* days since 1970 */
};

static int file = -1;

int tlsseen_start(int dir, const char *name, bool writable)
{
	file = file_sys.open(dir, name, (writable ? O_RDWR | O_CREAT : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC, 0600);
	return file == -1 ? -1 : 0;
}

void tlsseen_stop(void)
{
	if (file != -1)
		close(file);
	file = -1;
}

static uint64_t key_of(struct str domain)
{
	char lower[256];
	unsigned char out[HASH_MAX];
	uint64_t key = 0;
	size_t n = domain.n < sizeof lower ? domain.n : sizeof lower;

	for (size_t i = 0; i < n; i++)
		lower[i] = ascii_lower(domain.p[i]);
	hash_of(HASH_SHA256, (struct str){ lower, n }, out);
	for (int i = 0; i < 8; i++)
		key = key << 8 | out[i];
	return key ? key : 1;
}

static off_t place_of(uint64_t key) { return (off_t)(key % (TLSSEEN_DOMAINS / NEIGHBOURS) * NEIGHBOURS * sizeof(struct seen)); }

/* The neighbours as they are on disk; what is not there is empty. NULL: the domain is none of them. */
static struct seen *find(uint64_t key, struct seen r[NEIGHBOURS])
{
	ssize_t n;

	memset(r, 0, NEIGHBOURS * sizeof *r);
	n = file == -1 ? -1 : file_pread(file, r, NEIGHBOURS * sizeof *r, place_of(key));
	if (n < 0)
		return NULL;
	for (size_t i = 0; i < NEIGHBOURS; i++)
		if (r[i].key == key)
			return &r[i];
	return NULL;
}

/* A record that cannot be written is one less that is known. */
static void put(uint64_t key, const struct seen r[NEIGHBOURS], const struct seen *one)
{
	file_pwrite(file, one, sizeof *one, place_of(key) + (off_t)((size_t)(one - r) * sizeof *one));
}

static int32_t last_of(const struct seen *s) { return s->tls > s->clear ? s->tls : s->clear; }

void tlsseen_note(struct str domain, int64_t now)
{
	struct seen r[NEIGHBOURS], *mine;
	uint64_t key = key_of(domain);
	int32_t day = (int32_t)(now / DAY);

	mine = find(key, r);
	if (file == -1 || (mine && mine->tls == day))
		return;
	if (!mine) {
		mine = &r[0];
		for (size_t i = 1; i < NEIGHBOURS; i++)
			if (mine->key && (!r[i].key || last_of(&r[i]) < last_of(mine)))
				mine = &r[i];
	}
	*mine = (struct seen){ .key = key, .tls = day };
	put(key, r, mine);
}

int64_t tlsseen_lost(struct str domain, int64_t now)
{
	struct seen r[NEIGHBOURS], *mine;
	uint64_t key = key_of(domain);
	int32_t day = (int32_t)(now / DAY);

	mine = find(key, r);
	if (!mine || mine->clear == day)
		return 0;
	mine->clear = day;
	put(key, r, mine);
	return (int64_t)mine->tls * DAY;
}

bool tlsseen_look(struct str domain, struct tlsseen *out)
{
	struct seen r[NEIGHBOURS], *mine = find(key_of(domain), r);

	*out = mine ? (struct tlsseen){ (int64_t)mine->tls * DAY, (int64_t)mine->clear * DAY } : (struct tlsseen){ 0, 0 };
	return mine;
}
