/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs/protocol.md against the code: the worked example there was made by a second implementation,
 * written from the document alone, and every message of it must be what we write and read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/file.h"
#include "crypto/messages.h"
#include "crypto/noise.h"

static char *document;

static int load(void **state)
{
	(void)state;
	char path[4096];
	size_t len;
	struct error e;

	const char *slash = strrchr(__FILE__, '/');
	snprintf(path, sizeof(path), "%.*s/../../docs/protocol.md", (int)(slash - __FILE__),
		 __FILE__);
	return file_read(path, 1 << 20, &document, &len, &e);
}

static int unload(void **state)
{
	(void)state;
	free(document);
	return 0;
}

/* The indented lines below "name:", joined. */
static size_t example_text(const char *name, char *out, size_t max)
{
	char head[64];
	size_t n = 0;

	snprintf(head, sizeof(head), "\n%s:\n", name);
	const char *p = strstr(strstr(document, "## Worked example"), head);
	if (!p)
		fail_msg("no \"%s\" in the worked example", name);
	p += strlen(head);
	while (!strncmp(p, "    ", 4)) {
		size_t len = strcspn(p += 4, "\n");
		assert_true(n + len < max);
		memcpy(out + n, p, len);
		n += len;
		p += len + 1;
	}
	out[n] = '\0';
	return n;
}

/* The bytes of a field, of which `want` are expected. */
static void example(const char *name, void *out, size_t want)
{
	char hex[1024];
	size_t len, n = example_text(name, hex, sizeof(hex));

	assert_int_equal(n, want * 2);
	assert_int_equal(sodium_hex2bin(out, want, hex, n, NULL, &len, NULL), 0);
	assert_int_equal(len, want);
}

struct nodes {
	struct identity initiator, responder;
	uint8_t i_eph[KEY_LEN], r_eph[KEY_LEN], psk[KEY_LEN];
};

static void load_nodes(struct nodes *n)
{
	uint8_t key[KEY_LEN];

	example("initiator_private", key, KEY_LEN);
	assert_int_equal(identity_from_private(&n->initiator, key), 0);
	example("responder_private", key, KEY_LEN);
	assert_int_equal(identity_from_private(&n->responder, key), 0);
	example("initiator_public", key, KEY_LEN);
	assert_memory_equal(key, n->initiator.pub, KEY_LEN);
	example("responder_public", key, KEY_LEN);
	assert_memory_equal(key, n->responder.pub, KEY_LEN);
	example("initiator_ephemeral", n->i_eph, KEY_LEN);
	example("responder_ephemeral", n->r_eph, KEY_LEN);
	example("psk", n->psk, KEY_LEN);
}

static void check_claim(const struct invite_claim *c)
{
	for (uint8_t i = 0; i < INVITE_ID_LEN; i++)
		assert_int_equal(c->id[i], i);
	assert_int_equal(c->role, ROLE_LAPTOP);
	assert_int_equal(c->expiry, 1893456000);
	assert_string_equal(c->name, "ada");
}

static void address(void **state)
{
	(void)state;
	struct nodes n;
	uint8_t want[16];

	load_nodes(&n);
	example("responder_address", want, sizeof(want));
	struct ipaddr a = overlay_stack_addr(n.responder.pub);
	assert_memory_equal(a.b, want, sizeof(want));
}

static void psk_of_a_claim(void **state)
{
	(void)state;
	struct wire_claim w, packed;
	struct invite_claim c;
	uint8_t secret[KEY_LEN], psk[KEY_LEN], want[KEY_LEN];

	example("claim", &w, sizeof(w));
	example("invite_secret", secret, KEY_LEN);
	example("psk", want, KEY_LEN);
	assert_int_equal(claim_unpack(&c, &w), 0);
	check_claim(&c);
	claim_pack(&packed, &c);
	assert_memory_equal(&packed, &w, sizeof(w));
	invite_psk(psk, secret, &c);
	assert_memory_equal(psk, want, KEY_LEN);
}

static void reads_message_1(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		size_t len;
	} messages[] = {{"initiation", MSG_INITIATION_LEN},
			{"invitation", MSG_INVITATION_LEN},
			{"token_initiation", MSG_TOKEN_MIN_LEN + MSG_TOKEN_STEP}};
	struct nodes n;
	uint8_t stamp[TAI64N_LEN], msg[MSG_TOKEN_MIN_LEN + MSG_TOKEN_STEP];
	char token[TOKEN_MAX + 1];
	struct cookie_checker checker;

	load_nodes(&n);
	example("timestamp", stamp, TAI64N_LEN);
	cookie_checker_init(&checker, n.responder.pub);
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		struct handshake hs = {0};
		struct initiation in;

		example(messages[i].name, msg, messages[i].len);
		assert_int_equal(cookie_check(&checker, msg, messages[i].len, "", 0, NSEC_PER_SEC),
				 MAC_VALID);
		assert_int_equal(
			handshake_consume_initiation(&hs, msg, messages[i].len, &n.responder, &in),
			0);
		assert_memory_equal(hs.timestamp, stamp, TAI64N_LEN);
		assert_memory_equal(hs.remote_static, n.initiator.pub, KEY_LEN);
		assert_int_equal(hs.remote_index, 0x01020304);
		if (i == 1)
			check_claim(&in.claim);
		else
			assert_string_equal(in.claim.name, "");
		if (i == 2) {
			assert_int_equal(example_text("token", token, sizeof(token)), in.token_len);
			assert_string_equal(in.token, token);
		} else {
			assert_int_equal(in.token_len, 0);
		}
	}
}

/* With the example's ephemeral keys we write its very bytes, and agree on the keys. */
static void same_handshake(void **state)
{
	(void)state;
	struct nodes n;
	struct noise i, r;
	struct wire_invitation want;
	struct wire_response want2;
	struct wire_invitation_payload payload, got;
	uint8_t msg[MSG_INVITATION_LEN], e[KEY_LEN], s[KEY_LEN];
	uint8_t i_key[KEY_LEN], r_key[KEY_LEN];
	struct transport_keys keys;

	load_nodes(&n);
	example("timestamp", payload.timestamp, TAI64N_LEN);
	example("claim", &payload.claim, sizeof(payload.claim));
	example("invitation", &want, sizeof(want));
	example("response", &want2, sizeof(want2));
	example("initiator_key", i_key, KEY_LEN);
	example("responder_key", r_key, KEY_LEN);

	noise_begin(&i, "culvert v1", 10, n.responder.pub);
	noise_begin(&r, "culvert v1", 10, n.responder.pub);
	assert_int_equal(noise_write_1(&i, msg, &n.initiator, n.i_eph, n.responder.pub, &payload,
				       sizeof(payload)),
			 0);
	assert_memory_equal(msg, want.ephemeral, NOISE_OVERHEAD_1 + sizeof(payload));
	assert_int_equal(noise_read_1(&r, want.ephemeral, &n.responder, e, s, &got, sizeof(got)),
			 0);
	assert_int_equal(noise_write_2(&r, msg, n.r_eph, e, s, n.psk, NULL, 0), 0);
	assert_memory_equal(msg, want2.ephemeral, NOISE_OVERHEAD_2);
	noise_split(&r, &keys, false);
	assert_memory_equal(keys.send, r_key, KEY_LEN);
	assert_memory_equal(keys.receive, i_key, KEY_LEN);

	/* The initiator's real function takes the example's response. */
	struct handshake hs = {.local_index = 0x01020304, .initiator = true};
	memcpy(hs.hash, i.hash, HASH_LEN);
	memcpy(hs.chaining, i.chaining, HASH_LEN);
	memcpy(hs.ephemeral, n.i_eph, KEY_LEN);
	memcpy(hs.psk, n.psk, KEY_LEN);
	struct cookie_checker checker;
	cookie_checker_init(&checker, n.initiator.pub);
	assert_int_equal(cookie_check(&checker, (uint8_t *)&want2, sizeof(want2), "", 0, 1),
			 MAC_VALID);
	assert_int_equal(handshake_consume_response(&hs, (uint8_t *)&want2, sizeof(want2),
						    &n.initiator, &keys),
			 0);
	assert_int_equal(hs.remote_index, 0x05060708);
	assert_memory_equal(keys.send, i_key, KEY_LEN);
	assert_memory_equal(keys.receive, r_key, KEY_LEN);
}

static void cookie_and_mac2(void **state)
{
	(void)state;
	struct nodes n;
	struct cookie_jar jar;
	struct wire_invitation want, msg;
	uint8_t reply[MSG_COOKIE_LEN], cookie[COOKIE_LEN], mac2[MAC_LEN];

	load_nodes(&n);
	example("invitation", &want, sizeof(want));
	example("cookie_reply", reply, sizeof(reply));
	example("cookie", cookie, COOKIE_LEN);
	example("invitation_mac2", mac2, MAC_LEN);
	msg = want;
	memset(&msg.macs, 0xff, sizeof(msg.macs));
	cookie_jar_init(&jar, n.responder.pub);
	cookie_add_macs(&jar, (uint8_t *)&msg, sizeof(msg), NSEC_PER_SEC);
	assert_memory_equal(&msg, &want, sizeof(want));
	assert_int_equal(cookie_consume(&jar, reply, sizeof(reply), NSEC_PER_SEC), 0);
	assert_memory_equal(jar.cookie, cookie, COOKIE_LEN);
	cookie_add_macs(&jar, (uint8_t *)&msg, sizeof(msg), NSEC_PER_SEC);
	assert_memory_equal(msg.macs.mac2, mac2, MAC_LEN);
}

static void data_message(void **state)
{
	(void)state;
	enum { LEN = 32 };
	uint8_t key[KEY_LEN], msg[MSG_DATA_OVERHEAD + LEN];
	uint8_t in[AEAD_HEAD + LEN + AEAD_TAIL] = {0};
	uint8_t out[AEAD_HEAD + LEN + TAG_LEN + AEAD_TAIL] = {0};

	example("initiator_key", key, KEY_LEN);
	example("plaintext", in + AEAD_HEAD, LEN);
	example("data", msg, sizeof(msg));
	const struct wire_data *w = (const struct wire_data *)msg;
	assert_int_equal(get_le32(w->type), MSG_DATA);
	assert_int_equal(get_le32(w->receiver), 0x05060708);
	assert_int_equal(get_le64(w->counter), UINT64_C(2) << 56 | UINT64_C(0x0102030405));
	aead_seal(&cipher_sodium, out + AEAD_HEAD, in + AEAD_HEAD, LEN, get_le64(w->counter), key);
	assert_memory_equal(out + AEAD_HEAD, w->packet, LEN + TAG_LEN);
}

static void invite(void **state)
{
	(void)state;
	struct nodes n;
	struct invite inv;
	struct error e;
	char want[INVITE_TEXT_MAX], text[INVITE_TEXT_MAX];

	load_nodes(&n);
	size_t len = example_text("invite", want, sizeof(want));
	assert_int_equal(invite_parse(&inv, want, len, &e), 0);
	check_claim(&inv.claim);
	assert_memory_equal(inv.manager, n.responder.pub, KEY_LEN);
	assert_memory_equal(inv.psk, n.psk, KEY_LEN);
	assert_int_equal(inv.nendpoints, 1);
	assert_string_equal(inv.endpoint[0], "192.0.2.7:51820");
	assert_int_equal(invite_format(&inv, text, sizeof(text)), len);
	assert_string_equal(text, want);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(address),	   cmocka_unit_test(psk_of_a_claim),
		cmocka_unit_test(reads_message_1), cmocka_unit_test(same_handshake),
		cmocka_unit_test(cookie_and_mac2), cmocka_unit_test(data_message),
		cmocka_unit_test(invite),
	};
	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, load, unload);
}
