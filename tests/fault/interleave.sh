#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Bytes older than an acknowledged write must never be read: a random load, and
# fetches, on demand or ahead, held at each of their steps while a mutation goes
# past.
set -u
. "$(dirname "$0")/lib.sh"

src=$work/src mnt=$work/mnt
mkdir "$src"
# Both widen the gap that the second invalidation closes.
gaps=mutate.begin:stall=2,fetch.stored:stall=2

write_script fault <<END
ctl() { "\$pfsctl" -m "$mnt" debug fault "\$@"; }
case \$1 in
status) ctl status | awk '{ n += \$2 } END { print n + 0 }' ;;
*) ctl "\$1" ;;
esac
END

# Reads ahead two chunks: pinning them brings them.
write_script ahead <<END
set -- \$1
"\$pfsctl" -m "$mnt" pin "\$1" "\$2" 128K
END

# The images are far larger than the store, so that it evicts all the while.
a_random_load_reads_what_was_written() {
	start_pfs "$src" "$mnt" threads=2
	loads_well --ops "$(figure 20000 1000000)" --images 4 --size 64M \
		--threads 8 "$mnt"
	counter_moved "$mnt" reads_hit
	counter_moved "$mnt" evicted_segments
	figures ops differences wrong_bytes errors worst_stall_ms
	stop_pfs "$mnt"
}

no_fetch_brings_old_bytes() {
	PFS_FAULTS=1 start_pfs "$src" "$mnt" threads=2
	loads_well --interleave --rounds "$(figure 1 5)" \
		--points fetch.begin,fetch.read,fetch.replied,fetch.stored,fetch.insert \
		--fault-cmd "$work/fault" \
		--drop-cmd "'$pfsctl' -m '$mnt' drop --all" "$mnt"
	check interleavings "$(value interleavings)" -ge "$(figure 20 100)"
	figures interleavings unreached stale_bytes
	stop_pfs "$mnt"
}

# interleaves_ahead VERDICT POINTS ROUNDS
interleaves_ahead() {
	"$1" --interleave --rounds "$3" --points "$2" \
		--fault-cmd "$work/fault" --ahead-cmd "$work/ahead" \
		--drop-cmd "'$pfsctl' -m '$mnt' drop --all" "$mnt"
}

no_prefetch_brings_old_bytes() {
	PFS_FAULTS=1 start_pfs "$src" "$mnt" threads=2
	interleaves_ahead loads_well \
		fetch.begin,fetch.read,fetch.replied,fetch.stored,fetch.insert \
		"$(figure 1 5)"
	check interleavings "$(value interleavings)" -ge "$(figure 20 100)"
	counter_moved "$mnt" prefetch_joined
	counter_moved "$mnt" prefetch_hits
	counter_moved "$mnt" fetches_detached
	figures interleavings unreached stale_bytes
	stop_pfs "$mnt"
}

a_detached_prefetch_that_is_stored_is_found() {
	PFS_FAULTS=plant.detached_prefetch:eio \
		start_pfs "$src" "$mnt" threads=2
	interleaves_ahead finds_the_bug fetch.read 1
	figures interleavings stale_bytes
	stop_pfs "$mnt"
}

tight_load() {
	"$1" --images 1 --size 1M --threads 8 --seconds "$2" \
		--mix read=70,write=30 "$mnt"
}

# The next case without its bug.
delays_alone_do_no_harm() {
	PFS_FAULTS=$gaps start_pfs "$src" "$mnt" threads=2
	tight_load loads_well 3
	stop_pfs "$mnt"
}

a_missing_invalidation_is_found_in_10_s() {
	PFS_FAULTS=plant.one_invalidation:eio,$gaps \
		start_pfs "$src" "$mnt" threads=2
	tight_load finds_the_bug 10
	figures seconds ops differences
	stop_pfs "$mnt"
}

run a_random_load_reads_what_was_written
run no_fetch_brings_old_bytes
run no_prefetch_brings_old_bytes
run a_detached_prefetch_that_is_stored_is_found
run delays_alone_do_no_harm
run a_missing_invalidation_is_found_in_10_s
finish
