/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli.h"

#include <langinfo.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

int cli_say(int status, const char *fmt, ...)
{
	va_list ap;

	(void)fflush(stdout);
	(void)fputs("pfsctl: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	return status;
}

int cli_print_json(const struct pfs_json *v)
{
	PFS_AUTO_FREE char *text = NULL;

	if (pfs_json_text(v, true, &text))
		return cli_say(STATUS_FAILED, "out of memory");
	(void)puts(text);
	return STATUS_OK;
}

const char *cli_size(char buf[32], uint64_t bytes)
{
	static const char *const units[] = {"B",   "KiB", "MiB", "GiB",
					    "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	size_t u = 0;

	while (v >= 1024 && u + 1 < PFS_ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	/* One digit after the point, unless it says nothing. */
	(void)snprintf(buf, 32,
		       v < 100 && v - (double)(uint64_t)v >= 0.05 ? "%.1f %s"
								  : "%.0f %s",
		       v, units[u]);
	return buf;
}

const char *cli_duration(char buf[48], uint64_t seconds)
{
	unsigned long long d = seconds / 86400, h = seconds / 3600 % 24,
			   m = seconds / 60 % 60, s = seconds % 60;

	if (d)
		(void)snprintf(buf, 48, "%llu d %llu h", d, h);
	else if (h)
		(void)snprintf(buf, 48, "%llu h %llu min", h, m);
	else if (m)
		(void)snprintf(buf, 48, "%llu min %llu s", m, s);
	else
		(void)snprintf(buf, 48, "%llu s", s);
	return buf;
}

bool cli_bytes(const char *word, uint64_t *out)
{
	static const char units[] = "KMGT";
	unsigned long long v;
	const char *unit;
	char *end;

	errno = 0;
	v = strtoull(word, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (word[0] >= '0' && word[0] <= '9' && !errno &&
	    (!*end || (unit && !end[1])) &&
	    !pfs_mul_u64(v, unit ? 1ull << 10 * (unit - units + 1) : 1, out))
		return true;
	(void)cli_say(STATUS_USAGE,
		      "'%s' is no number of bytes: for example 65536 or 64K",
		      word);
	return false;
}

const char *cli_vm(char buf[64], const struct pfs_json *o)
{
	const char *command = pfs_json_str(o, "command");
	const char *number = pfs_json_str(o, "vm");

	if (command)
		(void)snprintf(buf, 64, "%s (pid %llu)", command,
			       (unsigned long long)pfs_json_num(o, "pid"));
	else
		(void)snprintf(buf, 64, "%s", number ? number : "?");
	return buf;
}

const char *cli_percent(char buf[16], double share)
{
	(void)snprintf(buf, 16, "%.1f %%", share * 100);
	return buf;
}

bool cli_is_utf8(void)
{
	return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

unsigned int cli_columns(void)
{
	const char *env = getenv("COLUMNS");
	struct winsize ws;
	unsigned long n = env ? strtoul(env, NULL, 10) : 0;

	if (!n && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0)
		n = ws.ws_col;
	if (!n)
		n = 80;
	n = PFS_MAX(n, 40ul);
	return (unsigned int)PFS_MIN(n, 400ul);
}

/* Edit distance (Levenshtein); words over 31 bytes are never near. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[32];
	size_t n = strlen(b);

	if (n >= PFS_ARRAY_SIZE(row) || strlen(a) >= PFS_ARRAY_SIZE(row))
		return UINT32_MAX;
	for (unsigned int j = 0; j <= n; j++)
		row[j] = j;
	for (; *a; a++) {
		unsigned int diagonal = row[0]++;

		for (size_t j = 1; j <= n; j++) {
			unsigned int same = diagonal + (*a != b[j - 1]);
			unsigned int edit =
				row[j] < row[j - 1] ? row[j] : row[j - 1];

			diagonal = row[j];
			row[j] = same <= edit ? same : edit + 1;
		}
	}
	return row[n];
}

const char *cli_suggest(const char *word, const char *const *known)
{
	const char *best = NULL;
	unsigned int least = 3; /* edits; farther is no likeness */

	for (; *known; known++) {
		unsigned int d = distance(word, *known);

		if (strlen(word) >= 2 && !strncmp(word, *known, strlen(word)))
			d = 1;
		if (d < least && d < strlen(*known)) {
			least = d;
			best = *known;
		}
	}
	return best;
}
