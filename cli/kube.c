/* SPDX-License-Identifier: Apache-2.0 */
/* One request at a time on a loop of our own. */
#include "cli/kube.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>

enum { BUSY_TRIES = 10 };

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct cluster *c = arg;

	(void)sig, (void)what;
	c->interrupted = true;
	event_base_loopbreak(c->base);
}

static int watch_signals(struct cluster *c)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

	_Static_assert(ARRAY_SIZE(numbers) == ARRAY_SIZE(c->signals), "one event each");
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		c->signals[i] = evsignal_new(c->base, numbers[i], on_signal, c);
		if (!c->signals[i] || event_add(c->signals[i], NULL))
			return -ENOMEM;
	}
	return 0;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct cluster *c = arg;

	(void)fd, (void)what;
	event_base_loopbreak(c->base);
}

int cluster_open(struct cluster *c, const struct args *a, struct error *e)
{
	const struct kube_options options = {.interactive = isatty(0) != 0};
	const char *groups[VALUES_MAX + 1] = {NULL}, *const * given;
	unsigned n = args_many(a, "as-group", &given);
	struct kube_flags flags = {.kubeconfig = args_text(a, "kubeconfig"),
				   .context = args_text(a, "context"),
				   .as = args_text(a, "as"),
				   .as_groups = groups};
	struct kube_config *config;
	int err;

	memcpy(groups, given, n * sizeof(*groups));
	memset(c, 0, sizeof(*c));
	err = kube_config_load(&config, &flags, e);
	if (err)
		return err;
	signal(SIGPIPE, SIG_IGN);
	c->base = event_base_new();
	c->timer = c->base ? evtimer_new(c->base, on_timer, c) : NULL;
	if (!c->timer || watch_signals(c)) {
		kube_config_free(config);
		cluster_close(c);
		return error_errno(e, -ENOMEM, "event loop");
	}
	err = kube_client_new(&c->client, c->base, config, &options, e);
	if (err) {
		kube_config_free(config);
		cluster_close(c);
	}
	return err;
}

void cluster_close(struct cluster *c)
{
	kube_client_free(c->client);
	for (size_t i = 0; i < ARRAY_SIZE(c->signals); i++)
		if (c->signals[i])
			event_free(c->signals[i]);
	if (c->timer)
		event_free(c->timer);
	if (c->base)
		event_base_free(c->base);
	free(c->grant);
	memset(c, 0, sizeof(*c));
}

const char *cluster_name(const struct cluster *c)
{
	const struct kube_config *config = kube_client_config(c->client);
	const char *name = kube_config_context(config);

	return *name ? name : kube_config_server(config);
}

/* --- requests ---------------------------------------------------------------------------------------------- */

/* An answer that is waited for. */
struct waiter {
	struct cluster *c;
	struct kube_request *request;
	bool done;
	int result; /* enum kube_failure */
	int status;
	double retry_after;
	json_t *answer;
	struct error *e;
};

static void on_reply(void *arg, const struct kube_reply *r)
{
	struct waiter *w = arg;

	w->request = NULL;
	w->done = true;
	w->result = (int)r->failure;
	w->status = r->status;
	w->retry_after = r->retry_after;
	event_base_loopbreak(w->c->base);
	if (r->failure == KUBE_OK) {
		w->answer = r->len ? json_loadb(r->body, r->len, 0, NULL) : NULL;
		json_clean(w->answer);
		return;
	}
	error_set(w->e, 0, "%s", r->sentence);
	if (r->failure == KUBE_FORBIDDEN) {
		free(w->c->grant);
		w->c->grant = kube_denied_yaml(&r->denied);
	}
}

/* Waits for all of them. */
static int await(struct cluster *c, struct waiter *w, size_t n, struct error *e)
{
	for (size_t i = 0; i < n; i++) {
		while (!w[i].done && !c->interrupted)
			if (event_base_dispatch(c->base) < 0)
				return error_set(e, -EIO, "the event loop failed");
		if (c->interrupted)
			return error_set(e, -EINTR, "interrupted");
	}
	return 0;
}

static int finish(struct cluster *c, struct waiter *w, int started, json_t **answer,
		  struct error *e)
{
	int err = started ? error_errno(e, started, "a request") : await(c, w, 1, e);

	kube_cancel(w->request);
	if (!err)
		err = w->result;
	if (answer)
		*answer = steal_ptr(w->answer);
	json_decref(w->answer);
	return err;
}

/* The server is busy, or reads a new kind in; it may say how long. */
static bool is_busy(const struct waiter *w)
{
	enum { TOO_MANY_REQUESTS = 429 };

	return w->result == KUBE_SERVER && w->status == TOO_MANY_REQUESTS;
}

int cluster_call(struct cluster *c, const struct kube_call *call, json_t **answer, struct error *e)
{
	struct kube_call patient = *call;

	if (!patient.patience)
		patient.patience = KUBE_PATIENCE;
	for (unsigned tries = 1;; tries++) {
		struct waiter w = {.c = c, .e = e};
		int err = kube_request(c->client, &patient, on_reply, &w, &w.request);

		err = finish(c, &w, err, answer, e);
		if (!err || !is_busy(&w) || tries == BUSY_TRIES)
			return err;
		if (answer)
			json_decref(*answer);
		err = cluster_sleep(
			c, w.retry_after > 0 ? (unsigned)(MIN(w.retry_after, 10.0) * 1000) : 500,
			e);
		if (err)
			return err;
	}
}

int cluster_get(struct cluster *c, json_t **answer, struct error *e, const char *path,
		const char *query)
{
	const struct kube_call call = {.path = path, .query = query};

	return cluster_call(c, &call, answer, e);
}

int cluster_find(struct cluster *c, json_t **answer, struct error *e, const char *path)
{
	int err = cluster_get(c, answer, e, path, NULL);

	return err == KUBE_NOT_FOUND ? 0 : err;
}

int cluster_post(struct cluster *c, json_t **answer, struct error *e, const char *path,
		 const json_t *body)
{
	cleanup(free_ptr) char *text = json_dumps(body, JSON_COMPACT);
	const struct kube_call call = {
		.method = "POST", .path = path, .body = text, .len = text ? strlen(text) : 0};
	struct waiter w = {.c = c, .e = e};
	int err = text ? kube_request(c->client, &call, on_reply, &w, &w.request) : -ENOMEM;

	return finish(c, &w, err, answer, e);
}

int cluster_merge(struct cluster *c, json_t **answer, struct error *e, const char *path,
		  const json_t *patch)
{
	struct waiter w = {.c = c, .e = e};
	int err = kube_merge(c->client, path, patch, "culvert", on_reply, &w, &w.request);

	return finish(c, &w, err, answer, e);
}

int cluster_apply(struct cluster *c, json_t **answer, struct error *e, const char *path,
		  const json_t *object)
{
	struct waiter w = {.c = c, .e = e};
	int err = kube_apply(c->client, path, object, "culvert", true, on_reply, &w, &w.request);

	return finish(c, &w, err, answer, e);
}

int cluster_delete(struct cluster *c, struct error *e, const char *path, bool *was)
{
	const struct kube_call call = {
		.method = "DELETE", .path = path, .query = "propagationPolicy=Background"};
	int err = cluster_call(c, &call, NULL, e);

	if (was)
		*was = err == 0;
	return err == KUBE_NOT_FOUND ? 0 : err;
}

int cluster_post_all(struct cluster *c, json_t **answers, struct error *e, const char *path,
		     const json_t *bodies)
{
	size_t n = json_array_size(bodies), i;
	cleanup(free_ptr) struct waiter *w = calloc(n + 1, sizeof(*w));
	int err = w ? 0 : error_errno(e, -ENOMEM, "requests");

	for (i = 0; i < n && !err; i++) {
		cleanup(free_ptr) char *text = json_dumps(json_array_get(bodies, i), 0);
		const struct kube_call call = {.method = "POST",
					       .path = path,
					       .body = text,
					       .len = text ? strlen(text) : 0};

		w[i] = (struct waiter){.c = c, .e = e};
		err = text ? kube_request(c->client, &call, on_reply, &w[i], &w[i].request)
			   : -ENOMEM;
		if (err)
			error_errno(e, err, "requests");
	}
	n = i;
	if (!err)
		err = await(c, w, n, e);
	*answers = json_array();
	for (i = 0; i < n; i++) {
		kube_cancel(w[i].request);
		if (!err)
			err = w[i].result;
		json_array_append_new(*answers, w[i].answer ? w[i].answer : json_null());
	}
	if (err) {
		json_decref(*answers);
		*answers = NULL;
	}
	return err;
}

int cluster_sleep(struct cluster *c, unsigned ms, struct error *e)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000};

	if (!c->interrupted && evtimer_add(c->timer, &tv) == 0)
		while (!c->interrupted && evtimer_pending(c->timer, NULL))
			event_base_dispatch(c->base);
	return c->interrupted ? error_set(e, -EINTR, "interrupted") : 0;
}

/* --- what is said ------------------------------------------------------------------------------------------- */

int cluster_fail(const struct cluster *c, const struct error *e)
{
	cli_fail(e);
	if (c->grant)
		fprintf(stderr, "\nThis grants it (kubectl apply -f -):\n\n%s", c->grant);
	return EXIT_FAILED;
}

bool cluster_confirm(struct cluster *c, const char *question)
{
	char line[16];
	bool yes;

	if (!isatty(0) || !isatty(2))
		return false;
	/* Nothing is under way: here a signal ends us as it ends any program. */
	for (size_t i = 0; i < ARRAY_SIZE(c->signals); i++)
		event_del(c->signals[i]);
	fprintf(stderr, "%s [y/N] ", question);
	yes = fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y');
	for (size_t i = 0; i < ARRAY_SIZE(c->signals); i++)
		event_add(c->signals[i], NULL);
	return yes;
}
