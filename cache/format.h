/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * cache/format.h - what a store looks like on its device, pfs-store(5).
 *
 * Pure functions between structs and bytes: little-endian, explicit, no
 * overlay.  Decoders trust nothing; every structure carries a checksum seeded
 * with the identity of the place where it should lie, so a stale, torn, rotten
 * or misplaced one fails alike (I3).
 *
 *   0        superblock, 4096 bytes
 *   4096     copy of the superblock
 *   1 MiB    segment 0: slot headers, then slots; segment 1; ...
 */
#ifndef PFS_CACHE_FORMAT_H
#define PFS_CACHE_FORMAT_H

#include <pfs/catalog.h>
#include <pfs/store.h>

#define FORMAT_SUPER_SIZE 4096u
#define FORMAT_DATA_OFF PFS_MIB(1)
#define FORMAT_MAX_BLKS (PFS_CHUNK_MAX / PFS_BLOCK_SIZE)
#define FORMAT_SLOT_NONE UINT32_MAX

/* Where things lie; derived from size and chunk once, then recorded. */
struct geometry {
	uint8_t uuid[PFS_UUID_LEN];
	uint32_t chunk;         /* bytes */
	uint32_t blks;          /* 4 KiB blocks in a chunk */
	uint32_t header_size;   /* bytes of one slot header, power of two */
	uint32_t segment_slots; /* slots in a segment */
	uint32_t n_segments;
	uint32_t headers_len; /* bytes of headers before a segment's slots */
	uint64_t segment_len; /* bytes of a segment with its headers */
	uint64_t uuid_hash;   /* seed of all checksums */
};

/** Cut size bytes into segments.  -ENOSPC: room for fewer than 4. */
int geometry_plan(struct geometry *g, const uint8_t uuid[PFS_UUID_LEN],
		  uint64_t size, uint32_t chunk) PFS_MUST_CHECK;

/** Same store and same shape? */
bool geometry_same(const struct geometry *a, const struct geometry *b);

static inline uint32_t geometry_n_slots(const struct geometry *g)
{
	return g->n_segments * g->segment_slots;
}

/* Device offset of a slot's bytes, and of its header. */
uint64_t geometry_slot_off(const struct geometry *g, uint32_t slot);
uint64_t geometry_header_off(const struct geometry *g, uint32_t slot);
uint64_t geometry_segment_off(const struct geometry *g, uint32_t seg);
uint64_t geometry_end(const struct geometry *g);

void super_encode(const struct geometry *g, uint8_t out[FORMAT_SUPER_SIZE]);
/** -EBADMSG: no superblock of ours, or a damaged one. */
int super_decode(const uint8_t in[FORMAT_SUPER_SIZE],
		 struct geometry *g) PFS_MUST_CHECK;

/** Is this the superblock of exactly this store? */
bool super_is_of(const struct geometry *g, const uint8_t in[FORMAT_SUPER_SIZE]);

/* Identity of the bytes in a slot; every checksum is seeded with it. */
struct slot_ident {
	uint64_t image, epoch, chunk, gen;
};

static inline bool slot_ident_same(const struct slot_ident *a,
				   const struct slot_ident *b)
{
	return a->image == b->image && a->epoch == b->epoch &&
	       a->chunk == b->chunk && a->gen == b->gen;
}

/** Checksum of each 4 KiB block of a chunk into sums[n]; first_blk is the
 *  number of the first one in its chunk. */
void slot_sums(const struct geometry *g, const struct slot_ident *id,
	       const void *data, uint32_t first_blk, uint32_t n,
	       uint32_t *sums);

/** Encode a slot header of g->header_size bytes. */
void slot_header_encode(const struct geometry *g, uint32_t slot,
			const struct slot_ident *id, const uint32_t *sums,
			uint8_t *out);
/** -ENOENT: empty; -EBADMSG: damaged or not at its place. */
int slot_header_decode(const struct geometry *g, uint32_t slot,
		       const uint8_t *in, struct slot_ident *id,
		       uint32_t *sums) PFS_MUST_CHECK;

/* One resident chunk of a zone, as saved in the catalog. */
struct zone_entry {
	uint16_t idx; /* chunk within the zone */
	uint32_t slot;
	uint64_t gen;
};

#define ZONE_BLOB_MAX (16 + PFS_ZONE_CHUNKS * 16 + 8)

/** Encode n entries in ascending order of idx; returns the length. */
size_t zone_encode(const struct geometry *g, uint64_t image, uint64_t epoch,
		   uint32_t zone, const struct zone_entry *e, uint32_t n,
		   uint8_t out[ZONE_BLOB_MAX]);
/** Decode into e[PFS_ZONE_CHUNKS]; -EBADMSG. */
int zone_decode(const struct geometry *g, uint64_t image, uint64_t epoch,
		uint32_t zone, const uint8_t *in, size_t len,
		struct zone_entry *e, uint32_t *n) PFS_MUST_CHECK;

enum segment_state {
	SEGMENT_FREE,
	SEGMENT_OPEN, /* being filled */
	SEGMENT_SEALED,
	SEGMENT_LEAVING, /* being evicted */
};

/* State and age of a segment, as saved in the catalog.  Chunks inserted before
 * open_gen belong to an earlier use of the segment and are gone. */
struct segment_row {
	uint64_t open_gen;
	uint8_t state;
	uint8_t is_probation;
};

/** Length of a table of n segments. */
size_t segments_blob_len(uint32_t n);
void segments_encode(const struct geometry *g, const struct segment_row *rows,
		     uint8_t *out);
int segments_decode(const struct geometry *g, const uint8_t *in, size_t len,
		    struct segment_row *rows) PFS_MUST_CHECK;

#endif
