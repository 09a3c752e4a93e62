/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A short life of a store in which the nth allocation or the nth I/O of a kind
 * fails, for n = 1, 2, ... until a life passes without meeting the fault.
 * Whatever fails, and whatever could not be opened because of it, reads return
 * the image's bytes.
 */
#include "cache_fixture.h"

#define N_MAX 2000 /* far more than any life has */

/* Everything in it may be missing, but for source and lane. */
static void start_life(struct rig *g)
{
	struct pfs_catalog_config cfg = {.path = db_path, .lock_wait_ms = 50};
	struct pfs_lane_config lane = {
		.n_small = 4, .n_big = 1, .reply = note_answer};
	struct pfs_identity now = ident(1);
	enum pfs_image_verdict verdict;
	struct pfs_image_row row;

	g->catalog = NULL;
	g->store = NULL;
	g->img = NULL;
	g->lane = NULL;
	g->src = NULL;
	/* Without these an image cannot be opened at all: try again. */
	for (int i = 0; i < 2 && !g->src; i++)
		(void)!pfs_source_from_fd(g->fd, &g->src);
	(void)!pfs_catalog_open(&cfg, &state, &g->catalog);
	if (g->catalog && open_store(g, &g->store))
		g->store = NULL;
	if (g->store &&
	    !pfs_catalog_image_open(g->catalog, "disk.img", &now, false, &row,
				    &verdict) &&
	    !pfs_store_image_attach(g->store, row.id, row.epoch, g->src,
				    &g->img) &&
	    pfs_catalog_zones_load(g->catalog, row.id, row.epoch, load_zone_row,
				   g))
		pfs_store_image_expel(g->img);
	lane.store = g->store;
	for (int i = 0; i < 2 && !g->lane; i++)
		(void)!pfs_lane_create(&lane, &g->lane);
}

static void end_life(struct rig *g)
{
	while (pfs_lane_n_reads(g->lane) || !pfs_lane_is_idle(g->lane))
		turn_lane(g->lane);
	pfs_lane_destroy(g->lane);
	if (g->img)
		pfs_store_image_detach(g->img);
	pfs_source_put(g->src);
	pfs_store_close(g->store);
	pfs_catalog_close(g->catalog);
}

static void read_everything(struct rig *g)
{
	for (uint64_t off = 0; off < g->cfg.image_size; off += KIB(64))
		CHECK(read_same(g, off, KIB(64)) >= 0);
}

static void write_something(struct rig *g, uint64_t seed)
{
	uint64_t off = rand_below(g->cfg.image_size - KIB(64));

	if (g->img)
		write_bytes(g, off, KIB(64), seed, true);
	else
		poke(g, off, KIB(64), seed);
}

static void live(struct rig *g, uint64_t seed)
{
	struct pfs_verify_result v;

	start_life(g);
	if (!g->src || !g->lane)
		abort();
	read_everything(g);
	write_something(g, seed);
	read_everything(g);
	if (g->img)
		(void)!pfs_store_image_save(g->img, NULL);
	read_random_same(g, 10, KIB(128));
	if (g->store)
		(void)!pfs_store_verify(g->store, 0, NULL, &v);
	read_everything(g);
	end_life(g);
}

/* Two lives with the fault, one after it.  True: the fault was met. */
static bool lives_with(const char *point, const char *action, int n,
		       const char *count)
{
	enum pfs_fault_point p = pfs_fault_find(point, strlen(point));
	struct rig g = {
		.cfg = rig_defaults((struct rig_config){
			.store_size = PFS_MIB(1) + 6 * (4096 + 8 * PFS_KIB(16)),
			.image_size = KIB(1024),
			.n_fetch = 32,
		})};
	char spec[96];
	uint32_t n_paused;
	uint64_t n_fired;

	scratch_reset();
	g.fd = open(in_scratch("disk.img"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	g.bytes = malloc(g.cfg.image_size);
	fill_random(g.bytes, g.cfg.image_size, 7);
	write_image(&g);

	snprintf(spec, sizeof(spec), "%s:%s@%d%s", point, action, n, count);
	arm(spec);
	live(&g, 1);
	live(&g, 2);
	pfs_fault_stat(p, &n_paused, &n_fired);
	pfs_fault_clear();
	/* A row whose mutation was not saved is what marks are for. */
	(void)unlink(db_path);
	live(&g, 3);
	close(g.fd);
	free(g.bytes);
	return n_fired;
}

static void until_none_fails(const char *point, const char *action,
			     const char *count, int step)
{
	int before = check_failures, n = 1;

	while (n < N_MAX && lives_with(point, action, n, count))
		n += step;
	CHECK(n > 1); /* the point is passed at all */
	CHECK(n < N_MAX);
	if (check_failures != before)
		fprintf(stderr, "  with %s:%s\n", point, action);
}

static void each_allocation_may_fail(void)
{
	until_none_fails("alloc", "enomem", "x1", 1);
}

static void each_open_may_fail(void)
{
	until_none_fails("store.open", "eio", "x1", 1);
	until_none_fails("store.open", "eio", "", 1);
}

static void each_store_read_may_fail(void)
{
	until_none_fails("store.read", "eio", "x1", 3);
	until_none_fails("store.read", "flip", "x1", 3);
	until_none_fails("store.read", "eio", "", 13);
	until_none_fails("store.header_read", "eio", "x1", 1);
	until_none_fails("store.header_read", "flip", "x1", 1);
	until_none_fails("store.header_read", "eio", "", 1);
}

static void each_store_write_may_fail(void)
{
	until_none_fails("store.write", "eio", "x1", 3);
	until_none_fails("store.write", "enospc", "", 7);
	until_none_fails("store.write", "torn=4096", "x1", 3);
	until_none_fails("store.write", "lost", "x1", 3);
	until_none_fails("store.header_write", "eio", "x1", 1);
	until_none_fails("store.header_write", "torn=512", "x1", 1);
	until_none_fails("store.header_write", "lost", "", 1);
	until_none_fails("store.super_write", "eio", "x1", 1);
	until_none_fails("store.super_write", "lost", "", 1);
	until_none_fails("store.discard", "eio", "", 3);
}

static void each_commit_may_fail(void)
{
	until_none_fails("catalog.commit", "enospc", "x1", 1);
	until_none_fails("catalog.commit", "eio", "", 1);
}

int main(void)
{
	RUN(each_allocation_may_fail);
	RUN(each_open_may_fail);
	RUN(each_store_read_may_fail);
	RUN(each_store_write_may_fail);
	RUN(each_commit_may_fail);
	return CHECK_RESULT();
}
