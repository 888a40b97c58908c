/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP/2 splitter between nghttp2 clients and servers. */
#include "tests/unit/http_h2_world.h"

/* Many calls at once, to both, with everything that is to be kept. */
static void sim(uint64_t seed)
{
	world_start(seed);
	tag = seed % 2 ? "ana@laptop" : NULL;
	for (unsigned i = 0, n = 1 + roll(40); i < n; i++) {
		struct call *c = call_new(roll(2) ? 'a' : 'l', roll(3) ? roll(3000) : roll(600000));

		call_fields(c);
		c->trailers = roll(3) == 0;
		c->interim = roll(4) == 0;
		call_send(c, "POST", NULL);
		if (roll(3) == 0)
			world_run(1 + roll(60000));
	}
	world_run(1 + roll(3000));
	for (unsigned i = 0; i < ncalls; i++) {
		call_was_good(&calls[i]);
		assert_int_equal(calls[i].tagged, tag != NULL);
	}
	assert_int_equal(gone, ncalls);
	assert_int_equal(h2_streams(h2), 0);
	assert_int_equal(h2_counts(h2)->streams, ncalls);
	world_stop();
}

static void test_all_that_is_kept(void **unused)
{
	(void)unused;
	for (uint64_t seed = 1; seed <= 60; seed++)
		sim(seed);
}

/* Either side gives up on some calls in the middle; the other learns the code, the rest goes on. */
static void test_resets_keep_their_codes(void **unused)
{
	(void)unused;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		world_start(seed);
		for (unsigned i = 0; i < 20; i++) {
			struct call *c = call_new(roll(2) ? 'a' : 'l', 500000);

			call_send(c, "POST", NULL);
		}
		for (unsigned i = 0; i < 3000; i++) {
			struct peer *peers[] = {&client, &server_a, &server_l};

			move(peers[roll(3)], roll(4), 4000);
		}
		for (unsigned i = 0; i < ncalls; i++) {
			struct call *c = &calls[i];

			if (i % 3 == 0 && !c->closed)
				nghttp2_submit_rst_stream(client.session, 0, c->id, 70 + i);
			else if (i % 3 == 1 && c->sid && !c->sclosed)
				nghttp2_submit_rst_stream(c->server->session, 0, c->sid, 70 + i);
		}
		world_run(5000);
		for (unsigned i = 0; i < ncalls; i++) {
			struct call *c = &calls[i];

			assert_true(c->closed);
			assert_true(!c->sid || c->sclosed);
			if (c->code == 0)
				call_was_good(c);
			else
				assert_int_equal(c->code, 70 + i);
			if (c->scode)
				assert_int_equal(c->scode, 70 + i);
			assert_true(i % 3 != 2 || c->code == 0);
		}
		assert_int_equal(h2_streams(h2), 0);
		world_stop();
	}
}

static void test_answers_without_body(void **unused)
{
	(void)unused;
	world_start(1);
	for (unsigned i = 0; i < 10; i++) {
		struct call *c = call_new('a', i % 2 ? 0 : 1000);

		c->head_only = true;
		call_fields(c);
		call_send(c, i % 3 ? "HEAD" : "POST", NULL);
	}
	world_run(100);
	for (unsigned i = 0; i < ncalls; i++)
		call_was_good(&calls[i]);
	world_stop();
}

/* A server that takes one stream at a time gets them one by one. */
static void test_servers_own_limit(void **unused)
{
	(void)unused;
	world_start(1);
	peer_stop(&server_a);
	peer_start(&server_a, 'a', 1);
	for (unsigned i = 0; i < 30; i++)
		call_send(call_new('a', 20000), "POST", NULL);
	world_run(5000);
	for (unsigned i = 0; i < ncalls; i++)
		call_was_good(&calls[i]);
	world_stop();
}

/* --- legs that end --------------------------------------------------------------------------------------------------------- */

static void leg_ends(struct peer *p)
{
	struct h2_end *end = p->end;

	p->end = NULL;
	if (reconnects) {
		peer_stop(p);
		peer_start(p, p->name, 100);
	}
	h2_leg_free(end);
}

static void test_leg_dies(void **unused)
{
	(void)unused;
	world_start(1);
	server_l.silent = true;
	call_send(call_new('l', 0), "GET", NULL);
	call_send(call_new('l', 1000), "POST", NULL);
	call_send(call_new('l', 1000), "POST", "application/grpc+proto");
	call_send(call_new('a', 1000), "POST", NULL);
	world_run(1000);
	assert_int_equal(server_l.requests, 3);
	reconnects = true;
	leg_ends(&server_l);
	world_run(1000);
	/* Whole: again. Else an answer that its client understands. */
	call_was_good(&calls[0]);
	assert_int_equal(calls[1].status, 502);
	assert_string_equal(calls[1].text, "it broke\n");
	assert_int_equal(calls[2].status, 200);
	assert_string_equal(calls[2].grpc_status, "14");
	assert_string_equal(calls[2].grpc_message, "it broke");
	call_was_good(&calls[3]);
	assert_int_equal(lost[H2_LOST_BROKEN], 3);
	world_stop();
}

/* RFC 9110, 9.2.2: the leg may have done it, so only what may be done twice is. */
static void test_leg_dies_with_a_request_that_must_not_be_repeated(void **unused)
{
	(void)unused;
	world_start(1);
	server_l.silent = true;
	call_send(call_new('l', 0), "POST", NULL);
	call_send(call_new('l', 0), "DELETE", NULL);
	world_run(1000);
	assert_int_equal(server_l.requests, 2);
	call_send(call_new('l', 0), "POST", NULL);
	while (move(&client, 0, 1000) || move(&client, 1, 1000))
		; /* it waits for the leg */
	reconnects = true;
	leg_ends(&server_l);
	world_run(1000);
	assert_int_equal(calls[0].status, 502);
	call_was_good(&calls[1]);
	call_was_good(&calls[2]);
	world_stop();
}

/*
 * A leg is silent, at any moment of many calls. What may be sent to another is, and good there; the rest waits, and is good when the
 * leg comes back. What it says then of those that went away is nobody's.
 */
static void test_leg_is_left(void **unused)
{
	unsigned moved = 0, waited = 0;

	(void)unused;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		unsigned waiting = 0;

		world_start(seed);
		reconnects = true;
		for (unsigned i = 0; i < 30; i++)
			call_send(call_new('l', roll(2) ? 0 : roll(300000)),
				  roll(2) ? "GET" : "POST", NULL);
		for (unsigned i = 0, n = roll(400); i < n || !server_l.end; i++) {
			struct peer *peers[] = {&client, &server_l};

			move(peers[roll(2)], roll(4), 4000);
		}
		server_l.cut = true;
		h2_leg_leave(server_l.end);
		assert_false(h2_leg_takes(server_l.end));
		world_run(5000);
		for (unsigned i = 0; i < ncalls; i++)
			waiting += !calls[i].closed;
		assert_int_equal(h2_leg_awaited(server_l.end), waiting > 0);
		moved += lost[H2_LOST_TAKEN];
		waited += waiting;
		server_l.cut = false;
		world_run(5000);
		for (unsigned i = 0; i < ncalls; i++)
			call_was_good(&calls[i]);
		assert_false(h2_leg_awaited(server_l.end));
		assert_int_equal(h2_leg_streams(server_l.end), 0);
		assert_int_equal(h2_streams(h2), 0);
		world_stop();
	}
	if (moved < 100 || waited < 100)
		fail_msg("%u moved, %u waited", moved, waited);
}

/* The leg is left when the half of a large head has gone: with the rest, which goes too, it may do what that asks for. */
static void test_leg_is_left_within_a_head(void **unused)
{
	static uint8_t buf[H2_OUTPUT_MIN];
	static char large[60000];
	nghttp2_nv list[] = {
		nv(":method", "POST", false), nv(":path", "/x", false),
		nv(":scheme", "http", false), nv(":authority", "shop", false),
		nv("to", "l", false),	      {0},
	};

	(void)unused;
	memset(large, '~', sizeof(large) - 1);
	list[ARRAY_SIZE(list) - 1] = nv("x-large", large, false);
	world_start(1);
	reconnects = true;
	call_send(call_new('l', 0), "GET", NULL);
	world_run(5000);
	assert_true(nghttp2_submit_request(client.session, NULL, list, ARRAY_SIZE(list), NULL,
					   NULL) > 0);
	while (move(&client, 0, 5000) || move(&client, 1, 5000))
		;
	assert_int_equal(h2_output(server_l.end, buf, sizeof(buf)), sizeof(buf));
	h2_leg_leave(server_l.end);
	assert_int_equal(lost[H2_LOST_TAKEN], 0);
	assert_true(h2_leg_awaited(server_l.end));
	world_stop();
}

static void test_leg_dies_within_an_answer(void **unused)
{
	(void)unused;
	world_start(1);
	call_send(call_new('l', 900000), "POST", NULL);
	for (unsigned i = 0; !calls[0].got; i++) {
		assert_true(i < 100000);
		move(&client, roll(4), 1000);
		move(&server_l, roll(4), 1000);
	}
	leg_ends(&server_l);
	world_run(1000);
	assert_int_equal(calls[0].status, 207);
	assert_int_equal(calls[0].code, NGHTTP2_INTERNAL_ERROR);
	assert_int_equal(lost[H2_LOST_BROKEN], 0);
	world_stop();
}

/* What a server that goes has not looked at is sent to the next; what it has taken it finishes. */
static void test_leg_goes_away(void **unused)
{
	(void)unused;
	world_start(1);
	reconnects = true;
	call_send(call_new('a', 0), "GET", NULL);
	world_run(1000);
	nghttp2_submit_goaway(server_a.session, 0, calls[0].sid, NGHTTP2_NO_ERROR, NULL, 0);
	move(&server_a, 0, 1000); /* written, not yet read */
	call_send(call_new('a', 0), "GET", NULL);
	move(&client, 0, 1000);
	while (move(&client, 1, 1000))
		;
	assert_int_equal(h2_leg_streams(server_a.end), 1);
	move(&server_a, 2, 1000);
	assert_int_equal(lost[H2_LOST_REFUSED], 0);
	while (move(&server_a, 1, 1000))
		;
	assert_int_equal(lost[H2_LOST_REFUSED], 1);
	assert_false(h2_leg_takes(server_a.end));
	world_run(1000);
	call_was_good(&calls[0]);
	call_was_good(&calls[1]);
	assert_ptr_equal(calls[1].server, &spare);
	assert_int_equal(server_a.requests, 1);
	assert_int_equal(h2_leg_streams(server_a.end), 0);
	world_stop();
}

/* --- bad input ---------------------------------------------------------------------------------------------------------------- */

static void raw(const uint8_t *data, size_t len)
{
	h2_input(h2_client(h2), data, len, now);
}

static void preface(void)
{
	static const uint8_t settings[9] = {0, 0, 0, 4};

	raw((const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	raw(settings, sizeof(settings));
}

/* HEADERS of a GET, and RST_STREAM(CANCEL). */
static void raw_reset_pair(uint32_t i)
{
	uint8_t pair[] = {0, 0, 6, 1, 5, 0, 0, 0, 0, 0x82, 0x84, 0x86, 1, 1, 'x', /* */
			  0, 0, 4, 3, 0, 0, 0, 0, 0, 0,	   0,	 0,    8};

	put_be32(pair + 5, 2 * i + 1);
	put_be32(pair + 15 + 5, 2 * i + 1);
	raw(pair, sizeof(pair));
}

/* What the splitter has to say to the client, up to a GOAWAY: its code, or -1. */
static int goaway_code(void)
{
	uint8_t buf[H2_OUTPUT_MIN];
	int code = -1;

	for (size_t n; (n = h2_output(h2_client(h2), buf, sizeof(buf)));) {
		for (size_t at = 0; at + 9 <= n;) {
			if (buf[at + 3] == 7)
				code = (int)get_be32(buf + at + 13);
			at += 9 + (get_be32(buf + at) >> 8);
		}
	}
	return code;
}

static void test_rapid_reset(void **unused)
{
	(void)unused;
	world_start(1);
	preface();
	for (uint32_t i = 0; i < H2_RESETS_MAX; i++) {
		assert_int_equal(h2_counts(h2)->floods, 0);
		raw_reset_pair(i);
		if (i % 50 == 0 && i + 50 < H2_RESETS_MAX)
			assert_int_equal(goaway_code(), -1);
	}
	assert_int_equal(h2_counts(h2)->floods, 1);
	assert_int_equal(goaway_code(), NGHTTP2_ENHANCE_YOUR_CALM);
	assert_true(h2_over(h2_client(h2)));
	assert_int_equal(h2_streams(h2), 0);
	world_stop();
}

/* The same over a longer time is nobody's flood. */
static void test_resets_over_time(void **unused)
{
	world_start(1);
	(void)unused;
	preface();
	for (uint32_t i = 0; i < 3 * H2_RESETS_MAX; i++) {
		now += 11 * NSEC_PER_MSEC;
		raw_reset_pair(i);
		assert_int_equal(goaway_code(), -1);
	}
	assert_int_equal(h2_counts(h2)->floods, 0);
	world_stop();
}

static void test_continuation_flood(void **unused)
{
	static const uint8_t head[9] = {0, 0, 0, 1, 1, 0, 0, 0, 1},
			     more[9] = {0, 0, 0, 9, 0, 0, 0, 0, 1};
	unsigned n = 0;

	(void)unused;
	world_start(1);
	preface();
	raw(head, sizeof(head));
	while (n < 100 && h2_input(h2_client(h2), more, sizeof(more), now) == 0 &&
	       goaway_code() < 0)
		n++;
	assert_in_range(n, H2_CONTINUATIONS_MAX - 1, H2_CONTINUATIONS_MAX + 1);
	assert_int_equal(h2_counts(h2)->floods, 1);
	world_stop();
}

static void test_settings_flood(void **unused)
{
	static const uint8_t settings[9] = {0, 0, 0, 4};
	unsigned n = 0;

	(void)unused;
	world_start(1);
	preface();
	while (n < 100000 && h2_input(h2_client(h2), settings, sizeof(settings), now) == 0)
		n++;
	assert_true(n < 5000);
	assert_int_equal(h2_counts(h2)->floods, 1);
	world_stop();
}

/* DATA that says nothing, within a stream that goes on. */
static void test_empty_data_flood(void **unused)
{
	static const uint8_t head[] = {0,    0, 12, 1,	 4, 0, 0,   0,	 1, 0x83, 0x84,
				       0x86, 1, 1,  'x', 0, 2, 't', 'o', 1, 'a'},
			     empty[9] = {0, 0, 0, 0, 0, 0, 0, 0, 1},
			     padded[11] = {0, 0, 2, 0, 8, 0, 0, 0, 1, 1, 0};

	(void)unused;
	world_start(1);
	preface();
	raw(head, sizeof(head));
	for (unsigned i = 0; i < H2_EMPTY_MAX; i++) {
		assert_int_equal(h2_counts(h2)->floods, 0);
		if (i % 2)
			raw(padded, sizeof(padded));
		else
			raw(empty, sizeof(empty));
	}
	assert_int_equal(h2_counts(h2)->floods, 1);
	assert_int_equal(goaway_code(), NGHTTP2_ENHANCE_YOUR_CALM);
	world_stop();
}

/* Streams that we must reset, for what the client does to them, count as those it resets. */
static void test_made_you_reset(void **unused)
{
	static const uint8_t bad[][32] = {
		/* A window that grows by nothing; one that grows too large; a body longer than said, one shorter. */
		{13, 0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0},
		{13, 0, 0, 4, 8, 0, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff},
		{10, 0, 0, 1, 0, 0, 0, 0, 0, 1, 'x'},
		{9, 0, 0, 0, 0, 1, 0, 0, 0, 1},
	};

	(void)unused;
	for (unsigned way = 0; way < ARRAY_SIZE(bad); way++) {
		/* POST / with content-length 0, or 5. */
		uint8_t head[] = {0,	0,    10, 1, 4,	  0,	0,    0, 0,  0x83,
				  0x84, 0x86, 1,  1, 'x', 0x0f, 0x0d, 1, '0'};
		uint8_t frame[32];
		int code = -1;
		uint32_t i = 0;

		head[sizeof(head) - 1] = way == 3 ? '5' : '0';
		world_start(1);
		preface();
		for (; i < 2 * H2_RESETS_MAX && code < 0; i++) {
			put_be32(head + 5, 2 * i + 1);
			raw(head, sizeof(head));
			memcpy(frame, bad[way] + 1, bad[way][0]);
			put_be32(frame + 5, 2 * i + 1);
			raw(frame, bad[way][0]);
			code = goaway_code();
		}
		/* The first is an error of the connection. */
		assert_int_equal(code, way ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
		assert_true(i <= H2_RESETS_MAX);
		assert_int_equal(h2_counts(h2)->floods, way != 0);
		world_stop();
	}
}

/* We go: what is on its way still comes, then the client hears up to where. */
static void test_we_go_away(void **unused)
{
	(void)unused;
	world_start(1);
	call_send(call_new('a', 1000), "POST", NULL);
	while (move(&client, 0, 1000))
		; /* on its way */
	h2_goaway(h2, false);
	world_run(1000);
	call_was_good(&calls[0]);
	assert_true(client.goaway);
	assert_int_equal(client.goaway_code, NGHTTP2_NO_ERROR);
	assert_true(nghttp2_session_get_last_proc_stream_id(client.session) == 0);
	assert_int_equal(nghttp2_session_check_request_allowed(client.session), 0);
	assert_true(h2_over(h2_client(h2)));
	world_stop();
}

/* A client that asks and does not read what comes is told off before it has grown us. */
static void test_ping_flood(void **unused)
{
	static const uint8_t ping[17] = {0, 0, 8, 6};
	unsigned n = 0;

	(void)unused;
	world_start(1);
	preface();
	while (n < 100000 && h2_input(h2_client(h2), ping, sizeof(ping), now) == 0)
		n++;
	assert_true(n < 5000);
	assert_int_equal(h2_counts(h2)->floods, 1);
	world_stop();
}

/* Too many fields, too long ones: this stream is refused, the connection goes on. */
static void test_head_limits(void **unused)
{
	(void)unused;
	for (int way = 0; way < 2; way++) {
		static char big[HTTP_HEAD_MAX / 16];
		static nghttp2_nv list[HTTP_FIELDS_MAX + 10];
		size_t k = 0;
		struct call *c;

		world_start(1);
		c = call_new('a', 0);
		list[k++] = nv(":method", "GET", false);
		list[k++] = nv(":path", "/", false);
		list[k++] = nv(":scheme", "http", false);
		memset(big, 'x', sizeof(big) - 1);
		for (int i = 0; way == 0 && i < HTTP_FIELDS_MAX + 1; i++)
			list[k++] = nv("x", "y", false);
		for (int i = 0; way == 1 && i < 17; i++)
			list[k++] = nv("x", big, false);
		c->id = nghttp2_submit_request(client.session, NULL, list, k, NULL, c);
		call_send(call_new('a', 100), "POST", NULL);
		world_run(1000);
		assert_int_equal(c->code, NGHTTP2_ENHANCE_YOUR_CALM);
		assert_int_equal(h2_counts(h2)->bad_heads, 1);
		call_was_good(&calls[1]);
		world_stop();
	}
}

/* RFC 8441: offered once the application offers it, and then a stream like others. */
static void test_extended_connect(void **unused)
{
	const nghttp2_settings_entry on = {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
	nghttp2_nv list[8];
	nghttp2_data_provider body;
	struct call *c;

	(void)unused;
	world_start(1);
	call_send(call_new('a', 0), "GET", NULL);
	world_run(1000);
	assert_int_equal(nghttp2_session_get_remote_settings(
				 client.session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL),
			 0);
	nghttp2_submit_settings(server_a.session, 0, &on, 1);
	world_run(1000);
	assert_int_equal(nghttp2_session_get_remote_settings(
				 client.session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL),
			 1);
	c = call_new('a', 50000);
	body = (nghttp2_data_provider){.source.ptr = c, .read_callback = client_body};
	list[0] = nv(":method", "CONNECT", false);
	list[1] = nv(":protocol", "websocket", false);
	list[2] = nv(":scheme", "http", false);
	list[3] = nv(":path", "/chat", false);
	list[4] = nv(":authority", "shop", false);
	list[5] = nv("to", "a", false);
	list[6] = nv("n", "1", false);
	c->id = nghttp2_submit_request(client.session, NULL, list, 7, &body, c);
	world_run(1000);
	call_was_good(c);
	world_stop();
}

/* An answer of ours ends a request whose body is still coming. */
static void test_answer_of_ours(void **unused)
{
	(void)unused;
	world_start(1);
	call_send(call_new('x', 900000), "POST", NULL);
	call_send(call_new('x', 900000), "POST", "application/grpc");
	world_run(1000);
	assert_int_equal(calls[0].status, 502);
	assert_string_equal(calls[0].text, "nobody is there: 100 % sure\n");
	assert_string_equal(calls[1].grpc_message, "nobody is there: 100 %25 sure");
	for (int i = 0; i < 2; i++) {
		assert_true(calls[i].closed);
		assert_int_equal(calls[i].code, NGHTTP2_NO_ERROR);
		assert_true(calls[i].sent < calls[i].body);
	}
	assert_int_equal(h2_streams(h2), 0);
	world_stop();
}

/* What an HTTP/1 server says to an HTTP/2 preface. */
static void test_leg_speaks_http1(void **unused)
{
	static const char said[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
	uint8_t buf[H2_OUTPUT_MIN];

	(void)unused;
	world_start(1);
	server_l.cut = true;
	call_send(call_new('l', 0), "GET", "application/grpc");
	world_run(1000);
	h2_input(server_l.end, (const uint8_t *)said, sizeof(said) - 1, now);
	while (h2_output(server_l.end, buf, sizeof(buf)))
		;
	assert_false(h2_leg_spoke(server_l.end));
	assert_true(h2_over(server_l.end));
	leg_ends(&server_l);
	server_l.cut = false;
	world_run(1000);
	assert_string_equal(calls[0].grpc_status, "14");
	world_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_that_is_kept),
		cmocka_unit_test(test_resets_keep_their_codes),
		cmocka_unit_test(test_answers_without_body),
		cmocka_unit_test(test_servers_own_limit),
		cmocka_unit_test(test_leg_dies),
		cmocka_unit_test(test_leg_dies_with_a_request_that_must_not_be_repeated),
		cmocka_unit_test(test_leg_is_left),
		cmocka_unit_test(test_leg_is_left_within_a_head),
		cmocka_unit_test(test_leg_dies_within_an_answer),
		cmocka_unit_test(test_leg_goes_away),
		cmocka_unit_test(test_rapid_reset),
		cmocka_unit_test(test_resets_over_time),
		cmocka_unit_test(test_continuation_flood),
		cmocka_unit_test(test_ping_flood),
		cmocka_unit_test(test_settings_flood),
		cmocka_unit_test(test_empty_data_flood),
		cmocka_unit_test(test_made_you_reset),
		cmocka_unit_test(test_we_go_away),
		cmocka_unit_test(test_head_limits),
		cmocka_unit_test(test_extended_connect),
		cmocka_unit_test(test_answer_of_ours),
		cmocka_unit_test(test_leg_speaks_http1),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
