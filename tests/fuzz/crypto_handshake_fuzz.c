/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stranger may send: handshake messages and cookies. The first byte chooses who takes the
 * rest, as it came or in place of what an honest sender would have sealed (below), so that
 * the fuzzer gets behind the tags too.
 */
#include "crypto/messages.h"
#include "crypto/noise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct identity self, peer;

static void setup(void)
{
	uint8_t key[KEY_LEN] = {1};

	if (crypto_init() || identity_from_private(&self, key))
		abort();
	key[0] = 2;
	if (identity_from_private(&peer, key))
		abort();
}

/* What opened can be sent on; a message that did not changes nothing. */
static void consume_initiation(const uint8_t *msg, size_t len)
{
	struct handshake hs, before;
	struct initiation in;
	uint8_t out[MSG_TOKEN_MAX_LEN];

	memset(&hs, 0x5a, sizeof(hs));
	before = hs;
	if (handshake_consume_initiation(&hs, msg, len, &self, &in)) {
		if (memcmp(&hs, &before, sizeof(hs)))
			abort();
		return;
	}
	if (in.type == MSG_TOKEN && strlen(in.token) != in.token_len)
		abort();
	if (handshake_initiate(&hs, out, &peer, self.pub,
			       in.type == MSG_INVITATION ? &in.claim : NULL,
			       in.type == MSG_TOKEN ? in.token : NULL, in.token_len) != (int)len ||
	    out[0] != msg[0])
		abort();
	handshake_wipe(&hs);
}

/* The payload of an initiation of this type, sealed as its sender would. */
static void consume_payload_of(enum msg_type type, const uint8_t *payload, size_t len)
{
	static const char prologue[] = "culvert v1";
	uint8_t msg[MSG_TOKEN_MAX_LEN] = {0};
	struct wire_token *w = (struct wire_token *)msg;
	struct noise n;
	uint8_t ephemeral[KEY_LEN] = {3};

	put_le32(w->type, type);
	noise_begin(&n, prologue, sizeof(prologue) - 1, self.pub);
	if (noise_write_1(&n, w->ephemeral, &peer, ephemeral, self.pub, payload, len))
		abort();
	consume_initiation(msg, TOKEN_OVERHEAD + len);
}

static void consume_payload(const uint8_t *data, size_t len)
{
	uint8_t payload[sizeof(struct wire_invitation_payload)] = {0};

	memcpy(payload, data, MIN(len, sizeof(payload)));
	consume_payload_of(MSG_INVITATION, payload, sizeof(payload));
}

static void consume_token_payload(const uint8_t *data, size_t len)
{
	uint8_t payload[TOKEN_PAYLOAD_MAX] = {0};

	len = MIN(len, sizeof(payload));
	memcpy(payload, data, len);
	consume_payload_of(MSG_TOKEN, payload,
			   MAX(ROUND_UP(len, (size_t)MSG_TOKEN_STEP), (size_t)MSG_TOKEN_STEP));
}

static void consume_response(const uint8_t *msg, size_t len)
{
	struct handshake hs = {.local_index = 0x01010101};
	struct transport_keys keys;
	uint8_t first[MSG_INITIATION_LEN];

	if (handshake_initiate(&hs, first, &self, peer.pub, NULL, NULL, 0) != MSG_INITIATION_LEN)
		abort();
	/* Nobody answered this initiation: nothing may open. */
	if (!handshake_consume_response(&hs, msg, len, &self, &keys))
		abort();
	handshake_wipe(&hs);
}

static void consume_cookie(const uint8_t *msg, size_t len)
{
	struct cookie_jar jar;
	uint8_t first[MSG_INITIATION_LEN] = {MSG_INITIATION};

	cookie_jar_init(&jar, peer.pub);
	cookie_add_macs(&jar, first, sizeof(first), NSEC_PER_SEC);
	(void)!cookie_consume(&jar, msg, len, NSEC_PER_SEC);
}

static void check_macs(const uint8_t *msg, size_t len)
{
	struct cookie_checker checker;
	uint8_t reply[MSG_COOKIE_LEN];

	cookie_checker_init(&checker, self.pub);
	if (cookie_check(&checker, msg, len, "here", 4, NSEC_PER_SEC) != MAC_INVALID)
		cookie_reply(&checker, reply, msg, len, "here", 4, NSEC_PER_SEC);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static void (*const take[])(const uint8_t *, size_t) = {
		consume_initiation, consume_payload, consume_response,
		consume_cookie,	    check_macs,	     consume_token_payload,
	};
	static bool ready;

	if (!ready)
		setup();
	ready = true;
	if (len)
		take[data[0] % ARRAY_SIZE(take)](data + 1, len - 1);
	return 0;
}
