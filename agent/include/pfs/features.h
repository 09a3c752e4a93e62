/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/features.h - how a guest behaves, in 32 numbers.
 *
 * A window keeps the latest PFS_WINDOW samples of touched pages.  Samples
 * belong to streams (a thread's region of memory, a file), in which pages are
 * counted from anywhere.  Within a stream, a sample p of n pages and the next
 * one q make a step of d = q - (p + n - 1): 1 is "the very next page".  The
 * steps of all streams, N of them, make the features:
 *
 *   sequential     share of steps with d = 1
 *   stride_*       share of steps by |d|; steps of 0 are in none
 *   backward       share of steps with d < 0
 *   top_stride     share of the commonest d; top_pages its |d|
 *   loop, period   x = sgn(d) log2(1 + |d|), less the stream's mean; d that
 *                  occur once are taken as missing.  r(k) = sum x(i) x(i+k) /
 *                  sum x(i)^2 (Box and Jenkins, Time Series Analysis, 1970,
 *                  2.1.5).  The period of a stream is the k in 2..N/2 with
 *                  the highest of the local maxima of r, the loop score of
 *                  all is the mean of r(period) over the steps, missing
 *                  ones being 0.
 *   entropy        -sum p log2 p over the shares p of the different d
 *                  (Shannon, 1948), divided by log2 of the different pages:
 *                  near 1 if each page is reached by a stride of its own
 *   revisit        V, the share of steps to a page the stream has touched
 *                  before; revisit_steps the mean distance in steps to the
 *                  last touch (Mattson et al., 1970: not the stack distance,
 *                  which needs a tree)
 *   chase          entropy * V * M, M the share of the commonest of these
 *                  distances.  Who follows pointers jumps about and yet is
 *                  back at the root, or at the head of the list, after the
 *                  same number of steps; who jumps at random is not.
 *   working_set    different pages of the window
 *   growth         share of the window's working-set signature, a bit for
 *                  each of 4096 hashes of pages, that is not in the one of
 *                  the vector before (Dhodapkar and Smith, ISCA 2002)
 *   phase          distance to the vector before: the greatest of half the
 *                  Manhattan distance of the stride histograms (Sherwood et
 *                  al., ISCA 2003) and the differences of loop, entropy and
 *                  chase
 *
 * With less than PFS_WINDOW_STEPS_MIN steps all that is told by steps is 0.
 * The rates are differences of the kernel's own counts over the time between.
 *
 * Numbers  Q16.16 integers as in pfs/vector.h: same input, same bits.
 * Threads  pure functions on the caller's memory; nothing is allocated.
 */
#ifndef PFS_FEATURES_H
#define PFS_FEATURES_H

#include <pfs/vector.h>

#define PFS_WINDOW PFS_VECTOR_SAMPLES_MAX
#define PFS_WINDOW_STEPS_MIN 16u
#define PFS_WINDOW_BUCKETS (2 * PFS_WINDOW)
#define PFS_SIGNATURE_WORDS 64u

struct pfs_sample {
	uint64_t page, time_ns;
	uint32_t stream;
	uint32_t n_pages; /* touched from there on, at least 1 */
};

/* Room for one computation: what is known of the window by stream. */
struct pfs_window_scratch {
	struct pfs_sample by_stream[PFS_WINDOW];
	int64_t delta[PFS_WINDOW];   /* to the sample before */
	int32_t x[PFS_WINDOW];       /* log2 of it, Q16.16 >> 8 */
	uint16_t n_same[PFS_WINDOW]; /* that a step's d occurs */
	uint16_t next[PFS_WINDOW];   /* sample of the same stream */
	uint16_t dist[PFS_WINDOW];   /* revisits at that distance */
	uint16_t bucket[PFS_WINDOW_BUCKETS];
	uint64_t seen[PFS_SIGNATURE_WORDS];
};

struct pfs_window {
	struct pfs_sample ring[PFS_WINDOW];
	uint32_t head, n; /* the oldest is at head */
	/* --- of the vector before --- */
	bool has_before;
	uint32_t before[PFS_FEATURES];
	uint64_t seen_before[PFS_SIGNATURE_WORDS];
	struct pfs_window_scratch scratch;
};

/** Counts since boot, as the kernel keeps them. */
struct pfs_activity {
	uint64_t time_ns;
	uint64_t faults, major_faults, refaults, reclaimed, swapped; /* pages */
	uint64_t reads, writes, read_bytes, write_bytes;
	uint64_t stall_io_us, stall_memory_us;
};

/* What the steps look like, by thresholds on the features. */
enum pfs_pattern {
	PFS_PATTERN_NONE, /* too few steps */
	PFS_PATTERN_SEQUENTIAL,
	PFS_PATTERN_STRIDED,
	PFS_PATTERN_LOOP,
	PFS_PATTERN_CHASE,
	PFS_PATTERN_RANDOM,
	PFS_PATTERN_CHANGE, /* not what it was */
	PFS_PATTERNS,
};

/** part / whole as Q16.16, at most 1; 0 if whole is 0. */
uint32_t pfs_q16_share(uint64_t part, uint64_t whole);
/** log2(1 + v) as Q16.16, less than 2^-15 off. */
uint32_t pfs_q16_log2(uint64_t v);
/** The v of that, rounded down, for people to read. */
uint64_t pfs_q16_exp2(uint32_t q);

void pfs_window_init(struct pfs_window *w);
/** One sample more; the oldest leaves when there are PFS_WINDOW. */
void pfs_window_add(struct pfs_window *w, const struct pfs_sample *s);
/** Forget the samples: what comes next does not follow them. */
void pfs_window_clear(struct pfs_window *w);
/** Set the features told by samples not older than since_ns, leave the others.
 *  Returns how many samples there were. */
uint32_t pfs_window_features(struct pfs_window *w, uint64_t since_ns,
			     uint32_t feature[PFS_FEATURES]);

/** Set the features told by counts, those that were read at before and at now;
 *  counts that went back are taken as unchanged. */
void pfs_activity_features(const struct pfs_activity *before,
			   const struct pfs_activity *now,
			   uint32_t feature[PFS_FEATURES]);

enum pfs_pattern pfs_features_pattern(const uint32_t feature[PFS_FEATURES]);
const char *pfs_pattern_name(enum pfs_pattern pattern);

#endif
