/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several paths to one peer. Node 0 is the hub and only follows; node 1 is the spoke and has
 * candidates: the net (UDP, preferred) and a stream.
 *
 *   hub (.1) ===== the net, transport 1: 5 ms, may lose ========== spoke (.2)
 *            +---- STREAM, transport 2: 20 ms, loses nothing -----+
 */
#include "tape.h"

enum { STREAM = 2, NEXT_STREAM = 3, THIRD = 4, UDP_RANK = 0, STREAM_RANK = 1 };

static struct path over(const struct sim_node *to, uint32_t transport)
{
	return (struct path){.transport = transport, .remote = to->addr};
}

static int add(struct sim *s, uint32_t transport, unsigned rank)
{
	struct path path = over(&s->node[0], transport);
	return overlay_path_add(s->node[1].o, s->node[1].peer[0], &path, rank, s->now);
}

/* Both ends hear that a stream has ended. */
static void end_stream(struct sim *s, uint32_t transport)
{
	for (unsigned i = 0; i < 2; i++) {
		struct path path = over(&s->node[!i], transport);
		s->link[transport].gone[i] = true;
		if (i)
			overlay_path_remove(s->node[i].o, s->node[i].peer[!i], &path, s->now);
		else
			overlay_transport_gone(s->node[i].o, transport, s->now);
	}
}

static void begin_spoke(struct sim *s, uint64_t seed)
{
	sim_init(s, seed, 2);
	tape = (struct tape){.count = 0};
	s->tap = record;
	struct overlay_peer *spoke = sim_join(&s->node[0], &s->node[1], NULL);
	overlay_peer_set_path(spoke, NULL); /* the hub waits to be called */
	overlay_peer_set_path(sim_join(&s->node[1], &s->node[0], NULL), NULL);
	overlay_peer_persist(s->node[1].o, s->node[1].peer[0], true, s->now);
}

static uint32_t active(const struct sim *s, unsigned node)
{
	const struct path *path = overlay_peer_path(s->node[node].peer[!node]);
	return path ? path->transport : 0;
}

static bool both_on(const struct sim *s, uint32_t transport)
{
	return active(s, 0) == transport && active(s, 1) == transport;
}

static struct overlay_path_info info(const struct sim *s, unsigned node, uint32_t transport)
{
	struct overlay_path_info all[PEER_PATHS];
	unsigned n = overlay_peer_paths(s->node[node].peer[!node], all);
	for (unsigned i = 0; i < n; i++)
		if (all[i].path.transport == transport)
			return all[i];
	fail_msg("node %u has no path over %u", node, transport);
	return all[0];
}

/* A packet each way every 20 ms, until `done` or the time is over. Returns the ms it took. */
static unsigned traffic(struct sim *s, unsigned ms, bool (*done)(const struct sim *s))
{
	unsigned took = 0;
	while (took < ms && !(done && done(s))) {
		sim_send_len(s, 1, 0, 200);
		if (s->node[0].peer[1]->active)
			sim_send_len(s, 0, 1, 200);
		sim_run_ms(s, 20);
		took += 20;
	}
	return took;
}

static bool on_stream(const struct sim *s)
{
	return both_on(s, STREAM);
}

/* As a laptop does it: the stream first, UDP when there is a session. */
static void connect_over_both(struct sim *s)
{
	begin_spoke(s, 1);
	assert_int_equal(add(s, STREAM, STREAM_RANK), 0);
	sim_run_ms(s, 200);
	assert_int_equal(s->node[1].established, 1);
	assert_true(both_on(s, STREAM));
	assert_int_equal(add(s, SIM_NET, UDP_RANK), 0);
	sim_run_ms(s, 2000);
	assert_true(both_on(s, SIM_NET));
}

static void only_one_session(struct sim *s)
{
	assert_int_equal(s->node[0].fresh, 1);
	assert_int_equal(s->node[1].fresh, 1);
	assert_int_equal(s->node[0].away + s->node[1].away, 0);
}

/* All that is sent from now on arrives. */
static void nothing_is_lost(struct sim *s)
{
	for (unsigned from = 0; from < 2; from++) {
		uint32_t seq = 0;
		for (unsigned n = 0; n < 20; n++) {
			seq = sim_send(s, from, !from);
			sim_run_ms(s, 50);
			sim_check(s, s->seen[from][!from][seq]);
		}
	}
}

static void udp_is_taken_when_it_answers(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	struct overlay_path_info udp = info(&s, 1, SIM_NET), stream = info(&s, 1, STREAM);
	assert_true(udp.active && udp.state == PATH_UP && udp.rank == UDP_RANK);
	assert_true(!stream.active && stream.state == PATH_UP && stream.rank == STREAM_RANK);
	assert_int_equal(udp.rtt, 10 * NSEC_PER_MSEC);
	assert_int_equal(stream.rtt, 40 * NSEC_PER_MSEC);
	assert_int_equal(s.node[1].moves, 4); /* set, forgotten, the stream, UDP */
	nothing_is_lost(&s);
	only_one_session(&s);
	sim_fini(&s);
}

static void udp_that_is_blocked_is_not_taken(void **state)
{
	(void)state;
	struct sim s;
	begin_spoke(&s, 1);
	s.net.loss = 1000;
	assert_int_equal(add(&s, SIM_NET, UDP_RANK), 0);
	assert_int_equal(add(&s, STREAM, STREAM_RANK), 0);
	sim_run_ms(&s, 1000); /* the first initiation is lost, the next goes over the stream */
	assert_true(both_on(&s, STREAM));
	uint64_t before = s.datagrams;
	sim_run_ms(&s, 600000);
	assert_true(both_on(&s, STREAM));
	assert_int_equal(info(&s, 1, SIM_NET).state, PATH_NEW);
	/* About every 5 s a probe on one, every 10 s one with its answer on the other, and ALIVEs. */
	assert_in_range(s.datagrams - before, 200, 400);
	only_one_session(&s);
	sim_fini(&s);
}

static void standby_paths_are_kept_alive(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	uint64_t sent = s.link[STREAM].sent;
	for (unsigned n = 0; n < 30; n++) {
		sim_run_ms(&s, 10000);
		nsec_t limit = s.now - SECONDS(KEEPALIVE_TIMEOUT + 1);
		for (unsigned i = 0; i < 2; i++) {
			assert_true(info(&s, i, STREAM).last_receive > limit);
			assert_true(info(&s, i, SIM_NET).last_receive > limit);
		}
		assert_true(both_on(&s, SIM_NET));
	}
	assert_in_range(s.link[STREAM].sent - sent, 58, 62); /* a probe and an answer per 10 s */
	only_one_session(&s);
	sim_fini(&s);
}

static void a_silent_path_is_left_and_taken_back(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	traffic(&s, 500, NULL);
	s.net.loss = 1000;
	assert_in_range(traffic(&s, 5000, on_stream), 900, 1200);
	assert_int_equal(info(&s, 1, SIM_NET).state, PATH_SUSPECT);
	nothing_is_lost(&s);
	assert_int_equal(info(&s, 1, SIM_NET).state, PATH_DEAD);
	sim_run_ms(&s, 60000);
	assert_true(both_on(&s, STREAM));
	s.net.loss = 0;
	traffic(&s, 7000, NULL); /* a backoff of at most 6.25 s, and three answers */
	assert_true(both_on(&s, SIM_NET));
	nothing_is_lost(&s);
	only_one_session(&s);
	sim_fini(&s);
}

/* Idle: nothing is lost but probes, and they tell. */
static void an_idle_path_is_left_too(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	s.net.loss = 1000;
	sim_run_ms(&s, 13000);
	assert_true(both_on(&s, STREAM));
	assert_int_equal(info(&s, 1, SIM_NET).state, PATH_DEAD);
	only_one_session(&s);
	sim_fini(&s);
}

/* One direction alone: data from the hub comes still, but no answer. */
static bool lose_up(struct sim *s, struct sim_node *from, const union sockaddr_any *to,
		    uint8_t *data, size_t len)
{
	(void)s;
	(void)to;
	(void)len;
	return from->no == 0 || data[0] != MSG_DATA || data[15] != 1; /* slot 1: added second */
}

static void half_a_path_is_none(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	s.tap = lose_up;
	for (unsigned n = 0; n < 1000 && active(&s, 1) != STREAM; n++) {
		sim_send_len(&s, 0, 1, 100);
		sim_run_ms(&s, 20);
	}
	assert_int_equal(active(&s, 1), STREAM);
	sim_run_ms(&s, 100);
	assert_int_equal(active(&s, 0), STREAM);
	sim_fini(&s);
}

/* A tunnel on the way, and fragments that are thrown away: small messages pass, and full ones do not. */
static unsigned narrow; /* the node whose full messages are lost on the net */

static bool lose_full(struct sim *s, struct sim_node *from, const union sockaddr_any *to,
		      uint8_t *data, size_t len)
{
	(void)s;
	(void)to;
	return from->no != narrow || data[0] != MSG_DATA || data[15] != 1 || len < 1000;
}

static void a_path_for_small_messages_alone_is_none(void **state)
{
	(void)state;
	for (narrow = 0; narrow < 2; narrow++) {
		struct sim s;
		begin_spoke(&s, 1);
		s.tap = lose_full;
		assert_int_equal(add(&s, STREAM, STREAM_RANK), 0);
		sim_run_ms(&s, 200);
		assert_int_equal(add(&s, SIM_NET, UDP_RANK), 0);
		sim_run_ms(&s, 60000);
		assert_true(both_on(&s, STREAM));
		for (unsigned n = 0; n < 50; n++) {
			for (unsigned i = 0; i < 2; i++) {
				uint32_t seq = sim_send_len(&s, i, !i, INNER_MTU);
				sim_run_ms(&s, 100);
				sim_check(&s, s.seen[i][!i][seq]);
			}
		}
		only_one_session(&s);
		sim_fini(&s);
	}
}

/* Nothing else is there to be chosen: what it carries it carries. */
static void the_only_path_may_be_narrow(void **state)
{
	(void)state;
	struct sim s;
	begin_spoke(&s, 1);
	assert_int_equal(add(&s, THIRD, STREAM_RANK), 0);
	assert_int_equal(add(&s, SIM_NET, UDP_RANK), 0); /* in slot 1 */
	sim_run_ms(&s, 2000);
	end_stream(&s, THIRD);
	assert_true(both_on(&s, SIM_NET));
	s.tap = lose_full;
	narrow = 1;
	sim_run_ms(&s, 100000);
	assert_int_equal(info(&s, 1, SIM_NET).state, PATH_UP);
	uint32_t arrived = s.arrived[1][0];
	traffic(&s, 2000, NULL);
	assert_int_equal(s.arrived[1][0] - arrived, 100);
	only_one_session(&s);
	sim_fini(&s);
}

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

/* Traffic that nobody answers (a dial that hangs, logs over UDP) says nothing against the path. */
static void unanswered_data_alone_moves_nothing(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	unsigned moves = s.node[1].moves;
	for (unsigned n = 0; n < 300; n++) {
		sim_send_len(&s, 1, 0, 100);
		sim_run_ms(&s, 100 + n % 7 * 400);
	}
	assert_int_equal(s.node[1].moves, moves);
	assert_int_equal(s.node[1].established, s.node[0].established);
	only_one_session(&s);
	sim_fini(&s);
}

/* A queue builds up: answers are late, but something comes all the time. */
static void a_path_that_is_full_is_not_dead(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	traffic(&s, 1000, NULL);
	unsigned moves = s.node[1].moves;
	s.net.delay = 700 * NSEC_PER_MSEC;
	traffic(&s, 30000, NULL);
	s.net.delay = 1500 * NSEC_PER_MSEC; /* by now it is known to be slow */
	traffic(&s, 30000, NULL);
	assert_int_equal(s.node[1].moves, moves);
	sim_fini(&s);
}

static void lost_probes_alone_move_nothing(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	unsigned moves = s.node[1].moves;
	s.net.loss = 50;
	for (unsigned n = 0; n < 600; n++) {
		sim_run_ms(&s, 1000);
		sim_send(&s, 1, 0);
		sim_send(&s, 0, 1);
	}
	assert_true(s.node[1].moves - moves <= 2);
	only_one_session(&s);
	sim_fini(&s);
}

/* A path that works only while little is sent: it is tried again after ever longer pauses. */
static void a_path_that_keeps_failing_is_held_back(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	unsigned moves = s.node[1].moves;
	for (unsigned ms = 0; ms < 300000; ms += 20) {
		s.net.loss = active(&s, 1) == SIM_NET ? 1000 : 0;
		sim_send_len(&s, 1, 0, 100);
		sim_send_len(&s, 0, 1, 100);
		sim_run_ms(&s, 20);
	}
	assert_in_range(s.node[1].moves - moves, 6, 24); /* each failure is two moves */
	only_one_session(&s);
	sim_fini(&s);
}

static void a_stream_that_ends_is_left_at_once(void **state)
{
	(void)state;
	struct sim s;
	begin_spoke(&s, 1);
	s.net.loss = 1000;
	assert_int_equal(add(&s, STREAM, STREAM_RANK), 0);
	assert_int_equal(add(&s, NEXT_STREAM, STREAM_RANK), 0);
	sim_run_ms(&s, 2000);
	assert_true(both_on(&s, STREAM));
	end_stream(&s, STREAM);
	assert_true(both_on(&s, NEXT_STREAM)); /* the hub heard the spoke there by its probes */
	nothing_is_lost(&s);
	end_stream(&s, NEXT_STREAM); /* now there is none */
	assert_null(overlay_peer_path(s.node[0].peer[1]));
	assert_null(overlay_peer_path(s.node[1].peer[0]));
	uint8_t b[AEAD_HEAD + 64 + AEAD_TAIL] = {0};
	assert_int_equal(sim_seal(&s.node[1], s.node[1].peer[0], b + AEAD_HEAD, 64), -ENETUNREACH);
	sim_run_ms(&s, 8000);
	assert_int_equal(add(&s, THIRD, STREAM_RANK), 0);
	sim_run_ms(&s, 100);
	assert_true(both_on(&s, THIRD));
	nothing_is_lost(&s);
	only_one_session(&s);
	/* What is gone can come again only under another id; the old ones are not named any more. */
	sim_run_ms(&s, 200000);
	assert_int_equal(overlay_peer_paths(s.node[1].peer[0], (struct overlay_path_info[4]){0}),
			 1);
	sim_fini(&s);
}

/* A handshake whose initiation went over it goes on elsewhere. */
static void a_stream_ends_during_a_handshake(void **state)
{
	(void)state;
	struct sim s;
	begin_spoke(&s, 1);
	assert_int_equal(add(&s, STREAM, STREAM_RANK), 0);
	sim_run_ms(&s, 10);
	assert_int_not_equal(s.node[1].peer[0]->pending.index.value, 0);
	end_stream(&s, STREAM);
	assert_int_equal(s.node[1].peer[0]->pending.index.value, 0);
	sim_run_ms(&s, 30000);
	assert_int_equal(add(&s, NEXT_STREAM, STREAM_RANK), 0);
	sim_run_ms(&s, 100);
	assert_true(both_on(&s, NEXT_STREAM));
	/* Renewal, with another path at hand. */
	assert_int_equal(add(&s, SIM_NET, STREAM_RANK + 1), 0);
	sim_run_ms(&s, 2000);
	overlay_peer_initiate(s.node[1].o, s.node[1].peer[0], true, s.now);
	sim_run_ms(&s, 10);
	end_stream(&s, NEXT_STREAM);
	sim_run_ms(&s, 100);
	assert_int_equal(s.node[1].established, 2);
	assert_true(both_on(&s, SIM_NET));
	nothing_is_lost(&s);
	sim_fini(&s);
}

static void both_die_and_one_returns(void **state)
{
	(void)state;
	for (unsigned which = 0; which < 2; which++)
		for (unsigned dark = 3000; dark < 400000; dark *= 3) {
			struct sim s;
			connect_over_both(&s);
			s.net.loss = 1000;
			s.link[STREAM].dead = true;
			traffic(&s, 3000, NULL);
			assert_int_equal(info(&s, 1, SIM_NET).state, PATH_DEAD);
			assert_int_equal(info(&s, 1, STREAM).state, PATH_DEAD);
			sim_run_ms(&s, dark);
			if (which)
				s.net.loss = 0;
			else
				s.link[STREAM].dead = false;
			sim_run_ms(&s, 13000);
			sim_check(&s, both_on(&s, which ? SIM_NET : STREAM));
			nothing_is_lost(&s);
			sim_fini(&s);
		}
}

static void a_handshake_finds_the_path_that_works(void **state)
{
	(void)state;
	struct sim s;
	begin_spoke(&s, 1);
	s.net.loss = 1000;
	s.link[STREAM].dead = true;
	assert_int_equal(add(&s, SIM_NET, 0), 0);
	assert_int_equal(add(&s, STREAM, 1), 0);
	assert_int_equal(add(&s, NEXT_STREAM, 2), 0);
	assert_int_equal(add(&s, NEXT_STREAM, 2), -EEXIST);
	sim_run_ms(&s, 2000);
	assert_true(both_on(&s, NEXT_STREAM));
	assert_int_equal(add(&s, THIRD, 3), 0);
	assert_int_equal(add(&s, THIRD + 1, 3), -ENOSPC);
	only_one_session(&s);
	sim_fini(&s);
}

/* The hub forgets all: it is found out within 3 s, and the session is made over what works. */
static void hub_restarts(void **state)
{
	(void)state;
	for (unsigned udp = 0; udp < 2; udp++) {
		struct sim s;
		connect_over_both(&s);
		overlay_free(s.node[0].o);
		sim_node_start(&s.node[0]);
		overlay_peer_set_path(sim_join(&s.node[0], &s.node[1], NULL), NULL);
		s.net.loss = udp ? 0 : 1000;
		for (unsigned n = 0; n < 200 && s.node[1].established < 2; n++) {
			sim_send_len(&s, 1, 0, 100);
			sim_run_ms(&s, 20);
		}
		assert_int_equal(s.node[1].established, 2);
		sim_run_ms(&s, 3000);
		assert_true(both_on(&s, udp ? SIM_NET : STREAM));
		nothing_is_lost(&s);
		sim_fini(&s);
	}
}

/* The hub calls (it restarted and knows where we were): answered over that path, then ours. */
static void hub_initiates(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	struct path path = over(&s.node[1], STREAM);
	overlay_peer_set_path(s.node[0].peer[1], &path);
	overlay_peer_initiate(s.node[0].o, s.node[0].peer[1], true, s.now);
	sim_run_ms(&s, 200);
	assert_int_equal(s.node[1].established, 2);
	sim_send(&s, 0, 1); /* comes over the stream: the spoke says that it is on UDP */
	sim_run_ms(&s, 200);
	assert_true(both_on(&s, SIM_NET));
	sim_fini(&s);
}

/* Keys change every two minutes while the paths come and go; nothing that is sent while at least
 * one is up, and not suspect, is lost for longer than it takes to notice. */
static void renewals_while_paths_switch(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct sim s;
		begin_spoke(&s, seed);
		assert_int_equal(add(&s, STREAM, STREAM_RANK), 0);
		assert_int_equal(add(&s, SIM_NET, UDP_RANK), 0);
		traffic(&s, 3000, NULL);
		for (unsigned n = 0; n < 60; n++) {
			bool udp = sim_chance(&s, 500);
			s.net.loss = udp ? 0 : 1000;
			s.link[STREAM].dead = udp && sim_chance(&s, 500);
			for (nsec_t end = s.now + SECONDS(20); s.now < end;) {
				sim_send_len(&s, 1, 0, 100);
				sim_send_len(&s, 0, 1, 100);
				sim_run_ms(&s, 100);
			}
		}
		s.net.loss = 0;
		s.link[STREAM].dead = false;
		traffic(&s, 10000, NULL);
		sim_check(&s, s.node[1].established >= 8);
		sim_check(&s, s.node[0].fresh == 1 && s.node[1].fresh == 1);
		nothing_is_lost(&s);
		unsigned sent = s.sent[1][0], arrived = s.arrived[1][0];
		sim_check(&s, arrived > sent * 8 / 10);
		sim_fini(&s);
	}
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
		assert_int_equal(aead_open(text, in + AEAD_HEAD, h->len - MSG_DATA_HEAD_LEN,
					   get_le64(h->data + 8),
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

/* A hub without candidates: an address that changes within a slot is followed, the old forgotten. */
static void the_spoke_roams(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	sim_address(&s.node[1], 77, 7777);
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 100);
	assert_true(sockaddr_equal(&overlay_peer_path(s.node[0].peer[1])->remote, &s.node[1].addr));
	struct overlay_path_info all[PEER_PATHS];
	assert_int_equal(overlay_peer_paths(s.node[0].peer[1], all), 2);
	/* The network changed: both sides speak at once. */
	overlay_kick(s.node[1].o, s.now);
	sim_run_ms(&s, 1000);
	assert_int_equal(s.node[1].established, 2);
	assert_true(both_on(&s, SIM_NET));
	nothing_is_lost(&s);
	sim_fini(&s);
}

/* One path set by set_path, then candidates, then back. */
static void roles_change(void **state)
{
	(void)state;
	struct sim s;
	connect_over_both(&s);
	struct path path = over(&s.node[0], SIM_NET);
	overlay_peer_set_path(s.node[1].peer[0], &path);
	nothing_is_lost(&s);
	struct overlay_path_info all[PEER_PATHS];
	assert_int_equal(overlay_peer_paths(s.node[1].peer[0], all), 1);
	assert_int_equal(add(&s, STREAM, STREAM_RANK), 0);
	assert_int_equal(add(&s, SIM_NET, UDP_RANK), 0);
	sim_run_ms(&s, 2000);
	assert_true(both_on(&s, SIM_NET));
	overlay_peer_remove(s.node[1].o, s.node[1].peer[0]);
	sim_run_ms(&s, 1000);
	sim_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_is_taken_when_it_answers),
		cmocka_unit_test(udp_that_is_blocked_is_not_taken),
		cmocka_unit_test(standby_paths_are_kept_alive),
		cmocka_unit_test(a_silent_path_is_left_and_taken_back),
		cmocka_unit_test(an_idle_path_is_left_too),
		cmocka_unit_test(half_a_path_is_none),
		cmocka_unit_test(a_path_for_small_messages_alone_is_none),
		cmocka_unit_test(the_only_path_may_be_narrow),
		cmocka_unit_test(a_response_proves_its_own_path),
		cmocka_unit_test(unanswered_data_alone_moves_nothing),
		cmocka_unit_test(a_path_that_is_full_is_not_dead),
		cmocka_unit_test(lost_probes_alone_move_nothing),
		cmocka_unit_test(a_path_that_keeps_failing_is_held_back),
		cmocka_unit_test(a_stream_that_ends_is_left_at_once),
		cmocka_unit_test(a_stream_ends_during_a_handshake),
		cmocka_unit_test(both_die_and_one_returns),
		cmocka_unit_test(a_handshake_finds_the_path_that_works),
		cmocka_unit_test(hub_restarts),
		cmocka_unit_test(hub_initiates),
		cmocka_unit_test(renewals_while_paths_switch),
		cmocka_unit_test(replays_across_slots),
		cmocka_unit_test(probes_move_nothing),
		cmocka_unit_test(a_storm_of_probes_is_bounded),
		cmocka_unit_test(what_comes_late_moves_nothing),
		cmocka_unit_test(moved_is_checked),
		cmocka_unit_test(control_on_the_wire),
		cmocka_unit_test(the_spoke_roams),
		cmocka_unit_test(roles_change),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
