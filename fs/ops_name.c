/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Names: lookup and the calls that must happen exactly once.
 *
 * Each of those runs: intent, source call, tables and catalog, reply, intent
 * away.  When a dead worker got as far as the source call, the request that
 * comes again skips it and does the rest.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <linux/fuse.h>

#include <pfs/log.h>

#include "ops_priv.h"
#include "resolve.h"

/* A name in a folder that a call is about. */
struct place {
	uint32_t parent; /* row */
	const char *name;
	int dir;        /* owned: O_PATH of the folder */
	struct stat st; /* what is there; st_ino 0: nothing */
};

static int check_name(const char *name)
{
	if (strlen(name) > NODE_NAME_MAX)
		return -ENAMETOOLONG;
	if (!*name || !strcmp(name, ".") || !strcmp(name, "..") ||
	    strchr(name, '/'))
		return -EINVAL;
	return 0;
}

static int place_open(struct worker *w, fuse_ino_t parent, const char *name,
		      struct place *p)
{
	int err = check_name(name);

	if (err)
		return err;
	p->parent = ops_row(parent);
	p->name = name;
	p->dir = resolve_dir(w, p->parent);
	if (p->dir < 0)
		return p->dir;
	err = resolve_stat(p->dir, name, &p->st);
	if (err == -ENOENT) {
		p->st = (struct stat){0};
		err = 0;
	}
	return err;
}

static struct intent_file file_at(const struct place *p)
{
	return (struct intent_file){p->st.st_dev, p->st.st_ino};
}

static bool is_empty(const struct place *p)
{
	return !p->st.st_ino;
}

static bool is_hidden(const struct place *p)
{
	return !is_empty(p) && !ops_is_served(p->st.st_mode);
}

/* --- LOOKUP and FORGET --- */

static int look_up(struct worker *w, const struct place *p, uint32_t *row)
{
	int err;

	if (is_empty(p))
		return -ENOENT;
	if (is_hidden(p)) {
		pfs_count(PFS_C_SKIPPED_FILES, 1);
		return -ENOENT; /* as readdir has it; see pfsctl images */
	}
	pfs_mutex_lock(&w->mount_lock);
	err = node_get(w->ops->nodes, p->parent, p->name, &p->st, row);
	if (!err)
		node_looked_up(w->ops->nodes, *row);
	pfs_mutex_unlock(&w->mount_lock);
	if (err == -ENFILE)
		pfs_count(PFS_C_NODES_FULL, 1);
	return err;
}

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct worker *w = ops_worker(req);
	struct place p = {.dir = -1};
	int err = place_open(w, parent, name, &p);
	uint32_t row;

	if (!err)
		err = look_up(w, &p, &row);
	if (err)
		ops_reply(req, err);
	else
		ops_reply_entry(req, w, row, &p.st);
	pfs_fd_done(&p.dir);
}

static void forget(struct worker *w, fuse_ino_t ino, uint64_t n)
{
	pfs_mutex_lock(&w->mount_lock);
	node_forget(w->ops->nodes, ops_row(ino), n);
	pfs_mutex_unlock(&w->mount_lock);
}

void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	forget(ops_worker(req), ino, n);
	fuse_reply_none(req);
}

void ops_forget_multi(fuse_req_t req, size_t count,
		      struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(ops_worker(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* --- the frame of a call that happens once --- */

struct call {
	struct worker *w;
	fuse_req_t req;
	uint32_t opcode;
	struct place at;
	struct place to; /* RENAME only */
	struct state_intent *intent;
	bool is_again; /* a dead worker wrote the intent */
	bool is_done;  /* and made the call on the source */
};

#define CALL(req_, opcode_)                                                    \
	{                                                                      \
		.w = ops_worker(req_), .req = (req_), .opcode = (opcode_),     \
		.at = {.dir = -1},                                             \
		.to = {.dir = -1 }                                             \
	}

/* Runs after the reply. */
static void call_done(struct call *c)
{
	if (c->intent)
		intent_end(c->w->ops->intents, c->intent);
	pfs_fd_done(&c->at.dir);
	pfs_fd_done(&c->to.dir);
}

static uint32_t find_node(struct worker *w, const struct place *p)
{
	uint32_t row;

	pfs_mutex_lock(&w->mount_lock);
	row = node_find(w->ops->nodes, p->parent, p->name);
	pfs_mutex_unlock(&w->mount_lock);
	return row;
}

static int write_intent(struct call *c)
{
	struct state_intent i = {
		.opcode = c->opcode,
		.unique = ops_request()->unique,
		.parent = c->at.parent,
		.new_parent = c->to.parent,
		.dev = c->at.st.st_dev,
		.ino = c->at.st.st_ino,
		.new_dev = c->to.st.st_dev,
		.new_ino = c->to.st.st_ino,
		.node = find_node(c->w, &c->at),
		.handle = UINT32_MAX,
	};

	snprintf(i.name, sizeof(i.name), "%s", c->at.name);
	if (c->to.name)
		snprintf(i.new_name, sizeof(i.new_name), "%s", c->to.name);
	return intent_begin(c->w->ops->intents, &i, &c->intent);
}

/* After the places are known: find the intent or write it. */
static int call_begin(struct call *c)
{
	const struct ops_request *r = ops_request();
	int err;

	if (r->is_resent)
		c->intent =
			intent_find(c->w->ops->intents, r->unique, c->opcode);
	c->is_again = c->intent;
	if (!c->is_again) {
		err = write_intent(c);
		if (err)
			return err;
	}
	c->is_done = c->is_again && intent_is_done(c->intent, file_at(&c->at),
						   file_at(&c->to));
	if (c->is_done)
		pfs_count(PFS_C_INTENT_REPLAYED, 1);
	(void)pfs_fault_check(PFS_FP_OP_INTENT); /* to be killed or paused */
	return 0;
}

static int call_open(struct call *c, fuse_ino_t parent, const char *name)
{
	int err;

	if (c->w->opt.ro)
		return -EROFS;
	err = place_open(c->w, parent, name, &c->at);
	return err ? err : call_begin(c);
}

/* The source call is over; what follows may be cut off by a death. */
static int source_done(int ret)
{
	int err = ret < 0 ? -errno : 0;

	(void)pfs_fault_check(PFS_FP_OP_DONE); /* to be killed or paused */
	return err;
}

/* --- making files and folders --- */

/* Somebody who can write the source folder itself could put a link to a file
 * of root's in the place of the new one. */
static bool is_ours_to_give(const struct stat *st, uid_t uid)
{
	return (st->st_uid == geteuid() || st->st_uid == uid) &&
	       (S_ISDIR(st->st_mode) || st->st_nlink == 1);
}

/* A new file belongs to the caller, as the kernel does it for a local file
 * system (group of a setgid folder included).  Done after creation, not by
 * setfsuid(): the caller's right to write the folder may come from a
 * supplementary group, which only the kernel has checked.  Until then the
 * file is ours and closed to others. */
static int give_to_caller(const struct call *c, int fd, mode_t mode)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(c->req);
	char path[RESOLVE_PROC_LEN];
	gid_t gid = ctx->gid;
	struct stat dir, st;

	if (fstat(c->at.dir, &dir) || fstat(fd, &st))
		return -errno;
	if (dir.st_mode & S_ISGID) {
		gid = dir.st_gid;
		if (S_ISDIR(st.st_mode))
			mode |= S_ISGID;
	}
	if (!geteuid() && !is_ours_to_give(&st, ctx->uid))
		return -EPERM;
	resolve_proc_path(fd, path);
	/* Only root can give files away; else they are the daemon's. */
	if (!geteuid() && (st.st_uid != ctx->uid || st.st_gid != gid) &&
	    chown(path, ctx->uid, gid))
		return -errno;
	return chmod(path, mode & 07777) ? -errno : 0;
}

static int make_on_source(const struct call *c)
{
	const struct open_how how = {
		.flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		.mode = 0600,
	};
	int err = pfs_fault_check(PFS_FP_SOURCE_META);
	int fd;

	if (err)
		return err;
	if (c->opcode == FUSE_MKDIR)
		return source_done(mkdirat(c->at.dir, c->at.name, 0700));
	fd = pfs_io_openat2(PFS_FP_SOURCE_OPEN, c->at.dir, c->at.name, &how);
	if (fd < 0)
		return fd;
	close(fd);
	return source_done(0);
}

static void unmake(const struct call *c)
{
	/* Best effort: the error that led here is the one to report. */
	(void)unlinkat(c->at.dir, c->at.name,
		       c->opcode == FUSE_MKDIR ? AT_REMOVEDIR : 0);
}

/* An O_PATH descriptor of what was made, and a look at it. */
static int open_made(struct call *c)
{
	const struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
	};
	PFS_AUTO_FD fd = -1;

	fd = pfs_io_openat2(PFS_FP_SOURCE_OPEN, c->at.dir, c->at.name, &how);
	if (fd < 0)
		return fd;
	if (fstat(fd, &c->at.st))
		return -errno;
	if (!S_ISDIR(c->at.st.st_mode) != (c->opcode != FUSE_MKDIR) ||
	    is_hidden(&c->at))
		return -EEXIST;
	return pfs_take_fd(&fd);
}

/* The descriptor of the new file or folder, or -errno. */
static int make(struct call *c, mode_t mode)
{
	int err = c->is_done ? 0 : make_on_source(c);
	PFS_AUTO_FD fd = -1;

	if (err)
		return err;
	fd = open_made(c);
	if (fd < 0)
		return fd;
	err = give_to_caller(c, fd, mode);
	if (!err && fstat(fd, &c->at.st))
		err = -errno;
	if (err) {
		unmake(c);
		return err;
	}
	return pfs_take_fd(&fd);
}

/* Node and lookup count of what was made.  The intent says that a dead worker
 * counted it already. */
static int enter(struct call *c, uint32_t *row)
{
	struct node_table *t = c->w->ops->nodes;
	bool is_counted;
	int err;

	pfs_mutex_lock(&c->w->mount_lock);
	err = node_get(t, c->at.parent, c->at.name, &c->at.st, row);
	if (!err) {
		is_counted = c->is_again && c->intent->node == *row &&
			     node_at(t, *row)->n_lookups;
		c->intent->node = *row;
		if (!is_counted)
			node_looked_up(t, *row);
	}
	pfs_mutex_unlock(&c->w->mount_lock);
	if (err == -ENFILE)
		pfs_count(PFS_C_NODES_FULL, 1);
	return err;
}

static void make_and_reply(struct call *c, mode_t mode)
{
	PFS_AUTO_FD fd = make(c, mode);
	int err = fd < 0 ? fd : 0;
	uint32_t row;

	if (!err)
		err = enter(c, &row);
	if (err)
		ops_reply(c->req, err);
	else
		ops_reply_entry(c->req, c->w, row, &c->at.st);
}

void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	PFS_AUTO(call_done) struct call c = CALL(req, FUSE_MKDIR);
	int err = call_open(&c, parent, name);

	if (err)
		ops_reply(req, err);
	else
		make_and_reply(&c, mode);
}

void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       dev_t rdev)
{
	PFS_AUTO(call_done) struct call c = CALL(req, FUSE_MKNOD);
	int err = S_ISREG(mode) ? call_open(&c, parent, name) : -EPERM;

	(void)rdev;
	if (err)
		ops_reply(req, err);
	else
		make_and_reply(&c, mode);
}

/* The kernel believed the name free and checked no permission of a file.  One
 * that appeared meanwhile is for it to find: ESTALE makes it look again. */
static int exists_error(const struct call *c, int flags)
{
	return flags & O_EXCL || is_hidden(&c->at) ? -EEXIST : -ESTALE;
}

static int create(struct call *c, mode_t mode, const struct fuse_file_info *fi,
		  uint32_t *row, uint64_t *fh)
{
	pid_t pid = fuse_req_ctx(c->req)->pid;
	int fd, err;

	if (!is_empty(&c->at) && !c->is_done)
		return exists_error(c, fi->flags);
	fd = make(c, mode);
	if (fd < 0)
		return fd == -EEXIST ? exists_error(c, fi->flags) : fd;
	err = enter(c, row);
	if (err) {
		close(fd);
		return err;
	}
	err = ops_open_handle(c->w, *row, fd, fi->flags & ~O_TRUNC, pid, fh);
	if (err) /* no entry is replied */
		forget(c->w, *row + 1, 1);
	return err;
}

/* A dead worker had got as far as the handle. */
static bool create_again(struct call *c, uint32_t *row, uint64_t *fh)
{
	if (!ops_request()->is_resent)
		return false;
	*fh = handle_of_request(c->w, ops_request()->unique, row);
	return *fh && !fstat(handle_get(c->w, *fh)->fd, &c->at.st);
}

void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		mode_t mode, struct fuse_file_info *fi)
{
	PFS_AUTO(call_done) struct call c = CALL(req, FUSE_CREATE);
	int err = call_open(&c, parent, name);
	uint32_t row;
	uint64_t fh;

	if (!err && !create_again(&c, &row, &fh))
		err = create(&c, mode, fi, &row, &fh);
	if (err)
		ops_reply(req, err);
	else
		ops_reply_create(req, c.w, row, &c.at.st, fh);
}

/* --- after a name went away --- */

/* The file of a name that is about to go: what of it must be told. */
struct victim {
	struct image *img; /* one reference, NULL: not open */
	int fd;            /* owned: of an open handle, or -1 */
	bool was_last;     /* its only name */
};

/* p NULL: nothing goes. */
static void victim_look(struct worker *w, const struct place *p,
			struct victim *v)
{
	uint32_t row = p ? find_node(w, p) : NODE_NONE;

	*v = (struct victim){.fd = -1};
	if (row == NODE_NONE)
		return;
	v->was_last = p->st.st_nlink == 1;
	v->img = handle_node_image(w, row);
	v->fd = handle_dup_of(w, row);
}

/* Another hard link may keep the image alive.  A source may go on saying
 * "one link" for an open file (NFS renames it), so what it was before counts
 * as well. */
static void victim_gone(struct victim *v, bool is_gone)
{
	struct stat st;

	if (is_gone && v->img &&
	    (v->was_last || (v->fd >= 0 && !fstat(v->fd, &st) && !st.st_nlink)))
		image_gone(v->img);
	if (v->img)
		image_put(v->img);
	pfs_fd_done(&v->fd);
}

static void tell_catalog(int err, const char *what)
{
	/* The catalog only costs speed: its row will not match at open. */
	if (err && err != -ENOENT)
		pfs_log_limited(PFS_LOG_WARNING, "fs",
				"catalog did not follow %s: %s", what,
				strerror(-err));
}

static void follow_removal(struct worker *w, uint32_t opcode, uint32_t parent,
			   const char *name)
{
	char path[PATH_MAX];

	pfs_mutex_lock(&w->mount_lock);
	node_gone(w->ops->nodes, node_find(w->ops->nodes, parent, name));
	pfs_mutex_unlock(&w->mount_lock);
	if (opcode == FUSE_UNLINK &&
	    !resolve_child_path(w, parent, name, path, sizeof(path)))
		tell_catalog(pfs_catalog_image_unlinked(w->catalog, path),
			     path);
}

/* --- UNLINK and RMDIR --- */

static int remove_on_source(const struct call *c)
{
	bool is_rmdir = c->opcode == FUSE_RMDIR;
	int err = pfs_fault_check(PFS_FP_SOURCE_META);

	if (err)
		return err;
	if (is_empty(&c->at) || is_hidden(&c->at))
		return -ENOENT;
	return source_done(
		unlinkat(c->at.dir, c->at.name, is_rmdir ? AT_REMOVEDIR : 0));
}

static int remove_name(struct call *c)
{
	struct victim v;
	int err;

	victim_look(c->w, &c->at, &v);
	err = c->is_done ? 0 : remove_on_source(c);
	if (!err)
		follow_removal(c->w, c->opcode, c->at.parent, c->at.name);
	victim_gone(&v, !err);
	return err;
}

void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	PFS_AUTO(call_done) struct call c = CALL(req, FUSE_UNLINK);
	int err = call_open(&c, parent, name);

	ops_reply(req, err ? err : remove_name(&c));
}

void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	PFS_AUTO(call_done) struct call c = CALL(req, FUSE_RMDIR);
	int err = call_open(&c, parent, name);

	ops_reply(req, err ? err : remove_name(&c));
}

/* --- RENAME --- */

static int rename_on_source(const struct call *c, unsigned int flags)
{
	int err = pfs_fault_check(PFS_FP_SOURCE_META);

	if (err)
		return err;
	if (is_empty(&c->at) || is_hidden(&c->at))
		return -ENOENT;
	if (is_hidden(&c->to)) /* do not destroy what we do not serve */
		return -EEXIST;
	return source_done(
		renameat2(c->at.dir, c->at.name, c->to.dir, c->to.name, flags));
}

static void follow_rename(struct worker *w, const struct state_intent *i)
{
	char from[PATH_MAX], to[PATH_MAX];
	const struct state_node *n;
	bool is_dir = false;
	int err;

	pfs_mutex_lock(&w->mount_lock);
	n = node_at(w->ops->nodes, i->node);
	if (n && n->dev == i->dev && n->ino == i->ino) {
		is_dir = n->is_dir;
		node_move(w->ops->nodes, i->node, i->new_parent, i->new_name);
	}
	pfs_mutex_unlock(&w->mount_lock);

	if (resolve_child_path(w, i->parent, i->name, from, sizeof(from)) ||
	    resolve_child_path(w, i->new_parent, i->new_name, to, sizeof(to)))
		return;
	err = is_dir ? pfs_catalog_folder_renamed(w->catalog, from, to)
		     : pfs_catalog_image_renamed(w->catalog, from, to);
	tell_catalog(err, from);
}

/* A rename moves the file's ctime: its identity record has to follow. */
static struct image *moved_image(struct call *c)
{
	PFS_AUTO_FD fd = -1;
	char path[PATH_MAX];

	if (c->is_done || !S_ISREG(c->at.st.st_mode) ||
	    resolve_child_path(c->w, c->at.parent, c->at.name, path,
			       sizeof(path)))
		return NULL;
	fd = openat(c->at.dir, c->at.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? NULL : image_get_known(c->w, fd, path);
}

static int rename_name(struct call *c, unsigned int flags)
{
	struct image *moved = moved_image(c);
	struct victim v;
	int err;

	victim_look(c->w, c->is_done ? NULL : &c->to, &v);
	resolve_move_begin(c->w);
	err = c->is_done ? 0 : rename_on_source(c, flags);
	if (!err)
		follow_rename(c->w, c->intent);
	resolve_move_end(c->w);
	victim_gone(&v, !err);
	if (moved) {
		image_meta_changed(moved);
		image_put(moved);
	}
	return err;
}

static int rename_open(struct call *c, fuse_ino_t parent, const char *name,
		       fuse_ino_t new_parent, const char *new_name)
{
	int err;

	if (c->w->opt.ro)
		return -EROFS;
	err = place_open(c->w, parent, name, &c->at);
	if (!err)
		err = place_open(c->w, new_parent, new_name, &c->to);
	return err ? err : call_begin(c);
}

void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		fuse_ino_t new_parent, const char *new_name, unsigned int flags)
{
	PFS_AUTO(call_done) struct call c = CALL(req, FUSE_RENAME);
	int err = flags & ~(unsigned int)RENAME_NOREPLACE ? -EINVAL : 0;

	if (!err)
		err = rename_open(&c, parent, name, new_parent, new_name);
	ops_reply(req, err ? err : rename_name(&c, flags));
}

/* --- what a dead worker had begun --- */

static struct intent_file look(struct worker *w, uint32_t parent,
			       const char *name)
{
	struct place p = {.dir = -1};
	struct intent_file f = {0, 0};

	if (!place_open(w, (fuse_ino_t)parent + 1, name, &p))
		f = file_at(&p);
	pfs_fd_done(&p.dir);
	return f;
}

static void settle(void *arg, struct state_intent *i)
{
	struct intent_file now, new_now = {0, 0};
	struct worker *w = arg;
	uint32_t row;

	now = look(w, i->parent, i->name);
	if (i->opcode == FUSE_RENAME)
		new_now = look(w, i->new_parent, i->new_name);
	if (!intent_is_done(i, now, new_now))
		return;
	if (i->opcode == FUSE_RENAME) {
		follow_rename(w, i);
		return;
	}
	if (i->opcode != FUSE_UNLINK && i->opcode != FUSE_RMDIR)
		return; /* the node is made when the request comes again */
	pfs_mutex_lock(&w->mount_lock);
	row = node_find(w->ops->nodes, i->parent, i->name);
	pfs_mutex_unlock(&w->mount_lock);
	if (row != NODE_NONE && w->state->node[row].ino == i->ino)
		follow_removal(w, i->opcode, i->parent, i->name);
}

void ops_settle_intents(struct worker *w)
{
	intent_each_old(w->ops->intents, settle, w);
}
