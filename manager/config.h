/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's configuration file (docs/manager.md), checked whole before anything starts. */
#pragma once

#include "base/addr.h"
#include "base/error.h"
#include "crypto/crypto.h"
#include "inject/inject.h"
#include "intercept/intercept.h"
#include "oidc/oidc.h"

enum {
	CONFIG_PREFIXES = 64,
	CONFIG_WORKLOADS = 1024,
	CONFIG_PODS = 256, /* of one workload */
	CONFIG_DOMAINS = 16,
	CONFIG_SEARCH = 6, /* what resolvers take beside their own */
	DOMAIN_MAX_LEN = 253,
};

struct config_workload {
	struct workload w;
	unsigned npods;
	char (*pod)[NAME_MAX_LEN + 1]; /* names of the agents that stand for it */
};

struct config_prefixes {
	unsigned n;
	struct prefix p[CONFIG_PREFIXES];
};

struct config_names {
	unsigned n;
	char name[CONFIG_DOMAINS][DOMAIN_MAX_LEN + 1];
};

/* `oidc:` (docs/previews.md): whose ID tokens count. */
struct config_oidc {
	char issuer[512]; /* "" = none */
	char client_id[256], scopes[256];
	char ca[256]; /* file; "" = the system's alone */
	unsigned nallow;
	char allow[OIDC_ALLOW][254]; /* CLAIM=VALUE */
};

/* `gateway:`: where previews and the dashboard are found by browsers; with ":PORT" unless that is 443. */
struct config_gateway {
	char domain[DOMAIN_MAX_LEN + 7]; /* ID.DOMAIN, dashboard.DOMAIN */
	char host[DOMAIN_MAX_LEN +
		  7]; /* HOST/p/ID/ where there is no wildcard name; both "" = no gateway */
	char dashboard[DOMAIN_MAX_LEN + 7]; /* with `host` */
};

struct config {
	union sockaddr_any listen;
	char *state; /* folder */
	unsigned nendpoints;
	char endpoint[INVITE_ENDPOINTS][ADDR_STRLEN];
	struct config_prefixes prefixes, deny;
	struct prefix pool; /* IPv4 */
	bool has_dns;
	union sockaddr_any dns_server;
	struct config_names domains, search;
	char ns[K8S_NAME_MAX + 1];
	unsigned nworkloads;
	struct config_workload *workload;
	unsigned holder_timeout_s;

	/* Kubernetes (docs/kubernetes.md) */
	union sockaddr_any websocket, webhook;
	char *keys; /* folder */
	char service[K8S_NAME_MAX + 1], udp_service[K8S_NAME_MAX + 1];
	struct prefix service_prefix; /* family 0 = not said */
	unsigned session_timeout_s;
	struct inject_config agent;	   /* image and resources; the rest is found */
	struct config_prefixes configured; /* as the file says; `prefixes` may have been found */
	struct config_oidc oidc;
	struct config_gateway gateway;
	struct ipaddr host; /* our node: only for those who configured it */
};

int config_load(struct config **cp, const char *path, bool kubernetes, struct error *e);
void config_free(struct config *c); /* NULL ok */
