# SPDX-License-Identifier: GPL-3.0-or-later
# What fault tests share beside ../integration/lib.sh; sourced, after `set -u`.
#
#   PFS_LONG=1         the full figures; else a few seconds' worth
#   figure SHORT LONG  the one that holds
#   load ARGUMENTS     pfsx, bounded; its verdict in $verdict
#   $work/pids         processes that helpers in the background started
. "$(dirname "$0")/../integration/lib.sh"

pfsx=$PFS_BIN/pfsx
slowfs=$PFS_BIN/slowfs
verdict=
export TMPDIR=$work # where a failing pfsx keeps its state
: "${SEED:=1}"

figure() {
	if [ "${PFS_LONG:-}" = 1 ]; then
		echo "$2"
	else
		echo "$1"
	fi
}

# The short form shares its machine with other tests: there a stall says
# little, so only the long one holds pfs to the figure.
stall_limit() {
	figure $(($1 + 9500)) "$1"
}

has_root() {
	[ "$(id -u)" = 0 ]
}

# load ARGUMENTS...: status of pfsx
load() {
	timeout -k 10 "$(figure 200 7200)" "$pfsx" --seed "$SEED" --hang 60 \
		"$@" >"$work/load.out" 2>"$work/load.err"
	local status=$?
	verdict=$(grep '^pfsx:' "$work/load.out" | tail -n 1)
	return $status
}

# loads_well ARGUMENTS...: nothing may be wrong
loads_well() {
	load "$@" || fail "pfsx $*: status $?
$(grep -v '^pfsx: the expected' "$work/load.err" | head -n 12)
$verdict"
}

# finds_the_bug ARGUMENTS...: pfsx must see differences
finds_the_bug() {
	load "$@" && { fail "not found: pfsx $*"; return; }
	grep -q DIFFERENCE "$work/load.err" ||
		fail "something else: $(head -n 5 "$work/load.err") $verdict"
}

# value NAME: of the last verdict
value() {
	sed -n "s/.* $1=\([^ ]*\).*/\1/p" <<<"$verdict"
}

# figures NAME...: one line, as `name=value ...`
figures() {
	local name
	for name in "$@"; do
		printf '%s=%s ' "$name" "$(value "$name")"
	done
	echo
}

# counter_moved MNT NAME
counter_moved() {
	check "counter $2" "$(counter_of "$1" "$2")" -gt 0
}

# write_script NAME: from stdin, with our programs and folders known to it
write_script() {
	{
		echo '#!/bin/bash'
		declare -p work pfs pfsctl PFS_RUN_DIR | sed 's/^declare -[a-z-]*/export/'
		declare -f status_of
		cat
	} >"$work/$1"
	chmod +x "$work/$1"
}

# write_kill_script NAME MNT: SIGKILL of the worker
write_kill_script() {
	write_script "$1" <<-END
		pid=\$(status_of "$2" worker_pid)
		[ -n "\$pid" ] && kill -9 "\$pid"
	END
}

# start_slowfs SRC MNT OPTIONS
start_slowfs() {
	mkdir -p "$2"
	mounts+=("$2")
	"$slowfs" "$1" "$2" -o "pidfile=$work/slowfs.pid,$3" ||
		{ fail "slowfs does not start"; return 1; }
}

stop_slowfs() {
	await 10 detach_quietly "$1"
}

# shut_down FOLDER: the file system of it, without writing its log.  So does
# `xfs_io -x -c shutdown`, which first looks at every mount of the machine and
# hangs where another one does.
shut_down() {
	python3 - "$1" <<-END || fail "$1 cannot be shut down"
		import fcntl, os, struct, sys
		GOINGDOWN = 0x8004587d # of XFS and of ext4
		NO_LOG_FLUSH = 2
		fd = os.open(sys.argv[1], os.O_RDONLY)
		fcntl.ioctl(fd, GOINGDOWN, struct.pack("I", NO_LOG_FLUSH))
	END
}

# Mounts go in the order opposite to how they came: what lies on another first.
fault_cleanup() {
	local i p last=()
	for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
		last+=("${mounts[i]}")
	done
	mounts=("${last[@]}")
	for p in $(cat "$work/pids" 2>/dev/null); do
		pids+=("$p")
	done
	if [ $failures -gt 0 ] && [ -n "${PFS_KEEP:-}" ]; then
		cp -r "$work" "$PFS_KEEP"
	fi
	cleanup
}
trap fault_cleanup EXIT
