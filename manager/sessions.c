/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Laptops. A Session admits its key: it becomes a peer, and an initiation of that key is answered at once. One that
 * came a moment before its Session did is kept and answered when that appears, so that connect waits for no retry.
 */
#include <stdio.h>

#include "base/log.h"
#include "manager/kubernetes.h"

struct session *session_find(const struct kubernetes *k, const char *name)
{
	uint64_t h = hash_of(&k->session_table, name, strlen(name));
	struct hash_node *n = hash_first(&k->session_table, h);

	for (; n; n = hash_next(n)) {
		struct session *s = container_of(n, struct session, node);

		if (!strcmp(s->o.name, name))
			return s;
	}
	return NULL;
}

/* --- status --------------------------------------------------------------------------------------------------- */

static void write_status(struct session *s);

static void on_written(void *arg, const struct kube_reply *reply)
{
	struct session *s = arg;

	if (!writer_answered(s->k, &s->status, reply))
		s->dirty = true;
	else if (s->dirty)
		write_status(s);
}

static const char *what_lacks(const struct session *s)
{
	if (!s->peer)
		return "Its key cannot be used; run 'culvert connect' again, which makes another.";
	return s->peer->rec.v4.family ? "" : "No address of the manager's pool is free.";
}

static void write_status(struct session *s)
{
	struct kubernetes *k = s->k;
	char path[160], seen[21], text[ADDR_STRLEN] = "";
	bool online = s->peer && s->peer->online;
	json_t *patch;

	s->dirty = true;
	if (!writer_ready(&s->status))
		return; /* its answer, or a tick, brings us here again */
	if (s->peer && s->peer->rec.v4.family)
		ipaddr_format(&s->peer->rec.v4, text);
	snprintf(path, sizeof(path), "/apis/culvert.dev/v1alpha1/sessions/%s/status", s->o.name);
	patch = json_pack("{s:{s:s, s:s, s:s}}", "status", "phase", online ? "Connected" : "Away",
			  "address", text, "message", what_lacks(s));
	if (online && patch) {
		object_time_format((int64_t)(clock_real() / NSEC_PER_SEC), seen);
		json_object_set_new(json_object_get(patch, "status"), "lastSeen",
				    json_string(seen));
		s->seen_written = clock_boot();
	}
	if (patch &&
	    kube_merge(k->client, path, patch, "culvert", on_written, s, &s->status.request) == 0)
		s->dirty = false;
	json_decref(patch);
}

void session_touch(struct session *s)
{
	char text[ADDR_STRLEN] = "";
	bool online = s->peer && s->peer->online;

	if (s->peer && s->peer->rec.v4.family)
		ipaddr_format(&s->peer->rec.v4, text);
	if (s->status.request || s->dirty ||
	    strcmp(s->o.phase, online ? "Connected" : "Away") != 0 ||
	    strcmp(s->o.address, text) != 0)
		write_status(s);
}

/* --- coming and going ------------------------------------------------------------------------------------------ */

/*
 * As if its first message came now. An initiation of ours instead could cross with it, and then the one of the lower key is
 * waited for.
 */
static void answer_now(struct kubernetes *k, struct session *s)
{
	struct overlay *o = node_overlay(k->m->node);
	uint8_t scratch[AEAD_HEAD + MSG_INITIATION_LEN + AEAD_TAIL];
	struct overlay_peer *whose;
	nsec_t now = clock_boot();
	struct pkt none;

	for (int i = 0; i < STRANGERS; i++) {
		struct stranger *st = &k->stranger[i];
		nsec_t when = st->at;

		if (!when || memcmp(st->pub, s->o.key, KEY_LEN) != 0)
			continue;
		st->at = 0;
		if (now - when < STRANGER_TTL_S * NSEC_PER_SEC)
			overlay_receive(o, &st->from, st->message, sizeof(st->message),
					scratch + AEAD_HEAD, &none, &whose, now);
	}
}

void stranger_remember(struct kubernetes *k, const struct knock *knock)
{
	struct stranger *st = NULL;

	if (knock->message_len != sizeof(st->message))
		return;
	for (int i = 0; i < STRANGERS && !st; i++) {
		if (k->stranger[i].at && !memcmp(k->stranger[i].pub, knock->pub, KEY_LEN))
			st = &k->stranger[i];
	}
	if (!st)
		st = &k->stranger[k->next_stranger++ % STRANGERS];
	memcpy(st->pub, knock->pub, KEY_LEN);
	memcpy(st->message, knock->message, sizeof(st->message));
	st->from = *knock->from;
	st->at = clock_boot();
}

/* `theirs` first: what the status says is what the laptop uses. */
static void give_address(struct session *s)
{
	struct manager *m = s->k->m;
	struct ipaddr theirs;

	if (ipaddr_parse(&theirs, s->o.address) == 0 && prefix_contains(&m->cfg->pool, &theirs) &&
	    !v4_taken(m, &theirs, s->peer))
		s->peer->rec.v4 = theirs;
	else if (v4_assign(m, s->peer, NULL))
		log_warn("laptop %s: no address of the pool is free", s->peer->name);
	v4_route(s->peer, true);
}

static void admit(struct session *s)
{
	struct kubernetes *k = s->k;
	struct peer_record rec = {.role = ROLE_LAPTOP};
	char name[PEER_NAME_MAX + 1];

	/* What the status says of addresses must be known before new ones are given. */
	if (s->peer || (!k->feed[FEED_SESSIONS].complete && !*s->o.address))
		return;
	snprintf(name, sizeof(name), "%s@%s", s->o.user, *s->o.client ? s->o.client : "laptop");
	memcpy(rec.pub, s->o.key, KEY_LEN);
	s->peer = peer_new(k->m, name, &rec, PEER_REGISTERED);
	if (!s->peer) {
		if (!s->dirty)
			write_status(s);
		return;
	}
	s->peer->session = s;
	give_address(s);
	/* It was here a moment ago, and will be again: its intercepts do not fall back for our restart. */
	if (!k->settled && !strcmp(s->o.phase, "Connected"))
		s->peer->online = s->peer->presumed = true;
	log_info("laptop %s: may connect", name);
	session_touch(s);
	records_changed(k);
	answer_now(k, s);
}

static void session_end(struct session *s)
{
	struct kubernetes *k = s->k;
	struct session **at = &k->sessions;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	hash_remove(&k->session_table, &s->node);
	if (s->peer) {
		log_info("laptop %s: its session has ended", s->peer->name);
		s->peer->session = NULL;
		peer_free(s->peer);
	}
	records_changed(k);
	kube_cancel(s->status.request);
	free(s->login);
	free(s);
}

static void update(struct session *s, const struct session_object *o)
{
	int64_t now = (int64_t)(clock_real() / NSEC_PER_SEC);

	/* A renewal counts from when we hear of it; what lies in the future is no promise. */
	if (!s->renewed)
		s->renewed = MIN(o->renewed, now);
	else if (s->o.renewed != o->renewed)
		s->renewed = now;
	s->generation = feed_generation(s->k, FEED_SESSIONS);
	s->o = *o;
	admit(s);
}

static struct session *session_new(struct kubernetes *k, const struct session_object *o)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->k = k;
	s->o = *o;
	s->next = k->sessions;
	k->sessions = s;
	hash_insert(&k->session_table, &s->node,
		    hash_of(&k->session_table, o->name, strlen(o->name)));
	return s;
}

/* Nobody may fill the table for all others. */
static bool fits(struct kubernetes *k, const struct session_object *o, const json_t *object)
{
	unsigned same = 0;
	char path[160];

	for (const struct session *s = k->sessions; s; s = s->next)
		same += !strcmp(s->o.user, o->user);
	if (same < SESSIONS_PER_USER && k->session_table.count < SESSIONS_MAX)
		return true;
	snprintf(path, sizeof(path), "/apis/culvert.dev/v1alpha1/sessions/%s", o->name);
	status_refuse(k, object, path, "Expired",
		      same < SESSIONS_PER_USER
			      ? "The manager has as many Sessions as it takes; delete some."
			      : "Its user has as many Sessions as one may have; delete some.");
	return false;
}

void sessions_object(struct kubernetes *k, const json_t *object, bool deleted)
{
	struct session_object o;
	struct session *s;
	struct error e;

	if (session_from_object(&o, object, &e)) {
		log_limited(&k->odd, 10 * NSEC_PER_SEC, "%s", e.text);
		return;
	}
	/* It may last until what it owns is gone; who is meant to go goes now. */
	deleted |= o.deleting;
	s = session_find(k, o.name);
	/* The same name again is another object: a key comes back only with a new Session. */
	if (s && (deleted || strcmp(s->o.uid, o.uid) != 0)) {
		session_end(s);
		s = NULL;
	}
	if (deleted)
		return;
	if (!s && fits(k, &o, object))
		s = session_new(k, &o);
	if (s)
		update(s, &o);
}

void sessions_sweep(struct kubernetes *k, unsigned generation)
{
	for (struct session *s = k->sessions, *next; s; s = next) {
		next = s->next;
		if (s->generation != generation)
			session_end(s);
	}
}

void sessions_complete(struct kubernetes *k)
{
	for (struct session *s = k->sessions; s; s = s->next)
		admit(s);
}

/* --- by time --------------------------------------------------------------------------------------------------- */

static void on_deleted(void *arg, const struct kube_reply *reply)
{
	(void)arg;
	/* A conflict: it was renewed meanwhile. */
	if (reply->failure && reply->failure != KUBE_NOT_FOUND && reply->failure != KUBE_CONFLICT)
		log_warn("session: cannot be deleted: %s", reply->sentence);
}

static void expire(struct session *s)
{
	char path[160];
	struct kube_call call = {.method = "DELETE", .path = path};
	json_t *body =
		json_pack("{s:s, s:s, s:{s:s, s:s}}", "apiVersion", "v1", "kind", "DeleteOptions",
			  "preconditions", "uid", s->o.uid, "resourceVersion", s->o.version);
	cleanup(free_ptr) char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	if (!text)
		return;
	call.body = text;
	call.len = strlen(text);
	snprintf(path, sizeof(path), "/apis/culvert.dev/v1alpha1/sessions/%s", s->o.name);
	log_info("session of %s@%s: not renewed for %u s, deleted", s->o.user, s->o.client,
		 s->k->m->cfg->session_timeout_s);
	kube_request(s->k->client, &call, on_deleted, NULL, NULL);
}

void sessions_tick(struct kubernetes *k, nsec_t now)
{
	enum { LOOK_EVERY_S = 10 };
	int64_t today = (int64_t)(clock_real() / NSEC_PER_SEC);
	struct manager *m = k->m;

	for (struct session *s = k->sessions; s; s = s->next) {
		struct peer *p = s->peer;

		if (p && p->presumed && now - p->since > RESTART_GRACE_S * NSEC_PER_SEC) {
			p->presumed = false;
			peer_online(p, false);
		}
		if (s->dirty)
			write_status(s);
	}
	if (now - k->sessions_swept < LOOK_EVERY_S * NSEC_PER_SEC)
		return;
	k->sessions_swept = now;
	logins_tick(k, today);
	for (struct session *s = k->sessions; s; s = s->next) {
		if (today - s->renewed > (int64_t)m->cfg->session_timeout_s)
			expire(s);
		else if (s->peer && s->peer->online &&
			 now - s->seen_written > LAST_SEEN_EVERY_S * NSEC_PER_SEC)
			write_status(s);
		else
			session_touch(s);
	}
}

void sessions_free(struct kubernetes *k)
{
	while (k->sessions) {
		struct session *s = k->sessions;

		k->sessions = s->next;
		free(s->login);
		free(s); /* the client is gone: no answer comes */
	}
	hash_fini(&k->session_table);
}
