/* SPDX-License-Identifier: Apache-2.0 */
/* Heads on their way through, both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "gateway/bytes.h"

#define ID "0123456789abcdef0123456789abcdef"

static const struct passage passage = {
	.host = ID ".preview.test:8443",
	.name = ID ".preview.test",
	.l5 = "Shop.example.com",
	.port = 8080,
	.marked = true,
	.id = ID,
	.header = ID ":shop",
	.from = "10.0.0.9",
	.loop = "feed",
};

static void request(const char *raw, const struct passage *p, const char *want)
{
	struct h1 *h = h1_new();
	struct buf out = {.p = NULL};
	size_t n;

	assert_int_equal(h1_request(h, (const uint8_t *)raw, strlen(raw), &n), H1_HEAD);
	head_to_ingress(&out, h1_head(h), h1_head(h)->target,
			head_minor((const uint8_t *)raw, n, h1_head(h)), p);
	assert_false(out.failed);
	buf_add(&out, "", 1);
	assert_string_equal(buf_data(&out), want);
	buf_free(&out);
	h1_free(h);
}

static void answer(const char *raw, bool close, const char *want)
{
	static const char get[] =
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
	struct h1 *h = h1_new();
	struct buf out = {.p = NULL};
	enum h1_step step;
	size_t n;

	assert_int_equal(h1_request(h, (const uint8_t *)get, strlen(get), &n), H1_HEAD);
	step = h1_answer(h, (const uint8_t *)raw, strlen(raw), &n);
	assert_true(step == H1_HEAD || step == H1_TUNNEL);
	head_to_visitor(&out, h1_head(h), (const uint8_t *)raw, n, close, &passage);
	buf_add(&out, "", 1);
	assert_string_equal(buf_data(&out), want);
	buf_free(&out);
	h1_free(h);
}

#define OURS                                                                                       \
	"baggage: culvert=" ID "\r\nx-culvert-intercept-id: " ID ":shop\r\nx-culvert-preview: " ID \
	"\r\nx-culvert-gateway: feed\r\n" FORWARDED
#define FORWARDED                                                                                  \
	"x-forwarded-for: 10.0.0.9\r\nx-forwarded-proto: https\r\nx-forwarded-host: " ID           \
	".preview.test:8443\r\n"

static void test_request(void **unused)
{
	struct passage cluster = passage;

	(void)unused;
	request("GET /a?b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n", &passage,
		"GET /a?b HTTP/1.1\r\nHost: Shop.example.com\r\nAccept: */*\r\n" OURS "\r\n");
	request("GET / HTTP/1.1\r\nHost: x\r\nX_Forwarded-For: 1\r\nx-forwarded-client-cert: 2\r\n"
		"X_CULVERT_preview: 3\r\nx-forwarded: 4\r\nx_culvert: 5\r\n\r\n",
		&passage,
		"GET / HTTP/1.1\r\nHost: Shop.example.com\r\nx-forwarded: 4\r\nx_culvert: "
		"5\r\n" OURS "\r\n");
	cluster.marked = false;
	request("GET / HTTP/1.0\r\nHost: x\r\nX-CULVERT-Anything: 1\r\nbaggage: culvert=" ID
		"\r\n\r\n",
		&cluster,
		"GET / HTTP/1.0\r\nHost: Shop.example.com\r\nx-culvert-gateway: feed\r\n" FORWARDED
		"\r\n");
}

/* What a Connection field names is one hop's; it cannot make a message longer or shorter, or its visitor another. */
static void test_hop_by_hop(void **unused)
{
	(void)unused;
	request("POST / HTTP/1.1\r\nHost: x\r\nConnection: close, Transfer-Encoding , "
		"X-a,Cookie,Content-Length,Host\r\n"
		"Transfer-Encoding: chunked\r\nX-A: 1\r\nx-ab: 2\r\nCookie: a=1\r\nKeep-Alive: "
		"5\r\nTE: gzip\r\nTrailer: x\r\n"
		"Proxy-Authorization: secret\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
		&passage,
		"POST / HTTP/1.1\r\nHost: Shop.example.com\r\nTransfer-Encoding: chunked\r\nx-ab: "
		"2\r\nTrailer: x\r\n"
		"cookie: a=1\r\n" OURS "\r\n");
	request("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: "
		"websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
		&passage,
		"GET / HTTP/1.1\r\nHost: Shop.example.com\r\nSec-WebSocket-Key: k\r\n" OURS
		"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void test_lists(void **unused)
{
	(void)unused;
	request("GET / HTTP/1.1\r\nHost: x\r\nCookie: __Host-culvert=a; b=1;__host-CULVERT-x=2\r\n"
		"cookie: __Host-culvert-login=3\r\nCookie:  c=4 ;\r\nBaggage: culvert "
		"=evil,a=1;p\r\nbaggage: culvertx=2,, culvert=3\r\n\r\n",
		&passage,
		"GET / HTTP/1.1\r\nHost: Shop.example.com\r\ncookie: b=1; c=4\r\nbaggage: "
		"culvert=" ID ",a=1;p,culvertx=2\r\nx-culvert-intercept-id: " ID
		":shop\r\nx-culvert-preview: " ID "\r\nx-culvert-gateway: feed\r\n" FORWARDED
		"\r\n");
}

static void test_origins(void **unused)
{
	struct passage secure = passage;

	(void)unused;
	secure.tls = true;
	request("GET / HTTP/1.1\r\nHost: x\r\nOrigin: https://" ID
		".PREVIEW.test:8443\r\nReferer: https://" ID ".preview.test:8443/a?b\r\n\r\n",
		&secure,
		"GET / HTTP/1.1\r\nHost: Shop.example.com\r\nOrigin: https://Shop.example.com\r\n"
		"Referer: https://Shop.example.com/a?b\r\n" OURS "\r\n");
	request("GET / HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nReferer: https://" ID
		".preview.test:84430/\r\n\r\n",
		&secure,
		"GET / HTTP/1.1\r\nHost: Shop.example.com\r\nOrigin: null\r\nReferer: https://" ID
		".preview.test:84430/\r\n" OURS "\r\n");
}

static void test_answer(void **unused)
{
	(void)unused;
	answer("HTTP/1.1 200 Fine by me\r\nContent-Length: 1\r\nConnection: X-Hop\r\nX-Hop: "
	       "1\r\nAlt-Svc: h3\r\nX: y\r\n\r\n",
	       false, "HTTP/1.1 200 Fine by me\r\nContent-Length: 1\r\nX: y\r\n\r\n");
	answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", true,
	       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n");
	answer("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", true,
	       "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
	answer("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: "
	       "WebSocket\r\nSec-WebSocket-Accept: a\r\n\r\n",
	       false,
	       "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\nConnection: "
	       "Upgrade\r\nUpgrade: websocket\r\n\r\n");
}

static void location(const char *in, const char *want)
{
	char raw[300], out[300];

	snprintf(raw, sizeof(raw),
		 "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n", in);
	snprintf(out, sizeof(out),
		 "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n", want);
	answer(raw, false, out);
}

static void test_locations(void **unused)
{
	static const char own[] = "https://" ID ".preview.test:8443";
	char want[200];

	(void)unused;
	snprintf(want, sizeof(want), "%s/a?b#c", own);
	location("http://shop.example.com/a?b#c", want);
	location("HTTPS://SHOP.example.com:443/a?b#c", want);
	location("https://shop.example.com:8080/a?b#c", want);
	location("//shop.example.com./a?b#c", want);
	location("https://shop.example.com", own);
	location("https://shop.example.com:9000/a", "https://shop.example.com:9000/a");
	location("https://shop.example.com.evil/a", "https://shop.example.com.evil/a");
	location("https://evil@shop.example.com/a", "https://evil@shop.example.com/a");
	location("/shop.example.com", "/shop.example.com");
	location("shop.example.com/a", "shop.example.com/a");
	location("https://", "https://");
}

static void test_set_cookies(void **unused)
{
	(void)unused;
	answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1;Domain=shop.example.com;  "
	       "Path=/\r\nset-cookie: b=2; "
	       "DOMAIN = example.com\r\nSet-Cookie: c=3; domain=.EXAMPLE.com\r\nSet-Cookie: d=4; "
	       "Domain=ample.com; Domain=com.evil\r\n"
	       "Set-Cookie: __Host-culvert=x; Path=/\r\nSet-Cookie:  "
	       "__host-Culvert-dashboard=x\r\nSet-Cookie: =__Host-culvert=x\r\nSet-Cookie: e=5; "
	       "Expires=Wed, 21 Oct 2015 07:28:00 "
	       "GMT\r\n\r\n",
	       false,
	       "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1; Domain=" ID
	       ".preview.test; Path=/\r\nset-cookie: b=2; Domain=" ID
	       ".preview.test\r\nSet-Cookie: c=3; Domain=" ID
	       ".preview.test\r\nSet-Cookie: d=4; Domain=ample.com; Domain=com.evil\r\nSet-Cookie: "
	       "e=5; Expires=Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),	    cmocka_unit_test(test_hop_by_hop),
		cmocka_unit_test(test_lists),	    cmocka_unit_test(test_origins),
		cmocka_unit_test(test_answer),	    cmocka_unit_test(test_locations),
		cmocka_unit_test(test_set_cookies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
