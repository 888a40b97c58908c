/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share: the table, the daemon, ways to print. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "base/error.h"
#include "base/userdir.h"
#include "cli/flags.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

extern const struct command cmd_connect, cmd_list, cmd_intercept, cmd_leave, cmd_status, cmd_quit,
	cmd_login, cmd_logout, cmd_preview, cmd_dashboard, cmd_install, cmd_uninstall,
	cmd_completion, cmd_help, cmd_man, cmd_complete;
extern const struct command *const commands[]; /* NULL-ended */
const struct command *command_find(const char *name);

/* --- help.c, man.c: from the table -------------------------------------------------------------
 */

void help_print(FILE *out);			       /* all commands */
void help_command(FILE *out, const struct command *c); /* one */
/* Left column of a flag: "-n, --namespace NAME". */
void help_flag_text(const struct flag *f, char *buf, size_t size);

/* --- failing: one sentence on stderr ------------------------------------------------------------
 */

int cli_fail(const struct error *e);				    /* EXIT_FAILED */
int cli_fail_usage(const struct command *c, const struct error *e); /* EXIT_USAGE */
int cli_fail_unknown(const char *name); /* no such command; EXIT_USAGE */

/* --- client.c: the daemon ------------------------------------------------------------------------
 */

struct progress;

/* Connects to the daemon of this user: descriptor, -ENOENT when none runs, other negative errno
 * with the sentence. */
int client_open(struct error *e);
/* As client_open, but starts one in the background if none runs and waits until it is ready. */
int client_start(struct progress *p, struct error *e);
/* One call. Progress lines go to `p` (may be NULL). 0 and the result; -EINTR when a signal came;
 * else the sentence. */
int client_call(int fd, struct progress *p, const char *method, json_t *params, json_t **result,
		struct error *e);
/* The daemon ended while it was asked (it removes its socket before it closes connections): open again, and see. */
bool client_daemon_ended(int err);
/* Opens, calls, closes; on a terminal it says `doing` if it takes a while (may be NULL). -ENOENT without a daemon: then
 * the sentence says to connect first. */
int client_once(const char *method, json_t *params, const char *doing, json_t **result,
		struct error *e);
/* SIGINT and SIGTERM break client_call() off from now on, instead of ending us. */
void client_catch_signals(void);
bool client_interrupted(void); /* one came since then, perhaps too late to break anything off */

/* --- progress.c: a spinner on a terminal, plain lines elsewhere; always stderr --- */

struct progress *progress_start(const char *text);
void progress_say(struct progress *p, const char *text);
/* Ends it with a tick and `text` on success (text != NULL), without a trace otherwise. NULL ok. */
void progress_end(struct progress *p, const char *text);

/* --- completion.c --- */

/* Offers a name that the cluster chose, unless a shell would read it as something else. */
void complete_name(const char *name);

/* --- output.c: -o text|json|yaml --- */

enum output { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_YAML };
#define FLAG_OUTPUT                                                                                \
	{                                                                                          \
		"output", 'o', FLAG_CHOICE, false, "text|json|yaml", "how to print the result",    \
			output_choices                                                             \
	}
extern const char *const output_choices[];
enum output output_of(const struct args *a);
/* Prints `j` as JSON or YAML. */
void output_print(enum output o, const json_t *j, FILE *out);
void output_yaml(const json_t *j, FILE *out);

/* "" when absent or of another type. */
const char *get_text(const json_t *j, const char *key);
/* What an intercept with these ports takes: "all TCP connections". */
const char *taken_text(const json_t *ports);
json_int_t get_int(const json_t *j, const char *key);
double get_number(const json_t *j, const char *key);

/* Here and now: "2026-11-23 14:05". */
void time_text(json_int_t when, char text[static 32]);

/* What others wrote must not steer a terminal: each control character but newline and tab (C0, DEL, C1) becomes '?'. */
void text_clean(char *s);
/* The same for all strings in `j`; an "environment" is for programs, and stays what it is. */
void json_clean(json_t *j);

/* Columns: all but the last as wide as the widest cell. `cells` has rows * cols strings. */
void table_print(FILE *out, const char *const *cells, unsigned rows, unsigned cols);

/* --- report.c: what an intercept is --- */

/* Of a result of `intercept`. */
void report_intercept(FILE *out, const json_t *result);
/* What an intercept object takes: "all TCP connections", "HTTP requests that match A and B"; each condition behind `between`. */
void report_taken(FILE *out, const json_t *intercept, const char *first, const char *between);

/* --- browser.c --- */

/* Shows the URL to the person at the screen, if there are both; false: nobody was shown anything. */
bool browser_open(const char *url);

/* --- env.c: the workload's environment --- */

/* "docker" (K=V), "sh" (export K='V'), "json". Written 0600, whole or not at all. */
int env_write(const char *path, const char *syntax, const json_t *env, struct error *e);

/* --- run.c: a command while it lasts --- */

/* Runs `argv` with `env` added to our environment; its exit code, 128 + n for signal n, 126/127 if
 * it cannot be run. SIGINT, SIGTERM, SIGHUP and SIGQUIT that we get are passed on. */
int run_command(char **argv, const json_t *env);
