/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins of two streams: real sockets (spliced), and a stream in memory that shows its bytes and its
 *room as lwIP's does (peek and reserve), or has only read and write (copied).
 *
 *	near end == A === relay === B == far end
 *
 * For a socket stream its end is the other socket of the pair; for one in memory, its two buffers.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/addr.h"
#include "relay/internal.h"
#include "tests/unit/relay_fake.h"

enum { PATTERN = 1048573 };

static struct event_base *base;
static uint8_t
	pattern[PATTERN + 65536]; /* the tail repeats the head, so that any chunk is contiguous */

static const uint8_t *at(uint64_t off)
{
	return pattern + off % PATTERN;
}

/* --- an end: what the test does to a stream from outside ------------------------------------ */

enum kind { UNIX, TCP, LWIP, PLAIN };

struct end {
	enum kind kind;
	struct stream *s;
	int fd;		/* UNIX, TCP: the other socket */
	struct fake *f; /* LWIP, PLAIN */
	uint64_t sent, got;
	bool saw_end;
};

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
	close(l);
	for (int i = 0; i < 2; i++)
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
}

static void end_open(struct end *e, enum kind kind)
{
	int fds[2];

	*e = (struct end){.kind = kind, .fd = -1};
	if (kind == UNIX || kind == TCP) {
		if (kind == UNIX)
			assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds),
					   errno);
		else
			tcp_pair(fds);
		e->fd = fds[1];
		assert_int_equal(stream_from_fd(base, fds[0], &e->s), 0);
		return;
	}
	e->f = calloc(1, sizeof(*e->f));
	e->f->s.ops = kind == LWIP ? &lwip_like : &plain;
	e->f->tx_room = FAKE_CAP;
	e->s = &e->f->s;
	event_assign(&e->f->tick, base, -1, 0, fake_tick, e->f);
}

static void end_free(struct end *e)
{
	if (e->fd >= 0)
		close(e->fd);
	free(e->f);
}

static void end_send(struct end *e, uint64_t until)
{
	size_t n = MIN(until - e->sent, (uint64_t)65536);

	if (e->fd >= 0) {
		ssize_t r = n ? send(e->fd, at(e->sent), n, MSG_NOSIGNAL) : 0;
		e->sent += r > 0 ? (uint64_t)r : 0;
		return;
	}
	n = MIN(n, FAKE_CAP - e->f->rx_len);
	memcpy(e->f->rx + e->f->rx_len, at(e->sent), n);
	e->f->rx_len += n;
	e->sent += n;
	fake_kick(e->f);
}

static void end_finish(struct end *e)
{
	if (e->fd >= 0) {
		shutdown(e->fd, SHUT_WR);
		return;
	}
	e->f->rx_end = true;
	fake_kick(e->f);
}

static void end_take(struct end *e)
{
	uint8_t buf[65536];

	if (e->fd >= 0) {
		ssize_t n = read(e->fd, buf, sizeof(buf));
		if (n > 0) {
			assert_memory_equal(buf, at(e->got), (size_t)n);
			e->got += (uint64_t)n;
		}
		e->saw_end |= n == 0;
		return;
	}
	size_t n = MIN(e->f->tx_len, sizeof(buf));
	assert_memory_equal(e->f->tx, at(e->got), n);
	memmove(e->f->tx, e->f->tx + n, e->f->tx_len - n);
	e->f->tx_len -= n;
	e->got += n;
	e->saw_end = e->f->tx_end && !e->f->tx_len;
	fake_kick(e->f);
}

static bool end_was_reset(struct end *e)
{
	uint8_t c[4096];
	ssize_t n;

	if (e->f)
		return e->f->aborted;
	while ((n = read(e->fd, c, sizeof(c))) > 0)
		;
	return n < 0 && errno == ECONNRESET;
}

/* --- the join under test --------------------------------------------------------------------- */

struct join {
	struct end a, b;
	struct relay *r;
	unsigned done;
	struct relay_result res;
};

static void on_done(void *arg, const struct relay_result *res)
{
	struct join *j = arg;

	j->done++;
	j->res = *res;
	j->r = NULL;
}

static void join_open(struct join *j, enum kind a, enum kind b)
{
	memset(j, 0, sizeof(*j));
	end_open(&j->a, a);
	end_open(&j->b, b);
	assert_int_equal(relay_join(base, j->a.s, j->b.s, on_done, j, &j->r), 0);
}

static void join_close(struct join *j)
{
	if (j->r)
		relay_abort(j->r);
	end_free(&j->a);
	end_free(&j->b);
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void turns(int n)
{
	while (n--) {
		turn();
		usleep(200);
	}
}

static void wait_done(struct join *j)
{
	for (int i = 0; i < 2000 && !j->done; i++) {
		turn();
		usleep(500);
	}
	assert_int_equal(j->done, 1);
}

static const enum kind pairs[][2] = {
	{TCP, TCP},   {UNIX, UNIX},   {LWIP, TCP},  {TCP, LWIP},
	{LWIP, LWIP}, {PLAIN, PLAIN}, {PLAIN, TCP},
};

/* Both ways at once; the last byte of each is followed by its end. */
static void bulk(enum kind a, enum kind b, uint64_t up, uint64_t down)
{
	struct join j;
	bool ended_a = false, ended_b = false;

	join_open(&j, a, b);
	for (int idle = 0; !j.done && idle < 5000; idle++) {
		uint64_t before = j.a.got + j.b.got + j.a.sent + j.b.sent;
		end_send(&j.a, up);
		end_send(&j.b, down);
		if (!ended_a && j.a.sent == up) {
			end_finish(&j.a);
			ended_a = true;
		}
		if (!ended_b && j.b.sent == down) {
			end_finish(&j.b);
			ended_b = true;
		}
		turn();
		end_take(&j.a);
		end_take(&j.b);
		if (before != j.a.got + j.b.got + j.a.sent + j.b.sent)
			idle = 0;
		else
			usleep(100);
	}
	for (int i = 0; i < 5000 && !(j.a.saw_end && j.b.saw_end); i++) {
		end_take(&j.a);
		end_take(&j.b);
	}
	assert_int_equal(j.done, 1);
	assert_int_equal(j.res.error, 0);
	assert_int_equal(j.b.got, up);
	assert_int_equal(j.a.got, down);
	assert_int_equal(j.res.a_to_b, up);
	assert_int_equal(j.res.b_to_a, down);
	assert_true(j.a.saw_end && j.b.saw_end);
	join_close(&j);
}

static void bulk_both_ways(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		bulk(pairs[i][0], pairs[i][1], i ? 8 << 20 : 64 << 20,
		     i ? (8 << 20) - 1 : (64 << 20) + 1);
}

static void nothing_at_all(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		bulk(pairs[i][0], pairs[i][1], 0, 0);
}

/* What was already there when they were joined is moved at once, and a result is never told inside
 * the call. */
static void ready_before_the_join(void **state)
{
	(void)state;
	struct join j = {0};

	end_open(&j.a, LWIP);
	end_open(&j.b, LWIP);
	end_send(&j.a, 1000);
	end_finish(&j.a);
	end_finish(&j.b);
	assert_int_equal(relay_join(base, j.a.s, j.b.s, on_done, &j, &j.r), 0);
	assert_int_equal(j.b.f->tx_len, 1000);
	assert_int_equal(j.done, 0);
	turn();
	assert_int_equal(j.done, 1);
	assert_true(j.a.f->closed && j.b.f->closed);
	join_close(&j);
}

/* One direction ends; the other goes on for as long as it likes. */
static void half_close(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs) * 2; i++) {
		struct join j;
		join_open(&j, pairs[i / 2][0], pairs[i / 2][1]);
		struct end *first = i % 2 ? &j.b : &j.a;
		struct end *second = i % 2 ? &j.a : &j.b;

		end_send(first, 100);
		end_finish(first);
		for (int k = 0; k < 2000 && !second->saw_end; k++) {
			turn();
			end_take(second);
			usleep(100);
		}
		assert_int_equal(second->got, 100);
		assert_true(second->saw_end);
		assert_int_equal(j.done, 0);
		end_send(second, 5000);
		for (int k = 0; k < 2000 && first->got < 5000; k++) {
			turn();
			end_take(first);
			usleep(100);
		}
		assert_int_equal(first->got, 5000);
		assert_false(first->saw_end);
		end_finish(second);
		wait_done(&j);
		assert_int_equal(j.res.error, 0);
		join_close(&j);
	}
}

static void socket_reset(int *fd)
{
	struct linger l = {1, 0};

	setsockopt(*fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(*fd);
	*fd = -1;
}

/* A reset on one side is a reset on the other, from either side, whether idle or under
 * back-pressure. */
static void reset_passes_through(void **state)
{
	(void)state;
	static const enum kind resets[][2] = {
		{TCP, TCP}, {TCP, LWIP}, {TCP, PLAIN}, {LWIP, TCP}, {LWIP, LWIP}};

	for (size_t i = 0; i < ARRAY_SIZE(resets) * 2; i++) {
		struct join j;
		bool pressed = i % 2;

		join_open(&j, resets[i / 2][0], resets[i / 2][1]);
		for (int k = 0; k < (pressed ? 400 : 1); k++) {
			end_send(&j.a, UINT64_MAX); /* nobody takes it at b */
			turn();
		}
		if (j.a.f)
			fake_break(j.a.f, -ECONNRESET);
		else
			socket_reset(&j.a.fd);
		wait_done(&j);
		assert_int_equal(j.res.error, -ECONNRESET);
		usleep(1000);
		assert_true(end_was_reset(&j.b));
		join_close(&j);
	}
}

/* Only memory that the sockets and one pipe have: the sender is stopped. And then everything
 * arrives. */
static void slow_reader_stops_the_sender(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct join j;
		uint64_t before = 1;

		join_open(&j, pairs[i][0], pairs[i][1]);
		for (int quiet = 0; quiet < 50;) {
			before = j.a.sent;
			end_send(&j.a, UINT64_MAX);
			turn();
			quiet = j.a.sent == before ? quiet + 1 : 0;
			if (!quiet)
				assert_true(j.a.sent < 64 << 20);
			else
				usleep(200);
		}
		if (j.a.f && j.b.f) /* no socket buffers: it can be told exactly */
			assert_true(j.a.sent <= 2 * FAKE_CAP + 65536);

		/* The other direction is not held up by it. */
		end_send(&j.b, 3000);
		for (int k = 0; k < 2000 && j.a.got < 3000; k++) {
			turn();
			end_take(&j.a);
			usleep(100);
		}
		assert_int_equal(j.a.got, 3000);

		end_finish(&j.a);
		end_finish(&j.b);
		for (int k = 0; k < 20000 && !j.b.saw_end; k++) {
			end_take(&j.b);
			turn();
		}
		assert_int_equal(j.b.got, j.a.sent);
		wait_done(&j);
		assert_int_equal(j.res.error, 0);
		join_close(&j);
	}
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Pipes are held only while bytes wait in them. */
static void idle_joins_hold_no_pipe(void **state)
{
	(void)state;
	enum { N = 40 };
	static struct join j[N];
	unsigned before = open_fds();

	for (int i = 0; i < N; i++) {
		join_open(&j[i], UNIX, UNIX);
		end_send(&j[i].a, 1000);
	}
	turns(20);
	assert_in_range(open_fds() - before, 4 * N, 4 * N + 2 * PIPE_POOL);
	for (int i = 0; i < N; i++) {
		end_take(&j[i].b);
		assert_int_equal(j[i].b.got, 1000);
		join_close(&j[i]);
	}
}

/* No descriptor left for a pipe: copied instead. */
static void no_descriptors_for_pipes(void **state)
{
	(void)state;
	struct join j;
	struct rlimit old, none;
	struct pipe_pair pooled[PIPE_POOL];

	join_open(&j, UNIX, UNIX);
	for (int i = 0; i < PIPE_POOL; i++)
		assert_int_equal(pipe_get(&pooled[i]), 0);
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	for (int i = 0; i < 2000 && j.b.got < 1 << 20; i++) {
		end_send(&j.a, 1 << 20);
		turn();
		end_take(&j.b);
	}
	setrlimit(RLIMIT_NOFILE, &old);
	for (int i = 0; i < PIPE_POOL; i++)
		pipe_put(&pooled[i]);
	assert_int_equal(j.b.got, 1 << 20);
	join_close(&j);
}

/* While one flow has endless work, another is served every turn. */
static void a_budget_per_turn(void **state)
{
	(void)state;
	static uint8_t buf[1 << 20];
	struct join busy, other;

	join_open(&busy, LWIP, LWIP);
	join_open(&other, UNIX, UNIX);
	for (int i = 0; i < 50; i++) {
		end_send(&busy.a, UINT64_MAX);
		end_take(&busy.b);
		end_send(&other.a, other.a.sent + 1);
		turn();
		turn();
		assert_int_equal(read(other.b.fd, buf, sizeof(buf)), 1);
	}
	join_close(&busy);
	join_close(&other);

	/* Much more than the budget waits at the source: one turn takes about the budget. */
	struct join j = {0};
	int size = 8 << 20;
	uint64_t sent = 0, before = 1;
	end_open(&j.a, UNIX);
	end_open(&j.b, UNIX);
	setsockopt(j.a.fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(j.b.s->ops->fd(j.b.s), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	while (before != j.a.sent) {
		before = j.a.sent;
		end_send(&j.a, UINT64_MAX);
	}
	if (j.a.sent > 4 * RELAY_BUDGET) { /* root only */
		assert_int_equal(relay_join(base, j.a.s, j.b.s, on_done, &j, &j.r), 0);
		for (ssize_t n; (n = read(j.b.fd, buf, sizeof(buf))) > 0;)
			sent += (uint64_t)n;
		assert_in_range(sent, 1, RELAY_BUDGET + PIPE_SIZE);
		join_close(&j);
	} else {
		j.a.s->ops->close(j.a.s);
		j.b.s->ops->close(j.b.s);
		join_close(&j);
	}
}

/* A stream that calls back from inside its own operation must not pull the join away under itself.
 */
static void callbacks_from_inside(void **state)
{
	(void)state;
	struct join j;

	join_open(&j, LWIP, LWIP);
	j.a.f->nag = j.b.f->nag = true;
	end_send(&j.a, 50000);
	end_send(&j.b, 40000);
	end_finish(&j.a);
	end_finish(&j.b);
	for (int i = 0; i < 100 && !j.done; i++)
		turn();
	assert_int_equal(j.done, 1);
	assert_int_equal(j.res.a_to_b, 50000);
	assert_int_equal(j.res.b_to_a, 40000);
	join_close(&j);
}

static void errors_of_operations(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		for (int kind = LWIP; kind <= PLAIN; kind++) {
			struct join j;

			join_open(&j, (enum kind)kind, (enum kind)kind);
			(side ? j.b : j.a).f->fail = -ETIMEDOUT;
			end_send(&j.a, 10);
			wait_done(&j);
			assert_int_equal(j.res.error, -ETIMEDOUT);
			assert_true(j.a.f->aborted && j.b.f->aborted);
			join_close(&j);
		}
	}
}

static void abort_tells_nobody(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct join j;

		join_open(&j, pairs[i][0], pairs[i][1]);
		end_send(&j.a, 1000);
		turn();
		end_send(&j.a, 2000);
		relay_abort(j.r);
		j.r = NULL;
		turns(3);
		assert_int_equal(j.done, 0);
		if (j.b.f)
			assert_true(j.b.f->aborted);
		join_close(&j);
	}
}

/* `done` frees what it was given; nothing of the join is touched after. */
static void free_all(void *arg, const struct relay_result *res)
{
	struct join **jp = arg;

	assert_int_equal(res->error, 0);
	end_free(&(*jp)->a);
	end_free(&(*jp)->b);
	free(*jp);
	*jp = NULL;
}

static void free_in_done(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct join *j = calloc(1, sizeof(*j));

		end_open(&j->a, pairs[i][0]);
		end_open(&j->b, pairs[i][1]);
		assert_int_equal(relay_join(base, j->a.s, j->b.s, free_all, &j, &j->r), 0);
		end_finish(&j->a);
		end_finish(&j->b);
		for (int k = 0; k < 2000 && j; k++) {
			turn();
			usleep(100);
		}
		assert_null(j);
	}
}

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

/* One end's next move, by chance: sends a little, takes, ends, or changes how much room it has. */
static void random_move(struct end *e, uint64_t total, bool *ended, uint32_t *x)
{
	uint64_t until = e->sent + next_random(x) % 30000;

	switch (next_random(x) % 8) {
	case 0:
	case 1:
	case 2:
		end_send(e, MIN(total, until));
		break;
	case 3:
		if (e->sent == total && !*ended) {
			*ended = true;
			end_finish(e);
		}
		break;
	case 4:
		if (e->f && !e->f->closed && !e->f->aborted)
			e->f->tx_room = MAX(e->f->tx_len, (size_t)(until % FAKE_CAP));
		break;
	default:
		end_take(e);
	}
}

/* Whatever the ends do and in whatever order: all bytes, in order, both ends told. */
static void random_runs(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 1000; seed++) {
		uint32_t x = seed * 2654435761u;
		const enum kind *kinds = pairs[next_random(&x) % ARRAY_SIZE(pairs)];
		uint64_t up = next_random(&x) % 200000, down = next_random(&x) % 200000;
		bool ended_a = false, ended_b = false;
		struct join j;

		join_open(&j, kinds[0], kinds[1]);
		for (int i = 0; i < 50000 && !(j.a.saw_end && j.b.saw_end); i++) {
			random_move(&j.a, up, &ended_a, &x);
			random_move(&j.b, down, &ended_b, &x);
			if (next_random(&x) % 2)
				turn();
		}
		turns(j.done ? 0 : 3);
		if (!j.done || j.res.error || j.b.got != up || j.a.got != down ||
		    j.res.a_to_b != up || j.res.b_to_a != down)
			fail_msg("seed %u, kinds %d %d: done %u, error %d, %llu of %llu up, "
				 "%llu of %llu down",
				 seed, (int)kinds[0], (int)kinds[1], j.done, j.res.error,
				 (unsigned long long)j.b.got, (unsigned long long)up,
				 (unsigned long long)j.a.got, (unsigned long long)down);
		join_close(&j);
	}
}

static int setup(void **state)
{
	(void)state;
	uint32_t x = 2463534242;

	for (size_t i = 0; i < PATTERN; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		pattern[i] = (uint8_t)x;
	}
	memcpy(pattern + PATTERN, pattern, sizeof(pattern) - PATTERN);
	base = event_base_new();
	return base ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bulk_both_ways),
		cmocka_unit_test(nothing_at_all),
		cmocka_unit_test(ready_before_the_join),
		cmocka_unit_test(half_close),
		cmocka_unit_test(reset_passes_through),
		cmocka_unit_test(slow_reader_stops_the_sender),
		cmocka_unit_test(idle_joins_hold_no_pipe),
		cmocka_unit_test(no_descriptors_for_pipes),
		cmocka_unit_test(a_budget_per_turn),
		cmocka_unit_test(callbacks_from_inside),
		cmocka_unit_test(errors_of_operations),
		cmocka_unit_test(abort_tells_nobody),
		cmocka_unit_test(free_in_done),
		cmocka_unit_test(random_runs),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
