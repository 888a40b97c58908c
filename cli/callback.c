/* SPDX-License-Identifier: Apache-2.0 */
/* A server on loopback that waits for the browser to come back. */
#include "cli/callback.h"

#include <errno.h>
#include <stdio.h>

#include "base/addr.h"
#include "serve/serve.h"

#define PATH                                                                                       \
	"/culvert" /* as it is registered with the issuer: http://127.0.0.1/culvert, of any port */

struct callback {
	struct serve *serve;
	callback_cb *cb;
	void *arg;
	char uri[CALLBACK_URI_MAX], state[64];
	bool done;
};

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of application/x-www-form-urlencoded at *s, which moves on; 0 = it is none. */
static char decode(const char **s)
{
	char c = *(*s)++;
	int high, low;

	if (c == '+')
		return ' ';
	if (c != '%')
		return c;
	high = hex(**s);
	low = high < 0 ? -1 : hex((*s)[1]);
	if (low < 0)
		return 0;
	*s += 2;
	return (char)(high << 4 | low);
}

bool callback_query(const char *target, const char *key, char *to, size_t size)
{
	size_t len = strlen(key), n = 0;
	const char *s = strchr(target, '?');

	while (s && (strncmp(s + 1, key, len) != 0 || s[1 + len] != '='))
		s = strchr(s + 1, '&');
	if (!s)
		return false;
	for (s += len + 2; *s && *s != '&' && *s != '#'; n++) {
		if (n + 1 == size)
			return false;
		to[n] = decode(&s);
		if (!to[n])
			return false;
	}
	to[n] = '\0';
	return true;
}

static void page(struct serve_request *r, int status, const char *text)
{
	char body[512];
	int n = snprintf(body, sizeof(body),
			 "<!doctype html><meta charset=utf-8><title>culvert</title><p>%s\n", text);

	serve_reply(r, status, "text/html; charset=utf-8", body, (size_t)n);
}

static void on_request(void *arg, struct serve_request *r)
{
	struct callback *c = arg;
	char state[sizeof(c->state)], code[CALLBACK_CODE_MAX], text[256] = "";
	const char *target = serve_path(r);
	struct error why;

	if (strcmp(serve_method(r), "GET") != 0 ||
	    strncmp(target, PATH "?", strlen(PATH "?")) != 0) {
		page(r, 404, "There is nothing here.");
		return;
	}
	/* Whoever does not know the state was not sent here by us. */
	if (c->done || !*c->state || !callback_query(target, "state", state, sizeof(state)) ||
	    strcmp(state, c->state) != 0) {
		page(r, 400, "This is not the answer that culvert waits for.");
		return;
	}
	c->done = true;
	if (callback_query(target, "code", code, sizeof(code))) {
		page(r, 200, "culvert has got what it needs. You may close this page.");
		c->cb(c->arg, code, NULL);
		return;
	}
	if (!callback_query(target, "error_description", text, sizeof(text)) &&
	    !callback_query(target, "error", text, sizeof(text)))
		snprintf(text, sizeof(text), "it gave no code");
	page(r, 200, "The login was refused or cancelled. You may close this page.");
	error_set(&why, 0, "the login was not granted: %s", text);
	c->cb(c->arg, NULL, &why);
}

int callback_new(struct callback **cp, struct event_base *base, callback_cb *cb, void *arg,
		 struct error *e)
{
	static const struct serve_ops ops = {.request = on_request};
	struct callback *c = calloc(1, sizeof(*c));
	union sockaddr_any sa;
	struct ipaddr local;
	int err;

	if (!c)
		return error_errno(e, -ENOMEM, "login");
	c->cb = cb;
	c->arg = arg;
	local = ipaddr_v4((const uint8_t[]){127, 0, 0, 1});
	sa = sockaddr_from(&local, 0);
	err = serve_new(&c->serve, base, &sa, NULL, NULL, &ops, c, e);
	if (!err)
		err = serve_local(c->serve, &sa);
	if (err) {
		callback_free(c);
		return err;
	}
	snprintf(c->uri, sizeof(c->uri), "http://127.0.0.1:%u" PATH, sockaddr_port(&sa));
	*cp = c;
	return 0;
}

void callback_free(struct callback *c)
{
	if (!c)
		return;
	serve_free(c->serve);
	free(c);
}

const char *callback_uri(const struct callback *c)
{
	return c->uri;
}

void callback_expect(struct callback *c, const char *state)
{
	snprintf(c->state, sizeof(c->state), "%s", state);
}
