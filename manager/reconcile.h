/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reconcile: which Intercepts are in force and what their status says, from what is known of all of them. Sans-IO: structs in,
 * verdicts out, the same for the same input; so a restarted manager comes to the same.
 *
 * Who holds a port, or of http some requests to it, keeps it while its laptop is there or was lately (`stale` says it was not). Among those that hold nothing yet
 * the earlier creation wins, then the lower uid. Of one session's intercepts of one name the newest that can be is in
 * force, and of the ports of an older one it inherits its place: so one is moved without a moment in which another could take it.
 */
#pragma once

#include "objects/objects.h"

enum phase { PHASE_PENDING, PHASE_ACTIVE, PHASE_PARTIAL, PHASE_CONFLICT, PHASE_FAILED, NUM_PHASES };
const char *phase_name(enum phase p); /* as in status.phase */
bool phase_parse(enum phase *p, const char *name);

/* One Intercept and what is known of its Session. */
struct claim {
	const struct intercept_object *o;
	const char *session_user; /* NULL: there is no such Session */
	bool stale;		  /* its laptop has been away for holder-timeout */
};

struct verdict {
	bool in_force;
	enum phase phase; /* of one in force: PENDING, until coverage() says more */
	char message[640];
};

enum { RECONCILE_MAX = 1024 };

/* Fills v[i] for each c[i]; n <= RECONCILE_MAX. 0 or -ENOMEM. */
int reconcile(struct verdict *v, const struct claim *c, size_t n);

/* An endpoint of the intercepted service. */
struct endpoint {
	const char *pod;
	bool marked;	/* an agent was put in, so it will come */
	bool connected; /* its agent is here and stands for the workload */
	bool confirmed; /* ... and has the rule */
	bool old;	/* its agent is here and cannot take such a rule */
	const char *
		left_out; /* its agent is here and does not serve it: why, and what helps; NULL = none of this */
	bool leaving; /* without an agent, no more ready: a proxy may not know yet */
};

struct coverage {
	enum phase phase; /* PENDING, ACTIVE or PARTIAL */
	unsigned agents, endpoints;
	char message[640];
};
void coverage(struct coverage *c, const struct endpoint *e, size_t n);
