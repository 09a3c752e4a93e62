/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The model of the simulator, with the predictor played by a script: what it
 * is told, when, and what its fetches then cost and save. */
#include <pfs/predictor.h>
#include <pfs/sim.h>

#include "check.h"

#define CHUNK 65536u
#define MS 1000000ull
#define US 1000ull

/* --- the predictor's part --- */

#define SEEN_MAX 4096
#define WANTS_MAX 64

static struct {
	struct pfs_predictor_config cfg;
	bool is_there;
	/* --- script --- */
	struct {
		uint64_t after; /* observed accesses, of all sessions */
		uint64_t chunk;
		uint32_t n;
	} want[WANTS_MAX];
	uint32_t n_wants, next_want;
	bool is_endless; /* wants one chunk after the other */
	uint64_t deadline;
	uint64_t cpu, cpu_observe, cpu_close;
	/* --- what it saw --- */
	struct pfs_access seen[SEEN_MAX];
	uint64_t seen_at[SEEN_MAX];
	uint32_t n_seen;
	uint32_t n_opened, n_closed, n_ticks, n_next_closed;
	bool is_open;
	uint64_t size, closed_at, last_tick, ticked_at;
	uint32_t n_orders, in_flight, in_flight_max;
	uint32_t fetched_n[SEEN_MAX];
	uint64_t fetched_ns[SEEN_MAX], fetched_at[SEEN_MAX];
	uint32_t n_fetched;
	uint64_t evicted[SEEN_MAX];
	uint32_t n_evicted;
} fake;

int pfs_predictor_create(const struct pfs_predictor_config *cfg,
			 struct pfs_predictor **out)
{
	fake.cfg = *cfg;
	fake.is_there = true;
	*out = (struct pfs_predictor *)&fake;
	return 0;
}

void pfs_predictor_destroy(struct pfs_predictor *p)
{
	if (p)
		fake.is_there = false;
}

int pfs_predictor_opened(struct pfs_predictor *p, uint64_t image, uint64_t vm,
			 uint64_t size, uint64_t now)
{
	(void)p, (void)image, (void)vm, (void)now;
	fake.n_opened++;
	fake.is_open = true;
	fake.size = size;
	return 0;
}

void pfs_predictor_closed(struct pfs_predictor *p, uint64_t image, uint64_t vm,
			  uint64_t now)
{
	(void)p, (void)image, (void)vm;
	fake.n_closed++;
	fake.is_open = false;
	fake.closed_at = now;
	fake.cpu += fake.cpu_close;
}

void pfs_predictor_observe(struct pfs_predictor *p, const struct pfs_access *a,
			   uint64_t now)
{
	(void)p;
	if (fake.n_seen < SEEN_MAX) {
		fake.seen[fake.n_seen] = *a;
		fake.seen_at[fake.n_seen] = now;
	}
	fake.n_seen++;
	fake.cpu += fake.cpu_observe;
}

void pfs_predictor_evicted(struct pfs_predictor *p, uint64_t image,
			   uint64_t chunk)
{
	(void)p, (void)image;
	if (fake.n_evicted < SEEN_MAX)
		fake.evicted[fake.n_evicted++] = chunk;
}

uint64_t pfs_predictor_deadline(const struct pfs_predictor *p)
{
	(void)p;
	return fake.deadline;
}

void pfs_predictor_tick(struct pfs_predictor *p, uint64_t now)
{
	(void)p;
	fake.last_tick = now;
	if (fake.n_ticks++ == 0)
		fake.ticked_at = now;
	if (now >= fake.deadline)
		fake.deadline = UINT64_MAX;
}

static bool hand_out(uint64_t chunk, uint32_t n, struct pfs_prefetch_order *out)
{
	*out = (struct pfs_prefetch_order){.id = ++fake.n_orders,
					   .image = 1,
					   .vm = 1,
					   .chunk = chunk,
					   .n_chunks = n};
	fake.in_flight++;
	if (fake.in_flight > fake.in_flight_max)
		fake.in_flight_max = fake.in_flight;
	return true;
}

bool pfs_predictor_next(struct pfs_predictor *p, uint64_t now,
			struct pfs_prefetch_order *out)
{
	uint32_t i = fake.next_want;

	(void)p, (void)now;
	fake.n_next_closed += !fake.is_open;
	if (fake.is_endless)
		return hand_out(1000 + 2 * fake.n_orders, 1, out);
	if (i == fake.n_wants || fake.want[i].after > fake.n_seen)
		return false;
	fake.next_want++;
	return hand_out(fake.want[i].chunk, fake.want[i].n, out);
}

void pfs_predictor_fetched(struct pfs_predictor *p, uint64_t id,
			   uint32_t n_fetched, uint64_t latency_ns,
			   uint64_t now)
{
	(void)p, (void)id;
	fake.in_flight--;
	if (fake.n_fetched == SEEN_MAX)
		return;
	fake.fetched_n[fake.n_fetched] = n_fetched;
	fake.fetched_at[fake.n_fetched] = now;
	fake.fetched_ns[fake.n_fetched++] = latency_ns;
}

static uint64_t fake_cpu(void *arg)
{
	(void)arg;
	return fake.cpu;
}

/* It wants n chunks once it has seen that many accesses. */
static void script(uint64_t after, uint64_t chunk, uint32_t n)
{
	fake.want[fake.n_wants].after = after;
	fake.want[fake.n_wants].chunk = chunk;
	fake.want[fake.n_wants++].n = n;
}

/* --- traces --- */

static struct pfs_trace_op ops[SEEN_MAX];
static size_t n_ops;

static void start(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.deadline = UINT64_MAX;
	n_ops = 0;
}

static void op(uint64_t ms, bool is_write, uint64_t off, uint32_t len)
{
	ops[n_ops++] = (struct pfs_trace_op){.time_us = ms * 1000,
					     .off = off,
					     .len = len,
					     .is_write = is_write};
}

/* One block of a chunk. */
static void reads(uint64_t ms, uint64_t chunk)
{
	op(ms, false, chunk * CHUNK + 4096, 4096);
}

static struct pfs_sim_config config(uint32_t proposers)
{
	return (struct pfs_sim_config){
		.proposers = proposers,
		.chunk = CHUNK,
		.store_percent = 1, /* that is, 16 chunks */
		.source_latency_us = 5000,
		.store_latency_us = 100,
		.source_mbps = 65.536, /* 1 ms for each chunk */
		.cpu_ns = fake_cpu,
	};
}

static struct pfs_sim_result run(const struct pfs_sim_config *cfg)
{
	struct pfs_trace t = {ops, n_ops};
	struct pfs_sim_result r = {0};

	CHECK_EQ(pfs_simulate(cfg, NULL, 0, &t, &r), 0);
	CHECK(!fake.is_there);
	return r;
}

/* The first n_train operations are a session of their own. */
static struct pfs_sim_result run_trained(const struct pfs_sim_config *cfg,
					 size_t n_train)
{
	struct pfs_trace train = {ops, n_train};
	struct pfs_trace test = {ops + n_train, n_ops - n_train};
	struct pfs_sim_result r = {0};

	CHECK_EQ(pfs_simulate(cfg, &train, 1, &test, &r), 0);
	return r;
}

/* --- store, latency, traffic --- */

static void without_proposers_there_is_no_predictor(void)
{
	struct pfs_sim_config cfg = config(0);
	struct pfs_sim_result r;

	start();
	reads(0, 1);
	reads(100, 1);
	r = run(&cfg);

	CHECK_EQ(fake.n_opened + fake.n_seen + fake.n_ticks, 0);
	CHECK_EQ(r.chunk_reads, 2);
	CHECK_EQ(r.hits, 1);
	CHECK(r.coverage == 0.5);
	CHECK(r.mean_latency_us == (5100 + 100) / 2.0);
	CHECK(r.traffic_ratio == 8.0); /* 64 KiB for two reads of 4 KiB */
	CHECK(r.precision == 0 && r.cpu_us_per_read == 0);
}

static void the_store_is_an_exact_lru(void)
{
	struct pfs_sim_config cfg = config(0);
	struct pfs_sim_result r;

	start();
	for (uint64_t c = 0; c < 16; c++)
		reads(100 * c, c);
	reads(1600, 0);  /* hit: now the latest */
	reads(1700, 16); /* 1 leaves */
	reads(1800, 0);  /* hit */
	reads(1900, 1);  /* miss: 2 leaves */
	reads(2000, 3);  /* hit */
	reads(2100, 2);  /* miss */
	r = run(&cfg);

	CHECK_EQ(r.hits, 3);
	CHECK_EQ(r.source_bytes, 19ull * CHUNK);
}

static void its_size_is_a_share_of_the_chunks_of_all_traces(void)
{
	struct pfs_sim_config cfg = config(0);
	struct pfs_sim_result r;

	start();
	for (uint64_t c = 0; c < 20; c++)
		reads(100 * c, c); /* trained on */
	for (uint64_t c = 100; c < 119; c++)
		reads(100 * c, c);
	op(20000, true, 500ull * CHUNK, 512); /* written counts as well */
	reads(20100, 100);
	cfg.store_percent = 50; /* of 40 */
	CHECK_EQ(run_trained(&cfg, 20).hits, 1);
	cfg.store_percent = 45; /* 18 */
	CHECK_EQ(run_trained(&cfg, 20).hits, 0);
	cfg.store_bytes = 19 * CHUNK;
	CHECK_EQ(run_trained(&cfg, 20).hits, 1);
	cfg.store_bytes = 0;
	cfg.store_percent = 200;
	r = run_trained(&cfg, 20);
	CHECK_EQ(r.hits, 1);
}

static void a_request_costs_as_much_as_its_slowest_chunk(void)
{
	struct pfs_sim_config cfg = config(1);
	struct pfs_sim_result r;

	start();
	reads(0, 2);
	op(100, false, 0, 3 * CHUNK); /* 0 and 1 are missing */
	r = run(&cfg);

	CHECK_EQ(r.chunk_reads, 4);
	CHECK_EQ(r.hits, 1);
	CHECK(r.mean_latency_us == 5100);
	CHECK_EQ(r.source_bytes, 3 * CHUNK);
	CHECK_EQ(r.read_bytes, 4096 + 3 * CHUNK);
	CHECK_EQ(fake.seen[1].outcome, PFS_ACCESS_MISS);
}

static void only_chunks_written_whole_enter_the_store(void)
{
	struct pfs_sim_config cfg = config(0);
	struct pfs_sim_result r;

	start();
	op(0, true, CHUNK / 2, 2 * CHUNK); /* 1, and parts of 0 and 2 */
	reads(100, 0);
	reads(200, 1);
	reads(300, 2);
	op(400, true, 0, 512); /* a part: it stays */
	reads(500, 0);
	r = run(&cfg);

	CHECK_EQ(r.hits, 2);
	CHECK_EQ(r.source_bytes, 2 * CHUNK);
}

static void a_read_of_a_chunk_on_its_way_waits_for_the_rest(void)
{
	struct pfs_sim_config cfg = config(0);
	struct pfs_sim_result r;

	start();
	reads(0, 1);
	reads(2, 1); /* 3 of 5 ms are left */
	reads(5, 1); /* there now */
	r = run(&cfg);

	CHECK_EQ(r.late, 1);
	CHECK_EQ(r.hits, 1);
	CHECK_EQ(r.source_bytes, CHUNK);
	CHECK(r.mean_latency_us == (5100 + 3100 + 100) / 3.0);
}

static void p99_is_the_smallest_that_99_percent_are_not_above(void)
{
	struct pfs_sim_config cfg = config(0);

	start();
	for (uint64_t i = 0; i < 100; i++)
		reads(100 * i, 1); /* one miss */
	CHECK(run(&cfg).p99_latency_us == 100);
	reads(20000, 2);
	CHECK(run(&cfg).p99_latency_us == 5100);
}

static void in_a_closed_loop_waiting_delays_what_follows(void)
{
	struct pfs_sim_config cfg = config(1);
	uint64_t begin;

	start();
	reads(0, 1);
	reads(0, 2);
	reads(10, 1);
	cfg.is_closed_loop = true;
	run(&cfg);

	begin = fake.seen[0].time_ns;
	CHECK_EQ(fake.seen[1].time_ns - begin, 5 * MS);
	CHECK_EQ(fake.seen[2].time_ns - begin, 20 * MS);
	cfg.is_closed_loop = false;
	fake.n_seen = 0;
	run(&cfg);
	CHECK_EQ(fake.seen[1].time_ns - fake.seen[0].time_ns, 0);
}

/* --- what the predictor sees --- */

static void an_access_is_seen_once_it_was_answered(void)
{
	struct pfs_sim_config cfg = config(1);

	start();
	reads(0, 7);
	reads(100, 3); /* a miss, answered at 105.1 */
	reads(101, 7); /* a hit, answered at 101.1 */
	op(102, true, 512, 1024);
	run(&cfg);

	CHECK_EQ(fake.n_seen, 4);
	for (uint32_t i = 0; i < 4; i++) {
		CHECK_EQ(fake.seen[i].image, 1);
		CHECK_EQ(fake.seen[i].vm, 1);
		CHECK_EQ(fake.seen_at[i],
			 fake.seen[i].time_ns + fake.seen[i].latency_ns);
	}
	CHECK_EQ(fake.seen[0].outcome, PFS_ACCESS_MISS);
	CHECK_EQ(fake.seen[1].outcome, PFS_ACCESS_HIT);
	CHECK_EQ(fake.seen[1].latency_ns, 100 * US);
	CHECK(fake.seen[2].is_write);
	CHECK_EQ(fake.seen[2].off, 512);
	CHECK_EQ(fake.seen[2].len, 1024);
	CHECK_EQ(fake.seen[3].outcome, PFS_ACCESS_MISS);
	CHECK_EQ(fake.seen[3].off, 3ull * CHUNK + 4096);
	CHECK_EQ(fake.seen_at[3] - fake.seen_at[0], 100 * MS);
}

static void the_size_it_is_told_is_no_secret_of_the_trace(void)
{
	struct pfs_sim_config cfg = config(1);

	start();
	reads(0, 7);
	reads(100, 12345);
	run(&cfg);
	CHECK_EQ(fake.size, PFS_GIB(1));
	CHECK_EQ(fake.cfg.chunk, CHUNK);
	CHECK_EQ(fake.cfg.proposers, 1);
}

static void it_ticks_when_it_asked_for_it(void)
{
	struct pfs_sim_config cfg = config(1);

	start();
	reads(0, 1);
	reads(500, 2);
	fake.deadline = 10 * PFS_NSEC_PER_SEC + 200 * MS;
	run(&cfg);

	CHECK_EQ(fake.ticked_at,
		 fake.seen[0].time_ns + 200 * MS); /* that began at 10 s */
}

static void a_session_ends_with_its_last_answer(void)
{
	struct pfs_sim_config cfg = config(1);

	start();
	reads(0, 1);
	reads(1000, 2);
	reads(0, 3);
	script(2, 50, 1); /* too late to be wanted in the first session */
	run_trained(&cfg, 2);

	CHECK_EQ(fake.n_opened, 2);
	CHECK_EQ(fake.n_closed, 2);
	CHECK_EQ(fake.n_next_closed, 0);
	CHECK_EQ(fake.n_orders, 0);
	CHECK_EQ(fake.closed_at, fake.seen_at[2]);
	/* Time for it to learn: 10 s, then the next session. */
	CHECK_EQ(fake.seen[2].time_ns - fake.seen_at[1], 10 * PFS_NSEC_PER_SEC);
	CHECK_EQ(fake.last_tick - fake.closed_at, 10 * PFS_NSEC_PER_SEC);
}

static void the_store_is_emptied_between_sessions_unless_kept(void)
{
	struct pfs_sim_config cfg = config(0);

	start();
	reads(0, 1);
	reads(0, 1);
	CHECK_EQ(run_trained(&cfg, 1).hits, 0);
	cfg.keeps_store = true;
	CHECK_EQ(run_trained(&cfg, 1).hits, 1);
}

static void figures_are_of_the_test_session_alone(void)
{
	struct pfs_sim_config cfg = config(1);
	struct pfs_sim_result r;

	start();
	reads(0, 1);
	reads(100, 2);
	reads(0, 50);
	script(1, 50, 2);
	cfg.keeps_store = true;
	r = run_trained(&cfg, 2);

	CHECK_EQ(r.chunk_reads, 1);
	CHECK_EQ(r.hits, 1);
	CHECK_EQ(r.prefetched, 0);
	CHECK_EQ(r.used, 0); /* it was another session's */
	CHECK_EQ(r.source_bytes, 0);
}

static void cpu_of_learning_is_apart(void)
{
	struct pfs_sim_config cfg = config(1);
	struct pfs_sim_result r;

	start();
	fake.cpu_observe = 3000;
	fake.cpu_close = 2 * MS;
	reads(0, 1);
	reads(0, 1);
	reads(100, 1);
	r = run_trained(&cfg, 1);

	CHECK(r.cpu_us_per_read == 3);
	CHECK(r.train_cpu_s == 0.002);
}

/* --- what its fetches do --- */

static void a_prefetch_in_time_is_a_hit(void)
{
	struct pfs_sim_config cfg = config(1);
	struct pfs_sim_result r;

	start();
	reads(0, 1);
	reads(100, 2);
	reads(200, 2);
	script(1, 2, 1);
	r = run(&cfg);

	CHECK_EQ(r.hits, 2);
	CHECK_EQ(r.prefetched, 1);
	CHECK_EQ(r.used, 1); /* once */
	CHECK_EQ(r.source_bytes, 2 * CHUNK);
	CHECK(r.precision == 1);
	CHECK_EQ(fake.fetched_n[0], 1);
	CHECK_EQ(fake.fetched_ns[0], 5 * MS);
	CHECK_EQ(fake.fetched_at[0], fake.seen_at[0] + 5 * MS);
}

static void a_merged_prefetch_takes_longer_for_each_further_chunk(void)
{
	struct pfs_sim_config cfg = config(1);
	struct pfs_sim_result r;

	start();
	reads(0, 1);
	script(1, 2, 4);
	reads(13, 2); /* 8 ms from 5.1 on: a tenth is left */
	r = run(&cfg);

	CHECK_EQ(fake.fetched_ns[0], 8 * MS);
	CHECK_EQ(fake.fetched_n[0], 4);
	CHECK_EQ(r.late, 1);
	CHECK_EQ(r.used, 1);
	CHECK_EQ(r.prefetched, 4);
	CHECK(r.mean_latency_us == (5100 + 200) / 2.0);
}

static void nobody_waits_longer_than_for_a_fetch_of_his_own(void)
{
	struct pfs_sim_config cfg = config(1);
	struct pfs_sim_result r;

	start();
	reads(0, 1);
	script(1, 2, 16); /* 20 ms */
	reads(6, 2);
	reads(12, 2); /* his fetch has ended at 11 */
	reads(12, 3); /* still on its way */
	r = run(&cfg);

	CHECK_EQ(r.late, 2);
	CHECK_EQ(r.hits, 1);
	CHECK_EQ(r.used, 2);
	CHECK(r.mean_latency_us == (5100 + 5100 + 100 + 5100) / 4.0);
	CHECK_EQ(r.source_bytes, 17 * CHUNK);
}

static void at_most_32_are_in_flight(void)
{
	struct pfs_sim_config cfg = config(1);
	struct pfs_sim_result r;

	start();
	fake.is_endless = true;
	for (uint64_t i = 0; i < 10; i++)
		reads(i * 5, i);
	r = run(&cfg);

	CHECK_EQ(fake.in_flight_max, 32);
	CHECK(r.prefetched > 64);
	CHECK_EQ(fake.in_flight, 0);
}

static void only_the_absent_part_in_front_is_fetched(void)
{
	struct pfs_sim_config cfg = config(1);
	struct pfs_sim_result r;

	start();
	reads(0, 1);
	reads(100, 4);
	script(2, 2, 4);                      /* 2 and 3; 4 is there */
	script(2, 4, 2);                      /* nothing */
	script(2, 3, 1);                      /* is on its way */
	script(2, PFS_GIB(1) / CHUNK - 1, 2); /* the last of the image */
	reads(200, 9);
	r = run(&cfg);

	CHECK_EQ(r.prefetched, 3);
	CHECK_EQ(fake.n_fetched, 4);
	CHECK_EQ(fake.fetched_n[0] + fake.fetched_n[1], 0);
	CHECK_EQ(fake.in_flight, 0);
}

static void what_is_written_meanwhile_was_not_used(void)
{
	struct pfs_sim_config cfg = config(1);
	struct pfs_sim_result r;

	start();
	reads(0, 1);
	script(1, 2, 2);
	op(7, true, 2ull * CHUNK, CHUNK);  /* in flight */
	op(50, true, 3ull * CHUNK, CHUNK); /* in the store */
	reads(100, 2);
	reads(200, 3);
	r = run(&cfg);

	CHECK_EQ(r.hits, 2);
	CHECK_EQ(r.used, 0);
	CHECK_EQ(r.prefetched, 2);
}

static void it_hears_of_what_left_unread(void)
{
	struct pfs_sim_config cfg = config(1);

	start();
	reads(0, 1);
	script(1, 50, 2);
	reads(100, 51);
	for (uint64_t c = 2; c < 17; c++)
		reads(200 + 100 * c, c);
	run(&cfg);

	CHECK_EQ(fake.n_evicted, 1);
	CHECK_EQ(fake.evicted[0], 50);
}

static void an_emptied_store_counts_as_left(void)
{
	struct pfs_sim_config cfg = config(1);

	start();
	reads(0, 1);
	reads(100, 2);
	reads(0, 3);
	script(1, 50, 1);
	run_trained(&cfg, 2);
	CHECK_EQ(fake.n_evicted, 1);
}

/* --- what it refuses --- */

static void values_out_of_range_are_refused(void)
{
	struct pfs_sim_config cfg = config(0);
	struct pfs_trace none = {0};
	struct pfs_sim_result r;

	cfg.chunk = 3000;
	CHECK_EQ(pfs_simulate(&cfg, NULL, 0, &none, &r), -EINVAL);
	cfg = config(0);
	cfg.source_mbps = 0;
	CHECK_EQ(pfs_simulate(&cfg, NULL, 0, &none, &r), -EINVAL);
	cfg = config(0);
	cfg.store_percent = 0;
	CHECK_EQ(pfs_simulate(&cfg, NULL, 0, &none, &r), -EINVAL);
}

static void nothing_read_gives_figures_of_nothing(void)
{
	struct pfs_sim_config cfg = config(1);
	struct pfs_sim_result r;

	start();
	r = run(&cfg);
	CHECK_EQ(r.chunk_reads, 0);
	CHECK(r.coverage == 0 && r.traffic_ratio == 0);
	CHECK(r.mean_latency_us == 0 && r.p99_latency_us == 0);
}

int main(void)
{
	RUN(without_proposers_there_is_no_predictor);
	RUN(the_store_is_an_exact_lru);
	RUN(its_size_is_a_share_of_the_chunks_of_all_traces);
	RUN(a_request_costs_as_much_as_its_slowest_chunk);
	RUN(only_chunks_written_whole_enter_the_store);
	RUN(a_read_of_a_chunk_on_its_way_waits_for_the_rest);
	RUN(p99_is_the_smallest_that_99_percent_are_not_above);
	RUN(in_a_closed_loop_waiting_delays_what_follows);
	RUN(an_access_is_seen_once_it_was_answered);
	RUN(the_size_it_is_told_is_no_secret_of_the_trace);
	RUN(it_ticks_when_it_asked_for_it);
	RUN(a_session_ends_with_its_last_answer);
	RUN(the_store_is_emptied_between_sessions_unless_kept);
	RUN(figures_are_of_the_test_session_alone);
	RUN(cpu_of_learning_is_apart);
	RUN(a_prefetch_in_time_is_a_hit);
	RUN(a_merged_prefetch_takes_longer_for_each_further_chunk);
	RUN(nobody_waits_longer_than_for_a_fetch_of_his_own);
	RUN(at_most_32_are_in_flight);
	RUN(only_the_absent_part_in_front_is_fetched);
	RUN(what_is_written_meanwhile_was_not_used);
	RUN(it_hears_of_what_left_unread);
	RUN(an_emptied_store_counts_as_left);
	RUN(values_out_of_range_are_refused);
	RUN(nothing_read_gives_figures_of_nothing);
	return CHECK_RESULT();
}
