"""Cuts the power below fardel, on real file systems, and looks whether the promises of doc/QUEUE hold: `make power`, as root.

A server on a file system on a loop device on disk.c gets mail from all sides for some seconds. What the kernel wrote to that disk is
recorded in order, with its flushes, and among them marks: when a sender heard 250, and when a host had taken a message. Then the power
is cut again and again: a disk is made of what had been written up to a place in the record, everything up to the last flush and none,
all, some blocks or some sectors of what came behind it. That is mounted, fardel starts there, delivers, and everybody who was told 250
must have been served. As a control the same is done to a fardel whose syncs do nothing: that must lose mail.

Environment: FS="ext4 xfs" (also btrfs), SYNC="log file", SECONDS=6, CUTS=20 (each leaves up to four disks), SEED; KEEP=DIRECTORY for disks
that failed, as they are afterwards. Ends with "N passed, N failed", disks being counted; one whose file system is lost itself
(btrfs with half a superblock) is told of, and shows nothing. Limit: what the record has before a flush counts
as covered by it, though the kernel may not have waited for all of it."""
import atexit
import collections
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
import hosts

FARDEL, TOOLS = sys.argv[1:3]
FILE_SYSTEMS = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"], "btrfs": ["mkfs.btrfs", "-q", "-f"]}
SIZE = 320 << 20                # XFS takes no less than 300 MB
WRITE, FLUSH, MARK = 1, 2, 3    # disk.c
# doc/QUEUE: who was served within the last second may be served again. To that comes a commit's time, which on this disk is long.
REPEAT_S = 3
HEAD = struct.Struct("<IIQQ")
Record = collections.namedtuple("Record", "op at data n ns")
seed = int(os.environ.get("SEED") or time.time())
seconds = float(os.environ.get("SECONDS") or 6)
cuts = int(os.environ.get("CUTS") or 20)
totals = collections.Counter()
procs = []


def run(*command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **options)
    if done.returncode:
        raise OSError("%s: %s" % (" ".join(command), done.stdout.strip()))
    return done.stdout


def until(seconds, what, holds):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise OSError("%s: not within %d s" % (what, seconds))
        time.sleep(0.02)


# ---- mail: each message has a token and its body's checksum in the header

def letter(token, body):
    return b"From: s@here.test\r\nX-Token: %s\r\nX-Sum: %d\r\n\r\n%s" % (token.encode(), zlib.crc32(body), body)


def judge(message):
    """Its token, and whether the body is what was sent."""
    head, _, body = message.partition(b"\r\n\r\n")
    token, sum_ = re.search(rb"^X-Token: (\S+)", head, re.M), re.search(rb"^X-Sum: (\d+)", head, re.M)
    return token and token[1].decode(), bool(sum_) and int(sum_[1]) == zlib.crc32(body)


class Ledger:
    """What was promised and what was done: in the record while it is made, in here behind a cut."""
    def __init__(self):
        self.record = None
        self.lock = threading.Lock()
        self.clear()

    def clear(self):
        self.taken, self.wrong = collections.Counter(), []

    def promised(self, token, recipients):
        os.write(self.record, ("250 %s %s\n" % (token, " ".join(recipients))).encode())

    def served(self, message, recipients):
        token, whole = judge(message)
        with self.lock:
            if not whole:
                self.wrong.append(token)
            for recipient in recipients:
                self.taken[token, recipient] += 1
                if self.record is not None:
                    os.write(self.record, ("taken %s %s\n" % (token, recipient)).encode())


ledger = Ledger()


ports = hosts.start(lambda _: ledger.record is not None, ledger.served)


# ---- senders: each tells the ledger what was answered 250

CHOICES = [["a@takes.test"], ["c@later.test"], ["user@here.test"], ["a@takes.test", "c@later.test"],
           ["user@here.test", "a@takes.test", "b@takes.test", "c@later.test"]]


def letters(name, end):
    """Token, recipients and message, until it is time. One in fifty is refused by its host, one in twenty-five is large."""
    r = random.Random("%d %s" % (seed, name))
    n = 0
    while time.monotonic() < end:
        n += 1
        token = "%s-%d" % (name, n)
        lines = 3000 if n % 25 == 0 else r.choice([3, 40, 40, 40, 200])
        yield token, ["x@never.test"] if n % 50 == 7 else r.choice(CHOICES), letter(token, b"%d " % r.getrandbits(60) + (b"x" * 60 + b"\r\n") * lines)
        time.sleep(0.01)


class Client:
    def __init__(self, sock):
        self.sock, self.file = sock, sock.makefile("rwb")
        sock.settimeout(30)
        self.ask(b"")
        self.ask(b"EHLO client.test\r\n")

    def ask(self, what):
        self.file.write(what)
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise OSError("the server hung up")
            if line[3:4] != b"-":
                return int(line[:3])

    def send(self, token, recipients, message):
        self.ask(b"MAIL FROM:<s@here.test>\r\n")
        for recipient in recipients:
            self.ask(b"RCPT TO:<%s>\r\n" % recipient.encode())
        if self.ask(b"DATA\r\n") == 354 and self.ask(message + b".\r\n") == 250:
            ledger.promised(token, recipients)
        else:
            totals["refused"] += 1


def by_smtp(name, end, conf):
    client = None
    for n, mail in enumerate(letters(name, end)):
        if n % 4 == 0 or not client:
            client = Client(socket.create_connection(("127.0.0.1", conf.port), 30))
        client.send(*mail)


def by_inetd(name, end, conf):
    for mail in letters(name, end):
        ours, theirs = socket.socketpair()
        with subprocess.Popen([FARDEL, "inetd", "-c", conf.path], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=conf.env) as p:
            theirs.close()
            client = Client(ours)
            client.send(*mail)
            client.ask(b"QUIT\r\n")
            client.file.close()
            ours.close()
            p.wait(30)


def by_sendmail(name, end, conf):
    for token, recipients, message in letters(name, end):
        p = subprocess.run([FARDEL, "sendmail", "-c", conf.path, "-i", "-f", "s@here.test", *recipients], input=message, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=60, env=conf.env)
        if p.returncode == 0:
            ledger.promised(token, recipients)
        else:
            totals["refused"] += 1


def operator(name, end, conf):
    """Somebody holds what waits, lets it go again, and has it tried."""
    for n, _ in enumerate(letters(name, end)):
        subprocess.run([FARDEL, "queue", ("hold", "release", "retry")[n % 3], "--yes", "-c", conf.path, "later.test"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, env=conf.env)
        time.sleep(0.2)


class Conf:
    def __init__(self, path, mount, method, env):
        self.port = 2525        # the network is ours alone, and no connection begins at such a port
        self.path, self.queue, self.mail, self.env = path, mount + "/queue", mount + "/mail", env
        with open(path, "w") as f:
            f.write("hostname = here.test\nlocal_domains = here.test\nlisten = smtp://127.0.0.1:%d\nresolver = 127.0.0.1:9\n"
                    "queue = %s\nmailbox = %s/{user}/\nlog = %s.log\nqueue_reserve = 1M\nretry_first = 1s\nretry_max = 2s\n"
                    "queue_sync = %s\nqueue_log = 1M\n" % (self.port, self.queue, self.mail, path, method))
            for host in ports.items():
                f.write("route = %s.test smtp://127.0.0.1:%d\n" % host)

    def serve(self):
        def answers():
            try:
                return not socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                if p.poll() is not None:
                    raise OSError("fardel serve ended: see %s" % self.path) from None
                return False
        with open(self.path + ".out", "a") as out:
            p = subprocess.Popen([FARDEL, "serve", "-c", self.path], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.env)
        procs.append(p)
        until(30, "fardel at port %d" % self.port, answers)
        return p


# ---- a life, and its record

def mount(image, where, *options):
    run("mount", "-o", ",".join(("loop", *options)), image, where)


def live(work, fs, method, env):
    """Runs a server on a recorded disk. Gives the disk as it was before and the record: from the first message to the last."""
    image, base, record, at, disk = (work + "/" + name for name in ("image", "base", "record", "live", "disk"))
    for directory in (at, disk):
        os.mkdir(directory)
    with open(image, "wb") as f:
        f.truncate(SIZE)
    run(*FILE_SYSTEMS[fs], image)
    run("cp", "--sparse=always", image, base)
    recorder = subprocess.Popen([TOOLS + "/disk", disk, str(SIZE), image, record])
    procs.append(recorder)
    until(10, "the recorded disk", lambda: os.path.exists(disk + "/disk"))
    mount(disk + "/disk", at)
    conf = Conf(work + "/live.conf", at, method, env)
    os.mkdir(conf.mail)
    for user in ("user", "s", "postmaster"):
        run(FARDEL, "mkmailbox", "-c", conf.path, user)
    ledger.record = os.open(disk + "/mark", os.O_WRONLY)
    server = conf.serve()
    run("sync", "-f", at)
    first, failed = os.path.getsize(record), []

    def work_of(who, *arguments):
        try:
            who(*arguments)
        except (OSError, subprocess.TimeoutExpired) as e:
            failed.append("%s: %s" % (who.__name__, e))
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=work_of, args=(who, "%s%d" % (who.__name__, k), end, conf))
               for who, k in [(by_smtp, k) for k in range(6)] + [(by_inetd, 0), (by_sendmail, 0), (operator, 0)]]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    time.sleep(1)       # marks of the last deliveries, too, are made durable within a second
    last = os.path.getsize(record)
    server.terminate()
    server.wait(60)
    os.close(ledger.record)
    ledger.record = None
    run("umount", at)
    run("umount", disk)
    recorder.wait(60)
    if failed:
        raise OSError("; ".join(failed))
    return base, read_record(record, first, last)


def read_record(path, first, last):
    """The records up to `last`, and how many come before `first`."""
    with open(path, "rb") as f:
        raw = memoryview(f.read(last))
    records, begin, at = [], 0, 0
    while at + HEAD.size <= len(raw):
        op, n, where, ns = HEAD.unpack_from(raw, at)
        at += HEAD.size
        records.append(Record(op, where, raw[at:at + n], n, ns))
        at += n
        if at <= first:
            begin = len(records)
    return records, begin


# ---- the cuts

def write_parts(f, record, granule, chosen):
    for at in range(0, record.n, granule):
        if chosen():
            f.seek(record.at + at)
            f.write(record.data[at:at + granule])


# What comes of writes behind the last flush: the granule in which they are kept or lost, and how many of a hundred are kept.
LEFT = {"none": (1 << 30, 0), "all": (1 << 30, 100), "some blocks": (4096, 50), "some sectors": (512, 50)}


def disks(base, copy, records, begin, r):
    """Makes one disk after the other; gives the place of its cut and what it is."""
    flushes = [i for i in range(begin + 1, len(records)) if records[i].op == FLUSH and records[i - 1].op == WRITE]
    others = [i for i in range(begin, len(records)) if records[i].op == WRITE or (records[i].op == MARK and records[i - 1].op == WRITE)]
    places = sorted(r.sample(flushes, min(cuts // 2, len(flushes))) + r.sample(others, min(cuts - cuts // 2, len(others)))) + [len(records)]
    done = 0
    for place in places:
        flushed = max((i for i in range(done, place) if records[i].op == FLUSH), default=done)
        with open(base, "r+b") as f:
            for record in records[done:flushed]:
                if record.op == WRITE:
                    write_parts(f, record, record.n, lambda: True)
        done = flushed
        loose = [record for record in records[done:place] if record.op == WRITE]
        for name, (granule, kept) in LEFT.items():
            if name != "none" and not loose:
                continue
            run("cp", "--sparse=always", base, copy)
            with open(copy, "r+b") as f:
                for record in loose:
                    write_parts(f, record, granule, lambda: r.randrange(100) < kept)
            yield place, name


def drain(conf, serving):
    """A start as behind a power cut; then everything that is in the queue leaves, also what the operator had held."""
    def empty():
        subprocess.run([FARDEL, "queue", "release", "--yes", "-c", conf.path, "all"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=60)
        return not os.listdir(conf.queue + "/cur")

    def flushed():
        p = subprocess.run([FARDEL, "flush", "-c", conf.path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        if p.returncode not in (0, 75):
            raise OSError("flush ended with %d: %s" % (p.returncode, p.stdout.decode(errors="replace")[-300:]))
        return empty()
    if not serving:
        until(60, "an empty queue", flushed)
        return
    server = conf.serve()
    try:
        until(60, "an empty queue", empty)
    finally:
        server.terminate()
        server.wait(60)


def in_mailboxes(mail):
    """How often each token is there: as mail to user, in a report to s."""
    found = collections.Counter()
    for user in ("user", "s"):
        for sub in ("new", "cur"):
            for name in os.listdir("%s/%s/%s" % (mail, user, sub)):
                with open("%s/%s/%s/%s" % (mail, user, sub, name), "rb") as f:
                    message = re.sub(rb"\r?\n", b"\r\n", f.read())
                if user == "s":
                    for token in re.findall(rb"^X-Token: (\S+)", message, re.M):
                        found[token.decode(), "x@never.test"] += 1
                    continue
                token, whole = judge(message)
                if not whole:
                    ledger.wrong.append("%s in %s" % (token, name))
                found[token, "user@here.test"] += 1
    return found


def faults(conf, records, place, serving):
    """What is wrong behind a cut: the words for it, none if all is well."""
    ledger.clear()
    drain(conf, serving)
    found = in_mailboxes(conf.mail)
    promised, before = [], {}
    for record in records[:place]:
        if record.op == MARK:
            what, token, *recipients = bytes(record.data).decode().split()
            if what == "250":
                promised += [(token, recipient) for recipient in recipients]
            else:
                before.setdefault((token, recipients[0]), []).append(record.ns)
    wrong = ["%s is not as it was sent" % name for name in ledger.wrong]
    now = records[place - 1].ns
    for key in promised:
        n = found[key] + len(before.get(key, ())) + ledger.taken[key]
        if n == 0:
            wrong.append("%s for %s is lost" % key)
        totals["promises"] += 1
        totals["repeats"] += max(n - 1, 0)
    for key, times in before.items():
        age = (now - times[-1]) / 1e9
        if ledger.taken[key]:
            totals["age"] = max(totals["age"], age)
            if age > REPEAT_S:
                wrong.append("%s for %s was taken %.1f s before the cut, and again" % (*key, age))
    return wrong


def cut(work, fs, method, control):
    what = "%s, queue_sync = %s%s" % (fs, method, ", its syncs doing nothing" if control else "")
    env = dict(os.environ, LD_PRELOAD=TOOLS + "/nosync.so") if control else None
    for name in ("refused", "promises", "repeats", "age"):
        totals[name] = 0
    base, (records, begin) = live(work, fs, method, env)
    r = random.Random("%d %s %s" % (seed, fs, method))
    copy, at = work + "/copy", work + "/cut"
    os.mkdir(at)
    conf = Conf(work + "/cut.conf", at, method, None)
    bad = n = unreadable = 0
    for place, left in disks(base, copy, records, begin, r):
        try:
            mount(copy, at, *(["nouuid"] if fs == "xfs" else []))
        except OSError as e:            # no program can do anything about that
            unreadable += 1
            print("%s: cut at record %d, %s of what was not flushed: the file system itself is lost: %s" % (what, place, left, str(e).split("\n")[0]))
            continue
        n += 1
        try:
            try:
                wrong = faults(conf, records, place, n % 2 == 0)
            finally:
                run("umount", at)
        except (OSError, subprocess.TimeoutExpired) as e:
            wrong = [str(e)]
        if control:
            wrong = [x for x in wrong if x.endswith(" is lost")]        # and not any other trouble
        bad += bool(wrong)
        if wrong and not control:
            print("%s: cut at record %d, %s of what was not flushed: %s" % (what, place, left, "; ".join(wrong[:3])))
            if os.environ.get("KEEP"):
                for name in ("copy", "cut.conf", "cut.conf.log", "cut.conf.out"):
                    run("cp", "--sparse=always", "%s/%s" % (work, name), "%s/%d.%s" % (os.environ["KEEP"], n, name))
        if control and bad:
            break
    answered = sum(x.op == MARK and x.data[:3] == b"250" for x in records)
    print("%s: %d messages answered 250, %d refused, %d writes, %d flushes; %d disks, %d not as promised, %d more without a file system; "
          "of %d promises %d were kept more than once, the oldest %.1f s before its cut" % (what, answered, totals["refused"], sum(x.op == WRITE for x in records[begin:]),
                                     sum(x.op == FLUSH for x in records[begin:]), n, bad, unreadable, totals["promises"], totals["repeats"], totals["age"]), flush=True)
    if control:
        good = bad > 0
        totals["passed" if good else "failed"] += 1
        if not good:
            print("%s: lost nothing, so these cuts prove nothing" % what)
    else:
        totals["passed"] += n - bad
        totals["failed"] += bad + (n == 0)


def end_all():
    for p in procs:
        if p.poll() is None:
            p.kill()
            p.wait()


def main():
    work = os.path.join(os.path.abspath(TOOLS), "run.%d" % os.getpid())
    atexit.register(end_all)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run("ip", "link", "set", "lo", "up")
    print("SEED=%d" % seed, flush=True)
    for fs in (os.environ.get("FS") or "ext4 xfs").split():
        for method, control in [(m, c) for c in (True, False) for m in (os.environ.get("SYNC") or "log file").split()]:
            os.mkdir(work)
            try:
                cut(work, fs, method, control)
            except (OSError, subprocess.TimeoutExpired) as e:
                totals["failed"] += 1
                print("%s, queue_sync = %s: %s" % (fs, method, e), flush=True)
            finally:
                end_all()
                subprocess.run("umount -lq %s/*" % work, shell=True, stderr=subprocess.DEVNULL)
                shutil.rmtree(work, ignore_errors=True)
    print("%d passed, %d failed" % (totals["passed"], totals["failed"]))
    return totals["failed"] > 0 or not totals["passed"]


sys.exit(main())
