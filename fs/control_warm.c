/* SPDX-License-Identifier: GPL-3.0-or-later */
/* warm: bring an image, or what its best recording holds of it, unasked. */
#include <string.h>

#include <pfs/clock.h>

#include "control_hold.h"
#include "predict.h"

#define LOOK_MS 50
#define SETTLE_NS PFS_NSEC_PER_SEC

int control_warm_start(struct control_call *call, const struct control_held *h,
		       uint64_t first, uint64_t n, bool from_recording)
{
	struct predict_settings set;
	int err;

	predict_settings(call->w, &set);
	if (set.level == PFS_PREFETCH_OFF)
		return control_fail(call, -EPERM,
				    "fetching ahead is off on this mount: "
				    "pfsctl set prefetch=balanced");
	predict_load(call->w, h->id, h->size);
	err = predict_warm(call->w, h->id, first, n, from_recording);
	if (err == -ENOENT && from_recording)
		return control_fail(call, err,
				    "nothing is recorded of %.256s yet: a "
				    "guest has to use it once, or pfsctl "
				    "recording import brings one",
				    h->name);
	return err;
}

static uint64_t n_resident(struct worker *w, const struct control_held *h)
{
	uint64_t chunk = control_chunk(w);
	uint64_t n_chunks = h->size / chunk + (h->size % chunk != 0);
	uint32_t n = 0;

	if (!n_chunks || pfs_store_residency(w->store, h->id, n_chunks, &n, 1))
		return 0;
	return n;
}

static int look_again(struct control_call *call)
{
	struct predict_settings set;

	predict_settings(call->w, &set);
	if (set.level == PFS_PREFETCH_OFF)
		return control_fail(call, -EPERM,
				    "fetching ahead was turned off meanwhile");
	pfs_sleep_ms(LOOK_MS);
	return call->stop ? -ECANCELED : 0;
}

/* What was handed out may still be under way. */
static int settle(struct control_call *call, const struct control_held *h)
{
	uint64_t since = pfs_now_ns(), n = n_resident(call->w, h);
	struct pfs_prefetch_stats st;
	int err = 0;

	do {
		uint64_t now = n_resident(call->w, h);

		if (now != n)
			since = pfs_now_ns();
		n = now;
		predict_stats(call->w, 0, 0, &st);
		err = look_again(call);
	} while (!err && st.in_flight && pfs_now_ns() - since < SETTLE_NS);
	return err;
}

static int wait_warm(struct control_call *call, const struct control_held *h)
{
	uint64_t left = predict_warming(call->w, h->id);
	int err = 0;

	call->n_total = PFS_MAX(call->n_total, left);
	while (left && !err) {
		call->n_done = call->n_total - PFS_MIN(left, call->n_total);
		err = look_again(call);
		left = predict_warming(call->w, h->id);
	}
	return err ? err : settle(call, h);
}

/* Fetches are refused while guests need the buffers, so again and again until
 * that brings nothing more. */
static int warm_and_wait(struct control_call *call,
			 const struct control_held *h, uint64_t n_chunks,
			 bool from_recording)
{
	uint64_t before, now = n_resident(call->w, h);
	int err;

	do {
		before = now;
		err = control_warm_start(call, h, 0, n_chunks, from_recording);
		if (!err)
			err = wait_warm(call, h);
		now = n_resident(call->w, h);
	} while (!err && now > before);
	return err;
}

int control_warm(struct control_call *call)
{
	PFS_AUTO(control_held_done) struct control_held h = {.img = NULL};
	bool from_recording = pfs_json_is_true(call->req, "recording");
	bool waits = pfs_json_is_true(call->req, "wait");
	uint64_t chunk = control_chunk(call->w), n_chunks;
	int err = control_hold(call, &h);

	if (err)
		return err;
	if (!waits && !h.was_in_use)
		return control_fail(call, -EAGAIN,
				    "%.256s is not in use: with --wait pfsctl "
				    "keeps it in use until it is warm",
				    h.name);
	n_chunks = h.size / chunk + (h.size % chunk != 0);
	err = waits ? warm_and_wait(call, &h, n_chunks, from_recording)
		    : control_warm_start(call, &h, 0, n_chunks, from_recording);
	pfs_json_set_str(call->result, "image", h.name);
	pfs_json_set_u64(call->result, "chunk", chunk);
	pfs_json_set_u64(call->result, "chunks", n_chunks);
	pfs_json_set_u64(call->result, "resident_chunks",
			 n_resident(call->w, &h));
	pfs_json_set_bool(call->result, "is_done", waits);
	return err;
}
