/* SPDX-License-Identifier: GPL-3.0-or-later */
/* setup.c - what a supervisor gathers before its first worker starts. */
#include "supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <pfs/ctl_path.h>
#include <pfs/hash.h>
#include <pfs/log.h>

#include "claim.h"
#include "mountpoint.h"
#include "places.h"

/* As far as we may: without the right to raise the hard limit, up to that. */
static rlim_t raise_limit(int what, rlim_t want)
{
	struct rlimit rl, more;

	if (getrlimit(what, &rl) || rl.rlim_cur >= want)
		return want;
	more.rlim_cur = want;
	more.rlim_max = PFS_MAX(want, rl.rlim_max);
	if (setrlimit(what, &more) == 0)
		return want;
	rl.rlim_cur = rl.rlim_max;
	(void)setrlimit(what, &rl);
	return rl.rlim_cur;
}

static void raise_limits(void)
{
	/* Kept descriptors, and as many again on the way from a worker. */
	rlim_t n = raise_limit(RLIMIT_NOFILE, (rlim_t)2 * STATE_FD_SLOTS);

	if (n < STATE_MAX_HANDLES)
		pfs_log(PFS_LOG_WARNING, "supervisor",
			"the limit of open files is %llu: more images than "
			"half of that cannot be open at once",
			(unsigned long long)n);
	/* The worker says so if it could not lock its buffers. */
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
}

int setup_signals(struct supervisor *s)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? pfs_log_fail(-errno, "supervisor", "signalfd")
				: 0;
}

static int prepare_process(struct supervisor *s)
{
	raise_limits();
	return setup_signals(s);
}

static int refuse_claim(int err, const char *what, const char *path,
			pid_t holder, const char *remedy)
{
	char who[32] = "";

	if (holder)
		(void)snprintf(who, sizeof(who), " (pid %d)", (int)holder);
	if (err == -EBUSY)
		pfs_log(PFS_LOG_ERROR, "supervisor",
			"%s %s is in use by another pfs%s: %s", what, path, who,
			remedy);
	else
		pfs_log(PFS_LOG_ERROR, "supervisor", "lock the %s %s: %s", what,
			path, strerror(-err));
	return err;
}

static int claim_mountpoint(struct supervisor *s)
{
	char dir[PATH_MAX], path[PATH_MAX + 32];
	pid_t holder = 0;
	int err = pfs_ctl_dir_make(dir);

	if (err)
		return pfs_log_fail(err, "supervisor",
				    "make the folder for sockets (see "
				    "PFS_RUN_DIR in pfs(8))");
	(void)snprintf(s->mount_id, sizeof(s->mount_id), "%016llx",
		       (unsigned long long)pfs_hash64(s->opt.mountpoint,
						      strlen(s->opt.mountpoint),
						      0));
	(void)snprintf(path, sizeof(path), "%s/%s.lock", dir, s->mount_id);
	err = claim_file(path, &s->claim_fd[CLAIM_MOUNTPOINT], &holder);
	return err ? refuse_claim(err, "mountpoint", s->opt.mountpoint, holder,
				  "umount it first")
		   : 0;
}

static int claim_catalog(struct supervisor *s)
{
	PFS_AUTO_FREE char *path = NULL;
	const char *slash = strrchr(s->opt.catalog, '/');
	pid_t holder = 0;
	int err;

	if (asprintf(&path, "%.*s/lock", (int)(slash - s->opt.catalog),
		     s->opt.catalog) < 0)
		return -ENOMEM;
	err = claim_file(path, &s->claim_fd[CLAIM_CATALOG], &holder);
	return err ? refuse_claim(err, "catalog", s->opt.catalog, holder,
				  "stop that one or name another "
				  "(catalog=PATH)")
		   : 0;
}

static int claim_store_at(struct supervisor *s, pid_t *holder)
{
	int *fd = &s->claim_fd[CLAIM_STORE];
	PFS_AUTO_FREE char *path = NULL;
	int err;

	if (!places_store_is_folder(&s->opt))
		return claim_object(s->opt.store, fd, holder);
	if (asprintf(&path, "%s/lock", s->opt.store) < 0)
		return -ENOMEM;
	err = claim_file(path, fd, holder);
	/* A full disk is no reason not to serve: lock the folder. */
	return err == -ENOSPC ? claim_object(s->opt.store, fd, holder) : err;
}

static int claim_store(struct supervisor *s)
{
	pid_t holder = 0;
	int err;

	if (!strcmp(s->opt.store, "none"))
		return 0;
	err = claim_store_at(s, &holder);
	return err ? refuse_claim(err, "store", s->opt.store, holder,
				  "stop that one or name another "
				  "(store=PATH)")
		   : 0;
}

static int open_source(struct supervisor *s)
{
	s->root_fd = open(s->opt.source, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return s->root_fd < 0 ? pfs_log_fail(-errno, "supervisor", "source %s",
					     s->opt.source)
			      : 0;
}

static int bind_private(int fd, const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	mode_t mask = umask(0177);
	int err = 0;

	strcpy(at.sun_path, path); /* pfs_ctl_socket_path() saw that it fits */
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 64))
		err = -errno;
	umask(mask);
	return err;
}

static int open_socket(struct supervisor *s)
{
	PFS_AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char path[PATH_MAX];
	int err = pfs_ctl_socket_path(s->mount_id, path);

	if (!err && fd < 0)
		err = -errno;
	if (!err) {
		/* We hold the mountpoint's claim: it is a dead one's. */
		unlink(path);
		err = bind_private(fd, path);
	}
	if (err)
		return pfs_log_fail(err, "supervisor", "control socket");
	s->listen_fd = pfs_take_fd(&fd);
	return 0;
}

/* The second thread rests while the first keeps up: see lane.c. */
static unsigned int clones_wanted(const struct options *o)
{
	return o->threads ? PFS_MIN(o->threads, (uint32_t)WORKER_MAX_LANES) : 2;
}

static int make_clones(struct supervisor *s)
{
	unsigned int want = clones_wanted(&s->opt);
	int err = 0;

	while (!err && s->n_clones < want) {
		err = mountpoint_clone(s->dev_fd, &s->clone_fd[s->n_clones]);
		if (!err)
			s->n_clones++;
	}
	return err;
}

static int open_exe(struct supervisor *s)
{
	s->exe_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	return s->exe_fd < 0 ? pfs_log_fail(-errno, "supervisor",
					    "open /proc/self/exe")
			     : 0;
}

static int make_state(struct supervisor *s)
{
	int err = state_create(&s->state_fd);

	return err ? err : state_map_header(s->state_fd, &s->state);
}

/* Everything before the mount, in an order in which a refusal leaves nothing
 * behind.  Catalog and store come before the look at the mountpoint: their
 * claims wait until the worker of a dead supervisor has ended. */
int setup_before_mount(struct supervisor *s)
{
	int (*const steps[])(struct supervisor *) = {
		prepare_process, open_exe,    claim_mountpoint, claim_catalog,
		claim_store,     open_source, make_state,
	};
	int err = 0;

	for (size_t i = 0; !err && i < PFS_ARRAY_SIZE(steps); i++)
		err = steps[i](s);
	if (!err)
		err = mountpoint_clear(s->opt.mountpoint);
	return err ? err : open_socket(s);
}

int setup_mount(struct supervisor *s)
{
	int err = mountpoint_mount(&s->opt, &s->dev_fd);

	if (err)
		return err;
	err = make_clones(s);
	if (err)
		mountpoint_detach(s->opt.mountpoint);
	return err;
}
