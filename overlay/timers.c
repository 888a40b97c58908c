/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timers: what a peer does because time passes.
 *
 * Packets only store points in time. `deadline` is the earliest of them, or earlier: arming lowers
 * it, taking a reason away leaves it, and timers_run() computes it anew; so a packet costs a few
 * stores, and a wake-up for nothing comes at most once per KEEPALIVE_TIMEOUT.
 *
 *   keepalive_at   data came and nothing went out for KEEPALIVE_TIMEOUT: empty message
 *   answer_by      data went out and nothing came for KEEPALIVE + REKEY_TIMEOUT: handshake;
 *                  persistent, with one path: after 1 s three ALIVEs ask, then handshake;
 *                  with several (paths.c): when none answers
 *   retry_at       the initiation is unanswered: again; after REKEY_ATTEMPT_TIME give up, or
 *                  (persistent) never
 *   queue          has a session and, at last, a path
 *   away           nothing came for PEER_DEAD_AFTER although something should have
 *   persistent     ALIVE each KEEPALIVE_TIMEOUT of our silence, sessions renewed before they end
 *   expiry         keys older than REJECT_AFTER_TIME are wiped, and those of a half-open peer
 */
#include "overlay/internal.h"

enum {
	RETRY_JITTER_MS = 333,
	EAGER_FIRST_MS = 200,
	TURN_MIN_MS = 1500, /* longer than any round trip: the next attempt forgets this one */
	EAGER_TURNS = 16,   /* who restarts is back by then, and is found within a second or two */
};

static void earliest(nsec_t *a, nsec_t b)
{
	if (b && (!*a || b < *a))
		*a = b;
}

void timers_arm(struct overlay_peer *p, nsec_t when)
{
	struct overlay *o = p->overlay;
	earliest(&p->t.deadline, when);
	if (!when || (o->next && o->next <= when))
		return;
	o->next = when;
	if (o->ops.sooner)
		o->ops.sooner(o->arg);
}

/* --- what happened ---------------------------------------------------------------------------- */

void timers_sent(struct overlay_peer *p, bool data, nsec_t now)
{
	struct timers *t = &p->t;
	t->last_sent = now;
	t->keepalive_at = 0;
	if (!data)
		return;
	paths_sent_data(p, now);
	if (!t->answer_by && !(t->persist && p->spoke)) {
		t->answer_by = t->persist ? now + SUSPECT_AFTER_MS * NSEC_PER_MSEC
					  : now + SECONDS(KEEPALIVE_TIMEOUT + REKEY_TIMEOUT) +
						    overlay_jitter(p->overlay,
								   RETRY_JITTER_MS * NSEC_PER_MSEC);
		timers_arm(p, t->answer_by);
	}
	if (!t->waiting_since) {
		t->waiting_since = now;
		timers_arm(p, now + SECONDS(PEER_DEAD_AFTER));
	}
}

void timers_received(struct overlay_peer *p, nsec_t now)
{
	struct timers *t = &p->t;
	p->last_receive = now;
	t->answer_by = 0;
	t->probes = 0;
	t->waiting_since = 0;
	t->present = p->last_handshake != 0;
	if (unlikely(t->away)) {
		t->away = false;
		if (p->overlay->ops.back)
			p->overlay->ops.back(p->overlay->arg, p);
	}
}

void timers_received_data(struct overlay_peer *p, nsec_t now)
{
	if (p->t.keepalive_at)
		return;
	p->t.keepalive_at = now + SECONDS(KEEPALIVE_TIMEOUT);
	timers_arm(p, p->t.keepalive_at);
}

static nsec_t retry_delay(struct overlay_peer *p)
{
	nsec_t normal = SECONDS(REKEY_TIMEOUT);
	if (!p->t.eager)
		return normal + overlay_jitter(p->overlay, RETRY_JITTER_MS * NSEC_PER_MSEC);
	/* Several candidates take turns: each shall be tried about as often as a single one. */
	nsec_t turn = TURN_MIN_MS * NSEC_PER_MSEC;
	nsec_t most = p->t.attempts <= EAGER_TURNS ? turn : MAX(normal / paths_candidates(p), turn);
	nsec_t d = MIN((EAGER_FIRST_MS * NSEC_PER_MSEC) << MIN(p->t.attempts - 1, 8U), most);
	return d - d / 4 + overlay_jitter(p->overlay, d / 2);
}

void timers_initiated(struct overlay_peer *p, nsec_t now)
{
	p->t.attempts++;
	p->t.last_handshake_sent = now;
	p->t.retry_at = now + retry_delay(p);
	timers_arm(p, p->t.retry_at);
}

/* It is the peer's turn now; but if we want the session and it does not come, we try ourselves. */
void timers_responded(struct overlay_peer *p, nsec_t now)
{
	struct timers *t = &p->t;
	t->last_handshake_sent = now;
	t->retry_at = 0;
	if (!keypair_alive(p->current, now) && (t->persist || p->queue.count)) {
		t->first_attempt = now;
		t->retry_at = now + SECONDS(t->persist ? 1 : REKEY_TIMEOUT) +
			      overlay_jitter(p->overlay, RETRY_JITTER_MS * NSEC_PER_MSEC);
		timers_arm(p, t->retry_at);
	}
}

void timers_complete(struct overlay_peer *p, nsec_t now)
{
	p->last_handshake = now;
	p->t.present = true;
	p->t.retry_at = 0;
	p->t.attempts = 0;
	p->t.last_minute = false;
}

/* --- what is due ------------------------------------------------------------------------------ */

static nsec_t away_at(const struct overlay_peer *p)
{
	const struct timers *t = &p->t;
	if (!t->present)
		return 0;
	if (t->persist || t->kept)
		return MAX(p->last_receive, t->persist_since) + SECONDS(PEER_DEAD_AFTER);
	return t->waiting_since ? t->waiting_since + SECONDS(PEER_DEAD_AFTER) : 0;
}

/* A persistent peer's own: `now` in the answer means at once. */
static nsec_t persist_at(const struct overlay_peer *p, nsec_t now)
{
	const struct timers *t = &p->t;
	const struct keypair *kp = p->current;
	if (!t->persist || !p->active)
		return 0;
	if (!keypair_alive(kp, now))
		return t->retry_at ? 0 : now;
	nsec_t at = t->last_sent + SECONDS(KEEPALIVE_TIMEOUT);
	if (!t->retry_at)
		earliest(&at,
			 kp->born + SECONDS(kp->initiator ? REKEY_AFTER_TIME
							  : REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT -
								    REKEY_TIMEOUT));
	return at;
}

static nsec_t expiry(const struct keypair *kp)
{
	return kp ? kp->born + SECONDS(REJECT_AFTER_TIME) : 0;
}

/* A session may be confirmed over what is no path of ours (any more), while there is none: what waits for it goes when there is one. */
static bool queue_ready(const struct overlay_peer *p, nsec_t now)
{
	return p->queue.count && p->active && keypair_alive(p->current, now);
}

void timers_update(struct overlay_peer *p, nsec_t now)
{
	nsec_t d = queue_ready(p, now) ? now : 0;
	earliest(&d, p->t.keepalive_at);
	earliest(&d, p->t.answer_by);
	earliest(&d, p->t.retry_at);
	earliest(&d, away_at(p));
	earliest(&d, persist_at(p, now));
	earliest(&d, paths_due(p, now));
	earliest(&d, expiry(p->current));
	earliest(&d, expiry(p->previous));
	earliest(&d, expiry(p->unconfirmed));
	earliest(&d, p->half_open ? p->half_open_until : 0);
	timers_arm(p, d);
}

static bool due(nsec_t at, nsec_t now)
{
	return at && at <= now;
}

static void expire(struct overlay_peer *p, nsec_t now)
{
	if (due(expiry(p->current), now))
		keypair_free(p, &p->current);
	if (due(expiry(p->previous), now))
		keypair_free(p, &p->previous);
	if (due(expiry(p->unconfirmed), now))
		keypair_free(p, &p->unconfirmed);
	if (p->half_open && p->half_open_until <= now) {
		half_open_end(p);
		keypair_free(p, &p->unconfirmed);
	}
}

static void retry(struct overlay_peer *p, nsec_t now)
{
	struct timers *t = &p->t;
	t->retry_at = 0;
	if (now - t->first_attempt >= SECONDS(REKEY_ATTEMPT_TIME)) {
		p->overlay->drops[DROP_NO_SESSION] += queue_free_list(queue_take(&p->queue));
		t->first_attempt = now;
		if (!t->persist) {
			handshake_cancel(p);
			return;
		}
	}
	if (p->active)
		handshake_send_initiation(p, now);
}

static void go_away(struct overlay_peer *p, nsec_t now)
{
	p->t.present = false;
	p->t.kept = false;
	p->t.away = true;
	if (p->t.persist)
		handshake_start(p, true, now);
	if (p->overlay->ops.away)
		p->overlay->ops.away(p->overlay->arg, p);
}

/* A peer that restarted knows our keys no more and is silent; asking tells it from one with nothing to say. */
static void miss_answer(struct overlay_peer *p, nsec_t now)
{
	struct timers *t = &p->t;
	t->answer_by = 0;
	if (t->persist && t->probes < PROBES) {
		t->probes++;
		t->answer_by = now + PROBE_EVERY_MS * NSEC_PER_MSEC;
		send_alive(p, now);
	} else if (!t->retry_at) {
		handshake_start(p, t->persist, now);
	}
}

static void persist(struct overlay_peer *p, nsec_t now)
{
	if (!keypair_alive(p->current, now)) {
		handshake_start(p, true, now);
		return;
	}
	if (p->t.last_sent + SECONDS(KEEPALIVE_TIMEOUT) <= now)
		send_alive(p, now);
	if (due(persist_at(p, now), now))
		handshake_start(p, false, now); /* to renew */
}

void timers_run(struct overlay_peer *p, nsec_t now)
{
	struct timers *t = &p->t;
	t->deadline = 0;
	expire(p, now);
	if (due(away_at(p), now))
		go_away(p, now);
	if (due(t->keepalive_at, now)) {
		t->keepalive_at = 0;
		send_keepalive(p, now);
	}
	if (due(t->answer_by, now))
		miss_answer(p, now);
	if (due(t->retry_at, now))
		retry(p, now);
	if (due(persist_at(p, now), now))
		persist(p, now);
	paths_run(p, now);
	if (queue_ready(p, now))
		send_queued(p);
	timers_update(p, now);
}
