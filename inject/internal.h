/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of inject/ share.
 *
 *   review.c     the answer to the API server, and which pods are left alone
 *   ports.c      the mark's ports in this pod: names, numbers, probes
 *   container.c  the agent's container, the redirect's, the token's volume
 */
#pragma once

#include "inject/inject.h"

#define REDIRECT_CONTAINER "culvert-redirect"
#define TOKEN_VOLUME	   "culvert-token"
#define TOKEN_FOLDER	   "/var/run/secrets/culvert.dev"
#define API_TOKEN_FOLDER   "/var/run/secrets/kubernetes.io/serviceaccount"

/* A pod may be anything yet: it is validated after us. One with more is left alone. */
enum { POD_CONTAINERS = 256, POD_PORTS = 512 };

/* A container that serves: a regular one, or a native sidecar. */
struct place {
	const json_t *container; /* borrowed; NULL before the first */
	bool init;
	size_t index; /* in its list */
};
/* The next one in the order in which names of ports are looked up. */
bool place_next(const json_t *spec, struct place *p);

/* One port of the agent. */
struct plan_port {
	uint16_t listen, application;
	bool udp;
	char name[PORT_NAME_MAX + 1]; /* "" = redirected to */
};

struct plan {
	const struct inject_config *cfg;
	const json_t *pod, *spec;
	struct mark mark;
	uint64_t used[65536 / 64]; /* port numbers that the pod uses */
	unsigned nports;
	struct plan_port port[MARK_PORTS];
	json_t *names;	   /* of ports, that must not be given out; an object for its keys */
	json_t *redirects; /* arguments of `culvert-agent redirect` */
	const json_t *app; /* the container that has the first of the ports; borrowed */
	json_t *patch;	   /* array of operations */
	json_t *warnings;  /* array of sentences */
};
void plan_warn(struct plan *p, const char *fmt, ...) printf_like(2, 3);
void patch_add(struct plan *p, const char *op, const char *path, json_t *value); /* takes value */

/* Looks at every container first: false = more of them or of their ports than POD_... allow. */
bool plan_survey(struct plan *p);
void plan_ports(struct plan *p);      /* fills port, redirects, app; patches names and probes */
void plan_containers(struct plan *p); /* adds what is new */
