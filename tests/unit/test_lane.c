/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pthread.h>

#include <pfs/mutex.h>

#include "cache_fixture.h"

/* --- outcomes --- */

static void a_first_read_misses_and_a_second_hits(void)
{
	struct rig g = rig();
	uint64_t hits = counter(PFS_C_HIT_BYTES);

	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_HIT);
	CHECK_EQ(read_same(&g, 12288, 4096), PFS_READ_HIT);
	CHECK_EQ(counter(PFS_C_HIT_BYTES) - hits, 8192);
	CHECK_EQ(status_of(&g).n_chunks, 1);
	rig_end(&g);
}

static void a_hit_never_asks_the_source(void)
{
	struct rig g = rig();

	fill_all(&g);
	arm("source.read:eio");
	for (uint64_t off = 0; off < g.cfg.image_size; off += KIB(64))
		CHECK_EQ(read_same(&g, off, KIB(64)), PFS_READ_HIT);
	rig_end(&g);
}

static void a_read_of_a_chunk_in_flight_is_late(void)
{
	struct rig g = rig();
	uint8_t buf[2][4096];
	struct answer a = {.into = buf[0]}, b = {.into = buf[1]};
	uint64_t fetches = counter(PFS_C_FETCHES);

	begin_read(&g, g.lane, 0, 4096, &a);
	begin_read(&g, g.lane, 4096, 4096, &b);
	finish_read(g.lane, &a);
	finish_read(g.lane, &b);

	CHECK_EQ(a.outcome, PFS_READ_MISS);
	CHECK_EQ(b.outcome, PFS_READ_LATE);
	CHECK(!memcmp(buf[1], g.bytes + 4096, 4096));
	CHECK_EQ(counter(PFS_C_FETCHES) - fetches, 1);
	rig_end(&g);
}

static void a_chunk_fetched_but_not_stored_is_copied(void)
{
	struct rig g = rig();

	arm("store.write:stall=60x1");
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_MISS);
	arm("source.read:eio");
	CHECK_EQ(read_same(&g, 8192, 4096), PFS_READ_LATE);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	settle(&g);
	CHECK_EQ(read_same(&g, 8192, 4096), PFS_READ_HIT);
	rig_end(&g);
}

static void a_read_across_chunks_mixes_hits_and_fetches(void)
{
	struct rig g = rig();
	uint64_t bytes = counter(PFS_C_FETCH_BYTES);

	CHECK_EQ(read_same(&g, KIB(32), 4096), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(read_same(&g, 4000, KIB(64)), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(counter(PFS_C_FETCH_BYTES) - bytes, 5 * KIB(16));
	CHECK_EQ(read_same(&g, 4000, KIB(64)), PFS_READ_HIT);
	rig_end(&g);
}

static void a_hole_is_zeros_without_a_fetch(void)
{
	struct rig g = rig();

	memset(g.bytes + KIB(64), 0, KIB(128));
	write_image(&g);
	pfs_store_image_holes(g.img, KIB(64), KIB(128),
			      pfs_store_generation(g.store));
	arm("source.read:eio");

	CHECK_EQ(read_same(&g, KIB(64) + 5, 1000), PFS_READ_HOLE);
	CHECK_EQ(read_same(&g, KIB(64), KIB(128)), PFS_READ_HOLE);
	CHECK_EQ(read_same(&g, KIB(64) - 1, 2), -EIO);
	CHECK_EQ(read_same(&g, KIB(192), 1), -EIO);
	rig_end(&g);
}

static void only_whole_chunks_become_holes(void)
{
	struct rig g = rig();

	pfs_store_image_holes(g.img, KIB(64) + 1, KIB(32),
			      pfs_store_generation(g.store));

	CHECK_EQ(read_same(&g, KIB(64), 4096), PFS_READ_MISS);
	CHECK_EQ(read_same(&g, KIB(96), 4096), PFS_READ_MISS);
	memset(g.bytes + KIB(80), 0, KIB(16)); /* what the map says */
	CHECK_EQ(read_same(&g, KIB(80), 4096), PFS_READ_HOLE);
	rig_end(&g);
}

static void an_image_without_a_store_is_read_past_it(void)
{
	struct rig g = rig();
	struct pfs_store_image *img = g.img;
	struct pfs_lane *bare = must_lane(NULL, 1, 1);
	struct pfs_lane *lane = g.lane;

	g.img = NULL;
	CHECK_EQ(read_same(&g, 77, 5000), PFS_READ_DIRECT);
	g.lane = bare;
	CHECK_EQ(read_same(&g, 77, 5000), PFS_READ_DIRECT);
	g.lane = lane;
	g.img = img;
	pfs_lane_destroy(bare);
	rig_end(&g);
}

static void an_expelled_image_is_read_past_the_store(void)
{
	struct rig g = rig();

	read_all_same(&g, KIB(64));
	pfs_store_image_expel(g.img);

	CHECK(pfs_store_image_expelled(g.img));
	CHECK_EQ(status_of(&g).n_chunks, 0);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_DIRECT);
	settle(&g);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	rig_end(&g);
}

static void a_read_that_finds_no_buffer_goes_to_the_source(void)
{
	struct rig g = rig_with((struct rig_config){.n_fetch = 32});

	/* 64 chunks, and there are 32 buffers. */
	CHECK_EQ(read_same(&g, 0, PFS_READ_MAX), PFS_READ_DIRECT);
	settle(&g);
	CHECK_EQ(status_of(&g).n_chunks, 32);
	rig_end(&g);
}

/* --- bytes --- */

static void reads_of_any_shape_return_the_image(uint32_t chunk,
						enum pfs_store_io io)
{
	/* Ends inside a chunk, a block and a sector. */
	struct rig g = rig_with((struct rig_config){
		.chunk = chunk,
		.store_size = PFS_MAX(PFS_MIB(32), 50ull * chunk),
		.image_size = PFS_MIB(3) + KIB(20) + 777,
		.io = io,
	});
	uint64_t hits = counter(PFS_C_HIT_BYTES);

	read_random_same(&g, 300, PFS_READ_MAX);
	settle(&g);
	read_random_same(&g, 300, PFS_READ_MAX);
	CHECK(counter(PFS_C_HIT_BYTES) > hits);
	CHECK_EQ(read_same(&g, g.cfg.image_size - 1, 1), PFS_READ_HIT);
	rig_end(&g);
}

static void reads_of_any_shape_in_16k_chunks(void)
{
	reads_of_any_shape_return_the_image(KIB(16), PFS_STORE_IO_AUTO);
}

static void reads_of_any_shape_in_64k_chunks(void)
{
	reads_of_any_shape_return_the_image(KIB(64), PFS_STORE_IO_AUTO);
}

static void reads_of_any_shape_in_1m_chunks(void)
{
	reads_of_any_shape_return_the_image(KIB(1024), PFS_STORE_IO_AUTO);
}

static void reads_of_any_shape_through_the_page_cache(void)
{
	reads_of_any_shape_return_the_image(KIB(64), PFS_STORE_IO_BUFFERED);
}

static void many_reads_at_once_all_come_back(void)
{
	struct rig g = rig();
	static struct answer a[72];
	static uint8_t buf[72][4096];

	for (int round = 0; round < 4; round++) {
		uint64_t off[72];

		for (int i = 0; i < 72; i++) {
			uint32_t len = i < 64 ? 4096 : PFS_READ_MAX;

			off[i] = rand_below((g.cfg.image_size - len) / 512) *
				 512;
			a[i] = (struct answer){.into = i < 64 ? buf[i] : NULL};
			begin_read(&g, g.lane, off[i], len, &a[i]);
		}
		/* Later on some are answered at once. */
		CHECK(round || !pfs_lane_has_room(g.lane));
		for (int i = 0; i < 72; i++) {
			finish_read(g.lane, &a[i]);
			CHECK_EQ(a[i].err, 0);
			CHECK(i >= 64 ||
			      !memcmp(buf[i], g.bytes + off[i], 4096));
		}
		CHECK(pfs_lane_has_room(g.lane));
	}
	rig_end(&g);
}

/* What the size table promises beyond the end of the file is zeros. */
static void bytes_beyond_the_end_of_the_source_are_zeros(void)
{
	struct rig g = rig();
	uint64_t cut = PFS_MIB(2) + 1234;

	memset(g.bytes + cut, 0, g.cfg.image_size - cut);
	CHECK_EQ(ftruncate(g.fd, (off_t)cut), 0);

	CHECK(read_same(&g, cut - 100, 4096) >= 0);
	read_all_same(&g, KIB(256));
	read_all_same(&g, KIB(256));
	pfs_store_image_expel(g.img);
	read_all_same(&g, KIB(256));
	rig_end(&g);
}

static void a_source_that_answers_in_small_pieces_is_asked_again(void)
{
	struct rig g = rig();

	arm("source.read:short=3000");
	CHECK_EQ(read_same(&g, 100, KIB(100)), PFS_READ_MISS);
	settle(&g);
	CHECK_EQ(read_same(&g, 100, KIB(100)), PFS_READ_HIT);
	pfs_store_image_expel(g.img);
	CHECK_EQ(read_same(&g, 100, KIB(100)), PFS_READ_DIRECT);
	rig_end(&g);
}

/* --- the source's errors --- */

static void an_error_of_the_source_is_the_readers(void)
{
	struct rig g = rig();

	arm("source.read:eio");
	CHECK_EQ(read_same(&g, 0, 4096), -EIO);
	pfs_fault_clear();
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_MISS);
	rig_end(&g);
}

/* The fetch failed, the reader's own read did not. */
static void an_error_of_a_fetch_alone_is_nobodys(void)
{
	struct rig g = rig();
	uint8_t buf[4096];
	struct answer a = {.into = buf}, b = {0};

	arm("source.read:eiox1");
	begin_read(&g, g.lane, 4096, 4096, &a);
	begin_read(&g, g.lane, 8192, 4096, &b);
	finish_read(g.lane, &a);
	finish_read(g.lane, &b);

	CHECK_EQ(a.err, 0);
	CHECK_EQ(b.err, 0);
	CHECK(!memcmp(buf, g.bytes + 4096, 4096));
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_MISS);
	rig_end(&g);
}

/* --- lanes of several threads --- */

#define THREADS 3

struct reader {
	struct rig *g;
	uint64_t seed;
	pthread_barrier_t *start;
	int n_wrong;
};

/* The whole image in 64 KiB reads, several under way, from another place in
 * each thread. */
static void *read_everything(void *arg)
{
	struct reader *r = arg;
	struct pfs_lane *l = must_lane(r->g->store, 8, 1);
	uint64_t n = r->g->cfg.image_size / KIB(64);
	uint8_t *buf = malloc(8 * (size_t)KIB(64));

	pthread_barrier_wait(r->start);
	for (uint64_t i = 0; i < n; i += 8) {
		struct answer a[8];

		for (uint64_t k = 0; k < 8; k++) {
			a[k] = (struct answer){.into = buf + k * KIB(64)};
			begin_read(r->g, l, (i + k) * KIB(64), KIB(64), &a[k]);
		}
		for (uint64_t k = 0; k < 8; k++) {
			finish_read(l, &a[k]);
			r->n_wrong += a[k].err ||
				      memcmp(a[k].into,
					     r->g->bytes + (i + k) * KIB(64),
					     KIB(64)) != 0;
		}
	}
	while (pfs_lane_n_reads(l) || !pfs_lane_is_idle(l))
		turn_lane(l);
	pthread_barrier_wait(r->start);
	pfs_lane_destroy(l);
	free(buf);
	return NULL;
}

static void each_chunk_is_fetched_once_by_three_lanes(void)
{
	struct rig g = rig();
	uint64_t fetches = counter(PFS_C_FETCHES);
	struct reader r[THREADS];
	pthread_barrier_t start;
	pthread_t t[THREADS];

	pthread_barrier_init(&start, NULL, THREADS);
	for (int i = 0; i < THREADS; i++) {
		r[i] = (struct reader){.g = &g, .start = &start};
		CHECK_EQ(pfs_thread_start(&t[i], "reader", read_everything,
					  &r[i]),
			 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		CHECK_EQ(r[i].n_wrong, 0);
	}

	CHECK_EQ(counter(PFS_C_FETCHES) - fetches,
		 g.cfg.image_size / g.cfg.chunk);
	pthread_barrier_destroy(&start);
	rig_end(&g);
}

/* --- requests --- */

static void a_request_not_started_can_be_given_back(void)
{
	struct rig g = rig();
	struct pfs_lane *l = must_lane(g.store, 1, 1);
	struct pfs_read *a = pfs_lane_get(l, 512);

	CHECK(a && !pfs_lane_get(l, 512));
	CHECK_EQ(pfs_lane_n_reads(l), 1);
	pfs_lane_put(l, a);
	CHECK_EQ(pfs_lane_n_reads(l), 0);
	CHECK(!pfs_lane_get(l, PFS_READ_MAX + 1));
	a = pfs_lane_get(l, PFS_READ_MAX);
	CHECK(a);
	pfs_lane_put(l, a);
	pfs_lane_destroy(l);
	rig_end(&g);
}

static void check_head(void *arg, struct pfs_read *r, int err)
{
	*(bool *)r->owner = true;
	CHECK_EQ(err, 0);
	memset(r->data - 16, 0xff, 16); /* a FUSE header */
	CHECK(arg == NULL);
}

static void there_is_room_for_a_header_before_the_bytes(void)
{
	struct rig g = rig();
	struct pfs_lane_config cfg = {.store = g.store, .reply = check_head};
	struct pfs_lane *l = NULL;

	CHECK_EQ(pfs_lane_create(&cfg, &l), 0);
	for (uint64_t off = 0; off < KIB(64); off += 4097) {
		struct pfs_read *r = pfs_lane_get(l, 100);
		bool is_done = false;

		r->img = g.img;
		r->src = g.src;
		r->off = off;
		r->len = 100;
		r->owner = &is_done;
		pfs_lane_read(l, r);
		while (!is_done || !pfs_lane_is_idle(l))
			turn_lane(l);
	}
	pfs_lane_destroy(l);
	rig_end(&g);
}

int main(void)
{
	RUN(a_first_read_misses_and_a_second_hits);
	RUN(a_hit_never_asks_the_source);
	RUN(a_read_of_a_chunk_in_flight_is_late);
	RUN(a_chunk_fetched_but_not_stored_is_copied);
	RUN(a_read_across_chunks_mixes_hits_and_fetches);
	RUN(a_hole_is_zeros_without_a_fetch);
	RUN(only_whole_chunks_become_holes);
	RUN(an_image_without_a_store_is_read_past_it);
	RUN(an_expelled_image_is_read_past_the_store);
	RUN(a_read_that_finds_no_buffer_goes_to_the_source);
	RUN(reads_of_any_shape_in_16k_chunks);
	RUN(reads_of_any_shape_in_64k_chunks);
	RUN(reads_of_any_shape_in_1m_chunks);
	RUN(reads_of_any_shape_through_the_page_cache);
	RUN(many_reads_at_once_all_come_back);
	RUN(bytes_beyond_the_end_of_the_source_are_zeros);
	RUN(a_source_that_answers_in_small_pieces_is_asked_again);
	RUN(an_error_of_the_source_is_the_readers);
	RUN(an_error_of_a_fetch_alone_is_nobodys);
	RUN(each_chunk_is_fetched_once_by_three_lanes);
	RUN(a_request_not_started_can_be_given_back);
	RUN(there_is_room_for_a_header_before_the_bytes);
	return CHECK_RESULT();
}
