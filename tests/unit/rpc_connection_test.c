/* SPDX-License-Identifier: Apache-2.0 */
/* rpc over a socket pair: calls both ways, bounds, broken frames, and freeing from each callback. */
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "rpc/rpc.h"

struct side {
	struct rpc *rpc;
	unsigned calls, notes, closed;
	int error;
	struct rpc_request *held;
	bool hold, free_in_call, free_in_closed;
};

struct answer {
	json_int_t n;
	int code;
	unsigned times;
	char text[200];
	struct side *free_me;
};

static struct event_base *base;
static struct side a, b;
static int raw; /* other end of b when the test speaks bytes */

static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	struct side *s = arg;

	assert_ptr_equal(r, s->rpc);
	assert_true(json_is_object(params));
	if (!req) {
		s->notes++;
		return;
	}
	s->calls++;
	if (s->free_in_call) {
		rpc_free(s->rpc);
		s->rpc = NULL;
		s->held = req;
	} else if (s->hold) {
		s->held = req;
	} else if (!strcmp(method, "twice")) {
		rpc_reply(req, json_integer(2 * json_integer_value(json_object_get(params, "n"))));
	} else {
		rpc_fail(req, RPC_CONFLICT, "no %s", method);
	}
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	struct side *s = arg;

	(void)r;
	s->closed++;
	s->error = error;
	if (s->free_in_closed) {
		rpc_free(s->rpc);
		s->rpc = NULL;
	}
}

static const struct rpc_ops ops = {on_call, on_closed};

static void on_answer(void *arg, json_t *result, int code, const char *message)
{
	struct answer *w = arg;

	w->times++;
	w->n = json_integer_value(result);
	w->code = code;
	snprintf(w->text, sizeof(w->text), "%s", message ? message : "");
	if (w->free_me) {
		rpc_free(w->free_me->rpc);
		w->free_me->rpc = NULL;
	}
}

static void attach(struct side *s, int fd)
{
	struct stream *st = NULL;

	*s = (struct side){.calls = 0};
	evutil_make_socket_nonblocking(fd);
	assert_int_equal(stream_from_fd(base, fd, &st), 0);
	assert_int_equal(rpc_new(&s->rpc, base, st, &ops, s), 0);
}

static int start_both(void **unused)
{
	int fd[2];

	(void)unused;
	base = event_base_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	attach(&a, fd[0]);
	attach(&b, fd[1]);
	raw = -1;
	return 0;
}

static int start_raw(void **unused)
{
	int fd[2];

	(void)unused;
	base = event_base_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	raw = fd[0];
	a = (struct side){.calls = 0};
	attach(&b, fd[1]);
	return 0;
}

static int stop(void **unused)
{
	(void)unused;
	rpc_free(a.rpc);
	rpc_free(b.rpc);
	if (raw >= 0)
		close(raw);
	event_base_free(base);
	return 0;
}

/* Runs until nothing has happened for a while. */
static void on_quiet(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Until nothing has happened for a while. One that we did not get the processor for does not count. */
static void turn(void)
{
	const struct timeval tv = {.tv_usec = 5000};
	bool timed;
	struct event *ev = evtimer_new(base, on_quiet, &timed);

	for (unsigned quiet = 0; quiet < 4; quiet = timed ? quiet + 1 : 0) {
		timed = false;
		evtimer_add(ev, &tv);
		event_base_loop(base, EVLOOP_ONCE);
	}
	event_free(ev);
}

static void test_calls_both_ways(void **unused)
{
	struct answer w = {0}, v = {0};

	(void)unused;
	assert_int_equal(rpc_call(a.rpc, "twice", json_pack("{s:i}", "n", 21), 0, on_answer, &w),
			 0);
	assert_int_equal(rpc_call(b.rpc, "stop", NULL, 0, on_answer, &v), 0);
	assert_int_equal(rpc_notify(a.rpc, "news", NULL), 0);
	turn();
	assert_int_equal(w.n, 42);
	assert_int_equal(w.code, 0);
	assert_int_equal(v.code, RPC_CONFLICT);
	assert_string_equal(v.text, "no stop");
	assert_int_equal(b.calls, 1);
	assert_int_equal(b.notes, 1);
	assert_int_equal(a.calls, 1);
}

static void test_late_answer_and_time_out(void **unused)
{
	struct answer w = {0};

	(void)unused;
	b.hold = true;
	assert_int_equal(rpc_call(a.rpc, "slow", NULL, 5 * NSEC_PER_MSEC, on_answer, &w), 0);
	turn();
	assert_int_equal(w.code, RPC_TIMEOUT);
	rpc_reply(b.held, json_integer(1));
	turn();
	assert_int_equal(w.times, 1); /* the answer that came too late is dropped */
}

static void test_peer_goes(void **unused)
{
	struct answer w = {0};

	(void)unused;
	b.hold = true;
	assert_int_equal(rpc_call(a.rpc, "slow", NULL, 0, on_answer, &w), 0);
	turn();
	rpc_free(b.rpc);
	b.rpc = NULL;
	turn();
	assert_int_equal(w.code, RPC_NOT_CONNECTED);
	assert_int_equal(a.closed, 1);
	assert_int_equal(a.error, 0);
	rpc_fail(b.held, RPC_FAILED, "into the void"); /* must not leak or crash */
	assert_int_equal(rpc_call(a.rpc, "late", NULL, 0, on_answer, &w), -ENOTCONN);
}

static void test_free_in_call(void **unused)
{
	(void)unused;
	b.free_in_call = true;
	rpc_notify(a.rpc, "x", NULL);
	rpc_call(a.rpc, "x", NULL, 0, on_answer, &(struct answer){0});
	rpc_notify(a.rpc, "x", NULL);
	turn();
	assert_null(b.rpc);
	assert_int_equal(b.calls, 1);
	assert_int_equal(b.notes, 1); /* nothing after the free */
	rpc_reply(b.held, json_null());
}

static void test_free_in_answer(void **unused)
{
	struct answer w = {.free_me = &a};

	(void)unused;
	assert_int_equal(rpc_call(a.rpc, "twice", json_pack("{s:i}", "n", 4), 0, on_answer, &w), 0);
	turn();
	assert_int_equal(w.n, 8);
	assert_null(a.rpc);
	assert_int_equal(a.closed, 0);
	assert_int_equal(b.closed, 1);
}

static void test_free_in_closed(void **unused)
{
	struct answer w = {0}, v = {.free_me = &a};

	(void)unused;
	a.free_in_closed = b.hold = true;
	rpc_call(a.rpc, "1", NULL, 0, on_answer, &w);
	turn();
	rpc_free(b.rpc);
	b.rpc = NULL;
	turn();
	assert_null(a.rpc);
	assert_int_equal(a.closed, 1);
	rpc_fail(b.held, RPC_FAILED, "-");
	(void)v;
}

/* A caller whose answer cannot be told would wait for ever. */
static void test_no_answer_is_lost(void **unused)
{
	struct answer w = {0};

	(void)unused;
	b.hold = true;
	assert_int_equal(rpc_call(a.rpc, "hold", NULL, 0, on_answer, &w), 0);
	turn();
	rpc_fail(b.held, RPC_FAILED, "No '%.3s'.", "a\u00e4\u00e4"); /* cut within the character */
	turn();
	assert_int_equal(w.code, RPC_FAILED);
	assert_string_equal(w.text, "No 'a\u00e4'.");
	assert_int_equal(rpc_call(a.rpc, "hold", NULL, 0, on_answer, &w), 0);
	turn();
	rpc_fail(b.held, RPC_FAILED, "No '%.4s'.", "a\u00e4\u00e4");
	turn();
	assert_int_equal(w.times, 2);
	assert_string_equal(w.text, "No 'a\?\?\?'.");
	assert_int_equal(rpc_call(a.rpc, "hold", NULL, 0, on_answer, &w), 0);
	turn();
	rpc_reply(b.held, NULL);
	turn();
	assert_int_equal(w.times, 3);
	assert_int_equal(w.code, RPC_INTERNAL);
}

static void test_too_many_calls(void **unused)
{
	struct answer w = {0};

	(void)unused;
	b.hold = true;
	for (int i = 0; i < RPC_PENDING_MAX; i++)
		assert_int_equal(rpc_call(a.rpc, "x", NULL, 0, on_answer, &w), 0);
	assert_int_equal(rpc_call(a.rpc, "x", NULL, 0, on_answer, &w), -EBUSY);
	b.hold = false;
	turn();
	assert_int_equal(w.times, RPC_PENDING_MAX);
}

static void test_reader_that_does_not_read_is_cut(void **unused)
{
	json_t *big = json_object();
	char *text = calloc(1, 600000);
	int r = 0;

	(void)unused;
	memset(text, 'x', 599999);
	json_object_set_new(big, "t", json_string(text));
	for (int i = 0; i < 100 && r == 0; i++)
		r = rpc_notify(b.rpc, "flood", json_incref(big));
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(b.closed, 0); /* told from the loop, not under our feet */
	turn();
	assert_int_equal(b.closed, 1);
	assert_int_equal(b.error, -ENOBUFS);
	json_object_set_new(big, "u", json_string(text));
	free(text);
	json_decref(big);
}

static void test_answer_too_large(void **unused)
{
	struct answer w = {0};
	char *text = calloc(1, RPC_MAX + 1);

	(void)unused;
	memset(text, 'x', RPC_MAX);
	b.hold = true;
	rpc_call(a.rpc, "x", NULL, 0, on_answer, &w);
	turn();
	rpc_reply(b.held, json_string(text));
	turn();
	assert_int_equal(w.code, RPC_INTERNAL);
	assert_int_equal(a.closed + b.closed, 0);
	free(text);
}

/* --- bytes ---------------------------------------------------------------------------------------------- */

static void put(const char *body, uint32_t claimed)
{
	uint8_t head[4];

	put_be32(head, claimed);
	assert_int_equal(write(raw, head, 4), 4);
	assert_int_equal(write(raw, body, strlen(body)), (ssize_t)strlen(body));
}

static void expect_error(const char *body, int code)
{
	char buf[1024], want[40];
	ssize_t n;

	put(body, (uint32_t)strlen(body));
	turn();
	n = recv(raw, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	assert_true(n > 4);
	buf[n] = '\0';
	snprintf(want, sizeof(want), "\"code\":%d", code);
	assert_non_null(strstr(buf + 4, want));
	assert_int_equal(b.closed, 0);
}

static void test_bad_messages_are_answered(void **unused)
{
	(void)unused;
	expect_error("{", RPC_PARSE);
	expect_error("{\"jsonrpc\":\"2.0\",\"jsonrpc\":\"2.0\"}", RPC_PARSE);
	expect_error("[]", RPC_INVALID);
	expect_error("{\"jsonrpc\":\"1.0\",\"method\":\"x\",\"id\":1}", RPC_INVALID);
	expect_error("{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"id\":null}", RPC_INVALID);
	expect_error("{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"id\":1,\"params\":[1]}", RPC_INVALID);
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1}", RPC_INVALID);
	expect_error("{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"id\":\"s\"}", RPC_CONFLICT);
}

static void test_stray_answers_are_ignored(void **unused)
{
	const char *result = "{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":1}";
	const char *error =
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":1,\"message\":\"\"}}";

	(void)unused;
	put(result, (uint32_t)strlen(result));
	put(error, (uint32_t)strlen(error));
	turn();
	assert_int_equal(b.closed, 0);
	assert_int_equal(recv(raw, &(char){0}, 1, MSG_DONTWAIT), -1);
}

static void test_byte_by_byte(void **unused)
{
	const char *body = "{\"jsonrpc\":\"2.0\",\"method\":\"n\"}";
	uint8_t frame[64];
	size_t len = strlen(body);

	(void)unused;
	put_be32(frame, (uint32_t)len);
	memcpy(frame + 4, body, len);
	for (size_t i = 0; i < len + 4; i++) {
		assert_int_equal(write(raw, frame + i, 1), 1);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	turn();
	assert_int_equal(b.notes, 1);
}

static void test_frame_too_large(void **unused)
{
	(void)unused;
	put("", RPC_MAX + 1);
	turn();
	assert_int_equal(b.closed, 1);
	assert_int_equal(b.error, -EMSGSIZE);
}

static void test_empty_frame(void **unused)
{
	(void)unused;
	put("", 0);
	turn();
	assert_int_equal(b.error, -EMSGSIZE);
}

static void test_end_inside_a_frame(void **unused)
{
	(void)unused;
	put("{", 10);
	close(raw);
	raw = -1;
	turn();
	assert_int_equal(b.closed, 1);
	assert_int_equal(b.error, -EPROTO);
}

/* --- blocking --------------------------------------------------------------------------------------------- */

static unsigned notes_heard;

static void on_note(void *arg, const char *method, json_t *params)
{
	(void)arg;
	(void)params;
	assert_string_equal(method, "progress");
	notes_heard++;
}

static void *run_loop(void *arg)
{
	(void)arg;
	rpc_notify(b.rpc, "progress", NULL);
	turn();
	turn();
	return NULL;
}

static void test_blocking_call(void **unused)
{
	struct error e;
	json_t *result = NULL;
	pthread_t thread;
	int code = 0;

	(void)unused;
	notes_heard = 0;
	pthread_create(&thread, NULL, run_loop, NULL);
	assert_int_equal(rpc_call_blocking(raw, "twice", json_pack("{s:i}", "n", 3), on_note, NULL,
					   &result, &code, &e),
			 0);
	assert_int_equal(json_integer_value(result), 6);
	assert_int_equal(notes_heard, 1);
	json_decref(result);
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, run_loop, NULL);
	assert_int_equal(rpc_call_blocking(raw, "nosuch", NULL, on_note, NULL, &result, &code, &e),
			 RPC_CONFLICT);
	assert_null(result);
	assert_int_equal(code, RPC_CONFLICT);
	assert_string_equal(e.text, "no nosuch");
	pthread_join(thread, NULL);
	rpc_free(b.rpc);
	b.rpc = NULL;
	assert_true(rpc_call_blocking(raw, "x", NULL, NULL, NULL, &result, &code, &e) < 0);
	assert_int_equal(code, 0);
}

#define BOTH(t) cmocka_unit_test_setup_teardown(t, start_both, stop)
#define RAW(t)	cmocka_unit_test_setup_teardown(t, start_raw, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_calls_both_ways),
		BOTH(test_late_answer_and_time_out),
		BOTH(test_peer_goes),
		BOTH(test_free_in_call),
		BOTH(test_free_in_answer),
		BOTH(test_free_in_closed),
		BOTH(test_no_answer_is_lost),
		BOTH(test_too_many_calls),
		BOTH(test_answer_too_large),
		RAW(test_reader_that_does_not_read_is_cut),
		RAW(test_bad_messages_are_answered),
		RAW(test_stray_answers_are_ignored),
		RAW(test_byte_by_byte),
		RAW(test_frame_too_large),
		RAW(test_empty_frame),
		RAW(test_end_inside_a_frame),
		RAW(test_blocking_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
