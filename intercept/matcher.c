/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A match made ready for requests. The patterns are their users', and run for every request that everybody sends: so they are
 * compiled without what is unbounded (\C, UTF, JIT), and each is cut off after a fixed number of steps. (a+)+$ costs
 * a tenth of a millisecond then.
 */
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "intercept/internal.h"

enum {
	MATCH_LIMIT = 10000,
	HEAP_LIMIT_KIB = 64,
	NESTED_PARENS = 64,
	COMPILED_MAX = 32 << 10, /* bytes; ([ab]c){1,999} is short only on paper */
};

struct matcher {
	enum http_match_mode mode;
	bool own; /* requests with its own id are its, whatever the mode */
	char path[HTTP_PATH_MAX + 1];
	size_t path_len;
	char id[HTTP_ID_LEN + 1], id_text[HTTP_ID_TEXT_LEN];
	unsigned n;
	struct {
		char name[HTTP_NAME_MAX + 1];
		size_t name_len;
		bool host;
		pcre2_code *code;
	} condition[HTTP_CONDITIONS];
};

/* What a match needs beside its pattern is 20 KiB: all matchers share it, since one runs at a time. */
static struct {
	unsigned users;
	pcre2_match_context *limits;
	pcre2_match_data *data;
} shared;

/* --- patterns --------------------------------------------------------------------------------------------- */

static int compile(pcre2_code **to, const struct http_condition *c, struct error *e)
{
	const uint32_t options = PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOLLAR_ENDONLY |
				 PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP;
	pcre2_compile_context *cc = pcre2_compile_context_create(NULL);
	PCRE2_UCHAR why[128] = "";
	size_t size = 0, at = 0;
	pcre2_code *code;
	int error = 0;

	if (!cc)
		return error_errno(e, -ENOMEM, "header %s", c->name);
	pcre2_set_parens_nest_limit(cc, NESTED_PARENS);
	code = pcre2_compile((PCRE2_SPTR)c->pattern, PCRE2_ZERO_TERMINATED, options, &error, &at,
			     cc);
	pcre2_compile_context_free(cc);
	if (!code) {
		pcre2_get_error_message(error, why, sizeof(why));
		return error_set(e, -EINVAL,
				 "the regular expression for header %s is wrong at column %zu: %s.",
				 c->name, at + 1, (char *)why);
	}
	pcre2_pattern_info(code, PCRE2_INFO_SIZE, &size);
	if (size > COMPILED_MAX) {
		pcre2_code_free(code);
		return error_set(e, -EINVAL,
				 "the regular expression for header %s needs %zu KiB, and %d are "
				 "allowed; repeat less in it.",
				 c->name, size >> 10, COMPILED_MAX >> 10);
	}
	*to = code;
	return 0;
}

int pattern_check(const struct http_condition *c, struct error *e)
{
	pcre2_code *code = NULL;
	int r;

	if (!*c->pattern)
		return error_set(e, -EINVAL,
				 "the regular expression for header %s is empty; ^$ means an empty "
				 "value, .* any.",
				 c->name);
	if (!text_is_plain(c->pattern))
		return error_set(e, -EINVAL,
				 "the regular expression for header %s has a control character or "
				 "is no UTF-8; write \\t or \\xHH.",
				 c->name);
	r = compile(&code, c, e);
	pcre2_code_free(code);
	return r;
}

/* --- life ------------------------------------------------------------------------------------------------- */

static void shared_release(void)
{
	if (--shared.users)
		return;
	pcre2_match_context_free(shared.limits);
	pcre2_match_data_free(shared.data);
	shared.limits = NULL;
	shared.data = NULL;
}

static int shared_acquire(void)
{
	if (shared.users++)
		return 0;
	shared.limits = pcre2_match_context_create(NULL);
	shared.data = pcre2_match_data_create(1, NULL);
	if (!shared.limits || !shared.data) {
		shared_release();
		return -ENOMEM;
	}
	pcre2_set_heap_limit(shared.limits, HEAP_LIMIT_KIB);
	return 0;
}

void matcher_free(struct matcher *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < m->n; i++)
		pcre2_code_free(m->condition[i].code);
	shared_release();
	free(m);
}

static void matcher_freep(struct matcher **m)
{
	matcher_free(*m);
}

int matcher_new(struct matcher **mp, const struct http_match *from, const char *id,
		const char *name, bool preview, struct error *e)
{
	cleanup(matcher_freep) struct matcher *m = NULL;
	int r = http_match_check(from, e);

	if (r)
		return r;
	if (shared_acquire())
		return error_errno(e, -ENOMEM, "match");
	m = calloc(1, sizeof(*m));
	if (!m) {
		shared_release();
		return error_errno(e, -ENOMEM, "match");
	}
	m->mode = from->mode;
	m->own = *id && (preview || from->mode == HTTP_MATCH_AUTO);
	snprintf(m->id, sizeof(m->id), "%s", id);
	http_id_text(m->id_text, m->id, name);
	memcpy(m->path, from->path, sizeof(m->path));
	m->path_len = strlen(m->path);
	for (; m->n < from->nconditions; m->n++) {
		const struct http_condition *c = &from->condition[m->n];

		r = compile(&m->condition[m->n].code, c, e);
		if (r)
			return r;
		memcpy(m->condition[m->n].name, c->name, sizeof(c->name));
		m->condition[m->n].name_len = strlen(c->name);
		m->condition[m->n].host = !strcmp(c->name, "host");
	}
	*mp = steal_ptr(m);
	return 0;
}

/* --- a request ---------------------------------------------------------------------------------------------- */

static struct http_text trim(struct http_text t)
{
	while (t.len && (*t.p == ' ' || *t.p == '\t')) {
		t.p++;
		t.len--;
	}
	while (t.len && (t.p[t.len - 1] == ' ' || t.p[t.len - 1] == '\t'))
		t.len--;
	return t;
}

/* What stands before the first `c`, which goes too; all of it when there is none. */
static struct http_text cut(struct http_text *t, char c)
{
	const char *at = t->len ? memchr(t->p, c, t->len) : NULL;
	struct http_text head = {t->p, at ? (size_t)(at - t->p) : t->len};
	size_t gone = at ? head.len + 1 : head.len;

	*t = (struct http_text){t->p + gone, t->len - gone};
	return head;
}

/* W3C Baggage: "key = value ; property, key = value". */
static bool baggage_names(struct http_text list, const char *id)
{
	/* A list may fill the head, and is asked for each rule: nearly always it is somebody else's. */
	if (!list.len || !memmem(list.p, list.len, id, strlen(id)))
		return false;
	while (list.len) {
		struct http_text member = cut(&list, ',');
		struct http_text pair = cut(&member, ';');
		struct http_text key = cut(&pair, '=');

		if (http_text_is(trim(key), HTTP_BAGGAGE_KEY) && http_text_is(trim(pair), id))
			return true;
	}
	return false;
}

/* Every rule asks every field of every request: lengths tell most of them apart. */
static bool is_named(const struct http_field *f, const char *name, size_t len)
{
	return f->name.len == len && !strncasecmp(f->name.p, name, len);
}

static bool has_own_id(const struct matcher *m, const struct http_head *head)
{
	static const char own[] = HTTP_ID_HEADER, baggage[] = "baggage";

	for (unsigned i = 0; i < head->nfields; i++) {
		const struct http_field *f = &head->field[i];

		if (is_named(f, own, sizeof(own) - 1) && http_text_is(f->value, m->id_text))
			return true;
		if (is_named(f, baggage, sizeof(baggage) - 1) && baggage_names(f->value, m->id))
			return true;
	}
	return false;
}

/* Of "/a/b?c" and, from clients of a proxy, "http://host/a/b?c". */
static bool path_matches(const struct matcher *m, struct http_text target)
{
	struct http_text path = cut(&target, '?');

	if (!m->path_len)
		return true;
	if (path.len && *path.p != '/') {
		const char *scheme = memmem(path.p, path.len, "://", 3);
		const char *end = path.p + path.len, *slash;

		if (!scheme)
			return false;
		slash = memchr(scheme + 3, '/', (size_t)(end - scheme - 3));
		path = slash ? (struct http_text){slash, (size_t)(end - slash)}
			     : (struct http_text){"/", 1};
	}
	return path.len >= m->path_len && !memcmp(path.p, m->path, m->path_len);
}

/*
 * 1, 0, or -E2BIG. A head has room for hundreds of lines of one name, each just below the limit: the nth of them gets an nth of
 * it, so that all together cost less than seven.
 */
static int value_matches(const pcre2_code *code, struct http_text value, unsigned nth)
{
	int r;

	pcre2_set_match_limit(shared.limits, MATCH_LIMIT / nth);
	r = pcre2_match(code, (PCRE2_SPTR)(value.len ? value.p : ""), value.len, 0, 0, shared.data,
			shared.limits);

	if (r >= 0)
		return 1;
	return r == PCRE2_ERROR_NOMATCH ? 0 : -E2BIG;
}

static int condition_matches(const struct matcher *m, unsigned i, const struct http_head *head)
{
	const char *name = m->condition[i].name;
	size_t len = m->condition[i].name_len;
	unsigned tried = 0;
	int result = 0;

	for (unsigned k = 0; k < head->nfields; k++) {
		const struct http_field *f = &head->field[k];
		int r;

		if (!is_named(f, name, len))
			continue;
		r = value_matches(m->condition[i].code, f->value, ++tried);
		if (r == 1)
			return 1;
		result = r ? r : result;
	}
	if (m->condition[i].host && head->authority.p) {
		int r = value_matches(m->condition[i].code, head->authority, ++tried);

		result = r ? r : result;
	}
	return result;
}

int matcher_test(struct matcher *m, const struct http_head *head)
{
	int result = m->mode != HTTP_MATCH_AUTO;

	if (!path_matches(m, head->target))
		return 0;
	if (m->own && has_own_id(m, head))
		return 1;
	for (unsigned i = 0; i < m->n; i++) {
		int r = condition_matches(m, i, head);

		if (r == 0)
			return 0;
		if (r < 0)
			result = r;
	}
	return result;
}
