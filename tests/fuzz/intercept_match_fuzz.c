/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intercept: flags of a match, and a head asked of it. Lines: each --http-match until one that begins with '/', which is the path
 * prefix; then the target, then fields "NAME: VALUE". Each pattern is run a second time here, without what makes PCRE2 fast and
 * with limits that are wider: unless one of them was hit, both have to say the same.
 */
#include <stdio.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "intercept/intercept.h"

#define ID "2f6c00112233445566778899aabbccdd"

static char *line(char **at)
{
	char *start = *at, *end = strchr(start, '\n');

	if (!*start)
		return NULL;
	*at = end ? end + 1 : start + strlen(start);
	if (end)
		*end = '\0';
	return start;
}

static void take_fields(struct http_head *head, struct http_field *field, unsigned max, char *at)
{
	for (char *l; head->nfields < max && (l = line(&at)) != NULL;) {
		char *colon = strchr(l, ':');

		if (!colon)
			continue;
		field[head->nfields++] = (struct http_field){
			.name = {l, (size_t)(colon - l)}, .value = {colon + 1, strlen(colon + 1)}};
	}
	head->field = field;
}

/* Slowly and by another way: does a field line have this as its whole value? -1: a limit was hit. */
static int condition(const struct http_condition *c, const struct http_head *head)
{
	PCRE2_SIZE at;
	int error, result = 0;
	pcre2_code *code;
	pcre2_match_data *data;
	pcre2_match_context *limits = pcre2_match_context_create(NULL);

	code = pcre2_compile((PCRE2_SPTR)c->pattern, PCRE2_ZERO_TERMINATED,
			     PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOLLAR_ENDONLY |
				     PCRE2_NO_AUTO_POSSESS | PCRE2_NO_START_OPTIMIZE |
				     PCRE2_NO_DOTSTAR_ANCHOR,
			     &error, &at, NULL);
	if (!code)
		abort(); /* it was good before */
	data = pcre2_match_data_create_from_pattern(code, NULL);
	pcre2_set_match_limit(limits, 200000);
	for (unsigned i = 0; i < head->nfields && result != 1; i++) {
		const struct http_field *f = &head->field[i];
		int r;

		if (!http_text_is_nocase(f->name, c->name))
			continue;
		r = pcre2_match(code, (PCRE2_SPTR)f->value.p, f->value.len, 0, 0, data, limits);
		if (r >= 0 &&
		    (pcre2_get_ovector_pointer(data)[1] != f->value.len ||
		     pcre2_get_ovector_pointer(data)[0] != 0) &&
		    !strstr(c->pattern, "\\K"))
			abort(); /* not the whole value */
		result = r >= 0 ? 1 : r == PCRE2_ERROR_NOMATCH ? result : -1;
	}
	pcre2_match_data_free(data);
	pcre2_match_context_free(limits);
	pcre2_code_free(code);
	return result;
}

static void compare(const struct http_match *m, const struct http_head *head, int got)
{
	bool limit = got < 0;
	int want = 1;

	for (unsigned i = 0; i < m->nconditions; i++) {
		int r = condition(&m->condition[i], head);

		limit |= r < 0;
		want &= r != 0;
	}
	if (!limit && got != want)
		abort();
}

static void round_trip(const struct http_match *m)
{
	struct http_match again;
	json_t *j = http_match_to_json(m);

	if (!j || http_match_from_json(&again, j, NULL) || http_match_check(&again, NULL))
		abort();
	json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct intercept i = {.name = "hello", .mechanism = MECHANISM_HTTP, .id = ID};
	char text[4096], *at = text, *l, sentence[HTTP_MATCH_TEXT_LEN];
	struct http_field field[16];
	struct http_head head = {.nfields = 0};
	struct matcher *m = NULL;
	bool given = false;
	int r;

	snprintf(text, sizeof(text), "%.*s", (int)MIN(size, sizeof(text) - 1), (const char *)data);
	while ((l = line(&at)) != NULL && *l != '/')
		http_match_parse(&i.match, &given, l, NULL);
	if (l)
		http_path_parse(&i.match, l, NULL);
	l = line(&at);
	head.target = (struct http_text){l ? l : "", l ? strlen(l) : 0};
	take_fields(&head, field, ARRAY_SIZE(field), at);
	if (http_match_check(&i.match, NULL))
		return 0; /* too long together */
	http_match_text(sentence, sizeof(sentence), &i, " and ");
	if (strlen(sentence) == sizeof(sentence) - 1 || !http_match_clash(&i, &i) ||
	    !http_match_within(&i, &i) || http_match_order(&i, "", &i, ""))
		abort();
	round_trip(&i.match);
	if (matcher_new(&m, &i.match, i.id, i.name, false, NULL))
		abort(); /* it was checked */
	r = matcher_test(m, &head);
	if (i.match.mode == HTTP_MATCH_HEADERS && !*i.match.path)
		compare(&i.match, &head, r);
	matcher_free(m);
	return 0;
}
