/* SPDX-License-Identifier: Apache-2.0 */
/* What the gateway works on as bytes alone, without sockets or clock: buffers, grants (cookies, tickets), targets, heads. */
#pragma once

#include "base/error.h"
#include "crypto/crypto.h"
#include "http/http.h"

/* --- buf.c: bytes that come at the end and go at the beginning ----------------------------------------------- */

struct buf {
	uint8_t *p;
	size_t off, len, room; /* the bytes are p[off] to p[off + len] */
	bool failed;	       /* there was no memory: what is in it is not whole */
};

static inline uint8_t *buf_data(const struct buf *b)
{
	return b->p + b->off;
}
/* Room for `n` more behind what is there; NULL = no memory. Then buf_added(). */
uint8_t *buf_room(struct buf *b, size_t n);
void buf_added(struct buf *b, size_t n);
void buf_take(struct buf *b, size_t n); /* off the beginning */
void buf_add(struct buf *b, const void *data, size_t n);
void buf_text(struct buf *b, struct http_text t);
void buf_printf(struct buf *b, const char *fmt, ...) printf_like(2, 3);
void buf_free(struct buf *b); /* and empties it */

/* --- grant.c: what a cookie or ticket of ours says ----------------------------------------------------------- */

enum {
	ID_LEN = 32,	      /* of a preview: hex digits */
	INTERCEPT_TEXT = 127, /* an intercept's name, as intercept/ bounds it */
	HEADER_TEXT = ID_LEN + 1 + INTERCEPT_TEXT,
	HASH_TEXT = 64, /* of a share link */
	SECRET_TEXT = 43,
	WHO_MAX = 255,
	PATH_KEEP_MAX = 1024,
	GRANT_TEXT_MAX = 4000,
};

/* What for: nothing that was made for one purpose serves another. */
enum grant_kind {
	GRANT_PREVIEW,	 /* cookie: lets in to one preview */
	GRANT_DASHBOARD, /* cookie: lets in to the dashboard */
	GRANT_FLOW,	 /* cookie at the dashboard's host, while the issuer asks who it is */
	GRANT_ENTER,	 /* cookie at the preview's host, while the dashboard's asks who it is */
	GRANT_TICKET,	 /* from the dashboard's host to the preview's, good once */
	GRANT_CONFIRM,	 /* who the dashboard would be opened as, until that is confirmed */
	GRANT_KINDS
};

struct grant {
	enum grant_kind kind;
	int64_t expires;	   /* seconds since 1970 */
	char id[ID_LEN + 1];	   /* PREVIEW, TICKET, ENTER, FLOW (where to go then, or "") */
	char share[HASH_TEXT + 1]; /* PREVIEW: by which link; "" = by login */
	char user[WHO_MAX + 1], login[WHO_MAX + 1], name[WHO_MAX + 1]; /* who */
	bool cluster;		    /* PREVIEW: wants the cluster's version */
	char bind[SECRET_TEXT + 1]; /* ENTER: a random text; FLOW, TICKET: its digest */
	char once[SECRET_TEXT + 1]; /* TICKET */
	char path[PATH_KEEP_MAX + 1];
	char state[SECRET_TEXT + 1], nonce[SECRET_TEXT + 1], verifier[SECRET_TEXT + 1]; /* FLOW */
};

/* The length of the text; -EMSGSIZE. */
int grant_seal(const struct grant *g, const uint8_t key[static KEY_LEN],
	       char text[static GRANT_TEXT_MAX + 1]);
/* 0, or -EACCES: not ours, of another kind, or too old. */
int grant_open(struct grant *g, enum grant_kind kind, const char *text, size_t len, int64_t now,
	       const uint8_t key[static KEY_LEN]);
/* A random text, and the digest of one, both of SECRET_TEXT characters. */
void secret_make(char text[static SECRET_TEXT + 1]);
void secret_digest(const char *secret, char text[static SECRET_TEXT + 1]);
/* hash of a link's secret; false = it cannot be one. */
bool share_hash(struct http_text secret, char hash[static HASH_TEXT + 1]);

/* --- target.c: names and targets ---------------------------------------------------------------------------- */

enum { NAME_TEXT = 254 };

static inline struct http_text text_of(const char *s)
{
	return (struct http_text){.p = s, .len = strlen(s)};
}
static inline bool char_in(char c, const char *set)
{
	return c && strchr(set, c);
}
bool text_starts(struct http_text t, const char *prefix);
bool text_starts_nocase(struct http_text t, const char *prefix);
/* What Host says: its name in lower case without port and final dot. 0, or -EINVAL. */
int host_name(struct http_text host, char name[static NAME_TEXT + 1]);
bool is_id(struct http_text t); /* 32 lower-case hex digits */
/* In origin form: what a target says behind scheme and authority. -EINVAL: neither form, or of another authority. */
int target_origin_form(struct http_text target, struct http_text host,
		       struct http_text *origin_form);
struct http_text target_path(struct http_text target);
/* The value of a parameter of the query, percent-decoded; -ENOENT, -EINVAL. */
int target_param(struct http_text target, const char *name, char *value, size_t size);
/* A path to go to after a login: of our own origin whatever a browser makes of it. */
bool path_is_ours(struct http_text path);
/* The cookie of that name among all Cookie fields; p = NULL: none, or more than one. */
struct http_text cookie_find(const struct http_head *h, const char *name);

/* --- head.c: heads on their way through ---------------------------------------------------------------------- */

#define COOKIE_PREFIX                                                                              \
	"__Host-culvert" /* every cookie of ours begins so, and no other gets through */

struct passage {
	char host[NAME_TEXT + 8]; /* the preview's, with port, as the visitor wrote it */
	char name[NAME_TEXT + 1]; /* the same without port */
	char l5[NAME_TEXT + 8];	  /* the host that the ingress knows */
	uint16_t port;		  /* of the ingress */
	bool tls;		  /* to the ingress */
	bool marked;		  /* header and baggage are set: not for the cluster's version */
	char id[ID_LEN + 1];
	char header[HEADER_TEXT + 1]; /* ID:NAME */
	char from[48];		      /* the visitor's address */
	const char *loop;	      /* marker */
};

/* Is it an upgrade to a WebSocket? */
bool head_is_websocket(const struct http_head *h);
/* The request for the ingress. `version` is HTTP's minor one; `target` in origin form. */
void head_to_ingress(struct buf *out, const struct http_head *h, struct http_text target, int minor,
		     const struct passage *p);
/* The answer for the visitor, from its raw text; `close`: say that the connection ends. */
void head_to_visitor(struct buf *out, const struct http_head *h, const uint8_t *raw, size_t len,
		     bool close, const struct passage *p);
/* Is `word` one of the comma-separated words of any field of that name? */
bool head_has_word(const struct http_head *h, const char *name, const char *word);
int head_minor(const uint8_t *raw, size_t len, const struct http_head *h); /* a request's: 0 or 1 */
