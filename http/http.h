/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: where messages of HTTP/1.1 (RFC 9112) and streams of HTTP/2 (RFC 9113) begin and end, and what their heads say. Sans-IO:
 * bytes come in, what may be done with them comes out. HTTP/1 bytes are never copied or changed here. Not re-entrant per
 * object; one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HTTP_HEAD_MAX = 65536, /* bytes of a header section, with its start line */
	HTTP_FIELDS_MAX = 512,
};

/* Bytes that are somebody else's; not NUL-terminated. */
struct http_text {
	const char *p;
	size_t len;
};

struct http_field {
	struct http_text name, value; /* value without white space around it */
	bool sensitive;		      /* HTTP/2: never indexed */
};

/* A request's or an answer's head. Borrowed: good until the next call on the object that gave it, or until the bytes go. */
struct http_head {
	struct http_text method, target; /* requests; HTTP/2: :method, :path */
	struct http_text authority;	 /* Host or :authority */
	int status;			 /* answers */
	unsigned nfields;
	const struct http_field *field; /* in their order, without pseudo-fields */
};

bool http_text_is(struct http_text t, const char *s);	     /* case counts */
bool http_text_is_nocase(struct http_text t, const char *s); /* ASCII */
/* The first field of that name (any case), or NULL; after `from` if that is not NULL. */
const struct http_field *http_field_find(const struct http_head *h, const char *name,
					 const struct http_field *from);

/* --- what a connection is ------------------------------------------------------------------------------ */

enum http_kind {
	HTTP_MORE, /* too few bytes to tell */
	HTTP_1,
	HTTP_2, /* prior knowledge (RFC 9113, 3.3) */
	HTTP_TLS,
	HTTP_PROXY, /* a PROXY header, v1 or v2, whole in the first *len bytes: look again behind it */
	HTTP_OPAQUE
};
/* From the client's first bytes. */
enum http_kind http_sniff(const uint8_t *data, size_t n, size_t *len);

/* --- HTTP/1: one client connection, requests and their answers in turn ------------------------------------- */

struct h1;

enum h1_step {
	H1_MORE, /* more bytes are needed to say anything; nothing is taken */
	H1_HEAD, /* a head lies whole in the first *n bytes, h1_head() has it. An interim answer (1xx) too */
	H1_BODY, /* the first *n bytes are body, chunk framing or trailers, to be passed on as they are */
	H1_END,	   /* the message is over; the first *n bytes (its last, maybe 0) belong to it */
	H1_TUNNEL, /* from here on it is HTTP no more, both ways: 101, or CONNECT's 2xx */
	H1_BAD	   /* h1_why() says what; nothing is taken: its head, or its body from here on */
};

struct h1 *h1_new(void);
void h1_free(struct h1 *h); /* NULL ok */

/*
 * The client's bytes from the first that is not taken yet: call again with the rest (and more) after each step but H1_MORE. After H1_END the next
 * head may be read only once the answer is over too (h1_done()). Linear: bytes of an unfinished head are not looked at twice.
 */
enum h1_step h1_request(struct h1 *h, const uint8_t *data, size_t len, size_t *n);
/* The same for the answer's. Its framing depends on the request's method, which is known here. */
enum h1_step h1_answer(struct h1 *h, const uint8_t *data, size_t len, size_t *n);
/* The answering side has ended its direction: H1_END when that ends the body in order, else H1_BAD. */
enum h1_step h1_answer_eof(struct h1 *h);
/* The answer comes from somewhere else from the start (the first place gave none). */
void h1_answer_restart(struct h1 *h);

/* Of the message whose head was given last; the request's stays good until the next request's head, if the bytes do. */
const struct http_head *h1_request_head(const struct h1 *h);
const struct http_head *h1_answer_head(const struct h1 *h);
/* Bytes of body that come next whatever they are (they may be spliced), UINT64_MAX = until the end of the stream; 0 = look at them. skip: so many have gone
 * past; all of them gone: the next step is H1_END. */
uint64_t h1_request_left(const struct h1 *h);
uint64_t h1_answer_left(const struct h1 *h);
void h1_request_skip(struct h1 *h, uint64_t n);
void h1_answer_skip(struct h1 *h, uint64_t n);

bool h1_done(const struct h1 *h); /* request and final answer are over: the next request may come */
bool h1_keeps_client(
	const struct h1 *h); /* then: may another request come on the client's connection? */
bool h1_keeps_answerer(const struct h1 *h); /* and may the answering connection be used again? */
const char *h1_why(const struct h1 *h);	    /* of the last H1_BAD, static text */
