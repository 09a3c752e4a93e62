/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Which mount is meant.  A mountpoint is never looked at through the file
 * system: a mount that hangs or is dead must not stop pfsctl, which may be
 * there to repair it.  Names are compared as text.
 */
#include "cli.h"

#include <string.h>

struct search {
	const char *wanted; /* absolute; NULL: any */
	const char *also;   /* the same with its folder resolved, or NULL */
	char known[2048];   /* mountpoints, for the sentence */
	unsigned int n_alive, n_dead;
	pid_t dead_pid;
	char *dead; /* owned: mountpoint of one whose daemon has ended */
	struct cli *cli;
	int status;
};

/* Make a path absolute and drop "//", "/." and slashes at the end. */
static char *absolute(const char *path)
{
	PFS_AUTO_FREE char *cwd = NULL;
	char *full, *out, *token, *save = NULL;
	size_t len = 0;

	if (path[0] != '/') {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return NULL;
	}
	if (asprintf(&full, "%s/%s", cwd ? cwd : "", path) < 0)
		return NULL;
	out = malloc(strlen(full) + 2);
	token = out ? strtok_r(full, "/", &save) : NULL;
	for (; token; token = strtok_r(NULL, "/", &save)) {
		if (!strcmp(token, "."))
			continue;
		out[len++] = '/';
		memcpy(out + len, token, strlen(token));
		len += strlen(token);
	}
	if (out) {
		if (!len)
			out[len++] = '/';
		out[len] = '\0';
	}
	free(full);
	return out;
}

/* Links above the mountpoint are followed, the mountpoint is not touched. */
static char *folder_resolved(const char *path)
{
	const char *slash = strrchr(path, '/');
	PFS_AUTO_FREE char *folder = strndup(path, (size_t)(slash - path));
	PFS_AUTO_FREE char *real = NULL;
	char *out;

	if (!folder)
		return NULL;
	real = realpath(folder[0] ? folder : "/", NULL);
	if (!real ||
	    asprintf(&out, "%s%s", strcmp(real, "/") ? real : "", slash) < 0)
		return NULL;
	return out;
}

static void note_known(struct search *s, const char *mountpoint)
{
	PFS_AUTO_FREE char *text = NULL;
	size_t len = strlen(s->known);

	if (pfs_ctl_escape(mountpoint, strlen(mountpoint), &text) == 0)
		(void)snprintf(s->known + len, sizeof(s->known) - len, "%s%s",
			       len ? ", " : "", text);
}

int cli_use(struct cli *cli, const struct pfs_ctl_mount *m)
{
	cli_forget(cli);
	cli->mountpoint = strdup(m->mountpoint);
	cli->socket = strdup(m->socket);
	cli->supervisor_pid = m->supervisor_pid;
	if (cli->mountpoint && cli->socket)
		return STATUS_OK;
	return cli_say(STATUS_FAILED, "out of memory");
}

void cli_forget(struct cli *cli)
{
	free(cli->mountpoint);
	free(cli->socket);
	cli->mountpoint = cli->socket = NULL;
}

static int consider(void *arg, const struct pfs_ctl_mount *m)
{
	struct search *s = arg;
	bool is_wanted = !s->wanted || !strcmp(m->mountpoint, s->wanted) ||
			 (s->also && !strcmp(m->mountpoint, s->also));

	if (m->is_alive)
		note_known(s, m->mountpoint);
	if (!is_wanted)
		return 0;
	if (m->is_alive) {
		s->n_alive++;
		s->status = cli_use(s->cli, m);
		return s->status != STATUS_OK;
	}
	s->n_dead++;
	s->dead_pid = m->supervisor_pid;
	free(s->dead);
	s->dead = strdup(m->mountpoint);
	return 0;
}

static int say_none(const struct search *s)
{
	char dir[PATH_MAX] = "the run folder";

	if (s->n_dead)
		return cli_say(STATUS_NO_DAEMON,
			       "the daemon of %s (pid %d) has ended: mount it "
			       "again, what it left is cleared away then",
			       s->dead ? s->dead : "?", (int)s->dead_pid);
	if (s->wanted && s->known[0])
		return cli_say(STATUS_NO_DAEMON,
			       "no pfs is mounted at %s; mounts here: %s",
			       s->wanted, s->known);
	if (pfs_ctl_dir(dir))
		dir[0] = '\0';
	return cli_say(STATUS_NO_DAEMON,
		       "no daemon is running (none in %s): mount one with\n"
		       "  mount -t fuse.pfs SOURCE MOUNTPOINT",
		       dir);
}

static int conclude(const struct search *s)
{
	if (s->status)
		return s->status;
	if (!s->n_alive)
		return say_none(s);
	if (s->n_alive > 1 && !s->wanted)
		return cli_say(
			STATUS_USAGE,
			"there are several mounts, say which with -m: %s",
			s->known);
	return STATUS_OK;
}

int cli_pick(struct cli *cli)
{
	PFS_AUTO_FREE char *wanted = cli->mount ? absolute(cli->mount) : NULL;
	PFS_AUTO_FREE char *also = wanted ? folder_resolved(wanted) : NULL;
	struct search s = {.wanted = wanted, .also = also, .cli = cli};
	int err, status;

	if (cli->mount && !wanted)
		return cli_say(STATUS_FAILED, "out of memory");
	err = pfs_ctl_mounts(consider, &s);
	status = err ? cli_say(STATUS_FAILED, "looking for mounts: %s",
			       strerror(-err))
		     : conclude(&s);
	free(s.dead);
	return status;
}
