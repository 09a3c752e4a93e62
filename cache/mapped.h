/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * cache/mapped.h - reading a store that lies in memory.
 *
 * A tmpfs file is copied from a mapping: read(2) takes it page by page and
 * costs 1.6 times as much at 64 KiB.  The bytes are still checked in the
 * buffer that is sent, so nothing that happens to the file meanwhile matters;
 * a file that is truncated raises SIGBUS in the copy, which is caught there
 * and nowhere else.
 */
#ifndef PFS_CACHE_MAPPED_H
#define PFS_CACHE_MAPPED_H

#include <pfs/base.h>

/** Map len bytes of a file; NULL if that cannot be done. */
const uint8_t *mapped_open(int fd, uint64_t len);
void mapped_close(const uint8_t *map, uint64_t len);

/** Copy out of a mapping.  False: the file does not reach that far any more. */
bool mapped_copy(void *dst, const uint8_t *src, size_t len);

#endif
