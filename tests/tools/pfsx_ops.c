// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Executing one operation on the images.
 *
 * Every mutation goes the same way: lock the range, take new versions, call
 * the file system, acknowledge, unlock.  When the call fails the versions
 * stay unacknowledged: the sectors may hold the old bytes or the new ones.
 *
 * A mutation that changes the size, or might, locks up to RANGE_END.  So the
 * size cannot change under a holder whose range lies within the image.
 * Sectors past the end are always at a version that is zeros.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pfsx.h"

#define SCRATCH_SIZE (2u << 20)

/* ---- ranges and versions ---- */

static struct range_lock *ranges_of(struct worker *w)
{
	return &w->px->ranges[w->op.image];
}

static uint64_t image_size(const struct worker *w)
{
	return size_now(&w->px->st, w->op.image);
}

/* Lock what a write or an allocation of [off, off + len) changes; returns
 * where the lock begins. */
static uint64_t lock_extent(struct worker *w, uint64_t off, uint64_t len)
{
	for (;;) {
		uint64_t size = image_size(w);
		bool grows = off + len > size;
		uint64_t from = size < off ? size : off;

		range_lock(ranges_of(w), from, grows ? RANGE_END : off + len);
		if (grows ? image_size(w) == size : image_size(w) >= off + len)
			return from;
		range_unlock(ranges_of(w), from);
	}
}

/* Lock everything from `cut` bytes before the end; *size is the size. */
static uint64_t lock_tail(struct worker *w, uint64_t cut, uint64_t *size)
{
	for (;;) {
		uint64_t from;

		*size = image_size(w);
		from = *size > cut ? *size - cut : 0;
		from -= from % w->px->o.block;
		range_lock(ranges_of(w), from, RANGE_END);
		if (image_size(w) == *size)
			return from;
		range_unlock(ranges_of(w), from);
	}
}

static void begin_zero(struct worker *w, uint64_t off, uint64_t len)
{
	for (uint64_t s = off / SECTOR; s < (off + len) / SECTOR; s++)
		sector_begin(&w->px->st, w->op.image, s, true);
}

static void begin_data(struct worker *w, uint64_t off, uint64_t len)
{
	struct stamp st = {.seed = w->px->st.hdr->seed, .image = w->op.image};

	for (uint64_t at = 0; at < len; at += SECTOR) {
		st.sector = (off + at) / SECTOR;
		st.version =
			sector_begin(&w->px->st, w->op.image, st.sector, false);
		content_stamp(w->buf + at, &st);
	}
}

static void ack_range(struct worker *w, uint64_t off, uint64_t len)
{
	for (uint64_t s = off / SECTOR; s < (off + len) / SECTOR; s++)
		sector_ack(&w->px->st, w->op.image, s);
}

static void size_set(struct worker *w, uint64_t size)
{
	size_begin(&w->px->st, w->op.image, size);
	size_ack(&w->px->st, w->op.image);
}

/* A call that changes the size failed: ask what the size is.  It must lie
 * between the old one and the new one. */
static void settle_size(struct worker *w)
{
	const struct state *st = &w->px->st;
	uint32_t image = w->op.image;
	uint64_t size, whole = 0, min, max;
	int fd = image_fd(w, image, false);
	int err = fd < 0 ? fd : io_fstat(w, fd, &size);

	if (!err) {
		whole = size / SECTOR * SECTOR;
		/* Half a sector is what an interrupted truncate leaves. */
		if (whole < size)
			err = io_truncate(w, fd, (off_t)whole);
	}
	if (err) {
		report_error(w, "settling the size after a failed call: %s",
			     strerror(-err));
		w->px->stop = true; /* nothing can be judged from here on */
		return;
	}
	size_range(st, image, st->images[image].size_acked, &min, &max);
	if (size < min || size > max)
		report_diff(w, "image %u: size %llu, expected %llu..%llu",
			    image, (unsigned long long)size,
			    (unsigned long long)min, (unsigned long long)max);
	size_set(w, whole);
}

/* Account for a failed mutation. */
static void mutation_failed(struct worker *w, int err, const char *what,
			    bool resized)
{
	io_failed(w, err, what);
	if (resized && !w->px->cut)
		settle_size(w);
}

/* ---- read, write, copy ---- */

static void do_read(struct worker *w)
{
	image_read(w, w->op.image, w->op.direct, w->op.off, w->op.len,
		   JUDGE_LIVE);
}

/* The sectors come by way of a file of this thread's own, written just now,
 * so that they carry the stamps of where they go. */
static int copy_through_scratch(struct worker *w, int fd)
{
	const struct op *op = &w->op;
	off_t at = (off_t)(op->arg % ((SCRATCH_SIZE - op->len) / SECTOR + 1)) *
		   SECTOR;
	char name[32];
	int err;

	if (w->scratch < 0) {
		snprintf(name, sizeof(name), "pfsx.scratch.%u", w->id);
		w->scratch = io_open(w, name, O_RDWR | O_CREAT | O_TRUNC);
	}
	if (w->scratch < 0)
		return w->scratch;
	err = io_pwrite(w, w->scratch, w->buf, op->len, at);
	if (err)
		return err;
	return io_copy(w, w->scratch, at, fd, (off_t)op->off, op->len);
}

static int put_bytes(struct worker *w)
{
	const struct op *op = &w->op;
	int fd = image_fd(w, op->image, op->direct && op->kind == OP_WRITE);

	if (fd < 0)
		return fd;
	if (op->kind == OP_COPY && w->px->can_copy)
		return copy_through_scratch(w, fd);
	return io_pwrite(w, fd, w->buf, op->len, (off_t)op->off);
}

static void do_write(struct worker *w)
{
	const struct op *op = &w->op;
	uint64_t from = lock_extent(w, op->off, op->len);
	bool grows = op->off + op->len > image_size(w);
	int err;

	if (grows)
		size_begin(&w->px->st, op->image, op->off + op->len);
	begin_data(w, op->off, op->len);
	err = put_bytes(w);
	if (!err) {
		ack_range(w, op->off, op->len);
		if (grows)
			size_ack(&w->px->st, op->image);
	} else {
		mutation_failed(w, err, op_names[op->kind], grows);
	}
	range_unlock(ranges_of(w), from);
}

int op_fill(struct worker *w, uint32_t image)
{
	uint64_t size = w->px->o.size;

	for (uint64_t off = 0; off < size && !w->px->stop; off += MAX_IO) {
		uint64_t len = size - off < MAX_IO ? size - off : MAX_IO;

		w->op = (struct op){.kind = OP_WRITE,
				    .image = image,
				    .off = off,
				    .len = len};
		do_write(w);
	}
	return w->px->errors ? -EIO : 0;
}

/* ---- truncate ---- */

static int resize(struct worker *w, uint64_t size)
{
	int fd = image_fd(w, w->op.image, false);
	int err;

	if (fd < 0)
		return fd;
	size_begin(&w->px->st, w->op.image, size);
	err = io_truncate(w, fd, (off_t)size);
	if (!err)
		size_ack(&w->px->st, w->op.image);
	return err;
}

/* The range up to the end is locked, so the answer is exact. */
static void check_end(struct worker *w, uint64_t size)
{
	int fd = image_fd(w, w->op.image, false);
	uint64_t off = size / SECTOR * SECTOR, got;
	ssize_t n;

	if (fd < 0 || io_fstat(w, fd, &got))
		return; /* whoever needs the answer meets the error, too */
	if (got != size)
		report_diff(w, "image %u: size %llu after truncate to %llu",
			    w->op.image, (unsigned long long)got,
			    (unsigned long long)size);
	if (size == w->px->o.size)
		return;
	n = io_pread(w, fd, w->tmp, SECTOR, (off_t)off);
	if (n >= 0 && (uint64_t)n != size - off)
		report_diff(
			w, "image %u: read %zd bytes at offset %llu, size %llu",
			w->op.image, n, (unsigned long long)off,
			(unsigned long long)size);
}

/* Half of the cuts go through a size that is no whole sector. */
static int shrink(struct worker *w, uint64_t size, uint64_t odd)
{
	int err = 0;

	if (odd) {
		err = resize(w, size + odd);
		if (!err)
			check_end(w, size + odd);
	}
	if (!err)
		err = resize(w, size);
	if (!err)
		check_end(w, size);
	return err;
}

static void do_trunc(struct worker *w)
{
	uint32_t arg = w->op.arg;
	uint64_t odd = arg & 1 ? (arg >> 16 & 511) | 1 : 0;
	uint64_t size, from;
	int err = 0;

	from = lock_tail(w, arg & 0xff0 ? w->op.len : w->op.off, &size);
	w->op.off = from;
	begin_zero(w, from, size - from);
	if (from < size)
		err = shrink(w, from, odd);
	if (!err)
		ack_range(w, from, size - from);
	if (!err && (arg & 2)) {
		err = resize(w, w->px->o.size);
		if (!err)
			check_end(w, w->px->o.size);
	}
	if (err)
		mutation_failed(w, err, "truncate", true);
	range_unlock(ranges_of(w), from);
}

/* ---- punch, zero, allocate ---- */

/* Zero [off, off + len), as far as it lies within the image. */
static void do_zero(struct worker *w, int mode, const char *what)
{
	struct op *op = &w->op;
	uint64_t from = lock_extent(w, op->off, op->len);
	uint64_t size = image_size(w);
	uint64_t end = op->off + op->len < size ? op->off + op->len : size;
	int fd = image_fd(w, op->image, false);
	int err = fd < 0 ? fd : 0;

	if (end > op->off && !err) {
		begin_zero(w, op->off, end - op->off);
		err = io_fallocate(w, fd, mode, (off_t)op->off,
				   (off_t)(end - op->off));
		if (!err)
			ack_range(w, op->off, end - op->off);
	}
	if (err)
		mutation_failed(w, err, what, false);
	range_unlock(ranges_of(w), from);
}

/* Allocate: no byte changes, but the image may grow. */
static void do_allocate(struct worker *w)
{
	struct op *op = &w->op;
	uint64_t from = lock_extent(w, op->off, op->len);
	bool grows = op->off + op->len > image_size(w);
	int fd = image_fd(w, op->image, false);
	int err = fd < 0 ? fd : 0;

	if (grows)
		size_begin(&w->px->st, op->image, op->off + op->len);
	if (!err)
		err = io_fallocate(w, fd, 0, (off_t)op->off, (off_t)op->len);
	if (!err && grows)
		size_ack(&w->px->st, op->image);
	if (err)
		mutation_failed(w, err, "fallocate", grows);
	range_unlock(ranges_of(w), from);
}

static void do_punch(struct worker *w)
{
	if (w->px->can_punch)
		do_zero(w, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			"punch hole");
}

static void do_fallocate(struct worker *w)
{
	if ((w->op.arg & 1) && w->px->can_zero)
		do_zero(w, FALLOC_FL_ZERO_RANGE, "zero range");
	else if (w->px->can_allocate)
		do_allocate(w);
}

static void do_fsync(struct worker *w)
{
	uint32_t image = w->op.image;
	int fd = image_fd(w, image, false);
	uint32_t number = sync_begin(&w->px->st, image);
	int err = fd < 0 ? fd : io_fsync(w, fd, w->op.arg & 1);

	/* An fsync on XFS that is shut down meanwhile may answer 0 although
	 * the log was dropped (the inode is no longer pinned, so nothing seems
	 * to be left to do); a machine without power would not have answered.
	 * An open after it tells. */
	if (!err && w->px->o.until_error) {
		image_forget(w, image);
		fd = image_fd(w, image, false);
		err = fd < 0 ? fd : 0;
	}
	if (err)
		io_failed(w, err, "fsync");
	else
		sync_ack(&w->px->st, image, number);
}

/* ---- rename ---- */

/* Put a file in the way of the rename, and have it read, so that its bytes
 * are in whatever cache there is when the image takes its name. */
static int put_spare(struct worker *w, const char *name)
{
	struct stamp st = {.seed = w->px->st.hdr->seed,
			   .image = ID_SPARE + w->op.image};
	char tmp[32];
	int fd, err;

	for (uint64_t at = 0; at < SPARE_SIZE; at += SECTOR) {
		st.sector = at / SECTOR;
		content_stamp(w->buf + at, &st);
	}
	snprintf(tmp, sizeof(tmp), "pfsx.spare%u", w->op.image);
	fd = io_open(w, tmp, O_RDWR | O_CREAT | O_TRUNC);
	if (fd < 0)
		return fd;
	err = io_pwrite(w, fd, w->buf, SPARE_SIZE, 0);
	if (!err && io_pread(w, fd, w->tmp, SPARE_SIZE, 0) != SPARE_SIZE)
		err = -EIO;
	/* After a power cut its size must still tell it from an image. */
	if (!err)
		err = io_fsync(w, fd, false);
	close(fd);
	return err ? err : io_rename(w, tmp, name);
}

/* A file unlinked while it is open keeps its bytes. */
static int check_unlinked(struct worker *w)
{
	struct stamp st = {.seed = w->px->st.hdr->seed,
			   .image = ID_SPARE + w->id,
			   .version = w->op.arg};
	char name[32];
	int fd, err;

	content_stamp(w->buf, &st);
	snprintf(name, sizeof(name), "pfsx.open.%u", w->id);
	fd = io_open(w, name, O_RDWR | O_CREAT | O_TRUNC);
	if (fd < 0)
		return fd;
	err = io_unlink(w, name, 0);
	if (!err)
		err = io_pwrite(w, fd, w->buf, SECTOR, 65536);
	if (!err && io_pread(w, fd, w->tmp, SECTOR, 65536) != SECTOR)
		err = -EIO;
	close(fd);
	if (!err && memcmp(w->buf, w->tmp, SECTOR) != 0)
		report_diff(w, "%s: other bytes after unlink", name);
	return err;
}

static int rename_image(struct worker *w)
{
	uint32_t image = w->op.image;
	_Atomic uint32_t *which = &w->px->st.images[image].name;
	char from[32], to[32];
	int err;

	image_name(image, *which, from);
	image_name(image, !*which, to);
	err = w->op.arg & 2 ? put_spare(w, to) : 0;
	if (!err)
		err = io_rename(w, from, to);
	if (err)
		return err;
	*which = !*which;
	if (io_stat(w, from, NULL, NULL) == 0)
		report_diff(w, "%s is still there after rename to %s", from,
			    to);
	return 0;
}

static void do_rename(struct worker *w)
{
	uint32_t image = w->op.image;
	int err;

	if (w->op.arg & 1) {
		err = check_unlinked(w);
		if (err)
			io_failed(w, err, "unlink of an open file");
		return;
	}
	pthread_rwlock_wrlock(&w->px->names[image]);
	err = rename_image(w);
	if (err && io_failed(w, err, "rename")) {
		err = image_locate(w, image);
		if (err)
			report_error(w, "image %u is gone after rename: %s",
				     image, strerror(-err));
	}
	pthread_rwlock_unlock(&w->px->names[image]);
	image_forget(w, image); /* open it by its new name next time */
}

void op_run(struct worker *w, const struct op *op)
{
	static void (*const run[OP_KINDS])(struct worker *) = {
		[OP_READ] = do_read,           [OP_WRITE] = do_write,
		[OP_TRUNC] = do_trunc,         [OP_PUNCH] = do_punch,
		[OP_RENAME] = do_rename,       [OP_FSYNC] = do_fsync,
		[OP_FALLOCATE] = do_fallocate, [OP_COPY] = do_write,
	};

	w->op = *op;
	if (op->kind == OP_NS)
		ns_step(w, op->arg);
	else
		run[op->kind](w);
	w->done[op->kind]++;
	w->op_no++;
}
