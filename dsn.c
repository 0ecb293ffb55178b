/* Delivery status reports: one story told three times, for a person, for a program, and as proof. */
#include "dsn.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "parse.h"

enum {
	COLUMNS = 76,
	WORD_MAX = 400,                 /* a longer word is cut in pieces, so that no line passes 998 octets (RFC 5321 4.5.3.1.6) */
	SUBJECT_MAX = 200,
	VALUE_MAX = 900,                /* of what may not be broken at all: addresses, identifiers */
	CONVERSATIONS = 5,              /* told in a report, */
	CONVERSATION_LINES = 100,       /* with so many lines each */
	LINE_OCTETS = 998
};

/* What a report is made of before it is put together. */
struct parts {
	struct buf human, status;
	struct str original;            /* what is returned of it */
	const char *original_type;
	const char *original_note;      /* the same for the person */
	const char *original_encoding;
	struct buf encoded;             /* original, when it had to be encoded */
	bool human_utf8;
	bool global;                    /* the sender reads UTF-8 in addresses, and there is some */
	struct buf boundary;
	struct buf scratch;
};

/* ---- what an action is called */

static const struct action {
	const char *word;               /* RFC 3464 2.3.3 */
	const char *classes;            /* first digits that its status may have */
	const char *default_status;
	const char *subject;
	const char *opening;            /* ... "the recipient named below." */
	const char *title;
} actions[] = {
	[DSN_FAILED] = { "failed", "54", "5.0.0", "Your message could not be delivered",
		"Your message could not be delivered to ",
		"NOT DELIVERED, and not tried again. It is up to you whether to send it once more:" },
	[DSN_DELAYED] = { "delayed", "4", "4.0.0", "Your message is delayed and still being tried",
		"Your message could not be delivered yet to ",
		"NOT DELIVERED YET. It is kept here and tried again by itself. There is nothing you must do; please do not "
		"send it again:" },
	[DSN_RELAYED] = { "relayed", "2", "2.0.0", "Your message was passed on",
		"Your message was passed on for ",
		"PASSED ON to a mail system that sends no word of what becomes of it:" },
	[DSN_EXPANDED] = { "expanded", "2", "2.0.0", "Your message was sent on",
		"Your message was sent on for ",
		"SENT ON to those whom this address stands for. There is nothing you must do:" },
	[DSN_DELIVERED] = { "delivered", "2", "2.0.0", "Your message was delivered",
		"Your message was delivered to ",
		"DELIVERED. There is nothing you must do:" },
};
enum { ACTIONS = sizeof actions / sizeof actions[0] };

/* ---- what answers mean, and what can be done about them (status codes: RFC 3463, 5248, 7372, 7505) */

enum whose {
	ANYBODY,
	PEER,                           /* a reply of the host that was asked */
	OURS,                           /* our own words, or a reply of ours for a mailbox */
	CALL,                           /* our own words about a connection that did not come about */
	AT_465                          /* our own words about a host at that port */
};

static const char later[] = "send the message again later, or reach the recipient by other means.";
static const char typing[] = "check the address for typing mistakes.";
static const char smaller[] = "send it in smaller parts, or send a link to what made it large.";
static const char ask_us[] = "tell whoever looks after this mail system.";
static const char no_ptr[] = "the recipient's mail system wants the address of this one to have a name in the DNS that leads back to it (PTR), and does not find it.";
static const char give_ptr[] = "give the address that this host sends from a PTR record with its hostname, whose address leads back; for IPv6 without "
	"one set inet = only4. `fardel check` shows both.";
static const char ask_them[] = "tell whoever looks after the recipient's mail system.";

/* What a row does not say is looked for in those below it. */
static const struct cause_row {
	const char *status;             /* '?' stands for one character, '*' for the rest; none: "" */
	enum whose whose;
	const char *words;              /* somewhere in them, in any case; several, with | between them: any; NULL: whatever they are */
	const char *meaning;
	const char *advice;             /* for the sender of what has failed */
	const char *remedy;             /* for whoever runs this host */
} causes[] = {
	/* ---- no connection, or no conversation */
	{ "*", CALL, "seems to be blocked",
		"neither the recipient's mail system nor any other could be reached: outgoing mail (port 25) seems to be blocked where this mail system "
		"stands.",
		ask_us,
		"ask the provider to open outgoing port 25, or send by a smarthost at port 587 or 465 (`fardel setup`, or the setting route)." },
	{ "*", OURS, "through the proxy", NULL, NULL, "look whether the proxy runs and lets this host through (setting proxy_out, or proxy= of the "
		"route); what it says of the host it was to reach stands behind its name." },
	{ "*", CALL, "timed out",
		"the recipient's mail system could not be reached. If this happens with every recipient, outgoing connections "
		"to port 25 may be blocked where this mail system stands; whoever looks after it can find out.",
		later,
		"if connections to other hosts time out as well, outgoing port 25 is blocked where this host stands: ask the provider, or send by a "
		"smarthost at port 587 or 465 (setting route). `fardel explain --connect ADDRESS` tries the host now." },
	{ "*", CALL, "refused",
		"the recipient's computer is there, but takes no mail at the moment.",
		later,
		"nothing listens there, or a firewall refuses it: if it is the host of a route, look at its name and port and whether it runs." },
	{ "*", CALL, "No route to host|Host is unreachable|not permitted",
		"there is no way from this mail system to that of the recipient at the moment.",
		later,
		"a firewall forbids it, here or on the way, or the other host is off: if connections to port 25 of other hosts are answered so, too, let them "
		"out (nft list ruleset), or ask the provider, or send by a smarthost at port 587 or 465 (`fardel setup`, or the setting route)." },
	{ "*", CALL, "unreachable",
		"there is no way from this mail system to that of the recipient at the moment.",
		later,
		"this host has no way there: look at its network (ip route); without IPv6, set inet = only4." },
	{ "?.4.2", AT_465, "greeting:",
		"the recipient's mail system was reached and said nothing that mail could be sent by.",
		later,
		"port 465 speaks TLS from the first octet on: write smtps:// in the route." },
	{ "?.4.2", OURS, "greeting:", NULL, NULL, "if it is the host of a route: a port that speaks TLS from the first octet on, as 465 does, is smtps:// there; else the "
		"host itself, or something in between, is in trouble." },
	{ "*", OURS, "timed out", NULL, NULL, "if connections to other hosts time out as well, outgoing port 25 is blocked where this host stands, or something "
		"in between swallows what is said: ask the provider, or send by a smarthost at port 587 or 465 (setting route). "
		"`fardel explain --connect ADDRESS` tries the host now." },
	{ "?.4.3", OURS, NULL, NULL, NULL, "look whether the resolver answers: `fardel check` asks it; see /etc/resolv.conf or the setting resolver." },
	/* ---- TLS and logging in */
	{ "?.7.5", OURS, "not valid yet|expired",
		"by the clock of this mail system the certificate of the other one is out of date, or is not valid yet.",
		ask_us,
		"look at this host's clock (date). If it is right, who runs that host must renew its certificate, and the mail waits for it: "
		"`fardel explain --connect ADDRESS` shows the certificate." },
	{ "?.7.5", OURS, "for another name",
		"the other mail system shows a certificate with another name than the one it was called by.",
		ask_us,
		"`fardel explain --connect ADDRESS` shows the certificate's names: if it is the host of a route, write one of them there. Else who runs "
		"that host must mend it; a wrong clock of this host (date) is not to blame." },
	{ "?.7.5", OURS, "who is trusted",
		"the certificate of the other mail system is from nobody who is known here.",
		ask_us,
		"install ca-certificates, or name a file of those who are trusted (setting tls_ca); look at this host's clock (date), too. "
		"`fardel explain --connect ADDRESS` shows the certificate." },
	{ "?.7.5", OURS, "is no TLS",
		"the other mail system does not speak encrypted where it was expected to.",
		ask_us,
		"a port that speaks plain SMTP first, as 587 does, is smtp+starttls:// in the route; smtps:// is for port 465." },
	{ "?.7.5", OURS, "TLS 1.3",
		"the two mail systems have no version of encryption (TLS) in common.",
		ask_us,
		"the host offers TLS 1.3 alone, and this build has up to 1.2: send there by another host (setting route)." },
	{ "?.7.5", OURS, NULL, NULL, NULL, "`fardel explain --connect ADDRESS` shows the certificate's fault; look at this host's clock (date) and tls_ca first." },
	{ "?.7.4", OURS, NULL, NULL, NULL, "`fardel explain --connect ADDRESS` shows what TLS the host offers; who demands it is a route, tls, tls_out or the "
		"domain itself." },
	{ "?.7.8", OURS, "token_command", NULL, NULL, "run the token_command of the route by hand, as the account that sends; then `fardel queue retry all`." },
	{ "?.7.8", ANYBODY, NULL,
		"the next mail system did not accept the password of this one.",
		ask_us,
		"put user and password of the route right (setting route), which is read again by HUP or a restart; then `fardel queue retry all`. Often the "
		"user is the whole address, and the password one that the provider makes for programs." },
	{ "?.7.0", PEER, "authentication|log in|login",
		"the next mail system wants this one to log in, which it did not.",
		ask_us,
		"the host wants a login: give its route user= and password_file=." },
	{ "?.7.0", PEER, "STARTTLS",
		"the next mail system takes mail inside encryption (TLS) only.",
		ask_us,
		"give its route TLS: smtp+starttls:// for port 587, smtps:// for 465." },
	{ "*", PEER, "relay access denied|relaying denied|relay denied|not permitted to relay|relay not permitted|unable to relay|relaying not allowed",
		"the mail system that was asked does not take mail for this address.",
		typing,
		"if it is the host of a route, it wants a login (user= and password_file= of the route), or has to be told that this host may send by it." },
	{ "5.*", PEER, "sender address rejected|sender rejected|not owned by|sendasdenied|send as this sender|sender address is not",
		"the mail system that was asked does not take mail under the address that this message is from.",
		ask_us,
		"if it is the host of a route, it wants an address that belongs to its login, and in any case one whose domain is in the DNS: root at a host "
		"without mail is none. The setting send_as gives such mail another one." },
	/* ---- what the big ones say of a sending host */
	{ "?.7.25", ANYBODY, NULL,
		no_ptr,
		ask_us,
		give_ptr },
	{ "*", PEER, "PTR record|PTR resource|no PTR|IPv6 sending guidelines|reverse DNS|rDNS|reverse hostname|reverse lookup|find your hostname",
		no_ptr,
		ask_us,
		give_ptr },
	{ "*", PEER, "Helo command rejected|invalid HELO|HELO name|EHLO name|fully-qualified hostname",
		"the recipient's mail system does not like the name by which this one introduces itself.",
		ask_us,
		"set hostname to the name that the PTR record of this host's address has, and that leads back to the address." },
	{ "*", PEER, "spamhaus|spamcop|barracuda|blocked using|block list|blocklist|black list|blacklist| RBL|DNSBL|listed at|listed by|reputation",
		"the recipient's mail system takes nothing from the address of this one, which is on a list of those who send unwanted mail, or has a bad name "
		"there for another reason.",
		ask_us,
		"look at the list that is named: it says what it is for and how one leaves it. Addresses of homes and new servers are often on one for no fault "
		"of theirs: then send by a smarthost (`fardel setup`). Else look for who sends through this host (`fardel top`, the log)." },
	{ "*", PEER, "DMARC|SPF |SPF:|DKIM|sender policy|unauthenticated|not authenticated",
		"the recipient's mail system did not believe that the message comes from where it says (SPF, DKIM, DMARC).",
		ask_us,
		"the domain of the sender needs an SPF record with this host's addresses, or a DKIM key that this host signs with (`fardel dkim-key`, setting "
		"dkim_key). `fardel spf` and `fardel dmarc` show what others see; a domain that is not yours cannot be sent from here." },
	{ "?.7.2?", ANYBODY, NULL,
		"the recipient's mail system did not believe that the message comes from where it says (SPF, DKIM or the name of the sending computer).",
		"tell whoever looks after this mail system, or your own domain.",
		"the domain of the sender needs an SPF record with this host's addresses, or a DKIM key that this host signs with (`fardel dkim-key`, setting "
		"dkim_key). `fardel spf` and `fardel dmarc` show what others see." },
	{ "4.*", PEER, "greylist|graylist|grey list|gray list|greylisted",
		"the recipient's mail system lets strangers wait for some minutes, and then takes the message.",
		later, NULL },
	{ "4.*", PEER, "rate limit|too many|unusual rate|throttl|unexpected volume|too fast",
		"the recipient's mail system takes only so much from this one at a time.",
		later,
		"it is tried again in growing pauses by itself. If it stays so, look for who sends so much (`fardel queue shape`, `fardel top`)." },
	{ "5.7.*", PEER, "spam|unsolicited|junk|virus|malware|attachment|content",
		"the recipient's mail system takes the message for unwanted or dangerous.",
		"send it in other words, without links and attachments, or ask the recipient, by other means, to have the rule changed.", NULL },
	/* ---- recipients, where there is no code that says it */
	{ "5.*", PEER, "user unknown|unknown user|no such user|no such recipient|no such mailbox|user not found|mailbox not found|unknown recipient|"
		"recipient unknown",
		"there is no mailbox of that name.",
		"check the address for typing mistakes. If it is right, ask the recipient for the one in use now.", NULL },
	{ "*", PEER, "mailbox full|mailbox is full|over quota|quota exceeded",
		"the recipient's mailbox is full.",
		"send the message again later, or tell the recipient by other means.", NULL },
	{ "5.*", PEER, "message too large|message too big|message size exceeds|size limit",
		"the message is larger than the recipient's mail system takes.", smaller, NULL },
	/* ---- this host */
	{ "*", OURS, "No space left", NULL, NULL, "the disk is full: make room, the rest follows by itself." },
	{ "?.2.2", OURS, NULL, NULL, NULL, "make room in the mailbox, or raise mailbox_quota." },
	{ "*", OURS, "Permission denied", NULL, NULL, "`fardel check` says whose the mailbox must be, and how it gets that way (chown)." },
	{ "*", OURS, ".forward file", NULL, NULL, "`fardel alias ADDRESS` says what is wrong with it, or with the user, and so does a line alias of the log." },
	{ "?.3.5", OURS, "holds the mailboxes", NULL, NULL, "is the disk with the mailboxes mounted? `fardel check` names the directory (setting mailbox)." },
	{ "?.3.5", OURS, "names a file or a command", NULL, NULL,
		"set pipes = yes for commands, or have the alias name an address. `fardel check` names file and line." },
	{ "?.3.5", OURS, "ordered", NULL, NULL, "mend or remove the file of the message in orders/ of the queue, or `fardel queue reroute` it anew." },
	{ "?.3.5", OURS, NULL,
		"something in the settings of this mail system stands in the way.", ask_us, NULL },
	{ "?.3.0", OURS, NULL,
		"this mail system is in trouble itself at the moment.", ask_us, NULL },
	/* ---- the codes alone */
	{ "5.1.1", ANYBODY, NULL,
		"there is no mailbox of that name.",
		"check the address for typing mistakes. If it is right, ask the recipient for the one in use now.", NULL },
	{ "?.1.2", ANYBODY, NULL,
		"the part of the address behind the @ is no place that mail can be sent to.", typing, NULL },
	{ "?.1.3", ANYBODY, NULL,
		"the address is not written as an address must be.", typing, NULL },
	{ "?.1.6", ANYBODY, NULL,
		"the mailbox has moved.",
		"ask the recipient for the address in use now.", NULL },
	{ "?.1.7", ANYBODY, NULL,
		"your own address, as sender, was not accepted.",
		"check the sender address in the settings of your mail program.", NULL },
	{ "?.1.8", ANYBODY, NULL,
		"your own address, as sender, was not accepted, since its domain could not be found.",
		"check the sender address in the settings of your mail program.",
		"the domain of the sender must be in the DNS: programs of this host send as USER@origin (setting origin, or send_as)." },
	{ "5.1.10", ANYBODY, NULL,
		"the part of the address behind the @ says of itself that it takes no mail.", typing, NULL },
	{ "?.2.1", ANYBODY, NULL,
		"the mailbox is switched off.",
		"reach the recipient by other means.", NULL },
	{ "?.2.2", ANYBODY, NULL,
		"the recipient's mailbox is full.",
		"send the message again later, or tell the recipient by other means.", NULL },
	{ "?.2.3", ANYBODY, NULL,
		"the message is larger than this recipient may get.", smaller, NULL },
	{ "?.3.1", ANYBODY, NULL,
		"the recipient's mail system has no room left.",
		"send the message again later.", NULL },
	{ "?.3.4", ANYBODY, NULL,
		"the message is larger than the recipient's mail system takes.", smaller, NULL },
	{ "?.4.1", ANYBODY, NULL,
		"the recipient's mail system did not answer.", later, NULL },
	{ "?.4.2", ANYBODY, NULL,
		"the connection to the recipient's mail system broke off.", later, NULL },
	{ "?.4.3", ANYBODY, NULL,
		"the names that are needed to find the recipient's mail system could not be looked up.",
		"check the part of the address behind the @ for typing mistakes, or send the message again later.", NULL },
	{ "?.4.4", ANYBODY, NULL,
		"no mail system could be found for the part of the address behind the @.", typing, NULL },
	{ "?.4.6", ANYBODY, NULL,
		"the message went in a circle: a forwarding leads back to where it began.",
		"tell the recipient by other means; the forwarding must be mended.", NULL },
	{ "?.4.7", ANYBODY, NULL,
		"the message was tried until its time was over.", later, NULL },
	{ "?.6.*", ANYBODY, NULL,
		"the form of the message is one that the recipient's mail system does not take.",
		"send it in plainer form, without attachments for instance.", NULL },
	{ "?.7.4", ANYBODY, NULL,
		"the message must be sent encrypted, and the recipient's mail system does not offer that.", ask_them, NULL },
	{ "?.7.5", ANYBODY, NULL,
		"the recipient's mail system did not show that it is the right one, as it must (by a certificate).", ask_them, NULL },
	{ "?.7.10", ANYBODY, NULL,
		"the message must be sent encrypted only, and the recipient's mail system could not promise that.",
		"send it without that demand, if you may.", NULL },
	{ "?.7.30", ANYBODY, NULL,
		"the message must be sent encrypted only, and the recipient's mail system could not promise that.",
		"send it without that demand, if you may.", NULL },
	{ "?.7.*", ANYBODY, NULL,
		"the recipient's mail system refused the message by a rule of its own, as unwanted mail for instance.",
		"the words above often say what to do. Else ask the recipient, by other means, to have the rule changed.", NULL },
};

static bool status_matches(struct str status, const char *pattern)
{
	for (size_t i = 0; ; i++) {
		if (pattern[i] == '*')
			return true;
		if (i == status.n || !pattern[i])
			return i == status.n && !pattern[i];
		if (pattern[i] != '?' && pattern[i] != status.p[i])
			return false;
	}
}

static bool contains_nocase(struct str s, struct str what)
{
	for (size_t i = 0; i + what.n <= s.n; i++)
		if (str_starts_nocase(str_from(s, i), what))
			return true;
	return false;
}

/* ---- who spoke */

/* "name[address]:port" into its pieces; the name is empty for an address literal. */
static bool is_peer(struct str host, struct str *name, struct str *address)
{
	struct str inside;

	if (!str_cut(&host, '[', name) || !str_cut(&host, ']', &inside))
		return false;
	*address = inside;
	return inside.n > 0;
}

static bool peer_involved(const struct dsn_rcpt *r)
{
	struct str name, address;

	return is_peer(r->host, &name, &address);
}

bool dsn_peer_spoke(struct str host, struct str words)
{
	struct str name, address;

	return is_peer(host, &name, &address) && words_are_reply(words);
}

static bool peer_spoke(const struct dsn_rcpt *r)
{
	return dsn_peer_spoke(r->host, r->words);
}

/* ---- why */

/* The answer that a message had at last when its time was over (the words of queue/settle.c), with its code. */
static void look_behind(struct str *status, struct str *words)
{
	static const char mark[] = "the last answer was: ";
	const char *at = words->n ? memmem(words->p, words->n, mark, sizeof mark - 1) : NULL;
	struct str rest, code, enhanced;

	if (!at || words_are_reply(*words))
		return;
	*words = str_from(*words, (size_t)(at - words->p) + sizeof mark - 1);
	rest = *words;
	if (words_are_reply(rest) && str_word(&rest, &code) && str_word(&rest, &enhanced) && memchr("45", enhanced.p[0], 2))
		*status = enhanced;
}

static bool contains_any(struct str s, struct str words)
{
	struct str one;

	while (str_cut(&words, '|', &one))
		if (contains_nocase(s, one))
			return true;
	return contains_nocase(s, words);
}

static bool is_theirs(enum whose whose, struct str host, struct str words)
{
	switch (whose) {
	case ANYBODY: return true;
	case PEER: return dsn_peer_spoke(host, words);
	case OURS: return !dsn_peer_spoke(host, words);
	case AT_465: return !dsn_peer_spoke(host, words) && str_ends_nocase(host, STR(":465"));
	case CALL: break;
	}
	return !words_are_reply(words) && contains_nocase(words, STR("connect")) && !contains_nocase(words, STR("through the proxy"));
}

static bool fits(const struct cause_row *r, struct str host, struct str status, struct str words)
{
	return status_matches(status, r->status) && is_theirs(r->whose, host, words) && (!r->words || contains_any(words, str_of(r->words)));
}

static const char *first(const char *before, const char *now) { return before ? before : now; }

struct dsn_cause dsn_cause(struct str host, struct str status, struct str words)
{
	struct dsn_cause out = { 0 };

	look_behind(&status, &words);
	for (size_t i = 0; i < sizeof causes / sizeof *causes && words.n; i++) {
		const struct cause_row *r = &causes[i];

		if ((out.meaning && out.remedy) || !fits(r, host, status, words))
			continue;
		out.advice = out.meaning ? out.advice : r->advice;      /* it goes with the meaning */
		out.meaning = first(out.meaning, r->meaning);
		out.remedy = first(out.remedy, r->remedy);
	}
	return out;
}

/* class "." 1*3digit "." 1*3digit (RFC 3463 2), of a class that the action may have */
static struct str status_of(const struct dsn_rcpt *r)
{
	const struct action *a = &actions[r->action];
	struct str rest = r->status, class, subject;
	uint64_t number;

	if (str_cut(&rest, '.', &class) && class.n == 1 && strchr(a->classes, class.p[0]) && class.p[0]
	    && str_cut(&rest, '.', &subject) && subject.n <= 3 && rest.n <= 3
	    && str_number(subject, 999, &number) && str_number(rest, 999, &number))
		return r->status;
	return str_of(a->default_status);
}

/* ---- hostile text made harmless */

/* Length of the UTF-8 sequence at the start of s and its code point, or 0: none (RFC 3629 4). */
static size_t utf8_next(struct str s, unsigned long *point)
{
	static const struct { unsigned char lead, mask; unsigned long least; } form[] = {
		{ 0x00, 0x80, 0 }, { 0xc0, 0xe0, 0x80 }, { 0xe0, 0xf0, 0x800 }, { 0xf0, 0xf8, 0x10000 }
	};
	unsigned char c = s.n ? (unsigned char)s.p[0] : 0x80;

	for (size_t i = 0; i < 4; i++) {
		unsigned long v = c & (unsigned char)~form[i].mask;

		if ((c & form[i].mask) != form[i].lead)
			continue;
		if (s.n < i + 1)
			return 0;
		for (size_t k = 1; k <= i; k++) {
			unsigned char next = (unsigned char)s.p[k];

			if ((next & 0xc0) != 0x80)
				return 0;
			v = v << 6 | (next & 0x3f);
		}
		if (v < form[i].least || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
			return 0;
		*point = v;
		return i + 1;
	}
	return 0;
}

/* Well-formed UTF-8 with at least one character beyond ASCII, and no control characters (C1 included). */
static bool is_utf8(struct str s)
{
	bool beyond = false;
	unsigned long point;

	while (s.n) {
		size_t n = utf8_next(s, &point);

		if (!n || point < 0x20 || (point >= 0x7f && point < 0xa0))
			return false;
		beyond |= n > 1;
		s = str_from(s, n);
	}
	return beyond;
}

/* At most max octets. */
static void add_escaped(struct buf *b, struct str s, size_t max)
{
	size_t end = b->n + max;

	for (size_t i = 0; i < s.n && b->n + 4 <= end; i++) {
		if (ascii_print(s.p[i]))
			buf_char(b, s.p[i]);
		else
			buf_printf(b, "\\x%02x", (unsigned char)s.p[i]);
	}
}

static struct str at_most(struct str s, size_t n)
{
	return (struct str){ s.p, s.n < n ? s.n : n };
}

/* An address for a person or a To field: UTF-8 stays what it is. */
static void add_address(struct buf *b, struct str addr)
{
	addr = at_most(addr, ADDR_MAX);
	if (is_utf8(addr))
		buf_str(b, addr);
	else
		add_escaped(b, addr, VALUE_MAX);
}

/* An address for message/delivery-status, which is 7 bit: "rfc822; a@x", or "utf-8; \x{e4}@x" (RFC 6533 3); global: as it is. */
static void add_typed_address(struct buf *b, struct str addr, bool global)
{
	size_t n, end = b->n + VALUE_MAX;
	unsigned long point = 0;

	addr = at_most(addr, ADDR_MAX);
	if (!is_utf8(addr)) {
		buf_puts(b, "rfc822; ");
		add_escaped(b, addr, VALUE_MAX);
		return;
	}
	buf_puts(b, "utf-8; ");
	if (global) {
		buf_str(b, addr);
		return;
	}
	for (; (n = utf8_next(addr, &point)) && b->n + 10 <= end; addr = str_from(addr, n)) {
		if (point > 0x20 && point < 0x7f && !strchr("\\+=", (int)point))
			buf_char(b, (char)point);
		else
			buf_printf(b, "\\x{%lX}", point);
	}
}

/* A name of ours in a structured field: never anything but what names are made of. */
static void add_token(struct buf *b, struct str s, const char *also)
{
	s = at_most(s, DOMAIN_MAX);
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		buf_char(b, ascii_alpha(c) || ascii_digit(c) || (c && strchr(also, c)) ? c : '_');
	}
}

static void add_hostname(struct buf *b, const struct dsn *d)
{
	add_token(b, str_of(d->hostname), ".-:[]");
}

/* ---- lines */

static void end_line(struct buf *b)
{
	buf_puts(b, "\r\n");
}

/* One word, after a blank or on a new line that begins with indent. */
static void wrap_word(struct buf *b, struct str word, const char *indent, size_t *column, bool *first)
{
	if (!*first && *column + 1 + word.n > COLUMNS) {
		end_line(b);
		buf_puts(b, indent);
		*column = strlen(indent);
	} else if (!*first) {
		buf_char(b, ' ');
		++*column;
	}
	buf_str(b, word);
	*column += word.n;
	*first = false;
}

/* Prefix and text, broken at blanks; further lines begin with indent. Folds fields as well (RFC 5322 2.2.3). */
static void wrap(struct buf *b, const char *prefix, const char *indent, struct str text)
{
	size_t column = strlen(prefix);
	bool first = true;
	struct str word;

	buf_puts(b, prefix);
	while (str_word(&text, &word)) {
		while (word.n > WORD_MAX) {
			wrap_word(b, at_most(word, WORD_MAX), indent, &column, &first);
			word = str_from(word, WORD_MAX);
		}
		wrap_word(b, word, indent, &column, &first);
	}
	end_line(b);
}

static void wrap_escaped(struct parts *p, struct buf *b, const char *prefix, const char *indent, struct str text)
{
	buf_clear(&p->scratch);
	add_escaped(&p->scratch, at_most(text, REPLY_TEXT), 4 * REPLY_TEXT);
	wrap(b, prefix, indent, buf_view(&p->scratch));
	b->bad |= p->scratch.bad;
}

static void date_line(struct buf *b, const char *prefix, int64_t when)
{
	char date[40];

	buf_printf(b, "%s%s\r\n", prefix, clock_rfc5322(when, date));
}

/* ---- the original */

/* The header without the empty line that ends it. */
static struct str header_of(struct str message)
{
	const char *end;

	if (str_starts_nocase(message, STR("\r\n")))
		return (struct str){ message.p, 0 };
	end = message.n ? memmem(message.p, message.n, "\r\n\r\n", 4) : NULL;
	if (end)
		message.n = (size_t)(end - message.p) + 2;
	if (message.n > DSN_HEADER_MAX) {
		message.n = DSN_HEADER_MAX;
		while (message.n && message.p[message.n - 1] != '\n')
			message.n--;
		if (!message.n)
			message.n = DSN_HEADER_MAX;
	}
	return message;
}

/* The value of a field, folds included. */
static bool find_field(struct str header, struct str name, struct str *value)
{
	struct str line, rest = header;
	const char *start = NULL, *end = NULL;

	while (!end && str_cut(&rest, '\n', &line)) {
		bool folded = line.n && (line.p[0] == ' ' || line.p[0] == '\t');

		if (start && !folded)
			end = line.p;
		else if (!start && line.n > name.n && line.p[name.n] == ':' && str_starts_nocase(line, name))
			start = line.p + name.n + 1;
	}
	if (!start)
		return false;
	if (!end)
		end = rest.p;
	*value = str_trim((struct str){ start, (size_t)(end - start) });
	return true;
}

/* Plain words only: encoded ones mean nothing to a person, and what is hostile is left to the third part. */
static void add_subject(struct parts *p, struct str header)
{
	struct str value, line;

	if (!find_field(header, STR("Subject"), &value) || !value.n || contains_nocase(value, STR("=?")))
		return;
	buf_clear(&p->scratch);
	while (value.n) {
		if (!str_cut(&value, '\n', &line)) {
			line = value;
			value.n = 0;
		}
		line = str_trim(line);
		for (size_t i = 0; i < line.n; i++)
			if (!ascii_print(line.p[i]) && line.p[i] != '\t')
				return;
		buf_str(&p->scratch, line);
		buf_char(&p->scratch, ' ');
	}
	if (p->scratch.n > SUBJECT_MAX) {
		p->scratch.n = SUBJECT_MAX;
		buf_puts(&p->scratch, "...");
	}
	wrap(&p->human, "  Subject:   ", "             ", buf_view(&p->scratch));
	p->human.bad |= p->scratch.bad;
}

/* <...> of printable ASCII without further brackets: fit to stand in a field of ours. */
static bool clean_message_id(struct str s)
{
	if (s.n < 3 || s.n > 250 || s.p[0] != '<' || s.p[s.n - 1] != '>')
		return false;
	for (size_t i = 1; i < s.n - 1; i++)
		if (!ascii_print(s.p[i]) || strchr("<> ", s.p[i]))
			return false;
	return true;
}

struct survey {
	bool eight_bit;
	bool legal;                     /* as 7bit or 8bit (RFC 2045 2.7, 2.8): CRLF lines of at most 998 octets, no NUL */
};

static struct survey survey(struct str s)
{
	struct survey found = { .legal = true };
	size_t line = 0;

	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		found.eight_bit |= c >= 0x80;
		if (c == '\r' && i + 1 < s.n && s.p[i + 1] == '\n') {
			i++;
			line = 0;
			continue;
		}
		if (c == 0 || c == '\r' || c == '\n' || ++line > LINE_OCTETS)
			found.legal = false;
	}
	return found;
}

/* RFC 2045 6.7 */
static void add_quoted_printable(struct buf *b, struct str s)
{
	size_t column = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool line_end = i + 1 < s.n && c == '\r' && s.p[i + 1] == '\n';
		bool before_end = i + 1 == s.n || s.p[i + 1] == '\r' || s.p[i + 1] == '\n';

		if (line_end) {
			end_line(b);
			i++;
			column = 0;
			continue;
		}
		if (column > COLUMNS - 4) {
			buf_puts(b, "=\r\n");
			column = 0;
		}
		if (c != '=' && ((ascii_print(c) && c != ' ') || ((c == ' ' || c == '\t') && !before_end))) {
			buf_char(b, c);
			column++;
		} else {
			buf_printf(b, "=%02X", (unsigned char)c);
			column += 3;
		}
	}
}

static bool any_failed(const struct dsn *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->rcpt[i].action == DSN_FAILED)
			return true;
	return false;
}

/* UTF-8 beyond ASCII, and no octets that are none. */
static bool is_global(struct str header)
{
	bool beyond = false;
	unsigned long point;

	while (header.n) {
		size_t n = utf8_next(header, &point);

		if (!n)
			return false;
		beyond |= n > 1;
		header = str_from(header, n);
	}
	return beyond;
}

static void choose_original(struct parts *p, const struct dsn *d)
{
	bool global = is_global(header_of(d->original));

	bool wanted = d->full && any_failed(d);         /* RFC 3461 4.3: RET applies to reports of failure only */
	struct survey found = { .legal = false };

	p->original = d->original;
	if (wanted && d->original.n <= DSN_FULL_MAX)
		found = survey(d->original);
	if (wanted && found.legal) {
		p->original_type = global ? "message/global" : "message/rfc822";
		p->original_note = "your message.";
	} else {
		p->original = header_of(d->original);
		found = survey(p->original);
		p->original_type = global ? "message/global-headers" : "text/rfc822-headers";
		p->original_note = wanted ? "the header of your message (all of it is too long, or cannot be shown as text)."
			: "the header of your message.";
	}
	p->original_encoding = found.eight_bit ? "8bit" : "7bit";
	if (found.legal)
		return;
	/* RFC 6522 4 allows it for headers; composite types may not be encoded (RFC 2045 6.4). */
	p->original_encoding = "quoted-printable";
	add_quoted_printable(&p->encoded, p->original);
	p->original = buf_view(&p->encoded);
}

/* ---- the part for a person */

static void add_span(struct buf *b, int64_t seconds)
{
	static const struct { int64_t seconds; const char *name; } unit[] = {
		{ 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" }
	};

	for (size_t i = 0; i < sizeof unit / sizeof unit[0]; i++) {
		int64_t n = seconds / unit[i].seconds;

		/* "36 hours" says more than "1 day" */
		if (n < 2 && unit[i].seconds > 1)
			continue;
		buf_printf(b, "%lld %s%s", (long long)n, unit[i].name, n == 1 ? "" : "s");
		return;
	}
}

static void tell_words(struct parts *p, const struct dsn_rcpt *r)
{
	char date[40];

	buf_puts(&p->human, peer_involved(r) && !peer_spoke(r) ? "  Trying " : "  ");
	if (peer_involved(r))
		add_escaped(&p->human, r->host, ADDR_MAX);
	else
		buf_puts(&p->human, "This mail system said");
	if (peer_spoke(r))
		buf_puts(&p->human, " answered");
	if (r->when)
		buf_printf(&p->human, " on %s", clock_rfc5322(r->when, date));
	buf_puts(&p->human, ":\r\n");
	wrap_escaped(p, &p->human, "    ", "    ", r->words);
}

/* What keeps a mailbox of ours from taking mail is no business of strangers who have written to it. */
static bool is_on_its_way(const struct dsn_rcpt *r) { return peer_involved(r) || !r->host.n || str_eq(r->host, STR("-")); }

static void tell_rcpt(struct parts *p, const struct dsn *d, const struct dsn_rcpt *r)
{
	struct str status = status_of(r);
	struct dsn_cause cause = dsn_cause(r->host, status, r->words);

	end_line(&p->human);
	add_address(&p->human, r->addr);
	end_line(&p->human);
	/* A temporary trouble that lasted too long. */
	if (r->action == DSN_FAILED && status.p[0] == '4' && d->now > d->arrived) {
		buf_puts(&p->human, "  Given up after ");
		add_span(&p->human, d->now - d->arrived);
		buf_puts(&p->human, "; the last attempt ended with these words.\r\n");
	}
	if (r->words.n)
		tell_words(p, r);
	if (r->action == DSN_RELAYED || r->action == DSN_EXPANDED || r->action == DSN_DELIVERED)
		return;
	if (cause.meaning)
		wrap(&p->human, "  This means: ", "  ", str_of(cause.meaning));
	if (cause.advice && r->action == DSN_FAILED)
		wrap(&p->human, "  What you can do: ", "  ", str_of(cause.advice));
	if (cause.remedy && is_on_its_way(r))
		wrap(&p->human, "  For whoever looks after this mail system: ", "  ", str_of(cause.remedy));
	if (r->action == DSN_DELAYED && d->next_try)
		date_line(&p->human, "  Next attempt: ", d->next_try);
	if (r->action == DSN_DELAYED && r->retry_until)
		date_line(&p->human, "  Given up, with a report to you, if not delivered by: ", r->retry_until);
}

/* ---- what was said, for whoever looks after a mail system */

/* Does the line name a recipient whom this report is not about? Who sent a message to an alias is not told of the others behind it. */
static bool names_another(const struct dsn *d, struct str line)
{
	struct str to, name;

	if (!str_starts_nocase(line, STR("> RCPT TO:<")))
		return false;
	to = str_from(line, 11);
	for (size_t i = 0; i < d->n; i++) {
		name = d->rcpt[i].addr;
		if (to.n > name.n && to.p[name.n] == '>' && str_eq((struct str){ to.p, name.n }, name))
			return false;
	}
	return true;
}

static void tell_line(struct buf *b, struct str line)
{
	static const struct { char mark; const char *before, *behind; } forms[] = {
		{ '=', "\r\n  ", ":" }, { '*', "    (", ")" }, { '>', "    > ", "" }, { '<', "    < ", "" },
	};

	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		if (forms[i].mark != line.p[0])
			continue;
		buf_puts(b, forms[i].before);
		add_escaped(b, str_from(line, 2), VALUE_MAX);
		buf_puts(b, forms[i].behind);
		end_line(b);
	}
}

static void tell_conversation(struct parts *p, const struct dsn *d, struct str said)
{
	struct buf *b = &p->human;
	struct str line;
	bool left_out = false;

	for (size_t n = 0; str_cut(&said, '\n', &line) && n < CONVERSATION_LINES; ) {
		if (line.n < 2 || (left_out && line.p[0] == '<'))
			continue;
		left_out = names_another(d, line);
		if (left_out)
			continue;
		tell_line(b, line);
		n++;
	}
}

static bool is_conversation(const struct dsn_rcpt *r) { return r->said.n && (r->action == DSN_FAILED || r->action == DSN_DELAYED); }

static void tell_conversations(struct parts *p, const struct dsn *d)
{
	struct str told[CONVERSATIONS];
	size_t n = 0;

	for (size_t i = 0; i < d->n && n < CONVERSATIONS; i++) {
		size_t k = 0;

		while (k < n && !str_eq(told[k], d->rcpt[i].said))
			k++;
		if (k < n || !is_conversation(&d->rcpt[i]))
			continue;
		if (!n)
			buf_puts(&p->human, "\r\nIn detail, for whoever looks after a mail system (> we said, < they said):\r\n");
		told[n++] = d->rcpt[i].said;
		tell_conversation(p, d, d->rcpt[i].said);
	}
}

static size_t count_action(const struct dsn *d, enum dsn_action action)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n; i++)
		n += d->rcpt[i].action == action;
	return n;
}

static enum dsn_action gravest(const struct dsn *d)
{
	enum dsn_action worst = DSN_DELIVERED;

	for (size_t i = 0; i < d->n; i++)
		if (d->rcpt[i].action < worst)
			worst = d->rcpt[i].action;
	return worst;
}

static void tell_message(struct parts *p, const struct dsn *d)
{
	struct str sender = d->to.n ? d->to : STR("(nobody: a report about a report)");

	buf_puts(&p->human, "  From:      ");
	add_address(&p->human, sender);
	end_line(&p->human);
	if (d->arrived)
		date_line(&p->human, "  Accepted:  ", d->arrived);
	add_subject(p, header_of(d->original));
	buf_puts(&p->human, "  Reference: ");
	add_token(&p->human, str_of(d->id), ".-");
	end_line(&p->human);
}

static void write_human(struct parts *p, const struct dsn *d)
{
	enum dsn_action worst = gravest(d);
	struct buf *b = &p->human;
	size_t n = count_action(d, worst);

	buf_puts(b, "This is a report of the mail system at ");
	add_hostname(b, d);
	buf_puts(b, ".\r\n\r\n");
	buf_puts(b, actions[worst].opening);
	if (n == 1)
		buf_puts(b, "the recipient named below.\r\n");
	else
		buf_printf(b, "the %zu recipients named below.\r\n", n);
	buf_puts(b, "Recipients who are not named here are not concerned.\r\n\r\n");
	tell_message(p, d);
	for (size_t a = 0; a < ACTIONS; a++) {
		if (!count_action(d, (enum dsn_action)a))
			continue;
		end_line(b);
		wrap(b, "", "", str_of(actions[a].title));
		for (size_t i = 0; i < d->n; i++)
			if (d->rcpt[i].action == a)
				tell_rcpt(p, d, &d->rcpt[i]);
	}
	tell_conversations(p, d);
	end_line(b);
	wrap(b, "Attached: the same for programs, and ", "", str_of(p->original_note));
}

/* ---- the part for a program (RFC 3464 2.2, 2.3: the order of the fields is free, this is the RFC's) */

/* xtext decoded, what is not printable escaped; nothing when it is no xtext. */
static bool decode(struct parts *p, struct str xtext)
{
	buf_clear(&p->scratch);
	return xtext.n && xtext_decode(&p->scratch, xtext) && !p->scratch.bad;
}

static void write_message_fields(struct parts *p, const struct dsn *d)
{
	char until[40];
	struct buf *b = &p->status;

	if (decode(p, d->envid)) {
		buf_puts(b, "Original-Envelope-Id: ");
		add_escaped(b, buf_view(&p->scratch), VALUE_MAX);
		end_line(b);
	}
	buf_puts(b, "Reporting-MTA: dns; ");
	add_hostname(b, d);
	end_line(b);
	if (d->arrived)
		date_line(b, "Arrival-Date: ", d->arrived);
	if (d->hold_for)                                /* RFC 4865 */
		buf_printf(b, "Future-Release-Request: for; %llu\r\n", (unsigned long long)d->hold_for);
	else if (d->hold_until > 0)
		buf_printf(b, "Future-Release-Request: until; %s\r\n", clock_rfc3339(d->hold_until, until));
}

/* "rfc822;xtext" (RFC 3461 4.2) as "rfc822; text". */
static void write_original_recipient(struct parts *p, struct str orcpt)
{
	struct str type;

	if (!str_cut(&orcpt, ';', &type) || !type.n || !decode(p, orcpt))
		return;
	buf_puts(&p->status, "Original-Recipient: ");
	add_token(&p->status, at_most(type, 40), "-.");
	buf_puts(&p->status, "; ");
	add_escaped(&p->status, buf_view(&p->scratch), VALUE_MAX);
	end_line(&p->status);
}

static void write_remote_mta(struct buf *b, struct str host)
{
	struct str name, address;

	if (!is_peer(host, &name, &address))
		return;
	buf_puts(b, "Remote-MTA: dns; ");
	if (name.n) {
		add_token(b, name, ".-");
		buf_puts(b, " (");
		add_token(b, address, ".:");
		buf_puts(b, ")");
	} else {
		buf_puts(b, "[");
		add_token(b, address, ".:");
		buf_puts(b, "]");
	}
	end_line(b);
}

static void write_rcpt_fields(struct parts *p, const struct dsn_rcpt *r)
{
	struct buf *b = &p->status;

	end_line(b);
	write_original_recipient(p, r->orcpt);
	buf_puts(b, "Final-Recipient: ");
	add_typed_address(b, r->addr, p->global);
	end_line(b);
	buf_printf(b, "Action: %s\r\nStatus: ", actions[r->action].word);
	buf_str(b, status_of(r));
	end_line(b);
	write_remote_mta(b, r->host);
	if (peer_spoke(r) && (r->action == DSN_FAILED || r->action == DSN_DELAYED))
		wrap_escaped(p, b, "Diagnostic-Code: smtp; ", " ", r->words);
	if (r->when)
		date_line(b, "Last-Attempt-Date: ", r->when);
	if (r->action == DSN_DELAYED && r->retry_until)
		date_line(b, "Will-Retry-Until: ", r->retry_until);
}

static void write_status(struct parts *p, const struct dsn *d)
{
	write_message_fields(p, d);
	for (size_t i = 0; i < d->n; i++)
		write_rcpt_fields(p, &d->rcpt[i]);
}

/* ---- the boundary */

/* How often the boundary occurs in s; counts which hexadecimal digit follows it. */
static size_t count_boundary(struct str s, struct str boundary, size_t follows[16])
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;
	const char *at;

	while (s.n && (at = memmem(s.p, s.n, boundary.p, boundary.n))) {
		const char *digit;

		s = str_from(s, (size_t)(at - s.p) + 1);
		n++;
		if (s.n < boundary.n)
			continue;
		digit = memchr(digits, s.p[boundary.n - 1], 16);
		if (digit)
			follows[digit - digits]++;
	}
	return n;
}

/* While the boundary occurs in what it must part, the digit that follows it least often is added: each digit leaves
 * at most a sixteenth of the places, so that a few rounds are enough for any text that someone can contrive. */
static void choose_boundary(struct parts *p, const struct dsn *d)
{
	struct buf *b = &p->boundary;

	buf_puts(b, "=_");
	add_token(b, at_most(str_of(d->report_id), 40), "-.");
	while (!b->bad && b->n < 70) {
		size_t follows[16] = { 0 }, least = 0, n;

		n = count_boundary(buf_view(&p->human), buf_view(b), follows);
		n += count_boundary(buf_view(&p->status), buf_view(b), follows);
		n += count_boundary(p->original, buf_view(b), follows);
		if (!n)
			return;
		for (size_t i = 1; i < 16; i++)
			if (follows[i] < follows[least])
				least = i;
		buf_char(b, "0123456789abcdef"[least]);
	}
}

/* ---- putting it together */

static void write_header(struct buf *out, struct parts *p, const struct dsn *d)
{
	struct str about;

	buf_puts(out, "From: Mail Delivery System <MAILER-DAEMON@");
	add_hostname(out, d);
	buf_puts(out, ">\r\nTo: <");
	if (d->to.n) {
		add_address(out, d->to);
	} else {
		buf_puts(out, "postmaster@");
		add_hostname(out, d);
	}
	buf_printf(out, ">\r\nSubject: %s\r\n", actions[gravest(d)].subject);
	date_line(out, "Date: ", d->now);
	buf_puts(out, "Message-ID: <");
	add_token(out, str_of(d->report_id), ".-");
	buf_char(out, '@');
	add_hostname(out, d);
	buf_puts(out, ">\r\n");
	if (find_field(header_of(d->original), STR("Message-ID"), &about) && clean_message_id(about)) {
		buf_puts(out, "References: ");
		buf_str(out, about);
		end_line(out);
	}
	buf_puts(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
		"Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"");
	buf_str(out, buf_view(&p->boundary));
	buf_puts(out, "\"\r\n");
	if (p->human_utf8 || !strcmp(p->original_encoding, "8bit"))
		buf_puts(out, "Content-Transfer-Encoding: 8bit\r\n");   /* RFC 2045 6.4: as its parts */
	buf_puts(out, "\r\n");
}

static void write_part(struct buf *out, struct parts *p, const char *type, const char *encoding, const char *description,
	struct str content)
{
	buf_puts(out, "--");
	buf_str(out, buf_view(&p->boundary));
	buf_printf(out, "\r\nContent-Type: %s\r\n", type);
	if (strcmp(encoding, "7bit"))
		buf_printf(out, "Content-Transfer-Encoding: %s\r\n", encoding);
	buf_printf(out, "Content-Description: %s\r\n\r\n", description);
	buf_str(out, content);
	buf_puts(out, "\r\n");
}

static bool human_is_utf8(const struct dsn *d)
{
	bool found = is_utf8(at_most(d->to, ADDR_MAX));

	for (size_t i = 0; i < d->n && !found; i++)
		found = is_utf8(at_most(d->rcpt[i].addr, ADDR_MAX));
	return found;
}

bool dsn_write(struct buf *out, const struct dsn *d)
{
	struct parts p = { .human_utf8 = human_is_utf8(d), .global = is_utf8(at_most(d->to, ADDR_MAX)) };
	bool ok;

	choose_original(&p, d);
	write_human(&p, d);
	write_status(&p, d);
	choose_boundary(&p, d);
	write_header(out, &p, d);
	write_part(out, &p, p.human_utf8 ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii",
		p.human_utf8 ? "8bit" : "7bit", "What happened", buf_view(&p.human));
	p.global = p.global && is_global(buf_view(&p.status));
	write_part(out, &p, p.global ? "message/global-delivery-status" : "message/delivery-status", p.global ? "8bit" : "7bit", "The same for programs",
		buf_view(&p.status));
	write_part(out, &p, p.original_type, p.original_encoding, "The message reported on", p.original);
	buf_puts(out, "--");
	buf_str(out, buf_view(&p.boundary));
	buf_puts(out, "--\r\n");
	ok = !out->bad && !p.human.bad && !p.status.bad && !p.encoded.bad && !p.boundary.bad;
	buf_free(&p.human);
	buf_free(&p.status);
	buf_free(&p.encoded);
	buf_free(&p.boundary);
	buf_free(&p.scratch);
	return ok;
}
