/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Base64 (RFC 4648, section 4), strict: one text for each sequence of bytes. */
#include <string.h>

#include <pfs/ctl.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			     "abcdefghijklmnopqrstuvwxyz0123456789+/";

int pfs_ctl_base64(const void *data, size_t len, char **out)
{
	const uint8_t *in = data;
	char *text, *t;

	if (len > SIZE_MAX / 4)
		return -ENOMEM;
	t = text = malloc((len + 2) / 3 * 4 + 1);
	if (!text)
		return -ENOMEM;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16;

		v |= i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0;
		v |= i + 2 < len ? in[i + 2] : 0;
		*t++ = digits[v >> 18];
		*t++ = digits[v >> 12 & 63];
		*t++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*t++ = i + 2 < len ? digits[v & 63] : '=';
	}
	*t = '\0';
	*out = text;
	return 0;
}

/* The value of each digit; 64: none. */
static void make_values(uint8_t value[256])
{
	memset(value, 64, 256);
	for (uint8_t i = 0; i < 64; i++)
		value[(uint8_t)digits[i]] = i;
}

/* Four digits, the last n_pad of them padding; false: they are not that. */
static bool decode_group(const uint8_t value[256], const char *text,
			 unsigned int n_pad, uint8_t *out)
{
	uint32_t v = 0;

	for (unsigned int i = 0; i < 4; i++) {
		uint8_t d = i < 4 - n_pad ? value[(uint8_t)text[i]] : 0;

		if (d > 63)
			return false;
		v = v << 6 | d;
	}
	for (unsigned int i = 0; i < 3 - n_pad; i++)
		out[i] = (uint8_t)(v >> (16 - 8 * i));
	/* Bits that no byte takes are 0. */
	return !(n_pad && v & ((1u << 8 * n_pad) - 1));
}

int pfs_ctl_unbase64(const char *text, void **out, size_t *len)
{
	size_t n = strlen(text), n_pad = 0;
	PFS_AUTO_FREE uint8_t *bytes = NULL;
	uint8_t value[256];

	if (n % 4)
		return -EINVAL;
	while (n && n_pad < 2 && text[n - 1 - n_pad] == '=')
		n_pad++;
	bytes = malloc(n / 4 * 3 + 1);
	if (!bytes)
		return -ENOMEM;
	make_values(value);
	for (size_t i = 0; i < n; i += 4) {
		bool is_last = i + 4 == n;

		if (!decode_group(value, text + i,
				  is_last ? (unsigned int)n_pad : 0,
				  bytes + i / 4 * 3))
			return -EINVAL;
	}
	*len = n / 4 * 3 - n_pad;
	*out = pfs_take(&bytes);
	return 0;
}
