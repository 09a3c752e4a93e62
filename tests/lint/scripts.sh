#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Shell scripts pass shellcheck.
. "$(dirname "$0")/lib.sh"
need shellcheck

mapfile -t files < <(sources '*' |
	xargs -d '\n' grep -lE '^(#!/bin/(ba)?sh|# shellcheck shell=)')
[ ${#files[@]} -gt 0 ] || fail "no scripts found"
shellcheck -x -S warning -P SCRIPTDIR "${files[@]}" || fail "see above"
finish
