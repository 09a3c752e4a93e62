/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The queue between guests and the predictor. */
#include <pthread.h>
#include <stdatomic.h>

#include <pfs/clock.h>
#include <pfs/counters.h>

#include "check.h"
#include "events.h"

#define N_PRODUCERS 4u
#define N_EACH 20000u
#define CAPACITY 16384u
#define KEPT 2048u /* of it for what is not to be lost */

static struct events *q;

static void put(uint64_t image, uint64_t off, bool is_urgent)
{
	const struct event e = {.image = image, .off = off};

	events_put(q, &e, is_urgent);
}

static uint64_t counter(enum pfs_counter c)
{
	uint64_t v[PFS_C_N];

	pfs_counters_read(v);
	return v[c];
}

static void what_goes_in_comes_out_in_order(void)
{
	struct event e;

	CHECK(events_create(&q) == 0);
	CHECK(!events_take(q, &e));
	for (uint64_t i = 0; i < 3 * (uint64_t)CAPACITY; i++) {
		put(1, i, false);
		CHECK(events_take(q, &e) && e.off == i);
	}
	put(0, 1, true);
	CHECK(!events_take(q, &e));
	events_destroy(q);
	events_put(NULL, &e, true);
}

static void a_full_queue_drops_and_counts(void)
{
	uint64_t before = counter(PFS_C_EVENTS_DROPPED);
	struct event e;

	CHECK(events_create(&q) == 0);
	for (uint64_t i = 0; i < CAPACITY - KEPT + 10; i++)
		put(1, i, false);
	CHECK(counter(PFS_C_EVENTS_DROPPED) - before == 10);
	for (uint64_t i = 0; i < CAPACITY - KEPT; i++)
		CHECK(events_take(q, &e) && e.off == i);
	CHECK(!events_take(q, &e));
	events_destroy(q);
}

/* A session whose close is lost would never end. */
static void a_flood_of_reads_does_not_drown_a_close(void)
{
	struct event e = {.kind = EVENT_CLOSED, .image = 1};
	uint64_t before;

	CHECK(events_create(&q) == 0);
	for (uint32_t lap = 0; lap < 3; lap++) {
		uint32_t n_closed = 0;

		for (uint64_t i = 0; i < 2 * (uint64_t)CAPACITY; i++)
			put(1, i, false);
		before = counter(PFS_C_EVENTS_DROPPED);
		e.kind = EVENT_CLOSED;
		for (uint32_t i = 0; i < KEPT; i++)
			events_put(q, &e, true);
		CHECK_EQ(counter(PFS_C_EVENTS_DROPPED) - before, 0);
		events_put(q, &e, true);
		CHECK_EQ(counter(PFS_C_EVENTS_DROPPED) - before, 1);
		while (events_take(q, &e))
			n_closed += e.kind == EVENT_CLOSED;
		CHECK_EQ(n_closed, KEPT);
	}
	events_destroy(q);
}

static void *produce(void *arg)
{
	uint64_t image = (uint64_t)(uintptr_t)arg;

	for (uint64_t i = 0; i < N_EACH; i++)
		put(image, i, i % 97 == 0);
	return NULL;
}

/* Each producer's events come in its order; none is lost, none comes twice;
 * a consumer that naps or sleeps is woken in time. */
static void many_produce(bool nap)
{
	uint64_t dropped = counter(PFS_C_EVENTS_DROPPED);
	uint64_t next[N_PRODUCERS + 1] = {0}, n = 0;
	uint64_t give_up = pfs_now_ns() + 20 * PFS_NSEC_PER_SEC;
	pthread_t t[N_PRODUCERS];
	struct event e;

	CHECK(events_create(&q) == 0);
	for (uintptr_t i = 0; i < N_PRODUCERS; i++)
		CHECK(!pthread_create(&t[i], NULL, produce, (void *)(i + 1)));
	while (n + counter(PFS_C_EVENTS_DROPPED) - dropped <
		       N_PRODUCERS * N_EACH &&
	       pfs_now_ns() < give_up) {
		if (!events_take(q, &e)) {
			events_wait(q, pfs_now_ns() + PFS_NSEC_PER_MSEC, nap);
			continue;
		}
		CHECK(e.image >= 1 && e.image <= N_PRODUCERS);
		CHECK(e.off >= next[e.image]);
		next[e.image] = e.off + 1;
		n++;
	}
	for (uint32_t i = 0; i < N_PRODUCERS; i++)
		pthread_join(t[i], NULL);
	CHECK(n + counter(PFS_C_EVENTS_DROPPED) - dropped ==
	      N_PRODUCERS * N_EACH);
	CHECK(!events_take(q, &e));
	events_destroy(q);
}

static void *put_one(void *arg)
{
	put(1, 7, arg != NULL);
	return NULL;
}

/* How long a wait of up to a second took, in ms, with one event meanwhile. */
static uint64_t wait_ms(bool nap, bool is_urgent)
{
	uint64_t start = pfs_now_ns();
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, put_one, is_urgent ? &q : NULL));
	events_wait(q, start + 300 * PFS_NSEC_PER_MSEC, nap);
	pthread_join(t, NULL);
	return (pfs_now_ns() - start) / PFS_NSEC_PER_MSEC;
}

static void empty(void)
{
	struct event e;

	while (events_take(q, &e))
		;
}

static void a_nap_ends_for_what_is_urgent(void)
{
	CHECK(events_create(&q) == 0);
	CHECK(wait_ms(true, true) < 290);
	empty();
	CHECK(wait_ms(false, false) < 290);
	empty();
	events_wake(q);
	CHECK(wait_ms(false, false) < 290);
	events_destroy(q);
}

static void a_sleeper_misses_nothing(void)
{
	CHECK(events_create(&q) == 0);
	/* The event is there before the consumer looks: no wait at all. */
	for (int i = 0; i < 200; i++) {
		CHECK(wait_ms(false, false) < 290);
		empty();
	}
	events_destroy(q);
}

static void many_produce_for_a_sleeper(void)
{
	many_produce(false);
}

static void many_produce_for_a_napper(void)
{
	many_produce(true);
}

int main(void)
{
	RUN(what_goes_in_comes_out_in_order);
	RUN(a_full_queue_drops_and_counts);
	RUN(a_flood_of_reads_does_not_drown_a_close);
	RUN(many_produce_for_a_sleeper);
	RUN(many_produce_for_a_napper);
	RUN(a_nap_ends_for_what_is_urgent);
	RUN(a_sleeper_misses_nothing);
	return CHECK_RESULT();
}
