/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/log.h - leveled messages through one sink.
 *
 * Levels   error: someone must act.  warning: degraded but serving.
 *          info: life cycle, a few lines per mount.  debug: per request.
 * Threads  every call is safe from any thread.
 */
#ifndef PFS_LOG_H
#define PFS_LOG_H

#include <stdatomic.h>

#include <pfs/base.h>

enum pfs_log_level {
	PFS_LOG_ERROR,
	PFS_LOG_WARNING,
	PFS_LOG_INFO,
	PFS_LOG_DEBUG,
};

/** Receives one finished line without newline.  Called under the log lock:
 *  it must not log. */
typedef void (*pfs_log_sink)(enum pfs_log_level level, const char *line,
			     void *arg);

/** Install the sink; NULL restores the default, which writes to stderr. */
void pfs_log_set_sink(pfs_log_sink sink, void *arg);

extern _Atomic int pfs_log_level_; /* use the two calls below */
static inline void pfs_log_set_level(enum pfs_log_level level)
{
	atomic_store_explicit(&pfs_log_level_, (int)level,
			      memory_order_relaxed);
}

static inline bool pfs_log_on(enum pfs_log_level level)
{
	return (int)level <=
	       atomic_load_explicit(&pfs_log_level_, memory_order_relaxed);
}

/** Use the macros below.  A line is "AREA: text", cut at 1 KiB, with control
 *  bytes shown as "?"; n_held, if any, is appended.  Keeps errno. */
void pfs_log_write(enum pfs_log_level level, const char *area, uint32_t n_held,
		   const char *fmt, ...) PFS_PRINTF(4, 5);

/** Log at a level: AREA is the folder or module.  Arguments are not evaluated
 *  when the level is off.  pfs_log(PFS_LOG_INFO, "store", "opened %s", p) */
#define pfs_log(level, area, ...)                                              \
	do {                                                                   \
		if (pfs_log_on(level))                                         \
			pfs_log_write(level, area, 0, __VA_ARGS__);            \
	} while (0)

/** State of one rate-limited call site; zero-initialised. */
struct pfs_log_rate {
	_Atomic uint64_t window_start_ns;
	_Atomic uint32_t n_in_window;
	_Atomic uint32_t n_suppressed;
};

/** True when this site may log now: at most 5 lines in 10 s.  The number of
 *  lines held back since is stored in *n_suppressed. */
bool pfs_log_rate_ok(struct pfs_log_rate *rate, uint32_t *n_suppressed);

/** Like pfs_log(), for the data path: rate limited per call site. */
#define pfs_log_limited(level, area, ...)                                      \
	do {                                                                   \
		static struct pfs_log_rate rate_;                              \
		uint32_t held_ = 0;                                            \
		if (pfs_log_on(level) && pfs_log_rate_ok(&rate_, &held_))      \
			pfs_log_write(level, area, held_, __VA_ARGS__);        \
	} while (0)

/** Log an error with strerror(-err) appended and return err (negative). */
int pfs_log_fail(int err, const char *area, const char *fmt, ...)
	PFS_PRINTF(3, 4);

#endif
