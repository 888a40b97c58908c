/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the HTTP/2 splitter share: h2.c (ends, streams), h2_head.c (heads), h2_queue.c (bytes that wait). */
#pragma once

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "base/util.h"
#include "http/http.h"

/* --- heads -------------------------------------------------------------------------------------------------- */

enum { H2_PSEUDO_MAX = 8 };

/* Fields as they came, the pseudo-fields first. */
struct h2_head {
	struct http_field *field;
	unsigned n, pseudo, room;
	char *bytes;
	size_t used, size;
	size_t list_size; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
	struct http_head head;
};
struct h2_head *h2_head_new(void);
void h2_head_free(struct h2_head *h); /* NULL ok */
/* 0, -E2BIG, -ENOMEM */
int h2_head_add(struct h2_head *h, const uint8_t *name, size_t namelen, const uint8_t *value,
		size_t len, bool sensitive);
/* All are there: fills in h->head. */
void h2_head_finish(struct h2_head *h);
/* For nghttp2, which copies them when they are submitted. Returns how many. */
size_t h2_head_list(const struct h2_head *h, nghttp2_nv nv[static HTTP_FIELDS_MAX + H2_PSEUDO_MAX]);

/* --- bytes that wait -------------------------------------------------------------------------------------------- */

/* What stands with as many bytes or more pays first when there is no room: one of these gives back as much as dozens of others. */
enum { H2_QUEUE_LARGE = 16 << 10 };

struct h2_queue {
	TAILQ_ENTRY(h2_queue) age; /* of all that have bytes, by when some left last; if `stream` */
	struct h2_stream *stream;  /* whose it is */
	uint8_t *ring;
	size_t size, at, len; /* size: 0 or a power of two */
	size_t owed;	      /* not given back to the connection's window when they came */
	bool ended;
	struct h2_head *trailers;
};
int h2_queue_put(struct h2_queue *q, const uint8_t *data, size_t len, size_t owed);
/* Takes n <= len bytes into buf (NULL: they are dropped); returns how many of them are owed. */
size_t h2_queue_take(struct h2_queue *q, uint8_t *buf, size_t n);
void h2_queue_free(struct h2_queue *q);
/* Would all queues of the program stay within H2_BUFFERED_MAX with so many bytes more in this one? */
bool h2_queue_fits(const struct h2_queue *q, size_t len);
size_t h2_queued(void); /* bytes of memory in all queues of the program */
/* Of which none has left for longest: its stream, or NULL. Small ones only if there is no other: dozens would have to end for one.
 * Of other connections than `h` only those that no call is at work on. */
struct h2_stream *h2_queue_oldest(const struct h2 *h);

/* --- ends and streams --------------------------------------------------------------------------------------------- */

struct h2_end {
	LIST_ENTRY(h2_end) next; /* legs */
	struct h2 *h;
	nghttp2_session *session;
	LIST_HEAD(h2_stream_list, h2_stream)
	streams; /* legs: those on it */
	unsigned nstreams;
	struct h2_head *in; /* being received */
	bool client;
	bool near;
	bool spoke;   /* its SETTINGS came */
	bool closing; /* GOAWAY came, or it failed */
	/* h2_output(): where to, and what did not fit. */
	uint8_t *out;
	size_t out_len, out_room;
	const uint8_t *held;
	size_t nheld;
};

struct h2_stream {
	LIST_ENTRY(h2_stream) next, on_leg;
	struct h2 *h;
	struct h2_end *leg;
	int32_t id, leg_id;	  /* 0 = closed there, or never opened */
	struct h2_head *request;  /* until answered */
	struct h2_queue up, down; /* towards the leg, towards the client */
	bool sent;		  /* its head goes to the leg, or went */
	bool up_gone;		  /* some of the body has left, or was dropped */
	bool answered;		  /* the final head went to the client */
	bool own;		  /* answered by us */
	bool down_sent;		  /* the answer, to its end */
	bool reset_by_us;	  /* the client's stream, for no fault of its own */
	bool leg_reset;		  /* the leg sent RST_STREAM */
	bool reset_leg;		  /* we did */
	bool reset_after;	  /* the client gets a reset when all that waits is out */
	uint32_t reset_code;
	char *tag;
	void *user;
};

struct h2 {
	const struct h2_ops *ops;
	void *arg;
	struct h2_end client;
	LIST_HEAD(h2_end_list, h2_end)
	legs;
	LIST_HEAD(h2_all_streams, h2_stream)
	streams;
	unsigned nstreams;
	struct h2_counts counts;
	bool busy;    /* nghttp2 is at work on one of its ends */
	bool offered; /* extended CONNECT */
	bool leaving; /* GOAWAY went out, and a PING behind it; the final GOAWAY did not */
	struct h2_rate {
		unsigned n;
		nsec_t since;
	} resets, empty;
	nsec_t now;
};

/* --- h2_stream.c: what nghttp2 tells of streams, and what is done about it -------------------------------------------- */

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id); /* NULL = no memory, or too many */
void h2_stream_free(struct h2_stream *s);
/* Heads; they own `head`. `ended`: nothing follows. */
void h2_on_request(struct h2_stream *s, struct h2_head *head, bool ended);
void h2_on_answer(struct h2_stream *s, struct h2_head *head, bool ended);
void h2_on_trailers(struct h2_end *e, struct h2_stream *s, struct h2_head *head);
int h2_on_data(struct h2_end *e, struct h2_stream *s, int32_t id, const uint8_t *data, size_t len);
void h2_on_end(struct h2_end *e, struct h2_stream *s); /* END_STREAM */
void h2_on_sent_end(struct h2_stream *s);	       /* ... went to the client */
/* Closed there. They may free s. */
void h2_on_client_closed(struct h2_stream *s, uint32_t code);
void h2_on_leg_closed(struct h2_stream *s, uint32_t code, enum h2_lost why);
/* Takes it off its leg, if another may have it, too. */
void h2_stream_leave(struct h2_stream *s);
/* nghttp2's send_data_callback. */
int h2_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
		 size_t length, nghttp2_data_source *source, void *user);
