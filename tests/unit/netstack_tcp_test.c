/* SPDX-License-Identifier: Apache-2.0 */
/* TCP between two netstacks: streams, refusals, weather, bounds, memory. */
#include "netstack_pair.h"

/* --- a client that sends `send` bytes of the pattern, ends, and reads to the end --- */

struct client {
	struct host *h;
	struct stream *s;
	uint64_t send, sent, got, sent_hash, got_hash;
	uint8_t tail[16];
	bool done;
	int error;
	unsigned slow; /* reads only every so often */
};

static void client_done(struct client *c)
{
	c->done = true;
	event_base_loopbreak(c->h->base);
}

static void client_write(struct client *c)
{
	uint8_t buf[30011];

	while (c->sent < c->send) {
		size_t len = (size_t)MIN(sizeof(buf), c->send - c->sent);
		pattern(buf, c->sent, len);
		ssize_t n = stream_write(c->s, buf, len);
		if (n < 0) {
			assert_int_equal(n, -EAGAIN);
			return;
		}
		c->sent_hash = roll(c->sent_hash, buf, (size_t)n);
		c->sent += (uint64_t)n;
	}
	c->s->ops->shutdown(c->s);
	c->s->ops->want(c->s, STREAM_READABLE);
}

static void client_read(struct client *c)
{
	uint8_t buf[20000];
	ssize_t n;

	while ((n = stream_read(c->s, buf, sizeof(buf))) > 0) {
		c->got_hash = roll(c->got_hash, buf, (size_t)n);
		c->got += (uint64_t)n;
		if ((size_t)n >= sizeof(c->tail))
			memcpy(c->tail, buf + n - sizeof(c->tail), sizeof(c->tail));
	}
	if (n == 0) {
		c->s->ops->close(c->s);
		client_done(c);
	} else {
		assert_int_equal(n, -EAGAIN);
	}
}

static void client_event(struct stream *s, unsigned ev, void *arg)
{
	struct client *c = arg;

	assert_ptr_equal(s, c->s);
	assert_false(c->done);
	if (ev & STREAM_ERROR) {
		c->error = s->error;
		s->ops->abort(s);
		client_done(c);
		return;
	}
	if (ev & STREAM_WRITABLE)
		client_write(c);
	if (ev & STREAM_READABLE)
		client_read(c);
}

static void client_run(struct client *c, struct host *h, int v6, uint16_t port, uint64_t send,
		       unsigned seconds)
{
	*c = (struct client){.h = h, .send = send};
	c->s = dial(h, v6, port, 5 * NSEC_PER_SEC);
	stream_set(c->s, client_event, c);
	c->s->ops->want(c->s, STREAM_READABLE | STREAM_WRITABLE);
	for (nsec_t end = clock_boot() + seconds * NSEC_PER_SEC; !c->done && clock_boot() < end;)
		run_ms(h, 1000);
	assert_true(c->done);
}

/* --- tests --- */

static void both_ways(struct weather w, uint64_t bytes, unsigned seconds)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct pair p;
		struct client c;
		pair_start(&p, w);
		nsec_t start = clock_boot();
		client_run(&c, &p.near, v6, PORT_ECHO, bytes, seconds);
		double s = (double)(clock_boot() - start) / 1e9;
		struct report r = far_ask(&p);
		const struct netstack_stats *st = netstack_stats(p.near.ns);
		print_message("  IPv%d echo: %.1f MiB each way in %.2f s; super-packets %lu, "
			      "retransmits %lu + %lu, lost %u + %u\n",
			      v6 ? 6 : 4, (double)bytes / 1048576, s, (unsigned long)st->tx_super,
			      (unsigned long)st->retransmits, (unsigned long)r.stats.retransmits,
			      p.near.lost, r.lost);
		assert_int_equal(c.error, 0);
		assert_int_equal(c.got, bytes);
		assert_int_equal(c.got_hash, c.sent_hash);
		if (w.queue)
			assert_int_equal(p.near.lost + r.lost, 0);
		pair_stop(&p);
	}
}

/* The window is larger than the queue, so it would overflow if nobody asked. */
static void test_full_queue(void **state)
{
	(void)state;
	both_ways((struct weather){.queue = 1 << 20, .delay_ms = 5}, BULK, 60);
}

static void test_bulk(void **state)
{
	(void)state;
	both_ways((struct weather){0}, BULK, 60);
}

static void test_lossy(void **state)
{
	(void)state;
	both_ways((struct weather){.loss = 10, .reorder = 20}, LOSSY_BYTES, 60);
}

static void test_lossy_far(void **state)
{
	(void)state;
	both_ways((struct weather){.loss = 20, .reorder = 5, .delay_ms = 10}, LOSSY_BYTES / 2, 60);
}

static void test_half_close(void **state)
{
	struct pair p;
	struct client c;
	uint64_t answer[2];

	(void)state;
	pair_start(&p, (struct weather){0});
	/* The answer comes after our end: our direction is closed, theirs open. */
	client_run(&c, &p.near, 0, PORT_SINK, 300000, 20);
	assert_int_equal(c.error, 0);
	assert_int_equal(c.got, 16);
	memcpy(answer, c.tail, 16);
	assert_int_equal(answer[0], 300000);
	assert_int_equal(answer[1], c.sent_hash);
	/* The other way round: they end at once after the last byte. */
	client_run(&c, &p.near, 1, PORT_SOURCE, 0, 20);
	assert_int_equal(c.got, SOURCE_BYTES);
	uint8_t want[16];
	pattern(want, SOURCE_BYTES - 16, 16);
	assert_memory_equal(c.tail, want, 16);
	pair_stop(&p);
}

static void test_refusals(void **state)
{
	static const struct {
		uint16_t port;
		int error;
	} cases[] = {{PORT_REFUSED, -ECONNREFUSED},
		     {PORT_UNREACHABLE, -EHOSTUNREACH},
		     {PORT_PROHIBITED, -EACCES},
		     {PORT_RESET, -ECONNRESET}};
	struct pair p;

	(void)state;
	pair_start(&p, (struct weather){0});
	for (int v6 = 0; v6 < 2; v6++)
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			struct client c;
			client_run(&c, &p.near, v6, cases[i].port, 100, 10);
			assert_int_equal(c.error, cases[i].error);
		}
	pair_stop(&p);
}

/* Both ends stand still for longer than the time-out, as in a guest that is moved: nobody has been silent. */
static void test_timeout_while_standing_still(void **state)
{
	struct pair p;

	(void)state;
	pair_start(&p, (struct weather){0});
	far_ask(&p); /* it runs */
	kill(p.child, SIGSTOP);
	assert_int_equal(waitpid(p.child, NULL, WUNTRACED), p.child);
	struct client c = {.h = &p.near};
	c.s = dial(&p.near, 0, PORT_LATER, 600 * NSEC_PER_MSEC);
	stream_set(c.s, client_event, &c);
	c.s->ops->want(c.s, STREAM_WRITABLE);
	usleep(700 * 1000);
	kill(p.child, SIGCONT);
	run_ms(&p.near, 3000);
	assert_int_equal(c.error, 0);
	assert_true(c.done);
	pair_stop(&p);
}

static void test_timeout_cancels(void **state)
{
	static const uint16_t ports[] = {PORT_SILENT, PORT_PENDING};
	struct pair p;

	(void)state;
	pair_start(&p, (struct weather){0});
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
		struct client c = {.h = &p.near};
		c.s = dial(&p.near, 0, ports[i], 300 * NSEC_PER_MSEC);
		stream_set(c.s, client_event, &c);
		run_ms(&p.near, 3000);
		assert_true(c.done);
		assert_int_equal(c.error, -ETIMEDOUT);
	}
	run_ms(&p.near, 100);
	/* The record of the pending dial went by our reset. */
	struct report r = far_ask(&p);
	assert_int_equal(r.syns, 2);
	assert_int_equal(r.cancels, 1);
	assert_int_equal(r.stats.syns, 0);
	/* A slow dial is one dial, however often the SYN is repeated. */
	struct client c;
	client_run(&c, &p.near, 1, PORT_LATER, 1000, 10);
	assert_int_equal(c.got, 1000);
	assert_int_equal(far_ask(&p).syns, 3);
	pair_stop(&p);
}

/* --- many connections, bounds, memory --- */

struct crowd {
	struct stream *s;
	unsigned *open;
	int error;
};

static void crowd_event(struct stream *s, unsigned ev, void *arg)
{
	struct crowd *c = arg;

	if (ev & STREAM_ERROR)
		c->error = s->error;
	else
		++*c->open;
	s->ops->want(s, 0);
}

static void crowd_dial(struct crowd *crowd, unsigned n, struct host *h, uint16_t port,
		       unsigned *open)
{
	for (unsigned i = 0; i < n; i++) {
		crowd[i] = (struct crowd){.s = dial(h, (int)i & 1, port, 20 * NSEC_PER_SEC),
					  .open = open};
		stream_set(crowd[i].s, crowd_event, &crowd[i]);
		crowd[i].s->ops->want(crowd[i].s, STREAM_WRITABLE);
	}
}

static void test_many(void **state)
{
	enum { N = 2000 };
	struct crowd *crowd = calloc(N, sizeof(*crowd));
	unsigned open = 0;
	struct pair p;

	(void)state;
	pair_start(&p, (struct weather){0});
	const struct netstack_stats *st = netstack_stats(p.near.ns);
	crowd_dial(crowd, N, &p.near, PORT_ECHO, &open);
	for (int i = 0; i < 100 && open < N; i++)
		run_ms(&p.near, 50);
	assert_int_equal(open, N);
	assert_int_equal(st->conns, N);
	assert_int_equal(far_ask(&p).stats.conns, N);
	/* An idle connection holds no buffers. */
	assert_int_equal(st->memory, 0);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(stream_write(crowd[i].s, "x", 1), 1);
		if (i % 3)
			crowd[i].s->ops->close(crowd[i].s);
		else
			crowd[i].s->ops->abort(crowd[i].s);
	}
	/* 2 MSL of TIME-WAIT */
	for (int i = 0; i < 100 && st->conns; i++)
		run_ms(&p.near, 50);
	struct report r = far_ask(&p);
	assert_int_equal(st->conns, 0);
	assert_int_equal(r.stats.conns, 0);
	assert_int_equal(r.stats.memory, 0);
	assert_int_equal(st->memory, 0);
	pair_stop(&p);
	free(crowd);
}

static void test_limits(void **state)
{
	enum { N = 600, CONNS = 20 };
	struct crowd *crowd = calloc(N, sizeof(*crowd));
	unsigned open = 0;
	struct pair p;

	(void)state;
	pair_start_limits(&p, (struct weather){0}, &(struct netstack_limits){.conns = CONNS});
	crowd_dial(crowd, CONNS + 5, &p.near, PORT_ECHO, &open);
	run_ms(&p.near, 300);
	struct report r = far_ask(&p);
	assert_int_equal(open, CONNS);
	assert_int_equal(r.stats.conns, CONNS);
	assert_true(r.stats.drops[NS_DROP_CONN_LIMIT] >= 5);
	for (int i = 0; i < CONNS + 5; i++)
		crowd[i].s->ops->abort(crowd[i].s);
	run_ms(&p.near, 100);
	assert_int_equal(far_ask(&p).stats.conns, 0);

	crowd_dial(crowd, N, &p.near, PORT_PENDING, &open);
	run_ms(&p.near, 300);
	r = far_ask(&p);
	assert_int_equal(r.stats.syns, NETSTACK_SYN_PER_PEER);
	assert_true(r.stats.drops[NS_DROP_SYN_LIMIT] >= N - NETSTACK_SYN_PER_PEER);
	for (int i = 0; i < N; i++)
		crowd[i].s->ops->abort(crowd[i].s);
	run_ms(&p.near, 100);
	assert_int_equal(far_ask(&p).stats.syns, 0);
	pair_stop(&p);
	free(crowd);
}

/* Back-pressure: a peer who does not read stops the writer, with bounded memory on both sides. */
static void test_deaf(void **state)
{
	static uint8_t buf[64 << 10];
	struct pair p;
	size_t total = 0;

	(void)state;
	pair_start(&p, (struct weather){0});
	struct crowd c = {.open = &(unsigned){0}};
	c.s = dial(&p.near, 0, PORT_DEAF, 5 * NSEC_PER_SEC);
	stream_set(c.s, crowd_event, &c);
	for (int i = 0; i < 100; i++) {
		ssize_t n;
		while ((n = stream_write(c.s, buf, sizeof(buf))) > 0)
			total += (size_t)n;
		assert_int_equal(n, -EAGAIN);
		run_ms(&p.near, 5);
	}
	struct report r = far_ask(&p);
	assert_true(total >= 128 << 10);
	assert_true(r.stats.memory <= 128 << 10);
	assert_true(netstack_stats(p.near.ns)->memory <= 2 << 20);
	assert_int_equal(c.error, 0);
	/* Who goes with unread bytes: all memory comes back. */
	c.s->ops->abort(c.s);
	run_ms(&p.near, 100);
	r = far_ask(&p);
	assert_int_equal(r.stats.conns, 0);
	assert_int_equal(netstack_stats(p.near.ns)->memory, 0);
	pair_stop(&p);
}

/* With a budget of 256 KiB for all, everything still arrives. */
static void test_little_memory(void **state)
{
	struct pair p;
	struct client c;

	(void)state;
	pair_start_limits(&p, (struct weather){0}, &(struct netstack_limits){.memory = 256 << 10});
	client_run(&c, &p.near, 0, PORT_ECHO, 8 << 20, 60);
	assert_int_equal(c.error, 0);
	assert_int_equal(c.got_hash, c.sent_hash);
	assert_int_equal(c.got, 8 << 20);
	/* our last ACKs are still on their way */
	for (int i = 0; i < 40 && far_ask(&p).stats.memory; i++)
		run_ms(&p.near, 50);
	assert_int_equal(far_ask(&p).stats.memory, 0);
	pair_stop(&p);
}

static void test_forget_peer(void **state)
{
	struct crowd c = {.open = &(unsigned){0}};
	struct pair p;

	(void)state;
	pair_start(&p, (struct weather){0});
	c.s = dial(&p.near, 1, PORT_ECHO, 5 * NSEC_PER_SEC);
	stream_set(c.s, crowd_event, &c);
	c.s->ops->want(c.s, STREAM_WRITABLE);
	run_ms(&p.near, 50);
	assert_int_equal(*c.open, 1);
	netstack_forget_peer(p.near.ns, &p.near);
	assert_int_equal(c.error, 0); /* not from within the call */
	run_ms(&p.near, 50);
	assert_int_equal(c.error, -ECONNRESET);
	c.s->ops->abort(c.s);
	assert_int_equal(netstack_stats(p.near.ns)->conns, 0);
	assert_int_equal(far_ask(&p).stats.conns, 0);
	pair_stop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_deaf),
		cmocka_unit_test(test_little_memory),
		cmocka_unit_test(test_forget_peer),
		cmocka_unit_test(test_bulk),
		cmocka_unit_test(test_full_queue),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_timeout_cancels),
		cmocka_unit_test(test_timeout_while_standing_still),
		cmocka_unit_test(test_lossy),
		cmocka_unit_test(test_lossy_far),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
