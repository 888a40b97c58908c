/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control connection to the manager.
 *
 *   IDLE --kick--> DIALLING --writable--> HELLO --answer--> UP
 *     ^               | error/timeout       | closed          | closed, ping unanswered
 *     |               v                     v                 v
 *     |             WAITING <---------------+-----------------+     (0.25 s, doubling to 2 s)
 *     +-- refused --- HELLO
 *
 * A restarted manager knows nothing of the old inner connection. It makes a new session of keys at
 * once, which kicks the link: the ping meets a reset, and the link is made again without waiting
 * for a timer of TCP.
 */
#include <errno.h>
#include <event2/event.h>

#include "base/log.h"
#include "daemon/link.h"
#include "daemon/tunnel.h"
#include "netstack/netstack.h"

enum { CONTROL_PORT = 1, AVOID_MAX = 8 };

#define DIAL_TIMEOUT   (5 * NSEC_PER_SEC)
#define HELLO_TIMEOUT  (5 * NSEC_PER_SEC)
#define PING_TIMEOUT   (3 * NSEC_PER_SEC)
#define PING_EVERY     (15 * NSEC_PER_SEC)
#define RETRY_FIRST_MS 250u
#define RETRY_MAX_MS   2000u

enum link_state { LINK_IDLE, LINK_WAITING, LINK_DIALLING, LINK_HELLO, LINK_UP };

struct link {
	struct event_base *base;
	struct tunnel *tunnel;
	const struct link_ops *ops;
	void *arg;
	enum link_state state;
	unsigned retry_ms;
	bool pinging;
	struct event *timer;   /* WAITING: dial; UP: ping */
	struct stream *stream; /* while dialling; then the rpc's, kept to ask its round trip */
	struct rpc *rpc;
	json_t *avoid; /* sent with hello */
};

static void dial(struct link *l);

static void set_timer(struct link *l, nsec_t in)
{
	struct timeval tv = {.tv_sec = (time_t)(in / NSEC_PER_SEC),
			     .tv_usec = (suseconds_t)(in % NSEC_PER_SEC / 1000)};

	evtimer_add(l->timer, &tv);
}

/* Lets go of what is there. */
static void drop(struct link *l)
{
	if (l->rpc)
		rpc_free(l->rpc);
	else if (l->stream)
		l->stream->ops->abort(l->stream);
	l->rpc = NULL;
	l->stream = NULL;
	l->pinging = false;
}

static void again(struct link *l, const char *why)
{
	bool was_up = l->state == LINK_UP;

	drop(l);
	l->state = LINK_WAITING;
	set_timer(l, l->retry_ms * NSEC_PER_MSEC);
	l->retry_ms = MIN(2 * l->retry_ms, RETRY_MAX_MS);
	if (was_up) {
		log_info("manager: the control connection ended (%s); making it again", why);
		l->ops->down(l->arg);
	} else {
		log_debug("manager: control connection: %s", why);
	}
}

static void on_ping(void *arg, json_t *result, int code, const char *message)
{
	struct link *l = arg;

	(void)message;
	l->pinging = false;
	if (!result && code == RPC_TIMEOUT)
		again(l, "no answer");
}

static void ping(struct link *l)
{
	set_timer(l, PING_EVERY);
	if (!l->pinging)
		l->pinging = !rpc_call(l->rpc, "ping", json_object(), PING_TIMEOUT, on_ping, l);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;

	(void)fd;
	(void)what;
	if (l->state == LINK_UP)
		ping(l);
	else if (l->state == LINK_WAITING)
		dial(l);
}

static void on_hello(void *arg, json_t *result, int code, const char *message);

static void ask_hello(struct link *l)
{
	json_t *params = json_pack("{s:s,s:s}", "version", CULVERT_VERSION, "role", "laptop");

	if (json_array_size(l->avoid))
		json_object_set(params, "avoid", l->avoid);
	if (rpc_call(l->rpc, "hello", params, HELLO_TIMEOUT, on_hello, l))
		again(l, "out of memory");
}

static void on_hello(void *arg, json_t *result, int code, const char *message)
{
	struct link *l = arg;

	if (result) {
		int err = l->ops->hello(l->arg, result);

		if (err == -EADDRINUSE && json_array_size(l->avoid) <= AVOID_MAX) {
			ask_hello(l);
			return;
		}
		/* Another manager, or this one later, may say something better. */
		if (err) {
			l->retry_ms = RETRY_MAX_MS;
			again(l, "its hello is of no use");
			return;
		}
		l->state = LINK_UP;
		l->retry_ms = RETRY_FIRST_MS;
		set_timer(l, PING_EVERY);
		return;
	}
	if (code == RPC_FORBIDDEN || code == RPC_USAGE || code == RPC_NO_METHOD ||
	    code == RPC_BAD_PARAMS) {
		l->state = LINK_IDLE;
		l->ops->refused(l->arg, code, message);
		return;
	}
	/* Closed while it waited: on_closed() goes on. */
	if (code == RPC_TIMEOUT)
		again(l, "no answer to hello");
}

static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	struct link *l = arg;

	(void)r;
	if (!strcmp(method, "intercepts") && l->state == LINK_UP)
		l->ops->intercepts(l->arg, params);
	if (!strcmp(method, "dns") && l->state == LINK_UP)
		l->ops->dns(l->arg, params);
	if (req)
		rpc_fail(req, RPC_NO_METHOD, "a laptop has no method %s", method);
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	struct link *l = arg;

	(void)r;
	if (l->state == LINK_IDLE)
		drop(l);
	else
		again(l, error ? strerror(-error) : "closed by the manager");
}

static const struct rpc_ops rpc_callbacks = {.call = on_call, .closed = on_closed};

static void say_hello(struct link *l)
{
	if (rpc_new(&l->rpc, l->base, l->stream, &rpc_callbacks, l)) {
		again(l, "out of memory");
		return;
	}
	l->state = LINK_HELLO;
	ask_hello(l);
}

static void on_dialled(struct stream *s, unsigned ev, void *arg)
{
	struct link *l = arg;

	if (ev & STREAM_ERROR) {
		again(l, strerror(-s->error));
	} else if (ev & STREAM_WRITABLE) {
		s->ops->want(s, 0);
		say_hello(l);
	}
}

static void dial(struct link *l)
{
	int err = tunnel_connect(l->tunnel, CONTROL_PORT, DIAL_TIMEOUT, &l->stream);

	if (err) {
		l->stream = NULL;
		again(l, strerror(-err));
		return;
	}
	l->state = LINK_DIALLING;
	stream_set(l->stream, on_dialled, l);
	l->stream->ops->want(l->stream, STREAM_WRITABLE);
}

static void free_link(struct link **lp)
{
	link_free(*lp);
}

int link_new(struct link **lp, struct event_base *base, struct tunnel *t,
	     const struct link_ops *ops, void *arg, struct error *e)
{
	cleanup(free_link) struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return error_errno(e, -ENOMEM, "control connection");
	l->base = base;
	l->tunnel = t;
	l->ops = ops;
	l->arg = arg;
	l->retry_ms = RETRY_FIRST_MS;
	l->timer = evtimer_new(base, on_timer, l);
	l->avoid = json_array();
	if (!l->timer || !l->avoid)
		return error_errno(e, -ENOMEM, "control connection");
	*lp = steal_ptr(l);
	return 0;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	drop(l);
	if (l->timer)
		event_free(l->timer);
	json_decref(l->avoid);
	free(l);
}

void link_avoid(struct link *l, const char *prefix)
{
	if (json_array_size(l->avoid) <= AVOID_MAX)
		json_array_append_new(l->avoid, json_string(prefix));
}

void link_kick(struct link *l)
{
	/* Through the timer: the caller may be inside a callback of the node. */
	l->retry_ms = RETRY_FIRST_MS;
	if (l->state == LINK_IDLE)
		l->state = LINK_WAITING;
	if (l->state == LINK_WAITING || l->state == LINK_UP)
		set_timer(l, 0);
}

bool link_up(const struct link *l)
{
	return l->state == LINK_UP;
}

nsec_t link_rtt(const struct link *l)
{
	struct flow flow;
	nsec_t rtt;

	if (l->state != LINK_UP || netstack_stream_info(l->stream, &flow, &rtt))
		return 0;
	return rtt;
}

int link_call(struct link *l, const char *method, json_t *params, nsec_t timeout, rpc_cb *cb,
	      void *arg)
{
	if (l->state != LINK_UP) {
		json_decref(params);
		return -ENOTCONN;
	}
	return rpc_call(l->rpc, method, params, timeout, cb, arg);
}
