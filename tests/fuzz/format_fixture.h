/* SPDX-License-Identifier: GPL-3.0-or-later */
/* format_fixture.h - what the harnesses of the store's format share.  Each
 * tries its input as it is, then with the checksum put right, so that the
 * fuzzer gets past it. */
#ifndef PFS_FUZZ_FORMAT_FIXTURE_H
#define PFS_FUZZ_FORMAT_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include <pfs/hash.h>

#include "format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static inline void must(bool claim)
{
	if (!claim)
		abort();
}

/* A store of 64 MiB; pick chooses the size of its chunks. */
static inline struct geometry geometry_of(uint8_t pick)
{
	static const uint8_t uuid[PFS_UUID_LEN] = {1};
	struct geometry g;

	must(!geometry_plan(&g, uuid, PFS_MIB(64), 1u << (14 + pick % 7)));
	return g;
}

/* Little-endian, as everything on the device. */
static inline void put_sum(uint8_t *at, uint64_t sum)
{
	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(sum >> 8 * i);
}

#endif
