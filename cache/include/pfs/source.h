/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/source.h - where the bytes of one image come from.
 *
 * A source is reference counted: an image's handles, its place in the store
 * and fetches in flight share it, and it is closed with the last of them.
 * Backends are tables of functions (cache/source.c); today there is one, a
 * file below the source directory.
 *
 * Threads  every call is safe from any thread.
 */
#ifndef PFS_SOURCE_H
#define PFS_SOURCE_H

#include <pfs/base.h>

struct pfs_source;

/** A regular file: fd must be open for reading, without O_DIRECT; it is
 *  duplicated, and O_NONBLOCK is cleared on both.  One reference. */
int pfs_source_from_fd(int fd, struct pfs_source **out) PFS_MUST_CHECK;
struct pfs_source *pfs_source_get(struct pfs_source *src);
/** Accepts NULL. */
void pfs_source_put(struct pfs_source *src);

#endif
