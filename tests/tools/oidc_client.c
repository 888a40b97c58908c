/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oidc/ at the command line, for the tests against a real issuer.
 *   oidc_client ISSUER CLIENT [--ca FILE] [--secret S] [--allow CLAIM=VALUE]... [--offline]
 * then a command on each line of stdin, answered by a line of JSON on stdout:
 *   device | refresh TOKEN | revoke TOKEN | verify TOKEN [NONCE] | begin REDIRECT | finish REDIRECT STATE NONCE VERIFIER CODE | cancel
 * {"show":[URI, CODE, COMPLETE]}  {"tokens":{...}}  {"who":{...}}  {"url":...}  {"done":true}  {"error":N, "sentence":"..."}
 */
#include <event2/event.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>

#include "base/file.h"
#include "oidc/oidc.h"

static struct event_base *base;
static struct oidc *issuer;
static struct oidc_call *call;
static struct oidc_flow flow;

static void die(const char *why)
{
	fprintf(stderr, "%s\n", why);
	exit(2);
}

static void say(json_t *o)
{
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(o);
}

static void say_error(int error, const struct error *e)
{
	call = NULL;
	say(json_pack("{s:i, s:s}", "error", error, "sentence", e->text));
}

static json_t *describe(const struct oidc_identity *who)
{
	return json_pack("{s:s, s:s, s:I}", "subject", who->subject, "name", who->name, "expires",
			 (json_int_t)who->expires);
}

static void on_verified(void *arg, int error, const struct oidc_identity *who,
			const struct error *e)
{
	(void)arg;
	call = NULL;
	if (error)
		say_error(error, e);
	else
		say(json_pack("{s:o}", "who", describe(who)));
}

static void on_got(void *arg, int error, const struct oidc_tokens *t, const struct error *e)
{
	(void)arg;
	call = NULL;
	if (error)
		say_error(error, e);
	else
		say(json_pack("{s:o, s:s, s:s?}", "who", describe(&t->who), "id_token", t->id_token,
			      "refresh_token", t->refresh_token));
}

static void on_show(void *arg, const char *uri, const char *code, const char *complete)
{
	(void)arg;
	say(json_pack("{s:[s, s, s?]}", "show", uri, code, complete));
}

static void on_url(void *arg, int error, const char *url, const struct error *e)
{
	(void)arg;
	call = NULL;
	if (error)
		say_error(error, e);
	else
		say(json_pack("{s:s, s:[s, s, s]}", "url", url, "flow", flow.state, flow.nonce,
			      flow.verifier));
}

static void on_done(void *arg, int error, const struct error *e)
{
	(void)arg;
	call = NULL;
	if (error)
		say_error(error, e);
	else
		say(json_pack("{s:b}", "done", 1));
}

enum { WORDS = 7 };

static int run(char *w[static WORDS])
{
	if (!strcmp(w[0], "device"))
		return oidc_device(issuer, on_show, on_got, NULL, &call);
	if (!strcmp(w[0], "refresh") && w[1])
		return oidc_refresh(issuer, w[1], on_got, NULL, &call);
	if (!strcmp(w[0], "revoke") && w[1])
		return oidc_revoke(issuer, w[1], on_done, NULL, &call);
	if (!strcmp(w[0], "verify") && w[1])
		return oidc_verify(issuer, w[1], w[2], on_verified, NULL, &call);
	if (!strcmp(w[0], "begin") && w[1])
		return oidc_begin(issuer, w[1], &flow, on_url, NULL, &call);
	if (!strcmp(w[0], "finish") && w[5]) {
		snprintf(flow.state, sizeof(flow.state), "%s", w[2]);
		snprintf(flow.nonce, sizeof(flow.nonce), "%s", w[3]);
		snprintf(flow.verifier, sizeof(flow.verifier), "%s", w[4]);
		return oidc_finish(issuer, w[1], &flow, w[5], on_got, NULL, &call);
	}
	if (strcmp(w[0], "cancel") != 0)
		return -1;
	oidc_cancel(call);
	call = NULL;
	say(json_pack("{s:b}", "done", 1));
	return 0;
}

static void on_line(int fd, short what, void *arg)
{
	static char buf[65536];
	static size_t len;
	ssize_t n = read(fd, buf + len, sizeof(buf) - len);
	char *end;

	(void)what;
	(void)arg;
	if (n <= 0) {
		event_base_loopbreak(base);
		return;
	}
	len += (size_t)n;
	while ((end = memchr(buf, '\n', len))) {
		char *words[WORDS] = {NULL}, *rest = buf;
		size_t used = (size_t)(end + 1 - buf);

		*end = '\0';
		for (int i = 0; i < WORDS - 1 && rest; i++)
			words[i] = strsep(&rest, " ");
		if (run(words))
			die("no such command");
		memmove(buf, buf + used, len - used);
		len -= used;
	}
}

static void options(struct oidc_config *cfg, char **arg)
{
	struct error e;
	size_t len;
	char *text;

	for (; *arg; arg++) {
		if (!strcmp(*arg, "--offline")) {
			cfg->offline = true;
		} else if (!arg[1]) {
			die("value?");
		} else if (!strcmp(*arg, "--ca")) {
			if (file_read(*++arg, 1 << 20, &text, &len, &e))
				die(e.text);
			cfg->ca = text;
		} else if (!strcmp(*arg, "--secret")) {
			cfg->client_secret = *++arg;
		} else if (!strcmp(*arg, "--scopes")) {
			cfg->scopes = *++arg;
		} else if (!strcmp(*arg, "--allow") && cfg->nallow < OIDC_ALLOW) {
			cfg->allow[cfg->nallow++] = *++arg;
		} else {
			die("option?");
		}
	}
}

int main(int argc, char **argv)
{
	struct oidc_config cfg = {.scopes = ""};
	struct event *in;
	struct error e;

	if (argc < 3)
		die("usage: oidc_client ISSUER CLIENT [--ca FILE] ...");
	cfg.issuer = argv[1];
	cfg.client_id = argv[2];
	options(&cfg, argv + 3);
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	if (!base || oidc_new(&issuer, base, &cfg, &e))
		die(base ? e.text : "no memory");
	in = event_new(base, STDIN_FILENO, EV_READ | EV_PERSIST, on_line, NULL);
	event_add(in, NULL);
	event_base_dispatch(base);
	event_free(in);
	oidc_free(issuer);
	free((char *)(uintptr_t)cfg.ca);
	event_base_free(base);
	return 0;
}
