/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake's messages: they meet, and whatever is changed in one of them, they do not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "crypto/messages.h"
#include "crypto/noise.h"

/* Two nodes in the middle of a handshake. */
struct pair {
	struct identity initiator, responder;
	uint8_t psk[KEY_LEN];
	struct cookie_jar to_responder, to_initiator;
	struct cookie_checker responder_checker, initiator_checker;
	struct handshake hs_i, hs_r;
	uint8_t msg[MSG_TOKEN_MAX_LEN]; /* message 1 */
	size_t len;
	uint8_t response[MSG_RESPONSE_LEN];
};

static const struct invite_claim claim_ok = {
	.id = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	.role = ROLE_LAPTOP,
	.expiry = 1893456000,
	.name = "ada.laptop-1_x",
};

static const uint8_t stamp[TAI64N_LEN] = {0x40, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
static const nsec_t now = 1000 * NSEC_PER_SEC;

/* What message 1 carries: neither, or one of them. */
struct carried {
	const struct invite_claim *claim;
	const char *token;
};

static const struct carried plain;
static const char token_ok[] = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJhdWQiOlsiY3VsdmVydCJdfQ.c2ln";

static void pair_start(struct pair *p, struct carried c)
{
	memset(p, 0, sizeof(*p));
	identity_generate(&p->initiator);
	identity_generate(&p->responder);
	crypto_random(p->psk, KEY_LEN);
	cookie_jar_init(&p->to_responder, p->responder.pub);
	cookie_jar_init(&p->to_initiator, p->initiator.pub);
	cookie_checker_init(&p->responder_checker, p->responder.pub);
	cookie_checker_init(&p->initiator_checker, p->initiator.pub);

	p->hs_i.local_index = 0x11223344;
	memcpy(p->hs_i.timestamp, stamp, TAI64N_LEN);
	memcpy(p->hs_i.psk, p->psk, KEY_LEN);
	size_t n = c.token ? strlen(c.token) : 0;
	int len = handshake_initiate(&p->hs_i, p->msg, &p->initiator, p->responder.pub, c.claim,
				     c.token, n);
	assert_int_equal(len, c.token	? (int)(136 + ROUND_UP(14 + n, 64))
			      : c.claim ? MSG_INVITATION_LEN
					: MSG_INITIATION_LEN);
	p->len = (size_t)len;
	cookie_add_macs(&p->to_responder, p->msg, p->len, now);
}

static int consume(struct pair *p, struct initiation *in)
{
	return handshake_consume_initiation(&p->hs_r, p->msg, p->len, &p->responder, in);
}

static void respond(struct pair *p, struct transport_keys *keys)
{
	p->hs_r.local_index = 0x55667788;
	memcpy(p->hs_r.psk, p->psk, KEY_LEN);
	assert_int_equal(handshake_respond(&p->hs_r, p->response, keys), 0);
	cookie_add_macs(&p->to_initiator, p->response, MSG_RESPONSE_LEN, now);
}

static enum mac_verdict check(struct cookie_checker *c, const uint8_t *msg, size_t len)
{
	return cookie_check(c, msg, len, "source", 6, now);
}

/* Of a finished handshake nothing is left but the indices. */
static void assert_wiped(const struct handshake *hs, uint32_t local, uint32_t remote)
{
	struct handshake want = {.local_index = local, .remote_index = remote};

	assert_memory_equal(hs, &want, offsetof(struct handshake, timestamp));
	assert_true(sodium_is_zero(hs->timestamp, TAI64N_LEN));
	assert_false(hs->initiator);
}

static void meet(struct carried c)
{
	struct pair p;
	struct initiation got;
	struct transport_keys ki, kr;

	pair_start(&p, c);
	assert_int_equal(check(&p.responder_checker, p.msg, p.len), MAC_VALID);
	memset(&got, 0xff, sizeof(got));
	assert_int_equal(consume(&p, &got), 0);
	assert_memory_equal(p.hs_r.remote_static, p.initiator.pub, KEY_LEN);
	assert_memory_equal(p.hs_r.timestamp, stamp, TAI64N_LEN);
	assert_int_equal(p.hs_r.remote_index, 0x11223344);
	assert_int_equal(got.type, c.token ? MSG_TOKEN : c.claim ? MSG_INVITATION : MSG_INITIATION);
	assert_string_equal(got.token, c.token ? c.token : "");
	assert_int_equal(got.token_len, strlen(got.token));
	assert_string_equal(got.claim.name, c.claim ? c.claim->name : "");
	if (c.claim) {
		assert_memory_equal(got.claim.id, c.claim->id, INVITE_ID_LEN);
		assert_int_equal(got.claim.role, c.claim->role);
		assert_int_equal(got.claim.expiry, c.claim->expiry);
	}

	respond(&p, &kr);
	assert_wiped(&p.hs_r, 0x55667788, 0x11223344);
	assert_int_equal(check(&p.initiator_checker, p.response, MSG_RESPONSE_LEN), MAC_VALID);
	assert_int_equal(handshake_consume_response(&p.hs_i, p.response, MSG_RESPONSE_LEN,
						    &p.initiator, &ki),
			 0);
	assert_wiped(&p.hs_i, 0x11223344, 0x55667788);
	assert_memory_equal(ki.send, kr.receive, KEY_LEN);
	assert_memory_equal(ki.receive, kr.send, KEY_LEN);
	assert_memory_not_equal(ki.send, ki.receive, KEY_LEN);
}

static void initiation_and_response(void **state)
{
	(void)state;
	meet(plain);
}

static void invitation_and_response(void **state)
{
	(void)state;
	struct invite_claim c = claim_ok;

	meet((struct carried){.claim = &c});
	c.role = ROLE_AGENT;
	c.expiry = UINT64_MAX;
	memset(c.name, 'z', NAME_MAX_LEN);
	c.name[NAME_MAX_LEN] = '\0';
	meet((struct carried){.claim = &c});
	strcpy(c.name, "a");
	meet((struct carried){.claim = &c});
}

static void token_and_response(void **state)
{
	(void)state;
	char token[TOKEN_MAX + 1];

	meet((struct carried){.token = token_ok});
	memset(token, '~', TOKEN_MAX);
	/* Each length's end of padding, both sides of the steps, and the longest. */
	static const size_t lengths[] = {1, 49, 50, 51, 113, 114, 115, 800, TOKEN_MAX};
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		memset(token, '!' + (int)i, sizeof(token));
		token[lengths[i]] = '\0';
		meet((struct carried){.token = token});
	}
}

static void flip(uint8_t *msg, size_t bit)
{
	msg[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

/* As it arrives: MAC1 covers all before it. As a forger sends it, who knows the public key and
 * makes a new MAC1: Noise covers all but the head, whose index only says where the answer goes. */
static void flip_message_1(struct carried c)
{
	struct pair p;
	struct initiation got;
	struct handshake before;

	pair_start(&p, c);
	memset(&p.hs_r, 0x5a, sizeof(p.hs_r));
	before = p.hs_r;
	for (size_t bit = 0; bit < (p.len - MAC_LEN) * 8; bit++) {
		flip(p.msg, bit);
		assert_int_equal(check(&p.responder_checker, p.msg, p.len), MAC_INVALID);
		flip(p.msg, bit);
	}
	for (size_t bit = 0; bit < (p.len - 2 * MAC_LEN) * 8; bit++) {
		bool index = bit / 8 >= MSG_HEAD_LEN && bit / 8 < MSG_HEAD_LEN + 4;
		if (index)
			continue;
		flip(p.msg, bit);
		assert_int_equal(consume(&p, &got), -EBADMSG);
		assert_memory_equal(&p.hs_r, &before, sizeof(before));
		flip(p.msg, bit);
	}
	for (size_t len = 0; len < p.len; len++)
		assert_int_equal(
			handshake_consume_initiation(&before, p.msg, len, &p.responder, &got),
			-EBADMSG);
	assert_int_equal(consume(&p, &got), 0);
}

static void every_bit_of_the_initiation(void **state)
{
	(void)state;
	flip_message_1(plain);
}

static void every_bit_of_the_invitation(void **state)
{
	(void)state;
	flip_message_1((struct carried){.claim = &claim_ok});
}

static void every_bit_of_the_token_message(void **state)
{
	(void)state;
	flip_message_1((struct carried){.token = token_ok});
}

/* Here the sender's index is left to MAC1 alone, as in WireGuard. */
static void every_bit_of_the_response(void **state)
{
	(void)state;
	struct pair p;
	struct initiation got;
	struct transport_keys ki, kr;
	struct handshake before;

	pair_start(&p, plain);
	assert_int_equal(consume(&p, &got), 0);
	respond(&p, &kr);
	before = p.hs_i;
	for (size_t bit = 0; bit < (MSG_RESPONSE_LEN - MAC_LEN) * 8; bit++) {
		bool covered_by_noise = bit / 8 < MSG_RESPONSE_LEN - 2 * MAC_LEN &&
					!(bit / 8 >= MSG_HEAD_LEN && bit / 8 < MSG_HEAD_LEN + 4);
		flip(p.response, bit);
		assert_int_equal(check(&p.initiator_checker, p.response, MSG_RESPONSE_LEN),
				 MAC_INVALID);
		if (covered_by_noise)
			assert_int_equal(handshake_consume_response(&p.hs_i, p.response,
								    MSG_RESPONSE_LEN, &p.initiator,
								    &ki),
					 -EBADMSG);
		flip(p.response, bit);
	}
	assert_memory_equal(&p.hs_i, &before, sizeof(before));
	for (size_t len = 0; len < MSG_RESPONSE_LEN; len++)
		assert_int_equal(
			handshake_consume_response(&p.hs_i, p.response, len, &p.initiator, &ki),
			-EBADMSG);
	assert_int_equal(handshake_consume_response(&p.hs_i, p.response, MSG_RESPONSE_LEN,
						    &p.initiator, &ki),
			 0);
	/* Used once: the same response does nothing now. */
	assert_int_equal(handshake_consume_response(&p.hs_i, p.response, MSG_RESPONSE_LEN,
						    &p.initiator, &ki),
			 -EBADMSG);
}

static void another_psk_or_node(void **state)
{
	(void)state;
	struct pair p;
	struct initiation got;
	struct transport_keys ki, kr;
	struct identity other;
	struct handshake hs;

	identity_generate(&other);
	pair_start(&p, plain);
	assert_int_equal(handshake_consume_initiation(&hs, p.msg, p.len, &other, &got), -EBADMSG);
	assert_int_equal(consume(&p, &got), 0);
	p.psk[0] ^= 1;
	respond(&p, &kr);
	assert_int_equal(handshake_consume_response(&p.hs_i, p.response, MSG_RESPONSE_LEN,
						    &p.initiator, &ki),
			 -EBADMSG);
}

/* All points of small order in the encodings that libsodium lists (and their twins with the top
 * bit). */
static const char *const low_order[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static void low_order_points(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(low_order); i++) {
		struct pair p;
		struct initiation got;
		struct transport_keys ki, kr;
		uint8_t point[KEY_LEN], ss[KEY_LEN], msg[MSG_INVITATION_LEN];
		struct handshake hs = {0};

		sodium_hex2bin(point, KEY_LEN, low_order[i / 2], 64, NULL, NULL, NULL);
		if (i % 2)
			point[KEY_LEN - 1] |= 0x80;
		pair_start(&p, plain);
		assert_int_equal(handshake_static_dh(ss, &p.initiator, point), -EINVAL);
		assert_true(sodium_is_zero(ss, KEY_LEN));
		assert_int_equal(handshake_initiate(&hs, msg, &p.initiator, point, NULL, NULL, 0),
				 -EINVAL);

		assert_int_equal(consume(&p, &got), 0);
		struct pair q = p;
		memcpy(q.hs_r.remote_static, point, KEY_LEN);
		assert_int_equal(handshake_respond(&q.hs_r, q.response, &kr), -EINVAL);
		assert_true(sodium_is_zero(q.hs_r.chaining, HASH_LEN));

		respond(&p, &kr);
		memcpy(p.response + 12, point, KEY_LEN);
		assert_int_equal(handshake_consume_response(&p.hs_i, p.response, MSG_RESPONSE_LEN,
							    &p.initiator, &ki),
				 -EBADMSG);
		memcpy(p.msg + 8, point, KEY_LEN);
		assert_int_equal(consume(&p, &got), -EBADMSG);
	}
}

static void bad_claims_are_not_sent(void **state)
{
	(void)state;
	static const char *const bad[] = {"", "a b", "a/b", "\xc3\xa4", "a\n"};
	struct identity a, b;
	struct handshake hs = {0};
	struct invite_claim c = claim_ok;
	uint8_t msg[MSG_INVITATION_LEN];

	identity_generate(&a);
	identity_generate(&b);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		strcpy(c.name, bad[i]);
		assert_int_equal(handshake_initiate(&hs, msg, &a, b.pub, &c, NULL, 0), -EINVAL);
	}
	memset(c.name, 'a', sizeof(c.name)); /* no end */
	assert_int_equal(handshake_initiate(&hs, msg, &a, b.pub, &c, NULL, 0), -EINVAL);
	strcpy(c.name, "ok");
	c.role = ROLE_MANAGER;
	assert_int_equal(handshake_initiate(&hs, msg, &a, b.pub, &c, NULL, 0), -EINVAL);
	c.role = ROLE_AGENT;
	assert_int_equal(handshake_initiate(&hs, msg, &a, b.pub, &c, NULL, 0), MSG_INVITATION_LEN);
}

/* From one who holds a key and seals what no honest sender does. */
static int consume_claim(const struct wire_claim *claim)
{
	struct pair p;
	struct wire_invitation w = {0};
	struct wire_invitation_payload payload = {.claim = *claim};
	struct initiation got;
	struct handshake before;
	struct noise n;

	pair_start(&p, plain);
	put_le32(w.type, MSG_INVITATION);
	noise_begin(&n, "culvert v1", 10, p.responder.pub);
	assert_int_equal(noise_write_1(&n, w.ephemeral, &p.initiator, p.hs_i.ephemeral,
				       p.responder.pub, &payload, sizeof(payload)),
			 0);
	memset(&p.hs_r, 0x5a, sizeof(p.hs_r));
	before = p.hs_r;
	int ret =
		handshake_consume_initiation(&p.hs_r, (uint8_t *)&w, sizeof(w), &p.responder, &got);
	if (ret)
		assert_memory_equal(&p.hs_r, &before, sizeof(before));
	return ret;
}

static void bad_claims_are_not_taken(void **state)
{
	(void)state;
	struct wire_claim good, bad;

	claim_pack(&good, &claim_ok);
	assert_int_equal(consume_claim(&good), 0);
	for (unsigned role = 0; role < 256; role++) {
		bool known = role == ROLE_LAPTOP || role == ROLE_AGENT;
		bad = good, bad.role = (uint8_t)role;
		assert_int_equal(consume_claim(&bad), known ? 0 : -EBADMSG);
	}
	for (size_t i = strlen(claim_ok.name) + 1; i < NAME_MAX_LEN; i++) {
		bad = good, bad.name[i] = 'x'; /* behind the end */
		assert_int_equal(consume_claim(&bad), -EBADMSG);
	}
	bad = good, bad.name[2] = ' ';
	assert_int_equal(consume_claim(&bad), -EBADMSG);
	bad = good, memset(bad.name, 0, sizeof(bad.name));
	assert_int_equal(consume_claim(&bad), -EBADMSG);
	bad = good, memset(bad.name, 'x', sizeof(bad.name));
	assert_int_equal(consume_claim(&bad), 0);
}

static void bad_tokens_are_not_sent(void **state)
{
	(void)state;
	struct identity a, b;
	struct handshake hs = {0};
	uint8_t msg[MSG_TOKEN_MAX_LEN];
	char token[TOKEN_MAX + 2];

	identity_generate(&a);
	identity_generate(&b);
	memset(token, 'x', sizeof(token));
	assert_int_equal(handshake_initiate(&hs, msg, &a, b.pub, NULL, token, 0), -EINVAL);
	assert_int_equal(handshake_initiate(&hs, msg, &a, b.pub, NULL, token, TOKEN_MAX + 1),
			 -EINVAL);
	assert_int_equal(handshake_initiate(&hs, msg, &a, b.pub, NULL, token, TOKEN_MAX),
			 MSG_TOKEN_MAX_LEN);
	for (int c = 0; c < 256; c++) {
		token[2] = (char)c;
		int r = handshake_initiate(&hs, msg, &a, b.pub, NULL, token, 4);
		assert_int_equal(r, c > ' ' && c < 0x7f ? MSG_TOKEN_MIN_LEN : -EINVAL);
	}
}

/* The payload of an initiation with a token, from one who seals what no honest sender does. */
static int consume_token(const uint8_t *payload, size_t len)
{
	struct pair p;
	uint8_t msg[MSG_TOKEN_MAX_LEN + 2 * MSG_TOKEN_STEP] = {0};
	struct wire_token *w = (struct wire_token *)msg;
	struct initiation got;
	struct handshake before;
	struct noise n;

	pair_start(&p, plain);
	put_le32(w->type, MSG_TOKEN);
	noise_begin(&n, "culvert v1", 10, p.responder.pub);
	assert_int_equal(noise_write_1(&n, w->ephemeral, &p.initiator, p.hs_i.ephemeral,
				       p.responder.pub, payload, len),
			 0);
	memset(&p.hs_r, 0x5a, sizeof(p.hs_r));
	before = p.hs_r;
	int ret = handshake_consume_initiation(&p.hs_r, msg, TOKEN_OVERHEAD + len, &p.responder,
					       &got);
	if (ret)
		assert_memory_equal(&p.hs_r, &before, sizeof(before));
	return ret;
}

static void bad_tokens_are_not_taken(void **state)
{
	(void)state;
	enum { AT = TAI64N_LEN, TEXT = AT + 2 };
	uint8_t b[TOKEN_PAYLOAD_MAX + MSG_TOKEN_STEP] = {0};

	memset(b + TEXT, 'x', 40);
	b[AT] = 40;
	assert_int_equal(consume_token(b, 64), 0);
	assert_int_equal(consume_token(b, 128), -EBADMSG); /* more padding than it needs */
	assert_int_equal(consume_token(b, 63), -EBADMSG);
	assert_int_equal(consume_token(b, 65), -EBADMSG);
	b[AT] = 39; /* something behind the end */
	assert_int_equal(consume_token(b, 64), -EBADMSG);
	b[AT] = 41; /* a zero in it */
	assert_int_equal(consume_token(b, 64), -EBADMSG);
	b[AT] = 0;
	memset(b + TEXT, 0, 40);
	assert_int_equal(consume_token(b, 64), -EBADMSG);
	memset(b + TEXT, 'x', sizeof(b) - TEXT);
	b[AT] = 51; /* longer than the message */
	assert_int_equal(consume_token(b, 64), -EBADMSG);
	b[AT] = 50;
	assert_int_equal(consume_token(b, 64), 0);
	b[AT] = b[AT + 1] = 0xff;
	assert_int_equal(consume_token(b, 64), -EBADMSG);
	b[AT] = 1, b[AT + 1] = TOKEN_MAX >> 8; /* TOKEN_MAX + 1 */
	memset(b + TEXT + TOKEN_MAX + 1, 0, sizeof(b) - TEXT - TOKEN_MAX - 1);
	assert_int_equal(consume_token(b, TOKEN_PAYLOAD_MAX), -EBADMSG);
	b[AT] = 0, b[TEXT + TOKEN_MAX] = 0;
	assert_int_equal(consume_token(b, TOKEN_PAYLOAD_MAX), 0);
	b[TEXT + TOKEN_MAX - 1] = ' ';
	assert_int_equal(consume_token(b, TOKEN_PAYLOAD_MAX), -EBADMSG);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(initiation_and_response),
		cmocka_unit_test(invitation_and_response),
		cmocka_unit_test(token_and_response),
		cmocka_unit_test(every_bit_of_the_initiation),
		cmocka_unit_test(every_bit_of_the_invitation),
		cmocka_unit_test(every_bit_of_the_token_message),
		cmocka_unit_test(every_bit_of_the_response),
		cmocka_unit_test(another_psk_or_node),
		cmocka_unit_test(low_order_points),
		cmocka_unit_test(bad_claims_are_not_sent),
		cmocka_unit_test(bad_claims_are_not_taken),
		cmocka_unit_test(bad_tokens_are_not_sent),
		cmocka_unit_test(bad_tokens_are_not_taken),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
