/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "segments.h"

#include <assert.h>

#include <pfs/io.h>

#define RESERVE 1u          /* free segments kept back for reinsertion */
#define PROBATION_SHARE 10u /* one tenth of all segments */

int segments_init(struct segments *s, const struct geometry *g)
{
	*s = (struct segments){.g = *g};
	s->row = pfs_zalloc(g->n_segments, sizeof(*s->row));
	s->seg = pfs_zalloc(g->n_segments, sizeof(*s->seg));
	if (!s->row || !s->seg) {
		segments_fini(s);
		return -ENOMEM;
	}
	segments_reset(s);
	return 0;
}

void segments_fini(struct segments *s)
{
	free(s->row);
	free(s->seg);
	*s = (struct segments){0};
}

void segments_reset(struct segments *s)
{
	for (uint32_t i = 0; i < s->g.n_segments; i++) {
		s->row[i] = (struct segment_row){.state = SEGMENT_FREE};
		s->seg[i].next = 0;
		s->seg[i].n_live = 0;
		s->seg[i].is_adopted = false;
	}
	s->open[CLASS_MAIN] = SEGMENT_NONE;
	s->open[CLASS_PROBATION] = SEGMENT_NONE;
	s->n_free = s->g.n_segments;
	s->n_probation = 0;
	s->free_hint = 0;
}

void segments_adopt(struct segments *s, const struct segment_row *rows)
{
	segments_reset(s);
	for (uint32_t i = 0; i < s->g.n_segments; i++) {
		if (rows[i].state == SEGMENT_FREE)
			continue;
		s->row[i] = rows[i];
		s->row[i].state = SEGMENT_SEALED;
		s->seg[i].next = s->g.segment_slots;
		s->seg[i].is_adopted = true;
		s->n_free--;
		s->n_probation += rows[i].is_probation;
	}
}

/* Freed segments are taken in turn, so wear spreads over the device. */
static uint32_t take_free(struct segments *s)
{
	for (uint32_t i = 0; i < s->g.n_segments; i++) {
		uint32_t seg = (s->free_hint + i) % s->g.n_segments;

		if (s->row[seg].state == SEGMENT_FREE) {
			s->free_hint = seg + 1;
			s->n_free--;
			return seg;
		}
	}
	return SEGMENT_NONE;
}

bool segments_may_open(const struct segments *s, bool is_reinsertion)
{
	return s->n_free > (is_reinsertion ? 0 : RESERVE);
}

static uint32_t open_segment(struct segments *s, enum segment_class class,
			     uint64_t gen, bool is_reinsertion)
{
	uint32_t seg;

	if (!segments_may_open(s, is_reinsertion))
		return SEGMENT_NONE;
	seg = take_free(s);
	s->row[seg] = (struct segment_row){
		.open_gen = gen,
		.state = SEGMENT_OPEN,
		.is_probation = class == CLASS_PROBATION,
	};
	s->seg[seg].next = 0;
	s->seg[seg].is_adopted = false;
	s->n_probation += class == CLASS_PROBATION;
	s->open[class] = seg;
	return seg;
}

uint32_t segments_alloc(struct segments *s, enum segment_class class,
			uint32_t want, uint64_t gen, bool is_reinsertion,
			uint32_t *first_slot)
{
	uint32_t seg = s->open[class];
	struct segment *sg;
	uint32_t n;

	/* The one kept back is open now: what is left of it is for the chunks
	 * of the leaving segment too. */
	if (class == CLASS_MAIN && !is_reinsertion && s->n_free < RESERVE)
		return 0;
	if (seg == SEGMENT_NONE)
		seg = open_segment(s, class, gen, is_reinsertion);
	if (seg == SEGMENT_NONE)
		return 0;

	sg = &s->seg[seg];
	n = PFS_MIN(want, s->g.segment_slots - sg->next);
	*first_slot = seg * s->g.segment_slots + sg->next;
	sg->next += n;
	sg->n_busy += n;
	sg->n_filling += n;
	if (sg->next == s->g.segment_slots) {
		s->row[seg].state = SEGMENT_SEALED;
		s->open[class] = SEGMENT_NONE;
	}
	return n;
}

void segments_busy(struct segments *s, uint32_t slot)
{
	s->seg[segments_of(s, slot)].n_busy++;
}

void segments_idle(struct segments *s, uint32_t slot)
{
	struct segment *sg = &s->seg[segments_of(s, slot)];

	assert(sg->n_busy > 0);
	sg->n_busy--;
}

void segments_filled(struct segments *s, uint32_t slot)
{
	s->seg[segments_of(s, slot)].n_filling--;
	segments_idle(s, slot);
}

void segments_live(struct segments *s, uint32_t slot, int delta)
{
	s->seg[segments_of(s, slot)].n_live += (uint32_t)delta;
}

bool segments_want_victim(const struct segments *s)
{
	/* Enough that fills find a segment while the victim is emptied. */
	uint32_t low = PFS_MAX(RESERVE + 2, s->g.n_segments / 32);

	return s->n_free < PFS_MIN(low, s->g.n_segments / 2);
}

bool segments_holds(const struct segments *s, uint32_t slot, uint64_t gen)
{
	const struct segment_row *row = &s->row[segments_of(s, slot)];

	return (row->state == SEGMENT_OPEN || row->state == SEGMENT_SEALED) &&
	       gen >= row->open_gen;
}

static bool is_empty(const struct segment *sg)
{
	return !sg->n_live && !sg->is_adopted;
}

static bool leaves_before(const struct segments *s, uint32_t a, uint32_t b)
{
	if (b == SEGMENT_NONE)
		return true;
	/* An empty segment costs nothing to free. */
	if (is_empty(&s->seg[a]) != is_empty(&s->seg[b]))
		return is_empty(&s->seg[a]);
	return s->row[a].open_gen < s->row[b].open_gen;
}

uint32_t segments_victim(struct segments *s)
{
	bool from_probation =
		s->n_probation > s->g.n_segments / PROBATION_SHARE;
	uint32_t best = SEGMENT_NONE, best_any = SEGMENT_NONE;

	for (uint32_t i = 0; i < s->g.n_segments; i++) {
		if (s->row[i].state != SEGMENT_SEALED || s->seg[i].n_busy)
			continue;
		if (leaves_before(s, i, best_any))
			best_any = i;
		if (s->row[i].is_probation == from_probation &&
		    leaves_before(s, i, best))
			best = i;
	}
	if (best == SEGMENT_NONE)
		best = best_any;
	if (best != SEGMENT_NONE)
		s->row[best].state = SEGMENT_LEAVING;
	return best;
}

bool segments_free(struct segments *s, uint32_t seg)
{
	if (s->seg[seg].n_busy)
		return false;
	assert(s->row[seg].state == SEGMENT_LEAVING && !s->seg[seg].n_live);
	s->n_probation -= s->row[seg].is_probation;
	s->row[seg] = (struct segment_row){.state = SEGMENT_FREE};
	s->seg[seg].next = 0;
	s->n_free++;
	return true;
}

void segments_seal_all(struct segments *s)
{
	for (int c = 0; c < CLASS_N; c++) {
		if (s->open[c] == SEGMENT_NONE)
			continue;
		s->row[s->open[c]].state = SEGMENT_SEALED;
		s->open[c] = SEGMENT_NONE;
	}
}
