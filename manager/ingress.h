/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ingress: where requests for a service come into the cluster, guessed from the API server's objects: the default answers to the four
 * questions of a preview. Sans-IO; whatever the objects say, what comes out is bounded text.
 */
#pragma once

#include "objects/objects.h"

enum { INGRESS_HOST_MAX = 253 };

/* Arrays of objects; NULL = none. */
struct ingress_world {
	const json_t *ingresses; /* networking.k8s.io/v1, of the service's namespace */
	const json_t *classes;	 /* IngressClasses */
	const json_t
		*routes; /* gateway.networking.k8s.io/v1 HTTPRoutes, of the service's namespace */
	const json_t *gateways; /* of all namespaces */
	const json_t *services; /* those of which ingress_may_use() is true */
};

struct ingress_guess {
	char host[INGRESS_HOST_MAX + 1]; /* "" = not found */
	char l5[INGRESS_HOST_MAX + 1];
	uint16_t port;
	bool tls;
	char why[256];
};

/* `names`: the services that are meant, of namespace `ns`. */
void ingress_guess(struct ingress_guess *g, const struct ingress_world *w, const char *ns,
		   const char *const *names, size_t n);
/* Could this Service be that of an ingress controller? Of thousands few are. */
bool ingress_may_use(const json_t *service);
