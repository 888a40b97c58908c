/* SPDX-License-Identifier: Apache-2.0 */
/* websocket: what time does to it, under a clock that is ours; and what a peer may make it do in one turn. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "websocket/internal.h"

static struct event_base *base;
static nsec_t now = 1000 * NSEC_PER_SEC;

/* In place of base/clock.c. */
nsec_t clock_boot(void)
{
	return now;
}

nsec_t clock_real(void)
{
	return now;
}

/* A carrier that takes `room` bytes, and has `in`, again and again if `endless`. */
struct fake {
	struct stream s;
	size_t room, writes, pings, pongs, reads;
	const uint8_t *in;
	size_t in_len;
	bool endless;
	unsigned wanted;
};

static ssize_t fake_readv(struct stream *s, const struct iovec *iov, int n)
{
	struct fake *f = container_of(s, struct fake, s);
	uint8_t *to = iov->iov_base;
	size_t len = f->endless ? iov->iov_len : f->in_len;

	(void)n;
	f->reads++;
	assert_true(f->reads < 1000); /* a turn must end */
	if (!f->in_len)
		return -EAGAIN;
	for (size_t i = 0; i < len; i++)
		to[i] = f->in[i % f->in_len];
	if (!f->endless)
		f->in_len = 0;
	return (ssize_t)len;
}

static ssize_t fake_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct fake *f = container_of(s, struct fake, s);
	const uint8_t *p = iov->iov_base;
	size_t done = 0;

	for (int i = 0; i < n && f->room; i++) {
		size_t len = MIN(iov[i].iov_len, f->room);

		done += len;
		f->room -= len;
	}
	if (!done)
		return -EAGAIN;
	f->writes++;
	f->pings += *p == 0x89;
	f->pongs += *p == 0x8a;
	return (ssize_t)done;
}

static void fake_want(struct stream *s, unsigned ev)
{
	container_of(s, struct fake, s)->wanted = ev;
}

static void fake_end(struct stream *s)
{
	(void)s;
}

static const struct stream_ops fake_ops = {
	.readv = fake_readv,
	.writev = fake_writev,
	.want = fake_want,
	.shutdown = fake_end,
	.close = fake_end,
	.abort = fake_end,
};

struct seen {
	struct fake carrier;
	struct stream *s;
	bool failed;
};

static void on_event(struct stream *s, unsigned ev, void *arg)
{
	struct seen *seen = arg;
	char buf[1000];

	seen->failed |= (ev & STREAM_ERROR) != 0;
	if (ev & STREAM_READABLE)
		(void)stream_read(s, buf, sizeof(buf));
}

static void make(struct seen *e, unsigned want)
{
	*e = (struct seen){.carrier = {.s.ops = &fake_ops, .room = SIZE_MAX}};
	assert_int_equal(websocket_new(&e->s, base, &e->carrier.s, WEBSOCKET_CLIENT, "", 0), 0);
	stream_set(e->s, on_event, e);
	e->s->ops->want(e->s, want);
}

static int find_timer(const struct event_base *b, const struct event *ev, void *arg)
{
	(void)b;
	*(struct event **)arg = (struct event *)(uintptr_t)ev;
	return 0;
}

/* The one timer there is ticks, every five seconds. */
static void pass(unsigned seconds)
{
	for (; seconds; seconds -= 5) {
		struct event *tick = NULL;

		now += 5 * NSEC_PER_SEC;
		event_base_foreach_event(base, find_timer, &tick);
		event_active(tick, EV_TIMEOUT, 1);
		event_base_loop(base, EVLOOP_NONBLOCK);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
}

static void comes(struct seen *e, const void *bytes, size_t len)
{
	e->carrier.in = bytes;
	e->carrier.in_len = len;
	assert_true(e->carrier.wanted & STREAM_READABLE);
	e->carrier.s.cb(&e->carrier.s, STREAM_READABLE, e->carrier.s.arg);
}

static void has_room(struct seen *e, size_t room)
{
	e->carrier.room = room;
	assert_true(e->carrier.wanted & STREAM_WRITABLE);
	e->carrier.s.cb(&e->carrier.s, STREAM_WRITABLE, e->carrier.s.arg);
}

static void silence_is_the_end(void **unused)
{
	static const uint8_t pong[] = {0x8a, 0};
	struct seen e;

	(void)unused;
	make(&e, STREAM_READABLE);
	pass(20);
	assert_int_equal(e.carrier.pings, 2);
	comes(&e, pong, sizeof(pong));
	pass(25);
	assert_false(e.failed);
	pass(5);
	assert_true(e.failed);
	assert_int_equal(e.s->error, -ETIMEDOUT);
	assert_string_equal(websocket_reason(e.s), "nothing was heard for 25 s");
	e.s->ops->abort(e.s);
	/* What we write is no sign of its life. */
	make(&e, STREAM_READABLE);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(stream_write(e.s, "x", 1), 1);
		pass(5);
	}
	assert_true(e.failed);
	e.s->ops->abort(e.s);
}

/* Who does not read hears nothing, and the other end must hear of us. */
static void a_pause_is_not_the_end(void **unused)
{
	struct seen e;

	(void)unused;
	make(&e, 0);
	pass(300);
	assert_false(e.failed);
	assert_int_equal(e.carrier.pings, 30);
	e.s->ops->want(e.s, STREAM_READABLE);
	pass(20);
	assert_false(e.failed);
	pass(10);
	assert_true(e.failed);
	e.s->ops->abort(e.s);
}

/* The peer takes nothing at all, then a little now and then. */
static void a_full_carrier_is_not_the_end(void **unused)
{
	struct seen e;

	(void)unused;
	make(&e, STREAM_READABLE);
	e.carrier.room = 100;
	assert_int_equal(stream_write(e.s, &(char[1000]){0}, 1000), 1000);
	pass(60);
	assert_false(e.failed);
	for (unsigned i = 0; i < 100; i++) {
		has_room(&e, 1);
		pass(40);
		assert_false(e.failed);
	}
	/* All of it, and the ping: now an answer is due. */
	has_room(&e, SIZE_MAX);
	assert_int_equal(e.carrier.pings, 1);
	pass(30);
	assert_false(e.failed);
	pass(5);
	assert_true(e.failed);
	e.s->ops->abort(e.s);
	/* Nothing either way. */
	make(&e, STREAM_READABLE);
	e.carrier.room = 100;
	assert_int_equal(stream_write(e.s, &(char[1000]){0}, 1000), 1000);
	pass(65);
	assert_true(e.failed);
	assert_string_equal(websocket_reason(e.s), "nothing was heard for 60 s");
	e.s->ops->abort(e.s);
}

/* An error behind bytes that nobody reads is told all the same. */
static void a_break_is_told_to_who_pauses(void **unused)
{
	static const uint8_t two[] = {0x82, 1, 'a', 0x82, 1, 'b'};
	struct seen e;
	char c;

	(void)unused;
	make(&e, 0);
	e.carrier.in = two;
	e.carrier.in_len = sizeof(two);
	assert_int_equal(stream_read(e.s, &c, 1), 1);
	e.carrier.s.error = -ECONNRESET;
	e.carrier.s.cb(&e.carrier.s, STREAM_ERROR, e.carrier.s.arg);
	event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_true(e.failed);
	e.s->ops->abort(e.s);
}

/* Frames without payload and pings without end: each call returns, and what waits to be answered is answered once. */
static void an_endless_peer_ends_its_turn(void **unused)
{
	static const uint8_t empty[] = {0x82, 0}, ping[] = {0x89, 0};
	struct seen e;

	(void)unused;
	make(&e, STREAM_READABLE);
	e.carrier.endless = true;
	comes(&e, empty, sizeof(empty));
	assert_in_range(e.carrier.reads, 1, 10);
	e.carrier.reads = 0;
	comes(&e, ping, sizeof(ping));
	assert_in_range(e.carrier.reads, 1, 10);
	assert_in_range(e.carrier.pongs, 1, 10);
	e.s->ops->abort(e.s);
}

/* A WebSocket in a channel of another: a byte before its frame, and still one message of the outer one, in 64 KiB. */
static void a_message_in_a_message_is_one(void **unused)
{
	static uint8_t much[70000];
	uint8_t head[FRAME_HEAD_MAX];
	size_t inner, outer;
	struct seen e;

	(void)unused;
	make(&e, 0);
	inner = (size_t)stream_write(e.s, much, sizeof(much));
	inner += frame_head(head, FRAME_BINARY, inner, much);
	outer = (size_t)stream_write(e.s, much, inner + 1);
	assert_int_equal(outer, inner + 1);
	outer += frame_head(head, FRAME_BINARY, outer, much);
	assert_in_range(outer, 65000, 65536);
	assert_int_equal(e.carrier.writes, 2);
	e.s->ops->abort(e.s);
}

static int setup(void **unused)
{
	(void)unused;
	base = event_base_new();
	return base ? 0 : -1;
}

static int teardown(void **unused)
{
	(void)unused;
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_is_the_end),
		cmocka_unit_test(a_pause_is_not_the_end),
		cmocka_unit_test(a_full_carrier_is_not_the_end),
		cmocka_unit_test(a_break_is_told_to_who_pauses),
		cmocka_unit_test(an_endless_peer_ends_its_turn),
		cmocka_unit_test(a_message_in_a_message_is_one),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
