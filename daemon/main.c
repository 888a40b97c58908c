/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's life: start, loop, end. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "base/program.h"
#include "crypto/crypto.h"
#include "daemon/daemon.h"
#include "daemon/internal.h"
#include "daemon/netwatch.h"
#include "daemon/session.h"

enum { NOBODY_CAME = 5 /* s */ };

struct options {
	bool exit_idle;
	bool verbose;
	int ready_fd; /* -1 = nobody waits */
};

static const char usage[] =
	"Usage: culvert daemon [--verbose]\n"
	"\n"
	"Runs the daemon in the foreground, logging to stderr. `culvert connect` starts one by "
	"itself when none runs.\n"
	"\n"
	"Flags:\n"
	"      --verbose       log what is of use to developers\n"
	"      --exit-idle     end when nobody is connected and no command waits\n"
	"      --ready-fd FD   write a line there once commands are taken, or the sentence why "
	"not\n"
	"\n"
	"Environment: CULVERT_SOCKET, CULVERT_HELPER, XDG_RUNTIME_DIR, XDG_STATE_HOME (absolute "
	"paths)\n";

/* 0, or the exit code plus one. */
static int parse_options(struct options *o, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--verbose")) {
			o->verbose = true;
		} else if (!strcmp(argv[i], "--exit-idle")) {
			o->exit_idle = true;
		} else if (!strcmp(argv[i], "--ready-fd") && i + 1 < argc) {
			o->ready_fd = atoi(argv[++i]);
		} else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			fputs(usage, stdout);
			return 1;
		} else {
			fprintf(stderr, "culvert daemon: unknown argument '%s'\n%s", argv[i],
				usage);
			return 3;
		}
	}
	return 0;
}

/* Tells who started us, once: "ok" or the sentence. */
static void tell_ready(const struct options *o, const char *text)
{
	if (o->ready_fd < 0)
		return;
	if (write(o->ready_fd, text, strlen(text)) < 0)
		log_debug("nobody waits for us: %s", strerror(errno));
	close(o->ready_fd);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
	(void)what;
	log_info("signal %d: quitting", (int)sig);
	daemon_quit(arg, NULL);
}

static void on_network(void *arg, const char *what)
{
	struct daemon *d = arg;

	if (d->session)
		session_network_changed(d->session, what);
}

/* Who started us may have been killed before it could ask for anything. */
static void on_nobody(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	daemon_check_idle(arg);
}

static void serve(struct daemon *d, const struct options *o)
{
	const struct timeval limit = {.tv_sec = NOBODY_CAME};
	struct event *term = evsignal_new(d->base, SIGTERM, on_signal, d);
	struct event *intr = evsignal_new(d->base, SIGINT, on_signal, d);

	if (term && intr && !event_add(term, NULL) && !event_add(intr, NULL)) {
		tell_ready(o, "ok\n");
		event_base_once(d->base, -1, EV_TIMEOUT, on_nobody, d, &limit);
		log_info("culvert %s: ready at %s", CULVERT_VERSION, d->dir.socket);
		event_base_dispatch(d->base);
	}
	if (term)
		event_free(term);
	if (intr)
		event_free(intr);
}

static int run(struct daemon *d, const struct options *o, struct error *e)
{
	int err = userdir_find(&d->dir, e);

	if (!err && crypto_init())
		err = error_set(e, -EIO, "libsodium does not start");
	if (!err && !(d->base = event_base_new()))
		err = error_errno(e, -ENOMEM, "event loop");
	if (!err)
		err = control_new(&d->control, d, e);
	if (!err)
		err = netwatch_new(&d->netwatch, d->base, on_network, d, e);
	if (!err)
		serve(d, o);
	session_free(d->session);
	netwatch_free(d->netwatch);
	control_free(d->control);
	if (d->base)
		event_base_free(d->base);
	return err;
}

int daemon_main(int argc, char **argv)
{
	struct daemon d = {.started = clock_boot()};
	struct options o = {.ready_fd = -1};
	struct error e = {0};
	int code = parse_options(&o, argc, argv);

	if (code)
		return code - 1;
	log_setup("culvert", o.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	program_start();
	TAILQ_INIT(&d.errands);
	d.exit_idle = o.exit_idle;
	if (getuid() == 0)
		log_warn("runs as root, which it does not need; run it as yourself");
	if (!run(&d, &o, &e))
		return 0;
	log_error("%s", e.text);
	tell_ready(&o, e.text);
	return 1;
}
