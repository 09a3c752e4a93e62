/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The verbs about images and what is resident of them. */
#include "control_list.h"
#include "ops.h"

#define SKIPPED_MAX 10000u
#define CELLS_MAX 4096u

/* --- images --- */

static struct pfs_json *tell_entry(struct worker *w, struct control_entry *e)
{
	struct pfs_json *o = pfs_json_object();
	uint64_t bytes;

	if (e->is_in_use)
		control_count_resident(w, e);
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
	PFS_AUTO(control_list_done) struct control_list all = {.at = NULL};
	struct pfs_json *images = pfs_json_array();
	int err = control_list(call->w, &all);

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
	PFS_AUTO(control_list_done) struct control_list all = {.at = NULL};
	uint64_t chunk = control_chunk(call->w);
	uint64_t n_cells = 64, n_chunks;
	uint32_t cells[CELLS_MAX];
	struct control_entry *e;
	int err = pfs_json_u64(call->req, "cells", &n_cells);

	if (err == -EINVAL || !n_cells || n_cells > CELLS_MAX)
		return control_fail(call, -EINVAL, "cells is 1 to %u",
				    CELLS_MAX);
	err = control_need_store(call);
	if (!err)
		err = control_find(call, &all, &e);
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
	PFS_AUTO(control_list_done) struct control_list all = {.at = NULL};
	struct control_entry *e = NULL;
	uint64_t n_dropped = 0;
	int err = control_need_store(call);

	if (!err && !pfs_json_is_true(call->req, "all"))
		err = control_find_known(call, &all, &e);
	if (err)
		return err;
	err = pfs_store_drop(call->w->store, e ? e->id : 0, &n_dropped);
	if (err)
		return err;
	pfs_json_set_u64(call->result, "chunks", n_dropped);
	return 0;
}

/* --- verify --- */

static int verify_entry(struct control_call *call,
			const struct control_entry *e,
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

static int verify_all(struct control_call *call, struct control_list *all,
		      struct pfs_verify_result *sum)
{
	int err = control_list(call->w, all);

	for (size_t i = 0; i < all->n && !err; i++)
		if (all->at[i].is_in_use) {
			control_count_resident(call->w, &all->at[i]);
			call->n_total += all->at[i].n_chunks;
		}
	for (size_t i = 0; i < all->n && !err && !call->stop; i++)
		err = verify_entry(call, &all->at[i], sum);
	return err;
}

static int verify_one(struct control_call *call, struct control_list *all,
		      struct pfs_verify_result *sum)
{
	struct control_entry *e = NULL;
	int err = control_find(call, all, &e);

	if (!e)
		return err;
	if (!e->is_in_use)
		return control_fail(call, -ENOENT,
				    "%.256s is not in use, so its chunks are "
				    "not loaded: open it, or unmount and run "
				    "pfsctl fsck",
				    e->name);
	control_count_resident(call->w, e);
	call->n_total = e->n_chunks;
	return verify_entry(call, e, sum);
}

int control_verify(struct control_call *call)
{
	PFS_AUTO(control_list_done) struct control_list all = {.at = NULL};
	struct pfs_verify_result sum = {0};
	uint64_t n_idle = 0;
	int err = control_need_store(call);

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
