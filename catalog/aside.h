/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * aside.h - the catalog's files on disk, apart from what SQLite does to them.
 */
#ifndef PFS_CATALOG_ASIDE_H
#define PFS_CATALOG_ASIDE_H

#include <pfs/base.h>

/** Make the folder of path and its parents, mode 0700. */
int catalog_make_folder(const char *path) PFS_MUST_CHECK;

/** Create path with mode 0600 whatever the umask, unless it exists; -EINVAL:
 *  it is no regular file.  SQLite gives its companions the same mode. */
int catalog_make_file(const char *path) PFS_MUST_CHECK;

/** Did the last user of the file end without closing it?  True if the
 *  write-ahead log is there and not empty. */
bool catalog_was_unclean(const char *path);

/** A catalog that fails while in use leaves a note, so that the next start
 *  sets it aside also if the damage does not show at open. */
void catalog_note_failure(const char *path, const char *why);
bool catalog_has_failure_note(const char *path);

/** Rename path to path.KIND-YYYYmmddTHHMMSS with its companions, and delete
 *  the oldest of ours beyond three.  "foreign" ones are never deleted: they
 *  are not ours.  moved is the new name. */
int catalog_set_aside(const char *path, const char *kind, char *moved,
		      size_t size) PFS_MUST_CHECK;

#endif
