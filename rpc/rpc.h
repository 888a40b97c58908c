/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc: JSON-RPC 2.0 messages on a stream, each after a u32 length (big endian), at most RPC_MAX bytes. The same between
 * cli and daemon (Unix socket) and between nodes (inner TCP). Both ends may call. One thread.
 */
#pragma once

#include <jansson.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/stream.h"

struct event_base;
struct rpc;
struct rpc_request; /* an incoming call that waits for its answer */

enum {
	RPC_MAX = 1 << 20,
	RPC_PENDING_MAX = 256,
	RPC_OUT_MAX = 4 << 20 /* unsent bytes, then the peer is cut */
};

/* JSON-RPC's own codes, then ours. `data` of an error object may carry {"remedy": "..."}. */
enum rpc_code {
	RPC_PARSE = -32700,
	RPC_INVALID = -32600,
	RPC_NO_METHOD = -32601,
	RPC_BAD_PARAMS = -32602,
	RPC_INTERNAL = -32603,
	RPC_FAILED = 1,
	RPC_USAGE = 2,
	RPC_NOT_CONNECTED = 3,
	RPC_NOT_FOUND = 4,
	RPC_FORBIDDEN = 5,
	RPC_CONFLICT = 6,
	RPC_TIMEOUT = 7,
};

struct rpc_ops {
	/* Answer now or later, exactly once, by rpc_reply/rpc_fail(req); for a notification `req` is NULL. `params` is borrowed. */
	void (*call)(void *arg, struct rpc *r, const char *method, json_t *params,
		     struct rpc_request *req);
	/* The stream ended or broke the protocol (`error` negative errno, 0 = orderly). Outstanding calls have failed before. Free it now or later. */
	void (*closed)(void *arg, struct rpc *r, int error);
};

/* Owns the stream from a successful return on. */
int rpc_new(struct rpc **rp, struct event_base *base, struct stream *s, const struct rpc_ops *ops,
	    void *arg);
/* Drops outstanding calls without callbacks; requests not yet answered become void (answering them is a no-op that frees them). */
void rpc_free(struct rpc *r);
void rpc_set(struct rpc *r, const struct rpc_ops *ops, void *arg);

/* `params` is consumed. The callback gets a result, or NULL and the code and sentence. `timeout` 0 = none. 0 or negative errno (then no callback). */
typedef void rpc_cb(void *arg, json_t *result, int code, const char *message);
int rpc_call(struct rpc *r, const char *method, json_t *params, nsec_t timeout, rpc_cb *cb,
	     void *arg);
int rpc_notify(struct rpc *r, const char *method, json_t *params);
void rpc_reply(struct rpc_request *req, json_t *result); /* consumes both */
void rpc_fail(struct rpc_request *req, int code, const char *fmt, ...) printf_like(3, 4);

/* A string of JSON, also of a sentence that was cut within a character: it is told all the same, or somebody would wait for nothing. */
json_t *rpc_sentence(const char *sentence);
/* For fuzzing and tests: parses one frame body; 0, or an rpc_code. */
int rpc_parse(const void *data, size_t len, json_t **msg);

/* Blocking helper for the cli: sends one call on `fd` and waits for its answer; notifications that come in between go to
 * `note` (progress; params may be NULL). Interruptible: -EINTR when a signal handler ran. Does not own `fd`. 0: *result is the caller's. An
 * answer that is an error: its code, also in *code, and its sentence in `e`. *code stays 0 when the connection broke (-errno). */
int rpc_call_blocking(int fd, const char *method, json_t *params,
		      void (*note)(void *arg, const char *method, json_t *params), void *arg,
		      json_t **result, int *code, struct error *e);
