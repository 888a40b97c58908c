/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ingress: what leads to a workload from outside, read with the user's own rights: Ingresses, HTTPRoutes and Gateways that he may
 * not see are not looked at. The manager adds what it knows of ingress controllers, and guesses from both.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"

struct ingress_look;
struct kube_client;

/* `params`: those of `ingress`, with namespace, workload, kind and service. One callback, from the loop: `why` is NULL, or the
 * sentence why the API server cannot be asked. 0, or -EINVAL or -ENOMEM with the sentence, then there is none. */
int ingress_look_new(struct ingress_look **lp, struct kube_client *client, const json_t *params,
		     void (*done)(void *arg, const struct error *why), void *arg, struct error *e);
void ingress_look_free(struct ingress_look *l); /* NULL ok */
/* Adds what was found: services, ingresses, routes, gateways (docs/previews.md). After `done`. */
void ingress_look_tell(const struct ingress_look *l, json_t *params);
