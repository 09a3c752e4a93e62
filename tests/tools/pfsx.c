// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * pfsx: a torture test for a file system that serves VM images.
 *
 * Threads read, write, truncate, punch, copy, rename and fsync a few images
 * under one folder, and judge every byte that is read against a state file
 * that outlives the kill of any process (see pfsx.h).  It only uses system
 * calls on that folder, so anything can be mounted there.
 *
 * Exit status: 0 nothing wrong, 1 differences or errors, 2 usage or set-up,
 * 4 a call did not return.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pfsx.h"

/* ---- workers ---- */

int worker_init(struct worker *w, struct pfsx *px, unsigned id)
{
	memset(w, 0, sizeof(*w));
	w->px = px;
	w->id = id;
	w->scratch = -1;
	for (unsigned i = 0; i < MAX_IMAGES; i++)
		w->fd[i] = w->direct_fd[i] = -1;
	w->plant_rng.s = px->o.seed ^ (id * 7919ull);
	gen_init(&w->gen, &px->o, id, px->run);
	w->dir = open(px->o.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dir < 0)
		return -errno;
	if (posix_memalign((void **)&w->buf, 4096, MAX_IO) ||
	    posix_memalign((void **)&w->tmp, 4096, MAX_IO))
		return -ENOMEM;
	memset(w->buf, 0, MAX_IO);
	return 0;
}

void worker_fini(struct worker *w)
{
	char name[32];

	ns_fini(w);
	for (unsigned i = 0; i < MAX_IMAGES && w->buf; i++)
		image_forget(w, i);
	if (w->scratch >= 0) {
		snprintf(name, sizeof(name), "pfsx.scratch.%u", w->id);
		io_close(&w->scratch);
		io_unlink(w, name, 0);
	}
	if (w->buf)
		io_close(&w->dir);
	free(w->buf);
	free(w->tmp);
}

static void run_ops(struct worker *w)
{
	const struct options *o = &w->px->o;
	uint64_t n = o->ops / o->threads + (w->id < o->ops % o->threads);
	struct op op;

	for (uint64_t i = 0; (!o->ops || i < n) && !w->px->stop; i++) {
		gen_next(&w->gen, o, &op);
		op_run(w, &op);
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	if (w->px->o.interleave)
		interleave_run(w);
	else
		run_ops(w);
	w->px->running--;
	return NULL;
}

/* ---- the watch ---- */

static void check_hang(struct pfsx *px, const struct worker *w)
{
	uint64_t since = w->busy_since;
	uint64_t now = now_ns();

	if (!since || now < since || now - since < px->o.hang_s * 1000000000ull)
		return;
	fprintf(stderr,
		"pfsx: HANG: thread %u, op %llu (%s image %u offset %llu): %s "
		"has not returned for %u s; seed %llu\n",
		w->id, (unsigned long long)w->op_no, op_names[w->op.kind],
		w->op.image, (unsigned long long)w->op.off, w->busy_with,
		px->o.hang_s, (unsigned long long)px->o.seed);
	_exit(4);
}

struct watch {
	struct pfsx *px;
	const struct worker *w;
	unsigned n;
	atomic_bool over;
};

static void *watch_main(void *arg)
{
	struct watch *watch = arg;

	while (!watch->over) {
		sleep_ms(20);
		for (unsigned i = 0; i < watch->n; i++)
			check_hang(watch->px, &watch->w[i]);
	}
	return NULL;
}

/* Returns when all workers have ended. */
static void wait_for_end(struct pfsx *px)
{
	uint64_t begun = now_ns();
	bool killing = px->o.kill_cmd && px->o.kills;

	while (px->running) {
		sleep_ms(5);
		if (px->o.seconds &&
		    now_ns() - begun > px->o.seconds * 1000000000ull)
			px->stop = true;
		if (killing && px->kills_done >= px->o.kills)
			px->stop = true;
	}
}

static unsigned start_workers(struct pfsx *px, struct worker *w, unsigned n)
{
	unsigned i = 0;

	px->running = n;
	while (i < n && !pthread_create(&w[i].thread, NULL, worker_main, &w[i]))
		i++;
	if (i < n) {
		px->running -= n - i;
		px->stop = true;
		px->errors++;
	}
	return i;
}

static void run_workers(struct pfsx *px, struct worker *w, unsigned n)
{
	unsigned started = start_workers(px, w, n);
	pthread_t killer;
	bool killing = px->o.kill_cmd &&
		       !pthread_create(&killer, NULL, kill_thread, px);

	wait_for_end(px);
	px->stop = true;
	if (killing)
		pthread_join(killer, NULL);
	for (unsigned i = 0; i < started; i++)
		pthread_join(w[i].thread, NULL);
	if (px->o.kills && px->kills_done < px->o.kills && !px->errors &&
	    !px->diffs) {
		fprintf(stderr, "pfsx: ERROR: only %u of %u kills in time\n",
			px->kills_done, px->o.kills);
		px->errors++;
	}
}

/* ---- the phases of a run ---- */

static int open_state(struct pfsx *px, char *temp)
{
	int fd, err;

	if (!px->o.state_path) {
		const char *tmp = getenv("TMPDIR");

		snprintf(temp, 256, "%s/pfsx-XXXXXX", tmp ? tmp : "/tmp");
		fd = mkstemp(temp);
		if (fd < 0)
			return -errno;
		close(fd);
		px->o.state_path = temp;
	}
	err = state_open(px->o.state_path, px->o.images, px->o.size, px->o.seed,
			 px->o.verify_only, &px->st);
	if (!err && px->o.verify_only && !px->st.hdr->ready)
		err = -ENODATA;
	return err;
}

static int prepare(struct pfsx *px, struct worker *w)
{
	bool fresh = !px->st.hdr->ready;
	int err = image_setup(w);

	if (err)
		return err;
	px->st.hdr->ready = 1;
	if (!px->o.verify_only)
		image_probe(w);
	if (!fresh)
		verify_all(w, px->o.power_cut ? JUDGE_CUT : JUDGE_LIVE);
	else if (!px->o.no_fill && !px->o.namespace_only)
		for (uint32_t i = 0; i < px->o.images && !px->stop; i++)
			op_fill(w, i);
	return 0;
}

static int init_namespaces(struct pfsx *px, struct worker *w, unsigned n)
{
	int err = 0;

	if (!px->o.mix.weight[OP_NS] && !px->o.namespace_only)
		return 0;
	for (unsigned i = 0; i < n && !err; i++)
		err = ns_init(&w[i]);
	return err;
}

static void run(struct pfsx *px, struct worker *w, unsigned n)
{
	if (!px->o.interleave && init_namespaces(px, w, n)) {
		report_error(w, "cannot make folders for namespace calls");
		return;
	}
	run_workers(px, w, n);
	/* The stop ended the load; the last check is not to be stopped. */
	if (px->cut || px->diffs || px->errors || px->o.interleave)
		return;
	px->stop = false;
	for (unsigned i = 0; i < n && w[i].ns; i++) {
		ns_check(&w[i]);
		ns_fini(&w[i]);
	}
	verify_all(w, JUDGE_LIVE);
}

/* ---- main ---- */

static void init_run(struct pfsx *px)
{
	pthread_mutex_init(&px->report, NULL);
	for (unsigned i = 0; i < MAX_IMAGES; i++) {
		range_init(&px->ranges[i]);
		pthread_rwlock_init(&px->names[i], NULL);
	}
}

static void remove_images(struct worker *w)
{
	char name[32];

	for (uint32_t i = 0; i < 2 * w->px->o.images; i++) {
		image_name(i / 2, i % 2, name);
		io_unlink(w, name, 0); /* one of the two is there */
	}
}

static int execute(struct pfsx *px, struct worker *w, unsigned n,
		   const char *temp)
{
	struct watch watch = {.px = px, .w = w, .n = n};
	uint64_t begun = now_ns();
	pthread_t watcher;
	int err = 0;

	px->run = px->st.hdr->runs;
	px->st.hdr->runs += !px->o.verify_only;
	for (unsigned i = 0; i < n && !err; i++)
		err = worker_init(&w[i], px, i);
	if (!err)
		err = -pthread_create(&watcher, NULL, watch_main, &watch);
	if (!err)
		err = prepare(px, w);
	if (err)
		die("%s: %s", px->o.dir, strerror(-err));
	if (!px->o.verify_only && !px->stop)
		run(px, w, n);
	run_report(px, w, n, (double)(now_ns() - begun) / 1e9);
	/* Without its state file an image is of no use to a later run. */
	if (px->o.state_path == temp && run_passed(px) && !px->cut)
		remove_images(w);
	for (unsigned i = 0; i < n; i++)
		worker_fini(&w[i]);
	watch.over = true;
	pthread_join(watcher, NULL);
	return run_passed(px) ? 0 : 1;
}

int main(int argc, char **argv)
{
	static struct pfsx px;
	struct worker *w;
	char temp[256] = "";
	unsigned n;
	int err, status;

	options_parse(argc, argv, &px.o);
	if (px.o.dump_ops) {
		ops_dump(&px.o);
		return 0;
	}
	if (cmd_start(px.o.hang_s))
		die("cannot start the process that runs commands");
	init_run(&px);
	err = open_state(&px, temp);
	if (err)
		die("state file %s: %s", px.o.state_path, strerror(-err));
	n = px.o.interleave || px.o.verify_only ? 1 : px.o.threads;
	w = calloc(n, sizeof(*w));
	if (!w)
		die("out of memory");
	status = execute(&px, w, n, temp);
	if (*temp && status == 0)
		unlink(temp);
	else if (status)
		fprintf(stderr, "pfsx: the expected state is in %s\n",
			px.o.state_path);
	free(w);
	state_close(&px.st);
	return status;
}
