/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/hash.h - XXH3 from libxxhash, for checksums and hash tables.
 *
 * Not for adversaries: where a guest could profit from a collision, the seed
 * is a secret of this mount (the store's uuid is).
 */
#ifndef PFS_HASH_H
#define PFS_HASH_H

#include <pfs/base.h>

/** XXH3 64 of len bytes under a seed. */
uint64_t pfs_hash64(const void *data, size_t len, uint64_t seed);

/** A good mix of one word (the finaliser of splitmix64, Steele et al. 2014,
 *  https://doi.org/10.1145/2714064.2660195). */
static inline uint64_t pfs_mix64(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

#endif
