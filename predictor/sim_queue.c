/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A binary heap: time, then kind, then the order of queueing. */
#include "sim_core.h"

#include <assert.h>

void sim_queue_fini(struct sim_queue *q)
{
	free(q->heap);
	*q = (struct sim_queue){0};
}

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns;
	if (a->kind != b->kind)
		return a->kind < b->kind;
	return a->seq < b->seq;
}

int sim_queue_add(struct sim_queue *q, const struct sim_event *e)
{
	struct sim_event new = *e, *h;
	size_t i;

	if (q->n == q->n_max) {
		size_t n_max = PFS_MAX((size_t)64, 2 * q->n_max);

		h = reallocarray(q->heap, n_max, sizeof(*h));
		if (!h)
			return -ENOMEM;
		q->heap = h;
		q->n_max = n_max;
	}
	h = q->heap;
	new.seq = q->seq++;
	for (i = q->n++; i && is_before(&new, &h[(i - 1) / 2]); i = (i - 1) / 2)
		h[i] = h[(i - 1) / 2];
	h[i] = new;
	return 0;
}

uint64_t sim_queue_time(const struct sim_queue *q)
{
	return q->n ? q->heap[0].time_ns : UINT64_MAX;
}

struct sim_event sim_queue_take(struct sim_queue *q)
{
	struct sim_event *h = q->heap, first, last;
	size_t i = 0;

	assert(q->n);
	first = h[0];
	last = h[--q->n];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child + 1 < q->n && is_before(&h[child + 1], &h[child]))
			child++;
		if (child >= q->n || !is_before(&h[child], &last))
			break;
		h[i] = h[child];
		i = child;
	}
	h[i] = last;
	return first;
}
