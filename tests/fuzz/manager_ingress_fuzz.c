/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever objects the API server has, what is guessed of them is bounded text, and no host without a port. */
#include <stdlib.h>

#include "manager/ingress.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const json_t *list(const json_t *all, const char *name)
{
	return json_object_get(all, name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	json_t *all = json_loadb((const char *)data, len, 0, NULL), *kept = json_array(), *s;
	const char *const names[] = {"cart", "orders"};
	struct ingress_guess g;
	size_t i;

	json_array_foreach(json_object_get(all, "services"), i, s)
	{
		if (ingress_may_use(s))
			json_array_append(kept, s);
	}
	ingress_guess(&g,
		      &(struct ingress_world){list(all, "ingresses"), list(all, "classes"),
					      list(all, "routes"), list(all, "gateways"), kept},
		      "shop", names, ARRAY_SIZE(names));
	if (strlen(g.host) > INGRESS_HOST_MAX || strlen(g.l5) > INGRESS_HOST_MAX || !*g.why ||
	    (*g.host && !g.port))
		abort();
	json_decref(kept);
	json_decref(all);
	return 0;
}
