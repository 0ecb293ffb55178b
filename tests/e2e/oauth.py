# A relay that takes access tokens and nothing else (OAUTHBEARER, XOAUTH2), inside TLS from the first octet:
#   oauth.py CERTIFICATE KEY TOKENS LOG     TOKENS holds those that are good now, one a line; LOG gets a line for each login, message and QUIT
# It prints "port N". Mail it takes is thrown away.
import base64
import socket
import ssl
import sys


def say(f, line):
    f.write(line.encode() + b"\r\n")
    f.flush()


def is_good(words, tokens):
    fields = dict(w.split("=", 1) for w in words.split("\1") if "=" in w)
    good = open(tokens).read().split()
    return fields.get("auth", "").startswith("Bearer ") and fields["auth"][7:] in good


def login(f, line, tokens, log):
    words = line.split(" ")
    if len(words) < 3:                  # what is too long for the command
        say(f, "334 ")
        words.append(f.readline().decode().strip())
    if is_good(base64.b64decode(words[2]).decode(), tokens):
        log("login " + words[1])
        return say(f, "235 2.7.0 welcome")
    log("refused " + words[1])
    say(f, "334 " + base64.b64encode(b'{"status":"invalid_token"}').decode())
    f.readline()
    say(f, "535 5.7.8 not with this token")


def talk(f, tokens, log):
    say(f, "220 oauth.test")
    while line := f.readline().decode().strip():
        verb = line.split(" ")[0].upper()
        if verb == "EHLO":
            say(f, "250-oauth.test\r\n250 AUTH PLAIN OAUTHBEARER XOAUTH2")
        elif verb == "AUTH":
            login(f, line, tokens, log)
        elif verb == "DATA":
            say(f, "354 go on")
            while f.readline() not in (b".\r\n", b""):
                pass
            log("message")
            say(f, "250 2.0.0 taken")
        elif verb == "QUIT":
            log("quit")
            return say(f, "221 bye")
        else:
            say(f, "250 ok")


def main(certificate, key, tokens, path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    print("port", listener.getsockname()[1], flush=True)

    def log(line):
        with open(path, "a") as f:
            f.write(line + "\n")

    while True:
        try:
            with context.wrap_socket(listener.accept()[0], server_side=True) as s:
                talk(s.makefile("rwb"), tokens, log)
        except OSError as e:
            log(str(e))


main(*sys.argv[1:])
