/* SPDX-License-Identifier: Apache-2.0 */
/* culvert connect: starts the daemon if needed and has it join a cluster. */
#include <errno.h>
#include <netdb.h>

#include "base/addr.h"
#include "base/file.h"
#include "cli/internal.h"
#include "rpc/rpc.h"

enum { INVITE_FILE_MAX = 65536 };

static int lookup(const char *host, const char *port, char text[static ADDR_STRLEN],
		  struct error *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found;
	union sockaddr_any sa = {0};
	int err = getaddrinfo(host, port, &hints, &found);

	if (err)
		return error_set(e, -EINVAL, "--manager %s: %s", host, gai_strerror(err));
	memcpy(&sa, found->ai_addr, MIN(found->ai_addrlen, (socklen_t)sizeof(sa)));
	freeaddrinfo(found);
	sockaddr_format(&sa, text);
	return 0;
}

/* HOST:PORT, where the host may be a name: the laptop's own resolver knows it, before the cluster's
 * is there. -EDOM: the form is wrong. */
static int resolve_manager(const char *arg, char text[static ADDR_STRLEN], struct error *e)
{
	cleanup(free_ptr) char *host = strdup(arg);
	union sockaddr_any sa;
	char *colon;

	if (!host)
		return error_errno(e, -ENOMEM, "--manager");
	if (!sockaddr_parse(&sa, arg)) {
		sockaddr_format(&sa, text);
		return 0;
	}
	colon = strrchr(host, ':');
	if (!colon || colon == host || strchr(host, ':') != colon || !colon[1] ||
	    colon[1 + strspn(colon + 1, "0123456789")] || atoi(colon + 1) < 1 ||
	    atoi(colon + 1) > 65535)
		return error_set(e, -EDOM, "--manager %s: write HOST:PORT such as 192.0.2.1:7400",
				 arg);
	*colon = 0;
	return lookup(host, colon + 1, text, e);
}

static json_t *string_list(const struct args *a, const char *flag)
{
	const char *const *v;
	unsigned n = args_many(a, flag, &v), i;
	json_t *list = json_array();

	for (i = 0; i < n; i++)
		json_array_append_new(list, json_string(v[i]));
	return list;
}

/* --- Kubernetes --- */

/* Credential plugins and proxies are this shell's; the daemon may have been started by another one. What is no text no
 * plugin reads either. */
static json_t *environment(void)
{
	json_t *env = json_object();

	for (char **p = environ; *p; p++) {
		const char *eq = strchr(*p, '=');
		json_t *value = eq && eq > *p ? json_string(eq + 1) : NULL;
		char name[256];

		if (!value || (size_t)(eq - *p) >= sizeof(name)) {
			json_decref(value);
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", (int)(eq - *p), *p);
		json_object_set_new(env, name, value);
	}
	return env;
}

/* The daemon works in another folder. */
static int absolute(char *out, size_t size, const char *path)
{
	char here[4096] = "";

	if (*path && *path != '/' && !getcwd(here, sizeof(here)))
		return -errno;
	return snprintf(out, size, "%s%s%s", here, *here ? "/" : "", path) < (int)size
		       ? 0
		       : -ENAMETOOLONG;
}

/* $KUBECONFIG is a list of files. */
static void absolute_list(json_t *env)
{
	const char *list = json_string_value(json_object_get(env, "KUBECONFIG"));
	char one[4096], *next, *part, all[65536] = "";
	cleanup(free_ptr) char *copy = strdup(list ? list : "");
	size_t len = 0;

	if (!list || !copy)
		return;
	for (next = copy; (part = strsep(&next, ":"));) {
		if (absolute(one, sizeof(one), part) || len + strlen(one) + 2 > sizeof(all))
			return;
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", len ? ":" : "", one);
	}
	json_object_set_new(env, "KUBECONFIG", json_string(all));
}

static json_t *make_cluster_request(const struct args *a, struct error *e)
{
	static const char *const keys[][2] = {{"context", "context"},
					      {"as", "as"},
					      {"namespace", "namespace"},
					      {"manager-namespace", "manager_namespace"},
					      {"transport", "transport"}};
	const char *kubeconfig = args_text(a, "kubeconfig");
	char path[4096];
	json_t *env, *req;
	int err;

	err = kubeconfig ? absolute(path, sizeof(path), kubeconfig) : 0;
	if (err) {
		error_errno(e, err, "--kubeconfig %s", kubeconfig);
		return NULL;
	}
	env = environment();
	absolute_list(env);
	req = json_pack("{s:o,s:o,s:o}", "environment", env, "also_proxy",
			string_list(a, "also-proxy"), "never_proxy", string_list(a, "never-proxy"));
	if (kubeconfig)
		json_object_set_new(req, "kubeconfig", json_string(path));
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (args_text(a, keys[i][0]))
			json_object_set_new(req, keys[i][1], json_string(args_text(a, keys[i][0])));
	return req;
}

/* --- the static platform --- */

/* The request, or NULL with the sentence. */
static json_t *make_request(const struct args *a, const char *manager, struct error *e)
{
	const char *path = args_text(a, "invite"), *ns = args_text(a, "namespace");
	cleanup(free_ptr) char *invite = NULL;
	json_t *req, *text;
	size_t len;

	if (file_read(path, INVITE_FILE_MAX, &invite, &len, e))
		return NULL;
	text = json_stringn(invite, len);
	if (!text) {
		error_set(e, -EINVAL, "%s: not an invite: it holds bytes that are no text", path);
		return NULL;
	}
	req = json_pack("{s:o,s:s,s:o,s:o}", "invite", text, "invite_path", path, "also_proxy",
			string_list(a, "also-proxy"), "never_proxy", string_list(a, "never-proxy"));
	if (manager)
		json_object_set_new(req, "manager", json_string(manager));
	if (ns)
		json_object_set_new(req, "namespace", json_string(ns));
	return req;
}

static void describe(const json_t *r, char *text, size_t size)
{
	const char *verb =
		json_is_true(json_object_get(r, "already")) ? "Already connected" : "Connected";

	if (!strcmp(get_text(r, "platform"), "kubernetes"))
		snprintf(text, size, "%s to context %s, namespace %s (%s) via %s, %.1f ms", verb,
			 get_text(r, "context"), get_text(r, "namespace"), get_text(r, "server"),
			 get_text(r, "transport"), get_number(r, "round_trip_ms"));
	else
		snprintf(text, size, "%s to %s as %s, namespace %s, via %s, %.1f ms", verb,
			 get_text(r, "manager"), get_text(r, "name"), get_text(r, "namespace"),
			 get_text(r, "transport"), get_number(r, "round_trip_ms"));
	if (!json_is_true(json_object_get(r, "already"))) {
		size_t len = strlen(text);

		snprintf(text + len, size - len, "            %.1f s",
			 get_number(r, "elapsed_ms") / 1000);
	}
}

/* A daemon that was about to end may have taken our call with it: then another one is asked. */
static int call_connect(struct progress *p, json_t *req, json_t **result, struct error *e)
{
	int tries, fd, err = 0;

	for (tries = 0; tries < 2; tries++) {
		fd = client_start(p, e);
		if (fd < 0)
			return fd;
		client_catch_signals();
		err = client_call(fd, p, "connect", json_incref(req), result, e);
		close(fd); /* on Ctrl-C this is what the daemon undoes it by */
		if (!client_daemon_ended(err))
			break;
	}
	return err;
}

static int connect_now(const struct args *a, json_t *req)
{
	struct progress *p = progress_start("Connecting");
	json_t *result = NULL;
	char text[512];
	struct error e;
	int err = call_connect(p, req, &result, &e);

	json_decref(req);
	if (err == -EMSGSIZE)
		error_set(
			&e, err,
			"this shell's environment, which credential plugins get, is larger than a "
			"message to the daemon may be; leave large variables out: env -u NAME "
			"culvert connect");
	if (err) {
		progress_end(p, NULL);
		return cli_fail(&e);
	}
	describe(result, text, sizeof(text));
	progress_end(p, output_of(a) == OUTPUT_TEXT ? text : NULL);
	if (output_of(a) != OUTPUT_TEXT)
		output_print(output_of(a), result, stdout);
	json_decref(result);
	return EXIT_OK;
}

/* Flags of both platforms at once leave it open which was meant. */
static int check_flags(const struct args *a, struct error *e)
{
	static const char *const kube[] = {"context", "kubeconfig", "as", "transport",
					   "manager-namespace"};

	if (args_text(a, "manager") && !args_text(a, "invite"))
		return error_set(e, -EINVAL,
				 "--manager needs --invite FILE; whoever runs the manager makes "
				 "one with: culvert-manager invite laptop NAME");
	for (unsigned i = 0; args_text(a, "invite") && i < ARRAY_SIZE(kube); i++)
		if (args_text(a, kube[i]))
			return error_set(e, -EINVAL,
					 "--%s is for Kubernetes, --invite for a manager without "
					 "it: leave one out",
					 kube[i]);
	return 0;
}

static int exec_connect(const struct args *a)
{
	const char *manager = args_text(a, "manager");
	char endpoint[ADDR_STRLEN];
	struct error e;
	json_t *req;
	int err;

	if (check_flags(a, &e))
		return cli_fail_usage(a->cmd, &e);
	if (!args_text(a, "invite")) {
		req = make_cluster_request(a, &e);
		return req ? connect_now(a, req) : cli_fail(&e);
	}
	err = manager ? resolve_manager(manager, endpoint, &e) : 0;
	if (err)
		return err == -EDOM ? cli_fail_usage(a->cmd, &e) : cli_fail(&e);
	req = make_request(a, manager ? endpoint : NULL, &e);
	return req ? connect_now(a, req) : cli_fail(&e);
}

static const char *const transports[] = {"auto", "udp", "websocket", "portforward", NULL};

static const struct flag flags[] = {
	{"context", 0, FLAG_TEXT, false, "NAME", "of the kubeconfig; else its current one", NULL},
	{"kubeconfig", 0, FLAG_FILE, false, "FILE",
	 "else the files of $KUBECONFIG, else ~/.kube/config", NULL},
	{"as", 0, FLAG_TEXT, false, "USER", "impersonate this user", NULL},
	{"transport", 0, FLAG_CHOICE, false, "auto|udp|websocket|portforward",
	 "how the manager is reached; auto: at once through the API server, and UDP when it "
	 "answers",
	 transports},
	{"manager-namespace", 0, FLAG_TEXT, false, "NAME", "where culvert is installed (culvert)",
	 NULL},
	{"manager", 0, FLAG_TEXT, false, "HOST:PORT",
	 "without Kubernetes: where the manager listens (UDP); else the invite's addresses", NULL},
	{"invite", 0, FLAG_FILE, false, "FILE", "without Kubernetes: the invite for this laptop",
	 NULL},
	{"namespace", 'n', FLAG_TEXT, false, "NAME", "the namespace of commands that name none",
	 NULL},
	{"also-proxy", 0, FLAG_CIDR, true, "CIDR", "route this too into the cluster", NULL},
	{"never-proxy", 0, FLAG_CIDR, true, "CIDR", "leave this outside", NULL},
	FLAG_OUTPUT,
	{0},
};

const struct command cmd_connect = {
	.name = "connect",
	.args = "",
	.summary = "Join a cluster's network: its addresses and names work here",
	.about = "Reads the kubeconfig as kubectl does. Starts the daemon if it does not run. "
		 "culvert-helper must run as root; it makes "
		 "the network device, routes and\n"
		 "DNS settings, and takes them back whatever happens.",
	.flags = flags,
	.example = "culvert connect --context dev -n shop",
	.exec = exec_connect,
};
