/* SPDX-License-Identifier: GPL-3.0-or-later */
/* proposer_fixture.h - one proposer that sees what a session reads.
 *
 * Requests are cut into touches and put into streams as the daemon does it;
 * after each, what the proposer names is kept and checked: sound chances, best
 * first, each chunk once. */
#ifndef PFS_PROPOSER_FIXTURE_H
#define PFS_PROPOSER_FIXTURE_H

#include "check.h"
#include "stream.h"

#define CHUNK PFS_KIB(64)
#define N_CHUNKS 1000000ull

struct fixture {
	const struct proposer *proposer;
	void *image, *session;
	struct streams streams;
	uint8_t *seen; /* by chunk */
	uint32_t seq;
	struct candidate named[CANDIDATES_MAX];
	uint32_t n;
};

static inline void session_begin(struct fixture *f)
{
	CHECK_EQ(f->proposer->session_create(f->image, 1, &f->session), 0);
	streams_init(&f->streams, CHUNK);
	f->seen = calloc(N_CHUNKS, 1);
	f->seq = f->n = 0;
}

static inline void session_end(struct fixture *f)
{
	f->proposer->session_destroy(f->session);
	free(f->seen);
}

static inline struct fixture start(const struct proposer *p)
{
	struct learning_config cfg = {.chunk = CHUNK, .n_chunks = N_CHUNKS};
	struct fixture f = {.proposer = p};

	CHECK_EQ(p->image_create(&cfg, &f.image), 0);
	session_begin(&f);
	return f;
}

static inline void stop(struct fixture *f)
{
	session_end(f);
	f->proposer->image_destroy(f->image);
}

/* As it was before, but for what the image has learned. */
static inline void session_again(struct fixture *f)
{
	session_end(f);
	session_begin(f);
}

static inline void check_named(const struct fixture *f)
{
	CHECK(f->n <= CANDIDATES_MAX);
	for (uint32_t i = 0; i < f->n; i++) {
		const struct candidate *c = &f->named[i];

		CHECK(c->p >= 0 && c->p <= 1); /* nor NaN */
		CHECK(c->distance > 0);
		CHECK(c->chunk < N_CHUNKS);
		CHECK(i == 0 || c->p <= c[-1].p);
		for (uint32_t k = 0; k < i; k++)
			CHECK(f->named[k].chunk != c->chunk);
	}
}

static inline void touch(struct fixture *f, uint32_t handle, uint64_t chunk,
			 uint32_t off, uint32_t len, bool is_last)
{
	struct touch t = {
		.chunk = chunk,
		.seq = f->seq++,
		.off = off,
		.len = len,
		.is_first = !f->seen[chunk],
		.is_last = is_last,
		.outcome = f->seen[chunk] ? PFS_ACCESS_HIT : PFS_ACCESS_MISS,
	};

	f->seen[chunk] = 1;
	streams_touch(&f->streams, handle, &t);
	f->proposer->observe(f->session, &t);
}

/* One request; what is named after it is in f->named. */
static inline void read_bytes(struct fixture *f, uint32_t handle, uint64_t off,
			      uint64_t len)
{
	uint64_t end = off + len;

	while (off < end) {
		uint64_t next = PFS_MIN(end, (off / CHUNK + 1) * CHUNK);

		touch(f, handle, off / CHUNK, (uint32_t)(off % CHUNK),
		      (uint32_t)(next - off), next == end);
		off = next;
	}
	f->n = f->proposer->propose(f->session, f->named, CANDIDATES_MAX);
	check_named(f);
}

/* One whole chunk. */
static inline void read_chunk(struct fixture *f, uint64_t chunk)
{
	read_bytes(f, 1, chunk * CHUNK, CHUNK);
}

/* What it gives a chunk; 0: it does not name it. */
static inline float chance_of(const struct fixture *f, uint64_t chunk)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (f->named[i].chunk == chunk)
			return f->named[i].p;
	return 0;
}

static inline bool is_named(const struct fixture *f, uint64_t chunk)
{
	return chance_of(f, chunk) > 0;
}

/* A fixed sequence of numbers (splitmix64). */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

#endif
