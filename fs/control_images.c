/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The verbs about images.  What is known of an image comes from two places:
 * the catalog has a row for each that was ever opened, the image table knows
 * those in use.  Both are copied first, so that no lock of theirs is held
 * while the store is asked.
 */
#include <stdio.h>
#include <string.h>

#include "control_verbs.h"
#include "ops.h"

#define IMAGES_MAX 65536u
#define SKIPPED_MAX 10000u
#define CELLS_MAX 4096u

struct entry {
	uint64_t id;
	char *name; /* owned */
	uint64_t epoch, size;
	uint64_t n_chunks; /* resident */
	bool is_in_use;
	struct image_use {
		uint64_t n_reads, n_hits, n_late, n_misses;
		uint64_t read_bytes, write_bytes;
		uint32_t n_handles, n_writers;
		bool is_marked, is_expelled;
	} use;
};

struct list {
	struct entry *at;
	size_t n, room;
	int err;
};

static void list_done(struct list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->at[i].name);
	free(l->at);
}

/* A zeroed entry of that name, or NULL with l->err set. */
static struct entry *list_add(struct list *l, const char *name)
{
	char *copy;

	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct entry *at = l->n >= IMAGES_MAX
					   ? NULL
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
	l->at[l->n] = (struct entry){.name = copy};
	return &l->at[l->n++];
}

static int note_row(void *arg, const struct pfs_image_row *row,
		    uint64_t n_zones, uint64_t n_chunks)
{
	struct list *l = arg;
	struct entry *e;

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
	struct list *l = arg;
	struct entry *e = list_add(l, info->path);

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
	const struct entry *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name,
		      ((const struct entry *)b)->name);
}

/* The entry in use takes the place of the catalog's (its name moves too). */
static void merge(struct list *all, const struct list *in_use)
{
	size_t n_known = all->n;

	if (n_known)
		qsort(all->at, n_known, sizeof(*all->at), by_id);
	for (size_t i = 0; i < in_use->n && !all->err; i++) {
		const struct entry *u = &in_use->at[i];
		struct entry *e = u->id && n_known
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

static void count_resident(struct worker *w, struct entry *e)
{
	uint64_t chunk = control_chunk(w);
	uint64_t n_chunks = e->size / chunk + (e->size % chunk != 0);
	uint32_t n = 0;

	e->n_chunks = 0;
	if (w->store && e->id && n_chunks &&
	    pfs_store_residency(w->store, e->id, n_chunks, &n, 1) == 0)
		e->n_chunks = n;
}

/* All images, sorted by name. */
static int list_images(struct worker *w, struct list *all)
{
	PFS_AUTO(list_done) struct list in_use = {.at = NULL};
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

static int find_image(struct control_call *call, struct list *all,
		      struct entry **out)
{
	PFS_AUTO_FREE char *name = NULL;
	int err = pfs_json_bytes(call->req, "image", &name);

	if (err)
		return control_fail(call, -EINVAL, "which image?");
	err = list_images(call->w, all);
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

/* --- images --- */

static struct pfs_json *tell_entry(struct worker *w, struct entry *e)
{
	struct pfs_json *o = pfs_json_object();
	uint64_t bytes;

	if (e->is_in_use)
		count_resident(w, e);
	bytes = PFS_MIN(e->n_chunks * control_chunk(w), e->size);
	pfs_json_set_str(o, "name", e->name);
	pfs_json_set_u64(o, "id", e->id);
	pfs_json_set_u64(o, "epoch", e->epoch);
	pfs_json_set_u64(o, "size", e->size);
	pfs_json_set_u64(o, "resident_bytes", bytes);
	pfs_json_set_share(o, "resident_share", bytes, e->size);
	pfs_json_set_bool(o, "in_use", e->is_in_use);
	if (!e->is_in_use)
		return o;
	pfs_json_set_u64(o, "handles", e->use.n_handles);
	pfs_json_set_u64(o, "writers", e->use.n_writers);
	pfs_json_set_bool(o, "is_marked", e->use.is_marked);
	pfs_json_set_bool(o, "is_expelled", e->use.is_expelled);
	pfs_json_set_u64(o, "reads", e->use.n_reads);
	pfs_json_set_u64(o, "reads_hit", e->use.n_hits);
	pfs_json_set_u64(o, "reads_late", e->use.n_late);
	pfs_json_set_u64(o, "reads_miss", e->use.n_misses);
	pfs_json_set_share(o, "hit_share", e->use.n_hits, e->use.n_reads);
	pfs_json_set_u64(o, "read_bytes", e->use.read_bytes);
	pfs_json_set_u64(o, "write_bytes", e->use.write_bytes);
	return o;
}

int control_images(struct control_call *call)
{
	PFS_AUTO(list_done) struct list all = {.at = NULL};
	struct pfs_json *images = pfs_json_array();
	int err = list_images(call->w, &all);

	for (size_t i = 0; i < all.n && !err && !call->stop; i++)
		pfs_json_push(images, tell_entry(call->w, &all.at[i]));
	pfs_json_set(call->result, "images", images);
	if (!err && call->stop)
		return -ECANCELED;
	return err;
}

/* --- skipped --- */

struct skipped {
	struct control_call *call;
	struct pfs_json *files;
	size_t n;
};

static int note_skipped(void *arg, const char *path, const char *reason)
{
	struct skipped *s = arg;
	struct pfs_json *o;

	if (s->call->stop || s->n == SKIPPED_MAX)
		return 1;
	o = pfs_json_object();
	pfs_json_set_str(o, "path", path);
	pfs_json_set_str(o, "reason", reason);
	pfs_json_push(s->files, o);
	s->n++;
	return 0;
}

int control_skipped(struct control_call *call)
{
	struct skipped s = {.call = call, .files = pfs_json_array()};
	int err = ops_skipped(call->w, note_skipped, &s);

	pfs_json_set(call->result, "skipped", s.files);
	pfs_json_set_bool(call->result, "is_cut", s.n == SKIPPED_MAX);
	if (call->stop)
		return -ECANCELED;
	return err < 0 ? err : 0;
}

/* --- map --- */

static int need_store(struct control_call *call)
{
	if (call->w->store)
		return 0;
	return control_fail(call, -ENODEV,
			    "this mount has no store (see pfsctl status): "
			    "there is nothing to look at");
}

static void tell_cells(struct control_call *call, const uint32_t *cells,
		       uint32_t n)
{
	struct pfs_json *counts = pfs_json_array();
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		pfs_json_push_u64(counts, cells[i]);
		sum += cells[i];
	}
	pfs_json_set_u64(call->result, "resident_chunks", sum);
	pfs_json_set(call->result, "cells", counts);
}

int control_map(struct control_call *call)
{
	PFS_AUTO(list_done) struct list all = {.at = NULL};
	uint64_t chunk = control_chunk(call->w);
	uint64_t n_cells = 64, n_chunks;
	uint32_t cells[CELLS_MAX];
	struct entry *e;
	int err = pfs_json_u64(call->req, "cells", &n_cells);

	if (err == -EINVAL || !n_cells || n_cells > CELLS_MAX)
		return control_fail(call, -EINVAL, "cells is 1 to %u",
				    CELLS_MAX);
	err = need_store(call);
	if (!err)
		err = find_image(call, &all, &e);
	if (err)
		return err;

	n_chunks = e->size / chunk + (e->size % chunk != 0);
	n_cells = PFS_MIN(n_cells, n_chunks);
	if (n_cells)
		err = pfs_store_residency(call->w->store, e->id, n_chunks,
					  cells, (uint32_t)n_cells);
	if (err)
		return err;
	pfs_json_set_str(call->result, "image", e->name);
	pfs_json_set_u64(call->result, "size", e->size);
	pfs_json_set_u64(call->result, "chunk", chunk);
	pfs_json_set_u64(call->result, "chunks", n_chunks);
	tell_cells(call, cells, (uint32_t)n_cells);
	return 0;
}

/* --- drop --- */

int control_drop(struct control_call *call)
{
	PFS_AUTO(list_done) struct list all = {.at = NULL};
	struct entry *e = NULL;
	uint64_t n_dropped = 0;
	int err = need_store(call);

	if (!err && !pfs_json_is_true(call->req, "all"))
		err = find_image(call, &all, &e);
	if (err)
		return err;
	if (e && !e->id)
		return control_fail(call, -ENODEV,
				    "%.256s is served past the store: it has "
				    "no chunks",
				    e->name);
	err = pfs_store_drop(call->w->store, e ? e->id : 0, &n_dropped);
	if (err)
		return err;
	pfs_json_set_u64(call->result, "chunks", n_dropped);
	return 0;
}

/* --- verify --- */

static int verify_entry(struct control_call *call, const struct entry *e,
			struct pfs_verify_result *sum)
{
	struct pfs_verify_result one = {0};
	int err;

	if (!e->is_in_use || !e->id)
		return 0;
	err = pfs_store_verify(call->w->store, e->id, &call->stop, &one);
	if (err == -ENOENT)
		return 0; /* closed meanwhile */
	sum->n_chunks += one.n_chunks;
	sum->n_bad += one.n_bad;
	call->n_done = sum->n_chunks;
	return err;
}

static int verify_all(struct control_call *call, struct list *all,
		      struct pfs_verify_result *sum)
{
	int err = list_images(call->w, all);

	for (size_t i = 0; i < all->n && !err; i++)
		if (all->at[i].is_in_use) {
			count_resident(call->w, &all->at[i]);
			call->n_total += all->at[i].n_chunks;
		}
	for (size_t i = 0; i < all->n && !err && !call->stop; i++)
		err = verify_entry(call, &all->at[i], sum);
	return err;
}

static int verify_one(struct control_call *call, struct list *all,
		      struct pfs_verify_result *sum)
{
	struct entry *e = NULL;
	int err = find_image(call, all, &e);

	if (!e)
		return err;
	if (!e->is_in_use)
		return control_fail(call, -ENOENT,
				    "%.256s is not in use, so its chunks are "
				    "not loaded: open it, or unmount and run "
				    "pfsctl fsck",
				    e->name);
	count_resident(call->w, e);
	call->n_total = e->n_chunks;
	return verify_entry(call, e, sum);
}

int control_verify(struct control_call *call)
{
	PFS_AUTO(list_done) struct list all = {.at = NULL};
	struct pfs_verify_result sum = {0};
	uint64_t n_idle = 0;
	int err = need_store(call);

	if (!err)
		err = pfs_json_get(call->req, "image")
			      ? verify_one(call, &all, &sum)
			      : verify_all(call, &all, &sum);
	if (err)
		return err;
	if (call->stop)
		return -ECANCELED;
	for (size_t i = 0; i < all.n; i++)
		n_idle += !all.at[i].is_in_use && all.at[i].n_chunks;
	pfs_json_set_u64(call->result, "chunks", sum.n_chunks);
	pfs_json_set_u64(call->result, "bad", sum.n_bad);
	pfs_json_set_u64(call->result, "images_not_loaded", n_idle);
	return 0;
}
