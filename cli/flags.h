/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands and flags as tables. From one table come the parser, --help, the man page and the
 * completion, so that none of them can say something else than the others.
 */
#pragma once

#include "base/error.h"

enum flag_type {
	FLAG_BOOL,   /* --x, --x=true, --x=false */
	FLAG_TEXT,   /* --x V, --x=V, -n V, -nV */
	FLAG_FILE,   /* as text; the shell completes a path */
	FLAG_CIDR,   /* a prefix, checked */
	FLAG_CHOICE, /* one of `choices` */
};

struct flag {
	const char *name; /* without dashes; NULL ends the table */
	char letter;	  /* 0 = none */
	enum flag_type type;
	bool many;	   /* may be repeated */
	const char *value; /* what --help calls the value, with its unit */
	const char *help;
	const char *const *choices; /* NULL-ended */
};

enum { FLAGS_MAX = 40, VALUES_MAX = 64, POSITIONAL_MAX = 4 };

struct args;

struct command {
	const char *name;
	const char *args;    /* positional arguments as --help shows them, "" = none */
	const char *summary; /* one line */
	const char *about;   /* paragraphs, may be "" */
	const struct flag *flags;
	unsigned min_args, max_args;
	bool child; /* takes `-- COMMAND ARGS...` */
	const char *example;
	int (*exec)(const struct args *a);
	/* Names that may stand as the argument, one per line on stdout. Optional. */
	void (*complete)(void);
	bool hidden;
};

struct args {
	const struct command *cmd;
	struct {
		unsigned n;
		const char *v[VALUES_MAX];
	} flag[FLAGS_MAX]; /* in the order of cmd->flags */
	unsigned npos;
	const char *pos[POSITIONAL_MAX];
	char **child; /* NULL = no `--`; NULL-ended */
	bool help;
};

/* argv[0] is the command's name. 0, or -EINVAL with the sentence (a usage error). The strings stay
 * argv's. */
int args_parse(struct args *a, const struct command *cmd, int argc, char **argv, struct error *e);
/* The last value given, or NULL. Asking for a flag that the table has not is a mistake of ours:
 * aborts. */
const char *args_text(const struct args *a, const char *name);
bool args_bool(const struct args *a, const char *name);
unsigned args_many(const struct args *a, const char *name, const char *const **values);

/* The candidate that is nearest to `word` if it is near at all (a slip of the finger), else NULL.
 * NULL-ended list. */
const char *nearest(const char *word, const char *const *candidates);
