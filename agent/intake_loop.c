/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The thread of the intake.  All that depends on time is done by sweep(): when
 * something is due, but not more often than each TICK_NS, so that many VMs
 * with things to do cost no more than one.
 */
#include "intake_priv.h"

#include <sys/epoll.h>

#include <pfs/clock.h>

#define EVENTS 64
#define TICK_NS (20 * PFS_NSEC_PER_MSEC)
#define WAIT_MAX_MS 60000u

/* --- time --- */

static void sweep_conn(struct pfs_intake *in, struct intake_conn *c,
		       uint64_t now)
{
	if (c->watch.fd < 0)
		return;
	if (c->n_in && now - c->partial_ns >= INTAKE_PARTIAL_NS) {
		intake_count(in, c->watch.vm, PFS_INTAKE_SLOW);
		intake_close_conn(in, c);
		return;
	}
	if (c->n_in)
		intake_be_swept(in, c->partial_ns + INTAKE_PARTIAL_NS);
	intake_resume(in, &c->watch, now);
}

static void let_go(struct pfs_intake *in, uint32_t slot)
{
	struct intake_vm *vm = in->vm[slot];

	for (uint32_t i = 0; i < PFS_INTAKE_VM_CONNS; i++) {
		if (vm->conn[i].watch.fd >= 0)
			intake_close_conn(in, &vm->conn[i]);
	}
	pfs_mutex_lock(&in->lock);
	in->vm[slot] = NULL;
	pfs_mutex_unlock(&in->lock);
	intake_vm_destroy(vm);
}

static uint32_t n_slots(struct pfs_intake *in)
{
	uint32_t n;

	pfs_mutex_lock(&in->lock);
	n = in->n_slots;
	pfs_mutex_unlock(&in->lock);
	return n;
}

static struct intake_vm *vm_in(struct pfs_intake *in, uint32_t slot)
{
	struct intake_vm *vm;

	pfs_mutex_lock(&in->lock);
	vm = in->vm[slot];
	pfs_mutex_unlock(&in->lock);
	return vm;
}

/* CIDs come and go: of those without a connection the one heard longest ago
 * makes room.  A hybrid VM stays until it is removed. */
static void make_room(struct pfs_intake *in)
{
	uint32_t n = n_slots(in), oldest = n;
	uint64_t oldest_ns = UINT64_MAX;

	for (uint32_t i = 0; i < n; i++) {
		const struct intake_vm *vm = vm_in(in, i);

		if (vm && vm->known.cid && !vm->known.n_conns &&
		    vm->known.last_ns < oldest_ns) {
			oldest = i;
			oldest_ns = vm->known.last_ns;
		}
	}
	if (oldest < n)
		let_go(in, oldest);
	in->needs_room = false;
}

static void sweep(struct pfs_intake *in, uint64_t now)
{
	uint32_t n = n_slots(in);

	in->swept_ns = now;
	in->due_ns = UINT64_MAX;
	if (in->needs_room)
		make_room(in);
	intake_resume(in, &in->vsock.watch, now);
	for (uint32_t i = 0; i < n; i++) {
		struct intake_vm *vm = vm_in(in, i);

		if (!vm)
			continue;
		if (vm->is_leaving) {
			let_go(in, i);
			continue;
		}
		intake_resume(in, &vm->listener.watch, now);
		for (uint32_t j = 0; j < PFS_INTAKE_VM_CONNS; j++)
			sweep_conn(in, &vm->conn[j], now);
	}
}

/* --- the loop --- */

static uint64_t next_sweep_ns(const struct pfs_intake *in)
{
	return PFS_MAX(in->due_ns, in->swept_ns + TICK_NS);
}

static int timeout_ms(const struct pfs_intake *in)
{
	uint64_t now = pfs_now_ns(), at = next_sweep_ns(in);

	if (at == UINT64_MAX)
		return -1;
	if (at <= now)
		return 0;
	return (int)PFS_MIN((at - now) / PFS_NSEC_PER_MSEC + 1, WAIT_MAX_MS);
}

static void wake_up(struct pfs_intake *in)
{
	uint64_t n;

	(void)!read(in->wake.fd, &n, sizeof(n));
	in->due_ns = 0; /* VMs were added or removed */
	in->swept_ns = 0;
}

/* One event.  What was closed earlier in this turn has no descriptor. */
static void serve(struct pfs_intake *in, struct intake_watch *w)
{
	uint64_t now = pfs_now_ns();

	if (w->fd < 0)
		return;
	switch (w->kind) {
	case INTAKE_WAKE:
		wake_up(in);
		break;
	case INTAKE_LISTENER:
		intake_accept_some(
			in, PFS_CONTAINER_OF(w, struct intake_listener, watch),
			now);
		break;
	case INTAKE_CONN:
		intake_read_some(in,
				 PFS_CONTAINER_OF(w, struct intake_conn, watch),
				 now);
		break;
	}
}

/* VMs are taken away in sweep() only, when no event points to them. */
void *intake_main(void *arg)
{
	struct pfs_intake *in = arg;
	struct epoll_event ev[EVENTS];

	while (!in->is_stopping) {
		int n = epoll_wait(in->epoll_fd, ev, EVENTS, timeout_ms(in));
		uint64_t now;

		for (int i = 0; i < n && !in->is_stopping; i++)
			serve(in, ev[i].data.ptr);
		now = pfs_now_ns();
		if (now >= next_sweep_ns(in))
			sweep(in, now);
	}
	return NULL;
}
