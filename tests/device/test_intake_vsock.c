/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The intake over AF_VSOCK: through vsock_loopback, whose CID is 1. */
#include "intake_fixture.h"

#include <linux/vm_sockets.h>

#include <pfs/log.h>

#include "intake_priv.h"

#define PORT 57377u
#define SKIPPED 77

static int connect_loopback(uint32_t port)
{
	struct sockaddr_vm at = {.svm_family = AF_VSOCK,
				 .svm_port = port,
				 .svm_cid = VMADDR_CID_LOCAL};
	struct timeval patience = {.tv_sec = 2};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience,
			 sizeof(patience));
	if (!connect(fd, (struct sockaddr *)&at, sizeof(at)))
		return fd;
	close(fd);
	return -1;
}

/* hear() goes by the last letter of a name; here all are the first's. */
static void hear_cid(void *arg, const struct pfs_intake_frame *f)
{
	struct pfs_intake_frame as_a = *f;

	CHECK_STR(f->vm, "cid:1");
	CHECK_EQ(f->cid, VMADDR_CID_LOCAL);
	CHECK_EQ(f->peer_pid, 0);
	as_a.vm = "a";
	hear(arg, &as_a);
}

static bool start(struct rig *g)
{
	struct pfs_intake_config cfg = {
		.vsock_port = PORT, .take = hear_cid, .arg = g};
	int fd;

	memset(g, 0, sizeof(*g));
	if (pfs_intake_start(&cfg, &g->in))
		return false;
	fd = connect_loopback(PORT);
	if (fd < 0)
		pfs_intake_stop(g->in);
	else
		close(fd);
	return fd >= 0;
}

static void a_vm_is_its_cid(struct rig *g)
{
	struct pfs_intake_vm vm;
	int fd = connect_loopback(PORT);

	CHECK(fd >= 0);
	for (uint64_t seq = 1; seq <= 10; seq++)
		CHECK(push_frame(fd, 1, seq));
	CHECK(EVENTUALLY(g->of[0].n == 10));
	vm = known(g, "cid:1");
	CHECK_EQ(vm.cid, VMADDR_CID_LOCAL);
	CHECK_EQ(vm.n_conns, 1);
	CHECK_EQ(vm.last.seq, 10);
	CHECK_EQ(pfs_intake_remove_vm(g->in, "cid:1"), -ENOENT);
	close(fd);
	CHECK(EVENTUALLY(!known(g, "cid:1").n_conns));
}

/* Little waits in the kernel: a guest over its rate is soon stopped. */
static void a_flood_waits_in_the_guest(struct rig *g)
{
	struct timeval brief = {.tv_usec = 100000};
	int fd = connect_loopback(PORT);
	uint64_t seq = 10, before = g->of[0].n;

	CHECK(fd >= 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof(brief));
	while (seq < 10000 && push_frame(fd, 1, ++seq))
		continue;
	CHECK(seq < 200);
	CHECK(counted(g, "cid:1", PFS_INTAKE_THROTTLED) > 0);
	printf("%llu frames sent before the guest was stopped, %llu taken\n",
	       (unsigned long long)seq - 10,
	       (unsigned long long)(g->of[0].n - before));
	close(fd);
	CHECK(EVENTUALLY(!known(g, "cid:1").n_conns));
}

static void a_third_connection_is_refused(struct rig *g)
{
	int fd[3];

	for (int i = 0; i < 3; i++)
		fd[i] = connect_loopback(PORT);
	CHECK(EVENTUALLY(counted(g, "cid:1", PFS_INTAKE_REFUSED) == 1));
	CHECK(EVENTUALLY(is_closed(fd[2])));
	CHECK(!is_closed(fd[0]) && !is_closed(fd[1]));
	for (int i = 0; i < 3; i++)
		close(fd[i]);
}

static void a_port_has_one_listener(struct rig *g)
{
	struct pfs_intake_config cfg = {
		.vsock_port = PORT, .take = hear_cid, .arg = g};
	struct pfs_intake *second;

	CHECK_EQ(pfs_intake_vsock_error(g->in), 0);
	CHECK_EQ(pfs_intake_start(&cfg, &second), -EADDRINUSE);
	pfs_intake_stop(g->in);
	CHECK_EQ(pfs_intake_start(&cfg, &g->in), 0);
}

/* As if as many VMs had come and gone as are remembered. */
static void remember_many(struct pfs_intake *in)
{
	pfs_mutex_lock(&in->lock);
	for (uint32_t i = 0; i < PFS_INTAKE_VMS; i++) {
		struct intake_vm *vm = intake_vm_new(in, 100 + i, "gone");

		vm->known.last_ns = 2 + (i + 5) % PFS_INTAKE_VMS;
		CHECK(!intake_enter_locked(in, vm));
	}
	pfs_mutex_unlock(&in->lock);
}

static int note_oldest(void *arg, const struct pfs_intake_vm *vm)
{
	uint64_t *oldest_ns = arg;

	if (vm->last_ns && vm->last_ns < *oldest_ns)
		*oldest_ns = vm->last_ns;
	return 0;
}

static void a_new_vm_takes_the_place_of_the_one_gone_longest(struct rig *g)
{
	uint64_t oldest_ns = UINT64_MAX;
	int fd[2];

	remember_many(g->in);
	fd[0] = connect_loopback(PORT);
	CHECK(EVENTUALLY(is_closed(fd[0]))); /* its agent will try again */
	pfs_sleep_ms(50);
	fd[1] = connect_loopback(PORT);
	CHECK(push_frame(fd[1], 1, 1));
	CHECK(EVENTUALLY(g->of[0].last_seq == 1));
	(void)pfs_intake_each(g->in, note_oldest, &oldest_ns);
	CHECK_EQ(oldest_ns, 3);
	close(fd[0]);
	close(fd[1]);
}

int main(void)
{
	struct rig g;

	if (!start(&g)) {
		printf("no vsock_loopback here\n");
		return SKIPPED;
	}
	a_vm_is_its_cid(&g);
	a_flood_waits_in_the_guest(&g);
	a_third_connection_is_refused(&g);
	a_port_has_one_listener(&g);
	a_new_vm_takes_the_place_of_the_one_gone_longest(&g);
	pfs_intake_stop(g.in);
	return CHECK_RESULT();
}
