/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * pfs/intake.h - takes the vectors that guests send.
 *
 * One thread listens for two kinds of connection:
 *   AF_VSOCK  a port of this host, for QEMU's vhost-vsock;
 *   hybrid    a Unix socket DIR/NAME_PORT for each VM, to which Firecracker,
 *             Cloud Hypervisor and vhost-device-vsock connect for a guest that
 *             connects to PORT of CID 2.
 * Over them come frames of pfs-vector(5), one behind the other; nothing is
 * sent back.  A VM is who its CID or its socket says, whatever a frame holds.
 *
 * Guests are trusted with nothing but their own vectors:
 *   - what does not decode, comes twice, is older than what came before, or
 *     is of an agent that another has followed, is counted and dropped;
 *   - a VM above its rate is not read from until it is below it again, so
 *     a flood waits in the guest and costs nothing here;
 *   - connections, VMs, bytes and patience are bounded, see below.
 *
 * Identity a VM's name: "cid:3", or NAME of its socket.
 * Time     nanoseconds of pfs_now_ns().
 * Errors   0 or -errno; -ENOENT: no such VM.
 * Threads  pfs_intake_stop() is the last call; the others from any thread.
 *          The callback is called on the intake's thread, without a lock, and
 *          may call nothing of the intake but the functions that read.
 * Memory   everything of a VM is allocated when it first connects or is
 *          added: with the default history less than 52 KiB.
 */
#ifndef PFS_INTAKE_H
#define PFS_INTAKE_H

#include <pfs/vector.h>

#define PFS_INTAKE_NAME_LEN 64u /* with its NUL */
#define PFS_INTAKE_VMS 1024u    /* known at a time */
#define PFS_INTAKE_CONNS 1024u  /* of all VMs together */
#define PFS_INTAKE_VM_CONNS 2u

struct pfs_intake; /* opaque */

/* What became of frames and connections. */
enum pfs_intake_count {
	PFS_INTAKE_TAKEN,     /* frames given to the callback */
	PFS_INTAKE_BAD,       /* did not decode; the reasons are in n_bad */
	PFS_INTAKE_DUPLICATE, /* the number of the frame before */
	PFS_INTAKE_REPLAYED,  /* a lower number */
	PFS_INTAKE_OLD_AGENT, /* of an agent that another has followed */
	PFS_INTAKE_NEW_AGENT, /* taken, the first of another agent */
	PFS_INTAKE_JUMPED,    /* taken, others before it are missing */
	PFS_INTAKE_THROTTLED, /* times a connection was left unread */
	PFS_INTAKE_ACCEPTED,  /* connections */
	PFS_INTAKE_REFUSED,   /* connections over a limit */
	PFS_INTAKE_SLOW,      /* connections closed: half a frame for 5 s */
	PFS_INTAKE_TORN,      /* connections that ended within a frame */
	PFS_INTAKE_COUNTS,
};

/* A vector that was taken.  All of it is borrowed for the call. */
struct pfs_intake_frame {
	const char *vm;
	uint32_t cid;     /* 0: a hybrid socket */
	int32_t peer_pid; /* the VMM that connected; 0: not known */
	uint64_t time_ns; /* when it was read */
	const struct pfs_vector *vector;
	const uint8_t *bytes; /* PFS_VECTOR_LEN, as they came */
};

struct pfs_intake_config {
	uint32_t vsock_port;     /* 0: no AF_VSOCK */
	const char *uds_dir;     /* NULL: no hybrid sockets; copied */
	uint32_t uds_port;       /* in their names; 0: PFS_VECTOR_PORT */
	uint32_t frames_per_s;   /* of one VM; 0: 20 */
	uint32_t frames_at_once; /* after a rest; 0: 40 */
	/* Connections at a hybrid socket, twice as many after a rest; 0: 20.
	 * At the port of AF_VSOCK, which all VMs share, ten times that. */
	uint32_t conns_per_s;
	uint32_t n_history; /* vectors kept of each VM; 0: 600 */
	void (*take)(void *arg, const struct pfs_intake_frame *frame);
	void *arg; /* borrowed until pfs_intake_stop() */
};

/** Listen and start the thread.  A host without AF_VSOCK is no error if there
 *  are hybrid sockets: pfs_intake_vsock_error() tells.  -ENODEV: there is
 *  nothing to listen on (the caller goes on without vectors), -EINVAL,
 *  -EADDRINUSE: another has the port. */
int pfs_intake_start(const struct pfs_intake_config *cfg,
		     struct pfs_intake **out) PFS_MUST_CHECK;
/** Close everything, remove the sockets; accepts NULL.  The callback is not
 *  called any more when this returns. */
void pfs_intake_stop(struct pfs_intake *in);
/** Why there is no AF_VSOCK: -EAFNOSUPPORT, ...; 0: there is, or it was not
 *  asked for. */
int pfs_intake_vsock_error(const struct pfs_intake *in);

/** Letters, digits, ".", "_" and "-", not a "." first. */
bool pfs_intake_name_ok(const char *name);
/** Make the hybrid socket of a VM and listen.  Guests can connect when this
 *  returns.  A socket that a dead process left is replaced.  -EINVAL: no such
 *  name, or no uds_dir; -EEXIST: it has one, or there is a file of the name;
 *  -EADDRINUSE: another process listens there; -ENAMETOOLONG; -ENOSPC: too
 *  many VMs. */
int pfs_intake_add_vm(struct pfs_intake *in, const char *name) PFS_MUST_CHECK;
/** Remove it and its socket; its connections end.  Not for a "cid:N". */
int pfs_intake_remove_vm(struct pfs_intake *in,
			 const char *name) PFS_MUST_CHECK;

/* --- what is known of a VM --- */

struct pfs_intake_vm {
	char name[PFS_INTAKE_NAME_LEN];
	uint32_t cid;     /* 0: a hybrid socket */
	int32_t peer_pid; /* who connected last; 0: not known */
	uint32_t n_conns;
	uint64_t n[PFS_INTAKE_COUNTS];
	uint64_t n_bad[PFS_VECTOR_ERRORS];
	uint64_t last_ns;       /* 0: none was taken so far */
	struct pfs_vector last; /* the newest vector */
};

/* A vector of the past: features to 1/65535 of their range. */
struct pfs_intake_sample {
	uint64_t time_ns;
	uint32_t n_extents;
	uint32_t feature[PFS_FEATURES]; /* Q16.16 */
};

/** "taken", "replayed", ...: for users. */
const char *pfs_intake_count_name(enum pfs_intake_count c);

int pfs_intake_vm(struct pfs_intake *in, const char *name,
		  struct pfs_intake_vm *out) PFS_MUST_CHECK;
/** Call fn for each VM; nonzero stops and is returned. */
int pfs_intake_each(struct pfs_intake *in,
		    int (*fn)(void *arg, const struct pfs_intake_vm *vm),
		    void *arg);
/** The newest vectors, the oldest of them first.  *n: room in out, then how
 *  many there are.  Vectors sent early (PFS_VECTOR_EARLY) are not kept: their
 *  features are those of the one before. */
int pfs_intake_history(struct pfs_intake *in, const char *name,
		       struct pfs_intake_sample *out, size_t *n) PFS_MUST_CHECK;

#endif
