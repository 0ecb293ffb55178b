/* Whatever the owner of a mailbox writes into its rules: which one holds is found within bounds, names no place outside the mailbox, and comes
 * back from its fact as it was. What a stranger writes into List-Id and Subject is read within bounds, too. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "policy/ruleset.h"
#include "policy/subjectpass.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void is_inside(struct str folder)
{
	if (!folder.n)
		return;
	must(folder.n <= RULESET_FOLDER && !memchr(folder.p, '/', folder.n) && !memchr(folder.p, '\n', folder.n) && !memchr(folder.p, 0, folder.n));
	must(folder.p[0] != '.' && folder.p[folder.n - 1] != '.');
}

static void count(void *arg, unsigned line, const char *why)
{
	must(line && *why);
	++*(unsigned *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct identities who = { .from = { "anna@shop.example", 17 }, .mail = { "b@news.example", 14 }, .mail_pass = true,
		.dkim = { "a.example,lists.example.net", 27 } };
	const struct rule_subject s = { &who, STR("fardel.lists.example.net") };
	struct str text = { (const char *)data, n }, bob = STR("bob");
	struct buf fact = { .max = RULESET_TEXT - 1 }, list = { 0 };
	char word[SUBJECTPASS_WORD + 1];
	unsigned wrong = 0;
	struct rule r, again;

	for (int own = 0; own < 2; own++) {
		if (!ruleset_find(text, own ? NULL : &bob, '+', &s, &r))
			continue;
		must(r.own == own && r.line && (r.folder.n || r.refused.n || r.allow || r.forwarder));
		must((!r.allow && !r.forwarder) || r.by.n);
		is_inside(r.folder);
		is_inside(r.refused);
		buf_clear(&fact);
		must(rule_print(&fact, &r) && rule_read(buf_view(&fact), &again));
		must(again.line == r.line && again.allow == r.allow && again.forwarder == r.forwarder && str_eq(again.folder, r.folder) && str_eq(again.refused, r.refused));
	}
	ruleset_check(text, false, count, &wrong);
	list_id(&list, text);
	must(!subjectpass_find(text, word) || strlen(word) == SUBJECTPASS_WORD);
	buf_free(&fact);
	buf_free(&list);
	return 0;
}
