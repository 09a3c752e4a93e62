/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "control_hold.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>

#include <pfs/io.h>

#include "control_list.h"
#include "resolve.h"

/* Below the source, written in the one way that the catalog knows: no part of
 * it empty, "." or "..". */
static bool is_plain(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");

		if (!len || !strncmp(path, ".", len) ||
		    (len == 2 && !strncmp(path, "..", 2)))
			return false;
		if (!path[len])
			return true;
		path += len + 1;
	}
}

/* Links are not followed, and what is no regular file is not opened. */
static int open_below(struct worker *w, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
			   RESOLVE_NO_MAGICLINKS,
	};
	PFS_AUTO_FD fd = -1;
	struct stat st;

	if (!is_plain(path))
		return -ENOENT;
	fd = pfs_io_openat2(PFS_FP_SOURCE_OPEN, w->root_fd, path, &how);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		return -errno;
	return S_ISREG(st.st_mode) ? resolve_reopen(fd, O_RDONLY) : -ENOENT;
}

static struct image *find_in_use(struct worker *w, const char *name)
{
	PFS_AUTO(control_list_done) struct control_list all = {.at = NULL};

	if (control_list(w, &all))
		return NULL;
	for (size_t i = 0; i < all.n; i++)
		if (all.at[i].is_in_use && all.at[i].id &&
		    !strcmp(all.at[i].name, name))
			return image_find(w, all.at[i].id);
	return NULL;
}

static int bring_into_use(struct control_call *call, struct control_held *h)
{
	PFS_AUTO_FD fd = open_below(call->w, h->name);
	int err = fd < 0 ? fd : image_get(call->w, fd, h->name, &h->img);

	if (err == -ENOENT || err == -ELOOP || err == -ENOTDIR)
		return control_fail(call, -ENOENT,
				    "there is no image '%.256s': give its path "
				    "below the mountpoint (pfsctl images lists "
				    "those known)",
				    h->name);
	return err ? control_fail(call, err, "%.256s: %s", h->name,
				  strerror(-err))
		   : 0;
}

int control_hold(struct control_call *call, struct control_held *out)
{
	PFS_AUTO(control_held_done) struct control_held h = {.img = NULL};
	int err = control_need_store(call);

	if (err)
		return err;
	if (pfs_json_bytes(call->req, "image", &h.name))
		return control_fail(call, -EINVAL, "which image?");
	h.img = find_in_use(call->w, h.name);
	h.was_in_use = h.img;
	if (!h.img)
		err = bring_into_use(call, &h);
	if (err)
		return err;
	h.sto = image_store(h.img);
	h.id = image_id(h.img);
	if (!h.sto || !h.id)
		return control_fail(call, -ENODEV,
				    "%.256s is served past the store: see the "
				    "daemon's log for the reason",
				    h.name);
	h.size = image_size(h.img);
	*out = h;
	h = (struct control_held){.img = NULL};
	return 0;
}

void control_held_done(struct control_held *h)
{
	if (h->img)
		image_put(h->img);
	free(h->name);
}
