/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client connection, until it is known what it is.
 *
 * A tcp rule names the port:   ASKING its laptop -> JOINED with it, or by policy as below, or reset.
 * Else the application:        DIALLING -> SNIFFING (who speaks first, and how) -> JOINED for good, or http1.c, http2.c
 *
 * Joined is for good, since a TCP connection cannot be moved: a rule that comes later concerns later connections. A rule that goes takes
 * the connections that its laptop serves along. Nothing here is timed: to wait for bytes that tell more is only right where
 * somebody may want them.
 */
#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>

#include "agent/internal.h"
#include "base/log.h"
#include "base/stream.h"
#include "relay/relay.h"

enum { DIAL_S = 60, TIDY_AFTER_S = 3 };

struct capture {
	struct client base;
	struct stream *client, *app;
	struct ask *ask;
	struct dial *dial;
	struct relay *relay;
	uint8_t *first; /* of the client: read and not told what they are; NULL = none */
	size_t nfirst;
	struct event *timer; /* they wait for more; NULL until needed */
	struct iovec proxy;  /* the PROXY header that the application has got; none: empty */
	bool laptops;	     /* `rule`'s laptop has it, or is asked */
	struct rule_ref rule;
};

static void ask(struct capture *c);

/* --- all that carry a connection ------------------------------------------------------------------------------------- */

void client_add(struct client *c, struct agent *a, const struct agent_port *port,
		const struct client_ops *ops)
{
	*c = (struct client){.a = a, .port = port, .ops = ops, .next = a->clients};
	if (a->clients)
		a->clients->prev = c;
	a->clients = c;
}

void client_remove(struct client *c)
{
	const struct timeval soon = {.tv_sec = TIDY_AFTER_S};
	struct agent *a = c->a;

	if (c->prev)
		c->prev->next = c->next;
	else
		a->clients = c->next;
	if (c->next)
		c->next->prev = c->prev;
	if (!evtimer_pending(a->tidy, NULL))
		evtimer_add(a->tidy, &soon);
	if (a->ending && !a->clients)
		event_base_loopbreak(a->base);
}

void clients_recheck(struct agent *a)
{
	for (struct client *c = a->clients, *next; c; c = next) {
		next = c->next;
		c->ops->recheck(c);
	}
}

void clients_drain(struct agent *a)
{
	for (struct client *c = a->clients, *next; c; c = next) {
		next = c->next;
		if (c->ops->drain)
			c->ops->drain(c);
	}
}

void clients_free(struct agent *a)
{
	while (a->clients)
		a->clients->ops->abort(a->clients);
}

struct port_figures *port_figures(struct agent *a, const struct agent_port *port)
{
	a->rules.counted = true;
	return &a->figures[port - a->cfg->port];
}

uint8_t *agent_scratch(void)
{
	static uint8_t bytes[AGENT_SCRATCH + AGENT_SCRATCH_ROOM];

	return bytes;
}

/* --- the end ----------------------------------------------------------------------------------------------------------- */

/* What it has given away is NULL. */
static void end(struct capture *c)
{
	if (c->client)
		c->client->ops->abort(c->client);
	if (c->app)
		c->app->ops->abort(c->app);
	ask_cancel(c->ask);
	if (c->dial)
		dial_cancel(c->dial);
	if (c->relay)
		relay_abort(c->relay);
	if (c->timer)
		event_free(c->timer);
	free(c->first);
	free(c->proxy.iov_base);
	client_remove(&c->base);
	free(c);
}

static void on_abort(struct client *base)
{
	end(container_of(base, struct capture, base));
}

/* One that waits for an answer goes where the new rules say, at once; one that has joined is reset. */
static void on_recheck(struct client *base)
{
	struct capture *c = container_of(base, struct capture, base);

	if (!c->laptops || rule_ref_find(base->a, &c->rule))
		return;
	if (c->relay) {
		end(c);
		return;
	}
	ask_cancel(steal_ptr(c->ask));
	c->laptops = false;
	ask(c);
}

static const struct client_ops ops = {.recheck = on_recheck, .abort = on_abort};

/* --- joining ----------------------------------------------------------------------------------------------------------- */

static void on_end(void *arg, const struct relay_result *res)
{
	struct capture *c = arg;

	(void)res;
	c->relay = NULL;
	end(c);
}

/* Owns `other`. */
static void join(struct capture *c, struct stream *other, const struct iovec held[2])
{
	if (relay_join_held(c->base.a->base, c->client, other, held, on_end, c, &c->relay))
		other->ops->abort(other);
	else
		c->client = NULL;
	if (!c->relay) {
		end(c);
		return;
	}
	/* It may last for days: what only served to tell what it is goes. */
	free(steal_ptr(c->first));
	free(c->proxy.iov_base);
	c->proxy = (struct iovec){.iov_len = 0};
	if (c->timer)
		event_free(steal_ptr(c->timer));
}

void capture_join(struct agent *a, const struct agent_port *port, struct stream *client,
		  struct stream *other, const struct iovec held[2], const struct rule_ref *rule)
{
	struct capture *c = calloc(1, sizeof(*c));

	if (!c) {
		client->ops->abort(client);
		other->ops->abort(other);
		return;
	}
	client_add(&c->base, a, port, &ops);
	c->client = client;
	c->laptops = rule;
	if (rule)
		c->rule = *rule;
	join(c, other, held);
}

/* It is nothing that requests could be told apart in. Owns nothing new. */
static void opaque(struct capture *c, enum http_kind kind, const uint8_t *bytes, size_t n)
{
	struct port_figures *seen = port_figures(c->base.a, c->base.port);

	const struct iovec held[2] = {{.iov_base = (void *)(uintptr_t)bytes, .iov_len = n}};

	(*(kind == HTTP_TLS ? &seen->tls : &seen->opaque))++;
	if (c->app)
		join(c, steal_ptr(c->app), held);
	else
		end(c);
}

/* --- what it is ---------------------------------------------------------------------------------------------------------- */

/* Owns c's streams from here on. */
static void give(struct capture *c, enum http_kind kind, const uint8_t *bytes, size_t n)
{
	struct stream *client = steal_ptr(c->client), *app = steal_ptr(c->app);
	struct agent *a = c->base.a;
	const struct agent_port *port = c->base.port;
	uint8_t *first = steal_ptr(c->first); /* maybe `bytes` is in it */
	struct iovec proxy = c->proxy;

	c->proxy = (struct iovec){.iov_len = 0};
	if (kind == HTTP_1) {
		port_figures(a, port)->http1++;
		http1_start(a, port, client, app, bytes, n, proxy);
	} else {
		port_figures(a, port)->http2++;
		http2_start(a, port, client, app, bytes, n, proxy);
	}
	free(first);
	end(c);
}

static void on_slow(evutil_socket_t fd, short what, void *arg)
{
	struct capture *c = arg;

	(void)fd;
	(void)what;
	if (c->nfirst && c->client && !c->relay) {
		port_figures(c->base.a, c->base.port)->slow_heads++;
		opaque(c, HTTP_OPAQUE, c->first, c->nfirst);
	}
}

static bool start_timer(struct capture *c)
{
	const struct timeval tv = {.tv_sec = HEAD_S};

	if (!c->timer)
		c->timer = evtimer_new(c->base.a->base, on_slow, c);
	return c->timer && (evtimer_pending(c->timer, NULL) || !evtimer_add(c->timer, &tv));
}

/* Waits for more only if somebody wants to know what it is. */
static void want_more(struct capture *c, const uint8_t *bytes, size_t n)
{
	uint8_t *kept;
	bool tag;

	if (n && !rules_http(&c->base.a->rules, c->base.port->target, &tag)) {
		opaque(c, HTTP_OPAQUE, bytes, n);
		return;
	}
	kept = n ? malloc(n) : NULL;
	if (n && (!kept || !start_timer(c))) {
		free(kept);
		end(c);
		return;
	}
	if (n)
		memcpy(kept, bytes, n);
	free(c->first);
	c->first = kept;
	c->nfirst = n;
	c->client->ops->want(c->client, STREAM_READABLE);
	if (c->app)
		c->app->ops->want(c->app, STREAM_READABLE);
}

/* The application gets a PROXY header at once, whole: it is short and its connection new. It is kept for when it is dialled anew. */
static bool play(struct capture *c, const uint8_t *header, size_t len)
{
	if (!c->app || stream_write(c->app, header, len) != (ssize_t)len)
		return false;
	c->proxy.iov_base = malloc(len);
	if (!c->proxy.iov_base)
		return false;
	memcpy(c->proxy.iov_base, header, len);
	c->proxy.iov_len = len;
	return true;
}

static void look(struct capture *c, const uint8_t *bytes, size_t n)
{
	size_t len = 0;
	enum http_kind kind = http_sniff(bytes, n, &len);

	if (kind == HTTP_PROXY && !c->proxy.iov_len) {
		if (!play(c, bytes, len)) {
			end(c);
			return;
		}
		bytes += len;
		n -= len;
		kind = n ? http_sniff(bytes, n, &len) : HTTP_MORE;
	}
	switch (kind) {
	case HTTP_MORE:
		want_more(c, bytes, n);
		break;
	case HTTP_1:
	case HTTP_2:
		give(c, kind, bytes, n);
		break;
	case HTTP_TLS:
	case HTTP_PROXY:
	case HTTP_OPAQUE:
		opaque(c, kind, bytes, n);
		break;
	}
}

static void read_first(struct capture *c)
{
	uint8_t *buf = agent_scratch();
	ssize_t n;

	if (c->nfirst)
		memcpy(buf, c->first, c->nfirst);
	n = stream_read(c->client, buf + c->nfirst, AGENT_SCRATCH - c->nfirst);
	if (n == -EAGAIN)
		want_more(c, buf, c->nfirst);
	else if (n < 0)
		end(c);
	else if (n == 0) /* the join passes the end on */
		opaque(c, HTTP_OPAQUE, buf, c->nfirst);
	else
		look(c, buf, c->nfirst + (size_t)n);
}

static void on_client(struct stream *s, unsigned ev, void *arg)
{
	(void)s;
	if (ev & STREAM_ERROR)
		end(arg);
	else if (ev & STREAM_READABLE)
		read_first(arg);
}

/* --- the application ---------------------------------------------------------------------------------------------------- */

/* An HTTP/2 server may greet before its client does: that says nothing, the client's preface will. */
static bool greets_http2(struct stream *s)
{
	uint8_t head[H2_HEAD_LEN];

	return recv(s->ops->fd(s), head, sizeof(head), MSG_PEEK) == sizeof(head) &&
	       h2_greeting(head);
}

/* It speaks first, or is gone. */
static void on_app(struct stream *s, unsigned ev, void *arg)
{
	struct capture *c = arg;

	if (ev & STREAM_ERROR)
		end(c);
	else if (ev & STREAM_READABLE && greets_http2(s))
		s->ops->want(s, 0);
	else if (ev & STREAM_READABLE)
		opaque(c, HTTP_OPAQUE, c->first, c->nfirst);
}

/* It is here: what has come of either side? */
static void take_application(struct capture *c, struct stream *s)
{
	c->app = s;
	if (s)
		stream_set(s, on_app, c);
	read_first(c);
}

static void on_dialled(void *arg, struct stream *s, int error)
{
	static struct log_limit limit;
	struct capture *c = arg;
	char text[ADDR_STRLEN];
	bool tag;

	c->dial = NULL;
	if (!s)
		log_limited(&limit, 10 * NSEC_PER_SEC, "application %s: %s",
			    sockaddr_format(&c->base.port->application, text), strerror(-error));
	if (!s && !rules_http(&c->base.a->rules, c->base.port->target, &tag))
		end(c);
	else
		take_application(c, s);
}

int capture_dial(struct agent *a, const struct agent_port *port,
		 void (*cb)(void *arg, struct stream *s, int error), void *arg, struct dial **dp)
{
	return dial_tcp(a->base, &port->application, DIAL_S * NSEC_PER_SEC, cb, arg, dp);
}

static void dial_application(struct capture *c)
{
	struct stream *now;

	if (dial_tcp_now(c->base.a->base, &c->base.port->application, DIAL_S * NSEC_PER_SEC,
			 on_dialled, c, &now, &c->dial))
		end(c);
	else if (now)
		take_application(c, now);
	else
		c->client->ops->want(c->client, 0);
}

/* --- the laptop of a tcp rule --------------------------------------------------------------------------------------------- */

static void on_asked(void *arg, enum ask_result result, struct stream *s)
{
	const struct iovec none[2] = {{0}};
	struct capture *c = arg;

	c->ask = NULL;
	switch (result) {
	case ASK_LAPTOP:
		join(c, s, none);
		break;
	case ASK_POD:
		c->laptops = false;
		dial_application(c);
		break;
	case ASK_FAIL:
		end(c);
		break;
	}
}

static void ask(struct capture *c)
{
	struct agent *a = c->base.a;
	struct rule *r = rules_find(&a->rules, c->base.port->target, false);

	if (!r) {
		dial_application(c);
		return;
	}
	rule_ref_set(&c->rule, r);
	c->laptops = true;
	c->client->ops->want(c->client, 0);
	if (ask_start(&c->ask, a, r, on_asked, c))
		end(c);
}

void capture_start(struct agent *a, const struct agent_port *port, struct stream *client)
{
	struct capture *c = malloc(sizeof(*c));

	if (!c) {
		client->ops->abort(client);
		return;
	}
	*c = (struct capture){.client = client};
	client_add(&c->base, a, port, &ops);
	stream_set(client, on_client, c);
	ask(c);
}
