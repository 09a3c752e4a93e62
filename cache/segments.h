/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * cache/segments.h - where the next chunk goes and which ones leave.
 *
 * Pure policy, no I/O: the daemon and the simulator link the same object.
 * Slots are handed out in log order from one open segment per class.  When
 * few free segments are left the oldest sealed one leaves (FIFO); what was hit
 * in it since is put into the main log again by the caller (reinsertion).
 * Chunks that nobody asked for yet fill probation segments, which leave first
 * once they exceed their share, so that wrong guesses go before good chunks.
 *
 * state    slots being filled  leaves by
 * FREE     none                alloc (OPEN)
 * OPEN     yes                 alloc of its last slot (SEALED), seal
 * SEALED   until n_busy is 0   victim (LEAVING), when n_busy is 0
 * LEAVING  none                freed (FREE), when n_busy is 0
 *
 * Threads  none of its own: the caller holds the store lock.
 */
#ifndef PFS_CACHE_SEGMENTS_H
#define PFS_CACHE_SEGMENTS_H

#include "format.h"

enum segment_class {
	CLASS_MAIN,
	CLASS_PROBATION,
	CLASS_N,
};

#define SEGMENT_NONE UINT32_MAX

/* Volatile part of a segment. */
struct segment {
	uint32_t next;      /* slots handed out so far */
	uint32_t n_live;    /* of them, in the index */
	uint32_t n_busy;    /* readers and writers with I/O in it */
	uint32_t n_filling; /* the writers among them */
	bool is_adopted;    /* from an earlier life: may hold chunks of images
			     * that are not attached, so n_live is a minimum */
};

struct segments {
	struct geometry g;
	struct segment_row *row; /* owned, n_segments */
	struct segment *seg;     /* owned, n_segments */
	uint32_t open[CLASS_N];  /* SEGMENT_NONE: none */
	uint32_t n_free;
	uint32_t n_probation; /* not free, of that class */
	uint32_t free_hint;
};

int segments_init(struct segments *s, const struct geometry *g) PFS_MUST_CHECK;
void segments_fini(struct segments *s);

/** Adopt saved rows: what was open or leaving counts as sealed. */
void segments_adopt(struct segments *s, const struct segment_row *rows);

/** Take up to want neighbouring slots for a class; gen is the store's counter
 *  (a segment opened now gets it as open_gen).  Returns how many, 0 when no
 *  segment is free.  The slots' segment is busy once for each slot until
 *  segments_idle().  One free segment is kept back for reinsertion: it is
 *  given only with is_reinsertion. */
uint32_t segments_alloc(struct segments *s, enum segment_class class,
			uint32_t want, uint64_t gen, bool is_reinsertion,
			uint32_t *first_slot);

/** Could segments_alloc() open another segment? */
bool segments_may_open(const struct segments *s, bool is_reinsertion);

static inline uint32_t segments_of(const struct segments *s, uint32_t slot)
{
	return slot / s->g.segment_slots;
}

/** I/O in a slot's segment begins or ends. */
void segments_busy(struct segments *s, uint32_t slot);
void segments_idle(struct segments *s, uint32_t slot);
/** The same for a slot that segments_alloc() gave out. */
void segments_filled(struct segments *s, uint32_t slot);
/** May a saved entry of this slot and generation still be good?  Not if its
 *  segment was freed or opened again since. */
bool segments_holds(const struct segments *s, uint32_t slot, uint64_t gen);
/** A slot was inserted into, or removed from, the index. */
void segments_live(struct segments *s, uint32_t slot, int delta);

/** True when a segment should leave now. */
bool segments_want_victim(const struct segments *s);
/** Choose one and set it LEAVING; SEGMENT_NONE when none can leave now. */
uint32_t segments_victim(struct segments *s);
/** Make a LEAVING segment FREE; false while it is busy. */
bool segments_free(struct segments *s, uint32_t seg);
/** Close the open segments (at drain). */
void segments_seal_all(struct segments *s);
/** Forget everything: all segments free. */
void segments_reset(struct segments *s);

#endif
