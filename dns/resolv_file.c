/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /etc/resolv.conf on disk: pointed at the stub, and put back.
 *
 * The backup folder holds two files, which say all there is to say:
 *   resolv.conf.before   what was there, as it was: a file of the same content, mode and owner, or
 *                        the same symbolic link; absent when there was nothing
 *   resolv.conf.ours     what we wrote; it exists exactly while we may have written
 *
 * Install: before, ours, then the file itself. Restore: the file itself, then ours, then before. So
 * at every point where power may fail, a restore at the next start finds one of: no `ours` (nothing
 * to do), a file that is not `ours` yet (nothing to do), or a file that is `ours` (put `before`
 * back).
 *
 * A file is replaced by rename, so that readers see the old or the new one. Where it is a mount
 * point (in namespaces made by ip-netns, in containers) that is impossible: there it is written in
 * place, its room reserved first.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/file.h"
#include "dns/resolv.h"

enum { RESOLV_MAX = 1 << 20 };

/* A file or link with its content, in memory. */
struct image {
	mode_t mode; /* with the type; 0 = does not exist */
	uid_t uid;
	gid_t gid;
	char *data; /* content, or the link's target */
	size_t len;
};

static void image_fini(struct image *im)
{
	free(im->data);
}

/* What is at `path` itself, without following a link. */
static int image_read(struct image *im, const char *path, struct error *e)
{
	struct stat st;

	*im = (struct image){0};
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : error_errno(e, -errno, "%s", path);
	if (S_ISLNK(st.st_mode)) {
		char target[PATH_MAX];
		ssize_t n = readlink(path, target, sizeof(target) - 1);

		if (n < 0)
			return error_errno(e, -errno, "%s", path);
		target[n] = '\0';
		im->data = strdup(target);
		im->len = (size_t)n;
		if (!im->data)
			return error_errno(e, -ENOMEM, "%s", path);
	} else if (S_ISREG(st.st_mode)) {
		int r = file_read(path, RESOLV_MAX, &im->data, &im->len, e);
		if (r)
			return r;
	} else {
		return error_set(e, -EINVAL, "%s is neither a file nor a link", path);
	}
	im->mode = st.st_mode;
	im->uid = st.st_uid;
	im->gid = st.st_gid;
	return 0;
}

static bool image_same_file(const struct image *a, const struct image *b)
{
	return S_ISREG(a->mode) && S_ISREG(b->mode) && a->len == b->len &&
	       memcmp(a->data, b->data, a->len) == 0;
}

static int write_at_start(int fd, const struct image *im)
{
	for (size_t at = 0; at < im->len;) {
		ssize_t n = pwrite(fd, im->data + at, im->len - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return ftruncate(fd, (off_t)im->len) < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Mode before owner: once it is somebody else's, changing the mode takes one more privilege. */
static int set_mode_and_owner(int fd, const struct image *im)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & 07777) != (im->mode & 07777) && fchmod(fd, im->mode & 07777) < 0)
		return -errno;
	if ((st.st_uid != im->uid || st.st_gid != im->gid) && fchown(fd, im->uid, im->gid) < 0)
		return -errno;
	return 0;
}

static int write_in_place(const struct image *im, const char *path)
{
	cleanup(close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	cleanup(image_fini) struct image old = {0};

	if (fd < 0)
		return -errno;
	int r = image_read(&old, path, NULL);
	if (r)
		return r;
	/* A full disk must show before the first byte changes. Where this is not supported the
	 * write tries its luck. */
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)MAX(im->len, 1U)) < 0 &&
	    errno != EOPNOTSUPP)
		return -errno;
	r = write_at_start(fd, im);
	if (r)
		write_at_start(fd, &old); /* its blocks are still there */
	return r ? r : set_mode_and_owner(fd, im);
}

static int sync_folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];

	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1,
		 slash ? path : ".");
	cleanup(close_fd) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int make_file(const char *tmp, const struct image *im)
{
	cleanup(close_fd) int fd =
		open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	int r = write_at_start(fd, im);
	return r ? r : set_mode_and_owner(fd, im);
}

/* Known beforehand where the kernel can say it: in a namespace of ip-netns the folder around a
 * mount point is the real /etc, in which nothing of ours belongs. */
static bool is_mount_point(const char *path)
{
	struct statx sx;

	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &sx) == 0 &&
	       (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

/* Makes `path` be what the image says; on error it is as it was. Not for an image of nothing. */
static int image_write(const struct image *im, const char *path, struct error *e)
{
	char tmp[PATH_MAX];
	int r = 0;

	if (snprintf(tmp, sizeof(tmp), "%s.culvert-new", path) >= (int)sizeof(tmp))
		return error_errno(e, -ENAMETOOLONG, "%s", path);
	if (S_ISREG(im->mode) && is_mount_point(path)) {
		r = write_in_place(im, path);
		return r ? error_errno(e, r, "%s cannot be written", path) : 0;
	}
	unlink(tmp); /* of a run that was cut short */
	if (S_ISLNK(im->mode)) {
		r = symlink(im->data, tmp) < 0 ? -errno : 0;
		if (r == 0 && lchown(tmp, im->uid, im->gid) < 0)
			r = 0; /* whose a link is means nothing; in a user namespace it may be
				  nobody's */
	} else {
		r = make_file(tmp, im);
	}
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r == 0)
		sync_folder_of(path); /* it is in place already; some file systems cannot */
	else
		unlink(tmp);
	/* A mount point after all (an old kernel), or a writable file in a read-only folder. */
	if ((r == -EBUSY || r == -EROFS) && S_ISREG(im->mode))
		r = write_in_place(im, path);
	return r ? error_errno(e, r, "%s cannot be written", path) : 0;
}

struct backup {
	char before[PATH_MAX], ours[PATH_MAX];
};

static int backup_paths(struct backup *b, const char *dir, struct error *e)
{
	if (snprintf(b->before, sizeof(b->before), "%s/resolv.conf.before", dir) >=
		    (int)sizeof(b->before) ||
	    snprintf(b->ours, sizeof(b->ours), "%s/resolv.conf.ours", dir) >= (int)sizeof(b->ours))
		return error_errno(e, -ENAMETOOLONG, "%s", dir);
	return 0;
}

static void backup_remove(const struct backup *b)
{
	unlink(b->ours);
	unlink(b->before);
	sync_folder_of(b->ours);
}

/* The content that programs see now: through a link, and nothing where there is nothing. */
static int visible_content(const char *path, char **data, size_t *len, struct error *e)
{
	if (access(path, F_OK) < 0 && errno == ENOENT) {
		*data = strdup("");
		*len = 0;
		return *data ? 0 : error_errno(e, -ENOMEM, "%s", path);
	}
	return file_read(path, RESOLV_MAX, data, len, e);
}

/*
 * systemd-resolved reads a resolv.conf that is not its own and would ask the stub, which would ask
 * it: a loop. So where it is the laptop's resolver, the stub asks the servers behind it.
 */
static void look_behind_resolved(struct resolv_conf *rc)
{
	struct ipaddr resolved = {.family = 4, .b = {127, 0, 0, 53}};
	cleanup(free_ptr) char *text = NULL;
	struct resolv_conf behind;
	size_t len;

	if (rc->nresolvers != 1)
		return;
	struct ipaddr only = sockaddr_ip(&rc->resolver[0]);
	if (!ipaddr_equal(&only, &resolved) ||
	    file_read(RESOLVED_SERVERS, RESOLV_MAX, &text, &len, NULL))
		return;
	resolv_parse(&behind, text, len);
	if (behind.nresolvers == 0)
		return;
	rc->nresolvers = behind.nresolvers;
	memcpy(rc->resolver, behind.resolver, sizeof(rc->resolver));
}

void laptop_resolvers(struct resolv_conf *rc)
{
	cleanup(free_ptr) char *text = NULL;
	size_t len;

	*rc = (struct resolv_conf){0};
	if (file_read("/etc/resolv.conf", RESOLV_MAX, &text, &len, NULL))
		return;
	resolv_parse(rc, text, len);
	look_behind_resolved(rc);
}

int resolv_install(const char *path, const char *backup_dir, const char *const *search,
		   unsigned nsearch, unsigned ndots, struct resolv_conf *before, struct error *e)
{
	cleanup(image_fini) struct image was = {0}, ours = {.mode = S_IFREG | 0644,
							    .uid = geteuid(),
							    .gid = getegid()};
	cleanup(free_ptr) char *text = NULL;
	struct backup b;
	size_t len;

	int r = backup_paths(&b, backup_dir, e);
	if (r == 0)
		r = dir_make(backup_dir, 0700, e);
	for (unsigned i = 0; r == 0 && i < nsearch; i++)
		if (!dns_domain_ok(search[i]))
			r = error_set(e, -EINVAL,
				      "a search domain has characters that no domain has");
	if (r)
		return r;
	if (access(b.ours, F_OK) == 0)
		return error_set(e, -EBUSY, "%s is already changed (%s exists)", path, b.ours);
	r = image_read(&was, path, e);
	if (r == 0)
		r = visible_content(path, &text, &len, e);
	if (r)
		return r;
	resolv_parse(before, text, len);
	look_behind_resolved(before);
	r = resolv_render(&ours.data, &ours.len, text, len, search, nsearch, ndots, b.before);
	if (r)
		return error_errno(e, r, "%s", path);

	unlink(b.before);
	r = was.mode ? image_write(&was, b.before, e) : 0;
	if (r == 0)
		r = image_write(&ours, b.ours, e);
	if (r == 0)
		r = image_write(&ours, path, e);
	if (r)
		backup_remove(&b);
	return r;
}

int resolv_restore(const char *path, const char *backup_dir, struct error *e)
{
	cleanup(image_fini) struct image before = {0}, ours = {0}, now = {0};
	struct backup b;
	int r = backup_paths(&b, backup_dir, e);

	if (r == 0)
		r = image_read(&ours, b.ours, e);
	if (r)
		return r;
	if (!ours.mode) {
		unlink(b.before); /* of an install that did not get as far as writing */
		return 0;
	}
	r = image_read(&before, b.before, e);
	if (r == 0)
		r = image_read(&now, path, e);
	if (r)
		return r;
	if (!image_same_file(&now, &ours)) {
		bool as_before = now.mode == before.mode && now.len == before.len &&
				 (now.len == 0 || memcmp(now.data, before.data, now.len) == 0);
		backup_remove(&b);
		if (as_before)
			return 0; /* killed between backup and change */
		return error_set(e, 1,
				 "%s was changed by somebody else meanwhile and is left as it is",
				 path);
	}
	if (before.mode) {
		r = image_write(&before, path, e);
		/* No room for a second file: the blocks of ours will mostly do, and a name server
		 * that is no longer there would be worse than a write that is not atomic. */
		if ((r == -ENOSPC || r == -EDQUOT) && S_ISREG(before.mode) &&
		    write_in_place(&before, path) == 0)
			r = 0;
	} else if (unlink(path) < 0 && errno != ENOENT) {
		r = error_errno(e, -errno, "%s cannot be removed", path);
	}
	if (r == 0)
		backup_remove(&b);
	return r;
}
