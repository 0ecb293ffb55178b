/* Reports about anything: what peers said, what addresses are and what the original holds cannot break a report's form. Lines end in CR LF
 * and are no longer than allowed, the header is ours, and the boundary stands where it should. Fields are parted by a NUL. */
#include "dsn.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mime/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static struct str next(struct str *rest)
{
	struct str head;

	if (str_cut(rest, '\0', &head))
		return head;
	head = *rest;
	*rest = STR("");
	return head;
}

static void check_form(struct str report)
{
	struct str rest = report, line;
	size_t parts = 0;

	while (str_cut(&rest, '\n', &line)) {
		must(line.n && line.p[line.n - 1] == '\r' && line.n <= 999);
		must(!memchr(line.p, '\r', line.n - 1) && !memchr(line.p, '\0', line.n));
		parts += line.n > 2 && line.p[0] == '-' && line.p[1] == '-';
	}
	must(!rest.n && parts >= 4);
	must(header_count(report, STR("From")) == 1 && header_count(report, STR("To")) == 1);
	must(header_count(report, STR("Subject")) == 1 && header_count(report, STR("Content-Type")) == 1);
	must(header_count(report, STR("Message-ID")) == 1 && header_count(report, STR("Auto-Submitted")) == 1);
	must(header_length(report) < report.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct dsn_rcpt rcpt[3] = { 0 };
	struct buf out = { 0 };
	struct str rest;
	struct dsn d;

	if (n < 2)
		return 0;
	rest = (struct str){ (const char *)data + 2, n - 2 };
	d = (struct dsn){ .hostname = "mx.example.org", .id = "6b0404aa47aef11faa7ca792", .report_id = "6b0404aa47aef11faa7ca793",
		.arrived = 1795424400, .now = 1795424400 + data[0], .n = 1 + data[1] % 3, .rcpt = rcpt, .full = data[0] & 1,
		.next_try = data[0] & 2 ? 1795425000 : 0 };
	d.to = next(&rest);
	d.envid = next(&rest);
	for (size_t i = 0; i < d.n; i++) {
		rcpt[i].action = (enum dsn_action)((data[1] >> (2 + 2 * i)) % 4);
		rcpt[i].addr = next(&rest);
		rcpt[i].orcpt = next(&rest);
		rcpt[i].status = next(&rest);
		rcpt[i].host = next(&rest);
		rcpt[i].words = next(&rest);
		rcpt[i].said = data[0] & 16 ? rcpt[i].words : STR("");
		rcpt[i].when = data[0] & 4 ? 1795424400 : 0;
		rcpt[i].retry_until = data[0] & 8 ? 1795524400 : 0;
	}
	d.original = rest;
	must(dsn_write(&out, &d));
	check_form(buf_view(&out));
	buf_free(&out);
	return 0;
}
