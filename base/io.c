/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pfs/io.h>

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <pfs/clock.h>
#include <pfs/mutex.h>

#define COPY_ALIGN 4096u /* suits any O_DIRECT descriptor */

static ssize_t read_all(int fd, char *buf, size_t len, uint64_t off)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = pread(fd, buf + done, len - done, (off_t)(off + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static ssize_t write_all(int fd, const char *buf, size_t len, uint64_t off)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = pwrite(fd, buf + done, len - done, (off_t)(off + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		done += (size_t)n;
	}
	return (ssize_t)len;
}

ssize_t pfs_io_pread(enum pfs_fault_point p, int fd, void *buf, size_t len,
		     uint64_t off)
{
	struct pfs_fault f = pfs_fault_take(p);
	ssize_t n;

	if (f.kind == PFS_FAULT_ERRNO)
		return -(int)f.arg;
	if (f.kind == PFS_FAULT_STALL)
		pfs_sleep_ms(f.arg);
	if (f.kind == PFS_FAULT_SHORT)
		len = PFS_MIN(len, f.arg);

	n = read_all(fd, buf, len, off);
	if (f.kind == PFS_FAULT_FLIP && n > 0)
		((char *)buf)[n / 2] ^= 1;
	return n;
}

struct late_write {
	int fd; /* owned */
	size_t len;
	uint64_t off;
	uint64_t delay_ms;
	char *data; /* owned */
};

static void late_write_destroy(struct late_write *w)
{
	if (!w)
		return;
	pfs_fd_done(&w->fd);
	free(w->data);
	free(w);
}

static void late_write_done(struct late_write **w)
{
	late_write_destroy(*w);
}

static struct late_write *late_write_create(int fd, const void *buf, size_t len,
					    uint64_t off, uint64_t delay_ms)
{
	PFS_AUTO(late_write_done) struct late_write *w = malloc(sizeof(*w));
	void *data;

	if (!w)
		return NULL;
	*w = (struct late_write){-1, len, off, delay_ms, NULL};
	if (posix_memalign(&data, COPY_ALIGN, len))
		return NULL;
	w->data = memcpy(data, buf, len);
	w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (w->fd < 0)
		return NULL;
	return pfs_take(&w);
}

static void *late_main(void *arg)
{
	struct late_write *w = arg;

	pfs_sleep_ms(w->delay_ms);
	/* Nobody is left to tell: success was claimed long ago. */
	(void)write_all(w->fd, w->data, w->len, w->off);
	late_write_destroy(w);
	return NULL;
}

ssize_t pfs_io_pwrite_late(int fd, const void *buf, size_t len, uint64_t off,
			   uint64_t delay_ms)
{
	PFS_AUTO(late_write_done)
	struct late_write *w = late_write_create(fd, buf, len, off, delay_ms);
	pthread_t thread;
	int err;

	if (!w)
		return -ENOMEM;
	err = pfs_thread_start(&thread, "pfs-late", late_main, w);
	if (err)
		return err;
	pthread_detach(thread);
	(void)pfs_take(&w); /* the thread's now */
	return (ssize_t)len;
}

/* Put down the first keep bytes and return `claim` for it. */
static ssize_t write_part(int fd, const void *buf, size_t keep, uint64_t off,
			  ssize_t claim)
{
	ssize_t n = write_all(fd, buf, keep, off);

	return n < 0 ? n : claim;
}

ssize_t pfs_io_pwrite(enum pfs_fault_point p, int fd, const void *buf,
		      size_t len, uint64_t off)
{
	struct pfs_fault f = pfs_fault_take(p);

	switch (f.kind) {
	case PFS_FAULT_ERRNO:
		return -(int)f.arg;
	case PFS_FAULT_SHORT:
		if (f.arg >= len)
			break;
		return write_part(fd, buf, f.arg, off, -ENOSPC);
	case PFS_FAULT_TORN:
		return write_part(fd, buf, PFS_MIN(len, f.arg), off,
				  (ssize_t)len);
	case PFS_FAULT_LOST:
		return (ssize_t)len;
	case PFS_FAULT_LATE:
		return pfs_io_pwrite_late(fd, buf, len, off, f.arg);
	case PFS_FAULT_STALL:
		pfs_sleep_ms(f.arg);
		break;
	default:
		break;
	}
	return write_all(fd, buf, len, off);
}

/* For calls without data: true if the call is not to be made, and *err is
 * what it returns instead. */
static bool diverted(enum pfs_fault_point p, int *err)
{
	struct pfs_fault f = pfs_fault_take(p);

	*err = f.kind == PFS_FAULT_ERRNO ? -(int)f.arg : 0;
	if (f.kind == PFS_FAULT_STALL)
		pfs_sleep_ms(f.arg);
	return f.kind == PFS_FAULT_ERRNO || f.kind == PFS_FAULT_LOST;
}

/* The value of a system call, tried again on EINTR: result or -errno. */
#define RETRIED(call)                                                          \
	({                                                                     \
		long r_;                                                       \
		do                                                             \
			r_ = (call);                                           \
		while (r_ < 0 && errno == EINTR);                              \
		r_ < 0 ? -errno : (int)r_;                                     \
	})

int pfs_io_fdatasync(enum pfs_fault_point p, int fd)
{
	int err;

	return diverted(p, &err) ? err : RETRIED(fdatasync(fd));
}

int pfs_io_fsync(enum pfs_fault_point p, int fd)
{
	int err;

	return diverted(p, &err) ? err : RETRIED(fsync(fd));
}

int pfs_io_ftruncate(enum pfs_fault_point p, int fd, uint64_t len)
{
	int err;

	return diverted(p, &err) ? err : RETRIED(ftruncate(fd, (off_t)len));
}

int pfs_io_fallocate(enum pfs_fault_point p, int fd, int mode, uint64_t off,
		     uint64_t len)
{
	int err;

	if (diverted(p, &err))
		return err;
	return RETRIED(fallocate(fd, mode, (off_t)off, (off_t)len));
}

int pfs_io_openat2(enum pfs_fault_point p, int dir, const char *path,
		   const struct open_how *how)
{
	int err = pfs_fault_check(p);

	if (err)
		return err;
	return RETRIED(syscall(SYS_openat2, dir, path, how, sizeof(*how)));
}

void *pfs_zalloc(size_t n, size_t size)
{
	return pfs_fault_check(PFS_FP_ALLOC) ? NULL : calloc(n, size);
}

void *pfs_pages_alloc(size_t len, bool lock, bool *locked)
{
	void *mem;

	if (pfs_fault_check(PFS_FP_ALLOC))
		return NULL;
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (mem == MAP_FAILED)
		return NULL;
	lock = lock && mlock(mem, len) == 0;
	if (locked)
		*locked = lock;
	return mem;
}

void pfs_pages_free(void *mem, size_t len)
{
	if (mem)
		munmap(mem, len);
}
