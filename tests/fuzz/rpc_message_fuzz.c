/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc: a frame body as it comes from a peer; then the bytes as a whole stream of frames into a connection that frees itself
 * from a callback when told to.
 */
#include <event2/event.h>
#include <sys/socket.h>

#include "rpc/rpc.h"

struct end {
	struct rpc *rpc;
	unsigned seen;
};

static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	struct end *e = arg;

	(void)params;
	e->seen++;
	if (*method == 'f') {
		rpc_free(r);
		e->rpc = NULL;
	}
	if (*method == 'n')
		rpc_reply(req, json_pack("{s:s}", "method", method));
	else
		rpc_fail(req, RPC_FAILED, "%s", method);
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	struct end *e = arg;

	(void)error;
	rpc_free(r);
	e->rpc = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct rpc_ops ops = {on_call, on_closed};
	struct event_base *base = event_base_new();
	struct end e = {.seen = 0};
	struct stream *s;
	json_t *msg = NULL;
	int fd[2];

	if (rpc_parse(data, size, &msg) == 0) {
		if (!json_is_object(msg))
			abort();
		json_decref(msg);
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) ||
	    stream_from_fd(base, fd[0], &s) || rpc_new(&e.rpc, base, s, &ops, &e))
		abort();
	if (write(fd[1], data, size) < 0)
		size = 0;
	shutdown(fd[1], SHUT_WR);
	for (int i = 0; i < 8; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	rpc_free(e.rpc);
	close(fd[1]);
	event_base_free(base);
	return 0;
}
