/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pfs/mutex.h>

#include <signal.h>
#include <stdio.h>
#include <time.h>

#include <pfs/clock.h>

/* The longest real wait inside pfs_cond_wait_until(); keeps the sum of now
 * and deadline far from overflow. */
#define WAIT_MAX_NS (3600 * PFS_NSEC_PER_SEC)

#ifdef NDEBUG

static void note_lock(const struct pfs_mutex *m)
{
	(void)m;
}

static void note_unlock(const struct pfs_mutex *m)
{
	(void)m;
}

static void must_hold(const struct pfs_mutex *m)
{
	(void)m;
}

#else

#define HELD_MAX 16

/* Ranks rise along the stack, so its top is the highest rank held. */
static __thread const struct pfs_mutex *held[HELD_MAX];
static __thread unsigned int n_held;

/* No default: the compiler names a rank that is missing here. */
static const char *rank_name(enum pfs_lock_rank rank)
{
	switch (rank) {
	case PFS_RANK_CTL:
		return "CTL";
	case PFS_RANK_PREDICT:
		return "PREDICT";
	case PFS_RANK_MOUNT:
		return "MOUNT";
	case PFS_RANK_IMAGES:
		return "IMAGES";
	case PFS_RANK_IMAGE:
		return "IMAGE";
	case PFS_RANK_CATALOG:
		return "CATALOG";
	case PFS_RANK_MARKS:
		return "MARKS";
	case PFS_RANK_STORE:
		return "STORE";
	case PFS_RANK_POOL:
		return "POOL";
	case PFS_RANK_INBOX:
		return "INBOX";
	case PFS_RANK_INTAKE:
		return "INTAKE";
	case PFS_RANK_LANE:
		return "LANE";
	case PFS_RANK_FAULT:
		return "FAULT";
	case PFS_RANK_LOG:
		return "LOG";
	}
	return "unknown";
}

static unsigned int find_held(const struct pfs_mutex *m)
{
	unsigned int i = n_held;

	while (i && held[i - 1] != m)
		i--;
	return i; /* 1 based; 0: not held */
}

static void note_lock(const struct pfs_mutex *m)
{
	const struct pfs_mutex *top = n_held ? held[n_held - 1] : NULL;

	if (top && m->rank <= top->rank) {
		(void)fprintf(stderr,
			      "pfs: lock order: %s (%d) taken under %s (%d)\n",
			      rank_name(m->rank), m->rank, rank_name(top->rank),
			      top->rank);
		abort();
	}
	if (n_held == HELD_MAX)
		abort();
	held[n_held++] = m;
}

static void must_hold(const struct pfs_mutex *m)
{
	if (find_held(m))
		return;
	(void)fprintf(stderr, "pfs: lock %s (%d) is not held by this thread\n",
		      rank_name(m->rank), m->rank);
	abort();
}

static void note_unlock(const struct pfs_mutex *m)
{
	unsigned int i = find_held(m);

	must_hold(m);
	for (; i < n_held; i++)
		held[i - 1] = held[i];
	n_held--;
}

#endif

void pfs_mutex_init(struct pfs_mutex *m, enum pfs_lock_rank rank)
{
	pthread_mutex_init(&m->m, NULL);
	m->rank = rank;
}

void pfs_mutex_fini(struct pfs_mutex *m)
{
	pthread_mutex_destroy(&m->m);
}

/* Noted before the wait: an inversion aborts instead of deadlocking. */
PFS_TSA(no_thread_safety_analysis)
void pfs_mutex_lock(struct pfs_mutex *m)
{
	note_lock(m);
	pthread_mutex_lock(&m->m);
}

PFS_TSA(no_thread_safety_analysis)
void pfs_mutex_unlock(struct pfs_mutex *m)
{
	note_unlock(m);
	pthread_mutex_unlock(&m->m);
}

void pfs_cond_init(struct pfs_cond *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->c, &attr);
	pthread_condattr_destroy(&attr);
}

void pfs_cond_fini(struct pfs_cond *c)
{
	pthread_cond_destroy(&c->c);
}

/* A waiter keeps its note of m: it takes no lock before it has m again. */
void pfs_cond_wait(struct pfs_cond *c, struct pfs_mutex *m)
{
	must_hold(m);
	pthread_cond_wait(&c->c, &m->m);
}

static struct timespec monotonic_in(uint64_t ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ns += (uint64_t)ts.tv_nsec;
	ts.tv_sec += (time_t)(ns / PFS_NSEC_PER_SEC);
	ts.tv_nsec = (long)(ns % PFS_NSEC_PER_SEC);
	return ts;
}

int pfs_cond_wait_until(struct pfs_cond *c, struct pfs_mutex *m,
			uint64_t deadline_ns)
{
	uint64_t now = pfs_now_ns();
	struct timespec until;

	must_hold(m);
	if (now >= deadline_ns)
		return -ETIMEDOUT;
	/* Relative, because pfs_now_ns() may be the fake clock. */
	until = monotonic_in(PFS_MIN(deadline_ns - now, WAIT_MAX_NS));
	if (pthread_cond_timedwait(&c->c, &m->m, &until) != ETIMEDOUT)
		return 0;
	return pfs_now_ns() >= deadline_ns ? -ETIMEDOUT : 0;
}

void pfs_cond_signal(struct pfs_cond *c)
{
	pthread_cond_signal(&c->c);
}

void pfs_cond_broadcast(struct pfs_cond *c)
{
	pthread_cond_broadcast(&c->c);
}

int pfs_thread_start(pthread_t *out, const char *name, void *(*fn)(void *),
		     void *arg)
{
	sigset_t all, before;
	pthread_t thread;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return -err;
	/* A name is a convenience: a thread without one works as well. */
	pthread_setname_np(thread, name);
	*out = thread;
	return 0;
}
