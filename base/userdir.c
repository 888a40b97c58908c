/* SPDX-License-Identifier: Apache-2.0 */
/* Where a user's own files lie (XDG base directories), and whether they can be trusted. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/file.h"
#include "base/userdir.h"

static int join(char *out, size_t size, struct error *e, const char *a, const char *b)
{
	int n = snprintf(out, size, "%s%s", a, b);

	if (n < 0 || (size_t)n >= size)
		return error_set(e, -ENAMETOOLONG, "%s%s: the path is too long", a, b);
	return 0;
}

static const char *absolute_env(const char *name)
{
	const char *v = getenv(name);

	return v && v[0] == '/' ? v : NULL;
}

static int find_runtime(struct userdir *d, struct error *e)
{
	const char *socket = absolute_env("CULVERT_SOCKET"), *xdg = absolute_env("XDG_RUNTIME_DIR");
	char fallback[64];
	char *slash;
	int err;

	if (socket) {
		err = join(d->socket, sizeof(d->socket), e, socket, "");
		if (!err)
			err = join(d->runtime, sizeof(d->runtime), e, socket, "");
		if (err)
			return err;
		slash = strrchr(d->runtime, '/');
		slash[slash == d->runtime ? 1 : 0] = 0;
		return 0;
	}
	snprintf(fallback, sizeof(fallback), "/tmp/culvert-%u", (unsigned)getuid());
	err = join(d->runtime, sizeof(d->runtime), e, xdg ? xdg : fallback, xdg ? "/culvert" : "");
	return err ? err : join(d->socket, sizeof(d->socket), e, d->runtime, "/daemon.sock");
}

static int find_state(struct userdir *d, struct error *e)
{
	const char *xdg = absolute_env("XDG_STATE_HOME"), *home = absolute_env("HOME");
	const struct passwd *pw;
	int err;

	if (!xdg && !home) {
		pw = getpwuid(getuid());
		home = pw && pw->pw_dir && pw->pw_dir[0] == '/' ? pw->pw_dir : NULL;
	}
	if (!xdg && !home)
		return error_set(e, -ENOENT,
				 "this user has no home folder; set XDG_STATE_HOME to a folder for "
				 "culvert's keys");
	err = join(d->state, sizeof(d->state), e, xdg ? xdg : home,
		   xdg ? "/culvert" : "/.local/state/culvert");
	return err ? err : join(d->log, sizeof(d->log), e, d->state, "/daemon.log");
}

int userdir_find(struct userdir *d, struct error *e)
{
	int err = find_runtime(d, e);

	if (!err && strlen(d->socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return error_set(e, -ENAMETOOLONG, "%s: too long for a socket; set CULVERT_SOCKET",
				 d->socket);
	return err ? err : find_state(d, e);
}

/* `variable` is what names another one. */
static int make_private(const char *path, const char *variable, struct error *e)
{
	struct stat st;
	struct error why;
	int err = dir_make(path, 0700, &why);

	if (err)
		return error_set(e, err, "%.512s; set %s to a place of yours", why.text, variable);
	/* lstat: a link that somebody else put into /tmp is not ours either. */
	if (lstat(path, &st))
		return error_errno(e, -errno, "%s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != getuid())
		return error_set(e, -EPERM, "%s belongs to somebody else; remove it or set %s",
				 path, variable);
	if (st.st_mode & 077)
		return error_set(e, -EPERM, "%s is open to others; run: chmod 700 %s", path, path);
	return 0;
}

int userdir_make(const struct userdir *d, struct error *e)
{
	int err = make_private(d->runtime, "CULVERT_SOCKET", e);

	return err ? err : make_private(d->state, "XDG_STATE_HOME", e);
}
