/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the intake's thread does with whoever is ready.  Each is given one step
 * and waits for its next turn, so nobody is served before somebody who has
 * waited longer:
 *   a connection  one read of at most the rest of a frame
 *   a listener    ACCEPTS_PER_TURN connections
 * Each step takes a token of the VM, or of the listener.  Who has none left is
 * taken out of the epoll set until some have come: a flood then waits in the
 * sender's buffer, and the thread sleeps.  A frame sent in one piece is one
 * read; one that drips costs a token a drop.
 */
#include "intake_priv.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include <pfs/counters.h>
#include <pfs/log.h>

#define ACCEPTS_PER_TURN 8
/* A connection that was silent for so long makes room for a new one: it may
 * be what is left of a guest that died. */
#define SILENT_NS (60 * PFS_NSEC_PER_SEC)
#define NO_FD_NS PFS_NSEC_PER_SEC /* rest of a listener without descriptors */

/* --- counts --- */

static const enum pfs_counter totals[PFS_INTAKE_COUNTS] = {
	[PFS_INTAKE_TAKEN] = PFS_C_VECTORS_TAKEN,
	[PFS_INTAKE_BAD] = PFS_C_VECTORS_BAD,
	[PFS_INTAKE_DUPLICATE] = PFS_C_VECTORS_DUPLICATE,
	[PFS_INTAKE_REPLAYED] = PFS_C_VECTORS_REPLAYED,
	[PFS_INTAKE_OLD_AGENT] = PFS_C_VECTORS_OLD_AGENT,
	[PFS_INTAKE_NEW_AGENT] = PFS_C_VECTORS_NEW_AGENT,
	[PFS_INTAKE_JUMPED] = PFS_C_VECTORS_JUMPED,
	[PFS_INTAKE_THROTTLED] = PFS_C_INTAKE_THROTTLED,
	[PFS_INTAKE_ACCEPTED] = PFS_C_INTAKE_ACCEPTED,
	[PFS_INTAKE_REFUSED] = PFS_C_INTAKE_REFUSED,
	[PFS_INTAKE_SLOW] = PFS_C_INTAKE_SLOW,
	[PFS_INTAKE_TORN] = PFS_C_INTAKE_TORN,
};

void intake_count(struct pfs_intake *in, struct intake_vm *vm,
		  enum pfs_intake_count c)
{
	pfs_count(totals[c], 1);
	if (!vm)
		return;
	pfs_mutex_lock(&in->lock);
	vm->known.n[c]++;
	pfs_mutex_unlock(&in->lock);
}

static void note_conn(struct pfs_intake *in, struct intake_vm *vm, int n_more,
		      int32_t pid)
{
	pfs_mutex_lock(&in->lock);
	vm->known.n_conns += n_more;
	if (n_more > 0)
		vm->known.peer_pid = pid;
	pfs_mutex_unlock(&in->lock);
	in->n_conns += n_more;
}

/* --- watching --- */

void intake_be_swept(struct pfs_intake *in, uint64_t at_ns)
{
	in->due_ns = PFS_MIN(in->due_ns, at_ns);
}

static void pause_watch(struct pfs_intake *in, struct intake_watch *w,
			uint64_t resume_ns)
{
	/* Out of the set, or a peer's hang-up would wake us all the time. */
	if (w->is_watched)
		(void)epoll_ctl(in->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	w->is_watched = false;
	w->resume_ns = resume_ns;
	intake_be_swept(in, resume_ns);
}

void intake_resume(struct pfs_intake *in, struct intake_watch *w, uint64_t now)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = w};

	if (w->fd < 0 || w->is_watched)
		return;
	if (now < w->resume_ns) {
		intake_be_swept(in, w->resume_ns);
	} else if (epoll_ctl(in->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev) < 0) {
		/* No memory, or too many watches of this user: later. */
		pfs_log_limited(PFS_LOG_WARNING, "intake", "watch: %m");
		pause_watch(in, w, now + NO_FD_NS);
	} else {
		w->is_watched = true;
	}
}

/* --- connections --- */

void intake_close_conn(struct pfs_intake *in, struct intake_conn *c)
{
	close(c->watch.fd); /* leaves the epoll set with it */
	c->watch.fd = -1;
	c->watch.is_watched = false;
	c->n_in = 0;
	note_conn(in, c->watch.vm, -1, 0);
}

/* A place for one more: a free one, else of one long silent; NULL: none. */
static struct intake_conn *find_place(struct pfs_intake *in,
				      struct intake_vm *vm, uint64_t now)
{
	struct intake_conn *quiet = &vm->conn[0];

	for (uint32_t i = 0; i < PFS_INTAKE_VM_CONNS; i++) {
		struct intake_conn *c = &vm->conn[i];

		if (c->watch.fd < 0)
			return in->n_conns < PFS_INTAKE_CONNS ? c : NULL;
		if (c->heard_ns < quiet->heard_ns)
			quiet = c;
	}
	if (now - quiet->heard_ns < SILENT_NS)
		return NULL;
	intake_close_conn(in, quiet);
	return quiet;
}

static struct intake_vm *vm_of_cid(struct pfs_intake *in, uint32_t cid)
{
	char name[PFS_INTAKE_NAME_LEN];
	struct intake_vm *vm;

	if (!cid) /* which would be a hypervisor, no VM */
		return NULL;
	(void)snprintf(name, sizeof(name), "cid:%u", cid);
	pfs_mutex_lock(&in->lock);
	vm = intake_find_locked(in, name);
	if (!vm) {
		vm = intake_vm_new(in, cid, name);
		if (vm && intake_enter_locked(in, vm)) {
			intake_vm_destroy(vm);
			vm = NULL;
			in->needs_room = true;
			intake_be_swept(in, 0);
		}
	}
	pfs_mutex_unlock(&in->lock);
	return vm;
}

/* Takes fd. */
static void add_conn(struct pfs_intake *in, struct intake_vm *vm, int fd,
		     int32_t pid, uint64_t now)
{
	struct intake_conn *c = vm ? find_place(in, vm, now) : NULL;

	if (!c) {
		close(fd);
		intake_count(in, vm, PFS_INTAKE_REFUSED);
		return;
	}
	c->watch.fd = fd;
	c->watch.resume_ns = now;
	c->heard_ns = now;
	note_conn(in, vm, 1, pid);
	intake_count(in, vm, PFS_INTAKE_ACCEPTED);
	intake_resume(in, &c->watch, now);
}

static bool is_short_of_fds(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOBUFS ||
	       err == -ENOMEM;
}

void intake_accept_some(struct pfs_intake *in, struct intake_listener *l,
			uint64_t now)
{
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		uint64_t wait_ns = intake_bucket_wait_ns(&l->bucket, 1, now);
		struct intake_peer peer;
		int fd, err;

		if (wait_ns) {
			pause_watch(in, &l->watch, now + wait_ns);
			return;
		}
		err = intake_accept(l->watch.fd, &fd, &peer);
		if (err == -EAGAIN)
			return;
		(void)intake_bucket_take(&l->bucket, now);
		if (is_short_of_fds(err)) {
			pfs_log_limited(PFS_LOG_WARNING, "intake", "accept: %s",
					strerrordesc_np(-err));
			pause_watch(in, &l->watch, now + NO_FD_NS);
			return;
		}
		if (!err)
			add_conn(in,
				 l->watch.vm ? l->watch.vm
					     : vm_of_cid(in, peer.cid),
				 fd, peer.pid, now);
	}
}

/* --- frames --- */

static void count_bad(struct pfs_intake *in, struct intake_conn *c,
		      enum pfs_vector_error error)
{
	struct intake_vm *vm = c->watch.vm;

	pfs_mutex_lock(&in->lock);
	vm->known.n_bad[error]++;
	pfs_mutex_unlock(&in->lock);
	intake_count(in, vm, PFS_INTAKE_BAD);
	/* Something else than an agent, or an agent out of step. */
	if (error == PFS_VECTOR_BAD_MAGIC)
		intake_close_conn(in, c);
}

static void keep(struct pfs_intake *in, struct intake_vm *vm,
		 const struct pfs_vector *v, uint64_t now)
{
	pfs_mutex_lock(&in->lock);
	vm->known.last = *v;
	vm->known.last_ns = now;
	if (!(v->flags & PFS_VECTOR_EARLY))
		intake_history_add(&vm->history, v, now);
	pfs_mutex_unlock(&in->lock);
}

static void take_frame(struct pfs_intake *in, struct intake_conn *c,
		       uint64_t now)
{
	struct intake_vm *vm = c->watch.vm;
	struct pfs_vector v;
	struct intake_verdict verdict;
	enum pfs_vector_error error =
		pfs_vector_decode(c->frame, sizeof(c->frame), &v);

	if (error) {
		count_bad(in, c, error);
		return;
	}
	verdict = intake_judge(&vm->agents, &v);
	intake_count(in, vm, verdict.is);
	if (verdict.is_new_agent)
		intake_count(in, vm, PFS_INTAKE_NEW_AGENT);
	if (verdict.is_jump)
		intake_count(in, vm, PFS_INTAKE_JUMPED);
	if (verdict.is != PFS_INTAKE_TAKEN)
		return;
	keep(in, vm, &v, now);
	in->cfg.take(in->cfg.arg,
		     &(struct pfs_intake_frame){.vm = vm->known.name,
						.cid = vm->known.cid,
						.peer_pid = vm->known.peer_pid,
						.time_ns = now,
						.vector = &v,
						.bytes = c->frame});
}

/* The peer is gone, or its connection failed. */
static void end_conn(struct pfs_intake *in, struct intake_conn *c)
{
	if (c->n_in)
		intake_count(in, c->watch.vm, PFS_INTAKE_TORN);
	intake_close_conn(in, c);
}

/* A quarter of a second's tokens at a time: a flood wakes us no more often. */
static void throttle(struct pfs_intake *in, struct intake_conn *c, uint64_t now)
{
	uint32_t n = in->cfg.frames_per_s / 4;

	intake_count(in, c->watch.vm, PFS_INTAKE_THROTTLED);
	pause_watch(in, &c->watch,
		    now + intake_bucket_wait_ns(&c->watch.vm->bucket,
						PFS_MAX(n, 1u), now));
}

void intake_read_some(struct pfs_intake *in, struct intake_conn *c,
		      uint64_t now)
{
	ssize_t n;

	if (!intake_bucket_has(&c->watch.vm->bucket, now)) {
		throttle(in, c, now);
		return;
	}
	n = read(c->watch.fd, c->frame + c->n_in, sizeof(c->frame) - c->n_in);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end_conn(in, c);
		return;
	}
	(void)intake_bucket_take(&c->watch.vm->bucket, now);
	c->heard_ns = now;
	if (!c->n_in)
		c->partial_ns = now;
	c->n_in += (uint32_t)n;
	if (c->n_in < sizeof(c->frame)) {
		intake_be_swept(in, c->partial_ns + INTAKE_PARTIAL_NS);
		return;
	}
	c->n_in = 0;
	take_frame(in, c, now);
}
