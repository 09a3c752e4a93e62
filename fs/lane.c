/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The loop of a data thread.  While nothing of it is in flight it blocks in
 * read() on its clone: one system call less for each request at queue depth 1.
 * While something is, the clone is non-blocking and the ring waits for clone,
 * completions and wake-ups alike.  The switch costs a system call too, so the
 * thread stays with the ring for a few idle rounds.
 *
 * Unless the operator says how many threads there are, all but the first rest
 * until the first cannot keep up, for threads without work only cost.  It looks
 * now and then whether another request waits already behind the one it took,
 * and where that is so many times in a row it wakes the others; on few cores
 * only for large reads, whose time goes into copying: small ones cost the
 * clients as much as us, and they need the other core.  They rest again when
 * they find nothing to read after SHIFT_NS: whether they are needed is asked
 * anew.
 */
#include "lane.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/io.h>
#include <pfs/lane.h>
#include <pfs/log.h>

#include "events.h"

#define BATCH 16u      /* requests read before completions are looked at */
#define IDLE_ROUNDS 4u /* before the thread blocks in read() again */
#define LOOK_EVERY 16u /* requests between two looks at the queue */
#define LOOKS_BUSY 8u  /* so many in a row that found it filled: wake others */
#define LARGE_BYTES (LOOKS_BUSY * LOOK_EVERY * PFS_KIB(32))
#define SHIFT_NS (20 * PFS_NSEC_PER_MSEC) /* then a thread may rest again */
#define STOP_SIGNAL (SIGRTMIN + 1)
#define STOP_AGAIN_NS (2 * PFS_NSEC_PER_MSEC)

struct lane {
	struct worker *w;
	int fd;      /* its clone; the worker's */
	int gone_fd; /* the worker's */
	pthread_t thread;
	bool is_started;
	_Atomic bool is_stopping;
	struct pfs_lane *cache;
	void *buf; /* requests are read into it; the pool may swap it */
	bool is_nonblock;
	unsigned int idle_rounds;
	/* --- resting --- */
	int gate_fd; /* owned: eventfd; -1: this one never rests */
	_Atomic bool is_resting;
	uint64_t shift_end_ns;
	/* --- the first one, which does not rest: how busy it is --- */
	bool leads;
	unsigned int n_requests, n_busy_looks;
	uint64_t n_bytes; /* of reads, since the looks found it busy */
	/* --- start-up --- */
	struct pfs_mutex lock;
	struct pfs_cond up;
	bool is_up;
	int start_err;
};

/* --- replies --- */

static void send_reply(struct worker *w, int fd, const void *msg, size_t len)
{
	PFS_GIVES_WAY(&w->handles);
	/* ENOENT: the request was interrupted or aborted. */
	if (write(fd, msg, len) < 0 && errno != ENOENT && errno != ENODEV)
		pfs_log_limited(PFS_LOG_ERROR, "lane", "reply: %s",
				strerror(errno));
}

static void reply_error(struct worker *w, int fd, uint64_t unique, int err)
{
	struct fuse_out_header h = {
		.len = sizeof(h), .error = err, .unique = unique};

	send_reply(w, fd, &h, sizeof(h));
}

static const enum pfs_counter outcome_counter[] = {
	[PFS_READ_HIT] = PFS_C_READ_HIT,
	[PFS_READ_LATE] = PFS_C_READ_LATE,
	[PFS_READ_MISS] = PFS_C_READ_MISS,
	[PFS_READ_HOLE] = PFS_C_READ_HOLE,
	[PFS_READ_DIRECT] = PFS_C_READ_DIRECT,
};

/* The image may have been cut while the read was under way: what lay past its
 * new end was never zeros. */
static uint32_t len_within_image(const struct pfs_read *r)
{
	const struct handle *h = r->owner;
	uint64_t size = image_size(h->img);

	return size > r->off ? (uint32_t)PFS_MIN(r->len, size - r->off) : 0;
}

static struct event event_of(const struct pfs_read *r, const struct handle *h)
{
	return (struct event){
		.kind = EVENT_READ,
		.outcome = (uint8_t)r->outcome,
		.time_ns = r->start_ns,
		.image = image_id(h->img),
		.vm = h->vm,
		.off = r->off,
		.len = r->len,
		.handle = h->row,
	};
}

/* Only what the store could not give at once is worth a wake-up. */
static bool is_urgent(const struct event *e)
{
	return e->outcome == PFS_READ_MISS || e->outcome == PFS_READ_LATE;
}

/* The header goes right before the bytes: one write, no copy. */
static void answer(void *arg, struct pfs_read *r, int err)
{
	struct fuse_out_header h = {.unique = r->unique};
	uint8_t *msg = r->data - sizeof(h);
	const struct handle *handle = r->owner;
	struct event event = event_of(r, handle);
	uint32_t len = len_within_image(r);
	struct lane *l = arg;

	if (err) {
		pfs_count(PFS_C_READ_ERROR, 1);
		reply_error(l->w, r->reply_fd, r->unique, err);
		return;
	}
	/* Counted before the reply: who reads statistics after a read finds
	 * it in them. */
	pfs_count(PFS_C_READS, 1);
	pfs_count(PFS_C_READ_BYTES, len);
	pfs_count(outcome_counter[r->outcome], 1);
	image_note_read(handle->img, r);
	h.len = (uint32_t)sizeof(h) + len;
	memcpy(msg, &h, sizeof(h));
	send_reply(l->w, r->reply_fd, msg, h.len);
	/* The handle may be gone now. */
	event.latency_ns = pfs_now_ns() - event.time_ns;
	events_put(l->w->events, &event, is_urgent(&event));
}

/* --- requests --- */

static struct handle *handle_of(struct worker *w, uint64_t fh)
{
	uint32_t row = (uint32_t)fh;
	struct handle *h;

	if (row >= STATE_MAX_HANDLES)
		return NULL;
	/* First: it publishes the serial too. */
	h = atomic_load_explicit(&w->handles[row], memory_order_acquire);
	if (h && w->state->handle[row].serial != fh >> 32)
		h = NULL;
	return h;
}

static void start_read(struct lane *l, const struct fuse_in_header *in,
		       const struct fuse_read_in *req)
{
	struct handle *h = handle_of(l->w, req->fh);
	struct pfs_read *r;
	uint64_t size, len;

	if (!h || !h->img) {
		reply_error(l->w, l->fd, in->unique, h ? -EIO : -EBADF);
		return;
	}
	size = image_size(h->img);
	if (req->offset >= size || !req->size) {
		reply_error(l->w, l->fd, in->unique,
			    0); /* nothing, at the end */
		return;
	}
	len = PFS_MIN((uint64_t)req->size, size - req->offset);
	r = pfs_lane_get(l->cache, (uint32_t)PFS_MIN(len, PFS_READ_MAX));
	if (!r) {
		reply_error(l->w, l->fd, in->unique,
			    -EIO); /* room was checked */
		return;
	}
	r->img = image_store(h->img);
	r->src = image_source(h->img);
	r->off = req->offset;
	r->len = (uint32_t)PFS_MIN(len, PFS_READ_MAX);
	r->unique = in->unique;
	r->reply_fd = l->fd;
	r->owner = h;
	r->start_ns = pfs_now_ns();
	l->n_bytes += r->len;
	pfs_lane_read(l->cache, r);
}

static void dispatch(struct lane *l, size_t n)
{
	const struct fuse_in_header *in = l->buf;

	if (n < sizeof(*in) || in->len != n) {
		pfs_log_limited(PFS_LOG_ERROR, "lane",
				"request of %zu bytes makes no sense", n);
		return;
	}
	if (in->opcode != FUSE_READ)
		pool_request(l->w->pool, &l->buf, n, l->fd);
	else if (n < sizeof(*in) + sizeof(struct fuse_read_in))
		reply_error(l->w, l->fd, in->unique, -EINVAL);
	else
		start_read(l, in, (const void *)(in + 1));
}

/* --- the loop --- */

static void set_nonblock(struct lane *l, bool on)
{
	int flags;

	if (l->is_nonblock == on)
		return;
	flags = fcntl(l->fd, F_GETFL);
	if (flags < 0 || fcntl(l->fd, F_SETFL,
			       on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK))
		pfs_log_limited(PFS_LOG_ERROR, "lane", "F_SETFL: %s",
				strerror(errno));
	else
		l->is_nonblock = on;
}

static bool is_stopping(struct lane *l)
{
	return atomic_load_explicit(&l->is_stopping, memory_order_acquire);
}

/* --- more threads when they help --- */

static bool others_rest(const struct worker *w)
{
	for (unsigned int i = 1; i < w->n_clones; i++)
		if (w->lanes[i] &&
		    atomic_load_explicit(&w->lanes[i]->is_resting,
					 memory_order_relaxed))
			return true;
	return false;
}

static void wake_others(struct worker *w)
{
	uint64_t one = 1;

	for (unsigned int i = 1; i < w->n_clones; i++) {
		ssize_t n;

		if (!w->lanes[i] || w->lanes[i]->gate_fd < 0)
			continue;
		n = write(w->lanes[i]->gate_fd, &one, sizeof(one));
		(void)n;
	}
}

/* Called by the first thread for each request. */
static void look_for_more(struct lane *l)
{
	struct pollfd p = {.fd = l->fd, .events = POLLIN};

	if (++l->n_requests % LOOK_EVERY || !others_rest(l->w))
		return;
	if (poll(&p, 1, 0) > 0 && p.revents & POLLIN &&
	    ++l->n_busy_looks < LOOKS_BUSY)
		return;
	if (l->n_busy_looks == LOOKS_BUSY &&
	    (!l->w->has_few_cores || l->n_bytes >= LARGE_BYTES))
		wake_others(l->w);
	l->n_busy_looks = 0;
	l->n_bytes = 0;
}

/* Read and dispatch a batch.  0, or the reason why no more was read:
 * -EAGAIN, -EINTR, -ENODEV, -ENOBUFS (no free read request). */
static int read_batch(struct lane *l)
{
	for (unsigned int i = 0; i < BATCH; i++) {
		ssize_t n;

		if (!pfs_lane_has_room(l->cache))
			return -ENOBUFS;
		n = read(l->fd, l->buf, POOL_BIG_BUF);
		if (n < 0 && errno == ENOENT)
			continue; /* aborted before it was read */
		if (n < 0)
			return -errno;
		dispatch(l, (size_t)n);
		if (l->leads)
			look_for_more(l);
		if (!l->is_nonblock)
			return 0; /* a second read might block */
	}
	return 0;
}

/* True while there is something to wait for but the next request. */
static bool is_busy(struct lane *l)
{
	if (!pfs_lane_is_idle(l->cache)) {
		l->idle_rounds = 0;
		return true;
	}
	return l->is_nonblock && ++l->idle_rounds < IDLE_ROUNDS;
}

/* Until the first thread wakes us, or we are to stop. */
static void rest(struct lane *l)
{
	uint64_t count;
	ssize_t n;

	atomic_store_explicit(&l->is_resting, true, memory_order_relaxed);
	n = read(l->gate_fd, &count, sizeof(count));
	(void)n;
	atomic_store_explicit(&l->is_resting, false, memory_order_relaxed);
	l->shift_end_ns = pfs_now_ns() + SHIFT_NS;
}

static void wait_or_rest(struct lane *l)
{
	bool is_idle =
		pfs_lane_is_idle(l->cache) && !pfs_lane_n_reads(l->cache);

	if (l->gate_fd >= 0 && is_idle && pfs_now_ns() > l->shift_end_ns)
		rest(l);
	else
		pfs_lane_wait(l->cache, l->fd);
}

/* What it has no room for the others can take, also if its own reads take
 * long. */
static void wait_for_room(struct lane *l)
{
	if (l->leads && others_rest(l->w))
		wake_others(l->w);
	pfs_lane_wait(l->cache, -1);
}

static void run(struct lane *l)
{
	int err = 0;

	if (l->gate_fd >= 0)
		rest(l);
	while (!is_stopping(l) && err != -ENODEV) {
		set_nonblock(l, l->gate_fd >= 0 || is_busy(l));
		err = read_batch(l);
		if (l->is_nonblock && err == -EAGAIN)
			wait_or_rest(l);
		else if (err == -ENOBUFS)
			wait_for_room(l);
		else
			pfs_lane_poll(l->cache);
	}
	if (err == -ENODEV) {
		uint64_t one = 1;
		ssize_t n = write(l->gone_fd, &one, sizeof(one));

		(void)n;
	}
	/* Those that wait on another lane are answered there. */
	while (pfs_lane_n_reads(l->cache) || !pfs_lane_is_idle(l->cache))
		pfs_lane_wait(l->cache, -1);
}

static void on_stop_signal(int sig)
{
	(void)sig;
}

/* It only makes read() return; the flag says why. */
static void accept_stop_signal(void)
{
	struct sigaction sa = {.sa_handler = on_stop_signal};
	sigset_t set;

	sigaction(STOP_SIGNAL, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, STOP_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int set_up(struct lane *l)
{
	struct pfs_lane_config cfg = {
		.store = l->w->store, .reply = answer, .arg = l};
	int flags = fcntl(l->fd, F_GETFL);

	if (flags < 0)
		return -errno;
	l->is_nonblock = flags & O_NONBLOCK; /* as a predecessor left it */
	l->buf = pool_buf_get(l->w->pool);
	if (!l->buf)
		return -ENOMEM;
	return pfs_lane_create(&cfg, &l->cache);
}

static void *lane_main(void *arg)
{
	struct lane *l = arg;
	int err;

	accept_stop_signal();
	err = set_up(l);
	pfs_mutex_lock(&l->lock);
	l->start_err = err;
	l->is_up = true;
	pfs_cond_signal(&l->up);
	pfs_mutex_unlock(&l->lock);
	if (!err)
		run(l);
	return NULL;
}

/* --- start and stop --- */

static void lane_free(struct lane *l)
{
	pfs_lane_destroy(l->cache);
	if (l->gate_fd >= 0)
		close(l->gate_fd);
	if (l->buf)
		pool_buf_put(l->w->pool, l->buf);
	pfs_cond_fini(&l->up);
	pfs_mutex_fini(&l->lock);
	free(l);
}

static int lane_start(struct worker *w, unsigned int i, int gone_fd)
{
	struct lane *l = pfs_zalloc(1, sizeof(*l));
	char name[24];
	int err;

	if (!l)
		return -ENOMEM;
	l->w = w;
	l->fd = w->clone_fd[i];
	l->gone_fd = gone_fd;
	l->gate_fd = -1;
	l->leads = !i && !w->opt.threads && w->n_clones > 1;
	if (i && !w->opt.threads) {
		l->gate_fd = eventfd(0, EFD_CLOEXEC);
		if (l->gate_fd < 0) {
			err = -errno;
			free(l);
			return err;
		}
	}
	pfs_mutex_init(&l->lock, PFS_RANK_LANE);
	pfs_cond_init(&l->up);
	(void)snprintf(name, sizeof(name), "pfs-data-%u", i);
	err = pfs_thread_start(&l->thread, name, lane_main, l);
	if (err) {
		lane_free(l);
		return err;
	}
	l->is_started = true;
	w->lanes[i] = l;
	pfs_mutex_lock(&l->lock);
	while (!l->is_up)
		pfs_cond_wait(&l->up, &l->lock);
	err = l->start_err;
	pfs_mutex_unlock(&l->lock);
	return err;
}

static bool has_few_cores(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) ||
	       CPU_COUNT(&cpus) < 4;
}

int lanes_start(struct worker *w, int gone_fd)
{
	w->has_few_cores = has_few_cores();
	/* The first one last: it looks at the others. */
	for (unsigned int i = w->n_clones; i-- > 0;) {
		int err = lane_start(w, i, gone_fd);

		if (err)
			return pfs_log_fail(err, "lane", "start");
	}
	return 0;
}

/* A signal sent just before the thread enters read() is lost on it, so it is
 * sent until the thread has ended. */
static void stop_one(struct lane *l)
{
	struct timespec until;

	for (;;) {
		uint64_t at = pfs_wall_ns() + STOP_AGAIN_NS;

		if (l->cache)
			pfs_lane_wake(l->cache);
		pthread_kill(l->thread, STOP_SIGNAL);
		until.tv_sec = (time_t)(at / PFS_NSEC_PER_SEC);
		until.tv_nsec = (long)(at % PFS_NSEC_PER_SEC);
		if (!pthread_timedjoin_np(l->thread, NULL, &until))
			return;
	}
}

void lanes_stop(struct worker *w)
{
	for (unsigned int i = 0; i < WORKER_MAX_LANES; i++)
		if (w->lanes[i])
			atomic_store(&w->lanes[i]->is_stopping, true);
	for (unsigned int i = 0; i < WORKER_MAX_LANES; i++)
		if (w->lanes[i])
			stop_one(w->lanes[i]);
	/* Only now: a lane may hand requests back to another until it ends. */
	for (unsigned int i = 0; i < WORKER_MAX_LANES; i++)
		if (w->lanes[i])
			lane_free(pfs_take(&w->lanes[i]));
}
