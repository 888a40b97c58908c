/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client connection of HTTP/1: where its messages begin and end.
 *
 *   HEAD -> LENGTH, CHUNKED, UNTIL_EOF -> OVER         each direction by itself; the answer's with the request in mind
 *
 * A direction goes back to HEAD when both are OVER and the client's next bytes come.
 */
#include <string.h>

#include "http/h1.h"

struct way {
	enum { HEAD, LENGTH, CHUNKED, UNTIL_EOF, OVER } state;
	struct h1_scan scan;
	uint64_t left; /* LENGTH */
	struct h1_chunks chunks;
	bool keeps; /* its head lets the connection be used again */
};

struct h1 {
	struct way request, answer;
	bool is_head, is_connect, upgrade, tunnel;
	const char *why;
	struct http_head head; /* the last that was given */
};

struct h1 *h1_new(void)
{
	struct h1 *h = malloc(sizeof(*h));

	if (h)
		*h = (struct h1){.why = NULL};
	return h;
}

void h1_free(struct h1 *h)
{
	free(h);
}

static enum h1_step bad(struct h1 *h, const char *why)
{
	h->why = why;
	return H1_BAD;
}

/* --- both ------------------------------------------------------------------------------------------------------------- */

/* A whole head is there, or not yet. H1_HEAD: *f is filled in. */
static enum h1_step read_head(struct h1 *h, struct way *w, bool answer, const uint8_t *data,
			      size_t len, size_t *n, struct h1_framing *f)
{
	ssize_t end = h1_head_read(data, len, answer, &w->scan, &h->head, f, &h->why);

	if (end < 0)
		return H1_BAD;
	if (!end)
		return H1_MORE;
	w->keeps = f->http11 ? !f->close : f->keep_alive && !f->close;
	*n = (size_t)end;
	return H1_HEAD;
}

static void set_body(struct way *w, const struct h1_framing *f, bool until_eof)
{
	w->left = f->length;
	w->chunks = (struct h1_chunks){.state = CHUNK_SIZE};
	if (f->chunked)
		w->state = CHUNKED;
	else if (f->has_length || !until_eof)
		w->state = LENGTH;
	else
		w->state = UNTIL_EOF;
	if (w->state == UNTIL_EOF)
		w->keeps = false;
}

static enum h1_step end(struct way *w)
{
	w->state = OVER;
	return H1_END;
}

static enum h1_step read_chunks(struct h1 *h, struct way *w, const uint8_t *data, size_t len,
				size_t *n)
{
	ssize_t taken = h1_chunks_pass(&w->chunks, data, len);

	if (taken < 0)
		return bad(h, "bad chunks");
	*n = (size_t)taken;
	if (w->chunks.state == CHUNKS_OVER)
		return end(w);
	return taken ? H1_BODY : H1_MORE;
}

static enum h1_step read_body(struct h1 *h, struct way *w, const uint8_t *data, size_t len,
			      size_t *n)
{
	*n = 0;
	switch (w->state) {
	case LENGTH:
		*n = (size_t)MIN((uint64_t)len, w->left);
		w->left -= *n;
		if (!w->left)
			return end(w);
		break;
	case CHUNKED:
		return read_chunks(h, w, data, len, n);
	case UNTIL_EOF:
		*n = len;
		break;
	case HEAD:
	case OVER:
		return H1_MORE;
	}
	return *n ? H1_BODY : H1_MORE;
}

static uint64_t body_left(const struct way *w)
{
	switch (w->state) {
	case LENGTH:
		return w->left;
	case CHUNKED:
		return w->chunks.state == CHUNK_DATA ? w->chunks.left : 0;
	case UNTIL_EOF:
		return UINT64_MAX;
	case HEAD:
	case OVER:
		break;
	}
	return 0;
}

static void body_skip(struct way *w, uint64_t n)
{
	if (w->state == LENGTH) {
		w->left -= MIN(n, w->left);
	} else if (w->state == CHUNKED && w->chunks.state == CHUNK_DATA) {
		w->chunks.left -= MIN(n, w->chunks.left);
		if (!w->chunks.left)
			w->chunks.state = CHUNK_DATA_CR;
	}
}

/* --- requests --------------------------------------------------------------------------------------------------------- */

enum h1_step h1_request(struct h1 *h, const uint8_t *data, size_t len, size_t *n)
{
	struct h1_framing f;
	enum h1_step step;

	*n = 0;
	if (h1_done(h) && len)
		*h = (struct h1){.why = NULL};
	if (h->request.state != HEAD)
		return read_body(h, &h->request, data, len, n);
	step = read_head(h, &h->request, false, data, len, n, &f);
	if (step != H1_HEAD)
		return step;
	h->is_head = http_text_is(h->head.method, "HEAD");
	h->is_connect = http_text_is(h->head.method, "CONNECT");
	h->upgrade = f.upgrade;
	if (h->is_connect && (f.chunked || f.length)) {
		*n = 0;
		return bad(h, "CONNECT with a body");
	}
	set_body(&h->request, &f, false);
	return H1_HEAD;
}

const struct http_head *h1_head(const struct h1 *h)
{
	return &h->head;
}

void h1_head_again(struct h1 *h, const uint8_t *data, size_t n)
{
	struct h1_scan scan = {0};
	struct h1_framing f;

	(void)h1_head_read(data, n, false, &scan, &h->head, &f, &h->why);
}

bool h1_request_begun(const struct h1 *h)
{
	return h->request.state != HEAD && !h1_done(h);
}

bool h1_request_over(const struct h1 *h)
{
	return h->request.state == OVER;
}

bool h1_answer_begun(const struct h1 *h)
{
	return h->answer.state != HEAD;
}

bool h1_answer_over(const struct h1 *h)
{
	return h->answer.state == OVER;
}

uint64_t h1_request_left(const struct h1 *h)
{
	return body_left(&h->request);
}

void h1_request_skip(struct h1 *h, uint64_t n)
{
	body_skip(&h->request, n);
}

/* --- answers ---------------------------------------------------------------------------------------------------------- */

static enum h1_step answer_head(struct h1 *h, const struct h1_framing *f)
{
	int status = h->head.status;
	bool none = h->is_head || status == 204 || status == 304;

	if (status == 101 && !h->upgrade)
		return bad(h, "101 to a request that did not ask for it");
	if (status == 101 || (h->is_connect && status / 100 == 2)) {
		h->tunnel = true;
		return H1_TUNNEL;
	}
	if (status < 200) { /* interim: the answer is still to come */
		if (f->chunked || f->length)
			return bad(h, "an interim answer with a body");
		return H1_HEAD;
	}
	if (none)
		h->answer.state = LENGTH;
	else
		set_body(&h->answer, f, true);
	return H1_HEAD;
}

enum h1_step h1_answer(struct h1 *h, const uint8_t *data, size_t len, size_t *n)
{
	struct h1_framing f;
	enum h1_step step;

	*n = 0;
	if (h->answer.state != HEAD)
		return read_body(h, &h->answer, data, len, n);
	step = read_head(h, &h->answer, true, data, len, n, &f);
	if (step == H1_HEAD)
		step = answer_head(h, &f);
	if (step == H1_BAD)
		*n = 0;
	return step;
}

enum h1_step h1_answer_eof(struct h1 *h)
{
	if (h->answer.state == UNTIL_EOF)
		return end(&h->answer);
	return bad(h, "ended before its answer");
}

void h1_answer_restart(struct h1 *h)
{
	h->answer = (struct way){.state = HEAD};
}

uint64_t h1_answer_left(const struct h1 *h)
{
	return body_left(&h->answer);
}

void h1_answer_skip(struct h1 *h, uint64_t n)
{
	body_skip(&h->answer, n);
}

/* --- the connections -------------------------------------------------------------------------------------------------- */

bool h1_done(const struct h1 *h)
{
	return h->request.state == OVER && h->answer.state == OVER;
}

bool h1_keeps(const struct h1 *h)
{
	return h->request.keeps && h->answer.keeps && !h->tunnel;
}

const char *h1_why(const struct h1 *h)
{
	return h->why;
}
