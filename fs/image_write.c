/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Changes of images in use.  Order of a mutation, which I1 and I5 rest on:
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
 * in one transaction, then the durable mark is cleared, but only if no mutation
 * began meanwhile.  One that did goes on under the mark that is still set, so
 * it never waits for the sync or the commit.
 */
#include "image_priv.h"

#include <fcntl.h>
#include <string.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/io.h>
#include <pfs/log.h>

#include "events.h"
#include "identity.h"
#include "inval.h"

#define MARK_WAIT_NS (50 * PFS_NSEC_PER_MSEC)

/* --- the session's lock --- */

/* Beginning and end of a write session and all that changes its fields.  Who
 * has entered may wait for the source and for the catalog; a guest's write must
 * not, so it enters with a deadline. */
static int session_enter_until(struct image *img, uint64_t deadline)
{
	int err = 0;

	pfs_mutex_lock(&img->lock);
	while (img->is_entered && !err)
		err = pfs_cond_wait_until(&img->left, &img->lock, deadline);
	if (!img->is_entered) {
		img->is_entered = true;
		err = 0;
	}
	pfs_mutex_unlock(&img->lock);
	return err;
}

static void session_enter(struct image *img)
{
	while (session_enter_until(img, UINT64_MAX))
		;
}

static void session_leave(struct image *img)
{
	pfs_mutex_lock(&img->lock);
	img->is_entered = false;
	pfs_cond_signal(&img->left);
	pfs_mutex_unlock(&img->lock);
}

/* Our own changes have moved the file's times. */
static bool is_touched(const struct image *img)
{
	return atomic_load(&img->was_touched) || atomic_load(&img->is_late);
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
		image_end_session(img);
}

/* Sync, look, save.  Mutations may begin meanwhile: what they change is saved
 * or not, as in the midst of any session. */
static int save_session(struct image *img)
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

/* Clear the mark, unless a mutation began since the n-th: then the session goes
 * on.  Both sides are sequentially consistent: either the mutation sees the
 * mark fallen, and waits in begin_session() until it is cleared, or we see its
 * number. */
static int clear_mark(struct image *img, uint64_t n)
{
	int err;

	atomic_store(&img->is_marked, false);
	if (atomic_load(&img->n_begun) != n) {
		atomic_store(&img->is_marked, true);
		return 0;
	}
	err = pfs_marks_clear(img->w->marks, img->id);
	if (err)
		atomic_store(&img->is_marked, true);
	else
		atomic_store(&img->was_touched, false);
	return err;
}

/* A mutation is counted as active before it gets its number, so all up to the
 * n-th were over when none was active: the sync that follows covers them. */
void image_end_session(struct image *img)
{
	uint64_t n;
	int err;

	session_enter(img);
	n = atomic_load(&img->n_begun);
	if (atomic_load(&img->is_marked) && !atomic_load(&img->n_active) &&
	    !atomic_load(&img->n_writers)) {
		err = save_session(img);
		if (!err)
			err = clear_mark(img, n);
		if (err)
			pfs_log_limited(PFS_LOG_WARNING, "image",
					"%s stays marked as open for writing: "
					"%s",
					img->path, strerror(-err));
	}
	session_leave(img);
}

/* Its bytes are about to differ from what any record says, and no mark tells
 * the next start so: the identity record stays behind the bytes, so that the
 * image is dropped whenever it comes back. */
static void leave_store(struct image *img, int err)
{
	atomic_store(&img->is_late, true);
	if (pfs_store_image_expelled(img->sto))
		return;
	pfs_count(PFS_C_MARK_LATE, 1);
	pfs_log(PFS_LOG_WARNING, "image",
		"%s leaves the store: its mark is not durable in time: %s",
		img->path, strerror(-err));
	pfs_store_image_expel(img->sto);
}

/* The slow part of the first mutation: at most MARK_WAIT_NS. */
static void begin_session(struct image *img)
{
	uint64_t deadline = pfs_now_ns() + MARK_WAIT_NS;
	int err = session_enter_until(img, deadline);

	if (err) {
		leave_store(img, err);
		return;
	}
	/* Again: a session that ended just now has reset it. */
	atomic_store(&img->was_touched, true);
	if (!atomic_load(&img->is_marked) &&
	    !pfs_store_image_expelled(img->sto)) {
		err = pfs_marks_set(img->w->marks, img->id, deadline);
		if (err)
			leave_store(img, err);
		else
			atomic_store(&img->is_marked, true);
	}
	session_leave(img);
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
	atomic_fetch_add(&img->n_begun, 1);
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

static int size_of_file(const struct image *img, bool is_ours, uint64_t *size)
{
	struct statx now;

	/* What our own call made of it the kernel knows without asking. */
	if (statx(img->fd, "",
		  AT_EMPTY_PATH | (is_ours ? AT_STATX_DONT_SYNC : 0),
		  STATX_SIZE, &now))
		return -errno;
	*size = now.stx_size;
	return 0;
}

/* Follow the size of the file after a source call of the caller's, which made
 * it no less than at_least (UINT64_MAX: it may be anything now).  Two names of
 * a file are two nodes for the kernel, so a truncation and a growing write may
 * run at the same time and either may be the last to come here.
 *
 * Each looks under the lock, after its own call: of two that store, the later
 * one looked after both calls.  And who finds the size large enough need not
 * look: whoever stored it has left the lock, so it looked earlier, and then
 * either after our call, or before it, at a file that was that large already;
 * in both cases a truncation that it did not see is still to come here. */
static void look_at_size(struct image *img, uint64_t at_least)
{
	bool is_growth = at_least != UINT64_MAX;
	uint64_t size;

	pfs_mutex_lock(&img->size_lock);
	if (atomic_load(&img->size) < at_least) {
		if (!size_of_file(img, is_growth, &size))
			atomic_store(&img->size, size);
		else if (is_growth)
			atomic_store(&img->size, at_least);
	}
	pfs_mutex_unlock(&img->size_lock);
}

void image_mutate_end(struct image *img, struct image_mutation *m,
		      const void *bytes, size_t n_bytes)
{
	/* Before the second invalidation: what is read after it is cut to the
	 * new size. */
	look_at_size(img, bytes ? m->off + n_bytes : UINT64_MAX);
	if (bytes)
		atomic_fetch_add(&img->write_bytes, n_bytes);
	if (m->is_in_store)
		pfs_store_mutate_end(&m->store, m->off, bytes, n_bytes);
	if (atomic_fetch_sub(&img->n_active, 1) == 1 &&
	    !atomic_load(&img->n_writers) && atomic_load(&img->is_marked) &&
	    !img->w->is_handover)
		image_end_session(img); /* a truncation by name */
}

void image_gone(struct image *img)
{
	session_enter(img);
	img->is_gone = true;
	if (img->sto)
		pfs_store_image_expel(img->sto);
	session_leave(img);
}

/* --- identity --- */

void image_meta_changed(struct image *img)
{
	struct pfs_identity now;

	session_enter(img);
	if (!is_touched(img) && !identity_of(img->w, img->fd, &now)) {
		/* Another host's write at this very moment is not seen: it is
		 * excluded while we have the image open, see pfs(8). */
		img->ident = now;
		img->is_unrecorded = true;
	}
	session_leave(img);
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
void image_settle_identity(struct image *img)
{
	struct pfs_identity now;
	int err = 0;

	session_enter(img);
	if (img->is_unrecorded && !img->is_gone && img->id &&
	    !is_touched(img)) {
		identity_let_age(&img->ident);
		err = identity_of(img->w, img->fd, &now);
		if (!err && identity_same_file(&img->ident, &now))
			err = record_identity(img, &now);
		if (err)
			pfs_log(PFS_LOG_INFO, "image", "%s will start cold: %s",
				img->path, strerror(-err));
		img->is_unrecorded = false;
	}
	session_leave(img);
}

static void tell_changed(const struct image *img)
{
	const struct event e = {
		.kind = EVENT_CHANGED,
		.time_ns = pfs_now_ns(),
		.image = img->id,
	};

	events_put(img->w->events, &e, true);
}

static void raise_epoch(struct image *img, const struct pfs_identity *now)
{
	struct worker *w = img->w;
	int err;

	pfs_count(PFS_C_IMAGE_CHANGED, 1);
	pfs_log(PFS_LOG_INFO, "image",
		"%s was changed behind this mount: its chunks are dropped",
		img->path);
	tell_changed(img);
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

/* In the session.  Asked after the look: a mutation that began before it
 * counts. */
static bool has_changed(const struct image *img, const struct pfs_identity *now)
{
	return !is_touched(img) && !identity_same_file(&img->ident, now);
}

static void follow_change(struct image *img, const struct pfs_identity *now)
{
	look_at_size(img, UINT64_MAX);
	img->ident = *now;
	inval_file(img->w, img->dev, img->ino);
	if (img->sto && img->id && !img->is_gone)
		raise_epoch(img, now);
}

/* -errno: it could not be looked at.  The first look is made outside of the
 * session, which a slow source would hold up; what it finds changed may be a
 * change of ours that was recorded meanwhile, so that is looked at again. */
int image_look_again(struct image *img, int fd)
{
	struct pfs_identity now;
	int err;

	/* During a write session our own writes move the times. */
	if (is_touched(img)) {
		if (!atomic_load(&img->n_writers))
			look_at_size(img, UINT64_MAX);
		return 0;
	}
	err = identity_of(img->w, fd, &now);
	if (err)
		return err;
	session_enter(img);
	if (has_changed(img, &now)) {
		err = identity_of(img->w, fd, &now);
		if (!err && has_changed(img, &now))
			follow_change(img, &now);
	}
	session_leave(img);
	return err;
}

void image_revalidate(struct image *img, int fd)
{
	/* A source that does not answer is no reason to forget its chunks. */
	(void)!image_look_again(img, fd);
}
