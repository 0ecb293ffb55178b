/* Certificates and keys of any content, as PEM text (the first octet is even) or as what a peer shows (odd): read, or refused with
 * words. The second octet parts a chain from its key. */
#include "lib/x509.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void read_pair(struct str chain, struct str key)
{
	char why[200] = "";
	struct x509_pair *p = x509_pair_read(chain, key, why, sizeof why);

	must(memchr(why, '\0', sizeof why) != NULL);
	if (!p) {
		must(*why != '\0');
		return;
	}
	must(p->n > 0 && (p->type == BR_KEYTYPE_RSA || p->type == BR_KEYTYPE_EC));
	x509_pair_is_for(p, STR("mx.example.org"));
	x509_pair_is_for(p, chain);
	x509_pair_drop(x509_pair_hold(p));
	x509_pair_drop(p);
}

/* As the TLS engine does it: certificates in pieces. */
static void show_chain(const uint8_t *data, size_t n)
{
	struct x509_any any;
	const br_x509_class **x = &any.vtable;
	unsigned usages;

	x509_any_init(&any);
	(*x)->start_chain(x, "mx.example.org");
	while (n > 2) {
		size_t size = data[0] * 4u, piece = data[1] + 1u;

		data += 2;
		n -= 2;
		size = size < n ? size : n;
		(*x)->start_cert(x, (uint32_t)size);
		for (size_t at = 0; at < size; at += piece)
			(*x)->append(x, data + at, size - at < piece ? size - at : piece);
		(*x)->end_cert(x);
		data += size;
		n -= size;
	}
	if ((*x)->end_chain(x) == 0)
		must((*x)->get_pkey(x, &usages) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str text;
	size_t part;

	if (n < 2)
		return 0;
	text = (struct str){ (const char *)data + 2, n - 2 };
	if (data[0] & 1) {
		show_chain(data + 2, n - 2);
		return 0;
	}
	part = data[1] * text.n / 255;
	read_pair((struct str){ text.p, part }, str_from(text, part));
	return 0;
}
