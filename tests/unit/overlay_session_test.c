/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of two nodes: handshakes, routes, paths, and what forged or repeated datagrams cannot
 * do. */
#include "tape.h"

static void first_packet_starts_a_session(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	sim_send_len(&s, 0, 1, 100);
	struct overlay_peer_stats st;
	overlay_peer_stats(s.node[0].peer[1], &st);
	assert_int_equal(st.queued, 1);
	assert_false(st.session);
	sim_run_ms(&s, 100);
	assert_int_equal(s.arrived[0][1], 1);
	overlay_peer_stats(s.node[0].peer[1], &st);
	assert_true(st.session);
	assert_int_equal(st.queued, 0);
	assert_int_equal(st.rtt, 2 * s.net.delay);
	assert_int_equal(st.tx_bytes, 100);
	overlay_peer_stats(s.node[1].peer[0], &st);
	assert_int_equal(st.rx_packets, 1);
	assert_int_equal(st.rx_bytes, 100);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(s.node[i].established, 1);
		assert_int_equal(s.node[i].fresh, 1);
	}
	/* The waiting packet confirmed the keys: no keepalive was needed. */
	assert_int_equal(tape.types[MSG_DATA], 1);
	sim_fini(&s);
}

static void padding_stays_within_the_mtu(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	static const struct {
		size_t inner, outer;
	} sizes[] = {{64, 96},	   {65, 112},	 {80, 112},   {1408, 1440},
		     {1409, 1452}, {1419, 1452}, {1420, 1452}};
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		sim_send_len(&s, 0, 1, sizes[i].inner);
		assert_int_equal(last_of(0, MSG_DATA)->len, sizes[i].outer);
	}
	sim_run_ms(&s, 100);
	assert_int_equal(s.arrived[0][1], ARRAY_SIZE(sizes));
	sim_fini(&s);
}

static void lower_key_wins_when_both_start(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	sim_send(&s, 0, 1);
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 7);
	assert_int_equal(s.node[1].peer[0]->pending.index.value, 0); /* given up */
	assert_int_not_equal(s.node[0].peer[1]->pending.index.value, 0);
	sim_run_ms(&s, 100);
	assert_int_equal(s.arrived[0][1], 1);
	assert_int_equal(s.arrived[1][0], 1);
	assert_int_equal(tape.types[MSG_INITIATION], 2);
	assert_int_equal(tape.types[MSG_RESPONSE], 1);
	assert_true(s.node[0].peer[1]->current->initiator);
	assert_false(s.node[1].peer[0]->current->initiator);
	sim_fini(&s);
}

static void winner_with_a_wrong_path_yields(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	struct path nowhere = sim_path(&s.node[1].addr);
	nowhere.remote.in.sin_port ^= 1;
	overlay_peer_set_path(s.node[0].peer[1], &nowhere);
	sim_send(&s, 0, 1);
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 100);
	assert_int_equal(s.arrived[0][1], 1);
	assert_int_equal(s.arrived[1][0], 1);
	assert_false(s.node[0].peer[1]->current->initiator);
	sim_fini(&s);
}

/* Until the initiator has used the new keys, the responder must go on with the old ones. */
static void responder_waits_for_confirmation(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	uint32_t old = s.node[1].peer[0]->current->remote_index;
	tape.lose_type = MSG_RESPONSE;
	tape.lose_from = 1;
	overlay_peer_initiate(s.node[0].o, s.node[0].peer[1], true, s.now);
	sim_run_ms(&s, 50);
	assert_non_null(s.node[1].peer[0]->unconfirmed);
	sim_send(&s, 1, 0);
	assert_int_equal(get_le32(last_of(1, MSG_DATA)->data + 4), old);
	sim_run_ms(&s, 50);
	assert_int_equal(s.arrived[1][0], 1);
	tape.lose_type = 0;
	sim_run_ms(&s, 1000);
	assert_null(s.node[1].peer[0]->unconfirmed);
	sim_send(&s, 1, 0);
	assert_int_not_equal(get_le32(last_of(1, MSG_DATA)->data + 4), old);
	sim_run_ms(&s, 50);
	assert_int_equal(s.arrived[1][0], 2);
	sim_fini(&s);
}

static void queue_keeps_the_newest(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	s.cut[0][1] = true;
	for (unsigned i = 0; i < PEER_QUEUE_MAX + 72; i++)
		sim_send_len(&s, 0, 1, 64);
	assert_int_equal(s.node[0].peer[1]->queue.count, PEER_QUEUE_MAX);
	assert_int_equal(sim_drops(&s, 0, DROP_QUEUE_FULL), 72);
	s.cut[0][1] = false;
	sim_run_ms(&s, 6000);
	assert_int_equal(s.arrived[0][1], PEER_QUEUE_MAX);
	assert_int_equal(s.seen[0][1][71], 0);
	assert_int_equal(s.seen[0][1][72], 1);
	sim_fini(&s);
}

static void queue_is_bounded_in_bytes(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	s.cut[0][1] = true;
	cleanup(free_ptr) uint8_t *big = calloc(1, PKT_MAX + 1);
	for (unsigned i = 0; i < 100; i++)
		overlay_queue(s.node[0].o, s.node[0].peer[1], big, PKT_MAX, s.now);
	assert_true(s.node[0].peer[1]->queue.bytes <= QUEUE_BYTES_MAX);
	assert_int_equal(s.node[0].peer[1]->queue.count, QUEUE_BYTES_MAX / PKT_MAX);
	overlay_queue(s.node[0].o, s.node[0].peer[1], big, PKT_MAX + 1,
		      s.now); /* no packet at all */
	assert_int_equal(s.node[0].peer[1]->queue.count, QUEUE_BYTES_MAX / PKT_MAX);
	sim_fini(&s);
}

static void path_follows_what_is_authentic(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	sim_send(&s, 1, 0);
	struct held repeated = *last_of(1, MSG_DATA);
	sim_run_ms(&s, 50);
	s.cut[1][0] = true;
	sim_send(&s, 1, 0);
	s.cut[1][0] = false;
	struct held late = *last_of(1, MSG_DATA), forged = late;
	forged.data[forged.len - 1] ^= 1;
	union sockaddr_any old = s.node[1].addr;

	sim_address(&s.node[1], 77, 7777);
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 50);
	const union sockaddr_any *now_at = &overlay_peer_path(s.node[0].peer[1])->remote;
	assert_true(sockaddr_equal(now_at, &s.node[1].addr));
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 50);
	assert_int_equal(s.arrived[0][1], 1);

	/* A repeated, a forged and a late datagram from elsewhere move nothing; the late one is
	 * delivered. */
	assert_int_equal(inject(&s, 0, &repeated, &old), 0);
	assert_int_equal(sim_drops(&s, 0, DROP_REPLAY), 1);
	assert_int_equal(inject(&s, 0, &forged, &old), 0);
	assert_int_equal(sim_drops(&s, 0, DROP_AUTH), 1);
	assert_int_equal(inject(&s, 0, &late, &old), 1);
	assert_true(sockaddr_equal(now_at, &s.node[1].addr));
	sim_fini(&s);
}

static void repeated_messages_do_nothing(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 50);
	struct overlay_peer before = *s.node[1].peer[0];
	uint64_t sent = s.datagrams;
	assert_int_equal(inject(&s, 1, last_of(0, MSG_INITIATION), &s.node[0].addr), 0);
	assert_int_equal(inject(&s, 1, last_of(0, MSG_DATA), &s.node[0].addr), 0);
	assert_int_equal(inject(&s, 0, last_of(1, MSG_RESPONSE), &s.node[1].addr), 0);
	assert_int_equal(sim_drops(&s, 1, DROP_OLD_INITIATION), 1);
	assert_int_equal(sim_drops(&s, 1, DROP_REPLAY), 1);
	assert_int_equal(sim_drops(&s, 0, DROP_NO_SESSION), 1);
	assert_int_equal(s.datagrams, sent);
	assert_memory_equal(&before, s.node[1].peer[0], sizeof(before));
	sim_fini(&s);
}

/* Every message with each byte changed in turn: the peer's state keeps every bit,
 * nobody answers. */
static void forged_messages_leave_nothing(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	s.cut[0][1] = true;
	overlay_peer_initiate(s.node[0].o, s.node[0].peer[1], false, s.now);
	s.cut[0][1] = false;
	struct held initiation = *last_of(0, MSG_INITIATION);
	struct overlay_peer before = *s.node[1].peer[0];
	for (size_t i = 0; i < initiation.len - MAC_LEN; i++) { /* MAC2 counts under load only */
		struct held h = initiation;
		h.data[i] ^= 0x40;
		uint64_t sent = s.datagrams;
		inject(&s, 1, &h, &s.node[0].addr);
		assert_int_equal(s.datagrams, sent);
		assert_memory_equal(&before, s.node[1].peer[0], sizeof(before));
	}
	s.cut[1][0] = true;
	inject(&s, 1, &initiation, &s.node[0].addr);
	s.cut[1][0] = false;
	struct held response = *last_of(1, MSG_RESPONSE);
	before = *s.node[0].peer[1];
	for (size_t i = 0; i < response.len - MAC_LEN; i++) {
		struct held h = response;
		h.data[i] ^= 0x01;
		inject(&s, 0, &h, &s.node[1].addr);
		assert_memory_equal(&before, s.node[0].peer[1], sizeof(before));
	}
	inject(&s, 0, &response, &s.node[1].addr);
	sim_run_ms(&s, 50);
	assert_int_equal(s.node[0].established, 1);
	assert_int_equal(s.node[1].established, 1);
	sim_fini(&s);
}

static void clock_set_back(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	struct sim_node *n = &s.node[0];
	nsec_t last = n->last_stamp;
	n->clock_offset = 0 - SECONDS(3600);

	n->last_stamp = 0; /* not persisted: locked out */
	overlay_free(n->o);
	sim_node_start(n);
	sim_join(n, &s.node[1], NULL);
	overlay_peer_initiate(n->o, n->peer[1], false, s.now);
	sim_run_ms(&s, 100);
	assert_null(n->peer[1]->current);
	assert_int_equal(sim_drops(&s, 1, DROP_OLD_INITIATION), 1);

	n->last_stamp = last;
	overlay_free(n->o);
	sim_node_start(n);
	sim_join(n, &s.node[1], NULL);
	overlay_peer_initiate(n->o, n->peer[1], false, s.now);
	sim_run_ms(&s, 100);
	assert_non_null(n->peer[1]->current);
	sim_fini(&s);
}

static void wrong_psk_makes_no_session(void **state)
{
	(void)state;
	struct sim s;
	sim_init(&s, 7, 2);
	static const uint8_t one[KEY_LEN] = {1}, other[KEY_LEN] = {2};
	sim_join(&s.node[0], &s.node[1], one);
	sim_join(&s.node[1], &s.node[0], other);
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 4000);
	assert_null(s.node[0].peer[1]->current);
	assert_null(s.node[1].peer[0]->current);
	assert_int_equal(sim_drops(&s, 0, DROP_HANDSHAKE), 1);
	assert_int_equal(s.node[0].established + s.node[1].established, 0);
	sim_fini(&s);
}

static void inner_source_must_be_the_peers(void **state)
{
	(void)state;
	struct sim s;
	sim_init(&s, 7, 3);
	sim_join_all(&s);
	for (unsigned i = 1; i < 3; i++)
		sim_send(&s, i, 0);
	sim_run_ms(&s, 200);
	assert_int_equal(s.arrived[1][0] + s.arrived[2][0], 2);
	uint8_t b[100];
	struct ipaddr dst = overlay_stack_addr(s.node[0].id.pub);
	sim_packet(&s, 2, 0, s.sent[2][0], b, sizeof(b)); /* says 2, comes from 1 */
	assert_int_equal(sim_send_packet(&s.node[1], b, sizeof(b), &dst), 0);
	memset(b + 8, 0x20, 16); /* from nobody */
	assert_int_equal(sim_send_packet(&s.node[1], b, sizeof(b), &dst), 0);
	sim_run_ms(&s, 50);
	assert_int_equal(s.arrived[1][0] + s.arrived[2][0], 2);
	assert_int_equal(sim_drops(&s, 0, DROP_SOURCE), 2);
	/* A length in the header beyond what was sealed. */
	sim_packet(&s, 1, 0, s.sent[1][0], b, sizeof(b));
	put_be16(b + 4, 200);
	assert_int_equal(sim_send_packet(&s.node[1], b, sizeof(b), &dst), 0);
	sim_run_ms(&s, 50);
	assert_int_equal(sim_drops(&s, 0, DROP_MALFORMED), 1);
	sim_fini(&s);
}

static void ipv4_goes_too(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	struct prefix pre;
	assert_int_equal(prefix_parse(&pre, "198.18.0.7/32"), 0);
	uint8_t b[AEAD_HEAD + 28 + AEAD_TAIL] = {0}, *ip = b + AEAD_HEAD;
	ip[0] = 0x45;
	put_be16(ip + 2, 28);
	memcpy(ip + 12, pre.addr.b, 4);
	assert_int_equal(sim_seal(&s.node[0], s.node[0].peer[1], ip, 28), 0);
	struct held h = *last_of(0, MSG_DATA);
	sim_run_ms(&s, 50);
	assert_int_equal(sim_drops(&s, 1, DROP_SOURCE), 1);

	assert_int_equal(overlay_route_add(s.node[1].o, &pre, s.node[1].peer[0]), 0);
	s.cut[0][1] = true;
	assert_int_equal(sim_seal(&s.node[0], s.node[0].peer[1], ip, 28), 0);
	h = *last_of(0, MSG_DATA);
	struct overlay_peer *p = NULL;
	struct pkt in;
	uint8_t data[AEAD_HEAD + 64 + AEAD_TAIL] = {0}, scratch[AEAD_HEAD + 64 + AEAD_TAIL];
	struct path from = sim_path(&s.node[0].addr);
	memcpy(data + AEAD_HEAD, h.data, h.len);
	assert_int_equal(overlay_receive(s.node[1].o, &from, data + AEAD_HEAD, h.len,
					 scratch + AEAD_HEAD, &in, &p, s.now),
			 1);
	assert_int_equal(in.len, 28);
	assert_memory_equal(in.data, ip, 28);
	assert_ptr_equal(p, s.node[1].peer[0]);
	sim_fini(&s);
}

/* Seals `text` for node 1 with node 0's keys, under a counter of our choice. */
static struct held craft(struct sim *s, uint64_t counter, const uint8_t *text, size_t len)
{
	struct keypair *kp = s->node[0].peer[1]->current;
	uint8_t in[AEAD_HEAD + 64 + AEAD_TAIL] = {0};
	struct held h = {.len = len + MSG_DATA_OVERHEAD};
	memcpy(in + AEAD_HEAD, text, len);
	uint8_t out[AEAD_HEAD + 64 + TAG_LEN + AEAD_TAIL] = {0};
	aead_seal(&cipher_sodium, out + AEAD_HEAD, in + AEAD_HEAD, len, counter, kp->keys.send);
	put_le32(h.data, MSG_DATA);
	put_le32(h.data + 4, kp->remote_index);
	put_le64(h.data + 8, counter);
	memcpy(h.data + 16, out + AEAD_HEAD, len + TAG_LEN);
	return h;
}

static void a_window_for_each_path_slot(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	for (uint64_t slot = 1; slot < 256; slot++) {
		struct held h = craft(&s, slot << COUNT_BITS, (const uint8_t *)"", 0);
		inject(&s, 1, &h, &s.node[0].addr);
		inject(&s, 1, &h, &s.node[0].addr);
	}
	assert_int_equal(sim_drops(&s, 1, DROP_REPLAY), PATH_SLOTS - 1);
	assert_int_equal(sim_drops(&s, 1, DROP_LIMIT), 2 * (256 - PATH_SLOTS));
	struct held spent = craft(&s, REJECT_AFTER_MESSAGES, (const uint8_t *)"", 0);
	inject(&s, 1, &spent, &s.node[0].addr);
	assert_int_equal(sim_drops(&s, 1, DROP_NO_SESSION), 1);
	sim_fini(&s);
}

static void unknown_control_is_counted(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	static const uint8_t kinds[] = {0, 3, 4, 7, 0x30, 0x50, 0x70, 0xff};
	uint64_t sent = s.datagrams;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct held h = craft(&s, 100 + i, &kinds[i], 1);
		assert_int_equal(inject(&s, 1, &h, &s.node[0].addr), 0);
		assert_int_equal(sim_drops(&s, 1, DROP_CONTROL), i + 1);
	}
	static const uint8_t cut_off[] = {CONTROL_PROBE, CONTROL_ANSWER};
	for (unsigned i = 0; i < 2 * (PROBE_LEN - 1); i++) {
		uint8_t text[PROBE_LEN] = {cut_off[i % 2]};
		struct held h = craft(&s, 200 + i, text, 1 + i / 2);
		assert_int_equal(inject(&s, 1, &h, &s.node[0].addr), 0);
		assert_int_equal(sim_drops(&s, 1, DROP_MALFORMED), i + 1);
	}
	sim_run_ms(&s, 50);
	assert_int_equal(s.datagrams, sent);
	sim_fini(&s);
}

static void removal_in_every_state(void **state)
{
	(void)state;
	for (unsigned stage = 0; stage < 40; stage++)
		for (unsigned who = 0; who < 2; who++) {
			struct sim s;
			begin(&s, stage & 1);
			overlay_peer_initiate(s.node[0].o, s.node[0].peer[1], true, s.now);
			sim_send(&s, 0, 1);
			sim_send(&s, 1, 0);
			sim_run(&s, s.now + stage * s.net.delay / 4);
			if (stage > 30) /* a renewal that has begun */
				overlay_peer_initiate(s.node[!who].o, s.node[!who].peer[who], true,
						      s.now);
			sim_run(&s, s.now + stage % 10 * s.net.delay / 2);
			struct sim_node *n = &s.node[who];
			overlay_peer_remove(n->o, n->peer[!who]);
			assert_null(overlay_peer_find(n->o, s.node[!who].id.pub));
			assert_null(n->o->routes6.root);
			assert_int_equal(n->o->by_index.count, 0);
			sim_run_ms(&s, 200000); /* the other side goes on trying */
			struct overlay_peer *p = sim_join(n, &s.node[!who], NULL);
			overlay_peer_initiate(n->o, p, true, s.now);
			sim_run_ms(&s, 7000);
			assert_non_null(p->current);
			sim_fini(&s);
		}
}

static void winner_whose_initiation_was_lost_yields(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	s.cut[0][1] = true;
	sim_send(&s, 0, 1);
	s.cut[0][1] = false;
	sim_run_ms(&s, COLLISION_TIME * 1000 + 100);
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 100);
	assert_int_equal(s.arrived[0][1], 1);
	assert_int_equal(s.arrived[1][0], 1);
	sim_fini(&s);
}

static void padding_is_zeros(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	sim_send_len(&s, 0, 1, 1001); /* whose bytes must not show up in the next */
	sim_send_len(&s, 0, 1, 65);
	struct held *h = last_of(0, MSG_DATA);
	uint8_t in[AEAD_HEAD + 128 + AEAD_TAIL] = {0}, out[AEAD_HEAD + 128 + AEAD_TAIL] = {0};
	memcpy(in + AEAD_HEAD, h->data + MSG_DATA_HEAD_LEN, h->len - MSG_DATA_HEAD_LEN);
	assert_int_equal(aead_open(&cipher_sodium, out + AEAD_HEAD, in + AEAD_HEAD,
				   h->len - MSG_DATA_HEAD_LEN, get_le64(h->data + 8),
				   s.node[1].peer[0]->current->keys.receive),
			 0);
	static const uint8_t zeros[15];
	assert_memory_equal(out + AEAD_HEAD + 65, zeros, sizeof(zeros));
	sim_fini(&s);
}

static void who_may_be_a_peer(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	struct overlay *o = s.node[0].o;
	struct overlay_peer *p = NULL;
	static const uint8_t low_order[KEY_LEN] = {1};
	assert_int_equal(overlay_peer_add(o, &p, s.node[0].id.pub, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(overlay_peer_add(o, &p, low_order, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(overlay_peer_add(o, &p, s.node[1].id.pub, NULL, NULL, NULL), -EEXIST);
	assert_null(p);
	sim_fini(&s);
}

static void routes_per_peer_are_bounded(void **state)
{
	(void)state;
	struct sim s;
	sim_init(&s, 7, 3);
	sim_join_all(&s);
	struct overlay *o = s.node[0].o;
	struct overlay_peer *a = s.node[0].peer[1], *b = s.node[0].peer[2];
	struct prefix pre = {.addr = {.family = 4, .b = {10}}, .len = 24};
	for (unsigned i = 0; i < ROUTES_PER_PEER - 1; i++) { /* one is there */
		pre.addr.b[2] = (uint8_t)i;
		assert_int_equal(overlay_route_add(o, &pre, a), 0);
	}
	pre.addr.b[1] = 1;
	assert_int_equal(overlay_route_add(o, &pre, a), -ENOSPC);
	assert_int_equal(overlay_route_remove(o, &pre), -ENOENT);
	pre.addr.b[1] = 0;
	assert_int_equal(overlay_route_add(o, &pre, a), 0); /* it has that one */
	assert_int_equal(overlay_route_add(o, &pre, b), 0); /* moved */
	assert_ptr_equal(overlay_route(o, &pre.addr), b);
	assert_int_equal(a->nroutes, ROUTES_PER_PEER - 1);
	overlay_peer_remove(o, a);
	assert_ptr_equal(overlay_route(o, &pre.addr), b);
	pre.addr.b[2] = 0;
	assert_null(overlay_route(o, &pre.addr));
	sim_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_packet_starts_a_session),
		cmocka_unit_test(padding_stays_within_the_mtu),
		cmocka_unit_test(lower_key_wins_when_both_start),
		cmocka_unit_test(winner_with_a_wrong_path_yields),
		cmocka_unit_test(responder_waits_for_confirmation),
		cmocka_unit_test(queue_keeps_the_newest),
		cmocka_unit_test(queue_is_bounded_in_bytes),
		cmocka_unit_test(path_follows_what_is_authentic),
		cmocka_unit_test(repeated_messages_do_nothing),
		cmocka_unit_test(forged_messages_leave_nothing),
		cmocka_unit_test(clock_set_back),
		cmocka_unit_test(wrong_psk_makes_no_session),
		cmocka_unit_test(inner_source_must_be_the_peers),
		cmocka_unit_test(ipv4_goes_too),
		cmocka_unit_test(a_window_for_each_path_slot),
		cmocka_unit_test(unknown_control_is_counted),
		cmocka_unit_test(removal_in_every_state),
		cmocka_unit_test(winner_whose_initiation_was_lost_yields),
		cmocka_unit_test(padding_is_zeros),
		cmocka_unit_test(who_may_be_a_peer),
		cmocka_unit_test(routes_per_peer_are_bounded),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
