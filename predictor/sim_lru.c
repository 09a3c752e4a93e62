/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An exact LRU over chunks: a ring of links, most recent first, whose head is
 * link 0; chunk N has link N + 1.  A chunk that is not in it links to itself.
 */
#include "sim_core.h"

struct link {
	uint32_t prev, next;
};

struct lru {
	struct link *link; /* owned */
	uint32_t n_links;  /* with the head */
	uint32_t n, n_max; /* chunks in it */
};

static int grow(struct lru *l, uint32_t n_links)
{
	struct link *link = reallocarray(l->link, n_links, sizeof(*link));

	if (!link)
		return -ENOMEM;
	for (uint32_t i = l->n_links; i < n_links; i++)
		link[i] = (struct link){i, i};
	l->link = link;
	l->n_links = n_links;
	return 0;
}

static void destroy(void *store)
{
	struct lru *l = store;

	if (!l)
		return;
	free(l->link);
	free(l);
}

static void *create(void *arg, uint32_t n_chunks)
{
	struct lru *l = calloc(1, sizeof(*l));

	(void)arg;
	if (!l)
		return NULL;
	l->n_max = n_chunks;
	if (grow(l, 1024)) {
		destroy(l);
		return NULL;
	}
	return l;
}

static bool has(const struct lru *l, uint32_t i)
{
	return i < l->n_links && l->link[i].next != i;
}

static void unlink_it(struct lru *l, uint32_t i)
{
	struct link *a = &l->link[i];

	l->link[a->prev].next = a->next;
	l->link[a->next].prev = a->prev;
	*a = (struct link){i, i};
}

static void link_first(struct lru *l, uint32_t i)
{
	uint32_t second = l->link[0].next;

	l->link[i] = (struct link){.prev = 0, .next = second};
	l->link[second].prev = i;
	l->link[0].next = i;
}

static bool find(void *store, uint32_t chunk, bool is_read)
{
	struct lru *l = store;

	if (!has(l, chunk + 1))
		return false;
	if (is_read) {
		unlink_it(l, chunk + 1);
		link_first(l, chunk + 1);
	}
	return true;
}

static int insert(void *store, uint32_t chunk, bool is_prefetch,
		  void (*evicted)(void *arg, uint32_t chunk), void *arg)
{
	struct lru *l = store;
	int err = 0;

	(void)is_prefetch;
	if (find(l, chunk, true))
		return 0;
	if (chunk + 1 >= l->n_links)
		err = grow(l, PFS_MAX(chunk + 2, 2 * l->n_links));
	if (err)
		return err;
	if (l->n == l->n_max) {
		uint32_t last = l->link[0].prev;

		unlink_it(l, last);
		l->n--;
		evicted(arg, last - 1);
	}
	link_first(l, chunk + 1);
	l->n++;
	return 0;
}

const struct pfs_sim_store sim_lru = {
	.create = create,
	.destroy = destroy,
	.find = find,
	.insert = insert,
};
