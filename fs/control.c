/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The server of the control socket: one thread with an epoll loop, which owns
 * all connections and never waits for anything else.  Verbs that may wait run
 * on threads of their own (jobs), which touch nothing but their own struct
 * until they say `is_done` and wake the loop.
 *
 * Bounds   CONNS_MAX connections, each with a request of at most 2 MiB and
 *          IDLE_NS to send it or to take the next part of an answer;
 *          JOBS_MAX jobs, LONG_MAX of them long ones.  A job's slot is free
 *          again once its answer was taken, which bounds answers in memory.
 *
 * The listening socket is the supervisor's and outlives this worker: a
 * request that was accepted here and not answered ends with the worker, and
 * pfsctl asks again; one still in the backlog is the successor's.
 */
#include "control.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <pfs/clock.h>
#include <pfs/ctl.h>
#include <pfs/log.h>

#include "control_trace.h"

#define CONNS_MAX 32
#define JOBS_MAX 16
#define IN_START PFS_KIB(4) /* bytes of a request, to begin with */
#define LONG_JOBS_MAX 2
#define IDLE_NS (10 * PFS_NSEC_PER_SEC)
#define UPGRADE_NS (60 * PFS_NSEC_PER_SEC) /* patience with the supervisor */
#define TICK_NS PFS_NSEC_PER_SEC           /* between two progress lines */
#define FLUSH_NS (500 * PFS_NSEC_PER_MSEC) /* for last answers at stop */

/* epoll's data: a connection's index, or one of */
#define EV_LISTEN 1000
#define EV_WAKE 1001

/* state      deadline  leaves by
 * FREE       -         accept
 * READING    yes       a whole line (WORKING or WRITING), timeout
 * WORKING    -         job or upgrade answered (WRITING), peer gone
 * WRITING    yes       all sent (READING, or FREE if is_last), timeout */
enum conn_state {
	CONN_FREE,
	CONN_READING,
	CONN_WORKING,
	CONN_WRITING,
};

struct job {
	bool is_used;        /* control thread only */
	struct conn *conn;   /* control thread only; NULL: peer is gone */
	struct control *ctl; /* borrowed */
	const struct control_verb *verb;
	pthread_t thread;
	struct pfs_ctl_request_info req; /* owned */
	struct control_call call;
	int err;
	_Atomic bool is_done; /* release by the job, acquire in reap_jobs() */
};

struct conn {
	enum conn_state state;
	int fd;
	struct job *job; /* also while its answer is being taken */
	bool is_last;    /* close once everything is sent */
	uint64_t deadline_ns;
	char *in; /* owned; up to PFS_CTL_REQUEST_MAX bytes */
	size_t n_in, in_room;
	char *out; /* malloc'ed line */
	size_t n_out, n_sent;
};

struct control {
	struct worker *w;
	pthread_t thread;
	int epoll_fd, wake_fd;
	_Atomic bool is_stopping;
	struct control_traces traces;
	struct pfs_mutex lock;
	/* --- under lock --- */
	bool has_verdict; /* on the upgrade */
	int verdict;
	char verdict_text[512];
	/* --- control thread only --- */
	struct conn conns[CONNS_MAX];
	struct job jobs[JOBS_MAX];
	bool is_upgrading;
	struct conn *upgrade_conn; /* NULL: peer is gone */
	uint64_t upgrade_end_ns;
	uint64_t next_tick_ns;
};

static void wake(struct control *ctl)
{
	uint64_t one = 1;

	/* Can fail only when 2^64 wakes are pending. */
	if (write(ctl->wake_fd, &one, sizeof(one)) < 0)
		pfs_log(PFS_LOG_DEBUG, "control", "wake: %m");
}

/* --- connections --- */

static int watch(struct control *ctl, int op, int fd, uint32_t events,
		 uint64_t tag)
{
	struct epoll_event ev = {.events = events, .data.u64 = tag};

	return epoll_ctl(ctl->epoll_fd, op, fd, &ev) < 0 ? -errno : 0;
}

static void set_state(struct control *ctl, struct conn *c,
		      enum conn_state state)
{
	uint32_t events = state == CONN_READING   ? EPOLLIN
			  : state == CONN_WRITING ? EPOLLOUT
						  : 0; /* HUP comes anyway */

	c->state = state;
	c->deadline_ns = pfs_now_ns() + IDLE_NS;
	/* Cannot fail for a descriptor that is in the set. */
	(void)watch(ctl, EPOLL_CTL_MOD, c->fd, events,
		    (uint64_t)(c - ctl->conns));
}

static void job_release(struct job *job)
{
	pfs_json_free(job->call.result);
	pfs_json_free(job->req.body);
	job->is_used = false;
}

static void conn_close(struct control *ctl, struct conn *c)
{
	if (c->state == CONN_WORKING && c->job) {
		c->job->conn = NULL; /* reap_jobs() releases it */
		c->job->call.stop = true;
	} else if (c->job) {
		job_release(c->job);
	}
	if (ctl->upgrade_conn == c)
		ctl->upgrade_conn = NULL;
	close(c->fd);
	free(c->in);
	free(c->out);
	*c = (struct conn){.fd = -1};
}

/* Everything was sent: on to the next request. */
static void conn_rest(struct control *ctl, struct conn *c)
{
	if (c->job)
		job_release(c->job);
	c->job = NULL;
	if (c->is_last)
		conn_close(ctl, c);
	else
		set_state(ctl, c, CONN_READING);
}

/* Send what there is.  True: nothing is left. */
static bool conn_send(struct control *ctl, struct conn *c)
{
	while (c->n_sent < c->n_out) {
		ssize_t n =
			send(c->fd, c->out + c->n_sent, c->n_out - c->n_sent,
			     MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			conn_close(ctl, c);
			return false;
		}
		c->n_sent += (size_t)n;
		c->deadline_ns = pfs_now_ns() + IDLE_NS;
	}
	free(c->out);
	c->out = NULL;
	c->n_out = c->n_sent = 0;
	return true;
}

/* Queue a line behind what is still unsent; takes it. */
static int conn_queue(struct conn *c, char *line)
{
	size_t len = strlen(line), left = c->n_out - c->n_sent;
	char *both;

	if (!left) {
		free(c->out);
		c->out = line;
		c->n_out = len;
		c->n_sent = 0;
		return 0;
	}
	both = malloc(left + len);
	if (both) {
		memcpy(both, c->out + c->n_sent, left);
		memcpy(both + left, line, len);
		free(c->out);
		c->out = both;
		c->n_out = left + len;
		c->n_sent = 0;
	}
	free(line);
	return both ? 0 : -ENOMEM;
}

static int error_line(int err, const char *why, char **line)
{
	char text[128];

	if (!why[0])
		why = strerror_r(-err, text, sizeof(text));
	return pfs_ctl_answer(PFS_CTL_ERROR, pfs_ctl_error(err, why), line);
}

/* The answer: result (taken) if err is 0, else the error. */
static void conn_answer(struct control *ctl, struct conn *c, int err,
			const char *why, struct pfs_json *result)
{
	char *line = NULL;
	int lost = 0;

	if (!err)
		lost = pfs_ctl_answer(PFS_CTL_RESULT, result, &line);
	else
		pfs_json_free(result);
	if (err || lost)
		lost = error_line(err ? err : lost, err ? why : "", &line);
	if (lost || conn_queue(c, line)) {
		conn_close(ctl, c); /* no memory even to say so */
		return;
	}
	set_state(ctl, c, CONN_WRITING);
	if (conn_send(ctl, c))
		conn_rest(ctl, c);
}

static void PFS_PRINTF(4, 5) conn_refuse(struct control *ctl, struct conn *c,
					 int err, const char *fmt, ...)
{
	char why[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	conn_answer(ctl, c, err, why, NULL);
}

/* --- requests --- */

static void *job_main(void *arg)
{
	struct job *job = arg;

	job->err = job->verb->run(&job->call);
	atomic_store_explicit(&job->is_done, true, memory_order_release);
	wake(job->ctl);
	return NULL;
}

static struct job *job_find_free(struct control *ctl,
				 const struct control_verb *verb)
{
	struct job *free_one = NULL;
	unsigned int n_long = 0;

	for (size_t i = 0; i < JOBS_MAX; i++) {
		struct job *job = &ctl->jobs[i];

		if (!job->is_used)
			free_one = job;
		else if (job->verb->class == CONTROL_LONG)
			n_long++;
	}
	if (verb->class == CONTROL_LONG && n_long >= LONG_JOBS_MAX)
		return NULL;
	return free_one;
}

/* Takes req on success. */
static int job_start(struct control *ctl, struct conn *c,
		     const struct control_verb *verb,
		     const struct pfs_ctl_request_info *req)
{
	struct job *job = job_find_free(ctl, verb);
	int err;

	if (!job)
		return -EBUSY;
	*job = (struct job){
		.is_used = true,
		.conn = c,
		.ctl = ctl,
		.verb = verb,
		.req = *req,
		.call = {.w = ctl->w, .traces = &ctl->traces, .req = req->body},
	};
	job->call.result = pfs_json_object();
	set_state(ctl, c, CONN_WORKING);
	err = pfs_thread_start(&job->thread, "pfs-ctl-job", job_main, job);
	if (err) {
		pfs_json_free(job->call.result);
		job->is_used = false;
		return err;
	}
	c->job = job;
	return 0;
}

static void run_inline(struct control *ctl, struct conn *c,
		       const struct control_verb *verb,
		       const struct pfs_ctl_request_info *req)
{
	struct control_call call = {
		.w = ctl->w, .traces = &ctl->traces, .req = req->body};
	int err;

	call.result = pfs_json_object();
	err = verb->run(&call);
	conn_answer(ctl, c, err, call.why, call.result);
}

static void start_upgrade(struct control *ctl, struct conn *c,
			  const struct control_verb *verb,
			  const struct pfs_ctl_request_info *req)
{
	struct control_call call = {.w = ctl->w, .req = req->body};
	int err;

	if (ctl->is_upgrading) {
		conn_refuse(ctl, c, -EBUSY, "an upgrade is under way");
		return;
	}
	ctl->upgrade_end_ns = pfs_now_ns() + UPGRADE_NS;
	err = verb->run(&call);
	if (err) {
		conn_answer(ctl, c, err, call.why, NULL);
		return;
	}
	ctl->is_upgrading = true;
	ctl->upgrade_conn = c;
	set_state(ctl, c, CONN_WORKING);
}

static void start_job(struct control *ctl, struct conn *c,
		      const struct control_verb *verb,
		      struct pfs_ctl_request_info *req)
{
	int err = job_start(ctl, c, verb, req);

	if (!err)
		req->body = NULL; /* the job's now */
	else if (err == -EBUSY)
		conn_refuse(ctl, c, err,
			    "too many requests of this kind are being "
			    "answered: try again when they are done");
	else
		conn_answer(ctl, c, err, "", NULL);
}

static void dispatch(struct control *ctl, struct conn *c,
		     struct pfs_ctl_request_info *req)
{
	const struct control_verb *verb = control_verb_find(req->verb);

	if (req->protocol != PFS_CTL_PROTOCOL) {
		conn_refuse(ctl, c, -EPROTO,
			    "this daemon speaks control protocol %d, not %llu",
			    PFS_CTL_PROTOCOL,
			    (unsigned long long)req->protocol);
		return;
	}
	if (!verb) {
		conn_refuse(ctl, c, -ENOSYS,
			    "the daemon (pfs %s) does not know the request "
			    "'%.64s'",
			    pfs_ctl_version(), req->verb);
		return;
	}
	switch (verb->class) {
	case CONTROL_INLINE:
		run_inline(ctl, c, verb, req);
		break;
	case CONTROL_JOB:
	case CONTROL_LONG:
		start_job(ctl, c, verb, req);
		break;
	case CONTROL_UPGRADE:
		start_upgrade(ctl, c, verb, req);
		break;
	}
}

static void take_line(struct control *ctl, struct conn *c, size_t len)
{
	struct pfs_ctl_request_info req = {.body = NULL};
	int err = pfs_ctl_request_parse(c->in, len, &req);
	size_t used = PFS_MIN(len + 1, c->n_in);

	c->n_in -= used;
	memmove(c->in, c->in + used, c->n_in);
	if (err) {
		c->is_last = true;
		conn_refuse(ctl, c, err == -ENOMEM ? err : -EBADMSG,
			    "that was no request: one line of JSON with "
			    "\"protocol\" and \"verb\" is expected");
		return;
	}
	dispatch(ctl, c, &req);
	pfs_json_free(req.body);
}

/* Carry out the requests that are there, one after the other. */
static void conn_advance(struct control *ctl, struct conn *c)
{
	while (c->state == CONN_READING && c->n_in) {
		char *end = memchr(c->in, '\n', c->n_in);

		if (end) {
			take_line(ctl, c, (size_t)(end - c->in));
			continue;
		}
		if (c->n_in == PFS_CTL_REQUEST_MAX) {
			c->is_last = true;
			c->n_in = 0;
			conn_refuse(ctl, c, -EMSGSIZE,
				    "a request may have 2 MiB at most");
		}
		return;
	}
}

static bool make_room(struct conn *c)
{
	char *more;

	if (c->n_in < c->in_room)
		return true;
	more = realloc(c->in, 2 * c->in_room);
	if (!more)
		return false;
	c->in = more;
	c->in_room *= 2;
	return true;
}

static void conn_read(struct control *ctl, struct conn *c)
{
	ssize_t n;

	if (!make_room(c)) {
		conn_close(ctl, c);
		return;
	}
	n = recv(c->fd, c->in + c->n_in, c->in_room - c->n_in, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 || (!n && !c->n_in)) {
		conn_close(ctl, c);
		return;
	}
	c->n_in += (size_t)n;
	if (!n) { /* half-closed: what is there is the last request */
		c->is_last = true;
		take_line(ctl, c, c->n_in);
		return;
	}
	conn_advance(ctl, c);
}

static void conn_event(struct control *ctl, struct conn *c, uint32_t events)
{
	if (c->state == CONN_FREE)
		return; /* closed earlier in this round */
	if (events & EPOLLIN && c->state == CONN_READING) {
		conn_read(ctl, c);
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		conn_close(ctl, c);
	} else if (events & EPOLLOUT && c->state == CONN_WRITING) {
		if (conn_send(ctl, c)) {
			conn_rest(ctl, c);
			conn_advance(ctl, c);
		}
	}
}

/* --- new connections --- */

static bool is_permitted(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

/* Say why and hang up; a fresh socket has room for one line. */
static void turn_away(int fd, int err, const char *why)
{
	char *line;

	if (error_line(err, why, &line))
		return;
	if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		pfs_log(PFS_LOG_DEBUG, "control", "turned away unheard: %m");
	free(line);
}

static struct conn *conn_find_free(struct control *ctl)
{
	for (size_t i = 0; i < CONNS_MAX; i++)
		if (ctl->conns[i].state == CONN_FREE)
			return &ctl->conns[i];
	return NULL;
}

static void conn_open(struct control *ctl, struct conn *c, int *fd)
{
	char *in = malloc(IN_START);

	if (!in || watch(ctl, EPOLL_CTL_ADD, *fd, EPOLLIN,
			 (uint64_t)(c - ctl->conns))) {
		free(in);
		return; /* the caller closes it */
	}
	*c = (struct conn){
		.fd = pfs_take_fd(fd), .in = in, .in_room = IN_START};
	set_state(ctl, c, CONN_READING);
}

/* False: nobody waits any more. */
static bool accept_one(struct control *ctl)
{
	PFS_AUTO_FD fd = accept4(ctl->w->control_fd, NULL, NULL,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct conn *c = conn_find_free(ctl);

	if (fd < 0)
		return false;
	if (!is_permitted(fd))
		turn_away(fd, -EACCES,
			  "only root and the user pfs runs as may ask");
	else if (!c)
		turn_away(fd, -EBUSY,
			  "32 connections are open: try again in a moment");
	else
		conn_open(ctl, c, &fd);
	return true;
}

/* --- the loop --- */

static void reap_jobs(struct control *ctl)
{
	for (size_t i = 0; i < JOBS_MAX; i++) {
		struct job *job = &ctl->jobs[i];
		struct conn *c = job->conn;
		bool is_over = job->is_used &&
			       (!c || c->state == CONN_WORKING) &&
			       atomic_load_explicit(&job->is_done,
						    memory_order_acquire);

		if (!is_over)
			continue;
		pthread_join(job->thread, NULL);
		if (!c) {
			job_release(job);
			continue;
		}
		conn_answer(ctl, c, job->err, job->call.why,
			    pfs_take(&job->call.result));
		conn_advance(ctl, c);
	}
}

static void answer_upgrade(struct control *ctl, int err, const char *text)
{
	struct conn *c = ctl->upgrade_conn;
	struct pfs_json *result;

	ctl->is_upgrading = false;
	ctl->upgrade_conn = NULL;
	if (!c)
		return;
	result = pfs_json_object();
	pfs_json_set_str(result, "text", text);
	conn_answer(ctl, c, err, text, result);
}

static void take_verdict(struct control *ctl)
{
	char text[sizeof(ctl->verdict_text)];
	bool has_one;
	int err;

	pfs_mutex_lock(&ctl->lock);
	has_one = ctl->has_verdict;
	ctl->has_verdict = false;
	err = ctl->verdict;
	memcpy(text, ctl->verdict_text, sizeof(text));
	pfs_mutex_unlock(&ctl->lock);
	if (has_one)
		answer_upgrade(ctl, err, text);
}

/* Also tells pfsctl that somebody is still at it. */
static void send_progress(struct control *ctl, struct conn *c)
{
	const struct control_call *call = c->job ? &c->job->call : NULL;
	struct pfs_json *progress;
	char *line;

	if (c->n_out != c->n_sent)
		return;
	progress = pfs_json_object();
	pfs_json_set_u64(progress, "done", call ? call->n_done : 0);
	pfs_json_set_u64(progress, "total", call ? call->n_total : 0);
	if (pfs_ctl_answer(PFS_CTL_PROGRESS, progress, &line) ||
	    conn_queue(c, line))
		return; /* a line less */
	(void)conn_send(ctl, c);
}

static bool is_due(const struct conn *c, uint64_t now)
{
	return (c->state == CONN_READING || c->state == CONN_WRITING) &&
	       now >= c->deadline_ns;
}

static void tick(struct control *ctl)
{
	uint64_t now = pfs_now_ns();
	bool is_time = now >= ctl->next_tick_ns;

	for (size_t i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &ctl->conns[i];

		if (is_due(c, now)) {
			if (c->state == CONN_READING)
				turn_away(c->fd, -ETIMEDOUT,
					  "no request came for 10 s");
			conn_close(ctl, c);
		} else if (is_time && c->state == CONN_WORKING) {
			send_progress(ctl, c);
		}
	}
	if (ctl->is_upgrading && now >= ctl->upgrade_end_ns)
		answer_upgrade(ctl, -ETIMEDOUT,
			       "the supervisor has not said for 60 s what "
			       "became of it: see the daemon's log");
	if (is_time)
		ctl->next_tick_ns = now + TICK_NS;
}

static bool has_conns(const struct control *ctl)
{
	for (size_t i = 0; i < CONNS_MAX; i++)
		if (ctl->conns[i].state != CONN_FREE)
			return true;
	return false;
}

static void one_round(struct control *ctl, int timeout_ms)
{
	struct epoll_event ev[16];
	uint64_t n_wakes;
	int n = epoll_wait(ctl->epoll_fd, ev, PFS_ARRAY_SIZE(ev), timeout_ms);

	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 == EV_WAKE)
			(void)!read(ctl->wake_fd, &n_wakes, sizeof(n_wakes));
		else if (ev[i].data.u64 == EV_LISTEN)
			(void)accept_one(ctl);
		else
			conn_event(ctl, &ctl->conns[ev[i].data.u64],
				   ev[i].events);
	}
	take_verdict(ctl);
	reap_jobs(ctl);
	tick(ctl);
}

static bool has_jobs(const struct control *ctl)
{
	for (size_t i = 0; i < JOBS_MAX; i++)
		if (ctl->jobs[i].is_used)
			return true;
	return false;
}

static bool owes_answers(const struct control *ctl)
{
	for (size_t i = 0; i < CONNS_MAX; i++)
		if (ctl->conns[i].state == CONN_WORKING ||
		    ctl->conns[i].state == CONN_WRITING)
			return true;
	return false;
}

/* Accept no more, let jobs end, give their answers FLUSH_NS to get out. */
static void wind_up(struct control *ctl)
{
	uint64_t end_ns;

	(void)watch(ctl, EPOLL_CTL_DEL, ctl->w->control_fd, 0, 0);
	for (size_t i = 0; i < CONNS_MAX; i++) {
		struct conn *c = &ctl->conns[i];

		c->is_last = true;
		if (c->state == CONN_READING)
			conn_close(ctl, c);
	}
	take_verdict(ctl);
	if (ctl->is_upgrading)
		answer_upgrade(ctl, 0, "the successor takes over");
	for (size_t i = 0; i < JOBS_MAX; i++)
		ctl->jobs[i].call.stop = true;

	/* The store and the catalog go after us: jobs must be over. */
	end_ns = pfs_now_ns() + FLUSH_NS;
	while (owes_answers(ctl) && pfs_now_ns() < end_ns)
		one_round(ctl, 20);
	for (size_t i = 0; i < CONNS_MAX; i++)
		if (ctl->conns[i].state != CONN_FREE)
			conn_close(ctl, &ctl->conns[i]);
	while (has_jobs(ctl))
		one_round(ctl, 20);
}

static void *control_main(void *arg)
{
	struct control *ctl = arg;

	while (!ctl->is_stopping)
		one_round(ctl, has_conns(ctl) ? 200 : -1);
	wind_up(ctl);
	return NULL;
}

/* --- start and stop --- */

static void control_destroy(struct control *ctl)
{
	if (!ctl)
		return;
	pfs_fd_done(&ctl->epoll_fd);
	pfs_fd_done(&ctl->wake_fd);
	pfs_mutex_fini(&ctl->lock);
	control_traces_fini(&ctl->traces, ctl->w);
	free(ctl);
}

static void control_done(struct control **ctl)
{
	control_destroy(*ctl);
}

static int make_loop(struct control *ctl, int listen_fd)
{
	int flags = fcntl(listen_fd, F_GETFL);
	int err;

	/* Two workers may be woken for one client at a hand-over. */
	if (flags < 0 || fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	ctl->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	ctl->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ctl->epoll_fd < 0 || ctl->wake_fd < 0)
		return -errno;
	err = watch(ctl, EPOLL_CTL_ADD, ctl->wake_fd, EPOLLIN, EV_WAKE);
	if (!err)
		err = watch(ctl, EPOLL_CTL_ADD, listen_fd, EPOLLIN, EV_LISTEN);
	return err;
}

int control_start(struct worker *w)
{
	PFS_AUTO(control_done) struct control *ctl = calloc(1, sizeof(*ctl));
	int err;

	if (!ctl)
		return -ENOMEM;
	ctl->w = w;
	ctl->epoll_fd = ctl->wake_fd = -1;
	for (size_t i = 0; i < CONNS_MAX; i++)
		ctl->conns[i].fd = -1;
	pfs_mutex_init(&ctl->lock, PFS_RANK_CTL);
	control_traces_init(&ctl->traces);

	err = make_loop(ctl, w->control_fd);
	if (!err)
		err = pfs_thread_start(&ctl->thread, "pfs-control",
				       control_main, ctl);
	if (err)
		return pfs_log_fail(err, "control", "start");
	w->control = pfs_take(&ctl);
	return 0;
}

void control_stop(struct worker *w)
{
	struct control *ctl = w->control;

	if (!ctl)
		return;
	ctl->is_stopping = true;
	wake(ctl);
	pthread_join(ctl->thread, NULL);
	w->control = NULL;
	control_destroy(ctl);
}

void control_upgrade_result(struct worker *w, int err, const char *text)
{
	struct control *ctl = w->control;

	if (!ctl)
		return;
	pfs_mutex_lock(&ctl->lock);
	ctl->has_verdict = true;
	ctl->verdict = err;
	(void)snprintf(ctl->verdict_text, sizeof(ctl->verdict_text), "%s",
		       text);
	pfs_mutex_unlock(&ctl->lock);
	wake(ctl);
}
