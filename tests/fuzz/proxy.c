/* What a connection from a proxy begins with: the same header however it is cut, never more octets than have come, and an address of
 * a family that there is. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "proxy: broken: %s\n", what);
	abort();
}

/* An exact copy: AddressSanitizer sees who reads one octet too far. */
static enum proxy parse(const uint8_t *data, size_t n, size_t *used, struct sockaddr_storage *peer)
{
	char *exact = malloc(n ? n : 1);
	enum proxy got;

	must(exact != NULL, "no memory");
	memcpy(exact, data, n);
	memset(peer, 0, sizeof *peer);
	got = proxy_parse((struct str){ exact, n }, used, peer);
	must(got == PROXY_MORE || got == PROXY_WRONG || *used <= n, "more was used than has come");
	must(got != PROXY_FOUND || peer->ss_family == AF_INET || peer->ss_family == AF_INET6, "an address of no family");
	free(exact);
	return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct sockaddr_storage whole, part;
	size_t used, piece;
	enum proxy got = parse(data, n, &used, &whole);

	if (n > 300)
		return 0;
	for (size_t i = 0; i < n; i++) {
		enum proxy early = parse(data, i, &piece, &part);

		if (early == PROXY_MORE)
			continue;
		must(early == got && (early == PROXY_WRONG || piece == used), "it reads otherwise in pieces");
		must(early != PROXY_FOUND || !memcmp(&whole, &part, sizeof whole), "another address in pieces");
		return 0;
	}
	return 0;
}
