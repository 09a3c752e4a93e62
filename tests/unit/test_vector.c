/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The frame of a guest's word: what is sent is what arrives, and of each field
 * what must not be there is refused for its own reason. */
#include <pfs/vector.h>

#include "check.h"

/* Where fields are, from pfs-vector(5). */
#define AT_MAJOR 8
#define AT_MINOR 9
#define AT_LENGTH 10
#define AT_SIGNALS 12
#define AT_NONCE 16
#define AT_SEQ 32
#define AT_TIME 40
#define AT_INTERVAL 48
#define AT_FLAGS 52
#define AT_N_DISKS 54
#define AT_N_EXTENTS 55
#define AT_SAMPLES 56
#define AT_ZERO 60
#define AT_FEATURES 64
#define AT_DISKS 192
#define AT_EXTENTS 224
#define AT_SPARE 480
#define AT_SUM 508

static struct pfs_vector sample(void)
{
	struct pfs_vector v = {
		.seq = 42,
		.time_ns = 1234567890123,
		.interval_ms = 500,
		.signals = PFS_SIGNAL_FAULTS | PFS_SIGNAL_VMSTAT,
		.flags = PFS_VECTOR_EARLY,
		.n_samples = 500,
		.n_disks = 2,
		.n_extents = 3,
		.disk_bytes = {PFS_GIB(8), PFS_MIB(1)},
		.extent = {{.off = PFS_GIB(8) - 4096,
			    .len = 4096,
			    .age_ms = 3,
			    .kind = PFS_EXTENT_EXEC},
			   {.off = 0, .len = 512, .kind = PFS_EXTENT_OPEN},
			   {.off = 4096,
			    .len = 65536,
			    .age_ms = PFS_VECTOR_AGE_MAX_MS,
			    .kind = PFS_EXTENT_REFAULT,
			    .disk = 1}},
	};

	for (uint32_t i = 0; i < PFS_VECTOR_NONCE_LEN; i++)
		v.nonce[i] = (uint8_t)(i * 7);
	for (enum pfs_feature i = 0; i < PFS_FEATURES; i++)
		v.feature[i] = pfs_feature_max(i) - i;
	return v;
}

/* --- frames with one thing wrong --- */

/* Bit by bit, not as vector.c does it. */
static uint32_t crc32c(const uint8_t *p, size_t len)
{
	uint32_t crc = UINT32_MAX;

	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static void put(uint8_t *frame, size_t at, uint64_t v, size_t n_bytes)
{
	for (size_t i = 0; i < n_bytes; i++)
		frame[at + i] = (uint8_t)(v >> 8 * i);
}

static void seal(uint8_t *frame)
{
	put(frame, AT_SUM, crc32c(frame, AT_SUM), 4);
}

static enum pfs_vector_error decode(const uint8_t *frame)
{
	struct pfs_vector v;

	return pfs_vector_decode(frame, PFS_VECTOR_LEN, &v);
}

/* A sound frame but for n_bytes at one place. */
static enum pfs_vector_error with(size_t at, uint64_t v, size_t n_bytes)
{
	struct pfs_vector sound = sample();
	uint8_t frame[PFS_VECTOR_LEN];

	pfs_vector_encode(&sound, frame);
	put(frame, at, v, n_bytes);
	seal(frame);
	return decode(frame);
}

/* --- cases --- */

static void the_checksum_is_crc32c(void)
{
	CHECK_EQ(crc32c((const uint8_t *)"123456789", 9), 0xe3069283);
}

static void what_is_sent_arrives(void)
{
	struct pfs_vector v = sample(), got;
	uint8_t frame[PFS_VECTOR_LEN];

	CHECK_EQ(pfs_vector_check(&v), PFS_VECTOR_OK);
	pfs_vector_encode(&v, frame);
	memset(&got, 0xff, sizeof(got));
	CHECK_EQ(pfs_vector_decode(frame, sizeof(frame), &got), PFS_VECTOR_OK);

	CHECK(!memcmp(got.nonce, v.nonce, sizeof(v.nonce)));
	CHECK_EQ(got.seq, v.seq);
	CHECK_EQ(got.time_ns, v.time_ns);
	CHECK_EQ(got.interval_ms, v.interval_ms);
	CHECK_EQ(got.signals, v.signals);
	CHECK_EQ(got.flags, v.flags);
	CHECK_EQ(got.n_samples, v.n_samples);
	CHECK_EQ(got.n_disks, v.n_disks);
	CHECK_EQ(got.n_extents, v.n_extents);
	CHECK(!memcmp(got.feature, v.feature, sizeof(v.feature)));
	CHECK(!memcmp(got.disk_bytes, v.disk_bytes, sizeof(v.disk_bytes)));
	CHECK(!memcmp(got.extent, v.extent, sizeof(v.extent)));
}

/* Other programs rely on it, and on these places. */
static void the_frame_is_laid_out_as_documented(void)
{
	struct pfs_vector v = sample();
	uint8_t frame[PFS_VECTOR_LEN], want[PFS_VECTOR_LEN] = "PFSVECTR";

	CHECK_EQ(AT_FEATURES + 4 * PFS_FEATURES, AT_DISKS);
	put(want, AT_MAJOR, 1, 1);
	put(want, AT_LENGTH, 512, 2);
	put(want, AT_SIGNALS, v.signals, 4);
	memcpy(want + AT_NONCE, v.nonce, 16);
	put(want, AT_SEQ, 42, 8);
	put(want, AT_TIME, v.time_ns, 8);
	put(want, AT_INTERVAL, 500, 4);
	put(want, AT_FLAGS, 1, 2);
	put(want, AT_N_DISKS, 2, 1);
	put(want, AT_N_EXTENTS, 3, 1);
	put(want, AT_SAMPLES, 500, 4);
	for (size_t i = 0; i < PFS_FEATURES; i++)
		put(want, AT_FEATURES + 4 * i, v.feature[i], 4);
	put(want, AT_DISKS, PFS_GIB(8), 8);
	put(want, AT_DISKS + 8, PFS_MIB(1), 8);
	for (size_t i = 0; i < v.n_extents; i++) {
		size_t at = AT_EXTENTS + 16 * i;

		put(want, at, v.extent[i].off, 8);
		put(want, at + 8, v.extent[i].len, 4);
		put(want, at + 12, v.extent[i].age_ms, 2);
		put(want, at + 14, v.extent[i].kind, 1);
		put(want, at + 15, v.extent[i].disk, 1);
	}
	seal(want);

	pfs_vector_encode(&v, frame);

	CHECK(!memcmp(frame, want, sizeof(want)));
}

static void each_field_is_refused_for_its_own_reason(void)
{
	static const struct {
		size_t at;
		uint64_t v;
		size_t n_bytes;
		enum pfs_vector_error want;
	} cases[] = {
		{0, 'p', 1, PFS_VECTOR_BAD_MAGIC},
		{AT_MAJOR, 0, 1, PFS_VECTOR_BAD_VERSION},
		{AT_MAJOR, 2, 1, PFS_VECTOR_BAD_VERSION},
		{AT_LENGTH, 511, 2, PFS_VECTOR_BAD_LENGTH},
		{AT_LENGTH, 0, 2, PFS_VECTOR_BAD_LENGTH},
		{AT_SIGNALS, 1 << PFS_SIGNALS, 4, PFS_VECTOR_BAD_SIGNALS},
		{AT_SEQ, 0, 8, PFS_VECTOR_BAD_SEQUENCE},
		{AT_SEQ, UINT64_MAX, 8, PFS_VECTOR_BAD_SEQUENCE},
		{AT_TIME, 1ull << 63, 8, PFS_VECTOR_BAD_TIME},
		{AT_INTERVAL, 0, 4, PFS_VECTOR_BAD_INTERVAL},
		{AT_INTERVAL, 600001, 4, PFS_VECTOR_BAD_INTERVAL},
		{AT_FLAGS, 4, 2, PFS_VECTOR_BAD_FLAGS},
		{AT_SAMPLES, 513, 4, PFS_VECTOR_BAD_SAMPLES},
		{AT_N_DISKS, 5, 1, PFS_VECTOR_BAD_DISK},
		{AT_N_DISKS, 3, 1, PFS_VECTOR_BAD_DISK},
		{AT_N_DISKS, 1, 1, PFS_VECTOR_BAD_DISK},
		{AT_DISKS, 0, 8, PFS_VECTOR_BAD_DISK},
		{AT_DISKS, 511, 8, PFS_VECTOR_BAD_DISK},
		{AT_DISKS + 8, 1ull << 63, 8, PFS_VECTOR_BAD_DISK},
		{AT_DISKS + 16, 512, 8, PFS_VECTOR_BAD_DISK},
		{AT_N_EXTENTS, 17, 1, PFS_VECTOR_BAD_EXTENT_COUNT},
		{AT_N_EXTENTS, 255, 1, PFS_VECTOR_BAD_EXTENT_COUNT},
		{AT_N_EXTENTS, 4, 1, PFS_VECTOR_BAD_EXTENT_KIND},
		{AT_N_EXTENTS, 2, 1, PFS_VECTOR_BAD_RESERVED},
		{AT_EXTENTS + 14, 0, 1, PFS_VECTOR_BAD_EXTENT_KIND},
		{AT_EXTENTS + 14, 5, 1, PFS_VECTOR_BAD_EXTENT_KIND},
		{AT_EXTENTS + 15, 2, 1, PFS_VECTOR_BAD_EXTENT_DISK},
		{AT_EXTENTS + 12, 60001, 2, PFS_VECTOR_BAD_EXTENT_AGE},
		{AT_EXTENTS, PFS_GIB(8) - 3584, 8, PFS_VECTOR_BAD_EXTENT_PLACE},
		{AT_EXTENTS, UINT64_MAX - 511, 8, PFS_VECTOR_BAD_EXTENT_PLACE},
		{AT_EXTENTS, 100, 8, PFS_VECTOR_BAD_EXTENT_PLACE},
		{AT_EXTENTS + 8, 0, 4, PFS_VECTOR_BAD_EXTENT_PLACE},
		{AT_EXTENTS + 8, 100, 4, PFS_VECTOR_BAD_EXTENT_PLACE},
		{AT_EXTENTS + 24, PFS_MIB(64) + 512, 4,
		 PFS_VECTOR_BAD_EXTENT_PLACE},
		{AT_EXTENTS + 40, PFS_MIB(2), 4, PFS_VECTOR_BAD_EXTENT_PLACE},
		{AT_ZERO, 1, 1, PFS_VECTOR_BAD_RESERVED},
		{AT_SPARE, 1, 1, PFS_VECTOR_BAD_RESERVED},
		{AT_SUM - 1, 1, 1, PFS_VECTOR_BAD_RESERVED},
	};

	for (size_t i = 0; i < PFS_ARRAY_SIZE(cases); i++) {
		enum pfs_vector_error got =
			with(cases[i].at, cases[i].v, cases[i].n_bytes);

		CHECK_STR(pfs_vector_error_name(got),
			  pfs_vector_error_name(cases[i].want));
	}
}

/* Also those that are a NaN or an infinity where floats were expected. */
static void a_feature_out_of_range_is_refused(void)
{
	for (enum pfs_feature i = 0; i < PFS_FEATURES; i++) {
		size_t at = AT_FEATURES + 4u * i;

		CHECK_EQ(with(at, 0, 4), PFS_VECTOR_OK);
		CHECK_EQ(with(at, pfs_feature_max(i), 4), PFS_VECTOR_OK);
		CHECK_EQ(with(at, pfs_feature_max(i) + 1ull, 4),
			 PFS_VECTOR_BAD_FEATURE);
		CHECK_EQ(with(at, 0x7fc00000, 4), PFS_VECTOR_BAD_FEATURE);
		CHECK_EQ(with(at, UINT32_MAX, 4), PFS_VECTOR_BAD_FEATURE);
	}
}

static void a_nonce_of_zeros_is_refused(void)
{
	struct pfs_vector v = sample();
	uint8_t frame[PFS_VECTOR_LEN];

	memset(v.nonce, 0, sizeof(v.nonce));
	pfs_vector_encode(&v, frame);

	CHECK_EQ(decode(frame), PFS_VECTOR_BAD_NONCE);
}

static void any_other_length_is_refused(void)
{
	struct pfs_vector v = sample(), got;
	uint8_t frame[PFS_VECTOR_LEN + 1] = {0};

	pfs_vector_encode(&v, frame);
	for (size_t len = 0; len <= sizeof(frame); len++) {
		if (len != PFS_VECTOR_LEN)
			CHECK_EQ(pfs_vector_decode(frame, len, &got),
				 PFS_VECTOR_BAD_LENGTH);
	}
}

static void any_flipped_bit_is_noticed(void)
{
	struct pfs_vector v = sample();
	uint8_t frame[PFS_VECTOR_LEN];

	pfs_vector_encode(&v, frame);
	for (size_t i = 0; i < 8 * sizeof(frame); i++) {
		frame[i / 8] ^= (uint8_t)(1 << i % 8);
		CHECK(decode(frame) != PFS_VECTOR_OK);
		frame[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	CHECK_EQ(decode(frame), PFS_VECTOR_OK);
}

static void a_later_minor_version_is_read_as_far_as_known(void)
{
	struct pfs_vector v = sample(), got;
	uint8_t frame[PFS_VECTOR_LEN];

	pfs_vector_encode(&v, frame);
	put(frame, AT_MINOR, PFS_VECTOR_MINOR + 1, 1);
	put(frame, AT_SIGNALS, 0x80000000 | v.signals, 4);
	put(frame, AT_FLAGS, 0x8001, 2);
	put(frame, AT_ZERO, 7, 1);
	put(frame, AT_SPARE, 7, 1);
	put(frame, AT_EXTENTS + 14, PFS_EXTENT_KINDS, 1); /* the first */
	seal(frame);

	CHECK_EQ(pfs_vector_decode(frame, sizeof(frame), &got), PFS_VECTOR_OK);
	CHECK_EQ(got.signals, v.signals);
	CHECK_EQ(got.flags, v.flags);
	CHECK_EQ(got.n_extents, 2);
	CHECK(!memcmp(got.extent, v.extent + 1, 2 * sizeof(v.extent[0])));

	/* Ranges hold for it as well. */
	put(frame, AT_FEATURES, PFS_Q16_ONE + 1, 4);
	seal(frame);
	CHECK_EQ(decode(frame), PFS_VECTOR_BAD_FEATURE);
}

static void everything_has_a_name(void)
{
	for (enum pfs_vector_error e = 0; e < PFS_VECTOR_ERRORS; e++)
		CHECK(pfs_vector_error_name(e) &&
		      strcmp(pfs_vector_error_name(e), "unknown") != 0);
	for (int k = 1; k < PFS_EXTENT_KINDS; k++)
		CHECK(pfs_extent_kind_name((uint8_t)k) &&
		      strcmp(pfs_extent_kind_name((uint8_t)k), "unknown") != 0);
	CHECK_STR(pfs_extent_kind_name(0), "unknown");
	CHECK_STR(pfs_extent_kind_name(PFS_EXTENT_KINDS), "unknown");
	CHECK_STR(pfs_vector_error_name(PFS_VECTOR_ERRORS), "unknown");
	for (uint32_t i = 0; i < PFS_SIGNALS; i++)
		CHECK(strcmp(pfs_signal_name(i), "unknown") != 0);
	CHECK_STR(pfs_signal_name(PFS_SIGNALS), "unknown");
}

int main(void)
{
	RUN(the_checksum_is_crc32c);
	RUN(what_is_sent_arrives);
	RUN(the_frame_is_laid_out_as_documented);
	RUN(each_field_is_refused_for_its_own_reason);
	RUN(a_feature_out_of_range_is_refused);
	RUN(a_nonce_of_zeros_is_refused);
	RUN(any_other_length_is_refused);
	RUN(any_flipped_bit_is_noticed);
	RUN(a_later_minor_version_is_read_as_far_as_known);
	RUN(everything_has_a_name);
	return CHECK_RESULT();
}
