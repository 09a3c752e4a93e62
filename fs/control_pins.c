/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pin, unpin, pins: what of an image eviction is to keep. */
#include <string.h>

#include "control_hold.h"
#include "control_list.h"
#include "pins.h"
#include "predict.h"

/* Bytes, both included. */
struct range {
	uint64_t first, last;
};

/* "offset" and "length", or the whole image. */
static int get_range(struct control_call *call, uint64_t size,
		     struct range *out)
{
	uint64_t off = 0, len = 0;
	int no_off = pfs_json_u64(call->req, "offset", &off);
	int no_len = pfs_json_u64(call->req, "length", &len);

	*out = (struct range){0, PINS_WHOLE};
	if (no_off == -ENOENT && no_len == -ENOENT)
		return 0;
	if (no_off || no_len || !len || off >= size || len > PINS_WHOLE - off)
		return control_fail(call, -EINVAL,
				    "a range is an offset below %llu, the size "
				    "of the image, and a length of at least 1",
				    (unsigned long long)size);
	*out = (struct range){off, off + len - 1};
	return 0;
}

static int explain_pin(struct control_call *call, const char *name, int err)
{
	if (err == -ENOSPC)
		return control_fail(call, err,
				    "no more than half of the store can be "
				    "pinned: unpin something, pin less of "
				    "%.256s, or mount with a larger store_size",
				    name);
	if (err == -E2BIG)
		return control_fail(call, err,
				    "%.256s has too many pins: unpin it and "
				    "pin larger parts",
				    name);
	return err;
}

/* In the store first: what it refuses is not kept. */
static int keep(struct control_call *call, const struct control_held *h,
		const struct range *r)
{
	struct worker *w = call->w;
	int err = pins_apply(w, h->size, h->sto, r->first, r->last);

	if (err)
		return explain_pin(call, h->name, err);
	err = pfs_catalog_pin(w->catalog, h->id, r->first, r->last);
	if (!err)
		return 0;
	pins_renew(w, h->id, h->size, h->sto);
	return explain_pin(call, h->name, err == -ENOSPC ? -E2BIG : err);
}

static int warm(struct control_call *call, const struct control_held *h,
		const struct range *r)
{
	uint64_t chunk = control_chunk(call->w);
	uint64_t first = r->first / chunk;
	uint64_t last = PFS_MIN(r->last, h->size - 1) / chunk;
	struct predict_settings set;
	int err;

	predict_settings(call->w, &set);
	if (!h->was_in_use || set.level == PFS_PREFETCH_OFF)
		return 0;
	err = control_warm_start(call, h, first, last - first + 1, false);
	if (!err)
		pfs_json_set_u64(call->result, "warming_chunks",
				 last - first + 1);
	return err;
}

int control_pin(struct control_call *call)
{
	PFS_AUTO(control_held_done) struct control_held h = {.img = NULL};
	struct range r;
	int err = control_hold(call, &h);

	if (!err)
		err = get_range(call, h.size, &r);
	if (!err)
		err = keep(call, &h, &r);
	if (err)
		return err;
	pfs_json_set_str(call->result, "image", h.name);
	pfs_json_set_bool(call->result, "in_use", h.was_in_use);
	return h.size ? warm(call, &h, &r) : 0;
}

int control_unpin(struct control_call *call)
{
	PFS_AUTO(control_held_done) struct control_held h = {.img = NULL};
	struct range r;
	int err = control_hold(call, &h);

	if (!err)
		err = get_range(call, UINT64_MAX, &r);
	if (err)
		return err;
	err = pfs_catalog_unpin(call->w->catalog, h.id, r.first, r.last);
	if (err == -ENOENT)
		return control_fail(call, err,
				    "no pin of %.256s lies within that: pfsctl "
				    "pins lists them",
				    h.name);
	if (!err)
		pins_renew(call->w, h.id, h.size, h.sto);
	return err;
}

/* --- pins --- */

struct telling {
	struct pfs_json *pins;
	const struct control_entry *e;
};

static int tell_pin(void *arg, uint64_t first, uint64_t last)
{
	const struct telling *t = arg;
	struct pfs_json *o = pfs_json_object();
	bool is_whole = !first && last == PINS_WHOLE;

	pfs_json_set_str(o, "image", t->e->name);
	pfs_json_set_u64(o, "offset", first);
	pfs_json_set_u64(o, "length", is_whole ? t->e->size : last - first + 1);
	pfs_json_set_bool(o, "is_whole", is_whole);
	pfs_json_set_bool(o, "in_use", t->e->is_in_use);
	pfs_json_push(t->pins, o);
	return 0;
}

static int tell_pins_of(struct control_call *call, struct pfs_json *pins,
			const struct control_entry *e)
{
	struct telling t = {pins, e};

	if (!e->id)
		return 0;
	return pfs_catalog_pins_load(call->w->catalog, e->id, tell_pin, &t);
}

int control_pins(struct control_call *call)
{
	PFS_AUTO(control_list_done) struct control_list all = {.at = NULL};
	struct pfs_json *pins = pfs_json_array();
	struct control_entry *one = NULL;
	int err = pfs_json_get(call->req, "image")
			  ? control_find_known(call, &all, &one)
			  : control_list(call->w, &all);

	if (!err && one)
		err = tell_pins_of(call, pins, one);
	for (size_t i = 0; i < all.n && !one && !err && !call->stop; i++)
		err = tell_pins_of(call, pins, &all.at[i]);
	pfs_json_set(call->result, "pins", pins);
	return err;
}
