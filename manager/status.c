/* SPDX-License-Identifier: Apache-2.0 */
/* How often an object's status is written, and what objects hear that we do not keep. */
#include <stdio.h>

#include "base/log.h"
#include "manager/kubernetes.h"

enum {
	WRITES_BURST =
		8, /* then one a second: whoever makes a status change is not to cost the API server more */
	RETRY_FIRST_S = 2,
	RETRY_LAST = 5, /* doublings */
};

bool writer_ready(struct writer *w)
{
	return !w->request && w->retry_at <= clock_boot() &&
	       budget_take(&w->until, WRITES_BURST, NSEC_PER_SEC);
}

bool writer_answered(struct kubernetes *k, struct writer *w, const struct kube_reply *reply)
{
	nsec_t wait;
	uint16_t jitter;

	w->request = NULL;
	if (reply->failure == KUBE_OK || reply->failure == KUBE_NOT_FOUND) {
		w->failures = 0;
		return true;
	}
	log_limited(&k->status_trouble, 60 * NSEC_PER_SEC, "status: cannot be written: %s",
		    reply->sentence);
	crypto_random(&jitter, sizeof(jitter)); /* what failed together is not tried together */
	wait = RETRY_FIRST_S * NSEC_PER_SEC << MIN(w->failures, (unsigned)RETRY_LAST);
	w->failures++;
	w->retry_at = clock_boot() + wait + wait / 2 * jitter / UINT16_MAX;
	return false;
}

/* --- objects that are not kept ----------------------------------------------------------------------------- */

static void on_refused(void *arg, const struct kube_reply *reply)
{
	struct kubernetes *k = arg;

	k->refusing--;
	if (reply->failure && reply->failure != KUBE_NOT_FOUND)
		log_debug("status: %s", reply->sentence);
}

void status_refuse(struct kubernetes *k, const json_t *object, const char *path, const char *phase,
		   const char *why)
{
	char full[512];
	json_t *patch;

	log_limited(&k->full, 10 * NSEC_PER_SEC, "%s: not kept: %s", path, why);
	/* Our own write comes back as a change; and whoever makes many does not make us write many at once. */
	if (!strcmp(object_text(object, "status", "message", NULL), why) ||
	    k->refusing >= REFUSALS_IN_FLIGHT ||
	    snprintf(full, sizeof(full), "%s/status", path) >= (int)sizeof(full))
		return;
	patch = json_pack("{s:{s:s, s:s}}", "status", "phase", phase, "message", why);
	if (patch && kube_merge(k->client, full, patch, "culvert", on_refused, k, NULL) == 0)
		k->refusing++;
	json_decref(patch);
}
