/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Slot headers: first byte the chunk size, second the slot, then the header,
 * padded with zeros.  What is accepted is written again as it was. */
#include "format_fixture.h"

#define SUM_OFF 56
#define SUMS_OFF 64

static void try_header(const struct geometry *g, uint32_t slot,
		       const uint8_t *h)
{
	PFS_AUTO_FREE uint8_t *again = malloc(g->header_size);
	uint32_t sums[FORMAT_MAX_BLKS];
	struct slot_ident id;

	if (slot_header_decode(g, slot, h, &id, sums))
		return;
	slot_header_encode(g, slot, &id, sums, again);
	must(!memcmp(again + 8, h + 8, 32));
	must(!memcmp(again + SUMS_OFF, h + SUMS_OFF, 4 * g->blks));
	must(slot_header_decode(g, slot + 1, h, &id, sums) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct geometry g = geometry_of(len ? data[0] : 0);
	uint32_t slot = len > 1 ? data[1] % geometry_n_slots(&g) : 0;
	PFS_AUTO_FREE uint8_t *h = calloc(1, g.header_size);
	uint64_t sum;

	must(h);
	if (len > 2)
		memcpy(h, data + 2, PFS_MIN(len - 2, (size_t)g.header_size));
	try_header(&g, slot, h);
	sum = pfs_hash64(h, SUM_OFF, g.uuid_hash ^ pfs_mix64(slot));
	put_sum(h + SUM_OFF, pfs_hash64(h + SUMS_OFF, 4 * g.blks, sum));
	try_header(&g, slot, h);
	return 0;
}
