// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The stale fill: a fetch reads old bytes, a mutation goes past it, and then
 * the fetch would put the old bytes into the store, or hand them to a reader
 * who came after the mutation was acknowledged.
 *
 * One interleaving, on a file of its own whose sectors are at version 1:
 *
 *   drop residency · arm the point · first reader starts and its fetch pauses
 *   mutation starts and is acknowledged (or blocks until the resume)
 *   three late joiners start · resume · everybody finishes · three reads more
 *
 * Who started after the acknowledgement must see the new bytes.  Whoever
 * overlaps the mutation may see either.
 *
 * With --ahead-cmd the fetch is nobody's: the command makes it begin, and the
 * first reader starts once it has paused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pfsx.h"

#define FILE_SIZE (1u << 20)
#define CHUNK 65536u
#define CHUNK_SECTORS (CHUNK / SECTOR)
#define JOINERS 3
#define PAUSE_WAIT_MS 5000u
#define AHEAD_TRIES 5
#define AHEAD_WAIT_MS 1000u
#define ACK_WAIT_MS 1000u
#define JOIN_WAIT_MS 100u
#define END_WAIT_MS 30000u

enum mutation {
	M_WRITE,
	M_TRUNCATE,
	M_PUNCH,
	M_RENAME_OVER,
	M_KINDS
};

static const char *const mutation_names[M_KINDS] = {"write", "truncate",
						    "punch", "rename-over"};

/* What a sector holds; versions 1 and 2 are themselves. */
enum {
	IS_ZERO = 0,
	IS_OLD = 1,
	IS_NEW = 2,
	IS_ABSENT = 3,
	IS_OTHER = 4
};

struct actor {
	struct worker *w; /* owned */
	struct round *round;
	pthread_t thread;
	bool running;
	atomic_bool done;
	bool after_ack; /* readers: started after the acknowledgement */
	bool by_name;   /* readers: open the file anew */
	ssize_t n;      /* readers: what pread said */
	int err;        /* mutator */
};

struct round {
	struct pfsx *px;
	uint32_t id;
	const char *point;
	enum mutation mutation;
	unsigned seed;
	int fd;
	char name[32], replacement[32];
	uint64_t off;     /* of the chunk */
	uint64_t at, len; /* of the mutation, within the chunk */
	bool grow_back;
	unsigned char expected[CHUNK_SECTORS];
};

struct cast {
	struct actor reader, joiner[JOINERS], mutator;
};

/* ---- the file ---- */

static void stamp_range(const struct round *r, uint32_t version, uint64_t off,
			size_t len, unsigned char *buf)
{
	struct stamp st = {.seed = r->px->st.hdr->seed,
			   .image = ID_INTERLEAVE + r->id,
			   .version = version};

	for (size_t at = 0; at < len; at += SECTOR) {
		st.sector = (off + at) / SECTOR;
		content_stamp(buf + at, &st);
	}
}

static int write_file(struct worker *w, const struct round *r, const char *name,
		      uint32_t version)
{
	int fd = io_open(w, name, O_RDWR | O_CREAT | O_TRUNC);
	int err;

	if (fd < 0)
		return fd;
	stamp_range(r, version, 0, FILE_SIZE, w->buf);
	err = io_pwrite(w, fd, w->buf, FILE_SIZE, 0);
	close(fd);
	return err;
}

static int prepare_files(struct worker *w, struct round *r)
{
	int err = write_file(w, r, r->name, 1);

	if (!err && r->mutation == M_RENAME_OVER)
		err = write_file(w, r, r->replacement, 2);
	if (err)
		return err;
	r->fd = io_open(w, r->name, O_RDWR);
	return r->fd < 0 ? r->fd : 0;
}

/* ---- the mutation ---- */

static void set_expected(struct round *r, unsigned char what)
{
	memset(r->expected + r->at / SECTOR, what, r->len / SECTOR);
}

static void choose_mutation(struct round *r, struct rng *rng)
{
	static const unsigned char after[M_KINDS] = {IS_NEW, IS_ABSENT, IS_ZERO,
						     IS_NEW};

	r->off = rng_below(rng, FILE_SIZE / CHUNK) * CHUNK;
	r->at = rng_below(rng, CHUNK_SECTORS) * SECTOR;
	r->len = (1 + rng_below(rng, (CHUNK - r->at) / SECTOR)) * SECTOR;
	if (r->mutation == M_RENAME_OVER || r->seed == 0) {
		r->at = 0;
		r->len = CHUNK;
	}
	if (r->mutation == M_TRUNCATE)
		r->len = CHUNK - r->at;
	r->grow_back = r->seed & 1;
	memset(r->expected, IS_OLD, sizeof(r->expected));
	set_expected(r, r->mutation == M_TRUNCATE && r->grow_back
				? IS_ZERO
				: after[r->mutation]);
}

static int mutate(struct worker *w, const struct round *r)
{
	off_t at = (off_t)(r->off + r->at);
	int err;

	switch (r->mutation) {
	case M_WRITE:
		stamp_range(r, 2, r->off + r->at, r->len, w->buf);
		return io_pwrite(w, r->fd, w->buf, r->len, at);
	case M_TRUNCATE:
		err = io_truncate(w, r->fd, at);
		if (!err && r->grow_back)
			err = io_truncate(w, r->fd, FILE_SIZE);
		return err;
	case M_PUNCH:
		return io_fallocate(w, r->fd,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    at, (off_t)r->len);
	default:
		return io_rename(w, r->replacement, r->name);
	}
}

/* ---- judging ---- */

static unsigned char what_is(const struct round *r, const unsigned char *buf,
			     size_t n, size_t i)
{
	const unsigned char *p = buf + i * SECTOR;
	struct stamp st;

	if (n < (i + 1) * SECTOR)
		return IS_ABSENT;
	if (content_is_zero(p, SECTOR))
		return IS_ZERO;
	if (!content_decode(p, &st) || st.seed != r->px->st.hdr->seed ||
	    st.image != ID_INTERLEAVE + r->id ||
	    st.sector != r->off / SECTOR + i || st.version > IS_NEW)
		return IS_OTHER;
	return (unsigned char)st.version;
}

static void judge(struct worker *w, const struct round *r, ssize_t n,
		  bool must_be_new, const char *who)
{
	static const char *const words[] = {"zeros", "old bytes", "new bytes",
					    "nothing", "something else"};
	bool reported = false;

	if (n < 0) {
		report_error(w, "%s: pread: %s", who, strerror((int)-n));
		return;
	}
	for (size_t i = 0; i < CHUNK_SECTORS; i++) {
		unsigned char is = what_is(r, w->buf, (size_t)n, i);
		uint64_t at = r->off + i * SECTOR;
		bool passing =
			is == IS_OLD ||
			(is == IS_ABSENT && r->grow_back &&
			 r->mutation == M_TRUNCATE && i >= r->at / SECTOR);

		if (is == r->expected[i] || (passing && !must_be_new))
			continue;
		if (is == IS_OLD)
			r->px->il_stale_bytes += SECTOR;
		r->px->bad_bytes += SECTOR;
		if (reported)
			continue;
		reported = true;
		report_diff(w,
			    "%s read %s, expected %s, at offset %llu (point "
			    "%s, %s %llu+%llu, round seed %u)",
			    who, words[is], words[r->expected[i]],
			    (unsigned long long)at, r->point,
			    mutation_names[r->mutation],
			    (unsigned long long)r->off + r->at,
			    (unsigned long long)r->len, r->seed);
	}
}

/* ---- actors ---- */

static ssize_t read_chunk(struct worker *w, const struct round *r, bool by_name)
{
	int fd = by_name ? io_open(w, r->name, O_RDONLY) : r->fd;
	ssize_t n;

	if (fd < 0)
		return fd;
	n = io_pread(w, fd, w->buf, CHUNK, (off_t)r->off);
	if (by_name)
		close(fd);
	return n;
}

static void *reader_main(void *arg)
{
	struct actor *a = arg;

	a->n = read_chunk(a->w, a->round, a->by_name);
	a->done = true;
	return NULL;
}

static void *mutator_main(void *arg)
{
	struct actor *a = arg;

	a->err = mutate(a->w, a->round);
	a->done = true;
	return NULL;
}

static void start(struct actor *a, struct round *r, void *(*run)(void *))
{
	a->round = r;
	a->w->op = (struct op){.kind = run == reader_main ? OP_READ : OP_WRITE,
			       .off = r->off,
			       .len = CHUNK};
	a->w->op_no = r->id;
	a->done = false;
	a->n = -EAGAIN;
	a->err = -EAGAIN;
	a->running = !pthread_create(&a->thread, NULL, run, a);
}

static bool wait_done(struct actor *a, unsigned ms)
{
	for (unsigned i = 0; i < ms && !a->done; i++)
		sleep_ms(1);
	return a->done;
}

/* A call that does not come back cannot be cleaned up after. */
static void finish(struct actor *a, const char *who)
{
	if (!a->running)
		return;
	if (!wait_done(a, END_WAIT_MS)) {
		fprintf(stderr, "pfsx: HANG: %s at %s did not end\n", who,
			a->round->point);
		_exit(4);
	}
	pthread_join(a->thread, NULL);
	a->running = false;
}

/* ---- one interleaving ---- */

static long paused_now(struct worker *w)
{
	long n = 0;

	if (cmd_run(w->px->o.fault_cmd, "status", &n))
		report_error(w, "the fault command has no status");
	return n;
}

/* Fetches that nobody waits for may be put off or given up: ask again. */
static bool start_ahead(struct worker *w, struct actor *reader, struct round *r)
{
	bool reached = false;
	char what[64];

	snprintf(what, sizeof(what), "%s %llu", r->name,
		 (unsigned long long)r->off);
	for (int i = 0; i < AHEAD_TRIES && !reached && !w->px->stop; i++) {
		uint64_t until = now_ns() + AHEAD_WAIT_MS * 1000000ull;

		if (cmd_run(w->px->o.ahead_cmd, what, NULL))
			report_error(w, "the ahead command failed");
		do {
			sleep_ms(2);
			reached = paused_now(w) > 0;
		} while (!reached && now_ns() < until);
	}
	start(reader, r, reader_main);
	wait_done(reader, JOIN_WAIT_MS / 4);
	return reached;
}

/* Wait until something pauses, or the reader ended without pausing. */
static bool wait_paused(struct worker *w, struct actor *reader)
{
	uint64_t until = now_ns() + PAUSE_WAIT_MS * 1000000ull;
	bool ended;

	do {
		ended = wait_done(reader, 2);
		if (paused_now(w) > 0)
			return true;
	} while (!ended && now_ns() < until && !w->px->stop);
	return false;
}

static void start_joiners(struct cast *c, struct round *r, bool acked)
{
	for (unsigned i = 0; i < JOINERS; i++) {
		c->joiner[i].after_ack = acked;
		c->joiner[i].by_name = i > 0 || r->mutation == M_RENAME_OVER;
		start(&c->joiner[i], r, reader_main);
	}
	for (unsigned i = 0; i < JOINERS; i++)
		wait_done(&c->joiner[i], JOIN_WAIT_MS);
}

static void finish_all(struct cast *c)
{
	finish(&c->mutator, "the mutation");
	finish(&c->reader, "the first reader");
	for (unsigned i = 0; i < JOINERS; i++)
		finish(&c->joiner[i], "a late joiner");
}

static void judge_all(struct worker *w, struct cast *c, struct round *r)
{
	if (c->mutator.err)
		report_error(w, "%s: %s", mutation_names[r->mutation],
			     strerror(-c->mutator.err));
	judge(c->reader.w, r, c->reader.n, false, "the first reader");
	for (unsigned i = 0; i < JOINERS; i++)
		judge(c->joiner[i].w, r, c->joiner[i].n, c->joiner[i].after_ack,
		      "a late joiner");
	for (unsigned i = 0; i < 3; i++) {
		bool by_name = i != 1 || r->mutation == M_RENAME_OVER;

		judge(w, r, read_chunk(w, r, by_name), true, "a later reader");
	}
}

static void play(struct worker *w, struct cast *c, struct round *r)
{
	char arm[128];
	bool reached, acked;

	snprintf(arm, sizeof(arm), "%s:pause", r->point);
	if (w->px->o.drop_cmd && cmd_run(w->px->o.drop_cmd, NULL, NULL))
		report_error(w, "the drop command failed");
	if (cmd_run(w->px->o.fault_cmd, arm, NULL))
		report_error(w, "the fault command refused %s", arm);
	if (w->px->o.ahead_cmd) {
		reached = start_ahead(w, &c->reader, r);
	} else {
		start(&c->reader, r, reader_main);
		reached = wait_paused(w, &c->reader);
	}
	start(&c->mutator, r, mutator_main);
	acked = wait_done(&c->mutator, ACK_WAIT_MS);
	/* A point in the mutation itself is reached only now. */
	if (!reached && paused_now(w) <= 0)
		w->px->il_unreached++;
	w->px->il_blocked += !acked;
	start_joiners(c, r, acked);
	if (cmd_run(w->px->o.fault_cmd, "resume", NULL))
		report_error(w, "the fault command did not resume");
	finish_all(c);
	judge_all(w, c, r);
	w->px->il_done++;
}

static void one_round(struct worker *w, struct cast *c, struct round *r)
{
	struct rng rng = {w->px->o.seed + r->id * 1000003ull};
	int err;

	snprintf(r->name, sizeof(r->name), "pfsx.il.%u", r->id);
	snprintf(r->replacement, sizeof(r->replacement), "pfsx.new.%u", r->id);
	choose_mutation(r, &rng);
	w->op = (struct op){.kind = OP_READ, .off = r->off, .len = CHUNK};
	err = prepare_files(w, r);
	if (err)
		report_error(w, "prepare %s: %s", r->name, strerror(-err));
	else
		play(w, c, r);
	io_close(&r->fd);
	if (!w->px->diffs)
		io_unlink(w, r->name, 0);
	w->op_no++;
}

/* ---- all of them ---- */

static struct actor *actor_of(struct cast *c, unsigned i)
{
	return i == 0 ? &c->reader : i == 1 ? &c->mutator : &c->joiner[i - 2];
}

static int cast_init(struct cast *c, struct worker *w)
{
	int err = 0;

	for (unsigned i = 0; i < JOINERS + 2 && !err; i++) {
		struct actor *a = actor_of(c, i);

		a->w = calloc(1, sizeof(*a->w));
		err = a->w ? worker_init(a->w, w->px, i + 1) : -ENOMEM;
	}
	return err;
}

static void cast_fini(struct cast *c)
{
	for (unsigned i = 0; i < JOINERS + 2; i++) {
		struct actor *a = actor_of(c, i);

		if (a->w)
			worker_fini(a->w);
		free(a->w);
	}
}

static void play_point(struct worker *w, struct cast *c, const char *point,
		       uint32_t *id)
{
	for (unsigned i = 0; i < M_KINDS * w->px->o.rounds; i++) {
		struct round r = {.px = w->px,
				  .id = (*id)++,
				  .point = point,
				  .mutation = i / w->px->o.rounds,
				  .seed = i % w->px->o.rounds,
				  .fd = -1};

		if (w->px->stop)
			return;
		one_round(w, c, &r);
	}
}

void interleave_run(struct worker *w)
{
	struct cast c = {0};
	char *points = strdup(w->px->o.points);
	char *rest = points, *point;
	uint32_t id = 0;

	if (!points || cast_init(&c, w)) {
		report_error(w, "out of memory");
	} else {
		while ((point = strsep(&rest, ",")))
			play_point(w, &c, point, &id);
	}
	cast_fini(&c);
	free(points);
}
