/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "map.h"

#include <stdlib.h>

#include "check.h"

#define N_MAX 100u
#define KEYS 250u /* some more than there is room for */

static void what_was_added_is_found(void)
{
	struct map m;

	CHECK_EQ(map_init(&m, N_MAX), 0);

	*map_add(&m, 7) = 70;
	*map_add(&m, 0) = 1;

	CHECK_EQ(*map_find(&m, 7), 70);
	CHECK_EQ(*map_find(&m, 0), 1);
	CHECK(!map_find(&m, 8));
	CHECK_EQ(*map_add(&m, 7), 70);
	CHECK_EQ(m.n, 2);
	map_fini(&m);
}

static void a_missing_key_begins_at_zero(void)
{
	struct map m;

	CHECK_EQ(map_init(&m, 1), 0);
	*map_add(&m, 5) = 55;
	map_del(&m, 5);

	CHECK_EQ(*map_add(&m, 5), 0);
	map_fini(&m);
}

static void a_full_map_refuses_more(void)
{
	struct map m;

	CHECK_EQ(map_init(&m, N_MAX), 0);
	for (uint64_t k = 0; k < N_MAX; k++)
		CHECK(map_add(&m, k));

	CHECK(!map_add(&m, N_MAX));
	CHECK(map_add(&m, N_MAX - 1));
	map_del(&m, 3);
	CHECK(map_add(&m, N_MAX));
	map_fini(&m);
}

static void a_cleared_map_is_empty(void)
{
	struct map m;

	CHECK_EQ(map_init(&m, N_MAX), 0);
	map_add(&m, 1);

	map_clear(&m);

	CHECK_EQ(m.n, 0);
	CHECK(!map_find(&m, 1));
	map_fini(&m);
}

/* The model: by key, 0: not there. */
struct model {
	uint64_t val[KEYS];
	uint32_t n;
};

static void check_against(const struct map *m, const struct model *model)
{
	CHECK_EQ(m->n, model->n);
	for (uint64_t k = 0; k < KEYS; k++) {
		const uint64_t *val = map_find(m, k);

		CHECK_EQ(val ? *val : 0, model->val[k]);
	}
}

static void model_add(struct map *m, struct model *model, uint64_t key,
		      uint64_t val)
{
	uint64_t *at = map_add(m, key);

	CHECK_EQ(!at, !model->val[key] && model->n == N_MAX);
	if (!at)
		return;
	CHECK_EQ(*at, model->val[key]);
	model->n += !model->val[key];
	*at = model->val[key] = val;
}

static void model_del(struct map *m, struct model *model, uint64_t key)
{
	map_del(m, key);
	model->n -= model->val[key] != 0;
	model->val[key] = 0;
}

static void random_changes_do_what_a_plain_table_does(void)
{
	struct model model = {0};
	struct map m;

	CHECK_EQ(map_init(&m, N_MAX), 0);
	srand(1);

	for (uint32_t i = 1; i <= 20000; i++) {
		uint64_t key = (uint64_t)rand() % KEYS;

		if (rand() % 5 < 3)
			model_add(&m, &model, key, i);
		else
			model_del(&m, &model, key);
		if (i % 50 == 0)
			check_against(&m, &model);
	}
	map_fini(&m);
}

int main(void)
{
	RUN(what_was_added_is_found);
	RUN(a_missing_key_begins_at_zero);
	RUN(a_full_map_refuses_more);
	RUN(a_cleared_map_is_empty);
	RUN(random_changes_do_what_a_plain_table_does);
	return CHECK_RESULT();
}
