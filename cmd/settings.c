/* The settings of fardel: one table, and what is made from its values. */
#include "cmd/settings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/relayhost.h"
#include "deliver/mailbox.h"
#include "lib/account.h"
#include "lib/file.h"
#include "lib/ip.h"
#include "lib/list.h"
#include "parse.h"

extern char **environ;

#define AT(member) offsetof(struct settings, member)
static const struct conf_row rows[] = {
	{ .name = "hostname", .kind = CONF_TEXT, .at_start = true, .offset = AT(hostname), .example = "mail.example.org", .help =
		"The full name of this host: said in greetings, written into trace fields and reports.\n"
		"When it is not set: the system's name if that has a dot, else /etc/mailname, else the system's name.",
		.elsewhere = "myhostname primary_hostname mailname" },
	{ .name = "listen", .kind = CONF_WORDS, .at_start = true, .offset = AT(listen_text), .preset = "smtp://127.0.0.1:25", .help =
		"Where mail comes in: smtp://ADDRESS:PORT from other servers, submission:// (587, STARTTLS and a login are asked for) and\n"
		"submissions:// (465, TLS from the first octet) from users, unix:///PATH from programs of this machine. * is every address,\n"
		"IPv6 stands in brackets. May be repeated.",
		.elsewhere = "inet_interfaces daemon_smtp_ports local_interfaces" },
	{ .name = "queue", .kind = CONF_TEXT, .at_start = true, .offset = AT(queue), .preset = "/var/spool/fardel", .help =
		"The queue directory. It and what is below it is made when it is not there.",
		.elsewhere = "queue_directory spool_directory spooldir" },
	{ .name = "local_domains", .kind = CONF_WORDS, .offset = AT(local_text), .example = "example.org example.net", .help =
		"Domains whose mail stays here. When it is not set: the hostname and localhost. May be repeated.",
		.elsewhere = "mydestination virtual_mailbox_domains destinations" },
	{ .name = "mailbox", .kind = CONF_TEXT, .at_start = true, .offset = AT(mailbox), .preset = "/var/mail/{user}/", .help =
		"The Maildir of a user of the local domains; {user} is the local part in lower case.\n"
		"A user exists when this directory exists: `fardel mkmailbox USER` makes it. ~/Maildir/ (or {home}/Maildir/) is in the home of\n"
		"a user of this system, who exists when he has an account; his mail is delivered as that account, which needs a start as root\n"
		"with user set.",
		.elsewhere = "home_mailbox mail_spool_directory virtual_mailbox_base mailbox_command" },
	{ .name = "detail_folders", .kind = CONF_YESNO, .at_start = true, .offset = AT(detail_folders), .preset = "no", .help =
		"Mail for anna+lists goes into the folder .lists of anna's Maildir (Maildir++), if there is one, else into the Maildir itself." },
	{ .name = "mailbox_quota", .kind = CONF_SIZE, .at_start = true, .offset = AT(mailbox_quota), .preset = "0", .max = (uint64_t)1 << 50, .help =
		"How many octets a mailbox and its folders may hold, kept in the file maildirsize (Maildir++). 0: nothing is counted." },
	{ .name = "mailbox_full", .kind = CONF_TEXT, .at_start = true, .offset = AT(mailbox_full_text), .preset = "defer", .help =
		"What becomes of mail for a mailbox that has no room by mailbox_quota: defer (it waits, strangers are told to come back) or refuse." },
	{ .name = "postmaster", .kind = CONF_TEXT, .at_start = true, .offset = AT(postmaster), .example = "anna", .help =
		"The user who gets mail for postmaster. When it is not set: a mailbox of that name,\n"
		"and when there is none, the directory postmaster/ in the queue directory." },
	{ .name = "aliases", .kind = CONF_TEXT, .at_start = true, .offset = AT(aliases), .preset = "/etc/aliases", .help =
		"A file of names of local domains that stand for others: root: anna, ben@example.net. It is read again when it has changed;\n"
		"a file that is not there is no error. `fardel newaliases` looks at it, `fardel alias ADDRESS` says who gets mail. Empty: none.",
		.elsewhere = "alias_maps alias_database" },
	{ .name = "virtual", .kind = CONF_TEXT, .at_start = true, .offset = AT(virtual), .example = "/etc/fardel/virtual", .help =
		"A file in the same form for whole addresses: info@shop.example: anna, and @shop.example: ben for all others of a domain.\n"
		"Its domains are local ones, without mailboxes of their own.",
		.elsewhere = "virtual_alias_maps virtual_alias_domains" },
	{ .name = "subaddress", .kind = CONF_TEXT, .at_start = true, .offset = AT(subaddress), .preset = "+", .help =
		"What begins a detail behind a name: anna+shop is anna, unless there is an alias or a mailbox with the whole name.\n"
		"One of + - . _ or =; empty: there are no details.",
		.elsewhere = "recipient_delimiter" },
	{ .name = "forward", .kind = CONF_YESNO, .at_start = true, .offset = AT(forward), .preset = "no", .help =
		"Users may write into the file .forward in their home who gets their mail: targets as in a file of aliases. Only with mailboxes in\n"
		"homes (mailbox = ~/Maildir/)." },
	{ .name = "pipes", .kind = CONF_YESNO, .at_start = true, .offset = AT(pipes), .preset = "no", .help =
		"Aliases, and .forward files, may name commands that get the mail: \"|/usr/bin/vacation anna\". They are run without a shell, those\n"
		"of a .forward file as the user, those of aliases as pipe_user; never as root." },
	{ .name = "pipe_user", .kind = CONF_TEXT, .at_start = true, .offset = AT(pipe_user), .example = "nobody", .help =
		"The account that commands of aliases are run as. When it is not set: the owner of the file that names them, unless that is root." },
	{ .name = "origin", .kind = CONF_TEXT, .offset = AT(origin), .example = "example.org", .help =
		"The domain that local programs mean when they write a name without one (cron's root).\n"
		"When it is not set: the hostname if that is a local domain, else the first local domain.",
		.elsewhere = "myorigin" },
	{ .name = "send_as", .kind = CONF_LIST, .offset = AT(send_as_text), .example = "*@host.example.org alerts@example.org", .help =
		"PATTERN ADDRESS: mail that local programs send (sendmail, drop files) from an address like PATTERN leaves from ADDRESS: envelope,\n"
		"From and Sender; Reply-To stays. PATTERN is local@domain, local@, @domain or *. The first that fits counts. One a line.",
		.elsewhere = "sender_canonical_maps smtp_generic_maps canonical_maps masquerade_domains masquerade" },
	{ .name = "relay_from", .kind = CONF_WORDS, .offset = AT(relay_text), .preset = "127.0.0.0/8 ::1/128", .help =
		"Networks that may send mail to any domain through us. May be repeated; empty: nobody.",
		.elsewhere = "mynetworks relay_from_hosts" },
	{ .name = "proxy_from", .kind = CONF_WORDS, .offset = AT(proxy_text), .example = "192.0.2.10", .help =
		"Networks of proxies (HAProxy's send-proxy or send-proxy-v2) that say with each connection for whom it is: it must begin with a\n"
		"PROXY header then, and the client is whom that names. Nobody else is asked for one. May be repeated." },
	{ .name = "xclient_from", .kind = CONF_WORDS, .offset = AT(xclient_text), .example = "192.0.2.11", .help =
		"Networks of mail filters that may say XCLIENT: they speak for others, with their addresses and logins. May be repeated." },
	{ .name = "route", .kind = CONF_LIST, .offset = AT(route_text), .example = "* smtp://relay.example.net:587", .help =
		"Where mail for a domain goes instead of its MX hosts: DOMAIN smtp://HOST:PORT, smtp+starttls:// (587), smtps:// (465, TLS from\n"
		"the first octet), lmtp://HOST:PORT, lmtp:///PATH, or mx; with HOST,HOST the second is asked when the first is of no use. DOMAIN\n"
		"is a name, .example.org (all names below it) or * (everything else). Behind it may stand user=NAME with password_file=PATH to log in, or\n"
		"(at the end) token_command=PROGRAM ARGUMENTS, which prints an access token (OAuth),\n"
		"tls=encrypt for a host whose certificate cannot be checked (with smtp+starttls:// and smtps:// it is), proxy=socks5://ADDRESS:PORT\n"
		"to be called through a proxy, and from=SENDER for a rule\n"
		"that holds for mail from an address or a domain. One a line, may be repeated.",
		.elsewhere = "relayhost smarthost remotes transport_maps sender_dependent_relayhost_maps smtp_sasl_password_maps authpath" },
	{ .name = "resolver", .kind = CONF_TEXT, .at_start = true, .offset = AT(resolver), .example = "127.0.0.1:53", .help =
		"The DNS server to ask, ADDRESS:PORT; several are separated by blanks. When it is not set: those in /etc/resolv.conf." },
	{ .name = "inet", .kind = CONF_TEXT, .offset = AT(inet_text), .preset = "prefer4", .help =
		"Which addresses of other hosts are called: prefer4 or prefer6 (that family first, the other by turns), only4 or only6.",
		.elsewhere = "inet_protocols" },
	{ .name = "source_address", .kind = CONF_WORDS, .offset = AT(source_text), .example = "192.0.2.25 2001:db8::25", .help =
		"The addresses of this host that mail is sent from, at most one of each family. When it is not set: as the system likes.",
		.elsewhere = "smtp_bind_address smtp_bind_address6" },
	{ .name = "smtp_port", .kind = CONF_NUMBER, .offset = AT(smtp_port), .preset = "25", .min = 1, .max = 65535, .help =
		"The port that MX hosts are called at." },
	/* RFC 5321 4.5.3.1.7: at least 64 kB must be taken. */
	{ .name = "mix_domains", .kind = CONF_YESNO, .offset = AT(mix_domains), .preset = "yes", .help =
		"Recipients of a message at domains with the same mail hosts are sent it once, in one transaction. Who is refused beside others is\n"
		"asked for again alone, at once, before it counts; a host that then takes him gets no mixed ones for an hour." },
	{ .name = "message_size", .kind = CONF_SIZE, .offset = AT(message_size), .preset = "35M", .min = 65536, .max = (uint64_t)1 << 40, .help =
		"The largest message that is taken, in octets.",
		.elsewhere = "message_size_limit message_size_max" },
	{ .name = "queue_reserve", .kind = CONF_SIZE, .offset = AT(queue_reserve), .preset = "64M", .max = (uint64_t)1 << 50, .help =
		"Mail from clients is put off while the file system of the queue has less room than this (a tenth of its size at most), or\n"
		"less than 1000 inodes; what is in the queue already is sent. 0: until it is full." },
	{ .name = "queue_sync", .kind = CONF_TEXT, .at_start = true, .offset = AT(queue_sync_text), .preset = "log", .help =
		"How `fardel serve` makes a message durable before it is accepted. file: its file and the directory are synced. log: it is also\n"
		"appended to a log in the queue directory, and the log is synced; its file reaches the disk later, if it is still there. As file\n"
		"where there is no room for a log, and on file systems other than ext4, XFS and btrfs. fs: the whole file system is synced,\n"
		"for a queue that has one for itself. See doc/QUEUE." },
	{ .name = "queue_log", .kind = CONF_SIZE, .at_start = true, .offset = AT(queue_log), .preset = "16M", .min = 32768, .max = (uint64_t)1 << 30, .help =
		"The size of each of the log's two files, with queue_sync = log; a 64th of the file system at most. Where they would leave less than\n"
		"queue_reserve, there is no log. Until they are made at the first start, it is as with queue_sync = file." },
	{ .name = "sessions_per_address", .kind = CONF_NUMBER, .offset = AT(sessions_per_address), .preset = "100", .max = 100000, .help =
		"How many connections one client address (IPv6: one /64 network) may have at a time; its neighbours (IPv4 /26 and /21,\n"
		"IPv6 /48 and /32) together 3 and 9 times as many. No limit for loopback addresses, relay_from and who has logged in. 0: nobody has one." },
	{ .name = "connections_per_minute", .kind = CONF_NUMBER, .offset = AT(connections_per_minute), .preset = "300", .max = 1000000, .help =
		"How many connections a client address may begin within a minute; its neighbours 3 and 9 times as many, as above. 0: no limit." },
	{ .name = "sessions_max", .kind = CONF_NUMBER, .offset = AT(sessions_max), .preset = "12000", .min = 1, .max = 1000000, .help =
		"How many clients are served at a time, in all. Each needs a descriptor or two and 1 kB of memory, 25 kB inside TLS." },
	{ .name = "session_time", .kind = CONF_DURATION, .offset = AT(session_time), .preset = "1h", .min = 60, .max = 86400 * 30, .help =
		"A session ends when it has brought no message for so long; never in the middle of one." },
	{ .name = "greeting_delay_ms", .kind = CONF_NUMBER, .offset = AT(greeting_delay_ms), .preset = "200", .max = 10000, .help =
		"How long, in milliseconds, strangers wait to be greeted (not loopback, not relay_from): programs that spread junk speak first,\n"
		"and who does so is turned away. 0: who has spoken when his connection is taken." },
	{ .name = "recipient_mails_per_hour", .kind = CONF_NUMBER, .offset = AT(rcpt_per_hour), .preset = "0", .max = 1000000, .help =
		"How many messages of strangers (not relay_from) one recipient may be sent within an hour; then they are told to come back. Not\n"
		"postmaster. 0: any number." },
	{ .name = "sender_domain_mails_per_hour", .kind = CONF_NUMBER, .offset = AT(domain_per_hour), .preset = "0", .max = 1000000, .help =
		"The same for messages of strangers with one domain in MAIL. 0: any number." },
	{ .name = "greylist", .kind = CONF_YESNO, .offset = AT(greylist), .preset = "no", .help =
		"yes: a stranger's first message to a recipient is put off, and taken when it comes again, as mail servers do and most programs that\n"
		"spread junk do not. Not where SPF says pass, nor from networks whose mail came again before. A file in the queue directory knows." },
	{ .name = "greylist_delay", .kind = CONF_DURATION, .offset = AT(greylist_delay), .preset = "5m", .min = 1, .max = 86400, .help =
		"How long after the first time it may come again..." },
	{ .name = "greylist_window", .kind = CONF_DURATION, .offset = AT(greylist_window), .preset = "2d", .min = 60, .max = 86400 * 30, .help =
		"...and until when it counts as the same." },
	{ .name = "check_sender", .kind = CONF_YESNO, .offset = AT(check_sender), .preset = "yes", .help =
		"Mail from strangers (not relay_from) is refused when the sender's domain cannot get any: it does not exist, has no mail host\n"
		"with an address, or a null MX. While the DNS does not answer they are told to come back." },
	{ .name = "spf", .kind = CONF_TEXT, .offset = AT(spf_text), .preset = "note", .help =
		"What becomes of the answer whether a stranger's address may send mail from the sender's domain (RFC 7208). note: it is written\n"
		"into the message (Received-SPF) and into the log. refuse: so it is, and what the domain does not want to have come from there is\n"
		"refused; while its DNS does not answer, strangers are told to come back. off: nobody asks." },
	{ .name = "check_dkim", .kind = CONF_YESNO, .offset = AT(check_dkim), .preset = "yes", .help =
		"DKIM signatures of mail from strangers (not relay_from) are checked; what came of it stands in the log and in a field\n"
		"Authentication-Results on top of the message. No mail is refused for it. Such fields that came with it in our name are taken out,\n"
		"with no, too." },
	{ .name = "arc_sealers", .kind = CONF_TEXT, .offset = AT(arc_sealers), .example = "google.com", .help =
		"Domains whose word counts that DMARC passed before they sent a message on (ARC, the d= of their seals), separated by blanks: then it is\n"
		"not refused for what became of it on the way. Each that it has come by since must be named. Without any, ARC is looked at and written down." },
	{ .name = "judge", .kind = CONF_TEXT, .at_start = true, .offset = AT(judge_text), .preset = "note", .help =
		"What becomes of the answer whether a recipient wants mail from a stranger (not relay_from), by what he has done with earlier mail. note:\n"
		"it is written into the message (X-Fardel-Reason) and into the log, and remembered in the mailbox. refuse: so it is, and what is not\n"
		"wanted is turned away and kept in rejects_folder for a fortnight. off: nobody asks, and nothing is remembered." },
	{ .name = "first_time_delay", .kind = CONF_DURATION, .offset = AT(first_time_delay), .preset = "15s", .max = 60, .help =
		"With judge = refuse, how long a sender waits for the answer to his message whom nobody knows. 0: not at all." },
	{ .name = "content_filter", .kind = CONF_YESNO, .at_start = true, .offset = AT(content_filter), .preset = "no", .help =
		"yes: the words of what lies in junk_folders, and of what was wanted, are learnt for each mailbox, and count where nothing else decides.\n"
		"It says nothing before it has seen 50 wanted messages." },
	{ .name = "mailing_lists", .kind = CONF_TEXT, .offset = AT(mailing_lists), .example = "lists.example.net", .help =
		"Domains of mailing lists, separated by blanks: what they have signed (DKIM), or sent from where SPF says, is taken whoever wrote it." },
	{ .name = "forwarders", .kind = CONF_TEXT, .offset = AT(forwarders), .example = "alumni.example.edu", .help =
		"Domains that send on to users here what others wrote to them, separated by blanks: their address and SPF do not count, the author does." },
	{ .name = "rules", .kind = CONF_TEXT, .at_start = true, .offset = AT(rules), .example = "/etc/fardel/rules", .help =
		"A file of rules for single mailboxes: mail that a domain or list vouches for goes to a folder, is taken, or was sent on by a forwarder." },
	{ .name = "user_rules", .kind = CONF_YESNO, .at_start = true, .offset = AT(user_rules), .preset = "no", .help =
		"yes: so may users, in the file fardel.rules in their mailbox." },
	{ .name = "subject_pass", .kind = CONF_DURATION, .offset = AT(subject_pass), .preset = "0", .max = 30 * 86400, .help =
		"With judge = refuse, a sender nobody knows, whose domain speaks for him (DMARC), and who is refused for a list in the DNS or for a little junk\n"
		"in his words, is told a word; with it in the subject his mail is taken for so long (12h). 0: nobody is." },
	{ .name = "junk_folders", .kind = CONF_TEXT, .at_start = true, .offset = AT(junk_folders), .preset = "Junk Spam", .help =
		"Which folders of a mailbox hold what its reader does not want: how their names begin, in any case, separated by blanks." },
	{ .name = "neutral_folders", .kind = CONF_TEXT, .at_start = true, .offset = AT(neutral_folders), .preset = "Trash Deleted Drafts Templates", .help =
		"Which ones tell nothing. What lies in any other folder was wanted; so was what was answered, or read and left in the inbox for a week." },
	{ .name = "sent_folders", .kind = CONF_TEXT, .at_start = true, .offset = AT(sent_folders), .preset = "Sent", .help =
		"Which ones hold what the reader has sent: mail from whom he has written to is wanted." },
	{ .name = "rejects_folder", .kind = CONF_TEXT, .at_start = true, .offset = AT(rejects_folder), .preset = "Rejects", .help =
		"The folder of each mailbox in which refused mail is kept for a fortnight, a thousand messages and 100 MB at most. Nothing: none is." },
	{ .name = "check_iprev", .kind = CONF_YESNO, .offset = AT(check_iprev), .preset = "yes", .help =
		"The same field says whether a stranger's address has a name that leads back to it (iprev). It needs check_dkim." },
	{ .name = "dmarc", .kind = CONF_TEXT, .offset = AT(dmarc_text), .preset = "refuse", .help =
		"What becomes of the answer whether SPF or a signature speaks for the domain in From, where its owner has said what he wants\n"
		"otherwise (RFC 9989). note: it is written into that field and into the log. refuse: so it is, and mail that the owner wants\n"
		"rejected is refused, and mail that does not tell who has written it; while the DNS does not answer, strangers are told to come\n"
		"back. What the owner calls suspicious (quarantine) is taken. off: nobody asks. It needs spf and check_dkim." },
	{ .name = "dmarc_reports", .kind = CONF_TEXT, .offset = AT(dmarc_reports_text), .preset = "off", .help =
		"Send domains that ask for it (RFC 9990) a report a day, or as often as they say (ri=), of what came of DMARC for mail in their name: the\n"
		"ADDRESS that it is sent from and that answers questions about it; it needs a dkim_key. keep: what came of it is only written down, in\n"
		"dmarc/ in the queue directory, a file a day for eight days. off: nothing is." },
	{ .name = "reports_at", .kind = CONF_TEXT, .offset = AT(reports_at), .example = "reports@example.org", .help =
		"Addresses that your DNS records name for reports of DMARC and of TLS (rua=), separated by blanks: what comes there and can be\n"
		"believed is kept for `fardel reports`, three months. It needs spf, check_dkim and dmarc." },
	{ .name = "dnsbl", .kind = CONF_LIST, .offset = AT(dnsbl_text), .example = "zen.example.net=127.0.0.2-11 2", .help =
		"Lists in the DNS that a stranger's address may be on: ZONE[=CODES] [WEIGHT]. CODES are the answers that count, with ranges:\n"
		"127.0.0.2-4,127.0.0.10; all when not said. A WEIGHT below 0 is for lists of those who are welcome; 1 when not said. Lists that do\n"
		"not work (RFC 5782) are left out. One a line, at most eight together with rhsbl." },
	{ .name = "rhsbl", .kind = CONF_LIST, .offset = AT(rhsbl_text), .example = "dbl.example.net", .help =
		"The same for lists of domains: those of the sender and of the name that the client gives itself." },
	{ .name = "dnsbl_refuse", .kind = CONF_NUMBER, .offset = AT(dnsbl_refuse), .preset = "1", .max = 8000, .help =
		"Mail from a stranger is refused when the weights of the lists that name him come to so much together. 0: they are only noted in\n"
		"the log." },
	{ .name = "milter", .kind = CONF_LIST, .offset = AT(milter_text), .example = "inet:127.0.0.1:11332", .help =
		"A mail filter such as rspamd, OpenDKIM or ClamAV, asked while the client waits: inet:HOST:PORT or unix:/PATH. It may refuse mail and\n"
		"change it. Behind it may stand for=smtp (mail by smtp:// alone) or for=submission (by submission://, submissions:// and unix:// alone).\n"
		"One a line, may be repeated: each is shown what those before it have left. Mail of sendmail is shown to them if listen has unix://,\n"
		"drop files are not.",
		.elsewhere = "smtpd_milters non_smtpd_milters" },
	{ .name = "milter_default_action", .kind = CONF_TEXT, .offset = AT(milter_default_text), .preset = "tempfail", .help =
		"What becomes of mail while a filter cannot be reached, does not answer in time or makes no sense. tempfail: clients are told to come\n"
		"back. accept: mail goes on as if there were no such filter. reject: it is refused." },
	{ .name = "milter_connect_timeout", .kind = CONF_DURATION, .offset = AT(milter_connect_timeout), .preset = "30s", .min = 1, .max = 600, .help =
		"How long a filter may take to be connected to and to say what it can do." },
	{ .name = "milter_command_timeout", .kind = CONF_DURATION, .offset = AT(milter_command_timeout), .preset = "30s", .min = 1, .max = 600, .help =
		"How long it may take to answer to a command." },
	{ .name = "milter_content_timeout", .kind = CONF_DURATION, .offset = AT(milter_content_timeout), .preset = "5m", .min = 1, .max = 600, .help =
		"How long it may take to read or answer to a part of a message, the end included; anew when it says that it is at work, up to 10 minutes\n"
		"in all, as the client waits no longer." },
	{ .name = "retry_first", .kind = CONF_DURATION, .offset = AT(retry_first), .preset = "5m", .min = 1, .max = 86400 * 30, .help =
		"How long after a failed attempt the next one is made. The pause doubles with every attempt...",
		.elsewhere = "minimal_backoff_time" },
	{ .name = "retry_max", .kind = CONF_DURATION, .offset = AT(retry_max), .preset = "4h", .min = 1, .max = 86400 * 30, .help =
		"...until it is this long.",
		.elsewhere = "maximal_backoff_time" },
	{ .name = "queue_lifetime", .kind = CONF_DURATION, .offset = AT(queue_lifetime), .preset = "5d", .min = 1, .max = 86400 * 365, .help =
		"How long a message is tried before it goes back to its sender.",
		.elsewhere = "maximal_queue_lifetime bounce_queue_lifetime" },
	{ .name = "delay_notice", .kind = CONF_DURATION, .offset = AT(delay_notice), .preset = "4h", .max = 86400 * 365, .help =
		"The sender is told once when a message has waited this long. 0: never.",
		.elsewhere = "delay_warning_time delay_warning" },
	{ .name = "proxy_out", .kind = CONF_TEXT, .offset = AT(proxy_out_text), .example = "socks5://127.0.0.1:1080", .help =
		"A SOCKS5 proxy that connects to MX hosts for us: socks5://ADDRESS:PORT, or socks5://USER:PASSWORD@ADDRESS:PORT. A route has its own\n"
		"(proxy=). Names are looked up here, and policies (MTA-STS) fetched from here." },
	{ .name = "tls_certificate", .kind = CONF_LIST, .offset = AT(certificate_text), .example = "/etc/fardel/tls/fullchain.pem", .help =
		"What STARTTLS shows: the file of a certificate and what is above it, in PEM. May be repeated, for other names or another\n"
		"kind of key; each with its own tls_key, in the same order. Without any, STARTTLS is not offered.",
		.elsewhere = "smtpd_tls_cert_file smtpd_tls_chain_files certfile" },
	{ .name = "tls_key", .kind = CONF_LIST, .offset = AT(key_text), .example = "/etc/fardel/tls/privkey.pem", .help =
		"The file of the private key: RSA of 1024 to 4096 bits or EC (P-256, P-384, P-521), in PEM, without a passphrase.\n"
		"Both files are read again when they have changed; the pair read before stays in use until the new one fits together.",
		.elsewhere = "smtpd_tls_key_file tls_privatekey" },
	{ .name = "tls_out", .kind = CONF_TEXT, .offset = AT(tls_out_text), .preset = "may", .help =
		"TLS when mail is sent. may: where the other host offers it and it works, else in clear. no: never. must: mail waits\n"
		"for hosts that cannot. Certificates are checked where a route demands it.",
		.elsewhere = "smtp_tls_security_level smtp_use_tls" },
	{ .name = "tls", .kind = CONF_LIST, .offset = AT(tls_rule_text), .example = "example.org encrypt", .help =
		"TLS for mail to certain domains, instead of tls_out: DOMAIN none, may (if it is offered), encrypt (whatever the certificate), verify\n"
		"(one for the host's name that tls_ca vouches for), dane (one that DNS names) or fingerprint=SHA256 (of the certificate or its key; may\n"
		"be repeated). DOMAIN is a name, the host of a route, .example.org (all below it) or *. What DNS (DANE), policies (MTA-STS) and routes\n"
		"demand holds besides, unless it says none. One a line, may be repeated.",
		.elsewhere = "smtp_tls_policy_maps" },
	{ .name = "tls_ca", .kind = CONF_TEXT, .offset = AT(tls_ca), .example = "/etc/ssl/certs/ca-certificates.crt", .help =
		"The authorities whose certificates are believed when a host is checked: a file of PEM. A server's own certificate may be among\n"
		"them. When it is not set: those of the system.",
		.elsewhere = "smtp_tls_cafile smtp_tls_capath tls_trust_file" },
	{ .name = "mta_sts", .kind = CONF_YESNO, .offset = AT(mta_sts), .preset = "yes", .help =
		"Other domains may say over HTTPS which hosts take their mail, and that these show a certificate which tls_ca vouches for (MTA-STS):\n"
		"then mail waits rather than go elsewhere, or in clear. No effect with tls_out = no, or without authorities." },
	{ .name = "mta_sts_port", .kind = CONF_NUMBER, .offset = AT(mta_sts_port), .preset = "443", .min = 1, .max = 65535, .help =
		"The port that their policies are fetched from." },
	{ .name = "tls_reports", .kind = CONF_TEXT, .offset = AT(tls_reports), .preset = "no", .help =
		"Send domains that ask for it (RFC 8460) a report a day of what came of TLS with their hosts: the ADDRESS of who answers questions\n"
		"about it. no: none is sent, and nothing is counted." },
	{ .name = "dkim_key", .kind = CONF_LIST, .at_start = true, .offset = AT(dkim_text), .example = "example.org fardel1 /etc/fardel/dkim/example.org.key", .help =
		"DOMAIN SELECTOR FILE: mail that users and local programs send, and reports of ours, are signed (DKIM) when the author has an\n"
		"address in DOMAIN, or below it if nothing nearer is named. `fardel dkim-key` makes the file and shows the DNS record. One a\n"
		"line, may be repeated: several selectors of a domain sign side by side. Read at the start, as root if root starts." },
	{ .name = "rcpt_domain_max", .kind = CONF_NUMBER, .offset = AT(rcpt_domain_max), .preset = "0", .max = 1000000, .help =
		"How many different domains the recipients of one message may have. 0: any number." },
	{ .name = "mail_max", .kind = CONF_NUMBER, .offset = AT(mail_max), .preset = "0", .max = 1000000, .help =
		"How many messages a client may send on one connection. 0: any number." },
	{ .name = "future_release_max", .kind = CONF_DURATION, .offset = AT(future_release_max), .preset = "60d", .max = 86400 * 365, .help =
		"How long a user or a local program may have a message held before it is sent (HOLDFOR, HOLDUNTIL). 0: not at all." },
	{ .name = "sent_days", .kind = CONF_NUMBER, .offset = AT(sent_days), .preset = "5", .max = 365, .help =
		"How many days it is remembered where each recipient's mail went, and what delivery reports that come back say of it, in sent/ in the\n"
		"queue directory, a file a day; `fardel why` tells it. 0: not at all." },
	{ .name = "user_rcpt_per_day", .kind = CONF_NUMBER, .offset = AT(user_rcpt_per_day), .preset = "1000", .max = 10000000, .help =
		"How many recipients who has logged in may name on one day (UTC): a stolen password shall not send for long. 0: any number." },
	{ .name = "users", .kind = CONF_TEXT, .at_start = true, .offset = AT(users), .example = "/etc/fardel/users", .help =
		"Who may log in on submission:// and submissions://: a file of lines NAME:SECRET[:ADDRESSES], written by `fardel passwd`.\n"
		"It is read again when it has changed. Without it nobody can." },
	{ .name = "deliver", .kind = CONF_YESNO, .at_start = true, .offset = AT(deliver), .preset = "yes", .help =
		"no: mail is taken and kept, nothing is sent or delivered." },
	{ .name = "user", .kind = CONF_TEXT, .at_start = true, .offset = AT(user), .example = "fardel", .help =
		"The account that does the work: who starts as root becomes it as soon as the ports are open.\n"
		"It owns the queue and the mailboxes. When it is not set: whoever starts the program, root too.",
		.elsewhere = "mail_owner" },
	{ .name = "sandbox", .kind = CONF_TEXT, .at_start = true, .offset = AT(sandbox_text), .preset = "may", .help =
		"What serve gives up once it runs: writing anywhere but to the queue, the mailboxes, the log and metrics_file, executing programs, and\n"
		"system calls that mail has no use for. may: as far as the kernel can (the log says what is in force). must: or it does not start. no." },
	{ .name = "log", .kind = CONF_TEXT, .offset = AT(log), .preset = "stderr", .help =
		"Where the log goes: stderr, syslog or the path of a file.",
		.elsewhere = "maillog_file logfile" },
	{ .name = "log_format", .kind = CONF_TEXT, .offset = AT(log_format_text), .preset = "plain", .help =
		"How a line of the log is written. plain: time, level, event and name=value. json: one JSON object, with the same names." },
	{ .name = "log_level", .kind = CONF_TEXT, .offset = AT(log_level_text), .preset = "info", .help =
		"How much is logged: error, warn, info or debug (every line of every SMTP conversation)." },
	{ .name = "control", .kind = CONF_TEXT, .at_start = true, .offset = AT(control), .example = "/run/fardel/control", .help =
		"A local socket where the running program is asked for what only it knows: `fardel top`, `metrics`, `why` and sendmail --wait do so.\n"
		"When it is not set: control in the queue directory, where root and the queue's owner come. Results of their own mail are for every\n"
		"account that can reach the socket, all else for root and the owner. off: there is none." },
	{ .name = "metrics_file", .kind = CONF_TEXT, .offset = AT(metrics_file), .example = "/var/lib/prometheus/node-exporter/fardel.prom", .help =
		"Figures for monitoring are written there every 15 s, in the text form of Prometheus: what has happened since the start, and what\n"
		"waits in the queue. The directory must be one that this account may write to." },
	{ .name = "metrics_listen", .kind = CONF_TEXT, .at_start = true, .offset = AT(metrics_listen), .example = "127.0.0.1:9797", .help =
		"An address and port where the same figures, and those of the domains that most mail waits for, are told by HTTP, at /metrics alone.\n"
		"Everybody who can connect may read them. So an address of loopback (127.0.0.1, [::1]) it must be, unless public stands behind it." },
};

/* ---- addresses */

static bool to_mapped(const struct sockaddr *sa, unsigned char out[16])
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };

	switch (sa->sa_family) {
	case AF_INET:
		memcpy(out, mapped, sizeof mapped);
		memcpy(out + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
		return true;
	case AF_INET6:
		memcpy(out, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
		return true;
	default:
		return false;
	}
}

/* An address with or without brackets. */
static bool address_parse(struct str s, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	bool brackets = s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']';
	char text[INET6_ADDRSTRLEN];

	*out = (struct sockaddr_storage){ 0 };
	if (brackets)
		s = (struct str){ s.p + 1, s.n - 2 };
	if (!str_copy(text, sizeof text, s))
		return false;
	if (!brackets && inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		*len = sizeof *v4;
		return true;
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	*len = sizeof *v6;
	return true;
}

static bool bit(const unsigned char *addr, unsigned i)
{
	return addr[i / 8] >> (7 - i % 8) & 1;
}

const char *network_parse(struct str s, struct network *out)
{
	struct sockaddr_storage ss;
	struct str address = s;
	socklen_t len;
	uint64_t bits;
	bool has_bits;

	has_bits = str_cut(&s, '/', &address);
	if (!address_parse(address, &ss, &len))
		return "is no network. Write an address with the number of its fixed bits, as in 192.0.2.0/24.";
	bits = ss.ss_family == AF_INET ? 32 : 128;
	if (has_bits && !str_number(s, bits, &bits))
		return ss.ss_family == AF_INET ? "needs 0 to 32 bits behind the slash." : "needs 0 to 128 bits behind the slash.";
	to_mapped((struct sockaddr *)&ss, out->addr);
	out->bits = (unsigned)bits + (ss.ss_family == AF_INET ? 96 : 0);
	for (unsigned i = out->bits; i < 128; i++)
		if (bit(out->addr, i))
			return "has bits set behind its fixed ones. Write the first address of the network, as in 192.0.2.0/24.";
	return NULL;
}

static bool network_holds(const struct network *net, const unsigned char addr[16])
{
	unsigned octets = net->bits / 8;

	if (memcmp(net->addr, addr, octets) != 0)
		return false;
	return net->bits % 8 == 0 || (net->addr[octets] ^ addr[octets]) >> (8 - net->bits % 8) == 0;
}

bool networks_hold(const struct networks *nets, const struct sockaddr *sa)
{
	unsigned char addr[16];

	if (!to_mapped(sa, addr))
		return false;
	for (size_t i = 0; i < nets->n; i++)
		if (network_holds(&nets->net[i], addr))
			return true;
	return false;
}

static const struct {
	struct str scheme;
	enum smtpd_service service;
	unsigned port;
} schemes[] = {
	{ { "smtp://", 7 }, SMTPD_MX, 25 },
	{ { "submission://", 13 }, SMTPD_SUBMISSION, 587 },
	{ { "submissions://", 14 }, SMTPD_SUBMISSIONS, 465 },
	{ { "unix://", 7 }, SMTPD_LOCAL, 0 },
};

static const char *local_parse(struct str path, struct listen_on *out)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->addr;

	out->addr = (struct sockaddr_storage){ 0 };
	un->sun_family = AF_UNIX;
	out->len = sizeof *un;
	if (path.n < 2 || path.p[0] != '/')
		return "has no path. Write unix:///run/fardel/submit or another absolute path.";
	return str_copy(un->sun_path, sizeof un->sun_path, path) ? NULL : "has a path that is too long for a socket: 107 octets are the most.";
}

/* "host", "host:port", "[v6]", "[v6]:port"; the port stays when none is said. */
static bool split_port(struct str *host, uint64_t *port)
{
	struct str rest = *host, head;

	if (rest.n > 0 && rest.p[0] == '[') {
		if (!str_cut_last(&rest, ']', &head))
			return false;
		*host = (struct str){ host->p, head.n + 1 };
		if (rest.n == 0)
			return true;
		if (rest.p[0] != ':')
			return false;
		return str_number(str_from(rest, 1), 65535, port);
	}
	if (!str_cut(&rest, ':', &head))
		return true;
	*host = head;
	return str_number(rest, 65535, port);
}

static void set_port(struct sockaddr_storage *ss, uint64_t port)
{
	if (ss->ss_family == AF_INET)
		((struct sockaddr_in *)ss)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)ss)->sin6_port = htons((uint16_t)port);
}

const char *listen_parse(struct str s, struct listen_on *out)
{
	size_t i = 0;
	uint64_t port;

	while (i < sizeof schemes / sizeof *schemes && !str_starts_nocase(s, schemes[i].scheme))
		i++;
	if (i == sizeof schemes / sizeof *schemes)
		return "is no way to listen. Write smtp://ADDRESS:PORT, submission://, submissions:// or unix:///PATH.";
	out->service = schemes[i].service;
	port = schemes[i].port;
	s = str_from(s, schemes[i].scheme.n);
	if (out->service == SMTPD_LOCAL)
		return local_parse(s, out);
	if (s.n > 0 && s.p[s.n - 1] == '/')
		s.n--;
	if (!split_port(&s, &port))
		return "has no proper port. Write smtp://ADDRESS:PORT with a port up to 65535; IPv6 addresses stand in brackets.";
	/* One IPv6 socket takes both families (IPV6_V6ONLY off). */
	if (str_eq(s, STR("*")))
		s = STR("[::]");
	if (str_eq_nocase(s, STR("localhost")))
		s = STR("127.0.0.1");
	if (!address_parse(s, &out->addr, &out->len))
		return "names no address. Write an IP address (IPv6 in brackets), or * for all.";
	set_port(&out->addr, port);
	return NULL;
}

bool resolver_parse(struct str s, struct sockaddr_storage *out, socklen_t *len)
{
	uint64_t port = 53;

	/* A bare IPv6 address has colons of its own: brackets are asked for only together with a port. */
	if (!address_parse(s, out, len) && !(split_port(&s, &port) && port > 0 && address_parse(s, out, len)))
		return false;
	set_port(out, port);
	return true;
}

/* ---- what is made from the values; each complains where the value was written */

static void *make_array(struct settings *s, size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		conf_no_memory(&s->conf, "fardel");
	return p;
}

static void make_listen(struct settings *s)
{
	const struct conf_list *l = &s->listen_text;

	if (!(s->listen = make_array(s, l->n, sizeof *s->listen)))
		return;
	for (size_t i = 0; i < l->n; i++) {
		struct listen_on *on = &s->listen[s->nlisten];
		const char *wrong = listen_parse(str_of(l->item[i].text), on);

		on->text = l->item[i].text;
		on->where = l->item[i].where;
		on->fd = -1;
		if (wrong)
			conf_complain(&s->conf, on->where, "listen: \"%s\" %s", on->text, wrong);
		else
			s->nlisten++;
	}
}

const char *milter_parse(const char *text, struct smtpd_milter *out)
{
	static const char what[] = "is no filter. Write inet:HOST:PORT or unix:/PATH, and behind it perhaps for=smtp or for=submission.";
	struct sockaddr_un *un = (struct sockaddr_un *)&out->addr;
	struct str rest = str_of(text), place, word, host;
	uint64_t port;

	*out = (struct smtpd_milter){ .text = text, .servers = true, .users = true };
	if (!str_word(&rest, &place))
		return what;
	if (str_word(&rest, &word)) {
		out->servers = str_eq_nocase(word, STR("for=smtp"));
		out->users = str_eq_nocase(word, STR("for=submission"));
		if ((!out->servers && !out->users) || str_word(&rest, &word))
			return what;
	}
	if (str_starts_nocase(place, STR("unix:"))) {
		un->sun_family = AF_UNIX;
		out->len = sizeof *un;
		place = str_from(place, 5);
		return place.n && place.p[0] == '/' && str_copy(un->sun_path, sizeof un->sun_path, place) ? NULL :
			"has no path, or one of more than 107 octets. Write unix:/PATH.";
	}
	if (!str_starts_nocase(place, STR("inet:")))
		return what;
	place = str_from(place, 5);
	if (!str_cut_last(&place, ':', &host) || !str_number(place, 65535, &port) || !port || !host.n)
		return what;
	out->port = (unsigned)port;
	if (str_eq_nocase(host, STR("localhost")))
		host = STR("127.0.0.1");
	if (address_parse(host, &out->addr, &out->len)) {
		set_port(&out->addr, port);
		return NULL;
	}
	if (parse_domain(host, false, false) || !str_copy(out->host, sizeof out->host, host))
		return "names a host that cannot be one. Write inet:HOST:PORT; IPv6 addresses stand in brackets.";
	return NULL;
}

static void make_milters(struct settings *s)
{
	const struct conf_list *l = &s->milter_text;

	if (!(s->milters = make_array(s, l->n, sizeof *s->milters)))
		return;
	for (size_t i = 0; i < l->n; i++) {
		const char *wrong = milter_parse(l->item[i].text, &s->milters[s->nmilters]);

		if (wrong)
			conf_complain(&s->conf, l->item[i].where, "milter: \"%s\" %s", l->item[i].text, wrong);
		else
			s->nmilters++;
	}
}

static void make_networks(struct settings *s, const char *name, const struct conf_list *l, struct networks *nets)
{
	if (!(nets->net = make_array(s, l->n, sizeof *nets->net)))
		return;
	for (size_t i = 0; i < l->n; i++) {
		const char *wrong = network_parse(str_of(l->item[i].text), &nets->net[nets->n]);

		if (wrong)
			conf_complain(&s->conf, l->item[i].where, "%s: \"%s\" %s", name, l->item[i].text, wrong);
		else
			nets->n++;
	}
}

/* The first line of the file. One that is closed to us stays unread: programs of others that send by sendmail need it not. */
static void read_password(struct settings *s, const char *where, struct route_login *login)
{
	bool secret = !strcmp(where, RELAYHOST_PASSWORD_FILE);  /* of a container, which mounts it as it likes: nobody else is in there */
	struct buf text = { .max = 4096 };
	struct str rest, line;
	struct stat st;
	bool read = file_stat(login->file, &st) == 0 && file_read_all(AT_FDCWD, login->file, &text) == 0;

	if (!read && errno == EACCES) {
		login->password[0] = '\0';
	} else if (!read) {
		conf_complain(&s->conf, where, "route: password_file=%s: %s", login->file, strerror(errno));
	} else if (st.st_mode & S_IROTH && !secret) {
		conf_complain(&s->conf, where, "route: password_file=%s can be read by everybody. Say chmod 600 %s", login->file, login->file);
	} else {
		rest = buf_view(&text);
		if (!str_cut(&rest, '\n', &line))
			line = rest;
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (!line.n || memchr(line.p, '\0', line.n) || !str_copy(login->password, sizeof login->password, line))
			conf_complain(&s->conf, where, "route: password_file=%s: the first line is to be the password, of up to 511 octets",
				login->file);
	}
	if (text.p)
		explicit_bzero(text.p, text.room);
	buf_free(&text);
}

/* A password is shown to nobody: not by `fardel config`, not in a complaint. */
static void hide_password(char *text)
{
	for (char *url = strstr(text, "://"); url; url = strstr(url + 3, "://")) {
		char *colon = NULL, *host = NULL;

		for (char *p = url + 3; *p && *p != ' ' && *p != '\t'; p++) {
			if (*p == ':' && !colon)
				colon = p;
			if (*p == '@')
				host = p;
		}
		if (host && colon && colon < host)
			memset(colon + 1, '*', (size_t)(host - colon - 1));
	}
}

/* What may be shown of a rule that was not understood: nobody knows where in it a password stands, but not before the first colon and not
 * in the first two words. */
static struct str harmless(const char *text)
{
	struct str all = str_of(text), rest = all, word;
	const char *colon = strchr(text, ':');
	bool two = str_word(&rest, &word) && str_word(&rest, &word);
	size_t n = two ? (size_t)(word.p + word.n - text) : all.n;

	return (struct str){ text, colon && (size_t)(colon - text) < n ? (size_t)(colon - text) : n };
}

/* password_where: for complaints about the password's file. */
static void take_route(struct settings *s, const struct conf_item *item, const char *password_where)
{
	struct routes *r = &s->routes;
	struct route_rule *rule = &r->rule[r->n];
	const char *wrong = route_parse(str_of(item->text), rule);

	if (wrong) {
		struct str shown = harmless(item->text);

		conf_complain(&s->conf, item->where, "route: \"" STR_FMT "%s\": %s", STR_ARG(shown), item->text[shown.n] ? "..." : "", wrong);
		return;
	}
	hide_password(item->text);
	if (rule->login.file[0])
		read_password(s, password_where, &rule->login);
	r->n++;
}

/* RELAYHOST is for what has no way yet: one for all domains and senders that stands in a setting is meant more than it. */
static void make_relayhost(struct settings *s)
{
	struct buf rule = { .max = RELAYHOST_RULE };
	const char *variable, *wrong = NULL;
	bool said = false;

	for (size_t i = 0; i < s->routes.n; i++)
		said = said || (!strcmp(s->routes.rule[i].domain, "*") && !s->routes.rule[i].from[0]);
	if (!said && (wrong = relayhost_rule(&rule, &variable)))
		conf_complain(&s->conf, variable, "%s", wrong);
	else if (rule.n && !conf_add(&s->conf, "route", RELAYHOST, buf_view(&rule)))
		conf_no_memory(&s->conf, RELAYHOST);
	else if (rule.n)
		take_route(s, &s->route_text.item[s->route_text.n - 1], RELAYHOST_PASSWORD_FILE);
	if (rule.p)
		explicit_bzero(rule.p, rule.room);
	buf_free(&rule);
}

static void make_routes(struct settings *s)
{
	const struct conf_list *l = &s->route_text;
	size_t n = l->n;

	s->routes.smtp_port = s->smtp_port;
	if (!(s->routes.rule = make_array(s, n + 1, sizeof *s->routes.rule)))
		return;
	for (size_t i = 0; i < n; i++)
		take_route(s, &l->item[i], l->item[i].where);
	if (conf_ok(&s->conf))
		make_relayhost(s);
	routes_tell_apart(&s->routes);
}

static void make_proxy(struct settings *s)
{
	const char *wrong;

	if (!s->proxy_out_text || !*s->proxy_out_text)
		return;
	if ((wrong = socks_parse(str_of(s->proxy_out_text), &s->proxy_out)))
		conf_complain(&s->conf, conf_where(&s->conf, "proxy_out"), "proxy_out: %s", wrong);
	hide_password((char *)(uintptr_t)s->proxy_out_text);
}

static void make_tls_rules(struct settings *s)
{
	const struct conf_list *l = &s->tls_rule_text;
	struct tls_rules *r = &s->tls_rules;

	if (!(r->rule = make_array(s, l->n, sizeof *r->rule)))
		return;
	for (size_t i = 0; i < l->n; i++) {
		const char *wrong = tls_rule_parse(str_of(l->item[i].text), &r->rule[r->n]);

		if (wrong)
			conf_complain(&s->conf, l->item[i].where, "tls: \"%s\": %s", l->item[i].text, wrong);
		else
			r->n++;
	}
}

static bool can_run(const char *command)
{
	char program[512];
	struct str rest = str_of(command), word;

	return str_word(&rest, &word) && str_copy(program, sizeof program, word) && access(program, X_OK) == 0;
}

bool settings_can_send(struct settings *s)
{
	for (size_t i = 0; i < s->routes.n; i++) {
		const struct route_login *login = &s->routes.rule[i].login;

		/* All rules were understood, so they are the items one by one. */
		if (login->command[0] && !can_run(login->command))
			conf_complain(&s->conf, s->route_text.item[i].where, "route: token_command=%s: %s. It is run by uid %lu", login->command,
				strerror(errno), (unsigned long)geteuid());
		if (login->file[0] && !login->password[0])
			conf_complain(&s->conf, s->route_text.item[i].where, "route: password_file=%s: %s. Give it to the account that sends, uid %lu "
				"(chown, chmod 600)", login->file, strerror(EACCES), (unsigned long)geteuid());
	}
	return conf_ok(&s->conf);
}

/* The names the rest of the program compares with are lower case. */
static void lower(char *text)
{
	for (; *text; text++)
		*text = ascii_lower(*text);
}

static void make_local(struct settings *s)
{
	const struct conf_list *l = &s->local_text;
	bool said = strcmp(conf_where(&s->conf, "local_domains"), "preset") != 0;

	if (!(s->local = make_array(s, l->n + 2, sizeof *s->local)))
		return;
	s->routes.local = s->local;
	for (size_t i = 0; i < l->n; i++) {
		const char *wrong = parse_domain(str_of(l->item[i].text), false, true);

		lower(l->item[i].text);
		if (wrong)
			conf_complain(&s->conf, l->item[i].where, "local_domains: \"%s\": %s.", l->item[i].text, wrong);
		else
			s->local[s->routes.nlocal++] = str_of(l->item[i].text);
	}
	if (said)
		return;
	s->local[s->routes.nlocal++] = str_of(s->computed[0]);
	s->local[s->routes.nlocal++] = STR("localhost");
}

static bool usable_name(const char *name, bool dot_wanted)
{
	return *name && (!dot_wanted || strchr(name, '.')) && !parse_domain(str_of(name), false, false);
}

/* Asking DNS for the full name would make every command wait for a resolver that may be away. */
static void find_hostname(char *out, size_t size)
{
	struct buf mailname = { .max = 1024 };
	char system[256] = "", first[256] = "";
	struct str text;

	if (gethostname(system, sizeof system) == -1)
		system[0] = '\0';
	system[sizeof system - 1] = '\0';
	if (file_read_all(AT_FDCWD, "/etc/mailname", &mailname) == 0) {
		text = str_trim(buf_view(&mailname));
		if (!str_copy(first, sizeof first, text))
			first[0] = '\0';
	}
	buf_free(&mailname);
	snprintf(out, size, "%s",
		usable_name(system, true) ? system :
		usable_name(first, true) ? first :
		usable_name(system, false) ? system : "localhost");
}

/* computed[0] is the hostname in lower case in any case: make_local() lends it out. */
static void make_hostname(struct settings *s)
{
	const char *wrong;

	if (!s->hostname) {
		find_hostname(s->computed[0], sizeof s->computed[0]);
		lower(s->computed[0]);
		s->hostname = s->computed[0];
		return;
	}
	if ((wrong = parse_domain(str_of(s->hostname), false, true))) {
		conf_complain(&s->conf, conf_where(&s->conf, "hostname"), "hostname = %s: %s. Write a name such as mail.example.org.",
			s->hostname, wrong);
		return;
	}
	snprintf(s->computed[0], sizeof s->computed[0], "%s", s->hostname);
	lower(s->computed[0]);
}

static void make_origin(struct settings *s)
{
	const char *wrong;

	if (s->origin) {
		if ((wrong = parse_domain(str_of(s->origin), false, true)))
			conf_complain(&s->conf, conf_where(&s->conf, "origin"), "origin = %s: %s. Write a domain such as example.org.",
				s->origin, wrong);
		return;
	}
	if (route_is_local(&s->routes, str_of(s->computed[0])) || s->routes.nlocal == 0 ||
		!str_copy(s->computed[1], sizeof s->computed[1], s->local[0]))
		memcpy(s->computed[1], s->computed[0], sizeof s->computed[1]);
	s->origin = s->computed[1];
}

static void make_tls(struct settings *s)
{
	const struct conf_list *c = &s->certificate_text, *k = &s->key_text;

	if (c->n != k->n)
		conf_complain(&s->conf, conf_where(&s->conf, c->n > k->n ? "tls_certificate" : "tls_key"),
			"there are %zu tls_certificate and %zu tls_key. Write one tls_key for each tls_certificate, in the same order.", c->n, k->n);
	else if ((s->tls = make_array(s, c->n, sizeof *s->tls)))
		for (; s->ntls < c->n; s->ntls++)
			s->tls[s->ntls] = (struct tls_files){ .certificate = c->item[s->ntls].text, .key = k->item[s->ntls].text };
}

static void make_dkim(struct settings *s)
{
	const struct conf_list *l = &s->dkim_text;

	if (!(s->dkim = make_array(s, l->n, sizeof *s->dkim)))
		return;
	for (size_t i = 0; i < l->n; i++) {
		struct dkim_words *w = &s->dkim[s->ndkim];
		struct str rest = str_of(l->item[i].text);

		if (str_word(&rest, &w->domain) && str_word(&rest, &w->selector) && (rest = str_trim(rest)).n) {
			w->file = rest.p;       /* the rest of the line, so it ends in a NUL */
			w->where = l->item[i].where;
			s->ndkim++;
		} else {
			conf_complain(&s->conf, l->item[i].where, "dkim_key: \"%s\" is not DOMAIN SELECTOR FILE, as in example.org fardel1 /etc/fardel/dkim/example.org.key.",
				l->item[i].text);
		}
	}
}

static void make_send_as(struct settings *s)
{
	const struct conf_list *l = &s->send_as_text;

	if (!(s->send_as.rule = make_array(s, l->n, sizeof *s->send_as.rule)))
		return;
	for (size_t i = 0; i < l->n; i++) {
		const char *wrong = sendas_parse(str_of(l->item[i].text), &s->send_as.rule[s->send_as.n]);

		if (wrong)
			conf_complain(&s->conf, l->item[i].where, "send_as: \"%s\": %s.", l->item[i].text, wrong);
		else
			s->send_as.n++;
	}
}

/* Users who can never log in would be told so one by one, and late. */
static void check_submission(struct settings *s)
{
	for (size_t i = 0; i < s->nlisten; i++) {
		const struct listen_on *on = &s->listen[i];

		if (on->service != SMTPD_SUBMISSION && on->service != SMTPD_SUBMISSIONS)
			continue;
		if (!s->ntls)
			conf_complain(&s->conf, on->where, "listen: %s needs TLS. Set tls_certificate and tls_key.", on->text);
		if (!s->users)
			conf_complain(&s->conf, on->where, "listen: %s is for those who log in. Set users = FILE, and write it with fardel passwd FILE USER.",
				on->text);
	}
}

/* One of so many words, in any case: its place, or 0 and a complaint. */
static size_t find_word(struct settings *s, const char *name, const char *text, const char *const *words, size_t n, const char *remedy)
{
	for (size_t i = 0; i < n; i++)
		if (str_eq_nocase(str_of(text), str_of(words[i])))
			return i;
	conf_complain(&s->conf, conf_where(&s->conf, name), "%s = \"%s\" is not known. Write %s.", name, text ? text : "", remedy);
	return 0;
}

static void make_lists(struct settings *s, const char *name, const struct conf_list *text, bool domains)
{
	for (size_t i = 0; i < text->n; i++) {
		const struct conf_item *item = &text->item[i];
		const char *wrong = s->ndnsbl == DNSBL_LISTS ? "there are more than eight lists" : dnsbl_parse(str_of(item->text), domains, &s->dnsbl[s->ndnsbl]);

		if (wrong)
			conf_complain(&s->conf, item->where, "%s: \"%s\": %s. Write ZONE[=CODES] [WEIGHT], such as zen.example.net=127.0.0.2-11 2.", name,
				item->text, wrong);
		else
			s->ndnsbl++;
	}
}

/* Only who asks for it is told: the preset of a setting is no mistake. */
static void check_dmarc(struct settings *s)
{
	const char *where = conf_where(&s->conf, "dmarc");

	if (s->dmarc != SMTPD_DMARC_OFF && (s->spf == SMTPD_SPF_OFF || !s->check_dkim) && strcmp(where, "preset") != 0)
		conf_complain(&s->conf, where, "dmarc = %s needs both SPF and DKIM: without them it would call forged what is not. Set spf = note and "
			"check_dkim = yes, or dmarc = off.", s->dmarc_text);
	if (s->dmarc_reports != DMARC_REPORTS_OFF && (s->dmarc == SMTPD_DMARC_OFF || s->spf == SMTPD_SPF_OFF || !s->check_dkim))
		conf_complain(&s->conf, conf_where(&s->conf, "dmarc_reports"), "dmarc_reports = %s has nothing to tell: nobody asks about DMARC. Set dmarc and spf "
			"to note or refuse and check_dkim = yes, or dmarc_reports = off.", s->dmarc_reports_text);
}

static void make_sync(struct settings *s)
{
	static const char *const words[] = { [QUEUE_SYNC_FILE] = "file", [QUEUE_SYNC_FS] = "fs", [QUEUE_SYNC_LOG] = "log" };

	s->queue_sync = (enum queue_sync)find_word(s, "queue_sync", s->queue_sync_text, words, 3, "log, file or fs");
}

/* Who answers questions about reports of ours. */
static void check_contact(struct settings *s, const char *name, const char *value, const char *words)
{
	struct addr a;
	const char *wrong = parse_address(str_of(value), false, &a);

	if (!wrong && !a.domain.n)
		wrong = "there is no domain in it";
	if (wrong)
		conf_complain(&s->conf, conf_where(&s->conf, name), "%s = %s is neither %s nor an address: %s. Write postmaster@%s, say.", name, value, words,
			wrong, s->hostname);
}

static void check_reports_at(struct settings *s)
{
	struct str rest = str_of(s->reports_at), word;
	const char *wrong;
	struct addr a;

	while (str_word(&rest, &word))
		if ((wrong = parse_address(word, false, &a)))
			conf_complain(&s->conf, conf_where(&s->conf, "reports_at"), "reports_at: " STR_FMT " is no address: %s", STR_ARG(word), wrong);
}

static void check_reports(struct settings *s)
{
	if (!s->tls_reports || str_eq_nocase(str_of(s->tls_reports), STR("no")))
		s->tls_reports = NULL;
	else
		check_contact(s, "tls_reports", s->tls_reports, "no");
	if (!s->dmarc_reports_text || str_eq_nocase(str_of(s->dmarc_reports_text), STR("off"))) {
		s->dmarc_reports = DMARC_REPORTS_OFF;
	} else if (str_eq_nocase(str_of(s->dmarc_reports_text), STR("keep"))) {
		s->dmarc_reports = DMARC_REPORTS_KEEP;
	} else {
		s->dmarc_reports = DMARC_REPORTS_SEND;
		check_contact(s, "dmarc_reports", s->dmarc_reports_text, "off, keep");
	}
}

static void make_words(struct settings *s)
{
	static const char *const dmarc[] = { [SMTPD_DMARC_OFF] = "off", [SMTPD_DMARC_NOTE] = "note", [SMTPD_DMARC_REFUSE] = "refuse" };
	static const char *const tls_out[] = { [TLS_OUT_NO] = "no", [TLS_OUT_MAY] = "may", [TLS_OUT_MUST] = "must" };
	static const char *const inet[] = { [INET_PREFER4] = "prefer4", [INET_PREFER6] = "prefer6", [INET_ONLY4] = "only4", [INET_ONLY6] = "only6" };
	static const char *const action[] = { [SMTPD_MILTER_TEMPFAIL] = "tempfail", [SMTPD_MILTER_ACCEPT] = "accept", [SMTPD_MILTER_REJECT] = "reject" };
	static const char *const spf[] = { [SMTPD_SPF_OFF] = "off", [SMTPD_SPF_NOTE] = "note", [SMTPD_SPF_REFUSE] = "refuse" };
	static const char *const sandbox[] = { [CONFINE_NO] = "no", [CONFINE_MAY] = "may", [CONFINE_MUST] = "must" };
	static const char *const full[] = { "defer", "refuse" };
	static const char *const judge[] = { [SMTPD_JUDGE_OFF] = "off", [SMTPD_JUDGE_NOTE] = "note", [SMTPD_JUDGE_REFUSE] = "refuse" };

	s->sandbox = (enum confine)find_word(s, "sandbox", s->sandbox_text, sandbox, 3, "may, must or no");
	s->tls_out = (enum tls_out)find_word(s, "tls_out", s->tls_out_text, tls_out, 3, "may, no or must");
	s->inet = (enum inet)find_word(s, "inet", s->inet_text, inet, 4, "prefer4, prefer6, only4 or only6");
	s->judge = (enum smtpd_judge)find_word(s, "judge", s->judge_text, judge, 3, "note, refuse or off");
	s->refuse_full = find_word(s, "mailbox_full", s->mailbox_full_text, full, 2, "defer or refuse") == 1;
	s->dmarc = (enum smtpd_dmarc)find_word(s, "dmarc", s->dmarc_text, dmarc, 3, "refuse, note or off");
	s->milter_default = (enum smtpd_milter_default)find_word(s, "milter_default_action", s->milter_default_text, action, 3, "tempfail, accept or reject");
	s->spf = (enum smtpd_spf)find_word(s, "spf", s->spf_text, spf, 3, "note, refuse or off");
}

static void make_source(struct settings *s)
{
	for (size_t i = 0; i < s->source_text.n; i++) {
		const struct conf_item *item = &s->source_text.item[i];
		struct sockaddr_storage a;
		socklen_t len;

		if (!address_parse(str_of(item->text), &a, &len))
			conf_complain(&s->conf, item->where, "source_address: \"%s\" is no address. Write one such as 192.0.2.25.", item->text);
		else if (s->source[a.ss_family == AF_INET6].ss_family)
			conf_complain(&s->conf, item->where, "source_address: %s is the second of its family. Leave one of them out.", item->text);
		else
			s->source[a.ss_family == AF_INET6] = a;
	}
}

static void make_metrics(struct settings *s)
{
	struct str rest = str_of(s->metrics_listen), address, word = STR("");
	uint64_t port = 0;

	if (!str_word(&rest, &address))
		return;
	s->metrics_public = str_word(&rest, &word) && str_eq_nocase(word, STR("public"));
	if ((word.n && !s->metrics_public) || str_trim(rest).n || !split_port(&address, &port) || !port ||
	    !address_parse(address, &s->metrics_addr, &s->metrics_len))
		conf_complain(&s->conf, conf_where(&s->conf, "metrics_listen"), "metrics_listen = %s is no address with a port. Write one such as 127.0.0.1:9797 or "
			"[::1]:9797, and perhaps public behind it.", s->metrics_listen);
	else if (!ip_is_loopback((const struct sockaddr *)&s->metrics_addr) && !s->metrics_public)
		conf_complain(&s->conf, conf_where(&s->conf, "metrics_listen"), "metrics_listen = %s can be reached by others, who could read which domains mail goes "
			"to. Write 127.0.0.1:%llu; or, if it is meant so, %s public.", s->metrics_listen, (unsigned long long)port, s->metrics_listen);
	else
		set_port(&s->metrics_addr, port);
}

static void need_text(struct settings *s, const char *name, const char *value, const char *remedy)
{
	if (!value)
		conf_complain(&s->conf, conf_where(&s->conf, name), "%s is empty. %s", name, remedy);
}

static void check_texts(struct settings *s)
{
	char user[LOCAL_MAX + 1];
	struct account a;
	const char *wrong;

	need_text(s, "queue", s->queue, "Write the path of a directory.");
	need_text(s, "mailbox", s->mailbox, "Write a path with {user} in it.");
	need_text(s, "log", s->log, "Write stderr, syslog or the path of a file.");
	if (s->mailbox && !strstr(s->mailbox, "{user}") && !s->homes)
		conf_complain(&s->conf, conf_where(&s->conf, "mailbox"),
			"mailbox = %s has no {user} in it: all users would share one mailbox. Write {user} where the name belongs, or ~/Maildir/.", s->mailbox);
	/* Nothing is delivered as root, and as whom else could it be? */
	if ((s->homes || s->pipes) && !s->user && geteuid() == 0)
		conf_complain(&s->conf, conf_where(&s->conf, s->homes ? "mailbox" : "pipes"), "%s work%s for users, and user is empty: set user = NAME, the account "
			"of this server.", s->homes ? "mailboxes in homes" : "pipes = yes", s->homes ? "" : "s");
	if (s->forward && !s->homes)
		conf_complain(&s->conf, conf_where(&s->conf, "forward"), "forward = yes, but mailbox = %s is not in the homes of users. Set mailbox = ~/Maildir/, "
			"or forward = no.", s->mailbox ? s->mailbox : "");
	if (s->pipe_user && ((wrong = account_find(s->pipe_user, &a)) || !a.uid))
		conf_complain(&s->conf, conf_where(&s->conf, "pipe_user"), "pipe_user = %s %s", s->pipe_user, wrong);
	if (s->rejects_folder && (strpbrk(s->rejects_folder, "/ ") || strlen(s->rejects_folder) > 200 || s->rejects_folder[0] == '.'))
		conf_complain(&s->conf, conf_where(&s->conf, "rejects_folder"), "rejects_folder = %s can be no folder's name. Write a word such as Rejects.",
			s->rejects_folder);
	if (s->postmaster && !maildir_user(str_of(s->postmaster), user))
		conf_complain(&s->conf, conf_where(&s->conf, "postmaster"),
			"postmaster = %s can be no user's name. Write one of a-z 0-9 . _ + - that does not begin with a dot.", s->postmaster);
}

struct alias_config settings_aliases(const struct settings *s)
{
	return (struct alias_config){ .aliases = s->aliases, .virtual = s->virtual, .routes = &s->routes, .origin = s->origin,
		.separator = s->separator, .own_postmaster = s->postmaster != NULL, .forward = s->forward, .commands = s->pipes,
		.as_owner = !s->pipe_user };
}

/* With homes: has the account one that gets mail? */
static bool has_no_account(const char *user)
{
	struct account a;
	const char *wrong = account_look_up(user, &a);

	return wrong ? !errno && !a.name[0] : a.uid == 0;
}

bool alias_is_nobody(void *settings, const struct addr *a)
{
	const struct settings *s = settings;
	char user[LOCAL_MAX + 1], path[4096];
	struct stat st;

	if (str_eq_nocase(a->local, STR("postmaster")))
		return false;
	if (!maildir_user(a->local, user))
		return true;
	for (char *tag = user + strlen(user); tag; tag = s->separator ? strrchr(user, s->separator) : NULL) {
		*tag = '\0';
		if (s->homes && *user && !has_no_account(user))
			return false;
		if (!s->homes && *user && (!maildir_path(str_of(s->mailbox), user, path, sizeof path) || stat(path, &st) == 0 || errno != ENOENT))
			return false;
	}
	return true;
}

static void make_separator(struct settings *s)
{
	if (s->subaddress && (strlen(s->subaddress) != 1 || !strchr("+-._=", *s->subaddress)))
		conf_complain(&s->conf, conf_where(&s->conf, "subaddress"), "subaddress = %s is no separator. Write one of + - . _ or =, or nothing.", s->subaddress);
	else
		s->separator = s->subaddress ? *s->subaddress : 0;
}

static void make_log_format(struct settings *s)
{
	bool json = s->log_format_text && !strcmp(s->log_format_text, "json");

	if (!json && (!s->log_format_text || strcmp(s->log_format_text, "plain") != 0))
		conf_complain(&s->conf, conf_where(&s->conf, "log_format"), "log_format = %s is no form. Write plain or json.",
			s->log_format_text ? s->log_format_text : "");
	s->log_format = json ? LOG_JSON : LOG_PLAIN;
}

static void make_log_level(struct settings *s)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = { { "error", LOG_ERROR }, { "warn", LOG_WARN }, { "info", LOG_INFO }, { "debug", LOG_DEBUG } };

	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
		if (s->log_level_text && !strcmp(s->log_level_text, levels[i].name)) {
			s->log_level = levels[i].level;
			return;
		}
	conf_complain(&s->conf, conf_where(&s->conf, "log_level"), "log_level = %s is no level. Write error, warn, info or debug.",
		s->log_level_text ? s->log_level_text : "");
}

/* Who may come again only when it is too late never gets in. */
static void check_greylist(struct settings *s)
{
	if (s->greylist && s->greylist_window <= s->greylist_delay)
		conf_complain(&s->conf, conf_where(&s->conf, strcmp(conf_where(&s->conf, "greylist_window"), "preset") ? "greylist_window" : "greylist_delay"),
			"greylist_window is not longer than greylist_delay: nobody would ever be let in. Make greylist_window longer.");
}

/* Who says one of the two means it: the preset of the other gives way. */
static void check_retries(struct settings *s)
{
	if (s->retry_first <= s->retry_max)
		return;
	if (!strcmp(conf_where(&s->conf, "retry_first"), "preset"))
		s->retry_first = s->retry_max;
	else if (!strcmp(conf_where(&s->conf, "retry_max"), "preset"))
		s->retry_max = s->retry_first;
	else
		conf_complain(&s->conf, conf_where(&s->conf, "retry_first"), "retry_first is longer than retry_max. Make retry_max longer.");
}

static void check_resolvers(struct settings *s)
{
	struct str rest = str_of(s->resolver), word;

	while (str_word(&rest, &word)) {
		struct sockaddr_storage ss;
		socklen_t len;

		if (resolver_parse(word, &ss, &len))
			continue;
		conf_complain(&s->conf, conf_where(&s->conf, "resolver"),
			"resolver: \"" STR_FMT "\" is no address with a port. Write one such as 127.0.0.1:53 or [::1]:53.", STR_ARG(word));
	}
}

/* ---- loading */

static void load_file(struct settings *s, const char *said)
{
	const char *path = said ? said : getenv("FARDEL_CONF");

	if (path && *path) {
		s->file = path;
		conf_file(&s->conf, path);
		return;
	}
	/* A file that is there and cannot be read is an error; none at all is not. */
	if (access(SETTINGS_FILE, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR)) {
		s->file = SETTINGS_FILE;
		conf_file(&s->conf, SETTINGS_FILE);
	}
}

/* FARDEL_CONF names the file; it is no setting. */
static void load_environment(struct settings *s)
{
	size_t n = 0, kept = 0;
	char **mine;

	while (environ && environ[n])
		n++;
	if (!(mine = make_array(s, n + 1, sizeof *mine)))
		return;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "FARDEL_CONF=", 12) != 0)
			mine[kept++] = environ[i];
	conf_environment(&s->conf, "FARDEL_", mine);
	free(mine);
}

bool settings_load(struct settings *s, const struct arguments *a)
{
	*s = (struct settings){ .said = *a };
	if (conf_start(&s->conf, rows, sizeof rows / sizeof *rows, s) == -1) {
		s->conf.errors.bad = true;
		return false;
	}
	load_file(s, a->file);
	load_environment(s);
	for (size_t i = 0; i < a->n; i++)
		conf_option(&s->conf, a->option[i]);
	make_hostname(s);
	make_listen(s);
	make_networks(s, "relay_from", &s->relay_text, &s->relay_from);
	make_networks(s, "proxy_from", &s->proxy_text, &s->proxy_from);
	make_networks(s, "xclient_from", &s->xclient_text, &s->xclient_from);
	make_routes(s);
	make_tls_rules(s);
	make_proxy(s);
	make_local(s);
	make_tls(s);
	make_milters(s);
	make_dkim(s);
	make_send_as(s);
	make_sync(s);
	make_words(s);
	make_lists(s, "dnsbl", &s->dnsbl_text, false);
	make_lists(s, "rhsbl", &s->rhsbl_text, true);
	check_reports(s);
	check_reports_at(s);
	check_dmarc(s);
	make_source(s);
	make_metrics(s);
	check_submission(s);
	if (conf_ok(&s->conf))
		make_origin(s);
	s->homes = s->mailbox && mailbox_in_homes(str_of(s->mailbox));
	check_texts(s);
	make_separator(s);
	make_log_format(s);
	make_log_level(s);
	check_greylist(s);
	check_retries(s);
	check_resolvers(s);
	return conf_ok(&s->conf);
}

void settings_free(struct settings *s)
{
	free(s->listen);
	free(s->relay_from.net);
	free(s->proxy_from.net);
	free(s->xclient_from.net);
	for (size_t i = 0; i < s->routes.n; i++)
		explicit_bzero(&s->routes.rule[i], sizeof s->routes.rule[i]);
	free(s->routes.rule);
	free(s->tls_rules.rule);
	free(s->local);
	free(s->tls);
	free(s->milters);
	free(s->dkim);
	free(s->send_as.rule);
	conf_end(&s->conf);
	*s = (struct settings){ 0 };
}

/* ---- the command line */

bool arguments_take(struct arguments *a, int argc, char **argv, int *i, const char **why)
{
	const char *word = argv[*i], *value;

	*why = NULL;
	if (word[0] != '-' || (word[1] != 'c' && word[1] != 'o'))
		return false;
	if (word[2])
		value = word + 2;
	else if (*i + 1 < argc)
		value = argv[++*i];
	else {
		*why = word[1] == 'c' ? "-c needs the path of a file" : "-o needs a 'name = value'";
		return true;
	}
	if (word[1] == 'c')
		a->file = value;
	else if (a->n == ARGUMENT_OPTIONS)
		*why = "too many -o options: write a file";
	else
		a->option[a->n++] = value;
	return true;
}

int settings_complain(const struct settings *s)
{
	bool no_memory = s->conf.errors.bad && s->conf.errors.n == 0;   /* not so much as for one error */

	if (s->conf.errors.n > 0)
		fwrite(s->conf.errors.p, 1, s->conf.errors.n, stderr);
	if (s->conf.errors.bad)
		fprintf(stderr, "fardel: %s\n", no_memory ? "out of memory: the settings were not read. Start again when there is more of it" : "too many errors to show");
	return no_memory || s->conf.for_now ? EX_TEMPFAIL : EX_CONFIG;
}

int settings_for_command(struct settings *s, int argc, char **argv)
{
	struct arguments a = { 0 };
	const char *why;

	*s = (struct settings){ 0 };
	for (int i = 1; i < argc; i++) {
		bool ours = arguments_take(&a, argc, argv, &i, &why);

		if (ours && !why)
			continue;
		if (ours)
			fprintf(stderr, "fardel %s: %s\n", argv[0], why);
		else
			fprintf(stderr, "fardel %s: does not know \"%s\". Write fardel %s [-c FILE] [-o 'name = value']...\n", argv[0], argv[i], argv[0]);
		return EX_USAGE;
	}
	return settings_load(s, &a) ? 0 : settings_complain(s);
}
