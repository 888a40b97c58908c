/* SPDX-License-Identifier: Apache-2.0 */
/* Invites as text, and what the psk depends on. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "crypto/crypto.h"

static void sample(struct invite *inv, unsigned endpoints)
{
	static const char *const at[INVITE_ENDPOINTS] = {"192.0.2.7:51820", "[2001:db8::7]:51820",
							 "10.0.0.1:1", "[fd00::1]:65535"};
	memset(inv, 0, sizeof(*inv));
	crypto_random(inv->claim.id, INVITE_ID_LEN);
	crypto_random(inv->manager, KEY_LEN);
	crypto_random(inv->psk, KEY_LEN);
	inv->claim.role = ROLE_AGENT;
	inv->claim.expiry = 1893456000;
	strcpy(inv->claim.name, "web-0");
	inv->nendpoints = endpoints;
	for (unsigned i = 0; i < endpoints; i++)
		strcpy(inv->endpoint[i], at[i]);
}

static void assert_same(const struct invite *a, const struct invite *b)
{
	assert_memory_equal(a->claim.id, b->claim.id, INVITE_ID_LEN);
	assert_int_equal(a->claim.role, b->claim.role);
	assert_int_equal(a->claim.expiry, b->claim.expiry);
	assert_string_equal(a->claim.name, b->claim.name);
	assert_memory_equal(a->manager, b->manager, KEY_LEN);
	assert_memory_equal(a->psk, b->psk, KEY_LEN);
	assert_int_equal(a->nendpoints, b->nendpoints);
	for (unsigned i = 0; i < a->nendpoints; i++)
		assert_string_equal(a->endpoint[i], b->endpoint[i]);
}

/* Parses a copy of exactly that size, so that ASan sees a read past its end. */
static int parse(struct invite *inv, const char *text, size_t len, struct error *e)
{
	char *copy = malloc(len ? len : 1);

	memcpy(copy, text, len);
	e->text[0] = '\0';
	int ret = invite_parse(inv, copy, len, e);
	free(copy);
	return ret;
}

static void assert_refused(const char *text, size_t len, const char *why)
{
	struct invite inv, before;
	struct error e;

	memset(&inv, 0xa5, sizeof(inv));
	before = inv;
	assert_int_equal(parse(&inv, text, len, &e), -EINVAL);
	assert_memory_equal(&inv, &before, sizeof(inv));
	if (!strstr(e.text, why))
		fail_msg("\"%.*s\": \"%s\" does not say \"%s\"", (int)len, text, e.text, why);
}

static void round_trip(void **state)
{
	(void)state;
	struct invite a, b;
	struct error e;
	char text[INVITE_TEXT_MAX], around[INVITE_TEXT_MAX + 8];

	for (unsigned n = 0; n <= INVITE_ENDPOINTS; n++) {
		sample(&a, n);
		int len = invite_format(&a, text, sizeof(text));
		assert_int_equal(len, strlen(text));
		assert_int_equal(strspn(text + 17,
					"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv"
					"wxyz0123456789-_"),
				 len - 17);
		assert_int_equal(parse(&b, text, (size_t)len, &e), 0);
		assert_same(&a, &b);
		int n2 = snprintf(around, sizeof(around), " \t\n%s\r\n ", text);
		assert_int_equal(parse(&b, around, (size_t)n2, &e), 0);
		assert_same(&a, &b);
	}
}

static void longest(void **state)
{
	(void)state;
	struct invite a, b;
	struct error e;
	char text[INVITE_TEXT_MAX];

	sample(&a, INVITE_ENDPOINTS);
	for (unsigned i = 0; i < INVITE_ENDPOINTS; i++)
		strcpy(a.endpoint[i], "[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
	memset(a.claim.name, 'n', NAME_MAX_LEN);
	a.claim.name[NAME_MAX_LEN] = '\0';
	int len = invite_format(&a, text, sizeof(text));
	assert_true(len > 0);
	assert_int_equal(parse(&b, text, (size_t)len, &e), 0);
	assert_same(&a, &b);
}

static void truncated_anywhere(void **state)
{
	(void)state;
	struct invite a;
	char text[INVITE_TEXT_MAX];

	sample(&a, 2);
	size_t len = (size_t)invite_format(&a, text, sizeof(text));
	assert_refused(text, 0, "empty");
	assert_refused(" \n", 2, "empty");
	for (size_t i = 1; i < len; i++)
		assert_refused(text, i, "truncated");
}

static void damaged_anywhere(void **state)
{
	(void)state;
	static const char others[] = "Aa0-_z9.+= ";
	struct invite a;
	char text[INVITE_TEXT_MAX + 8], good[INVITE_TEXT_MAX];

	sample(&a, 1);
	size_t len = (size_t)invite_format(&a, good, sizeof(good));
	for (size_t i = 0; i < len; i++) {
		for (const char *c = others; *c; c++) {
			if (good[i] == *c || (i == 0 && *c == ' '))
				continue;
			strcpy(text, good);
			text[i] = *c;
			assert_refused(text, len, i < 15 ? "invite" : "");
		}
		/* One that was lost, and one too many, in the middle. */
		memmove(text, good, i);
		strcpy(text + i, good + i + 1);
		assert_refused(text, len - 1, "");
		memcpy(text, good, i);
		text[i] = 'x';
		strcpy(text + i + 1, good + i);
		assert_refused(text, len + 1, "");
	}
	strcpy(text, good);
	text[len / 2] = text[len / 2] == 'A' ? 'B' : 'A';
	assert_refused(text, len, "damaged");
	strcpy(text + len, "A");
	memcpy(text, good, len);
	assert_refused(text, len + 1, "damaged");
}

static void not_for_us(void **state)
{
	(void)state;
	struct invite a;
	char text[INVITE_TEXT_MAX];

	sample(&a, 1);
	size_t len = (size_t)invite_format(&a, text, sizeof(text));
	text[15] = '2';
	assert_refused(text, len, "version 2");
	assert_refused("culvert-invite-12.AAAA", 22, "version 12");
	assert_refused("culvert-invite-2.A", 18, "version 2");
	assert_refused("culvert-invite-.AAAA", 20, "damaged");
	assert_refused("culvert-invite-99999.AAAA", 25, "damaged");
	assert_refused("hello", 5, "not an invite");
	assert_refused("https://example.com/culvert-invite-1.AAAA", 41, "not an invite");
	assert_refused("\0\0\0\0", 4, "not an invite");
}

static void nothing_bad_is_written(void **state)
{
	(void)state;
	struct invite a;
	char text[INVITE_TEXT_MAX];

	sample(&a, 1);
	assert_int_equal(invite_format(&a, text, 100), -ENOSPC);
	a.claim.role = ROLE_MANAGER;
	assert_int_equal(invite_format(&a, text, sizeof(text)), -EINVAL);
	sample(&a, 1);
	strcpy(a.endpoint[0], "manager.example:51820");
	assert_int_equal(invite_format(&a, text, sizeof(text)), -EINVAL);
	strcpy(a.endpoint[0], "192.0.2.1:0");
	assert_int_equal(invite_format(&a, text, sizeof(text)), -EINVAL);
	memset(a.endpoint[0], '1', ADDR_STRLEN);
	assert_int_equal(invite_format(&a, text, sizeof(text)), -EINVAL);
	sample(&a, 1);
	a.nendpoints = INVITE_ENDPOINTS + 1;
	assert_int_equal(invite_format(&a, text, sizeof(text)), -EINVAL);
	sample(&a, 1);
	strcpy(a.claim.name, "with space");
	assert_int_equal(invite_format(&a, text, sizeof(text)), -EINVAL);
}

static void names(void **state)
{
	(void)state;
	char name[NAME_MAX_LEN + 2];

	assert_true(name_valid("a"));
	assert_true(name_valid("Ada.Lovelace_laptop-1"));
	memset(name, 'x', sizeof(name));
	name[NAME_MAX_LEN] = '\0';
	assert_true(name_valid(name));
	name[NAME_MAX_LEN] = 'x';
	name[NAME_MAX_LEN + 1] = '\0';
	assert_false(name_valid(name));
	assert_false(name_valid(""));
	for (int c = 1; c < 256; c++) {
		char one[2] = {(char)c, '\0'};
		bool want = c < 128 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					      "0123456789._-",
					      c);
		assert_int_equal(name_valid(one), want);
	}
}

static void psk_depends_on_all(void **state)
{
	(void)state;
	struct invite a;
	struct invite_claim c;
	uint8_t secret[KEY_LEN] = {7}, psk[KEY_LEN], other[KEY_LEN];

	sample(&a, 0);
	invite_psk(psk, secret, &a.claim);
	c = a.claim;
	memset(c.name + strlen(c.name), 0x55, NAME_MAX_LEN - strlen(c.name));
	c.name[strlen(a.claim.name)] =
		'\0'; /* what lies behind the end of the name does not count */
	invite_psk(other, secret, &c);
	assert_memory_equal(psk, other, KEY_LEN);

	c = a.claim, c.id[15] ^= 1;
	invite_psk(other, secret, &c);
	assert_memory_not_equal(psk, other, KEY_LEN);
	c = a.claim, c.role = ROLE_LAPTOP;
	invite_psk(other, secret, &c);
	assert_memory_not_equal(psk, other, KEY_LEN);
	c = a.claim, c.expiry++;
	invite_psk(other, secret, &c);
	assert_memory_not_equal(psk, other, KEY_LEN);
	c = a.claim, c.name[0] = 'W';
	invite_psk(other, secret, &c);
	assert_memory_not_equal(psk, other, KEY_LEN);
	secret[31] ^= 1;
	invite_psk(other, secret, &a.claim);
	assert_memory_not_equal(psk, other, KEY_LEN);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(longest),
		cmocka_unit_test(truncated_anywhere),
		cmocka_unit_test(damaged_anywhere),
		cmocka_unit_test(not_for_us),
		cmocka_unit_test(nothing_bad_is_written),
		cmocka_unit_test(names),
		cmocka_unit_test(psk_depends_on_all),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
