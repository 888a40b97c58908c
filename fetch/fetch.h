/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: HTTP(S) by curl on the event loop: the driver, which kube/ builds its requests on, and below it the plain case of
 * one request and one bounded answer.
 *
 * One loop, one thread. A callback comes from the loop, never from within the call that asked for it, and may free or cancel
 * anything, the multi too; after stop, cancel and free none comes. The program ignores SIGPIPE.
 */
#pragma once

#include <curl/curl.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/error.h"

struct event_base;
struct fetch;

/* --- the driver: a curl multi on the event loop ------------------------------------------------------------ */

struct fetch_multi;

/* One easy handle in a multi. `done` comes once per start, `ready` after bytes came (by fetch_transfer_ready()); both outside
 * curl, so they may start, stop and free anything. */
struct fetch_transfer {
	CURL *easy;
	struct fetch_multi *multi; /* NULL = not started */
	void (*done)(struct fetch_transfer *t, CURLcode code);
	void (*ready)(struct fetch_transfer *t);
	bool is_ready;
	TAILQ_ENTRY(fetch_transfer) ready_link;
};

int fetch_multi_new(struct fetch_multi **mp, struct event_base *base);
/* Every transfer has been stopped before. May be called from a transfer's callback. */
void fetch_multi_free(struct fetch_multi *m); /* NULL ok */
/* What its connections send is not acknowledged, though it was sent again, and there is none of which that is not so: the other
 * end, or the way there, is gone. One that is merely slow to answer acknowledges. */
bool fetch_multi_unheard(const struct fetch_multi *m);
int fetch_transfer_start(struct fetch_multi *m, struct fetch_transfer *t);
void fetch_transfer_stop(struct fetch_transfer *t); /* not started is fine */
void fetch_transfer_ready(struct fetch_transfer *t);

/* --- one request, one answer ------------------------------------------------------------------------------- */

enum { FETCH_ANSWER_MAX = 1 << 20, FETCH_SECONDS = 15, FETCH_URL_MAX = 2048 };

struct fetch_call {
	const char *url; /* of which fetch_url_check() is 0 */
	const char
		*form; /* NULL = GET; else the body of a POST, application/x-www-form-urlencoded */
	const char *user, *password; /* Basic authentication, or NULL */
	const char *ca;		     /* PEM of authorities beside the system's, or NULL */
};

struct fetch_reply {
	int status;	      /* of HTTP; 0 = no whole answer came, and `sentence` says why */
	const char *sentence; /* names the URL's host; NULL = there is an answer */
	const char *body;     /* NUL behind it; "" when there is none */
	size_t len;
};

typedef void fetch_cb(void *arg, const struct fetch_reply *reply);

/* https with a host name and without user and fragment; http to a loopback address alone. -EINVAL with the sentence. */
int fetch_url_check(const char *url, struct error *e);
/* All is copied. Redirects are not followed, certificates are verified, $https_proxy counts. Exactly one callback, unless
 * cancelled; what it gets is borrowed. 0, or -ENOMEM or -EINVAL, then there is none. */
int fetch(struct fetch_multi *m, const struct fetch_call *call, fetch_cb *cb, void *arg,
	  struct fetch **fp);
void fetch_cancel(struct fetch *f); /* NULL ok */
