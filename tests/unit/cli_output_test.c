/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line writes: YAML, tables, environment files; and how it runs a command. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/file.h"
#include "cli/internal.h"

static char *yaml_of(const char *json)
{
	json_t *j = json_loads(json, JSON_DECODE_ANY, NULL);
	size_t len;
	char *text;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(j);
	output_yaml(j, out);
	fclose(out);
	json_decref(j);
	return text;
}

static void yaml_nests(void **state)
{
	char *text = yaml_of("{\"a\":{\"b\":1,\"c\":[]},\"list\":[\"x\",{\"k\":true,\"m\":[1,2]},["
			     "3]],\"e\":{}}");

	(void)state;
	assert_string_equal(text, "a:\n"
				  "  b: 1\n"
				  "  c: []\n"
				  "list:\n"
				  "  - \"x\"\n"
				  "  - k: true\n"
				  "    m:\n"
				  "      - 1\n"
				  "      - 2\n"
				  "  - [3]\n"
				  "e: {}\n");
	free(text);
}

/* Text that YAML would take for something else stays text; keys that are no plain words are quoted.
 */
static void yaml_quotes(void **state)
{
	char *text = yaml_of(
		"{\"a\":\"no\",\"b\":\"1e3\",\"K: x\":\"two\\nlines \\\"q\\\" # c\",\"n\":null}");

	(void)state;
	assert_string_equal(text, "a: \"no\"\n"
				  "b: \"1e3\"\n"
				  "\"K: x\": \"two\\nlines \\\"q\\\" # c\"\n"
				  "n: null\n");
	free(text);
}

static void tables_align(void **state)
{
	static const char *const cells[] = {"deployment",  "web",    "ready",
					    "statefulset", "orders", "x"};
	size_t len;
	char *text;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	table_print(out, cells, 2, 3);
	fclose(out);
	assert_string_equal(text, "deployment  web    ready\n"
				  "statefulset orders x\n");
	free(text);
}

static char folder[] = "/tmp/culvert-cli-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char cmd[64];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -r %s", folder);
	return system(cmd);
}

static json_t *hard_environment(void)
{
	return json_pack("{s:s,s:s,s:s}", "PLAIN", "a b", "QUOTES", "it's \"$HOME\" `id` \\",
			 "LINES", "one\ntwo");
}

/* The shell itself is the judge of what was written for it. */
static void env_for_a_shell(void **state)
{
	char path[64], cmd[256], got[128] = "";
	json_t *env = hard_environment();
	struct error e;
	struct stat st;
	FILE *sh;

	(void)state;
	snprintf(path, sizeof(path), "%s/env.sh", folder);
	assert_int_equal(env_write(path, "sh", env, &e), 0);
	snprintf(cmd, sizeof(cmd), ". %s && printf '%%s|%%s|%%s' \"$PLAIN\" \"$QUOTES\" \"$LINES\"",
		 path);
	sh = popen(cmd, "r");
	assert_true(fread(got, 1, sizeof(got) - 1, sh) > 0);
	assert_int_equal(pclose(sh), 0);
	assert_string_equal(got, "a b|it's \"$HOME\" `id` \\|one\ntwo");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	json_decref(env);
}

static void env_for_docker_and_json(void **state)
{
	char path[64], *text;
	json_t *env = hard_environment(), *back;
	struct error e;
	size_t len;

	(void)state;
	snprintf(path, sizeof(path), "%s/env", folder);
	assert_int_equal(env_write(path, "docker", env, &e), 0);
	assert_int_equal(file_read(path, 4096, &text, &len, &e), 0);
	assert_string_equal(text, "PLAIN=a b\nQUOTES=it's \"$HOME\" `id` \\\n");
	free(text);
	assert_int_equal(env_write(path, "json", env, &e), 0);
	back = json_load_file(path, 0, NULL);
	assert_true(json_equal(back, env));
	json_decref(back);
	json_decref(env);
	assert_int_not_equal(env_write("/no/such/folder/env", "json", NULL, &e), 0);
}

/* run_command() changes the signal mask, so each goes in a process of its own. */
static int run_in_child(char **argv, int sig)
{
	json_t *env = json_pack("{s:s}", "FROM_THE_POD", "yes");
	int ready[2], status;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(ready[1], 9);
		close(ready[0]);
		close(ready[1]);
		_exit(run_command(argv, env));
	}
	close(ready[1]);
	if (sig) {
		assert_int_equal(read(ready[0], &byte, 1), 1);
		kill(pid, sig);
	}
	close(ready[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	json_decref(env);
	return WEXITSTATUS(status);
}

#define SH(script)                                                                                 \
	(char *[])                                                                                 \
	{                                                                                          \
		(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)(script),   \
			NULL                                                                       \
	}

static void exit_codes(void **state)
{
	char *missing[] = {(char *)(uintptr_t) "/no/such/program", NULL};
	char *folder_argv[] = {folder, NULL};

	(void)state;
	assert_int_equal(run_in_child(SH("exit 0"), 0), 0);
	assert_int_equal(run_in_child(SH("test \"$FROM_THE_POD\" = yes && exit 7"), 0), 7);
	assert_int_equal(run_in_child(SH("kill -KILL $$"), 0), 128 + SIGKILL);
	assert_int_equal(run_in_child(missing, 0), 127);
	assert_int_equal(run_in_child(folder_argv, 0), 126);
}

static void signals_are_passed_on(void **state)
{
	(void)state;
	assert_int_equal(
		run_in_child(SH("trap 'exit 3' TERM; echo >&9; while :; do sleep 0.05; done"),
			     SIGTERM),
		3);
	assert_int_equal(run_in_child(SH("echo >&9; exec sleep 30"), SIGINT), 128 + SIGINT);
}

/* A manager may call itself what it likes; the terminal is ours. */
static void others_do_not_steer_the_terminal(void **state)
{
	char text[] = "a\033[31m\tred\r\nb\177\302\2332J caf\303\251 \342\200\246";
	json_t *j = json_loads(
		"{\"a\":[\"\\u001b]0;x\\u0007\",1,null],\"environment\":{\"K\":\"\\u001b\"}}", 0,
		NULL);

	(void)state;
	text_clean(text);
	assert_string_equal(text, "a?[31m\tred?\nb???2J caf\303\251 \342\200\246");
	json_clean(j);
	assert_string_equal(json_string_value(json_array_get(json_object_get(j, "a"), 0)),
			    "?]0;x?");
	assert_string_equal(get_text(json_object_get(j, "environment"), "K"), "\033");
	json_decref(j);
	json_clean(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(yaml_nests),
		cmocka_unit_test(yaml_quotes),
		cmocka_unit_test(tables_align),
		cmocka_unit_test(others_do_not_steer_the_terminal),
		cmocka_unit_test(env_for_a_shell),
		cmocka_unit_test(env_for_docker_and_json),
		cmocka_unit_test(exit_codes),
		cmocka_unit_test(signals_are_passed_on),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
