/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration, as docs/previews.md describes it. */
#pragma once

#include "base/addr.h"
#include "gateway/bytes.h"

struct conf;

enum { CONFIG_ALLOW = 16 };

/* A host as visitors write it. */
struct site {
	char name[NAME_TEXT + 1];      /* lower case, without port */
	char authority[NAME_TEXT + 8]; /* with it, where it is not 443 */
};

struct config {
	struct conf *document; /* owns the strings below */
	union sockaddr_any listen, dashboard_listen;
	bool by_path;	      /* previews are HOST/p/ID/, else ID.HOST */
	struct site previews; /* the domain, or the host */
	struct site dashboard;
	const char *manager_host; /* a name or an address */
	uint16_t manager_port;
	char manager_host_text[NAME_TEXT + 1];
	const char *manager_name, *ca, *token, *keys, *tls, *ingress_ca; /* "" = none */
	bool has_oidc;
	const char *issuer, *client_id, *scopes, *oidc_ca;
	unsigned nallow;
	const char *allow[CONFIG_ALLOW];
};

/* Every mistake is told with file, line and column. */
int config_load(struct config *c, const char *path, struct error *e);
int config_parse(struct config *c, const char *name, const char *text, size_t len, struct error *e);
void config_free(struct config *c); /* NULL-safe on a zeroed one */
