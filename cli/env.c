/* SPDX-License-Identifier: Apache-2.0 */
/* The workload's environment as a file for docker, a shell, or an IDE. */
#include <errno.h>

#include "base/file.h"
#include "cli/internal.h"

/* --env-file of docker takes the rest of the line as it is and knows no quotes: a line break cannot
 * be said. */
static void write_docker(FILE *out, const char *key, const char *value)
{
	if (strchr(value, '\n'))
		fprintf(stderr,
			"%s is left out: its value has several lines; --env-syntax sh or "
			"--env-json can hold it\n",
			key);
	else
		fprintf(out, "%s=%s\n", key, value);
}

static void write_sh(FILE *out, const char *key, const char *value)
{
	fprintf(out, "export %s='", key);
	for (; *value; value++) {
		if (*value == '\'')
			fputs("'\\''", out);
		else
			fputc(*value, out);
	}
	fputs("'\n", out);
}

/* A name that a shell would read as code is left out of what a shell reads. */
static bool is_name(const char *key)
{
	return *key && !(*key >= '0' && *key <= '9') &&
	       !key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")];
}

int env_write(const char *path, const char *syntax, const json_t *env, struct error *e)
{
	cleanup(free_ptr) char *text = NULL;
	size_t len = 0;
	const char *key;
	json_t *v;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return error_errno(e, -ENOMEM, "%s", path);
	if (!strcmp(syntax, "json")) {
		json_dumpf(env, out, JSON_INDENT(2) | JSON_SORT_KEYS);
		fputc('\n', out);
	} else {
		json_object_foreach((json_t *)(uintptr_t)env, key, v)
		{
			if (!json_is_string(v))
				continue;
			if (!strcmp(syntax, "docker"))
				write_docker(out, key, json_string_value(v));
			else if (is_name(key))
				write_sh(out, key, json_string_value(v));
		}
	}
	if (fclose(out))
		return error_errno(e, -ENOMEM, "%s", path);
	/* An environment holds passwords: for this user's eyes. */
	return file_write_atomic(path, text, len, 0600, e);
}
