/* Which way to a domain, for a sender: the local mailboxes, a configured route or the domain's MX. Pure. */
#ifndef DELIVER_ROUTE_H
#define DELIVER_ROUTE_H

#include "fardel.h"
#include "lib/socks.h"
#include "lib/str.h"

/* Any: as it is done for MX hosts. Verify: the host must show a certificate for its name. */
enum route_tls { ROUTE_TLS_ANY, ROUTE_TLS_ENCRYPT, ROUTE_TLS_VERIFY };
struct route_login {
	char user[256], password[512];
	char file[256];                 /* "": the password is above. Else it is in this file, for the caller to put there */
	char command[512];              /* that prints an access token in place of a password; "": none */
};

enum { ROUTE_HOSTS = 4 };          /* of one route, asked in their order */
struct route_host {
	char name[256];                 /* or address without brackets */
	bool is_address;
	bool dane;                      /* set by the caller, for mx_find(): it is asked what DNSSEC says of its certificate */
	unsigned port;
};

struct route_rule;
enum route_kind { ROUTE_MX, ROUTE_SMTP, ROUTE_LMTP, ROUTE_LOCAL };

struct route {
	enum route_kind kind;
	char domain[256];               /* ROUTE_MX: whose hosts; "": one that is too long */
	unsigned port;                  /* and their port */
	char path[108];                 /* ROUTE_LMTP: of a socket; or "" and */
	struct route_host host[ROUTE_HOSTS];    /* ROUTE_SMTP, ROUTE_LMTP: hosts */
	size_t nhosts;
	char key[300];                  /* equal for domains that may share a connection: "smtp://host:port", "mx example.org", "local" */
	enum route_tls tls;
	bool tls_first;                 /* from the first octet (smtps://) */
	const struct route_login *login;        /* of the rule; NULL: none */
	const struct socks_proxy *proxy;        /* the same */
	const struct route_rule *rule;  /* that says so; NULL: none does */
	bool shared;                    /* several domains may share one transaction */
	bool by_sender;                 /* found without a sender; for some senders it is another one */
};

struct route_rule {
	char domain[256];               /* exact, ".example.org" (all below it) or "*" */
	char from[ADDR_MAX + 1];        /* senders that it is for: an address, a domain, ".example.org", "<>"; "": all */
	struct route to;
	struct route_login login;       /* user "": none */
	struct socks_proxy proxy;       /* len 0: none */
};
struct routes {
	struct route_rule *rule;
	size_t n;
	struct str *local;              /* local domains, lower case; borrowed */
	size_t nlocal;
	bool (*also_local)(const void *arg, struct str domain); /* more of them; NULL: none */
	const void *also_arg;
	unsigned smtp_port;             /* for MX deliveries */
};

/* "example.org smtp://127.0.0.1:2600", "* lmtp://[::1]:24", "x.test lmtp:///run/lmtp.sock", "x.test mx",
 * "* smtp+starttls://anna:secret@relay.example", "* smtps://relay.example user=anna password_file=/etc/relay tls=encrypt",
 * "* smtp://a.example,b.example:2525" (b where a is of no use), "* smtp://a.example from=anna@example.org",
 * "* mx proxy=socks5://127.0.0.1:1080",
 * "* smtps://h user=anna token_command=/usr/bin/token anna" (up to the line's end). Ports left out: 25, lmtp 24,
 * smtp+starttls 587, smtps 465. In a URL's user and password %XX stands for an octet. NULL, or what is wrong. */
const char *route_parse(struct str text, struct route_rule *out);
/* Rules with the same way but another login, there or at a proxy, get a key of their own. After the last password was read. */
void routes_tell_apart(struct routes *);
/* Exact before suffix (longer first) before "*"; among rules that name the domain as closely, the sender's address before its domain before
 * a suffix of that before no sender. A local domain is local unless a rule names it exactly. Domain in lower case. No domain at all
 * (RCPT TO:<postmaster>) is local. Of equal rules the first counts. from NULL: rules for certain senders count only for by_sender. */
void route_find(const struct routes *, struct str domain, const struct addr *from, struct route *out);
/* The way that somebody orders for mail to this domain, whatever the rules say of it: "mx", a URL as in a rule, or a host, of which the rule
 * that names it says how (else smtp://). The login is a rule's that names the same hosts. NULL, or what is wrong. */
const char *route_to(const struct routes *, struct str way, struct str domain, struct route *out);
bool route_is_local(const struct routes *, struct str domain);

#endif
