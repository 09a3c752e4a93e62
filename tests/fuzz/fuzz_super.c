/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The superblock: what is accepted has a shape that a store can have, and is
 * written again as it was. */
#include "format_fixture.h"

static void try_super(const uint8_t *super)
{
	uint8_t again[FORMAT_SUPER_SIZE];
	struct geometry g;
	uint32_t last;

	if (super_decode(super, &g))
		return;
	must(g.n_segments >= 4 && g.segment_slots >= 8);
	last = geometry_n_slots(&g) - 1;
	must(last / g.segment_slots == g.n_segments - 1);
	must(geometry_slot_off(&g, last) + g.chunk <= geometry_end(&g));
	must(geometry_header_off(&g, last) + g.header_size <=
	     geometry_slot_off(&g, last - last % g.segment_slots));
	must(super_is_of(&g, super));
	super_encode(&g, again);
	must(super_is_of(&g, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t super[FORMAT_SUPER_SIZE] = {0};
	uint64_t seed = 0;

	memcpy(super, data, PFS_MIN(len, sizeof(super)));
	try_super(super);
	for (int i = 7; i >= 0; i--) /* the magic */
		seed = seed << 8 | super[i];
	put_sum(super + sizeof(super) - 8,
		pfs_hash64(super, sizeof(super) - 8, seed));
	try_super(super);
	return 0;
}
