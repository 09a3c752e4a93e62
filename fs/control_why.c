/* SPDX-License-Identifier: GPL-3.0-or-later */
/* why: what was decided on one chunk. */
#include <pfs/clock.h>

#include "control_list.h"
#include "control_tell.h"
#include "predict.h"

#define DECISIONS_MAX 16u

/* --- why --- */

static const char *const fate_names[] = {
	[PFS_WHY_PENDING] = "pending",     [PFS_WHY_USED] = "used",
	[PFS_WHY_LATE] = "late",           [PFS_WHY_EXTRA] = "wasted",
	[PFS_WHY_NOT_TAKEN] = "not taken",
};

static double seconds_between(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 0;
}

static struct pfs_json *tell_proposers(uint32_t mask)
{
	struct pfs_json *names = pfs_json_array();

	for (unsigned int i = 0; i < PFS_PROPOSER_N; i++)
		if (mask & 1u << i)
			pfs_json_push_str(names, pfs_proposer_name(i));
	return names;
}

static struct pfs_json *tell_decision(struct worker *w, const struct pfs_why *y,
				      uint64_t now)
{
	struct pfs_json *o = pfs_json_object();

	control_tell_vm(w, y->vm, o);
	pfs_json_set(o, "proposers", tell_proposers(y->proposers));
	pfs_json_set_real(o, "confidence", y->confidence);
	pfs_json_set_str(o, "fate", fate_names[y->fate]);
	pfs_json_set_real(o, "asked_ago_s", seconds_between(y->asked_ns, now));
	if (y->ended_ns)
		pfs_json_set_real(o, "ended_after_s",
				  seconds_between(y->asked_ns, y->ended_ns));
	return o;
}

/* Resident chunks before number n: the first half of 2 n. */
static int count_before(struct worker *w, uint64_t image, uint64_t n,
			uint32_t *out)
{
	uint32_t half[2] = {0, 0};
	int err = n ? pfs_store_residency(w->store, image, 2 * n, half, 2) : 0;

	*out = half[0];
	return err;
}

static int is_resident(struct worker *w, uint64_t image, uint64_t chunk,
		       bool *out)
{
	uint32_t with, without;
	int err = count_before(w, image, chunk + 1, &with);

	if (!err)
		err = count_before(w, image, chunk, &without);
	*out = !err && with > without;
	return err;
}

int control_why(struct control_call *call)
{
	PFS_AUTO(control_list_done) struct control_list all = {.at = NULL};
	struct pfs_json *decisions, *o = call->result;
	struct pfs_why why[DECISIONS_MAX];
	uint64_t off, chunk = control_chunk(call->w), now;
	struct control_entry *e;
	bool resident;
	size_t n;
	int err = control_need_store(call);

	if (!err)
		err = control_find_known(call, &all, &e);
	if (err)
		return err;
	if (pfs_json_u64(call->req, "offset", &off) || off >= e->size)
		return control_fail(call, -EINVAL,
				    "the offset is a number of bytes below "
				    "%llu, the size of %.256s",
				    (unsigned long long)e->size, e->name);
	err = is_resident(call->w, e->id, off / chunk, &resident);
	if (err)
		return err;
	now = pfs_now_ns();
	n = predict_why(call->w, e->id, off / chunk, why, DECISIONS_MAX);
	decisions = pfs_json_array();
	for (size_t i = 0; i < n; i++)
		pfs_json_push(decisions, tell_decision(call->w, &why[i], now));
	pfs_json_set_str(o, "image", e->name);
	pfs_json_set_u64(o, "chunk", chunk);
	pfs_json_set_u64(o, "number", off / chunk);
	pfs_json_set_u64(o, "offset", off / chunk * chunk);
	pfs_json_set_bool(o, "is_resident", resident);
	pfs_json_set_bool(o, "in_use", e->is_in_use);
	pfs_json_set(o, "decisions", decisions);
	return 0;
}
