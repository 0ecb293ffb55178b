# Who may come in: what the reader of a mailbox does with his mail decides about the next.

boxes() { find "$T/here.mail/user/$1" -type f 2>/dev/null | grep -c '/\(new\|cur\)/'; }
rejects() { [ "$(boxes .Rejects)" = "$1" ]; }

it reader_decides "mail like what was moved to Junk is refused and kept, what is taken out of Rejects is learnt, each recipient has his way, and fardel judge says why"
reader_decides() {
	cat >"$T/dns.zone" <<-'END'
	good.test MX 10 mx.good.test
	good.test TXT "v=spf1 ip4:127.0.0.1 -all"
	bad.test MX 10 mx.good.test
	bad.test TXT "v=spf1 ip4:192.0.2.1 -all"
	mx.good.test A 192.0.2.1
	END
	fakedns dns
	serve here "resolver = 127.0.0.1:$port" "relay_from = 192.0.2.0/24" "judge = refuse"
	at=$(port_of here)
	printf 'From: Anna <anna@good.test>\r\nTo: user@here.test\r\nSubject: x\r\nMessage-ID: <1@good.test>\r\n\r\ntext\r\n' >"$T/one"
	sed 's/<1@/<2@/' "$T/one" >"$T/two"
	inbox=$T/here.mail/user
	mkdir -p "$inbox/.Junk/cur"

	must "the first one" inject -p "$at" -f anna@good.test -t user@here.test -m "$T/one"
	within 30 "the message" arrived here user 1
	has '^X-Fardel-Reason: no-bad-signals; id=' "$(mail here user)"
	has '^+ [0-9]* [0-9a-f]* no-bad-signals anna@good.test fm ' "$inbox/fardel.history"
	has ' received .* reason=no-bad-signals' "$T/here.log"

	first=$(mail here user)
	mv "$first" "$inbox/.Junk/cur/$(basename "$first"):2,S"
	for again in 1 2; do
		refused=$(inject -p "$at" -f anna@good.test -t user@here.test -m "$T/two" 2>&1) && fail "what is junk was taken"
		case $refused in *'451 4.7.1 '*) ;; *) fail "it hears $refused" ;; esac
		must "one copy in Rejects, not $(boxes .Rejects)" rejects 1
	done
	has ' unwanted .* to=user@here.test .* reason=msgfromfull' "$T/here.log"
	has ' rejected .* stage=DATA .* code=451 status=4.7.1 token=msgfromfull reason="Not accepted' "$T/here.log"
	status_is 1 "$fardel" judge -c "$T/here.conf" --ip 127.0.0.1 --helo h.test --from anna@good.test --to user@here.test "$T/two" >"$T/said"
	has '^refuse msgfromfull 451 4.7.1 ' "$T/said"
	has '^asked: TXT good.test: v=spf1' "$T/said"
	status_is 1 "$fardel" judge -c "$T/here.conf" --ip 127.0.0.1 --from anna@good.test --to nobody@here.test "$T/two" >"$T/said"
	has '^refuse no-recipient 550 5.1.1 ' "$T/said"
	status_is 1 "$fardel" judge -c "$T/here.conf" --ip 127.0.0.1 --from anna@good.test --to user@elsewhere.test "$T/two" >"$T/said"
	has '^refuse no-recipient 550 5.7.1 ' "$T/said"

	must "for one of two" inject -p "$at" -f anna@good.test -t user@here.test -t sender@here.test -m "$T/two"
	within 30 "his message" arrived here sender 1
	must "not for the other" arrived here user 0
	must "one copy in Rejects" rejects 1

	kept=$(find "$inbox/.Rejects/new" -type f)
	has '^X-Fardel-Reason: refused:msgfromfull; id=' "$kept"
	mv "$kept" "$inbox/cur/$(basename "$kept"):2,S"
	must "what was rescued" inject -p "$at" -f anna@good.test -t user@here.test -m "$T/one"
	within 30 "the message" arrived here user 1
	has '^X-Fardel-Reason: msgfromfull; id=' "$(mail here user)"

	refused=$(inject -p "$at" -f x@bad.test -t user@here.test 2>&1) && fail "a stranger whom SPF refuses was taken"
	case $refused in *'451 4.7.23 '*) ;; *) fail "it hears $refused" ;; esac
	drained here
	[ -z "$(ls "$T/here.queue/bad")" ] || fail "something lies in bad/"
}

it killed_while_judging "who is killed while mail is judged has neither lost what was answered 250 nor left a mailbox that cannot be read"
killed_while_judging() {
	serve here "relay_from = 192.0.2.0/24" "judge = refuse" "spf = off" "check_sender = no" "check_dkim = no"
	here=$pid
	begin load "$tools/inject" -p "$(port_of here)" -f a@x.test -t user@here.test -n 400 -s 4 -k -a "$T/acks"
	load=$pid
	for turn in 1 2 3; do
		within 30 "some mail" sh -c '[ "$(wc -l <"$1" 2>/dev/null || echo 0)" -ge "$2" ]' - "$T/acks" $((turn * 80))
		end "$here" KILL
		start here
		here=$pid
	done
	within 60 "the load's end" gone "$load"
	drained here 60
	for token in $(grep -v '^?' "$T/acks"); do
		grep -rqs "$token" "$T/here.mail/user/new" || fail "$token was answered 250 and is not there"
	done
	must "asked" "$fardel" judge -c "$T/here.conf" --ip 127.0.0.1 --from a@x.test --to user@here.test "$(find "$T/here.mail/user/new" -type f | head -n 1)" >"$T/said"
	has '^accept' "$T/said"
}

it rules_of_mailboxes "rules and user_rules: mail that a list vouches for is taken into its folder whatever DMARC says, what would be refused goes where its reader says, and nobody else's mail is touched"
rules_of_mailboxes() {
	cat >"$T/dns.zone" <<-'END'
	lists.test MX 10 mx.lists.test
	lists.test TXT "v=spf1 ip4:127.0.0.1 -all"
	mx.lists.test A 192.0.2.1
	bad.test MX 10 mx.lists.test
	bad.test TXT "v=spf1 ip4:192.0.2.1 -all"
	author.test MX 10 mx.lists.test
	_dmarc.author.test TXT "v=DMARC1; p=reject"
	END
	fakedns dns
	echo 'sender verified=lists.test list=*dev* folder=Dev allow' >"$T/rules"
	serve here "resolver = 127.0.0.1:$port" "relay_from = 192.0.2.0/24" "judge = refuse" "first_time_delay = 0" "rules = $T/rules" "user_rules = yes"
	at=$(port_of here)
	printf '# mine\nverified=lists.test folder=Lists allow\nsender=*@bad.test refused=Junk\nfolder=x\n' >"$T/here.mail/user/fardel.rules"
	printf 'From: x@author.test\r\nTo: dev@lists.test\r\nList-Id: <dev.lists.test>\r\nMessage-ID: <1@x>\r\n\r\ntext\r\n' >"$T/list"
	printf 'From: x@bad.test\r\nTo: user@here.test\r\nMessage-ID: <2@x>\r\n\r\ntext\r\n' >"$T/bad"

	must "the list's" inject -p "$at" -f b@lists.test -t user@here.test -t sender@here.test -m "$T/list"
	within 30 "user's" sh -c '[ "$(ls "$1/user/.Lists/new" | wc -l)" = 1 ]' - "$T/here.mail" 2>/dev/null
	within 30 "sender's" sh -c '[ "$(ls "$1/sender/.Dev/new" | wc -l)" = 1 ]' - "$T/here.mail" 2>/dev/null
	has '^X-Fardel-Reason: list-allow; id=' "$(find "$T/here.mail/user/.Lists/new" -type f)"
	refused=$(inject -p "$at" -f b@lists.test -t postmaster@here.test -m "$T/list" 2>&1) && fail "postmaster has no such rule"
	case $refused in *'550 5.7.26 '*) ;; *) fail "it hears $refused" ;; esac

	must "what he wants to see" inject -p "$at" -f x@bad.test -t user@here.test -m "$T/bad"
	within 30 "it" sh -c '[ "$(ls "$1/user/.Junk/new" | wc -l)" = 1 ]' - "$T/here.mail" 2>/dev/null
	has '^X-Fardel-Reason: unwanted:spf-policy; id=' "$(find "$T/here.mail/user/.Junk/new" -type f)"
	refused=$(inject -p "$at" -f x@bad.test -t sender@here.test -m "$T/bad" 2>&1) && fail "the other has no such rule"
	case $refused in *'451 4.7.23 '*) ;; *) fail "it hears $refused" ;; esac

	must "judge" "$fardel" judge -c "$T/here.conf" --ip 127.0.0.1 --from b@lists.test --to user@here.test "$T/list" >"$T/said"
	has '^accept list-allow' "$T/said"
	has "^rule: line 2 of the mailbox's own" "$T/said"
	has '^rule: folder Lists' "$T/said"
	has '^asked: rule user ' "$T/said"
	status_is 65 "$fardel" rules "$T/here.mail/user/fardel.rules" >"$T/said"
	has 'fardel.rules:4: it has no condition. Write verified=' "$T/said"
	echo 'user list=x folder=../y' >>"$T/rules"
	"$fardel" check -c "$T/here.conf" >"$T/check" 2>&1
	has "error: rules: $T/rules:2: ../y is no folder" "$T/check"
	drained here
}

it words_for_the_subject "subject_pass: who is refused for a list and whose domain speaks for him is told a word; with it in the subject he comes in, after a new start too, and nobody else does"
words_for_the_subject() {
	cat >"$T/dns.zone" <<-'END'
	listed.test MX 10 mx.listed.test
	listed.test TXT "v=spf1 ip4:127.0.0.1 -all"
	mx.listed.test A 192.0.2.1
	_dmarc.listed.test TXT "v=DMARC1; p=reject"
	test.rhs.test A 127.0.0.2
	listed.test.rhs.test A 127.0.0.4
	END
	fakedns dns
	serve here "resolver = 127.0.0.1:$port" "relay_from = 192.0.2.0/24" "judge = refuse" "rhsbl = rhs.test" "subject_pass = 12h"
	here=$pid
	at=$(port_of here)
	write() { printf 'From: Anna <%s@listed.test>\r\nTo: user@here.test\r\nMessage-ID: <%s@x>\r\nSubject: hello %s\r\n\r\ntext\r\n' "$1" "$3" "$2" >"$T/message"; }
	write anna '' 1
	refused=$(inject -p "$at" -f anna@listed.test -t user@here.test -m "$T/message" 2>&1) && fail "who is listed was taken"
	word=$(printf '%s\n' "$refused" | grep -o '(pass:[A-Za-z0-9_-]*)')
	case $refused in *'550 5.7.1 '*"$word"*) ;; *) fail "it hears $refused" ;; esac
	[ "$word" ] || fail "no word in: $refused"
	end "$here"
	start here
	write ben "$word" 2
	inject -p "$at" -f ben@listed.test -t user@here.test -m "$T/message" >/dev/null 2>&1 && fail "it is good for ben"
	write anna "$word" 3
	inject -p "$at" -f anna@listed.test -t sender@here.test -m "$T/message" >/dev/null 2>&1 && fail "it is good for another mailbox"
	must "anna, with the word" inject -p "$at" -f anna@listed.test -t user@here.test -m "$T/message"
	within 30 "her message" arrived here user 1
	has '^X-Fardel-Reason: subjectpass; id=' "$(mail here user)"
	must "judge" "$fardel" judge -c "$T/here.conf" --ip 127.0.0.1 --from anna@listed.test --to user@here.test "$T/message" >"$T/said"
	has '^accept subjectpass' "$T/said"
	has '^subject: the word in it was given to this sender' "$T/said"

	mkdir -p "$T/here.mail/user/.Kept/cur"
	mv "$(mail here user)" "$T/here.mail/user/.Kept/cur/1_$(sed -n 's/^X-Fardel-Reason:.*id=\([0-9a-f]*\);.*/\1/p' "$(mail here user)").here.test:2,S"
	write anna '' 4
	must "who is known is let in, listed or not" inject -p "$at" -f anna@listed.test -t user@here.test -m "$T/message"
}

it dmarc_on_trial "judge = refuse: whose policy is on trial (t=y, pct=0) has no mail refused for it; whose is not, quarantine or reject, has"
dmarc_on_trial() {
	cat >"$T/dns.zone" <<-'END'
	plain.test MX 10 mx.plain.test
	mx.plain.test A 192.0.2.1
	_dmarc.tried.test TXT "v=DMARC1; p=reject; t=y"
	_dmarc.none.test TXT "v=DMARC1; p=reject; pct=0"
	_dmarc.suspect.test TXT "v=DMARC1; p=quarantine"
	_dmarc.meant.test TXT "v=DMARC1; p=reject"
	END
	fakedns dns
	serve here "resolver = 127.0.0.1:$port" "relay_from = 192.0.2.0/24" "judge = refuse" "first_time_delay = 0"
	from() {
		printf 'From: x@%s.test\r\nTo: user@here.test\r\nMessage-ID: <%s@x>\r\n\r\ntext\r\n' "$1" "$1" >"$T/message"
		inject -p "$(port_of here)" -f b@plain.test -t user@here.test -m "$T/message" 2>&1
	}
	for domain in tried none; do must "mail from $domain.test" from $domain; done
	for domain in suspect meant; do
		refused=$(from $domain) && fail "$domain.test means it"
		case $refused in *'550 5.7.26 '*'its policy is against such mail'*) ;; *) fail "it hears $refused" ;; esac
	done
	drained here
}
