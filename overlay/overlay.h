/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlay: who is a packet for, which key, which path; timers and rekey. Sans-IO: datagrams, `now`
 * and callbacks come in; node/ owns sockets, clock and loop. The rules are WireGuard's (whitepaper
 * section 6; docs/protocol.md): a session belongs to keys, not to connections.
 *
 * Re-entrancy: callbacks may call overlay_peer_*() getters and overlay_seal(), but not remove the
 * peer they are about, nor its paths (schedule that), nor call overlay_receive(). One thread.
 */
#pragma once

#include "base/clock.h"
#include "base/pkt.h"
#include "crypto/crypto.h"

struct overlay;
struct overlay_peer;

/* WireGuard's constants (6.1), then ours. */
enum {
	REKEY_AFTER_TIME = 120,	 /* s; the initiator of a session renews it */
	REJECT_AFTER_TIME = 180, /* s */
	REKEY_ATTEMPT_TIME = 90, /* s; then packets are dropped; only persistence tries on */
	REKEY_TIMEOUT = 5,	 /* s, plus up to 333 ms of jitter */
	KEEPALIVE_TIMEOUT = 10,	 /* s; ours: persistent, each way */
	PEER_DEAD_AFTER = 25,	 /* s of silence */
	PEER_QUEUE_MAX = 128,	 /* packets waiting for a handshake, per peer */
	HALF_OPEN_PER_SOURCE = 512,
	HALF_OPEN_MAX = 4096,
	UNDER_LOAD_HANDSHAKES = 512, /* initiations in one second: then cookies are demanded */
	ROUTES_PER_PEER = 256,
	PEER_PATHS = 4,
};

/* Why something was dropped; one counter each, names by overlay_drop_name(). */
enum overlay_drop {
	DROP_MALFORMED,	     /* no message of ours */
	DROP_MAC,	     /* MAC1 wrong: a stranger */
	DROP_HANDSHAKE,	     /* did not open, unknown key */
	DROP_OLD_INITIATION, /* timestamp not newer: a replay */
	DROP_NO_SESSION,     /* index unknown, or keys expired */
	DROP_AUTH,	     /* tag wrong */
	DROP_REPLAY,	     /* counter seen */
	DROP_SOURCE,	     /* inner source does not belong to the peer */
	DROP_NO_ROUTE,	     /* no peer for the destination */
	DROP_QUEUE_FULL,     /* waiting for a handshake */
	DROP_UNDER_LOAD,     /* answered with a cookie instead */
	DROP_LIMIT,	     /* a bound of the enum above */
	DROP_CONTROL,	     /* a control message of a type we do not know */
	OVERLAY_NUM_DROPS,
};
const char *overlay_drop_name(enum overlay_drop d);

/* What an initiation carried with it; each NULL when not carried. Valid during the call. */
struct overlay_credential {
	const struct invite_claim *claim;
	const char *token; /* NUL behind it; nobody has looked at what it says */
	size_t token_len;
	const uint8_t *message; /* the whole initiation, MACs too */
	size_t message_len;
};

struct overlay_ops {
	/* Send these bytes (a handshake message, cookie, keepalive) over `path`. */
	void (*send)(void *arg, const struct path *path, const uint8_t *data, size_t len);
	/* A packet that waited for the handshake goes on: seal and send it now (the peer has a
	 * session). Its bytes are the callee's to change. */
	void (*unqueue)(void *arg, struct overlay_peer *p, uint8_t *packet, size_t len);
	/* A session with this peer is confirmed: our first or a new one (rekey). `fresh`: there was
	 * none alive. */
	void (*established)(void *arg, struct overlay_peer *p, bool fresh);
	/* Nothing authenticated for PEER_DEAD_AFTER s (told once, until `established` or data again
	 * = back). Watched while either side persists, or data that we sent is unanswered. */
	void (*away)(void *arg, struct overlay_peer *p);
	void (*back)(void *arg, struct overlay_peer *p);
	/* An initiation by a key that is no peer. Return a peer made by overlay_peer_add() for it,
	 * or NULL for silence. Who admits also removes: a peer for which no `established` has come
	 * within 15 s is not coming, and counts no more as half-open. Who must ask others first
	 * returns NULL, and when it knows: overlay_peer_add(), and either overlay_receive() of the
	 * kept message, which is answered as if it came now, or overlay_peer_set_path(from) and
	 * overlay_peer_initiate(force); it is asked again with each retry of the peer's.
	 * Optional (NULL = silence). */
	struct overlay_peer *(*admit)(void *arg, const uint8_t pub[static KEY_LEN],
				      const struct overlay_credential *cred,
				      const struct path *from);
	/* The active path is another now (overlay_peer_path()), or there is none. Optional. */
	void (*path_changed)(void *arg, struct overlay_peer *p);
	/* overlay_next() has become earlier: look at it before you sleep. Called from anywhere, does
	 * nothing but note that. Optional (NULL = asked after each call). */
	void (*sooner)(void *arg);
	/* The TAI64N (as ns) we last sent has grown: persist it sometime. Optional. */
	void (*stamp)(void *arg, nsec_t last);
	nsec_t (*real)(void *arg); /* wall clock, for TAI64N */
};

int overlay_new(struct overlay **op, const struct overlay_ops *ops, void *arg,
		const struct identity *self, nsec_t last_stamp);
void overlay_free(struct overlay *o); /* NULL ok; wipes keys; no callbacks */
/* In place of cipher_sodium; it must outlive `o`. */
void overlay_set_cipher(struct overlay *o, const struct cipher *c);
const struct identity *overlay_identity(const struct overlay *o);
const uint64_t *overlay_drops(const struct overlay *o); /* [OVERLAY_NUM_DROPS] */

/* --- peers ------------------------------------------------------------------------------------ */

/* `claim` non-NULL: our initiations to it are invitations. `psk` NULL = 32 zero bytes. `user` is
 * the caller's. -EEXIST the key, or its 48 address bits, are known; -EINVAL low-order key or our
 * own. */
int overlay_peer_add(struct overlay *o, struct overlay_peer **pp, const uint8_t pub[static KEY_LEN],
		     const uint8_t *psk, const struct invite_claim *claim, void *user);
/* From now on our initiations to `p` carry this token, in place of a claim; NULL = no more. Copied.
 * -EMSGSIZE above TOKEN_MAX or empty, -EINVAL if it is not visible ASCII, -ENOMEM. */
int overlay_peer_set_token(struct overlay_peer *p, const char *token, size_t len);
void overlay_peer_remove(struct overlay *o, struct overlay_peer *p); /* wipes; removes its routes */
struct overlay_peer *overlay_peer_find(const struct overlay *o, const uint8_t pub[static KEY_LEN]);
void *overlay_peer_user(const struct overlay_peer *p);
const uint8_t *overlay_peer_pub(const struct overlay_peer *p);
/* Start a handshake now (wake-up, restart of a manager). Needs a path; at most one per
 * REKEY_TIMEOUT unless `force`. */
void overlay_peer_initiate(struct overlay *o, struct overlay_peer *p, bool force, nsec_t now);
/* Keep a session up from now on, with keepalives, retrying for ever:
 * jittered 0.2 s growing to 5 s. */
void overlay_peer_persist(struct overlay *o, struct overlay_peer *p, bool on, nsec_t now);

/* The network or the power state changed: handshakes with all persistent peers that have a path
 * start now. */
void overlay_kick(struct overlay *o, nsec_t now);

/* --- paths ------------------------------------------------------------------------------------ */

/*
 * Who is given candidates (overlay_path_add) chooses among them: a spoke. Who is not follows the
 * peer to where its newest message came from, probes apart (docs/protocol.md, "Paths").
 */
enum path_state {
	PATH_NEW,     /* never answered */
	PATH_UP,      /* answers */
	PATH_SUSPECT, /* data or a probe is unanswered: left for one that is up, and asked quickly */
	PATH_DEAD,    /* tried on, with backoff, for ever */
};

/* Where to send until something authenticated comes from elsewhere (roaming). NULL forgets it.
 * Candidates are forgotten. */
void overlay_peer_set_path(struct overlay_peer *p, const struct path *path);
/* The active one, NULL = none known. */
const struct path *overlay_peer_path(const struct overlay_peer *p);
/* One more candidate; of two that are up the lower rank is preferred. What was set or followed is
 * forgotten at the first. 0, -EEXIST, -ENOSPC above PEER_PATHS. */
int overlay_path_add(struct overlay *o, struct overlay_peer *p, const struct path *path,
		     unsigned rank, nsec_t now);
/* Its socket ended, or it is not wanted: the peer moves at once, to a path that works or was heard
 * of; nothing points to it any more. Of a follower, too. */
void overlay_path_remove(struct overlay *o, struct overlay_peer *p, const struct path *path,
			 nsec_t now);
/* The same for all peers' paths of this transport. */
void overlay_transport_gone(struct overlay *o, uint32_t transport, nsec_t now);

struct overlay_path_info {
	struct path path;
	unsigned rank;
	enum path_state
		state; /* of a follower: UP = heard within PEER_DEAD_AFTER of the last word */
	bool active;
	nsec_t rtt;	     /* smoothed; 0 = unknown, as a follower's always is */
	nsec_t last_receive; /* anything authenticated on it; 0 = never */
};
unsigned overlay_peer_paths(const struct overlay_peer *p,
			    struct overlay_path_info out[static PEER_PATHS]);

/* --- peers' numbers --------------------------------------------------------------------------- */

struct overlay_peer_stats {
	nsec_t last_handshake; /* 0 = never */
	nsec_t last_receive;   /* last authenticated datagram */
	nsec_t rtt;	       /* of the last handshake we started, 0 = unknown */
	uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets; /* inner */
	unsigned queued;
	bool session; /* a live keypair exists */
};
void overlay_peer_stats(const struct overlay_peer *p, struct overlay_peer_stats *st);

/* --- routes: prefix -> peer, longest match, IPv4 and IPv6 (cryptokey routing) ----------------- */

/* Moves it if taken; -ENOSPC above ROUTES_PER_PEER. */
int overlay_route_add(struct overlay *o, const struct prefix *pre, struct overlay_peer *p);
int overlay_route_remove(struct overlay *o, const struct prefix *pre); /* 0 or -ENOENT */
/* NULL = none. */
struct overlay_peer *overlay_route(const struct overlay *o, const struct ipaddr *dst);

/* --- data ------------------------------------------------------------------------------------- */

/*
 * Seals one inner packet (<= PKT_MAX bytes) for `p` into out: a whole MSG_DATA of *outlen bytes, to
 * be sent over *path. `in` and `out` follow aead_seal()'s contract; `out` has room for
 * MSG_DATA_OVERHEAD + roundup(len, 16) + AEAD_TAIL. 0; -EAGAIN no session: queue it with
 * overlay_queue(), a handshake runs; -ENETUNREACH no path known. May start a rekey by ops->send.
 */
int overlay_seal(struct overlay *o, struct overlay_peer *p, const uint8_t *in, size_t len,
		 uint8_t *out, size_t *outlen, struct path *path, nsec_t now);
/* Copies the packet into the peer's bounded queue (oldest dropped,
 * counted) and starts a handshake. */
void overlay_queue(struct overlay *o, struct overlay_peer *p, const uint8_t *packet, size_t len,
		   nsec_t now);

/*
 * Takes one datagram. For a data message with an inner IP packet whose source belongs to the peer:
 * returns 1, *inner points into `scratch` and *peer tells whose it is. 0: it was for us (handshake,
 * keepalive, control) or dropped; *peer is still set if it was a data message that opened and is
 * new, and left alone otherwise. `data` follows aead_open()'s `in` contract; `scratch` (`out`) has
 * AEAD_HEAD bytes before it and len + AEAD_TAIL.
 */
int overlay_receive(struct overlay *o, const struct path *from, const uint8_t *data, size_t len,
		    uint8_t *scratch, struct pkt *inner, struct overlay_peer **peer, nsec_t now);

/* When overlay_tick() must next be called (0 = not at all);
 * may become earlier by any call above. */
nsec_t overlay_next(const struct overlay *o);
void overlay_tick(struct overlay *o, nsec_t now);
