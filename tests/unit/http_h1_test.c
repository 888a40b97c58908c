/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1: what is taken for a message, and above all what is not. Each case whole, and byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <llhttp.h>

#include <cmocka.h>

#include "base/util.h"
#include "http/http.h"

#define REQ(line, fields) line "\r\n" fields "\r\n"
#define POST		  "POST / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED		  POST "Transfer-Encoding: chunked\r\n\r\n"

struct shape {
	const char *name, *text;
	size_t len; /* 0 = strlen */
};

/* Two who read these may see different requests in them (RFC 9112, 11.2). */
static const struct shape refused[] = {
	{"length and coding", POST "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 0},
	{"coding and length", POST "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", 0},
	{"two lengths", POST "Content-Length: 4\r\nContent-Length: 5\r\n\r\n", 0},
	{"the same length twice", POST "Content-Length: 4\r\nContent-Length: 4\r\n\r\n", 0},
	{"a list of lengths", POST "Content-Length: 4, 4\r\n\r\n", 0},
	{"a signed length", POST "Content-Length: +4\r\n\r\n", 0},
	{"a negative length", POST "Content-Length: -4\r\n\r\n", 0},
	{"a hexadecimal length", POST "Content-Length: 0x4\r\n\r\n", 0},
	{"an empty length", POST "Content-Length: \r\n\r\n", 0},
	{"a length of two words", POST "Content-Length: 4 4\r\n\r\n", 0},
	{"a length beyond 64 bits", POST "Content-Length: 18446744073709551617\r\n\r\n", 0},
	{"a length with underscore", POST "Content-Length: 1_0\r\n\r\n", 0},
	{"space before the colon", POST "Content-Length : 4\r\n\r\n", 0},
	{"tab before the colon", POST "Transfer-Encoding\t: chunked\r\n\r\n", 0},
	{"gzip, chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n", 0},
	{"chunked, identity", POST "Transfer-Encoding: chunked, identity\r\n\r\n", 0},
	{"identity", POST "Transfer-Encoding: identity\r\n\r\n", 0},
	{"xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n", 0},
	{"chunked in quotes", POST "Transfer-Encoding: \"chunked\"\r\n\r\n", 0},
	{"chunked twice", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	 0},
	{"chunked, then another", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
	 0},
	{"vertical tab and chunked", POST "Transfer-Encoding: \vchunked\r\n\r\n", 0},
	{"folded coding", POST "Transfer-Encoding:\r\n chunked\r\n\r\n", 0},
	{"coding in a folded line", POST "X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n", 0},
	{"coding in HTTP/1.0", REQ("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n"), 0},
	{"two hosts", REQ("GET / HTTP/1.1", "Host: a\r\nHost: b\r\n"), 0},
	{"the same host twice", REQ("GET / HTTP/1.1", "Host: a\r\nHost: a\r\n"), 0},
	{"no host", REQ("GET / HTTP/1.1", ""), 0},
	{"a host of two words", REQ("GET / HTTP/1.1", "Host: a b\r\n"), 0},
	{"a host with a path", REQ("GET / HTTP/1.1", "Host: a/b\r\n"), 0},
	{"a host with a user", REQ("GET / HTTP/1.1", "Host: u@a\r\n"), 0},
	{"another host in the target", REQ("GET http://b/ HTTP/1.1", "Host: a\r\n"), 0},
	{"HTTP/0.9", "GET /\r\n\r\n", 0},
	{"HTTP/2.0 as text", REQ("GET / HTTP/2.0", "Host: a\r\n"), 0},
	{"HTTP/1.2", REQ("GET / HTTP/1.2", "Host: a\r\n"), 0},
	{"HTTP/1.10", REQ("GET / HTTP/1.10", "Host: a\r\n"), 0},
	{"http in small letters", REQ("GET / http/1.1", "Host: a\r\n"), 0},
	{"LF alone", "GET / HTTP/1.1\nHost: a\n\n", 0},
	{"LF alone after a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 0},
	{"LF alone at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 0},
	{"CR alone as a line's end", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 0},
	{"CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 0},
	{"NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 37},
	{"NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", 36},
	{"a folded first field", "GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n", 0},
	{"a line without a colon", REQ("GET / HTTP/1.1", "Host: a\r\nX\r\n"), 0},
	{"an empty name", REQ("GET / HTTP/1.1", "Host: a\r\n: b\r\n"), 0},
	{"a name with a space", REQ("GET / HTTP/1.1", "Host: a\r\nX Y: b\r\n"), 0},
	{"a name with a slash", REQ("GET / HTTP/1.1", "Host: a\r\nX/Y: b\r\n"), 0},
	{"a name beyond ASCII", REQ("GET / HTTP/1.1", "Host: a\r\nX\xc3\xa4: b\r\n"), 0},
	{"two spaces before the target", REQ("GET  / HTTP/1.1", "Host: a\r\n"), 0},
	{"two spaces behind the target", REQ("GET /  HTTP/1.1", "Host: a\r\n"), 0},
	{"a target of two words", REQ("GET /a b HTTP/1.1", "Host: a\r\n"), 0},
	{"a tab in the request line", REQ("GET\t/ HTTP/1.1", "Host: a\r\n"), 0},
	{"a method that is no token", REQ("G@T / HTTP/1.1", "Host: a\r\n"), 0},
	{"an empty line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 0},
	{"the preface of HTTP/2", "PRI * HTTP/1.1\r\nHost: a\r\n\r\n", 0},
	{"CONNECT with a body", REQ("CONNECT a:1 HTTP/1.1", "Host: a:1\r\nContent-Length: 3\r\n"),
	 0},
	/* Bodies */
	{"a chunk's size is no number", CHUNKED "x\r\n", 0},
	{"no size", CHUNKED "\r\n", 0},
	{"a signed size", CHUNKED "-1\r\n", 0},
	{"0x in a size", CHUNKED "0x3\r\nabc\r\n", 0},
	{"space before a size", CHUNKED " 3\r\nabc\r\n", 0},
	{"space behind a size", CHUNKED "3 \r\nabc\r\n", 0},
	{"a size beyond 60 bits", CHUNKED "1000000000000000\r\n", 0},
	{"LF alone behind a size", CHUNKED "3\nabc\r\n", 0},
	{"LF alone in an extension", CHUNKED "3;a\nbc\r\nabc\r\n", 0},
	{"CR alone in an extension", CHUNKED "3;a\rb\r\nabc\r\n", 0},
	{"a chunk longer than its size", CHUNKED "3\r\nabcd\r\n0\r\n\r\n", 0},
	{"LF alone behind a chunk", CHUNKED "3\r\nabc\n0\r\n\r\n", 0},
	{"LF alone at the end of all", CHUNKED "0\r\n\n", 0},
	{"a folded trailer", CHUNKED "0\r\nA: b\r\n c\r\n\r\n", 0},
	{"a trailer without a name", CHUNKED "0\r\n: b\r\n\r\n", 0},
	{"LF alone behind a trailer", CHUNKED "0\r\nA: b\n\r\n", 0},
};

/* And these are as they should be. */
static const struct shape taken[] = {
	{"GET", REQ("GET / HTTP/1.1", "Host: a\r\n"), 0},
	{"an unknown method", REQ("QUERY /a?b=c HTTP/1.1", "Host: a\r\n"), 0},
	{"one of llhttp's other protocols", REQ("ANNOUNCE / HTTP/1.1", "Host: a\r\n"), 0},
	{"HTTP/1.0 without a host", REQ("GET / HTTP/1.0", ""), 0},
	{"an empty host", REQ("GET / HTTP/1.1", "Host:\r\n"), 0},
	{"a proxy's target", REQ("GET http://a/ HTTP/1.1", "host: A\r\n"), 0},
	{"OPTIONS *", REQ("OPTIONS * HTTP/1.1", "Host: a\r\n"), 0},
	{"CONNECT", REQ("CONNECT a:1 HTTP/1.1", "Host: a:1\r\n"), 0},
	{"a length", POST "Content-Length: 4\r\n\r\nbody", 0},
	{"Chunked", POST "transfer-encoding: Chunked \r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nT: 1\r\n\r\n",
	 0},
	{"an empty body of chunks", CHUNKED "0\r\n\r\n", 0},
	{"values beyond ASCII", REQ("GET / HTTP/1.1", "Host: a\r\nX: \xc3\xa4\r\n"), 0},
};

/* How many bytes belong to the message, as it is fed `by` bytes at a time; -1 = refused. */
static ssize_t walk(const struct shape *s, size_t by)
{
	size_t len = s->len ? s->len : strlen(s->text), at = 0, have = MIN(by, len), n;
	struct h1 *h = h1_new();
	enum h1_step step;

	assert_non_null(h);
	do {
		step = h1_request(h, (const uint8_t *)s->text + at, have - at, &n);
		assert_true(n <= have - at);
		if (step == H1_BAD)
			assert_int_equal(n, 0);
		at += n;
		if (step == H1_MORE)
			have = MIN(have + by, len);
	} while (step != H1_BAD && step != H1_END && (step != H1_MORE || at + 1 <= have) &&
		 !(step == H1_MORE && have == len && by >= len));
	h1_free(h);
	return step == H1_BAD ? -1 : (ssize_t)at;
}

static void test_refused(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		print_message("%s\n", refused[i].name);
		assert_int_equal(walk(&refused[i], SIZE_MAX / 2), -1);
		assert_int_equal(walk(&refused[i], 1), -1);
	}
}

static void test_taken(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		print_message("%s\n", taken[i].name);
		assert_int_equal(walk(&taken[i], SIZE_MAX / 2), strlen(taken[i].text));
		assert_int_equal(walk(&taken[i], 1), strlen(taken[i].text));
	}
}

/* --- the second opinion ----------------------------------------------------------------------------------------------- */

static int count_head(llhttp_t *p)
{
	(*(unsigned *)p->data)++;
	return 1; /* no body */
}

static bool llhttp_takes(const char *head, size_t n, bool answer)
{
	static const llhttp_settings_t settings = {.on_headers_complete = count_head};
	const char *space = memchr(head, ' ', n);
	unsigned heads = 0;
	llhttp_t p;
	llhttp_errno_t r = HPE_OK;

	llhttp_init(&p, answer ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
	p.data = &heads;
	if (!answer) { /* it does not know all methods */
		r = llhttp_execute(&p, "POST", 4);
		n -= (size_t)(space - head);
		head = space;
	}
	if (r == HPE_OK)
		r = llhttp_execute(&p, head, n);
	return (r == HPE_OK || r == HPE_PAUSED_UPGRADE) && heads == 1;
}

static bool h1_takes(const char *head, size_t n, bool answer)
{
	static const char request[] =
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n";
	struct h1 *h = h1_new();
	size_t n_taken;
	enum h1_step step;

	assert_non_null(h);
	if (answer) {
		assert_int_equal(
			h1_request(h, (const uint8_t *)request, sizeof(request) - 1, &n_taken),
			H1_HEAD);
		step = h1_answer(h, (const uint8_t *)head, n, &n_taken);
	} else {
		step = h1_request(h, (const uint8_t *)head, n, &n_taken);
	}
	h1_free(h);
	return (step == H1_HEAD || step == H1_TUNNEL) && n_taken == n;
}

/* Heads of the common kind are not shown to llhttp: it has to take whatever we take of them. Any two bytes for the two
 * marks ^, which stand where something else is looked for each. */
static void test_llhttp_takes_what_is_taken(void **unused)
{
	static const struct {
		bool answer;
		const char *head;
	} kinds[] = {
		{false, "GET /^^ HTTP/1.1\r\nHost: a\r\n\r\n"},
		{false, "GET ^^ HTTP/1.1\r\nHost: a\r\n\r\n"},
		{false, "GET /a?^#^ HTTP/1.1\r\nHost: a\r\n\r\n"},
		{false, "G^T^ / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{false, "GET / HTTP/1.^\r^Host: a\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: ^a^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\nX^: ^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\n^:^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:^1^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1^^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:^chunked^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked^^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\nConnection:^close^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade^^\r\nUpgrade: a\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade:^^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection:^keep-alive^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a^^\r\n\r\n"},
		{false, "GET / HTTP/1.1\r\nHost: a\r\nX: ^bcdefghijklmno^qrstuvw\r\n\r\n"},
		{true, "HTTP/1.1 200 a rea^on of mo^e than eight\r\n\r\n"},
		{true, "HTTP/1.1 2^^ OK\r\n\r\n"},
		{true, "HTTP/1.1 200^O^\r\n\r\n"},
		{true, "HTTP/1.1 200^^\r\n\r\n"},
		{true, "HTTP/1.^ 101^\r\nUpgrade: a\r\n\r\n"},
		{true, "HTTP/1.1 200 OK\r\nX^:^\r\n\r\n"},
		{true, "HTTP/1.1 200 OK\r\nContent-Length:^1^\r\n\r\n"},
		{true, "HTTP/1.1 200 OK\r\nTransfer-Encoding:^chunked^\r\n\r\n"},
		{true, "HTTP/1.1 200 OK\r\nConnection:^close^\r\n\r\n"},
	};
	char head[128];
	unsigned n_taken = 0;

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i].head);
		char *first, *second;

		memcpy(head, kinds[i].head, n + 1);
		first = strchr(head, '^');
		second = strchr(first + 1, '^');
		for (unsigned pair = 0; pair < 65536; pair++) {
			*first = (char)(pair >> 8);
			*second = (char)pair;
			if (!h1_takes(head, n, kinds[i].answer))
				continue;
			n_taken++;
			if (!llhttp_takes(head, n, kinds[i].answer))
				fail_msg("llhttp refuses \"%s\" with %02x and %02x", kinds[i].head,
					 pair >> 8, pair & 0xff);
		}
	}
	assert_true(n_taken > ARRAY_SIZE(kinds));
}

/* --- bounds ----------------------------------------------------------------------------------------------------- */

static char big[200000];

static enum h1_step head_of(size_t fields, size_t value)
{
	struct h1 *h = h1_new();
	size_t n, len = (size_t)sprintf(big, "GET / HTTP/1.1\r\nHost: a\r\n");
	enum h1_step step;

	for (size_t i = 0; i < fields; i++)
		len += (size_t)sprintf(big + len, "X: %0*d\r\n", (int)value, 1);
	len += (size_t)sprintf(big + len, "\r\n");
	step = h1_request(h, (uint8_t *)big, len, &n);
	h1_free(h);
	return step;
}

static void test_heads_are_bounded(void **unused)
{
	(void)unused;
	assert_int_equal(head_of(511, 1), H1_HEAD);
	assert_int_equal(head_of(512, 1), H1_BAD);
	assert_int_equal(head_of(10000, 1), H1_BAD);
	assert_int_equal(head_of(1, 65000), H1_HEAD);
	assert_int_equal(head_of(1, 65536), H1_BAD);
}

/* --- requests and answers in turn --------------------------------------------------------------------------------- */

struct turn {
	struct h1 *h;
	size_t n;
};

static enum h1_step ask(struct turn *t, const char *text)
{
	return h1_request(t->h, (const uint8_t *)text, strlen(text), &t->n);
}

static enum h1_step answer(struct turn *t, const char *text)
{
	return h1_answer(t->h, (const uint8_t *)text, strlen(text), &t->n);
}

static void begin(struct turn *t, const char *request)
{
	t->h = t->h ? t->h : h1_new();
	assert_int_equal(ask(t, request), H1_HEAD);
	assert_int_equal(ask(t, ""), H1_END);
}

static void test_an_answer_ends_as_the_request_says(void **unused)
{
	struct turn t = {.n = 0};

	(void)unused;
	begin(&t, REQ("HEAD / HTTP/1.1", "Host: a\r\n"));
	assert_int_equal(answer(&t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), H1_HEAD);
	assert_int_equal(answer(&t, ""), H1_END);
	assert_true(h1_done(t.h) && h1_keeps(t.h));
	begin(&t, REQ("GET / HTTP/1.1", "Host: a\r\n"));
	assert_int_equal(answer(&t, "HTTP/1.1 100 Continue\r\n\r\n"), H1_HEAD);
	assert_false(h1_answer_begun(t.h));
	assert_int_equal(answer(&t, "HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n"), H1_HEAD);
	assert_int_equal(answer(&t, ""), H1_END);
	begin(&t, REQ("GET / HTTP/1.1", "Host: a\r\n"));
	assert_int_equal(answer(&t, "HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n"), H1_HEAD);
	assert_int_equal(h1_answer_left(t.h), 3);
	h1_answer_skip(t.h, 3);
	assert_int_equal(answer(&t, ""), H1_END);
	assert_true(h1_keeps(t.h));
	begin(&t, REQ("GET / HTTP/1.0", ""));
	assert_int_equal(answer(&t, "HTTP/1.0 200 OK\r\n\r\n"), H1_HEAD);
	assert_true(h1_answer_left(t.h) == UINT64_MAX);
	assert_int_equal(answer(&t, "abc"), H1_BODY);
	assert_int_equal(h1_answer_eof(t.h), H1_END);
	assert_false(h1_keeps(t.h));
	h1_free(t.h);
}

static void test_tunnels(void **unused)
{
	struct turn t = {.n = 0};

	(void)unused;
	begin(&t, REQ("GET / HTTP/1.1",
		      "Host: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: x\r\n"));
	assert_int_equal(answer(&t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), H1_HEAD);
	assert_int_equal(answer(&t, ""), H1_END); /* it did not want to */
	begin(&t, REQ("GET / HTTP/1.1", "Host: a\r\nConnection: upgrade\r\nUpgrade: x\r\n"));
	assert_int_equal(answer(&t, "HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\nabc"), H1_TUNNEL);
	h1_free(t.h);
	t.h = NULL;
	begin(&t, REQ("GET / HTTP/1.1", "Host: a\r\nUpgrade: x\r\n")); /* not named in Connection */
	assert_int_equal(answer(&t, "HTTP/1.1 101 X\r\n\r\n"), H1_BAD);
	h1_free(t.h);
	t.h = NULL;
	begin(&t, REQ("CONNECT a:1 HTTP/1.1", "Host: a:1\r\n"));
	assert_int_equal(answer(&t, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"), H1_TUNNEL);
	h1_free(t.h);
}

static void test_bad_answers(void **unused)
{
	static const char *const bad[] = {
		"hello\r\n\r\n",
		"HTTP/2.0 200 OK\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1 200 OK\nX: y\n\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 100 X\r\nContent-Length: 1\r\n\r\n",
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct turn t = {.n = 0};

		begin(&t, REQ("GET / HTTP/1.1", "Host: a\r\n"));
		assert_int_equal(answer(&t, bad[i]), H1_BAD);
		h1_free(t.h);
	}
}

static void test_what_a_head_says(void **unused)
{
	struct turn t = {.n = 0};
	const struct http_head *head;
	const struct http_field *f;

	(void)unused;
	begin(&t, REQ("GET /a?b HTTP/1.1", "X:  1 \r\nhost: h:1\r\nx:\r\n"));
	head = h1_head(t.h);
	assert_true(http_text_is(head->method, "GET") && http_text_is(head->target, "/a?b"));
	assert_true(http_text_is(head->authority, "h:1"));
	assert_int_equal(head->nfields, 3);
	f = http_field_find(head, "x", NULL);
	assert_true(f && http_text_is(f->value, "1"));
	f = http_field_find(head, "X", f);
	assert_true(f && http_text_is(f->value, ""));
	assert_null(http_field_find(head, "x", f));
	h1_free(t.h);
}

/* --- what a connection is ------------------------------------------------------------------------------------------- */

static void test_sniffing(void **unused)
{
	static const struct {
		const char *text;
		size_t len;
		enum http_kind kind;
		size_t proxy;
	} cases[] = {
		{"", 0, HTTP_MORE, 0},
		{"G", 1, HTTP_MORE, 0},
		{"GET ", 4, HTTP_MORE, 0},
		{"GET /", 5, HTTP_1, 0},
		{"QUERY /", 7, HTTP_1, 0},
		{"PRI *", 5, HTTP_MORE, 0},
		{"PRI * HTTP/2.0\r\n", 16, HTTP_2, 0},
		{"PRI * HTTP/1.1\r\n", 16, HTTP_1, 0},
		{"\x16\x03\x01", 3, HTTP_TLS, 0},
		{"\x16", 1, HTTP_MORE, 0},
		{"\x16\x05", 2, HTTP_OPAQUE, 0},
		{"SSH-2.0-x\r\n", 11, HTTP_OPAQUE, 0},
		{"\0\0\0\x08", 4, HTTP_OPAQUE, 0},
		{"*1\r\n$4\r\nPING\r\n", 14, HTTP_OPAQUE, 0},
		{" GET /", 6, HTTP_OPAQUE, 0},
		{"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 38, HTTP_OPAQUE, 0},
		{"PROXY TCP4 1.2.3.4 5.6.7.8 1 2", 30, HTTP_MORE, 0},
		{"PROXY UNKNOWN\r\nGET /", 20, HTTP_PROXY, 15},
		{"PROXY UNKNOWN\nGET /", 19, HTTP_OPAQUE, 0},
		{"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01", 16, HTTP_MORE, 0},
		{"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01xGET", 20, HTTP_PROXY, 17},
		{"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\xf0", 16, HTTP_MORE, 0},
		{"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\xf1", 16, HTTP_OPAQUE, 0},
		{"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x01x", 17, HTTP_OPAQUE, 0},
		{"\r\n\r\nGET /", 9, HTTP_OPAQUE, 0},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = 0;

		print_message("%s\n", cases[i].text);
		assert_int_equal(http_sniff((const uint8_t *)cases[i].text, cases[i].len, &len),
				 cases[i].kind);
		if (cases[i].kind == HTTP_PROXY)
			assert_int_equal(len, cases[i].proxy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_llhttp_takes_what_is_taken),
		cmocka_unit_test(test_heads_are_bounded),
		cmocka_unit_test(test_an_answer_ends_as_the_request_says),
		cmocka_unit_test(test_tunnels),
		cmocka_unit_test(test_bad_answers),
		cmocka_unit_test(test_what_a_head_says),
		cmocka_unit_test(test_sniffing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
