/* SPDX-License-Identifier: Apache-2.0 */
/* What the manager is told leads to a workload, of answers of an API server that the test gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/ingress.h"
#include "kube/kube.h"
#include "objects/objects.h"

enum { ASKED_MAX = 16, OBJECTS = 32, MEMBERS = 64 /* that the manager takes */ };

/* --- the API server ----------------------------------------------------------------------------------- */

struct kube_request {
	char path[512];
	kube_reply_cb *cb;
	void *arg;
	bool open;
};

static struct kube_request asked[ASKED_MAX];
static unsigned nasked;

int kube_request(struct kube_client *c, const struct kube_call *call, kube_reply_cb *cb, void *arg,
		 struct kube_request **rp)
{
	(void)c;
	assert_true(nasked < ASKED_MAX);
	*rp = &asked[nasked++];
	**rp = (struct kube_request){.cb = cb, .arg = arg, .open = true};
	snprintf((*rp)->path, sizeof((*rp)->path), "%s", call->path);
	return 0;
}

void kube_cancel(struct kube_request *r)
{
	if (r)
		r->open = false;
}

int kube_query(char *query, size_t room, const char *key, const char *value)
{
	snprintf(query, room, "%s=%s", key, value);
	return 0;
}

/* The question whose path ends so. NULL = there is none. */
static void answer(const char *end, enum kube_failure failure, json_t *object)
{
	char *text = object ? json_dumps(object, 0) : NULL;
	const struct kube_reply reply = {.failure = failure,
					 .body = text ? text : "",
					 .len = text ? strlen(text) : 0,
					 .sentence = "it says no"};

	for (unsigned i = 0; i < nasked; i++) {
		size_t len = strlen(asked[i].path), n = strlen(end);

		if (!asked[i].open || len < n || strcmp(asked[i].path + len - n, end) != 0)
			continue;
		asked[i].open = false;
		asked[i].cb(asked[i].arg, &reply);
		break;
	}
	free(text);
	json_decref(object);
}

static void answer_list(const char *end, json_t *items)
{
	answer(end, KUBE_OK, json_pack("{s:o}", "items", items));
}

/* All that is open yet. */
static void answer_the_rest(enum kube_failure failure)
{
	for (unsigned i = 0; i < nasked; i++) {
		if (asked[i].open)
			answer(asked[i].path, failure, NULL);
	}
}

/* --- looking ------------------------------------------------------------------------------------------ */

static struct ingress_look *look;
static unsigned done;
static struct error failed;

static void on_done(void *arg, const struct error *why)
{
	(void)arg;
	done++;
	failed = (struct error){.text = ""};
	if (why)
		failed = *why;
}

static void begin(json_t *params)
{
	struct error e;

	nasked = done = 0;
	assert_int_equal(ingress_look_new(&look, NULL, params, on_done, NULL, &e), 0);
	json_decref(params);
}

static json_t *told(void)
{
	json_t *params = json_object();

	assert_int_equal(done, 1);
	assert_string_equal(failed.text, "");
	ingress_look_tell(look, params);
	ingress_look_free(look);
	return params;
}

/* An Ingress of many hosts, each with a service and a certificate of its own; the last one's leads to `cart`. */
static json_t *crowded(unsigned n)
{
	json_t *rules = json_array(), *hosts = json_array(), *many = json_array();

	for (unsigned i = 0; i < n; i++) {
		json_t *host = json_sprintf("host-%u.example.com", i);
		json_t *name = i + 1 < n ? json_sprintf("service-%u", i) : json_string("cart");

		json_array_append_new(rules, json_pack("{s:O, s:{s:[{s:{s:{s:o}}}]}}", "host", host,
						       "http", "paths", "backend", "service",
						       "name", name));
		json_array_append_new(hosts, host);
		json_array_append_new(many, json_pack("{s:s}", "ip", "192.0.2.1"));
	}
	return json_pack("{s:{s:s, s:s}, s:{s:o, s:[{s:o}]}, s:{s:{s:o}}}", "metadata", "name",
			 "all", "namespace", "shop", "spec", "rules", rules, "tls", "hosts", hosts,
			 "status", "loadBalancer", "ingress", many);
}

static void test_an_object_of_any_length_is_told_within_what_the_manager_takes(void **state)
{
	json_t *params, *one;

	(void)state;
	begin(json_pack("{s:s, s:s}", "namespace", "shop", "service", "cart"));
	answer_list("/ingresses", json_pack("[o]", crowded(1000)));
	answer_the_rest(KUBE_NOT_FOUND);
	params = told();
	one = json_array_get(json_object_get(params, "ingresses"), 0);
	assert_non_null(one);
	assert_int_equal(json_array_size(object_get(one, "spec", "rules", NULL)), 1);
	assert_string_equal(object_text(json_array_get(object_get(one, "spec", "rules", NULL), 0),
					"host", NULL),
			    "host-999.example.com");
	one = json_array_get(object_get(one, "spec", "tls", NULL), 0);
	assert_int_equal(json_array_size(json_object_get(one, "hosts")), 1);
	one = json_array_get(json_object_get(params, "ingresses"), 0);
	assert_int_equal(
		json_array_size(object_get(one, "status", "loadBalancer", "ingress", NULL)),
		MEMBERS);
	json_decref(params);
}

static void test_what_fits_is_told_whole(void **state)
{
	json_t *params, *one, *crowd = crowded(MEMBERS);

	(void)state;
	begin(json_pack("{s:s, s:s}", "namespace", "shop", "service", "cart"));
	answer_list("/ingresses", json_pack("[O]", crowd));
	answer_the_rest(KUBE_FORBIDDEN);
	params = told();
	one = json_array_get(json_object_get(params, "ingresses"), 0);
	assert_true(json_equal(json_object_get(one, "spec"), json_object_get(crowd, "spec")));
	assert_true(json_equal(json_object_get(one, "status"), json_object_get(crowd, "status")));
	json_decref(crowd);
	json_decref(params);
}

static void test_at_most_so_many_and_only_what_leads_there(void **state)
{
	json_t *params, *list = json_array();

	(void)state;
	begin(json_pack("{s:s, s:s}", "namespace", "shop", "service", "cart"));
	for (unsigned i = 0; i < OBJECTS + 8; i++)
		json_array_append_new(list, crowded(2));
	answer_list("/ingresses", list);
	answer_list("/httproutes", json_pack("[{s:{s:s}, s:{s:[]}}]", "metadata", "name", "other",
					     "spec", "rules"));
	answer_the_rest(KUBE_NOT_FOUND);
	params = told();
	assert_int_equal(json_array_size(json_object_get(params, "ingresses")), OBJECTS);
	assert_int_equal(json_array_size(json_object_get(params, "routes")), 0);
	json_decref(params);
}

static void test_nobody_answers_the_others_where_one_has_found_nobody(void **state)
{
	(void)state;
	begin(json_pack("{s:s, s:s}", "namespace", "shop", "workload", "cart"));
	answer("/ingresses", KUBE_UNREACHABLE, NULL);
	assert_int_equal(done, 1);
	assert_string_equal(failed.text, "it says no");
	for (unsigned i = 0; i < nasked; i++)
		assert_false(asked[i].open);
	ingress_look_free(look);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_an_object_of_any_length_is_told_within_what_the_manager_takes),
		cmocka_unit_test(test_what_fits_is_told_whole),
		cmocka_unit_test(test_at_most_so_many_and_only_what_leads_there),
		cmocka_unit_test(test_nobody_answers_the_others_where_one_has_found_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
