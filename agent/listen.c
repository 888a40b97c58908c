/* SPDX-License-Identifier: Apache-2.0 */
/* The ports in front of the application. A port that cannot be bound now is tried again every second. */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "agent/internal.h"
#include "base/log.h"
#include "base/stream.h"

enum {
	BACKLOG = 4096,
	ACCEPTS_PER_TURN = 64,
	RETRY_MS = 1000,
	PAUSE_MS = 50,
	KEEPALIVE_IDLE_S = 60, /* then a client that is gone is noticed within a minute */
	KEEPALIVE_EVERY_S = 15,
	KEEPALIVES = 4,
};

struct listener {
	struct listener *next;
	struct agent *a;
	const struct agent_port *port;
	struct event *ev; /* accepts */
	struct event *retry;
	int fd;
	bool told; /* that it cannot be bound */
};

static void wait(struct listener *l, unsigned ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	evtimer_add(l->retry, &tv);
}

/* The connections inherit it. An application's own keepalives end at the agent, which is always there. */
static void ask_clients(int fd)
{
	const int on = 1, idle = KEEPALIVE_IDLE_S, every = KEEPALIVE_EVERY_S, count = KEEPALIVES;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	/* What the application said in two pieces would wait for the client's delayed ACK: 40 ms. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* The IPv6 wildcard stands for IPv4 too, and for IPv4 alone on a kernel without IPv6. IP_FREEBIND: the address may come later
 * than we do. */
static int bind_port(const union sockaddr_any *at, bool udp)
{
	const int on = 1, off = 0;
	const struct ipaddr any4 = {.family = 4};
	struct ipaddr ip = sockaddr_ip(at);
	union sockaddr_any v4 = sockaddr_from(&any4, sockaddr_port(at));
	int kind = udp ? SOCK_DGRAM : SOCK_STREAM, r;
	int fd = socket(at->sa.sa_family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 && errno == EAFNOSUPPORT && ip.family == 6 && ipaddr_is_unspecified(&ip))
		return bind_port(&v4, udp);
	if (fd < 0)
		return -errno;
	if (!udp) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		ask_clients(fd);
	}
	setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));
	if (ip.family == 6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (udp && at->sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	else if (udp)
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	if (bind(fd, &at->sa, sockaddr_len(at)) || (!udp && listen(fd, BACKLOG))) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

static void take(struct listener *l, int fd)
{
	struct stream *s = NULL;

	if (stream_from_accepted(l->a->base, fd, &s)) {
		close(fd);
		return;
	}
	capture_start(l->a, l->port, s);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	static struct log_limit limit;
	struct listener *l = arg;

	(void)what;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (c >= 0) {
			take(l, c);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			/* Clients wait in the backlog; asking again at once would spin. */
			log_limited(&limit, 60 * NSEC_PER_SEC, "port %u: %s",
				    sockaddr_port(&l->port->listen), strerror(errno));
			event_del(l->ev);
			wait(l, PAUSE_MS);
			return;
		}
	}
}

static void on_datagrams(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)what;
	udp_readable(l->a, l->port, fd);
}

static void open_port(struct listener *l)
{
	char text[ADDR_STRLEN];

	if (l->ev) { /* a pause is over */
		event_add(l->ev, NULL);
		return;
	}
	l->fd = bind_port(&l->port->listen, l->port->udp);
	if (l->fd < 0) {
		if (!l->told)
			log_error("port %s: %s; trying again every second",
				  sockaddr_format(&l->port->listen, text), strerror(-l->fd));
		l->told = true;
		wait(l, RETRY_MS);
		return;
	}
	l->ev = event_new(l->a->base, l->fd, EV_READ | EV_PERSIST,
			  l->port->udp ? on_datagrams : on_accept, l);
	if (!l->ev || event_add(l->ev, NULL)) {
		if (l->ev)
			event_free(l->ev);
		l->ev = NULL;
		close(l->fd);
		l->fd = -1;
		wait(l, RETRY_MS);
		return;
	}
	log_info("port %s%s: stands for port %u of the application",
		 sockaddr_format(&l->port->listen, text), l->port->udp ? "/udp" : "",
		 l->port->target);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	open_port(arg);
}

int listener_socket(const struct agent *a, const struct agent_port *port, int *family)
{
	socklen_t len = sizeof(*family);

	for (const struct listener *l = a->listeners; l; l = l->next) {
		if (l->port == port && l->fd >= 0 &&
		    getsockopt(l->fd, SOL_SOCKET, SO_DOMAIN, family, &len) == 0)
			return l->fd;
	}
	*family = AF_UNSPEC;
	return -1;
}

int listeners_new(struct agent *a, struct error *e)
{
	for (unsigned i = 0; i < a->cfg->nports; i++) {
		struct listener *l = calloc(1, sizeof(*l));

		if (!l)
			return error_errno(e, -ENOMEM, "ports");
		*l = (struct listener){
			.a = a, .port = &a->cfg->port[i], .fd = -1, .next = a->listeners};
		a->listeners = l;
		l->retry = evtimer_new(a->base, on_retry, l);
		if (!l->retry)
			return error_errno(e, -ENOMEM, "ports");
		open_port(l);
	}
	return 0;
}

void listeners_free(struct agent *a)
{
	while (a->listeners) {
		struct listener *l = a->listeners;

		a->listeners = l->next;
		if (l->ev)
			event_free(l->ev);
		if (l->retry)
			event_free(l->retry);
		close_fd(&l->fd);
		free(l);
	}
}
