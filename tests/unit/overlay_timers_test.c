/* SPDX-License-Identifier: Apache-2.0 */
/* What two nodes do because time passes: renewal, retries, silence, the end of keys. */
#include "tape.h"

static void renewal_loses_nothing(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	/* Each message takes its own time: those under old keys are overtaken by the first under
	 * new ones. */
	s.net = (struct sim_net){.delay = 20 * NSEC_PER_MSEC, .jitter = 70 * NSEC_PER_MSEC};
	connect_nodes(&s);
	unsigned initiations = tape.types[MSG_INITIATION];
	for (nsec_t end = s.now + SECONDS(600); s.now < end;) {
		sim_send_len(&s, 0, 1, 64);
		sim_send_len(&s, 1, 0, 64);
		assert_int_equal(s.node[0].peer[1]->queue.count, 0);
		sim_run_ms(&s, 25);
	}
	sim_run_ms(&s, 200);
	assert_int_equal(s.arrived[0][1], s.sent[0][1]);
	assert_int_equal(s.arrived[1][0], s.sent[1][0]);
	assert_int_equal(tape.types[MSG_INITIATION] - initiations, 4); /* each 120 s and a little */
	assert_int_equal(s.node[0].established, 5);
	assert_int_equal(s.node[0].fresh, 1);
	assert_int_equal(s.node[1].fresh, 1);
	sim_fini(&s);
}

/* The initiator only listens: no sending of its own could renew the session. */
static void listener_renews_too(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	for (nsec_t end = s.now + SECONDS(600); s.now < end; sim_run_ms(&s, 100)) {
		sim_send_len(&s, 1, 0, 64);
		assert_int_equal(s.node[1].peer[0]->queue.count, 0);
	}
	assert_true(s.arrived[1][0] >= s.sent[1][0] - 1);
	assert_true(s.node[0].established >= 4);
	sim_fini(&s);
}

/* Should nothing of the initiator's go out for long, a late arrival makes it renew. */
static void late_arrival_renews(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	s.node[0].peer[1]->t.keepalive_at = s.now + SECONDS(1000);
	sim_run_ms(&s, 160000);
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 50);
	assert_int_equal(tape.types[MSG_INITIATION], 1);
	sim_run_ms(&s, 5500);
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 50);
	assert_int_equal(tape.types[MSG_INITIATION], 2);
	assert_int_equal(s.node[0].established, 2);
	sim_fini(&s);
}

static void keys_die_unused(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	sim_send(&s, 0, 1);
	struct held late = *last_of(0, MSG_DATA);
	sim_run_ms(&s, REJECT_AFTER_TIME * 1000);
	for (unsigned i = 0; i < 2; i++) {
		struct overlay_peer_stats st;
		overlay_peer_stats(s.node[i].peer[!i], &st);
		assert_false(st.session);
		assert_int_equal(s.node[i].o->by_index.count, 0);
		assert_int_equal(overlay_next(s.node[i].o), 0); /* nothing more to do, ever */
	}
	uint64_t drops = sim_drops(&s, 1, DROP_NO_SESSION);
	assert_int_equal(inject(&s, 1, &late, &s.node[0].addr), 0);
	assert_int_equal(sim_drops(&s, 1, DROP_NO_SESSION), drops + 1);
	sim_fini(&s);
}

static void old_keys_die_first(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	sim_run_ms(&s, 60000);
	overlay_peer_initiate(s.node[0].o, s.node[0].peer[1], true, s.now);
	sim_run_ms(&s, (REJECT_AFTER_TIME - 61) * 1000);
	assert_non_null(s.node[0].peer[1]->previous);
	sim_run_ms(&s, 1000);
	assert_null(s.node[0].peer[1]->previous);
	assert_non_null(s.node[0].peer[1]->current);
	sim_fini(&s);
}

static void gives_up_unless_persistent(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	s.cut[0][1] = true;
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 89000);
	assert_in_range(tape.types[MSG_INITIATION], 16, 18);
	assert_int_equal(s.node[0].peer[1]->queue.count, 1);
	sim_run_ms(&s, 10000);
	unsigned count = tape.types[MSG_INITIATION];
	assert_int_equal(s.node[0].peer[1]->queue.count, 0);
	sim_run_ms(&s, 3600000);
	assert_int_equal(tape.types[MSG_INITIATION], count);
	sim_send(&s, 0, 1); /* new traffic, new attempts */
	assert_int_equal(tape.types[MSG_INITIATION], count + 1);
	sim_fini(&s);

	begin(&s, false);
	s.cut[0][1] = true;
	overlay_peer_persist(s.node[0].o, s.node[0].peer[1], true, s.now);
	sim_run_ms(&s, 1);
	assert_int_equal(tape.types[MSG_INITIATION], 1);
	sim_run_ms(&s, 300);
	assert_int_equal(tape.types[MSG_INITIATION], 2); /* 0.2 s, jittered by a quarter */
	sim_run_ms(&s, 3600000);
	assert_in_range(tape.types[MSG_INITIATION], 3600 * 4 / 25, 3600 * 4 / 15);
	s.cut[0][1] = false;
	sim_run_ms(&s, 6500);
	assert_int_equal(s.node[0].established, 1);
	sim_fini(&s);
}

static void retries_are_spread(void **state)
{
	(void)state;
	nsec_t least = SECONDS(1), most = 0;
	for (uint64_t seed = 0; seed < 30; seed++) {
		struct sim s;
		begin(&s, false);
		overlay_seed_jitter(s.node[0].o, seed);
		overlay_peer_initiate(s.node[0].o, s.node[0].peer[1], true, s.now);
		nsec_t delay = s.node[0].peer[1]->t.retry_at - s.now;
		least = MIN(least, delay);
		most = MAX(most, delay);
		sim_fini(&s);
	}
	assert_in_range(least, 150 * NSEC_PER_MSEC, 170 * NSEC_PER_MSEC);
	assert_in_range(most, 230 * NSEC_PER_MSEC, 250 * NSEC_PER_MSEC);
}

static void silence_is_told_once(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, true);
	sim_run_ms(&s, 120000);
	assert_int_equal(s.node[0].away + s.node[1].away, 0);
	s.cut[0][1] = s.cut[1][0] = true;
	sim_run_ms(&s, PEER_DEAD_AFTER * 1000 + 500);
	assert_int_equal(s.node[0].away, 1);
	assert_int_equal(s.node[1].away, 1);
	sim_run_ms(&s, 100000);
	assert_int_equal(s.node[0].away, 1);
	assert_int_equal(s.node[0].back, 0);
	s.cut[0][1] = s.cut[1][0] = false;
	sim_run_ms(&s, 7000);
	assert_int_equal(s.node[0].back, 1);
	assert_int_equal(s.node[1].back, 1);
	sim_run_ms(&s, 120000);
	assert_int_equal(s.node[0].away + s.node[1].away, 2);
	sim_fini(&s);
}

/* Only node 1 persists: node 0 answers its ALIVE, and knows by its silence that it is away. */
static void one_side_persists(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	overlay_peer_persist(s.node[1].o, s.node[1].peer[0], true, s.now);
	sim_run_ms(&s, 600000);
	assert_int_equal(s.node[0].away + s.node[1].away, 0);
	assert_int_equal(s.node[0].fresh, 1);
	assert_int_equal(s.node[1].fresh, 1);
	/* One ALIVE and one answer each 10 s, and a renewal each 120 s. */
	assert_in_range(s.datagrams, 2 * 58 + 3 * 4, 2 * 62 + 3 * 6);
	s.cut[1][0] = true;
	sim_run_ms(&s, PEER_DEAD_AFTER * 1000 + 500);
	assert_int_equal(s.node[0].away, 1);
	/* It comes again but persists no more: then its silence means nothing. */
	overlay_peer_persist(s.node[1].o, s.node[1].peer[0], false, s.now);
	s.cut[1][0] = false;
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 60000);
	assert_int_equal(s.node[0].back, 1);
	assert_int_equal(s.node[0].away, 1);
	sim_fini(&s);
}

static void idle_is_not_away(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 15000);
	uint64_t before = s.datagrams;
	sim_run_ms(&s, 100000);
	assert_int_equal(s.datagrams, before);
	assert_int_equal(s.node[0].away + s.node[1].away, 0);
	/* Unanswered data is another matter: counted from when it was sent, not from when we last
	 * heard. */
	s.cut[0][1] = true;
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 24000);
	assert_int_equal(s.node[0].away, 0);
	sim_run_ms(&s, 2000);
	assert_int_equal(s.node[0].away, 1);
	sim_fini(&s);
}

static void data_is_answered_within_keepalive_timeout(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	sim_send(&s, 0, 1);
	uint64_t before = s.datagrams;
	sim_run_ms(&s, 9900);
	assert_int_equal(s.datagrams, before);
	sim_run_ms(&s, 200);
	assert_int_equal(s.datagrams, before + 1);
	assert_int_equal(last_of(1, MSG_DATA)->len, MSG_DATA_OVERHEAD);
	sim_run_ms(&s, 30000);
	assert_int_equal(s.datagrams, before + 1); /* a keepalive is not answered */
	sim_fini(&s);
}

/* Data into a peer that forgot us: after 15 s without an answer a handshake finds it again. */
static void unanswered_data_starts_a_handshake(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	overlay_free(s.node[1].o);
	sim_node_start(&s.node[1]);
	sim_join(&s.node[1], &s.node[0], NULL);
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 14900);
	assert_int_equal(s.node[0].established, 1);
	sim_run_ms(&s, 600);
	assert_int_equal(s.node[0].established, 2);
	sim_fini(&s);
}

/* A node that persists asks after 1 s, and finds the peer that forgot us within 2 s. */
static void a_persistent_node_asks_soon(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	overlay_peer_persist(s.node[0].o, s.node[0].peer[1], true, s.now);
	sim_run_ms(&s, 100);
	uint64_t before = s.datagrams;
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 1500);
	/* The peer is there and silent: one question and its answer settle it. */
	assert_int_equal(s.datagrams, before + 3);
	assert_int_equal(s.node[0].established, 1);
	overlay_free(s.node[1].o);
	sim_node_start(&s.node[1]);
	sim_join(&s.node[1], &s.node[0], NULL);
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 1700);
	assert_int_equal(s.node[0].established, 1);
	sim_run_ms(&s, 300);
	assert_int_equal(s.node[0].established, 2);
	sim_fini(&s);
}

static void initiations_are_a_sign_of_life(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	tape.lose_type = MSG_DATA;
	tape.lose_from = 1;
	sim_send(&s, 0, 1);
	for (unsigned i = 0; i < 6; i++) {
		overlay_peer_initiate(s.node[1].o, s.node[1].peer[0], true, s.now);
		sim_run_ms(&s, 5000);
	}
	assert_int_equal(s.node[0].away, 0);
	sim_fini(&s);
}

/* Having answered, a persistent node leaves the peer its turn before it tries itself. */
static void responder_tries_itself_in_the_end(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	s.cut[1][0] = true;
	overlay_peer_persist(s.node[1].o, s.node[1].peer[0], true, s.now);
	sim_run_ms(&s, 1);
	overlay_peer_initiate(s.node[0].o, s.node[0].peer[1], false, s.now);
	sim_run_ms(&s, 10);
	assert_int_equal(tape.types[MSG_RESPONSE], 1);
	assert_int_equal(tape.types[MSG_INITIATION], 2);
	sim_run_ms(&s, 900);
	assert_int_equal(tape.types[MSG_INITIATION], 2);
	sim_run_ms(&s, 500);
	assert_true(tape.types[MSG_INITIATION] > 2);
	sim_fini(&s);
}

/* It gives up on silence, and an initiation is none: what waits goes on waiting. */
static void the_other_sides_attempt_renews_patience(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	s.cut[0][1] = s.cut[1][0] = true;
	sim_send(&s, 0, 1);
	sim_run_ms(&s, 86000);
	s.cut[0][1] = s.cut[1][0] = false;
	tape.lose_type = MSG_DATA; /* what would confirm the session */
	tape.lose_from = 1;
	overlay_peer_initiate(s.node[1].o, s.node[1].peer[0], true, s.now);
	sim_run_ms(&s, 1000);
	assert_int_equal(s.node[0].established, 0);
	assert_int_equal(s.node[1].established, 1);
	sim_run_ms(&s, 6000);
	assert_int_equal(s.arrived[0][1], 1);
	sim_fini(&s);
}

static void counters_run_out(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, false);
	connect_nodes(&s);
	struct keypair *kp =
		s.node[1].peer[0]->current; /* the responder renews, too, when messages run out */
	kp->sent = REKEY_AFTER_MESSAGES;
	sim_run_ms(&s, 6000);
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 100);
	assert_int_equal(s.node[1].established, 2);
	s.node[1].peer[0]->current->sent = REJECT_AFTER_MESSAGES;
	uint8_t b[AEAD_HEAD + 64 + AEAD_TAIL] = {0};
	assert_int_equal(sim_seal(&s.node[1], s.node[1].peer[0], b + AEAD_HEAD, 64), -EAGAIN);
	sim_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(renewal_loses_nothing),
		cmocka_unit_test(listener_renews_too),
		cmocka_unit_test(late_arrival_renews),
		cmocka_unit_test(keys_die_unused),
		cmocka_unit_test(old_keys_die_first),
		cmocka_unit_test(gives_up_unless_persistent),
		cmocka_unit_test(retries_are_spread),
		cmocka_unit_test(silence_is_told_once),
		cmocka_unit_test(one_side_persists),
		cmocka_unit_test(idle_is_not_away),
		cmocka_unit_test(data_is_answered_within_keepalive_timeout),
		cmocka_unit_test(unanswered_data_starts_a_handshake),
		cmocka_unit_test(a_persistent_node_asks_soon),
		cmocka_unit_test(initiations_are_a_sign_of_life),
		cmocka_unit_test(responder_tries_itself_in_the_end),
		cmocka_unit_test(the_other_sides_attempt_renews_patience),
		cmocka_unit_test(counters_run_out),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
