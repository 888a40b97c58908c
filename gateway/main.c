/* SPDX-License-Identifier: Apache-2.0 */
/* culvert-gateway: options, start, loop, end. */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>

#include "base/memory.h"
#include "base/program.h"
#include "gateway/gateway.h"
#include "gateway/internal.h"
#include "tls/tls.h"

static const char usage[] = "Usage: culvert-gateway --config FILE [--debug]\n"
			    "       culvert-gateway --version | --help\n"
			    "\n"
			    "The door of previews: lets in visitors who are logged in or have a "
			    "link, marks their requests for one\n"
			    "intercept and sends them to the ingress; serves the dashboard. Needs "
			    "no privileges, and no rights in the\n"
			    "cluster. SIGTERM and SIGINT end it cleanly.\n"
			    "\n"
			    "  --config FILE   YAML, described in docs/previews.md\n"
			    "  --debug         more lines in the log\n"
			    "\n"
			    "Example: culvert-gateway --config /etc/culvert/gateway.yaml\n";

static void on_signal(int sig, short what, void *arg)
{
	struct gateway *g = arg;

	(void)what;
	log_info("ending: signal %d", sig);
	event_base_loopbreak(g->base);
}

static void on_tick(int fd, short what, void *arg)
{
	struct gateway *g = arg;

	(void)fd;
	(void)what;
	keys_tick(g);
	visitors_check(g);
	dashboard_tick(g);
	memory_tidy();
}

static int start(struct gateway *g, struct error *e)
{
	int r = keys_load(g, e);

	if (r == 0)
		r = resolver_new(&g->resolver, g->base, e);
	if (r == 0)
		r = login_new(g, e);
	if (r == 0)
		r = listen_start(g, e);
	if (r == 0 && link_new(&g->link, g))
		r = error_errno(e, -ENOMEM, "the connection to the manager");
	event_assign(&g->tick, g->base, -1, EV_PERSIST, on_tick, g);
	if (r == 0)
		event_add(&g->tick, &(struct timeval){.tv_sec = TICK_S});
	return r;
}

static void stop(struct gateway *g)
{
	struct visitor *v;

	listen_stop(g);
	while ((v = TAILQ_FIRST(&g->visitors)))
		visitor_abort(v);
	login_free(g);
	link_free(g->link);
	resolver_free(g->resolver);
	if (event_initialized(&g->tick))
		event_del(&g->tick);
	tls_free(g->server);
	tls_free(g->to_ingress);
	tls_free(g->to_manager);
	told_free(&g->told);
	explicit_bzero(g->key, sizeof(g->key));
}

static int run(struct gateway *g)
{
	struct event *term = evsignal_new(g->base, SIGTERM, on_signal, g);
	struct event *intr = evsignal_new(g->base, SIGINT, on_signal, g);
	struct error e;
	int r = start(g, &e);

	if (r) {
		log_error("%s", e.text);
	} else {
		event_add(term, NULL);
		event_add(intr, NULL);
		log_info("previews at https://%s%s, dashboard at https://%s/",
			 g->config.by_path ? "" : "*.", g->config.previews.authority,
			 g->config.dashboard.authority);
		event_base_dispatch(g->base);
	}
	stop(g);
	event_free(term);
	event_free(intr);
	return r ? 1 : 0;
}

int gateway_main(int argc, char **argv)
{
	static struct gateway g;
	const char *path;
	struct error e;
	int r;

	program_start();
	r = program_options("culvert-gateway", usage, argc, argv, &path);
	if (r >= 0)
		return r;
	if (crypto_init()) {
		log_error("libsodium: no random numbers");
		return 1;
	}
	TAILQ_INIT(&g.visitors);
	LIST_INIT(&g.watchers);
	r = config_load(&g.config, path, &e);
	if (r) {
		log_error("%s", e.text);
		return 1;
	}
	g.base = event_base_new();
	r = g.base ? run(&g) : 1;
	if (g.base)
		event_base_free(g.base);
	config_free(&g.config);
	return r;
}
