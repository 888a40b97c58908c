/* SPDX-License-Identifier: Apache-2.0 */
/* The server: its listener, its certificate, and how many connections there may be. */
#include "serve/serve.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "serve/internal.h"

enum { BACKLOG = 128, REST_MS = 200 };

bool serve_evict(struct serve *s, const struct serve_conn *asks)
{
	struct serve_conn *c;

	TAILQ_FOREACH (c, &s->conns, link) {
		if (c == asks || c->state == SERVE_HANDLED || (asks && !(c->r && c->r->body_room)))
			continue;
		s->stats.refused++;
		serve_conn_free(c, c->s->ops->abort);
		return true;
	}
	return false;
}

static void on_accept(struct evconnlistener *l, int fd, struct sockaddr *sa, int len, void *arg)
{
	struct serve *s = arg;
	union sockaddr_any remote = {.sa = {.sa_family = AF_UNSPEC}};
	struct stream *stream;
	int one = 1, r;

	(void)l;
	memcpy(&remote, sa, MIN((size_t)len, sizeof(remote)));
	if (s->stats.conns >= SERVE_CONNS_MAX && !serve_evict(s, NULL)) {
		s->stats.refused++;
		close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (s->ctx)
		r = tls_accept(&stream, s->base, s->ctx, fd);
	else
		r = stream_from_fd(s->base, fd, &stream);
	if (r) {
		close(fd);
		return;
	}
	if (serve_conn_new(s, stream, &remote))
		stream->ops->abort(stream);
}

/* Out of descriptors: room is made, and the listener rests, since it would be told at once again. */
static void on_accept_error(struct evconnlistener *l, void *arg)
{
	struct serve *s = arg;
	struct timeval tv = {.tv_usec = REST_MS * 1000};

	(void)serve_evict(s, NULL);
	(void)evconnlistener_disable(l);
	event_add(s->resume, &tv);
}

static void on_resume(int fd, short what, void *arg)
{
	struct serve *s = arg;

	(void)fd;
	(void)what;
	(void)evconnlistener_enable(s->listener);
}

static void free_serve(struct serve **s)
{
	serve_free(*s);
}

int serve_new(struct serve **sp, struct event_base *base, const union sockaddr_any *listen,
	      const char *cert, const char *key, const struct serve_ops *ops, void *arg,
	      struct error *e)
{
	unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE;
	cleanup(free_serve) struct serve *s = calloc(1, sizeof(*s));
	char text[ADDR_STRLEN];
	int r;

	if (!s)
		return error_errno(e, -ENOMEM, "serve");
	s->base = base;
	s->ops = ops;
	s->arg = arg;
	TAILQ_INIT(&s->conns);
	LIST_INIT(&s->orphans);
	r = cert ? serve_set_cert(s, cert, key, e) : 0;
	if (r)
		return r;
	s->resume = event_new(base, -1, 0, on_resume, s);
	if (!s->resume)
		return error_errno(e, -ENOMEM, "serve");
	s->listener = evconnlistener_new_bind(base, on_accept, s, flags, BACKLOG, &listen->sa,
					      (int)sockaddr_len(listen));
	if (!s->listener)
		return error_errno(e, errno ? -errno : -EINVAL, "cannot listen on %s",
				   sockaddr_format(listen, text));
	evconnlistener_set_error_cb(s->listener, on_accept_error);
	*sp = steal_ptr(s);
	return 0;
}

void serve_free(struct serve *s)
{
	struct serve_conn *c;
	struct serve_request *r;

	if (!s)
		return;
	if (s->listener)
		evconnlistener_free(s->listener);
	while ((c = TAILQ_FIRST(&s->conns)))
		serve_conn_free(c, c->s->ops->abort);
	while ((r = LIST_FIRST(&s->orphans))) {
		LIST_REMOVE(r, link);
		serve_request_free(r);
	}
	if (s->resume)
		event_free(s->resume);
	tls_free(s->ctx);
	free(s);
}

int serve_set_cert(struct serve *s, const char *cert, const char *key, struct error *e)
{
	struct ssl_ctx_st *ctx;
	int r = tls_server(&ctx, cert, key, e);

	if (r)
		return r;
	tls_free(s->ctx);
	s->ctx = ctx;
	return 0;
}

int serve_local(const struct serve *s, union sockaddr_any *sa)
{
	socklen_t len = sizeof(*sa);

	return getsockname(evconnlistener_get_fd(s->listener), &sa->sa, &len) ? -errno : 0;
}

const struct serve_stats *serve_stats(const struct serve *s)
{
	return &s->stats;
}
