/* /etc/hosts as a source of facts. */
#include "deliver/hosts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/file.h"

enum { HOSTS_MAX = 1 << 20, ADDRESSES = 16 };

static const char *path = "/etc/hosts";

void hosts_file(const char *other) { path = other ? other : "/etc/hosts"; }

/* "192.0.2.1 name alias... # comment". Octets of the address when the line is about the name, else 0. */
static size_t line_address(struct str line, struct str name, unsigned char out[16])
{
	struct str address, word, rest = line;
	char text[INET6_ADDRSTRLEN];

	if (!str_cut(&rest, '#', &line))
		line = rest;
	if (!str_word(&line, &address) || !str_copy(text, sizeof text, address))
		return 0;
	while (str_word(&line, &word))
		if (str_eq_nocase(word, name))
			return inet_pton(AF_INET, text, out) == 1 ? 4 : inet_pton(AF_INET6, text, out) == 1 ? 16 : 0;
	return 0;
}

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	struct buf text = { .max = HOSTS_MAX };
	unsigned char octets[ADDRESSES][16];
	struct record record[ADDRESSES];
	struct fact f = { .outcome = NO_NAME, .record = record };
	struct str rest, line;

	(void)source;
	(void)kind;
	if (file_read_all(AT_FDCWD, path, &text) == -1)
		buf_clear(&text);
	buf_char(&text, '\n');
	rest = buf_view(&text);
	while (f.n < ADDRESSES && str_cut(&rest, '\n', &line)) {
		size_t n = line_address(line, name, octets[f.n]);

		if (!n)
			continue;
		record[f.n] = (struct record){ .data = { (const char *)octets[f.n], n } };
		f.n++;
	}
	if (f.n)
		f.outcome = FOUND;
	fact_answer(ticket, &f);
	buf_free(&text);
}

struct fact_source *hosts_source(void)
{
	static struct fact_source source = { ask };

	return &source;
}
