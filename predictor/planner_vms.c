/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "planner_vms.h"

int vms_init(struct vms *t, uint32_t chunk)
{
	int err;

	*t = (struct vms){.chunk = chunk};
	err = map_init(&t->by_id, VMS_MAX);
	if (err)
		return err;
	t->vm = calloc(VMS_MAX, sizeof(*t->vm));
	if (!t->vm)
		return -ENOMEM;
	t->vm[0].id = PFS_VM_UNKNOWN;
	budget_init(&t->vm[0].budget, chunk, true, 0);
	return 0;
}

void vms_fini(struct vms *t)
{
	map_fini(&t->by_id);
	free(t->vm);
	*t = (struct vms){0};
}

struct vm *vms_find(const struct vms *t, uint64_t id)
{
	const uint64_t *i;

	if (id == PFS_VM_UNKNOWN)
		return &t->vm[0];
	i = map_find(&t->by_id, id);
	return i ? &t->vm[*i] : NULL;
}

static struct vm *make_free(struct vms *t)
{
	struct vm *best = NULL;

	for (struct vm *v = t->vm + 1; v < t->vm + VMS_MAX; v++)
		if (!v->lane && !v->in_flight &&
		    (!best || v->used < best->used))
			best = v;
	if (best && best->used)
		map_del(&t->by_id, best->id);
	return best;
}

struct vm *vms_get(struct vms *t, uint64_t id, uint64_t now)
{
	struct vm *v = vms_find(t, id);

	if (!v) {
		v = make_free(t);
		if (!v)
			return &t->vm[0];
		*v = (struct vm){.id = id};
		budget_init(&v->budget, t->chunk, false, now);
		*map_add(&t->by_id, id) = (uint64_t)(v - t->vm);
	}
	v->used = ++t->n_lookups;
	return v;
}

void vms_has_wishes(struct vms *t, struct vm *v)
{
	if (v->next)
		return;
	t->n_ring++;
	if (!t->turn) {
		t->turn = v->next = v->prev = v;
		return;
	}
	v->next = t->turn;
	v->prev = t->turn->prev;
	v->prev->next = v->next->prev = v;
}

void vms_has_none(struct vms *t, struct vm *v)
{
	t->n_ring--;
	if (t->turn == v)
		t->turn = v->next == v ? NULL : v->next;
	v->prev->next = v->next;
	v->next->prev = v->prev;
	v->next = v->prev = NULL;
}
