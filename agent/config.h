/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent is to do. On the static platform a file says it (docs/intercepts.md, config.c), checked whole before anything
 * starts; in a pod the environment does (docs/kubernetes.md, pod.c), where nothing may keep the ports that parsed from being served.
 */
#pragma once

#include <jansson.h>

#include "base/addr.h"
#include "base/error.h"
#include "crypto/crypto.h"
#include "intercept/intercept.h"

enum { AGENT_PORTS = WORKLOAD_PORTS, ENVIRONMENT_MAX = 512 << 10 /* bytes of names and values */ };

struct agent_port {
	union sockaddr_any listen, application;
	bool udp;
	uint16_t target; /* the application's port as workload and service know it */
};

struct agent_config {
	char *invite; /* file; NULL in a pod */
	char *state;  /* folder; NULL in a pod: nothing is kept */
	/* In a pod: */
	bool kubernetes;
	bool has_manager; /* key and endpoints were told */
	uint8_t manager[KEY_LEN];
	unsigned nendpoints;
	char endpoint[INVITE_ENDPOINTS][ADDR_STRLEN];
	char *token; /* file, renewed by the kubelet */
	enum workload_kind kind;
	char workload[K8S_NAME_MAX + 1], ns[K8S_NAME_MAX + 1];
	unsigned nports;
	struct agent_port port[AGENT_PORTS];
	json_t *environment;	/* object */
	char *environment_file; /* NULL = none */
};

int agent_config_load(struct agent_config **cp, const char *path, struct error *e);
/* In a pod, from the environment. Logs what is wrong; fails only without memory. */
int agent_config_from_pod(struct agent_config **cp);
void agent_config_free(struct agent_config *c); /* NULL ok */

/* The configured variables and those of the file, a new object. What cannot be read is left out; then `e` has the sentence
 * and the result of *partial is true. */
json_t *agent_environment(const struct agent_config *c, bool *partial, struct error *e);
