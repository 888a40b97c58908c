/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login: as whom this user is logged in at a cluster (docs/previews.md), one file for each, and what the cluster says about logging in.
 * The command line writes the file, the daemon refreshes what is in it; they may not include each other. Both take what they read as if
 * anybody had written it.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"

enum {
	LOGIN_TEXT_MAX = 1024,
	LOGIN_TOKEN_MAX = 16384,
	LOGIN_CA_MAX = 65536,
};

/* What a login is for: a context's name ("" in a pod), the API server's URL, where the manager runs. */
struct login_place {
	const char *context, *server, *manager_ns;
};

struct login {
	char issuer[LOGIN_TEXT_MAX]; /* "" = the Kubernetes identity */
	char name[256], subject[256];
	char id_token[LOGIN_TOKEN_MAX], refresh_token[LOGIN_TOKEN_MAX]; /* "" = none */
	int64_t expires; /* of id_token, seconds since 1970; 0 = never */
};

/* Of `state`, the user's state folder (base/userdir.h). -ENOENT: not logged in there. -EINVAL: there is a file that does not count, damaged,
 * open to others or somebody else's; the sentence has the remedy. */
int login_load(struct login *l, const char *state, const struct login_place *p, struct error *e);
/* 0600, whole or not at all. */
int login_save(const struct login *l, const char *state, const struct login_place *p,
	       struct error *e);
/* -ENOENT: there was none. */
int login_remove(const char *state, const struct login_place *p, struct error *e);

/* What the cluster offers, from its ConfigMap `culvert`. */
struct login_offer {
	char issuer[LOGIN_TEXT_MAX]; /* "" = none: the Kubernetes identity counts */
	char client_id[256], scopes[LOGIN_TEXT_MAX];
	char ca[LOGIN_CA_MAX];	       /* PEM; "" = the system's alone */
	char previews[LOGIN_TEXT_MAX]; /* of the gateway; "" = there is none */
	char dashboard[LOGIN_TEXT_MAX];
};
/* From the ConfigMap object. -EINVAL: what it says makes no sense. */
int login_offer_parse(struct login_offer *o, const json_t *configmap, struct error *e);
