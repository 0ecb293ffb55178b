/* Any packet as the answer to any question: taken, unknown, or no answer; what is kept lies in the store and is of its type's form.
 * The first octet chooses the kind, the second how long the question's name is, then the name, then the packet. When its top
 * bit is set the question is copied into the packet, so that more than one in a million packets answers it. */
#include "dns.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static const enum fact_kind kinds[] = { FACT_A, FACT_AAAA, FACT_MX, FACT_PTR, FACT_TXT, FACT_SRV, FACT_TLSA };
static const unsigned char types[] = { 1, 28, 15, 12, 16, 52 };

/* The name on the wire, without compression. False: it cannot be one. */
static bool wire_name(struct buf *out, struct str name)
{
	struct str label;
	bool more = name.n > 0;

	while (more) {
		more = str_cut(&name, '.', &label);
		if (!more)
			label = name;
		if (!label.n || label.n > 63)
			return false;
		buf_char(out, (char)label.n);
		buf_str(out, label);
	}
	return buf_char(out, 0) && out->n <= 255;
}

static void check_record(enum fact_kind kind, const struct record *r, const char *store, size_t room)
{
	must(!r->data.n || (r->data.p >= store && r->data.p + r->data.n <= store + room));
	switch (kind) {
	case FACT_A: must(r->data.n == 4); break;
	case FACT_AAAA: must(r->data.n == 16); break;
	case FACT_SRV: must(r->data.n >= 4 && r->priority >= 0 && r->priority <= 65535); break;
	case FACT_TLSA: must(r->data.n >= 3); break;
	case FACT_MX:
		must(r->priority >= 0 && r->priority <= 65535);
		/* fall through */
	case FACT_PTR:
		must(r->data.n <= 255);
		for (size_t i = 0; i < r->data.n; i++)
			must(r->data.p[i] > ' ' && r->data.p[i] < 0x7f && !(r->data.p[i] >= 'A' && r->data.p[i] <= 'Z'));
		break;
	default: break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static char store[DNS_STORE];
	struct buf packet = { 0 };
	struct dns_answer a;
	struct str name, rest;
	size_t room, kind;

	if (n < 2 || n - 2 < (data[1] & 63))
		return 0;
	kind = data[0] % 6;
	name = (struct str){ (const char *)data + 2, data[1] & 63 };
	rest = (struct str){ name.p + name.n, n - 2 - name.n };
	if (data[1] & 128 && rest.n >= 12) {
		buf_add(&packet, rest.p, 12);
		packet.p[4] = 0;
		packet.p[5] = 1;
		packet.p[2] = (char)(packet.p[2] | 0x80);
		if (wire_name(&packet, name)) {
			char question[4] = { 0, (char)types[kind], 0, 1 };

			buf_add(&packet, question, 4);
		}
		rest = str_from(rest, 12);
	}
	buf_str(&packet, rest);
	room = data[1] & 64 ? 100 : sizeof store;
	/* An exact copy: AddressSanitizer sees who reads one octet too far. */
	if (packet.n) {
		unsigned char *exact = malloc(packet.n);

		must(exact != NULL);
		memcpy(exact, packet.p, packet.n);
		memset(&a, 0x5a, sizeof a);
		if (dns_parse(exact, packet.n, name, kinds[kind], &a, store, room)) {
			must(a.n <= DNS_RECORDS && a.ttl <= 3600);
			must(a.outcome == FOUND ? a.n > 0 : a.n == 0);
			must(a.outcome != UNKNOWN || (a.why && *a.why));
			for (size_t i = 0; i < a.n; i++)
				check_record(kinds[kind], &a.record[i], store, room);
		}
		free(exact);
	}
	buf_free(&packet);
	return 0;
}
