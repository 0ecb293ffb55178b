# A SOCKS5 proxy (RFC 1928, 1929), one connection after the other:
#   socks.py LOG [USER PASSWORD]    LOG gets a line "CONNECT ADDRESS:PORT" or "refused" for each
# It prints "port N".
import select
import socket
import sys


def take(s, n):
    got = b""
    while len(got) < n:
        more = s.recv(n - len(got))
        if not more:
            raise OSError("closed")
        got += more
    return got


def let_in(s, login):
    methods = take(s, take(s, 2)[1])
    if not login:
        s.sendall(b"\5\0")
        return b"\0" in methods
    s.sendall(b"\5\2" if b"\2" in methods else b"\5\xff")
    take(s, 1)
    name = take(s, take(s, 1)[0])
    word = take(s, take(s, 1)[0])
    good = [name.decode(), word.decode()] == login
    s.sendall(b"\1\0" if good else b"\1\1")
    return good


def pass_on(a, b):
    while True:
        for s in select.select([a, b], [], [])[0]:
            octets = s.recv(65536)
            if not octets:
                return
            (b if s is a else a).sendall(octets)


def serve(s, login, log):
    if not let_in(s, login):
        return log("refused")
    head = take(s, 4)
    address = socket.inet_ntop(socket.AF_INET6 if head[3] == 4 else socket.AF_INET, take(s, 16 if head[3] == 4 else 4))
    port = int.from_bytes(take(s, 2), "big")
    log("CONNECT %s:%d" % (address, port))
    try:
        peer = socket.create_connection((address, port), 5)
    except ConnectionRefusedError:
        return s.sendall(b"\5\5\0\1" + bytes(6))
    with peer:
        s.sendall(b"\5\0\0\1" + bytes(6))
        pass_on(s, peer)


def main(path, *login):
    listener = socket.create_server(("127.0.0.1", 0))
    print("port", listener.getsockname()[1], flush=True)

    def log(line):
        with open(path, "a") as f:
            f.write(line + "\n")

    while True:
        with listener.accept()[0] as s:
            try:
                serve(s, list(login), log)
            except OSError as e:
                log(str(e))


main(*sys.argv[1:])
