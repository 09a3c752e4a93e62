/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The planner against a source that is played: a pipe of some bandwidth, with
 * a queue in front, and a latency behind it.  Guests read one chunk after the
 * other; some wish for what they will read, some for what nobody ever does.
 */
#include "check.h"
#include "planner.h"
#include "planner_link.h"

#include <pfs/hash.h>

#define CHUNK PFS_KIB(64)
#define MS PFS_NSEC_PER_MSEC
#define SEC PFS_NSEC_PER_SEC
#define HIT_NS (MS / 10)
#define N_CHUNKS 300000u
#define WRONG_FROM 150000u /* nobody reads from here on */
#define READS_MAX 20000u
#define GUESTS 2u
#define AHEAD 64u

struct guest {
	bool is_random;
	uint32_t n_wrong; /* wishes that are wrong, after each read */
	uint32_t n_right;
	uint64_t think_ns;

	uint64_t pos, from_ns;
	bool waits; /* for a chunk in flight */
};

enum kind {
	NOTHING,
	FETCHED,
	ANSWERED,
	THOUGHT
};

struct event {
	enum kind kind;
	uint64_t time_ns, start_ns;
	struct pfs_prefetch_order order; /* FETCHED */
	uint32_t guest;
	bool is_miss;
};

struct world {
	uint64_t latency_ns, bandwidth; /* bytes/s; 0: no limit */
	bool is_bimodal;                /* 1 of 4 comes from a cache */
	struct guest guest[GUESTS];
	uint32_t n_guests;

	struct planner *pl;
	uint64_t now, pipe_ns, n_fetches, n_wrong;
	struct event event[64];
	uint8_t state[N_CHUNKS];  /* enum state */
	uint8_t reader[N_CHUNKS]; /* guest that had it fetched */

	/* Of the last guest. */
	uint64_t latency[READS_MAX];
	uint32_t n_reads;

	uint32_t flight_most;
	uint64_t waiting_most; /* bytes before the pipe */
};

enum state {
	ABSENT,
	IN_FLIGHT,
	AHEAD_OF_IT,
	READ
};

static struct world w; /* too large for a stack */

static bool is_absent(void *arg, uint64_t image, uint64_t chunk)
{
	(void)arg;
	(void)image;
	return chunk < N_CHUNKS && w.state[chunk] == ABSENT;
}

static void after(uint64_t ns, struct event e)
{
	struct event *free = w.event;

	while (free->kind)
		free++;
	e.start_ns = w.now;
	e.time_ns = w.now + ns;
	*free = e;
}

/* How long the source takes for a fetch that comes now. */
static uint64_t source_ns(uint64_t n_bytes)
{
	uint64_t cached = w.latency_ns / 20;

	w.n_fetches++;
	if (w.is_bimodal && pfs_mix64(w.n_fetches) % 4 == 0)
		return cached;
	if (!w.bandwidth)
		return w.latency_ns;
	w.pipe_ns = PFS_MAX(w.pipe_ns, w.now) + n_bytes * SEC / w.bandwidth;
	w.waiting_most = PFS_MAX(w.waiting_most,
				 (w.pipe_ns - w.now) * w.bandwidth / SEC);
	return w.pipe_ns + w.latency_ns - w.now;
}

static void start_orders(void)
{
	struct event e = {.kind = FETCHED};
	struct planner_stats n;

	while (planner_next(w.pl, w.now, &e.order)) {
		for (uint32_t i = 0; i < e.order.n_chunks; i++) {
			w.state[e.order.chunk + i] = IN_FLIGHT;
			w.reader[e.order.chunk + i] = (uint8_t)e.order.vm;
		}
		if (e.order.chunk >= WRONG_FROM)
			w.n_wrong += e.order.n_chunks;
		after(source_ns(e.order.n_chunks * CHUNK), e);
	}
	planner_stats(w.pl, &n);
	w.flight_most = PFS_MAX(w.flight_most, n.in_flight);
}

/* --- guests --- */

static void wish(uint32_t vm, uint64_t chunk, uint32_t distance)
{
	struct wish x = {.image = 1,
			 .vm = vm,
			 .chunk = chunk,
			 .p = 1,
			 .distance = distance};

	if (is_absent(NULL, 1, chunk))
		planner_add(w.pl, &x, w.now);
}

static void answered(uint32_t k, bool is_miss)
{
	struct guest *g = &w.guest[k];
	uint64_t latency = w.now - g->from_ns;

	if (k == w.n_guests - 1)
		w.latency[w.n_reads++] = latency;
	planner_demand(w.pl, k + 1, CHUNK, is_miss, latency, w.now);
	for (uint32_t i = 0; i < g->n_right; i++)
		wish(k + 1, g->pos + i, i + 1);
	for (uint32_t i = 0; i < g->n_wrong; i++)
		wish(k + 1,
		     WRONG_FROM +
			     pfs_mix64(w.now + i) % (N_CHUNKS - WRONG_FROM),
		     i + 1);
	after(g->think_ns, (struct event){.kind = THOUGHT, .guest = k});
}

static void read_next(uint32_t k)
{
	struct guest *g = &w.guest[k];
	struct event e = {.kind = ANSWERED, .guest = k, .is_miss = true};
	uint8_t *state = &w.state[g->pos];

	g->from_ns = w.now;
	if (g->is_random) {
		after(source_ns(CHUNK), e); /* never the same chunk twice */
		return;
	}
	if (*state == IN_FLIGHT) {
		g->waits = true;
		return;
	}
	g->pos++;
	e.is_miss = *state == ABSENT;
	if (*state == AHEAD_OF_IT)
		planner_used(w.pl, k + 1, 1);
	*state = READ;
	after(e.is_miss ? source_ns(CHUNK) : HIT_NS, e);
}

static void fetched(const struct event *e)
{
	const struct pfs_prefetch_order *o = &e->order;

	for (uint32_t i = 0; i < o->n_chunks; i++)
		w.state[o->chunk + i] = AHEAD_OF_IT;
	planner_fetched(w.pl, o->id, o->n_chunks, w.now - e->start_ns, w.now);
	for (uint32_t k = 0; k < w.n_guests; k++) {
		struct guest *g = &w.guest[k];

		if (!g->waits || w.state[g->pos] != AHEAD_OF_IT)
			continue;
		g->waits = false;
		w.state[g->pos++] = READ;
		planner_used(w.pl, k + 1, 1);
		answered(k, false);
	}
}

/* --- time --- */

static struct event *first_event(void)
{
	struct event *first = NULL;

	for (struct event *e = w.event; e < w.event + 64; e++)
		if (e->kind && (!first || e->time_ns < first->time_ns))
			first = e;
	return first;
}

static void one_event(void)
{
	struct event *first = first_event(), e = *first;
	uint64_t due = planner_deadline(w.pl);

	if (due < e.time_ns) {
		w.now = due;
	} else {
		w.now = e.time_ns;
		first->kind = NOTHING;
		if (e.kind == FETCHED)
			fetched(&e);
		else if (e.kind == ANSWERED)
			answered(e.guest, e.is_miss);
		else
			read_next(e.guest);
	}
	start_orders();
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

struct result {
	uint64_t p99_ns, time_ns;
};

/* Until the last guest has read n chunks. */
static struct result run_on(uint32_t n)
{
	uint64_t start = w.now;
	struct result r;

	w.n_reads = 0;
	while (w.n_reads < n)
		one_event();
	qsort(w.latency, n, sizeof(*w.latency), by_value);
	r = (struct result){w.latency[n * 99ul / 100], w.now - start};
	return r;
}

/* The world is told its source and guests before. */
static struct result run(uint32_t n)
{
	struct planner_config cfg = {.chunk = CHUNK,
				     .level = PFS_PREFETCH_BALANCED,
				     .is_absent = is_absent};

	w.now = 1000 * SEC;
	CHECK_EQ(planner_create(&cfg, &w.pl), 0);
	for (uint32_t k = 0; k < w.n_guests; k++) {
		planner_session(w.pl, k + 1, w.now);
		after(k * MS, (struct event){.kind = THOUGHT, .guest = k});
	}
	return run_on(n);
}

static void new_world(uint64_t latency_ns, uint64_t bandwidth)
{
	planner_destroy(w.pl);
	memset(&w, 0, sizeof(w));
	w.latency_ns = latency_ns;
	w.bandwidth = bandwidth;
	w.n_guests = 1;
}

/* --- do no harm --- */

static void whoever_is_always_wrong_delays_no_demand(void)
{
	static const uint64_t think[] = {0, MS, 5 * MS, 30 * MS};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(think); i++) {
		struct result without, with;

		new_world(10 * MS, 25000000);
		w.guest[0] =
			(struct guest){.is_random = true, .think_ns = think[i]};
		without = run(3000);
		new_world(10 * MS, 25000000);
		w.guest[0] = (struct guest){
			.is_random = true, .n_wrong = 16, .think_ns = think[i]};
		with = run(3000);
		CHECK(with.p99_ns * 100 <= without.p99_ns * 105);
		CHECK(with.time_ns * 1000 <= without.time_ns * 1005);
		CHECK(w.n_wrong >= 8 && w.n_wrong <= 64);
	}
}

static void whoever_is_always_wrong_delays_nobody_else(void)
{
	struct result without, with;

	for (uint32_t n_wrong = 0; n_wrong <= 16; n_wrong += 16) {
		new_world(10 * MS, 25000000);
		w.n_guests = 2;
		w.guest[0] = (struct guest){.is_random = true,
					    .n_wrong = n_wrong,
					    .think_ns = 3 * MS};
		w.guest[1] =
			(struct guest){.is_random = true, .think_ns = 5 * MS};
		with = run(3000);
		if (!n_wrong)
			without = with;
	}
	CHECK(with.p99_ns * 100 <= without.p99_ns * 105);
}

/* It takes what is left of the link, but what waits before it stays short. */
static void whoever_is_right_does_not_crowd_out_demand(void)
{
	struct result r;

	new_world(10 * MS, 25000000);
	w.n_guests = 2;
	w.guest[0] = (struct guest){.n_right = AHEAD};
	w.guest[1] = (struct guest){.is_random = true, .think_ns = 5 * MS};
	run(100);
	r = run_on(2000);
	CHECK(r.p99_ns <= 28 * MS); /* alone: 12.6 */
	CHECK((w.guest[0].pos * CHUNK) * SEC / r.time_ns >= 12000000);
}

/* --- use what is there --- */

static void whoever_is_right_fills_the_link(void)
{
	struct result r;

	new_world(10 * MS, 25000000);
	w.guest[0] = (struct guest){.n_right = AHEAD};
	r = run(1000);
	CHECK(1000 * CHUNK * SEC / r.time_ns >= 20000000);
	w.waiting_most = 0;
	r = run_on(10000);
	CHECK(10000 * CHUNK * SEC / r.time_ns >= 24000000);
	CHECK(w.waiting_most <= PFS_KIB(768));
}

static void a_source_without_a_limit_is_not_throttled(void)
{
	struct result r;

	new_world(5 * MS, 0);
	w.guest[0] = (struct guest){.n_right = AHEAD};
	r = run(10000);
	CHECK(10000 * CHUNK * SEC / r.time_ns >= 500000000);
	CHECK_EQ(w.flight_most, PFS_PREFETCH_FLIGHT_MAX);
}

static void one_that_answers_some_from_a_cache_neither(void)
{
	struct result r;

	new_world(8 * MS, 0);
	w.is_bimodal = true;
	w.guest[0] = (struct guest){.n_right = AHEAD};
	r = run(10000);
	CHECK(10000 * CHUNK * SEC / r.time_ns >= 200000000);
}

static void a_source_that_becomes_slower_is_learned_anew(void)
{
	struct result r;

	new_world(5 * MS, 25000000);
	w.guest[0] = (struct guest){.n_right = AHEAD};
	run(2000);
	w.latency_ns = 30 * MS;
	(void)run_on(8000);
	r = run_on(2000);
	CHECK(2000 * CHUNK * SEC / r.time_ns >= 20000000);
}

/* --- load --- */

/* Order after order, each behind n others, as from a link of 25 MB/s. */
static void fill_link(struct link *lk, uint32_t n, uint64_t *now)
{
	struct link_fetch f[64];

	for (uint32_t i = 0; i < n; i++)
		link_start(lk, 1, *now, &f[i]);
	*now += 10 * MS;
	for (uint32_t i = 0; i < n; i++) {
		*now += CHUNK * SEC / 25000000;
		link_done(lk, &f[i], 1, *now - f[i].started_ns, *now);
	}
}

static double load_at(struct link *lk, uint64_t rate, uint64_t *now)
{
	for (uint32_t i = 0; i < 2000; i++)
		link_demand(lk, rate / 1000, 0, *now += MS);
	return link_load(lk, *now);
}

static void load_is_measured_against_a_full_link(void)
{
	struct link lk;
	uint64_t now = 1000 * SEC;
	double load;

	link_init(&lk, CHUNK);
	fill_link(&lk, 1, &now);
	CHECK(load_at(&lk, 10000000, &now) == 0); /* never was full */
	for (uint32_t i = 0; i < 4; i++)
		fill_link(&lk, 32, &now);
	CHECK(lk.is_full);
	load = load_at(&lk, 10000000, &now);
	CHECK(load > 0.3 && load < 0.5);
	link_demand(&lk, CHUNK, MS / 10, now); /* from a cache: no capacity */
	load = load_at(&lk, 24000000, &now);
	CHECK(load > 0.9);
	now += SEC;
	CHECK(link_load(&lk, now) < 0.1);
	now += 30 * SEC;
	CHECK(load_at(&lk, 24000000, &now) == 0); /* long ago */
}

/* 1 MiB takes 52 ms there, one chunk 12.6. */
static void orders_stay_short_on_a_slow_link(void)
{
	struct link lk;
	uint64_t now = 1000 * SEC;

	link_init(&lk, CHUNK);
	for (uint32_t n = 1; n <= PFS_PREFETCH_MAX / CHUNK; n *= 2) {
		uint64_t ns = 10 * MS + n * CHUNK * SEC / 25000000;
		struct link_fetch f;

		link_start(&lk, n, now, &f);
		link_done(&lk, &f, n, ns, now += ns);
	}
	CHECK_EQ(link_room(&lk, now), 4);
}

int main(void)
{
	RUN(whoever_is_always_wrong_delays_no_demand);
	RUN(whoever_is_always_wrong_delays_nobody_else);
	RUN(whoever_is_right_does_not_crowd_out_demand);
	RUN(whoever_is_right_fills_the_link);
	RUN(a_source_without_a_limit_is_not_throttled);
	RUN(one_that_answers_some_from_a_cache_neither);
	RUN(a_source_that_becomes_slower_is_learned_anew);
	RUN(load_is_measured_against_a_full_link);
	RUN(orders_stay_short_on_a_slow_link);
	planner_destroy(w.pl);
	return CHECK_RESULT();
}
