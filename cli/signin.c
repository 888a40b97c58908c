/* SPDX-License-Identifier: Apache-2.0 */
/* The flows of oidc/, one after the other, on the loop of a command. */
#include "cli/signin.h"

#include <errno.h>
#include <event2/event.h>

#include "cli/callback.h"
#include "oidc/oidc.h"

struct signin {
	struct cluster *c;
	struct login *l;
	struct oidc *oidc;
	struct oidc_call *call;
	struct callback *callback;
	struct oidc_flow flow;
	bool done;
	int result; /* enum oidc_error */
	struct error *e;
};

static void finish(struct signin *s, int result, const struct error *why)
{
	s->done = true;
	s->result = result;
	if (result)
		*s->e = *why;
	event_base_loopbreak(s->c->base);
}

/* Of the step under way; -EINTR when a signal came. */
static int await(struct signin *s)
{
	while (!s->done && !s->c->interrupted)
		if (event_base_dispatch(s->c->base) < 0)
			return error_set(s->e, -EIO, "the event loop failed");
	if (s->done)
		return s->result;
	oidc_cancel(s->call);
	return error_set(s->e, -EINTR, "interrupted");
}

static bool copy(char *to, size_t size, const char *from)
{
	return !from || snprintf(to, size, "%s", from) < (int)size;
}

static void on_tokens(void *arg, int error, const struct oidc_tokens *t, const struct error *why)
{
	struct signin *s = arg;
	struct error large;

	s->call = NULL;
	if (error) {
		finish(s, error, why);
		return;
	}
	if (!copy(s->l->id_token, sizeof(s->l->id_token), t->id_token) ||
	    !copy(s->l->refresh_token, sizeof(s->l->refresh_token), t->refresh_token)) {
		error_set(&large, 0, "the issuer's tokens are larger than %d bytes",
			  LOGIN_TOKEN_MAX - 1);
		finish(s, OIDC_REFUSED, &large);
		return;
	}
	snprintf(s->l->name, sizeof(s->l->name), "%s", t->who.name);
	snprintf(s->l->subject, sizeof(s->l->subject), "%s", t->who.subject);
	s->l->expires = t->who.expires;
	finish(s, 0, NULL);
}

/* --- device grant ------------------------------------------------------------------------------------------------- */

/* What an issuer says is printed, so it must not steer the terminal. */
static void say(const char *fmt, const char *what)
{
	char text[2048];

	snprintf(text, sizeof(text), "%s", what);
	text_clean(text);
	fprintf(stderr, fmt, text);
}

static void on_show(void *arg, const char *uri, const char *code, const char *complete)
{
	(void)arg;
	say("Open  %s\n", uri);
	say("and enter the code  %s\n", code);
	if (complete && browser_open(complete))
		fputs("(your browser shows it)\n", stderr);
	fputs("Waiting for you to confirm it there; Ctrl-C cancels.\n", stderr);
}

/* --- code flow ---------------------------------------------------------------------------------------------------- */

static void on_code(void *arg, const char *code, const struct error *why)
{
	struct signin *s = arg;
	struct error e;

	if (!code)
		finish(s, OIDC_CANCELLED, why);
	else if (oidc_finish(s->oidc, callback_uri(s->callback), &s->flow, code, on_tokens, s,
			     &s->call)) {
		error_set(&e, 0, "out of memory");
		finish(s, OIDC_UNREACHABLE, &e);
	}
}

static void on_url(void *arg, int error, const char *url, const struct error *why)
{
	struct signin *s = arg;

	s->call = NULL;
	if (error) {
		finish(s, error, why);
		return;
	}
	callback_expect(s->callback, s->flow.state);
	say("Open  %s\n", url);
	if (browser_open(url))
		fputs("(your browser shows it)\n", stderr);
	fputs("Waiting for you to log in there; Ctrl-C cancels. The browser has to run on this "
	      "computer.\n",
	      stderr);
}

static int by_code(struct signin *s)
{
	int err = callback_new(&s->callback, s->c->base, on_code, s, s->e);

	if (!err && oidc_begin(s->oidc, callback_uri(s->callback), &s->flow, on_url, s, &s->call))
		err = error_errno(s->e, -ENOMEM, "login");
	if (err)
		return err;
	s->done = false;
	err = await(s);
	event_base_loop(s->c->base, EVLOOP_NONBLOCK); /* what the browser is told goes out */
	return err;
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static int open_issuer(struct signin *s, const struct login_offer *offer)
{
	const struct oidc_config cfg = {.issuer = offer->issuer,
					.client_id = offer->client_id,
					.scopes = offer->scopes,
					.ca = *offer->ca ? offer->ca : NULL,
					.offline = true};

	return oidc_new(&s->oidc, s->c->base, &cfg, s->e);
}

static void close_issuer(struct signin *s)
{
	oidc_free(s->oidc);
	callback_free(s->callback);
}

int signin(struct login *l, struct cluster *c, const struct login_offer *offer, struct error *e)
{
	struct signin s = {.c = c, .l = l, .e = e};
	int err = open_issuer(&s, offer);

	if (err)
		return err;
	fputs("Launching browser authentication flow...\n", stderr);
	err = oidc_device(s.oidc, on_show, on_tokens, &s, &s.call);
	if (err)
		error_errno(e, err, "login");
	else
		err = await(&s);
	if (err == OIDC_UNSUPPORTED)
		err = by_code(&s);
	close_issuer(&s);
	if (err == -EINTR)
		error_set(e, err, "interrupted; you are logged in as before");
	snprintf(l->issuer, sizeof(l->issuer), "%s", offer->issuer);
	return err;
}

static void on_revoked(void *arg, int error, const struct error *why)
{
	struct signin *s = arg;

	s->call = NULL;
	finish(s, error, why);
}

int signin_revoke(struct cluster *c, const struct login_offer *offer, const char *refresh_token,
		  struct error *e)
{
	struct signin s = {.c = c, .e = e};
	int err = open_issuer(&s, offer);

	if (err)
		return err;
	err = oidc_revoke(s.oidc, refresh_token, on_revoked, &s, &s.call);
	if (err)
		error_errno(e, err, "logout");
	else
		err = await(&s);
	close_issuer(&s);
	return err == OIDC_UNSUPPORTED ? 0 : err;
}
