// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * Namespace calls, each of which must happen exactly once.
 *
 * Every thread has a folder of its own and names that were never used before.
 * So a create that answers EEXIST was done twice, and an unlink, rmdir or
 * rename that answers ENOENT, too.  What must be there and what must not is
 * known exactly, except after an error that is ridden out.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pfsx.h"

#define SLOTS 24

enum slot_kind {
	SLOT_FREE,
	SLOT_FILE,
	SLOT_DIR
};

struct slot {
	enum slot_kind kind;
	uint32_t name;    /* number of the name */
	uint32_t content; /* files: number it was stamped with */
};

struct ns {
	struct slot slots[SLOTS];
	uint32_t next; /* name never used so far */
	char folder[64];
};

static void slot_name(const struct ns *ns, uint32_t name, char out[96])
{
	snprintf(out, 96, "%s/n%u", ns->folder, name);
}

int ns_init(struct worker *w)
{
	struct ns *ns = calloc(1, sizeof(*ns));
	int err;

	if (!ns)
		return -ENOMEM;
	/* The clock keeps apart runs that lost their state files. */
	snprintf(ns->folder, sizeof(ns->folder), "pfsx.ns.%u.%llx", w->id,
		 (unsigned long long)now_ns());
	err = io_mkdir(w, ns->folder);
	if (err) {
		free(ns);
		return err;
	}
	w->ns = ns;
	return 0;
}

/* ---- the outcome of a call ---- */

/* A call failed.  EEXIST and ENOENT can only come from its having been done
 * before.  When it was ridden out, whether it took effect is read from `path`;
 * otherwise assume that it did not. */
static bool took_effect(struct worker *w, int err, const char *what,
			const char *path, bool path_appears)
{
	char text[160];
	int there;

	if (err == -EEXIST || err == -ENOENT) {
		report_diff(w, "%s %s: done twice (%s)", what, path,
			    strerror(-err));
		return true;
	}
	snprintf(text, sizeof(text), "%s %s", what, path);
	if (!io_failed(w, err, text))
		return false;
	there = io_stat(w, path, NULL, NULL);
	if (there && there != -ENOENT)
		io_failed(w, there, "stat after a ridden-out error");
	return (there == 0) == path_appears;
}

static void expect(struct worker *w, int got, int want, const char *what,
		   const char *path)
{
	if (got == want)
		return;
	if (got < 0 && (w->px->o.ride_out_s || w->px->o.until_error)) {
		io_failed(w, got, what);
		return;
	}
	report_diff(w, "%s %s: got \"%s\", expected \"%s\"", what, path,
		    strerror(-got), strerror(-want));
}

/* ---- files ---- */

static void stamp_file(struct worker *w, uint32_t content, void *sector)
{
	struct stamp st = {.seed = w->px->st.hdr->seed,
			   .image = ID_NS + w->id,
			   .sector = content,
			   .version = 1};

	content_stamp(sector, &st);
}

static void create_file(struct worker *w, struct slot *s, const char *path)
{
	int fd = io_open(w, path, O_RDWR | O_CREAT | O_EXCL);
	int err;

	if (fd < 0 && !took_effect(w, fd, "create", path, true))
		return;
	if (fd < 0)
		fd = io_open(w, path, O_RDWR);
	s->kind = SLOT_FILE;
	s->content = s->name;
	if (fd < 0) {
		io_failed(w, fd, "open of the file just created");
		return;
	}
	stamp_file(w, s->content, w->buf);
	err = io_pwrite(w, fd, w->buf, SECTOR, 0);
	close(fd);
	if (!err)
		return;
	/* Its content is unknown now: let it go. */
	io_failed(w, err, "write to the file just created");
	s->content = UINT32_MAX;
}

static void check_file(struct worker *w, const struct slot *s, const char *path)
{
	int fd = io_open(w, path, O_RDONLY);
	ssize_t n;

	if (s->content == UINT32_MAX || fd < 0) {
		if (fd < 0)
			io_failed(w, fd, path);
		io_close(&fd);
		return;
	}
	stamp_file(w, s->content, w->buf);
	n = io_pread(w, fd, w->tmp, SECTOR, 0);
	close(fd);
	if (n < 0)
		io_failed(w, (int)n, "read of a small file");
	else if (n != SECTOR || memcmp(w->buf, w->tmp, SECTOR) != 0)
		report_diff(w, "%s: %zd bytes, not what was written", path, n);
}

/* ---- steps ---- */

static void make(struct worker *w, struct slot *s, bool dir)
{
	char path[96];
	int err;

	s->name = w->ns->next++;
	slot_name(w->ns, s->name, path);
	if (!dir) {
		create_file(w, s, path);
		return;
	}
	err = io_mkdir(w, path);
	if (!err || took_effect(w, err, "mkdir", path, true))
		s->kind = SLOT_DIR;
}

static void make_again(struct worker *w, const struct slot *s)
{
	char path[96];
	int fd;

	slot_name(w->ns, s->name, path);
	fd = io_open(w, path, O_RDWR | O_CREAT | O_EXCL);
	expect(w, fd, -EEXIST, "create of what exists,", path);
	io_close(&fd);
	expect(w, io_mkdir(w, path), -EEXIST, "mkdir of what exists,", path);
}

static void drop(struct worker *w, struct slot *s)
{
	bool dir = s->kind == SLOT_DIR;
	char path[96];
	int err;

	slot_name(w->ns, s->name, path);
	err = io_unlink(w, path, dir ? AT_REMOVEDIR : 0);
	if (err && !took_effect(w, err, dir ? "rmdir" : "unlink", path, false))
		return;
	s->kind = SLOT_FREE;
	expect(w, io_stat(w, path, NULL, NULL), -ENOENT,
	       "stat of what is gone,", path);
}

static void move(struct worker *w, struct slot *s)
{
	uint32_t name = w->ns->next++;
	char from[96], to[96];
	int err;

	slot_name(w->ns, s->name, from);
	slot_name(w->ns, name, to);
	err = io_rename(w, from, to);
	if (err && !took_effect(w, err, "rename to", to, true))
		return;
	s->name = name;
	expect(w, io_stat(w, from, NULL, NULL), -ENOENT,
	       "stat of what was renamed,", from);
}

/* Rename file s over the file t. */
static void move_over(struct worker *w, struct slot *s, struct slot *t)
{
	char from[96], to[96];
	int err;

	slot_name(w->ns, s->name, from);
	slot_name(w->ns, t->name, to);
	err = io_rename(w, from, to);
	/* `to` exists either way: it is `from` that tells. */
	if (err && !took_effect(w, err, "rename over, from", from, false))
		return;
	t->content = s->content;
	s->kind = SLOT_FREE;
	check_file(w, t, to);
}

static void change(struct worker *w, struct slot *s, uint32_t how)
{
	struct slot *t = &w->ns->slots[how / 8 % SLOTS];
	char path[96];

	slot_name(w->ns, s->name, path);
	if (how % 8 < 3)
		drop(w, s);
	else if (how % 8 < 5)
		move(w, s);
	else if (how % 8 == 5)
		make_again(w, s);
	else if (s->kind == SLOT_FILE && t->kind == SLOT_FILE && s != t)
		move_over(w, s, t);
	else if (s->kind == SLOT_FILE)
		check_file(w, s, path);
}

void ns_step(struct worker *w, uint32_t arg)
{
	struct slot *s = &w->ns->slots[arg % SLOTS];

	if (s->kind == SLOT_FREE)
		make(w, s, arg & 0x10000);
	else
		change(w, s, arg >> 17);
	if ((arg >> 8) % 64 == 0)
		ns_check(w);
}

/* ---- the whole folder ---- */

static const struct slot *find_slot(const struct ns *ns, const char *name)
{
	char mine[32];

	for (unsigned i = 0; i < SLOTS; i++) {
		snprintf(mine, sizeof(mine), "n%u", ns->slots[i].name);
		if (ns->slots[i].kind != SLOT_FREE && !strcmp(mine, name))
			return &ns->slots[i];
	}
	return NULL;
}

static int open_folder(struct worker *w, DIR **out)
{
	int fd = io_open(w, w->ns->folder, O_RDONLY | O_DIRECTORY);
	int err = 0;

	if (fd < 0)
		return fd;
	*out = fdopendir(fd);
	if (!*out) {
		err = -errno;
		close(fd);
	}
	return err;
}

/* Count the entries of the folder, each of which must be expected. */
static int list_folder(struct worker *w, unsigned *n)
{
	DIR *dir;
	struct dirent *e;
	int err = open_folder(w, &dir);

	if (err)
		return err;
	*n = 0;
	while (errno = 0, (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		++*n;
		if (!find_slot(w->ns, e->d_name))
			report_diff(w, "%s/%s is listed, but must not be there",
				    w->ns->folder, e->d_name);
	}
	err = -errno;
	closedir(dir);
	return err;
}

static unsigned stat_slots(struct worker *w)
{
	unsigned n = 0;
	char path[96];
	bool is_dir;
	int err;

	for (unsigned i = 0; i < SLOTS; i++) {
		const struct slot *s = &w->ns->slots[i];

		if (s->kind == SLOT_FREE)
			continue;
		n++;
		slot_name(w->ns, s->name, path);
		err = io_stat(w, path, NULL, &is_dir);
		if (err)
			expect(w, err, 0, "stat of what must be there,", path);
		else if (is_dir != (s->kind == SLOT_DIR))
			report_diff(w, "%s is of the wrong type", path);
	}
	return n;
}

void ns_check(struct worker *w)
{
	unsigned listed, expected = stat_slots(w);
	int err = list_folder(w, &listed);

	if (err)
		io_failed(w, err, "readdir");
	else if (listed != expected)
		report_diff(w, "%s: %u entries listed, %u expected",
			    w->ns->folder, listed, expected);
}

void ns_fini(struct worker *w)
{
	struct ns *ns = w->ns;

	if (!ns)
		return;
	/* After a difference the folder is evidence. */
	if (!w->px->diffs && !w->px->cut) {
		for (unsigned i = 0; i < SLOTS; i++)
			if (ns->slots[i].kind != SLOT_FREE)
				drop(w, &ns->slots[i]);
		io_unlink(w, ns->folder, AT_REMOVEDIR);
	}
	free(ns);
	w->ns = NULL;
}
