/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Request and answer lines, see pfs/ctl.h. */
#include <string.h>

#include <pfs/ctl.h>

static const char *const kind_names[] = {
	[PFS_CTL_RESULT] = "result",
	[PFS_CTL_ERROR] = "error",
	[PFS_CTL_PROGRESS] = "progress",
};

const char *pfs_ctl_version(void)
{
	return PFS_VERSION;
}

struct pfs_json *pfs_ctl_request(const char *verb)
{
	struct pfs_json *req = pfs_json_object();

	pfs_json_set_u64(req, "protocol", PFS_CTL_PROTOCOL);
	pfs_json_set_str(req, "verb", verb);
	return req;
}

int pfs_ctl_request_parse(const char *line, size_t len,
			  struct pfs_ctl_request_info *out)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *body = NULL;
	struct pfs_ctl_request_info info;
	int err = pfs_json_parse(line, len, &body);

	if (err)
		return err;
	info.verb = pfs_json_str(body, "verb");
	if (!info.verb || pfs_json_u64(body, "protocol", &info.protocol))
		return -EINVAL;
	info.body = pfs_take(&body);
	*out = info;
	return 0;
}

struct pfs_json *pfs_ctl_error(int err, const char *text)
{
	struct pfs_json *error = pfs_json_object();
	const char *code = strerrorname_np(-err);

	pfs_json_set_str(error, "code", code ? code : "EIO");
	pfs_json_set_str(error, "text", text);
	return error;
}

int pfs_ctl_answer(enum pfs_ctl_kind kind, struct pfs_json *value, char **out)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *body = pfs_json_object();
	char *text, *line;
	size_t len;
	int err;

	pfs_json_set_u64(body, "protocol", PFS_CTL_PROTOCOL);
	pfs_json_set_str(body, "version", pfs_ctl_version());
	pfs_json_set(body, kind_names[kind], value);
	err = pfs_json_text(body, false, &text);
	if (err)
		return err;

	len = strlen(text);
	line = len < PFS_CTL_ANSWER_MAX ? realloc(text, len + 2) : NULL;
	if (!line) {
		free(text);
		return len < PFS_CTL_ANSWER_MAX ? -ENOMEM : -EMSGSIZE;
	}
	memcpy(line + len, "\n", 2);
	*out = line;
	return 0;
}

int pfs_ctl_answer_parse(const char *line, size_t len,
			 struct pfs_ctl_answer_info *out)
{
	PFS_AUTO(pfs_json_done) struct pfs_json *body = NULL;
	struct pfs_ctl_answer_info info = {.kind = PFS_CTL_RESULT};
	int err = pfs_json_parse(line, len, &body);

	if (err)
		return err;
	if (pfs_json_u64(body, "protocol", &info.protocol))
		return -EINVAL;
	info.version = pfs_json_str(body, "version");
	if (!info.version)
		info.version = "?";
	for (unsigned int k = 0; k < PFS_ARRAY_SIZE(kind_names); k++) {
		struct pfs_json *value = pfs_json_get(body, kind_names[k]);

		if (value) {
			info.kind = (enum pfs_ctl_kind)k;
			info.value = value;
		}
	}
	if (!info.value && info.protocol == PFS_CTL_PROTOCOL)
		return -EINVAL;
	info.body = pfs_take(&body);
	*out = info;
	return 0;
}
