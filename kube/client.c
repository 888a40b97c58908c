/* SPDX-License-Identifier: Apache-2.0 */
/* The client: what its requests, watches and upgrades share. */
#include <errno.h>

#include "kube/internal.h"

int kube_client_new(struct kube_client **cp, struct event_base *base, struct kube_config *config,
		    const struct kube_options *options, struct error *e)
{
	struct kube_client *c = calloc(1, sizeof(*c));

	if (!c)
		return error_errno(e, -ENOMEM, "kubernetes");
	TAILQ_INIT(&c->requests);
	TAILQ_INIT(&c->watches);
	TAILQ_INIT(&c->upgrades);
	c->base = base;
	c->agent = strdup(options && options->agent ? options->agent : "culvert/" CULVERT_VERSION);
	if (!c->agent || fetch_multi_new(&c->multi, base) ||
	    kube_auth_new(&c->auth, base, config, options)) {
		kube_client_free(c);
		return error_errno(e, -ENOMEM, "kubernetes");
	}
	c->config = config;
	*cp = c;
	return 0;
}

void kube_client_free(struct kube_client *c)
{
	if (!c)
		return;
	while (!TAILQ_EMPTY(&c->watches))
		kube_watch_drop(TAILQ_FIRST(&c->watches));
	while (!TAILQ_EMPTY(&c->upgrades))
		kube_upgrade_drop(TAILQ_FIRST(&c->upgrades));
	while (!TAILQ_EMPTY(&c->requests))
		kube_cancel(TAILQ_FIRST(&c->requests));
	fetch_multi_free(c->multi);
	kube_auth_free(c->auth);
	kube_config_free(c->config);
	free(c->agent);
	free(c);
}

const struct kube_config *kube_client_config(const struct kube_client *c)
{
	return c->config;
}

void kube_note_address(struct kube_client *c, CURL *easy)
{
	char *text = NULL;
	struct ipaddr a;
	unsigned i = 0;

	if (curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &text) || !text || ipaddr_parse(&a, text))
		return;
	while (i < c->naddresses && !ipaddr_equal(&c->address[i], &a))
		i++;
	if (i == c->naddresses)
		c->naddresses = MIN(c->naddresses + 1, (unsigned)KUBE_ADDRESSES);
	i = MIN(i, (unsigned)KUBE_ADDRESSES - 1);
	memmove(c->address + 1, c->address, i * sizeof(a));
	c->address[0] = a;
}

unsigned kube_client_addresses(const struct kube_client *c, struct ipaddr *out, unsigned max)
{
	unsigned n = MIN(max, c->naddresses);

	memcpy(out, c->address, n * sizeof(*out));
	return n;
}
