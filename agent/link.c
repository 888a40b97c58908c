/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our member of the overlay: one peer, the manager, kept up for ever. While there is none (no invite, no room for our key),
 * starting is tried again every half minute; the ports do not depend on it.
 */
#include <errno.h>
#include <event2/event.h>

#include "agent/internal.h"
#include "base/log.h"
#include "netstack/netstack.h"
#include "node/node.h"

enum { START_RETRY_S = 30, NEXT_ENDPOINT_S = 5, STAMP_SAVE_S = 60, STARTING_S = 2 };

struct link {
	struct agent *a;
	struct event *timer; /* start again; later: next endpoint, stamp */
	struct node *node;
	struct netstack *ns;
	struct overlay_peer *manager;
	struct control *control;
	struct ipaddr address;
	union sockaddr_any endpoint[INVITE_ENDPOINTS];
	unsigned nendpoints, at;
	bool up;
	nsec_t started;
	nsec_t saved; /* when the stamp was */
	nsec_t saved_stamp;
};

/* --- from the node and the stack --------------------------------------------------------------------------------- */

static void on_inner(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	struct link *l = arg;

	netstack_input(l->ns, pkt, p);
}

static void on_established(void *arg, struct overlay_peer *p, bool fresh)
{
	struct link *l = arg;

	(void)p;
	if (fresh || !l->up)
		log_info("manager: session established");
	l->up = true;
	rules_trust(&l->a->rules);
	control_kick(l->control);
}

static void on_away(void *arg, struct overlay_peer *p)
{
	struct link *l = arg;

	(void)p;
	l->up = false;
	log_warn("manager: silent for %d s; the rules stay in force", PEER_DEAD_AFTER);
}

static void on_back(void *arg, struct overlay_peer *p)
{
	struct link *l = arg;

	(void)p;
	l->up = true;
	log_info("manager: is back");
	rules_trust(&l->a->rules);
	control_kick(l->control);
}

static void on_stamp(void *arg, nsec_t last)
{
	struct link *l = arg;

	l->a->keep.stamp = last;
}

static void on_output(void *arg, struct pkt *pkt)
{
	struct link *l = arg;

	node_send(l->node, pkt);
}

/* Nobody connects to an agent. */
static void on_syn(void *arg, struct netstack_syn *syn, const struct flow *flow, void *peer)
{
	struct link *l = arg;

	(void)flow;
	(void)peer;
	netstack_reject(l->ns, syn, REJECT_REFUSED);
}

static void on_cancel(void *arg, struct netstack_syn *syn, void *ctx)
{
	(void)arg;
	(void)syn;
	(void)ctx;
}

static void on_open(void *arg, struct stream *s, void *ctx)
{
	(void)arg;
	(void)ctx;
	s->ops->abort(s);
}

static void on_udp(void *arg, const struct flow *flow, const uint8_t *data, size_t len, void *peer)
{
	struct link *l = arg;

	(void)data;
	(void)len;
	(void)peer;
	netstack_udp_refuse(l->ns, flow);
}

static void on_echo(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
		    size_t len, void *peer)
{
	struct link *l = arg;

	(void)peer;
	netstack_echo_reply(l->ns, flow, seq, data, len);
}

/* --- start --------------------------------------------------------------------------------------------------------- */

static void use_endpoint(struct link *l)
{
	struct path path = node_udp_path(l->node, &l->endpoint[l->at]);

	overlay_peer_set_path(l->manager, &path);
}

static int start_peer(struct link *l, const struct invite *inv, struct error *e)
{
	struct overlay *o = node_overlay(l->node);
	const struct prefix all = overlay_prefix();
	int r = overlay_peer_add(o, &l->manager, inv->manager, inv->psk, &inv->claim, l);

	if (r)
		return error_errno(e, r, "the manager's key in the invite");
	r = overlay_route_add(o, &all, l->manager);
	if (r)
		return error_errno(e, r, "route");
	use_endpoint(l);
	overlay_peer_persist(o, l->manager, true, clock_boot());
	return 0;
}

/* The socket is of the family of the first endpoint: a machine without IPv6 has no wildcard of it. */
static int start_node(struct link *l, const struct identity *id, struct error *e)
{
	static const struct node_ops node_ops = {.inner = on_inner,
						 .established = on_established,
						 .away = on_away,
						 .back = on_back,
						 .stamp = on_stamp};
	static const struct netstack_ops stack_ops = {on_output, on_syn, on_cancel,
						      on_open,	 on_udp, on_echo};
	struct node_config nc = {
		.base = l->a->base, .identity = *id, .last_stamp = l->a->keep.stamp};
	int r;

	sockaddr_parse(&nc.bind, l->endpoint[0].sa.sa_family == AF_INET6 ? "[::]:0" : "0.0.0.0:0");
	r = node_new(&l->node, &nc, &node_ops, l, e);
	crypto_wipe(&nc.identity, sizeof(nc.identity));
	return r ? r : netstack_new(&l->ns, l->a->base, &stack_ops, l, NULL, e);
}

static void take_endpoints(struct link *l, const struct invite *inv)
{
	l->nendpoints = 0;
	for (unsigned i = 0; i < inv->nendpoints; i++) {
		if (sockaddr_parse(&l->endpoint[l->nendpoints], inv->endpoint[i]) == 0)
			l->nendpoints++;
	}
}

static void stop(struct link *l)
{
	control_free(l->control);
	netstack_free(l->ns);
	node_free(l->node);
	l->control = NULL;
	l->ns = NULL;
	l->node = NULL;
	l->manager = NULL;
	l->up = false;
}

static int start(struct link *l, struct error *e)
{
	struct invite inv;
	struct identity id;
	struct ipaddr manager;
	int r = keep_identity(l->a, &inv, &id, e);

	if (r)
		return r;
	take_endpoints(l, &inv);
	l->started = clock_boot();
	l->address = overlay_stack_addr(id.pub);
	manager = overlay_stack_addr(inv.manager);
	r = l->nendpoints ? start_node(l, &id, e)
			  : error_set(e, -EINVAL, "the invite has no endpoint");
	if (r == 0 && control_new(&l->control, l->a, &manager))
		r = error_errno(e, -ENOMEM, "start");
	if (r == 0)
		r = start_peer(l, &inv, e);
	crypto_wipe(&inv, sizeof(inv));
	crypto_wipe(&id, sizeof(id));
	if (r)
		stop(l);
	return r;
}

static void wait(struct link *l, int seconds)
{
	const struct timeval tv = {.tv_sec = seconds};

	evtimer_add(l->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	nsec_t now = clock_boot();
	struct error e;

	(void)fd;
	(void)what;
	if (!l->node) {
		if (start(l, &e)) {
			log_error("overlay: %s; passing traffic through, trying again in %d s",
				  e.text, START_RETRY_S);
			wait(l, START_RETRY_S);
			return;
		}
	} else if (!l->up && l->nendpoints > 1) {
		l->at = (l->at + 1) % l->nendpoints;
		use_endpoint(l);
	}
	if (l->a->keep.stamp != l->saved_stamp && now - l->saved > STAMP_SAVE_S * NSEC_PER_SEC) {
		l->saved_stamp = l->a->keep.stamp;
		l->saved = now;
		keep_save(l->a);
	}
	wait(l, NEXT_ENDPOINT_S);
}

/* --- front ----------------------------------------------------------------------------------------------------------- */

int link_new(struct link **lp, struct agent *a)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	*l = (struct link){.a = a, .saved_stamp = a->keep.stamp};
	l->timer = evtimer_new(a->base, on_timer, l);
	if (!l->timer) {
		free(l);
		return -ENOMEM;
	}
	*lp = l;
	wait(l, 0);
	return 0;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	stop(l);
	event_free(l->timer);
	free(l);
}

struct netstack *link_netstack(const struct link *l)
{
	return l ? l->ns : NULL;
}

bool link_usable(const struct link *l)
{
	return l && l->ns && (l->up || clock_boot() - l->started < STARTING_S * NSEC_PER_SEC);
}

const struct ipaddr *link_address(const struct link *l)
{
	return &l->address;
}
