/* SPDX-License-Identifier: GPL-3.0-or-later */
/**
 * perf.h - page faults, page-cache insertions and block requests, by perf.
 *
 * Steps can be told only from samples that follow each other, so what is
 * sampled is bursts: each event of each CPU is armed for so many samples, the
 * kernel switches it off behind the last (PERF_EVENT_IOC_REFRESH), and
 * perf_arm() begins the next burst.  That bounds what sampling costs the
 * guest, too, whatever it does.
 *
 * All events of a CPU share one ring.
 */
#ifndef AGENT_PERF_H
#define AGENT_PERF_H

#include "probe.h"
#include "tracepoint.h"

enum perf_kind {
	PERF_FAULT,
	PERF_INSERT, /* a page or folio was put into the page cache */
	PERF_BLOCK,  /* a read was sent to a disk */
	PERF_KINDS,
};

/* One record.  Which fields there are depends on the kind. */
struct perf_record {
	enum perf_kind kind;
	uint32_t pid, tid;
	uint64_t time_ns;            /* CLOCK_MONOTONIC */
	uint32_t burst;              /* others follow others */
	uint64_t addr;               /* FAULT: what was touched */
	uint32_t dev;                /* INSERT, BLOCK: as in disks.h */
	uint64_t ino, page, n_pages; /* INSERT */
	uint64_t off, len;           /* BLOCK: bytes on the whole disk */
};

typedef void (*perf_fn)(const struct perf_record *r, void *arg);

struct perf_cpu {
	void *ring; /* owned: a page for the head, then data; NULL: none */
	int fd[PERF_KINDS];
	uint64_t id[PERF_KINDS];
	uint64_t granted[PERF_KINDS]; /* events, the ones of this burst last */
	uint32_t burst[PERF_KINDS];   /* number of it */
};

struct perf {
	struct perf_cpu *cpu; /* owned, n_cpus of them */
	uint32_t n_cpus;
	size_t data_len;
	struct {
		struct tp_field dev, ino, index, order;
	} insert;
	struct {
		struct tp_field dev, sector, n_sectors, rwbs;
	} block;
	uint64_t n_lost;
};

/** Open what there is; p says what is missing.  -ENOMEM */
int perf_open(struct perf *f, struct probe *p) PFS_MUST_CHECK;
void perf_close(struct perf *f);
/** Top up the bursts of a kind to n samples on each CPU.  What was sampled
 *  before belongs to another burst only if it was drained before. */
void perf_arm(struct perf *f, enum perf_kind kind, uint32_t n);
/** Hand on and forget all records that are there. */
void perf_drain(struct perf *f, perf_fn fn, void *arg);

#endif
