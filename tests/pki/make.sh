#!/bin/sh
# Makes the certificates and keys of the tests in this directory. They are kept in the tree, so that tests need no openssl:
# run this again only to change what they are. The keys protect nothing.
set -eu
cd "$(dirname "$0")"
rm -f ./*.crt ./*.key ./*.pem

# certificate NAME SUBJECT EXTENSION OPTION...: self-signed, for a hundred years, from NAME.key to NAME.crt.
certificate() {
	name=$1 subject=$2 extension=$3
	shift 3
	openssl req -x509 -new -key "$name.key" -sha256 -days 36500 -subj "$subject" ${extension:+-addext "$extension"} "$@" -out "$name.crt"
}
ec() { openssl genpkey -quiet -algorithm EC -pkeyopt "ec_paramgen_curve:$2" -out "$1.key"; }
rsa() { openssl genpkey -quiet -algorithm RSA -pkeyopt "rsa_keygen_bits:$2" -out "$1.key"; }

# One host with both kinds of key.
rsa rsa 2048
certificate rsa /CN=mx.example.org subjectAltName=DNS:mx.example.org
ec ec P-256
certificate ec /CN=mx.example.org subjectAltName=DNS:mx.example.org
# The same keys as older programs write them.
openssl rsa -in rsa.key -traditional -out rsa-pkcs1.key 2>/dev/null
openssl ecparam -name prime256v1 -out ec-sec1.key
openssl ec -in ec.key -out sec1.tmp 2>/dev/null
cat sec1.tmp >>ec-sec1.key
# Without a line end behind the last line.
printf %s "$(cat ec.crt)" >ec-no-newline.crt
printf %s "$(cat ec.key)" >ec-no-newline.key
# Cut off in the middle.
head -n 5 ec.crt >ec-cut.crt
# Other names.
ec other P-256
certificate other /CN=other.example.net 'subjectAltName=DNS:other.example.net,DNS:*.wild.example.net,IP:192.0.2.1'
ec common-name P-256
certificate common-name /O=x/CN=Common.Example.Org ''
# Hosts of a domain with a policy (MTA-STS).
ec sts P-256
certificate sts /CN=mta-sts.y.test 'subjectAltName=DNS:mta-sts.y.test,DNS:mta-sts.z.test,DNS:mx1.test,DNS:mx3.test'
# A certificate of its own kind each.
ec p384 P-384
certificate p384 /CN=p384.example.org subjectAltName=DNS:p384.example.org
ec p521 P-521
certificate p521 /CN=p521.example.org subjectAltName=DNS:p521.example.org
rsa rsa1024 1024
certificate rsa1024 /CN=small.example.org ''
rsa rsa4096 4096
rsa rsa512 512
certificate rsa512 /CN=tiny.example.org ''
openssl genpkey -algorithm ED25519 -out ed25519.key
openssl req -x509 -new -key ed25519.key -days 36500 -subj /CN=ed.example.org -out ed25519.crt
openssl pkcs8 -topk8 -in ec.key -passout pass:x -out encrypted.key
openssl rsa -in rsa.key -aes128 -traditional -passout pass:x -out encrypted-pkcs1.key 2>/dev/null
# A chain: root, intermediate, leaf that was good for one day in the year 2020.
ec root P-256
certificate root /CN=Root '' 2>/dev/null
ec middle P-256
openssl req -new -key middle.key -subj /CN=Middle -out middle.tmp
printf 'basicConstraints=critical,CA:true\n' >ext.tmp
openssl x509 -req -in middle.tmp -CA root.crt -CAkey root.key -CAserial serial.tmp -CAcreateserial -days 36500 -extfile ext.tmp \
	-out middle.crt 2>/dev/null
ec expired P-256
openssl req -new -key expired.key -subj /CN=mx.example.org -out expired.tmp
: >index.tmp
cat >ca.tmp <<TEXT
[ca]
default_ca = it
[it]
database = index.tmp
new_certs_dir = .
serial = serial.tmp
default_md = sha256
policy = any
[any]
commonName = supplied
TEXT
openssl ca -batch -notext -config ca.tmp -in expired.tmp -cert middle.crt -keyfile middle.key -startdate 20200101120000Z \
	-enddate 20200102120000Z -out expired.crt 2>/dev/null
cat middle.crt >>expired.crt
rm -f ./*.tmp ./*.tmp.* [0-9A-F]*.pem middle.key root.key root.crt middle.crt
chmod 644 ./*.key

# authority.crt: one that signs; chain.crt: a server's certificate and that.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=Authority -keyout authority.key -out authority.crt
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=mx.example.org -keyout chain.key -out chain.tmp
echo 'subjectAltName=DNS:mx.example.org' >ext.tmp
openssl x509 -req -in chain.tmp -CA authority.crt -CAkey authority.key -CAserial serial.tmp -CAcreateserial -days 36500 -extfile ext.tmp -out leaf.tmp
cat leaf.tmp authority.crt >chain.crt
rm -f authority.key ./*.tmp
