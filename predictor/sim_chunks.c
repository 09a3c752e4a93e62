/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim_core.h"

#define FIRST_MAX 1024u

/* The map has no room to grow in, so a larger one takes its place. */
static int grow(struct sim_chunks *t, uint32_t n_max)
{
	struct sim_chunk *c = reallocarray(t->c, n_max, sizeof(*c));
	struct map number;

	if (!c)
		return -ENOMEM;
	t->c = c;
	if (map_init(&number, n_max))
		return -ENOMEM;
	for (uint32_t i = 0; i < t->n; i++)
		*map_add(&number, c[i].chunk) = i;
	map_fini(&t->number);
	t->number = number;
	t->n_max = n_max;
	return 0;
}

int sim_chunks_init(struct sim_chunks *t)
{
	*t = (struct sim_chunks){0};
	return grow(t, FIRST_MAX);
}

void sim_chunks_fini(struct sim_chunks *t)
{
	free(t->c);
	map_fini(&t->number);
	*t = (struct sim_chunks){0};
}

bool sim_chunks_find(const struct sim_chunks *t, uint64_t chunk, uint32_t *out)
{
	const uint64_t *i = map_find(&t->number, chunk);

	if (i)
		*out = (uint32_t)*i;
	return i != NULL;
}

int sim_chunks_number(struct sim_chunks *t, uint64_t chunk, uint32_t *out)
{
	int err = 0;

	if (sim_chunks_find(t, chunk, out))
		return 0;
	if (t->n == t->n_max)
		err = t->n_max > UINT32_MAX / 4 ? -ENOMEM
						: grow(t, 2 * t->n_max);
	if (err)
		return err;
	t->c[t->n] = (struct sim_chunk){.chunk = chunk};
	*map_add(&t->number, chunk) = t->n;
	*out = t->n++;
	return 0;
}
