/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When peers are told. A snapshot is always whole and carries the epoch; it goes out at the end of the turn of the loop in which
 * something changed, so that ten changes are one message.
 */
#include <event2/event.h>
#include <stdio.h>

#include "manager/internal.h"

bool rules_has_intake(const struct intercept *i, uint16_t port)
{
	for (unsigned k = 0; port && k < i->nports; k++) {
		if (i->port[k].overlay == port)
			return true;
	}
	return port == 0;
}

uint16_t rules_next_port(struct manager *m)
{
	m->next_port = m->next_port < OVERLAY_PORT_FIRST || m->next_port == UINT16_MAX
			       ? OVERLAY_PORT_FIRST
			       : (uint16_t)(m->next_port + 1);
	return m->next_port;
}

static const json_t *of_intercept(const json_t *by_name, const struct intercept *i)
{
	/* Names are the owner's, so two may be equal. */
	char name[PEER_NAME_MAX + INTERCEPT_NAME_MAX + 2];

	snprintf(name, sizeof(name), "%s/%s", i->owner, i->name);
	return json_object_get(by_name, name);
}

static json_int_t total(const json_t *totals, const struct intercept *i)
{
	return json_integer_value(of_intercept(totals, i));
}

json_int_t rules_connections(const struct peer *agent, const struct intercept *i)
{
	return total(agent->agent.connections, i);
}

json_int_t rules_requests(const struct peer *agent, const struct intercept *i)
{
	return total(agent->agent.requests, i);
}

const char *rules_left_out(const struct peer *agent, const struct intercept *i)
{
	const char *why = json_string_value(of_intercept(agent->agent.left_out, i));

	return why ? why : agent->agent.refusal;
}

/* --- what an agent is told --------------------------------------------------------------------------------------- */

static json_t *rule_json(const struct rule_source *s, unsigned k)
{
	const struct intercept *i = s->i;
	char address[ADDR_STRLEN];
	json_t *j;

	ipaddr_format(&s->laptop->stack, address);
	j = json_pack("{s:s, s:s, s:i, s:s, s:s, s:i, s:s, s:i, s:b, s:i}", "intercept", i->name,
		      "owner", i->owner, "target", i->port[k].target, "protocol",
		      i->port[k].udp ? "udp" : "tcp", "address", address, "port",
		      i->port[k].overlay, "on_down", on_down_name(i->on_down), "hold_s",
		      (int)i->hold_s, "online", s->laptop->online, "comings",
		      (int)s->laptop->comings);
	if (!j || i->mechanism != MECHANISM_HTTP)
		return j;
	json_object_set_new(j, "mechanism", json_string("http"));
	json_object_set_new(j, "id", json_string(i->id));
	json_object_set_new(j, "uid", json_string(s->uid));
	json_object_set_new(j, "match", http_match_to_json(&i->match));
	json_object_set_new(j, "tag", json_boolean(i->tag_responses));
	json_object_set_new(j, "preview", json_boolean(i->preview));
	return j;
}

static int by_precedence(const void *a, const void *b)
{
	const struct rule_source *x = a, *y = b;

	return http_match_order(x->i, x->uid, y->i, y->uid);
}

json_t *rules_json(const struct peer *agent, struct rule_source *s, size_t n)
{
	json_t *list = json_array();

	qsort(s, n, sizeof(*s), by_precedence);
	for (size_t i = 0; i < n; i++) {
		/* An agent of before would take the whole port. */
		if (!s[i].laptop || (s[i].i->mechanism == MECHANISM_HTTP && !agent->agent.http))
			continue;
		for (unsigned k = 0; k < s[i].i->nports; k++)
			json_array_append_new(list, rule_json(&s[i], k));
	}
	return list;
}

/* --- what a laptop is told of traffic ---------------------------------------------------------------------------- */

static json_int_t figure(const json_t *ports, uint16_t target, const char *name)
{
	char port[8];

	snprintf(port, sizeof(port), "%u", target);
	return json_integer_value(json_object_get(json_object_get(ports, port), name));
}

/* What agents count on a port, in which a match does not see what its user may expect. */
static const struct {
	bool trouble;			  /* or else of `seen` */
	const char *key, *before, *after; /* "N BEFORE port P AFTER" */
} notes[RULES_NOTES] = {
	{false, "tls", "connections to",
	 "began with TLS, where requests cannot be told apart; they went to the application. Let "
	 "TLS end before the pod, or use --mechanism=tcp."},
	{true, "regex_limits", "requests to",
	 "took a regular expression too long, which counts as no match; make it simpler."},
	{true, "bad_heads", "connections to",
	 "had a request that is no good HTTP; they went to the application."},
	{true, "slow_heads", "connections to",
	 "had a request that did not end in time; they went to the application."},
};

void rules_sum(struct rules_sum *s, const struct peer *agent, const struct intercept *i)
{
	s->connections += rules_connections(agent, i);
	s->requests += rules_requests(agent, i);
	for (unsigned k = 0; k < i->nports; k++) {
		for (unsigned n = 0; n < RULES_NOTES; n++) {
			const json_t *group = agent->agent.met	 ? of_intercept(agent->agent.met, i)
					      : notes[n].trouble ? agent->agent.trouble
								 : agent->agent.seen;

			s->note[k][n] += figure(group, i->port[k].target, notes[n].key);
		}
	}
}

json_t *rules_warnings(const struct rules_sum *s, const struct intercept *i)
{
	json_t *list = json_array();

	for (unsigned k = 0; i->mechanism == MECHANISM_HTTP && k < i->nports; k++) {
		for (unsigned n = 0; n < RULES_NOTES; n++) {
			if (s->note[k][n])
				json_array_append_new(
					list, json_sprintf("%" JSON_INTEGER_FORMAT " %s port %u %s",
							   s->note[k][n], notes[n].before,
							   i->port[k].port, notes[n].after));
		}
	}
	return list;
}

/* --- when -------------------------------------------------------------------------------------------------------- */

void rules_push_to(struct peer *p)
{
	if (p->told && peer_admitted(p))
		p->m->platform->push(p);
}

void rules_push(struct manager *m)
{
	for (struct peer *p = m->peers; p; p = p->next) {
		if (p->rec.role == ROLE_LAPTOP || m->rules_stale)
			rules_push_to(p);
	}
	m->rules_stale = false;
}

void rules_changed(struct manager *m, bool soon)
{
	const struct timeval now = {0}, second = {.tv_sec = 1};

	m->epoch++;
	if (soon) {
		m->rules_stale = true;
		evtimer_add(m->push, &now);
	} else if (!evtimer_pending(m->push, NULL)) {
		evtimer_add(m->push, &second);
	}
}
