/* SPDX-License-Identifier: Apache-2.0 */
/* culvert list: the workloads, and who intercepts them. */
#include "cli/internal.h"
#include "intercept/intercept.h"

enum { STATE_LEN = 512 };

/* A text that is cut where it is full. */
static void printf_like(2, 3) append(char text[static STATE_LEN], const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + len, STATE_LEN - len, fmt, ap);
	va_end(ap);
}

/* ", x-culvert-intercept-id" or ", x-user, /api": by what requests are told. */
static void append_match(char text[static STATE_LEN], const json_t *match)
{
	const char *mode = get_text(match, "mode");
	json_t *v;
	size_t i;

	if (!strcmp(mode, "auto"))
		append(text, ", " HTTP_ID_HEADER);
	else if (!strcmp(mode, "all"))
		append(text, ", all");
	json_array_foreach(json_object_get(match, "conditions"), i, v)
	{
		append(text, ", %s", get_text(v, "name"));
	}
	if (*get_text(match, "path"))
		append(text, ", %s", get_text(match, "path"));
}

/* "tcp, port http" or "http, x-culvert-intercept-id" of one who holds it; where there is but one port http needs not name it. */
static void append_holder(char text[static STATE_LEN], const json_t *in, bool one_port)
{
	const json_t *match = json_object_get(in, "match");
	json_t *v;
	size_t i;

	append(text, "%s%s (%s", *text ? "; " : "intercepted by ", get_text(in, "owner"),
	       get_text(in, "mechanism"));
	json_array_foreach(json_object_get(in, "ports"), i, v)
	{
		if (match && one_port)
			break;
		if (json_is_integer(v))
			append(text, ", port %" JSON_INTEGER_FORMAT, json_integer_value(v));
		else
			append(text, ", port %s", json_string_value(v)); /* it may be called http */
	}
	append_match(text, match);
	append(text, ")");
}

static bool has_one_port(const json_t *item)
{
	const json_t *services = json_object_get(json_object_get(item, "workload"), "services");

	return json_array_size(services) == 1 &&
	       json_array_size(json_object_get(json_array_get(services, 0), "ports")) == 1;
}

static bool has_services(const json_t *item)
{
	return json_array_size(json_object_get(json_object_get(item, "workload"), "services"));
}

static void describe(char text[static STATE_LEN], const json_t *item)
{
	json_t *v;
	size_t i;

	text[0] = 0;
	json_array_foreach(json_object_get(item, "intercepts"), i, v)
	{
		append_holder(text, v, has_one_port(item));
	}
	if (text[0])
		return;
	if (json_is_true(json_object_get(item, "ready")) && *get_text(item, "agent"))
		snprintf(text, STATE_LEN, "ready to intercept (agent %s)", get_text(item, "agent"));
	else if (json_is_true(json_object_get(item, "ready")))
		snprintf(text, STATE_LEN, "ready to intercept");
	else if (!*get_text(item, "agent") && !get_int(item, "agents") && has_services(item))
		snprintf(text, STATE_LEN, "no agent is connected: an intercept waits until one is");
	else
		snprintf(text, STATE_LEN, "cannot be intercepted: %s", get_text(item, "reason"));
}

static int print_text(const json_t *list, bool all)
{
	unsigned rows = (unsigned)json_array_size(list), cols = all ? 4 : 3, c;
	cleanup(free_ptr) const char **cells = calloc(rows * cols + 1, sizeof(*cells));
	cleanup(free_ptr) char(*states)[STATE_LEN] = calloc(rows + 1, sizeof(*states));
	json_t *item;
	size_t i;

	if (!cells || !states)
		return EXIT_FAILED;
	json_array_foreach((json_t *)(uintptr_t)list, i, item)
	{
		const json_t *w = json_object_get(item, "workload");

		describe(states[i], item);
		c = 0;
		if (all)
			cells[i * cols + c++] = get_text(w, "namespace");
		cells[i * cols + c++] = get_text(w, "kind");
		cells[i * cols + c++] = get_text(w, "name");
		cells[i * cols + c] = states[i];
	}
	table_print(stdout, cells, rows, cols);
	return EXIT_OK;
}

static int exec_list(const struct args *a)
{
	const char *ns = args_text(a, "namespace");
	bool all = args_bool(a, "all-namespaces");
	json_t *params = json_pack("{s:b}", "all", all), *result, *list;
	struct error e;
	int code = EXIT_OK;

	if (ns)
		json_object_set_new(params, "namespace", json_string(ns));
	if (client_once("list", params, "Listing", &result, &e))
		return cli_fail(&e);
	list = json_object_get(result, "workloads");
	if (output_of(a) != OUTPUT_TEXT)
		output_print(output_of(a), result, stdout);
	else if (json_array_size(list))
		code = print_text(list, all);
	else if (all)
		fputs("no workloads\n", stderr);
	else
		fprintf(stderr,
			"no workloads in namespace %s; `culvert list -A` shows all namespaces\n",
			get_text(result, "namespace"));
	json_decref(result);
	return code;
}

static const struct flag flags[] = {
	{"namespace", 'n', FLAG_TEXT, false, "NAME", "another namespace than the connected one",
	 NULL},
	{"all-namespaces", 'A', FLAG_BOOL, false, NULL, "all namespaces", NULL},
	FLAG_OUTPUT,
	{0},
};

const struct command cmd_list = {
	.name = "list",
	.args = "",
	.summary = "List the workloads and who intercepts them",
	.about = "",
	.flags = flags,
	.example = "culvert list -n shop",
	.exec = exec_list,
};
