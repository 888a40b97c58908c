/* SPDX-License-Identifier: Apache-2.0 */
/* What the API server refuses, as sentences with a remedy. */
#include <stdio.h>

#include "daemon/refusal.h"
#include "objects/objects.h"
#include "rpc/rpc.h"

/* The right that is missing, and what grants it, if there is room for all of it: half a manifest is none. */
void refusal_denied(struct error *e, const struct kube_denied *denied, const char *sentence)
{
	static const char all[] = "An administrator grants all that connect needs with: culvert "
				  "install --allow-group GROUP";
	cleanup(free_ptr) char *yaml = kube_denied_yaml(denied);
	bool other = !strcmp(denied->verb, "impersonate"); /* install grants it to nobody */
	const char *alone = other ? "An administrator allows it with" : ", this alone with";
	const char *remedy = other ? "" : all;
	size_t len = yaml ? strlen(yaml) : 0;

	if (len && strlen(sentence) + len + sizeof(all) + 32 < sizeof(e->text))
		error_set(e, 0, "%s. %s%s:\n%.*s", sentence, remedy, alone, (int)len - 1, yaml);
	else
		error_set(e, 0, "%s. %s", sentence, other ? "Leave --as out" : all);
}

int refusal_code(enum kube_failure f)
{
	switch (f) {
	case KUBE_FORBIDDEN:
	case KUBE_UNAUTHORIZED:
	case KUBE_CREDENTIALS:
		return RPC_FORBIDDEN;
	case KUBE_NOT_FOUND:
		return RPC_NOT_FOUND;
	case KUBE_TIMEOUT:
		return RPC_TIMEOUT;
	default:
		return RPC_FAILED;
	}
}

/* The command of the credential plugin that may be what takes so long. */
void refusal_plugin(const struct kube_config *c, char *buf, size_t size)
{
	json_t *view = kube_config_view(c);
	json_t *user = json_array_get(json_object_get(view, "users"), 0);
	const char *command = object_text(user, "user", "exec", "command", NULL);

	*buf = '\0';
	if (*command)
		snprintf(buf, size, ", or for the credential plugin '%.128s'", command);
	json_decref(view);
}
