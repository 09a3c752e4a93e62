/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "format.h"

#include <endian.h>
#include <string.h>

#include <pfs/hash.h>

#define SUPER_MAGIC 0x45524f5453534650ull /* "PFSSTORE" */
#define SUPER_VERSION 1u
#define SLOT_MAGIC 0x53534650u /* "PFSS" */
#define SLOT_VERSION 1u
#define SLOT_FIXED 64u /* bytes of a slot header before the checksums */
#define SLOT_SUM_OFF 56u
#define ZONE_MAGIC 0x5a534650u     /* "PFSZ" */
#define SEGMENTS_MAGIC 0x47534650u /* "PFSG" */
#define BLOB_VERSION 1u
#define BLOB_FIXED 16u
#define ROW_LEN 16u

#define SEGMENT_SLOTS_MAX 1024u
#define SEGMENT_SLOTS_MIN 8u
#define SEGMENTS_WANTED 64u
#define SEGMENTS_MIN 4u

static void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* --- geometry --- */

static uint32_t header_size(uint32_t blks)
{
	uint32_t size = 128;

	while (size < SLOT_FIXED + 4 * blks)
		size *= 2;
	return size;
}

/* What follows from chunk, segment_slots and uuid. */
static void derive(struct geometry *g)
{
	g->blks = g->chunk / PFS_BLOCK_SIZE;
	g->header_size = header_size(g->blks);
	g->headers_len = (uint32_t)pfs_align_up(
		(uint64_t)g->segment_slots * g->header_size, PFS_BLOCK_SIZE);
	g->segment_len = g->headers_len + (uint64_t)g->segment_slots * g->chunk;
	g->uuid_hash = pfs_hash64(g->uuid, PFS_UUID_LEN, 0);
}

int geometry_plan(struct geometry *g, const uint8_t uuid[PFS_UUID_LEN],
		  uint64_t size, uint32_t chunk)
{
	uint64_t slots, n;

	if (!pfs_is_pow2(chunk) || chunk < PFS_CHUNK_MIN ||
	    chunk > PFS_CHUNK_MAX)
		return -EINVAL;
	if (size <= FORMAT_DATA_OFF)
		return -ENOSPC;

	slots = (size - FORMAT_DATA_OFF) / chunk;
	*g = (struct geometry){.chunk = chunk};
	memcpy(g->uuid, uuid, PFS_UUID_LEN);
	n = PFS_MIN(slots / SEGMENTS_WANTED, (uint64_t)SEGMENT_SLOTS_MAX);
	g->segment_slots = (uint32_t)PFS_MAX(n, (uint64_t)SEGMENT_SLOTS_MIN);
	derive(g);

	n = (size - FORMAT_DATA_OFF) / g->segment_len;
	n = PFS_MIN(n, (uint64_t)(FORMAT_SLOT_NONE / g->segment_slots) - 1);
	if (n < SEGMENTS_MIN)
		return -ENOSPC;
	g->n_segments = (uint32_t)n;
	return 0;
}

bool geometry_same(const struct geometry *a, const struct geometry *b)
{
	return !memcmp(a->uuid, b->uuid, PFS_UUID_LEN) &&
	       a->chunk == b->chunk && a->segment_slots == b->segment_slots &&
	       a->n_segments == b->n_segments;
}

uint64_t geometry_segment_off(const struct geometry *g, uint32_t seg)
{
	return FORMAT_DATA_OFF + seg * g->segment_len;
}

uint64_t geometry_slot_off(const struct geometry *g, uint32_t slot)
{
	return geometry_segment_off(g, slot / g->segment_slots) +
	       g->headers_len + (uint64_t)(slot % g->segment_slots) * g->chunk;
}

uint64_t geometry_header_off(const struct geometry *g, uint32_t slot)
{
	return geometry_segment_off(g, slot / g->segment_slots) +
	       (uint64_t)(slot % g->segment_slots) * g->header_size;
}

uint64_t geometry_end(const struct geometry *g)
{
	return geometry_segment_off(g, g->n_segments);
}

/* --- superblock: field, offset, width ----------------------------------
 * magic 0 8 | version 8 4 | chunk 12 4 | uuid 16 16 | segment_slots 32 4 |
 * n_segments 36 4 | zero | checksum 4088 8                                */

void super_encode(const struct geometry *g, uint8_t out[FORMAT_SUPER_SIZE])
{
	memset(out, 0, FORMAT_SUPER_SIZE);
	put64(out, SUPER_MAGIC);
	put32(out + 8, SUPER_VERSION);
	put32(out + 12, g->chunk);
	memcpy(out + 16, g->uuid, PFS_UUID_LEN);
	put32(out + 32, g->segment_slots);
	put32(out + 36, g->n_segments);
	put64(out + FORMAT_SUPER_SIZE - 8,
	      pfs_hash64(out, FORMAT_SUPER_SIZE - 8, SUPER_MAGIC));
}

int super_decode(const uint8_t in[FORMAT_SUPER_SIZE], struct geometry *g)
{
	struct geometry d = {0};

	if (get64(in) != SUPER_MAGIC || get32(in + 8) != SUPER_VERSION)
		return -EBADMSG;
	if (get64(in + FORMAT_SUPER_SIZE - 8) !=
	    pfs_hash64(in, FORMAT_SUPER_SIZE - 8, SUPER_MAGIC))
		return -EBADMSG;

	d.chunk = get32(in + 12);
	memcpy(d.uuid, in + 16, PFS_UUID_LEN);
	d.segment_slots = get32(in + 32);
	d.n_segments = get32(in + 36);
	if (!pfs_is_pow2(d.chunk) || d.chunk < PFS_CHUNK_MIN ||
	    d.chunk > PFS_CHUNK_MAX || d.segment_slots < SEGMENT_SLOTS_MIN ||
	    d.segment_slots > SEGMENT_SLOTS_MAX ||
	    d.n_segments < SEGMENTS_MIN ||
	    d.n_segments >= FORMAT_SLOT_NONE / d.segment_slots)
		return -EBADMSG;
	derive(&d);
	*g = d;
	return 0;
}

bool super_is_of(const struct geometry *g, const uint8_t in[FORMAT_SUPER_SIZE])
{
	struct geometry found;

	return !super_decode(in, &found) && geometry_same(&found, g);
}

/* --- slots: field, offset, width ----------------------------------------
 * magic 0 4 | version 4 2 | valid mask 6 2 (bit per 16th of the chunk) |
 * image 8 8 | epoch 16 8 | chunk 24 8 | generation 32 8 | zero 40 16 |
 * checksum 56 8 (of all other bytes, seeded with store and slot) |
 * block checksums 64 4*blks                                              */

static uint64_t ident_seed(const struct geometry *g,
			   const struct slot_ident *id)
{
	uint64_t h = g->uuid_hash;

	h = pfs_mix64(h ^ id->image);
	h = pfs_mix64(h ^ id->epoch);
	h = pfs_mix64(h ^ id->chunk);
	return pfs_mix64(h ^ id->gen);
}

void slot_sums(const struct geometry *g, const struct slot_ident *id,
	       const void *data, uint32_t first_blk, uint32_t n, uint32_t *sums)
{
	uint64_t seed = ident_seed(g, id);
	const uint8_t *p = data;

	for (uint32_t i = 0; i < n; i++, p += PFS_BLOCK_SIZE)
		sums[i] = (uint32_t)pfs_hash64(p, PFS_BLOCK_SIZE,
					       seed + first_blk + i);
}

static uint64_t header_sum(const struct geometry *g, uint32_t slot,
			   const uint8_t *h)
{
	uint64_t seed = g->uuid_hash ^ pfs_mix64(slot);

	seed = pfs_hash64(h, SLOT_SUM_OFF, seed);
	return pfs_hash64(h + SLOT_FIXED, 4 * g->blks, seed);
}

void slot_header_encode(const struct geometry *g, uint32_t slot,
			const struct slot_ident *id, const uint32_t *sums,
			uint8_t *out)
{
	memset(out, 0, g->header_size);
	put32(out, SLOT_MAGIC);
	put16(out + 4, SLOT_VERSION);
	put16(out + 6, UINT16_MAX);
	put64(out + 8, id->image);
	put64(out + 16, id->epoch);
	put64(out + 24, id->chunk);
	put64(out + 32, id->gen);
	for (uint32_t i = 0; i < g->blks; i++)
		put32(out + SLOT_FIXED + 4 * i, sums[i]);
	put64(out + SLOT_SUM_OFF, header_sum(g, slot, out));
}

int slot_header_decode(const struct geometry *g, uint32_t slot,
		       const uint8_t *in, struct slot_ident *id, uint32_t *sums)
{
	if (!get32(in) && !get64(in + SLOT_SUM_OFF))
		return -ENOENT;
	if (get32(in) != SLOT_MAGIC || get16(in + 4) != SLOT_VERSION ||
	    get16(in + 6) != UINT16_MAX)
		return -EBADMSG;
	if (get64(in + SLOT_SUM_OFF) != header_sum(g, slot, in))
		return -EBADMSG;

	id->image = get64(in + 8);
	id->epoch = get64(in + 16);
	id->chunk = get64(in + 24);
	id->gen = get64(in + 32);
	for (uint32_t i = 0; i < g->blks; i++)
		sums[i] = get32(in + SLOT_FIXED + 4 * i);
	return 0;
}

/* --- blobs of the catalog: magic 0 4 | version 4 4 | count 8 4 | zero 12 4 |
 * rows of 16 bytes | checksum 8                                           */

static void blob_head(uint8_t *out, uint32_t magic, uint32_t n)
{
	put32(out, magic);
	put32(out + 4, BLOB_VERSION);
	put32(out + 8, n);
	put32(out + 12, 0);
}

static int blob_open(const uint8_t *in, size_t len, uint32_t magic,
		     uint64_t seed, uint32_t *n)
{
	size_t rows;

	if (len < BLOB_FIXED + 8 || get32(in) != magic ||
	    get32(in + 4) != BLOB_VERSION)
		return -EBADMSG;
	*n = get32(in + 8);
	rows = (len - BLOB_FIXED - 8) / ROW_LEN;
	if (*n != rows || len != BLOB_FIXED + rows * ROW_LEN + 8)
		return -EBADMSG;
	if (get64(in + len - 8) != pfs_hash64(in, len - 8, seed))
		return -EBADMSG;
	return 0;
}

static uint64_t zone_seed(const struct geometry *g, uint64_t image,
			  uint64_t epoch, uint32_t zone)
{
	uint64_t h = pfs_mix64(g->uuid_hash ^ image);

	return pfs_mix64(pfs_mix64(h ^ epoch) ^ zone);
}

/* Zone row: idx 0 2 | zero 2 2 | slot 4 4 | generation 8 8 */
size_t zone_encode(const struct geometry *g, uint64_t image, uint64_t epoch,
		   uint32_t zone, const struct zone_entry *e, uint32_t n,
		   uint8_t out[ZONE_BLOB_MAX])
{
	uint8_t *p = out + BLOB_FIXED;

	blob_head(out, ZONE_MAGIC, n);
	for (uint32_t i = 0; i < n; i++, p += ROW_LEN) {
		put16(p, e[i].idx);
		put16(p + 2, 0);
		put32(p + 4, e[i].slot);
		put64(p + 8, e[i].gen);
	}
	put64(p, pfs_hash64(out, (size_t)(p - out),
			    zone_seed(g, image, epoch, zone)));
	return (size_t)(p - out) + 8;
}

int zone_decode(const struct geometry *g, uint64_t image, uint64_t epoch,
		uint32_t zone, const uint8_t *in, size_t len,
		struct zone_entry *e, uint32_t *n)
{
	const uint8_t *p = in + BLOB_FIXED;
	uint32_t count = 0;
	int err = blob_open(in, len, ZONE_MAGIC,
			    zone_seed(g, image, epoch, zone), &count);

	if (err)
		return err;
	if (count > PFS_ZONE_CHUNKS)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++, p += ROW_LEN) {
		e[i].idx = get16(p);
		e[i].slot = get32(p + 4);
		e[i].gen = get64(p + 8);
		if (e[i].idx >= PFS_ZONE_CHUNKS ||
		    e[i].slot >= geometry_n_slots(g) ||
		    (i && e[i].idx <= e[i - 1].idx))
			return -EBADMSG;
	}
	*n = count;
	return 0;
}

size_t segments_blob_len(uint32_t n)
{
	return BLOB_FIXED + (size_t)n * ROW_LEN + 8;
}

/* Segment row: open generation 0 8 | state 8 1 | probation 9 1 | zero 10 6 */
void segments_encode(const struct geometry *g, const struct segment_row *rows,
		     uint8_t *out)
{
	uint8_t *p = out + BLOB_FIXED;

	blob_head(out, SEGMENTS_MAGIC, g->n_segments);
	for (uint32_t i = 0; i < g->n_segments; i++, p += ROW_LEN) {
		memset(p, 0, ROW_LEN);
		put64(p, rows[i].open_gen);
		p[8] = rows[i].state;
		p[9] = rows[i].is_probation;
	}
	put64(p, pfs_hash64(out, (size_t)(p - out), g->uuid_hash));
}

int segments_decode(const struct geometry *g, const uint8_t *in, size_t len,
		    struct segment_row *rows)
{
	const uint8_t *p = in + BLOB_FIXED;
	uint32_t n = 0;
	int err = blob_open(in, len, SEGMENTS_MAGIC, g->uuid_hash, &n);

	if (err)
		return err;
	if (n != g->n_segments)
		return -EBADMSG;
	for (uint32_t i = 0; i < n; i++, p += ROW_LEN) {
		rows[i].open_gen = get64(p);
		rows[i].state = p[8];
		rows[i].is_probation = p[9];
		if (rows[i].state > SEGMENT_LEAVING || p[9] > 1)
			return -EBADMSG;
	}
	return 0;
}
