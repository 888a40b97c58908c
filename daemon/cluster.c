/* SPDX-License-Identifier: Apache-2.0 */
/* cluster: what is asked of the API server, from the kubeconfig to a Session and streams to the manager. */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/cluster.h"
#include "daemon/orphans.h"
#include "daemon/record.h"
#include "daemon/refusal.h"
#include "kube/kube.h"
#include "objects/objects.h"
#include "rpc/rpc.h"

enum {
	HINT_SECONDS = 2,     /* then it is said what is waited for */
	START_SECONDS = 30,   /* for a manager that is there, but not ready */
	START_EVERY_MS = 300, /* it is asked again */
};

#define CALL_TIMEOUT (20 * NSEC_PER_SEC)

struct cluster {
	struct event_base *base;
	const struct cluster_ops *ops;
	void *arg;
	struct cluster_config cfg;
	struct kube_client *client;
	struct record *record; /* the Session */
	struct orphans *orphans;
	struct ways *ways; /* NULL = it is over: nothing is asked any more */
	char ns[64], manager_ns[64], user[USER_NAME_MAX + 1];

	/* What is asked at once; each handle is NULL when it is not under way. */
	struct kube_request *info_req, *who_req, *ns_req;
	struct told told;
	bool has_told, has_ns, asked_session, ready, had_stream;
	nsec_t began;

	struct stream *held; /* came before `ready` */
	enum way held_way, way;
	struct event *again; /* the ConfigMap */
	struct event *hint;
	struct ways_failure refused;			  /* the last of ways */
	void (*done)(void *arg, const char *left_behind); /* of cluster_end() */
	void *done_arg;
};

static void printf_like(2, 3) progress(struct cluster *c, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->ops->progress(c->arg, text);
}

static void set_timer(struct event *ev, unsigned ms)
{
	const struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	evtimer_add(ev, &tv);
}

/* --- failing -------------------------------------------------------------------------------------------- */

static void stop_asking(struct cluster *c)
{
	kube_cancel(c->info_req);
	kube_cancel(c->who_req);
	kube_cancel(c->ns_req);
	ways_free(c->ways);
	c->info_req = c->who_req = c->ns_req = NULL;
	c->ways = NULL;
	if (c->held)
		c->held->ops->abort(c->held);
	c->held = NULL;
	evtimer_del(c->again);
	evtimer_del(c->hint);
}

static void fail(struct cluster *c, int code, const char *text)
{
	if (!c->ways)
		return;
	stop_asking(c);
	c->ops->failed(c->arg, code, text);
}

static void fail_reply(struct cluster *c, const struct kube_reply *r)
{
	struct error e;

	if (r->failure == KUBE_FORBIDDEN)
		refusal_denied(&e, &r->denied, r->sentence);
	else
		error_set(&e, 0, "%s", r->sentence);
	fail(c, refusal_code(r->failure), e.text);
}

/* --- from asking to ready ------------------------------------------------------------------------------- */

/* A stream that will not come by itself: without UDP to try it is over. */
static void judge_refusal(struct cluster *c)
{
	struct error e;

	if (!c->ready || !c->refused.failure || c->way != WAY_NONE)
		return;
	/* What was granted once may be refused for a moment while the API server starts. */
	if (c->refused.failure != KUBE_FORBIDDEN || c->had_stream ||
	    (c->cfg.allowed == WAYS_AUTO && c->told.nudp)) {
		c->ops->no_stream(c->arg);
		return;
	}
	refusal_denied(&e, &c->refused.denied, c->refused.text.text);
	fail(c, RPC_FORBIDDEN, e.text);
}

static void hand_over(struct cluster *c, struct stream *s, enum way way)
{
	c->way = way;
	c->had_stream = true;
	c->refused.failure = KUBE_OK;
	c->ops->stream(c->arg, s, way);
}

static void become_ready(struct cluster *c)
{
	c->ready = true;
	evtimer_del(c->hint);
	c->ops->ready(c->arg);
	if (c->held) {
		c->held->cb = NULL;
		hand_over(c, steal_ptr(c->held), c->held_way);
	} else {
		judge_refusal(c);
	}
}

static void fail_session(struct cluster *c, const struct kube_reply *r)
{
	struct error e;

	if (r->failure == KUBE_NOT_FOUND)
		error_set(&e, 0,
			  "this cluster has no Session objects of " OBJECTS_GROUP
			  "/" OBJECTS_VERSION ": its culvert (%s) is damaged or of another "
			  "version than this one (%s). An administrator runs: culvert install",
			  c->told.version, CULVERT_VERSION);
	else if (r->failure == KUBE_INVALID)
		error_set(&e, 0,
			  "the cluster's culvert (%s) does not take the Session of this one (%s): "
			  "%.600s. Use the same version on both sides",
			  c->told.version, CULVERT_VERSION, r->sentence);
	else {
		fail_reply(c, r);
		return;
	}
	fail(c, refusal_code(r->failure), e.text);
}

static void on_made(void *arg, const struct kube_reply *r)
{
	struct cluster *c = arg;

	if (!c->ways)
		return; /* something else failed before */
	if (r->failure)
		fail_session(c, r);
	else
		become_ready(c);
}

static void on_gone(void *arg)
{
	struct cluster *c = arg;

	orphans_unmark(c->orphans);
	if (!c->ways)
		return;
	stop_asking(c);
	c->ops->ended(c->arg, "this session was ended by the cluster: its Session object was "
			      "deleted, by an administrator or because it had not been renewed "
			      "for too long; run `culvert connect` again");
}

static const struct record_ops record_callbacks = {.made = on_made, .gone = on_gone};

static void make_session(struct cluster *c)
{
	if (!c->has_told || !*c->user || !c->has_ns || c->asked_session)
		return;
	c->asked_session = true;
	orphans_mark(c->orphans, record_name(c->record));
	orphans_sweep(c->orphans);
	if (record_make(c->record, c->user))
		fail(c, RPC_INTERNAL, "out of memory");
}

static void ask_info(struct cluster *c);

static void not_ready(struct cluster *c, const char *why)
{
	struct error e;

	if (clock_boot() - c->began > START_SECONDS * NSEC_PER_SEC) {
		error_set(&e, 0,
			  "%s, %d s on; see: kubectl -n %s describe deployment culvert-manager",
			  why, START_SECONDS, c->manager_ns);
		fail(c, RPC_TIMEOUT, e.text);
		return;
	}
	set_timer(c->again, START_EVERY_MS);
}

static void fail_info(struct cluster *c, const struct kube_reply *r)
{
	bool usual = !strcmp(c->manager_ns, "culvert");
	struct error e;

	if (r->failure != KUBE_NOT_FOUND) {
		fail_reply(c, r);
		return;
	}
	error_set(&e, 0,
		  "culvert is not installed in namespace %s of this cluster (%s); an "
		  "administrator runs: culvert install%s%s",
		  c->manager_ns, cluster_server(c), usual ? "" : " -n ",
		  usual ? "" : c->manager_ns);
	fail(c, RPC_NOT_FOUND, e.text);
}

static void on_info(void *arg, const struct kube_reply *r)
{
	struct cluster *c = arg;
	json_t *object = r->failure ? NULL : json_loadb(r->body, r->len, 0, NULL);
	struct error e;
	int err;

	c->info_req = NULL;
	if (r->failure) {
		fail_info(c, r);
		return;
	}
	err = told_parse(&c->told, object, &e);
	json_decref(object);
	if (err == -EAGAIN) {
		not_ready(c, e.text);
	} else if (err) {
		fail(c, RPC_FAILED, e.text);
	} else if (c->cfg.allowed == WAYS_UDP && !c->told.nudp) {
		fail(c, RPC_FAILED,
		     "the manager tells no UDP address, which --transport udp needs; "
		     "leave that flag out, or an administrator runs: culvert "
		     "install --udp-service NodePort");
	} else {
		c->has_told = true;
		make_session(c);
	}
}

static void ask_info(struct cluster *c)
{
	char path[160];
	struct kube_call call = {.path = path, .timeout = CALL_TIMEOUT};

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/configmaps/culvert", c->manager_ns);
	if (kube_request(c->client, &call, on_info, c, &c->info_req))
		fail(c, RPC_INTERNAL, "out of memory");
}

static void on_who(void *arg, const struct kube_reply *r)
{
	struct cluster *c = arg;
	json_t *review = r->failure ? NULL : json_loadb(r->body, r->len, 0, NULL);

	c->who_req = NULL;
	if (r->failure) {
		fail_reply(c, r);
		return;
	}
	snprintf(c->user, sizeof(c->user), "%s",
		 object_text(review, "status", "userInfo", "username", NULL));
	json_decref(review);
	if (*c->user)
		make_session(c);
	else
		fail(c, RPC_FAILED, "the API server did not say who is asking");
}

static void ask_who(struct cluster *c)
{
	static const char review[] = "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":"
				     "\"SelfSubjectReview\"}";
	const struct kube_call call = {
		.method = "POST",
		.path = "/apis/authentication.k8s.io/v1/selfsubjectreviews",
		.body = review,
		.len = sizeof(review) - 1,
		.timeout = CALL_TIMEOUT,
	};

	if (kube_request(c->client, &call, on_who, c, &c->who_req))
		fail(c, RPC_INTERNAL, "out of memory");
}

static void on_ns(void *arg, const struct kube_reply *r)
{
	struct cluster *c = arg;
	struct error e;

	c->ns_req = NULL;
	if (r->failure == KUBE_NOT_FOUND) {
		error_set(&e, 0,
			  "the cluster (%s) has no namespace %s; `kubectl get namespaces` lists "
			  "them, -n names one",
			  cluster_server(c), c->ns);
		fail(c, RPC_NOT_FOUND, e.text);
	} else if (r->failure && r->failure != KUBE_FORBIDDEN) {
		fail_reply(c, r);
	} else {
		c->has_ns = true; /* who may not look is not kept from working in it */
		make_session(c);
	}
}

static void ask_ns(struct cluster *c)
{
	char path[160];
	struct kube_call call = {.path = path, .timeout = CALL_TIMEOUT};

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s", c->ns);
	if (kube_request(c->client, &call, on_ns, c, &c->ns_req))
		fail(c, RPC_INTERNAL, "out of memory");
}

/* --- streams -------------------------------------------------------------------------------------------- */

static void on_held(struct stream *s, unsigned ev, void *arg)
{
	struct cluster *c = arg;

	if (!(ev & STREAM_ERROR))
		return;
	s->ops->abort(s);
	c->held = NULL;
	ways_again(c->ways);
}

static void on_stream(void *arg, struct stream *s, enum way way)
{
	struct cluster *c = arg;

	if (c->ready) {
		hand_over(c, s, way);
		return;
	}
	c->held = s;
	c->held_way = way;
	stream_set(s, on_held, c);
}

static void on_refused(void *arg, const struct ways_failure *why)
{
	struct cluster *c = arg;

	c->refused = *why;
	judge_refusal(c);
}

static const struct ways_ops ways_callbacks = {.stream = on_stream, .failed = on_refused};

void cluster_stream_gone(struct cluster *c, const char *why)
{
	if (!c->ways)
		return;
	log_info("manager: the stream by %s ended (%s); making another", way_name(c->way), why);
	c->way = WAY_NONE;
	ways_again(c->ways);
}

void cluster_kick(struct cluster *c)
{
	if (!c->ways || !c->ready)
		return;
	record_kick(c->record);
	ways_start(c->ways);
}

/* --- life ----------------------------------------------------------------------------------------------- */

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask_info(arg);
}

static void on_hint(evutil_socket_t fd, short what, void *arg)
{
	struct cluster *c = arg;
	char plugin[192];

	(void)fd;
	(void)what;
	refusal_plugin(kube_client_config(c->client), plugin, sizeof(plugin));
	if (c->info_req && c->who_req)
		progress(c, "Waiting for the API server %s%s", cluster_server(c), plugin);
	else if (!c->has_told)
		progress(c, "Waiting for the manager in namespace %s to be ready", c->manager_ns);
	else
		progress(c, "Still waiting for the API server %s", cluster_server(c));
}

/* It goes into paths. */
static bool is_label(const char *s)
{
	return *s && strlen(s) < 64 && !s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-")] &&
	       *s != '-' && s[strlen(s) - 1] != '-';
}

static int load_config(struct kube_config **kc, const struct cluster_config *cfg, struct error *e)
{
	const struct kube_flags flags = {
		.kubeconfig = *cfg->kubeconfig ? cfg->kubeconfig : NULL,
		.environment = cfg->has_environment ? cfg->environment : NULL,
		.home = cfg->has_environment ? cfg->home : NULL,
		.context = *cfg->context ? cfg->context : NULL,
		.as = *cfg->as ? cfg->as : NULL,
	};

	return kube_config_load(kc, &flags, e);
}

static const char *or_text(const char *s, const char *other)
{
	return *s ? s : other;
}

static int open_client(struct cluster *c, struct error *e)
{
	struct kube_config *kc = NULL;
	int err = load_config(&kc, &c->cfg, e);

	if (err)
		return err;
	snprintf(c->ns, sizeof(c->ns), "%s", or_text(c->cfg.ns, kube_config_namespace(kc)));
	snprintf(c->manager_ns, sizeof(c->manager_ns), "%s", or_text(c->cfg.manager_ns, "culvert"));
	if (!is_label(c->ns) || !is_label(c->manager_ns))
		err = error_set(e, -EINVAL, "'%s' is no name of a namespace",
				is_label(c->ns) ? c->manager_ns : c->ns);
	if (!err)
		err = kube_client_new(&c->client, c->base, kc, NULL, e);
	if (err)
		kube_config_free(kc);
	return err;
}

static int make_parts(struct cluster *c, const struct identity *self, struct error *e)
{
	c->again = evtimer_new(c->base, on_again, c);
	c->hint = evtimer_new(c->base, on_hint, c);
	if (!c->again || !c->hint ||
	    record_new(&c->record, c->base, c->client, self->pub, &record_callbacks, c) ||
	    ways_new(&c->ways, c->base, c->client, c->manager_ns, c->cfg.allowed, &ways_callbacks,
		     c))
		return error_errno(e, -ENOMEM, "cluster");
	return 0;
}

static void free_cluster(struct cluster **cp)
{
	cluster_free(*cp);
}

int cluster_new(struct cluster **cp, struct event_base *base, const struct cluster_config *cfg,
		const struct identity *self, const struct cluster_ops *ops, void *arg,
		struct error *e)
{
	cleanup(free_cluster) struct cluster *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return error_errno(e, -ENOMEM, "cluster");
	c->base = base;
	c->ops = ops;
	c->arg = arg;
	c->cfg = *cfg;
	c->began = clock_boot();
	err = open_client(c, e);
	if (!err)
		err = make_parts(c, self, e);
	if (err)
		return err;
	c->orphans = orphans_new(c->client, c->cfg.state_dir, cluster_server(c));
	progress(c, "Asking the API server %s", cluster_server(c));
	set_timer(c->hint, 1000 * HINT_SECONDS);
	ways_start(c->ways);
	ask_info(c);
	ask_who(c);
	ask_ns(c);
	*cp = steal_ptr(c);
	return 0;
}

void cluster_free(struct cluster *c)
{
	if (!c)
		return;
	if (c->ways)
		stop_asking(c);
	record_free(c->record);
	orphans_free(c->orphans);
	kube_client_free(c->client);
	if (c->again)
		event_free(c->again);
	if (c->hint)
		event_free(c->hint);
	free(c);
}

static void on_end(void *arg, const char *left_behind)
{
	struct cluster *c = arg;

	if (!*left_behind)
		orphans_unmark(c->orphans);
	c->done(c->done_arg, left_behind);
}

void cluster_end(struct cluster *c, void (*done)(void *arg, const char *left_behind), void *arg)
{
	if (c->ways)
		stop_asking(c);
	c->done = done;
	c->done_arg = arg;
	record_end(c->record, on_end, c);
}

/* --- what others ask ------------------------------------------------------------------------------------ */

struct kube_client *cluster_client(struct cluster *c)
{
	return c->client;
}

const char *cluster_session_name(const struct cluster *c)
{
	return record_name(c->record);
}

const char *cluster_session_uid(const struct cluster *c)
{
	return record_uid(c->record);
}

const char *cluster_user(const struct cluster *c)
{
	return c->user;
}

const char *cluster_manager_namespace(const struct cluster *c)
{
	return c->manager_ns;
}

const char *cluster_namespace(const struct cluster *c)
{
	return c->ns;
}

const struct told *cluster_told(const struct cluster *c)
{
	return &c->told;
}

const char *cluster_context(const struct cluster *c)
{
	return kube_config_context(kube_client_config(c->client));
}

const char *cluster_server(const struct cluster *c)
{
	return kube_config_server(kube_client_config(c->client));
}

enum way cluster_way(const struct cluster *c)
{
	return c->way;
}

const char *cluster_trouble(const struct cluster *c)
{
	if (c->refused.failure)
		return c->refused.text.text;
	return record_trouble(c->record);
}

bool cluster_api_away(const struct cluster *c)
{
	return !ways_api_answers(c->refused.failure);
}

void cluster_explain_silence(const struct cluster *c, unsigned seconds, struct error *e)
{
	if (*cluster_trouble(c))
		error_set(e, 0, "there is no way to the manager: %.900s", cluster_trouble(c));
	else if (c->cfg.allowed == WAYS_UDP)
		error_set(e, 0,
			  "no answer over UDP in %u s; is it blocked on the way? Without "
			  "--transport udp the API server carries it",
			  seconds);
	else
		error_set(e, 0,
			  "the manager is reached, but does not answer this session's key in %u s; "
			  "see its log: kubectl -n %s logs deployment/culvert-manager",
			  seconds, c->manager_ns);
}

unsigned cluster_addresses(const struct cluster *c, struct ipaddr *out, unsigned max)
{
	unsigned n = kube_client_addresses(c->client, out, MIN((unsigned)KUBE_ADDRESSES, max));

	for (unsigned i = 0; i < c->told.nudp && n < max; i++)
		out[n++] = sockaddr_ip(&c->told.udp[i]);
	return n;
}

int cluster_compare(const struct cluster *c, const struct cluster_config *want, struct error *e)
{
	struct kube_config *kc = NULL;
	const struct kube_config *have = kube_client_config(c->client);
	int err = load_config(&kc, want, e), other;

	if (err)
		return err;
	other = strcmp(kube_config_server(kc), kube_config_server(have)) ||
		strcmp(kube_config_user(kc), kube_config_user(have)) ||
		strcmp(want->as, c->cfg.as) ||
		strcmp(or_text(want->manager_ns, "culvert"), c->manager_ns);
	if (!other && (strcmp(or_text(want->ns, kube_config_namespace(kc)), c->ns) ||
		       want->allowed != c->cfg.allowed))
		other = 2;
	kube_config_free(kc);
	return other;
}
