/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lwIP's TCP stands on: the IP layer (in place of its ip4.c, ip6.c, netif.c), the received buffers,
 * the clock and the keyed hashes. There is one interface, it owns no address, and every connection names
 * both of its ends, so any destination is served and nothing is ever looked up.
 *
 * Packets that lwIP sends are gathered in an arena, one after the other, and leave by ops->output() when
 * lwIP is not running: see tcp.h.
 */
#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "netstack/tcp.h"

#include <lwip/memp.h>
#include <lwip/nd6.h>
#include <lwip/sys.h>
#include <lwip_hooks.h>

enum {
	ARENA_KEEP = 256 << 10, /* kept allocated when idle */
	ARENA_FIRST = 80 << 10, /* one super-packet and some */
	TICK_MS = TCP_TMR_INTERVAL,
	TICKS_AT_ONCE = 3, /* a loop that was held up does not make time jump (nor does sleep) */
	QUIET_TICKS = 50,  /* without traffic, then see whether anything is armed at all */
	IP4_HLEN_ = 20,
	IP6_HLEN_ = 40,
};

struct out_packet {
	uint32_t len;
	uint16_t gso;
	_Alignas(16) uint8_t data[];
};

struct arena {
	uint8_t *mem;
	size_t used, size;
};

static struct {
	struct netstack *ns; /* lwIP is global: one per process */
	struct netif netif;
	struct event *tick;
	bool ticking;
	unsigned quiet;
	nsec_t last_tick;
	unsigned depth;
	bool draining;
	struct arena arena;
	uint64_t key[2];
	uint16_t ip_id;
	unsigned long retransmits_before; /* of an earlier netstack */
} lw;

struct ip_globals ip_data;
u16_t tcp_wire_mss = 0xffff; /* set by lwIP before it sends a segment */
unsigned long tcp_retransmits;

struct rx_buf {
	struct pbuf_custom custom;
	struct netstack *ns;
	uint32_t size;
	_Alignas(8) uint8_t data[];
};

/* --- received buffers --- */

static void rx_pbuf_free(struct pbuf *p)
{
	struct rx_buf *b =
		container_of(container_of(p, struct pbuf_custom, pbuf), struct rx_buf, custom);

	b->ns->stats.memory -= sizeof(*b) + b->size;
	tcp_stream_memory_freed(b->ns);
	free(b);
}

struct pbuf *rx_pbuf_new(struct netstack *ns, size_t len)
{
	struct rx_buf *b = malloc(sizeof(*b) + len);

	if (!b)
		return NULL;
	b->ns = ns;
	b->size = (uint32_t)len;
	b->custom.custom_free_function = rx_pbuf_free;
	ns->stats.memory += sizeof(*b) + len;
	return pbuf_alloced_custom(PBUF_RAW, (u16_t)len, PBUF_REF, &b->custom, b->data, (u16_t)len);
}

/* Free bytes behind the payload. */
size_t rx_pbuf_room(const struct pbuf *p)
{
	const struct rx_buf *b =
		container_of(container_of(p, struct pbuf_custom, pbuf), struct rx_buf, custom);

	return (size_t)(b->data + b->size - ((const uint8_t *)p->payload + p->len));
}

/* --- in --- */

void lwip_addr(ip_addr_t *to, const struct ipaddr *from)
{
	memset(to, 0, sizeof(*to));
	if (from->family == 4) {
		memcpy(&ip_2_ip4(to)->addr, from->b, 4);
		IP_SET_TYPE_VAL(*to, IPADDR_TYPE_V4);
	} else {
		memcpy(ip_2_ip6(to)->addr, from->b, 16);
		IP_SET_TYPE_VAL(*to, IPADDR_TYPE_V6);
	}
}

struct ipaddr lwip_addr_of(const ip_addr_t *from)
{
	struct ipaddr a = {.family = IP_IS_V4(from) ? 4 : 6};

	if (a.family == 4)
		memcpy(a.b, &ip_2_ip4(from)->addr, 4);
	else
		memcpy(a.b, ip_2_ip6(from)->addr, 16);
	return a;
}

int lwip_input(struct netstack *ns, const struct ipaddr *src, const struct ipaddr *dst,
	       const uint8_t *segment, size_t len)
{
	struct pbuf *p = rx_pbuf_new(ns, len);

	if (!p)
		return -ENOMEM;
	memcpy(p->payload, segment, len);
	lwip_addr(&ip_data.current_iphdr_src, src);
	lwip_addr(&ip_data.current_iphdr_dest, dst);
	ip_data.current_netif = ip_data.current_input_netif = &lw.netif;
	lwip_timer_start();
	lwip_enter();
	tcp_input(p, &lw.netif);
	lwip_leave();
	return 0;
}

/* --- out --- */

static struct out_packet *arena_add(struct arena *a, size_t len)
{
	size_t need = ROUND_UP(sizeof(struct out_packet) + len, 16);

	if (a->used + need > a->size) {
		size_t size = MAX(MAX(a->size * 2, a->used + need), (size_t)ARENA_FIRST);
		uint8_t *mem = realloc(a->mem, size);
		if (!mem)
			return NULL;
		a->mem = mem;
		a->size = size;
	}
	struct out_packet *o = (struct out_packet *)(void *)(a->mem + a->used);
	a->used += need;
	return o;
}

static void arena_send(struct netstack *ns, const struct arena *a)
{
	for (size_t at = 0; a->mem && at < a->used;) {
		struct out_packet *o = (struct out_packet *)(void *)(a->mem + at);
		struct pkt pkt = {.data = o->data, .len = o->len, .gso = o->gso};
		at += ROUND_UP(sizeof(*o) + o->len, 16);
		netstack_output(ns, &pkt);
	}
}

void lwip_enter(void)
{
	lw.depth++;
}

void lwip_leave(void)
{
	lw.ns->stats.retransmits = tcp_retransmits - lw.retransmits_before;
	if (--lw.depth || lw.draining)
		return;
	/* What ops->output() makes lwIP send goes into a new arena, and out after this one. */
	lw.draining = true;
	while (lw.arena.used) {
		struct arena a = lw.arena;
		lw.arena = (struct arena){0};
		arena_send(lw.ns, &a);
		a.used = 0;
		if (!lw.arena.mem && a.size <= ARENA_KEEP)
			lw.arena = a;
		else
			free(a.mem);
	}
	lw.draining = false;
}

/* Room for IP header and segment, with the segment gathered in. NULL: lost, as on any network. */
static uint8_t *gather(struct pbuf *p, size_t ip_hlen)
{
	size_t len = ip_hlen + p->tot_len;

	if (len > PKT_MAX)
		return NULL;
	struct out_packet *o = arena_add(&lw.arena, len);
	if (!o)
		return NULL;
	pbuf_copy_partial(p, o->data + ip_hlen, p->tot_len, 0);
	size_t payload = p->tot_len - (size_t)(o->data[ip_hlen + 12] >> 4) * 4;
	o->len = (uint32_t)len;
	o->gso = payload > tcp_wire_mss ? tcp_wire_mss : 0;
	return o->data;
}

err_t ip4_output_if(struct pbuf *p, const ip4_addr_t *src, const ip4_addr_t *dest, u8_t ttl,
		    u8_t tos, u8_t proto, struct netif *netif)
{
	uint8_t *ip = gather(p, IP4_HLEN_);

	(void)netif;
	if (!ip)
		return ERR_OK;
	ip[0] = 0x45;
	ip[1] = tos;
	put_be16(ip + 2, (uint16_t)(IP4_HLEN_ + p->tot_len));
	put_be16(ip + 4, lw.ip_id++);
	put_be16(ip + 6, 0x4000); /* don't fragment: INNER_MTU holds everywhere */
	ip[8] = ttl;
	ip[9] = proto;
	memcpy(ip + 12, &src->addr, 4);
	memcpy(ip + 16, &dest->addr, 4);
	ip4_header_checksum(ip);
	return ERR_OK;
}

err_t ip6_output_if(struct pbuf *p, const ip6_addr_t *src, const ip6_addr_t *dest, u8_t hl, u8_t tc,
		    u8_t nexth, struct netif *netif)
{
	uint8_t *ip = gather(p, IP6_HLEN_);

	(void)netif;
	if (!ip)
		return ERR_OK;
	put_be32(ip, UINT32_C(6) << 28 | (uint32_t)tc << 20);
	put_be16(ip + 4, p->tot_len);
	ip[6] = nexth;
	ip[7] = hl;
	memcpy(ip + 8, src->addr, 16);
	memcpy(ip + 24, dest->addr, 16);
	return ERR_OK;
}

uint16_t lwip_netif_index(void)
{
	return netif_get_index(&lw.netif);
}

struct netif *netif_get_by_index(u8_t idx)
{
	return idx == netif_get_index(&lw.netif) ? &lw.netif : NULL;
}

struct netif *ip4_route(const ip4_addr_t *dest)
{
	(void)dest;
	return &lw.netif;
}

struct netif *ip6_route(const ip6_addr_t *src, const ip6_addr_t *dest)
{
	(void)src, (void)dest;
	return &lw.netif;
}

/* Never needed: connections are opened from a given address. */
const ip_addr_t *ip6_select_source_address(struct netif *netif, const ip6_addr_t *dest)
{
	(void)netif, (void)dest;
	return NULL;
}

u16_t nd6_get_destination_mtu(const ip6_addr_t *dest, struct netif *netif)
{
	(void)dest;
	return netif->mtu;
}

/* --- clock and hashes --- */

/* Round trips are measured with it. It stands still in sleep, as the ticks do: else an ACK that waited
 * for the machine to wake up would be a round trip of a night, and the next timeouts be at their cap. */
u32_t sys_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u32_t)((uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / NSEC_PER_MSEC);
}

u32_t netstack_tuple_hash(const ip_addr_t *local, u16_t lport, const ip_addr_t *remote, u16_t rport)
{
	struct {
		uint32_t local[4], remote[4];
		uint16_t lport, rport;
		uint32_t v6;
	} k = {.lport = lport, .rport = rport, .v6 = IP_IS_V6(local)};

	if (k.v6) {
		memcpy(k.local, ip_2_ip6(local)->addr, 16);
		memcpy(k.remote, ip_2_ip6(remote)->addr, 16);
	} else {
		k.local[0] = ip_2_ip4(local)->addr;
		k.remote[0] = ip_2_ip4(remote)->addr;
	}
	return (u32_t)siphash(lw.key, &k, sizeof(k));
}

u32_t netstack_isn(const ip_addr_t *local, u16_t lport, const ip_addr_t *remote, u16_t rport)
{
	uint64_t clock = clock_boot() / 4000; /* 4 us, as RFC 6528 has it */
	uint64_t pair[2] = {netstack_tuple_hash(local, lport, remote, rport), 0x49534e};

	return (u32_t)(siphash(lw.key, pair, sizeof(pair)) + clock);
}

/* --- timers --- */

static bool pcb_armed(const struct tcp_pcb *pcb)
{
	const tcpflags_t due = TF_ACK_DELAY | TF_ACK_NOW | TF_CLOSEPEND | TF_NAGLEMEMERR;
	const struct tcp_stream *st = tcp_ext_arg_get(pcb, EXT_STREAM);

	if (st && st->absent)
		return false;
	if (pcb->state != ESTABLISHED && pcb->state != CLOSE_WAIT &&
	    (pcb->state != FIN_WAIT_2 || (pcb->flags & TF_RXCLOSED)))
		return true;
	return pcb->rtime >= 0 || pcb->persist_backoff || pcb->unsent || pcb->ooseq ||
	       (pcb->flags & due) || (pcb->so_options & SOF_KEEPALIVE);
}

static bool anything_armed(void)
{
	if (tcp_tw_pcbs || !TAILQ_EMPTY(&lw.ns->tcp->blocked))
		return true;
	for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
		if (pcb_armed(pcb))
			return true;
	return false;
}

static void tick_again(void)
{
	static const struct timeval interval = {.tv_usec = TICK_MS * 1000};

	evtimer_add(lw.tick, &interval);
}

/* An idle laptop must not wake up 50 times a second for connections with nothing to do. */
static void tick(evutil_socket_t fd, short what, void *arg)
{
	nsec_t now = clock_boot();
	unsigned n = (unsigned)MIN((now - lw.last_tick) / (TICK_MS * NSEC_PER_MSEC), TICKS_AT_ONCE);

	(void)fd, (void)what, (void)arg;
	lw.last_tick = now;
	tcp_stream_hold_timers(lw.ns);
	lwip_enter();
	for (n = MAX(n, 1u); n; n--)
		tcp_tmr();
	lwip_leave();
	tcp_stream_release_timers(lw.ns);
	if (++lw.quiet >= QUIET_TICKS) {
		lw.quiet = 0;
		lw.ticking = anything_armed();
	}
	if (lw.ticking)
		tick_again();
}

void lwip_timer_start(void)
{
	lw.quiet = 0;
	if (lw.ticking)
		return;
	lw.ticking = true;
	lw.last_tick = clock_boot();
	tick_again();
}

void tcp_timer_needed(void)
{
	lwip_timer_start();
}

/* --- life --- */

int lwip_start(struct netstack *ns)
{
	static bool initialised;

	if (lw.ns)
		return -EBUSY;
	if (getrandom(lw.key, sizeof(lw.key), 0) != sizeof(lw.key))
		return -EIO;
	lw.tick = evtimer_new(ns->base, tick, NULL);
	if (!lw.tick)
		return -ENOMEM;
	if (!initialised) {
		mem_init();
		memp_init();
		tcp_init();
		initialised = true;
	}
	lw.ns = ns;
	lw.netif.mtu = INNER_MTU;
	lw.netif.num = 0;
	lw.ip_id = (uint16_t)lw.key[0];
	lw.retransmits_before = tcp_retransmits;
	return 0;
}

void lwip_stop(void)
{
	event_free(lw.tick);
	free(lw.arena.mem);
	memset(&lw, 0, sizeof(lw));
}
