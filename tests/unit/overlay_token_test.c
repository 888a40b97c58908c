/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Agents that prove themselves by a token. Node 0 is a manager who must ask others about it, which
 * takes time; then it adds the peer and initiates itself. Node 1 is the agent, which meanwhile
 * tries on, so that the two sides' initiations cross.
 */
#include "tape.h"

static const char token[] = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsiY3VsdmVydCJdfQ.c2lnbmF0dXJl";

/* What the manager has been asked. */
static struct {
	unsigned asked;
	uint8_t pub[KEY_LEN];
	struct path from;
} question;

static struct overlay_peer *ask_others(struct sim_node *n, const uint8_t *pub,
				       const struct overlay_credential *cred,
				       const struct path *from)
{
	sim_check(n->sim, !cred->claim && cred->token_len == strlen(token));
	assert_string_equal(cred->token, token);
	question.asked++;
	memcpy(question.pub, pub, KEY_LEN);
	question.from = *from;
	return NULL;
}

/* The others said yes. */
static void admit_now(struct sim *s)
{
	struct sim_node *manager = &s->node[0];
	struct overlay_peer *p = NULL;
	struct prefix pre = overlay_prefix_of(question.pub);
	assert_int_equal(overlay_peer_add(manager->o, &p, question.pub, NULL, NULL, NULL), 0);
	assert_int_equal(overlay_route_add(manager->o, &pre, p), 0);
	manager->peer[1] = p;
	overlay_peer_set_path(p, &question.from);
	overlay_peer_initiate(manager->o, p, true, s->now);
}

/* `lower`: the manager's key is the lower one, so that it would win the tie-break between equals. */
static void begin_agent(struct sim *s, uint64_t seed, bool lower)
{
	sim_init(s, seed, 2);
	sim_order_keys(s);
	if (!lower) {
		struct identity id = s->node[0].id;
		s->node[0].id = s->node[1].id;
		s->node[1].id = id;
		for (unsigned i = 0; i < 2; i++) {
			overlay_free(s->node[i].o);
			sim_node_start(&s->node[i]);
		}
	}
	memset(&question, 0, sizeof(question));
	tape = (struct tape){.count = 0};
	s->tap = record;
	s->admit = ask_others;
	s->node[1].persist = true;
	struct overlay_peer *manager = sim_join(&s->node[1], &s->node[0], NULL);
	assert_int_equal(overlay_peer_set_token(manager, token, strlen(token)), 0);
}

static bool connected(const struct sim *s)
{
	return s->node[0].established && s->node[1].established;
}

static void admitted_when_the_answer_is_known(void **state)
{
	(void)state;
	struct sim s;
	begin_agent(&s, 1, true);
	sim_run_ms(&s, 6);
	assert_int_equal(question.asked, 1);
	assert_int_equal(memcmp(question.pub, s.node[1].id.pub, KEY_LEN), 0);
	assert_true(sockaddr_equal(&question.from.remote, &s.node[1].addr));
	sim_run_ms(&s, 60000); /* nobody knows yet: silence, however often it asks */
	assert_true(question.asked > 5);
	assert_int_equal(s.datagrams, question.asked);
	assert_int_equal(s.node[0].o->admission.half_open, 0);
	assert_null(s.node[0].o->peers);
	admit_now(&s);
	sim_run_ms(&s, 3 * 5 + 1); /* initiation, response, first message */
	assert_true(connected(&s));
	assert_true(s.node[0].peer[1]->current->initiator);
	sim_send(&s, 0, 1);
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 100);
	assert_int_equal(s.arrived[0][1] + s.arrived[1][0], 2);
	sim_fini(&s);
}

/* Whenever it is that the manager knows, and whoever has the lower key: at once. */
static void initiations_that_cross(void **state)
{
	(void)state;
	for (unsigned ms = 6; ms < 1500; ms++) {
		struct sim s;
		begin_agent(&s, 1 + ms, ms % 2);
		sim_run_ms(&s, ms);
		unsigned before = tape.types[MSG_INITIATION];
		admit_now(&s);
		sim_run_ms(&s, 3 * 5 + 1);
		sim_check(&s, connected(&s));
		sim_check(&s, tape.types[MSG_INITIATION] == before + 1);
		sim_check(&s, tape.types[MSG_RESPONSE] == 1);
		sim_fini(&s);
	}
}

static void cross_on_a_lossy_link(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 500; seed++) {
		struct sim s;
		begin_agent(&s, seed, seed % 2);
		s.net = (struct sim_net){.loss = 300,
					 .repeat = 100,
					 .reorder = 200,
					 .delay = (1 + seed % 200) * NSEC_PER_MSEC,
					 .jitter = 20 * NSEC_PER_MSEC};
		while (!question.asked)
			sim_run_ms(&s, 100);
		sim_run_ms(&s, 50 + seed);
		admit_now(&s);
		nsec_t known = s.now;
		while (!connected(&s)) {
			sim_check(&s, s.now - known < SECONDS(300));
			sim_run_ms(&s, 100);
		}
		/* Most of it is lost now and then, but it stays. */
		sim_run_ms(&s, 20000);
		s.net.loss = 0;
		sim_run_ms(&s, 1000);
		sim_send(&s, 0, 1);
		sim_send(&s, 1, 0);
		sim_run_ms(&s, 1000);
		sim_check(&s, s.arrived[0][1] == 1 && s.arrived[1][0] == 1);
		sim_fini(&s);
	}
}

static void known_peers_need_none(void **state)
{
	(void)state;
	struct sim s;
	begin_agent(&s, 1, true);
	sim_run_ms(&s, 6);
	admit_now(&s);
	sim_run_ms(&s, 1000);
	unsigned asked = question.asked, tokens = tape.types[MSG_TOKEN];
	overlay_peer_initiate(s.node[1].o, s.node[1].peer[0], true, s.now);
	sim_run_ms(&s, 1000);
	assert_int_equal(tape.types[MSG_TOKEN], tokens + 1);
	assert_int_equal(question.asked, asked);
	assert_int_equal(s.node[0].established, 2);
	/* It renews with another token, and then without one. */
	assert_int_equal(overlay_peer_set_token(s.node[1].peer[0], "another", 7), 0);
	overlay_peer_initiate(s.node[1].o, s.node[1].peer[0], true, s.now);
	assert_int_equal(last_of(1, MSG_TOKEN)->len, MSG_TOKEN_MIN_LEN);
	sim_run_ms(&s, 1000);
	assert_int_equal(s.node[0].established, 3);
	assert_int_equal(overlay_peer_set_token(s.node[1].peer[0], NULL, 0), 0);
	overlay_peer_initiate(s.node[1].o, s.node[1].peer[0], true, s.now);
	sim_run_ms(&s, 1000);
	assert_int_equal(tape.types[MSG_TOKEN], tokens + 2);
	assert_int_equal(s.node[0].established, 4);
	sim_fini(&s);
}

/* The manager forgot all: the agent misses it, and shows its token again. */
static void manager_restarts(void **state)
{
	(void)state;
	struct sim s;
	begin_agent(&s, 1, true);
	sim_run_ms(&s, 6);
	admit_now(&s);
	sim_run_ms(&s, 1000);
	overlay_free(s.node[0].o);
	sim_node_start(&s.node[0]);
	question.asked = 0;
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 2000);
	assert_true(question.asked > 0);
	admit_now(&s);
	sim_run_ms(&s, 16);
	assert_int_equal(s.node[1].established, 2);
	sim_fini(&s);
}

static void tokens_are_checked(void **state)
{
	(void)state;
	struct sim s;
	char long_one[TOKEN_MAX + 1];
	memset(long_one, 'x', sizeof(long_one));
	sim_init(&s, 1, 2);
	struct overlay_peer *p = sim_join(&s.node[0], &s.node[1], NULL);
	assert_int_equal(overlay_peer_set_token(p, long_one, TOKEN_MAX), 0);
	assert_int_equal(overlay_peer_set_token(p, long_one, TOKEN_MAX + 1), -EMSGSIZE);
	assert_int_equal(overlay_peer_set_token(p, "", 0), -EMSGSIZE);
	assert_int_equal(overlay_peer_set_token(p, "a b", 3), -EINVAL);
	assert_int_equal(p->token_len, TOKEN_MAX); /* the good one stays */
	s.tap = record;
	tape = (struct tape){.count = 0};
	overlay_peer_initiate(s.node[0].o, p, true, s.now);
	assert_int_equal(last_of(0, MSG_TOKEN)->len, MSG_TOKEN_MAX_LEN);
	sim_fini(&s);
}

/* A token buys nothing under load: a cookie first, then the rate of its source. */
static void cookies_under_load(void **state)
{
	(void)state;
	struct sim s;
	begin_agent(&s, 1, true);
	sim_run_ms(&s, 6);
	struct held again = *last_of(1, MSG_TOKEN);
	for (unsigned i = 0; i < 2 * UNDER_LOAD_HANDSHAKES; i++)
		inject(&s, 0, &again, &s.node[1].addr);
	assert_int_equal(question.asked, UNDER_LOAD_HANDSHAKES);
	assert_int_equal(tape.types[MSG_COOKIE], UNDER_LOAD_HANDSHAKES + 1);
	/* Its own retry is answered by a cookie; the one after carries it, and is heard. */
	sim_run_ms(&s, 800);
	unsigned asked = question.asked;
	assert_true(asked > UNDER_LOAD_HANDSHAKES);
	again = *last_of(1, MSG_TOKEN);
	for (unsigned i = 0; i < 50; i++)
		inject(&s, 0, &again, &s.node[1].addr);
	assert_in_range(question.asked, asked + 1, asked + SOURCE_BURST);
	assert_int_equal(sim_drops(&s, 0, DROP_LIMIT), 50 - (question.asked - asked));
	sim_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(admitted_when_the_answer_is_known),
		cmocka_unit_test(initiations_that_cross),
		cmocka_unit_test(cross_on_a_lossy_link),
		cmocka_unit_test(known_peers_need_none),
		cmocka_unit_test(manager_restarts),
		cmocka_unit_test(tokens_are_checked),
		cmocka_unit_test(cookies_under_load),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
