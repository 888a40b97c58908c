/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to the laptop of a rule.
 *
 * ASKING (its stream opens) -> the callback gets the stream, or by the rule's policy: the application, nobody, or
 * HOLDING (ask again soon).
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "agent/internal.h"
#include "base/stream.h"
#include "netstack/netstack.h"

enum { ASK_MS = 1500, SUSPECT_MS = 2000, HOLD_RETRY_MS = 250 };

struct ask {
	struct agent *a;
	struct rule_ref ref;
	struct stream *laptop;
	struct event *later; /* asks again, or tells */
	nsec_t hold_until;   /* 0 = not holding yet */
	bool told, probes;   /* it is the one that finds out */
	enum ask_result result;
	void (*cb)(void *arg, enum ask_result result, struct stream *s);
	void *arg;
};

void rule_ref_set(struct rule_ref *ref, const struct rule *r)
{
	memcpy(ref->name, r->name, sizeof(ref->name));
	ref->target = r->target;
	ref->address = r->address;
	ref->port = r->port;
}

struct rule *rule_ref_find(const struct agent *a, const struct rule_ref *ref)
{
	for (unsigned i = 0; i < a->rules.n; i++) {
		struct rule *r = &a->rules.rule[i];

		if (r->port == ref->port && r->target == ref->target && !r->udp &&
		    ipaddr_equal(&r->address, &ref->address) && !strcmp(r->name, ref->name))
			return r;
	}
	return NULL;
}

bool ask_stale(const struct ask *q)
{
	return !rule_ref_find(q->a, &q->ref);
}

static void probe_done(struct ask *q)
{
	struct rule *r = q->probes ? rule_ref_find(q->a, &q->ref) : NULL;

	q->probes = false;
	if (r)
		r->probing = false;
}

void ask_cancel(struct ask *q)
{
	if (!q)
		return;
	probe_done(q);
	if (q->laptop)
		q->laptop->ops->abort(q->laptop);
	event_free(q->later);
	free(q);
}

/* Frees q. */
static void tell(struct ask *q, enum ask_result result)
{
	void (*cb)(void *, enum ask_result, struct stream *) = q->cb;
	struct stream *s = steal_ptr(q->laptop);
	void *arg = q->arg;

	ask_cancel(q);
	cb(arg, result, s);
}

static void tell_later(struct ask *q, enum ask_result result)
{
	q->told = true;
	q->result = result;
	event_active(q->later, EV_TIMEOUT, 1);
}

static void hold(struct ask *q, const struct rule *r)
{
	const struct timeval tv = {.tv_usec = HOLD_RETRY_MS * 1000};
	nsec_t now = clock_boot();

	if (!q->hold_until)
		q->hold_until = now + (nsec_t)r->hold_s * NSEC_PER_SEC;
	if (now >= q->hold_until || evtimer_add(q->later, &tv))
		tell_later(q, ASK_FAIL);
}

/* The laptop does not serve: what the user asked for in that case. */
static void by_policy(struct ask *q, struct rule *r)
{
	if (!q->hold_until) {
		r->fallback++;
		q->a->rules.counted = true;
	}
	switch (r->on_down) {
	case ON_DOWN_POD:
		tell_later(q, ASK_POD);
		break;
	case ON_DOWN_HOLD:
		hold(q, r);
		break;
	case ON_DOWN_FAIL:
		tell_later(q, ASK_FAIL);
		break;
	}
}

static void on_laptop(struct stream *s, unsigned ev, void *arg)
{
	struct ask *q = arg;
	struct rule *r = rule_ref_find(q->a, &q->ref);

	if (!(ev & (STREAM_ERROR | STREAM_WRITABLE)))
		return;
	probe_done(q);
	if (!(ev & STREAM_ERROR)) {
		if (r) {
			r->suspect_until = 0;
			r->connections++;
			q->a->rules.counted = true;
		}
		tell(q, ASK_LAPTOP);
		return;
	}
	/* Refused is told at once, so it need not be remembered; silence costs each connection the time-out. */
	if (r && s->error != -ECONNREFUSED && s->error != -ECONNRESET)
		r->suspect_until = clock_boot() + SUSPECT_MS * NSEC_PER_MSEC;
	q->laptop = NULL;
	s->ops->abort(s);
	if (r)
		by_policy(q, r);
	else
		tell_later(q, ASK_FAIL);
}

/* Suspect: by policy at once. After that time one connection at a time finds out. */
static bool worth_asking(struct ask *q, struct rule *r)
{
	if (!r->online || !link_usable(q->a->link))
		return false;
	if (!r->suspect_until)
		return true;
	if (r->probing || clock_boot() < r->suspect_until)
		return false;
	q->probes = r->probing = true;
	return true;
}

static void ask(struct ask *q, struct rule *r)
{
	if (!worth_asking(q, r) ||
	    netstack_connect(link_netstack(q->a->link), link_address(q->a->link), &r->address,
			     r->port, NULL, ASK_MS * NSEC_PER_MSEC, &q->laptop)) {
		probe_done(q);
		by_policy(q, r);
		return;
	}
	stream_set(q->laptop, on_laptop, q);
	q->laptop->ops->want(q->laptop, STREAM_WRITABLE);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct ask *q = arg;
	struct rule *r = rule_ref_find(q->a, &q->ref);

	(void)fd;
	(void)what;
	if (q->told)
		tell(q, q->result);
	else if (r)
		ask(q, r);
	else
		tell(q, ASK_FAIL);
}

int ask_start(struct ask **qp, struct agent *a, struct rule *rule,
	      void (*cb)(void *arg, enum ask_result result, struct stream *s), void *arg)
{
	struct ask *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	*q = (struct ask){.a = a, .cb = cb, .arg = arg};
	q->later = evtimer_new(a->base, on_later, q);
	if (!q->later) {
		free(q);
		return -ENOMEM;
	}
	rule_ref_set(&q->ref, rule);
	*qp = q;
	ask(q, rule);
	return 0;
}
