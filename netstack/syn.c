/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of SYNs: dial first. A record lives from the SYN until the program has answered; accepted, its
 * copy of the SYN is played into lwIP, and the record goes with the handshake until tcp_open() or
 * tcp_cancel().
 */
#include <errno.h>

#include "netstack/ip_layer.h"
#include "netstack/tcp.h"

enum { SYN_HEADERS_MAX = 512 };

static struct netstack_syn *syn_find(struct tcp_layer *t, const struct flow *flow, uint64_t hash)
{
	for (struct hash_node *n = hash_first(&t->syns, hash); n; n = hash_next(n)) {
		struct netstack_syn *syn = container_of(n, struct netstack_syn, node);
		if (flow_equal(&syn->flow, flow))
			return syn;
	}
	return NULL;
}

/* No padding in the key: it is hashed as bytes. */
static uint64_t syn_hash(const struct tcp_layer *t, const struct flow *flow)
{
	uint8_t key[36];

	memcpy(key, flow->src.b, 16);
	memcpy(key + 16, flow->dst.b, 16);
	put_be16(key + 32, flow->sport);
	put_be16(key + 34, flow->dport);
	return hash_of(&t->syns, key, sizeof(key));
}

static void expire_again(struct tcp_layer *t)
{
	struct netstack_syn *first = TAILQ_FIRST(&t->waiting);
	nsec_t now = clock_boot();

	if (!first || evtimer_pending(t->expire, NULL))
		return;
	nsec_t wait = first->expires > now ? first->expires - now : 0;
	struct timeval tv = {.tv_sec = (time_t)(wait / NSEC_PER_SEC),
			     .tv_usec = (suseconds_t)(wait % NSEC_PER_SEC / 1000)};
	evtimer_add(t->expire, &tv);
}

/* Out of the table: it no longer stands for its 4-tuple. */
static void unlink_waiting(struct netstack_syn *syn)
{
	struct tcp_layer *t = syn->ns->tcp;

	hash_remove(&t->syns, &syn->node);
	TAILQ_REMOVE(&t->waiting, syn, link);
	syn->ns->stats.syns--;
	syn->peer->syns--;
}

void syn_free(struct netstack_syn *syn)
{
	struct tcp_layer *t = syn->ns->tcp;

	if (syn->state == SYN_WAITING)
		unlink_waiting(syn);
	tcp_peer_put(t, syn->peer);
	free(syn);
}

/* tcp_cancel() now: only outside lwIP and for a record still waiting. */
static void cancel(struct netstack_syn *syn)
{
	struct netstack *ns = syn->ns;

	unlink_waiting(syn);
	syn->state = SYN_FAILED;
	if (ns->ops->tcp_cancel)
		ns->ops->tcp_cancel(ns->arg, syn, syn->ctx);
	syn_free(syn);
}

/* tcp_cancel() when lwIP has returned. */
static void fail(struct netstack_syn *syn)
{
	struct tcp_layer *t = syn->ns->tcp;

	syn->state = SYN_FAILED;
	syn->pcb = NULL;
	TAILQ_INSERT_TAIL(&t->failed, syn, link);
	tcp_kick(syn->ns);
}

void syn_tell_failed(struct netstack *ns)
{
	struct netstack_syn *syn;

	while ((syn = TAILQ_FIRST(&ns->tcp->failed))) {
		TAILQ_REMOVE(&ns->tcp->failed, syn, link);
		if (ns->ops->tcp_cancel)
			ns->ops->tcp_cancel(ns->arg, syn, syn->ctx);
		syn_free(syn);
	}
}

void syn_expire(struct netstack *ns)
{
	struct tcp_layer *t = ns->tcp;
	struct netstack_syn *syn;
	nsec_t now = clock_boot();

	while ((syn = TAILQ_FIRST(&t->waiting)) && syn->expires <= now)
		cancel(syn);
	expire_again(t);
}

void syn_forget(struct netstack *ns, const struct tcp_peer *p)
{
	struct netstack_syn *syn, *next;

	for (syn = TAILQ_FIRST(&ns->tcp->waiting); syn; syn = next) {
		next = TAILQ_NEXT(syn, link);
		if (syn->peer == p) {
			unlink_waiting(syn);
			fail(syn);
		}
	}
}

static struct netstack_syn *syn_new(struct netstack *ns, const struct ip_info *info,
				    const uint8_t *data, const struct flow *flow, void *token)
{
	struct tcp_layer *t = ns->tcp;
	const uint8_t *tcp = data + info->l4;
	size_t len = info->l4 + (size_t)(tcp[12] >> 4) * 4;

	if (len > SYN_HEADERS_MAX) {
		netstack_drop(ns, NS_DROP_TCP_HEADER);
		return NULL;
	}
	struct tcp_peer *peer = tcp_peer_get(t, token);
	struct netstack_syn *syn = peer ? malloc(sizeof(*syn) + len) : NULL;
	if (!syn) {
		if (peer)
			tcp_peer_put(t, peer);
		netstack_drop(ns, NS_DROP_MEMORY);
		return NULL;
	}
	*syn = (struct netstack_syn){
		.ns = ns,
		.peer = peer,
		.expires = clock_boot() + NETSTACK_SYN_TTL * NSEC_PER_SEC,
		.flow = *flow,
		.isn = get_be32(tcp + 4),
		.state = SYN_WAITING,
		.l4 = info->l4,
		.len = (uint16_t)len,
	};
	memcpy(syn->packet, data, len);
	return syn;
}

static void syn_arrived(struct netstack *ns, const struct ip_info *info, const uint8_t *data,
			const struct flow *flow, uint64_t hash, void *token)
{
	struct tcp_layer *t = ns->tcp;
	struct netstack_syn *syn = syn_new(ns, info, data, flow, token);

	if (!syn)
		return;
	bool room = ns->stats.syns < NETSTACK_SYN_MAX && syn->peer->syns < NETSTACK_SYN_PER_PEER;
	if (!room)
		netstack_drop(ns, NS_DROP_SYN_LIMIT);
	if (!room || !tcp_may_open(t, syn->peer)) {
		syn->state = SYN_FAILED; /* never was in the table */
		syn_free(syn);
		return;
	}
	hash_insert(&t->syns, &syn->node, hash);
	TAILQ_INSERT_TAIL(&t->waiting, syn, link);
	ns->stats.syns++;
	syn->peer->syns++;
	expire_again(t);
	ns->ops->tcp_syn(ns->arg, syn, flow, token);
}

void syn_packet(struct netstack *ns, const struct ip_info *info, const uint8_t *data, void *token)
{
	struct tcp_layer *t = ns->tcp;
	const uint8_t *tcp = data + info->l4;
	uint32_t seq = get_be32(tcp + 4);
	struct flow flow = {.src = info->src,
			    .dst = info->dst,
			    .sport = get_be16(tcp),
			    .dport = get_be16(tcp + 2)};
	uint64_t hash = syn_hash(t, &flow);
	struct netstack_syn *syn = syn_find(t, &flow, hash);

	if (tcp[13] & TCP_RST) {
		if (syn && (seq == syn->isn || seq == syn->isn + 1))
			cancel(syn);
		return;
	}
	if (syn && syn->isn == seq)
		return; /* a repeat */
	if (syn)
		cancel(syn); /* the port was used anew */
	syn_arrived(ns, info, data, &flow, hash, token);
}

void netstack_syn_set(struct netstack_syn *syn, void *ctx)
{
	syn->ctx = ctx;
}

/* --- the answer --- */

static void on_error(void *arg, err_t err)
{
	struct netstack_syn *syn = arg;

	(void)err;
	fail(syn);
}

/* lwIP has made a PCB for the SYN we play, and has not answered yet. */
err_t syn_passive_open(u8_t id, struct tcp_pcb_listen *lpcb, struct tcp_pcb *pcb)
{
	struct tcp_layer *t = lpcb->callback_arg;
	struct netstack_syn *syn = t->accepting;

	(void)id;
	if (!syn)
		return ERR_ABRT; /* a SYN that nobody accepted: cannot come here */
	t->accepting = NULL;
	syn->pcb = pcb;
	tcp_arg(pcb, syn);
	tcp_err(pcb, on_error);
	tcp_nagle_disable(pcb);
	tcp_charge(pcb, syn->peer);
	tcp_window_start(pcb);
	return ERR_OK;
}

void netstack_accept(struct netstack *ns, struct netstack_syn *syn)
{
	struct tcp_layer *t = ns->tcp;

	if (syn->state == SYN_FAILED)
		return; /* the peer was forgotten in this turn of the loop: tcp_cancel() is due */
	unlink_waiting(syn);
	if (!tcp_may_open(t, syn->peer)) {
		fail(syn);
		return;
	}
	syn->state = SYN_ACCEPTED;
	t->accepting = syn;
	int err = lwip_input(ns, &syn->flow.src, &syn->flow.dst, syn->packet + syn->l4,
			     syn->len - syn->l4);
	t->accepting = NULL;
	if (err < 0)
		netstack_drop(ns, NS_DROP_MEMORY);
	if (!syn->pcb && syn->state == SYN_ACCEPTED)
		fail(syn);
}

void netstack_reject(struct netstack *ns, struct netstack_syn *syn, enum netstack_reject how)
{
	uint8_t out[IP_BUILD_MAX];
	size_t len = 0;

	switch (how) {
	case REJECT_REFUSED:
		len = ip_build_rst(out, &syn->flow, syn->isn);
		break;
	case REJECT_UNREACHABLE:
		len = ip_build_unreachable(out, IP_UNREACHABLE_HOST, syn->packet, syn->len);
		break;
	case REJECT_PROHIBITED:
		len = ip_build_unreachable(out, IP_UNREACHABLE_PROHIBITED, syn->packet, syn->len);
		break;
	case REJECT_SILENT:
		break;
	}
	if (syn->state == SYN_FAILED) {
		/* Likewise; whoever rejects has let go of it, so that there is no tcp_cancel(). */
		TAILQ_REMOVE(&ns->tcp->failed, syn, link);
		len = 0;
	}
	syn_free(syn);
	struct pkt pkt = {.data = out, .len = (uint32_t)len};
	if (len)
		netstack_output(ns, &pkt);
}
