/* SPDX-License-Identifier: Apache-2.0 */
/* status: the intercepts, as the manager told them last, and what arrived here. */
#include <stdio.h>

#include "daemon/intake.h"
#include "daemon/intercepts.h"
#include "daemon/internal.h"
#include "daemon/session.h"
#include "daemon/tunnel.h"

/* Of the manager: each begins a sentence of its own. */
static void take_warnings(const json_t *item, const char *name, json_t *warnings)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(item, "warnings"), i, v)
	{
		if (name && json_is_string(v))
			status_warn(warnings, "intercept %s: %s", name, json_string_value(v));
	}
}

json_t *status_intercepts(struct session *s, json_t *warnings)
{
	json_t *out = json_array(), *v;
	size_t i;

	json_array_foreach(session_intercepts(s), i, v)
	{
		json_t *one = json_deep_copy(v);
		const json_t *in = json_object_get(one, "intercept");
		const char *name = json_string_value(json_object_get(in, "name"));
		unsigned open = 0;
		uint64_t total = 0;

		if (name)
			intake_count(tunnel_intake(session_tunnel(s)), name, &open, &total);
		/* Counted here, where they arrive; the manager's number comes from agents a second
		 * later. */
		json_object_set_new(one, "connections", json_integer((json_int_t)total));
		json_object_set_new(one, "connections_open", json_integer(open));
		intercepts_set_header(one, in);
		take_warnings(one, name, warnings);
		json_array_append_new(out, one);
	}
	return out;
}
