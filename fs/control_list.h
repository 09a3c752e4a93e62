/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/control_list.h - which images there are, and which one a request means.
 *
 * What is known of an image comes from two places: the catalog has a row for
 * each that was ever opened, the image table knows those in use.  Both are
 * copied first, so that no lock of theirs is held while others are asked.
 */
#ifndef PFS_FS_CONTROL_LIST_H
#define PFS_FS_CONTROL_LIST_H

#include "control_verbs.h"

struct control_entry {
	uint64_t id; /* 0: the catalog does not know it */
	char *name;  /* owned */
	uint64_t epoch, size;
	uint64_t n_chunks; /* resident */
	bool is_in_use;
	struct image_use {
		uint64_t n_reads, n_hits, n_late, n_misses;
		uint64_t read_bytes, write_bytes;
		uint32_t n_handles, n_writers;
		bool is_marked, is_expelled;
	} use;
};

struct control_list {
	struct control_entry *at; /* owned */
	size_t n, room;
	int err;
};

void control_list_done(struct control_list *l); /* for PFS_AUTO */

/** All images, sorted by name, into a zeroed list. */
int control_list(struct worker *w, struct control_list *all) PFS_MUST_CHECK;
/** The one that the request names as "image"; *out points into all. */
int control_find(struct control_call *call, struct control_list *all,
		 struct control_entry **out) PFS_MUST_CHECK;
/** The same, and it has an id: -ENODEV if it is served past the store. */
int control_find_known(struct control_call *call, struct control_list *all,
		       struct control_entry **out) PFS_MUST_CHECK;
/** The name in the list of an image; NULL: not there. */
const char *control_name_of(const struct control_list *all, uint64_t id);

/** Count e->n_chunks anew. */
void control_count_resident(struct worker *w, struct control_entry *e);
/** -ENODEV with a sentence: this mount has no store. */
int control_need_store(struct control_call *call) PFS_MUST_CHECK;

#endif
