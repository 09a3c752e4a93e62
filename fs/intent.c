/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "intent.h"

#include <string.h>

#include <linux/fuse.h>

#include <pfs/clock.h>
#include <pfs/io.h>

struct intent_log {
	struct state *s;        /* borrowed */
	struct pfs_mutex *lock; /* borrowed */

	/* --- under lock --- */
	uint64_t old_until_ns[STATE_MAX_INTENTS]; /* 0: of this worker */
};

static uint32_t use_of(const struct state_intent *i)
{
	return atomic_load_explicit(&i->use, memory_order_relaxed);
}

static void set_use(struct state_intent *i, uint32_t use)
{
	atomic_store_explicit(&i->use, use, memory_order_release);
}

/* A time to come is none that we wrote. */
static uint64_t old_until(struct state_intent *i, uint64_t now)
{
	uint64_t left = atomic_load_explicit(&i->left_ns, memory_order_relaxed);

	if (!left || left > now) {
		left = now;
		atomic_store_explicit(&i->left_ns, left, memory_order_relaxed);
	}
	return PFS_MAX(left + INTENT_MAX_AGE_NS, now + INTENT_GRACE_NS);
}

int intent_log_create(struct state *s, struct pfs_mutex *lock,
		      struct intent_log **out)
{
	struct intent_log *log = pfs_zalloc(1, sizeof(*log));

	if (!log)
		return -ENOMEM;
	log->s = s;
	log->lock = lock;
	for (size_t n = 0; n < STATE_MAX_INTENTS; n++) {
		if (use_of(&s->intent[n]) == STATE_USED)
			log->old_until_ns[n] =
				old_until(&s->intent[n], pfs_now_ns());
		else
			set_use(&s->intent[n], STATE_FREE);
	}
	*out = log;
	return 0;
}

void intent_log_destroy(struct intent_log *log)
{
	free(log);
}

/* --- one row --- */

static void fill(struct state_intent *to, const struct state_intent *from)
{
	set_use(to, STATE_FILLING);
	atomic_store_explicit(&to->left_ns, 0, memory_order_relaxed);
	to->opcode = from->opcode;
	to->unique = from->unique;
	to->parent = from->parent;
	to->new_parent = from->new_parent;
	to->dev = from->dev;
	to->ino = from->ino;
	to->new_dev = from->new_dev;
	to->new_ino = from->new_ino;
	to->node = from->node;
	to->handle = from->handle;
	memcpy(to->name, from->name, sizeof(to->name));
	memcpy(to->new_name, from->new_name, sizeof(to->new_name));
	set_use(to, STATE_USED);
}

static bool is_free_locked(struct intent_log *log, size_t n)
{
	uint64_t until = log->old_until_ns[n];

	return use_of(&log->s->intent[n]) == STATE_FREE ||
	       (until && until < pfs_now_ns());
}

int intent_begin(struct intent_log *log, const struct state_intent *what,
		 struct state_intent **out)
{
	int err = -ENOSPC;

	pfs_mutex_lock(log->lock);
	for (size_t n = 0; err && n < STATE_MAX_INTENTS; n++) {
		if (!is_free_locked(log, n))
			continue;
		log->old_until_ns[n] = 0;
		fill(&log->s->intent[n], what);
		*out = &log->s->intent[n];
		err = 0;
	}
	pfs_mutex_unlock(log->lock);
	return err;
}

struct state_intent *intent_find(struct intent_log *log, uint64_t unique,
				 uint32_t opcode)
{
	struct state_intent *found = NULL;

	pfs_mutex_lock(log->lock);
	for (size_t n = 0; !found && n < STATE_MAX_INTENTS; n++) {
		struct state_intent *i = &log->s->intent[n];

		if (use_of(i) != STATE_USED || i->unique != unique ||
		    i->opcode != opcode)
			continue;
		log->old_until_ns[n] = 0; /* this worker's now */
		atomic_store_explicit(&i->left_ns, 0, memory_order_relaxed);
		found = i;
	}
	pfs_mutex_unlock(log->lock);
	return found;
}

void intent_end(struct intent_log *log, struct state_intent *i)
{
	pfs_mutex_lock(log->lock);
	set_use(i, STATE_FREE);
	pfs_mutex_unlock(log->lock);
}

void intent_each_old(struct intent_log *log,
		     void (*fn)(void *arg, struct state_intent *i), void *arg)
{
	for (size_t n = 0; n < STATE_MAX_INTENTS; n++)
		if (log->old_until_ns[n])
			fn(arg, &log->s->intent[n]);
}

/* --- done or not --- */

static bool is_file(struct intent_file f, uint64_t dev, uint64_t ino)
{
	return f.ino && f.ino == ino && f.dev == dev;
}

bool intent_is_done(const struct state_intent *i, struct intent_file now,
		    struct intent_file new_now)
{
	switch (i->opcode) {
	case FUSE_CREATE:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
		/* While the request is open the kernel lets no other call of
		 * this mount touch the name, so the file is the dead
		 * worker's. */
		return !i->ino && now.ino;
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		return i->ino && !is_file(now, i->dev, i->ino);
	case FUSE_RENAME:
		return is_file(new_now, i->dev, i->ino) &&
		       !is_file(now, i->dev, i->ino);
	default:
		return false;
	}
}
