/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fetches ahead of guests: what is taken, who is answered, what is kept, and
 * that no step of one brings back bytes from before a mutation.
 */
#include <pthread.h>

#include <pfs/prefetch.h>

#include "cache_fixture.h"
#include "core.h"

#define AT KIB(64) /* what the scenes read and change: chunk 4 */

/* --- a prefetcher that remembers what ended --- */

struct ahead {
	struct rig g;
	struct pfs_prefetcher *p;
	_Atomic uint32_t n_ended;
	struct pfs_prefetch_done last; /* valid once n_ended is seen */
	_Atomic uint32_t n_unread;
	_Atomic uint64_t unread; /* the last chunk evicted unread */
};

static void note_end(void *arg, const struct pfs_prefetch_done *d)
{
	struct ahead *a = arg;

	a->last = *d;
	atomic_fetch_add(&a->n_ended, 1);
}

static void note_unread(void *arg, uint64_t image, uint64_t chunk)
{
	struct ahead *a = arg;

	CHECK_EQ(image, a->g.row.id);
	atomic_store(&a->unread, chunk);
	atomic_fetch_add(&a->n_unread, 1);
}

static void start_ahead(struct ahead *a, struct rig_config cfg)
{
	struct pfs_prefetcher_config p = {.done = note_end, .arg = a};

	*a = (struct ahead){0};
	a->g = rig_with(cfg);
	/* The rig has no other way to be told of a listener. */
	a->g.store->unread = note_unread;
	a->g.store->arg = a;
	p.store = a->g.store;
	CHECK_EQ(pfs_prefetcher_create(&p, &a->p), 0);
	if (!a->p)
		abort();
}

static void end_ahead(struct ahead *a)
{
	pfs_prefetcher_destroy(a->p);
	rig_end(&a->g);
}

static int fetch_ahead(struct ahead *a, uint64_t first, uint32_t n)
{
	return pfs_prefetch_start(a->p, a->g.img, a->g.cfg.image_size, first, n,
				  first);
}

/* Fetch and wait until it is stored. */
static int must_bring(struct ahead *a, uint64_t first, uint32_t n)
{
	uint32_t before = atomic_load(&a->n_ended);
	int got = fetch_ahead(a, first, n);

	CHECK(EVENTUALLY(atomic_load(&a->n_ended) == before + (got > 0)));
	settle(&a->g);
	return got;
}

static bool is_probation(struct ahead *a, uint64_t chunk)
{
	struct pfs_store *s = a->g.store;
	bool is_probation = false, is_resident;
	uint32_t slot;
	uint64_t gen;

	pfs_mutex_lock(&s->lock);
	is_resident = index_find(&a->g.img->ix, chunk, &slot, &gen);
	if (is_resident)
		is_probation =
			s->segs.row[segments_of(&s->segs, slot)].is_probation;
	pfs_mutex_unlock(&s->lock);
	CHECK(is_resident);
	return is_probation;
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

/* --- what is taken --- */

static void a_prefetched_chunk_is_a_hit(void)
{
	uint64_t hits = counter(PFS_C_PREFETCH_HIT);
	uint64_t demand = counter(PFS_C_FETCHES);
	uint64_t ahead = counter(PFS_C_PREFETCH_FETCHES);
	uint64_t bytes = counter(PFS_C_PREFETCH_FETCHED);
	struct ahead a;

	start_ahead(&a, (struct rig_config){0});
	CHECK_EQ(must_bring(&a, 3, 5), 5);
	CHECK_EQ(a.last.tag, 3);
	CHECK_EQ(a.last.n_chunks, 5);
	CHECK_EQ(a.last.err, 0);
	CHECK(a.last.latency_ns > 0);
	CHECK(is_probation(&a, 3));

	arm("source.read:eio");
	for (int i = 0; i < 2; i++)
		CHECK_EQ(read_same(&a.g, KIB(48), KIB(80)), PFS_READ_HIT);
	CHECK_EQ(counter(PFS_C_PREFETCH_HIT) - hits, 5);
	CHECK_EQ(counter(PFS_C_FETCHES), demand);
	CHECK_EQ(counter(PFS_C_PREFETCH_FETCHES) - ahead, 5);
	CHECK_EQ(counter(PFS_C_PREFETCH_FETCHED) - bytes, KIB(80));
	end_ahead(&a);
}

static void only_the_leading_absent_part_is_taken(void)
{
	struct ahead a;

	start_ahead(&a, (struct rig_config){.image_size = PFS_MIB(1) + 100});
	CHECK(read_same(&a.g, KIB(64), 4096) >= 0);
	settle(&a.g);
	pfs_store_image_holes(a.g.img, KIB(160), KIB(16),
			      pfs_store_generation(a.g.store));

	CHECK_EQ(fetch_ahead(&a, 4, 3), 0); /* resident */
	CHECK_EQ(must_bring(&a, 0, 16), 4);
	CHECK_EQ(must_bring(&a, 5, 16), 5); /* then a hole */
	CHECK_EQ(fetch_ahead(&a, 10, 3), 0);
	CHECK_EQ(must_bring(&a, 62, 16), 3); /* the last one is short */
	CHECK_EQ(fetch_ahead(&a, 65, 1), 0);
	CHECK_EQ(fetch_ahead(&a, UINT64_MAX - 3, 8), 0);
	CHECK_EQ(read_same(&a.g, PFS_MIB(1), 100), PFS_READ_HIT);
	CHECK(!pfs_store_image_is_absent(a.g.img, 4));
	CHECK(!pfs_store_image_is_absent(a.g.img, 10));
	CHECK(pfs_store_image_is_absent(a.g.img, 11));
	end_ahead(&a);
}

static void a_chunk_in_flight_is_not_fetched_twice(void)
{
	struct ahead a;

	start_ahead(&a, (struct rig_config){0});
	pause_once_at(PFS_FP_FETCH_BEGIN);
	CHECK_EQ(fetch_ahead(&a, 4, 2), 2);
	CHECK_EQ(fetch_ahead(&a, 2, 4), 2);
	CHECK_EQ(fetch_ahead(&a, 5, 1), 0);
	CHECK(!pfs_store_image_is_absent(a.g.img, 5));
	pfs_fault_resume(PFS_FP_FETCH_BEGIN);
	CHECK(EVENTUALLY(atomic_load(&a.n_ended) == 2));
	end_ahead(&a);
}

static void demand_finds_a_buffer_whatever_is_prefetched(void)
{
	uint64_t refused = counter(PFS_C_PREFETCH_REFUSED);
	struct ahead a;
	int n = 0;

	start_ahead(&a, (struct rig_config){.n_fetch = 32});
	pause_once_at(PFS_FP_FETCH_BEGIN);
	CHECK_EQ(fetch_ahead(&a, 0, 12), 12);
	CHECK(EVENTUALLY(n_paused(PFS_FP_FETCH_BEGIN)));
	CHECK_EQ(fetch_ahead(&a, 12, 12), 4); /* half of them */
	CHECK_EQ(fetch_ahead(&a, 16, 12), -EAGAIN);
	CHECK_EQ(counter(PFS_C_PREFETCH_REFUSED) - refused, 1);
	CHECK_EQ(status_of(&a.g).n_fetching, 16);
	CHECK_EQ(read_same(&a.g, PFS_MIB(1), KIB(128)), PFS_READ_MISS);

	pfs_fault_resume(PFS_FP_FETCH_BEGIN);
	CHECK(EVENTUALLY(atomic_load(&a.n_ended) == 2));
	settle(&a.g);
	/* All are given back. */
	while (must_bring(&a, 16 + 16 * (uint64_t)n, 16) == 16 && n < 2)
		n++;
	CHECK_EQ(n, 2);
	end_ahead(&a);
}

static void jobs_without_end_are_refused(void)
{
	struct ahead a;
	uint32_t n = 0;

	start_ahead(&a, (struct rig_config){.n_fetch = 200});
	pause_once_at(PFS_FP_FETCH_BEGIN);
	while (n < 100 && fetch_ahead(&a, n, 1) == 1)
		n++;
	CHECK_EQ(n, 32);
	CHECK_EQ(fetch_ahead(&a, n, 1), -EAGAIN);
	pfs_fault_resume(PFS_FP_FETCH_BEGIN);
	CHECK(EVENTUALLY(atomic_load(&a.n_ended) == 32));
	CHECK_EQ(must_bring(&a, n, 1), 1);
	end_ahead(&a);
}

static void a_store_that_takes_nothing_is_not_prefetched_into(void)
{
	uint64_t refused = counter(PFS_C_PREFETCH_NO_STORE);
	struct ahead a;

	start_ahead(&a, (struct rig_config){0});
	store_write_failed(a.g.store, -ENOSPC); /* fills rest for a second */
	CHECK_EQ(fetch_ahead(&a, 0, 1), -ESTALE);
	CHECK(!pfs_store_image_is_absent(a.g.img, 0));
	atomic_store(&a.g.store->no_fill_until_ns, 0);
	CHECK_EQ(must_bring(&a, 0, 1), 1);
	pfs_store_image_expel(a.g.img);
	CHECK_EQ(fetch_ahead(&a, 1, 1), -ESTALE);
	CHECK_EQ(counter(PFS_C_PREFETCH_NO_STORE) - refused, 2);
	CHECK_EQ(atomic_load(&a.n_ended), 1);
	end_ahead(&a);
}

/* --- guests that come meanwhile --- */

static void a_read_joins_the_prefetch_in_flight(void)
{
	uint64_t joined = counter(PFS_C_PREFETCH_JOINED);
	uint64_t hits = counter(PFS_C_PREFETCH_HIT);
	uint64_t demand = counter(PFS_C_FETCHES);
	uint8_t buf[2][4096];
	struct answer r[2] = {{.into = buf[0]}, {.into = buf[1]}};
	struct ahead a;

	start_ahead(&a, (struct rig_config){0});
	pause_once_at(PFS_FP_FETCH_BEGIN);
	CHECK_EQ(fetch_ahead(&a, 4, 2), 2);
	CHECK(EVENTUALLY(n_paused(PFS_FP_FETCH_BEGIN)));
	begin_read(&a.g, a.g.lane, AT, 4096, &r[0]);
	begin_read(&a.g, a.g.lane, AT + 4096, 4096, &r[1]);
	pfs_fault_resume(PFS_FP_FETCH_BEGIN);
	for (int i = 0; i < 2; i++) {
		finish_read(a.g.lane, &r[i]);
		CHECK_EQ(r[i].err, 0);
		CHECK_EQ(r[i].outcome, PFS_READ_LATE);
		CHECK(!memcmp(buf[i], a.g.bytes + AT + i * 4096, 4096));
	}
	settle(&a.g);

	CHECK_EQ(counter(PFS_C_PREFETCH_JOINED) - joined, 1); /* a chunk */
	CHECK_EQ(counter(PFS_C_FETCHES), demand);
	CHECK(!is_probation(&a, 4)); /* wanted by now */
	CHECK(is_probation(&a, 5));
	CHECK_EQ(read_same(&a.g, AT, KIB(32)), PFS_READ_HIT);
	CHECK_EQ(counter(PFS_C_PREFETCH_HIT) - hits, 1); /* chunk 5 alone */
	end_ahead(&a);
}

static void a_read_of_a_prefetch_being_stored_is_served_from_memory(void)
{
	uint64_t hits = counter(PFS_C_PREFETCH_HIT);
	struct ahead a;

	start_ahead(&a, (struct rig_config){0});
	pause_once_at(PFS_FP_FETCH_STORED);
	CHECK_EQ(fetch_ahead(&a, 4, 1), 1);
	CHECK(EVENTUALLY(n_paused(PFS_FP_FETCH_STORED)));
	for (int i = 0; i < 2; i++)
		CHECK_EQ(read_same(&a.g, AT, 4096), PFS_READ_LATE);
	pfs_fault_resume(PFS_FP_FETCH_STORED);
	settle(&a.g);

	CHECK_EQ(read_same(&a.g, AT, 4096), PFS_READ_HIT);
	CHECK_EQ(counter(PFS_C_PREFETCH_HIT) - hits, 1);
	CHECK_EQ(counter(PFS_C_PREFETCH_UNREAD), 0);
	end_ahead(&a);
}

static void readers_of_a_prefetch_that_fails_go_to_the_source(void)
{
	struct answer r = {0};
	struct ahead a;

	start_ahead(&a, (struct rig_config){0});
	arm("source.read:eiox1");
	pause_once_at(PFS_FP_FETCH_BEGIN);
	CHECK_EQ(fetch_ahead(&a, 4, 2), 2);
	CHECK(EVENTUALLY(n_paused(PFS_FP_FETCH_BEGIN)));
	begin_read(&a.g, a.g.lane, AT, 4096, &r);
	pfs_fault_resume(PFS_FP_FETCH_BEGIN);
	finish_read(a.g.lane, &r);
	CHECK_EQ(r.err, 0);
	CHECK_EQ(r.outcome, PFS_READ_DIRECT);

	CHECK(EVENTUALLY(atomic_load(&a.n_ended)));
	CHECK_EQ(a.last.err, -EIO);
	CHECK_EQ(a.last.n_chunks, 0);
	settle(&a.g);
	CHECK_EQ(status_of(&a.g).n_chunks, 0);
	CHECK_EQ(must_bring(&a, 4, 2), 2);
	end_ahead(&a);
}

/* A reader whose lane goes away as soon as it is answered. */
static void *read_once(void *arg)
{
	struct ahead *a = arg;
	struct pfs_lane *l = must_lane(a->g.store, 1, 1);
	struct answer r = {0};

	begin_read(&a->g, l, AT, 4096, &r);
	while (pfs_lane_n_reads(l) || !pfs_lane_is_idle(l))
		turn_lane(l);
	CHECK(is_answered(&r));
	pfs_lane_destroy(l);
	return NULL;
}

static void a_lane_may_end_right_after_another_answered_for_it(void)
{
	struct ahead a;

	start_ahead(&a, (struct rig_config){0});
	for (int i = 0; i < 20; i++) {
		struct pfs_mutation m;
		pthread_t t;

		arm("source.read:stall=1x1");
		CHECK_EQ(fetch_ahead(&a, 4, 1), 1);
		CHECK_EQ(pfs_thread_start(&t, "reader", read_once, &a), 0);
		pthread_join(t, NULL);
		settle(&a.g);
		pfs_fault_clear();
		pfs_store_mutate_begin(a.g.img, AT, 1, &m);
		pfs_store_mutate_end(&m, 0, NULL, 0);
	}
	end_ahead(&a);
}

static void destroying_waits_for_what_is_in_flight(void)
{
	struct ahead a;

	pfs_prefetcher_destroy(NULL);
	start_ahead(&a, (struct rig_config){0});
	arm("source.read:stall=20x2,store.write:stall=20x1");
	CHECK_EQ(fetch_ahead(&a, 0, 4), 4);
	CHECK_EQ(fetch_ahead(&a, 8, 4), 4);
	pfs_prefetcher_destroy(a.p);
	CHECK_EQ(atomic_load(&a.n_ended), 2);
	CHECK_EQ(status_of(&a.g).n_fetching, 0);
	CHECK_EQ(status_of(&a.g).n_chunks, 8);
	rig_end(&a.g);
}

/* --- mutations at every step --- */

static const enum pfs_fault_point steps[] = {
	PFS_FP_FETCH_BEGIN, PFS_FP_FETCH_READ, PFS_FP_FETCH_REPLIED,
	PFS_FP_FETCH_STORED, PFS_FP_FETCH_INSERT};

/* Where the prefetch stands still in the course of the mutation. */
enum order {
	FETCH_THEN_ALL,
	BEGIN_THEN_FETCH,
	CHANGE_THEN_FETCH,
	FETCH_THEN_BEGIN,
	N_ORDERS,
};

static unsigned int look(struct ahead *a)
{
	uint8_t buf[4096];
	struct answer r = read_into(&a->g, AT, sizeof(buf), buf);

	CHECK_EQ(r.err, 0);
	return memcmp(buf, a->g.bytes + AT, sizeof(buf)) != 0;
}

/* How many reads after the mutation's end saw old bytes. */
static unsigned int play(struct ahead *a, enum pfs_fault_point step,
			 enum order order, uint64_t seed, bool is_planted)
{
	unsigned int n_stale = 0;
	struct pfs_mutation m;

	if (order == BEGIN_THEN_FETCH || order == CHANGE_THEN_FETCH)
		pfs_store_mutate_begin(a->g.img, AT, KIB(16), &m);
	if (order == CHANGE_THEN_FETCH)
		poke(&a->g, AT, KIB(16), seed);
	pause_once_at(step);
	CHECK_EQ(fetch_ahead(a, 4, 1), 1);
	CHECK(EVENTUALLY(n_paused(step) == 1));

	if (order == FETCH_THEN_ALL || order == FETCH_THEN_BEGIN)
		pfs_store_mutate_begin(a->g.img, AT, KIB(16), &m);
	if (order == FETCH_THEN_ALL || order == BEGIN_THEN_FETCH)
		poke(&a->g, AT, KIB(16), seed);
	if (order != FETCH_THEN_BEGIN) {
		pfs_store_mutate_end(&m, 0, NULL, 0);
		/* With the bug it would join the fetch that is stopped. */
		if (!is_planted)
			n_stale += look(a);
	}
	pfs_fault_resume(step);
	settle(&a->g);
	if (order == FETCH_THEN_BEGIN) {
		poke(&a->g, AT, KIB(16), seed);
		pfs_store_mutate_end(&m, 0, NULL, 0);
	}
	n_stale += look(a);
	settle(&a->g);
	return n_stale + look(a);
}

static unsigned int play_all(bool is_planted)
{
	unsigned int n_bad = 0;
	struct ahead a;

	start_ahead(&a, (struct rig_config){0});
	for (size_t i = 0; i < PFS_ARRAY_SIZE(steps); i++) {
		for (enum order o = 0; o < N_ORDERS; o++) {
			uint64_t seed = 100 + i * N_ORDERS + o;

			pfs_fault_clear();
			write_bytes(&a.g, AT, KIB(16), seed + 500, false);
			if (is_planted)
				arm("plant.one_invalidation:eio");
			n_bad += play(&a, steps[i], o, seed, is_planted) != 0;
		}
	}
	end_ahead(&a);
	return n_bad;
}

static void no_prefetch_brings_back_bytes_from_before_a_write(void)
{
	CHECK_EQ(play_all(false), 0);
}

/* The scenes are worth something. */
static void leaving_out_one_invalidation_is_noticed(void)
{
	CHECK(play_all(true) >= 3);
}

static void be_reset(struct ahead *a)
{
	pfs_store_image_reset(a->g.img, a->g.row.epoch + 1);
}

static void be_expelled(struct ahead *a)
{
	pfs_store_image_expel(a->g.img);
}

/* No reader waits, so an image may be detached at any step. */
static void be_replaced(struct ahead *a)
{
	pfs_store_image_detach(a->g.img);
	CHECK_EQ(pfs_store_image_attach(a->g.store, a->g.row.id, a->g.row.epoch,
					a->g.src, &a->g.img),
		 0);
}

static void play_fates(void (*fate)(struct ahead *a))
{
	for (size_t i = 0; i < PFS_ARRAY_SIZE(steps); i++) {
		struct ahead a;

		start_ahead(&a, (struct rig_config){0});
		pause_once_at(steps[i]);
		CHECK_EQ(fetch_ahead(&a, 4, 1), 1);
		CHECK(EVENTUALLY(n_paused(steps[i]) == 1));
		fate(&a);
		poke(&a.g, AT, KIB(16), 77);
		CHECK_EQ(look(&a), 0);
		pfs_fault_resume(steps[i]);
		settle(&a.g);
		CHECK_EQ(look(&a), 0);
		CHECK_EQ(atomic_load(&a.n_ended), 1);
		end_ahead(&a);
	}
}

static void a_prefetch_of_an_image_that_goes_is_not_kept(void)
{
	play_fates(be_reset);
	play_fates(be_expelled);
	play_fates(be_replaced);
}

/* --- eviction --- */

/* Eight segments of eight 16 KiB slots. */
static const struct rig_config small = {
	.store_size = 0x100000 + 8 * (4096 + 8 * 16384),
};

static void prefetches_nobody_reads_leave_first_and_are_told(void)
{
	uint64_t n = counter(PFS_C_PREFETCH_UNREAD);
	struct ahead a;

	start_ahead(&a, small);
	CHECK_EQ(must_bring(&a, 0, 8), 8);
	CHECK_EQ(read_same(&a.g, 0, 512), PFS_READ_HIT); /* but for one */
	for (uint64_t c = 64; c < 128; c++) {
		CHECK(read_same(&a.g, c * KIB(16), 512) >= 0);
		settle(&a.g);
	}

	CHECK_EQ(counter(PFS_C_PREFETCH_UNREAD) - n, 7);
	CHECK_EQ(atomic_load(&a.n_unread), 7);
	CHECK(atomic_load(&a.unread) >= 1 && atomic_load(&a.unread) < 8);
	CHECK_EQ(read_same(&a.g, 0, 512), PFS_READ_HIT); /* put in again */
	end_ahead(&a);
}

static void a_prefetch_dropped_by_a_write_is_not_told(void)
{
	uint64_t n = counter(PFS_C_PREFETCH_UNREAD);
	struct ahead a;

	start_ahead(&a, (struct rig_config){0});
	CHECK_EQ(must_bring(&a, 4, 1), 1);
	write_bytes(&a.g, AT, 10, 5, false);
	CHECK_EQ(counter(PFS_C_PREFETCH_UNREAD), n);
	CHECK_EQ(atomic_load(&a.n_unread), 0);
	end_ahead(&a);
}

/* --- latency --- */

static uint64_t sum(const uint64_t *bucket, uint32_t from)
{
	uint64_t n = 0;

	for (uint32_t i = from; i < PFS_LATENCY_BUCKETS; i++)
		n += bucket[i];
	return n;
}

static void source_reads_are_counted_by_their_latency(void)
{
	struct pfs_store_latency t;
	struct ahead a;

	start_ahead(&a, (struct rig_config){0});
	CHECK_EQ(must_bring(&a, 0, 4), 4);
	arm("source.read:stall=20x1");
	CHECK_EQ(read_same(&a.g, PFS_MIB(1), KIB(64)), PFS_READ_MISS);
	pfs_store_latency(a.g.store, &t);
	CHECK_EQ(sum(t.prefetch, 0), 1);
	CHECK_EQ(sum(t.demand, 0), 1);
	CHECK_EQ(sum(t.demand, 24), 1); /* over 2^24 ns: 17 ms */
	end_ahead(&a);
}

/* --- everything at once --- */

static void *prefetch_wildly(void *arg)
{
	struct ahead *a = arg;
	uint64_t until = pfs_now_ns() + 150 * PFS_NSEC_PER_MSEC, seed = 3;

	while (pfs_now_ns() < until) {
		seed = pfs_mix64(seed);
		if (fetch_ahead(a, seed % 256, 1 + (uint32_t)seed % 7) < 0)
			pfs_sleep_ms(1);
	}
	return NULL;
}

static void readers_writers_and_prefetches_agree(void)
{
	struct ahead a;
	pthread_t t;

	start_ahead(&a, small);
	CHECK_EQ(pfs_thread_start(&t, "wild", prefetch_wildly, &a), 0);
	for (uint64_t i = 0; i < 150; i++) {
		uint64_t off = rand_below(a.g.cfg.image_size - KIB(64));

		write_bytes(&a.g, off, 1 + rand_below(KIB(40)), i,
			    rand_below(2));
		read_random_same(&a.g, 4, KIB(128));
	}
	pthread_join(t, NULL);
	settle(&a.g);
	read_all_same(&a.g, KIB(64));
	end_ahead(&a);
}

int main(void)
{
	RUN(a_prefetched_chunk_is_a_hit);
	RUN(only_the_leading_absent_part_is_taken);
	RUN(a_chunk_in_flight_is_not_fetched_twice);
	RUN(demand_finds_a_buffer_whatever_is_prefetched);
	RUN(jobs_without_end_are_refused);
	RUN(a_store_that_takes_nothing_is_not_prefetched_into);
	RUN(a_read_joins_the_prefetch_in_flight);
	RUN(a_read_of_a_prefetch_being_stored_is_served_from_memory);
	RUN(readers_of_a_prefetch_that_fails_go_to_the_source);
	RUN(a_lane_may_end_right_after_another_answered_for_it);
	RUN(destroying_waits_for_what_is_in_flight);
	RUN(no_prefetch_brings_back_bytes_from_before_a_write);
	RUN(leaving_out_one_invalidation_is_noticed);
	RUN(a_prefetch_of_an_image_that_goes_is_not_kept);
	RUN(prefetches_nobody_reads_leave_first_and_are_told);
	RUN(a_prefetch_dropped_by_a_write_is_not_told);
	RUN(source_reads_are_counted_by_their_latency);
	RUN(readers_writers_and_prefetches_agree);
	return CHECK_RESULT();
}
