/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "control_trace.h"

#include <string.h>

#include <pfs/clock.h>
#include <pfs/counters.h>

#include "control_list.h"
#include "predict.h"

#define TAKE_MAX 16384u /* records in one answer */
#define TAKE_WAIT_NS (500 * PFS_NSEC_PER_MSEC)
#define LAST_WAIT_MS 30 /* events may still be on their way */
#define FORGOTTEN_NS (10 * PFS_NSEC_PER_SEC)

void control_traces_init(struct control_traces *t)
{
	*t = (struct control_traces){.last_id = 0};
	pfs_mutex_init(&t->lock, PFS_RANK_CTL);
}

void control_traces_fini(struct control_traces *t, struct worker *w)
{
	for (uint32_t i = 0; i < CONTROL_TRACES; i++)
		if (t->at[i].id)
			predict_trace_stop(w, t->at[i].tracer);
	pfs_mutex_fini(&t->lock);
}

/* Accesses that no tracer saw, of any image. */
static uint64_t lost_events(void)
{
	uint64_t n[PFS_C_N];

	pfs_counters_read(n);
	return n[PFS_C_EVENTS_DROPPED];
}

/* --- begin --- */

/* A free place, or that of a client who is gone. */
static struct control_trace *find_room_locked(struct control_traces *t,
					      struct worker *w)
	PFS_REQUIRES(t->lock)
{
	uint64_t now = pfs_now_ns();

	for (uint32_t i = 0; i < CONTROL_TRACES; i++)
		if (!t->at[i].id)
			return &t->at[i];
	for (uint32_t i = 0; i < CONTROL_TRACES; i++) {
		struct control_trace *tr = &t->at[i];

		if (tr->is_busy || now - tr->taken_ns < FORGOTTEN_NS)
			continue;
		predict_trace_stop(w, tr->tracer);
		tr->id = 0;
		return tr;
	}
	return NULL;
}

static int begin_locked(struct control_traces *t, struct worker *w,
			uint64_t image, uint64_t *id) PFS_REQUIRES(t->lock)
{
	struct control_trace *tr = find_room_locked(t, w);
	struct tracer *tracer;
	int err = tr ? predict_trace_start(w, image, &tracer) : -EBUSY;

	if (err)
		return err;
	*tr = (struct control_trace){
		.id = ++t->last_id,
		.tracer = tracer,
		.taken_ns = pfs_now_ns(),
		.n_lost = lost_events(),
	};
	*id = tr->id;
	return 0;
}

static int begin(struct control_call *call)
{
	PFS_AUTO(control_list_done) struct control_list all = {.at = NULL};
	struct control_traces *t = call->traces;
	struct control_entry *e;
	uint64_t id = 0;
	int err = control_find_known(call, &all, &e);

	if (err)
		return err;
	pfs_mutex_lock(&t->lock);
	err = begin_locked(t, call->w, e->id, &id);
	pfs_mutex_unlock(&t->lock);
	if (err == -EBUSY)
		return control_fail(call, err,
				    "%u traces are being made: end one first",
				    CONTROL_TRACES);
	pfs_json_set_u64(call->result, "id", id);
	return err;
}

/* --- take --- */

static struct control_trace *claim(struct control_traces *t, uint64_t id)
{
	struct control_trace *found = NULL;

	pfs_mutex_lock(&t->lock);
	for (uint32_t i = 0; i < CONTROL_TRACES && id; i++)
		if (t->at[i].id == id && !t->at[i].is_busy)
			found = &t->at[i];
	if (found)
		found->is_busy = true;
	pfs_mutex_unlock(&t->lock);
	return found;
}

static void give_back(struct control_call *call, struct control_trace *tr,
		      bool is_last)
{
	pfs_mutex_lock(&call->traces->lock);
	if (is_last) {
		predict_trace_stop(call->w, tr->tracer);
		tr->id = 0;
	}
	tr->is_busy = false;
	tr->taken_ns = pfs_now_ns();
	pfs_mutex_unlock(&call->traces->lock);
}

/* Four numbers a record: time (us), write (1) or read (0), offset, length. */
static void tell_records(struct pfs_json *out, const struct trace_record *r,
			 size_t n)
{
	for (size_t i = 0; i < n; i++) {
		pfs_json_push_u64(out, r[i].time_ns / 1000);
		pfs_json_push_u64(out, r[i].is_write);
		pfs_json_push_u64(out, r[i].off);
		pfs_json_push_u64(out, r[i].len);
	}
}

static int take(struct control_call *call, bool is_last)
{
	PFS_AUTO_FREE struct trace_record *r = malloc(TAKE_MAX * sizeof(*r));
	struct pfs_json *records;
	struct control_trace *tr;
	uint64_t dropped = 0;
	size_t n;

	if (!r)
		return -ENOMEM;
	tr = claim(call->traces, pfs_json_num(call->req, "id"));
	if (!tr)
		return control_fail(call, -ESTALE,
				    "there is no such trace any more");
	if (is_last)
		pfs_sleep_ms(LAST_WAIT_MS);
	records = pfs_json_array();
	do {
		n = predict_trace_take(call->w, tr->tracer, r, TAKE_MAX,
				       is_last ? 0 : TAKE_WAIT_NS, &dropped);
		tell_records(records, r, n);
	} while (is_last && n == TAKE_MAX);
	dropped += lost_events() - tr->n_lost;
	give_back(call, tr, is_last);
	pfs_json_set(call->result, "records", records);
	pfs_json_set_u64(call->result, "dropped", dropped);
	return 0;
}

int control_trace(struct control_call *call)
{
	const char *action = pfs_json_str(call->req, "action");

	if (action && !strcmp(action, "begin"))
		return begin(call);
	if (action && !strcmp(action, "take"))
		return take(call, false);
	if (action && !strcmp(action, "end"))
		return take(call, true);
	return control_fail(call, -EINVAL, "the action is begin, take or end");
}
