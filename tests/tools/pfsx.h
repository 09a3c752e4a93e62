/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfsx.h - what the parts of the verifier share.
 *
 * Every 512-byte sector of every image has a version counter of its own, kept
 * in a state file that no kill can reach.  A mutation takes the next version
 * before it calls the file system and acknowledges it afterwards, so at any
 * moment the state tells which versions a read may return:
 *
 *   lowest   what was acknowledged, or seen by a finished read, when the read
 *            started
 *   highest  what had been started when the read ended
 *
 * Mutations of one sector exclude each other by range locks inside pfsx, so
 * version order is the order of application.  Reads take no lock: they overlap
 * mutations on purpose.
 *
 * Units    offsets and lengths are bytes unless named *_sec; times nanoseconds.
 * Errors   0 or -errno; what the file system did wrong is counted in struct
 *          pfsx and printed where it was noticed.
 */
#ifndef PFSX_H
#define PFSX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define SECTOR 512u
#define MAX_IO (1u << 20)
#define MAX_THREADS 128
#define MAX_IMAGES 256
#define SIZE_RING 256u /* sizes of an image that are remembered */
#define ZERO_RING 64u  /* versions whose zeroness is remembered */

/* An image is never this long: its size is a multiple of SECTOR, or that plus
 * an odd number, and 66536 is neither.  So a spare is told from an image. */
#define SPARE_SIZE 66536

/* ---- content: pfsx_content.c ---- */

struct stamp {
	uint64_t seed;
	uint32_t image;
	uint32_t version;
	uint64_t sector;
};

/* Image ids that no image has, for the files around the images. */
#define ID_SPARE 0xff0000u
#define ID_NS 0xfe0000u
#define ID_INTERLEAVE 0xfd0000u

void content_stamp(void *sector, const struct stamp *st);
bool content_is_zero(const void *p, size_t len);
/* Whether the sector is whole and carries a stamp, which is stored in *st. */
bool content_decode(const void *sector, struct stamp *st);
/* Say in words what was found where `want`, or a later version, belonged. */
void content_describe(const void *found, size_t len, const struct stamp *want,
		      char *out, size_t n);

/* ---- state: pfsx_state.c ---- */

struct sector_state {
	_Atomic uint32_t next;      /* last version handed out */
	_Atomic uint32_t acked;     /* last version acknowledged */
	_Atomic uint32_t seen;      /* highest version a finished read saw */
	_Atomic uint32_t synced;    /* a version known to be durable */
	_Atomic uint32_t ack_epoch; /* sync_begun when `acked` was set */
	_Atomic uint32_t dead;      /* a power cut took (acked, dead] away */
	_Atomic uint64_t zeros;     /* bit v % 64: version v is zeros */
};

struct size_state {
	_Atomic uint64_t size;
	_Atomic uint32_t ack_epoch;
};

struct image_state {
	_Atomic uint32_t sync_begun; /* number of fsync calls begun */
	_Atomic uint32_t sync_done;  /* highest of them that succeeded */
	_Atomic uint32_t size_next;
	_Atomic uint32_t size_acked;
	_Atomic uint32_t name; /* 0: img<N>.a, 1: img<N>.b */
	uint32_t pad;
	struct size_state sizes[SIZE_RING];
};

struct state_header {
	char magic[8];
	uint32_t format;
	uint32_t images;
	uint64_t image_size;
	uint64_t seed; /* of the content */
	uint32_t runs;
	uint32_t ready; /* the images exist */
};

struct state {
	struct state_header *hdr; /* the mapping, owned */
	struct image_state *images;
	struct sector_state *sectors;
	size_t map_len;
	uint64_t sectors_per_image;
};

struct bounds {
	uint32_t lo, hi;
};

int state_open(const char *path, uint32_t images, uint64_t image_size,
	       uint64_t seed, bool must_exist, struct state *st);
void state_close(struct state *st);

static inline struct sector_state *state_sector(const struct state *st,
						uint32_t image, uint64_t sec)
{
	return &st->sectors[image * st->sectors_per_image + sec];
}

/* Take the next version of a sector.  The caller holds its range lock. */
uint32_t sector_begin(const struct state *st, uint32_t image, uint64_t sec,
		      bool zero);
void sector_ack(const struct state *st, uint32_t image, uint64_t sec);
uint32_t sector_lowest(const struct sector_state *s);
uint32_t sector_durable(const struct state *st, uint32_t image, uint64_t sec);
/* Whether a stamped version, or zeros, may be read within the bounds.  For
 * zeros *version is the lowest version that explains them. */
bool sector_permits(const struct sector_state *s, struct bounds b, uint32_t v);
bool sector_permits_zero(const struct sector_state *s, struct bounds b,
			 uint32_t *version);
void sector_saw(struct sector_state *s, uint32_t version);
/* After a power cut: this version is the history from now on. */
void sector_settle(struct sector_state *s, uint32_t version);

uint64_t size_now(const struct state *st, uint32_t image);
void size_begin(const struct state *st, uint32_t image, uint64_t size);
void size_ack(const struct state *st, uint32_t image);
/* Smallest and largest size since size version `from`. */
void size_range(const struct state *st, uint32_t image, uint32_t from,
		uint64_t *min, uint64_t *max);
uint32_t size_durable(const struct state *st, uint32_t image);

uint32_t sync_begin(const struct state *st, uint32_t image);
void sync_ack(const struct state *st, uint32_t image, uint32_t number);

/* ---- range locks: pfsx_range.c ---- */

#define RANGE_END UINT64_MAX

struct range_lock {
	pthread_mutex_t mutex;
	pthread_cond_t freed; /* some range was unlocked */
	/* --- under mutex --- */
	unsigned n;
	struct {
		uint64_t from, to;
	} held[MAX_THREADS];
};

void range_init(struct range_lock *r);
void range_lock(struct range_lock *r, uint64_t from, uint64_t to);
void range_unlock(struct range_lock *r, uint64_t from);

/* ---- operations: pfsx_gen.c ---- */

enum op_kind {
	OP_READ,
	OP_WRITE,
	OP_TRUNC,
	OP_PUNCH,
	OP_RENAME,
	OP_FSYNC,
	OP_FALLOCATE,
	OP_COPY,
	OP_NS,
	OP_KINDS
};

extern const char *const op_names[OP_KINDS];

struct op {
	enum op_kind kind;
	bool direct;
	uint32_t image;
	uint32_t arg; /* random bits for what the kind leaves open */
	uint64_t off, len;
};

struct rng {
	uint64_t s;
};

uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);

struct mix {
	unsigned weight[OP_KINDS];
	unsigned total;
};

int mix_parse(const char *text, struct mix *mix);

struct gen {
	struct rng rng;
	uint64_t stream_off; /* a sequential reader goes on here */
	uint32_t stream_image;
};

struct options;
void gen_init(struct gen *g, const struct options *o, unsigned thread,
	      uint32_t run);
/* The next operation.  It depends on seed, run and thread alone. */
void gen_next(struct gen *g, const struct options *o, struct op *op);

/* ---- the run: pfsx.c, pfsx_options.c, pfsx_report.c ---- */

enum plant {
	PLANT_NONE,
	PLANT_STALE_READ, /* a read returns the version before */
	PLANT_LOST_WRITE, /* a write is acknowledged and not done */
	PLANT_TORN,       /* half of a sector is not written */
	PLANT_REVERT,     /* a write shows, goes away and comes back */
	PLANT_MISPLACED,  /* a write lands one sector further */
	PLANT_TWICE,      /* a namespace call is done twice */
	PLANT_STALE_SIZE, /* a truncate is acknowledged and not done */
	PLANT_KINDS
};

extern const char *const plant_names[PLANT_KINDS];

struct options {
	const char *dir;
	const char *state_path;
	const char *kill_cmd;
	const char *fault_cmd;
	const char *drop_cmd;
	const char *ahead_cmd;
	const char *points;
	struct mix mix;
	enum plant plant;
	uint32_t images;
	unsigned threads;
	uint64_t size;
	uint64_t ops; /* in total; 0: no limit */
	uint64_t seed;
	uint64_t block;
	unsigned seconds; /* 0: no limit */
	unsigned odirect; /* per cent */
	unsigned kills, kill_min_ms, kill_max_ms;
	unsigned max_stall_ms; /* 0: report only */
	unsigned hang_s;       /* a call longer than this ends the run */
	unsigned ride_out_s;   /* wait this long for a lost mount */
	unsigned rounds;       /* seeds per point and mutation */
	bool verify_only, power_cut, until_error, no_fill;
	bool keep_going, json, dump_ops, namespace_only, interleave;
};

struct pfsx {
	struct options o;
	struct state st;
	uint32_t run;
	bool can_direct, can_punch, can_zero, can_allocate, can_copy;
	struct range_lock ranges[MAX_IMAGES];
	pthread_rwlock_t names[MAX_IMAGES]; /* guards the name of an image */
	pthread_mutex_t report;
	atomic_bool stop;
	atomic_bool cut; /* --until-error: the expected error came */
	atomic_uint running;
	_Atomic uint64_t diffs, errors, bad_bytes, outages;
	_Atomic uint32_t kills_done, kills_failed;
	_Atomic uint64_t worst_ns, worst_outage_ns;
	/* --- interleave --- */
	_Atomic uint32_t il_done, il_unreached, il_blocked;
	_Atomic uint64_t il_stale_bytes;
	/* --- under report --- */
	char worst[128];
	unsigned printed;
};

struct worker {
	struct pfsx *px; /* borrowed */
	unsigned id;
	pthread_t thread;
	int dir;
	int fd[MAX_IMAGES], direct_fd[MAX_IMAGES];
	int scratch;
	struct gen gen;
	struct rng plant_rng;
	unsigned char *buf, *tmp; /* MAX_IO each, page aligned; owned */
	uint32_t lo[MAX_IO / SECTOR];
	struct op op; /* being executed, for reports */
	uint64_t op_no;
	uint64_t done[OP_KINDS];
	uint64_t bytes_read, bytes_written;
	/* What the judgements were about: a run in which nearly all is zeros,
	 * or nothing overlaps, has tested little. */
	uint64_t sec_data, sec_zero, sec_mixed, sec_overlapping;
	struct ns *ns; /* owned */
	/* --- written by the worker, read by the watch --- */
	_Atomic uint64_t busy_since; /* 0: not in a call */
	const char *_Atomic busy_with;
};

int worker_init(struct worker *w, struct pfsx *px, unsigned id);
void worker_fini(struct worker *w);

void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void options_parse(int argc, char **argv, struct options *o);
/* Nothing wrong, and nothing left untested. */
bool run_passed(const struct pfsx *px);
void run_report(const struct pfsx *px, const struct worker *w, unsigned n,
		double seconds);
void ops_dump(const struct options *o);

/* ---- calls into the file system: pfsx_io.c ---- */

uint64_t now_ns(void);
void sleep_ms(unsigned ms);

/* Each of these is timed and watched, and is where faults are planted. */
ssize_t io_pread(struct worker *w, int fd, void *buf, size_t len, off_t off);
int io_pwrite(struct worker *w, int fd, const void *buf, size_t len, off_t off);
int io_truncate(struct worker *w, int fd, off_t size);
int io_fallocate(struct worker *w, int fd, int mode, off_t off, off_t len);
int io_copy(struct worker *w, int from, off_t from_off, int to, off_t to_off,
	    size_t len);
int io_fsync(struct worker *w, int fd, bool data_only);
int io_open(struct worker *w, const char *name, int flags);
int io_rename(struct worker *w, const char *from, const char *to);
int io_unlink(struct worker *w, const char *name, int flags);
int io_mkdir(struct worker *w, const char *name);
int io_stat(struct worker *w, const char *name, uint64_t *size, bool *is_dir);
int io_fstat(struct worker *w, int fd, uint64_t *size);
void io_close(int *fd);

/* Account for a failed call.  Returns true when the caller may go on as if
 * the call had neither surely happened nor surely not (a lost mount that came
 * back), false when the run is over or the worker should just continue. */
bool io_failed(struct worker *w, int err, const char *what);
void report_error(struct worker *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void report_diff(struct worker *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- images and judgement: pfsx_image.c ---- */

enum judge_mode {
	JUDGE_LIVE, /* nothing acknowledged or seen may be lost */
	JUDGE_CUT,  /* nothing fsynced may be lost; the rest is settled here */
};

void image_name(uint32_t image, uint32_t which, char out[32]);
int image_setup(struct worker *w);
void image_probe(struct worker *w);
int image_fd(struct worker *w, uint32_t image, bool direct);
void image_forget(struct worker *w, uint32_t image);
/* Find out under which of its two names an image lies.  The caller holds the
 * name lock for writing, or is alone. */
int image_locate(struct worker *w, uint32_t image);
/* Read and judge; the bounds are taken around the call.  Returns the number
 * of bytes read, or -errno after accounting for it. */
ssize_t image_read(struct worker *w, uint32_t image, bool direct, uint64_t off,
		   size_t len, enum judge_mode mode);
void verify_all(struct worker *w, enum judge_mode mode);

/* ---- executing: pfsx_ops.c, pfsx_ns.c, pfsx_interleave.c, pfsx_cmd.c ---- */

void op_run(struct worker *w, const struct op *op);
int op_fill(struct worker *w, uint32_t image);

int ns_init(struct worker *w);
void ns_fini(struct worker *w);
void ns_step(struct worker *w, uint32_t arg);
void ns_check(struct worker *w);

void interleave_run(struct worker *w);

/* To be called before anything at the mount is opened. */
int cmd_start(unsigned timeout_s);
/* Run a shell command; its exit status, or -errno.  With number set, the
 * first integer it printed (-1: none). */
int cmd_run(const char *cmd, const char *arg, long *number);
void *kill_thread(void *px);

#endif
