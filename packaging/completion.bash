# Completion of fardel for bash. Commands and settings come from the program itself, so they are those that it has.
# Installed as PREFIX/share/bash-completion/completions/fardel.

_fardel_commands() { fardel help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p'; }
_fardel_settings() { fardel config -c /dev/null 2>/dev/null | sed -n 's/^#\{0,1\}\([a-z_]*\) =.*/\1=/p'; }
# What waits: only who may read the queue sees it.
_fardel_waiting() {
	fardel mailq 2>/dev/null | sed -n -e 's/^\([0-9a-f]\{20,\}\).*/\1/p' -e 's/^ *\([^ ]*@[^ ]*\)$/\1/p' | sort -u
}

_fardel() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} choice=
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		choice="$(_fardel_commands) --help --version"
	elif [ "$before" = -c ]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
	elif [ "$before" = -o ]; then
		compopt -o nospace 2>/dev/null
		choice=$(_fardel_settings)
	else
		case $command in
		serve|flush) choice="-c -o -v --help" ;;
		inetd) choice="-s -c -o -v --help"; [ "$before" = -s ] && choice="smtp submission submissions" ;;
		check) choice="--login --outside -c -o --help" ;;
		setup|config|mkmailbox) choice="-c -o --help" ;;
		mailq) choice="-c -o --json --help" ;;
		dkim-key) choice="-t -b -p --help" ;;
		dkim-sign|dkim-verify|rules) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
		judge)
			choice="--ip --helo --from --to --dns -c -o --help"
			case $word in
			-*) ;;
			*) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
			esac
			;;
		reports) choice="dmarc tls --domain --days --json -c -o --help" ;;
		spf) choice="--ip --helo --from -c -o --help" ;;
		dmarc) choice="--from --spf --dkim -c -o --help" ;;
		top) choice="--once -c -o --help" ;;
		metrics) choice="-c -o --help" ;;
		alias|newaliases) choice="-c -o --help" ;;
		explain) choice="--from --connect -c -o --help" ;;
		why) choice="-v --verbose -c -o --help $(_fardel_waiting)" ;;
		queue)
			choice="-c -o --yes --json --body --reason --id --from --to --domain --older --younger --larger --smaller --state all $(_fardel_waiting)"
			[ "$COMP_CWORD" = 2 ] && choice="list show shape retry hold release drop fail reroute --help"
			[ "$before" = --state ] && choice="held due deferred new"
			;;
		passwd)
			[ "$COMP_CWORD" = 2 ] && choice="-d --help"
			case $word in
			-*) ;;
			*) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
			esac
			;;
		sendmail) choice="-t -i -f -F -N -R -V -C -v -bs -bp -bi -q --at --wait --help" ;;
		help) choice=$(_fardel_commands) ;;
		version) choice=--help ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$choice" -- "$word")
}
complete -F _fardel fardel
