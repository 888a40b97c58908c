/* SPDX-License-Identifier: Apache-2.0 */
/* Several paths to one peer: which is taken, when it is left, and what becomes of a handshake meanwhile. */
#include "paths.h"

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

/* The hub calls where the spoke has just been: a session, but nowhere to send to yet. */
static void what_waits_is_kept_until_there_is_a_path(void **state)
{
	(void)state;
	struct sim s;
	begin_spoke(&s, 1);
	s.net.loss = 1000;
	assert_int_equal(add(&s, SIM_NET, UDP_RANK), 0);
	uint32_t seq = sim_send(&s, 1, 0);
	sim_run_ms(&s, 10);
	struct path hub = over(&s.node[0], SIM_NET), spoke = over(&s.node[1], SIM_NET);
	overlay_path_remove(s.node[1].o, s.node[1].peer[0], &hub, s.now);
	s.net.loss = 0;
	overlay_peer_set_path(s.node[0].peer[1], &spoke);
	overlay_peer_initiate(s.node[0].o, s.node[0].peer[1], true, s.now);
	sim_run_ms(&s, 100);
	assert_int_equal(s.node[1].established, 1);
	assert_int_equal(s.node[1].peer[0]->queue.count, 1);
	assert_int_equal(add(&s, STREAM, STREAM_RANK), 0);
	sim_run_ms(&s, 100);
	assert_true(s.seen[1][0][seq]);
	assert_true(both_on(&s, STREAM));
	nothing_is_lost(&s);
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
		cmocka_unit_test(what_waits_is_kept_until_there_is_a_path),
		cmocka_unit_test(renewals_while_paths_switch),
		cmocka_unit_test(the_spoke_roams),
		cmocka_unit_test(roles_change),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
