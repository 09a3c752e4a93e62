/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The encoded form; pfs-recording(5) has the field table. */
#include "recording.h"

#include <endian.h>
#include <string.h>

#define MAGIC 0x4452434552534650ull /* "PFSRECRD" */
#define VERSION 1u
#define CHUNK_MIN PFS_KIB(16)
#define CHUNK_MAX PFS_MIB(1)
#define FLAGS_KNOWN (RECORDING_SHARED | RECORDING_PROBATION)

#define CLOCK_MAX (UINT64_MAX / 2) /* more than there will be sessions */

#define HEAD_LEN 96u
#define SUM_LEN 8u
#define STEP_LEN_MAX 8u /* tag, again, history, 33 bits in 5 bytes */

/* A step begins with a tag: class of its gap and how the rest is told. */
#define TAG_GAP 0x1fu
#define TAG_AGAIN 0x20u   /* not its first touch: a byte follows */
#define TAG_HISTORY 0x40u /* other than the step before: a byte follows */
#define TAG_NEXT 0x80u    /* the chunk after the last; else a delta follows */

/* What a step is told relative to. */
struct last {
	uint32_t chunk;
	uint8_t had;
};

#define LAST_INIT ((struct last){.chunk = UINT32_MAX, .had = 1})

struct reader {
	const uint8_t *at, *end;
};

/* --- numbers --- */

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static uint8_t *put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

static uint32_t get32(struct reader *in)
{
	uint32_t v;

	memcpy(&v, in->at, sizeof(v));
	in->at += sizeof(v);
	return le32toh(v);
}

static uint64_t get64(struct reader *in)
{
	uint64_t v;

	memcpy(&v, in->at, sizeof(v));
	in->at += sizeof(v);
	return le64toh(v);
}

/* Seven bits a byte, lowest first; the top bit says that more follow. */
static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
	while (v >= 0x80) {
		*p++ = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	*p++ = (uint8_t)v;
	return p;
}

static int get_varint(struct reader *in, uint64_t *out)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 35; shift += 7) {
		uint8_t byte;

		if (in->at == in->end)
			return -EBADMSG;
		byte = *in->at++;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*out = v;
			return 0;
		}
	}
	return -EBADMSG;
}

/* Small either way: 0, -1, 1, -2, ... */
static uint64_t fold(int64_t v)
{
	return v < 0 ? ((uint64_t)-v << 1) - 1 : (uint64_t)v << 1;
}

static int64_t unfold(uint64_t v)
{
	return v & 1 ? -(int64_t)(v >> 1) - 1 : (int64_t)(v >> 1);
}

/* --- steps --- */

static uint8_t *put_step(uint8_t *p, const struct step *s, struct last *last)
{
	bool is_next = s->chunk == last->chunk + 1;
	bool is_new_history = s->had != last->had;

	*p++ = (uint8_t)(s->gap | (s->again ? TAG_AGAIN : 0) |
			 (is_new_history ? TAG_HISTORY : 0) |
			 (is_next ? TAG_NEXT : 0));
	if (s->again)
		*p++ = s->again;
	if (is_new_history)
		*p++ = s->had;
	if (!is_next)
		p = put_varint(p, fold((int64_t)s->chunk - last->chunk));
	*last = (struct last){.chunk = s->chunk, .had = s->had};
	return p;
}

static int get_byte(struct reader *in, uint8_t *out)
{
	if (in->at == in->end)
		return -EBADMSG;
	*out = *in->at++;
	return 0;
}

static int get_delta(struct reader *in, struct last *last)
{
	uint64_t folded;
	int64_t chunk;
	int err = get_varint(in, &folded);

	if (err)
		return err;
	chunk = (int64_t)last->chunk + unfold(folded);
	if (chunk < 0 || chunk >= UINT32_MAX)
		return -EBADMSG;
	last->chunk = (uint32_t)chunk;
	return 0;
}

/* histories: bits a step may have. */
static int get_step(struct reader *in, uint8_t histories, struct last *last,
		    struct step *out)
{
	uint8_t tag, again = 0;
	int err = get_byte(in, &tag);

	if (!err && tag & TAG_AGAIN)
		err = get_byte(in, &again);
	if (!err && tag & TAG_HISTORY)
		err = get_byte(in, &last->had);
	if (!err && tag & TAG_NEXT)
		last->chunk++;
	else if (!err)
		err = get_delta(in, last);
	if (err)
		return err;
	if (last->chunk == UINT32_MAX || !last->had || last->had & ~histories)
		return -EBADMSG;
	*out = (struct step){.chunk = last->chunk,
			     .gap = tag & TAG_GAP,
			     .had = last->had,
			     .again = again};
	return 0;
}

static int get_steps(struct reader *in, uint32_t n, struct recording *r)
{
	uint32_t n_bits = PFS_MIN(r->n_sessions, RECORDING_HISTORY);
	struct last last = LAST_INIT;
	struct step step;
	int err;

	while (n--) {
		err = get_step(in, (uint8_t)((1u << n_bits) - 1), &last, &step);
		if (err)
			return err;
		if (!recording_push(r, &step))
			return -EBADMSG;
	}
	return in->at == in->end ? 0 : -EBADMSG;
}

/* --- the whole --- */

static uint8_t *put_head(uint8_t *p, const struct recording *r)
{
	p = put64(p, MAGIC);
	p = put32(p, VERSION);
	p = put32(p, r->chunk);
	p = put32(p, r->flags);
	p = put32(p, r->n_steps);
	p = put32(p, r->n_sessions);
	p = put32(p, r->n_taught);
	for (uint32_t i = 0; i < RECORDING_TAUGHT_MAX; i++)
		p = put64(p, r->taught[i]);
	p = put64(p, r->duration_ns);
	p = put64(p, r->clock);
	p = put32(p, r->weight);
	return p;
}

int recording_encode(const struct recording *r, void **blob, size_t *len)
{
	struct last last = LAST_INIT;
	uint8_t *buf, *p;

	buf = malloc(HEAD_LEN + (size_t)r->n_steps * STEP_LEN_MAX + SUM_LEN);
	if (!buf)
		return -ENOMEM;
	p = put_head(buf, r);
	memset(p, 0, (size_t)(buf + HEAD_LEN - p));
	p = buf + HEAD_LEN;
	for (uint32_t i = 0; i < r->n_steps; i++)
		p = put_step(p, &r->step[i], &last);
	p = put64(p, pfs_hash64(buf, (size_t)(p - buf), MAGIC));
	*blob = buf;
	*len = (size_t)(p - buf);
	return 0;
}

static void get_head(struct reader *in, struct recording *r)
{
	r->chunk = get32(in);
	r->flags = get32(in);
	r->n_steps = get32(in);
	r->n_sessions = get32(in);
	r->n_taught = get32(in);
	for (uint32_t i = 0; i < RECORDING_TAUGHT_MAX; i++)
		r->taught[i] = get64(in);
	r->duration_ns = get64(in);
	r->clock = get64(in);
	r->weight = get32(in);
}

static bool head_is_sound(const struct recording *r)
{
	return pfs_is_pow2(r->chunk) && r->chunk >= CHUNK_MIN &&
	       r->chunk <= CHUNK_MAX && !(r->flags & ~FLAGS_KNOWN) &&
	       r->n_steps && r->n_steps <= PFS_RECORDING_STEPS_MAX &&
	       r->n_sessions && r->n_taught <= r->n_sessions &&
	       r->weight <= RECORDING_WEIGHT_MAX && r->clock <= CLOCK_MAX;
}

/* The frame around the steps: *in is left at the first of them. */
static int open_frame(const void *blob, size_t len, struct reader *in,
		      struct recording *r)
{
	const uint8_t *buf = blob;

	if (len < HEAD_LEN + SUM_LEN || len > PFS_RECORDING_BYTES_MAX)
		return -EBADMSG;
	*in = (struct reader){.at = buf + len - SUM_LEN, .end = buf + len};
	if (get64(in) != pfs_hash64(buf, len - SUM_LEN, MAGIC))
		return -EBADMSG;
	*in = (struct reader){.at = buf, .end = buf + len - SUM_LEN};
	if (get64(in) != MAGIC || get32(in) != VERSION)
		return -EBADMSG;
	get_head(in, r);
	in->at = buf + HEAD_LEN;
	/* A step takes a byte at least: no large memory for a small lie. */
	if (!head_is_sound(r) || r->n_steps > (size_t)(in->end - in->at))
		return -EBADMSG;
	return 0;
}

int recording_decode(const void *blob, size_t len, struct recording **out)
{
	struct recording head = {0};
	struct recording *r;
	struct reader in;
	int err = open_frame(blob, len, &in, &head);

	if (err)
		return err;
	err = recording_alloc(&head, &r);
	if (err)
		return err;
	err = get_steps(&in, head.n_steps, r);
	if (err) {
		recording_put(r);
		return err;
	}
	*out = r;
	return 0;
}

/* --- for others --- */

int pfs_recording_info(const void *blob, size_t len,
		       struct pfs_recording_info *out)
{
	struct recording *r;
	int err = recording_decode(blob, len, &r);

	if (err)
		return err;
	*out = (struct pfs_recording_info){
		.chunk = r->chunk,
		.n_steps = r->n_steps,
		.n_sessions = r->n_sessions,
		.n_taught = r->n_taught,
		.taught_by = r->taught[0],
		.duration_ns = r->duration_ns,
		.read_bytes = (uint64_t)r->n_steps * r->chunk,
	};
	recording_put(r);
	return 0;
}

int pfs_recording_steps(const void *blob, size_t len,
			struct pfs_recording_step *out, uint32_t n)
{
	struct recording *r;
	int err = recording_decode(blob, len, &r);

	if (err)
		return err;
	if (n > r->n_steps)
		err = -EINVAL;
	for (uint32_t i = 0; i < n && !err; i++)
		out[i] = (struct pfs_recording_step){
			.chunk = r->step[i].chunk,
			.gap_ns = recording_gap_ns(r->step[i].gap),
			.n_sessions =
				(uint32_t)__builtin_popcount(r->step[i].had),
		};
	recording_put(r);
	return err;
}

int pfs_recording_adopt(const void *blob, size_t len, void **out,
			size_t *out_len)
{
	struct recording *r;
	int err = recording_decode(blob, len, &r);

	if (err)
		return err;
	r->flags = RECORDING_PROBATION;
	r->n_taught = 0;
	memset(r->taught, 0, sizeof(r->taught));
	r->clock = 0;
	err = recording_encode(r, out, out_len);
	recording_put(r);
	return err;
}
