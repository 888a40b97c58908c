/* SPDX-License-Identifier: Apache-2.0 */
/* TCP: whose a segment is, who is charged for a connection, connections that we open. */
#include <errno.h>
#include <sys/random.h>

#include "netstack/ip_layer.h"
#include "netstack/tcp.h"

enum { PORT_FIRST = 32768, PORT_COUNT = 28232 }; /* as Linux: 32768 to 60999 */
enum { PIECE = 16 << 10 };

/* --- peers --- */

static struct tcp_peer *peer_find(const struct tcp_layer *t, const void *token, uint64_t hash)
{
	for (struct hash_node *n = hash_first(&t->peers, hash); n; n = hash_next(n)) {
		struct tcp_peer *p = container_of(n, struct tcp_peer, node);
		if (p->token == token)
			return p;
	}
	return NULL;
}

struct tcp_peer *tcp_peer_get(struct tcp_layer *t, void *token)
{
	uint64_t hash = hash_of(&t->peers, &token, sizeof(token));
	struct tcp_peer *p = peer_find(t, token, hash);

	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		p->t = t;
		p->token = token;
		hash_insert(&t->peers, &p->node, hash);
	}
	p->refs++;
	return p;
}

void tcp_peer_put(struct tcp_layer *t, struct tcp_peer *p)
{
	if (--p->refs)
		return;
	if (!p->gone)
		hash_remove(&t->peers, &p->node);
	free(p);
}

bool tcp_may_open(struct tcp_layer *t, const struct tcp_peer *p)
{
	struct netstack *ns = t->ns;

	if (ns->stats.conns < ns->limits.conns && p->conns < ns->limits.conns_per_peer)
		return true;
	netstack_drop(ns, NS_DROP_CONN_LIMIT);
	return false;
}

static void uncharge(u8_t id, void *data)
{
	struct tcp_peer *p = data;

	(void)id;
	if (!p)
		return; /* the listener's */
	p->t->ns->stats.conns--;
	p->conns--;
	tcp_peer_put(p->t, p);
}

/* The passive_open half matters on the listener alone: lwIP asks the listener's, about the new PCB. */
static const struct tcp_ext_arg_callbacks charge_callbacks = {
	.destroy = uncharge,
	.passive_open = syn_passive_open,
};

void tcp_charge(struct tcp_pcb *pcb, struct tcp_peer *p)
{
	p->refs++;
	p->conns++;
	p->t->ns->stats.conns++;
	tcp_ext_arg_set(pcb, EXT_PEER, p);
	tcp_ext_arg_set_callbacks(pcb, EXT_PEER, &charge_callbacks);
}

void netstack_forget_peer(struct netstack *ns, void *token)
{
	struct tcp_layer *t = ns->tcp;
	struct tcp_peer *p = peer_find(t, token, hash_of(&t->peers, &token, sizeof(token)));

	if (!p)
		return;
	/* The token's address may soon be another peer's. */
	hash_remove(&t->peers, &p->node);
	p->gone = true;
	p->refs++;
	syn_forget(ns, p);
	t->abort_error = -ECONNRESET;
	lwip_enter();
	for (struct tcp_pcb *pcb = tcp_active_pcbs, *next; pcb; pcb = next) {
		next = pcb->next;
		if (tcp_ext_arg_get(pcb, EXT_PEER) == p)
			tcp_abort(pcb);
	}
	t->abort_error = -ETIMEDOUT;
	lwip_leave();
	tcp_peer_put(t, p);
}

/* --- in --- */

/*
 * Windows closed at the limit; what still comes was offered before. A quarter more, then it is lost,
 * as on any network. But a connection that holds nothing gets the next piece of its stream: the
 * memory may be what others never read.
 */
static bool may_keep(const struct netstack *ns, const struct tcp_pcb *pcb, uint32_t seq, size_t len)
{
	if (ns->stats.memory <= ns->limits.memory + ns->limits.memory / 4)
		return true;
	const struct tcp_stream *st = pcb ? tcp_ext_arg_get(pcb, EXT_STREAM) : NULL;
	return st && !st->rx_first && seq == pcb->rcv_nxt && len <= PIECE;
}

void tcp_packet(struct netstack *ns, const struct ip_info *info, const uint8_t *data, void *token)
{
	const uint8_t *tcp = data + info->l4;
	size_t len = info->total - info->l4, header = (size_t)(tcp[12] >> 4) * 4;
	uint16_t sport = get_be16(tcp), dport = get_be16(tcp + 2);
	ip_addr_t local, remote;

	lwip_addr(&local, &info->dst);
	lwip_addr(&remote, &info->src);
	struct tcp_pcb *pcb = tcp_find(&local, dport, &remote, sport);

	bool syn = (tcp[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	if (pcb && pcb->state == TIME_WAIT && syn && TCP_SEQ_GT(get_be32(tcp + 4), pcb->rcv_nxt)) {
		tcp_abort(pcb); /* the port is used anew (RFC 1122, 4.2.2.13); sends nothing */
		pcb = NULL;
	}
	if (!pcb && (syn || (tcp[13] & TCP_RST))) {
		syn_packet(ns, info, data, token);
		return;
	}
	if (len > header && !may_keep(ns, pcb, get_be32(tcp + 4), len - header)) {
		netstack_drop(ns, NS_DROP_MEMORY);
		return;
	}
	struct tcp_stream *st = pcb ? tcp_ext_arg_get(pcb, EXT_STREAM) : NULL;
	if (st)
		tcp_stream_rouse(st);
	if (lwip_input(ns, &info->src, &info->dst, tcp, len) < 0)
		netstack_drop(ns, NS_DROP_MEMORY);
}

/* An ICMP error about a connection that is being opened ends it; others are left to TCP (RFC 5927). */
void tcp_unreachable(const struct flow *flow, int err)
{
	ip_addr_t local, remote;

	lwip_addr(&local, &flow->src);
	lwip_addr(&remote, &flow->dst);
	struct tcp_pcb *pcb = tcp_find(&local, flow->sport, &remote, flow->dport);
	if (!pcb || pcb->state != SYN_SENT)
		return;
	struct tcp_stream *st = tcp_ext_arg_get(pcb, EXT_STREAM);
	tcp_err(pcb, NULL);
	tcp_abandon(pcb, 0);
	tcp_stream_fail(st, err);
}

/* --- out --- */

/* A free port: the 4-tuple has to be unique, not the port. Nearly always the first one tried. */
static int pick_port(struct tcp_layer *t, struct flow *flow)
{
	ip_addr_t local, remote;

	lwip_addr(&local, &flow->src);
	lwip_addr(&remote, &flow->dst);
	for (unsigned i = 0; i < PORT_COUNT; i++) {
		flow->sport = (uint16_t)(PORT_FIRST + t->next_port);
		t->next_port = (uint16_t)((t->next_port + 1) % PORT_COUNT);
		if (!tcp_find(&local, flow->sport, &remote, flow->dport))
			return 0;
	}
	return -EADDRNOTAVAIL;
}

static int connect_pcb(struct tcp_pcb *pcb, const struct flow *flow)
{
	ip_addr_t remote;

	lwip_addr(&pcb->local_ip, &flow->src);
	lwip_addr(&remote, &flow->dst);
	pcb->local_port = flow->sport;
	pcb->netif_idx = (u8_t)lwip_netif_index();
	tcp_nagle_disable(pcb);
	TCP_REG(&tcp_bound_pcbs, pcb); /* tcp_bind() would walk all connections */
	lwip_enter();
	err_t err = tcp_connect(pcb, &remote, flow->dport, tcp_stream_connected);
	lwip_leave();
	return err == ERR_OK ? 0 : -ENOMEM;
}

int netstack_connect(struct netstack *ns, const struct ipaddr *src, const struct ipaddr *dst,
		     uint16_t port, void *token, nsec_t timeout, struct stream **sp)
{
	struct tcp_layer *t = ns->tcp;

	if (src->family != dst->family || (src->family != 4 && src->family != 6) || !port)
		return -EINVAL;
	struct tcp_peer *p = tcp_peer_get(t, token);
	if (!p)
		return -ENOMEM;
	struct tcp_pcb *pcb = NULL;
	int err = -EMFILE;
	if (tcp_may_open(t, p)) {
		pcb = tcp_new();
		err = -ENOMEM;
	}
	if (pcb)
		tcp_charge(pcb, p);
	tcp_peer_put(t, p);
	if (!pcb)
		return err;
	struct flow flow = {.src = *src, .dst = *dst, .dport = port};
	err = pick_port(t, &flow);
	struct tcp_stream *st = err ? NULL : tcp_stream_new(ns, pcb, &flow);
	if (!st) {
		tcp_abort(pcb);
		return err ? err : -ENOMEM;
	}
	err = tcp_stream_connecting(st, timeout);
	if (!err)
		err = connect_pcb(pcb, &flow);
	if (err) {
		tcp_stream_free(st); /* resets */
		return err;
	}
	*sp = &st->s;
	return 0;
}

/* --- life --- */

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	struct netstack *ns = arg;

	(void)fd, (void)what;
	ns->tcp->flushing = true;
	syn_tell_failed(ns);
	tcp_stream_flush(ns);
	ns->tcp->flushing = false;
}

static void on_expire(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	syn_expire(arg);
}

void tcp_kick(struct netstack *ns)
{
	static const struct timeval now = {0};
	struct tcp_layer *t = ns->tcp;

	/* From within the flush, after the loop has looked at its descriptors again: a stream that
	 * stays readable must not keep the loop to itself. */
	if (t->flushing)
		evtimer_add(t->flush, &now);
	else
		event_active(t->flush, EV_TIMEOUT, 0);
}

static int listener_new(struct tcp_layer *t)
{
	struct tcp_pcb *pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);

	if (!pcb)
		return -ENOMEM;
	tcp_bind_netif(pcb, netif_get_by_index((u8_t)lwip_netif_index()));
	/* Not bound: port 0 takes all (02-wildcard.patch). */
	struct tcp_pcb *listener = tcp_listen_with_backlog(pcb, 0);
	if (!listener) {
		tcp_abort(pcb);
		return -ENOMEM;
	}
	tcp_accept(listener, tcp_stream_accept);
	tcp_ext_arg_set_callbacks(listener, EXT_PEER, &charge_callbacks);
	tcp_arg(listener, t);
	t->listener = listener;
	return 0;
}

int tcp_layer_new(struct netstack *ns)
{
	struct tcp_layer *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->ns = ns;
	t->abort_error = -ETIMEDOUT;
	TAILQ_INIT(&t->waiting);
	TAILQ_INIT(&t->failed);
	TAILQ_INIT(&t->all);
	TAILQ_INIT(&t->ready);
	TAILQ_INIT(&t->dirty);
	TAILQ_INIT(&t->starved);
	TAILQ_INIT(&t->blocked);
	ns->tcp = t;
	t->flush = evtimer_new(ns->base, on_flush, ns);
	t->expire = evtimer_new(ns->base, on_expire, ns);
	int err = t->flush && t->expire ? 0 : -ENOMEM;
	if (!err && getrandom(&t->next_port, sizeof(t->next_port), 0) != sizeof(t->next_port))
		err = -EIO;
	t->next_port %= PORT_COUNT;
	if (!err)
		err = hash_init(&t->peers);
	if (!err)
		err = hash_init(&t->syns);
	if (!err)
		err = lwip_start(ns);
	if (!err) {
		t->started = true;
		err = listener_new(t);
	}
	if (err)
		tcp_layer_free(ns);
	return err;
}

static void drop_all(struct tcp_layer *t)
{
	struct netstack_syn *syn;

	struct tcp_stream *st;

	lwip_enter();
	while ((st = TAILQ_FIRST(&t->all)))
		tcp_stream_free(st);
	while (tcp_active_pcbs)
		tcp_abort(tcp_active_pcbs);
	while (tcp_tw_pcbs)
		tcp_abort(tcp_tw_pcbs);
	if (t->listener)
		tcp_close(t->listener);
	lwip_stop(); /* in place of lwip_leave(): nothing is sent any more */
	while ((syn = TAILQ_FIRST(&t->waiting)))
		syn_free(syn);
	while ((syn = TAILQ_FIRST(&t->failed))) {
		TAILQ_REMOVE(&t->failed, syn, link);
		syn_free(syn);
	}
}

void tcp_layer_free(struct netstack *ns)
{
	struct tcp_layer *t = ns->tcp;

	if (t->started)
		drop_all(t);
	if (t->flush)
		event_free(t->flush);
	if (t->expire)
		event_free(t->expire);
	hash_fini(&t->peers);
	hash_fini(&t->syns);
	free(t);
	ns->tcp = NULL;
}
