// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Locks on ranges of one image: a thread that mutates [from, to) excludes
 * every other thread that would mutate a part of it.  There are never more
 * ranges held than threads, so a list beats a tree.
 */
#include "pfsx.h"

void range_init(struct range_lock *r)
{
	pthread_mutex_init(&r->mutex, NULL);
	pthread_cond_init(&r->freed, NULL);
	r->n = 0;
}

static bool overlaps_locked(const struct range_lock *r, uint64_t from,
			    uint64_t to)
{
	for (unsigned i = 0; i < r->n; i++)
		if (from < r->held[i].to && r->held[i].from < to)
			return true;
	return false;
}

void range_lock(struct range_lock *r, uint64_t from, uint64_t to)
{
	pthread_mutex_lock(&r->mutex);
	while (overlaps_locked(r, from, to))
		pthread_cond_wait(&r->freed, &r->mutex);
	r->held[r->n].from = from;
	r->held[r->n].to = to;
	r->n++;
	pthread_mutex_unlock(&r->mutex);
}

void range_unlock(struct range_lock *r, uint64_t from)
{
	unsigned i = 0;

	pthread_mutex_lock(&r->mutex);
	while (r->held[i].from != from)
		i++;
	r->held[i] = r->held[--r->n];
	pthread_cond_broadcast(&r->freed);
	pthread_mutex_unlock(&r->mutex);
}
