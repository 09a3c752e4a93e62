/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * damon.h - how much memory is in use, as DAMON sees it.
 *
 * DAMON's sysfs has one owner: if somebody has set it up it is left alone.
 * Otherwise physical memory is watched in at most 50 regions, five times a
 * second, and what was accessed within 2 s counts as in use.
 *
 * Threads  a thread of its own asks, as asking waits for the end of such a
 *          span; damon_active_pages() is what it last heard.
 */
#ifndef AGENT_DAMON_H
#define AGENT_DAMON_H

#include <pthread.h>
#include <stdatomic.h>

#include <pfs/mutex.h>

#include "probe.h"

struct damon {
	bool is_on;
	pthread_t thread;
	_Atomic uint64_t active_pages;
	_Atomic int err; /* why it ended by itself */
	struct pfs_mutex lock;
	struct pfs_cond wake; /* is_stopping: false -> true */
	/* --- under lock --- */
	bool is_stopping;
};

/** p says what is missing, if it is. */
void damon_start(struct damon *d, struct probe *p);
/** Gives DAMON back. */
void damon_stop(struct damon *d);
uint64_t damon_active_pages(struct damon *d, struct probe *p);

#endif
