/* What the administrator has said, checked and ready for use. */
#ifndef CMD_SETTINGS_H
#define CMD_SETTINGS_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "cmd/sendas.h"
#include "deliver/alias.h"
#include "deliver/mx.h"
#include "deliver/tlsrule.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/tls.h"
#include "policy/dnsbl.h"
#include "queue.h"
#include "smtpd.h"

struct listen_on {
	enum smtpd_service service;
	struct sockaddr_storage addr;
	socklen_t len;
	const char *text;               /* as written, for the log and for complaints */
	const char *where;              /* "fardel.conf:3" */
	int fd;                         /* -1; of whoever opens it */
};

struct network {                        /* addresses that share their first `bits` bits; IPv4 is kept as ::ffff:a.b.c.d */
	unsigned char addr[16];
	unsigned bits;
};
struct networks {
	size_t n;
	struct network *net;
};
/* "127.0.0.0/8", "::1", "[2001:db8::]/32". NULL, or what is wrong. */
const char *network_parse(struct str, struct network *);
/* IPv4 or IPv6 (mapped IPv4 counts as IPv4); anything else is in no network. */
bool networks_hold(const struct networks *, const struct sockaddr *);
/* "smtp://127.0.0.1:2525", "submission://[::1]:5870" (a host of * is every address), "unix:///run/fardel.sock".
 * NULL, or what is wrong. */
const char *listen_parse(struct str, struct listen_on *);
/* "inet:127.0.0.1:11332", "inet:rspamd:11332", "unix:/run/filter.sock", and behind it perhaps for=smtp or for=submission.
 * The text is borrowed. NULL, or what is wrong. */
const char *milter_parse(const char *text, struct smtpd_milter *out);
/* "127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:53": an address with port 53 or the one said. */
bool resolver_parse(struct str, struct sockaddr_storage *, socklen_t *);

#define SETTINGS_FILE "/etc/fardel/fardel.conf"         /* read when no other is named and it is there */

enum tls_out { TLS_OUT_NO, TLS_OUT_MAY, TLS_OUT_MUST };

/* What the command line says of settings: -c FILE and -o 'name = value'. */
enum { ARGUMENT_OPTIONS = 64 };
struct arguments {
	const char *file;               /* NULL: not said */
	size_t n;
	const char *option[ARGUMENT_OPTIONS];
};

struct dkim_words {                     /* of a dkim_key */
	struct str domain, selector;
	const char *file, *where;
};

enum confine { CONFINE_NO, CONFINE_MAY, CONFINE_MUST };

enum dmarc_reports { DMARC_REPORTS_OFF, DMARC_REPORTS_KEEP, DMARC_REPORTS_SEND };       /* SEND: dmarc_reports_text is an address */

struct settings {
	/* ---- set by the rows of cmd/settings.c */
	const char *hostname;           /* always set; lower case not enforced */
	const char *origin;             /* domain of names without one; always set */
	const char *queue;
	const char *mailbox;
	const char *postmaster;         /* or NULL */
	const char *aliases, *virtual;  /* files, or NULL */
	const char *subaddress;         /* one character, or NULL */
	const char *resolver;           /* or NULL: resolv.conf */
	const char *log, *log_format_text, *log_level_text;
	const char *metrics_file;       /* or NULL */
	const char *metrics_listen;     /* or NULL: nowhere */
	struct sockaddr_storage metrics_addr;
	socklen_t metrics_len;          /* 0: nowhere */
	bool metrics_public;            /* another address than of loopback is meant so */
	const char *control;            /* path, "off", or NULL: in the queue directory */
	unsigned rcpt_domain_max, mail_max;     /* 0: no limit */
	unsigned user_rcpt_per_day;     /* 0: no limit */
	int64_t future_release_max;     /* seconds; 0: none */
	const char *users;              /* file of who may log in, or NULL */
	const char *user;               /* or NULL: keep the uid we have */
	unsigned sessions_max;
	unsigned sessions_per_address, connections_per_minute;  /* 0: no limit */
	unsigned greeting_delay_ms;
	const char *tls_out_text, *proxy_out_text;
	const char *tls_reports;        /* an address; NULL: no */
	unsigned sent_days;             /* 0: nothing is remembered */
	const char *reports_at;         /* addresses, or NULL */
	unsigned rcpt_per_hour, domain_per_hour;        /* 0: no limit */
	bool greylist;
	int64_t greylist_delay, greylist_window;        /* seconds */
	const char *inet_text;
	const char *judge_text;
	const char *mailing_lists, *forwarders, *arc_sealers;   /* domains, or NULL */
	const char *rules;              /* a file (policy/ruleset.h), or NULL */
	bool user_rules;
	int64_t subject_pass;           /* seconds; 0: there is none */
	const char *junk_folders, *neutral_folders, *sent_folders, *rejects_folder;     /* or NULL */
	int64_t first_time_delay;       /* seconds */
	const char *spf_text, *dmarc_text, *dmarc_reports_text;
	struct conf_list dnsbl_text, rhsbl_text;
	unsigned dnsbl_refuse;          /* 0: nobody is */
	bool check_iprev;
	const char *sandbox_text;
	const char *tls_ca;             /* or NULL: the system's */
	unsigned smtp_port, mta_sts_port;
	uint64_t message_size, queue_reserve, queue_log;
	const char *queue_sync_text;
	int64_t retry_first, retry_max, queue_lifetime, delay_notice;   /* seconds; delay_notice 0: none */
	int64_t session_time;
	bool deliver, check_sender, content_filter, check_dkim, mta_sts, mix_domains;
	int64_t milter_connect_timeout, milter_command_timeout, milter_content_timeout;
	const char *milter_default_text;
	struct conf_list milter_text;
	struct conf_list listen_text, local_text, relay_text, proxy_text, xclient_text, route_text, source_text, certificate_text, key_text,
		dkim_text, send_as_text, tls_rule_text;

	/* ---- made from them */
	char separator;                 /* of subaddresses; 0: none */
	bool forward, pipes, detail_folders, refuse_full;
	uint64_t mailbox_quota;         /* 0: none */
	const char *mailbox_full_text;
	const char *pipe_user;          /* or NULL: the owner of the file of aliases */
	bool homes;                     /* mailboxes are in the homes of users */
	size_t nlisten;
	struct listen_on *listen;
	struct networks relay_from, proxy_from, xclient_from;
	enum log_format log_format;
	enum log_level log_level;
	struct routes routes;           /* with local domains and smtp_port */
	size_t ntls;
	struct tls_files *tls;
	struct socks_proxy proxy_out;   /* len 0: none */
	struct tls_rules tls_rules;
	struct sendas_rules send_as;
	size_t nmilters;
	struct smtpd_milter *milters;
	enum smtpd_milter_default milter_default;
	size_t ndkim;
	struct dkim_words *dkim;
	enum tls_out tls_out;
	enum queue_sync queue_sync;
	enum inet inet;
	enum smtpd_spf spf;
	enum smtpd_judge judge;
	enum smtpd_dmarc dmarc;
	enum dmarc_reports dmarc_reports;
	size_t ndnsbl;
	struct dnsbl_list dnsbl[DNSBL_LISTS];   /* addresses first */
	enum confine sandbox;
	struct sockaddr_storage source[2];      /* IPv4, IPv6; AF_UNSPEC: not said */
	const char *file;               /* that was read (borrowed from the arguments or the environment), or NULL: presets */

	struct arguments said;          /* what settings_load() was given */
	struct conf conf;               /* rows, origins and complaints */
	char computed[2][256];          /* hostname and origin when not set */
	struct str *local;              /* routes.local */
};

/* When argv[*i] is -c or -o (glued or spaced), takes it and leaves *i at its last word. False: something else.
 * A missing word or too many options leave *why set (else NULL). */
bool arguments_take(struct arguments *, int argc, char **argv, int *i, const char **why);

/* Reads the file (said, else $FARDEL_CONF, else /etc/fardel/fardel.conf when it is there, else none), the environment and
 * the options. False: conf.errors holds lines to show; settings_free() still. */
bool settings_load(struct settings *, const struct arguments *);
void settings_free(struct settings *);
/* Who is to send needs what settings_load() may leave out: passwords of routes, in files that we may not read. False: conf.errors
 * says which. */
bool settings_can_send(struct settings *);
/* For commands: parses an argv of nothing but -c and -o, loads, shows complaints on stderr. 0, or an exit status (64, 78). */
int settings_for_command(struct settings *, int argc, char **argv);
/* What the aliases are made with; it points into the settings. */
struct alias_config settings_aliases(const struct settings *);
/* For aliases_try_all(), of a name in a local domain: is there no mailbox for it? settings: what was loaded. Never when that cannot be told. */
bool alias_is_nobody(void *settings, const struct addr *);
/* Shows conf.errors on stderr; the exit status for them: 78, or 75 where a file could not be read for now. */
int settings_complain(const struct settings *);

#endif
