/* SPDX-License-Identifier: Apache-2.0 */
/* The splitter's ends: an nghttp2 session each, a server's towards the client, a client's on each leg. */
#include <errno.h>

#include "http/h2_internal.h"

enum { SEND_BLOCK_MAX = 4 * HTTP_HEAD_MAX }; /* nghttp2 reckons with an upper bound */

/* --- floods ---------------------------------------------------------------------------------------------------------- */

static void count_rate(struct h2 *h, struct h2_rate *r, unsigned most)
{
	if (h->now - r->since > H2_RESETS_S * NSEC_PER_SEC)
		*r = (struct h2_rate){.since = h->now};
	if (++r->n != most)
		return;
	h->counts.floods++;
	nghttp2_session_terminate_session(h->client.session, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* A stream of the client was reset by itself or for its own fault. */
static void count_reset(struct h2 *h)
{
	count_rate(h, &h->resets, H2_RESETS_MAX);
}

static void count_bad(struct h2_end *e)
{
	if (e->client)
		e->h->counts.bad_heads++;
	else
		e->h->counts.bad_answers++;
}

/* --- nghttp2 tells ------------------------------------------------------------------------------------------------------ */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2_end *e = user;
	int32_t id = frame->hd.stream_id;

	h2_head_free(e->in);
	e->in = h2_head_new();
	if (!e->in)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (e->client && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		struct h2_stream *s = h2_stream_new(e->h, id);

		if (!s) {
			nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id,
						  NGHTTP2_REFUSED_STREAM);
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		}
		nghttp2_session_set_stream_user_data(session, id, s);
	}
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t namelen, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
	struct h2_end *e = user;
	int err;

	if (!e->in)
		return 0;
	err = h2_head_add(e->in, name, namelen, value, len, flags & NGHTTP2_NV_FLAG_NO_INDEX);
	if (!err)
		return 0;
	if (err != -E2BIG)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	count_bad(e);
	nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
				  e->client ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR);
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static void on_head(struct h2_end *e, struct h2_stream *s, const nghttp2_frame *frame)
{
	struct h2_head *head = steal_ptr(e->in);
	bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (!head)
		return;
	if (!e->client && s->own) { /* too late */
		h2_head_free(head);
		return;
	}
	h2_head_finish(head);
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		h2_on_request(s, head, ended);
	else if (e->client || s->answered)
		h2_on_trailers(e, s, head);
	else
		h2_on_answer(s, head, ended);
}

/* The client is offered what the application offers, once that is known. */
static void on_settings(struct h2_end *e)
{
	const nghttp2_settings_entry on = {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
	struct h2 *h = e->h;

	e->spoke = true;
	if (!e->near || h->offered ||
	    !nghttp2_session_get_remote_settings(e->session,
						 NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL))
		return;
	h->offered = true;
	nghttp2_submit_settings(h->client.session, NGHTTP2_FLAG_NONE, &on, 1);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2_end *e = user;
	struct h2_stream *s =
		frame->hd.stream_id
			? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id)
			: NULL;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		if (s)
			on_head(e, s, frame);
		break;
	case NGHTTP2_DATA:
		if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
			if (s)
				h2_on_end(e, s);
		} else if (e->client && frame->hd.length == frame->data.padlen) {
			count_rate(e->h, &e->h->empty, H2_EMPTY_MAX);
		}
		break;
	case NGHTTP2_RST_STREAM:
		if (e->client)
			count_reset(e->h);
		else if (s)
			s->leg_reset = true;
		break;
	case NGHTTP2_SETTINGS:
		if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
			on_settings(e);
		break;
	case NGHTTP2_PING: /* of ours: what the client sent before it read the first GOAWAY is here */
		if (e->client && e->h->leaving && frame->hd.flags & NGHTTP2_FLAG_ACK)
			h2_goaway(e->h, true);
		break;
	case NGHTTP2_GOAWAY:
		e->closing = true;
		break;
	default:
		break;
	}
	return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
			    void *user)
{
	struct h2_end *e = user;

	(void)session;
	if (frame->hd.type == NGHTTP2_HEADERS && error != NGHTTP2_ERR_REFUSED_STREAM)
		count_bad(e);
	return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
			 size_t len, void *user)
{
	struct h2_end *e = user;
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)flags;
	if (!s)
		return nghttp2_session_consume(session, id, len);
	return h2_on_data(e, s, id, data, len);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct h2_end *e = user;
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);

	if (!s)
		return 0;
	nghttp2_session_set_stream_user_data(session, id, NULL);
	if (e->client)
		h2_on_client_closed(s, code);
	else
		h2_on_leg_closed(s, code,
				 code == NGHTTP2_REFUSED_STREAM ? H2_LOST_REFUSED : H2_LOST_ANSWER);
	return 0;
}

/* From here on a leg may get a head's bytes, though the last of them wait for room. */
static int on_before_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	const struct h2_end *e = user;
	struct h2_stream *s;

	if (e->client || frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (s)
		s->sent = true;
	return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	const struct h2_end *e = user;
	uint8_t type = frame->hd.type;
	struct h2_stream *s;

	if (!e->client ||
	    (type != NGHTTP2_HEADERS && type != NGHTTP2_DATA && type != NGHTTP2_RST_STREAM))
		return 0;
	s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	if (type == NGHTTP2_RST_STREAM) {
		if (!s || !s->reset_by_us)
			count_reset(e->h); /* nghttp2 did: it was the client's fault */
	} else if (s && frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
		h2_on_sent_end(s);
	}
	return 0;
}

/* A request that waited for its turn and will not have it: GOAWAY came, or it was reset. */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error,
			     void *user)
{
	const struct h2_end *e = user;
	struct h2_stream *s;

	(void)error;
	if (e->client || frame->hd.type != NGHTTP2_HEADERS ||
	    frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	for (s = LIST_FIRST(&e->streams); s; s = LIST_NEXT(s, on_leg)) {
		if (s->leg_id == frame->hd.stream_id) {
			nghttp2_session_set_stream_user_data(session, s->leg_id, NULL);
			h2_on_leg_closed(s, NGHTTP2_REFUSED_STREAM, H2_LOST_REFUSED);
			break;
		}
	}
	return 0;
}

static nghttp2_session_callbacks *callbacks_new(void)
{
	nghttp2_session_callbacks *c;

	if (nghttp2_session_callbacks_new(&c))
		return NULL;
	nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(c, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, on_invalid_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
	nghttp2_session_callbacks_set_before_frame_send_callback(c, on_before_send);
	nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(c, on_frame_not_send);
	nghttp2_session_callbacks_set_send_data_callback(c, h2_send_data);
	return c;
}

/* `table`: of HPACK, for what we send. */
static nghttp2_option *options_new(size_t table)
{
	nghttp2_option *o;

	if (nghttp2_option_new(&o))
		return NULL;
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_max_continuations(o, H2_CONTINUATIONS_MAX);
	nghttp2_option_set_max_send_header_block_length(o, SEND_BLOCK_MAX);
	/* Ours says ENHANCE_YOUR_CALM, and counts. */
	nghttp2_option_set_stream_reset_rate_limit(o, UINT32_MAX, UINT32_MAX);
	nghttp2_option_set_max_deflate_dynamic_table_size(o, table);
	/* Until a leg says how many it takes: no more than surely are not refused. */
	nghttp2_option_set_peer_max_concurrent_streams(o, 1);
	return o;
}

/* --- ends -------------------------------------------------------------------------------------------------------------- */

static int submit_settings(struct h2_end *e)
{
	static const nghttp2_settings_entry to_client[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEAD_MAX},
		{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	};
	static const nghttp2_settings_entry to_leg[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_HEAD_MAX},
		{NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0}, /* near ones only */
	};
	const nghttp2_settings_entry *set = e->client ? to_client : to_leg;
	size_t n = e->client ? ARRAY_SIZE(to_client) : ARRAY_SIZE(to_leg) - !e->near;
	int err = nghttp2_submit_settings(e->session, NGHTTP2_FLAG_NONE, set, n);

	return err ? err
		   : nghttp2_session_set_local_window_size(e->session, NGHTTP2_FLAG_NONE, 0,
							   H2_WINDOW_CONNECTION);
}

static int session_new(struct h2_end *e)
{
	static nghttp2_session_callbacks *callbacks;
	static nghttp2_option *options, *near_options;
	const nghttp2_option *o;

	callbacks = callbacks ? callbacks : callbacks_new();
	options = options ? options : options_new(NGHTTP2_DEFAULT_HEADER_TABLE_SIZE);
	near_options = near_options ? near_options : options_new(0);
	o = e->near ? near_options : options;
	if (!callbacks || !o)
		return -ENOMEM;
	if (e->client ? nghttp2_session_server_new2(&e->session, callbacks, e, o)
		      : nghttp2_session_client_new2(&e->session, callbacks, e, o))
		return -ENOMEM;
	if (!submit_settings(e))
		return 0;
	nghttp2_session_del(e->session);
	return -ENOMEM;
}

struct h2 *h2_new(const struct h2_ops *ops, void *arg)
{
	struct h2 *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->ops = ops;
	h->arg = arg;
	h->client = (struct h2_end){.h = h, .client = true};
	if (session_new(&h->client)) {
		free(h);
		return NULL;
	}
	return h;
}

struct h2_end *h2_leg_new(struct h2 *h, bool near)
{
	struct h2_end *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	*e = (struct h2_end){.h = h, .near = near};
	if (session_new(e)) {
		free(e);
		return NULL;
	}
	LIST_INSERT_HEAD(&h->legs, e, next);
	return e;
}

void h2_leg_free(struct h2_end *leg)
{
	struct h2_stream *s;

	leg->closing = true;
	while ((s = LIST_FIRST(&leg->streams))) {
		bool open = s->leg_id;

		LIST_REMOVE(s, on_leg);
		s->leg = NULL;
		s->leg_id = 0;
		if (open)
			h2_on_leg_closed(s, NGHTTP2_INTERNAL_ERROR, H2_LOST_BROKEN);
	}
	LIST_REMOVE(leg, next);
	nghttp2_session_del(leg->session);
	h2_head_free(leg->in);
	free(leg);
}

void h2_free(struct h2 *h)
{
	if (!h)
		return;
	while (!LIST_EMPTY(&h->streams)) {
		struct h2_stream *s = LIST_FIRST(&h->streams);

		s->id = s->leg_id = 0;
		h2_stream_free(s);
	}
	while (!LIST_EMPTY(&h->legs))
		h2_leg_free(LIST_FIRST(&h->legs));
	nghttp2_session_del(h->client.session);
	h2_head_free(h->client.in);
	free(h);
}

int h2_input(struct h2_end *e, const uint8_t *data, size_t len, nsec_t now)
{
	bool busy = e->h->busy;
	ssize_t n;

	e->h->now = now;
	e->h->busy = true;
	n = nghttp2_session_mem_recv(e->session, data, len);
	e->h->busy = busy;
	if (n >= 0)
		return 0;
	e->closing = true;
	if (n != NGHTTP2_ERR_FLOODED && n != NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
		;
	else if (e->client)
		e->h->counts.floods++;
	else
		e->h->counts.bad_answers++;
	return n == NGHTTP2_ERR_NOMEM || n == NGHTTP2_ERR_CALLBACK_FAILURE ? -ENOMEM : -EPROTO;
}

/* What nghttp2 gave and did not fit is kept where it lies: it stays until the next is asked for. */
static void put_held(struct h2_end *e)
{
	size_t n = MIN(e->nheld, e->out_room - e->out_len);

	if (!n)
		return;
	memcpy(e->out + e->out_len, e->held, n);
	e->out_len += n;
	e->held += n;
	e->nheld -= n;
}

size_t h2_output(struct h2_end *e, uint8_t *buf, size_t room)
{
	bool busy = e->h->busy;

	e->out = buf;
	e->out_room = room;
	e->out_len = 0;
	e->h->busy = true;
	put_held(e);
	while (!e->nheld) {
		const uint8_t *p;
		size_t before = e->out_len;
		ssize_t n = nghttp2_session_mem_send(e->session, &p);

		if (n < 0)
			e->closing = true;
		if (n <= 0 && e->out_len == before)
			break;
		if (n > 0) {
			e->held = p;
			e->nheld = (size_t)n;
			put_held(e);
		}
	}
	e->h->busy = busy;
	return e->out_len;
}

bool h2_has_output(const struct h2_end *e)
{
	return e->nheld || nghttp2_session_want_write(e->session);
}

bool h2_over(const struct h2_end *e)
{
	return !h2_has_output(e) && !nghttp2_session_want_read(e->session);
}

struct h2_end *h2_client(struct h2 *h)
{
	return &h->client;
}

const struct h2_counts *h2_counts(const struct h2 *h)
{
	return &h->counts;
}

unsigned h2_streams(const struct h2 *h)
{
	return h->nstreams;
}

void h2_goaway(struct h2 *h, bool last)
{
	nghttp2_session *s = h->client.session;

	if (last) {
		h->leaving = false;
		nghttp2_submit_goaway(s, NGHTTP2_FLAG_NONE,
				      nghttp2_session_get_last_proc_stream_id(s), NGHTTP2_NO_ERROR,
				      NULL, 0);
	} else if (!h->leaving) {
		h->leaving = true;
		nghttp2_submit_shutdown_notice(s);
		nghttp2_submit_ping(s, NGHTTP2_FLAG_NONE, NULL);
	}
}

bool h2_leg_takes(const struct h2_end *leg)
{
	return !leg->closing;
}

unsigned h2_leg_streams(const struct h2_end *leg)
{
	return leg->nstreams;
}

void h2_leg_leave(struct h2_end *leg)
{
	struct h2_stream *s, *next;

	leg->closing = true;
	for (s = LIST_FIRST(&leg->streams); s; s = next) {
		next = LIST_NEXT(s, on_leg);
		h2_stream_leave(s);
	}
}

bool h2_leg_awaited(const struct h2_end *leg)
{
	const struct h2_stream *s;

	for (s = LIST_FIRST(&leg->streams); s; s = LIST_NEXT(s, on_leg)) {
		if (s->leg_id && s->id && !s->own)
			return true;
	}
	return false;
}

bool h2_leg_spoke(const struct h2_end *leg)
{
	return leg->spoke;
}
