/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 through the agent as a program: who hears which stream, and what the client is told when things end. */
#include <nghttp2/nghttp2.h>

#include "tests/unit/agent_world.h"

enum { CALLS = 8, SENT_MAX = 16 << 10 };
/* --- the ends ---------------------------------------------------------------------------------------------------- */

/* The client, the application or the laptop, each on one connection. Servers answer with their name, or not. */
struct end {
	nghttp2_session *session;
	const char *name;
	int fd;		  /* -1 = the laptop's, or not there */
	struct stream *s; /* the laptop's */
	bool silent, ended;
	const char *expects; /* these bytes come first */
	bool refuse_next;    /* GOAWAY at the next request, which was not looked at */
	unsigned requests;
	int32_t goaway_last;
	unsigned goaways;
};

struct call {
	int32_t id;
	int status;
	char text[512], away[64];
	bool closed;
	uint32_t code;
};

static struct end us, app, mine;
static struct call calls[CALLS];
static unsigned ncalls;
static const char *proxy; /* the header that the client begins with; NULL = none */
static unsigned accepted; /* by the application */

static void end_stop(struct end *e)
{
	nghttp2_session_del(e->session);
	if (e->fd >= 0)
		close(e->fd);
	if (e->s)
		e->s->ops->abort(e->s);
	*e = (struct end){.name = e->name, .fd = -1, .silent = e->silent};
}

static ssize_t body(nghttp2_session *s, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
		    nghttp2_data_source *src, void *user)
{
	const struct end *e = user;

	(void)s;
	(void)id;
	(void)src;
	assert_true(len >= strlen(e->name));
	memcpy(buf, e->name, strlen(e->name));
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)strlen(e->name);
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
			    strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static void answer_stream(nghttp2_session *s, int32_t id)
{
	const nghttp2_data_provider text = {.read_callback = body};
	const nghttp2_nv ok = nv(":status", "200");

	nghttp2_submit_response(s, id, &ok, 1, &text);
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
	struct end *e = user;

	if (f->hd.type == NGHTTP2_GOAWAY) {
		e->goaways++;
		e->goaway_last = f->goaway.last_stream_id;
	}
	if (e == &us || f->hd.type != NGHTTP2_HEADERS)
		return 0;
	e->requests++;
	if (e->refuse_next)
		nghttp2_submit_goaway(s, 0, f->hd.stream_id - 2, NGHTTP2_NO_ERROR, NULL, 0);
	else if (!e->silent)
		answer_stream(s, f->hd.stream_id);
	return 0;
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name,
		     size_t namelen, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
	struct call *c = nghttp2_session_get_stream_user_data(s, f->hd.stream_id);

	(void)flags;
	(void)namelen;
	if (user != &us || !c)
		return 0;
	if (!strcmp((const char *)name, ":status"))
		c->status = atoi((const char *)value);
	else if (!strcmp((const char *)name, "x-culvert-away"))
		snprintf(c->away, sizeof(c->away), "%.*s", (int)len, (const char *)value);
	return 0;
}

static int on_chunk(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
		    void *user)
{
	struct call *c = nghttp2_session_get_stream_user_data(s, id);
	size_t was;

	(void)flags;
	if (user != &us || !c)
		return 0;
	was = strlen(c->text);
	snprintf(c->text + was, sizeof(c->text) - was, "%.*s", (int)len, (const char *)data);
	return 0;
}

static int on_close(nghttp2_session *s, int32_t id, uint32_t code, void *user)
{
	struct call *c = nghttp2_session_get_stream_user_data(s, id);

	if (user == &us && c) {
		c->closed = true;
		c->code = code;
	}
	return 0;
}

static void end_start(struct end *e, bool is_client)
{
	nghttp2_session_callbacks *cb;

	nghttp2_session_callbacks_new(&cb);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	if (is_client)
		nghttp2_session_client_new(&e->session, cb, e);
	else
		nghttp2_session_server_new(&e->session, cb, e);
	nghttp2_session_callbacks_del(cb);
	nghttp2_submit_settings(e->session, 0, NULL, 0);
	e->requests = e->goaways = 0;
	e->ended = false;
}

static void end_write(struct end *e)
{
	const uint8_t *p;
	ssize_t n;

	while ((n = nghttp2_session_mem_send(e->session, &p)) > 0) {
		if (e->s)
			assert_int_equal(stream_write(e->s, p, (size_t)n), n);
		else
			send(e->fd, p, (size_t)n, MSG_NOSIGNAL);
	}
}

static void end_pump(struct end *e)
{
	uint8_t buf[SENT_MAX];
	ssize_t n;

	if (!e->session || e->ended)
		return;
	if (e->expects) {
		size_t len = strlen(e->expects);

		if (recv(e->fd, buf, len, MSG_PEEK | MSG_DONTWAIT) < (ssize_t)len)
			return;
		assert_int_equal(recv(e->fd, buf, len, 0), len);
		assert_memory_equal(buf, e->expects, len);
		e->expects = NULL;
	}
	end_write(e);
	while ((n = e->s ? stream_read(e->s, buf, sizeof(buf))
			 : recv(e->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		nghttp2_session_mem_recv(e->session, buf, (size_t)n);
	if (n == 0 || (n < 0 && (e->s ? n != -EAGAIN : errno != EAGAIN)))
		e->ended = true;
	else
		end_write(e);
}

static void on_laptop(struct stream *s, unsigned ev, void *arg)
{
	(void)s;
	(void)ev;
	(void)arg; /* all is done by end_pump() */
}

static void on_stream(struct member *m, struct stream *s, void *ctx)
{
	struct flow flow;

	assert_int_equal(netstack_stream_info(s, &flow, NULL), 0);
	if (flow.dport == 1) {
		on_open(m, s, ctx);
		return;
	}
	end_stop(&mine);
	mine.s = s;
	stream_set(s, on_laptop, NULL);
	s->ops->want(s, STREAM_READABLE);
	end_start(&mine, false);
}

static void turn(void)
{
	int fd = application >= 0 ? accept4(application, NULL, NULL, SOCK_CLOEXEC) : -1;

	if (fd >= 0) {
		end_stop(&app);
		app.fd = fd;
		app.expects = proxy;
		accepted++;
		end_start(&app, false);
	}
	end_pump(&us);
	end_pump(&app);
	end_pump(&mine);
	member_run(&me, 2);
}

#define UNTIL(what)                                                                                \
	do {                                                                                       \
		nsec_t end = clock_boot() + 10 * NSEC_PER_SEC;                                     \
		while (!(what) && clock_boot() < end)                                              \
			turn();                                                                    \
		assert_true(what);                                                                 \
	} while (0)

static void turns(unsigned n)
{
	while (n--)
		turn();
}

static void connect_us(void)
{
	end_stop(&us);
	us.fd = client();
	if (proxy)
		assert_int_equal(send(us.fd, proxy, strlen(proxy), 0), strlen(proxy));
	end_start(&us, true);
	memset(calls, 0, sizeof(calls));
	ncalls = 0;
}

static ssize_t one_byte(nghttp2_session *s, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
			nghttp2_data_source *src, void *user)
{
	(void)s;
	(void)id;
	(void)len;
	(void)flags;
	(void)user;
	if (*(bool *)src->ptr)
		return NGHTTP2_ERR_DEFERRED;
	*(bool *)src->ptr = true;
	*buf = 'x';
	return 1;
}

static struct call *call_with(const char *method, bool matches, bool preview,
			      const nghttp2_data_provider *upload)
{
	struct call *c = &calls[ncalls++];
	nghttp2_nv list[8];
	size_t n = 0;

	list[n++] = nv(":method", method);
	list[n++] = nv(":scheme", "http");
	list[n++] = nv(":path", "/");
	list[n++] = nv(":authority", "hello");
	if (matches)
		list[n++] = nv("x-culvert-intercept-id", ID ":hello");
	if (preview)
		list[n++] = nv("x-culvert-preview", "1");
	c->id = nghttp2_submit_request(us.session, NULL, list, n, upload, c);
	assert_true(c->id > 0);
	return c;
}

static struct call *call(const char *method, bool matches, bool preview)
{
	return call_with(method, matches, preview, NULL);
}

static void got(const struct call *c, int status, const char *text)
{
	UNTIL(c->closed);
	assert_int_equal(c->code, NGHTTP2_NO_ERROR);
	assert_int_equal(c->status, status);
	assert_non_null(strstr(c->text, text));
}

/* --- setup ---------------------------------------------------------------------------------------------------------- */

static int begin(void **unused, bool in_a_pod)
{
	if (world_setup(unused))
		return -1;
	proxy = NULL;
	accepted = 0;
	us = (struct end){.name = "client", .fd = -1};
	app = (struct end){.name = "pod", .fd = -1};
	mine = (struct end){.name = "laptop", .fd = -1};
	world_start(in_a_pod, on_stream);
	return 0;
}

static int setup(void **unused)
{
	return begin(unused, false);
}

static int setup_in_a_pod(void **unused)
{
	return begin(unused, true);
}

static int teardown(void **unused)
{
	end_stop(&us);
	end_stop(&app);
	end_stop(&mine);
	return world_teardown(unused);
}

static void push_rule_of(const char *on_down, bool online)
{
	push(json_pack("[o]", http_rule(on_down, online, false)));
	turns(30);
}

static void push_rule(const char *on_down)
{
	push_rule_of(on_down, true);
}

static void push_tcp_rule(void)
{
	json_t *tcp = rules_json("pod", 0, true);

	push(json_incref(json_object_get(tcp, "rules")));
	json_decref(tcp);
}

/* In order; another signal might find it when it listens to none any more. */
static void agent_has_ended(void)
{
	int status;

	assert_int_equal(waitpid(agent, &status, 0), agent);
	agent = 0;
	assert_int_equal(status, 0);
}

/* --- tests ------------------------------------------------------------------------------------------------------------ */

static void test_each_stream_by_itself(void **unused)
{
	(void)unused;
	push_rule("pod");
	connect_us();
	for (int i = 0; i < 3; i++) {
		call("GET", i % 2, false);
		call("POST", !(i % 2), false);
	}
	for (int i = 0; i < 6; i++)
		got(&calls[i], 200, i % 4 == 1 || i % 4 == 2 ? "laptop" : "pod");
	assert_int_equal(syns, 1);
}

/* What passes through is told to come again by any rule, and once. */
static void test_goaway_when_a_rule_comes(void **unused)
{
	(void)unused;
	for (int tcp = 0; tcp < 2; tcp++) {
		connect_us();
		got(call("GET", false, false), 200, "pod");
		app.silent = true;
		call("GET", true, false);
		UNTIL(app.requests == 2);
		if (tcp)
			push_tcp_rule();
		else
			push_rule("pod");
		UNTIL(us.goaways == 1);
		assert_int_equal(us.goaway_last, INT32_MAX);
		app.silent = false; /* what runs ends where it began */
		nghttp2_submit_rst_stream(app.session, 0, calls[1].id, 77);
		UNTIL(calls[1].closed);
		assert_int_equal(calls[1].code, 77);
		assert_int_equal(us.goaways, 1);
		push(json_array());
	}
}

/* What is split is told, too, when a rule for the whole port comes, and hears the last number when it has heard the first. */
static void test_goaway_of_split_ones_when_a_tcp_rule_comes(void **unused)
{
	(void)unused;
	push_rule("pod");
	connect_us();
	got(call("GET", false, false), 200, "pod");
	app.silent = true;
	call("GET", false, false);
	UNTIL(app.requests == 2);
	push_tcp_rule();
	UNTIL(us.goaways == 2);
	assert_int_equal(us.goaway_last, calls[1].id);
	assert_false(us.ended);
	nghttp2_submit_rst_stream(app.session, 0, calls[1].id, 77);
	UNTIL(us.ended);
	assert_int_equal(calls[1].code, 77);
}

static void test_hold(void **unused)
{
	const struct call *c;

	(void)unused;
	laptop = LAPTOP_REFUSES;
	push_rule("hold");
	connect_us();
	c = call("POST", true, false);
	UNTIL(syns >= 2);
	got(call("GET", false, false), 200, "pod"); /* others do not wait */
	assert_false(c->closed);
	laptop = LAPTOP_SERVES;
	got(c, 200, "laptop");
}

static void test_fail(void **unused)
{
	const struct call *c;

	(void)unused;
	laptop = LAPTOP_REFUSES;
	push_rule("fail");
	connect_us();
	c = call("GET", true, false);
	got(c, 503, "The laptop of ana, which intercepts this with 'hello', does not answer.");
	assert_string_equal(c->away, "");
	c = call("GET", true, true);
	got(c, 503, "does not answer");
	assert_string_equal(c->away, "ana/hello");
	got(call("GET", false, false), 200, "pod");
}

static void test_pod_and_a_visitor_who_must_not_see_it(void **unused)
{
	(void)unused;
	laptop = LAPTOP_REFUSES;
	push_rule("pod");
	connect_us();
	got(call("POST", true, false), 200, "pod");
	got(call("GET", true, true), 503, "does not answer");
}

/* The application hears who the client is each time that it is dialled; the laptop does not. */
static void test_a_proxy_header_is_played_again(void **unused)
{
	(void)unused;
	proxy = "PROXY TCP4 192.0.2.1 192.0.2.2 5000 80\r\n";
	push_rule("pod");
	connect_us();
	got(call("GET", true, false), 200, "laptop");
	got(call("GET", false, false), 200, "pod");
	assert_int_equal(accepted, 1);
	app.refuse_next = true;
	got(call("GET", false, false), 200, "pod");
	assert_int_equal(accepted, 2);
	assert_null(app.expects);
}

/* What the laptop's program did not look at goes to its next connection, whatever the method. */
static void test_a_leg_that_goes_away(void **unused)
{
	(void)unused;
	push_rule("fail");
	connect_us();
	got(call("GET", true, false), 200, "laptop");
	mine.refuse_next = true;
	got(call("POST", true, false), 200, "laptop");
	assert_int_equal(syns, 2);
	assert_int_equal(mine.requests, 1);
}

/* The laptop may have done it: a GET is asked again, a POST is not. */
static void test_a_leg_that_breaks(void **unused)
{
	(void)unused;
	push_rule("fail");
	for (int post = 0; post < 2; post++) {
		const struct call *c;

		connect_us();
		got(call("GET", true, false), 200, "laptop");
		mine.silent = true;
		c = call(post ? "POST" : "GET", true, false);
		UNTIL(mine.requests == 2);
		end_stop(&mine);
		mine.silent = false;
		got(c, post ? 502 : 200,
		    post ? "The laptop of ana ended the connection." : "laptop");
	}
	assert_int_equal(syns, 3);
}

/* Its rule goes: a POST that the laptop has is over, a GET goes to the application. */
static void test_a_rule_that_goes(void **unused)
{
	(void)unused;
	push_rule("fail");
	connect_us();
	mine.silent = true;
	call("GET", true, false);
	call("POST", true, false);
	UNTIL(mine.requests == 2);
	push(json_array());
	UNTIL(calls[1].closed);
	assert_int_equal(calls[1].code, NGHTTP2_INTERNAL_ERROR);
	got(&calls[0], 200, "pod");
}

/*
 * The manager has missed it. What may be asked again goes by the policy; a POST, and a PUT of which some has gone, may have been done,
 * and wait; what comes then does not wait with them.
 */
static void test_a_laptop_that_is_away_is_not_waited_for(void **unused)
{
	bool sent = false;
	const nghttp2_data_provider upload = {.source.ptr = &sent, .read_callback = one_byte};
	struct stream *before;

	(void)unused;
	push_rule("pod");
	connect_us();
	got(call("GET", true, false), 200, "laptop");
	before = mine.s;
	mine.silent = true;
	call("GET", true, false);
	call("POST", true, false);
	call_with("PUT", true, false, &upload);
	call("GET", true, true);
	UNTIL(mine.requests == 5);
	push_rule_of("pod", false);
	got(&calls[1], 200, "pod");
	got(&calls[4], 503,
	    "The laptop of ana, which intercepts this with 'hello', does not answer.");
	assert_string_equal(calls[4].away, "ana/hello");
	got(call("POST", true, false), 200, "pod");
	assert_false(calls[2].closed);
	assert_false(calls[3].closed);
	assert_int_equal(syns, 1);
	assert_ptr_equal(mine.s, before);
	/* It comes back, and knows nothing of its being away. The client has lost patience with one. */
	nghttp2_submit_rst_stream(us.session, 0, calls[3].id, NGHTTP2_CANCEL);
	answer_stream(mine.session, 5); /* its third */
	got(&calls[2], 200, "laptop");
	UNTIL(mine.ended); /* the last of its streams */
	mine.silent = false;
	push_rule_of("pod", true);
	got(call("GET", true, false), 200, "laptop");
	assert_int_equal(syns, 2);
}

/* With `hold` it waits for the laptop to come back, and goes there by another connection; with `fail` nobody waits. */
static void test_a_laptop_that_is_away_and_the_other_policies(void **unused)
{
	(void)unused;
	push_rule("hold");
	connect_us();
	got(call("GET", true, false), 200, "laptop");
	mine.silent = true;
	call("GET", true, false);
	UNTIL(mine.requests == 2);
	push_rule_of("hold", false);
	UNTIL(mine.ended); /* nobody waits for that one any more */
	assert_false(calls[1].closed);
	mine.silent = false;
	push_rule_of("hold", true);
	got(&calls[1], 200, "laptop");
	push_rule("fail");
	mine.silent = true;
	call("GET", true, false);
	UNTIL(mine.requests == 2);
	push_rule_of("fail", false);
	got(&calls[2], 503, "does not answer");
}

/*
 * A pod ends: the client is told to come again elsewhere, to its first GOAWAY come those that it sent before it read that, what runs at either
 * end finishes, and then all of it is over, in order.
 */
static void test_a_pod_ends(void **unused)
{
	(void)unused;
	push_rule("pod");
	connect_us();
	mine.silent = app.silent = true;
	call("GET", true, false);
	call("POST", false, false);
	UNTIL(mine.requests == 1 && app.requests == 1);
	kill(agent, SIGTERM);
	assert_true(member_logged(&me, "ending on SIGTERM", 2000));
	call("POST", false, false); /* on its way meanwhile */
	UNTIL(us.goaways == 2 && app.requests == 2);
	assert_int_equal(us.goaway_last, calls[2].id);
	assert_false(us.ended);
	answer_stream(mine.session, 1);
	got(&calls[0], 200, "laptop");
	assert_false(us.ended);
	answer_stream(app.session, 1);
	answer_stream(app.session, 3);
	got(&calls[1], 200, "pod");
	got(&calls[2], 200, "pod");
	UNTIL(us.ended && mine.ended);
	agent_has_ended();
}

/* The client has gone: the laptop hears of it though it has nothing to say. */
static void test_a_client_that_goes(void **unused)
{
	(void)unused;
	push_rule("fail");
	connect_us();
	mine.silent = true;
	call("GET", true, false);
	UNTIL(mine.requests == 1);
	end_stop(&us);
	UNTIL(mine.ended);
}

static void test_the_agent_ends(void **unused)
{
	(void)unused;
	push_rule("pod");
	connect_us();
	app.silent = true;
	call("GET", false, false);
	UNTIL(app.requests == 1);
	kill(agent, SIGTERM);
	UNTIL(us.ended);
	assert_int_equal(us.goaways, 1);
	assert_int_equal(us.goaway_last, calls[0].id);
	agent_has_ended();
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_each_stream_by_itself),
		TEST(test_goaway_when_a_rule_comes),
		TEST(test_goaway_of_split_ones_when_a_tcp_rule_comes),
		TEST(test_hold),
		TEST(test_fail),
		TEST(test_pod_and_a_visitor_who_must_not_see_it),
		TEST(test_a_proxy_header_is_played_again),
		TEST(test_a_leg_that_goes_away),
		TEST(test_a_leg_that_breaks),
		TEST(test_a_rule_that_goes),
		TEST(test_a_laptop_that_is_away_is_not_waited_for),
		TEST(test_a_laptop_that_is_away_and_the_other_policies),
		TEST(test_a_client_that_goes),
		TEST(test_the_agent_ends),
		cmocka_unit_test_setup_teardown(test_a_pod_ends, setup_in_a_pod, teardown),
	};

	assert_int_equal(crypto_init(), 0);
	if (argc > 1)
		return agent_main(argc, argv); /* we are the child */
	return cmocka_run_group_tests(tests, alone, NULL);
}
