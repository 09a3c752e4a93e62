/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"
#include "planner_queue.h"

#include <pfs/hash.h>

#define ROOM 64u
#define LANES 3u

/* The same, kept as a list and searched from end to end. */
struct plain {
	struct {
		struct wish w;
		double key;
		uint64_t since;
		uint32_t lane;
	} e[ROOM];
	uint32_t n;
};

static uint32_t plain_find(const struct plain *p, uint64_t image,
			   uint64_t chunk)
{
	uint32_t i = 0;

	while (i < p->n &&
	       (p->e[i].w.image != image || p->e[i].w.chunk != chunk))
		i++;
	return i;
}

static double best_key(const struct plain *p, uint32_t lane)
{
	double best = -1;

	for (uint32_t i = 0; i < p->n; i++)
		if (p->e[i].lane == lane)
			best = PFS_MAX(best, p->e[i].key);
	return best;
}

static void check_same(const struct queue *q, const uint16_t *lanes,
		       const struct plain *p)
{
	double worst = 2;
	uint64_t oldest = UINT64_MAX;

	CHECK_EQ(q->n, p->n);
	for (uint32_t l = 0; l < LANES; l++)
		CHECK((lanes[l] ? q->q[lanes[l]].key : -1) == best_key(p, l));
	for (uint32_t i = 0; i < p->n; i++) {
		worst = PFS_MIN(worst, p->e[i].key);
		oldest = PFS_MIN(oldest, p->e[i].since);
		CHECK(queue_find(q, p->e[i].w.image, p->e[i].w.chunk));
	}
	if (p->n) {
		CHECK(q->q[q->worst].key == worst);
		CHECK_EQ(q->q[q->oldest].since_ns, oldest);
	}
}

static void plain_add(struct plain *p, const struct wish *w, uint32_t lane,
		      double key, uint64_t now)
{
	uint32_t i = p->n++;

	p->e[i].w = *w;
	p->e[i].lane = lane;
	p->e[i].key = key;
	p->e[i].since = now;
}

/* Add, renew or take what a random number says. */
static void one_step(struct queue *q, uint16_t *lanes, struct plain *p,
		     uint64_t now)
{
	uint64_t r = pfs_mix64(now);
	struct wish w = {.image = r & 1, .chunk = (r >> 1) % ROOM};
	uint32_t lane = (uint32_t)(r >> 8) % LANES;
	double key = (double)((r >> 16) % 1000) / 1000;
	uint32_t i = queue_find(q, w.image, w.chunk);
	uint32_t k = plain_find(p, w.image, w.chunk);

	CHECK_EQ(i != QUEUE_NONE, k < p->n);
	if (!i) {
		if (queue_is_full(q))
			return;
		CHECK(queue_add(q, &lanes[lane], &w, key, now));
		plain_add(p, &w, lane, key, now);
	} else if (r >> 63) {
		queue_renew(q, i, now);
		p->e[k].since = now;
	} else {
		CHECK_EQ(queue_take(q, i).chunk, w.chunk);
		p->e[k] = p->e[--p->n];
	}
}

static void finds_best_worst_and_oldest_whatever_happens(void)
{
	struct queue q;
	struct plain p = {0};
	uint16_t lanes[LANES] = {0};

	CHECK_EQ(queue_init(&q, ROOM), 0);
	for (uint64_t now = 1; now < 20000; now++) {
		one_step(&q, lanes, &p, now);
		if (now % 7 == 0)
			check_same(&q, lanes, &p);
	}
	queue_fini(&q);
}

static void gives_all_of_a_lane_best_first(void)
{
	struct queue q;
	uint16_t lane = QUEUE_NONE;
	double last = 2;

	CHECK_EQ(queue_init(&q, ROOM), 0);
	for (uint64_t i = 0; i < ROOM; i++) {
		struct wish w = {.image = 1, .chunk = i};

		CHECK(queue_add(&q, &lane, &w,
				(double)(pfs_mix64(i) % 100) / 100, i));
	}
	CHECK(queue_is_full(&q));
	while (lane) {
		CHECK(q.q[lane].key <= last);
		last = q.q[lane].key;
		queue_take(&q, lane);
	}
	CHECK_EQ(q.n, 0);
	queue_fini(&q);
}

int main(void)
{
	RUN(finds_best_worst_and_oldest_whatever_happens);
	RUN(gives_all_of_a_lane_best_first);
	return CHECK_RESULT();
}
