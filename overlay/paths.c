/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paths: several ways to one peer, and which of them is taken.
 *
 * Two roles. Who was given candidates (overlay_path_add) is the spoke: it probes them, judges and
 * decides. Who was not follows: to where the newest message came from that is no probe, and it
 * remembers, per slot, where the peer was heard else, in case that path is taken away.
 *
 *   NEW      never answered: probed with backoff            --answer--> UP
 *   UP       probed every KEEPALIVE_TIMEOUT; if data or a probe is unanswered it is asked again
 *            each PROBE_EVERY, and after SUSPECT_AFTER      ----------> SUSPECT
 *   SUSPECT  left at once if another is UP; three probes    --silence-> DEAD, --answer--> UP
 *   DEAD     probed with backoff, for ever                  --answer--> UP
 *
 * Only an answer counts, since it alone proves both directions. Times grow with the round trip, so
 * that a slow path is not a dead one. A better path is taken back when it has answered three times
 * in a row, and, if it keeps failing soon after that, not before a growing pause is over.
 *
 * Probes need a session; without one the initiations look for a path (paths_initiation()).
 */
#include "overlay/internal.h"

enum {
	BACKOFF_FIRST_MS = 200,
	BACKOFF_MAX_MS = 5000,
	PATIENCE_MAX = 5,   /* s: with a long round trip, or while something else comes */
	STABLE_TIME = 60,   /* s: who stayed as long has not failed soon */
	ANSWERS_WANTED = 3, /* in a row, before a better path is taken back */
	PROBES_PER_SECOND =
		32 /* that we answer, per peer: four paths, four times a second, twice */
};

#define FOR_EACH_WAY(w, p)                                                                         \
	for (struct way *w = (p)->ways; w < (p)->ways + PEER_PATHS; w++)                           \
		if (w->used)

static unsigned slot_of(const struct overlay_peer *p, const struct way *w)
{
	return (unsigned)(w - p->ways);
}

static struct way *find(struct overlay_peer *p, const struct path *path)
{
	if (p->active && path_equal(&p->active->path, path))
		return p->active;
	FOR_EACH_WAY (w, p)
		if (path_equal(&w->path, path))
			return w;
	return NULL;
}

static nsec_t suspect_after(const struct way *w)
{
	return MIN(MAX(SUSPECT_AFTER_MS * NSEC_PER_MSEC, 3 * w->rtt), SECONDS(PATIENCE_MAX));
}

static nsec_t probe_every(const struct way *w)
{
	return MIN(MAX(PROBE_EVERY_MS * NSEC_PER_MSEC, w->rtt + w->rtt / 4), SECONDS(2));
}

/* --- which one -------------------------------------------------------------------------------- */

static void tell_changed(struct overlay_peer *p)
{
	if (p->overlay->ops.path_changed)
		p->overlay->ops.path_changed(p->overlay->arg, p);
}

/* It failed: if that was soon after it was taken, let it prove itself for longer next time. */
static void hold_back(struct way *w, nsec_t now)
{
	if (now - w->active_since >= SECONDS(STABLE_TIME))
		w->hold = 0;
	else
		w->hold = MIN(MAX(2 * w->hold, SECONDS(1)), SECONDS(STABLE_TIME));
	w->not_before = now + w->hold;
}

/* Our first message over it makes the hub follow, and asks it to answer. */
static void activate(struct overlay_peer *p, struct way *w, nsec_t now)
{
	struct way *old = p->active;
	if (w == old)
		return;
	if (old) {
		if (old->state != PATH_UP && old->state != PATH_NEW)
			hold_back(old, now);
		old->waiting_since = 0;
	}
	p->active = w;
	if (w) {
		w->active_since = now;
		w->waiting_since = 0;
		w->probe_at = now;
	}
	tell_changed(p);
	if (w && old)
		send_moved(p, slot_of(p, old), now);
	else if (w)
		send_alive(p, now);
}

static bool better(const struct way *w, const struct way *than)
{
	return !than || w->rank < than->rank;
}

/* Whether a path that works is worth leaving another that works. */
static bool worth_it(const struct way *w, const struct way *active, nsec_t now)
{
	return w->rank < active->rank && w->answered >= ANSWERS_WANTED && now >= w->not_before;
}

static void choose(struct overlay_peer *p, nsec_t now)
{
	static const enum path_state hope[] = {PATH_SUSPECT, PATH_NEW, PATH_DEAD};
	struct way *a = p->active, *best = NULL;
	bool well = a && a->state == PATH_UP;
	FOR_EACH_WAY (w, p)
		if (w->state == PATH_UP && better(w, best) &&
		    (!well || w == a || worth_it(w, a, now)))
			best = w;
	for (unsigned i = 0; !best && !a && i < ARRAY_SIZE(hope); i++)
		FOR_EACH_WAY (w, p)
			if (w->state == hope[i] && better(w, best))
				best = w;
	if (best || !a)
		activate(p, best, now);
}

unsigned paths_candidates(const struct overlay_peer *p)
{
	unsigned n = 0;
	for (unsigned i = 0; p->spoke && i < PEER_PATHS; i++)
		n += p->ways[i].used;
	return MAX(n, 1U);
}

/* Least recently tried first, so that a path that swallows everything holds nothing up; the series
 * begins with the one in use. */
const struct path *paths_initiation(struct overlay_peer *p, nsec_t now)
{
	struct way *w = p->active;
	if (p->spoke && p->t.attempts)
		FOR_EACH_WAY (i, p)
			if (i->tried < w->tried || (i->tried == w->tried && better(i, w)))
				w = i;
	w->tried = now;
	return &w->path;
}

/* --- the spoke's judgement -------------------------------------------------------------------- */

static nsec_t backoff(struct overlay_peer *p, struct way *w)
{
	nsec_t d =
		(nsec_t)MIN(BACKOFF_FIRST_MS << MIN(w->tries, 8U), BACKOFF_MAX_MS) * NSEC_PER_MSEC;
	w->tries++;
	return d - d / 4 + overlay_jitter(p->overlay, d / 2);
}

static void send_probe(struct overlay_peer *p, struct way *w, nsec_t now)
{
	/* Where there is a choice: a path must carry full packets, both ways. */
	size_t len = paths_candidates(p) > 1 ? INNER_MTU : PROBE_LEN;
	uint8_t text[INNER_MTU] = {CONTROL_PROBE};
	struct probe *sent = &w->probes[w->nprobes++ % ARRAY_SIZE(w->probes)];
	*sent = (struct probe){.id = ++p->probe_id, .sent = now};
	put_le32(text + 1, sent->id);
	if (w->state == PATH_UP) {
		if (!w->asked_since)
			w->asked_since = now;
		/* Only late, it seems: no need to hurry, nor to forget the first of them. */
		bool late = w->last_receive > w->asked_since;
		w->probe_at = now + (late ? SECONDS(1) : probe_every(w));
	} else if (w->state == PATH_SUSPECT) {
		w->tries++;
		w->probe_at = now + probe_every(w);
	} else {
		w->probe_at = now + backoff(p, w);
		/* We have nothing else: perhaps it is the peer that has forgotten us. */
		if (w == p->active && w->tries > PROBES && !p->t.retry_at &&
		    now - p->last_receive > SECONDS(1))
			handshake_start(p, p->t.persist, now);
	}
	send_on(p, &w->path, slot_of(p, w), text, len, now);
}

/* Everything on which we might go on is asked, too: all of them may be gone at once. */
static void suspect(struct overlay_peer *p, struct way *w, nsec_t now)
{
	w->state = PATH_SUSPECT;
	w->silent_since = w->waiting_since ? w->waiting_since : w->asked_since;
	w->asked_since = w->waiting_since = 0;
	w->answered = w->tries = 0;
	w->probe_at = now;
	if (w != p->active)
		return;
	FOR_EACH_WAY (i, p)
		if (i->state == PATH_UP)
			i->probe_at = now;
	choose(p, now);
}

static void die(struct overlay_peer *p, struct way *w, nsec_t now)
{
	w->state = PATH_DEAD;
	w->tries = 0;
	w->probe_at = now + backoff(p, w);
	if (p->last_receive <= w->silent_since && !p->t.retry_at)
		handshake_start(p, p->t.persist, now);
}

/* What proves both directions: an answer, or a response. */
static void proven(struct overlay_peer *p, struct way *w, nsec_t rtt, nsec_t now)
{
	w->rtt = w->rtt ? (7 * w->rtt + rtt) / 8 : rtt;
	if (w->state != PATH_UP)
		w->answered = 0;
	w->state = PATH_UP;
	w->answered++;
	w->asked_since = w->waiting_since = 0;
	w->probe_at =
		now + (w->answered < ANSWERS_WANTED ? probe_every(w) : SECONDS(KEEPALIVE_TIMEOUT));
	choose(p, now);
	timers_update(p, now);
}

/* While other messages come a probe's answer may be late: it waits behind them. */
static nsec_t suspect_at(const struct way *w)
{
	nsec_t at = w->waiting_since ? w->waiting_since + suspect_after(w) : 0;
	if (w->asked_since) {
		bool heard = w->last_receive > w->asked_since;
		nsec_t by = w->asked_since + (heard ? SECONDS(PATIENCE_MAX) : suspect_after(w));
		at = at ? MIN(at, by) : by;
	}
	return at;
}

static nsec_t ask_at(const struct way *w)
{
	if (w->state != PATH_UP || !w->waiting_since || w->asked_since)
		return w->probe_at;
	return MIN(w->probe_at, w->waiting_since + suspect_after(w) / 2);
}

nsec_t paths_due(struct overlay_peer *p, nsec_t now)
{
	nsec_t next = 0;
	if (!p->spoke || !keypair_alive(p->current, now))
		return 0;
	FOR_EACH_WAY (w, p) {
		nsec_t at = ask_at(w);
		if (w->state == PATH_UP && suspect_at(w))
			at = MIN(at, suspect_at(w));
		next = next ? MIN(next, at) : at;
	}
	return next;
}

void paths_run(struct overlay_peer *p, nsec_t now)
{
	if (!p->spoke || !keypair_alive(p->current, now))
		return;
	FOR_EACH_WAY (w, p) {
		if (w->state == PATH_UP && suspect_at(w) && suspect_at(w) <= now)
			suspect(p, w, now);
		if (w->state == PATH_SUSPECT && w->tries == PROBES && w->probe_at <= now)
			die(p, w, now);
	}
	FOR_EACH_WAY (w, p)
		if (ask_at(w) <= now)
			send_probe(p, w, now);
}

void paths_sent_data(struct overlay_peer *p, nsec_t now)
{
	struct way *w = p->active;
	if (!p->spoke || w->waiting_since)
		return;
	w->waiting_since = now;
	timers_arm(p, now + suspect_after(w) / 2);
}

/* There is a session (again): who has not answered may do so now. */
void paths_session(struct overlay_peer *p, bool fresh, nsec_t now)
{
	if (!p->spoke)
		return;
	FOR_EACH_WAY (w, p) {
		if (fresh)
			w->asked_since = w->waiting_since = 0;
		if (fresh || w->state == PATH_NEW || w->state == PATH_DEAD) {
			w->tries = 0;
			w->probe_at = now;
		}
	}
}

void paths_kick(struct overlay_peer *p, nsec_t now)
{
	FOR_EACH_WAY (w, p) {
		w->tries = w->answered = 0;
		w->hold = w->not_before = 0;
		w->probe_at = now;
	}
}

/* --- following -------------------------------------------------------------------------------- */

/* The peer is at `from` in the path of this slot. `move`: that is where we send to, now. */
static void follow(struct overlay_peer *p, const struct path *from, unsigned slot, bool move,
		   nsec_t now)
{
	struct way *w = &p->ways[slot];
	bool same = w->used && path_equal(&w->path, from);
	if (!same && !move && w == p->active)
		return; /* a probe moves nothing that is in use */
	if (!same) {
		FOR_EACH_WAY (i, p) {
			if (!path_equal(&i->path, from))
				continue;
			move = move || i == p->active; /* it is called by another slot now */
			i->used = false;
		}
		*w = (struct way){.used = true, .state = PATH_UP};
	}
	w->path = *from; /* the local address may differ */
	w->last_receive = now;
	if (!move || (same && w == p->active))
		return;
	bool changed = !p->active || p->active == w || !path_equal(&p->active->path, from);
	p->active = w;
	if (changed)
		tell_changed(p);
	timers_update(p, now);
}

/* The hub talks to us over another path than ours: our move, or its memory, was lost. */
static void correct(struct overlay_peer *p, nsec_t now)
{
	if (!p->active || p->active->state != PATH_UP || now - p->corrected < SECONDS(1))
		return;
	p->corrected = now;
	send_alive(p, now);
}

void paths_received(struct overlay_peer *p, const struct path *from, unsigned slot, bool newest,
		    bool probe, nsec_t now)
{
	if (!p->spoke) {
		if (newest)
			follow(p, from, slot, !probe, now);
		return;
	}
	struct way *w = find(p, from);
	if (!w)
		return;
	w->last_receive = now;
	w->waiting_since = 0;
	if (w != p->active && newest && !probe)
		correct(p, now);
}

void paths_received_handshake(struct overlay_peer *p, const struct path *from, nsec_t rtt,
			      nsec_t now)
{
	struct way *w = find(p, from);
	if (!p->spoke) {
		w = w ? w : p->active ? p->active : p->ways;
		follow(p, from, slot_of(p, w), true, now);
	} else if (w) {
		w->last_receive = now;
		if (rtt && path_equal(&p->pending.path, from)) /* there and back */
			proven(p, w, rtt, now);
	}
}

/* --- probes and answers ----------------------------------------------------------------------- */

/* The answer is as long as the probe. */
void paths_probed(struct overlay_peer *p, const struct path *from, unsigned slot,
		  const uint8_t *text, size_t len, nsec_t now)
{
	uint8_t answer[INNER_MTU] = {CONTROL_ANSWER};
	if (now - p->answers_second >= NSEC_PER_SEC) {
		p->answers_second = now;
		p->answers = 0;
	}
	if (++p->answers > PROBES_PER_SECOND) {
		overlay_drop(p->overlay, DROP_LIMIT);
		return;
	}
	memcpy(answer + 1, text + 1, PROBE_LEN - 1);
	send_on(p, from, slot, answer, MIN(len, sizeof(answer)), now);
}

void paths_answered(struct overlay_peer *p, const struct path *from, const uint8_t *text,
		    nsec_t now)
{
	struct way *w = p->spoke ? find(p, from) : NULL;
	if (!w)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(w->probes); i++) {
		struct probe *sent = &w->probes[i];
		if (!sent->id || sent->id != get_le32(text + 1))
			continue;
		sent->id = 0;
		proven(p, w, now - sent->sent, now);
		return;
	}
}

/* --- what the caller sets and asks ------------------------------------------------------------ */

void overlay_peer_set_path(struct overlay_peer *p, const struct path *path)
{
	bool changed = path ? !p->active || !path_equal(&p->active->path, path) : p->active != NULL;
	memset(p->ways, 0, sizeof(p->ways));
	p->spoke = false;
	p->active = NULL;
	if (path) {
		p->ways[0] = (struct way){.used = true, .path = *path};
		p->active = &p->ways[0];
		/* A persistent peer may have waited for it: there is no `now` here, so look at once. */
		timers_arm(p, 1);
	}
	if (changed)
		tell_changed(p);
}

const struct path *overlay_peer_path(const struct overlay_peer *p)
{
	return p->active ? &p->active->path : NULL;
}

int overlay_path_add(struct overlay *o, struct overlay_peer *p, const struct path *path,
		     unsigned rank, nsec_t now)
{
	struct way *w = p->ways;
	(void)o;
	if (!p->spoke) {
		memset(p->ways, 0, sizeof(p->ways));
		p->active = NULL;
		p->spoke = true;
	} else if (find(p, path)) {
		return -EEXIST;
	}
	while (w < p->ways + PEER_PATHS && w->used)
		w++;
	if (w == p->ways + PEER_PATHS)
		return -ENOSPC;
	*w = (struct way){.used = true, .path = *path, .rank = rank, .probe_at = now};
	if (p->t.retry_at && !keypair_alive(p->current, now))
		p->t.retry_at = now; /* a series that found no path so far */
	if (!p->active)
		choose(p, now);
	timers_update(p, now);
	return 0;
}

/* Of a follower: where else the peer was heard. */
static void fall_back(struct overlay_peer *p, nsec_t now)
{
	struct way *best = NULL;
	FOR_EACH_WAY (w, p)
		if (w->last_receive && now - w->last_receive < SECONDS(PEER_DEAD_AFTER) &&
		    (!best || w->last_receive > best->last_receive))
			best = w;
	p->active = best;
	tell_changed(p);
}

void overlay_path_remove(struct overlay *o, struct overlay_peer *p, const struct path *path,
			 nsec_t now)
{
	struct way *w = find(p, path);
	bool was_active = w && w == p->active;
	(void)o;
	if (w)
		*w = (struct way){.used = false};
	if (was_active) {
		p->active = NULL;
		if (p->spoke)
			choose(p, now);
		else
			fall_back(p, now);
	}
	/* Nobody can answer what went there. */
	if (p->pending.index.value && path_equal(&p->pending.path, path)) {
		handshake_cancel(p);
		if (p->active && p->t.retry_at)
			p->t.retry_at = now;
	}
	timers_update(p, now);
}

static void transport_gone(struct overlay_peer *p, uint32_t transport, nsec_t now)
{
	const struct pending *pe = &p->pending;
	FOR_EACH_WAY (w, p) /* the others first, lest we move to one of them */
		if (w != p->active && w->path.transport == transport)
			*w = (struct way){.used = false};
	if (p->active && p->active->path.transport == transport) {
		struct path path = p->active->path;
		overlay_path_remove(p->overlay, p, &path, now);
	}
	if (pe->index.value && pe->path.transport == transport) {
		struct path path = pe->path;
		overlay_path_remove(p->overlay, p, &path, now);
	}
}

void overlay_transport_gone(struct overlay *o, uint32_t transport, nsec_t now)
{
	for (struct overlay_peer *p = o->peers; p; p = p->next)
		transport_gone(p, transport, now);
}

static enum path_state state_of(const struct overlay_peer *p, const struct way *w)
{
	if (p->spoke)
		return w->state;
	if (!w->last_receive)
		return PATH_NEW;
	return p->last_receive - w->last_receive < SECONDS(PEER_DEAD_AFTER) ? PATH_UP : PATH_DEAD;
}

unsigned overlay_peer_paths(const struct overlay_peer *p,
			    struct overlay_path_info out[static PEER_PATHS])
{
	unsigned n = 0;
	for (const struct way *w = p->ways; w < p->ways + PEER_PATHS; w++)
		if (w->used)
			out[n++] = (struct overlay_path_info){
				.path = w->path,
				.rank = w->rank,
				.state = state_of(p, w),
				.active = w == p->active,
				.rtt = w->rtt,
				.last_receive = w->last_receive,
			};
	return n;
}
