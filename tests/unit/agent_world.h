/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The world of an agent that runs as a program in a child: this process is its manager, the laptop behind that, the application,
 * and the client.
 */
#pragma once

#include "tests/unit/member.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include "agent/agent.h"
#include "tests/unit/private_net.h"

/* A network of our own: the ports below are always free, whoever runs beside us, and no client gets one for its own end. */
static int alone(void **unused)
{
	(void)unused;
	return private_net();
}

enum { LAPTOP_REFUSES, LAPTOP_SERVES, LAPTOP_SILENT };

static pid_t agent;
static struct member me;
static struct identity manager_key;
static uint16_t base_port =
	23000; /* the manager's; the agent's is the next, then the application's */
static int application = -1;
static unsigned hellos, syns;
static int laptop;
static const char *refuse_with;
static struct stream *served[64];
static unsigned nserved;

/* --- we as the manager and the laptop ----------------------------------------------------------------------- */

static void on_syn(struct member *m, struct netstack_syn *syn, const struct flow *flow)
{
	syns += flow->dport != 1;
	if (flow->dport == 1 || laptop == LAPTOP_SERVES)
		netstack_accept(m->ns, syn);
	else if (laptop == LAPTOP_REFUSES)
		netstack_reject(m->ns, syn, REJECT_REFUSED);
	else
		netstack_reject(m->ns, syn, REJECT_SILENT);
}

/* The laptop's side says who it is and stays open. */
static void on_served(struct stream *s, unsigned ev, void *arg)
{
	(void)s;
	(void)ev;
	(void)arg;
}

static void on_open(struct member *m, struct stream *s, void *ctx)
{
	struct flow flow;

	(void)ctx;
	assert_int_equal(netstack_stream_info(s, &flow, NULL), 0);
	if (flow.dport == 1) {
		rpc_free(m->rpc);
		assert_int_equal(rpc_new(&m->rpc, m->base, s, &member_rpc_ops, m), 0);
		return;
	}
	assert_true(nserved < ARRAY_SIZE(served));
	stream_set(s, on_served, NULL);
	assert_int_equal(stream_write(s, "laptop", 6), 6);
	served[nserved++] = s;
}

static void on_call(struct member *m, const char *method, json_t *params, struct rpc_request *req)
{
	if (!strcmp(method, "hello")) {
		hellos++;
		json_decref(m->note);
		m->note = json_incref(params);
		if (refuse_with)
			rpc_fail(req, RPC_FORBIDDEN, "%s", refuse_with);
		else
			rpc_reply(req, json_pack("{s:s, s:s}", "version", CULVERT_VERSION, "name",
						 "hello-1"));
		return;
	}
	rpc_reply(req, json_object());
}

static void start_manager(void)
{
	char bind[40];

	snprintf(bind, sizeof(bind), "127.0.0.1:%u", base_port);
	member_start(&me, &manager_key, bind);
	memset(me.psk, 7, KEY_LEN);
	me.syn = on_syn;
	me.open = on_open;
	me.call = on_call;
}

static void stop_manager(void)
{
	for (; nserved; nserved--)
		served[nserved - 1]->ops->abort(served[nserved - 1]);
	member_stop(&me);
}

static maybe_unused int listen_on(uint16_t at)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
				  .sin_port = htons(at),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, 128), 0);
	return fd;
}

/* --- setup ---------------------------------------------------------------------------------------------------- */

/* Its folder, ports that no agent before had, and the application. */
static maybe_unused int world_setup(void **unused)
{
	if (member_folder(unused))
		return -1;
	base_port = (uint16_t)(base_port + 4);
	laptop = LAPTOP_SERVES;
	refuse_with = NULL;
	hellos = syns = 0;
	identity_generate(&manager_key);
	application = listen_on((uint16_t)(base_port + 2));
	return 0;
}

static maybe_unused int world_teardown(void **unused)
{
	if (me.base)
		stop_manager();
	member_end(&agent, SIGTERM);
	if (application >= 0)
		close(application);
	return member_unfolder(unused);
}

static maybe_unused void write_invite(void)
{
	struct invite inv = {.nendpoints = 1};
	char text[INVITE_TEXT_MAX];

	crypto_random(inv.claim.id, INVITE_ID_LEN);
	inv.claim.role = ROLE_AGENT;
	inv.claim.expiry = clock_real() / NSEC_PER_SEC + 3600;
	snprintf(inv.claim.name, sizeof(inv.claim.name), "hello-1");
	memcpy(inv.manager, manager_key.pub, KEY_LEN);
	memset(inv.psk, 7, KEY_LEN);
	snprintf(inv.endpoint[0], sizeof(inv.endpoint[0]), "127.0.0.1:%u", base_port);
	assert_true(invite_format(&inv, text, sizeof(text)) > 0);
	member_write("invite", text);
}

/* The invite, and the configuration of an agent with one port; its path. */
static maybe_unused const char *write_config(void)
{
	static char path[128];
	char text[512];

	write_invite();
	snprintf(text, sizeof(text),
		 "invite: %s/invite\nstate: %s/state\nworkload: hello\nports:\n"
		 "  - {listen: '127.0.0.1:%u', application: '127.0.0.1:%u', target: 8080}\n",
		 member_dir, member_dir, base_port + 1, base_port + 2);
	member_write("a.yaml", text);
	snprintf(path, sizeof(path), "%s/a.yaml", member_dir);
	return path;
}

/* The same port of an agent in a pod. */
#define POD_TOKEN "eyJhbGciOiJSUzI1NiJ9.first"

static maybe_unused void set_agent(const char *ports)
{
	char key[KEY_TEXT_LEN], text[1024];

	key_format(manager_key.pub, key);
	snprintf(text, sizeof(text),
		 "{\"manager\":\"%s\",\"endpoints\":[\"127.0.0.1:%u\"],\"kind\":\"deployment\","
		 "\"workload\":\"hello\",\"ports\":[%s],\"container\":\"app\"}",
		 key, base_port, ports);
	setenv("CULVERT_AGENT", text, 1);
}

static maybe_unused void set_pod(void)
{
	char port[100];

	snprintf(port, sizeof(port), "{\"listen\":%u,\"application\":%u,\"target\":8080}",
		 base_port + 1, base_port + 2);
	set_agent(port);
	setenv("CULVERT_POD_IP", "127.0.0.1", 1);
	setenv("CULVERT_POD_NAME", "hello-abc", 1);
	setenv("CULVERT_POD_NAMESPACE", "shop", 1);
	setenv("CULVERT_TOKEN", member_path("token"), 1);
	setenv("DATABASE_URL", "postgres://db/shop", 1);
	setenv("HOME", "/", 1); /* as the runtime says of an image without one */
	member_write("token", POD_TOKEN "\n");
}

/* Manager and agent, which know each other. `open` NULL: as on_open(). */
static maybe_unused void world_start(bool in_a_pod,
				     void (*open)(struct member *m, struct stream *s, void *ctx))
{
	start_manager();
	me.open = open ? open : on_open;
	me.token = in_a_pod ? POD_TOKEN : NULL;
	if (in_a_pod)
		set_pod();
	agent = in_a_pod ? member_spawn((const char *const[]){"--kubernetes", NULL})
			 : member_serve(write_config());
	assert_true(member_logged(&me, "stands for port 8080", 10000));
	assert_true(member_until(&me, &hellos, 1, 4000));
	member_run(&me, 50);
}

/* --- the client ------------------------------------------------------------------------------------------------ */

static maybe_unused int client(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
				  .sin_port = htons((uint16_t)(base_port + 1)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

/* What the client reads: "pod", "laptop", "reset", "" at the end, or "nothing" in `ms`. The loop goes on meanwhile. */
static maybe_unused const char *client_reads(int fd, unsigned ms)
{
	static char buf[32];
	nsec_t end = clock_boot() + ms * NSEC_PER_MSEC;
	ssize_t n = -1;

	errno = EAGAIN;
	while (n < 0 && errno == EAGAIN && clock_boot() < end) {
		int c = application >= 0 ? accept(application, NULL, NULL) : -1;

		if (c >= 0) {
			assert_int_equal(write(c, "pod", 3), 3);
			close(c);
		}
		if (me.base)
			member_run(&me, 5);
		else
			poll(NULL, 0, 5);
		n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	}
	if (n < 0)
		snprintf(buf, sizeof(buf), "%s", errno == EAGAIN ? "nothing" : "reset");
	else
		buf[n] = '\0';
	return buf;
}

static maybe_unused const char *who_serves_in(unsigned ms)
{
	int fd = client();
	const char *who = client_reads(fd, ms);

	close(fd);
	return who;
}

static maybe_unused const char *who_serves(void)
{
	return who_serves_in(5000);
}

#define ID "00112233445566778899aabbccddeeff"

/* What has the header `x-culvert-intercept-id: ID:hello` is the laptop's. */
static maybe_unused json_t *http_rule(const char *on_down, bool online, bool tag)
{
	char address[ADDR_STRLEN];

	ipaddr_format(&me.address, address);
	return json_pack(
		"{s:s, s:s, s:i, s:s, s:i, s:s, s:i, s:b, s:s, s:s, s:b, s:b, s:s, s:{s:s, "
		"s:[], s:s}}",
		"intercept", "hello", "owner", "ana", "target", 8080, "address", address, "port",
		20000, "on_down", on_down, "hold_s", 30, "online", online, "mechanism", "http",
		"id", ID, "preview", false, "tag", tag, "uid", "", "match", "mode", "auto",
		"conditions", "path", "");
}

/* A snapshot of these rules. */
static maybe_unused void push(json_t *rules)
{
	static int epoch;

	assert_non_null(me.rpc);
	rpc_notify(me.rpc, "rules", json_pack("{s:i, s:o}", "epoch", ++epoch, "rules", rules));
	member_run(&me, 60);
}

static maybe_unused json_t *rules_json(const char *on_down, int hold_s, bool online)
{
	char address[ADDR_STRLEN];

	ipaddr_format(&me.address, address);
	return json_pack("{s:i, s:[{s:s, s:s, s:i, s:s, s:i, s:s, s:i, s:b}]}", "epoch", 1, "rules",
			 "intercept", "hello", "owner", "ana", "target", 8080, "address", address,
			 "port", 20000, "on_down", on_down, "hold_s", hold_s, "online", online);
}
