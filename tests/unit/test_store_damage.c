/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whatever happens to the store's file or to the rows about it: no wrong
 * byte, no error for a reader, and a counter that tells. */
#include "cache_fixture.h"
#include "core.h"

#define KIB_16 16384

static struct rig filled_rig(void)
{
	struct rig g = rig();

	fill_all(&g);
	return g;
}

static uint64_t n_faults(void)
{
	return counter(PFS_C_BAD_CHECKSUM) + counter(PFS_C_BAD_HEADER) +
	       counter(PFS_C_STORE_ERROR_READ) + counter(PFS_C_STORE_RESET) +
	       counter(PFS_C_ROWS_BAD);
}

/* Read everything twice; at least one counter of faults moves if it should. */
static void serves_well(struct rig *g, bool must_notice)
{
	uint64_t before = n_faults();

	read_all_same(g, KIB(256));
	read_random_same(g, 30, KIB(256));
	settle(g);
	CHECK(!must_notice || n_faults() > before);
}

/* --- damage while it is open --- */

static void a_truncated_store_is_read_past(void)
{
	struct rig g = filled_rig();
	int fd = open_store_file();

	CHECK_EQ(ftruncate(fd, PFS_MIB(2)), 0);
	serves_well(&g, true);
	CHECK_EQ(ftruncate(fd, 0), 0);
	/* A probe just before may have found the superblock still there. */
	CHECK(EVENTUALLY((serves_well(&g, false),
			  status_of(&g).health == PFS_STORE_BYPASSED)));
	close(fd);
	rig_end(&g);
}

static void a_store_of_zeros_is_noticed(void)
{
	struct rig g = filled_rig();
	int fd = open_store_file();

	CHECK_EQ(ftruncate(fd, 0), 0);
	CHECK_EQ(ftruncate(fd, (off_t)g.cfg.store_size), 0);
	serves_well(&g, true);
	close(fd);
	rig_end(&g);
}

static void an_unlinked_store_goes_on_and_is_made_anew(void)
{
	struct rig g = filled_rig();
	uint64_t resets = counter(PFS_C_STORE_RESET);

	CHECK_EQ(unlink(in_scratch("store")), 0);
	serves_well(&g, false);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_HIT);
	rig_restart(&g);
	CHECK_EQ(counter(PFS_C_STORE_RESET), resets + 1);
	serves_well(&g, false);
	rig_end(&g);
}

static void flipped_data_is_never_served(void)
{
	struct rig g = filled_rig();
	const struct geometry *geo = &g.store->g;
	int fd = open_store_file();

	for (int i = 0; i < 200; i++) {
		uint32_t slot = (uint32_t)rand_below(256);

		flip_byte(fd, geometry_slot_off(geo, slot) +
				      rand_below(g.cfg.chunk));
	}
	serves_well(&g, true);
	close(fd);
	rig_end(&g);
}

static void every_flipped_block_is_found(void)
{
	struct rig g = filled_rig();
	uint64_t bad = counter(PFS_C_BAD_CHECKSUM);
	uint32_t n = (uint32_t)status_of(&g).n_chunks;
	int fd = open_store_file();

	for (uint32_t slot = 0; slot < n; slot++)
		flip_byte(fd, geometry_slot_off(&g.store->g, slot) +
				      rand_below(g.cfg.chunk));
	for (uint32_t c = 0; c < n; c++)
		CHECK_EQ(read_same(&g, c * KIB(16), KIB(16)), PFS_READ_DIRECT);
	CHECK_EQ(counter(PFS_C_BAD_CHECKSUM) - bad, n);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	close(fd);
	rig_end(&g);
}

static void a_hit_verifies_its_own_blocks_only(void)
{
	struct rig g = filled_rig();
	int fd = open_store_file();

	flip_byte(fd, geometry_slot_off(&g.store->g, 0) + 3 * 4096 + 7);
	CHECK_EQ(read_same(&g, 100, 3 * 4096 - 100), PFS_READ_HIT);
	CHECK_EQ(read_same(&g, 3 * 4096 - 1, 1), PFS_READ_HIT);
	CHECK_EQ(read_same(&g, 3 * 4096 - 1, 2), PFS_READ_DIRECT);
	close(fd);
	rig_end(&g);
}

static void slots_that_changed_places_are_not_mixed_up(void)
{
	struct rig g = filled_rig();
	uint64_t a = geometry_slot_off(&g.store->g, 1);
	uint64_t b = geometry_slot_off(&g.store->g, 2);
	static uint8_t x[KIB_16], y[KIB_16];
	int fd = open_store_file();

	CHECK_EQ(pread(fd, x, KIB_16, (off_t)a), KIB_16);
	CHECK_EQ(pread(fd, y, KIB_16, (off_t)b), KIB_16);
	CHECK_EQ(pwrite(fd, y, KIB_16, (off_t)a), KIB_16);
	CHECK_EQ(pwrite(fd, x, KIB_16, (off_t)b), KIB_16);
	serves_well(&g, true);
	close(fd);
	rig_end(&g);
}

/* --- damage while it is closed --- */

static void damage_while_closed(void (*harm)(struct rig *g, int fd),
				bool must_notice)
{
	struct rig g = filled_rig();
	struct geometry geo = g.store->g;
	uint64_t before = n_faults();
	struct pfs_store shape = {.g = geo};
	int fd;

	rig_stop(&g);
	g.store = &shape;
	fd = open_store_file();
	harm(&g, fd);
	close(fd);
	rig_start(&g);
	serves_well(&g, false);
	CHECK(!must_notice || n_faults() > before);
	rig_end(&g);
}

static void flip_a_superblock(struct rig *g, int fd)
{
	(void)g;
	flip_byte(fd, 20);
}

static void flip_both_superblocks(struct rig *g, int fd)
{
	(void)g;
	flip_byte(fd, 20);
	flip_byte(fd, 4096 + 20);
}

static void flip_headers(struct rig *g, int fd)
{
	for (int i = 0; i < 50; i++)
		flip_byte(fd, geometry_header_off(&g->store->g,
						  (uint32_t)rand_below(256)) +
				      rand_below(80));
}

static void zero_headers(struct rig *g, int fd)
{
	static const uint8_t none[4096];

	for (uint32_t seg = 0; seg < 4; seg++)
		CHECK_EQ(pwrite(fd, none, sizeof(none),
				(off_t)geometry_segment_off(&g->store->g, seg)),
			 4096);
}

static void swap_headers(struct rig *g, int fd)
{
	uint8_t page[4096], h[128];

	CHECK_EQ(pread(fd, page, 4096,
		       (off_t)geometry_segment_off(&g->store->g, 0)),
		 4096);
	memcpy(h, page, 128);
	memcpy(page, page + 128, 128);
	memcpy(page + 128, h, 128);
	CHECK_EQ(pwrite(fd, page, 4096,
			(off_t)geometry_segment_off(&g->store->g, 0)),
		 4096);
}

static void flip_anything(struct rig *g, int fd)
{
	for (int i = 0; i < 500; i++)
		flip_byte(fd, rand_below(geometry_end(&g->store->g)));
}

static void cut_in_half(struct rig *g, int fd)
{
	CHECK_EQ(ftruncate(fd, (off_t)g->cfg.store_size / 2), 0);
}

static void make_empty(struct rig *g, int fd)
{
	(void)g;
	CHECK_EQ(ftruncate(fd, 0), 0);
}

static void one_superblock_is_enough(void)
{
	uint64_t resets = counter(PFS_C_STORE_RESET);

	damage_while_closed(flip_a_superblock, false);
	CHECK_EQ(counter(PFS_C_STORE_RESET), resets + 1); /* the rig's first */
}

static void without_a_superblock_the_store_is_made_anew(void)
{
	damage_while_closed(flip_both_superblocks, true);
}

static void flipped_headers_are_never_believed(void)
{
	damage_while_closed(flip_headers, true);
}

static void lost_headers_are_never_believed(void)
{
	damage_while_closed(zero_headers, true);
}

static void headers_in_another_place_are_never_believed(void)
{
	damage_while_closed(swap_headers, true);
}

static void flips_anywhere_are_never_served(void)
{
	for (int i = 0; i < 3; i++)
		damage_while_closed(flip_anything, false);
}

static void a_store_cut_while_closed_is_made_anew(void)
{
	damage_while_closed(cut_in_half, true);
	damage_while_closed(make_empty, true);
}

/* --- verify and check --- */

static void verify_finds_and_drops_what_is_damaged(void)
{
	struct rig g = filled_rig();
	uint64_t n = status_of(&g).n_chunks;
	struct pfs_verify_result v;
	int fd = open_store_file();

	for (uint32_t slot = 10; slot < 15; slot++)
		flip_byte(fd, geometry_slot_off(&g.store->g, slot) +
				      rand_below(g.cfg.chunk));
	CHECK_EQ(pfs_store_verify(g.store, g.row.id + 1, NULL, &v), 0);
	CHECK_EQ(v.n_chunks, 0);
	CHECK_EQ(pfs_store_verify(g.store, 0, NULL, &v), 0);
	CHECK_EQ(v.n_chunks, n);
	CHECK_EQ(v.n_bad, 5);
	CHECK_EQ(status_of(&g).n_chunks, n - 5);
	CHECK_EQ(pfs_store_verify(g.store, g.row.id, NULL, &v), 0);
	CHECK_EQ(v.n_bad, 0);
	close(fd);
	rig_end(&g);
}

static void verify_can_be_stopped_and_tells_of_errors(void)
{
	struct rig g = filled_rig();
	_Atomic bool stop = true;
	struct pfs_verify_result v;

	CHECK_EQ(pfs_store_verify(g.store, 0, &stop, &v), -ECANCELED);
	arm("store.read:eiox1");
	CHECK_EQ(pfs_store_verify(g.store, 0, NULL, &v), -EIO);
	CHECK_EQ(v.n_bad, 0);
	rig_end(&g);
}

static void count_line(void *arg, const char *line)
{
	(*(uint64_t *)arg)++;
	CHECK(*line);
}

static uint64_t check_store_file(void)
{
	uint64_t n_lines = 0, n_bad = 99;

	CHECK_EQ(pfs_store_check(in_scratch("store"), db_path, count_line,
				 &n_lines, &n_bad),
		 0);
	CHECK_EQ(n_lines, n_bad);
	return n_bad;
}

static void check_is_content_after_an_orderly_stop(void)
{
	struct rig g = filled_rig();

	write_bytes(&g, KIB(64), KIB(64), 3, true);
	rig_stop(&g);
	CHECK_EQ(check_store_file(), 0);
	rig_start(&g);
	rig_end(&g);
}

static void check_names_each_damaged_chunk(void)
{
	struct rig g = filled_rig();
	struct geometry geo = g.store->g;
	int fd;

	rig_stop(&g);
	fd = open_store_file();
	flip_byte(fd, geometry_slot_off(&geo, 3) + 9999);
	flip_byte(fd, geometry_slot_off(&geo, 30));
	flip_byte(fd, geometry_header_off(&geo, 40) + 10);
	CHECK_EQ(check_store_file(), 3);
	flip_byte(fd, 0);
	CHECK_EQ(check_store_file(), 3); /* there is a copy */
	flip_byte(fd, 4096);
	CHECK_EQ(check_store_file(), 1); /* nothing to go by */
	close(fd);
	rig_start(&g);
	rig_end(&g);
}

static void check_wants_both_files(void)
{
	struct rig g = rig();
	uint64_t n = 0, bad = 0;

	rig_stop(&g);
	CHECK_EQ(pfs_store_check(in_scratch("no"), db_path, count_line, &n,
				 &bad),
		 -ENOENT);
	CHECK_EQ(pfs_store_check(in_scratch("store"), in_scratch("no"),
				 count_line, &n, &bad),
		 -ENOENT);
	rig_start(&g);
	rig_end(&g);
}

/* --- power cuts ---
 * The rows and the store's file are from different moments: rows as old as
 * the start of this life of the store, slots and headers as new as any moment
 * since, with writes torn, lost or late. */

static const char *const wal[] = {"", "-wal"};

static void copy_rows(const char *to)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(wal); i++) {
		char from_path[128], to_path[128];

		snprintf(from_path, sizeof(from_path), "%s%s", db_path, wal[i]);
		snprintf(to_path, sizeof(to_path), "%s%s", to, wal[i]);
		if (!access(from_path, F_OK))
			copy_file(from_path, to_path);
	}
}

static void put_rows_back(const char *from)
{
	char path[160];

	for (size_t i = 0; i < PFS_ARRAY_SIZE(wal); i++) {
		char saved[160];

		snprintf(saved, sizeof(saved), "%s%s", from, wal[i]);
		snprintf(path, sizeof(path), "%s%s", db_path, wal[i]);
		if (access(saved, F_OK))
			(void)unlink(path);
		else
			CHECK_EQ(rename(saved, path), 0);
	}
	snprintf(path, sizeof(path), "%s-shm", db_path);
	(void)unlink(path);
}

static void cut_power(const char *faults)
{
	struct rig g = rig_with((struct rig_config){
		.store_size = PFS_MIB(1) + 20 * (4096 + 8 * PFS_KIB(16)),
	});
	uint64_t hits = 0;

	read_random_same(&g, 100, KIB(128)); /* an earlier life */
	rig_restart(&g);
	for (int life = 0; life < 4; life++) {
		uint64_t rows_at = rand_below(4), file_at = 4 + rand_below(8);

		if (*faults)
			arm(faults);
		for (uint64_t i = 0; i < 12; i++) {
			if (i == rows_at) {
				CHECK_EQ(pfs_store_image_save(g.img, NULL), 0);
				copy_rows(in_scratch("rows"));
			}
			read_random_same(&g, 10, KIB(128));
			if (i == file_at)
				copy_file(in_scratch("store"),
					  in_scratch("slots"));
		}
		pfs_fault_clear();
		rig_stop(&g);
		pfs_sleep_ms(*faults ? 25 : 0); /* the last late write */
		put_rows_back(in_scratch("rows"));
		CHECK_EQ(rename(in_scratch("slots"), in_scratch("store")), 0);
		rig_start(&g);
		CHECK(status_of(&g).n_chunks > 0);
		hits -= counter(PFS_C_HIT_BYTES);
		read_all_same(&g, KIB(64));
		hits += counter(PFS_C_HIT_BYTES);
	}
	CHECK(hits > 0);
	rig_end(&g);
}

static void rows_older_than_the_slots_bring_no_wrong_byte(void)
{
	cut_power("");
}

static void rows_older_than_torn_writes_bring_no_wrong_byte(void)
{
	cut_power("store.write:torn=5000@3x9,store.header_write:torn=512");
}

static void rows_older_than_lost_writes_bring_no_wrong_byte(void)
{
	cut_power("store.write:lost@5x20,store.header_write:lost@2");
}

static void rows_older_than_late_writes_bring_no_wrong_byte(void)
{
	cut_power("store.write:late=20,store.header_write:late=10");
}

int main(void)
{
	RUN(a_truncated_store_is_read_past);
	RUN(a_store_of_zeros_is_noticed);
	RUN(an_unlinked_store_goes_on_and_is_made_anew);
	RUN(flipped_data_is_never_served);
	RUN(every_flipped_block_is_found);
	RUN(a_hit_verifies_its_own_blocks_only);
	RUN(slots_that_changed_places_are_not_mixed_up);
	RUN(one_superblock_is_enough);
	RUN(without_a_superblock_the_store_is_made_anew);
	RUN(flipped_headers_are_never_believed);
	RUN(lost_headers_are_never_believed);
	RUN(headers_in_another_place_are_never_believed);
	RUN(flips_anywhere_are_never_served);
	RUN(a_store_cut_while_closed_is_made_anew);
	RUN(verify_finds_and_drops_what_is_damaged);
	RUN(verify_can_be_stopped_and_tells_of_errors);
	RUN(check_is_content_after_an_orderly_stop);
	RUN(check_names_each_damaged_chunk);
	RUN(check_wants_both_files);
	RUN(rows_older_than_the_slots_bring_no_wrong_byte);
	RUN(rows_older_than_torn_writes_bring_no_wrong_byte);
	RUN(rows_older_than_lost_writes_bring_no_wrong_byte);
	RUN(rows_older_than_late_writes_bring_no_wrong_byte);
	return CHECK_RESULT();
}
