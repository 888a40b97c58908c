/* SPDX-License-Identifier: Apache-2.0 */
/* A command while an intercept lasts: with the workload's environment, our signals, and its exit
 * code as ours. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "cli/internal.h"

enum { NOT_EXECUTABLE = 126, NOT_FOUND = 127, BY_SIGNAL = 128 };

static void in_child(char **argv, const json_t *env, const sigset_t *mask)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)env, key, v) if (json_is_string(v))
		setenv(key, json_string_value(v), 1);
	/* We are killed: the process would hold its port with nobody to send it anything. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(argv[0], argv);
	fprintf(stderr, "culvert: %s: %s\n", argv[0], strerror(errno));
	_exit(errno == ENOENT ? NOT_FOUND : NOT_EXECUTABLE);
}

/* What a terminal sends (Ctrl-C) goes to the child as well, by itself; only what was sent to us
 * alone is passed on. */
static void pass_on(pid_t child, const struct signalfd_siginfo *si)
{
	if (si->ssi_code != SI_KERNEL)
		kill(child, (int)si->ssi_signo);
}

static int wait_child(pid_t child, int signals)
{
	struct signalfd_siginfo si;
	int status;

	while (read(signals, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo != SIGCHLD) {
			pass_on(child, &si);
			continue;
		}
		if (waitpid(child, &status, WNOHANG) == child)
			return WIFSIGNALED(status) ? BY_SIGNAL + WTERMSIG(status)
						   : WEXITSTATUS(status);
	}
	return EXIT_FAILED;
}

int run_command(char **argv, const json_t *env)
{
	static const int watched[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD};
	sigset_t mask, old;
	pid_t child;
	int signals, code;
	unsigned i;

	sigemptyset(&mask);
	for (i = 0; i < ARRAY_SIZE(watched); i++)
		sigaddset(&mask, watched[i]);
	sigprocmask(SIG_BLOCK, &mask, &old);
	signals = signalfd(-1, &mask, SFD_CLOEXEC);
	child = signals < 0 ? -1 : fork();
	if (child == 0)
		in_child(argv, env, &old);
	if (child < 0)
		fprintf(stderr, "culvert: %s: %s\n", argv[0], strerror(errno));
	code = child < 0 ? EXIT_FAILED : wait_child(child, signals);
	if (signals >= 0)
		close(signals);
	/* They stay blocked: what follows, leaving the intercept, is to be done whatever comes. */
	return code;
}
