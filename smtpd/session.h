/* What the files behind smtpd.c share: one session, its transaction, and what may be done to them. */
#ifndef SMTPD_SESSION_H
#define SMTPD_SESSION_H

#include "lib/facts.h"
#include "lib/list.h"
#include "lib/stream.h"
#include "mime/transfer.h"
#include "policy/authres.h"
#include "policy/dmarc.h"
#include "policy/limits.h"
#include "queue.h"
#include "smtpd.h"

struct dkim;
struct grey;
struct held;
struct judging;
struct lists;
struct login;
struct milters;
struct reading;
struct session;
struct spf_result;
struct tls;
struct vetting;

enum {
	HANDSHAKE_MS = 60000,           /* from STARTTLS to the end of the TLS handshake */
	CLOSE_MS = 30000,               /* for our last words to leave */
	FACTS_A_QUESTION = 40,          /* that one command may raise, without those of lists in the DNS */
	ENVELOPE_TEXT_MAX = 4 << 20,    /* octets: ten thousand recipients with parameters of common length */
	STRANGERS_TEXT_MAX = 8 << 20,   /* of the envelopes of all strangers together; when it is reached a single one may have */
	STRANGER_TEXT_MIN = 16 << 10
};

/* What a session may cost us without bringing a message. Each accepted message restores it. */
enum {
	PATIENCE = 10000,
	COST_ERROR = 500,               /* a command that makes no sense: 20 of them */
	COST_FAILED = 950,              /* a message that is refused: after ten of them the next is one too many */
	COST_REFUSED = 25,              /* a recipient that is not wanted: lists have stale addresses, guessers too */
	COST_IDLE = 1                   /* what brings no mail forward: NOOP and its like */
};

enum phase {
	P_PROXY,                        /* a proxy has not said yet for whom it speaks */
	P_GREETING,                     /* a stranger, and we have not said 220: he must not speak yet */
	P_COMMAND,                      /* reads commands */
	P_PAUSED,                       /* has earned a delay: input waits */
	P_ASKING,                       /* a command waits for facts: input waits */
	P_VETTING,                      /* a message may come as soon as SPF is known: input waits */
	P_MILTER,                       /* filters are asked: input waits */
	P_AUTH,                         /* reads a response of the login that is under way */
	P_AUTH_CHECK,                   /* a password is being compared: input waits */
	P_AUTH_PAUSE,                   /* it was wrong, which is told later: input waits */
	P_DATA,                         /* reads a message */
	P_CHUNK,                        /* reads the octets of a BDAT */
	P_JUDGING,                      /* the message is whole, and waits for DKIM keys and the like: input waits */
	P_READING,                      /* it may be a report on mail of ours, and is being read: input waits */
	P_DECIDING,                     /* who of its recipients wants it is being found out, or it is told later: input waits */
	P_COMMIT,                       /* it is being made durable: input waits */
	P_STARTTLS,                     /* 220 is on its way out; nothing may come before it is there */
	P_HANDSHAKE,                    /* TLS has begun */
	P_CLOSING,                      /* the last reply is on its way out */
	P_LINGER,                       /* our half has ended; drops what comes until the peer has ended its own */
	P_DEAD                          /* closed; freed by its end task, or when done() has come */
};

enum seen { SEEN_HELO = 1, SEEN_MAIL = 2, SEEN_RCPT = 4, SEEN_BDAT = 8 };

/* Counts the Received fields of a header that goes by in pieces. */
struct hops {
	unsigned char at;               /* octets of "received" matched in this line, or one of HOPS_ in smtpd/data.c */
	bool body;
	unsigned n;
};

/* The line of a stranger's header that comes: one may say that its message has been delivered here before. */
struct circle {
	char line[ADDR_MAX + 32];
	size_t n;
	unsigned looked_at;             /* Delivered-To fields */
	bool body, found;
};

/* Why a message will be refused at its end. */
struct refusal {
	int code;
	const char *enhanced, *text;
};

/* The BDAT that is being read. It may belong to no transaction: then it is read and refused. */
struct chunk {
	uint64_t size, left;
	msec end;                       /* of the time for one that is refused */
	bool last;
	const struct refusal *refusal;
};

/* From MAIL to the end of its message: nothing of it outlives txn_reset(). */
struct txn {
	struct envelope envelope;
	size_t strange;                 /* octets of its text that count for STRANGERS_TEXT_MAX */
	bool utf8;                      /* SMTPUTF8 was said at MAIL (RFC 6531) */
	struct buf domains;             /* of recipients, a LF before and behind each; only when their number is limited */
	unsigned ndomains;
	char sender[ADDR_MAX + 1];      /* who.sender */
	struct buf only_rcpt;           /* the recipient, while there is just one */
	struct buf next_rcpt;           /* the argument of a RCPT that waits for SPF */
	struct draft *draft;
	char id[ID_MAX];                /* of the draft, also when it is gone */
	const struct refusal *refusal;
	const char *token;              /* what refuses it or the recipient at hand, in a word for the next line of the log that says so; NULL: no rule */
	struct undot undot;             /* DATA */
	struct line_ends ends;          /* BDAT */
	struct authres_filter forged;   /* results in our name are taken out; of nobody's mail whom we trust */
	struct held *held;              /* the header, until it is whole, when it is to be completed */
	struct lists *lists;            /* what lists say of the client; NULL: not asked for */
	struct vetting *vetting;        /* SPF of the sender; NULL: not asked for */
	struct grey *grey;              /* a recipient whose sender is to come again, unless SPF is for him */
	struct signing *signing;        /* behind it, when it is signed */
	const char *signed_by;          /* the domain, once that is done; the signer's */
	struct inspection *inspection;  /* of mail from strangers */
	struct reading *reading;        /* of a report */
	struct judging *judging;        /* behind them */
	struct hops hops;
	struct circle circle;
	uint64_t octets;                /* of the message, without dots and our own field */
	uint64_t noted;                 /* of them, when the session was touched last */
	msec data_end;
};

/* A command that cannot be answered before facts have come. */
struct question {
	const char *stage;              /* "RCPT", for the log */
	bool (*decide)(struct session *, struct str arg);
	struct buf arg;                 /* the command's argument: the line is gone when the facts come */
	struct facts *facts;
};

/* Ten thousand of these may sit idle: what belongs to a transaction is in a struct txn, what belongs to a login is allocated with it. */
struct session {
	struct node node;               /* the one that was quiet longest comes first */
	struct stream stream;
	struct timer timer;
	msec deadline;                  /* when the timer means it */
	msec quiet_since;
	struct task wake, end;
	const struct smtpd_config *config;
	struct limits_visit visit;
	msec since;                     /* the beginning, or the last message that was taken */
	enum smtpd_service service;
	void (*ended)(void);
	enum phase phase;
	unsigned seen;
	int patience;
	msec owed;                      /* a pause before the next command */
	unsigned char offences;         /* errors and refused recipients since a message was taken */
	unsigned mails;                 /* transactions begun */
	bool xclient;                   /* it has spoken for others, and may again */
	bool talked;                    /* octets have come */
	bool committing;                /* done() will come */
	bool broken;                    /* a reply could not be written */
	bool mail_refused;              /* RCPT and DATA may be on their way already */
	bool leaving;                   /* its last words are said: its place is free */
	size_t lingered;
	struct subject who;
	char *helo;                     /* who.helo, owned; NULL: none yet */
	struct tls *tls;                /* while 220 is on its way; from then on the stream has it */
	const char *tls_version, *cipher;       /* constants, when who.tls */
	struct question question;
	struct chunk chunk;
	struct login *login;            /* from AUTH on, else NULL */
	struct milters *milters;        /* from the first MAIL on, when there are any for it, else NULL */
	struct txn *txn;                /* from MAIL on, else NULL */
};

/* ---- saying (smtpd/session.c) */

/* RFC 5321 4.5.3.1.5: a reply line has at most 512 octets. What peers or rules made us say cannot break the line. */
void session_say(struct session *, int code, const char *enhanced, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void session_say_as(struct session *, const struct reply *);
/* The same for what makes no sense: it costs patience. */
void session_error(struct session *, int code, const char *enhanced, const char *text);
void session_spend(struct session *, int cost);
void session_log_refusal(struct session *, const char *stage, struct str to, int code, const char *enhanced, const char *text);
const char *session_id(const struct session *);         /* of the message that is being received, "": none */
const char *session_protocol(const struct session *);   /* for "with" in Received (RFC 3848) */

void session_forget_helo(struct session *);

/* ---- limits */
bool session_too_large(const struct session *, uint64_t octets);
unsigned session_rcpt_max(const struct session *);
msec session_idle_ms(const struct session *);

/* ---- time */
void session_deadline(struct session *, msec after);
/* Counted from the last whole command, not from the last octet: who sends one octet a second gains nothing. */
void session_await_command(struct session *);

/* ---- a transaction */
bool txn_begin(struct session *);                       /* false: no memory */
bool txn_may_hold(struct session *);                    /* the envelope has grown; false: strangers hold so much together that it must not */
void txn_reset(struct session *);                       /* drops it and any question; only it does. None: nothing */

/* ---- a question */
/* Runs decide(s, arg) now and, while that is false (it waits for s->question.facts), from the top each time facts have come.
 * When it is true it has replied. stage is a constant. */
void question_ask(struct session *, const char *stage, bool (*decide)(struct session *, struct str arg), struct str arg);
void question_end(struct session *);
void question_wake(struct task *);                      /* facts have come: run of session.wake */

/* ---- ending */
void session_die(struct session *);                     /* at once. A commit that is still pending keeps the struct until its done() */
void session_free_later(struct session *);              /* it is dead and nothing is pending: the struct goes when all have returned */
void session_close(struct session *);                   /* our last words are queued: nothing is read as a command any more */
void session_hang_up(struct session *, const char *enhanced, const char *why);  /* 421 and session_close() */

/* ---- smtpd.c */
/* A client has come, as accept() tells. Takes the socket. */
void smtpd_welcome(int fd, const struct sockaddr_storage *peer, enum smtpd_service);
bool smtpd_stopping(void);
void session_touch(struct session *);                   /* it has done something: others are idle longer */
void sessions_remove(struct session *);
void session_leaves(struct session *);                  /* its place is free for another; twice is once */

/* ---- strangers (smtpd/guests.c) */
bool subject_is_stranger(const struct smtpd_config *, const struct subject *);  /* no network of ours, no local program, no login */
bool session_is_stranger(const struct session *);
/* Counts a client that comes in; NULL, or why it may not, in words. When a peer turns out to be somebody else (a proxy
 * says so): guest_leave(), and enter again with the new address. */
const char *guest_enter(const struct smtpd_config *, const struct subject *, struct limits_visit *);
void guest_leave(struct limits_visit *);                /* twice is once */
bool guest_may_log(void);                               /* a flood of clients is not to become a flood of lines: "unsaid" counts the others */
void guests_forget(void);                               /* all counts; when there is no session */
void session_forgive(struct session *);                 /* full patience and time again, and no errors */
void session_offends(struct session *, int cost);       /* what costs patience, and in the long run a delay */
void session_refused_rcpt(struct session *);
/* One message more of a stranger's, for this recipient or from this sender's domain. False: *why says that there were too many. */
bool session_rcpt_allowed(struct session *, const struct addr *, struct reply *why);
bool session_domain_allowed(struct session *, const struct addr *, struct reply *why);
void session_message_taken(struct session *);           /* forgives all that */
bool session_is_counted(const struct session *);        /* a stranger from elsewhere, who may be made to wait */
bool session_pause(struct session *);                   /* true: a delay is owed, and begins */
/* Failed logins, of the client's network and of a user. Ask before a password is looked at. */
bool session_login_allowed(const struct session *, struct str user);
void session_login_failed(struct session *, struct str user);
void session_login_ok(struct session *, struct str user);
void session_begin(struct session *);                   /* greets, now or after a delay */
void session_greet(struct session *);                   /* 220 */
bool session_greet_stranger(struct session *);          /* P_GREETING: false: the delay is not over and nothing has been said */

/* ---- commands (smtpd/verbs.c) */
bool command_read(struct session *);                    /* one command. False: none has come, or the client must read its replies first */

/* ---- verbs that have a file of their own */
void verb_mail(struct session *, struct str arg);       /* smtpd/envelope.c */
void verb_rcpt(struct session *, struct str arg);
void verb_data(struct session *, struct str arg);       /* smtpd/data.c */
void verb_bdat(struct session *, struct str arg);       /* smtpd/bdat.c */
bool chunk_read(struct session *);                      /* P_CHUNK */
void verb_starttls(struct session *, struct str arg);   /* smtpd/tls.c */

/* ---- logging in (smtpd/auth.c) */
void verb_auth(struct session *, struct str arg);
bool auth_offered(const struct session *, struct buf *mechanisms);      /* appends them, each behind a blank; false: none now */
bool auth_read(struct session *);                       /* P_AUTH */
void auth_pause_over(struct session *);                 /* P_AUTH_PAUSE, in time */
bool auth_may_send_as(const struct session *, struct str address);      /* as who has logged in; nobody has: true */
const char *auth_mechanism(const struct session *);     /* that somebody has logged in by; "": nobody, or nobody knows */
void login_free(struct session *);                      /* forgets who it is. Nobody: nothing */

/* ---- the message (smtpd/data.c) */
/* For BDAT: a chunk of n octets begins (false: hang up, nobody would read that much), takes what has come of it, and the last is over. */
/* So much that it is not even read and dropped: a refusal for good all the same, as who hears 421 sends it again for days. */
bool data_far_too_much(const struct session *, uint64_t octets);
void data_far_too_large(struct session *);
/* The time that a message, or a chunk that is counted off, has in all; how much of it is left until `end`; and waiting for its next
 * octets until then. What has come buys more time, but not what is thrown away since there is too much of it. */
msec data_ms(const struct session *);
msec data_left(const struct session *, msec end, uint64_t octets);
void data_await(struct session *, msec end, uint64_t octets);
bool data_begin_chunk(struct session *, uint64_t n);
void data_take_chunk(struct session *, struct str);
void data_end_chunks(struct session *);
void data_store(struct session *, struct str);          /* into the draft */
/* Nothing more is stored; what still comes is read and dropped, so that the reply stands where the client expects it. */
void data_refuse(struct session *, const struct refusal *);
void data_disk_failed(struct session *, const char *step);      /* says what errno says, and refuses it */
void data_commit(struct session *);                     /* it is whole and stored: makes it durable, or says why it is refused */
bool data_read(struct session *);                       /* takes what has come of it. False: nothing has */

/* ---- mail of users (smtpd/submission.c): its header is held back and completed */
bool submission_begin(struct session *);                /* false: no memory */
void submission_take(struct session *, struct str);     /* while txn->held; data_store() and data_refuse() follow */
void submission_end(struct session *);                  /* the message is over */
void submission_sign(struct session *);                 /* and stored: its signature goes in front. data_disk_failed() may follow */
/* The same for a message that is stored already, in pieces; the first one holds the whole header. submission_sign() ends it. */
void submission_sign_text(struct session *, struct str, bool first);
void submission_free(struct txn *);

/* ---- lists in the DNS (smtpd/lists.c) */
/* A recipient would be taken: is the stranger on too many lists? WAIT: s->question.facts are asked. REFUSE: why is the reply. */
enum verdict lists_decide(struct session *, const struct recipient *, struct reply *why);
const char *lists_words(const struct txn *);            /* which name it, for the log; "": none */
int lists_score(const struct session *);                /* by how much; 0: by less than dnsbl_refuse, or nobody asked */
void lists_free(struct txn *);

/* ---- SPF of strangers (smtpd/spf.c) */
/* A message is to come: asks, when it has not been done and is wanted of this client. Runs go_on(s) when it is known: now, or later; until then the session is P_VETTING, for SPF_TIME_S at most. */
void vetting_await(struct session *, void (*go_on)(struct session *));
const struct refusal *vetting_refusal(struct session *);        /* of the message, as long as the transaction lasts; NULL: none */
bool vetting_field(const struct session *, struct buf *);       /* appends Received-SPF, or nothing; false: no memory */
const char *vetting_word(const struct session *);       /* the result for the log; "": not asked for */
const struct spf_result *vetting_result(const struct txn *);   /* NULL: not asked for, or not yet known */
void vetting_free(struct txn *);

/* ---- mail from strangers (smtpd/inspect.c): its signatures and its client are checked, and what DMARC makes of that */
bool inspect_wanted(const struct session *);
size_t inspect_room(void);                              /* octets in front of the message that the results may need */
bool inspect_begin(struct session *);                   /* false: no memory */
void inspect_take(struct session *, struct str);        /* while txn->inspection: looks at it as it has come */
void inspect_end(struct session *);                     /* the message is over; data_commit() follows, now or later */
void inspect_out_of_time(struct session *);             /* P_JUDGING: no later than now */
const struct dkim *inspect_dkim(const struct txn *);    /* NULL: nothing was looked at */
const char *inspect_words(const struct txn *);          /* what came of the signatures, for the log; NULL: nothing was looked at */
const char *inspect_arc(const struct txn *);            /* the result of its chain, for the log; NULL: none, or not looked at */
const char *inspect_dmarc_words(const struct txn *);    /* the same as inspect_words() of DMARC */
bool inspect_no_iprev(const struct txn *);              /* the client's address is known to have no name that leads back */
const struct dmarc_result *inspect_dmarc(const struct txn *);   /* NULL: not looked at */
void inspect_tell(struct session *, bool taken);        /* it is known what becomes of the message: told to config->evaluated */
void inspect_free(struct txn *);

/* ---- reports on mail of ours (smtpd/reports.c) */
/* The message is whole and inspected. False: data_commit() goes on; else it is called again. */
bool reports_begin(struct session *);
void reports_time(struct session *);                    /* P_READING: it takes too long, and is taken for no report */
bool reports_taken(const struct txn *);                 /* it is one of DMARC or TLS, and will be told */
void reports_tell(struct session *);                    /* the message is in the queue */
void reports_free(struct txn *);

/* ---- who may come in (smtpd/judge.c) */
size_t judging_room(const struct session *);            /* octets in front of the message that the reason may need; 0: nobody asks */
/* The message is whole and inspected. False: data_commit() goes on, and the message may have been refused; else it is called again. */
bool judging_begin(struct session *);
void judging_time(struct session *);                    /* P_DECIDING: the time is up that it waits for */
enum dmarc_override judging_override(const struct txn *);       /* why DMARC did not count, if so */
const char *judging_word(const struct txn *);           /* the reason for the log; NULL: nobody asked */
void judging_free(struct txn *);
/* Before a further recipient of a stranger: must SPF be known first? Then: is one enough, since it does not vouch for the sender? Spam goes
 * to many, and each of them costs us as much as one alone. */
bool judging_wants_one(const struct session *);
bool judging_has_enough(struct session *);

/* ---- greylisting (smtpd/grey.c) */
/* A recipient that we take, if a stranger has come for him before, or may pass: go_on(s, arg, NULL), else with what is said to him. Now or
 * later, as vetting_await(). */
void grey_ask(struct session *, struct str arg, const struct addr *, void (*go_on)(struct session *, struct str arg, const struct reply *no));
void grey_free(struct txn *);

/* ---- filters (smtpd/milter.c) */
enum milter_ask {
	MILTER_ASK_MAIL,                /* with the connection and HELO, if they do not know it yet */
	MILTER_ASK_RCPT,
	MILTER_ASK_DATA,                /* a message is to come */
	MILTER_ASK_MESSAGE,             /* txn->draft is whole, and may be another one afterwards; it is signed, too, where it is a user's */
	MILTER_ASK_UNKNOWN              /* a command that nobody knows */
};
/* Asks all filters that are for this session, one after the other, about a path with its parameters, or about arg. Then runs go_on(s, NULL), or
 * with the reply that it is refused with: now, or later; until then the session is P_MILTER. Each filter has its time limits. A 421 is
 * said and ends the session without go_on(). No filter: go_on(s, NULL) at once. */
void milters_ask(struct session *, enum milter_ask, struct str arg, const struct addr *, struct str params,
	void (*go_on)(struct session *, const struct reply *no));
struct str milters_arg(const struct session *);         /* in go_on(): the arg that was handed in */
const struct refusal *milters_refusal(const struct session *);  /* the same as `no`; good until the next question */
bool milters_wanted(const struct session *);            /* there is one for it */
const char *milters_id(const struct session *);         /* that the message of this transaction is to have; NULL: any */
bool milters_discarded(const struct session *);         /* the message is to be taken and dropped */
void milters_abort(struct session *);                   /* the transaction is over, or the question is of no interest any more */
void milters_free(struct session *);                    /* the session is over, or begins anew */

/* ---- who stands in front of us (smtpd/proxy.c) */
enum proxy {
	PROXY_MORE,                     /* the header is not whole yet */
	PROXY_FOUND,                    /* *used octets of header, and whom it speaks for */
	PROXY_ITSELF,                   /* *used octets, and it speaks for itself */
	PROXY_WRONG                     /* that is no header */
};
enum proxy proxy_parse(struct str in, size_t *used, struct sockaddr_storage *peer);
bool proxy_read(struct session *);                      /* P_PROXY */
void verb_xclient(struct session *, struct str arg);
bool xclient_offered(const struct session *, struct buf *);     /* out may be NULL */
bool login_by_proxy(struct session *, struct str user); /* smtpd/auth.c: who is in front has asked for the password; false: no memory */
bool helo_ok(struct str name);                          /* smtpd/verbs.c */
void smtpd_peer_is(struct session *, const struct sockaddr_storage *);  /* smtpd.c: another address than it seemed; it may be turned away */

/* ---- TLS (smtpd/tls.c) */
void handshake_first(struct session *);                 /* TLS from the first octet: the greeting comes inside */
bool handshake_begin(struct session *);                 /* P_STARTTLS */
bool handshake_await(struct session *);                 /* P_HANDSHAKE */
void handshake_failed(const struct session *, const char *why);         /* the log's line about it */

#endif
