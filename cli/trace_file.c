/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Traces from files, compressed with gzip or not: zlib reads both alike. */
#include "cli.h"

#include <string.h>

#include <zlib.h>

#define TEXT_MAX PFS_GIB(4)
#define STEP ((unsigned int)PFS_MIB(1))

struct text {
	char *at; /* owned */
	size_t n, n_max;
};

static void text_fini(struct text *t)
{
	free(t->at);
}

static void gz_done(gzFile *f)
{
	if (*f)
		(void)gzclose(*f);
}

static int say_broken(const char *path, gzFile f)
{
	int code = 0;
	const char *why = gzerror(f, &code);

	if (code == Z_ERRNO)
		why = strerror(errno);
	return cli_say(STATUS_FAILED, "%s: %s", path,
		       code == Z_BUF_ERROR ? "the compressed file ends early"
					   : why);
}

static int make_room(struct text *t)
{
	size_t n_max = PFS_MAX(2 * t->n_max, (size_t)STEP);
	char *more;

	if (t->n < t->n_max)
		return STATUS_OK;
	more = realloc(t->at, n_max);
	if (!more)
		return cli_say(STATUS_FAILED, "out of memory");
	t->at = more;
	t->n_max = n_max;
	return STATUS_OK;
}

static int read_text(const char *path, struct text *t)
{
	PFS_AUTO(gz_done) gzFile f = NULL;
	int n, status;

	errno = 0;
	f = gzopen(path, "rbe");
	if (!f)
		return cli_say(STATUS_FAILED, "%s: %s", path,
			       strerror(errno ? errno : ENOMEM));
	do {
		size_t room;

		status = make_room(t);
		if (status)
			return status;
		room = t->n_max - t->n;
		n = gzread(f, t->at + t->n,
			   room < STEP ? (unsigned int)room : STEP);
		if (n > 0)
			t->n += (size_t)n;
		if (t->n > TEXT_MAX)
			return cli_say(STATUS_FAILED, "%s: over 4 GiB of text",
				       path);
	} while (n > 0);
	if (n == 0)
		n = gzclose_r(pfs_take(&f)) ? -1 : 0;
	else
		return say_broken(path, f);
	return n ? cli_say(STATUS_FAILED, "%s: the compressed file ends early",
			   path)
		 : STATUS_OK;
}

int cli_read_trace(const char *path, struct pfs_trace *out)
{
	PFS_AUTO(text_fini) struct text t = {0};
	const char *why = NULL;
	uint64_t line = 0;
	int err, status = read_text(path, &t);

	if (status)
		return status;
	err = pfs_trace_parse(t.at, t.n, out, &line, &why);
	if (err == -EBADMSG)
		return cli_say(STATUS_FAILED, "%s, line %llu: %s", path,
			       (unsigned long long)line, why);
	if (err)
		return cli_say(STATUS_FAILED, "%s: %s", path, strerror(-err));
	if (out->n)
		return STATUS_OK;
	pfs_trace_fini(out);
	return cli_say(STATUS_FAILED, "%s: no reads or writes in it", path);
}
