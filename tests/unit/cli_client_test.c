/* SPDX-License-Identifier: Apache-2.0 */
/* The command line's ways to fail, and a daemon that ends while it is asked or that is somebody else's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/internal.h"

static char folder[] = "/tmp/culvert-client-XXXXXX";
static char sock_path[64];

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(sock_path, sizeof(sock_path), "%s/daemon.sock", folder);
	setenv("CULVERT_SOCKET", sock_path, 1);
	return setenv("XDG_STATE_HOME", folder, 1);
}

static int tear_down(void **state)
{
	char cmd[64];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -r %s", folder);
	return system(cmd);
}

/* cli_main(), with what it wrote to stdout and stderr. */
static int culvert(const char *first, const char *second, char *text, size_t size)
{
	char *argv[] = {(char *)(uintptr_t) "culvert", (char *)(uintptr_t)first,
			(char *)(uintptr_t)second, NULL};
	int out[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(out[1], 1);
		dup2(out[1], 2);
		close(out[0]);
		close(out[1]);
		exit(cli_main(second ? 3 : 2, argv));
	}
	close(out[1]);
	while (len < size - 1 && (n = read(out[0], text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = 0;
	close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void help_of_what_is_no_command(void **state)
{
	char text[1024];

	(void)state;
	assert_int_equal(culvert("help", "conect", text, sizeof(text)), EXIT_USAGE);
	assert_non_null(strstr(text, "did you mean 'connect'"));
	assert_int_equal(culvert("help", "__man", text, sizeof(text)), EXIT_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(help_of_what_is_no_command),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
