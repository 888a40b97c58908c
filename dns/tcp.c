/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries over TCP: what was truncated over UDP comes again here.
 *
 * A client may send many queries without waiting (RFC 7766). Each is an exchange: a connection of
 * its own to the server, the query as it came, one answer back, in whatever order the answers come.
 * A client with too many exchanges or too much unread output is not read from. Zone transfers,
 * which have many answers, are nothing for a stub.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <sys/socket.h>

#include "dns/internal.h"

enum {
	EXCHANGES_MAX = 8,	/* per client */
	OUTPUT_MAX = 64 * 1024, /* unread answers per client */
	CLIENT_IDLE = 10,	/* s */
	ACCEPT_PAUSE_MS = 100,	/* when there are no descriptors left */
	LENGTH = 2,		/* the prefix of each message */
};

struct exchange {
	struct exchange *next;
	struct tcp_client *client;
	struct bufferevent *bev;
	struct dns_route route; /* servers still to be asked */
	bool silent;		/* some server gave no sign: then nothing is said either */
	size_t len;
	uint8_t msg[]; /* with its length prefix */
};

struct tcp_client {
	struct tcp_client *prev, *next;
	struct dns_stub *stub;
	struct bufferevent *bev;
	struct event *pump;
	struct exchange *exchanges;
	unsigned nexchanges;
	bool ended; /* sent all it wants to send */
};

static void exchange_free(struct exchange *x)
{
	struct exchange **p;

	for (p = &x->client->exchanges; *p != x; p = &(*p)->next)
		;
	*p = x->next;
	x->client->nexchanges--;
	if (x->bev)
		bufferevent_free(x->bev);
	free(x);
}

static void client_free(struct tcp_client *c)
{
	struct dns_stub *d = c->stub;

	while (c->exchanges)
		exchange_free(c->exchanges);
	*(c->prev ? &c->prev->next : &d->clients) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	event_free(c->pump);
	bufferevent_free(c->bev);
	free(c);
	if (d->nclients-- == DNS_TCP_CLIENTS && d->tcp_ev)
		event_add(d->tcp_ev, NULL);
}

void tcp_drop_all(struct dns_stub *d)
{
	while (d->clients)
		client_free(d->clients);
}

/* The client has room for another query, or nothing more to wait for. */
static void client_wake(struct tcp_client *c)
{
	event_active(c->pump, EV_WRITE, 0);
}

static void exchange_answer(struct exchange *x, const void *msg, size_t len)
{
	struct tcp_client *c = x->client;
	uint8_t prefix[LENGTH];

	put_be16(prefix, (uint16_t)len);
	bufferevent_write(c->bev, prefix, LENGTH);
	bufferevent_write(c->bev, msg, len);
	exchange_free(x);
	client_wake(c);
}

static void exchange_next(struct exchange *x);

static void exchange_readable(struct bufferevent *bev, void *arg)
{
	struct exchange *x = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	uint8_t prefix[LENGTH];

	if (evbuffer_copyout(in, prefix, LENGTH) < LENGTH)
		return;
	size_t len = get_be16(prefix);
	if (evbuffer_get_length(in) < LENGTH + len)
		return;
	const uint8_t *ans = evbuffer_pullup(in, (ev_ssize_t)(LENGTH + len)) + LENGTH;
	if (len >= DNS_HEADER) {
		ans = dns_route_answer(x->client->stub, &x->route, x->route.next - 1, ans, &len,
				       x->msg + LENGTH, x->len - LENGTH, DNS_MSG_MAX);
		if (ans) {
			exchange_answer(x, ans, len);
			return;
		}
	}
	bufferevent_free(bev);
	x->bev = NULL;
	exchange_next(x);
}

static void exchange_event(struct bufferevent *bev, short what, void *arg)
{
	struct exchange *x = arg;

	if (what & BEV_EVENT_CONNECTED)
		return;
	if (what & BEV_EVENT_TIMEOUT)
		x->silent = true;
	bufferevent_free(bev);
	x->bev = NULL;
	exchange_next(x);
}

/* Dials a server and hands it the query; 0 or negative errno. */
static int exchange_dial(struct exchange *x, unsigned server, unsigned timeout_ms)
{
	struct timeval tv = {.tv_sec = timeout_ms / 1000,
			     .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
	struct dns_stub *d = x->client->stub;
	uint8_t prefix[LENGTH];
	size_t len;
	const uint8_t *msg =
		dns_route_query(d, &x->route, server, x->msg + LENGTH, x->len - LENGTH, &len);

	if (!msg)
		return -EMSGSIZE;
	const union sockaddr_any *addr = &d->server[server].addr;
	int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	struct bufferevent *bev = bufferevent_socket_new(d->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!bev) {
		close(fd);
		return -ENOMEM;
	}
	bufferevent_set_timeouts(bev, &tv, &tv);
	/* Callbacks after the dialling: a failure at once is told by the result alone. */
	if (bufferevent_socket_connect(bev, &addr->sa, (int)sockaddr_len(addr)) < 0) {
		bufferevent_free(bev);
		return -ECONNREFUSED;
	}
	bufferevent_setcb(bev, exchange_readable, NULL, exchange_event, x);
	put_be16(prefix, (uint16_t)len);
	bufferevent_write(bev, prefix, LENGTH);
	bufferevent_write(bev, msg, len);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	x->bev = bev;
	return 0;
}

/* Asks the next server that can be asked. May free `x`, never its client. */
static void exchange_next(struct exchange *x)
{
	struct tcp_client *c = x->client;

	while (x->route.next < x->route.end) {
		unsigned server = x->route.next++;
		bool last = x->route.next == x->route.end;

		if (exchange_dial(x, server, last ? DNS_TIMEOUT * 1000 : DNS_NEXT_AFTER_MS) == 0)
			return;
	}
	size_t len = x->silent ? 0 : dns_route_nobody(&x->route, x->msg + LENGTH, x->len - LENGTH);
	if (len) {
		exchange_answer(x, x->msg + LENGTH, len);
		return;
	}
	c->stub->stats.timeouts++;
	exchange_free(x);
	client_wake(c);
}

/* Takes one query off the client's input: 1 = started, 0 = not whole yet, negative = the client is
 * of no use. */
static int client_take(struct tcp_client *c, struct exchange **started)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	uint8_t prefix[LENGTH];

	if (evbuffer_copyout(in, prefix, LENGTH) < LENGTH)
		return 0;
	size_t len = LENGTH + get_be16(prefix);
	if (evbuffer_get_length(in) < len)
		return 0;
	cleanup(free_ptr) struct exchange *x = calloc(1, sizeof(*x) + len);
	if (!x)
		return -ENOMEM;
	evbuffer_remove(in, x->msg, len);
	if (dns_stub_route(c->stub, x->msg + LENGTH, len - LENGTH, &x->route))
		return -EINVAL;
	c->stub->stats.tcp++;
	x->client = c;
	x->len = len;
	x->next = c->exchanges;
	c->exchanges = x;
	c->nexchanges++;
	*started = steal_ptr(x);
	return 1;
}

/*
 * Moves a client on: starts what it has asked, reads or stops reading, and ends it when all is
 * said. Always from the loop, never from inside an exchange, so that an exchange that fails at once
 * cannot free what its caller holds.
 */
static void client_pump(evutil_socket_t fd, short what, void *arg)
{
	struct tcp_client *c = arg;
	struct evbuffer *out = bufferevent_get_output(c->bev);

	(void)fd, (void)what;
	while (c->nexchanges < EXCHANGES_MAX && evbuffer_get_length(out) < OUTPUT_MAX) {
		struct exchange *x;
		int r = client_take(c, &x);

		if (r < 0) {
			client_free(c);
			return;
		}
		if (r == 0) {
			if (c->ended && c->nexchanges == 0 && evbuffer_get_length(out) == 0)
				client_free(c);
			else if (!c->ended)
				bufferevent_enable(c->bev, EV_READ);
			return;
		}
		exchange_next(x);
	}
	bufferevent_disable(c->bev, EV_READ);
}

static void client_ready(struct bufferevent *bev, void *arg)
{
	(void)bev;
	client_pump(-1, 0, arg);
}

static void client_event(struct bufferevent *bev, short what, void *arg)
{
	struct tcp_client *c = arg;

	(void)bev;
	if (!(what & BEV_EVENT_EOF)) { /* reset, or idle for too long */
		client_free(c);
		return;
	}
	c->ended = true;
	client_pump(-1, 0, c);
}

static int client_new(struct dns_stub *d, int fd)
{
	struct timeval idle = {.tv_sec = CLIENT_IDLE};
	struct tcp_client *c = calloc(1, sizeof(*c));

	if (c)
		c->bev = bufferevent_socket_new(d->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (c && c->bev)
		c->pump = event_new(d->base, -1, 0, client_pump, c);
	if (!c || !c->pump) {
		if (c && c->bev)
			bufferevent_free(c->bev);
		else
			close(fd);
		free(c);
		return -ENOMEM;
	}
	c->stub = d;
	c->next = d->clients;
	if (c->next)
		c->next->prev = c;
	d->clients = c;
	d->nclients++;
	bufferevent_setcb(c->bev, client_ready, client_ready, client_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, LENGTH + DNS_MSG_MAX);
	bufferevent_set_timeouts(c->bev, &idle, &idle);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	return 0;
}

void tcp_accept_again(evutil_socket_t fd, short what, void *arg)
{
	struct dns_stub *d = arg;

	(void)fd, (void)what;
	if (d->nclients < DNS_TCP_CLIENTS)
		event_add(d->tcp_ev, NULL);
}

void tcp_acceptable(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_MS * 1000};
	struct dns_stub *d = arg;

	(void)what;
	dns_stub_refresh(d);
	while (d->nclients < DNS_TCP_CLIENTS) {
		int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (client < 0 &&
		    (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
			/* Clients wait in the backlog; asking again at once would spin. */
			event_del(d->tcp_ev);
			event_add(d->tcp_pause, &pause);
			return;
		}
		if (client < 0)
			return;
		if (client_new(d, client))
			d->stats.dropped++;
	}
	event_del(d->tcp_ev); /* client_free() listens again */
}
