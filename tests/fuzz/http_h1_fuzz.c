/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: where a request ends. Three have to agree: h1, however the bytes come; a slow walk of the framing, which knows nothing of it; and llhttp.
 * What h1 refuses the others may take. Each head that h1 takes, of a request or of an answer, llhttp takes too, though h1 does not
 * ask it about all. The first byte says in how large parts the bytes come; then what http_sniff() says is asked too.
 */
#include <llhttp.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"
#include "http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MORE = 0, BAD = -1 };

/* --- heads -------------------------------------------------------------------------------------------------------- */

static int count_head(llhttp_t *p)
{
	(*(unsigned *)p->data)++;
	return 1; /* no body */
}

/* These bytes are one head, and nothing else? */
static bool llhttp_takes_head(const uint8_t *data, size_t n, bool answer)
{
	static const llhttp_settings_t settings = {.on_headers_complete = count_head};
	const uint8_t *space = memchr(data, ' ', n);
	unsigned heads = 0;
	llhttp_t p;
	llhttp_errno_t r = HPE_OK;

	llhttp_init(&p, answer ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
	p.data = &heads;
	if (!answer && memcmp(data, "CONNECT ", 8)) { /* it does not know all methods */
		r = llhttp_execute(&p, "POST", 4);
		n -= (size_t)(space - data);
		data = space;
	}
	if (r == HPE_OK)
		r = llhttp_execute(&p, (const char *)data, n);
	return (r == HPE_OK || r == HPE_PAUSED_UPGRADE) && heads == 1;
}

/* As if it were the answer to a request that any answer may follow. */
static void answer_by_h1(const uint8_t *data, size_t size)
{
	static const char request[] =
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n";
	struct h1 *h = h1_new();
	size_t n;

	if (h && h1_request(h, (const uint8_t *)request, sizeof(request) - 1, &n) != H1_HEAD)
		abort();
	if (h) {
		enum h1_step step = h1_answer(h, data, size, &n);

		if (n > size || (step == H1_BAD && n))
			abort();
		if ((step == H1_HEAD || step == H1_TUNNEL) && !llhttp_takes_head(data, n, true))
			abort();
	}
	h1_free(h);
}

/* --- h1 -------------------------------------------------------------------------------------------------------- */

static ssize_t by_h1(const uint8_t *data, size_t size, size_t by)
{
	struct h1 *h = h1_new();
	size_t at = 0, have = MIN(by, size), n;
	enum h1_step step = H1_MORE;

	while (h) {
		step = h1_request(h, data + at, have - at, &n);
		if (n > have - at || (step == H1_BAD && n))
			abort();
		if (step == H1_HEAD && !llhttp_takes_head(data + at, n, false))
			abort();
		at += n;
		if (step == H1_END || step == H1_BAD || (step == H1_MORE && have == size))
			break;
		if (step == H1_BODY && h1_request_left(h) && have < size) {
			uint64_t skip = MIN(h1_request_left(h), size - have);

			if (have == at) { /* as if spliced */
				h1_request_skip(h, skip);
				at += skip;
				have = at;
			}
		}
		if (step == H1_MORE || at == have)
			have = MIN(have + by, size);
	}
	h1_free(h);
	return step == H1_END ? (ssize_t)at : step == H1_BAD ? BAD : MORE;
}

/* --- the slow walk: one character after the other ----------------------------------------------------------------- */

/* Where the line that begins at `at` ends, behind its CR LF; 0 = it does not. */
static size_t line_end(const uint8_t *data, size_t size, size_t at)
{
	for (size_t i = at; i + 1 < size; i++) {
		if (data[i] == '\r' && data[i + 1] == '\n')
			return i + 2;
	}
	return 0;
}

/* Its value within the line, *n bytes; NULL = it is another field's. */
static const char *field_value(const uint8_t *line, size_t len, const char *name, size_t *n)
{
	size_t from = strlen(name) + 1;

	if (len < from + 2 || strncasecmp((const char *)line, name, from - 1) ||
	    line[from - 1] != ':')
		return NULL;
	len -= 2;
	while (from < len && (line[from] == ' ' || line[from] == '\t'))
		from++;
	while (len > from && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	*n = len - from;
	return (const char *)line + from;
}

static ssize_t walk_chunks(const uint8_t *data, size_t size, size_t at)
{
	for (;;) {
		size_t end = line_end(data, size, at), len;

		if (!end)
			return MORE;
		len = strtoull((const char *)data + at, NULL, 16);
		at = end;
		if (len == 0)
			break;
		if (len > size || at + len + 2 > size)
			return MORE;
		if (memcmp(data + at + len, "\r\n", 2))
			return BAD;
		at += len + 2;
	}
	for (;;) { /* trailers */
		size_t end = line_end(data, size, at);

		if (!end)
			return MORE;
		if (end == at + 2)
			return (ssize_t)end;
		at = end;
	}
}

static ssize_t by_walk(const uint8_t *data, size_t size)
{
	size_t at = line_end(data, size, 0), end;
	unsigned long long length = 0;
	const char *value;
	bool chunked = false;
	size_t n;

	if (!at)
		return MORE;
	while ((end = line_end(data, size, at)) != at + 2) {
		if (!end)
			return MORE;
		value = field_value(data + at, end - at, "content-length", &n);
		if (value)
			length = strtoull(value, NULL, 10);
		value = field_value(data + at, end - at, "transfer-encoding", &n);
		if (value)
			chunked = n == 7 && !strncasecmp(value, "chunked", n);
		at = end;
	}
	if (chunked)
		return walk_chunks(data, size, end);
	return length > size - end ? MORE : (ssize_t)(end + length);
}

/* --- llhttp ---------------------------------------------------------------------------------------------------------- */

static int on_complete(llhttp_t *p)
{
	*(bool *)p->data = true;
	return HPE_PAUSED;
}

/* Takes exactly these bytes for a whole message, or refuses them (it does so with extensions of chunks that say nothing of framing)? */
static bool llhttp_agrees(const uint8_t *data, size_t size)
{
	static const llhttp_settings_t settings = {.on_message_complete = on_complete};
	const uint8_t *space = memchr(data, ' ', size);
	bool complete = false;
	llhttp_errno_t r;
	llhttp_t p;

	if (size >= 8 && !memcmp(data, "CONNECT ", 8)) /* has no body, and pauses elsewhere */
		return true;
	llhttp_init(&p, HTTP_REQUEST, &settings);
	p.data = &complete;
	(void)llhttp_execute(&p, "POST", 4);
	r = llhttp_execute(&p, (const char *)space, size - (size_t)(space - data));
	if (r != HPE_OK && r != HPE_PAUSED && r != HPE_PAUSED_UPGRADE)
		return true;
	if (!complete)
		return false;
	return r == HPE_OK || llhttp_get_error_pos(&p) == (const char *)data + size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t by = size ? data[0] % 64 + 1u : 1, len = 0;
	uint8_t *copy;
	ssize_t whole;

	if (!size--)
		return 0;
	copy = malloc(size + 1); /* ends with a NUL, for strtoull() */
	if (!copy)
		return 0;
	memcpy(copy, data + 1, size);
	copy[size] = '\0';
	answer_by_h1(copy, size);
	whole = by_h1(copy, size, size);
	if (by_h1(copy, size, by) != whole)
		abort();
	if (whole > 0 && (by_walk(copy, size) != whole || !llhttp_agrees(copy, (size_t)whole)))
		abort();
	if (http_sniff(copy, size, &len) == HTTP_PROXY && (len == 0 || len > size))
		abort();
	free(copy);
	return 0;
}
