/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto: who we are, the handshake, sealing, the replay window, cookies, invites. Sans-IO, on
 * libsodium.
 *
 * Construction: WireGuard's (whitepaper section 5), with Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b
 * (Noise rev. 34) in place of BLAKE2s; wire layouts and labels are in docs/protocol.md. One thread
 * per object; nothing here keeps global state. Every function that handles secrets wipes its locals
 * on every path.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/pkt.h"

enum { KEY_LEN = 32, TAG_LEN = 16, MAC_LEN = 16, TAI64N_LEN = 12, COOKIE_LEN = 16, HASH_LEN = 64 };

/* Calls sodium_init; once at the start of each program. 0 or -EIO. */
int crypto_init(void);
void crypto_random(void *buf, size_t len);
void crypto_wipe(void *buf, size_t len);
/* Text form of a key: base64, 44 characters and NUL. */
enum { KEY_TEXT_LEN = 45 };
void key_format(const uint8_t key[static KEY_LEN], char text[static KEY_TEXT_LEN]);
int key_parse(uint8_t key[static KEY_LEN], const char *text); /* 0 or -EINVAL */

/* --- identity --------------------------------------------------------------------------------- */

struct identity {
	uint8_t priv[KEY_LEN];
	uint8_t pub[KEY_LEN];
};
void identity_generate(struct identity *id);
int identity_from_private(struct identity *id, const uint8_t priv[static KEY_LEN]);
/* Reads the private key file (base64, one line); if absent makes one (0600, atomically) first.
 * A file that others may read is refused with the remedy. */
int identity_load(struct identity *id, const char *path, struct error *e);

/* Every node's overlay /64: the constant /16, then 48 bits of BLAKE2b(label, public key). */
struct prefix overlay_prefix(void);				    /* the /16 */
struct prefix overlay_prefix_of(const uint8_t pub[static KEY_LEN]); /* the node's /64 */
/* ::1 in it, the node's lwIP; ::2, the laptop's kernel. */
struct ipaddr overlay_stack_addr(const uint8_t pub[static KEY_LEN]);
struct ipaddr overlay_kernel_addr(const uint8_t pub[static KEY_LEN]);

/* --- secrets of previews: cookies, tickets, links (docs/previews.md) --------------------------- */

enum { AUTH_TAG_LEN = 32, DIGEST_LEN = 32 };

/* HMAC-SHA512-256. */
void auth_tag(uint8_t tag[static AUTH_TAG_LEN], const void *data, size_t len,
	      const uint8_t key[static KEY_LEN]);
bool auth_verify(const uint8_t tag[static AUTH_TAG_LEN], const void *data, size_t len,
		 const uint8_t key[static KEY_LEN]);
/* BLAKE2b-256. */
void digest(uint8_t out[static DIGEST_LEN], const void *data, size_t len);
/* In a time that tells nothing but the lengths. */
bool secret_equal(const char *a, const char *b);

/* Lower case; `text` has 2 * len + 1 bytes. */
void hex_encode(char *text, const void *data, size_t len);

/* --- AEAD: ChaCha20-Poly1305 of RFC 8439, nonce = 32 zero bits and the 64-bit counter (LE) ---- */

enum { NONCE_LEN = 12 };

/*
 * What computes it. Every program has libsodium; where it could be built chacha/chacha.h is faster. The
 * bytes are the same.
 */
struct cipher {
	/* How much to run through stream() for `len` bytes, at most AEAD_TAIL more: a partial block or
	 * vector at the end may cost more than a whole one. */
	size_t (*cover)(size_t len);
	/* out = in ^ ChaCha20's key stream from block 0 on. They do not overlap. */
	void (*stream)(uint8_t *out, const uint8_t *in, size_t len,
		       const uint8_t nonce[static NONCE_LEN], const uint8_t key[static KEY_LEN]);
	/* Poly1305 of `in` with `end` behind it. */
	void (*authenticate)(uint8_t tag[static TAG_LEN], const uint8_t *in, size_t len,
			     const uint8_t *end, size_t end_len, const uint8_t key[static KEY_LEN]);
};
extern const struct cipher cipher_sodium;

/*
 * One pass over the packet: at 1420 bytes 1.4 times as fast as libsodium's one-shot. Contracts on
 * memory:
 *   in   AEAD_HEAD bytes before it and AEAD_TAIL after it must be readable (content is of no matter)
 *   out  TAG_LEN (seal) + AEAD_TAIL bytes after it are scribbled on, AEAD_HEAD bytes before it kept
 * in and out must not overlap.
 */
enum { AEAD_HEAD = 64, AEAD_TAIL = 576 };
/* Writes len bytes and the tag. */
void aead_seal(const struct cipher *c, uint8_t *out, const uint8_t *in, size_t len,
	       uint64_t counter, const uint8_t key[static KEY_LEN]);
/* `len` counts the tag. 0, or -EBADMSG: then nothing of `out` may be used (it is wiped). */
int aead_open(const struct cipher *c, uint8_t *out, const uint8_t *in, size_t len, uint64_t counter,
	      const uint8_t key[static KEY_LEN]);

/* --- replay window: RFC 6479, 8192 bits ------------------------------------------------------- */

enum { REPLAY_BITS = 8192 };
/* Counters from here on are never sent nor accepted, so that the arithmetic cannot wrap. */
#define REPLAY_LIMIT (UINT64_MAX - REPLAY_BITS)
struct replay {
	uint64_t next; /* highest counter seen + 1 */
	uint64_t bits[REPLAY_BITS / 64];
};
void replay_init(struct replay *r);
/* True if `counter` is new; then it is marked. Call only after the tag was verified. */
bool replay_accept(struct replay *r, uint64_t counter);

/* --- invites (static platform) ---------------------------------------------------------------- */

enum node_role { ROLE_MANAGER = 0, ROLE_LAPTOP = 1, ROLE_AGENT = 2 };
enum { INVITE_ID_LEN = 16, NAME_MAX_LEN = 63, INVITE_ENDPOINTS = 4, INVITE_TEXT_MAX = 1024 };

/* What travels in the first handshake payload; the psk is derived from exactly these fields. */
struct invite_claim {
	uint8_t id[INVITE_ID_LEN];
	uint8_t role;		     /* enum node_role */
	uint64_t expiry;	     /* seconds since 1970 */
	char name[NAME_MAX_LEN + 1]; /* of the peer: [A-Za-z0-9._-]{1,63} */
};

struct invite {
	struct invite_claim claim;
	uint8_t manager[KEY_LEN]; /* its public key, pinned */
	uint8_t psk[KEY_LEN];
	unsigned nendpoints;
	char endpoint[INVITE_ENDPOINTS][ADDR_STRLEN]; /* numeric HOST:PORT */
};

bool name_valid(const char *name);
/* BLAKE2b keyed with the manager's secret over the claim. */
void invite_psk(uint8_t psk[static KEY_LEN], const uint8_t secret[static KEY_LEN],
		const struct invite_claim *c);
/* One line "culvert-invite-1.<base64url>" with a checksum, so that truncation is told from forgery.
 * Returns the length; `text` has INVITE_TEXT_MAX bytes. */
int invite_format(const struct invite *inv, char *text, size_t size);
/* 0, or -EINVAL with the sentence: not an invite, of another version, truncated, damaged. White
 * space around is ignored. */
int invite_parse(struct invite *inv, const char *text, size_t len, struct error *e);

/* --- handshake: WireGuard's three messages and two of ours ------------------------------------ */

enum msg_type {
	MSG_INITIATION = 1,
	MSG_RESPONSE = 2,
	MSG_COOKIE = 3,
	MSG_DATA = 4,
	MSG_INVITATION = 5, /* an initiation whose payload also carries an invite_claim */
	MSG_TOKEN = 6,	    /* ... or a service account's token */
};

/* Lengths on the wire (docs/protocol.md has the layouts; crypto/messages.h the structs). */
enum {
	MSG_HEAD_LEN = 4,
	MSG_INITIATION_LEN = 148,
	MSG_INVITATION_LEN = 236, /* claim padded to a fixed size */
	MSG_RESPONSE_LEN = 92,
	MSG_COOKIE_LEN = 64,
	MSG_DATA_HEAD_LEN = 16, /* type, receiver index, counter */
	MSG_DATA_OVERHEAD = MSG_DATA_HEAD_LEN + TAG_LEN,
	TOKEN_MAX = 4096,	  /* bytes of a token: 0x21 to 0x7e, no terminator */
	MSG_TOKEN_STEP = 64,	  /* its message is padded, so that its length tells little */
	MSG_TOKEN_MIN_LEN = 200,  /* the message with a token of one byte ... */
	MSG_TOKEN_MAX_LEN = 4296, /* ... and of TOKEN_MAX; over UDP it may travel in fragments */
};

/* Whether there is such a message of `len` bytes: of a type above, and as long as that may be. */
bool message_length_valid(uint32_t type, size_t len);
/* 1 to TOKEN_MAX bytes of visible ASCII. */
bool token_valid(const char *token, size_t len);

/* State between the two messages of one handshake; wiped by handshake_wipe and when it ends. */
struct handshake {
	uint8_t hash[HASH_LEN];	    /* h */
	uint8_t chaining[HASH_LEN]; /* ck */
	uint8_t ephemeral[KEY_LEN]; /* our private one */
	uint8_t remote_ephemeral[KEY_LEN];
	uint8_t remote_static[KEY_LEN];
	uint8_t psk[KEY_LEN];
	uint32_t local_index, remote_index;
	uint8_t timestamp[TAI64N_LEN]; /* what the initiation carried */
	bool initiator;
};

/* Transport keys of a finished handshake. */
struct transport_keys {
	uint8_t send[KEY_LEN], receive[KEY_LEN];
};

/* What came in message 1 beside the timestamp. */
struct initiation {
	enum msg_type type;	   /* which of these it carried */
	struct invite_claim claim; /* MSG_INVITATION; else name is "" */
	size_t token_len;	   /* MSG_TOKEN; else 0 */
	char token[TOKEN_MAX + 1]; /* NUL behind it */
};

/* DH(s, s). -EINVAL if the public key is of low order:
 * no handshake with such a peer can succeed. */
int handshake_static_dh(uint8_t ss[static KEY_LEN], const struct identity *self,
			const uint8_t remote[static KEY_LEN]);

/* Writes message 1 without its MACs: MSG_TOKEN if there is a token, MSG_INVITATION if there is a
 * claim, else MSG_INITIATION. `msg` has room for it. Returns its length or -EINVAL.
 * hs->local_index, hs->timestamp and hs->psk are given by the caller; the rest is filled. */
int handshake_initiate(struct handshake *hs, uint8_t *msg, const struct identity *self,
		       const uint8_t remote[static KEY_LEN], const struct invite_claim *claim,
		       const char *token, size_t token_len);
/* Opens message 1 (of the three types), whose MAC1 has been checked. On 0 hs knows remote_static,
 * timestamp, remote_index, and *in what it carried: wipe that. -EBADMSG otherwise: hs is untouched.
 * The caller then finds the peer, checks the timestamp and sets hs->psk. */
int handshake_consume_initiation(struct handshake *hs, const uint8_t *msg, size_t len,
				 const struct identity *self, struct initiation *in);
/* Writes message 2 (MSG_RESPONSE_LEN) without MACs; needs hs->psk and hs->local_index; gives the
 * keys and wipes hs, except for the two indices, which now name the session. 0, or -EINVAL: then no
 * keys. */
int handshake_respond(struct handshake *hs, uint8_t *msg, struct transport_keys *keys);
/* Opens message 2; on 0 gives the keys and wipes hs, except for the two indices; on -EBADMSG hs is
 * untouched (it may have been a forgery: go on waiting). Checks the receiver index too. */
int handshake_consume_response(struct handshake *hs, const uint8_t *msg, size_t len,
			       const struct identity *self, struct transport_keys *keys);
void handshake_wipe(struct handshake *hs);

/* --- MAC1, MAC2, cookies (WireGuard 5.4.4, 5.4.7) --------------------------------------------- */

/* Of a responder: checks what comes in. */
struct cookie_checker {
	uint8_t mac1_key[KEY_LEN], cookie_key[KEY_LEN]; /* from our public key */
	uint8_t secret[KEY_LEN];			/* rotates every 120 s */
	nsec_t secret_born;
};
void cookie_checker_init(struct cookie_checker *c, const uint8_t own_pub[static KEY_LEN]);
enum mac_verdict { MAC_INVALID, MAC_VALID, MAC_VALID_WITH_COOKIE };
/* `source`: the bytes that name the sender (address and port) the cookie is bound to. */
enum mac_verdict cookie_check(struct cookie_checker *c, const uint8_t *msg, size_t len,
			      const void *source, size_t source_len, nsec_t now);
/* Writes the cookie reply (MSG_COOKIE_LEN bytes) to a message whose MAC1 was valid. */
void cookie_reply(struct cookie_checker *c, uint8_t *reply, const uint8_t *msg, size_t len,
		  const void *source, size_t source_len, nsec_t now);

/* Of an initiator, per peer: adds MACs to what goes out and takes cookies in. */
struct cookie_jar {
	uint8_t mac1_key[KEY_LEN], cookie_key[KEY_LEN]; /* from the peer's public key */
	uint8_t cookie[COOKIE_LEN];
	nsec_t cookie_born; /* 0 = none; used for 115 s of its 120 */
	uint8_t last_mac1[MAC_LEN];
	uint32_t last_sender; /* index in the message of last_mac1: a reply must name it */
	bool have_last_mac1;
};
void cookie_jar_init(struct cookie_jar *j, const uint8_t peer_pub[static KEY_LEN]);
/* Fills the last 32 bytes (MAC1, MAC2) of a handshake message of `len` bytes. */
void cookie_add_macs(struct cookie_jar *j, uint8_t *msg, size_t len, nsec_t now);
/* Takes a cookie reply; 0 or -EBADMSG. */
int cookie_consume(struct cookie_jar *j, const uint8_t *reply, size_t len, nsec_t now);

/* TAI64N (big endian, 2^62 + 10 s leap as WireGuard) of max(real, last + 1 ns), written to `stamp`;
 * `last` is updated. */
void tai64n_next(uint8_t stamp[static TAI64N_LEN], nsec_t real, nsec_t *last);
