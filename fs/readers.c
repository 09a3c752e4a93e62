/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "readers.h"

#include <pfs/hash.h>
#include <pfs/io.h>
#include <pfs/lane.h>

#define WAYS 8u /* places that a pair may take */
#define SETS (READERS_MAX / WAYS)

struct pair {
	uint64_t image, vm; /* image 0: free */
	uint64_t last_ns;
	struct reader_counts n;
};

struct readers {
	struct pair pair[SETS][WAYS];
};

struct readers *readers_create(void)
{
	return pfs_zalloc(1, sizeof(struct readers));
}

void readers_destroy(struct readers *r)
{
	free(r);
}

static struct pair *find_or_make(struct readers *r, uint64_t image, uint64_t vm)
{
	struct pair *set = r->pair[pfs_mix64(image ^ pfs_mix64(vm)) % SETS];
	struct pair *oldest = set;

	for (uint32_t i = 0; i < WAYS; i++) {
		if (set[i].image == image && set[i].vm == vm)
			return &set[i];
		if (set[i].last_ns < oldest->last_ns)
			oldest = &set[i]; /* a free one is the oldest */
	}
	*oldest = (struct pair){.image = image, .vm = vm};
	return oldest;
}

static void count_read(struct reader_counts *n, const struct event *e)
{
	n->read_bytes += e->len;
	switch ((enum pfs_read_outcome)e->outcome) {
	case PFS_READ_HIT:
		n->n_hits++;
		break;
	case PFS_READ_LATE:
		n->n_late++;
		break;
	case PFS_READ_MISS:
		n->n_misses++;
		break;
	case PFS_READ_HOLE:
		n->n_holes++;
		break;
	case PFS_READ_DIRECT:
		n->n_direct++;
		break;
	}
}

void readers_note(struct readers *r, const struct event *e)
{
	struct pair *p = find_or_make(r, e->image, e->vm);

	p->last_ns = PFS_MAX(p->last_ns, e->time_ns);
	if (e->kind == EVENT_READ) {
		count_read(&p->n, e);
	} else if (e->len <= EVENT_DATA_MAX) {
		p->n.n_writes++;
		p->n.write_bytes += e->len;
	}
}

static void add(struct reader_counts *sum, const struct reader_counts *n)
{
	sum->n_hits += n->n_hits;
	sum->n_late += n->n_late;
	sum->n_misses += n->n_misses;
	sum->n_holes += n->n_holes;
	sum->n_direct += n->n_direct;
	sum->n_writes += n->n_writes;
	sum->read_bytes += n->read_bytes;
	sum->write_bytes += n->write_bytes;
}

void readers_sum(const struct readers *r, uint64_t image, uint64_t vm,
		 struct reader_counts *out)
{
	const struct pair *p = r->pair[0];

	*out = (struct reader_counts){0};
	for (uint32_t i = 0; i < READERS_MAX; i++)
		if (p[i].image &&
		    (image == READERS_ANY || p[i].image == image) &&
		    (vm == READERS_ANY || p[i].vm == vm))
			add(out, &p[i].n);
}

int readers_each(const struct readers *r,
		 int (*fn)(void *arg, uint64_t image, uint64_t vm), void *arg)
{
	const struct pair *p = r->pair[0];
	int stop = 0;

	for (uint32_t i = 0; i < READERS_MAX && !stop; i++)
		if (p[i].image)
			stop = fn(arg, p[i].image, p[i].vm);
	return stop;
}
