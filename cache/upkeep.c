/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The upkeep thread: all that keeps a store in shape and may block on it.
 * In each round, in this order: bytes of writes are stored, a segment leaves
 * when few are free, headers are written, zone rows saved, generations
 * reserved, a store that was put aside is probed, and images that nobody uses
 * any more are freed.  It sleeps until kicked or until the next of its
 * deadlines.
 */
#include "core.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#define SAVE_BATCH 64u /* zones in one batch */
#define PROBE_FIRST_NS (25 * PFS_NSEC_PER_MSEC)
#define SAVING_MAX 4u /* batches on their way at once */

struct upkeep {
	struct pfs_store *s;
	uint8_t *page;    /* one block, aligned */
	uint8_t *headers; /* g.headers_len, aligned */
	uint32_t *sums;
	uint32_t *kept;      /* slots of the leaving segment to keep */
	uint64_t probe_ns;   /* when next */
	uint64_t probe_wait; /* doubles while probes fail */
	bool gens_failed;
};

/* --- writes --- */

static struct fetch *next_fill_locked(struct pfs_store *s) PFS_REQUIRES(s->lock)
{
	struct fetch *f = s->fill_queue;

	if (!f)
		return NULL;
	s->fill_queue = f->queued;
	if (!s->fill_queue)
		s->fill_tail = &s->fill_queue;
	f->queued = NULL;
	return f;
}

/* The slot is allocated: checksums, write, insertion. */
static void write_slot(struct pfs_store *s, struct fetch *f)
{
	ssize_t n;

	fill_sum(s, f);
	n = pfs_io_pwrite(PFS_FP_STORE_WRITE, s->fd, f->buf, s->g.chunk,
			  geometry_slot_off(&s->g, f->slot));
	fill_done(s, f, n < 0 ? (int)n : 0);
}

static void store_one(struct pfs_store *s, struct fetch *f)
{
	enum pfs_counter why;
	uint32_t got = 0;

	pfs_mutex_lock(&s->lock);
	why = fill_refusal_locked(f);
	if (why == FILL_OK)
		got = fill_alloc_locked(s, &f, 1, CLASS_MAIN, false);
	if (!got)
		fill_drop_locked(s, f, why);
	pfs_mutex_unlock(&s->lock);
	if (got)
		write_slot(s, f);
}

static void store_writes(struct pfs_store *s)
{
	for (;;) {
		struct fetch *f;

		pfs_mutex_lock(&s->lock);
		f = next_fill_locked(s);
		pfs_mutex_unlock(&s->lock);
		if (!f)
			return;
		store_one(s, f);
	}
}

/* --- eviction --- */

static struct pfs_store_image *owner_locked(struct pfs_store *s, uint32_t slot)
	PFS_REQUIRES(s->lock)
{
	return s->owner[slot].image ? s->images[s->owner[slot].image - 1]
				    : NULL;
}

static bool is_pinned_locked(struct pfs_store *s, uint32_t slot)
	PFS_REQUIRES(s->lock)
{
	const struct pfs_store_image *img = owner_locked(s, slot);

	return img && pins_has(&img->pins, s->owner[slot].chunk);
}

/* A chunk leaves for good. */
static void evict_slot_locked(struct pfs_store *s, uint32_t slot)
	PFS_REQUIRES(s->lock)
{
	struct pfs_store_image *img = owner_locked(s, slot);
	uint64_t chunk = s->owner[slot].chunk;

	if (s->slot_flags[slot] & SLOT_PREFETCHED) {
		pfs_count(PFS_C_PREFETCH_UNREAD, 1);
		if (s->unread)
			s->unread(s->arg, img->id, chunk);
	}
	if (is_pinned_locked(s, slot))
		pfs_count(PFS_C_EVICT_PINNED, 1);
	image_drop_slot_locked(img, chunk, slot);
	pfs_count(PFS_C_EVICT_CHUNKS, 1);
}

static uint32_t n_pinned_locked(struct pfs_store *s, uint32_t seg)
	PFS_REQUIRES(s->lock)
{
	uint32_t first = seg * s->g.segment_slots, n = 0;

	for (uint32_t i = 0; s->n_pinned && i < s->g.segment_slots; i++)
		n += is_pinned_locked(s, first + i);
	return n;
}

/* Take the victim's chunks out of the index but for those to be kept, which
 * are listed in u->kept: what is pinned, and what was hit as long as that makes
 * at most half of it.  Even a segment full of pinned chunks can leave, since a
 * free one is held back for them; and as pins cover half of the store at most,
 * others leave before the same chunks come round again. */
static uint32_t strip_locked(struct upkeep *u, uint32_t seg, bool keep)
	PFS_REQUIRES(u->s->lock)
{
	struct pfs_store *s = u->s;
	uint32_t first = seg * s->g.segment_slots, n = 0;
	uint32_t n_most = s->g.segment_slots / 2;
	uint32_t n_hits = n_most - PFS_MIN(n_most, n_pinned_locked(s, seg));

	for (uint32_t slot = first; slot < first + s->g.segment_slots; slot++) {
		bool is_pinned = is_pinned_locked(s, slot);

		if (!owner_locked(s, slot))
			continue;
		if (keep && !is_pinned && (s->slot_flags[slot] & SLOT_HIT) &&
		    n_hits) {
			n_hits--;
			u->kept[n++] = slot;
		} else if (keep && is_pinned) {
			u->kept[n++] = slot;
		} else {
			evict_slot_locked(s, slot);
		}
	}
	return n;
}

/* Copy one chunk to be kept into the main log, unless it left the index (a
 * mutation) meanwhile. */
static void reinsert(struct upkeep *u, uint32_t slot)
{
	struct pfs_store *s = u->s;
	struct pfs_store_image *img;
	struct slot_ident id;
	struct fetch *f = NULL;
	uint32_t at = 0;
	ssize_t n;

	pfs_mutex_lock(&s->lock);
	img = owner_locked(s, slot);
	if (img && index_find(&img->ix, s->owner[slot].chunk, &at, &id.gen) &&
	    at == slot) {
		id.image = img->id;
		id.epoch = img->epoch;
		id.chunk = s->owner[slot].chunk;
		f = fetch_get_locked(s, img, id.chunk, false);
	}
	/* Registered only if nobody fetches it: joiners get its bytes. */
	if (f && !fetch_find_locked(s, img, id.chunk)) {
		f->is_kept = true;
		fetch_register_locked(s, f);
	} else if (f) {
		fetch_put_locked(s, f);
		f = NULL;
	}
	pfs_mutex_unlock(&s->lock);
	if (!f)
		return;

	n = slot_read_checked(s, slot, &id, f->buf, u->page, u->sums);
	pfs_mutex_lock(&s->lock);
	f->state = FETCH_READY;
	if (n || fill_refusal_locked(f) != FILL_OK ||
	    !fill_alloc_locked(s, &f, 1, CLASS_MAIN, true)) {
		fetch_detach_locked(s, f);
		fetch_put_locked(s, f);
		f = NULL;
	}
	pfs_mutex_unlock(&s->lock);
	if (!f)
		return;
	write_slot(s, f);
}

static void discard(struct pfs_store *s, uint32_t seg)
{
	uint64_t range[2] = {geometry_segment_off(&s->g, seg),
			     s->g.segment_len};
	int err = pfs_fault_check(PFS_FP_STORE_DISCARD);

	if (!err && s->is_device)
		err = ioctl(s->fd, BLKDISCARD, range) ? -errno : 0;
	else if (!err)
		err = fallocate(s->fd,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				(off_t)range[0], (off_t)range[1])
			      ? -errno
			      : 0;
	if (!err)
		pfs_count(PFS_C_DISCARDS, 1);
	else if (err != -EOPNOTSUPP)
		pfs_log_limited(PFS_LOG_WARNING, "store",
				"discard of segment %u: %s", seg,
				strerror(-err));
}

/* Begin with a victim, or go on with the one that was still busy. */
static void evict(struct upkeep *u)
{
	struct pfs_store *s = u->s;
	struct headers_active *a;
	uint32_t seg, n_kept = 0;
	bool is_idle;

	pfs_mutex_lock(&s->lock);
	seg = s->leaving;
	if (seg == SEGMENT_NONE && segments_want_victim(&s->segs)) {
		seg = segments_victim(&s->segs);
		if (seg != SEGMENT_NONE)
			n_kept = strip_locked(u, seg, true);
		s->leaving = seg;
	}
	pfs_mutex_unlock(&s->lock);
	if (seg == SEGMENT_NONE)
		return;

	for (uint32_t i = 0; i < n_kept; i++)
		reinsert(u, u->kept[i]);

	pfs_mutex_lock(&s->lock);
	strip_locked(u, seg, false);
	is_idle = !s->segs.seg[seg].n_busy;
	pfs_mutex_unlock(&s->lock);
	if (!is_idle)
		return; /* kicked when its last I/O ends */

	discard(s, seg);
	pfs_mutex_lock(&s->lock);
	a = headers_active(&s->hdr, seg);
	if (a)
		headers_retire(&s->hdr, a);
	headers_forget(&s->hdr, seg);
	if (segments_free(&s->segs, seg)) {
		s->leaving = SEGMENT_NONE;
		s->segments_dirty = true;
		pfs_count(PFS_C_EVICT_SEGMENTS, 1);
		if (segments_want_victim(&s->segs))
			kick_locked(s);
	}
	pfs_mutex_unlock(&s->lock);
}

/* --- headers --- */

/* Write an active segment's dirty headers.  Data first, then headers, then
 * rows: each may be lost without the other being believed (S4). */
static void write_headers(struct upkeep *u, uint32_t seg)
{
	struct pfs_store *s = u->s;
	struct headers_active *a;
	uint32_t first = 0, n;
	ssize_t done = 0;

	pfs_mutex_lock(&s->lock);
	a = headers_active(&s->hdr, seg);
	n = a ? headers_take_dirty(&s->hdr, a, &first, u->headers) : 0;
	pfs_mutex_unlock(&s->lock);
	if (n)
		done = pfs_io_pwrite(PFS_FP_STORE_HEADER_WRITE, s->fd,
				     u->headers, (size_t)n * PFS_BLOCK_SIZE,
				     geometry_segment_off(&s->g, seg) +
					     (uint64_t)first * PFS_BLOCK_SIZE);
	if (done < 0)
		store_write_failed(s, (int)done);

	pfs_mutex_lock(&s->lock);
	a = headers_active(&s->hdr, seg);
	if (a && done < 0)
		headers_still_dirty(a, first, n, pfs_now_ns());
	/* Nothing can be added to a sealed, idle segment. */
	if (a && !a->dirty_since && s->segs.row[seg].state != SEGMENT_OPEN &&
	    !s->segs.seg[seg].n_filling && seg != s->leaving)
		headers_retire(&s->hdr, a);
	pfs_mutex_unlock(&s->lock);
}

/* The next active segment whose headers are due: old, or of a sealed one. */
static uint32_t due_headers_locked(struct pfs_store *s, uint64_t now, bool all)
	PFS_REQUIRES(s->lock)
{
	for (unsigned int i = 0; i < HEADERS_ACTIVE_MAX; i++) {
		struct headers_active *a = &s->hdr.active[i];
		bool is_sealed;

		if (a->seg == SEGMENT_NONE || a->seg == s->leaving)
			continue;
		is_sealed = s->segs.row[a->seg].state != SEGMENT_OPEN &&
			    !s->segs.seg[a->seg].n_filling;
		if (is_sealed ||
		    (a->dirty_since &&
		     (all || now - a->dirty_since >= STORE_HEADER_NS)))
			return a->seg;
	}
	return SEGMENT_NONE;
}

static void flush_headers(struct upkeep *u, bool all)
{
	struct pfs_store *s = u->s;

	for (unsigned int i = 0; i < HEADERS_ACTIVE_MAX; i++) {
		uint32_t seg;

		if (!store_is_ok(s))
			return;
		pfs_mutex_lock(&s->lock);
		seg = due_headers_locked(s, pfs_now_ns(), all);
		pfs_mutex_unlock(&s->lock);
		if (seg == SEGMENT_NONE)
			return;
		write_headers(u, seg);
	}
}

/* --- rows, generations, probes --- */

static void save_rows(struct pfs_store *s)
{
	uint64_t now = pfs_now_ns();
	bool is_due;
	uint32_t n = 0;

	pfs_mutex_lock(&s->lock);
	is_due = s->dirty_since && now - s->dirty_since >= STORE_SAVE_NS &&
		 s->n_saving < SAVING_MAX;
	if (is_due)
		s->dirty_since = 0;
	pfs_mutex_unlock(&s->lock);
	if (!is_due)
		return;
	if (store_save_zones(s, NULL, NULL, false, SAVE_BATCH, &n) ||
	    n == SAVE_BATCH) {
		/* More is waiting, or the catalog was busy: come again. */
		pfs_mutex_lock(&s->lock);
		if (!s->dirty_since)
			s->dirty_since =
				n == SAVE_BATCH ? now - STORE_SAVE_NS : now;
		pfs_mutex_unlock(&s->lock);
	}
}

static void reserve_gens(struct upkeep *u)
{
	struct pfs_store *s = u->s;
	bool is_low;

	pfs_mutex_lock(&s->lock);
	is_low = s->gen + STORE_GENS / 2 > s->gen_limit;
	pfs_mutex_unlock(&s->lock);
	if (!is_low)
		return;
	/* No fills beyond the limit if this fails; tried again later. */
	u->gens_failed = store_reserve_gens(s);
}

/* A store put aside comes back once it reads its superblock in good time. */
static void probe(struct upkeep *u)
{
	struct pfs_store *s = u->s;
	uint64_t now = pfs_now_ns();
	ssize_t n;

	/* Not while buffers are still out: their number stays bounded. */
	if (store_is_ok(s) || now < u->probe_ns)
		return;
	u->probe_wait = PFS_MIN(2 * u->probe_wait, STORE_PROBE_NS);
	u->probe_ns = now + u->probe_wait;
	n = pfs_io_pread(PFS_FP_STORE_READ, s->fd, u->page, FORMAT_SUPER_SIZE,
			 0);
	if (atomic_load(&s->n_quarantined) || n != FORMAT_SUPER_SIZE ||
	    pfs_now_ns() - now > STORE_STALL_NS || !super_is_of(&s->g, u->page))
		return;
	u->probe_wait = PROBE_FIRST_NS;
	atomic_store(&s->n_errors, 0);
	atomic_store(&s->health, PFS_STORE_OK);
	pfs_count(PFS_C_STORE_REATTACH, 1);
	pfs_log(PFS_LOG_INFO, "store", "%s works again", s->path);
}

static uint64_t deadline_locked(struct upkeep *u) PFS_REQUIRES(u->s->lock)
{
	struct pfs_store *s = u->s;
	uint64_t at = UINT64_MAX;

	for (unsigned int i = 0; i < HEADERS_ACTIVE_MAX; i++)
		if (s->hdr.active[i].seg != SEGMENT_NONE &&
		    s->hdr.active[i].seg != s->leaving &&
		    s->hdr.active[i].dirty_since && store_is_ok(s))
			at = PFS_MIN(at, s->hdr.active[i].dirty_since +
						 STORE_HEADER_NS);
	if (s->dirty_since && s->n_saving < SAVING_MAX)
		at = PFS_MIN(at, s->dirty_since + STORE_SAVE_NS);
	if (!store_is_ok(s))
		at = PFS_MIN(at, u->probe_ns);
	if (u->gens_failed)
		at = PFS_MIN(at, pfs_now_ns() + STORE_PROBE_NS);
	return at;
}

/* True to go on, false to stop. */
static bool await_work(struct upkeep *u)
{
	struct pfs_store *s = u->s;
	bool go_on;

	pfs_mutex_lock(&s->lock);
	while (!s->is_kicked && !s->is_stopping) {
		uint64_t at = deadline_locked(u);

		if (at == UINT64_MAX)
			pfs_cond_wait(&s->kick, &s->lock);
		else if (pfs_cond_wait_until(&s->kick, &s->lock, at))
			break;
	}
	s->is_kicked = false;
	go_on = !s->is_stopping;
	pfs_mutex_unlock(&s->lock);
	return go_on;
}

/* Everything that was learned is saved, so that the next start is warm. */
static void save_all(struct upkeep *u)
{
	struct pfs_store *s = u->s;

	flush_headers(u, true);
	store_save_rows(s, NULL);
	pfs_mutex_lock(&s->lock);
	while (s->n_saving)
		pfs_cond_wait(&s->saved, &s->lock);
	pfs_mutex_unlock(&s->lock);
}

static void free_buffers(struct upkeep *u)
{
	free(u->page);
	free(u->headers);
	free(u->sums);
	free(u->kept);
	free(u);
}

static void *upkeep_main(void *arg)
{
	struct upkeep *u = arg;
	struct pfs_store *s = u->s;

	while (await_work(u)) {
		if (store_is_ok(s)) {
			store_writes(s);
			evict(u);
			flush_headers(u, false);
		}
		save_rows(s);
		reserve_gens(u);
		probe(u);
		images_bury(s);
	}
	store_writes(s); /* is_stopping: they are only put back */
	save_all(u);
	free_buffers(u);
	return NULL;
}

int upkeep_start(struct pfs_store *s)
{
	struct upkeep *u = pfs_zalloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->s = s;
	u->probe_wait = PROBE_FIRST_NS;
	u->page = aligned_alloc(PFS_BLOCK_SIZE, PFS_BLOCK_SIZE);
	u->headers = aligned_alloc(PFS_BLOCK_SIZE, s->g.headers_len);
	u->sums = pfs_zalloc(s->g.blks, sizeof(*u->sums));
	u->kept = pfs_zalloc(s->g.segment_slots, sizeof(*u->kept));
	err = u->page && u->headers && u->sums && u->kept
		      ? pfs_thread_start(&s->upkeep, "pfs-upkeep", upkeep_main,
					 u)
		      : -ENOMEM;
	if (err)
		free_buffers(u);
	s->has_upkeep = !err;
	return err;
}

void upkeep_stop(struct pfs_store *s)
{
	if (!s->has_upkeep)
		return;
	pfs_mutex_lock(&s->lock);
	s->is_stopping = true;
	segments_seal_all(&s->segs);
	s->segments_dirty = true;
	pfs_cond_signal(&s->kick);
	pfs_mutex_unlock(&s->lock);
	pthread_join(s->upkeep, NULL);
}
