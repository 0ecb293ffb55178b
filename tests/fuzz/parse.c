/* The grammar under any octets: what is taken prints, reads back as the same, and holds no control character. */
#include "parse.h"

#include <stdlib.h>
#include <string.h>

#include "mime/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static bool no_controls(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return false;
	return true;
}

static bool same_addr(const struct addr *a, const struct addr *b)
{
	return str_eq(a->local, b->local) && str_eq(a->domain, b->domain);
}

static void check_addr(const struct addr *a)
{
	struct buf b = { 0 }, local = { 0 };
	struct addr again;

	must(a->local.n <= LOCAL_MAX && a->domain.n <= DOMAIN_MAX);
	must(print_addr(&b, a) && no_controls(buf_view(&b)));
	must(addr_local_unquoted(&local, a) && no_controls(buf_view(&local)) && local.n <= a->local.n);
	if (a->domain.n) {
		must(!parse_address(buf_view(&b), true, &again));
		must(str_eq(a->local, again.local) && str_eq_nocase(a->domain, again.domain));
		must(!parse_domain(a->domain, true, true));
	}
	buf_free(&b);
	buf_free(&local);
}

static void check_mail(struct str args, unsigned offered)
{
	struct sender s, again;
	struct buf b = { 0 };
	struct str line;

	if (parse_mail(args, offered, &s).text)
		return;
	check_addr(&s.addr);
	must(print_mail(&b, &s));
	line = buf_view(&b);
	must(no_controls(line) && str_starts_nocase(line, STR("MAIL ")));
	must(!parse_mail(str_from(line, 5), offered, &again).text);
	must(same_addr(&s.addr, &again.addr) && s.body == again.body && s.has_body == again.has_body);
	must(s.smtputf8 == again.smtputf8 && s.requiretls == again.requiretls && s.ret == again.ret);
	must(str_eq(s.envid, again.envid) && str_eq(s.auth, again.auth));
	must(s.hold_for == again.hold_for && s.hold_until == again.hold_until);
	must(s.size <= INT64_MAX && !(s.hold_for && s.hold_until));
	must(xtext_valid(s.envid));
	buf_free(&b);
}

static void check_rcpt(struct str args, unsigned offered, bool utf8)
{
	struct recipient r, again;
	struct buf b = { 0 };
	struct str line;

	if (parse_rcpt(args, offered, utf8, &r).text)
		return;
	check_addr(&r.addr);
	must(print_rcpt(&b, &r));
	line = buf_view(&b);
	must(no_controls(line) && str_starts_nocase(line, STR("RCPT ")));
	must(!parse_rcpt(str_from(line, 5), offered, utf8, &again).text);
	must(same_addr(&r.addr, &again.addr) && r.notify == again.notify && str_eq(r.orcpt, again.orcpt));
	must(!(r.notify & NOTIFY_NEVER) || r.notify == NOTIFY_NEVER);
	buf_free(&b);
}

static void check_reply(struct str line)
{
	struct capabilities c = { 0 };
	struct str rest = line, word, text;
	char enhanced[12];
	int code;
	bool last;

	if (parse_reply_line(line, &code, &last, &text)) {
		must(code >= 200 && code <= 599 && text.p + text.n == line.p + line.n);
		parse_enhanced(code, &text, enhanced);
		must(strlen(enhanced) < sizeof(enhanced) && text.p + text.n == line.p + line.n);
		must(!enhanced[0] || enhanced[0] == '0' + code / 100);
	}
	while (str_cut(&rest, '\n', &word))
		parse_capability(word, &c);
	parse_capability(rest, &c);
	must(memchr(c.auth, 0, sizeof(c.auth)) != NULL && no_controls(str_of(c.auth)));
	must(c.mail_max <= 999999 && c.rcpt_max <= 999999 && c.rcpt_domain_max <= 999999);
}

static void check_xtext(struct str s)
{
	struct buf b = { 0 };

	must(xtext_decode(&b, s) == xtext_valid(s));
	must(no_controls(buf_view(&b)) && b.n <= s.n);
	buf_free(&b);
}

static bool check_found(void *arg, const struct addr *a)
{
	size_t *left = arg;

	check_addr(a);
	return --*left > 0;
}

static void check_header(struct str message)
{
	struct str rest = message;
	struct field f;
	size_t most = 100, left;

	while (header_next(&rest, &f) && most-- > 0) {
		must(f.name.n > 0 && f.whole.p + f.whole.n == rest.p);
		left = 100;
		header_addresses(f.value, check_found, &left);
		header_authors(f.value, check_found, &left);
	}
	must(header_length(message) <= message.n);
	left = 100;
	header_addresses(message, check_found, &left);
}

/* The first octet chooses what is offered, the others are the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sockaddr_storage ss;
	struct str text;
	struct addr a;

	if (size == 0)
		return 0;
	text = (struct str){ (const char *)data + 1, size - 1 };
	check_mail(text, PARAM_ALL);
	check_mail(text, data[0]);
	check_rcpt(text, PARAM_ALL, true);
	check_rcpt(text, data[0], data[0] & 1);
	if (!parse_address(text, data[0] & 1, &a))
		check_addr(&a);
	if (parse_literal(text, &ss))
		must(!parse_domain(text, false, true));
	check_reply(text);
	check_xtext(text);
	check_header(text);
	return 0;
}
