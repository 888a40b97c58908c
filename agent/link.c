/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our member of the overlay: one peer, the manager, kept up for ever. While there is none (no invite, no room for our key),
 * starting is tried again every half minute; the ports do not depend on it.
 *
 * In a pod the manager is behind a Service, whose address is translated by flow: datagrams from our port may still go to a manager
 * that was replaced. So while handshakes fail we move to another port, which is another flow. Who we are, the stack and
 * what it carries stay.
 */
#include <errno.h>
#include <event2/event.h>

#include "agent/internal.h"
#include "base/file.h"
#include "base/log.h"
#include "chacha/chacha.h"
#include "netstack/netstack.h"
#include "node/node.h"

enum {
	START_RETRY_S = 30,
	NEXT_ENDPOINT_S = 5,
	STAMP_SAVE_S = 60,
	STARTING_S = 2,
	DOUBT_EVERY_S = 2,
	REBIND_S = 5,	   /* without an answer; doubled up to ... */
	REBIND_MAX_S = 40, /* ... since the wait may be for a manager that is not there */
};

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
	struct identity id;
	struct invite inv; /* in a pod: its manager and endpoints alone */
	bool up;
	nsec_t started;
	nsec_t unanswered; /* since when we wait for a session; 0 = we have one */
	nsec_t doubted;
	unsigned rebind_s;
	char token[TOKEN_MAX + 1];
	bool token_missing; /* told */
	nsec_t saved;	    /* when the stamp was */
	nsec_t saved_stamp;
};

/* --- from the node and the stack --------------------------------------------------------------------------------- */

static void on_inner(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	struct link *l = arg;

	(void)p;
	netstack_input(l->ns, pkt, l);
}

void link_laptops(struct link *l)
{
	const struct ipaddr manager = overlay_stack_addr(l->inv.manager);
	const struct rules *rules = &l->a->rules;

	if (!l->up)
		return;
	/* Nothing is sent before the loop's next turn: who is still away is not roused. */
	netstack_absent(l->ns, NULL, false);
	for (unsigned i = 0; i < rules->n; i++) {
		const struct rule *r = &rules->rule[i];

		if (!r->online && !ipaddr_equal(&r->address, &manager)) /* who says so is there */
			netstack_absent(l->ns, &r->address, true);
	}
}

static void answered(struct link *l)
{
	bool was_away = !l->up;

	l->up = true;
	l->unanswered = 0;
	l->rebind_s = REBIND_S;
	if (was_away)
		link_laptops(l);
}

static void on_established(void *arg, struct overlay_peer *p, bool fresh)
{
	struct link *l = arg;

	(void)p;
	if (fresh || !l->up)
		log_info("manager: session established");
	answered(l);
	rules_trust(&l->a->rules);
	if (l->control)
		control_kick(l->control);
}

static void on_away(void *arg, struct overlay_peer *p)
{
	struct link *l = arg;

	(void)p;
	l->up = false;
	if (!l->unanswered)
		l->unanswered = clock_boot();
	netstack_absent(l->ns, NULL, true);
	log_warn("manager: silent for %d s; the rules stay in force", PEER_DEAD_AFTER);
}

static void on_back(void *arg, struct overlay_peer *p)
{
	struct link *l = arg;

	(void)p;
	answered(l);
	log_info("manager: is back");
	rules_trust(&l->a->rules);
	if (l->control)
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

	if (l->node)
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

	(void)peer;
	if (!udp_answer(l->a, flow, data, len))
		netstack_udp_refuse(l->ns, flow);
}

static void on_udp_refused(void *arg, const struct flow *flow)
{
	struct link *l = arg;

	udp_refused(l->a, flow);
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

/* The kubelet writes a new one long before the old one expires. */
static void read_token(struct link *l)
{
	cleanup(free_ptr) char *text = NULL;
	size_t len = 0;
	struct error e;

	if (!l->a->cfg->token)
		return;
	if (file_read(l->a->cfg->token, TOKEN_MAX + 2, &text, &len, &e)) {
		if (!l->token_missing)
			log_error("token: %s; the manager will not know this pod", e.text);
		l->token_missing = true;
		return;
	}
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, l->token)) {
		l->token_missing = overlay_peer_set_token(l->manager, text, strlen(text)) != 0;
		if (l->token_missing)
			log_error("token: %s: is no token", l->a->cfg->token);
		else
			snprintf(l->token, sizeof(l->token), "%s", text);
	}
	crypto_wipe(text, len);
}

static int start_peer(struct link *l, struct error *e)
{
	struct overlay *o = node_overlay(l->node);
	const struct prefix all = overlay_prefix();
	bool pod = l->a->cfg->kubernetes;
	int r = overlay_peer_add(o, &l->manager, l->inv.manager, pod ? NULL : l->inv.psk,
				 pod ? NULL : &l->inv.claim, l);

	if (r)
		return error_errno(e, r, "the manager's key");
	r = overlay_route_add(o, &all, l->manager);
	if (r)
		return error_errno(e, r, "route");
	l->token[0] = '\0';
	read_token(l);
	use_endpoint(l);
	overlay_peer_persist(o, l->manager, true, clock_boot());
	return 0;
}

/* The socket is of the family of the first endpoint: a machine without IPv6 has no wildcard of it. */
static int start_node(struct link *l, struct error *e)
{
	static const struct node_ops ops = {.inner = on_inner,
					    .established = on_established,
					    .away = on_away,
					    .back = on_back,
					    .stamp = on_stamp};
	struct node_config nc = {
		.base = l->a->base,
		.identity = l->id,
		.last_stamp = l->a->keep.stamp,
		.cipher = cipher_chacha(),
	};
	int r;

	sockaddr_parse(&nc.bind, l->endpoint[0].sa.sa_family == AF_INET6 ? "[::]:0" : "0.0.0.0:0");
	r = node_new(&l->node, &nc, &ops, l, e);
	crypto_wipe(&nc.identity, sizeof(nc.identity));
	return r ? r : start_peer(l, e);
}

static void take_endpoints(struct link *l)
{
	l->nendpoints = 0;
	for (unsigned i = 0; i < l->inv.nendpoints; i++) {
		if (sockaddr_parse(&l->endpoint[l->nendpoints], l->inv.endpoint[i]) == 0)
			l->nendpoints++;
	}
}

/* A key per start of the program: in a pod it is the token that counts, and it need not outlive us. */
static int take_identity(struct link *l, struct error *e)
{
	const struct agent_config *cfg = l->a->cfg;

	if (!cfg->kubernetes)
		return keep_identity(l->a, &l->inv, &l->id, e);
	memcpy(l->inv.manager, cfg->manager, KEY_LEN);
	memcpy(l->inv.endpoint, cfg->endpoint, sizeof(l->inv.endpoint));
	l->inv.nendpoints = cfg->nendpoints;
	identity_generate(&l->id);
	return 0;
}

static void stop_node(struct link *l)
{
	node_free(l->node);
	l->node = NULL;
	l->manager = NULL;
	l->up = false;
}

static void stop(struct link *l)
{
	control_free(l->control);
	netstack_free(l->ns);
	stop_node(l);
	l->control = NULL;
	l->ns = NULL;
	crypto_wipe(&l->id, sizeof(l->id));
	crypto_wipe(&l->inv, sizeof(l->inv));
	crypto_wipe(l->token, sizeof(l->token));
}

static int start(struct link *l, struct error *e)
{
	static const struct netstack_ops ops = {.output = on_output,
						.tcp_syn = on_syn,
						.tcp_cancel = on_cancel,
						.tcp_open = on_open,
						.udp = on_udp,
						.echo = on_echo,
						.udp_refused = on_udp_refused};
	struct ipaddr manager;
	int r = take_identity(l, e);

	if (r)
		return r;
	take_endpoints(l);
	l->started = l->unanswered = clock_boot();
	l->rebind_s = REBIND_S;
	l->address = overlay_stack_addr(l->id.pub);
	manager = overlay_stack_addr(l->inv.manager);
	if (!l->nendpoints)
		r = error_set(e, -EINVAL, "the invite has no endpoint");
	if (r == 0)
		r = netstack_new(&l->ns, l->a->base, &ops, l, NULL, e);
	if (r == 0 && control_new(&l->control, l->a, &manager))
		r = error_errno(e, -ENOMEM, "start");
	if (r == 0)
		r = start_node(l, e);
	if (r)
		stop(l);
	return r;
}

/* Another port of ours, and so another flow through whatever translates addresses on the way. */
static void rebind(struct link *l)
{
	struct error e;

	log_info("manager: no answer for %u s; asking from another port", l->rebind_s);
	l->rebind_s = MIN(l->rebind_s * 2, (unsigned)REBIND_MAX_S);
	l->unanswered = clock_boot();
	stop_node(l);
	if (start_node(l, &e)) {
		log_error("overlay: %s; passing traffic through, trying again", e.text);
		stop_node(l);
	}
}

static void wait(struct link *l, int seconds)
{
	const struct timeval tv = {.tv_sec = seconds};

	evtimer_add(l->timer, &tv);
}

static void save_stamp(struct link *l, nsec_t now)
{
	if (l->a->keep.stamp == l->saved_stamp || now - l->saved <= STAMP_SAVE_S * NSEC_PER_SEC)
		return;
	l->saved_stamp = l->a->keep.stamp;
	l->saved = now;
	keep_save(l->a);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	struct error e;
	nsec_t now;

	(void)fd;
	(void)what;
	if (!l->ns && start(l, &e)) {
		log_error("overlay: %s; passing traffic through, trying again in %d s", e.text,
			  START_RETRY_S);
		wait(l, START_RETRY_S);
		return;
	}
	now = clock_boot();
	if (l->node) {
		read_token(l);
		if (!l->up && l->nendpoints > 1) {
			l->at = (l->at + 1) % l->nendpoints;
			use_endpoint(l);
		}
	}
	if (l->a->cfg->kubernetes &&
	    (!l->node || (l->unanswered && now - l->unanswered >= l->rebind_s * NSEC_PER_SEC)))
		rebind(l);
	save_stamp(l, now);
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

void link_leave(struct link *l)
{
	if (!l)
		return;
	control_free(l->control);
	l->control = NULL;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	stop(l);
	event_free(l->timer);
	free(l);
}

void link_doubt(struct link *l)
{
	nsec_t now = clock_boot();

	if (!l || !l->node || (l->doubted && now - l->doubted < DOUBT_EVERY_S * NSEC_PER_SEC))
		return;
	l->doubted = now;
	if (!l->unanswered)
		l->unanswered = now;
	read_token(l);
	overlay_peer_initiate(node_overlay(l->node), l->manager, true, now);
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
