/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mapped.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

/* Where this thread goes on after a SIGBUS; NULL: not within a copy. */
static _Thread_local sigjmp_buf *volatile copying;
static struct sigaction previous;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (copying)
		siglongjmp(*copying, 1);
	/* Not ours: the same access again, under whoever was there before. */
	sigaction(sig, &previous, NULL);
}

static void catch_sigbus(void)
{
	struct sigaction sa = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	sigaction(SIGBUS, &sa, &previous);
}

const uint8_t *mapped_open(int fd, uint64_t len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	void *map =
		mmap(NULL, len, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (map == MAP_FAILED)
		return NULL;
	pthread_once(&once, catch_sigbus);
	return map;
}

void mapped_close(const uint8_t *map, uint64_t len)
{
	if (map)
		munmap((void *)map, len);
}

bool mapped_copy(void *dst, const uint8_t *src, size_t len)
{
	sigjmp_buf here;

	/* The mask is not saved: the handler does not change it. */
	if (sigsetjmp(here, 0)) {
		copying = NULL;
		return false;
	}
	copying = &here;
	memcpy(dst, src, len);
	copying = NULL;
	return true;
}
