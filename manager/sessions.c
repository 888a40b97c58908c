/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Laptops. A Session admits its key: it becomes a peer, and an initiation of that key is answered at once. One that
 * came a moment before its Session did is remembered and called back, so that connect waits for no retry.
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

	s->write = NULL;
	if (reply->failure && reply->failure != KUBE_NOT_FOUND) {
		log_debug("session of %s@%s: status: %s", s->o.user, s->o.client, reply->sentence);
		s->dirty = true; /* again at the next tick */
	} else if (s->dirty) {
		write_status(s);
	}
}

static void write_status(struct session *s)
{
	struct kubernetes *k = s->k;
	char path[160], seen[21], text[ADDR_STRLEN] = "";
	bool online = s->peer && s->peer->online;
	json_t *patch;

	if (s->write) {
		s->dirty = true;
		return;
	}
	if (s->peer && s->peer->rec.v4.family)
		ipaddr_format(&s->peer->rec.v4, text);
	snprintf(path, sizeof(path), "/apis/culvert.dev/v1alpha1/sessions/%s/status", s->o.name);
	patch = json_pack("{s:{s:s, s:s, s:s}}", "status", "phase", online ? "Connected" : "Away",
			  "address", text, "message",
			  s->peer ? "" : "No address of the manager's pool is free.");
	if (online && patch) {
		object_time_format((int64_t)(clock_real() / NSEC_PER_SEC), seen);
		json_object_set_new(json_object_get(patch, "status"), "lastSeen",
				    json_string(seen));
		s->seen_written = clock_boot();
	}
	s->dirty = true;
	if (patch && kube_merge(k->client, path, patch, "culvert", on_written, s, &s->write) == 0)
		s->dirty = false;
	json_decref(patch);
}

void session_touch(struct session *s)
{
	char text[ADDR_STRLEN] = "";
	bool online = s->peer && s->peer->online;

	if (s->peer && s->peer->rec.v4.family)
		ipaddr_format(&s->peer->rec.v4, text);
	if (s->write || s->dirty || strcmp(s->o.phase, online ? "Connected" : "Away") != 0 ||
	    strcmp(s->o.address, text) != 0)
		write_status(s);
}

/* --- coming and going ------------------------------------------------------------------------------------------ */

static void call_back(struct kubernetes *k, struct session *s)
{
	struct overlay *o = node_overlay(k->m->node);
	nsec_t now = clock_boot();

	for (int i = 0; i < STRANGERS; i++) {
		struct stranger *st = &k->stranger[i];

		if (!st->at || memcmp(st->pub, s->o.key, KEY_LEN) != 0)
			continue;
		if (now - st->at < STRANGER_TTL_S * NSEC_PER_SEC) {
			overlay_peer_set_path(s->peer->overlay, &st->from);
			overlay_peer_initiate(o, s->peer->overlay, true, now);
		}
		st->at = 0;
	}
}

void stranger_remember(struct kubernetes *k, const struct knock *knock)
{
	struct stranger *st = NULL;

	for (int i = 0; i < STRANGERS && !st; i++) {
		if (k->stranger[i].at && !memcmp(k->stranger[i].pub, knock->pub, KEY_LEN))
			st = &k->stranger[i];
	}
	if (!st)
		st = &k->stranger[k->next_stranger++ % STRANGERS];
	memcpy(st->pub, knock->pub, KEY_LEN);
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
	if (s->peer || s->o.deleting || (!k->feed[FEED_SESSIONS].complete && !*s->o.address))
		return;
	snprintf(name, sizeof(name), "%s@%s", s->o.user, *s->o.client ? s->o.client : "laptop");
	memcpy(rec.pub, s->o.key, KEY_LEN);
	s->peer = peer_new(k->m, name, &rec, PEER_REGISTERED);
	if (!s->peer)
		return;
	s->peer->session = s;
	give_address(s);
	/* It was here a moment ago, and will be again: its intercepts do not fall back for our restart. */
	if (!k->settled && !strcmp(s->o.phase, "Connected"))
		s->peer->online = s->peer->presumed = true;
	log_info("laptop %s: may connect", name);
	call_back(k, s);
	session_touch(s);
	records_changed(k);
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
	kube_cancel(s->write);
	free(s);
}

static void update(struct session *s, const struct session_object *o)
{
	s->generation = feed_generation(s->k, FEED_SESSIONS);
	s->o = *o;
	admit(s);
}

void sessions_object(struct kubernetes *k, const json_t *object, bool deleted)
{
	struct session_object o;
	struct session *s;
	struct error e;

	if (session_from_object(&o, object, &e)) {
		log_warn("%s", e.text);
		return;
	}
	s = session_find(k, o.name);
	/* The same name again is another object: a key comes back only with a new Session. */
	if (s && (deleted || strcmp(s->o.uid, o.uid) != 0)) {
		session_end(s);
		s = NULL;
	}
	if (deleted)
		return;
	if (!s) {
		if (k->session_table.count >= SESSIONS_MAX || !(s = calloc(1, sizeof(*s)))) {
			log_limited(&k->full, 60 * NSEC_PER_SEC, "too many sessions");
			return;
		}
		s->k = k;
		s->o = o;
		s->next = k->sessions;
		k->sessions = s;
		hash_insert(&k->session_table, &s->node,
			    hash_of(&k->session_table, o.name, strlen(o.name)));
	}
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
	if (reply->failure && reply->failure != KUBE_NOT_FOUND)
		log_warn("session: cannot be deleted: %s", reply->sentence);
}

static void expire(struct session *s)
{
	char path[160];
	struct kube_call call = {.method = "DELETE", .path = path};

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

		if (p && p->presumed && now - m->started > RESTART_GRACE_S * NSEC_PER_SEC) {
			p->presumed = false;
			peer_online(p, false);
		}
		if (s->dirty && !s->write)
			write_status(s);
	}
	if (now - k->sessions_swept < LOOK_EVERY_S * NSEC_PER_SEC)
		return;
	k->sessions_swept = now;
	for (struct session *s = k->sessions; s; s = s->next) {
		if (!s->o.deleting && today - s->o.renewed > (int64_t)m->cfg->session_timeout_s)
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
		free(s); /* the client is gone: no answer comes */
	}
	hash_fini(&k->session_table);
}
