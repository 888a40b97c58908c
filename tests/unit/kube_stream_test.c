/* SPDX-License-Identifier: Apache-2.0 */
/* kube: watches that are interrupted in every way, and upgrades: WebSocket and port-forward as streams. */
#include <errno.h>

#include "kube_server.h"

/* Of the 16 MiB that test_sink sends: byte i is i * 7 + i / 251. */
#define SINK_SHA256 "19fadca851e24ff13e94790d69b23e4c6ca870910a158c9e5b05d0fa886fddee"

/* --- watches -------------------------------------------------------------------------------------------- */

struct log {
	char text[1024];
	struct kube_watch *watch;
	bool done;
	unsigned stop_after;	    /* objects; 0 = never */
	struct kube_client *client; /* freed with it when set */
};

static void note(struct log *l, const char *what, const char *name)
{
	size_t n = strlen(l->text);

	snprintf(l->text + n, sizeof(l->text) - n, "%s%s ", what, name);
}

static void on_begin(void *arg)
{
	note(arg, "begin", "");
}

static void on_object(void *arg, enum kube_change change, json_t *object)
{
	struct log *l = arg;
	const char *name =
		json_string_value(json_object_get(json_object_get(object, "metadata"), "name"));

	note(l, change == KUBE_PRESENT ? "+" : "-", name);
	if (!strcmp(name, "end"))
		l->done = true;
	if (l->stop_after && --l->stop_after == 0) {
		l->done = true;
		if (l->client)
			kube_client_free(l->client);
		else
			kube_watch_stop(l->watch);
	}
}

static void on_complete(void *arg)
{
	note(arg, "complete", "");
}

static void on_trouble(void *arg, const struct kube_reply *why)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", (int)why->failure);
	note(arg, "trouble", number);
	assert_true(*why->sentence);
}

static const struct kube_watch_ops watch_ops = {
	.begin = on_begin,
	.object = on_object,
	.complete = on_complete,
	.trouble = on_trouble,
};

#define LIST "begin +a +b +c complete "

/* The server's script (do_pods): each way a watch can end, one after the other. */
static void test_watch_goes_on(void **unused)
{
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct log l = {.text = ""};
	char want[512];

	(void)unused;
	assert_int_equal(kube_watch_start(&l.watch, c, "/pods", "labelSelector=a", &watch_ops, &l),
			 0);
	if (!run_until(&l.done, 30))
		fail_msg("it came to: %s", l.text);
	snprintf(want, sizeof(want),
		 LIST "+d -a "		/* two watches, the second from the bookmark on */
		 LIST			/* 410 */
		      "trouble%d "	/* 500: goes on where it was */
		 LIST			/* ERROR line of 410 */
		      "trouble%d " LIST /* rubbish */
		      "trouble%d " LIST /* a line without end */
		      "+end ",
		 KUBE_SERVER, KUBE_PROTOCOL, KUBE_TOO_LARGE);
	assert_string_equal(l.text, want);
	kube_watch_stop(l.watch);
	kube_client_free(c);
}

static void test_watch_stopped_in_callback(void **unused)
{
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct log l = {.stop_after = 2};
	bool no = false;

	(void)unused;
	assert_int_equal(kube_watch_start(&l.watch, c, "/pods", NULL, &watch_ops, &l), 0);
	assert_true(run_until(&l.done, 10));
	assert_string_equal(l.text, "begin +a +b ");
	/* In a line of the watch (the server's script is over: it says "end" and waits), and the client with it. */
	l = (struct log){.stop_after = 4, .client = c};
	assert_int_equal(kube_watch_start(&l.watch, c, "/pods", NULL, &watch_ops, &l), 0);
	assert_true(run_until(&l.done, 10));
	(void)run_until(&no, 1);
	assert_string_equal(l.text, LIST "+end ");
}

static void test_watch_line(void **unused)
{
	static const char *const bad[] = {"",
					  "{",
					  "[]",
					  "{\"type\":\"ADDED\"}",
					  "{\"type\":\"X\",\"object\":{}}",
					  "{\"type\":3,\"object\":{}}",
					  "{\"type\":\"ADDED\",\"object\":1}"};
	static const char good[] = "{\"type\":\"BOOKMARK\",\"object\":{\"x\":1}}";
	enum kube_line kind;
	json_t *o;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(kube_watch_line(bad[i], strlen(bad[i]), &kind, &o), -EPROTO);
	assert_int_equal(kube_watch_line(good, strlen(good), &kind, &o), 0);
	assert_int_equal(kind, KUBE_LINE_BOOKMARK);
	assert_int_equal(json_integer_value(json_object_get(o, "x")), 1);
	json_decref(o);
}

/* --- upgrades ------------------------------------------------------------------------------------------- */

struct up {
	bool done;
	struct stream *s;
	enum kube_failure failure;
	char sentence[1024];
	/* reading */
	uint8_t *got;
	size_t len, room;
	bool ended, failed;
	/* writing */
	const uint8_t *out;
	size_t out_len, out_sent, blocked;
};

static void on_upgrade(void *arg, struct stream *s, const struct kube_reply *failure)
{
	struct up *u = arg;

	assert_true(!s == !!failure);
	u->s = s;
	u->done = true;
	if (failure) {
		u->failure = failure->failure;
		snprintf(u->sentence, sizeof(u->sentence), "%s", failure->sentence);
	}
}

static void on_stream(struct stream *s, unsigned ev, void *arg)
{
	struct up *u = arg;

	if (ev & STREAM_READABLE) {
		ssize_t n = stream_read(s, u->got + u->len, u->room - u->len);

		if (n > 0)
			u->len += (size_t)n;
		if (n == 0)
			u->ended = true;
		if (u->ended || u->len == u->room)
			s->ops->want(s, u->out_sent < u->out_len ? STREAM_WRITABLE : 0);
	}
	if (ev & STREAM_WRITABLE) {
		ssize_t n = stream_write(s, u->out + u->out_sent, u->out_len - u->out_sent);

		if (n > 0)
			u->out_sent += (size_t)n;
		if (n == -EAGAIN)
			u->blocked++;
		if (u->out_sent == u->out_len)
			s->ops->want(s, STREAM_READABLE);
	}
	if (ev & STREAM_ERROR)
		u->failed = true;
}

static struct up open_ws(struct kube_client *c, const char *path)
{
	struct up u = {.done = false};

	assert_int_equal(kube_upgrade(c, path, NULL, NULL, 2 * NSEC_PER_SEC, on_upgrade, &u, NULL),
			 0);
	assert_true(run_until(&u.done, 10));
	u.done = false;
	return u;
}

static void use(struct up *u, size_t room, const void *out, size_t out_len)
{
	if (!u->s)
		fail_msg("%s", u->sentence);
	u->got = calloc(1, room + 1);
	u->room = room;
	u->out = out;
	u->out_len = out_len;
	stream_set(u->s, on_stream, u);
	u->s->ops->want(u->s, STREAM_READABLE | (out_len ? STREAM_WRITABLE : 0));
}

static void test_echo(void **unused)
{
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	char path[] = "/ws/echo";
	struct up u = open_ws(c, path);
	struct ipaddr to, here;

	(void)unused;
	assert_int_equal(ipaddr_parse(&here, "127.0.0.1"), 0);
	/* An upgrade's address is remembered as a request's is. */
	assert_int_equal(kube_client_addresses(c, &to, 1), 1);
	assert_true(ipaddr_equal(&to, &here));
	use(&u, 100, "hello", 5);
	while (u.len < 5)
		event_base_loop(base, EVLOOP_ONCE);
	assert_string_equal((char *)u.got, "hello");
	assert_int_equal(u.s->ops->fd(u.s), -1);
	/* Our close frame is answered by one, which is the end. */
	u.s->ops->shutdown(u.s);
	assert_true(run_until(&u.ended, 5));
	assert_int_equal(stream_write(u.s, "x", 1), -EPIPE);
	u.s->ops->close(u.s);
	free(u.got);
	kube_client_free(c);
}

/* The stream outlives the client; bytes behind the handshake, fragments and a ping. */
static void test_early(void **unused)
{
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct up u = open_ws(c, "/ws/early");

	(void)unused;
	kube_client_free(c);
	use(&u, 100, NULL, 0);
	assert_true(run_until(&u.ended, 5));
	assert_string_equal((char *)u.got, "hello pong");
	u.s->ops->close(u.s);
	free(u.got);
}

static void expect_error(const char *path, int error, const char *reason)
{
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct up u = open_ws(c, path);

	use(&u, 100, NULL, 0);
	assert_true(run_until(&u.failed, 5));
	assert_int_equal(u.s->error, error);
	assert_string_equal(kube_stream_reason(u.s), reason);
	/* What came before the error was not lost. */
	if (error == -ECONNRESET)
		assert_string_equal((char *)u.got, "x");
	u.s->ops->close(u.s);
	free(u.got);
	kube_client_free(c);
}

static void test_ends(void **unused)
{
	(void)unused;
	expect_error("/ws/away", -ECONNRESET, "the manager goes away");
	expect_error("/ws/cut", -ECONNRESET, "");
	expect_error("/ws/masked", -EPROTO, "");
}

/* 16 MiB against a reader that begins late: memory stays bounded, since the stream takes no more until it is read. */
static void test_flood(void **unused)
{
	enum { ALL = 256 * 65536 };
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct up u = open_ws(c, "/ws/flood");
	bool no = false;

	(void)unused;
	(void)run_until(&no, 1);
	use(&u, ALL + 1, NULL, 0);
	assert_true(run_until(&u.ended, 30));
	assert_int_equal(u.len, ALL);
	for (size_t i = 0; i < ALL; i++) {
		if (u.got[i] != (uint8_t)i)
			fail_msg("byte %zu is wrong", i);
	}
	u.s->ops->close(u.s);
	free(u.got);
	kube_client_free(c);
}

/* A reader of small pieces of what TLS holds already, and something else that is ready. */
struct turns {
	int pipe[2];
	unsigned reads, reads_before_other;
	bool other;
};

static void on_piece(struct stream *s, unsigned ev, void *arg)
{
	struct turns *t = arg;
	char piece[64];

	assert_int_equal(ev, STREAM_READABLE);
	(void)stream_read(s, piece, sizeof(piece));
	if (!t->reads++)
		assert_int_equal(write(t->pipe[1], "x", 1), 1);
}

static void on_other(int fd, short what, void *arg)
{
	struct turns *t = arg;

	(void)fd;
	(void)what;
	t->other = true;
	t->reads_before_other = t->reads;
}

static void test_others_get_their_turn(void **unused)
{
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct up u = open_ws(c, "/ws/flood");
	struct turns t = {.reads = 0};
	struct event *other;

	(void)unused;
	assert_int_equal(pipe(t.pipe), 0);
	other = event_new(base, t.pipe[0], EV_READ, on_other, &t);
	event_add(other, NULL);
	stream_set(u.s, on_piece, &t);
	u.s->ops->want(u.s, STREAM_READABLE);
	assert_true(run_until(&t.other, 10));
	assert_in_range(t.reads_before_other, 1, 4);
	event_free(other);
	close(t.pipe[0]);
	close(t.pipe[1]);
	u.s->ops->abort(u.s);
	kube_client_free(c);
}

/* 16 MiB to a reader that begins late: the stream says that it is full. */
static void test_sink(void **unused)
{
	enum { ALL = 16 << 20 };
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct up u = open_ws(c, "/ws/sink");
	struct kube_call go = {.path = "/go"};
	uint8_t *out = malloc(ALL);
	struct kept k;
	size_t taken = 0;
	ssize_t n;

	(void)unused;
	for (size_t i = 0; i < ALL; i++)
		out[i] = (uint8_t)(i * 7 + i / 251);
	/* Without the loop turning it takes what fits, and no more. */
	while ((n = stream_write(u.s, out + taken, ALL - taken)) > 0)
		taken += (size_t)n;
	assert_int_equal(n, -EAGAIN);
	assert_in_range(taken, 1, 15 << 20);
	ask(c, &go, &k);
	kept_free(&k);
	use(&u, 64, out, ALL);
	u.out_sent = taken;
	while (u.len < 64 && !u.failed)
		event_base_loop(base, EVLOOP_ONCE);
	assert_string_equal((char *)u.got, SINK_SHA256);
	u.s->ops->abort(u.s);
	free(u.got);
	free(out);
	kube_client_free(c);
}

static void test_refused(void **unused)
{
	static const struct {
		const char *path;
		enum kube_failure failure;
		const char *sentence;
	} cases[] = {
		{"/status/403", KUBE_FORBIDDEN, "alice may not patch deployments.apps"},
		{"/nothing", KUBE_NOT_FOUND, "could not find"},
		{"/ws/plain", KUBE_PROTOCOL, "was answered 200 without one"},
		{"/ws/wrong", KUBE_PROTOCOL, "was answered 101 without one"},
		{"/ws/rubbish", KUBE_PROTOCOL, "no HTTP"},
		{"/ws/silent", KUBE_TIMEOUT, "did not answer the upgrade within 2 s"},
		{"/status/401", KUBE_UNAUTHORIZED, "does not accept the credentials"},
	};
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct up u = open_ws(c, cases[i].path);

		assert_null(u.s);
		assert_int_equal(u.failure, cases[i].failure);
		assert_contains(u.sentence, cases[i].sentence);
	}
	kube_client_free(c);
}

static void no_upgrade(void *arg, struct stream *s, const struct kube_reply *failure)
{
	(void)arg;
	(void)s;
	(void)failure;
	fail_msg("called after cancel");
}

static void test_upgrade_cancelled(void **unused)
{
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct kube_upgrade *u;
	struct timeval tv = {.tv_usec = 1000};
	bool no = false;

	(void)unused;
	/* At each of its stages, a little later each time; the last with the client. */
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(kube_upgrade(c, "/ws/silent", NULL, NULL, 0, no_upgrade, NULL, &u),
				 0);
		for (unsigned k = 0; k < i; k++) {
			event_base_loopexit(base, &tv);
			event_base_loop(base, EVLOOP_ONCE);
		}
		if (i < 11)
			kube_upgrade_cancel(u);
	}
	kube_client_free(c);
	(void)run_until(&no, 1);
}

/* By tls-server-name, behind a path of the server URL, and without TLS. */
static void test_ways(void **unused)
{
	static const char named[] =
		"tls-server-name: kube.test, certificate-authority: " DATA "/tls/ca.crt";
	char prefix[64], plain[64];

	(void)unused;
	snprintf(prefix, sizeof(prefix), "https://127.0.0.1:%d/prefix/", port_tls);
	snprintf(plain, sizeof(plain), "http://127.0.0.1:%d", port_plain);
	for (unsigned i = 0; i < 3; i++) {
		const char *const servers[] = {NULL, prefix, plain};
		struct kube_client *c =
			make_client(servers[i], i == 2 ? "" : named, "token: t", NULL);
		struct up u = open_ws(c, "/ws/echo");

		use(&u, 3, "abc", 3);
		while (u.len < 3)
			event_base_loop(base, EVLOOP_ONCE);
		u.s->ops->close(u.s);
		free(u.got);
		kube_client_free(c);
	}
}

/* Through a proxy: requests and upgrades. */
static void test_proxy(void **unused)
{
	struct kube_call call = {.path = "/tunnels"};
	struct kube_client *c;
	char cluster[256];
	struct kept k;
	struct up u;

	(void)unused;
	snprintf(cluster, sizeof(cluster),
		 "proxy-url: 'http://127.0.0.1:%d', certificate-authority: " DATA "/tls/ca.crt",
		 port_plain);
	c = make_client(NULL, cluster, "token: t", NULL);
	u = open_ws(c, "/ws/echo");
	use(&u, 3, "abc", 3);
	while (u.len < 3)
		event_base_loop(base, EVLOOP_ONCE);
	ask(c, &call, &k);
	assert_int_equal(json_integer_value(json_object_get(k.json, "tunnels")), 2);
	kept_free(&k);
	u.s->ops->close(u.s);
	free(u.got);
	kube_client_free(c);
}

/* --- port-forward --------------------------------------------------------------------------------------- */

static struct up forward(struct kube_client *c, const char *pod)
{
	struct up u = {.done = false};

	assert_int_equal(kube_port_forward(c, "shop", pod, 8080, 0, on_upgrade, &u, NULL), 0);
	assert_true(run_until(&u.done, 10));
	return u;
}

static void test_port_forward(void **unused)
{
	struct kube_client *c = make_client(NULL, NULL, "token: t", NULL);
	struct up u = forward(c, "echo");

	(void)unused;
	use(&u, 100, "shout", 5);
	while (u.len < 5)
		event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(u.len, 5);
	assert_memory_equal(u.got, "SHOUT", 5);
	u.s->ops->shutdown(u.s);
	assert_true(run_until(&u.ended, 5));
	u.s->ops->close(u.s);
	free(u.got);

	u = forward(c, "refused");
	use(&u, 100, NULL, 0);
	assert_true(run_until(&u.failed, 5));
	assert_int_equal(u.s->error, -ECONNREFUSED);
	assert_string_equal(kube_stream_reason(u.s), "error forwarding port: connection refused");
	u.s->ops->close(u.s);
	free(u.got);

	u = forward(c, "gone");
	assert_null(u.s);
	assert_int_equal(u.failure, KUBE_NOT_FOUND);
	assert_contains(u.sentence, "pods \"gone\" not found");
	u = forward(c, "other");
	assert_null(u.s);
	assert_contains(u.sentence, "does not speak the protocol asked for");
	assert_int_equal(kube_port_forward(c, "shop", "a/b", 1, 0, on_upgrade, &u, NULL), -EINVAL);
	kube_client_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watch_goes_on),
		cmocka_unit_test(test_watch_stopped_in_callback),
		cmocka_unit_test(test_watch_line),
		cmocka_unit_test(test_echo),
		cmocka_unit_test(test_early),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_others_get_their_turn),
		cmocka_unit_test(test_sink),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_upgrade_cancelled),
		cmocka_unit_test(test_ways),
		cmocka_unit_test(test_proxy),
		cmocka_unit_test(test_port_forward),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
