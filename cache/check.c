/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Offline check of a store against its catalog (pfsctl fsck). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core.h"

struct check {
	void (*report)(void *arg, const char *line);
	void *arg;
	uint64_t *n_bad;
	int fd;
	struct geometry g;
	struct segments segs;
	struct pfs_image_row *images; /* owned array */
	size_t n_images;
	uint64_t image, epoch; /* the one being checked */
	uint8_t *buf, *page;
	uint32_t *sums;
	struct zone_entry *entries;
};

static void PFS_PRINTF(2, 3) bad(struct check *k, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	(*k->n_bad)++;
	k->report(k->arg, line);
}

static void check_done(struct check *k)
{
	if (k->fd >= 0)
		close(k->fd);
	segments_fini(&k->segs);
	free(k->images);
	free(k->buf);
	free(k->page);
	free(k->sums);
	free(k->entries);
}

static int note_image(void *arg, const struct pfs_image_row *row,
		      uint64_t n_zones, uint64_t n_chunks)
{
	struct check *k = arg;
	struct pfs_image_row *images =
		realloc(k->images, (k->n_images + 1) * sizeof(*images));

	(void)n_zones;
	(void)n_chunks;
	if (!images)
		return -ENOMEM;
	k->images = images;
	k->images[k->n_images] = *row;
	k->images[k->n_images++].name = NULL;
	return 0;
}

static int check_zone(void *arg, uint32_t zone, const void *blob, size_t len)
{
	struct check *k = arg;
	uint32_t n;

	if (zone_decode(&k->g, k->image, k->epoch, zone, blob, len, k->entries,
			&n)) {
		bad(k, "image %llu zone %u: row is damaged",
		    (unsigned long long)k->image, zone);
		return 0;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct zone_entry *e = &k->entries[i];
		struct slot_ident id = {
			.image = k->image,
			.epoch = k->epoch,
			.chunk = (uint64_t)zone * PFS_ZONE_CHUNKS + e->idx,
			.gen = e->gen,
		};
		int err;

		if (!segments_holds(&k->segs, e->slot, e->gen))
			continue; /* evicted since the row was saved */
		err = slot_check_file(k->fd, &k->g, e->slot, &id, k->buf,
				      k->page, k->sums);
		if (err)
			bad(k, "image %llu chunk %llu in slot %u: %s",
			    (unsigned long long)id.image,
			    (unsigned long long)id.chunk, e->slot,
			    err == -EBADMSG || err == -ENOENT
				    ? "not what was stored"
				    : strerror(-err));
	}
	return 0;
}

static int load_table(struct check *k, struct pfs_catalog *c)
{
	PFS_AUTO_FREE struct segment_row *rows =
		pfs_zalloc(k->g.n_segments, sizeof(*rows));
	PFS_AUTO_FREE void *blob = NULL;
	size_t len = 0;
	int err = rows ? segments_init(&k->segs, &k->g) : -ENOMEM;

	if (!err)
		err = pfs_catalog_segments_load(c, &blob, &len);
	if (err || !blob)
		return err;
	if (segments_decode(&k->g, blob, len, rows))
		bad(k, "segment table is damaged");
	else
		segments_adopt(&k->segs, rows);
	return 0;
}

static int check_store(struct check *k, const char *path, struct pfs_catalog *c)
{
	uint8_t uuid[PFS_UUID_LEN];
	int err = store_open_fd(path, false, false, &k->fd);

	if (err)
		return err;
	if (store_read_super(k->fd, &k->g)) {
		bad(k, "%s: no superblock: a new store will be made", path);
		return 0;
	}
	pfs_catalog_store_uuid(c, uuid);
	if (memcmp(uuid, k->g.uuid, PFS_UUID_LEN) != 0) {
		bad(k,
		    "%s belongs to another catalog: a new store will be "
		    "made",
		    path);
		return 0;
	}
	k->buf = aligned_alloc(PFS_BLOCK_SIZE, k->g.chunk);
	k->page = aligned_alloc(PFS_BLOCK_SIZE, PFS_BLOCK_SIZE);
	k->sums = pfs_zalloc(k->g.blks, sizeof(*k->sums));
	k->entries = pfs_zalloc(PFS_ZONE_CHUNKS, sizeof(*k->entries));
	if (!k->buf || !k->page || !k->sums || !k->entries)
		return -ENOMEM;
	err = load_table(k, c);
	if (!err)
		err = pfs_catalog_images(c, note_image, k);
	for (size_t i = 0; i < k->n_images && !err; i++) {
		k->image = k->images[i].id;
		k->epoch = k->images[i].epoch;
		err = pfs_catalog_zones_load(c, k->image, k->epoch, check_zone,
					     k);
	}
	return err;
}

int pfs_store_check(const char *store, const char *catalog,
		    void (*report)(void *arg, const char *line), void *arg,
		    uint64_t *n_bad)
{
	PFS_AUTO(check_done)
	struct check k = {
		.report = report,
		.arg = arg,
		.n_bad = n_bad,
		.fd = -1,
	};
	struct pfs_catalog_config cfg = {.path = catalog};
	struct pfs_catalog_state state;
	struct pfs_catalog *c = NULL;
	unsigned int n_rows_bad = 0;
	int err = pfs_catalog_check(catalog, report, arg, &n_rows_bad);

	*n_bad = n_rows_bad;
	if (err || n_rows_bad)
		return err; /* rows that are not sound prove nothing */
	err = pfs_catalog_open(&cfg, &state, &c);
	if (err)
		return err;
	err = check_store(&k, store, c);
	pfs_catalog_close(c);
	return err;
}
