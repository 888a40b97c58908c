/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives the manager: its key, the secret behind invites, who was admitted, and the intercepts.
 * One JSON file, written atomically and fsynced before anybody is told of a change; when that fails, the change did
 * not happen.
 */
#pragma once

#include "crypto/crypto.h"
#include "intercept/intercept.h"

enum {
	STATE_PEERS_MAX = 1024,
	STATE_INTERCEPTS_MAX = 1024,
	STATE_SPENT_MAX = 4096,
	STATE_FILE_MAX = 16 << 20
};

/* The durable part of a peer. */
struct peer_record {
	uint8_t pub[KEY_LEN];
	uint8_t psk[KEY_LEN];
	uint8_t invite[INVITE_ID_LEN];
	uint64_t expiry; /* of the invite, seconds since 1970 */
	enum node_role role;
	char name[NAME_MAX_LEN + 1];
	struct ipaddr v4;	     /* laptops; family 0 = none */
	union sockaddr_any endpoint; /* last seen there; family 0 = none */
};

/* An invite whose key has been shut out: it must not let that key in again while it is not expired. */
struct spent_invite {
	uint8_t id[INVITE_ID_LEN];
	uint64_t expiry;
};

struct snapshot {
	nsec_t stamp; /* last TAI64N sent */
	unsigned npeers;
	const struct peer_record **peer;
	unsigned nintercepts;
	const struct intercept **intercept;
	unsigned nspent;
	const struct spent_invite *spent;
};

/* Makes the folder if need be; key and secret are made at first use. Fails when another process has it locked if `lock`. */
struct store;
int store_open(struct store **sp, const char *folder, bool lock, struct error *e);
void store_close(struct store *s); /* NULL ok; wipes */
const struct identity *store_identity(const struct store *s);
const uint8_t *store_secret(const struct store *s);

int store_save(struct store *s, const struct snapshot *snap, struct error *e);

/* Reads the state file; the callbacks (NULL ok) get each object (copy it). No file = nothing known, 0. */
struct store_visitor {
	int (*peer)(void *arg, const struct peer_record *p, struct error *e);
	int (*intercept)(void *arg, const struct intercept *i, struct error *e);
	int (*spent)(void *arg, const struct spent_invite *s, struct error *e);
	void *arg;
};
int store_load(struct store *s, nsec_t *stamp, const struct store_visitor *v, struct error *e);
