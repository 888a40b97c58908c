/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the splitter: a client and two servers on nghttp2, `a` and `l`, and pipes between them and it that carry a few bytes at a time.
 * Each call tells by its header `to` which server is meant; that one sends the fields and the body back. All that arrives is checked.
 */
#pragma once

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/util.h"
#include "http/http.h"

enum { CALLS = 128, FIELDS = 24, PIPE_MAX = 40000, OUT_ROOM = 64 << 10 };

struct pipe_bytes {
	uint8_t *p;
	size_t at, len, size;
};

struct peer {
	nghttp2_session *session;
	struct pipe_bytes to, from; /* the splitter */
	struct h2_end *end;	    /* the splitter's */
	char name;		    /* 'c', 'a', 'l' */
	bool frozen;		    /* reads no body */
	bool silent;		    /* answers nothing */
	bool cut;		    /* its bytes go nowhere any more */
	unsigned requests;
	bool goaway;
	uint32_t goaway_code;
};

struct call {
	int n;
	char to;
	unsigned nfields;
	struct {
		char name[16], value[220];
		bool sensitive;
	} field[FIELDS];
	size_t body;
	bool trailers, interim, head_only;
	/* At the client: */
	int32_t id;
	size_t sent, got;
	int status, interims;
	unsigned fields_back;
	bool closed, trailers_back, tagged;
	uint32_t code;
	char text[600];
	char grpc_status[8], grpc_message[300];
	/* At the server: */
	struct peer *server;
	int32_t sid;
	size_t sgot, ssent;
	unsigned fields_there;
	bool ended, answered, sclosed, trailers_there;
	uint32_t scode;
};

static struct call calls[CALLS];
static unsigned ncalls;
static uint64_t rng;
static struct h2 *h2;
static struct peer client, server_a, server_l, spare;
static bool reconnects; /* an ended leg is replaced; one that takes no more, by `spare` */
static unsigned lost[4], gone, disturbed;
static int answered; /* the last status that was told */
static nsec_t now;
static const char *tag;

static unsigned roll(unsigned n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (unsigned)(rng >> 20) % n;
}

static uint8_t byte_of(int n, size_t at)
{
	return (uint8_t)((unsigned)n * 31 + at * 7 + (at >> 8));
}

static void pipe_put(struct pipe_bytes *p, const uint8_t *data, size_t len)
{
	if (p->at + p->len + len > p->size) {
		if (p->len)
			memmove(p->p, p->p + p->at, p->len);
		p->at = 0;
		if (p->len + len > p->size) {
			p->size = 2 * (p->len + len);
			p->p = realloc(p->p, p->size);
			assert_non_null(p->p);
		}
	}
	memcpy(p->p + p->at + p->len, data, len);
	p->len += len;
}

static void pipe_take(struct pipe_bytes *p, size_t n)
{
	p->at += n;
	p->len -= n;
}

/* --- the opponents ------------------------------------------------------------------------------------------------ */

static nghttp2_nv nv(const char *name, const char *value, bool sensitive)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
			    strlen(value),
			    sensitive ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
}

static struct call *call_of(nghttp2_session *s, int32_t id)
{
	return nghttp2_session_get_stream_user_data(s, id);
}

/* Not if another server has it by now. */
static struct call *call_at(const struct peer *p, nghttp2_session *s, int32_t id)
{
	struct call *c = call_of(s, id);

	return c && (p == &client || c->server == p) ? c : NULL;
}

static ssize_t client_body(nghttp2_session *s, int32_t id, uint8_t *buf, size_t len,
			   uint32_t *flags, nghttp2_data_source *src, void *user)
{
	struct call *c = src->ptr;
	size_t most = 1 + roll(20000), left = MIN(len, c->body - c->sent), n = MIN(left, most);

	(void)user;
	for (size_t i = 0; i < n; i++)
		buf[i] = byte_of(c->n, c->sent + i);
	c->sent += n;
	if (c->sent == c->body) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (c->trailers) {
			nghttp2_nv t = nv("x-trailer", "there", false);

			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			nghttp2_submit_trailer(s, id, &t, 1);
		}
	}
	return (ssize_t)n;
}

static ssize_t server_body(nghttp2_session *s, int32_t id, uint8_t *buf, size_t len,
			   uint32_t *flags, nghttp2_data_source *src, void *user)
{
	struct call *c = src->ptr;
	size_t n = MIN(len, c->sgot - c->ssent);

	if (c->server != user || (!n && !c->ended))
		return NGHTTP2_ERR_DEFERRED;
	for (size_t i = 0; i < n; i++)
		buf[i] = byte_of(c->n, c->ssent + i);
	c->ssent += n;
	if (c->ended && c->ssent == c->sgot) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (c->trailers) {
			nghttp2_nv t = nv("x-trailer", "back", false);

			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			nghttp2_submit_trailer(s, id, &t, 1);
		}
	}
	return (ssize_t)n;
}

static void server_answer(struct peer *p, struct call *c)
{
	nghttp2_data_provider body = {.source.ptr = c, .read_callback = server_body};
	nghttp2_nv list[FIELDS + 1] = {nv(":status", "207", false)};
	nghttp2_nv hint[2] = {nv(":status", "103", false), nv("link", "</x>", false)};

	if (c->interim)
		nghttp2_submit_headers(p->session, 0, c->sid, NULL, hint, 2, NULL);
	for (unsigned i = 0; i < c->nfields; i++)
		list[i + 1] = nv(c->field[i].name, c->field[i].value, c->field[i].sensitive);
	c->answered = true;
	assert_int_equal(nghttp2_submit_response(p->session, c->sid, list, c->nfields + 1,
						 c->head_only ? NULL : &body),
			 0);
}

static bool text_is(const uint8_t *p, size_t len, const char *s)
{
	return strlen(s) == len && !memcmp(p, s, len);
}

static void same_field(const struct call *c, unsigned i, const uint8_t *name, size_t namelen,
		       const uint8_t *value, size_t len, uint8_t flags)
{
	assert_true(i < c->nfields);
	assert_true(text_is(name, namelen, c->field[i].name));
	assert_true(text_is(value, len, c->field[i].value));
	assert_int_equal(!!(flags & NGHTTP2_NV_FLAG_NO_INDEX), c->field[i].sensitive);
}

static int on_header_there(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name,
			   size_t namelen, const uint8_t *value, size_t len, uint8_t flags,
			   void *user)
{
	struct call *c = call_of(s, f->hd.stream_id);

	if (text_is(name, namelen, "n")) {
		c = &calls[atoi((const char *)value)];
		nghttp2_session_set_stream_user_data(s, f->hd.stream_id, c);
		c->server = user;
		c->sid = f->hd.stream_id;
		c->fields_there = 0;
		c->sgot = c->ssent = 0;
		c->ended = c->answered = false;
	} else if (c && f->headers.cat == NGHTTP2_HCAT_REQUEST) {
		same_field(c, c->fields_there++, name, namelen, value, len, flags);
	} else if (c) {
		c->trailers_there =
			text_is(name, namelen, "x-trailer") && text_is(value, len, "there");
	}
	return 0;
}

static int on_header_back(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name,
			  size_t namelen, const uint8_t *value, size_t len, uint8_t flags,
			  void *user)
{
	struct call *c = call_of(s, f->hd.stream_id);

	(void)user;
	if (!c)
		return 0;
	if (text_is(name, namelen, ":status"))
		c->status = atoi((const char *)value);
	else if (c->status == 103)
		c->interims += text_is(value, len, "</x>");
	else if (text_is(name, namelen, "x-trailer"))
		c->trailers_back = text_is(value, len, "back");
	else if (text_is(name, namelen, "x-culvert-served-by"))
		c->tagged = tag && text_is(value, len, tag);
	else if (text_is(name, namelen, "grpc-status"))
		snprintf(c->grpc_status, sizeof(c->grpc_status), "%.*s", (int)len, value);
	else if (text_is(name, namelen, "grpc-message"))
		snprintf(c->grpc_message, sizeof(c->grpc_message), "%.*s", (int)len, value);
	else if (c->status == 207)
		same_field(c, c->fields_back++, name, namelen, value, len, flags);
	return 0;
}

static int on_chunk(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
		    void *user)
{
	struct peer *p = user;
	struct call *c = call_at(p, s, id);

	(void)flags;
	if (!p->frozen)
		nghttp2_session_consume(s, id, len);
	if (!c)
		return 0;
	if (p == &client && c->status != 207) {
		size_t was = strlen(c->text);

		assert_true(was + len < sizeof(c->text));
		memcpy(c->text + was, data, len);
		return 0;
	}
	for (size_t i = 0; i < len; i++)
		assert_int_equal(data[i], byte_of(c->n, (p == &client ? c->got : c->sgot) + i));
	if (p == &client) {
		c->got += len;
		return 0;
	}
	c->sgot += len;
	if (c->answered)
		nghttp2_session_resume_data(s, id);
	return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *user)
{
	struct peer *p = user;
	struct call *c = f->hd.stream_id ? call_at(p, s, f->hd.stream_id) : NULL;

	if (f->hd.type == NGHTTP2_GOAWAY) {
		p->goaway = true;
		p->goaway_code = f->goaway.error_code;
	}
	if (p == &client || !c)
		return 0;
	if (f->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	    (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS)) {
		c->ended = true;
		if (c->answered)
			nghttp2_session_resume_data(s, f->hd.stream_id);
	}
	/* The answer's head goes before the request has ended. */
	if (f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST) {
		p->requests++;
		assert_int_equal(c->fields_there, c->nfields);
		if (!p->silent)
			server_answer(p, c);
	}
	return 0;
}

static int on_close(nghttp2_session *s, int32_t id, uint32_t code, void *user)
{
	struct call *c = call_at(user, s, id);

	if (!c)
		return 0;
	if (user == &client) {
		c->closed = true;
		c->code = code;
	} else {
		c->sclosed = true;
		c->scode = code;
	}
	return 0;
}

static void peer_start(struct peer *p, char name, uint32_t streams)
{
	nghttp2_session_callbacks *cb;
	nghttp2_option *o;
	const nghttp2_settings_entry set[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams}};
	struct pipe_bytes to = p->to, from = p->from;

	to.at = to.len = from.at = from.len = 0;
	*p = (struct peer){.name = name, .to = to, .from = from};
	nghttp2_session_callbacks_new(&cb);
	nghttp2_session_callbacks_set_on_header_callback(cb, name == 'c' ? on_header_back
									 : on_header_there);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_chunk);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	nghttp2_option_new(&o);
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_max_send_header_block_length(o, 1 << 20);
	if (name == 'c')
		assert_int_equal(nghttp2_session_client_new2(&p->session, cb, p, o), 0);
	else
		assert_int_equal(nghttp2_session_server_new2(&p->session, cb, p, o), 0);
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(cb);
	nghttp2_submit_settings(p->session, 0, set, name == 'c' ? 0 : ARRAY_SIZE(set));
}

static void peer_stop(struct peer *p)
{
	if (p->session)
		nghttp2_session_del(p->session);
	p->session = NULL;
	free(p->to.p);
	free(p->from.p);
	p->to = p->from = (struct pipe_bytes){0};
}

/* --- the splitter ----------------------------------------------------------------------------------------------------- */

static struct h2_end *leg_of(char to)
{
	struct peer *p = to == 'a' ? &server_a : &server_l;

	if (p->end && h2_leg_takes(p->end))
		return p->end;
	if (p->end && !reconnects)
		return NULL;
	if (p->end) { /* the old one is freed when it has no streams left */
		p = &spare;
		if (p->end && h2_leg_takes(p->end))
			return p->end;
		assert_null(p->end);
		peer_start(p, to, 100);
	}
	p->end = h2_leg_new(h2, to == 'a');
	assert_non_null(p->end);
	return p->end;
}

static void route(struct h2_stream *s, const struct http_head *head)
{
	const struct http_field *to = http_field_find(head, "to", NULL);
	struct h2_end *leg = to && *to->value.p != 'x' ? leg_of(*to->value.p) : NULL;

	if (!leg || h2_send(s, leg, tag))
		h2_answer(s, 502, NULL, "nobody is there: 100 % sure");
}

static void on_request(void *arg, struct h2_stream *s, const struct http_head *head)
{
	(void)arg;
	route(s, head);
}

static void on_lost(void *arg, struct h2_stream *s, enum h2_lost why, bool whole)
{
	(void)arg;
	lost[why]++;
	if (whole && reconnects)
		route(s, h2_stream_head(s));
	else
		h2_answer(s, 502, NULL, "it broke");
}

static void on_gone(void *arg, struct h2_stream *s)
{
	(void)arg;
	(void)s;
	gone++;
}

static void on_answered(void *arg, struct h2_stream *s, int status)
{
	(void)arg;
	(void)s;
	answered = status;
}

static void on_disturbed(void *arg)
{
	(void)arg;
	disturbed++;
}

static const struct h2_ops test_ops = {.request = on_request,
				       .lost = on_lost,
				       .answered = on_answered,
				       .gone = on_gone,
				       .disturbed = on_disturbed};

static void world_start(uint64_t seed)
{
	rng = seed * 0x9e3779b97f4a7c15 + 1;
	memset(calls, 0, sizeof(calls));
	ncalls = gone = disturbed = 0;
	answered = 0;
	memset(lost, 0, sizeof(lost));
	reconnects = false;
	tag = NULL;
	now = NSEC_PER_SEC;
	h2 = h2_new(&test_ops, NULL);
	assert_non_null(h2);
	peer_start(&client, 'c', 0);
	peer_start(&server_a, 'a', 100);
	peer_start(&server_l, 'l', 100);
	client.end = h2_client(h2);
}

static void world_stop(void)
{
	h2_free(h2);
	h2 = NULL;
	peer_stop(&client);
	peer_stop(&server_a);
	peer_stop(&server_l);
	peer_stop(&spare);
	spare.end = NULL;
}

/* One of the four movements at one of the three; true if a byte moved. */
static bool move(struct peer *p, unsigned which, unsigned most)
{
	static uint8_t buf[OUT_ROOM];
	const uint8_t *data;
	size_t n, at_most = 1 + roll(most);
	ssize_t r;

	switch (which) {
	case 0: /* the peer writes */
		if (p->to.len > PIPE_MAX)
			return false;
		r = nghttp2_session_mem_send(p->session, &data);
		if (r > 0)
			pipe_put(&p->to, data, (size_t)r);
		return r > 0;
	case 1: /* the splitter reads */
		n = MIN(p->to.len, at_most);
		if (!p->end || p->cut || !n)
			return false;
		h2_input(p->end, p->to.p + p->to.at, n, now);
		pipe_take(&p->to, n);
		return true;
	case 2: /* the splitter writes */
		if (!p->end || p->from.len > PIPE_MAX)
			return false;
		n = h2_output(p->end, buf, H2_OUTPUT_MIN + roll(OUT_ROOM - H2_OUTPUT_MIN));
		if (n)
			pipe_put(&p->from, buf, n);
		return n;
	default: /* the peer reads */
		n = MIN(p->from.len, at_most);
		if (!n || p->cut)
			return false;
		r = nghttp2_session_mem_recv(p->session, p->from.p + p->from.at, n);
		pipe_take(&p->from, n);
		return true;
	}
}

/* Until nothing moves. */
static void world_run(unsigned most)
{
	struct peer *peers[] = {&client, &server_a, &server_l, &spare};
	unsigned still = 0;

	while (still < 16) {
		unsigned from = roll(16);

		for (still = 0; still < 16; still++) {
			unsigned k = (from + still) % 16;

			if (peers[k % 4]->session && move(peers[k % 4], k / 4, most))
				break;
		}
	}
}

/* --- calls ------------------------------------------------------------------------------------------------------------ */

static struct call *call_new(char to, size_t body)
{
	struct call *c = &calls[ncalls];

	assert_true(ncalls < CALLS);
	*c = (struct call){.n = (int)ncalls++, .to = to, .body = body};
	return c;
}

static inline void call_fields(struct call *c)
{
	c->nfields = roll(FIELDS);
	for (unsigned i = 0; i < c->nfields; i++) {
		unsigned len = roll(sizeof(c->field[i].value) - 1);

		snprintf(c->field[i].name, sizeof(c->field[i].name), "x-f%u", roll(6));
		for (unsigned k = 0; k < len; k++)
			c->field[i].value[k] = (char)('a' + roll(26));
		c->field[i].sensitive = roll(4) == 0;
	}
}

static void call_send(struct call *c, const char *method, const char *type)
{
	nghttp2_data_provider body = {.source.ptr = c, .read_callback = client_body};
	nghttp2_nv list[FIELDS + 8];
	char n[12], to[2] = {c->to, 0};
	size_t k = 0;

	snprintf(n, sizeof(n), "%d", c->n);
	list[k++] = nv(":method", method, false);
	list[k++] = nv(":path", "/x", false);
	list[k++] = nv(":scheme", "http", false);
	list[k++] = nv(":authority", "shop", false);
	if (type)
		list[k++] = nv("content-type", type, false);
	list[k++] = nv("to", to, false);
	list[k++] = nv("n", n, false);
	for (unsigned i = 0; i < c->nfields; i++)
		list[k++] = nv(c->field[i].name, c->field[i].value, c->field[i].sensitive);
	c->id = nghttp2_submit_request(client.session, NULL, list, k,
				       c->body || c->trailers ? &body : NULL, c);
	assert_true(c->id > 0);
}

static void call_was_good(const struct call *c)
{
	assert_true(c->closed);
	assert_int_equal(c->code, 0);
	assert_int_equal(c->status, 207);
	assert_int_equal(c->fields_back, c->nfields);
	assert_int_equal(c->got, c->head_only ? 0 : c->body);
	assert_int_equal(c->interims, c->interim);
	assert_int_equal(c->server->name, c->to);
	if (c->trailers) {
		assert_true(c->trailers_there);
		assert_int_equal(c->trailers_back, !c->head_only);
	}
}
