/* The SMTP server: everything from accept() to queue_commit() (RFC 5321, 1870, 2034, 2920, 3207, 6152, 9422). */
#ifndef SMTPD_H
#define SMTPD_H

#include "fardel.h"
#include "lib/facts.h"

struct greylist;
struct judge_message;
struct judgement;
struct refused;
struct dnsbl_list;
struct evaluation;
struct signer;
struct tls_server;
struct users;

/* What becomes of RFC 7208's answer: nobody asks for it; it is noted in the message and in the log; or a fail is refused and a temperror put
 * off, too. FACT_A .. FACT_TXT need a source then. */
enum smtpd_spf { SMTPD_SPF_OFF, SMTPD_SPF_NOTE, SMTPD_SPF_REFUSE };
/* The same of DMARC's: refused is what the domain's owner wants refused, and what does not tell who has written it; put off is what would be
 * refused if it were known. It needs spf and check_dkim. */
enum smtpd_dmarc { SMTPD_DMARC_OFF, SMTPD_DMARC_NOTE, SMTPD_DMARC_REFUSE };

/* What becomes of the question who may come in (policy/judge.h): nobody asks it; the answer is noted in the message and in the log; or who is not
 * wanted is turned away, too. */
enum smtpd_judge { SMTPD_JUDGE_OFF, SMTPD_JUDGE_NOTE, SMTPD_JUDGE_REFUSE };

/* A filter that is asked about mail (milter protocol). All borrowed. */
struct smtpd_milter {
	const char *text;                       /* as written, for the log */
	char host[DOMAIN_MAX + 1];              /* whose address is looked up each time (FACT_HOSTS, FACT_A, FACT_AAAA), with its port; "": addr */
	unsigned port;
	struct sockaddr_storage addr;
	socklen_t len;
	bool servers, users;                    /* on SMTPD_MX; on all other services */
};
/* What becomes of mail when one of them is out of order: it is put off, taken without it, or refused. */
enum smtpd_milter_default { SMTPD_MILTER_TEMPFAIL, SMTPD_MILTER_ACCEPT, SMTPD_MILTER_REJECT };

struct smtpd_config {
	const char *hostname;
	const char *marker;             /* said behind our name in EHLO's reply to who calls himself by it; NULL: nothing */
	uint64_t message_size;                  /* octets, announced as SIZE. 0: no limit */
	unsigned rcpt_max;                      /* a transaction; announced as LIMITS RCPTMAX. 0: 10000 */
	unsigned rcpt_domain_max;               /* different domains in it, announced as RCPTDOMAINMAX. 0: no limit */
	unsigned mail_max;                      /* transactions a session, announced as MAILMAX. 0: no limit */
	bool complete;                          /* what users and local programs send gets Date, Message-ID and so on, and From is checked */
	const char *arc_sealers;                /* whose seals make up for a failure of DMARC (policy/arc.h); NULL: nobody's */
	bool check_dkim;                        /* signatures of mail from strangers at SMTPD_MX are checked, and the results written in front of it */
	bool check_iprev;                       /* and whether their addresses have names that lead back (RFC 8601 3) */
	enum smtpd_dmarc dmarc;                 /* and of its authors */
	struct dnsbl_list *dnsbl;               /* policy/dnsbl.h: lists that strangers may be on, asked at RCPT; FACT_A and FACT_TXT need a source then */
	size_t ndnsbl;
	int dnsbl_refuse;                       /* the score that is refused, 0: none is */
	const struct signer *signer;            /* DKIM keys for what is completed (policy/sign.h); NULL: none */
	int64_t future_max;                     /* seconds that a user may have a message kept (RFC 4865). 0: it is not offered */
	unsigned sessions_max;                  /* in all. 0: 12000; lowered to what descriptors allow */
	unsigned sessions_per_address;          /* of a stranger; loopback has no limit, wider networks 3 and 9 times as many. 0: no limit */
	unsigned connections_per_minute;        /* the same */
	unsigned rcpt_per_hour, domain_per_hour;        /* messages of strangers at SMTPD_MX to one recipient, from one sender's domain. 0: no limit */
	struct greylist *greylist;              /* asked about strangers at SMTPD_MX (policy/greylist.h); NULL: nobody is */
	int64_t greylist_delay_s, greylist_window_s;
	unsigned greeting_delay_ms;             /* for strangers at SMTPD_MX; who speaks meanwhile is not served */
	unsigned hops_max;                      /* Received fields, 0: 100 */
	unsigned idle_s, data_s;                /* 0: 300 a command, 1800 for a whole message, and 1 s more for each 1000 octets of it */
	unsigned session_s;                     /* without a message that is taken. 0: 3600 */
	enum smtpd_spf spf;                     /* of the senders that strangers name on a service for other servers */
	const struct smtpd_milter *milters;     /* asked one after the other */
	size_t nmilters;
	enum smtpd_milter_default milter_default;
	unsigned milter_connect_s, milter_command_s, milter_content_s;  /* for its options; for an answer to a command, and to a part of a message */
	struct tls_server *tls;                 /* what STARTTLS and SMTPD_SUBMISSIONS show; NULL: STARTTLS is not offered */
	struct users *users;                    /* who may log in (auth/users.h); NULL: nobody. verify_start() was called */
	const char *origin;                     /* the domain of names that local programs write without one; NULL: none */
	const struct str *local_domains;        /* lower case: those of users whose names have none */
	size_t nlocal_domains;
	/* Decides on a recipient; must be set. WAIT: run again from the top when facts have come. REFUSE: why is the reply. */
	enum verdict (*rcpt)(void *arg, const struct subject *, struct facts *, const struct recipient *, struct reply *why);
	/* The same for the sender that a stranger names on a service for other servers; NULL: any may be named. */
	enum verdict (*mail)(void *arg, const struct subject *, struct facts *, const struct sender *, struct reply *why);
	/* Clients who may send mail anywhere: not limited, not delayed, not counted. NULL: none. Local programs and who has
	 * logged in are never asked for. */
	bool (*trusted)(void *arg, const struct subject *);
	/* Who must begin with a PROXY header, and who may say XCLIENT. NULL: nobody. */
	bool (*proxy)(void *arg, const struct subject *);
	bool (*xclient)(void *arg, const struct subject *);
	/* Of mail from strangers at SMTPD_MX, when it is whole. */
	enum smtpd_judge judge;
	bool judge_content;                     /* it is in a file by then, and judge_message says where */
	unsigned first_time_s;                  /* how long a sender waits for 250 whom nobody knows and nothing speaks against. 0: not at all */
	/* Decides for a recipient; must be set unless judge is off. WAIT: run again when facts have come. late: what has not come by now will not.
	 * *out is filled in place. */
	enum verdict (*judge_rcpt)(void *arg, struct facts *, const struct addr *to, const struct judge_message *, bool late, struct judgement *out);
	/* Keeps what was refused for its recipient; NULL: nobody does. */
	void (*keep)(void *arg, struct refused *);
	/* Who has logged in has sent a message to this address; NULL: nobody wants to know. */
	void (*wrote)(void *arg, const struct subject *, const struct addr *to);
	/* What DMARC has found out of a message whose author's domain wants reports, and what was done with it. NULL: nobody keeps it. */
	void (*evaluated)(void *arg, const struct evaluation *);
	/* Mail may be a report on ours (policy/feedback.h): a delivery status from anybody who is no user; of DMARC or TLS, from strangers, to an address
	 * that they are to come to, about a domain that is ours. It is read (FACT_FEEDBACK needs a source then) before it is taken, and told when
	 * it has been, with what feedback_read() has made of it. NULL: nobody wants to know. */
	void (*reported)(void *arg, const struct subject *, const char *id, struct str text);
	bool (*reports_at)(void *arg, const struct addr *);     /* NULL: none is */
	bool (*reports_on)(void *arg, struct str domain);       /* set when reports_at is */
	void *arg;
};

/* Borrowed; may be called again for new sessions (the old one must outlive the sessions that began with it). Ends a smtpd_stop(). */
void smtpd_configure(const struct smtpd_config *);
/* What a listening socket is for. */
enum smtpd_service {
	SMTPD_MX,                       /* mail from the world for us, and relaying for who may: port 25 */
	SMTPD_SUBMISSION,               /* mail from users (RFC 6409): port 587 */
	SMTPD_SUBMISSIONS,              /* the same, TLS from the first octet (RFC 8314): port 465 */
	SMTPD_LOCAL                     /* programs of this machine, by a local socket or a pipe */
};
/* Takes a listening socket. 0, or -1 with errno and it is the caller's. */
int smtpd_listen(int fd, enum smtpd_service);
/* One session on descriptors that are there already (inetd, sendmail -bs), which it closes; ended() (may be NULL) runs when
 * it is over. peer NULL: whoever the socket says; what is no internet socket then counts as a local program with SMTPD_MX. Whoever
 * says submission wants logins, also from a wrapper that hands over a pipe. 0, or -1 with errno and they are the caller's. */
int smtpd_session(int in, int out, enum smtpd_service, const struct sockaddr_storage *peer, void (*ended)(void));
/* Closes the listening sockets. Sessions without a transaction end with 421 now, others at their next command;
 * a message that is being sent is still taken. */
void smtpd_stop(void);
/* Counts of strangers (policy/limits.h) from one run to the next, in the file "limits" of a directory: after smtpd_configure(), and at the end. */
void smtpd_counts_load(int dir);
void smtpd_counts_save(int dir);
unsigned smtpd_sessions(void);                          /* that are not over yet */
unsigned smtpd_sessions_of(const struct smtpd_config *);        /* those that began with it; walks them all */
struct smtpd_figures {
	const char *peer, *doing, *user;        /* user "": nobody has logged in */
	int64_t seconds;                        /* since it began, or has brought a message */
	unsigned mails;                         /* transactions begun */
};
/* Tells of so many sessions at most, the one that was quiet longest first. */
void smtpd_measure(size_t most, void (*each)(void *arg, const struct smtpd_figures *), void *arg);
unsigned smtpd_places(void);                            /* at most so many, as descriptors allow */

#endif
