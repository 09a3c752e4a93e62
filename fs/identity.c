/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "identity.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>

#include <pfs/clock.h>
#include <pfs/hash.h>
#include <pfs/io.h>

/* A time stamp younger than this may be kept by a later change (I6). */
#define TRUST_NS (20 * PFS_NSEC_PER_MSEC)

/* The file system's own id, or, where it has none, the source's name. */
static void fs_identity(struct worker *w, int fd, struct pfs_identity *id)
{
	struct statfs fs;
	uint64_t words[2] = {0, 0};

	if (!fstatfs(fd, &fs))
		memcpy(words, &fs.f_fsid,
		       PFS_MIN(sizeof(words), sizeof(fs.f_fsid)));
	if (!words[0]) {
		words[0] = pfs_hash64(w->opt.source, strlen(w->opt.source), 0);
		words[1] = 1;
	}
	memcpy(id->fs_id, words, sizeof(id->fs_id));
	id->present |= PFS_IDENT_FS;
}

static int64_t stamp_ns(const struct statx_timestamp *t)
{
	return t->tv_sec * (int64_t)PFS_NSEC_PER_SEC + t->tv_nsec;
}

int identity_of(struct worker *w, int fd, struct pfs_identity *id)
{
	struct statx st;
	int err = pfs_fault_check(PFS_FP_SOURCE_META);

	if (err)
		return err;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st))
		return -errno;
	*id = (struct pfs_identity){
		.ino = st.stx_ino,
		.size = st.stx_size,
		.mtime_ns = stamp_ns(&st.stx_mtime),
		.ctime_ns = stamp_ns(&st.stx_ctime),
		.recorded_ns = (int64_t)pfs_wall_ns(),
	};
	if (st.stx_mask & STATX_BTIME) {
		id->present |= PFS_IDENT_BTIME;
		id->btime_ns = stamp_ns(&st.stx_btime);
	}
	fs_identity(w, fd, id);
	return 0;
}

bool identity_same_file(const struct pfs_identity *a,
			const struct pfs_identity *b)
{
	return a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

/* Let the file's change time become old enough to be trusted.  Only time can
 * do that; the caller is a pool thread with nobody waiting for it. */
void identity_let_age(const struct pfs_identity *id)
{
	int64_t age = (int64_t)pfs_wall_ns() - id->ctime_ns;
	struct timespec ts = {.tv_nsec = (long)TRUST_NS - age};

	if (age >= 0 && age < (int64_t)TRUST_NS)
		(void)nanosleep(&ts, NULL);
}
