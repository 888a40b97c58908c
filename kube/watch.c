/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A watch that does not end: list page by page, then follow from the list's resourceVersion.
 *
 *   LISTING    pages of KUBE_PAGE objects; a failure starts the snapshot anew
 *   WATCHING   lines; each carries the resourceVersion to go on from. An end, orderly or not, leads to WATCHING again from
 *              there; 410 (as a status or as an ERROR line) to LISTING
 *
 * A failure waits 0.2 to 5 s, doubling, with jitter; progress makes it short again. `busy` counts callbacks of the user
 * that are running: memory stays until they return.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <sys/random.h>

#include "kube/internal.h"

enum {
	LIST_SECONDS = 60,
	WATCH_SECONDS =
		300, /* and up to twice that: a whole cluster's watches should not end at once */
	WATCH_GRACE = 30,
	RETRY_MS = 200,
	RETRY_MAX_MS = 5000,
	VERSION_MAX = 256,
};

struct kube_watch {
	struct kube_client *client;
	char *path, *query;
	const struct kube_watch_ops *ops;
	void *arg;
	struct kube_request *request;
	struct event *again;
	char version[VERSION_MAX]; /* "" = list first */
	char *more;		   /* the list goes on with this token */
	char *line;		   /* the beginning of a line */
	size_t len, room;
	unsigned tries; /* failures in a row */
	unsigned busy;
	bool stopped;
	TAILQ_ENTRY(kube_watch) link;
};

/* --- life ----------------------------------------------------------------------------------------------- */

static void watch_free(struct kube_watch *w)
{
	free(w->path);
	free(w->query);
	free(w->more);
	free(w->line);
	free(w);
}

void kube_watch_stop(struct kube_watch *w)
{
	if (!w || w->stopped)
		return;
	kube_cancel(w->request);
	w->request = NULL;
	if (w->again)
		event_free(w->again);
	TAILQ_REMOVE(&w->client->watches, w, link);
	w->stopped = true;
	if (!w->busy)
		watch_free(w);
}

void kube_watch_drop(struct kube_watch *w)
{
	kube_watch_stop(w);
}

/* After a callback: is there still a watch? */
static bool leave(struct kube_watch *w)
{
	if (--w->busy == 0 && w->stopped) {
		watch_free(w);
		return false;
	}
	return !w->stopped;
}

/* --- going on ------------------------------------------------------------------------------------------- */

static uint32_t random_number(void)
{
	uint32_t v = 0;

	while (getrandom(&v, sizeof(v), 0) != sizeof(v))
		;
	return v;
}

static void later(struct kube_watch *w)
{
	uint32_t top = MIN((uint32_t)RETRY_MS << MIN(w->tries, 6u), (uint32_t)RETRY_MAX_MS);
	uint32_t low = MAX(top / 2, (uint32_t)RETRY_MS),
		 ms = low + random_number() % (top - low + 1);
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	w->tries++;
	event_add(w->again, &tv);
}

static void trouble(struct kube_watch *w, const struct kube_reply *why)
{
	w->busy++;
	if (w->ops->trouble)
		w->ops->trouble(w->arg, why);
	if (leave(w))
		later(w);
}

static void trouble_of(struct kube_watch *w, enum kube_failure failure, const char *sentence)
{
	struct kube_judged j = {.reply = {.failure = KUBE_OK}};

	kube_judge_failure(&j, failure, "%s", sentence);
	trouble(w, &j.reply);
}

static void set_version(struct kube_watch *w, json_t *object)
{
	const char *v = json_string_value(
		json_object_get(json_object_get(object, "metadata"), "resourceVersion"));

	if (v && strlen(v) < sizeof(w->version))
		snprintf(w->version, sizeof(w->version), "%s", v);
}

static void forget(struct kube_watch *w)
{
	w->version[0] = '\0';
	free(w->more);
	w->more = NULL;
}

/* --- watching ------------------------------------------------------------------------------------------- */

int kube_watch_line(const char *line, size_t len, enum kube_line *kind, json_t **op)
{
	static const struct {
		const char *type;
		enum kube_line kind;
	} types[] = {
		{"ADDED", KUBE_LINE_PRESENT},	{"MODIFIED", KUBE_LINE_PRESENT},
		{"DELETED", KUBE_LINE_DELETED}, {"BOOKMARK", KUBE_LINE_BOOKMARK},
		{"ERROR", KUBE_LINE_ERROR},
	};
	json_t *root = json_loadb(line, len, 0, NULL);
	const char *type = json_string_value(json_object_get(root, "type"));
	json_t *object = json_object_get(root, "object");

	for (size_t i = 0; type && json_is_object(object) && i < ARRAY_SIZE(types); i++) {
		if (strcmp(type, types[i].type))
			continue;
		*kind = types[i].kind;
		*op = json_incref(object);
		json_decref(root);
		return 0;
	}
	json_decref(root);
	return -EPROTO;
}

static void stop_request(struct kube_watch *w)
{
	kube_cancel(w->request);
	w->request = NULL;
	w->len = 0;
}

/* The server's own words about why the watch cannot go on. */
static bool take_error(struct kube_watch *w, json_t *status)
{
	json_int_t code = json_integer_value(json_object_get(status, "code"));
	const char *message = json_string_value(json_object_get(status, "message"));
	char sentence[512];

	snprintf(sentence, sizeof(sentence), "the API server ended the watch of %.200s: %.200s",
		 w->path, message ? message : "no reason given");
	stop_request(w);
	/* An unknown error of the watch cache, too, is cured by a list only. */
	forget(w);
	if (code == 410)
		later(w);
	else
		trouble_of(w, KUBE_SERVER, sentence);
	return false;
}

/* false = stop taking lines (the watch may be gone). */
static bool take_line(struct kube_watch *w, const char *line, size_t len)
{
	enum kube_line kind;
	json_t *object;
	bool go_on = true;

	if (!len)
		return true;
	if (kube_watch_line(line, len, &kind, &object)) {
		stop_request(w);
		forget(w);
		trouble_of(w, KUBE_PROTOCOL, "the API server sent a watch event that is none");
		return false;
	}
	if (kind == KUBE_LINE_ERROR) {
		go_on = take_error(w, object);
	} else {
		set_version(w, object);
		w->tries = 0;
	}
	if (kind == KUBE_LINE_PRESENT || kind == KUBE_LINE_DELETED) {
		w->busy++;
		w->ops->object(w->arg, kind == KUBE_LINE_PRESENT ? KUBE_PRESENT : KUBE_DELETED,
			       object);
		go_on = leave(w);
	}
	json_decref(object);
	return go_on;
}

static int keep(struct kube_watch *w, const char *data, size_t len)
{
	if (w->len + len > KUBE_LINE_MAX)
		return -EFBIG;
	if (w->len + len > w->room) {
		size_t room = MAX(w->room * 2, w->len + len);
		char *bigger = realloc(w->line, room);

		if (!bigger)
			return -ENOMEM;
		w->line = bigger;
		w->room = room;
	}
	memcpy(w->line + w->len, data, len);
	w->len += len;
	return 0;
}

static void on_bytes(void *arg, const char *data, size_t len)
{
	struct kube_watch *w = arg;

	while (len) {
		const char *end = memchr(data, '\n', len);
		size_t n = end ? (size_t)(end - data) : len;
		size_t used = w->len;

		if ((used || !end) && keep(w, data, n)) {
			stop_request(w);
			forget(w);
			trouble_of(w, KUBE_TOO_LARGE,
				   "a watch event of the API server is too large");
			return;
		}
		if (!end)
			return;
		n = used ? w->len : n;
		w->len = 0;
		if (!take_line(w, used ? w->line : data, n))
			return;
		len -= (size_t)(end + 1 - data);
		data = end + 1;
	}
}

static void on_watched(void *arg, const struct kube_reply *reply)
{
	struct kube_watch *w = arg;

	w->request = NULL;
	w->len = 0;
	if (reply->failure == KUBE_EXPIRED)
		forget(w);
	if (reply->failure == KUBE_OK || reply->failure == KUBE_EXPIRED)
		later(w);
	else
		trouble(w, reply);
}

/* `query` of the user, ours behind it. */
static int make_query(struct kube_watch *w, char *query, size_t room, unsigned seconds)
{
	char number[32];
	int r = 0;

	if (snprintf(query, room, "%s", w->query) >= (int)room)
		return -ENOSPC;
	if (seconds) {
		snprintf(number, sizeof(number), "%u", seconds);
		r = kube_query(query, room, "watch", "true");
		r = r ? r : kube_query(query, room, "allowWatchBookmarks", "true");
		r = r ? r : kube_query(query, room, "resourceVersion", w->version);
		return r ? r : kube_query(query, room, "timeoutSeconds", number);
	}
	snprintf(number, sizeof(number), "%d", KUBE_PAGE);
	r = kube_query(query, room, "limit", number);
	return r || !w->more ? r : kube_query(query, room, "continue", w->more);
}

/* --- listing -------------------------------------------------------------------------------------------- */

static void go(struct kube_watch *w);

/* false = the watch is gone. */
static bool tell_items(struct kube_watch *w, json_t *items)
{
	json_t *item;
	size_t i;

	json_array_foreach(items, i, item)
	{
		w->busy++;
		w->ops->object(w->arg, KUBE_PRESENT, item);
		if (!leave(w))
			return false;
	}
	return true;
}

static bool tell_complete(struct kube_watch *w)
{
	w->busy++;
	w->ops->complete(w->arg);
	return leave(w);
}

static void take_page(struct kube_watch *w, json_t *root)
{
	json_t *meta = json_object_get(root, "metadata"), *items = json_object_get(root, "items");
	const char *more = json_string_value(json_object_get(meta, "continue"));

	free(w->more);
	w->more = more && *more ? strdup(more) : NULL;
	if (!tell_items(w, items))
		return;
	if (!w->more) {
		set_version(w, root);
		w->tries = 0;
		if (!tell_complete(w))
			return;
	}
	go(w);
}

static void on_listed(void *arg, const struct kube_reply *reply)
{
	struct kube_watch *w = arg;
	json_t *root;

	w->request = NULL;
	if (reply->failure) {
		forget(w);
		if (reply->failure == KUBE_EXPIRED)
			later(w);
		else
			trouble(w, reply);
		return;
	}
	root = json_loadb(reply->body, reply->len, 0, NULL);
	if (!json_is_object(json_object_get(root, "metadata"))) {
		forget(w);
		trouble_of(w, KUBE_PROTOCOL, "the API server's list is none");
	} else {
		take_page(w, root);
	}
	json_decref(root);
}

/* The next page, or the watch. */
static void go(struct kube_watch *w)
{
	struct kube_call call = {.path = w->path};
	unsigned seconds = *w->version ? WATCH_SECONDS + random_number() % WATCH_SECONDS : 0;
	cleanup(free_ptr) char *query = malloc(16384);
	bool begin = !seconds && !w->more;

	if (begin) {
		w->busy++;
		w->ops->begin(w->arg);
		if (!leave(w))
			return;
	}
	call.query = query;
	call.timeout = (seconds ? seconds + WATCH_GRACE : LIST_SECONDS) * NSEC_PER_SEC;
	call.max = seconds ? KUBE_LINE_MAX : 4 * (size_t)KUBE_ANSWER_MAX;
	if (!query || make_query(w, query, 16384, seconds) ||
	    kube_request(w->client, &call, seconds ? on_watched : on_listed, w, &w->request)) {
		forget(w);
		trouble_of(w, KUBE_UNREACHABLE, "out of memory for a watch");
		return;
	}
	if (seconds)
		w->request->stream = on_bytes;
}

static void on_again(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	go(arg);
}

int kube_watch_start(struct kube_watch **wp, struct kube_client *c, const char *path,
		     const char *query, const struct kube_watch_ops *ops, void *arg)
{
	struct timeval now = {.tv_sec = 0};
	struct kube_watch *w;

	if (*path != '/' || strpbrk(path, " \r\n#?") || (query && strpbrk(query, " \r\n#")) ||
	    (query && strlen(query) > 4096))
		return -EINVAL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->client = c;
	w->ops = ops;
	w->arg = arg;
	w->path = strdup(path);
	w->query = strdup(query ? query : "");
	w->again = event_new(c->base, -1, 0, on_again, w);
	if (!w->path || !w->query || !w->again || event_add(w->again, &now)) {
		if (w->again)
			event_free(w->again);
		watch_free(w);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&c->watches, w, link);
	*wp = w;
	return 0;
}
