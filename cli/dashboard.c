/* SPDX-License-Identifier: Apache-2.0 */
/* culvert dashboard: the page of who intercepts what, opened with a ticket that is good once. */
#include "cli/internal.h"

static int exec_dashboard(const struct args *a)
{
	json_t *result;
	struct error e;

	if (client_once("dashboard", json_object(), "Asking the manager", &result, &e))
		return cli_fail(&e);
	if (output_of(a) != OUTPUT_TEXT) {
		output_print(output_of(a), result, stdout);
	} else {
		puts(get_text(result, "url"));
		if (!browser_open(get_text(result, "url")))
			fputs("Good once, for a minute.\n", stderr);
	}
	json_decref(result);
	return EXIT_OK;
}

static const struct flag flags[] = {FLAG_OUTPUT, {0}};

const struct command cmd_dashboard = {
	.name = "dashboard",
	.args = "",
	.summary = "Show the page of intercepts, previews and live requests",
	.about = "Prints its address with a ticket that logs you in, once and within a minute, and "
		 "opens "
		 "it where there is a desktop.",
	.flags = flags,
	.example = "culvert dashboard",
	.exec = exec_dashboard,
};
