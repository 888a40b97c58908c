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

#include "base/clock.h"

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

/* Of the message whose head was given last, the other direction's too. Its fields lie in memory that the next head uses, whoever reads it. */
const struct http_head *h1_head(const struct h1 *h);
/* Reads a request's head again, whose bytes were kept. */
void h1_head_again(struct h1 *h, const uint8_t *data, size_t n);
/* Bytes of body that come next whatever they are (they may be spliced), UINT64_MAX = until the end of the stream; 0 = look at them. skip: so many have gone
 * past. All of a message gone: its next step, which needs no bytes, is H1_END. */
uint64_t h1_request_left(const struct h1 *h);
uint64_t h1_answer_left(const struct h1 *h);
void h1_request_skip(struct h1 *h, uint64_t n);
void h1_answer_skip(struct h1 *h, uint64_t n);

bool h1_request_begun(const struct h1 *h); /* its head is there, and it or its answer is not over */
bool h1_request_over(const struct h1 *h);
bool h1_answer_begun(const struct h1 *h); /* with the final head */
bool h1_answer_over(const struct h1 *h);
bool h1_done(const struct h1 *h); /* request and final answer are over: the next request may come */
bool h1_keeps(const struct h1 *h);	/* then: may both connections be used again? */
const char *h1_why(const struct h1 *h); /* of the last H1_BAD, static text */

/* --- HTTP/2, followed only ----------------------------------------------------------------------------------------- */

enum { H2_HEAD_LEN = 9, H2_GOAWAY_LEN = 17 };

/* The frames of one direction, by their 9-byte heads alone; nothing is held back. */
struct h2_frames {
	uint32_t left; /* of the preface or a payload, still to come */
	uint8_t head[H2_HEAD_LEN], have;
	bool started; /* its first frame is past */
	bool open;    /* within a header block */
	bool goaway;  /* one has gone past */
};
void h2_frames_init(struct h2_frames *f, bool from_client);
/* Goes over the next bytes; if `stop`, no further than to the first place where a frame of ours may stand. Returns how many. */
size_t h2_frames_pass(struct h2_frames *f, const uint8_t *data, size_t len, bool stop);
bool h2_frames_between(const struct h2_frames *f); /* may a frame of ours stand here? */
/* Is this the head of the SETTINGS that an HTTP/2 server begins with? */
bool h2_greeting(const uint8_t head[static H2_HEAD_LEN]);
extern const uint8_t
	h2_goaway_frame[H2_GOAWAY_LEN]; /* 2^31-1, NO_ERROR: later connections are better */

/* --- HTTP/2, split -------------------------------------------------------------------------------------------------- */

/*
 * One client connection whose streams are answered by several others, its legs. Ends are the client's and the legs': bytes that came
 * are put in, bytes to be sent are taken out; after any call each end may have some. Fields with their order and never-index marks, DATA,
 * trailers, interim answers and codes of resets are kept; HPACK, ids, SETTINGS, windows, priorities and PING belong to each hop; nothing
 * is pushed. A stream's bytes wait here until the other hop takes them, bounded by windows.
 */
struct h2;
struct h2_end;
struct h2_stream;

enum {
	H2_STREAMS_MAX = 100,  /* of a client, at once */
	H2_WINDOW = 256 << 10, /* of a stream */
	H2_WINDOW_CONNECTION =
		4 << 20, /* given back at once: a stream that stands does not hold others up ... */
	H2_BUFFERED_HIGH = 24 << 20, /* ... unless all connections together have so much waiting */
	H2_BUFFERED_MAX = 40 << 20, /* then the stream whose bytes have stood for longest is over */
	H2_RESETS_MAX =
		1000, /* by, or because of, a client in H2_RESETS_S: then GOAWAY(ENHANCE_YOUR_CALM) */
	H2_EMPTY_MAX = 10000, /* DATA of a client without a byte, likewise */
	H2_RESETS_S = 10,
	H2_CONTINUATIONS_MAX = 32,
	H2_OUTPUT_MIN = 32 << 10, /* room for h2_output() */
};

enum h2_lost {
	H2_LOST_REFUSED, /* the leg takes no more, and has not looked at it */
	H2_LOST_BROKEN,	 /* the leg has ended */
	H2_LOST_ANSWER,	 /* what came was no answer */
	H2_LOST_TAKEN,	 /* it was taken off the leg: h2_leg_leave() */
};

/* From within h2_input(), h2_output(), h2_leg_free() and h2_leg_leave(). They may call whatever takes a stream, and h2_leg_new(); neither free, put in nor take out. */
struct h2_ops {
	/* A head is whole. Now or later: h2_send() or h2_answer(), once. */
	void (*request)(void *arg, struct h2_stream *s, const struct http_head *head);
	/* No answer comes from the leg: send it again if `whole` (else some of the body is gone, or the leg may have done what must not be
	 * done twice), or answer, now or later. */
	void (*lost)(void *arg, struct h2_stream *s, enum h2_lost why, bool whole);
	/* The final answer's head came from the leg, or was made for want of room; may be NULL. */
	void (*answered)(void *arg, struct h2_stream *s, int status);
	/* It is over at both ends, and freed after this. */
	void (*gone)(void *arg, struct h2_stream *s);
	/* A stream of this one ended to make room for another connection's bytes, from within whose h2_input() this comes: later there is something
	 * to take out. May be NULL. */
	void (*disturbed)(void *arg);
};
struct h2_counts {
	uint64_t streams;
	uint64_t bad_heads;   /* beyond HTTP_HEAD_MAX or HTTP_FIELDS_MAX, or malformed */
	uint64_t bad_answers; /* of legs, likewise */
	uint64_t floods;      /* connections ended for one */
	uint64_t overflows;   /* streams ended by H2_BUFFERED_MAX */
};

struct h2 *h2_new(const struct h2_ops *ops, void *arg);
void h2_free(struct h2 *h); /* with its legs; only gone() is called. NULL ok */
struct h2_end *h2_client(struct h2 *h);
const struct h2_counts *h2_counts(const struct h2 *h);
unsigned h2_streams(const struct h2 *h); /* that are not over */
/* One that lets streams still come; when the client has read it, the final one follows. `last`: that one, now. */
void h2_goaway(struct h2 *h, bool last);

/* `near`: the application's, beside us: the client is offered extended CONNECT if it is, and to compress heads would only cost memory.
 * NULL = no memory. */
struct h2_end *h2_leg_new(struct h2 *h, bool near);
/* Streams on it without an answer are lost(), the others reset. */
void h2_leg_free(struct h2_end *leg);
bool h2_leg_takes(
	const struct h2_end *leg); /* more streams? Else it is to be freed when it has none */
unsigned h2_leg_streams(const struct h2_end *leg);
/* It is silent, but may come back. It takes no more streams; those that may be sent to another as well are lost(), and whole. The others, which it may have
 * done, or is in the middle of, wait. */
void h2_leg_leave(struct h2_end *leg);
bool h2_leg_awaited(const struct h2_end *leg); /* does the client wait for anything of it? */
bool h2_leg_spoke(const struct h2_end *leg);   /* HTTP/2, so far */

/* Takes all of it. -EPROTO: that was no HTTP/2, or a flood; -ENOMEM. Then take out what there is, and end it. */
int h2_input(struct h2_end *e, const uint8_t *data, size_t len, nsec_t now);
/* Fills in what is to be sent; 0 = nothing now. */
size_t h2_output(struct h2_end *e, uint8_t *buf, size_t room);
bool h2_has_output(const struct h2_end *e);
bool h2_over(const struct h2_end *e); /* it wants no more bytes, and has none */

/* The leg has it from here on. `tag`, if not NULL, is put at the end of the answer's head as x-culvert-served-by. */
int h2_send(struct h2_stream *s, struct h2_end *leg, const char *tag);
/* An answer of ours, as text; gRPC's requests get it as status 14. `extra` may be NULL. */
void h2_answer(struct h2_stream *s, int status, const struct http_field *extra, const char *text);
/* Until answered. */
const struct http_head *h2_stream_head(const struct h2_stream *s);
void h2_stream_set(struct h2_stream *s, void *user);
void *h2_stream_user(const struct h2_stream *s);
struct h2_end *h2_stream_leg(const struct h2_stream *s); /* NULL = none */
void h2_stream_reset(struct h2_stream *s);		 /* to both ends */
void h2_stream_refuse(
	struct h2_stream *s); /* likewise: nobody has looked at it, the client may send it again */
