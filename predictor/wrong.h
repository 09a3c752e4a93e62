/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * predictor/wrong.h - a proposer that is always wrong and sure of itself.
 *
 * Planted where `do no harm` is tested: it names chunks drawn at random from
 * the whole image, each with p = 1.
 */
#ifndef PFS_PREDICTOR_WRONG_H
#define PFS_PREDICTOR_WRONG_H

#include "proposer.h"

extern const struct proposer proposer_wrong;

#endif
