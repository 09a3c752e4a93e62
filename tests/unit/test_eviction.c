/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pfs/eviction.h>

#include "check.h"

#define N_CHUNKS 1280u /* 64 segments of 20 */

static uint32_t n_gone;
static bool is_gone[4 * N_CHUNKS];

static void gone(void *arg, uint32_t chunk)
{
	(void)arg;
	n_gone++;
	is_gone[chunk] = true;
}

static struct pfs_eviction *store_of(uint32_t n)
{
	struct pfs_eviction *e = NULL;

	n_gone = 0;
	memset(is_gone, 0, sizeof(is_gone));
	CHECK_EQ(pfs_eviction_create(n, &e), 0);
	return e;
}

static void insert(struct pfs_eviction *e, uint32_t chunk, bool is_prefetch)
{
	CHECK_EQ(pfs_eviction_insert(e, chunk, is_prefetch, gone, NULL), 0);
	is_gone[chunk] &= !pfs_eviction_find(e, chunk, false);
}

static void insert_all(struct pfs_eviction *e, uint32_t first, uint32_t n)
{
	for (uint32_t c = first; c < first + n; c++)
		insert(e, c, false);
}

static uint32_t count(struct pfs_eviction *e, uint32_t n)
{
	uint32_t there = 0;

	for (uint32_t c = 0; c < n; c++)
		there += pfs_eviction_find(e, c, false);
	return there;
}

static void all_stays_while_there_is_room(void)
{
	struct pfs_eviction *e = store_of(N_CHUNKS);

	CHECK(!pfs_eviction_find(e, 5, true));
	insert_all(e, 0, 1200);
	CHECK_EQ(n_gone, 0);
	CHECK_EQ(count(e, N_CHUNKS), 1200);
	pfs_eviction_destroy(e);
}

static void the_oldest_leave_and_are_told(void)
{
	struct pfs_eviction *e = store_of(N_CHUNKS);

	insert_all(e, 0, 2 * N_CHUNKS);
	CHECK_EQ(count(e, 2 * N_CHUNKS) + n_gone, 2 * N_CHUNKS);
	CHECK(count(e, 2 * N_CHUNKS) > N_CHUNKS * 9 / 10);
	for (uint32_t c = 0; c < N_CHUNKS; c++)
		CHECK(is_gone[c]);
	for (uint32_t c = 0; c < 2 * N_CHUNKS; c++)
		CHECK_EQ(is_gone[c], !pfs_eviction_find(e, c, false));
	pfs_eviction_destroy(e);
}

static void what_was_hit_gets_another_round(void)
{
	struct pfs_eviction *e = store_of(N_CHUNKS);

	insert_all(e, 0, 1200);
	CHECK(pfs_eviction_find(e, 7, true));
	insert_all(e, 1200, 300);
	CHECK(pfs_eviction_find(e, 7, false));
	CHECK(!pfs_eviction_find(e, 8, false));
	insert_all(e, 1500, N_CHUNKS);
	CHECK(!pfs_eviction_find(e, 7, false)); /* not hit again */
	pfs_eviction_destroy(e);
}

static void prefetches_beyond_their_share_leave_first(void)
{
	struct pfs_eviction *e = store_of(N_CHUNKS);

	insert_all(e, 0, 600);
	for (uint32_t c = 2000; c < 2000 + 2 * N_CHUNKS; c++)
		insert(e, c, true);
	CHECK_EQ(count(e, 600), 600);
	CHECK(pfs_eviction_find(e, 2000 + 2 * N_CHUNKS - 1, false));
	CHECK(!pfs_eviction_find(e, 2000, false));
	pfs_eviction_destroy(e);
}

static void a_chunk_filled_again_is_there_once(void)
{
	struct pfs_eviction *e = store_of(N_CHUNKS);

	for (int i = 0; i < 10000; i++)
		insert(e, 3, false);
	CHECK_EQ(n_gone, 0);
	CHECK(pfs_eviction_find(e, 3, false));
	pfs_eviction_destroy(e);
}

static void a_store_may_be_tiny(void)
{
	struct pfs_eviction *e = NULL;

	CHECK_EQ(pfs_eviction_create(7, &e), -EINVAL);
	for (uint32_t n = 8; n < 64; n++) {
		e = store_of(n);
		insert_all(e, 0, 200);
		for (uint32_t c = 0; c < 200; c += 3)
			insert(e, c, true);
		CHECK(count(e, 200) > 0);
		CHECK(count(e, 200) <= n);
		pfs_eviction_destroy(e);
	}
}

int main(void)
{
	RUN(all_stays_while_there_is_room);
	RUN(the_oldest_leave_and_are_told);
	RUN(what_was_hit_gets_another_round);
	RUN(prefetches_beyond_their_share_leave_first);
	RUN(a_chunk_filled_again_is_there_once);
	RUN(a_store_may_be_tiny);
	return CHECK_RESULT();
}
