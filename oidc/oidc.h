/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oidc: OpenID Connect: finds an issuer's endpoints (Discovery 1.0) and keys (RFC 7517), gets tokens by the device grant (RFC 8628), the code
 * flow with PKCE (RFC 7636) and refresh, and verifies ID tokens (RS256, ES256). One thread, on the event loop; every callback
 * may free the object. Everything that the issuer says is bounded: 1 MiB an answer, 64 keys.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

struct event_base;
struct json_t;
struct oidc;
struct oidc_call;

enum { OIDC_ALLOW = 16, OIDC_SKEW_S = 60, OIDC_TOKEN_MAX = 16384 };

struct oidc_config {
	const char *issuer; /* https URL (http only to a loopback address) */
	const char *client_id;
	const char *client_secret; /* NULL = a public client */
	const char *scopes;	   /* "" = "openid profile email" */
	const char *ca;		   /* PEM text beside the system's, or NULL */
	bool offline; /* device and code flow ask for a refresh token, where the issuer knows offline_access */
	/* CLAIM=VALUE; one must hold. None: oidc_verify() refuses everybody, while tokens that were got here are not held to it
	 * (a laptop need not know who may enter): who lets people in by oidc_finish() demands rules. */
	unsigned nallow;
	const char *allow[OIDC_ALLOW];
};

/* Who a verified ID token is about. */
struct oidc_identity {
	char subject[256];
	char name[256];	 /* preferred_username, else email, else name, else subject */
	int64_t expires; /* seconds since 1970 */
};

struct oidc_tokens {
	const char *id_token,
		*refresh_token; /* may be NULL; after oidc_refresh() the new one, or that which stays good. Both borrowed */
	struct oidc_identity who; /* of the ID token, which is verified */
};

/* Errors of calls: the sentence is in the callback's `e`. */
enum oidc_error {
	OIDC_UNREACHABLE = 1, /* the issuer; try again later */
	OIDC_REFUSED,	      /* token or grant: revoked, foreign, expired, may not enter */
	OIDC_CANCELLED,	      /* by the person */
	OIDC_UNSUPPORTED      /* the issuer has no such grant */
};

/* Copies what it needs. Asks nobody yet. -EINVAL: the issuer's URL, or an `allow` that is not CLAIM=VALUE. */
int oidc_new(struct oidc **op, struct event_base *base, const struct oidc_config *cfg,
	     struct error *e);
void oidc_free(struct oidc *o); /* NULL ok; calls under way end without callback */

/*
 * Each of these: 0 and exactly one callback, from the loop, unless cancelled; or -ENOMEM, or -EBUSY (1024 calls are under
 * way), and none. `cp` may be NULL.
 *
 * `nonce` NULL = none is demanded. Keys are fetched when an unknown one is named, at most once in 10 s.
 */
typedef void oidc_verified(void *arg, int error, const struct oidc_identity *who,
			   const struct error *e);
int oidc_verify(struct oidc *o, const char *id_token, const char *nonce, oidc_verified *cb,
		void *arg, struct oidc_call **cp);

/* With OIDC_UNREACHABLE `t` is not NULL where tokens came, but could not be verified for want of keys: its refresh token, which
 * may be a new one, is good for another try; the rest of it is empty. */
typedef void oidc_got(void *arg, int error, const struct oidc_tokens *t, const struct error *e);
/* `show` gets what the person is to see: the address, the code, and the address with the code in it (or NULL). */
typedef void oidc_show(void *arg, const char *uri, const char *code, const char *complete);
int oidc_device(struct oidc *o, oidc_show *show, oidc_got *cb, void *arg, struct oidc_call **cp);
int oidc_refresh(struct oidc *o, const char *refresh_token, oidc_got *cb, void *arg,
		 struct oidc_call **cp);

/* The code flow: what to keep until the browser comes back, and where to send it. */
struct oidc_flow {
	char state[44], nonce[44], verifier[44];
};
typedef void oidc_url(void *arg, int error, const char *url, const struct error *e);
int oidc_begin(struct oidc *o, const char *redirect_uri, struct oidc_flow *flow, oidc_url *cb,
	       void *arg, struct oidc_call **cp);
/* `code` came with flow->state. */
int oidc_finish(struct oidc *o, const char *redirect_uri, const struct oidc_flow *flow,
		const char *code, oidc_got *cb, void *arg, struct oidc_call **cp);

/* Ends a refresh token (RFC 7009), for a logout. OIDC_UNSUPPORTED: the issuer cannot. */
typedef void oidc_done(void *arg, int error, const struct error *e);
int oidc_revoke(struct oidc *o, const char *refresh_token, oidc_done *cb, void *arg,
		struct oidc_call **cp);

/* What a token says of itself, unverified: *claims is an object, to be json_decref'ed. -EINVAL. */
int oidc_read(struct json_t **claims, const char *token, size_t len, struct error *e);

/* No callback; not after the callback. NULL ok. */
void oidc_cancel(struct oidc_call *c);
