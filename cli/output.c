/* SPDX-License-Identifier: Apache-2.0 */
/* -o text|json|yaml: columns, and a small writer of YAML for what jansson holds. */
#include <time.h>

#include "cli/internal.h"

enum { DIGITS = 6 /* of a measured number */ };

const char *const output_choices[] = {"text", "json", "yaml", NULL};

enum output output_of(const struct args *a)
{
	const char *v = args_text(a, "output");

	if (v && !strcmp(v, "json"))
		return OUTPUT_JSON;
	return v && !strcmp(v, "yaml") ? OUTPUT_YAML : OUTPUT_TEXT;
}

const char *taken_text(const json_t *ports)
{
	bool tcp = false, udp = false;
	const json_t *p;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)ports, i, p)
	{
		bool is_udp = !strcmp(get_text(p, "protocol"), "udp");

		tcp |= !is_udp;
		udp |= is_udp;
	}
	if (udp)
		return tcp ? "all TCP connections and UDP datagrams" : "all UDP datagrams";
	return "all TCP connections";
}

const char *get_text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

json_int_t get_int(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

double get_number(const json_t *j, const char *key)
{
	return json_number_value(json_object_get(j, key));
}

void time_text(json_int_t when, char text[static 32])
{
	time_t t = (time_t)when;
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(text, 32, "%Y-%m-%d %H:%M", &tm))
		snprintf(text, 32, "%lld", (long long)when);
}

void text_clean(char *s)
{
	enum { C1 = 0xc2 /* U+0080 to U+009F are this and a byte up to 0x9f */ };

	for (; *s; s++) {
		unsigned char c = (unsigned char)s[0], next = (unsigned char)s[1];

		if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
			*s = '?';
		else if (c == C1 && next >= 0x80 && next <= 0x9f)
			s[0] = s[1] = '?';
	}
}

void json_clean(json_t *j)
{
	const char *text = json_string_value(j), *key;
	char *copy;
	json_t *v;
	size_t i;

	json_object_foreach(j, key, v)
	{
		if (strcmp(key, "environment") != 0)
			json_clean(v);
	}
	json_array_foreach(j, i, v)
	{
		json_clean(v);
	}
	copy = text ? strdup(text) : NULL;
	if (!copy)
		return;
	text_clean(copy);
	json_string_set(j, copy);
	free(copy);
}

static void yaml_value(const json_t *j, unsigned depth, bool in_list, FILE *out);

/* JSON's scalars are YAML's; its quoted strings too, and always quoted no text can be taken for a
 * number or `no`. */
static void yaml_scalar(const json_t *j, FILE *out)
{
	cleanup(free_ptr) char *s = json_dumps(j, JSON_ENCODE_ANY | JSON_REAL_PRECISION(DIGITS));

	fputs(s ? s : "null", out);
	fputc('\n', out);
}

static void indent(unsigned depth, FILE *out)
{
	fprintf(out, "%*s", (int)(2 * depth), "");
}

static bool has_children(const json_t *j)
{
	return json_object_size(j) || json_array_size(j);
}

static void yaml_child(const json_t *v, unsigned depth, FILE *out)
{
	if (has_children(v)) {
		fputc('\n', out);
		yaml_value(v, depth, false, out);
	} else {
		fputc(' ', out);
		yaml_scalar(v, out);
	}
}

/* `in_list`: the first line stands behind a "- " that is already written. */
static void yaml_value(const json_t *j, unsigned depth, bool in_list, FILE *out)
{
	const char *key;
	json_t *v;
	size_t i;

	json_object_foreach((json_t *)(uintptr_t)j, key, v)
	{
		cleanup(free_ptr) char *quoted = NULL;
		json_t *k = json_string(key);
		bool plain = *key && key[strspn(key, "abcdefghijklmnopqrstuvwxyz_")] == 0;

		if (!in_list)
			indent(depth, out);
		in_list = false;
		quoted = plain ? NULL : json_dumps(k, JSON_ENCODE_ANY);
		fprintf(out, "%s:", quoted ? quoted : key);
		json_decref(k);
		yaml_child(v, depth + 1, out);
	}
	json_array_foreach((json_t *)(uintptr_t)j, i, v)
	{
		indent(depth, out);
		fputs("- ", out);
		if (json_is_object(v) && has_children(v))
			yaml_value(v, depth + 1, true, out);
		else
			yaml_scalar(v,
				    out); /* a list in a list in JSON's form, which YAML has too */
	}
}

void output_yaml(const json_t *j, FILE *out)
{
	if (has_children(j))
		yaml_value(j, 0, false, out);
	else
		yaml_scalar(j, out);
}

void output_print(enum output o, const json_t *j, FILE *out)
{
	if (o == OUTPUT_YAML) {
		output_yaml(j, out);
		return;
	}
	json_dumpf(j, out, JSON_INDENT(2) | JSON_REAL_PRECISION(DIGITS));
	fputc('\n', out);
}

void table_print(FILE *out, const char *const *cells, unsigned rows, unsigned cols)
{
	unsigned r, c;

	for (r = 0; r < rows; r++) {
		for (c = 0; c + 1 < cols; c++) {
			size_t width = 0, i;

			for (i = 0; i < rows; i++)
				width = MAX(width, strlen(cells[i * cols + c]));
			fprintf(out, "%-*s ", (int)width, cells[r * cols + c]);
		}
		fprintf(out, "%s\n", cells[r * cols + c]);
	}
}
