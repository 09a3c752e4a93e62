// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * slowfs - a folder, mounted again as if it lay on slow and faulty storage.
 *
 * A few threads receive requests.  One that is not to be delayed is carried
 * out where it was received; any other is copied into the queue as the kernel
 * sent it, and carried out when it is due.  So a delayed WRITE reaches the
 * source late, also if its sender is dead by then, and every kind of request
 * can be delayed or hang without its operation knowing.
 *
 * What never waits: the control file, the attributes of the root (without
 * them nobody could reach the control file of a mount that hangs), and
 * requests that nobody waits for.
 *
 * Requests that hang end when hang=0 is written, when the mount is taken away
 * (umount -f, umount -l) or when slowfs ends, however it ends.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <fuse_opt.h>
#include <limits.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "slowfs.h"

#define MAX_RECEIVERS 64
#define OP_STATX 52 /* FUSE_STATX, protocol 7.39: younger than some headers */

struct options {
	char *source;
	char *mountpoint;
	char *pidfile;
	double attr_timeout;
	unsigned int threads;
	unsigned long seed;
	int foreground;
	int allow_other;
	int help;
};

static struct {
	struct fuse_session *se;
	pthread_t threads[MAX_RECEIVERS];
	unsigned int n_threads;
	int done_fd; /* eventfd: the kernel ended the session */
} mount_;

/* --- one request --- */

/* The kernel's struct fuse_statx_out ends in a struct fuse_statx, which is
 * struct statx byte for byte. */
struct statx_reply {
	struct fuse_out_header header;
	uint64_t attr_valid; /* s */
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct statx stat;
};
_Static_assert(sizeof(struct statx_reply) == 16 + 32 + 256, "kernel's layout");

static void reply_statx(const struct fuse_in_header *in)
{
	struct statx_reply r = {.header.unique = in->unique,
				.header.len = sizeof(r)};
	int err = slow_ops_statx(in->nodeid, &r.stat);
	double valid = slow_ops_attr_timeout();

	r.attr_valid = (uint64_t)valid;
	r.attr_valid_nsec = (uint32_t)((valid - (double)r.attr_valid) * 1e9);
	if (err) {
		r.header.error = err;
		r.header.len = sizeof(r.header);
	}
	/* Fails only when the mount is gone, and with it who asked. */
	if (write(fuse_session_fd(mount_.se), &r, r.header.len) < 0)
		return;
}

static void carry_out(void *mem, size_t len)
{
	const struct fuse_in_header *in = mem;
	struct fuse_buf buf = {.mem = mem, .size = len};

	if (in->opcode == OP_STATX)
		reply_statx(in);
	else
		fuse_session_process_buf(mount_.se, &buf);
}

static void run_job(struct slow_job *job)
{
	carry_out(job->mem, job->len);
}

static bool is_control(const struct fuse_in_header *in)
{
	return in->nodeid == SLOW_CTL_NODE ||
	       (in->opcode == FUSE_LOOKUP && in->nodeid == FUSE_ROOT_ID &&
		!strcmp((const char *)(in + 1), SLOW_CTL_NAME));
}

static bool is_root_attr(const struct fuse_in_header *in)
{
	return in->nodeid == FUSE_ROOT_ID &&
	       (in->opcode == FUSE_GETATTR || in->opcode == OP_STATX);
}

/* Bytes that the request moves over the link.  A read is charged in full,
 * also when it meets the end of the file. */
static uint64_t bytes_moved(const struct fuse_in_header *in)
{
	const void *args = in + 1;

	if (in->opcode == FUSE_READ)
		return ((const struct fuse_read_in *)args)->size;
	if (in->opcode == FUSE_WRITE)
		return ((const struct fuse_write_in *)args)->size;
	return 0;
}

static uint64_t latency_us(const struct slow_settings *s, enum slow_delay delay)
{
	switch (delay) {
	case SLOW_NEVER:
		return 0;
	case SLOW_META:
		return s->meta_latency_us;
	case SLOW_READ:
		return s->latency_us;
	case SLOW_WRITE:
		return s->write_latency_us;
	case SLOW_FSYNC:
		return s->fsync_latency_us;
	}
	return 0;
}

/* When to carry out a request that has just arrived; 0: at once.  Bytes queue
 * for the link from arrival on, the latency comes on top. */
static uint64_t due_ns(const struct fuse_in_header *in)
{
	const struct slow_settings *s = slow_settings();
	enum slow_delay delay = slow_count_op(in->opcode);
	uint64_t us = latency_us(s, delay);
	uint64_t bytes = s->rate ? bytes_moved(in) : 0;
	uint64_t t;

	if (delay == SLOW_NEVER || is_root_attr(in))
		return 0;
	if (!us && !bytes && !s->hang)
		return 0;
	t = slow_now_ns();
	if (bytes)
		t = slow_link_reserve(t, bytes, s->rate);
	return t + us * 1000;
}

static void dispatch(void *mem, size_t len)
{
	const struct fuse_in_header *in = mem;
	uint64_t due = is_control(in) ? 0 : due_ns(in);

	/* Out of memory: rather early than never. */
	if (!due || slow_queue_push(mem, len, due))
		carry_out(mem, len);
}

/* --- threads --- */

static void *receive(void *arg)
{
	struct fuse_buf buf = {0};

	while (!fuse_session_exited(mount_.se)) {
		int n = fuse_session_receive_buf(mount_.se, &buf);

		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		dispatch(buf.mem, (size_t)n);
	}
	free(buf.mem);
	fuse_session_exit(mount_.se);
	eventfd_write(mount_.done_fd, 1);
	return arg;
}

static void wake(int sig)
{
	(void)sig;
}

/* SIGUSR1 is there to interrupt read(); all else is for the main thread. */
static int block_signals(void)
{
	struct sigaction sa = {.sa_handler = wake};
	sigset_t set;

	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int start_threads(unsigned int n)
{
	int err = slow_queue_start(run_job);

	while (!err && mount_.n_threads < n) {
		err = -pthread_create(&mount_.threads[mount_.n_threads], NULL,
				      receive, NULL);
		if (!err)
			mount_.n_threads++;
	}
	return err;
}

/* The signal may come just before the thread reads: so it comes again. */
static void join_receiver(pthread_t t)
{
	struct timespec soon;

	do {
		pthread_kill(t, SIGUSR1);
		clock_gettime(CLOCK_REALTIME, &soon);
		soon.tv_nsec += 10000000L; /* 10 ms */
		soon.tv_sec += soon.tv_nsec / 1000000000L;
		soon.tv_nsec %= 1000000000;
	} while (pthread_timedjoin_np(t, NULL, &soon) == ETIMEDOUT);
}

static void stop_threads(void)
{
	fuse_session_exit(mount_.se);
	while (mount_.n_threads)
		join_receiver(mount_.threads[--mount_.n_threads]);
	slow_queue_stop();
}

/* --- the end of the mount --- */

/* Device number of the mount, asked for without asking ourselves. */
static dev_t mount_dev(const char *mountpoint)
{
	struct statx st;

	if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC, 0, &st) < 0)
		return 0;
	return makedev(st.stx_dev_major, st.stx_dev_minor);
}

static bool is_mounted(dev_t dev)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	unsigned int maj;
	unsigned int min;
	bool found = false;

	if (!f)
		return true;
	while (!found && getline(&line, &room, f) > 0)
		found = sscanf(line, "%*d %*d %u:%u", &maj, &min) == 2 &&
			makedev(maj, min) == dev;
	free(line);
	fclose(f);
	return found;
}

static void end_hang(void)
{
	static const char line[] = "hang=0";

	if (!slow_ctl_apply(line, sizeof(line) - 1))
		slow_queue_steer();
}

/* Waits for a signal or the kernel's end of the session.  After umount -l the
 * session lives on while files are open, with no control file to write to:
 * then nothing may hang. */
static void watch(int signal_fd, dev_t dev)
{
	struct pollfd p[] = {
		{.fd = signal_fd, .events = POLLIN},
		{.fd = mount_.done_fd, .events = POLLIN},
		{.fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC),
		 .events = POLLPRI},
	};

	do {
		if (p[2].fd >= 0 && !is_mounted(dev)) {
			end_hang();
			close(p[2].fd);
			p[2].fd = -1;
		}
		poll(p, 3, -1);
	} while (!(p[0].revents & POLLIN) && !(p[1].revents & POLLIN));
	if (p[2].fd >= 0)
		close(p[2].fd);
}

/* --- to the background --- */

/* The parent stays until the child says that the mount answers, and fails if
 * it never does.  Returns the descriptor to say it on. */
static int leave_foreground(void)
{
	int fds[2];
	char c;
	pid_t pid;

	if (pipe(fds) < 0)
		return -1;
	pid = fork();
	if (pid < 0)
		return -1;
	if (pid > 0) {
		close(fds[1]);
		_exit(read(fds[0], &c, 1) == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	close(fds[0]);
	setsid();
	return fds[1];
}

static int say_ready(int fd)
{
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || chdir("/") < 0)
		return -errno;
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	close(null);
	if (write(fd, "", 1) != 1)
		return -errno;
	close(fd);
	return 0;
}

static int write_pidfile(const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return -errno;
	fprintf(f, "%d\n", getpid());
	return fclose(f) ? -errno : 0;
}

/* --- command line --- */

static const char usage[] =
	"Usage: slowfs [-f] SOURCE_DIR MOUNTPOINT [-o OPTION,...]\n"
	"\n"
	"  -f                   stay in the foreground\n"
	"  pidfile=PATH         written once the mount answers\n"
	"  allow_other          let other users in, by the files' permissions\n"
	"  attr_timeout=S       kernel may keep attributes and names (0)\n"
	"  threads=N            threads that receive requests (4)\n"
	"  seed=N               of the probabilities (1)\n"
	"\n"
	"Also while mounted, as lines written to MOUNTPOINT/.slowfs:\n"
	"  latency_us=N         of a read, from its arrival\n"
	"  write_latency_us=N   of a write, fallocate, copy_file_range\n"
	"  fsync_latency_us=N   of an fsync\n"
	"  meta_latency_us=N    of any other request\n"
	"  mbps=N               10^6 bytes/s that reads and writes share\n"
	"  read_eio=FAULT       FAULT is a probability, 0..1, or OFF:LEN, the\n"
	"  write_eio=FAULT      bytes that cannot be touched\n"
	"  eio_range=OFF:LEN    both of the above; 0: none\n"
	"  fsync_eio=P          P is a probability, 0..1\n"
	"  enospc=P             writes, allocations and creations fail\n"
	"  short_reads=P        half of the bytes asked for come\n"
	"  hang=0|1             requests wait until it is 0 again\n"
	"  reset=1              counters start again from 0\n"
	"\n"
	"Reading the file shows settings and counters, \"key value\" a line.\n";

#define OPTION(template, field)                                                \
	{                                                                      \
		template, offsetof(struct options, field), 1                   \
	}
static const struct fuse_opt option_table[] = {
	OPTION("pidfile=%s", pidfile),
	OPTION("attr_timeout=%lf", attr_timeout),
	OPTION("threads=%u", threads),
	OPTION("seed=%lu", seed),
	OPTION("allow_other", allow_other),
	OPTION("-f", foreground),
	OPTION("-h", help),
	OPTION("--help", help),
	FUSE_OPT_END,
};

/* What is neither ours nor a setting goes on to libfuse (1), which refuses
 * what it does not know. */
static int take_option(const char *arg)
{
	int err = slow_ctl_apply(arg, strlen(arg));

	if (err == -ENOENT)
		return 1;
	if (!err)
		return 0;
	fprintf(stderr, "slowfs: %s: not allowed, see --help\n", arg);
	return -1;
}

static int take_folder(const char *arg, char **out)
{
	struct stat st;

	if (*out) {
		fprintf(stderr, "slowfs: %s: one argument too many\n", arg);
		return -1;
	}
	*out = realpath(arg, NULL);
	if (*out && !stat(*out, &st) && S_ISDIR(st.st_mode))
		return 0;
	if (*out)
		errno = ENOTDIR;
	fprintf(stderr, "slowfs: %s: %m\n", arg);
	return -1;
}

static int take_argument(void *data, const char *arg, int key,
			 struct fuse_args *rest)
{
	struct options *o = data;

	(void)rest;
	if (key == FUSE_OPT_KEY_OPT)
		return take_option(arg);
	return take_folder(arg, o->source ? &o->mountpoint : &o->source);
}

/* The daemon's folder is the root, the user's is not. */
static int make_absolute(char **path)
{
	char cwd[PATH_MAX];
	char *abs;

	if (!*path || **path == '/')
		return 0;
	if (!getcwd(cwd, sizeof(cwd)) ||
	    asprintf(&abs, "%s/%s", cwd, *path) < 0)
		return -1;
	free(*path);
	*path = abs;
	return 0;
}

static int parse_args(struct fuse_args *args, struct options *o)
{
	if (fuse_opt_parse(args, o, option_table, take_argument) < 0)
		return -1;
	if (o->help || !o->mountpoint) {
		fputs(usage, o->help ? stdout : stderr);
		return -1;
	}
	if (!o->threads || o->threads > MAX_RECEIVERS) {
		fprintf(stderr, "slowfs: threads: 1 to %d\n", MAX_RECEIVERS);
		return -1;
	}
	if (fuse_opt_add_arg(args, "-ofsname=slowfs,subtype=slowfs") < 0)
		return -1;
	if (o->allow_other &&
	    fuse_opt_add_arg(args, "-oallow_other,default_permissions") < 0)
		return -1;
	slow_ctl_seed(o->seed);
	return make_absolute(&o->pidfile);
}

static void free_options(struct options *o)
{
	free(o->source);
	free(o->mountpoint);
	free(o->pidfile);
}

/* --- life --- */

/* Every file that the kernel knows costs a descriptor. */
static void raise_fd_limit(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return;
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
}

/* The first request is INIT: answered here, the mount is up when we go on. */
static int answer_init(void)
{
	struct fuse_buf buf = {0};
	int n;

	do
		n = fuse_session_receive_buf(mount_.se, &buf);
	while (n == -EINTR);
	if (n > 0)
		fuse_session_process_buf(mount_.se, &buf);
	free(buf.mem);
	return n > 0 ? 0 : -1;
}

static int serve(const struct options *o, int signal_fd, int ready_fd)
{
	dev_t dev = mount_dev(o->mountpoint);
	int err = answer_init();

	if (!err)
		err = start_threads(o->threads);
	if (!err && o->pidfile)
		err = write_pidfile(o->pidfile);
	if (!err && ready_fd >= 0)
		err = say_ready(ready_fd);
	if (!err)
		watch(signal_fd, dev);
	else
		fprintf(stderr, "slowfs: cannot start: %s\n", strerror(-err));
	stop_threads();
	if (o->pidfile)
		unlink(o->pidfile);
	return err;
}

static int run(struct fuse_args *args, const struct options *o, int ready_fd)
{
	int signal_fd = block_signals();
	int source_fd = open(o->source, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int err = -1;

	mount_.done_fd = eventfd(0, EFD_CLOEXEC);
	if (source_fd < 0 || slow_ops_init(source_fd, o->attr_timeout)) {
		fprintf(stderr, "slowfs: %s: %m\n", o->source);
		return -1;
	}
	mount_.se = fuse_session_new(args, &slow_fuse_ops,
				     sizeof(slow_fuse_ops), NULL);
	if (mount_.se && !fuse_session_mount(mount_.se, o->mountpoint)) {
		err = serve(o, signal_fd, ready_fd);
		fuse_session_unmount(mount_.se);
	}
	if (mount_.se)
		fuse_session_destroy(mount_.se);
	slow_ops_fini();
	close(mount_.done_fd);
	close(signal_fd);
	return err;
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	struct options o = {.threads = 4, .seed = 1};
	int ready_fd = -1;
	int err = parse_args(&args, &o);

	umask(0);
	raise_fd_limit();
	if (!err && !o.foreground) {
		ready_fd = leave_foreground();
		if (ready_fd < 0)
			err = -1;
	}
	if (!err)
		err = run(&args, &o, ready_fd);
	free_options(&o);
	fuse_opt_free_args(&args);
	slow_ctl_fini();
	return err && !o.help ? EXIT_FAILURE : EXIT_SUCCESS;
}
