/* SPDX-License-Identifier: Apache-2.0 */
/* culvert-agent: options, start, loop, end. */
#include <event2/event.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>

#include "agent/agent.h"
#include "agent/internal.h"
#include "agent/redirect.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/program.h"

static const char usage[] =
	"Usage: culvert-agent --config FILE [--debug]\n"
	"       culvert-agent --kubernetes [--debug]\n"
	"       culvert-agent redirect FROM:TO[/udp]...\n"
	"       culvert-agent --version | --help\n"
	"\n"
	"Stands before the ports of an application. Passes connections through to it, except those "
	"that\n"
	"an intercept sends to a laptop. Needs no privileges, and no manager to pass traffic.\n"
	"\n"
	"  --config FILE   YAML, described in docs/intercepts.md\n"
	"  --kubernetes    in a pod: the environment says it, docs/kubernetes.md\n"
	"  redirect        in a pod's init container, with NET_ADMIN: leads ports to the agent's\n"
	"  --debug         more lines in the log\n"
	"\n"
	"Example: culvert-agent --config /etc/culvert/agent.yaml\n";

enum { DRAIN_S = 5 };

static void on_drained(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	(void)fd;
	(void)what;
	event_base_loopbreak(a->base);
}

/* A sidecar is told to end after its application has: what still runs then are connections that laptops serve, and they may
 * be about to finish. The second signal does not wait. */
static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	const struct timeval drain = {.tv_sec = DRAIN_S};
	struct agent *a = arg;

	(void)what;
	log_info("ending on %s", sig == SIGTERM ? "SIGTERM" : "SIGINT");
	if (a->cfg->kubernetes && a->clients && !a->ending)
		a->ending = evtimer_new(a->base, on_drained, a);
	if (!a->ending || evtimer_pending(a->ending, NULL) || evtimer_add(a->ending, &drain)) {
		event_base_loopbreak(a->base);
	} else {
		listeners_free(a);
		clients_drain(a);
	}
}

static void on_tidy(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	memory_tidy();
}

static bool has_manager(const struct agent_config *cfg)
{
	return !cfg->kubernetes || cfg->has_manager;
}

static int loop(struct agent *a)
{
	struct event *term = evsignal_new(a->base, SIGTERM, on_signal, a);
	struct event *intr = evsignal_new(a->base, SIGINT, on_signal, a);
	struct error e = {.text = "no memory"};
	int r = -1;

	a->tidy = evtimer_new(a->base, on_tidy, NULL);
	keep_load(a);
	if (a->tidy && term && intr && event_add(term, NULL) == 0 && event_add(intr, NULL) == 0 &&
	    udp_new(a) == 0 && listeners_new(a, &e) == 0 &&
	    (!has_manager(a->cfg) || link_new(&a->link, a) == 0)) {
		malloc_trim(0); /* what reading the configuration took */
		r = event_base_dispatch(a->base);
	} else {
		log_error("start: %s", e.text);
	}
	listeners_free(a);
	clients_free(a);
	udp_free(a);
	link_leave(a->link);
	/* What was closed and reset goes out: from the stack in one turn, and from the node in the next. */
	for (int i = 0; i < 2; i++)
		event_base_loop(a->base, EVLOOP_NONBLOCK);
	link_free(a->link);
	a->link = NULL;
	if (a->tidy)
		event_free(a->tidy);
	if (term)
		event_free(term);
	if (intr)
		event_free(intr);
	if (a->ending)
		event_free(a->ending);
	return r < 0 ? 1 : 0;
}

/*
 * What is watched changes in one go, before the loop waits: a connection that comes, is told what it is and ends asks epoll six times in place of ten. Not
 * for descriptors that dup() made; there are none here.
 */
static struct event_base *base_new(void)
{
	struct event_config *cfg = event_config_new();
	struct event_base *base = NULL;

	if (cfg && event_config_set_flag(cfg, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) == 0)
		base = event_base_new_with_config(cfg);
	if (cfg)
		event_config_free(cfg);
	return base;
}

/* `config` NULL: in a pod. */
static int serve(const char *config)
{
	struct agent a = {.clients = NULL};
	struct error e = {.text = "no memory"};
	int r = config ? agent_config_load(&a.cfg, config, &e) : agent_config_from_pod(&a.cfg);

	if (r) {
		fprintf(stderr, "%s\n", e.text);
		return 2;
	}
	program_start();
	a.base = base_new();
	r = a.base ? loop(&a) : 1;
	if (a.base)
		event_base_free(a.base);
	rules_free(&a.rules);
	free(a.journal);
	agent_config_free(a.cfg);
	return r;
}

/* -1 = it is for a pod, and nothing else was said. */
static int pod_options(int argc, char **argv)
{
	enum log_level level = LOG_LEVEL_INFO;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--debug"))
			level = LOG_LEVEL_DEBUG;
		else if (strcmp(argv[i], "--kubernetes")) {
			fputs(usage, stderr);
			return 2;
		}
	}
	log_setup("culvert-agent", level);
	return -1;
}

static bool in_a_pod(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--kubernetes"))
			return true;
	}
	return false;
}

int agent_main(int argc, char **argv)
{
	const char *config = NULL;
	int r;

	if (argc > 1 && !strcmp(argv[1], "redirect"))
		return redirect_main(argc - 1, argv + 1);
	r = in_a_pod(argc, argv) ? pod_options(argc, argv)
				 : program_options("culvert-agent", usage, argc, argv, &config);

	if (r >= 0)
		return r;
	if (crypto_init()) {
		log_error("start: libsodium does not start");
		return 1;
	}
	return serve(config);
}
