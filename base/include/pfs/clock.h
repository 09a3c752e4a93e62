/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/clock.h - time, so that tests can stand in for it.
 *
 * Units    nanoseconds.  CLOCK_MONOTONIC for durations, CLOCK_REALTIME for
 *          what is kept on disk.
 * Threads  reads are safe from any thread; pfs_clock_fake() is for
 *          single-threaded set-up.
 */
#ifndef PFS_CLOCK_H
#define PFS_CLOCK_H

#include <pfs/base.h>

uint64_t pfs_now_ns(void);  /* CLOCK_MONOTONIC, or the fake clock */
uint64_t pfs_wall_ns(void); /* CLOCK_REALTIME, or the fake clock */

/** From now on both clocks return *fake_ns (borrowed); NULL: the real ones. */
void pfs_clock_fake(const _Atomic uint64_t *fake_ns);

/** Sleep through signals; in real time, also under the fake clock. */
void pfs_sleep_ms(uint64_t ms);

#endif
