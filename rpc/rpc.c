/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One rpc connection.
 *
 * Re-entrancy: any callback may call rpc_free(). So whoever calls out does it between enter() and leave(), and the
 * memory goes when the last of them has left. A failure met while sending is told from the loop (later()), so that
 * rpc_call() and rpc_reply() never call `closed` under their caller's feet.
 */
#include "rpc/rpc.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>

#include "rpc/frame.h"
#include "rpc/message.h"

enum { FRAMES_PER_TURN = 32, SENTENCE_MAX = 2048 };

struct call {
	struct call *next;
	json_int_t id;
	nsec_t deadline; /* 0 = none */
	rpc_cb *cb;
	void *arg;
};

struct rpc_request {
	struct rpc_request *prev, *next;
	struct rpc *rpc; /* NULL: the connection is gone, the answer goes nowhere */
	json_t *id;
};

struct rpc {
	struct stream *s;
	const struct rpc_ops *ops;
	void *arg;
	struct frame_in in;
	struct frame_out out;
	struct call *calls;
	struct rpc_request *requests;
	unsigned ncalls, nrequests;
	json_int_t next_id;
	struct event *timer; /* the earliest deadline, or a failure to be told */
	unsigned inside;     /* callbacks on the stack */
	int error;	     /* why it ended */
	bool broken;	     /* nothing is read or written any more */
	bool told;	     /* `closed` was called */
	bool freed;
};

static void enter(struct rpc *r)
{
	r->inside++;
}

/* False: the callback freed it, touch nothing. */
static bool leave(struct rpc *r)
{
	bool freed = r->freed;

	if (--r->inside == 0 && freed)
		free(r);
	return !freed;
}

static void later(struct rpc *r, nsec_t in)
{
	struct timeval tv = {.tv_sec = (time_t)(in / NSEC_PER_SEC),
			     .tv_usec = (suseconds_t)(in % NSEC_PER_SEC / 1000)};

	evtimer_add(r->timer, &tv);
}

static void break_off(struct rpc *r, int error)
{
	if (r->broken)
		return;
	r->broken = true;
	r->error = error;
	if (!r->s->error)
		r->s->ops->want(r->s, 0);
	later(r, 0);
}

static void arm(struct rpc *r)
{
	nsec_t first = 0, now;

	for (struct call *c = r->calls; c; c = c->next) {
		if (c->deadline && (!first || c->deadline < first))
			first = c->deadline;
	}
	if (r->broken || !first)
		return;
	now = clock_boot();
	later(r, first > now ? first - now + NSEC_PER_MSEC : 0);
}

/* --- out ------------------------------------------------------------------------------------------ */

static void flush(struct rpc *r)
{
	int e;

	if (r->broken)
		return;
	e = frame_flush(&r->out, r->s);
	if (e == 0)
		r->s->ops->want(r->s, STREAM_READABLE);
	else if (e == -EAGAIN)
		r->s->ops->want(r->s, STREAM_READABLE | STREAM_WRITABLE);
	else
		break_off(r, e);
}

/* Consumes `msg`. */
static int transmit(struct rpc *r, json_t *msg)
{
	int e;

	if (!msg)
		return -ENOMEM;
	e = r->broken ? -ENOTCONN : frame_append(&r->out, msg);
	json_decref(msg);
	if (e == -ENOBUFS)
		break_off(r, e);
	if (e == 0)
		flush(r);
	return e;
}

int rpc_call(struct rpc *r, const char *method, json_t *params, nsec_t timeout, rpc_cb *cb,
	     void *arg)
{
	struct call *c;
	int e;

	if (r->ncalls >= RPC_PENDING_MAX || r->broken) {
		json_decref(params);
		return r->broken ? -ENOTCONN : -EBUSY;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		json_decref(params);
		return -ENOMEM;
	}
	*c = (struct call){.id = ++r->next_id, .cb = cb, .arg = arg};
	if (timeout)
		c->deadline = clock_boot() + timeout;
	e = transmit(r, message_call(c->id, method, params));
	if (e) {
		free(c);
		return e;
	}
	c->next = r->calls;
	r->calls = c;
	r->ncalls++;
	if (timeout)
		arm(r);
	return 0;
}

int rpc_notify(struct rpc *r, const char *method, json_t *params)
{
	return transmit(r, message_note(method, params));
}

static void request_free(struct rpc_request *req)
{
	struct rpc *r = req->rpc;

	if (r) {
		if (req->prev)
			req->prev->next = req->next;
		else
			r->requests = req->next;
		if (req->next)
			req->next->prev = req->prev;
		r->nrequests--;
	}
	json_decref(req->id);
	free(req);
}

void rpc_reply(struct rpc_request *req, json_t *result)
{
	struct rpc *r = req ? req->rpc : NULL;

	if (!r)
		json_decref(result);
	else if (!result)
		transmit(r, message_error(json_incref(req->id), RPC_INTERNAL,
					  "The answer could not be made."));
	else if (transmit(r, message_result(json_incref(req->id), result)) == -EMSGSIZE)
		transmit(r, message_error(json_incref(req->id), RPC_INTERNAL,
					  "The answer is larger than one message may be."));
	if (req)
		request_free(req);
}

void rpc_fail(struct rpc_request *req, int code, const char *fmt, ...)
{
	char text[SENTENCE_MAX];
	va_list ap;

	if (!req)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (req->rpc)
		transmit(req->rpc, message_error(json_incref(req->id), code, text));
	request_free(req);
}

/* --- in ------------------------------------------------------------------------------------------- */

static struct call *call_take(struct rpc *r, struct call **at)
{
	struct call *c = *at;

	*at = c->next;
	r->ncalls--;
	return c;
}

/* Ends one call by its callback; false when that freed the connection. */
static bool call_end(struct rpc *r, struct call *c, json_t *result, int code, const char *sentence)
{
	enter(r);
	c->cb(c->arg, result, code, sentence);
	free(c);
	return leave(r);
}

static bool take_answer(struct rpc *r, const struct message *m)
{
	for (struct call **at = &r->calls; *at; at = &(*at)->next) {
		if (!json_is_integer(m->id) || (*at)->id != json_integer_value(m->id))
			continue;
		return call_end(r, call_take(r, at), m->result, m->code, m->sentence);
	}
	return true; /* of a call that has timed out */
}

static bool take_call(struct rpc *r, const struct message *m)
{
	struct rpc_request *req = NULL;
	json_t *none = NULL;

	if (m->kind == MESSAGE_CALL) {
		if (r->nrequests >= RPC_PENDING_MAX) {
			transmit(r, message_error(json_incref(m->id), RPC_FAILED,
						  "Too many calls wait for their answers."));
			return true;
		}
		req = calloc(1, sizeof(*req));
		if (!req) {
			break_off(r, -ENOMEM);
			return true;
		}
		*req = (struct rpc_request){
			.rpc = r, .id = json_incref(m->id), .next = r->requests};
		if (r->requests)
			r->requests->prev = req;
		r->requests = req;
		r->nrequests++;
	}
	enter(r);
	none = m->params ? NULL : json_object();
	r->ops->call(r->arg, r, m->method, m->params ? m->params : none, req);
	json_decref(none);
	return leave(r);
}

static bool take_frame(struct rpc *r)
{
	struct message m;
	json_t *msg = NULL;
	bool alive = true;
	int e = rpc_parse(r->in.body, r->in.len, &msg);

	frame_in_reset(&r->in);
	if (e) {
		transmit(r, message_error(NULL, e,
					  e == RPC_PARSE ? "This is not JSON."
							 : "This is no JSON-RPC 2.0 message."));
		return true;
	}
	message_read(&m, msg);
	if (m.kind == MESSAGE_CALL || m.kind == MESSAGE_NOTE)
		alive = take_call(r, &m);
	else
		alive = take_answer(r, &m);
	json_decref(msg);
	return alive;
}

/* Tells the end: calls first, then `closed`. False when a callback freed it. */
static bool tell_end(struct rpc *r)
{
	bool alive = true;

	enter(r);
	while (!r->freed && r->calls)
		call_end(r, call_take(r, &r->calls), NULL, RPC_NOT_CONNECTED,
			 "The connection ended.");
	if (!r->freed && !r->told) {
		r->told = true;
		r->ops->closed(r->arg, r, r->error);
	}
	alive = leave(r);
	return alive;
}

static void read_frames(struct rpc *r)
{
	for (int i = 0; i < FRAMES_PER_TURN && !r->broken; i++) {
		int e = frame_read(&r->in, r->s);

		if (e == -EAGAIN)
			return;
		if (e <= 0)
			break_off(r, e);
		else if (!take_frame(r))
			return;
	}
}

static void on_stream(struct stream *s, unsigned ev, void *arg)
{
	struct rpc *r = arg;

	if (r->broken)
		return;
	if (ev & STREAM_ERROR) {
		s->error = s->error ? s->error : -ECONNRESET;
		break_off(r, s->error);
		return;
	}
	enter(r);
	if (ev & STREAM_WRITABLE)
		flush(r);
	if (ev & STREAM_READABLE)
		read_frames(r);
	leave(r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct rpc *r = arg;
	nsec_t now = clock_boot();

	(void)fd;
	(void)what;
	if (r->broken) {
		tell_end(r);
		return;
	}
	enter(r);
	for (struct call **at = &r->calls; *at;) {
		if (!(*at)->deadline || (*at)->deadline > now) {
			at = &(*at)->next;
			continue;
		}
		if (!call_end(r, call_take(r, at), NULL, RPC_TIMEOUT, "No answer came in time."))
			break;
		at = &r->calls; /* the callback may have changed the list */
	}
	if (!r->freed)
		arm(r);
	leave(r);
}

/* --- life ----------------------------------------------------------------------------------------- */

int rpc_new(struct rpc **rp, struct event_base *base, struct stream *s, const struct rpc_ops *ops,
	    void *arg)
{
	struct rpc *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	*r = (struct rpc){.s = s, .ops = ops, .arg = arg};
	r->timer = evtimer_new(base, on_timer, r);
	if (!r->timer) {
		free(r);
		return -ENOMEM;
	}
	stream_set(s, on_stream, r);
	s->ops->want(s, STREAM_READABLE);
	*rp = r;
	return 0;
}

void rpc_set(struct rpc *r, const struct rpc_ops *ops, void *arg)
{
	r->ops = ops;
	r->arg = arg;
}

void rpc_free(struct rpc *r)
{
	if (!r || r->freed)
		return;
	while (r->calls)
		free(call_take(r, &r->calls));
	for (struct rpc_request *q = r->requests, *next; q; q = next) {
		next = q->next;
		q->rpc = NULL;
		q->prev = q->next = NULL;
	}
	r->requests = NULL;
	event_free(r->timer);
	if (!r->broken)
		frame_flush(&r->out, r->s);
	if (r->broken && r->error)
		r->s->ops->abort(r->s);
	else
		r->s->ops->close(r->s);
	frame_in_reset(&r->in);
	frame_out_free(&r->out);
	r->broken = r->freed = true;
	r->timer = NULL;
	if (r->inside == 0)
		free(r);
}
