/* SPDX-License-Identifier: Apache-2.0 */
/* Who is there, what address a laptop has, and how a peer goes. Who may come is the platform's business. */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "manager/internal.h"

bool peer_admitted(const struct peer *p)
{
	return p->state == PEER_REGISTERED;
}

const char *peer_role_name(const struct peer *p)
{
	return p->rec.role == ROLE_LAPTOP ? "laptop" : "agent";
}

/* --- IPv4 addresses ----------------------------------------------------------------------------------------- */

bool v4_taken(const struct manager *m, const struct ipaddr *a, const struct peer *but)
{
	for (const struct peer *p = m->peers; p; p = p->next) {
		if (p != but && p->state != PEER_RETIRED && ipaddr_equal(&p->rec.v4, a))
			return true;
	}
	return false;
}

static bool v4_avoided(const struct ipaddr *a, const json_t *avoid)
{
	const json_t *item;
	size_t i;

	json_array_foreach(avoid, i, item)
	{
		struct ipaddr b;

		if (json_is_string(item) && ipaddr_parse(&b, json_string_value(item)) == 0 &&
		    ipaddr_equal(a, &b))
			return true;
	}
	return false;
}

/* The first free one. .0 and .255 are left out: some tools dislike them. */
int v4_assign(struct manager *m, struct peer *p, const json_t *avoid)
{
	const struct prefix *pool = &m->cfg->pool;
	uint32_t first = get_be32(pool->addr.b), size = UINT32_C(1) << (32 - pool->len);

	for (uint32_t i = 1; i < size - 1; i++) {
		struct ipaddr a;
		uint8_t b[4];

		put_be32(b, first + i);
		a = ipaddr_v4(b);
		if (b[3] == 0 || b[3] == 255 || v4_taken(m, &a, p) || v4_avoided(&a, avoid))
			continue;
		p->rec.v4 = a;
		return 0;
	}
	return -ENOSPC;
}

int v4_route(struct peer *p, bool add)
{
	struct overlay *o = node_overlay(p->m->node);
	struct prefix host;

	if (!p->rec.v4.family)
		return 0;
	host = prefix_host(&p->rec.v4);
	return add ? overlay_route_add(o, &host, p->overlay) : overlay_route_remove(o, &host);
}

int peer_readdress(struct peer *p, const json_t *avoid, struct error *e)
{
	struct ipaddr old = p->rec.v4;
	int r;

	if (!v4_avoided(&old, avoid))
		return 0;
	r = v4_assign(p->m, p, avoid);
	if (r == 0)
		r = p->m->platform->readdressed(p, e);
	else
		error_set(e, r, "No address of the pool is free.");
	if (r) {
		p->rec.v4 = old;
		return r;
	}
	log_info("laptop %s: has another network with its address, gets a new one", p->name);
	if (old.family) {
		struct prefix host = prefix_host(&old);

		overlay_route_remove(node_overlay(p->m->node), &host);
	}
	return v4_route(p, true);
}

/* --- coming and going ---------------------------------------------------------------------------------------- */

struct peer *peer_by_name(const struct manager *m, enum node_role role, const char *name)
{
	for (struct peer *p = m->peers; p; p = p->next) {
		if (p->state == PEER_REGISTERED && p->rec.role == role && !strcmp(p->name, name))
			return p;
	}
	return NULL;
}

/* What was there when the process ended comes back only through its overlay peer. */
struct peer *peer_new(struct manager *m, const char *name, const struct peer_record *rec,
		      enum peer_state state)
{
	struct overlay *o = node_overlay(m->node);
	struct peer *p = calloc(1, sizeof(*p));
	struct prefix own = overlay_prefix_of(rec->pub);
	int r;

	if (!p)
		return NULL;
	*p = (struct peer){.m = m,
			   .rec = *rec,
			   .state = state,
			   .since = clock_boot(),
			   .stack = overlay_stack_addr(rec->pub)};
	snprintf(p->name, sizeof(p->name), "%s", name);
	r = overlay_peer_add(o, &p->overlay, rec->pub, rec->psk, NULL, p);
	if (r == 0) {
		r = overlay_route_add(o, &own, p->overlay);
		if (r)
			overlay_peer_remove(o, p->overlay);
	}
	if (r == -EEXIST)
		log_warn("%s %s: its key's address is that of another peer; it must make a new key",
			 peer_role_name(p), name);
	if (r) {
		free(p);
		return NULL;
	}
	p->next = m->peers;
	m->peers = p;
	m->npeers++;
	m->nprovisional += state == PEER_PROVISIONAL;
	return p;
}

void peer_free(struct peer *p)
{
	struct manager *m = p->m;
	struct peer **at = &m->peers;

	m->platform->gone(p);
	control_forget(p);
	if (m->exit)
		exit_forget(m->exit, p);
	if (m->ns)
		netstack_forget_peer(m->ns, p);
	for (struct peer *q = m->peers; q; q = q->next) {
		for (int i = 0; i < FORWARDS; i++) {
			if (q->forward[i].to == p)
				q->forward[i].to = NULL;
		}
	}
	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	m->epoch++;
	m->npeers--;
	m->nprovisional -= p->state == PEER_PROVISIONAL;
	if (m->node)
		node_remove_peer(m->node, p->overlay);
	agent_forget_environment(p);
	agent_forget_rules(p);
	json_decref(p->agent.connections);
	json_decref(p->agent.fallback);
	json_decref(p->agent.requests);
	json_decref(p->agent.seen);
	json_decref(p->agent.trouble);
	crypto_wipe(&p->rec, sizeof(p->rec));
	free(p);
}

void peers_free(struct manager *m)
{
	while (m->peers)
		peer_free(m->peers);
}

void peer_set_state(struct peer *p, enum peer_state state)
{
	p->m->nprovisional -= p->state == PEER_PROVISIONAL;
	p->state = state;
	p->since = clock_boot();
}

/* Its TCP connections with us: the kernel's through the exit, and its stack's. */
static void suspend(const struct peer *p, bool away)
{
	const struct ipaddr addr[] = {p->stack, p->rec.v4, overlay_kernel_addr(p->rec.pub)};

	for (size_t i = 0; i < ARRAY_SIZE(addr); i++) {
		if (p->m->ns && addr[i].family)
			netstack_absent(p->m->ns, &addr[i], away);
	}
}

static bool set_online(struct peer *p, bool online)
{
	if (p->state != PEER_REGISTERED || p->online == online)
		return false;
	p->online = online;
	p->since = clock_boot();
	suspend(p, !online);
	p->m->platform->changed(p);
	rules_changed(p->m, true);
	return true;
}

void peer_established(struct peer *p, bool fresh)
{
	p->m->platform->established(p);
	if (!peer_admitted(p))
		return;
	if (fresh)
		log_info("%s %s: connected", peer_role_name(p), p->name);
	if (fresh || p->presumed) {
		p->comings++;
		rules_changed(p->m, true);
	}
	p->presumed = false;
	set_online(p, true);
}

void peer_online(struct peer *p, bool online)
{
	if (set_online(p, online))
		log_info("%s %s: %s", peer_role_name(p), p->name, online ? "is back" : "is away");
}
