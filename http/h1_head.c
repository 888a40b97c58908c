/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of an HTTP/1 message. Whoever stands before or behind us has to read it as we do, else one could smuggle a request past one of us
 * (RFC 9112, 11.2). So llhttp in strict mode has to accept it, and here stands what that lets pass: lines that do not end with CR LF, folded
 * lines, several Hosts or none, codings beside chunked, HTTP/0.9.
 *
 * One walk over the bytes checks the lines and splits them. Where it has met nothing but what most heads are made of, llhttp is known to accept
 * the head and is not asked: that costs as much as all the rest. The fuzzer asks it about every head that was taken.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "http/h1.h"

enum {
	TOKEN = 1,  /* RFC 9110, 5.6.2 */
	TEXT = 2,   /* in a value: HTAB, SP, VCHAR and what is beyond ASCII */
	TARGET = 4, /* in a path or query */
	HOST = 8,
};

static const uint8_t classes[256] = {
	['\t'] = TEXT,
	[' '] = TEXT,
	['!'] = TOKEN | TEXT | TARGET | HOST,
	['"'] = TEXT | TARGET | HOST,
	['#'] = TOKEN | TEXT,
	['$' ... '\''] = TOKEN | TEXT | TARGET | HOST,
	['(' ... ')'] = TEXT | TARGET | HOST,
	['*' ... '+'] = TOKEN | TEXT | TARGET | HOST,
	[','] = TEXT | TARGET | HOST,
	['-' ... '.'] = TOKEN | TEXT | TARGET | HOST,
	['/'] = TEXT | TARGET,
	['0' ... '9'] = TOKEN | TEXT | TARGET | HOST,
	[':' ... '>'] = TEXT | TARGET | HOST,
	['?' ... '@'] = TEXT | TARGET,
	['A' ... 'Z'] = TOKEN | TEXT | TARGET | HOST,
	['['] = TEXT | TARGET | HOST,
	['\\'] = TEXT | TARGET,
	[']'] = TEXT | TARGET | HOST,
	['^' ... 'z'] = TOKEN | TEXT | TARGET | HOST,
	['{'] = TEXT | TARGET | HOST,
	['|'] = TOKEN | TEXT | TARGET | HOST,
	['}'] = TEXT | TARGET | HOST,
	['~'] = TOKEN | TEXT | TARGET | HOST,
	[0x7f] = HOST, /* it is llhttp that refuses it */
	[0x80 ... 0xff] = TEXT | HOST,
};

/* Behind the last of its class: CR and LF are of none, and each line ends with one. */
static const char *pass(const char *p, uint8_t class)
{
	while (classes[(uint8_t)*p] & class)
		p++;
	return p;
}

/* The same for TEXT, and no further than `end`: eight bytes at a time, since a value may be long. */
static const char *pass_text(const char *p, const char *end)
{
	const uint64_t ones = UINT64_MAX / 0xff, tops = ones << 7;
	uint64_t x, low, del;

	for (; end - p >= 8; p += 8) {
		memcpy(&x, p, 8);
		del = x ^ ones * 0x7f;
		low = (x - ones * ' ') & ~x; /* there may be more than the first in it */
		del = (del - ones) & ~del;
		if ((low | del) & tops)
			break;
	}
	while (p < end && (classes[(uint8_t)*p] & TEXT))
		p++;
	return p;
}

bool http_is_token(uint8_t c)
{
	return classes[c] & TOKEN;
}

static int bad(const char **why, const char *text)
{
	*why = text;
	return -EPROTO;
}

/* --- lines ----------------------------------------------------------------------------------------------------------- */

/* What a walk over the lines has found. */
struct reading {
	bool answer;
	bool plain; /* no byte so far that llhttp might not like */
	const char *why;
	struct http_head head;
	struct h1_framing framing;
};

/* Something odd is in a line. */
static const char *check_odd(const char *line, const char *cr)
{
	size_t len = (size_t)(cr - line);

	return memchr(line, '\r', len) || memchr(line, '\0', len) ? "CR or NUL within a line"
								  : NULL;
}

/* "METHOD TARGET HTTP/1.x" */
static const char *request_line(struct reading *r, const char *line, const char *cr)
{
	const char *end = cr - 9, *space, *target, *odd;

	if (cr - line <= 9 || (memcmp(end, " HTTP/1.1", 9) && memcmp(end, " HTTP/1.0", 9)))
		return "no request line of HTTP/1.0 or 1.1";
	space = pass(line, TOKEN);
	if (*space != ' ')
		return "the method is no token";
	target = space + 1;
	if (space == line || target >= end)
		return "the request line is not three words";
	odd = pass(target, TARGET);
	if (odd < end &&
	    (memchr(odd, ' ', (size_t)(end - odd)) || memchr(odd, '\t', (size_t)(end - odd))))
		return "the request line is not three words";
	r->plain = odd == end && *target == '/';
	r->framing.http11 = cr[-1] == '1';
	r->head.method = (struct http_text){.p = line, .len = (size_t)(space - line)};
	r->head.target = (struct http_text){.p = target, .len = (size_t)(end - target)};
	return r->plain ? NULL : check_odd(line, cr);
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.x NNN REASON"; many leave out the space before a reason that is empty. */
static const char *status_line(struct reading *r, const char *line, const char *cr)
{
	if (cr - line < 12 || (memcmp(line, "HTTP/1.1 ", 9) && memcmp(line, "HTTP/1.0 ", 9)))
		return "no status line of HTTP/1.0 or 1.1";
	if (line[9] < '1' || line[9] > '9' || !digit(line[10]) || !digit(line[11]) ||
	    (cr - line > 12 && line[12] != ' '))
		return "no status";
	r->plain = pass_text(line + 12, cr) == cr;
	r->framing.http11 = line[7] == '1';
	r->head.status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
	return r->plain ? NULL : check_odd(line, cr);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static struct http_text trimmed(const char *p, const char *end)
{
	while (p < end && is_space(*p))
		p++;
	while (end > p && is_space(end[-1]))
		end--;
	return (struct http_text){.p = p, .len = (size_t)(end - p)};
}

static const char *no_field(const char *line, const char *cr)
{
	if (check_odd(line, cr))
		return check_odd(line, cr);
	if (is_space(*line))
		return "a folded line";
	if (*line == ':' || !memchr(line, ':', (size_t)(cr - line)))
		return "a line that is no field";
	return "a field's name is no token";
}

static const char *field_line(struct reading *r, const char *line, const char *cr)
{
	/* Shared by all heads: 20 KiB for each connection would be most of what it costs. */
	static struct http_field fields[HTTP_FIELDS_MAX];
	const char *colon = pass(line, TOKEN);

	if (*colon != ':' || colon == line)
		return no_field(line, cr);
	if (pass_text(colon + 1, cr) != cr) {
		r->plain = false;
		if (check_odd(colon, cr))
			return check_odd(colon, cr);
	}
	if (r->head.nfields == HTTP_FIELDS_MAX)
		return "more than 512 fields";
	r->head.field = fields;
	fields[r->head.nfields++] = (struct http_field){
		.name = {.p = line, .len = (size_t)(colon - line)},
		.value = trimmed(colon + 1, cr),
	};
	return NULL;
}

/* Over the lines that are whole; the length of the head, or 0 = more is needed, or -EPROTO. */
static ssize_t walk(struct reading *r, const char *text, size_t end, struct h1_scan *scan)
{
	while (scan->seen < end) {
		const char *line = text + scan->line;
		const char *lf = memchr(text + scan->seen, '\n', end - scan->seen);

		if (!lf) {
			scan->seen = end;
			break;
		}
		scan->seen = (size_t)(lf - text) + 1;
		if (lf == line || lf[-1] != '\r')
			return bad(&r->why, "a line that ends with LF alone");
		if (scan->line && lf - line == 1)
			return (ssize_t)scan->seen;
		if (scan->line)
			r->why = field_line(r, line, lf - 1);
		else
			r->why = r->answer ? status_line(r, line, lf - 1)
					   : request_line(r, line, lf - 1);
		if (r->why)
			return -EPROTO;
		scan->line = scan->seen;
	}
	return 0;
}

/* --- the second opinion ------------------------------------------------------------------------------------------------ */

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

static const char *take_framing(struct reading *r, const struct http_field *q)
{
	struct h1_framing *f = &r->framing;

	if (http_text_is_nocase(q->name, "content-length")) {
		if (f->has_length || !is_length(q->value, &f->length))
			return "Content-Length twice, or no number";
		f->has_length = true;
	} else if (http_text_is_nocase(q->name, "transfer-encoding")) {
		if (f->chunked || !http_text_is_nocase(q->value, "chunked"))
			return "a Transfer-Encoding other than chunked";
		f->chunked = true;
	}
	r->plain &= q->value.p[q->value.len] == '\r'; /* no space behind it */
	return NULL;
}

static bool host_valid(struct http_text t)
{
	for (size_t i = 0; i < t.len; i++) {
		if (!(classes[(uint8_t)t.p[i]] & HOST))
			return false;
	}
	return true;
}

/* The lengths of the names that matter here: all others are passed over at once. */
static const char *take_fields(struct reading *r, unsigned *hosts)
{
	struct http_head *head = &r->head;
	struct h1_framing *f = &r->framing;
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
			why = take_framing(r, q);
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

/* Its lines are read: what they say together. */
static const char *check_head(struct reading *r, const char *text, size_t n)
{
	const struct http_head *head = &r->head;
	unsigned hosts = 0;
	const char *why = take_fields(r, &hosts);

	if (!why && !r->answer)
		why = check_request(head, &r->framing, hosts);
	if (!why && (!r->plain || http_text_is(head->method, "CONNECT")) &&
	    !llhttp_takes(text, n, r->answer, head->method.len))
		why = "llhttp refuses the head";
	return why;
}

static struct reading reading(const char *text, bool answer)
{
	return (struct reading){.answer = answer, .head = {.method.p = text, .target.p = text}};
}

ssize_t h1_head_read(const uint8_t *data, size_t len, bool answer, struct h1_scan *scan,
		     struct http_head *head, struct h1_framing *f, const char **why)
{
	const char *text = (const char *)data;
	size_t end = MIN(len, (size_t)HTTP_HEAD_MAX);
	bool in_parts = scan->seen;
	struct reading r;
	ssize_t n;

	if (end == scan->seen && end < HTTP_HEAD_MAX) /* nothing has come */
		return 0;
	r = reading(text, answer);
	n = walk(&r, text, end, scan);
	if (n > 0 && in_parts) { /* what its first lines said was not kept */
		*scan = (struct h1_scan){0};
		r = reading(text, answer);
		n = walk(&r, text, end, scan);
	}
	if (n > 0)
		r.why = check_head(&r, text, (size_t)n);
	else if (n == 0 && end == HTTP_HEAD_MAX)
		r.why = "more than 64 KiB of head";
	if (r.why)
		return bad(why, r.why);
	if (n > 0) {
		*scan = (struct h1_scan){0};
		*head = r.head;
		*f = r.framing;
	}
	return n;
}
