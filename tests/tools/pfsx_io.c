// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The one layer through which pfsx calls the file system under test: every
 * call is timed (the worst stall), watched (a hang) and may have a fault
 * planted into it, so that the verifier itself can be tested.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pfsx.h"

#define MAX_PRINTED 20

const char *const plant_names[PLANT_KINDS] = {
	[PLANT_NONE] = "none",
	[PLANT_STALE_READ] = "stale-read",
	[PLANT_LOST_WRITE] = "lost-write",
	[PLANT_TORN] = "torn",
	[PLANT_REVERT] = "revert",
	[PLANT_MISPLACED] = "misplaced",
	[PLANT_TWICE] = "twice",
	[PLANT_STALE_SIZE] = "stale-size",
};

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void sleep_ms(unsigned ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* ---- timing ---- */

static uint64_t call_begin(struct worker *w, const char *what)
{
	uint64_t now = now_ns();

	w->busy_with = what;
	w->busy_since = now;
	return now;
}

static void note_stall(struct worker *w, uint64_t ns)
{
	struct pfsx *px = w->px;

	pthread_mutex_lock(&px->report);
	if (ns > px->worst_ns) {
		px->worst_ns = ns;
		snprintf(px->worst, sizeof(px->worst),
			 "%s in %s, image %u, offset %llu, thread %u op %llu",
			 w->busy_with, op_names[w->op.kind], w->op.image,
			 (unsigned long long)w->op.off, w->id,
			 (unsigned long long)w->op_no);
	}
	pthread_mutex_unlock(&px->report);
}

static void call_end(struct worker *w, uint64_t begun)
{
	int saved = errno;
	uint64_t ns = now_ns() - begun;

	w->busy_since = 0;
	if (ns > w->px->worst_ns)
		note_stall(w, ns);
	errno = saved;
}

/* Run one expression that answers -1 and errno, timed; its value. */
#define TIMED(w, what, expr)                                                   \
	({                                                                     \
		uint64_t begun_ = call_begin(w, what);                         \
		__typeof__(expr) res_ = (expr);                                \
		call_end(w, begun_);                                           \
		res_;                                                          \
	})

/* ---- planted faults ---- */

static bool planted(struct worker *w, enum plant p, unsigned one_in)
{
	return w->px->o.plant == p && rng_below(&w->plant_rng, one_in) == 0;
}

/* Turn the first stamped sector into the version before it. */
static void make_stale(void *buf, size_t len)
{
	struct stamp st;

	for (size_t at = 0; at + SECTOR <= len; at += SECTOR) {
		char *sector = (char *)buf + at;

		if (!content_decode(sector, &st) || st.version < 2)
			continue;
		st.version--;
		content_stamp(sector, &st);
		return;
	}
}

/* The new bytes show, the old ones come back, then the write is done.  Only a
 * reader that remembers what it read can tell. */
static void show_and_revert(struct worker *w, int fd, const void *buf,
			    size_t len, off_t off)
{
	if (len > MAX_IO || pread(fd, w->tmp, len, off) != (ssize_t)len ||
	    pwrite(fd, buf, len, off) != (ssize_t)len)
		return;
	sleep_ms(3);
	if (pwrite(fd, w->tmp, len, off) == (ssize_t)len)
		sleep_ms(3);
}

/* Returns true when the write must not be done for real. */
static bool plant_in_write(struct worker *w, int fd, const void *buf,
			   size_t len, off_t *off, size_t *begin)
{
	if (planted(w, PLANT_LOST_WRITE, 20))
		return true;
	if (planted(w, PLANT_REVERT, 4))
		show_and_revert(w, fd, buf, len, *off);
	if (planted(w, PLANT_TORN, 20))
		*begin = SECTOR / 2;
	if (planted(w, PLANT_MISPLACED, 20))
		*off += SECTOR;
	return false;
}

/* ---- calls ---- */

ssize_t io_pread(struct worker *w, int fd, void *buf, size_t len, off_t off)
{
	ssize_t n = TIMED(w, "pread", pread(fd, buf, len, off));

	if (n < 0)
		return -errno;
	if (planted(w, PLANT_STALE_READ, 20))
		make_stale(buf, (size_t)n);
	return n;
}

int io_pwrite(struct worker *w, int fd, const void *buf, size_t len, off_t off)
{
	size_t done = 0;

	if (w->px->o.plant && plant_in_write(w, fd, buf, len, &off, &done))
		return 0;
	while (done < len) {
		ssize_t n = TIMED(w, "pwrite",
				  pwrite(fd, (const char *)buf + done,
					 len - done, off + (off_t)done));

		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		done += (size_t)n;
	}
	w->bytes_written += len;
	return 0;
}

int io_truncate(struct worker *w, int fd, off_t size)
{
	if (planted(w, PLANT_STALE_SIZE, 4))
		return 0;
	return TIMED(w, "ftruncate", ftruncate(fd, size)) < 0 ? -errno : 0;
}

int io_fallocate(struct worker *w, int fd, int mode, off_t off, off_t len)
{
	int res = TIMED(w, "fallocate", fallocate(fd, mode, off, len));

	return res < 0 ? -errno : 0;
}

int io_copy(struct worker *w, int from, off_t from_off, int to, off_t to_off,
	    size_t len)
{
	while (len) {
		ssize_t n = TIMED(
			w, "copy_file_range",
			copy_file_range(from, &from_off, to, &to_off, len, 0));

		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		len -= (size_t)n;
	}
	return 0;
}

int io_fsync(struct worker *w, int fd, bool data_only)
{
	int res = data_only ? TIMED(w, "fdatasync", fdatasync(fd))
			    : TIMED(w, "fsync", fsync(fd));

	return res < 0 ? -errno : 0;
}

int io_open(struct worker *w, const char *name, int flags)
{
	int fd =
		TIMED(w, "open", openat(w->dir, name, flags | O_CLOEXEC, 0600));

	if (fd >= 0 && (flags & O_EXCL) && planted(w, PLANT_TWICE, 20)) {
		close(fd);
		return -EEXIST;
	}
	return fd < 0 ? -errno : fd;
}

int io_rename(struct worker *w, const char *from, const char *to)
{
	int res = TIMED(w, "rename", renameat(w->dir, from, w->dir, to));

	if (!res && planted(w, PLANT_TWICE, 20))
		return -ENOENT;
	return res < 0 ? -errno : 0;
}

int io_unlink(struct worker *w, const char *name, int flags)
{
	const char *what = flags & AT_REMOVEDIR ? "rmdir" : "unlink";
	int res = TIMED(w, what, unlinkat(w->dir, name, flags));

	return res < 0 ? -errno : 0;
}

int io_mkdir(struct worker *w, const char *name)
{
	int res = TIMED(w, "mkdir", mkdirat(w->dir, name, 0700));

	if (!res && planted(w, PLANT_TWICE, 20))
		return -EEXIST;
	return res < 0 ? -errno : 0;
}

int io_stat(struct worker *w, const char *name, uint64_t *size, bool *is_dir)
{
	struct stat sb;
	int res = TIMED(w, "stat",
			fstatat(w->dir, name, &sb, AT_SYMLINK_NOFOLLOW));

	if (res < 0)
		return -errno;
	if (size)
		*size = (uint64_t)sb.st_size;
	if (is_dir)
		*is_dir = S_ISDIR(sb.st_mode);
	return 0;
}

int io_fstat(struct worker *w, int fd, uint64_t *size)
{
	struct stat sb;

	if (TIMED(w, "fstat", fstat(fd, &sb)) < 0)
		return -errno;
	*size = (uint64_t)sb.st_size;
	return 0;
}

void io_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* ---- what went wrong ---- */

static void say(struct worker *w, const char *kind, const char *text)
{
	struct pfsx *px = w->px;
	const struct op *op = &w->op;

	pthread_mutex_lock(&px->report);
	if (px->printed++ < MAX_PRINTED)
		fprintf(stderr,
			"pfsx: %s: %s\n"
			"pfsx:   at seed %llu, run %u, thread %u, op %llu: "
			"%s image %u offset %llu length %llu%s\n",
			kind, text, (unsigned long long)px->o.seed, px->run,
			w->id, (unsigned long long)w->op_no, op_names[op->kind],
			op->image, (unsigned long long)op->off,
			(unsigned long long)op->len,
			op->direct ? " O_DIRECT" : "");
	pthread_mutex_unlock(&px->report);
	if (!px->o.keep_going)
		px->stop = true;
}

void report_error(struct worker *w, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	w->px->errors++;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say(w, "ERROR", text);
}

/* A file system that was just cut off may show anything; whether it was is
 * asked by a call that it cannot answer then. */
static bool is_cut(struct worker *w)
{
	struct pfsx *px = w->px;

	if (px->o.until_error && !px->cut && fsync(w->dir) < 0) {
		px->cut = true;
		px->stop = true;
	}
	return px->cut;
}

void report_diff(struct worker *w, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (is_cut(w))
		return;
	w->px->diffs++;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say(w, "DIFFERENCE", text);
}

/* Errors of a mount that died, as opposed to one that answers wrongly. */
static bool is_lost_mount(int err)
{
	return err == -ENOTCONN || err == -ECONNABORTED || err == -ESTALE ||
	       err == -ENODEV || err == -EIO || err == -EBADF;
}

/* The directory below a mountpoint is not the mount: only the latter holds
 * image 0, under one name or the other. */
static int open_if_mounted(const struct pfsx *px)
{
	char a[32], b[32];
	int dir = open(px->o.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	image_name(0, 0, a);
	image_name(0, 1, b);
	if (dir >= 0 && faccessat(dir, a, F_OK, 0) < 0 &&
	    faccessat(dir, b, F_OK, 0) < 0)
		io_close(&dir);
	return dir;
}

static bool reconnect(struct worker *w)
{
	struct pfsx *px = w->px;
	uint64_t begun = now_ns(), waited = 0;
	int dir = -1;

	for (uint32_t i = 0; i < px->o.images; i++)
		image_forget(w, i);
	io_close(&w->scratch);
	io_close(&w->dir);
	while (dir < 0 && waited < px->o.ride_out_s * 1000000000ull) {
		sleep_ms(10);
		dir = open_if_mounted(px);
		waited = now_ns() - begun;
	}
	px->outages++;
	pthread_mutex_lock(&px->report);
	if (waited > px->worst_outage_ns)
		px->worst_outage_ns = waited;
	pthread_mutex_unlock(&px->report);
	w->dir = dir;
	return dir >= 0;
}

bool io_failed(struct worker *w, int err, const char *what)
{
	struct pfsx *px = w->px;

	if (px->o.until_error) {
		px->cut = true;
		px->stop = true;
		return false;
	}
	if (px->o.ride_out_s && is_lost_mount(err)) {
		if (reconnect(w))
			return true;
		px->stop = true;
		report_error(w, "%s: the mount did not come back in %u s", what,
			     px->o.ride_out_s);
		return false;
	}
	report_error(w, "%s: %s", what, strerror(-err));
	return false;
}
