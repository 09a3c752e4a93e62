/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What each VM has read of each image, by events. */
#include <pfs/lane.h>

#include "check.h"
#include "readers.h"

static void read_by(struct readers *r, uint64_t image, uint64_t vm,
		    enum pfs_read_outcome outcome, uint64_t time_ns)
{
	const struct event e = {.kind = EVENT_READ,
				.time_ns = time_ns,
				.image = image,
				.vm = vm,
				.len = 4096,
				.outcome = (uint8_t)outcome};

	readers_note(r, &e);
}

static void written_by(struct readers *r, uint64_t image, uint64_t vm,
		       uint64_t len)
{
	const struct event e = {
		.kind = EVENT_WRITE, .image = image, .vm = vm, .len = len};

	readers_note(r, &e);
}

static void reads_are_summed_by_image_and_vm(void)
{
	struct readers *r = readers_create();
	struct reader_counts n;

	read_by(r, 1, 10, PFS_READ_HIT, 1);
	read_by(r, 1, 10, PFS_READ_LATE, 2);
	read_by(r, 1, 0, PFS_READ_MISS, 3); /* whoever that is */
	read_by(r, 2, 10, PFS_READ_HOLE, 4);
	read_by(r, 2, 10, PFS_READ_DIRECT, 5);

	readers_sum(r, 1, 10, &n);
	CHECK_EQ(n.n_hits, 1);
	CHECK_EQ(n.n_late, 1);
	CHECK_EQ(n.n_misses, 0);
	CHECK_EQ(n.read_bytes, 8192);
	readers_sum(r, 1, READERS_ANY, &n);
	CHECK_EQ(n.n_misses, 1);
	CHECK_EQ(n.read_bytes, 3 * 4096);
	readers_sum(r, READERS_ANY, 10, &n);
	CHECK_EQ(n.n_hits + n.n_late + n.n_holes + n.n_direct, 4);
	CHECK_EQ(n.n_misses, 0);
	readers_sum(r, 1, 0, &n);
	CHECK_EQ(n.n_misses, 1);
	CHECK_EQ(n.read_bytes, 4096);
	readers_destroy(r);
}

static void a_truncation_is_no_write(void)
{
	struct readers *r = readers_create();
	struct reader_counts n;

	written_by(r, 1, 10, 512);
	written_by(r, 1, 10, EVENT_DATA_MAX);
	written_by(r, 1, 0, UINT64_MAX);
	readers_sum(r, READERS_ANY, READERS_ANY, &n);
	CHECK_EQ(n.n_writes, 2);
	CHECK_EQ(n.write_bytes, 512 + EVENT_DATA_MAX);
	readers_destroy(r);
}

static int count(void *arg, uint64_t image, uint64_t vm)
{
	uint64_t *n = arg;

	CHECK(image && vm);
	(*n)++;
	return 0;
}

static void the_quiet_make_room_for_the_new(void)
{
	struct readers *r = readers_create();
	struct reader_counts n;
	uint64_t n_pairs = 0;

	for (uint64_t t = 1; t <= 20 * READERS_MAX; t++) {
		read_by(r, 1, 1 + t, PFS_READ_HIT, t);
		read_by(r, 7, 7, PFS_READ_HIT, t); /* never quiet */
	}
	(void)readers_each(r, count, &n_pairs);
	CHECK_EQ(n_pairs, READERS_MAX);
	readers_sum(r, 7, 7, &n);
	CHECK_EQ(n.n_hits, 20 * READERS_MAX);
	readers_sum(r, 1, 20 * READERS_MAX + 1, &n); /* the last to come */
	CHECK_EQ(n.n_hits, 1);
	readers_destroy(r);
}

int main(void)
{
	RUN(reads_are_summed_by_image_and_vm);
	RUN(a_truncation_is_no_write);
	RUN(the_quiet_make_room_for_the_new);
	return CHECK_RESULT();
}
