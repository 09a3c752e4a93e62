/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/base.h - the few macros every file of pfs leans on.
 *
 * Errors   functions that can fail return int, 0 or -errno, unless their
 *          comment says otherwise, and are PFS_MUST_CHECK.
 */
#ifndef PFS_BASE_H
#define PFS_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define PFS_MUST_CHECK __attribute__((warn_unused_result))
#define PFS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define PFS_AUTO(fn) __attribute__((cleanup(fn)))
#define PFS_AUTO_FD PFS_AUTO(pfs_fd_done) int /* closes, keeps errno */
#define PFS_AUTO_FREE PFS_AUTO(pfs_free_done)

#define PFS_KIB(n) ((uint64_t)(n) << 10)
#define PFS_MIB(n) ((uint64_t)(n) << 20)
#define PFS_GIB(n) ((uint64_t)(n) << 30)

#define PFS_NSEC_PER_MSEC 1000000ull
#define PFS_NSEC_PER_SEC 1000000000ull

#define PFS_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PFS_CONTAINER_OF(ptr, type, member)                                    \
	((type *)((char *)(ptr)-offsetof(type, member)))

#define PFS_MIN(a, b)                                                          \
	({                                                                     \
		__typeof__(a) a_ = (a);                                        \
		__typeof__(b) b_ = (b);                                        \
		a_ < b_ ? a_ : b_;                                             \
	})
#define PFS_MAX(a, b)                                                          \
	({                                                                     \
		__typeof__(a) a_ = (a);                                        \
		__typeof__(b) b_ = (b);                                        \
		a_ > b_ ? a_ : b_;                                             \
	})

/* Hand *slot to the caller and leave NULL behind, so cleanup does nothing. */
#define pfs_take(slot)                                                         \
	({                                                                     \
		__typeof__(*(slot)) taken_ = *(slot);                          \
		*(slot) = NULL;                                                \
		taken_;                                                        \
	})

/* The same for a descriptor, leaving -1. */
#define pfs_take_fd(slot)                                                      \
	({                                                                     \
		int taken_ = *(slot);                                          \
		*(slot) = -1;                                                  \
		taken_;                                                        \
	})

static inline void pfs_fd_done(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void pfs_free_done(void *slot)
{
	free(*(void **)slot);
}

/* Sizes that come from outside are added and multiplied here: -EOVERFLOW
 * instead of a wrapped result. */
static inline int PFS_MUST_CHECK pfs_add_u64(uint64_t a, uint64_t b,
					     uint64_t *out)
{
	return __builtin_add_overflow(a, b, out) ? -EOVERFLOW : 0;
}

static inline int PFS_MUST_CHECK pfs_mul_u64(uint64_t a, uint64_t b,
					     uint64_t *out)
{
	return __builtin_mul_overflow(a, b, out) ? -EOVERFLOW : 0;
}

/* n is a power of two. */
static inline uint64_t pfs_align_down(uint64_t v, uint64_t n)
{
	return v & ~(n - 1);
}

static inline uint64_t pfs_align_up(uint64_t v, uint64_t n)
{
	return (v + n - 1) & ~(n - 1);
}

static inline bool pfs_is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

#endif
