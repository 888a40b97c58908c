/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The intake. Life of a connection:
 *
 *   tcp_syn -> DIALLING 127.0.0.1 -(refused)-> DIALLING ::1 -(refused)-> reject, gone
 *                   | connected                    | connected
 *                   v                              v
 *              ACCEPTED: the SYN is played into the stack, `app` waits (NULL: it broke or the
 * intercept ended) | tcp_open               | tcp_cancel: local stream aborted, gone
 *                   v
 *              JOINED: a relay owns both streams; gone when it is done
 */
#include <errno.h>
#include <event2/event.h>
#include <sys/queue.h>

#include "base/log.h"
#include "base/memory.h"
#include "crypto/crypto.h"
#include "daemon/intake.h"
#include "netstack/netstack.h"
#include "relay/relay.h"

#define DIAL_TIMEOUT (5 * NSEC_PER_SEC)

enum { TIDY_AFTER = 3 /* s */ };

struct conn {
	TAILQ_ENTRY(conn) entry;
	struct intake *in;
	uint16_t overlay, local;
	bool second;		  /* the dial under way is to ::1 */
	struct netstack_syn *syn; /* ours to answer while not NULL */
	struct dial *dial;
	struct stream *app; /* connected, not yet joined */
	struct relay *relay;
};

/* A port with what is counted about it; the count outlives a new set that still has the port. */
struct port {
	struct intake_port cfg;
	unsigned open;
	uint64_t total;
};

struct intake {
	struct event_base *base;
	struct netstack *stack;
	struct prefix agents; /* the overlay: where a SYN may come from */
	unsigned n;
	struct port port[INTAKE_PORTS];
	TAILQ_HEAD(conn_list, conn)
	conns;
	struct udp_flows *udp; /* a peer of it is a port, by its number */
	struct intake_stats stats;
	struct log_limit refused_log;
	struct event *tidy; /* some time after connections have ended */
};

static struct port *find_port(struct intake *in, uint16_t overlay)
{
	unsigned i;

	for (i = 0; i < in->n; i++)
		if (in->port[i].cfg.overlay == overlay)
			return &in->port[i];
	return NULL;
}

static void on_tidy(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	memory_tidy();
}

static void conn_end(struct conn *c)
{
	const struct timeval soon = {.tv_sec = TIDY_AFTER};
	struct port *p = find_port(c->in, c->overlay);

	TAILQ_REMOVE(&c->in->conns, c, entry);
	c->in->stats.open--;
	if (p && p->open)
		p->open--;
	if (!evtimer_pending(c->in->tidy, NULL))
		evtimer_add(c->in->tidy, &soon);
	free(c);
}

/* Ends it in whatever state it is in. */
static void conn_abort(struct conn *c)
{
	if (c->dial)
		dial_cancel(c->dial);
	if (c->syn)
		netstack_reject(c->in->stack, c->syn, REJECT_REFUSED);
	if (c->app)
		c->app->ops->abort(c->app);
	if (c->relay)
		relay_abort(c->relay);
	conn_end(c);
}

/* As conn_abort, while the stack goes on: a conn that waits for tcp_open stays until then, without
 * `app`. */
static void conn_doom(struct conn *c)
{
	struct stream *app = steal_ptr(c->app);

	if (!app)
		conn_abort(c);
	else
		app->ops->abort(app);
}

static void on_dialled(void *arg, struct stream *s, int error);

static int start_dial(struct conn *c)
{
	union sockaddr_any to;

	sockaddr_parse(&to, c->second ? "[::1]:1" : "127.0.0.1:1");
	if (c->second)
		to.in6.sin6_port = htons(c->local);
	else
		to.in.sin_port = htons(c->local);
	return dial_tcp(c->in->base, &to, DIAL_TIMEOUT, on_dialled, c, &c->dial);
}

static void dial_failed(struct conn *c, int error)
{
	struct netstack_syn *syn = steal_ptr(c->syn);
	struct intake *in = c->in;

	in->stats.refused++;
	log_limited(&in->refused_log, 10 * NSEC_PER_SEC,
		    "intake: 127.0.0.1:%u: %s; the application serves", (unsigned)c->local,
		    strerror(-error));
	conn_end(c);
	netstack_reject(in->stack, syn, error == -ETIMEDOUT ? REJECT_UNREACHABLE : REJECT_REFUSED);
}

/* The process reset the connection before the agent's handshake was done. */
static void on_app_error(struct stream *s, unsigned ev, void *arg)
{
	struct conn *c = arg;

	if (!(ev & STREAM_ERROR))
		return;
	c->app = NULL;
	s->ops->abort(s);
}

static void on_dialled(void *arg, struct stream *s, int error)
{
	struct conn *c = arg;
	struct netstack_syn *syn;

	c->dial = NULL;
	if (!s && error == -ECONNREFUSED && !c->second) {
		/* Many a development server listens on localhost's IPv6 address alone. */
		c->second = true;
		if (!start_dial(c))
			return;
	}
	if (!s) {
		dial_failed(c, error == -EADDRNOTAVAIL ? -ECONNREFUSED : error);
		return;
	}
	c->app = s;
	stream_set(s, on_app_error, c);
	s->ops->want(s, 0);
	syn = c->syn;
	c->syn = NULL;
	netstack_accept(c->in->stack, syn);
}

void intake_syn(struct intake *in, struct netstack_syn *syn, const struct flow *flow)
{
	struct port *p = find_port(in, flow->dport);
	struct conn *c;

	/* An agent asks by TCP at a UDP port whether we are there: that is no for an answer, and yes. */
	if (!p || p->cfg.udp || !prefix_contains(&in->agents, &flow->src)) {
		in->stats.unknown += !p || !p->cfg.udp;
		netstack_reject(in->stack, syn, REJECT_REFUSED);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		netstack_reject(in->stack, syn, REJECT_SILENT);
		return;
	}
	c->in = in;
	c->overlay = flow->dport;
	c->local = p->cfg.local;
	c->syn = syn;
	TAILQ_INSERT_TAIL(&in->conns, c, entry);
	in->stats.open++;
	p->open++;
	netstack_syn_set(syn, c);
	if (start_dial(c))
		dial_failed(c, -EMFILE);
}

void intake_cancel(void *ctx)
{
	struct conn *c = ctx;

	if (!c)
		return;
	c->syn = NULL; /* the stack frees it */
	conn_abort(c);
}

static void on_done(void *arg, const struct relay_result *res)
{
	struct conn *c = arg;

	(void)res;
	c->relay = NULL;
	conn_end(c);
}

void intake_open(void *ctx, struct stream *s)
{
	struct conn *c = ctx;
	struct port *p = find_port(c->in, c->overlay);
	struct stream *app = steal_ptr(c->app);

	if (!app) {
		s->ops->abort(s);
		conn_end(c);
		return;
	}
	if (relay_join(c->in->base, s, app, on_done, c, &c->relay)) {
		s->ops->abort(s);
		app->ops->abort(app);
		conn_end(c);
		return;
	}
	c->in->stats.total++;
	if (p)
		p->total++;
}

/* --- UDP --- */

static void *udp_peer(uint16_t overlay)
{
	return (void *)(uintptr_t)overlay;
}

static void on_udp_reply(void *arg, const struct flow *flow, const uint8_t *data, size_t len)
{
	struct intake *in = arg;

	netstack_udp_reply(in->stack, flow, data, len);
}

static void on_udp_refused(void *arg, const struct flow *flow)
{
	struct intake *in = arg;
	struct port *p = find_port(in, flow->dport);

	in->stats.refused++;
	if (p)
		log_limited(&in->refused_log, 10 * NSEC_PER_SEC,
			    "intake: 127.0.0.1:%u/udp: refused; the application serves",
			    (unsigned)p->cfg.local);
	netstack_udp_refuse(in->stack, flow);
}

void intake_udp(struct intake *in, const struct flow *flow, const uint8_t *data, size_t len)
{
	struct port *p = find_port(in, flow->dport);
	union sockaddr_any to;
	unsigned before;

	if (!p || !p->cfg.udp || !prefix_contains(&in->agents, &flow->src)) {
		in->stats.unknown++;
		netstack_udp_refuse(in->stack, flow);
		return;
	}
	sockaddr_parse(&to, "127.0.0.1:1");
	to.in.sin_port = htons(p->cfg.local);
	before = udp_flows_of_peer(in->udp, udp_peer(flow->dport));
	udp_flows_send(in->udp, flow, &to, data, len, udp_peer(flow->dport));
	if (udp_flows_of_peer(in->udp, udp_peer(flow->dport)) > before) {
		p->total++;
		in->stats.total++;
	}
}

static bool still_udp(const struct intake_port *ports, unsigned n, uint16_t overlay)
{
	for (unsigned i = 0; i < n; i++)
		if (ports[i].overlay == overlay)
			return ports[i].udp;
	return false;
}

/* --- life --- */

int intake_new(struct intake **ip, struct event_base *base, struct netstack *stack, struct error *e)
{
	static const struct udp_flows_ops udp_ops = {.reply = on_udp_reply,
						     .refused = on_udp_refused};
	struct intake *in = calloc(1, sizeof(*in));

	if (!in)
		return error_errno(e, -ENOMEM, "intake");
	in->base = base;
	in->stack = stack;
	in->agents = overlay_prefix();
	TAILQ_INIT(&in->conns);
	in->tidy = evtimer_new(base, on_tidy, NULL);
	if (!in->tidy || udp_flows_new(&in->udp, base, &udp_ops, in)) {
		if (in->tidy)
			event_free(in->tidy);
		free(in);
		return error_errno(e, -ENOMEM, "intake");
	}
	*ip = in;
	return 0;
}

void intake_free(struct intake *in)
{
	struct conn *c;

	if (!in)
		return;
	while ((c = TAILQ_FIRST(&in->conns)))
		conn_abort(c);
	udp_flows_free(in->udp);
	event_free(in->tidy);
	free(in);
}

int intake_set(struct intake *in, const struct intake_port *ports, unsigned n)
{
	cleanup(free_ptr) struct port *next = NULL;
	struct conn *c, *after;
	struct port *old;
	unsigned i;

	if (n > INTAKE_PORTS)
		return -ENOSPC;
	next = calloc(n + 1, sizeof(*next));
	if (!next)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		next[i].cfg = ports[i];
		old = find_port(in, ports[i].overlay);
		if (!old || strcmp(old->cfg.intercept, ports[i].intercept))
			continue;
		next[i].open = old->open;
		next[i].total = old->total;
	}
	for (i = 0; i < in->n; i++)
		if (!still_udp(ports, n, in->port[i].cfg.overlay))
			udp_flows_forget_peer(in->udp, udp_peer(in->port[i].cfg.overlay));
	memcpy(in->port, next, n * sizeof(*next));
	in->n = n;
	for (c = TAILQ_FIRST(&in->conns); c; c = after) {
		after = TAILQ_NEXT(c, entry);
		if (!find_port(in, c->overlay))
			conn_doom(c);
	}
	return 0;
}

const struct intake_stats *intake_stats(const struct intake *in)
{
	return &in->stats;
}

void intake_count(const struct intake *in, const char *intercept, unsigned *open, uint64_t *total)
{
	unsigned i;

	*open = 0;
	*total = 0;
	for (i = 0; i < in->n; i++) {
		if (strcmp(in->port[i].cfg.intercept, intercept))
			continue;
		*open += in->port[i].open +
			 udp_flows_of_peer(in->udp, udp_peer(in->port[i].cfg.overlay));
		*total += in->port[i].total;
	}
}
