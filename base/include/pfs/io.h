/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/io.h - system calls with a fault point each.
 *
 * The calls retry EINTR, return 0 or a byte count or -errno, and let an armed
 * fault point make them fail, stall, tear or lose.  Reads and writes of whole
 * buffers continue after short counts; a read stops at end of file.
 */
#ifndef PFS_IO_H
#define PFS_IO_H

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <linux/openat2.h>

#include <pfs/base.h>
#include <pfs/fault.h>

/** Read up to len bytes; fewer only at end of file. */
ssize_t pfs_io_pread(enum pfs_fault_point p, int fd, void *buf, size_t len,
		     uint64_t off) PFS_MUST_CHECK;
/** Write all len bytes, or fail: the rest of a short count is tried again, and
 *  the error of that is returned though a part may have been written. */
ssize_t pfs_io_pwrite(enum pfs_fault_point p, int fd, const void *buf,
		      size_t len, uint64_t off) PFS_MUST_CHECK;
/** What pfs_io_pwrite() does where a point is armed with late=: claim success,
 *  and write a copy of the bytes delay_ms later. */
ssize_t pfs_io_pwrite_late(int fd, const void *buf, size_t len, uint64_t off,
			   uint64_t delay_ms) PFS_MUST_CHECK;
int pfs_io_fdatasync(enum pfs_fault_point p, int fd) PFS_MUST_CHECK;
int pfs_io_fsync(enum pfs_fault_point p, int fd) PFS_MUST_CHECK;
int pfs_io_ftruncate(enum pfs_fault_point p, int fd,
		     uint64_t len) PFS_MUST_CHECK;
int pfs_io_fallocate(enum pfs_fault_point p, int fd, int mode, uint64_t off,
		     uint64_t len) PFS_MUST_CHECK;
/** openat2(2): the descriptor, or -errno. */
int pfs_io_openat2(enum pfs_fault_point p, int dir, const char *path,
		   const struct open_how *how) PFS_MUST_CHECK;

/** Zeroed memory, or NULL as the alloc point or the system says. */
void *pfs_zalloc(size_t n, size_t size) PFS_MUST_CHECK;
/** Page-aligned zeroed memory (mmap), populated; locked too if lock is set
 *  and the limit allows, *locked (if given) says which.  NULL if
 *  none.  The alloc point is passed here as well. */
void *pfs_pages_alloc(size_t len, bool lock, bool *locked) PFS_MUST_CHECK;
void pfs_pages_free(void *mem, size_t len);

#endif
