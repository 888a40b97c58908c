/* SPDX-License-Identifier: Apache-2.0 */
/* What waits in the splitter for who does not take it: how much, and who pays when it is too much. */
#include "http/h2_internal.h"
#include "tests/unit/http_h2_world.h"

/* Streams to one that reads nothing do not hold up those to the other, and what waits for it is bounded. */
static void test_one_stands_the_others_go(void **unused)
{
	size_t there = 0;

	(void)unused;
	world_start(1);
	server_l.frozen = true;
	for (unsigned i = 0; i < 50; i++)
		call_send(call_new('l', 5 << 20), "POST", NULL);
	world_run(60000);
	for (unsigned i = 0; i < 50; i++) {
		assert_false(calls[i].closed);
		there += calls[i].sent;
		/* Our window, and the server's. */
		assert_true(calls[i].sent <= H2_WINDOW + (64 << 10));
	}
	assert_true(there >= 50 * (size_t)H2_WINDOW);
	for (unsigned i = 0; i < 40; i++)
		call_send(call_new('a', 300000), "POST", NULL);
	world_run(60000);
	for (unsigned i = 50; i < ncalls; i++)
		call_was_good(&calls[i]);
	world_stop();
}

/* What other connections have waiting. */
static void fill(struct h2_queue *q, size_t len)
{
	cleanup(free_ptr) uint8_t *zeros = calloc(1, len);

	assert_non_null(zeros);
	assert_int_equal(h2_queue_put(q, zeros, len, 0), 0);
	assert_true(h2_queued() >= len);
}

/* From H2_BUFFERED_HIGH on what waits at one client has the connection's window as its bound, and others that move go on. */
static void test_much_waits(void **unused)
{
	struct h2_queue others = {.len = 0};
	size_t there = 0;

	(void)unused;
	fill(&others, 32 << 20);
	world_start(1);
	server_l.frozen = true;
	for (unsigned i = 0; i < 50; i++)
		call_send(call_new('l', 5 << 20), "POST", NULL);
	world_run(60000);
	for (unsigned i = 0; i < 50; i++)
		there += calls[i].sent;
	/* And what the server has in its window. */
	assert_true(there <= H2_WINDOW_CONNECTION + (64 << 10));
	assert_true(h2_queued() <= H2_BUFFERED_MAX);
	assert_int_equal(h2_counts(h2)->overflows, 0);
	world_stop();
	h2_queue_free(&others);
	assert_int_equal(h2_queued(), 0);
}

/* H2_BUFFERED_MAX is never passed: where nobody else's stream can end it is that which brings more. The connection goes on. */
static void test_too_much_waits(void **unused)
{
	struct h2_queue others = {.len = 0}, more = {.len = 0};

	(void)unused;
	fill(&others, 32 << 20);
	fill(&more, 8 << 20);
	world_start(1);
	call_send(call_new('a', 300000), "POST", NULL);
	world_run(60000);
	assert_true(h2_queued() <= H2_BUFFERED_MAX);
	assert_true(calls[0].closed);
	assert_int_equal(calls[0].status, 503);
	assert_non_null(strstr(calls[0].text, "has no room for more"));
	assert_int_equal(answered, 503);
	assert_true(!calls[0].sid || calls[0].scode == NGHTTP2_CANCEL);
	h2_queue_free(&more);
	call_send(call_new('a', 300000), "POST", NULL);
	world_run(60000);
	call_was_good(&calls[1]);
	assert_int_equal(h2_counts(h2)->overflows, 1);
	h2_queue_free(&others);
	world_stop();
}

/* In the middle of an answer, and of a request. */
static void test_too_much_waits_within_an_answer(void **unused)
{
	struct h2_queue others = {.len = 0}, more = {.len = 0};
	struct call *c;

	(void)unused;
	world_start(1);
	client.frozen = true;
	c = call_new('l', 3 << 20);
	call_send(c, "POST", NULL);
	while (c->sgot < 200000) {
		struct peer *peers[] = {&client, &server_l};

		move(peers[roll(2)], roll(4), 60000);
	}
	assert_int_equal(c->status, 207);
	fill(&others, 32 << 20);
	fill(&more, 4 << 20);
	fill(&more, 4 << 20);
	world_run(60000);
	assert_true(c->closed);
	assert_int_equal(c->code, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(c->scode, NGHTTP2_CANCEL);
	assert_int_equal(h2_streams(h2), 0);
	assert_int_equal(h2_counts(h2)->overflows, 1);
	world_stop();
	h2_queue_free(&others);
	h2_queue_free(&more);
	assert_int_equal(h2_queued(), 0);
}

/* To `room` bytes below H2_BUFFERED_MAX. */
static void fill_up(struct h2_queue others[static 16], size_t room)
{
	for (unsigned i = 0; i < 16; i++) {
		size_t size = (size_t)64 << 20 >> i;

		others[i] = (struct h2_queue){.len = 0};
		if (h2_queued() + size + room <= H2_BUFFERED_MAX)
			fill(&others[i], size);
	}
}

static void fill_down(struct h2_queue others[static 16])
{
	for (unsigned i = 0; i < 16; i++)
		h2_queue_free(&others[i]);
}

/* Too much waits: streams that stand pay for it, as many as it takes, and those that move go on. */
static void standing_pays(bool silent)
{
	unsigned ended = 0, first = 0;
	struct h2_queue others[16];

	world_start(1);
	server_l.frozen = true;
	server_l.silent = silent;
	for (unsigned i = 0; i < 20; i++)
		call_send(call_new('l', 5 << 20), "POST", NULL);
	world_run(60000);
	fill_up(others, 0);
	for (unsigned i = 0; i < 20; i++) {
		call_send(call_new('a', 300000), "POST", NULL);
		world_run(60000);
	}
	for (unsigned i = 0; i < 20; i++) {
		ended += calls[i].closed;
		first += calls[i].closed && calls[i].status == 503;
		assert_true(!calls[i].closed || silent ||
			    calls[i].code == NGHTTP2_ENHANCE_YOUR_CALM);
		call_was_good(&calls[20 + i]);
	}
	assert_true(ended > 0 && ended < 20);
	assert_int_equal(first, silent ? ended : 0);
	assert_int_equal(h2_counts(h2)->overflows, ended);
	assert_int_equal(disturbed, 0);
	fill_down(others);
	world_stop();
	assert_int_equal(h2_queued(), 0);
}

static void test_who_stands_pays(void **unused)
{
	(void)unused;
	standing_pays(true);
	standing_pays(false);
}

/* Small ones that stand do not pay for large ones that have not stood as long. */
static void test_small_ones_do_not_pay(void **unused)
{
	enum { SMALL = 20, LARGE = 20, MOVERS = 20 };
	struct h2_queue others[16];
	unsigned ended = 0;

	(void)unused;
	world_start(1);
	server_l.frozen = server_l.silent = true;
	call_send(call_new('l', 5 << 20), "POST", NULL); /* closes the window for all after it */
	world_run(60000);
	for (unsigned i = 0; i < SMALL; i++)
		call_send(call_new('l', 10), "POST", NULL);
	world_run(60000);
	for (unsigned i = 0; i < LARGE; i++)
		call_send(call_new('l', 5 << 20), "POST", NULL);
	world_run(60000);
	fill_up(others, 0);
	for (unsigned i = 0; i < MOVERS; i++) {
		call_send(call_new('a', 300000), "POST", NULL);
		world_run(60000);
		call_was_good(&calls[1 + SMALL + LARGE + i]);
	}
	for (unsigned i = 1; i <= SMALL; i++)
		assert_false(calls[i].closed);
	for (unsigned i = SMALL + 1; i <= SMALL + LARGE; i++)
		ended += calls[i].closed;
	assert_true(ended > 0);
	fill_down(others);
	world_stop();
	assert_int_equal(h2_queued(), 0);
}

/* All that is one connection's, while another one has its turn. */
struct side {
	struct call calls[CALLS];
	unsigned ncalls;
	struct h2 *h2;
	struct peer client, server_a, server_l;
};

static void swap_sides(struct side *to)
{
	static struct side from;

	memcpy(from.calls, calls, sizeof(calls));
	memcpy(calls, to->calls, sizeof(calls));
	from.ncalls = ncalls;
	from.h2 = h2;
	from.client = client;
	from.server_a = server_a;
	from.server_l = server_l;
	ncalls = to->ncalls;
	h2 = to->h2;
	client = to->client;
	server_a = to->server_a;
	server_l = to->server_l;
	*to = from;
}

/* Of another connection, too: it is told, and goes on. */
static void test_who_stands_on_another_connection_pays(void **unused)
{
	static struct side other;
	struct h2_queue others[16];
	unsigned ended = 0;

	(void)unused;
	world_start(1);
	server_l.frozen = server_l.silent = true;
	for (unsigned i = 0; i < 20; i++)
		call_send(call_new('l', 5 << 20), "POST", NULL);
	world_run(60000);
	fill_up(others, 0);
	memset(&other, 0, sizeof(other));
	swap_sides(&other);
	world_start(2);
	for (unsigned i = 0; i < 20; i++) {
		call_send(call_new('a', 300000), "POST", NULL);
		world_run(60000);
		call_was_good(&calls[i]);
	}
	assert_int_equal(h2_counts(h2)->overflows, 0);
	assert_true(disturbed > 0);
	world_stop();
	swap_sides(&other);
	assert_true(h2_has_output(client.end));
	call_send(call_new('a', 300000), "POST", NULL);
	world_run(60000);
	for (unsigned i = 0; i < 20; i++)
		ended += calls[i].closed && calls[i].status == 503;
	assert_int_equal(ended, disturbed);
	assert_true(ended < 20);
	call_was_good(&calls[20]);
	assert_int_equal(h2_counts(h2)->overflows, ended);
	fill_down(others);
	world_stop();
	assert_int_equal(h2_queued(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_stands_the_others_go),
		cmocka_unit_test(test_much_waits),
		cmocka_unit_test(test_too_much_waits),
		cmocka_unit_test(test_who_stands_pays),
		cmocka_unit_test(test_small_ones_do_not_pay),
		cmocka_unit_test(test_who_stands_on_another_connection_pays),
		cmocka_unit_test(test_too_much_waits_within_an_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
