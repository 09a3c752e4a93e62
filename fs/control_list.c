/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "control_list.h"

#include <string.h>

#define IMAGES_MAX 65536u

void control_list_done(struct control_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->at[i].name);
	free(l->at);
}

/* A zeroed entry of that name, or NULL with l->err set. */
static struct control_entry *list_add(struct control_list *l, const char *name)
{
	char *copy;

	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct control_entry *at =
			l->n >= IMAGES_MAX ? NULL
					   : realloc(l->at, room * sizeof(*at));

		if (!at) {
			l->err = l->n >= IMAGES_MAX ? -E2BIG : -ENOMEM;
			return NULL;
		}
		l->at = at;
		l->room = room;
	}
	copy = strdup(name);
	if (!copy) {
		l->err = -ENOMEM;
		return NULL;
	}
	l->at[l->n] = (struct control_entry){.name = copy};
	return &l->at[l->n++];
}

static int note_row(void *arg, const struct pfs_image_row *row,
		    uint64_t n_zones, uint64_t n_chunks)
{
	struct control_list *l = arg;
	struct control_entry *e;

	(void)n_zones;
	if (!row->name || !row->name[0])
		return 0; /* unlinked: only its learning is left */
	e = list_add(l, row->name);
	if (!e)
		return 1;
	e->id = row->id;
	e->epoch = row->epoch;
	e->size = row->ident.size;
	e->n_chunks = n_chunks;
	return 0;
}

static int note_use(void *arg, const struct image_info *info)
{
	struct control_list *l = arg;
	struct control_entry *e = list_add(l, info->path);

	if (!e)
		return 1;
	e->id = info->id;
	e->epoch = info->epoch;
	e->size = info->size;
	e->is_in_use = true;
	e->use = (struct image_use){
		.n_reads = info->n_reads,
		.n_hits = info->n_hits,
		.n_late = info->n_late,
		.n_misses = info->n_misses,
		.read_bytes = info->read_bytes,
		.write_bytes = info->write_bytes,
		.n_handles = info->n_handles,
		.n_writers = info->n_writers,
		.is_marked = info->is_marked,
		.is_expelled = info->is_expelled,
	};
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct control_entry *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct control_entry *)a)->name,
		      ((const struct control_entry *)b)->name);
}

/* The entry in use takes the place of the catalog's (its name moves too). */
static void merge(struct control_list *all, const struct control_list *in_use)
{
	size_t n_known = all->n;

	if (n_known)
		qsort(all->at, n_known, sizeof(*all->at), by_id);
	for (size_t i = 0; i < in_use->n && !all->err; i++) {
		const struct control_entry *u = &in_use->at[i];
		struct control_entry *e = u->id && n_known
						  ? bsearch(u, all->at, n_known,
							    sizeof(*u), by_id)
						  : NULL;
		char *name;

		if (!e)
			e = list_add(all, u->name);
		if (!e)
			return;
		name = e->name;
		*e = *u;
		e->name = name;
	}
}

void control_count_resident(struct worker *w, struct control_entry *e)
{
	uint64_t chunk = control_chunk(w);
	uint64_t n_chunks = e->size / chunk + (e->size % chunk != 0);
	uint32_t n = 0;

	e->n_chunks = 0;
	if (w->store && e->id && n_chunks &&
	    pfs_store_residency(w->store, e->id, n_chunks, &n, 1) == 0)
		e->n_chunks = n;
}

int control_list(struct worker *w, struct control_list *all)
{
	PFS_AUTO(control_list_done) struct control_list in_use = {.at = NULL};
	int err = 0;

	if (w->catalog)
		err = pfs_catalog_images(w->catalog, note_row, all);
	if (err || all->err)
		return err < 0 ? err : all->err;
	(void)image_each(w, note_use, &in_use);
	if (in_use.err)
		return in_use.err;
	merge(all, &in_use);
	if (all->err)
		return all->err;
	if (all->n)
		qsort(all->at, all->n, sizeof(*all->at), by_name);
	return 0;
}

int control_find(struct control_call *call, struct control_list *all,
		 struct control_entry **out)
{
	PFS_AUTO_FREE char *name = NULL;
	int err = pfs_json_bytes(call->req, "image", &name);

	if (err)
		return control_fail(call, -EINVAL, "which image?");
	err = control_list(call->w, all);
	if (err)
		return err;
	for (size_t i = 0; i < all->n; i++) {
		if (strcmp(all->at[i].name, name) != 0)
			continue;
		*out = &all->at[i];
		return 0;
	}
	return control_fail(call, -ENOENT,
			    "no image '%.256s' is known here: give its path "
			    "below the mountpoint (pfsctl images lists them; "
			    "one that was never opened is not known)",
			    name);
}

int control_find_known(struct control_call *call, struct control_list *all,
		       struct control_entry **out)
{
	int err = control_find(call, all, out);

	if (!err && !(*out)->id)
		return control_fail(call, -ENODEV,
				    "%.256s is served past the store: nothing "
				    "is kept or learnt of it",
				    (*out)->name);
	return err;
}

const char *control_name_of(const struct control_list *all, uint64_t id)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->at[i].id == id)
			return all->at[i].name;
	return NULL;
}

int control_need_store(struct control_call *call)
{
	if (call->w->store)
		return 0;
	return control_fail(call, -ENODEV,
			    "this mount has no store (see pfsctl status): "
			    "there is nothing to look at");
}
