/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deploy: the objects of an installation, from one source (the YAML in deploy/manifests/, compiled in): rendered for `culvert install`, for
 * --dry-run, and as a Helm chart.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"

enum { DEPLOY_WHO = 254, DEPLOY_GROUPS = 16, DEPLOY_ALLOW = 16 };

/* Values of an installation; "" and 0 = the default. Keys of the Helm chart have the same names. */
struct deploy_values {
	char ns[64]; /* culvert */
	char manager_image[512], agent_image[512], pull_policy[16];
	char udp_service[16];	/* NodePort | LoadBalancer | None */
	unsigned udp_node_port; /* 0 = any */
	unsigned ngroups;
	char group[DEPLOY_GROUPS][DEPLOY_WHO];	      /* --allow-group: who may connect */
	char holder_timeout[16], session_timeout[16]; /* 10m, 24h */
	char prefixes[1024];	 /* comma-separated; "" = found by the manager */
	char service_prefix[64]; /* before 1.33: found at install */
	/* The Secret's content: kept from the cluster when it is there, else made. Base64 of the files. */
	char *overlay_key, *ca_cert, *ca_key;

	/* Who may log in: "" = whoever the API server knows. */
	char oidc_issuer[512], oidc_client_id[256], oidc_scopes[256];
	unsigned nallow;
	char allow[DEPLOY_ALLOW][DEPLOY_WHO]; /* --oidc-allow CLAIM=VALUE */
	char *oidc_ca;			      /* base64 of PEM, or NULL */

	/* The gateway; both "" = none. Hosts may have ":PORT". */
	char preview_domain[262], preview_host[262];
	char dashboard_host[262];     /* with preview_host; "" = the same name, at its own port */
	char preview_tls_secret[254]; /* its certificate in place of ours; "" = none */
	char gateway_service[16];     /* LoadBalancer | NodePort | ClusterIP */
	unsigned gateway_node_port, dashboard_node_port; /* 0 = any */
	char gateway_image[512];
	char *ingress_ca; /* base64 of PEM, or NULL */
	/* Its Secret's content, base64; as above. */
	char *cookie_key, *gateway_cert, *gateway_key, *oidc_secret;
};
bool deploy_has_gateway(const struct deploy_values *v);
/* Host names (without ports) that the gateway's certificate has to hold, NULL-ended; valid until the next call. */
const char *const *deploy_gateway_names(const struct deploy_values *v);
void deploy_values_clear(struct deploy_values *v);

/* All objects in the order they are to be applied, a new array. Labelled app.kubernetes.io/managed-by=culvert. */
int deploy_render(const struct deploy_values *v, json_t **objects, struct error *e);
/* The same as YAML text, documents divided by ---; malloc'ed. */
int deploy_render_yaml(const struct deploy_values *v, char **text, struct error *e);
/* Where the API server has an object; texts are the object's or static. -EINVAL for a kind that deploy has not. */
struct deploy_place {
	const char *api;       /* "/apis/apps/v1" */
	char group[64];	       /* "apps", "" = core */
	const char *plural;    /* "deployments" */
	const char *ns, *name; /* ns "" = cluster-scoped */
};
int deploy_place(const json_t *object, struct deploy_place *p);
/* The API path of an object (its collection, then its name). -EINVAL for a kind that deploy has not. */
int deploy_path(const json_t *object, char *buf, size_t size);
/* The services' range out of what the API server says to a Service with an address outside of it; -ENOENT. */
int deploy_service_range(const char *message, char *buf, size_t size);
