/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guard: a child of the helper that does one thing, once. It waits at a pair of sockets whose
 * other end only the helper holds; its end of file means that the helper has ended, however; then
 * the guard restores resolv.conf and ends. It is in a session of its own and ignores the signals
 * that a terminal or a service manager sends to whole groups, so it is there for the SIGKILL after.
 * It holds two descriptors: its socket and the lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "base/file.h"
#include "dns/dns.h"
#include "helper/internal.h"

enum { LOCK_TRIES = 150, LOCK_WAIT_MS = 20, KEEP_SOCKET = 0, KEEP_LOCK = 1 };

int guard_lock(const char *state, struct error *e)
{
	const struct timespec pause = {.tv_nsec = LOCK_WAIT_MS * 1000000L};
	char path[4096];

	int r = dir_make(state, 0700, e);
	if (r)
		return r;
	if (snprintf(path, sizeof(path), "%s/lock", state) >= (int)sizeof(path))
		return error_errno(e, -ENAMETOOLONG, "%s", state);
	cleanup(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_errno(e, -errno, "%s", path);
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
		if (errno != EWOULDBLOCK)
			return error_errno(e, -errno, "%s", path);
		if (i == LOCK_TRIES)
			return error_set(e, -EBUSY,
					 "another culvert-helper is running (it holds %s)", path);
		nanosleep(&pause, NULL);
	}
	int lock = fd;
	fd = -1;
	return lock;
}

static _Noreturn void guard_main(const struct helper_options *o, int sock, int lock)
{
	char c;

	setsid();
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	/* Out of the way of 0 and 1 first, should the socket or the lock be one of them. */
	int s = fcntl(sock, F_DUPFD, 3), l = fcntl(lock, F_DUPFD, 3);
	if (s < 0 || l < 0 || dup2(s, KEEP_SOCKET) < 0 || dup2(l, KEEP_LOCK) < 0 ||
	    close_range(2, ~0U, 0) < 0)
		_exit(1);
	if (send(KEEP_SOCKET, "r", 1, MSG_NOSIGNAL) != 1) /* ready */
		_exit(1);
	while (read(KEEP_SOCKET, &c, 1) < 0 && errno == EINTR)
		;
	_exit(resolv_restore(o->resolv_conf, o->state, NULL) < 0);
}

int guard_start(struct guard *g, const struct helper_options *o, int lock, struct error *e)
{
	int ends[2];
	char ready;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return error_errno(e, -errno, "the guard of resolv.conf cannot be started");
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[1]);
		guard_main(o, ends[0], lock);
	}
	int r = pid < 0 ? -errno : 0;
	close(ends[0]);
	if (r) {
		close(ends[1]);
		return error_errno(e, r, "the guard of resolv.conf cannot be started");
	}
	*g = (struct guard){.pid = pid, .socket = ends[1]};
	if (read(g->socket, &ready, 1) == 1)
		return 0;
	guard_stop(g);
	return error_set(e, -ECHILD, "the guard of resolv.conf ended at once");
}

void guard_stop(struct guard *g)
{
	if (g->pid == 0)
		return;
	close(g->socket);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	*g = (struct guard){0};
}
