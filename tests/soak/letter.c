/* Reads of a message what the account is kept by. */
#include "tests/soak/letter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void letter_begin(struct letter *l) { memset(l, 0, sizeof *l); }

bool letter_address(const char *text, unsigned *id, unsigned *rcpt, char domain[64])
{
	const char *m = strstr(text, "+m");

	m = m ? m + 1 : text + strspn(text, " <");
	return sscanf(m, "m%u.k%u@%63[a-z0-9.]", id, rcpt, domain) == 3;
}

static void new_recipient(struct letter *l, const char *address)
{
	struct letter_to *t = &l->to[l->nto];

	if (l->nto == RECIPIENTS || !letter_address(address, &t->id, &t->rcpt, t->domain))
		ledger_wrong("a message that names whom nobody wrote to: %.100s", address);
	else
		l->nto++;
}

static void add(char *to, size_t size, const char *text)
{
	size_t n = strlen(to);

	snprintf(to + n, size - n, "%s", text + strspn(text, " "));
}

static void field(struct letter *l, const char *name, const char *value)
{
	struct letter_to *t = l->nto ? &l->to[l->nto - 1] : NULL;

	if (!strcasecmp(name, "X-Soak")) {
		l->id = (unsigned)strtoul(value, NULL, 10);
	} else if (!l->in_body && !strcasecmp(name, "Delivered-To")) {
		new_recipient(l, value);
	} else if (l->in_body && !strcasecmp(name, "Final-Recipient")) {
		value = strchr(value, ';');
		new_recipient(l, value ? value + 1 : "");
	} else if (t && !strcasecmp(name, "Action")) {
		add(t->action, sizeof t->action, value);
	} else if (t && !strcasecmp(name, "Diagnostic-Code")) {
		add(t->diagnostic, sizeof t->diagnostic, value);
	}
}

void letter_line(struct letter *l, const char *line, int n)
{
	const char *colon = strchr(line, ':');

	if (l->in_body) {
		l->hash = ledger_hash(l->hash, line, (size_t)n);
		l->hash = ledger_hash(l->hash, "\n", 1);
	}
	if (n == 0) {
		l->in_body = true;
		l->last[0] = '\0';
		return;
	}
	if (line[0] == ' ' && l->last[0]) {
		field(l, l->last, line);
	} else if (colon && (size_t)(colon - line) < sizeof l->last) {
		snprintf(l->last, sizeof l->last, "%.*s", (int)(colon - line), line);
		field(l, l->last, colon + 1);
	} else {
		l->last[0] = '\0';
	}
}
