/* SPDX-License-Identifier: Apache-2.0 */
/* Does the API server reach the manager's webhook? Only trying tells: a firewall between the two drops, and no error is kept anywhere. */
#pragma once

#include "cli/kube.h"

/*
 * Has the API server admit a marked pod, as a dry run, until the agent is in it: nodes learn of a new Service a moment late. 1 = it is, 0 = not after
 * `seconds`, -ENOTSUP = it cannot be tried here (no right to make pods, a quota); -EINTR.
 */
int webhook_wait(struct cluster *c, unsigned seconds, struct error *e);
