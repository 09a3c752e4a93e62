/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * hot.h - what will be read from the disks next, as far as files tell.
 *
 * A file that is opened or executed will be read from its start; one whose
 * pages come into the page cache one after the other, on from there; one whose
 * pages come in again, having been evicted, about there.  Of such a range what
 * is not in the page cache (mincore) is looked up on the disk (FIEMAP) and
 * becomes extents, less what was read there within the last second: the host
 * has seen that itself.
 *
 * Tables are small and of fixed size; the file used longest ago makes room.
 */
#ifndef AGENT_HOT_H
#define AGENT_HOT_H

#include "opens.h"
#include "perf.h"

#define HOT_FILES 64u
#define HOT_READS 256u
#define HOT_CHUNKS 2048u /* of 64 pages: the latest 512 MiB */
#define HOT_KNOWN 1024u

struct hot_file {
	uint64_t used_ns; /* 0: no file */
	uint32_t dev;
	uint64_t ino;               /* 0: not known yet */
	struct opens_handle handle; /* len 0: by ino */
	uint8_t kind;               /* enum pfs_extent_kind of what is due */
	bool is_due;                /* to be looked up */
	uint32_t n_serial;          /* pages read one after the other */
	uint64_t at;                /* bytes: where it is being read */
	uint64_t told; /* bytes: all before it, and behind at, was told */
	uint64_t hot_ns, looked_ns;
};

struct hot_read {
	uint64_t off, end, time_ns;
	uint32_t dev;
};

/* A file that need not be looked up when it is opened. */
struct hot_known {
	uint64_t key, until_ns;
};

/* Pages of 64 that were put into the page cache at some time. */
struct hot_chunk {
	uint64_t key, pages;
};

struct hot_extent {
	struct pfs_vector_extent e;
	uint64_t hot_ns;
};

struct hot {
	const struct disks *disks;   /* borrowed */
	const struct mounts *mounts; /* borrowed */
	struct hot_file file[HOT_FILES];
	struct hot_read read[HOT_READS];
	uint32_t next_read;
	struct hot_chunk chunk[HOT_CHUNKS];
	struct hot_known known[HOT_KNOWN];
	struct hot_extent found[PFS_VECTOR_EXTENTS];
	uint32_t n_found;
	uint64_t n_dropped; /* found and no room left */
};

void hot_init(struct hot *h, const struct disks *d, const struct mounts *m);
void hot_opened(struct hot *h, const struct mount *m,
		const struct opens_handle *handle, bool is_exec,
		uint64_t now_ns);
/** INSERT and BLOCK records. */
void hot_record(struct hot *h, const struct perf_record *r);
/** Look up at most max of the files that are due.  Returns how many. */
uint32_t hot_look(struct hot *h, uint32_t max, uint64_t now_ns);
/** Move what was found into a vector. */
void hot_take(struct hot *h, uint64_t now_ns, struct pfs_vector *v);

#endif
