/* SPDX-License-Identifier: Apache-2.0 */
/* culvert intercept: takes over a workload's ports, with or without a command that serves them. */
#include <errno.h>
#include <signal.h>

#include "base/duration.h"
#include "cli/choice.h"
#include "rpc/rpc.h"

/* --- the request --- */

static int copy_name(char *to, size_t size, const char *what, const char *from, struct error *e)
{
	if (!from)
		return 0;
	if (strlen(from) >= size)
		return error_set(e, -EINVAL, "%s is longer than %zu characters", what, size - 1);
	memcpy(to, from, strlen(from) + 1);
	return 0;
}

/* As the daemon would read it: what it cannot be asked is wrong usage. */
static int check_names(const struct intercept_request *r, struct error *e)
{
	json_t *j = intercept_request_to_json(r);
	struct intercept_request same;
	int err = intercept_request_from_json(&same, j, e);

	json_decref(j);
	return err;
}

/* "deployment/hello" in `text`: the kind goes to `kind` and what is behind it is given back. NULL: no such kind. */
static const char *split_kind(const char *text, const char **kind, struct error *e)
{
	static char name[16];
	const char *slash = text ? strchr(text, '/') : NULL;
	enum workload_kind k;

	if (!slash)
		return text;
	snprintf(name, sizeof(name), "%.*s", (int)(slash - text), text);
	if ((size_t)(slash - text) >= sizeof(name) || workload_kind_parse(&k, name) ||
	    k == KIND_HOST) {
		error_set(e, -EINVAL,
			  "%.80s: what can be intercepted is a deployment, a statefulset or a "
			  "replicaset",
			  text);
		return NULL;
	}
	*kind = name;
	return slash + 1;
}

static int make_request(struct intercept_request *r, struct choice *c, const struct args *a,
			const char **kind, struct error *e)
{
	const char *given = args_text(a, "workload");
	const char *split = split_kind(given ? given : a->pos[0], kind, e);
	const char *workload = given ? split : NULL, *name = given ? a->pos[0] : split;
	const char *ns = args_text(a, "namespace"), *on_down = args_text(a, "on-down");
	const char *const *ports;
	unsigned n = args_many(a, "port", &ports), i;
	int err = split ? 0 : -EINVAL;

	memset(r, 0, sizeof(*r));
	r->ns_given = ns != NULL;
	if (!err)
		err = copy_name(r->name, sizeof(r->name), "NAME", name, e);
	if (!err)
		err = copy_name(r->workload, sizeof(r->workload), "--workload", workload, e);
	if (!err)
		err = copy_name(r->ns, sizeof(r->ns), "--namespace", ns, e);
	if (!err)
		err = copy_name(r->service, sizeof(r->service), "--service",
				args_text(a, "service"), e);
	for (i = 0; i < n && !err; i++)
		err = intercept_port_parse(r, ports[i], e);
	if (!err && on_down)
		err = intercept_on_down_parse(r, on_down, e);
	if (!err)
		err = choice_from_flags(c, r, a, e);
	if (!err && !n)
		err = error_set(e, -EINVAL,
				"intercept needs --port LOCAL[:SERVICEPORT]: where your process "
				"listens; for example: %s",
				a->cmd->example);
	return err ? err : check_names(r, e);
}

/* "90", "90s", "2m": seconds. */
static int parse_timeout(const char *text, json_int_t *s, struct error *e)
{
	*s = duration_parse(text, true, 86400);
	if (!*s)
		return error_set(e, -EINVAL,
				 "--timeout '%.30s': write a time such as 90s or 5m, at most a day",
				 text);
	return 0;
}

/* What only Kubernetes needs. */
static int add_options(json_t *params, const struct args *a, const char *kind, struct error *e)
{
	const char *timeout = args_text(a, "timeout");
	json_int_t s;
	int err = timeout ? parse_timeout(timeout, &s, e) : 0;

	if (timeout && !err)
		json_object_set_new(params, "timeout_s", json_integer(s));
	if (kind)
		json_object_set_new(params, "kind", json_string(kind));
	if (args_bool(a, "yes"))
		json_object_set_new(params, "yes", json_true());
	return err;
}

/* --- doing it --- */

static int write_files(const struct args *a, const json_t *env, struct error *e)
{
	const char *file = args_text(a, "env-file"), *json = args_text(a, "env-json");
	const char *syntax = args_text(a, "env-syntax");
	int err = file ? env_write(file, syntax ? syntax : "docker", env, e) : 0;

	return !err && json ? env_write(json, "json", env, e) : err;
}

/* This very one: another of its name may have taken its place, which is another command's to leave. */
static void leave(const json_t *granted)
{
	const char *name = get_text(json_object_get(granted, "intercept"), "name");
	const char *uid = get_text(granted, "uid");
	json_t *params = json_pack("{s:s}", "name", name), *result;
	struct error e;
	int err;

	if (*uid)
		json_object_set_new(params, "uid", json_string(uid));
	err = client_once("leave", params, "Leaving", &result, &e);
	if (!err)
		json_decref(result);
	else if (err != RPC_NOT_FOUND || !*uid)
		fprintf(stderr, "culvert: the intercept %s was not left: %s\n", name, e.text);
}

/* With a command the intercept lasts as long as it does; stdout is the command's. */
static int run(const struct args *a, const json_t *result)
{
	int code;

	report_intercept(stderr, result);
	code = run_command(a->child, json_object_get(result, "environment"));
	leave(result);
	return code;
}

/* What being logged in makes of what the flags left open. 0, or the exit code with the sentence. */
static int settle(struct choice *c, struct intercept_request *r, struct error *e)
{
	json_t *login = NULL;
	struct error note;
	int code;

	if (choice_is_open(c) &&
	    client_once("login", json_object(), "Looking at your login", &login, e))
		return EXIT_FAILED;
	code = choice_settle(c, r, login, &note, e) ? EXIT_FAILED : 0;
	json_decref(login);
	if (!code && *note.text)
		fprintf(stderr, "%s\n", note.text);
	return code;
}

/* Nobody answers four questions to hear that there is no such workload. */
static int look_first(const json_t *params, struct error *e)
{
	json_t *call = json_copy((json_t *)(uintptr_t)params), *result;

	json_object_set_new(call, "check", json_true());
	if (client_once("intercept", call, "Looking for the workload", &result, e))
		return EXIT_FAILED;
	json_decref(result);
	return 0;
}

/* Before anything is made. 0, or the exit code with the sentence. */
static int ask_ingress(struct choice *c, const struct intercept_request *r, const char *kind,
		       const json_t *params, struct error *e)
{
	json_t *about;
	int code;

	if (c->preview != SAID_YES)
		return 0;
	if (ingress_will_ask(&c->ingress) && look_first(params, e))
		return EXIT_FAILED;
	about = json_pack("{s:s,s:s,s:s}", "workload", *r->workload ? r->workload : r->name, "kind",
			  kind ? kind : "", "service", r->service);
	if (r->ns_given)
		json_object_set_new(about, "namespace", json_string(r->ns));
	code = ingress_settle(&c->ingress, about, CHOICE_NO_PREVIEW, e);
	json_decref(about);
	return code;
}

/* It is in force: the preview, if one is wanted, and the files. */
static int complete(const struct args *a, const struct choice *c, json_t *result, struct error *e)
{
	int err = 0;

	if (c->preview == SAID_YES)
		err = preview_make(result, &c->ingress, e);
	else if (c->no_preview && c->http == SAID_YES && *get_text(result, "uid"))
		err = preview_end(result, e);
	if (!err && client_interrupted())
		err = error_set(e, -EINTR, "interrupted");
	return err ? err : write_files(a, json_object_get(result, "environment"), e);
}

static int intercept(const struct args *a, const struct choice *c, json_t *params)
{
	json_t *result;
	struct error e;
	int code = EXIT_OK;

	client_catch_signals();
	/* Interrupted: the connection closes, and the daemon leaves what the manager may grant yet. */
	if (client_once("intercept", params, "Intercepting", &result, &e))
		return cli_fail(&e);
	if (complete(a, c, result, &e)) {
		leave(result);
		code = cli_fail(&e);
	} else if (a->child) {
		code = run(a, result);
	} else if (output_of(a) == OUTPUT_TEXT) {
		report_intercept(stdout, result);
	} else {
		output_print(output_of(a), result, stdout);
	}
	json_decref(result);
	return code;
}

static int exec_intercept(const struct args *a)
{
	struct intercept_request req;
	const char *kind = NULL;
	struct choice choice;
	json_t *params = NULL, *options = json_object();
	struct error e;
	int code = EXIT_USAGE;

	if (!make_request(&req, &choice, a, &kind, &e) && !add_options(options, a, kind, &e))
		code = settle(&choice, &req, &e);
	if (!code) {
		params = intercept_request_to_json(&req);
		json_object_update(params, options);
		code = ask_ingress(&choice, &req, kind, params, &e);
	}
	json_decref(options);
	if (!code)
		return intercept(a, &choice, params);
	json_decref(params);
	return code == EXIT_USAGE ? cli_fail_usage(a->cmd, &e) : cli_fail(&e);
}

static void complete_workloads(void)
{
	json_t *result, *v;
	size_t i;

	if (client_once("list", json_object(), NULL, &result, NULL))
		return;
	json_array_foreach(json_object_get(result, "workloads"), i, v)
	{
		complete_name(get_text(json_object_get(v, "workload"), "name"));
	}
	json_decref(result);
}

static const char *const mechanisms[] = {"tcp", "http", NULL};
static const char *const syntaxes[] = {"docker", "sh", "json", NULL};
static const struct flag flags[] = {
	{"port", 'p', FLAG_TEXT, true, "LOCAL[:SERVICEPORT]",
	 "your process's port, and the service's by name or number if it has several", NULL},
	{"workload", 'w', FLAG_TEXT, false, "[KIND/]NAME",
	 "the workload, if the intercept is to have another name; KIND is deployment, statefulset "
	 "or "
	 "replicaset, where several have the name",
	 NULL},
	{"namespace", 'n', FLAG_TEXT, false, "NAME", "the workload's namespace", NULL},
	{"service", 0, FLAG_TEXT, false, "NAME", "the service, if several select the workload",
	 NULL},
	{"mechanism", 0, FLAG_CHOICE, false, "tcp|http",
	 "what is taken: all TCP connections, or HTTP requests (default http when logged in)",
	 mechanisms},
	{"http-match", 0, FLAG_TEXT, true, "auto|all|HEADER=REGEX",
	 "which requests: those with the intercept's own header, all, or those whose header's "
	 "whole "
	 "value the regular expression matches (default auto)",
	 NULL},
	{"http-path-prefix", 0, FLAG_TEXT, false, "PATH", "and whose path begins so", NULL},
	{"tag-responses", 0, FLAG_BOOL, false, NULL,
	 "add the header x-culvert-served-by to answers: who served", NULL},
	{"preview-url", 0, FLAG_BOOL, false, NULL,
	 "make a URL at which others see your version (default true when logged in; "
	 "--preview-url=false: none)",
	 NULL},
	FLAGS_INGRESS,
	{"on-down", 0, FLAG_TEXT, false, "pod|hold[=TIME]|fail",
	 "when your process is down: the pod serves (default), clients wait (30s unless said), or "
	 "they are refused",
	 NULL},
	{"env-file", 0, FLAG_FILE, false, "FILE", "write the workload's environment there", NULL},
	{"env-syntax", 0, FLAG_CHOICE, false, "docker|sh|json", "how (default docker: K=V)",
	 syntaxes},
	{"env-json", 0, FLAG_FILE, false, "FILE", "write it there as a JSON object", NULL},
	{"timeout", 0, FLAG_TEXT, false, "TIME",
	 "how long the workload may take to restart with the agent, on Kubernetes (default 2m)",
	 NULL},
	{"yes", 'y', FLAG_BOOL, false, NULL, "even if nobody serves for a moment", NULL},
	FLAG_OUTPUT,
	{0},
};

const struct command cmd_intercept = {
	.name = "intercept",
	.args = "NAME",
	.summary = "Bring a workload's connections to a process here",
	.about = "NAME is the workload, or with --workload the intercept's own name; with "
		 "--namespace alone the intercept is called\n"
		 "NAME-NAMESPACE. Intercepting again with another port moves it. With a command "
		 "after -- the intercept lasts as\n"
		 "long as the command, which gets the workload's environment and whose exit code "
		 "is ours (128 + n for signal n).\n"
		 "Who is logged in takes HTTP requests with the intercept's own header, and gets a "
		 "preview URL; four questions about\n"
		 "the cluster's ingress are asked, or answered by --ingress-...; all others take "
		 "all "
		 "TCP connections.",
	.flags = flags,
	.min_args = 1,
	.max_args = 1,
	.child = true,
	.example = "culvert intercept hello --port 3000:http -- ./hello --debug",
	.exec = exec_intercept,
	.complete = complete_workloads,
};
