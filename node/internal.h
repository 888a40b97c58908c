/* SPDX-License-Identifier: Apache-2.0 */
/* Inside node/: the state that sending, receiving and the timers share. */
#pragma once

#include "node/merge.h"
#include "node/node.h"
#include "transport/transport.h"

struct event;

enum {
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

struct node {
	struct overlay *overlay;
	struct transport *udp;
	const struct node_ops *ops;
	void *arg;
	struct node_stats stats;

	struct event *timer; /* overlay_next() */
	/* Runs after the events of this turn of the loop: flush, look at the timers. */
	struct event *turn_end;
	bool turn_pending;
	int timer_fd;
	nsec_t timer_at; /* what `timer` is set to, 0 = off */

	struct batch out;
	struct merge *merge;
	uint8_t *segment;  /* a segment about to be sealed: AEAD_HEAD bytes into its memory */
	uint8_t *received; /* a packet just opened: the same */
	bool just_opened;  /* no callback has run since */
	uint8_t *memory;   /* of these three */
};

/* node.c: have the turn end with a flush and a look at the timers. */
void node_end_turn(struct node *n);

/* send.c: overlay_ops.unqueue */
void node_on_unqueue(void *arg, struct overlay_peer *p, const uint8_t *packet, size_t len);

/* receive.c: transport_ops and the coalescer's delivery */
void node_on_datagrams(void *arg, const struct path *from, const uint8_t *data, size_t len,
		       size_t stride);
void node_on_idle(void *arg);
void node_on_merged(void *arg, void *owner, struct pkt *pkt);
