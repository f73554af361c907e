# SPDX-License-Identifier: MIT
# bash completion for husk; "husk help" and husk(1) are the reference for what is here

_husk_names() {
	husk list 2>/dev/null | tail -n +2 | cut -d ' ' -f 1
}

# NAME, then FILE: completes the second one. $1: the word so far, $2: options
_husk_file() {
	if [[ $1 == -* ]] || ((COMP_CWORD == 2)); then
		words="$2 $(_husk_names)"
		return 1
	fi
	compopt -o filenames
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_husk() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
	local words=

	COMPREPLY=()
	# bash splits "--option=value" into three words
	if [[ $cur == "=" ]]; then
		cur=
	elif [[ $prev == "=" ]] && ((COMP_CWORD > 2)); then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W 'run list status stats stop view screenshot record type key
			doctor help --help --version' -- "$cur")
		return
	fi
	case $prev in
	--kernel | -k | --initrd | -i)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames
		return
		;;
	--engine | -e) words='auto kvm bt interp check' ;;
	--cpu) words='host x86-64-v2 x86-64-v3' ;;
	--serial | -s)
		case $cur in
		unix:* | file:*)
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -f -- "${cur#*:}")
			return
			;;
		esac
		words='stdio none unix: file:'
		compopt -o nospace
		;;
	--disk | -D)
		# behind the name of the file, its options
		if [[ $cur == *,* ]]; then
			local -a keys=(ro snapshot=on cache=writeback cache=writethrough cache=direct cache=unsafe serial= queues=
				queue-size= seg-max= size-max= aio=auto aio=io_uring aio=threads discard=off format=raw)
			compopt -o nospace
			mapfile -t COMPREPLY < <(compgen -P "${cur%,*}," -W "${keys[*]}" -- "${cur##*,}")
			return
		fi
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames
		return
		;;
	--net | -N)
		if [[ $cur == *,* ]]; then
			local -a keys=(forward= mac= mtu= host-loopback=on restrict=on hostname=)
			compopt -o nospace
			mapfile -t COMPREPLY < <(compgen -P "${cur%,*}," -W "${keys[*]}" -- "${cur##*,}")
			return
		fi
		words='user tap: tap-fd: socket: none'
		compopt -o nospace
		;;
	--console)
		words='unix: file:'
		compopt -o nospace
		;;
	--display)
		case $cur in
		*,password-file=* | *,tls-cert=* | *,tls-key=*)
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -f -- "${cur##*=}")
			return
			;;
		vnc*,*)
			local -a keys=(password-file= tls-cert= tls-key= tls-anonymous open view-only lossless size= heads= layout= gpu=off)
			compopt -o nospace
			mapfile -t COMPREPLY < <(compgen -P "${cur%,*}," -W "${keys[*]}" -- "${cur##*,}")
			return
			;;
		vnc=unix:*)
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -f -- "${cur#*:}")
			return
			;;
		esac
		words='vnc vnc=unix: vnc=: none'
		compopt -o nospace
		;;
	--layout) words='us gb de fr es it pt se no dk fi ch jp' ;;
	--fps) words='5 10 20 30 60' ;;
	--seconds) words='10s 30s 1m 5m' ;;
	--head) words='0 1 2 3' ;;
	--delay | --hold) words='8ms 20ms 50ms 100ms' ;;
	--vsock)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames
		return
		;;
	--root-ports) words='0 1 2 4 8' ;;
	--memory | -m) words='128M 256M 512M 1G 2G 4G' ;;
	--cpus | -c) words='1 2 4 8' ;;
	--timeout | -t) words='10s 30s 1m 5m' ;;
	--watch | -w) words='1 2 5 10' ;;
	--append | -a | --name | -n | --debug | -d) return ;;
	*)
		case $command in
		run)
			words='--kernel --initrd --append --disk --net --memory --cpus --engine --cpu --serial --console --vsock --display
				--name --no-rng --no-balloon --root-ports --no-reboot --testdev --debug --help'
			;;
		status) words="$(_husk_names) --verbose --json --help" ;;
		stats) words="$(_husk_names) --json --watch --help" ;;
		view) words="$(_husk_names) --print --help" ;;
		screenshot) _husk_file "$cur" '--head --help' && return ;;
		record) _husk_file "$cur" '--fps --seconds --raw --help' && return ;;
		type) words="$(_husk_names) --enter --layout --delay --skip --help" ;;
		key) words="$(_husk_names) ctrl-alt-delete ctrl-alt-f1 ctrl-alt-f2 alt-print-s enter esc tab up down --hold --help" ;;
		stop) words="$(_husk_names) --timeout --force --help" ;;
		list | doctor) words='--help' ;;
		help) words='run list status stats stop view screenshot record type key doctor' ;;
		esac
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _husk husk
