/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager as a program: it runs in a child, this process is a laptop or an agent that talks to it over the real overlay.
 * FIRST_PORT is the includer's: tests run side by side.
 */
#pragma once

#include "manager/manager.h"
#include "tests/unit/member.h"

static pid_t manager;
static struct member me;
static char config[128];
static uint16_t port = FIRST_PORT;

static const char config_text[] =
	"listen: 127.0.0.1:%u\n"
	"state: %s/state\n"
	"prefixes: [0.0.0.0/0, 10.0.0.0/8]\n"
	"deny: [10.66.0.0/16]\n"
	"dns: {server: '10.9.9.53:53', domains: [cluster.local], search: [svc.cluster.local]}\n"
	"workloads:\n"
	"  - {kind: deployment, name: hello, pods: [hello-1],\n"
	"     services: [{name: hello, ports: [{name: http, port: 80, target: 8080}]}]}\n"
	"  - {kind: deployment, name: multi, pods: [multi-1],\n"
	"     services: [{name: multi, ports: [{name: a, port: 1}, {name: b, port: 2}]}]}\n";

static int setup(void **unused)
{
	char text[1024];

	if (member_folder(unused))
		return -1;
	port++;
	snprintf(text, sizeof(text), config_text, port, member_dir);
	member_write("m.yaml", text);
	snprintf(config, sizeof(config), "%s/m.yaml", member_dir);
	manager = member_serve(config);
	return member_logged(NULL, "listening", 3000) ? 0 : -1;
}

static int teardown(void **unused)
{
	member_stop(&me);
	member_end(&manager, SIGTERM);
	return member_unfolder(unused);
}

/* Exit code of `culvert-manager invite`. */
static int make_invite(const char *role, const char *name, const char *expires)
{
	char file[128];
	pid_t pid;
	int status;

	snprintf(file, sizeof(file), "%s/%s.invite", member_dir, name);
	pid = member_spawn((const char *const[]){"invite", role, name, "--config", config,
						 "--output", file, "--expires", expires, NULL});
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static struct invite read_invite(const char *name)
{
	char file[80], *text = NULL;
	size_t len = 0;
	struct invite inv = {0};
	struct error e;

	snprintf(file, sizeof(file), "%s.invite", name);
	if (file_read(member_path(file), 4096, &text, &len, &e) ||
	    invite_parse(&inv, text, len, &e))
		fail_msg("%s", e.text);
	free(text);
	return inv;
}

/* A laptop or agent with a fresh key joins and opens its control connection. */
static void join(const char *name, const struct identity *key)
{
	struct invite inv = read_invite(name);
	struct identity id;

	if (!key) {
		identity_generate(&id);
		key = &id;
	}
	member_start(&me, key, "127.0.0.1:0");
	member_join(&me, &inv);
	assert_true(member_connect(&me, 4000));
}

static int hello_laptop(void)
{
	return member_ask(&me, "hello",
			  json_pack("{s:s, s:s}", "version", CULVERT_VERSION, "role", "laptop"));
}

static maybe_unused int hello_agent(const char *workload)
{
	return member_ask(&me, "hello",
			  json_pack("{s:s, s:s, s:s, s:s, s:s, s:[i], s:{s:s}}", "version",
				    CULVERT_VERSION, "role", "agent", "kind", "deployment",
				    "workload", workload, "namespace", "default", "ports", 8080,
				    "environment", "K", "V"));
}

static maybe_unused void says(const char *text)
{
	if (!strstr(me.sentence, text))
		fail_msg("'%s' is not in: %s", text, me.sentence);
}

static maybe_unused json_t *request(const char *name, int local, const char *id)
{
	return json_pack("{s:s, s:s, s:s, s:[{s:i, s:s}], s:s, s:i, s:s}", "name", name, "workload",
			 "", "service", "", "ports", "local", local, "port", id, "on_down", "pod",
			 "hold_s", 0, "namespace_connected", "default");
}

static const char *text_of(const json_t *j, const char *key)
{
	return json_string_value(json_object_get(j, key));
}
