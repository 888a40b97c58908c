/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A member of the overlay for tests of the programs: node, netstack and rpc in this process, over real UDP on
 * 127.0.0.1; the program under test runs in a child. One at a time, since lwIP is global.
 */
#pragma once

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/file.h"
#include "netstack/netstack.h"
#include "node/node.h"
#include "rpc/rpc.h"

/* Not every test plays every part. */
#define maybe_unused __attribute__((unused))

struct member {
	struct event_base *base;
	struct node *node;
	struct netstack *ns;
	struct overlay_peer *peer; /* the other one; NULL until admitted when we are the manager */
	struct identity id;
	struct ipaddr address, other;
	struct rpc *rpc;
	struct stream *opening;
	unsigned established;
	json_t *note; /* params of the last notification */
	char note_method[32];
	unsigned notes, closed;
	/* answer of the last call */
	json_t *result;
	int code;
	char sentence[512];
	bool answered;
	/* as a manager: what to do with a SYN and a call; otherwise NULL */
	uint8_t psk[KEY_LEN];
	const char *token; /* who shows this one is admitted, and no invite */
	void (*syn)(struct member *m, struct netstack_syn *syn, const struct flow *flow);
	void (*open)(struct member *m, struct stream *s, void *ctx);
	void (*udp)(struct member *m, const struct flow *flow, const uint8_t *data, size_t len);
	void (*call)(struct member *m, const char *method, json_t *params, struct rpc_request *req);
};

static void member_inner(void *arg, struct overlay_peer *p, struct pkt *pkt)
{
	struct member *m = arg;

	netstack_input(m->ns, pkt, p);
}

static void member_established(void *arg, struct overlay_peer *p, bool fresh)
{
	struct member *m = arg;

	(void)p;
	(void)fresh;
	m->established++;
}

static void member_output(void *arg, struct pkt *pkt)
{
	struct member *m = arg;

	node_send(m->node, pkt);
}

static void member_syn(void *arg, struct netstack_syn *syn, const struct flow *flow, void *peer)
{
	struct member *m = arg;

	(void)peer;
	if (m->syn)
		m->syn(m, syn, flow);
	else
		netstack_reject(m->ns, syn, REJECT_REFUSED);
}

static void member_cancel(void *arg, struct netstack_syn *syn, void *ctx)
{
	(void)arg;
	(void)syn;
	(void)ctx;
}

static void member_open(void *arg, struct stream *s, void *ctx)
{
	struct member *m = arg;

	if (m->open)
		m->open(m, s, ctx);
	else
		s->ops->abort(s);
}

static void member_udp(void *arg, const struct flow *flow, const uint8_t *data, size_t len,
		       void *peer)
{
	struct member *m = arg;

	(void)peer;
	if (m->udp)
		m->udp(m, flow, data, len);
}

static void member_echo(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
			size_t len, void *peer)
{
	(void)arg;
	(void)flow;
	(void)seq;
	(void)data;
	(void)len;
	(void)peer;
}

/* As a manager: whoever has an invite of our one secret, or the token. */
static struct overlay_peer *member_admit(void *arg, const uint8_t pub[static KEY_LEN],
					 const struct overlay_credential *cred,
					 const struct path *from)
{
	struct member *m = arg;
	struct prefix own = overlay_prefix_of(pub);

	(void)from;
	if (m->peer || (m->token ? !cred->token || strcmp(cred->token, m->token) : !cred->claim) ||
	    overlay_peer_add(node_overlay(m->node), &m->peer, pub, m->token ? NULL : m->psk, NULL,
			     NULL))
		return NULL;
	overlay_route_add(node_overlay(m->node), &own, m->peer);
	m->other = overlay_stack_addr(pub);
	return m->peer;
}

static void member_start(struct member *m, const struct identity *id, const char *bind)
{
	static const struct node_ops node_ops = {
		.inner = member_inner, .established = member_established, .admit = member_admit};
	static const struct netstack_ops stack_ops = {.output = member_output,
						      .tcp_syn = member_syn,
						      .tcp_cancel = member_cancel,
						      .tcp_open = member_open,
						      .udp = member_udp,
						      .echo = member_echo};
	struct node_config nc;
	struct error e;

	*m = (struct member){.id = *id, .base = event_base_new()};
	nc = (struct node_config){.base = m->base, .identity = *id};
	m->address = overlay_stack_addr(id->pub);
	sockaddr_parse(&nc.bind, bind);
	if (node_new(&m->node, &nc, &node_ops, m, &e) ||
	    netstack_new(&m->ns, m->base, &stack_ops, m, NULL, &e))
		fail_msg("%s", e.text);
}

static void member_stop(struct member *m)
{
	if (m->opening)
		m->opening->ops->abort(m->opening);
	rpc_free(m->rpc);
	netstack_free(m->ns);
	node_free(m->node);
	json_decref(m->note);
	json_decref(m->result);
	if (m->base)
		event_base_free(m->base);
	*m = (struct member){.base = NULL};
}

/* Runs the loop until *flag is at least `value`; false after `ms`. */
static bool member_until(struct member *m, const unsigned *flag, unsigned value, unsigned ms)
{
	nsec_t end = clock_boot() + ms * NSEC_PER_MSEC;

	while (*flag < value && clock_boot() < end) {
		const struct timeval tv = {.tv_usec = 5000};

		event_base_loopexit(m->base, &tv);
		event_base_dispatch(m->base);
	}
	return *flag >= value;
}

static void member_run(struct member *m, unsigned ms)
{
	const unsigned never = 0;

	member_until(m, &never, 1, ms);
}

static void member_call(void *arg, struct rpc *r, const char *method, json_t *params,
			struct rpc_request *req)
{
	struct member *m = arg;

	(void)r;
	if (m->call && req) {
		m->call(m, method, params, req);
		return;
	}
	json_decref(m->note);
	m->note = json_incref(params);
	snprintf(m->note_method, sizeof(m->note_method), "%s", method);
	m->notes++;
	if (req)
		rpc_reply(req, json_object());
}

static void member_closed(void *arg, struct rpc *r, int error)
{
	struct member *m = arg;

	(void)error;
	m->closed++;
	rpc_free(r);
	m->rpc = NULL;
}

static const struct rpc_ops member_rpc_ops = {member_call, member_closed};

/* --- as a laptop or agent --------------------------------------------------------------------------------- */

static maybe_unused void member_join(struct member *m, const struct invite *inv)
{
	struct overlay *o = node_overlay(m->node);
	const struct prefix all = overlay_prefix();
	union sockaddr_any sa;
	struct path path;

	assert_int_equal(sockaddr_parse(&sa, inv->endpoint[0]), 0);
	assert_int_equal(overlay_peer_add(o, &m->peer, inv->manager, inv->psk, &inv->claim, m), 0);
	assert_int_equal(overlay_route_add(o, &all, m->peer), 0);
	path = node_udp_path(m->node, &sa);
	overlay_peer_set_path(m->peer, &path);
	overlay_peer_persist(o, m->peer, true, clock_boot());
	m->other = overlay_stack_addr(inv->manager);
}

static void member_opening(struct stream *s, unsigned ev, void *arg)
{
	struct member *m = arg;

	m->opening = NULL;
	if (ev & STREAM_ERROR)
		s->ops->abort(s);
	else
		assert_int_equal(rpc_new(&m->rpc, m->base, s, &member_rpc_ops, m), 0);
}

/* Opens the control connection to the manager, for at most `ms`. */
static maybe_unused bool member_connect(struct member *m, unsigned ms)
{
	nsec_t end = clock_boot() + ms * NSEC_PER_MSEC;

	rpc_free(m->rpc);
	m->rpc = NULL;
	while (!m->rpc && clock_boot() < end) {
		if (!m->opening && m->established &&
		    netstack_connect(m->ns, &m->address, &m->other, 1, NULL, NSEC_PER_SEC,
				     &m->opening) == 0) {
			stream_set(m->opening, member_opening, m);
			m->opening->ops->want(m->opening, STREAM_WRITABLE);
		}
		member_run(m, 10);
	}
	return m->rpc != NULL;
}

static void member_answer(void *arg, json_t *result, int code, const char *message)
{
	struct member *m = arg;

	json_decref(m->result);
	m->result = json_incref(result);
	m->code = code;
	snprintf(m->sentence, sizeof(m->sentence), "%s", message ? message : "");
	m->answered = true;
}

/* Calls and waits; the code (0 = m->result). */
static maybe_unused int member_ask(struct member *m, const char *method, json_t *params)
{
	m->answered = false;
	assert_non_null(m->rpc);
	assert_int_equal(rpc_call(m->rpc, method, params, 3 * NSEC_PER_SEC, member_answer, m), 0);
	for (int i = 0; i < 1000 && !m->answered; i++)
		member_run(m, 5);
	assert_true(m->answered);
	return m->code;
}

/* --- the program in a child ------------------------------------------------------------------------------- */

static char member_dir[] = "/tmp/culvert-test-XXXXXX";

static const char *member_path(const char *name)
{
	static char path[4][128];
	static unsigned at;

	at = (at + 1) % 4;
	snprintf(path[at], sizeof(path[at]), "%s/%s", member_dir, name);
	return path[at];
}

static void member_write(const char *name, const char *text)
{
	struct error e;

	if (file_write_atomic(member_path(name), text, strlen(text), 0600, &e))
		fail_msg("%s", e.text);
}

/* Runs the program under test in a child, its lines in the file "log"; the child ends with us. It is this very binary, whose
 * main() becomes the program when it is given arguments: a fork alone would share our lwIP. */
static pid_t member_spawn(const char *const *args)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		char *argv[16] = {(char *)"program"};

		for (int i = 0; args[i] && i < 14; i++)
			argv[i + 1] = (char *)(uintptr_t)args[i];
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (freopen(member_path("log"), "a", stderr))
			execv("/proc/self/exe", argv);
		_exit(99);
	}
	return pid;
}

static maybe_unused pid_t member_serve(const char *config)
{
	return member_spawn((const char *const[]){"--config", config, NULL});
}

/* Ends the child: with SIGTERM it must leave with 0 (leaks found by ASan included), with SIGKILL it just goes. */
static void member_end(pid_t *pid, int sig)
{
	int status = 0;

	if (*pid <= 0)
		return;
	kill(*pid, sig);
	assert_int_equal(waitpid(*pid, &status, 0), *pid);
	*pid = 0;
	if (sig == SIGTERM && (!WIFEXITED(status) || WEXITSTATUS(status))) {
		char command[128];

		snprintf(command, sizeof(command), "cat %s/log >&2", member_dir);
		if (system(command))
			fprintf(stderr, "no log\n");
		fail_msg("the program ended with status %x", (unsigned)status);
	}
}

/* Waits until the log of the programs holds `text`. */
static bool member_logged(struct member *m, const char *text, unsigned ms)
{
	nsec_t end = clock_boot() + ms * NSEC_PER_MSEC;

	do {
		char *log = NULL;
		size_t len = 0;
		bool found = file_read(member_path("log"), 1 << 22, &log, &len, NULL) == 0 &&
			     strstr(log, text);

		free(log);
		if (found)
			return true;
		if (m)
			member_run(m, 20);
		else
			poll(NULL, 0, 20);
	} while (clock_boot() < end);
	return false;
}

static int member_folder(void **unused)
{
	(void)unused;
	snprintf(member_dir, sizeof(member_dir), "/tmp/culvert-test-XXXXXX");
	return mkdtemp(member_dir) ? crypto_init() : -1;
}

static int member_unfolder(void **unused)
{
	char command[64];

	(void)unused;
	snprintf(command, sizeof(command), "rm -rf %s", member_dir);
	return system(command);
}
