# make-dkim.py KEY RECORD, from the root, writes tests/conformance/dkim.yml: messages that python3-dkim has signed, as they are and changed, with
# what RFC 6376, 8301, 8463 and 8617 make of them. KEY is of RSA with 1024 bits, as PEM (openssl genrsa -traditional), RECORD says "v=DKIM1; k=rsa; p=" and
# its public half. python3-dkim is asked whether a signature holds, too; that it says otherwise is an error, but for LENIENT.
import base64
import sys

import dkim
from nacl.signing import SigningKey

RSA = open(sys.argv[1], "rb").read()
RSA_RECORD = sys.argv[2]
SEED = base64.b64encode(bytes(range(32)))
ED_RECORD = "v=DKIM1; k=ed25519; p=" + base64.b64encode(bytes(SigningKey(bytes(range(32))).verify_key)).decode()
DOMAIN = b"example.org"
P = RSA_RECORD.split("p=")[1]

HEADER = "From: A <a@example.org>\nTo: b@example.net\nDate: Fri, 11 Jul 2003 21:00:37 -0700\nMessage-ID: <1@x>\n"
MESSAGES = {
    "plain": HEADER + "Subject: plain\n\nHello\n",
    "blanks": HEADER + "Subject:   folded\n \t and \t so\n\ton\n\nHello  \t there \n \n\t\n",
    "empty": HEADER + "Subject: empty\n\n",
    "lines": HEADER + "Subject: lines\n\n\n\n\n",
    "leading": HEADER + "Subject: leading\n\n\n\nx\n\n\ny\n\n\n",
    "trailing": HEADER + "Subject: trailing\n\nx \n\n\n\n",
    "colon": HEADER + "Subject:no blank behind the colon\nX-A: 1\nX-A: 2\n\n.\n..\n",
    "nothing": HEADER + "Subject:\nX-Nothing: \nX-Blanks: \t\n \n\nx\n",
    "case": "FROM: a@example.org\nto: b@example.net\nSuBjEcT: Case\n\nX\n",
    "utf8": HEADER + "Subject: gr\u00fc\u00dfe \u4f8b\n\nb\u00fccher  \n",
    "inside": HEADER + "Subject: a  b\t\tc\n\na  b\t\tc\n  leading\n",
    "unended": HEADER + "Subject: no line end\n\nlast line",
    "long": HEADER + "Subject: " + "x" * 900 + "\n\n" + "y" * 990 + "\n",
    "only": "From: a@example.org\n\n",
}
known = {
    "rsa._domainkey.example.org": RSA_RECORD, "ed._domainkey.example.org": ED_RECORD,
    "test._domainkey.example.org": RSA_RECORD.replace("p=", "t=y; p="), "strict._domainkey.example.org": RSA_RECORD.replace("p=", "t=s; p="),
    "revoked._domainkey.example.org": "v=DKIM1; p=", "sha1._domainkey.example.org": RSA_RECORD.replace("p=", "h=sha1; p="),
    "other._domainkey.example.org": RSA_RECORD.replace("p=", "s=other; p="), "all._domainkey.example.org": RSA_RECORD.replace("p=", "s=other:*; h=sha1 : sha256; n=note; p="),
    "version._domainkey.example.org": RSA_RECORD.replace("DKIM1", "DKIM2"), "bare._domainkey.example.org": "p=" + P,
    "late._domainkey.example.org": "k=rsa; v=DKIM1; p=" + P, "broken._domainkey.example.org": "v=DKIM1; p=" + P[:100],
    "kind._domainkey.example.org": RSA_RECORD.replace("k=rsa", "k=ed25519"), "unknown._domainkey.example.org": RSA_RECORD.replace("k=rsa", "k=dsa"),
    "text._domainkey.example.org": "v=spf1 -all", "white._domainkey.example.org": "v=DKIM1 ; k = rsa ;\t p = " + P[:60] + " " + P[60:],
}


def wire(text):
    return text.encode().replace(b"\n", b"\r\n")


def sign(text, canon="relaxed/relaxed", kind="rsa", selector=None, identity=None, length=False):
    header, body = canon.split("/")
    ed = kind == "ed"
    field = dkim.sign(wire(text), (selector or kind).encode(), DOMAIN, SEED if ed else RSA, identity=identity.encode() if identity else None,
                      canonicalize=(header.encode(), body.encode()), signature_algorithm=b"ed25519-sha256" if ed else b"rsa-sha256", length=length)
    return field.decode().replace("\r\n", "\n") + text


def verify(text):
    message = wire(text)
    out = []
    for i in range(message.split(b"\r\n\r\n")[0].lower().count(b"dkim-signature:")):
        try:
            good = dkim.DKIM(message).verify(i, dnsfunc=lambda name, timeout=5: known.get(name.decode().rstrip("."), "").encode() or None)
        except Exception:
            good = False
        out.append(good)
    return out


cases = []
# It knows neither t=s nor h= of a key, does not read s= as a list, and takes v= anywhere.
LENIENT = {"key_strict_below", "key_sha1", "key_all", "key_late"}


def case(name, text, wanted):
    holds = [w in ("pass", "policy") for w in wanted.split()]
    if wanted != "none" and verify(text) != holds and name not in LENIENT:
        sys.exit("%s: python3-dkim says %s, expected %s" % (name, verify(text), wanted))
    cases.append((name, text, wanted))


def replace(text, old, new):
    assert old in text, old
    return text.replace(old, new, 1)


kinds = ["rsa", "ed"]
n = 0
for name, text in MESSAGES.items():
    for canon in ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"):
        case("%s_%s" % (name, canon.replace("/", "_")), sign(text, canon, kinds[n % 2]), "pass")
        n += 1
    n += 1
plain = MESSAGES["plain"]
for kind in kinds:
    signed = sign(plain, "relaxed/relaxed", kind)
    case("changed_body_" + kind, replace(signed, "Hello", "hello"), "fail")
    case("changed_subject_" + kind, replace(signed, "Subject: plain", "Subject: Plain"), "fail")
    case("changed_hash_" + kind, replace(signed, "bh=", "bh=A"), "permerror")
case("both", sign(sign(plain, "relaxed/simple", "ed"), "simple/relaxed", "rsa"), "pass pass")
case("both_first_changed", replace(sign(sign(plain, "relaxed/simple", "ed"), "simple/relaxed", "rsa"), "s=ed;", "s=edd;"), "pass permerror")
case("unsigned", plain, "none")
for canon, trailing, blanks, folded in (("simple/simple", "pass", "fail", "fail"), ("relaxed/relaxed", "pass", "pass", "pass"),
                                        ("simple/relaxed", "pass", "pass", "fail"), ("relaxed/simple", "pass", "fail", "pass")):
    signed = sign(plain, canon)
    tag = canon.replace("/", "_")
    case("trailing_lines_" + tag, signed + "\n\n\n", trailing)
    case("trailing_blanks_" + tag, replace(signed, "Hello", "Hello \t"), blanks)
    case("blank_line_" + tag, signed + "  \n", blanks)
    case("folded_" + tag, replace(signed, "Subject: plain", "Subject:\n  plain"), folded)
    case("unended_" + tag, signed[:-1], "pass")
    case("line_between_" + tag, replace(signed, "Hello", "\nHello"), "fail")
    case("blank_between_" + tag, replace(sign(MESSAGES["inside"], canon), "\na  b", "\na b"), blanks)
    case("name_in_capitals_" + tag, replace(signed, "Subject:", "SUBJECT:"), folded)
    case("added_unsigned_" + tag, "X-Added: 1\n" + signed, "pass")
case("added_from", "From: c@example.org\n" + sign(plain), "fail")
case("other_order", replace(sign(HEADER + "X-A: 1\nX-A: 2\nSubject: s\n\nx\n"), "X-A: 1\nX-A: 2", "X-A: 2\nX-A: 1"), "pass")
case("length", sign(plain, length=True), "pass")
case("appended_behind_l", sign(plain, length=True) + "more\n", "policy")
case("l_too_large", replace(sign(plain, length=True), "Hello\n", "Hell\n"), "permerror")
case("length_simple", sign(MESSAGES["trailing"], "simple/simple", length=True), "pass")
case("test_key_changed", replace(sign(plain, selector="test"), "Hello", "hello"), "neutral")
case("key_test", sign(plain, selector="test"), "pass")
case("key_strict", sign(plain, selector="strict", identity="@example.org"), "pass")
case("key_strict_below", sign(plain, selector="strict", identity="@sub.example.org"), "permerror")
case("identity_below", sign(plain, identity="a@sub.example.org"), "pass")
for selector, wanted in (("revoked", "permerror"), ("missing", "permerror"), ("sha1", "permerror"), ("other", "permerror"), ("all", "pass"), ("version", "permerror"),
                         ("bare", "pass"), ("late", "permerror"), ("broken", "permerror"), ("kind", "permerror"), ("unknown", "permerror"), ("text", "permerror"),
                         ("white", "pass")):
    case("key_" + selector, sign(plain, selector=selector), wanted)
signed = sign(plain)
case("v2", replace(signed, "v=1;", "v=2;"), "permerror")
case("no_v", replace(signed, "v=1; ", ""), "permerror")
case("sha1", replace(signed, "a=rsa-sha256", "a=rsa-sha1"), "permerror")
case("unknown_algorithm", replace(signed, "a=rsa-sha256", "a=rsa-sha512"), "neutral")
case("wrong_kind", replace(signed, "a=rsa-sha256", "a=ed25519-sha256"), "permerror")
case("unknown_form", replace(signed, "c=relaxed/relaxed", "c=nowsp"), "permerror")
case("no_domain", replace(signed, "d=example.org;", ""), "permerror")
case("no_selector", replace(signed, "s=rsa;", ""), "permerror")
case("twice", replace(signed, "d=example.org;", "d=example.org; d=example.org;"), "permerror")
case("unknown_tag", replace(signed, "v=1;", "v=1; zz=1;"), "fail")



def seal(text, domain="example.org", found="pass"):
    """The same behind a set of ARC, by a domain that has found the chain so."""
    head = "Authentication-Results: %s; spf=pass smtp.mailfrom=example.org;\n dmarc=pass (p=reject) header.from=example.org%s\n" % (
        domain, "; arc=" + found if "ARC-Seal:" in text else "")
    lines = dkim.arc_sign(wire(head + text), b"rsa", domain.encode(), RSA, domain.encode())
    return "".join(line.decode().replace("\r\n", "\n") for line in lines) + text


chains = []


def chain(name, text, wanted):
    holds = (dkim.arc_verify(wire(text), dnsfunc=lambda name, timeout=5: known.get(name.decode().rstrip("."), "").encode() or None)[0] or b"fail").decode()
    if holds != wanted:
        sys.exit("%s: python3-dkim says %s, expected %s" % (name, holds, wanted))
    chains.append((name, text, wanted))


known["rsa._domainkey.lists.example.org"] = RSA_RECORD
one = seal(sign(plain))
two = seal(one, "lists.example.org")
chain("arc_none", plain, "none")
chain("arc_one", one, "pass")
chain("arc_two", two, "pass")
chain("arc_three", seal(two), "pass")
# lists break signatures, and seal what they have made
chain("arc_changed_by_list", seal(replace(sign(plain), "Hello", "Hello list"), "lists.example.org"), "pass")
chain("arc_changed_between", seal(replace(one, "Hello", "Hello list"), "lists.example.org"), "pass")
chain("arc_found_broken", seal(one, "lists.example.org", "fail"), "fail")
chain("arc_changed_behind", replace(two, "Hello", "Hello list"), "fail")
chain("arc_results_changed", replace(two, "header.from=example.org", "header.from=bank.example"), "fail")
chain("arc_set_missing", replace(two, "i=1;", "i=7;"), "fail")

with open("tests/conformance/dkim.yml", "w") as out:
    out.write("# Written by make-dkim.py with python3-dkim.\ndescription: signatures of another program, whole and changed\ntests:\n")
    for name, text, wanted in cases:
        trailing = len(text) - len(text.rstrip("\n"))
        style = "|-" if trailing == 0 else "|" if trailing == 1 else "|+"
        lines = text.split("\n")[:-1] if trailing else text.split("\n")
        out.write("  %s:\n    message: %s\n%s    dkim: %s\n" % (name, style, "".join("      " + line + "\n" if line else "\n" for line in lines), wanted))
    for name, text, wanted in chains:
        out.write("  %s:\n    message: |\n%s    cv: %s\n" % (name, "".join("      " + line + "\n" if line else "\n" for line in text.split("\n")[:-1]), wanted))
    out.write("txt-records:\n" + "".join("  %s: '%s'\n" % pair for pair in known.items()))
print(len(cases) + len(chains), "cases")
