/* SPDX-License-Identifier: Apache-2.0 */
/* What a laptop's login is worth: no longer than its token, and no more once the laptop has said something newer. */
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "manager/kubernetes.h"

static struct kubernetes k;
static struct session here, there;

static void lasts_as_long_as_the_token(void **state)
{
	(void)state;
	k.sessions = &here;
	here = (struct session){
		.k = &k, .next = &there, .login = strdup("ana"), .login_until = 1000};
	there = (struct session){.k = &k, .login = strdup("bob"), .login_until = 1001};
	logins_tick(&k, 999);
	assert_string_equal(here.login, "ana");
	logins_tick(&k, 1000);
	assert_null(here.login);
	assert_string_equal(there.login, "bob");
	logins_tick(&k, 2000);
	assert_null(there.login);
	k.sessions = NULL;
}

/* --- one after the other ----------------------------------------------------------------------------------- */

struct answer {
	bool come;
	int code;
	char text[200];
};

static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	(void)r;
	(void)method;
	login_call(arg, params, req);
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	(void)arg;
	(void)r;
	fail_msg("closed: %d", error);
}

static void on_answer(void *arg, json_t *result, int code, const char *message)
{
	struct answer *a = arg;

	a->come = true;
	a->code = result ? 0 : code;
	snprintf(a->text, sizeof(a->text), "%s", message ? message : "");
}

static void say(struct rpc *laptop, const char *token, struct answer *a)
{
	*a = (struct answer){.come = false};
	assert_int_equal(
		rpc_call(laptop, "login", json_pack("{s:s}", "id_token", token), 0, on_answer, a),
		0);
}

/* An issuer that takes connections and says nothing, on a port of its own. */
static int listen_silently(char *issuer, size_t size)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	snprintf(issuer, size, "http://127.0.0.1:%u", ntohs(at.sin_port));
	return fd;
}

static void the_newest_word_counts(void **state)
{
	static const struct rpc_ops ops = {on_call, on_closed};
	static struct config config = {
		.oidc = {.client_id = "culvert", .nallow = 1, .allow = {"groups=dev"}}};
	struct manager m = {.cfg = &config, .base = event_base_new(), .kube = &k};
	struct peer peer = {.session = &here};
	struct control_conn conn = {.m = &m, .peer = &peer};
	struct answer first, second, third;
	struct rpc *laptop, *manager;
	struct stream *s[2];
	struct error e;
	int fd[2], silent = listen_silently(config.oidc.issuer, sizeof(config.oidc.issuer));

	(void)state;
	k.m = &m;
	here = (struct session){.k = &k, .o = {.name = "s"}};
	assert_int_equal(login_new(&k, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(stream_from_fd(m.base, fd[i], &s[i]), 0);
	assert_int_equal(rpc_new(&laptop, m.base, s[0], &ops, NULL), 0);
	assert_int_equal(rpc_new(&manager, m.base, s[1], &ops, &conn), 0);

	say(laptop, "a.b.c", &first);
	say(laptop, "d.e.f", &second);
	while (!first.come)
		event_base_loop(m.base, EVLOOP_ONCE);
	assert_int_equal(first.code, RPC_FAILED);
	assert_non_null(strstr(first.text, "came meanwhile"));
	here.login = strdup("ana");
	say(laptop, "", &third);
	while (!third.come || !second.come)
		event_base_loop(m.base, EVLOOP_ONCE);
	assert_int_equal(second.code, RPC_FAILED);
	assert_non_null(strstr(second.text, "came meanwhile"));
	assert_int_equal(third.code, 0);
	assert_null(here.login);

	rpc_free(laptop);
	rpc_free(manager);
	login_free(k.login);
	k.login = NULL;
	event_base_free(m.base);
	close(silent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lasts_as_long_as_the_token),
		cmocka_unit_test(the_newest_word_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
