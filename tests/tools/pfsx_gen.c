// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Which operation comes next.  Pure: nothing here looks at the images or at a
 * clock, so a seed names a sequence.  What depends on the state of an image
 * (its size, say) is worked out from op.arg when the operation runs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pfsx.h"

#define HOT_LEN 262144u

const char *const op_names[OP_KINDS] = {
	[OP_READ] = "read",
	[OP_WRITE] = "write",
	[OP_TRUNC] = "trunc",
	[OP_PUNCH] = "punch",
	[OP_RENAME] = "rename",
	[OP_FSYNC] = "fsync",
	[OP_FALLOCATE] = "fallocate",
	[OP_COPY] = "copy",
	[OP_NS] = "ns",
};

/* splitmix64 */
uint64_t rng_next(struct rng *r)
{
	uint64_t x = r->s += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
	return n ? rng_next(r) % n : 0;
}

static int set_weight(struct mix *mix, const char *name, size_t len,
		      const char *number)
{
	char *end;
	unsigned long n = strtoul(number, &end, 10);

	if (end == number || (*end && *end != ',') || n > 1000000)
		return -EINVAL;
	for (int k = 0; k < OP_KINDS; k++) {
		if (strlen(op_names[k]) != len ||
		    strncmp(op_names[k], name, len) != 0)
			continue;
		mix->weight[k] = (unsigned)n;
		return 0;
	}
	return -EINVAL;
}

/* "read=60,write=30": what is not named gets weight 0. */
int mix_parse(const char *text, struct mix *mix)
{
	memset(mix, 0, sizeof(*mix));
	while (*text) {
		size_t len = strcspn(text, "=,");
		size_t all = strcspn(text, ",");

		if (text[len] != '=' ||
		    set_weight(mix, text, len, text + len + 1))
			return -EINVAL;
		text += all + (text[all] == ',');
	}
	for (int k = 0; k < OP_KINDS; k++)
		mix->total += mix->weight[k];
	return mix->total ? 0 : -EINVAL;
}

void gen_init(struct gen *g, const struct options *o, unsigned thread,
	      uint32_t run)
{
	struct rng r = {o->seed ^ (uint64_t)run << 40};

	memset(g, 0, sizeof(*g));
	for (unsigned i = 0; i <= thread; i++)
		g->rng.s = rng_next(&r);
}

static enum op_kind pick_kind(struct rng *r, const struct mix *mix)
{
	uint64_t n = rng_below(r, mix->total);
	int k = 0;

	while (n >= mix->weight[k])
		n -= mix->weight[k++];
	return (enum op_kind)k;
}

/* Mostly 512 bytes to 64 KiB, every size class alike; 1 in 256 up to 1 MiB. */
static uint64_t pick_len(struct rng *r)
{
	uint64_t top = rng_below(r, 256) ? 1ull << rng_below(r, 8) : 2048;

	return SECTOR * (1 + rng_below(r, top));
}

/* Half of the operations meet in the first HOT_LEN bytes, where a guest has its
 * partition table and boot blocks, so that they overlap. */
static uint64_t pick_off(struct rng *r, uint64_t size)
{
	uint64_t hot = size < HOT_LEN ? size : HOT_LEN;

	return rng_below(r, 2) ? rng_below(r, hot) : rng_below(r, size);
}

static void clamp(const struct options *o, struct op *op)
{
	uint64_t size = o->size, block = o->block;

	op->off -= op->off % block;
	op->len = (op->len + block - 1) / block * block;
	if (op->len > MAX_IO)
		op->len = MAX_IO - MAX_IO % block;
	if (op->len > size - op->off)
		op->len = size - op->off;
}

static void follow_stream(struct gen *g, const struct options *o, struct op *op)
{
	if (g->stream_off >= o->size) {
		g->stream_off = 0;
		g->stream_image = op->image;
	}
	op->image = g->stream_image;
	op->off = g->stream_off;
	g->stream_off += op->len;
}

void gen_next(struct gen *g, const struct options *o, struct op *op)
{
	struct rng *r = &g->rng;

	op->kind = o->namespace_only ? OP_NS : pick_kind(r, &o->mix);
	op->image = (uint32_t)rng_below(r, o->images);
	op->len = pick_len(r);
	op->off = pick_off(r, o->size);
	op->arg = (uint32_t)rng_next(r);
	op->direct = rng_below(r, 100) < o->odirect;
	if (op->kind == OP_READ && rng_below(r, 4) == 0)
		follow_stream(g, o, op);
	clamp(o, op);
}
