/* BearSSL's PEM decoder, fed with a whole text; DER by hand. */
#include "lib/pem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool pem_fault(char *why, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, size, fmt, ap);
	va_end(ap);
	return false;
}

static void keep_der(void *der, const void *p, size_t n)
{
	buf_add(der, p, n);
}

static bool pem_event(struct pem *p, pem_object *object, void *arg)
{
	switch (br_pem_decoder_event(&p->decoder)) {
	case BR_PEM_BEGIN_OBJ:
		p->inside = true;
		buf_clear(&p->der);
		br_pem_decoder_setdest(&p->decoder, keep_der, &p->der);
		return true;
	case BR_PEM_END_OBJ:
		p->inside = false;
		if (p->der.bad)
			return pem_fault(p->why, p->why_size, "is too large");
		return object(p, br_pem_decoder_name(&p->decoder), arg);
	case BR_PEM_ERROR:
		return pem_fault(p->why, p->why_size, "is no proper PEM text");
	}
	return true;
}

static bool pem_push(struct pem *p, struct str text, pem_object *object, void *arg)
{
	while (text.n) {
		size_t n = br_pem_decoder_push(&p->decoder, text.p, text.n);

		text = str_from(text, n);
		if (!pem_event(p, object, arg))
			return false;
	}
	return true;
}

/* Room for the largest object is there from the start: a buffer that grew would leave copies of a key behind. */
bool pem_each(struct str text, pem_object *object, void *arg, char *why, size_t size)
{
	struct pem p = { .why = why, .why_size = size, .der.max = text.n + 1 };
	bool ok;

	if (!buf_reserve(&p.der, text.n + 1))
		return pem_fault(why, size, "does not fit into memory");
	br_pem_decoder_init(&p.decoder);
	/* The decoder wants a line end behind the last line. */
	ok = pem_push(&p, text, object, arg) && pem_push(&p, STR("\n"), object, arg);
	if (ok && p.inside)
		ok = pem_fault(why, size, "ends in the middle of an object");
	explicit_bzero(p.der.p, p.der.room);
	explicit_bzero(&p.decoder, sizeof p.decoder);
	buf_free(&p.der);
	return ok;
}

bool der_next(struct str *rest, unsigned *tag, struct str *value)
{
	const unsigned char *p = (const unsigned char *)rest->p;
	size_t at = 2, n;

	if (rest->n < 2 || (p[0] & 0x1f) == 0x1f)
		return false;
	n = p[1];
	if (n & 0x80) {
		size_t more = n & 0x7f;

		if (more < 1 || more > 4 || rest->n - at < more)
			return false;
		for (n = 0; more; more--)
			n = n << 8 | p[at++];
	}
	if (rest->n - at < n)
		return false;
	*tag = p[0];
	*value = (struct str){ rest->p + at, n };
	*rest = str_from(*rest, at + n);
	return true;
}

bool der_take(struct str *rest, unsigned wanted, struct str *value)
{
	unsigned tag;

	return der_next(rest, &tag, value) && tag == wanted;
}
