/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pfs/clock.h>

#include <time.h>

static const _Atomic uint64_t *_Atomic fake;

static uint64_t read_clock(clockid_t id)
{
	const _Atomic uint64_t *stand_in = fake;
	struct timespec ts;

	if (stand_in)
		return *stand_in;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * PFS_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t pfs_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t pfs_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

void pfs_clock_fake(const _Atomic uint64_t *fake_ns)
{
	fake = fake_ns;
}

void pfs_sleep_ms(uint64_t ms)
{
	struct timespec left = {
		.tv_sec = (time_t)PFS_MIN(ms / 1000, (uint64_t)INT32_MAX),
		.tv_nsec = (long)(ms % 1000 * PFS_NSEC_PER_MSEC),
	};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		continue;
}
