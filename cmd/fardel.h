/* The commands of the program. Each gets its own word as argv[0] and returns what the process exits with (sysexits). */
#ifndef CMD_FARDEL_H
#define CMD_FARDEL_H

#include <stdint.h>

int cmd_inetd(int argc, char **argv);
int cmd_flush(int argc, char **argv);
int cmd_sendmail(int argc, char **argv);
int cmd_mailq(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_queue(int argc, char **argv);
int cmd_reports(int argc, char **argv);
int cmd_spf(int argc, char **argv);
int cmd_judge(int argc, char **argv);
int cmd_rules(int argc, char **argv);
int cmd_dmarc(int argc, char **argv);
int cmd_setup(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_alias(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_newaliases(int argc, char **argv);
int cmd_mkmailbox(int argc, char **argv);
int cmd_passwd(int argc, char **argv);
int cmd_dkim_verify(int argc, char **argv);
int cmd_dkim_sign(int argc, char **argv);
int cmd_dkim_key(int argc, char **argv);

/* sendmail --at: "+2h", "18:00" (the next one, local), "2026-12-24T18:00" (local), "2026-12-24T18:00:00Z" or Unix seconds. NULL, or what
 * is wrong; a time before now is. */
const char *sendmail_time(const char *value, int64_t now, int64_t *out);

/* What is wrong, on standard error, behind "sendmail: "; the first of it is in syslog, too, when sendmail ends. Returns status. */
int sendmail_complain(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Modes of sendmail that are commands themselves: -bs is inetd, -q is flush. main() puts them in; NULL: not there. */
struct sendmail_modes {
	int (*inetd)(int argc, char **argv);
	int (*flush)(int argc, char **argv);
};
extern struct sendmail_modes sendmail_modes;

#endif
