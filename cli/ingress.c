/* SPDX-License-Identifier: Apache-2.0 */
/* The four questions about the ingress, and the flags that answer them. */
#include "cli/ingress.h"

#include <ctype.h>
#include <errno.h>

#include "base/addr.h"

enum { HTTPS = 443 };

/* --- what may be an answer --------------------------------------------------------------------------------------- */

/* A DNS name. Whether it exists is the cluster's to say. */
static bool is_name(const char *s)
{
	enum { LABEL_MAX = 63 };

	while (*s) {
		size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "0123456789_-");

		if (n < 1 || n > LABEL_MAX || *s == '-' || s[n - 1] == '-')
			return false;
		if (!s[n])
			return true;
		if (s[n] != '.')
			return false;
		s += n + 1;
	}
	return false;
}

static bool is_address(const char *s)
{
	struct ipaddr ip;

	return !ipaddr_parse(&ip, s);
}

static int check_host(const char *s, struct error *e)
{
	if (strlen(s) > INGRESS_HOST_MAX)
		return error_set(e, -EINVAL, "that is longer than %d characters", INGRESS_HOST_MAX);
	if (strchr(s, '/'))
		return error_set(e, -EINVAL,
				 "'%s' is a URL or a path: write the host alone, such as "
				 "ambassador.ambassador",
				 s);
	if (!is_address(s) && strchr(s, ':'))
		return error_set(e, -EINVAL, "'%s' has a port: write the host alone", s);
	if (!is_address(s) && !is_name(s))
		return error_set(e, -EINVAL, "'%s' is neither an IP address nor a DNS name", s);
	return 0;
}

static int parse_host(char to[static INGRESS_HOST_MAX + 1], const char *s, struct error *e)
{
	int err = check_host(s, e);

	if (!err)
		memcpy(to, s, strlen(s) + 1);
	return err;
}

static int parse_port(uint16_t *to, const char *s, struct error *e)
{
	char *end;
	unsigned long n = isdigit((unsigned char)*s) ? strtoul(s, &end, 10) : 0;

	if (n < 1 || n > UINT16_MAX || *end)
		return error_set(e, -EINVAL, "'%.40s' is no TCP port number, 1 to 65535", s);
	*to = (uint16_t)n;
	return 0;
}

static int parse_tls(bool *to, const char *s, struct error *e)
{
	static const char *const yes[] = {"y", "yes", "true", NULL}, *const no[] = {"n", "no",
										    "false", NULL};

	for (size_t i = 0; yes[i]; i++) {
		if (!strcasecmp(s, yes[i]) || !strcasecmp(s, no[i])) {
			*to = !strcasecmp(s, yes[i]);
			return 0;
		}
	}
	return error_set(e, -EINVAL, "'%.40s' is neither y nor n", s);
}

/* --- flags -------------------------------------------------------------------------------------------------------- */

bool ingress_said(const struct args *a)
{
	static const char *const names[] = {"ingress-host", "ingress-port", "ingress-tls",
					    "ingress-l5", "ingress-insecure"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (args_text(a, names[i]))
			return true;
	}
	return false;
}

int ingress_from_flags(struct ingress *in, const struct args *a, struct error *e)
{
	const char *host = args_text(a, "ingress-host"), *port = args_text(a, "ingress-port");
	const char *l5 = args_text(a, "ingress-l5");

	memset(in, 0, sizeof(*in));
	in->has_host = host != NULL;
	in->has_port = port != NULL;
	in->has_tls = args_text(a, "ingress-tls") != NULL;
	in->has_l5 = l5 != NULL;
	in->tls = args_bool(a, "ingress-tls");
	in->insecure = args_bool(a, "ingress-insecure");
	if (host && parse_host(in->host, host, e))
		return error_wrap(e, -EINVAL, "--ingress-host");
	if (port && parse_port(&in->port, port, e))
		return error_wrap(e, -EINVAL, "--ingress-port");
	if (l5 && parse_host(in->l5, l5, e))
		return error_wrap(e, -EINVAL, "--ingress-l5");
	return 0;
}

/* --- defaults ----------------------------------------------------------------------------------------------------- */

/* What was found counts for the host that it was found for. */
static bool found_host(const struct ingress *in, const json_t *found)
{
	return *get_text(found, "host") && !strcasecmp(in->host, get_text(found, "host"));
}

static uint16_t default_port(const struct ingress *in, const json_t *found)
{
	json_int_t port = get_int(found, "port");

	return found_host(in, found) && port > 0 && port <= UINT16_MAX ? (uint16_t)port : 0;
}

static bool default_tls(const struct ingress *in, const json_t *found)
{
	return in->port == default_port(in, found) ? json_is_true(json_object_get(found, "tls"))
						   : in->port == HTTPS;
}

/* Is the text of a manager one that we would take from a person? */
static const char *default_l5(const struct ingress *in, const json_t *found)
{
	const char *l5 = get_text(found, "l5");

	return found_host(in, found) && *l5 && !check_host(l5, NULL) ? l5 : in->host;
}

void ingress_default(struct ingress *in, const json_t *found)
{
	if (!in->has_tls)
		in->tls = default_tls(in, found);
	if (!in->has_l5)
		snprintf(in->l5, sizeof(in->l5), "%s", default_l5(in, found));
	in->has_tls = in->has_l5 = true;
}

/* --- questions ---------------------------------------------------------------------------------------------------- */

enum { LINE_SIZE = 1024 };

struct dialogue {
	FILE *from, *to;
	struct ingress *in;
	struct error *e;
};

/* An answer without white space around it; "" = Enter alone. */
static int read_line(const struct dialogue *d, char line[static LINE_SIZE])
{
	size_t len;

	fflush(d->to);
	if (!fgets(line, LINE_SIZE, d->from)) {
		fputc('\n', d->to);
		return error_set(d->e, -ECANCELED, "no answer; nothing was made");
	}
	len = strlen(line);
	if (len && line[len - 1] != '\n') /* the rest is no answer to the next question */
		for (int c = fgetc(d->from); c != EOF && c != '\n'; c = fgetc(d->from))
			;
	while (len && isspace((unsigned char)line[len - 1]))
		line[--len] = '\0';
	memmove(line, line + strspn(line, " \t"), len + 1 - strspn(line, " \t"));
	return 0;
}

/* Asks until `take` likes what it gets. `preset` "" = there is no default. */
static int ask(const struct dialogue *d, const char *question, const char *preset,
	       int (*take)(struct ingress *in, const char *answer, struct error *e))
{
	char line[LINE_SIZE];
	struct error why;
	int err;

	fprintf(d->to, "%s\n\n", question);
	for (;;) {
		fprintf(d->to, "       [default: %s]: ", *preset ? preset : "-");
		err = read_line(d, line);
		if (err)
			return err;
		if (!*line && !*preset)
			error_set(&why, -EINVAL, "there is no default here: an answer is needed");
		else if (!take(d->in, *line ? line : preset, &why))
			break;
		text_clean(why.text);
		fprintf(d->to, "       %s\n", why.text);
	}
	fputc('\n', d->to);
	return 0;
}

static int take_host(struct ingress *in, const char *answer, struct error *e)
{
	return parse_host(in->host, answer, e);
}

static int take_port(struct ingress *in, const char *answer, struct error *e)
{
	return parse_port(&in->port, answer, e);
}

static int take_tls(struct ingress *in, const char *answer, struct error *e)
{
	return parse_tls(&in->tls, answer, e);
}

static int take_l5(struct ingress *in, const char *answer, struct error *e)
{
	return parse_host(in->l5, answer, e);
}

static int ask_host(const struct dialogue *d, const json_t *found)
{
	const char *host = get_text(found, "host");

	return ask(d,
		   "1/4: What's your ingress' layer 3 (IP) address?\n"
		   "     You may use an IP address or a DNS name (this is usually a\n"
		   "     \"service.namespace\" DNS name).",
		   check_host(host, NULL) ? "" : host, take_host);
}

static int ask_port(const struct dialogue *d, const json_t *found)
{
	char preset[8] = "";
	uint16_t port = default_port(d->in, found);

	if (port)
		snprintf(preset, sizeof(preset), "%u", port);
	return ask(d, "2/4: What's your ingress' layer 4 address (TCP port number)?", preset,
		   take_port);
}

static int ask_tls(const struct dialogue *d, const json_t *found)
{
	return ask(d, "3/4: Does that TCP port on your ingress use TLS (as opposed to cleartext)?",
		   default_tls(d->in, found) ? "y" : "n", take_tls);
}

static int ask_l5(const struct dialogue *d, const json_t *found)
{
	return ask(d,
		   "4/4: If required by your ingress, specify a different layer 5 hostname\n"
		   "     (TLS-SNI, HTTP \"Host\" header) to access this service.",
		   default_l5(d->in, found), take_l5);
}

int ingress_ask(struct ingress *in, const json_t *found, FILE *from, FILE *to, struct error *e)
{
	const struct dialogue d = {.from = from, .to = to, .in = in, .e = e};
	const char *why = get_text(found, "why");
	int err = 0;

	fprintf(to,
		"\nTo create a preview URL, culvert needs to know how cluster\n"
		"ingress works for this service.  Please %s the ingress to use.\n",
		*get_text(found, "host") ? "Confirm" : "Select");
	if (*why)
		fprintf(to, "(%s)\n", why);
	fputc('\n', to);
	if (!in->has_host)
		err = ask_host(&d, found);
	if (!err && !in->has_port)
		err = ask_port(&d, found);
	if (!err && !in->has_tls)
		err = ask_tls(&d, found);
	if (!err && !in->has_l5)
		err = ask_l5(&d, found);
	return err;
}

/* --- doing it ------------------------------------------------------------------------------------------------------- */

static int ask_here(struct ingress *in, const json_t *about, struct error *e)
{
	json_t *found = NULL;
	int err =
		client_once("ingress", json_deep_copy(about), "Looking for the ingress", &found, e);

	if (err)
		return EXIT_FAILED;
	err = ingress_ask(in, found, stdin, stderr, e);
	json_decref(found);
	return err ? EXIT_FAILED : 0;
}

static bool is_answered(const struct ingress *in)
{
	return in->has_host && in->has_port && in->has_tls && in->has_l5;
}

bool ingress_will_ask(const struct ingress *in)
{
	return !is_answered(in) && isatty(0) && isatty(2);
}

int ingress_settle(struct ingress *in, const json_t *about, const char *instead, struct error *e)
{
	if (is_answered(in))
		return 0;
	if (ingress_will_ask(in))
		return ask_here(in, about, e);
	if (!in->has_host || !in->has_port)
		return error_set(
			e, EXIT_USAGE,
			"a preview URL needs to know the cluster's ingress, and here is no "
			"terminal "
			"to ask at: say --ingress-host and --ingress-port%s",
			instead);
	ingress_default(in, NULL);
	return 0;
}

json_t *ingress_to_json(const struct ingress *in)
{
	return json_pack("{s:s,s:i,s:b,s:s,s:b}", "host", in->host, "port", (int)in->port, "tls",
			 in->tls, "l5", in->l5, "verify", !in->insecure);
}
