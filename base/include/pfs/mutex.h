/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/mutex.h - mutexes that know their place in the lock order.
 *
 * A debug build (no NDEBUG) aborts when a thread takes a lock whose rank is
 * not above every rank it holds, so tests find inversions without having to
 * deadlock.  clang's -Wthread-safety checks PFS_REQUIRES.
 */
#ifndef PFS_MUTEX_H
#define PFS_MUTEX_H

#include <pthread.h>

#include <pfs/base.h>

#if defined(__clang__)
#define PFS_TSA(x) __attribute__((x))
#else
#define PFS_TSA(x)
#endif
#define PFS_REQUIRES(m) PFS_TSA(requires_capability(m))
#define PFS_EXCLUDES(m) PFS_TSA(locks_excluded(m))
#define PFS_ACQUIRES(m) PFS_TSA(acquire_capability(m))
#define PFS_RELEASES(m) PFS_TSA(release_capability(m))

/* A thread may take a lock only if its rank is above every rank it holds.
 * This list is the single place where order is decided; rank_name() in
 * mutex.c has the names for messages, and the compiler warns of a missing one.
 */
enum pfs_lock_rank {
	PFS_RANK_CTL = 5,      /* fs: control connections */
	PFS_RANK_PREDICT = 8,  /* fs: the predictor */
	PFS_RANK_MOUNT = 10,   /* fs: node table, handles, locks */
	PFS_RANK_IMAGES = 12,  /* fs: table of images in use */
	PFS_RANK_IMAGE = 15,   /* fs: one image's write session */
	PFS_RANK_CATALOG = 20, /* catalog: the writer's queue, the connection */
	PFS_RANK_MARKS = 25,   /* catalog: dirty marks */
	PFS_RANK_STORE = 30,   /* cache: index, segments, fetches in flight */
	PFS_RANK_POOL = 40,    /* fs: job queue; cache: buffer pools */
	PFS_RANK_INBOX = 45,   /* fs: ended fetches for the predictor */
	PFS_RANK_INTAKE = 46,  /* agent: what is known of VMs */
	PFS_RANK_LANE = 50,    /* cache: what other threads hand to a lane */
	PFS_RANK_FAULT = 80,   /* base: fault rules */
	PFS_RANK_LOG = 90,     /* base: log sink; leaf */
};

struct PFS_TSA(capability("mutex")) pfs_mutex {
	pthread_mutex_t m;
	enum pfs_lock_rank rank;
};

#define PFS_MUTEX_INIT(r)                                                      \
	{                                                                      \
		.m = PTHREAD_MUTEX_INITIALIZER, .rank = (r)                    \
	}

void pfs_mutex_init(struct pfs_mutex *m, enum pfs_lock_rank rank);
void pfs_mutex_fini(struct pfs_mutex *m);
void pfs_mutex_lock(struct pfs_mutex *m) PFS_ACQUIRES(*m);
void pfs_mutex_unlock(struct pfs_mutex *m) PFS_RELEASES(*m);

/* For clang alone: a callback, where it cannot see that the lock is held. */
static inline void pfs_mutex_is_held(struct pfs_mutex *m)
	PFS_TSA(assert_capability(*m))
{
	(void)m;
}

/* Condition variables on CLOCK_MONOTONIC. */
struct pfs_cond {
	pthread_cond_t c;
};

void pfs_cond_init(struct pfs_cond *c);
void pfs_cond_fini(struct pfs_cond *c);
void pfs_cond_wait(struct pfs_cond *c, struct pfs_mutex *m) PFS_REQUIRES(*m);
/** -ETIMEDOUT once pfs_now_ns() is past deadline_ns, else 0, which like every
 *  wake-up may be spurious.  c is from pfs_cond_init(). */
int pfs_cond_wait_until(struct pfs_cond *c, struct pfs_mutex *m,
			uint64_t deadline_ns) PFS_REQUIRES(*m);
void pfs_cond_signal(struct pfs_cond *c);
void pfs_cond_broadcast(struct pfs_cond *c);

/* For ThreadSanitizer alone: what one thread did before PFS_GIVES_WAY(at) is
 * done when another is behind PFS_COMES_AFTER(at), by an order that neither
 * locks nor atomics make but the kernel, which it cannot see. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PFS_HAS_TSAN 1
#endif
#endif
#if defined(PFS_HAS_TSAN) || defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *at);
void __tsan_release(void *at);
#define PFS_GIVES_WAY(at) __tsan_release(at)
#define PFS_COMES_AFTER(at) __tsan_acquire(at)
#else
#define PFS_GIVES_WAY(at) (void)(at)
#define PFS_COMES_AFTER(at) (void)(at)
#endif

/** Start a joinable thread with all signals blocked and the given name (at
 *  most 15 bytes, as /proc/PID/task/TID/comm shows it; a longer one is not
 *  set). */
int pfs_thread_start(pthread_t *out, const char *name, void *(*fn)(void *),
		     void *arg) PFS_MUST_CHECK;

#endif
