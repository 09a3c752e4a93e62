/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The file, little endian:
 *
 *   header, at 0                      record i, at 4096 + 512 i
 *     0  8  "PFSMARKS"                  0  4  0x4b52414d ("MARK")
 *     8  4  version, 1                  4  4  1: set, 0: clear
 *    12  4  record size, 512            8  8  image id, 0 if clear
 *    16  4  number of records, 4096    16  .. zero
 *    20  4  1: in doubt               504  8  XXH3 of 0..503, seeded by the
 *    24 16  store uuid                        uuid and i
 *    40  .. zero
 *   504  8  XXH3 of 0..503
 *   512  .. zero
 *
 * A clear record is not zeros, so that a sector which the disk lost is seen.
 * Each image has one slot, and a slot is a record:
 *
 *   state     image  is_wanted  durable  leaves by
 *   FREE      0      no         yes      set (SETTING)
 *   SETTING   id     yes        no       written (MARKED), clear (CLEARING)
 *   MARKED    id     yes        yes      clear (CLEARING)
 *   CLEARING  id     no         no       written (FREE), set (SETTING)
 *
 * where durable is seq == done_seq.  A failed write leaves the slot in SETTING
 * or CLEARING, its record unknown, until the next request writes it again; so
 * the doubt after a failed fdatasync never outlives a success.
 */
#include <pfs/marks.h>

#include <stdio.h>
#include <string.h>

#include <pfs/hash.h>
#include <pfs/io.h>
#include <pfs/log.h>
#include <pfs/mutex.h>

#include "aside.h"

#define VERSION 1u
#define HEADER_SIZE 4096u
#define RECORD_SIZE 512u
#define SUM_AT 504u
#define RECORD_MAGIC 0x4b52414du
#define RECORDS_SIZE ((size_t)PFS_MARKS_MAX * RECORD_SIZE)
#define UUID_LEN 16
#define HEADER_SEED 0x68656164ull

static const char header_magic[8] = "PFSMARKS";

struct slot {
	bool is_wanted;
	bool is_queued;
	int err;           /* of the request failed_seq */
	uint64_t seq;      /* the last request */
	uint64_t done_seq; /* requests up to this are durable */
	uint64_t failed_seq;
};

/* What the thread writes for a slot: its state when it was collected. */
struct snap {
	unsigned int slot;
	uint64_t image; /* 0: clear */
	uint64_t seq;
};

struct pfs_marks {
	/* --- set at open, then constant --- */
	int fd; /* -1: in memory */
	pthread_t thread;
	bool has_thread;

	/* --- the thread's, and open's before there is one --- */
	uint8_t uuid[UUID_LEN];
	uint8_t *buf; /* owned; all records */
	struct snap snaps[PFS_MARKS_MAX];

	struct pfs_mutex lock;
	struct pfs_cond work; /* a slot was queued, rebind asked for, or stop */
	struct pfs_cond done; /* requests were answered */
	/* --- under lock --- */
	uint64_t image[PFS_MARKS_MAX]; /* by slot; apart, to be searched */
	struct slot slots[PFS_MARKS_MAX];
	unsigned int n_high; /* slots from here on are free */
	unsigned int n_marked;
	uint64_t found[PFS_MARKS_MAX]; /* ascending */
	unsigned int n_found;
	bool is_all_dirty;
	bool is_stopping;
	bool wants_rebind;
	int rebind_err;
	uint8_t new_uuid[UUID_LEN];
};

/* --- encoding --- */

static void put_le(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_le(const uint8_t *p, int n)
{
	uint64_t v = 0;

	for (int i = 0; i < n; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static bool sum_fits(const uint8_t *sector, uint64_t seed)
{
	return get_le(sector + SUM_AT, 8) == pfs_hash64(sector, SUM_AT, seed);
}

static void encode_header(uint8_t *h, const uint8_t *uuid, bool is_in_doubt)
{
	memset(h, 0, HEADER_SIZE);
	memcpy(h, header_magic, sizeof(header_magic));
	put_le(h + 8, VERSION, 4);
	put_le(h + 12, RECORD_SIZE, 4);
	put_le(h + 16, PFS_MARKS_MAX, 4);
	put_le(h + 20, is_in_doubt, 4);
	memcpy(h + 24, uuid, UUID_LEN);
	put_le(h + SUM_AT, pfs_hash64(h, SUM_AT, HEADER_SEED), 8);
}

static bool header_ok(const uint8_t *h)
{
	return sum_fits(h, HEADER_SEED) &&
	       !memcmp(h, header_magic, sizeof(header_magic)) &&
	       get_le(h + 8, 4) == VERSION &&
	       get_le(h + 12, 4) == RECORD_SIZE &&
	       get_le(h + 16, 4) == PFS_MARKS_MAX;
}

static uint64_t record_seed(const uint8_t *uuid, unsigned int slot)
{
	return pfs_hash64(uuid, UUID_LEN, slot);
}

static void encode_record(uint8_t *r, const uint8_t *uuid, unsigned int slot,
			  uint64_t image)
{
	memset(r, 0, RECORD_SIZE);
	put_le(r, RECORD_MAGIC, 4);
	put_le(r + 4, image != 0, 4);
	put_le(r + 8, image, 8);
	put_le(r + SUM_AT, pfs_hash64(r, SUM_AT, record_seed(uuid, slot)), 8);
}

/* False: damaged. */
static bool decode_record(const uint8_t *r, const uint8_t *uuid,
			  unsigned int slot, uint64_t *image)
{
	*image = get_le(r + 8, 8);
	return sum_fits(r, record_seed(uuid, slot)) &&
	       get_le(r, 4) == RECORD_MAGIC &&
	       get_le(r + 4, 4) == (*image != 0);
}

static uint64_t record_off(unsigned int slot)
{
	return HEADER_SIZE + (uint64_t)slot * RECORD_SIZE;
}

/* --- writing --- */

static int write_at(struct pfs_marks *m, const void *data, size_t len,
		    uint64_t off)
{
	ssize_t n = pfs_io_pwrite(PFS_FP_MARK_WRITE, m->fd, data, len, off);

	return n < 0 ? (int)n : 0;
}

static int sync_file(struct pfs_marks *m)
{
	return pfs_io_fdatasync(PFS_FP_MARK_WRITE, m->fd);
}

static int write_header(struct pfs_marks *m, const uint8_t *uuid,
			bool is_in_doubt)
{
	uint8_t h[HEADER_SIZE];
	int err;

	encode_header(h, uuid, is_in_doubt);
	err = write_at(m, h, sizeof(h), 0);
	return err ? err : sync_file(m);
}

/* Write every record under uuid; images[] says which are set. */
static int write_records(struct pfs_marks *m, const uint8_t *uuid,
			 const uint64_t *images)
{
	int err;

	for (unsigned int i = 0; i < PFS_MARKS_MAX; i++)
		encode_record(m->buf + (size_t)i * RECORD_SIZE, uuid, i,
			      images[i]);
	err = write_at(m, m->buf, RECORDS_SIZE, HEADER_SIZE);
	return err ? err : sync_file(m);
}

/* --- the slots --- */

static bool is_durable(const struct slot *s)
{
	return s->seq == s->done_seq;
}

static int find_slot_locked(const struct pfs_marks *m, uint64_t image)
	PFS_REQUIRES(m->lock)
{
	for (unsigned int i = 0; i < m->n_high; i++)
		if (m->image[i] == image)
			return (int)i;
	return -1;
}

static void occupy_locked(struct pfs_marks *m, unsigned int i, uint64_t image)
	PFS_REQUIRES(m->lock)
{
	m->image[i] = image;
	m->n_marked++;
	m->n_high = PFS_MAX(m->n_high, i + 1);
}

static void release_locked(struct pfs_marks *m, unsigned int i)
	PFS_REQUIRES(m->lock)
{
	m->image[i] = 0;
	m->slots[i].is_wanted = false;
	m->n_marked--;
	while (m->n_high && !m->image[m->n_high - 1])
		m->n_high--;
}

static int take_slot_locked(struct pfs_marks *m, uint64_t image)
	PFS_REQUIRES(m->lock)
{
	int i = find_slot_locked(m, image);

	if (i >= 0)
		return i;
	i = find_slot_locked(m, 0);
	if (i < 0 && m->n_high < PFS_MARKS_MAX)
		i = (int)m->n_high;
	if (i >= 0)
		occupy_locked(m, (unsigned int)i, image);
	return i;
}

/* --- the thread --- */

static unsigned int collect_locked(struct pfs_marks *m) PFS_REQUIRES(m->lock)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < m->n_high; i++) {
		struct slot *s = &m->slots[i];

		if (!s->is_queued)
			continue;
		s->is_queued = false;
		m->snaps[n++] = (struct snap){
			.slot = i,
			.image = s->is_wanted ? m->image[i] : 0,
			.seq = s->seq,
		};
	}
	return n;
}

static int write_snaps(struct pfs_marks *m, unsigned int n)
{
	uint8_t r[RECORD_SIZE];
	int err = 0;

	for (unsigned int i = 0; i < n && !err; i++) {
		const struct snap *s = &m->snaps[i];

		encode_record(r, m->uuid, s->slot, s->image);
		err = write_at(m, r, sizeof(r), record_off(s->slot));
	}
	return err ? err : sync_file(m);
}

static void answer_locked(struct pfs_marks *m, unsigned int n, int err)
	PFS_REQUIRES(m->lock)
{
	for (unsigned int i = 0; i < n; i++) {
		const struct snap *snap = &m->snaps[i];
		struct slot *s = &m->slots[snap->slot];

		if (err) {
			s->failed_seq = snap->seq;
			s->err = err;
			continue;
		}
		s->done_seq = snap->seq;
		if (is_durable(s) && !s->is_wanted)
			release_locked(m, snap->slot);
	}
	pfs_cond_broadcast(&m->done);
}

/* All marks are kept, also old ones: whose they are is not known here.  Records
 * are written before the header: until that is there, the file is of the old
 * uuid and void as a whole. */
static void rebind(struct pfs_marks *m)
{
	uint64_t images[PFS_MARKS_MAX];
	uint8_t uuid[UUID_LEN];
	int err;

	pfs_mutex_lock(&m->lock);
	memcpy(uuid, m->new_uuid, sizeof(uuid));
	memcpy(images, m->image, sizeof(images));
	pfs_mutex_unlock(&m->lock);

	err = write_records(m, uuid, images);
	if (!err)
		err = write_header(m, uuid, false);
	if (!err)
		memcpy(m->uuid, uuid, sizeof(uuid));

	pfs_mutex_lock(&m->lock);
	if (!err)
		m->is_all_dirty = false;
	m->rebind_err = err;
	m->wants_rebind = false;
	pfs_cond_broadcast(&m->done);
	pfs_mutex_unlock(&m->lock);
}

static bool has_work_locked(const struct pfs_marks *m) PFS_REQUIRES(m->lock)
{
	for (unsigned int i = 0; i < m->n_high; i++)
		if (m->slots[i].is_queued)
			return true;
	return false;
}

static void *thread_main(void *arg)
{
	struct pfs_marks *m = arg;
	unsigned int n;
	int err;

	pfs_mutex_lock(&m->lock);
	for (;;) {
		while (!m->is_stopping && !m->wants_rebind &&
		       !has_work_locked(m))
			pfs_cond_wait(&m->work, &m->lock);
		if (m->wants_rebind) {
			pfs_mutex_unlock(&m->lock);
			rebind(m);
			pfs_mutex_lock(&m->lock);
			continue;
		}
		n = collect_locked(m);
		if (!n)
			break; /* stopping, and nothing is left */
		pfs_mutex_unlock(&m->lock);
		err = write_snaps(m, n);
		if (err)
			pfs_log_limited(PFS_LOG_WARNING, "marks",
					"cannot write %u marks: %s", n,
					strerror(-err));
		pfs_mutex_lock(&m->lock);
		answer_locked(m, n, err);
	}
	pfs_mutex_unlock(&m->lock);
	return NULL;
}

/* --- requests --- */

/* Ask for a state that the slot is not durably in; join a request for the same
 * state that is still on its way. */
static uint64_t request_locked(struct pfs_marks *m, unsigned int i,
			       bool is_wanted) PFS_REQUIRES(m->lock)
{
	struct slot *s = &m->slots[i];
	bool is_under_way = !is_durable(s) && s->failed_seq < s->seq;

	if (s->is_wanted == is_wanted && is_under_way)
		return s->seq;
	s->is_wanted = is_wanted;
	s->is_queued = true;
	s->seq++;
	pfs_cond_signal(&m->work);
	return s->seq;
}

/* Success first: a request that failed may have been repeated by another. */
static bool answered(const struct slot *s, uint64_t seq, int *err)
{
	*err = s->done_seq >= seq ? 0 : s->err;
	return s->done_seq >= seq || s->failed_seq >= seq;
}

static int wait_locked(struct pfs_marks *m, unsigned int i, uint64_t seq,
		       const uint64_t *deadline_ns) PFS_REQUIRES(m->lock)
{
	bool is_late = false;
	int err;

	while (!answered(&m->slots[i], seq, &err)) {
		if (is_late)
			return -ETIMEDOUT;
		if (deadline_ns)
			is_late = pfs_cond_wait_until(&m->done, &m->lock,
						      *deadline_ns) != 0;
		else
			pfs_cond_wait(&m->done, &m->lock);
	}
	return err;
}

static int set_locked(struct pfs_marks *m, uint64_t image, uint64_t deadline_ns)
	PFS_REQUIRES(m->lock)
{
	int i = take_slot_locked(m, image);
	struct slot *s;

	if (i < 0)
		return -ENOSPC;
	if (m->fd < 0)
		return 0;
	s = &m->slots[i];
	if (s->is_wanted && is_durable(s))
		return 0;
	return wait_locked(m, (unsigned int)i,
			   request_locked(m, (unsigned int)i, true),
			   &deadline_ns);
}

int pfs_marks_set(struct pfs_marks *m, uint64_t image, uint64_t deadline_ns)
{
	int err;

	if (!image)
		return -EINVAL;
	pfs_mutex_lock(&m->lock);
	err = set_locked(m, image, deadline_ns);
	pfs_mutex_unlock(&m->lock);
	return err;
}

static int clear_locked(struct pfs_marks *m, uint64_t image)
	PFS_REQUIRES(m->lock)
{
	int i = find_slot_locked(m, image);

	if (i < 0)
		return 0;
	if (m->fd < 0) {
		release_locked(m, (unsigned int)i);
		return 0;
	}
	return wait_locked(m, (unsigned int)i,
			   request_locked(m, (unsigned int)i, false), NULL);
}

int pfs_marks_clear(struct pfs_marks *m, uint64_t image)
{
	int err;

	if (!image)
		return -EINVAL;
	pfs_mutex_lock(&m->lock);
	err = clear_locked(m, image);
	pfs_mutex_unlock(&m->lock);
	return err;
}

int pfs_marks_rebind(struct pfs_marks *m, const uint8_t uuid[16])
{
	int err = 0;

	pfs_mutex_lock(&m->lock);
	if (m->fd < 0) {
		m->is_all_dirty = false;
	} else {
		while (m->wants_rebind) /* another thread's */
			pfs_cond_wait(&m->done, &m->lock);
		memcpy(m->new_uuid, uuid, sizeof(m->new_uuid));
		m->wants_rebind = true;
		pfs_cond_signal(&m->work);
		while (m->wants_rebind)
			pfs_cond_wait(&m->done, &m->lock);
		err = m->rebind_err;
	}
	pfs_mutex_unlock(&m->lock);
	return err;
}

static int compare_ids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

bool pfs_marks_found(struct pfs_marks *m, uint64_t image)
{
	bool found;

	pfs_mutex_lock(&m->lock);
	found = m->is_all_dirty || (bsearch(&image, m->found, m->n_found,
					    sizeof(image), compare_ids) &&
				    find_slot_locked(m, image) >= 0);
	pfs_mutex_unlock(&m->lock);
	return found;
}

unsigned int pfs_marks_found_list(struct pfs_marks *m, uint64_t *images,
				  unsigned int max)
{
	unsigned int n;

	pfs_mutex_lock(&m->lock);
	n = m->n_found;
	for (unsigned int i = 0; i < PFS_MIN(n, max); i++)
		images[i] = m->found[i];
	pfs_mutex_unlock(&m->lock);
	return n;
}

unsigned int pfs_marks_count(struct pfs_marks *m)
{
	unsigned int n;

	pfs_mutex_lock(&m->lock);
	n = m->n_marked;
	pfs_mutex_unlock(&m->lock);
	return n;
}

/* --- opening --- */

/* How the file was found. */
struct finding {
	bool is_void;     /* of another uuid: no mark counts */
	bool is_in_doubt; /* any mark may be missing */
	bool is_damaged;  /* to be written anew */
};

static void load_record_locked(struct pfs_marks *m, unsigned int i,
			       struct finding *f) PFS_REQUIRES(m->lock)
{
	uint64_t image;

	if (!decode_record(m->buf + (size_t)i * RECORD_SIZE, m->uuid, i,
			   &image)) {
		f->is_damaged = true;
		return;
	}
	if (!image)
		return;
	occupy_locked(m, i, image);
	m->slots[i].is_wanted = true;
	m->found[m->n_found++] = image;
}

static int judge_header(struct pfs_marks *m, struct finding *f)
{
	uint8_t h[HEADER_SIZE];
	ssize_t n = pfs_io_pread(PFS_FP_MARK_WRITE, m->fd, h, sizeof(h), 0);

	if (n < 0)
		return (int)n;
	if (n < HEADER_SIZE || !header_ok(h)) {
		f->is_damaged = true;
		return 0;
	}
	f->is_void = memcmp(h + 24, m->uuid, UUID_LEN) != 0;
	f->is_in_doubt = !f->is_void && get_le(h + 20, 4);
	return 0;
}

static int load(struct pfs_marks *m, struct finding *f)
{
	int err = judge_header(m, f);
	ssize_t n;

	if (err || f->is_void)
		return err;
	n = pfs_io_pread(PFS_FP_MARK_WRITE, m->fd, m->buf, RECORDS_SIZE,
			 HEADER_SIZE);
	if (n < 0)
		return (int)n;
	/* What is missing of a short file is zero, and so damaged. */
	memset(m->buf + n, 0, RECORDS_SIZE - (size_t)n);
	pfs_mutex_lock(&m->lock);
	for (unsigned int i = 0; i < PFS_MARKS_MAX; i++)
		load_record_locked(m, i, f);
	pfs_mutex_unlock(&m->lock);
	f->is_in_doubt |= f->is_damaged;
	qsort(m->found, m->n_found, sizeof(m->found[0]), compare_ids);
	return 0;
}

/* Write the file anew with the marks that could be read.  Doubt is on disk
 * before the damage it stands for is gone; a file of another uuid stays void
 * until all of it is ours. */
static int repair(struct pfs_marks *m, const struct finding *f)
{
	int err = 0;

	if (f->is_in_doubt)
		err = write_header(m, m->uuid, true);
	if (!err)
		err = write_records(m, m->uuid, m->image);
	if (!err && !f->is_in_doubt)
		err = write_header(m, m->uuid, false);
	return err;
}

static int open_file(struct pfs_marks *m, const char *path)
{
	struct finding f = {0};
	int err = catalog_make_folder(path);

	if (!err)
		err = catalog_make_file(path);
	if (err)
		return pfs_log_fail(err, "marks", "create %s", path);
	m->fd = open(path, O_RDWR | O_CLOEXEC);
	if (m->fd < 0)
		return pfs_log_fail(-errno, "marks", "open %s", path);
	err = load(m, &f);
	if (!err && (f.is_void || f.is_damaged))
		err = repair(m, &f);
	if (err)
		return pfs_log_fail(err, "marks", "load %s", path);
	if (f.is_in_doubt)
		pfs_log(PFS_LOG_INFO, "marks",
			"%s is new or was damaged: every image counts as open "
			"for writing until the store is renewed",
			path);
	m->is_all_dirty = f.is_in_doubt;
	return 0;
}

static struct pfs_marks *create(const uint8_t uuid[16])
{
	struct pfs_marks *m = pfs_zalloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->fd = -1;
	memcpy(m->uuid, uuid, UUID_LEN);
	pfs_mutex_init(&m->lock, PFS_RANK_MARKS);
	pfs_cond_init(&m->work);
	pfs_cond_init(&m->done);
	return m;
}

static int start(struct pfs_marks *m, const char *path)
{
	int err;

	m->buf = pfs_zalloc(1, RECORDS_SIZE);
	if (!m->buf)
		return -ENOMEM;
	err = open_file(m, path);
	if (!err)
		err = pfs_thread_start(&m->thread, "pfs-marks", thread_main, m);
	m->has_thread = !err;
	return err;
}

static void marks_done(struct pfs_marks **m)
{
	pfs_marks_close(*m);
}

int pfs_marks_open(const char *path, const uint8_t uuid[16], bool *all_dirty,
		   struct pfs_marks **out)
{
	PFS_AUTO(marks_done) struct pfs_marks *m = create(uuid);
	int err;

	if (!m)
		return -ENOMEM;
	err = path ? start(m, path) : 0;
	if (err)
		return err;
	*all_dirty = m->is_all_dirty;
	*out = pfs_take(&m);
	return 0;
}

static void stop(struct pfs_marks *m)
{
	pfs_mutex_lock(&m->lock);
	m->is_stopping = true;
	pfs_cond_signal(&m->work);
	pfs_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
}

void pfs_marks_close(struct pfs_marks *m)
{
	if (!m)
		return;
	if (m->has_thread)
		stop(m);
	pfs_fd_done(&m->fd);
	pfs_cond_fini(&m->done);
	pfs_cond_fini(&m->work);
	pfs_mutex_fini(&m->lock);
	free(m->buf);
	free(m);
}
