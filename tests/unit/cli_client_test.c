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

/* The script as a shell runs it, with a culvert that offers what a hostile cluster might, and a folder named as a
 * workload: nothing is run, nothing gets a slash. */
static void completion_in_bash(void **state)
{
	char script[80], cmd[1024], got[256] = "", text[4096];
	FILE *f, *sh;

	(void)state;
	assert_int_equal(culvert("completion", "bash", text, sizeof(text)), EXIT_OK);
	snprintf(script, sizeof(script), "%s/completion.bash", folder);
	f = fopen(script, "w");
	fputs(text, f);
	fclose(f);
	snprintf(cmd, sizeof(cmd),
		 "cd %s && mkdir shop && exec bash -c '. ./completion.bash\n"
		 "culvert() { printf \"%%s\\n\" shop \"sh\\$(touch run)\" \"sh \\*\" web; }\n"
		 "COMP_WORDS=(culvert intercept sh) COMP_CWORD=2; _culvert\n"
		 "printf \"%%s|\" \"${COMPREPLY[@]}\"; complete -p culvert; test ! -e run'",
		 folder);
	sh = popen(cmd, "r");
	assert_true(fread(got, 1, sizeof(got) - 1, sh) > 0);
	assert_int_equal(pclose(sh), 0);
	assert_string_equal(got, "shop|sh$(touch run)|sh \\*|complete -F _culvert culvert\n");
}

static void names_that_a_shell_would_read(void **state)
{
	static const char *const names[] = {"$(touch x)", "a b", "", "\033[2J", "shop-1.x_Y"};
	char *text = NULL;
	size_t len, i;
	FILE *out = open_memstream(&text, &len), *old = stdout;

	(void)state;
	stdout = out;
	for (i = 0; i < ARRAY_SIZE(names); i++)
		complete_name(names[i]);
	stdout = old;
	fclose(out);
	assert_string_equal(text, "shop-1.x_Y\n");
	free(text);
}

/* A socket that listens, of user `uid`. */
static int listen_as(uid_t uid)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, sock_path);
	unlink(sock_path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || chmod(sock_path, 0777) ||
	    (uid != getuid() && setuid(uid)) || listen(fd, 4))
		_exit(1);
	return fd;
}

/* A daemon that is about to end: it takes a call, and closes instead of an answer, its socket gone. */
static pid_t ending_daemon(void)
{
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ready), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int sock = listen_as(getuid()), fd;

		close(ready[0]);
		close(ready[1]);
		fd = accept(sock, NULL, NULL);
		if (read(fd, &byte, 1) == 1) /* the rest is unread: the other end sees a reset */
			unlink(sock_path);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	return pid;
}

static void a_daemon_that_ends_is_gone(void **state)
{
	static const struct {
		const char *command, *arg, *says;
		int code;
	} cases[] = {
		{"quit", NULL, "Disconnected", EXIT_OK},
		{"status", NULL, "not running", EXIT_OK},
		{"list", NULL, "not connected; run `culvert connect` first", EXIT_FAILED},
		{"leave", "shop", "not connected; run `culvert connect` first", EXIT_FAILED},
	};
	char text[1024];
	unsigned i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		pid_t pid = ending_daemon();

		assert_int_equal(culvert(cases[i].command, cases[i].arg, text, sizeof(text)),
				 cases[i].code);
		assert_non_null(strstr(text, cases[i].says));
		waitpid(pid, NULL, 0);
	}
}

static void nothing_is_said_to_somebody_elses_daemon(void **state)
{
	char text[1024], byte;
	int said[2], go[2];
	pid_t pid;

	(void)state;
	if (getuid())
		skip(); /* only root can be two users */
	assert_int_equal(chmod(folder, 0755), 0);
	assert_int_equal(pipe(said), 0);
	assert_int_equal(pipe(go), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int fd, sock = listen_as(65534);

		close(go[1]);
		close(go[0]);
		fd = accept(sock, NULL, NULL);
		while (read(fd, &byte, 1) > 0)
			if (write(said[1], &byte, 1) != 1)
				break;
		_exit(0);
	}
	close(said[1]);
	close(go[1]);
	assert_int_equal(read(go[0], &byte, 1), 0);
	close(go[0]);
	assert_int_equal(culvert("status", NULL, text, sizeof(text)), EXIT_FAILED);
	assert_non_null(strstr(text, "user 65534's"));
	assert_int_equal(read(said[0], &byte, 1), 0);
	close(said[0]);
	waitpid(pid, NULL, 0);
	unlink(sock_path);
}

/* Nowhere to write: the sentence names what to set. */
static void no_place_for_state(void **state)
{
	char text[1024], invite[80], flag[100];
	FILE *f;

	(void)state;
	snprintf(invite, sizeof(invite), "%s/invite", folder);
	snprintf(flag, sizeof(flag), "--invite=%s", invite);
	f = fopen(invite, "w");
	fclose(f);
	assert_int_equal(chmod(folder, 0700), 0);
	setenv("XDG_STATE_HOME", "/proc/none", 1);
	assert_int_equal(culvert("connect", flag, text, sizeof(text)), EXIT_FAILED);
	setenv("XDG_STATE_HOME", folder, 1);
	assert_non_null(strstr(text, "/proc/none"));
	assert_non_null(strstr(text, "set XDG_STATE_HOME"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(help_of_what_is_no_command),
		cmocka_unit_test(completion_in_bash),
		cmocka_unit_test(names_that_a_shell_would_read),
		cmocka_unit_test(a_daemon_that_ends_is_gone),
		cmocka_unit_test(nothing_is_said_to_somebody_elses_daemon),
		cmocka_unit_test(no_place_for_state),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
