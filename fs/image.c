/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Images in use.  Order of a mutation, which I1 and I5 rest on:
 *
 *   1. store: new generation, drop, detach         pfs_store_mutate_begin()
 *   2. memfd: zone marks                           state_zone_mark()
 *   3. marks file: image is open for writing       pfs_marks_set()
 *   4. the source call
 *   5. store: new generation, drop, detach         pfs_store_mutate_end()
 *
 * 1 comes before 2: a zone row that is being saved clears the zone's mark only
 * if no mutation of the zone is announced.
 *
 * A write session begins with the first mutation and ends when no handle is
 * open for writing any more: the source is synced, rows and identity are saved
 * in one transaction, then the durable mark is cleared.
 */
#include "image.h"

#include <fcntl.h>
#include <string.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/hash.h>
#include <pfs/io.h>
#include <pfs/lane.h>
#include <pfs/log.h>
#include <pfs/source.h>

#include "events.h"
#include "identity.h"
#include "inval.h"
#include "worker.h"

#define N_BUCKETS 1024u
#define MARK_WAIT_NS (50 * PFS_NSEC_PER_MSEC)
/* A guest's tools open an image several times in a row, and fetches under way
 * at a close would be lost. */
#define LINGER_NS (2 * PFS_NSEC_PER_SEC)
#define HOLE_EXTENTS_MAX 4096u
#define HOLE_SCAN_NS (200 * PFS_NSEC_PER_MSEC)

struct image {
	struct image *next; /* bucket */
	struct worker *w;
	uint64_t dev, ino;
	char *path; /* owned: as it was opened */
	int fd;     /* owned: for reading, also for fdatasync */
	struct pfs_source *src;
	struct pfs_store_image *sto; /* NULL: past the store */
	uint64_t id;                 /* 0: the catalog does not know it */
	uint32_t n_refs;             /* under the table's lock; 0: lingering */
	uint64_t idle_ns;            /* since when; under the table's lock */

	_Atomic uint64_t size;
	_Atomic bool is_marked;    /* the durable mark is set */
	_Atomic bool was_touched;  /* by us, since the identity was recorded */
	_Atomic uint32_t n_active; /* mutations under way */
	_Atomic uint32_t n_writers;
	_Atomic uint64_t n_by_outcome[PFS_READ_DIRECT + 1];
	_Atomic uint64_t read_bytes, write_bytes;
	uint64_t bytes_seen; /* under the table's lock */

	struct pfs_mutex session; /* beginning and end of a write session */
	/* --- under session --- */
	uint64_t epoch;
	struct pfs_identity ident; /* as last recorded or seen */
	bool is_gone;
	bool is_unrecorded; /* ident is newer than the catalog's */
	int load_err;       /* while coming into use */
};

struct image_table {
	struct pfs_mutex lock;
	/* --- under lock --- */
	struct image *bucket[N_BUCKETS];
	uint32_t n;
};

/* --- coming into use --- */

/* What an earlier worker of this mount had open goes on as it was: our own
 * writes have moved the file's times, and what was written since the rows were
 * saved is known zone by zone. */
static bool take_over(struct image *img)
{
	struct worker *w = img->w;
	struct pfs_image_row row;

	if (pfs_catalog_image_find(w->catalog, img->path, &row) ||
	    !state_image_is_open(w->state, row.id, img->dev, img->ino,
				 &img->epoch))
		return false;
	img->id = row.id;
	atomic_store(&img->is_marked, pfs_marks_found(w->marks, row.id));
	atomic_store(&img->was_touched, atomic_load(&img->is_marked));
	return true;
}

/* A mark found that nobody of this mount made: its rows may be lies (I5). */
static int drop_if_marked(struct image *img)
{
	struct worker *w = img->w;
	int err;

	if (!pfs_marks_found(w->marks, img->id))
		return 0;
	pfs_log(PFS_LOG_WARNING, "image",
		"%s was open for writing at a crash: its chunks are dropped",
		img->path);
	pfs_count(PFS_C_IMAGE_DIRTY_DROP, 1);
	err = pfs_catalog_image_bump(w->catalog, img->id, &img->ident,
				     &img->epoch);
	if (!err)
		err = pfs_marks_clear(w->marks, img->id);
	return err;
}

static int look_up(struct image *img)
{
	struct worker *w = img->w;
	enum pfs_image_verdict verdict;
	struct pfs_image_row row;
	int err;

	if (take_over(img))
		return 0;
	err = pfs_catalog_image_open(w->catalog, img->path, &img->ident, false,
				     &row, &verdict);
	if (err)
		return err;
	img->id = row.id;
	img->epoch = row.epoch;
	if (verdict == PFS_IMAGE_CHANGED) {
		pfs_count(PFS_C_IMAGE_CHANGED, 1);
		pfs_log(PFS_LOG_INFO, "image",
			"%s is not as it was left: its chunks are dropped",
			img->path);
	}
	return drop_if_marked(img);
}

static int load_zone(void *arg, uint32_t zone, const void *blob, size_t len)
{
	struct image *img = arg;
	int err;

	if (state_zone_is_marked(img->w->state, img->id, zone)) {
		pfs_count(PFS_C_ZONE_DIRTY_DROP, 1);
		/* Written, so its identity record is behind. */
		atomic_store(&img->was_touched, true);
		err = pfs_store_image_void(img->sto, zone);
	} else {
		err = pfs_store_image_load(img->sto, zone, blob, len);
	}
	if (err && err != -EBADMSG)
		img->load_err = err;
	return img->load_err;
}

static int attach(struct image *img)
{
	struct worker *w = img->w;
	struct pfs_store_image *sto;
	int err;

	if (!state_image_opened(w->state, img->id, img->epoch, img->dev,
				img->ino))
		return -ENOSPC;
	err = pfs_store_image_attach(w->store, img->id, img->epoch, img->src,
				     &sto);
	if (err)
		return err;
	img->sto = sto;
	/* Rows of an earlier use may still be on their way. */
	err = pfs_catalog_flush(w->catalog);
	if (!err)
		err = pfs_catalog_zones_load(w->catalog, img->id, img->epoch,
					     load_zone, img);
	if (!err)
		err = img->load_err;
	/* A zone that is not loaded could not be kept true. */
	if (err)
		pfs_store_image_expel(sto);
	return err;
}

/* Sparse images: which chunks need not be read at all. */
static void scan_holes(struct image *img)
{
	uint64_t gen = pfs_store_generation(img->w->store);
	uint64_t end = pfs_now_ns() + HOLE_SCAN_NS;
	off_t size = (off_t)atomic_load(&img->size), at = 0;
	struct stat st;

	if (fstat(img->fd, &st) || st.st_blocks * 512 >= st.st_size)
		return;
	for (uint32_t i = 0; i < HOLE_EXTENTS_MAX && at < size; i++) {
		off_t hole = lseek(img->fd, at, SEEK_HOLE), data;

		if (hole < 0 || hole >= size || pfs_now_ns() > end)
			return;
		data = lseek(img->fd, hole, SEEK_DATA);
		if (data < 0)
			data = errno == ENXIO ? size : hole;
		if (data <= hole)
			return;
		pfs_store_image_holes(img->sto, (uint64_t)hole,
				      (uint64_t)(data - hole), gen);
		at = data;
	}
}

static void scan_task(void *arg)
{
	struct image *img = arg;

	scan_holes(img);
	image_put(img);
}

static void free_image(struct image *img)
{
	pfs_source_put(img->src);
	if (img->fd >= 0)
		close(img->fd);
	pfs_mutex_fini(&img->session);
	free(img->path);
	free(img);
}

static int reopen_for_reading(int fd, int *out)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*out = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return *out < 0 ? -errno : 0;
}

static bool is_readable(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && !(flags & O_PATH) &&
	       (flags & O_ACCMODE) != O_WRONLY;
}

static int dup_of(int fd, int *out)
{
	*out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *out < 0 ? -errno : 0;
}

static int make_image(struct worker *w, int fd, const struct stat *st,
		      const char *path, struct image **out)
{
	struct image *img = pfs_zalloc(1, sizeof(*img));
	int err;

	if (!img)
		return -ENOMEM;
	img->w = w;
	img->fd = -1;
	img->dev = st->st_dev;
	img->ino = st->st_ino;
	img->n_refs = 1;
	pfs_mutex_init(&img->session, PFS_RANK_IMAGE);
	img->path = strdup(path);
	err = img->path ? reopen_for_reading(fd, &img->fd) : -ENOMEM;
	if (err && err != -ENOMEM && is_readable(fd))
		err = dup_of(fd, &img->fd); /* the name is gone, or its mode */
	if (!err)
		err = pfs_source_from_fd(img->fd, &img->src);
	if (!err)
		err = identity_of(w, img->fd, &img->ident);
	if (err) {
		free_image(img);
		return err;
	}
	/* Every read is a chunk of its own choosing: no readahead here. */
	(void)posix_fadvise(img->fd, 0, 0, POSIX_FADV_RANDOM);
	atomic_store(&img->size, img->ident.size);
	*out = img;
	return 0;
}

/* Catalog and store are help, not need: without them the image is served past
 * the store. */
static void find_chunks(struct image *img)
{
	int err = look_up(img);

	if (!err && img->w->store)
		err = attach(img);
	if (err)
		pfs_log(PFS_LOG_WARNING, "image",
			"%s is served past the store: %s", img->path,
			strerror(-err));
	/* Nobody tracks what is written to it now: the next worker must look
	 * at the file before it believes a row. */
	if (!img->sto)
		state_file_closed(img->w->state, img->dev, img->ino);
}

/* --- the table --- */

int image_table_create(struct worker *w)
{
	struct image_table *t = pfs_zalloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pfs_mutex_init(&t->lock, PFS_RANK_IMAGES);
	w->images = t;
	return 0;
}

void image_table_destroy(struct worker *w)
{
	if (!w->images)
		return;
	image_unload_unused(w, true);
	pfs_mutex_fini(&w->images->lock);
	free(w->images);
	w->images = NULL;
}

static struct image **bucket_of(struct image_table *t, uint64_t dev,
				uint64_t ino)
{
	return &t->bucket[pfs_mix64(dev ^ pfs_mix64(ino)) % N_BUCKETS];
}

static bool is_known(void *arg, uint64_t dev, uint64_t ino)
{
	struct image_table *t = arg;
	struct image *img;
	bool is_found;

	pfs_mutex_lock(&t->lock);
	img = *bucket_of(t, dev, ino);
	while (img && (img->dev != dev || img->ino != ino))
		img = img->next;
	is_found = img && img->n_refs;
	pfs_mutex_unlock(&t->lock);
	return is_found;
}

void image_table_recovered(struct worker *w)
{
	state_images_keep_open(w->state, is_known, w->images);
}

/* It lingered: as if it were opened anew, but for what is still in RAM.  The
 * caller looks at its identity next. */
static void come_back(struct image *img)
{
	for (int o = 0; o <= PFS_READ_DIRECT; o++)
		atomic_store(&img->n_by_outcome[o], 0);
	atomic_store(&img->read_bytes, 0);
	atomic_store(&img->write_bytes, 0);
	img->bytes_seen = 0;
	if (img->sto && !state_image_opened(img->w->state, img->id, img->epoch,
					    img->dev, img->ino))
		pfs_store_image_expel(img->sto);
}

static int revalidate(struct image *img, int fd);

int image_get(struct worker *w, int fd, const char *path, struct image **out)
{
	struct image_table *t = w->images;
	struct image **bucket, *img;
	bool is_new = false;
	struct stat st;
	int err = 0;

	if (fstat(fd, &st))
		return -errno;
	/* Held while an image comes into use: its second opener waits. */
	pfs_mutex_lock(&t->lock);
	bucket = bucket_of(t, st.st_dev, st.st_ino);
	for (img = *bucket; img; img = img->next)
		if (img->dev == st.st_dev && img->ino == st.st_ino)
			break;
	if (img) {
		if (!img->n_refs++)
			come_back(img);
	} else {
		err = make_image(w, fd, &st, path, &img);
		if (!err) {
			find_chunks(img);
			img->next = *bucket;
			*bucket = img;
			t->n++;
			is_new = true;
		}
	}
	pfs_mutex_unlock(&t->lock);
	if (err)
		return err;
	if (!is_new && revalidate(img, fd) && img->sto)
		pfs_store_image_expel(img->sto);
	if (is_new && img->sto) {
		image_ref(img);
		if (pool_task(w->pool, scan_task, img))
			image_put(img); /* busy: holes are read as data */
	}
	*out = img;
	return 0;
}

void image_ref(struct image *img)
{
	struct image_table *t = img->w->images;

	pfs_mutex_lock(&t->lock);
	img->n_refs++;
	pfs_mutex_unlock(&t->lock);
}

static void end_session(struct image *img);

void image_meta_changed(struct image *img)
{
	struct pfs_identity now;

	pfs_mutex_lock(&img->session);
	if (!atomic_load(&img->was_touched) &&
	    !identity_of(img->w, img->fd, &now)) {
		/* Another host's write at this very moment is not seen: it is
		 * excluded while we have the image open, see pfs(8). */
		img->ident = now;
		img->is_unrecorded = true;
	}
	pfs_mutex_unlock(&img->session);
}

struct image *image_get_known(struct worker *w, int fd, const char *path)
{
	struct pfs_image_row row;
	struct image *img = NULL;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    (!is_known(w->images, st.st_dev, st.st_ino) &&
	     pfs_catalog_image_find(w->catalog, path, &row)))
		return NULL;
	return image_get(w, fd, path, &img) ? NULL : img;
}

static int record_identity(struct image *img, const struct pfs_identity *id)
{
	struct pfs_catalog *c = img->w->catalog;
	struct pfs_catalog_batch *b;
	int err = pfs_catalog_batch_create(c, &b);

	if (err)
		return err;
	err = pfs_catalog_batch_identity(b, img->id, img->epoch, id);
	if (err) {
		pfs_catalog_batch_destroy(b);
		return err;
	}
	return pfs_catalog_submit(c, b, true, NULL, NULL);
}

/* The last user is about to leave: let the catalog know what the file is. */
static void settle_identity(struct image *img)
{
	struct pfs_identity now;
	int err = 0;

	pfs_mutex_lock(&img->session);
	if (img->is_unrecorded && !img->is_gone && img->id &&
	    !atomic_load(&img->was_touched)) {
		identity_let_age(&img->ident);
		err = identity_of(img->w, img->fd, &now);
		if (!err && identity_same_file(&img->ident, &now))
			err = record_identity(img, &now);
		if (err)
			pfs_log(PFS_LOG_INFO, "image", "%s will start cold: %s",
				img->path, strerror(-err));
		img->is_unrecorded = false;
	}
	pfs_mutex_unlock(&img->session);
}

static bool is_last_user(struct image *img)
{
	bool is_last;

	pfs_mutex_lock(&img->w->images->lock);
	is_last = img->n_refs == 1;
	pfs_mutex_unlock(&img->w->images->lock);
	return is_last;
}

/* From now on the file may be changed by others without our knowing: the next
 * worker must not take the image over unseen. */
static void note_unused(struct image *img)
{
	img->idle_ns = pfs_now_ns();
	if (!img->w->is_handover && img->id)
		state_image_closed(img->w->state, img->id);
}

void image_put(struct image *img)
{
	struct image_table *t = img->w->images;

	/* While somebody still holds it: the lock below is the table's, and
	 * ending a session takes its time. */
	if (!img->w->is_handover && atomic_load(&img->is_marked) &&
	    !atomic_load(&img->n_writers))
		end_session(img);
	if (!img->w->is_handover && is_last_user(img))
		settle_identity(img);

	pfs_mutex_lock(&t->lock);
	if (!--img->n_refs)
		note_unused(img);
	pfs_mutex_unlock(&t->lock);
}

/* Under the table's lock: who opens the file next must find its rows saved, or
 * in the queue that it waits for. */
static void unload_locked(struct image_table *t, struct image **at)
	PFS_REQUIRES(t->lock)
{
	struct image *img = *at;

	*at = img->next;
	t->n--;
	if (img->sto)
		pfs_store_image_detach(img->sto);
	free_image(img);
}

void image_unload_unused(struct worker *w, bool all)
{
	struct image_table *t = w->images;
	uint64_t now = pfs_now_ns();

	pfs_mutex_lock(&t->lock);
	for (uint32_t i = 0; i < N_BUCKETS && t->n; i++) {
		struct image **at = &t->bucket[i];

		while (*at) {
			struct image *img = *at;

			if (!img->n_refs &&
			    (all || now - img->idle_ns >= LINGER_NS))
				unload_locked(t, at);
			else
				at = &img->next;
		}
	}
	pfs_mutex_unlock(&t->lock);
}

/* --- write sessions --- */

void image_writer_opened(struct image *img)
{
	atomic_fetch_add(&img->n_writers, 1);
}

void image_writer_closed(struct image *img)
{
	if (atomic_fetch_sub(&img->n_writers, 1) == 1 && !img->w->is_handover &&
	    atomic_load(&img->is_marked))
		end_session(img);
}

/* Sync, look, save.  Holding `session` keeps a new session from beginning: its
 * first mutation waits in begin_session(). */
static int save_session_locked(struct image *img) PFS_REQUIRES(img->session)
{
	struct worker *w = img->w;
	struct pfs_identity id;
	int err = pfs_io_fdatasync(PFS_FP_SOURCE_FSYNC, img->fd);

	if (!err)
		err = identity_of(w, img->fd, &id);
	if (err)
		return err;
	identity_let_age(&id);
	err = identity_of(w, img->fd, &id);
	if (err)
		return err;
	if (img->sto) {
		bool keep =
			!img->is_gone && !pfs_store_image_expelled(img->sto);

		err = pfs_store_image_save(img->sto, keep ? &id : NULL);
		if (!err && keep)
			img->ident = id;
	}
	return err;
}

static void end_session(struct image *img)
{
	int err;

	pfs_mutex_lock(&img->session);
	if (!atomic_load(&img->is_marked)) {
		pfs_mutex_unlock(&img->session);
		return;
	}
	/* From here on a mutation that begins waits for `session`; one that
	 * has begun is seen in n_active.  Both are sequentially consistent:
	 * either it sees the mark fallen or we see it active. */
	atomic_store(&img->is_marked, false);
	if (atomic_load(&img->n_active) || atomic_load(&img->n_writers)) {
		atomic_store(&img->is_marked, true);
		pfs_mutex_unlock(&img->session);
		return;
	}
	err = save_session_locked(img);
	if (!err)
		err = pfs_marks_clear(img->w->marks, img->id);
	if (err) {
		pfs_log(PFS_LOG_WARNING, "image",
			"%s stays marked as open for writing: %s", img->path,
			strerror(-err));
		atomic_store(&img->is_marked, true);
	} else {
		atomic_store(&img->was_touched, false);
	}
	pfs_mutex_unlock(&img->session);
}

/* The slow part of the first mutation.  What cannot be marked in time leaves
 * the store, and its identity record stays behind its bytes, so that it is
 * dropped whenever it comes back. */
static void begin_session(struct image *img)
{
	int err;

	pfs_mutex_lock(&img->session);
	/* Again: a session that ended just now has reset it. */
	atomic_store(&img->was_touched, true);
	if (!atomic_load(&img->is_marked)) {
		err = pfs_marks_set(img->w->marks, img->id,
				    pfs_now_ns() + MARK_WAIT_NS);
		if (!err) {
			atomic_store(&img->is_marked, true);
		} else if (!pfs_store_image_expelled(img->sto)) {
			pfs_count(PFS_C_MARK_LATE, 1);
			pfs_log(PFS_LOG_WARNING, "image",
				"%s leaves the store: its mark is not durable "
				"in time: %s",
				img->path, strerror(-err));
			pfs_store_image_expel(img->sto);
		}
	}
	pfs_mutex_unlock(&img->session);
}

/* --- mutations --- */

static void mark_zones(struct image *img, const struct pfs_mutation *m)
{
	uint64_t last =
		PFS_MIN(m->last / PFS_ZONE_CHUNKS, (uint64_t)UINT32_MAX);
	uint64_t first = PFS_MIN(m->first / PFS_ZONE_CHUNKS, last);

	if (!state_zone_mark(img->w->state, img->id, (uint32_t)first,
			     (uint32_t)last))
		pfs_store_image_expel(img->sto);
}

void image_mutate_begin(struct image *img, uint64_t off, uint64_t len,
			struct image_mutation *m)
{
	uint64_t size = atomic_load(&img->size), start = PFS_MIN(off, size);
	uint64_t end = off + len < off ? UINT64_MAX : off + len;

	*m = (struct image_mutation){.off = off,
				     .is_in_store = img->sto != NULL};
	atomic_fetch_add(&img->n_active, 1);
	atomic_store(&img->was_touched, true);
	if (!img->sto)
		return;
	/* Growth begins at the old last chunk, which was padded with zeros. */
	if (end <= size)
		start = off;
	pfs_store_mutate_begin(img->sto, start,
			       end == UINT64_MAX ? UINT64_MAX : end - start,
			       &m->store);
	mark_zones(img, &m->store);
	if (!atomic_load(&img->is_marked) &&
	    !pfs_store_image_expelled(img->sto))
		begin_session(img);
}

void image_mutate_end(struct image *img, struct image_mutation *m,
		      uint64_t new_size, const void *bytes, size_t n_bytes)
{
	/* Before the second invalidation: what is read after it is cut to the
	 * new size. */
	if (new_size != UINT64_MAX)
		atomic_store(&img->size, new_size);
	if (bytes)
		atomic_fetch_add(&img->write_bytes, n_bytes);
	if (m->is_in_store)
		pfs_store_mutate_end(&m->store, m->off, bytes, n_bytes);
	if (atomic_fetch_sub(&img->n_active, 1) == 1 &&
	    !atomic_load(&img->n_writers) && atomic_load(&img->is_marked) &&
	    !img->w->is_handover)
		end_session(img); /* a truncation by name */
}

void image_grew(struct image *img, uint64_t end)
{
	uint64_t size = atomic_load(&img->size);

	while (size < end &&
	       !atomic_compare_exchange_weak(&img->size, &size, end))
		;
}

uint64_t image_size(const struct image *img)
{
	return atomic_load(&img->size);
}

void image_gone(struct image *img)
{
	pfs_mutex_lock(&img->session);
	img->is_gone = true;
	if (img->sto)
		pfs_store_image_expel(img->sto);
	pfs_mutex_unlock(&img->session);
}

static void raise_epoch_locked(struct image *img,
			       const struct pfs_identity *now)
	PFS_REQUIRES(img->session)
{
	struct worker *w = img->w;
	int err;

	pfs_count(PFS_C_IMAGE_CHANGED, 1);
	pfs_log(PFS_LOG_INFO, "image",
		"%s was changed behind this mount: its chunks are dropped",
		img->path);
	err = pfs_catalog_image_bump(w->catalog, img->id, now, &img->epoch);
	if (err) {
		pfs_store_image_expel(img->sto);
		return;
	}
	pfs_store_image_reset(img->sto, img->epoch);
	if (!state_image_opened(w->state, img->id, img->epoch, img->dev,
				img->ino))
		pfs_store_image_expel(img->sto);
}

/* -errno: it could not be looked at. */
static int revalidate(struct image *img, int fd)
{
	struct pfs_identity now;
	int err;

	/* During a write session our own writes move the times. */
	if (atomic_load(&img->was_touched))
		return 0;
	pfs_mutex_lock(&img->session);
	err = identity_of(img->w, fd, &now);
	/* Asked after the look: a mutation that began before it counts. */
	if (!err && !atomic_load(&img->was_touched) &&
	    !identity_same_file(&img->ident, &now)) {
		atomic_store(&img->size, now.size);
		img->ident = now;
		inval_file(img->w, img->dev, img->ino);
		if (img->sto && img->id && !img->is_gone)
			raise_epoch_locked(img, &now);
	}
	pfs_mutex_unlock(&img->session);
	return err;
}

void image_revalidate(struct image *img, int fd)
{
	/* A source that does not answer is no reason to forget its chunks. */
	(void)revalidate(img, fd);
}

/* Reads from the kernel's pages are not seen here. */
static bool was_read(struct image *img)
{
	uint64_t bytes = atomic_load(&img->read_bytes);
	bool is_more = bytes != img->bytes_seen;

	img->bytes_seen = bytes;
	return is_more || img->w->opt.page_cache;
}

/* Images that were read since they were last looked at, each with a reference;
 * *out is malloc'ed. */
static uint32_t take_read_ones(struct image_table *t, struct image ***out)
{
	uint32_t got = 0;

	pfs_mutex_lock(&t->lock);
	*out = t->n ? calloc(t->n, sizeof(struct image *)) : NULL;
	for (uint32_t i = 0; i < N_BUCKETS && *out; i++)
		for (struct image *img = t->bucket[i]; img; img = img->next) {
			if (!img->n_refs || !was_read(img))
				continue;
			img->n_refs++;
			(*out)[got++] = img;
		}
	pfs_mutex_unlock(&t->lock);
	return got;
}

void image_revalidate_some(struct worker *w)
{
	PFS_AUTO_FREE struct image **img = NULL;
	uint32_t n = take_read_ones(w->images, &img);

	for (uint32_t i = 0; i < n; i++) {
		image_revalidate(img[i], img[i]->fd);
		image_put(img[i]);
	}
}

void image_zone_saved(void *worker, uint64_t image, uint32_t zone)
{
	struct worker *w = worker;

	state_zone_clear(w->state, image, zone);
}

/* --- for the data threads --- */

uint64_t image_id(const struct image *img)
{
	return img->id;
}

struct pfs_store_image *image_store(const struct image *img)
{
	return img->sto;
}

struct pfs_source *image_source(const struct image *img)
{
	return img->src;
}

void image_note_read(struct image *img, const struct pfs_read *r)
{
	atomic_fetch_add_explicit(&img->n_by_outcome[r->outcome], 1,
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&img->read_bytes, r->len,
				  memory_order_relaxed);
}

void image_note_write(struct image *img, uint64_t vm, uint32_t handle,
		      uint64_t off, uint64_t len, uint64_t start_ns)
{
	const struct event e = {
		.kind = EVENT_WRITE,
		.time_ns = start_ns,
		.latency_ns = pfs_now_ns() - start_ns,
		.image = img->id,
		.vm = vm,
		.off = off,
		.len = len,
		.handle = handle,
	};

	events_put(img->w->events, &e, false);
}

/* --- looking at it --- */

static uint64_t by_outcome(const struct image *img, enum pfs_read_outcome o)
{
	return atomic_load_explicit(&img->n_by_outcome[o],
				    memory_order_relaxed);
}

static void describe(const struct image *img, struct image_info *info)
{
	*info = (struct image_info){
		.id = img->id,
		.epoch = img->epoch,
		.size = atomic_load(&img->size),
		.n_hits = by_outcome(img, PFS_READ_HIT),
		.n_late = by_outcome(img, PFS_READ_LATE),
		.n_misses = by_outcome(img, PFS_READ_MISS),
		.read_bytes = atomic_load(&img->read_bytes),
		.write_bytes = atomic_load(&img->write_bytes),
		.n_handles = img->n_refs,
		.n_writers = atomic_load(&img->n_writers),
		.is_marked = atomic_load(&img->is_marked),
		.is_expelled = img->sto && pfs_store_image_expelled(img->sto),
	};
	for (int o = 0; o <= PFS_READ_DIRECT; o++)
		info->n_reads += by_outcome(img, (enum pfs_read_outcome)o);
	(void)snprintf(info->path, sizeof(info->path), "%s", img->path);
}

int image_each(struct worker *w,
	       int (*fn)(void *arg, const struct image_info *info), void *arg)
{
	struct image_table *t = w->images;
	struct image_info *info = malloc(sizeof(*info));
	int stop = info ? 0 : -ENOMEM;

	pfs_mutex_lock(&t->lock);
	for (uint32_t i = 0; i < N_BUCKETS && !stop; i++)
		for (struct image *img = t->bucket[i]; img && !stop;
		     img = img->next) {
			if (!img->n_refs)
				continue; /* lingers */
			describe(img, info);
			stop = fn(arg, info);
		}
	pfs_mutex_unlock(&t->lock);
	free(info);
	return stop;
}
