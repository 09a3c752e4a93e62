# SPDX-License-Identifier: GPL-3.0-or-later
# What integration tests share; sourced, after `set -u`.
#
#   PFS_BIN      folder of the built programs (pfs, pfsctl, slowfs, pfsx)
#   $work        a fresh folder, removed at the end
#   run CASE     runs a function whose name says what must hold
#   finish       last line of a test: prints and returns the verdict
#
# Everything started here is stopped at exit, by pid and mountpoint, also when
# the test is interrupted.  Exit status 77: cannot run here, with the reason.
export LC_ALL=C

: "${PFS_BIN:?the folder of the built programs}"
here=$(cd "$(dirname "$0")" && pwd)
pfs=$PFS_BIN/pfs
pfsctl=$PFS_BIN/pfsctl

skip() {
	echo "skip: $*"
	exit 77
}

[ -x "$pfs" ] || { echo "no $pfs"; exit 1; }
[ -w /dev/fuse ] || skip "/dev/fuse is missing or not writable"

work=$(mktemp -d) || exit 1
chmod 711 "$work" # some cases act as other users
# Sockets and defaults of this test only.
export PFS_RUN_DIR=$work/run
mkdir -m 700 "$PFS_RUN_DIR"
. "$(dirname "${BASH_SOURCE[0]}")/../tools/reports.sh"
reports_to "$work/reports" # finish() fails for them
failures=0
mounts=()
pids=()

fail() {
	echo "  FAILED: $*"
	failures=$((failures + 1))
	return 1
}

# check WHAT GOT OPERATOR WANT: as [ ] compares them
check() {
	test "$2" "$3" "$4" || fail "$1: got '$2', want $3 '$4'"
}

# succeeds COMMAND...
succeeds() {
	local out
	out=$("$@" 2>&1) || fail "'$*' failed: $out"
}

# refused WORD COMMAND...: fails, and its message has the word
refused() {
	local word=$1 out
	shift
	if out=$("$@" 2>&1); then
		fail "'$*' was not refused"
	elif ! grep -qi -- "$word" <<<"$out"; then
		fail "'$*' does not say '$word': $out"
	fi
}

# await SECONDS COMMAND...: until it holds
await() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || { fail "never: $*"; return 1; }
		sleep 0.02
	done
}

# A zombie counts as gone: who reaps it is not our business.
is_gone() {
	! grep -q '^State:.[^Z]' "/proc/$1/status" 2>/dev/null
}

is_mounted() {
	grep -qF " $1 " /proc/self/mounts
}

# status_of MNT KEY: a number or word of `pfsctl status`
status_of() {
	"$pfsctl" -m "$1" status --json 2>/dev/null |
		sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",}]*\).*/\1/p" | head -n 1
}

# counter_of MNT NAME
counter_of() {
	"$pfsctl" -m "$1" stats --json 2>/dev/null |
		sed -n "s/.*\"$2\": *\([0-9]*\).*/\1/p" | head -n 1
}

# run_pfsctl STATUS ARGUMENTS...: exit status as wanted; what it said is in $out
# and $err
run_pfsctl() {
	local want=$1 got
	shift
	timeout 60 "$pfsctl" "$@" >"$work/out" 2>"$work/err"
	got=$?
	out=$(cat "$work/out")
	err=$(cat "$work/err")
	[ $got = "$want" ] ||
		fail "pfsctl $*: exit status $got, want $want; $out $err"
}

says() { # TEXT...: each is in the output
	local text
	for text; do
		grep -qF -- "$text" <<<"$out" || fail "not said: '$text' in: $out"
	done
}

complains() {
	grep -qF -- "$1" <<<"$err" || fail "not complained: '$1' in: $err"
}

json() { # FILTER...: each is true of the output
	local filter
	for filter; do
		jq -e "$filter" >/dev/null 2>&1 <<<"$out" ||
			fail "not so: $filter in: $(jq -c . <<<"$out" |
				cut -c 1-2000)"
	done
}

# start_pfs SRC MNT [OPTION,OPTION...]: store and catalog lie in $work, named
# after the mountpoint, unless the options say otherwise
start_pfs() {
	local src=$1 mnt=$2 name opts
	name=$(basename "$mnt")
	opts=${3:-}
	case ,$opts in
	*,store=*) ;;
	*) opts+=,store=$work/$name.store,store_size=64M ;;
	esac
	case ,$opts in
	*,catalog=*) ;;
	*) opts+=,catalog=$work/$name.catalog/catalog.db ;;
	esac
	mkdir -p "$mnt"
	mounts+=("$mnt")
	"$pfs" "$src" "$mnt" -o "${opts#,}" 2>"$work/$name.err" || {
		fail "pfs does not start: $(cat "$work/$name.err")"
		return 1
	}
	supervisor_pid=$(status_of "$mnt" supervisor_pid)
	worker_pid=$(status_of "$mnt" worker_pid)
	pids+=("$supervisor_pid" "$worker_pid")
	check "supervisor's pid" "${supervisor_pid:-none}" != none
	check "worker's pid" "${worker_pid:-none}" != none
}

detach() {
	if [ "$(id -u)" = 0 ]; then
		umount ${2:+"$2"} "$1"
	else
		fusermount3 -u ${2:+-z} "$1"
	fi
}

# stop_pfs MNT: unmount, and both processes end by themselves
stop_pfs() {
	local sup worker
	sup=$(status_of "$1" supervisor_pid)
	worker=$(status_of "$1" worker_pid)
	check "supervisor's pid at the end" "${sup:-none}" != none
	await 5 detach_quietly "$1"
	await 20 is_gone "${sup:-0}"
	await 20 is_gone "${worker:-0}"
}

# A client's last close may still be under way.
detach_quietly() {
	detach "$1" 2>/dev/null
}

# kill_worker MNT: SIGKILL, and wait for the next one
kill_worker() {
	local pid
	pid=$(status_of "$1" worker_pid)
	kill -9 "$pid"
	await 20 has_other_worker "$1" "$pid"
}

has_other_worker() {
	local now
	now=$(status_of "$1" worker_pid)
	[ -n "$now" ] && [ "$now" != "$2" ] && pids+=("$now")
}

end_daemons() {
	local m p
	for m in "${mounts[@]}"; do
		! is_mounted "$m" || detach "$m" -l 2>/dev/null
	done
	for p in "${pids[@]}"; do
		# Only what is still ours: a pid may be another's by now.
		[ "$(cat "/proc/$p/comm" 2>/dev/null)" = pfs ] &&
			kill "$p" 2>/dev/null
	done
}

cleanup() {
	end_daemons
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

run() {
	local before=$failures
	"$@"
	if [ $failures = "$before" ]; then
		echo "ok $*"
	else
		echo "FAILED $*"
	fi
}

# What leaked is only known once they ended.
no_sanitizer_report() {
	local p

	end_daemons
	for p in "${pids[@]}"; do
		[ "$(cat "/proc/$p/comm" 2>/dev/null)" != pfs ] ||
			await 20 is_gone "$p"
	done
	no_reports || fail "see above"
}

finish() {
	no_sanitizer_report
	echo "$failures failed checks"
	[ $failures = 0 ]
}
