// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * slowfs_queue.c - requests that are not to be answered yet.
 *
 * A waiting request is a few bytes in a heap ordered by the time it is due,
 * not a sleeping thread: thousands may wait at once, each for its own time
 * from its own arrival.  A few threads serve the heap by turns: one of them,
 * the leader, sleeps until the first request is due, takes it, wakes the next
 * leader and carries the request out.  So there is no hand-over between a
 * timer and a worker, and one slow operation of the source holds up nobody.
 *
 * A request that is due while everything hangs moves to a list, and back into
 * the heap when the hang ends.
 *
 * The link is a virtual clock: the time at which the last byte promised so
 * far will have passed.  A transfer starts there or now, whichever is later.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "slowfs.h"

#define N_THREADS 8
#define NS_PER_S 1000000000ULL

static struct {
	pthread_mutex_t lock;
	pthread_cond_t head; /* there is a new first in the heap, or stop */
	pthread_cond_t work; /* a leader is wanted, or stop */

	/* --- under lock --- */
	struct slow_job **heap;
	size_t n_heap;
	size_t heap_room;
	struct slow_job *hung; /* newest first; the heap restores order */
	size_t n_hung;
	size_t most;
	uint64_t seq;
	bool has_leader;
	bool stop;

	/* --- set at start, then constant --- */
	void (*run)(struct slow_job *job);
	pthread_t threads[N_THREADS];
	int n_threads;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct {
	pthread_mutex_t lock;
	uint64_t rate;    /* that free_ns was reckoned with */
	uint64_t free_ns; /* the link has nothing to do from then on */
} link_ = {.lock = PTHREAD_MUTEX_INITIALIZER};

uint64_t slow_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static bool is_before(const struct slow_job *a, const struct slow_job *b)
{
	if (a->due_ns != b->due_ns)
		return a->due_ns < b->due_ns;
	return a->seq < b->seq;
}

static void heap_add_locked(struct slow_job *job)
{
	size_t i = queue.n_heap++;

	while (i > 0 && is_before(job, queue.heap[(i - 1) / 2])) {
		queue.heap[i] = queue.heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	queue.heap[i] = job;
}

static struct slow_job *heap_take_locked(void)
{
	struct slow_job *first = queue.heap[0];
	struct slow_job *last = queue.heap[--queue.n_heap];
	size_t i = 0;

	for (;;) {
		size_t kid = 2 * i + 1;

		if (kid >= queue.n_heap)
			break;
		if (kid + 1 < queue.n_heap &&
		    is_before(queue.heap[kid + 1], queue.heap[kid]))
			kid++;
		if (!is_before(queue.heap[kid], last))
			break;
		queue.heap[i] = queue.heap[kid];
		i = kid;
	}
	queue.heap[i] = last;
	return first;
}

/* Room for the hung ones too, so that their return cannot fail. */
static int make_room_locked(void)
{
	size_t room = queue.heap_room ? queue.heap_room * 2 : 256;
	struct slow_job **heap;

	if (queue.n_heap + queue.n_hung < queue.heap_room)
		return 0;
	heap = reallocarray(queue.heap, room, sizeof(struct slow_job *));
	if (!heap)
		return -ENOMEM;
	queue.heap = heap;
	queue.heap_room = room;
	return 0;
}

/* Wakes whoever must know that the heap was empty or began later. */
static void wake_leader_locked(void)
{
	pthread_cond_signal(queue.has_leader ? &queue.head : &queue.work);
}

int slow_queue_push(const void *mem, size_t len, uint64_t due_ns)
{
	struct slow_job *job = malloc(sizeof(*job) + len);
	int err;

	if (!job)
		return -ENOMEM;
	job->due_ns = due_ns;
	job->len = len;
	memcpy(job->mem, mem, len);

	pthread_mutex_lock(&queue.lock);
	err = make_room_locked();
	if (!err) {
		job->seq = queue.seq++;
		heap_add_locked(job);
		if (queue.n_heap + queue.n_hung > queue.most)
			queue.most = queue.n_heap + queue.n_hung;
		if (queue.heap[0] == job)
			wake_leader_locked();
	}
	pthread_mutex_unlock(&queue.lock);
	if (err)
		free(job);
	return err;
}

void slow_queue_steer(void)
{
	if (slow_settings()->hang)
		return;
	pthread_mutex_lock(&queue.lock);
	while (queue.hung) {
		struct slow_job *job = queue.hung;

		queue.hung = job->next;
		queue.n_hung--;
		heap_add_locked(job);
	}
	if (queue.n_heap)
		wake_leader_locked();
	pthread_mutex_unlock(&queue.lock);
}

/* Sleeps until the first job is due or is another one, or stop. */
static void lead_locked(void)
{
	uint64_t due = queue.heap[0]->due_ns;
	struct timespec ts = {.tv_sec = (time_t)(due / NS_PER_S),
			      .tv_nsec = (long)(due % NS_PER_S)};

	queue.has_leader = true;
	pthread_cond_timedwait(&queue.head, &queue.lock, &ts);
	queue.has_leader = false;
}

/* The hang is looked up under the lock, which slow_queue_steer() takes after
 * the setting was published: no job can slip onto the list after it. */
static struct slow_job *take_due_locked(void)
{
	struct slow_job *job = heap_take_locked();

	if (!slow_settings()->hang)
		return job;
	job->next = queue.hung;
	queue.hung = job;
	queue.n_hung++;
	return NULL;
}

/* The next job to carry out; NULL: stop. */
static struct slow_job *await_job_locked(void)
{
	struct slow_job *job = NULL;

	while (!job && !queue.stop) {
		if (!queue.n_heap || queue.has_leader)
			pthread_cond_wait(&queue.work, &queue.lock);
		else if (queue.heap[0]->due_ns > slow_now_ns())
			lead_locked();
		else
			job = take_due_locked();
	}
	if (queue.n_heap && !queue.has_leader)
		pthread_cond_signal(&queue.work);
	return job;
}

static void *serve(void *arg)
{
	struct slow_job *job;

	/* The default slack of 50 us would show in short latencies. */
	prctl(PR_SET_TIMERSLACK, 1UL);
	pthread_mutex_lock(&queue.lock);
	while ((job = await_job_locked())) {
		pthread_mutex_unlock(&queue.lock);
		queue.run(job);
		free(job);
		pthread_mutex_lock(&queue.lock);
	}
	pthread_mutex_unlock(&queue.lock);
	return arg;
}

int slow_queue_start(void (*run)(struct slow_job *job))
{
	pthread_condattr_t attr;
	int err = 0;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&queue.head, &attr);
	pthread_cond_init(&queue.work, &attr);
	pthread_condattr_destroy(&attr);
	queue.run = run;
	while (!err && queue.n_threads < N_THREADS) {
		err = -pthread_create(&queue.threads[queue.n_threads], NULL,
				      serve, NULL);
		if (!err)
			queue.n_threads++;
	}
	if (err)
		slow_queue_stop();
	return err;
}

static void drop_all(void)
{
	while (queue.n_heap)
		free(heap_take_locked());
	while (queue.hung) {
		struct slow_job *job = queue.hung;

		queue.hung = job->next;
		free(job);
	}
	free(queue.heap);
	queue.heap = NULL;
}

void slow_queue_stop(void)
{
	pthread_mutex_lock(&queue.lock);
	queue.stop = true;
	pthread_cond_broadcast(&queue.head);
	pthread_cond_broadcast(&queue.work);
	pthread_mutex_unlock(&queue.lock);
	while (queue.n_threads)
		pthread_join(queue.threads[--queue.n_threads], NULL);
	drop_all();
}

uint64_t slow_link_reserve(uint64_t now_ns, uint64_t len, uint64_t rate)
{
	uint64_t end;

	pthread_mutex_lock(&link_.lock);
	if (link_.rate != rate) { /* a new link has no backlog */
		link_.rate = rate;
		link_.free_ns = 0;
	}
	if (link_.free_ns < now_ns)
		link_.free_ns = now_ns;
	link_.free_ns += len * NS_PER_S / rate;
	end = link_.free_ns;
	pthread_mutex_unlock(&link_.lock);
	return end;
}

struct slow_queue_state slow_queue_state(void)
{
	struct slow_queue_state s;

	pthread_mutex_lock(&queue.lock);
	s.waiting = queue.n_heap + queue.n_hung;
	s.hung = queue.n_hung;
	s.most = queue.most;
	pthread_mutex_unlock(&queue.lock);
	return s;
}

void slow_queue_reset_most(void)
{
	pthread_mutex_lock(&queue.lock);
	queue.most = queue.n_heap + queue.n_hung;
	pthread_mutex_unlock(&queue.lock);
}
