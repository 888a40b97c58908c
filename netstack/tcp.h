/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TCP half of netstack, over lwIP's raw API.
 *
 * Who runs when. lwIP calls back in the middle of its own work, where a program's reaction (close this
 * stream, forget that peer) would pull the ground from under it. So nothing of the program ever runs
 * inside lwIP: its callbacks here only change our state and put the stream on a list; packets that it
 * sends are gathered (lwip_ip.c) and leave when lwIP has returned; and a deferred event, still in the
 * same turn of the loop, delivers what has happened and lets lwIP send what was written meanwhile.
 * Every call into lwIP that may send stands between lwip_enter() and lwip_leave().
 */
#pragma once

#include <event2/event.h>
#include <sys/queue.h>

/* lwIP names the TCP flags by macros, with base/ip.h's values: its headers have to come last. */
#include "netstack/internal.h"

#include <lwip/priv/tcp_priv.h>

enum { EXT_PEER, EXT_STREAM }; /* LWIP_TCP_PCB_NUM_EXT_ARGS */

/* What one peer token is charged with. Outlives the token while connections of it wind up. */
struct tcp_peer {
	struct hash_node node;
	struct tcp_layer *t;
	void *token;
	unsigned refs; /* of syns and conns */
	unsigned syns, conns;
	bool gone;
};

enum syn_state {
	SYN_WAITING,  /* the program dials */
	SYN_ACCEPTED, /* played into lwIP */
	SYN_FAILED,   /* tcp_cancel() is due */
};

struct netstack_syn {
	struct hash_node node; /* while waiting */
	TAILQ_ENTRY(netstack_syn) link;
	struct netstack *ns;
	struct tcp_peer *peer;
	struct tcp_pcb *pcb; /* accepted */
	void *ctx;
	nsec_t expires;
	struct flow flow;
	uint32_t isn;
	enum syn_state state;
	uint16_t l4, len;
	uint8_t packet[]; /* headers only */
};

TAILQ_HEAD(syn_list, netstack_syn);

struct tx_chunk {
	STAILQ_ENTRY(tx_chunk) link;
	uint32_t size, filled, queued, acked; /* acked <= queued <= filled <= size */
	uint8_t data[];
};

struct tcp_stream {
	struct stream s;
	struct netstack *ns;
	struct tcp_pcb *pcb;	  /* NULL when lwIP has let go of it */
	struct netstack_syn *syn; /* until tcp_open() was told */
	struct event *timer;	  /* of netstack_connect() */
	TAILQ_ENTRY(tcp_stream) link, ready_link, dirty_link, starved_link;
	struct flow flow;
	unsigned want, turn;	    /* turn: of the flush in which it became ready */
	bool ready, dirty, starved; /* on which lists */
	bool blocked; /* on that list, by dirty_link: what carries its packets is full */
	bool absent;  /* its peer is: it waits, on no list of what is to be sent */
	bool connecting, eof, shut, fin_queued, error_told, orphan;
	uint8_t idle_polls;
	uint8_t ticks;	  /* of `timer`, until its time is over */
	uint64_t tx_seen; /* tx_acked at the last poll of an orphan */
	uint64_t tx_acked;

	struct pbuf *rx_first, *rx_last; /* each one a pbuf of its own; pbuf.tot_len has 16 bits */
	unsigned rx_count;
	uint32_t rx_bytes;
	uint32_t held;	    /* consumed while memory was short: window not given back yet */
	uint32_t wnd_limit; /* what we offer: grows when it is used up */
	uint32_t wnd_used;  /* consumed since it last grew */
	uint32_t busy_epoch, busy_bytes; /* see count_busy() */

	STAILQ_HEAD(tx_chunks, tx_chunk)
	tx;
	uint32_t tx_bytes;  /* filled, not acknowledged */
	uint32_t tx_queued; /* of these: known to lwIP */
	uint32_t cwnd;	    /* lwIP's, while its timers run and the stream waits */
};

TAILQ_HEAD(stream_list, tcp_stream);

struct tcp_layer {
	struct netstack *ns;
	struct tcp_pcb *listener;
	struct netstack_syn *accepting; /* whose SYN is being played */
	struct hash_table peers, syns;
	struct syn_list waiting; /* oldest first */
	struct syn_list failed;
	struct stream_list all, ready, dirty, starved, blocked;
	struct tcp_stream *current; /* whose callback runs; NULL when it freed itself */
	struct event *flush, *expire;
	bool started, flushing;
	unsigned turn;
	uint32_t busy_epoch;	    /* see count_busy() */
	unsigned busy, busy_before; /* streams in this one, and in the one before */
	int abort_error;	    /* what a connection that lwIP gives up says */
	uint16_t next_port;
};

/* --- lwip_ip.c: the IP layer under lwIP, and its clock */
int lwip_start(struct netstack *ns);
void lwip_stop(void);
void lwip_enter(void);
void lwip_leave(void);
void lwip_timer_start(void); /* something may be armed now */
void lwip_addr(ip_addr_t *to, const struct ipaddr *from);
struct ipaddr lwip_addr_of(const ip_addr_t *from);
uint16_t lwip_netif_index(void);
/* Gives lwIP the TCP segment of a packet. 0 or -ENOMEM. */
int lwip_input(struct netstack *ns, const struct ipaddr *src, const struct ipaddr *dst,
	       const uint8_t *segment, size_t len);
/* A received buffer, counted in stats.memory until it is freed. */
struct pbuf *rx_pbuf_new(struct netstack *ns, size_t len);
size_t rx_pbuf_room(const struct pbuf *p);

/* --- tcp.c */
int tcp_layer_new(struct netstack *ns);
void tcp_layer_free(struct netstack *ns);
void tcp_packet(struct netstack *ns, const struct ip_info *info, const uint8_t *data, void *peer);
/* `err` is what an ICMP error says about a segment of `flow`. */
void tcp_unreachable(const struct flow *flow, int err);
struct tcp_peer *tcp_peer_get(struct tcp_layer *t, void *token);
void tcp_peer_put(struct tcp_layer *t, struct tcp_peer *p);
/* Charges a new connection to a peer; the charge ends with the PCB. */
void tcp_charge(struct tcp_pcb *pcb, struct tcp_peer *p);
bool tcp_may_open(struct tcp_layer *t, const struct tcp_peer *p); /* counts when not */

/* --- syn.c */
/* A SYN or RST of no connection. */
void syn_packet(struct netstack *ns, const struct ip_info *info, const uint8_t *data, void *peer);
void syn_free(struct netstack_syn *syn);
void syn_tell_failed(struct netstack *ns);
void syn_expire(struct netstack *ns);
void syn_forget(struct netstack *ns, const struct tcp_peer *p);
err_t syn_passive_open(u8_t id, struct tcp_pcb_listen *lpcb, struct tcp_pcb *pcb);

/* --- tcp_tx.c: send memory. A chunk exists only while it holds bytes: an idle connection has none. */
int tcp_tx_reserve(struct stream *s, struct iovec *iov, int max);
void tcp_tx_commit(struct stream *s, size_t len);
ssize_t tcp_tx_writev(struct stream *s, const struct iovec *iov, int n);
bool tcp_tx_writable(const struct tcp_stream *st);
void tcp_tx_pump(struct tcp_stream *st); /* tells lwIP, as far as its queue takes it */
err_t tcp_tx_sent(void *arg, struct tcp_pcb *pcb, u16_t len);
void tcp_tx_free(struct tcp_stream *st);

/* --- tcp_window.c: receive windows */
enum { TCP_WINDOW_START = 64 << 10 };
void tcp_window_start(struct tcp_pcb *pcb);
void tcp_window_used(struct tcp_stream *st,
		     uint32_t len); /* the program has consumed so much: gives it back, or more */
void tcp_window_give(struct tcp_stream *st); /* what was held back, as memory allows */

/* --- tcp_stream.c */
void tcp_stream_ready(struct tcp_stream *st);	/* something to deliver */
void tcp_stream_dirty(struct tcp_stream *st);	/* something for lwIP */
void tcp_stream_starved(struct tcp_stream *st); /* waits for memory */
err_t tcp_stream_accept(void *arg, struct tcp_pcb *pcb, err_t err);
void tcp_stream_flush(struct netstack *ns);
void tcp_stream_hold_timers(struct netstack *ns); /* before lwIP's timers run, and after them */
void tcp_stream_release_timers(struct netstack *ns);
void tcp_stream_memory_freed(struct netstack *ns);
struct tcp_stream *tcp_stream_new(struct netstack *ns, struct tcp_pcb *pcb,
				  const struct flow *flow);
void tcp_stream_free(struct tcp_stream *st);
void tcp_stream_fail(struct tcp_stream *st, int error);
int tcp_stream_connecting(struct tcp_stream *st, nsec_t timeout);
err_t tcp_stream_connected(void *arg, struct tcp_pcb *pcb, err_t err);
void tcp_kick(struct netstack *ns); /* flush in this turn of the loop */

/* --- tcp_absence.c */
void tcp_stream_rouse(struct tcp_stream *st); /* its peer was heard, or it has no owner any more */
void tcp_stream_stop_timers(struct tcp_pcb *pcb);
void tcp_stream_drop_absent(struct netstack *ns); /* memory is short: those that hold some end */

static inline struct tcp_stream *tcp_stream_of(struct stream *s)
{
	return container_of(s, struct tcp_stream, s);
}

static inline bool tcp_memory_short(const struct netstack *ns)
{
	return ns->stats.memory >= ns->limits.memory;
}
