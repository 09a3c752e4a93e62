/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "resolve.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <pfs/io.h>

#include "ops_priv.h"

/* Renames without pause could make a walk fail each time. */
#define MAX_TRIES 32

#define BENEATH (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

/* --- renames under way --- */

void resolve_move_begin(struct worker *w)
{
	pfs_mutex_lock(&w->mount_lock);
	w->ops->n_moves_begun++;
	pfs_mutex_unlock(&w->mount_lock);
}

void resolve_move_end(struct worker *w)
{
	pfs_mutex_lock(&w->mount_lock);
	w->ops->n_moves_done++;
	pfs_cond_broadcast(&w->ops->move_done);
	pfs_mutex_unlock(&w->mount_lock);
}

/* n_done: moves done when the walk began.  True: one ran beside the walk, and
 * those known now are over. */
static bool waited_for_moves(struct worker *w, uint64_t n_done)
{
	struct ops *o = w->ops;
	uint64_t n_begun;

	pfs_mutex_lock(&w->mount_lock);
	n_begun = o->n_moves_begun;
	while (n_begun != n_done && o->n_moves_done < n_begun)
		pfs_cond_wait(&o->move_done, &w->mount_lock);
	pfs_mutex_unlock(&w->mount_lock);
	return n_begun != n_done;
}

/* --- paths --- */

int resolve_path(struct worker *w, uint32_t row, char *buf, size_t size)
{
	int err;

	pfs_mutex_lock(&w->mount_lock);
	err = node_path(w->ops->nodes, row, buf, size);
	pfs_mutex_unlock(&w->mount_lock);
	return err;
}

int resolve_child_path(struct worker *w, uint32_t parent, const char *name,
		       char *buf, size_t size)
{
	int err = resolve_path(w, parent, buf, size);
	size_t len;

	if (err)
		return err;
	len = parent == NODE_ROOT ? 0 : strlen(buf);
	if (len + 1 + strlen(name) + 1 > size)
		return -ENAMETOOLONG;
	if (len)
		buf[len++] = '/';
	memcpy(buf + len, name, strlen(name) + 1);
	return 0;
}

void resolve_proc_path(int fd, char out[RESOLVE_PROC_LEN])
{
	snprintf(out, RESOLVE_PROC_LEN, "/proc/self/fd/%d", fd);
}

int resolve_stat(int dir, const char *name, struct stat *st)
{
	int err = pfs_fault_check(PFS_FP_SOURCE_META);

	if (err)
		return err;
	return fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

/* --- walks --- */

/* What a walk needs, taken under one lock. */
struct target {
	char path[PATH_MAX];
	struct state_node node; /* what it must be; name not used */
	uint64_t n_moves_done;
};

static int take_target(struct worker *w, uint32_t row, struct target *t)
{
	const struct state_node *n;
	int err = -ESTALE;

	pfs_mutex_lock(&w->mount_lock);
	t->n_moves_done = w->ops->n_moves_done;
	n = node_at(w->ops->nodes, row);
	if (n) {
		t->node.dev = n->dev;
		t->node.ino = n->ino;
		t->node.is_dir = n->is_dir;
		err = node_path(w->ops->nodes, row, t->path, sizeof(t->path));
	}
	pfs_mutex_unlock(&w->mount_lock);
	return err;
}

static int walk(struct worker *w, uint32_t row, const struct target *t)
{
	const struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = BENEATH,
	};
	PFS_AUTO_FD fd = -1;
	struct stat st;

	fd = pfs_io_openat2(PFS_FP_SOURCE_OPEN, w->root_fd, t->path, &how);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		return -errno;
	/* The root is what was mounted; its row does not know what that is. */
	if (row != NODE_ROOT && !node_is(&t->node, &st))
		return -ESTALE;
	return pfs_take_fd(&fd);
}

static bool is_gone_error(int err)
{
	return err == -ENOENT || err == -ENOTDIR || err == -ESTALE ||
	       err == -ELOOP;
}

static int open_path(struct worker *w, uint32_t row)
{
	struct target t;
	int fd = -ESTALE;

	for (int i = 0; i < MAX_TRIES; i++) {
		int err = take_target(w, row, &t);

		fd = err ? err : walk(w, row, &t);
		if (fd >= 0 || !is_gone_error(fd))
			return fd;
		if (!waited_for_moves(w, t.n_moves_done))
			break;
	}
	return -ESTALE;
}

int resolve_node(struct worker *w, uint32_t row)
{
	int fd = open_path(w, row);

	return fd == -ESTALE && row < STATE_MAX_NODES ? handle_dup_of(w, row)
						      : fd;
}

int resolve_dir(struct worker *w, uint32_t row)
{
	return open_path(w, row);
}

int resolve_reopen(int fd, int flags)
{
	const struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC};
	char path[RESOLVE_PROC_LEN];

	resolve_proc_path(fd, path);
	return pfs_io_openat2(PFS_FP_SOURCE_OPEN, AT_FDCWD, path, &how);
}

int resolve_reopen_widest(int fd)
{
	int new_fd = resolve_reopen(fd, O_RDWR);

	if (new_fd == -EACCES || new_fd == -EPERM || new_fd == -EROFS)
		new_fd = resolve_reopen(fd, O_RDONLY);
	return new_fd;
}
