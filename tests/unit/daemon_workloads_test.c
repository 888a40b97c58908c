/* SPDX-License-Identifier: Apache-2.0 */
/* Intercepts on a Kubernetes, with an API server and a manager that answer when, and in the order, that the test says. */
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/cluster.h"
#include "daemon/internal.h"
#include "daemon/link.h"
#include "daemon/session.h"
#include "daemon/workloads.h"
#include "kube/kube.h"
#include "objects/objects.h"

#define SESSION "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* --- the API server ----------------------------------------------------------------------------------- */

struct kube_request {
	TAILQ_ENTRY(kube_request) entry;
	char method[8], path[512];
	kube_reply_cb *cb;
	void *arg;
};
struct kube_watch {
	int unused;
};

static TAILQ_HEAD(requests, kube_request)
requests = TAILQ_HEAD_INITIALIZER(requests);
static unsigned watches, made;

static int request(const char *method, const char *path, kube_reply_cb *cb, void *arg,
		   struct kube_request **rp)
{
	struct kube_request *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	snprintf(r->method, sizeof(r->method), "%s", method);
	snprintf(r->path, sizeof(r->path), "%s", path);
	r->cb = cb;
	r->arg = arg;
	TAILQ_INSERT_TAIL(&requests, r, entry);
	*rp = r;
	return 0;
}

int kube_request(struct kube_client *c, const struct kube_call *call, kube_reply_cb *cb, void *arg,
		 struct kube_request **rp)
{
	(void)c;
	return request(call->method ? call->method : "GET", call->path, cb, arg, rp);
}

int kube_apply(struct kube_client *c, const char *path, const json_t *object, const char *manager,
	       bool force, kube_reply_cb *cb, void *arg, struct kube_request **rp)
{
	(void)c;
	assert_non_null(object);
	assert_string_equal(manager, "culvert");
	assert_true(force);
	return request("PATCH", path, cb, arg, rp);
}

void kube_cancel(struct kube_request *r)
{
	if (!r)
		return;
	TAILQ_REMOVE(&requests, r, entry);
	free(r);
}

int kube_query(char *query, size_t room, const char *key, const char *value)
{
	snprintf(query, room, "%s=%s", key, value);
	return 0;
}

int kube_watch_start(struct kube_watch **wp, struct kube_client *c, const char *path,
		     const char *query, const struct kube_watch_ops *ops, void *arg)
{
	(void)c;
	(void)path;
	(void)query;
	(void)ops;
	(void)arg;
	*wp = calloc(1, sizeof(**wp));
	watches++;
	return *wp ? 0 : -ENOMEM;
}

void kube_watch_stop(struct kube_watch *w)
{
	watches -= w != NULL;
	free(w);
}

static struct kube_request *find(const char *method, const char *end)
{
	struct kube_request *r;

	TAILQ_FOREACH (r, &requests, entry) {
		size_t len = strlen(r->path), n = strlen(end);

		if (!strcmp(r->method, method) && len >= n && !strcmp(r->path + len - n, end))
			return r;
	}
	return NULL;
}

static void answer(struct kube_request *r, enum kube_failure failure, const char *body)
{
	const struct kube_reply reply = {
		.failure = failure, .body = body, .len = strlen(body), .sentence = "It says no."};
	kube_reply_cb *cb = r->cb;
	void *arg = r->arg;

	kube_cancel(r);
	cb(arg, &reply);
}

static void answer_to(const char *method, const char *end, const char *body)
{
	struct kube_request *r = find(method, end);

	if (!r)
		fail_msg("nobody has asked: %s ...%s", method, end);
	else
		answer(r, KUBE_OK, body);
}

static const char cart[] = "{\"kind\":\"Deployment\",\"metadata\":{\"name\":\"cart\",\"namespace\":"
			   "\"shop\"},\"spec\":{"
			   "\"replicas\":1,\"selector\":{\"matchLabels\":{\"app\":\"cart\"}},"
			   "\"template\":{\"metadata\":{\"labels\":{\"app\":\"cart\"}},\"spec\":{"
			   "\"containers\":[{\"name\":\"web\",\"ports\":[{\"name\":\"http\","
			   "\"containerPort\":8080}]}]}}}}";
static const char services[] =
	"{\"items\":[{\"metadata\":{\"name\":\"cart\",\"namespace\":\"shop\"},\"spec\":{"
	"\"selector\":{\"app\":\"cart\"},\"ports\":[{\"name\":\"http\",\"port\":80,"
	"\"targetPort\":\"http\",\"protocol\":\"TCP\"}]}}]}";

/* Whatever is asked before anything changes. */
static void answer_look(void)
{
	answer_to("GET", "deployments/cart", cart);
	answer(find("GET", "replicasets/cart"), KUBE_NOT_FOUND, "");
	answer(find("GET", "statefulsets/cart"), KUBE_NOT_FOUND, "");
	answer_to("GET", "/services", services);
	answer_to("GET", "/intercepts", "{\"items\":[]}");
	answer_to("GET", "/sessions", "{\"items\":[]}");
	answer_to("GET", "namespaces/shop", "{\"metadata\":{\"name\":\"shop\"}}");
	answer_to("GET", "/networkpolicies", "{\"items\":[]}");
}

/* The next is cart-1 of uid u1, then cart-2, ... */
static void answer_post(unsigned local, int64_t created)
{
	struct intercept in = {.created = (uint64_t)created, .nports = 1};
	json_t *object, *meta;
	char text[64];

	snprintf(in.name, sizeof(in.name), "cart");
	snprintf(in.workload, sizeof(in.workload), "cart");
	snprintf(in.ns, sizeof(in.ns), "shop");
	snprintf(in.service, sizeof(in.service), "cart");
	in.port[0].local = (uint16_t)local;
	in.port[0].port = 80;
	in.port[0].target = 8080;
	object = intercept_to_object(&in, "ana", SESSION, "s1");
	meta = json_object_get(object, "metadata");
	snprintf(text, sizeof(text), "cart-%u", ++made);
	json_object_set_new(meta, "name", json_string(text));
	snprintf(text, sizeof(text), "u%u", made);
	json_object_set_new(meta, "uid", json_string(text));
	json_object_set_new(meta, "namespace", json_string("shop"));
	object_time_format(created, text);
	json_object_set_new(meta, "creationTimestamp", json_string(text));
	char *body = json_dumps(object, 0);
	json_decref(object);
	answer_to("POST", "/intercepts", body);
	free(body);
}

/* --- the session, and the manager --------------------------------------------------------------------- */

static json_t *snapshot;
static struct {
	rpc_cb *cb;
	void *arg;
} environment;

struct cluster *session_cluster(const struct session *s)
{
	return (struct cluster *)(uintptr_t)s;
}

struct link *session_link(struct session *s)
{
	return (struct link *)s;
}

json_t *session_intercepts(const struct session *s)
{
	(void)s;
	return snapshot;
}

enum session_state session_state(const struct session *s)
{
	(void)s;
	return SESSION_CONNECTED;
}

const char *session_namespace(const struct session *s)
{
	(void)s;
	return "shop";
}

static struct hello hello;

const struct hello *session_hello(const struct session *s)
{
	(void)s;
	return &hello;
}

struct kube_client *cluster_client(struct cluster *c)
{
	return (struct kube_client *)c;
}

const char *cluster_session_name(const struct cluster *c)
{
	(void)c;
	return SESSION;
}

const char *cluster_session_uid(const struct cluster *c)
{
	(void)c;
	return "s1";
}

const char *cluster_user(const struct cluster *c)
{
	(void)c;
	return "ana";
}

const char *cluster_manager_namespace(const struct cluster *c)
{
	(void)c;
	return "culvert";
}

bool link_up(const struct link *l)
{
	(void)l;
	return true;
}

int link_call(struct link *l, const char *method, json_t *params, nsec_t timeout, rpc_cb *cb,
	      void *arg)
{
	(void)l;
	(void)timeout;
	assert_string_equal(method, "environment");
	json_decref(params);
	environment.cb = cb;
	environment.arg = arg;
	return 0;
}

void control_progress(struct control_client *cl, const char *text)
{
	(void)cl;
	assert_true(*text);
}

static void tell(unsigned n, const char *phase, const char *message)
{
	char uid[16], object[32];

	snprintf(uid, sizeof(uid), "u%u", n);
	snprintf(object, sizeof(object), "cart-%u", n);
	json_array_append_new(snapshot, json_pack("{s:s, s:s, s:s, s:s}", "uid", uid, "object",
						  object, "phase", phase, "message", message));
}

static struct daemon d;

/* What it said before is forgotten, as with each snapshot. */
static void tell_one(unsigned n, const char *phase, const char *message)
{
	json_array_clear(snapshot);
	tell(n, phase, message);
	workloads_snapshot(&d);
}

static void answer_environment(void)
{
	json_t *result = json_pack("{s:{s:s}}", "environment", "COLOR", "green");

	environment.cb(environment.arg, result, 0, NULL);
	json_decref(result);
}

/* --- the command line ----------------------------------------------------------------------------------- */

struct rpc_request {
	bool answered;
	int code;
	char text[2048];
};

void rpc_reply(struct rpc_request *req, json_t *result)
{
	assert_false(req->answered);
	assert_non_null(result);
	req->answered = true;
	json_decref(result);
}

void rpc_fail(struct rpc_request *req, int code, const char *fmt, ...)
{
	va_list ap;

	assert_false(req->answered);
	assert_int_not_equal(code, 0);
	req->answered = true;
	req->code = code;
	va_start(ap, fmt);
	vsnprintf(req->text, sizeof(req->text), fmt, ap);
	va_end(ap);
}

static struct control_client *client(uintptr_t n)
{
	return (struct control_client *)n;
}

static void intercept(struct rpc_request *req, uintptr_t who, unsigned local)
{
	struct intercept_request r = {.nports = 1};
	json_t *params;

	snprintf(r.name, sizeof(r.name), "cart");
	r.port[0].local = (uint16_t)local;
	params = intercept_request_to_json(&r);
	workloads_intercept(&d, client(who), params, req);
	json_decref(params);
}

static void leave(struct rpc_request *req, const char *uid)
{
	json_t *params = json_pack("{s:s}", "name", "cart");

	if (uid)
		json_object_set_new(params, "uid", json_string(uid));
	workloads_leave(&d, client(9), params, req);
	json_decref(params);
}

/* As far as the wait for the manager. */
static void begin(struct rpc_request *req, uintptr_t who, unsigned local, int64_t created)
{
	intercept(req, who, local);
	answer_look();
	assert_string_equal(req->text, "");
	answer_post(local, created);
	answer_to("PATCH", "deployments/cart", "{}");
	assert_false(req->answered);
}

static int setup(void **state)
{
	(void)state;
	memset(&d, 0, sizeof(d));
	memset(&environment, 0, sizeof(environment));
	made = 0;
	d.base = event_base_new();
	d.session = (struct session *)&d;
	snapshot = json_array();
	return d.base && snapshot ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	workloads_session_end(&d);
	json_decref(snapshot);
	event_base_free(d.base);
	return TAILQ_EMPTY(&requests) && watches == 0 ? 0 : -1;
}

/* --- tests -------------------------------------------------------------------------------------------------- */

static void test_comes_into_force(void **state)
{
	struct rpc_request a = {0}, gone = {0};

	(void)state;
	begin(&a, 1, 3000, 100);
	tell_one(1, "Pending", "");
	assert_false(a.answered);
	tell_one(1, "Active", "");
	answer_environment();
	assert_true(a.answered);
	assert_int_equal(a.code, 0);
	leave(&gone, NULL);
	answer_to("DELETE", "intercepts/cart-1", "{}");
	assert_false(gone.answered); /* the manager has it yet */
	json_array_clear(snapshot);
	workloads_snapshot(&d);
	assert_true(gone.answered);
	assert_int_equal(gone.code, 0);
}

/* `leave` in one shell and Ctrl-C in the other: two deletions of one Intercept, answered in either order. */
static void crossing(bool leave_first)
{
	struct rpc_request a = {0}, gone = {0};
	struct kube_request *by_leave, *by_interrupt;

	made = 0;
	begin(&a, 1, 3000, 100);
	leave(&gone, NULL);
	by_leave = find("DELETE", "intercepts/cart-1");
	workloads_client_gone(&d, client(1));
	assert_true(a.answered);
	by_interrupt = TAILQ_LAST(&requests, requests);
	assert_ptr_not_equal(by_leave, by_interrupt);
	assert_string_equal(by_interrupt->method, "DELETE");
	if (leave_first) {
		answer(by_leave, KUBE_OK, "{}"); /* and with it the other is off */
	} else {
		answer(by_interrupt, KUBE_OK, "{}");
		answer(by_leave, KUBE_NOT_FOUND, "");
	}
	assert_true(gone.answered);
	assert_int_equal(gone.code, 0);
	assert_null(find("DELETE", "intercepts/cart-1"));
}

static void test_leave_crosses_an_interrupt(void **state)
{
	(void)state;
	crossing(true);
	crossing(false);
}

static void test_interrupted_while_posting(void **state)
{
	struct rpc_request a = {0};

	(void)state;
	intercept(&a, 1, 3000);
	answer_look();
	workloads_client_gone(&d, client(1));
	assert_non_null(find("POST", "/intercepts")); /* its answer names what has to go */
	answer_post(3000, 100);
	assert_true(a.answered);
	assert_null(find("PATCH", "deployments/cart"));
	answer_to("DELETE", "intercepts/cart-1", "{}");
}

/* A deletion that fails is tried again. */
static void test_nothing_stays_behind(void **state)
{
	struct rpc_request a = {0};

	(void)state;
	begin(&a, 1, 3000, 100);
	workloads_client_gone(&d, client(1));
	answer(find("DELETE", "intercepts/cart-1"), KUBE_UNREACHABLE, "");
	assert_null(find("DELETE", "intercepts/cart-1"));
	assert_int_equal(event_base_loop(d.base, EVLOOP_ONCE), 0);
	answer_to("DELETE", "intercepts/cart-1", "{}");
}

static void test_the_later_of_a_name_wins(void **state)
{
	struct rpc_request a = {0}, b = {0};

	(void)state;
	begin(&a, 1, 3000, 100);
	begin(&b, 2, 3001, 107);
	json_array_clear(snapshot);
	tell(1, "Failed", "Replaced by the newer intercept cart-2 of the same name.");
	tell(2, "Pending", "");
	workloads_snapshot(&d);
	assert_int_equal(a.code, RPC_FAILED);
	assert_non_null(strstr(a.text, "Replaced by"));
	assert_non_null(find("DELETE", "intercepts/cart-1"));
	assert_null(find("DELETE", "intercepts/cart-2"));
	tell_one(2, "Active", "");
	answer_environment();
	assert_true(b.answered);
	assert_int_equal(b.code, 0);
	answer_to("DELETE", "intercepts/cart-1", "{}");
}

/* The manager has not heard of the later one: that goes on, and then takes the place of this one. */
static void test_the_earlier_in_force_first(void **state)
{
	struct rpc_request a = {0}, b = {0};

	(void)state;
	begin(&a, 1, 3000, 100);
	begin(&b, 2, 3001, 107);
	tell_one(1, "Active", "");
	answer_environment();
	assert_int_equal(a.code, 0);
	assert_null(find("DELETE", "intercepts/cart-2"));
	json_array_clear(snapshot);
	tell(1, "Failed", "Replaced by the newer intercept cart-2 of the same name.");
	tell(2, "Active", "");
	workloads_snapshot(&d);
	answer_environment();
	assert_true(b.answered);
	assert_int_equal(b.code, 0);
	answer_to("DELETE", "intercepts/cart-1", "{}");
	assert_null(find("DELETE", "intercepts/cart-2"));
}

/* Of one second: the manager takes the older for the newer, and we know better. */
static void test_moved_within_a_second(void **state)
{
	struct rpc_request a = {0}, b = {0};

	(void)state;
	begin(&a, 1, 3000, 100);
	tell_one(1, "Active", "");
	answer_environment();
	begin(&b, 1, 3001, 100);
	json_array_clear(snapshot);
	tell(1, "Active", "");
	tell(2, "Failed", "Replaced by the newer intercept cart-1 of the same name.");
	workloads_snapshot(&d);
	assert_false(b.answered);
	answer_to("DELETE", "intercepts/cart-1", "{}");
	tell_one(2, "Active", "");
	answer_environment();
	assert_true(b.answered);
	assert_int_equal(b.code, 0);
}

/* Deleted between the look and the mark: what was made is taken back. */
static void test_workload_vanishes(void **state)
{
	struct rpc_request a = {0};

	(void)state;
	intercept(&a, 1, 3000);
	answer_look();
	answer_post(3000, 100);
	answer(find("PATCH", "deployments/cart"), KUBE_INVALID, "");
	assert_int_equal(a.code, RPC_FAILED);
	assert_non_null(strstr(a.text, "Deployment cart could not be marked"));
	answer_to("DELETE", "intercepts/cart-1", "{}");
}

/* Who may not look is told of rights, but of a namespace that is not there that it is not there. */
static void test_namespace_is_mistyped(void **state)
{
	static const char *const known[] = {"svc", "shop", "other"};
	struct rpc_request list = {0}, mine = {0};
	json_t *params = json_pack("{s:s}", "namespace", "shpo");

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		snprintf(hello.domain[hello.ndomains++], sizeof(hello.domain[0]), "%s", known[i]);
	workloads_list(&d, client(1), params, &list);
	while (!TAILQ_EMPTY(&requests))
		answer(TAILQ_FIRST(&requests), KUBE_FORBIDDEN, "");
	assert_int_equal(list.code, RPC_NOT_FOUND);
	assert_non_null(strstr(list.text, "no namespace shpo"));
	intercept(&mine, 1, 3000);
	while (!TAILQ_EMPTY(&requests))
		answer(TAILQ_FIRST(&requests), KUBE_FORBIDDEN, "");
	assert_int_equal(mine.code, RPC_FORBIDDEN);
	assert_string_equal(mine.text, "It says no.");
	json_decref(params);
	memset(&hello, 0, sizeof(hello));
}

/* An API server that is away is named as soon as the first question finds it so: the others are not waited for. */
static void test_api_server_is_away(void **state)
{
	static const enum kube_failure away[] = {KUBE_UNREACHABLE, KUBE_TIMEOUT};
	json_t *params = json_object();

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(away); i++) {
		struct rpc_request list = {0}, mine = {0};

		workloads_list(&d, client(1), params, &list);
		answer(find("GET", "/sessions"), away[i], "");
		assert_true(list.answered);
		assert_string_equal(list.text, "It says no.");
		assert_true(TAILQ_EMPTY(&requests));
		intercept(&mine, 1, 3000);
		answer(find("GET", "/networkpolicies"), away[i], "");
		assert_true(mine.answered);
		assert_string_equal(mine.text, "It says no.");
		assert_true(TAILQ_EMPTY(&requests));
	}
	json_decref(params);
}

/* A command that ends leaves its own intercept, not the one that took its place. */
static void test_leave_of_one_uid(void **state)
{
	struct rpc_request a = {0}, other = {0}, own = {0};

	(void)state;
	begin(&a, 1, 3000, 100);
	tell_one(1, "Active", "");
	answer_environment();
	leave(&other, "u7");
	assert_int_equal(other.code, RPC_NOT_FOUND);
	leave(&own, "u1");
	json_array_clear(snapshot);
	answer_to("DELETE", "intercepts/cart-1", "{}");
	assert_int_equal(own.code, 0);
	assert_true(own.answered);
}

/* The session ends while requests are at each of their steps. */
static void test_session_ends(void **state)
{
	struct rpc_request look = {0}, post = {0}, patch = {0}, wait = {0}, ask = {0}, list = {0},
			   gone = {0};
	struct rpc_request *all[] = {&look, &post, &patch, &wait, &ask, &list};
	json_t *none = json_object();

	(void)state;
	begin(&ask, 1, 3000, 100);
	tell_one(1, "Active", "");
	begin(&wait, 2, 3001, 101);
	intercept(&patch, 3, 3002);
	answer_look();
	answer_post(3002, 102);
	intercept(&post, 4, 3003);
	answer_look();
	intercept(&look, 5, 3004);
	workloads_list(&d, client(6), none, &list);
	json_decref(none);
	leave(&gone, NULL);
	workloads_session_end(&d);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
		assert_true(all[i]->answered);
		assert_int_equal(all[i]->code, RPC_NOT_CONNECTED);
	}
	assert_true(gone.answered);
	assert_true(TAILQ_EMPTY(&requests));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_comes_into_force, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leave_crosses_an_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupted_while_posting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_stays_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_later_of_a_name_wins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_earlier_in_force_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved_within_a_second, setup, teardown),
		cmocka_unit_test_setup_teardown(test_workload_vanishes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_namespace_is_mistyped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_api_server_is_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leave_of_one_uid, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_ends, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
