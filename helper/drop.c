/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing a client's socket without waiting for what the client has put into it.
 *
 * Any user may connect and send descriptors. Whoever lets go of the last reference to a file ends
 * it, and the last reference may be the one in our socket's queue. Ending a TCP socket with
 * SO_LINGER then takes as long as its owner likes; and with the helper would wait its undo. The
 * kernel makes one exception: a process that is ending lingers for nobody. So the last close is
 * left to a child, which does nothing but end.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include "helper/internal.h"

void drop_setup(void)
{
	signal(SIGCHLD, SIG_IGN); /* nobody asks how such a child ended */
}

static _Noreturn void drop_main(int fd, int parent)
{
	char c;

	/* Nothing else is kept: neither the guard nor the TUN may wait for our end. */
	int f = fcntl(fd, F_DUPFD, 3), p = fcntl(parent, F_DUPFD, 3);
	if (f < 0 || p < 0 || dup2(f, 0) < 0 || dup2(p, 1) < 0 || close_range(2, ~0U, 0) < 0)
		_exit(1);
	/* Until the parent has closed its own. */
	while (read(1, &c, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

void drop(int fd)
{
	int told[2];

	shutdown(fd, SHUT_RDWR); /* no more comes in */
	if (pipe2(told, O_CLOEXEC) == 0) {
		pid_t pid = fork();
		if (pid == 0) {
			close(told[1]);
			drop_main(fd, told[0]);
		}
		close(told[0]);
		close(fd); /* the child's is the last, if there is a child */
		close(told[1]);
		return;
	}
	close(fd);
}
