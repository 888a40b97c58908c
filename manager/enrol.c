/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The static platform's peers: who is admitted, and what is kept of them.
 *
 * An invite is not stored: the secret of one is a keyed hash over its claim, which message 1 carries. So a new key with a
 * claim becomes a provisional peer with that secret, and only the confirmed handshake proves that it knew it (docs/protocol.md).
 * Then it is registered, on disk before anybody is told. A second key with the same invite is refused; a newer invite of a
 * name replaces the name's key, which is how a lost laptop is shut out.
 */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "manager/internal.h"

int enrol_save(struct manager *m, struct error *e)
{
	cleanup(free_ptr) const struct peer_record **records =
		calloc(m->npeers + 1, sizeof(*records));
	struct error why = {.text = ""};
	struct snapshot snap = {.stamp = m->stamp,
				.peer = records,
				.nintercepts = m->nintercepts,
				.intercept = (const struct intercept **)m->intercept,
				.nspent = m->nspent,
				.spent = m->spent};
	int r;

	if (!records)
		return error_errno(e, -ENOMEM, "state");
	for (const struct peer *p = m->peers; p; p = p->next) {
		if (p->state == PEER_REGISTERED)
			records[snap.npeers++] = &p->rec;
	}
	e = e ? e : &why;
	r = store_save(m->store, &snap, e);
	if (r == 0)
		m->saved_stamp = m->stamp;
	if (r && !m->failing)
		log_error("state: %s; changes are refused until it can be written", e->text);
	if (r == 0 && m->failing)
		log_info("state: written again");
	m->failing = r != 0;
	return r;
}

static struct peer *oldest_provisional(const struct manager *m)
{
	struct peer *oldest = NULL;

	for (struct peer *p = m->peers; p; p = p->next) {
		if (p->state == PEER_PROVISIONAL && (!oldest || p->since < oldest->since))
			oldest = p;
	}
	return oldest;
}

struct overlay_peer *enrol_admit(struct manager *m, const struct knock *k)
{
	const struct invite_claim *claim = k->claim;
	struct peer_record rec = {.role = ROLE_AGENT};
	struct peer *p;

	/* A stranger without an invite hears nothing, and leaves no line in the log. */
	if (!claim || (claim->role != ROLE_LAPTOP && claim->role != ROLE_AGENT) ||
	    !name_valid(claim->name))
		return NULL;
	/* Who has the secret proves it within a round trip: a flood without it must not keep him out. */
	if (m->nprovisional >= PEERS_PROVISIONAL_MAX)
		peer_free(oldest_provisional(m));
	memcpy(rec.pub, k->pub, KEY_LEN);
	memcpy(rec.invite, claim->id, INVITE_ID_LEN);
	invite_psk(rec.psk, store_secret(m->store), claim);
	rec.role = claim->role;
	rec.expiry = claim->expiry;
	snprintf(rec.name, sizeof(rec.name), "%s", claim->name);
	p = peer_new(m, rec.name, &rec, PEER_PROVISIONAL);
	crypto_wipe(&rec, sizeof(rec));
	if (!p)
		return NULL;
	return p->overlay;
}

/* One invite is enough to be refused with ever new keys: of those that may not enter only the latest may ask why. */
static void bound_refused(struct manager *m)
{
	struct peer *oldest = NULL;
	unsigned n = 0;

	for (struct peer *p = m->peers; p; p = p->next) {
		if ((p->state != PEER_REFUSED && p->state != PEER_UNSAVED) || !p->since)
			continue;
		n++;
		if (!oldest || p->since < oldest->since)
			oldest = p;
	}
	if (n > PEERS_REFUSED_MAX)
		oldest->since = 0; /* goes at the next tick */
}

static void refuse(struct peer *p, const char *why)
{
	static struct log_limit limit;

	peer_set_state(p, PEER_REFUSED);
	snprintf(p->refusal, sizeof(p->refusal), "%s", why);
	log_limited(&limit, NSEC_PER_SEC, "%s %s: refused: %s", peer_role_name(p), p->rec.name,
		    why);
	bound_refused(p->m);
}

static unsigned count_registered(const struct manager *m)
{
	unsigned n = 0;

	for (const struct peer *p = m->peers; p; p = p->next)
		n += p->state == PEER_REGISTERED;
	return n;
}

/* Where it is now, for a restart of ours. True when that is news. */
static bool note_endpoint(struct peer *p)
{
	const struct path *path = overlay_peer_path(p->overlay);

	if (!path || sockaddr_equal(&path->remote, &p->rec.endpoint))
		return false;
	p->rec.endpoint = path->remote;
	return true;
}

/* NULL: it may enter. */
static const char *why_refuse(const struct peer *p)
{
	static const char used[] =
		"This invite has been used already, with another key; ask for a new one "
		"(culvert-manager invite).";
	const struct manager *m = p->m;

	for (unsigned i = 0; i < m->nspent; i++) {
		if (!memcmp(m->spent[i].id, p->rec.invite, INVITE_ID_LEN))
			return used;
	}
	for (const struct peer *q = m->peers; q; q = q->next) {
		if (q != p && q->state == PEER_REGISTERED &&
		    !memcmp(q->rec.invite, p->rec.invite, INVITE_ID_LEN))
			return used;
	}
	if (p->rec.expiry < clock_real() / NSEC_PER_SEC)
		return "This invite has expired; ask for a new one (culvert-manager invite).";
	if (count_registered(m) >= STATE_PEERS_MAX)
		return "The manager has as many peers as it can hold.";
	return NULL;
}

static bool spent_expired(const struct spent_invite *s)
{
	return s->expiry < clock_real() / NSEC_PER_SEC;
}

/* Room for one more: those that have expired are refused for that. */
static int spend(struct manager *m, const struct peer_record *rec)
{
	unsigned n = 0;
	void *p;

	for (unsigned i = 0; i < m->nspent; i++) {
		if (!spent_expired(&m->spent[i]))
			m->spent[n++] = m->spent[i];
	}
	m->nspent = n;
	if (n >= STATE_SPENT_MAX)
		return -ENOSPC;
	p = realloc(m->spent, (n + 1) * sizeof(*m->spent));
	if (!p)
		return -ENOMEM;
	m->spent = p;
	memcpy(m->spent[n].id, rec->invite, INVITE_ID_LEN);
	m->spent[n].expiry = rec->expiry;
	m->nspent++;
	return 0;
}

int enrol_register(struct peer *p, struct error *e)
{
	struct manager *m = p->m;
	struct peer *old = peer_by_name(m, p->rec.role, p->rec.name);
	const char *why = why_refuse(p);
	int r = 0;

	if (why) {
		refuse(p, why);
		return error_set(e, -EPERM, "%s", why);
	}
	if (old && spend(m, &old->rec))
		return error_set(e, -ENOSPC,
				 "Too many invites of one name were used; wait until some expire.");
	if (old)
		p->rec.v4 = old->rec.v4;
	if (p->rec.role == ROLE_LAPTOP && !p->rec.v4.family)
		r = v4_assign(m, p, NULL);
	if (r)
		return error_set(e, r, "No address of the pool is free.");
	peer_set_state(p, PEER_REGISTERED);
	if (old)
		old->state = PEER_RETIRED;
	r = enrol_save(m, e);
	if (r) {
		if (old) {
			old->state = PEER_REGISTERED;
			m->nspent--;
		}
		peer_set_state(p, PEER_UNSAVED);
		return r;
	}
	v4_route(p, true);
	p->online = true;
	log_info("%s %s: registered by invite", peer_role_name(p), p->rec.name);
	if (old)
		log_info("%s %s: its former key is shut out: a newer invite was used",
			 peer_role_name(p), p->rec.name);
	m->epoch++;
	rules_changed(m, true);
	return 0;
}

void enrol_established(struct peer *p)
{
	struct error e;

	if (p->state == PEER_PROVISIONAL) {
		note_endpoint(p);
		peer_set_state(p, PEER_UNSAVED);
		enrol_register(p, &e); /* if that fails hello tries again, and says why */
		if (p->state == PEER_UNSAVED)
			bound_refused(p->m);
	} else if (p->state == PEER_REGISTERED && note_endpoint(p)) {
		/* At once: if we die in the next moment, our successor must know where to call. */
		enrol_save(p->m, NULL);
	}
}

/* --- restart ------------------------------------------------------------------------------------------------ */

static int restore_peer(void *arg, const struct peer_record *rec, struct error *e)
{
	struct manager *m = arg;
	struct peer *p = NULL;

	if (peer_by_name(m, rec->role, rec->name))
		return error_set(e, -EINVAL, "state: there are two peers called '%s'", rec->name);
	if (m->npeers < STATE_PEERS_MAX)
		p = peer_new(m, rec->name, rec, PEER_REGISTERED);
	if (!p)
		return error_set(e, -EINVAL, "state: peer '%s' cannot be restored", rec->name);
	p->online = p->presumed = true;
	if (rec->role == ROLE_AGENT)
		return 0;
	if (prefix_contains(&m->cfg->pool, &rec->v4) && !v4_taken(m, &rec->v4, p))
		return v4_route(p, true);
	p->rec.v4 = (struct ipaddr){0}; /* the pool was changed, or the file by hand */
	if (v4_assign(m, p, NULL))
		return error_set(e, -ENOSPC, "state: the pool has too few addresses for the peers");
	return v4_route(p, true);
}

static int restore_intercept(void *arg, const struct intercept *i, struct error *e)
{
	return rules_restore(arg, i, e);
}

static int restore_spent(void *arg, const struct spent_invite *s, struct error *e)
{
	struct manager *m = arg;
	struct peer_record rec = {.expiry = s->expiry};

	if (spent_expired(s))
		return 0;
	memcpy(rec.invite, s->id, INVITE_ID_LEN);
	return spend(m, &rec) ? error_set(e, -EINVAL, "state: too many spent invites") : 0;
}

int enrol_restore(struct manager *m, struct error *e)
{
	const struct store_visitor v = {restore_peer, restore_intercept, restore_spent, m};

	return store_load(m->store, &m->stamp, &v, e);
}

void enrol_reach_out(struct manager *m)
{
	nsec_t now = clock_boot();

	for (struct peer *p = m->peers; p; p = p->next) {
		struct path path;

		if (!p->rec.endpoint.sa.sa_family)
			continue;
		path = node_udp_path(m->node, &p->rec.endpoint);
		overlay_peer_set_path(p->overlay, &path);
		overlay_peer_initiate(node_overlay(m->node), p->overlay, true, now);
	}
}

/* --- by time ------------------------------------------------------------------------------------------------ */

static bool overdue(const struct peer *p, nsec_t now)
{
	nsec_t age = now - p->since;

	return p->state == PEER_RETIRED ||
	       (p->state == PEER_PROVISIONAL && age > PROVISIONAL_TTL_S * NSEC_PER_SEC) ||
	       ((p->state == PEER_REFUSED || p->state == PEER_UNSAVED) &&
		age > REFUSED_TTL_S * NSEC_PER_SEC);
}

void enrol_sweep(struct manager *m, nsec_t now)
{
	enum { SAVE_EVERY_S = 1 };
	bool dirty = m->stamp != m->saved_stamp;

	for (struct peer *p = m->peers, *next; p; p = next) {
		next = p->next;
		if (overdue(p, now)) {
			peer_free(p);
			continue;
		}
		if (p->presumed && now - m->started > RESTART_GRACE_S * NSEC_PER_SEC) {
			p->presumed = false;
			peer_online(p, false);
		}
	}
	if (now - m->last_sweep < SAVE_EVERY_S * NSEC_PER_SEC)
		return;
	m->last_sweep = now;
	for (struct peer *p = m->peers; p; p = p->next) {
		if (p->state == PEER_REGISTERED && note_endpoint(p))
			dirty = true;
	}
	if (dirty)
		enrol_save(m, NULL);
}
