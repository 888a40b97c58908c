/* SPDX-License-Identifier: Apache-2.0 */
/* A lock ends with its process, whatever ended that; a file does not. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "daemon/orphans.h"
#include "kube/kube.h"
#include "objects/objects.h"

enum { AT_ONCE = 8, SERVER_MAX = 1024 };

#define DELETE_TIMEOUT (20 * NSEC_PER_SEC)
#define SESSION_PATH   "/apis/" OBJECTS_GROUP "/" OBJECTS_VERSION "/sessions/"

struct orphan {
	struct orphans *all;
	char name[SESSION_NAME_LEN + 1];
	int fd; /* holds the lock, so that one daemon asks */
	struct kube_request *req;
};

struct orphans {
	struct kube_client *client;
	char *server;
	int folder;
	char own[SESSION_NAME_LEN + 1];
	int fd; /* of our own */
	struct orphan orphan[AT_ONCE];
};

static bool is_session(const char *name)
{
	return strlen(name) == SESSION_NAME_LEN &&
	       strspn(name, "0123456789abcdef") == SESSION_NAME_LEN;
}

static void forget(struct orphan *p, bool remove)
{
	if (remove)
		unlinkat(p->all->folder, p->name, 0);
	close_fd(&p->fd);
	p->req = NULL;
}

static void on_deleted(void *arg, const struct kube_reply *reply)
{
	struct orphan *p = arg;
	bool over = !reply->failure || reply->failure == KUBE_NOT_FOUND;

	if (!reply->failure)
		log_info("session %.8s of a daemon that was killed: deleted", p->name);
	else if (!over)
		log_warn("session %.8s of a daemon that was killed: %s", p->name, reply->sentence);
	forget(p, over);
}

static void delete_session(struct orphan *p)
{
	char path[sizeof(SESSION_PATH) + SESSION_NAME_LEN];
	const struct kube_call call = {.method = "DELETE", .path = path, .timeout = DELETE_TIMEOUT};

	snprintf(path, sizeof(path), SESSION_PATH "%s", p->name);
	if (kube_request(p->all->client, &call, on_deleted, p, &p->req))
		forget(p, false);
}

/* Is this file nobody's, and of our server? Then *fd holds it. */
static bool left_behind(const struct orphans *o, const char *name, int *fd)
{
	char server[SERVER_MAX];
	ssize_t n;

	*fd = openat(o->folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (*fd < 0)
		return false;
	n = flock(*fd, LOCK_EX | LOCK_NB) ? -1 : read(*fd, server, sizeof(server));
	if (n == (ssize_t)strlen(o->server) && !memcmp(server, o->server, (size_t)n))
		return true;
	close_fd(fd);
	return false;
}

void orphans_sweep(struct orphans *o)
{
	struct orphan *p = o ? o->orphan : NULL;
	DIR *d;
	int fd = o ? openat(o->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (!d) {
		close_fd(&fd);
		return;
	}
	for (struct dirent *e = readdir(d); e && p < o->orphan + AT_ONCE; e = readdir(d)) {
		if (!is_session(e->d_name) || !strcmp(e->d_name, o->own) ||
		    !left_behind(o, e->d_name, &p->fd))
			continue;
		memcpy(p->name, e->d_name, sizeof(p->name));
		delete_session(p++);
	}
	closedir(d);
}

void orphans_mark(struct orphans *o, const char *name)
{
	size_t len = o ? strlen(o->server) : 0;

	if (!o || o->fd >= 0 || !is_session(name))
		return;
	o->fd = openat(o->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (o->fd < 0) {
		log_warn("session: %s; should this daemon be killed, its session stays",
			 strerror(errno));
		return;
	}
	memcpy(o->own, name, sizeof(o->own));
	if (flock(o->fd, LOCK_EX | LOCK_NB) || write(o->fd, o->server, len) != (ssize_t)len)
		orphans_unmark(o);
}

void orphans_unmark(struct orphans *o)
{
	if (!o || o->fd < 0)
		return;
	unlinkat(o->folder, o->own, 0);
	close_fd(&o->fd);
}

struct orphans *orphans_new(struct kube_client *client, const char *state_dir, const char *server)
{
	struct orphans *o = calloc(1, sizeof(*o));
	char path[512];
	struct error e;

	if (!o)
		return NULL;
	o->client = client;
	o->fd = o->folder = -1;
	for (unsigned i = 0; i < AT_ONCE; i++)
		o->orphan[i] = (struct orphan){.all = o, .fd = -1};
	o->server = strdup(server);
	snprintf(path, sizeof(path), "%s/sessions", state_dir);
	if (*state_dir && strlen(server) < SERVER_MAX && !dir_make(path, 0700, &e))
		o->folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (o->server && o->folder >= 0)
		return o;
	orphans_free(o);
	return NULL;
}

void orphans_free(struct orphans *o)
{
	if (!o)
		return;
	for (unsigned i = 0; i < AT_ONCE; i++) {
		kube_cancel(o->orphan[i].req);
		close_fd(&o->orphan[i].fd);
	}
	close_fd(&o->fd);
	close_fd(&o->folder);
	free(o->server);
	free(o);
}
