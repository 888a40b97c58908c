/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages over a stream, between two transports over a TCP connection on loopback or to a bare
 * socket: what is on the wire, the queue and its bounds, who hears what and when.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <netinet/tcp.h>

#include "base/clock.h"
#include "node_packets.h"
#include "thin_stream.h"
#include "transport/stream.h"

enum { MESSAGES_MAX = 4096, ID = 42 };

static struct event_base *base;
static struct transport *a, *b; /* b: NULL where the far end is bare */
static int far_end;
static struct thin *end_a;
static size_t sizes[MESSAGES_MAX];
static unsigned n_sent, n_came, n_closed, n_writable, n_idle;
static int closed_error;
static bool inside; /* of a call to a transport: no callback may come */
static struct path path = {.transport = ID};

/* Message `i` is recognized by its bytes. */
static uint8_t byte_of(unsigned i, size_t at)
{
	return (uint8_t)(i * 31 + at + (at >> 8));
}

static void on_receive(void *arg, const struct path *from, const uint8_t *data, size_t len,
		       size_t stride)
{
	static volatile uint8_t touch;

	(void)arg;
	assert_false(inside);
	assert_true(path_equal(from, &path));
	assert_int_equal(stride, len);
	assert_true(n_came < n_sent);
	assert_int_equal(len, sizes[n_came]);
	for (size_t i = 0; i < len; i++)
		if (data[i] != byte_of(n_came, i))
			fail_msg("message %u differs at %zu", n_came, i);
	touch = data[-TRANSPORT_HEAD];		/* readable before */
	touch = data[len + TRANSPORT_TAIL - 1]; /* and after */
	(void)touch;
	n_came++;
}

static void on_idle(void *arg)
{
	(void)arg;
	assert_false(inside);
	n_idle++;
}

static void on_closed(void *arg, int error)
{
	assert_false(inside);
	n_closed += arg == &a;
	if (arg == &a)
		closed_error = error;
}

static void on_writable(void *arg)
{
	(void)arg;
	assert_false(inside);
	n_writable++;
}

static const struct transport_ops ops = {
	.receive = on_receive, .idle = on_idle, .closed = on_closed, .writable = on_writable};

static int setup(void **state)
{
	int fd[2];

	(void)state;
	n_sent = n_came = n_closed = n_writable = n_idle = 0;
	base = event_base_new();
	tcp_pair(fd);
	end_a = thin_new(base, fd[0]);
	assert_int_equal(transport_stream_new(&a, base, &end_a->s, ID, &ops, &a, NULL), 0);
	b = NULL;
	far_end = fd[1];
	return 0;
}

static int setup_pair(void **state)
{
	setup(state);
	assert_int_equal(
		transport_stream_new(&b, base, &thin_new(base, far_end)->s, ID, &ops, &b, NULL), 0);
	far_end = -1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	transport_free(a);
	transport_free(b);
	close_fd(&far_end);
	event_base_free(base);
	return 0;
}

static bool loop_until(bool (*done)(void))
{
	nsec_t end = clock_boot() + 5 * NSEC_PER_SEC;

	while (!done() && clock_boot() < end) {
		struct timeval tick = {.tv_usec = 20000};

		event_base_loopexit(base, &tick);
		event_base_loop(base, EVLOOP_ONCE);
	}
	return done();
}

static bool all_came(void)
{
	return n_came == n_sent;
}

static bool is_closed(void)
{
	return n_closed > 0;
}

static bool is_writable(void)
{
	return n_writable > 0;
}

/* Into the queue: sealed there (as node/ does), or copied. False = no room. */
static bool queue(size_t len, bool copy)
{
	static uint8_t message[TRANSPORT_FRAME_MAX + 1];
	uint64_t before = transport_stats(a)->tx_datagrams;
	uint8_t *room = message;

	inside = true;
	if (!copy)
		room = transport_stream_reserve(a, len);
	for (size_t i = 0; room && i < len; i++)
		room[i] = byte_of(n_sent, i);
	if (copy)
		transport_send(a, &path, message, len, len);
	else if (room) {
		memset(room + len, 0xee, TRANSPORT_TAIL); /* as sealing does */
		transport_stream_commit(a, len);
	}
	inside = false;
	if (transport_stats(a)->tx_datagrams == before)
		return false;
	sizes[n_sent++] = len;
	return true;
}

static void flush(void)
{
	inside = true;
	transport_flush(a);
	inside = false;
}

static void read_exactly(void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = recv(far_end, (char *)buf + done, len - done, 0);

		if (n < 0 && errno == EAGAIN)
			continue; /* loopback: it is on its way */
		assert_true(n > 0);
		done += (size_t)n;
	}
}

static void frames_on_the_wire(void **state)
{
	static const uint8_t wire[] = {3, 0, 0, 0, 'a', 'b', 'c', 2, 0, 0, 0, 'd', 'e'};
	uint8_t got[sizeof(wire)];

	(void)state;
	transport_send(a, &path, (const uint8_t *)"abcde", 5, 3);
	assert_int_equal(transport_stats(a)->tx_calls, 0); /* until the flush */
	flush();
	assert_int_equal(transport_stats(a)->tx_calls, 1);
	assert_int_equal(transport_stats(a)->tx_datagrams, 2);
	assert_int_equal(transport_stats(a)->tx_bytes, 5);
	read_exactly(got, sizeof(got));
	assert_memory_equal(got, wire, sizeof(wire));
	assert_int_equal(transport_mtu(a, &path), TRANSPORT_FRAME_MAX);
	assert_int_equal(transport_local(a, &(union sockaddr_any){0}), -ENOTSUP);
	transport_rebind(a);
}

static void any_sizes_and_pieces(void **state)
{
	struct rng r = {1};

	(void)state;
	for (unsigned round = 0; round < 40; round++) {
		struct thin *ends[2] = {end_a, container_of(stream_self(b)->s, struct thin, s)};

		ends[0]->write_most = round % 3 ? rng_range(&r, 1, 100000) : 0;
		ends[1]->read_most = round % 4 ? rng_range(&r, 1, 100000) : 0;
		for (unsigned i = rng_range(&r, 1, 12); i; i--) {
			size_t most = rng_range(&r, 0, 2) ? 2000 : TRANSPORT_FRAME_MAX;

			assert_true(queue(rng_range(&r, 1, (uint32_t)most), rng_range(&r, 0, 1)));
		}
		flush();
		/* byte by byte is node_stream_test's, and slow at these sizes */
		if (ends[1]->read_most && ends[1]->read_most < 500)
			ends[1]->read_most = 500;
		assert_true(loop_until(all_came));
	}
	assert_true(queue(TRANSPORT_FRAME_MAX, false));
	assert_true(queue(1, true));
	flush();
	assert_true(loop_until(all_came));
	assert_int_equal(transport_stats(b)->rx_datagrams, n_sent);
	assert_int_equal(transport_stats(b)->rx_bytes, transport_stats(a)->tx_bytes);
	assert_true(n_idle > 0);
	assert_int_equal(n_closed, 0);
}

/* All of a turn in one write, as far as the queue's pieces go. */
static void turn_is_one_write(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 500; i++)
		assert_true(queue(400, i & 1));
	flush();
	assert_int_equal(transport_stats(a)->tx_calls, 1);
	assert_true(loop_until(all_came));
	flush();
	assert_int_equal(transport_stats(a)->tx_calls, 1); /* nothing to write */
}

/* As a WebSocket does, whose messages have a greatest length. */
static void a_stream_may_take_a_piece_at_a_time(void **state)
{
	(void)state;
	end_a->write_most = 64 << 10;
	for (unsigned i = 0; i < 500; i++)
		assert_true(queue(400, i & 1));
	flush();
	assert_int_equal(transport_stats(a)->tx_calls, 4);
	assert_int_equal(stream_self(a)->queued, 0);
	assert_true(loop_until(all_came));
}

static void too_long_is_refused(void **state)
{
	(void)state;
	assert_false(queue(TRANSPORT_FRAME_MAX + 1, true));
	assert_false(queue(TRANSPORT_FRAME_MAX + 1, false));
	assert_int_equal(transport_stats(a)->tx_errors, 2);
}

static void room_may_be_given_back(void **state)
{
	(void)state;
	assert_non_null(transport_stream_reserve(a, TRANSPORT_FRAME_MAX));
	transport_stream_commit(a, 0);
	assert_true(queue(100, false));
	assert_non_null(transport_stream_reserve(a, TRANSPORT_FRAME_MAX));
	transport_stream_commit(a, 0);
	flush();
	assert_true(loop_until(all_came));
	assert_int_equal(transport_stats(a)->tx_datagrams, 1);
}

static void queue_is_bounded_and_says_so(void **state)
{
	struct stream_transport *st = stream_self(a);
	uint8_t frame[1004];
	bool was_full = false;

	(void)state;
	do {
		assert_true(queue(1000, false));
		flush();
		assert_int_equal(transport_full(a), was_full | (st->queued >= TRANSPORT_HIGH));
		was_full = transport_full(a);
	} while (st->queued + 1004 <= TRANSPORT_QUEUE_MAX);
	assert_true(was_full);
	assert_false(queue(1000, false));
	assert_false(queue(1000, true));
	assert_int_equal(transport_stats(a)->tx_full, 2);
	assert_int_equal(n_writable, 0);

	for (unsigned i = 0; i < n_sent; i++) { /* all that was taken arrives */
		while (recv(far_end, frame, sizeof(frame), MSG_PEEK) < (ssize_t)sizeof(frame)) {
			bool below = st->queued <= TRANSPORT_LOW;

			assert_int_equal(transport_full(a), !below && !n_writable);
			event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		}
		read_exactly(frame, sizeof(frame));
		assert_int_equal(get_le32(frame), 1000);
		assert_int_equal(frame[4], byte_of(i, 0));
		assert_int_equal(frame[1003], byte_of(i, 999));
	}
	assert_true(loop_until(is_writable));
	assert_int_equal(n_writable, 1);
	assert_false(transport_full(a));
	assert_int_equal(st->queued, 0);
}

/* Found out by a write of ours: told by the loop, once; what was queued is counted. */
static void broken_stream_is_told_later(void **state)
{
	struct linger reset = {.l_onoff = 1};
	uint64_t tries = 0;

	(void)state;
	setsockopt(far_end, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(far_end);
	far_end = -1;
	while (queue(1000, true) && tries++ < 100)
		flush();
	assert_int_equal(n_closed, 0);
	assert_true(transport_stats(a)->tx_errors > 0);
	assert_true(loop_until(is_closed));
	assert_true(closed_error == -ECONNRESET || closed_error == -EPIPE);
	assert_false(queue(10, false));
	flush();
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(n_closed, 1);
}

static void what_lies_in_the_queue_is_lost_with_it(void **state)
{
	struct stream_transport *st = stream_self(a);
	uint64_t written = 0;

	(void)state;
	end_a->write_most = 100; /* and 16 times in a turn */
	for (unsigned i = 0; i < 10; i++)
		assert_true(queue(1000, true));
	flush();
	written = 10 * 1004 - st->queued;
	assert_int_equal(written, 1600); /* the second frame in part */
	end_a->write_most = 1;
	transport_close(a);
	assert_int_equal(transport_stats(a)->tx_errors, 9);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(n_closed, 0); /* the owner knows */
}

static void close_writes_what_it_can(void **state)
{
	uint8_t got[1004];

	(void)state;
	assert_true(queue(1000, true));
	transport_close(a);
	assert_int_equal(transport_stats(a)->tx_errors, 0);
	read_exactly(got, sizeof(got));
	assert_int_equal(got[1003], byte_of(0, 999));
}

static void tcp_is_told_what_it_carries(void **state)
{
	int fd = end_a->s.ops->fd(&end_a->s), value;
	socklen_t len = sizeof(value);

	(void)state;
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
	assert_int_equal(value, 1);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, &len), 0);
	assert_int_equal(value, 128 << 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(frames_on_the_wire, setup, teardown),
		cmocka_unit_test_setup_teardown(any_sizes_and_pieces, setup_pair, teardown),
		cmocka_unit_test_setup_teardown(turn_is_one_write, setup_pair, teardown),
		cmocka_unit_test_setup_teardown(a_stream_may_take_a_piece_at_a_time, setup_pair,
						teardown),
		cmocka_unit_test_setup_teardown(too_long_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(room_may_be_given_back, setup_pair, teardown),
		cmocka_unit_test_setup_teardown(queue_is_bounded_and_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(broken_stream_is_told_later, setup, teardown),
		cmocka_unit_test_setup_teardown(what_lies_in_the_queue_is_lost_with_it, setup,
						teardown),
		cmocka_unit_test_setup_teardown(close_writes_what_it_can, setup, teardown),
		cmocka_unit_test_setup_teardown(tcp_is_told_what_it_carries, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
