/* Remedies, by what was said: the first row that fits. */
#include "cmd/remedy.h"

#include <stddef.h>

#include "dsn.h"

static const struct {
	const char *status;             /* its beginning, without the class: ".7.8"; "": any */
	const char *words;              /* somewhere in them; "": any */
	bool ours;                      /* our own words, no peer's reply */
	const char *remedy;
} rows[] = {
	{ ".7.8", "token_command", true, "run the token_command of the route by hand, as the account that sends; then `fardel queue retry all`." },
	{ ".7.8", "", false, "put user and password of the route right (setting route): it is read again by HUP or a restart. Then `fardel queue retry all`." },
	{ ".4.3", "", true, "look whether the resolver answers: `fardel check` asks it; see /etc/resolv.conf or the setting resolver." },
	{ "", "through the proxy", true, "look whether the proxy runs and lets this host through (setting proxy_out, or proxy= of the route); what it says of the "
		"host it was to reach stands behind its name." },
	{ "", "timed out", true, "if connections to other hosts time out as well, outgoing port 25 is blocked where this host stands: ask the provider, or send by a "
		"smarthost at port 587 or 465 (setting route). `fardel explain --connect ADDRESS` tries the host now." },
	{ "", "Connection refused", true, "nothing listens there: if it is the host of a route, look at its name and port and whether it runs." },
	{ "", "unreachable", true, "this host has no way there: look at its network (ip route); without IPv6, set inet = only4." },
	{ ".7.0", "authentication", false, "the host wants a login: give its route user= and password_file=." },
	{ ".7.25", "", false, "give the address that this host sends from a PTR record with its hostname, whose address leads back; for IPv6 without one set "
		"inet = only4." },
	{ "", "PTR", false, "give the address that this host sends from a PTR record with its hostname, whose address leads back; for IPv6 without one set "
		"inet = only4." },
	{ ".7.5", "expired", true, "look at this host's clock (date). If it is right, who runs that host must renew its certificate, and the mail waits for it: "
		"`fardel explain --connect ADDRESS` shows the certificate." },
	{ ".7.5", "", true, "`fardel explain --connect ADDRESS` shows the certificate's fault; look at this host's clock (date) and tls_ca first." },
	{ ".7.4", "", true, "`fardel explain --connect ADDRESS` shows what TLS the host offers; who demands it is a route, tls, tls_out or the domain itself." },
	{ "", "not yet valid", true, "look at the clock of this host (date): a certificate is judged by it." },
	{ "", "No space left", true, "the disk is full: make room, the rest follows by itself." },
	{ ".2.2", "", true, "make room in the mailbox, or raise mailbox_quota." },
	{ "", "Permission denied", true, "`fardel check` says whose the mailbox must be, and how it gets that way (chown)." },
	{ "", ".forward file", true, "`fardel alias ADDRESS` says what is wrong with it, or with the user, and so does a line alias of the log." },
	{ ".3.5", "holds the mailboxes", true, "is the disk with the mailboxes mounted? `fardel check` names the directory (setting mailbox)." },
	{ ".3.5", "ordered", true, "mend or remove the file of the message in orders/ of the queue, or `fardel queue reroute` it anew." },
};

static bool contains(struct str s, struct str what)
{
	for (size_t i = 0; i + what.n <= s.n; i++)
		if (str_starts_nocase(str_from(s, i), what))
			return true;
	return false;
}

const char *remedy_of(struct str host, struct str status, struct str words)
{
	for (size_t i = 0; words.n && i < sizeof rows / sizeof *rows; i++)
		if ((!rows[i].status[0] || str_eq(str_from(status, 1), str_of(rows[i].status))) && contains(words, str_of(rows[i].words)) &&
		    (!rows[i].ours || !dsn_peer_spoke(host, words)))
			return rows[i].remedy;
	return NULL;
}
