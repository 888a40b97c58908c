/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ways: streams through the API server to the manager, by services/proxy or by a port-forward to its pod. One at a time;
 * when it is gone another is made, after 0.2 s growing to 5 s, for ever.
 */
#pragma once

#include "base/error.h"
#include "base/stream.h"
#include "kube/kube.h"

struct ways;

enum way { WAY_NONE, WAY_WEBSOCKET, WAY_PORTFORWARD };
const char *way_name(enum way w);

enum ways_allowed { WAYS_AUTO, WAYS_UDP, WAYS_WEBSOCKET, WAYS_PORTFORWARD };
/* The value of --transport; -EINVAL. */
int ways_parse(enum ways_allowed *w, const char *text);

struct ways_failure {
	enum kube_failure failure;
	struct kube_denied denied;
	struct error text;
};

/* The API server itself can be asked, and did not refuse us altogether: another way, or another time, may help. */
bool ways_api_answers(enum kube_failure f);

struct ways_ops {
	void (*stream)(void *arg, struct stream *s, enum way way); /* the callee's */
	/* Every way that is allowed failed. It is tried again. */
	void (*failed)(void *arg, const struct ways_failure *why);
};

int ways_new(struct ways **wp, struct event_base *base, struct kube_client *client,
	     const char *manager_ns, enum ways_allowed allowed, const struct ways_ops *ops,
	     void *arg);
void ways_free(struct ways *w); /* NULL ok */
/* Begins, or begins anew, now. Nothing with WAYS_UDP. */
void ways_start(struct ways *w);
/* The stream is gone: another one soon. */
void ways_again(struct ways *w);
