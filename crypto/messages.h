/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages on the wire, all little endian (docs/protocol.md). Fields are byte arrays, so that
 * the structs have neither padding nor alignment and may lie anywhere in a datagram.
 */
#pragma once

#include <assert.h>

#include "crypto/crypto.h"

/* What an invitation carries after the timestamp. Also what the invite's psk is derived from. */
struct wire_claim {
	uint8_t id[INVITE_ID_LEN];
	uint8_t role;
	uint8_t expiry[8];
	uint8_t name[NAME_MAX_LEN]; /* zero-padded, not terminated */
};

struct wire_invitation_payload {
	uint8_t timestamp[TAI64N_LEN];
	struct wire_claim claim;
};

/* What a MSG_TOKEN's first payload begins with; the token follows, and zeros up to a multiple of
 * MSG_TOKEN_STEP of the whole. */
struct wire_token_head {
	uint8_t timestamp[TAI64N_LEN];
	uint8_t token_len[2];
};

/* The longest first payload. */
enum {
	TOKEN_PAYLOAD_MAX = ROUND_UP(sizeof(struct wire_token_head) + (size_t)TOKEN_MAX,
				     (size_t)MSG_TOKEN_STEP),
};

struct wire_macs {
	uint8_t mac1[MAC_LEN];
	uint8_t mac2[MAC_LEN];
};

struct wire_initiation {
	uint8_t type[MSG_HEAD_LEN];
	uint8_t sender[4];
	uint8_t ephemeral[KEY_LEN];
	uint8_t static_key[KEY_LEN + TAG_LEN];
	uint8_t timestamp[TAI64N_LEN + TAG_LEN];
	struct wire_macs macs;
};

struct wire_invitation {
	uint8_t type[MSG_HEAD_LEN];
	uint8_t sender[4];
	uint8_t ephemeral[KEY_LEN];
	uint8_t static_key[KEY_LEN + TAG_LEN];
	uint8_t payload[sizeof(struct wire_invitation_payload) + TAG_LEN];
	struct wire_macs macs;
};

/* Begins like the others; its payload's length varies. */
struct wire_token {
	uint8_t type[MSG_HEAD_LEN];
	uint8_t sender[4];
	uint8_t ephemeral[KEY_LEN];
	uint8_t static_key[KEY_LEN + TAG_LEN];
	uint8_t payload[]; /* then a tag, then struct wire_macs */
};

enum { TOKEN_OVERHEAD = sizeof(struct wire_token) + TAG_LEN + sizeof(struct wire_macs) };

struct wire_response {
	uint8_t type[MSG_HEAD_LEN];
	uint8_t sender[4];
	uint8_t receiver[4];
	uint8_t ephemeral[KEY_LEN];
	uint8_t empty[TAG_LEN];
	struct wire_macs macs;
};

enum { COOKIE_NONCE_LEN = 24 };

struct wire_cookie {
	uint8_t type[MSG_HEAD_LEN];
	uint8_t receiver[4];
	uint8_t nonce[COOKIE_NONCE_LEN];
	uint8_t cookie[COOKIE_LEN + TAG_LEN];
};

struct wire_data {
	uint8_t type[MSG_HEAD_LEN];
	uint8_t receiver[4];
	uint8_t counter[8];
	uint8_t packet[];
};

static_assert(sizeof(struct wire_claim) == 88, "wire format");
static_assert(sizeof(struct wire_invitation_payload) == 100, "wire format");
static_assert(sizeof(struct wire_initiation) == MSG_INITIATION_LEN, "wire format");
static_assert(sizeof(struct wire_invitation) == MSG_INVITATION_LEN, "wire format");
static_assert(TOKEN_OVERHEAD + MSG_TOKEN_STEP == MSG_TOKEN_MIN_LEN, "wire format");
static_assert(TOKEN_OVERHEAD + TOKEN_PAYLOAD_MAX == MSG_TOKEN_MAX_LEN, "wire format");
static_assert(sizeof(struct wire_response) == MSG_RESPONSE_LEN, "wire format");
static_assert(sizeof(struct wire_cookie) == MSG_COOKIE_LEN, "wire format");
static_assert(sizeof(struct wire_data) == MSG_DATA_HEAD_LEN, "wire format");

/* The type is one byte and three zero bytes: one 32-bit number. */
static inline bool wire_is(const uint8_t *msg, size_t len, enum msg_type type, size_t want)
{
	return len == want && get_le32(msg) == (uint32_t)type;
}

/* Both directions of a claim; unpack: -EBADMSG unless it is one that pack could have written. */
void claim_pack(struct wire_claim *w, const struct invite_claim *c);
int claim_unpack(struct invite_claim *c, const struct wire_claim *w);
bool claim_valid(const struct invite_claim *c);
