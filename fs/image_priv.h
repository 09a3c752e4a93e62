/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/image_priv.h - an image in use, for image*.c only.
 *
 * image.c        the table, references, looking at it
 * image_load.c   coming into use
 * image_write.c  write sessions, mutations, changes by others
 */
#ifndef PFS_FS_IMAGE_PRIV_H
#define PFS_FS_IMAGE_PRIV_H

#include <pfs/lane.h>
#include <pfs/source.h>

#include "image.h"
#include "worker.h"

struct image {
	struct image *next; /* bucket */
	struct worker *w;
	uint64_t dev, ino;
	char *path; /* owned: as it was opened */
	int fd;     /* owned: for reading, also for fdatasync */
	struct pfs_source *src;
	struct pfs_store_image *sto; /* NULL: past the store */
	uint64_t id;                 /* 0: the catalog does not know it */
	_Atomic bool was_changed;    /* found when it came into use */
	uint32_t n_refs;             /* under the table's lock; 0: lingering */
	uint64_t idle_ns;            /* since when; under the table's lock */
	bool is_loading;             /* under the table's lock: keep off */
	int load_err;                /* while coming into use */

	_Atomic uint64_t size;     /* see look_at_size() */
	_Atomic bool is_marked;    /* the durable mark is set */
	_Atomic bool was_touched;  /* by us, since the identity was recorded */
	_Atomic bool is_late;      /* changed without a mark: for good */
	_Atomic bool is_retrying;  /* a task is ending the session */
	_Atomic uint32_t n_active; /* mutations under way */
	_Atomic uint64_t n_begun;  /* mutations ever */
	_Atomic uint32_t n_writers;
	_Atomic uint64_t n_by_outcome[PFS_READ_DIRECT + 1];
	_Atomic uint64_t read_bytes, write_bytes;
	uint64_t bytes_seen; /* under the table's lock */

	struct pfs_mutex size_lock; /* changes of size */
	struct pfs_mutex lock;
	struct pfs_cond left; /* is_entered fell */
	/* --- under lock --- */
	bool is_entered;
	/* --- by who has entered the session --- */
	uint64_t epoch;
	struct pfs_identity ident; /* as last recorded or seen */
	bool is_gone;
	bool is_unrecorded; /* ident is newer than the catalog's */
};

/* --- image_load.c --- */

/** An image that is loading, not in the table yet, with one reference; NULL
 *  without memory. */
struct image *image_new(struct worker *w, const struct stat *st,
			const char *path);
void image_free(struct image *img);
/** fd: any descriptor of the file.  No lock may be held. */
int image_bring_in(struct image *img, int fd) PFS_MUST_CHECK;
/** Find out which chunks of a sparse file need not be read at all. */
void image_scan_holes(struct image *img);

/* --- image_write.c --- */

/** End the write session, if there is one and nobody writes. */
void image_end_session(struct image *img);
/** The last user is about to leave: let the catalog know what the file is. */
void image_settle_identity(struct image *img);
/** image_revalidate() that tells: -errno, it could not be looked at. */
int image_look_again(struct image *img, int fd) PFS_MUST_CHECK;

#endif
