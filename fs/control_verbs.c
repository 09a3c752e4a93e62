/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The verbs about the mount as a whole, and the table of all verbs. */
#include "control_verbs.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/fault.h>

#include "control_tell.h"
#include "proto.h"

int control_fail(struct control_call *call, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(call->why, sizeof(call->why), fmt, ap);
	va_end(ap);
	return err;
}

uint64_t control_chunk(const struct worker *w)
{
	return w->store ? pfs_store_chunk(w->store) : w->opt.chunk;
}

/* --- status --- */

/* Of this process; "" if it cannot be told.  The binary may have been
 * replaced since: the name is what counts then. */
static void own_binary(char out[PATH_MAX])
{
	static const char deleted[] = " (deleted)";
	size_t tail = sizeof(deleted) - 1;
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
	size_t len = n < 0 ? 0 : (size_t)n;

	out[len] = '\0';
	if (len > tail && !strcmp(out + len - tail, deleted))
		out[len - tail] = '\0';
}

static void add_option(void *arg, const char *name, const char *value)
{
	pfs_json_set_str(arg, name, value);
}

static struct pfs_json *tell_options(const struct worker *w)
{
	struct pfs_json *o = pfs_json_object();

	options_each(&w->opt, add_option, o);
	return o;
}

static struct pfs_json *tell_store(const struct worker *w)
{
	struct pfs_json *o = pfs_json_object();
	struct pfs_store_status st;

	if (!w->store) {
		pfs_json_set_str(o, "state", "none");
		return o;
	}
	pfs_store_status(w->store, &st);
	pfs_json_set_str(o, "state",
			 st.health == PFS_STORE_OK ? "ok" : "bypassed");
	pfs_json_set_str(o, "io", st.is_direct ? "direct" : "buffered");
	pfs_json_set_u64(o, "size", st.size);
	pfs_json_set_u64(o, "resident_bytes", st.n_chunks * st.chunk);
	pfs_json_set_share(o, "resident_share", st.n_chunks * st.chunk,
			   st.size);
	pfs_json_set_u64(o, "chunk", st.chunk);
	pfs_json_set_u64(o, "chunks", st.n_chunks);
	pfs_json_set_u64(o, "segments", st.n_segments);
	pfs_json_set_u64(o, "free_segments", st.n_free_segments);
	pfs_json_set_u64(o, "segment_slots", st.segment_slots);
	pfs_json_set_u64(o, "index_bytes", st.index_bytes);
	pfs_json_set_u64(o, "fetching", st.n_fetching);
	pfs_json_set_u64(o, "quarantined", st.n_quarantined);
	pfs_json_set_u64(o, "generation", st.generation);
	pfs_json_set_str(o, "uuid", st.uuid);
	return o;
}

static struct pfs_json *tell_catalog(const struct worker *w)
{
	const struct pfs_catalog_state *st = &w->catalog_state;
	struct pfs_json *o = pfs_json_object();

	pfs_json_set_str(o, "state",
			 !w->catalog        ? "none"
			 : st->is_in_memory ? "in memory"
			 : st->set_aside[0] ? "started anew"
					    : "ok");
	pfs_json_set_bool(o, "is_fresh", st->is_fresh);
	pfs_json_set_str(o, "set_aside", st->set_aside);
	if (w->marks)
		pfs_json_set_u64(o, "marked_images", pfs_marks_count(w->marks));
	return o;
}

static int count_image(void *arg, const struct image_info *info)
{
	uint64_t *n = arg;

	n[0]++;
	n[1] += info->n_handles;
	n[2] += info->n_writers;
	return 0;
}

static struct pfs_json *tell_use(struct worker *w)
{
	struct pfs_json *o = pfs_json_object();
	uint64_t n[3] = {0};

	(void)image_each(w, count_image, n);
	pfs_json_set_u64(o, "images", n[0]);
	pfs_json_set_u64(o, "handles", n[1]);
	pfs_json_set_u64(o, "writers", n[2]);
	return o;
}

static uint64_t seconds_since(uint64_t now_ns, uint64_t then_ns)
{
	return now_ns > then_ns ? (now_ns - then_ns) / PFS_NSEC_PER_SEC : 0;
}

static int status(struct control_call *call)
{
	struct worker *w = call->w;
	struct pfs_json *o = call->result;
	char binary[PATH_MAX];

	own_binary(binary);
	pfs_json_set_str(o, "mountpoint", w->opt.mountpoint);
	pfs_json_set_str(o, "source", w->opt.source);
	pfs_json_set_str(o, "id", w->opt.id);
	pfs_json_set_str(o, "version", pfs_ctl_version());
	pfs_json_set_str(o, "binary", binary);
	pfs_json_set_u64(o, "supervisor_pid", (uint64_t)getppid());
	pfs_json_set_u64(o, "worker_pid", (uint64_t)getpid());
	pfs_json_set_u64(o, "uptime_s",
			 seconds_since(pfs_wall_ns(), w->state->mount_id_ns));
	pfs_json_set_u64(o, "worker_uptime_s",
			 seconds_since(pfs_now_ns(), w->start_ns));
	pfs_json_set_u64(o, "worker_starts", w->state->n_starts);
	pfs_json_set_u64(o, "worker_deaths", w->state->n_deaths);
	pfs_json_set_str(o, "log", control_log_level());
	pfs_json_set_bool(o, "faults_enabled", pfs_fault_enabled());
	pfs_json_set(o, "options", tell_options(w));
	pfs_json_set(o, "store", tell_store(w));
	pfs_json_set(o, "catalog", tell_catalog(w));
	pfs_json_set(o, "in_use", tell_use(w));
	pfs_json_set(o, "prefetch", control_tell_settings(w));
	return 0;
}

/* --- what the supervisor does --- */

/* First image that is open, for the sentence. */
static int find_open(void *arg, const struct image_info *info)
{
	char **name = arg;

	if (!info->n_handles)
		return 0;
	*name = strdup(info->path);
	return 1;
}

/* The daemon would go all the same and leave its clients with ENOTCONN, so
 * this is asked first.  Closes may still be under way: they have a second. */
static int must_be_idle(struct control_call *call)
{
	uint64_t end_ns = pfs_now_ns() + PFS_NSEC_PER_SEC;

	for (;;) {
		PFS_AUTO_FREE char *name = NULL;

		if (!image_each(call->w, find_open, &name))
			return 0;
		if (call->stop)
			return -ECANCELED;
		if (pfs_now_ns() >= end_ns)
			return control_fail(call, -EBUSY,
					    "%.256s is open: stop what uses "
					    "it (fuser -vm %.256s), or cut it "
					    "off with --force",
					    name ? name : "an image",
					    call->w->opt.mountpoint);
		pfs_sleep_ms(10);
	}
}

static int stop(struct control_call *call)
{
	int err = pfs_json_is_true(call->req, "force") ? 0 : must_be_idle(call);

	if (err)
		return err;
	err = proto_send(call->w->sup_fd, PROTO_STOP_MOUNT, NULL, 0, NULL, 0);

	pfs_json_set_u64(call->result, "supervisor_pid", (uint64_t)getppid());
	pfs_json_set_u64(call->result, "worker_pid", (uint64_t)getpid());
	return err;
}

static int upgrade(struct control_call *call)
{
	PFS_AUTO_FREE char *binary = NULL;
	char own[PATH_MAX] = "";
	uint32_t type = pfs_json_is_true(call->req, "supervisor")
				? PROTO_UPGRADE_ALL
				: PROTO_UPGRADE;
	const char *path;
	int err = pfs_json_bytes(call->req, "binary", &binary);

	if (err == -ENOENT)
		own_binary(own);
	else if (err)
		return err;
	path = binary ? binary : own;
	if (path[0] != '/' || strlen(path) >= PATH_MAX)
		return control_fail(call, -EINVAL,
				    "the binary must be an absolute path");
	if (access(path, X_OK) < 0)
		return control_fail(call, -errno, "%.256s: %s", path,
				    strerror(errno));
	return proto_send(call->w->sup_fd, type, path, strlen(path) + 1, NULL,
			  0);
}

/* --- debug: fault points --- */

static int fault_arm(struct control_call *call)
{
	PFS_AUTO_FREE char *spec = NULL;
	const char *bad = "";
	int err = pfs_json_bytes(call->req, "spec", &spec);

	if (err)
		return control_fail(call, -EINVAL, "arm needs a \"spec\"");
	err = pfs_fault_arm(spec, &bad);
	if (err == -EINVAL)
		return control_fail(call, err,
				    "not understood from '%.64s' on: "
				    "POINT:ACTION[=ARG][@NTH][xCOUNT],...",
				    bad);
	if (err == -ENOSPC)
		return control_fail(call, err,
				    "64 rules are armed: clear some first");
	return err;
}

static int fault_resume(struct control_call *call)
{
	PFS_AUTO_FREE char *name = NULL;
	enum pfs_fault_point p = PFS_FP_N;
	int err = pfs_json_bytes(call->req, "point", &name);

	if (err && err != -ENOENT)
		return err;
	if (name) {
		p = pfs_fault_find(name, strlen(name));
		if (p == PFS_FP_N)
			return control_fail(call, -ENOENT,
					    "there is no fault point '%.64s'",
					    name);
	}
	pfs_fault_resume(p);
	return 0;
}

static int fault_status(struct control_call *call)
{
	struct pfs_json *points = pfs_json_array();

	for (unsigned int p = 0; p < PFS_FP_N; p++) {
		struct pfs_json *o = pfs_json_object();
		uint32_t n_paused;
		uint64_t n_fired;

		pfs_fault_stat((enum pfs_fault_point)p, &n_paused, &n_fired);
		pfs_json_set_str(o, "name",
				 pfs_fault_name((enum pfs_fault_point)p));
		pfs_json_set_u64(o, "paused", n_paused);
		pfs_json_set_u64(o, "fired", n_fired);
		pfs_json_push(points, o);
	}
	pfs_json_set(call->result, "points", points);
	return 0;
}

static int debug(struct control_call *call)
{
	const char *action = pfs_json_str(call->req, "action");

	if (!pfs_fault_enabled())
		return control_fail(call, -EPERM,
				    "fault points are off in this daemon: "
				    "mount with PFS_FAULTS=1 in the "
				    "environment");
	if (action && !strcmp(action, "arm"))
		return fault_arm(call);
	if (action && !strcmp(action, "resume"))
		return fault_resume(call);
	if (action && !strcmp(action, "status"))
		return fault_status(call);
	if (action && !strcmp(action, "clear")) {
		pfs_fault_clear();
		return 0;
	}
	return control_fail(call, -EINVAL,
			    "the action is arm, clear, resume or status");
}

/* --- the table --- */

const struct control_verb *control_verb_find(const char *name)
{
	static const struct control_verb verbs[] = {
		{"status", CONTROL_JOB, status},
		{"stats", CONTROL_JOB, control_stats},
		{"images", CONTROL_JOB, control_images},
		{"skipped", CONTROL_LONG, control_skipped},
		{"map", CONTROL_JOB, control_map},
		{"drop", CONTROL_JOB, control_drop},
		{"verify", CONTROL_LONG, control_verify},
		{"why", CONTROL_JOB, control_why},
		{"warm", CONTROL_LONG, control_warm},
		{"pin", CONTROL_JOB, control_pin},
		{"unpin", CONTROL_JOB, control_unpin},
		{"pins", CONTROL_JOB, control_pins},
		{"recording", CONTROL_JOB, control_recording},
		{"trace", CONTROL_JOB, control_trace},
		{"set", CONTROL_INLINE, control_set},
		{"stop", CONTROL_JOB, stop},
		{"upgrade", CONTROL_UPGRADE, upgrade},
		{"debug", CONTROL_INLINE, debug},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(verbs); i++)
		if (!strcmp(name, verbs[i].name))
			return &verbs[i];
	return NULL;
}
