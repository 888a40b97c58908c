/* SPDX-License-Identifier: Apache-2.0 */
/* The Session object: with an API server that answers when and what the test says, and a clock that the test turns. */
#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "daemon/record.h"

static const uint8_t key[KEY_LEN] = {0xab, 1};
#define NAME "ab01000000000000000000000000000000000000000000000000000000000000"

/* --- the API server, as far as record.c sees it ------------------------------------------------------- */

static struct {
	char method[8], path[256], query[128];
	kube_reply_cb *cb;
	void *arg;
	unsigned requests, watches;
	const struct kube_watch_ops *watch;
	void *watch_arg;
} api;
static nsec_t now;

nsec_t clock_boot(void)
{
	return now;
}

nsec_t clock_real(void)
{
	return now;
}

static int asked(const char *method, const char *path, kube_reply_cb *cb, void *arg,
		 struct kube_request **rp)
{
	snprintf(api.method, sizeof(api.method), "%s", method);
	snprintf(api.path, sizeof(api.path), "%s", path);
	api.cb = cb;
	api.arg = arg;
	api.requests++;
	*rp = (struct kube_request *)(void *)&api;
	return 0;
}

int kube_request(struct kube_client *c, const struct kube_call *call, kube_reply_cb *cb, void *arg,
		 struct kube_request **rp)
{
	(void)c;
	return asked(call->method, call->path, cb, arg, rp);
}

int kube_merge(struct kube_client *c, const char *path, const json_t *patch, const char *manager,
	       kube_reply_cb *cb, void *arg, struct kube_request **rp)
{
	const char *renewed =
		json_string_value(json_object_get(json_object_get(patch, "spec"), "renewTime"));

	(void)c;
	assert_string_equal(manager, "culvert");
	assert_string_equal(renewed, "1970-01-01T02:00:00Z");
	return asked("PATCH", path, cb, arg, rp);
}

void kube_cancel(struct kube_request *r)
{
	(void)r;
}

int kube_query(char *query, size_t room, const char *k, const char *value)
{
	snprintf(query, room, "%s=%s", k, value);
	return 0;
}

int kube_watch_start(struct kube_watch **wp, struct kube_client *c, const char *path,
		     const char *query, const struct kube_watch_ops *ops, void *arg)
{
	(void)c;
	(void)path;
	snprintf(api.query, sizeof(api.query), "%s", query);
	api.watch = ops;
	api.watch_arg = arg;
	api.watches++;
	*wp = (struct kube_watch *)(void *)&api;
	return 0;
}

void kube_watch_stop(struct kube_watch *w)
{
	api.watches -= w != NULL;
}

static void answer(enum kube_failure failure, int status)
{
	static const char body[] = "{\"metadata\":{\"uid\":\"u1\"}}";
	struct kube_reply r = {.failure = failure,
			       .status = status,
			       .body = body,
			       .len = sizeof(body) - 1,
			       .sentence = "it said no"};
	kube_reply_cb *cb = api.cb;

	assert_non_null(cb);
	api.cb = NULL;
	cb(api.arg, &r);
}

static void see(const char *uid, enum kube_change change)
{
	json_t *object = json_pack("{s:{s:s}}", "metadata", "uid", uid);

	api.watch->object(api.watch_arg, change, object);
	json_decref(object);
}

/* --- its owner ----------------------------------------------------------------------------------------- */

static struct event_base *base;
static struct record *record;
static unsigned made, gone, done;
static char left[1024];

static void on_made(void *arg, const struct kube_reply *reply)
{
	(void)arg;
	(void)reply;
	made++;
}

static void on_gone(void *arg)
{
	(void)arg;
	gone++;
}

static const struct record_ops ops = {.made = on_made, .gone = on_gone};

static void on_done(void *arg, const char *left_behind)
{
	snprintf(left, sizeof(left), "%s", left_behind);
	done++;
	event_base_loopbreak(arg);
}

static int set_up(void **state)
{
	(void)state;
	memset(&api, 0, sizeof(api));
	made = gone = done = 0;
	now = 3600 * NSEC_PER_SEC;
	base = event_base_new();
	return record_new(&record, base, NULL, key, &ops, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	record_free(record);
	event_base_free(base);
	return 0;
}

static void make(void)
{
	assert_int_equal(record_make(record, "ana"), 0);
	assert_string_equal(api.method, "POST");
}

/* --- tests --------------------------------------------------------------------------------------------- */

static void renewed_and_watched_while_it_lasts(void **state)
{
	(void)state;
	make();
	answer(KUBE_OK, 201);
	assert_int_equal(made, 1);
	assert_int_equal(api.watches, 1);
	assert_string_equal(api.query, "fieldSelector=metadata.name=" NAME);
	record_kick(record);
	assert_int_equal(api.requests, 1); /* it was made a moment ago */
	now += 3600 * NSEC_PER_SEC;
	record_kick(record);
	record_kick(record); /* under way */
	assert_int_equal(api.requests, 2);
	assert_string_equal(api.method, "PATCH");
	answer(KUBE_UNREACHABLE, 0);
	assert_non_null(strstr(record_trouble(record), "it said no"));
	record_kick(record);
	answer(KUBE_OK, 200);
	assert_string_equal(record_trouble(record), "");
	assert_int_equal(gone, 0);
}

static void gone_by_the_renewal(void **state)
{
	(void)state;
	make();
	answer(KUBE_OK, 201);
	now += 3600 * NSEC_PER_SEC;
	record_kick(record);
	answer(KUBE_NOT_FOUND, 404);
	assert_int_equal(gone, 1);
	assert_int_equal(api.watches, 0);
	record_end(record, on_done, base);
	event_base_dispatch(base);
	assert_int_equal(done, 1);
	assert_int_equal(api.requests, 2); /* nothing to delete */
}

/* One of our name that somebody else made later is not ours. */
static void gone_by_the_watch(void **state)
{
	(void)state;
	make();
	answer(KUBE_OK, 201);
	api.watch->begin(api.watch_arg);
	see("u1", KUBE_PRESENT);
	api.watch->complete(api.watch_arg);
	see("u2", KUBE_DELETED);
	assert_int_equal(gone, 0);
	api.watch->begin(api.watch_arg);
	see("u2", KUBE_PRESENT);
	api.watch->complete(api.watch_arg);
	assert_int_equal(gone, 1);
}

static void end_and_expect(const char *method, enum kube_failure failure, int status)
{
	record_end(record, on_done, base);
	assert_string_equal(api.method, method);
	answer(failure, status);
	if (!strcmp(method,
		    "POST")) { /* it was under way: now it is known what there is to delete */
		assert_string_equal(api.method, "DELETE");
		answer(KUBE_OK, 200);
	}
	assert_string_equal(api.path, "/apis/culvert.dev/v1alpha1/sessions/" NAME);
	event_base_dispatch(base);
	assert_int_equal(done, 1);
	assert_int_equal(api.watches, 0);
}

static void ends_while_it_is_made(void **state)
{
	(void)state;
	make();
	end_and_expect("POST", KUBE_OK, 201);
	assert_int_equal(made, 0);
	assert_string_equal(left, "");
}

/* No answer does not mean that there is none. */
static void ends_with_the_answer_lost(void **state)
{
	(void)state;
	make();
	answer(KUBE_TIMEOUT, 0);
	assert_int_equal(made, 1);
	end_and_expect("DELETE", KUBE_NOT_FOUND, 404);
	assert_string_equal(left, "");
}

static void what_was_refused_is_not_deleted(void **state)
{
	(void)state;
	make();
	answer(KUBE_FORBIDDEN, 403);
	record_end(record, on_done, base);
	event_base_dispatch(base);
	assert_int_equal(done, 1);
	assert_int_equal(api.requests, 1);
	assert_string_equal(left, "");
}

static void what_cannot_be_deleted_is_said(void **state)
{
	(void)state;
	make();
	answer(KUBE_OK, 201);
	end_and_expect("DELETE", KUBE_UNREACHABLE, 0);
	assert_non_null(strstr(left, "it said no"));
	assert_non_null(strstr(left, "kubectl delete session " NAME));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(renewed_and_watched_while_it_lasts, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(gone_by_the_renewal, set_up, tear_down),
		cmocka_unit_test_setup_teardown(gone_by_the_watch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ends_while_it_is_made, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ends_with_the_answer_lost, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_refused_is_not_deleted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_cannot_be_deleted_is_said, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
