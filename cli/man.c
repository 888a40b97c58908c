/* SPDX-License-Identifier: Apache-2.0 */
/* `culvert __man COMMAND`: the manual page in roff, from the same table as --help. Run by the
 * build. */
#include "cli/internal.h"

/* A dash is a minus for who copies from a manual page; a line must not start with a dot. */
static void roff(const char *text)
{
	bool start = true;

	for (; *text; text++) {
		if (start && (*text == '.' || *text == '\''))
			fputs("\\&", stdout);
		if (*text == '-')
			fputs("\\-", stdout);
		else if (*text == '\\')
			fputs("\\e", stdout);
		else
			putchar(*text);
		start = *text == '\n';
	}
}

static void section(const char *name)
{
	printf(".SH %s\n", name);
}

static int exec_man(const struct args *a)
{
	const struct command *c = a->child[0] ? command_find(a->child[0]) : NULL;
	const struct flag *f;
	char left[80];

	if (!c || c->hidden) {
		fputs("culvert: __man needs a command\n", stderr);
		return EXIT_USAGE;
	}
	printf(".TH CULVERT\\-%s 1 \"\" \"culvert %s\" \"User Commands\"\n", c->name,
	       CULVERT_VERSION);
	section("NAME");
	printf("culvert\\-%s \\- ", c->name);
	roff(c->summary);
	putchar('\n');
	section("SYNOPSIS");
	printf(".B culvert %s\n", c->name);
	roff(c->args);
	printf(" [FLAGS]%s\n", c->child ? " [\\-\\- COMMAND ARGS...]" : "");
	if (*c->about) {
		section("DESCRIPTION");
		roff(c->about);
		putchar('\n');
	}
	if (c->flags->name)
		section("OPTIONS");
	for (f = c->flags; f->name; f++) {
		help_flag_text(f, left, sizeof(left));
		fputs(".TP\n.B ", stdout);
		roff(left + strspn(left, " "));
		putchar('\n');
		roff(f->help);
		puts(f->many ? " (may be repeated)" : "");
	}
	section("EXIT STATUS");
	puts("0 done, 1 it failed (the reason is on stderr), 2 wrong usage.");
	section("EXAMPLE");
	fputs(".nf\n", stdout);
	roff(c->example);
	fputs("\n.fi\n", stdout);
	return EXIT_OK;
}

const struct command cmd_man = {.name = "__man", .exec = exec_man, .hidden = true};
