/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's configuration file (docs/intercepts.md), checked whole before anything starts. */
#pragma once

#include <jansson.h>

#include "base/addr.h"
#include "base/error.h"
#include "intercept/intercept.h"

enum { AGENT_PORTS = WORKLOAD_PORTS, ENVIRONMENT_MAX = 512 << 10 /* bytes of names and values */ };

struct agent_port {
	union sockaddr_any listen, application;
	uint16_t target; /* the application's port as workload and service know it */
};

struct agent_config {
	char *invite; /* file */
	char *state;  /* folder */
	enum workload_kind kind;
	char workload[K8S_NAME_MAX + 1], ns[K8S_NAME_MAX + 1];
	unsigned nports;
	struct agent_port port[AGENT_PORTS];
	json_t *environment;	/* object */
	char *environment_file; /* NULL = none */
};

int agent_config_load(struct agent_config **cp, const char *path, struct error *e);
void agent_config_free(struct agent_config *c); /* NULL ok */

/* The configured variables and those of the file, a new object. What cannot be read is left out; then `e` has the sentence
 * and the result of *partial is true. */
json_t *agent_environment(const struct agent_config *c, bool *partial, struct error *e);
