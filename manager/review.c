/* SPDX-License-Identifier: Apache-2.0 */
/* TokenReview: what the API server says of a service account's token. It is believed, the token is not. */
#include <errno.h>

#include "manager/kubernetes.h"

#define AUDIENCE "culvert"

struct token_call {
	struct kubernetes *k;
	struct kube_request *request;
	token_review_cb *cb;
	void *arg;
};

static bool for_us(const json_t *status)
{
	const json_t *item;
	size_t i;

	json_array_foreach(object_get(status, "audiences", NULL), i, item)
	{
		if (json_is_string(item) && !strcmp(json_string_value(item), AUDIENCE))
			return true;
	}
	return false;
}

static struct token_review read_status(const json_t *answer)
{
	const json_t *status = object_get(answer, "status", NULL);
	const json_t *pod =
		object_get(status, "user", "extra", "authentication.kubernetes.io/pod-uid", NULL);
	const char *uid = json_string_value(json_array_get(pod, 0));
	struct token_review t = {.user = NULL, .pod_uid = ""};

	if (!json_is_true(json_object_get(status, "authenticated")) || !for_us(status))
		return t;
	t.user = object_text(status, "user", "username", NULL);
	t.pod_uid = uid ? uid : "";
	return t;
}

static void on_reviewed(void *arg, const struct kube_reply *reply)
{
	struct token_call *c = arg;
	json_t *answer = reply->failure ? NULL : json_loadb(reply->body, reply->len, 0, NULL);
	struct token_review t = read_status(answer);

	c->cb(c->arg, &t, reply->failure ? reply->sentence : NULL);
	json_decref(answer);
	free(c);
}

static int ask(struct token_call *c, const char *token, size_t len)
{
	json_t *body = json_pack("{s:s, s:s, s:{s:s%, s:[s]}}", "apiVersion",
				 "authentication.k8s.io/v1", "kind", "TokenReview", "spec", "token",
				 token, len, "audiences", AUDIENCE);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct kube_call call = {.method = "POST",
				 .path = "/apis/authentication.k8s.io/v1/tokenreviews",
				 .body = text};
	int r = -ENOMEM;

	json_decref(body);
	if (text) {
		call.len = strlen(text);
		r = kube_request(c->k->client, &call, on_reviewed, c, &c->request);
		crypto_wipe(text, call.len);
	}
	free(text);
	return r;
}

int token_review(struct kubernetes *k, const char *token, size_t len, token_review_cb *cb,
		 void *arg, struct token_call **tp)
{
	struct token_call *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	*c = (struct token_call){.k = k, .cb = cb, .arg = arg};
	r = ask(c, token, len);
	if (r)
		free(c);
	else
		*tp = c;
	return r;
}

void token_cancel(struct token_call *c)
{
	if (c && c->k->client)
		kube_cancel(c->request);
	free(c);
}
