/* SPDX-License-Identifier: Apache-2.0 */
/* Workloads that carry the mark: which they are, and how it is taken away. */
#pragma once

#include "cli/kube.h"

/* All of the cluster: [{kind, name, namespace}], kind as in "deployment"; a new array. */
int agents_list(struct cluster *c, json_t **list, struct error *e);
/* `culvert uninstall --agents [KIND/]NAME`: an exit code. ns NULL = the context's. */
int agents_remove(struct cluster *c, const char *workload, const char *ns, bool yes);
