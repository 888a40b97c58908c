/* SPDX-License-Identifier: Apache-2.0 */
/* Those who have not proven themselves: strangers, invitations, floods, half-open peers. */
#include "sim.h"

static const uint8_t secret[KEY_LEN] = {9, 9, 9};
static unsigned replies; /* from node 0 to anybody outside the simulation */
static uint8_t reply[256];
static size_t reply_len;

static bool catch_reply(struct sim *s, struct sim_node *from, const union sockaddr_any *to,
			uint8_t *data, size_t len)
{
	if (from->no == 0 && !sim_at(s, to)) {
		replies++;
		reply_len = len;
		assert_true(len <= sizeof(reply));
		memcpy(reply, data, len);
	}
	return true;
}

static void begin(struct sim *s, unsigned nnodes)
{
	sim_init(s, 11, nnodes);
	s->tap = catch_reply;
	replies = 0;
}

/* A manager's: whoever claims an invite gets the psk that belongs to it;
 * nothing is stored before. */
static struct overlay_peer *admit_claim(struct sim_node *n, const uint8_t *pub,
					const struct overlay_credential *cred,
					const struct path *from)
{
	struct overlay_peer *p = NULL;
	uint8_t psk[KEY_LEN];
	(void)from;
	if (!cred->claim)
		return NULL;
	invite_psk(psk, secret, cred->claim);
	assert_int_equal(overlay_peer_add(n->o, &p, pub, psk, NULL, NULL), 0);
	return p;
}

static struct invite_claim a_claim(void)
{
	return (struct invite_claim){
		.id = {1, 2, 3}, .role = ROLE_LAPTOP, .expiry = 2000000000, .name = "laptop-3"};
}

/* Somebody outside with a key of their own, at an address. */
struct stranger {
	struct identity id;
	struct path path;
	struct cookie_jar jar;
	nsec_t last_stamp;
};

static void stranger_init(struct stranger *st, const struct sim *s, unsigned host)
{
	struct ipaddr ip =
		ipaddr_v4((const uint8_t[]){172, 16, (uint8_t)(host >> 8), (uint8_t)host});
	union sockaddr_any sa = sockaddr_from(&ip, 999);
	*st = (struct stranger){.path = sim_path(&sa)};
	identity_generate(&st->id);
	cookie_jar_init(&st->jar, s->node[0].id.pub);
}

static size_t stranger_initiates(struct stranger *st, struct sim *s,
				 const struct invite_claim *claim, uint8_t *msg)
{
	struct handshake hs = {.local_index = 77};
	tai64n_next(hs.timestamp, SECONDS(1700000000), &st->last_stamp);
	int len = handshake_initiate(&hs, msg, &st->id, s->node[0].id.pub, claim, NULL, 0);
	assert_true(len > 0);
	cookie_add_macs(&st->jar, msg, (size_t)len, s->now);
	handshake_wipe(&hs);
	return (size_t)len;
}

static void knock(struct stranger *st, struct sim *s, const struct invite_claim *claim)
{
	uint8_t msg[MSG_INVITATION_LEN];
	size_t len = stranger_initiates(st, s, claim, msg);
	sim_deliver_raw(&s->node[0], &st->path, msg, len);
}

static void strangers_hear_nothing(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, 1);
	struct stranger st;
	stranger_init(&st, &s, 1);
	uint8_t room[AEAD_HEAD + 2000 + AEAD_TAIL] = {0}, *b = room + AEAD_HEAD;
	for (size_t len = 0; len < 2000; len++) {
		for (size_t i = 0; i < len; i++)
			b[i] = (uint8_t)sim_random(&s);
		if (len > 3 && len % 3)
			put_le32(b, 1 + (uint32_t)len % 6);
		sim_deliver_raw(&s.node[0], &st.path, b, len);
	}
	struct invite_claim c = a_claim();
	knock(&st, &s, NULL); /* a good initiation by a key nobody knows, and an invitation */
	knock(&st, &s, &c);
	assert_int_equal(s.node[0].admits, 2);
	assert_int_equal(s.datagrams, 0);
	assert_int_equal(s.node[0].o->admission.half_open, 0);
	assert_int_equal(sim_drops(&s, 0, DROP_HANDSHAKE), 2);
	assert_int_equal(overlay_next(s.node[0].o), 0);
	sim_fini(&s);
}

static void an_invitation_is_admitted(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, 2);
	s.admit = admit_claim;
	struct invite_claim c = a_claim();
	struct overlay_peer *p = NULL;
	uint8_t psk[KEY_LEN];
	invite_psk(psk, secret, &c);
	struct sim_node *laptop = &s.node[1];
	assert_int_equal(overlay_peer_add(laptop->o, &p, s.node[0].id.pub, psk, &c, NULL), 0);
	struct path path = sim_path(&s.node[0].addr);
	overlay_peer_set_path(p, &path);
	overlay_peer_persist(laptop->o, p, true, s.now);
	sim_run_ms(&s, 12);
	assert_int_equal(s.node[0].o->admission.half_open, 1); /* until it has used the keys */
	sim_run_ms(&s, 100);
	assert_int_equal(s.node[0].admits, 1);
	assert_int_equal(laptop->established, 1);
	assert_int_equal(s.node[0].established, 1);
	assert_int_equal(s.node[0].o->admission.half_open, 0);
	sim_run_ms(&s, 600000); /* renewals are invitations, too, but the peer is known now */
	assert_int_equal(s.node[0].admits, 1);
	assert_int_equal(s.node[0].fresh, 1);
	sim_fini(&s);
}

static void an_altered_claim_makes_no_session(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, 2);
	s.admit = admit_claim;
	struct invite_claim c = a_claim();
	struct overlay_peer *p = NULL;
	uint8_t psk[KEY_LEN];
	invite_psk(psk, secret, &c);
	c.role = ROLE_AGENT; /* not what the psk was made for */
	assert_int_equal(overlay_peer_add(s.node[1].o, &p, s.node[0].id.pub, psk, &c, NULL), 0);
	struct path path = sim_path(&s.node[0].addr);
	overlay_peer_set_path(p, &path);
	overlay_peer_initiate(s.node[1].o, p, true, s.now);
	sim_run_ms(&s, 14000);
	assert_int_equal(s.node[0].admits, 1);
	assert_int_equal(s.node[0].established + s.node[1].established, 0);
	assert_int_equal(s.node[0].o->admission.half_open, 1);
	overlay_peer_remove(s.node[1].o, p); /* it tries no more */
	sim_run_ms(&s, 2000);
	assert_null(overlay_peer_find(s.node[0].o, s.node[1].id.pub)->unconfirmed);
	assert_int_equal(s.node[0].o->admission.half_open, 0);
	sim_fini(&s);
}

static void half_open_peers_are_bounded(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, 1);
	s.admit = admit_claim;
	struct invite_claim c = a_claim();
	struct stranger st;
	for (unsigned i = 0; i < HALF_OPEN_PER_SOURCE; i++) {
		stranger_init(&st, &s, 1); /* another key, the same address */
		knock(&st, &s, &c);
		if (i >=
		    HALF_OPEN_PER_SOURCE / 2) { /* who may be lying about it has no more room */
			assert_int_equal(reply[0], MSG_COOKIE);
			assert_int_equal(s.node[0].admits, i);
			assert_int_equal(cookie_consume(&st.jar, reply, reply_len, s.now), 0);
			knock(&st, &s, &c);
		}
		assert_int_equal(reply[0], MSG_RESPONSE);
		assert_int_equal(s.node[0].admits, i + 1);
		sim_run_ms(&s, 10); /* below the rate that is load */
	}
	assert_int_equal(s.node[0].o->admission.half_open, HALF_OPEN_PER_SOURCE);
	stranger_init(&st, &s, 1);
	knock(&st, &s, &c); /* one too many: told to show that it is where it says */
	assert_int_equal(reply[0], MSG_COOKIE);
	assert_int_equal(s.node[0].admits, HALF_OPEN_PER_SOURCE);
	assert_int_equal(cookie_consume(&st.jar, reply, reply_len, s.now), 0);
	unsigned before = replies;
	knock(&st, &s, &c); /* it does, and is still too many */
	assert_int_equal(replies, before);
	assert_int_equal(sim_drops(&s, 0, DROP_LIMIT), 1);
	struct stranger other;
	stranger_init(&other, &s, 2); /* from elsewhere: welcome */
	knock(&other, &s, &c);
	assert_int_equal(reply[0], MSG_RESPONSE);
	sim_run_ms(&s, HALF_OPEN_TIME * 1000);
	assert_int_equal(s.node[0].o->admission.half_open, 0);
	knock(&st, &s, &c);
	assert_int_equal(reply[0], MSG_RESPONSE);
	assert_int_equal(s.node[0].o->admission.half_open, 1);
	overlay_peer_remove(s.node[0].o, overlay_peer_find(s.node[0].o, st.id.pub));
	assert_int_equal(s.node[0].o->admission.half_open, 0);
	sim_fini(&s);
}

static void cookies_under_load(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, 2);
	sim_join_all(&s);
	struct stranger st;
	stranger_init(&st, &s, 1);
	uint8_t msg[MSG_INVITATION_LEN];
	size_t len = stranger_initiates(&st, &s, NULL, msg);
	for (unsigned i = 0; i < UNDER_LOAD_HANDSHAKES; i++)
		sim_deliver_raw(&s.node[0], &st.path, msg, len);
	assert_int_equal(replies, 0);
	assert_int_equal(s.node[0].admits, UNDER_LOAD_HANDSHAKES);
	for (unsigned i = 0; i < 100; i++)
		sim_deliver_raw(&s.node[0], &st.path, msg, len);
	assert_int_equal(replies, 100);
	assert_int_equal(reply_len, MSG_COOKIE_LEN); /* shorter than what asked for it */
	assert_int_equal(s.node[0].admits, UNDER_LOAD_HANDSHAKES);
	assert_int_equal(sim_drops(&s, 0, DROP_UNDER_LOAD), 100);

	/* Someone honest comes in meanwhile: by a cookie, and soon. */
	sim_send(&s, 1, 0);
	sim_run_ms(&s, 500);
	assert_int_equal(s.arrived[1][0], 1);
	assert_int_equal(sim_drops(&s, 0, DROP_UNDER_LOAD), 101);
	assert_true(s.node[1].peer[0]->jar.cookie_born != 0);

	/* A cookie allows 5 at once, then 20 a second. */
	assert_int_equal(cookie_consume(&st.jar, reply, reply_len, s.now), 0);
	unsigned admits = s.node[0].admits;
	for (unsigned i = 0; i < 50; i++)
		knock(&st, &s, NULL);
	assert_int_equal(s.node[0].admits, admits + SOURCE_BURST);
	assert_int_equal(sim_drops(&s, 0, DROP_LIMIT), 50 - SOURCE_BURST);
	sim_run_ms(&s, 1000000 / SOURCE_RATE / 1000 + 1);
	knock(&st, &s, NULL);
	assert_int_equal(s.node[0].admits, admits + SOURCE_BURST + 1);

	sim_run_ms(&s, 2000); /* the load is over */
	replies = 0;
	stranger_init(&st, &s, 3);
	knock(&st, &s, NULL);
	assert_int_equal(replies, 0);
	assert_int_equal(s.node[0].admits, admits + SOURCE_BURST + 2);
	sim_fini(&s);
}

static void a_peer_that_floods_is_limited(void **state)
{
	(void)state;
	struct sim s;
	begin(&s, 2);
	sim_join_all(&s);
	for (unsigned i = 0; i < INITIATIONS_PER_SECOND + 10; i++)
		overlay_peer_initiate(s.node[1].o, s.node[1].peer[0], true, s.now);
	sim_run_ms(&s, 100);
	assert_int_equal(sim_drops(&s, 0, DROP_LIMIT), 10);
	sim_run_ms(&s, 1000);
	overlay_peer_initiate(s.node[1].o, s.node[1].peer[0], true, s.now);
	sim_run_ms(&s, 100);
	assert_non_null(s.node[1].peer[0]->current);
	sim_fini(&s);
}

static struct path path_of(const char *text)
{
	union sockaddr_any sa;
	assert_int_equal(sockaddr_parse(&sa, text), 0);
	return sim_path(&sa);
}

static void sources_are_bounded(void **state)
{
	(void)state;
	struct admission a;
	assert_int_equal(admission_init(&a), 0);
	char text[ADDR_STRLEN];
	for (unsigned i = 0; i < SOURCES_MAX + 100; i++) {
		snprintf(text, sizeof(text), "10.%u.%u.%u:1", i >> 16, i >> 8 & 255, i & 255);
		struct path p = path_of(text);
		assert_int_equal(admission_rate(&a, &p, SECONDS(10)), i < SOURCES_MAX);
	}
	assert_int_equal(a.table.count, SOURCES_MAX);
	struct path late = path_of("10.9.9.9:1");
	assert_true(admission_rate(&a, &late, SECONDS(13))); /* the idle are forgotten */
	assert_int_equal(a.table.count, 1);

	/* All half-open peers together. */
	struct source *s[HALF_OPEN_MAX];
	for (unsigned i = 0; i < HALF_OPEN_MAX; i++) {
		snprintf(text, sizeof(text), "[fd00:%x::%x]:1", i / 100,
			 i); /* 100 hosts of a /64: one source */
		struct path p = path_of(text);
		assert_int_equal(admission_half_open_fits(&a, &p, false), i < HALF_OPEN_MAX / 2);
		assert_true(admission_half_open_fits(&a, &p, true));
		s[i] = admission_half_open_begin(&a, &p, SECONDS(13));
		assert_non_null(s[i]);
	}
	assert_int_equal(a.table.count, 1 + (HALF_OPEN_MAX + 99) / 100);
	assert_false(admission_half_open_fits(&a, &late, true));
	admission_half_open_end(&a, s[0]);
	assert_true(admission_half_open_fits(&a, &late, true));
	admission_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strangers_hear_nothing),
		cmocka_unit_test(an_invitation_is_admitted),
		cmocka_unit_test(an_altered_claim_makes_no_session),
		cmocka_unit_test(half_open_peers_are_bounded),
		cmocka_unit_test(cookies_under_load),
		cmocka_unit_test(a_peer_that_floods_is_limited),
		cmocka_unit_test(sources_are_bounded),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
