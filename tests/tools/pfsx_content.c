// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * What pfsx writes into a sector, and how it reads that back.
 *
 *   word 0      "PFSXSECT"
 *   word 1      seed
 *   word 2      image << 40 | sector
 *   word 3      version
 *   word 4..63  key + i * GOLDEN, where key mixes words 1 to 3
 *
 * Every word after the header depends on all of it, so a sector put together
 * from two versions never decodes.
 */
#include <string.h>

#include "pfsx.h"

#define WORDS (SECTOR / 8)
#define GOLDEN 0x9e3779b97f4a7c15ull
#define MAGIC 0x5443455358534650ull /* "PFSXSECT" in memory */

static uint64_t mix64(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint64_t key_of(const uint64_t *w)
{
	return mix64(w[1] + GOLDEN * mix64(w[2] + GOLDEN * mix64(w[3] + 1)));
}

void content_stamp(void *sector, const struct stamp *st)
{
	uint64_t *w = sector;
	uint64_t key;

	w[0] = MAGIC;
	w[1] = st->seed;
	w[2] = (uint64_t)st->image << 40 | st->sector;
	w[3] = st->version;
	key = key_of(w);
	for (unsigned i = 4; i < WORDS; i++)
		w[i] = key + i * GOLDEN;
}

bool content_is_zero(const void *p, size_t len)
{
	const char *c = p;

	return !len || (!c[0] && !memcmp(c, c + 1, len - 1));
}

static void read_header(const uint64_t *w, struct stamp *st)
{
	st->seed = w[1];
	st->image = (uint32_t)(w[2] >> 40);
	st->sector = w[2] & ((1ull << 40) - 1);
	st->version = (uint32_t)w[3];
}

bool content_decode(const void *sector, struct stamp *st)
{
	const uint64_t *w = sector;
	uint64_t key, wrong = 0;

	if (w[0] != MAGIC)
		return false;
	key = key_of(w);
	for (unsigned i = 4; i < WORDS; i++)
		wrong |= w[i] ^ (key + i * GOLDEN);
	read_header(w, st);
	return !wrong && w[3] <= UINT32_MAX;
}

static void describe_stamp(const struct stamp *got, const struct stamp *want,
			   char *out, size_t n)
{
	const char *what = got->version < want->version
				   ? "an older version of this sector"
				   : "a newer version of this sector";

	if (got->seed != want->seed)
		what = "from another run's seed";
	else if (got->image >= ID_INTERLEAVE && got->image != want->image)
		what = "from a file that is no image";
	else if (got->image != want->image)
		what = "another image";
	else if (got->sector != want->sector)
		what = "another place of this image";
	snprintf(out, n, "image %u sector %llu version %u (%s)", got->image,
		 (unsigned long long)got->sector, got->version, what);
}

/* Length of the part in front that agrees with the stamp in the header. */
static size_t agreeing_bytes(const void *found)
{
	unsigned char model[SECTOR];
	const unsigned char *p = found;
	struct stamp st;
	size_t n = 0;

	read_header(found, &st);
	content_stamp(model, &st);
	while (n < SECTOR && p[n] == model[n])
		n++;
	return n;
}

void content_describe(const void *found, size_t len, const struct stamp *want,
		      char *out, size_t n)
{
	const unsigned char *p = found;
	struct stamp st;
	int used;

	if (content_is_zero(found, len)) {
		snprintf(out, n, "zeros");
	} else if (len == SECTOR && content_decode(found, &st)) {
		describe_stamp(&st, want, out, n);
	} else if (len == SECTOR && !memcmp(found, "PFSXSECT", 8)) {
		read_header(found, &st);
		used = snprintf(out, n, "a torn sector: %zu bytes of ",
				agreeing_bytes(found));
		if (used > 0 && (size_t)used < n)
			describe_stamp(&st, want, out + used, n - used);
	} else {
		snprintf(out, n, "garbage %02x %02x %02x %02x ... %02x", p[0],
			 p[1 % len], p[2 % len], p[3 % len], p[len - 1]);
	}
}
