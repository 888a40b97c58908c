/* SPDX-License-Identifier: Apache-2.0 */
/* The intercepts of this laptop as the manager told them last. */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/intake.h"
#include "daemon/intercepts.h"
#include "intercept/intercept.h"

/* Opens the intake for exactly the ports of the snapshot. */
static void set_intake(struct intercepts *in)
{
	struct intake_port ports[INTAKE_PORTS];
	struct intercept one;
	unsigned n = 0, k;
	size_t i;
	json_t *v;

	json_array_foreach(in->list, i, v)
	{
		struct error e;

		if (intercept_from_json(&one, json_object_get(v, "intercept"), &e)) {
			log_warn("manager: an intercept cannot be read: %s", e.text);
			continue;
		}
		for (k = 0; k < one.nports && n < INTAKE_PORTS; k++, n++) {
			snprintf(ports[n].intercept, sizeof(ports[n].intercept), "%s", one.name);
			ports[n].overlay = one.port[k].overlay;
			ports[n].udp = one.port[k].udp;
			ports[n].local = one.port[k].local;
		}
	}
	if (intake_set(in->intake, ports, n))
		log_warn("intake: out of memory");
}

static void replace(struct intercepts *in, json_t *list)
{
	json_decref(in->list);
	in->list = list;
	set_intake(in);
}

int intercepts_init(struct intercepts *in, struct intake *intake)
{
	in->intake = intake;
	in->list = json_array();
	return in->list ? 0 : -ENOMEM;
}

void intercepts_clear(struct intercepts *in)
{
	json_decref(in->list);
	in->list = NULL;
}

int intercepts_take(struct intercepts *in, json_t *list)
{
	if (!json_is_array(list))
		return -EINVAL;
	replace(in, json_incref(list));
	return 0;
}

static void drop(json_t *list, const char *name)
{
	size_t i = json_array_size(list);

	while (i--) {
		json_t *one = json_object_get(json_array_get(list, i), "intercept");
		const char *has = json_string_value(json_object_get(one, "name"));

		if (has && !strcmp(has, name))
			json_array_remove(list, i);
	}
}

void intercepts_granted(struct intercepts *in, const json_t *intercept)
{
	const char *name = json_string_value(json_object_get(intercept, "name"));
	json_t *list = json_copy(in->list);

	if (!name || !list)
		return;
	drop(list, name);
	json_array_append_new(list, json_pack("{s:O,s:i,s:i,s:s}", "intercept",
					      (json_t *)(uintptr_t)intercept, "agents", 0,
					      "connections", 0, "state", "WAITING"));
	replace(in, list);
}

void intercepts_left(struct intercepts *in, const char *name)
{
	json_t *list = json_copy(in->list);

	if (!list)
		return;
	drop(list, name);
	replace(in, list);
}

void intercepts_set_header(json_t *to, const json_t *intercept)
{
	char value[HTTP_ID_TEXT_LEN], header[sizeof(HTTP_ID_HEADER) + 1 + sizeof(value)];
	struct intercept in;

	if (intercept_from_json(&in, intercept, NULL) || in.mechanism != MECHANISM_HTTP ||
	    (in.match.mode != HTTP_MATCH_AUTO && !in.preview))
		return;
	http_id_text(value, in.id, in.name);
	snprintf(header, sizeof(header), HTTP_ID_HEADER ": %s", value);
	json_object_set_new(to, "header", json_string(header));
}
