/* SPDX-License-Identifier: Apache-2.0 */
/* Inside node/: the state that sending, receiving, the streams and the timers share. */
#pragma once

#include <sys/queue.h>

#include "node/merge.h"
#include "node/node.h"
#include "transport/transport.h"

struct event;

enum {
	UDP_ID = 0, /* in paths; streams have greater ones */
	/* What transport/ sends at once (TRANSPORT_BATCH less the outer headers). */
	BATCH_BYTES = 65000,
	BATCH_DATAGRAMS = 64,
	DATAGRAM_MAX = MSG_DATA_OVERHEAD + ROUND_UP(INNER_MTU, 16), /* of those we send */
};

/* Sealed datagrams of equal size to one path, one after the other in the arena. */
struct batch {
	struct path path;
	size_t len, stride;
	unsigned n;
	uint8_t *arena; /* AEAD_HEAD bytes into its memory */
};

TAILQ_HEAD(carrier_queue, carrier);
LIST_HEAD(carrier_list, carrier);

/* A stream that carries messages. */
struct carrier {
	struct node *node;
	struct transport *transport;
	uint32_t id;
	bool proven;		   /* something authentic has come ... */
	struct overlay_peer *peer; /* ... from here; compared only */
	bool gone;		   /* no path any more; freed at the end of the turn */
	bool forgotten;		   /* the overlay knows */
	int evicted;	    /* why path_gone() is to be told at the end of the turn; 0 = not */
	bool dirty;	    /* in node.dirty: has something to flush */
	struct ipaddr from; /* zero: we connected it */
	nsec_t prove_by;
	TAILQ_ENTRY(carrier) link; /* in node.unproven or node.gone */
	LIST_ENTRY(carrier) dirty_link;
};

struct node {
	struct overlay *overlay;
	struct event_base *base;
	struct transport *udp; /* NULL: none */
	const struct node_ops *ops;
	void *arg;
	struct node_stats stats;

	struct event *timer; /* overlay_next() */
	/* Runs after the events of this turn of the loop: flush, look at the timers. */
	struct event *turn_end;
	bool turn_pending;
	bool writable_due; /* at its end */
	int timer_fd;
	nsec_t timer_at; /* what `timer` is set to, 0 = off */

	struct batch out;
	struct merge *merge;
	uint8_t *segment;  /* a segment about to be sealed: AEAD_HEAD bytes into its memory */
	uint8_t *received; /* a packet just opened: the same */
	bool just_opened;  /* no callback has run since */
	uint8_t *memory;   /* of these three */

	/* Streams. An id's place is id % NODE_STREAMS; ids only grow, so none comes again. */
	struct carrier *carriers[NODE_STREAMS];
	uint32_t last_id;
	unsigned n_carriers, n_unproven;
	struct carrier_queue unproven, gone; /* unproven: the oldest first */
	struct carrier_list dirty;
	struct event *prove_timer;
	struct transport_stats past, *sum; /* of those that are freed; what stats() returned */

	/* A handshake message that came out of a call to seal, while its stream's queue was lent
	 * out. */
	bool sealing;
	struct path late_path;
	size_t late_len;
	uint8_t late[MSG_TOKEN_MAX_LEN];
};

/* NULL: gone, or there never was one. */
struct transport *node_transport(const struct node *n, const struct path *path);

/* carrier.c */
struct carrier *carrier_of(const struct node *n, const struct path *path);
int carriers_init(struct node *n);
void carriers_free(struct node *n);
void carriers_flush(struct node *n);
void carriers_reap(struct node *n); /* frees those that are gone */
void carrier_touch(struct carrier *c);
void carrier_prove(struct carrier *c, struct overlay_peer *p);

/* node.c: have the turn end with a flush and a look at the timers. */
void node_end_turn(struct node *n);
void node_tell_writable(struct node *n);

/* send.c: overlay_ops.send and .unqueue */
void node_on_send(void *arg, const struct path *path, const uint8_t *data, size_t len);
void node_on_unqueue(void *arg, struct overlay_peer *p, uint8_t *packet, size_t len);

/* receive.c: transport_ops and the coalescer's delivery */
void node_on_datagrams(void *arg, const struct path *from, const uint8_t *data, size_t len,
		       size_t stride);
void node_on_frame(void *arg, const struct path *from, const uint8_t *data, size_t len,
		   size_t stride);
void node_on_idle(void *arg);
void node_on_merged(void *arg, void *owner, struct pkt *pkt);
