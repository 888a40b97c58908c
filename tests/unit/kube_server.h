/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of kube/: data/kube/server.py beside us, a client of it, and a loop that does not wait for ever. */
#pragma once

#include <event2/event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "kube/kube.h"

#define DATA TEST_DATA "/kube"

static pid_t server_pid;
static int server_stdin = -1;
static int port_tls, port_plain;
static struct event_base *base;
static struct error err;

static int start_server(void **unused)
{
	int in[2], out[2];
	FILE *f;

	(void)unused;
	signal(SIGPIPE, SIG_IGN);
	if (pipe(in) || pipe(out))
		return -1;
	server_pid = fork();
	if (server_pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		execlp("python3", "python3", DATA "/server.py", NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	server_stdin = in[1];
	f = fdopen(out[0], "r");
	if (!f || fscanf(f, "%d %d", &port_tls, &port_plain) != 2)
		return -1;
	fclose(f);
	unsetenv("http_proxy");
	unsetenv("https_proxy");
	unsetenv("HTTPS_PROXY");
	base = event_base_new();
	return base ? 0 : -1;
}

static int stop_server(void **unused)
{
	int status;

	(void)unused;
	close(server_stdin);
	waitpid(server_pid, &status, 0);
	event_base_free(base);
	return 0;
}

/* A client of https://127.0.0.1 (or what `cluster` says behind the port), as `user`, both in YAML's flow style. */
static struct kube_client *make_client(const char *server, const char *cluster, const char *user,
				       const struct kube_options *options)
{
	struct kube_flags flags = {.server = server};
	struct kube_config *config = NULL;
	struct kube_client *c = NULL;
	char text[4096], url[64];

	snprintf(url, sizeof(url), "https://127.0.0.1:%d", port_tls);
	if (!server)
		flags.server = url;
	snprintf(text, sizeof(text),
		 "current-context: t\n"
		 "clusters: [{name: t, cluster: {server: x, %s}}]\n"
		 "users: [{name: t, user: {%s}}]\n"
		 "contexts: [{name: t, context: {cluster: t, user: t}}]\n",
		 cluster ? cluster : "certificate-authority: " DATA "/tls/ca.crt", user);
	if (kube_config_parse(&config, "test.yaml", text, strlen(text), &flags, &err) ||
	    kube_client_new(&c, base, config, options, &err))
		fail_msg("%s", err.text);
	return c;
}

static void on_too_long(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Turns the loop until *done, at most `seconds`. */
static bool run_until(const bool *done, unsigned seconds)
{
	struct timeval tv = {.tv_sec = seconds};
	bool late = false;
	struct event *ev = event_new(base, -1, 0, on_too_long, &late);

	event_add(ev, &tv);
	while (!*done && !late)
		event_base_loop(base, EVLOOP_ONCE);
	event_free(ev);
	return *done;
}

/* A reply, kept. */
struct kept {
	bool done;
	unsigned count;
	enum kube_failure failure;
	int status;
	char sentence[1024], reason[64];
	struct kube_denied denied;
	double retry_after;
	char *body;
	json_t *json;
};

static void keep_reply(void *arg, const struct kube_reply *r)
{
	struct kept *k = arg;

	k->done = true;
	k->count++;
	k->failure = r->failure;
	k->status = r->status;
	k->denied = r->denied;
	k->retry_after = r->retry_after;
	snprintf(k->sentence, sizeof(k->sentence), "%s", r->sentence);
	snprintf(k->reason, sizeof(k->reason), "%s", r->reason);
	k->body = strdup(r->body);
	k->json = json_loadb(r->body, r->len, 0, NULL);
}

static inline void kept_free(struct kept *k)
{
	free(k->body);
	json_decref(k->json);
}

static inline void ask(struct kube_client *c, const struct kube_call *call, struct kept *k)
{
	memset(k, 0, sizeof(*k));
	assert_int_equal(kube_request(c, call, keep_reply, k, NULL), 0);
	assert_false(k->done);
	if (!run_until(&k->done, 10))
		fail_msg("no answer to %s", call->path);
}

#define assert_contains(text, part)                                                                \
	do {                                                                                       \
		if (!strstr(text, part))                                                           \
			fail_msg("'%s' is not in: %s", part, text);                                \
	} while (0)
