/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Models, which are imported from anywhere: what is accepted gives finite
 * outputs and is written again as the same bytes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <pfs/hash.h>

#include "model_file.h"

#define STEPS 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool claim)
{
	if (!claim)
		abort();
}

static void must_be_finite(const struct lstm *m, struct lstm_scratch *w,
			   enum lstm_head head, float *state)
{
	uint32_t n = lstm_n_tokens(&m->shape, head);
	PFS_AUTO_FREE float *out = calloc(n, sizeof(*out));

	must(out);
	lstm_logits(m, w, head, 1, &state, out);
	for (uint32_t i = 0; i < n; i++)
		must(isfinite(out[i]));
	(void)m->k->softmax(n, out, 1);
	for (uint32_t i = 0; i < n; i++)
		must(out[i] >= 0 && out[i] <= 1);
}

static void must_serve(const struct lstm *m)
{
	PFS_AUTO_FREE float *state =
		calloc(lstm_state_len(&m->shape), sizeof(*state));
	struct lstm_scratch *w;

	must(state && !lstm_scratch_create(&m->shape, 1, &w));
	for (uint16_t i = 0; i < STEPS; i++) {
		struct lstm_input in = {.chunk = i, .delta = i, .gap = 31};

		lstm_step(m, w, 1, &in, &state);
	}
	must_be_finite(m, w, LSTM_CHUNK, state);
	must_be_finite(m, w, LSTM_DELTA, state);
	lstm_scratch_destroy(w);
}

static void try_model(const uint8_t *blob, size_t len)
{
	PFS_AUTO_FREE void *again = NULL;
	struct model_file f;
	size_t again_len;

	if (model_decode(blob, len, &f))
		return;
	must_serve(f.model);
	must(!model_encode(f.model, f.adam, f.extra, f.extra_len, &again,
			   &again_len));
	must(again_len == len && memcmp(again, blob, len) == 0);
	model_file_fini(&f);
}

/* As it is, then with the checksum put right. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	PFS_AUTO_FREE uint8_t *blob = calloc(1, len ? len : 1);
	uint64_t magic = 0, sum;

	must(blob);
	if (len)
		memcpy(blob, data, len);
	try_model(blob, len);
	if (len < 16)
		return 0;
	for (int i = 7; i >= 0; i--)
		magic = magic << 8 | blob[i];
	sum = pfs_hash64(blob, len - 8, magic);
	for (int i = 0; i < 8; i++)
		blob[len - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
	try_model(blob, len);
	return 0;
}
