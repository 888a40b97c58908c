/* SPDX-License-Identifier: Apache-2.0 */
/* Two simulated nodes (sim.h), connected or not, and a tape of the datagrams between them. */
#pragma once

#include "sim.h"

enum { HELD_MAX = 64 };

/* A tap that keeps copies of what went out, and may lose some. */
struct tape {
	struct held {
		unsigned from;
		size_t len;
		uint8_t data[MSG_TOKEN_MAX_LEN];
	} held[HELD_MAX];
	unsigned count;
	int lose_type;	    /* messages of this type are lost; 0 = none */
	unsigned lose_from; /* ... of this node */
	unsigned types[MSG_TOKEN + 1];
};
static struct tape tape;

static inline bool record(struct sim *s, struct sim_node *from, const union sockaddr_any *to,
			  uint8_t *data, size_t len)
{
	(void)to;
	(void)s;
	struct held *h = &tape.held[tape.count++ % HELD_MAX];
	h->from = from->no;
	h->len = len;
	assert_true(len <= sizeof(h->data));
	memcpy(h->data, data, len);
	tape.types[data[0]]++;
	return !(tape.lose_type == data[0] && tape.lose_from == from->no);
}

static inline struct held *last_of(unsigned from, int type)
{
	for (unsigned i = tape.count; i && i + HELD_MAX > tape.count; i--) {
		struct held *h = &tape.held[(i - 1) % HELD_MAX];
		if (h->from == from && h->data[0] == type)
			return h;
	}
	fail_msg("no message %d from node %u", type, from);
	return NULL;
}

static inline void begin(struct sim *s, bool persist)
{
	sim_init(s, 7, 2);
	sim_order_keys(s);
	s->node[0].persist = s->node[1].persist = persist;
	tape = (struct tape){.count = 0};
	s->tap = record;
	sim_join_all(s);
}

static inline void connect_nodes(struct sim *s)
{
	overlay_peer_initiate(s->node[0].o, s->node[0].peer[1], false, s->now);
	sim_run_ms(s, 200);
	assert_non_null(s->node[0].peer[1]->current);
	assert_non_null(s->node[1].peer[0]->current);
}

/* Hands a datagram straight to a node, as if from `from`. */
static inline int inject(struct sim *s, unsigned to, const struct held *h,
			 const union sockaddr_any *from)
{
	struct path path = sim_path(from);
	cleanup(free_ptr) uint8_t *room = calloc(1, AEAD_HEAD + h->len + AEAD_TAIL);
	memcpy(room + AEAD_HEAD, h->data, h->len);
	return sim_deliver_raw(&s->node[to], &path, room + AEAD_HEAD, h->len);
}
