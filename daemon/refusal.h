/* SPDX-License-Identifier: Apache-2.0 */
/* What the API server refuses, as sentences with a remedy. */
#pragma once

#include "base/error.h"
#include "kube/kube.h"

/* The right that is missing, and the YAML that grants it, if there is room for all of it: half a manifest is none. */
void refusal_denied(struct error *e, const struct kube_denied *denied, const char *sentence);
int refusal_code(enum kube_failure f); /* of rpc */
/* ", or for the credential plugin 'X'": what may be waited for instead of the API server; "" without one. */
void refusal_plugin(const struct kube_config *c, char *buf, size_t size);
