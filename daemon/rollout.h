/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rollout: watches a marked workload's pods until they have the agent. It says how far they are, looks for what holds them up, and
 * evicts, one by one, the pods that nobody else replaces: those of a bare ReplicaSet, and those that were let in without an
 * agent although they are marked.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "intercept/intercept.h"

struct event_base;
struct kube_client;
struct rollout;

struct rollout_config {
	enum workload_kind kind;
	const char *ns, *name;
	const json_t *object; /* the workload, borrowed for the call: selector, replicas */
	const char *mark;     /* what its pods are to carry */
	/* Said when the only pod would have to be evicted, which then is not done; NULL = it may be. */
	const char *no_evictions;
};

struct rollout_ops {
	void (*progress)(void *arg, const char *text);
	/* No use to wait: the sentence. Free it now or later. */
	void (*failed)(void *arg, const char *text);
	/* All pods are there, and ready, and none of them is to be replaced, for a while already. Told again and again. */
	void (*settled)(void *arg);
};

int rollout_new(struct rollout **rp, struct event_base *base, struct kube_client *client,
		const struct rollout_config *cfg, const struct rollout_ops *ops, void *arg);
void rollout_free(struct rollout *r); /* NULL ok */
/* What holds it up, as far as it is known, or "". */
const char *rollout_held_by(const struct rollout *r);
