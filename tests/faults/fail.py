"""Fails system calls of fardel from outside (strace --inject), and looks whether the promises of doc/QUEUE hold: `make faults`.

A scene is run once to count its calls, then again and again, each time with one call failing by one error: the n-th call of that name
(strace counts in each process by itself, so it strikes the server and its helpers), or every one from the n-th on, until it passes.
The server of a scene is started in peace and meets its faults in service; what starts is met behind the loader, where main() begins: what
fails before is the C library's to report. Then fardel is started without faults. Everybody who was told 250 (or 0, by sendmail) must have
been served, nobody may have waited for long, and nothing may be left.

As a control two lies are told to fardel: that what it writes, and what it syncs, is always done. Both must be found out.

Environment: SYNC="log file", SCENES="accept drop", CALLS="write openat"; N=2, how many of the
places and errors of each call in each scene are tried once, chosen by SEED, and half as many from there on; N=all: all of them, for a day. JOBS side by side. ONE="drop log
openat EMFILE 3+" is one case alone, told at length. KEEP=DIRECTORY for what failed. Ends with "N passed, N failed"."""
import collections
import concurrent.futures
import errno
import glob
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
import hosts

FARDEL, TOOLS = sys.argv[1:3]
seed = int(os.environ.get("SEED") or time.time())
amount = os.environ.get("N") or "2"
PATIENCE_S = 25         # of a client: longer than what the server gives its helpers
AGAIN_S = 20            # within so long behind a fault mail is taken again: a disk that refused a mark is asked after 5 s, and 10 more
DRAIN_S = 20            # and what is in the queue leaves
END_S = 8               # SIGTERM ends it

# What may fail, and how. What EINTR has interrupted is done again: without an end that is no fault of a system, so it comes once only.
DISK = "ENOSPC EDQUOT EIO EINTR"
ERRORS = {name: errors.split() for names, errors in {
    "open openat": "EMFILE ENFILE ENOMEM ENOSPC EACCES EIO EROFS EINTR",
    "write pwrite64 writev ftruncate fallocate": DISK,
    "fdatasync fsync syncfs": "EIO ENOSPC EDQUOT EINTR",
    "rename renameat renameat2 link linkat symlinkat": "ENOSPC EDQUOT EIO EROFS EACCES",
    "unlink unlinkat rmdir": "EIO EROFS EACCES",
    "mkdir mkdirat mknod mknodat": "ENOSPC EDQUOT EACCES EROFS",
    "chmod fchmod fchmodat utimensat": "EPERM EROFS EIO",
    "stat lstat fstat newfstatat statx access faccessat faccessat2 readlink readlinkat": "EIO EACCES ENOMEM",
    "statfs fstatfs": "EIO ENOMEM",
    "getdents64": "EIO ENOMEM",
    "read": "EIO EINTR",
    "pread64": "EIO EINTR",
    "lseek": "EIO",
    "flock": "ENOLCK EINTR",
    "fcntl": "ENOLCK EMFILE EINVAL",
    "mmap brk mremap": "ENOMEM",
    "munmap mprotect madvise": "ENOMEM",
    "clone clone3 fork vfork": "EAGAIN ENOMEM",
    "pipe2 socketpair": "EMFILE ENFILE ENOMEM",
    "socket": "EMFILE ENFILE ENOBUFS ENOMEM",
    "bind listen": "EADDRINUSE ENOMEM",
    "connect": "ECONNREFUSED EADDRNOTAVAIL ENETUNREACH EINTR",
    "accept accept4": "EMFILE ENFILE ENOMEM ENOBUFS ECONNABORTED EINTR",
    "setsockopt getsockopt": "ENOMEM ENOBUFS",
    "getsockname getpeername shutdown": "ENOBUFS ENOTCONN",
    "sendto recvfrom": "ENOBUFS ENOMEM ECONNRESET EINTR",
    "sendmsg": "ENOMEM ENOBUFS EINTR",
    "recvmsg": "ENOMEM EINTR",
    "poll ppoll epoll_wait epoll_pwait": "ENOMEM EINTR",
    "epoll_create1 epoll_ctl": "EMFILE ENOMEM ENOSPC",
    "inotify_init1 inotify_add_watch": "EMFILE ENOSPC ENOMEM",
    "close": "EIO EINTR",
    "wait4": "ECHILD EINTR",
    "kill": "EPERM",
    "prlimit64": "EPERM",
    "getrandom": "EINTR ENOSYS",
    "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self prctl": "ENOSYS ENOMEM EINVAL",
}.items() for name in names.split()}
# Together, from the first on: nothing can be made durable; there is no more memory; the disk is full.
SYNCS = "fdatasync,fsync,syncfs"
TOGETHER = [(SYNCS, "EIO"), ("brk,mmap,mremap", "ENOMEM"), ("write,pwrite64,ftruncate,fallocate", "ENOSPC")]
TRACED = ",".join("?" + name for name in ERRORS)
# Whoever cannot be talked to has been told nothing: with these failing a session may end without a word.
TALK = {"read", "sendto", "recvfrom", "poll", "accept4", "accept", "fcntl", "getsockname", "getpeername", "setsockopt", "shutdown", "epoll_ctl"}
# What an end must have said: where two errors come of one fault, the second may be the one that is told.
CAUSES = [os.strerror(number) for number in errno.errorcode] + ["out of memory"]
NO_SOCKETS = shutil.ignore_patterns("wake", "control")


# ---- where mail goes

taken = collections.Counter()       # by token and recipient
put_off = collections.Counter()     # by recipient: how often it still has to come again


def puts_off(recipient):
    put_off[recipient] -= 1
    return put_off[recipient] >= 0


def served(message, recipients):
    taken.update((token_of(message), recipient) for recipient in recipients)


ports = hosts.start(puts_off, served)


# ---- mail: each message has its token at the beginning and at the end

def letter(token):
    return "From: s@here.test\r\nX-Token: %s\r\n\r\n%send of %s\r\n" % (token, "a line\r\n" * 40, token)


def token_of(message):
    """Its token, or what is none where the message is not as it was sent."""
    token = re.search(rb"^X-Token: (\S+)", message, re.M)
    whole = token and re.search(rb"\r?\n\r?\n(a line\r?\n){40}end of %s\r?\n$" % token[1], message)
    return token[1].decode() if whole else "torn"


def hear(f):
    """The code of a reply; 0: the other side has hung up."""
    while True:
        line = f.readline()
        if line[3:4] != b"-":
            return int(line[:3] or 0)


def contents(pattern):
    for name in glob.glob(pattern):
        with open(name, "rb") as f:
            yield f.read()


def until(seconds, holds, step=0.01):
    """Waits for it; says whether it came."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True


# ---- processes: fardel's, by their session, and the tracer

procs = set()
stopping = False


def popen(command, **options):
    if stopping:
        raise OSError("stopping")
    p = subprocess.Popen(command, start_new_session=True, **options)
    procs.add(p)
    return p


def family(leader):
    """Processes of the session that it leads, with the ticks of processor time that each had."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name) as f:
                state = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(state[3]) == leader and state[0] not in "ZX":
            found[int(name)] = int(state[11]) + int(state[12])
    return found


def gone(leader):
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return True
    return False


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def clean():
    for p in list(procs):
        kill(family(p.pid))
        if p.poll() is None:
            p.kill()
    shutil.rmtree(work, ignore_errors=True)


def stop(number, _):
    """Ends at once, with what the threads have started."""
    global stopping
    stopping = True
    clean()
    os._exit(128 + number)


class Case:
    number = 0
    lock = threading.Lock()

    def __init__(self, scene, method, calls="", error="", at="", lie=False):
        with Case.lock:
            Case.number += 1
            self.n = Case.number
        self.scene, self.method, self.calls, self.error, self.at, self.lie = scene, method, calls, error, at, lie
        self.lasting = at.endswith("+")
        self.root = "%s/%d" % (work, self.n)
        self.queue, self.mail = self.root + "/queue", self.root + "/mail"
        self.promised, self.refused, self.silent, self.wrong = {}, [], [], []
        self.messages = self.struck = self.repeats = 0
        self.tracer, self.down = None, False
        os.mkdir(self.root)
        # The port is kept by a socket that does not listen: the kernel gives it to nobody else, and a server that asks for it has it.
        self.port = socket.socket()
        self.port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port.bind(("127.0.0.1", 0))
        self.conf = self.root + "/conf"
        with open(self.conf, "w") as f:
            f.write("hostname = here.test\nlocal_domains = here.test\nlisten = smtp://127.0.0.1:%d\nresolver = 127.0.0.1:9\nqueue = %s\n"
                    "mailbox = %s/{user}/\nretry_first = 1s\nretry_max = 1s\nqueue_sync = %s\nqueue_log = 256k\nqueue_reserve = 1M\naliases = %s/aliases\n"
                    % (self.port.getsockname()[1], self.queue, self.mail, method, self.root))
            for host in ports.items():
                f.write("route = %s.test smtp://127.0.0.1:%d\n" % host)
        with open(self.root + "/aliases", "w") as f:
            f.write("team: user, a@takes.test\n")
        self.run("mkmailbox", "user", "s", "postmaster")

    def close(self):
        self.port.close()
        if self.wrong and os.environ.get("KEEP"):
            kept = "%s/%s" % (os.environ["KEEP"], self.name().replace(" ", "-"))
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(self.root, kept, ignore=NO_SOCKETS)
        shutil.rmtree(self.root, ignore_errors=True)

    def name(self):
        return " ".join((self.scene, self.method, self.calls, self.error, self.at)).strip()

    def log(self, name="log"):
        try:
            with open("%s/%s" % (self.root, name), errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def run(self, *words):
        """A command in peace: what it says."""
        p = subprocess.run([FARDEL, *words[0].split(), "-c", self.conf, *words[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=60, text=True, errors="replace")
        if p.returncode:
            raise OSError("%s ended with %d: %s" % (" ".join(words), p.returncode, p.stdout.strip()))
        return p.stdout

    # -- starting, tracing, ending

    def start(self, *words, log="log", begin=False, **options):
        preload = [TOOLS + "/begin.so"] * begin + [TOOLS + "/lie.so"] * (self.lie and log == "log")
        with open("%s/%s" % (self.root, log), "a") as out:
            options = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, **options}
            env = dict(os.environ, LC_ALL="C", TMPDIR=self.root, LD_PRELOAD=":".join(preload))
            return popen([FARDEL, *words[0].split(), "-c", self.conf, *words[1:]], env=env, **options)

    def failing(self, *words, **options):
        """A program that meets the faults from its main() on."""
        p = self.start(*words, begin=True, **options)
        os.waitid(os.P_PID, p.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.trace(p)
        os.kill(p.pid, signal.SIGCONT)
        return p

    def trace(self, p):
        """From here on calls are counted, and fail."""
        pids = family(p.pid)
        what = ["-e", "trace=" + (self.calls or TRACED)]
        for call in filter(None, self.calls.split(",")):
            # The kernel's brk() has no error: it answers with an end of the heap that is not the one asked for.
            what += ["-e", "inject=%s:%s:when=%s" % (call, "retval=0" if call == "brk" else "error=" + self.error, self.at)]
        with open(self.root + "/strace", "a") as out:
            self.tracer = popen(["strace", "-f", "-y", "-q", "-o", self.root + "/trace", "-A", "-e", "signal=none", *what,
                                 *["-p%d" % pid for pid in pids]], stdin=subprocess.DEVNULL, stdout=out, stderr=out)

        def traced(pid):
            try:
                with open("/proc/%d/status" % pid) as f:
                    return "\nTracerPid:\t%d\n" % self.tracer.pid in f.read()
            except OSError:
                return True
        if not until(10, lambda: self.tracer.poll() is not None or all(map(traced, pids))) or self.tracer.poll() is not None:
            raise OSError("strace: " + self.log("strace").strip())

    def peace(self):
        """No fault from here on."""
        if self.tracer:
            self.tracer.terminate()
            self.tracer.wait(20)
            procs.discard(self.tracer)
            self.tracer = None

    def answers(self):
        try:
            with socket.create_connection(self.port.getsockname(), 5) as s:
                s.settimeout(5)
                return s.recv(100)[:3] == b"220"
        except OSError:
            return False

    def serve(self, log="log"):
        p = self.start("serve", log=log)
        if not until(20, lambda: p.poll() is not None or self.answers()) or p.poll() is not None:
            raise OSError("serve is not in service: " + self.log(log).strip()[-300:])
        return p

    def finish(self, p, what, patience=END_S):
        """Waits for its end, and that of all it has started."""
        try:
            p.wait(patience)
        except subprocess.TimeoutExpired:
            self.wrong.append("%s has not ended within %d s" % (what, patience))
            kill([p.pid])
            p.wait()
        if not until(2, lambda: gone(p.pid)):
            self.wrong.append("%s has left processes" % what)
            kill(family(p.pid))
        procs.discard(p)
        if self.tracer:
            self.tracer.wait(20)
            procs.discard(self.tracer)
            self.tracer = None
        return p.returncode

    def ended(self, p, what, good=(0,)):
        """It may end: with words that say why."""
        if p.poll() is None:
            return False
        self.down = self.down or p.returncode != 0
        if p.returncode < 0:
            self.wrong.append("%s was killed by signal %d" % (what, -p.returncode))
        elif p.returncode not in good and "write" not in self.calls and not any(cause in self.log() for cause in CAUSES):
            self.wrong.append("%s ended with %d and does not say why: %s" % (what, p.returncode, self.log().strip().rpartition("\n")[2]))
        return True

    # -- senders

    def token(self):
        self.messages += 1
        return "%d-%d" % (self.n, self.messages)

    def told(self, token, recipients, accepted):
        if accepted:
            self.promised[token] = recipients
            if self.calls == SYNCS and self.tracer:
                self.wrong.append("a message was accepted though nothing could be synced")
        else:
            self.refused.append(token)
        return accepted

    def talk(self, sock, token, recipients, means=None):
        """A session. Says whether the message was accepted; what is neither that nor an answer for now is wrong."""
        codes, means = [], means or recipients
        with sock, sock.makefile("rwb") as f:
            # While nobody can be let in, nobody can be told so.
            sock.settimeout(3 if self.lasting else PATIENCE_S)
            try:
                for line, wanted in [("", 220), ("EHLO client.test\r\n", 250), ("MAIL FROM:<s@here.test>\r\n", 250)] + \
                        [("RCPT TO:<%s>\r\n" % r, 250) for r in recipients] + [("DATA\r\n", 354), (letter(token) + ".\r\n", 250)]:
                    f.write(line.encode())
                    f.flush()
                    codes.append(hear(f))
                    sock.settimeout(PATIENCE_S)
                    if codes[-1] != wanted:
                        break
                else:
                    self.told(token, means, True)
                    f.write(b"QUIT\r\n")
                    f.flush()
                    hear(f)
                    return True
            except socket.timeout:
                if codes or not self.lasting:
                    self.wrong.append("a client had no answer for %d s behind %s" % (PATIENCE_S, codes))
            except OSError:
                codes.append(0)
        if not codes or codes[-1] == 0:
            self.silent.append("a session ended behind %s" % codes)
        elif not 400 <= codes[-1] < 500:
            self.wrong.append("a client was answered %s" % codes)
        return self.told(token, means, token in self.promised)

    def send(self, recipients, means=None):
        """One message by SMTP; `means` is whom the recipients stand for."""
        try:
            sock = socket.create_connection(self.port.getsockname(), 5)
        except OSError:
            return False
        return self.talk(sock, self.token(), recipients, means)

    def drop(self, recipients):
        token = self.token()
        with open(self.queue + "/tmp/drop", "w") as f:
            f.write("MAIL FROM:<s@here.test>\n%s\n%s" % ("".join("RCPT TO:<%s>\n" % r for r in recipients), letter(token).replace("\r", "")))
        os.rename(self.queue + "/tmp/drop", self.queue + "/new/drop")
        self.promised[token] = recipients

    def sendmail(self, recipients, start):
        token = self.token()
        p = start("sendmail", "-i", "-f", "s@here.test", *recipients, stdin=subprocess.PIPE)
        try:
            with p.stdin:
                p.stdin.write(letter(token).encode())
        except BrokenPipeError:
            pass
        self.told(token, recipients, self.finish(p, "sendmail", PATIENCE_S) == 0)
        self.ended(p, "sendmail")

    # -- scenes

    def later(self, times):
        """Who is put off so often."""
        recipient = "c%d@later.test" % self.n
        put_off[recipient] = times
        return recipient

    def waiting(self):
        return [name for sub in ("cur", "in", "new") for name in glob.glob("%s/%s/*" % (self.queue, sub))]

    def in_service(self, *options, act):
        """A server in service meets the faults while act() happens, and what comes of it."""
        p = self.start("serve", *options)
        if not until(20, lambda: p.poll() is not None or self.answers()) or p.poll() is not None:
            raise OSError("serve is not in service: " + self.log().strip()[-300:])
        self.trace(p)
        act()
        self.meet(p)

    def twice(self, *recipients, means=None):
        """As a sender who comes again."""
        return self.send(recipients, means) or (self.calls and self.send(recipients, means))

    def meet(self, p, whole=False):
        until(2 if self.lasting else 4, lambda: p.poll() is not None or not self.waiting())
        before = family(p.pid)
        time.sleep(0.2)
        spent = sum(ticks - before.get(pid, ticks) for pid, ticks in family(p.pid).items())
        if spent > 12:
            self.wrong.append("the server is busy with nothing: %d of 20 ticks" % spent)
        if self.lasting or not whole:
            self.peace()

        def again():
            return p.poll() is not None or self.send(["user@here.test"])
        if not self.ended(p, "the server") and self.calls and not until(AGAIN_S / 2, again, 0.2):
            self.peace()        # what strikes each helper anew that is started again does not end by itself
            if not until(AGAIN_S, again, 0.2):
                self.wrong.append("the server takes no mail again within %d s" % AGAIN_S)
        if not self.ended(p, "the server"):
            p.terminate()
            if self.finish(p, "the server") != 0:
                self.wrong.append("the server's end: %d" % p.returncode)

    def scene_accept(self):
        self.in_service(act=lambda: (self.twice("user@here.test", "a@takes.test", "b@takes.test"), self.twice("user@here.test")))

    def scene_report(self):
        self.in_service(act=lambda: self.twice("a@takes.test", "x@never.test"))

    def scene_retry(self):
        self.in_service(act=lambda: self.twice("user@here.test", self.later(1)))

    def scene_expiry(self):
        self.in_service("-o", "queue_lifetime = 1s", act=lambda: self.twice(self.later(1000)))

    def scene_alias(self):
        self.in_service(act=lambda: self.twice("team@here.test", means=["user@here.test", "a@takes.test"]))

    def scene_drop(self):
        self.in_service(act=lambda: self.drop(["user@here.test", "a@takes.test"]))

    def scene_release(self):
        """What is on hold is let go."""
        self.delayed()
        self.run("queue hold", "--yes", "all")
        self.in_service(act=lambda: self.run("queue release", "--yes", "all"))

    def delayed(self):
        """A message that has been put off is in the queue."""
        self.sendmail(["user@here.test", self.later(1000)], self.start)
        p = self.start("flush")
        self.finish(p, "flush", 20)
        if p.returncode not in (0, 75) or not self.waiting():
            raise OSError("flush ended with %d: %s" % (p.returncode, self.log()))
        self.later(0)

    def scene_start(self):
        """A server starts with mail of all sides in the queue, and ends."""
        self.delayed()
        self.sendmail(["user@here.test", "b@takes.test"], self.start)
        self.drop(["user@here.test", "a@takes.test"])
        self.starts()

    def starts(self):
        p = self.failing("serve")
        if not until(10, lambda: p.poll() is not None or self.answers()) and not self.lasting:
            self.wrong.append("the server is neither in service nor at its end within 10 s")
        self.meet(p, whole=True)

    def scene_inetd(self):
        ours, theirs = socket.socketpair()
        with theirs:
            p = self.failing("inetd", stdin=theirs, stdout=theirs)
        self.talk(ours, self.token(), ["user@here.test", "a@takes.test"])
        self.finish(p, "inetd", PATIENCE_S)
        self.ended(p, "inetd", (0, 75))

    def scene_sendmail(self):
        self.sendmail(["user@here.test", "a@takes.test"], self.failing)

    def scene_flush(self):
        self.sendmail(["user@here.test", "a@takes.test", "x@never.test"], self.start)
        p = self.failing("flush")
        self.finish(p, "flush", 90 if self.lasting else PATIENCE_S)     # a helper that no question reaches is asked for a minute
        self.ended(p, "flush", (0, 75))

    def scene_hold(self):
        """The operator's command meets the faults."""
        self.delayed()
        p = self.failing("queue hold", "--yes", "all")
        self.finish(p, "queue hold", PATIENCE_S)
        self.ended(p, "queue hold")

    def scene_recover(self):
        """A start behind a cut of the power: what the log alone knows is written again."""
        p = self.start("serve")
        if not until(20, self.answers):
            raise OSError("serve is not in service")
        for recipients in (["user@here.test", self.later(1000)], [self.later(1000)], ["user@here.test"], ["x@never.test", self.later(1000)]):
            self.send(recipients)
        until(4, lambda: len(self.waiting()) == 3)
        kill(family(p.pid))
        self.finish(p, "serve")
        for name, harm in zip(sorted(glob.glob(self.queue + "/cur/*")), (lambda f: os.truncate(f, 150), os.unlink, lambda f: os.truncate(f, 500))):
            harm(name)
        self.boot()
        self.later(0)
        self.starts()

    def boot(self):
        """What a start finds behind one of the machine: all is there, in other inodes."""
        os.rename(self.queue, self.queue + ".old")
        shutil.copytree(self.queue + ".old", self.queue, ignore=NO_SOCKETS)
        shutil.rmtree(self.queue + ".old")

    # -- what has become of it

    def drain(self):
        """A start without faults: everything leaves, also what was held. What was kept for the next start of the machine meets that."""
        self.later(0)
        self.leaves()
        if glob.glob(self.queue + "/wal/kept.*"):
            self.boot()
            self.leaves()

    def leaves(self):
        p = self.serve("log.drain")

        def empty():
            if glob.glob(self.queue + "/cur/*.H.*"):
                self.run("queue release", "--yes", "all")
            return p.poll() is not None or not self.waiting()
        if not until(DRAIN_S, empty):
            self.wrong.append("left in the queue: " + " ".join(self.waiting()))
        if p.poll() is not None:
            self.wrong.append("the next start ended with %d: %s" % (p.returncode, self.log("log.drain")[-300:]))
        else:
            p.terminate()
        self.finish(p, "the next server")

    def in_mailbox(self, user):
        return contents("%s/%s/new/*" % (self.mail, user))

    def count(self):
        """How often who was told 250 was served; what was refused and came all the same; what is left."""
        found = collections.Counter((token_of(m), "user@here.test") for m in self.in_mailbox("user"))
        reports = [m.decode(errors="replace") for m in self.in_mailbox("s")]
        if self.scene == "expiry":      # reports, too, were given a second: then they are laid aside
            reports += [m.decode(errors="replace") for m in contents(self.queue + "/bad/*.here.test")]
        if any("\nAction: delayed" in report for report in reports):
            self.wrong.append("a sender was told of a delay at once")
        for token, recipients in self.promised.items():
            for recipient in recipients:
                told = sum("X-Token: %s\r\n" % token in re.sub("\r?\n", "\r\n", report) and recipient in report for report in reports)
                n = found[token, recipient] + taken[token, recipient]
                if n + told == 0:
                    self.wrong.append("%s for %s is lost" % (token, recipient))
                if told and "never" not in recipient and self.scene != "expiry":
                    self.wrong.append("%s for %s was given up" % (token, recipient))
                self.repeats += max(n + told - 1, 0)
        if any(token == "torn" for token, _ in found):
            self.wrong.append("a message is not as it was sent")
        left = [os.path.relpath(os.path.join(where, name), self.root) for top in (self.queue, self.mail) for where, _, names in os.walk(top) for name in names]
        if self.scene == "expiry":
            left = [name for name in left if not name.startswith("queue/bad/")]
        left = [name for name in left if not re.fullmatch(r"mail/\w+/(new|cur)/.*|queue/(lock|wake|control|tls-seen|wal/[01]|sent/[-0-9]+)", name)]
        if left:
            self.wrong.append("left: " + " ".join(left))

    def judge(self):
        try:
            getattr(self, "scene_" + self.scene)()
            self.drain()
            self.count()
        except (OSError, subprocess.SubprocessError) as e:
            self.wrong.append("%s: %s" % (type(e).__name__, e))
        finally:
            self.peace()
        if self.silent and not self.down and not TALK & set(self.calls.split(",")):
            self.wrong += self.silent
        trace = self.log("trace")
        self.struck = trace.count("(INJECTED)")
        self.wrong += ["a process was killed by " + name for name in re.findall(r"\+\+\+ killed by (SIG(?!KILL|TERM)\w+)", trace)]
        self.wrong = list(dict.fromkeys(self.wrong))
        return self


SCENES = [name[6:] for name in vars(Case) if name.startswith("scene_")]


def count_calls(case):
    """How often each call is made by the process that makes it most often."""
    counts = collections.Counter()
    for pid, call in re.findall(r"^(\d+) +(\w+)\(", case.log("trace"), re.M):
        counts[call, pid] += 1
    most = {}
    for (call, _), n in counts.items():
        if call in ERRORS:
            most[call] = max(most.get(call, 0), n)
    return most


def cases(scene, method, most):
    """What fails: calls, error, place. And of how many that has been chosen."""
    r = random.Random("%d %s %s" % (seed, scene, method))
    only = (os.environ.get("CALLS") or "").split()
    chosen = [] if only else [(calls, error, "1+") for calls, error in TOGETHER]
    total = len(chosen)
    for call in sorted(only or most):
        once = [(call, error, str(n)) for n in range(1, most.get(call, 0) + 1) for error in ERRORS[call]]
        lasting = [(call, error, n + "+") for _, error, n in once if error != "EINTR"]
        total += len(once) + len(lasting)
        if amount != "all":
            once, lasting = r.sample(once, min(int(amount), len(once))), r.sample(lasting, min((int(amount) + 1) // 2, len(lasting)))
        chosen += once + lasting
    return chosen, total


def tried(*what, **options):
    case = Case(*what, **options)
    try:
        return case.judge()
    finally:
        case.close()


def scene_with(pool, scene, method, totals):
    """One scene and one method with everything that is to fail."""
    case = Case(scene, method)
    try:
        wrong, most = case.judge().wrong, count_calls(case)
        if method == "log" and scene == "accept" and not os.path.exists(case.queue + "/wal/0"):
            wrong.append("no log is kept on this file system: TMPDIR=DIRECTORY names a place on another one, SYNC=file does without")
    finally:
        case.close()
    if wrong:
        print("%s, queue_sync = %s, without any fault: %s" % (scene, method, "; ".join(wrong)))
        totals["failed"] += 1
        return
    here = collections.Counter()
    chosen, total = cases(scene, method, most)
    for case in pool.map(lambda what: tried(scene, method, *what), chosen):
        here.update(faults=1, bad=bool(case.wrong), met=case.struck > 0, promises=sum(map(len, case.promised.values())), repeats=case.repeats,
                    refused=len(case.refused))
        if case.repeats:
            print("ONE='%s': %d of %d promises kept more than once" % (case.name(), case.repeats, sum(map(len, case.promised.values()))), flush=True)
        if case.wrong:
            print("ONE='%s': %s" % (case.name(), "; ".join(case.wrong)), flush=True)
    print("%s, queue_sync = %s: %d of %d faults, %d met, %d not as promised; %d promises, %d kept more than once; %d messages refused" % (
        scene, method, here["faults"], total, *(here[x] for x in ("met", "bad", "promises", "repeats", "refused"))), flush=True)
    totals.update(passed=here["faults"] - here["bad"], failed=here["bad"])


def control(what, sign, tries):
    """Fardel is told a lie: in one of these cases that must be found out."""
    for case in tries:
        if any(sign in word for word in tried(*case, lie=True).wrong):
            print("%s is told that it was done: found out" % what, flush=True)
            return True
    print("%s is told that it was done, and nothing shows it: these faults prove nothing" % what, flush=True)
    return False


def main():
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if os.environ.get("ONE"):
        case = tried(*os.environ["ONE"].split())
        print(json.dumps({"struck": case.struck, "wrong": case.wrong, "refused": case.refused, "promised": case.promised, "silent": case.silent,
                          "repeats": case.repeats}, indent=1))
        return bool(case.wrong)
    print("SEED=%d" % seed, flush=True)
    totals = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS") or 2 * os.cpu_count())) as pool:
        for scene in (os.environ.get("SCENES") or " ".join(SCENES)).split():
            for method in (os.environ.get("SYNC") or "log file").split():
                if scene != "recover" or method == "log":       # files alone need nothing written again
                    scene_with(pool, scene, method, totals)
    if not os.environ.get("SCENES"):
        lies = [control("what syncs, queue_sync = " + method, "though nothing could be synced", [("accept", method, SYNCS, "EIO", "1+")]) for method in ("log", "file")]
        lies.append(control("what writes", "is lost", [("accept", "file", "write", "ENOSPC", str(n)) for n in range(1, 10)]))
        totals.update(passed=sum(lies), failed=len(lies) - sum(lies))
    print("%d passed, %d failed" % (totals["passed"], totals["failed"]))
    return totals["failed"] > 0 or not totals["passed"]


# Where it was built there is a disk, which a temporary directory need not have: without one there is no log.
work = tempfile.mkdtemp(prefix="run.", dir=os.environ.get("TMPDIR") or TOOLS)
try:
    status = main()
finally:
    clean()
sys.exit(status)
