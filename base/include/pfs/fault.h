/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/fault.h - named places where a test may make things go wrong.
 *
 * LD_PRELOAD tools do not see io_uring, so faults live in our own I/O layer.
 * Nothing can be armed unless the process called pfs_fault_enable(), which
 * main() does when PFS_FAULTS is in the environment; an unarmed point costs
 * one relaxed load.
 *
 * A rule reads POINT:ACTION[=ARG][@NTH][xCOUNT], several joined by commas:
 *   eio, enospc, enomem, etimedout...   the call fails (any errno name)
 *   short=BYTES     a read ends there as at end of file; a write puts BYTES
 *                   down and then fails with ENOSPC
 *   torn=BYTES      a write keeps only the first BYTES but claims success
 *   lost            a write or sync does nothing but claims success
 *   late=MS         a write is done MS later but claims success at once
 *   stall=MS        the call is done MS later
 *   flip            one bit of the data read is inverted
 *   kill            the process sends itself SIGKILL
 *   pause           the thread waits for pfs_fault_resume()
 * @NTH: from the nth pass after arming on, 1 based, default 1.  xCOUNT: for so
 * many passes, default no end.  Of several rules due at one pass the oldest
 * decides.  An action that makes no sense at a call is passed over.
 *
 * Threads  every call is safe from any thread.
 */
#ifndef PFS_FAULT_H
#define PFS_FAULT_H

#include <stdatomic.h>
#include <stdio.h>

#include <pfs/base.h>

enum pfs_fault_point {
#define PFS_FAULT_POINT(id, name, help) PFS_FP_##id,
#include <pfs/fault.def>
#undef PFS_FAULT_POINT
	PFS_FP_N,
};

enum pfs_fault_kind {
	PFS_FAULT_NONE,
	PFS_FAULT_ERRNO, /* arg: positive errno */
	PFS_FAULT_SHORT, /* arg: bytes */
	PFS_FAULT_TORN,  /* arg: bytes */
	PFS_FAULT_LOST,
	PFS_FAULT_LATE,  /* arg: milliseconds */
	PFS_FAULT_STALL, /* arg: milliseconds */
	PFS_FAULT_FLIP,
	PFS_FAULT_KILL,
	PFS_FAULT_PAUSE,
};

struct pfs_fault {
	enum pfs_fault_kind kind;
	uint64_t arg;
};

extern _Atomic uint64_t pfs_fault_armed_; /* bit per point */

struct pfs_fault pfs_fault_take_slow(enum pfs_fault_point p);

/** What shall go wrong at this pass of point p.  kill and pause are carried
 *  out inside; the caller interprets the rest. */
static inline struct pfs_fault pfs_fault_take(enum pfs_fault_point p)
{
	uint64_t armed =
		atomic_load_explicit(&pfs_fault_armed_, memory_order_relaxed);

	if (__builtin_expect(!(armed >> p & 1), 1))
		return (struct pfs_fault){PFS_FAULT_NONE, 0};
	return pfs_fault_take_slow(p);
}

/** For places that can only fail or wait: 0 or -errno; stall, kill and pause
 *  are carried out inside. */
int pfs_fault_check(enum pfs_fault_point p);

void pfs_fault_enable(void);
bool pfs_fault_enabled(void);
/** Add rules, all or none.  -EINVAL: *bad (if given) is set to the offending
 *  place inside spec.  -EPERM: not enabled.  -ENOSPC: over 64 rules. */
int pfs_fault_arm(const char *spec, const char **bad) PFS_MUST_CHECK;
/** Forget all rules, zero the counts, and let paused threads go on. */
void pfs_fault_clear(void);
/** Let threads paused at p (PFS_FP_N: anywhere) go on and drop the pause. */
void pfs_fault_resume(enum pfs_fault_point p);
/** Point by name; PFS_FP_N if there is none of that name (of len bytes). */
enum pfs_fault_point pfs_fault_find(const char *name, size_t len);
const char *pfs_fault_name(enum pfs_fault_point p);
/** How many threads wait at p now, and how often a rule fired there. */
void pfs_fault_stat(enum pfs_fault_point p, uint32_t *n_paused,
		    uint64_t *n_fired);

#endif
