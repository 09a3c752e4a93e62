/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/planner_vms.h - the VMs that wish, and whose turn it is.
 *
 * The table is bounded: a VM with nothing queued or in flight makes room for a
 * new one, the one not heard of for longest first.  With all of them busy a
 * newcomer counts as unknown.
 *
 * Threads  none.
 * Memory   all of it at init.
 */
#ifndef PFS_PREDICTOR_PLANNER_VMS_H
#define PFS_PREDICTOR_PLANNER_VMS_H

#include "map.h"
#include "planner_budget.h"

#define VMS_MAX 1024u

struct vm {
	uint64_t id;
	uint64_t used; /* when, in lookups; 0: free */
	struct budget budget;
	uint16_t lane;          /* its best wish in the queue; 0: none */
	uint32_t in_flight;     /* orders */
	struct vm *next, *prev; /* in the ring; NULL: not in it */
};

struct vms {
	struct vm *vm; /* owned, [VMS_MAX]; [0]: those unknown */
	struct map by_id;
	uint64_t n_lookups;
	uint32_t chunk;
	struct vm *turn; /* the ring of those with wishes; NULL: none */
	uint32_t n_ring;
};

int vms_init(struct vms *t, uint32_t chunk) PFS_MUST_CHECK;
/** Accepts zeroed memory. */
void vms_fini(struct vms *t);
/** NULL: not known. */
struct vm *vms_find(const struct vms *t, uint64_t id);
/** Find or make it. */
struct vm *vms_get(struct vms *t, uint64_t id, uint64_t now);
/** Its lane has wishes (perhaps it had before); has none any more. */
void vms_has_wishes(struct vms *t, struct vm *v);
void vms_has_none(struct vms *t, struct vm *v);

#endif
