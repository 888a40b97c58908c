/* SPDX-License-Identifier: Apache-2.0 */
/* objects: workloads from real objects, what stands against them, and their marks. */
#include <errno.h>

#include "objects_data.h"

struct lab {
	json_t *deployments, *statefulsets, *replicasets, *services, *namespaces;
	struct workload w;
	struct error e;
};

static int begin(void **state)
{
	struct lab *l = calloc(1, sizeof(*l));

	l->deployments = data_load("deployments");
	l->statefulsets = data_load("statefulsets");
	l->replicasets = data_load("replicasets");
	l->services = data_load("services");
	l->namespaces = data_load("namespaces");
	*state = l;
	return 0;
}

static int end(void **state)
{
	struct lab *l = *state;

	json_decref(l->deployments);
	json_decref(l->statefulsets);
	json_decref(l->replicasets);
	json_decref(l->services);
	json_decref(l->namespaces);
	free(l);
	return 0;
}

static json_t *read_workload(struct lab *l, const json_t *list, const char *name)
{
	json_t *object = data_item(list, name);

	if (workload_from_object(&l->w, object, l->services, &l->e))
		fail_msg("%s", l->e.text);
	return object;
}

/* The workload's services as "NAME: PORTNAME/PORT->TARGET[u] ...; " */
static void is_workload(struct lab *l, const json_t *list, const char *name, const char *kind,
			const char *services)
{
	char text[2048] = "";
	size_t n = 0;

	read_workload(l, list, name);
	for (unsigned i = 0; i < l->w.nservices; i++) {
		const struct service *s = &l->w.service[i];

		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s:", i ? "; " : "", s->name);
		for (unsigned k = 0; k < s->nports; k++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %s/%u->%u%s",
					      s->port[k].name, s->port[k].port, s->port[k].target,
					      s->port[k].udp ? "u" : "");
	}
	assert_string_equal(workload_kind_name(l->w.kind), kind);
	assert_string_equal(l->w.name, name);
	assert_string_equal(l->w.ns, "shop");
	assert_string_equal(text, services);
}

static void test_workloads(void **state)
{
	struct lab *l = *state;

	is_workload(l, l->deployments, "cart", "deployment", "cart: web/80->8080");
	is_workload(l, l->deployments, "multi", "deployment",
		    "multi: http/80->8080 shared/7000->7000 side/15000->15000 dns/53->5353u "
		    "number/9000->9001 default/9100->9100; multi-by-number: /8081->8080");
	is_workload(l, l->deployments, "echo", "deployment",
		    "echo-canary: /80->8080; echo-stable: /80->8080");
	is_workload(l, l->deployments, "lonely", "deployment", "");
	is_workload(l, l->deployments, "signal", "deployment", "signal:");
	is_workload(l, l->statefulsets, "db", "statefulset",
		    "db: sql/5432->5432; db-first: /5432->5432");
	is_workload(l, l->replicasets, "bare", "replicaset", "bare: /80->8080");
}

static void test_order_of_services(void **state)
{
	struct lab *l = *state;
	json_t *items = json_object_get(l->services, "items"), *reversed = json_array();

	for (size_t i = json_array_size(items); i; i--)
		json_array_append(reversed, json_array_get(items, i - 1));
	assert_int_equal(
		workload_from_object(&l->w, data_item(l->deployments, "multi"), reversed, &l->e),
		0);
	json_decref(reversed);
	assert_int_equal(l->w.nservices, 2);
	assert_string_equal(l->w.service[0].name, "multi");
	assert_string_equal(l->w.service[1].name, "multi-by-number");
}

static void test_too_many_services(void **state)
{
	struct lab *l = *state;
	json_t *many = json_array();
	char name[16];

	for (int i = 99; i >= 0; i--) {
		snprintf(name, sizeof(name), "s-%02d", i);
		json_array_append_new(many, json_pack("{s:{s:s}, s:{s:{s:s}, s:[{s:i}]}}",
						      "metadata", "name", name, "spec", "selector",
						      "app", "cart", "ports", "port", 1000 + i));
	}
	assert_int_equal(
		workload_from_object(&l->w, data_item(l->deployments, "cart"), many, &l->e), 0);
	json_decref(many);
	assert_int_equal(l->w.nservices, WORKLOAD_SERVICES);
	for (unsigned i = 0; i < WORKLOAD_SERVICES; i++)
		assert_int_equal(l->w.service[i].port[0].target, 1000 + i);
}

static void must_fail(struct lab *l, const char *object, const char *sentence)
{
	json_t *j = data_text(object);

	l->e.text[0] = '\0';
	assert_int_equal(workload_from_object(&l->w, j, l->services, &l->e), -EINVAL);
	json_decref(j);
	if (!strstr(l->e.text, sentence))
		fail_msg("'%s' is not in: %s", sentence, l->e.text);
}

static void test_no_workload(void **state)
{
	struct lab *l = *state;

	must_fail(l, "{}", "'name' must be");
	must_fail(l, "[]", "'name' must be");
	must_fail(l, "{\"kind\":\"DaemonSet\"}", "a DaemonSet is no workload");
	must_fail(l, "{\"kind\":\"Deployment\",\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"}}",
		  "Deployment a has no pod template");
	must_fail(
		l,
		"{\"kind\":\"Deployment\",\"metadata\":{\"name\":\"a/../b\",\"namespace\":\"b\"}}",
		"must consist of letters");
	must_fail(l, "{\"kind\":\"Deployment\",\"metadata\":{\"name\":\"a\\u001b[2J\"}}",
		  "control character");
}

static void test_controller(void **state)
{
	struct lab *l = *state;
	const json_t *sets = json_object_get(l->replicasets, "items");

	assert_null(workload_controller(data_item(l->replicasets, "bare")));
	for (size_t i = 0; i < json_array_size(sets); i++) {
		const json_t *set = json_array_get(sets, i);
		const char *name = object_text(set, "metadata", "name", NULL);
		const char *owner = workload_controller(set);

		if (!strcmp(name, "bare"))
			continue;
		assert_non_null(owner);
		assert_memory_equal(owner, name, strlen(owner));
	}
}

static void obstacle(struct lab *l, const json_t *list, const char *name, const char *ns,
		     const char *sentence)
{
	const json_t *object = read_workload(l, list, name);

	workload_obstacle(&l->w, object, data_item(l->namespaces, ns), "culvert", &l->e);
	assert_string_equal(l->e.text, sentence);
}

static void test_obstacles(void **state)
{
	struct lab *l = *state;
	json_t *sets = json_object_get(l->replicasets, "items");

	obstacle(l, l->deployments, "cart", "shop", "");
	obstacle(l, l->deployments, "multi", "shop", "");
	obstacle(l, l->statefulsets, "db", "shop", "");
	obstacle(l, l->replicasets, "bare", "shop", "");
	obstacle(l, l->deployments, "cart", "gone",
		 "Deployment cart cannot be intercepted: its namespace shop is being deleted.");
	obstacle(l, l->deployments, "cart", "closed",
		 "Deployment cart cannot be intercepted: namespace shop has the label "
		 "culvert.dev/inject=disabled; take it away with: kubectl label namespace shop "
		 "culvert.dev/inject-");
	obstacle(
		l, l->deployments, "lonely", "shop",
		"Deployment lonely cannot be intercepted: no service in namespace shop selects its "
		"pods; make one with: kubectl expose deployment/lonely -n shop --port PORT");
	obstacle(
		l, l->deployments, "signal", "shop",
		"Deployment signal cannot be intercepted: service signal has no TCP or UDP port "
		"that "
		"leads to a container; a targetPort must be a number, or the name of a port that a "
		"container declares.");
	obstacle(l, l->deployments, "asleep", "shop",
		 "Deployment asleep cannot be intercepted: it is scaled to zero; start a pod with: "
		 "kubectl scale deployment/asleep -n shop --replicas=1");
	obstacle(l, l->deployments, "node-thing", "shop",
		 "Deployment node-thing cannot be intercepted: its pods use the node's network "
		 "(hostNetwork), where an agent would stand before the whole node's ports; run it "
		 "without hostNetwork.");
	obstacle(l, l->deployments, "private", "shop",
		 "Deployment private cannot be intercepted: its pods have the label "
		 "culvert.dev/inject=disabled; take it out of the pod template.");
	for (size_t i = 0; i < json_array_size(sets); i++) {
		const json_t *set = json_array_get(sets, i);

		if (strncmp(object_text(set, "metadata", "name", NULL), "cart-", 5) != 0)
			continue;
		assert_int_equal(workload_from_object(&l->w, set, l->services, &l->e), 0);
		workload_obstacle(&l->w, set, NULL, NULL, &l->e);
		assert_non_null(strstr(l->e.text, "belongs to Deployment cart: intercept that"));
		return;
	}
	fail_msg("no ReplicaSet of cart");
}

static void test_whose_namespace(void **state)
{
	struct lab *l = *state;
	const json_t *object = read_workload(l, l->deployments, "cart");

	workload_obstacle(&l->w, object, NULL, "shop", &l->e);
	assert_non_null(strstr(l->e.text, "namespace shop is that of culvert's own manager"));
	snprintf(l->w.ns, sizeof(l->w.ns), "kube-system");
	workload_obstacle(&l->w, object, NULL, NULL, &l->e);
	assert_non_null(strstr(l->e.text, "kube-system"));
}

static void note(struct lab *l, const json_t *list, const char *name, const char *sentence)
{
	const json_t *object = read_workload(l, list, name);

	workload_rollout_note(&l->w, object, &l->e);
	assert_string_equal(l->e.text, sentence);
}

static void test_rollout_notes(void **state)
{
	struct lab *l = *state;
	json_t *db = data_item(l->statefulsets, "db");
	json_t *rolling = json_object_get(
		json_object_get(json_object_get(db, "spec"), "updateStrategy"), "rollingUpdate");

	note(l, l->deployments, "cart", "");
	note(l, l->deployments, "echo",
	     "Deployment echo is paused, its pods stay as they are: kubectl rollout resume "
	     "deployment/echo -n shop");
	note(l, l->replicasets, "bare",
	     "ReplicaSet bare does not replace its pods by itself: they have to be evicted one by "
	     "one.");
	note(l, l->statefulsets, "careful",
	     "StatefulSet careful replaces a pod only when it is deleted (updateStrategy "
	     "OnDelete): "
	     "delete its pods one by one, the agent comes with the new ones.");
	note(l, l->statefulsets, "db",
	     "StatefulSet db replaces only pods from db-2 on (partition 2): the others get no "
	     "agent "
	     "until updateStrategy.rollingUpdate.partition is 0.");
	json_object_set_new(rolling, "partition", json_integer(3));
	note(l, l->statefulsets, "db",
	     "StatefulSet db holds back all its pods (partition 3): set "
	     "updateStrategy.rollingUpdate.partition to 0, or delete its pods one by one.");
	json_object_set_new(rolling, "partition", json_integer(0));
	note(l, l->statefulsets, "db", "");
}

static void test_paths(void **state)
{
	char path[80];

	(void)state;
	assert_int_equal(workload_path(path, sizeof(path), KIND_STATEFULSET, "shop", "db"), 0);
	assert_string_equal(path, "/apis/apps/v1/namespaces/shop/statefulsets/db");
	assert_int_equal(workload_path(path, sizeof(path), KIND_DEPLOYMENT, "shop", NULL), 0);
	assert_string_equal(path, "/apis/apps/v1/namespaces/shop/deployments");
	assert_int_equal(workload_path(path, sizeof(path), KIND_REPLICASET, NULL, NULL), 0);
	assert_string_equal(path, "/apis/apps/v1/replicasets");
	assert_int_equal(workload_path(path, 20, KIND_REPLICASET, NULL, NULL), -ENOSPC);
	assert_int_equal(workload_path(path, sizeof(path), KIND_HOST, "a", NULL), -EINVAL);
	assert_int_equal(workload_path(path, sizeof(path), KIND_DEPLOYMENT, "a/b", NULL), -EINVAL);
	assert_int_equal(workload_path(path, sizeof(path), KIND_DEPLOYMENT, "a", "../x"), -EINVAL);
}

/* --- marks ---------------------------------------------------------------------------------------------- */

static void marked(struct lab *l, const json_t *list, const char *name, bool redirect,
		   const char *text)
{
	const json_t *object = read_workload(l, list, name);
	struct mark m, again;
	char *got, *back;

	if (mark_from_workload(&m, &l->w, object, l->services, &l->e))
		fail_msg("%s", l->e.text);
	got = mark_format(&m);
	assert_string_equal(got, text);
	assert_int_equal(mark_needs_redirect(&m), redirect);
	assert_int_equal(mark_parse(&again, got, strlen(got), &l->e), 0);
	back = mark_format(&again);
	assert_string_equal(back, got);
	free(got);
	free(back);
}

static void test_marks(void **state)
{
	struct lab *l = *state;

	marked(l, l->deployments, "cart", false,
	       "{\"kind\":\"deployment\",\"name\":\"cart\",\"ports\":[{\"name\":\"http\","
	       "\"target\":"
	       "8080,\"how\":\"rename\"}]}");
	/* Another service uses 8080 by its number; of `dns` only UDP has a container's port. */
	marked(l, l->deployments, "multi", true,
	       "{\"kind\":\"deployment\",\"name\":\"multi\",\"ports\":["
	       "{\"name\":\"dns\",\"target\":5353,\"how\":\"rename\",\"protocol\":\"udp\"},"
	       "{\"name\":\"shared\",\"target\":7000,\"how\":\"rename\"},"
	       "{\"target\":8080,\"how\":\"redirect\"},"
	       "{\"target\":9001,\"how\":\"redirect\"},"
	       "{\"target\":9100,\"how\":\"redirect\"},"
	       "{\"name\":\"side\",\"target\":15000,\"how\":\"rename\"}]}");
	/* headless */
	marked(l, l->statefulsets, "db", true,
	       "{\"kind\":\"statefulset\",\"name\":\"db\",\"ports\":[{\"target\":5432,\"how\":"
	       "\"redirect\"}]}");
	marked(l, l->replicasets, "bare", true,
	       "{\"kind\":\"replicaset\",\"name\":\"bare\",\"ports\":[{\"target\":8080,\"how\":"
	       "\"redirect\"}]}");
	marked(l, l->deployments, "echo", false,
	       "{\"kind\":\"deployment\",\"name\":\"echo\",\"ports\":[{\"name\":\"http\","
	       "\"target\":"
	       "8080,\"how\":\"rename\"}]}");
}

static void test_nothing_to_mark(void **state)
{
	struct lab *l = *state;
	const json_t *object = read_workload(l, l->deployments, "signal");
	struct mark m;

	assert_int_equal(mark_from_workload(&m, &l->w, object, l->services, &l->e), -EINVAL);
	assert_string_equal(l->e.text,
			    "Deployment signal cannot be intercepted: no service leads to "
			    "a port of its pods.");
}

static void bad_mark(const char *text, const char *sentence)
{
	struct mark m;
	struct error e = {.text = ""};

	assert_int_equal(mark_parse(&m, text, strlen(text), &e), -EINVAL);
	if (!strstr(e.text, sentence) || !strstr(e.text, "Annotation culvert.dev/inject"))
		fail_msg("'%s' is not in: %s", sentence, e.text);
}

#define HEAD "{\"kind\":\"deployment\",\"name\":\"cart\",\"ports\":["

static void test_damaged_marks(void **state)
{
	static char long_text[MARK_TEXT_MAX + 2];

	(void)state;
	memset(long_text, ' ', sizeof(long_text) - 1);
	bad_mark(long_text, "is longer than 8192 bytes");
	bad_mark("", "is no JSON");
	bad_mark("[]", "'name' must be text");
	bad_mark("{\"kind\":\"host\",\"name\":\"cart\",\"ports\":[]}", "'kind' must be");
	bad_mark("{\"kind\":\"deployment\",\"name\":\"cart\",\"name\":\"b\"}", "is no JSON");
	bad_mark(HEAD "]}", "'ports' must be a list of 1 to 32");
	bad_mark(HEAD "{\"target\":0,\"how\":\"redirect\"}]}", "'target' must be a port");
	bad_mark(HEAD "{\"target\":1,\"how\":\"magic\"}]}", "'how' must be");
	bad_mark(HEAD "{\"target\":1,\"how\":\"redirect\",\"protocol\":\"sctp\"}]}", "'protocol'");
	bad_mark(HEAD "{\"target\":1,\"how\":\"rename\"}]}", "'name' must be");
	bad_mark(HEAD "{\"target\":1,\"how\":\"rename\",\"name\":\"A\"}]}", "'name' must be that");
	bad_mark(HEAD "{\"target\":1,\"how\":\"rename\",\"name\":\"80\"}]}", "'name' must be that");
	bad_mark(HEAD
		 "{\"target\":1,\"how\":\"redirect\"},{\"target\":1,\"how\":\"rename\",\"name\":"
		 "\"a\"}]}",
		 "port 1 is there twice");
}

static void test_mark_of(void **state)
{
	struct lab *l = *state;
	const char *text = HEAD "{\"target\":53,\"how\":\"redirect\",\"protocol\":\"udp\"}]}";
	json_t *body = mark_apply_body(KIND_DEPLOYMENT, "shop", "cart", text);
	json_t *pod = json_pack("{s:{s:{s:s}}}", "metadata", "annotations", MARK_ANNOTATION, text);
	json_t *none = data_item(l->deployments, "cart"), *remove = mark_remove_body();
	json_t *number = data_text("{\"metadata\":{\"annotations\":{\"culvert.dev/inject\":3}}}");
	struct mark m;

	assert_int_equal(mark_of(&m, none, &l->e), 0);
	assert_int_equal(mark_of(&m, number, &l->e), -EINVAL);
	assert_int_equal(mark_of(&m, pod, &l->e), 1);
	assert_int_equal(m.port[0].target, 53);
	assert_true(m.port[0].udp);
	assert_int_equal(mark_of(&m, body, &l->e), 1);
	assert_string_equal(object_text(body, "apiVersion", NULL), "apps/v1");
	assert_string_equal(object_text(body, "kind", NULL), "Deployment");
	assert_string_equal(object_text(body, "metadata", "namespace", NULL), "shop");
	/* As the API server does it: the merge takes the annotation away again. */
	assert_true(json_is_null(object_get(remove, "spec", "template", "metadata", "annotations",
					    MARK_ANNOTATION, NULL)));
	assert_int_equal(mark_of(&m, remove, &l->e), 0);
	json_decref(body);
	json_decref(pod);
	json_decref(remove);
	json_decref(number);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_workloads, begin, end),
		cmocka_unit_test_setup_teardown(test_order_of_services, begin, end),
		cmocka_unit_test_setup_teardown(test_too_many_services, begin, end),
		cmocka_unit_test_setup_teardown(test_no_workload, begin, end),
		cmocka_unit_test_setup_teardown(test_controller, begin, end),
		cmocka_unit_test_setup_teardown(test_obstacles, begin, end),
		cmocka_unit_test_setup_teardown(test_whose_namespace, begin, end),
		cmocka_unit_test_setup_teardown(test_rollout_notes, begin, end),
		cmocka_unit_test(test_paths),
		cmocka_unit_test_setup_teardown(test_marks, begin, end),
		cmocka_unit_test_setup_teardown(test_nothing_to_mark, begin, end),
		cmocka_unit_test(test_damaged_marks),
		cmocka_unit_test_setup_teardown(test_mark_of, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
