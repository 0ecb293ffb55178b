/* Policies of MTA-STS: an index in memory of the files on disk, and the fetches under way. */
#include "deliver/stscache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/http.h"
#include "lib/list.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/tls.h"
#include "parse.h"

enum {
	FILE_MAX = MTASTS_TEXT + 4096,
	ADDRESSES = 8,                  /* of a policy host: those that are called */
	LOOK_MS = 60000,                /* between looks for policies to fetch again ... */
	LOOK_FETCHES = 5,               /* ... and how many of them a look begins */
	UNKEPT_MAX = 1 << 20,           /* octets of policies that the disk did not take: some hundred */
	LATER_S = 3600,                 /* until that is tried again when it failed */
	TOUCH_S = 3600                  /* use is noted on disk so rarely */
};
static const char unfinished[] = ".new";        /* no domain's name begins with a dot */

/* A domain that has a policy on disk, or whose policy could not be fetched. */
struct entry {
	struct map_node node;           /* by domain */
	struct node order;              /* of use: the longest unused first */
	char domain[DOMAIN_MAX + 1];
	bool on_disk;
	struct buf unkept;              /* what would be in its file, which could not be written; empty: nothing */
	char id[MTASTS_ID + 1];         /* of the policy that is known */
	enum mtasts_mode mode;
	int64_t fetched, ends;          /* Unix seconds, of that */
	int64_t used, touched;
	msec not_before;                /* no fetch on demand until then */
	int64_t refresh;                /* when it should be fetched again, Unix seconds */
	char why[300];                  /* the last fetch failed */
	struct fetch *fetch;            /* under way, or NULL */
	struct list waiting;            /* askers */
};

struct asker {
	struct node node;
	struct entry *entry;
	struct fact_ticket *ticket;
	struct timer patience;
};

struct fetch {
	struct entry *entry;
	char id[MTASTS_ID + 1];         /* that the record had */
	char host[DOMAIN_MAX + 10];
	msec end;
	struct facts *facts;            /* while its address is looked up */
	struct task look;
	struct timer deadline;          /* ... for that */
	struct sockaddr_storage addr[ADDRESSES];
	struct http_request request;
	struct http *http;
};

/* What is in a file. */
struct kept {
	struct buf text;
	char id[MTASTS_ID + 1];
	int64_t fetched;
	struct mtasts_policy policy;    /* points into the text */
};

static const struct stscache_config *config;
static int cache = -1;                          /* the directory */
static struct map domains;
static struct list order;
static unsigned fetches;
static size_t unkept;                           /* octets, of all */
static struct timer look_timer;

/* ---- files */

/* A line that begins with the key: its value. */
static bool take_head(struct str *rest, const char *key, struct str *value)
{
	if (!str_cut(rest, '\n', value) || !str_starts_nocase(*value, str_of(key)))
		return false;
	*value = str_trim(str_from(*value, strlen(key)));
	return true;
}

/* Its text is there: is it what it should be? */
static bool kept_parse(struct kept *k)
{
	struct str rest = buf_view(&k->text), id, fetched, number;
	uint64_t n;

	if (!take_head(&rest, "id:", &id) || !str_copy(k->id, sizeof k->id, id) || !take_head(&rest, "fetched:", &fetched) ||
	    !str_word(&fetched, &number) || !str_number(number, (uint64_t)1 << 40, &n))
		return false;
	k->fetched = (int64_t)n;
	return rest.n && rest.p[rest.n - 1] == '\n' && !mtasts_parse(rest, &k->policy);
}

/* The file of a domain, whole and good. False: errno, or 0 when it is not what it should be. kept_free() in any case. */
static bool kept_read(const char *domain, struct kept *k)
{
	struct stat st;

	*k = (struct kept){ .text = { .max = FILE_MAX } };
	if (fstatat(cache, domain, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return false;
	if (!S_ISREG(st.st_mode)) {             /* one that is none of ours may never answer */
		errno = 0;
		return false;
	}
	if (file_read_all(cache, domain, &k->text) == -1)
		return false;
	errno = 0;
	return kept_parse(k);
}

static void kept_free(struct kept *k) { buf_free(&k->text); }

/* What is to be in a file. False: no memory. */
static bool kept_print(struct buf *text, const char *id, int64_t now, const struct mtasts_policy *p)
{
	char date[40];

	buf_printf(text, "id: %s\nfetched: %" PRId64 " (%s)\n", id, now, clock_rfc3339(now, date));
	return mtasts_print(p, text);
}

/* Under another name first: a file under a domain's name is whole. It is not synced: one that is not after a power cut has no last line,
 * or was there before, or is fetched again. */
static int kept_write(const char *domain, const struct buf *text)
{
	int fd = file_sys.open(cache, unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600), saved, result = -1;

	if (fd != -1 && file_write(fd, text->p, text->n) == 0 && renameat(cache, unfinished, cache, domain) == 0)
		result = 0;
	saved = errno;
	if (fd != -1)
		close(fd);
	errno = saved;
	return result;
}

/* When it was used: for the next start, and for people. */
static void touch(struct entry *e)
{
	struct timespec when[2] = { { .tv_sec = (time_t)e->used }, { .tv_sec = (time_t)e->used } };

	if (e->on_disk && utimensat(cache, e->domain, when, 0) == 0)
		e->touched = e->used;
}

/* ---- entries */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void know(struct entry *e, const char *id, int64_t fetched, const struct mtasts_policy *p)
{
	str_copy(e->id, sizeof e->id, str_of(id));
	e->mode = p->mode;
	e->fetched = fetched;
	e->ends = fetched + p->max_age;
	e->refresh = fetched + least(STSCACHE_REFRESH_S, p->max_age / 2);
}

static bool has_policy(const struct entry *e) { return e->on_disk || e->unkept.n; }

static void drop_unkept(struct entry *e)
{
	unkept -= e->unkept.n;
	buf_free(&e->unkept);
}

static void entry_end(struct entry *e)
{
	drop_unkept(e);
	map_remove(&domains, &e->node);
	list_remove(&order, &e->order);
	free(e);
}

/* The policy's time is over, or its place is needed. */
static void forget(struct entry *e)
{
	if (e->on_disk)
		file_sys.unlink(cache, e->domain);
	entry_end(e);
}

static bool idle(const struct entry *e) { return !e->fetch && !e->waiting.n; }

/* Those without a policy go first. */
static void make_room(bool policies)
{
	struct node *x = list_first(&order);

	while (x && order.n >= STSCACHE_DOMAINS) {
		struct entry *e = owner_of(x, struct entry, order);

		x = list_next(&order, x);
		if (idle(e) && has_policy(e) == policies)
			forget(e);
	}
}

/* Behind those that were used before. */
static void put_in_order(struct entry *e)
{
	struct node *x = order.head.prev;

	while (x != &order.head && owner_of(x, struct entry, order)->used > e->used)
		x = x->prev;
	list_insert_before(&order, x->next, &e->order);
}

static struct entry *entry_new(struct str domain, int64_t used)
{
	struct entry *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	make_room(false);
	make_room(true);
	list_init(&e->waiting);
	e->used = used;
	if (!str_copy(e->domain, sizeof e->domain, domain) || !map_put(&domains, &e->node, str_of(e->domain))) {
		free(e);
		return NULL;
	}
	put_in_order(e);
	return e;
}

static struct entry *entry_of(struct str domain)
{
	struct map_node *x = map_get(&domains, domain);

	return x ? owner_of(x, struct entry, node) : NULL;
}

static void note_use(struct entry *e)
{
	int64_t now = loop_wall();

	e->used = now;
	list_remove(&order, &e->order);
	list_push(&order, &e->order);
	if (now - e->touched >= TOUCH_S || now < e->touched)
		touch(e);
}

/* ---- answers */

static void answer_text(struct fact_ticket *t, struct str text)
{
	struct record r = { .data = text };

	fact_answer(t, &(struct fact){ .outcome = FOUND, .n = 1, .record = &r });
}

/* The policy if there is one, else why there is none. */
static void answer(struct fact_ticket *t, const struct entry *e, const struct kept *k)
{
	if (k)
		answer_text(t, k->policy.text);
	else if (e && e->why[0])
		fact_answer(t, &(struct fact){ .outcome = UNKNOWN, .why = e->why });
	else
		fact_answer(t, &(struct fact){ .outcome = NO_DATA });
}

static void asker_end(struct asker *a, const struct kept *k)
{
	list_remove(&a->entry->waiting, &a->node);
	timer_stop(&a->patience);
	answer(a->ticket, a->entry, k);
	free(a);
}

static void answer_all(struct entry *e, const struct kept *k)
{
	for (struct node *x; (x = list_first(&e->waiting)); )
		asker_end(owner_of(x, struct asker, node), k);
}

/* The file as it is now, or what the disk did not take; is it in force? kept_free() in any case. */
static bool in_force(struct entry *e, struct kept *k)
{
	bool good = e->unkept.n == 0 && kept_read(e->domain, k);

	e->on_disk = good;
	if (e->unkept.n) {
		*k = (struct kept){ .text = { .max = FILE_MAX } };
		good = buf_str(&k->text, buf_view(&e->unkept)) && kept_parse(k);
	}
	if (good && (e->fetched != k->fetched || strcmp(e->id, k->id) != 0))
		know(e, k->id, k->fetched, &k->policy);
	return good && loop_wall() <= e->ends;
}

static void no_patience(struct timer *t)
{
	struct asker *a = owner_of(t, struct asker, patience);
	struct kept k;
	bool found = in_force(a->entry, &k);

	if (!found && !a->entry->why[0])
		snprintf(a->entry->why, sizeof a->entry->why, "not fetched within %d s", STSCACHE_WAIT_MS / 1000);
	asker_end(a, found ? &k : NULL);
	kept_free(&k);
}

/* known: what is in force until then, or NULL. */
static void wait_for(struct entry *e, struct fact_ticket *t, const struct kept *known)
{
	struct asker *a = calloc(1, sizeof *a);

	if (!a) {
		answer(t, e, known);
		return;
	}
	a->entry = e;
	a->ticket = t;
	a->patience.expired = no_patience;
	list_push(&e->waiting, &a->node);
	timer_set(&a->patience, STSCACHE_WAIT_MS);
}

/* ---- fetching */

static void fetch_end(struct fetch *f)
{
	f->entry->fetch = NULL;
	fetches--;
	timer_stop(&f->deadline);
	task_cancel(&f->look);
	facts_free(f->facts);
	http_cancel(f->http);
	free(f);
}

static void fetch_failed(struct fetch *f, const char *why)
{
	struct entry *e = f->entry;
	struct kept k;
	bool found = in_force(e, &k);
	bool news = strncmp(e->why, why, sizeof e->why - 1) != 0;

	/* RFC 8461 3.3: administrators should hear of it, unless the policy is to have none. */
	log_event(news && !(found && e->mode == MTASTS_NONE) ? LOG_WARN : LOG_INFO, "policy-not-fetched", LF(L_TEXT("domain", e->domain),
		L_TEXT("reason", why), L_TEXT("known", found ? "yes" : "no")));
	if (news)
		snprintf(e->why, sizeof e->why, "%s", why);
	e->not_before = loop_now() + STSCACHE_RETRY_S * 1000;
	e->refresh = loop_wall() + LATER_S;
	fetch_end(f);
	answer_all(e, found ? &k : NULL);
	kept_free(&k);
}

static const char *const modes[] = { [MTASTS_NONE] = "none", [MTASTS_TESTING] = "testing", [MTASTS_ENFORCE] = "enforce" };

static void fetch_succeeded(struct fetch *f, const struct mtasts_policy *p)
{
	struct entry *e = f->entry;
	struct kept k = { .policy = *p };
	int64_t now = loop_wall();
	struct buf text = { .max = FILE_MAX };

	if (!has_policy(e) || strcmp(e->id, f->id) != 0)
		log_event(LOG_INFO, "policy", LF(L_TEXT("domain", e->domain), L_TEXT("mode", modes[p->mode]), L_TEXT("policy-id", f->id),
			L_NUM("max_age", (long long)p->max_age)));
	e->why[0] = '\0';
	e->not_before = 0;
	drop_unkept(e);
	know(e, f->id, now, p);
	errno = ENOMEM;
	e->on_disk = kept_print(&text, f->id, now, p) && kept_write(e->domain, &text) == 0;
	if (e->on_disk) {
		touch(e);
	} else {                        /* who sends there shall not wait for a fetch each time */
		log_event(LOG_ERROR, "policy-not-kept", LF(L_TEXT("domain", e->domain), L_TEXT("reason", strerror(errno))));
		if (!text.bad && unkept + text.n <= UNKEPT_MAX) {
			e->unkept = text;
			unkept += text.n;
			text = (struct buf){ 0 };
		}
	}
	buf_free(&text);
	fetch_end(f);
	answer_all(e, &k);
}

static void fetched(void *arg, const struct http_answer *a)
{
	struct fetch *f = arg;
	struct mtasts_policy p;
	const char *wrong = a->wrong;
	char words[400];

	f->http = NULL;
	if (!wrong && (wrong = mtasts_parse(a->body, &p))) {
		snprintf(words, sizeof words, "https://%s%s is no policy: %s", f->host, f->request.path, wrong);
		wrong = words;
	}
	if (wrong)
		fetch_failed(f, wrong);
	else
		fetch_succeeded(f, &p);
}

static void make_address(struct sockaddr_storage *out, struct str octets)
{
	in_port_t port = htons((uint16_t)(config->port ? config->port : 443));

	memset(out, 0, sizeof *out);
	if (octets.n == sizeof(struct in_addr)) {
		struct sockaddr_in *four = (struct sockaddr_in *)out;

		*four = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = port };
		memcpy(&four->sin_addr, octets.p, octets.n);
	} else if (octets.n == sizeof(struct in6_addr)) {
		struct sockaddr_in6 *six = (struct sockaddr_in6 *)out;

		*six = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = port };
		memcpy(&six->sin6_addr, octets.p, octets.n);
	}
}

/* One address of each family by turns, the preferred one first. */
static size_t choose_addresses(struct fetch *f, const struct fact *a, const struct fact *aaaa)
{
	bool six_first = config->inet == INET_PREFER6 || config->inet == INET_ONLY6;
	size_t n = 0;

	for (size_t i = 0; i < 2 * ADDRESSES && n < ADDRESSES; i++) {
		const struct fact *from = (i % 2 == 0) == six_first ? aaaa : a;

		if (from->outcome == FOUND && i / 2 < from->n && (i % 2 == 0 || config->inet < INET_ONLY4))
			make_address(&f->addr[n++], from->record[i / 2].data);
	}
	return n;
}

static void look_up(struct task *t)
{
	struct fetch *f = owner_of(t, struct fetch, look);
	const struct fact *a = fact(f->facts, FACT_A, str_of(f->host)), *aaaa = fact(f->facts, FACT_AAAA, str_of(f->host));
	char why[500];
	size_t n;

	if (!a || !aaaa)
		return;
	n = choose_addresses(f, a, aaaa);
	if (!n) {
		const struct fact *unknown = a->outcome == UNKNOWN ? a : aaaa->outcome == UNKNOWN ? aaaa : NULL;

		if (unknown)
			snprintf(why, sizeof why, "cannot look up the address of %s: %s", f->host, unknown->why ? unknown->why : "no reason given");
		else
			snprintf(why, sizeof why, "%s has no address", f->host);
		fetch_failed(f, why);
		return;
	}
	timer_stop(&f->deadline);
	facts_free(f->facts);
	f->facts = NULL;
	f->request = (struct http_request){ .host = f->host, .path = "/.well-known/mta-sts.txt", .n = n, .addr = f->addr, .source = config->source,
		.trust = config->trust, .within = f->end - loop_now() };
	f->http = http_get(&f->request, fetched, f);
	if (!f->http)
		fetch_failed(f, "out of memory");
}

static void fetch_late(struct timer *t)
{
	struct fetch *f = owner_of(t, struct fetch, deadline);
	char why[400];

	snprintf(why, sizeof why, "the address of %s was not found within %d s", f->host, STSCACHE_FETCH_MS / 1000);
	fetch_failed(f, why);
}

/* Without authorities nobody's word counts. Said once. */
static bool can_verify(void)
{
	static bool said;
	char why[300] = "out of memory";

	if (config->trust && tls_trust_read(config->trust, why, sizeof why))
		return true;
	if (!said)
		log_event(LOG_WARN, "policies-not-fetched", LF(L_TEXT("reason", why),
			L_TEXT("remedy", "set tls_ca to a file of authorities, or mta_sts = no")));
	said = true;
	return false;
}

/* False: not now, and e->why. */
static bool fetch_begin(struct entry *e, const char *id)
{
	const char *why = fetches >= STSCACHE_FETCHES ? "too many others are" : !can_verify() ? "there is no authority whose word counts" : NULL;
	struct fetch *f = why ? NULL : calloc(1, sizeof *f);

	if (!f) {
		snprintf(e->why, sizeof e->why, "not fetched: %s", why ? why : "out of memory");
		return false;
	}
	f->entry = e;
	e->fetch = f;
	fetches++;
	str_copy(f->id, sizeof f->id, str_of(id));
	snprintf(f->host, sizeof f->host, "mta-sts.%s", e->domain);
	f->look.run = look_up;
	f->deadline.expired = fetch_late;
	f->end = loop_now() + STSCACHE_FETCH_MS;
	timer_set(&f->deadline, STSCACHE_FETCH_MS);
	f->facts = facts_new(&f->look, 2);
	if (!f->facts) {
		fetch_end(f);
		str_copy(e->why, sizeof e->why, STR("not fetched: out of memory"));
		return false;
	}
	task_post(&f->look);
	return true;
}

/* ---- questions */

/* "domain id" */
static bool take_name(struct str name, char domain[DOMAIN_MAX + 1], char id[MTASTS_ID + 1])
{
	struct str before;

	if (!str_cut(&name, ' ', &before) || parse_domain(before, false, false) || !str_copy(domain, DOMAIN_MAX + 1, before) ||
	    !str_copy(id, MTASTS_ID + 1, name))
		return false;
	for (char *c = domain; *c; c++)
		*c = ascii_lower(*c);
	return true;
}

static void ask(struct fact_source *source, enum fact_kind kind, struct str name, struct fact_ticket *ticket)
{
	char domain[DOMAIN_MAX + 1], id[MTASTS_ID + 1];
	int64_t now = loop_wall();
	struct entry *e;
	struct kept k;
	bool found, same;

	(void)source;
	(void)kind;
	if (cache == -1 || !take_name(name, domain, id)) {
		answer(ticket, NULL, NULL);
		return;
	}
	e = entry_of(str_of(domain));
	/* Domains that never had a policy leave no trace here. */
	if (!e && !id[0] && faccessat(cache, domain, F_OK, 0) == -1) {
		answer(ticket, NULL, NULL);
		return;
	}
	if (!e && !(e = entry_new(str_of(domain), now))) {
		answer(ticket, NULL, NULL);
		return;
	}
	found = in_force(e, &k);
	note_use(e);
	same = found && strcmp(id, e->id) == 0;
	if (id[0] && !e->fetch && loop_now() >= e->not_before && (!same || now >= e->refresh || now < e->fetched))
		fetch_begin(e, id);
	if (id[0] && e->fetch && !same)
		wait_for(e, ticket, found ? &k : NULL);
	else
		answer(ticket, id[0] ? e : NULL, found ? &k : NULL);
	kept_free(&k);
}

struct fact_source *stscache_source(void)
{
	static struct fact_source source = { ask };

	return &source;
}

/* ---- looking after it */

/* RFC 8461 3.3, 10: policies that are used are fetched again long before they end, so that nobody who holds up fetches for a while has
 * them gone. */
static void look(struct timer *t)
{
	struct node *x = list_first(&order);
	int64_t now = loop_wall();
	unsigned begun = 0;

	while (x) {
		struct entry *e = owner_of(x, struct entry, order);

		x = list_next(&order, x);
		if (!idle(e))
			continue;
		if ((!has_policy(e) || now > e->ends) && loop_now() >= e->not_before + LATER_S * 1000)
			forget(e);
		else if (has_policy(e) && now <= e->ends && now >= e->refresh && now - e->used < STSCACHE_UNUSED_S && begun < LOOK_FETCHES)
			begun += fetch_begin(e, e->id);
	}
	timer_set(t, LOOK_MS);
}

static void load(const char *name)
{
	struct stat st;
	struct entry *e;
	struct kept k;

	if (name[0] == '.' || parse_domain(str_of(name), false, false) || fstatat(cache, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISREG(st.st_mode))
		return;
	if (!kept_read(name, &k))
		log_event(LOG_WARN, "policy-not-read", LF(L_TEXT("domain", name), L_TEXT("reason", errno ? strerror(errno) : "it is no policy")));
	else if ((e = entry_new(str_of(name), (int64_t)st.st_mtime))) {
		know(e, k.id, k.fetched, &k.policy);
		e->on_disk = true;
		e->touched = e->used;
	}
	kept_free(&k);
}

static int load_all(void)
{
	int fd = openat(cache, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		if (fd != -1)
			close(fd);
		return -1;
	}
	while ((e = readdir(d)))
		load(e->d_name);
	closedir(d);
	return 0;
}

int stscache_start(const struct stscache_config *c, int dir)
{
	int saved;

	config = c;
	list_init(&order);
	if (file_mkdir(dir, "mta-sts", 0700) == -1)
		return -1;
	cache = openat(dir, "mta-sts", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (cache == -1)
		return -1;
	if (load_all() == -1) {
		saved = errno;
		close(cache);
		cache = -1;
		errno = saved;
		return -1;
	}
	look_timer.expired = look;
	timer_set(&look_timer, LOOK_MS);
	return 0;
}

void stscache_stop(void)
{
	if (cache == -1)
		return;
	timer_stop(&look_timer);
	for (struct node *x; (x = list_first(&order)); ) {
		struct entry *e = owner_of(x, struct entry, order);

		if (e->fetch)
			fetch_end(e->fetch);
		answer_all(e, NULL);
		entry_end(e);
	}
	map_free(&domains);
	domains = (struct map){ 0 };
	close(cache);
	cache = -1;
}
