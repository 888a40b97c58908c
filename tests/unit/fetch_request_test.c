/* SPDX-License-Identifier: Apache-2.0 */
/* One request and its answer, from a site in the same loop: what is sent, what is not followed, what is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fetch/fetch.h"
#include "tests/unit/http_site.h"

static struct event_base *base;
static struct fetch_multi *multi;
static struct site site;
static char url[128], seen_head[8192], seen_body[4096];

/* The one answer, or what is written instead of it. */
static struct {
	int status;
	const char *more, *body;
	size_t len; /* of 'x' instead of `body` */
	const char *raw;
} give;

static struct {
	int calls, status;
	char sentence[1024], body[64];
	size_t len;
} got;

static void answer(struct site *s, const char *head, const char *body, struct evbuffer *out)
{
	(void)s;
	snprintf(seen_head, sizeof(seen_head), "%s", head);
	snprintf(seen_body, sizeof(seen_body), "%s", body);
	if (give.raw) {
		evbuffer_add_printf(out, "%s", give.raw);
	} else if (give.len) {
		char *big = malloc(give.len);

		memset(big, 'x', give.len);
		evbuffer_add_printf(out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
				    give.len);
		evbuffer_add(out, big, give.len);
		free(big);
	} else {
		site_say(out, give.status, give.more, give.body);
	}
}

static void on_reply(void *arg, const struct fetch_reply *reply)
{
	(void)arg;
	got.calls++;
	got.status = reply->status;
	got.len = reply->len;
	snprintf(got.sentence, sizeof(got.sentence), "%s", reply->sentence ? reply->sentence : "");
	snprintf(got.body, sizeof(got.body), "%.60s", reply->body);
	assert_int_equal(reply->body[reply->len], 0);
	assert_int_equal(!reply->status, reply->sentence != NULL);
	event_base_loopbreak(base);
}

static int setup(void **unused)
{
	(void)unused;
	setenv("http_proxy", "http://127.0.0.1:1", 1); /* of no account on this machine */
	base = event_base_new();
	site.answer = answer;
	if (!base || site_open(&site, base) || fetch_multi_new(&multi, base))
		return -1;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/a?b=c", site.port);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	fetch_multi_free(multi);
	evconnlistener_free(site.listener);
	event_base_free(base);
	return 0;
}

static void run(const struct fetch_call *call)
{
	memset(&got, 0, sizeof(got));
	assert_int_equal(fetch(multi, call, on_reply, NULL, NULL), 0);
	assert_int_equal(got.calls, 0); /* from the loop alone */
	event_base_dispatch(base);
	assert_int_equal(got.calls, 1);
	memset(&give, 0, sizeof(give));
}

#define RUN(...)      run(&(struct fetch_call){.url = url, __VA_ARGS__})
#define GIVE(s, m, b) (give.status = (s), give.more = (m), give.body = (b))

static void test_requests(void **unused)
{
	(void)unused;
	GIVE(200, "", "hello");
	RUN(.form = NULL);
	assert_int_equal(got.status, 200);
	assert_string_equal(got.body, "hello");
	assert_non_null(strstr(seen_head, "GET /a?b=c HTTP/1.1\r\n"));
	assert_non_null(strstr(seen_head, "\r\nAccept: application/json\r\n"));
	assert_non_null(strstr(seen_head, "\r\nUser-Agent: culvert/"));
	assert_null(strstr(seen_head, "Authorization"));

	GIVE(400, "", "{\"error\":\"x\"}");
	RUN(.form = "a=b&c=%20", .user = "me%3A", .password = "");
	assert_int_equal(got.status, 400);
	assert_string_equal(got.body, "{\"error\":\"x\"}");
	assert_non_null(strstr(seen_head, "POST /a?b=c HTTP/1.1\r\n"));
	assert_non_null(
		strstr(seen_head, "\r\nContent-Type: application/x-www-form-urlencoded\r\n"));
	assert_non_null(strstr(seen_head, "\r\nAuthorization: Basic bWUlM0E6\r\n"));
	assert_string_equal(seen_body, "a=b&c=%20");

	GIVE(204, "", "");
	RUN(.form = "");
	assert_int_equal(got.status, 204);
	assert_string_equal(got.body, "");
}

static void test_redirect(void **unused)
{
	char to[160];
	unsigned before = site.requests;

	(void)unused;
	snprintf(to, sizeof(to), "Location: %s\r\n", url);
	GIVE(302, to, "there");
	RUN(.form = NULL);
	assert_int_equal(got.status, 302);
	assert_int_equal(site.requests, before + 1);
}

static void test_bounds(void **unused)
{
	(void)unused;
	give.len = FETCH_ANSWER_MAX;
	RUN(.form = NULL);
	assert_int_equal(got.status, 200);
	assert_int_equal(got.len, FETCH_ANSWER_MAX);
	give.len = FETCH_ANSWER_MAX + 1;
	RUN(.form = NULL);
	assert_string_equal(got.sentence, "the answer of 127.0.0.1 is larger than 1048576 bytes");
	assert_int_equal(got.len, 0);
}

static void test_broken(void **unused)
{
	static const char *const broken[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"SSH-2.0-OpenSSH_9.2\r\n",
	};
	char other[64];
	struct site none = {.answer = answer};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		give.raw = broken[i];
		RUN(.form = NULL);
		assert_non_null(strstr(got.sentence, "127.0.0.1: "));
	}
	site_open(&none, base);
	evconnlistener_free(none.listener);
	snprintf(other, sizeof(other), "http://127.0.0.1:%d/", none.port);
	run(&(struct fetch_call){.url = other});
	assert_non_null(strstr(got.sentence, "127.0.0.1: Failed to connect"));
}

/* --- ends -------------------------------------------------------------------------------------------------- */

static struct fetch *second;

static void free_all(void *arg, const struct fetch_reply *reply)
{
	(void)arg;
	(void)reply;
	got.calls++;
	fetch_cancel(second);
	second = NULL;
	fetch_multi_free(multi);
	multi = NULL;
	event_base_loopbreak(base);
}

static void test_freed_in_the_callback(void **unused)
{
	struct fetch_call call = {.url = url};

	(void)unused;
	GIVE(200, "", "");
	got.calls = 0;
	assert_int_equal(fetch(multi, &call, on_reply, NULL, &second), 0);
	fetch_cancel(second);
	assert_int_equal(fetch(multi, &call, free_all, NULL, NULL), 0);
	assert_int_equal(fetch(multi, &call, on_reply, NULL, &second), 0);
	/* Whichever comes first: of the two one may have come before. */
	while (multi)
		event_base_dispatch(base);
	assert_in_range(got.calls, 1, 2);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(fetch_multi_new(&multi, base), 0);
}

static void test_urls(void **unused)
{
	static const char *const good[] = {
		"https://a",
		"https://issuer.example.com:8443/x/y?z=1",
		"https://10.0.0.1/",
		"https://[fd00::1]/",
		"http://127.0.0.1:80/",
		"http://127.9.9.9/",
		"http://[::1]:1/",
	};
	static const struct {
		const char *url, *says;
	} bad[] = {
		{"", "no usable URL"},
		{"https://", "no usable URL"},
		{"https:/a/b", "no usable URL"},
		{"https:///a", "no usable URL"},
		{"HTTPS://a", "no usable URL"},
		{"a.example.com", "no usable URL"},
		{"file:///etc/passwd", "no usable URL"},
		{"https://u@a/", "no usable URL"},
		{"https://u:p@a/", "no usable URL"},
		{"https://a/#f", "no usable URL"},
		{"https://a/ b", "no usable URL"},
		{"https://a/\r\nX: y", "no usable URL"},
		{"https://a:99999/", "no usable URL"},
		{"https://z\xc3\xb6/", "no usable URL"},
		{"http://10.0.0.1/", "not encrypted"},
		{"http://localhost/", "not encrypted"},
		{"http://127.0.0.1.example.com/", "not encrypted"},
		{"http://[::ffff:10.0.0.1]/", "not encrypted"},
	};
	struct error e;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (fetch_url_check(good[i], &e))
			fail_msg("%s", e.text);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (!fetch_url_check(bad[i].url, &e) || !strstr(e.text, bad[i].says))
			fail_msg("%s: %s", bad[i].url, e.text);
		assert_int_not_equal(
			fetch(multi, &(struct fetch_call){.url = bad[i].url}, on_reply, NULL, NULL),
			0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_redirect),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_freed_in_the_callback),
		cmocka_unit_test(test_urls),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
