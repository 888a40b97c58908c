/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head of a request: llhttp (strict) reads it; here is what it lets pass, since a proxy before us may have read such a
 * head differently.
 */
#include <errno.h>
#include <strings.h>

#include "serve/internal.h"

ssize_t serve_head_check(const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\0')
			return -EPROTO;
		if (data[i] == '\n' && (i == 0 || data[i - 1] != '\r'))
			return -EPROTO;
		if (i == 0 || data[i - 1] != '\r')
			continue;
		if (data[i] != '\n')
			return -EPROTO;
		if (i >= 3 && data[i - 2] == '\n')
			return (ssize_t)i + 1;
		/* A line that begins with a space goes on with the one before; a name has a character at least. */
		if (i + 1 < len && strchr(" \t:", data[i + 1]))
			return -EPROTO;
	}
	return 0;
}

static int on_url(llhttp_t *p, const char *at, size_t len)
{
	struct serve_request *r = p->data;

	if (!r->path)
		r->path = (char *)(uintptr_t)at;
	r->path_len = (size_t)(at - r->path) + len;
	return 0;
}

static int on_field(llhttp_t *p, const char *at, size_t len)
{
	struct serve_request *r = p->data;

	if (r->head_done) /* trailers */
		return 0;
	if (!r->in_name) {
		if (r->n_headers == SERVE_HEADERS_MAX) {
			r->refuse = 431;
			return HPE_USER;
		}
		r->headers[r->n_headers++] = (struct serve_header){.name = at};
		r->in_name = true;
	}
	r->headers[r->n_headers - 1].name_len =
		(size_t)(at - r->headers[r->n_headers - 1].name) + len;
	return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t len)
{
	struct serve_request *r = p->data;
	struct serve_header *h;

	if (r->head_done || !r->n_headers)
		return 0;
	h = &r->headers[r->n_headers - 1];
	r->in_name = false;
	if (!h->value)
		h->value = at;
	h->value_len = (size_t)(at - h->value) + len;
	return 0;
}

static int on_head(llhttp_t *p)
{
	struct serve_request *r = p->data;

	r->head_done = true;
	return 0;
}

static int grow(struct serve_request *r, size_t len)
{
	size_t room = MAX(r->body_len + len + 1, r->body_room * 2);
	char *bigger;

	if (r->body_len + len + 1 <= r->body_room)
		return 0;
	room = MIN(room, (size_t)SERVE_BODY_MAX + 1);
	while (r->serve->bodies - r->body_room + room > SERVE_BODIES_MAX) {
		if (!serve_evict(r->serve, r->conn))
			return -ENOMEM;
	}
	bigger = realloc(r->body, room);
	if (!bigger)
		return -ENOMEM;
	r->serve->bodies += room - r->body_room;
	r->body = bigger;
	r->body_room = room;
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t len)
{
	struct serve_request *r = p->data;

	if (r->body_len + len > SERVE_BODY_MAX)
		r->refuse = 413;
	else if (grow(r, len))
		r->refuse = 503;
	if (r->refuse)
		return HPE_USER;
	memcpy(r->body + r->body_len, at, len);
	r->body_len += len;
	r->body[r->body_len] = '\0';
	return 0;
}

static int on_message(llhttp_t *p)
{
	struct serve_request *r = p->data;

	r->complete = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_message_complete = on_message,
};

/* In the head, where a CR, a colon or a space stands behind each of them. */
static void end_strings(struct serve_request *r)
{
	if (r->path)
		r->path[r->path_len] = '\0';
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct serve_header *h = &r->headers[i];
		char *name = (char *)(uintptr_t)h->name, *value = (char *)(uintptr_t)h->value;

		name[h->name_len] = '\0';
		while (h->value_len && strchr(" \t", value[h->value_len - 1]))
			h->value_len--;
		/* Where a value without bytes is, the next line begins. */
		if (h->value_len)
			value[h->value_len] = '\0';
		else
			h->value = "";
	}
}

const char *serve_header_at(const struct serve_request *r, const char *name, unsigned *count)
{
	const char *first = NULL;

	*count = 0;
	for (unsigned i = 0; i < r->n_headers; i++) {
		if (strcasecmp(r->headers[i].name, name))
			continue;
		if (!first)
			first = r->headers[i].value;
		(*count)++;
	}
	return first;
}

/* Between the words of the request line, where llhttp takes several. */
static bool one_space(const struct serve_request *r)
{
	const char *behind = r->path ? r->path + r->path_len : NULL;

	return behind && r->path - r->head >= 2 && r->path[-1] == ' ' && r->path[-2] != ' ' &&
	       !strncmp(behind, " HTTP/", 6);
}

static int judge(struct serve_request *r, const llhttp_t *p)
{
	unsigned hosts, lengths, encodings;

	if (p->http_major != 1 || p->http_minor > 1)
		return 505;
	r->http11 = p->http_minor == 1;
	(void)serve_header_at(r, "Host", &hosts);
	(void)serve_header_at(r, "Content-Length", &lengths);
	(void)serve_header_at(r, "Transfer-Encoding", &encodings);
	if (*r->path != '/' || hosts > 1 || (r->http11 && !hosts) || lengths > 1 || encodings > 1 ||
	    (lengths && encodings) || (encodings && !r->http11))
		return 400;
	if (lengths && p->content_length > SERVE_BODY_MAX)
		return 413;
	return 0;
}

int serve_head_parse(struct serve_request *r, llhttp_t *p)
{
	enum llhttp_errno code;
	int status;

	llhttp_init(p, HTTP_REQUEST, &settings);
	p->data = r;
	code = llhttp_execute(p, r->head, r->head_len);
	if (code != HPE_OK && code != HPE_PAUSED && code != HPE_PAUSED_UPGRADE)
		return r->refuse ? r->refuse : code == HPE_INVALID_VERSION ? 505 : 400;
	if (!r->head_done)
		return 400;
	if (!one_space(r))
		return 400;
	end_strings(r);
	r->method = (llhttp_method_t)p->method;
	status = judge(r, p);
	/* 0 flags once the message is complete: the words themselves are looked at. */
	if (status == 0)
		r->keep_alive = serve_wants_keep_alive(r);
	return status;
}

ssize_t serve_body_parse(struct serve_request *r, llhttp_t *p, const char *data, size_t len)
{
	enum llhttp_errno code = llhttp_execute(p, data, len);
	size_t used = len;

	if (code == HPE_PAUSED || code == HPE_PAUSED_UPGRADE)
		used = (size_t)(llhttp_get_error_pos(p) - data);
	else if (code != HPE_OK)
		r->refuse = r->refuse ? r->refuse : 400;
	r->raw_len += used;
	/* Chunks of a byte each are not what a client sends. */
	if (!r->refuse && r->raw_len > 2 * (size_t)SERVE_BODY_MAX)
		r->refuse = 413;
	return r->refuse ? -r->refuse : (ssize_t)used;
}
