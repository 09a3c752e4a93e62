/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/catalog.h - what pfs remembers about images, in SQLite.
 *
 * The catalog keeps the store's uuid, the generation high-water mark, a row
 * for each image (its identity and epoch), one row for each zone of resident
 * chunks (an opaque BLOB, encoded and checked by cache/) and the segment
 * table; beside these, what was learned of an image (recordings, opaque too)
 * and what of it is asked to stay in the store (pins), which outlive its
 * chunks.  It is never needed to answer a read: a catalog that is corrupt,
 * foreign, newer or locked is set aside and pfs starts cold, in a new file or,
 * where none can be made, in memory.  Every row carries a checksum, so a
 * flipped bit costs the row (or, in the row of the store itself, the whole
 * catalog) and never a wrong answer.
 *
 * A catalog that turns out to be corrupt while it is in use fails as a whole:
 * from then on calls return -EIO at once, and the next start sets it aside.
 *
 * Units    times are nanoseconds, CLOCK_REALTIME.
 * Errors   0 or -errno.  SQLite's codes do not leave this folder.  Any call
 *          that touches the database may return
 *          -EIO     the disk failed, or the catalog has failed (see above)
 *          -ENOSPC  the disk or the catalog's own size limit is full
 *          -EROFS   the disk has become read-only
 *          -EAGAIN  another process holds a lock on the file
 *          -ENOMEM
 *          and has then changed nothing.
 * Threads  every call is safe from any thread.  All changes are made by one
 *          writer thread in batched transactions.  Calls that change
 *          something, other than submit, wait for their transaction, and with
 *          it for the disk if anything in it is durable, so they must not be
 *          made by a thread that answers guest reads.  Callbacks must not
 *          call the catalog, except that `done` may submit.
 * Memory   pointers passed in are borrowed for the length of the call.
 */
#ifndef PFS_CATALOG_H
#define PFS_CATALOG_H

#include <pfs/base.h>

struct pfs_catalog; /* opaque; owned by whoever opened it */

#define PFS_UUID_LEN 16

/* Absent fields are recorded as absent and compare equal to absent only. */
enum pfs_identity_field {
	PFS_IDENT_FS = 1 << 0,    /* fs_id: file system UUID, or a hash of the
				   * source's configured name */
	PFS_IDENT_BTIME = 1 << 1, /* btime_ns */
};

/** What an image file was when we last trusted it (I6). */
struct pfs_identity {
	uint32_t present; /* enum pfs_identity_field */
	uint8_t fs_id[PFS_UUID_LEN];
	uint64_t ino;
	uint64_t size; /* bytes */
	int64_t btime_ns;
	int64_t mtime_ns;
	int64_t ctime_ns;
	int64_t recorded_ns; /* when this was looked at */
};

/** Does a recorded identity still hold for the file seen now?  False also
 *  when the record's ctime is younger than 20 ms at the time of recording: a
 *  later change could have kept the same time stamp.  When `now` was looked
 *  at does not matter. */
bool pfs_identity_holds(const struct pfs_identity *recorded,
			const struct pfs_identity *now);

struct pfs_catalog_config {
	const char *path;      /* database file; copied; NULL: in memory only.
				* Missing folders are made, with mode 0700 */
	uint64_t max_bytes;    /* size limit of the file; 0: 4 GiB */
	uint32_t lock_wait_ms; /* how long open waits for another process's
				* lock before it goes on in memory; 0: 2000 */
	/* Called on the writer thread, no lock held, after a transaction
	 * failed or the catalog as a whole did; may be NULL. */
	void (*on_trouble)(void *arg, int err, const char *what);
	void *arg;
};

/** How the catalog came up. */
struct pfs_catalog_state {
	/* No earlier catalog was used, so the store's uuid is new and whatever
	 * the store holds is stale. */
	bool is_fresh;
	/* Nothing will be kept.  The store must be formatted with this
	 * catalog's uuid before use, or be left alone together with the
	 * source: only the other uuid keeps a later start, that may find the
	 * old catalog again, from trusting old rows. */
	bool is_in_memory;
	char set_aside[64]; /* why an earlier one was set aside, or "" */
};

/** Open or create.  Falls back as the head of this file says, so it fails
 *  only for want of memory or threads.  A fresh catalog has a new store
 *  uuid. */
int pfs_catalog_open(const struct pfs_catalog_config *cfg,
		     struct pfs_catalog_state *state,
		     struct pfs_catalog **out) PFS_MUST_CHECK;
/** Finish what is queued, checkpoint, close.  Accepts NULL. */
void pfs_catalog_close(struct pfs_catalog *c);

/** Never touches the disk. */
void pfs_catalog_store_uuid(struct pfs_catalog *c, uint8_t out[PFS_UUID_LEN]);
/** Give the store a new uuid: every chunk in it is forgotten (zone rows and
 *  segment table are deleted in the same transaction).  Durable on return.
 *  Marks are bound to the uuid: call pfs_marks_rebind() before the store is
 *  used again. */
int pfs_catalog_renew_store(struct pfs_catalog *c,
			    uint8_t out[PFS_UUID_LEN]) PFS_MUST_CHECK;

/** Reserve n generations, n >= 1: durable on return, never handed out again.
 *  The first of them is in *first.  Starts at 1.  -EOVERFLOW past 2^63. */
int pfs_catalog_reserve_gens(struct pfs_catalog *c, uint64_t n,
			     uint64_t *first) PFS_MUST_CHECK;

struct pfs_image_row {
	uint64_t id;    /* never reused, >= 1 */
	uint64_t epoch; /* raised whenever the bytes may be others, >= 1 */
	struct pfs_identity ident;
	char *name; /* path below the source root, any bytes; owned by the
		     * row; NULL: unlinked */
};

enum pfs_image_verdict {
	PFS_IMAGE_NEW,     /* never seen under this name */
	PFS_IMAGE_SAME,    /* identity held: its chunks are good */
	PFS_IMAGE_CHANGED, /* identity differed: epoch raised, chunks dropped */
};

/** Find or make the row of an image at open.  When the identity does not hold
 *  the epoch is raised, the new identity recorded and the zone rows deleted,
 *  in one durable transaction, before this returns.  A name whose file is
 *  found under another recorded name with an identity that holds (it was
 *  renamed behind our back) takes over that row.  `drop`: raise the epoch in
 *  any case (found marked dirty).  row->name is not set.  Only one read when
 *  the identity holds.  -ENAMETOOLONG: name is PATH_MAX bytes or more. */
int pfs_catalog_image_open(struct pfs_catalog *c, const char *name,
			   const struct pfs_identity *now, bool drop,
			   struct pfs_image_row *row,
			   enum pfs_image_verdict *verdict) PFS_MUST_CHECK;

/** The row under a name as last committed, whatever its file looks like now;
 *  row->name is not set.  One read.  -ENOENT: none, or a damaged one. */
int pfs_catalog_image_find(struct pfs_catalog *c, const char *name,
			   struct pfs_image_row *row) PFS_MUST_CHECK;

/** Raise the epoch of an image and forget its chunks; durable on return.
 *  now NULL: the recorded identity stays.  -ENOENT: there is no such row, or
 *  it was damaged and is gone now. */
int pfs_catalog_image_bump(struct pfs_catalog *c, uint64_t id,
			   const struct pfs_identity *now,
			   uint64_t *epoch) PFS_MUST_CHECK;

/** Follow a rename or unlink made through the mount; names without a row are
 *  no error.  The row of a name that was renamed over or unlinked loses its
 *  chunks and is kept without a name until pfs_catalog_image_forget()
 *  (learning may outlive the file); of such rows the latest 1,024 are kept.
 *  A rename moves the file's ctime: record its identity afterwards, or the
 *  next open finds it changed.  Not durable: after a power cut the next open
 *  finds an identity that does not hold, and starts that image cold. */
int pfs_catalog_image_renamed(struct pfs_catalog *c, const char *from,
			      const char *to) PFS_MUST_CHECK;
int pfs_catalog_image_unlinked(struct pfs_catalog *c,
			       const char *name) PFS_MUST_CHECK;
/** Folder renamed: every image below it follows.  -EINVAL: into itself. */
int pfs_catalog_folder_renamed(struct pfs_catalog *c, const char *from,
			       const char *to) PFS_MUST_CHECK;
/** Delete an image's row and its zone rows.  Its id is not used again. */
int pfs_catalog_image_forget(struct pfs_catalog *c, uint64_t id) PFS_MUST_CHECK;

/** Call fn for every image row, ordered by name, those without first; fn
 *  returns nonzero to stop.  The row is valid during the call only. */
int pfs_catalog_images(struct pfs_catalog *c,
		       int (*fn)(void *arg, const struct pfs_image_row *row,
				 uint64_t n_zones, uint64_t n_chunks),
		       void *arg) PFS_MUST_CHECK;

/* --- zones and segments: written late, in batches --- */

/** Call fn for each zone row of an image at this epoch, in order of zone; fn
 *  returns nonzero to stop.  Damaged rows are left out and counted. */
int pfs_catalog_zones_load(struct pfs_catalog *c, uint64_t image,
			   uint64_t epoch,
			   int (*fn)(void *arg, uint32_t zone, const void *blob,
				     size_t len),
			   void *arg) PFS_MUST_CHECK;

/** Forget the saved chunks of an image (0: of all), and nothing else. */
int pfs_catalog_zones_drop(struct pfs_catalog *c,
			   uint64_t image) PFS_MUST_CHECK;

/** A batch of row changes that become visible in one transaction.  Used by
 *  one thread at a time. */
struct pfs_catalog_batch;

int pfs_catalog_batch_create(struct pfs_catalog *c,
			     struct pfs_catalog_batch **out) PFS_MUST_CHECK;
/** For a batch that was not submitted.  Accepts NULL. */
void pfs_catalog_batch_destroy(struct pfs_catalog_batch *b);
/** blob is copied; n_chunks is what the blob holds (for listings); n_chunks 0
 *  deletes the row.  Ignored in the transaction, and counted, if the image's
 *  epoch is not this one by then. */
int pfs_catalog_batch_zone(struct pfs_catalog_batch *b, uint64_t image,
			   uint64_t epoch, uint32_t zone, const void *blob,
			   size_t len, uint32_t n_chunks) PFS_MUST_CHECK;
/** Record what the image file is now (the record follows our own writes).
 *  Ignored in the transaction, and counted, if the row's epoch is not this
 *  one by then. */
int pfs_catalog_batch_identity(struct pfs_catalog_batch *b, uint64_t image,
			       uint64_t epoch,
			       const struct pfs_identity *now) PFS_MUST_CHECK;
#define PFS_CATALOG_RECORDING_MAX PFS_MIB(1) /* bytes */
#define PFS_CATALOG_RECORDINGS_KEPT 16u      /* for one image */

/** Keep a recording of an image under a number up to INT64_MAX, in place of
 *  what was there; blob is copied, at most PFS_CATALOG_RECORDING_MAX bytes;
 *  NULL deletes.  An image has at most PFS_CATALOG_RECORDINGS_KEPT: beyond
 *  that the lowest number leaves.  Ignored in the transaction, and counted,
 *  if the image is gone by then.  -EINVAL: number or length.  Better not in
 *  one batch with zones, which an -ENOSPC for it would take along. */
int pfs_catalog_batch_recording(struct pfs_catalog_batch *b, uint64_t image,
				uint64_t number, const void *blob,
				size_t len) PFS_MUST_CHECK;
/** The whole segment table, opaque; copied.  len 0: there is none. */
int pfs_catalog_batch_segments(struct pfs_catalog_batch *b, const void *blob,
			       size_t len) PFS_MUST_CHECK;
/** Queue the batch (takes ownership, also on error).  On success done(arg,
 *  err), which may be NULL, is called once on the writer thread, no lock held,
 *  after the commit or its failure; synchronous=FULL if is_durable.
 *  -EAGAIN: the queue is full, try later. */
int pfs_catalog_submit(struct pfs_catalog *c, struct pfs_catalog_batch *b,
		       bool is_durable, void (*done)(void *arg, int err),
		       void *arg) PFS_MUST_CHECK;

/** The segment table as last saved: *blob is malloc'ed, the caller's; NULL
 *  and 0 if there is none, or it was damaged (counted). */
int pfs_catalog_segments_load(struct pfs_catalog *c, void **blob,
			      size_t *len) PFS_MUST_CHECK;

/* --- learning and wishes ---
 *
 * They hang on the image's row, not on its epoch: neither a raised epoch nor
 * a changed identity, forgotten chunks or a renewed store touches them.  They
 * leave with the row.  When an image is renamed over, by us or behind our
 * back, the one that takes its name takes its recordings too, unless it has
 * some of its own; pins stay with the row they were made for. */

/** Call fn for each recording of an image, in order of number; fn returns
 *  nonzero to stop.  Damaged rows are left out and counted. */
int pfs_catalog_recordings_load(struct pfs_catalog *c, uint64_t image,
				int (*fn)(void *arg, uint64_t number,
					  const void *blob, size_t len),
				void *arg) PFS_MUST_CHECK;

#define PFS_CATALOG_PINS_MAX 256u /* for one image */

/** Pin first..last of an image, bytes, both included, up to INT64_MAX: kept
 *  as it is given, also when it overlaps another; durable on return.
 *  -EINVAL: range; -ENOENT: no such image; -ENOSPC: it has too many. */
int pfs_catalog_pin(struct pfs_catalog *c, uint64_t image, uint64_t first,
		    uint64_t last) PFS_MUST_CHECK;
/** Take away the pins that lie wholly inside first..last; durable on return.
 *  -ENOENT: there was none. */
int pfs_catalog_unpin(struct pfs_catalog *c, uint64_t image, uint64_t first,
		      uint64_t last) PFS_MUST_CHECK;
/** Call fn for each pin of an image, in order; fn returns nonzero to stop.
 *  Damaged rows are left out and counted. */
int pfs_catalog_pins_load(struct pfs_catalog *c, uint64_t image,
			  int (*fn)(void *arg, uint64_t first, uint64_t last),
			  void *arg) PFS_MUST_CHECK;

/** Wait until everything queued before this call is committed (or has failed,
 *  as its `done` was told).  That does not make it durable. */
int pfs_catalog_flush(struct pfs_catalog *c) PFS_MUST_CHECK;

/** Offline check: integrity_check, schema, row checksums, references.
 *  Problems are reported one by one; *n_bad is their number.  Changes
 *  nothing.  -ENOENT: no such file. */
int pfs_catalog_check(const char *path,
		      void (*report)(void *arg, const char *line), void *arg,
		      unsigned int *n_bad) PFS_MUST_CHECK;

#endif
