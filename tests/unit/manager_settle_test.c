/* SPDX-License-Identifier: Apache-2.0 */
/* Answers about previews that wait until what was changed is in force: for whom, how long, and what is said when it takes longer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "manager/kubernetes.h"

enum { MOST = 300, SETTLE_S = 3, SETTLING_MAX = 256 };

/* --- what settle.c asks of others ------------------------------------------------------------------------------------- */

static time_t ahead;
static uint64_t gateways_epoch; /* that all of them have confirmed */
static bool served, left_out, forgotten;
static unsigned changes;
static struct record record;

/* In libc's place. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);

	if (r == 0)
		ts->tv_sec += ahead;
	return r;
}

bool gateways_have(const struct kubernetes *k, uint64_t epoch)
{
	(void)k;
	return gateways_epoch >= epoch;
}

struct record *record_find(const struct kubernetes *k, const char *uid)
{
	(void)k;
	return forgotten || strcmp(uid, record.o.uid) ? NULL : &record;
}

bool record_is_served(const struct record *r, const struct pod *pod)
{
	(void)r;
	(void)pod;
	return served;
}

const char *rules_left_out(const struct peer *agent, const struct intercept *i)
{
	(void)agent;
	(void)i;
	return left_out ? "it has no memory for it" : NULL;
}

void records_changed(struct kubernetes *k)
{
	(void)k;
	changes++;
}

struct rpc_request {
	json_t *answer;
};

static struct rpc_request asked[MOST];
static unsigned nasked;

void rpc_reply(struct rpc_request *req, json_t *result)
{
	assert_null(req->answer);
	req->answer = result;
}

/* --- a manager, an agent, an Intercept with a preview ------------------------------------------------------------------- */

static struct manager manager;
static struct kubernetes kube;
static struct peer agent;
static struct pod pod;

static int set_up(void **unused)
{
	(void)unused;
	ahead = 0;
	served = true;
	left_out = forgotten = false;
	changes = nasked = 0;
	gateways_epoch = 0;
	memset(asked, 0, sizeof(asked));
	manager = (struct manager){.epoch = 7};
	agent = (struct peer){.online = true, .told = (struct rpc *)&agent};
	pod = (struct pod){.peer = &agent};
	kube = (struct kubernetes){.m = &manager, .pods = &pod};
	record = (struct record){.k = &kube, .verdict.in_force = true};
	snprintf(record.o.uid, sizeof(record.o.uid), "u-1");
	return 0;
}

static int tear_down(void **unused)
{
	(void)unused;
	settle_free(&kube);
	for (unsigned i = 0; i < nasked; i++)
		json_decref(asked[i].answer);
	return 0;
}

static struct rpc_request *ask(void)
{
	struct rpc_request *req = &asked[nasked++];

	assert_true(nasked <= MOST);
	settle_answer(&record, req, json_pack("{s:s}", "url", "https://x/"));
	return req;
}

static void waits(const struct rpc_request *req)
{
	settle_check(&kube);
	assert_null(req->answer);
}

/* `warning` NULL: none. */
static void answered(const struct rpc_request *req, const char *warning)
{
	const char *said = json_string_value(json_object_get(req->answer, "warning"));

	assert_non_null(req->answer);
	assert_string_equal(json_string_value(json_object_get(req->answer, "url")), "https://x/");
	if (warning)
		assert_non_null(said ? strstr(said, warning) : NULL);
	else
		assert_null(said);
}

static void all_confirm(void)
{
	gateways_epoch = pod.confirmed_epoch = manager.epoch;
}

/* --- cases -------------------------------------------------------------------------------------------------------------------- */

/* The object's status, the gateways and the agents: each for itself holds it up. */
static void test_all_that_is_waited_for(void **unused)
{
	struct rpc_request *req = ask();

	(void)unused;
	assert_int_equal(changes, 1); /* it is reconciled, or nobody would be told */
	all_confirm();
	waits(req); /* that was before */
	record.dirty = true;
	manager.epoch++;
	all_confirm();
	settle_told(&kube);
	waits(req);
	record.dirty = false;
	record.status.request = (struct kube_request *)&kube;
	waits(req);
	record.status.request = NULL;
	gateways_epoch--;
	waits(req);
	gateways_epoch++;
	pod.confirmed_epoch--;
	waits(req);
	pod.confirmed_epoch++;
	settle_check(&kube);
	answered(req, NULL);
	assert_int_equal(kube.nsettling, 0);
}

/* From agents that cannot take it, are away, or have no part in it, nothing is waited for. */
static void test_agents_that_do_not_count(void **unused)
{
	(void)unused;
	gateways_epoch = manager.epoch;
	for (unsigned i = 0; i < 7; i++) {
		struct rpc_request *req = ask();

		settle_told(&kube);
		waits(req);
		served = i != 0;
		left_out = i == 1;
		agent.online = i != 2;
		agent.told = i == 3 ? NULL : (struct rpc *)&agent;
		pod.peer = i == 4 ? NULL : &agent;
		record.verdict.in_force = i != 5;
		forgotten = i == 6;
		settle_check(&kube);
		answered(req, NULL);
		served = agent.online = record.verdict.in_force = true;
		left_out = forgotten = false;
		agent.told = (struct rpc *)&agent;
		pod.peer = &agent;
	}
}

/* An Intercept that is being deleted has no status to be written. */
static void test_one_that_goes(void **unused)
{
	struct rpc_request *req = ask();

	(void)unused;
	record.dirty = true;
	settle_told(&kube);
	all_confirm();
	waits(req);
	record.o.deleting = true;
	settle_check(&kube);
	answered(req, NULL);
}

/* What is changed later is waited for by those who ask later. */
static void test_each_waits_for_its_own_change(void **unused)
{
	struct rpc_request *first = ask(), *second;

	(void)unused;
	settle_told(&kube);
	second = ask();
	manager.epoch++;
	settle_told(&kube);
	gateways_epoch = pod.confirmed_epoch = manager.epoch - 1;
	settle_check(&kube);
	answered(first, NULL);
	waits(second);
	all_confirm();
	settle_check(&kube);
	answered(second, NULL);
}

/* Not longer than SETTLE_S: then the answer says what is missing. */
static void test_what_is_late_is_named(void **unused)
{
	static const char *const why[] = {
		"the manager has just started", "has not taken the Intercept's status",
		"a gateway has not confirmed", "an agent has not confirmed"};

	(void)unused;
	for (unsigned i = 0; i < ARRAY_SIZE(why); i++) {
		struct rpc_request *req = ask();

		if (i)
			settle_told(&kube);
		record.dirty = i == 1;
		gateways_epoch = manager.epoch - (i == 2);
		pod.confirmed_epoch = manager.epoch - (i == 3);
		ahead += SETTLE_S - 1;
		waits(req);
		ahead++;
		settle_check(&kube);
		answered(req, why[i]);
		manager.epoch++;
	}
	assert_int_equal(kube.nsettling, 0);
}

/* More than SETTLING_MAX do not wait; one that is answered makes room, wherever it stands among the others. */
static void test_too_many_wait(void **unused)
{
	struct rpc_request *req;

	(void)unused;
	for (unsigned i = 0; i < SETTLING_MAX; i++) {
		if (i == SETTLING_MAX / 2) {
			settle_told(&kube);
			manager.epoch++;
		}
		assert_null(ask()->answer);
	}
	settle_told(&kube);
	req = ask();
	answered(req, "too many others");
	assert_int_equal(changes, SETTLING_MAX + 1); /* it is changed all the same */
	gateways_epoch = pod.confirmed_epoch = manager.epoch - 1;
	settle_check(&kube);
	for (unsigned i = 0; i < SETTLING_MAX; i++)
		assert_int_equal(asked[i].answer != NULL, i < SETTLING_MAX / 2);
	assert_int_equal(kube.nsettling, SETTLING_MAX / 2);
	waits(ask());
}

/* The manager ends: nobody is left without an answer. */
static void test_the_end(void **unused)
{
	struct rpc_request *first = ask(), *second = ask();

	(void)unused;
	settle_free(&kube);
	answered(first, NULL);
	answered(second, NULL);
	assert_int_equal(kube.nsettling, 0);
	assert_null(kube.settling);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_all_that_is_waited_for),
		CASE(test_agents_that_do_not_count),
		CASE(test_one_that_goes),
		CASE(test_each_waits_for_its_own_change),
		CASE(test_what_is_late_is_named),
		CASE(test_too_many_wait),
		CASE(test_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
