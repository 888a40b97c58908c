/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon as the command line sees it: a Unix socket. When none runs, `connect` starts one: a
 * child in a session of its own, told by a pipe when it is ready, so that nobody polls.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cli/internal.h"
#include "rpc/rpc.h"

enum { LOG_KEEP = 1 << 20 /* a longer log is set aside when a daemon starts */ };

/* In /tmp anybody may be first to take our name: an invite is not for them. */
static int check_owner(int fd, const char *path, struct error *e)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return error_errno(e, -errno, "%s", path);
	if (cred.uid == getuid())
		return 0;
	return error_set(
		e, -EPERM,
		"the daemon at %s is user %u's and serves nobody else; run culvert as that "
		"user, or set CULVERT_SOCKET",
		path, (unsigned)cred.uid);
}

static int open_socket(const struct userdir *d, struct error *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return error_errno(e, -errno, "socket");
	memcpy(sa.sun_path, d->socket, strlen(d->socket) + 1); /* userdir_find: it fits */
	if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		err = check_owner(fd, d->socket, e);
		if (err)
			close(fd);
		return err ? err : fd;
	}
	err = errno == ECONNREFUSED ? -ENOENT : -errno; /* the socket of a daemon that was killed */
	close(fd);
	if (err == -ENOENT)
		return error_set(e, err, "not connected; run `culvert connect` first");
	return error_errno(e, err, "the daemon's socket %s", d->socket);
}

int client_open(struct error *e)
{
	struct userdir d;
	int err = userdir_find(&d, e);

	return err ? err : open_socket(&d, e);
}

static int open_log(const struct userdir *d, struct error *e)
{
	char old[340];
	struct stat st;
	int fd;

	if (!stat(d->log, &st) && st.st_size > LOG_KEEP) {
		snprintf(old, sizeof(old), "%s.old", d->log);
		rename(d->log, old);
	}
	fd = open(d->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? error_errno(e, -errno, "the daemon's log %s", d->log) : fd;
}

/* In the child: never returns. */
static void become_daemon(int log, int ready)
{
	char fd[16], self[4096];
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setsid();
	/* What a script keeps open (a lock, a pipe that somebody reads) is not the daemon's. */
	if (null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 || chdir("/") ||
	    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) || fcntl(ready, F_SETFD, 0))
		_exit(1);
	snprintf(fd, sizeof(fd), "%d", ready);
	/* By its name, so that it is `culvert` in ps; by the link where that name is gone (an upgrade). */
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[MAX(n, 0)] = '\0';
	execl(self, "culvert", "daemon", "--exit-idle", "--ready-fd", fd, (char *)NULL);
	execl("/proc/self/exe", "culvert", "daemon", "--exit-idle", "--ready-fd", fd, (char *)NULL);
	_exit(1);
}

/* Waits for "ok", or for the sentence why it could not start. */
static int await_ready(int ready, const char *log, struct error *e)
{
	char text[sizeof(e->text)];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) - 1 &&
	       (n = read(ready, text + len, sizeof(text) - 1 - len)) != 0) {
		if (n < 0)
			return error_errno(e, -errno, "waiting for the daemon");
		len += (size_t)n;
	}
	text[len] = 0;
	if (!strcmp(text, "ok\n"))
		return 0;
	if (len)
		return error_set(e, -EIO, "the daemon did not start: %s", text);
	return error_set(e, -EIO, "the daemon did not start; see its log %s", log);
}

static int spawn(const struct userdir *d, struct error *e)
{
	cleanup(close_fd) int log = -1;
	int ready[2], err = userdir_make(d, e);
	pid_t pid;

	if (!err)
		err = log = open_log(d, e);
	if (err < 0)
		return err;
	if (pipe2(ready, O_CLOEXEC))
		return error_errno(e, -errno, "pipe");
	pid = fork();
	if (pid == 0)
		become_daemon(log, ready[1]);
	close(ready[1]);
	err = pid < 0 ? error_errno(e, -errno, "fork") : await_ready(ready[0], d->log, e);
	close(ready[0]);
	return err;
}

int client_start(struct progress *p, struct error *e)
{
	struct userdir d;
	struct error first;
	int err = userdir_find(&d, e), fd;

	if (err)
		return err;
	fd = open_socket(&d, e);
	if (fd != -ENOENT)
		return fd;
	progress_say(p, "Starting the daemon");
	err = spawn(&d, &first);
	/* Two at once: the other's is as good, and ours has refused to start. */
	fd = open_socket(&d, e);
	if (fd < 0 && err)
		*e = first;
	return fd;
}

static volatile sig_atomic_t interrupted;    /* so many */
static volatile sig_atomic_t under_way = -1; /* descriptor of the call */

/* A signal that comes just before the wait would not break it off: the end of the stream does. */
static void on_signal(int sig)
{
	(void)sig;
	interrupted = interrupted + 1;
	if (under_way >= 0)
		shutdown(under_way, SHUT_RD);
}

bool client_interrupted(void)
{
	return interrupted;
}

void client_catch_signals(void)
{
	/* No SA_RESTART: the handler does nothing but break the wait off. */
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

static void on_note(void *arg, const char *method, json_t *params)
{
	if (!strcmp(method, "progress"))
		progress_say(arg, get_text(params, "text"));
}

int client_call(int fd, struct progress *p, const char *method, json_t *params, json_t **result,
		struct error *e)
{
	sig_atomic_t before = interrupted;
	int code = 0, err;

	under_way = fd;
	err = rpc_call_blocking(fd, method, params, p ? on_note : NULL, p, result, &code, e);
	under_way = -1;
	if (err == -ECONNRESET && interrupted != before)
		err = -EINTR;
	if (err == -EINTR)
		error_set(e, err, "interrupted");
	if (!err)
		json_clean(*result);
	return err;
}

bool client_daemon_ended(int err)
{
	return err == -ECONNRESET || err == -EPIPE;
}

int client_once(const char *method, json_t *params, const char *doing, json_t **result,
		struct error *e)
{
	struct progress *p = doing ? progress_start(doing) : NULL;
	int fd, tries, err = 0;

	for (tries = 0; tries < 2; tries++) {
		err = fd = client_open(e);
		if (fd < 0)
			break;
		err = client_call(fd, p, method, json_incref(params), result, e);
		close(fd);
		if (!client_daemon_ended(err))
			break;
	}
	progress_end(p, NULL);
	json_decref(params);
	return err;
}
