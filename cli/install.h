/* SPDX-License-Identifier: Apache-2.0 */
/* install: its files. install.c the command, gateway.c what it says of login and previews. */
#pragma once

#include "cli/kube.h"
#include "deploy/deploy.h"

extern const char *const gateway_services[];

int copy_flag(char *to, size_t size, const struct args *a, const char *flag, struct error *e);
int copy_many(char (*to)[DEPLOY_WHO], unsigned max, unsigned *nto, const struct args *a,
	      const char *flag, struct error *e);
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
