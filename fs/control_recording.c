/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * recording: what was learnt of an image, as portable pieces.  They are bytes
 * to us: pfsctl knows how to look inside.  Also of images that are not in use,
 * which the catalog alone knows.
 */
#include <string.h>

#include <pfs/recording.h>

#include "control_hold.h"
#include "control_list.h"
#include "control_tell.h"
#include "predict.h"

/* --- list --- */

/* The catalog calls back with its lock held: who taught is looked up later. */
struct listing {
	struct pfs_json *out;
	struct teacher {
		struct pfs_json *o; /* borrowed from out */
		uint64_t vm;
	} by[PFS_CATALOG_RECORDINGS_KEPT];
	size_t n;
};

static void list_sound(struct listing *l, struct pfs_json *o,
		       const struct pfs_recording_info *info)
{
	struct pfs_json *by = pfs_json_object();

	pfs_json_set_u64(o, "chunk", info->chunk);
	pfs_json_set_u64(o, "chunks", info->n_steps);
	pfs_json_set_u64(o, "read_bytes", info->read_bytes);
	pfs_json_set_u64(o, "sessions", info->n_sessions);
	pfs_json_set_real(o, "duration_s", (double)info->duration_ns / 1e9);
	pfs_json_set_u64(o, "vms", info->n_taught);
	pfs_json_set(o, "taught_by", by);
	if (l->n < PFS_ARRAY_SIZE(l->by))
		l->by[l->n++] = (struct teacher){by, info->taught_by};
}

static int list_one(void *arg, uint64_t number, const void *blob, size_t len)
{
	struct pfs_json *o = pfs_json_object();
	struct pfs_recording_info info;
	struct listing *l = arg;
	bool is_sound = !pfs_recording_info(blob, len, &info);

	pfs_json_set_u64(o, "number", number);
	pfs_json_set_u64(o, "bytes", len);
	pfs_json_set_bool(o, "is_sound", is_sound);
	if (is_sound)
		list_sound(l, o, &info);
	pfs_json_push(l->out, o);
	return 0;
}

static int list(struct control_call *call, const struct control_entry *e)
{
	struct listing l = {.out = pfs_json_array()};
	int err = predict_recordings(call->w, e->id, list_one, &l);

	for (size_t i = 0; i < l.n; i++)
		control_tell_vm(call->w, l.by[i].vm, l.by[i].o);
	pfs_json_set(call->result, "recordings", l.out);
	return err;
}

/* --- export, drop --- */

struct looking {
	uint64_t number;
	struct pfs_json *out;
	bool is_found;
};

static int look(void *arg, uint64_t number, const void *blob, size_t len)
{
	struct looking *l = arg;

	if (number != l->number)
		return 0;
	pfs_json_set_data(l->out, "data", blob, len);
	l->is_found = true;
	return 1;
}

static int no_such(struct control_call *call, const struct control_entry *e,
		   uint64_t number)
{
	return control_fail(call, -ENOENT,
			    "%.256s has no recording %llu: pfsctl recording "
			    "list tells which there are",
			    e->name, (unsigned long long)number);
}

static int export(struct control_call *call, const struct control_entry *e)
{
	struct looking l = {.out = call->result};
	int err;

	if (pfs_json_u64(call->req, "number", &l.number))
		return control_fail(call, -EINVAL, "which recording?");
	err = predict_recordings(call->w, e->id, look, &l);
	if (err < 0)
		return err;
	return l.is_found ? 0 : no_such(call, e, l.number);
}

static int drop(struct control_call *call, const struct control_entry *e)
{
	bool is_all = pfs_json_is_true(call->req, "all");
	uint64_t number = 0;
	int err;

	if (!is_all && (pfs_json_u64(call->req, "number", &number) || !number))
		return control_fail(call, -EINVAL, "which recording?");
	err = predict_drop(call->w, e->id, number);
	return err == -ENOENT && number ? no_such(call, e, number) : err;
}

/* --- import --- */

static int explain_import(struct control_call *call, const char *name,
			  const void *blob, size_t len, int err)
{
	struct pfs_recording_info info;

	switch (err) {
	case -EBADMSG:
		return control_fail(call, err,
				    "that is damaged, or no recording: export "
				    "it again");
	case -EINVAL:
		if (pfs_recording_info(blob, len, &info))
			return err;
		return control_fail(
			call, -EXDEV,
			"it was made with chunks of %u KiB, this mount has "
			"%llu KiB: only the same size can be used",
			info.chunk >> 10,
			(unsigned long long)(control_chunk(call->w) >> 10));
	case -ENOSPC:
		return control_fail(call, err,
				    "%.256s has %u recordings, as many as it "
				    "may: drop one first (pfsctl recording "
				    "drop)",
				    name, PFS_RECORDINGS_MAX);
	default:
		return err;
	}
}

static int import(struct control_call *call)
{
	PFS_AUTO(control_held_done) struct control_held h = {.img = NULL};
	PFS_AUTO_FREE void *blob = NULL;
	uint64_t number = 0;
	size_t len = 0;
	int err = pfs_json_data(call->req, "data", &blob, &len);

	if (err)
		return err == -ENOMEM
			       ? err
			       : control_fail(call, -EINVAL, "what recording?");
	err = control_hold(call, &h);
	if (err)
		return err;
	err = predict_import(call->w, h.id, blob, len, &number);
	if (err)
		return explain_import(call, h.name, blob, len, err);
	pfs_json_set_u64(call->result, "number", number);
	return 0;
}

/* --- the verb --- */

int control_recording(struct control_call *call)
{
	PFS_AUTO(control_list_done) struct control_list all = {.at = NULL};
	const char *action = pfs_json_str(call->req, "action");
	struct control_entry *e;
	int err;

	if (action && !strcmp(action, "import"))
		return import(call);
	err = control_find_known(call, &all, &e);
	if (err)
		return err;
	pfs_json_set_str(call->result, "image", e->name);
	if (action && !strcmp(action, "list"))
		return list(call, e);
	if (action && !strcmp(action, "export"))
		return export(call, e);
	if (action && !strcmp(action, "drop"))
		return drop(call, e);
	return control_fail(call, -EINVAL,
			    "the action is list, export, import or drop");
}
