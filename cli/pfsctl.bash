# SPDX-License-Identifier: GPL-3.0-or-later
# bash completion for pfsctl(8)                            -*- shell-script -*-

_pfsctl_lines()
{
	local word
	while IFS= read -r word; do
		[[ $word == "$cur"* ]] && COMPREPLY+=("$word")
	done
}

_pfsctl()
{
	local cur prev verb='' mount=() i
	local verbs='status stats images map drop verify fsck set upgrade stop
		metrics list'
	COMPREPLY=()
	cur=${COMP_WORDS[COMP_CWORD]}
	prev=${COMP_WORDS[COMP_CWORD - 1]}

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-m | --mount)
			mount=(-m "${COMP_WORDS[++i]}")
			;;
		--store | --catalog) ((i++)) ;;
		-*) ;;
		*) verb=${verb:-${COMP_WORDS[i]}} ;;
		esac
	done

	case $prev in
	-m | --mount)
		compopt -o filenames
		_pfsctl_lines < <(pfsctl complete mounts 2>/dev/null)
		return
		;;
	--store | --catalog)
		compopt -o default
		return
		;;
	esac

	if [[ $cur == -* ]]; then
		local options='--help'
		case $verb in
		fsck) options+=' --json --store --catalog' ;;
		list) options+=' --json' ;;
		'') options+=' --version --mount --json' ;;
		*) options+=' --mount --json' ;;
		esac
		case $verb in
		drop) options+=' --all' ;;
		images) options+=' --skipped' ;;
		stop) options+=' --force' ;;
		upgrade) options+=' --supervisor' ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
	fi

	case $verb in
	'') mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$cur") ;;
	map | drop | verify)
		compopt -o filenames
		_pfsctl_lines < <(pfsctl complete images "${mount[@]}" \
			2>/dev/null)
		;;
	set)
		compopt -o nospace
		mapfile -t COMPREPLY < <(compgen -W \
			'log= max_background=' -- "$cur")
		;;
	upgrade) compopt -o default ;;
	esac
}
complete -F _pfsctl pfsctl
