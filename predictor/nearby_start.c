/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the first session of an image starts with: sixteenths of log odds,
 * fitted to boots and workloads of two images with different distributions and
 * loaders (67,300 chunks around requests, cross entropy 0.36; L2 0.01).  Fitted
 * to one of the images alone they serve the other nearly as well.  They need
 * not fit: the image corrects them as it is read.
 */
#include "nearby.h"

const int8_t
	nearby_start[NEARBY_FACTS]
		    [NEARBY_CODES] = {
			    /* clang-format off */
	[NEARBY_REQUEST] = {
		/* 8..5, 4, 3, 2, 1 before it; 1, 2, 3, 4, 5..8 behind it */
		/* <= 4 KiB, at the same place as the request before it */
		 -1,   2,   1,   1,   5,    -9,  -8,  -4,  -3, -13,
		  2,   5,   4,   4,   6,    11,  11,  13,  14,  13, /* ahead */
		 -4,   7,  11,  11,  16,     4,  -4,   2,   2,   0, /* back */
		-11,   0,  -7,  -2,  -2,    -2,  -5,   3,  -3,  -7, /* far */
		/* <= 16 KiB */
		 12,   6,   4,   0,  -2,    12,   9,   8,   3, -12,
		 -5,  -4,  -4,  -4,  -4,     9,   3,   8,   8,  -2,
		-13,  -5,  -6,  -6,  -6,     0,  -6,  -7,  -6, -16,
		-11,  -7,  -6,  -8,  -4,    15,  10,   7,   6,  -3,
		/* <= 64 KiB */
		-12,  -5,  -6,  -4,  -1,     6,   6,  10,   9,   8,
		 -7,  -3,  -1,  -1,  -1,    -4,  -7,  -4,  -6,  -6,
		 -4,  -2,  -3,  -1,  -2,    -8,  -6,  -2,  -4,  -9,
		-15,  -4,  -6,  -5,  -7,   -10, -12,  -7,  -7, -11,
		/* < 128 KiB */
		-10,  -3,  -5,  -3,  -3,     0,  -1,   2,   0,   1,
		 -4,  -3,  -2,   1,   5,   -10,  -7,  -4,  -4, -11,
		-11,  -2,  -2,  -3,   0,     9,   4,   3,   1,   0,
		  3,   4,   7,   3,   7,    -3,  -2,   1,  -2, -11,
		/* larger */
		 -7,  -2,  -3,   0,   0,     7,   8,   8,   8,   7,
		-10,  -4,  -1,   5,   3,    -7,  -1,   2,   0, -12,
		 -2,   5,   8,  10,   8,     2,   3,   6,  10,   8,
		  7,   8,   8,  12,   7,    15,  12,  12,   9,   0,
	},
	[NEARBY_RUN] = {
		/* before; 1 or 2 behind; further */
		-6,  1,  -5, /* <= 128 KiB on end */
		-7,  1, -11, /* <= 256 KiB */
		-7,  5,   6, /* <= 1 MiB */
		 0, 15,  28, /* <= 4 MiB */
		 0, 15,  18,
	},
	[NEARBY_BESIDE] = {0, 3, -9,  0, 4, 2,  -8, 1, -8},
	[NEARBY_BEYOND] = {0, 2, -9,  -2, 9, -8,  -4, 2, -11},
	[NEARBY_RECENT] = {0, -13, -10, -7, -3, -3, 5, 8, 5, 6, 13, 16, 18, 18,
			   17, 21},
	[NEARBY_FAR] = {-3, -4, -4, -3, 8, 4, 4, -4, 10},
	[NEARBY_BETWEEN] = {-2, 8, -13, 9},
	[NEARBY_BEFORE] = {
		/* same place, ahead, back, far; for chunks before, behind */
		-3, -11, -3, -9,    2, -5,   2, -2, /* <= 4 KiB */
		-4,  -1,  3, -8,  -10, -8,   0, -6, /* <= 16 KiB */
		-9, -12, -4, -7,   18,  3,  -6, -5, /* <= 64 KiB */
		-4,   1, -4, -1,    6,  2, -11,  4, /* < 128 KiB */
		-6,   5,  8,  6,    6, 13,   5, 12,
		-5,   0,  0,  0,   -1,  0,   0,  0, /* there was none */
	},
			    /* clang-format on */
};
