/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Each thread adds to a row of its own, so counting costs no bus lock and no
 * shared cache line.  Rows are never given back: a row of an ended thread
 * keeps its sums.  Threads beyond the table, in practice short-lived ones of
 * a process that has run for long, share the last row.
 */
#include <pfs/counters.h>

#include <stdatomic.h>

#define N_ROWS 256u
#define SHARED_ROW (N_ROWS - 1)

struct row {
	_Atomic uint64_t n[PFS_C_N];
} __attribute__((aligned(64)));

static struct row rows[N_ROWS];
static _Atomic uint32_t n_owned; /* rows given away; may pass SHARED_ROW */
static _Atomic uint64_t carried[PFS_C_N];
static __thread struct row *mine;

const struct pfs_counter_info pfs_counter_info[PFS_C_N] = {
#define PFS_COUNTER(id, name, unit, help) [PFS_C_##id] = {name, unit, help},
#include <pfs/counters.def>
#undef PFS_COUNTER
};

static struct row *claim_row(void)
{
	uint32_t i = SHARED_ROW;

	/* Looking first keeps n_owned from ever wrapping round to 0. */
	if (atomic_load_explicit(&n_owned, memory_order_relaxed) < SHARED_ROW)
		i = atomic_fetch_add_explicit(&n_owned, 1,
					      memory_order_relaxed);
	return &rows[PFS_MIN(i, SHARED_ROW)];
}

void pfs_count(enum pfs_counter c, uint64_t n)
{
	_Atomic uint64_t *cell;

	if (__builtin_expect(!mine, 0))
		mine = claim_row();
	cell = &mine->n[c];
	if (__builtin_expect(mine == &rows[SHARED_ROW], 0)) {
		atomic_fetch_add_explicit(cell, n, memory_order_relaxed);
		return;
	}
	/* One writer: a load and a store make an add. */
	n += atomic_load_explicit(cell, memory_order_relaxed);
	atomic_store_explicit(cell, n, memory_order_relaxed);
}

void pfs_counters_read(uint64_t *out)
{
	for (unsigned int c = 0; c < PFS_C_N; c++)
		out[c] =
			atomic_load_explicit(&carried[c], memory_order_relaxed);
	for (unsigned int i = 0; i < N_ROWS; i++)
		for (unsigned int c = 0; c < PFS_C_N; c++)
			out[c] += atomic_load_explicit(&rows[i].n[c],
						       memory_order_relaxed);
}

void pfs_counters_carry(const uint64_t *base)
{
	for (unsigned int c = 0; c < PFS_C_N; c++)
		atomic_store_explicit(&carried[c], base[c],
				      memory_order_relaxed);
}
