/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "handle.h"

#include <string.h>

#include <pfs/clock.h>
#include <pfs/io.h>
#include <pfs/log.h>

#include "events.h"
#include "node.h"
#include "ops_priv.h"
#include "proto.h"
#include "reader.h"
#include "vm.h"

#define NONE UINT32_MAX

struct handle_table {
	/* --- under worker.mount_lock --- */
	uint32_t n_high;                   /* rows at and above never used */
	uint32_t free_head;                /* chain through next[] */
	uint32_t next[STATE_MAX_HANDLES];  /* free, or open on the same node */
	uint32_t of_node[STATE_MAX_NODES]; /* first open handle */
};

int handle_table_create(struct handle_table **out)
{
	struct handle_table *t = pfs_zalloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->free_head = NONE;
	memset(t->of_node, 0xff, sizeof(t->of_node));
	*out = t;
	return 0;
}

void handle_table_destroy(struct handle_table *t)
{
	free(t);
}

static void set_use(struct state_handle *s, uint32_t use)
{
	atomic_store_explicit(&s->use, use, memory_order_release);
}

static bool is_used(const struct state_handle *s)
{
	return atomic_load_explicit(&s->use, memory_order_acquire) ==
	       STATE_USED;
}

static uint64_t fh_of(const struct state *s, uint32_t row)
{
	return (uint64_t)s->handle[row].serial << 32 | row;
}

/* --- rows --- */

static uint32_t take_row_locked(struct worker *w)
{
	struct handle_table *t = w->ops->handles;
	uint32_t row = t->free_head;

	if (row != NONE)
		t->free_head = t->next[row];
	else if (t->n_high < STATE_MAX_HANDLES)
		row = t->n_high++;
	else
		return NONE;
	set_use(&w->state->handle[row], STATE_FILLING);
	return row;
}

static void free_row_locked(struct worker *w, uint32_t row)
{
	struct handle_table *t = w->ops->handles;

	set_use(&w->state->handle[row], STATE_FREE);
	t->next[row] = t->free_head;
	t->free_head = row;
}

static uint32_t take_row(struct worker *w)
{
	uint32_t row;

	pfs_mutex_lock(&w->mount_lock);
	row = take_row_locked(w);
	pfs_mutex_unlock(&w->mount_lock);
	return row;
}

static void free_row(struct worker *w, uint32_t row)
{
	pfs_mutex_lock(&w->mount_lock);
	free_row_locked(w, row);
	pfs_mutex_unlock(&w->mount_lock);
}

static void tell_opened(struct worker *w, const struct handle *h)
{
	const struct event e = {
		.kind = EVENT_OPENED,
		.time_ns = pfs_now_ns(),
		.image = image_id(h->img),
		.vm = h->vm,
		.off = image_size(h->img),
		.handle = h->row,
		.was_changed = image_take_changed(h->img),
	};

	events_put(w->events, &e, true);
}

static void tell_closed(struct worker *w, const struct handle *h)
{
	const struct event e = {
		.kind = EVENT_CLOSED,
		.time_ns = pfs_now_ns(),
		.image = image_id(h->img),
		.vm = h->vm,
		.handle = h->row,
	};

	events_put(w->events, &e, true);
}

/* A row in use and its struct handle appear and vanish together. */
static void link_locked(struct worker *w, uint32_t row, struct handle *h)
{
	struct handle_table *t = w->ops->handles;
	struct state_handle *s = &w->state->handle[row];

	h->vm = vm_number(s->tgid, s->start_time);
	if (h->img)
		tell_opened(w, h);

	t->next[row] = t->of_node[s->node];
	t->of_node[s->node] = row;
	node_pin(w->ops->nodes, s->node);
	atomic_store_explicit(&w->handles[row], h, memory_order_release);
	set_use(s, STATE_USED);
}

static void unlink_locked(struct worker *w, uint32_t row)
{
	struct handle_table *t = w->ops->handles;
	uint32_t *at = &t->of_node[w->state->handle[row].node];

	while (*at != row)
		at = &t->next[*at];
	*at = t->next[row];
	atomic_store_explicit(&w->handles[row], NULL, memory_order_release);
}

static void fill_row(struct state_handle *s, const struct handle_open *what)
{
	struct reader who;

	reader_of(what->pid, &who);
	s->serial = PFS_MAX(s->serial + 1, 1u);
	s->node = what->node;
	s->flags = (uint32_t)what->flags & (O_ACCMODE | O_DIRECT);
	s->unique = what->unique;
	s->tgid = who.tgid;
	s->start_time = who.start_time;
	s->cgroup = who.cgroup;
}

int handle_open(struct worker *w, const struct handle_open *what, uint64_t *fh)
{
	PFS_AUTO_FREE struct handle *h = pfs_zalloc(1, sizeof(*h));
	uint32_t row, slot;
	int err;

	if (!h)
		return -ENOMEM;
	row = take_row(w);
	if (row == NONE) {
		pfs_count(PFS_C_HANDLES_FULL, 1);
		return -ENFILE;
	}
	fill_row(&w->state->handle[row], what);
	*h = (struct handle){.fd = what->fd, .row = row, .img = what->img};

	slot = STATE_FD_HANDLE(row);
	err = proto_send(w->sup_fd, PROTO_FD_PUT, &slot, sizeof(slot),
			 &what->fd, 1);
	if (err) {
		free_row(w, row);
		return err;
	}

	pfs_mutex_lock(&w->mount_lock);
	link_locked(w, row, pfs_take(&h));
	pfs_mutex_unlock(&w->mount_lock);
	*fh = fh_of(w->state, row);
	return 0;
}

struct handle *handle_get(struct worker *w, uint64_t fh)
{
	uint32_t row = (uint32_t)fh;

	if (row >= STATE_MAX_HANDLES || !is_used(&w->state->handle[row]) ||
	    fh_of(w->state, row) != fh)
		return NULL;
	return atomic_load_explicit(&w->handles[row], memory_order_acquire);
}

static uint32_t row_of_request_locked(const struct worker *w, uint64_t unique)
{
	for (uint32_t row = 0; row < w->ops->handles->n_high; row++) {
		const struct state_handle *s = &w->state->handle[row];

		if (is_used(s) && s->unique == unique)
			return row;
	}
	return NONE;
}

uint64_t handle_of_request(struct worker *w, uint64_t unique, uint32_t *node)
{
	uint64_t fh = 0;
	uint32_t row;

	pfs_mutex_lock(&w->mount_lock);
	row = row_of_request_locked(w, unique);
	if (row != NONE) {
		fh = fh_of(w->state, row);
		*node = w->state->handle[row].node;
	}
	pfs_mutex_unlock(&w->mount_lock);
	return fh;
}

/* The supervisor must have been told before the row, and so the slot, can be
 * given out again. */
static void drop_slot(struct worker *w, uint32_t row)
{
	uint32_t slot = STATE_FD_HANDLE(row);
	int err = proto_send(w->sup_fd, PROTO_FD_DROP, &slot, sizeof(slot),
			     NULL, 0);

	/* Only a dead supervisor does not take it, and it holds nothing. */
	if (err)
		pfs_log(PFS_LOG_DEBUG, "fs", "no supervisor to drop slot %u",
			slot);
}

struct handle *handle_release(struct worker *w, uint64_t fh, int *flags)
{
	uint32_t row = (uint32_t)fh;
	struct handle *h;

	pfs_mutex_lock(&w->mount_lock);
	h = handle_get(w, fh);
	if (h) {
		unlink_locked(w, row);
		/* Under the lock, as tell_opened(): the two are told in the
		 * order they happen. */
		if (h->img)
			tell_closed(w, h);
	}
	pfs_mutex_unlock(&w->mount_lock);
	if (!h)
		return NULL;
	*flags = (int)w->state->handle[row].flags;

	drop_slot(w, row);
	pfs_mutex_lock(&w->mount_lock);
	free_row_locked(w, row);
	node_unpin(w->ops->nodes, w->state->handle[row].node);
	pfs_mutex_unlock(&w->mount_lock);
	return h;
}

void handle_finish(struct worker *w, struct handle *h, int flags)
{
	/* Of all who used it: the kernel had their replies. */
	PFS_COMES_AFTER(&w->handles);
	if (h->img && handle_is_writer(flags))
		image_writer_closed(h->img);
	if (h->img)
		image_put(h->img);
	close(h->fd);
	free(h);
}

/* --- by node --- */

static struct handle *any_of_locked(struct worker *w, uint32_t node)
{
	uint32_t row = w->ops->handles->of_node[node];

	return row == NONE ? NULL : w->handles[row];
}

int handle_dup_of(struct worker *w, uint32_t node)
{
	struct handle *h;
	int fd = -ESTALE;

	pfs_mutex_lock(&w->mount_lock);
	h = any_of_locked(w, node);
	if (h) {
		fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			fd = -errno;
	}
	pfs_mutex_unlock(&w->mount_lock);
	return fd;
}

/* NULL: not open, or only by handles that could not be taken up. */
static struct image *image_of_locked(struct worker *w, uint32_t node)
{
	const struct handle_table *t = w->ops->handles;
	uint32_t row = t->of_node[node];

	while (row != NONE && !w->handles[row]->img)
		row = t->next[row];
	return row == NONE ? NULL : w->handles[row]->img;
}

struct image *handle_node_image(struct worker *w, uint32_t node)
{
	struct image *img;

	pfs_mutex_lock(&w->mount_lock);
	img = image_of_locked(w, node);
	if (img)
		image_ref(img); /* its lock is held for memory only */
	pfs_mutex_unlock(&w->mount_lock);
	return img;
}

bool handle_node_size(struct worker *w, uint32_t node, uint64_t *size)
{
	struct image *img;

	pfs_mutex_lock(&w->mount_lock);
	img = image_of_locked(w, node);
	if (img)
		*size = image_size(img);
	pfs_mutex_unlock(&w->mount_lock);
	return img;
}

/* --- a new worker, and the end of one --- */

static int recover_image(struct worker *w, const struct state_handle *s, int fd,
			 struct image **out)
{
	int err;

	if (w->state->node[s->node].is_dir) {
		*out = NULL;
		return 0;
	}
	err = ops_image_get(w, s->node, fd, out);
	if (!err && handle_is_writer((int)s->flags))
		image_writer_opened(*out);
	return err;
}

static int recover_row(struct worker *w, uint32_t row, int *kept_fd)
{
	struct state_handle *s = &w->state->handle[row];
	PFS_AUTO_FREE struct handle *h = NULL;
	int err;

	if (!is_used(s) || *kept_fd < 0 || !node_at(w->ops->nodes, s->node)) {
		free_row(w, row);
		return 0;
	}
	h = pfs_zalloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->row = row;
	err = recover_image(w, s, *kept_fd, &h->img);
	if (err) /* the others must not suffer: calls on this one get EIO */
		pfs_log(PFS_LOG_ERROR, "fs", "open file %u is lost: %s", row,
			strerror(-err));
	h->fd = pfs_take_fd(kept_fd);

	pfs_mutex_lock(&w->mount_lock);
	link_locked(w, row, pfs_take(&h));
	pfs_mutex_unlock(&w->mount_lock);
	return 0;
}

int handle_recover(struct worker *w, int *kept_fd)
{
	struct handle_table *t = w->ops->handles;
	int err = 0;

	while (t->n_high < STATE_MAX_HANDLES &&
	       w->state->handle[t->n_high].serial)
		t->n_high++;
	for (uint32_t row = t->n_high; !err && row-- > 0;)
		err = recover_row(w, row, &kept_fd[STATE_FD_HANDLE(row)]);
	return err;
}

void handle_close_all(struct worker *w)
{
	for (uint32_t row = 0; row < w->ops->handles->n_high; row++) {
		struct handle *h = w->handles[row];

		if (!h)
			continue;
		pfs_mutex_lock(&w->mount_lock);
		unlink_locked(w, row);
		pfs_mutex_unlock(&w->mount_lock);
		handle_finish(w, h, (int)w->state->handle[row].flags);
	}
}
