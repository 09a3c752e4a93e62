/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <pfs/hash.h>

#include "check.h"
#include "format.h"

#define KIB_64 65536u

static const uint8_t uuid_a[PFS_UUID_LEN] = {1, 2, 3};
static const uint8_t uuid_b[PFS_UUID_LEN] = {1, 2, 4};

static struct geometry geometry_of(uint32_t chunk, uint64_t size)
{
	struct geometry g = {0};

	CHECK_EQ(geometry_plan(&g, uuid_a, size, chunk), 0);
	return g;
}

/* --- geometry --- */

static void everything_lies_inside_and_apart(void)
{
	for (uint32_t chunk = PFS_CHUNK_MIN; chunk <= PFS_CHUNK_MAX;
	     chunk *= 2) {
		uint64_t size = PFS_MIB(1) + 700ull * chunk + 12345;
		struct geometry g = geometry_of(chunk, size);
		uint64_t last = FORMAT_DATA_OFF;

		CHECK(geometry_end(&g) <= size);
		for (uint32_t seg = 0; seg < g.n_segments; seg++) {
			uint32_t first = seg * g.segment_slots;

			CHECK_EQ(geometry_segment_off(&g, seg), last);
			CHECK_EQ(geometry_header_off(&g, first), last);
			CHECK(geometry_header_off(&g,
						  first + g.segment_slots - 1) +
				      g.header_size <=
			      geometry_slot_off(&g, first));
			CHECK_EQ(geometry_slot_off(&g, first) % PFS_BLOCK_SIZE,
				 0);
			last = geometry_slot_off(&g,
						 first + g.segment_slots - 1) +
			       chunk;
		}
		CHECK_EQ(last, geometry_end(&g));
	}
}

static void segments_are_a_64th_of_the_store_up_to_1024_slots(void)
{
	CHECK_EQ(geometry_of(KIB_64, PFS_MIB(1) + 6400 * PFS_KIB(64))
			 .segment_slots,
		 100);
	CHECK_EQ(geometry_of(KIB_64, PFS_GIB(100)).segment_slots, 1024);
	CHECK_EQ(geometry_of(KIB_64, PFS_MIB(8)).segment_slots, 8);
}

static void room_for_fewer_than_four_segments_is_refused(void)
{
	uint64_t four = PFS_MIB(1) + 4 * (4096 + 8 * PFS_KIB(64));
	struct geometry g;

	CHECK_EQ(geometry_plan(&g, uuid_a, 0, KIB_64), -ENOSPC);
	CHECK_EQ(geometry_plan(&g, uuid_a, PFS_MIB(1), KIB_64), -ENOSPC);
	CHECK_EQ(geometry_plan(&g, uuid_a, four - 1, KIB_64), -ENOSPC);
	CHECK_EQ(geometry_plan(&g, uuid_a, four, KIB_64), 0);
	CHECK_EQ(geometry_plan(&g, uuid_a, PFS_GIB(1), 5000), -EINVAL);
	CHECK_EQ(geometry_plan(&g, uuid_a, PFS_GIB(1), 8192), -EINVAL);
	CHECK_EQ(geometry_plan(&g, uuid_a, PFS_GIB(1), 2u << 20), -EINVAL);
}

/* --- superblock --- */

static void a_superblock_comes_back(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1)), back = {0};
	uint8_t super[FORMAT_SUPER_SIZE];

	super_encode(&g, super);

	CHECK_EQ(super_decode(super, &back), 0);
	CHECK(geometry_same(&g, &back));
	CHECK_EQ(back.segment_len, g.segment_len);
	CHECK_EQ(back.uuid_hash, g.uuid_hash);
	CHECK(super_is_of(&g, super));
}

static void any_flipped_bit_voids_a_superblock(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1)), back;
	uint8_t super[FORMAT_SUPER_SIZE];

	super_encode(&g, super);
	for (uint32_t bit = 0; bit < 8 * FORMAT_SUPER_SIZE; bit++) {
		super[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CHECK_EQ(super_decode(super, &back), -EBADMSG);
		super[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

/* The checksum is right, the shape is not one that a store can have. */
static void impossible_shapes_are_refused(void)
{
	struct geometry good = geometry_of(KIB_64, PFS_GIB(1)), bad[7], back;
	uint8_t super[FORMAT_SUPER_SIZE];

	for (int i = 0; i < 7; i++)
		bad[i] = good;
	bad[0].chunk = 0;
	bad[1].chunk = 65537;
	bad[2].chunk = 2u << 20;
	bad[3].segment_slots = 7;
	bad[4].segment_slots = 1025;
	bad[5].n_segments = 3;
	bad[6].n_segments = UINT32_MAX / good.segment_slots;
	for (int i = 0; i < 7; i++) {
		super_encode(&bad[i], super);
		CHECK_EQ(super_decode(super, &back), -EBADMSG);
	}
}

/* --- slot headers --- */

static const struct slot_ident ident = {
	.image = 3, .epoch = 2, .chunk = 77, .gen = 1000};

static void header_of(const struct geometry *g, uint32_t slot, uint8_t *out)
{
	uint32_t sums[FORMAT_MAX_BLKS];

	for (uint32_t i = 0; i < g->blks; i++)
		sums[i] = i * 2654435761u;
	slot_header_encode(g, slot, &ident, sums, out);
}

static void a_slot_header_comes_back(void)
{
	for (uint32_t chunk = PFS_CHUNK_MIN; chunk <= PFS_CHUNK_MAX;
	     chunk *= 2) {
		struct geometry g = geometry_of(chunk, PFS_GIB(1));
		uint8_t *h = malloc(g.header_size);
		uint32_t sums[FORMAT_MAX_BLKS];
		struct slot_ident id;

		header_of(&g, 9, h);

		CHECK_EQ(slot_header_decode(&g, 9, h, &id, sums), 0);
		CHECK(!memcmp(&id, &ident, sizeof(id)));
		for (uint32_t i = 0; i < g.blks; i++)
			CHECK_EQ(sums[i], i * 2654435761u);
		free(h);
	}
}

static void any_flipped_bit_voids_a_slot_header(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1));
	uint32_t sums[FORMAT_MAX_BLKS];
	struct slot_ident id;
	uint8_t h[128];

	header_of(&g, 9, h);
	for (uint32_t bit = 0; bit < 8 * 128; bit++) {
		h[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CHECK_EQ(slot_header_decode(&g, 9, h, &id, sums), -EBADMSG);
		h[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void a_header_is_void_in_another_place_or_store(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1)), other;
	uint32_t sums[FORMAT_MAX_BLKS];
	struct slot_ident id;
	uint8_t h[128];

	CHECK_EQ(geometry_plan(&other, uuid_b, PFS_GIB(1), KIB_64), 0);
	header_of(&g, 9, h);

	CHECK_EQ(slot_header_decode(&g, 8, h, &id, sums), -EBADMSG);
	CHECK_EQ(slot_header_decode(&other, 9, h, &id, sums), -EBADMSG);
}

static void zeros_are_an_empty_slot(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1));
	uint32_t sums[FORMAT_MAX_BLKS];
	uint8_t h[128] = {0};
	struct slot_ident id;

	CHECK_EQ(slot_header_decode(&g, 0, h, &id, sums), -ENOENT);
}

static void a_block_checks_only_as_what_and_where_it_is(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1)), other;
	struct slot_ident wrong[4] = {ident, ident, ident, ident};
	static uint8_t data[2 * PFS_BLOCK_SIZE];
	uint32_t want[2], sum;

	CHECK_EQ(geometry_plan(&other, uuid_b, PFS_GIB(1), KIB_64), 0);
	wrong[0].image++;
	wrong[1].epoch++;
	wrong[2].chunk++;
	wrong[3].gen++;
	slot_sums(&g, &ident, data, 0, 2, want);

	CHECK(want[0] != want[1]); /* same bytes, other block */
	slot_sums(&g, &ident, data + PFS_BLOCK_SIZE, 1, 1, &sum);
	CHECK_EQ(sum, want[1]);
	for (int i = 0; i < 4; i++) {
		slot_sums(&g, &wrong[i], data, 0, 1, &sum);
		CHECK(sum != want[0]);
	}
	slot_sums(&other, &ident, data, 0, 1, &sum);
	CHECK(sum != want[0]);
	data[4095] ^= 1;
	slot_sums(&g, &ident, data, 0, 1, &sum);
	CHECK(sum != want[0]);
}

/* --- zone rows --- */

static size_t zone_row(const struct geometry *g, uint32_t n, uint8_t *out)
{
	struct zone_entry e[PFS_ZONE_CHUNKS];

	for (uint32_t i = 0; i < n; i++)
		e[i] = (struct zone_entry){.idx = (uint16_t)(i * 1023 / n),
					   .slot = i * 3,
					   .gen = 1ull << 40 | i};
	return zone_encode(g, 3, 2, 5, e, n, out);
}

static int zone_error(const struct geometry *g, const uint8_t *row, size_t len)
{
	struct zone_entry e[PFS_ZONE_CHUNKS];
	uint32_t n;

	return zone_decode(g, 3, 2, 5, row, len, e, &n);
}

static void zone_rows_come_back(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1));
	const uint32_t sizes[] = {0, 1, 2, 500, 1023, PFS_ZONE_CHUNKS};
	static uint8_t row[ZONE_BLOB_MAX];

	for (size_t k = 0; k < PFS_ARRAY_SIZE(sizes); k++) {
		struct zone_entry e[PFS_ZONE_CHUNKS], b[PFS_ZONE_CHUNKS];
		uint32_t n = 0;
		size_t len;

		for (uint32_t i = 0; i < sizes[k]; i++)
			e[i] = (struct zone_entry){
				.idx = (uint16_t)i, .slot = i, .gen = i};
		len = zone_encode(&g, 3, 2, 5, e, sizes[k], row);

		CHECK(len <= ZONE_BLOB_MAX);
		CHECK_EQ(zone_decode(&g, 3, 2, 5, row, len, b, &n), 0);
		CHECK_EQ(n, sizes[k]);
		for (uint32_t i = 0; i < n; i++)
			CHECK(b[i].idx == i && b[i].slot == i && b[i].gen == i);
	}
}

static void a_zone_row_is_void_elsewhere(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1)), other;
	struct zone_entry e[PFS_ZONE_CHUNKS];
	static uint8_t row[ZONE_BLOB_MAX];
	size_t len = zone_row(&g, 20, row);
	uint32_t n;

	CHECK_EQ(geometry_plan(&other, uuid_b, PFS_GIB(1), KIB_64), 0);
	CHECK_EQ(zone_error(&g, row, len), 0);
	CHECK_EQ(zone_decode(&g, 4, 2, 5, row, len, e, &n), -EBADMSG);
	CHECK_EQ(zone_decode(&g, 3, 1, 5, row, len, e, &n), -EBADMSG);
	CHECK_EQ(zone_decode(&g, 3, 2, 6, row, len, e, &n), -EBADMSG);
	CHECK_EQ(zone_error(&other, row, len), -EBADMSG);
}

static void damaged_or_cut_zone_rows_are_refused(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1));
	static uint8_t row[ZONE_BLOB_MAX];
	size_t len = zone_row(&g, 20, row);

	for (size_t cut = 0; cut < len; cut++)
		CHECK_EQ(zone_error(&g, row, cut), -EBADMSG);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		row[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CHECK_EQ(zone_error(&g, row, len), -EBADMSG);
		row[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

/* Well-formed, but it names slots or places that there are not. */
static void entries_out_of_bounds_or_order_are_refused(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1));
	struct zone_entry good[2] = {{.idx = 4, .slot = 1, .gen = 9},
				     {.idx = 5, .slot = 2, .gen = 9}};
	struct zone_entry e[2];
	static uint8_t row[ZONE_BLOB_MAX];

	memcpy(e, good, sizeof(e));
	e[1].slot = geometry_n_slots(&g);
	CHECK_EQ(zone_error(&g, row, zone_encode(&g, 3, 2, 5, e, 2, row)),
		 -EBADMSG);
	memcpy(e, good, sizeof(e));
	e[1].idx = PFS_ZONE_CHUNKS;
	CHECK_EQ(zone_error(&g, row, zone_encode(&g, 3, 2, 5, e, 2, row)),
		 -EBADMSG);
	memcpy(e, good, sizeof(e));
	e[1].idx = 4;
	CHECK_EQ(zone_error(&g, row, zone_encode(&g, 3, 2, 5, e, 2, row)),
		 -EBADMSG);
	CHECK_EQ(zone_error(&g, row, zone_encode(&g, 3, 2, 5, good, 2, row)),
		 0);
}

/* --- segment table --- */

static void the_segment_table_comes_back(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1)), other;
	struct segment_row *rows = calloc(g.n_segments, sizeof(*rows));
	struct segment_row *back = calloc(g.n_segments, sizeof(*back));
	size_t len = segments_blob_len(g.n_segments);
	uint8_t *blob = malloc(len);

	CHECK_EQ(geometry_plan(&other, uuid_b, PFS_GIB(1), KIB_64), 0);
	for (uint32_t i = 0; i < g.n_segments; i++)
		rows[i] = (struct segment_row){.open_gen = i * 5,
					       .state = i % 4,
					       .is_probation = i % 2};
	segments_encode(&g, rows, blob);

	CHECK_EQ(segments_decode(&g, blob, len, back), 0);
	for (uint32_t i = 0; i < g.n_segments; i++)
		CHECK(back[i].open_gen == i * 5 && back[i].state == i % 4 &&
		      back[i].is_probation == i % 2);
	CHECK_EQ(segments_decode(&other, blob, len, back), -EBADMSG);
	CHECK_EQ(segments_decode(&g, blob, len - 16, back), -EBADMSG);
	for (size_t at = 0; at < len; at++) {
		blob[at] ^= 0x10;
		CHECK_EQ(segments_decode(&g, blob, len, back), -EBADMSG);
		blob[at] ^= 0x10;
	}
	rows[1].state = SEGMENT_LEAVING + 1;
	segments_encode(&g, rows, blob);
	CHECK_EQ(segments_decode(&g, blob, len, back), -EBADMSG);
	free(rows);
	free(back);
	free(blob);
}

static void a_table_of_another_length_is_refused(void)
{
	struct geometry g = geometry_of(KIB_64, PFS_GIB(1)), less = g;
	struct segment_row *rows = calloc(g.n_segments, sizeof(*rows));
	uint8_t *blob = malloc(segments_blob_len(g.n_segments));

	less.n_segments--;
	segments_encode(&less, rows, blob);

	CHECK_EQ(segments_decode(&g, blob, segments_blob_len(less.n_segments),
				 rows),
		 -EBADMSG);
	free(rows);
	free(blob);
}

int main(void)
{
	RUN(everything_lies_inside_and_apart);
	RUN(segments_are_a_64th_of_the_store_up_to_1024_slots);
	RUN(room_for_fewer_than_four_segments_is_refused);
	RUN(a_superblock_comes_back);
	RUN(any_flipped_bit_voids_a_superblock);
	RUN(impossible_shapes_are_refused);
	RUN(a_slot_header_comes_back);
	RUN(any_flipped_bit_voids_a_slot_header);
	RUN(a_header_is_void_in_another_place_or_store);
	RUN(zeros_are_an_empty_slot);
	RUN(a_block_checks_only_as_what_and_where_it_is);
	RUN(zone_rows_come_back);
	RUN(a_zone_row_is_void_elsewhere);
	RUN(damaged_or_cut_zone_rows_are_refused);
	RUN(entries_out_of_bounds_or_order_are_refused);
	RUN(the_segment_table_comes_back);
	RUN(a_table_of_another_length_is_refused);
	return CHECK_RESULT();
}
