/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Agents. The first message of an agent carries its pod's token; nothing is answered before the API server has said that the token
 * is true (TokenReview) and the watch of pods knows the pod. Then the agent becomes a peer, and we call it back. How much the API server
 * is asked is bounded, in all and for each source; what is rubbish on its face it never sees.
 */
#include <errno.h>
#include <stdio.h>

#include "base/file.h"
#include "base/log.h"
#include "manager/jwt.h"
#include "manager/kubernetes.h"

#define AUDIENCE "culvert"

enum { LEARN_EVERY_S = 60 };

/* WAITING for a turn; ASKED: request is set; VERIFIED: it is true, its pod is not seen yet. */
enum review_state { REVIEW_WAITING, REVIEW_ASKED, REVIEW_VERIFIED };

struct review {
	struct review *next;
	struct agents *a;
	enum review_state state;
	uint8_t pub[KEY_LEN];
	struct path from;
	struct token_call *request;
	nsec_t since;
	char uid[40]; /* as the token says, then as the API server says */
	char *token;  /* WAITING, ASKED */
	size_t len;
};

struct agents {
	struct kubernetes *k;
	struct review *reviews; /* oldest first */
	unsigned n, asked;
	nsec_t second, learnt; /* that `this_second` counts in; when the issuer was read */
	unsigned this_second;  /* reviews */
	struct refused {
		uint8_t pub[KEY_LEN];
		nsec_t at;
	} refused[REFUSED_KEYS];
	unsigned next_refused;
	char issuer[JWT_ISSUER_MAX]; /* of our own token; "" = not known */
	struct log_limit full, rubbish, denied, trouble;
};

static void ask_more(struct agents *a);

static void review_end(struct review *v)
{
	struct agents *a = v->a;
	struct review **at = &a->reviews;

	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
	a->n--;
	a->asked -= v->state == REVIEW_ASKED;
	token_cancel(v->request);
	if (v->token)
		crypto_wipe(v->token, v->len);
	free(v->token);
	free(v);
}

static void refuse(struct agents *a, const uint8_t *pub)
{
	struct refused *r = &a->refused[a->next_refused++ % REFUSED_KEYS];

	memcpy(r->pub, pub, KEY_LEN);
	r->at = clock_boot();
}

static bool is_refused(const struct agents *a, const uint8_t *pub)
{
	nsec_t now = clock_boot();

	for (int i = 0; i < REFUSED_KEYS; i++) {
		if (a->refused[i].at && now - a->refused[i].at < REFUSED_KEY_TTL_S * NSEC_PER_SEC &&
		    !memcmp(a->refused[i].pub, pub, KEY_LEN))
			return true;
	}
	return false;
}

/* --- in ------------------------------------------------------------------------------------------------------- */

/* One live key a pod: who starts anew makes a new one. */
static void admit(struct agents *a, const struct review *v, struct pod *pod)
{
	struct manager *m = a->k->m;
	struct peer_record rec = {.role = ROLE_AGENT};
	char name[PEER_NAME_MAX + 1];

	if (pod->peer) {
		log_info("agent %s: has started anew", pod->peer->name);
		peer_free(pod->peer);
	}
	snprintf(name, sizeof(name), "%s/%.253s", pod->ns, pod->name);
	memcpy(rec.pub, v->pub, KEY_LEN);
	pod->peer = peer_new(m, name, &rec, PEER_REGISTERED);
	if (!pod->peer)
		return;
	pod->peer->pod = pod;
	pod->told = pod->calling = false;
	pod->confirmed_epoch = pod->sent_epoch = 0;
	overlay_peer_set_path(pod->peer->overlay, &v->from);
	overlay_peer_initiate(node_overlay(m->node), pod->peer->overlay, true, clock_boot());
	log_debug("agent %s: its token is true", name);
}

void agents_pod_seen(struct kubernetes *k, struct pod *pod)
{
	for (struct review *v = k->agents->reviews, *next; v; v = next) {
		next = v->next;
		if (v->state == REVIEW_VERIFIED && !strcmp(v->uid, pod->uid)) {
			admit(k->agents, v, pod);
			review_end(v);
		}
	}
}

/* --- asking the API server ------------------------------------------------------------------------------------- */

static void settled(struct review *v, const struct token_review *t)
{
	struct agents *a = v->a;
	struct pod *pod;

	if (!t->user || !*t->pod_uid || strlen(t->pod_uid) >= sizeof(v->uid)) {
		log_limited(&a->denied, 10 * NSEC_PER_SEC,
			    "agent: the API server does not accept the token of pod %s", v->uid);
		refuse(a, v->pub);
		review_end(v);
		return;
	}
	memcpy(v->uid, t->pod_uid, strlen(t->pod_uid) + 1);
	pod = pod_find(a->k, v->uid);
	if (pod) {
		admit(a, v, pod);
		review_end(v);
		return;
	}
	v->state = REVIEW_VERIFIED;
	v->since = clock_boot();
	crypto_wipe(v->token, v->len);
	free(v->token);
	v->token = NULL;
}

static void on_reviewed(void *arg, const struct token_review *t, const char *why)
{
	struct review *v = arg;
	struct agents *a = v->a;

	v->request = NULL;
	v->state = REVIEW_WAITING;
	a->asked--;
	if (why) {
		log_limited(&a->trouble, 10 * NSEC_PER_SEC, "TokenReview: %s", why);
		review_end(v); /* the agent will come again */
	} else {
		settled(v, t);
	}
	ask_more(a);
}

static int ask(struct review *v)
{
	struct agents *a = v->a;
	int r = token_review(a->k, v->token, v->len, on_reviewed, v, &v->request);

	if (r == 0) {
		v->state = REVIEW_ASKED;
		a->asked++;
	}
	return r;
}

static void ask_more(struct agents *a)
{
	nsec_t now = clock_boot();

	if (now - a->second >= NSEC_PER_SEC) {
		a->second = now;
		a->this_second = 0;
	}
	for (struct review *v = a->reviews, *next; v; v = next) {
		if (a->asked == REVIEWS_IN_FLIGHT || a->this_second == REVIEWS_PER_S)
			return; /* an answer, or a tick, brings us here again */
		next = v->next;
		if (v->state != REVIEW_WAITING)
			continue;
		a->this_second++;
		if (ask(v))
			review_end(v);
	}
}

/* --- knocking --------------------------------------------------------------------------------------------------- */

static bool fits(struct agents *a, const struct path *from)
{
	struct ipaddr ip = sockaddr_ip(&from->remote);
	unsigned same = 0;

	for (const struct review *v = a->reviews; v; v = v->next) {
		struct ipaddr other = sockaddr_ip(&v->from.remote);

		same += v->from.transport == from->transport && ipaddr_equal(&ip, &other);
	}
	if (a->n < REVIEWS_QUEUE + REVIEWS_IN_FLIGHT && same < REVIEWS_PER_SOURCE)
		return true;
	log_limited(&a->full, 60 * NSEC_PER_SEC,
		    "agents: more tokens wait to be reviewed than are allowed; dropped");
	return false;
}

/* Our own token is of the issuer that agents' tokens are of. */
static void learn_issuer(struct agents *a)
{
	static const char path[] = "/var/run/secrets/kubernetes.io/serviceaccount/token";
	char *text = NULL;
	size_t len = 0;
	struct error e;
	struct jwt j;

	a->learnt = clock_boot();
	if (file_read(path, JWT_MAX, &text, &len, &e))
		return;
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	if (jwt_read(&j, text, len, NULL, &e) == 0)
		memcpy(a->issuer, j.issuer, sizeof(a->issuer));
	crypto_wipe(text, len);
	free(text);
}

static bool is_issuer(const struct agents *a, const struct jwt *j)
{
	return !*a->issuer || !strcmp(a->issuer, j->issuer);
}

static bool plausible(struct agents *a, const struct knock *knock, struct jwt *j)
{
	nsec_t now = clock_boot();
	struct error e;

	if (jwt_read(j, knock->token, knock->token_len, AUDIENCE, &e) == 0) {
		/* An API server may be given another. */
		if (!is_issuer(a, j) && now - a->learnt > LEARN_EVERY_S * NSEC_PER_SEC)
			learn_issuer(a);
		if (j->expires < (int64_t)(clock_real() / NSEC_PER_SEC))
			error_set(&e, -EINVAL, "the token has expired");
		else if (!is_issuer(a, j))
			error_set(&e, -EINVAL, "the token is of another issuer");
		else
			return true;
	}
	log_limited(&a->rubbish, 60 * NSEC_PER_SEC, "agent: %s", e.text);
	return false;
}

void agents_knock(struct kubernetes *k, const struct knock *knock)
{
	struct agents *a = k->agents;
	struct review *v, **end = &a->reviews;
	struct jwt j;

	for (v = a->reviews; v; v = v->next) {
		end = &v->next;
		if (memcmp(v->pub, knock->pub, KEY_LEN) != 0)
			continue;
		v->from = *knock->from; /* it asks again: that is where it is */
		return;
	}
	if (is_refused(a, knock->pub) || !plausible(a, knock, &j) || !fits(a, knock->from))
		return;
	v = calloc(1, sizeof(*v));
	if (!v)
		return;
	*v = (struct review){.a = a, .from = *knock->from, .since = clock_boot()};
	memcpy(v->pub, knock->pub, KEY_LEN);
	snprintf(v->uid, sizeof(v->uid), "%s", j.uid);
	v->len = knock->token_len;
	v->token = strndup(knock->token, v->len);
	*end = v;
	a->n++;
	if (!v->token)
		review_end(v);
	else
		ask_more(a);
}

void agents_tick(struct agents *a, nsec_t now)
{
	for (struct review *v = a->reviews, *next; v; v = next) {
		next = v->next;
		if (v->state == REVIEW_VERIFIED && now - v->since > VERIFIED_TTL_S * NSEC_PER_SEC)
			review_end(v);
	}
	ask_more(a);
}

/* --- life ------------------------------------------------------------------------------------------------------- */

int agents_new(struct kubernetes *k)
{
	k->agents = calloc(1, sizeof(*k->agents));
	if (!k->agents)
		return -ENOMEM;
	k->agents->k = k;
	learn_issuer(k->agents);
	return 0;
}

void agents_free(struct agents *a)
{
	while (a && a->reviews)
		review_end(a->reviews);
	free(a);
}
