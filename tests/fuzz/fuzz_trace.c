/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Block traces.  Whatever is read is refused with a line and a reason, or
 * understood: in order of time, within the limits the simulator relies on. */
#include <stdlib.h>
#include <string.h>

#include <pfs/trace.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool claim)
{
	if (!claim)
		abort();
}

static void check_ops(const struct pfs_trace *t)
{
	for (size_t i = 0; i < t->n; i++) {
		must(t->ops[i].len > 0);
		must(t->ops[i].off <= PFS_TRACE_OFF_MAX);
		must(t->ops[i].time_us <= PFS_TRACE_TIME_MAX);
		must(!i || t->ops[i - 1].time_us <= t->ops[i].time_us);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct pfs_trace t = {0};
	const char *why = NULL;
	uint64_t line = 0;
	/* Without a byte behind it that could be read. */
	char *text = malloc(len ? len : 1);
	int err;

	must(text != NULL);
	if (len)
		memcpy(text, data, len);
	err = pfs_trace_parse(text, len, &t, &line, &why);
	if (err)
		must(err == -EBADMSG && line > 0 && why);
	else
		check_ops(&t);
	pfs_trace_fini(&t);
	free(text);
	return 0;
}
