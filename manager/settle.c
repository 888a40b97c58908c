/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that wait until what a laptop changed of a preview is in force: whoever reads a link may click it at once, and one that
 * was taken back opens nothing any more. In force: the object's status is written, so that a restart forgets nothing of it, the
 * gateways that are connected have taken their list, and the agents the rules. It is waited for a few seconds; then the answer
 * says who has not confirmed.
 */
#include "manager/kubernetes.h"

enum { SETTLE_S = 3 /* a laptop waits 5 s for an answer */, SETTLING_MAX = 256 };

struct settling {
	struct settling *next;
	struct rpc_request *req;
	json_t *answer;
	char uid[sizeof(((struct intercept_object *)NULL)->uid)];
	uint64_t epoch; /* from which on everybody hears of it; 0 = not yet reconciled */
	nsec_t until;
};

static bool agents_have(const struct record *r, uint64_t epoch)
{
	for (const struct pod *p = r->k->pods; p; p = p->next) {
		/* Who cannot serve it, or is away, is said elsewhere. */
		if (record_is_served(r, p) && p->peer && p->peer->online && p->peer->told &&
		    !rules_left_out(p->peer, &r->o.in) && p->confirmed_epoch < epoch)
			return false;
	}
	return true;
}

/* Who has not taken it yet, or NULL. */
static const char *missing(const struct kubernetes *k, const struct settling *s)
{
	const struct record *r = record_find(k, s->uid);

	if (!s->epoch)
		return "the manager has just started";
	if (r && !r->o.deleting && (r->dirty || r->status.request))
		return "the API server has not taken the Intercept's status";
	if (!gateways_have(k, s->epoch))
		return "a gateway has not confirmed it";
	if (r && r->verdict.in_force && !agents_have(r, s->epoch))
		return "an agent has not confirmed it";
	return NULL;
}

static void warn(json_t *answer, const char *why)
{
	json_object_set_new(
		answer, "warning",
		json_sprintf("it may take another moment until it is in force: %s", why));
}

void settle_check(struct kubernetes *k)
{
	struct settling **at = &k->settling, *s;

	while ((s = *at)) {
		const char *why = missing(k, s);

		if (why && clock_boot() < s->until) {
			at = &s->next;
			continue;
		}
		if (why)
			warn(s->answer, why);
		*at = s->next;
		k->nsettling--;
		rpc_reply(s->req, s->answer);
		free(s);
	}
}

void settle_told(struct kubernetes *k)
{
	for (struct settling *s = k->settling; s; s = s->next) {
		if (!s->epoch)
			s->epoch = k->m->epoch;
	}
	settle_check(k);
}

void settle_answer(struct record *r, struct rpc_request *req, json_t *answer)
{
	struct kubernetes *k = r->k;
	struct settling *s = k->nsettling < SETTLING_MAX ? calloc(1, sizeof(*s)) : NULL;

	records_changed(k);
	if (!s || !answer) {
		free(s);
		warn(answer, "too many others wait for theirs");
		rpc_reply(req, answer);
		return;
	}
	*s = (struct settling){.next = k->settling,
			       .req = req,
			       .answer = answer,
			       .until = clock_boot() + SETTLE_S * NSEC_PER_SEC};
	memcpy(s->uid, r->o.uid, sizeof(s->uid));
	k->settling = s;
	k->nsettling++;
}

void settle_free(struct kubernetes *k)
{
	struct settling *s;

	while ((s = k->settling)) {
		k->settling = s->next;
		rpc_reply(s->req, s->answer);
		free(s);
	}
	k->nsettling = 0;
}
