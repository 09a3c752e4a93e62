/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/image.h - one served image file: its size, its chunks, its writes.
 *
 * There is one struct image per source inode in use (two hard links of the
 * source are one image), shared by every handle on it.  All changes to the
 * bytes of an image go through image_mutate_begin() and image_mutate_end():
 * the one function of I1.
 *
 * Threads  every call is safe from any thread but may block on catalog and
 *          marks unless it says otherwise: call it from pool threads.
 */
#ifndef PFS_FS_IMAGE_H
#define PFS_FS_IMAGE_H

#include <stdatomic.h>
#include <sys/stat.h>

#include <pfs/base.h>
#include <pfs/mutex.h>
#include <pfs/store.h>

struct worker;
struct image;

/** Get the image of an opened source file: fd is any descriptor of it
 *  (borrowed), path its name below the source root.  Looks at its identity,
 *  loads its zones.  Never fails for the catalog's or store's sake: then the
 *  image is served past the store.  Takes one reference. */
int image_get(struct worker *w, int fd, const char *path,
	      struct image **out) PFS_MUST_CHECK;
void image_ref(struct image *img);
/** An image that somebody has open, by its number in the catalog; one
 *  reference.  NULL: there is none. */
struct image *image_find(struct worker *w, uint64_t id);
/** The last put ends the write session (if any); the image lingers for 2 s. */
void image_put(struct image *img);
/** The same for one who has written nothing and must not wait: source and
 *  catalog are waited for by a pool thread. */
void image_put_soon(struct image *img);

/** Handles open for writing; the write session ends with the last. */
void image_writer_opened(struct image *img);
void image_writer_closed(struct image *img);

/** Current size in bytes as acknowledged to guests.  Lock-free. */
uint64_t image_size(const struct image *img);

/** A change of bytes under way; on the caller's stack. */
struct image_mutation {
	uint64_t off;
	bool is_in_store;
	struct pfs_mutation store;
};

/** Announce a change of [off, off + len) (len UINT64_MAX: to the end of
 *  everything): sets the durable mark and the zone marks, drops the chunks,
 *  detaches fetches.  Never fails: what cannot be marked leaves the store. */
void image_mutate_begin(struct image *img, uint64_t off, uint64_t len,
			struct image_mutation *m);
/** The source call has returned.  Follows the size, drops and detaches again.
 *  bytes: what was written at m->off (n_bytes of them) if it was a successful
 *  write, for filling whole chunks from it; else NULL. */
void image_mutate_end(struct image *img, struct image_mutation *m,
		      const void *bytes, size_t n_bytes);

/** Mode, owner, times or name of the file were changed through this mount, its
 *  bytes were not: the identity record follows, so that its chunks are still
 *  good at the next open (libvirt gives an image to another user at every
 *  start).  The image was got before the change. */
void image_meta_changed(struct image *img);
/** image_get() for that: NULL for a file that is neither in use nor known to
 *  the catalog, which has nothing to lose.  fd may be O_PATH. */
struct image *image_get_known(struct worker *w, int fd, const char *path);

/** The file was unlinked or replaced by a rename: forget chunks (durably);
 *  open handles go on past the store. */
void image_gone(struct image *img);

/** Look at the source file again (after a lock was acquired, or now and
 *  then): when it was changed by others, drop its chunks and raise the epoch.
 *  fd: any descriptor of it. */
void image_revalidate(struct image *img, int fd);

/* --- for the data threads: lock-free --- */

/** Its number in the catalog; 0: the catalog does not know it. */
uint64_t image_id(const struct image *img);
/** Was its file changed by others since it was last in use?  True once. */
bool image_take_changed(struct image *img);
struct pfs_source;
/** NULL: the image is served past the store. */
struct pfs_store_image *image_store(const struct image *img);
struct pfs_source *image_source(const struct image *img);
/** Count one answered read. */
struct pfs_read;
void image_note_read(struct image *img, const struct pfs_read *r);
/** Tell the predictor that bytes were changed (also if only some were), by a
 *  VM (0: whoever) through the handle in this row.  start_ns: when the call
 *  began. */
void image_note_write(struct image *img, uint64_t vm, uint32_t handle,
		      uint64_t off, uint64_t len, uint64_t start_ns);

/* --- for worker.c --- */

int image_table_create(struct worker *w) PFS_MUST_CHECK;
/** All handles of earlier workers were taken up: files that are not in use any
 *  more may have been changed by others meanwhile. */
void image_table_recovered(struct worker *w);
/** All images were put. */
void image_table_destroy(struct worker *w);
/** Once a second: forget images that nobody has used for 2 s, or all. */
void image_unload_unused(struct worker *w, bool all);
/** Once a second: end the write sessions whose end has failed. */
void image_retry_sessions(struct worker *w);
/** Once a second: image_revalidate() for images that are being read. */
void image_revalidate_some(struct worker *w);
/** Called by the catalog's thread: a zone's row is saved. */
void image_zone_saved(void *worker, uint64_t image, uint32_t zone);

/** What pfsctl images tells of an image in use. */
struct image_info {
	char path[4096];
	uint64_t id, epoch, size;
	uint64_t n_reads, n_hits, n_late, n_misses; /* since attach */
	uint64_t read_bytes, write_bytes;
	uint32_t n_handles, n_writers;
	bool is_marked; /* open for writing, mark set */
	bool is_expelled;
};

/** Call fn for every image in use; fn returns nonzero to stop. */
int image_each(struct worker *w,
	       int (*fn)(void *arg, const struct image_info *info), void *arg);

#endif
