/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "file.h"

#include <fcntl.h>
#include <string.h>

int file_read(const char *path, char *buf, size_t room)
{
	PFS_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;

	if (fd < 0)
		return -errno;
	while (len < room) {
		ssize_t n = read(fd, buf + len, room - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) {
			buf[len] = '\0';
			return 0;
		}
		len += (size_t)n;
	}
	return -EOVERFLOW;
}

int file_read_u64(const char *path, uint64_t *out)
{
	char buf[64], *end;
	int err = file_read(path, buf, sizeof(buf));
	unsigned long long v;

	if (err)
		return err;
	v = strtoull(buf, &end, 10);
	if (end == buf)
		return -EBADMSG;
	*out = v;
	return 0;
}

int file_write(const char *path, const char *text)
{
	PFS_AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}
