/* SPDX-License-Identifier: Apache-2.0 */
/* The login of a session, with an API server, an issuer and a manager that say what the test wants. */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/account.h"
#include "daemon/cluster.h"
#include "daemon/internal.h"
#include "daemon/link.h"
#include "daemon/session.h"
#include "kube/kube.h"
#include "login/login.h"
#include "oidc/oidc.h"

#define ISSUER "https://id.example.org"

static struct daemon d;
static const struct login_place place = {"dev", "https://10.0.0.1:6443", "culvert"};

/* --- the session --------------------------------------------------------------------------------------------------- */

enum session_state session_state(const struct session *s)
{
	(void)s;
	return SESSION_CONNECTED;
}

struct cluster *session_cluster(const struct session *s)
{
	return (struct cluster *)(uintptr_t)s;
}

struct link *session_link(struct session *s)
{
	return (struct link *)s;
}

struct kube_client *cluster_client(struct cluster *c)
{
	return (struct kube_client *)c;
}

const char *cluster_context(const struct cluster *c)
{
	(void)c;
	return place.context;
}

const char *cluster_server(const struct cluster *c)
{
	(void)c;
	return place.server;
}

const char *cluster_manager_namespace(const struct cluster *c)
{
	(void)c;
	return place.manager_ns;
}

const char *cluster_user(const struct cluster *c)
{
	(void)c;
	return "ana";
}

/* --- the API server -------------------------------------------------------------------------------------------------- */

static struct {
	kube_reply_cb *cb;
	void *arg;
	unsigned asked;
} server;

int kube_request(struct kube_client *c, const struct kube_call *call, kube_reply_cb *cb, void *arg,
		 struct kube_request **rp)
{
	(void)c;
	assert_null(server.cb);
	assert_string_equal(call->path, "/api/v1/namespaces/culvert/configmaps/culvert");
	server.cb = cb;
	server.arg = arg;
	server.asked++;
	*rp = (struct kube_request *)&server;
	return 0;
}

void kube_cancel(struct kube_request *r)
{
	if (r)
		server.cb = NULL;
}

static void tell_offer(const char *oidc, const char *gateway)
{
	json_t *j = json_pack("{s:{s:s,s:s}}", "data", "oidc", oidc, "gateway", gateway);
	char *text = json_dumps(j, 0);
	struct kube_reply r = {.body = text, .len = strlen(text)};
	kube_reply_cb *cb = server.cb;

	assert_non_null(cb);
	server.cb = NULL;
	cb(server.arg, &r);
	free(text);
	json_decref(j);
}

static void tell_failure(void)
{
	struct kube_reply r = {.failure = KUBE_TIMEOUT, .body = "", .sentence = "No answer."};
	kube_reply_cb *cb = server.cb;

	assert_non_null(cb);
	server.cb = NULL;
	cb(server.arg, &r);
}

#define WITH_ISSUER "{\"issuer\":\"" ISSUER "\",\"clientId\":\"culvert\"}"
#define GATEWAY	    "{\"previews\":\"https://*.p.example.org\",\"dashboard\":\"\"}"

/* --- the issuer -------------------------------------------------------------------------------------------------------- */

static struct {
	oidc_got *cb;
	void *arg;
	char token[64];
	unsigned open;
} issuer;

int oidc_new(struct oidc **op, struct event_base *base, const struct oidc_config *cfg,
	     struct error *e)
{
	(void)base;
	(void)e;
	assert_string_equal(cfg->issuer, ISSUER);
	assert_string_equal(cfg->client_id, "culvert");
	assert_null(cfg->ca);
	issuer.open++;
	*op = (struct oidc *)&issuer;
	return 0;
}

void oidc_free(struct oidc *o)
{
	issuer.open -= o != NULL;
}

int oidc_refresh(struct oidc *o, const char *refresh_token, oidc_got *cb, void *arg,
		 struct oidc_call **cp)
{
	(void)o;
	assert_null(issuer.cb);
	issuer.cb = cb;
	issuer.arg = arg;
	snprintf(issuer.token, sizeof(issuer.token), "%s", refresh_token);
	*cp = (struct oidc_call *)&issuer;
	return 0;
}

void oidc_cancel(struct oidc_call *c)
{
	if (c)
		issuer.cb = NULL;
}

static void refreshed(int error, const char *subject, int64_t lives)
{
	struct oidc_tokens t = {.id_token = "new", .refresh_token = "newer"};
	struct error e = {"the grant was revoked"};
	oidc_got *cb = issuer.cb;

	assert_non_null(cb);
	issuer.cb = NULL;
	snprintf(t.who.name, sizeof(t.who.name), "ana@example.org");
	snprintf(t.who.subject, sizeof(t.who.subject), "%s", subject);
	t.who.expires = time(NULL) + lives;
	cb(issuer.arg, error, error ? NULL : &t, error ? &e : NULL);
}

/* --- the manager -------------------------------------------------------------------------------------------------------- */

static struct {
	bool down;
	rpc_cb *cb;
	void *arg;
	char token[64];
} manager;

bool link_up(const struct link *l)
{
	(void)l;
	return !manager.down;
}

int link_call(struct link *l, const char *method, json_t *params, nsec_t timeout, rpc_cb *cb,
	      void *arg)
{
	(void)l;
	(void)timeout;
	assert_string_equal(method, "login");
	assert_null(manager.cb);
	snprintf(manager.token, sizeof(manager.token), "%s",
		 json_string_value(json_object_get(params, "id_token")));
	json_decref(params);
	manager.cb = cb;
	manager.arg = arg;
	return 0;
}

static void judged(int code, const char *message)
{
	json_t *result = code ? NULL : json_object();
	rpc_cb *cb = manager.cb;

	assert_non_null(cb);
	manager.cb = NULL;
	cb(manager.arg, result, code, message);
	json_decref(result);
}

/* --- the command line ---------------------------------------------------------------------------------------------------- */

struct rpc_request {
	json_t *result;
	int code;
};

void rpc_reply(struct rpc_request *req, json_t *result)
{
	assert_null(req->result);
	req->result = result;
}

void rpc_fail(struct rpc_request *req, int code, const char *fmt, ...)
{
	(void)fmt;
	req->code = code;
}

/* --- --------------------------------------------------------------------------------------------------------------------- */

static void write_login(const char *from, const char *id_token, int64_t lives)
{
	struct login *l = calloc(1, sizeof(*l));
	struct error e;

	assert_non_null(l);
	snprintf(l->issuer, sizeof(l->issuer), "%s", from);
	snprintf(l->name, sizeof(l->name), "ana");
	snprintf(l->subject, sizeof(l->subject), "u-17");
	snprintf(l->id_token, sizeof(l->id_token), "%s", id_token);
	if (*id_token) {
		snprintf(l->refresh_token, sizeof(l->refresh_token), "again");
		l->expires = time(NULL) + lives;
	}
	assert_int_equal(login_save(l, d.dir.state, &place, &e), 0);
	free(l);
}

static bool has_login(void)
{
	struct login *l = malloc(sizeof(*l));
	bool has = l && !login_load(l, d.dir.state, &place, NULL);

	free(l);
	return has;
}

static const char *get(const char *key)
{
	static char text[1024];
	json_t *j = account_json(&d);

	snprintf(text, sizeof(text), "%s", json_string_value(json_object_get(j, key)));
	json_decref(j);
	return text;
}

static bool logged_in(void)
{
	json_t *j = account_json(&d);
	bool in = json_is_true(json_object_get(j, "logged_in"));

	json_decref(j);
	return in;
}

static int setup(void **state)
{
	(void)state;
	memset(&d, 0, sizeof(d));
	memset(&server, 0, sizeof(server));
	memset(&issuer, 0, sizeof(issuer));
	memset(&manager, 0, sizeof(manager));
	snprintf(d.dir.state, sizeof(d.dir.state), "/tmp/culvert-account-XXXXXX");
	d.base = event_base_new();
	d.session = (struct session *)&d;
	return d.base && mkdtemp(d.dir.state) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[320];

	(void)state;
	account_end(&d);
	event_base_free(d.base);
	if (server.cb || issuer.open || issuer.cb)
		return -1;
	snprintf(command, sizeof(command), "rm -r %s", d.dir.state);
	return system(command);
}

static void nobody(void **state)
{
	struct rpc_request req = {0};

	(void)state;
	account_start(&d);
	tell_offer("", GATEWAY);
	assert_false(logged_in());
	assert_string_equal(get("why"), "");
	account_call(&d, &req);
	assert_null(req.result);
	tell_offer("", GATEWAY);
	assert_string_equal(json_string_value(json_object_get(req.result, "previews")),
			    "https://*.p.example.org");
	assert_string_equal(json_string_value(json_object_get(req.result, "server")), place.server);
	json_decref(req.result);
}

static void the_kubernetes_identity(void **state)
{
	(void)state;
	write_login("", "", 0);
	account_start(&d);
	tell_offer("", "");
	assert_true(logged_in());
	assert_string_equal(get("name"), "ana");
	/* It cannot be asked: what is known stays. */
	account_link_down(&d);
	account_link_up(&d);
	assert_null(server.cb);
}

static void a_damaged_file(void **state)
{
	struct rpc_request req = {0};
	char command[320];

	(void)state;
	write_login("", "", 0);
	snprintf(command, sizeof(command), "for f in %s/login/*.json; do echo { >$f; done",
		 d.dir.state);
	assert_int_equal(system(command), 0);
	account_start(&d);
	tell_offer("", "");
	assert_false(logged_in());
	assert_non_null(strstr(get("why"), "damaged"));
	/* A logout ends that, too. */
	assert_int_equal(login_remove(d.dir.state, &place, NULL), 0);
	account_call(&d, &req);
	tell_offer("", "");
	assert_string_equal(get("why"), "");
	json_decref(req.result);
}

static void an_issuer_since(void **state)
{
	(void)state;
	write_login("", "", 0);
	account_start(&d);
	tell_offer(WITH_ISSUER, "");
	assert_false(logged_in());
	assert_non_null(strstr(get("why"), ISSUER));
	assert_true(has_login());
}

static void a_fresh_token_is_told(void **state)
{
	(void)state;
	write_login(ISSUER, "token", 3600);
	account_start(&d);
	tell_offer(WITH_ISSUER, "");
	assert_string_equal(manager.token, "token");
	assert_false(logged_in()); /* its verdict is awaited */
	judged(0, NULL);
	assert_true(logged_in());
	/* On each connection once. */
	account_link_up(&d);
	assert_null(server.cb);
	account_link_down(&d);
	account_link_up(&d);
	tell_offer(WITH_ISSUER, "");
	judged(0, NULL);
	account_link_up(&d);
	assert_null(server.cb);
}

/* The manager hears of a logout, also of one while it could not be reached. */
static void logged_out(void **state)
{
	struct rpc_request req[2] = {{0}};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		write_login(ISSUER, "token", 3600);
		if (i == 0)
			account_start(&d);
		else
			account_call(&d, &req[0]);
		tell_offer(WITH_ISSUER, "");
		judged(0, NULL);
		assert_int_equal(login_remove(d.dir.state, &place, NULL), 0);
		manager.down = i == 1;
		if (manager.down)
			account_link_down(&d);
		account_call(&d, &req[1]);
		tell_offer(WITH_ISSUER, "");
		assert_false(logged_in());
		assert_string_equal(get("why"), "");
		if (manager.down) {
			assert_null(manager.cb);
			manager.down = false;
			account_link_up(&d);
			tell_offer(WITH_ISSUER, "");
		}
		assert_string_equal(manager.token, "");
		judged(0, NULL);
		json_decref(req[1].result);
		memset(&req[1], 0, sizeof(req[1]));
	}
	json_decref(req[0].result);
}

static void who_may_not_enter(void **state)
{
	struct rpc_request req = {0};

	(void)state;
	write_login(ISSUER, "token", 3600);
	account_start(&d);
	tell_offer(WITH_ISSUER, "");
	judged(RPC_FORBIDDEN, "ana may not enter: none of groups=dev holds");
	assert_false(logged_in());
	assert_non_null(strstr(get("why"), "groups=dev"));
	account_call(&d, &req);
	tell_offer(WITH_ISSUER, "");
	judged(RPC_FORBIDDEN, "no");
	assert_true(json_is_false(json_object_get(req.result, "logged_in")));
	json_decref(req.result);
}

static void an_old_token_is_refreshed(void **state)
{
	struct login *l = malloc(sizeof(*l));

	(void)state;
	assert_non_null(l);
	write_login(ISSUER, "token", 30);
	account_start(&d);
	tell_offer(WITH_ISSUER, "");
	assert_string_equal(issuer.token, "again");
	refreshed(0, "u-17", 3600);
	assert_string_equal(manager.token, "new");
	judged(0, NULL);
	assert_true(logged_in());
	assert_string_equal(get("name"), "ana@example.org");
	assert_int_equal(login_load(l, d.dir.state, &place, NULL), 0);
	assert_string_equal(l->refresh_token, "newer");
	free(l);
}

static void revoked(void **state)
{
	struct rpc_request req = {0};

	(void)state;
	write_login(ISSUER, "token", -5);
	account_start(&d);
	tell_offer(WITH_ISSUER, "");
	refreshed(OIDC_REFUSED, "", 0);
	assert_false(logged_in());
	assert_false(has_login());
	assert_non_null(strstr(get("why"), "revoked"));
	assert_non_null(strstr(get("why"), "culvert login"));
	/* It is still said later, until there is another. */
	account_call(&d, &req);
	tell_offer(WITH_ISSUER, "");
	assert_non_null(strstr(json_string_value(json_object_get(req.result, "why")), "revoked"));
	json_decref(req.result);
	memset(&req, 0, sizeof(req));
	write_login(ISSUER, "token2", 3600);
	account_call(&d, &req);
	tell_offer(WITH_ISSUER, "");
	judged(0, NULL);
	assert_true(json_is_true(json_object_get(req.result, "logged_in")));
	assert_string_equal(get("why"), "");
	json_decref(req.result);
}

/* The command line was faster than the refusal of the old token. */
static void logged_in_meanwhile(void **state)
{
	(void)state;
	write_login(ISSUER, "token", -5);
	account_start(&d);
	tell_offer(WITH_ISSUER, "");
	write_login(ISSUER, "other", 3600);
	refreshed(OIDC_REFUSED, "", 0);
	assert_true(has_login());
}

static void somebody_else(void **state)
{
	(void)state;
	write_login(ISSUER, "token", -5);
	account_start(&d);
	tell_offer(WITH_ISSUER, "");
	refreshed(0, "u-18", 3600);
	assert_false(logged_in());
	assert_false(has_login());
}

static void the_issuer_is_down(void **state)
{
	struct rpc_request req = {0};

	(void)state;
	write_login(ISSUER, "token", 30);
	account_start(&d);
	tell_offer(WITH_ISSUER, "");
	refreshed(OIDC_UNREACHABLE, "", 0);
	assert_true(logged_in()); /* for half a minute */
	assert_true(has_login());
	write_login(ISSUER, "token", -5);
	account_call(&d, &req);
	tell_offer(WITH_ISSUER, "");
	refreshed(OIDC_UNREACHABLE, "", 0);
	assert_false(logged_in());
	assert_true(has_login());
	json_decref(req.result);
}

static void asked_twice_and_in_between(void **state)
{
	struct rpc_request a = {0}, b = {0};

	(void)state;
	account_start(&d);
	account_call(&d, &a);
	write_login("", "", 0);
	account_call(&d, &b);
	tell_offer("", "");
	assert_null(a.result); /* begun before; it is looked again */
	tell_offer("", "");
	assert_true(json_is_true(json_object_get(a.result, "logged_in")));
	assert_true(json_is_true(json_object_get(b.result, "logged_in")));
	json_decref(a.result);
	json_decref(b.result);
}

static void the_end_in_between(void **state)
{
	struct rpc_request req = {0};

	(void)state;
	write_login(ISSUER, "token", -5);
	account_start(&d);
	tell_offer(WITH_ISSUER, "");
	account_call(&d, &req);
	account_end(&d);
	assert_int_equal(req.code, RPC_NOT_CONNECTED);
}

static void the_api_server_is_down(void **state)
{
	(void)state;
	write_login(ISSUER, "token", 3600);
	account_start(&d);
	tell_failure();
	assert_true(logged_in());
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(nobody),
		TEST(the_kubernetes_identity),
		TEST(a_damaged_file),
		TEST(an_issuer_since),
		TEST(a_fresh_token_is_told),
		TEST(logged_out),
		TEST(who_may_not_enter),
		TEST(an_old_token_is_refreshed),
		TEST(revoked),
		TEST(logged_in_meanwhile),
		TEST(somebody_else),
		TEST(the_issuer_is_down),
		TEST(asked_twice_and_in_between),
		TEST(the_end_in_between),
		TEST(the_api_server_is_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
