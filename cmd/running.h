/* What serve, inetd and flush share: the parts of the running program, how they are started, and who asks for them later. Only these three and
 * the files that are named here include it. */
#ifndef CMD_RUNNING_H
#define CMD_RUNNING_H

#include <sys/socket.h>

#include "cmd/settings.h"
#include "lib/tls.h"
#include "policy/greylist.h"
#include "policy/sign.h"
#include "smtpd.h"

enum { STOP_MS = 20000 };               /* for sessions and deliveries that have begun, when we are told to stop */

/* One process, one of each. The parts that only one file asks for are that file's. */
struct running {
	struct settings first;          /* what was read at the start */
	struct settings *settings;      /* in force: that, until others have been read */
	struct smtpd_config *smtpd;     /* of new sessions; those that have begun keep theirs */
	struct tls_trust *trust;
	struct tls_server *tls;
	struct signer *signer;          /* DKIM keys; NULL: none are set */
	struct aliases *aliases;
	struct greylist *greylist;      /* NULL: off, or it cannot be opened */
	int quota;                      /* how much users have sent; -1: not kept */
	bool stopping;                  /* we were told to: nothing new begins */
	bool stop_now;                  /* told twice, or STOP_MS are over */
};
extern struct running running;

/* ---- starting (cmd/start.c). What returns int: 0, or it was said on standard error what is wrong, and that is the exit status. The order
 * is the caller's: what root is needed for, start_account(), what needs the account, start_queue(), what lies in the queue directory. */

int complain(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int start_settings(int argc, char **argv);      /* from the words of the command; takes -v out of them */
/* The process that stays root, before anything else is open or known that it need not have. Who is not root has a use for it only where he
 * runs commands: the server itself will be shut in, and so would they. */
int start_root(void);
void stop_root(void);
int start_signing(void);                        /* before root ends: the account need not be able to read the keys */
/* Root ends here. Everything that the account must be able to do is done as the account, opening the log included: then it can be done
 * again later, as after a rotation. */
int start_account(void);
/* inline_work: in this process, without helpers. */
int start_mailboxes(bool inline_work);
int start_judging(bool inline_work);            /* who takes mail from strangers asks; who only delivers what was taken does not */
int start_aliases(void);
int start_dns(void);
int start_sending(void);                        /* with start_dns() */
/* A daemon that begins with a certificate that cannot be used would be noticed too late: now. One session of a super-server reads it when
 * it is asked for TLS, and says 454 if it must. */
int start_tls(bool now);
int start_users(bool inline_work);
void stop_users(void);                          /* and closes the quota and what is kept for reports of DMARC */
int start_tokens(void);                         /* the helper for token_command, before we are confined */
bool lacks_tokens(void);                        /* it is wanted now, and was not when it could be started */

/* queue_open(): 0, or -1 with *why and its errno. EWOULDBLOCK says that somebody else delivers. */
int start_queue(bool schedule, bool inline_sync, char *why, size_t size);
int complain_of_queue(const char *why);         /* behind that, with its errno */
void open_notes(void);                          /* quota, greylist, evaluations for DMARC, open_sent(); what cannot be opened is logged, and is not kept */
void open_sent(void);                           /* what is remembered of mail that leaves: who only delivers has no other notes */
void start_policies(void);                      /* of other domains (MTA-STS), and which have used TLS; likewise */
/* Likewise. send: this process also makes the reports; else it only writes down what another one tells. */
void start_tls_reports(bool send);
void start_dmarc_reports(bool send);
int start_drops(void);
bool start_smtpd(void);                         /* false: no memory */
void start_signals(bool reads_again);           /* cmd/signals.c: stop, log again, try again; on HUP the settings, too */

/* running.settings have been read again, trust and tls are theirs: all that was started follows. smtpd becomes the server's. */
void settings_changed(struct smtpd_config *smtpd);

/* ---- rules (cmd/rules.c) */

/* Puts in what decides for the server, as the settings have it: who may relay, who is a recipient, who may come in. */
void rules_put(struct smtpd_config *);

/* ---- ports (cmd/ports.c) */

int ports_open(void);                           /* those of `listen`, bound: clients that come before we accept wait in the backlog */
int ports_accept(void);                         /* they become the server's */
/* Do we listen there? An MX address that we listen on ourselves is a loop (RFC 5321 5.1). So is this machine's inside when the world's port
 * is meant: no public domain gets its mail there. */
bool ports_are_at(const struct sockaddr *);

/* ---- settings read again (cmd/reload.c) */

void reload(void);                              /* logs what has come of it; with mistakes in them the old ones stay */
void reload_free(void);                         /* at the end: the settings in force and those of before */

#endif
