/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The frame of pfs-vector(5), field by field in the order of the bytes.  What
 * a field may hold is checked in one place, check_*(), for both directions.
 */
#include <pfs/vector.h>

#include <string.h>

#define MAGIC "PFSVECTR"
#define MAGIC_LEN 8u
#define SUM_LEN 4u
#define EXTENT_LEN 16u
#define SPARE_LEN 28u
#define SIGNALS_KNOWN ((1u << PFS_SIGNALS) - 1)
#define FLAGS_KNOWN (PFS_VECTOR_EARLY | PFS_VECTOR_LOST)
#define DISK_BYTES_MAX (UINT64_MAX / 4)

const struct pfs_feature_info pfs_feature_info[PFS_FEATURES] = {
#define PFS_FEATURE(id, n, r, h)                                               \
	[PFS_F_##id] = {.name = (n), .help = (h), .range = PFS_FEATURE_##r},
#include <pfs/features.def>
#undef PFS_FEATURE
};

struct reader {
	const uint8_t *at;
	bool is_newer;  /* a later minor version than ours */
	bool has_spare; /* where ours has nothing but zeros */
};

/* --- names and ranges --- */

const char *pfs_vector_error_name(enum pfs_vector_error error)
{
	static const char *const names[PFS_VECTOR_ERRORS] = {
		[PFS_VECTOR_OK] = "sound",
		[PFS_VECTOR_BAD_LENGTH] = "wrong length",
		[PFS_VECTOR_BAD_MAGIC] = "not a vector",
		[PFS_VECTOR_BAD_VERSION] = "unknown version",
		[PFS_VECTOR_BAD_CHECKSUM] = "wrong checksum",
		[PFS_VECTOR_BAD_SIGNALS] = "unknown signal",
		[PFS_VECTOR_BAD_NONCE] = "no nonce",
		[PFS_VECTOR_BAD_SEQUENCE] = "sequence number out of range",
		[PFS_VECTOR_BAD_TIME] = "time out of range",
		[PFS_VECTOR_BAD_INTERVAL] = "interval out of range",
		[PFS_VECTOR_BAD_FLAGS] = "unknown flag",
		[PFS_VECTOR_BAD_SAMPLES] = "too many samples",
		[PFS_VECTOR_BAD_FEATURE] = "feature out of range",
		[PFS_VECTOR_BAD_DISK] = "impossible disk",
		[PFS_VECTOR_BAD_EXTENT_COUNT] = "too many extents",
		[PFS_VECTOR_BAD_EXTENT_KIND] = "unknown kind of extent",
		[PFS_VECTOR_BAD_EXTENT_DISK] = "extent of no disk",
		[PFS_VECTOR_BAD_EXTENT_PLACE] = "extent out of place",
		[PFS_VECTOR_BAD_EXTENT_AGE] = "extent too old",
		[PFS_VECTOR_BAD_RESERVED] = "unused bytes are not zero",
	};

	return error < PFS_VECTOR_ERRORS ? names[error] : "unknown";
}

const char *pfs_extent_kind_name(uint8_t kind)
{
	static const char *const names[PFS_EXTENT_KINDS] = {
		[PFS_EXTENT_OPEN] = "open",
		[PFS_EXTENT_EXEC] = "exec",
		[PFS_EXTENT_AHEAD] = "ahead",
		[PFS_EXTENT_REFAULT] = "refault",
	};

	return kind && kind < PFS_EXTENT_KINDS ? names[kind] : "unknown";
}

const char *pfs_signal_name(uint32_t i)
{
	static const char *const names[PFS_SIGNALS] = {
		"faults", "page_cache", "block",     "opens",
		"damon",  "vmstat",     "diskstats", "pressure",
	};

	return i < PFS_SIGNALS ? names[i] : "unknown";
}

uint32_t pfs_feature_max(enum pfs_feature feature)
{
	static const uint32_t max[] = {
		[PFS_FEATURE_SHARE] = PFS_Q16_ONE,
		[PFS_FEATURE_LOG] = PFS_FEATURE_LOG_MAX,
		[PFS_FEATURE_STEPS] = PFS_FEATURE_STEPS_MAX * PFS_Q16_ONE,
	};

	return max[pfs_feature_info[feature].range];
}

/* --- checks --- */

static bool is_zero(const uint8_t *p, size_t len)
{
	while (len && !*p) {
		p++;
		len--;
	}
	return !len;
}

static enum pfs_vector_error check_head(const struct pfs_vector *v)
{
	if (v->signals & ~SIGNALS_KNOWN)
		return PFS_VECTOR_BAD_SIGNALS;
	if (is_zero(v->nonce, sizeof(v->nonce)))
		return PFS_VECTOR_BAD_NONCE;
	if (!v->seq || v->seq > INT64_MAX)
		return PFS_VECTOR_BAD_SEQUENCE;
	if (v->time_ns > INT64_MAX)
		return PFS_VECTOR_BAD_TIME;
	if (!v->interval_ms || v->interval_ms > PFS_VECTOR_INTERVAL_MAX_MS)
		return PFS_VECTOR_BAD_INTERVAL;
	if (v->flags & ~FLAGS_KNOWN)
		return PFS_VECTOR_BAD_FLAGS;
	if (v->n_samples > PFS_VECTOR_SAMPLES_MAX)
		return PFS_VECTOR_BAD_SAMPLES;
	return PFS_VECTOR_OK;
}

static enum pfs_vector_error check_features(const struct pfs_vector *v)
{
	for (enum pfs_feature i = 0; i < PFS_FEATURES; i++) {
		if (v->feature[i] > pfs_feature_max(i))
			return PFS_VECTOR_BAD_FEATURE;
	}
	return PFS_VECTOR_OK;
}

static bool is_disk_size(uint64_t bytes)
{
	return bytes && bytes <= DISK_BYTES_MAX && !(bytes % PFS_VECTOR_SECTOR);
}

static enum pfs_vector_error check_disks(const struct pfs_vector *v)
{
	if (v->n_disks > PFS_VECTOR_DISKS)
		return PFS_VECTOR_BAD_DISK;
	for (uint32_t i = 0; i < PFS_VECTOR_DISKS; i++) {
		uint64_t bytes = v->disk_bytes[i];

		if (i < v->n_disks ? !is_disk_size(bytes) : bytes != 0)
			return PFS_VECTOR_BAD_DISK;
	}
	return PFS_VECTOR_OK;
}

static enum pfs_vector_error check_extent(const struct pfs_vector *v,
					  const struct pfs_vector_extent *e)
{
	if (!e->kind || e->kind >= PFS_EXTENT_KINDS)
		return PFS_VECTOR_BAD_EXTENT_KIND;
	if (e->disk >= v->n_disks)
		return PFS_VECTOR_BAD_EXTENT_DISK;
	if (!e->len || e->len > PFS_VECTOR_EXTENT_MAX ||
	    (e->off | e->len) % PFS_VECTOR_SECTOR ||
	    e->len > v->disk_bytes[e->disk] ||
	    e->off > v->disk_bytes[e->disk] - e->len)
		return PFS_VECTOR_BAD_EXTENT_PLACE;
	if (e->age_ms > PFS_VECTOR_AGE_MAX_MS)
		return PFS_VECTOR_BAD_EXTENT_AGE;
	return PFS_VECTOR_OK;
}

static enum pfs_vector_error check_extents(const struct pfs_vector *v)
{
	enum pfs_vector_error error = PFS_VECTOR_OK;

	if (v->n_extents > PFS_VECTOR_EXTENTS)
		return PFS_VECTOR_BAD_EXTENT_COUNT;
	for (uint32_t i = 0; i < v->n_extents && !error; i++)
		error = check_extent(v, &v->extent[i]);
	return error;
}

enum pfs_vector_error pfs_vector_check(const struct pfs_vector *v)
{
	enum pfs_vector_error error = check_head(v);

	if (!error)
		error = check_features(v);
	if (!error)
		error = check_disks(v);
	if (!error)
		error = check_extents(v);
	return error;
}

/* --- bytes --- */

/* CRC-32C (Castagnoli), four bits at a time, as in RFC 3720 B.4. */
static uint32_t crc32c(const uint8_t *p, size_t len)
{
	static const uint32_t table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
		0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};
	uint32_t crc = UINT32_MAX;

	while (len--) {
		crc ^= *p++;
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

static uint8_t *put(uint8_t *p, uint64_t v, unsigned int n_bytes)
{
	for (unsigned int i = 0; i < n_bytes; i++)
		*p++ = (uint8_t)(v >> 8 * i);
	return p;
}

static uint64_t get(struct reader *in, unsigned int n_bytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < n_bytes; i++)
		v |= (uint64_t)*in->at++ << 8 * i;
	return v;
}

/* --- encode --- */

static uint8_t *put_extent(uint8_t *p, const struct pfs_vector_extent *e)
{
	p = put(p, e->off, 8);
	p = put(p, e->len, 4);
	p = put(p, e->age_ms, 2);
	p = put(p, e->kind, 1);
	return put(p, e->disk, 1);
}

static uint8_t *put_head(uint8_t *p, const struct pfs_vector *v)
{
	memcpy(p, MAGIC, MAGIC_LEN);
	p = put(p + MAGIC_LEN, PFS_VECTOR_MAJOR, 1);
	p = put(p, PFS_VECTOR_MINOR, 1);
	p = put(p, PFS_VECTOR_LEN, 2);
	p = put(p, v->signals, 4);
	memcpy(p, v->nonce, sizeof(v->nonce));
	p = put(p + sizeof(v->nonce), v->seq, 8);
	p = put(p, v->time_ns, 8);
	p = put(p, v->interval_ms, 4);
	p = put(p, v->flags, 2);
	p = put(p, v->n_disks, 1);
	p = put(p, v->n_extents, 1);
	return put(p, v->n_samples, 8);
}

void pfs_vector_encode(const struct pfs_vector *v,
		       uint8_t frame[PFS_VECTOR_LEN])
{
	uint8_t *p;

	memset(frame, 0, PFS_VECTOR_LEN);
	p = put_head(frame, v);
	for (uint32_t i = 0; i < PFS_FEATURES; i++)
		p = put(p, v->feature[i], 4);
	for (uint32_t i = 0; i < PFS_VECTOR_DISKS; i++)
		p = put(p, v->disk_bytes[i], 8);
	for (uint32_t i = 0; i < v->n_extents; i++)
		p = put_extent(p, &v->extent[i]);
	put(frame + PFS_VECTOR_LEN - SUM_LEN,
	    crc32c(frame, PFS_VECTOR_LEN - SUM_LEN), SUM_LEN);
}

/* --- decode --- */

/* What is at the same place in every version. */
static enum pfs_vector_error check_frame(const uint8_t *frame, size_t len)
{
	struct reader sum = {.at = frame + PFS_VECTOR_LEN - SUM_LEN};
	struct reader length = {.at = frame + MAGIC_LEN + 2};

	if (len != PFS_VECTOR_LEN)
		return PFS_VECTOR_BAD_LENGTH;
	if (memcmp(frame, MAGIC, MAGIC_LEN) != 0)
		return PFS_VECTOR_BAD_MAGIC;
	if (frame[MAGIC_LEN] != PFS_VECTOR_MAJOR)
		return PFS_VECTOR_BAD_VERSION;
	if (get(&length, 2) != PFS_VECTOR_LEN)
		return PFS_VECTOR_BAD_LENGTH;
	if (get(&sum, SUM_LEN) != crc32c(frame, PFS_VECTOR_LEN - SUM_LEN))
		return PFS_VECTOR_BAD_CHECKSUM;
	return PFS_VECTOR_OK;
}

static void get_spare(struct reader *in, size_t len)
{
	in->has_spare |= !is_zero(in->at, len);
	in->at += len;
}

static void get_head(struct reader *in, struct pfs_vector *v)
{
	in->at += MAGIC_LEN + 1;
	in->is_newer = get(in, 1) > PFS_VECTOR_MINOR;
	in->at += 2;
	v->signals = (uint32_t)get(in, 4);
	memcpy(v->nonce, in->at, sizeof(v->nonce));
	in->at += sizeof(v->nonce);
	v->seq = get(in, 8);
	v->time_ns = get(in, 8);
	v->interval_ms = (uint32_t)get(in, 4);
	v->flags = (uint32_t)get(in, 2);
	v->n_disks = (uint32_t)get(in, 1);
	v->n_extents = (uint32_t)get(in, 1);
	v->n_samples = (uint32_t)get(in, 4);
	get_spare(in, 4);
	if (in->is_newer) {
		v->signals &= SIGNALS_KNOWN;
		v->flags &= FLAGS_KNOWN;
	}
}

static void get_extent(struct reader *in, struct pfs_vector_extent *e)
{
	e->off = get(in, 8);
	e->len = (uint32_t)get(in, 4);
	e->age_ms = (uint16_t)get(in, 2);
	e->kind = (uint8_t)get(in, 1);
	e->disk = (uint8_t)get(in, 1);
}

/* The extents, without those of kinds to come. */
static void get_extents(struct reader *in, struct pfs_vector *v)
{
	uint32_t n = PFS_MIN(v->n_extents, PFS_VECTOR_EXTENTS), n_kept = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct pfs_vector_extent e;

		get_extent(in, &e);
		if (!in->is_newer || e.kind < PFS_EXTENT_KINDS)
			v->extent[n_kept++] = e;
	}
	get_spare(in, (size_t)(PFS_VECTOR_EXTENTS - n) * EXTENT_LEN);
	if (v->n_extents == n) /* else pfs_vector_check() refuses it */
		v->n_extents = n_kept;
}

enum pfs_vector_error pfs_vector_decode(const void *frame, size_t len,
					struct pfs_vector *out)
{
	struct reader in = {.at = frame};
	struct pfs_vector v = {0};
	enum pfs_vector_error error = check_frame(frame, len);

	if (error)
		return error;
	get_head(&in, &v);
	for (uint32_t i = 0; i < PFS_FEATURES; i++)
		v.feature[i] = (uint32_t)get(&in, 4);
	for (uint32_t i = 0; i < PFS_VECTOR_DISKS; i++)
		v.disk_bytes[i] = get(&in, 8);
	get_extents(&in, &v);
	get_spare(&in, SPARE_LEN);
	error = pfs_vector_check(&v);
	if (!error && in.has_spare && !in.is_newer)
		error = PFS_VECTOR_BAD_RESERVED;
	if (!error)
		*out = v;
	return error;
}
