/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "opens.h"

#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>

#define EVENTS (FAN_OPEN | FAN_OPEN_EXEC)

void opens_remark(struct opens *o, const struct mounts *m, struct probe *p)
{
	int err = m->n ? 0 : -ENODEV;
	bool has_any = false;

	if (o->fd < 0)
		return;
	for (uint32_t i = 0; i < m->n; i++) {
		PFS_AUTO_FD root = mounts_open(&m->mount[i]);

		if (root >= 0 &&
		    !fanotify_mark(o->fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
				   EVENTS, root, NULL))
			has_any = true;
		else
			err = root < 0 ? root : -errno;
	}
	if (has_any)
		probe_found(p, PFS_SIGNAL_OPENS);
	else
		probe_lost(p, PFS_SIGNAL_OPENS, "fanotify_mark", err);
}

void opens_open(struct opens *o, const struct mounts *m, struct probe *p)
{
	*o = (struct opens){.fd = -1};
	if (!probe_wants(p, PFS_SIGNAL_OPENS))
		return;
	o->fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK |
				      FAN_CLOEXEC,
			      O_RDONLY | O_CLOEXEC);
	if (o->fd < 0)
		probe_lost(p, PFS_SIGNAL_OPENS, "fanotify_init", -errno);
	else
		opens_remark(o, m, p);
}

void opens_close(struct opens *o)
{
	pfs_fd_done(&o->fd);
	o->fd = -1;
}

/* The file an event is about; false: not said, or in a form we have no room
 * for.  Events follow each other at multiples of 4 bytes, so nothing of them is
 * looked at in place. */
static bool find_handle(const char *info, size_t room, fsid_t *fsid,
			struct opens_handle *h)
{
	struct fanotify_event_info_fid fid;
	struct file_handle fh;
	const char *bytes = info + sizeof(fid) + sizeof(fh);

	if (room < sizeof(fid) + sizeof(fh))
		return false;
	memcpy(&fid, info, sizeof(fid));
	memcpy(&fh, info + sizeof(fid), sizeof(fh));
	if (fid.hdr.info_type != FAN_EVENT_INFO_TYPE_FID ||
	    fh.handle_bytes > OPENS_HANDLE_MAX ||
	    fh.handle_bytes > room - sizeof(fid) - sizeof(fh))
		return false;
	memcpy(fsid, &fid.fsid, sizeof(*fsid));
	h->len = fh.handle_bytes;
	h->type = fh.handle_type;
	memcpy(h->bytes, bytes, fh.handle_bytes);
	return true;
}

static void hand_on(struct opens *o, const struct fanotify_event_metadata *e,
		    const char *info, const struct mounts *m, opens_fn fn,
		    void *arg)
{
	struct opens_handle h = {0};
	const struct mount *mount;
	fsid_t fsid;

	if (e->mask & FAN_Q_OVERFLOW)
		o->n_lost++;
	if (e->pid == getpid() || !(e->mask & EVENTS) ||
	    !find_handle(info, e->event_len - sizeof(*e), &fsid, &h))
		return;
	mount = mounts_by_fsid(m, &fsid);
	if (mount)
		fn(mount, &h, e->mask & FAN_OPEN_EXEC, arg);
}

uint32_t opens_read(struct opens *o, const struct mounts *m, opens_fn fn,
		    void *arg)
{
	char buf[2048]; /* some 30 events */
	struct fanotify_event_metadata e;
	const char *at = buf;
	uint32_t n = 0;
	ssize_t len;

	if (o->fd < 0)
		return 0;
	len = read(o->fd, buf, sizeof(buf));
	while (len >= (ssize_t)sizeof(e)) {
		memcpy(&e, at, sizeof(e));
		if (!FAN_EVENT_OK(&e, len))
			break;
		hand_on(o, &e, at + sizeof(e), m, fn, arg);
		n++;
		at += e.event_len;
		len -= e.event_len;
	}
	return n;
}
