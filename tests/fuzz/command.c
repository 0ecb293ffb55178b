/* Commands of any content: their words, or what is wrong; words that are quoted again give the same ones. And as targets of a .forward file. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/aliasfile.h"
#include "deliver/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_words(struct str text)
{
	char *word[COMMAND_WORDS + 1], *same[COMMAND_WORDS + 1];
	struct buf room = { 0 }, quoted = { 0 }, again = { 0 };

	if (!command_parse(text, &room, word)) {
		must(word[0] && word[0][0]);
		for (size_t i = 0; word[i]; i++) {
			buf_puts(&quoted, "'");
			for (const char *c = word[i]; *c; c++)
				buf_printf(&quoted, *c == '\'' ? "'\\''" : "%c", *c);
			buf_puts(&quoted, "' ");
		}
		must(!command_parse(buf_view(&quoted), &again, same));
		for (size_t i = 0; word[i] || same[i]; i++)
			must(word[i] && same[i] && !strcmp(word[i], same[i]));
	}
	buf_free(&room);
	buf_free(&quoted);
	buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct str text = { (const char *)data, n };
	struct alias_table t = { .commands = true };
	const struct alias_entry *e;

	if (n > FORWARD_MAX)
		return 0;
	check_words(text);
	e = alias_table_add_forward(&t, STR("anna"), STR("/home/anna/.forward"), text);
	must(e && !t.includes);
	for (unsigned i = 1; i < 100 && alias_command(e, i); i++)
		must(alias_command(e, i)->kind == TARGET_COMMAND && !memchr(alias_command(e, i)->text.p, '\0', alias_command(e, i)->text.n));
	alias_table_free(&t);
	return 0;
}
