/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of pipes for splice(2); one thread. */
#include <errno.h>
#include <fcntl.h>

#include "relay/internal.h"

static struct pipe_pair pool[PIPE_POOL];
static unsigned pooled;

int pipe_get(struct pipe_pair *p)
{
	int fds[2];

	if (pooled) {
		*p = pool[--pooled];
		return 0;
	}
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
		return -errno;
	/* Above the user's soft limit of pipe pages this is refused: the pipe stays small and
	 * works. */
	(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_SIZE);
	*p = (struct pipe_pair){.rd = fds[0], .wr = fds[1]};
	return 0;
}

void pipe_put(struct pipe_pair *p)
{
	if (pooled < PIPE_POOL)
		pool[pooled++] = *p;
	else
		pipe_discard(p);
	*p = (struct pipe_pair){.rd = -1, .wr = -1};
}

void pipe_discard(struct pipe_pair *p)
{
	close(p->rd);
	close(p->wr);
	*p = (struct pipe_pair){.rd = -1, .wr = -1};
}
