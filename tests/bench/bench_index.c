/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * RAM and start-up time of the index: a store of 1,000,000 resident chunks is
 * described in a catalog (the data itself is not needed for that), then opened
 * and loaded as a worker does it.  Once with full zones and once with chunks
 * scattered as a boot leaves them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <pfs/catalog.h>
#include <pfs/clock.h>
#include <pfs/source.h>
#include <pfs/store.h>

#include "format.h"

#define DIE(...)                                                               \
	do {                                                                   \
		fprintf(stderr, "bench_index: " __VA_ARGS__);                  \
		fputc('\n', stderr);                                           \
		exit(1);                                                       \
	} while (0)

struct layout {
	const char *name;
	uint32_t n_zones, per_zone; /* chunks spread evenly in each zone */
};

static uint64_t rss_bytes(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f || fscanf(f, "%*u %lu", &pages) != 1)
		DIE("no /proc/self/statm");
	fclose(f);
	return pages * 4096ull;
}

static struct pfs_catalog *open_catalog(const char *path)
{
	struct pfs_catalog_config cfg = {.path = path};
	struct pfs_catalog_state state;
	struct pfs_catalog *c;

	if (pfs_catalog_open(&cfg, &state, &c) || state.is_in_memory)
		DIE("catalog %s", path);
	return c;
}

static uint64_t make_image(struct pfs_catalog *c, int fd, uint64_t *epoch)
{
	struct pfs_identity ident = {.ino = 1};
	enum pfs_image_verdict verdict;
	struct pfs_image_row row;
	struct stat st;

	if (fstat(fd, &st))
		DIE("fstat");
	ident.ino = st.st_ino;
	if (pfs_catalog_image_open(c, "image", &ident, false, &row, &verdict))
		DIE("image row");
	*epoch = row.epoch;
	return row.id;
}

static struct pfs_store *open_store(struct pfs_catalog *c, const char *path,
				    uint64_t size)
{
	struct pfs_store_config cfg = {
		.path = path,
		.size = size,
		.chunk = PFS_CHUNK_DEFAULT,
		.verify = true,
		.catalog = c,
	};
	struct pfs_store *s;

	if (pfs_store_open(&cfg, &s))
		DIE("store %s", path);
	return s;
}

static void write_rows(struct pfs_catalog *c, const struct geometry *g,
		       uint64_t id, uint64_t epoch, const struct layout *l)
{
	static struct zone_entry e[PFS_ZONE_CHUNKS];
	static uint8_t blob[ZONE_BLOB_MAX];
	uint32_t slot = 0;

	for (uint32_t z = 0; z < l->n_zones; z++) {
		struct pfs_catalog_batch *b;
		size_t len;

		for (uint32_t i = 0; i < l->per_zone; i++)
			e[i] = (struct zone_entry){
				.idx = (uint16_t)(i * PFS_ZONE_CHUNKS /
						  l->per_zone),
				.slot = slot++,
				.gen = 10,
			};
		len = zone_encode(g, id, epoch, z, e, l->per_zone, blob);
		if (pfs_catalog_batch_create(c, &b) ||
		    pfs_catalog_batch_zone(b, id, epoch, z, blob, len,
					   l->per_zone))
			DIE("zone row");
		while (pfs_catalog_submit(c, b, false, NULL, NULL))
			DIE("submit");
		if (z % 64 == 63 && pfs_catalog_flush(c))
			DIE("flush");
	}
}

static void write_segments(struct pfs_catalog *c, const struct geometry *g,
			   uint64_t n_used)
{
	struct segment_row *rows = calloc(g->n_segments, sizeof(*rows));
	uint8_t *blob = malloc(segments_blob_len(g->n_segments));
	struct pfs_catalog_batch *b;

	if (!rows || !blob)
		DIE("memory");
	for (uint32_t i = 0; i * (uint64_t)g->segment_slots < n_used; i++)
		rows[i] = (struct segment_row){.open_gen = 1,
					       .state = SEGMENT_SEALED};
	segments_encode(g, rows, blob);
	if (pfs_catalog_batch_create(c, &b) ||
	    pfs_catalog_batch_segments(b, blob,
				       segments_blob_len(g->n_segments)) ||
	    pfs_catalog_submit(c, b, true, NULL, NULL) || pfs_catalog_flush(c))
		DIE("segment table");
	free(rows);
	free(blob);
}

static int load_row(void *arg, uint32_t zone, const void *blob, size_t len)
{
	return pfs_store_image_load(arg, zone, blob, len);
}

static void measure(const char *catalog, const char *store, uint64_t size,
		    struct pfs_source *src, uint64_t id, uint64_t epoch,
		    const struct layout *l)
{
	uint64_t t0 = pfs_now_ns(), t1, before, after;
	struct pfs_catalog *c = open_catalog(catalog);
	struct pfs_store *s = open_store(c, store, size);
	struct pfs_store_status st;
	struct pfs_store_image *img;

	t1 = pfs_now_ns();
	before = rss_bytes();
	if (pfs_store_image_attach(s, id, epoch, src, &img) ||
	    pfs_catalog_zones_load(c, id, epoch, load_row, img))
		DIE("load");
	after = rss_bytes();
	pfs_store_status(s, &st);
	printf("%-10s %8" PRIu64 " chunks  open %4.0f ms  load %4.0f ms  "
	       "index %5.1f bytes/chunk  RSS +%5.1f bytes/chunk\n",
	       l->name, st.n_chunks, (double)(t1 - t0) / 1e6,
	       (double)(pfs_now_ns() - t1) / 1e6,
	       (double)st.index_bytes / (double)st.n_chunks,
	       (double)(after - before) / (double)st.n_chunks);
	pfs_store_image_detach(img);
	pfs_store_close(s);
	pfs_catalog_close(c);
}

static void run(const char *dir, const struct layout *l)
{
	uint64_t n = (uint64_t)l->n_zones * l->per_zone;
	uint64_t size = (n + n / 8 + 4096) * (PFS_CHUNK_DEFAULT + 128);
	uint8_t uuid[PFS_UUID_LEN];
	char catalog[512], store[512], image[512];
	struct pfs_source *src;
	struct pfs_catalog *c;
	struct geometry g;
	uint64_t id, epoch;
	FILE *f;

	snprintf(catalog, sizeof(catalog), "%s/%s.db", dir, l->name);
	snprintf(store, sizeof(store), "%s/%s.store", dir, l->name);
	snprintf(image, sizeof(image), "%s/%s.img", dir, l->name);
	f = fopen(image, "w+e");
	if (!f || pfs_source_from_fd(fileno(f), &src))
		DIE("%s", image);
	c = open_catalog(catalog);
	pfs_store_close(open_store(c, store, size));
	id = make_image(c, fileno(f), &epoch);
	pfs_catalog_store_uuid(c, uuid);
	if (geometry_plan(&g, uuid, size, PFS_CHUNK_DEFAULT))
		DIE("geometry");
	write_rows(c, &g, id, epoch, l);
	write_segments(c, &g, n);
	pfs_catalog_close(c);
	measure(catalog, store, size, src, id, epoch, l);
	pfs_source_put(src);
	fclose(f);
}

int main(int argc, char **argv)
{
	static const struct layout layouts[] = {
		{"full", 1000, 1024},
		{"scattered", 100, 5},
		{"sparse", 8000, 40},
	};

	if (argc != 2) {
		fprintf(stderr, "usage: bench_index DIR\n");
		return 2;
	}
	for (size_t i = 0; i < PFS_ARRAY_SIZE(layouts); i++)
		run(argv[1], &layouts[i]);
	return 0;
}
