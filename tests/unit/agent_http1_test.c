/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1 through the agent as a program: what client, application and laptop say and hear, byte by byte. */
#include "tests/unit/agent_world.h"

static int app = -1;		 /* the application's end of the last connection it accepted */
static struct stream *on_laptop; /* the laptop's, likewise */
static char heard[1 << 17];	 /* by the laptop */
static size_t nheard;
static bool laptop_ended;

#define MATCH		   "x-culvert-intercept-id: " ID ":hello\r\n"
#define GET(path, more)	   "GET " path " HTTP/1.1\r\nHost: hello\r\n" more "\r\n"
#define OK(body_len, body) "HTTP/1.1 200 OK\r\nContent-Length: " body_len "\r\n\r\n" body

/* --- we as the laptop ------------------------------------------------------------------------------------------- */

static void on_request(struct stream *s, unsigned ev, void *arg)
{
	ssize_t n = 1;

	(void)arg;
	while (ev & STREAM_READABLE && n > 0) {
		n = stream_read(s, heard + nheard, sizeof(heard) - nheard);
		if (n > 0)
			nheard += (size_t)n;
	}
	if (n == 0 || ev & STREAM_ERROR) {
		laptop_ended = true;
		s->ops->abort(s);
		if (on_laptop == s)
			on_laptop = NULL;
	}
}

static void on_stream(struct member *m, struct stream *s, void *ctx)
{
	struct flow flow;

	assert_int_equal(netstack_stream_info(s, &flow, NULL), 0);
	if (flow.dport == 1) {
		on_open(m, s, ctx);
		return;
	}
	stream_set(s, on_request, NULL);
	s->ops->want(s, STREAM_READABLE);
	on_laptop = s;
	nheard = 0;
	laptop_ended = false;
}

/* --- what is said and heard --------------------------------------------------------------------------------------- */

static void say(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void laptop_says(const char *text)
{
	assert_non_null(on_laptop);
	assert_int_equal(stream_write(on_laptop, text, strlen(text)), (ssize_t)strlen(text));
	member_run(&me, 20);
}

/* Exactly this comes next. */
static void hears(int fd, const char *text)
{
	char buf[4096];
	size_t have = 0, len = strlen(text);
	nsec_t end = clock_boot() + 5 * NSEC_PER_SEC;

	while (have < len && clock_boot() < end) {
		ssize_t n = recv(fd, buf + have, len - have, MSG_DONTWAIT);

		if (n == 0)
			break;
		if (n > 0)
			have += (size_t)n;
		else
			member_run(&me, 5);
	}
	buf[have] = '\0';
	assert_string_equal(buf, text);
}

static void app_accepts(void)
{
	nsec_t end = clock_boot() + 5 * NSEC_PER_SEC;

	if (app >= 0)
		close(app);
	do {
		member_run(&me, 5);
		app = accept4(application, NULL, NULL, SOCK_CLOEXEC);
	} while (app < 0 && clock_boot() < end);
	assert_true(app >= 0);
}

static void laptop_hears(const char *text)
{
	nsec_t end = clock_boot() + 5 * NSEC_PER_SEC;

	while (nheard < strlen(text) && clock_boot() < end)
		member_run(&me, 5);
	assert_int_equal(nheard, strlen(text));
	assert_memory_equal(heard, text, nheard);
	nheard = 0;
}

static void silent(int fd)
{
	char c;

	member_run(&me, 60);
	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* The same comes out as goes in. */

static void to_app(int fd, const char *text)
{
	say(fd, text);
	hears(app, text);
}

static void from_app(int fd, const char *text)
{
	say(app, text);
	hears(fd, text);
}

static void to_laptop(int fd, const char *text)
{
	say(fd, text);
	laptop_hears(text);
}

static void from_laptop(int fd, const char *text)
{
	laptop_says(text);
	hears(fd, text);
}

/* 0 = in order, else errno. */
static int ends(int fd)
{
	nsec_t end = clock_boot() + 5 * NSEC_PER_SEC;
	char c;
	ssize_t n;

	do {
		member_run(&me, 5);
		n = recv(fd, &c, 1, MSG_DONTWAIT);
	} while (n < 0 && errno == EAGAIN && clock_boot() < end);
	assert_true(n <= 0);
	return n ? errno : 0;
}

/* --- setup ---------------------------------------------------------------------------------------------------------- */

static int setup(void **unused)
{
	if (world_setup(unused))
		return -1;
	on_laptop = NULL;
	world_start(false, on_stream);
	return 0;
}

static int teardown(void **unused)
{
	if (on_laptop)
		on_laptop->ops->abort(on_laptop);
	if (app >= 0)
		close(app);
	app = -1;
	return world_teardown(unused);
}

static json_t *rule(const char *on_down, bool tag)
{
	return http_rule(on_down, true, tag);
}

static void push_rule(const char *on_down)
{
	push(json_pack("[o]", rule(on_down, false)));
}

/* --- tests ------------------------------------------------------------------------------------------------------------ */

static void test_each_request_by_itself(void **unused)
{
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	for (int i = 0; i < 2; i++) {
		to_app(fd, GET("/a", ""));
		from_app(fd, OK("2", "hi"));
		to_laptop(fd, GET("/b", MATCH));
		silent(app);
		from_laptop(fd, OK("3", "ana"));
	}
	assert_int_equal(syns, 1); /* the laptop's connection was kept */
	close(fd);
}

/* The second is read only when the first has its answer. */
static void test_pipelined_requests_keep_their_order(void **unused)
{
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	say(fd, GET("/1", "") GET("/2", MATCH) GET("/3", ""));
	hears(app, GET("/1", ""));
	member_run(&me, 50);
	assert_int_equal(syns, 0);
	from_app(fd, OK("1", "1"));
	laptop_hears(GET("/2", MATCH));
	silent(app);
	from_laptop(fd, OK("1", "2"));
	hears(app, GET("/3", ""));
	from_app(fd, OK("1", "3"));
	close(fd);
}

static void test_a_rule_takes_over_and_gives_back(void **unused)
{
	int fd = client();
	json_t *tcp;

	(void)unused;
	app_accepts();
	to_app(fd, GET("/", MATCH));
	push_rule("pod"); /* not the one under way */
	from_app(fd, OK("1", "p"));
	to_laptop(fd, GET("/", MATCH));
	from_laptop(fd, OK("1", "l"));
	push(json_array());
	to_app(fd, GET("/", MATCH));
	from_app(fd, OK("1", "p"));
	/* A tcp rule that comes has the next request too, and gives it back. */
	tcp = rules_json("pod", 0, true);
	push(json_incref(json_object_get(tcp, "rules")));
	json_decref(tcp);
	to_laptop(fd, GET("/", ""));
	from_laptop(fd, OK("1", "l"));
	push(json_array());
	to_app(fd, GET("/", ""));
	close(fd);
}

static void test_a_request_whose_rule_goes_is_cut_off(void **unused)
{
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	to_laptop(fd, GET("/", MATCH));
	push(json_array());
	assert_int_equal(ends(fd), ECONNRESET);
	close(fd);
}

static void test_on_down_is_for_each_request(void **unused)
{
	int fd = client();

	(void)unused;
	laptop = LAPTOP_REFUSES;
	push_rule("pod");
	app_accepts();
	to_app(fd, "POST / HTTP/1.1\r\nHost: h\r\n" MATCH "Content-Length: 4\r\n\r\nbody");
	from_app(fd, OK("1", "p"));
	push_rule("hold");
	say(fd, GET("/", MATCH));
	silent(fd);
	laptop = LAPTOP_SERVES;
	laptop_hears(GET("/", MATCH));
	from_laptop(fd, OK("1", "l"));
	on_laptop->ops->close(on_laptop);
	on_laptop = NULL;
	member_run(&me, 50);
	laptop = LAPTOP_REFUSES;
	push_rule("fail");
	say(fd, GET("/", MATCH));
	hears(fd, "HTTP/1.1 503 Service Unavailable\r\n");
	close(fd);
	/* A visitor of a preview never gets the pod. */
	fd = client();
	app_accepts();
	push_rule("pod");
	say(fd, GET("/", MATCH "x-culvert-preview: 1\r\n"));
	hears(fd,
	      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: "
	      "50\r\n"
	      "Cache-Control: no-store\r\nConnection: close\r\nx-culvert-away: ana/hello\r\n\r\n"
	      "culvert: the laptop of ana/hello does not answer.");
	silent(app);
	close(fd);
}

/* The request is still at hand when a kept connection proves to be dead. */
static void test_a_kept_connection_that_breaks_is_dialled_anew(void **unused)
{
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	to_laptop(fd, GET("/1", MATCH));
	from_laptop(fd, OK("0", ""));
	to_laptop(fd, GET("/2", MATCH));
	on_laptop->ops->close(on_laptop);
	on_laptop = NULL;
	member_run(&me, 50);
	laptop_hears(GET("/2", MATCH));
	assert_int_equal(syns, 2);
	on_laptop->ops->close(on_laptop); /* once */
	on_laptop = NULL;
	hears(fd, "HTTP/1.1 502 Bad Gateway\r\n");
	close(fd);
}

/* The manager has missed it: what it was asked on a kept connection need not wait for it to come back. */
static void test_a_laptop_that_is_away_is_not_waited_for(void **unused)
{
	json_t *away = rule("pod", false);
	int fd = client();

	(void)unused;
	json_object_set_new(away, "online", json_false());
	push_rule("pod");
	app_accepts();
	to_laptop(fd, GET("/1", MATCH));
	from_laptop(fd, OK("0", ""));
	to_laptop(fd, GET("/2", MATCH));
	push(json_pack("[O]", away));
	hears(app, GET("/2", MATCH));
	from_app(fd, OK("3", "pod"));
	/* Not what may have been done already. */
	push_rule("pod");
	to_laptop(fd, "POST /3 HTTP/1.1\r\nHost: hello\r\nContent-Length: 0\r\n" MATCH "\r\n");
	push(json_pack("[o]", away));
	silent(app);
	from_laptop(fd, OK("4", "late"));
	close(fd);
}

static void test_upgrade_is_a_tunnel(void **unused)
{
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	say(fd, GET("/ws", MATCH "Connection: Upgrade\r\nUpgrade: websocket\r\n") "early");
	laptop_hears(GET("/ws", MATCH "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
	from_laptop(fd, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nframe");
	laptop_hears("early");
	to_laptop(fd, "GET / not HTTP");
	push(json_array());
	assert_int_equal(ends(fd), ECONNRESET);
	close(fd);
}

/* In HTTP/2 nobody could follow; without a rule it is nobody's business. */
static void test_h2c_is_not_offered_while_a_rule_is_there(void **unused)
{
	static const char offer[] =
		GET("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
			 "HTTP2-Settings: AAMA\r\nX: y\r\n");
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	say(fd, offer);
	hears(app, GET("/", "Connection: Upgrade, HTTP2-Settings\r\nX: y\r\n"));
	from_app(fd, OK("1", "p"));
	to_laptop(fd, GET("/", MATCH));
	close(fd);
	push(json_array());
	fd = client();
	app_accepts();
	to_app(fd, offer);
	close(fd);
}

static void test_interim_answers_trailers_and_the_end_of_a_stream(void **unused)
{
	static const char head[] = "POST /x HTTP/1.1\r\nHost: h\r\n" MATCH
				   "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	say(fd, head);
	laptop_hears(head); /* before its body */
	from_laptop(fd, "HTTP/1.1 100 Continue\r\n\r\n");
	to_laptop(fd, "3;a=b\r\nabc\r\n0\r\nSum: 1\r\n\r\n");
	from_laptop(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
	from_laptop(fd, "0\r\nT: 1\r\n\r\n");
	to_app(fd, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
	from_app(fd, OK("9", ""));
	to_app(fd, GET("/sse", ""));
	from_app(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
	from_app(fd, "data: 2\n\n");
	close(app);
	app = -1;
	assert_int_equal(ends(fd), 0);
	close(fd);
}

static void test_large_bodies(void **unused)
{
	enum { LEN = 1 << 20 };
	static char body[LEN + 1], got[LEN];
	size_t have = 0, sent = 0;
	int fd = client();

	(void)unused;
	for (size_t i = 0; i < LEN; i++)
		body[i] = (char)('a' + i % 23);
	app_accepts();
	to_app(fd, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n");
	while (have < LEN) {
		ssize_t n = send(fd, body + sent, LEN - sent, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		n = recv(app, got + have, LEN - have, MSG_DONTWAIT);
		have += n > 0 ? (size_t)n : 0;
	}
	assert_memory_equal(got, body, LEN);
	from_app(fd, OK("0", ""));
	to_app(fd, GET("/", ""));
	close(fd);
}

/* From the laptop, more than is looked at; its connection is kept all the same. */
static void test_large_answers(void **unused)
{
	enum { LEN = 300000 };
	static char body[LEN], got[LEN];
	int fd = client();

	(void)unused;
	for (size_t i = 0; i < LEN; i++)
		body[i] = (char)('a' + i % 23);
	push_rule("pod");
	app_accepts();
	for (int round = 0; round < 3; round++) {
		size_t have = 0, sent = 0;

		to_laptop(fd, GET("/", MATCH));
		from_laptop(fd, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
		while (have < LEN) {
			ssize_t n =
				sent < LEN ? stream_write(on_laptop, body + sent, LEN - sent) : 0;

			sent += n > 0 ? (size_t)n : 0;
			member_run(&me, 2);
			n = recv(fd, got + have, LEN - have, MSG_DONTWAIT);
			have += n > 0 ? (size_t)n : 0;
		}
		assert_memory_equal(got, body, LEN);
	}
	assert_int_equal(syns, 1);
	close(fd);
}

static void test_who_speaks_first_is_left_alone(void **unused)
{
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	from_app(fd, "220 mail\r\n");
	to_app(fd, GET("/", MATCH));
	close(fd);
	/* Words that are no HTTP, at once and for good. */
	fd = client();
	app_accepts();
	to_app(fd, "EHLO hello\r\n");
	to_app(fd, GET("/", MATCH));
	close(fd);
	/* A PROXY header is the application's alone. */
	fd = client();
	app_accepts();
	to_app(fd, "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n");
	to_laptop(fd, GET("/", MATCH));
	silent(app);
	close(fd);
	/* With nobody to split for, a part of a head does not wait for the rest. */
	push(json_array());
	fd = client();
	app_accepts();
	to_app(fd, "GET / HT");
	close(fd);
}

static void test_bad_heads_go_to_the_application_for_good(void **unused)
{
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	to_laptop(fd, GET("/", MATCH));
	from_laptop(fd, OK("1", "l"));
	to_app(fd, GET("/", MATCH "Host: b\r\n"));
	to_app(fd, GET("/", MATCH));
	close(fd);
	/* A bad body on its way to the laptop. */
	fd = client();
	app_accepts();
	to_laptop(fd, "POST / HTTP/1.1\r\nHost: h\r\n" MATCH "Transfer-Encoding: chunked\r\n\r\n");
	say(fd, "x\r\n");
	hears(fd, "HTTP/1.1 400 Bad Request\r\n");
	silent(app);
	assert_true(laptop_ended);
	close(fd);
}

static void test_rubbish_from_the_laptop_is_told(void **unused)
{
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	to_laptop(fd, GET("/", MATCH));
	laptop_says("hello\r\n\r\n");
	hears(fd, "HTTP/1.1 502 Bad Gateway\r\n");
	close(fd);
}

static void test_answers_are_tagged(void **unused)
{
	int fd = client();

	(void)unused;
	push(json_pack("[o]", rule("pod", true)));
	app_accepts();
	to_laptop(fd, GET("/", MATCH));
	laptop_says(OK("1", "l"));
	hears(fd, "HTTP/1.1 200 OK\r\nx-culvert-served-by: ana\r\nContent-Length: 1\r\n\r\nl");
	to_app(fd, GET("/", ""));
	say(app, OK("1", "p"));
	hears(fd, "HTTP/1.1 200 OK\r\nx-culvert-served-by: pod\r\nContent-Length: 1\r\n\r\np");
	close(fd);
}

/* The application is down, and the developer's version is not. */
static void test_requests_reach_the_laptop_without_an_application(void **unused)
{
	int fd;

	(void)unused;
	push_rule("pod");
	close(application);
	fd = client();
	to_laptop(fd, GET("/", MATCH));
	from_laptop(fd, OK("1", "l"));
	application = listen_on((uint16_t)(base_port + 2));
	say(fd, GET("/", ""));
	app_accepts();
	hears(app, GET("/", ""));
	close(fd);
}

static void test_ends_are_passed_on(void **unused)
{
	int fd = client();

	(void)unused;
	app_accepts();
	to_app(fd, GET("/", ""));
	shutdown(fd, SHUT_WR); /* while it waits */
	assert_int_equal(ends(app), 0);
	from_app(fd, OK("1", "p"));
	assert_int_equal(ends(fd), 0);
	close(fd);
	fd = client();
	app_accepts();
	to_app(fd, GET("/", ""));
	from_app(fd, OK("1", "p"));
	close(app); /* idle */
	app = -1;
	assert_int_equal(ends(fd), 0);
	close(fd);
}

/* A client that has said all it will say still gets all its answers. */
static void test_pipelined_requests_before_the_end(void **unused)
{
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	say(fd, GET("/1", "") GET("/2", MATCH) GET("/3", ""));
	shutdown(fd, SHUT_WR);
	hears(app, GET("/1", ""));
	silent(app);
	say(app, OK("1", "1"));
	hears(fd, OK("1", "1"));
	laptop_hears(GET("/2", MATCH));
	laptop_says(OK("1", "2"));
	hears(fd, OK("1", "2"));
	hears(app, GET("/3", ""));
	assert_int_equal(ends(app), 0);
	say(app, OK("1", "3"));
	hears(fd, OK("1", "3"));
	assert_int_equal(ends(fd), 0);
	close(fd);
}

/* What is still on its way when the answer is complete does not reset the connection under it. */
static void test_an_early_answer_arrives(void **unused)
{
	static const char no[] =
		"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
	int fd = client();

	(void)unused;
	app_accepts();
	say(fd, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nsome");
	hears(app, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nsome");
	say(app, no);
	close(app);
	app = -1;
	member_run(&me, 50);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send(fd, "more", 4, MSG_NOSIGNAL), 4);
		member_run(&me, 20);
	}
	hears(fd, no);
	assert_int_equal(ends(fd), 0);
	close(fd);
}

/* 8 MiB of heads wait for their ends; what comes above goes to the application as it is. */
static void test_unfinished_heads_are_bounded(void **unused)
{
	enum { CLIENTS = 140, HEAD = 60000, FIT = 120 };
	static char head[HEAD + 1];
	int fds[CLIENTS], apps[CLIENTS], fd;
	char c;

	(void)unused;
	push_rule("pod");
	memset(head, 'a', HEAD);
	memcpy(head, "GET / HTTP/1.1\r\nHost: hello\r\nx: ", 32);
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = client();
		app_accepts();
		apps[i] = app;
		app = -1;
		say(fds[i], head);
	}
	member_run(&me, 100);
	for (int i = 0; i < FIT; i++)
		assert_int_equal(recv(apps[i], &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(recv(apps[CLIENTS - 1], &c, 1, MSG_DONTWAIT), 1);
	fd = client(); /* a whole head does not wait */
	app_accepts();
	say(fd, GET("/", MATCH));
	laptop_hears(GET("/", MATCH));
	close(fd);
	for (int i = 0; i < CLIENTS; i++) {
		close(fds[i]);
		close(apps[i]);
	}
}

/* An application that ended while a laptop answered is dialled anew, and told again who the client is. */
static void test_a_proxy_header_is_played_again(void **unused)
{
	static const char proxy[] = "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n";
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	say(fd, proxy);
	hears(app, proxy);
	say(fd, GET("/1", MATCH));
	laptop_hears(GET("/1", MATCH));
	laptop_says(OK("1", "l"));
	hears(fd, OK("1", "l"));
	close(app);
	app = -1;
	member_run(&me, 50);
	say(fd, GET("/2", ""));
	app_accepts();
	hears(app, proxy);
	hears(app, GET("/2", ""));
	say(app, OK("1", "p"));
	hears(fd, OK("1", "p"));
	close(fd);
}

/* Nor in the second of two fields, in whatever letters. */
static void test_h2c_is_not_offered_behind_another(void **unused)
{
	static const char offer[] =
		GET("/", "Connection: Upgrade\r\nUpgrade: x\r\nUpgrade: H2C\r\nX: y\r\n");
	int fd = client();

	(void)unused;
	push_rule("pod");
	app_accepts();
	say(fd, offer);
	hears(app, GET("/", "Connection: Upgrade\r\nX: y\r\n"));
	close(fd);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_each_request_by_itself),
		TEST(test_pipelined_requests_keep_their_order),
		TEST(test_a_rule_takes_over_and_gives_back),
		TEST(test_a_request_whose_rule_goes_is_cut_off),
		TEST(test_on_down_is_for_each_request),
		TEST(test_a_kept_connection_that_breaks_is_dialled_anew),
		TEST(test_a_laptop_that_is_away_is_not_waited_for),
		TEST(test_upgrade_is_a_tunnel),
		TEST(test_h2c_is_not_offered_while_a_rule_is_there),
		TEST(test_interim_answers_trailers_and_the_end_of_a_stream),
		TEST(test_large_bodies),
		TEST(test_large_answers),
		TEST(test_who_speaks_first_is_left_alone),
		TEST(test_bad_heads_go_to_the_application_for_good),
		TEST(test_rubbish_from_the_laptop_is_told),
		TEST(test_answers_are_tagged),
		TEST(test_requests_reach_the_laptop_without_an_application),
		TEST(test_ends_are_passed_on),
		TEST(test_h2c_is_not_offered_behind_another),
		TEST(test_a_proxy_header_is_played_again),
		TEST(test_pipelined_requests_before_the_end),
		TEST(test_an_early_answer_arrives),
		TEST(test_unfinished_heads_are_bounded),
	};

	assert_int_equal(crypto_init(), 0);
	if (argc > 1)
		return agent_main(argc, argv); /* we are the child */
	return cmocka_run_group_tests(tests, alone, NULL);
}
