/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * supervisor.c - the life of a mount.
 *
 * Start    claims, source, socket, mount, clones, memfd, first worker.
 * Death    the worker is reaped (which ends its system calls), its socket is
 *          emptied (descriptors it registered count), the next is started.
 * Upgrade  a standby worker is brought to READY; then the worker is drained;
 *          when it is gone the standby gets the kept descriptors and goes.
 * End      the worker saves and exits, the mount is detached.
 */
#include "supervisor.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <pfs/clock.h>
#include <pfs/ctl_path.h>
#include <pfs/log.h>

#include "daemon.h"
#include "mountpoint.h"
#include "places.h"

#define HAS_RESEND_FLAG2 (1u << 7) /* FUSE_HAS_RESEND, bit 39 of all flags */
#define FAULT_WINDOW_NS (10 * PFS_NSEC_PER_SEC)
#define HEALTHY_NS (10 * PFS_NSEC_PER_SEC)
#define BACKOFF_MIN_NS (50 * PFS_NSEC_PER_MSEC)
#define BACKOFF_MAX_NS PFS_NSEC_PER_SEC
#define SAFE_AFTER 3
/* From GO to SERVING: catalog and store, and for each open file a look at the
 * source, which may be slow. */
#define SERVE_NS (20 * PFS_NSEC_PER_SEC)
#define SERVE_EACH_NS (50 * PFS_NSEC_PER_MSEC)

/* One message at a time, in one thread. */
static struct proto_msg msg;

/* --- starting a worker --- */

static int send_options(struct supervisor *s, struct child *c)
{
	PFS_AUTO_FREE char *text = NULL;
	int err;

	s->opt.is_safe = c == &s->worker && s->n_faults_in_row >= SAFE_AFTER;
	err = options_pack(&s->opt, &text);
	/* With its NUL. */
	return err ? err
		   : proto_send(c->sock, PROTO_CONFIG, text, strlen(text) + 1,
				NULL, 0);
}

static int send_fixed(struct supervisor *s, struct child *c)
{
	int fds[6] = {s->state_fd,
		      s->root_fd,
		      s->dev_fd,
		      s->listen_fd,
		      s->claim_fd[CLAIM_CATALOG],
		      s->claim_fd[CLAIM_STORE]};

	return proto_send(c->sock, PROTO_FIXED_FDS, NULL, 0, fds,
			  fds[5] < 0 ? 5 : 6);
}

static int send_kept(struct supervisor *s, struct child *c)
{
	uint32_t slots[PROTO_FDS];
	int fds[PROTO_FDS];
	int n = 0, err = 0;

	for (uint32_t slot = 0; slot < STATE_FD_SLOTS && !err; slot++) {
		if (s->kept[slot] >= 0) {
			slots[n] = slot;
			fds[n++] = s->kept[slot];
		}
		if (n == PROTO_FDS || (n && slot == STATE_FD_SLOTS - 1)) {
			err = proto_send(c->sock, PROTO_KEPT_FDS, slots,
					 sizeof(slots[0]) * (size_t)n, fds, n);
			n = 0;
		}
	}
	return err;
}

/* A standby gets the kept descriptors when its predecessor is gone. */
static int send_config(struct supervisor *s, struct child *c)
{
	int err = send_options(s, c);

	if (!err)
		err = send_fixed(s, c);
	if (!err)
		err = proto_send(c->sock, PROTO_CLONE_FDS, NULL, 0, s->clone_fd,
				 (int)s->n_clones);
	if (!err && c == &s->worker)
		err = send_kept(s, c);
	if (!err)
		err = proto_send(c->sock, PROTO_CONFIG_END, NULL, 0, NULL, 0);
	return err;
}

static void start_worker(struct supervisor *s)
{
	s->start_at_ns = 0;
	if (child_start(&s->worker, s->exe_fd, s->opt.foreground,
			s->opt.is_verbose)) {
		/* No memory or processes just now: the mount waits. */
		s->start_at_ns = pfs_now_ns() + BACKOFF_MAX_NS;
		return;
	}
	s->state->n_starts++;
}

static void go(struct supervisor *s, struct child *c)
{
	uint64_t limit_ns = SERVE_NS;

	for (uint32_t slot = 0; slot < STATE_FD_SLOTS; slot++)
		if (s->kept[slot] >= 0)
			limit_ns += SERVE_EACH_NS;
	/* A send error means that it is dead; its pidfd will tell. */
	(void)!child_go(c, s->state->n_starts > 1, limit_ns);
}

/* --- the end --- */

static void end_mount(struct supervisor *s, int status)
{
	if (s->is_ending)
		return;
	s->is_ending = true;
	s->exit_status = status;
	s->start_at_ns = 0;
	daemon_notify("STOPPING=1");
	/* One that drains for an upgrade goes on with that: it has stopped to
	 * listen, and what it does not save costs a re-read, no more. */
	if (s->worker.phase != CHILD_DRAINING)
		child_drain(&s->worker, PROTO_DRAIN_END);
	child_kill(&s->standby);
}

static bool is_over(const struct supervisor *s)
{
	return s->is_ending && s->worker.phase == CHILD_NONE &&
	       s->standby.phase == CHILD_NONE;
}

/* --- upgrade --- */

static void send_result(struct supervisor *s, int err, const char *text)
{
	struct {
		int32_t err;
		char text[256];
	} reply = {.err = err};

	(void)snprintf(reply.text, sizeof(reply.text), "%s", text);
	pfs_log(err ? PFS_LOG_WARNING : PFS_LOG_INFO, "supervisor",
		"upgrade: %s", text);
	/* The worker may be gone, and pfsctl's connection with it. */
	(void)!proto_send(s->worker.sock, PROTO_UPGRADE_RESULT, &reply,
			  sizeof(reply.err) + strlen(reply.text) + 1, NULL, 0);
}

/* Once per upgrade: what comes after the first answer is a consequence. */
static void PFS_PRINTF(3, 4)
	answer_upgrade(struct supervisor *s, int err, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (!s->is_upgrading)
		return;
	s->is_upgrading = false;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	send_result(s, err, text);
}

static int open_binary(const char *path, int *out_fd)
{
	PFS_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || access(path, X_OK))
		return -EACCES;
	*out_fd = pfs_take_fd(&fd);
	return 0;
}

static void drop_next_exe(struct supervisor *s)
{
	if (s->next_exe_fd >= 0)
		close(s->next_exe_fd);
	s->next_exe_fd = -1;
	s->shall_reexec = false;
}

static void begin_upgrade(struct supervisor *s, const char *path, bool all)
{
	int err;

	if (s->standby.phase != CHILD_NONE || s->is_ending ||
	    s->worker.phase != CHILD_RUNNING) {
		send_result(s, -EBUSY, "another one is under way");
		return;
	}
	s->is_upgrading = true;
	drop_next_exe(s);
	err = open_binary(path, &s->next_exe_fd);
	if (!err)
		err = child_start(&s->standby, s->next_exe_fd,
				  s->opt.foreground, s->opt.is_verbose);
	if (err) {
		drop_next_exe(s);
		answer_upgrade(s, err, "%s cannot be started: %s", path,
			       strerror(-err));
		return;
	}
	s->shall_reexec = all;
}

static void refuse_standby(struct supervisor *s, int err, const char *why)
{
	drop_next_exe(s);
	answer_upgrade(s, err, "the new binary %s; the old one goes on", why);
	child_kill(&s->standby);
}

static void standby_is_ready(struct supervisor *s)
{
	s->standby.phase = CHILD_READY;
	s->standby.deadline_ns = 0;
	answer_upgrade(s, 0, "worker %d takes over from %d",
		       (int)s->standby.pid, (int)s->worker.pid);
	child_drain(&s->worker, PROTO_DRAIN_HANDOVER);
}

static void take_new_exe(struct supervisor *s)
{
	pfs_fd_done(&s->old_exe_fd);
	s->old_exe_fd = s->exe_fd;
	s->exe_fd = pfs_take_fd(&s->next_exe_fd);
	s->n_faults_in_row = 0;
}

static void renew_clones(struct supervisor *s);

static bool has_resend(const struct supervisor *s)
{
	struct fuse_init_in in;
	uint32_t len = atomic_load(&s->state->init_len);

	if (len < sizeof(struct fuse_in_header) + sizeof(in))
		return !len; /* an older kernel sends a shorter INIT */
	memcpy(&in, s->state->init + sizeof(struct fuse_in_header), sizeof(in));
	return in.flags & FUSE_INIT_EXT && in.flags2 & HAS_RESEND_FLAG2;
}

/* The worker is gone and the standby ready. */
static void promote_standby(struct supervisor *s, bool is_clean)
{
	take_new_exe(s);
	if (!is_clean && !has_resend(s)) {
		/* The standby holds the clones that must be closed. */
		child_kill(&s->standby);
		child_reap(&s->standby);
		renew_clones(s);
		start_worker(s);
		return;
	}
	s->worker = s->standby;
	child_init(&s->standby);
	s->state->n_starts++;
	if (send_kept(s, &s->worker))
		child_kill(&s->worker);
	else
		go(s, &s->worker);
}

/* --- messages --- */

static void on_hello(struct supervisor *s, struct child *c)
{
	uint32_t version[2] = {0};

	if (msg.len == sizeof(version))
		memcpy(version, msg.data, sizeof(version));
	if (version[0] != PROTO_VERSION || version[1] != STATE_VERSION) {
		pfs_log(PFS_LOG_ERROR, "supervisor",
			"worker %d speaks version %u with state %u, not "
			"%d and %d",
			(int)c->pid, version[0], version[1], PROTO_VERSION,
			STATE_VERSION);
		if (c == &s->standby)
			refuse_standby(s, -EPROTO,
				       "is too different: unmount and mount "
				       "again to change to it");
		child_kill(c);
		return;
	}
	c->phase = CHILD_CONFIGURED;
	if (send_config(s, c))
		child_kill(c);
}

/* The kernel was told once what this mount can do. */
static bool init_matches(const struct supervisor *s)
{
	uint32_t len = atomic_load(&s->state->init_reply_len);

	return !atomic_load(&s->state->init_len) ||
	       (len <= STATE_INIT_MAX && msg.len == len &&
		!memcmp(msg.data, s->state->init_reply, len));
}

static void on_ready(struct supervisor *s, struct child *c)
{
	if (c->phase != CHILD_CONFIGURED)
		return;
	if (c == &s->standby && !init_matches(s)) {
		refuse_standby(s, -EPROTO,
			       "would answer the kernel's INIT differently");
	} else if (!init_matches(s)) {
		pfs_log(PFS_LOG_ERROR, "supervisor",
			"worker %d would answer INIT differently", (int)c->pid);
		child_kill(c);
	} else if (c == &s->standby) {
		standby_is_ready(s);
	} else {
		go(s, c);
	}
}

static void publish(struct supervisor *s)
{
	struct pfs_ctl_mount m = {
		.mountpoint = s->opt.mountpoint,
		.source = s->opt.source,
		.supervisor_pid = getpid(),
	};
	int err;

	strcpy(m.id, s->mount_id);
	err = pfs_ctl_mount_publish(&m);
	if (err)
		pfs_log(PFS_LOG_WARNING, "supervisor",
			"pfsctl will not find this mount: %s", strerror(-err));
}

static void on_serving(struct supervisor *s, struct child *c)
{
	c->is_serving = true;
	if (c->phase == CHILD_RUNNING) /* a drain has a deadline of its own */
		c->deadline_ns = 0;
	if (!s->is_up) {
		s->is_up = true;
		publish(s);
		pfs_log(PFS_LOG_INFO, "supervisor", "serving %s at %s",
			s->opt.source, s->opt.mountpoint);
		daemon_notify("READY=1");
		daemon_report(&s->report_fd, 0);
	}
	if (s->shall_reexec) {
		s->shall_reexec = false;
		(void)!reexec_into(s, s->exe_fd); /* it said why */
	}
}

static bool slot_of_msg(int n_fds, uint32_t *slot)
{
	if (msg.len != sizeof(*slot) || msg.n_fds != n_fds)
		return false;
	memcpy(slot, msg.data, sizeof(*slot));
	return *slot < STATE_FD_SLOTS;
}

static void keep(struct supervisor *s, uint32_t slot, int fd)
{
	if (s->kept[slot] >= 0)
		close(s->kept[slot]);
	s->kept[slot] = fd;
}

static void on_upgrade(struct supervisor *s, struct child *c, bool all)
{
	/* The path may come with its NUL or without. */
	if (c != &s->worker || msg.len >= PROTO_MAX)
		return;
	msg.data[msg.len] = 0;
	begin_upgrade(s, (const char *)msg.data, all);
}

static void on_message(struct supervisor *s, struct child *c)
{
	uint32_t slot;

	switch (msg.type) {
	case PROTO_HELLO:
		on_hello(s, c);
		break;
	case PROTO_READY:
		on_ready(s, c);
		break;
	case PROTO_SERVING:
		on_serving(s, c);
		break;
	case PROTO_FD_PUT:
		if (slot_of_msg(1, &slot))
			keep(s, slot, pfs_take_fd(&msg.fds[0]));
		break;
	case PROTO_FD_DROP:
		if (slot_of_msg(0, &slot))
			keep(s, slot, -1);
		break;
	case PROTO_UPGRADE:
	case PROTO_UPGRADE_ALL:
		on_upgrade(s, c, msg.type == PROTO_UPGRADE_ALL);
		break;
	case PROTO_STOP_MOUNT:
		end_mount(s, 0);
		break;
	default:
		pfs_log(PFS_LOG_WARNING, "supervisor",
			"message of type %u from worker %d makes no sense",
			msg.type, (int)c->pid);
	}
	proto_close_fds(&msg);
}

static void receive(struct supervisor *s, struct child *c)
{
	int err = proto_recv(c->sock, &msg);

	if (!err) {
		on_message(s, c);
	} else if (err == -ENOTCONN) {
		c->is_sock_open = false;
	} else {
		pfs_log(PFS_LOG_ERROR, "supervisor", "worker %d: %s",
			(int)c->pid, strerror(-err));
		child_kill(c);
		c->is_sock_open = false;
	}
}

/* --- death --- */

static void empty_socket(struct supervisor *s, struct child *c)
{
	struct pollfd p = {.fd = c->sock, .events = POLLIN};

	while (c->is_sock_open && poll(&p, 1, 0) == 1)
		receive(s, c);
}

static void describe(int status, char *buf, size_t len)
{
	if (WIFSIGNALED(status))
		(void)snprintf(buf, len, "signal %d (%s)", WTERMSIG(status),
			       strsignal(WTERMSIG(status)));
	else
		(void)snprintf(buf, len, "exit status %d", WEXITSTATUS(status));
}

/* Closing the clones of a dead worker aborts what it had read from them. */
static void renew_clones(struct supervisor *s)
{
	for (unsigned int i = 0; i < s->n_clones; i++) {
		int fd;

		if (mountpoint_clone(s->dev_fd, &fd))
			continue; /* the old one still serves */
		close(s->clone_fd[i]);
		s->clone_fd[i] = fd;
	}
}

/* How long the next start is put off.  "At once" six times in 10 s would be a
 * busy loop. */
static void note_fault(struct supervisor *s)
{
	uint64_t now = pfs_now_ns();
	uint64_t *oldest = &s->fault_ns[s->n_faults % SUPERVISOR_FAULTS];
	bool too_many = s->n_faults >= SUPERVISOR_FAULTS &&
			now - *oldest < FAULT_WINDOW_NS;

	*oldest = now;
	s->n_faults++;
	s->n_faults_in_row++;
	s->backoff_ns = !too_many ? 0
			: !s->backoff_ns
				? BACKOFF_MIN_NS
				: PFS_MIN(2 * s->backoff_ns, BACKOFF_MAX_NS);
	if (s->n_faults_in_row == SAFE_AFTER)
		pfs_log(PFS_LOG_ERROR, "supervisor",
			"%d workers in a row failed: the next run without "
			"the store",
			SAFE_AFTER);
}

/* A new binary that fails in its first seconds is not tried twice. */
static void fall_back_exe(struct supervisor *s)
{
	if (s->old_exe_fd < 0)
		return;
	pfs_log(PFS_LOG_ERROR, "supervisor",
		"upgrade: the new worker failed, back to the old binary");
	close(s->exe_fd);
	s->exe_fd = pfs_take_fd(&s->old_exe_fd);
	s->shall_reexec = false;
}

static bool was_healthy(const struct child *was)
{
	return was->is_serving && pfs_now_ns() - was->started_ns >= HEALTHY_NS;
}

static void forget_faults(struct supervisor *s)
{
	s->n_faults_in_row = 0;
	pfs_fd_done(&s->old_exe_fd);
	s->old_exe_fd = -1;
}

/* One that we killed for not coming up counts as one that failed. */
static bool is_fault(const struct supervisor *s, int status)
{
	return s->is_hung || child_is_fault(status);
}

static void note_death(struct supervisor *s, const struct child *was,
		       int status)
{
	char how[64];

	s->state->n_deaths++;
	describe(status, how, sizeof(how));
	if (was_healthy(was))
		forget_faults(s);
	if (!is_fault(s, status)) {
		s->backoff_ns = 0;
		pfs_log_limited(PFS_LOG_WARNING, "supervisor",
				"worker %d was ended by %s", (int)was->pid,
				how);
		return;
	}
	note_fault(s);
	pfs_log(PFS_LOG_ERROR, "supervisor",
		"worker %d failed: %s; the next starts in %llu ms",
		(int)was->pid, how,
		(unsigned long long)(s->backoff_ns / PFS_NSEC_PER_MSEC));
	fall_back_exe(s);
}

/* The very first worker could not serve: there will be no mount. */
static void fail_mount(struct supervisor *s, const struct child *was,
		       int status)
{
	char how[64];

	describe(status, how, sizeof(how));
	daemon_early_log_show(was->log_fd);
	pfs_log(PFS_LOG_ERROR, "supervisor",
		"%s is not mounted: the worker ended with %s",
		s->opt.mountpoint, how);
	end_mount(s, 1);
}

static void start_next(struct supervisor *s, bool is_clean)
{
	if (s->standby.phase == CHILD_READY) {
		promote_standby(s, is_clean);
		return;
	}
	if (s->standby.phase != CHILD_NONE)
		refuse_standby(s, -EAGAIN, "was not ready in time");
	if (!is_clean && !has_resend(s))
		renew_clones(s);
	if (s->backoff_ns)
		s->start_at_ns = pfs_now_ns() + s->backoff_ns;
	else
		start_worker(s);
}

static void on_cut(struct supervisor *s, int status)
{
	bool is_aborted = mountpoint_detach(s->opt.mountpoint);

	pfs_log(is_aborted ? PFS_LOG_ERROR : PFS_LOG_INFO, "supervisor",
		"%s was %s", s->opt.mountpoint,
		is_aborted ? "aborted from outside" : "unmounted");
	end_mount(s, is_aborted || status ? 1 : 0);
}

static void after_worker(struct supervisor *s, const struct child *was,
			 int status)
{
	bool is_clean = was->phase == CHILD_DRAINING && !status;

	if (s->is_ending)
		return;
	if (mountpoint_is_cut(s->dev_fd)) {
		on_cut(s, status);
		return;
	}
	if (!s->is_up && is_fault(s, status)) {
		fail_mount(s, was, status);
		return;
	}
	if (!is_clean)
		note_death(s, was, status);
	s->is_hung = false;
	start_next(s, is_clean);
}

static void on_worker_exit(struct supervisor *s)
{
	struct child was;

	empty_socket(s, &s->worker);
	was = s->worker;
	s->worker.log_fd = -1; /* what it said last may still be shown */
	after_worker(s, &was, child_reap(&s->worker));
	pfs_fd_done(&was.log_fd);
}

static void on_standby_exit(struct supervisor *s)
{
	char how[64];
	int status;

	empty_socket(s, &s->standby);
	status = child_reap(&s->standby);
	describe(status, how, sizeof(how));
	drop_next_exe(s);
	answer_upgrade(s, -ENOEXEC,
		       "the new binary ended with %s before it was ready; "
		       "the old one goes on",
		       how);
}

/* --- event loop --- */

static void on_signal(struct supervisor *s)
{
	struct signalfd_siginfo si;

	if (read(s->signal_fd, &si, sizeof(si)) != sizeof(si))
		return;
	pfs_log(PFS_LOG_INFO, "supervisor", "signal %u: unmounting %s",
		si.ssi_signo, s->opt.mountpoint);
	end_mount(s, s->is_up ? 0 : 1);
}

static const char *missed(const struct child *c)
{
	switch (c->phase) {
	case CHILD_DRAINING:
		return "not done after 30 s";
	case CHILD_RUNNING:
		return "not serving in time";
	default:
		return "not ready after 10 s";
	}
}

static void on_deadline(struct supervisor *s, struct child *c)
{
	pfs_log(PFS_LOG_ERROR, "supervisor", "worker %d is %s: killing it",
		(int)c->pid, missed(c));
	if (c == &s->standby) {
		refuse_standby(s, -ETIMEDOUT, "was not ready after 10 s");
		return;
	}
	s->is_hung = c->phase != CHILD_DRAINING;
	child_kill(c);
}

static void check_time(struct supervisor *s)
{
	struct child *children[] = {&s->worker, &s->standby};
	uint64_t now = pfs_now_ns();

	for (int i = 0; i < 2; i++) {
		if (children[i]->deadline_ns && now >= children[i]->deadline_ns)
			on_deadline(s, children[i]);
	}
	if (s->start_at_ns && now >= s->start_at_ns)
		start_worker(s);
}

static int ms_until(uint64_t when_ns, int at_most)
{
	uint64_t now = pfs_now_ns();
	uint64_t ms =
		when_ns > now ? (when_ns - now) / PFS_NSEC_PER_MSEC + 1 : 0;

	if (!when_ns)
		return at_most;
	return at_most < 0 || ms < (uint64_t)at_most ? (int)ms : at_most;
}

static int poll_timeout(const struct supervisor *s)
{
	int ms = ms_until(s->worker.deadline_ns, -1);

	ms = ms_until(s->standby.deadline_ns, ms);
	return ms_until(s->start_at_ns, ms);
}

static void step(struct supervisor *s)
{
	enum {
		SIGNAL,
		REPORT,
		WORKER,
		WORKER_PID,
		STANDBY,
		STANDBY_PID,
		N
	};
	struct pollfd p[N] = {
		[SIGNAL] = {s->signal_fd, POLLIN, 0},
		[REPORT] = {s->report_fd, 0, 0}, /* POLLERR: caller gone */
		[WORKER] = {s->worker.is_sock_open ? s->worker.sock : -1,
			    POLLIN, 0},
		[WORKER_PID] = {s->worker.pidfd, POLLIN, 0},
		[STANDBY] = {s->standby.is_sock_open ? s->standby.sock : -1,
			     POLLIN, 0},
		[STANDBY_PID] = {s->standby.pidfd, POLLIN, 0},
	};

	if (poll(p, N, poll_timeout(s)) < 0)
		return; /* EINTR */
	check_time(s);
	/* What a worker said counts before its death does; and one event of
	 * each round only, as it may change what the others are about. */
	if (p[SIGNAL].revents)
		on_signal(s);
	else if (p[REPORT].revents)
		end_mount(s, 1);
	else if (p[WORKER].revents)
		receive(s, &s->worker);
	else if (p[STANDBY].revents)
		receive(s, &s->standby);
	else if (p[WORKER_PID].revents)
		on_worker_exit(s);
	else if (p[STANDBY_PID].revents)
		on_standby_exit(s);
}

static int run(struct supervisor *s)
{
	while (!is_over(s))
		step(s);
	mountpoint_detach(s->opt.mountpoint);
	pfs_ctl_mount_retract(s->mount_id);
	daemon_report(&s->report_fd, s->exit_status);
	return s->exit_status;
}

/* --- start --- */

static struct supervisor *supervisor_new(void)
{
	struct supervisor *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->root_fd = s->dev_fd = s->listen_fd = s->state_fd = -1;
	s->signal_fd = s->report_fd = -1;
	s->exe_fd = s->next_exe_fd = s->old_exe_fd = -1;
	for (int i = 0; i < CLAIM_N; i++)
		s->claim_fd[i] = -1;
	for (size_t i = 0; i < STATE_FD_SLOTS; i++)
		s->kept[i] = -1;
	child_init(&s->worker);
	child_init(&s->standby);
	return s;
}

/* Descriptors are left to the end of the process, which follows at once. */
static void supervisor_free(struct supervisor *s)
{
	state_unmap_header(s->state);
	options_fini(&s->opt);
	free(s);
}

static int start(struct supervisor *s)
{
	int err = places_make(&s->opt, stderr);

	if (!err && !s->opt.foreground)
		err = daemon_start(&s->report_fd);
	if (!err) {
		daemon_log_setup(!s->opt.foreground, s->opt.is_verbose);
		err = setup_before_mount(s);
	}
	if (!err)
		err = setup_mount(s);
	if (err && s->listen_fd >= 0)
		pfs_ctl_mount_retract(s->mount_id);
	return err;
}

int supervisor_main(struct options *o)
{
	struct supervisor *s = supervisor_new();
	int status = 1;

	if (!s)
		return 1;
	s->opt = *o;
	memset(o, 0, sizeof(*o));
	if (start(s)) {
		daemon_report(&s->report_fd, 1);
	} else {
		start_worker(s);
		status = run(s);
	}
	supervisor_free(s);
	return status;
}

int supervisor_resume(int table_fd, bool is_returned)
{
	struct supervisor *s = supervisor_new();
	int status = 1;

	if (s && !reexec_take(s, table_fd) && !setup_signals(s)) {
		daemon_log_setup(!s->opt.foreground, s->opt.is_verbose);
		daemon_report(&s->report_fd, 0);
		pfs_log(is_returned ? PFS_LOG_ERROR : PFS_LOG_INFO,
			"supervisor",
			is_returned ? "the new binary could not take over: "
				      "the old one goes on"
				    : "the supervisor is now version %s",
			PFS_VERSION);
		status = run(s);
	} else if (!is_returned) {
		reexec_return(table_fd);
	}
	if (s)
		supervisor_free(s);
	return status;
}
