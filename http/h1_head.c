/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of an HTTP/1 message. Whoever stands before or behind us has to read it as we do, else one could smuggle a request past one of us
 * (RFC 9112, 11.2). So llhttp in strict mode has to accept it, and here stands what that lets pass: lines that do not end with CR LF, folded
 * lines, several Hosts or none, codings beside chunked, HTTP/0.9.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "http/h1.h"

static const bool token_chars[256] = {
	['!'] = true,	      ['#'] = true,	    ['$'] = true, ['%'] = true,
	['&'] = true,	      ['\''] = true,	    ['*'] = true, ['+'] = true,
	['-'] = true,	      ['.'] = true,	    ['^'] = true, ['_'] = true,
	['`'] = true,	      ['|'] = true,	    ['~'] = true, ['0' ... '9'] = true,
	['a' ... 'z'] = true, ['A' ... 'Z'] = true,
};

bool http_is_token(uint8_t c)
{
	return token_chars[c];
}

static int bad(const char **why, const char *text)
{
	*why = text;
	return -EPROTO;
}

/* --- lines ----------------------------------------------------------------------------------------------------------- */

/* "METHOD TARGET HTTP/1.x" */
static const char *request_line(const char *line, size_t len)
{
	const char *end = line + len - 9, *space = len > 9 ? memchr(line, ' ', len) : NULL;

	if (!space || (memcmp(end, " HTTP/1.1", 9) && memcmp(end, " HTTP/1.0", 9)))
		return "no request line of HTTP/1.0 or 1.1";
	for (const char *p = line; p < space; p++) {
		if (!http_is_token((uint8_t)*p))
			return "the method is no token";
	}
	if (space == line || space + 1 >= end ||
	    memchr(space + 1, ' ', (size_t)(end - space - 1)) ||
	    memchr(space + 1, '\t', (size_t)(end - space - 1)))
		return "the request line is not three words";
	return NULL;
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.x NNN REASON"; many leave out the space before a reason that is empty. */
static const char *status_line(const char *line, size_t len)
{
	if (len < 12 || (memcmp(line, "HTTP/1.1 ", 9) && memcmp(line, "HTTP/1.0 ", 9)))
		return "no status line of HTTP/1.0 or 1.1";
	if (line[9] < '1' || line[9] > '9' || !digit(line[10]) || !digit(line[11]) ||
	    (len > 12 && line[12] != ' '))
		return "no status";
	return NULL;
}

/* A line without its LF. */
static const char *check_line(const char *line, size_t len, bool first, bool answer)
{
	if (!len || line[len - 1] != '\r')
		return "a line that ends with LF alone";
	len--;
	if (memchr(line, '\r', len) || memchr(line, '\0', len))
		return "CR or NUL within a line";
	if (first)
		return answer ? status_line(line, len) : request_line(line, len);
	if (*line == ' ' || *line == '\t') /* the CR at least */
		return "a folded line";
	return NULL;
}

ssize_t h1_head_end(const uint8_t *data, size_t len, bool answer, struct h1_scan *scan,
		    const char **why)
{
	const char *text = (const char *)data;
	size_t end = MIN(len, (size_t)HTTP_HEAD_MAX);

	while (scan->seen < end) {
		const char *line = text + scan->line;
		const char *lf = memchr(text + scan->seen, '\n', end - scan->seen);

		if (!lf) {
			scan->seen = end;
			break;
		}
		*why = check_line(line, (size_t)(lf - line), !scan->line, answer);
		if (*why)
			return -EPROTO;
		scan->seen = (size_t)(lf - text) + 1;
		if (scan->line && lf - line == 1)
			return (ssize_t)scan->seen;
		scan->line = scan->seen;
	}
	return end == HTTP_HEAD_MAX ? bad(why, "more than 64 KiB of head") : 0;
}

/* --- fields ----------------------------------------------------------------------------------------------------------- */

static int count_head(llhttp_t *p)
{
	(*(unsigned *)p->data)++;
	return 1; /* no body: that is not read here */
}

/*
 * What llhttp says of it. It knows some methods only, so another stands for them all: what we need of a method we look up
 * ourselves.
 */
static bool llhttp_takes(const char *data, size_t n, bool answer, size_t method_len)
{
	static const llhttp_settings_t settings = {.on_headers_complete = count_head};
	unsigned heads = 0;
	llhttp_t p;
	enum llhttp_errno r = HPE_OK;

	llhttp_init(&p, answer ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
	p.data = &heads;
	if (!answer && !(method_len == 7 && !memcmp(data, "CONNECT", 7))) {
		r = llhttp_execute(&p, "POST", 4);
		data += method_len;
		n -= method_len;
	}
	if (r == HPE_OK)
		r = llhttp_execute(&p, data, n);
	return (r == HPE_OK || r == HPE_PAUSED_UPGRADE) && heads == 1;
}

static struct http_text trimmed(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return (struct http_text){.p = p, .len = (size_t)(end - p)};
}

/* One field per line, each of which ends with CR LF; the last is empty. NULL = all are there. */
static const char *split(const char *p, const char *end, struct http_head *head)
{
	/* Shared by all heads: 20 KiB for each connection would be most of what it costs. */
	static struct http_field fields[HTTP_FIELDS_MAX];

	head->field = fields;
	while (*p != '\r') {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		const char *colon = memchr(p, ':', (size_t)(lf - p));

		if (!colon || colon == p)
			return "a line that is no field";
		for (const char *c = p; c < colon; c++) {
			if (!http_is_token((uint8_t)*c))
				return "a field's name is no token";
		}
		if (head->nfields == HTTP_FIELDS_MAX)
			return "more than 512 fields";
		fields[head->nfields++] = (struct http_field){
			.name = {.p = p, .len = (size_t)(colon - p)},
			.value = trimmed(colon + 1, lf - 1),
		};
		p = lf + 1;
	}
	return NULL;
}

/* --- what they say of where the message ends -------------------------------------------------------------------------- */

static bool is_length(struct http_text t, uint64_t *n)
{
	*n = 0;
	for (size_t i = 0; i < t.len; i++) {
		if (!digit(t.p[i]) || *n > (UINT64_MAX / 4 - 9) / 10)
			return false;
		*n = *n * 10 + (uint64_t)(t.p[i] - '0');
	}
	return t.len > 0;
}

static void take_connection(struct http_text t, struct h1_framing *f, bool *upgrade)
{
	for (const char *p = t.p, *end = t.p + t.len; p < end;) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		struct http_text word = trimmed(p, comma ? comma : end);

		f->close |= http_text_is_nocase(word, "close");
		f->keep_alive |= http_text_is_nocase(word, "keep-alive");
		*upgrade |= http_text_is_nocase(word, "upgrade");
		p = comma ? comma + 1 : end;
	}
}

static const char *take_framing(const struct http_field *q, struct h1_framing *f)
{
	if (http_text_is_nocase(q->name, "content-length")) {
		if (f->has_length || !is_length(q->value, &f->length))
			return "Content-Length twice, or no number";
		f->has_length = true;
	} else if (http_text_is_nocase(q->name, "transfer-encoding")) {
		if (f->chunked || !http_text_is_nocase(q->value, "chunked"))
			return "a Transfer-Encoding other than chunked";
		f->chunked = true;
	}
	return NULL;
}

static bool host_valid(struct http_text t)
{
	for (size_t i = 0; i < t.len; i++) {
		if ((uint8_t)t.p[i] <= ' ' || strchr("/?#@\\", t.p[i]))
			return false;
	}
	return true;
}

/* The lengths of the names that matter here: all others are passed over at once. */
static const char *take_fields(struct http_head *head, struct h1_framing *f, unsigned *hosts)
{
	bool upgrade = false, names = false;
	const char *why = NULL;

	for (unsigned i = 0; i < head->nfields && !why; i++) {
		const struct http_field *q = &head->field[i];

		switch (q->name.len) {
		case 4:
			if (!http_text_is_nocase(q->name, "host"))
				break;
			(*hosts)++;
			head->authority = q->value;
			break;
		case 7:
			names |= http_text_is_nocase(q->name, "upgrade");
			break;
		case 10:
			if (http_text_is_nocase(q->name, "connection"))
				take_connection(q->value, f, &upgrade);
			break;
		case 14:
		case 17:
			why = take_framing(q, f);
			break;
		default:
			break;
		}
	}
	f->upgrade = upgrade && names;
	if (!why && f->chunked && f->has_length)
		why = "Content-Length and Transfer-Encoding";
	if (!why && f->chunked && !f->http11)
		why = "Transfer-Encoding in HTTP/1.0";
	return why;
}

/* "scheme://authority/path" has to name the host that Host names. */
static bool target_is_hosts(const struct http_head *head)
{
	const char *p = head->target.p, *end = p + head->target.len;
	const char *slash;
	struct http_text authority;

	if (*p == '/' || http_text_is(head->target, "*") || http_text_is(head->method, "CONNECT"))
		return true;
	slash = memmem(p, head->target.len, "://", 3);
	if (!slash)
		return false;
	p = slash + 3;
	for (slash = p; slash < end && !strchr("/?#", *slash); slash++)
		;
	authority = (struct http_text){.p = p, .len = (size_t)(slash - p)};
	return authority.len == head->authority.len &&
	       !strncasecmp(authority.p, head->authority.p, authority.len);
}

static const char *check_request(const struct http_head *head, const struct h1_framing *f,
				 unsigned hosts)
{
	if (hosts > 1 || (f->http11 && !hosts) || !host_valid(head->authority))
		return "no Host, or several, or a bad one";
	if (hosts && !target_is_hosts(head))
		return "the target names another host than Host";
	if (http_text_is(head->method, "PRI"))
		return "HTTP/2 within HTTP/1";
	return NULL;
}

int h1_head_read(const uint8_t *data, size_t n, bool answer, struct http_head *head,
		 struct h1_framing *f, const char **why)
{
	const char *p = (const char *)data, *end = p + n;
	const char *lf = memchr(p, '\n', n), *space = memchr(p, ' ', n);
	unsigned hosts = 0;

	*head = (struct http_head){.nfields = 0};
	*f = (struct h1_framing){.http11 = lf[-2] == '1'};
	if (answer) {
		f->http11 = p[7] == '1';
		head->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
	} else {
		head->method = (struct http_text){.p = p, .len = (size_t)(space - p)};
		head->target = (struct http_text){.p = space + 1, .len = (size_t)(lf - space) - 11};
	}
	*why = split(lf + 1, end, head);
	if (!*why)
		*why = take_fields(head, f, &hosts);
	if (!*why && !answer)
		*why = check_request(head, f, hosts);
	if (!*why && !llhttp_takes(p, n, answer, head->method.len))
		*why = "llhttp refuses the head";
	return *why ? -EPROTO : 0;
}
