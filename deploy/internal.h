/* SPDX-License-Identifier: Apache-2.0 */
/* deploy: from the text of the manifests to objects. */
#pragma once

#include "deploy/deploy.h"

/* embed.c: the YAML in deploy/manifests/, one behind the other, each begun by a line "---". */
extern const char deploy_manifests[];

/* template.c: fills `text` (of `len` bytes) with the values; *out malloc'ed. */
int deploy_fill(const struct deploy_values *v, const char *text, size_t len, char **out,
		struct error *e);
/* check.c: are all of them what they may be? What is filled in stays within its YAML scalar then. */
int deploy_check(const struct deploy_values *v, struct error *e);
