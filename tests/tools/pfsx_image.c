// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The images: where they are, and whether what was read from one may be read.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pfsx.h"

/* A read that meets this many versions of one sector tears in ways not worth
 * telling apart from garbage. */
#define MAX_TORN 64

void image_name(uint32_t image, uint32_t which, char out[32])
{
	snprintf(out, 32, "img%u.%c", image, which ? 'b' : 'a');
}

/* ---- descriptors ---- */

static int *fd_slot(struct worker *w, uint32_t image, bool direct)
{
	return direct ? &w->direct_fd[image] : &w->fd[image];
}

int image_fd(struct worker *w, uint32_t image, bool direct)
{
	struct pfsx *px = w->px;
	int *slot, fd;
	char name[32];

	direct = direct && px->can_direct;
	slot = fd_slot(w, image, direct);
	if (*slot >= 0)
		return *slot;
	pthread_rwlock_rdlock(&px->names[image]);
	image_name(image, px->st.images[image].name, name);
	fd = io_open(w, name, O_RDWR | (direct ? O_DIRECT : 0));
	pthread_rwlock_unlock(&px->names[image]);
	if (fd >= 0)
		*slot = fd;
	return fd;
}

void image_forget(struct worker *w, uint32_t image)
{
	io_close(&w->fd[image]);
	io_close(&w->direct_fd[image]);
}

int image_locate(struct worker *w, uint32_t image)
{
	struct image_state *im = &w->px->st.images[image];
	uint64_t size;
	char name[32];
	int err = 0;

	for (uint32_t which = 0; which < 2; which++) {
		image_name(image, which, name);
		err = io_stat(w, name, &size, NULL);
		if (err && err != -ENOENT)
			return err;
		if (err || size == SPARE_SIZE)
			continue;
		im->name = which;
		return 0;
	}
	return -ENOENT;
}

/* ---- set-up ---- */

static int create_image(struct worker *w, uint32_t image)
{
	char a[32], b[32];
	int fd, err;

	image_name(image, 0, a);
	image_name(image, 1, b);
	io_unlink(w, b, 0); /* of an earlier run; mostly it is not there */
	fd = io_open(w, a, O_RDWR | O_CREAT | O_TRUNC);
	if (fd < 0)
		return fd;
	err = io_truncate(w, fd, (off_t)w->px->o.size);
	close(fd);
	return err;
}

int image_setup(struct worker *w)
{
	struct pfsx *px = w->px;
	int err = 0;

	for (uint32_t i = 0; i < px->o.images && !err; i++)
		err = px->st.hdr->ready ? image_locate(w, i)
					: create_image(w, i);
	return err;
}

static bool supports(int err)
{
	return err != -EOPNOTSUPP && err != -ENOSYS && err != -EXDEV &&
	       err != -EINVAL;
}

/* What the file system cannot do at all is not asked of it; once it could,
 * a refusal is an error. */
void image_probe(struct worker *w)
{
	struct pfsx *px = w->px;
	int fd = io_open(w, "pfsx.probe", O_RDWR | O_CREAT | O_TRUNC);
	int direct;

	if (fd < 0)
		return;
	memset(w->buf, 1, 65536);
	if (io_pwrite(w, fd, w->buf, 65536, 0))
		report_error(w, "cannot write the probe file");
	px->can_punch = supports(io_fallocate(
		w, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	px->can_zero =
		supports(io_fallocate(w, fd, FALLOC_FL_ZERO_RANGE, 4096, 4096));
	px->can_allocate = supports(io_fallocate(w, fd, 0, 0, 131072));
	px->can_copy = supports(io_copy(w, fd, 8192, fd, 32768, 8192));
	direct = io_open(w, "pfsx.probe", O_RDWR | O_DIRECT);
	px->can_direct =
		direct >= 0 && io_pread(w, direct, w->tmp, 4096, 0) == 4096;
	io_close(&direct);
	io_close(&fd);
	io_unlink(w, "pfsx.probe", 0);
}

/* ---- judging what was read ---- */

struct judge {
	struct worker *w;
	uint32_t image;
	enum judge_mode mode;
	uint64_t bad_sec;  /* first bad sector */
	uint64_t n_bad;    /* sectors of the run of bad ones */
	struct bounds why; /* what was permitted there */
	char found[200];
};

static struct stamp model_of(const struct judge *j, uint64_t sec)
{
	return (struct stamp){.seed = j->w->px->st.hdr->seed,
			      .image = j->image,
			      .sector = sec};
}

/* A read beside a write may get a sector half old and half new, so each byte
 * has to be that of a permitted version. */
static bool is_permitted_mixture(const struct judge *j, uint64_t sec,
				 const unsigned char *p, size_t len,
				 struct bounds b)
{
	const struct sector_state *s =
		state_sector(&j->w->px->st, j->image, sec);
	struct stamp st = model_of(j, sec);
	unsigned char ok[SECTOR] = {0}, model[SECTOR];
	uint32_t zero;

	if (b.hi - b.lo > MAX_TORN)
		b.lo = b.hi - MAX_TORN;
	for (st.version = b.lo; st.version <= b.hi; st.version++) {
		if (!sector_permits(s, b, st.version))
			continue;
		content_stamp(model, &st);
		for (size_t i = 0; i < len; i++)
			ok[i] |= p[i] == model[i];
	}
	if (sector_permits_zero(s, b, &zero))
		for (size_t i = 0; i < len; i++)
			ok[i] |= !p[i];
	return !memchr(ok, 0, len);
}

static bool is_own_stamp(const struct judge *j, uint64_t sec,
			 const struct stamp *st)
{
	return st->image == j->image && st->sector == sec &&
	       st->seed == j->w->px->st.hdr->seed;
}

static bool judge_sector(const struct judge *j, uint64_t sec, const void *p,
			 size_t len, struct bounds b)
{
	struct sector_state *s = state_sector(&j->w->px->st, j->image, sec);
	struct worker *w = j->w;
	struct stamp st;

	w->sec_overlapping += b.hi > b.lo;
	if (len == SECTOR && content_decode(p, &st)) {
		if (!is_own_stamp(j, sec, &st) ||
		    !sector_permits(s, b, st.version))
			return false;
		w->sec_data++;
	} else if (content_is_zero(p, len)) {
		if (!sector_permits_zero(s, b, &st.version))
			return false;
		w->sec_zero++;
	} else {
		w->sec_mixed++;
		return is_permitted_mixture(j, sec, p, len, b);
	}
	if (j->mode == JUDGE_CUT)
		sector_settle(s, st.version);
	else
		sector_saw(s, st.version);
	return true;
}

static void note_bad(struct judge *j, uint64_t sec, const void *p, size_t len,
		     struct bounds b)
{
	struct stamp want = model_of(j, sec);

	want.version = b.lo;
	j->w->px->bad_bytes += len;
	if (!j->n_bad) {
		j->bad_sec = sec;
		j->why = b;
		content_describe(p, len, &want, j->found, sizeof(j->found));
	}
	if (j->bad_sec + j->n_bad == sec)
		j->n_bad++;
}

static void judge_sectors(struct judge *j, uint64_t off, const char *p,
			  size_t n)
{
	const struct state *st = &j->w->px->st;
	char name[32];

	for (size_t at = 0; at < n; at += SECTOR) {
		uint64_t sec = (off + at) / SECTOR;
		size_t len = n - at < SECTOR ? n - at : SECTOR;
		struct bounds b = {j->w->lo[at / SECTOR],
				   state_sector(st, j->image, sec)->next};

		if (!judge_sector(j, sec, p + at, len, b))
			note_bad(j, sec, p + at, len, b);
	}
	if (!j->n_bad)
		return;
	image_name(j->image, st->images[j->image].name, name);
	report_diff(j->w,
		    "%s offset %llu length %llu: expected version %u..%u, "
		    "found %s",
		    name, (unsigned long long)j->bad_sec * SECTOR,
		    (unsigned long long)j->n_bad * SECTOR, j->why.lo, j->why.hi,
		    j->found);
}

static uint64_t part_within(uint64_t size, uint64_t off, uint64_t len)
{
	if (size <= off)
		return 0;
	return size - off < len ? size - off : len;
}

static void judge_length(const struct judge *j, uint32_t size_version,
			 uint64_t off, size_t len, size_t n)
{
	uint64_t min, max;

	size_range(&j->w->px->st, j->image, size_version, &min, &max);
	if (n >= part_within(min, off, len) && n <= part_within(max, off, len))
		return;
	report_diff(j->w,
		    "image %u offset %llu: read %zu of %zu bytes, but the size "
		    "was %llu..%llu",
		    j->image, (unsigned long long)off, n, len,
		    (unsigned long long)min, (unsigned long long)max);
}

static void note_bounds(struct worker *w, const struct judge *j, uint64_t off,
			size_t len)
{
	const struct state *st = &w->px->st;
	uint64_t first = off / SECTOR;

	for (size_t i = 0; i < len / SECTOR; i++)
		w->lo[i] = j->mode == JUDGE_CUT
				   ? sector_durable(st, j->image, first + i)
				   : sector_lowest(state_sector(st, j->image,
								first + i));
}

ssize_t image_read(struct worker *w, uint32_t image, bool direct, uint64_t off,
		   size_t len, enum judge_mode mode)
{
	struct judge j = {.w = w, .image = image, .mode = mode};
	uint32_t size_version = w->px->st.images[image].size_acked;
	int fd = image_fd(w, image, direct);
	ssize_t n;

	if (fd < 0) {
		io_failed(w, fd, "open for reading");
		return fd;
	}
	if (mode == JUDGE_CUT)
		size_version = size_durable(&w->px->st, image);
	note_bounds(w, &j, off, len);
	n = io_pread(w, fd, w->buf, len, (off_t)off);
	if (n < 0) {
		io_failed(w, (int)n, "pread");
		return n;
	}
	w->bytes_read += (uint64_t)n;
	judge_length(&j, size_version, off, len, (size_t)n);
	judge_sectors(&j, off, (char *)w->buf, (size_t)n);
	return n;
}

/* ---- the whole image ---- */

/* What lies past the end reads as zeros once the image has grown again. */
static void judge_absent(struct worker *w, uint32_t image, uint64_t size,
			 enum judge_mode mode)
{
	struct judge j = {.w = w, .image = image, .mode = mode};
	static const char zeros[SECTOR];

	size = (size + SECTOR - 1) / SECTOR * SECTOR;
	for (uint64_t off = size; off < w->px->o.size; off += MAX_IO) {
		uint64_t len = w->px->o.size - off;

		len = len < MAX_IO ? len : MAX_IO;
		note_bounds(w, &j, off, len);
		for (uint64_t at = 0; at < len; at += SECTOR) {
			uint64_t sec = (off + at) / SECTOR;
			struct bounds b = {
				w->lo[at / SECTOR],
				state_sector(&w->px->st, image, sec)->next};

			if (!judge_sector(&j, sec, zeros, SECTOR, b))
				note_bad(&j, sec, zeros, SECTOR, b);
		}
	}
	if (j.n_bad)
		report_diff(w,
			    "image %u ends at %llu, but sector %llu must hold "
			    "version %u..%u",
			    image, (unsigned long long)size,
			    (unsigned long long)j.bad_sec, j.why.lo, j.why.hi);
}

/* An interrupted truncate may have left half a sector: finish it, so that
 * sizes are whole sectors again. */
static int round_size(struct worker *w, uint32_t image, int fd, uint64_t *size)
{
	uint64_t whole = *size / SECTOR * SECTOR;
	int err;

	if (whole == *size || *size > w->px->o.size)
		return 0;
	sector_begin(&w->px->st, image, whole / SECTOR, true);
	err = io_truncate(w, fd, (off_t)whole);
	if (err)
		return err;
	sector_ack(&w->px->st, image, whole / SECTOR);
	*size = whole;
	return 0;
}

/* Nothing is in flight: the size must be one of those permitted, and is the
 * size from now on. */
static int settle_size(struct worker *w, uint32_t image, enum judge_mode mode,
		       uint64_t *size)
{
	const struct state *st = &w->px->st;
	uint32_t from = mode == JUDGE_CUT ? size_durable(st, image)
					  : st->images[image].size_acked;
	uint64_t min, max;
	int fd = image_fd(w, image, false);
	int err = fd < 0 ? fd : io_fstat(w, fd, size);

	if (err)
		return err;
	size_range(st, image, from, &min, &max);
	if (*size < min || *size > max)
		report_diff(w, "image %u: size %llu, expected %llu..%llu",
			    image, (unsigned long long)*size,
			    (unsigned long long)min, (unsigned long long)max);
	return 0;
}

static void verify_image(struct worker *w, uint32_t image, bool direct,
			 enum judge_mode mode)
{
	uint64_t size, off = 0;
	ssize_t n = 1;
	int err = settle_size(w, image, mode, &size);

	if (err) {
		io_failed(w, err, "stat before verification");
		return;
	}
	w->op = (struct op){.kind = OP_READ, .image = image, .direct = direct};
	for (; off < w->px->o.size && n > 0; off += MAX_IO) {
		uint64_t len = w->px->o.size - off;

		w->op.off = off;
		w->op.len = len < MAX_IO ? len : MAX_IO;
		n = image_read(w, image, direct, off, w->op.len, mode);
	}
	if (n < 0)
		return;
	judge_absent(w, image, size, mode);
	err = round_size(w, image, image_fd(w, image, false), &size);
	if (err)
		io_failed(w, err, "truncate after verification");
	if (size != size_now(&w->px->st, image) ||
	    w->px->st.images[image].size_next !=
		    w->px->st.images[image].size_acked) {
		size_begin(&w->px->st, image, size);
		size_ack(&w->px->st, image);
	}
}

void verify_all(struct worker *w, enum judge_mode mode)
{
	for (uint32_t i = 0; i < w->px->o.images; i++)
		verify_image(w, i, false, mode);
	if (mode == JUDGE_LIVE)
		return;
	/* One history: what was read once after the cut is what stays. */
	if (w->px->o.drop_cmd)
		cmd_run(w->px->o.drop_cmd, NULL, NULL);
	for (uint32_t i = 0; i < w->px->o.images; i++)
		verify_image(w, i, true, JUDGE_LIVE);
}
