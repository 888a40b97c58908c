/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completion: the shells' scripts are a few lines that call `culvert __complete WORDS...`, which
 * knows the tables and, for names of workloads, asks the daemon. The last word is the one being
 * typed, maybe empty.
 */
#include "cli/internal.h"

/* Never compgen -W: it expands its words, and names come from the cluster. */
static const char bash[] =
	"# bash completion of culvert; in ~/.bashrc:  source <(culvert completion bash)\n"
	"_culvert()\n"
	"{\n"
	"	local cur=${COMP_WORDS[COMP_CWORD]} word\n"
	"	COMPREPLY=()\n"
	"	while IFS= read -r word; do\n"
	"		if [ \"$word\" = :file ]; then\n"
	"			compopt -o filenames\n"
	"			mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
	"		elif [[ $word == \"$cur\"* ]]; then\n"
	"			COMPREPLY+=(\"$word\")\n"
	"		fi\n"
	"	done < <(culvert __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
	"}\n"
	"complete -F _culvert culvert\n";

static const char zsh[] =
	"#compdef culvert\n"
	"# zsh completion of culvert; in ~/.zshrc:  source <(culvert completion zsh)\n"
	"_culvert()\n"
	"{\n"
	"	local -a found\n"
	"	found=(${(f)\"$(culvert __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)\"})\n"
	"	if [[ \"$found\" = :file ]]; then _files; else compadd -a found; fi\n"
	"}\n"
	"compdef _culvert culvert\n";

static const char fish[] = "# fish completion of culvert; run:  culvert completion fish | source\n"
			   "function __culvert_complete\n"
			   "	set -l words (commandline -opc) (commandline -ct)\n"
			   "	set -l found (culvert __complete $words[2..-1] 2>/dev/null)\n"
			   "	if test \"$found\" = :file\n"
			   "		__fish_complete_path (commandline -ct)\n"
			   "	else\n"
			   "		printf '%s\\n' $found\n"
			   "	end\n"
			   "end\n"
			   "complete -c culvert -f -a '(__culvert_complete)'\n";

static const char *const shells[] = {"bash", "zsh", "fish", NULL};
static const char *const scripts[] = {bash, zsh, fish};

static int exec_completion(const struct args *a)
{
	struct error e;
	unsigned i;

	for (i = 0; shells[i]; i++) {
		if (strcmp(shells[i], a->pos[0]))
			continue;
		fputs(scripts[i], stdout);
		return EXIT_OK;
	}
	error_set(&e, 0, "there is no completion for '%s'; write bash, zsh or fish", a->pos[0]);
	return cli_fail_usage(a->cmd, &e);
}

static void complete_shells(void)
{
	puts("bash\nzsh\nfish");
}

static const struct flag no_flags[] = {{0}};

const struct command cmd_completion = {
	.name = "completion",
	.args = "bash|zsh|fish",
	.summary = "Print the completion script for a shell",
	.about = "",
	.flags = no_flags,
	.min_args = 1,
	.max_args = 1,
	.example = "source <(culvert completion bash)",
	.exec = exec_completion,
	.complete = complete_shells,
};

/* --- __complete --- */

static const struct flag *flag_of(const struct command *c, const char *word)
{
	const struct flag *f;

	for (f = c->flags; f->name; f++) {
		if (!strncmp(word, "--", 2) && !strcmp(word + 2, f->name))
			return f;
		if (word[0] == '-' && word[1] == f->letter && f->letter && !word[2])
			return f;
	}
	return NULL;
}

static void complete_value(const struct flag *f)
{
	const char *const *c;

	if (f->type == FLAG_FILE)
		puts(":file");
	for (c = f->choices; c && *c; c++)
		puts(*c);
}

void complete_name(const char *name)
{
	if (*name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					"0123456789._-")])
		puts(name);
}

static int exec_complete(const struct args *a)
{
	const struct command *c;
	const struct flag *f;
	int n = 0;

	for (; a->child[n]; n++)
		if (n && a->child[n + 1] && !strcmp(a->child[n], "--"))
			return puts(":file") < 0; /* of the command to run */
	if (n <= 1) {
		cmd_help.complete();
		return EXIT_OK;
	}
	c = command_find(a->child[0]);
	if (!c || c->hidden)
		return EXIT_OK;
	f = n > 2 ? flag_of(c, a->child[n - 2]) : NULL;
	if (f && f->type != FLAG_BOOL) {
		complete_value(f);
		return EXIT_OK;
	}
	if (a->child[n - 1][0] == '-') {
		for (f = c->flags; f->name; f++)
			printf("--%s\n", f->name);
		puts("--help");
	} else if (c->complete) {
		c->complete();
	}
	return EXIT_OK;
}

const struct command cmd_complete = {.name = "__complete", .exec = exec_complete, .hidden = true};
