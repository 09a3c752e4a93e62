/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * cache/headers.h - slot headers in RAM.
 *
 * Headers of segments being filled live in "active" buffers until the upkeep
 * thread has written them; those in use are cached page by page in a fixed
 * number of frames (4-way set associative, replaced in turn).
 *
 * Threads  none of its own: the caller holds the store lock.
 */
#ifndef PFS_CACHE_HEADERS_H
#define PFS_CACHE_HEADERS_H

#include "format.h"
#include "segments.h"

#define HEADERS_ACTIVE_MAX 8u
#define HEADERS_WAYS 4u

struct headers_active {
	uint32_t seg;         /* SEGMENT_NONE: unused */
	uint8_t *mem;         /* owned, headers_len bytes, page aligned */
	uint64_t *dirty;      /* owned, bit per page */
	uint64_t dirty_since; /* ns, 0: nothing dirty */
};

struct headers {
	struct geometry g;
	uint32_t pages_per_segment;
	uint32_t n_sets;
	uint64_t *key; /* owned, page number + 1 of each frame; 0: empty */
	uint8_t *turn; /* owned, next way to replace in each set */
	uint8_t *mem;  /* owned, the frames */
	size_t mem_len;
	struct headers_active active[HEADERS_ACTIVE_MAX];
};

int headers_init(struct headers *h, const struct geometry *g,
		 uint64_t cache_bytes) PFS_MUST_CHECK;
void headers_fini(struct headers *h);

/** The header of a slot if it is in RAM, else NULL. */
const uint8_t *headers_get(struct headers *h, uint32_t slot);
/** Keep the page that holds a slot's header, as read from the device. */
void headers_keep(struct headers *h, uint32_t slot, const uint8_t *page);
/** Forget what is cached of a segment (it will be written anew). */
void headers_forget(struct headers *h, uint32_t seg);

/** A segment was opened: its headers start out empty.  False: too many
 *  segments wait for their headers to be written. */
bool headers_can_activate(const struct headers *h);
void headers_activate(struct headers *h, uint32_t seg);
/** The buffer of a segment that is active, else NULL. */
struct headers_active *headers_active(struct headers *h, uint32_t seg);
/** Write one slot's header into its active segment. */
void headers_set(struct headers *h, uint32_t slot, const struct slot_ident *id,
		 const uint32_t *sums, uint64_t now_ns);
/** Copy the dirty pages out for writing: pages [*first, *first + n) into out,
 *  which has headers_len bytes; they count as clean.  0: none dirty. */
uint32_t headers_take_dirty(struct headers *h, struct headers_active *a,
			    uint32_t *first, uint8_t *out);
/** The write failed: these pages are dirty again. */
void headers_still_dirty(struct headers_active *a, uint32_t first, uint32_t n,
			 uint64_t now_ns);
/** All is written: move the pages to the cache and free the buffer. */
void headers_retire(struct headers *h, struct headers_active *a);

#endif
