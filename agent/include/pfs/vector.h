/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/vector.h - what a guest says about itself, and how it is sent.
 *
 * A vector is one frame of PFS_VECTOR_LEN bytes, little endian, described in
 * pfs-vector(5).  The guest that sent it is trusted by nobody: whatever
 * decodes is within the ranges given here, and nothing else decodes.
 *
 * Numbers  features are Q16.16: PFS_Q16_ONE is 1.
 *          SHARE  0 to 1
 *          LOG    log2(1 + x) of a count, a rate or a size x; 0 to 40
 *          STEPS  0 to PFS_FEATURE_STEPS_MAX
 * Threads  pure functions; nothing is allocated.
 * Errors   an enum of its own, for one counter each.
 */
#ifndef PFS_VECTOR_H
#define PFS_VECTOR_H

#include <pfs/base.h>

#define PFS_VECTOR_LEN 512u
#define PFS_VECTOR_PORT 7377u
#define PFS_VECTOR_MAJOR 1u
#define PFS_VECTOR_MINOR 0u

#define PFS_VECTOR_NONCE_LEN 16u
#define PFS_VECTOR_DISKS 4u
#define PFS_VECTOR_EXTENTS 16u
#define PFS_VECTOR_SAMPLES_MAX 512u
#define PFS_VECTOR_INTERVAL_MAX_MS 600000u
#define PFS_VECTOR_AGE_MAX_MS 60000u
#define PFS_VECTOR_EXTENT_MAX PFS_MIB(64)
#define PFS_VECTOR_SECTOR 512u

#define PFS_Q16_ONE 65536u
#define PFS_FEATURE_LOG_MAX (40u * PFS_Q16_ONE)
#define PFS_FEATURE_STEPS_MAX 256u /* half of the samples: two periods */

enum pfs_feature {
#define PFS_FEATURE(id, name, range, help) PFS_F_##id,
#include <pfs/features.def>
#undef PFS_FEATURE
	PFS_FEATURES,
};

enum pfs_feature_range {
	PFS_FEATURE_SHARE,
	PFS_FEATURE_LOG,
	PFS_FEATURE_STEPS,
};

struct pfs_feature_info {
	const char *name, *help;
	enum pfs_feature_range range;
};

extern const struct pfs_feature_info pfs_feature_info[PFS_FEATURES];

/* What the guest's kernel let the agent see.  A feature without its signal
 * is 0, which means "not known". */
enum pfs_signal {
	PFS_SIGNAL_FAULTS = 1 << 0,     /* addresses of page faults */
	PFS_SIGNAL_PAGE_CACHE = 1 << 1, /* pages put into the page cache */
	PFS_SIGNAL_BLOCK = 1 << 2,      /* requests to disks */
	PFS_SIGNAL_OPENS = 1 << 3,      /* files opened and executed */
	PFS_SIGNAL_DAMON = 1 << 4,
	PFS_SIGNAL_VMSTAT = 1 << 5,
	PFS_SIGNAL_DISKSTATS = 1 << 6,
	PFS_SIGNAL_PRESSURE = 1 << 7,
};
#define PFS_SIGNALS 8u

enum pfs_vector_flag {
	/* Sent for its extents between two intervals: the features are those
	 * of the frame before. */
	PFS_VECTOR_EARLY = 1 << 0,
	/* More happened than the agent may look at. */
	PFS_VECTOR_LOST = 1 << 1,
};

/* Why an extent will be read. */
enum pfs_extent_kind {
	PFS_EXTENT_OPEN = 1, /* of a file just opened */
	PFS_EXTENT_EXEC,     /* of a program just started */
	PFS_EXTENT_AHEAD,    /* ahead of where a file is being read */
	PFS_EXTENT_REFAULT,  /* the same, in a file that was evicted before */
	PFS_EXTENT_KINDS,
};

struct pfs_vector_extent {
	uint64_t off;    /* bytes on the whole disk, of whole sectors */
	uint32_t len;    /* bytes, whole sectors, not 0 */
	uint16_t age_ms; /* since what made it hot */
	uint8_t kind;    /* enum pfs_extent_kind */
	uint8_t disk;    /* index of disk_bytes */
};

struct pfs_vector {
	uint8_t nonce[PFS_VECTOR_NONCE_LEN]; /* of this run of the agent */
	uint64_t seq;                        /* 1, 2, ... */
	uint64_t time_ns;                    /* guest's CLOCK_BOOTTIME */
	uint32_t interval_ms;                /* that the features are about */
	uint32_t signals;                    /* enum pfs_signal */
	uint32_t flags;                      /* enum pfs_vector_flag */
	uint32_t n_samples;                  /* behind the features */
	uint32_t n_disks, n_extents;
	uint32_t feature[PFS_FEATURES]; /* Q16.16 */
	/* Sizes, so that the host knows which image is which disk. */
	uint64_t disk_bytes[PFS_VECTOR_DISKS];
	struct pfs_vector_extent extent[PFS_VECTOR_EXTENTS];
};

/* The first thing that is wrong with a frame, in the order of checking. */
enum pfs_vector_error {
	PFS_VECTOR_OK,
	PFS_VECTOR_BAD_LENGTH,
	PFS_VECTOR_BAD_MAGIC,
	PFS_VECTOR_BAD_VERSION,
	PFS_VECTOR_BAD_CHECKSUM,
	PFS_VECTOR_BAD_SIGNALS,
	PFS_VECTOR_BAD_NONCE,
	PFS_VECTOR_BAD_SEQUENCE,
	PFS_VECTOR_BAD_TIME,
	PFS_VECTOR_BAD_INTERVAL,
	PFS_VECTOR_BAD_FLAGS,
	PFS_VECTOR_BAD_SAMPLES,
	PFS_VECTOR_BAD_FEATURE,
	PFS_VECTOR_BAD_DISK,
	PFS_VECTOR_BAD_EXTENT_COUNT,
	PFS_VECTOR_BAD_EXTENT_KIND,
	PFS_VECTOR_BAD_EXTENT_DISK,
	PFS_VECTOR_BAD_EXTENT_PLACE,
	PFS_VECTOR_BAD_EXTENT_AGE,
	PFS_VECTOR_BAD_RESERVED,
	PFS_VECTOR_ERRORS,
};

/** In words, like "feature out of range". */
const char *pfs_vector_error_name(enum pfs_vector_error error);
/** The highest value of a feature, Q16.16; 0 is the lowest. */
uint32_t pfs_feature_max(enum pfs_feature feature);
/** "open", "exec", ...; kind is one of enum pfs_extent_kind. */
const char *pfs_extent_kind_name(uint8_t kind);
/** "faults", "page_cache", ...: of signal bit i. */
const char *pfs_signal_name(uint32_t i);

/** What of v would not decode, PFS_VECTOR_OK if all is as it must be. */
enum pfs_vector_error pfs_vector_check(const struct pfs_vector *v);

/** v, which pfs_vector_check() finds right, as a frame. */
void pfs_vector_encode(const struct pfs_vector *v,
		       uint8_t frame[PFS_VECTOR_LEN]);

/** *out is set only if all of the frame is right.  A frame of a later minor
 *  version may have signals, flags, extents of kinds and bytes that are not
 *  known here: they are left out. */
enum pfs_vector_error pfs_vector_decode(const void *frame, size_t len,
					struct pfs_vector *out) PFS_MUST_CHECK;

#endif
