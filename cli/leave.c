/* SPDX-License-Identifier: Apache-2.0 */
/* culvert leave: ends an intercept. */
#include "cli/internal.h"

static int exec_leave(const struct args *a)
{
	json_t *result;
	struct error e;

	if (client_once("leave", json_pack("{s:s}", "name", a->pos[0]), "Leaving", &result, &e))
		return cli_fail(&e);
	json_decref(result);
	return EXIT_OK;
}

static void complete_intercepts(void)
{
	json_t *status, *v;
	size_t i;

	if (client_once("status", json_object(), NULL, &status, NULL))
		return;
	json_array_foreach(json_object_get(status, "intercepts"), i, v)
	{
		complete_name(get_text(json_object_get(v, "intercept"), "name"));
	}
	json_decref(status);
}

static const struct flag no_flags[] = {{0}};

const struct command cmd_leave = {
	.name = "leave",
	.args = "NAME",
	.summary = "End an intercept",
	.about = "NAME is the intercept's, as `culvert status` lists it.",
	.flags = no_flags,
	.min_args = 1,
	.max_args = 1,
	.example = "culvert leave hello-shop",
	.exec = exec_leave,
	.complete = complete_intercepts,
};
