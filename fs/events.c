/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "events.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <pfs/clock.h>
#include <pfs/counters.h>
#include <pfs/io.h>

#define N_SLOTS 16384u   /* 1 MiB; at 200,000 reads a second, 80 ms of them */
#define NAP_EVENTS 1024u /* so many wake a napping consumer */
#define KEPT_SLOTS 2048u /* not for reads, writes and evictions */

enum consumer {
	AWAKE,
	NAPPING, /* only urgent events, or many */
	ASLEEP,  /* any event */
};

struct slot {
	_Atomic uint64_t seq; /* place: free for it; place + 1: filled */
	struct event e;
};

struct events {
	struct slot *slots;                      /* owned, N_SLOTS */
	_Alignas(64) _Atomic uint64_t n_put;     /* producers */
	_Alignas(64) _Atomic uint32_t consumer;  /* enum consumer */
	_Alignas(64) uint64_t n_taken;           /* the consumer's */
	_Alignas(64) _Atomic uint64_t nap_began; /* n_put then */
	int fd;                                  /* eventfd */
};

int events_create(struct events **out)
{
	struct events *q = aligned_alloc(64, sizeof(*q));

	if (!q)
		return -ENOMEM;
	*q = (struct events){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	q->slots = pfs_zalloc(N_SLOTS, sizeof(*q->slots));
	if (!q->slots || q->fd < 0) {
		int err = q->slots ? -errno : -ENOMEM;

		events_destroy(q);
		return err;
	}
	for (uint64_t i = 0; i < N_SLOTS; i++)
		atomic_init(&q->slots[i].seq, i);
	*out = q;
	return 0;
}

void events_destroy(struct events *q)
{
	if (!q)
		return;
	if (q->fd >= 0)
		close(q->fd);
	free(q->slots);
	free(q);
}

void events_wake(struct events *q)
{
	uint64_t one = 1;
	ssize_t n = write(q->fd, &one, sizeof(one));

	(void)n; /* EAGAIN: it is more than awake */
}

/* Before the load every producer has published its event; before its look at
 * the queue the consumer has published that it will wait: one of them sees the
 * other. */
static void rouse(struct events *q, uint64_t place, bool is_urgent)
{
	uint32_t state;

	atomic_thread_fence(memory_order_seq_cst);
	state = atomic_load_explicit(&q->consumer, memory_order_relaxed);
	if (state == AWAKE)
		return;
	if (state == NAPPING && !is_urgent &&
	    place - atomic_load_explicit(&q->nap_began, memory_order_relaxed) <
		    NAP_EVENTS)
		return;
	if (atomic_exchange_explicit(&q->consumer, AWAKE,
				     memory_order_relaxed) != AWAKE)
		events_wake(q);
}

/* Below 0: the consumer has still to take what lies in the slot of that place;
 * above 0: the place is filled already. */
static int64_t turn(struct events *q, uint64_t place)
{
	return (int64_t)(atomic_load_explicit(&q->slots[place % N_SLOTS].seq,
					      memory_order_acquire) -
			 place);
}

/* Without its CLOSED a session would never end. */
static bool may_be_lost(const struct event *e)
{
	return e->kind != EVENT_OPENED && e->kind != EVENT_CLOSED &&
	       e->kind != EVENT_CHANGED;
}

void events_put(struct events *q, const struct event *e, bool is_urgent)
{
	struct slot *s;
	uint64_t place, kept;

	if (!q || !e->image)
		return;
	kept = may_be_lost(e) ? KEPT_SLOTS : 0;
	place = atomic_load_explicit(&q->n_put, memory_order_relaxed);
	for (;;) {
		int64_t ahead = turn(q, place);

		s = &q->slots[place % N_SLOTS];
		if (ahead < 0 || (kept && turn(q, place + kept) < 0)) {
			pfs_count(PFS_C_EVENTS_DROPPED, 1);
			return;
		}
		if (ahead > 0)
			place = atomic_load_explicit(&q->n_put,
						     memory_order_relaxed);
		else if (atomic_compare_exchange_weak_explicit(
				 &q->n_put, &place, place + 1,
				 memory_order_relaxed, memory_order_relaxed))
			break;
	}
	s->e = *e;
	atomic_store_explicit(&s->seq, place + 1, memory_order_release);
	pfs_count(PFS_C_ACCESS_EVENTS, 1);
	rouse(q, place, is_urgent);
}

static bool is_empty(struct events *q)
{
	struct slot *s = &q->slots[q->n_taken % N_SLOTS];

	return atomic_load_explicit(&s->seq, memory_order_acquire) !=
	       q->n_taken + 1;
}

bool events_take(struct events *q, struct event *out)
{
	struct slot *s = &q->slots[q->n_taken % N_SLOTS];

	if (is_empty(q))
		return false;
	*out = s->e;
	atomic_store_explicit(&s->seq, q->n_taken + N_SLOTS,
			      memory_order_release);
	q->n_taken++;
	return true;
}

static void wait_fd(struct events *q, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = q->fd, .events = POLLIN};
	uint64_t now = pfs_now_ns(), left, count;
	struct timespec ts;
	ssize_t n;

	left = deadline_ns > now ? deadline_ns - now : 0;
	ts = (struct timespec){.tv_sec = (time_t)(left / PFS_NSEC_PER_SEC),
			       .tv_nsec = (long)(left % PFS_NSEC_PER_SEC)};
	if (ppoll(&p, 1, deadline_ns == UINT64_MAX ? NULL : &ts, NULL) > 0) {
		n = read(q->fd, &count, sizeof(count));
		(void)n;
	}
}

void events_wait(struct events *q, uint64_t deadline_ns, bool nap)
{
	atomic_store_explicit(&q->nap_began, q->n_taken, memory_order_relaxed);
	atomic_store_explicit(&q->consumer, nap ? NAPPING : ASLEEP,
			      memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	if (is_empty(q))
		wait_fd(q, deadline_ns);
	atomic_store_explicit(&q->consumer, AWAKE, memory_order_relaxed);
}
