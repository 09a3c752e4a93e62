/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store's life: open, keep, evict, save, reopen, check. */
#include <pthread.h>

#include "cache_fixture.h"
#include "core.h"

static uint32_t n_image_chunks(const struct rig *g)
{
	return (uint32_t)(g->cfg.image_size / g->cfg.chunk);
}

/* Eight segments of eight 16 KiB slots: 1 MiB of chunks. */
static struct rig small_rig(void)
{
	return rig_with((struct rig_config){
		.store_size = PFS_MIB(1) + 8 * (4096 + 8 * PFS_KIB(16)),
	});
}

/* --- open --- */

static int open_error(struct pfs_store_config cfg)
{
	struct pfs_store *s = NULL;
	struct pfs_catalog *c;
	int err;

	scratch_reset();
	c = must_open();
	if (!cfg.path)
		cfg.path = in_scratch("store");
	cfg.catalog = c;
	err = pfs_store_open(&cfg, &s);
	CHECK(!err == !!s);
	pfs_store_close(s);
	pfs_catalog_close(c);
	return err;
}

static void impossible_configurations_are_refused(void)
{
	struct pfs_store_config good = {.chunk = KIB(64), .size = PFS_MIB(16)};
	struct pfs_store_config c = good;

	CHECK_EQ(open_error(good), 0);
	c.chunk = KIB(48);
	CHECK_EQ(open_error(c), -EINVAL);
	c.chunk = KIB(8);
	CHECK_EQ(open_error(c), -EINVAL);
	c.chunk = KIB(2048);
	CHECK_EQ(open_error(c), -EINVAL);
	c = good;
	c.size = PFS_MIB(2);
	CHECK_EQ(open_error(c), -ENOSPC);
	c = good;
	c.path = "/dev/null";
	CHECK_EQ(open_error(c), -EINVAL);
	c.path = "/nowhere/store";
	CHECK_EQ(open_error(c), -ENOENT);
	pfs_store_close(NULL);
}

static void a_folder_gets_a_file_named_store(void)
{
	scratch_reset();
	struct pfs_store_config cfg = {
		.path = scratch,
		.size = PFS_MIB(16),
		.chunk = KIB(64),
		.catalog = must_open(),
	};
	struct pfs_store *s = NULL;

	CHECK_EQ(pfs_store_open(&cfg, &s), 0);
	CHECK_EQ(access(in_scratch("store"), F_OK), 0);
	CHECK_EQ(pfs_store_chunk(s), KIB(64));
	pfs_store_close(s);
	pfs_catalog_close(cfg.catalog);
}

/* --- keeping --- */

static void chunks_survive_a_restart_and_verify(void)
{
	struct rig g = rig();
	struct pfs_verify_result v;

	fill_all(&g);
	rig_restart(&g);

	CHECK_EQ(status_of(&g).n_chunks, n_image_chunks(&g));
	CHECK_EQ(pfs_store_verify(g.store, g.row.id, NULL, &v), 0);
	CHECK_EQ(v.n_chunks, n_image_chunks(&g));
	CHECK_EQ(v.n_bad, 0);
	arm("source.read:eio");
	for (uint64_t off = 0; off < g.cfg.image_size; off += KIB(256))
		CHECK_EQ(read_same(&g, off, KIB(256)), PFS_READ_HIT);
	rig_end(&g);
}

static void what_a_mutation_dropped_stays_dropped_after_a_restart(void)
{
	struct rig g = rig();

	fill_all(&g);
	CHECK_EQ(pfs_store_image_save(g.img, NULL), 0);
	write_bytes(&g, KIB(64), KIB(16), 9, false);
	rig_restart(&g);

	CHECK_EQ(status_of(&g).n_chunks, n_image_chunks(&g) - 1);
	CHECK_EQ(read_same(&g, KIB(64), 4096), PFS_READ_MISS);
	CHECK_EQ(read_same(&g, KIB(80), 4096), PFS_READ_HIT);
	rig_end(&g);
}

static void another_epoch_starts_cold(void)
{
	struct rig g = rig();

	fill_all(&g);
	rig_stop(&g);
	poke(&g, 0, g.cfg.image_size, 3);
	g.catalog = must_open();
	CHECK_EQ(
		pfs_catalog_image_bump(g.catalog, g.row.id, NULL, &g.row.epoch),
		0);
	pfs_catalog_close(g.catalog);
	rig_start(&g);

	CHECK_EQ(status_of(&g).n_chunks, 0);
	fill_all(&g);
	rig_end(&g);
}

static void chunks_stored_after_a_reset_are_of_the_new_epoch(void)
{
	struct rig g = rig();
	uint64_t epoch = 0;

	fill_all(&g);
	CHECK_EQ(pfs_catalog_image_bump(g.catalog, g.row.id, NULL, &epoch), 0);
	pfs_store_image_reset(g.img, epoch);
	poke(&g, 0, g.cfg.image_size, 3);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_MISS);
	settle(&g);
	rig_restart(&g);

	CHECK_EQ(g.row.epoch, epoch);
	CHECK_EQ(status_of(&g).n_chunks, 1);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_HIT);
	rig_end(&g);
}

static void a_void_zone_starts_out_empty_and_its_row_goes(void)
{
	struct rig g = rig();
	uint32_t n = 9;

	fill_all(&g);
	g.cfg.is_cold = true;
	rig_restart(&g);
	CHECK_EQ(pfs_store_image_void(g.img, 0), 0);
	g.cfg.is_cold = false;
	rig_restart(&g);

	CHECK_EQ(pfs_store_residency(g.store, g.row.id, n_image_chunks(&g), &n,
				     1),
		 0);
	CHECK_EQ(n, 0);
	rig_end(&g);
}

static void a_damaged_row_costs_its_zone_only(void)
{
	struct rig g = rig();
	uint8_t junk[100] = {1, 2, 3};

	CHECK_EQ(pfs_store_image_load(g.img, 0, junk, sizeof(junk)), -EBADMSG);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	fill_all(&g);
	rig_end(&g);
}

static void another_catalog_or_shape_formats_the_store_anew(void)
{
	struct rig g = rig();
	uint64_t resets = counter(PFS_C_STORE_RESET);
	char uuid[37];

	fill_all(&g);
	snprintf(uuid, sizeof(uuid), "%s", status_of(&g).uuid);
	rig_restart(&g);
	CHECK_EQ(counter(PFS_C_STORE_RESET), resets);
	CHECK_STR(status_of(&g).uuid, uuid);

	g.cfg.chunk = KIB(64);
	rig_restart(&g);
	CHECK_EQ(counter(PFS_C_STORE_RESET), resets + 1);
	CHECK(strcmp(status_of(&g).uuid, uuid) != 0);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	fill_all(&g);

	rig_stop(&g);
	CHECK_EQ(unlink(db_path), 0);
	rig_start(&g);
	CHECK_EQ(counter(PFS_C_STORE_RESET), resets + 2);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	fill_all(&g);
	rig_end(&g);
}

/* It was once formatted in the shape of its rounded-down size, beside tables
 * of the old shape and checksums of the old uuid: nothing ever hit. */
static void a_segment_table_of_another_shape_starts_a_sound_store(void)
{
	struct rig g = rig();
	struct pfs_catalog_batch *b;
	uint32_t n = status_of(&g).n_segments;

	fill_all(&g);
	rig_stop(&g);
	g.catalog = must_open();
	b = must_batch(g.catalog);
	CHECK_EQ(pfs_catalog_batch_segments(b, "rubbish", 7), 0);
	CHECK_EQ(pfs_catalog_submit(g.catalog, b, true, NULL, NULL), 0);
	pfs_catalog_close(g.catalog);
	rig_start(&g);

	CHECK_EQ(status_of(&g).n_chunks, 0);
	CHECK_EQ(status_of(&g).n_segments, n);
	fill_all(&g);
	CHECK_EQ(read_same(&g, 0, KIB(256)), PFS_READ_HIT);
	rig_restart(&g);
	CHECK_EQ(read_same(&g, 0, KIB(256)), PFS_READ_HIT);
	rig_end(&g);
}

/* --- generations --- */

static void a_generation_is_never_used_twice(void)
{
	struct rig g = rig();
	uint64_t last = 0;

	for (int i = 0; i < 4; i++) {
		uint64_t gen = pfs_store_generation(g.store);

		CHECK(gen >= last);
		write_bytes(&g, 0, 1, (uint64_t)i, false);
		CHECK(read_same(&g, 0, 4096) >= 0);
		settle(&g);
		last = pfs_store_generation(g.store);
		CHECK(last >= gen + 3);
		rig_restart(&g);
	}
	rig_end(&g);
}

/* A worker that takes over from one that died goes on where that one was,
 * without a commit that it would have to wait for. */
static void a_successor_goes_on_with_what_was_reserved(void)
{
	struct pfs_store_gens gens = {0};
	struct rig g = rig();
	uint64_t last, limit;

	g.gens = &gens;
	rig_restart(&g);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_MISS);
	settle(&g);
	write_bytes(&g, KIB(64), 1, 1, false);
	last = pfs_store_generation(g.store);
	limit = gens.limit;
	CHECK_EQ(gens.last, last);
	rig_restart(&g);
	CHECK_EQ(pfs_store_generation(g.store), last);
	CHECK_EQ(gens.limit, limit);

	/* Few are left, or they are another store's: new ones. */
	atomic_store(&gens.last, limit - STORE_GENS / 2 + 1);
	rig_restart(&g);
	CHECK(pfs_store_generation(g.store) >= limit);
	last = gens.last;
	memset(gens.uuid, 9, sizeof(gens.uuid));
	atomic_store(&gens.last, 5);
	rig_restart(&g);
	CHECK(pfs_store_generation(g.store) > last);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_HIT);
	rig_end(&g);
}

static uint64_t gen_limit_of(struct pfs_store *s)
{
	uint64_t limit;

	pfs_mutex_lock(&s->lock);
	limit = s->gen_limit;
	pfs_mutex_unlock(&s->lock);
	return limit;
}

static void set_gen(struct pfs_store *s, uint64_t gen)
{
	pfs_mutex_lock(&s->lock);
	s->gen = gen;
	pfs_mutex_unlock(&s->lock);
}

/* Mutations that drop nothing use generations up too, and once no one woke
 * the thread that reserves more. */
static void generations_are_reserved_before_they_run_out(void)
{
	struct rig g = rig();
	uint64_t limit = gen_limit_of(g.store);

	set_gen(g.store, limit - STORE_GENS / 2 - 1);
	write_bytes(&g, 0, 1, 1, false);

	CHECK(EVENTUALLY(gen_limit_of(g.store) > limit));
	rig_end(&g);
}

static void nothing_is_stored_under_a_generation_not_reserved(void)
{
	struct rig g = rig();
	uint64_t limit = gen_limit_of(g.store);

	arm("catalog.commit:enospc");
	set_gen(g.store, limit - 10);
	CHECK_EQ(read_same(&g, 0, KIB(256)), PFS_READ_MISS); /* 16 chunks */
	settle(&g);
	CHECK(pfs_store_generation(g.store) <= limit);
	write_bytes(&g, 0, 1, 1, false);
	for (int i = 0; i < 10; i++)
		write_bytes(&g, 0, 1, 1, false);
	CHECK_EQ(read_same(&g, KIB(512), 4096), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(read_same(&g, KIB(512), 4096), PFS_READ_MISS);
	settle(&g);
	rig_end(&g);
}

/* --- eviction --- */

static void a_small_store_serves_a_large_image(void)
{
	struct rig g = small_rig();
	uint64_t evicted = counter(PFS_C_EVICT_CHUNKS);

	for (int i = 0; i < 50; i++) {
		read_all_same(&g, KIB(64));
		if (counter(PFS_C_EVICT_CHUNKS) - evicted > n_image_chunks(&g))
			break;
	}
	CHECK(counter(PFS_C_EVICT_CHUNKS) - evicted > n_image_chunks(&g));
	read_random_same(&g, 200, KIB(256));
	settle(&g);

	CHECK(status_of(&g).n_chunks <= 64);
	CHECK(status_of(&g).n_chunks >= 8);
	rig_end(&g);
}

static void chunks_that_are_hit_outlive_those_that_are_not(void)
{
	struct rig g = small_rig();
	uint64_t kept = counter(PFS_C_EVICT_REINSERTED);
	int n_hits = 0;

	/* Four chunks that are read all the time, between a scan. */
	for (uint64_t off = KIB(64); off < g.cfg.image_size; off += KIB(16)) {
		n_hits += read_same(&g, off % KIB(64), 512) == PFS_READ_HIT;
		CHECK(read_same(&g, off, 4096) >= 0);
		settle(&g);
	}

	CHECK(counter(PFS_C_EVICT_REINSERTED) > kept);
	CHECK(n_hits > 200); /* of 252 */
	CHECK_EQ(read_same(&g, PFS_MIB(1), 512), PFS_READ_MISS);
	rig_end(&g);
}

static uint32_t n_paused(enum pfs_fault_point p)
{
	uint64_t n_fired;
	uint32_t n;

	pfs_fault_stat(p, &n, &n_fired);
	return n;
}

/* A reader that waited for a reinsertion was once never answered. */
static void a_bad_chunk_found_while_it_is_reinserted_is_fetched(void)
{
	struct rig g = small_rig();
	int fd = open_store_file();

	CHECK_EQ(read_same(&g, 0, 512), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(read_same(&g, 0, 512), PFS_READ_HIT);
	flip_byte(fd, geometry_slot_off(&g.store->g, 0) + 5);
	/* From here on only eviction reads the store. */
	arm("store.read:pausex1");
	for (uint64_t off = KIB(16); off < PFS_MIB(2); off += KIB(16)) {
		if (n_paused(PFS_FP_STORE_READ))
			break;
		CHECK_EQ(read_same(&g, off, 512), PFS_READ_MISS);
		CHECK(EVENTUALLY((turn_lane(g.lane),
				  !status_of(&g).n_fetching ||
					  n_paused(PFS_FP_STORE_READ))));
	}
	CHECK(EVENTUALLY(n_paused(PFS_FP_STORE_READ)));

	CHECK_EQ(read_same(&g, 0, 512), PFS_READ_DIRECT); /* it is bad */
	CHECK_EQ(read_same(&g, 0, 512), PFS_READ_MISS);
	pfs_fault_resume(PFS_FP_STORE_READ);
	settle(&g);
	CHECK(read_same(&g, 0, 512) >= 0);
	close(fd);
	rig_end(&g);
}

static void detached_images_leave_and_come_back_warm(void)
{
	struct rig g = rig();

	fill_all(&g);
	pfs_store_image_detach(g.img);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	CHECK_EQ(pfs_catalog_flush(g.catalog), 0);
	CHECK_EQ(pfs_store_image_attach(g.store, g.row.id, g.row.epoch, g.src,
					&g.img),
		 0);
	CHECK_EQ(pfs_catalog_zones_load(g.catalog, g.row.id, g.row.epoch,
					load_zone_row, &g),
		 0);

	CHECK_EQ(status_of(&g).n_chunks, n_image_chunks(&g));
	CHECK_EQ(read_same(&g, 0, KIB(256)), PFS_READ_HIT);
	rig_end(&g);
}

/* Rows of an image that was away name slots that others have meanwhile. */
static void rows_of_evicted_chunks_are_not_believed(void)
{
	struct rig g = small_rig();
	struct pfs_store_image *other;
	struct opened row = must_open_image(g.catalog, "other.img", 2);
	struct pfs_store_image *img = g.img;

	CHECK_EQ(pfs_store_image_attach(g.store, row.id, row.epoch, g.src,
					&other),
		 0);
	for (uint64_t off = 0; off < KIB(512); off += KIB(16))
		CHECK(read_same(&g, off, 512) >= 0);
	settle(&g);
	pfs_store_image_detach(img);
	CHECK_EQ(pfs_catalog_flush(g.catalog), 0);
	g.img = other;
	read_all_same(&g, KIB(64));
	CHECK_EQ(pfs_store_image_attach(g.store, g.row.id, g.row.epoch, g.src,
					&g.img),
		 0);
	CHECK_EQ(pfs_catalog_zones_load(g.catalog, g.row.id, g.row.epoch,
					load_zone_row, &g),
		 0);
	read_all_same(&g, KIB(64));
	pfs_store_image_detach(other);
	rig_end(&g);
}

/* --- saving --- */

static int count_row(void *arg, uint32_t zone, const void *blob, size_t len)
{
	(void)zone;
	(void)blob;
	(void)len;
	++*(int *)arg;
	return 0;
}

static int n_saved_rows(struct rig *g)
{
	int n = 0;

	CHECK_EQ(pfs_catalog_zones_load(g->catalog, g->row.id, g->row.epoch,
					count_row, &n),
		 0);
	return n;
}

/* Success is what the caller clears the image's mark for. */
static void a_save_succeeds_only_if_the_rows_are_there(void)
{
	for (int n_failing = 1; n_failing <= 3; n_failing++) {
		struct rig g = rig();
		char spec[64];
		int err;

		fill_all(&g);
		snprintf(spec, sizeof(spec), "catalog.commit:enospcx%d",
			 n_failing);
		arm(spec);
		err = pfs_store_image_save(g.img, NULL);
		CHECK(err == -ENOSPC || (!err && n_saved_rows(&g) == 1));
		pfs_fault_clear();
		CHECK_EQ(pfs_store_image_save(g.img, NULL), 0);
		CHECK_EQ(n_saved_rows(&g), 1);
		rig_end(&g);
	}
}

/* Commits that fail at once made the dirty rows come round for ever. */
static void a_full_disk_does_not_hold_up_detach_or_close(void)
{
	struct rig g = rig();

	fill_all(&g);
	arm("catalog.commit:enospc");
	CHECK_EQ(pfs_store_image_save(g.img, NULL), -ENOSPC);
	rig_stop(&g);
	pfs_fault_clear();
	rig_start(&g);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	rig_end(&g);
}

static bool is_table_dirty(struct rig *g)
{
	bool is_dirty;

	pfs_mutex_lock(&g->store->lock);
	is_dirty = g->store->segments_dirty;
	pfs_mutex_unlock(&g->store->lock);
	return is_dirty;
}

/* Rows are judged by the segment table at the next start. */
static void a_segment_table_that_was_not_saved_is_saved_later(void)
{
	struct rig g = rig();
	uint32_t n;

	CHECK_EQ(read_same(&g, 0, 512), PFS_READ_MISS); /* opens a segment */
	settle(&g);
	CHECK(is_table_dirty(&g));
	arm("catalog.commit:enospc");
	CHECK_EQ(store_save_zones(g.store, NULL, NULL, false, 64, &n), 0);
	(void)!pfs_catalog_flush(g.catalog);
	CHECK(is_table_dirty(&g));
	pfs_fault_clear();
	CHECK_EQ(pfs_store_image_save(g.img, NULL), 0);
	CHECK(!is_table_dirty(&g));
	rig_end(&g);
}

static void a_save_ends_though_fills_go_on(void)
{
	struct rig g = rig();

	for (uint64_t off = 0; off < PFS_MIB(1); off += KIB(16)) {
		CHECK_EQ(read_same(&g, off, 512), PFS_READ_MISS);
		CHECK_EQ(pfs_store_image_save(g.img, NULL), 0);
	}
	rig_end(&g);
}

struct saved {
	_Atomic uint32_t n;
	_Atomic uint64_t image;
};

static void note_saved(void *arg, uint64_t image, uint32_t zone)
{
	struct saved *s = arg;

	CHECK_EQ(zone, 0);
	atomic_store(&s->image, image);
	atomic_fetch_add(&s->n, 1);
}

static void a_zone_is_clean_only_if_nothing_changed_since(void)
{
	struct rig g = rig();
	struct pfs_mutation m;
	struct saved saved = {0};

	/* The store has no other way to be told of a listener. */
	g.store->zone_saved = note_saved;
	g.store->arg = &saved;
	fill_all(&g);
	CHECK_EQ(pfs_store_image_save(g.img, NULL), 0);
	CHECK_EQ(atomic_load(&saved.n), 1);
	CHECK_EQ(atomic_load(&saved.image), g.row.id);

	pfs_store_mutate_begin(g.img, 0, 1, &m);
	CHECK_EQ(pfs_store_image_save(g.img, NULL), 0);
	CHECK_EQ(atomic_load(&saved.n), 1); /* still being written to */
	pfs_store_mutate_end(&m, 0, NULL, 0);
	CHECK_EQ(read_same(&g, 0, 512), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(pfs_store_image_save(g.img, NULL), 0);
	CHECK_EQ(atomic_load(&saved.n), 2);
	rig_end(&g);
}

static void a_zone_changed_while_it_was_saved_is_not_clean(void)
{
	struct rig g = rig();
	struct saved saved = {0};
	uint32_t n = 0;

	g.store->zone_saved = note_saved;
	g.store->arg = &saved;
	fill_all(&g);
	arm("catalog.commit:pausex1");
	CHECK_EQ(store_save_zones(g.store, g.img, NULL, false, 64, &n), 0);
	CHECK_EQ(n, 1);
	CHECK(EVENTUALLY(n_paused(PFS_FP_CATALOG_COMMIT)));
	write_bytes(&g, 0, 1, 5, false);
	pfs_fault_resume(PFS_FP_CATALOG_COMMIT);
	CHECK_EQ(pfs_catalog_flush(g.catalog), 0);

	CHECK_EQ(atomic_load(&saved.n), 0);
	CHECK_EQ(pfs_store_image_save(g.img, NULL), 0);
	CHECK_EQ(atomic_load(&saved.n), 1);
	rig_end(&g);
}

/* --- looking at it --- */

static void residency_counts_attached_and_saved_chunks_alike(void)
{
	struct rig g = rig();
	uint32_t part[4];

	CHECK(read_same(&g, 0, KIB(64)) >= 0);
	CHECK(read_same(&g, PFS_MIB(3), KIB(16)) >= 0);
	settle(&g);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(pfs_store_residency(g.store, g.row.id,
					     n_image_chunks(&g), part, 4),
			 0);
		CHECK(part[0] == 4 && !part[1] && !part[2] && part[3] == 1);
		g.cfg.is_cold = true;
		if (!i)
			rig_restart(&g);
		if (g.img)
			pfs_store_image_detach(g.img);
		g.img = NULL;
	}
	CHECK_EQ(pfs_store_residency(g.store, 999, 10, part, 4), -ENOENT);
	rig_end(&g);
}

static void residency_of_a_whole_image_is_its_count(void)
{
	struct rig g = rig();
	uint32_t n = 0;

	CHECK(read_same(&g, PFS_MIB(1), KIB(64)) >= 0);
	settle(&g);
	CHECK_EQ(pfs_store_residency(g.store, g.row.id, n_image_chunks(&g), &n,
				     1),
		 0);
	CHECK_EQ(n, 4);
	rig_end(&g);
}

static void dropped_chunks_are_gone_after_a_restart_too(void)
{
	struct rig g = rig();
	uint64_t n = 0;

	fill_all(&g);
	CHECK_EQ(pfs_store_drop(g.store, g.row.id + 1, &n), 0);
	CHECK_EQ(n, 0);
	CHECK_EQ(pfs_store_drop(g.store, g.row.id, &n), 0);
	CHECK_EQ(n, n_image_chunks(&g));
	CHECK_EQ(status_of(&g).n_chunks, 0);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(pfs_store_drop(g.store, 0, &n), 0);
	CHECK_EQ(n, 1);
	rig_restart(&g);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	rig_end(&g);
}

static void the_index_takes_under_64_bytes_a_chunk(void)
{
	struct rig g = rig_with((struct rig_config){
		.image_size = PFS_MIB(64),
		.store_size = PFS_MIB(80),
	});
	struct pfs_store_status st;
	uint64_t idle = status_of(&g).index_bytes;

	/* Scattered: one chunk of each MiB. */
	for (uint64_t off = 0; off < g.cfg.image_size; off += PFS_MIB(1))
		CHECK(read_same(&g, off, 4096) >= 0);
	settle(&g);
	st = status_of(&g);
	CHECK_EQ(st.n_chunks, 64);
	CHECK(st.index_bytes - idle <= 64 * st.n_chunks);
	fill_all(&g);
	st = status_of(&g);
	CHECK(st.index_bytes <= 32 * st.n_chunks);
	rig_end(&g);
}

int main(void)
{
	RUN(impossible_configurations_are_refused);
	RUN(a_folder_gets_a_file_named_store);
	RUN(chunks_survive_a_restart_and_verify);
	RUN(what_a_mutation_dropped_stays_dropped_after_a_restart);
	RUN(another_epoch_starts_cold);
	RUN(chunks_stored_after_a_reset_are_of_the_new_epoch);
	RUN(a_void_zone_starts_out_empty_and_its_row_goes);
	RUN(a_damaged_row_costs_its_zone_only);
	RUN(another_catalog_or_shape_formats_the_store_anew);
	RUN(a_segment_table_of_another_shape_starts_a_sound_store);
	RUN(a_generation_is_never_used_twice);
	RUN(a_successor_goes_on_with_what_was_reserved);
	RUN(generations_are_reserved_before_they_run_out);
	RUN(nothing_is_stored_under_a_generation_not_reserved);
	RUN(a_small_store_serves_a_large_image);
	RUN(chunks_that_are_hit_outlive_those_that_are_not);
	RUN(a_bad_chunk_found_while_it_is_reinserted_is_fetched);
	RUN(detached_images_leave_and_come_back_warm);
	RUN(rows_of_evicted_chunks_are_not_believed);
	RUN(a_save_succeeds_only_if_the_rows_are_there);
	RUN(a_full_disk_does_not_hold_up_detach_or_close);
	RUN(a_segment_table_that_was_not_saved_is_saved_later);
	RUN(a_save_ends_though_fills_go_on);
	RUN(a_zone_is_clean_only_if_nothing_changed_since);
	RUN(a_zone_changed_while_it_was_saved_is_not_clean);
	RUN(residency_counts_attached_and_saved_chunks_alike);
	RUN(residency_of_a_whole_image_is_its_count);
	RUN(dropped_chunks_are_gone_after_a_restart_too);
	RUN(the_index_takes_under_64_bytes_a_chunk);
	return CHECK_RESULT();
}
