/* SPDX-License-Identifier: Apache-2.0 */
/* rpc connections of peers. Whose one is is told by the key that opened its packets: the source's route. */
#include "base/log.h"
#include "manager/internal.h"

static void conn_free(struct control_conn *c)
{
	struct peer *p = c->peer;
	struct control_conn **at = &p->conns;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	p->nconns--;
	if (p->told == c->rpc)
		p->told = NULL;
	rpc_free(c->rpc);
	free(c);
}

static void on_call(void *arg, struct rpc *r, const char *method, json_t *params,
		    struct rpc_request *req)
{
	(void)r;
	methods_call(arg, method, params, req);
}

static void on_closed(void *arg, struct rpc *r, int error)
{
	struct control_conn *c = arg;

	(void)r;
	if (error)
		log_debug("%s %s: control connection: %s", peer_role_name(c->peer), c->peer->name,
			  strerror(-error));
	conn_free(c);
}

void control_open(struct manager *m, struct peer *p, struct stream *s)
{
	static const struct rpc_ops ops = {on_call, on_closed};
	struct control_conn *c = calloc(1, sizeof(*c)), *oldest = p->conns;

	if (!c || rpc_new(&c->rpc, m->base, s, &ops, c)) {
		free(c);
		s->ops->abort(s);
		return;
	}
	/* A peer that comes anew has lost the connection we still hold. */
	if (p->nconns >= CONTROL_CONNS_PER_PEER) {
		while (oldest->next)
			oldest = oldest->next;
		conn_free(oldest);
	}
	c->m = m;
	c->peer = p;
	c->next = p->conns;
	p->conns = c;
	p->nconns++;
}

void control_forget(struct peer *p)
{
	while (p->conns)
		conn_free(p->conns);
}

void control_forget_others(struct control_conn *c)
{
	for (struct control_conn *o = c->peer->conns, *next; o; o = next) {
		next = o->next;
		if (o != c)
			conn_free(o);
	}
}
