/* SPDX-License-Identifier: Apache-2.0 */
/* culvert status: what is so now. */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "cli/internal.h"

static void duration(json_int_t s, char buf[static 48])
{
	if (s < 60)
		snprintf(buf, 48, "%lld s", (long long)s);
	else if (s < 3600)
		snprintf(buf, 48, "%lld min", (long long)(s / 60));
	else if (s < 86400)
		snprintf(buf, 48, "%lld h %lld min", (long long)(s / 3600),
			 (long long)(s / 60 % 60));
	else
		snprintf(buf, 48, "%lld d %lld h", (long long)(s / 86400),
			 (long long)(s / 3600 % 24));
}

static void label(const char *name)
{
	printf("%-16s: ", name);
}

static void print_list(const json_t *list, const char *none)
{
	json_t *v;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, v)
	{
		printf("%s%s", i ? ", " : "", json_string_value(v));
	}
	if (!json_array_size(list))
		fputs(none, stdout);
}

static void print_transport(const json_t *path)
{
	printf("%s%s%s", get_text(path, "transport"), *get_text(path, "remote") ? " " : "",
	       get_text(path, "remote"));
}

static void print_path(const json_t *path)
{
	const json_t *others = json_object_get(path, "standing_by");

	label("Path");
	json_t *v;
	size_t i;

	print_transport(path);
	json_array_foreach(others, i, v)
	{
		fputs(i ? ", " : " (also: ", stdout);
		print_transport(v);
	}
	puts(json_array_size(others) ? ", standing by)" : "");
}

static void print_manager(const json_t *j)
{
	const json_t *m = json_object_get(j, "manager"), *path = json_object_get(j, "path");
	bool hello = *get_text(j, "name");

	const json_t *cluster = json_object_get(j, "cluster");

	label("Cluster");
	if (cluster)
		printf("%s (%s), namespace %s%s%s\n", get_text(cluster, "context"),
		       get_text(cluster, "server"), get_text(j, "namespace"), hello ? "" : ": ",
		       hello ? "" : get_text(j, "state"));
	else if (hello)
		printf("%s (static) as %s, namespace %s\n", get_text(path, "remote"),
		       get_text(j, "name"), get_text(j, "namespace"));
	else
		printf("%s: %s\n", get_text(path, "remote"), get_text(j, "state"));
	label("Manager");
	/* It may be dead and not yet known to be: only an answer to the ping of now says connected. */
	if (json_object_get(m, "round_trip_ms"))
		printf("connected, %s; last packet %.1f s ago, round trip %.1f ms\n",
		       get_text(m, "version"), get_number(m, "last_packet_s"),
		       get_number(m, "round_trip_ms"));
	else if (hello)
		printf("does not answer; last packet %.0f s ago\n", get_number(m, "last_packet_s"));
	else
		puts("no answer yet");
	print_path(path);
}

static bool in_list(const json_t *list, const json_t *what)
{
	json_t *v;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)list, i, v)
	{
		if (json_equal(v, what))
			return true;
	}
	return false;
}

/* Those that the kernel has; a warning tells of the others. */
static void print_routes(const json_t *routes)
{
	const json_t *missing = json_object_get(routes, "missing");
	json_t *v, *there = json_array();
	size_t i;

	json_array_foreach(json_object_get(routes, "prefixes"), i, v)
	{
		if (!in_list(missing, v))
			json_array_append(there, v);
	}
	label("Routes");
	print_list(there, json_array_size(missing) ? "none in force" : "none");
	if (json_array_size(there) && *get_text(routes, "device"))
		printf(" (%s)", get_text(routes, "device"));
	putchar('\n');
	json_decref(there);
}

static void print_dns_way(const json_t *dns)
{
	printf(" -> %s (", get_text(dns, "server"));
	if (!json_is_true(json_object_get(dns, "in_force")))
		puts("not in force)");
	else if (*get_text(dns, "link"))
		printf("systemd-resolved, link %s)\n", get_text(dns, "link"));
	else
		puts("/etc/resolv.conf)");
}

static void print_network(const json_t *j)
{
	const json_t *dns = json_object_get(j, "dns");

	label("DNS");
	if (dns) {
		print_list(json_object_get(dns, "domains"), "");
		print_dns_way(dns);
	} else {
		puts("unchanged");
	}
	print_routes(json_object_get(j, "routes"));
}

/* ACTIVE, WAITING; of a Kubernetes its phase, and what the manager says of it. */
static void print_state(const json_t *item)
{
	const char *phase = get_text(item, "phase"), *message = get_text(item, "message");

	fputs(", ", stdout);
	if (!*phase)
		fputs(get_text(item, "state"), stdout);
	for (; *phase; phase++)
		putchar(toupper((unsigned char)*phase));
	if (*message)
		printf(" (%s)", message);
}

/* ", 1 request" */
static void print_count(const json_t *item, const char *what)
{
	json_int_t n = get_int(item, what);

	printf(", %lld %.*s", (long long)n, (int)strlen(what) - (n == 1), what);
}

static void print_intercept(const json_t *item, const char *connected)
{
	const json_t *in = json_object_get(item, "intercept");
	const json_t *preview = json_object_get(item, "preview");
	json_t *p;
	size_t i;

	printf("    %s: %s/%s", get_text(in, "name"), get_text(in, "kind"),
	       get_text(in, "workload"));
	if (strcmp(get_text(in, "namespace"), connected) != 0)
		printf(" in namespace %s", get_text(in, "namespace"));
	json_array_foreach(json_object_get(in, "ports"), i, p)
	{
		if (*get_text(p, "name"))
			printf("%s port %s", i ? "," : "", get_text(p, "name"));
		else
			printf("%s port %lld", i ? "," : "", (long long)get_int(p, "port"));
		printf(" -> 127.0.0.1:%lld", (long long)get_int(p, "local"));
	}
	fputs(", ", stdout);
	report_taken(stdout, in, " ", " and ");
	print_state(item);
	if (!strcmp(get_text(in, "mechanism"), "http"))
		print_count(item, "requests");
	print_count(item, "connections");
	putchar('\n');
	if (*get_text(item, "header"))
		printf("        %s\n", get_text(item, "header"));
	if (*get_text(preview, "url"))
		printf("        Preview URL: %s%s\n", get_text(preview, "url"),
		       get_int(preview, "shares") ? " (shared)" : "");
}

static void print_login(const json_t *login)
{
	const char *why = get_text(login, "why"), *issuer = get_text(login, "issuer");
	char until[32];

	if (!login)
		return;
	label("Login");
	if (json_is_true(json_object_get(login, "logged_in")))
		printf("%s (%s)", get_text(login, "name"), *issuer ? issuer : "Kubernetes");
	else
		fputs("not logged in", stdout);
	if (json_is_true(json_object_get(login, "logged_in")) && get_int(login, "expires")) {
		time_text(get_int(login, "expires"), until);
		printf(", until %s, then renewed", until);
	}
	printf("%s%s\n", *why ? ": " : "", why);
}

static void print_text(const json_t *j)
{
	const json_t *daemon = json_object_get(j, "daemon"),
		     *intercepts = json_object_get(j, "intercepts");
	char up[48];
	json_t *v;
	size_t i;

	label("Daemon");
	if (!json_is_true(json_object_get(daemon, "running"))) {
		puts("not running");
		return;
	}
	duration(get_int(daemon, "uptime_s"), up);
	printf("running, %s, up %s\n", get_text(daemon, "version"), up);
	if (!json_object_get(j, "manager")) {
		label("Cluster");
		puts(get_text(j, "state"));
		return;
	}
	print_manager(j);
	if (json_object_get(j, "routes")) {
		print_network(j);
		print_login(json_object_get(j, "login"));
		label("Intercepts");
		printf("%zu\n", json_array_size(intercepts));
		json_array_foreach((json_t *)(uintptr_t)intercepts, i, v)
		{
			print_intercept(v, get_text(j, "namespace"));
		}
	}
	json_array_foreach(json_object_get(j, "warnings"), i, v)
	{
		label("Warning");
		puts(json_string_value(v));
	}
}

static int show_once(enum output o, bool stream, bool clear, struct error *e)
{
	json_t *j;
	int err = client_once("status", json_object(), NULL, &j, e);

	if (err == -ENOENT)
		j = json_pack("{s:{s:b},s:s,s:[],s:[]}", "daemon", "running", 0, "state",
			      "not connected", "intercepts", "warnings");
	else if (err)
		return err;
	if (clear)
		fputs("\033[H\033[J", stdout);
	else if (stream && o == OUTPUT_YAML)
		puts("---"); /* documents of one stream */
	if (o == OUTPUT_TEXT)
		print_text(j);
	else
		output_print(o, j, stdout);
	json_decref(j);
	return 0;
}

static int exec_status(const struct args *a)
{
	bool watch = args_bool(a, "watch");
	enum output o = output_of(a);
	struct timespec second = {.tv_sec = 1};
	struct error e;

	do {
		if (show_once(o, watch, watch && o == OUTPUT_TEXT && isatty(1), &e))
			return cli_fail(&e);
		fflush(stdout);
	} while (watch && !ferror(stdout) && !nanosleep(&second, NULL));
	return EXIT_OK;
}

static const struct flag flags[] = {
	{"watch", 'w', FLAG_BOOL, false, NULL, "show it again every second, until Ctrl-C", NULL},
	FLAG_OUTPUT,
	{0},
};

const struct command cmd_status = {
	.name = "status",
	.args = "",
	.summary = "Show what is connected, routed, resolved and intercepted, measured now",
	.about = "",
	.flags = flags,
	.example = "culvert status -w",
	.exec = exec_status,
};
