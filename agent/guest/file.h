/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * file.h - small files of proc, sysfs and tracefs.
 *
 * Errors   0 or -errno; -EOVERFLOW: the file is longer than the room.
 */
#ifndef AGENT_FILE_H
#define AGENT_FILE_H

#include <pfs/base.h>

/** All of a file, with a 0 behind it. */
int file_read(const char *path, char *buf, size_t room) PFS_MUST_CHECK;
/** The decimal number a file starts with. */
int file_read_u64(const char *path, uint64_t *out) PFS_MUST_CHECK;
int file_write(const char *path, const char *text) PFS_MUST_CHECK;

#endif
