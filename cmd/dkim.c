/* fardel dkim-verify, dkim-sign and dkim-key: DKIM by hand. What a command finds begins its line, why follows. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/fardel.h"
#include "cmd/message.h"
#include "cmd/settings.h"
#include "cmd/signing.h"
#include "dns.h"
#include "lib/codec.h"
#include "lib/file.h"
#include "lib/log.h"
#include "policy/dkim.h"

enum { TXT_STRING = 255 };

static int complain(const char *command, int status, const char *what, const char *about)
{
	fprintf(stderr, "fardel %s: %s%s%s\n", command, what, about ? ": " : "", about ? about : "");
	return status;
}

/* The words of a command: -c and -o, and one file. 0 or an exit status. */
static int load(struct settings *set, int argc, char **argv, const char **file)
{
	struct arguments a = { 0 };
	const char *wrong;

	*file = NULL;
	for (int i = 1; i < argc; i++) {
		if (arguments_take(&a, argc, argv, &i, &wrong)) {
			if (wrong)
				return complain(argv[0], EX_USAGE, wrong, NULL);
		} else if (*file || (argv[i][0] == '-' && argv[i][1])) {
			return complain(argv[0], EX_USAGE, "does not know", argv[i]);
		} else {
			*file = argv[i];
		}
	}
	if (!*file) {
		fprintf(stderr, "usage: fardel %s [-c FILE] [-o 'name = value']... MESSAGE      (-: standard input)\n", argv[0]);
		return EX_USAGE;
	}
	return settings_load(set, &a) ? 0 : settings_complain(set);
}

/* ---- dkim-verify */

static bool verify_block(void *arg, struct str text)
{
	dkim_add(arg, text);
	return true;
}

static void nothing(struct task *t) { (void)t; }

/* Its questions have an end: so has this. */
static void wait_for_keys(struct dkim *d, struct facts *facts)
{
	while (!dkim_judge(d, facts, loop_wall()))
		loop_turn(-1);
}

static void print_signature(const struct dkim_signature *s)
{
	printf("%s", dkim_result_name[s->result]);
	if (s->domain[0])
		printf(" d=%s", s->domain);
	if (s->selector[0])
		printf(" s=%s", s->selector);
	if (s->algorithm[0])
		printf(" a=%s", s->algorithm);
	if (s->bits)
		printf(" (%u bits%s)", s->bits, s->secure ? ", DNSSEC" : "");
	printf(": %s\n", s->why);
}

/* One good signature is enough; what may be better later is said so. */
static int print_results(const struct dkim *d)
{
	const char *why;
	enum dkim_result fault = dkim_fault(d, &why);
	bool passed = false, later = fault == DKIM_TEMPERROR;

	for (size_t i = 0; i < dkim_count(d); i++) {
		const struct dkim_signature *s = dkim_at(d, i);

		print_signature(s);
		passed |= s->result == DKIM_PASS;
		later |= s->result == DKIM_TEMPERROR;
	}
	if (dkim_passed_over(d))
		printf("neutral: %zu more signatures are not looked at\n", dkim_passed_over(d));
	if (fault != DKIM_NONE)
		printf("%s: %s\n", dkim_result_name[fault], why);
	else if (!dkim_count(d))
		printf("none: there is no signature\n");
	message_print_arc(dkim_arc(d), "arc ");
	return passed ? EX_OK : later ? EX_TEMPFAIL : EX_DATAERR;
}

static int verify(const struct settings *set, const char *file)
{
	struct task wake = { .run = nothing };
	struct dns_config dns = { .resolvers = set->resolver };
	struct facts *facts = facts_new(&wake, DKIM_LOOKUPS);
	struct dkim *d = dkim_new();
	const char *wrong;
	int status;

	log_threshold(LOG_ERROR);               /* which resolvers are in use is nobody's question here */
	if (!facts || !d)
		status = complain("dkim-verify", EX_OSERR, "out of memory", NULL);
	else if (message_read(file, verify_block, d) == -1)
		status = complain("dkim-verify", EX_NOINPUT, file, strerror(errno));
	else if ((wrong = dns_start(&dns)))
		status = complain("dkim-verify", EX_CONFIG, wrong, NULL);
	else {
		facts_source(FACT_TXT, dns_source());
		dkim_end(d);
		wait_for_keys(d, facts);
		status = print_results(d);
		facts_source(FACT_TXT, NULL);
	}
	facts_free(facts);
	dkim_free(d);
	dns_stop();
	return status;
}

int cmd_dkim_verify(int argc, char **argv)
{
	struct settings set = { 0 };
	const char *file;
	int status = load(&set, argc, argv, &file);

	if (!status)
		status = verify(&set, file);
	settings_free(&set);
	if (fflush(stdout) == EOF && !status)
		status = EX_IOERR;
	return status;
}

/* ---- dkim-sign */

struct sealing {
	const struct signer *signer;
	struct signing *signing;
	struct buf message;
	const char *why;
};

static bool sign_block(void *arg, struct str text)
{
	struct sealing *s = arg;

	return buf_str(&s->message, text);
}

/* The message is whole. */
static void sign_message(struct sealing *s)
{
	struct str all = buf_view(&s->message);
	size_t header = dkim_header_end(all);

	s->signing = signing_begin(s->signer, (struct str){ all.p, header }, &s->why);
	if (s->signing)
		signing_add(s->signing, str_from(all, header));
}

static unsigned bad_keys;

static void complain_key(const struct dkim_words *w, const char *why)
{
	fprintf(stderr, "%s: dkim_key: %s\n", w->where, why);
	bad_keys++;
}

/* The signed message goes to standard output, the word about it to standard error. */
static int print_sealed(struct sealing *s)
{
	struct buf fields = { 0 };
	int status = EX_OK;

	if (!signing_end(s->signing, loop_wall(), &fields))
		status = complain("dkim-sign", EX_SOFTWARE, "out of memory, or a key is broken", NULL);
	else {
		fprintf(stderr, "signed: d=%s\n", signing_domain(s->signing));
		fwrite(fields.p, 1, fields.n, stdout);
		fwrite(s->message.p, 1, s->message.n, stdout);
	}
	buf_free(&fields);
	return status;
}

static int sign(const struct settings *set, const char *file)
{
	struct sealing s = { .message.max = set->message_size + 1 };
	struct signer *signer = signing_keys(set, complain_key);
	int status = EX_OK;

	s.signer = signer;
	if (!signer)
		status = complain("dkim-sign", EX_OSERR, "out of memory", NULL);
	else if (bad_keys)
		status = EX_CONFIG;
	else if (message_read(file, sign_block, &s) == -1)
		status = complain("dkim-sign", EX_NOINPUT, file, s.message.bad ? "it is larger than message_size" : strerror(errno));
	if (!status) {
		sign_message(&s);
		if (s.signing)
			status = print_sealed(&s);
		else {
			fprintf(stderr, "unsigned: %s\n", s.why ? s.why : "no dkim_key is for the domain in From");
			status = s.why ? EX_DATAERR : EX_CONFIG;
		}
	}
	signing_free(s.signing);
	buf_free(&s.message);
	signer_free(signer);
	return status;
}

int cmd_dkim_sign(int argc, char **argv)
{
	struct settings set = { 0 };
	const char *file;
	int status = load(&set, argc, argv, &file);

	if (!status)
		status = sign(&set, file);
	settings_free(&set);
	if (fflush(stdout) == EOF && !status)
		status = EX_IOERR;
	return status;
}

/* ---- dkim-key */

/* As a zone file wants it: strings of a TXT record have up to 255 octets (RFC 1035 3.3.14), whoever reads joins them (RFC 6376 3.6.2.2). */
static int print_record(const struct sign_key *key, const char *domain, const char *selector, const char *file)
{
	struct buf public = { 0 }, record = { 0 };
	int status = EX_OK;

	buf_printf(&record, "v=DKIM1; k=%s; p=", sign_key_kind(key) == KEY_RSA ? "rsa" : "ed25519");
	if (!sign_key_public(key, &public) || !base64_encode(&record, public.p, public.n))
		status = complain("dkim-key", EX_OSERR, "out of memory", NULL);
	else {
		printf("%s._domainkey.%s. IN TXT (", selector, domain);
		for (size_t at = 0; at < record.n; at += TXT_STRING)
			printf(" \"%.*s\"", (int)(record.n - at < TXT_STRING ? record.n - at : TXT_STRING), record.p + at);
		printf(" )\n; as one text:\n; " STR_FMT "\n; in fardel.conf:\n; dkim_key = %s %s %s\n", STR_ARG(buf_view(&record)), domain, selector, file);
	}
	buf_free(&public);
	buf_free(&record);
	return status;
}

/* Whole or not at all, for the owner alone, and never over a key that is there: mail signed with that one is on its way. */
static int write_key(const char *path, const struct buf *pem)
{
	char beside[4096];
	int fd, error;

	if (snprintf(beside, sizeof beside, "%s.new.%ld", path, (long)getpid()) >= (int)sizeof beside)
		return complain("dkim-key", EX_USAGE, "the path is too long", NULL);
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd == -1)
		return complain("dkim-key", EX_CANTCREAT, beside, strerror(errno));
	if (fchmod(fd, 0600) == -1 || file_write(fd, pem->p, pem->n) == -1 || fsync(fd) == -1 || file_sys.rename(AT_FDCWD, beside, AT_FDCWD, path) == -1) {
		error = errno;
		close(fd);
		unlink(beside);
		return complain("dkim-key", error == EEXIST ? EX_CANTCREAT : EX_IOERR, path,
			error == EEXIST ? "is there already. -p shows its record; for a new key choose a new file and a new selector" : strerror(error));
	}
	close(fd);
	file_sync_directory_of(path);
	return EX_OK;
}

struct wish {
	enum key_kind kind;
	unsigned bits;
	bool print;                     /* the record of a key that is there */
	const char *word[3];            /* domain, selector, file */
	size_t n;
};

static const char *take_kind(struct wish *w, const char *value)
{
	if (!value || (strcmp(value, "rsa") && strcmp(value, "ed25519")))
		return "-t is rsa or ed25519";
	w->kind = strcmp(value, "rsa") ? KEY_ED25519 : KEY_RSA;
	return w->kind == KEY_ED25519 && !ed25519_available() ? "there is no libsodium here, so there is no Ed25519" : NULL;
}

static const char *take_bits(struct wish *w, const char *value)
{
	uint64_t bits;

	if (!value || !str_number(str_of(value), RSA_MAX, &bits) || bits < RSA_MIN || bits % 8)
		return "-b is a number of bits for RSA: 2048, or another one from 1024 to 4096";
	w->bits = (unsigned)bits;
	return NULL;
}

static const char *read_wish(struct wish *w, int argc, char **argv)
{
	const char *wrong = NULL;

	for (int i = 1; i < argc && !wrong; i++) {
		if (!strcmp(argv[i], "-p"))
			w->print = true;
		else if (!strcmp(argv[i], "-t"))
			wrong = take_kind(w, argv[++i]);
		else if (!strcmp(argv[i], "-b"))
			wrong = take_bits(w, argv[++i]);
		else if (argv[i][0] == '-' || w->n == 3)
			wrong = "usage: fardel dkim-key [-t rsa|ed25519] [-b BITS] [-p] DOMAIN SELECTOR FILE      (-p: shows the record of a key that is there)";
		else
			w->word[w->n++] = argv[i];
	}
	return wrong || w->n == 3 ? wrong : "usage: fardel dkim-key [-t rsa|ed25519] [-b BITS] [-p] DOMAIN SELECTOR FILE";
}

/* A key with a name that nobody can look up would be found out late. Takes the key. */
static const char *check_names(const struct wish *w, struct sign_key *key)
{
	struct signer *s = signer_new();
	const char *wrong = s ? signer_add(s, str_of(w->word[0]), str_of(w->word[1]), key) : "does not fit into memory";

	signer_free(s);
	return wrong;
}

static int make_key(const struct wish *w, struct sign_key **out)
{
	struct buf pem = { .max = KEY_PEM_MAX };
	int status;

	*out = sign_key_new(w->kind, w->bits);
	if (!*out || !buf_reserve(&pem, KEY_PEM_MAX) || !sign_key_print(*out, &pem))
		status = complain("dkim-key", EX_OSERR, "the key cannot be made: out of memory", NULL);
	else
		status = write_key(w->word[2], &pem);
	if (pem.p)
		explicit_bzero(pem.p, pem.room);
	buf_free(&pem);
	return status;
}

int cmd_dkim_key(int argc, char **argv)
{
	struct wish w = { .kind = KEY_RSA, .bits = 2048 };
	const char *wrong = read_wish(&w, argc, argv);
	struct sign_key *key = NULL;
	char why[700];
	int status = EX_OK;

	if (wrong)
		return complain("dkim-key", EX_USAGE, wrong, NULL);
	if ((wrong = check_names(&w, NULL)))
		return complain("dkim-key", EX_USAGE, w.word[0], wrong);
	if (!w.print)
		status = make_key(&w, &key);
	else if (!(key = signing_key(w.word[2], why, sizeof why)))
		status = complain("dkim-key", EX_NOINPUT, why, NULL);
	if (!status)
		status = print_record(key, w.word[0], w.word[1], w.word[2]);
	sign_key_free(key);
	if (fflush(stdout) == EOF && !status)
		status = EX_IOERR;
	return status;
}
