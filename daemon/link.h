/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control connection to the manager: inner TCP from our stack to its, JSON-RPC on it
 * (docs/control.md). Made again whenever it ends; `hello` comes first each time. It says nothing
 * about the session of keys below it, which outlives it.
 */
#pragma once

#include <jansson.h>

#include "base/clock.h"
#include "rpc/rpc.h"

struct event_base;
struct link;
struct tunnel;

struct link_ops {
	/* The manager answered hello. Borrowed. 0 accepts; -EADDRINUSE: hello is said again with
	 * the networks that link_avoid() was told of; else the link is made again. */
	int (*hello)(void *arg, json_t *answer);
	/* The manager answered hello with a refusal: no use in trying again. */
	void (*refused)(void *arg, int code, const char *text);
	void (*intercepts)(void *arg, json_t *params); /* the whole snapshot; borrowed */
	void (*dns)(void *arg, json_t *params);	       /* as in hello's answer; borrowed */
	void (*down)(void *arg); /* it was up; calls under way on it end without callback */
};

int link_new(struct link **lp, struct event_base *base, struct tunnel *t,
	     const struct link_ops *ops, void *arg, struct error *e);
void link_free(struct link *l); /* NULL ok; outstanding calls end without callback */
/* This laptop has an address or network of its own that the manager's must keep off. */
void link_avoid(struct link *l, const char *prefix);
/* A session with the manager was made: connects now, or makes sure that what is there still lives.
 */
void link_kick(struct link *l);
bool link_up(const struct link *l);
/* Smoothed round trip of the connection, 0 = unknown. */
nsec_t link_rtt(const struct link *l);
/* As rpc_call; -ENOTCONN (params consumed) when not up. */
int link_call(struct link *l, const char *method, json_t *params, nsec_t timeout, rpc_cb *cb,
	      void *arg);
