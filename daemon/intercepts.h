/* SPDX-License-Identifier: Apache-2.0 */
/* The manager's last snapshot of this laptop's intercepts, and the intake open for exactly its ports. */
#pragma once

#include <jansson.h>

#include "base/error.h"
#include "intercept/intercept.h"

struct intake;

struct intercepts {
	json_t *list; /* as in the notification `intercepts` (docs/control.md) */
	struct intake *intake;
};

int intercepts_init(struct intercepts *in, struct intake *intake);
void intercepts_clear(struct intercepts *in);
/* A new snapshot; -EINVAL when it is none. */
int intercepts_take(struct intercepts *in, json_t *list);
/* The manager granted this one: taken in before its snapshot comes. Borrowed. */
void intercepts_granted(struct intercepts *in, const json_t *intercept);
/* And this one was left. */
void intercepts_left(struct intercepts *in, const char *name);

/* "header" in `to`: what has to be sent to be taken by `intercept`, ready to paste; none where the header is of no use. */
void intercepts_set_header(json_t *to, const json_t *intercept);
