/* SPDX-License-Identifier: Apache-2.0 */
/* MAC1, MAC2 and cookies under a clock of the test's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "crypto/crypto.h"

static const char here[] = "192.0.2.1:4000", there[] = "192.0.2.1:4001";

struct ends {
	struct identity responder;
	struct cookie_checker checker;
	struct cookie_jar jar;
	uint8_t msg[MSG_INITIATION_LEN];
	uint8_t reply[MSG_COOKIE_LEN];
	nsec_t now;
};

/* The body is of no matter to the MACs; the type and the length are. */
static void send_message(struct ends *t)
{
	crypto_random(t->msg, sizeof(t->msg));
	put_le32(t->msg, MSG_INITIATION);
	cookie_add_macs(&t->jar, t->msg, sizeof(t->msg), t->now);
}

static void start(struct ends *t)
{
	memset(t, 0, sizeof(*t));
	t->now = 5 * NSEC_PER_SEC;
	identity_generate(&t->responder);
	cookie_checker_init(&t->checker, t->responder.pub);
	cookie_jar_init(&t->jar, t->responder.pub);
	send_message(t);
}

static enum mac_verdict check_from(struct ends *t, const char *source)
{
	return cookie_check(&t->checker, t->msg, sizeof(t->msg), source, strlen(source), t->now);
}

static void reply_to(struct ends *t, const char *source)
{
	cookie_reply(&t->checker, t->reply, t->msg, sizeof(t->msg), source, strlen(source), t->now);
}

static void get_cookie(struct ends *t)
{
	reply_to(t, here);
	assert_int_equal(cookie_consume(&t->jar, t->reply, MSG_COOKIE_LEN, t->now), 0);
	send_message(t);
}

static void without_a_cookie(void **state)
{
	(void)state;
	struct ends t;
	struct cookie_checker other;
	struct identity id;

	start(&t);
	assert_true(sodium_is_zero(t.msg + MSG_INITIATION_LEN - MAC_LEN, MAC_LEN));
	assert_int_equal(check_from(&t, here), MAC_VALID);
	identity_generate(&id);
	cookie_checker_init(&other, id.pub);
	assert_int_equal(cookie_check(&other, t.msg, sizeof(t.msg), here, strlen(here), t.now),
			 MAC_INVALID);
}

static void bound_to_the_source(void **state)
{
	(void)state;
	struct ends t;

	start(&t);
	get_cookie(&t);
	assert_int_equal(check_from(&t, here), MAC_VALID_WITH_COOKIE);
	assert_int_equal(check_from(&t, there), MAC_VALID);
	/* It serves for more than one message. */
	send_message(&t);
	assert_int_equal(check_from(&t, here), MAC_VALID_WITH_COOKIE);
}

static void every_bit_of_mac2(void **state)
{
	(void)state;
	struct ends t;

	start(&t);
	get_cookie(&t);
	for (size_t bit = 0; bit < MAC_LEN * 8; bit++) {
		uint8_t *b = &t.msg[MSG_INITIATION_LEN - MAC_LEN + bit / 8];
		*b ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(check_from(&t, here), MAC_VALID); /* refused under load */
		*b ^= (uint8_t)(1 << bit % 8);
	}
	/* The first byte past MAC2's cover is MAC2 itself: MAC1 is covered. */
	t.msg[MSG_INITIATION_LEN - MAC_LEN - 1] ^= 1;
	assert_int_equal(check_from(&t, here), MAC_INVALID);
}

static void every_bit_of_the_reply(void **state)
{
	(void)state;
	struct ends t;

	start(&t);
	reply_to(&t, here);
	for (size_t bit = 0; bit < MSG_COOKIE_LEN * 8; bit++) {
		t.reply[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(cookie_consume(&t.jar, t.reply, MSG_COOKIE_LEN, t.now), -EBADMSG);
		t.reply[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t len = 0; len < MSG_COOKIE_LEN; len++)
		assert_int_equal(cookie_consume(&t.jar, t.reply, len, t.now), -EBADMSG);
	assert_int_equal(t.jar.cookie_born, 0);
	assert_int_equal(cookie_consume(&t.jar, t.reply, MSG_COOKIE_LEN, t.now), 0);
}

static void a_reply_answers_one_message(void **state)
{
	(void)state;
	struct ends t;
	struct cookie_jar other;

	start(&t);
	reply_to(&t, here);
	assert_int_equal(cookie_consume(&t.jar, t.reply, MSG_COOKIE_LEN, t.now), 0);
	assert_int_equal(cookie_consume(&t.jar, t.reply, MSG_COOKIE_LEN, t.now), -EBADMSG);

	/* Nor does it open for one who sent nothing, or something else since. */
	cookie_jar_init(&other, t.responder.pub);
	assert_int_equal(cookie_consume(&other, t.reply, MSG_COOKIE_LEN, t.now), -EBADMSG);
	send_message(&t);
	assert_int_equal(cookie_consume(&t.jar, t.reply, MSG_COOKIE_LEN, t.now), -EBADMSG);
}

static void expiry(void **state)
{
	(void)state;
	struct ends t;
	nsec_t born;

	start(&t);
	born = t.now;
	get_cookie(&t);
	t.now = born + 115 * NSEC_PER_SEC - 1;
	send_message(&t);
	assert_int_equal(check_from(&t, here), MAC_VALID_WITH_COOKIE);

	/* A message on its way while the secret ends. */
	t.now = born + 120 * NSEC_PER_SEC - 1;
	assert_int_equal(check_from(&t, here), MAC_VALID_WITH_COOKIE);
	t.now = born + 120 * NSEC_PER_SEC;
	assert_int_equal(check_from(&t, here), MAC_VALID);

	/* The sender stops using it, before the responder would refuse. */
	t.now = born + 115 * NSEC_PER_SEC;
	send_message(&t);
	assert_true(sodium_is_zero(t.msg + MSG_INITIATION_LEN - MAC_LEN, MAC_LEN));
}

static void the_secret_rotates(void **state)
{
	(void)state;
	struct ends t;
	uint8_t secret[KEY_LEN];

	start(&t);
	reply_to(&t, here);
	memcpy(secret, t.checker.secret, KEY_LEN);
	t.now += 119 * NSEC_PER_SEC;
	reply_to(&t, here);
	assert_memory_equal(secret, t.checker.secret, KEY_LEN);
	t.now += 1 * NSEC_PER_SEC;
	reply_to(&t, here);
	assert_memory_not_equal(secret, t.checker.secret, KEY_LEN);
	assert_int_equal(t.checker.secret_born, t.now);
}

static void only_messages_with_macs(void **state)
{
	(void)state;
	struct ends t;

	start(&t);
	for (size_t len = 0; len < sizeof(t.msg); len++)
		assert_int_equal(cookie_check(&t.checker, t.msg, len, here, strlen(here), t.now),
				 MAC_INVALID);
	put_le32(t.msg, MSG_DATA);
	cookie_add_macs(&t.jar, t.msg, sizeof(t.msg), t.now);
	assert_int_equal(check_from(&t, here), MAC_INVALID);
	put_le32(t.msg, MSG_RESPONSE);
	cookie_add_macs(&t.jar, t.msg, MSG_RESPONSE_LEN, t.now);
	assert_int_equal(
		cookie_check(&t.checker, t.msg, MSG_RESPONSE_LEN, here, strlen(here), t.now),
		MAC_VALID);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_cookie),
		cmocka_unit_test(bound_to_the_source),
		cmocka_unit_test(every_bit_of_mac2),
		cmocka_unit_test(every_bit_of_the_reply),
		cmocka_unit_test(a_reply_answers_one_message),
		cmocka_unit_test(expiry),
		cmocka_unit_test(the_secret_rotates),
		cmocka_unit_test(only_messages_with_macs),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
