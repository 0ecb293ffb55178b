/* Aliases: recipients of one message that become another one, and what a crash between the two leaves. */
#include "queue/inside.h"

#include <errno.h>
#include <stdio.h>

#include "parse.h"

/* How each recipient was handed on, as the ALIAS line has it. */
static const struct {
	char sign;
	enum handed handed;
} signs[] = { { '=', HANDED_ON }, { '+', HANDED_EXPANDED }, { '*', HANDED_DELIVERED } };
enum { SIGNS = sizeof signs / sizeof *signs };

static char sign_of(enum handed handed)
{
	size_t i = 0;

	while (i + 1 < SIGNS && signs[i].handed != handed)
		i++;
	return signs[i].sign;
}

/* The address is for people: numbers and signs alone are read back, so nothing in it may look like the end of it. */
static void print_for_people(struct buf *out, const struct addr *a)
{
	struct buf text = { 0 };

	print_addr(&text, a);
	for (size_t i = 0; i < text.n; i++)
		buf_char(out, ascii_print(text.p[i]) && text.p[i] != ' ' && text.p[i] != '<' && text.p[i] != '>' ? text.p[i] : '?');
	buf_free(&text);
}

static size_t number_of(const struct bundle *b, size_t i) { return (size_t)(b->rcpt[i] - b->mail->rcpt) + 1; }

struct draft *queue_alias_draft(const struct bundle *b, const size_t *which, const enum handed *handed, size_t n, struct envelope *e, size_t own)
{
	size_t first = number_of(b, which[0]);
	char id[ID_MAX];

	buf_printf(&e->text, "ALIAS %s %zu", b->mail->id, own);
	for (size_t i = 0; i < n; i++) {
		size_t number = number_of(b, which[i]);

		if (number < first)
			first = number;
		buf_printf(&e->text, " %zu%c<", number, sign_of(handed[i]));
		print_for_people(&e->text, &b->rcpt[which[i]]->to.addr);
		buf_char(&e->text, '>');
	}
	if (!buf_char(&e->text, '\n')) {
		errno = ENOMEM;
		return NULL;
	}
	id_of_alias(id, b->mail->id, first);
	if (!index_message(str_of(id)))
		return queue_draft(e, id);
	errno = EEXIST;         /* made for others, perhaps: what it stands for is read from it, and not overwritten */
	return NULL;
}

/* ---- recovery */

/* The next "<number><sign><address>". False: none, or it is none of ours. */
static bool next_rcpt(struct str *rest, uint64_t *number, enum handed *handed)
{
	struct str word, digits;
	size_t i = 0;

	if (!str_word(rest, &word) || !str_cut(&word, '<', &digits) || digits.n < 2)
		return false;
	while (i < SIGNS && signs[i].sign != digits.p[digits.n - 1])
		i++;
	if (i == SIGNS)
		return false;
	*handed = signs[i].handed;
	digits.n--;
	return str_number(digits, SIZE_MAX, number) && *number > 0;
}

static bool any_open(const struct attempt *a)
{
	for (size_t i = 0; i < a->mail->nrcpt; i++)
		if (a->mail->rcpt[i].state == RCPT_OPEN && a->mail->rcpt[i].mine)
			return true;
	return false;
}

static void note_made(struct attempt *a, const struct mail *made)
{
	struct str rest = made->alias_rcpts;
	struct result res = { .what = RESULT_DELIVERED, .into = made->id };
	struct reply words;
	uint64_t number;

	reply_set(&words, 0, "2.0.0", "an alias: sent on as %s (which was found in the queue)", made->id);
	res.reply = &words;
	while (next_rcpt(&rest, &number, &res.handed)) {
		struct rcpt *r = number <= a->mail->nrcpt ? &a->mail->rcpt[number - 1] : NULL;

		if (!r || r->state != RCPT_OPEN || !r->mine)
			continue;
		attempt_mark(a, r, &res);
		attempt_say(a, r, &res);
		attempt_tell(a, r, &res);
	}
}

void alias_note_in_parent(const struct mail *made)
{
	struct message *m = made->alias_of.n ? index_message(made->alias_of) : NULL;
	struct entry *e = m ? m->entries : NULL, *next;

	for (; e; e = next) {
		next = e->sibling;
		if (e->state == ENTRY_SCHEDULED || e->state == ENTRY_WAITING)
			look_after(e);
	}
}

void alias_recover(struct attempt *a)
{
	bool open = any_open(a);

	for (size_t i = 0; open && i < a->mail->nrcpt; i++) {
		char id[ID_MAX], name[NAME_ROOM];
		struct message *m;
		struct mail *made;
		const char *why;

		/* One that is noted may have been the first of several, whose lines were lost. */
		if (a->mail->rcpt[i].state == RCPT_FAILED)
			continue;
		id_of_alias(id, a->entry->msg->id, i + 1);
		if (!index_message(str_of(id)) || !(m = intake_whole(id)))
			continue;
		entry_name_of(m->entries, name);
		made = mail_open(queue.cur, name, false, false, STR(""), &why);
		/* One that cannot be read now is found again before another is made. */
		if (made && str_eq(made->alias_of, str_of(a->entry->msg->id)))
			note_made(a, made);
		mail_free(made);
		open = any_open(a);
	}
}
