/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject: puts the agent into a pod: AdmissionReview in, AdmissionReview out (admission.k8s.io/v1, JSON patch of RFC 6902). Sans-IO. It never
 * refuses a pod: what cannot be done admits it unchanged, with a warning that says why (docs/kubernetes.md).
 */
#pragma once

#include "objects/objects.h"

#define AGENT_CONTAINER "culvert-agent" /* its name in the pod */

enum { INJECT_ENDPOINTS = 4 };

/* What the manager knows of a pod's namespace; the review does not say it. */
struct inject_namespace {
	char pod_security[16]; /* label pod-security.kubernetes.io/enforce */
	bool opted_out;	       /* label culvert.dev/inject=disabled */
};

struct inject_config {
	char image[512];
	char pull_policy[16]; /* "" = Kubernetes' own rule */
	char manager_key[64]; /* base64 */
	unsigned nendpoints;
	char endpoint[INJECT_ENDPOINTS][ADDR_STRLEN]; /* of the manager, UDP, numeric */
	char cpu_request[16], memory_request[16], cpu_limit[16], memory_limit[16];
	/* Fills *to, which is zeroed; NULL = nothing is known of any namespace. */
	void (*look)(void *arg, const char *ns, struct inject_namespace *to);
	void *arg;
	bool sidecar; /* native (1.29 on by default; named ports reach EndpointSlices from 1.32); else an ordinary container */
};

/*
 * Answers the review in `body`. *answer is malloc'ed JSON to be sent with status 200. -EINVAL when it is no AdmissionReview (answer 400).
 * *what, if not NULL: what was done, one line for the log and an Event ("injected", or why not).
 */
int inject_review(const struct inject_config *cfg, const char *body, size_t len, char **answer,
		  struct error *what);
/* The patch alone, for tests: an array, empty = unchanged and `why` says it; else `why` is "" or what could not be done. */
int inject_patch(const struct inject_config *cfg, const json_t *pod, const char *ns, json_t **patch,
		 struct error *why);
