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
 * for. */
static bool find_handle(const struct fanotify_event_metadata *e,
			const void **fsid, struct opens_handle *h)
{
	const struct fanotify_event_info_fid *fid = (const void *)(e + 1);
	const struct file_handle *fh = (const void *)fid->handle;
	size_t room = e->event_len - sizeof(*e);

	if (e->event_len < sizeof(*e) + sizeof(*fid) + sizeof(*fh) ||
	    fid->hdr.info_type != FAN_EVENT_INFO_TYPE_FID ||
	    fid->hdr.len > room || fh->handle_bytes > OPENS_HANDLE_MAX ||
	    sizeof(*fid) + sizeof(*fh) + fh->handle_bytes > room)
		return false;
	*fsid = &fid->fsid;
	h->len = fh->handle_bytes;
	h->type = fh->handle_type;
	memcpy(h->bytes, fh->f_handle, fh->handle_bytes);
	return true;
}

static void hand_on(struct opens *o, const struct fanotify_event_metadata *e,
		    const struct mounts *m, opens_fn fn, void *arg)
{
	struct opens_handle h = {0};
	const struct mount *mount;
	const void *fsid;

	if (e->mask & FAN_Q_OVERFLOW)
		o->n_lost++;
	if (e->pid == getpid() || !(e->mask & EVENTS) ||
	    !find_handle(e, &fsid, &h))
		return;
	mount = mounts_by_fsid(m, fsid);
	if (mount)
		fn(mount, &h, e->mask & FAN_OPEN_EXEC, arg);
}

uint32_t opens_read(struct opens *o, const struct mounts *m, opens_fn fn,
		    void *arg)
{
	_Alignas(8) static char buf[2048]; /* some 30 events */
	const struct fanotify_event_metadata *e = (const void *)buf;
	uint32_t n = 0;
	ssize_t len;

	if (o->fd < 0)
		return 0;
	len = read(o->fd, buf, sizeof(buf));
	while (len > 0 && FAN_EVENT_OK(e, len)) {
		hand_on(o, e, m, fn, arg);
		n++;
		e = FAN_EVENT_NEXT(e, len);
	}
	return n;
}
