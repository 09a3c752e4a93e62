/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"
#include "headers.h"

#define NO_SUMS ((const uint32_t[FORMAT_MAX_BLKS]){0})

static struct geometry geometry(void)
{
	static const uint8_t uuid[PFS_UUID_LEN] = {5};
	struct geometry g = {0};

	/* 100 slots of 128 bytes a segment: four pages of headers. */
	CHECK_EQ(
		geometry_plan(&g, uuid, PFS_MIB(1) + 6400 * PFS_KIB(64), 65536),
		0);
	CHECK_EQ(g.headers_len, 4 * PFS_BLOCK_SIZE);
	return g;
}

static struct headers headers_of(uint64_t cache_bytes)
{
	struct geometry g = geometry();
	struct headers h;

	CHECK_EQ(headers_init(&h, &g, cache_bytes), 0);
	return h;
}

static struct slot_ident ident_of(uint32_t slot)
{
	return (struct slot_ident){
		.image = 1, .epoch = 1, .chunk = slot + 1000ull, .gen = 7};
}

static void set(struct headers *h, uint32_t slot)
{
	struct slot_ident id = ident_of(slot);

	headers_set(h, slot, &id, NO_SUMS, 42);
}

/* The chunk that the header in RAM names, 0: none in RAM, 1: a bad one. */
static uint64_t chunk_in(struct headers *h, uint32_t slot)
{
	const uint8_t *raw = headers_get(h, slot);
	uint32_t sums[FORMAT_MAX_BLKS];
	struct slot_ident id;

	if (!raw)
		return 0;
	return slot_header_decode(&h->g, slot, raw, &id, sums) ? 1 : id.chunk;
}

static void nothing_is_in_ram_at_first(void)
{
	struct headers h = headers_of(65536);

	CHECK_EQ(chunk_in(&h, 0), 0);
	CHECK(!headers_active(&h, 0));
	headers_fini(&h);
}

static void an_active_segment_has_its_headers(void)
{
	struct headers h = headers_of(65536);

	headers_activate(&h, 2);
	set(&h, 205);

	CHECK_EQ(chunk_in(&h, 205), 1205);
	CHECK_EQ(chunk_in(&h, 206), 1); /* empty */
	CHECK_EQ(chunk_in(&h, 105), 0);
	headers_fini(&h);
}

static void only_dirty_pages_are_taken_and_only_once(void)
{
	static uint8_t out[4 * PFS_BLOCK_SIZE];
	struct headers h = headers_of(65536);
	struct headers_active *a;
	uint32_t first = 9;

	headers_activate(&h, 0);
	a = headers_active(&h, 0);
	CHECK_EQ(headers_take_dirty(&h, a, &first, out), 0);
	set(&h, 40); /* page 1 */
	set(&h, 70); /* page 2 */
	CHECK_EQ(a->dirty_since, 42);

	CHECK_EQ(headers_take_dirty(&h, a, &first, out), 2);
	CHECK_EQ(first, 1);
	CHECK(!memcmp(out, a->mem + PFS_BLOCK_SIZE, 2 * PFS_BLOCK_SIZE));
	CHECK_EQ(a->dirty_since, 0);
	CHECK_EQ(headers_take_dirty(&h, a, &first, out), 0);
	headers_still_dirty(a, 1, 2, 50);
	CHECK_EQ(a->dirty_since, 50);
	CHECK_EQ(headers_take_dirty(&h, a, &first, out), 2);
	headers_fini(&h);
}

static void retired_headers_stay_in_the_cache(void)
{
	struct headers h = headers_of(65536);

	headers_activate(&h, 3);
	set(&h, 300);
	set(&h, 399);
	headers_retire(&h, headers_active(&h, 3));

	CHECK(!headers_active(&h, 3));
	CHECK_EQ(chunk_in(&h, 300), 1300);
	CHECK_EQ(chunk_in(&h, 399), 1399);
	headers_fini(&h);
}

static void eight_segments_can_be_active(void)
{
	struct headers h = headers_of(65536);

	for (uint32_t i = 0; i < HEADERS_ACTIVE_MAX; i++) {
		CHECK(headers_can_activate(&h));
		headers_activate(&h, i);
	}
	CHECK(!headers_can_activate(&h));
	headers_retire(&h, headers_active(&h, 5));
	CHECK(headers_can_activate(&h));
	headers_fini(&h);
}

/* The segment is about to be written anew: neither what was cached of it nor
 * what a slow reader brings late may be seen again. */
static void reuse_forgets_the_old_headers(void)
{
	static uint8_t page[PFS_BLOCK_SIZE];
	struct headers h = headers_of(65536);

	headers_activate(&h, 3);
	set(&h, 300);
	memcpy(page, headers_active(&h, 3)->mem, sizeof(page));
	headers_retire(&h, headers_active(&h, 3));
	headers_activate(&h, 3);
	headers_keep(&h, 300, page);

	CHECK_EQ(chunk_in(&h, 300), 1);
	headers_retire(&h, headers_active(&h, 3));
	CHECK_EQ(chunk_in(&h, 300), 1);
	headers_forget(&h, 3);
	CHECK_EQ(chunk_in(&h, 300), 0);
	headers_fini(&h);
}

static void pages_read_from_the_device_are_kept(void)
{
	uint8_t page[PFS_BLOCK_SIZE] = {0};
	struct headers h = headers_of(65536);
	struct slot_ident id = ident_of(140); /* segment 1, page 1, byte 1024 */

	slot_header_encode(&h.g, 140, &id, NO_SUMS, page + 8 * 128);
	headers_keep(&h, 140, page);

	CHECK_EQ(chunk_in(&h, 140), 1140);
	CHECK_EQ(chunk_in(&h, 141), 1);
	CHECK_EQ(chunk_in(&h, 131), 0); /* the page before */
	headers_fini(&h);
}

static void a_small_cache_keeps_to_its_size(void)
{
	struct headers h = headers_of(4 * PFS_BLOCK_SIZE);
	uint8_t page[PFS_BLOCK_SIZE] = {0};
	unsigned int n = 0;

	CHECK_EQ(h.mem_len, 4 * PFS_BLOCK_SIZE);
	for (uint32_t slot = 0; slot < 4000; slot += 32)
		if (slot % 100 < 96)
			headers_keep(&h, slot, page);
	for (uint32_t slot = 0; slot < 4000; slot += 32)
		n += slot % 100 < 96 && headers_get(&h, slot);
	CHECK_EQ(n, 4);
	headers_fini(&h);
}

int main(void)
{
	RUN(nothing_is_in_ram_at_first);
	RUN(an_active_segment_has_its_headers);
	RUN(only_dirty_pages_are_taken_and_only_once);
	RUN(retired_headers_stay_in_the_cache);
	RUN(eight_segments_can_be_active);
	RUN(reuse_forgets_the_old_headers);
	RUN(pages_read_from_the_device_are_kept);
	RUN(a_small_cache_keeps_to_its_size);
	return CHECK_RESULT();
}
