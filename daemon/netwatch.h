/* SPDX-License-Identifier: Apache-2.0 */
/* Notices that the laptop's network changed (rtnetlink) or that it slept, so that nobody waits for
 * a timer. */
#pragma once

#include "base/error.h"

struct event_base;
struct netwatch;

/* `changed` comes at most twice a second, with what happened in a few words. */
int netwatch_new(struct netwatch **np, struct event_base *base,
		 void (*changed)(void *arg, const char *what), void *arg, struct error *e);
void netwatch_free(struct netwatch *n); /* NULL ok */
/* Changes of this interface, and of the one named before, are ours and not the network's. Also
 * those of a moment ago. */
void netwatch_ignore(struct netwatch *n, const char *ifname);
