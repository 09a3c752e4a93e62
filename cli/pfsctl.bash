# SPDX-License-Identifier: GPL-3.0-or-later
# bash completion for pfsctl(8)                            -*- shell-script -*-

_pfsctl_lines()
{
	local word
	while IFS= read -r word; do
		[[ $word == "$cur"* ]] && COMPREPLY+=("$word")
	done
}

_pfsctl_images()
{
	compopt -o filenames
	_pfsctl_lines < <(pfsctl complete images "${mount[@]}" 2>/dev/null)
}

_pfsctl()
{
	local cur prev verb='' action='' mount=() i
	local verbs='status stats images map drop why warm pin unpin pins recording
		trace verify fsck set upgrade stop metrics list simulate'
	COMPREPLY=()
	cur=${COMP_WORDS[COMP_CWORD]}
	prev=${COMP_WORDS[COMP_CWORD - 1]}

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-m | --mount)
			mount=(-m "${COMP_WORDS[++i]}")
			;;
		-o | --output | --seconds | --vm | --store | --catalog | \
			--train | --test | --predictor | --without | \
			--chunk | --store-percent | --store-bytes | --store-policy | \
			--source-latency-us | --store-latency-us | --source-mbps | --seed)
			((i++))
			;;
		-*) ;;
		*)
			[[ ! $verb || $action ]] || action=${COMP_WORDS[i]}
			verb=${verb:-${COMP_WORDS[i]}}
			;;
		esac
	done

	case $prev in
	-m | --mount)
		compopt -o filenames
		_pfsctl_lines < <(pfsctl complete mounts 2>/dev/null)
		return
		;;
	-o | --output | --store | --catalog | --train | --test)
		compopt -o default
		return
		;;
	--predictor | --without)
		mapfile -t COMPREPLY < <(compgen -W \
			'none sequential replay markov auto' -- "$cur")
		return
		;;
	--store-policy)
		mapfile -t COMPREPLY < <(compgen -W 'lru daemon' -- "$cur")
		return
		;;
	esac

	if [[ $cur == -* ]]; then
		local options='--help'
		case $verb in
		fsck) options+=' --json --store --catalog' ;;
		list) options+=' --json' ;;
		simulate)
			options+=' --json --train --test --predictor --without
				--chunk --store-percent --store-bytes --store-policy
				--keep-store --source-latency-us --store-latency-us
				--source-mbps --closed-loop --seed'
			;;
		'') options+=' --version --mount --json' ;;
		*) options+=' --mount --json' ;;
		esac
		case $verb in
		drop) options+=' --all' ;;
		stats) options+=' --vm' ;;
		warm) options+=' --recording --wait' ;;
		recording) options+=' --all --output' ;;
		trace) options+=' --output --seconds' ;;
		images) options+=' --skipped' ;;
		stop) options+=' --force' ;;
		upgrade) options+=' --supervisor' ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi

	case $verb in
	'') mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur") ;;
	recording)
		if [[ ! $action ]]; then
			mapfile -t COMPREPLY < <(compgen -W \
				'list show export import drop' -- "$cur")
			return
		fi
		[[ $action != import ]] || compopt -o default
		_pfsctl_images
		;;
	map | drop | verify | stats | why | warm | pin | unpin | pins | trace)
		_pfsctl_images
		;;
	set)
		compopt -o nospace
		mapfile -t COMPREPLY < <(compgen -W \
			'log= max_background= prefetch= trust= proposer.sequential=
			proposer.replay= proposer.markov=' -- "$cur")
		;;
	upgrade) compopt -o default ;;
	esac
}
complete -F _pfsctl pfsctl
