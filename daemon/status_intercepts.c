/* SPDX-License-Identifier: Apache-2.0 */
/* status: the intercepts, as the manager told them last, and what arrived here. */
#include <stdio.h>

#include "daemon/intake.h"
#include "daemon/intercepts.h"
#include "daemon/internal.h"
#include "daemon/session.h"
#include "daemon/tunnel.h"

static json_int_t figure(const json_t *item, const char *group, const char *name)
{
	return json_integer_value(json_object_get(json_object_get(item, group), name));
}

/* What agents have met on its ports, and HTTP matches are of no use with. */
static void warn_http(const json_t *item, const char *name, json_t *warnings)
{
	json_int_t tls = figure(item, "seen", "tls"),
		   limits = figure(item, "trouble", "regex_limits"),
		   heads = figure(item, "trouble", "bad_heads");

	if (tls)
		status_warn(
			warnings,
			"intercept %s: %lld connections to its ports were TLS, in which requests "
			"cannot be seen: they go to the application. Intercept with "
			"--mechanism=tcp to take them",
			name, (long long)tls);
	if (limits)
		status_warn(warnings,
			    "intercept %s: a regular expression took too long %lld times, which "
			    "counts as no match: make it simpler",
			    name, (long long)limits);
	if (heads)
		status_warn(
			warnings,
			"intercept %s: %lld requests to its ports were no proper HTTP: they, and "
			"what came behind them, went to the application",
			name, (long long)heads);
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
		if (name)
			warn_http(one, name, warnings);
		json_array_append_new(out, one);
	}
	return out;
}
