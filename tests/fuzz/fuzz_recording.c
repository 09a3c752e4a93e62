/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Recordings, which are imported from anywhere: what is accepted has steps
 * that a session can have made, merges with itself, and is written again so
 * that the same is read. */
#include <stdlib.h>
#include <string.h>

#include <pfs/hash.h>

#include "recording.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool claim)
{
	if (!claim)
		abort();
}

static void must_be_sound(const struct recording *r)
{
	must(r->n_steps && r->n_steps <= PFS_RECORDING_STEPS_MAX);
	must(pfs_is_pow2(r->chunk));
	for (uint32_t i = 0; i < r->n_steps; i++) {
		const struct step *s = &r->step[i];
		float share = recording_share(r, i);

		must(s->chunk != UINT32_MAX && s->had);
		must(share > 0 && share <= 1);
		must(recording_find(r, s->chunk, s->again,
				    recording_hash(s->chunk, s->again)) == i);
	}
}

static bool is_same(const struct step *a, const struct step *b)
{
	return a->chunk == b->chunk && a->gap == b->gap && a->had == b->had &&
	       a->again == b->again;
}

static void must_be_written_again(const struct recording *r)
{
	PFS_AUTO_FREE void *blob = NULL;
	struct pfs_recording_info info;
	struct recording *again;
	size_t len;

	must(!recording_encode(r, &blob, &len));
	must(len <= PFS_RECORDING_BYTES_MAX);
	must(!recording_decode(blob, len, &again));
	must(again->n_steps == r->n_steps);
	for (uint32_t i = 0; i < r->n_steps; i++)
		must(is_same(&again->step[i], &r->step[i]));
	recording_put(again);
	must(!pfs_recording_info(blob, len, &info));
	must(info.n_steps == r->n_steps);
}

static void try_recording(const uint8_t *blob, size_t len)
{
	struct recording *r, *merged;

	if (recording_decode(blob, len, &r))
		return;
	must_be_sound(r);
	must_be_written_again(r);
	(void)recording_likeness(r, r);
	must(!recording_merge(r, r, &merged));
	must_be_sound(merged);
	must_be_written_again(merged);
	recording_put(merged);
	recording_put(r);
}

/* As it is, then with the checksum put right. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	PFS_AUTO_FREE uint8_t *blob = calloc(1, len ? len : 1);
	uint64_t magic = 0, sum;

	must(blob);
	if (len)
		memcpy(blob, data, len);
	try_recording(blob, len);
	if (len < 16)
		return 0;
	for (int i = 7; i >= 0; i--)
		magic = magic << 8 | blob[i];
	sum = pfs_hash64(blob, len - 8, magic);
	for (int i = 0; i < 8; i++)
		blob[len - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
	try_recording(blob, len);
	return 0;
}
