/* SPDX-License-Identifier: Apache-2.0 */
/* Where visitors come in, and how many there may be. */
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "gateway/internal.h"
#include "tls/tls.h"

enum { BACKLOG = 256, REST_MS = 200 };

static bool has_room(struct gateway *g, const struct ipaddr *from)
{
	if (visitors_of(g, from) >= VISITORS_PER_ADDRESS)
		return false;
	return g->nvisitors < VISITORS_MAX || visitor_evict(g);
}

/* What the kernel finds out alone: a peer that is gone without a word. */
static void set_options(int fd)
{
	int idle = 60, interval = 15, count = 4;

	stream_tcp_options(fd);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

static void on_accept(struct evconnlistener *l, int fd, struct sockaddr *sa, int len, void *arg)
{
	struct gateway *g = arg;
	union sockaddr_any remote = {.sa = {.sa_family = AF_UNSPEC}};
	char text[ADDR_STRLEN];
	struct stream *s;
	struct ipaddr from;

	memcpy(&remote, sa, MIN((size_t)len, sizeof(remote)));
	from = sockaddr_ip(&remote);
	if (!has_room(g, &from)) {
		log_limited(&g->full, 10 * NSEC_PER_SEC,
			    "visitor %s: refused, since there are too many connections (%u)",
			    sockaddr_format(&remote, text), g->nvisitors);
		close(fd);
		return;
	}
	set_options(fd);
	if (tls_accept(&s, g->base, g->server, fd)) {
		close(fd);
		return;
	}
	if (visitor_new(g, s, &from, l == g->dashboard_listener))
		s->ops->abort(s);
}

/* Out of descriptors: room is made, and the listeners rest, since they would be told at once again. */
static void on_accept_error(struct evconnlistener *l, void *arg)
{
	struct gateway *g = arg;
	struct timeval tv = {.tv_usec = REST_MS * 1000};

	(void)visitor_evict(g);
	(void)evconnlistener_disable(l);
	event_add(&g->resume, &tv);
}

static void on_resume(int fd, short what, void *arg)
{
	struct gateway *g = arg;

	(void)fd;
	(void)what;
	(void)evconnlistener_enable(g->listener);
	if (g->dashboard_listener)
		(void)evconnlistener_enable(g->dashboard_listener);
}

static int start(struct gateway *g, struct evconnlistener **lp, const union sockaddr_any *at,
		 struct error *e)
{
	unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE;
	char text[ADDR_STRLEN];

	*lp = evconnlistener_new_bind(g->base, on_accept, g, flags, BACKLOG, &at->sa,
				      (int)sockaddr_len(at));
	if (!*lp)
		return error_errno(e, errno ? -errno : -EINVAL, "cannot listen on %s",
				   sockaddr_format(at, text));
	evconnlistener_set_error_cb(*lp, on_accept_error);
	return 0;
}

int listen_start(struct gateway *g, struct error *e)
{
	int r;

	event_assign(&g->resume, g->base, -1, 0, on_resume, g);
	r = start(g, &g->listener, &g->config.listen, e);
	if (r == 0 && g->config.by_path)
		r = start(g, &g->dashboard_listener, &g->config.dashboard_listen, e);
	return r;
}

void listen_stop(struct gateway *g)
{
	if (g->listener)
		evconnlistener_free(g->listener);
	if (g->dashboard_listener)
		evconnlistener_free(g->dashboard_listener);
	if (event_initialized(&g->resume))
		event_del(&g->resume);
}
