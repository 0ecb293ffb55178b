/* Counts of address classes and users, in one table of records that never grows past its ceiling. */
#include "policy/limits.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "lib/map.h"
#include "lib/rand.h"

/* What is counted within windows of time. */
enum rate { RATE_CONNECT, RATE_REFUSED, RATE_LOGIN, RATE_LOGIN_DAY, RATES };

static const struct rule {
	uint32_t window;                /* seconds, from the first that is counted */
	unsigned most;                  /* 0: the caller says */
} rules[RATES] = {
	[RATE_CONNECT] = { 60, 0 },
	[RATE_REFUSED] = { 3600, LIMIT_REFUSED },
	[RATE_LOGIN] = { 60, LIMIT_LOGINS },
	[RATE_LOGIN_DAY] = { 86400, LIMIT_LOGINS_DAY },
};
static const unsigned times[LIMIT_CLASSES] = { 1, 3, 9 };
enum {
	KNOWN_FOR = 30 * 86400,         /* a login is remembered so long */
	RATE_KNOWN = RATE_REFUSED       /* of a user at an address: `since` is when he logged in there */
};

/* A network, a user, a recipient or a domain. Records are named by their place; 0 is none. One with open connections is never given up, so
 * its place stays its own. */
struct record {
	uint64_t id;
	uint32_t chain;                 /* the next with this slot */
	uint32_t older, newer;          /* by when it was last used; one with open connections is in no such list */
	uint32_t open;
	struct count {
		uint32_t since, n;
	} count[RATES];
};

struct limits {
	uint64_t key[2];
	size_t ceiling, room, n;        /* places 1 .. n are in use */
	size_t slots;                   /* a power of two, at least room */
	uint32_t *slot;
	struct record *at;
	uint32_t oldest, newest;
};

enum { FIRST_ROOM = 64 };

/* ---- names */

/* What a record stands for, as octets: they are hashed under our key and not kept. */
enum what { NETWORK = 1, USER, USER_AT, RCPT, DOMAIN };

struct name {
	unsigned char octet[2 + 16 + 256];
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

/* False: no internet address. */
static bool add_network(struct name *out, const struct sockaddr *a, unsigned class)
{
	static const unsigned char bits4[LIMIT_CLASSES] = { 32, 26, 21 }, bits6[LIMIT_CLASSES] = { 64, 48, 32 };
	unsigned char addr[16] = { 0 }, bits;
	const struct in6_addr *six;

	if (!a || (a->sa_family != AF_INET && a->sa_family != AF_INET6))
		return false;
	six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
	if (a->sa_family == AF_INET) {
		memcpy(addr, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
		bits = bits4[class];
	} else if (IN6_IS_ADDR_V4MAPPED(six)) {
		memcpy(addr, six->s6_addr + 12, 4);
		bits = bits4[class];
	} else {
		memcpy(addr, six, 16);
		bits = bits6[class];
	}
	if (bits % 8)
		addr[bits / 8] &= (unsigned char)(0xff << (8 - bits % 8));
	memset(addr + (bits + 7) / 8, 0, sizeof addr - (bits + 7) / 8);
	add(out, &bits, 1);             /* no two classes share their number of bits, and so no family either... */
	add(out, a->sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(six) ? "6" : "4", 1);        /* ...but for /32 */
	add(out, addr, sizeof addr);
	return true;
}

static uint64_t id_of(const struct limits *l, const struct name *n)
{
	uint64_t id = siphash(l->key, n->octet, n->n);

	return id ? id : 1;
}

/* 0: not counted. */
static uint64_t network_id(const struct limits *l, const struct sockaddr *a, unsigned class)
{
	struct name n = { .octet = { NETWORK }, .n = 1 };

	return add_network(&n, a, class) ? id_of(l, &n) : 0;
}

static uint64_t user_id(const struct limits *l, struct str user)
{
	struct name n = { .octet = { USER }, .n = 1 };

	add(&n, user.p, user.n);
	return id_of(l, &n);
}

static uint64_t user_at_id(const struct limits *l, const struct sockaddr *a, struct str user)
{
	struct name n = { .octet = { USER_AT }, .n = 1 };

	if (!add_network(&n, a, 0))
		return 0;
	add(&n, user.p, user.n);
	return id_of(l, &n);
}

/* ---- records */

static uint32_t *slot_of(const struct limits *l, uint64_t id) { return &l->slot[id & (l->slots - 1)]; }

static struct record *find(const struct limits *l, uint64_t id)
{
	for (uint32_t i = l->slots ? *slot_of(l, id) : 0; i; i = l->at[i].chain)
		if (l->at[i].id == id)
			return &l->at[i];
	return NULL;
}

static void unlink_age(struct limits *l, struct record *r)
{
	*(r->older ? &l->at[r->older].newer : &l->oldest) = r->newer;
	*(r->newer ? &l->at[r->newer].older : &l->newest) = r->older;
	r->older = r->newer = 0;
}

static void make_newest(struct limits *l, struct record *r)
{
	uint32_t i = (uint32_t)(r - l->at);

	r->older = l->newest;
	*(l->newest ? &l->at[l->newest].newer : &l->oldest) = i;
	l->newest = i;
}

static void link_chain(struct limits *l, struct record *r)
{
	r->chain = *slot_of(l, r->id);
	*slot_of(l, r->id) = (uint32_t)(r - l->at);
}

static void unlink_chain(struct limits *l, const struct record *r)
{
	uint32_t *at = slot_of(l, r->id);

	while (*at != (uint32_t)(r - l->at))
		at = &l->at[*at].chain;
	*at = r->chain;
}

static bool grow(struct limits *l)
{
	size_t room = l->room ? 2 * l->room : FIRST_ROOM, slots = 1;
	struct record *at;
	uint32_t *slot;

	if (room > l->ceiling)
		room = l->ceiling;
	if (room <= l->n)
		return false;
	while (slots < room)
		slots *= 2;
	at = realloc(l->at, (room + 1) * sizeof *at);
	if (!at)
		return false;
	l->at = at;
	slot = calloc(slots, sizeof *slot);
	if (!slot)
		return false;
	free(l->slot);
	l->slot = slot;
	l->slots = slots;
	l->room = room;
	for (size_t i = 1; i <= l->n; i++)
		link_chain(l, &l->at[i]);
	return true;
}

/* The place of what was quiet longest; NULL: every one is held. */
static struct record *reuse(struct limits *l)
{
	struct record *r = l->oldest ? &l->at[l->oldest] : NULL;

	if (r) {
		unlink_age(l, r);
		unlink_chain(l, r);
	}
	return r;
}

/* The record of an id, made when it is not there; the newest from now on. Others may have moved in memory, not in place. NULL: no memory. */
static struct record *get(struct limits *l, uint64_t id)
{
	struct record *r = find(l, id);

	if (r && r->open)
		return r;
	if (r) {
		unlink_age(l, r);
		make_newest(l, r);
		return r;
	}
	if (l->n < l->room || grow(l))
		r = &l->at[++l->n];
	else if (!(r = reuse(l)))
		return NULL;
	*r = (struct record){ .id = id };
	link_chain(l, r);
	make_newest(l, r);
	return r;
}

/* ---- counting */

static unsigned counted(const struct record *r, enum rate rate, int64_t now)
{
	return (uint32_t)now - r->count[rate].since < rules[rate].window ? r->count[rate].n : 0;
}

static void count(struct record *r, enum rate rate, int64_t now)
{
	if (!counted(r, rate, now))
		r->count[rate] = (struct count){ .since = (uint32_t)now };
	if (r->count[rate].n < UINT32_MAX)
		r->count[rate].n++;
}

/* Another one would be one too many. Nothing is made for who only asks. */
static bool full(const struct limits *l, uint64_t id, enum rate rate, unsigned most, int64_t now)
{
	const struct record *r = id ? find(l, id) : NULL;

	return r && most && counted(r, rate, now) >= most;
}

static bool class_full(const struct limits *l, const struct sockaddr *a, enum rate rate, unsigned most, int64_t now)
{
	for (unsigned c = 0; c < LIMIT_CLASSES; c++)
		if (full(l, network_id(l, a, c), rate, most * times[c], now))
			return true;
	return false;
}

static void class_count(struct limits *l, const struct sockaddr *a, enum rate rate, int64_t now)
{
	for (unsigned c = 0; c < LIMIT_CLASSES; c++) {
		uint64_t id = network_id(l, a, c);
		struct record *r = id ? get(l, id) : NULL;

		if (r)
			count(r, rate, now);
	}
}

/* ---- connections */

static const char *shut_out(const struct limits *l, const struct limits_most *most, const struct sockaddr *a, int64_t now)
{
	for (unsigned c = 0; most->open && c < LIMIT_CLASSES; c++) {
		uint64_t id = network_id(l, a, c);
		const struct record *r = id ? find(l, id) : NULL;

		if (r && r->open >= most->open * times[c])
			return c ? "Too many sessions from your network" : "Too many sessions from your address";
	}
	if (class_full(l, a, RATE_CONNECT, most->connects, now))
		return "Too many connections from your network, try again in a minute";
	if (class_full(l, a, RATE_REFUSED, rules[RATE_REFUSED].most, now))
		return "Too many refused recipients from your network, try again in an hour";
	return NULL;
}

const char *limits_enter(struct limits *l, const struct limits_most *most, const struct sockaddr *a, int64_t now, struct limits_visit *v)
{
	const char *why = shut_out(l, most, a, now);

	*v = (struct limits_visit){ 0 };
	for (unsigned c = 0; !why && c < LIMIT_CLASSES; c++) {
		uint64_t id = network_id(l, a, c);
		struct record *r = id ? get(l, id) : NULL;

		if (!r && id)
			why = "Too many sessions to count another";
		if (!r)
			continue;
		v->record[c] = (uint32_t)(r - l->at);
		if (!r->open++)
			unlink_age(l, r);
		if (most->connects)
			count(r, RATE_CONNECT, now);
	}
	if (why)
		limits_leave(l, v);
	return why;
}

void limits_leave(struct limits *l, struct limits_visit *v)
{
	for (unsigned c = 0; c < LIMIT_CLASSES; c++) {
		struct record *r = v->record[c] ? &l->at[v->record[c]] : NULL;

		if (r && !--r->open)
			make_newest(l, r);
	}
	*v = (struct limits_visit){ 0 };
}

/* ---- recipients */

bool limits_refused(struct limits *l, const struct sockaddr *a, int64_t now)
{
	class_count(l, a, RATE_REFUSED, now);
	return !class_full(l, a, RATE_REFUSED, rules[RATE_REFUSED].most, now);
}

void limits_taken(struct limits *l, const struct sockaddr *a)
{
	uint64_t id = network_id(l, a, 0);
	struct record *r = id ? find(l, id) : NULL;

	if (r)
		r->count[RATE_REFUSED].n = 0;
}

bool limits_take(struct limits *l, enum limit_what what, struct str name, unsigned most, int64_t now)
{
	struct name n = { .octet = { what == LIMIT_RCPT ? RCPT : DOMAIN }, .n = 1 };
	const enum rate rate = RATE_REFUSED;    /* of a recipient or a domain it counts messages */
	struct record *r;
	uint64_t id;

	add(&n, name.p, name.n);
	id = id_of(l, &n);
	if (full(l, id, rate, most, now))
		return false;
	r = get(l, id);
	if (r)
		count(r, rate, now);
	return true;
}

/* ---- logins */

/* The record of a user where he has logged in before, or NULL. */
static struct record *known_at(const struct limits *l, const struct sockaddr *a, struct str user, int64_t now)
{
	uint64_t id = user_at_id(l, a, user);
	struct record *r = id ? find(l, id) : NULL;

	return r && r->count[RATE_KNOWN].n && (uint32_t)now - r->count[RATE_KNOWN].since < KNOWN_FOR ? r : NULL;
}

static bool known_may(const struct record *r, int64_t now)
{
	return counted(r, RATE_LOGIN, now) < LIMIT_LOGINS && counted(r, RATE_LOGIN_DAY, now) < LIMIT_LOGINS_DAY * LIMIT_LOGINS_KNOWN;
}

bool limits_login_allowed(struct limits *l, const struct sockaddr *a, struct str user, int64_t now)
{
	const struct record *known = known_at(l, a, user, now);

	if (known)
		return known_may(known, now);
	for (enum rate rate = RATE_LOGIN; rate <= RATE_LOGIN_DAY; rate++)
		if (class_full(l, a, rate, rules[rate].most, now) || full(l, user_id(l, user), rate, rules[rate].most * LIMIT_LOGINS_USER, now))
			return false;
	return true;
}

void limits_login_failed(struct limits *l, const struct sockaddr *a, struct str user, int64_t now)
{
	struct record *known = known_at(l, a, user, now);

	for (enum rate rate = RATE_LOGIN; rate <= RATE_LOGIN_DAY; rate++) {
		struct record *r = known ? known : get(l, user_id(l, user));

		if (r)
			count(r, rate, now);
		if (!known)
			class_count(l, a, rate, now);
	}
}

void limits_login_ok(struct limits *l, const struct sockaddr *a, struct str user, int64_t now)
{
	uint64_t at = user_at_id(l, a, user), own = network_id(l, a, 0);
	struct record *r = own ? find(l, own) : NULL;

	if (r)
		r->count[RATE_LOGIN].n = r->count[RATE_LOGIN_DAY].n = 0;
	r = at ? get(l, at) : NULL;
	if (r) {
		r->count[RATE_LOGIN].n = r->count[RATE_LOGIN_DAY].n = 0;
		r->count[RATE_KNOWN] = (struct count){ .since = (uint32_t)now, .n = 1 };
	}
}

/* ---- beginning and end */

struct limits *limits_new(size_t records)
{
	struct limits *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	rand_bytes(l->key, sizeof l->key);
	l->ceiling = records < FIRST_ROOM ? FIRST_ROOM : records;
	return l;
}

void limits_free(struct limits *l)
{
	if (!l)
		return;
	free(l->slot);
	free(l->at);
	free(l);
}

size_t limits_records(const struct limits *l) { return l->n; }

/* ---- from one run to the next */

static const char magic[16] = "FARDEL limits 1";

struct head {
	char magic[16];
	uint64_t key[2];
	int64_t wall;
	uint64_t n, sum;                /* records, and what they hash to */
};
struct stored {
	uint64_t id;
	struct { uint32_t age, n; } count[RATES];
};

/* False: it says nothing any more. */
static bool store(const struct record *r, int64_t now, struct stored *s)
{
	bool counts = false;

	*s = (struct stored){ .id = r->id };
	for (enum rate rate = 0; rate < RATES; rate++) {
		uint32_t age = (uint32_t)now - r->count[rate].since;

		if (!r->count[rate].n || age >= KNOWN_FOR)
			continue;
		s->count[rate].age = age;
		s->count[rate].n = r->count[rate].n;
		counts = true;
	}
	return counts;
}

static bool add_stored(struct buf *out, const struct record *r, int64_t now)
{
	struct stored s;

	return !store(r, now, &s) || buf_add(out, &s, sizeof s);
}

bool limits_print(const struct limits *l, int64_t now, int64_t wall, struct buf *out)
{
	struct head h = { .key = { l->key[0], l->key[1] }, .wall = wall };
	size_t at = out->n;

	memcpy(h.magic, magic, sizeof magic);
	if (!buf_add(out, &h, sizeof h))
		return false;
	for (uint32_t i = l->oldest; i; i = l->at[i].newer)
		if (!add_stored(out, &l->at[i], now))
			return false;
	for (size_t i = 1; i <= l->n; i++)
		if (l->at[i].open && !add_stored(out, &l->at[i], now))
			return false;
	h.n = (out->n - at - sizeof h) / sizeof(struct stored);
	h.sum = siphash(h.key, out->p + at + sizeof h, out->n - at - sizeof h);
	memcpy(out->p + at, &h, sizeof h);
	return true;
}

bool limits_read(struct limits *l, struct str octets, int64_t now, int64_t wall)
{
	struct head h;
	uint32_t since;

	if (octets.n < sizeof h || l->n)
		return false;
	memcpy(&h, octets.p, sizeof h);
	octets = str_from(octets, sizeof h);
	if (memcmp(h.magic, magic, sizeof magic) != 0 || h.n > octets.n / sizeof(struct stored) || octets.n != h.n * sizeof(struct stored) ||
	    siphash(h.key, octets.p, octets.n) != h.sum)
		return false;
	memcpy(l->key, h.key, sizeof l->key);
	if (wall - h.wall >= KNOWN_FOR)
		return true;
	since = wall > h.wall ? (uint32_t)(wall - h.wall) : 0;
	for (size_t i = 0; i < h.n; i++) {
		struct stored s;
		struct record *r;

		memcpy(&s, octets.p + i * sizeof s, sizeof s);
		r = s.id && (i + l->ceiling >= h.n) ? get(l, s.id) : NULL;      /* of too many the newest */
		for (enum rate rate = 0; r && rate < RATES; rate++)
			r->count[rate] = (struct count){ .since = (uint32_t)now - s.count[rate].age - since, .n = s.count[rate].n };
	}
	return true;
}
