/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon as a process: its socket, its lock, its end. A real one is started in a folder of its own. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "daemon/daemon.h"
#include "rpc/rpc.h"

static char folder[] = "/tmp/culvert-daemon-XXXXXX";
static char run[64], sock_path[80];
static rlim_t descriptors; /* that the next daemon may have; 0 = as many as we */

static int set_up(void **state)
{
	char state_home[64], helper[64];

	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(run, sizeof(run), "%s/run", folder);
	snprintf(sock_path, sizeof(sock_path), "%s/daemon.sock", run);
	snprintf(state_home, sizeof(state_home), "%s/state", folder);
	snprintf(helper, sizeof(helper), "%s/helper.sock", folder);
	setenv("CULVERT_SOCKET", sock_path, 1);
	setenv("XDG_STATE_HOME", state_home, 1);
	setenv("CULVERT_HELPER", helper, 1);
	return 0;
}

static int tear_down(void **state)
{
	char cmd[64];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -r %s", folder);
	return system(cmd);
}

/* Starts a daemon; `text` is what it says to who waits for it. */
static pid_t start(const char *flag, char *text, size_t size)
{
	int ready[2];
	ssize_t n;
	size_t len = 0;
	char fd[8];
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		char *argv[] = {(char *)(uintptr_t) "daemon", (char *)(uintptr_t) "--ready-fd", fd,
				(char *)(uintptr_t)flag, NULL};
		int log = open("/dev/null", O_WRONLY);
		struct rlimit limit = {.rlim_cur = descriptors, .rlim_max = descriptors};

		if (descriptors && setrlimit(RLIMIT_NOFILE, &limit))
			_exit(1);
		dup2(log, 2);
		close(ready[0]);
		snprintf(fd, sizeof(fd), "%d", ready[1]);
		exit(daemon_main(flag ? 4 : 3, argv));
	}
	close(ready[1]);
	while (len < size - 1 && (n = read(ready[0], text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = 0;
	close(ready[0]);
	return pid;
}

static int end_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int dial(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, sock_path);
	if (!connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return fd;
	close(fd);
	return -1;
}

/* The result, or NULL with the code and the sentence. */
static json_t *call(int fd, const char *method, json_t *params, int *code, struct error *e)
{
	json_t *result = NULL;

	rpc_call_blocking(fd, method, params, NULL, NULL, &result, code, e);
	return result;
}

static void one_daemon_and_its_end(void **state)
{
	char text[1024];
	pid_t pid = start(NULL, text, sizeof(text)), second;
	struct stat st;

	(void)state;
	assert_string_equal(text, "ok\n");
	assert_int_equal(stat(sock_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(run, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	second = start(NULL, text, sizeof(text));
	assert_int_equal(end_of(second), 1);
	assert_non_null(strstr(text, "already runs"));
	kill(pid, SIGTERM);
	assert_int_equal(end_of(pid), 0);
	assert_int_equal(access(sock_path, F_OK), -1);
}

static void a_killed_daemon_is_replaced(void **state)
{
	char text[1024];
	pid_t pid = start(NULL, text, sizeof(text));
	int fd;

	(void)state;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(access(sock_path, F_OK), 0); /* stale */
	assert_int_equal(dial(), -1);
	pid = start(NULL, text, sizeof(text));
	assert_string_equal(text, "ok\n");
	fd = dial();
	assert_true(fd >= 0);
	close(fd);
	kill(pid, SIGTERM);
	assert_int_equal(end_of(pid), 0);
}

static void what_it_answers(void **state)
{
	char text[1024];
	pid_t pid = start(NULL, text, sizeof(text));
	int fd = dial(), code;
	struct error e;
	json_t *j;

	(void)state;
	j = call(fd, "version", json_object(), &code, &e);
	assert_string_equal(json_string_value(json_object_get(j, "version")), CULVERT_VERSION);
	json_decref(j);
	j = call(fd, "status", json_object(), &code, &e);
	assert_string_equal(json_string_value(json_object_get(j, "state")), "not connected");
	assert_true(json_is_array(json_object_get(j, "intercepts")));
	json_decref(j);
	assert_null(call(fd, "list", json_object(), &code, &e));
	assert_int_equal(code, RPC_NOT_CONNECTED);
	assert_null(call(fd, "intercept", json_pack("{s:s}", "name", "x y"), &code, &e));
	assert_int_equal(code, RPC_USAGE);
	assert_null(call(fd, "leave", json_object(), &code, &e));
	assert_int_equal(code, RPC_BAD_PARAMS);
	assert_null(call(fd, "connect", json_pack("{s:s}", "invite", "rubbish"), &code, &e));
	assert_non_null(strstr(e.text, "invite"));
	assert_null(call(fd, "sing", json_object(), &code, &e));
	assert_int_equal(code, RPC_NO_METHOD);
	j = call(fd, "quit", json_object(), &code, &e);
	assert_non_null(j);
	json_decref(j);
	/* It closes as the last thing it does: then another may start. */
	assert_int_equal(read(fd, text, 1), 0);
	close(fd);
	assert_int_equal(end_of(pid), 0);
}

static void without_work_it_ends(void **state)
{
	char text[1024];
	pid_t pid = start("--exit-idle", text, sizeof(text));
	int first = dial(), second = dial(), code;
	struct error e;

	(void)state;
	close(first);
	json_decref(call(second, "version", json_object(), &code, &e));
	assert_int_equal(code, 0); /* somebody is still there */
	close(second);
	assert_int_equal(end_of(pid), 0);
}

/* The command that started it was killed at once. */
static void without_anybody_it_ends(void **state)
{
	char text[1024];
	pid_t pid = start("--exit-idle", text, sizeof(text));
	int status, i;

	(void)state;
	for (i = 0; i < 200 && waitpid(pid, &status, WNOHANG) == 0; i++)
		usleep(50000);
	assert_int_not_equal(i, 200);
	assert_int_equal(access(sock_path, F_OK), -1);
}

static void a_folder_open_to_others_is_refused(void **state)
{
	char text[1024];
	pid_t pid;

	(void)state;
	assert_int_equal(chmod(run, 0755), 0);
	pid = start(NULL, text, sizeof(text));
	assert_int_equal(end_of(pid), 1);
	assert_non_null(strstr(text, "chmod 700"));
	assert_int_equal(chmod(run, 0700), 0);
}

/* Garbage on the socket ends that connection and nothing else. */
static void garbage_on_the_socket(void **state)
{
	static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 'x'},
			     text_frame[] = {0, 0, 0, 3, 'a', 'b', 'c'};
	char text[1024];
	pid_t pid = start(NULL, text, sizeof(text));
	int fd, code;
	struct error e;
	json_t *j;

	(void)state;
	fd = dial();
	assert_int_equal(write(fd, huge, sizeof(huge)), sizeof(huge));
	while (read(fd, text, sizeof(text)) > 0)
		;
	close(fd);
	fd = dial();
	assert_int_equal(write(fd, text_frame, sizeof(text_frame)), sizeof(text_frame));
	close(fd);
	fd = dial();
	j = call(fd, "version", json_object(), &code, &e);
	assert_non_null(j);
	json_decref(j);
	close(fd);
	kill(pid, SIGTERM);
	assert_int_equal(end_of(pid), 0);
}

/* Of a process that ended since: seconds of processor. */
static double children_cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_CHILDREN, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* More clients than descriptors: they wait, the daemon rests, and later ones are served. */
static void without_descriptors_it_rests(void **state)
{
	char text[1024];
	int fd[22], code; /* fewer than wait in the backlog */
	double before = children_cpu();
	struct error e;
	unsigned i;
	pid_t pid;
	json_t *j;

	(void)state;
	descriptors = 20;
	pid = start(NULL, text, sizeof(text));
	descriptors = 0;
	assert_string_equal(text, "ok\n");
	for (i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = dial();
	usleep(1500000);
	for (i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
	fd[0] = dial();
	j = call(fd[0], "version", json_object(), &code, &e);
	assert_non_null(j);
	json_decref(j);
	close(fd[0]);
	kill(pid, SIGTERM);
	assert_int_equal(end_of(pid), 0);
	assert_true(children_cpu() - before < 0.8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_daemon_and_its_end),
		cmocka_unit_test(a_killed_daemon_is_replaced),
		cmocka_unit_test(what_it_answers),
		cmocka_unit_test(without_work_it_ends),
		cmocka_unit_test(without_anybody_it_ends),
		cmocka_unit_test(a_folder_open_to_others_is_refused),
		cmocka_unit_test(garbage_on_the_socket),
		cmocka_unit_test(without_descriptors_it_rests),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
