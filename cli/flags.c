/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of the command line: flags anywhere before `--`, values by space or `=`. */
#include <errno.h>
#include <stdio.h>

#include "base/addr.h"
#include "cli/flags.h"

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	return MIN(a, MIN(b, c));
}

/* Edits (insert, delete, replace) from one word to the other; words of flags and verbs are short.
 */
static unsigned distance(const char *a, const char *b)
{
	enum { MAX = 40 };
	unsigned row[MAX + 1], i, j, diagonal, above;
	size_t la = strlen(a), lb = strlen(b);

	if (la > MAX || lb > MAX)
		return MAX;
	for (j = 0; j <= lb; j++)
		row[j] = j;
	for (i = 1; i <= la; i++) {
		diagonal = row[0];
		row[0] = i;
		for (j = 1; j <= lb; j++) {
			above = row[j];
			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[lb];
}

const char *nearest(const char *word, const char *const *candidates)
{
	unsigned best = 1 + (unsigned)strlen(word) / 3, d;
	const char *found = NULL;

	for (; *candidates; candidates++) {
		d = distance(word, *candidates);
		if (d > best || (found && d == best))
			continue;
		best = d;
		found = *candidates;
	}
	return found;
}

static unsigned index_of(const struct command *cmd, const char *name)
{
	unsigned i;

	for (i = 0; cmd->flags[i].name; i++)
		if (!strcmp(cmd->flags[i].name, name))
			return i;
	abort();
}

const char *args_text(const struct args *a, const char *name)
{
	unsigned i = index_of(a->cmd, name);

	return a->flag[i].n ? a->flag[i].v[a->flag[i].n - 1] : NULL;
}

bool args_bool(const struct args *a, const char *name)
{
	const char *v = args_text(a, name);

	return v && !strcmp(v, "true");
}

unsigned args_many(const struct args *a, const char *name, const char *const **values)
{
	unsigned i = index_of(a->cmd, name);

	*values = a->flag[i].v;
	return a->flag[i].n;
}

static int unknown_flag(const struct command *cmd, const char *name, struct error *e)
{
	const char *names[FLAGS_MAX + 2], *near;
	unsigned i, n = 0;

	for (i = 0; cmd->flags[i].name; i++)
		names[n++] = cmd->flags[i].name;
	names[n++] = "help";
	names[n] = NULL;
	near = nearest(name, names);
	if (near)
		return error_set(e, -EINVAL, "%s has no flag --%s; did you mean --%s?", cmd->name,
				 name, near);
	return error_set(e, -EINVAL, "%s has no flag --%s; see: culvert %s --help", cmd->name, name,
			 cmd->name);
}

static int check_value(const struct flag *f, const char **value, struct error *e)
{
	const char *const *c = f->choices;
	struct prefix p;
	int err;

	switch (f->type) {
	case FLAG_BOOL:
		if (strcmp(*value, "true") && strcmp(*value, "false"))
			return error_set(e, -EINVAL, "--%s=%s: write true or false", f->name,
					 *value);
		return 0;
	case FLAG_CIDR:
		err = prefix_parse(&p, *value);
		if (err == -EDOM)
			return error_set(e, -EINVAL,
					 "--%s %s: bits are set behind the prefix length", f->name,
					 *value);
		return err ? error_set(e, -EINVAL, "--%s %s: write a prefix such as 10.0.0.0/8",
				       f->name, *value)
			   : 0;
	case FLAG_CHOICE:
		while (*c && strcmp(*c, *value))
			c++;
		if (*c)
			return 0;
		error_set(e, -EINVAL, "--%s %s: write %s", f->name, *value, f->value);
		return -EINVAL;
	case FLAG_TEXT:
	case FLAG_FILE:
		return **value ? 0 : error_set(e, -EINVAL, "--%s: the value is empty", f->name);
	}
	return 0;
}

static int take(struct args *a, unsigned i, const char *value, struct error *e)
{
	const struct flag *f = &a->cmd->flags[i];
	int err = check_value(f, &value, e);

	if (err)
		return err;
	if (!f->many)
		a->flag[i].n = 0;
	if (a->flag[i].n == VALUES_MAX)
		return error_set(e, -EINVAL, "--%s: more than %d times", f->name, VALUES_MAX);
	a->flag[i].v[a->flag[i].n++] = value;
	return 0;
}

/* A flag that was found, with what stood after its `=` or letter, or NULL: then the next word, of
 * which `*used` tells. */
static int take_found(struct args *a, unsigned i, const char *value, const char *next, bool *used,
		      struct error *e)
{
	const struct flag *f = &a->cmd->flags[i];

	if (!value && f->type == FLAG_BOOL)
		value = "true";
	if (!value) {
		if (!next)
			return error_set(e, -EINVAL, "--%s needs a value: %s", f->name, f->value);
		value = next;
		*used = true;
	}
	return take(a, i, value, e);
}

static int parse_long(struct args *a, const char *word, const char *next, bool *used,
		      struct error *e)
{
	const char *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - word) : strlen(word);
	char name[64];
	unsigned i;

	snprintf(name, sizeof(name), "%.*s", (int)MIN(len, sizeof(name) - 1), word);
	if (!strcmp(name, "help")) {
		a->help = true;
		return 0;
	}
	for (i = 0; a->cmd->flags[i].name; i++)
		if (!strcmp(a->cmd->flags[i].name, name))
			return take_found(a, i, eq ? eq + 1 : NULL, next, used, e);
	return unknown_flag(a->cmd, name, e);
}

static int parse_short(struct args *a, const char *word, const char *next, bool *used,
		       struct error *e)
{
	const char *value = word[1] == '=' ? word + 2 : word[1] ? word + 1 : NULL;
	unsigned i;

	if (!strcmp(word, "h")) {
		a->help = true;
		return 0;
	}
	for (i = 0; a->cmd->flags[i].name; i++) {
		const struct flag *f = &a->cmd->flags[i];

		if (f->letter != *word)
			continue;
		if (value && f->type == FLAG_BOOL)
			break;
		return take_found(a, i, value, next, used, e);
	}
	return error_set(e, -EINVAL, "%s has no flag -%s; see: culvert %s --help", a->cmd->name,
			 word, a->cmd->name);
}

static int check_count(const struct args *a, struct error *e)
{
	const struct command *c = a->cmd;

	if (a->help)
		return 0;
	if (a->npos < c->min_args)
		return error_set(e, -EINVAL, "%s needs %s; for example: %s", c->name, c->args,
				 c->example);
	if (a->child && !a->child[0])
		return error_set(e, -EINVAL, "after -- a command is missing");
	return 0;
}

int args_parse(struct args *a, const struct command *cmd, int argc, char **argv, struct error *e)
{
	int i, err = 0;

	memset(a, 0, sizeof(*a));
	a->cmd = cmd;
	for (i = 1; i < argc && !err; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : NULL;
		bool used = false;

		if (!strcmp(argv[i], "--")) {
			if (!cmd->child)
				return error_set(e, -EINVAL, "%s takes no command after --",
						 cmd->name);
			a->child = argv + i + 1;
			break;
		}
		if (!strncmp(argv[i], "--", 2))
			err = parse_long(a, argv[i] + 2, next, &used, e);
		else if (argv[i][0] == '-' && argv[i][1])
			err = parse_short(a, argv[i] + 1, next, &used, e);
		else if (a->npos == cmd->max_args)
			err = error_set(e, -EINVAL, "%s: '%s' is one argument too many%s",
					cmd->name, argv[i],
					cmd->child ? "; a command to run comes after --" : "");
		else
			a->pos[a->npos++] = argv[i];
		i += used;
	}
	return err ? err : check_count(a, e);
}
