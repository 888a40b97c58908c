/* SPDX-License-Identifier: Apache-2.0 */
/* What an intercept is, for people: the block that `intercept` prints, and the words that `status` has for it. */
#include "cli/internal.h"
#include "intercept/intercept.h"

enum { MATCH_SIZE = 4096 };

static const char *title(const char *kind)
{
	enum workload_kind k;

	return workload_kind_parse(&k, kind) ? kind : workload_kind_title(k);
}

void report_taken(FILE *out, const json_t *intercept, const char *first, const char *between)
{
	char text[MATCH_SIZE];
	struct intercept in;

	if (intercept_from_json(&in, intercept, NULL) || in.mechanism == MECHANISM_TCP) {
		fputs(taken_text(json_object_get(intercept, "ports")), out);
		return;
	}
	http_match_text(text, sizeof(text), &in, between);
	text_clean(text);
	if (in.match.mode == HTTP_MATCH_ALL && !*in.match.path)
		fputs(text, out);
	else
		fprintf(out, "HTTP requests that match%s%s", first, text);
}

static void report_ports(FILE *out, const json_t *ports)
{
	const json_t *p;
	size_t i;

	json_array_foreach((json_t *)(uintptr_t)ports, i, p)
	{
		fprintf(out, "    Destination            : 127.0.0.1:%lld\n",
			(long long)get_int(p, "local"));
		if (*get_text(p, "name"))
			fprintf(out, "    Service Port Identifier: %s\n", get_text(p, "name"));
		else
			fprintf(out, "    Service Port Identifier: %lld\n",
				(long long)get_int(p, "port"));
	}
}

/* A shell takes it as it is: the name of an intercept has no quotes. */
static void report_header(FILE *out, const json_t *result)
{
	const json_t *in = json_object_get(result, "intercept");
	const json_t *port = json_array_get(json_object_get(in, "ports"), 0);
	const char *header = get_text(result, "header");

	if (!*header)
		return;
	fprintf(out, "    Header                 : %s\n", header);
	if (!*get_text(result, "uid")) /* the static platform has no names of services */
		fprintf(out, "    For example            : curl -H '%s' ...\n", header);
	else
		fprintf(out, "    For example            : curl -H '%s' http://%s.%s:%lld/\n",
			header, get_text(in, "service"), get_text(in, "namespace"),
			(long long)get_int(port, "port"));
}

static void report_preview(FILE *out, const json_t *preview)
{
	if (!preview)
		return;
	fprintf(out, "    Preview URL            : %s\n", get_text(preview, "url"));
	if (*get_text(preview, "share"))
		fprintf(out, "    Share link             : %s\n", get_text(preview, "share"));
	fprintf(out, "    Layer 5 Hostname       : %s\n", get_text(preview, "l5"));
}

void report_intercept(FILE *out, const json_t *result)
{
	const json_t *in = json_object_get(result, "intercept");
	const json_t *preview = json_object_get(result, "preview");

	fprintf(out, "Using %s %s\nintercepted\n", title(get_text(in, "kind")),
		get_text(in, "workload"));
	fprintf(out, "    Intercept name         : %s\n", get_text(in, "name"));
	fprintf(out, "    State                  : %s\n", get_text(result, "state"));
	fprintf(out, "    Workload kind          : %s\n", title(get_text(in, "kind")));
	report_ports(out, json_object_get(in, "ports"));
	fputs("    Intercepting           : ", out);
	report_taken(out, in, " all of:\n      ", "\n      ");
	fputc('\n', out);
	report_preview(out, preview);
	if (!preview)
		report_header(out, result);
	if (!strcmp(get_text(result, "state"), "PARTIAL"))
		fprintf(stderr, "Part of the connections only: %s\n", get_text(result, "message"));
	if (!strcmp(get_text(result, "state"), "WAITING"))
		fputs("No agent of this workload is connected to the manager; it begins when one "
		      "is.\n",
		      stderr);
}
