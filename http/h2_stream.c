/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of an HTTP/2 client: a stream towards the client, and one on a leg once it is known which.
 *
 * ROUTING (no leg; the owner has it) -> SENT (on a leg) -> ANSWERED (the head went to the client), or back to ROUTING when the leg loses it.
 * It lives until it is closed at both ends. Its bytes wait in two queues: `up` towards the leg, `down` towards the client. What the
 * other hop takes is given back to the stream's window; to the connection's it is given when it comes (H2_BUFFERED_HIGH).
 */
#include <errno.h>
#include <stdio.h>

#include "http/h2_internal.h"

enum { FRAME_HEAD = 9, TEXT_MAX = 1024, OBJECTS_MAX = 10 * H2_STREAMS_MAX };

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id)
{
	/* Those the client has reset count until a leg that stands has taken the reset, too. */
	struct h2_stream *s = h->nstreams < OBJECTS_MAX ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	*s = (struct h2_stream){.h = h, .id = id, .up.stream = s, .down.stream = s};
	LIST_INSERT_HEAD(&h->streams, s, next);
	h->nstreams++;
	h->counts.streams++;
	return s;
}

/* n bytes of a queue are gone: the hop that they came from may send more. */
static void give_back(struct h2_stream *s, const struct h2_queue *q, size_t n, size_t owed)
{
	bool up = q == &s->up;
	struct h2_end *from = up ? &s->h->client : s->leg;
	int32_t id = up ? s->id : s->leg_id;

	if (!from)
		return;
	if (id)
		nghttp2_session_consume_stream(from->session, id, n);
	if (owed)
		nghttp2_session_consume_connection(from->session, owed);
}

static void drop(struct h2_stream *s, struct h2_queue *q)
{
	size_t n = q->len;

	if (n)
		give_back(s, q, n, h2_queue_take(q, NULL, n));
	h2_queue_free(q);
}

void h2_stream_free(struct h2_stream *s)
{
	struct h2 *h = s->h;

	h->ops->gone(h->arg, s);
	drop(s, &s->up);
	drop(s, &s->down);
	if (s->leg)
		LIST_REMOVE(s, on_leg);
	LIST_REMOVE(s, next);
	h->nstreams--;
	h2_head_free(s->request);
	free(s->tag);
	free(s);
}

static void free_if_over(struct h2_stream *s)
{
	if (!s->id && !s->leg_id)
		h2_stream_free(s);
}

static void reset_client(struct h2_stream *s, uint32_t code)
{
	if (!s->id)
		return;
	s->reset_by_us = true;
	nghttp2_submit_rst_stream(s->h->client.session, NGHTTP2_FLAG_NONE, s->id, code);
}

static void reset_leg(struct h2_stream *s, uint32_t code)
{
	/* Once: while its head waits for its turn nghttp2 only takes that back, but of a second one it would tell the leg, which has not
	 * heard of the stream. */
	if (s->leg_id && !s->reset_leg)
		nghttp2_submit_rst_stream(s->leg->session, NGHTTP2_FLAG_NONE, s->leg_id, code);
	s->reset_leg = true;
}

/* The client gets it behind what still waits. */
static void reset_client_after(struct h2_stream *s, uint32_t code)
{
	s->reset_code = code;
	if (!s->answered || (s->down.ended ? s->down_sent : !s->down.len))
		reset_client(s, code);
	else
		s->reset_after = true;
}

/* --- bodies ------------------------------------------------------------------------------------------------------ */

static void take_nv(nghttp2_session *session, int32_t id, const struct h2_head *trailers)
{
	nghttp2_nv nv[HTTP_FIELDS_MAX + H2_PSEUDO_MAX];

	nghttp2_submit_trailer(session, id, nv, h2_head_list(trailers, nv));
}

/* nghttp2 asks how much of the body there is; h2_send_data() takes it. */
static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
			 uint32_t *flags, nghttp2_data_source *source, void *user)
{
	const struct h2_end *e = user;
	struct h2_stream *s = source->ptr;
	struct h2_queue *q = e->client ? &s->down : &s->up;
	size_t n = MIN(length, q->len);

	(void)buf;
	if (!n && !q->ended) {
		if (e->client && s->reset_after)
			reset_client(s, s->reset_code);
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n)
		*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	/* From here on h2_send_data() may be called at any time. */
	s->up_gone |= n && !e->client;
	if (q->ended && n == q->len) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (q->trailers) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			take_nv(session, id, q->trailers);
		}
	}
	return (ssize_t)n;
}

int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
		 size_t length, nghttp2_data_source *source, void *user)
{
	struct h2_end *e = user;
	struct h2_stream *s = source->ptr;
	struct h2_queue *q = e->client ? &s->down : &s->up;
	uint8_t *to = e->out + e->out_len;

	(void)session;
	(void)frame;
	if (e->out_room - e->out_len < FRAME_HEAD + length)
		return NGHTTP2_ERR_WOULDBLOCK;
	if (q->len < length)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	memcpy(to, framehd, FRAME_HEAD);
	give_back(s, q, length, h2_queue_take(q, to + FRAME_HEAD, length));
	e->out_len += FRAME_HEAD + length;
	return 0;
}

/* There is more of the body, or its end. */
static void resume(struct h2_stream *s, const struct h2_queue *q)
{
	if (q == &s->up && s->leg_id)
		nghttp2_session_resume_data(s->leg->session, s->leg_id);
	else if (q == &s->down && s->id)
		nghttp2_session_resume_data(s->h->client.session, s->id);
}

void h2_on_end(struct h2_end *e, struct h2_stream *s)
{
	struct h2_queue *q = e->client ? &s->up : &s->down;

	q->ended = true;
	resume(s, q);
}

void h2_on_trailers(struct h2_end *e, struct h2_stream *s, struct h2_head *head)
{
	struct h2_queue *q = e->client ? &s->up : &s->down;

	h2_head_free(q->trailers);
	q->trailers = head;
	h2_on_end(e, s);
}

/* --- heads --------------------------------------------------------------------------------------------------------- */

void h2_on_request(struct h2_stream *s, struct h2_head *head, bool ended)
{
	s->request = head;
	s->up.ended = ended;
	s->h->ops->request(s->h->arg, s, &head->head);
}

int h2_send(struct h2_stream *s, struct h2_end *leg, const char *tag)
{
	nghttp2_nv nv[HTTP_FIELDS_MAX + H2_PSEUDO_MAX];
	const nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_body};
	bool none = s->up.ended && !s->up.len && !s->up.trailers;
	int32_t id;

	if (leg->closing || !s->request || s->leg_id || !s->id)
		return -ENOTCONN;
	free(s->tag);
	s->tag = tag ? strdup(tag) : NULL;
	id = nghttp2_submit_request(leg->session, NULL, nv, h2_head_list(s->request, nv),
				    none ? NULL : &body, s);
	if (id < 0) {
		leg->closing = true; /* out of ids, or of memory */
		return -ENOTCONN;
	}
	if (s->leg)
		LIST_REMOVE(s, on_leg);
	LIST_INSERT_HEAD(&leg->streams, s, on_leg);
	leg->nstreams++;
	s->leg = leg;
	s->leg_id = id;
	s->leg_reset = s->reset_leg = s->sent = false;
	return 0;
}

static size_t add(nghttp2_nv *nv, size_t n, const char *name, const char *value, size_t len)
{
	nv[n] = (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.namelen = strlen(name),
		.value = (uint8_t *)(uintptr_t)value,
		.valuelen = len,
	};
	return n + 1;
}

void h2_on_answer(struct h2_stream *s, struct h2_head *head, bool ended)
{
	nghttp2_nv nv[HTTP_FIELDS_MAX + H2_PSEUDO_MAX + 1];
	const nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_body};
	nghttp2_session *client = s->h->client.session;
	int status = head->head.status;
	size_t n;

	if (s->id && !s->own) {
		n = h2_head_list(head, nv);
		if (status / 100 == 1) {
			nghttp2_submit_headers(client, NGHTTP2_FLAG_NONE, s->id, NULL, nv, n, NULL);
		} else {
			if (s->tag)
				n = add(nv, n, "x-culvert-served-by", s->tag, strlen(s->tag));
			s->answered = true;
			s->down.ended = ended;
			nghttp2_submit_response(client, s->id, nv, n, ended ? NULL : &body);
			if (s->h->ops->answered)
				s->h->ops->answered(s->h->arg, s, status);
			h2_head_free(s->request);
			s->request = NULL;
		}
	}
	h2_head_free(head);
}

/* Percent-encoded, as grpc-message has to be. */
static size_t grpc_message(char *to, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (const uint8_t *c = (const uint8_t *)text; *c && n + 3 < TEXT_MAX; c++) {
		if (*c >= 0x20 && *c < 0x7f && *c != '%') {
			to[n++] = (char)*c;
			continue;
		}
		to[n++] = '%';
		to[n++] = hex[*c >> 4];
		to[n++] = hex[*c & 15];
	}
	return n;
}

static bool is_grpc(const struct http_head *head)
{
	static const char type[] = "application/grpc";
	const struct http_field *f = http_field_find(head, "content-type", NULL);

	return f && f->value.len >= sizeof(type) - 1 && !memcmp(f->value.p, type, sizeof(type) - 1);
}

static size_t add_extra(nghttp2_nv *nv, size_t n, const struct http_field *extra)
{
	if (!extra)
		return n;
	nv[n] = (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)extra->name.p,
		.namelen = extra->name.len,
		.value = (uint8_t *)(uintptr_t)extra->value.p,
		.valuelen = extra->value.len,
	};
	return n + 1;
}

static void answer_grpc(struct h2_stream *s, const struct http_field *extra, const char *text)
{
	char message[TEXT_MAX];
	nghttp2_nv nv[5];
	size_t n = add(nv, 0, ":status", "200", 3);

	n = add(nv, n, "content-type", "application/grpc", 16);
	n = add(nv, n, "grpc-status", "14", 2);
	n = add(nv, n, "grpc-message", message, grpc_message(message, text));
	n = add_extra(nv, n, extra);
	s->down.ended = true;
	nghttp2_submit_response(s->h->client.session, s->id, nv, n, NULL);
}

static void answer_text(struct h2_stream *s, int status, const struct http_field *extra,
			const char *text)
{
	const nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_body};
	bool head = http_text_is(s->request->head.method, "HEAD");
	char code[12], length[24], line[TEXT_MAX];
	int len = snprintf(line, sizeof(line), "%s\n", text);
	nghttp2_nv nv[5];
	size_t n;

	len = MIN(len, (int)sizeof(line) - 1);
	n = add(nv, 0, ":status", code, (size_t)snprintf(code, sizeof(code), "%d", status));
	n = add(nv, n, "content-type", "text/plain; charset=utf-8", 25);
	n = add(nv, n, "content-length", length,
		(size_t)snprintf(length, sizeof(length), "%d", len));
	n = add_extra(nv, n, extra);
	if (!head)
		h2_queue_put(&s->down, (const uint8_t *)line, (size_t)len, 0);
	s->down.ended = true;
	nghttp2_submit_response(s->h->client.session, s->id, nv, n, head ? NULL : &body);
}

void h2_answer(struct h2_stream *s, int status, const struct http_field *extra, const char *text)
{
	if (!s->id || s->answered || !s->request)
		return;
	reset_leg(s, NGHTTP2_CANCEL);
	s->own = s->answered = true;
	if (is_grpc(&s->request->head))
		answer_grpc(s, extra, text);
	else
		answer_text(s, status, extra, text);
	drop(s, &s->up);
	h2_head_free(s->request);
	s->request = NULL;
	if (!s->up.ended)
		reset_client_after(s, NGHTTP2_NO_ERROR);
}

/* --- ends ------------------------------------------------------------------------------------------------------------ */

void h2_on_sent_end(struct h2_stream *s)
{
	s->down_sent = true;
	if (s->reset_after)
		reset_client(s, s->reset_code);
}

void h2_on_client_closed(struct h2_stream *s, uint32_t code)
{
	bool complete = s->up.ended && s->down.ended && code == NGHTTP2_NO_ERROR;

	s->id = 0;
	drop(s, &s->down);
	if (!complete) {
		drop(s, &s->up);
		reset_leg(s, code);
	}
	free_if_over(s);
}

/* RFC 9110, 9.2.2 */
static bool repeatable(const struct h2_stream *s)
{
	static const char *const idempotent[] = {"GET",	  "HEAD", "OPTIONS",
						 "TRACE", "PUT",  "DELETE"};
	bool yes = false;

	for (size_t i = 0; i < ARRAY_SIZE(idempotent); i++)
		yes |= http_text_is(s->request->head.method, idempotent[i]);
	return yes;
}

/* May another have it, too? */
static bool whole(const struct h2_stream *s, enum h2_lost why)
{
	return !s->up_gone && (why == H2_LOST_REFUSED || !s->sent || repeatable(s));
}

void h2_stream_leave(struct h2_stream *s)
{
	struct h2_end *leg = s->leg;

	if (!s->leg_id || !s->id || s->own || s->answered || !whole(s, H2_LOST_TAKEN))
		return;
	nghttp2_session_set_stream_user_data(leg->session, s->leg_id, NULL);
	reset_leg(s, NGHTTP2_CANCEL); /* should it come back */
	LIST_REMOVE(s, on_leg);
	s->leg = NULL;
	s->leg_id = 0;
	leg->nstreams--;
	s->h->ops->lost(s->h->arg, s, H2_LOST_TAKEN, true);
}

void h2_on_leg_closed(struct h2_stream *s, uint32_t code, enum h2_lost why)
{
	struct h2 *h = s->h;

	if (s->leg_id)
		s->leg->nstreams--;
	s->leg_id = 0;
	if (!s->id || s->own) {
		free_if_over(s);
	} else if (!s->answered) {
		if (s->leg_reset)
			reset_client(s, code);
		else
			h->ops->lost(h->arg, s, why, whole(s, why));
	} else {
		drop(s, &s->up);
		if (!s->down.ended || !s->up.ended)
			reset_client_after(s, code);
	}
}

static void end_both(struct h2_stream *s, uint32_t code)
{
	s->own = s->answered = true;
	drop(s, &s->up);
	drop(s, &s->down);
	reset_leg(s, NGHTTP2_CANCEL);
	reset_client(s, code);
}

/* Is an answer worth its room? With a few bytes that wait it would take as much as it leaves. */
static void overflow(struct h2_stream *s, bool answer)
{
	const struct h2_ops *ops = s->h->ops;

	s->h->counts.overflows++;
	if (s->answered || !answer) {
		end_both(s, NGHTTP2_ENHANCE_YOUR_CALM);
		return;
	}
	h2_answer(s, 503, NULL,
		  "The agent has no room for more of this request, since too much waits for "
		  "others that do not take it.");
	if (ops->answered)
		ops->answered(s->h->arg, s, 503);
}

/*
 * All that waits, of all connections, is as much as it may be. To hold up whoever brings more is no way out: windows that were given
 * cannot be taken back, and the bytes of a connection that is not read are also those that say its client has room again. So
 * somebody pays: whose bytes have stood for longest, since who takes none of them is why. Those that move go on.
 */
static bool make_room(struct h2_stream *s, const struct h2_queue *q, size_t len)
{
	while (!h2_queue_fits(q, len)) {
		struct h2_stream *v = h2_queue_oldest(s->h);
		size_t before = h2_queued();

		if (!v || v == s)
			return false;
		overflow(v, v->up.size >= H2_QUEUE_LARGE);
		if (v->h != s->h && v->h->ops->disturbed)
			v->h->ops->disturbed(v->h->arg);
		if (h2_queued() >= before)
			return false;
	}
	return true;
}

int h2_on_data(struct h2_end *e, struct h2_stream *s, int32_t id, const uint8_t *data, size_t len)
{
	struct h2_queue *q = e->client ? &s->up : &s->down;
	bool wanted = !s->own && (e->client ? s->leg_id || !s->answered : s->id != 0);
	size_t owed = h2_queued() > H2_BUFFERED_HIGH ? len : 0;

	if (!wanted) {
		s->up_gone |= e->client;
		return nghttp2_session_consume(e->session, id, len);
	}
	if (!make_room(s, q, len)) {
		overflow(s, true);
		return nghttp2_session_consume(e->session, id, len);
	}
	if (h2_queue_put(q, data, len, owed))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	resume(s, q);
	return nghttp2_session_consume_connection(e->session, len - owed);
}

void h2_stream_reset(struct h2_stream *s)
{
	end_both(s, NGHTTP2_INTERNAL_ERROR);
}

void h2_stream_refuse(struct h2_stream *s)
{
	end_both(s, NGHTTP2_REFUSED_STREAM);
}

const struct http_head *h2_stream_head(const struct h2_stream *s)
{
	return s->request ? &s->request->head : NULL;
}

void h2_stream_set(struct h2_stream *s, void *user)
{
	s->user = user;
}

void *h2_stream_user(const struct h2_stream *s)
{
	return s->user;
}

struct h2_end *h2_stream_leg(const struct h2_stream *s)
{
	return s->leg_id ? s->leg : NULL;
}
