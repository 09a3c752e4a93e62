/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * tracepoint.h - where a tracepoint keeps its fields.
 *
 * They move between kernels: the format file of tracefs says where they are.
 */
#ifndef AGENT_TRACEPOINT_H
#define AGENT_TRACEPOINT_H

#include <pfs/base.h>

struct tp_field {
	uint16_t off, len; /* bytes in the record; len 0: it has none */
};

/** The field NAME in the text of a format file. */
struct tp_field tp_find(const char *format, const char *name);
/** Its value in a record, 0 if the record is too short or has none. */
uint64_t tp_get(struct tp_field f, const void *record, size_t len);

/** Read what tracefs says of "block/block_rq_issue": its number, and its
 *  format into text. */
int tp_read(const char *event, uint64_t *id, char *text,
	    size_t room) PFS_MUST_CHECK;

#endif
