/* Remedies, by what was said: the first row that fits. */
#include "cmd/remedy.h"

#include <stddef.h>

#include "parse.h"

static const struct {
	const char *status;             /* its beginning, without the class: ".7.8"; "": any */
	const char *words;              /* somewhere in them; "": any */
	bool ours;                      /* our own words, no peer's reply */
	const char *remedy;
} rows[] = {
	{ "", "timed out", true, "if connections to other hosts time out as well, outgoing port 25 is blocked where this host stands: ask the provider, or send by a "
		"smarthost at port 587 or 465 (setting route). `fardel explain --connect ADDRESS` tries the host now." },
	{ "", "refused", true, "nothing listens there: if it is the host of a route, look at its name and port and whether it runs." },
	{ "", "unreachable", true, "this host has no way there: look at its network (ip route); without IPv6, set inet = only4." },
	{ ".7.8", "", false, "put user and password of the route right (setting route), then `fardel queue retry all`." },
	{ ".7.0", "authentication", false, "the host wants a login: give its route user= and password_file=." },
	{ ".7.25", "", false, "give the address that this host sends from a PTR record with its hostname, whose address leads back; for IPv6 without one set "
		"inet = only4." },
	{ "", "PTR", false, "give the address that this host sends from a PTR record with its hostname, whose address leads back; for IPv6 without one set "
		"inet = only4." },
	{ ".4.3", "", true, "look whether the resolver answers: `fardel check` asks it; see /etc/resolv.conf or the setting resolver." },
	{ ".7.5", "", true, "`fardel explain --connect ADDRESS` shows the certificate's fault; look at this host's clock (date) and tls_ca first." },
	{ ".7.4", "", true, "`fardel explain --connect ADDRESS` shows what TLS the host offers; who demands it is a route, tls, tls_out or the domain itself." },
	{ "", "not yet valid", true, "look at the clock of this host (date): a certificate is judged by it." },
	{ "", "No space left", true, "the disk is full: make room, the rest follows by itself." },
	{ ".3.5", "ordered", true, "mend or remove the file of the message in orders/ of the queue, or `fardel queue reroute` it anew." },
};

static bool contains(struct str s, struct str what)
{
	for (size_t i = 0; i + what.n <= s.n; i++)
		if (str_starts_nocase(str_from(s, i), what))
			return true;
	return false;
}

const char *remedy_of(struct str status, struct str words)
{
	for (size_t i = 0; words.n && i < sizeof rows / sizeof *rows; i++)
		if ((!rows[i].status[0] || str_eq(str_from(status, 1), str_of(rows[i].status))) && contains(words, str_of(rows[i].words)) &&
		    (!rows[i].ours || !words_are_reply(words)))
			return rows[i].remedy;
	return NULL;
}
