/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/places.h - where a mount's source, mountpoint, store and catalog are.
 *
 * Fills in the defaults and refuses what cannot work: a source inside its own
 * mount, a catalog inside the store, and so on.  Each refusal is a sentence
 * that names the place and the remedy.
 */
#ifndef PFS_FS_PLACES_H
#define PFS_FS_PLACES_H

#include "options.h"

/** Resolve source and mountpoint as given on the command line, settle
 *  o->store and o->catalog (as given, or NULL for the default), and set id and
 *  fsname.  Makes nothing.  -EINVAL after a sentence on err. */
int places_settle(struct options *o, const char *source, const char *mountpoint,
		  FILE *err) PFS_MUST_CHECK;

/** Make the folders of catalog and store that are missing, mode 0700.
 *  -errno after a sentence on err. */
int places_make(const struct options *o, FILE *err) PFS_MUST_CHECK;

/** True when o->store is (or is to be) a folder, whose file is "store". */
bool places_store_is_folder(const struct options *o);

/** a is b or lies below it; both absolute and resolved. */
bool places_is_within(const char *a, const char *b);

#endif
