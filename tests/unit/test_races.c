/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fills against mutations.  A reader's lane is stopped at each step of a fill,
 * the bytes of the image change, and the reader goes on: from the end of the
 * mutation on nobody may see the old bytes, neither at once nor later.
 */
#include <pthread.h>

#include <pfs/mutex.h>

#include "cache_fixture.h"
#include "core.h"

#define AT KIB(64) /* what is read and changed: one chunk of 16 KiB */

/* --- a reader on a thread of its own --- */

struct reader {
	struct rig *g;
	pthread_t thread;
	uint64_t off;
	uint8_t buf[4096];
	struct answer a;
};

static void *read_one(void *arg)
{
	struct reader *r = arg;
	struct pfs_lane *l = must_lane(r->g->store, 1, 1);

	r->a.into = r->buf;
	begin_read(r->g, l, r->off, sizeof(r->buf), &r->a);
	finish_read(l, &r->a);
	while (!pfs_lane_is_idle(l) || pfs_lane_n_reads(l))
		turn_lane(l);
	pfs_lane_destroy(l);
	return NULL;
}

static void start_reader(struct reader *r, struct rig *g)
{
	memset(r, 0, sizeof(*r));
	r->g = g;
	r->off = AT;
	CHECK_EQ(pfs_thread_start(&r->thread, "reader", read_one, r), 0);
}

static uint32_t n_paused(enum pfs_fault_point p)
{
	uint64_t n_fired;
	uint32_t n;

	pfs_fault_stat(p, &n, &n_fired);
	return n;
}

static void pause_once_at(enum pfs_fault_point p)
{
	char spec[64];

	snprintf(spec, sizeof(spec), "%s:pausex1", pfs_fault_name(p));
	arm(spec);
}

static void go_on(struct reader *r, enum pfs_fault_point p)
{
	pfs_fault_resume(p);
	pthread_join(r->thread, NULL);
	settle(r->g);
}

/* --- every step of a fill, every order of a mutation --- */

static const enum pfs_fault_point steps[] = {
	PFS_FP_FETCH_BEGIN, PFS_FP_FETCH_READ, PFS_FP_FETCH_REPLIED,
	PFS_FP_FETCH_STORED, PFS_FP_FETCH_INSERT};

/* When the fetch is stopped relative to the mutation's begin, its change of
 * bytes, and its end. */
enum order {
	FETCH_THEN_ALL,   /* the whole mutation happens meanwhile */
	BEGIN_THEN_FETCH, /* change and end happen meanwhile */
	CHANGE_THEN_FETCH,
	FETCH_THEN_BEGIN, /* change and end come after the fill */
	N_ORDERS,
};

struct scene {
	struct rig *g;
	struct pfs_mutation m;
	uint64_t len;
	uint64_t seed;
	bool is_planted;
	unsigned int n_stale;
};

static void begin(struct scene *s)
{
	pfs_store_mutate_begin(s->g->img, AT, s->len, &s->m);
}

static void change(struct scene *s)
{
	poke(s->g, AT, KIB(16), s->seed);
}

static void end(struct scene *s)
{
	pfs_store_mutate_end(&s->m, 0, NULL, 0);
}

static void look(struct scene *s)
{
	uint8_t buf[4096];
	struct answer a = read_into(s->g, AT, sizeof(buf), buf);

	CHECK_EQ(a.err, 0);
	s->n_stale += memcmp(buf, s->g->bytes + AT, sizeof(buf)) != 0;
}

static void play(struct scene *s, enum pfs_fault_point step, enum order order)
{
	struct reader r;

	if (order == BEGIN_THEN_FETCH || order == CHANGE_THEN_FETCH)
		begin(s);
	if (order == CHANGE_THEN_FETCH)
		change(s);
	pause_once_at(step);
	start_reader(&r, s->g);
	CHECK(EVENTUALLY(n_paused(step) == 1));

	if (order == FETCH_THEN_ALL || order == FETCH_THEN_BEGIN)
		begin(s);
	if (order == FETCH_THEN_ALL || order == BEGIN_THEN_FETCH)
		change(s);
	if (order != FETCH_THEN_BEGIN) {
		end(s);
		/* With the bug it would join the fetch that is stopped. */
		if (!s->is_planted)
			look(s);
	}
	go_on(&r, step);
	if (order == FETCH_THEN_BEGIN) {
		change(s);
		end(s);
	}
	look(s);
	settle(s->g);
	look(s);
	CHECK_EQ(r.a.err, 0);
}

/* How many of all scenes show old bytes after the mutation's end. */
static unsigned int play_all(uint64_t len, bool is_planted)
{
	unsigned int n_bad = 0;
	struct rig g = rig();

	for (size_t i = 0; i < PFS_ARRAY_SIZE(steps); i++) {
		for (enum order o = 0; o < N_ORDERS; o++) {
			struct scene s = {.g = &g,
					  .len = len,
					  .seed = 1000 + i * N_ORDERS + o,
					  .is_planted = is_planted};

			pfs_fault_clear();
			write_bytes(&g, AT, KIB(16), s.seed + 500, false);
			if (is_planted)
				arm("plant.one_invalidation:eio");
			play(&s, steps[i], o);
			n_bad += s.n_stale != 0;
		}
	}
	rig_end(&g);
	return n_bad;
}

static void no_fill_brings_back_bytes_from_before_a_write(void)
{
	CHECK_EQ(play_all(KIB(16), false), 0);
}

static void no_fill_brings_back_bytes_from_before_a_partial_write(void)
{
	CHECK_EQ(play_all(1, false), 0);
}

static void no_fill_brings_back_bytes_from_before_a_truncate(void)
{
	CHECK_EQ(play_all(UINT64_MAX, false), 0);
}

/* The scenes are worth something: with the second invalidation left out, old
 * bytes show where a fetch read before the change and ended after the end. */
static void leaving_out_one_invalidation_is_noticed(void)
{
	CHECK(play_all(KIB(16), true) >= 3);
}

/* --- what a write leaves behind --- */

static void a_whole_chunk_written_is_stored_at_once(void)
{
	struct rig g = rig();
	uint64_t fills = counter(PFS_C_FILL_WRITE);

	write_bytes(&g, KIB(16) - 100, KIB(48) + 100, 5, true);
	CHECK(EVENTUALLY(status_of(&g).n_chunks == 3));
	CHECK_EQ(counter(PFS_C_FILL_WRITE) - fills, 3);
	arm("source.read:eio");
	CHECK_EQ(read_same(&g, KIB(16), KIB(48)), PFS_READ_HIT);
	CHECK_EQ(read_same(&g, 0, 4096), -EIO); /* was not whole */
	rig_end(&g);
}

static void bytes_written_can_be_read_before_they_are_stored(void)
{
	struct rig g = rig();

	arm("store.write:stall=50x1,source.read:eio");
	write_bytes(&g, 0, KIB(16), 5, true);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_LATE);
	settle(&g);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_HIT);
	rig_end(&g);
}

static void a_write_over_a_write_not_yet_stored_wins(void)
{
	struct rig g = rig();

	arm("store.write:stall=30x1");
	write_bytes(&g, 0, KIB(16), 5, true);
	write_bytes(&g, 100, 50, 6, true); /* part of it, not kept */
	CHECK_EQ(read_same(&g, 0, KIB(16)), PFS_READ_MISS);
	settle(&g);
	CHECK(read_same(&g, 0, KIB(16)) >= 0);
	settle(&g);
	CHECK_EQ(read_same(&g, 0, KIB(16)), PFS_READ_HIT);
	rig_end(&g);
}

static void writes_that_overlap_in_time_store_nothing(void)
{
	struct rig g = rig();
	struct pfs_mutation a, b;

	read_all_same(&g, KIB(64));
	pfs_store_mutate_begin(g.img, 0, KIB(32), &a);
	pfs_store_mutate_begin(g.img, KIB(16), KIB(16), &b);
	poke(&g, 0, KIB(32), 1);
	poke(&g, KIB(16), KIB(16), 2);
	pfs_store_mutate_end(&b, KIB(16), g.bytes + KIB(16), KIB(16));
	pfs_store_mutate_end(&a, 0, g.bytes, KIB(32));
	settle(&g);

	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_MISS);
	CHECK_EQ(read_same(&g, KIB(16), 4096), PFS_READ_MISS);
	rig_end(&g);
}

static void writes_side_by_side_are_stored(void)
{
	struct rig g = rig();
	struct pfs_mutation a, b;

	pfs_store_mutate_begin(g.img, 0, KIB(16), &a);
	pfs_store_mutate_begin(g.img, KIB(16), KIB(16), &b);
	poke(&g, 0, KIB(32), 1);
	pfs_store_mutate_end(&b, KIB(16), g.bytes + KIB(16), KIB(16));
	pfs_store_mutate_end(&a, 0, g.bytes, KIB(16));

	CHECK(EVENTUALLY(status_of(&g).n_chunks == 2));
	CHECK_EQ(read_same(&g, 0, KIB(32)), PFS_READ_HIT);
	rig_end(&g);
}

static void a_mutation_drops_its_chunks_and_no_others(void)
{
	struct rig g = rig();
	uint64_t dropped = counter(PFS_C_INVALIDATED);

	fill_all(&g);
	write_bytes(&g, KIB(32) - 1, 2, 9, false);

	CHECK_EQ(counter(PFS_C_INVALIDATED) - dropped, 2);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_HIT);
	CHECK_EQ(read_same(&g, KIB(48), 4096), PFS_READ_HIT);
	CHECK_EQ(read_same(&g, KIB(16), 4096), PFS_READ_MISS);
	CHECK_EQ(read_same(&g, KIB(32), 4096), PFS_READ_MISS);
	rig_end(&g);
}

/* From the begin on: bytes that the source has already are seen at once. */
static void a_write_not_yet_ended_is_not_hidden_by_old_chunks(void)
{
	struct rig g = rig();
	struct pfs_mutation m;

	fill_all(&g);
	pfs_store_mutate_begin(g.img, 0, KIB(16), &m);
	CHECK_EQ(status_of(&g).n_chunks, g.cfg.image_size / KIB(16) - 1);
	poke(&g, 0, KIB(16), 9);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_MISS);
	pfs_store_mutate_end(&m, 0, NULL, 0);
	CHECK(read_same(&g, 0, 4096) >= 0);
	rig_end(&g);
}

/* --- holes --- */

static void write_nothing(struct rig *g, uint64_t off, uint64_t len)
{
	struct pfs_mutation m;

	pfs_store_mutate_begin(g->img, off, len, &m);
	pfs_store_mutate_end(&m, 0, NULL, 0);
}

static void a_write_ends_a_hole(void)
{
	struct rig g = rig();

	pfs_store_image_holes(g.img, 0, g.cfg.image_size,
			      pfs_store_generation(g.store));
	write_bytes(&g, KIB(16) + 100, 10, 3, false);

	CHECK_EQ(read_same(&g, KIB(16), KIB(16)), PFS_READ_MISS);
	rig_end(&g);
}

/* Against a plain array, over the edges of bytes and pages of the map. */
static void holes_begin_and_end_where_they_should(void)
{
	struct rig g = rig();
	static bool is_hole[3 * 32768];
	uint32_t n = (uint32_t)PFS_ARRAY_SIZE(is_hole), n_wrong = 0;

	for (int i = 0; i < 60; i++) {
		uint64_t first = rand_below(n), end, unit = KIB(16);
		bool on = rand_below(2);

		end = first + 1 + rand_below(rand_below(2) ? 20 : n);
		end = PFS_MIN(end, (uint64_t)n);
		if (on)
			pfs_store_image_holes(g.img, first * unit,
					      (end - first) * unit,
					      pfs_store_generation(g.store));
		else
			write_nothing(&g, first * unit, (end - first) * unit);
		memset(is_hole + first, on, end - first);
		pfs_mutex_lock(&g.store->lock);
		for (uint32_t c = 0; c < n; c++)
			n_wrong += image_is_hole_locked(g.img, c) != is_hole[c];
		pfs_mutex_unlock(&g.store->lock);
	}
	CHECK_EQ(n_wrong, 0);
	/* What is too far away is read as data. */
	pfs_store_image_holes(g.img, PFS_GIB(1u << 20), PFS_GIB(1u << 20),
			      pfs_store_generation(g.store));
	rig_end(&g);
}

static void what_was_known_of_holes_before_a_write_is_void(void)
{
	struct rig g = rig();
	uint64_t gen = pfs_store_generation(g.store);
	struct pfs_mutation m;

	write_bytes(&g, 0, 10, 3, false);
	pfs_store_image_holes(g.img, 0, KIB(64), gen);
	CHECK_EQ(read_same(&g, 0, 4096), PFS_READ_MISS);

	/* Asked while a mutation is under way. */
	pfs_store_mutate_begin(g.img, KIB(32), 10, &m);
	gen = pfs_store_generation(g.store);
	pfs_store_image_holes(g.img, 0, KIB(64), gen);
	poke(&g, KIB(32), 10, 4);
	pfs_store_mutate_end(&m, 0, NULL, 0);
	CHECK_EQ(read_same(&g, KIB(32), 4096), PFS_READ_MISS);
	rig_end(&g);
}

/* --- images that go while a fetch is under way --- */

static void play_fate(void (*fate)(struct rig *g), enum pfs_fault_point step)
{
	struct rig g = rig();
	struct reader r;

	pause_once_at(step);
	start_reader(&r, &g);
	CHECK(EVENTUALLY(n_paused(step) == 1));
	fate(&g);
	poke(&g, AT, KIB(16), 77);
	CHECK(read_same(&g, AT, 4096) >= 0);
	go_on(&r, step);
	CHECK(read_same(&g, AT, 4096) >= 0);
	settle(&g);
	CHECK(read_same(&g, AT, 4096) >= 0);
	rig_end(&g);
}

static void be_reset(struct rig *g)
{
	pfs_store_image_reset(g->img, g->row.epoch + 1);
}

static void be_expelled(struct rig *g)
{
	pfs_store_image_expel(g->img);
}

/* Attached anew, as when the last handle was closed and another opened. */
static void be_replaced(struct rig *g)
{
	pfs_store_image_detach(g->img);
	CHECK_EQ(pfs_store_image_attach(g->store, g->row.id, g->row.epoch,
					g->src, &g->img),
		 0);
}

static void a_fetch_from_before_a_reset_is_not_kept(void)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(steps); i++)
		play_fate(be_reset, steps[i]);
}

static void a_fetch_from_before_an_expulsion_is_not_kept(void)
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(steps); i++)
		play_fate(be_expelled, steps[i]);
}

static void a_fetch_from_before_a_detach_is_not_kept(void)
{
	/* Not while its reader waits: detach is for images without reads. */
	play_fate(be_replaced, PFS_FP_FETCH_REPLIED);
	play_fate(be_replaced, PFS_FP_FETCH_STORED);
}

static void *write_one(void *arg)
{
	write_bytes(arg, 0, KIB(64), 31, true);
	return NULL;
}

/* The bytes of a write wait in buffers that nobody can detach yet. */
static void a_write_under_way_meets(void (*fate)(struct rig *g))
{
	struct rig g = rig();
	pthread_t t;

	pause_once_at(PFS_FP_MUTATE_END);
	CHECK_EQ(pfs_thread_start(&t, "writer", write_one, &g), 0);
	CHECK(EVENTUALLY(n_paused(PFS_FP_MUTATE_END) == 1));
	fate(&g);
	pfs_fault_resume(PFS_FP_MUTATE_END);
	pthread_join(t, NULL);
	settle(&g);
	CHECK_EQ(status_of(&g).n_chunks, 0);
	CHECK(read_same(&g, 0, KIB(64)) >= 0);
	rig_end(&g);
}

static void bytes_written_before_a_reset_are_not_kept(void)
{
	a_write_under_way_meets(be_reset);
}

static void bytes_written_before_an_expulsion_are_not_kept(void)
{
	a_write_under_way_meets(be_expelled);
}

/* --- everything at once --- */

#define BLOCKS 512u /* of 4 KiB: 2 MiB through a store of half that */

struct soak {
	struct rig *g;
	_Atomic bool stop;
	_Atomic uint64_t begun[BLOCKS], ended[BLOCKS]; /* versions */
	_Atomic uint64_t n_reads, n_wrong;
};

static uint64_t word_of(uint64_t block, uint64_t version)
{
	return block << 48 | version;
}

static void *soak_reader(void *arg)
{
	struct soak *k = arg;
	struct pfs_lane *l = must_lane(k->g->store, 4, 1);
	uint64_t seed = (uint64_t)(uintptr_t)&l;
	uint8_t buf[16 * 4096];

	while (!atomic_load(&k->stop)) {
		uint64_t low[16];
		struct answer a = {.into = buf};
		uint64_t b = (seed = pfs_mix64(seed)) % (BLOCKS - 16);
		uint32_t n = 1 + (uint32_t)(seed >> 32) % 16;

		for (uint32_t i = 0; i < n; i++)
			low[i] = atomic_load(&k->ended[b + i]);
		begin_read(k->g, l, b * 4096, n * 4096, &a);
		finish_read(l, &a);
		for (uint32_t i = 0; i < n; i++) {
			uint64_t word, high = atomic_load(&k->begun[b + i]);

			memcpy(&word, buf + (size_t)i * 4096, 8);
			if (word < word_of(b + i, low[i]) ||
			    word > word_of(b + i, high))
				atomic_fetch_add(&k->n_wrong, 1);
		}
		atomic_fetch_add(&k->n_reads, 1);
	}
	while (!pfs_lane_is_idle(l) || pfs_lane_n_reads(l))
		turn_lane(l);
	pfs_lane_destroy(l);
	return NULL;
}

static void write_blocks(struct soak *k, uint64_t b, uint32_t n, uint64_t v,
			 bool is_offered)
{
	static uint8_t buf[16 * 4096];
	struct pfs_mutation m;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t word = word_of(b + i, v);

		memcpy(buf + (size_t)i * 4096, &word, 8);
		atomic_store(&k->begun[b + i], v);
	}
	pfs_store_mutate_begin(k->g->img, b * 4096, n * 4096ull, &m);
	CHECK_EQ(pwrite(k->g->fd, buf, n * 4096, (off_t)(b * 4096)), n * 4096);
	pfs_store_mutate_end(&m, b * 4096, is_offered ? buf : NULL,
			     is_offered ? n * 4096 : 0);
	for (uint32_t i = 0; i < n; i++)
		atomic_store(&k->ended[b + i], v);
}

static void readers_never_see_less_than_the_last_write(void)
{
	struct rig g = rig_with((struct rig_config){
		.store_size = PFS_MIB(1) + 8 * (4096 + 8 * PFS_KIB(16)),
		.image_size = BLOCKS * 4096,
	});
	static struct soak k;
	uint64_t until = pfs_now_ns() + 300 * PFS_NSEC_PER_MSEC;
	uint64_t evicted = counter(PFS_C_EVICT_SEGMENTS);
	pthread_t t[2];

	k = (struct soak){.g = &g};
	for (uint32_t b = 0; b < BLOCKS; b += 16)
		write_blocks(&k, b, 16, 1, false);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pfs_thread_start(&t[i], "reader", soak_reader, &k), 0);
	for (uint64_t v = 2; pfs_now_ns() < until; v++) {
		uint32_t n = 1 + (uint32_t)rand_below(16);

		write_blocks(&k, rand_below(BLOCKS - 16), n, v, rand_below(2));
		if (!rand_below(4))
			pfs_sleep_ms(1);
	}
	atomic_store(&k.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);

	CHECK_EQ(atomic_load(&k.n_wrong), 0);
	CHECK(atomic_load(&k.n_reads) > 50);
	CHECK(counter(PFS_C_EVICT_SEGMENTS) > evicted);
	rig_end(&g);
}

int main(void)
{
	RUN(no_fill_brings_back_bytes_from_before_a_write);
	RUN(no_fill_brings_back_bytes_from_before_a_partial_write);
	RUN(no_fill_brings_back_bytes_from_before_a_truncate);
	RUN(leaving_out_one_invalidation_is_noticed);
	RUN(a_whole_chunk_written_is_stored_at_once);
	RUN(bytes_written_can_be_read_before_they_are_stored);
	RUN(a_write_over_a_write_not_yet_stored_wins);
	RUN(writes_that_overlap_in_time_store_nothing);
	RUN(writes_side_by_side_are_stored);
	RUN(a_mutation_drops_its_chunks_and_no_others);
	RUN(a_write_not_yet_ended_is_not_hidden_by_old_chunks);
	RUN(a_write_ends_a_hole);
	RUN(holes_begin_and_end_where_they_should);
	RUN(what_was_known_of_holes_before_a_write_is_void);
	RUN(a_fetch_from_before_a_reset_is_not_kept);
	RUN(a_fetch_from_before_an_expulsion_is_not_kept);
	RUN(a_fetch_from_before_a_detach_is_not_kept);
	RUN(bytes_written_before_a_reset_are_not_kept);
	RUN(bytes_written_before_an_expulsion_are_not_kept);
	RUN(readers_never_see_less_than_the_last_write);
	return CHECK_RESULT();
}
