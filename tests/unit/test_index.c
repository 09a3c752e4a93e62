/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pfs/hash.h>

#include "check.h"
#include "index.h"

#define SPAN 5000u /* chunks of the model: five zones */

static uint64_t seed;

static uint64_t next_random(uint64_t n)
{
	return (seed = pfs_mix64(seed)) % n;
}

static void put(struct index *ix, uint64_t chunk, uint32_t slot, uint32_t want)
{
	uint32_t old;

	CHECK_EQ(index_put(ix, chunk, slot, slot + 1000ull, &old), 0);
	CHECK_EQ(old, want);
}

static uint32_t slot_of(const struct index *ix, uint64_t chunk)
{
	uint32_t slot;
	uint64_t gen;

	if (!index_find(ix, chunk, &slot, &gen))
		return FORMAT_SLOT_NONE;
	CHECK_EQ(gen, slot + 1000ull);
	return slot;
}

static void clear_slot(void *arg, uint32_t slot)
{
	uint32_t *model = arg;
	uint32_t n = 0;

	for (uint32_t c = 0; c < SPAN; c++) {
		if (model[c] == slot) {
			model[c] = FORMAT_SLOT_NONE;
			n++;
		}
	}
	CHECK_EQ(n, 1);
}

/* --- */

static void an_empty_index_finds_nothing(void)
{
	struct index ix = {0};

	CHECK_EQ(slot_of(&ix, 0), FORMAT_SLOT_NONE);
	CHECK_EQ(index_del(&ix, 0), FORMAT_SLOT_NONE);
	index_del_range(&ix, 0, UINT64_MAX, clear_slot, NULL);
	index_fini(&ix);
}

static void a_put_replaces_and_tells_what_was_there(void)
{
	struct index ix = {0};

	put(&ix, 7, 1, FORMAT_SLOT_NONE);
	put(&ix, 7, 2, 1);

	CHECK_EQ(slot_of(&ix, 7), 2);
	CHECK_EQ(ix.n_chunks, 1);
	CHECK_EQ(index_del(&ix, 7), 2);
	CHECK_EQ(ix.n_chunks, 0);
	index_fini(&ix);
}

static void it_does_as_an_array_does(void)
{
	static uint32_t model[SPAN];
	struct index ix = {0};
	uint32_t next_slot = 0;

	seed = 11;
	for (uint32_t c = 0; c < SPAN; c++)
		model[c] = FORMAT_SLOT_NONE;
	for (int round = 0; round < 20000; round++) {
		uint64_t c = next_random(SPAN);

		switch (next_random(100)) {
		case 0: { /* a range, sometimes "to the end" */
			uint64_t last = c + next_random(200);

			if (!next_random(8))
				last = UINT64_MAX;
			index_del_range(&ix, c, last, clear_slot, model);
			for (; c <= last && c < SPAN; c++)
				CHECK_EQ(model[c], FORMAT_SLOT_NONE);
			break;
		}
		case 1 ... 20:
			CHECK_EQ(index_del(&ix, c), model[c]);
			model[c] = FORMAT_SLOT_NONE;
			break;
		default:
			put(&ix, c, next_slot, model[c]);
			model[c] = next_slot++;
		}
	}
	uint64_t n = 0;
	for (uint32_t c = 0; c < SPAN; c++) {
		CHECK_EQ(slot_of(&ix, c), model[c]);
		n += model[c] != FORMAT_SLOT_NONE;
	}
	CHECK(n > SPAN / 10);
	CHECK_EQ(ix.n_chunks, n);
	index_fini(&ix);
}

static void a_zone_lists_its_entries_in_order(void)
{
	struct zone_entry e[PFS_ZONE_CHUNKS];
	struct index ix = {0};

	put(&ix, PFS_ZONE_CHUNKS + 9, 1, FORMAT_SLOT_NONE);
	put(&ix, PFS_ZONE_CHUNKS + 3, 2, FORMAT_SLOT_NONE);
	put(&ix, 2 * PFS_ZONE_CHUNKS, 3, FORMAT_SLOT_NONE);

	CHECK(!index_zone(&ix, 0));
	CHECK_EQ(index_zone_entries(index_zone(&ix, 1), e), 2);
	CHECK(e[0].idx == 3 && e[0].slot == 2 && e[0].gen == 1002);
	CHECK(e[1].idx == 9 && e[1].slot == 1 && e[1].gen == 1001);
	index_fini(&ix);
}

static void changes_make_a_zone_dirty(void)
{
	struct index ix = {0};
	struct zone *z;

	put(&ix, 5, 1, FORMAT_SLOT_NONE);
	z = index_zone(&ix, 0);
	CHECK(z->is_dirty);
	z->is_dirty = false;
	CHECK_EQ(index_del(&ix, 6), FORMAT_SLOT_NONE);
	CHECK(!z->is_dirty);
	CHECK_EQ(index_del(&ix, 5), 1);
	CHECK(z->is_dirty);
	index_fini(&ix);
}

/* Zone numbers have 32 bits; chunk 2^42 once was taken for chunk 0. */
static void chunks_beyond_the_last_zone_are_not_found(void)
{
	uint64_t far = (UINT32_MAX + 1ull) * PFS_ZONE_CHUNKS;
	struct index ix = {0};

	put(&ix, 0, 1, FORMAT_SLOT_NONE);

	CHECK_EQ(slot_of(&ix, far), FORMAT_SLOT_NONE);
	CHECK_EQ(index_del(&ix, far), FORMAT_SLOT_NONE);
	index_del_range(&ix, far, UINT64_MAX, clear_slot, NULL);
	CHECK_EQ(slot_of(&ix, 0), 1);
	index_fini(&ix);
}

/* --- RAM --- */

static uint64_t bytes_per_chunk(const struct index *ix)
{
	return (ix->bytes + ix->n_chunks - 1) / ix->n_chunks;
}

static void full_zones_take_under_16_bytes_a_chunk(void)
{
	struct index ix = {0};

	for (uint32_t c = 0; c < 64 * PFS_ZONE_CHUNKS; c++)
		put(&ix, c, c, FORMAT_SLOT_NONE);

	CHECK(bytes_per_chunk(&ix) <= 16);
	index_fini(&ix);
}

/* 2,000 single chunks anywhere in 32 GiB: the slot table's 9 bytes a chunk
 * come on top. */
static void a_scattered_boot_takes_under_55_bytes_a_chunk(void)
{
	struct index ix = {0};
	uint32_t slot = 0, old;

	seed = 5;
	for (int i = 0; i < 2000; i++)
		CHECK_EQ(index_put(&ix, next_random(512 * PFS_ZONE_CHUNKS),
				   slot++, 1, &old),
			 0);

	CHECK(bytes_per_chunk(&ix) <= 55);
	index_fini(&ix);
}

int main(void)
{
	RUN(an_empty_index_finds_nothing);
	RUN(a_put_replaces_and_tells_what_was_there);
	RUN(it_does_as_an_array_does);
	RUN(a_zone_lists_its_entries_in_order);
	RUN(changes_make_a_zone_dirty);
	RUN(chunks_beyond_the_last_zone_are_not_found);
	RUN(full_zones_take_under_16_bytes_a_chunk);
	RUN(a_scattered_boot_takes_under_55_bytes_a_chunk);
	return CHECK_RESULT();
}
