/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The segment table: first byte the chunk size, then the table, whose last
 * eight bytes are its checksum.  What is accepted has states that there are
 * and can be adopted. */
#include "format_fixture.h"
#include "segments.h"

static void try_table(const struct geometry *g, const uint8_t *blob, size_t len)
{
	PFS_AUTO_FREE struct segment_row *rows =
		calloc(g->n_segments, sizeof(*rows));
	struct segments s;
	uint32_t n_used = 0;

	must(rows);
	if (segments_decode(g, blob, len, rows))
		return;
	must(len == segments_blob_len(g->n_segments));
	must(!segments_init(&s, g));
	segments_adopt(&s, rows);
	for (uint32_t i = 0; i < g->n_segments; i++) {
		must(rows[i].state <= SEGMENT_LEAVING);
		n_used += rows[i].state != SEGMENT_FREE;
	}
	must(s.n_free == g->n_segments - n_used);
	must(s.n_probation <= n_used);
	must(!n_used || segments_victim(&s) < g->n_segments);
	segments_fini(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct geometry g = geometry_of(len ? data[0] : 0);
	size_t n = len ? len - 1 : 0;
	PFS_AUTO_FREE uint8_t *blob = malloc(n ? n : 1);

	must(blob);
	if (n)
		memcpy(blob, data + 1, n);
	try_table(&g, blob, n);
	if (n < 8)
		return 0;
	put_sum(blob + n - 8, pfs_hash64(blob, n - 8, g.uuid_hash));
	try_table(&g, blob, n);
	return 0;
}
