/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The laptop's packets: TUN, overlay node and netstack joined.
 *
 * The TUN is read level-triggered, at most TUN_BUDGET packets a turn, so that a busy application
 * cannot keep the node's socket from being read. What the node sends in a turn is flushed at its
 * end. While a stream to the manager is full it is not read at all: the kernel's queue tells the applications. While the manager is away
 * it is read all the same, since the kernel's TCP wants an answer (daemon/hold.h).
 */
#include <errno.h>
#include <event2/event.h>

#include "base/ip.h"
#include "base/log.h"
#include "chacha/chacha.h"
#include "daemon/flows.h"
#include "daemon/hold.h"
#include "daemon/intake.h"
#include "daemon/tunnel.h"
#include "netstack/netstack.h"
#include "node/node.h"
#include "tun/tun.h"

enum { TUN_BUDGET = 128 };
/* The API server is a detour, and pays for each byte. */
enum { RANK_UDP = 0, RANK_STREAM = 10 };

struct tunnel {
	const struct tunnel_ops *ops;
	void *arg;
	struct event_base *base;
	struct node *node;
	struct netstack *stack;
	struct intake *intake;
	struct overlay_peer *manager; /* NULL = not known yet */
	struct path stream;	      /* to it */
	bool has_stream;
	struct ipaddr stack_addr;
	struct tun *tun;
	struct event *tun_readable;
	bool paused;	   /* until writable() */
	struct hold *hold; /* while the manager is away; NULL = it is not */
	struct event *release;
	struct ipaddr v4, v6; /* the kernel's; family 0 = none */
	struct prefixes prefixes;
	struct tunnel_stats stats;
};

/* --- kernel to overlay --- */

static bool pause_when_full(struct tunnel *t)
{
	if (!t->manager || t->hold || node_ready(t->node, t->manager))
		return false;
	event_del(t->tun_readable);
	t->paused = true;
	return true;
}

/* False: there is nobody to keep it for, or it is not kept. */
static bool hold_back(struct tunnel *t, const struct pkt *pkt)
{
	uint8_t buf[HOLD_ANSWER];
	struct pkt answer;

	if (likely(!t->hold) || !hold_take(t->hold, pkt, clock_boot(), buf, &answer))
		return false;
	if (answer.len)
		tun_write(t->tun, &answer);
	return true;
}

static void on_tun(evutil_socket_t fd, short what, void *arg)
{
	struct tunnel *t = arg;
	struct ipaddr src, dst;
	struct pkt pkt;
	int i, n = 0;

	(void)fd;
	(void)what;
	for (i = 0; i < TUN_BUDGET && !pause_when_full(t) && (n = tun_read(t->tun, &pkt)) > 0;
	     i++) {
		/* Router solicitations and the like carry other sources; the manager would drop
		 * them. */
		if (ip_addrs(pkt.data, pkt.len, &src, &dst) ||
		    !(ipaddr_equal(&src, &t->v4) || ipaddr_equal(&src, &t->v6)))
			t->stats.tun_foreign++;
		else if (!hold_back(t, &pkt))
			node_send(t->node, &pkt);
	}
	node_flush(t->node);
	if (n < 0) {
		log_warn("tun: the device is gone: %s", strerror(-n));
		tunnel_drop_tun(t);
		t->ops->tun_gone(t->arg);
	}
}

/* --- overlay to kernel and stack --- */

/* The kernel talks to the cluster only: other members of the overlay reach our stack, where the intake decides. */
static void on_inner(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	struct tunnel *t = arg;
	struct prefix members = overlay_prefix();
	struct ipaddr src, dst;

	if (ip_addrs(pkt->data, pkt->len, &src, &dst)) {
		t->stats.inner_foreign++;
		return;
	}
	if (ipaddr_equal(&dst, &t->stack_addr))
		netstack_input(t->stack, pkt, p);
	else if (t->tun && !prefix_contains(&members, &src) &&
		 (ipaddr_equal(&dst, &t->v4) || ipaddr_equal(&dst, &t->v6)))
		tun_write(t->tun, pkt);
	else
		t->stats.inner_foreign++;
}

static void on_established(void *arg, struct overlay_peer *p, bool fresh)
{
	struct tunnel *t = arg;

	(void)p;
	t->ops->established(t->arg, fresh);
}

static void read_tun_again(struct tunnel *t)
{
	if (t->paused && t->tun_readable &&
	    (!t->manager || t->hold || node_ready(t->node, t->manager)) &&
	    !event_add(t->tun_readable, NULL))
		t->paused = false;
}

static void on_away(void *arg, struct overlay_peer *p)
{
	struct tunnel *t = arg;

	(void)p;
	if (t->hold)
		event_del(t->release); /* it was back for less than a turn */
	else if (hold_new(&t->hold, clock_boot()))
		log_warn("out of memory: connections may end while the manager is away");
	read_tun_again(t);
	netstack_absent(t->stack, NULL, true);
	t->ops->away(t->arg);
}

/* Its first message is still being taken in: only then is there a session and a path to send on. */
static void on_back(void *arg, struct overlay_peer *p)
{
	struct tunnel *t = arg;

	(void)p;
	if (t->hold)
		event_active(t->release, EV_TIMEOUT, 0);
	netstack_absent(t->stack, NULL, false);
	t->ops->back(t->arg);
}

static void to_overlay(void *arg, struct pkt *pkt)
{
	struct tunnel *t = arg;

	node_send(t->node, pkt);
}

static void on_release(evutil_socket_t fd, short what, void *arg)
{
	struct tunnel *t = arg;
	const struct hold_stats *st = hold_stats(t->hold);

	(void)fd;
	(void)what;
	t->stats.hold_answered += st->answered;
	t->stats.hold_full += st->full;
	hold_release(t->hold, to_overlay, t);
	hold_free(t->hold);
	t->hold = NULL;
	node_flush(t->node);
}

static void on_stamp(void *arg, nsec_t last)
{
	struct tunnel *t = arg;

	t->ops->stamp(t->arg, last);
}

static void on_path_gone(void *arg, const struct path *path, int error)
{
	struct tunnel *t = arg;

	if (!t->has_stream || path->transport != t->stream.transport)
		return;
	t->has_stream = false;
	t->ops->stream_gone(t->arg, error ? strerror(-error) : "closed");
}

static void on_writable(void *arg)
{
	struct tunnel *t = arg;

	read_tun_again(t);
	if (t->stack)
		netstack_resume(t->stack);
}

static const struct node_ops node_callbacks = {
	.writable = on_writable,
	.inner = on_inner,
	.established = on_established,
	.away = on_away,
	.back = on_back,
	.stamp = on_stamp,
	.path_gone = on_path_gone,
};

/* --- the stack's side --- */

/* All go by the manager. */
static bool on_full(void *arg, const struct ipaddr *dst)
{
	struct tunnel *t = arg;

	(void)dst;
	return t->manager && !node_ready(t->node, t->manager);
}

static void on_syn(void *arg, struct netstack_syn *syn, const struct flow *flow, void *peer)
{
	struct tunnel *t = arg;

	(void)peer;
	intake_syn(t->intake, syn, flow);
}

static void on_cancel(void *arg, struct netstack_syn *syn, void *ctx)
{
	(void)arg;
	(void)syn;
	intake_cancel(ctx);
}

static void on_open(void *arg, struct stream *s, void *ctx)
{
	(void)arg;
	intake_open(ctx, s);
}

static void on_udp(void *arg, const struct flow *flow, const uint8_t *data, size_t len, void *peer)
{
	struct tunnel *t = arg;

	(void)peer;
	intake_udp(t->intake, flow, data, len);
}

static void on_echo(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
		    size_t len, void *peer)
{
	struct tunnel *t = arg;

	(void)peer;
	netstack_echo_reply(t->stack, flow, seq, data, len);
}

static const struct netstack_ops stack_callbacks = {
	.output = to_overlay,
	.full = on_full,
	.tcp_syn = on_syn,
	.tcp_cancel = on_cancel,
	.tcp_open = on_open,
	.udp = on_udp,
	.echo = on_echo,
};

/* --- life --- */

static int make_node(struct tunnel *t, const struct tunnel_config *cfg, struct error *e)
{
	struct node_config nc = {
		.base = t->base,
		.identity = *cfg->identity,
		.last_stamp = cfg->last_stamp,
		.cipher = cipher_chacha(),
	};
	int err;

	/* The IPv6 wildcard takes both families; a kernel without IPv6 has only the other. */
	sockaddr_parse(&nc.bind, "[::]:0");
	err = node_new(&t->node, &nc, &node_callbacks, t, e);
	if (err) {
		sockaddr_parse(&nc.bind, "0.0.0.0:0");
		err = node_new(&t->node, &nc, &node_callbacks, t, e);
	}
	crypto_wipe(&nc.identity, sizeof(nc.identity));
	return err;
}

int tunnel_set_manager(struct tunnel *t, const uint8_t key[static KEY_LEN], const uint8_t *psk,
		       const struct invite_claim *claim, struct error *e)
{
	struct overlay *o = node_overlay(t->node);
	struct prefix all = overlay_prefix();
	int err = overlay_peer_add(o, &t->manager, key, psk, claim, t);

	if (err)
		return error_set(e, err, "the manager's key cannot be used: %s", strerror(-err));
	/* The hub is trusted to forward other nodes' packets (docs/protocol.md). */
	err = overlay_route_add(o, &all, t->manager);
	return err ? error_errno(e, err, "route to the manager") : 0;
}

static void free_tunnel(struct tunnel **tp)
{
	tunnel_free(*tp);
}

int tunnel_new(struct tunnel **tp, struct event_base *base, const struct tunnel_config *cfg,
	       const struct tunnel_ops *ops, void *arg, struct error *e)
{
	cleanup(free_tunnel) struct tunnel *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return error_errno(e, -ENOMEM, "tunnel");
	t->base = base;
	t->ops = ops;
	t->arg = arg;
	t->stack_addr = overlay_stack_addr(cfg->identity->pub);
	t->release = event_new(base, -1, 0, on_release, t);
	if (!t->release)
		return error_errno(e, -ENOMEM, "tunnel");
	err = make_node(t, cfg, e);
	if (!err)
		err = netstack_new(&t->stack, base, &stack_callbacks, t, NULL, e);
	if (!err)
		err = intake_new(&t->intake, base, t->stack, e);
	if (err)
		return err;
	*tp = steal_ptr(t);
	return 0;
}

void tunnel_free(struct tunnel *t)
{
	if (!t)
		return;
	tunnel_drop_tun(t);
	intake_free(t->intake);
	netstack_free(t->stack);
	node_free(t->node);
	hold_free(t->hold);
	if (t->release)
		event_free(t->release);
	free(t);
}

struct intake *tunnel_intake(struct tunnel *t)
{
	return t->intake;
}

struct node *tunnel_node(struct tunnel *t)
{
	return t->node;
}

struct overlay_peer *tunnel_manager(struct tunnel *t)
{
	return t->manager;
}

struct tunnel_stats tunnel_stats(const struct tunnel *t)
{
	struct tunnel_stats st = t->stats;

	if (t->hold) {
		st.held = hold_count(t->hold);
		st.hold_answered += hold_stats(t->hold)->answered;
		st.hold_full += hold_stats(t->hold)->full;
	}
	return st;
}

void tunnel_set_endpoint(struct tunnel *t, const union sockaddr_any *endpoint)
{
	struct path path = node_udp_path(t->node, endpoint);
	struct overlay *o = node_overlay(t->node);
	nsec_t now = clock_boot();

	overlay_peer_set_path(t->manager, &path);
	overlay_peer_persist(o, t->manager, true, now);
	overlay_peer_initiate(o, t->manager, true, now);
	node_flush(t->node);
}

/* One that is known already, or one too many, is no loss. */
static void add_path(struct tunnel *t, const struct path *path, unsigned rank)
{
	int err = overlay_path_add(node_overlay(t->node), t->manager, path, rank, clock_boot());

	if (err && err != -EEXIST)
		log_warn("manager: a way to it is left out: %s", strerror(-err));
	node_flush(t->node);
}

int tunnel_add_stream(struct tunnel *t, struct stream *s, struct error *e)
{
	struct path path;
	int err = node_add_stream(t->node, s, NULL, &path, e);

	if (err) {
		s->ops->abort(s);
		return err;
	}
	if (t->has_stream)
		node_drop_stream(t->node, &t->stream);
	t->stream = path;
	t->has_stream = true;
	add_path(t, &path, RANK_STREAM);
	return 0;
}

bool tunnel_is_stream(const struct tunnel *t, const struct path *path)
{
	return t->has_stream && path->transport == t->stream.transport;
}

void tunnel_add_udp(struct tunnel *t, const union sockaddr_any *endpoint)
{
	struct path path = node_udp_path(t->node, endpoint);

	add_path(t, &path, RANK_UDP);
}

void tunnel_call(struct tunnel *t)
{
	struct overlay *o = node_overlay(t->node);
	nsec_t now = clock_boot();

	overlay_peer_persist(o, t->manager, true, now);
	overlay_peer_initiate(o, t->manager, true, now);
	node_flush(t->node);
}

void tunnel_kick(struct tunnel *t)
{
	node_kick(t->node);
	node_flush(t->node);
}

int tunnel_set_prefixes(struct tunnel *t, const struct prefixes *set, struct error *e)
{
	struct overlay *o = node_overlay(t->node);
	char buf[ADDR_STRLEN];
	unsigned i;
	int err;

	for (i = 0; i < t->prefixes.n; i++)
		overlay_route_remove(o, &t->prefixes.p[i]);
	t->prefixes.n = 0;
	for (i = 0; i < set->n; i++) {
		err = overlay_route_add(o, &set->p[i], t->manager);
		if (err)
			return error_errno(e, err, "route %s", prefix_format(&set->p[i], buf));
		t->prefixes.p[t->prefixes.n++] = set->p[i];
	}
	return 0;
}

int tunnel_set_tun(struct tunnel *t, int fd, const struct ipaddr *v4, const struct ipaddr *v6,
		   struct error *e)
{
	int err;

	tunnel_drop_tun(t);
	err = tun_open(&t->tun, fd, e);
	if (err) {
		close(fd);
		return err;
	}
	t->v4 = *v4;
	t->v6 = *v6;
	t->tun_readable = event_new(t->base, tun_fd(t->tun), EV_READ | EV_PERSIST, on_tun, t);
	if (!t->tun_readable || event_add(t->tun_readable, NULL)) {
		tunnel_drop_tun(t);
		return error_errno(e, -ENOMEM, "tun");
	}
	return 0;
}

void tunnel_drop_tun(struct tunnel *t)
{
	if (t->tun_readable)
		event_free(t->tun_readable);
	t->tun_readable = NULL;
	t->paused = false;
	tun_close(t->tun);
	t->tun = NULL;
	t->v4 = t->v6 = (struct ipaddr){0};
}

static void to_kernel(void *arg, struct pkt *pkt)
{
	struct tunnel *t = arg;

	tun_write(t->tun, pkt);
}

unsigned tunnel_ask_flows(struct tunnel *t)
{
	return t->tun ? flows_ask(&t->v4, &t->v6, to_kernel, t) : 0;
}

int tunnel_connect(struct tunnel *t, uint16_t port, nsec_t timeout, struct stream **sp)
{
	struct ipaddr to = overlay_stack_addr(overlay_peer_pub(t->manager));

	return netstack_connect(t->stack, &t->stack_addr, &to, port, t->manager, timeout, sp);
}
