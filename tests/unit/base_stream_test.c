/* SPDX-License-Identifier: Apache-2.0 */
/* A host socket as a stream: real sockets on loopback and socketpairs. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/addr.h"
#include "base/stream.h"

struct watch {
	struct event_base *base;
	struct stream *s;
	unsigned seen;
	unsigned calls;
	void (*then)(struct watch *w); /* what the callback does with the stream */
};

static void on_event(struct stream *s, unsigned ev, void *arg)
{
	struct watch *w = arg;

	assert_ptr_equal(s, w->s);
	w->seen |= ev;
	w->calls++;
	if (w->then)
		w->then(w);
}

static void turn(struct event_base *base)
{
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* Turns the loop for up to a second until one of the events was seen. */
static void wait_for(struct watch *w, unsigned ev)
{
	for (int i = 0; i < 1000 && !(w->seen & ev); i++) {
		turn(w->base);
		usleep(1000);
	}
	assert_true(w->seen & ev);
}

static void tcp_pair(int fds[2])
{
	int l = socket(AF_INET, SOCK_STREAM, 0);
	union sockaddr_any sa = {.in = {.sin_family = AF_INET}};
	socklen_t len = sizeof(sa.in);

	sa.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_return_code(bind(l, &sa.sa, len), errno);
	assert_return_code(listen(l, 1), errno);
	getsockname(l, &sa.sa, &len);
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_return_code(connect(fds[0], &sa.sa, len), errno);
	fds[1] = accept(l, NULL, NULL);
	assert_return_code(fds[1], errno);
	close(l);
	for (int i = 0; i < 2; i++)
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
}

static void unix_pair(int fds[2])
{
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), errno);
}

/* A watched stream over fds[0] of a new pair. */
static struct watch start(void (*pair)(int[2]), int fds[2])
{
	struct watch w = {.base = event_base_new()};

	pair(fds);
	assert_int_equal(stream_from_fd(w.base, fds[0], &w.s), 0);
	return w;
}

static void send_reset(int fd)
{
	struct linger l = {1, 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(fd);
}

static void readable_is_level_triggered(void **state)
{
	(void)state;
	int fds[2];
	char c;
	struct watch w = start(unix_pair, fds);

	stream_set(w.s, on_event, &w);
	assert_int_equal(stream_read(w.s, &c, 1), -EAGAIN);
	assert_int_equal(write(fds[1], "ab", 2), 2);
	turn(w.base);
	assert_int_equal(w.calls, 0); /* not asked for */
	w.s->ops->want(w.s, STREAM_READABLE);
	turn(w.base);
	turn(w.base);
	assert_int_equal(w.calls, 2); /* again while bytes are there */
	assert_int_equal(stream_read(w.s, &c, 1), 1);
	turn(w.base);
	assert_int_equal(w.calls, 3);
	assert_int_equal(stream_read(w.s, &c, 1), 1);
	turn(w.base);
	assert_int_equal(w.calls, 3);
	w.s->ops->want(w.s, STREAM_READABLE | STREAM_WRITABLE);
	turn(w.base);
	assert_int_equal(w.seen, STREAM_READABLE | STREAM_WRITABLE);
	w.s->ops->close(w.s);
	close(fds[1]);
	event_base_free(w.base);
}

static void half_close_each_way(void **state)
{
	(void)state;
	int fds[2];
	char buf[8];
	struct watch w = start(tcp_pair, fds);

	stream_set(w.s, on_event, &w);
	assert_int_equal(stream_write(w.s, "bye", 3), 3);
	w.s->ops->shutdown(w.s);
	fcntl(fds[1], F_SETFL, 0);
	assert_int_equal(recv(fds[1], buf, sizeof(buf), MSG_WAITALL), 3);
	assert_int_equal(read(fds[1], buf, sizeof(buf)), 0);
	assert_int_equal(write(fds[1], "still", 5), 5);
	shutdown(fds[1], SHUT_WR);
	w.s->ops->want(w.s, STREAM_READABLE);
	wait_for(&w, STREAM_READABLE);
	assert_int_equal(stream_read(w.s, buf, sizeof(buf)), 5);
	w.seen = 0;
	wait_for(&w, STREAM_READABLE); /* the end is an event too */
	assert_int_equal(stream_read(w.s, buf, sizeof(buf)), 0);
	w.s->ops->close(w.s);
	close(fds[1]);
	event_base_free(w.base);
}

static void reset_while_reading(void **state)
{
	(void)state;
	int fds[2];
	char c;
	struct watch w = start(tcp_pair, fds);

	stream_set(w.s, on_event, &w);
	w.s->ops->want(w.s, STREAM_READABLE);
	send_reset(fds[1]);
	wait_for(&w, STREAM_READABLE | STREAM_ERROR);
	assert_int_equal(stream_read(w.s, &c, 1), -ECONNRESET);
	w.s->ops->abort(w.s);
	event_base_free(w.base);
}

/* Nobody reads or writes (back-pressure), and still the reset is told; once,
 * and without spinning. */
static void reset_while_paused(void **state)
{
	(void)state;
	int fds[2];
	struct watch w = start(tcp_pair, fds);

	stream_set(w.s, on_event, &w);
	w.s->ops->want(w.s, STREAM_READABLE);
	turn(w.base);
	w.s->ops->want(w.s, 0);
	assert_int_equal(write(fds[1], "data that nobody wants", 22), 22);
	turn(w.base);
	assert_int_equal(w.calls, 0);
	send_reset(fds[1]);
	wait_for(&w, STREAM_ERROR);
	assert_int_equal(w.s->error, -ECONNRESET);
	for (int i = 0; i < 5; i++)
		turn(w.base);
	assert_int_equal(w.calls, 1);
	w.s->ops->abort(w.s);
	event_base_free(w.base);
}

/* The other side's FIN while paused is no error, and not lost. */
static void end_while_paused(void **state)
{
	(void)state;
	int fds[2];
	char c;
	struct watch w = start(tcp_pair, fds);

	stream_set(w.s, on_event, &w);
	close(fds[1]);
	for (int i = 0; i < 5; i++) {
		usleep(1000);
		turn(w.base);
	}
	assert_int_equal(w.calls, 0);
	w.s->ops->want(w.s, STREAM_READABLE);
	wait_for(&w, STREAM_READABLE);
	assert_int_equal(stream_read(w.s, &c, 1), 0);
	w.s->ops->close(w.s);
	event_base_free(w.base);
}

static void write_to_the_gone(void **state)
{
	(void)state;
	int fds[2];
	struct watch w = start(unix_pair, fds);

	close(fds[1]);
	assert_int_equal(stream_write(w.s, "x", 1), -EPIPE); /* and no SIGPIPE */
	w.s->ops->abort(w.s);
	event_base_free(w.base);
}

static void full_then_writable(void **state)
{
	(void)state;
	int fds[2];
	static char chunk[65536];
	struct watch w = start(unix_pair, fds);
	ssize_t n;

	stream_set(w.s, on_event, &w);
	while ((n = stream_write(w.s, chunk, sizeof(chunk))) > 0)
		;
	assert_int_equal(n, -EAGAIN);
	w.s->ops->want(w.s, STREAM_WRITABLE);
	turn(w.base);
	assert_int_equal(w.calls, 0);
	while (read(fds[1], chunk, sizeof(chunk)) > 0)
		;
	wait_for(&w, STREAM_WRITABLE);
	w.s->ops->close(w.s);
	close(fds[1]);
	event_base_free(w.base);
}

static void abort_resets_and_close_does_not(void **state)
{
	(void)state;
	int fds[2];
	char buf[8];
	struct watch w = start(tcp_pair, fds);

	w.s->ops->abort(w.s);
	usleep(1000);
	assert_int_equal(read(fds[1], buf, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	close(fds[1]);
	event_base_free(w.base);

	/* With bytes unread, close(2) alone would reset and could take "last" with it. */
	w = start(tcp_pair, fds);
	assert_int_equal(write(fds[1], "unread", 6), 6);
	assert_int_equal(stream_write(w.s, "last", 4), 4);
	w.s->ops->close(w.s);
	usleep(1000);
	assert_int_equal(read(fds[1], buf, sizeof(buf)), 4);
	assert_int_equal(read(fds[1], buf, sizeof(buf)), 0);
	close(fds[1]);
	event_base_free(w.base);
}

static void close_it(struct watch *w)
{
	w->s->ops->close(w->s);
	w->then = NULL;
}

static void abort_it(struct watch *w)
{
	w->s->ops->abort(w->s);
	w->then = NULL;
}

/* Freed inside READABLE (with WRITABLE due in the same turn), WRITABLE and ERROR: no callback
 * after. */
static void free_in_callback(void **state)
{
	(void)state;
	void (*const how[])(struct watch *) = {close_it, abort_it};
	const unsigned wants[] = {STREAM_READABLE | STREAM_WRITABLE, STREAM_WRITABLE, 0};

	for (size_t h = 0; h < ARRAY_SIZE(how); h++) {
		for (size_t i = 0; i < ARRAY_SIZE(wants); i++) {
			int fds[2];
			struct watch w = start(tcp_pair, fds);

			stream_set(w.s, on_event, &w);
			w.then = how[h];
			w.s->ops->want(w.s, wants[i]);
			if (wants[i]) {
				assert_int_equal(write(fds[1], "x", 1), 1);
				wait_for(&w, wants[i]);
				close(fds[1]);
			} else {
				send_reset(fds[1]);
				wait_for(&w, STREAM_ERROR);
			}
			turn(w.base);
			assert_int_equal(w.calls, 1);
			event_base_free(w.base);
		}
	}
}

static void the_descriptor_is_the_streams(void **state)
{
	(void)state;
	int fds[2];
	struct watch w = start(unix_pair, fds);

	assert_int_equal(w.s->ops->fd(w.s), fds[0]);
	w.s->ops->close(w.s);
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	close(fds[1]);
	event_base_free(w.base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readable_is_level_triggered),
		cmocka_unit_test(half_close_each_way),
		cmocka_unit_test(reset_while_reading),
		cmocka_unit_test(reset_while_paused),
		cmocka_unit_test(end_while_paused),
		cmocka_unit_test(write_to_the_gone),
		cmocka_unit_test(full_then_writable),
		cmocka_unit_test(abort_resets_and_close_does_not),
		cmocka_unit_test(free_in_callback),
		cmocka_unit_test(the_descriptor_is_the_streams),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
