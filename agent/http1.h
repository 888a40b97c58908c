/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of an HTTP/1 connection share.
 *
 *   http1.c        the connection: events, routing, its end        http1_answer.c   what comes back, and answers of ours
 *   http1_request.c what the client sends                          http1_buf.c      bytes between reading and writing
 */
#pragma once

#include "agent/internal.h"
#include "base/stream.h"
#include "relay/relay.h"

/* --- http1_buf.c -------------------------------------------------------------------------------------------------------- */

/*
 * Bytes on their way, by offsets from p: `start` the first that may still be needed, `ready` how far they have been
 * looked at and may go on, `sent` how far they have gone. They lie in the scratch while somebody works on them and move to memory of
 * their own when some are left over then.
 */
struct buf {
	uint8_t *p; /* NULL = none */
	size_t start, ready, sent, end;
	size_t cap; /* 0 = in the scratch */
	bool hold;  /* from `start` on all is needed, sent or not */
};
/* Reads behind what is there: as readv; -ENOBUFS = full. */
ssize_t buf_read(struct buf *b, struct stream *s, size_t most);
/* The caller lends its bytes, until buf_keep(). */
void buf_borrow(struct buf *b, const uint8_t *data, size_t n);
/* Puts text in at p + at. 0 or -ENOMEM. */
int buf_insert(struct buf *b, size_t at, const char *text, size_t len);
void buf_remove(struct buf *b, size_t at, size_t len);
/* Lets go of the scratch, and of what is needed no more. 0 or -ENOMEM. */
int buf_keep(struct buf *b);
void buf_free(struct buf *b);
/* Is anything in it that has not been looked at, or not sent? */
static inline bool buf_has(const struct buf *b)
{
	return b->end > MIN(b->ready, b->sent);
}
/* Where the next look begins. */
static inline const uint8_t *buf_at(const struct buf *b)
{
	return b->p ? b->p + b->ready : (const uint8_t *)"";
}

/* --- the connection ------------------------------------------------------------------------------------------------------ */

/* A stream and what is known of it. */
struct end {
	struct stream *s; /* NULL = none */
	unsigned wanted;
	bool can_read; /* it said so, and it has not been read empty since */
	bool blocked;  /* it takes no more now */
	bool eof;      /* it has ended its direction */
	bool deaf;     /* it takes nothing any more; what it said may still be read */
	bool broken;
};

/* Who may answer: the application, or the laptop of a rule. */
struct answerer {
	struct end end;
	struct http1 *h;
	bool is_laptop;
	/* Laptops: */
	struct answerer *next;
	const struct rule_ref *rule; /* lies behind it */
};

/* What is kept of a request from its head to the end of its answer: an idle connection has none. */
struct http1_request {
	struct rule_ref asked; /* whose laptop is asked, or was: not set for the application's */
	struct journal_request journal;
};

/*
 * IDLE      the client's next head is read. It may have come in part
 * ASKING    its head is here, its answerer is on the way (ask, or dial); nothing more is read
 * RUNNING   request and answer go their ways
 * LINGERING an answer of ours has gone; what the client still sends is read away, until it ends or a while has passed
 */
enum http1_phase { IDLE, ASKING, RUNNING, LINGERING };

struct http1 {
	struct client base;
	enum http1_phase phase;
	struct h1 *h1;
	struct end client;
	struct answerer app, *laptops;
	struct answerer *way; /* of the request under way, or of the last; NULL = none yet */
	struct buf up, down;  /* to the answerer, to the client */
	struct relay_part *up_part, *down_part;
	struct ask *ask;
	struct dial *dial;
	struct event *timer; /* a head takes long, or LINGERING; NULL until needed */
	size_t head_len;     /* of the request, from up.start */
	int status;	     /* of the final answer */
	unsigned answered;   /* requests */
	struct iovec proxy;  /* a PROXY header, for an application that is dialled anew */
	bool retried;
	bool preview, tag, is_head; /* of the request */
	bool cut;		    /* the client ended in the middle of its request */
	bool passed_end;	    /* the client's end has been passed on */
	bool closing;		    /* after what is in `down` */
	bool inside, again;	    /* turn() is at work; and has to look again */
	bool over;		    /* to be freed: `graceful` or by resets */
	bool graceful;
	struct http1_request *now; /* of ASKING, RUNNING; else may be NULL */
	size_t held;		   /* of the agent's heads_held */
	size_t moved;		   /* bytes read in this turn */
};

/* Does what can be done now, and frees it when it is over. Whoever is called from outside ends with it. */
void http1_turn(struct http1 *h);
/* Its stream is open, or (NULL) will not be. Ends with http1_turn(). */
void http1_opened(struct http1 *h, struct answerer *w, struct stream *s);
/* Ends it when turn() returns. */
void http1_end(struct http1 *h, bool graceful);
/* For good: from here on nobody looks at it. `way` gets what it has not got. */
void http1_join(struct http1 *h, struct answerer *way);
/* Reads into b; 0 = nothing now, or the end, or it broke: e says which. */
size_t http1_read(struct http1 *h, struct end *e, struct buf *b, size_t most);
/* Sends what is ready (`all`: all there is); true when nothing is left of it. */
bool http1_send_ready(struct end *e, struct buf *b, bool all);
static inline bool http1_send(struct end *e, struct buf *b, bool all)
{
	return !b->p || http1_send_ready(e, b, all);
}
void http1_drop(struct http1 *h, struct answerer *w);
bool http1_timer(struct http1 *h, unsigned seconds);

/* --- http1_request.c: until nothing more can be done now --- */
void http1_requests(struct http1 *h);
/* Whose the request is whose head lies at up.start. */
void http1_route(struct http1 *h);
void http1_to_application(struct http1 *h);
void http1_to_laptop(struct http1 *h, struct rule *r);
/* To h->way, whose stream is open: from the next http1_requests() on. */
void http1_run(struct http1 *h);

/* --- http1_answer.c --- */
void http1_answers(struct http1 *h);
/* Nothing was answered, and the request is at hand, harmless twice and asked for the first time. */
bool http1_may_ask_again(const struct http1 *h);
/* The answerer's connection broke, or ended. */
void http1_lost(struct http1 *h);
/* Nothing was answered yet, and nobody else will. `away`: of whom, or NULL. Closes behind it. */
void http1_reply(struct http1 *h, int status, const char *away, const char *text);

enum {
	HTTP1_HEAD_READ = 16 << 10,
	HTTP1_PART_MIN = 32 << 10,
	HTTP1_LINGER_S = 2,
	HTTP1_TURN_BYTES = 1 << 20, /* then others have their turn */
};
