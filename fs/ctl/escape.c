/* SPDX-License-Identifier: GPL-3.0-or-later */
/* File names to UTF-8 text and back, see pfs/ctl.h. */
#include <string.h>

#include <pfs/ctl.h>

static bool is_tail(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

/* Bytes of the well-formed UTF-8 sequence at s (Unicode 15, table 3-7), or 0.
 * C1 controls (U+0080..U+009F) are left out: terminals obey them. */
static size_t sequence_len(const unsigned char *s, size_t len)
{
	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f && s[0] != '\\';
	if (len >= 2 && s[0] >= 0xc2 && s[0] <= 0xdf && is_tail(s[1]))
		return s[0] == 0xc2 && s[1] < 0xa0 ? 0 : 2;
	if (len >= 3 && (s[0] & 0xf0) == 0xe0 && is_tail(s[1]) && is_tail(s[2]))
		return (s[0] == 0xe0 && s[1] < 0xa0) ||
				       (s[0] == 0xed && s[1] > 0x9f)
			       ? 0
			       : 3;
	if (len >= 4 && s[0] >= 0xf0 && s[0] <= 0xf4 && is_tail(s[1]) &&
	    is_tail(s[2]) && is_tail(s[3]))
		return (s[0] == 0xf0 && s[1] < 0x90) ||
				       (s[0] == 0xf4 && s[1] > 0x8f)
			       ? 0
			       : 4;
	return 0;
}

int pfs_ctl_escape(const char *bytes, size_t len, char **out)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *s = (const unsigned char *)bytes;
	char *text = malloc(len * 4 + 1); /* \xHH: four for one */
	char *t = text;

	if (!text)
		return -ENOMEM;
	for (size_t i = 0; i < len;) {
		size_t n = sequence_len(s + i, len - i);

		if (n) {
			memcpy(t, s + i, n);
			t += n;
			i += n;
			continue;
		}
		*t++ = '\\';
		*t++ = 'x';
		*t++ = hex[s[i] >> 4];
		*t++ = hex[s[i] & 15];
		i++;
	}
	*t = '\0';
	*out = text;
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The byte that \xHH at s stands for, or -1 (a NUL is none either). */
static int escaped_byte(const char *s)
{
	int hi, lo;

	if (s[0] != '\\' || s[1] != 'x')
		return -1;
	hi = hex_digit(s[2]);
	lo = hi < 0 ? -1 : hex_digit(s[3]);
	return lo < 0 || !(hi | lo) ? -1 : hi << 4 | lo;
}

int pfs_ctl_unescape(const char *text, char **out)
{
	PFS_AUTO_FREE char *bytes = malloc(strlen(text) + 1);
	char *b = bytes;

	if (!bytes)
		return -ENOMEM;
	while (*text) {
		int c;

		if (*text != '\\') {
			*b++ = *text++;
			continue;
		}
		c = escaped_byte(text);
		if (c < 0)
			return -EINVAL;
		*b++ = (char)c;
		text += 4;
	}
	*b = '\0';
	*out = pfs_take(&bytes);
	return 0;
}
