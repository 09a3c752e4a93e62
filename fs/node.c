/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "node.h"

#include <string.h>

#include <pfs/hash.h>
#include <pfs/io.h>

#define N_BUCKETS 65536u
/* No path longer than PATH_MAX can be resolved, so deeper is damage. */
#define MAX_DEPTH 2048

struct node_table {
	struct state *s;            /* borrowed */
	uint32_t n_high;            /* rows at and above were never used */
	uint32_t free_head;         /* chain through next[] */
	uint32_t bucket[N_BUCKETS]; /* first row of a chain, or NODE_NONE */
	uint32_t next[STATE_MAX_NODES];
	uint32_t pins[STATE_MAX_NODES];
};

static uint32_t *bucket_of(struct node_table *t, uint32_t parent,
			   const char *name)
{
	return &t->bucket[pfs_hash64(name, strlen(name), parent) % N_BUCKETS];
}

static uint32_t use_of(const struct state_node *n)
{
	return atomic_load_explicit(&n->use, memory_order_relaxed);
}

const char *node_name(const struct state_node *n)
{
	uint32_t now = atomic_load_explicit(&n->name_now, memory_order_relaxed);

	return n->name[now & 1];
}

bool node_is(const struct state_node *n, const struct stat *st)
{
	return n->dev == st->st_dev && n->ino == st->st_ino &&
	       !!n->is_dir == !!S_ISDIR(st->st_mode);
}

struct state_node *node_at(struct node_table *t, uint32_t row)
{
	struct state_node *n;

	if (row >= t->n_high)
		return NULL;
	n = &t->s->node[row];
	return use_of(n) == STATE_USED ? n : NULL;
}

/* --- the index --- */

static void index_add(struct node_table *t, uint32_t row)
{
	const struct state_node *n = &t->s->node[row];
	uint32_t *b = bucket_of(t, n->parent, node_name(n));

	t->next[row] = *b;
	*b = row;
	node_pin(t, n->parent);
}

static void index_remove(struct node_table *t, uint32_t row)
{
	const struct state_node *n = &t->s->node[row];
	uint32_t *at = bucket_of(t, n->parent, node_name(n));

	while (*at != row)
		at = &t->next[*at];
	*at = t->next[row];
	node_unpin(t, n->parent);
}

uint32_t node_find(struct node_table *t, uint32_t parent, const char *name)
{
	uint32_t row = *bucket_of(t, parent, name);

	for (; row != NODE_NONE; row = t->next[row]) {
		const struct state_node *n = &t->s->node[row];

		if (n->parent == parent && !strcmp(node_name(n), name))
			return row;
	}
	return NODE_NONE;
}

/* --- rows --- */

static void free_row(struct node_table *t, uint32_t row)
{
	atomic_store_explicit(&t->s->node[row].use, STATE_FREE,
			      memory_order_release);
	t->next[row] = t->free_head;
	t->free_head = row;
}

static uint32_t take_row(struct node_table *t)
{
	uint32_t row = t->free_head;

	if (row != NODE_NONE)
		t->free_head = t->next[row];
	else if (t->n_high < STATE_MAX_NODES)
		row = t->n_high++;
	return row;
}

/* Free a row nothing holds any more.  That may leave its parent unheld, and
 * so on upwards, by the unpin in index_remove(). */
static void free_if_unheld(struct node_table *t, uint32_t row)
{
	struct state_node *n = node_at(t, row);

	if (!n || row == NODE_ROOT || t->pins[row] ||
	    atomic_load_explicit(&n->n_lookups, memory_order_relaxed))
		return;
	if (!n->is_gone)
		index_remove(t, row);
	free_row(t, row);
}

void node_pin(struct node_table *t, uint32_t row)
{
	t->pins[row]++;
}

void node_unpin(struct node_table *t, uint32_t row)
{
	t->pins[row]--;
	free_if_unheld(t, row);
}

void node_looked_up(struct node_table *t, uint32_t row)
{
	atomic_fetch_add_explicit(&t->s->node[row].n_lookups, 1,
				  memory_order_relaxed);
}

void node_forget(struct node_table *t, uint32_t row, uint64_t n)
{
	struct state_node *node = node_at(t, row);
	uint64_t have;

	if (!node)
		return;
	have = atomic_load_explicit(&node->n_lookups, memory_order_relaxed);
	atomic_store_explicit(&node->n_lookups, have - PFS_MIN(have, n),
			      memory_order_relaxed);
	free_if_unheld(t, row);
}

static void fill_row(struct state_node *n, uint32_t parent, const char *name,
		     const struct stat *st)
{
	atomic_store_explicit(&n->use, STATE_FILLING, memory_order_release);
	n->serial = PFS_MAX(n->serial + 1, 1u);
	n->parent = parent;
	n->is_dir = S_ISDIR(st->st_mode);
	n->is_gone = 0;
	n->dev = st->st_dev;
	n->ino = st->st_ino;
	atomic_store_explicit(&n->n_lookups, 0, memory_order_relaxed);
	atomic_store_explicit(&n->name_now, 0, memory_order_relaxed);
	memcpy(n->name[0], name, strlen(name) + 1);
	atomic_store_explicit(&n->use, STATE_USED, memory_order_release);
}

int node_get(struct node_table *t, uint32_t parent, const char *name,
	     const struct stat *st, uint32_t *row)
{
	uint32_t r = node_find(t, parent, name);

	if (!node_at(t, parent))
		return -ESTALE;
	if (strlen(name) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	if (r != NODE_NONE && !node_is(&t->s->node[r], st)) {
		node_gone(t, r);
		r = NODE_NONE;
	}
	if (r == NODE_NONE) {
		r = take_row(t);
		if (r == NODE_NONE)
			return -ENFILE;
		t->pins[r] = 0;
		fill_row(&t->s->node[r], parent, name, st);
		index_add(t, r);
	}
	*row = r;
	return 0;
}

void node_gone(struct node_table *t, uint32_t row)
{
	struct state_node *n = node_at(t, row);

	if (!n || row == NODE_ROOT || n->is_gone)
		return;
	n->is_gone = 1;
	index_remove(t, row);
	free_if_unheld(t, row);
}

/* Parent and name change by two stores; the rename's intent covers a death
 * between them. */
void node_move(struct node_table *t, uint32_t row, uint32_t parent,
	       const char *name)
{
	struct state_node *n = node_at(t, row);
	uint32_t other, spare;

	if (!n || row == NODE_ROOT || n->is_gone || !node_at(t, parent) ||
	    strlen(name) > NODE_NAME_MAX)
		return;
	other = node_find(t, parent, name);
	if (other == row)
		return;
	if (other != NODE_NONE)
		node_gone(t, other);

	node_pin(t, row); /* the old parent's unpin must not reach it */
	index_remove(t, row);
	spare = !(atomic_load_explicit(&n->name_now, memory_order_relaxed) & 1);
	memcpy(n->name[spare], name, strlen(name) + 1);
	n->parent = parent;
	atomic_store_explicit(&n->name_now, spare, memory_order_release);
	index_add(t, row);
	node_unpin(t, row);
}

/* Put name and a slash in front of what is at *at. */
static bool prepend(char *buf, size_t *at, const char *name)
{
	size_t len = strlen(name);

	if (*at < len + 1)
		return false;
	*at -= len + 1;
	memcpy(buf + *at, name, len);
	buf[*at + len] = '/';
	return true;
}

int node_path(struct node_table *t, uint32_t row, char *buf, size_t size)
{
	size_t at = size;

	if (row == NODE_ROOT) {
		if (size < 2)
			return -ENAMETOOLONG;
		memcpy(buf, ".", 2);
		return 0;
	}
	for (int depth = 0; row != NODE_ROOT; depth++) {
		const struct state_node *n = node_at(t, row);

		if (!n || n->is_gone)
			return -ESTALE;
		if (depth == MAX_DEPTH || !prepend(buf, &at, node_name(n)))
			return -ENAMETOOLONG;
		row = n->parent;
	}
	buf[size - 1] = '\0'; /* the last slash */
	memmove(buf, buf + at, size - at);
	return 0;
}

/* --- a new worker --- */

/* A row is damaged when its name or parent cannot be what we wrote. */
static bool row_ok(const struct state *s, uint32_t n_high, uint32_t row)
{
	const struct state_node *n = &s->node[row];

	return use_of(n) == STATE_USED && n->parent < n_high &&
	       n->parent != row && memchr(node_name(n), 0, sizeof(n->name[0]));
}

static void count_rows(struct node_table *t)
{
	t->n_high = 1;
	while (t->n_high < STATE_MAX_NODES && t->s->node[t->n_high].serial)
		t->n_high++;
}

static void index_old_row(struct node_table *t, uint32_t row)
{
	struct state_node *n = node_at(t, row);

	if (!n || n->is_gone)
		return;
	if (node_at(t, n->parent))
		index_add(t, row);
	else
		n->is_gone = 1;
}

int node_table_create(struct state *s, struct node_table **out)
{
	struct node_table *t = pfs_zalloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->s = s;
	t->free_head = NODE_NONE;
	memset(t->bucket, 0xff, sizeof(t->bucket));
	count_rows(t);
	for (uint32_t row = t->n_high; row-- > 1;)
		if (!row_ok(s, t->n_high, row))
			free_row(t, row);
	for (uint32_t row = 1; row < t->n_high; row++)
		index_old_row(t, row);
	*out = t;
	return 0;
}

void node_recovered(struct node_table *t)
{
	for (uint32_t row = 1; row < t->n_high; row++)
		free_if_unheld(t, row);
}

void node_table_destroy(struct node_table *t)
{
	free(t);
}
