/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The encoded form: model_file.h has the field table. */
#include "model_file.h"

#include <endian.h>
#include <math.h>
#include <string.h>

#include <pfs/hash.h>

#define MAGIC 0x4c45444f4d534650ull /* "PFSMODEL" */
#define VERSION 1u
#define HAS_MOMENTS (1u << 0)
#define SHAPE_WORDS (sizeof(struct lstm_shape) / sizeof(uint32_t))
#define HEAD_LEN 72u
#define SUM_LEN 8u

_Static_assert(SHAPE_WORDS == 11, "the shape has grown: another version");

struct head {
	uint64_t magic, n_steps;
	uint32_t version, flags, extra_len;
	struct lstm_shape shape;
};

/* --- numbers --- */

static uint8_t *put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

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

static uint16_t get16(const uint8_t **p)
{
	uint16_t v;

	memcpy(&v, *p, sizeof(v));
	*p += sizeof(v);
	return le16toh(v);
}

static uint32_t get32(const uint8_t **p)
{
	uint32_t v;

	memcpy(&v, *p, sizeof(v));
	*p += sizeof(v);
	return le32toh(v);
}

static uint64_t get64(const uint8_t **p)
{
	uint64_t v;

	memcpy(&v, *p, sizeof(v));
	*p += sizeof(v);
	return le64toh(v);
}

static uint32_t bits_of(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof(bits));
	return bits;
}

static float float_of(uint32_t bits)
{
	float x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

/* --- parameters --- */

static size_t block_len(const struct lstm_params *p, enum lstm_block b)
{
	return p->at[b].size1 * p->at[b].size2;
}

static size_t n_numbers(const struct lstm_shape *s)
{
	size_t n = 0;

	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++) {
		uint32_t rows, cols;

		lstm_block_size(s, b, &rows, &cols);
		n += (size_t)rows * cols;
	}
	return n;
}

static uint8_t *put_params(uint8_t *to, const struct lstm_params *p)
{
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++)
		for (size_t i = 0; i < block_len(p, b); i++)
			to = put32(to, bits_of(p->at[b].data[i]));
	return to;
}

static uint8_t *put_moment(uint8_t *to, const struct lstm_params *p)
{
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++)
		for (size_t i = 0; i < block_len(p, b); i++)
			to = put16(to, lstm_upper_half(p->at[b].data[i]));
	return to;
}

/* False for NaN too. */
static bool is_weight(float x)
{
	return fabsf(x) <= MODEL_WEIGHT_MAX;
}

static bool are_weights(const struct lstm_params *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (!is_weight(p->all[i]))
			return false;
	return true;
}

static bool get_params(const uint8_t **from, struct lstm_params *p)
{
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++)
		for (size_t i = 0; i < block_len(p, b); i++) {
			float x = float_of(get32(from));

			if (!is_weight(x))
				return false;
			p->at[b].data[i] = x;
		}
	return true;
}

static bool get_moment(const uint8_t **from, float min, struct lstm_params *p)
{
	for (enum lstm_block b = 0; b < LSTM_BLOCKS; b++)
		for (size_t i = 0; i < block_len(p, b); i++) {
			float x = float_of((uint32_t)get16(from) << 16);

			if (!is_weight(x) || x < min)
				return false;
			p->at[b].data[i] = x;
		}
	return true;
}

/* --- writing --- */

static uint64_t encoded_len(const struct head *h)
{
	uint64_t number = 4 + (h->flags & HAS_MOMENTS ? 4 : 0);

	return HEAD_LEN + n_numbers(&h->shape) * number + h->extra_len +
	       SUM_LEN;
}

static uint8_t *put_head(uint8_t *p, const struct head *h)
{
	uint32_t word[SHAPE_WORDS];

	memcpy(word, &h->shape, sizeof(word));
	p = put64(p, MAGIC);
	p = put32(p, VERSION);
	p = put32(p, h->flags);
	for (uint32_t i = 0; i < SHAPE_WORDS; i++)
		p = put32(p, word[i]);
	p = put32(p, h->extra_len);
	return put64(p, h->n_steps);
}

int model_encode(const struct lstm *m, const struct lstm_adam *adam,
		 const void *extra, size_t extra_len, void **blob, size_t *len)
{
	struct head h = {
		.flags = adam ? HAS_MOMENTS : 0,
		.shape = m->shape,
		.extra_len = (uint32_t)extra_len,
		.n_steps = adam ? adam->n_steps : 0,
	};
	uint8_t *buf, *p;

	if (extra_len > MODEL_EXTRA_MAX)
		return -EINVAL;
	if (!are_weights(&m->p) ||
	    (adam && (!are_weights(&adam->m) || !are_weights(&adam->v))))
		return -ERANGE;
	buf = malloc(encoded_len(&h));
	if (!buf)
		return -ENOMEM;
	p = put_params(put_head(buf, &h), &m->p);
	if (adam)
		p = put_moment(put_moment(p, &adam->m), &adam->v);
	if (extra_len)
		memcpy(p, extra, extra_len);
	p += extra_len;
	p = put64(p, pfs_hash64(buf, (size_t)(p - buf), MAGIC));
	*blob = buf;
	*len = (size_t)(p - buf);
	return 0;
}

/* --- reading --- */

static void get_head(const uint8_t **p, struct head *h)
{
	uint32_t word[SHAPE_WORDS];

	h->magic = get64(p);
	h->version = get32(p);
	h->flags = get32(p);
	for (uint32_t i = 0; i < SHAPE_WORDS; i++)
		word[i] = get32(p);
	memcpy(&h->shape, word, sizeof(word));
	h->extra_len = get32(p);
	h->n_steps = get64(p);
}

/* The frame around the numbers: *p is left at the first of them. */
static int open_frame(const uint8_t *buf, size_t len, const uint8_t **p,
		      struct head *h)
{
	const uint8_t *sum;

	if (len < HEAD_LEN + SUM_LEN)
		return -EBADMSG;
	sum = buf + len - SUM_LEN;
	if (get64(&sum) != pfs_hash64(buf, len - SUM_LEN, MAGIC))
		return -EBADMSG;
	*p = buf;
	get_head(p, h);
	if (h->magic != MAGIC)
		return -EBADMSG;
	if (h->version != VERSION)
		return -ENOTSUP;
	/* The length follows from the shape: no large memory for a small lie.
	 */
	if (h->flags & ~HAS_MOMENTS ||
	    (h->n_steps && !(h->flags & HAS_MOMENTS)) ||
	    !lstm_shape_is_sound(&h->shape) || h->extra_len > MODEL_EXTRA_MAX ||
	    encoded_len(h) != len)
		return -EBADMSG;
	return 0;
}

static int get_adam(const uint8_t **p, const struct head *h,
		    struct lstm_adam **out)
{
	int err = lstm_adam_create(&h->shape, out);

	if (err)
		return err;
	(*out)->n_steps = h->n_steps;
	if (!get_moment(p, -MODEL_WEIGHT_MAX, &(*out)->m) ||
	    !get_moment(p, 0, &(*out)->v))
		return -EBADMSG;
	return 0;
}

int model_decode(const void *blob, size_t len, struct model_file *out)
{
	PFS_AUTO(model_file_fini) struct model_file f = {0};
	const uint8_t *p;
	struct head h;
	int err = open_frame(blob, len, &p, &h);

	if (!err)
		err = lstm_create_empty(&h.shape, &f.model);
	if (!err && !get_params(&p, &f.model->p))
		err = -EBADMSG;
	if (!err && h.flags & HAS_MOMENTS)
		err = get_adam(&p, &h, &f.adam);
	if (err)
		return err;
	*out = (struct model_file){
		.model = pfs_take(&f.model),
		.adam = pfs_take(&f.adam),
		.extra = p,
		.extra_len = h.extra_len,
	};
	return 0;
}

void model_file_fini(struct model_file *f)
{
	lstm_destroy(f->model);
	lstm_adam_destroy(f->adam);
	*f = (struct model_file){0};
}
