/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stranger may send: handshake messages and cookies. The first byte chooses who takes the
 * rest, as it came or in place of what an honest sender would have sealed (0 to 4 below), so that
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

/* A claim that opened can be sent on; a message that did not changes nothing. */
static void consume_initiation(const uint8_t *msg, size_t len)
{
	struct handshake hs, before;
	struct invite_claim claim;
	uint8_t out[MSG_INVITATION_LEN];

	memset(&hs, 0x5a, sizeof(hs));
	before = hs;
	if (handshake_consume_initiation(&hs, msg, len, &self, &claim)) {
		if (memcmp(&hs, &before, sizeof(hs)))
			abort();
		return;
	}
	if (claim.name[0] && handshake_initiate(&hs, out, &peer, self.pub, &claim) < 0)
		abort();
	handshake_wipe(&hs);
}

/* The payload of an initiation or an invitation, sealed as its sender would. */
static void consume_payload(const uint8_t *data, size_t len)
{
	static const char prologue[] = "culvert v1";
	struct wire_invitation_payload payload = {0};
	struct wire_invitation w = {0};
	struct noise n;
	uint8_t ephemeral[KEY_LEN] = {3};

	memcpy(&payload, data, MIN(len, sizeof(payload)));
	put_le32(w.type, MSG_INVITATION);
	noise_begin(&n, prologue, sizeof(prologue) - 1, self.pub);
	if (noise_write_1(&n, w.ephemeral, &peer, ephemeral, self.pub, &payload, sizeof(payload)))
		abort();
	consume_initiation((const uint8_t *)&w, sizeof(w));
}

static void consume_response(const uint8_t *msg, size_t len)
{
	struct handshake hs = {.local_index = 0x01010101};
	struct transport_keys keys;
	uint8_t first[MSG_INITIATION_LEN];

	if (handshake_initiate(&hs, first, &self, peer.pub, NULL) != MSG_INITIATION_LEN)
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
		consume_initiation, consume_payload, consume_response, consume_cookie, check_macs,
	};
	static bool ready;

	if (!ready)
		setup();
	ready = true;
	if (len)
		take[data[0] % ARRAY_SIZE(take)](data + 1, len - 1);
	return 0;
}
