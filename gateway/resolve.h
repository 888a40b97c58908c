/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of the cluster's services, and connections to them. getaddrinfo() blocks, so each look-up is a thread of its own, at
 * most LOOKUPS_MAX at once; what it found comes back through a pipe.
 */
#pragma once

#include "base/addr.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/stream.h"

struct event_base;
struct ssl_ctx_st;
struct resolver;
struct caller;

/* LOOKUPS_PER_NAME: whose name servers do not answer holds up no other names. */
enum { LOOKUPS_MAX = 64, LOOKUPS_PER_NAME = 8, ADDRESSES_MAX = 8, CONNECT_SECONDS = 10 };

int resolver_new(struct resolver **rp, struct event_base *base, struct error *e);
void resolver_free(struct resolver *r); /* threads still at it end without it; NULL ok */

struct call {
	const char *host; /* a name or an address */
	uint16_t port;
	struct ssl_ctx_st *tls; /* NULL = plain TCP */
	const char *name;	/* in the certificate */
	bool verify;
	bool guarded; /* not to ourselves, nor to what only we may reach */
	int seconds;  /* for each address; 0 = CONNECT_SECONDS */
};

/* A stream, which is the owner's, or NULL and why. TLS's handshake is still to come (tls_reason()). */
typedef void called(void *arg, struct stream *s, const struct error *e);
/* Looks up, connects to the first address that answers. Copies `call`, whose context must live as long as it. The callback comes never from inside. */
int call_start(struct caller **cp, struct resolver *r, const struct call *call, called *cb,
	       void *arg);
void call_cancel(struct caller *c); /* NULL ok; not after its callback */

/* Is it refused as a target, whatever the manager says? */
bool address_refused(const struct ipaddr *a);
