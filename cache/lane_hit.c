/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hits: slots are read straight into the buffer that will be sent and checked
 * there, block by block (I3).  Headers that are not in RAM are read beside the
 * data.  A store read that takes longer than STORE_STALL_NS is left behind: its
 * buffer belongs to the kernel until it completes, so a twin with a buffer of
 * its own reads from the source and answers.
 */
#include "lane_core.h"
#include "mapped.h"

#include <string.h>

static uint8_t *page_of_part(struct lane_read *r, const struct part *p)
{
	return r->mem + PFS_READ_HEAD + r->data_len +
	       (size_t)(p - r->parts) * PFS_BLOCK_SIZE;
}

/* Checksums of the blocks of p out of a decoded header. */
static bool take_sums(const struct geometry *g, struct part *p,
		      const uint8_t *header)
{
	uint32_t sums[FORMAT_MAX_BLKS];
	struct slot_ident id;

	if (slot_header_decode(g, p->slot, header, &id, sums) ||
	    !slot_ident_same(&id, &p->ident))
		return false;
	memcpy(p->sums, sums + p->off / PFS_BLOCK_SIZE,
	       p->len / PFS_BLOCK_SIZE * sizeof(*sums));
	return true;
}

void hit_plan_locked(struct pfs_lane *l, struct lane_read *r, struct part *p,
		     uint32_t slot, uint64_t gen)
{
	struct pfs_store *s = l->s;
	const uint8_t *header;

	p->slot = slot;
	p->ident = (struct slot_ident){.image = r->pub.img->id,
				       .epoch = r->pub.img->epoch,
				       .chunk = p->chunk,
				       .gen = gen};
	segments_busy(&s->segs, slot);
	if (s->slot_flags[slot] & SLOT_PREFETCHED)
		pfs_count(PFS_C_PREFETCH_HIT, 1);
	s->slot_flags[slot] = SLOT_HIT;
	if (!r->is_pinning)
		r->pub.img->n_refs++; /* a read left behind may outlive it */
	r->is_pinning = true;
	if (!s->verify)
		return;
	header = headers_get(&s->hdr, slot);
	if (!header)
		p->page = page_of_part(r, p);
	else if (!take_sums(&s->g, p, header))
		p->is_bad = true;
}

/* --- reading --- */

static void link_run(struct pfs_lane *l, struct store_run *run)
{
	run->next = NULL;
	run->prevp = l->runs_tail;
	*l->runs_tail = run;
	l->runs_tail = &run->next;
}

static void unlink_run(struct pfs_lane *l, struct store_run *run)
{
	*run->prevp = run->next;
	if (run->next)
		run->next->prevp = run->prevp;
	else
		l->runs_tail = run->prevp;
}

static void run_done(struct ring_op *op, int res)
{
	struct store_run *run = PFS_CONTAINER_OF(op, struct store_run, op);
	struct lane_read *r = run->read;
	struct pfs_lane *l = op->user;

	unlink_run(l, run);
	if (res == (int)run->len) {
		store_io_worked(l->s);
	} else {
		/* Short: the store was truncated under us. */
		pfs_count(PFS_C_STORE_ERROR_READ, 1);
		store_io_failed(l->s, res < 0 ? res : -EIO);
		atomic_store_explicit(&r->wants_direct, true,
				      memory_order_relaxed);
	}
	read_part_done(l, r);
}

static void start_run(struct pfs_lane *l, struct lane_read *r,
		      enum pfs_fault_point point, void *buf, uint32_t len,
		      uint64_t off)
{
	struct store_run *run = &r->runs[r->n_runs++];

	run->read = r;
	run->len = len;
	run->start_ns = pfs_now_ns();
	run->op.done = run_done;
	run->op.user = l;
	link_run(l, run);
	atomic_fetch_add_explicit(&r->n_pending, 1, memory_order_relaxed);
	ring_read(&l->ring, &run->op, point, l->s->fd, buf, len, off);
}

/* The ring costs about twice a plain read for bytes in the page cache. */
static bool read_inline(struct pfs_store *s, void *buf, uint32_t len,
			uint64_t off)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};

	if (!s->is_nowait ||
	    (atomic_load_explicit(&pfs_fault_armed_, memory_order_relaxed) >>
		     PFS_FP_STORE_READ &
	     1))
		return false;
	if (s->map)
		return mapped_copy(buf, s->map + off, len);
	return preadv2(s->fd, &iov, 1, (off_t)off, s->nowait_flags) ==
	       (ssize_t)len;
}

/* Hits from p on whose slots and memory are neighbours: bytes in all. */
static uint32_t run_len(const struct geometry *g, const struct part *p,
			const struct part *end, const struct part **next)
{
	uint32_t len = p->len;
	const struct part *q = p + 1;

	while (q < end && q->kind == PART_HIT && q->slot == q[-1].slot + 1 &&
	       q->slot % g->segment_slots) {
		len += q->len;
		q++;
	}
	*next = q;
	return len;
}

static void start_pages(struct pfs_lane *l, struct lane_read *r)
{
	uint64_t last_off = 0;
	uint8_t *last = NULL;

	for (uint32_t i = 0; i < r->n_parts; i++) {
		struct part *p = &r->parts[i];
		uint64_t off;

		if (p->kind != PART_HIT || !p->page)
			continue;
		off = pfs_align_down(geometry_header_off(&l->s->g, p->slot),
				     PFS_BLOCK_SIZE);
		if (last && off == last_off) {
			p->page = last;
			continue;
		}
		last = p->page;
		last_off = off;
		p->owns_page = true;
		start_run(l, r, PFS_FP_STORE_HEADER_READ, p->page,
			  PFS_BLOCK_SIZE, off);
	}
}

void hits_start(struct pfs_lane *l, struct lane_read *r)
{
	const struct part *p = r->parts, *end = r->parts + r->n_parts;
	struct pfs_store *s = l->s;

	if (!r->is_pinning)
		return;
	start_pages(l, r);
	while (p < end) {
		const struct part *next = p + 1;

		if (p->kind == PART_HIT) {
			uint32_t len = run_len(&s->g, p, end, &next);
			uint64_t off =
				geometry_slot_off(&s->g, p->slot) + p->off;

			if (!read_inline(s, p->data, len, off))
				start_run(l, r, PFS_FP_STORE_READ, p->data, len,
					  off);
		}
		p = next;
	}
}

/* --- checking --- */

static bool check_part(struct pfs_store *s, struct part *p)
{
	uint32_t sums[FORMAT_MAX_BLKS];
	uint32_t n = p->len / PFS_BLOCK_SIZE;

	if (p->is_bad) {
		pfs_count(PFS_C_BAD_HEADER, 1);
		return false;
	}
	if (p->page &&
	    !take_sums(&s->g, p,
		       p->page + geometry_header_off(&s->g, p->slot) %
					 PFS_BLOCK_SIZE)) {
		pfs_count(PFS_C_BAD_HEADER, 1);
		return false;
	}
	slot_sums(&s->g, &p->ident, p->data, p->off / PFS_BLOCK_SIZE, n, sums);
	pfs_count(PFS_C_BLOCKS_VERIFIED, n);
	for (uint32_t i = 0; i < n; i++) {
		if (sums[i] != p->sums[i]) {
			pfs_count(PFS_C_BAD_CHECKSUM, 1);
			return false;
		}
	}
	return true;
}

static void let_go_locked(struct pfs_lane *l, struct lane_read *r,
			  struct part *p, bool keep_page)
	PFS_REQUIRES(l->s->lock)
{
	struct pfs_store *s = l->s;

	if (p->is_bad)
		image_drop_slot_locked(r->pub.img, p->chunk, p->slot);
	else if (keep_page && p->owns_page)
		headers_keep(&s->hdr, p->slot, p->page);
	segments_idle(&s->segs, p->slot);
	if (segments_of(&s->segs, p->slot) == s->leaving)
		kick_locked(s);
}

bool hits_check(struct pfs_lane *l, struct lane_read *r)
{
	bool failed =
		atomic_load_explicit(&r->wants_direct, memory_order_relaxed);
	bool is_good = true;
	uint32_t n = 0, n_good = 0;

	for (uint32_t i = 0; i < r->n_parts; i++) {
		struct part *p = &r->parts[i];

		if (p->kind != PART_HIT)
			continue;
		n += p->len / PFS_BLOCK_SIZE;
		/* Bytes that never arrived prove nothing. */
		if (failed || !l->s->verify)
			p->is_bad = false;
		else
			p->is_bad = !check_part(l->s, p);
		if (!p->is_bad)
			n_good += p->len;
		if (p->is_bad) {
			is_good = false;
			pfs_log_limited(PFS_LOG_WARNING, "store",
					"image %llu chunk %llu in slot %u is "
					"not what was stored: dropped",
					(unsigned long long)p->ident.image,
					(unsigned long long)p->chunk, p->slot);
		}
	}
	if (!failed) {
		pfs_count(PFS_C_BLOCKS_READ, n);
		pfs_count(PFS_C_HIT_BYTES, n_good);
	}

	pfs_mutex_lock(&l->s->lock);
	for (uint32_t i = 0; i < r->n_parts; i++)
		if (r->parts[i].kind == PART_HIT)
			let_go_locked(l, r, &r->parts[i], !failed);
	image_unref_locked(r->pub.img);
	pfs_mutex_unlock(&l->s->lock);
	r->is_pinning = false;
	return is_good;
}

/* --- stalls --- */

uint64_t hits_deadline(const struct pfs_lane *l)
{
	const struct store_run *run = l->runs;

	/* Those left behind already have nobody waiting. */
	while (run && atomic_load(&run->read->is_claimed))
		run = run->next;
	return run ? run->start_ns + STORE_STALL_NS : UINT64_MAX;
}

/* Its run is under way, so r cannot complete meanwhile. */
static void leave_behind(struct pfs_lane *l, struct store_run *run,
			 uint64_t now)
{
	struct lane_read *r = run->read, *twin = read_twin(l, r);

	if (!twin) {
		run->start_ns = now; /* no memory: again in a while */
		return;
	}
	atomic_store(&r->is_claimed, true);
	atomic_store(&r->is_quarantined, true);
	l->n_missing[r->is_big]++;
	atomic_fetch_add(&l->s->n_quarantined, 1);
	pfs_count(PFS_C_STORE_QUARANTINED, 1);
	pfs_count(PFS_C_STORE_SLOW_READ, 1);
	read_direct(l, twin);
}

void hits_check_stall(struct pfs_lane *l)
{
	uint64_t deadline = hits_deadline(l);
	struct store_run *run;
	uint64_t now;

	if (deadline == UINT64_MAX)
		return;
	now = pfs_now_ns();
	if (now < deadline)
		return;
	for (run = l->runs; run; run = run->next)
		if (!atomic_load(&run->read->is_claimed) &&
		    run->start_ns + STORE_STALL_NS <= now)
			leave_behind(l, run, now);
	/* After they are counted, or a quick probe finds nothing amiss. */
	store_bypass(l->s, "a read took longer than 50 ms");
	ring_submit(&l->ring);
}
