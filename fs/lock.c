/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "lock.h"

#include <signal.h>
#include <string.h>

#include <pfs/clock.h>
#include <pfs/io.h>
#include <pfs/log.h>

#include "node.h"
#include "ops_priv.h"
#include "proto.h"
#include "resolve.h"

#define NONE UINT32_MAX
/* A signal is lost on a thread that is just about to enter the wait. */
#define SIGNAL_AGAIN_NS (2 * PFS_NSEC_PER_MSEC)
#define WAKE_SIGNAL SIGRTMIN

/* One description.
 * state    row      on list  fd   leaves by
 * OPENING  FILLING  yes      -    opened (OPEN), failed (gone)
 * OPEN     FILLING  yes      yes  first lock held (row USED), drop
 * OPEN     USED     yes      yes  drop
 * DROPPED  -        no       yes  last put */
struct desc {
	struct desc *next;
	uint32_t row;
	uint32_t node, handle; /* rows */
	uint64_t owner;
	int fd;              /* owned; -1 while OPENING */
	unsigned int n_refs; /* callers, and the list */
	bool is_dropped;
	bool may_be_closed; /* the handle had a FLUSH since, or may have had */
};

/* A request that waits, on the list until its wait has ended. */
struct waiter {
	struct waiter *next;
	struct worker *w;
	fuse_req_t req;
	uint64_t unique;
	int reply_fd;
	struct desc *desc; /* one reference */
	struct image *img; /* one reference */
	struct flock lock;
	uint64_t deadline_ns; /* 0: SETLKW */
	uint64_t n_drops;     /* seen before the last try */
	pthread_t thread;
	bool has_thread;
	bool is_cancelled;
};

#define N_EARLY 64

struct lock_table {
	/* --- under worker.mount_lock --- */
	struct desc *descs;
	struct waiter *waiters;
	unsigned int n_threads;
	uint32_t next_row;     /* where to look for a free one first */
	uint64_t n_drops;      /* locks of ours that went */
	unsigned int n_going;  /* off the list, perhaps still locked */
	struct pfs_cond event; /* n_drops grew, a description was opened, a
				* waiter or its thread ended */
	bool is_closing;
	/* INTERRUPTs that came before their request, a ring */
	uint64_t early[N_EARLY];
	unsigned int n_early;
};

static void wake(int sig)
{
	(void)sig; /* only to make fcntl() return */
}

int lock_table_create(struct lock_table **out)
{
	const struct sigaction act = {.sa_handler = wake};
	struct lock_table *t = pfs_zalloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	sigaction(WAKE_SIGNAL, &act, NULL);
	pfs_cond_init(&t->event);
	*out = t;
	return 0;
}

void lock_table_destroy(struct lock_table *t)
{
	if (!t)
		return;
	pfs_cond_fini(&t->event);
	free(t);
}

static struct lock_table *table(struct worker *w)
{
	return w->ops->locks;
}

/* --- the system calls --- */

static int ofd_lock(int fd, int cmd, const struct flock *lock)
{
	struct flock l = *lock;

	l.l_pid = 0; /* or the kernel refuses OFD commands */
	if (!fcntl(fd, cmd, &l))
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static void unlock_all(int fd)
{
	const struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	/* Closing would do it too, but only once the supervisor has. */
	(void)ofd_lock(fd, F_OFD_SETLK, &all);
}

/* --- descriptions --- */

static void set_use(struct worker *w, uint32_t row, uint32_t use)
{
	atomic_store_explicit(&w->state->lock[row].use, use,
			      memory_order_release);
}

static uint32_t take_row_locked(struct worker *w)
{
	struct lock_table *t = table(w);

	for (uint32_t i = 0; i < STATE_MAX_LOCKS; i++) {
		uint32_t row = (t->next_row + i) % STATE_MAX_LOCKS;

		if (atomic_load(&w->state->lock[row].use) != STATE_FREE)
			continue;
		set_use(w, row, STATE_FILLING);
		t->next_row = row + 1;
		return row;
	}
	return NONE;
}

static struct desc *find_locked(struct worker *w, uint32_t node, uint64_t owner)
{
	struct desc *d = table(w)->descs;

	while (d && (d->node != node || d->owner != owner))
		d = d->next;
	return d;
}

static void put_locked(struct desc *d, unsigned int n)
{
	d->n_refs -= n;
	if (d->n_refs)
		return;
	if (d->fd >= 0) {
		unlock_all(d->fd); /* a wait may have won after the drop */
		close(d->fd);
	}
	free(d);
}

static void put(struct worker *w, struct desc *d)
{
	pfs_mutex_lock(&w->mount_lock);
	put_locked(d, 1);
	pfs_mutex_unlock(&w->mount_lock);
}

/* Off the list; its row and slot are still taken. */
static void unlist_locked(struct worker *w, struct desc *d)
{
	struct desc **at = &table(w)->descs;

	while (*at != d)
		at = &(*at)->next;
	*at = d->next;
	d->is_dropped = true;
	node_unpin(w->ops->nodes, d->node);
}

static void list_locked(struct worker *w, struct desc *d)
{
	d->n_refs++;
	d->next = table(w)->descs;
	table(w)->descs = d;
	node_pin(w->ops->nodes, d->node);
}

static void free_row_locked(struct worker *w, uint32_t row)
{
	set_use(w, row, STATE_FREE);
	table(w)->n_drops++;
	pfs_cond_broadcast(&table(w)->event);
}

/* The descriptor, which the supervisor has too, or -errno. */
static int open_for_lock(struct worker *w, uint32_t row, int handle_fd)
{
	uint32_t slot = STATE_FD_LOCK(row);
	PFS_AUTO_FD fd = resolve_reopen_widest(handle_fd);
	int err;

	if (fd < 0)
		return fd;
	err = proto_send(w->sup_fd, PROTO_FD_PUT, &slot, sizeof(slot), &fd, 1);
	return err ? err : pfs_take_fd(&fd);
}

/* A new description on the list, with a reference for the caller, which opens
 * it next; NULL when there is no room. */
static struct desc *add_locked(struct worker *w, uint32_t node, uint32_t handle,
			       uint64_t owner)
{
	struct desc *d = pfs_zalloc(1, sizeof(*d));
	struct state_lock *s;

	if (!d)
		return NULL;
	*d = (struct desc){.node = node,
			   .handle = handle,
			   .owner = owner,
			   .fd = -1,
			   .n_refs = 1};
	d->row = take_row_locked(w);
	if (d->row == NONE) {
		free(d);
		return NULL;
	}
	s = &w->state->lock[d->row];
	s->node = node;
	s->handle = handle;
	s->owner = owner;
	list_locked(w, d);
	return d;
}

/* The owner's description if there is one, opened; with a reference. */
static struct desc *get_old_locked(struct worker *w, uint32_t node,
				   uint64_t owner) PFS_REQUIRES(w->mount_lock);
static struct desc *get_old_locked(struct worker *w, uint32_t node,
				   uint64_t owner)
{
	struct desc *d;

	while ((d = find_locked(w, node, owner)) && d->fd < 0)
		pfs_cond_wait(&table(w)->event, &w->mount_lock);
	if (d)
		d->n_refs++;
	return d;
}

static struct desc *get_old(struct worker *w, uint32_t node, uint64_t owner)
{
	struct desc *d;

	pfs_mutex_lock(&w->mount_lock);
	d = get_old_locked(w, node, owner);
	pfs_mutex_unlock(&w->mount_lock);
	return d;
}

/* See lock.h: the description may be that of a closed file.  Then its RELEASE
 * is awaited for a while; a description that stays is this handle's from now
 * on, so that a RELEASE of the other one leaves it alone. */
static void settle_owner_locked(struct worker *w, uint32_t node, uint64_t owner,
				uint32_t handle) PFS_REQUIRES(w->mount_lock);
static void settle_owner_locked(struct worker *w, uint32_t node, uint64_t owner,
				uint32_t handle)
{
	uint64_t deadline = pfs_now_ns() + LOCK_RETRY_NS;
	struct desc *d = find_locked(w, node, owner);

	while (d && d->handle != handle && d->may_be_closed &&
	       !pfs_cond_wait_until(&table(w)->event, &w->mount_lock, deadline))
		d = find_locked(w, node, owner);
	d = find_locked(w, node, owner);
	if (!d || d->handle == handle)
		return;
	d->handle = handle;
	d->may_be_closed = false;
	w->state->lock[d->row].handle = handle;
}

/* After open_for_lock(): fd, or the error. */
static int opened(struct worker *w, struct desc *d, int fd)
{
	pfs_mutex_lock(&w->mount_lock);
	if (fd >= 0) {
		d->fd = fd;
	} else {
		unlist_locked(w, d);
		free_row_locked(w, d->row);
		put_locked(d, 2); /* the list's and the caller's */
	}
	pfs_cond_broadcast(&table(w)->event);
	pfs_mutex_unlock(&w->mount_lock);
	return fd < 0 ? fd : 0;
}

/* The owner's description, made if there is none; with a reference. */
static int get(struct worker *w, const struct handle *h, uint64_t owner,
	       struct desc **out)
{
	uint32_t node = w->state->handle[h->row].node;
	struct desc *d;
	bool is_new;

	pfs_mutex_lock(&w->mount_lock);
	settle_owner_locked(w, node, owner, h->row);
	d = get_old_locked(w, node, owner);
	is_new = !d;
	if (is_new)
		d = add_locked(w, node, h->row, owner);
	pfs_mutex_unlock(&w->mount_lock);
	if (!d) {
		pfs_count(PFS_C_LOCKS_FULL, 1);
		return -ENOLCK;
	}
	*out = d;
	return is_new ? opened(w, d, open_for_lock(w, d->row, h->fd)) : 0;
}

/* The caller has taken d off the list, and with it the list's reference. */
static void drop(struct worker *w, struct desc *d)
{
	uint32_t slot = STATE_FD_LOCK(d->row);
	int err;

	unlock_all(d->fd);
	/* Before the row is free, or the drop could hit its next user.  Only a
	 * dead supervisor does not take it, and it holds nothing. */
	err = proto_send(w->sup_fd, PROTO_FD_DROP, &slot, sizeof(slot), NULL,
			 0);
	if (err)
		pfs_log(PFS_LOG_DEBUG, "fs", "no supervisor to drop slot %u",
			slot);
	pfs_mutex_lock(&w->mount_lock);
	table(w)->n_going--;
	free_row_locked(w, d->row);
	put_locked(d, 1);
	pfs_mutex_unlock(&w->mount_lock);
}

/* --- waits --- */

/* Runs on the waiter's thread or, before that starts, on its maker's. */
static void unlink_waiter_locked(struct waiter *x)
{
	struct waiter **at = &table(x->w)->waiters;

	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
	pfs_cond_broadcast(&table(x->w)->event);
}

static void waiter_destroy(struct waiter *x)
{
	put(x->w, x->desc);
	image_put(x->img);
	free(x);
}

/* Make waits end.  Each is signalled until it is off the list: a single signal
 * could come just before its fcntl(). */
static void cancel_locked(struct worker *w,
			  bool (*is_meant)(const struct waiter *x,
					   const void *arg),
			  const void *arg) PFS_REQUIRES(w->mount_lock);
static void cancel_locked(struct worker *w,
			  bool (*is_meant)(const struct waiter *x,
					   const void *arg),
			  const void *arg)
{
	struct lock_table *t = table(w);

	for (;;) {
		unsigned int n = 0;

		for (struct waiter *x = t->waiters; x; x = x->next) {
			if (!is_meant(x, arg))
				continue;
			n++;
			x->is_cancelled = true;
			if (x->has_thread)
				pthread_kill(x->thread, WAKE_SIGNAL);
		}
		if (!n)
			return;
		pfs_cond_broadcast(&t->event);
		(void)pfs_cond_wait_until(&t->event, &w->mount_lock,
					  pfs_now_ns() + SIGNAL_AGAIN_NS);
	}
}

static bool is_request(const struct waiter *x, const void *unique)
{
	return x->unique == *(const uint64_t *)unique;
}

static bool is_on(const struct waiter *x, const void *desc)
{
	return x->desc == desc;
}

static bool is_any(const struct waiter *x, const void *arg)
{
	(void)x;
	(void)arg;
	return true;
}

void lock_interrupt(struct worker *w, uint64_t unique)
{
	struct lock_table *t = table(w);
	struct waiter *x;

	pfs_mutex_lock(&w->mount_lock);
	for (x = t->waiters; x && x->unique != unique; x = x->next)
		;
	if (x)
		cancel_locked(w, is_request, &unique);
	else
		t->early[t->n_early++ % N_EARLY] = unique;
	pfs_mutex_unlock(&w->mount_lock);
}

static bool was_interrupted_locked(const struct lock_table *t, uint64_t unique)
{
	for (size_t i = 0; i < N_EARLY; i++)
		if (t->early[i] == unique)
			return true;
	return false;
}

static int wait_on_source(struct waiter *x)
{
	int err;

	do {
		pfs_mutex_lock(&x->w->mount_lock);
		err = x->is_cancelled ? -EINTR : 0;
		pfs_mutex_unlock(&x->w->mount_lock);
		if (!err)
			err = ofd_lock(x->desc->fd, F_OFD_SETLKW, &x->lock);
		else
			return err;
	} while (err == -EINTR);
	return err;
}

/* False: time is up, or the wait was cancelled. */
static bool wait_for_drop(struct waiter *x)
{
	struct lock_table *t = table(x->w);
	int err = 0;

	pfs_mutex_lock(&x->w->mount_lock);
	while (!err && !x->is_cancelled && t->n_drops == x->n_drops)
		err = pfs_cond_wait_until(&t->event, &x->w->mount_lock,
					  x->deadline_ns);
	x->n_drops = t->n_drops;
	if (x->is_cancelled)
		err = -EINTR;
	pfs_mutex_unlock(&x->w->mount_lock);
	return !err;
}

static int try_again(struct waiter *x)
{
	int err = -EAGAIN;

	while (err == -EAGAIN && wait_for_drop(x))
		err = ofd_lock(x->desc->fd, F_OFD_SETLK, &x->lock);
	return err;
}

/* The lock is held: a FLUSH or RELEASE that overtook us takes it away, or the
 * row is published and the image looked at, since whoever held the lock
 * before may have changed it. */
static int acquired(struct worker *w, struct desc *d, struct image *img)
{
	bool is_dropped;

	pfs_mutex_lock(&w->mount_lock);
	is_dropped = d->is_dropped;
	if (!is_dropped)
		set_use(w, d->row, STATE_USED);
	pfs_mutex_unlock(&w->mount_lock);
	if (is_dropped)
		return -EBADF;
	image_revalidate(img, d->fd);
	return 0;
}

static void *wait_main(void *arg)
{
	struct waiter *x = arg;
	struct worker *w = x->w;
	bool is_silent;
	sigset_t set;
	int err;

	session_reply_to(x->reply_fd);
	pthread_detach(pthread_self());
	sigemptyset(&set);
	sigaddset(&set, WAKE_SIGNAL);
	pfs_mutex_lock(&w->mount_lock);
	x->thread = pthread_self();
	x->has_thread = true;
	pfs_mutex_unlock(&w->mount_lock);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);

	err = x->deadline_ns ? try_again(x) : wait_on_source(x);

	pfs_mutex_lock(&w->mount_lock);
	is_silent = err && table(w)->is_closing;
	unlink_waiter_locked(x); /* from here nobody signals us */
	pfs_mutex_unlock(&w->mount_lock);
	if (!err)
		err = acquired(w, x->desc, x->img);
	if (is_silent)
		fuse_reply_none(x->req);
	else
		ops_reply(x->req, err);
	waiter_destroy(x);

	pfs_mutex_lock(&w->mount_lock);
	table(w)->n_threads--;
	pfs_cond_broadcast(&table(w)->event);
	pfs_mutex_unlock(&w->mount_lock);
	return NULL;
}

static int start_waiter(struct waiter *x)
{
	struct lock_table *t = table(x->w);
	pthread_t thread;
	int err = 0;

	pfs_mutex_lock(&x->w->mount_lock);
	if (t->is_closing || t->n_threads == LOCK_MAX_WAITERS) {
		pfs_count(PFS_C_LOCKS_FULL, 1);
		err = -ENOLCK;
	} else {
		x->is_cancelled = was_interrupted_locked(t, x->unique);
		x->next = t->waiters;
		t->waiters = x;
		t->n_threads++;
	}
	pfs_mutex_unlock(&x->w->mount_lock);
	if (err)
		return err;

	err = pfs_thread_start(&thread, "pfs-lock", wait_main, x);
	if (err) {
		pfs_mutex_lock(&x->w->mount_lock);
		unlink_waiter_locked(x);
		t->n_threads--;
		pfs_mutex_unlock(&x->w->mount_lock);
	}
	return err;
}

/* --- requests --- */

/* Does anybody else who came through this mount lock this file, or did when
 * the try was made?  If not, the lock in the way is another host's and does
 * not go away by draining. */
static bool is_ours_in_the_way(struct worker *w, const struct desc *mine,
			       uint64_t n_drops_before)
{
	struct lock_table *t = table(w);
	const struct desc *d;
	bool is_changing;

	pfs_mutex_lock(&w->mount_lock);
	is_changing = t->n_going || t->n_drops != n_drops_before;
	d = t->descs;
	while (d && (d == mine || d->node != mine->node))
		d = d->next;
	pfs_mutex_unlock(&w->mount_lock);
	return d || is_changing;
}

static uint64_t drops_now(struct worker *w)
{
	uint64_t n;

	pfs_mutex_lock(&w->mount_lock);
	n = table(w)->n_drops;
	pfs_mutex_unlock(&w->mount_lock);
	return n;
}

/* Takes over the reference to d on success. */
static int wait_later(fuse_req_t req, const struct handle *h, struct desc *d,
		      const struct flock *lock, uint64_t n_drops, bool sleep)
{
	struct waiter *x = pfs_zalloc(1, sizeof(*x));
	int err;

	if (!x)
		return -ENOLCK;
	*x = (struct waiter){
		.w = ops_worker(req),
		.req = req,
		.unique = ops_request()->unique,
		.reply_fd = session_reply_fd(),
		.desc = d,
		.img = h->img,
		.lock = *lock,
		.deadline_ns = sleep ? 0 : pfs_now_ns() + LOCK_RETRY_NS,
		.n_drops = n_drops,
	};
	image_ref(x->img);
	if (!sleep)
		pfs_count(PFS_C_LOCK_RETRY, 1);
	err = start_waiter(x);
	if (err) {
		image_put(x->img);
		free(x);
	}
	return err;
}

/* 1: a waiter will reply. */
static int take_lock(fuse_req_t req, const struct handle *h, uint64_t owner,
		     const struct flock *lock, bool sleep)
{
	struct worker *w = ops_worker(req);
	uint64_t n_drops = drops_now(w);
	struct desc *d;
	int err = get(w, h, owner, &d);

	if (err)
		return err;
	err = ofd_lock(d->fd, F_OFD_SETLK, lock);
	if (!err)
		err = acquired(w, d, h->img);
	else if (err == -EAGAIN &&
		 (sleep || is_ours_in_the_way(w, d, n_drops)) &&
		 !wait_later(req, h, d, lock, n_drops, sleep))
		return 1;
	else if (err == -EAGAIN && sleep)
		err = -ENOLCK;
	put(w, d);
	return err;
}

static int drop_range(struct worker *w, uint32_t node, uint64_t owner,
		      const struct flock *lock)
{
	struct desc *d = get_old(w, node, owner);
	int err;

	if (!d)
		return 0;
	err = ofd_lock(d->fd, F_OFD_SETLK, lock);
	pfs_mutex_lock(&w->mount_lock);
	table(w)->n_drops++;
	pfs_cond_broadcast(&table(w)->event);
	put_locked(d, 1);
	pfs_mutex_unlock(&w->mount_lock);
	return err;
}

void ops_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	       struct flock *lock, int sleep)
{
	struct worker *w = ops_worker(req);
	struct handle *h = handle_get(w, fi->fh);
	int err;

	(void)ino;
	if (!h || !h->img)
		err = -EBADF;
	else if (lock->l_type == F_UNLCK)
		err = drop_range(w, w->state->handle[h->row].node,
				 fi->lock_owner, lock);
	else
		err = take_lock(req, h, fi->lock_owner, lock, sleep);
	if (err <= 0)
		ops_reply(req, err);
}

void ops_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
	       struct flock *lock)
{
	struct worker *w = ops_worker(req);
	struct handle *h = handle_get(w, fi->fh);
	struct desc *d;
	int ret;

	(void)ino;
	if (!h) {
		ops_reply(req, -EBADF);
		return;
	}
	/* Through the owner's description, or its own locks would show. */
	d = get_old(w, w->state->handle[h->row].node, fi->lock_owner);
	lock->l_pid = 0;
	ret = fcntl(d ? d->fd : h->fd, F_OFD_GETLK, lock) ? -errno : 0;
	if (d)
		put(w, d);
	lock->l_pid = 0; /* whoever it is, its pid means nothing here */
	if (ret)
		ops_reply(req, ret);
	else
		fuse_reply_lock(req, lock);
}

/* --- the end of locks --- */

/* Take one description that matches off the list, its waits ended. */
static struct desc *pick(struct worker *w,
			 bool (*is_meant)(const struct desc *, uint32_t,
					  uint64_t),
			 uint32_t row, uint64_t owner)
{
	struct desc *d;

	pfs_mutex_lock(&w->mount_lock);
	d = table(w)->descs;
	while (d && (d->fd < 0 || !is_meant(d, row, owner)))
		d = d->next;
	if (d) {
		table(w)->n_going++;
		unlist_locked(w, d);
		cancel_locked(w, is_on, d);
	}
	pfs_mutex_unlock(&w->mount_lock);
	return d;
}

static bool is_of_owner(const struct desc *d, uint32_t node, uint64_t owner)
{
	return d->node == node && d->owner == owner;
}

static bool is_of_handle(const struct desc *d, uint32_t handle, uint64_t unused)
{
	(void)unused;
	return d->handle == handle;
}

void lock_drop_owner(struct worker *w, uint32_t node, uint64_t owner)
{
	struct desc *d;

	while ((d = pick(w, is_of_owner, node, owner)))
		drop(w, d);
}

void lock_handle_flushed(struct worker *w, uint32_t handle)
{
	pfs_mutex_lock(&w->mount_lock);
	for (struct desc *d = table(w)->descs; d; d = d->next)
		if (d->handle == handle)
			d->may_be_closed = true;
	pfs_mutex_unlock(&w->mount_lock);
}

void lock_drop_handle(struct worker *w, uint32_t handle)
{
	struct desc *d;

	while ((d = pick(w, is_of_handle, handle, 0)))
		drop(w, d);
}

/* --- a new worker, and the end of one --- */

static int recover_row(struct worker *w, uint32_t row, int *kept_fd)
{
	const struct state_lock *s = &w->state->lock[row];
	struct desc *d;

	if (s->use != STATE_USED || *kept_fd < 0 ||
	    !node_at(w->ops->nodes, s->node)) {
		set_use(w, row, STATE_FREE);
		return 0;
	}
	d = pfs_zalloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	*d = (struct desc){.row = row,
			   .node = s->node,
			   .handle = s->handle,
			   .owner = s->owner,
			   .may_be_closed = true,
			   .fd = pfs_take_fd(kept_fd)};
	pfs_mutex_lock(&w->mount_lock);
	list_locked(w, d);
	pfs_mutex_unlock(&w->mount_lock);
	return 0;
}

int lock_recover(struct worker *w, int *kept_fd)
{
	int err = 0;

	for (uint32_t row = 0; !err && row < STATE_MAX_LOCKS; row++)
		err = recover_row(w, row, &kept_fd[STATE_FD_LOCK(row)]);
	return err;
}

void lock_close_all(struct worker *w)
{
	struct lock_table *t = table(w);
	struct desc *d;

	pfs_mutex_lock(&w->mount_lock);
	t->is_closing = true;
	cancel_locked(w, is_any, NULL);
	while (t->n_threads)
		pfs_cond_wait(&t->event, &w->mount_lock);
	while ((d = t->descs)) {
		t->descs = d->next;
		close(d->fd); /* the lock stays with the supervisor's */
		free(d);
	}
	pfs_mutex_unlock(&w->mount_lock);
}
