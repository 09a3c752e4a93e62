/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which of the compiled kernels this machine runs: ours, and OpenBLAS's. */
#include "lstm_kernels.h"

#include <string.h>

extern const struct lstm_kernels lstm_kernels_generic;
extern const struct lstm_kernels lstm_kernels_avx2;
extern const struct lstm_kernels lstm_kernels_avx512;

#ifdef __x86_64__
static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f") &&
	       __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("avx512bw");
}

static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
static bool has_avx512(void)
{
	return false;
}

static bool has_avx2(void)
{
	return false;
}
#endif

const struct lstm_kernels *lstm_kernels(void)
{
#ifdef __x86_64__
	if (has_avx512())
		return &lstm_kernels_avx512;
	if (has_avx2())
		return &lstm_kernels_avx2;
#endif
	return &lstm_kernels_generic;
}

#ifdef PFS_OPENBLAS
/* Its header hides GSL's.  Only a build for several machines has the last
 * two. */
void openblas_set_num_threads(int n);
char *openblas_get_corename(void);
__attribute__((weak)) void gotoblas_dynamic_init(void);
__attribute__((weak)) void gotoblas_dynamic_quit(void);

#define CORE_VARIABLE "OPENBLAS_CORETYPE"

/*
 * OpenBLAS knows processors by their model number and takes one that is newer
 * than itself for a Prescott of 2004: products then take four times as long
 * (0.3.21 of Debian 12 does on Intel's models from 2023 on).  It is asked to
 * choose again, from what the processor can do.
 *
 * That goes through the environment, so it is done before main(), when there
 * are no threads.  And one core is all that a prediction may take.
 */
__attribute__((constructor)) static void choose_core(void)
{
	const char *core = has_avx512() ? "SkylakeX" : "Haswell";

	openblas_set_num_threads(1);
	if (!has_avx2() || !gotoblas_dynamic_init || !gotoblas_dynamic_quit ||
	    strcmp(openblas_get_corename(), "Prescott") != 0 ||
	    getenv(CORE_VARIABLE) || setenv(CORE_VARIABLE, core, 1))
		return;
	gotoblas_dynamic_quit();
	gotoblas_dynamic_init();
	(void)unsetenv(CORE_VARIABLE);
}
#endif
