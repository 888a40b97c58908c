/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exit: what a laptop sends to the cluster's addresses leaves here by ordinary sockets. TCP is dialled first and the SYN
 * answered after, so the laptop sees what the real target said.
 */
#include <errno.h>
#include <ifaddrs.h>

#include "manager/internal.h"
#include "relay/relay.h"

/*
 * One connection. DIALLING: syn and dial are set. OPENING: the target answered; stream is set, lwIP plays the handshake
 * with the laptop. JOINED: relay owns both streams.
 */
struct exit_conn {
	struct exit_conn *prev, *next;
	struct exit *x;
	struct peer *peer;
	struct netstack_syn *syn;
	struct dial *dial;
	struct stream *target;
	struct relay *relay;
};

struct exit {
	struct manager *m;
	struct udp_flows *udp;
	struct exit_conn *conns;
};

/* --- who may go where ---------------------------------------------------------------------------------------- */

static bool own_address(const struct ipaddr *a)
{
	struct ifaddrs *all = NULL;
	bool own = false;

	if (getifaddrs(&all))
		return true; /* better refuse one port than reach ourselves */
	for (const struct ifaddrs *i = all; i && !own; i = i->ifa_next) {
		struct ipaddr b;

		if (!i->ifa_addr ||
		    (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6))
			continue;
		b = sockaddr_ip((const union sockaddr_any *)(const void *)i->ifa_addr);
		own = ipaddr_equal(a, &b);
	}
	freeifaddrs(all);
	return own;
}

/* Addresses that mean "this machine" or "this wire", which 0.0.0.0/0 must not open by accident. */
static bool special(const struct ipaddr *a)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	static const uint8_t zero[12];

	if (a->family == 6 && (!memcmp(a->b, mapped, 12) || !memcmp(a->b, zero, 12)))
		return true;
	if (a->family == 4 && a->b[0] == 0)
		return true;
	return ipaddr_is_loopback(a) || ipaddr_is_linklocal(a) || ipaddr_is_multicast(a) ||
	       ipaddr_is_unspecified(a);
}

static bool listed(const struct config_prefixes *l, const struct ipaddr *a, bool by_special)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (prefix_contains(&l->p[i], a) && (!by_special || special(&l->p[i].addr)) &&
		    (!by_special || l->p[i].len >= 8))
			return true;
	}
	return false;
}

static bool own_port(const struct config *cfg, uint16_t port, bool udp)
{
	if (udp)
		return port == sockaddr_port(&cfg->listen);
	return port && cfg->keys &&
	       (port == sockaddr_port(&cfg->websocket) || port == sockaddr_port(&cfg->webhook));
}

bool exit_allowed(const struct config *cfg, const struct ipaddr *to, uint16_t port, bool udp)
{
	struct ipaddr dns = sockaddr_ip(&cfg->dns_server);

	if (own_port(cfg, port, udp) && own_address(to))
		return false;
	if (cfg->has_dns && ipaddr_equal(to, &dns) && port == sockaddr_port(&cfg->dns_server))
		return true;
	if (listed(&cfg->deny, to, false))
		return false;
	if (ipaddr_equal(to, &cfg->host) && !listed(&cfg->configured, to, false))
		return false;
	return listed(&cfg->prefixes, to, special(to));
}

static bool peer_may(const struct exit *x, const struct peer *p, const struct flow *flow, bool udp)
{
	return peer_admitted(p) && p->rec.role == ROLE_LAPTOP &&
	       exit_allowed(x->m->cfg, &flow->dst, flow->dport, udp);
}

/* --- TCP ------------------------------------------------------------------------------------------------------ */

static void conn_free(struct exit_conn *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		c->x->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	free(c);
}

/* Ends one whatever its state; nothing is told. */
static void conn_abort(struct exit_conn *c)
{
	if (c->dial)
		dial_cancel(c->dial);
	if (c->target)
		c->target->ops->abort(c->target);
	if (c->relay)
		relay_abort(c->relay);
	conn_free(c);
}

static enum netstack_reject how_rejected(int error)
{
	switch (error) {
	case -ECONNREFUSED:
		return REJECT_REFUSED;
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return REJECT_UNREACHABLE;
	case -EACCES:
	case -EPERM:
		return REJECT_PROHIBITED;
	default: /* timed out; or we are short of descriptors: the laptop's kernel asks again */
		return REJECT_SILENT;
	}
}

static void on_dialled(void *arg, struct stream *s, int error)
{
	struct exit_conn *c = arg;
	struct netstack *ns = c->x->m->ns;
	struct netstack_syn *syn = c->syn;

	c->dial = NULL;
	if (!s) {
		conn_free(c);
		netstack_reject(ns, syn, how_rejected(error));
		return;
	}
	c->target = s;
	netstack_accept(ns, syn);
}

void exit_syn(struct exit *x, struct netstack_syn *syn, const struct flow *flow, struct peer *p)
{
	const union sockaddr_any to = sockaddr_from(&flow->dst, flow->dport);
	struct exit_conn *c;

	if (!peer_may(x, p, flow, false)) {
		netstack_reject(x->m->ns, syn, REJECT_PROHIBITED);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		netstack_reject(x->m->ns, syn, REJECT_SILENT);
		return;
	}
	*c = (struct exit_conn){.x = x, .peer = p, .syn = syn, .next = x->conns};
	if (x->conns)
		x->conns->prev = c;
	x->conns = c;
	netstack_syn_set(syn, c);
	/* No time-out of ours: the record of the SYN expires first, and exit_cancel() ends the dial. */
	if (dial_tcp(x->m->base, &to, 0, on_dialled, c, &c->dial)) {
		conn_free(c);
		netstack_reject(x->m->ns, syn, REJECT_SILENT);
	}
}

void exit_cancel(struct exit *x, void *ctx)
{
	(void)x;
	if (ctx)
		conn_abort(ctx);
}

static void on_joined_end(void *arg, const struct relay_result *res)
{
	struct exit_conn *c = arg;

	(void)res;
	c->relay = NULL;
	conn_free(c);
}

void exit_open(struct exit *x, struct stream *s, void *ctx)
{
	struct exit_conn *c = ctx;

	c->syn = NULL;
	if (relay_join(x->m->base, s, c->target, on_joined_end, c, &c->relay)) {
		s->ops->abort(s);
		conn_abort(c);
		return;
	}
	c->target = NULL;
}

/* --- UDP and echo ---------------------------------------------------------------------------------------------- */

void exit_udp(struct exit *x, const struct flow *flow, const uint8_t *data, size_t len,
	      struct peer *p)
{
	const union sockaddr_any to = sockaddr_from(&flow->dst, flow->dport);

	if (peer_may(x, p, flow, true))
		udp_flows_send(x->udp, flow, &to, data, len, p);
	else
		netstack_udp_refuse(x->m->ns, flow);
}

void exit_echo(struct exit *x, const struct flow *flow, uint16_t seq, const uint8_t *data,
	       size_t len, struct peer *p)
{
	if (ipaddr_equal(&flow->dst, &x->m->self))
		netstack_echo_reply(x->m->ns, flow, seq, data, len);
	else if (peer_may(x, p, flow, false))
		udp_flows_echo(x->udp, flow, seq, data, len, p);
}

static void on_udp_reply(void *arg, const struct flow *flow, const uint8_t *data, size_t len)
{
	struct exit *x = arg;

	netstack_udp_reply(x->m->ns, flow, data, len);
}

static void on_udp_refused(void *arg, const struct flow *flow)
{
	struct exit *x = arg;

	netstack_udp_refuse(x->m->ns, flow);
}

static void on_echo_reply(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
			  size_t len)
{
	struct exit *x = arg;

	netstack_echo_reply(x->m->ns, flow, seq, data, len);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

int exit_new(struct exit **xp, struct manager *m)
{
	static const struct udp_flows_ops ops = {on_udp_reply, on_udp_refused, on_echo_reply};
	struct exit *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return -ENOMEM;
	x->m = m;
	r = udp_flows_new(&x->udp, m->base, &ops, x);
	if (r) {
		free(x);
		return r;
	}
	*xp = x;
	return 0;
}

void exit_forget(struct exit *x, struct peer *p)
{
	for (struct exit_conn *c = x->conns, *next; c; c = next) {
		next = c->next;
		/* Those whose SYN waits are ended by the netstack, through exit_cancel(). */
		if (c->peer == p && !c->syn)
			conn_abort(c);
	}
	udp_flows_forget_peer(x->udp, p);
}

void exit_free(struct exit *x)
{
	if (!x)
		return;
	while (x->conns)
		conn_abort(x->conns);
	udp_flows_free(x->udp);
	free(x);
}

const struct udp_flows_stats *exit_udp_stats(const struct exit *x)
{
	return udp_flows_stats(x->udp);
}
