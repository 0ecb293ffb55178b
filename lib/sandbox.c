/* Landlock by its system calls, as libc has no functions for them; the filter by libseccomp, which knows the numbers of each machine. */
#include "lib/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif
#if __has_include(<linux/landlock.h>)
#include <linux/landlock.h>
#endif

#include "lib/late.h"

static void add_why(struct buf *why, const char *what, const char *cause)
{
	buf_printf(why, "%s%s: %s", why->n ? "; " : "", what, cause);
}

#if defined(LANDLOCK_ACCESS_FS_REFER) && defined(SYS_landlock_create_ruleset)
enum { ABI_REFER = 2, ABI_TRUNCATE = 3 };       /* before 2 no file can be moved between two directories of the queue */
#define TRUNCATE ((uint64_t)1 << 14)            /* older headers lack the name */
#define WRITES (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | \
	LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | \
	LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)
#define NO_DEVICES (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

static int allow(int ruleset, const char *path, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access };
	int result;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd == -1)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -1;
	result = (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	close(rule.parent_fd);
	return result;
}

static bool confine(const struct sandbox *s, int ruleset, uint64_t writes)
{
	for (size_t i = 0; i < s->n; i++)
		if (allow(ruleset, s->place[i], writes & ~(uint64_t)NO_DEVICES) == -1)
			return false;
	return allow(ruleset, "/dev/null", writes & (LANDLOCK_ACCESS_FS_WRITE_FILE | TRUNCATE)) == 0 &&
		syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
}

static unsigned enter_landlock(const struct sandbox *s, struct buf *why)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
	uint64_t writes = WRITES | (abi >= ABI_TRUNCATE ? TRUNCATE : 0);
	struct landlock_ruleset_attr attr = { .handled_access_fs = writes | (s->executes ? 0 : LANDLOCK_ACCESS_FS_EXECUTE) };
	int ruleset;
	bool ok;

	if (abi < ABI_REFER) {
		add_why(why, "files", abi >= 0 ? "Landlock of this kernel is too old, it takes Linux 5.19" :
			errno == ENOSYS || errno == EOPNOTSUPP ? "this kernel has no Landlock" : strerror(errno));
		return 0;
	}
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
	ok = ruleset != -1 && confine(s, ruleset, writes);
	if (!ok)
		add_why(why, "files", strerror(errno));
	if (ruleset != -1)
		close(ruleset);
	return !ok ? 0 : s->executes ? SANDBOX_FILES : SANDBOX_FILES | SANDBOX_EXECUTE;
}
#else
static unsigned enter_landlock(const struct sandbox *s, struct buf *why)
{
	(void)s;
	add_why(why, "files", "built without Landlock");
	return 0;
}
#endif

static const char no_library[] = "without libseccomp";

#ifdef HAVE_SECCOMP
/* What a mail server has no use for and an intruder has. All else is allowed: a list of what libraries may call would break with the next of them. */
static const char *const refused[] = {
	"ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd",
	"mount", "umount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
	"unshare", "setns", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff",
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
	"add_key", "request_key", "keyctl", "acct", "quotactl", "syslog", "vhangup", "modify_ldt", "iopl", "ioperm", "personality",
	"settimeofday", "clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64", "adjtimex", "sethostname", "setdomainname",
	"open_by_handle_at", "name_to_handle_at",
	"fanotify_init", "mbind", "migrate_pages", "move_pages", "set_mempolicy", "lookup_dcookie", "nfsservctl",
};

static struct late library = { .file = HAVE_SECCOMP };
#define SECCOMP(f) LATE(library, HAVE_SECCOMP, f)

/* 0, or an errno with a minus. */
static int refuse_calls(void)
{
	scmp_filter_ctx filter = SECCOMP(seccomp_init)(SCMP_ACT_ALLOW);
	int got = filter ? 0 : -ENOMEM;

	/* A call that this machine does not have needs no rule. */
	for (size_t i = 0; got == 0 && i < sizeof refused / sizeof *refused; i++) {
		int number = SECCOMP(seccomp_syscall_resolve_name)(refused[i]);

		if (number >= 0)
			got = SECCOMP(seccomp_rule_add)(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
	}
	if (got == 0)
		got = SECCOMP(seccomp_load)(filter);
	if (filter)
		SECCOMP(seccomp_release)(filter);
	return got;
}

static unsigned enter_seccomp(struct buf *why)
{
	int got;

	if (!late_open(&library)) {
		add_why(why, "system calls", no_library);
		return 0;
	}
	got = refuse_calls();
	late_close(&library);           /* it is never asked again */
	if (got != 0)
		add_why(why, "system calls", strerror(-got));
	return got == 0 ? SANDBOX_CALLS : 0;
}
#else
static unsigned enter_seccomp(struct buf *why)
{
	add_why(why, "system calls", no_library);
	return 0;
}
#endif

unsigned sandbox_enter(const struct sandbox *s, struct buf *why)
{
	unsigned force;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1) {
		add_why(why, "files and system calls", strerror(errno));
		return 0;
	}
	force = enter_landlock(s, why);
	return force | enter_seccomp(why);
}
