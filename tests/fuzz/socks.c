/* What a SOCKS5 proxy may answer: the same outcome however it is cut, never more octets than have come, words for each failure. The first octet
 * of the input chooses login and family. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/socks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "socks: broken: %s\n", what);
	abort();
}

static const struct socks_proxy *proxy(bool login)
{
	static struct socks_proxy p;

	must(!socks_parse(login ? STR("socks5://me:pw@127.0.0.1") : STR("socks5://[::1]:9050"), &p), "a proxy is refused");
	return &p;
}

/* Plays the octets, `piece` at a time; how many were used. */
static size_t play(const uint8_t *data, size_t n, size_t piece, unsigned how, struct socks *s, struct buf *out)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(25) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(25) };
	size_t used = 0, come = 0, now;

	socks_begin(s, proxy(how & 1), how & 2 ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4, out);
	while (come < n) {
		char *exact;

		come = come + piece < n ? come + piece : n;
		do {
			exact = malloc(come - used + 1);        /* AddressSanitizer sees who reads one octet too far */
			must(exact != NULL, "no memory");
			memcpy(exact, data + used, come - used);
			exact = realloc(exact, come - used ? come - used : 1);
			now = socks_take(s, (struct str){ exact, come - used }, out);
			must(now <= come - used, "more was used than has come");
			used += now;
			free(exact);
		} while (now);
	}
	must((s->state == SOCKS_REFUSED || s->state == SOCKS_BROKEN) == (s->why[0] != '\0'), "a failure without words, or words without one");
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct socks_proxy parsed;
	struct socks whole, part;
	struct buf a = { 0 }, b = { 0 };
	size_t used;

	if (n < 1 || n > 600)
		return 0;
	socks_parse((struct str){ (const char *)data, n }, &parsed);
	used = play(data + 1, n - 1, n, data[0], &whole, &a);
	must(used == play(data + 1, n - 1, 1, data[0], &part, &b), "it reads otherwise in pieces");
	must(whole.state == part.state && !strcmp(whole.why, part.why), "another outcome in pieces");
	must(a.n == b.n && (!a.n || !memcmp(a.p, b.p, a.n)), "other words to the proxy in pieces");
	buf_free(&a);
	buf_free(&b);
	return 0;
}
