/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"
#include "planner.h"

#include <malloc.h>

#include <pfs/hash.h>

#define CHUNK PFS_KIB(64)
#define MS PFS_NSEC_PER_MSEC
#define SEC PFS_NSEC_PER_SEC
#define IMAGE 7u
#define VM 1u
#define N_ORDERS 64u

struct fixture {
	struct planner *pl;
	uint64_t now;
	uint64_t present; /* this chunk is no more absent */
	uint32_t n_dropped;
	struct wish dropped; /* the last one */
	struct pfs_prefetch_order order[N_ORDERS];
	uint32_t n; /* orders not ended */
};

static bool is_absent(void *arg, uint64_t image, uint64_t chunk)
{
	const struct fixture *f = arg;

	(void)image;
	return chunk != f->present;
}

static void dropped(void *arg, const struct wish *w)
{
	struct fixture *f = arg;

	f->n_dropped++;
	f->dropped = *w;
}

static void begin_with(struct fixture *f, uint32_t chunk,
		       enum pfs_prefetch_level level, uint64_t rate_max)
{
	struct planner_config cfg = {.chunk = chunk,
				     .level = level,
				     .rate_max = rate_max,
				     .is_absent = is_absent,
				     .arg = f,
				     .dropped = dropped};

	*f = (struct fixture){.now = 1000 * SEC, .present = UINT64_MAX};
	CHECK_EQ(planner_create(&cfg, &f->pl), 0);
	planner_session(f->pl, VM, f->now);
}

static void begin_at(struct fixture *f, enum pfs_prefetch_level level,
		     uint64_t rate_max)
{
	begin_with(f, CHUNK, level, rate_max);
}

static void begin(struct fixture *f)
{
	begin_at(f, PFS_PREFETCH_BALANCED, 0);
}

static void end(struct fixture *f)
{
	planner_destroy(f->pl);
}

static bool add_p(struct fixture *f, uint64_t vm, uint64_t chunk, float p,
		  uint32_t distance)
{
	struct wish w = {.image = IMAGE,
			 .vm = vm,
			 .chunk = chunk,
			 .p = p,
			 .distance = distance};

	return planner_add(f->pl, &w, f->now);
}

static bool add(struct fixture *f, uint64_t vm, uint64_t chunk)
{
	return add_p(f, vm, chunk, 0.9f, 1);
}

static bool add_warm(struct fixture *f, uint64_t chunk)
{
	struct wish w = {
		.image = IMAGE, .chunk = chunk, .p = 1, .is_warm = true};

	return planner_add(f->pl, &w, f->now);
}

/* Take what may start now; how many orders. */
static uint32_t take(struct fixture *f)
{
	uint32_t before = f->n;

	while (f->n < N_ORDERS && planner_next(f->pl, f->now, &f->order[f->n]))
		f->n++;
	return f->n - before;
}

/* All of them end; latency_ns after they were started. */
static void finish(struct fixture *f, uint64_t latency_ns)
{
	f->now += latency_ns;
	while (f->n) {
		const struct pfs_prefetch_order *o = &f->order[--f->n];

		planner_fetched(f->pl, o->id, o->n_chunks, latency_ns, f->now);
	}
}

/* Let a VM prove itself: chunks from 1,000,000 on are fetched and read. */
static void prove(struct fixture *f, uint64_t vm, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		CHECK(add(f, vm, 1000000 + 2 * i));
		CHECK_EQ(take(f), 1);
		finish(f, 5 * MS);
		planner_used(f->pl, vm, 1);
	}
}

static struct planner_stats stats(const struct fixture *f)
{
	struct planner_stats n;

	planner_stats(f->pl, &n);
	return n;
}

/* --- the queue --- */

static void what_is_near_and_sure_goes_first(void)
{
	struct fixture f;

	begin(&f);
	CHECK(add_p(&f, VM, 10, 0.9f, 60));
	CHECK(add_p(&f, VM, 20, 0.4f, 2));
	CHECK(add_p(&f, VM, 30, 0.9f, 2));
	CHECK_EQ(take(&f), 3);
	CHECK_EQ(f.order[0].chunk, 30);
	CHECK_EQ(f.order[1].chunk, 20);
	CHECK_EQ(f.order[2].chunk, 10);
	end(&f);
}

static void neighbours_become_one_order(void)
{
	static const uint64_t ways[][4] = {
		{5, 6, 7, 8}, {8, 7, 6, 5}, {6, 8, 5, 7}};

	for (size_t way = 0; way < PFS_ARRAY_SIZE(ways); way++) {
		struct fixture f;

		begin(&f);
		for (uint32_t i = 0; i < 4; i++)
			CHECK(add_p(&f, VM, ways[way][i], 0.9f, i + 1));
		CHECK_EQ(take(&f), 1);
		CHECK_EQ(f.order[0].chunk, 5);
		CHECK_EQ(f.order[0].n_chunks, 4);
		for (uint32_t i = 0; i < 4; i++)
			CHECK_EQ(planner_ordered(f.pl)[i].chunk, 5 + i);
		end(&f);
	}
}

static void only_neighbours_of_the_same_reader_are_merged(void)
{
	struct fixture f;
	struct wish other = {.image = IMAGE + 1, .vm = VM, .chunk = 6, .p = 1};

	begin(&f);
	planner_session(f.pl, 2, f.now);
	CHECK(add(&f, VM, 5));
	CHECK(add(&f, 2, 4));
	CHECK(planner_add(f.pl, &other, f.now));
	CHECK_EQ(take(&f), 3);
	end(&f);
}

static void what_is_no_more_absent_is_left_out(void)
{
	struct fixture f;

	begin(&f);
	for (uint64_t c = 5; c < 10; c++)
		CHECK(add_p(&f, VM, c, 0.9f, (uint32_t)c));
	f.present = 7;
	CHECK_EQ(take(&f), 2);
	CHECK_EQ(f.order[0].chunk, 5);
	CHECK_EQ(f.order[0].n_chunks, 2);
	CHECK_EQ(f.order[1].chunk, 8);
	CHECK_EQ(f.order[1].n_chunks, 2);
	CHECK_EQ(f.n_dropped, 1);
	CHECK_EQ(f.dropped.chunk, 7);
	CHECK_EQ(stats(&f).dropped_present, 1);
	end(&f);
}

/* Sizes are gone up to by steps, as long as they cost no more time. */
static void an_order_grows_up_to_a_mebibyte(void)
{
	uint32_t most = 0;
	struct fixture f;

	begin(&f);
	prove(&f, VM, 40);
	for (uint32_t round = 0; round < 8; round++) {
		for (uint64_t c = 0; c < 40; c++)
			add(&f, VM, 100 * round + c);
		take(&f);
		for (uint32_t i = 0; i < f.n; i++) {
			most = PFS_MAX(most, f.order[i].n_chunks);
			planner_used(f.pl, VM, f.order[i].n_chunks);
		}
		CHECK(round || most == 4);
		finish(&f, 5 * MS);
		f.now += PLANNER_WAIT_NS;
	}
	CHECK_EQ(most, PFS_PREFETCH_MAX / CHUNK);
	end(&f);
}

/* An order is at most 1 MiB, and at least a chunk. */
static void any_size_of_chunks_is_served(void)
{
	static const uint64_t sizes[] = {PFS_KIB(4), PFS_KIB(16), PFS_MIB(1)};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(sizes); i++) {
		struct fixture f;

		begin_with(&f, (uint32_t)sizes[i], PFS_PREFETCH_BALANCED, 0);
		for (uint32_t round = 0; round < 20; round++) {
			for (uint64_t c = 0; c < 300; c++)
				add(&f, VM, 1000 * round + c);
			CHECK(take(&f) > 0);
			for (uint32_t k = 0; k < f.n; k++) {
				uint32_t n = f.order[k].n_chunks;

				CHECK(n * sizes[i] <= PFS_PREFETCH_MAX);
				planner_used(f.pl, VM, n);
			}
			finish(&f, 5 * MS);
			f.now += PLANNER_WAIT_NS;
		}
		end(&f);
	}
}

static void a_wish_that_waits_too_long_is_dropped(void)
{
	struct fixture f;

	begin(&f);
	CHECK(add(&f, VM, 1));
	CHECK_EQ(planner_deadline(f.pl), f.now + PLANNER_WAIT_NS);
	f.now += PLANNER_WAIT_NS - MS;
	CHECK(add(&f, VM, 2));
	f.now += MS;
	CHECK_EQ(take(&f), 1);
	CHECK_EQ(f.order[0].chunk, 2);
	CHECK_EQ(f.dropped.chunk, 1);
	CHECK_EQ(stats(&f).dropped_old, 1);
	end(&f);
}

static void a_wish_made_again_waits_anew(void)
{
	struct fixture f;

	begin(&f);
	CHECK(add_p(&f, VM, 1, 0.9f, 2));
	f.now += PLANNER_WAIT_NS - MS;
	CHECK(add_p(&f, VM, 1, 0.3f, 9)); /* worse: only its age changes */
	f.now += PLANNER_WAIT_NS - MS;
	CHECK_EQ(stats(&f).n_queued, 1);
	CHECK_EQ(take(&f), 1);
	CHECK(planner_ordered(f.pl)[0].p > 0.8f);
	CHECK_EQ(f.n_dropped, 0);
	end(&f);
}

static void a_better_wish_for_a_chunk_raises_it(void)
{
	struct fixture f;

	begin(&f);
	CHECK(add_p(&f, VM, 1, 0.3f, 60));
	CHECK(add_p(&f, VM, 9, 0.9f, 30));
	CHECK(add_p(&f, VM, 1, 0.9f, 1));
	CHECK_EQ(stats(&f).n_queued, 2);
	CHECK_EQ(take(&f), 2);
	CHECK_EQ(f.order[0].chunk, 1);
	end(&f);
}

static void a_full_queue_drops_the_lowest(void)
{
	struct fixture f;

	begin(&f);
	for (uint64_t i = 0; i < 1024; i++)
		CHECK(add_p(&f, VM, 3 * i, 0.5f, (uint32_t)(i + 1)));
	CHECK(!add_p(&f, VM, 9001, 0.4f, 2000));
	CHECK_EQ(f.n_dropped, 0);
	CHECK(add_p(&f, VM, 9001, 0.9f, 1));
	CHECK_EQ(f.n_dropped, 1);
	CHECK_EQ(f.dropped.chunk, 3 * 1023);
	CHECK_EQ(stats(&f).n_queued, 1024);
	CHECK_EQ(stats(&f).dropped_full, 2);
	end(&f);
}

static void what_is_cancelled_is_gone(void)
{
	struct fixture f;
	struct wish other = {.image = IMAGE + 1, .vm = VM, .chunk = 1, .p = 1};

	begin(&f);
	planner_session(f.pl, 2, f.now);
	for (uint64_t c = 0; c < 4; c++) {
		CHECK(add(&f, VM, 10 * c));
		CHECK(add(&f, 2, 10 * c + 5));
	}
	CHECK(planner_add(f.pl, &other, f.now));
	planner_cancel_chunk(f.pl, IMAGE, 10);
	CHECK(!planner_is_queued(f.pl, IMAGE, 10));
	CHECK_EQ(stats(&f).n_queued, 8);
	planner_cancel(f.pl, IMAGE, VM);
	CHECK_EQ(stats(&f).n_queued, 5);
	planner_cancel(f.pl, IMAGE, PLANNER_ANY_VM);
	CHECK_EQ(stats(&f).n_queued, 1);
	CHECK_EQ(stats(&f).dropped_cancelled, 8);
	CHECK_EQ(f.n_dropped, 8);
	CHECK_EQ(take(&f), 1);
	CHECK_EQ(f.order[0].image, IMAGE + 1);
	end(&f);
}

/* --- who may --- */

static void no_more_than_32_orders_are_in_flight(void)
{
	struct fixture f;

	begin(&f);
	prove(&f, VM, 40);
	for (uint64_t c = 0; c < 40; c++)
		CHECK(add(&f, VM, 2 * c));
	CHECK_EQ(take(&f), PFS_PREFETCH_FLIGHT_MAX);
	CHECK_EQ(stats(&f).in_flight, PFS_PREFETCH_FLIGHT_MAX);
	end(&f);
}

/* Also when the other one cannot use its half: VM 2 has read nothing yet. */
static void nobody_takes_more_than_half_from_others(void)
{
	struct fixture f;
	uint32_t n[3] = {0};

	begin(&f);
	planner_session(f.pl, 2, f.now);
	prove(&f, VM, 40);
	for (uint64_t c = 0; c < 40; c++) {
		CHECK(add(&f, VM, 2 * c));
		CHECK(add(&f, 2, 500 + 2 * c));
		if (c < 4) {
			CHECK_EQ(take(&f), 2);
			finish(&f, 5 * MS);
		}
	}
	take(&f);
	for (uint32_t i = 0; i < f.n; i++)
		n[f.order[i].vm]++;
	CHECK_EQ(n[VM], 16);
	CHECK_EQ(n[2], 12);
	CHECK(f.order[0].vm != f.order[1].vm);
	CHECK(f.order[1].vm != f.order[2].vm);
	end(&f);
}

static void an_unknown_vm_has_the_smallest_share(void)
{
	struct fixture f;

	begin(&f);
	planner_session(f.pl, PFS_VM_UNKNOWN, f.now);
	prove(&f, PFS_VM_UNKNOWN, 40);
	for (uint64_t c = 0; c < 40; c++)
		CHECK(add(&f, PFS_VM_UNKNOWN, 2 * c));
	CHECK_EQ(take(&f), 4);
	end(&f);
}

static void warming_waits_for_all_else_and_does_not_age(void)
{
	struct fixture f;

	begin(&f);
	for (uint64_t c = 0; c < 3; c++)
		CHECK(add_warm(&f, 100 + c));
	f.now += 10 * PLANNER_WAIT_NS;
	CHECK(add_p(&f, VM, 5, 0.3f, 60));
	CHECK_EQ(take(&f), 2);
	CHECK_EQ(f.order[0].chunk, 5);
	CHECK_EQ(f.order[1].chunk, 100);
	CHECK_EQ(f.order[1].n_chunks, 3);
	CHECK_EQ(f.n_dropped, 0);
	end(&f);
}

static void warming_leaves_half_of_the_flight(void)
{
	struct fixture f;

	begin(&f);
	for (uint64_t c = 0; c < 64; c++)
		CHECK(add_warm(&f, 2 * c));
	CHECK_EQ(take(&f), PFS_PREFETCH_FLIGHT_MAX / 2);
	end(&f);
}

/* --- what pays --- */

static void wishes_below_the_floor_are_refused(void)
{
	static const struct {
		enum pfs_prefetch_level level;
		float idle;
	} levels[] = {{PFS_PREFETCH_CONSERVATIVE, 0.5f},
		      {PFS_PREFETCH_BALANCED, 0.25f},
		      {PFS_PREFETCH_AGGRESSIVE, 0.15f}};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(levels); i++) {
		struct fixture f;

		begin_at(&f, levels[i].level, 0);
		CHECK((float)planner_floor(f.pl, VM, f.now) == levels[i].idle);
		CHECK(!add_p(&f, VM, 1, levels[i].idle - 0.01f, 1));
		CHECK_EQ(stats(&f).dropped_floor, 1);
		CHECK(add_p(&f, VM, 1, levels[i].idle, 1));
		CHECK_EQ(take(&f), 1);
		end(&f);
	}
}

static void off_orders_nothing(void)
{
	struct fixture f;

	begin(&f);
	CHECK(add(&f, VM, 1));
	CHECK(add_warm(&f, 9));
	planner_set_level(f.pl, PFS_PREFETCH_OFF);
	CHECK_EQ(f.n_dropped, 2);
	CHECK(!add(&f, VM, 2));
	CHECK(!add_warm(&f, 10));
	CHECK(planner_floor(f.pl, VM, f.now) > 1);
	CHECK_EQ(take(&f), 0);
	CHECK_EQ(planner_deadline(f.pl), UINT64_MAX);
	planner_set_level(f.pl, PFS_PREFETCH_BALANCED);
	CHECK(add(&f, VM, 2));
	CHECK_EQ(take(&f), 1);
	end(&f);
}

static void the_rate_is_kept(void)
{
	uint64_t rate = PFS_MIB(2), n_bytes = 0, start;
	struct fixture f;

	begin_at(&f, PFS_PREFETCH_BALANCED, rate);
	start = f.now;
	for (uint64_t c = 0; f.now - start < 4 * SEC; c += 10) {
		for (uint64_t i = 0; i < 8; i++)
			add(&f, VM, c + i);
		take(&f);
		for (uint32_t i = 0; i < f.n; i++) {
			n_bytes += f.order[i].n_chunks * CHUNK;
			planner_used(f.pl, VM, f.order[i].n_chunks);
		}
		finish(&f, MS);
		f.now = planner_deadline(f.pl);
	}
	CHECK(n_bytes <= 4 * rate + PFS_MIB(1));
	CHECK(n_bytes >= 4 * rate - PFS_MIB(1));
	end(&f);
}

/* What ends a wait for room in flight is a fetch, not time. */
static void a_full_flight_asks_for_no_wake_up(void)
{
	struct fixture f;

	begin_at(&f, PFS_PREFETCH_BALANCED, PFS_MIB(100));
	prove(&f, VM, 40);
	for (uint64_t c = 0; c < 40; c++)
		CHECK(add(&f, VM, 2 * c));
	take(&f);
	CHECK(stats(&f).n_queued > 0);
	CHECK_EQ(planner_deadline(f.pl), f.now + PLANNER_WAIT_NS);
	end(&f);
}

/* --- budgets --- */

/* Chunks that a VM gets fetched within a second when it wishes for as many as
 * it may, each p, and reads none. */
static uint32_t wish_in_vain(struct fixture *f, uint64_t vm, float p)
{
	uint64_t chunk = pfs_mix64(f->now) >> 32;
	uint32_t n = 0;

	for (uint32_t round = 0; round < 200; round++) {
		for (uint32_t i = 0; i < 16; i++)
			add_p(f, vm, chunk += 2, p, i + 1);
		take(f);
		for (uint32_t i = 0; i < f->n; i++)
			n += f->order[i].n_chunks;
		finish(f, 5 * MS);
	}
	return n;
}

static void who_is_always_wrong_soon_gets_nothing(void)
{
	struct fixture f;
	uint32_t n;

	begin(&f);
	n = wish_in_vain(&f, VM, 1.0f);
	CHECK(n >= PFS_KIB(512) / CHUNK && n <= PFS_MIB(1) / CHUNK);
	CHECK(planner_floor(f.pl, VM, f.now) > 1);
	CHECK(stats(&f).dropped_budget > 100);

	/* A few again later: times change. */
	f.now += 60 * SEC;
	planner_extra(f.pl, VM, n);
	n = wish_in_vain(&f, VM, 1.0f);
	CHECK(n >= 4 && n <= PFS_MIB(1) / CHUNK);
	end(&f);
}

static void what_waits_for_its_budget_is_counted_as_that(void)
{
	struct fixture f;

	begin(&f);
	for (uint64_t c = 0; c < 40; c++)
		CHECK(add(&f, VM, 2 * c));
	CHECK_EQ(take(&f), 16);
	f.now += PLANNER_WAIT_NS;
	CHECK_EQ(take(&f), 0);
	CHECK_EQ(stats(&f).dropped_budget, 24);
	CHECK_EQ(stats(&f).dropped_old, 0);
	end(&f);
}

static void a_good_name_is_soon_used_up(void)
{
	struct fixture f;
	uint32_t n;

	begin(&f);
	prove(&f, VM, 1000);
	planner_demand(f.pl, VM, PFS_GIB(1), false, 0, f.now);
	n = wish_in_vain(&f, VM, 1.0f);
	CHECK(n >= PFS_MIB(8) / CHUNK && n <= PFS_MIB(32) / CHUNK);
	end(&f);
}

static void extra_bytes_use_up_the_allowance(void)
{
	struct fixture f;

	begin(&f);
	prove(&f, VM, 20);
	planner_extra(f.pl, VM, PLANNER_ALLOWANCE / CHUNK);
	CHECK(!add(&f, VM, 1));
	CHECK_EQ(stats(&f).dropped_budget, 1);

	/* 50 % of what is read as a boot begins: 2 chunks give one. */
	planner_demand(f.pl, VM, 2 * CHUNK, false, 0, f.now);
	CHECK(add(&f, VM, 1));
	CHECK_EQ(take(&f), 1);

	/* 25 % later. */
	finish(&f, 61 * SEC);
	planner_extra(f.pl, VM, 1);
	planner_demand(f.pl, VM, 3 * CHUNK, false, 0, f.now);
	CHECK(!add(&f, VM, 3));
	planner_demand(f.pl, VM, CHUNK, false, 0, f.now);
	CHECK(add(&f, VM, 3));
	end(&f);
}

static void waste_is_charged_to_its_vm(void)
{
	struct fixture f;

	begin(&f);
	planner_session(f.pl, 2, f.now);
	planner_extra(f.pl, 2, PLANNER_ALLOWANCE / CHUNK);
	CHECK(!add(&f, 2, 1));
	CHECK(add(&f, VM, 1));
	end(&f);
}

static void a_session_brings_one_allowance(void)
{
	struct fixture f;

	begin(&f);
	planner_session(f.pl, VM, f.now);
	planner_session(f.pl, VM, f.now);
	planner_extra(f.pl, VM, PLANNER_ALLOWANCE / CHUNK);
	CHECK(!add(&f, VM, 1));
	planner_session(f.pl, VM, f.now);
	CHECK(add(&f, VM, 1));

	/* Debts are paid from it. */
	planner_extra(f.pl, VM, 2 * PLANNER_ALLOWANCE / CHUNK);
	planner_session(f.pl, VM, f.now);
	CHECK(!add(&f, VM, 3));
	end(&f);
}

/* What is doubted and not read yet counts as if half of it were extra. */
static void doubts_count_before_they_come_true(void)
{
	struct fixture f;

	begin(&f);
	prove(&f, VM, 40);
	planner_extra(f.pl, VM, PLANNER_ALLOWANCE / CHUNK - 4);
	for (uint64_t c = 0; c < 20; c++)
		CHECK(add_p(&f, VM, 2 * c, 0.5f, 1));
	CHECK_EQ(take(&f), 7);
	finish(&f, 5 * MS);
	planner_used(f.pl, VM, 2);
	CHECK_EQ(take(&f), 2);
	end(&f);
}

static void what_was_not_fetched_counts_for_nothing(void)
{
	struct fixture f;

	begin(&f);
	for (uint32_t round = 0; round < 100; round++) {
		CHECK(add(&f, VM, 2 * round));
		CHECK_EQ(take(&f), 1);
		while (f.n)
			planner_fetched(f.pl, f.order[--f.n].id, 0, 0, ++f.now);
	}
	CHECK_EQ(stats(&f).in_flight, 0);
	end(&f);
}

static void an_unknown_vm_has_the_smallest_budget(void)
{
	struct fixture f;

	begin(&f);
	planner_session(f.pl, PFS_VM_UNKNOWN, f.now);
	CHECK_EQ(wish_in_vain(&f, PFS_VM_UNKNOWN, 1.0f), 4);
	planner_session(f.pl, PFS_VM_UNKNOWN, f.now);
	planner_extra(f.pl, PFS_VM_UNKNOWN, PFS_MIB(2) / CHUNK);
	CHECK(!add(&f, PFS_VM_UNKNOWN, 1));
	end(&f);
}

/* --- the source is slow --- */

static void demand(struct fixture *f, uint64_t latency_ns, uint32_t n)
{
	while (n--)
		planner_demand(f->pl, VM, CHUNK, true, latency_ns,
			       f->now += latency_ns);
}

static void nothing_starts_while_demand_waits_because_of_us(void)
{
	struct fixture f;
	uint64_t due;

	begin(&f);
	demand(&f, 10 * MS, 8);
	CHECK(add(&f, VM, 1));
	CHECK_EQ(take(&f), 1);
	demand(&f, 80 * MS, 3);
	finish(&f, MS);
	CHECK(add(&f, VM, 3));
	CHECK_EQ(take(&f), 0);
	due = planner_deadline(f.pl);
	CHECK(due > f.now && due < f.now + PLANNER_WAIT_NS);
	f.now = due;
	CHECK_EQ(take(&f), 1);
	end(&f);
}

/* Slow, but no slower than without us. */
static void a_source_that_is_slow_by_itself_stops_nothing(void)
{
	struct fixture f;

	begin(&f);
	demand(&f, 10 * MS, 8);
	demand(&f, 80 * MS, 30);
	CHECK(add(&f, VM, 1));
	CHECK_EQ(take(&f), 1);
	demand(&f, 80 * MS, 8);
	CHECK(add(&f, VM, 3));
	CHECK_EQ(take(&f), 1);
	CHECK(stats(&f).source_ns > 70 * MS);
	end(&f);
}

/* --- bounds --- */

static void nothing_is_allocated_once_it_runs(void)
{
	struct fixture f;
	size_t before;

	begin(&f);
	before = mallinfo2().uordblks;
	for (uint64_t vm = 1; vm < 3000; vm++) {
		planner_session(f.pl, vm, f.now);
		for (uint64_t c = 0; c < 5; c++)
			add(&f, vm, vm * 100 + c);
		take(&f);
		finish(&f, MS);
		planner_demand(f.pl, vm, CHUNK, true, MS, f.now);
	}
	CHECK_EQ(mallinfo2().uordblks, before);
	end(&f);
}

static void an_order_that_ended_twice_does_no_harm(void)
{
	struct fixture f;

	begin(&f);
	CHECK(add(&f, VM, 1));
	CHECK_EQ(take(&f), 1);
	planner_fetched(f.pl, f.order[0].id, 1, MS, f.now + MS);
	planner_fetched(f.pl, f.order[0].id, 1, MS, f.now + MS);
	planner_fetched(f.pl, 0, 1, MS, f.now + MS);
	CHECK_EQ(stats(&f).in_flight, 0);
	end(&f);
}

int main(void)
{
	RUN(what_is_near_and_sure_goes_first);
	RUN(neighbours_become_one_order);
	RUN(only_neighbours_of_the_same_reader_are_merged);
	RUN(what_is_no_more_absent_is_left_out);
	RUN(an_order_grows_up_to_a_mebibyte);
	RUN(any_size_of_chunks_is_served);
	RUN(a_wish_that_waits_too_long_is_dropped);
	RUN(a_wish_made_again_waits_anew);
	RUN(a_better_wish_for_a_chunk_raises_it);
	RUN(a_full_queue_drops_the_lowest);
	RUN(what_is_cancelled_is_gone);
	RUN(no_more_than_32_orders_are_in_flight);
	RUN(nobody_takes_more_than_half_from_others);
	RUN(an_unknown_vm_has_the_smallest_share);
	RUN(warming_waits_for_all_else_and_does_not_age);
	RUN(warming_leaves_half_of_the_flight);
	RUN(wishes_below_the_floor_are_refused);
	RUN(off_orders_nothing);
	RUN(the_rate_is_kept);
	RUN(a_full_flight_asks_for_no_wake_up);
	RUN(who_is_always_wrong_soon_gets_nothing);
	RUN(what_waits_for_its_budget_is_counted_as_that);
	RUN(a_good_name_is_soon_used_up);
	RUN(extra_bytes_use_up_the_allowance);
	RUN(waste_is_charged_to_its_vm);
	RUN(a_session_brings_one_allowance);
	RUN(doubts_count_before_they_come_true);
	RUN(what_was_not_fetched_counts_for_nothing);
	RUN(an_unknown_vm_has_the_smallest_budget);
	RUN(nothing_starts_while_demand_waits_because_of_us);
	RUN(a_source_that_is_slow_by_itself_stops_nothing);
	RUN(nothing_is_allocated_once_it_runs);
	RUN(an_order_that_ended_twice_does_no_harm);
	return CHECK_RESULT();
}
