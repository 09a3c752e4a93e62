/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Frames, which come from guests.  Whatever decodes is within its ranges and
 * is encoded so that the same is read; a frame of this version to the byte.
 *
 * AFL++ runs the same harness: build it with afl-clang-fast and
 * -fsanitize=fuzzer, which its own driver stands in for (see pfs-vector(5)).
 */
#include <stdlib.h>
#include <string.h>

#include <pfs/vector.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool claim)
{
	if (!claim)
		abort();
}

/* What the intake relies on, said again and in other words. */
static void must_be_sound(const struct pfs_vector *v)
{
	must(v->seq && v->interval_ms && v->interval_ms <= 600000);
	must(v->n_samples <= 512 && v->n_disks <= 4 && v->n_extents <= 16);
	for (enum pfs_feature i = 0; i < PFS_FEATURES; i++)
		must(v->feature[i] <= pfs_feature_max(i));
	for (uint32_t i = 0; i < v->n_extents; i++) {
		const struct pfs_vector_extent *e = &v->extent[i];

		must(e->kind && e->kind < PFS_EXTENT_KINDS);
		must(e->disk < v->n_disks && e->len);
		must(e->off + e->len > e->off);
		must(e->off + e->len <= v->disk_bytes[e->disk]);
	}
}

static bool is_ours(const uint8_t *frame)
{
	return frame[9] <= PFS_VECTOR_MINOR;
}

static enum pfs_vector_error try_frame(const uint8_t *frame, size_t len)
{
	uint8_t again[PFS_VECTOR_LEN];
	struct pfs_vector v, w;
	enum pfs_vector_error error = pfs_vector_decode(frame, len, &v);

	must(strcmp(pfs_vector_error_name(error), "unknown") != 0);
	if (error)
		return error;
	must_be_sound(&v);
	must(!pfs_vector_check(&v));
	pfs_vector_encode(&v, again);
	must(!pfs_vector_decode(again, sizeof(again), &w));
	must(!memcmp(&v, &w, sizeof(v)));
	must(!is_ours(frame) || !memcmp(again, frame, sizeof(again)));
	return error;
}

/* CRC-32C. */
static void seal(uint8_t *frame)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < PFS_VECTOR_LEN - 4; i++) {
		crc ^= frame[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	for (size_t i = 0; i < 4; i++)
		frame[PFS_VECTOR_LEN - 4 + i] = (uint8_t)(~crc >> 8 * i);
}

/* As it is, then with the checksum put right. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t frame[PFS_VECTOR_LEN];

	(void)try_frame(data, len);
	if (len != sizeof(frame))
		return 0;
	memcpy(frame, data, len);
	seal(frame);
	must(try_frame(frame, len) != PFS_VECTOR_BAD_CHECKSUM);
	return 0;
}
