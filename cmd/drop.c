/* The drop directory. A drop is hostile until it has been copied: it is opened without following links or waiting,
 * must be a regular file with one name, and only its octets and its owner count. */
#include "cmd/drop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "cmd/submit.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/watch.h"
#include "queue.h"

enum {
	NAME_MOST = 255,
	AHEAD_S = 60,                   /* of our clock, which is read once a turn, a file may be */
	DAY_S = 86400,
	DAYS = 32,                      /* a machine may have been off for so long behind a crash */
	AGAIN_MS = 5000                 /* after trouble of our own: disk full, say */
};

static const struct drop_config *config;
static int dir = -1;
static struct watch watch;
static struct task work;
static struct timer again;
static DIR *listing;
static bool look_again;
static bool paused;                     /* until `again`: no drop could be taken now */
static bool stopped;

/* The one drop that is being taken in. */
static struct {
	char name[NAME_MOST + 1];
	char id[ID_MAX];
	char note[512];
	int fd;
	struct stat st;
	struct submit_config how;
	struct submission *submission;
	bool committing;
} now = { .fd = -1 };

/* One that is in the queue and cannot be removed: no other is taken before it has gone, lest it is forgotten and sent again. */
static struct {
	char name[NAME_MOST + 1];       /* "": there is none */
	struct stat st;
} sent;

static void close_fd(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

static void forget(void)
{
	submit_close(now.submission);
	now.submission = NULL;
	close_fd(&now.fd);
	now.committing = false;
}

static void finish(void)
{
	forget();
	if (stopped)
		close_fd(&dir);
	else
		task_post(&work);
}

/* It stays and is looked at again. */
static void leave_for_later(const char *why)
{
	log_event(LOG_WARN, "drop-not-taken", LF(L_TEXT("file", now.name), L_TEXT("msg", why)));
	timer_set(&again, AGAIN_MS);
}

/* The same, and others would fare no better. */
static void pause_all(const char *why)
{
	leave_for_later(why);
	paused = true;
}

/* Its name may have been given to another file meanwhile: that one is a drop of its own. */
static bool name_is_still_ours(void)
{
	struct stat st;

	if (fstatat(dir, now.name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return true;            /* whoever uses the name sees why */
	return now.fd == -1 || (st.st_dev == now.st.st_dev && st.st_ino == now.st.st_ino);
}

/* Has the one that was sent gone now, or was its name given to another file? */
static bool sent_is_gone(void)
{
	struct stat st;

	if (fstatat(dir, sent.name, &st, AT_SYMLINK_NOFOLLOW) == -1 ? errno != ENOENT :
		st.st_dev == sent.st.st_dev && st.st_ino == sent.st.st_ino && file_sys.unlink(dir, sent.name) == -1 && errno != ENOENT)
		return false;
	sent.name[0] = 0;
	return true;
}

/* Its writer goes on behind the rename: what we have read may be any mixture. */
static bool is_being_written(void)
{
	struct stat st;

	return fstat(now.fd, &st) == -1 || st.st_size != now.st.st_size || st.st_mtim.tv_sec != now.st.st_mtim.tv_sec ||
		st.st_mtim.tv_nsec != now.st.st_mtim.tv_nsec;
}

static void print_id(char id[ID_MAX], int64_t arrived, uint64_t rest)
{
	snprintf(id, ID_MAX, "%08" PRIx32 "%016" PRIx64, (uint32_t)arrived, rest);
}

/* Same name, same file, same time: the same drop, however often it is met. One whose time cannot be believed has come today; where it was met on
 * another day, and a crash has left it here, it has the id of that day. */
static void drop_id(char id[ID_MAX])
{
	static const uint64_t key[2] = { 0x64726f7020696e20u, 0x6e65772f20696473u };
	char text[NAME_MOST + 128];
	int n = snprintf(text, sizeof text, "%s %ju %ju %jd.%09ld %jd", now.name, (uintmax_t)now.st.st_dev, (uintmax_t)now.st.st_ino,
		(intmax_t)now.st.st_mtim.tv_sec, now.st.st_mtim.tv_nsec, (intmax_t)now.st.st_size);
	uint64_t rest = siphash(key, text, (size_t)n);
	int64_t came = now.st.st_ctim.tv_sec, today = loop_wall() - loop_wall() % DAY_S;

	print_id(id, came, rest);
	for (int64_t ago = 0; ago < DAYS && !queue_has(id); ago++)
		print_id(id, today - ago * DAY_S, rest);
	if (!queue_has(id))
		print_id(id, came > loop_wall() + AHEAD_S || came < loop_wall() - DAY_S ? today : came, rest);
}

static void set_drop_aside(const char *why)
{
	if (!name_is_still_ours())
		look_again = true;
	else if (!queue_set_aside(dir, now.name, why))
		timer_set(&again, AGAIN_MS);
}

static const char not_regular[] = "It is not a regular file.";

/* What a file that cannot be opened has done wrong. NULL: nothing, the trouble is ours. */
static const char *fault_of(int error)
{
	switch (error) {
	case ELOOP:
		return "It is a symbolic link; put the file itself here.";
	case EACCES:
		return "It may not be read by the mail server; make it readable for it.";
	case ENXIO:
	case ENODEV:
		return not_regular;
	}
	return NULL;
}

/* NULL, or why this can be no drop. */
static const char *judge(void)
{
	if (!S_ISREG(now.st.st_mode))
		return not_regular;
	if (now.st.st_nlink > 1)
		return "It has another name (a hard link); put a copy here.";
	if ((uint64_t)now.st.st_size > config->message_size + SUBMIT_HEADER)
		return "It is larger than message_size allows.";
	return NULL;
}

/* False: it is not to be read; all that is due has been done about it. */
static bool open_drop(void)
{
	const char *why;

	now.fd = openat(dir, now.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (now.fd == -1 && errno == ENOENT)
		return false;
	if (now.fd == -1 || fstat(now.fd, &now.st) == -1) {
		why = fault_of(errno);
		if (why)
			set_drop_aside(why);
		else
			leave_for_later(strerror(errno));
		return false;
	}
	why = judge();
	if (why)
		set_drop_aside(why);
	return !why;
}

static void committed(void *arg, bool ok)
{
	(void)arg;
	if (!ok) {
		pause_all("the disk refused it; it stays and is tried again");
	} else if (!name_is_still_ours()) {
		look_again = true;
	} else if (file_sys.unlink(dir, now.name) == -1 && errno != ENOENT) {
		log_event(LOG_ERROR, "cannot-remove-drop", LF(L_TEXT("file", now.name), L_TEXT("error", strerror(errno)),
			L_TEXT("msg", "it is not sent before it can be: it would be sent again and again")));
		timer_set(&again, AGAIN_MS);
		if (!queue_withdraw(now.id)) {
			str_copy(sent.name, sizeof sent.name, str_of(now.name));
			sent.st = now.st;
		}
	}
	finish();
}

static void accepted(void)
{
	struct draft *d = submit_draft(now.submission);

	log_event(LOG_INFO, "received", LF(L_TEXT("id", draft_id(d)), L_TEXT("drop", now.name), L_NUM("uid", (long long)now.st.st_uid),
		L_NUM("size", (long long)draft_size(d))));
	now.committing = true;
	queue_commit(d, committed, NULL);
}

static void step(void)
{
	enum verdict verdict = submit_step(now.submission);

	if (verdict != WAIT && is_being_written()) {
		leave_for_later("it is still being written: write into tmp/ and rename when it is whole");
		finish();
		return;
	}
	switch (verdict) {
	case WAIT:
		task_post(&work);
		return;
	case ACCEPT:
		accepted();
		return;
	case REFUSE:
		break;
	}
	if (submit_status(now.submission) == EX_DATAERR || submit_status(now.submission) == EX_USAGE)
		set_drop_aside(submit_why(now.submission));
	else if (submit_status(now.submission) == EX_IOERR)
		leave_for_later(submit_why(now.submission));
	else
		pause_all(submit_why(now.submission));
	finish();
}

static void begin(const char *name)
{
	static char user[64];
	struct passwd *pw;
	struct reply why;

	str_copy(now.name, sizeof now.name, str_of(name));
	if (!queue_accepting(&why)) {
		pause_all(why.text);
		return;
	}
	if (sent.name[0] && !sent_is_gone()) {
		pause_all("what was sent before cannot be removed");
		return;
	}
	if (!open_drop()) {
		finish();
		return;
	}
	drop_id(now.id);
	pw = getpwuid(now.st.st_uid);
	str_copy(user, sizeof user, str_of(pw ? pw->pw_name : ""));
	snprintf(now.note, sizeof now.note, "drop %.200s inode %ju uid %ju", now.name, (uintmax_t)now.st.st_ino, (uintmax_t)now.st.st_uid);
	now.how = (struct submit_config){
		.hostname = config->hostname, .origin = config->origin, .user = user[0] ? user : NULL, .uid = now.st.st_uid, .how = "drop file",
		.note = now.note, .header_rcpts = true, .envelope_lines = true, .message_size = config->message_size, .future_max = config->future_max, .signer = config->signer,
		.send_as = config->send_as, .id = now.id,
	};
	now.submission = submit_open(&now.how, now.fd);
	if (!now.submission) {
		pause_all("out of memory");
		finish();
		return;
	}
	task_post(&work);
}

static bool start_listing(void)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	look_again = false;
	listing = fd == -1 ? NULL : fdopendir(fd);
	if (listing)
		return true;
	if (fd != -1)
		close(fd);
	paused = true;          /* too many files are open */
	timer_set(&again, AGAIN_MS);
	return false;
}

/* One file, or one block of it, a turn. */
static void work_on(struct task *t)
{
	struct dirent *d;

	(void)t;
	if (now.committing || paused)
		return;
	if (now.submission) {
		step();
		return;
	}
	if (!listing && (!look_again || !start_listing()))
		return;
	errno = 0;
	do
		d = readdir(listing);
	while (d && d->d_name[0] == '.');
	if (d) {
		begin(d->d_name);
		return;
	}
	if (errno)
		timer_set(&again, AGAIN_MS);
	closedir(listing);
	listing = NULL;
	if (look_again)
		task_post(&work);
}

void drop_look(void)
{
	if (dir == -1 || stopped)
		return;
	look_again = true;
	task_post(&work);
}

static void changed(struct watch *w)
{
	(void)w;
	drop_look();
}

static void try_again(struct timer *t)
{
	(void)t;
	paused = false;
	drop_look();
}

bool drop_idle(void)
{
	return !now.submission && !now.committing && (paused || (!listing && !look_again));
}

int drop_start(const struct drop_config *c)
{
	char path[4096];

	config = c;
	work.run = work_on;
	again.expired = try_again;
	forget();               /* a commit that was cut short by the end of its queue */
	close_fd(&dir);
	paused = stopped = false;
	sent.name[0] = 0;
	dir = openat(queue_dir(), "new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir == -1)
		return -1;
	snprintf(path, sizeof path, "%s/new", c->queue);
	if (watch_start(&watch, dir, path, changed) == -1)
		return -1;
	drop_look();
	return 0;
}

void drop_stop(void)
{
	stopped = true;
	watch_stop(&watch);
	timer_stop(&again);
	task_cancel(&work);
	if (listing)
		closedir(listing);
	listing = NULL;
	look_again = false;
	if (sent.name[0])
		sent_is_gone();         /* the last try: the next start knows nothing of it */
	if (now.committing)
		return;                 /* its end removes the drop, else the next start would meet it again */
	forget();
	close_fd(&dir);
}
