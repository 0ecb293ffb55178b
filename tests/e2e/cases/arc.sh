# Chains of seals (ARC).

it arc_of_whom_we_know "a list's seal makes up for a broken signature if its domain is in arc_sealers, and for nobody else's; what came of it stands in the field and the log"
arc_of_whom_we_know() {
	# what python3-dkim has sealed
	sed -n '/^  arc_changed_by_list:/,/^    cv:/p' tests/conformance/dkim.yml | sed -e '1,2d' -e '/^    cv:/d' -e 's/^      //' -e 's/$/\r/' >"$T/mail"
	{
		sed -n "s/^  \(rsa._domainkey[^:]*\): '\(.*\)'$/\1 TXT \"\2\"/p" tests/conformance/dkim.yml
		echo '_dmarc.example.org TXT "v=DMARC1; p=reject"'
		printf 'sender.test %s\n' 'A 127.0.0.1' 'TXT "v=spf1 +all"'
	} >"$T/dns.zone"
	fakedns dns
	dns=$port
	serve here "resolver = 127.0.0.1:$dns" "relay_from = 192.0.2.0/24" "dmarc = refuse" "judge = off" "spf = note" "arc_sealers = example.net lists.example.org"
	must "taken" inject -p "$(port_of here)" -f list@sender.test -t user@here.test -m "$T/mail"
	within 30 "the message" arrived here user 1
	has 'arc=pass (1, the last by lists.example.org)' "$(mail here user)"
	has 'dmarc=fail (trusted_forwarder) header.from=example.org policy.dmarc=none' "$(mail here user)"
	has ' received .*arc=pass dmarc="fail:example.org none"' "$T/here.log"
	sed 's/^Hello/hello/' "$T/mail" >"$T/changed"
	must "a changed one is not" not inject -p "$(port_of here)" -f list@sender.test -t user@here.test -m "$T/changed" 2>"$T/said"
	has '550 5.7.26 DMARC' "$T/said"
	judged() { "$fardel" judge -c "$T/here.conf" --ip 127.0.0.1 --helo x --from list@sender.test --to user@here.test "$@" "$T/mail" >"$T/said" 2>&1; }
	must "judge" judged
	has '^arc: pass: 1 set holds; sealed by lists.example.org$' "$T/said"
	status_is 1 judged -o 'arc_sealers = example.net'
	has '^refuse dmarc-policy 550' "$T/said"
	status_is 65 "$fardel" dkim-verify -c "$T/here.conf" "$T/mail" >"$T/said"
	has '^arc pass: 1 set holds; sealed by lists.example.org$' "$T/said"
}
