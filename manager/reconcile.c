/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from the Intercepts that there are. */
#include "manager/reconcile.h"

#include <errno.h>
#include <stdio.h>

static const char *const names[] = {
	[PHASE_PENDING] = "Pending",   [PHASE_ACTIVE] = "Active", [PHASE_PARTIAL] = "Partial",
	[PHASE_CONFLICT] = "Conflict", [PHASE_FAILED] = "Failed",
};
_Static_assert(ARRAY_SIZE(names) == NUM_PHASES, "one name a phase");

const char *phase_name(enum phase p)
{
	return names[p];
}

bool phase_parse(enum phase *p, const char *name)
{
	for (size_t i = 0; i < NUM_PHASES; i++) {
		if (!strcmp(names[i], name)) {
			*p = (enum phase)i;
			return true;
		}
	}
	return false;
}

/* --- what makes no sense ------------------------------------------------------------------------------------- */

static bool same_target(const struct intercept_port *a, const struct intercept_port *b)
{
	return a->target == b->target && a->udp == b->udp;
}

/* How much of a user's name a sentence has room for. */
static int short_name(const char *user)
{
	return (int)utf8_fit(user, 100);
}

/* The policy and the schema have seen it; what they cannot see is looked at here. */
static bool why_failed(const struct claim *c, char *why, size_t size)
{
	const struct intercept *i = &c->o->in;

	if (!c->session_user)
		snprintf(why, size,
			 "Its Session does not exist (any more); run 'culvert connect' and "
			 "intercept again.");
	else if (strcmp(c->session_user, c->o->user))
		snprintf(why, size, "Its Session belongs to %.*s, not to %.*s.",
			 short_name(c->session_user), c->session_user, short_name(c->o->user),
			 c->o->user);
	else if (i->kind == KIND_HOST || !i->nports || !*i->workload || !*i->service)
		snprintf(why, size, "Its spec names no workload, service or port.");
	else
		*why = '\0';
	for (unsigned a = 0; !*why && a < i->nports; a++) {
		if (!i->port[a].target || !i->port[a].local)
			snprintf(why, size, "Port %u of its spec has no target or no local port.",
				 i->port[a].port);
		for (unsigned b = 0; !*why && b < a; b++) {
			if (same_target(&i->port[a], &i->port[b]))
				snprintf(
					why, size,
					"Its spec names port %u of the pods twice; name each once.",
					i->port[a].target);
		}
	}
	return *why != '\0';
}

/* --- who holds a port ---------------------------------------------------------------------------------------- */

struct candidate {
	const struct claim *c;
	struct verdict *v;
	bool holds; /* its status says that it had its ports */
	bool seen;
	const struct candidate *best; /* itself, or whose place it inherits */
};

static bool is_holding(const struct claim *c)
{
	enum phase p;

	return phase_parse(&p, c->o->phase) &&
	       (p == PHASE_ACTIVE || p == PHASE_PARTIAL || p == PHASE_PENDING);
}

static bool older(const struct intercept_object *a, const struct intercept_object *b)
{
	if (a->in.created != b->in.created)
		return a->in.created < b->in.created;
	return strcmp(a->uid, b->uid) < 0;
}

/* Of those that have one place the newest is meant. */
static bool goes_first(const struct candidate *a, const struct candidate *b)
{
	if (a->best == b->best)
		return older(b->c->o, a->c->o);
	a = a->best;
	b = b->best;
	if (a->c->stale != b->c->stale)
		return b->c->stale;
	if (a->holds != b->holds)
		return a->holds;
	return older(a->c->o, b->c->o);
}

static bool same_name(const struct claim *a, const struct claim *b)
{
	return !strcmp(a->o->session, b->o->session) && !strcmp(a->o->in.name, b->o->in.name);
}

static bool same_workload(const struct intercept *a, const struct intercept *b)
{
	return a->kind == b->kind && !strcmp(a->ns, b->ns) && !strcmp(a->workload, b->workload);
}

/* The port of `a` that `b` wants, too, or NULL. Requests that are told apart have room on one port. */
static const struct intercept_port *clash(const struct intercept *a, const struct intercept *b)
{
	if (!same_workload(a, b))
		return NULL;
	for (unsigned i = 0; i < a->nports; i++) {
		for (unsigned k = 0; k < b->nports; k++) {
			if (same_target(&a->port[i], &b->port[k]))
				return http_match_clash(a, b) ? &a->port[i] : NULL;
		}
	}
	return NULL;
}

static const struct claim *holder_of(const struct candidate *list, size_t n,
				     const struct candidate *me, const struct intercept_port **port)
{
	for (size_t i = 0; i < n; i++) {
		if (!list[i].v->in_force || same_name(list[i].c, me->c))
			continue;
		*port = clash(&list[i].c->o->in, &me->c->o->in);
		if (*port)
			return list[i].c;
	}
	return NULL;
}

static void tell_holder(struct verdict *v, const struct claim *me, const struct claim *holder,
			const struct intercept_port *port)
{
	const struct intercept *h = &holder->o->in;
	bool own = !strcmp(holder->o->session, me->o->session);
	char match[120];

	http_match_text(match, sizeof(match), h, " and ");
	v->phase = PHASE_CONFLICT;
	snprintf(v->message, sizeof(v->message),
		 "Port %u%s%s%s of %s %s is taken by %s intercept '%.127s'%s%.*s, for %s.",
		 port->port, *port->name ? " (" : "", port->name, *port->name ? ")" : "",
		 workload_kind_name(h->kind), h->workload, own ? "your own" : "the", h->name,
		 own ? "" : " of ", own ? 0 : short_name(holder->o->user), holder->o->user, match);
}

/* What agents of one workload are told has a bound, and nobody may fill it up for those who are in. */
static bool has_room(const struct candidate *list, size_t n, const struct candidate *me)
{
	unsigned rules = me->c->o->in.nports;

	for (size_t i = 0; i < n; i++) {
		if (list[i].v->in_force && !same_name(list[i].c, me->c) &&
		    same_workload(&list[i].c->o->in, &me->c->o->in))
			rules += list[i].c->o->in.nports;
	}
	return rules <= INTERCEPT_RULES;
}

static void replace(struct candidate *old, const struct claim *by)
{
	old->v->in_force = false;
	old->v->phase = PHASE_FAILED;
	snprintf(old->v->message, sizeof(old->v->message),
		 "Replaced by the newer intercept %.253s of the same name.", by->o->object);
}

/* In force, in conflict, or replaced by a newer one of its name. */
static void settle(struct candidate *list, size_t n, struct candidate *me)
{
	const struct intercept_port *port = NULL;
	const struct claim *holder;

	for (size_t i = 0; i < n; i++) {
		if (list[i].v->in_force && same_name(list[i].c, me->c) &&
		    older(me->c->o, list[i].c->o)) {
			replace(me, list[i].c);
			return;
		}
	}
	if (!has_room(list, n, me)) {
		me->v->phase = PHASE_CONFLICT;
		snprintf(me->v->message, sizeof(me->v->message),
			 "%s %s has as many intercepts as its agents take: %d ports of them.",
			 workload_kind_title(me->c->o->in.kind), me->c->o->in.workload,
			 INTERCEPT_RULES);
		return;
	}
	holder = holder_of(list, n, me, &port);
	if (holder) {
		tell_holder(me->v, me->c, holder, port);
		return;
	}
	*me->v = (struct verdict){.in_force = true, .phase = PHASE_PENDING};
	for (size_t i = 0; i < n; i++) {
		if (&list[i] != me && list[i].v->in_force && same_name(list[i].c, me->c))
			replace(&list[i], me->c);
	}
}

static void settle_all(struct candidate *list, size_t n, enum phase which)
{
	for (size_t i = 0; i < n; i++)
		list[i].seen = list[i].v->phase != which || list[i].v->in_force;
	for (;;) {
		struct candidate *first = NULL;

		for (size_t i = 0; i < n; i++) {
			if (!list[i].seen && (!first || goes_first(&list[i], first)))
				first = &list[i];
		}
		if (!first)
			return;
		first->seen = true;
		settle(list, n, first);
	}
}

/* Who would clash with `a` would with `b`, too: its ports and its requests are among those of `b`. */
static bool within(const struct intercept *a, const struct intercept *b)
{
	if (!same_workload(a, b) || !http_match_within(a, b))
		return false;
	for (unsigned i = 0; i < a->nports; i++) {
		unsigned k = 0;

		while (k < b->nports && !same_target(&a->port[i], &b->port[k]))
			k++;
		if (k == b->nports)
			return false;
	}
	return a->nports > 0;
}

/* What the older one of its name holds, the newer one may take over without losing its place. */
static void inherit(struct candidate *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		list[i].best = &list[i];
		for (size_t k = 0; k < n; k++) {
			if (k != i && same_name(list[k].c, list[i].c) &&
			    within(&list[i].c->o->in, &list[k].c->o->in) &&
			    (list[k].holds != list[i].best->holds
				     ? list[k].holds
				     : older(list[k].c->o, list[i].best->c->o)))
				list[i].best = &list[k];
		}
	}
}

/* An id names one intercept: its header, its preview. One that copies another's is none; one that is moved may take it along. */
static bool copies_id(const struct claim *c, size_t n, size_t me)
{
	const char *id = c[me].o->in.id;
	size_t first = me;

	for (size_t i = 0; *id && i < n; i++) {
		if (!strcmp(c[i].o->in.id, id) && !c[i].o->deleting && older(c[i].o, c[first].o))
			first = i;
	}
	return first != me && !same_name(&c[first], &c[me]);
}

int reconcile(struct verdict *v, const struct claim *c, size_t n)
{
	cleanup(free_ptr) struct candidate *list = calloc(n + 1, sizeof(*list));
	size_t m = 0;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		v[i] = (struct verdict){.phase = PHASE_PENDING};
		if (c[i].o->deleting || why_failed(&c[i], v[i].message, sizeof(v[i].message))) {
			v[i].phase = PHASE_FAILED;
			continue;
		}
		if (copies_id(c, n, i)) {
			v[i].phase = PHASE_FAILED;
			snprintf(v[i].message, sizeof(v[i].message),
				 "Its id is another intercept's; make it anew with an id of its "
				 "own.");
			continue;
		}
		list[m++] = (struct candidate){.c = &c[i], .v = &v[i], .holds = is_holding(&c[i])};
	}
	inherit(list, m);
	settle_all(list, m, PHASE_PENDING);
	/* Those that were replaced have left ports behind. */
	settle_all(list, m, PHASE_CONFLICT);
	return 0;
}

/* --- who has the rule ------------------------------------------------------------------------------------------ */

/* "cart-1, cart-2 and 3 more" */
static void name_pods(char *to, size_t size, const struct endpoint *e, size_t n, unsigned *count)
{
	enum { NAMED = 4 };
	size_t len = 0;

	*count = 0;
	*to = '\0';
	for (size_t i = 0; i < n; i++) {
		if (e[i].connected || e[i].marked || e[i].leaving)
			continue;
		if (*count < NAMED && len + strlen(e[i].pod) + 3 < size)
			len += (size_t)snprintf(to + len, size - len, "%s%s", *count ? ", " : "",
						e[i].pod);
		++*count;
	}
	if (*count > NAMED)
		snprintf(to + len, size - len, " and %u more", *count - NAMED);
}

void coverage(struct coverage *c, const struct endpoint *e, size_t n)
{
	char pods[400];
	unsigned without, leaving = 0;
	const struct endpoint *old = NULL, *without_rule = NULL;

	for (size_t i = 0; i < n; i++) {
		leaving += e[i].leaving;
		old = e[i].old ? &e[i] : old;
		without_rule = e[i].left_out ? &e[i] : without_rule;
	}
	*c = (struct coverage){.endpoints = (unsigned)n - leaving, .phase = PHASE_PENDING};
	for (size_t i = 0; i < n; i++)
		c->agents += e[i].connected && e[i].confirmed;
	name_pods(pods, sizeof(pods), e, n, &without);
	if (old) {
		c->phase = c->agents ? PHASE_PARTIAL : PHASE_PENDING;
		snprintf(c->message, sizeof(c->message),
			 "The agent of pod %.253s is of an older culvert, which cannot tell "
			 "requests apart; restart the pods.",
			 old->pod);
	} else if (without_rule) {
		c->phase = c->agents ? PHASE_PARTIAL : PHASE_PENDING;
		snprintf(c->message, sizeof(c->message),
			 "The agent of pod %.253s does not serve it: %.300s.", without_rule->pod,
			 without_rule->left_out);
	} else if (c->endpoints == 0)
		snprintf(c->message, sizeof(c->message), "No pod of the service is ready.");
	else if (c->agents == c->endpoints && !leaving)
		c->phase = PHASE_ACTIVE;
	else if (c->agents == c->endpoints)
		snprintf(c->message, sizeof(c->message),
			 "Waiting until no connection goes to %u former %s any more.", leaving,
			 leaving == 1 ? "pod" : "pods");
	else if (without) {
		/* Somebody's traffic may already come to the laptop; what is missing is not on its way. */
		c->phase = c->agents ? PHASE_PARTIAL : PHASE_PENDING;
		snprintf(c->message, sizeof(c->message), "No agent in %s %.400s.",
			 without == 1 ? "pod" : "pods", pods);
	} else
		snprintf(c->message, sizeof(c->message),
			 "Waiting for the agents of %u of %u ready pods.", c->endpoints - c->agents,
			 c->endpoints);
}
