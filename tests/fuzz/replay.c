/* SPDX-License-Identifier: GPL-3.0-or-later */
/* main() of a fuzz harness without libFuzzer: runs every file of the folders
 * and files named, and the empty input. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned int n_replayed;

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	uint8_t *data;
	size_t n;

	if (!f || fstat(fileno(f), &st) < 0) {
		perror(path);
		return 1;
	}
	/* Exactly as long as the input: a sanitizer sees any byte beyond. */
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!data)
		abort();
	n = fread(data, 1, (size_t)st.st_size, f);
	(void)LLVMFuzzerTestOneInput(data, n);
	n_replayed++;
	free(data);
	(void)fclose(f);
	return 0;
}

static int replay(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int bad = 0;

	if (!d)
		return replay_file(path);
	while ((e = readdir(d))) {
		char *inner;

		if (e->d_name[0] == '.')
			continue;
		if (asprintf(&inner, "%s/%s", path, e->d_name) < 0)
			abort();
		bad |= replay(inner);
		free(inner);
	}
	closedir(d);
	return bad;
}

int main(int argc, char **argv)
{
	uint8_t *none = calloc(1, 1);
	int bad = 0;

	(void)LLVMFuzzerTestOneInput(none, 0);
	free(none);
	for (int i = 1; i < argc; i++)
		bad |= replay(argv[i]);
	(void)printf("%u inputs replayed\n", n_replayed);
	return bad || !n_replayed;
}
