/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlay internals: the objects, and which file does what.
 *
 *   overlay.c    the object, drop counters, the table of session indices
 *   peer.c       peers by key and by address; making, finding, removing
 *   keypair.c    the three keypair slots and the confirm rule
 *   handshake.c  starting and answering handshakes; the tie-break; admission
 *   admission.c  how many initiations, and from where: under load, half-open, per-source rate
 *   send.c       sealing, keepalives
 *   receive.c    dispatch, opening, replay, the inner source
 *   timers.c     deadlines of a peer, and what happens at them
 *   paths.c      several ways to a peer: probing, judging, choosing, following
 *   queue.c      packets that wait for a session
 *   route.c      prefix -> peer, and each peer's routes
 *   trie.c       longest prefix match
 *
 * A peer's state is changed only after a message has been authenticated, and then at once: no
 * forged or half-handled datagram leaves anything behind.
 */
#pragma once

#include <errno.h>

#include "base/hash.h"
#include "base/ip.h"
#include "overlay/admission.h"
#include "overlay/overlay.h"
#include "overlay/queue.h"
#include "overlay/trie.h"

enum {
	COLLISION_TIME = 1,   /* s: initiations of both sides this close are "at once" */
	KEEPALIVE_ANSWER = 1, /* s: an ALIVE is answered if we have been silent for as long */
	COOKIE_TIME = 120,    /* s: what a cookie is good for */
	INITIATIONS_PER_SECOND = 50, /* of one peer */
	HALF_OPEN_TIME = 15,	 /* s: an admitted peer has as long to confirm its first session */
	PATH_SLOTS = PEER_PATHS, /* of the 256 that the counter's high byte can name */
	COUNT_BITS = 56,	 /* of the counter; the path slot is above */
	PADDING = 16,
	SUSPECT_AFTER_MS = 1000, /* data, or a probe, is unanswered for as long */
	PROBE_EVERY_MS = 250,	 /* then */
	PROBES = 3,		 /* unanswered: dead */
	PROBE_LEN = 5,		 /* type and id, of an answer too; then padding */
	MOVED_LEN = 10,		 /* type, slot, count */
	PROBES_KEPT = 8,	 /* whose answers we still know */
};

/* WireGuard's 2^60 and 2^64, scaled to the 56 bits that our counter has. */
#define REKEY_AFTER_MESSAGES  (UINT64_C(1) << (COUNT_BITS - 4))
#define REJECT_AFTER_MESSAGES ((UINT64_C(1) << COUNT_BITS) - REPLAY_BITS - 1)
#define SECONDS(n)	      ((nsec_t)(n)*NSEC_PER_SEC)

/* First byte of a control plaintext (docs/protocol.md, "Control in data messages"). */
enum control {
	CONTROL_ALIVE = 1,  /* I keep this session up and shall be heard every KEEPALIVE_TIMEOUT */
	CONTROL_PROBE = 2,  /* are you there, on this path? */
	CONTROL_ANSWER = 5, /* yes; repeats the id */
	CONTROL_MOVED = 6,  /* ALIVE, and which path I left, at which count */
};

/* A session index that we have given out: of a running handshake, or of a keypair. */
struct session_index {
	struct hash_node node;
	uint32_t value; /* 0 = not in the table */
	struct overlay_peer *peer;
	struct keypair *keypair; /* NULL: the handshake that we have started */
};

struct keypair {
	struct session_index index;
	uint32_t remote_index;
	bool initiator; /* we started it, so we renew it */
	nsec_t born;
	uint64_t sent;		    /* messages sealed */
	uint64_t count[PATH_SLOTS]; /* ... in each path slot: a nonce is never used twice */
	struct transport_keys keys;
	uint64_t floor
		[PATH_SLOTS]; /* received below this count: sent before the peer left that path */
	struct replay window; /* of path slot 0 */
	struct replay *more[PATH_SLOTS - 1]; /* of the others: made when first used */
};

struct probe {
	uint32_t id; /* 0 = none, or answered */
	nsec_t sent;
};

/* A path to a peer; its place in the peer's array is the slot. Of a follower only `path` and
 * `last_receive` have a meaning. */
struct way {
	bool used;
	enum path_state state;
	struct path path;
	unsigned rank;
	nsec_t last_receive; /* anything authentic */
	nsec_t rtt;
	nsec_t tried;	      /* the last initiation over it */
	nsec_t waiting_since; /* first data message after which nothing has come here */
	nsec_t asked_since;   /* UP: first probe that is unanswered */
	nsec_t silent_since;  /* SUSPECT: which of the two it was */
	nsec_t probe_at;      /* the next one */
	unsigned tries;	      /* probes since it became SUSPECT, DEAD or NEW */
	unsigned answered;    /* in a row, while UP */
	nsec_t active_since;
	nsec_t hold, not_before; /* it failed soon after it was taken: not taken back before */
	struct probe probes[PROBES_KEPT];
	unsigned nprobes;
};

/* The one handshake that we may have started with a peer. */
struct pending {
	struct session_index index; /* .value != 0: it runs */
	struct handshake hs;
	struct path path; /* where the initiation went */
	bool token;	  /* it carried one: whom it went to may have to ask others first */
	nsec_t sent;
};

/* Points in time, 0 = not set. Packets only store them; `deadline` may be too early, never too
 * late. */
struct timers {
	nsec_t deadline;      /* when timers_run() must look at this peer */
	nsec_t last_sent;     /* any data message, keepalives too */
	nsec_t keepalive_at;  /* data came: a keepalive answers it, if nothing else goes out */
	nsec_t answer_by;     /* data went out: if nothing has come by then, handshake */
	nsec_t waiting_since; /* first data message that nothing has come after */
	nsec_t retry_at;      /* (next) initiation */
	nsec_t first_attempt; /* of this series of initiations */
	nsec_t last_handshake_sent; /* initiation or response */
	nsec_t persist_since;
	unsigned attempts;
	unsigned probes; /* ALIVEs sent since data went unanswered */
	bool eager;	 /* this series backs off from 0.2 s, instead of REKEY_TIMEOUT each */
	bool persist;
	bool kept;	  /* the peer has said ALIVE */
	bool present;	  /* heard of, and not away since */
	bool away;	  /* told so */
	bool last_minute; /* renewal for the sake of receiving was started */
};

struct overlay_peer {
	struct overlay *overlay;
	struct overlay_peer *next, **link; /* in overlay.peers */
	struct hash_node by_key, by_addr;
	uint8_t pub[KEY_LEN], psk[KEY_LEN];
	struct prefix addr; /* its /64 */
	struct invite_claim claim;
	bool has_claim;
	char *token; /* NULL = none */
	size_t token_len;
	void *user;

	struct way ways[PEER_PATHS];
	struct way *active; /* where we send to; NULL = nowhere */
	bool spoke;	    /* the ways are candidates of ours */
	uint32_t probe_id;
	nsec_t corrected;      /* when we last told the hub which path we use */
	nsec_t answers_second; /* that `answers` counts in */
	unsigned answers;      /* to probes */
	struct cookie_jar jar;
	struct pending pending;
	struct keypair *current, *previous, *unconfirmed; /* WireGuard's current, previous, next */
	uint8_t greatest_stamp[TAI64N_LEN];		  /* of the initiations we accepted */
	nsec_t second;					  /* that `initiations` counts in */
	unsigned initiations;
	struct source *half_open; /* admitted, no session confirmed yet */
	nsec_t half_open_until;

	struct timers t;
	struct queue queue;
	struct route *routes;
	unsigned nroutes;
	nsec_t last_handshake, last_receive, rtt;
	uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets;
};

struct overlay {
	struct overlay_ops ops;
	void *arg;
	struct identity self;
	const struct cipher *cipher;
	struct prefix own_addr;
	nsec_t last_stamp;
	uint64_t jitter; /* state of a small generator */
	uint64_t drops[OVERLAY_NUM_DROPS];
	struct overlay_peer *peers;
	struct hash_table by_key, by_addr, by_index;
	struct trie routes4, routes6;
	struct cookie_checker checker;
	struct admission admission;
	nsec_t next; /* earliest deadline of all peers, or earlier */
	uint8_t padded[AEAD_HEAD + INNER_MTU + AEAD_TAIL]; /* a packet that needs padding */
};

/* overlay.c */
void overlay_drop(struct overlay *o, enum overlay_drop why);
void overlay_seed_jitter(struct overlay *o, uint64_t seed); /* for simulations */
nsec_t overlay_jitter(struct overlay *o, nsec_t below);	    /* 0 .. below - 1 */
/* Puts `si` in the table under `value`, or under a fresh random index if that is 0. */
void index_insert(struct overlay *o, struct session_index *si, uint32_t value);
void index_remove(struct overlay *o, struct session_index *si); /* if it is in */
struct session_index *index_find(const struct overlay *o, uint32_t value);

/* keypair.c */
struct keypair *keypair_new(struct overlay_peer *p, bool initiator, uint32_t index, nsec_t now);
void keypair_free(struct overlay_peer *p, struct keypair **kp); /* NULL ok; wipes, clears */
bool keypair_alive(const struct keypair *kp, nsec_t now);
/* NULL: no such slot, or no memory. */
struct replay *keypair_window(struct keypair *kp, unsigned slot);
/* We started it: it is current at once. */
void keypair_install(struct overlay_peer *p, struct keypair *kp);
/* The peer started it: it waits as `unconfirmed` for the first message under it. */
void keypair_offer(struct overlay_peer *p, struct keypair *kp);
/* That message came. */
void keypair_confirm(struct overlay_peer *p);

/* route.c */
void route_remove_all(struct overlay_peer *p);

/* handshake.c */
void handshake_start(struct overlay_peer *p, bool force, nsec_t now);
void handshake_send_initiation(struct overlay_peer *p, nsec_t now);
void handshake_cancel(struct overlay_peer *p);
void handshake_receive(struct overlay *o, const struct path *from, const uint8_t *msg, size_t len,
		       nsec_t now);
/* A session with confirmed keys: tell, let the queue go, make the other side know. */
void handshake_complete(struct overlay_peer *p, bool fresh, nsec_t now);
void half_open_end(struct overlay_peer *p);

/* send.c */
void send_keepalive(struct overlay_peer *p, nsec_t now); /* empty */
/* An ALIVE over the new path: what comes late by that of `slot` moves the peer no more. */
void send_moved(struct overlay_peer *p, unsigned slot, nsec_t now);
void send_alive(struct overlay_peer *p, nsec_t now); /* persistent: asks for an answer */
/* What waited for a session; there is one, and a path. */
void send_queued(struct overlay_peer *p);

/* Over this path, whichever is active; no timer takes notice. At most INNER_MTU bytes. */
void send_on(struct overlay_peer *p, const struct path *path, unsigned slot, const uint8_t *text,
	     size_t len, nsec_t now);

/* paths.c */
/* Where the next initiation goes; there is an active path. */
const struct path *paths_initiation(struct overlay_peer *p, nsec_t now);
unsigned paths_candidates(const struct overlay_peer *p); /* 1 for a follower */
void paths_sent_data(struct overlay_peer *p, nsec_t now);
/* Something authentic and new came. `newest`: it was not overtaken in its slot. */
void paths_received(struct overlay_peer *p, const struct path *from, unsigned slot, bool newest,
		    bool probe, nsec_t now);
/* So did an initiation, or (`rtt` != 0) the response to ours. */
void paths_received_handshake(struct overlay_peer *p, const struct path *from, nsec_t rtt,
			      nsec_t now);
void paths_probed(struct overlay_peer *p, const struct path *from, unsigned slot,
		  const uint8_t *text, size_t len, nsec_t now);
void paths_answered(struct overlay_peer *p, const struct path *from, const uint8_t *text,
		    nsec_t now);
void paths_session(struct overlay_peer *p, bool fresh, nsec_t now);
void paths_kick(struct overlay_peer *p, nsec_t now); /* the network changed: ask all again */
nsec_t paths_due(struct overlay_peer *p, nsec_t now);
void paths_run(struct overlay_peer *p, nsec_t now);

/* timers.c */
void timers_arm(struct overlay_peer *p, nsec_t when);
void timers_sent(struct overlay_peer *p, bool data, nsec_t now);
void timers_received(struct overlay_peer *p, nsec_t now);
void timers_received_data(struct overlay_peer *p, nsec_t now);
void timers_initiated(struct overlay_peer *p, nsec_t now);
void timers_responded(struct overlay_peer *p, nsec_t now);
void timers_complete(struct overlay_peer *p, nsec_t now);
void timers_update(struct overlay_peer *p, nsec_t now); /* something else than a packet changed */
void timers_run(struct overlay_peer *p, nsec_t now);
