/* SPDX-License-Identifier: Apache-2.0 */
/* culvert quit: ends all intercepts, undoes the network settings, ends the daemon. */
#include <errno.h>
#include <poll.h>

#include "cli/internal.h"

enum { GONE_MS = 3000 };

/* The daemon closes as the last thing it does, so that a `connect` right after this one starts a
 * new one. */
static void await_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	while (poll(&p, 1, GONE_MS) > 0 && read(fd, &byte, 1) > 0)
		;
}

static int quit(int fd, struct progress *p, struct error *e)
{
	json_t *result = NULL;
	int err = client_call(fd, p, "quit", json_object(), &result, e);

	if (!err)
		await_end(fd);
	if (!err && *get_text(result, "warning"))
		fprintf(stderr, "Warning: %s\n", get_text(result, "warning"));
	json_decref(result);
	close(fd);
	return err;
}

static int exec_quit(const struct args *a)
{
	struct error e;
	int fd = client_open(&e), err;
	struct progress *p;

	(void)a;
	if (fd == -ENOENT) {
		puts("Not connected; nothing to do");
		return EXIT_OK;
	}
	if (fd < 0)
		return cli_fail(&e);
	p = progress_start("Leaving the cluster");
	err = quit(fd, p, &e);
	/* It was ending anyway: then there is none now. A newer one is asked in its turn. */
	if (client_daemon_ended(err)) {
		fd = client_open(&e);
		err = fd == -ENOENT ? 0 : fd < 0 ? fd : quit(fd, p, &e);
	}
	progress_end(p, err ? NULL : "Disconnected");
	return err ? cli_fail(&e) : EXIT_OK;
}

static const struct flag no_flags[] = {{0}};

const struct command cmd_quit = {
	.name = "quit",
	.args = "",
	.summary = "Leave the cluster: intercepts, routes and DNS settings go, the daemon ends",
	.about = "",
	.flags = no_flags,
	.example = "culvert quit",
	.exec = exec_quit,
};
