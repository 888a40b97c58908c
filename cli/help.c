/* SPDX-License-Identifier: Apache-2.0 */
/* --help, from the tables. */
#include "cli/internal.h"

enum { COLUMN = 28 };

void help_flag_text(const struct flag *f, char *buf, size_t size)
{
	char letter[8] = "    ";

	if (f->letter)
		snprintf(letter, sizeof(letter), "-%c, ", f->letter);
	if (f->type == FLAG_BOOL)
		snprintf(buf, size, "%s--%s", letter, f->name);
	else
		snprintf(buf, size, "%s--%s %s", letter, f->name, f->value);
}

static void print_flag(FILE *out, const struct flag *f)
{
	char left[80];

	help_flag_text(f, left, sizeof(left));
	fprintf(out, "  %-*s", COLUMN, left);
	if (strlen(left) >= COLUMN)
		fprintf(out, "\n  %-*s", COLUMN, "");
	fprintf(out, " %s%s\n", f->help, f->many ? " (may be repeated)" : "");
}

void help_command(FILE *out, const struct command *c)
{
	static const struct flag help = {.name = "help", .letter = 'h', .help = "this text"};
	const struct flag *f;

	fprintf(out, "%s\n\nUsage: culvert %s%s%s [FLAGS]%s\n\n", c->summary, c->name,
		*c->args ? " " : "", c->args, c->child ? " [-- COMMAND ARGS...]" : "");
	if (*c->about)
		fprintf(out, "%s\n\n", c->about);
	fputs("Flags:\n", out);
	for (f = c->flags; f->name; f++)
		print_flag(out, f);
	print_flag(out, &help);
	fprintf(out, "\nExample:\n  %s\n", c->example);
}

void help_print(FILE *out)
{
	const struct command *const *c;

	fputs("culvert puts this computer inside a cluster's network, and brings chosen traffic "
	      "out of it to a process\n"
	      "here, where a debugger runs.\n\n"
	      "Usage: culvert COMMAND [FLAGS]\n\nCommands:\n",
	      out);
	for (c = commands; *c; c++)
		if (!(*c)->hidden)
			fprintf(out, "  %-12s %s\n", (*c)->name, (*c)->summary);
	fputs("\nExample:\n"
	      "  culvert connect --manager 192.0.2.1:7400 --invite laptop.invite\n"
	      "  culvert intercept hello --port 3000:http -- ./hello\n"
	      "\n`culvert COMMAND --help` tells more about one; `culvert --version` which version "
	      "this is.\n",
	      out);
}

static int exec_help(const struct args *a)
{
	const struct command *c = a->npos ? command_find(a->pos[0]) : NULL;

	/* The hidden ones have no flags to tell of. */
	if (a->npos && (!c || c->hidden))
		return cli_fail_unknown(a->pos[0]);
	if (c)
		help_command(stdout, c);
	else
		help_print(stdout);
	return EXIT_OK;
}

static void complete_commands(void)
{
	const struct command *const *c;

	for (c = commands; *c; c++)
		if (!(*c)->hidden)
			puts((*c)->name);
}

static const struct flag no_flags[] = {{0}};

const struct command cmd_help = {
	.name = "help",
	.args = "[COMMAND]",
	.summary = "Tell what a command does and which flags it has",
	.about = "",
	.flags = no_flags,
	.max_args = 1,
	.example = "culvert help intercept",
	.exec = exec_help,
	.complete = complete_commands,
};
