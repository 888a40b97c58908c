/* SPDX-License-Identifier: Apache-2.0 */
/* culvert-agent: options, start, loop, end. */
#include <event2/event.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>

#include "agent/agent.h"
#include "agent/internal.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/program.h"

static const char usage[] =
	"Usage: culvert-agent --config FILE [--debug]\n"
	"       culvert-agent --version | --help\n"
	"\n"
	"Stands before the ports of an application. Passes connections through to it, except those "
	"that\n"
	"an intercept sends to a laptop. Needs no privileges, and no manager to pass traffic.\n"
	"\n"
	"  --config FILE   YAML, described in docs/intercepts.md\n"
	"  --debug         more lines in the log\n"
	"\n"
	"Example: culvert-agent --config /etc/culvert/agent.yaml\n";

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)what;
	log_info("ending on %s", sig == SIGTERM ? "SIGTERM" : "SIGINT");
	event_base_loopbreak(arg);
}

static void on_tidy(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	memory_tidy();
}

static int loop(struct agent *a)
{
	struct event *term = evsignal_new(a->base, SIGTERM, on_signal, a->base);
	struct event *intr = evsignal_new(a->base, SIGINT, on_signal, a->base);
	struct error e = {.text = "no memory"};
	int r = -1;

	a->tidy = evtimer_new(a->base, on_tidy, NULL);
	keep_load(a);
	if (a->tidy && term && intr && event_add(term, NULL) == 0 && event_add(intr, NULL) == 0 &&
	    listeners_new(a, &e) == 0 && link_new(&a->link, a) == 0) {
		malloc_trim(0); /* what reading the configuration took */
		r = event_base_dispatch(a->base);
	} else {
		log_error("start: %s", e.text);
	}
	listeners_free(a);
	captures_free(a);
	link_free(a->link);
	a->link = NULL;
	if (a->tidy)
		event_free(a->tidy);
	if (term)
		event_free(term);
	if (intr)
		event_free(intr);
	return r < 0 ? 1 : 0;
}

static int serve(const char *config)
{
	struct agent a = {.captures = NULL};
	struct error e;
	int r = agent_config_load(&a.cfg, config, &e);

	if (r) {
		fprintf(stderr, "%s\n", e.text);
		return 2;
	}
	program_start();
	a.base = event_base_new();
	r = a.base ? loop(&a) : 1;
	if (a.base)
		event_base_free(a.base);
	rules_free(&a.rules);
	agent_config_free(a.cfg);
	return r;
}

int agent_main(int argc, char **argv)
{
	const char *config;
	int r = program_options("culvert-agent", usage, argc, argv, &config);

	if (r >= 0)
		return r;
	if (crypto_init()) {
		log_error("start: libsodium does not start");
		return 1;
	}
	return serve(config);
}
