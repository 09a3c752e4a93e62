/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Zone rows of the catalog: first byte the chunk size, then the row, whose
 * last eight bytes are its checksum.  What is accepted names slots and places
 * that there are, in order, and is written again as it was. */
#include "format_fixture.h"

#define IMAGE 1
#define EPOCH 1
#define ZONE 0

static void try_row(const struct geometry *g, const uint8_t *row, size_t len)
{
	struct zone_entry e[PFS_ZONE_CHUNKS];
	static uint8_t again[ZONE_BLOB_MAX];
	uint32_t n;

	if (zone_decode(g, IMAGE, EPOCH, ZONE, row, len, e, &n))
		return;
	must(n <= PFS_ZONE_CHUNKS);
	for (uint32_t i = 0; i < n; i++) {
		must(e[i].slot < geometry_n_slots(g));
		must(e[i].idx < PFS_ZONE_CHUNKS);
		must(!i || e[i].idx > e[i - 1].idx);
	}
	must(zone_encode(g, IMAGE, EPOCH, ZONE, e, n, again) == len);
	must(!zone_decode(g, IMAGE, EPOCH, ZONE, again, len, e, &n));
	must(zone_decode(g, IMAGE, EPOCH + 1, ZONE, row, len, e, &n) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct geometry g = geometry_of(len ? data[0] : 0);
	size_t n = len ? len - 1 : 0;
	PFS_AUTO_FREE uint8_t *row = malloc(n ? n : 1);
	uint64_t seed = pfs_mix64(g.uuid_hash ^ IMAGE);

	must(row);
	if (n)
		memcpy(row, data + 1, n);
	try_row(&g, row, n);
	if (n < 8)
		return 0;
	seed = pfs_mix64(pfs_mix64(seed ^ EPOCH) ^ ZONE);
	put_sum(row + n - 8, pfs_hash64(row, n - 8, seed));
	try_row(&g, row, n);
	return 0;
}
