/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A worker's life: say hello, receive configuration and descriptors, prepare
 * libfuse, say READY; at GO open catalog, marks and store, take up what is open
 * and serve; at DRAIN finish, save and exit.
 *
 * Nothing durable is touched before GO: until then another worker may still be
 * using it.
 */
#include "worker.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/io.h>
#include <pfs/log.h>

#include "control.h"
#include "events.h"
#include "inval.h"
#include "lane.h"
#include "ops.h"
#include "predict.h"
#include "proto.h"
#include "session.h"

#define POOL_THREADS 64u
#define POOL_SMALL 256u
#define POOL_BIG 16u
#define FIXED_FDS_MIN 4

enum stage {
	STAGE_CONFIG, /* until CONFIG_END */
	STAGE_READY,  /* until GO */
	STAGE_RUNNING,
	STAGE_DONE,
};

struct life {
	struct worker *w;
	enum stage stage;
	bool has_config;
	bool is_successor;
	int gone_fd; /* eventfd: the mount is gone */
	int *kept;   /* STATE_FD_SLOTS descriptors, -1: none */
	struct proto_msg *msg;
};

/* --- configuration --- */

static int take_config(struct life *l, const struct proto_msg *m)
{
	int err;

	if (!m->len || m->data[m->len - 1])
		return -EPROTO;
	err = options_unpack((const char *)m->data, &l->w->opt);
	l->has_config = !err;
	return err;
}

static int take_fixed(struct life *l, struct proto_msg *m)
{
	struct worker *w = l->w;

	if (m->n_fds < FIXED_FDS_MIN)
		return -EPROTO;
	w->root_fd = m->fds[1];
	w->dev_fd = m->fds[2];
	w->control_fd = m->fds[3];
	/* Any further ones are the locks on catalog and store: held until we
	 * die, which is all that is to be done with them. */
	return state_map(m->fds[0], &w->state);
}

static int take_clones(struct life *l, const struct proto_msg *m)
{
	struct worker *w = l->w;

	if (m->n_fds < 1 || m->n_fds > WORKER_MAX_LANES)
		return -EPROTO;
	memcpy(w->clone_fd, m->fds, (size_t)m->n_fds * sizeof(*m->fds));
	w->n_clones = (unsigned int)m->n_fds;
	return 0;
}

static int take_kept(struct life *l, const struct proto_msg *m)
{
	if (m->len != (size_t)m->n_fds * sizeof(uint32_t))
		return -EPROTO;
	for (int i = 0; i < m->n_fds; i++) {
		uint32_t slot;

		memcpy(&slot, m->data + (size_t)i * sizeof(slot), sizeof(slot));
		if (slot >= STATE_FD_SLOTS)
			return -EPROTO;
		if (l->kept[slot] >= 0)
			close(l->kept[slot]);
		l->kept[slot] = m->fds[i];
	}
	return 0;
}

/* All was sent: prepare what does not touch anything durable. */
static int get_ready(struct life *l)
{
	struct worker *w = l->w;
	uint8_t reply[STATE_INIT_MAX];
	size_t len = 0;
	int err;

	if (!l->has_config || !w->state || !w->n_clones)
		return -EPROTO;
	err = session_create(w);
	if (!err && atomic_load(&w->state->init_len))
		err = session_init_replay(w, reply, &len);
	if (err)
		return err;
	l->stage = STAGE_READY;
	return proto_send(w->sup_fd, PROTO_READY, reply, len, NULL, 0);
}

/* --- opening --- */

static void on_catalog_trouble(void *arg, int err, const char *what)
{
	(void)arg;
	(void)err;
	pfs_log_limited(PFS_LOG_WARNING, "catalog", "%s", what);
}

/* Marks that cannot be read say that any row may be a lie: start cold. */
static int open_marks(struct worker *w)
{
	PFS_AUTO_FREE char *path = NULL;
	uint8_t uuid[PFS_UUID_LEN];
	bool all_dirty = false;
	int err;

	if (!w->catalog_state.is_in_memory &&
	    asprintf(&path, "%s.marks", w->opt.catalog) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	pfs_catalog_store_uuid(w->catalog, uuid);
	err = pfs_marks_open(path, uuid, &all_dirty, &w->marks);
	if (!err && all_dirty && !w->catalog_state.is_fresh)
		err = pfs_catalog_renew_store(w->catalog, uuid);
	if (!err && all_dirty)
		err = pfs_marks_rebind(w->marks, uuid);
	return err;
}

/* A store that had to be formatted has a new uuid, and no marks are needed for
 * what it held. */
static int bind_marks(struct worker *w, const uint8_t before[PFS_UUID_LEN])
{
	uint8_t now[PFS_UUID_LEN];

	pfs_catalog_store_uuid(w->catalog, now);
	if (!memcmp(before, now, sizeof(now)))
		return 0;
	return pfs_marks_rebind(w->marks, now);
}

/* The store is locked. */
static void tell_unread(void *arg, uint64_t image, uint64_t chunk)
{
	const struct worker *w = arg;
	const struct event e = {
		.kind = EVENT_UNREAD,
		.time_ns = pfs_now_ns(),
		.image = image,
		.off = chunk,
	};

	events_put(w->events, &e, false);
}

static void open_store(struct worker *w)
{
	struct pfs_store_config cfg = {
		.path = w->opt.store,
		.size = w->opt.store_size,
		.chunk = w->opt.chunk,
		.io = (enum pfs_store_io)w->opt.store_io,
		.verify = w->opt.verify,
		.catalog = w->catalog,
		.gens = &w->state->gens,
		.zone_saved = image_zone_saved,
		.unread = tell_unread,
		.arg = w,
	};
	int err;

	if (w->opt.is_safe) {
		pfs_log(PFS_LOG_ERROR, "worker",
			"the store is left alone after repeated crashes; "
			"images are read from their source");
		return;
	}
	if (!strcmp(w->opt.store, "none"))
		return;
	err = pfs_store_open(&cfg, &w->store);
	if (err)
		pfs_log(PFS_LOG_WARNING, "worker",
			"no store: %s; images are read from their source",
			strerror(-err));
}

/* Without marks a crash could leave rows that lie, so there is no store. */
static int go_without_marks(struct worker *w, int err)
{
	bool all_dirty;

	pfs_log(PFS_LOG_WARNING, "worker",
		"no store: the marks file fails: %s; images are read from "
		"their source",
		strerror(-err));
	pfs_store_close(pfs_take(&w->store));
	pfs_marks_close(pfs_take(&w->marks));
	return pfs_marks_open(NULL, (const uint8_t[PFS_UUID_LEN]){0},
			      &all_dirty, &w->marks);
}

static int open_catalog(struct worker *w)
{
	struct pfs_catalog_config cfg = {.path = w->opt.catalog,
					 .on_trouble = on_catalog_trouble};
	uint8_t uuid[PFS_UUID_LEN];
	int err = pfs_catalog_open(&cfg, &w->catalog_state, &w->catalog);

	if (err)
		return err;
	err = open_marks(w);
	pfs_catalog_store_uuid(w->catalog, uuid);
	if (!err)
		open_store(w);
	if (!err)
		err = bind_marks(w, uuid);
	return err ? go_without_marks(w, err) : 0;
}

/* --- counters outlive us --- */

static void save_counters(struct worker *w)
{
	uint64_t v[PFS_C_N];

	pfs_counters_read(v);
	for (int i = 0; i < PFS_C_N; i++)
		atomic_store_explicit(&w->state->counters[i], v[i],
				      memory_order_relaxed);
}

static void carry_counters(struct worker *w)
{
	uint64_t v[PFS_C_N];

	for (int i = 0; i < PFS_C_N; i++)
		v[i] = atomic_load_explicit(&w->state->counters[i],
					    memory_order_relaxed);
	v[PFS_C_WORKER_STARTS] = w->state->n_starts;
	v[PFS_C_WORKER_DEATHS] = w->state->n_deaths;
	pfs_counters_carry(v);
}

static void every_second(void *arg)
{
	struct worker *w = arg;

	predict_count(w);
	save_counters(w);
	image_unload_unused(w, false);
	image_retry_sessions(w);
	image_revalidate_some(w);
	(void)!pool_task_at(w->pool, pfs_now_ns() + PFS_NSEC_PER_SEC,
			    every_second, w);
}

/* --- serving --- */

static int go(struct life *l)
{
	struct worker *w = l->w;
	struct pool_config pool = {
		.max_threads = POOL_THREADS,
		.n_small = POOL_SMALL,
		.n_big = POOL_BIG,
		.request = session_process,
		.arg = w,
	};
	int err;

	carry_counters(w);
	err = pool_create(&pool, &w->pool);
	if (!err)
		err = events_create(&w->events);
	if (!err)
		err = open_catalog(w);
	if (!err)
		err = image_table_create(w);
	if (!err)
		err = ops_recover(w, l->kept);
	if (!err && l->is_successor)
		image_table_recovered(w);
	if (!err && !atomic_load(&w->state->init_len))
		err = session_init_first(w);
	/* Before anything is read: a request read first and then sent again
	 * would be carried out twice. */
	if (!err && l->is_successor)
		err = session_resend(w);
	if (err == -ENOTSUP)
		err = 0; /* the supervisor has replaced the clones */
	if (!err)
		err = inval_start(w);
	if (!err)
		err = predict_start(w);
	if (!err)
		err = lanes_start(w, l->gone_fd);
	if (!err)
		err = control_start(w);
	if (err)
		return pfs_log_fail(err, "worker", "start");
	if (l->is_successor)
		inval_all(w);
	every_second(w);
	l->stage = STAGE_RUNNING;
	pfs_log(PFS_LOG_INFO, "worker", "serving %s", w->opt.mountpoint);
	return proto_send(w->sup_fd, PROTO_SERVING, NULL, 0, NULL, 0);
}

/* Finish, save, close.  After a hand-over the handles and their write sessions
 * go on in the successor. */
static void drain(struct life *l, bool is_handover)
{
	struct worker *w = l->w;

	w->is_handover = is_handover;
	control_stop(w);
	inval_stop(w);
	predict_halt(w);
	lanes_stop(w);
	if (w->pool)
		pool_wait_idle(w->pool);
	if (w->ops)
		ops_close_all(w);
	pool_destroy(w->pool);
	w->pool = NULL;
	predict_stop(w);
	inval_destroy(w);
	ops_destroy(w);
	image_table_destroy(w);
	pfs_store_close(w->store);
	pfs_marks_close(w->marks);
	pfs_catalog_close(w->catalog);
	events_destroy(w->events);
	session_destroy(w);
	if (w->state)
		save_counters(w);
	l->stage = STAGE_DONE;
}

/* Nobody is left to hold the mount: better gone than hung. */
static void unmount(struct worker *w)
{
	pfs_log(PFS_LOG_ERROR, "worker",
		"the supervisor is gone: unmounting %s", w->opt.mountpoint);
	if (w->opt.mountpoint)
		(void)!umount2(w->opt.mountpoint, MNT_DETACH);
}

static int take_upgrade_result(struct worker *w, const struct proto_msg *m)
{
	char text[512];
	int32_t err;
	size_t n;

	if (m->len < sizeof(err))
		return -EPROTO;
	memcpy(&err, m->data, sizeof(err));
	n = PFS_MIN(m->len - sizeof(err), sizeof(text) - 1);
	memcpy(text, m->data + sizeof(err), n);
	text[n] = '\0';
	control_upgrade_result(w, err, text);
	return 0;
}

static int take_word(const struct proto_msg *m, uint32_t *word)
{
	if (m->len != sizeof(*word))
		return -EPROTO;
	memcpy(word, m->data, sizeof(*word));
	return 0;
}

static int take_go(struct life *l, const struct proto_msg *m)
{
	uint32_t word = 0;
	int err = l->stage == STAGE_READY ? take_word(m, &word) : -EPROTO;

	if (err)
		return err;
	l->is_successor = word;
	return go(l);
}

static int take_drain(struct life *l, const struct proto_msg *m)
{
	uint32_t how = PROTO_DRAIN_END;
	int err = take_word(m, &how);

	if (!err)
		drain(l, how == PROTO_DRAIN_HANDOVER);
	return err;
}

static int take_message(struct life *l, struct proto_msg *m)
{
	switch (m->type) {
	case PROTO_CONFIG:
		return take_config(l, m);
	case PROTO_FIXED_FDS:
		return take_fixed(l, m);
	case PROTO_CLONE_FDS:
		return take_clones(l, m);
	case PROTO_KEPT_FDS:
		return take_kept(l, m);
	case PROTO_CONFIG_END:
		return get_ready(l);
	case PROTO_GO:
		return take_go(l, m);
	case PROTO_DRAIN:
		return take_drain(l, m);
	case PROTO_UPGRADE_RESULT:
		return take_upgrade_result(l->w, m);
	default:
		return -EPROTO;
	}
}

/* One message, or the end of the mount. */
static int step(struct life *l)
{
	struct pollfd fds[2] = {
		{.fd = l->w->sup_fd, .events = POLLIN},
		{.fd = l->gone_fd, .events = POLLIN},
	};
	int err;

	if (poll(fds, 2, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (fds[1].revents) {
		drain(l, false);
		return 0;
	}
	err = proto_recv(l->w->sup_fd, l->msg);
	if (err == -ENOTCONN && l->stage == STAGE_RUNNING) {
		unmount(l->w);
		drain(l, false);
		return 0;
	}
	return err ? err : take_message(l, l->msg);
}

static int say_hello(struct worker *w)
{
	uint32_t hello[2] = {PROTO_VERSION, STATE_VERSION};

	return proto_send(w->sup_fd, PROTO_HELLO, hello, sizeof(hello), NULL,
			  0);
}

static int live(struct life *l)
{
	int err = say_hello(l->w);

	while (!err && l->stage != STAGE_DONE)
		err = step(l);
	if (err && err != -ENOTCONN)
		pfs_log_fail(err, "worker", "talk to the supervisor");
	return err;
}

int worker_main(int sock)
{
	struct life l = {.gone_fd = eventfd(0, EFD_CLOEXEC)};
	struct worker *w = pfs_zalloc(1, sizeof(*w));
	int err = -ENOMEM;

	l.msg = pfs_zalloc(1, sizeof(*l.msg));
	l.kept = malloc(STATE_FD_SLOTS * sizeof(*l.kept));
	l.w = w;
	if (w && l.msg && l.kept && l.gone_fd >= 0) {
		for (uint32_t i = 0; i < STATE_FD_SLOTS; i++)
			l.kept[i] = -1;
		w->sup_fd = sock;
		w->start_ns = pfs_now_ns();
		pfs_mutex_init(&w->mount_lock, PFS_RANK_MOUNT);
		err = live(&l);
		options_fini(&w->opt);
		state_unmap(w->state);
	}
	/* The kernel closes descriptors; what they hold is the supervisor's. */
	free(l.kept);
	free(l.msg);
	free(w);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
