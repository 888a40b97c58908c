/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a stream over another one that gives and takes as little at a time as the test says. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/stream.h"

struct thin {
	struct stream s;
	struct stream *below;
	size_t read_most, write_most; /* bytes per call, 0 = any */
	bool deaf;		      /* reads nothing, and does not want to */
	unsigned wanted;
	unsigned *freed; /* counts */
};

static inline void thin_want_below(struct thin *t)
{
	t->below->ops->want(t->below, t->deaf ? t->wanted & ~(unsigned)STREAM_READABLE : t->wanted);
}

/* One iovec of at most `most` bytes, of the first that is not empty. */
static inline struct iovec thin_cut(const struct iovec *iov, int n, size_t most)
{
	struct iovec one;

	while (n > 1 && !iov->iov_len) {
		iov++;
		n--;
	}
	one = *iov;
	if (one.iov_len > most)
		one.iov_len = most;
	return one;
}

static inline ssize_t thin_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct thin *t = container_of(s, struct thin, s);
	struct iovec one;

	if (t->deaf)
		return -EAGAIN;
	if (!t->read_most)
		return t->below->ops->readv(t->below, iov, n);
	one = thin_cut(iov, n, t->read_most);
	return t->below->ops->readv(t->below, &one, 1);
}

static inline ssize_t thin_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct thin *t = container_of(s, struct thin, s);
	struct iovec one;

	if (!t->write_most)
		return t->below->ops->writev(t->below, iov, n);
	one = thin_cut(iov, n, t->write_most);
	return t->below->ops->writev(t->below, &one, 1);
}

static inline void thin_want(struct stream *s, unsigned ev)
{
	struct thin *t = container_of(s, struct thin, s);

	t->wanted = ev;
	thin_want_below(t);
}

static inline void thin_hear(struct thin *t, bool on)
{
	t->deaf = !on;
	thin_want_below(t);
}

static inline void thin_shutdown(struct stream *s)
{
	struct thin *t = container_of(s, struct thin, s);

	t->below->ops->shutdown(t->below);
}

static inline void thin_close(struct stream *s)
{
	struct thin *t = container_of(s, struct thin, s);

	t->below->ops->close(t->below);
	if (t->freed)
		++*t->freed;
	free(t);
}

static inline void thin_abort(struct stream *s)
{
	struct thin *t = container_of(s, struct thin, s);

	t->below->ops->abort(t->below);
	if (t->freed)
		++*t->freed;
	free(t);
}

static inline int thin_fd(struct stream *s)
{
	struct thin *t = container_of(s, struct thin, s);

	return t->below->ops->fd(t->below);
}

static inline void thin_on_below(struct stream *below, unsigned ev, void *arg)
{
	struct thin *t = arg;

	t->s.error = below->error;
	if (t->s.cb)
		t->s.cb(&t->s, ev, t->s.arg);
}

static inline struct thin *thin_new(struct event_base *loop, int fd)
{
	static const struct stream_ops thin_ops = {
		.readv = thin_readv,
		.writev = thin_writev,
		.want = thin_want,
		.shutdown = thin_shutdown,
		.close = thin_close,
		.abort = thin_abort,
		.fd = thin_fd,
	};
	struct thin *t = calloc(1, sizeof(*t));

	t->s.ops = &thin_ops;
	if (stream_from_fd(loop, fd, &t->below))
		abort();
	stream_set(t->below, thin_on_below, t);
	return t;
}

/* Two ends of a TCP connection on loopback, non-blocking. */
static inline void tcp_pair(int fd[2])
{
	union sockaddr_any sa = {
		.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(sa.in);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, &sa.sa, len) || listen(listener, 1) ||
	    getsockname(listener, &sa.sa, &len) || connect(fd[0], &sa.sa, len))
		abort();
	fd[1] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd[1] < 0 || fcntl(fd[0], F_SETFL, O_NONBLOCK))
		abort();
	close(listener);
}
