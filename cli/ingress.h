/* SPDX-License-Identifier: Apache-2.0 */
/* How a preview reaches the cluster's ingress: by flags, or by the four questions. */
#pragma once

#include <stdio.h>

#include "cli/internal.h"

enum { INGRESS_HOST_MAX = 253 };

#define FLAGS_INGRESS                                                                              \
	{"ingress-host",                                                                           \
	 0,                                                                                        \
	 FLAG_TEXT,                                                                                \
	 false,                                                                                    \
	 "HOST",                                                                                   \
	 "how a preview reaches the cluster's ingress: its address or name, such as "              \
	 "ingress-nginx-controller.ingress-nginx",                                                 \
	 NULL},                                                                                    \
		{"ingress-port", 0, FLAG_TEXT, false, "PORT", "and its port", NULL},               \
		{"ingress-tls", 0,                                                                 \
		 FLAG_BOOL,	false,                                                             \
		 NULL,		"and whether it speaks TLS there (default: if the port is 443)",   \
		 NULL},                                                                            \
		{"ingress-l5",                                                                     \
		 0,                                                                                \
		 FLAG_TEXT,                                                                        \
		 false,                                                                            \
		 "HOST",                                                                           \
		 "and the host name of TLS and HTTP there (default: that of --ingress-host)",      \
		 NULL},                                                                            \
	{                                                                                          \
		"ingress-insecure", 0, FLAG_BOOL, false, NULL, "and its certificate may be any",   \
			NULL                                                                       \
	}

struct ingress {
	char host[INGRESS_HOST_MAX + 1];
	uint16_t port;
	bool tls;
	char l5[INGRESS_HOST_MAX + 1];
	bool insecure;
	bool has_host, has_port, has_tls, has_l5; /* answered already */
};

/* Is any of FLAGS_INGRESS there? */
bool ingress_said(const struct args *a);
/* What the flags say; -EINVAL with the sentence. */
int ingress_from_flags(struct ingress *in, const struct args *a, struct error *e);
/*
 * Answers what the flags left open. With a terminal by questions, with defaults that the manager finds for `about` (params of the rpc `ingress`,
 * borrowed); without one by what follows from host and port. 0; EXIT_USAGE: they were not said and nobody can be asked (`instead`: what else can
 * be done, for the sentence, or ""); EXIT_FAILED.
 */
int ingress_settle(struct ingress *in, const json_t *about, const char *instead, struct error *e);
/* By questions? */
bool ingress_will_ask(const struct ingress *in);
json_t *ingress_to_json(const struct ingress *in);

/* preview.c: makes the preview of an intercept that was granted, and puts it into the result of `intercept` as "preview". */
int preview_make(json_t *granted, const struct ingress *in, struct error *e);
/* ... and ends what it has taken over of an older one. */
int preview_end(const json_t *granted, struct error *e);

/* For tests: the questions that are open, on these streams. `found` (may be NULL) has the defaults. -ECANCELED: no more answers came. */
int ingress_ask(struct ingress *in, const json_t *found, FILE *from, FILE *to, struct error *e);
/* And what has a default without being asked. */
void ingress_default(struct ingress *in, const json_t *found);
