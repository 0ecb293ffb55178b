/* Words for the subject: made, found, compared. */
#include "policy/subjectpass.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/codec.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/rand.h"
#include "mime/header.h"

enum { OCTETS = 16, TIME = 4, UNIT_S = 256, SUBJECT_ROOM = 4096 };

/* ---- the key */

static int make_key(int dir, const char *name, unsigned char key[SUBJECTPASS_KEY])
{
	int fd = file_sys.open(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), saved;

	if (fd == -1)
		return -1;
	rand_bytes(key, SUBJECTPASS_KEY);
	if (file_pwrite(fd, key, SUBJECTPASS_KEY, 0) == -1 || file_sys.fdatasync(fd) == -1) {
		saved = errno;
		close(fd);
		unlinkat(dir, name, 0);
		errno = saved;
		return -1;
	}
	close(fd);
	return 0;
}

bool subjectpass_key(int dir, const char *name, bool make, unsigned char key[SUBJECTPASS_KEY])
{
	int fd = file_sys.open(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
	ssize_t n;

	if (fd == -1)
		return errno == ENOENT && make && make_key(dir, name, key) == 0;
	n = file_pread(fd, key, SUBJECTPASS_KEY, 0);
	close(fd);
	if (n != SUBJECTPASS_KEY)
		errno = EINVAL;         /* a crash while it was made; who removes it has a new one */
	return n == SUBJECTPASS_KEY;
}

/* ---- a word */

static bool fill(const unsigned char key[SUBJECTPASS_KEY], struct str mailbox, struct str author, uint32_t time, unsigned char out[OCTETS])
{
	struct buf text = { 0 };
	unsigned char secret[HASH_MAX], sum[HASH_MAX];
	bool ok;

	for (size_t i = 0; i < TIME; i++)
		out[i] = (unsigned char)(time >> (8 * (TIME - 1 - i)));
	buf_add(&text, out, TIME);
	ok = buf_str(&text, author);
	if (ok) {
		hmac_of(HASH_SHA256, (struct str){ (const char *)key, SUBJECTPASS_KEY }, mailbox, secret);
		hmac_of(HASH_SHA256, (struct str){ (const char *)secret, 32 }, buf_view(&text), sum);
		memcpy(out + TIME, sum, OCTETS - TIME);
	}
	buf_free(&text);
	return ok;
}

static void replace(char *text, size_t n, const char *from, const char *to)
{
	for (size_t i = 0; i < n; i++)
		for (const char *c = from; *c; c++)
			if (text[i] == *c) {
				text[i] = to[c - from];
				break;
			}
}

bool subjectpass_make(struct buf *out, const unsigned char key[SUBJECTPASS_KEY], struct str mailbox, struct str author, int64_t now)
{
	unsigned char octets[OCTETS];
	size_t at;

	if (!fill(key, mailbox, author, (uint32_t)(now / UNIT_S) & 0x0fffffff, octets))
		return false;
	buf_puts(out, "(pass:");
	at = out->n;
	if (!base64_encode(out, octets, sizeof octets))
		return false;
	out->n = at + SUBJECTPASS_WORD;         /* without its == */
	replace(out->p + at, SUBJECTPASS_WORD, "+/", "-_");
	return buf_char(out, ')');
}

bool subjectpass_holds(struct str word, const unsigned char key[SUBJECTPASS_KEY], struct str mailbox, struct str author, int64_t now, int64_t seconds)
{
	unsigned char octets[OCTETS], wanted[OCTETS];
	char text[SUBJECTPASS_WORD + 3];
	size_t n = sizeof octets;
	uint32_t time = 0;
	int64_t age;

	if (word.n != SUBJECTPASS_WORD || !author.n)
		return false;
	memcpy(text, word.p, SUBJECTPASS_WORD);
	memcpy(text + SUBJECTPASS_WORD, "==", 3);
	replace(text, SUBJECTPASS_WORD, "-_", "+/");
	if (!base64_decode(str_of(text), octets, &n) || n != OCTETS)
		return false;
	for (size_t i = 0; i < TIME; i++)
		time = time << 8 | octets[i];
	age = (((now / UNIT_S) - time) & 0x0fffffff) * UNIT_S;
	return !(time >> 28) && age <= seconds && fill(key, mailbox, author, time, wanted) && octets_same(octets, wanted, OCTETS);
}

/* ---- in a subject */

static int hex_of(char c)
{
	return ascii_digit(c) ? c - '0' : ascii_lower(c) >= 'a' && ascii_lower(c) <= 'f' ? ascii_lower(c) - 'a' + 10 : -1;
}

static void decode_q(struct buf *out, struct str text)
{
	for (size_t i = 0; i < text.n; i++) {
		int high = text.p[i] == '=' && i + 2 < text.n ? hex_of(text.p[i + 1]) : -1, low = high == -1 ? -1 : hex_of(text.p[i + 2]);

		buf_char(out, low != -1 ? (char)(16 * high + low) : text.p[i] == '_' ? ' ' : text.p[i]);
		i += low != -1 ? 2 : 0;
	}
}

static void decode_b(struct buf *out, struct str text)
{
	unsigned char octets[128];
	size_t n = sizeof octets;

	if (base64_decode(text, octets, &n))    /* an encoded word has 75 characters at most */
		buf_add(out, octets, n);
}

/* "=?utf-8?q?...?=" at the beginning of rest, which goes on behind it. */
static bool decode_word(struct buf *out, struct str *rest)
{
	struct str s = *rest, charset, kind, text;

	if (!str_starts_nocase(s, STR("=?")))
		return false;
	s = str_from(s, 2);
	if (!str_cut(&s, '?', &charset) || !str_cut(&s, '?', &kind) || kind.n != 1 || !str_cut(&s, '?', &text) || !s.n || s.p[0] != '=')
		return false;
	if (ascii_lower(kind.p[0]) == 'q')
		decode_q(out, text);
	else
		decode_b(out, text);
	*rest = str_from(s, 1);
	return true;
}

/* Blanks between two encoded words, and line ends, are left out: none of them is in a word of ours. */
static void decode(struct buf *out, struct str value)
{
	while (value.n && !out->bad) {
		if (decode_word(out, &value))
			continue;
		if (value.p[0] > ' ')
			buf_char(out, value.p[0]);
		value = str_from(value, 1);
	}
}

/* Most subjects are not looked at any closer. */
static bool may_hold(struct str value)
{
	return value.n && (memmem(value.p, value.n, "(pass:", 6) || memmem(value.p, value.n, "=?", 2));
}

static bool find(struct str text, char word[SUBJECTPASS_WORD + 1])
{
	const char *at = text.n ? memmem(text.p, text.n, "(pass:", 6) : NULL;
	struct str rest = at ? str_from(text, (size_t)(at - text.p) + 6) : STR(""), token;

	return str_cut(&rest, ')', &token) && token.n == SUBJECTPASS_WORD && str_copy(word, SUBJECTPASS_WORD + 1, token);
}

bool subjectpass_find(struct str header, char word[SUBJECTPASS_WORD + 1])
{
	struct buf text = { .max = SUBJECT_ROOM };
	unsigned subjects = 0;
	struct field f;
	bool found;

	while (header_next(&header, &f))
		if (str_eq_nocase(f.name, STR("Subject")) && !subjects++ && may_hold(f.value))
			decode(&text, f.value);
	found = subjects == 1 && find(buf_view(&text), word);
	buf_free(&text);
	return found;
}
