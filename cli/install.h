/* SPDX-License-Identifier: Apache-2.0 */
/* install: its files. install.c the command, gateway.c what it says of login and previews. */
#pragma once

#include "cli/kube.h"
#include "deploy/deploy.h"

#define FLAGS_GATEWAY                                                                              \
	{"preview-domain", 0, FLAG_TEXT, false, "DOMAIN[:PORT]",                                   \
	 "install the gateway: previews are https://ID.DOMAIN/ (a wildcard name that leads to "    \
	 "it), the dashboard https://dashboard.DOMAIN/",                                           \
	 NULL},                                                                                    \
		{"preview-host", 0, FLAG_TEXT, false, "HOST[:PORT]",                               \
		 "the same without a wildcard name: previews are https://HOST/p/ID/", NULL},       \
		{"dashboard-host", 0, FLAG_TEXT, false, "HOST[:PORT]",                             \
		 "with --preview-host (default: the same host, port 8444)", NULL},                 \
		{"preview-tls-secret", 0, FLAG_TEXT, false, "NAME",                                \
		 "Secret with the gateway's certificate (default: one of install's own "           \
		 "authority)",                                                                     \
		 NULL},                                                                            \
		{"gateway-service", 0, FLAG_CHOICE, false, "LoadBalancer|NodePort|ClusterIP",      \
		 "how browsers reach the gateway (default LoadBalancer)", gateway_services},       \
		{"gateway-node-port", 0, FLAG_TEXT, false, "PORT", "of previews", NULL},           \
		{"dashboard-node-port", 0, FLAG_TEXT, false, "PORT",                               \
		 "of the dashboard, with --preview-host", NULL},                                   \
		{"gateway-image", 0, FLAG_TEXT, false, "IMAGE", "the gateway's image", NULL},      \
		{"ingress-ca", 0, FLAG_TEXT, false, "FILE",                                        \
		 "further authorities (PEM) that certificates of ingresses may be of", NULL},      \
		{"oidc-issuer", 0, FLAG_TEXT, false, "URL",                                        \
		 "who logs people in, by OpenID Connect (default: whoever the API server knows "   \
		 "is logged in)",                                                                  \
		 NULL},                                                                            \
		{"oidc-client-id", 0, FLAG_TEXT, false, "ID", "culvert's name there", NULL},       \
		{"oidc-client-secret-file", 0, FLAG_TEXT, false, "FILE",                           \
		 "its secret, where it is no public client; kept by a later install", NULL},       \
		{"oidc-scopes", 0, FLAG_TEXT, false, "SCOPES",                                     \
		 "what is asked for (default \"openid profile email\")", NULL},                    \
		{"oidc-ca", 0, FLAG_TEXT, false, "FILE",                                           \
		 "authority (PEM) of the issuer's certificate, beside the system's", NULL},        \
	{                                                                                          \
		"oidc-allow", 0, FLAG_TEXT, true, "CLAIM=VALUE",                                   \
			"whose tokens may enter, such as groups=dev; one of them has to hold",     \
			NULL                                                                       \
	}

extern const char *const gateway_services[];

int copy_flag(char *to, size_t size, const struct args *a, const char *flag, struct error *e);
int copy_number(unsigned *to, const struct args *a, const char *flag, unsigned max,
		struct error *e);

/* gateway.c: the flags above. */
int gateway_values(struct deploy_values *v, const struct args *a, struct error *e);
/* Keys and certificate that are missing; v->ca_cert and ca_key are there. */
int gateway_keys(struct deploy_values *v, struct error *e);
/* What its Secret in the cluster has, as far as it may stay. */
int gateway_find_keys(struct cluster *c, struct deploy_values *v, struct error *e);
/* No gateway is wanted: what an earlier install made of it goes, but for its keys. *was: there was one. */
int gateway_remove(struct cluster *c, const struct deploy_values *v, bool *was, struct error *e);
