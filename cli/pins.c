/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pin, unpin and pins. */
#include "cli.h"

/* IMAGE, or IMAGE OFFSET LENGTH. */
static int range_request(struct cli *cli, const char *verb,
			 struct pfs_json **out)
{
	uint64_t off = 0, len = 0;
	struct pfs_json *req;

	if (cli->n_args == 2)
		return cli_say(STATUS_USAGE,
			       "%s takes an IMAGE, or an IMAGE, OFFSET and "
			       "LENGTH",
			       verb);
	if (cli->n_args == 3 &&
	    (!cli_bytes(cli->args[1], &off) || !cli_bytes(cli->args[2], &len)))
		return STATUS_USAGE;
	req = pfs_ctl_request(verb);
	pfs_json_set_str(req, "image", cli->args[0]);
	if (cli->n_args == 3) {
		pfs_json_set_u64(req, "offset", off);
		pfs_json_set_u64(req, "length", len);
	}
	*out = req;
	return STATUS_OK;
}

int verb_pin(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req = NULL, *v;
	int status = range_request(cli, "pin", &req);

	if (!status)
		status = cli_ask(cli, req, 0, &answer, &v);
	if (status)
		return status;
	if (cli->is_json)
		return cli_print_json(v);
	if (pfs_json_get(v, "warming_chunks"))
		(void)printf(
			"Pinned; %llu chunks are being brought.\n",
			(unsigned long long)pfs_json_num(v, "warming_chunks"));
	else
		(void)puts("Pinned; what is not resident is kept once it was "
			   "read (pfsctl warm --wait brings it now).");
	return STATUS_OK;
}

int verb_unpin(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req = NULL, *v;
	int status = range_request(cli, "unpin", &req);

	if (!status)
		status = cli_ask(cli, req, 0, &answer, &v);
	if (status)
		return status;
	if (cli->is_json)
		return cli_print_json(v);
	(void)puts("Unpinned; what is resident stays until its room is "
		   "needed.");
	return STATUS_OK;
}

static void show_pin(const struct pfs_json *p)
{
	char size[32];

	cli_size(size, pfs_json_num(p, "length"));
	if (pfs_json_is_true(p, "is_whole"))
		(void)printf("%s: all of it, %s\n", pfs_json_str(p, "image"),
			     size);
	else
		(void)printf("%s: %s from byte %llu on\n",
			     pfs_json_str(p, "image"), size,
			     (unsigned long long)pfs_json_num(p, "offset"));
}

int verb_pins(struct cli *cli)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *answer = NULL;
	struct pfs_json *req = pfs_ctl_request("pins");
	const struct pfs_json *pins;
	struct pfs_json *v;
	int status;

	if (cli->n_args)
		pfs_json_set_str(req, "image", cli->args[0]);
	status = cli_ask(cli, req, 0, &answer, &v);
	if (status)
		return status;
	pins = pfs_json_get(v, "pins");
	if (cli->is_json)
		return cli_print_json(pins);
	for (size_t i = 0; i < pfs_json_len(pins); i++)
		show_pin(pfs_json_at(pins, i));
	if (!pfs_json_len(pins))
		(void)puts("Nothing is pinned.");
	return STATUS_OK;
}
