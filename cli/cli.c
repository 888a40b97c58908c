/* SPDX-License-Identifier: Apache-2.0 */
/* From argv to a command of the table. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/internal.h"

const struct command *const commands[] = {
	&cmd_connect, &cmd_list,       &cmd_intercept, &cmd_leave,     &cmd_status,  &cmd_quit,
	&cmd_login,   &cmd_logout,     &cmd_preview,   &cmd_dashboard, &cmd_install, &cmd_uninstall,
	&cmd_help,    &cmd_completion, &cmd_man,       &cmd_complete,  NULL,
};

const struct command *command_find(const char *name)
{
	const struct command *const *c;

	for (c = commands; *c; c++)
		if (!strcmp((*c)->name, name))
			return *c;
	return NULL;
}

int cli_fail(const struct error *e)
{
	struct error clean = *e;

	text_clean(clean.text);
	fprintf(stderr, "culvert: %s\n", clean.text);
	return EXIT_FAILED;
}

int cli_fail_usage(const struct command *c, const struct error *e)
{
	cli_fail(e);
	if (c && !strstr(e->text, "--help"))
		fprintf(stderr, "See: culvert %s --help\n", c->name);
	return EXIT_USAGE;
}

int cli_fail_unknown(const char *name)
{
	const char *names[32], *near;
	const struct command *const *c;
	struct error e;
	unsigned n = 0;

	for (c = commands; *c; c++)
		if (!(*c)->hidden)
			names[n++] = (*c)->name;
	names[n] = NULL;
	near = nearest(name, names);
	if (near)
		error_set(&e, 0, "there is no command '%s'; did you mean '%s'?", name, near);
	else
		error_set(&e, 0, "there is no command '%s'; see: culvert --help", name);
	return cli_fail_usage(NULL, &e);
}

int cli_main(int argc, char **argv)
{
	const struct command *c;
	struct args args;
	struct error e;

	signal(SIGPIPE, SIG_DFL);
	if (argc < 2) {
		help_print(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		help_print(stdout);
		return EXIT_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("culvert " CULVERT_VERSION);
		return EXIT_OK;
	}
	if (argv[1][0] == '-') {
		error_set(&e, 0, "there is no flag %s before a command; see: culvert --help",
			  argv[1]);
		return cli_fail_usage(NULL, &e);
	}
	c = command_find(argv[1]);
	if (!c)
		return cli_fail_unknown(argv[1]);
	/* The hidden ones take words as they are: a shell completes half-written flags. */
	if (!c->hidden && args_parse(&args, c, argc - 1, argv + 1, &e))
		return cli_fail_usage(c, &e);
	if (c->hidden)
		args = (struct args){.cmd = c, .child = argv + 2};
	if (args.help) {
		help_command(stdout, c);
		return EXIT_OK;
	}
	return c->exec(&args);
}
