/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of objects/ share.
 *
 *   get.c        members, texts, times             crd.c   Session and Intercept
 *   select.c     which services select the pods,   mark.c  the annotation on the pod template
 *                and what their ports mean there
 *   workload.c   a workload from its object        obstacle.c  why it cannot be intercepted, or not by itself
 */
#pragma once

#include "objects/objects.h"

/* --- get.c --- */

/* Of a container's port: a-z, 0-9 and single '-' within, a letter among them, 1..15 characters. */
bool port_name_valid(const char *name);
/* A text member that the user may see: no control characters. "" when it may lack and does. */
int take_text(const json_t *from, const char *key, char *to, size_t size, bool may_lack,
	      struct error *e);
int take_name(const json_t *from, const char *key, char *to, size_t size, struct error *e);
int take_port(const json_t *from, const char *key, uint16_t *to, struct error *e);
/* What only informs: cut where it is too long, control characters become spaces. */
void copy_text(char *to, size_t size, const char *from);

/* --- workload.c --- */

/* Kind, name and namespace of an object of apps/v1. Objects of a list carry no kind: then what the API server fills in says it. */
int workload_identity(struct workload *w, const json_t *object, struct error *e);

/* --- select.c --- */

/* Services that select a workload's pods, by name; of too many, the first. Borrowed. */
struct selected {
	unsigned n;
	const json_t *service[WORKLOAD_SERVICES];
};
void select_services(struct selected *s, const struct workload *w, const json_t *object,
		     const json_t *services);
bool service_headless(const json_t *service);

/* A port of a service as it arrives in the pod. */
struct arrival {
	struct service_port port;
	const char *by_name; /* the name in targetPort; NULL = by number. Borrowed */
};
/* False: SCTP, no such container port, or no port at all. */
bool service_arrival(struct arrival *a, const json_t *port, const json_t *pod_spec);
