/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tracepoint.h"

#include <stdio.h>
#include <string.h>

#include "file.h"

/* A line is "field:unsigned long index;\toffset:24;\tsize:8;\tsigned:0;", or
 * "field:char rwbs[10];" of an array. */
static bool is_field(const char *line, size_t len, const char *name)
{
	size_t name_len = strlen(name);

	if (line[len - 1] == ']')
		while (len && line[--len] != '[')
			continue;
	return len > name_len && line[len - name_len - 1] == ' ' &&
	       !memcmp(line + len - name_len, name, name_len);
}

struct tp_field tp_find(const char *format, const char *name)
{
	const char *line = format;

	while ((line = strstr(line, "field:"))) {
		unsigned int off, len;
		size_t decl = strcspn(line, ";\n");

		if (line[decl] == ';' && is_field(line, decl, name) &&
		    sscanf(line + decl, "; offset:%u; size:%u", &off, &len) ==
			    2 &&
		    off <= UINT16_MAX && len <= UINT16_MAX)
			return (struct tp_field){(uint16_t)off, (uint16_t)len};
		line += decl;
	}
	return (struct tp_field){0};
}

/* The kernel's own byte order, which is ours. */
uint64_t tp_get(struct tp_field f, const void *record, size_t len)
{
	const char *at = (const char *)record + f.off;
	uint64_t v64;
	uint32_t v32;
	uint16_t v16;

	if ((size_t)f.off + f.len > len)
		return 0;
	switch (f.len) {
	case 8:
		memcpy(&v64, at, sizeof(v64));
		return v64;
	case 4:
		memcpy(&v32, at, sizeof(v32));
		return v32;
	case 2:
		memcpy(&v16, at, sizeof(v16));
		return v16;
	case 0:
		return 0;
	default:
		return (uint8_t)*at; /* one byte, or an array's first */
	}
}

static int read_from(const char *tracefs, const char *event, uint64_t *id,
		     char *text, size_t room)
{
	char path[160];
	int err;

	(void)snprintf(path, sizeof(path), "%s/events/%s/id", tracefs, event);
	err = file_read_u64(path, id);
	if (err)
		return err;
	(void)snprintf(path, sizeof(path), "%s/events/%s/format", tracefs,
		       event);
	return file_read(path, text, room);
}

int tp_read(const char *event, uint64_t *id, char *text, size_t room)
{
	int err = read_from("/sys/kernel/tracing", event, id, text, room);

	if (err == -ENOENT)
		err = read_from("/sys/kernel/debug/tracing", event, id, text,
				room);
	return err;
}
