/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "stream.h"

void streams_init(struct streams *s, uint32_t chunk)
{
	*s = (struct streams){.near = PFS_MAX(STREAM_NEAR / chunk, 1ull)};
}

static uint64_t apart(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* The handle's stream whose head is nearest, NULL: none is near.  Of two
 * equally near the one used last: its reader is the likelier one. */
static struct stream *nearest(struct streams *s, uint32_t handle,
			      uint64_t chunk)
{
	uint64_t best = s->near + 1;
	struct stream *found = NULL;

	for (struct stream *st = s->stream; st < s->stream + STREAMS_MAX;
	     st++) {
		uint64_t d = apart(st->head, chunk);

		if (!st->used || st->handle != handle || d > best)
			continue;
		if (d == best && (!found || st->used < found->used))
			continue;
		best = d;
		found = st;
	}
	return found;
}

static struct stream *least_used(struct streams *s)
{
	struct stream *found = &s->stream[0];

	for (uint32_t i = 1; i < STREAMS_MAX; i++)
		if (s->stream[i].used < found->used)
			found = &s->stream[i];
	return found;
}

void streams_touch(struct streams *s, uint32_t handle, struct touch *t)
{
	struct stream *st = nearest(s, handle, t->chunk);

	t->is_new_stream = !st;
	if (!st) {
		st = least_used(s);
		st->handle = handle;
		st->head = t->chunk;
	}
	t->delta =
		t->is_new_stream ? DELTA_NONE : (int64_t)(t->chunk - st->head);
	t->stream = (uint32_t)(st - s->stream);
	st->head = t->chunk;
	st->used = ++s->clock;
}
