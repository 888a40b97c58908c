/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MAC1, MAC2 and cookies, as in WireGuard 5.4.4 and 5.4.7.
 *
 * MAC1 is keyed with the receiver's public key: who does not know that gets no answer. MAC2 is
 * keyed with a cookie, which the responder gives only to the address it is bound to: under load a
 * responder works only for those who can be reached where they claim to be. It keeps no state for
 * that: the cookie is a MAC of the address under a secret that is replaced every two minutes.
 */
#include <errno.h>
#include <sodium.h>

#include "crypto/messages.h"

/* A cookie is not used in its last seconds: the message would arrive after the secret changed. */
#define COOKIE_LIFE    (120 * NSEC_PER_SEC)
#define COOKIE_LATENCY (5 * NSEC_PER_SEC)

static_assert(COOKIE_LEN == crypto_generichash_blake2b_KEYBYTES_MIN, "a cookie is a MAC key");
static_assert(COOKIE_NONCE_LEN == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "wire format");

static void mac(uint8_t out[static MAC_LEN], const uint8_t *key, size_t keylen, const void *data,
		size_t len)
{
	crypto_generichash_blake2b(out, MAC_LEN, data, len, key, keylen);
}

static void derive(uint8_t key[static KEY_LEN], const char label[static 8],
		   const uint8_t pub[static KEY_LEN])
{
	uint8_t in[8 + KEY_LEN];

	memcpy(in, label, 8);
	memcpy(in + 8, pub, KEY_LEN);
	crypto_generichash_blake2b(key, KEY_LEN, in, sizeof(in), NULL, 0);
}

static const char label_mac1[8] = "mac1----";
static const char label_cookie[8] = "cookie--";

void cookie_checker_init(struct cookie_checker *c, const uint8_t own_pub[static KEY_LEN])
{
	memset(c, 0, sizeof(*c));
	derive(c->mac1_key, label_mac1, own_pub);
	derive(c->cookie_key, label_cookie, own_pub);
}

void cookie_jar_init(struct cookie_jar *j, const uint8_t peer_pub[static KEY_LEN])
{
	memset(j, 0, sizeof(*j));
	derive(j->mac1_key, label_mac1, peer_pub);
	derive(j->cookie_key, label_cookie, peer_pub);
}

static const struct wire_macs *macs_of(const uint8_t *msg, size_t len)
{
	return (const struct wire_macs *)(msg + len - sizeof(struct wire_macs));
}

/* The messages that end with MACs, at their exact length. */
static bool has_macs(const uint8_t *msg, size_t len)
{
	uint32_t type = len >= MSG_HEAD_LEN ? get_le32(msg) : 0;

	return (type == MSG_INITIATION || type == MSG_INVITATION || type == MSG_TOKEN ||
		type == MSG_RESPONSE) &&
	       message_length_valid(type, len);
}

static bool secret_fresh(const struct cookie_checker *c, nsec_t now)
{
	return c->secret_born && now - c->secret_born < COOKIE_LIFE;
}

enum mac_verdict cookie_check(struct cookie_checker *c, const uint8_t *msg, size_t len,
			      const void *source, size_t source_len, nsec_t now)
{
	uint8_t want[MAC_LEN], cookie[COOKIE_LEN];
	enum mac_verdict ret = MAC_INVALID;

	if (!has_macs(msg, len))
		return MAC_INVALID;
	const struct wire_macs *m = macs_of(msg, len);
	mac(want, c->mac1_key, KEY_LEN, msg, len - sizeof(*m));
	if (sodium_memcmp(want, m->mac1, MAC_LEN))
		goto out;
	ret = MAC_VALID;
	if (!secret_fresh(c, now))
		goto out;
	mac(cookie, c->secret, KEY_LEN, source, source_len);
	mac(want, cookie, COOKIE_LEN, msg, len - MAC_LEN);
	if (!sodium_memcmp(want, m->mac2, MAC_LEN))
		ret = MAC_VALID_WITH_COOKIE;
out:
	crypto_wipe(want, sizeof(want));
	crypto_wipe(cookie, sizeof(cookie));
	return ret;
}

void cookie_reply(struct cookie_checker *c, uint8_t *reply, const uint8_t *msg, size_t len,
		  const void *source, size_t source_len, nsec_t now)
{
	struct wire_cookie *w = (struct wire_cookie *)reply;
	uint8_t cookie[COOKIE_LEN];

	if (!secret_fresh(c, now)) {
		crypto_random(c->secret, KEY_LEN);
		c->secret_born = now;
	}
	mac(cookie, c->secret, KEY_LEN, source, source_len);

	put_le32(w->type, MSG_COOKIE);
	memcpy(w->receiver, msg + MSG_HEAD_LEN, sizeof(w->receiver)); /* its sender index */
	crypto_random(w->nonce, sizeof(w->nonce));
	crypto_aead_xchacha20poly1305_ietf_encrypt(w->cookie, NULL, cookie, sizeof(cookie),
						   macs_of(msg, len)->mac1, MAC_LEN, NULL, w->nonce,
						   c->cookie_key);
	crypto_wipe(cookie, sizeof(cookie));
}

void cookie_add_macs(struct cookie_jar *j, uint8_t *msg, size_t len, nsec_t now)
{
	struct wire_macs *m = (struct wire_macs *)(msg + len - sizeof(*m));

	mac(m->mac1, j->mac1_key, KEY_LEN, msg, len - sizeof(*m));
	memcpy(j->last_mac1, m->mac1, MAC_LEN);
	j->last_sender = get_le32(msg + MSG_HEAD_LEN);
	j->have_last_mac1 = true;
	if (j->cookie_born && now - j->cookie_born < COOKIE_LIFE - COOKIE_LATENCY)
		mac(m->mac2, j->cookie, COOKIE_LEN, msg, len - MAC_LEN);
	else
		memset(m->mac2, 0, MAC_LEN);
}

int cookie_consume(struct cookie_jar *j, const uint8_t *reply, size_t len, nsec_t now)
{
	const struct wire_cookie *w = (const struct wire_cookie *)reply;
	uint8_t cookie[COOKIE_LEN];
	int ret = -EBADMSG;

	if (!wire_is(reply, len, MSG_COOKIE, MSG_COOKIE_LEN) || !j->have_last_mac1 ||
	    get_le32(w->receiver) != j->last_sender)
		return -EBADMSG;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(cookie, NULL, NULL, w->cookie,
						       sizeof(w->cookie), j->last_mac1, MAC_LEN,
						       w->nonce, j->cookie_key))
		goto out;
	memcpy(j->cookie, cookie, COOKIE_LEN);
	j->cookie_born = now;
	j->have_last_mac1 = false; /* one cookie for one message */
	ret = 0;
out:
	crypto_wipe(cookie, sizeof(cookie));
	return ret;
}
