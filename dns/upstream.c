/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of connected UDP sockets to one server. With a random id per query and a random one of
 * several random ports, who cannot see the traffic has to guess both; sockets that have been used
 * for a while are renewed.
 */
#include <errno.h>
#include <sys/socket.h>

#include "dns/internal.h"

static void socket_close(struct upstream_socket *s)
{
	if (!s->ev)
		return;
	event_free(s->ev);
	close(s->fd);
	*s = (struct upstream_socket){.up = s->up};
}

static int socket_open(struct upstream *up, struct upstream_socket *s)
{
	cleanup(close_fd) int fd =
		socket(up->addr.sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, &up->addr.sa, sockaddr_len(&up->addr)) < 0)
		return -errno;
	struct event *ev =
		event_new(up->stub->base, fd, EV_READ | EV_PERSIST, udp_upstream_readable, s);
	if (!ev || event_add(ev, NULL) < 0) {
		if (ev)
			event_free(ev);
		return -ENOMEM;
	}
	*s = (struct upstream_socket){.up = up, .ev = ev, .fd = fd};
	fd = -1;
	return 0;
}

struct upstream_socket *upstream_pick(struct upstream *up, int *error)
{
	struct upstream_socket *s = &up->socket[arc4random_uniform(UPSTREAM_SOCKETS)];

	if (s->ev && s->pending == 0 && s->uses >= UPSTREAM_USES)
		socket_close(s);
	if (!s->ev) {
		*error = socket_open(up, s);
		if (*error)
			return NULL;
	}
	s->uses++;
	return s;
}

int upstream_reconnect(struct upstream_socket *s)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	const union sockaddr_any *to = &s->up->addr;

	if (connect(s->fd, &none, sizeof(none)) < 0 ||
	    connect(s->fd, &to->sa, sockaddr_len(to)) < 0)
		return -errno;
	return 0;
}

void upstream_close(struct upstream *up)
{
	for (unsigned i = 0; i < UPSTREAM_SOCKETS; i++)
		socket_close(&up->socket[i]);
}
