/* SPDX-License-Identifier: Apache-2.0 */
/* What comes late, twice, too often, or by a way that it did not go; and what control messages look like on the wire. */
#include "paths.h"

/* A response that somebody brings by another way than the initiation went proves nothing of that way. */
static void a_response_proves_its_own_path(void **state)
{
	(void)state;
	struct sim s;
	begin_spoke(&s, 1);
	s.net.loss = 1000;
	assert_int_equal(add(&s, STREAM, STREAM_RANK), 0);
	assert_int_equal(add(&s, SIM_NET, UDP_RANK), 0);
	sim_run_ms(&s, 1000);
	assert_true(both_on(&s, STREAM));
	tape.lose_type = MSG_RESPONSE;
	tape.lose_from = 0;
	unsigned responses = tape.types[MSG_RESPONSE];
	overlay_peer_initiate(s.node[1].o, s.node[1].peer[0], true, s.now);
	while (tape.types[MSG_RESPONSE] == responses)
		sim_run_ms(&s, 1);
	inject(&s, 1, last_of(0, MSG_RESPONSE), &s.node[0].addr);
	assert_int_equal(s.node[1].established, 2);
	assert_int_equal(info(&s, 1, SIM_NET).state, PATH_NEW);
	sim_run_ms(&s, 1000);
	assert_true(both_on(&s, STREAM));
	sim_fini(&s);
}

/* A datagram counts once, on whatever path and in whatever order the copies come. */
static void replays_across_slots(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	traffic(&s, 200, NULL);
	s.net.loss = 1000;
	traffic(&s, 3000, on_stream);
	traffic(&s, 200, NULL);
	uint32_t arrived = s.arrived[1][0];
	uint64_t replays = sim_drops(&s, 0, DROP_REPLAY);
	unsigned n = 0, slots = 0, moves = s.node[0].moves;
	for (unsigned i = 0; i < MIN(tape.count, (unsigned)HELD_MAX); i++) {
		struct held *h = &tape.held[i];
		if (h->from != 1 || h->data[0] != MSG_DATA)
			continue;
		slots |= 1U << h->data[15];
		/* As it was, and in all other slots, where the tag is wrong. */
		for (unsigned slot = 0; slot < PATH_SLOTS; slot++) {
			struct held copy = *h;
			copy.data[15] = (uint8_t)slot;
			inject(&s, 0, &copy, &s.node[1].addr);
		}
		n++;
	}
	assert_int_equal(slots, 3);
	/* What the net swallowed is not known there, and arrives by this. */
	assert_true(sim_drops(&s, 0, DROP_REPLAY) - replays + (s.arrived[1][0] - arrived) >= n / 2);
	assert_true(sim_drops(&s, 0, DROP_AUTH) >= 3 * n);
	assert_true(s.node[0].moves - moves <= 2);
	sim_run_ms(&s, 1000);
	traffic(&s, 200, NULL);
	assert_true(both_on(&s, STREAM)); /* a late one cannot hold the hub elsewhere */
	sim_fini(&s);
}

static void probes_move_nothing(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	struct overlay_peer *hub = s.node[1].peer[0];
	unsigned moves = s.node[0].moves;
	uint8_t probe[PROBE_LEN] = {CONTROL_PROBE, 1}, answer[PROBE_LEN] = {CONTROL_ANSWER, 1};
	for (unsigned slot = 0; slot < PATH_SLOTS; slot++) {
		struct path elsewhere = over(&s.node[0], STREAM);
		send_on(hub, &elsewhere, slot, probe, sizeof(probe), s.now);
		send_on(hub, &elsewhere, slot, answer, sizeof(answer), s.now);
	}
	sim_run_ms(&s, 100);
	assert_int_equal(s.node[0].moves, moves);
	assert_true(both_on(&s, SIM_NET));
	sim_fini(&s);
}

static void a_storm_of_probes_is_bounded(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	sim_run_ms(&s, 1000);
	struct overlay_peer *hub = s.node[1].peer[0];
	uint8_t probe[PROBE_LEN] = {CONTROL_PROBE, 1};
	uint64_t before = s.datagrams;
	for (unsigned n = 0; n < 1000; n++)
		send_on(hub, &hub->active->path, 0, probe, sizeof(probe), s.now);
	sim_run_ms(&s, 100);
	assert_in_range(s.datagrams - before, 1000 + 1, 1000 + 34);
	assert_true(sim_drops(&s, 0, DROP_LIMIT) >= 1000 - 32);
	sim_run_ms(&s, 3000); /* and honest ones are answered again */
	assert_true(both_on(&s, SIM_NET));
	assert_int_equal(info(&s, 1, SIM_NET).state, PATH_UP);
	sim_fini(&s);
}

/* A stream full of what was sent before the move: none of it takes the hub back. */
static void what_comes_late_moves_nothing(void **state)
{
	(void)state;
	struct sim s;
	begin_spoke(&s, 1);
	assert_int_equal(add(&s, STREAM, STREAM_RANK), 0);
	sim_run_ms(&s, 200);
	s.link[STREAM].net.delay = SECONDS(3);
	assert_int_equal(add(&s, SIM_NET, UDP_RANK), 0);
	traffic(&s, 1000, NULL);
	assert_true(both_on(&s, SIM_NET));
	unsigned moves = s.node[0].moves;
	uint32_t arrived = s.arrived[1][0], sent = s.sent[1][0];
	sim_run_ms(&s, 5000); /* idle: nothing would bring it back */
	assert_int_equal(s.arrived[1][0], s.sent[1][0]);
	assert_true(arrived < sent);
	assert_int_equal(s.node[0].moves, moves);
	assert_true(both_on(&s, SIM_NET));
	sim_fini(&s);
}

static void moved_is_checked(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	struct overlay_peer *hub = s.node[1].peer[0];
	uint8_t text[MOVED_LEN + 1] = {CONTROL_MOVED, PATH_SLOTS, 1};
	send_on(hub, &hub->active->path, 1, text, sizeof(text), s.now);
	sim_run_ms(&s, 100);
	assert_int_equal(sim_drops(&s, 0, DROP_MALFORMED), 1);
	text[1] = 1; /* from its own path, far ahead: it is not believed there for ever */
	memset(text + 2, 0xff, 8);
	send_on(hub, &hub->active->path, 1, text, sizeof(text), s.now);
	sim_run_ms(&s, 100);
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 200000); /* the next keys know nothing of it */
	nothing_is_lost(&s);
	assert_true(both_on(&s, SIM_NET));
	sim_fini(&s);
}

/* The newest control message of this type of a node, in a path slot, as docs/protocol.md says it must be. */
static void expect_control(struct sim *s, unsigned from, unsigned slot, size_t len,
			   const uint8_t want[static 16])
{
	uint8_t in[AEAD_HEAD + INNER_MTU + TAG_LEN + AEAD_TAIL] = {0};
	uint8_t out[sizeof(in)], *text = out + AEAD_HEAD;
	for (unsigned i = tape.count; i && i + HELD_MAX > tape.count; i--) {
		struct held *h = &tape.held[(i - 1) % HELD_MAX];
		if (h->from != from || h->data[0] != MSG_DATA || h->data[15] != slot)
			continue;
		memcpy(in + AEAD_HEAD, h->data + MSG_DATA_HEAD_LEN, h->len - MSG_DATA_HEAD_LEN);
		assert_int_equal(aead_open(&cipher_sodium, text, in + AEAD_HEAD,
					   h->len - MSG_DATA_HEAD_LEN, get_le64(h->data + 8),
					   s->node[!from].peer[from]->current->keys.receive),
				 0);
		if (text[0] != want[0])
			continue;
		assert_int_equal(h->len, MSG_DATA_OVERHEAD + len);
		assert_memory_equal(text, want, 16);
		for (size_t k = 16; k < len; k++)
			assert_int_equal(text[k], 0);
		return;
	}
	fail_msg("node %u sent no control %u in slot %u", from, want[0], slot);
}

static void control_on_the_wire(void **state)
{
	(void)state;
	struct sim s;
	begin_spoke(&s, 1);
	assert_int_equal(add(&s, STREAM, STREAM_RANK), 0);
	sim_run_ms(&s, 1500);
	uint64_t count = s.node[1].peer[0]->current->count[0];
	s.node[1].peer[0]->probe_id = 0x04030200;
	assert_int_equal(add(&s, SIM_NET, UDP_RANK), 0);
	sim_run_ms(&s, 8);
	expect_control(&s, 1, 1, INNER_MTU, (const uint8_t[16]){2, 1, 2, 3, 4});
	expect_control(&s, 0, 1, INNER_MTU, (const uint8_t[16]){5, 1, 2, 3, 4});
	unsigned moves = s.node[1].moves;
	while (s.node[1].moves == moves)
		sim_run_ms(&s, 1);
	assert_in_range(count, 1, 255);
	assert_int_equal(s.node[1].peer[0]->current->count[0], count);
	expect_control(&s, 1, 1, 16, (const uint8_t[16]){6, 0, (uint8_t)count});
	sim_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_response_proves_its_own_path),
		cmocka_unit_test(replays_across_slots),
		cmocka_unit_test(probes_move_nothing),
		cmocka_unit_test(a_storm_of_probes_is_bounded),
		cmocka_unit_test(what_comes_late_moves_nothing),
		cmocka_unit_test(moved_is_checked),
		cmocka_unit_test(control_on_the_wire),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
