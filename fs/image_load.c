/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An image coming into use: its file, its identity, its chunks and its holes.
 * None of it is done under a lock of others.
 */
#include "image_priv.h"

#include <fcntl.h>
#include <string.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/io.h>
#include <pfs/log.h>
#include <pfs/source.h>

#include "identity.h"
#include "pins.h"

#define HOLE_EXTENTS_MAX 4096u
#define HOLE_SCAN_NS (200 * PFS_NSEC_PER_MSEC)

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
		atomic_store(&img->was_changed, true);
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
	else
		pins_load(w, img->id, image_size(img), sto);
	return err;
}

/* Sparse images: which chunks need not be read at all. */
void image_scan_holes(struct image *img)
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

void image_free(struct image *img)
{
	pfs_source_put(img->src);
	if (img->fd >= 0)
		close(img->fd);
	pfs_cond_fini(&img->left);
	pfs_mutex_fini(&img->lock);
	pfs_mutex_fini(&img->size_lock);
	free(img->path);
	free(img);
}

static int reopen_for_reading(int fd, int *out)
{
	char path[64];
	int flags;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	*out = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*out < 0)
		return -errno;
	/* It was for the open alone: some file systems answer a read that
	 * would have to wait with EAGAIN. */
	flags = fcntl(*out, F_GETFL);
	if (flags >= 0)
		(void)fcntl(*out, F_SETFL, flags & ~O_NONBLOCK);
	return 0;
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

struct image *image_new(struct worker *w, const struct stat *st,
			const char *path)
{
	struct image *img = pfs_zalloc(1, sizeof(*img));

	if (!img)
		return NULL;
	img->w = w;
	img->fd = -1;
	img->dev = st->st_dev;
	img->ino = st->st_ino;
	img->n_refs = 1;
	img->is_loading = true;
	pfs_mutex_init(&img->size_lock, PFS_RANK_IMAGE);
	pfs_mutex_init(&img->lock, PFS_RANK_IMAGE);
	pfs_cond_init(&img->left);
	img->path = strdup(path);
	if (!img->path) {
		image_free(img);
		return NULL;
	}
	return img;
}

static int open_file(struct image *img, int fd)
{
	int err = reopen_for_reading(fd, &img->fd);

	if (err && is_readable(fd))
		err = dup_of(fd, &img->fd); /* the name is gone, or its mode */
	if (!err)
		err = pfs_source_from_fd(img->fd, &img->src);
	if (!err)
		err = identity_of(img->w, img->fd, &img->ident);
	if (err)
		return err;
	/* Every read is a chunk of its own choosing: no readahead here. */
	(void)posix_fadvise(img->fd, 0, 0, POSIX_FADV_RANDOM);
	atomic_store(&img->size, img->ident.size);
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

int image_bring_in(struct image *img, int fd)
{
	int err = open_file(img, fd);

	if (!err)
		find_chunks(img);
	return err;
}
