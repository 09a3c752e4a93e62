/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * fs/proto.h - what supervisor and worker say to each other.
 *
 * One SOCK_SEQPACKET pair per worker; a message is a fixed header and up to
 * PROTO_MAX bytes, with up to PROTO_FDS descriptors.  A message that sendmsg()
 * took is safe even if its sender dies in the next instruction: the supervisor
 * empties the socket of a dead worker before it starts another.  So a worker
 * that registered a descriptor need not wait for an answer.
 *
 * Version  a worker states PROTO_VERSION first, by HELLO; one that differs is
 *          refused before the old worker stops.
 * Start    HELLO; CONFIG, FIXED_FDS, CLONE_FDS, KEPT_FDS..., CONFIG_END;
 *          READY; GO; SERVING.
 */
#ifndef PFS_FS_PROTO_H
#define PFS_FS_PROTO_H

#include <pfs/base.h>

#define PROTO_VERSION 1
#define PROTO_MAX 32768 /* five paths of 4 KiB and change */
#define PROTO_FDS 128

enum proto_type {
	/* worker to supervisor */
	PROTO_HELLO = 1,   /* u32 version, u32 state version */
	PROTO_READY,       /* able to serve; the would-be INIT reply as payload
			    * when one is saved: the supervisor compares */
	PROTO_SERVING,     /* the mount answers */
	PROTO_FD_PUT,      /* u32 slot + the descriptor: keep it for me */
	PROTO_FD_DROP,     /* u32 slot: close it */
	PROTO_UPGRADE,     /* path of a binary: start it in my place; answered
			    * with PROTO_UPGRADE_RESULT */
	PROTO_STOP_MOUNT,  /* please unmount (pfsctl stop) */
	PROTO_UPGRADE_ALL, /* as PROTO_UPGRADE, then the supervisor turns into
			    * that binary too, keeping its descriptors */
	/* supervisor to worker */
	PROTO_CONFIG = 64,    /* the option text, as options_pack() wrote it */
	PROTO_FIXED_FDS,      /* memfd, source root, mount's /dev/fuse, control
			       * listener, in this order; then one lock or two
			       * (catalog, store) to hold as long as you live */
	PROTO_CLONE_FDS,      /* one clone of /dev/fuse per data thread */
	PROTO_KEPT_FDS,       /* u32 slots[] + the descriptors kept for them;
			       * before CONFIG_END, but for the successor of an
			       * upgrade between its READY and GO */
	PROTO_CONFIG_END,     /* all was sent: get ready */
	PROTO_GO,             /* serve; u32: 1 = others served before, resend */
	PROTO_DRAIN,          /* finish what you hold, save, exit 0;
			       * u32: enum proto_drain */
	PROTO_UPGRADE_RESULT, /* i32 0 or -errno, then a sentence */
};

enum proto_drain {
	PROTO_DRAIN_HANDOVER, /* a successor is ready: be quick, keep marks */
	PROTO_DRAIN_END,      /* the mount ends: save all, clear marks */
};

struct proto_msg {
	uint32_t type; /* enum proto_type */
	uint32_t len;
	int n_fds;
	int fds[PROTO_FDS]; /* received ones are the receiver's to close */
	uint8_t data[PROTO_MAX];
};

/** A connected pair, both ends close-on-exec. */
int proto_pair(int out[2]) PFS_MUST_CHECK;
/** Send; descriptors stay the caller's.  -ENOTCONN when the other side is
 *  gone, -EAGAIN when a send timeout set on the socket ran out. */
int proto_send(int sock, uint32_t type, const void *data, size_t len,
	       const int *fds, int n_fds) PFS_MUST_CHECK;
/** Receive one message; -ENOTCONN when the other side is gone and all it sent
 *  was received, -EPROTO for one that is malformed. */
int proto_recv(int sock, struct proto_msg *msg) PFS_MUST_CHECK;
/** Close the descriptors of a received message that were not taken (those
 *  taken were set to -1). */
void proto_close_fds(struct proto_msg *msg);

#endif
