/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cache_fixture.h - an image file, a store and a catalog in the scratch
 * folder, and one lane that reads the image through them. */
#ifndef PFS_TEST_CACHE_FIXTURE_H
#define PFS_TEST_CACHE_FIXTURE_H

#include <pfs/clock.h>
#include <pfs/hash.h>
#include <pfs/lane.h>
#include <pfs/source.h>
#include <pfs/store.h>

#include "catalog_fixture.h"

#define KIB(n) ((uint32_t)PFS_KIB(n))
#define READ_LIMIT_NS (10 * PFS_NSEC_PER_SEC) /* then a read is lost */

struct rig_config {
	uint32_t chunk;      /* 0: 16 KiB */
	uint64_t store_size; /* 0: 32 MiB */
	uint64_t image_size; /* 0: 4 MiB */
	uint32_t n_fetch;
	enum pfs_store_io io;
	bool is_cold; /* do not load saved rows */
};

struct rig {
	struct rig_config cfg;
	struct pfs_catalog *catalog;
	struct pfs_store *store;
	struct pfs_source *src;
	struct pfs_store_image *img;
	struct pfs_lane *lane;
	struct opened row;
	uint8_t *bytes; /* what the image file holds */
	struct pfs_store_gens *gens;
	int fd;
};

/* What became of one read. */
struct answer {
	bool is_done;
	int err;
	enum pfs_read_outcome outcome;
	uint64_t ns; /* from start to reply */
	uint32_t len;
	uint8_t *into; /* len bytes, may be NULL */
};

static uint64_t rand_state = 1;

static inline uint64_t rand_below(uint64_t n)
{
	rand_state = pfs_mix64(rand_state);
	return rand_state % n;
}

static inline void fill_random(void *mem, size_t len, uint64_t seed)
{
	uint8_t *p = mem;

	for (size_t i = 0; i + 8 <= len; i += 8) {
		uint64_t v = pfs_mix64(seed ^ i);

		memcpy(p + i, &v, 8);
	}
	for (size_t i = len & ~(size_t)7; i < len; i++)
		p[i] = (uint8_t)(seed + i);
}

static inline const char *in_scratch(const char *name)
{
	static char path[4][128];
	static unsigned int turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", scratch, name);
	return p;
}

/* --- reading --- */

static inline void note_answer(void *arg, struct pfs_read *r, int err)
{
	struct answer *a = r->owner;

	(void)arg;
	a->err = err;
	a->outcome = r->outcome;
	a->ns = pfs_now_ns() - r->start_ns;
	if (a->into && !err)
		memcpy(a->into, r->data, r->len);
	/* The reader may wait on another thread than the one that answers. */
	__atomic_store_n(&a->is_done, true, __ATOMIC_RELEASE);
}

static inline struct pfs_lane *must_lane(struct pfs_store *s, uint32_t n_small,
					 uint32_t n_big)
{
	struct pfs_lane_config cfg = {
		.store = s,
		.n_small = n_small,
		.n_big = n_big,
		.reply = note_answer,
	};
	struct pfs_lane *l = NULL;

	CHECK_EQ(pfs_lane_create(&cfg, &l), 0);
	if (!l)
		abort();
	return l;
}

static inline void turn_lane(struct pfs_lane *l)
{
	if (!pfs_lane_is_idle(l)) {
		pfs_lane_wait(l, -1);
		return;
	}
	pfs_lane_poll(l);
	usleep(20);
}

static inline void begin_read(struct rig *g, struct pfs_lane *l, uint64_t off,
			      uint32_t len, struct answer *a)
{
	uint64_t limit = pfs_now_ns() + READ_LIMIT_NS;
	struct pfs_read *r;

	/* One answered by another lane comes home a moment later. */
	while (!(r = pfs_lane_get(l, len)) && pfs_now_ns() < limit)
		turn_lane(l);
	CHECK(r);
	if (!r)
		abort();
	a->is_done = false;
	a->len = len;
	r->img = g->img;
	r->src = g->src;
	r->off = off;
	r->len = len;
	r->owner = a;
	r->start_ns = pfs_now_ns();
	pfs_lane_read(l, r);
}

static inline bool is_answered(const struct answer *a)
{
	return __atomic_load_n(&a->is_done, __ATOMIC_ACQUIRE);
}

static inline void finish_read(struct pfs_lane *l, const struct answer *a)
{
	uint64_t limit = pfs_now_ns() + READ_LIMIT_NS;

	while (!is_answered(a) && pfs_now_ns() < limit)
		turn_lane(l);
	CHECK(is_answered(a));
	if (!is_answered(a))
		abort(); /* the answer may still be written to */
}

static inline struct answer read_into(struct rig *g, uint64_t off, uint32_t len,
				      void *into)
{
	struct answer a = {.into = into};

	begin_read(g, g->lane, off, len, &a);
	finish_read(g->lane, &a);
	return a;
}

/* Read and compare with what the image holds; the outcome, or the error. */
static inline int read_same(struct rig *g, uint64_t off, uint32_t len)
{
	PFS_AUTO_FREE uint8_t *buf = malloc(len);
	struct answer a = read_into(g, off, len, buf);

	if (a.err)
		return a.err;
	CHECK(!memcmp(buf, g->bytes + off, len));
	return (int)a.outcome;
}

/* Everything under way is over: nothing in the kernel's hands, nothing being
 * fetched. */
static inline void settle(struct rig *g)
{
	struct pfs_store_status st;
	uint64_t limit = pfs_now_ns() + READ_LIMIT_NS;

	do {
		turn_lane(g->lane);
		pfs_store_status(g->store, &st);
	} while ((!pfs_lane_is_idle(g->lane) || st.n_fetching) &&
		 pfs_now_ns() < limit);
	CHECK_EQ(st.n_fetching, 0);
}

static inline void read_all_same(struct rig *g, uint32_t len)
{
	for (uint64_t off = 0; off < g->cfg.image_size; off += len)
		CHECK(read_same(g, off,
				(uint32_t)PFS_MIN((uint64_t)len,
						  g->cfg.image_size - off)) >=
		      0);
	settle(g);
}

/* The whole image is in the store.  Not always at once: headers may have to be
 * written before another segment can be filled. */
static inline void fill_all(struct rig *g)
{
	uint64_t n = (g->cfg.image_size + g->cfg.chunk - 1) / g->cfg.chunk;
	uint64_t limit = pfs_now_ns() + READ_LIMIT_NS;
	struct pfs_store_status st;

	do {
		read_all_same(g, KIB(256));
		pfs_store_status(g->store, &st);
	} while (st.n_chunks < n && pfs_now_ns() < limit);
	CHECK_EQ(st.n_chunks, n);
}

/* Reads of any place and length; 512 aligned like a guest's, or not at all. */
static inline void read_random_same(struct rig *g, int n, uint32_t max)
{
	for (int i = 0; i < n; i++) {
		uint32_t unit = rand_below(2) ? 512 : 1;
		uint64_t off = rand_below(g->cfg.image_size / unit) * unit;
		uint64_t most = PFS_MIN((uint64_t)max, g->cfg.image_size - off);
		uint64_t len =
			1 + rand_below(rand_below(4) ? PFS_MIN(most, 9000ul)
						     : most);

		if (unit == 512 && len > 512)
			len = pfs_align_down(len, 512);
		CHECK(read_same(g, off, (uint32_t)len) >= 0);
	}
}

/* --- set-up --- */

static inline struct rig_config rig_defaults(struct rig_config c)
{
	if (!c.chunk)
		c.chunk = KIB(16);
	if (!c.store_size)
		c.store_size = PFS_MIB(32);
	if (!c.image_size)
		c.image_size = PFS_MIB(4);
	return c;
}

static inline void write_image(struct rig *g)
{
	CHECK_EQ(ftruncate(g->fd, 0), 0);
	CHECK_EQ(pwrite(g->fd, g->bytes, g->cfg.image_size, 0),
		 (ssize_t)g->cfg.image_size);
}

static inline int load_zone_row(void *arg, uint32_t zone, const void *blob,
				size_t len)
{
	struct rig *g = arg;

	(void)!pfs_store_image_load(g->img, zone, blob, len);
	return 0;
}

static inline int open_store(struct rig *g, struct pfs_store **out)
{
	struct pfs_store_config cfg = {
		.path = in_scratch("store"),
		.size = g->cfg.store_size,
		.chunk = g->cfg.chunk,
		.io = g->cfg.io,
		.verify = true,
		.header_cache = KIB(64),
		.n_fetch = g->cfg.n_fetch,
		.catalog = g->catalog,
		.gens = g->gens,
	};

	return pfs_store_open(&cfg, out);
}

/* Catalog, store, image and lane; the image file is there already. */
static inline void rig_start(struct rig *g)
{
	g->catalog = must_open();
	CHECK_EQ(open_store(g, &g->store), 0);
	if (!g->store)
		abort();
	g->row = must_open_image(g->catalog, "disk.img", 1);
	CHECK_EQ(pfs_source_from_fd(g->fd, &g->src), 0);
	CHECK_EQ(pfs_store_image_attach(g->store, g->row.id, g->row.epoch,
					g->src, &g->img),
		 0);
	if (!g->cfg.is_cold)
		CHECK_EQ(pfs_catalog_zones_load(g->catalog, g->row.id,
						g->row.epoch, load_zone_row, g),
			 0);
	g->lane = must_lane(g->store, 0, 0);
}

/* Stop as an orderly shutdown does. */
static inline void rig_stop(struct rig *g)
{
	uint64_t limit = pfs_now_ns() + READ_LIMIT_NS;

	while (pfs_lane_n_reads(g->lane) && pfs_now_ns() < limit)
		turn_lane(g->lane);
	settle(g);
	CHECK_EQ(pfs_lane_n_reads(g->lane), 0);
	pfs_lane_destroy(g->lane);
	if (g->img)
		pfs_store_image_detach(g->img);
	pfs_source_put(g->src);
	pfs_store_close(g->store);
	pfs_catalog_close(g->catalog);
	g->img = NULL;
}

static inline struct rig rig_with(struct rig_config cfg)
{
	struct rig g = {.cfg = rig_defaults(cfg)};

	scratch_reset();
	g.fd = open(in_scratch("disk.img"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(g.fd >= 0);
	g.bytes = malloc(g.cfg.image_size);
	fill_random(g.bytes, g.cfg.image_size, 7);
	write_image(&g);
	rig_start(&g);
	return g;
}

static inline struct rig rig(void)
{
	return rig_with((struct rig_config){0});
}

static inline void rig_restart(struct rig *g)
{
	rig_stop(g);
	rig_start(g);
}

static inline void rig_end(struct rig *g)
{
	pfs_fault_clear();
	rig_stop(g);
	close(g->fd);
	free(g->bytes);
}

static inline struct pfs_store_status status_of(struct rig *g)
{
	struct pfs_store_status st;

	pfs_store_status(g->store, &st);
	return st;
}

/* --- writing --- */

/* Change the image behind the store's back: only between begin and end of a
 * mutation is that allowed. */
static inline void poke(struct rig *g, uint64_t off, size_t len, uint64_t seed)
{
	fill_random(g->bytes + off, len, seed);
	CHECK_EQ(pwrite(g->fd, g->bytes + off, len, (off_t)off), (ssize_t)len);
}

/* A guest's write; with its bytes offered to the store if is_offered. */
static inline void write_bytes(struct rig *g, uint64_t off, size_t len,
			       uint64_t seed, bool is_offered)
{
	struct pfs_mutation m;

	pfs_store_mutate_begin(g->img, off, len, &m);
	poke(g, off, len, seed);
	pfs_store_mutate_end(&m, off, is_offered ? g->bytes + off : NULL,
			     is_offered ? len : 0);
}

/* --- the store file, behind the store's back --- */

static inline int open_store_file(void)
{
	int fd = open(in_scratch("store"), O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static inline void flip_byte(int fd, uint64_t off)
{
	uint8_t b = 0;

	CHECK_EQ(pread(fd, &b, 1, (off_t)off), 1);
	b ^= (uint8_t)(1u << rand_below(8));
	CHECK_EQ(pwrite(fd, &b, 1, (off_t)off), 1);
}

static inline void copy_file(const char *from, const char *to)
{
	static uint8_t buf[1 << 20];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;

	CHECK(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		CHECK_EQ(write(out, buf, (size_t)n), n);
	close(in);
	close(out);
}

#endif
