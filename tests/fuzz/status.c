/* Any message as a delivery report: what is read is bounded and terminated, and is the same when it is read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/daily.h"
#include "mime/status.h"
#include "policy/feedback.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_rcpt(const struct status_rcpt *r)
{
	must(r->to[0] && r->action[0] && strchr("245", r->status[0]));
	must(strlen(r->words) < sizeof r->words && strlen(r->remote) < sizeof r->remote && strlen(r->original) < sizeof r->original);
}

/* What is kept of it can be read back. */
static void check_lines(struct str text)
{
	struct to { char to[ADDR_MAX + 1], words[FEEDBACK_WORDS + 1]; } to;
	static const struct daily_field rows[] = { DAILY_ROW(struct to, to), DAILY_ROW(struct to, words) };
	struct str line;

	str_cut(&text, '\n', &line);
	while (str_cut(&text, '\n', &line)) {
		struct buf whole = { 0 };

		memset(&to, 0, sizeof to);
		buf_puts(&whole, "1");
		buf_str(&whole, line);
		must(daily_read(buf_view(&whole), rows, 2, &to) && to.to[0]);
		buf_free(&whole);
	}
	must(!text.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct status_report one, two;
	struct str text = { (const char *)data, n };
	struct buf out = { .max = FEEDBACK_TEXT };
	const char *wrong = status_read(text, "mail.example.org", &one);

	must(status_read(text, "mail.example.org", &two) == wrong && !memcmp(&one, &two, sizeof one));
	must(!feedback_read(FEEDBACK_STATUS, text, "mail.example.org", &out) == !wrong);
	if (!wrong) {
		must(one.n && one.n <= STATUS_RCPTS && (one.n == STATUS_RCPTS || !one.more) && one.mta[0]);
		for (size_t i = 0; i < one.n; i++)
			check_rcpt(&one.rcpt[i]);
		check_lines(buf_view(&out));
	}
	buf_free(&out);
	return 0;
}
