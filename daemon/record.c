/* SPDX-License-Identifier: Apache-2.0 */
/* Our Session object, from its POST to its DELETE. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/record.h"
#include "objects/objects.h"

enum {
	RENEW_SECONDS = 3600,
	RETRY_SECONDS = 60,
	KICK_SECONDS = 60, /* since the last renewal: networks may flap */
	END_SECONDS = 3,
};

#define MAKE_TIMEOUT  (20 * NSEC_PER_SEC)
#define SESSIONS_PATH "/apis/" OBJECTS_GROUP "/" OBJECTS_VERSION "/sessions"

struct record {
	struct event_base *base;
	struct kube_client *client;
	const struct record_ops *ops;
	void *arg;
	uint8_t key[KEY_LEN];
	char name[SESSION_NAME_LEN + 1], uid[64];
	char path[sizeof(SESSIONS_PATH) + 1 + SESSION_NAME_LEN];

	struct kube_request *making, *renewing, *deleting; /* NULL = not under way */
	struct kube_watch *watch;
	struct event *again; /* to renew */
	bool may_exist;	     /* asked for, and not refused */
	bool seen, gone;
	nsec_t renewed; /* clock_boot: it goes on during sleep */
	struct error trouble;

	struct event *finish; /* of record_end(): its limit, or its end */
	struct error left_behind;
	void (*done)(void *arg, const char *left_behind);
	void *done_arg;
};

static void set_timer(struct event *ev, unsigned seconds)
{
	const struct timeval tv = {.tv_sec = seconds};

	evtimer_add(ev, &tv);
}

static void stop(struct record *r)
{
	kube_cancel(r->renewing);
	kube_watch_stop(r->watch);
	r->renewing = NULL;
	r->watch = NULL;
	evtimer_del(r->again);
}

static void is_gone(struct record *r)
{
	r->gone = true;
	stop(r);
	r->ops->gone(r->arg);
}

/* --- renewing ------------------------------------------------------------------------------------------- */

static void on_renewed(void *arg, const struct kube_reply *reply)
{
	struct record *r = arg;

	r->renewing = NULL;
	if (reply->failure == KUBE_NOT_FOUND) {
		is_gone(r);
		return;
	}
	if (reply->failure) {
		error_set(&r->trouble, 0, "the session could not be renewed: %s", reply->sentence);
	} else {
		r->renewed = clock_boot();
		r->trouble.text[0] = '\0';
	}
	set_timer(r->again, reply->failure ? RETRY_SECONDS : RENEW_SECONDS);
}

static void renew(struct record *r)
{
	char now[21];
	json_t *patch;

	if (r->renewing)
		return;
	object_time_format((int64_t)(clock_real() / NSEC_PER_SEC), now);
	patch = json_pack("{s:{s:s}}", "spec", "renewTime", now);
	if (kube_merge(r->client, r->path, patch, "culvert", on_renewed, r, &r->renewing))
		set_timer(r->again, RETRY_SECONDS);
	json_decref(patch);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	renew(arg);
}

void record_kick(struct record *r)
{
	if (r->watch && clock_boot() - r->renewed > KICK_SECONDS * NSEC_PER_SEC)
		renew(r);
}

/* --- watching ------------------------------------------------------------------------------------------- */

static void on_watch_begin(void *arg)
{
	struct record *r = arg;

	r->seen = false;
}

static void on_watch_object(void *arg, enum kube_change change, json_t *object)
{
	struct record *r = arg;

	/* Another one of the same name is not ours. */
	if (strcmp(object_text(object, "metadata", "uid", NULL), r->uid))
		return;
	r->seen = true;
	if (change == KUBE_DELETED)
		is_gone(r);
}

static void on_watch_complete(void *arg)
{
	struct record *r = arg;

	if (!r->seen)
		is_gone(r);
}

static const struct kube_watch_ops watch_callbacks = {
	.begin = on_watch_begin,
	.object = on_watch_object,
	.complete = on_watch_complete,
};

static void start_watch(struct record *r)
{
	char query[128] = "", field[96];

	snprintf(field, sizeof(field), "metadata.name=%s", r->name);
	kube_query(query, sizeof(query), "fieldSelector", field);
	if (kube_watch_start(&r->watch, r->client, SESSIONS_PATH, query, &watch_callbacks, r))
		log_warn("session: it cannot be watched: out of memory");
}

/* --- the beginning -------------------------------------------------------------------------------------- */

static void delete_object(struct record *r);

static void on_made(void *arg, const struct kube_reply *reply)
{
	struct record *r = arg;
	json_t *object = reply->failure ? NULL : json_loadb(reply->body, reply->len, 0, NULL);

	r->making = NULL;
	snprintf(r->uid, sizeof(r->uid), "%s", object_text(object, "metadata", "uid", NULL));
	json_decref(object);
	if (reply->failure && reply->status)
		r->may_exist = false;
	if (r->done) { /* it is over already */
		delete_object(r);
		return;
	}
	if (!reply->failure) {
		r->renewed = clock_boot();
		set_timer(r->again, RENEW_SECONDS);
		start_watch(r);
	}
	r->ops->made(r->arg, reply);
}

int record_make(struct record *r, const char *user)
{
	char host[64] = "";
	cleanup(free_ptr) char *text = NULL;
	struct kube_call call = {.method = "POST", .path = SESSIONS_PATH, .timeout = MAKE_TIMEOUT};
	json_t *object;

	gethostname(host, sizeof(host) - 1);
	object = session_to_object(user, host, r->key);
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	call.body = text;
	call.len = text ? strlen(text) : 0;
	if (!text || kube_request(r->client, &call, on_made, r, &r->making))
		return -ENOMEM;
	r->may_exist = true;
	return 0;
}

/* --- the end -------------------------------------------------------------------------------------------- */

static void on_finish(evutil_socket_t fd, short what, void *arg)
{
	struct record *r = arg;

	(void)fd;
	(void)what;
	if (*r->left_behind.text)
		log_warn("quit: %s", r->left_behind.text);
	r->done(r->done_arg, r->left_behind.text);
}

static void leave_behind(struct record *r, const char *why)
{
	error_set(&r->left_behind, 0,
		  "the Session %s could not be deleted (%.400s); the manager ends it when it is no "
		  "longer renewed, or now: kubectl delete session %s",
		  r->name, why, r->name);
}

static void on_deleted(void *arg, const struct kube_reply *reply)
{
	struct record *r = arg;

	r->deleting = NULL;
	r->left_behind.text[0] = '\0';
	if (reply->failure && reply->failure != KUBE_NOT_FOUND)
		leave_behind(r, reply->sentence);
	set_timer(r->finish, 0);
}

static void delete_object(struct record *r)
{
	const struct kube_call call = {
		.method = "DELETE", .path = r->path, .timeout = END_SECONDS * NSEC_PER_SEC};

	if (!r->may_exist) {
		r->left_behind.text[0] = '\0';
		set_timer(r->finish, 0);
	} else if (kube_request(r->client, &call, on_deleted, r, &r->deleting)) {
		leave_behind(r, "out of memory");
		set_timer(r->finish, 0);
	}
}

void record_end(struct record *r, void (*done)(void *arg, const char *left_behind), void *arg)
{
	bool under_way = r->done != NULL;

	r->done = done;
	r->done_arg = arg;
	if (under_way)
		return;
	stop(r);
	if (r->gone || !r->may_exist) {
		set_timer(r->finish, 0);
		return;
	}
	leave_behind(r, "no answer in time");
	set_timer(r->finish, END_SECONDS);
	if (!r->making)
		delete_object(r);
}

/* --- life ----------------------------------------------------------------------------------------------- */

int record_new(struct record **rp, struct event_base *base, struct kube_client *client,
	       const uint8_t key[static KEY_LEN], const struct record_ops *ops, void *arg)
{
	struct record *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->base = base;
	r->client = client;
	r->ops = ops;
	r->arg = arg;
	memcpy(r->key, key, KEY_LEN);
	for (unsigned i = 0; i < KEY_LEN; i++)
		snprintf(r->name + 2 * i, 3, "%02x", key[i]);
	snprintf(r->path, sizeof(r->path), SESSIONS_PATH "/%s", r->name);
	r->again = evtimer_new(base, on_again, r);
	r->finish = evtimer_new(base, on_finish, r);
	if (!r->again || !r->finish) {
		record_free(r);
		return -ENOMEM;
	}
	*rp = r;
	return 0;
}

void record_free(struct record *r)
{
	if (!r)
		return;
	kube_cancel(r->making);
	kube_cancel(r->renewing);
	kube_cancel(r->deleting);
	kube_watch_stop(r->watch);
	if (r->again)
		event_free(r->again);
	if (r->finish)
		event_free(r->finish);
	free(r);
}

const char *record_name(const struct record *r)
{
	return r->name;
}

const char *record_uid(const struct record *r)
{
	return r->uid;
}

const char *record_trouble(const struct record *r)
{
	return r->trouble.text;
}
