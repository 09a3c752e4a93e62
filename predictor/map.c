/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "map.h"

#include <string.h>

#include <pfs/hash.h>

#define NO_KEY UINT64_MAX

int map_init(struct map *m, uint32_t n_max)
{
	uint64_t size = 8;

	while (size < (uint64_t)n_max + n_max / 2)
		size *= 2;
	*m = (struct map){.n_max = n_max, .mask = (uint32_t)(size - 1)};
	m->entry = malloc(size * sizeof(*m->entry));
	if (!m->entry)
		return -ENOMEM;
	map_clear(m);
	return 0;
}

void map_fini(struct map *m)
{
	free(m->entry);
	*m = (struct map){0};
}

void map_clear(struct map *m)
{
	memset(m->entry, 0xff, ((size_t)m->mask + 1) * sizeof(*m->entry));
	m->n = 0;
}

static uint32_t home(const struct map *m, uint64_t key)
{
	return (uint32_t)pfs_mix64(key) & m->mask;
}

/* Where the key is, or would be. */
static struct map_entry *place(const struct map *m, uint64_t key)
{
	uint32_t i = home(m, key);

	while (m->entry[i].key != key && m->entry[i].key != NO_KEY)
		i = (i + 1) & m->mask;
	return &m->entry[i];
}

uint64_t *map_find(const struct map *m, uint64_t key)
{
	struct map_entry *e = place(m, key);

	return e->key == key ? &e->val : NULL;
}

uint64_t *map_add(struct map *m, uint64_t key)
{
	struct map_entry *e = place(m, key);

	if (e->key == key)
		return &e->val;
	if (m->n == m->n_max)
		return NULL;
	*e = (struct map_entry){.key = key};
	m->n++;
	return &e->val;
}

/* Entries behind the gap that would not be found over it move into it. */
void map_del(struct map *m, uint64_t key)
{
	struct map_entry *e = place(m, key);
	uint32_t gap, i;

	if (e->key != key)
		return;
	gap = i = (uint32_t)(e - m->entry);
	for (;;) {
		i = (i + 1) & m->mask;
		if (m->entry[i].key == NO_KEY)
			break;
		if (((i - home(m, m->entry[i].key)) & m->mask) >=
		    ((i - gap) & m->mask)) {
			m->entry[gap] = m->entry[i];
			gap = i;
		}
	}
	m->entry[gap].key = NO_KEY;
	m->n--;
}
