/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

int file_read(const char *path, size_t max, char **data, size_t *len, struct error *e)
{
	cleanup(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(e, -errno, "cannot open %s", path);
	size_t size = 4096, n = 0;
	cleanup(free_ptr) char *buf = malloc(size);
	for (;;) {
		if (!buf)
			return error_set(e, -ENOMEM, "cannot read %s: out of memory", path);
		ssize_t r = read(fd, buf + n, size - n - 1);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return error_errno(e, -errno, "cannot read %s", path);
		if (r == 0)
			break;
		n += (size_t)r;
		if (n > max)
			return error_set(e, -EFBIG, "%s is larger than %zu bytes", path, max);
		if (size - n <= 1) {
			char *bigger = realloc(buf, size * 2);
			if (!bigger)
				return error_set(e, -ENOMEM, "cannot read %s: out of memory", path);
			buf = bigger;
			size *= 2;
		}
	}
	buf[n] = '\0';
	*len = n;
	*data = steal_ptr(buf);
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A rename is on disk only when its folder is. */
static int sync_folder(const char *path)
{
	char folder[4096];
	const char *slash = strrchr(path, '/');
	int n = slash ? (int)(slash - path) : 0;
	snprintf(folder, sizeof(folder), "%.*s", n ? n : 1, n ? path : slash ? "/" : ".");
	cleanup(close_fd) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Some file systems cannot sync a folder; they are no less safe for our asking. */
	if (fsync(fd) && errno != EINVAL)
		return -errno;
	return 0;
}

int file_write_atomic(const char *path, const void *data, size_t len, unsigned mode,
		      struct error *e)
{
	char tmp[4096];
	if (snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= (int)sizeof(tmp))
		return error_set(e, -ENAMETOOLONG, "cannot write %s: the path is too long", path);
	cleanup(close_fd) int fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return error_errno(e, -errno, "cannot write %s", path);
	int r = write_all(fd, data, len);
	if (!r && (fchmod(fd, mode) || fsync(fd) || rename(tmp, path)))
		r = -errno;
	if (r) {
		unlink(tmp);
		return error_errno(e, r, "cannot write %s", path);
	}
	r = sync_folder(path);
	return r ? error_errno(e, r, "cannot sync the folder of %s", path) : 0;
}

int dir_make(const char *path, unsigned mode, struct error *e)
{
	char buf[4096];
	struct stat st;
	if (snprintf(buf, sizeof(buf), "%s", path) >= (int)sizeof(buf))
		return error_set(e, -ENAMETOOLONG, "cannot make folder %s: the path is too long",
				 path);
	if (!*path)
		return error_set(e, -ENOENT, "cannot make a folder without a name");
	for (char *c = buf + 1;; c++) {
		if (*c && *c != '/')
			continue;
		char end = *c;
		*c = '\0';
		if (mkdir(buf, mode) && errno != EEXIST)
			return error_errno(e, -errno, "cannot make folder %s", buf);
		*c = end;
		if (!end)
			break;
	}
	if (stat(path, &st))
		return error_errno(e, -errno, "cannot look at folder %s", path);
	if (!S_ISDIR(st.st_mode))
		return error_set(e, -ENOTDIR, "%s is no folder", path);
	return 0;
}
