/* Strangers who come for the first time are asked to come again (greylisting), unless SPF says that they may send for their domain. */
#include <stdlib.h>

#include "parse.h"
#include "policy/greylist.h"
#include "smtpd/session.h"

struct grey {
	struct buf arg;
	int64_t wait;
	void (*go_on)(struct session *, struct str arg, const struct reply *);
};

void grey_free(struct txn *t)
{
	if (!t->grey)
		return;
	buf_free(&t->grey->arg);
	free(t->grey);
	t->grey = NULL;
}

static void vetted(struct session *s)
{
	struct grey *g = s->txn->grey;
	struct reply why;
	int64_t minutes = (g->wait + 59) / 60;

	s->txn->grey = NULL;
	reply_set(&why, 451, "4.7.1", "Greylisted: this is the first mail from there, it will be taken when it comes again in %lld minute%s or later",
		(long long)minutes, minutes == 1 ? "" : "s");
	if (str_eq(str_of(vetting_word(s)), STR("pass"))) {
		g->go_on(s, buf_view(&g->arg), NULL);
	} else {
		s->txn->token = "greylisted";
		g->go_on(s, buf_view(&g->arg), &why);
	}
	buf_free(&g->arg);
	free(g);
}

/* RFC 5321 4.5.1: postmaster is always to be reached. */
void grey_ask(struct session *s, struct str arg, const struct addr *to, void (*go_on)(struct session *, struct str arg, const struct reply *no))
{
	struct buf rcpt = { 0 };
	int64_t wait = 0;

	if (s->config->greylist && session_is_stranger(s) && !s->who.submission && !str_eq_nocase(to->local, STR("postmaster")) && print_addr(&rcpt, to))
		wait = greylist_ask(s->config->greylist, (const struct sockaddr *)&s->who.peer, str_of(s->who.sender), buf_view(&rcpt),
			s->config->greylist_delay_s, s->config->greylist_window_s, loop_wall());
	buf_free(&rcpt);
	if (wait && (s->txn->grey = calloc(1, sizeof *s->txn->grey)) && buf_str(&s->txn->grey->arg, arg)) {
		s->txn->grey->wait = wait;
		s->txn->grey->go_on = go_on;
		vetting_await(s, vetted);
		return;
	}
	grey_free(s->txn);
	go_on(s, arg, NULL);
}
