/* A TLS peer that says anything: at once, or after a good handshake, in any pieces. The session ends with words or waits; it never
 * hands out what nobody encrypted. The first octet chooses the side and how far the two get before the other one goes mad. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct tls_server *server;

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct tls_files files[] = { { "tests/pki/ec.crt", "tests/pki/ec.key" } };

	(void)argc;
	(void)argv;
	must(log_open("/dev/null") == 0);
	server = tls_server_new(files, 1);
	must(server != NULL);
	return 0;
}

/* Carries what one side has to say to the other, `most` octets. How many went. */
static size_t carry(struct tls *from, struct tls *to, size_t most)
{
	size_t n, room;
	const unsigned char *p = tls_wire(from, &n);
	unsigned char *space = tls_space(to, &room);

	if (!p || !space)
		return 0;
	n = n < most ? n : most;
	n = n < room ? n : room;
	memcpy(space, p, n);
	tls_sent(from, n);
	tls_came(to, n);
	return n;
}

static void mad(struct tls *t, const uint8_t *data, size_t n, size_t piece)
{
	size_t room, text;
	unsigned char *space;

	while (n && (space = tls_space(t, &room))) {
		size_t take = n < piece ? n : piece;

		take = take < room ? take : room;
		memcpy(space, data, take);
		tls_came(t, take);
		data += take;
		n -= take;
		while (tls_text(t, &text)) {
			must(tls_ready(t));
			tls_taken(t, text);
		}
		while (tls_wire(t, &room))
			tls_sent(t, room);
	}
	must(!tls_error(t) || (tls_over(t) && *tls_error(t)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct tls *a, *b, *victim;
	size_t before, went;

	if (n < 3)
		return 0;
	a = tls_accept(server);
	b = tls_connect("mx.example.org", NULL);
	must(a && b);
	victim = data[0] & 1 ? b : a;
	/* data[1]: how much of a good handshake comes first, in steps of 16 octets; 255: all of it */
	before = data[1] == 255 ? SIZE_MAX : data[1] * 16u;
	while (before && (went = carry(b, a, before) + carry(a, b, before)) > 0)
		before = before == SIZE_MAX ? before : before - (went < before ? went : before);
	must(data[1] != 255 || (tls_ready(a) && tls_ready(b)));
	if (data[0] & 2)
		tls_put(victim, "words", 5), tls_push(victim);
	mad(victim, data + 3, n - 3, data[2] + 1u);
	if (data[0] & 4)
		tls_close(victim);
	tls_free(a);
	tls_free(b);
	return 0;
}
