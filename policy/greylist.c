/* Records of a fixed size at a place that the hash says; a lock for as long as one is changed. */
#include "policy/greylist.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/map.h"
#include "lib/rand.h"

enum { NEIGHBOURS = 8 };                /* places that one hash may have */

struct head {
	char magic[16];
	uint64_t key[2];
};
static const char magic[16] = "FARDEL greylist";

struct record {
	uint64_t id;                    /* 0: nobody's */
	uint32_t first, last;           /* Unix seconds; last is 0 until it has come again in time */
	uint32_t passed;                /* of a network: how many have */
	uint32_t spare;
};

struct greylist {
	int fd;
	uint64_t key[2];
};

struct greylist *greylist_open(int dir, const char *name)
{
	struct greylist *g = calloc(1, sizeof *g);
	struct head h;
	int saved;

	if (!g)
		return NULL;
	g->fd = file_sys.open(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (g->fd == -1 || flock(g->fd, LOCK_EX) == -1)
		goto fail;
	if (file_pread(g->fd, &h, sizeof h, 0) != sizeof h || memcmp(h.magic, magic, sizeof magic) != 0) {
		memcpy(h.magic, magic, sizeof magic);
		rand_bytes(h.key, sizeof h.key);
		if (file_sys.ftruncate(g->fd, 0) == -1 || file_pwrite(g->fd, &h, sizeof h, 0) == -1)
			goto fail;
	}
	flock(g->fd, LOCK_UN);
	memcpy(g->key, h.key, sizeof g->key);
	return g;
fail:
	saved = errno;
	if (g->fd != -1)
		close(g->fd);
	free(g);
	errno = saved;
	return NULL;
}

void greylist_close(struct greylist *g)
{
	if (!g)
		return;
	close(g->fd);
	free(g);
}

/* ---- what is remembered */

struct name {
	unsigned char octet[1024];
	size_t n;
};

static void add(struct name *n, const void *p, size_t size)
{
	if (size > sizeof n->octet - n->n)
		size = sizeof n->octet - n->n;
	if (size)
		memcpy(n->octet + n->n, p, size);
	n->n += size;
}

static void add_network(struct name *n, const struct sockaddr *a)
{
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;

	if (a->sa_family == AF_INET)
		add(n, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 3);
	else if (a->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(six))
		add(n, six->s6_addr + 12, 3);
	else if (a->sa_family == AF_INET6)
		add(n, six->s6_addr, 8);
}

/* In lower case; digits before the @ become one #. */
static void add_address(struct name *n, struct str text, bool digits)
{
	const char *at = text.n ? memrchr(text.p, '@', text.n) : NULL;

	add(n, "", 1);
	for (size_t i = 0; i < text.n; i++) {
		bool digit = !digits && at && text.p + i < at && ascii_digit(text.p[i]);
		char c = digit ? '#' : ascii_lower(text.p[i]);

		if (!digit || i == 0 || !ascii_digit(text.p[i - 1]))
			add(n, &c, 1);
	}
}

static uint64_t id_of(const struct greylist *g, const struct name *n)
{
	uint64_t id = siphash(g->key, n->octet, n->n);

	return id ? id : 1;
}

/* ---- records */

static bool stale(const struct record *r, int64_t now, int64_t window)
{
	int64_t last = r->last ? r->last : r->first;

	return !r->id || now < last || now - last > (r->last ? GREYLIST_KEEP_S : window);
}

/* Worth less than another: it has not come again, or has been quiet for longer. */
static bool less(const struct record *a, const struct record *b)
{
	if (!a->last != !b->last)
		return !a->last;
	return (a->last ? a->last : a->first) < (b->last ? b->last : b->first);
}

/* The record of an id, or the one that makes place for it. False: the file cannot be read. */
static bool find(const struct greylist *g, uint64_t id, int64_t now, int64_t window, struct record *out, off_t *at)
{
	struct record r[NEIGHBOURS] = { 0 };
	size_t pick = 0;

	*at = (off_t)(sizeof(struct head) + id % (GREYLIST_RECORDS / NEIGHBOURS) * sizeof r);
	if (file_pread(g->fd, r, sizeof r, *at) < 0)
		return false;
	for (size_t i = 0; i < NEIGHBOURS; i++) {
		if (r[i].id == id) {
			pick = i;
			break;
		}
		if (stale(&r[i], now, window))
			r[i] = (struct record){ 0 };
		if (less(&r[i], &r[pick]))
			pick = i;
	}
	if (r[pick].id != id || stale(&r[pick], now, window))
		r[pick] = (struct record){ .id = id, .first = (uint32_t)now };
	*out = r[pick];
	*at += (off_t)(pick * sizeof r[0]);
	return true;
}

/* The network is known from now on, or on the way to it. */
static void passes(const struct greylist *g, uint64_t network, bool counts, int64_t now, int64_t window)
{
	struct record r;
	off_t at;

	if (!find(g, network, now, window, &r, &at))
		return;
	r.last = (uint32_t)now;
	r.passed += counts && r.passed < GREYLIST_KNOWN;
	file_pwrite(g->fd, &r, sizeof r, at);
}

static int64_t ask(const struct greylist *g, uint64_t network, uint64_t id, int64_t delay, int64_t window, int64_t now)
{
	struct record r;
	bool first;
	off_t at;

	if (!find(g, network, now, window, &r, &at))
		return 0;
	if (r.passed >= GREYLIST_KNOWN) {
		passes(g, network, false, now, window);
		return 0;
	}
	if (!find(g, id, now, window, &r, &at))
		return 0;
	first = !r.last;
	if (first && now - r.first < delay)
		return file_pwrite(g->fd, &r, sizeof r, at) == 0 ? r.first + delay - now : 0;
	r.last = (uint32_t)now;
	file_pwrite(g->fd, &r, sizeof r, at);
	if (first)
		passes(g, network, true, now, window);
	return 0;
}

int64_t greylist_ask(struct greylist *g, const struct sockaddr *a, struct str sender, struct str rcpt, int64_t delay, int64_t window, int64_t now)
{
	struct name n = { 0 };
	uint64_t network, id;
	int64_t wait;

	add_network(&n, a);
	if (!n.n)
		return 0;
	network = id_of(g, &n);
	add_address(&n, sender, false);
	add_address(&n, rcpt, true);
	id = id_of(g, &n);
	if (flock(g->fd, LOCK_EX) == -1)
		return 0;
	wait = ask(g, network, id, delay, window, now);
	flock(g->fd, LOCK_UN);
	return wait;
}
