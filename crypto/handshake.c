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

/* --- what message 1 carries ------------------------------------------------------------------- */

bool message_length_valid(uint32_t type, size_t len)
{
	switch (type) {
	case MSG_INITIATION:
		return len == MSG_INITIATION_LEN;
	case MSG_RESPONSE:
		return len == MSG_RESPONSE_LEN;
	case MSG_COOKIE:
		return len == MSG_COOKIE_LEN;
	case MSG_DATA:
		return len >= MSG_DATA_OVERHEAD;
	case MSG_INVITATION:
		return len == MSG_INVITATION_LEN;
	case MSG_TOKEN:
		return len >= MSG_TOKEN_MIN_LEN && len <= MSG_TOKEN_MAX_LEN &&
		       (len - TOKEN_OVERHEAD) % MSG_TOKEN_STEP == 0;
	}
	return false;
}

bool token_valid(const char *token, size_t len)
{
	if (!len || len > TOKEN_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (token[i] <= ' ' || token[i] > '~')
			return false;
	return true;
}

/* A first payload of any type; each begins with the timestamp. */
union payload {
	struct wire_invitation_payload invitation;
	struct wire_token_head head;
	uint8_t b[TOKEN_PAYLOAD_MAX];
};

/* Length of the payload; 0: not a claim, or not a token, that may be sent. */
static size_t payload_pack(union payload *p, const struct invite_claim *claim, const char *token,
			   size_t token_len)
{
	const size_t head = sizeof(p->head);

	if (token) {
		if (!token_valid(token, token_len))
			return 0;
		p->head.token_len[0] = (uint8_t)token_len;
		p->head.token_len[1] = (uint8_t)(token_len >> 8);
		memcpy(p->b + head, token, token_len);
		return ROUND_UP(head + token_len, (size_t)MSG_TOKEN_STEP);
	}
	if (!claim)
		return TAI64N_LEN;
	if (!claim_valid(claim))
		return 0;
	claim_pack(&p->invitation.claim, claim);
	return sizeof(p->invitation);
}

/* -EBADMSG unless pack could have written it. */
static int token_unpack(struct initiation *in, const union payload *p, size_t len)
{
	const size_t head = sizeof(p->head);
	size_t n = p->head.token_len[0] | (size_t)p->head.token_len[1] << 8;

	if (ROUND_UP(head + n, (size_t)MSG_TOKEN_STEP) != len ||
	    !sodium_is_zero(p->b + head + n, len - head - n))
		return -EBADMSG;
	if (!token_valid((const char *)p->b + head, n))
		return -EBADMSG;
	in->token_len = n;
	memcpy(in->token, p->b + head, n);
	in->token[n] = 0;
	return 0;
}

static size_t payload_length(enum msg_type type, size_t len)
{
	if (type == MSG_TOKEN)
		return len - TOKEN_OVERHEAD;
	return type == MSG_INVITATION ? sizeof(struct wire_invitation_payload) : TAI64N_LEN;
}

/* --- message 1 -------------------------------------------------------------------------------- */

int handshake_initiate(struct handshake *hs, uint8_t *msg, const struct identity *self,
		       const uint8_t remote[static KEY_LEN], const struct invite_claim *claim,
		       const char *token, size_t token_len)
{
	struct wire_initiation *w = (struct wire_initiation *)msg; /* the others begin alike */
	union payload payload = {.b = {0}};
	uint8_t ephemeral[KEY_LEN];
	struct noise n = {.key = {0}};
	int ret = -EINVAL;
	size_t len = payload_pack(&payload, claim, token, token_len);

	if (!len)
		goto out;
	memcpy(payload.b, hs->timestamp, TAI64N_LEN);
	put_le32(w->type, token ? MSG_TOKEN : claim ? MSG_INVITATION : MSG_INITIATION);
	put_le32(w->sender, hs->local_index);
	crypto_random(ephemeral, sizeof(ephemeral));
	noise_begin(&n, prologue, sizeof(prologue) - 1, remote);
	if (noise_write_1(&n, w->ephemeral, self, ephemeral, remote, &payload, len))
		goto out;

	state_save(hs, &n);
	memcpy(hs->ephemeral, ephemeral, KEY_LEN);
	memset(hs->remote_ephemeral, 0, KEY_LEN);
	memcpy(hs->remote_static, remote, KEY_LEN);
	hs->remote_index = 0;
	hs->initiator = true;
	ret = (int)(offsetof(struct wire_initiation, ephemeral) + NOISE_OVERHEAD_1 + len +
		    sizeof(struct wire_macs));
out:
	crypto_wipe(&n, sizeof(n));
	crypto_wipe(ephemeral, sizeof(ephemeral));
	crypto_wipe(&payload, sizeof(payload));
	return ret;
}

static int payload_unpack(struct initiation *in, const union payload *p, size_t len)
{
	in->token_len = 0;
	in->token[0] = 0;
	memset(&in->claim, 0, sizeof(in->claim));
	if (in->type == MSG_TOKEN)
		return token_unpack(in, p, len);
	return in->type == MSG_INVITATION ? claim_unpack(&in->claim, &p->invitation.claim) : 0;
}

int handshake_consume_initiation(struct handshake *hs, const uint8_t *msg, size_t len,
				 const struct identity *self, struct initiation *in)
{
	const struct wire_initiation *w = (const struct wire_initiation *)msg;
	union payload payload;
	struct handshake new = {0};
	struct noise n;
	uint32_t type = len >= MSG_HEAD_LEN ? get_le32(msg) : 0;
	int ret = -EBADMSG;

	if ((type != MSG_INITIATION && type != MSG_INVITATION && type != MSG_TOKEN) ||
	    !message_length_valid(type, len))
		return -EBADMSG;
	size_t payload_len = payload_length(type, len);
	noise_begin(&n, prologue, sizeof(prologue) - 1, self->pub);
	if (noise_read_1(&n, w->ephemeral, self, new.remote_ephemeral, new.remote_static, &payload,
			 payload_len))
		goto out;
	in->type = type;
	if (payload_unpack(in, &payload, payload_len))
		goto out;

	state_save(&new, &n);
	memcpy(new.timestamp, payload.b, TAI64N_LEN);
	new.remote_index = get_le32(w->sender);
	*hs = new;
	ret = 0;
out:
	crypto_wipe(&n, sizeof(n));
	crypto_wipe(&new, sizeof(new));
	crypto_wipe(&payload, sizeof(payload));
	return ret;
}

/* --- message 2 -------------------------------------------------------------------------------- */

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
