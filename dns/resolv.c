/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a resolv.conf(5): read, and written anew to name the stub. Pure functions. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>

#include "dns/resolv.h"

/* The next line of the text, without its end; false at the end. */
static bool next_line(const char **text, const char *end, const char **line, size_t *len)
{
	if (*text >= end)
		return false;
	const char *nl = memchr(*text, '\n', (size_t)(end - *text));
	*line = *text;
	*len = (size_t)((nl ? nl : end) - *text);
	*text = nl ? nl + 1 : end;
	return true;
}

/* Copies the next word; false when there is none or it is too long to be of use. */
static bool next_word(const char **line, size_t *len, char *word, size_t size)
{
	size_t n = 0;

	while (*len && isspace((unsigned char)**line))
		(*line)++, (*len)--;
	while (n < *len && !isspace((unsigned char)(*line)[n]))
		n++;
	if (n == 0 || n >= size)
		return false;
	memcpy(word, *line, n);
	word[n] = '\0';
	*line += n;
	*len -= n;
	return true;
}

static void add_resolver(struct resolv_conf *rc, char *text)
{
	char *scope = strchr(text, '%');
	struct ipaddr a, stub;

	if (scope)
		*scope++ = '\0';
	if (ipaddr_parse(&a, text) || rc->nresolvers >= ARRAY_SIZE(rc->resolver))
		return;
	/* Our own stub among the laptop's resolvers would be a loop. */
	if (ipaddr_parse(&stub, DNS_STUB_ADDR) == 0 && ipaddr_equal(&a, &stub))
		return;
	union sockaddr_any sa = sockaddr_from(&a, 53);
	if (scope && a.family == 6)
		sa.in6.sin6_scope_id = if_nametoindex(scope);
	rc->resolver[rc->nresolvers++] = sa;
}

void resolv_parse(struct resolv_conf *rc, const char *text, size_t len)
{
	const char *end = text + len, *line;
	size_t n;

	memset(rc, 0, sizeof(*rc));
	while (next_line(&text, end, &line, &n)) {
		char word[256];

		if (!next_word(&line, &n, word, sizeof(word)))
			continue;
		if (strcmp(word, "nameserver") == 0) {
			if (next_word(&line, &n, word, sizeof(word)))
				add_resolver(rc, word);
		} else if (strcmp(word, "search") == 0 || strcmp(word, "domain") == 0) {
			bool one = word[0] == 'd';

			rc->nsearch = 0; /* the last of these lines counts */
			while (rc->nsearch < (one ? 1 : ARRAY_SIZE(rc->search)) &&
			       next_word(&line, &n, rc->search[rc->nsearch], sizeof(rc->search[0])))
				rc->nsearch++;
		}
	}
}

bool dns_domain_ok(const char *domain)
{
	size_t n = strnlen(domain, 254);

	if (n == 0 || n == 254 || domain[0] == '.' || domain[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)domain[i]) && !strchr("-_.", domain[i]))
			return false;
	return true;
}

/* The highest ndots of the `options` lines; 1 is the resolver's own default. */
static unsigned ndots_of(const char *text, size_t len)
{
	const char *end = text + len, *line;
	unsigned ndots = 1;
	size_t n;

	while (next_line(&text, end, &line, &n)) {
		char word[256];

		if (!next_word(&line, &n, word, sizeof(word)) || strcmp(word, "options") != 0)
			continue;
		while (next_word(&line, &n, word, sizeof(word)))
			if (strncmp(word, "ndots:", 6) == 0)
				ndots = MAX(ndots, (unsigned)strtoul(word + 6, NULL, 10));
	}
	return ndots;
}

static void write_search(FILE *out, const struct resolv_conf *rc, const char *const *search,
			 unsigned nsearch)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nsearch && n < ARRAY_SIZE(rc->search); i++)
		fprintf(out, "%s %s", n++ ? "" : "search", search[i]);
	for (unsigned i = 0; i < rc->nsearch && n < ARRAY_SIZE(rc->search); i++)
		fprintf(out, "%s %s", n++ ? "" : "search", rc->search[i]);
	if (n)
		fputc('\n', out);
}

int resolv_render(char **text, size_t *len, const char *before, size_t before_len,
		  const char *const *search, unsigned nsearch, unsigned ndots, const char *backup)
{
	const char *at = before, *end = before + before_len, *line;
	struct resolv_conf rc;
	size_t n;

	FILE *out = open_memstream(text, len);
	if (!out)
		return -ENOMEM;
	fprintf(out,
		"# Written by culvert-helper while this machine is joined to a cluster; what was "
		"here comes back\n"
		"# by itself at the end, after a power loss when culvert-helper starts. It is kept "
		"in %s\n"
		"nameserver " DNS_STUB_ADDR "\n",
		backup);
	resolv_parse(&rc, before, before_len);
	write_search(out, &rc, search, nsearch);
	while (next_line(&at, end, &line, &n)) {
		const char *rest = line;
		size_t left = n;
		char word[16];

		if (next_word(&rest, &left, word, sizeof(word)) &&
		    (strcmp(word, "options") == 0 || strcmp(word, "sortlist") == 0))
			fprintf(out, "%.*s\n", (int)n, line);
	}
	if (ndots > ndots_of(before, before_len))
		fprintf(out, "options ndots:%u\n", ndots);
	bool failed = ferror(out);
	if (fclose(out) || failed) {
		free(*text);
		return -ENOMEM;
	}
	return 0;
}
