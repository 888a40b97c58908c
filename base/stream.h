/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream: a host socket, an lwIP connection and (later) an upgraded API-server connection look the
 * same, so relay/ joins any two and rpc/ speaks over any.
 *
 * Non-blocking, one loop, one thread. Two ways to move bytes; a stream has the one that costs it no
 * copy:
 *   readv/writev     always present
 *   peek/consume     bytes that have arrived lie in the stream's own memory (lwIP): look, then take
 *   reserve/commit   room in the stream's own send memory (lwIP): fill, then commit
 *
 * Life: the owner closes or aborts it exactly once; both free it and after that no callback comes.
 * Any callback may do so. Errors: after STREAM_ERROR only close/abort are allowed.
 */
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include "base/util.h"

struct event_base;
struct stream;

enum stream_events {
	STREAM_READABLE = 1, /* bytes or end of stream; level-triggered while asked for */
	STREAM_WRITABLE = 2,
	STREAM_ERROR = 4, /* stream_error() tells which */
};

struct stream_ops {
	/* > 0 bytes; 0 = the other side has ended its direction; -EAGAIN; other negative errno */
	ssize_t (*readv)(struct stream *s, const struct iovec *iov, int n);
	/* > 0 bytes taken (maybe fewer than given); -EAGAIN = full; other negative errno */
	ssize_t (*writev)(struct stream *s, const struct iovec *iov, int n);
	/* Fills up to `max` iov with bytes ready to be read; number of iov, 0 = end, -EAGAIN = none
	 * now. */
	int (*peek)(struct stream *s, struct iovec *iov, int max);
	void (*consume)(struct stream *s, size_t len);
	/* Fills up to `max` iov with free send memory; number of iov or -EAGAIN = full. commit()
	 * sends. */
	int (*reserve)(struct stream *s, struct iovec *iov, int max);
	void (*commit)(struct stream *s, size_t len);
	/* Which events to deliver from now on; `ev` is a mask of READABLE and WRITABLE. ERROR
	 * always comes. */
	void (*want)(struct stream *s, unsigned ev);
	/* Ends our direction after what was written (FIN). Once. */
	void (*shutdown)(struct stream *s);
	/* Frees; what was written is still delivered (close). */
	void (*close)(struct stream *s);
	/* Frees at once; the other side sees a reset. */
	void (*abort)(struct stream *s);
	/* The descriptor, for splice(2), or -1. Stays owned by the stream. */
	int (*fd)(struct stream *s);
};

struct stream {
	const struct stream_ops *ops;
	void (*cb)(struct stream *s, unsigned ev, void *arg); /* set by the owner */
	void *arg;
	int error; /* negative errno of STREAM_ERROR: -ECONNRESET, -ETIMEDOUT, ... */
};

static inline ssize_t stream_read(struct stream *s, void *buf, size_t len)
{
	struct iovec v = {.iov_base = buf, .iov_len = len};
	return s->ops->readv(s, &v, 1);
}

static inline ssize_t stream_write(struct stream *s, const void *buf, size_t len)
{
	struct iovec v = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	return s->ops->writev(s, &v, 1);
}

static inline void stream_set(struct stream *s, void (*cb)(struct stream *, unsigned, void *),
			      void *arg)
{
	s->cb = cb;
	s->arg = arg;
}

/* TCP_NODELAY, since whole messages are handed over and waiting for more only costs; SO_KEEPALIVE, since a peer that has
 * vanished must not be held for ever. */
void stream_tcp_options(int fd);
/* A stream over a connected, non-blocking stream socket (TCP or Unix). Owns `fd`
 * on success only. */
int stream_from_fd(struct event_base *base, int fd, struct stream **sp);
/* The same, and READABLE is wanted from the start: for who reads at once. */
int stream_from_accepted(struct event_base *base, int fd, struct stream **sp);
/* Likewise for a TCP connection just made, which gets stream_tcp_options() when it writes more than one segment takes, or again. */
int stream_from_dialled(struct event_base *base, int fd, struct stream **sp);
