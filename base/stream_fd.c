/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host socket as a stream.
 *
 * Readiness is epoll's own, level-triggered, so that who moves bytes behind our back (splice) need
 * not tell us. Paused on both sides (want 0), epoll would not look at the socket at all and a reset
 * would go unseen for as long as the pause lasts. So then the socket is watched edge-triggered, and
 * each edge asks SO_ERROR. (Watching for EV_CLOSED instead spins: libevent turns EPOLLERR into
 * READ|WRITE, which nobody waits for, and epoll reports it again.)
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/stream.h"

enum { DRAIN_MAX = 256 * 1024, ONE_SEGMENT = 1024 /* bytes go out as one, at once */ };

struct fd_stream {
	struct stream s;
	struct event_base *base;
	int fd;
	unsigned wanted;
	struct event read;  /* READABLE is wanted; or nothing is, and then edge-triggered */
	struct event write; /* assigned when WRITABLE is wanted for the first time */
	bool has_write;
	bool bare;   /* dialled, and without options yet */
	bool wrote;  /* since then */
	bool broken; /* STREAM_ERROR was told, or is about to be: no more events */
	bool reset;  /* by the other side: nothing is left to be reset */
};

static struct fd_stream *self(struct stream *s)
{
	return container_of(s, struct fd_stream, s);
}

/* The callback may free f: nothing follows it. */
static void on_ready(int fd, short what, void *arg)
{
	struct fd_stream *f = arg;
	unsigned ev = what & EV_READ ? STREAM_READABLE : STREAM_WRITABLE;

	(void)fd;
	if (f->s.cb)
		f->s.cb(&f->s, ev, f->s.arg);
}

static void unwatch(struct fd_stream *f)
{
	event_del(&f->read);
	if (f->has_write)
		event_del(&f->write);
}

static void on_paused(int fd, short what, void *arg)
{
	struct fd_stream *f = arg;
	int error = 0;
	socklen_t len = sizeof(error);

	(void)what;
	if (!f->s.error) {
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || !error)
			return;
		f->s.error = -error;
	}
	f->broken = true;
	unwatch(f);
	if (f->s.cb)
		f->s.cb(&f->s, STREAM_ERROR, f->s.arg);
}

void stream_tcp_options(int fd)
{
	const int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* What one segment takes goes out at once anyhow, and a connection of one write does not last. */
static void set_up(struct fd_stream *f)
{
	f->bare = false;
	stream_tcp_options(f->fd);
}

static ssize_t result(struct fd_stream *f, ssize_t r)
{
	if (r >= 0)
		return r;
	f->reset |= errno == ECONNRESET;
	return -errno;
}

/* One piece is the common case, and costs the kernel less so. */
static ssize_t fd_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct fd_stream *f = self(s);
	ssize_t r;

	do {
		r = n == 1 ? recv(f->fd, iov->iov_base, iov->iov_len, 0) : readv(f->fd, iov, n);
	} while (r < 0 && errno == EINTR);
	return result(f, r);
}

static ssize_t send_pieces(int fd, const struct iovec *iov, int n)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};

	return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static ssize_t fd_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct fd_stream *f = self(s);
	ssize_t r;

	if (f->bare && (f->wrote || n > 1 || iov->iov_len > ONE_SEGMENT))
		set_up(f);
	f->wrote = true;
	do {
		r = n == 1 ? send(f->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
			   : send_pieces(f->fd, iov, n);
	} while (r < 0 && errno == EINTR);
	return result(f, r);
}

/* Without memory epoll cannot be asked, and nothing would ever come again: told as an error, next
 * turn. */
static void cannot_watch(struct fd_stream *f)
{
	unwatch(f);
	f->broken = true;
	event_assign(&f->read, f->base, f->fd, EV_READ | EV_PERSIST | EV_ET, on_paused, f);
	f->s.error = -ENOMEM;
	event_active(&f->read, EV_READ, 1);
}

static int watch_read(struct fd_stream *f, bool paused)
{
	event_assign(&f->read, f->base, f->fd, EV_READ | EV_PERSIST | (paused ? EV_ET : 0),
		     paused ? on_paused : on_ready, f);
	return event_add(&f->read, NULL);
}

static int watch_write(struct fd_stream *f)
{
	if (!f->has_write)
		event_assign(&f->write, f->base, f->fd, EV_WRITE | EV_PERSIST, on_ready, f);
	f->has_write = true;
	return event_add(&f->write, NULL);
}

static void fd_want(struct stream *s, unsigned ev)
{
	struct fd_stream *f = self(s);
	unsigned changed = ev ^ f->wanted;
	int r = 0;

	if (!changed || f->broken)
		return;
	if (!f->wanted || (changed & ~ev & STREAM_READABLE))
		event_del(&f->read);
	if (changed & ~ev & STREAM_WRITABLE)
		event_del(&f->write);
	f->wanted = ev;
	if (!ev || (changed & ev & STREAM_READABLE))
		r = watch_read(f, !ev);
	if (r == 0 && (changed & ev & STREAM_WRITABLE))
		r = watch_write(f);
	if (r)
		cannot_watch(f);
}

static void fd_shutdown(struct stream *s)
{
	/* ENOTCONN: a reset came first; the next read or write says so. */
	(void)shutdown(self(s)->fd, SHUT_WR);
}

static void destroy(struct fd_stream *f)
{
	unwatch(f);
	close(f->fd);
	free(f);
}

/*
 * close(2) with unread bytes resets a TCP connection, and a reset may overtake what was written. So
 * the end is sent first and what has already come is read away. Bytes that come later still lead to
 * a reset: lingering is the owner's matter.
 */
static void fd_close(struct stream *s)
{
	struct fd_stream *f = self(s);
	size_t drained = 0;
	char buf[16384];
	ssize_t n;

	(void)shutdown(f->fd, SHUT_WR);
	while (drained < DRAIN_MAX && (n = recv(f->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		drained += (size_t)n;
	destroy(f);
}

static void fd_abort(struct stream *s)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	/* A Unix socket has no reset: its peer sees the end, or ECONNRESET when bytes were left
	 * unread. */
	if (!self(s)->reset)
		(void)setsockopt(self(s)->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	destroy(self(s));
}

/* Who has it may write behind our back. */
static int fd_fd(struct stream *s)
{
	if (self(s)->bare)
		set_up(self(s));
	return self(s)->fd;
}

static const struct stream_ops fd_ops = {
	.readv = fd_readv,
	.writev = fd_writev,
	.want = fd_want,
	.shutdown = fd_shutdown,
	.close = fd_close,
	.abort = fd_abort,
	.fd = fd_fd,
};

static int fd_stream_new(struct event_base *base, int fd, bool reading, bool bare,
			 struct stream **sp)
{
	struct fd_stream *f = malloc(sizeof(*f));

	if (!f)
		return -ENOMEM;
	*f = (struct fd_stream){.s.ops = &fd_ops,
				.base = base,
				.fd = fd,
				.wanted = reading ? STREAM_READABLE : 0,
				.bare = bare};
	if (watch_read(f, !reading) < 0) {
		free(f);
		return -EINVAL;
	}
	*sp = &f->s;
	return 0;
}

int stream_from_fd(struct event_base *base, int fd, struct stream **sp)
{
	return fd_stream_new(base, fd, false, false, sp);
}

int stream_from_accepted(struct event_base *base, int fd, struct stream **sp)
{
	return fd_stream_new(base, fd, true, false, sp);
}

int stream_from_dialled(struct event_base *base, int fd, struct stream **sp)
{
	return fd_stream_new(base, fd, true, true, sp);
}
