/* SPDX-License-Identifier: Apache-2.0 */
/* webhook: a pod that is never made. */
#include "cli/webhook.h"

#include <errno.h>

#include "objects/objects.h"

enum { AGAIN_MS = 250 };

/* Anybody's pod, which passes Pod Security `restricted`. */
static json_t *marked_pod(void)
{
	static const struct mark mark = {
		.workload = "culvert-probe",
		.nports = 1,
		.port = {{.name = "http", .target = 8080, .how = MARK_RENAME}},
	};
	cleanup(free_ptr) char *text = mark_format(&mark);

	return text ? json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:{s:[{s:s, s:s, s:[{s:s, s:i}], "
				"s:{s:b, s:b, s:{s:[s]}, s:{s:s}}}]}}",
				"apiVersion", "v1", "kind", "Pod", "metadata", "generateName",
				"culvert-probe-", "annotations", MARK_ANNOTATION, text, "spec",
				"containers", "name", "app", "image", "none", "ports", "name",
				"http", "containerPort", 8080, "securityContext", "runAsNonRoot",
				true, "allowPrivilegeEscalation", false, "capabilities", "drop",
				"ALL", "seccompProfile", "type", "RuntimeDefault")
		    : NULL;
}

/* The pod has but one container; the agent comes as a second one, or as a sidecar. */
static bool has_agent(const json_t *pod)
{
	return json_array_size(object_get(pod, "spec", "containers", NULL)) > 1 ||
	       json_array_size(object_get(pod, "spec", "initContainers", NULL)) > 0;
}

int webhook_wait(struct cluster *c, unsigned seconds, struct error *e)
{
	nsec_t end = clock_boot() + seconds * NSEC_PER_SEC;
	json_t *pod = marked_pod(), *made;
	int r = pod ? 0 : -ENOTSUP;

	while (!r) {
		r = cluster_post(c, &made, e, "/api/v1/namespaces/default/pods?dryRun=All", pod);
		if (r) {
			r = r == -EINTR ? r : -ENOTSUP;
			break;
		}
		r = has_agent(made);
		json_decref(made);
		if (r || clock_boot() >= end)
			break;
		r = cluster_sleep(c, AGAIN_MS, e);
	}
	json_decref(pod);
	return r;
}
