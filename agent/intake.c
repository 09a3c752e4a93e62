/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "intake_priv.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <pfs/clock.h>
#include <pfs/log.h>

#define FRAMES_PER_S 20
#define FRAMES_AT_ONCE 40
#define CONNS_PER_S 20
#define VSOCK_SHARES 10 /* of that, at the port that all VMs share */
#define HISTORY 600

/* --- VMs --- */

const char *pfs_intake_count_name(enum pfs_intake_count c)
{
	static const char *const names[PFS_INTAKE_COUNTS] = {
		[PFS_INTAKE_TAKEN] = "taken",
		[PFS_INTAKE_BAD] = "bad",
		[PFS_INTAKE_DUPLICATE] = "duplicate",
		[PFS_INTAKE_REPLAYED] = "replayed",
		[PFS_INTAKE_OLD_AGENT] = "old_agent",
		[PFS_INTAKE_NEW_AGENT] = "new_agent",
		[PFS_INTAKE_JUMPED] = "jumped",
		[PFS_INTAKE_THROTTLED] = "throttled",
		[PFS_INTAKE_ACCEPTED] = "accepted",
		[PFS_INTAKE_REFUSED] = "refused",
		[PFS_INTAKE_SLOW] = "slow",
		[PFS_INTAKE_TORN] = "torn",
	};

	return c < PFS_INTAKE_COUNTS ? names[c] : "unknown";
}

bool pfs_intake_name_ok(const char *name)
{
	size_t len = strlen(name);

	if (!len || len >= PFS_INTAKE_NAME_LEN || name[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	}
	return true;
}

struct intake_vm *intake_vm_new(const struct pfs_intake *in, uint32_t cid,
				const char *name)
{
	struct intake_vm *vm = calloc(1, sizeof(*vm));
	uint64_t now = pfs_now_ns();

	if (!vm)
		return NULL;
	vm->history.room = in->cfg.n_history;
	vm->history.past = calloc(vm->history.room, sizeof(*vm->history.past));
	if (!vm->history.past) {
		free(vm);
		return NULL;
	}
	vm->known.cid = cid;
	(void)snprintf(vm->known.name, sizeof(vm->known.name), "%s", name);
	intake_bucket_init(&vm->bucket, in->cfg.frames_per_s,
			   in->cfg.frames_at_once, now);
	vm->listener.watch = (struct intake_watch){
		.kind = INTAKE_LISTENER, .fd = -1, .vm = vm};
	intake_bucket_init(&vm->listener.bucket, in->cfg.conns_per_s,
			   2 * in->cfg.conns_per_s, now);
	for (uint32_t i = 0; i < PFS_INTAKE_VM_CONNS; i++)
		vm->conn[i].watch = (struct intake_watch){
			.kind = INTAKE_CONN, .fd = -1, .vm = vm};
	return vm;
}

void intake_vm_destroy(struct intake_vm *vm)
{
	if (!vm)
		return;
	for (uint32_t i = 0; i < PFS_INTAKE_VM_CONNS; i++)
		pfs_fd_done(&vm->conn[i].watch.fd);
	pfs_fd_done(&vm->listener.watch.fd);
	free(vm->history.past);
	free(vm);
}

static void vm_done(struct intake_vm **vm)
{
	intake_vm_destroy(*vm);
}

struct intake_vm *intake_find_locked(struct pfs_intake *in, const char *name)
{
	for (uint32_t i = 0; i < in->n_slots; i++) {
		struct intake_vm *vm = in->vm[i];

		if (vm && !vm->is_leaving && !strcmp(vm->known.name, name))
			return vm;
	}
	return NULL;
}

int intake_enter_locked(struct pfs_intake *in, struct intake_vm *vm)
{
	uint32_t i = 0;

	while (i < in->n_slots && in->vm[i])
		i++;
	if (i == PFS_INTAKE_VMS)
		return -ENOSPC;
	in->vm[i] = vm;
	in->n_slots = PFS_MAX(in->n_slots, i + 1);
	return 0;
}

/* --- adding and removing --- */

static void wake(struct pfs_intake *in)
{
	uint64_t one = 1;

	/* Can fail only when 2^64 wakes are pending. */
	(void)!write(in->wake.fd, &one, sizeof(one));
}

static int path_of(const struct pfs_intake *in, const char *name,
		   struct intake_path *out)
{
	int len;

	out->at.sun_family = AF_UNIX;
	len = snprintf(out->at.sun_path, sizeof(out->at.sun_path), "%s/%s_%u",
		       in->uds_dir, name, in->cfg.uds_port);
	return (size_t)len < sizeof(out->at.sun_path) ? 0 : -ENAMETOOLONG;
}

static int enter(struct pfs_intake *in, struct intake_vm *vm)
{
	int err = -EEXIST;

	pfs_mutex_lock(&in->lock);
	if (!intake_find_locked(in, vm->known.name))
		err = intake_enter_locked(in, vm);
	pfs_mutex_unlock(&in->lock);
	return err;
}

static bool has(struct pfs_intake *in, const char *name)
{
	bool yes;

	pfs_mutex_lock(&in->lock);
	yes = intake_find_locked(in, name);
	pfs_mutex_unlock(&in->lock);
	return yes;
}

/* The listener is born paused, to be resumed at once: waking the thread is
 * all that is left to do. */
int pfs_intake_add_vm(struct pfs_intake *in, const char *name)
{
	PFS_AUTO(vm_done) struct intake_vm *vm = NULL;
	int err;

	if (!in->uds_dir || !pfs_intake_name_ok(name))
		return -EINVAL;
	if (has(in, name))
		return -EEXIST;
	vm = intake_vm_new(in, 0, name);
	if (!vm)
		return -ENOMEM;
	err = path_of(in, name, &vm->path);
	if (!err)
		err = intake_listen_unix(&vm->path, &vm->listener.watch.fd);
	if (err)
		return pfs_log_fail(err, "intake", "socket of VM %s in %s",
				    name, in->uds_dir);
	err = enter(in, vm);
	if (err) {
		intake_path_remove(&vm->path);
		return err;
	}
	(void)pfs_take(&vm); /* the table's */
	wake(in);
	return 0;
}

/* The path goes at once, so that the name can be added again; the thread
 * sees to the rest. */
int pfs_intake_remove_vm(struct pfs_intake *in, const char *name)
{
	struct intake_vm *vm;
	int err = -ENOENT;

	pfs_mutex_lock(&in->lock);
	vm = intake_find_locked(in, name);
	if (vm && !vm->known.cid) {
		intake_path_remove(&vm->path);
		vm->is_leaving = true;
		err = 0;
	}
	pfs_mutex_unlock(&in->lock);
	if (!err)
		wake(in);
	return err;
}

/* --- what is known --- */

int pfs_intake_vm(struct pfs_intake *in, const char *name,
		  struct pfs_intake_vm *out)
{
	struct intake_vm *vm;

	pfs_mutex_lock(&in->lock);
	vm = intake_find_locked(in, name);
	if (vm)
		*out = vm->known;
	pfs_mutex_unlock(&in->lock);
	return vm ? 0 : -ENOENT;
}

/* False: there is none in slot i. */
static bool copy_slot(struct pfs_intake *in, uint32_t i,
		      struct pfs_intake_vm *out)
{
	struct intake_vm *vm;
	bool is_there;

	pfs_mutex_lock(&in->lock);
	vm = in->vm[i];
	is_there = vm && !vm->is_leaving;
	if (is_there)
		*out = vm->known;
	pfs_mutex_unlock(&in->lock);
	return is_there;
}

int pfs_intake_each(struct pfs_intake *in,
		    int (*fn)(void *arg, const struct pfs_intake_vm *vm),
		    void *arg)
{
	struct pfs_intake_vm vm;
	int err = 0;

	for (uint32_t i = 0; i < PFS_INTAKE_VMS && !err; i++) {
		if (copy_slot(in, i, &vm))
			err = fn(arg, &vm);
	}
	return err;
}

int pfs_intake_history(struct pfs_intake *in, const char *name,
		       struct pfs_intake_sample *out, size_t *n)
{
	struct intake_vm *vm;

	pfs_mutex_lock(&in->lock);
	vm = intake_find_locked(in, name);
	if (vm)
		*n = intake_history_copy(&vm->history, out, *n);
	pfs_mutex_unlock(&in->lock);
	return vm ? 0 : -ENOENT;
}

int pfs_intake_vsock_error(const struct pfs_intake *in)
{
	return in->vsock_error;
}

/* --- start and stop --- */

static void intake_destroy(struct pfs_intake *in)
{
	if (!in)
		return;
	for (uint32_t i = 0; i < in->n_slots; i++) {
		if (in->vm[i] && !in->vm[i]->known.cid &&
		    !in->vm[i]->is_leaving)
			intake_path_remove(&in->vm[i]->path);
		intake_vm_destroy(in->vm[i]);
	}
	pfs_fd_done(&in->vsock.watch.fd);
	pfs_fd_done(&in->wake.fd);
	pfs_fd_done(&in->epoll_fd);
	pfs_mutex_fini(&in->lock);
	free(in->uds_dir);
	free(in);
}

static void intake_done(struct pfs_intake **in)
{
	intake_destroy(*in);
}

static int configure(struct pfs_intake *in, const struct pfs_intake_config *cfg)
{
	struct pfs_intake_config *c = &in->cfg;

	*c = *cfg;
	c->uds_port = c->uds_port ? c->uds_port : PFS_VECTOR_PORT;
	c->frames_per_s = c->frames_per_s ? c->frames_per_s : FRAMES_PER_S;
	c->frames_at_once =
		c->frames_at_once ? c->frames_at_once : FRAMES_AT_ONCE;
	c->conns_per_s = c->conns_per_s ? c->conns_per_s : CONNS_PER_S;
	c->n_history = c->n_history ? c->n_history : HISTORY;
	if (!c->take || c->frames_per_s > INTAKE_RATE_MAX ||
	    c->frames_at_once > INTAKE_RATE_MAX ||
	    c->conns_per_s > INTAKE_RATE_MAX / 2 / VSOCK_SHARES)
		return -EINVAL;
	c->uds_dir = NULL;
	if (cfg->uds_dir) {
		in->uds_dir = strdup(cfg->uds_dir);
		if (!in->uds_dir)
			return -ENOMEM;
	}
	return 0;
}

/* Without AF_VSOCK there are the hybrid sockets; another's port is an error
 * that the operator must know of. */
static int listen_vsock(struct pfs_intake *in)
{
	int err = in->cfg.vsock_port ? intake_listen_vsock(in->cfg.vsock_port,
							   &in->vsock.watch.fd)
				     : 0;

	if (err == -EADDRINUSE)
		return pfs_log_fail(err, "intake", "AF_VSOCK port %u",
				    in->cfg.vsock_port);
	if (err)
		pfs_log(PFS_LOG_WARNING, "intake",
			"no AF_VSOCK on this host (%s): no vectors from guests "
			"that need it",
			strerrordesc_np(-err));
	in->vsock_error = err;
	return in->vsock.watch.fd < 0 && !in->uds_dir ? -ENODEV : 0;
}

static int make_loop(struct pfs_intake *in)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &in->wake};

	in->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	in->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (in->epoll_fd < 0 || in->wake.fd < 0 ||
	    epoll_ctl(in->epoll_fd, EPOLL_CTL_ADD, in->wake.fd, &ev) < 0)
		return pfs_log_fail(-errno, "intake", "epoll");
	return 0;
}

int pfs_intake_start(const struct pfs_intake_config *cfg,
		     struct pfs_intake **out)
{
	PFS_AUTO(intake_done) struct pfs_intake *in = calloc(1, sizeof(*in));
	uint32_t n_conns;
	int err;

	if (!in)
		return -ENOMEM;
	pfs_mutex_init(&in->lock, PFS_RANK_INTAKE);
	in->wake = (struct intake_watch){.kind = INTAKE_WAKE, .fd = -1};
	in->vsock.watch =
		(struct intake_watch){.kind = INTAKE_LISTENER, .fd = -1};
	in->epoll_fd = -1;

	err = configure(in, cfg);
	if (!err)
		err = listen_vsock(in);
	if (!err)
		err = make_loop(in);
	if (err)
		return err;
	n_conns = VSOCK_SHARES * in->cfg.conns_per_s;
	intake_bucket_init(&in->vsock.bucket, n_conns, 2 * n_conns,
			   pfs_now_ns());
	err = pfs_thread_start(&in->thread, "pfs-intake", intake_main, in);
	if (err)
		return pfs_log_fail(err, "intake", "thread");
	*out = pfs_take(&in);
	return 0;
}

void pfs_intake_stop(struct pfs_intake *in)
{
	if (!in)
		return;
	in->is_stopping = true;
	wake(in);
	pthread_join(in->thread, NULL);
	intake_destroy(in);
}
