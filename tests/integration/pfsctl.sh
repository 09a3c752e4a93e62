#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Every verb of pfsctl against a real mount, as text and as JSON, and every
# sentence it says when something is wrong.
set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
command -v jq >/dev/null || skip "jq is missing"

src=$work/src
mnt=$work/mnt
mkdir "$src"
head -c 4M /dev/urandom >"$src/a.img"
truncate -s 64M "$src/sparse.img"
dd if=/dev/urandom of="$src/sparse.img" bs=1M count=1 seek=32 conv=notrunc \
	status=none
odd=$'odd \xe9\n\e[31m"\\.img'
head -c 128K /dev/urandom >"$src/$odd"
mkfifo "$src/fifo"
ln -s a.img "$src/link"

ctl() { run_pfsctl "$@"; }

read_image() {
	dd if="$mnt/$1" of=/dev/null bs=64K status=none
}

# Chunks are stored behind the reader's back.
chunks_of() {
	"$pfsctl" map "$1" --json | jq .resident_chunks
}

has_chunks() {
	[ "$(chunks_of "$1")" = "$2" ]
}

# warm IMAGE CHUNKS: read it until that many are resident; what is fetched
# when an image is closed is not kept
warm() {
	exec 9<"$mnt/$1"
	await 10 has_chunks_when_read "$1" "$2"
	exec 9<&-
}

has_chunks_when_read() {
	read_image "$1"
	has_chunks "$1" "$2"
}

without_a_daemon() {
	ctl 3 status
	complains "no daemon is running"
	complains "mount -t fuse.pfs SOURCE MOUNTPOINT"
	ctl 3 -m /nowhere status
	ctl 3 metrics
	ctl 0 list
	says "No pfs is mounted."
	ctl 0 list --json
	json '. == []'
}

wrong_usage() {
	ctl 2
	complains "pfsctl --help"
	ctl 2 statsu
	complains "did you mean 'stats'"
	ctl 2 frobnicate
	complains "pfsctl --help lists them"
	ctl 2 status extra
	complains "usage: pfsctl status"
	ctl 2 status --wait
	complains "status takes no --wait"
	ctl 2 recording list
	complains "usage: pfsctl recording"
	ctl 2 map
	complains "usage: pfsctl map IMAGE"
	ctl 2 --frob status
	complains "--frob is no option"
	ctl 2 status -m
	complains "-m needs a value"
	ctl 2 status --all
	complains "status takes no --all"
	ctl 2 fsck --store x
	complains "--catalog"
	ctl 2 -m x list
	complains "list takes no -m"
}

help_fits() {
	local verb
	ctl 0 --version
	says "pfsctl "
	ctl 0 --help
	for verb in $(sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p' <<<"$out"); do
		ctl 0 "$verb" --help
		says "Usage: pfsctl $verb" "--help"
		! expand <<<"$out" | grep -E '.{81}' ||
			fail "$verb --help: over 80 columns"
	done
	ctl 0 upgrade --help
	says "--supervisor" "--json" "--mount"
}

status_tells_it_all() {
	ctl 0 status
	says "$mnt" "source    $src" "supervisor pid $supervisor_pid" \
		"worker pid $worker_pid" "store     ok, " "catalog   ok" \
		"chunk=64K" "fault points enabled"
	ctl 0 status --json
	json '.prefetch.level == "balanced"' '.prefetch.trust == "private"'
	json ".mountpoint == \"$mnt\"" ".source == \"$src\"" \
		".supervisor_pid == $supervisor_pid" \
		".worker_pid == $worker_pid" '.worker_starts == 1' \
		'.worker_deaths == 0' '.store.state == "ok"' \
		'.store.chunk == 65536' '.store.size > 50000000' \
		'.catalog.state == "ok"' '.options.chunk == "64K"' \
		'.uptime_s < 300' '.log == "info"'
	[ "$(cat "/proc/$(jq .worker_pid <<<"$out")/comm")" = pfs ] ||
		fail "worker_pid is not pfs"
}

the_mount_is_found_by_many_names() {
	ctl 0 -m "$mnt" status
	ctl 0 -m "$mnt/" status
	ctl 0 -m "$work/./mnt" status
	ctl 0 --mount="$mnt" status
	ln -s "$work" "$work/other"
	ctl 0 -m "$work/other/mnt" status
	(cd "$work" && "$pfsctl" -m mnt status >/dev/null) ||
		fail "relative name"
	rm "$work/other"
	ctl 3 -m "$work/nothing" status
	complains "no pfs is mounted at $work/nothing"
	complains "mounts here: $mnt"
}

stats_count() {
	local hits
	ctl 0 stats --json
	json '[.reads, .evicted_chunks, .prefetch_used_bytes] |
		all(type == "number")' '.hit_share <= 1' \
		'.prefetch.proposers | length >= 3' \
		'.source_latency.demand | length == 32' \
		'.images | type == "array"' '.vms | type == "array"'
	# On a busy machine some reads pass by a store that is slow just now.
	warm a.img 64
	hits=$("$pfsctl" stats --json | jq .reads_hit)
	read_image a.img
	ctl 0 stats --json
	json ".reads_hit >= $hits + 32" '.hit_share > 0' '.hit_bytes >= 2097152'
	ctl 0 stats
	says "Reads" "reads_hit" "Faults of the store" "Hit share" \
		"Proposers" "Images, since" "VMs, since"
}

images_are_listed() {
	warm "$odd" 2
	warm a.img 64
	exec 8<"$mnt/a.img"
	read_image a.img
	ctl 0 images --json
	json 'length == 2' '.[0].name == "a.img"' '.[0].size == 4194304' \
		'.[0].in_use' '.[0].handles == 1' '.[0].resident_share == 1' \
		'.[0].resident_bytes == 4194304' '.[0].reads >= 64' \
		'.[0].hit_share > 0.5' \
		'.[0].id >= 1 and .[0].epoch >= 1' \
		'.[1].name == "odd \\xe9\\x0a\\x1b[31m\"\\x5c.img"' \
		'.[1].in_use | not'
	ctl 0 images
	says "a.img" "100.0 %" 'odd \xe9\x0a\x1b[31m"\x5c.img' "reading"
	exec 8<&-
	ctl 0 images --skipped
	says "fifo: " "link: "
	ctl 0 images --skipped --json
	json 'length == 2' 'map(.path) | sort == ["fifo", "link"]' \
		'all(.reason | length > 0)'
}

map_draws() {
	exec 8<"$mnt/sparse.img"
	dd bs=64K skip=512 count=16 of=/dev/null status=none <&8
	await 5 has_chunks sparse.img 16
	ctl 0 map sparse.img --json
	json '.chunks == 1024' '.chunk == 65536' '.resident_chunks == 16' \
		'(.cells | add) == 16' '.size == 67108864' \
		'.cells[(.cells | length) / 2] > 0' '.cells[0] == 0'
	ctl 0 images --json
	json 'map(select(.name == "sparse.img"))[0].resident_bytes == 1048576'
	COLUMNS=42 ctl 0 map sparse.img
	says "sparse.img: 64 MiB, 16 of 1024 chunks of 64 KiB resident" \
		"0 B ................................" "# all resident"
	says "#"
	! expand <<<"$out" | sed 1d | grep -v resident | grep -E '.{43}' ||
		fail "wider than the terminal"
	if locale -a 2>/dev/null | grep -qix 'c.utf-\?8'; then
		LC_ALL=C.UTF-8 ctl 0 map sparse.img
		says "█ all resident" "····"
	fi
	ctl 1 map nope.img
	complains "no image 'nope.img' is known"
	ctl 0 map "$odd"
	says 'odd \xe9'
	exec 8<&-
}

drop_forgets() {
	warm a.img 64
	exec 8<"$mnt/a.img"
	ctl 0 map a.img
	says "0 B $(printf '#%.0s' {1..64})"
	ctl 0 drop a.img --json
	json '.chunks == 64'
	has_chunks a.img 0 || fail "still there"
	cmp "$mnt/a.img" "$src/a.img" || fail "other bytes"
	warm a.img 64
	exec 8<&-
	ctl 0 drop a.img # not in use
	says "Dropped"
	has_chunks a.img 0 || fail "still there, not in use"
	read_image a.img
	ctl 0 drop --all
	has_chunks a.img 0 || fail "--all left some"
	has_chunks sparse.img 0 || fail "--all left some of another"
	ctl 2 drop
	complains "drop takes an IMAGE or --all"
	ctl 2 drop --all a.img
	ctl 1 drop nope.img
	complains "is known here"
}

verify_finds_what_is_bad() {
	exec 8<"$mnt/a.img"
	warm a.img 64
	ctl 0 verify
	says "64 chunks read, 0 bad"
	ctl 0 verify a.img --json
	json '.chunks == 64' '.bad == 0'
	ctl 1 verify sparse.img
	complains "not in use"
	ctl 0 debug fault store.read:flip@3x1
	ctl 1 verify a.img --json
	json '.bad == 1'
	ctl 0 debug fault clear
	ctl 0 verify a.img
	says "63 chunks read, 0 bad"
	exec 8<&-
}

set_changes() {
	ctl 0 set log=debug
	says "log is now debug"
	ctl 0 status --json
	json '.log == "debug"'
	ctl 0 set log=info --json
	json '.log == "info"'
	ctl 2 set log=loud
	complains "error, warning, info or debug"
	ctl 2 set lgo=debug
	complains "did you mean 'log'"
	ctl 2 set chunk=1M
	complains "mount options"
	ctl 2 set log
	complains "KEY=VALUE"
	ctl 2 set max_background=0
	complains "1 to 65535"
	if [ -w /sys/fs/fuse/connections ] &&
		mountpoint -q /sys/fs/fuse/connections; then
		ctl 0 set max_background=33
		grep -qx 33 /sys/fs/fuse/connections/*/max_background ||
			fail "not set"
	fi
}

fault_points_are_steered() {
	ctl 0 debug fault status
	says "fetch.read 0 0"
	exec 8<"$mnt/a.img"
	"$pfsctl" drop a.img >/dev/null
	ctl 0 debug fault fetch.read:pause
	read_image a.img &
	await 5 grep_status '^fetch.read [1-9][0-9]* [1-9]'
	ctl 0 stats # still answers
	ctl 0 debug fault resume fetch.read
	wait $!
	ctl 0 debug fault status --json
	json 'map(select(.name == "fetch.read"))[0].paused == 0' \
		'map(select(.name == "fetch.read"))[0].fired > 0'
	ctl 0 debug fault clear
	ctl 2 debug fault nonsense
	complains "POINT:ACTION"
	ctl 1 debug fault resume nowhere
	complains "no fault point 'nowhere'"
	ctl 2 debug frob
	exec 8<&-
}

grep_status() {
	"$pfsctl" debug fault status | grep -q "$1"
}

upgrade_goes_on_without_a_break() {
	local before after
	exec 8<"$mnt/a.img"
	before=$(status_of "$mnt" worker_pid)
	ctl 0 upgrade
	says "$mnt is served by pfs"
	after=$(status_of "$mnt" worker_pid)
	check "worker" "$after" != "$before"
	await 10 is_gone "$before"
	cp "$pfs" "$work/pfs.new"
	ctl 0 upgrade "$work/pfs.new" --json
	json ".old_worker_pid == $after" '.version | length > 0'
	check "pid told" "$(jq .worker_pid <<<"$out")" = \
		"$(status_of "$mnt" worker_pid)"
	ctl 0 upgrade --supervisor "$pfs"
	check "supervisor" "$(status_of "$mnt" supervisor_pid)" = \
		"$supervisor_pid"
	(cd "$(dirname "$pfs")" && "$pfsctl" upgrade ./pfs >/dev/null) ||
		fail "a relative name"
	cmp /proc/self/fd/8 "$src/a.img" || fail "open file lost"
	exec 8<&-
	pids+=("$(status_of "$mnt" worker_pid)")

	before=$(status_of "$mnt" worker_pid)
	ctl 1 upgrade /bin/true
	complains "the old one goes on"
	ctl 1 upgrade "$work/nothing"
	complains "No such file"
	check "worker" "$(status_of "$mnt" worker_pid)" = "$before"
	ctl 0 status --json
	json '.worker_deaths == 0' '.worker_starts >= 5'
}

# Each answer arrives, whatever the moment the worker goes.
a_dying_worker_is_asked_again() {
	local i
	for i in 1 2 3 4 5; do
		"$pfsctl" debug fault source.open:eio@999 >/dev/null
		kill -9 "$(status_of "$mnt" worker_pid)"
		ctl 0 stats
	done
	# Here the connection is there when the worker dies.
	exec 8<"$mnt/a.img"
	warm a.img 64
	ctl 0 debug fault store.read:kill@2x1
	ctl 0 verify a.img
	complains "asking again"
	exec 8<&-
	ctl 0 status --json
	json '.worker_deaths >= 6'
	pids+=("$(status_of "$mnt" worker_pid)")
}

metrics_are_well_formed() {
	ctl 0 metrics
	says "# TYPE pfs_reads_total counter" "# TYPE pfs_store_ok gauge" \
		"pfs_store_ok{mount=\"$mnt\"} 1"
	! grep -Ev '^# (HELP|TYPE) pfs_[a-z_]+ .+|^pfs_[a-z_]+\{mount="[^"]*"(,[a-z]+="[^"]*")*\} [0-9.]+$' \
		<<<"$out" || fail "not the text format"
	ctl 0 metrics --json
	json 'length == 1' ".[0].status.mountpoint == \"$mnt\"" \
		'.[0].stats.reads > 0'
}

several_mounts() {
	mkdir "$work/src2"
	start_pfs "$work/src2" "$work/mnt two"
	ctl 2 status
	complains "say which with -m"
	complains "$work/mnt two"
	ctl 0 -m "$work/mnt two" status
	says "source    $work/src2"
	ctl 0 list --json
	json 'length == 2' 'all(.is_alive)' \
		'all(.supervisor_pid > 0 and (.socket | length > 0))'
	ctl 0 list
	says "$mnt from $src" "$work/mnt two from $work/src2"
	ctl 0 metrics
	says "pfs_store_ok{mount=\"$work/mnt two\"} 1" \
		"pfs_store_ok{mount=\"$mnt\"} 1"
	check "HELP lines" "$(grep -c 'HELP pfs_reads_total ' <<<"$out")" = 1
	ctl 0 complete mounts
	says "$work/mnt two"
	ctl 1 -m "$work/mnt two" debug fault status
	complains "PFS_FAULTS=1"
	ctl 0 -m "$work/mnt two" stop --json
	json '.supervisor_pid > 0'
	! is_mounted "$work/mnt\\040two" || fail "still mounted"
	ctl 0 status
}

others_are_not_permitted() {
	[ "$(id -u)" = 0 ] || return 0
	command -v setpriv >/dev/null || return 0
	chmod 755 "$PFS_RUN_DIR"
	local as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	"${as[@]}" "$pfsctl" --version >/dev/null 2>&1 || return 0
	refused "not permitted" "${as[@]}" "$pfsctl" status
	refused "run pfsctl as root" "${as[@]}" "$pfsctl" -m "$mnt" stop
	chmod 700 "$PFS_RUN_DIR"
	is_mounted "$mnt" || fail "it was stopped"
}

completion_knows_verbs_and_images() {
	local words
	words=$(PATH=$PFS_BIN:$PATH bash -c '
		compopt() { :; }
		. "$1"
		COMP_WORDS=(pfsctl "") COMP_CWORD=1
		_pfsctl; printf "%s\n" "${COMPREPLY[@]}"
		COMP_WORDS=(pfsctl map "a") COMP_CWORD=2
		_pfsctl; printf "%s\n" "${COMPREPLY[@]}"
		COMP_WORDS=(pfsctl -m "") COMP_CWORD=2
		_pfsctl; printf "%s\n" "${COMPREPLY[@]}"
		COMP_WORDS=(pfsctl recording "") COMP_CWORD=2
		_pfsctl; printf "%s\n" "${COMPREPLY[@]}"
		COMP_WORDS=(pfsctl recording list "a") COMP_CWORD=3
		_pfsctl; [ "${COMPREPLY[*]}" = a.img ] || echo bad
		COMP_WORDS=(pfsctl drop --a) COMP_CWORD=2
		_pfsctl; printf "%s\n" "${COMPREPLY[@]}"' - \
		"$here/../../cli/pfsctl.bash")
	for word in status upgrade a.img "$mnt" --all export; do
		grep -qxF -- "$word" <<<"$words" || fail "no $word in: $words"
	done
	! grep -qx bad <<<"$words" || fail "no images after recording list"
	# Each verb that --help names is offered.
	for word in $("$pfsctl" --help | sed -n 's/^  \([a-z]\{1,\}\) .*/\1/p'); do
		grep -qxF -- "$word" <<<"$words" || fail "no verb $word"
	done
}

fsck_is_for_the_unmounted() {
	local store=$work/mnt.store catalog=$work/mnt.catalog/catalog.db
	ctl 1 fsck --store "$store" --catalog "$catalog"
	complains "in use by a daemon"
	complains "pid "
	warm a.img 64
	exec 8<"$mnt/a.img"
	ctl 1 stop
	complains "a.img is open"
	complains "--force"
	ctl 0 status
	exec 8<&-
	ctl 0 stop
	says "$mnt is unmounted"
	! is_mounted "$mnt" || fail "still mounted"
	is_gone "$supervisor_pid" || fail "the supervisor is still there"
	ctl 3 status
	complains "no daemon"

	ctl 0 fsck --store "$store" --catalog "$catalog"
	says "are sound"
	ctl 0 fsck --store "$store/store" --catalog "$catalog" --json
	json '.bad == 0' '.problems == []'
	ctl 1 fsck --store "$work/nothing" --catalog "$catalog"
	complains "No such file"
	# Some byte of each chunk-sized piece is turned around.
	damage "$store/store"
	ctl 1 fsck --store "$store" --catalog "$catalog" --json
	json '.bad > 0' '.problems | length > 0' \
		'all(.problems[]; .in == "store")'
	ctl 1 fsck --store "$store" --catalog "$catalog"
	says "problems"
}

damage() {
	local size i
	size=$(stat -c %s "$1")
	for ((i = 100; i < size; i += 65536)); do
		printf '\xa5\x5a\xa5' | dd of="$1" bs=1 seek=$i conv=notrunc \
			status=none
	done
}

a_dead_daemon_is_told_from_none() {
	start_pfs "$src" "$mnt" threads=2
	cp "$PFS_RUN_DIR"/*.json "$work/saved"
	exec 8<"$mnt/a.img"
	ctl 0 stop --force
	exec 8<&-
	# As a power cut or SIGKILL of both leaves it.
	jq '.supervisor_pid = 4194304999 % 2147483647' "$work/saved" \
		>"$PFS_RUN_DIR/0123456789abcdef.json"
	ctl 3 status
	complains "has ended: mount it again"
	ctl 0 list
	says "(has ended: mount again)"
	rm "$PFS_RUN_DIR/0123456789abcdef.json"
}

run without_a_daemon
run wrong_usage
run help_fits
export PFS_FAULTS=1
start_pfs "$src" "$mnt" threads=2 # a pause holds one of them up
unset PFS_FAULTS
run status_tells_it_all
run the_mount_is_found_by_many_names
run stats_count
run images_are_listed
run map_draws
run drop_forgets
run verify_finds_what_is_bad
run set_changes
run fault_points_are_steered
run upgrade_goes_on_without_a_break
run a_dying_worker_is_asked_again
run metrics_are_well_formed
run several_mounts
run others_are_not_permitted
run completion_knows_verbs_and_images
run fsck_is_for_the_unmounted
run a_dead_daemon_is_told_from_none
finish
