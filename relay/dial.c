/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP connection to a host, without waiting. What connect(2) says at once is told later, by the callback; of
 * dial_tcp_now() only if it is a failure.
 *
 * To a listener on this machine the handshake is over when connect(2) returns, though it says EINPROGRESS; asked again it says so.
 * Then nobody has to wait for epoll.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/addr.h"
#include "relay/internal.h"

struct dial {
	struct event_base *base;
	int fd;	    /* -1 = not even a socket */
	bool known; /* how it went: 0 or `error` */
	int error;
	void (*cb)(void *arg, struct stream *s, int error);
	void *arg;
	struct event ev;
};

static void dial_free(struct dial *d)
{
	event_del(&d->ev);
	if (d->fd >= 0)
		close(d->fd);
	free(d);
}

void dial_cancel(struct dial *d)
{
	dial_free(d);
}

static int socket_error(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

static void on_result(int fd, short what, void *arg)
{
	struct dial *d = arg;
	struct stream *s = NULL;
	int error = d->error;

	(void)fd;
	if (!d->known)
		error = what & EV_TIMEOUT ? -ETIMEDOUT : socket_error(d->fd);
	event_del(&d->ev); /* before the stream watches the same descriptor in its own way */
	if (!error)
		error = stream_from_fd(d->base, d->fd, &s);
	if (!error)
		d->fd = -1;
	void (*cb)(void *, struct stream *, int) = d->cb;
	void *cb_arg = d->arg;
	dial_free(d);
	cb(cb_arg, s, error);
}

/* 0 connected, -EINPROGRESS, or another negative errno. *fd: -1 = not even a socket. */
static int start(int *fd, const union sockaddr_any *to)
{
	*fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	if (*fd < 0)
		return -errno;
	if (connect(*fd, &to->sa, sockaddr_len(to)) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	if (connect(*fd, &to->sa, sockaddr_len(to)) == 0)
		return 0;
	return errno == EALREADY || errno == EINTR ? -EINPROGRESS : -errno;
}

/* How it went so far is told by the callback, now or later. Owns `fd` on success only. */
static int dial_new(struct event_base *base, int fd, int error, nsec_t timeout,
		    void (*cb)(void *arg, struct stream *s, int error), void *arg, struct dial **dp)
{
	struct timeval tv = {
		.tv_sec = (time_t)(timeout / NSEC_PER_SEC),
		.tv_usec = (suseconds_t)(timeout % NSEC_PER_SEC / 1000),
	};
	struct dial *d = malloc(sizeof(*d));

	if (!d)
		return -ENOMEM;
	*d = (struct dial){.base = base,
			   .fd = fd,
			   .known = error != -EINPROGRESS,
			   .error = error,
			   .cb = cb,
			   .arg = arg};
	if (fd >= 0)
		stream_tcp_options(fd);
	event_assign(&d->ev, base, d->known ? -1 : d->fd, d->known ? 0 : EV_WRITE, on_result, d);
	if (!d->known && event_add(&d->ev, timeout ? &tv : NULL) < 0) {
		d->known = true;
		d->error = -ENOMEM;
	}
	if (d->known)
		event_active(&d->ev, EV_WRITE, 1);
	*dp = d;
	return 0;
}

int dial_tcp(struct event_base *base, const union sockaddr_any *to, nsec_t timeout,
	     void (*cb)(void *arg, struct stream *s, int error), void *arg, struct dial **dp)
{
	int fd, error = start(&fd, to);
	int r = dial_new(base, fd, error, timeout, cb, arg, dp);

	if (r)
		close_fd(&fd);
	return r;
}

int dial_tcp_now(struct event_base *base, const union sockaddr_any *to, nsec_t timeout,
		 void (*cb)(void *arg, struct stream *s, int error), void *arg, struct stream **now,
		 struct dial **dp)
{
	int fd, error = start(&fd, to), r;

	*now = NULL;
	if (error == 0 && stream_from_dialled(base, fd, now) == 0)
		return 0;
	r = dial_new(base, fd, error, timeout, cb, arg, dp);
	if (r)
		close_fd(&fd);
	return r;
}
