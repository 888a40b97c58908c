/* SPDX-License-Identifier: Apache-2.0 */
/* culvert-manager: options, start, loop, end. */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/program.h"
#include "chacha/chacha.h"
#include "manager/internal.h"
#include "manager/manager.h"

static const char usage[] =
	"Usage: culvert-manager [--kubernetes] --config FILE [--debug]\n"
	"       culvert-manager invite laptop|agent NAME --config FILE "
	"[--expires TIME] [--output FILE]\n"
	"       culvert-manager --version | --help\n"
	"\n"
	"The hub of a culvert overlay: admits laptops and agents, dials the "
	"cluster's addresses for\n"
	"laptops, and keeps the intercepts. Needs no privileges. SIGTERM and "
	"SIGINT end it cleanly.\n"
	"\n"
	"  --kubernetes    in a pod: workloads, sessions and intercepts are the "
	"API server's objects\n"
	"  --config FILE   YAML, described in docs/manager.md\n"
	"  --debug         more lines in the log\n"
	"\n"
	"Example: culvert-manager --config /etc/culvert/manager.yaml\n";

/* --- from the node and the stack to whom it concerns --------------------------------------------------------- */

static const char control_marker; /* ctx of connections to our own port */

static void on_inner(void *arg, struct overlay_peer *op, struct pkt *pkt)
{
	hub_inner(arg, overlay_peer_user(op), pkt);
}

static void on_established(void *arg, struct overlay_peer *op, bool fresh)
{
	(void)arg;
	peer_established(overlay_peer_user(op), fresh);
}

static void on_away(void *arg, struct overlay_peer *op)
{
	(void)arg;
	peer_online(overlay_peer_user(op), false);
}

static void on_back(void *arg, struct overlay_peer *op)
{
	(void)arg;
	peer_online(overlay_peer_user(op), true);
}

static struct overlay_peer *on_admit(void *arg, const uint8_t pub[static KEY_LEN],
				     const struct overlay_credential *cred, const struct path *from)
{
	struct manager *m = arg;
	const struct knock k = {
		.pub = pub,
		.message = cred->message,
		.message_len = cred->message_len,
		.claim = cred->claim,
		.token = cred->token,
		.token_len = cred->token_len,
		.from = from,
	};

	/* cppcheck-suppress returnDanglingLifetime */
	return m->platform->admit(m, &k); /* what it returns is no part of `k` */
}

static void on_stamp(void *arg, nsec_t last)
{
	struct manager *m = arg;

	m->stamp = last;
}

static void on_output(void *arg, struct pkt *pkt)
{
	struct manager *m = arg;

	node_send(m->node, pkt);
}

static bool on_full(void *arg, const struct ipaddr *dst)
{
	struct manager *m = arg;
	struct overlay_peer *p = overlay_route(node_overlay(m->node), dst);

	return p && !node_ready(m->node, p);
}

static void on_writable(void *arg)
{
	struct manager *m = arg;

	if (m->ns)
		netstack_resume(m->ns);
}

static void on_syn(void *arg, struct netstack_syn *syn, const struct flow *flow, void *peer)
{
	struct manager *m = arg;

	if (!ipaddr_equal(&flow->dst, &m->self)) {
		exit_syn(m->exit, syn, flow, peer);
	} else if (flow->dport == CONTROL_PORT) {
		netstack_syn_set(syn, (void *)(uintptr_t)&control_marker);
		netstack_accept(m->ns, syn);
	} else {
		netstack_reject(m->ns, syn, REJECT_REFUSED);
	}
}

static void on_cancel(void *arg, struct netstack_syn *syn, void *ctx)
{
	struct manager *m = arg;

	(void)syn;
	if (ctx != &control_marker)
		exit_cancel(m->exit, ctx);
}

static void on_open(void *arg, struct stream *s, void *ctx)
{
	struct manager *m = arg;
	struct overlay_peer *op = NULL;
	struct flow flow;

	if (ctx != &control_marker) {
		exit_open(m->exit, s, ctx);
		return;
	}
	if (netstack_stream_info(s, &flow, NULL) == 0)
		op = overlay_route(node_overlay(m->node), &flow.src);
	if (op)
		control_open(m, overlay_peer_user(op), s);
	else
		s->ops->abort(s);
}

static void on_udp(void *arg, const struct flow *flow, const uint8_t *data, size_t len, void *peer)
{
	struct manager *m = arg;

	exit_udp(m->exit, flow, data, len, peer);
}

static void on_echo(void *arg, const struct flow *flow, uint16_t seq, const uint8_t *data,
		    size_t len, void *peer)
{
	struct manager *m = arg;

	exit_echo(m->exit, flow, seq, data, len, peer);
}

/* --- start and end --------------------------------------------------------------------------------------------- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	enum { TIDY_EVERY_S = 4 };
	struct manager *m = arg;

	(void)fd;
	(void)what;
	m->platform->tick(m, clock_boot());
	if (m->ticks++ % TIDY_EVERY_S == 0)
		memory_tidy();
	watch_check(m->watch, m);
}

static void on_push(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	rules_push(arg);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)what;
	if (sig == SIGHUP) {
		log_info("SIGHUP: nothing is read again; restart to apply a changed configuration");
		return;
	}
	log_info("ending on %s", sig == SIGTERM ? "SIGTERM" : "SIGINT");
	event_base_loopbreak(arg);
}

/* Connections the exit may have: what the descriptors allow, some kept for ourselves. */
static unsigned conns_limit(void)
{
	enum { RESERVE = 64, MOST = 16384 };
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur > MOST + RESERVE)
		return MOST;
	return l.rlim_cur > 2 * RESERVE ? (unsigned)l.rlim_cur - RESERVE : RESERVE;
}

static int start_node(struct manager *m, struct error *e)
{
	static const struct node_ops ops = {
		.inner = on_inner,
		.established = on_established,
		.away = on_away,
		.back = on_back,
		.admit = on_admit,
		.stamp = on_stamp,
		.writable = on_writable,
	};
	struct node_config nc = {
		.base = m->base,
		.bind = m->cfg->listen,
		.cipher = cipher_chacha(),
	};
	int r = m->platform->identity(m, &nc.identity, e);

	nc.last_stamp = m->stamp;
	memcpy(m->pub, nc.identity.pub, KEY_LEN);
	m->self = overlay_stack_addr(m->pub);
	if (r == 0)
		r = node_new(&m->node, &nc, &ops, m, e);
	crypto_wipe(&nc.identity, sizeof(nc.identity));
	return r;
}

static int start_stack(struct manager *m, struct error *e)
{
	static const struct netstack_ops ops = {.output = on_output,
						.full = on_full,
						.tcp_syn = on_syn,
						.tcp_cancel = on_cancel,
						.tcp_open = on_open,
						.udp = on_udp,
						.echo = on_echo};
	const struct netstack_limits limits = {.conns = conns_limit()};

	return netstack_new(&m->ns, m->base, &ops, m, &limits, e);
}

static int manager_start(struct manager *m, struct error *e)
{
	const struct timeval second = {.tv_sec = 1};
	int r;

	m->started = clock_boot();
	m->epoch = clock_real() / NSEC_PER_MSEC; /* so that it grows over restarts, too */
	crypto_random(&m->next_port, sizeof(m->next_port));
	m->overlay = overlay_prefix();
	m->base = event_base_new();
	m->push = m->base ? evtimer_new(m->base, on_push, m) : NULL;
	m->tick = m->base ? event_new(m->base, -1, EV_PERSIST, on_tick, m) : NULL;
	if (!m->push || !m->tick || event_add(m->tick, &second) || watch_new(&m->watch))
		return error_errno(e, -ENOMEM, "start");
	r = start_node(m, e);
	if (r == 0)
		r = start_stack(m, e);
	if (r == 0 && exit_new(&m->exit, m))
		r = error_errno(e, -ENOMEM, "start");
	if (r == 0)
		r = m->platform->start(m, e);
	return r;
}

static void manager_stop(struct manager *m)
{
	m->platform->stop(m);
	exit_free(m->exit);
	m->exit = NULL;
	for (struct peer *p = m->peers; p; p = p->next)
		control_forget(p);
	netstack_free(m->ns);
	m->ns = NULL;
	if (m->node)
		node_flush(
			m->node); /* peers hear that their connections end, and look for the next one of us */
	peers_free(m);
	node_free(m->node);
	m->platform->free(m);
	watch_free(m->watch);
	if (m->push)
		event_free(m->push);
	if (m->tick)
		event_free(m->tick);
	if (m->base)
		event_base_free(m->base);
	config_free(m->cfg);
}

static int run(struct manager *m)
{
	struct event *term = evsignal_new(m->base, SIGTERM, on_signal, m->base);
	struct event *intr = evsignal_new(m->base, SIGINT, on_signal, m->base);
	struct event *hup = evsignal_new(m->base, SIGHUP, on_signal, m->base);
	char listen[ADDR_STRLEN], key[KEY_TEXT_LEN];
	int r = -1;

	if (term && intr && hup && event_add(term, NULL) == 0 && event_add(intr, NULL) == 0 &&
	    event_add(hup, NULL) == 0) {
		key_format(m->pub, key);
		log_info("listening on %s, key %s", sockaddr_format(&m->cfg->listen, listen), key);
		r = event_base_dispatch(m->base);
	}
	if (term)
		event_free(term);
	if (intr)
		event_free(intr);
	if (hup)
		event_free(hup);
	return r < 0 ? 1 : 0;
}

static int serve(const struct platform *platform, const char *config)
{
	struct manager m = {.platform = platform};
	struct error e;
	int r = config_load(&m.cfg, config, platform == &kubernetes_platform, &e);

	if (r) {
		fprintf(stderr, "%s\n", e.text);
		return 2;
	}
	program_start();
	r = manager_start(&m, &e);
	if (r)
		log_error("%s", e.text);
	r = r ? 1 : run(&m);
	manager_stop(&m);
	return r;
}

int manager_main(int argc, char **argv)
{
	const struct platform *platform = &static_platform;
	const char *config;
	int r;

	if (crypto_init()) {
		fprintf(stderr, "culvert-manager: libsodium does not start\n");
		return 1;
	}
	if (argc > 1 && !strcmp(argv[1], "invite"))
		return invite_main(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "--kubernetes")) {
		platform = &kubernetes_platform;
		argv[1] = argv[0];
		argc--;
		argv++;
	}
	r = program_options("culvert-manager", usage, argc, argv, &config);
	return r >= 0 ? r : serve(platform, config);
}
