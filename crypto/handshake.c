/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake's messages: Noise (noise.c) laid into WireGuard's frames.
 *
 * Functions work on a copy of the Noise state and write the caller's handshake last, so that a
 * message that does not open changes nothing: anyone may send one.
 */
#include <errno.h>
#include <sodium.h>

#include "crypto/messages.h"
#include "crypto/noise.h"

static const char prologue[] = "culvert v1";

static_assert(offsetof(struct wire_initiation, macs) ==
		      offsetof(struct wire_initiation, ephemeral) + NOISE_OVERHEAD_1 + TAI64N_LEN,
	      "Noise writes e, s and the payload in one go");
static_assert(offsetof(struct wire_invitation, macs) ==
		      offsetof(struct wire_invitation, ephemeral) + NOISE_OVERHEAD_1 +
			      sizeof(struct wire_invitation_payload),
	      "Noise writes e, s and the payload in one go");
static_assert(offsetof(struct wire_response, macs) ==
		      offsetof(struct wire_response, ephemeral) + NOISE_OVERHEAD_2,
	      "Noise writes e and the empty payload in one go");

static void state_save(struct handshake *hs, const struct noise *n)
{
	memcpy(hs->hash, n->hash, HASH_LEN);
	memcpy(hs->chaining, n->chaining, HASH_LEN);
}

/* The key is left out: after message 1 the next token mixes a new one. */
static void state_load(struct noise *n, const struct handshake *hs)
{
	memset(n, 0, sizeof(*n));
	memcpy(n->hash, hs->hash, HASH_LEN);
	memcpy(n->chaining, hs->chaining, HASH_LEN);
}

/* The end of a handshake: no secret stays, while the indices name the new session. */
static void finish(struct handshake *hs)
{
	uint32_t local = hs->local_index, remote = hs->remote_index;

	handshake_wipe(hs);
	hs->local_index = local;
	hs->remote_index = remote;
}

int handshake_static_dh(uint8_t ss[static KEY_LEN], const struct identity *self,
			const uint8_t remote[static KEY_LEN])
{
	if (crypto_scalarmult_curve25519(ss, self->priv, remote)) {
		crypto_wipe(ss, KEY_LEN);
		return -EINVAL;
	}
	return 0;
}

int handshake_initiate(struct handshake *hs, uint8_t *msg, const struct identity *self,
		       const uint8_t remote[static KEY_LEN], const struct invite_claim *claim)
{
	struct wire_initiation *w = (struct wire_initiation *)msg; /* the invitation begins alike */
	struct wire_invitation_payload payload = {0};
	uint8_t ephemeral[KEY_LEN];
	struct noise n;
	int ret = -EINVAL;

	if (claim && !claim_valid(claim))
		return -EINVAL;
	memcpy(payload.timestamp, hs->timestamp, TAI64N_LEN);
	if (claim)
		claim_pack(&payload.claim, claim);

	put_le32(w->type, claim ? MSG_INVITATION : MSG_INITIATION);
	put_le32(w->sender, hs->local_index);
	crypto_random(ephemeral, sizeof(ephemeral));
	noise_begin(&n, prologue, sizeof(prologue) - 1, remote);
	if (noise_write_1(&n, w->ephemeral, self, ephemeral, remote, &payload,
			  claim ? sizeof(payload) : TAI64N_LEN))
		goto out;

	state_save(hs, &n);
	memcpy(hs->ephemeral, ephemeral, KEY_LEN);
	memset(hs->remote_ephemeral, 0, KEY_LEN);
	memcpy(hs->remote_static, remote, KEY_LEN);
	hs->remote_index = 0;
	hs->initiator = true;
	ret = claim ? MSG_INVITATION_LEN : MSG_INITIATION_LEN;
out:
	crypto_wipe(&n, sizeof(n));
	crypto_wipe(ephemeral, sizeof(ephemeral));
	crypto_wipe(&payload, sizeof(payload));
	return ret;
}

int handshake_consume_initiation(struct handshake *hs, const uint8_t *msg, size_t len,
				 const struct identity *self, struct invite_claim *claim)
{
	const struct wire_initiation *w = (const struct wire_initiation *)msg;
	struct wire_invitation_payload payload = {0};
	struct handshake new = {0};
	struct invite_claim c = {0};
	struct noise n;
	bool invitation = wire_is(msg, len, MSG_INVITATION, MSG_INVITATION_LEN);
	int ret = -EBADMSG;

	if (!invitation && !wire_is(msg, len, MSG_INITIATION, MSG_INITIATION_LEN))
		return -EBADMSG;
	noise_begin(&n, prologue, sizeof(prologue) - 1, self->pub);
	if (noise_read_1(&n, w->ephemeral, self, new.remote_ephemeral, new.remote_static, &payload,
			 invitation ? sizeof(payload) : TAI64N_LEN))
		goto out;
	if (invitation && claim_unpack(&c, &payload.claim))
		goto out;

	state_save(&new, &n);
	memcpy(new.timestamp, payload.timestamp, TAI64N_LEN);
	new.remote_index = get_le32(w->sender);
	*hs = new;
	*claim = c;
	ret = 0;
out:
	crypto_wipe(&n, sizeof(n));
	crypto_wipe(&new, sizeof(new));
	crypto_wipe(&payload, sizeof(payload));
	crypto_wipe(&c, sizeof(c));
	return ret;
}

int handshake_respond(struct handshake *hs, uint8_t *msg, struct transport_keys *keys)
{
	struct wire_response *w = (struct wire_response *)msg;
	uint8_t ephemeral[KEY_LEN];
	struct noise n;
	int ret = -EINVAL;

	put_le32(w->type, MSG_RESPONSE);
	put_le32(w->sender, hs->local_index);
	put_le32(w->receiver, hs->remote_index);
	crypto_random(ephemeral, sizeof(ephemeral));
	state_load(&n, hs);
	if (noise_write_2(&n, w->ephemeral, ephemeral, hs->remote_ephemeral, hs->remote_static,
			  hs->psk, NULL, 0))
		goto out;
	noise_split(&n, keys, false);
	ret = 0;
out:
	finish(hs);
	crypto_wipe(&n, sizeof(n));
	crypto_wipe(ephemeral, sizeof(ephemeral));
	return ret;
}

int handshake_consume_response(struct handshake *hs, const uint8_t *msg, size_t len,
			       const struct identity *self, struct transport_keys *keys)
{
	const struct wire_response *w = (const struct wire_response *)msg;
	struct noise n;
	int ret = -EBADMSG;

	if (!hs->initiator || !wire_is(msg, len, MSG_RESPONSE, MSG_RESPONSE_LEN) ||
	    get_le32(w->receiver) != hs->local_index)
		return -EBADMSG;
	state_load(&n, hs);
	if (noise_read_2(&n, w->ephemeral, self, hs->ephemeral, hs->psk, NULL, 0))
		goto out;
	noise_split(&n, keys, true);
	hs->remote_index = get_le32(w->sender);
	finish(hs);
	ret = 0;
out:
	crypto_wipe(&n, sizeof(n));
	return ret;
}

void handshake_wipe(struct handshake *hs)
{
	crypto_wipe(hs, sizeof(*hs));
}
