/* SPDX-License-Identifier: GPL-3.0-or-later */
/* images and map. */
#include "cli.h"

#include <string.h>

#define MAP_ROWS 16
#define LABEL_WIDTH 10

/* --- images --- */

static void show_image(const struct pfs_json *i)
{
	char size[32], resident[32], share[16], hits[16] = "-";
	bool is_in_use = pfs_json_is_true(i, "in_use");

	if (pfs_json_num(i, "reads"))
		cli_percent(hits, pfs_json_real(i, "hit_share"));
	(void)printf("%6llu %6llu %9s %9s %7s %-7s %10llu %7s  %s%s\n",
		     (unsigned long long)pfs_json_num(i, "id"),
		     (unsigned long long)pfs_json_num(i, "epoch"),
		     cli_size(size, pfs_json_num(i, "size")),
		     cli_size(resident, pfs_json_num(i, "resident_bytes")),
		     cli_percent(share, pfs_json_real(i, "resident_share")),
		     !is_in_use                   ? "-"
		     : pfs_json_num(i, "writers") ? "writing"
						  : "reading",
		     (unsigned long long)pfs_json_num(i, "reads"), hits,
		     pfs_json_str(i, "name"),
		     pfs_json_is_true(i, "is_expelled") ? " (past the store)"
							: "");
}

static int show_images(const struct pfs_json *images)
{
	if (!pfs_json_len(images)) {
		(void)puts("No image was opened yet.");
		return STATUS_OK;
	}
	(void)printf("%6s %6s %9s %9s %7s %-7s %10s %7s  %s\n", "id", "epoch",
		     "size", "resident", "share", "use", "reads", "hits",
		     "name");
	for (size_t i = 0; i < pfs_json_len(images); i++)
		show_image(pfs_json_at(images, i));
	return STATUS_OK;
}

static int show_skipped(const struct pfs_json *v)
{
	const struct pfs_json *files = pfs_json_get(v, "skipped");

	if (!pfs_json_len(files))
		(void)puts("Every file of the source is served.");
	for (size_t i = 0; i < pfs_json_len(files); i++) {
		const struct pfs_json *f = pfs_json_at(files, i);

		(void)printf("%s: %s\n", pfs_json_str(f, "path"),
			     pfs_json_str(f, "reason"));
	}
	if (pfs_json_is_true(v, "is_cut"))
		(void)puts("... and more");
	return STATUS_OK;
}

int verb_images(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	const char *verb = cli->is_skipped ? "skipped" : "images";
	struct pfs_json *v;
	int status = cli_ask_verb(cli, verb, &answer, &v);

	if (status)
		return status;
	if (cli->is_json)
		return cli_print_json(pfs_json_get(v, verb));
	return cli->is_skipped ? show_skipped(v)
			       : show_images(pfs_json_get(v, "images"));
}

/* --- map --- */

static const char *const marks_utf8[] = {"\u00b7", "\u2591", "\u2592", "\u2593",
					 "\u2588"};
static const char *const marks_ascii[] = {".", "-", "+", "*", "#"};

/* Part i of n equal parts of `total` chunks begins here. */
static uint64_t part_begin(uint64_t total, uint64_t n, uint64_t i)
{
	return (uint64_t)((unsigned __int128)total * i / n);
}

/* 0: none resident, 4: all, else by thirds. */
static unsigned int shade(uint64_t n, uint64_t of)
{
	if (!n)
		return 0;
	return n >= of ? 4 : 1 + (unsigned int)(n * 3 / of);
}

static void show_map(const struct pfs_json *v, unsigned int columns)
{
	const char *const *marks = cli_is_utf8() ? marks_utf8 : marks_ascii;
	const struct pfs_json *cells = pfs_json_get(v, "cells");
	uint64_t n_cells = pfs_json_len(cells);
	uint64_t chunks = pfs_json_num(v, "chunks");
	uint64_t chunk = pfs_json_num(v, "chunk");
	char a[32], b[32];

	(void)printf("%s: %s, %llu of %llu chunks of %s resident\n",
		     pfs_json_str(v, "image"),
		     cli_size(a, pfs_json_num(v, "size")),
		     (unsigned long long)pfs_json_num(v, "resident_chunks"),
		     (unsigned long long)chunks, cli_size(b, chunk));
	for (uint64_t i = 0; i < n_cells; i++) {
		uint64_t from = part_begin(chunks, n_cells, i);
		uint64_t to = part_begin(chunks, n_cells, i + 1);

		if (i % columns == 0)
			(void)printf("%*s ", LABEL_WIDTH - 1,
				     cli_size(a, from * chunk));
		(void)fputs(marks[shade(pfs_json_num_at(cells, i), to - from)],
			    stdout);
		if (i % columns == columns - 1 || i + 1 == n_cells)
			(void)puts("");
	}
	(void)printf("%s none  %s under 1/3  %s under 2/3  %s more  %s all "
		     "resident\n",
		     marks[0], marks[1], marks[2], marks[3], marks[4]);
}

int verb_map(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	unsigned int columns = cli_columns() - LABEL_WIDTH;
	struct pfs_json *req = pfs_ctl_request("map");
	struct pfs_json *v;
	int status;

	if (columns > 4096 / MAP_ROWS)
		columns = 4096 / MAP_ROWS;
	pfs_json_set_str(req, "image", cli->args[0]);
	pfs_json_set_u64(req, "cells", (uint64_t)columns * MAP_ROWS);
	status = cli_ask(cli, req, 0, &answer, &v);
	if (status)
		return status;
	if (cli->is_json)
		return cli_print_json(v);
	show_map(v, columns);
	return STATUS_OK;
}
