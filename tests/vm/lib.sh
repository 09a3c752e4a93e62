# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2034 # variables set here are read by the scripts
#
# Sourced by every script of this folder: where things are kept, how mounts and
# guests are started, and how all of it ends.
#
#   PFS_BIN        folder with pfs, pfsctl and slowfs
#   PFS_CACHE_DIR  kernels and guest images, kept between runs
#   PFS_ACCEL      kvm or tcg; without it KVM is used if a probe boot succeeds
#
# Every wait has a limit, of about ten times what an idle machine needs.  What
# a script starts it pushes on a stack of undo commands, run when it exits.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C

vm_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root_dir=$(cd "$vm_dir/../.." && pwd)
cache_dir=${PFS_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/pfs-tests}
bin_dir=${PFS_BIN:-$root_dir/build/dev/bin}
mkdir -p "$cache_dir"

. "$vm_dir/../tools/reports.sh"
say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
skip() { printf 'skipped: %s\n' "$*"; exit 77; }

# --- undo stack -------------------------------------------------------------

undo=()
at_exit() { undo+=("$*"); }

# Runs the undo commands, newest first.  A second Ctrl-C must not stop it.
run_undo() {
	local status=$? i
	trap '' INT TERM HUP
	trap - EXIT
	set +e
	for ((i = ${#undo[@]} - 1; i >= 0; i--)); do
		eval "${undo[i]}"
	done
	exit "$status"
}
trap run_undo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A folder of this run alone, on the cache's file system: /tmp may be a tmpfs,
# which has neither O_DIRECT nor room for images.  Sets $work.
make_work_dir() {
	mkdir -p "$cache_dir/tmp"
	work=$(mktemp -d "$cache_dir/tmp/${0##*/}.XXXXXX")
	at_exit "rm -rf --one-file-system '$work'"
	reports_to "$work/reports"
	at_exit 'no_reports || status=1' # of run_undo, when all has ended
}

# --- checks -----------------------------------------------------------------

# check SENTENCE COMMAND...: ends the script unless COMMAND makes it true.
check() {
	local sentence=$1
	shift
	if "$@" >"$work/check.log" 2>&1; then
		say "ok    $sentence"
		return
	fi
	say "FAIL  $sentence"
	say "      $*"
	tail -n 40 "$work/check.log"
	exit 1
}

refused() { ! "$@"; }

# fails_with TEXT COMMAND...
fails_with() {
	local text=$1 out
	shift
	if out=$("$@" 2>&1); then
		return 1
	fi
	say "$out"
	[[ $out == *"$text"* ]]
}

# --- programs and processes -------------------------------------------------

# Prints the path of one of our programs.
tool() {
	[ -x "$bin_dir/$1" ] || die "no $1 in $bin_dir: build, or set PFS_BIN"
	printf '%s\n' "$bin_dir/$1"
}

needs() {
	local command
	for command; do
		command -v "$command" >/dev/null || skip "no $command here"
	done
}

needs_fuse() {
	[ -w /dev/fuse ] || skip "/dev/fuse is not writable"
}

# wait_until SECONDS COMMAND...: polls until COMMAND succeeds.
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < end)) || return 1
		sleep 0.1
	done
}

# A zombie waits for its parent only and holds nothing any more.
is_gone() {
	local state
	state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 0
	[ "${state%% *}" = Z ]
}

# Ticks at which the process began: with its pid a name that is never reused.
began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# end_at_exit PID: for what may have ended, and its pid be another's, by then.
end_at_exit() {
	at_exit "[ '$(began "$1")' = \"\$(began $1)\" ] && end_process $1"
}

# end_process PID: asks, waits 5 s, then kills.
end_process() {
	kill "$1" 2>/dev/null || return 0
	wait_until 5 is_gone "$1" || kill -KILL "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

# --- mounts -----------------------------------------------------------------

# Prints the device number of a mount, "0:63".  Reading mountinfo cannot hang,
# as a stat of the mount would if its daemon does.
mount_device() {
	awk -v m="$1" '$5 == m { d = $3 } END { print d; exit !d }' \
		/proc/self/mountinfo
}
is_mounted() { mount_device "$1" >/dev/null; }

umount_fuse() {
	if [ "$(id -u)" = 0 ]; then
		timeout 60 umount "$1"
	else
		timeout 60 fusermount3 -u "$1"
	fi
}

# clear_mount MOUNT: for the undo stack; ends the connection if asking fails.
clear_mount() {
	local device
	device=$(mount_device "$1") || return 0
	umount_fuse "$1" 2>/dev/null && return 0
	echo 1 >"/sys/fs/fuse/connections/${device#*:}/abort" 2>/dev/null
	umount_fuse "$1" 2>/dev/null || umount -l "$1"
}

# slowfs_start SOURCE MOUNT [SETTING=VALUE...]: sets $slowfs_pid.
slowfs_start() {
	local source=$1 mount=$2 setting
	shift 2
	mkdir -p "$mount"
	"$(tool slowfs)" -f "$source" "$mount" &
	slowfs_pid=$!
	at_exit "clear_mount '$mount'"
	end_at_exit $slowfs_pid
	wait_until 10 is_mounted "$mount" || die "slowfs did not mount"
	for setting; do
		slowfs_set "$mount" "$setting"
	done
}

# slow_storage SOURCE MOUNT MS MBIT: slowfs with that latency for each read and
# that rate of its one link, and nothing of it in this machine's memory.
slow_storage() {
	drop_caches
	slowfs_start "$1" "$2" "latency_us=$(($3 * 1000))" \
		"mbps=$(awk -v mbit="$4" 'BEGIN { print mbit / 8 }')"
}

drop_caches() {
	sync
	[ "$(id -u)" != 0 ] || echo 3 >/proc/sys/vm/drop_caches
}

# nbd_start SOCKET FILE "FILTER OPTIONS" PARAMETER...: nbdkit serves FILE.
# Sets $nbd_pid.
nbd_start() {
	local socket=$1 file=$2 filters=$3
	shift 3
	rm -f "$socket"
	# shellcheck disable=SC2086 # several words
	nbdkit -f -U "$socket" $filters file "$file" "$@" \
		>"$socket.log" 2>&1 &
	nbd_pid=$!
	end_at_exit $nbd_pid
	wait_until 10 test -S "$socket" || die "$(cat "$socket.log")"
}

slowfs_stop() {
	umount_fuse "$1"
	wait_until 30 is_gone "$slowfs_pid" || die "slowfs stayed after umount"
	wait "$slowfs_pid" 2>/dev/null || true
}

slowfs_set() { printf '%s\n' "$2" >"$1/.slowfs"; }
slowfs_get() { awk -v k="$2" '$1 == k { print $2 }' "$1/.slowfs"; }

# pfs_start SOURCE MOUNT DIR [OPTION,...]: DIR keeps the store and the catalog.
pfs_start() {
	local source=$1 mount=$2 dir=$3 more=${4:-}
	mkdir -p "$mount" "$dir/store"
	at_exit "clear_mount '$mount'"
	timeout 60 "$(tool pfs)" "$source" "$mount" -o \
		"store=$dir/store,store_size=1G,catalog=$dir/catalog.db${more:+,$more}" ||
		die "pfs did not start"
	is_mounted "$mount" || die "pfs came back without a mount"
	end_at_exit "$(pfs_field "$mount" supervisor_pid)"
}

# pfs_stop MOUNT: unmounts and waits until both processes have gone, so that
# whoever comes next finds the store free.
pfs_stop() {
	local supervisor worker
	supervisor=$(pfs_field "$1" supervisor_pid)
	worker=$(pfs_field "$1" worker_pid)
	umount_fuse "$1"
	wait_until 60 is_gone "$supervisor" || die "the supervisor stayed"
	wait_until 60 is_gone "$worker" || die "the worker stayed"
}

pfs_ctl() {
	local mount=$1
	shift
	timeout 30 "$(tool pfsctl)" -m "$mount" "$@"
}

# pfs_field MOUNT KEY: one value of the status, wherever it is nested.
pfs_field() {
	pfs_ctl "$1" status --json |
		jq -er --arg k "$2" '[.. | objects | .[$k]? | values] | first'
}

# pfs_counters MOUNT NAME...: their values on one line.  Each may be a number
# or an object that carries one as "value".
pfs_counters() {
	local mount=$1
	shift
	pfs_ctl "$mount" stats --json | jq -er --args '
		. as $all | [$ARGS.positional[] as $k |
		[$all | .. | objects | .[$k]? | values] | first // error($k) |
		if type == "object" then .value else . end] |
		map(tostring) | join(" ")' "$@"
}

# --- guests -----------------------------------------------------------------

# Prints the accelerator to use.  /dev/kvm may open and yet hang the guest, so
# only a guest that answered within 20 s counts.  Asked once per host boot.
accel() {
	local boot_id verdict=$cache_dir/accel
	boot_id=$(cat /proc/sys/kernel/random/boot_id)
	if [ -n "${PFS_ACCEL:-}" ]; then
		printf '%s\n' "$PFS_ACCEL"
		return
	fi
	if ! grep -qs "^$boot_id " "$verdict"; then
		printf '%s %s\n' "$boot_id" "$(probe_kvm)" >"$verdict.$$"
		mv "$verdict.$$" "$verdict"
	fi
	cut -d' ' -f2 "$verdict"
}

probe_kvm() (
	[ -w /dev/kvm ] || { echo tcg; exit; }
	undo=()
	trap run_undo EXIT
	make_work_dir
	PFS_ACCEL=kvm guest_start "$work/probe" none >/dev/null 2>&1
	if guest_wait alive 20; then echo kvm; else echo tcg; fi
)

# guest_start NAME DRIVE [WORK] [QEMU ARGUMENT...]: boots with the -drive value
# DRIVE as root disk, or none.  Serial output goes to NAME.log, and what is
# written to NAME.in is typed there.  Sets the guest_* variables.
guest_start() {
	local name=$1 drive=$2 todo=${3:-} cpu disk=() append
	shift $(($# > 3 ? 3 : $#))
	guest_log=$name.log guest_in=$name.in guest_accel=$(accel)
	cpu=max
	[ "$guest_accel" = kvm ] && cpu=host
	append="console=ttyS0 quiet loglevel=4 psi=1 no_timer_check"
	append+=" mitigations=off nokaslr random.trust_cpu=on panic=-1"
	append+=" systemd.show_status=0 pfs.work=$todo"
	if [ "$drive" != none ]; then
		append+=" root=/dev/vda"
		disk=(-drive "if=none,id=disk,format=raw,$drive")
		disk+=(-device "virtio-blk-pci,drive=disk")
	fi
	rm -f "$guest_log" "$guest_in"
	mkfifo "$guest_in"
	: >"$guest_log"
	guest_t0=$EPOCHREALTIME
	qemu-system-x86_64 -M "q35,accel=$guest_accel" -cpu $cpu -m 512M \
		-nodefaults -display none -no-reboot -monitor none \
		-kernel "$cache_dir/kernel/vmlinuz" \
		-initrd "$cache_dir/initrd.cpio" -append "$append" \
		"${disk[@]}" -serial stdio "$@" \
		<>"$guest_in" >"$guest_log" 2>"$name.err" &
	guest_pid=$!
	end_at_exit $guest_pid
}

guest_said() { grep -q "pfs-guest: $1" "$guest_log"; }
guest_said_or_ended() { guest_said "$1" || is_gone "$guest_pid"; }

# guest_wait WHAT SECONDS: until the guest says WHAT.  Sets $guest_seconds, the
# time since it was started.
guest_wait() {
	wait_until "$2" guest_said_or_ended "$1" || true
	guest_seconds=$(awk -v a="$guest_t0" -v b="$EPOCHREALTIME" \
		'BEGIN { printf "%.1f", b - a }')
	guest_said "$1"
}

# guest_value WHAT KEY: the KEY=number in the line where the guest said WHAT.
guest_value() {
	sed -n "s/.*pfs-guest: $1 .*\\b$2=\\([0-9.]*\\).*/\\1/p" "$guest_log" |
		head -n 1
}

# guest_finish SECONDS: the guest must power off by itself.
guest_finish() {
	wait_until "$1" is_gone "$guest_pid" || guest_fail "did not power off"
	wait "$guest_pid" || guest_fail "QEMU failed"
}

# guest_fail WHY: ends the script with what the guest said last.
guest_fail() {
	tail -n 20 "$guest_log" "${guest_log%.log}.err" >&2
	die "guest: $1"
}

# qemu_hold IMAGE [DRIVE OPTIONS]: a QEMU that opens the image, does nothing and
# stays; fails as QEMU fails.  Sets $held, its pid.
qemu_hold() {
	local pid_file=$work/held.pid
	held=
	rm -f "$pid_file"
	timeout 60 qemu-system-x86_64 -M q35,accel=tcg -S -display none \
		-nodefaults -m 64M -daemonize -pidfile "$pid_file" -drive \
		"if=none,id=disk,format=raw,file=$1,${2:-cache=none}" \
		-device virtio-blk-pci,drive=disk || return
	held=$(cat "$pid_file")
	end_at_exit "$held"
}

# qemu_release: ends the QEMU in $held, if any, and waits until it has gone.
qemu_release() {
	[ -n "$held" ] || return 0
	end_process "$held"
	wait_until 10 is_gone "$held" || die "a QEMU stayed"
	held=
}

# image_copy IMAGE TARGET: a fresh copy of a kept guest image.
image_copy() { cp --reflink=auto --sparse=always "$cache_dir/$1.raw" "$2"; }

image_epoch=1700000000

# make_ext4 DIR TARGET SIZE UUID: a disk with the files of DIR, laid out the same
# way each time.
make_ext4() {
	local more=nodiscard,lazy_itable_init=0,lazy_journal_init=0
	find "$1" -newermt "@$image_epoch" -exec touch -h -d "@$image_epoch" {} +
	rm -f "$2.new"
	truncate -s "$3" "$2.new"
	E2FSPROGS_FAKE_TIME=$image_epoch mke2fs -q -t ext4 -b 4096 -m 0 \
		-L pfs-guest -U "$4" -O ^metadata_csum_seed \
		-E "hash_seed=$4,root_owner=0:0,$more" -d "$1" "$2.new"
	mv "$2.new" "$2"
}
