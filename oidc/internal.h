/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of oidc/ share.
 *
 *   jwt.c      a token's parts                          keys.c    JWKS: an issuer's keys; signatures
 *   claims.c   who it is about, and may they enter      issuer.c  discovery and keys, kept and fetched anew
 *   call.c     calls under way                          token.c   the token endpoint's answers; refresh, revocation
 *   device.c   the device grant                         code.c    the code flow
 *
 * The first three are sans-IO.
 */
#pragma once

#include <jansson.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "fetch/fetch.h"
#include "oidc/oidc.h"

struct event;

enum {
	OIDC_KEYS = 64,
	OIDC_KEYS_EVERY_S = 10,	  /* an unknown key is looked for no more often */
	OIDC_FRESH_S = 3600,	  /* metadata and keys are asked for anew after this time */
	OIDC_STALE_S = 24 * 3600, /* ... and no more used after this one */
	OIDC_AGAIN_S =
		30, /* an issuer that has not answered is asked again, if its old word will do */
	OIDC_CALLS = 1024,    /* under way */
	OIDC_WORD_MAX = 4096, /* a device code, a refresh token */
	OIDC_CLAIM_MAX = 255, /* the name in an `allow` */
};

/* --- jwt.c ------------------------------------------------------------------------------------------------ */

enum oidc_alg { OIDC_RS256, OIDC_ES256 };

struct oidc_jwt {
	enum oidc_alg alg;
	char kid[256]; /* "" = the header names none */
	json_t *claims;
	size_t signed_len; /* of the text, from its beginning */
	size_t signature_len;
	uint8_t signature[1024];
};

/* 0 or -EINVAL; nothing of it is trusted yet. */
int oidc_jwt_parse(struct oidc_jwt *j, const char *text, size_t len, struct error *e);
void oidc_jwt_clear(struct oidc_jwt *j);

/* --- keys.c ----------------------------------------------------------------------------------------------- */

struct oidc_keys;

/* The issuer's key set; keys of other kinds and uses are left out. -EINVAL, -E2BIG, -ENOMEM. */
int oidc_keys_parse(struct oidc_keys **kp, const char *json, size_t len, struct error *e);
void oidc_keys_free(struct oidc_keys *k); /* NULL ok */
unsigned oidc_keys_count(const struct oidc_keys *k);
/* 0; -ENOKEY: none of them has this name and kind; -EBADMSG: not signed by it; -EINVAL: no name, and there is more than one. */
int oidc_keys_verify(const struct oidc_keys *k, const struct oidc_jwt *j, const char *text,
		     struct error *e);

/* --- claims.c --------------------------------------------------------------------------------------------- */

struct oidc_rules {
	const char *issuer, *client_id;
	const char *nonce; /* NULL = none is demanded */
	unsigned nallow;
	char *const *allow; /* each has a '=', behind at most OIDC_CLAIM_MAX bytes */
	bool allow_needed;  /* no rule lets nobody in */
};

/* Of a token whose signature is good. `now` in seconds since 1970. 0 or -EACCES. */
int oidc_claims_check(const json_t *claims, const struct oidc_rules *rules, int64_t now,
		      struct oidc_identity *who, struct error *e);

/* --- issuer.c --------------------------------------------------------------------------------------------- */

struct oidc_metadata {
	char *token, *authorization, *jwks; /* endpoints */
	char *device, *revocation;	    /* NULL = it has none */
	bool secret_in_form;		    /* it takes no Basic authentication */
	bool offline;			    /* it knows the scope offline_access */
};

/* The discovery document. -EINVAL, -ENOMEM. */
int oidc_metadata_parse(struct oidc_metadata *m, const char *issuer, const char *json, size_t len,
			struct error *e);
void oidc_metadata_clear(struct oidc_metadata *m);

LIST_HEAD(oidc_calls, oidc_call);

struct oidc {
	struct event_base *base;
	struct fetch_multi *multi;
	char *issuer, *client_id, *client_secret, *scopes, *ca;
	bool offline;
	unsigned nallow;
	char *allow[OIDC_ALLOW];

	struct oidc_metadata metadata;
	nsec_t metadata_at; /* 0 = there is none */
	struct oidc_keys *keys;
	nsec_t keys_at;	  /* when they were asked for; 0 = there are none */
	nsec_t asked_at;  /* the request that is under way, or the last one for keys that failed */
	nsec_t failed_at; /* 0 = the last request was answered */
	struct fetch *fetch; /* of metadata or keys */
	struct event *later; /* keys may be asked for again */
	struct oidc_calls waiting, calls;
	unsigned ncalls;
};

enum oidc_need {
	OIDC_NEED_METADATA,
	OIDC_NEED_KEYS,	    /* and metadata */
	OIDC_NEED_NEW_KEYS, /* asked for after the call began */
};

/* From the loop, c->next when they are there; else the call fails with OIDC_UNREACHABLE. */
void oidc_need(struct oidc_call *c, enum oidc_need need, void (*next)(struct oidc_call *c));
void oidc_need_no_more(struct oidc_call *c);
int oidc_issuer_init(struct oidc *o);
void oidc_issuer_clear(struct oidc *o); /* no call is left */

/* --- call.c ----------------------------------------------------------------------------------------------- */

struct oidc_call {
	struct oidc *o;
	LIST_ENTRY(oidc_call) link, wait_link;
	bool waiting;
	enum oidc_need need;
	nsec_t began; /* to verify */
	struct event *timer;
	int failed; /* an oidc_error, told from the loop */
	struct error why;
	struct fetch *fetch;
	void (*next)(struct oidc_call *c);

	/* What it has to hand back. One of these is set. */
	oidc_verified *verified;
	oidc_got *got;
	oidc_url *url;
	oidc_done *done;
	void *arg;

	/* Wiped when it ends. */
	char *id_token, *refresh_token, *nonce;
	char *form; /* of the request to the token endpoint */
	char *text; /* what the code flow hands back */
	/* the device grant */
	oidc_show *show;
	nsec_t until, interval;
	/* the code flow */
	char *redirect_uri, *state, *challenge;
};

/* Goes on with `next` from the loop. -ENOMEM, -EBUSY. */
int oidc_call_new(struct oidc_call **cp, struct oidc *o, void (*next)(struct oidc_call *c),
		  void *arg);
/* Before it has been handed out: it will do nothing. */
void oidc_call_free(struct oidc_call *c);
/* c->next after this time. */
void oidc_call_sleep(struct oidc_call *c, nsec_t time, void (*next)(struct oidc_call *c));
/* The one callback; `c` is gone. error 0: `who` is in c->id_token, or c->text is the URL. */
void oidc_call_end(struct oidc_call *c, int error, const struct oidc_identity *who,
		   const struct error *e);
void oidc_call_fail(struct oidc_call *c, int error, const char *fmt, ...) printf_like(3, 4);
/* Verifies c->id_token, then ends the call. */
void oidc_call_verify(struct oidc_call *c);
/* A copy; what was there is wiped. -ENOMEM. */
int oidc_keep(char **to, const char *text);

/* --- code.c ---------------------------------------------------------------------------------------------- */

/* What is asked for: malloc'ed, or NULL. */
char *oidc_scopes(const struct oidc *o);

/* --- token.c ---------------------------------------------------------------------------------------------- */

/* A form's body of pairs, oidc_form({"name", value}, ...); one whose value is NULL is left out. malloc'ed, or NULL. */
#define oidc_form(...) oidc_form_of((const char *const[][2]){__VA_ARGS__, {NULL, NULL}})
char *oidc_form_of(const char *const pair[][2]);
/* POSTs c->form, with the client's name, to that endpoint; on_reply comes with c as its argument. */
void oidc_post(struct oidc_call *c, const char *url, fetch_cb *on_reply);
/* A text of the issuer's answer, of printable characters; NULL = none that can be used. */
const char *oidc_word(const json_t *answer, const char *name, size_t max);
/* c->form is what is asked for; the answer ends the call. */
void oidc_ask_tokens(struct oidc_call *c);
/* An answer of 200: verifies the ID token in it, and ends the call. */
void oidc_take_tokens(struct oidc_call *c, const struct fetch_reply *reply);
/* A refusal (RFC 6749, 5.2) as text: `code` is "" when the answer is none. */
struct oidc_refusal {
	char code[64], text[256];
};
void oidc_refusal_parse(struct oidc_refusal *r, const char *json, size_t len);
/* Ends the call with what an answer other than 200 says. */
void oidc_refused(struct oidc_call *c, const struct fetch_reply *reply);
