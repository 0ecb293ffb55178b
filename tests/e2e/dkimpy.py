# What python3-dkim says, for tests/e2e/cases/dkim.sh:
#   dkimpy.py verify ZONE MESSAGE            "pass" or "fail" for each signature, first one first
#   dkimpy.py sign KEY SELECTOR DOMAIN CANON ALGORITHM <MESSAGE    the signature's field; KEY is PEM, of Ed25519 the bare seed in base64
import sys

import dkim


def keys(path):
    found = {}
    for line in open(path):
        name, kind, record = line.rstrip("\n").split(" ", 2)
        if kind == "TXT":
            found[name] = record.replace('" "', "").strip('"').encode()
    return found


def verify(zone, path):
    message = open(path, "rb").read()
    known = keys(zone)
    signatures = message.split(b"\r\n\r\n")[0].lower().count(b"dkim-signature:")
    for i in range(signatures):
        try:
            holds = dkim.DKIM(message).verify(i, dnsfunc=lambda name, timeout=5: known.get(name.decode().rstrip(".")))
        except dkim.DKIMException as e:
            holds = False
            print(e, file=sys.stderr)
        print("pass" if holds else "fail")


def sign(key, selector, domain, canon, algorithm):
    header, body = canon.split("/")
    message = sys.stdin.buffer.read()
    sys.stdout.buffer.write(dkim.sign(message, selector.encode(), domain.encode(), open(key, "rb").read().strip() if algorithm.startswith("ed") else
                                      open(key, "rb").read(), canonicalize=(header.encode(), body.encode()), signature_algorithm=algorithm.encode(),
                                      length=False))


if sys.argv[1] == "verify":
    verify(*sys.argv[2:])
else:
    sign(*sys.argv[2:])
