/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated network for overlay tests: up to SIM_NODES overlays, one clock, bad links.
 *
 *   node 0 (.1) ---+
 *   node 1 (.2) ---+--- the net: loses, repeats, reorders, delays, cuts pairs apart
 *   node 2 (.3) ---+
 *
 * Beside the net there may be more links, each with an id of its own in `transport`: streams, or
 * other networks. They fail by themselves, and a stream that ended must not be named again.
 *
 * Everybody is everybody's peer, with the other's overlay /64 as route. Inner packets carry who
 * sent them to whom, their number and a pattern that follows from it; every arrival is checked
 * against that, so a packet delivered twice, to the wrong node, from the wrong peer or with one
 * byte changed ends the test.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "overlay/internal.h"

enum {
	SIM_NODES = 3,
	SIM_PACKETS = 1 << 15, /* per direction */
	SIM_MIN_PACKET = 64,
	SIM_NET = 1, /* transport ids: the net, and the links after it */
	SIM_LINKS = 8,
};

struct sim;

struct sim_node {
	struct sim *sim;
	unsigned no;
	struct identity id;
	struct overlay *o;
	struct overlay_peer *peer[SIM_NODES];
	union sockaddr_any addr;
	bool persist;
	nsec_t last_stamp;
	nsec_t clock_offset; /* of its wall clock */
	unsigned established, fresh, away, back, admits, moves;
};

struct sim_datagram {
	nsec_t at;
	uint64_t order;
	struct path from;
	union sockaddr_any to;
	size_t len;
	uint8_t *data;
	uint8_t room[];
};

struct sim_net { /* chances in 1/1000 */
	unsigned loss, repeat, reorder;
	nsec_t delay, jitter;
};

struct sim_link {
	struct sim_net net;
	bool dead;	      /* swallows all */
	bool gone[SIM_NODES]; /* this node knows that it has ended */
	uint64_t sent;	      /* datagrams that went in */
};

struct sim {
	uint64_t rng, seed;
	nsec_t now;
	unsigned nnodes;
	struct sim_node node[SIM_NODES];
	struct sim_net net;
	bool cut[SIM_NODES][SIM_NODES];
	struct sim_link link[SIM_LINKS + 2]; /* by transport id, from SIM_NET + 1 on */
	struct sim_datagram **heap;
	size_t nheap, heap_room;
	uint64_t order;
	/* per direction */
	uint32_t sent[SIM_NODES][SIM_NODES], arrived[SIM_NODES][SIM_NODES];
	uint8_t *seen[SIM_NODES][SIM_NODES];
	uint64_t datagrams; /* that went into the net */
	/* Sees every datagram before the net does; false = it is lost. Optional. */
	bool (*tap)(struct sim *s, struct sim_node *from, const union sockaddr_any *to,
		    uint8_t *data, size_t len);
	void *tap_arg;
	struct overlay_peer *(*admit)(struct sim_node *n, const uint8_t *pub,
				      const struct overlay_credential *cred,
				      const struct path *from);
};

/* A failure must name the seed: assert_true() alone would not. */
#define sim_check(s, cond)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "at %.3f s, CULVERT_SIM_SEED=%llu: %s\n",                  \
				(double)(s)->now / 1e9, (unsigned long long)(s)->seed, #cond);     \
			assert_true(cond);                                                         \
		}                                                                                  \
	} while (0)

static inline uint64_t sim_random(struct sim *s)
{
	uint64_t z = s->rng += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline uint64_t sim_below(struct sim *s, uint64_t n)
{
	return sim_random(s) % n;
}

static inline bool sim_chance(struct sim *s, unsigned permille)
{
	return sim_below(s, 1000) < permille;
}

/* --- datagrams in flight: a heap by arrival --------------------------------------------------- */

static inline bool sim_before(const struct sim_datagram *a, const struct sim_datagram *b)
{
	return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static inline void sim_push(struct sim *s, struct sim_datagram *d)
{
	if (s->nheap == s->heap_room) {
		s->heap_room = s->heap_room ? 2 * s->heap_room : 64;
		s->heap = realloc(s->heap, s->heap_room * sizeof(struct sim_datagram *));
		assert_non_null(s->heap);
	}
	size_t i = s->nheap++;
	for (; i && sim_before(d, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = d;
}

static inline struct sim_datagram *sim_pop(struct sim *s)
{
	struct sim_datagram *top = s->heap[0], *last = s->heap[--s->nheap];
	size_t i = 0;
	for (size_t c; (c = 2 * i + 1) < s->nheap; i = c) {
		if (c + 1 < s->nheap && sim_before(s->heap[c + 1], s->heap[c]))
			c++;
		if (!sim_before(s->heap[c], last))
			break;
		s->heap[i] = s->heap[c];
	}
	if (s->nheap)
		s->heap[i] = last;
	return top;
}

static inline void sim_enqueue(struct sim *s, const union sockaddr_any *from,
			       const union sockaddr_any *to, uint32_t transport,
			       const uint8_t *data, size_t len, nsec_t at)
{
	struct sim_datagram *d = calloc(1, sizeof(*d) + AEAD_HEAD + len + AEAD_TAIL);
	assert_non_null(d);
	d->at = at;
	d->order = s->order++;
	d->from = (struct path){.transport = transport, .remote = *from};
	d->to = *to;
	d->len = len;
	d->data = d->room + AEAD_HEAD;
	memcpy(d->data, data, len);
	sim_push(s, d);
}

static inline struct sim_node *sim_at(struct sim *s, const union sockaddr_any *addr)
{
	for (unsigned i = 0; i < s->nnodes; i++)
		if (sockaddr_equal(&s->node[i].addr, addr))
			return &s->node[i];
	return NULL;
}

static inline void sim_transmit(struct sim_node *n, const struct path *path, const uint8_t *data,
				size_t len)
{
	struct sim *s = n->sim;
	cleanup(free_ptr) uint8_t *copy = malloc(len);
	assert_non_null(copy);
	memcpy(copy, data, len);
	s->datagrams++;
	struct sim_node *to = sim_at(s, &path->remote);
	if (s->tap && !s->tap(s, n, &path->remote, copy, len))
		return;
	struct sim_net *net = &s->net;
	if (path->transport != SIM_NET) {
		sim_check(s, path->transport > SIM_NET && path->transport < ARRAY_SIZE(s->link));
		struct sim_link *link = &s->link[path->transport];
		sim_check(s, !link->gone[n->no]);
		link->sent++;
		net = &link->net;
		if (link->dead)
			return;
	}
	if (!to || s->cut[n->no][to->no] || sim_chance(s, net->loss))
		return;
	for (unsigned copies = 1 + sim_chance(s, net->repeat); copies; copies--) {
		nsec_t at = s->now + net->delay;
		if (net->jitter)
			at += sim_below(s, net->jitter);
		if (sim_chance(s, net->reorder))
			at += sim_below(s, NSEC_PER_SEC / 2);
		sim_enqueue(s, &n->addr, &path->remote, path->transport, copy, len, at);
	}
}

/* --- the nodes' callbacks --------------------------------------------------------------------- */

static inline void sim_op_send(void *arg, const struct path *path, const uint8_t *data, size_t len)
{
	sim_transmit(arg, path, data, len);
}

static inline int sim_seal(struct sim_node *n, struct overlay_peer *p, const uint8_t *packet,
			   size_t len)
{
	size_t outlen = 0, room = AEAD_HEAD + MSG_DATA_OVERHEAD + ROUND_UP(len, 16) + AEAD_TAIL;
	cleanup(free_ptr) uint8_t *out = calloc(1, room);
	struct path path;
	assert_non_null(out);
	int r = overlay_seal(n->o, p, packet, len, out + AEAD_HEAD, &outlen, &path, n->sim->now);
	if (!r)
		sim_transmit(n, &path, out + AEAD_HEAD, outlen);
	return r;
}

static inline void sim_op_unqueue(void *arg, struct overlay_peer *p, uint8_t *packet, size_t len)
{
	struct sim_node *n = arg;
	sim_check(n->sim, sim_seal(n, p, packet, len) == 0);
}

static inline void sim_op_established(void *arg, struct overlay_peer *p, bool fresh)
{
	struct sim_node *n = arg;
	struct overlay_peer_stats st;
	overlay_peer_stats(p, &st);
	sim_check(n->sim, st.session);
	n->established++;
	n->fresh += fresh;
}

static inline void sim_op_away(void *arg, struct overlay_peer *p)
{
	struct sim_node *n = arg;
	sim_check(n->sim, n->sim->now - p->last_receive >= SECONDS(PEER_DEAD_AFTER));
	n->away++;
}

static inline void sim_op_back(void *arg, struct overlay_peer *p)
{
	struct sim_node *n = arg;
	(void)p;
	n->back++;
	sim_check(n->sim, n->back <= n->away);
}

static inline void sim_op_path_changed(void *arg, struct overlay_peer *p)
{
	struct sim_node *n = arg;
	const struct path *path = overlay_peer_path(p);
	sim_check(n->sim, !path || path->transport == SIM_NET ||
				  !n->sim->link[path->transport].gone[n->no]);
	n->moves++;
}

static inline struct overlay_peer *sim_op_admit(void *arg, const uint8_t pub[static KEY_LEN],
						const struct overlay_credential *cred,
						const struct path *from)
{
	struct sim_node *n = arg;
	n->admits++;
	return n->sim->admit ? n->sim->admit(n, pub, cred, from) : NULL;
}

static inline void sim_op_stamp(void *arg, nsec_t last)
{
	struct sim_node *n = arg;
	sim_check(n->sim, last > n->last_stamp);
	n->last_stamp = last;
}

static inline nsec_t sim_op_real(void *arg)
{
	struct sim_node *n = arg;
	return UINT64_C(1700000000) * NSEC_PER_SEC + n->sim->now + n->clock_offset;
}

/* --- inner packets ---------------------------------------------------------------------------- */

static inline uint8_t sim_pattern(unsigned from, unsigned to, uint32_t seq, size_t i)
{
	return (uint8_t)(seq * 31 + i * 7 + from * 101 + to * 53);
}

static inline void sim_packet(struct sim *s, unsigned from, unsigned to, uint32_t seq, uint8_t *b,
			      size_t len)
{
	struct ipaddr src = overlay_stack_addr(s->node[from].id.pub);
	struct ipaddr dst = overlay_stack_addr(s->node[to].id.pub);
	memset(b, 0, 40);
	b[0] = 0x60;
	put_be16(b + 4, (uint16_t)(len - 40));
	b[6] = 59; /* no next header */
	b[7] = 64;
	memcpy(b + 8, src.b, 16);
	memcpy(b + 24, dst.b, 16);
	b[40] = (uint8_t)from;
	b[41] = (uint8_t)to;
	put_be32(b + 42, seq);
	for (size_t i = 46; i < len; i++)
		b[i] = sim_pattern(from, to, seq, i);
}

static inline void sim_arrival(struct sim_node *n, const struct pkt *in,
			       const struct overlay_peer *p)
{
	struct sim *s = n->sim;
	const uint8_t *b = in->data;
	sim_check(s, in->len >= SIM_MIN_PACKET && b[0] == 0x60);
	sim_check(s, in->len == 40u + get_be16(b + 4));
	unsigned from = b[40], to = b[41];
	uint32_t seq = get_be32(b + 42);
	sim_check(s, from < s->nnodes && to == n->no && n->peer[from] == p);
	sim_check(s, seq < s->sent[from][to]);
	for (size_t i = 46; i < in->len; i++)
		sim_check(s, b[i] == sim_pattern(from, to, seq, i));
	sim_check(s, !s->seen[from][to][seq]);
	s->seen[from][to][seq] = 1;
	s->arrived[from][to]++;
}

static inline int sim_send_packet(struct sim_node *n, const uint8_t *packet, size_t len,
				  const struct ipaddr *dst)
{
	struct overlay_peer *p = overlay_route(n->o, dst);
	sim_check(n->sim, p != NULL);
	/* What sealing reads around the packet must exist. */
	cleanup(free_ptr) uint8_t *room = calloc(1, AEAD_HEAD + len + AEAD_TAIL);
	assert_non_null(room);
	memcpy(room + AEAD_HEAD, packet, len);
	int r = sim_seal(n, p, room + AEAD_HEAD, len);
	if (r == -EAGAIN)
		overlay_queue(n->o, p, packet, len, n->sim->now);
	return r;
}

/* Returns the number of the packet. */
static inline uint32_t sim_send_len(struct sim *s, unsigned from, unsigned to, size_t len)
{
	uint8_t b[INNER_MTU];
	uint32_t seq = s->sent[from][to]++;
	assert_true(seq < SIM_PACKETS);
	sim_packet(s, from, to, seq, b, len);
	struct ipaddr dst = overlay_stack_addr(s->node[to].id.pub);
	sim_send_packet(&s->node[from], b, len, &dst);
	return seq;
}

static inline uint32_t sim_send(struct sim *s, unsigned from, unsigned to)
{
	return sim_send_len(s, from, to,
			    SIM_MIN_PACKET + sim_below(s, INNER_MTU - SIM_MIN_PACKET + 1));
}

/* --- running ---------------------------------------------------------------------------------- */

static inline int sim_deliver_raw(struct sim_node *n, const struct path *from, const uint8_t *data,
				  size_t len)
{
	struct overlay_peer *p = NULL;
	struct pkt in;
	size_t room = AEAD_HEAD + len + AEAD_TAIL;
	cleanup(free_ptr) uint8_t *scratch = calloc(1, room);
	assert_non_null(scratch);
	int r = overlay_receive(n->o, from, data, len, scratch + AEAD_HEAD, &in, &p, n->sim->now);
	sim_check(n->sim, r == 0 || r == 1);
	if (r)
		sim_arrival(n, &in, p);
	return r;
}

/* Per peer at most three keypairs and one handshake; queues within their bounds. */
static inline void sim_check_bounds(struct sim_node *n)
{
	size_t peers = 0;
	for (struct overlay_peer *p = n->o->peers; p; p = p->next, peers++) {
		sim_check(n->sim, p->queue.count <= PEER_QUEUE_MAX);
		sim_check(n->sim, p->queue.bytes <= QUEUE_BYTES_MAX);
	}
	sim_check(n->sim, n->o->by_index.count <= 4 * peers);
}

static inline nsec_t sim_next(struct sim *s)
{
	nsec_t next = s->nheap ? s->heap[0]->at : 0;
	for (unsigned i = 0; i < s->nnodes; i++) {
		nsec_t t = overlay_next(s->node[i].o);
		if (t && (!next || t < next))
			next = t;
	}
	return next;
}

static inline void sim_run(struct sim *s, nsec_t until)
{
	for (nsec_t next; (next = sim_next(s)) && next <= until;) {
		s->now = MAX(s->now, next);
		while (s->nheap && s->heap[0]->at <= s->now) {
			struct sim_datagram *d = sim_pop(s);
			struct sim_node *to = sim_at(s, &d->to);
			if (to && !s->link[d->from.transport].gone[to->no])
				sim_deliver_raw(to, &d->from, d->data, d->len);
			free(d);
		}
		for (unsigned i = 0; i < s->nnodes; i++) {
			struct sim_node *n = &s->node[i];
			nsec_t t = overlay_next(n->o);
			if (!t || t > s->now)
				continue;
			overlay_tick(n->o, s->now);
			t = overlay_next(n->o);
			sim_check(s, !t || t > s->now); /* no spinning */
			sim_check_bounds(n);
		}
	}
	s->now = until;
}

static inline void sim_run_ms(struct sim *s, uint64_t ms)
{
	sim_run(s, s->now + ms * NSEC_PER_MSEC);
}

/* --- making ----------------------------------------------------------------------------------- */

static inline struct path sim_path(const union sockaddr_any *to)
{
	return (struct path){.transport = SIM_NET, .remote = *to};
}

static inline void sim_node_start(struct sim_node *n)
{
	static const struct overlay_ops ops = {
		.send = sim_op_send,
		.unqueue = sim_op_unqueue,
		.established = sim_op_established,
		.away = sim_op_away,
		.back = sim_op_back,
		.admit = sim_op_admit,
		.path_changed = sim_op_path_changed,
		.stamp = sim_op_stamp,
		.real = sim_op_real,
	};
	assert_int_equal(overlay_new(&n->o, &ops, n, &n->id, n->last_stamp), 0);
	overlay_seed_jitter(n->o, sim_random(n->sim));
	n->away = n->back = 0;
}

static inline struct overlay_peer *sim_join(struct sim_node *n, struct sim_node *other,
					    const uint8_t *psk)
{
	struct overlay_peer *p = NULL;
	struct prefix pre = overlay_prefix_of(other->id.pub);
	assert_int_equal(overlay_peer_add(n->o, &p, other->id.pub, psk, NULL, other), 0);
	assert_int_equal(overlay_route_add(n->o, &pre, p), 0);
	struct path path = sim_path(&other->addr);
	overlay_peer_set_path(p, &path);
	n->peer[other->no] = p;
	if (n->persist)
		overlay_peer_persist(n->o, p, true, n->sim->now);
	return p;
}

static inline void sim_address(struct sim_node *n, unsigned host, unsigned port)
{
	struct ipaddr ip = ipaddr_v4((const uint8_t[]){10, 0, (uint8_t)(host >> 8), (uint8_t)host});
	n->addr = sockaddr_from(&ip, (uint16_t)port);
}

/* Overlays without peers. */
static inline void sim_init(struct sim *s, uint64_t seed, unsigned nnodes)
{
	*s = (struct sim){.rng = seed, .seed = seed, .now = SECONDS(1000), .nnodes = nnodes};
	s->net.delay = 5 * NSEC_PER_MSEC;
	for (unsigned i = 0; i < ARRAY_SIZE(s->link); i++)
		s->link[i].net.delay = 20 * NSEC_PER_MSEC;
	for (unsigned i = 0; i < nnodes; i++) {
		struct sim_node *n = &s->node[i];
		uint8_t priv[KEY_LEN];
		for (unsigned k = 0; k < KEY_LEN; k += 8)
			put_le64(priv + k, sim_random(s));
		n->sim = s;
		n->no = i;
		assert_int_equal(identity_from_private(&n->id, priv), 0);
		sim_address(n, i + 1, 4000);
		sim_node_start(n);
		for (unsigned k = 0; k < nnodes; k++)
			s->seen[i][k] = calloc(1, SIM_PACKETS);
	}
}

static inline void sim_join_all(struct sim *s)
{
	for (unsigned i = 0; i < s->nnodes; i++)
		for (unsigned k = 0; k < s->nnodes; k++)
			if (i != k)
				sim_join(&s->node[i], &s->node[k], NULL);
}

/* The lower key's node first: tests of the tie-break want to know who wins. */
static inline void sim_order_keys(struct sim *s)
{
	assert_int_equal(s->nnodes, 2);
	struct sim_node *a = &s->node[0], *b = &s->node[1];
	if (memcmp(a->id.pub, b->id.pub, KEY_LEN) < 0)
		return;
	struct identity t = a->id;
	a->id = b->id;
	b->id = t;
	for (unsigned i = 0; i < 2; i++) {
		overlay_free(s->node[i].o);
		sim_node_start(&s->node[i]);
	}
}

static inline void sim_fini(struct sim *s)
{
	for (unsigned i = 0; i < s->nnodes; i++) {
		overlay_free(s->node[i].o);
		for (unsigned k = 0; k < s->nnodes; k++)
			free(s->seen[i][k]);
	}
	while (s->nheap)
		free(sim_pop(s));
	free(s->heap);
}

static inline uint64_t sim_drops(const struct sim *s, unsigned node, enum overlay_drop why)
{
	return overlay_drops(s->node[node].o)[why];
}

static inline uint64_t sim_env(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);
	return v ? strtoull(v, NULL, 10) : otherwise;
}

/* Each of CULVERT_SIM_RUNS seeds, or CULVERT_SIM_SEED alone, with all that happens. */
static inline void sim_seeds(void (*run)(uint64_t seed), bool *verbose, uint64_t runs)
{
	uint64_t seed = sim_env("CULVERT_SIM_SEED", 0);
	*verbose = seed != 0;
	if (seed) {
		run(seed);
		return;
	}
	runs = sim_env("CULVERT_SIM_RUNS", runs);
	for (seed = 1; seed <= runs; seed++)
		run(seed);
}
