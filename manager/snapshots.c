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

static json_int_t total(const json_t *totals, const struct intercept *i)
{
	/* Names are the owner's, so two may be equal. */
	char name[PEER_NAME_MAX + INTERCEPT_NAME_MAX + 2];

	snprintf(name, sizeof(name), "%s/%s", i->owner, i->name);
	return json_integer_value(json_object_get(totals, name));
}

json_int_t rules_connections(const struct peer *agent, const struct intercept *i)
{
	return total(agent->agent.connections, i);
}

json_int_t rules_requests(const struct peer *agent, const struct intercept *i)
{
	return total(agent->agent.requests, i);
}

void rules_append(json_t *list, const struct intercept *i, const struct peer *laptop)
{
	static const char *const on_down[] = {"pod", "hold", "fail"};
	char address[ADDR_STRLEN];

	if (!laptop)
		return;
	ipaddr_format(&laptop->stack, address);
	for (unsigned k = 0; k < i->nports; k++)
		json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:i, s:s, s:s, s:i, s:s, s:i, s:b, s:i}", "intercept",
				  i->name, "owner", i->owner, "target", i->port[k].target,
				  "protocol", i->port[k].udp ? "udp" : "tcp", "address", address,
				  "port", i->port[k].overlay, "on_down", on_down[i->on_down],
				  "hold_s", (int)i->hold_s, "online", laptop->online, "comings",
				  (int)laptop->comings));
}

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
