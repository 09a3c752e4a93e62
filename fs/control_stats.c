/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * stats: the counters, what each image and each VM has to do with them, and
 * how long the source takes.  Counters go on across workers; what is told of
 * images and VMs is since this worker's start.
 */
#include <stdio.h>
#include <string.h>

#include <pfs/counters.h>

#include "control_list.h"
#include "control_tell.h"
#include "predict.h"
#include "vm.h"

#define PAIRS_MAX READERS_MAX

void control_tell_vm(struct worker *w, uint64_t vm, struct pfs_json *o)
{
	struct vm known;
	char number[24] = "unknown";

	if (vm)
		(void)snprintf(number, sizeof(number), "%016llx",
			       (unsigned long long)vm);
	pfs_json_set_str(o, "vm", number);
	vm_look_up(w, vm, &known);
	if (!known.pid)
		return;
	pfs_json_set_u64(o, "pid", (uint64_t)known.pid);
	pfs_json_set_str(o, "command", known.command);
}

/* --- what the predictor did --- */

static struct pfs_json *tell_score(unsigned int proposer,
				   const struct pfs_score *s, bool is_on)
{
	struct pfs_json *o = pfs_json_object();

	pfs_json_set_str(o, "name", pfs_proposer_name(proposer));
	pfs_json_set_bool(o, "is_on", is_on);
	pfs_json_set_bool(o, "is_probing", s->is_off);
	pfs_json_set_u64(o, "proposed", s->proposed);
	pfs_json_set_u64(o, "came", s->came);
	pfs_json_set_u64(o, "fetched", s->issued);
	pfs_json_set_u64(o, "used", s->used);
	pfs_json_set_real(o, "precision", s->precision);
	pfs_json_set_real(o, "coverage", s->coverage);
	pfs_json_set_real(o, "saved_us_per_chunk", s->saved_ns / 1e3);
	return o;
}

static void tell_dropped(const struct pfs_prefetch_stats *n, struct pfs_json *o)
{
	pfs_json_set_u64(o, "dropped_old", n->dropped_old);
	pfs_json_set_u64(o, "dropped_budget", n->dropped_budget);
	pfs_json_set_u64(o, "dropped_full", n->dropped_full);
	pfs_json_set_u64(o, "in_flight", n->in_flight);
	pfs_json_set_u64(o, "source_us", n->source_ns / 1000);
}

/* image, vm: 0 for all. */
static struct pfs_json *tell_prefetch(struct worker *w, uint64_t image,
				      uint64_t vm)
{
	struct pfs_json *o = pfs_json_object(), *scores = pfs_json_array();
	uint64_t chunk = control_chunk(w);
	struct predict_settings set;
	struct pfs_prefetch_stats n;

	predict_settings(w, &set);
	predict_stats(w, image, vm, &n);
	pfs_json_set_u64(o, "bytes", n.issued * chunk);
	pfs_json_set_u64(o, "used_bytes", n.used * chunk);
	pfs_json_set_u64(o, "late_bytes", n.late * chunk);
	pfs_json_set_u64(o, "extra_bytes", n.extra * chunk);
	pfs_json_set_u64(o, "pending_bytes", n.pending * chunk);
	pfs_json_set_real(o, "saved_s", (double)n.saved_ns / 1e9);
	if (!image && !vm)
		tell_dropped(&n, o);
	for (unsigned int i = 0; i < PFS_PROPOSER_N; i++)
		pfs_json_push(scores, tell_score(i, &n.score[i],
						 set.proposers & 1u << i));
	pfs_json_set(o, "proposers", scores);
	return o;
}

/* --- what guests did --- */

static void tell_reads(const struct reader_counts *n, struct pfs_json *o)
{
	uint64_t n_served = n->n_hits + n->n_late + n->n_misses + n->n_direct;

	pfs_json_set_u64(o, "reads", n_served + n->n_holes);
	pfs_json_set_u64(o, "reads_hit", n->n_hits);
	pfs_json_set_u64(o, "reads_late", n->n_late);
	pfs_json_set_u64(o, "reads_miss", n->n_misses);
	pfs_json_set_u64(o, "reads_hole", n->n_holes);
	pfs_json_set_u64(o, "reads_direct", n->n_direct);
	pfs_json_set_share(o, "hit_share", n->n_hits, n_served);
	pfs_json_set_u64(o, "read_bytes", n->read_bytes);
	pfs_json_set_u64(o, "writes", n->n_writes);
	pfs_json_set_u64(o, "write_bytes", n->write_bytes);
}

/* READERS_ANY for all.  The predictor has no figures of the unknown VM's
 * own. */
static void tell_use(struct worker *w, uint64_t image, uint64_t vm,
		     struct pfs_json *o)
{
	struct reader_counts n;

	predict_reads(w, image, vm, &n);
	tell_reads(&n, o);
	if (vm)
		pfs_json_set(o, "prefetch",
			     tell_prefetch(w, image == READERS_ANY ? 0 : image,
					   vm == READERS_ANY ? 0 : vm));
}

/* --- which images and VMs there are --- */

struct names {
	uint64_t at[PAIRS_MAX];
	size_t n;
	uint64_t only_image, only_vm; /* READERS_ANY: all */
	bool wants_vms;
};

static int note_name(void *arg, uint64_t image, uint64_t vm)
{
	struct names *t = arg;
	uint64_t name = t->wants_vms ? vm : image;

	if ((t->only_image != READERS_ANY && image != t->only_image) ||
	    (t->only_vm != READERS_ANY && vm != t->only_vm))
		return 0;
	for (size_t i = 0; i < t->n; i++)
		if (t->at[i] == name)
			return 0;
	if (t->n == PAIRS_MAX)
		return 1;
	t->at[t->n++] = name;
	return 0;
}

static void tell_vms(struct worker *w, uint64_t image, struct pfs_json *o)
{
	struct names t = {
		.only_image = image, .only_vm = READERS_ANY, .wants_vms = true};
	struct pfs_json *vms = pfs_json_array();

	(void)predict_each_reader(w, note_name, &t);
	for (size_t i = 0; i < t.n; i++) {
		struct pfs_json *one = pfs_json_object();

		control_tell_vm(w, t.at[i], one);
		tell_use(w, image, t.at[i], one);
		pfs_json_push(vms, one);
	}
	pfs_json_set(o, "vms", vms);
}

static void tell_images(struct worker *w, const struct control_list *all,
			uint64_t vm, struct pfs_json *o)
{
	struct names t = {.only_image = READERS_ANY, .only_vm = vm};
	struct pfs_json *images = pfs_json_array();

	(void)predict_each_reader(w, note_name, &t);
	for (size_t i = 0; i < t.n; i++) {
		const char *name = control_name_of(all, t.at[i]);
		struct pfs_json *one;

		if (!name)
			continue; /* its file is gone */
		one = pfs_json_object();
		pfs_json_set_str(one, "name", name);
		tell_use(w, t.at[i], vm, one);
		pfs_json_push(images, one);
	}
	pfs_json_set(o, "images", images);
}

/* --- the mount --- */

static void tell_counters(struct worker *w, struct pfs_json *o)
{
	uint64_t n[PFS_C_N], n_served;

	predict_count(w);
	pfs_counters_read(n);
	for (unsigned int c = 0; c < PFS_C_N; c++)
		pfs_json_set_u64(o, pfs_counter_info[c].name, n[c]);
	/* Of the reads that needed bytes from somewhere. */
	n_served = n[PFS_C_READ_HIT] + n[PFS_C_READ_LATE] + n[PFS_C_READ_MISS] +
		   n[PFS_C_READ_DIRECT];
	pfs_json_set_share(o, "hit_share", n[PFS_C_READ_HIT], n_served);
}

static struct pfs_json *tell_buckets(const uint64_t *n)
{
	struct pfs_json *a = pfs_json_array();

	for (uint32_t i = 0; i < PFS_LATENCY_BUCKETS; i++)
		pfs_json_push_u64(a, n[i]);
	return a;
}

/* How often a read of the source took 2^i ns and more, i from 0 on. */
static void tell_latency(struct worker *w, struct pfs_json *o)
{
	struct pfs_json *latency = pfs_json_object();
	struct pfs_store_latency n;

	pfs_store_latency(w->store, &n);
	pfs_json_set(latency, "demand", tell_buckets(n.demand));
	pfs_json_set(latency, "prefetch", tell_buckets(n.prefetch));
	pfs_json_set(o, "source_latency", latency);
}

static int find_vm(struct control_call *call, uint64_t *out)
{
	PFS_AUTO_FREE char *word = NULL;
	int err = pfs_json_bytes(call->req, "vm", &word);

	if (err == -ENOENT)
		return 0; /* READERS_ANY stays */
	if (!err)
		err = vm_parse(call->w, word, out);
	if (err == -ENOENT)
		return control_fail(call, err,
				    "process %.16s has no image open here: "
				    "pfsctl stats lists VMs, with the number "
				    "of those that have ended",
				    word);
	return err ? control_fail(call, -EINVAL,
				  "a VM is the pid of a process or 16 "
				  "hexadecimal digits, as pfsctl stats tells")
		   : 0;
}

static int tell_some(struct control_call *call, struct control_list *all,
		     uint64_t vm)
{
	struct pfs_json *o = call->result;
	struct control_entry *e = NULL;
	uint64_t image = READERS_ANY;
	int err = pfs_json_get(call->req, "image")
			  ? control_find_known(call, all, &e)
			  : control_list(call->w, all);

	if (err)
		return err;
	if (e) {
		image = e->id;
		pfs_json_set_str(o, "name", e->name);
	}
	if (vm != READERS_ANY)
		control_tell_vm(call->w, vm, o);
	tell_use(call->w, image, vm, o);
	if (vm == READERS_ANY)
		tell_vms(call->w, image, o);
	else if (!e)
		tell_images(call->w, all, vm, o);
	return 0;
}

int control_stats(struct control_call *call)
{
	PFS_AUTO(control_list_done) struct control_list all = {.at = NULL};
	struct pfs_json *o = call->result;
	uint64_t vm = READERS_ANY;
	int err = find_vm(call, &vm);

	if (err)
		return err;
	if (pfs_json_get(call->req, "image") || vm != READERS_ANY)
		return tell_some(call, &all, vm);
	tell_counters(call->w, o);
	pfs_json_set(o, "prefetch", tell_prefetch(call->w, 0, 0));
	if (call->w->store)
		tell_latency(call->w, o);
	/* A catalog that fails must not hide the counters that say so. */
	err = control_list(call->w, &all);
	if (err)
		pfs_json_set_str(o, "images_error", strerror(-err));
	tell_images(call->w, &all, READERS_ANY, o);
	tell_vms(call->w, READERS_ANY, o);
	return 0;
}
