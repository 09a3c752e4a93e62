/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core.h"
#include "mapped.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#define HEADER_CACHE_DEFAULT PFS_MIB(32)
#define FETCH_MEM_DEFAULT PFS_MIB(32)
#define FETCH_MIN 32u
#define FREE_SHARE 10u /* default size: a tenth of the free space */

/* --- the file or device --- */

int store_open_fd(const char *path, bool direct, bool write, int *fd)
{
	int flags = O_CLOEXEC | (write ? O_RDWR | O_CREAT : O_RDONLY) |
		    (direct ? O_DIRECT : 0);
	int err = pfs_fault_check(PFS_FP_STORE_OPEN);

	if (err)
		return err;
	*fd = open(path, flags, 0600);
	return *fd < 0 ? -errno : 0;
}

static int device_size(int fd, bool *is_device, uint64_t *size)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	*is_device = S_ISBLK(st.st_mode);
	if (S_ISREG(st.st_mode)) {
		*size = (uint64_t)st.st_size;
		return 0;
	}
	if (!*is_device)
		return -EINVAL;
	return ioctl(fd, BLKGETSIZE64, size) ? -errno : 0;
}

int store_read_super(int fd, struct geometry *g)
{
	PFS_AUTO_FREE uint8_t *buf =
		aligned_alloc(FORMAT_SUPER_SIZE, FORMAT_SUPER_SIZE);
	int err = -EBADMSG;

	if (!buf)
		return -ENOMEM;
	for (int copy = 0; copy < 2 && err; copy++) {
		ssize_t n = pfs_io_pread(PFS_FP_STORE_HEADER_READ, fd, buf,
					 FORMAT_SUPER_SIZE,
					 copy * FORMAT_SUPER_SIZE);

		if (n < 0)
			err = (int)n;
		else if (n == FORMAT_SUPER_SIZE)
			err = super_decode(buf, g);
	}
	return err;
}

static int write_super(struct pfs_store *s)
{
	PFS_AUTO_FREE uint8_t *buf =
		aligned_alloc(FORMAT_SUPER_SIZE, 2 * FORMAT_SUPER_SIZE);
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	super_encode(&s->g, buf);
	memcpy(buf + FORMAT_SUPER_SIZE, buf, FORMAT_SUPER_SIZE);
	n = pfs_io_pwrite(PFS_FP_STORE_SUPER_WRITE, s->fd, buf,
			  2 * FORMAT_SUPER_SIZE, 0);
	if (n < 0)
		return (int)n;
	return pfs_io_fdatasync(PFS_FP_STORE_SUPER_WRITE, s->fd);
}

/* The size a file should have: as configured, else as it is, else a share of
 * what is free around it. */
static int wanted_size(struct pfs_store *s, uint64_t configured,
		       uint64_t actual, uint64_t *size)
{
	struct geometry g;
	struct statvfs vfs;

	if (s->is_device) {
		*size = configured ? PFS_MIN(configured, actual) : actual;
		return 0;
	}
	if (configured) {
		*size = configured;
		return 0;
	}
	if (!store_read_super(s->fd, &g)) {
		*size = actual;
		return 0;
	}
	if (fstatvfs(s->fd, &vfs))
		return -errno;
	*size = (uint64_t)vfs.f_bavail * vfs.f_frsize / FREE_SHARE;
	return 0;
}

/* Forget all chunks: a new uuid makes every header of old void. */
static int format_store(struct pfs_store *s, uint64_t size)
{
	uint8_t uuid[PFS_UUID_LEN];
	int err = pfs_catalog_renew_store(s->catalog, uuid);

	if (err)
		return err;
	err = geometry_plan(&s->g, uuid, size, s->g.chunk);
	if (err)
		return err;
	if (!s->is_device) {
		if (ftruncate(s->fd, 0) || ftruncate(s->fd, (off_t)size))
			return pfs_log_fail(-errno, "store",
					    "resize %s to %llu bytes", s->path,
					    (unsigned long long)size);
	}
	err = write_super(s);
	if (err)
		return pfs_log_fail(err, "store", "format %s", s->path);
	pfs_count(PFS_C_STORE_RESET, 1);
	pfs_log(PFS_LOG_INFO, "store",
		"formatted %s: %u segments of %u chunks of %u KiB", s->path,
		s->g.n_segments, s->g.segment_slots, s->g.chunk / 1024);
	return 0;
}

/* The saved table of segments, NULL if there is none; -EBADMSG: it is not of
 * this store. */
static int load_segments(struct pfs_store *s, struct segment_row **out)
{
	PFS_AUTO_FREE struct segment_row *rows =
		pfs_zalloc(s->g.n_segments, sizeof(*rows));
	PFS_AUTO_FREE void *blob = NULL;
	size_t len = 0;
	int err;

	if (!rows)
		return -ENOMEM;
	err = pfs_catalog_segments_load(s->catalog, &blob, &len);
	if (err || !blob)
		return err;
	err = segments_decode(&s->g, blob, len, rows);
	if (!err)
		*out = pfs_take(&rows);
	return err;
}

/* Adopt what is there if it is ours and as configured, else format. */
static int bind_store(struct pfs_store *s, const struct pfs_store_config *cfg,
		      struct segment_row **rows)
{
	uint8_t uuid[PFS_UUID_LEN];
	struct geometry plan, found;
	uint64_t actual = 0, size = 0;
	int err = device_size(s->fd, &s->is_device, &actual);

	if (err)
		return pfs_log_fail(err, "store",
				    "%s is neither a file nor a block device",
				    s->path);
	err = wanted_size(s, cfg->size, actual, &size);
	if (err)
		return err;
	pfs_catalog_store_uuid(s->catalog, uuid);
	err = geometry_plan(&plan, uuid, size, cfg->chunk);
	if (err)
		return pfs_log_fail(err, "store",
				    "%s: no room for a store in %llu bytes; "
				    "give it more with store_size=",
				    s->path, (unsigned long long)size);
	s->g = plan;
	if (store_read_super(s->fd, &found) || !geometry_same(&found, &plan) ||
	    actual < geometry_end(&plan))
		return format_store(s, size);
	err = load_segments(s, rows);
	if (err != -EBADMSG)
		return err;
	pfs_log(PFS_LOG_WARNING, "store",
		"segment table unreadable: starting cold");
	return format_store(s, size);
}

/* --- open and close --- */

static int set_path(struct pfs_store *s, const char *path)
{
	struct stat st;
	bool is_dir = !stat(path, &st) && S_ISDIR(st.st_mode);

	if (asprintf(&s->path, "%s%s", path, is_dir ? "/store" : "") < 0) {
		s->path = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int open_file(struct pfs_store *s, enum pfs_store_io io)
{
	int err = -EINVAL;

	if (io != PFS_STORE_IO_BUFFERED)
		err = store_open_fd(s->path, true, true, &s->fd);
	s->is_direct = !err;
	if (err && io != PFS_STORE_IO_DIRECT)
		err = store_open_fd(s->path, false, true, &s->fd);
	if (err)
		return pfs_log_fail(err, "store", "open %s%s", s->path,
				    io == PFS_STORE_IO_DIRECT ? " with O_DIRECT"
							      : "");
	return 0;
}

/* Can hits in the page cache be read without waiting for the device? */
static void probe_nowait(struct pfs_store *s)
{
	struct statfs fs;
	uint8_t byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};

	if (s->is_direct)
		return;
	if (!fstatfs(s->fd, &fs) && fs.f_type == TMPFS_MAGIC) {
		s->is_nowait = true; /* it is memory */
		s->map = mapped_open(s->fd, geometry_end(&s->g));
		return;
	}
	if (preadv2(s->fd, &iov, 1, 0, RWF_NOWAIT) == 1 || errno == EAGAIN) {
		s->is_nowait = true;
		s->nowait_flags = RWF_NOWAIT;
	}
}

static int init_tables(struct pfs_store *s, const struct pfs_store_config *cfg)
{
	uint32_t n = geometry_n_slots(&s->g);
	uint64_t fetches =
		cfg->n_fetch ? cfg->n_fetch : FETCH_MEM_DEFAULT / s->g.chunk;
	int err = segments_init(&s->segs, &s->g);

	if (!err)
		err = headers_init(&s->hdr, &s->g,
				   cfg->header_cache ? cfg->header_cache
						     : HEADER_CACHE_DEFAULT);
	if (!err)
		err = fetch_table_init(
			s, (uint32_t)PFS_MAX(fetches, (uint64_t)FETCH_MIN));
	if (err)
		return err;
	/* 9 bytes a slot, touched only once a slot is used. */
	s->owner = mmap(NULL, n * sizeof(*s->owner), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	s->slot_flags =
		mmap(NULL, n, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->owner == MAP_FAILED || s->slot_flags == MAP_FAILED)
		return -ENOMEM;
	return 0;
}

int store_reserve_gens(struct pfs_store *s)
{
	uint64_t first = 0;
	int err = pfs_catalog_reserve_gens(s->catalog, STORE_GENS, &first);

	if (err)
		return err;
	pfs_mutex_lock(&s->lock);
	/* A counter that ran past its limit without storing anything goes on
	 * from the new block, which lies above all that is on disk. */
	if (first > s->gen)
		s->gen = first - 1;
	s->gen_limit = first + STORE_GENS - 1;
	if (s->gens) {
		/* Void while it changes: we may be killed here. */
		atomic_store(&s->gens->limit, 0);
		memcpy(s->gens->uuid, s->g.uuid, PFS_UUID_LEN);
		atomic_store(&s->gens->last, s->gen);
		atomic_store(&s->gens->limit, s->gen_limit);
	}
	pfs_mutex_unlock(&s->lock);
	return 0;
}

/* What a predecessor reserved and did not use, if it is for this store. */
static int first_gens(struct pfs_store *s)
{
	struct pfs_store_gens *g = s->gens;

	if (!g || memcmp(g->uuid, s->g.uuid, PFS_UUID_LEN) != 0 ||
	    atomic_load(&g->last) + STORE_GENS / 2 > atomic_load(&g->limit))
		return store_reserve_gens(s);
	s->gen = atomic_load(&g->last);
	s->gen_limit = atomic_load(&g->limit);
	return 0;
}

static void destroy(struct pfs_store *s)
{
	uint32_t n = geometry_n_slots(&s->g);

	fetch_table_fini(s);
	headers_fini(&s->hdr);
	segments_fini(&s->segs);
	if (s->owner && s->owner != MAP_FAILED)
		munmap(s->owner, n * sizeof(*s->owner));
	if (s->slot_flags && s->slot_flags != MAP_FAILED)
		munmap(s->slot_flags, n);
	mapped_close(s->map, geometry_end(&s->g));
	if (s->fd >= 0)
		close(s->fd);
	pfs_cond_fini(&s->kick);
	pfs_cond_fini(&s->saved);
	pfs_mutex_fini(&s->lock);
	free(s->images);
	free(s->path);
	free(s);
}

static void store_done(struct pfs_store **s)
{
	if (*s)
		destroy(*s);
}

int pfs_store_open(const struct pfs_store_config *cfg, struct pfs_store **out)
{
	PFS_AUTO(store_done) struct pfs_store *s = NULL;
	PFS_AUTO_FREE struct segment_row *rows = NULL;
	int err;

	if (!cfg->path || !cfg->catalog || !pfs_is_pow2(cfg->chunk) ||
	    cfg->chunk < PFS_CHUNK_MIN || cfg->chunk > PFS_CHUNK_MAX)
		return -EINVAL;
	s = pfs_zalloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->fd = -1;
	s->leaving = SEGMENT_NONE;
	s->fill_tail = &s->fill_queue;
	s->verify = cfg->verify;
	s->catalog = cfg->catalog;
	s->gens = cfg->gens;
	s->zone_saved = cfg->zone_saved;
	s->unread = cfg->unread;
	s->arg = cfg->arg;
	s->g.chunk = cfg->chunk;
	pfs_mutex_init(&s->lock, PFS_RANK_STORE);
	pfs_cond_init(&s->kick);
	pfs_cond_init(&s->saved);

	err = set_path(s, cfg->path);
	if (!err)
		err = open_file(s, cfg->io);
	if (!err)
		err = bind_store(s, cfg, &rows);
	if (!err)
		err = init_tables(s, cfg);
	if (!err)
		err = first_gens(s);
	if (err)
		return err;
	if (rows)
		segments_adopt(&s->segs, rows);
	probe_nowait(s);
	err = upkeep_start(s);
	if (err)
		return err;
	*out = pfs_take(&s);
	return 0;
}

void pfs_store_close(struct pfs_store *s)
{
	if (!s)
		return;
	upkeep_stop(s);
	images_bury(s);
	destroy(s);
}

uint32_t pfs_store_chunk(const struct pfs_store *s)
{
	return s->g.chunk;
}

/* --- health --- */

void store_bypass(struct pfs_store *s, const char *why)
{
	int was = PFS_STORE_OK;

	if (!atomic_compare_exchange_strong(&s->health, &was,
					    PFS_STORE_BYPASSED))
		return;
	pfs_count(PFS_C_STORE_BYPASS, 1);
	pfs_log(PFS_LOG_WARNING, "store",
		"%s: %s; reading from the source until it works again", s->path,
		why);
	pfs_mutex_lock(&s->lock);
	kick_locked(s);
	pfs_mutex_unlock(&s->lock);
}

void store_io_failed(struct pfs_store *s, int err)
{
	uint32_t n = atomic_fetch_add_explicit(&s->n_errors, 1,
					       memory_order_relaxed) +
		     1;

	pfs_log_limited(PFS_LOG_WARNING, "store", "%s: I/O failed: %s", s->path,
			strerror(-err));
	if (n >= STORE_ERRORS_MAX)
		store_bypass(s, "too many errors in a row");
}

void store_write_failed(struct pfs_store *s, int err)
{
	atomic_store_explicit(&s->no_fill_until_ns,
			      pfs_now_ns() + STORE_PROBE_NS,
			      memory_order_relaxed);
	pfs_log_limited(PFS_LOG_WARNING, "store",
			"%s: write failed: %s; storing nothing for a second",
			s->path, strerror(-err));
}

void store_io_worked(struct pfs_store *s)
{
	if (atomic_load_explicit(&s->n_errors, memory_order_relaxed))
		atomic_store_explicit(&s->n_errors, 0, memory_order_relaxed);
}

/* --- looking at it --- */

static void format_uuid(const uint8_t u[PFS_UUID_LEN], char out[37])
{
	static const char hex[] = "0123456789abcdef";
	char *p = out;

	for (int i = 0; i < PFS_UUID_LEN; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex[u[i] >> 4];
		*p++ = hex[u[i] & 15];
	}
	*p = '\0';
}

void pfs_store_status(struct pfs_store *s, struct pfs_store_status *out)
{
	*out = (struct pfs_store_status){
		.health = (enum pfs_store_health)atomic_load(&s->health),
		.is_direct = s->is_direct,
		.size = (uint64_t)geometry_n_slots(&s->g) * s->g.chunk,
		.chunk = s->g.chunk,
		.n_segments = s->g.n_segments,
		.segment_slots = s->g.segment_slots,
		.n_quarantined = atomic_load(&s->n_quarantined),
	};
	format_uuid(s->g.uuid, out->uuid);

	pfs_mutex_lock(&s->lock);
	out->n_free_segments = s->segs.n_free;
	out->n_chunks = s->n_chunks;
	out->index_bytes = s->n_chunks * (sizeof(*s->owner) + 1);
	for (uint32_t i = 0; i < s->n_images; i++)
		if (s->images[i])
			out->index_bytes += s->images[i]->ix.bytes;
	out->n_pinned = s->n_pinned;
	out->n_fetching = s->n_fetching;
	out->generation = s->gen;
	pfs_mutex_unlock(&s->lock);
}

static void read_buckets(_Atomic uint64_t *in, uint64_t *out)
{
	for (uint32_t i = 0; i < PFS_LATENCY_BUCKETS; i++)
		out[i] = atomic_load_explicit(&in[i], memory_order_relaxed);
}

void pfs_store_latency(struct pfs_store *s, struct pfs_store_latency *out)
{
	read_buckets(s->latency[FETCH_DEMAND], out->demand);
	read_buckets(s->latency[FETCH_AHEAD], out->prefetch);
}

struct residency {
	struct pfs_store *s;
	uint64_t image, epoch, n_chunks;
	uint32_t *out, n;
};

static void count_chunk(struct residency *r, uint64_t chunk)
{
	if (chunk < r->n_chunks)
		r->out[chunk * r->n / r->n_chunks]++;
}

static int count_row(void *arg, uint32_t zone, const void *blob, size_t len)
{
	struct residency *r = arg;
	PFS_AUTO_FREE struct zone_entry *e =
		pfs_zalloc(PFS_ZONE_CHUNKS, sizeof(*e));
	uint32_t n;

	if (!e ||
	    zone_decode(&r->s->g, r->image, r->epoch, zone, blob, len, e, &n))
		return 0;
	pfs_mutex_lock(&r->s->lock);
	for (uint32_t i = 0; i < n; i++)
		if (segments_holds(&r->s->segs, e[i].slot, e[i].gen))
			count_chunk(r, (uint64_t)zone * PFS_ZONE_CHUNKS +
					       e[i].idx);
	pfs_mutex_unlock(&r->s->lock);
	return 0;
}

static int find_epoch(void *arg, const struct pfs_image_row *row,
		      uint64_t n_zones, uint64_t n_chunks)
{
	struct residency *r = arg;

	(void)n_zones;
	(void)n_chunks;
	if (row->id != r->image)
		return 0;
	r->epoch = row->epoch;
	return 1;
}

static void count_image_locked(struct residency *r,
			       const struct pfs_store_image *img)
	PFS_REQUIRES(r->s->lock)
{
	if (r->n == 1) { /* the usual question needs no walk */
		r->out[0] = (uint32_t)PFS_MIN(img->ix.n_chunks, r->n_chunks);
		return;
	}
	for (uint32_t i = 0; i < img->ix.n_zones; i++) {
		const struct zone *z = img->ix.zones[i];

		for (uint32_t j = 0; j < z->n; j++)
			count_chunk(r, (uint64_t)z->no * PFS_ZONE_CHUNKS +
					       z->idx[j]);
	}
}

static bool count_attached(struct residency *r)
{
	struct pfs_store *s = r->s;
	bool found = false;

	pfs_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < s->n_images && !found; i++) {
		struct pfs_store_image *img = s->images[i];

		if (!img || img->id != r->image || !img->is_attached)
			continue;
		found = true;
		count_image_locked(r, img);
	}
	pfs_mutex_unlock(&s->lock);
	return found;
}

int pfs_store_residency(struct pfs_store *s, uint64_t image, uint64_t n_chunks,
			uint32_t *out, uint32_t n)
{
	struct residency r = {.s = s,
			      .image = image,
			      .n_chunks = n_chunks,
			      .out = out,
			      .n = n};
	int err;

	memset(out, 0, n * sizeof(*out));
	if (!n_chunks || !n)
		return 0;
	if (count_attached(&r))
		return 0;
	err = pfs_catalog_images(s->catalog, find_epoch, &r);
	if (err < 0)
		return err;
	if (!r.epoch)
		return -ENOENT;
	return pfs_catalog_zones_load(s->catalog, image, r.epoch, count_row,
				      &r);
}

int pfs_store_drop(struct pfs_store *s, uint64_t image, uint64_t *n_dropped)
{
	*n_dropped = 0;
	pfs_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < s->n_images; i++) {
		struct pfs_store_image *img = s->images[i];

		if (!img || !img->is_attached || (image && img->id != image))
			continue;
		*n_dropped += img->ix.n_chunks;
		image_forget_locked(img);
	}
	pfs_mutex_unlock(&s->lock);
	return pfs_catalog_zones_drop(s->catalog, image);
}
