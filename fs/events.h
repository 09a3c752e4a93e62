/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/events.h - what guests did, on its way to the predictor.
 *
 * A bounded lock-free queue with many producers (data threads, pool threads)
 * and one consumer.  A producer never waits: when the queue is full the event
 * is dropped and counted.  The last of its room is for opens, closes and
 * changes, of which none should be missed.  A consumer that has nothing to do
 * naps, and is woken at once for what it should react to, else when enough has
 * come together: a system call for each hit would cost more than the hit.
 *
 * The queue is D. Vyukov's bounded MPMC queue with one consumer: a slot's
 * sequence number says whose turn it is.
 *
 * Threads  events_put() and events_wake() from any, the rest from the consumer.
 */
#ifndef PFS_FS_EVENTS_H
#define PFS_FS_EVENTS_H

#include <pfs/base.h>

struct events; /* opaque */

enum event_kind {
	EVENT_READ,
	EVENT_WRITE,   /* or another change of bytes; vm 0: whoever */
	EVENT_OPENED,  /* a handle; off: size of the image in bytes */
	EVENT_CLOSED,  /* a handle */
	EVENT_CHANGED, /* the image's bytes are others, not by a guest's write
			*/
	EVENT_UNREAD,  /* off: chunk number; prefetched and evicted unread */
};

/* Bytes in one read or write: an EVENT_WRITE of more is a punch or the like. */
#define EVENT_DATA_MAX PFS_MIB(1)

struct event {
	uint64_t time_ns;    /* of the request */
	uint64_t latency_ns; /* until its answer */
	uint64_t image;      /* catalog id, not 0 */
	uint64_t vm;         /* who; 0: unknown */
	uint64_t off;
	uint64_t len;
	uint32_t handle;  /* row */
	uint8_t kind;     /* enum event_kind */
	uint8_t outcome;  /* of a read: enum pfs_read_outcome */
	bool was_changed; /* EVENT_OPENED: since it was last in use, by others
			   */
};

int events_create(struct events **out) PFS_MUST_CHECK;
/** No producer may be left.  Accepts NULL. */
void events_destroy(struct events *q);

/** is_urgent: wake a napping consumer now.  Without a queue (NULL) and for
 *  image 0 nothing happens. */
void events_put(struct events *q, const struct event *e, bool is_urgent);
/** False: empty. */
bool events_take(struct events *q, struct event *out);
/** Make events_wait() return. */
void events_wake(struct events *q);
/** Wait until an event is there that is worth waking for, events_wake(), or
 *  deadline_ns.  `nap`: events that are not urgent may wait until then. */
void events_wait(struct events *q, uint64_t deadline_ns, bool nap);

#endif
