/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client connection: the laptop of the rule that names its port, else the application. Decided when it is accepted;
 * a rule that comes later concerns later connections only, since a TCP connection cannot be moved. A rule that goes takes its
 * connections along: the way to the laptop is shut then.
 *
 * ASKING (laptop's stream opens) -> JOINED, or by policy: DIALLING (the application), HOLDING (ask again soon), or reset.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#include "agent/internal.h"
#include "base/log.h"
#include "netstack/netstack.h"
#include "relay/relay.h"

enum { ASK_MS = 1500, SUSPECT_MS = 2000, HOLD_RETRY_MS = 250, DIAL_S = 60, TIDY_AFTER_S = 3 };

struct capture {
	struct capture *prev, *next;
	struct agent *a;
	const struct agent_port *port;
	struct stream *client, *laptop;
	struct dial *dial;
	struct relay *relay;
	struct event *hold;
	nsec_t hold_until; /* 0 = not holding yet */
	bool probes;	   /* it is the one that finds out */
	char rule[RULE_NAME_LEN];
	/* The laptop's intake it was given to; port 0 = it was not */
	struct ipaddr address;
	uint16_t intake;
};

static void ask(struct capture *c);

static void end(struct capture *c)
{
	const struct timeval soon = {.tv_sec = TIDY_AFTER_S};
	struct agent *a = c->a;

	if (c->prev)
		c->prev->next = c->next;
	else
		a->captures = c->next;
	if (c->next)
		c->next->prev = c->prev;
	if (c->client)
		c->client->ops->abort(c->client);
	if (c->laptop)
		c->laptop->ops->abort(c->laptop);
	if (c->dial)
		dial_cancel(c->dial);
	if (c->relay)
		relay_abort(c->relay);
	if (c->hold)
		event_free(c->hold);
	free(c);
	if (!evtimer_pending(a->tidy, NULL))
		evtimer_add(a->tidy, &soon);
	if (a->ending && !a->captures)
		event_base_loopbreak(a->base);
}

/* The rule it is about, if it is still in force. */
static struct rule *rule_of(struct capture *c)
{
	struct rule *r = rules_find(&c->a->rules, c->port->target, false);

	return r && !strcmp(r->name, c->rule) ? r : NULL;
}

static void probe_done(struct capture *c)
{
	struct rule *r = c->probes ? rule_of(c) : NULL;

	c->probes = false;
	if (r)
		r->probing = false;
}

/* --- joining --------------------------------------------------------------------------------------------------------- */

static void on_end(void *arg, const struct relay_result *res)
{
	struct capture *c = arg;

	(void)res;
	c->relay = NULL;
	end(c);
}

/* Owns `other`. */
static void join(struct capture *c, struct stream *other)
{
	if (relay_join(c->a->base, c->client, other, on_end, c, &c->relay))
		other->ops->abort(other);
	else
		c->client = NULL;
	if (!c->relay)
		end(c);
}

static void on_client(struct stream *s, unsigned ev, void *arg)
{
	(void)s;
	if (ev & STREAM_ERROR) {
		probe_done(arg);
		end(arg);
	}
}

/* --- the application ---------------------------------------------------------------------------------------------------- */

static void on_dialled(void *arg, struct stream *s, int error)
{
	static struct log_limit limit;
	struct capture *c = arg;
	char text[ADDR_STRLEN];

	c->dial = NULL;
	if (!s) {
		log_limited(&limit, 10 * NSEC_PER_SEC, "application %s: %s",
			    sockaddr_format(&c->port->application, text), strerror(-error));
		end(c);
		return;
	}
	join(c, s);
}

static void dial_application(struct capture *c)
{
	if (dial_tcp(c->a->base, &c->port->application, DIAL_S * NSEC_PER_SEC, on_dialled, c,
		     &c->dial))
		end(c);
}

/* --- the laptop ----------------------------------------------------------------------------------------------------------- */

static void on_hold(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask(arg);
}

static void hold(struct capture *c, const struct rule *r)
{
	const struct timeval tv = {.tv_usec = HOLD_RETRY_MS * 1000};
	nsec_t now = clock_boot();

	if (!c->hold_until)
		c->hold_until = now + (nsec_t)r->hold_s * NSEC_PER_SEC;
	if (!c->hold)
		c->hold = evtimer_new(c->a->base, on_hold, c);
	if (now >= c->hold_until || !c->hold || evtimer_add(c->hold, &tv))
		end(c);
}

/* The laptop does not serve: what the user asked for in that case. */
static void by_policy(struct capture *c, struct rule *r)
{
	if (!c->hold_until) {
		r->fallback++;
		c->a->rules.counted = true;
	}
	switch (r->on_down) {
	case ON_DOWN_POD:
		dial_application(c);
		break;
	case ON_DOWN_HOLD:
		hold(c, r);
		break;
	case ON_DOWN_FAIL:
		end(c);
		break;
	}
}

static void on_laptop(struct stream *s, unsigned ev, void *arg)
{
	struct capture *c = arg;
	struct rule *r = rule_of(c);

	if (!(ev & (STREAM_ERROR | STREAM_WRITABLE)))
		return;
	probe_done(c);
	if (!(ev & STREAM_ERROR)) {
		if (r) {
			r->suspect_until = 0;
			r->connections++;
			c->a->rules.counted = true;
		}
		c->laptop = NULL;
		join(c, s);
		return;
	}
	/* Refused is told at once, so it need not be remembered; silence costs each connection the time-out. */
	if (r && s->error != -ECONNREFUSED && s->error != -ECONNRESET)
		r->suspect_until = clock_boot() + SUSPECT_MS * NSEC_PER_MSEC;
	c->laptop = NULL;
	c->intake = 0;
	s->ops->abort(s);
	if (r)
		by_policy(c, r);
	else
		ask(c);
}

/* Suspect: by policy at once. After that time one connection at a time finds out. */
static bool worth_asking(struct capture *c, struct rule *r)
{
	if (!r->online || !link_usable(c->a->link))
		return false;
	if (!r->suspect_until)
		return true;
	if (r->probing || clock_boot() < r->suspect_until)
		return false;
	c->probes = r->probing = true;
	return true;
}

static void ask(struct capture *c)
{
	struct rule *r = rules_find(&c->a->rules, c->port->target, false);

	if (!r) {
		dial_application(c);
		return;
	}
	snprintf(c->rule, sizeof(c->rule), "%s", r->name);
	if (!worth_asking(c, r) ||
	    netstack_connect(link_netstack(c->a->link), link_address(c->a->link), &r->address,
			     r->port, NULL, ASK_MS * NSEC_PER_MSEC, &c->laptop)) {
		probe_done(c);
		by_policy(c, r);
		return;
	}
	c->address = r->address;
	c->intake = r->port;
	stream_set(c->laptop, on_laptop, c);
	c->laptop->ops->want(c->laptop, STREAM_WRITABLE);
}

void capture_start(struct agent *a, const struct agent_port *port, struct stream *client)
{
	struct capture *c = calloc(1, sizeof(*c));

	if (!c) {
		client->ops->abort(client);
		return;
	}
	*c = (struct capture){.a = a, .port = port, .client = client, .next = a->captures};
	if (a->captures)
		a->captures->prev = c;
	a->captures = c;
	stream_set(client, on_client, c);
	ask(c);
}

/* One that waits for an answer goes where the new rules say, at once; one that has joined is reset. */
void captures_recheck(struct agent *a)
{
	for (struct capture *c = a->captures, *next; c; c = next) {
		const struct rule *r = rule_of(c);

		next = c->next;
		if (!c->intake ||
		    (r && r->port == c->intake && ipaddr_equal(&r->address, &c->address)))
			continue;
		if (!c->laptop) {
			end(c);
			continue;
		}
		c->laptop->ops->abort(c->laptop);
		c->laptop = NULL;
		c->intake = 0;
		probe_done(c);
		ask(c);
	}
}

void captures_free(struct agent *a)
{
	while (a->captures)
		end(a->captures);
}
