/* Configuration files of any content: taken or complained of, and what is printed reads the same again. */
#include <stdint.h>
#include <stdlib.h>

#include "lib/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct target {
	const char *text;
	bool flag;
	unsigned number;
	int64_t span;
	uint64_t size;
	struct conf_list lines, words;
};
#define AT(member) offsetof(struct target, member)
static const struct conf_row rows[] = {
	{ .name = "text", .kind = CONF_TEXT, .offset = AT(text), .help = "t" },
	{ .name = "flag", .kind = CONF_YESNO, .offset = AT(flag), .preset = "yes", .help = "f" },
	{ .name = "number", .kind = CONF_NUMBER, .offset = AT(number), .preset = "25", .help = "n" },
	{ .name = "span", .kind = CONF_DURATION, .offset = AT(span), .preset = "5m", .help = "s" },
	{ .name = "size", .kind = CONF_SIZE, .offset = AT(size), .preset = "35M", .help = "s" },
	{ .name = "lines", .kind = CONF_LIST, .offset = AT(lines), .help = "l" },
	{ .name = "words", .kind = CONF_WORDS, .offset = AT(words), .preset = "a b", .help = "w" },
};

static void read_text(struct conf *c, struct target *t, struct str text)
{
	if (conf_start(c, rows, sizeof rows / sizeof *rows, t) == -1)
		abort();
	conf_text(c, "f", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct conf first, again;
	struct target a, b;
	struct buf one = { 0 };

	read_text(&first, &a, (struct str){ (const char *)data, n });
	if (!conf_print(&first, &one))
		abort();
	read_text(&again, &b, buf_view(&one));
	if (!conf_ok(&again) || a.flag != b.flag || a.number != b.number || a.span != b.span || a.size != b.size ||
		!str_eq(str_of(a.text), str_of(b.text)) || a.lines.n != b.lines.n || a.words.n != b.words.n)
		abort();
	for (size_t i = 0; i < a.lines.n; i++)
		if (!str_eq(str_of(a.lines.item[i].text), str_of(b.lines.item[i].text)))
			abort();
	conf_end(&first);
	conf_end(&again);
	buf_free(&one);
	return 0;
}
