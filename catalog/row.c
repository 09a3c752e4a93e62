/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "row.h"

#include <string.h>
#include <sys/random.h>

#include <pfs/hash.h>

/* Seeds keep a row of one table from passing in another.  They are part of
 * the file format. */
#define META_SEED 0x6d657461ull
#define IMAGE_SEED 0x696d6167ull
#define ZONE_SEED 0x7a6f6e65ull
#define RECORDING_SEED 0x7265636full
#define PIN_SEED 0x70696e73ull
#define SEGMENTS_SEED 0x7365676dull

static void put_u64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

/* Hash n numbers under a seed. */
static uint64_t hash_words(const uint64_t *words, size_t n, uint64_t seed)
{
	uint8_t buf[16 * 8];

	for (size_t i = 0; i < n; i++)
		put_u64(buf + 8 * i, words[i]);
	return pfs_hash64(buf, 8 * n, seed);
}

static int bind_u64(sqlite3_stmt *st, int i, uint64_t v)
{
	return sqlite3_bind_int64(st, i, (sqlite3_int64)v);
}

static uint64_t column_u64(sqlite3_stmt *st, int i)
{
	return (uint64_t)sqlite3_column_int64(st, i);
}

/* Copy a BLOB column of exactly len bytes. */
static bool column_bytes(sqlite3_stmt *st, int i, void *out, size_t len)
{
	const void *blob = sqlite3_column_blob(st, i);

	if (!blob || (size_t)sqlite3_column_bytes(st, i) != len)
		return false;
	memcpy(out, blob, len);
	return true;
}

/* --- meta --- */

static uint64_t meta_sum(const struct catalog_meta *m)
{
	uint64_t words[] = {m->next_gen, m->next_image, m->n_durable};
	uint64_t seed = pfs_hash64(m->uuid, sizeof(m->uuid), META_SEED);

	return hash_words(words, PFS_ARRAY_SIZE(words), seed);
}

int catalog_meta_get(struct catalog_db *db, struct catalog_meta *m)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_META_GET, &st);

	if (!err)
		err = catalog_stmt_step(st);
	if (err < 0)
		return err;
	if (err == 0 || !column_bytes(st, 0, m->uuid, sizeof(m->uuid)))
		return -EUCLEAN;
	m->next_gen = column_u64(st, 1);
	m->next_image = column_u64(st, 2);
	m->n_durable = column_u64(st, 3);
	return column_u64(st, 4) == meta_sum(m) ? 0 : -EUCLEAN;
}

int catalog_meta_put(struct catalog_db *db, const struct catalog_meta *m)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_META_PUT, &st);

	if (err)
		return err;
	sqlite3_bind_blob(st, 1, m->uuid, sizeof(m->uuid), SQLITE_STATIC);
	bind_u64(st, 2, m->next_gen);
	bind_u64(st, 3, m->next_image);
	bind_u64(st, 4, m->n_durable);
	bind_u64(st, 5, meta_sum(m));
	return catalog_stmt_run(st);
}

/* In the form of a version 4 UUID, so that tools print it as one. */
int catalog_new_uuid(uint8_t uuid[PFS_UUID_LEN])
{
	if (getrandom(uuid, PFS_UUID_LEN, 0) != PFS_UUID_LEN)
		return -EIO;
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	return 0;
}

/* --- images --- */

static uint64_t image_sum(const struct pfs_image_row *r)
{
	const struct pfs_identity *id = &r->ident;
	bool has_fs = id->present & PFS_IDENT_FS;
	bool has_btime = id->present & PFS_IDENT_BTIME;
	uint64_t words[] = {
		r->id,
		r->epoch,
		id->ino,
		id->size,
		has_btime ? (uint64_t)id->btime_ns : 0,
		(uint64_t)id->mtime_ns,
		(uint64_t)id->ctime_ns,
		(uint64_t)id->recorded_ns,
		(has_fs ? 1u : 0u) | (has_btime ? 2u : 0u) |
			(r->name ? 4u : 0u),
	};
	uint64_t sum = hash_words(words, PFS_ARRAY_SIZE(words), IMAGE_SEED);

	if (has_fs)
		sum = pfs_hash64(id->fs_id, sizeof(id->fs_id), sum);
	if (r->name)
		sum = pfs_hash64(r->name, strlen(r->name), sum);
	return sum;
}

/* False: longer than any name we ever put there, or with a NUL in it. */
static bool read_name(sqlite3_stmt *st, struct catalog_image *img)
{
	const void *name = sqlite3_column_blob(st, 2);
	size_t len = (size_t)sqlite3_column_bytes(st, 2);

	img->row.name = NULL;
	if (sqlite3_column_type(st, 2) == SQLITE_NULL)
		return true;
	if (!name || len >= sizeof(img->name) || memchr(name, '\0', len))
		return false;
	memcpy(img->name, name, len);
	img->name[len] = '\0';
	img->row.name = img->name;
	return true;
}

static bool read_identity(sqlite3_stmt *st, struct pfs_identity *id)
{
	memset(id, 0, sizeof(*id));
	if (sqlite3_column_type(st, 3) != SQLITE_NULL) {
		id->present |= PFS_IDENT_FS;
		if (!column_bytes(st, 3, id->fs_id, sizeof(id->fs_id)))
			return false;
	}
	if (sqlite3_column_type(st, 6) != SQLITE_NULL)
		id->present |= PFS_IDENT_BTIME;
	id->ino = column_u64(st, 4);
	id->size = column_u64(st, 5);
	id->btime_ns = sqlite3_column_int64(st, 6);
	id->mtime_ns = sqlite3_column_int64(st, 7);
	id->ctime_ns = sqlite3_column_int64(st, 8);
	id->recorded_ns = sqlite3_column_int64(st, 9);
	return true;
}

int catalog_image_read(sqlite3_stmt *st, struct catalog_image *img)
{
	struct pfs_image_row *r = &img->row;

	r->id = column_u64(st, 0);
	r->epoch = column_u64(st, 1);
	if (!read_name(st, img) || !read_identity(st, &r->ident))
		return -EBADMSG;
	return column_u64(st, 10) == image_sum(r) ? 0 : -EBADMSG;
}

int catalog_image_put(struct catalog_db *db, const struct catalog_image *img)
{
	const struct pfs_image_row *r = &img->row;
	const struct pfs_identity *id = &r->ident;
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_IMAGE_PUT, &st);

	if (err)
		return err;
	bind_u64(st, 1, r->id);
	bind_u64(st, 2, r->epoch);
	if (r->name)
		sqlite3_bind_blob(st, 3, r->name, (int)strlen(r->name),
				  SQLITE_STATIC);
	if (id->present & PFS_IDENT_FS)
		sqlite3_bind_blob(st, 4, id->fs_id, sizeof(id->fs_id),
				  SQLITE_STATIC);
	bind_u64(st, 5, id->ino);
	bind_u64(st, 6, id->size);
	if (id->present & PFS_IDENT_BTIME)
		sqlite3_bind_int64(st, 7, id->btime_ns);
	sqlite3_bind_int64(st, 8, id->mtime_ns);
	sqlite3_bind_int64(st, 9, id->ctime_ns);
	sqlite3_bind_int64(st, 10, id->recorded_ns);
	bind_u64(st, 11, image_sum(r));
	return catalog_stmt_run(st);
}

/* --- zones --- */

static uint64_t zone_sum(const struct catalog_zone *z)
{
	uint64_t words[] = {z->image, z->zone, z->epoch, z->n_chunks};

	return pfs_hash64(z->blob, z->len,
			  hash_words(words, PFS_ARRAY_SIZE(words), ZONE_SEED));
}

int catalog_zone_read(sqlite3_stmt *st, struct catalog_zone *z)
{
	uint64_t zone = column_u64(st, 1);
	uint64_t n_chunks = column_u64(st, 3);

	z->image = column_u64(st, 0);
	z->zone = (uint32_t)zone;
	z->epoch = column_u64(st, 2);
	z->n_chunks = (uint32_t)n_chunks;
	z->blob = sqlite3_column_blob(st, 5);
	z->len = (size_t)sqlite3_column_bytes(st, 5);
	if (zone > UINT32_MAX || n_chunks > UINT32_MAX || !z->blob)
		return -EBADMSG;
	return column_u64(st, 4) == zone_sum(z) ? 0 : -EBADMSG;
}

int catalog_zone_put(struct catalog_db *db, const struct catalog_zone *z)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_ZONE_PUT, &st);

	if (err)
		return err;
	bind_u64(st, 1, z->image);
	bind_u64(st, 2, z->zone);
	bind_u64(st, 3, z->epoch);
	bind_u64(st, 4, z->n_chunks);
	bind_u64(st, 5, zone_sum(z));
	sqlite3_bind_blob64(st, 6, z->blob, z->len, SQLITE_STATIC);
	return catalog_stmt_run(st);
}

/* --- recordings and pins --- */

static uint64_t recording_sum(const struct catalog_recording *r)
{
	uint64_t words[] = {r->image, r->number};

	return pfs_hash64(
		r->blob, r->len,
		hash_words(words, PFS_ARRAY_SIZE(words), RECORDING_SEED));
}

int catalog_recording_read(sqlite3_stmt *st, struct catalog_recording *r)
{
	r->image = column_u64(st, 0);
	r->number = column_u64(st, 1);
	r->blob = sqlite3_column_blob(st, 3);
	r->len = (size_t)sqlite3_column_bytes(st, 3);
	if (!r->blob)
		return -EBADMSG;
	return column_u64(st, 2) == recording_sum(r) ? 0 : -EBADMSG;
}

int catalog_recording_put(struct catalog_db *db,
			  const struct catalog_recording *r)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_RECORDING_PUT, &st);

	if (err)
		return err;
	bind_u64(st, 1, r->image);
	bind_u64(st, 2, r->number);
	bind_u64(st, 3, recording_sum(r));
	sqlite3_bind_blob64(st, 4, r->blob, r->len, SQLITE_STATIC);
	return catalog_stmt_run(st);
}

int catalog_recording_move(struct catalog_db *db,
			   const struct catalog_recording *r, uint64_t image)
{
	struct catalog_recording moved = *r;
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_RECORDING_MOVE, &st);

	if (err)
		return err;
	moved.image = image;
	bind_u64(st, 1, r->image);
	bind_u64(st, 2, r->number);
	bind_u64(st, 3, image);
	bind_u64(st, 4, recording_sum(&moved));
	return catalog_stmt_run(st);
}

static uint64_t pin_sum(const struct catalog_pin *p)
{
	uint64_t words[] = {p->image, p->first, p->last};

	return hash_words(words, PFS_ARRAY_SIZE(words), PIN_SEED);
}

int catalog_pin_read(sqlite3_stmt *st, struct catalog_pin *p)
{
	p->image = column_u64(st, 0);
	p->first = column_u64(st, 1);
	p->last = column_u64(st, 2);
	return column_u64(st, 3) == pin_sum(p) ? 0 : -EBADMSG;
}

int catalog_pin_put(struct catalog_db *db, const struct catalog_pin *p)
{
	CATALOG_AUTO_STMT *st = NULL;
	int err = catalog_db_stmt(db, CATALOG_PIN_PUT, &st);

	if (err)
		return err;
	bind_u64(st, 1, p->image);
	bind_u64(st, 2, p->first);
	bind_u64(st, 3, p->last);
	bind_u64(st, 4, pin_sum(p));
	return catalog_stmt_run(st);
}

/* --- segments --- */

uint64_t catalog_segments_sum(const void *blob, size_t len)
{
	return pfs_hash64(blob, len, SEGMENTS_SEED);
}
