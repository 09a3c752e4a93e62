/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The control socket's lines.  Whatever comes in is refused or understood;
 * what was understood can be written and read again, and names survive.
 */
#include <stdlib.h>
#include <string.h>

#include <pfs/ctl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool claim)
{
	if (!claim)
		abort();
}

static void look_at(void *arg, const char *key, const char *text,
		    const struct pfs_json *v)
{
	const struct pfs_json *obj = arg;
	PFS_AUTO_FREE char *bytes = NULL;
	uint64_t n = 0;

	(void)v;
	must(key && text);
	if (pfs_json_bytes(obj, key, &bytes) == 0)
		must(bytes && pfs_json_str(obj, key));
	if (pfs_json_u64(obj, key, &n) == 0)
		must(pfs_json_num(obj, key) == n);
	(void)pfs_json_is_true(obj, key);
	for (size_t i = 0; i < pfs_json_len(v); i++)
		(void)pfs_json_num_at(v, i);
}

static void value_survives(const char *line, size_t len)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *v = NULL;
	PFS_AUTO(pfs_json_done) struct pfs_json *again = NULL;
	PFS_AUTO_FREE char *text = NULL;
	PFS_AUTO_FREE char *text_again = NULL;

	if (pfs_json_parse(line, len, &v))
		return;
	pfs_json_each(v, look_at, v);
	must(pfs_json_text(v, false, &text) == 0);
	must(!strchr(text, '\n'));
	must(pfs_json_parse(text, strlen(text), &again) == 0);
	must(pfs_json_text(again, false, &text_again) == 0);
	must(!strcmp(text, text_again));
}

static void lines_are_read(const char *line, size_t len)
{
	struct pfs_ctl_request_info req;
	struct pfs_ctl_answer_info answer;

	if (pfs_ctl_request_parse(line, len, &req) == 0) {
		must(req.verb);
		pfs_json_free(req.body);
	}
	if (pfs_ctl_answer_parse(line, len, &answer) == 0) {
		must(answer.value || answer.protocol != PFS_CTL_PROTOCOL);
		must(answer.version);
		pfs_json_free(answer.body);
	}
}

static void name_survives(const char *bytes, size_t len)
{
	PFS_AUTO_FREE char *name = strndup(bytes, len);
	PFS_AUTO_FREE char *text = NULL;
	PFS_AUTO_FREE char *back = NULL;
	PFS_AUTO_FREE char *any = NULL;

	must(name && pfs_ctl_escape(name, strlen(name), &text) == 0);
	must(pfs_ctl_unescape(text, &back) == 0);
	must(!strcmp(back, name));
	for (const char *t = text; *t; t++)
		must((unsigned char)*t >= 0x20 && *t != 0x7f);
	(void)!pfs_ctl_unescape(name, &any);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	value_survives((const char *)data, len);
	lines_are_read((const char *)data, len);
	name_survives((const char *)data, len);
	return 0;
}
