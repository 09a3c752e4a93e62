/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/state.h - what a mount is, in shared memory that outlives its worker.
 *
 * The supervisor makes one memfd and maps nothing of it but the header; each
 * worker maps all of it.  Node ids and file handles that the kernel holds are
 * row numbers (with a serial) of the tables here, never pointers, so the next
 * worker serves them as if nothing had happened.
 *
 * A worker may be SIGKILLed between any two stores.  Rules:
 *  1. A row is filled first and published last: `use` is stored with release.
 *  2. What cannot be published by one store is covered by an intent, written
 *     before and removed after; the next worker settles it (intent.c).
 *  3. Nothing here is trusted beyond its bounds: indices are checked on use.
 *
 * Locking  within a worker the tables are guarded by worker.mount_lock, but
 *          for what is marked atomic.  The supervisor reads rows only while
 *          no worker runs.
 */
#ifndef PFS_FS_STATE_H
#define PFS_FS_STATE_H

#include <stdatomic.h>

#include <pfs/base.h>
#include <pfs/counters.h>
#include <pfs/store.h>

#define STATE_MAGIC 0x3053464553465000ull
#define STATE_VERSION 2 /* layout; a worker with another refuses to start */

#define STATE_MAX_NODES 65536u
#define STATE_MAX_HANDLES 16384u
#define STATE_MAX_LOCKS 16384u
#define STATE_MAX_INTENTS 256u
#define STATE_MAX_IMAGES 16384u
#define STATE_ZONE_BITS 4096u /* zones told apart, of one image: 256 GiB */
#define STATE_INIT_MAX 512u

/* Descriptors the supervisor keeps for the worker are named by slot. */
#define STATE_FD_HANDLE(row) (row)
#define STATE_FD_LOCK(row) (STATE_MAX_HANDLES + (row))
#define STATE_FD_SLOTS (STATE_MAX_HANDLES + STATE_MAX_LOCKS)

enum state_use {
	STATE_FREE,
	STATE_FILLING, /* a worker died here: the row is void */
	STATE_USED,
};

/* Node 0 is the root and always used; FUSE node id = row + 1. */
struct state_node {
	_Atomic uint32_t use;
	uint32_t serial; /* FUSE generation: raised when the row is reused */
	uint32_t parent; /* row */
	uint32_t is_dir;
	uint32_t is_gone; /* unlinked or replaced: only open handles reach it */
	_Atomic uint32_t name_now; /* which of the two names is valid */
	_Atomic uint64_t n_lookups;
	uint64_t dev, ino; /* of the source */
	char name[2][256];
};

struct state_handle {
	_Atomic uint32_t use;
	uint32_t serial; /* fh = serial << 32 | row */
	uint32_t node;   /* row */
	uint32_t flags;  /* O_ACCMODE and O_DIRECT as the client gave them */
	uint64_t unique; /* of the OPEN or CREATE, to know a resent one */
	/* Who reads, fixed at open (DESIGN.md section 4). */
	int32_t tgid; /* 0: unknown */
	uint32_t pad;
	uint64_t start_time; /* of that thread group, clock ticks */
	uint64_t cgroup;     /* inode of its cgroup; 0: unknown */
};

/* One lock description per (node, owner); the slot's descriptor carries it. */
struct state_lock {
	_Atomic uint32_t use;
	uint32_t node;   /* row */
	uint32_t handle; /* row through which it was first taken */
	uint32_t pad;
	uint64_t owner; /* FUSE lock owner */
};

struct state_intent {
	_Atomic uint32_t use;
	uint32_t opcode;             /* FUSE_CREATE, FUSE_MKDIR, ... */
	uint64_t unique;             /* without the resend bit */
	uint32_t parent, new_parent; /* rows */
	uint64_t dev, ino;           /* of the name before the call; 0: none */
	uint64_t new_dev, new_ino;   /* rename: of the target before the call */
	uint32_t node, handle; /* rows given out by the call; UINT32_MAX none */
	/* When a worker first found it left by a dead one (CLOCK_MONOTONIC); 0:
	 * of a living one. */
	_Atomic uint64_t left_ns;
	char name[256], new_name[256];
};

/* Zones whose bytes were changed since their catalog row was saved.  The
 * zones from STATE_ZONE_BITS on share one mark, which is never cleared: to
 * share bits would let the saved row of one zone hide the other's change. */
struct state_image {
	_Atomic uint64_t id; /* catalog id; 0: row free */
	/* While the image is in use: which file it is, so that the next worker
	 * goes on with it although our own writes have moved its times. */
	_Atomic uint64_t is_open;
	_Atomic uint64_t epoch, dev, ino;
	_Atomic uint64_t has_high;
	_Atomic uint64_t zones[STATE_ZONE_BITS / 64];
};

struct state {
	uint64_t magic;
	uint32_t version, size_kib;
	/* --- supervisor writes, workers read --- */
	uint64_t mount_id_ns; /* wall time of the mount */
	uint32_t n_starts;    /* workers started so far */
	uint32_t n_deaths;    /* of those, died unasked */
	/* --- the INIT exchange, written once by the first worker --- */
	_Atomic uint32_t init_len, init_reply_len; /* 0: not yet */
	uint8_t init[STATE_INIT_MAX];
	uint8_t init_reply[STATE_INIT_MAX];
	/* --- worker writes --- */
	struct pfs_store_gens gens;
	_Atomic uint64_t counters[PFS_C_N + 64]; /* carried over to the next */
	struct state_node node[STATE_MAX_NODES];
	struct state_handle handle[STATE_MAX_HANDLES];
	struct state_lock lock[STATE_MAX_LOCKS];
	struct state_intent intent[STATE_MAX_INTENTS];
	struct state_image image[STATE_MAX_IMAGES];
};

/** Make the memfd (sealed against resizing) and fill in the header and the
 *  root node.  Sparse: rows cost memory once touched. */
int state_create(int *out_fd) PFS_MUST_CHECK;
/** Map a memfd made by state_create(); -EPROTO when the layout differs. */
int state_map(int fd, struct state **out) PFS_MUST_CHECK;
void state_unmap(struct state *s);
/** The same for what lies before the tables (the supervisor's view). */
int state_map_header(int fd, struct state **out) PFS_MUST_CHECK;
void state_unmap_header(struct state *s);

/* The next five are lock-free and safe from any thread, but a zone must not be
 * cleared while it is marked by another (generations tell; see image.c). */

/** Remember that zones of an image are about to change (before the source is
 *  touched).  Never fails: false when there is no row for the image, and the
 *  caller keeps that image out of the store. */
bool state_zone_mark(struct state *s, uint64_t image, uint32_t first_zone,
		     uint32_t last_zone);
/** The rows of these zones are saved: forget their marks. */
void state_zone_clear(struct state *s, uint64_t image, uint32_t zone);
bool state_zone_is_marked(struct state *s, uint64_t image, uint32_t zone);
/** An image is in use: remember id and epoch by its file.  False: no room. */
bool state_image_opened(struct state *s, uint64_t image, uint64_t epoch,
			uint64_t dev, uint64_t ino);
void state_image_closed(struct state *s, uint64_t image);
/** The same by file, when the id is not known. */
void state_file_closed(struct state *s, uint64_t dev, uint64_t ino);
/** Closed are all for which keep(arg, dev, ino) is false. */
void state_images_keep_open(struct state *s,
			    bool (*keep)(void *arg, uint64_t dev, uint64_t ino),
			    void *arg);
/** Is the image in use, as this file, by us or an earlier worker?  Its epoch.
 */
bool state_image_is_open(struct state *s, uint64_t image, uint64_t dev,
			 uint64_t ino, uint64_t *epoch);
/** Forget an image's row. */
void state_image_forget(struct state *s, uint64_t image);

#endif
