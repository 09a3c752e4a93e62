/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "warm.h"

#include <pfs/recording.h>

#include "replay.h"

void warm_fini(struct warm *w)
{
	free(w->chunks);
	*w = (struct warm){0};
}

void warm_range(struct warm *w, uint64_t first, uint64_t n)
{
	warm_fini(w);
	w->next = first;
	w->end = first + n;
}

int warm_recording(struct warm *w, const void *replay)
{
	PFS_AUTO_FREE uint64_t *chunks =
		malloc(PFS_RECORDING_STEPS_MAX * sizeof(*chunks));
	uint32_t n;

	if (!chunks)
		return -ENOMEM;
	n = replay_best(replay, 0, chunks, PFS_RECORDING_STEPS_MAX);
	if (!n)
		return -ENOENT;
	warm_range(w, 0, n);
	w->chunks = pfs_take(&chunks);
	return 0;
}

uint64_t warm_take(struct warm *w)
{
	uint64_t i = w->next++, chunk = w->chunks ? w->chunks[i] : i;

	if (w->next == w->end)
		warm_fini(w);
	return chunk;
}
