/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fixed-point numbers, what the kernel's counts tell, and patterns in words. */
#include <pfs/features.h>

#define SEC_US 1000000u

/* --- Q16.16 --- */

uint32_t pfs_q16_share(uint64_t part, uint64_t whole)
{
	if (!whole)
		return 0;
	if (part >= whole)
		return PFS_Q16_ONE;
	while (part >> 48) { /* room for the 16 bits behind the point */
		part >>= 1;
		whole >>= 1;
	}
	return (uint32_t)((part << 16) / whole);
}

/* The integer part is the highest bit; squaring the rest, in 1..2 and 31 bits
 * behind the point, brings the others one by one. */
uint32_t pfs_q16_log2(uint64_t v)
{
	uint32_t q, top;
	uint64_t m;

	if (v == UINT64_MAX)
		return 64 * PFS_Q16_ONE;
	v++;
	top = 63u - (uint32_t)__builtin_clzll(v);
	q = top * PFS_Q16_ONE;
	m = top > 31 ? v >> (top - 31) : v << (31 - top);
	for (uint32_t bit = PFS_Q16_ONE / 2; bit; bit /= 2) {
		m = m * m >> 31;
		if (m >> 32) {
			m >>= 1;
			q += bit;
		}
	}
	return q;
}

/* By taking the value apart as pfs_q16_log2() puts it together. */
uint64_t pfs_q16_exp2(uint32_t q)
{
	uint64_t low = 0, high = UINT64_MAX;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2 + 1;

		if (pfs_q16_log2(mid) <= q)
			low = mid;
		else
			high = mid - 1;
	}
	return low;
}

/* --- counts --- */

static uint64_t since(uint64_t before, uint64_t now)
{
	return now > before ? now - before : 0;
}

/* log2(1 + x a second) */
static uint32_t rate(uint64_t before, uint64_t now, uint64_t us)
{
	uint64_t n = since(before, now), per_s;

	if (pfs_mul_u64(n, SEC_US, &per_s))
		per_s = UINT64_MAX;
	return PFS_MIN(pfs_q16_log2(per_s / us), PFS_FEATURE_LOG_MAX);
}

void pfs_activity_features(const struct pfs_activity *b,
			   const struct pfs_activity *n,
			   uint32_t feature[PFS_FEATURES])
{
	uint64_t us = PFS_MAX(since(b->time_ns, n->time_ns) / 1000, 1ull);
	uint64_t reads = since(b->reads, n->reads);
	uint64_t writes = since(b->writes, n->writes);

	feature[PFS_F_FAULTS] = rate(b->faults, n->faults, us);
	feature[PFS_F_MAJOR_FAULTS] =
		rate(b->major_faults, n->major_faults, us);
	feature[PFS_F_REFAULTS] = rate(b->refaults, n->refaults, us);
	feature[PFS_F_RECLAIM] = rate(b->reclaimed, n->reclaimed, us);
	feature[PFS_F_SWAP] = rate(b->swapped, n->swapped, us);
	feature[PFS_F_READ_BYTES] = rate(b->read_bytes, n->read_bytes, us);
	feature[PFS_F_WRITE_BYTES] = rate(b->write_bytes, n->write_bytes, us);
	feature[PFS_F_READ_SHARE] = pfs_q16_share(reads, reads + writes);
	feature[PFS_F_STALL_IO] =
		pfs_q16_share(since(b->stall_io_us, n->stall_io_us), us);
	feature[PFS_F_STALL_MEMORY] = pfs_q16_share(
		since(b->stall_memory_us, n->stall_memory_us), us);
}

/* --- patterns --- */

static bool is_above(const uint32_t *f, enum pfs_feature i, uint32_t percent)
{
	return f[i] > percent * PFS_Q16_ONE / 100;
}

/* Who follows pointers and who loops are both back after so many steps, but a
 * loop goes over runs of pages.  A pattern that never comes back to its pages
 * is no loop. */
enum pfs_pattern pfs_features_pattern(const uint32_t f[PFS_FEATURES])
{
	if (!f[PFS_F_TOP_STRIDE])
		return PFS_PATTERN_NONE;
	if (is_above(f, PFS_F_PHASE, 25))
		return PFS_PATTERN_CHANGE;
	if (is_above(f, PFS_F_CHASE, 6) && is_above(f, PFS_F_ENTROPY, 65))
		return PFS_PATTERN_CHASE;
	if (is_above(f, PFS_F_LOOP, 40) && is_above(f, PFS_F_REVISIT, 40))
		return PFS_PATTERN_LOOP;
	if (is_above(f, PFS_F_SEQUENTIAL, 60))
		return PFS_PATTERN_SEQUENTIAL;
	if (is_above(f, PFS_F_TOP_STRIDE, 60))
		return PFS_PATTERN_STRIDED;
	return PFS_PATTERN_RANDOM;
}

const char *pfs_pattern_name(enum pfs_pattern pattern)
{
	static const char *const names[PFS_PATTERNS] = {
		[PFS_PATTERN_NONE] = "none",
		[PFS_PATTERN_SEQUENTIAL] = "sequential",
		[PFS_PATTERN_STRIDED] = "strided",
		[PFS_PATTERN_LOOP] = "loop",
		[PFS_PATTERN_CHASE] = "chase",
		[PFS_PATTERN_RANDOM] = "random",
		[PFS_PATTERN_CHANGE] = "change",
	};

	return pattern < PFS_PATTERNS ? names[pattern] : "unknown";
}
