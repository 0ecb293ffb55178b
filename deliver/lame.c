/* A ring of addresses with the time until which they count. Lost at a restart: the price is one more failure. */
#include "deliver/lame.h"

#include <netinet/in.h>
#include <string.h>

#include "lib/loop.h"

enum {
	ROOM = 512,
	HOUR_MS = 3600 * 1000,
	ONE_MORE_MS = 120 * 1000,
	BITS = 4,                       /* LAME_... */
	MOSTS = LAME_LINES + 1,
	KINDS = BITS + MOSTS
};

struct noted {
	struct sockaddr_in6 addr;       /* or an IPv4 address in its place; zeros: none */
	msec until[KINDS];              /* each has its own hour */
	size_t most[MOSTS];
};
static struct noted ring[ROOM];
static size_t next;

/* Address and port, and nothing that differs between two calls. False: no internet address. */
static bool key(const struct sockaddr *sa, struct sockaddr_in6 *out)
{
	memset(out, 0, sizeof *out);
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		out->sin6_family = AF_INET;
		out->sin6_port = in->sin_port;
		memcpy(&out->sin6_addr, &in->sin_addr, sizeof in->sin_addr);
		return true;
	}
	if (sa->sa_family != AF_INET6)
		return false;
	out->sin6_family = AF_INET6;
	out->sin6_port = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_port;
	out->sin6_addr = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
	return true;
}

static struct noted *find(const struct sockaddr *sa)
{
	struct sockaddr_in6 k;

	if (!key(sa, &k))
		return NULL;
	for (size_t i = 0; i < ROOM && ring[i].addr.sin6_family; i++)
		if (memcmp(&ring[i].addr, &k, sizeof k) == 0)
			return &ring[i];
	return NULL;
}

/* The place of an address, a new one in place of the oldest. NULL: no internet address. */
static struct noted *note(const struct sockaddr *sa)
{
	struct noted *n = find(sa);
	struct sockaddr_in6 k;

	if (!key(sa, &k))
		return NULL;
	if (!n) {
		n = &ring[next];
		next = (next + 1) % ROOM;
		*n = (struct noted){ .addr = k };
	}
	return n;
}

void lame_note(const struct sockaddr *sa, unsigned what)
{
	struct noted *n = note(sa);

	for (unsigned i = 0; n && i < BITS; i++)
		if (what & 1u << i)
			n->until[i] = loop_now() + HOUR_MS;
}

void lame_note_most(const struct sockaddr *sa, enum lame_most what, size_t most)
{
	struct noted *n = note(sa);

	if (!n)
		return;
	n->most[what] = most;
	n->until[BITS + what] = loop_now() + HOUR_MS;
}

size_t lame_most(const struct sockaddr *sa, enum lame_most what)
{
	const struct noted *n = find(sa);
	msec left = n ? n->until[BITS + what] - loop_now() : 0;

	if (left <= 0)
		return 0;
	/* A host may have been busy for a moment: else it would be called the less the longer it is known. Where it was not, the price is
	 * one call in vain. */
	return n->most[what] + (what != LAME_RCPTS ? (size_t)((HOUR_MS - left) / ONE_MORE_MS) : 0);
}

unsigned lame_noted(const struct sockaddr *sa)
{
	const struct noted *n = find(sa);

	unsigned what = 0;

	for (unsigned i = 0; n && i < BITS; i++)
		if (loop_now() < n->until[i])
			what |= 1u << i;
	return what;
}

void lame_forget_all(void)
{
	memset(ring, 0, sizeof ring);
	next = 0;
}
