/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to culvert-helper: one request at a time, its answer by callback. The helper
 * undoes all it did for us when this closes, and all of ours must end when the helper closes it.
 */
#pragma once

#include "base/error.h"
#include "privsep/privsep.h"

struct event_base;
struct helper_client;

/* $CULVERT_HELPER, or where the helper listens by default. */
const char *helper_path(void);
/* What starts one there that serves this user: the remedy of sentences. */
const char *helper_command(void);

struct helper_client_ops {
	/* The answer to the last request; the descriptors are the callee's. */
	void (*answer)(void *arg, const struct privsep_answer *ans, const int *fds, unsigned nfds);
	/* The helper is gone, or did not answer in time. Free the client, now or later. */
	void (*closed)(void *arg);
};

/* Connects. -ENOENT, -ECONNREFUSED, -EACCES: with a sentence that says the remedy. */
int helper_client_new(struct helper_client **hp, struct event_base *base,
		      const struct helper_client_ops *ops, void *arg, struct error *e);
void helper_client_free(struct helper_client *h); /* NULL ok; the helper then undoes all */
/* 0 or negative errno; -EBUSY while an answer is outstanding. `req->version` is filled in. */
int helper_client_send(struct helper_client *h, struct privsep_request *req);
